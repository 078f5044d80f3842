package postgres

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// packageList is what the archive holds, read on the control machine.
type packageList struct {
	Sum      string
	Size     int64 // of the archive
	Unpacked int64
	Files    map[string]bool // base names of all files below lib
	Postgres bool            // bin/postgres is there
	Machine  string          // of bin/postgres: amd64, arm64, …
	Release  string          // that bin/postgres answers to -V; "" when it is not found in it
}

// packageReader reads each package once, however many checks ask.
func packageReader() func(string) (*packageList, error) {
	type answer struct {
		l   *packageList
		err error
	}
	var mu sync.Mutex
	read := map[string]answer{}
	return func(p string) (*packageList, error) {
		mu.Lock()
		defer mu.Unlock()
		a, ok := read[p]
		if !ok {
			a.l, a.err = readPackage(p)
			read[p] = a
		}
		return a.l, a.err
	}
}

// maxUnpacked bounds what is read from an archive before it is believed.
const maxUnpacked = 4 << 30

func readPackage(p string) (*packageList, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	l := &packageList{Files: map[string]bool{}}
	count := &counter{r: io.TeeReader(f, sum)}
	if err := l.read(count); err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	if _, err := io.Copy(io.Discard, count); err != nil {
		return nil, err
	}
	l.Sum, l.Size = hex.EncodeToString(sum.Sum(nil)), count.n
	return l, nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

func (l *packageList) read(r io.Reader) error {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return say.Errorf("not a gzip archive: %w", "不是 gzip 归档：%w", err)
	}
	tr := tar.NewReader(io.LimitReader(zr, maxUnpacked))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return say.Errorf("the archive is damaged: %w", "归档已损坏：%w", err)
		}
		name := path.Clean(h.Name)
		if strings.HasPrefix(name, "../") || path.IsAbs(name) {
			return say.Errorf("entry %q leaves the archive", "条目 %q 超出了归档范围", h.Name)
		}
		l.Unpacked += (h.Size + 4095) &^ 4095
		l.Files[path.Base(name)] = true
		if name == "bin/postgres" || strings.HasSuffix(name, "/bin/postgres") {
			l.Postgres = true
			head := make([]byte, 20)
			if _, err := io.ReadFull(tr, head); err == nil {
				l.Machine = elfMachine(head)
			}
			if l.Release, err = releaseIn(tr); err != nil {
				return say.Errorf("the archive is damaged: %w", "归档已损坏：%w", err)
			}
		}
	}
}

// releaseIn finds in a server program what it answers to -V: the constant
// PG_BACKEND_VERSIONSTR, "postgres (PostgreSQL) 15.17\n". A package of another
// machine cannot be asked here, and none is run before it has been proven.
func releaseIn(r io.Reader) (string, error) {
	mark := []byte("postgres (PostgreSQL) ")
	buf, kept := make([]byte, 64<<10), 0
	for {
		n, err := r.Read(buf[kept:])
		seen := buf[:kept+n]
		if i := bytes.Index(seen, mark); i >= 0 {
			line, _, whole := bytes.Cut(seen[i:], []byte("\n"))
			if whole {
				said := parseReleaseLine(string(line))
				if _, err := release.Parse(said); err != nil {
					return "", nil //nolint:nilerr // some other text; the node's own -V will tell
				}
				return said, nil
			}
			kept = copy(buf, seen[i:])
		} else {
			kept = copy(buf, seen[max(0, len(seen)-len(mark)):])
		}
		switch {
		case errors.Is(err, io.EOF) || kept == len(buf):
			return "", nil
		case err != nil:
			return "", err
		}
	}
}

// elfMachine reads e_machine of an ELF file (elf(5)); "" for anything else.
func elfMachine(head []byte) string {
	if string(head[:4]) != "\x7fELF" {
		return ""
	}
	n := int(head[18]) | int(head[19])<<8
	return map[int]string{62: "amd64", 183: "arm64", 243: "riscv64", 22: "s390x", 21: "ppc64le"}[n]
}

// wants are the nodes that need a package, with the package chosen for each.
func (a *asker) wants() map[string]string {
	out := map[string]string{}
	for _, n := range a.v.Nodes {
		if !n.Reachable || n.ID.Version == a.r.To || slices.Contains(n.Releases, a.r.To) && len(a.r.Packages) == 0 {
			continue
		}
		if p, err := choosePackage(a.r.Packages, a.r.To, n.Arch); err == nil {
			out[n.Name] = p.path
		} else {
			out[n.Name] = ""
		}
	}
	return out
}

