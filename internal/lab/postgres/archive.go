package postgres

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/pgzip"
)

// entry is one file or link of a package.
type entry struct {
	name string // slash-separated, relative
	link string // target of a symbolic link
	exec bool
	body []byte
}

// packageTime is the time of every entry, so that the same software makes the
// same archive byte for byte.
var packageTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// maxPackage bounds what is read from an archive before it is believed.
const maxPackage = 1 << 30

// readNPM reads the software from an npm package: everything under
// package/native, and the symbolic links that its postinstall script would
// make from pg-symlinks.json. The script itself is not run.
func readNPM(r io.Reader) ([]entry, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	var entries []entry
	var links []byte
	tr := tar.NewReader(io.LimitReader(zr, maxPackage))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
		name, ok := strings.CutPrefix(path.Clean(h.Name), "package/native/")
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", h.Name, err)
		}
		if name == "pg-symlinks.json" {
			links = body
			continue
		}
		entries = append(entries, entry{name: name, exec: h.Mode&0o111 != 0, body: body})
	}
	more, err := npmLinks(links)
	if err != nil {
		return nil, err
	}
	entries = append(entries, more...)
	return entries, checkEntries(entries)
}

// npmLinks reads pg-symlinks.json: a list of {source, target} where target
// becomes a link to source; both are paths from the package's root.
func npmLinks(body []byte) ([]entry, error) {
	if body == nil {
		return nil, nil
	}
	var list []struct{ Source, Target string }
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("pg-symlinks.json: %w", err)
	}
	var out []entry
	for _, l := range list {
		source, ok1 := strings.CutPrefix(path.Clean(l.Source), "native/")
		target, ok2 := strings.CutPrefix(path.Clean(l.Target), "native/")
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("pg-symlinks.json: %q → %q leaves the package", l.Target, l.Source)
		}
		rel, err := filepath.Rel(path.Dir(target), source)
		if err != nil {
			return nil, fmt.Errorf("pg-symlinks.json: %w", err)
		}
		out = append(out, entry{name: target, link: filepath.ToSlash(rel)})
	}
	return out, nil
}

// checkEntries makes sure that the entries are a server's software and stay in their place.
func checkEntries(entries []entry) error {
	have := map[string]bool{}
	for _, e := range entries {
		if !filepath.IsLocal(e.name) || e.link != "" && !filepath.IsLocal(path.Join(path.Dir(e.name), e.link)) {
			return fmt.Errorf("entry %q leaves the package", e.name)
		}
		have[e.name] = true
	}
	for _, need := range []string{"bin/postgres", "bin/initdb", "bin/pg_ctl"} {
		if !have[need] {
			return fmt.Errorf("%s is missing", need)
		}
	}
	return nil
}

// packTree writes the software in a site's own tree to w as a package. Links
// that lead out of the tree become copies of what they lead to.
func packTree(w io.Writer, root string) error {
	var entries []entry
	for _, top := range []string{"bin", "lib", "share"} {
		if _, err := os.Stat(filepath.Join(root, top)); errors.Is(err, fs.ErrNotExist) && top == "share" {
			continue // distributions keep it elsewhere, and the server finds it there
		}
		err := filepath.WalkDir(filepath.Join(root, top), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			e, err := treeEntry(root, p, d)
			entries = append(entries, e)
			return err
		})
		if err != nil {
			return fmt.Errorf("read the tree: %w", err)
		}
	}
	if err := checkEntries(entries); err != nil {
		return fmt.Errorf("%s: %w", root, err)
	}
	return writeArchive(w, entries)
}

func treeEntry(root, p string, d fs.DirEntry) (entry, error) {
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return entry{}, err
	}
	e := entry{name: filepath.ToSlash(rel)}
	if d.Type()&fs.ModeSymlink != 0 {
		link, err := os.Readlink(p)
		if err != nil {
			return e, err
		}
		if !filepath.IsAbs(link) && filepath.IsLocal(filepath.Join(filepath.Dir(rel), link)) {
			e.link = link
			return e, nil
		}
	}
	fi, err := os.Stat(p)
	if err != nil {
		return e, err
	}
	if !fi.Mode().IsRegular() {
		return e, fmt.Errorf("%s: neither a file nor a link to one", p)
	}
	e.exec = fi.Mode()&0o111 != 0
	e.body, err = os.ReadFile(p)
	return e, err
}

// writeArchive writes entries as a gzipped tar: sorted, one time, one owner,
// folders first. The same entries give the same bytes.
func writeArchive(w io.Writer, entries []entry) error {
	zw := pgzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	made := map[string]bool{}
	for _, e := range entries {
		for _, dir := range parents(e.name) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: packageTime}); err != nil {
				return err
			}
		}
		if err := writeEntry(tw, e); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), zw.Close())
}

func writeEntry(tw *tar.Writer, e entry) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: 0o644, Size: int64(len(e.body)), ModTime: packageTime}
	switch {
	case e.link != "":
		h.Typeflag, h.Linkname, h.Size, h.Mode = tar.TypeSymlink, e.link, 0, 0o777
	case e.exec:
		h.Mode = 0o755
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(tw, bytes.NewReader(e.body))
	return err
}

// parents returns the folders above name, outermost first.
func parents(name string) []string {
	var out []string
	for i, r := range name {
		if r == '/' {
			out = append(out, name[:i])
		}
	}
	return out
}

// unpack writes the package's software into the new directory dir, as the account.
func (p Package) unpack(dir string, acc account) error {
	if err := acc.mkdir(dir, 0o755); err != nil {
		return err
	}
	out, err := acc.command(dir, "tar", "-xzf", p.Path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("unpack %s: %w: %s", p.Path, err, bytes.TrimSpace(out))
	}
	return nil
}
