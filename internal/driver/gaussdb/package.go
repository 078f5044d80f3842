package gaussdb

import (
	"archive/tar"
	"bufio"
	"bytes"
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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shiplift/shiplift/internal/say"
)

// Package is what the vendor ships for one release: one archive that holds
// everything, or the archives one by one in a directory (spec section 2).
type Package struct {
	Files    []PackageFile // as they lie on this machine, to be sent
	Software Software      // out of version.cfg in the server archive
	Server   string        // name of the server archive
	ServerIn bool          // it lies inside Files[0]
	CM       string        // name of the cluster manager's archive; empty without one
	Scripts  Scripts       // of upgrade_sql.tar.gz
	HasSQL   bool
	OM       string // name of the operation tools' archive; empty without one
}

// PackageFile is one file on the control machine.
type PackageFile struct {
	Path string
	Sum  string // sha256 in hex
	Size int64
}

// PackageError is a package that is not what it should be, with the vendor's code.
type PackageError struct {
	Code string
	File string
	Text say.Text
}

func (e *PackageError) Error() string { return e.Say().EN }

// Say tells it with its code.
func (e *PackageError) Say() say.Text {
	return say.Text{EN: e.File + ": " + e.Text.EN + " [" + e.Code + "]", ZH: e.File + "：" + e.Text.In(say.Chinese) + "［" + e.Code + "］"}
}

func bad(code, file string, text say.Text) error { return &PackageError{code, file, text} }

type packageKey struct {
	path string
	size int64
	mod  time.Time
}

var read sync.Map // packageKey → *Package: a package is read once, it takes a while

// ReadPackage reads and proves a package: every checksum that is shipped is
// compared, version.cfg is taken out of the server archive and never from
// beside it (spec section 1.4), the catalogue scripts are loaded.
func ReadPackage(files []string) (*Package, error) {
	if len(files) == 0 {
		return nil, bad("GAUSS-50001", "--package", say.F("no package was named", "未指定升级包"))
	}
	st, err := os.Stat(files[0])
	if err != nil {
		return nil, bad("GAUSS-50201", files[0], say.F("the package is not there: %s", "升级包不存在：%s", err.Error()))
	}
	key := packageKey{strings.Join(files, "\x00"), st.Size(), st.ModTime()}
	if p, ok := read.Load(key); ok {
		return p.(*Package), nil
	}
	r := &packageReader{sums: map[string]string{}, wants: map[string]string{}, p: &Package{}}
	if err := r.readAll(files); err != nil {
		return nil, err
	}
	read.Store(key, r.p)
	return r.p, nil
}

// packageReader walks through archives in archives.
type packageReader struct {
	p     *Package
	sums  map[string]string // of members, by base name
	wants map[string]string // of .sha256 files, by the name without it
}

func (r *packageReader) readAll(files []string) error {
	for _, f := range files {
		if err := r.file(f); err != nil {
			return err
		}
	}
	if r.p.Server == "" {
		return bad("GAUSS-50201", files[0], say.F("there is no server archive in it", "其中没有服务端安装包"))
	}
	if !r.p.ServerIn && !r.p.HasSQL {
		// A server archive alone: the scripts lie beside it, as in $GPHOME.
		sql := filepath.Join(filepath.Dir(files[0]), "upgrade_sql.tar.gz")
		if _, err := os.Stat(sql); err == nil {
			if err := r.file(sql); err != nil {
				return err
			}
		}
	}
	return r.compare()
}

// file reads one file of this machine.
func (r *packageReader) file(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return bad("GAUSS-50201", name, say.F("it cannot be read: %s", "无法读取：%s", err.Error()))
	}
	defer f.Close()
	base := filepath.Base(name)
	sum := sha256.New()
	in := io.TeeReader(bufio.NewReaderSize(f, 1<<20), sum)
	if err := r.member(base, in, len(r.p.Files) == 0 && isWhole(base)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return bad("GAUSS-50201", name, say.F("it cannot be read: %s", "无法读取：%s", err.Error()))
	}
	st, err := f.Stat()
	if err != nil {
		return bad("GAUSS-50201", name, say.F("it cannot be read: %s", "无法读取：%s", err.Error()))
	}
	have := hex.EncodeToString(sum.Sum(nil))
	r.sums[base] = have
	r.p.Files = append(r.p.Files, PackageFile{Path: name, Sum: have, Size: st.Size()})
	for _, beside := range sumNames(base) {
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(name), beside)); err == nil {
			r.wants[strings.TrimSuffix(beside, ".sha256")] = string(b)
		}
	}
	return nil
}

