package sim

import (
	"crypto/sha256"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Kinds of a file.
const (
	kindFile byte = 'f'
	kindDir  byte = 'd'
	kindLink byte = 'l'
)

// token marks who may change an inode in place; others copy it first.
type token struct{ _ byte }

type inode struct {
	own      *token
	kind     byte
	mode     uint32
	uid, gid int
	mtime    int64 // nanoseconds
	blob     *Blob
	target   string
	kids     map[string]*inode
}

// Blob is the content of a file. It never changes.
type Blob struct {
	data  []byte
	extra int64 // bytes that count but are not held: data directories of many gigabytes
	back  *backing
	sum   atomic.Pointer[[32]byte]
}

// backing lets an append share the array of what it appends to.
type backing struct {
	mu   sync.Mutex
	high int
}

func newBlob(data []byte) *Blob { return &Blob{data: data} }

func (b *Blob) size() int64 { return int64(len(b.data)) + b.extra }

func (b *Blob) digest() [32]byte {
	if s := b.sum.Load(); s != nil {
		return *s
	}
	s := sha256.Sum256(b.data)
	b.sum.Store(&s)
	return s
}

func (b *Blob) append(more []byte) *Blob {
	n := len(b.data)
	if b.back != nil && cap(b.data)-n >= len(more) {
		b.back.mu.Lock()
		defer b.back.mu.Unlock()
		if b.back.high == n {
			d := b.data[: n+len(more) : cap(b.data)]
			copy(d[n:], more)
			b.back.high = len(d)
			return &Blob{data: d, back: b.back, extra: b.extra}
		}
	}
	d := make([]byte, n+len(more), max(2*(n+len(more)), 512))
	copy(d, b.data)
	copy(d[n:], more)
	return &Blob{data: d, back: &backing{high: len(d)}, extra: b.extra}
}

// fsys is a machine's file tree.
type fsys struct {
	root *inode
	own  *token
	m    *Machine
	cap  int64
	used int64
}

func (f *fsys) clone(m *Machine) fsys {
	c := *f
	c.m = m
	f.own, c.own = &token{}, &token{} // neither may change in place what both see
	return c
}

func (f *fsys) stamp() int64 { return f.m.world.now.UnixNano() }

func (f *fsys) node(kind byte, mode uint32, u *User) *inode {
	n := &inode{own: f.own, kind: kind, mode: mode, uid: u.UID, gid: u.GID, mtime: f.stamp()}
	if kind == kindDir {
		n.kids = map[string]*inode{}
	}
	return n
}

// place is where a path leads.
type place struct {
	path string // absolute and without links
	ino  *inode // nil when only the last name is missing
}

func (p place) String() string { return p.path }

// dir is the directory that holds a place, name its name there.
func (p place) dir() string  { return p.path[:strings.LastIndexByte(p.path, '/')] }
func (p place) name() string { return p.path[strings.LastIndexByte(p.path, '/')+1:] }

const (
	accR uint32 = 4
	accW uint32 = 2
	accX uint32 = 1
)

func (n *inode) allows(u *User, want uint32) bool {
	if u.UID == 0 {
		return want != accX || n.kind == kindDir || n.mode&0o111 != 0
	}
	bits := n.mode & 7
	switch {
	case n.uid == u.UID:
		bits = n.mode >> 6 & 7
	case n.gid == u.GID || slices.Contains(u.Groups, n.gid):
		bits = n.mode >> 3 & 7
	}
	return bits&want == want
}

// entered is the error of going through n, which must be a directory.
func (n *inode) entered(u *User) error {
	switch {
	case n.kind != kindDir:
		return syscall.ENOTDIR
	case !n.allows(u, accX):
		return syscall.EACCES
	}
	return nil
}

// walk resolves a path. follow says whether a link at the end is followed.
func (f *fsys) walk(u *User, name string, follow bool) (place, error) {
	if name == "" {
		return place{}, syscall.ENOENT
	}
	var pathBuf [16]string
	var inoBuf [17]*inode
	comps, chain := pathBuf[:0], append(inoBuf[:0], f.root)
	rest, links := name, 0
	mustDir := strings.HasSuffix(name, "/")
	plain := name[0] == '/' && !mustDir && !strings.Contains(name, "//") // it is the path without links
	for {
		var comp string
		if comp, rest = firstOf(rest); comp == "" {
			break
		}
		cur := chain[len(chain)-1]
		if err := cur.entered(u); err != nil {
			return place{}, err
		}
		switch comp {
		case ".":
			plain = false
			continue
		case "..":
			plain = false
			if len(comps) > 0 {
				comps, chain = comps[:len(comps)-1], chain[:len(chain)-1]
			}
			continue
		}
		kid := cur.kids[comp]
		last := rest == "" || strings.Trim(rest, "/") == ""
		if kid == nil {
			if !last {
				return place{}, syscall.ENOENT
			}
			return place{path: joined(plain, name, append(comps, comp))}, nil
		}
		if kid.kind == kindLink && (!last || follow || mustDir) {
			if links++; links > 40 {
				return place{}, syscall.ELOOP
			}
			plain = false
			if strings.HasPrefix(kid.target, "/") {
				comps, chain = comps[:0], chain[:1]
			}
			if rest = kid.target + "/" + rest; last {
				rest = kid.target
			}
			continue
		}
		comps, chain = append(comps, comp), append(chain, kid)
	}
	ino := chain[len(chain)-1]
	if mustDir && ino.kind != kindDir {
		return place{}, syscall.ENOTDIR
	}
	return place{path: joined(plain, name, comps), ino: ino}, nil
}

// joined is the path of comps: name itself where that is plain.
func joined(plain bool, name string, comps []string) string {
	if plain {
		return name
	}
	return "/" + strings.Join(comps, "/")
}

// firstOf splits the first component off a path; the rest keeps its slash.
func firstOf(name string) (comp, rest string) {
	from := 0
	for from < len(name) && name[from] == '/' {
		from++
	}
	to := from
	for to < len(name) && name[to] != '/' {
		to++
	}
	return name[from:to], name[to:]
}

// owned makes the inode at a path of a place ours, with all above it, and returns it.
func (f *fsys) owned(path string) *inode {
	cur := f.mine(f.root)
	f.root = cur
	for c, rest := firstOf(path); c != ""; c, rest = firstOf(rest) {
		was := cur.kids[c]
		kid := f.mine(was)
		if kid != was {
			cur.kids[c] = kid
		}
		cur = kid
	}
	return cur
}

func (f *fsys) mine(n *inode) *inode {
	if n.own == f.own {
		return n
	}
	c := *n
	c.own = f.own
	if n.kids != nil {
		c.kids = make(map[string]*inode, len(n.kids)+1)
		for k, v := range n.kids {
			c.kids[k] = v
		}
	}
	return &c
}

// parentFor returns the owned directory that holds p, when u may write there.
func (f *fsys) parentFor(u *User, p place) (*inode, error) {
	if p.name() == "" {
		return nil, syscall.EBUSY
	}
	up := p.dir()
	cur := f.root
	for c, rest := firstOf(up); c != ""; c, rest = firstOf(rest) {
		cur = cur.kids[c]
	}
	if !cur.allows(u, accW|accX) {
		return nil, syscall.EACCES
	}
	dir := f.owned(up)
	if p.ino != nil && dir.mode&0o1000 != 0 && u.UID != 0 && p.ino.uid != u.UID && dir.uid != u.UID {
		return nil, syscall.EPERM
	}
	return dir, nil
}

func (f *fsys) charge(delta int64) error {
	if delta > 0 && f.cap > 0 && f.used+delta > f.cap {
		return syscall.ENOSPC
	}
	f.used += delta
	return nil
}

// stat returns where a path leads; a missing file is ENOENT.
func (f *fsys) stat(u *User, name string, follow bool) (place, error) {
	p, err := f.walk(u, name, follow)
	if err == nil && p.ino == nil {
		err = syscall.ENOENT
	}
	return p, err
}

func (f *fsys) read(u *User, name string) (*Blob, error) {
	p, err := f.stat(u, name, true)
	switch {
	case err != nil:
		return nil, err
	case p.ino.kind == kindDir:
		return nil, syscall.EISDIR
	case !p.ino.allows(u, accR):
		return nil, syscall.EACCES
	}
	return p.ino.blob, nil
}

// write puts content at name; a file that exists keeps mode and owner.
func (f *fsys) write(u *User, name string, b *Blob, mode uint32) error {
	p, err := f.walk(u, name, true)
	if err != nil {
		return err
	}
	if p.ino != nil {
		if p.ino.kind == kindDir {
			return syscall.EISDIR
		}
		if !p.ino.allows(u, accW) {
			return syscall.EACCES
		}
		if err := f.charge(b.size() - p.ino.blob.size()); err != nil {
			return err
		}
		n := f.owned(p.path)
		n.blob, n.mtime = b, f.stamp()
		return nil
	}
	dir, err := f.parentFor(u, p)
	if err != nil {
		return err
	}
	if err := f.charge(b.size()); err != nil {
		return err
	}
	n := f.node(kindFile, mode, u)
	n.blob = b
	dir.kids[p.name()] = n
	dir.mtime = n.mtime
	return nil
}

// put is write for root, who may use the last blocks of a full disk.
func (f *fsys) put(name string, b *Blob, mode uint32) error {
	size := f.cap
	f.cap = 0
	defer func() { f.cap = size }()
	return f.write(Root, name, b, mode)
}

func (f *fsys) mkdir(u *User, name string, mode uint32) error {
	p, err := f.walk(u, strings.TrimRight(name, "/"), true)
	if err != nil {
		return err
	}
	if p.ino != nil {
		return syscall.EEXIST
	}
	dir, err := f.parentFor(u, p)
	if err != nil {
		return err
	}
	dir.kids[p.name()] = f.node(kindDir, mode, u)
	dir.mtime = f.stamp()
	return nil
}

func (f *fsys) mkdirAll(u *User, name string, mode uint32) error {
	if p, err := f.walk(u, name, true); err == nil && p.ino != nil {
		if p.ino.kind != kindDir {
			return syscall.EEXIST
		}
		return nil
	}
	if up := path.Dir(strings.TrimRight(name, "/")); up != name && up != "." {
		if err := f.mkdirAll(u, up, 0o755); err != nil {
			return err
		}
	}
	err := f.mkdir(u, name, mode)
	if errors.Is(err, syscall.EEXIST) {
		err = nil
	}
	return err
}

func (f *fsys) symlink(u *User, target, name string) error {
	p, err := f.walk(u, name, false)
	if err != nil {
		return err
	}
	if p.ino != nil {
		return syscall.EEXIST
	}
	dir, err := f.parentFor(u, p)
	if err != nil {
		return err
	}
	n := f.node(kindLink, 0o777, u)
	n.target = target
	dir.kids[p.name()] = n
	dir.mtime = n.mtime
	return nil
}

func (n *inode) treeSize() int64 {
	switch n.kind {
	case kindFile:
		return n.blob.size()
	case kindDir:
		var s int64
		for _, k := range n.kids {
			s += k.treeSize()
		}
		return s
	}
	return 0
}

// unlink removes one name; a directory must be empty unless all is set.
func (f *fsys) unlink(u *User, name string, all bool) error {
	p, err := f.stat(u, name, false)
	if err != nil {
		return err
	}
	if p.ino.kind == kindDir && !all && len(p.ino.kids) > 0 {
		return syscall.ENOTEMPTY
	}
	if p.ino.kind == kindDir && len(p.ino.kids) > 0 && !p.ino.allows(u, accW|accX) {
		return syscall.EACCES
	}
	dir, err := f.parentFor(u, p)
	if err != nil {
		return err
	}
	f.used -= p.ino.treeSize()
	delete(dir.kids, p.name())
	dir.mtime = f.stamp()
	return nil
}

// rename moves from over to as rename(2) does.
func (f *fsys) rename(u *User, from, to string) error {
	src, err := f.stat(u, strings.TrimRight(from, "/"), false)
	if err != nil {
		return err
	}
	dst, err := f.walk(u, strings.TrimRight(to, "/"), false)
	if err != nil {
		return err
	}
	if src.String() == dst.String() {
		return nil
	}
	if src.ino.kind == kindDir && strings.HasPrefix(dst.String()+"/", src.String()+"/") {
		return syscall.EINVAL
	}
	if dst.ino != nil {
		switch {
		case dst.ino.kind == kindDir && src.ino.kind != kindDir:
			return syscall.EISDIR
		case dst.ino.kind != kindDir && src.ino.kind == kindDir:
			return syscall.ENOTDIR
		case dst.ino.kind == kindDir && len(dst.ino.kids) > 0:
			return syscall.ENOTEMPTY
		}
	}
	if _, err := f.parentFor(u, src); err != nil {
		return err
	}
	if _, err := f.parentFor(u, dst); err != nil {
		return err
	}
	if dst.ino != nil {
		f.used -= dst.ino.treeSize()
	}
	out := f.owned(src.dir())
	moved := out.kids[src.name()]
	delete(out.kids, src.name())
	into := f.owned(dst.dir())
	into.kids[dst.name()] = moved
	out.mtime, into.mtime = f.stamp(), f.stamp()
	f.m.renamed(src.String(), dst.String())
	return nil
}

// graft puts a tree that exists elsewhere (an archive, a copy) at name.
func (f *fsys) graft(u *User, name string, n *inode) error {
	p, err := f.walk(u, name, false)
	if err != nil {
		return err
	}
	dir, err := f.parentFor(u, p)
	if err != nil {
		return err
	}
	size := n.treeSize()
	if p.ino != nil {
		size -= p.ino.treeSize()
	}
	if err := f.charge(size); err != nil {
		return err
	}
	dir.kids[p.name()] = n
	dir.mtime = f.stamp()
	return nil
}

// change lets fn alter mode, owner or time of what is at name.
func (f *fsys) change(u *User, name string, follow bool, fn func(*inode)) error {
	p, err := f.stat(u, name, follow)
	if err != nil {
		return err
	}
	if u.UID != 0 && p.ino.uid != u.UID {
		return syscall.EPERM
	}
	fn(f.owned(p.path))
	return nil
}

func sortedKids(n *inode) []string {
	names := make([]string, 0, len(n.kids))
	for k := range n.kids {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

func (n *inode) modTime() time.Time { return time.Unix(0, n.mtime).UTC() }
