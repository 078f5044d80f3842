package sim

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// archive is a tar file that was read once, as a tree and as a list of its members.
type archive struct {
	root  *inode
	names []string
	err   error // what was wrong behind the last good member
}

// readArchive reads a tar file, compressed or not, and remembers it by its
// content: the same package is unpacked thousands of times.
func (w *World) readArchive(b *Blob) (*archive, error) {
	known := w.defs.tars
	sum := b.digest()
	known.Lock()
	defer known.Unlock()
	if a := known.read[sum]; a != nil {
		return a, nil
	}
	r, err := plain(b.data)
	if err != nil {
		return nil, err
	}
	a := parseTar(r)
	if len(a.names) == 0 && a.err != nil {
		return nil, a.err
	}
	known.read[sum] = a
	return a, nil
}

func plain(data []byte) (io.Reader, error) {
	r := bytes.NewReader(data)
	switch {
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.HasPrefix(data, []byte("BZh")):
		return bzip2.NewReader(r), nil
	}
	return r, nil
}

func parseTar(r io.Reader) *archive {
	a := &archive{root: &inode{kind: kindDir, mode: 0o755, kids: map[string]*inode{}}}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return a
		}
		if err != nil {
			a.err = err
			return a
		}
		name := strings.Trim(path.Clean("/"+h.Name), "/")
		a.names = append(a.names, h.Name)
		n := &inode{mode: uint32(h.Mode) & 0o7777, uid: h.Uid, gid: h.Gid, mtime: h.ModTime.UnixNano()}
		switch h.Typeflag {
		case tar.TypeDir:
			n.kind, n.kids = kindDir, map[string]*inode{}
		case tar.TypeSymlink:
			n.kind, n.target, n.mode = kindLink, h.Linkname, 0o777
		case tar.TypeReg:
			data, err := io.ReadAll(t)
			if err != nil {
				a.err = err
				return a
			}
			n.kind, n.blob = kindFile, newBlob(data)
		default:
			continue
		}
		if name != "" {
			a.put(name, n)
		}
	}
}

func (a *archive) put(name string, n *inode) {
	parts := strings.Split(name, "/")
	cur := a.root
	for _, p := range parts[:len(parts)-1] {
		next := cur.kids[p]
		if next == nil || next.kind != kindDir {
			next = &inode{kind: kindDir, mode: 0o755, mtime: n.mtime, uid: n.uid, gid: n.gid, kids: map[string]*inode{}}
			cur.kids[p] = next
		}
		cur = next
	}
	last := parts[len(parts)-1]
	if old := cur.kids[last]; old != nil && old.kind == kindDir && n.kind == kindDir {
		n.kids = old.kids
	}
	cur.kids[last] = n
}

type tarArgs struct {
	mode       byte // x, c or t
	file, dir  string
	strip      int
	comp       string // the program that unpacks
	keepOwner  bool
	noOwner    bool
	keepPerm   bool
	exclude    []string
	names      []string
	verbose    bool
	skipOld    bool
	keepNewest bool
}

func tarTool(c *Call) int {
	a, good := c.tarArgs()
	if !good {
		return 2
	}
	if a.comp != "" && !c.Machine.Exists("/usr/bin/"+a.comp) {
		c.Errorf("tar (child): %s: Cannot exec: No such file or directory\ntar (child): Error is not recoverable: exiting now\n", a.comp)
		return c.Fail(2, "tar: Child returned status 2\ntar: Error is not recoverable: exiting now")
	}
	if a.mode == 'c' {
		return c.tarCreate(a)
	}
	var b *Blob
	if a.file == "-" || a.file == "" {
		b = newBlob(c.Input())
	} else {
		var err error
		if b, err = c.Machine.fs.read(c.User, c.Abs(a.file)); err != nil {
			return c.Fail(2, "tar (child): %s: Cannot open: %s\ntar (child): Error is not recoverable: exiting now\ntar: Child returned status 2\ntar: Error is not recoverable: exiting now", a.file, errText(err))
		}
	}
	ar, err := c.World.readArchive(b)
	if err != nil {
		return c.Fail(2, "tar: This does not look like a tar archive\ntar: Exiting with failure status due to previous errors")
	}
	code := 0
	if a.mode == 't' {
		for _, n := range ar.names {
			c.Print(n + "\n")
		}
	} else {
		code = c.tarExtract(a, ar)
	}
	if ar.err != nil {
		return c.Fail(2, "tar: Unexpected EOF in archive\ntar: Error is not recoverable: exiting now")
	}
	return code
}