// isWhole reports an archive that holds the others: -all, -All-, and MogDB's.
func isWhole(base string) bool {
	return strings.HasSuffix(base, "-all.tar.gz") || strings.Contains(base, "-All-") ||
		strings.HasPrefix(base, "MogDB-") && strings.HasSuffix(base, ".tar.gz") && !isCM(base) && !isOM(base) ||
		oldWhole(base)
}

// oldWhole is a package of 1.0.x: one file for all.
func oldWhole(base string) bool {
	return strings.HasPrefix(base, "openGauss-1.0.") && strings.HasSuffix(base, "-64bit.tar.gz")
}

func isServer(base string) bool {
	return strings.HasSuffix(base, ".tar.bz2") && (strings.HasPrefix(base, "openGauss-") || strings.HasPrefix(base, "MogDB-"))
}

func isCM(base string) bool {
	return strings.HasSuffix(base, "-cm.tar.gz") || strings.HasPrefix(base, "openGauss-CM-") && strings.HasSuffix(base, ".tar.gz")
}

func isOM(base string) bool {
	return strings.HasSuffix(base, "-om.tar.gz") || strings.HasPrefix(base, "openGauss-OM-") && strings.HasSuffix(base, ".tar.gz")
}

// sumNames are the names that the checksum file of an archive may have.
func sumNames(base string) []string {
	stem := base
	for _, suffix := range []string{".tar.gz", ".tar.bz2"} {
		stem = strings.TrimSuffix(stem, suffix)
	}
	return []string{stem + ".sha256"}
}

// member takes one archive in, wherever it lies.
func (r *packageReader) member(base string, in io.Reader, whole bool) error {
	switch {
	case whole:
		r.p.ServerIn = true
		return r.whole(base, in)
	case isServer(base):
		r.p.Server = base
		return r.server(base, in)
	case isCM(base):
		r.p.CM = base
	case isOM(base):
		r.p.OM = base
	case base == "upgrade_sql.tar.gz":
		s, err := ReadScripts(in)
		if err != nil {
			return bad("GAUSS-50222", base, say.Same(err.Error()))
		}
		r.p.Scripts, r.p.HasSQL = s, true
	default:
		return bad("GAUSS-50004", base, say.F("this is not a package of openGauss or MogDB by its name", "从文件名看不是 openGauss 或 MogDB 的升级包"))
	}
	return nil
}

// whole reads the archive that holds the others.
func (r *packageReader) whole(base string, in io.Reader) error {
	z, err := gzip.NewReader(in)
	if err != nil {
		return bad("GAUSS-50222", base, say.F("it is not a gzip archive: %s", "不是 gzip 压缩包：%s", err.Error()))
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return bad("GAUSS-50222", base, say.F("it is damaged: %s", "已损坏：%s", err.Error()))
		}
		if h.Typeflag != tar.TypeReg || strings.Count(strings.Trim(path.Clean("/"+h.Name), "/"), "/") > 0 {
			continue
		}
		if err := r.inner(path.Base(h.Name), t); err != nil {
			return err
		}
	}
}

func (r *packageReader) inner(base string, in io.Reader) error {
	if strings.HasSuffix(base, ".sha256") {
		b, err := io.ReadAll(io.LimitReader(in, 4096))
		r.wants[strings.TrimSuffix(base, ".sha256")] = string(b)
		return err
	}
	if !isServer(base) && !isCM(base) && !isOM(base) && base != "upgrade_sql.tar.gz" {
		return nil
	}
	sum := sha256.New()
	tee := io.TeeReader(in, sum)
	if err := r.member(base, tee, false); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return bad("GAUSS-50222", base, say.F("it is damaged: %s", "已损坏：%s", err.Error()))
	}
	r.sums[base] = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// server looks for version.cfg at the root of the server archive.
func (r *packageReader) server(base string, in io.Reader) error {
	t := tar.NewReader(bzip2.NewReader(in))
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return bad("GAUSS-50201", base, say.F("there is no version.cfg in it", "其中没有 version.cfg"))
		}
		if err != nil {
			return bad("GAUSS-50222", base, say.F("it is damaged: %s", "已损坏：%s", err.Error()))
		}
		if strings.Trim(path.Clean("/"+h.Name), "/") != "version.cfg" {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(t, 4096))
		if err != nil {
			return bad("GAUSS-50222", base, say.F("it is damaged: %s", "已损坏：%s", err.Error()))
		}
		s, err := ParseSoftware(b)
		if err != nil {
			return bad("GAUSS-50222", base+":version.cfg", say.Same(err.Error()))
		}
		r.p.Software = s
		return nil
	}
}