func (a *asker) packages() (out []check.Finding) {
	if a.r.To == "" {
		return nil
	}
	told := map[string]bool{}
	wants := a.wants()
	for _, n := range a.v.Nodes {
		p, needs := wants[n.Name]
		switch {
		case !needs || p != "" && told[p]:
		case p == "":
			_, err := choosePackage(a.r.Packages, a.r.To, n.Arch)
			out = append(out, with(check.Finding{Severity: check.Block, Node: n.Name, Says: say.Of(err)}, "machine: "+n.Arch, "--package with the archive of release "+a.r.To, "用 --package 指定版本 "+a.r.To+" 的升级包"))
		default:
			told[p] = true
			out = append(out, a.onePackage(p, n)...)
		}
	}
	return out
}

func (a *asker) onePackage(p string, n *seen) []check.Finding {
	again := func(f check.Finding, evidence string) []check.Finding {
		return []check.Finding{with(f, evidence, "get the package and its .sha256 again from the same place", "请从同一来源重新获取升级包及其 .sha256")}
	}
	want, err := readSum(p)
	if err != nil {
		return again(check.Finding{Severity: check.Block, Says: say.Of(err)}, p)
	}
	l, err := a.pkg(p)
	if err != nil {
		return again(a.block("", "the package cannot be read", "无法读取升级包"), err.Error())
	}
	_, arch, _ := strings.Cut(platform(n.Arch), "-")
	switch {
	case l.Sum != want:
		return again(a.block("", "the package does not have the recorded sha256", "升级包的 sha256 与记录不符"), fmt.Sprintf("%s: %s, recorded %s", p, l.Sum, want))
	case !l.Postgres:
		return again(a.block("", "the package holds no bin/postgres", "升级包中没有 bin/postgres"), p)
	case l.Release != "" && l.Release != a.r.To:
		return again(a.block("", "the package holds release %s, not %s", "升级包中的版本是 %s，而不是 %s", l.Release, a.r.To), p)
	case l.Machine != "" && l.Machine != arch:
		return again(a.block(n.Name, "the package is for %s, the machine is %s", "升级包适用于 %s，而主机是 %s", l.Machine, arch), p)
	}
	return []check.Finding{{Severity: check.Pass, Says: say.F("%s is whole", "%s 完整", path.Base(p)), Evidence: "sha256 " + l.Sum}}
}

// spare is the part of a file system that must stay free.
const spare = 0.20

func (a *asker) disk() (out []check.Finding) {
	wants := a.wants()
	for _, n := range a.v.Nodes {
		if len(n.Room) == 0 {
			if n.Reachable {
				out = append(out, with(a.block(n.Name, "the free disk space is not known", "无法得知可用磁盘空间"), "df -P -k "+n.Base, "look whether base and data exist", "请检查 base 与 data 是否存在"))
			}
			continue
		}
		need := int64(0)
		if p := wants[n.Name]; p != "" {
			if l, err := a.pkg(p); err == nil {
				need = l.Size + l.Unpacked
			}
		}
		for i, r := range n.Room {
			if i > 0 && r.Mount == n.Room[0].Mount {
				continue
			}
			takes := need
			if i > 0 {
				takes = 0
			}
			out = append(out, a.stays(n.Name, r, takes))
		}
	}
	return out
}

// stays judges one file system from which takes bytes will go.
func (a *asker) stays(node string, r room, takes int64) check.Finding {
	left := float64(r.Free-takes) / float64(max(r.Total, 1))
	evidence := fmt.Sprintf("%s (%s): %d MB free of %d MB, %d MB needed", r.Path, r.Mount, r.Free>>20, r.Total>>20, takes>>20)
	if left < spare {
		return with(a.block(node, "only %.0f%% of %s would stay free; at least 20%% must", "%[2]s 将只剩 %.0[1]f%% 空闲；至少需保留 20%%", 100*max(left, 0), r.Mount), evidence, "make room", "请清理空间")
	}
	return check.Finding{Severity: check.Pass, Node: node, Says: say.F("%.0f%% of %s stays free", "%[2]s 将剩余 %.0[1]f%% 空闲", 100*left, r.Mount), Evidence: evidence}
}

func (a *asker) libraries() (out []check.Finding) {
	told := map[string]bool{}
	wants := a.wants()
	for _, n := range a.v.Nodes {
		p := wants[n.Name]
		if p == "" || told[p] {
			continue
		}
		told[p] = true
		l, err := a.pkg(p)
		if err != nil {
			continue // the check "package" tells it
		}
		missing := map[string]bool{}
		for _, n := range a.live() {
			for _, lib := range n.Libraries {
				if f := lib.file(); f != "" && !l.Files[path.Base(f)] && !missing[f+lib.Where] {
					missing[f+lib.Where] = true
					out = append(out, with(a.block(n.Name, "the package lacks the library %s, which %s needs", "升级包缺少 %[2]s 所需的库 %[1]s", f, lib.Where), path.Base(p),
						"build the extension into the package, or drop it", "请将该扩展打入升级包，或删除该扩展"))
				}
			}
		}
	}
	return out
}