func (c *Call) tarArgs() (tarArgs, bool) {
	a := tarArgs{dir: c.Dir}
	args := c.Args()
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		args = append([]string{"-" + args[0]}, args[1:]...) // the old way: tar xzf
	}
	for i := 0; i < len(args); i++ {
		w := args[i]
		val := func(def string) string {
			if def != "" {
				return def
			}
			if i++; i < len(args) {
				return args[i]
			}
			return ""
		}
		switch {
		case strings.HasPrefix(w, "--"):
			if !c.tarLong(&a, w, val) {
				return a, false
			}
		case len(w) > 1 && w[0] == '-':
			for j := 1; j < len(w); j++ {
				switch w[j] {
				case 'x', 'c', 't':
					a.mode = w[j]
				case 'z':
					a.comp = "gzip"
				case 'j':
					a.comp = "bzip2"
				case 'J':
					a.comp = "xz"
				case 'v':
					a.verbose = true
				case 'p':
					a.keepPerm = true
				case 'f':
					a.file = val(w[j+1:])
					j = len(w)
				case 'C':
					a.dir = c.Abs(val(w[j+1:]))
					j = len(w)
				case 'h':
				default:
					return a, c.unknown(w)
				}
			}
		default:
			a.names = append(a.names, w)
		}
	}
	return a, a.mode != 0
}

// tarLong reads an option of more than one letter; val gives its value, or the next word.
func (c *Call) tarLong(a *tarArgs, w string, val func(string) string) bool {
	k, v, _ := strings.Cut(w[2:], "=")
	switch k {
	case "strip-components":
		_, _ = fmt.Sscan(val(v), &a.strip)
	case "same-owner":
		a.keepOwner = true
	case "no-same-owner":
		a.noOwner = true
	case "preserve-permissions", "same-permissions":
		a.keepPerm = true
	case "no-same-permissions", "numeric-owner", "overwrite", "sort", "mtime", "owner", "group", "warning", "no-overwrite-dir":
	case "skip-old-files":
		a.skipOld = true
	case "exclude":
		a.exclude = append(a.exclude, val(v))
	case "directory":
		a.dir = c.Abs(val(v))
	case "file":
		a.file = val(v)
	case "extract", "list", "create":
		a.mode = k[0]
		if k == "extract" {
			a.mode = 'x'
		} else if k == "list" {
			a.mode = 't'
		}
	default:
		return c.unknown(w)
	}
	return true
}

// tarExtract puts the tree of an archive below a directory.
func (c *Call) tarExtract(a tarArgs, ar *archive) int {
	dir, err := c.Machine.fs.stat(c.User, a.dir, true)
	if err != nil || dir.ino.kind != kindDir {
		return c.Fail(2, "tar: %s: Cannot open: No such file or directory\ntar: Error is not recoverable: exiting now", a.dir)
	}
	root := ar.root
	for range a.strip {
		flat := &inode{kind: kindDir, mode: 0o755, kids: map[string]*inode{}}
		for _, k := range sortedKids(root) {
			for n, v := range root.kids[k].kids {
				flat.kids[n] = v
			}
		}
		root = flat
	}
	if len(a.names) > 0 {
		picked := &archive{root: &inode{kind: kindDir, mode: 0o755, kids: map[string]*inode{}}}
		for _, name := range a.names {
			n := root
			clean := strings.Trim(path.Clean("/"+name), "/")
			for _, part := range strings.Split(clean, "/") {
				if n = n.kids[part]; n == nil {
					return c.Fail(2, "tar: %s: Not found in archive\ntar: Exiting with failure status due to previous errors", name)
				}
			}
			picked.put(clean, n)
		}
		root = picked.root
	}
	for _, k := range sortedKids(root) {
		if err := c.unpack(root.kids[k], dir.String()+"/"+k, a); err != nil {
			return c.Fail(2, "tar: %s: Cannot open: %s\ntar: Exiting with failure status due to previous errors", k, errText(err))
		}
	}
	return 0
}

