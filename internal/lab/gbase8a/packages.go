package gbase8a

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Package makes the archive of a release: a gcinstall directory of simulated
// programs. Its name ends in .tar.bz2 as the vendor's does; inside it is
// compressed with gzip, which tar finds out by itself.
func Package(release string) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	t := tar.NewWriter(z)
	put := func(name, body string, mode int64, kind byte) {
		// Writing to memory cannot fail, and the header is well-formed.
		_ = t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(body)), Typeflag: kind, ModTime: time.Unix(1700000000, 0), Format: tar.FormatPAX})
		_, _ = t.Write([]byte(body))
	}
	put("gcinstall/", "", 0o755, tar.TypeDir)
	for _, prog := range packaged {
		put("gcinstall/"+prog, sim.Program(fmt.Sprintf("%s %s %s", tool, prog, release)), 0o755, tar.TypeReg)
	}
	put("gcinstall/demo.options", "installPrefix= /opt\ncoordinateHost = \ndataHost = \n#existCoordinateHost =\n#existDataHost =\ndbaUser = gbase\ndbaGroup = gbase\ndbaPwd = ''\nrootPwd = ''\n", 0o644, tar.TypeReg)
	put("gcinstall/pexpect.py", "# as shipped\n", 0o644, tar.TypeReg)
	_ = t.Close()
	_ = z.Close()
	return buf.Bytes()
}

// WritePackages writes the packages of a config's releases with their .sha256 and returns their paths.
func WritePackages(dir string, cfg Config) ([]string, error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of packages: %w", err)
	}
	var paths []string
	for _, r := range cfg.Packages {
		file := filepath.Join(dir, packageName(cfg, r))
		body := Package(r)
		sum := sha256.Sum256(body)
		if err := os.WriteFile(file, body, 0o644); err != nil {
			return nil, fmt.Errorf("write a package: %w", err)
		}
		line := hex.EncodeToString(sum[:]) + "  " + filepath.Base(file) + "\n"
		if err := os.WriteFile(file+".sha256", []byte(line), 0o644); err != nil {
			return nil, fmt.Errorf("write a package's sum: %w", err)
		}
		paths = append(paths, file)
	}
	return paths, nil
}

// Whole is the cluster's own truth about an end: every node on one release
// with everything running and OPEN, modes NORMAL, no user's password left in a
// file, no test table, and no rule of the manual broken. It names what is not so.
func (c *Cluster) Whole(w *sim.World) error {
	var bad []string
	note := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if n.Version != c.Nodes[0].Version {
			note("%s has release %s, %s has %s", n.Name, n.Version, c.Nodes[0].Name, c.Nodes[0].Version)
		}
		for _, prog := range allPrograms {
			switch p := c.running(w, n, prog); {
			case c.has(n, prog) && p == nil:
				note("%s does not run on %s", prog, n.Name)
			case p != nil && !strings.HasSuffix(p.Image, " "+n.Version):
				note("%s runs another release on %s than is installed: %s", prog, n.Name, p.Image)
			}
		}
		if m := w.Machine(n.Machine); m != nil {
			for _, f := range c.passwordFiles(m) {
				note("a password is left in %s on %s", f, n.Name)
			}
		}
	}
	if c.mended {
		note("the run ended with mixed releases")
	}
	if open, all := c.openCount(w); open < all {
		note("%d of %d gcware OPEN", open, all)
	}
	for _, t := range c.tables {
		note("test table %s is left", t)
	}
	for _, v := range c.violations {
		note("broken: %s", v)
	}
	if len(bad) > 0 {
		return fmt.Errorf("%s", strings.Join(bad, "; "))
	}
	return nil
}

// passwordFiles are the demo.options files with a password under the user's home.
func (c *Cluster) passwordFiles(m *sim.Machine) []string {
	var found []string
	var walk func(dir string)
	walk = func(dir string) {
		for _, name := range m.List(dir) {
			p := dir + "/" + name
			if m.IsDir(p) {
				walk(p)
				continue
			}
			if text, _ := m.Read(p); strings.Contains(text, DBAPassword) {
				found = append(found, p)
			}
		}
	}
	walk(home)
	return found
}

// DBAPassword is the operating system password of the DBA user in every lab.
const DBAPassword = "dba-practice-1"
