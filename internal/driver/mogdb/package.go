package mogdb

import (
	"archive/tar"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// packageName is what the name of the vendor's archive tells (spec/mogdb.md section 2).
type packageName struct {
	Release string
	OS      string // CentOS, openEuler, Kylin
	Arch    string // x86_64, arm64
}

var packageForm = regexp.MustCompile(`^MogDB-(\d+\.\d+\.\d+)-([A-Za-z0-9]+)-(x86_64|arm64|aarch64)\.tar\.gz$`)

func parsePackageName(file string) (packageName, bool) {
	m := packageForm.FindStringSubmatch(filepath.Base(file))
	if m == nil {
		return packageName{}, false
	}
	return packageName{m[1], m[2], m[3]}, true
}

// thePackage is the one archive of a request.
func thePackage(r plan.Request) (string, packageName, error) {
	if len(r.Packages) != 1 {
		return "", packageName{}, refuse("P3", say.F("one package is needed, %d are given", "需要且仅需要一个升级包，给出了 %d 个", len(r.Packages)),
			say.F("--package MogDB-%s-<OS>-<arch>.tar.gz", "--package MogDB-%s-<系统>-<架构>.tar.gz", r.To))
	}
	n, ok := parsePackageName(r.Packages[0])
	switch {
	case !ok:
		return "", n, refuse("P3", say.F("%s does not bear the vendor's name of a package", "%s 不是厂商升级包的名称", filepath.Base(r.Packages[0])),
			say.F("--package MogDB-%s-<OS>-<arch>.tar.gz, as the vendor names it", "--package MogDB-%s-<系统>-<架构>.tar.gz（保持厂商命名）", r.To))
	case n.Release != r.To:
		return "", n, refuse("M01", say.F("the package holds %s, wanted is %s", "升级包为 %s，目标为 %s", n.Release, r.To), say.F("use the package of %s", "请使用 %s 的升级包", r.To))
	}
	return r.Packages[0], n, nil
}

// fileSum is the sha256 of a file of this machine.
func fileSum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// content is what an archive holds.
type content struct {
	Inner    string
	InnerSum string
	Software gaussdb.Software
	Unpacked int64           // bytes of bin and lib
	Parts    map[string]tree // bin and lib, with sums
}

// limits of what is read of an archive before it is understood.
const (
	maxInner  = 4 << 30
	maxMember = 1 << 30
)

// readPackage reads the archive on this machine: the inner archive must have
// the sum of its .sha256 and hold a whole bin and lib.
func readPackage(file string) (*content, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	c := &content{Parts: map[string]tree{"bin": {}, "lib": {}}}
	sums := map[string]string{}
	read := ""
	for t := tar.NewReader(gz); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		name := path.Clean(h.Name)
		switch {
		case strings.HasSuffix(name, ".tar.bz2"):
			if c.Inner != "" {
				return nil, say.Errorf("%s holds two inner archives: %s and %s", "%s 中有两个内层归档：%s 和 %s", filepath.Base(file), c.Inner, name)
			}
			c.Inner = name
			if read, err = c.inner(io.LimitReader(t, maxInner)); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		case strings.HasSuffix(name, ".sha256"):
			if sums[strings.TrimSuffix(name, ".sha256")], err = firstWord(t); err != nil {
				return nil, err
			}
		}
	}
	return c, c.judge(filepath.Base(file), read, sums)
}

// firstWord is the sum in a .sha256 file; empty when there is none.
func firstWord(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return "", err
	}
	if w := strings.Fields(string(b)); len(w) > 0 {
		return strings.ToLower(w[0]), nil
	}
	return "", nil
}

func (c *content) judge(file, read string, sums map[string]string) error {
	if c.Inner == "" {
		return say.Errorf("%s holds no .tar.bz2 with the server", "%s 中没有含服务器的 .tar.bz2", file)
	}
	c.InnerSum = sums[strings.TrimSuffix(c.Inner, ".tar.bz2")]
	switch {
	case c.InnerSum == "":
		return say.Errorf("%s holds no .sha256 of %s", "%s 中没有 %s 的 .sha256", file, c.Inner)
	case c.InnerSum != read:
		return say.Errorf("%s: its sha256 is %s, the package says %s", "%s：其 sha256 为 %s，升级包给出的是 %s", c.Inner, read, c.InnerSum)
	case c.Software.Release == "":
		return say.Errorf("%s holds no version.cfg", "%s 中没有 version.cfg", c.Inner)
	}
	for _, need := range []string{"gsql", "gs_ctl"} {
		if _, ok := c.Parts["bin"][need]; !ok {
			return say.Errorf("%s holds no bin/%s", "%s 中没有 bin/%s", c.Inner, need)
		}
	}
	if len(c.Parts["lib"]) == 0 {
		return say.Errorf("%s holds no lib", "%s 中没有 lib", c.Inner)
	}
	return nil
}

// inner reads the archive with the server and returns its sha256.
func (c *content) inner(r io.Reader) (string, error) {
	sum := sha256.New()
	in := io.TeeReader(r, sum)
	t := tar.NewReader(bzip2.NewReader(in))
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		if err := c.member(h, io.LimitReader(t, maxMember)); err != nil {
			return "", err
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (c *content) member(h *tar.Header, r io.Reader) error {
	name := path.Clean(h.Name)
	if name == "version.cfg" {
		b, err := io.ReadAll(io.LimitReader(r, 4096))
		if err != nil {
			return err
		}
		if c.Software, err = gaussdb.ParseSoftware(b); err != nil {
			return say.Errorf("version.cfg: %w", "version.cfg：%w", err)
		}
		return nil
	}
	part, below, ok := strings.Cut(name, "/")
	t, wanted := c.Parts[part]
	if !ok || !wanted {
		return nil
	}
	e := entry{Mode: fmt.Sprintf("%o", h.Mode&0o777), Size: h.Size}
	switch h.Typeflag {
	case tar.TypeDir:
		e.Kind = 'd'
	case tar.TypeSymlink:
		e.Kind, e.Link = 'l', h.Linkname
	case tar.TypeReg:
		e.Kind = 'f'
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			return err
		}
		e.Sum = hex.EncodeToString(sum.Sum(nil))
		c.Unpacked += h.Size
	default:
		return nil
	}
	t[below] = e
	return nil
}

func refuse(rule string, text, next say.Text) error {
	return &driver.RefusalError{Rule: rule, Text: text, Next: next}
}

func sizeOf(file string) (int64, error) {
	st, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