func (c *Call) unpack(n *inode, to string, a tarArgs) error {
	f := &c.Machine.fs
	p, err := f.walk(c.User, to, false)
	if err != nil {
		return err
	}
	if p.ino != nil {
		if p.ino.kind == kindDir && n.kind == kindDir {
			for _, k := range sortedKids(n) {
				if err := c.unpack(n.kids[k], to+"/"+k, a); err != nil {
					return err
				}
			}
			return nil
		}
		if a.skipOld {
			return nil
		}
		if p.ino.kind == kindDir {
			return syscall.EISDIR
		}
		if err := f.unlink(c.User, to, false); err != nil {
			return err
		}
	}
	tree := n
	if c.User.UID != 0 || a.noOwner {
		tree = owned(n, c.User)
	}
	err = f.graft(c.User, to, tree)
	if errors.Is(err, syscall.ENOSPC) && n.kind == kindDir {
		// what fits is written: that is the half tree a crash test must meet
		if err := f.graft(c.User, to, &inode{kind: kindDir, mode: tree.mode, uid: tree.uid, gid: tree.gid, mtime: tree.mtime, kids: map[string]*inode{}}); err != nil {
			return err
		}
		for _, k := range sortedKids(n) {
			if err := c.unpack(n.kids[k], to+"/"+k, a); err != nil {
				return err
			}
		}
		return nil
	}
	return err
}

// owned is the tree as if u had made it.
func owned(n *inode, u *User) *inode {
	c := *n
	c.uid, c.gid = u.UID, u.GID
	if n.kids != nil {
		c.kids = make(map[string]*inode, len(n.kids))
		for k, v := range n.kids {
			c.kids[k] = owned(v, u)
		}
	}
	return &c
}

// packers are compressors to be used again: a new one is a megabyte. Nobody
// here asks how small an archive is.
var packers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.HuffmanOnly)
	return z
}}

func (c *Call) tarCreate(a tarArgs) int {
	var buf bytes.Buffer
	var dst io.Writer = &buf
	var gz *gzip.Writer
	if a.comp == "gzip" {
		gz = packers.Get().(*gzip.Writer)
		defer packers.Put(gz)
		gz.Reset(&buf)
		dst = gz
	} else if a.comp != "" {
		c.unknown("-" + a.comp)
		return 2
	}
	t := tar.NewWriter(dst)
	for _, name := range a.names {
		abs := name
		if name[0] != '/' {
			abs = a.dir + "/" + name
		}
		p, err := c.Machine.fs.stat(c.User, abs, false)
		if err != nil {
			return c.Fail(2, "tar: %s: Cannot stat: %s\ntar: Exiting with failure status due to previous errors", name, errText(err))
		}
		if err := c.pack(t, strings.TrimLeft(name, "/"), p.ino, a); err != nil {
			return c.Fail(2, "tar: %s: Cannot open: %s", name, errText(err))
		}
	}
	_ = t.Close()
	if gz != nil {
		_ = gz.Close()
	}
	if a.file == "-" || a.file == "" {
		_, _ = c.out.Write(buf.Bytes())
		return 0
	}
	if err := c.WriteFile(a.file, buf.Bytes(), 0o644); err != nil {
		return c.Fail(2, "tar: %s: Cannot open: %s", a.file, errText(err))
	}
	return 0
}

func (c *Call) pack(t *tar.Writer, name string, n *inode, a tarArgs) error {
	if slices.ContainsFunc(a.exclude, func(x string) bool { m, _ := path.Match(x, lastName(name)); return m || x == name }) {
		return nil
	}
	h := &tar.Header{Name: name, Mode: int64(n.mode), Uid: n.uid, Gid: n.gid, Uname: c.Machine.userName(n.uid), ModTime: n.modTime(), Format: tar.FormatGNU}
	switch n.kind {
	case kindDir:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimRight(name, "/")+"/"
	case kindLink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, n.target
	default:
		if !n.allows(c.User, accR) {
			return syscall.EACCES
		}
		h.Typeflag, h.Size = tar.TypeReg, int64(len(n.blob.data))
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if n.kind == kindFile {
		_, err := t.Write(n.blob.data)
		return err
	}
	for _, k := range sortedKids(n) {
		if err := c.pack(t, strings.TrimRight(name, "/")+"/"+k, n.kids[k], a); err != nil {
			return err
		}
	}
	return nil
}