// compare holds every archive against its checksum file. A checksum file is
// one line of 64 hex digits and nothing else (spec section 2).
func (r *packageReader) compare() error {
	for _, base := range sortedKeys(r.sums) {
		stem := strings.TrimSuffix(sumNames(base)[0], ".sha256")
		text, there := r.wants[stem]
		switch {
		case !there && (isServer(base) || base == "upgrade_sql.tar.gz"):
			return bad("GAUSS-50201", base, say.F("its checksum file %s.sha256 is missing", "缺少校验文件 %s.sha256", stem))
		case !there:
			continue
		}
		if err := CheckSum(stem+".sha256", text, r.sums[base]); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// CheckSum holds a checksum file's text against what was computed.
func CheckSum(file, text, have string) error {
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	if len(lines) != 1 {
		return bad("GAUSS-50204", file, say.F("it has %d lines, one was expected", "共有 %d 行，应为一行", len(lines)))
	}
	want := strings.ToLower(strings.TrimSpace(lines[0]))
	if b, err := hex.DecodeString(want); err != nil || len(b) != sha256.Size {
		return bad("GAUSS-50204", file, say.F("it does not hold a sha256 and nothing else", "内容不是单独的 sha256 值"))
	}
	if want != have {
		return bad("GAUSS-51635", file, say.F("the archive's sha256 is %s, the file says %s", "压缩包的 sha256 为 %s，校验文件为 %s", have, want))
	}
	return nil
}

// Kind is a kind of catalogue script.
type Kind string

// The kinds: Pre ones run on the old binaries, Post ones on the new, each
// forward one right behind its inverse.
const (
	Upgrade      Kind = "upgrade"
	UpgradePost  Kind = "upgrade-post"
	Rollback     Kind = "rollback"
	RollbackPost Kind = "rollback-post"
)

// Kinds are all kinds, in the order in which they run.
var Kinds = []Kind{Rollback, Upgrade, RollbackPost, UpgradePost}

// Scripts are the members of upgrade_sql.tar.gz.
type Scripts struct {
	files map[string]string // base name → text
	Added []string          // settings that the new release adds (set_guc/add_guc)
	Gone  []string          // settings that it does not know any more (set_guc/delete_guc)
}

// maxScript bounds one script: the biggest of the vendor's is far below.
const maxScript = 64 << 20

// ReadScripts reads upgrade_sql.tar.gz.
func ReadScripts(in io.Reader) (Scripts, error) {
	s := Scripts{files: map[string]string{}}
	z, err := gzip.NewReader(in)
	if err != nil {
		return s, say.Errorf("not a gzip archive: %w", "不是 gzip 归档：%w", err)
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return s, say.Errorf("damaged: %w", "已损坏：%w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(t, maxScript))
		if err != nil {
			return s, say.Errorf("damaged: %w", "已损坏：%w", err)
		}
		switch base := path.Base(h.Name); {
		case base == "delete_guc" || base == "add_guc":
			names, err := gucList(base, b)
			if err != nil {
				return s, err
			}
			if base == "delete_guc" {
				s.Gone = names
			} else {
				s.Added = names
			}
		case strings.HasSuffix(base, ".sql"):
			s.files[base] = string(b)
		}
	}
}

// gucList reads lines of "name datanode".
func gucList(file string, b []byte) ([]string, error) {
	var out []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, say.Errorf("[GAUSS-50222] %s: %q is not a name and a kind", "[GAUSS-50222] %s：%q 不是名称加类型", file, line)
		}
		if f[1] == "datanode" {
			out = append(out, f[0])
		}
	}
	return out, nil
}

// header opens each merged script: one transaction for a database.
const header = "START TRANSACTION;\nSET IsInplaceUpgrade = on;\nSET search_path = 'pg_catalog';\nSET local client_min_messages = NOTICE;\nSET local log_min_messages = NOTICE;\n"

// part is a script and the kernel number that it leads to or back from.
type part struct {
	at   Kernel
	name string
}

// between are the scripts of one kind behind from, up to to.
func (s Scripts) between(kind Kind, db string, from, to Kernel) []part {
	var parts []part
	lead := string(kind) + "_catalog_" + db + "_"
	for name := range s.files {
		number, ok := strings.CutPrefix(strings.TrimSuffix(name, ".sql"), lead)
		if !ok {
			continue
		}
		whole, frac, _ := strings.Cut(number, "_")
		a, err1 := strconv.Atoi(whole)
		b, err2 := strconv.Atoi(frac)
		if err1 != nil || err2 != nil || len(frac) > 3 {
			continue
		}
		if at := Kernel(a*1000 + b); from < at && at <= to {
			parts = append(parts, part{at, name})
		}
	}
	return parts
}

// Merge is the script of one kind for database postgres (main) or for every
// other one, between two kernel numbers; "" when nothing is to be run
// (spec section 2.1).
func (s Scripts) Merge(kind Kind, main bool, from, to Kernel) string {
	db := "otherdb"
	if main {
		db = "maindb"
	}
	parts := s.between(kind, db, from, to)
	if len(parts) == 0 {
		return ""
	}
	back := kind == Rollback || kind == RollbackPost
	slices.SortFunc(parts, func(a, b part) int {
		if !back {
			return int(a.at - b.at)
		}
		// The vendor runs 92.506 last on the way back.
		if (a.at == 92506) != (b.at == 92506) {
			if a.at == 92506 {
				return 1
			}
			return -1
		}
		return int(b.at - a.at)
	})
	var out bytes.Buffer
	out.WriteString(header)
	for _, p := range parts {
		out.WriteString(s.files[p.name])
		if !strings.HasSuffix(s.files[p.name], "\n") {
			out.WriteByte('\n')
		}
	}
	out.WriteString("COMMIT;\n")
	return out.String()
}

// ScriptName is the name of a merged script in binary_upgrade, the vendor's own.
func ScriptName(kind Kind, main bool) string {
	db := "otherdb"
	if main {
		db = "maindb"
	}
	return fmt.Sprintf("%s_catalog_%s_tmp.sql", kind, db)
}

// ComponentPackage is the cluster manager's archive alone.
type ComponentPackage struct {
	PackageFile
	Release string   // out of the file's name
	Members []string // files in it, without directories
}

var cmName = regexp.MustCompile(`^openGauss-(?:CM-)?(\d+\.\d+\.\d+(?:-RC\d+)?)-`)

// ReadComponent reads and proves the archive of the cluster manager: name,
// rights, checksum, and that it holds the libraries the vendor asks for.
func ReadComponent(name string) (*ComponentPackage, error) {
	base := filepath.Base(name)
	m := cmName.FindStringSubmatch(base)
	if !isCM(base) || m == nil {
		return nil, bad("GAUSS-50004", base, say.F("this is not a package of the cluster manager by its name", "从文件名看不是 CM 安装包"))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, bad("GAUSS-50004", name, say.F("the package is not there: %s", "升级包不存在：%s", err.Error()))
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, bad("GAUSS-50201", name, say.F("it cannot be read: %s", "无法读取：%s", err.Error()))
	}
	owner := 0
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		owner = int(sys.Uid)
	}
	if err := proveRights(name, st.Mode(), owner, os.Geteuid()); err != nil {
		return nil, err
	}
	sum := sha256.New()
	in := io.TeeReader(f, sum)
	p := &ComponentPackage{Release: m[1]}
	if p.Members, err = members(base, in); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, bad("GAUSS-50201", name, say.F("it cannot be read: %s", "无法读取：%s", err.Error()))
	}
	p.PackageFile = PackageFile{Path: name, Sum: hex.EncodeToString(sum.Sum(nil)), Size: st.Size()}
	beside := filepath.Join(filepath.Dir(name), sumNames(base)[0])
	text, err := os.ReadFile(beside)
	if err != nil {
		return nil, bad("GAUSS-50201", beside, say.F("the checksum file is missing", "缺少校验文件"))
	}
	if err := CheckSum(filepath.Base(beside), string(text), p.Sum); err != nil {
		return nil, err
	}
	for _, need := range []string{"bin/cm_ctl", "bin/cm_agent", "bin/cm_server", "bin/om_monitor", "lib/libdcc.so", "lib/libgstor.so"} {
		if !slices.Contains(p.Members, need) {
			return nil, bad("GAUSS-50201", base, say.F("%s is not in it", "其中没有 %s", need))
		}
	}
	return p, nil
}

// proveRights lets nobody but root and who runs this have made or changed the package.
func proveRights(name string, mode os.FileMode, owner, self int) error {
	if mode.Perm()&0o022 != 0 {
		return bad("GAUSS-50205", name, say.F("others than its owner may write it (mode %04o)", "属主以外的用户可写（权限 %04o）", mode.Perm()))
	}
	if owner != 0 && owner != self {
		return bad("GAUSS-50205", name, say.F("it belongs to user %d, neither to root nor to who runs this", "属主为用户 %d，既不是 root 也不是当前用户", owner))
	}
	return nil
}

func members(base string, in io.Reader) ([]string, error) {
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, bad("GAUSS-50222", base, say.F("it is not a gzip archive: %s", "不是 gzip 压缩包：%s", err.Error()))
	}
	t := tar.NewReader(z)
	var out []string
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, bad("GAUSS-50222", base, say.F("it is damaged: %s", "已损坏：%s", err.Error()))
		}
		if h.Typeflag != tar.TypeDir {
			out = append(out, strings.Trim(path.Clean("/"+h.Name), "/"))
		}
	}
}
