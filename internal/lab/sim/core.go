package sim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// core are the usual programs. Each knows the options that drivers use and
// complains about others, so that a test cannot pass on a misreading.
var core = map[string]Tool{
	"cat": cat, "dd": dd, "mv": mv, "cp": cp, "rm": rm, "mkdir": mkdir, "rmdir": rmdir, "ln": ln,
	"readlink": readlink, "realpath": realpath, "stat": statTool, "test": test, "[": test, "ls": ls, "find": find,
	"chmod": chmod, "chown": chown, "touch": touch, "sync": ok, "true": ok, "false": func(*Call) int { return 1 },
	"df": df, "du": du, "sha256sum": hashTool, "md5sum": hashTool, "date": date, "id": id, "whoami": whoami,
	"uname": uname, "hostname": hostname, "ps": ps, "pgrep": pgrep, "pkill": pgrep, "kill": kill, "sleep": sleep,
	"grep": grep, "head": head, "tail": head, "wc": wc, "echo": echo, "printf": printf, "env": env, "timeout": timeout,
	"nice": nice, "nohup": nohup, "sh": sh, "bash": sh, "systemctl": systemctl, "sudo": sudo, "tar": tarTool,
	"basename": basename, "dirname": dirname, "truncate": truncate, "cmp": cmpTool, "bzip2": onlyThere, "gzip": onlyThere,
	"xz": onlyThere, "which": which, "mktemp": mktemp, "getconf": getconf, "nproc": nproc, "free": free, "getent": getent,
}

func registerCore(d *defs) {
	for n, t := range core {
		d.tools[n] = t
	}
}

// coreBin is /usr/bin of every machine.
func coreBin() *inode {
	dir := &inode{kind: kindDir, mode: 0o755, mtime: Epoch.UnixNano(), kids: map[string]*inode{}}
	for n := range core {
		dir.kids[n] = &inode{kind: kindFile, mode: 0o755, mtime: Epoch.UnixNano(), blob: newBlob([]byte(Program(n)))}
	}
	return dir
}

func ok(*Call) int { return 0 }

// onlyThere is a program that only has to exist for others.
func onlyThere(c *Call) int {
	c.World.Complain("%s: %q is not simulated", c.Machine.name, c.Argv)
	return 1
}

// opts parses options the way getopt does. short lists the letters, those
// that take a value followed by ':'; long the words, with '=' when they take one.
type opts struct {
	set  map[string]string
	rest []string
}

func (o opts) has(names ...string) bool {
	for _, n := range names {
		if _, ok := o.set[n]; ok {
			return true
		}
	}
	return false
}

func (c *Call) getopt(short string, long ...string) (opts, bool) {
	var o opts
	set := func(name, val string) {
		if o.set == nil {
			o.set = map[string]string{}
		}
		o.set[name] = val
	}
	args := c.Args()
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			o.rest = append(o.rest, args[i+1:]...)
			return o, true
		case strings.HasPrefix(a, "--"):
			name, val, has := strings.Cut(a[2:], "=")
			switch {
			case slices.Contains(long, name) && !has, slices.Contains(long, name+"=") && has:
				set(name, val)
			case slices.Contains(long, name+"=") && i+1 < len(args):
				i++
				set(name, args[i])
			default:
				return o, c.unknown(a)
			}
		case len(a) > 1 && a[0] == '-':
			for j := 1; j < len(a); j++ {
				k := strings.IndexByte(short, a[j])
				if k < 0 || a[j] == ':' {
					return o, c.unknown(a)
				}
				if k+1 < len(short) && short[k+1] == ':' {
					v := a[j+1:]
					if v == "" {
						if i++; i >= len(args) {
							return o, c.unknown(a)
						}
						v = args[i]
					}
					set(a[j:j+1], v)
					break
				}
				set(a[j:j+1], "")
			}
		default:
			o.rest = append(o.rest, a)
		}
	}
	return o, true
}

func (c *Call) unknown(what string) bool {
	c.World.Complain("%s: option %q of %q is not simulated", c.Machine.name, what, c.Argv)
	c.Errorf("%s: unrecognized option '%s'\n", c.base(), what)
	return false
}

func (c *Call) failPath(what, name string, err error) int {
	return c.Fail(1, "%s: %s'%s': %s", c.base(), what, name, errText(err))
}

func cat(c *Call) int {
	o, good := c.getopt("")
	if !good {
		return 1
	}
	if len(o.rest) == 0 {
		_, _ = c.out.Write(c.Input())
		return 0
	}
	code := 0
	for _, name := range o.rest {
		if name == "-" {
			_, _ = c.out.Write(c.Input())
			continue
		}
		b, err := c.ReadFile(name)
		if err != nil {
			code = c.Fail(1, "cat: %s: %s", name, errText(err))
			continue
		}
		_, _ = c.out.Write(b)
	}
	return code
}

func dd(c *Call) int {
	arg := map[string]string{}
	for _, a := range c.Args() {
		k, v, _ := strings.Cut(a, "=")
		if !slices.Contains([]string{"if", "of", "oflag", "conv", "bs", "skip", "count", "status", "iflag", "seek"}, k) {
			c.unknown(a)
			return 1
		}
		arg[k] = v
	}
	var data []byte
	if in, has := arg["if"]; !has {
		data = c.Input()
	} else {
		var err error
		if in == "/dev/zero" || in == "/dev/null" {
			data = nil
		} else if data, err = c.ReadFile(in); err != nil {
			return c.Fail(1, "dd: failed to open '%s': %s", in, errText(err))
		}
	}
	bs := int64(512)
	if arg["bs"] != "" {
		bs = size(arg["bs"])
	}
	if arg["skip"] != "" {
		n := size(arg["skip"])
		if !strings.Contains(arg["iflag"], "skip_bytes") {
			n *= bs
		}
		data = data[min(n, int64(len(data))):]
	}
	if arg["count"] != "" {
		n := size(arg["count"])
		if !strings.Contains(arg["iflag"], "count_bytes") {
			n *= bs
		}
		if arg["if"] == "/dev/zero" {
			data = make([]byte, n)
		}
		data = data[:min(n, int64(len(data)))]
	}
	if out, has := arg["of"]; has {
		if err := c.ddWrite(out, data, arg, bs); err != nil {
			what := "error writing"
			if errText(err) != errTexts[syscall.ENOSPC] {
				what = "failed to open"
			}
			return c.Fail(1, "dd: %s '%s': %s", what, out, errText(err))
		}
	} else {
		_, _ = c.out.Write(data)
	}
	if arg["status"] != "none" {
		full, part := int64(len(data))/bs, 0
		if int64(len(data))%bs != 0 {
			part = 1
		}
		c.Errorf("%d+%d records in\n%d+%d records out\n%d bytes copied, 0.001 s, 1.0 MB/s\n", full, part, full, part, len(data))
	}
	return 0
}

func (c *Call) ddWrite(out string, data []byte, arg map[string]string, bs int64) error {
	flags := strings.Split(arg["conv"]+","+arg["oflag"], ",")
	f, abs := &c.Machine.fs, c.Abs(out)
	if abs == "/dev/null" {
		return nil
	}
	p, err := f.walk(c.User, abs, true)
	if err != nil {
		return err
	}
	if p.ino == nil && slices.Contains(flags, "nocreat") {
		return syscall.ENOENT
	}
	if p.ino != nil && slices.Contains(flags, "excl") {
		return syscall.EEXIST
	}
	var old *Blob
	if p.ino != nil && p.ino.kind == kindFile && slices.Contains(flags, "notrunc") {
		old = p.ino.blob
	}
	var b *Blob
	switch {
	case old != nil && slices.Contains(flags, "append"):
		b = old.append(data)
	case old != nil:
		at := size(arg["seek"])
		if !slices.Contains(flags, "seek_bytes") {
			at *= bs
		}
		buf := make([]byte, max(int64(len(old.data)), at+int64(len(data))))
		copy(buf, old.data)
		copy(buf[at:], data)
		b = newBlob(buf)
	default:
		b = newBlob(bytes.Clone(data))
	}
	err = f.write(c.User, abs, b, 0o644)
	if errors.Is(err, syscall.ENOSPC) && f.cap > f.used {
		// a full disk takes what still fits: the half file is what a crash test must meet
		room := f.cap - f.used
		if part := b.data[:min(int64(len(b.data)), room)]; old == nil {
			_ = f.write(c.User, abs, newBlob(bytes.Clone(part)), 0o644)
		}
	}
	return err
}

func size(s string) int64 {
	mult := int64(1)
	for suffix, m := range map[string]int64{"K": 1 << 10, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30} {
		if strings.HasSuffix(s, suffix) {
			s, mult = s[:len(s)-1], m
			break
		}
	}
	n, _ := strconv.ParseInt(s, 10, 64)
	return n * mult
}

// into is where a source ends up when dst may be a directory.
func (c *Call) into(src, dst string, noDir bool) string {
	if noDir {
		return dst
	}
	if p, err := c.Machine.fs.stat(c.User, c.Abs(dst), true); err == nil && p.ino.kind == kindDir {
		return strings.TrimRight(dst, "/") + "/" + lastName(src)
	}
	return dst
}

func lastName(p string) string {
	p = strings.TrimRight(p, "/")
	return p[strings.LastIndexByte(p, '/')+1:]
}

func mv(c *Call) int {
	o, good := c.getopt("Tnfv", "no-target-directory", "no-clobber", "force")
	if !good || len(o.rest) < 2 {
		return 1
	}
	dst := o.rest[len(o.rest)-1]
	for _, src := range o.rest[:len(o.rest)-1] {
		to := c.into(src, dst, o.has("T", "no-target-directory"))
		if len(o.rest) > 2 && to == dst {
			return c.Fail(1, "mv: target '%s' is not a directory", dst)
		}
		if _, err := c.Machine.fs.stat(c.User, c.Abs(to), false); err == nil && o.has("n", "no-clobber") {
			continue
		}
		if err := c.Machine.fs.rename(c.User, c.Abs(src), c.Abs(to)); err != nil {
			if _, e := c.Machine.fs.stat(c.User, c.Abs(src), false); e != nil {
				return c.failPath("cannot stat ", src, e)
			}
			return c.Fail(1, "mv: cannot move '%s' to '%s': %s", src, to, errText(err))
		}
	}
	return 0
}

func cp(c *Call) int {
	o, good := c.getopt("aprRTfndP", "no-target-directory", "preserve=", "no-clobber", "archive", "reflink=", "remove-destination")
	if !good || len(o.rest) < 2 {
		return 1
	}
	keep := o.has("a", "p", "preserve", "archive")
	rec := o.has("a", "r", "R", "archive")
	links := o.has("a", "d", "P", "archive") || rec
	dst := o.rest[len(o.rest)-1]
	code := 0
	for _, src := range o.rest[:len(o.rest)-1] {
		to := c.into(src, dst, o.has("T", "no-target-directory"))
		if o.has("n", "no-clobber") && c.Exists(to) {
			continue
		}
		p, err := c.Machine.fs.stat(c.User, c.Abs(src), !links)
		if err != nil {
			code = c.failPath("cannot stat ", src, err)
			continue
		}
		if p.ino.kind == kindDir && !rec {
			code = c.Fail(1, "cp: -r not specified; omitting directory '%s'", src)
			continue
		}
		if err := c.copyTree(p.ino, c.Abs(to), keep); err != nil {
			code = c.Fail(1, "cp: cannot create regular file '%s': %s", to, errText(err))
		}
	}
	return code
}

// copyTree copies n to the path to, merging into a directory that is there.
func (c *Call) copyTree(n *inode, to string, keep bool) error {
	f := &c.Machine.fs
	p, err := f.walk(c.User, to, n.kind != kindLink)
	if err != nil {
		return err
	}
	if p.ino != nil && p.ino.kind == kindDir {
		if n.kind != kindDir {
			return syscall.EISDIR
		}
		for _, k := range sortedKids(n) {
			if err := c.copyTree(n.kids[k], to+"/"+k, keep); err != nil {
				return err
			}
		}
		return nil
	}
	if n.kind == kindFile && !n.allows(c.User, accR) {
		return syscall.EACCES
	}
	if n.kind == kindFile && p.ino != nil {
		if err := f.write(c.User, to, n.blob, n.mode); err != nil {
			return err
		}
		if keep {
			return f.change(Root, to, true, func(d *inode) { d.mode, d.mtime = n.mode, n.mtime })
		}
		return nil
	}
	return f.graft(c.User, to, f.copied(n, c.User, keep))
}

// copied is a tree as a copy of it would be. What is kept whole is shared.
func (f *fsys) copied(n *inode, u *User, keep bool) *inode {
	if keep && (u.UID == 0 || n.allOwnedBy(u)) {
		return n.frozen()
	}
	c := *n
	c.own = nil
	c.uid, c.gid = u.UID, u.GID
	if !keep {
		c.mtime = f.stamp()
		c.mode &= 0o755
	}
	if n.kids != nil {
		c.kids = make(map[string]*inode, len(n.kids))
		for k, v := range n.kids {
			c.kids[k] = f.copied(v, u, keep)
		}
	}
	return &c
}

func (n *inode) allOwnedBy(u *User) bool {
	if n.uid != u.UID || n.gid != u.GID {
		return false
	}
	for _, k := range n.kids {
		if !k.allOwnedBy(u) {
			return false
		}
	}
	return true
}

// frozen is a tree that nobody may change in place. Parts that are still
// changeable are copied; the rest is shared.
func (n *inode) frozen() *inode {
	if n.own == nil && n.kind != kindDir {
		return n
	}
	c := *n
	c.own = nil
	if n.kids != nil {
		c.kids = make(map[string]*inode, len(n.kids))
		for k, v := range n.kids {
			c.kids[k] = v.frozen()
		}
	}
	return &c
}

func rm(c *Call) int {
	o, good := c.getopt("rRfvd", "recursive", "force", "one-file-system", "preserve-root")
	if !good {
		return 1
	}
	code := 0
	for _, name := range o.rest {
		p, err := c.Machine.fs.stat(c.User, c.Abs(strings.TrimRight(name, "/")), false)
		if err == nil && p.String() == "/" {
			code = c.Fail(1, "rm: it is dangerous to operate recursively on '/'")
			continue
		}
		if err == nil && p.ino.kind == kindDir && !o.has("r", "R", "recursive") {
			code = c.Fail(1, "rm: cannot remove '%s': Is a directory", name)
			continue
		}
		if err == nil {
			err = c.Machine.fs.unlink(c.User, c.Abs(strings.TrimRight(name, "/")), true)
		}
		if err != nil && !(o.has("f", "force") && errText(err) == errTexts[syscall.ENOENT]) {
			code = c.Fail(1, "rm: cannot remove '%s': %s", name, errText(err))
		}
	}
	return code
}

func mkdir(c *Call) int {
	o, good := c.getopt("pm:v", "parents", "mode=")
	if !good {
		return 1
	}
	mode := uint32(0o755)
	if v, has := o.set["m"]; has {
		mode = octal(v)
	} else if v, has := o.set["mode"]; has {
		mode = octal(v)
	}
	for _, name := range o.rest {
		var err error
		if o.has("p", "parents") {
			err = c.Machine.fs.mkdirAll(c.User, c.Abs(name), mode)
		} else {
			err = c.Machine.fs.mkdir(c.User, c.Abs(name), mode)
		}
		if err != nil {
			return c.failPath("cannot create directory ", name, err)
		}
	}
	return 0
}

func octal(s string) uint32 {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return 0o755
	}
	return uint32(n)
}

func rmdir(c *Call) int {
	for _, name := range c.Args() {
		p, err := c.Machine.fs.stat(c.User, c.Abs(name), false)
		if err == nil && p.ino.kind != kindDir {
			err = syscall.ENOTDIR
		}
		if err == nil {
			err = c.Machine.fs.unlink(c.User, c.Abs(name), false)
		}
		if err != nil {
			return c.failPath("failed to remove ", name, err)
		}
	}
	return 0
}

func ln(c *Call) int {
	o, good := c.getopt("sfnT", "symbolic", "force", "no-dereference", "no-target-directory")
	if !good || len(o.rest) != 2 {
		return 1
	}
	if !o.has("s", "symbolic") {
		c.unknown("hard link")
		return 1
	}
	target, name := o.rest[0], o.rest[1]
	f := &c.Machine.fs
	to := name
	if !o.has("T", "no-target-directory") {
		follow := !o.has("n", "no-dereference")
		if p, err := f.stat(c.User, c.Abs(name), follow); err == nil && p.ino.kind == kindDir {
			to = strings.TrimRight(name, "/") + "/" + lastName(target)
		}
	}
	if p, err := f.stat(c.User, c.Abs(to), false); err == nil {
		if !o.has("f", "force") {
			return c.failPath("failed to create symbolic link ", to, syscall.EEXIST)
		}
		if p.ino.kind == kindDir {
			return c.Fail(1, "ln: %s: cannot overwrite directory", to)
		}
		if err := f.unlink(c.User, c.Abs(to), false); err != nil {
			return c.failPath("failed to create symbolic link ", to, err)
		}
	}
	if err := f.symlink(c.User, target, c.Abs(to)); err != nil {
		return c.failPath("failed to create symbolic link ", to, err)
	}
	return 0
}

func readlink(c *Call) int {
	o, good := c.getopt("femnqs", "canonicalize", "canonicalize-existing")
	if !good {
		return 1
	}
	for _, name := range o.rest {
		if t, isProc := c.Machine.procLink(name); isProc {
			if t == "" {
				return 1
			}
			c.Print(t + "\n")
			continue
		}
		if o.has("f", "e", "canonicalize", "canonicalize-existing") {
			p, err := c.Machine.fs.walk(c.User, c.Abs(name), true)
			if err != nil || (p.ino == nil && o.has("e", "canonicalize-existing")) {
				return 1
			}
			c.Print(p.String() + "\n")
			continue
		}
		p, err := c.Machine.fs.stat(c.User, c.Abs(name), false)
		if err != nil || p.ino.kind != kindLink {
			return 1
		}
		c.Print(p.ino.target + "\n")
	}
	return 0
}

func realpath(c *Call) int {
	o, good := c.getopt("em")
	if !good {
		return 1
	}
	for _, name := range o.rest {
		p, err := c.Machine.fs.walk(c.User, c.Abs(name), true)
		if err != nil || (p.ino == nil && o.has("e")) {
			return c.Fail(1, "realpath: %s: No such file or directory", name)
		}
		c.Print(p.String() + "\n")
	}
	return 0
}

func kindWord(n *inode) string {
	switch {
	case n.kind == kindDir:
		return "directory"
	case n.kind == kindLink:
		return "symbolic link"
	case n.blob.size() == 0:
		return "regular empty file"
	}
	return "regular file"
}

func (n *inode) bytes() int64 {
	switch n.kind {
	case kindFile:
		return n.blob.size()
	case kindLink:
		return int64(len(n.target))
	}
	return 4096
}

func rights(n *inode) string {
	s := []byte("-rwxrwxrwx")
	s[0] = map[byte]byte{kindFile: '-', kindDir: 'd', kindLink: 'l'}[n.kind]
	for i := range 9 {
		if n.mode>>(8-i)&1 == 0 {
			s[i+1] = '-'
		}
	}
	return string(s)
}

func statTool(c *Call) int {
	o, good := c.getopt("c:Lt", "format=", "printf=", "dereference")
	if !good {
		return 1
	}
	format, nl := o.set["c"], "\n"
	if v, has := o.set["format"]; has {
		format = v
	}
	if v, has := o.set["printf"]; has {
		format, nl = unescape(v), ""
	}
	code := 0
	for _, name := range o.rest {
		p, err := c.Machine.fs.stat(c.User, c.Abs(name), o.has("L", "dereference"))
		if err != nil {
			code = c.failPath("cannot stat ", name, err)
			continue
		}
		c.Print(fill(format, func(directive string) (string, bool) { return c.statField(p.ino, name, directive) }) + nl)
	}
	return code
}

func (c *Call) statField(n *inode, name, directive string) (v string, known bool) {
	switch directive {
	case "s":
		v = strconv.FormatInt(n.bytes(), 10)
	case "a":
		v = strconv.FormatUint(uint64(n.mode), 8)
	case "A":
		v = rights(n)
	case "U":
		v = c.Machine.userName(n.uid)
	case "G":
		v = c.Machine.groupName(n.gid)
	case "u":
		v = strconv.Itoa(n.uid)
	case "g":
		v = strconv.Itoa(n.gid)
	case "Y":
		v = strconv.FormatInt(n.modTime().Unix(), 10)
	case "y":
		v = n.modTime().Format("2006-01-02 15:04:05.000000000 -0700")
	case "F":
		v = kindWord(n)
	case "n":
		v = name
	case "f":
		v = strconv.FormatUint(uint64(rawMode(n)), 16)
	case "h", "i":
		v = "1"
	case "N":
		v = "'" + name + "'"
	default:
		return "", false
	}
	return v, true
}

// rawMode is st_mode of inode(7).
func rawMode(n *inode) uint32 {
	switch n.kind {
	case kindDir:
		return n.mode | 0o040000
	case kindLink:
		return n.mode | 0o120000
	}
	return n.mode | 0o100000
}

func unescape(s string) string { return escapes.Replace(s) }

var escapes = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\0`, "\x00", `\\`, `\`)

func test(c *Call) int {
	args := c.Args()
	if c.base() == "[" {
		if len(args) == 0 || args[len(args)-1] != "]" {
			return c.Fail(2, "[: missing ']'")
		}
		args = args[:len(args)-1]
	}
	neg := false
	for len(args) > 1 && args[0] == "!" {
		neg, args = !neg, args[1:]
	}
	res, good := c.testOne(args)
	if !good {
		c.unknown(strings.Join(args, " "))
		return 2
	}
	if res != neg {
		return 0
	}
	return 1
}

func (c *Call) testOne(args []string) (res, good bool) {
	switch len(args) {
	case 0:
		return false, true
	case 1:
		return args[0] != "", true
	case 3:
		switch args[1] {
		case "=", "==":
			return args[0] == args[2], true
		case "!=":
			return args[0] != args[2], true
		case "-ef":
			return c.Machine.Real(c.Abs(args[0])) == c.Machine.Real(c.Abs(args[2])), true
		case "-eq", "-ne", "-lt", "-gt", "-le", "-ge":
			a, _ := strconv.Atoi(args[0])
			b, _ := strconv.Atoi(args[2])
			return map[string]bool{"-eq": a == b, "-ne": a != b, "-lt": a < b, "-gt": a > b, "-le": a <= b, "-ge": a >= b}[args[1]], true
		}
		return false, false
	case 2:
	default:
		return false, false
	}
	switch args[0] {
	case "-n":
		return args[1] != "", true
	case "-z":
		return args[1] == "", true
	}
	if strings.HasPrefix(args[1], "/proc/") {
		return c.Machine.procExists(args[1]), true
	}
	p, err := c.Machine.fs.stat(c.User, c.Abs(args[1]), args[0] != "-L" && args[0] != "-h")
	if err != nil {
		return false, slices.Contains([]string{"-e", "-f", "-d", "-L", "-h", "-x", "-s", "-r", "-w"}, args[0])
	}
	n := p.ino
	switch args[0] {
	case "-e":
		return true, true
	case "-f":
		return n.kind == kindFile, true
	case "-d":
		return n.kind == kindDir, true
	case "-L", "-h":
		return n.kind == kindLink, true
	case "-s":
		return n.bytes() > 0, true
	case "-x":
		return n.allows(c.User, accX), true
	case "-r":
		return n.allows(c.User, accR), true
	case "-w":
		return n.allows(c.User, accW), true
	}
	return false, false
}

func ls(c *Call) int {
	o, good := c.getopt("1Aadlnh")
	if !good {
		return 1
	}
	if len(o.rest) == 0 {
		o.rest = []string{"."}
	}
	code := 0
	line := func(name string, n *inode) {
		if !o.has("l", "n") {
			c.Print(name + "\n")
			return
		}
		if n.kind == kindLink {
			name += " -> " + n.target
		}
		c.Printf("%s 1 %s %s %d %s %s\n", rights(n), c.Machine.userName(n.uid), c.Machine.groupName(n.gid), n.bytes(),
			n.modTime().Format("Jan _2 15:04"), name)
	}
	for i, name := range o.rest {
		p, err := c.Machine.fs.stat(c.User, c.Abs(name), !o.has("l", "d"))
		if err == nil && p.ino.kind == kindLink && !o.has("d") && strings.HasSuffix(name, "/") {
			p, err = c.Machine.fs.stat(c.User, c.Abs(name), true)
		}
		if err != nil {
			code = c.Fail(2, "ls: cannot access '%s': %s", name, errText(err))
			continue
		}
		if p.ino.kind != kindDir || o.has("d") {
			line(name, p.ino)
			continue
		}
		if !p.ino.allows(c.User, accR) {
			code = c.Fail(2, "ls: cannot open directory '%s': Permission denied", name)
			continue
		}
		if len(o.rest) > 1 {
			if i > 0 {
				c.Print("\n")
			}
			c.Print(name + ":\n")
		}
		if o.has("l", "n") {
			c.Print("total 0\n")
		}
		for _, k := range sortedKids(p.ino) {
			if k[0] != '.' || o.has("A", "a") {
				line(k, p.ino.kids[k])
			}
		}
	}
	return code
}

func chmod(c *Call) int {
	o, good := c.getopt("Rv", "recursive")
	if !good || len(o.rest) < 2 {
		return 1
	}
	for _, name := range o.rest[1:] {
		p, err := c.Machine.fs.stat(c.User, c.Abs(name), true)
		if err == nil {
			err = c.each(p.String(), o.has("R", "recursive"), func(n *inode) {
				if n.kind != kindLink {
					n.mode = newMode(o.rest[0], n)
				}
			})
		}
		if err != nil {
			return c.failPath("cannot access ", name, err)
		}
	}
	return 0
}

// newMode understands octal modes and clauses like u+x,go-w,a+rX,u=rwx.
func newMode(spec string, n *inode) uint32 {
	if m, err := strconv.ParseUint(spec, 8, 32); err == nil {
		return uint32(m)
	}
	mode := n.mode
	for _, clause := range strings.Split(spec, ",") {
		i := strings.IndexAny(clause, "+-=")
		if i < 0 {
			continue
		}
		who, op, what := clause[:i], clause[i], clause[i+1:]
		if who == "" || strings.Contains(who, "a") {
			who = "ugo"
		}
		var bits uint32
		for _, r := range what {
			switch {
			case r == 'r':
				bits |= accR
			case r == 'w':
				bits |= accW
			case r == 'x', r == 'X' && (n.kind == kindDir || n.mode&0o111 != 0):
				bits |= accX
			}
		}
		for _, w := range who {
			shift := map[rune]uint32{'u': 6, 'g': 3, 'o': 0}[w]
			switch op {
			case '+':
				mode |= bits << shift
			case '-':
				mode &^= bits << shift
			case '=':
				mode = mode&^(7<<shift) | bits<<shift
			}
		}
	}
	return mode
}

// each changes a path and, if all, what lies below; links are not followed.
func (c *Call) each(name string, all bool, fn func(*inode)) error {
	f := &c.Machine.fs
	if err := f.change(c.User, name, false, fn); err != nil {
		return err
	}
	if !all {
		return nil
	}
	p, err := f.stat(Root, name, false)
	if err != nil || p.ino.kind != kindDir {
		return err
	}
	for _, k := range sortedKids(p.ino) {
		if err := c.each(name+"/"+k, true, fn); err != nil {
			return err
		}
	}
	return nil
}

// newOwner reads whose the files are to be: of a reference or as USER:GROUP; -1 keeps.
func (c *Call) newOwner(o *opts) (uid, gid, code int) {
	uid, gid = -1, -1
	if ref, has := o.set["reference"]; has {
		p, err := c.Machine.fs.stat(c.User, c.Abs(ref), true)
		if err != nil {
			return 0, 0, c.failPath("failed to get attributes of ", ref, err)
		}
		return p.ino.uid, p.ino.gid, 0
	}
	if len(o.rest) < 2 {
		return 0, 0, 1
	}
	name, group, hasGroup := strings.Cut(o.rest[0], ":")
	o.rest = o.rest[1:]
	if name != "" {
		u := c.Machine.users[name]
		if n, err := strconv.Atoi(name); u == nil && err == nil {
			uid = n
		} else if u == nil {
			return 0, 0, c.Fail(1, "chown: invalid user: '%s'", name)
		} else {
			uid = u.UID
			if hasGroup && group == "" {
				gid = u.GID
			}
		}
	}
	if group != "" {
		found := false
		for _, u := range c.Machine.users {
			if u.Group == group {
				gid, found = u.GID, true
			}
		}
		if n, err := strconv.Atoi(group); !found && err == nil {
			gid, found = n, true
		}
		if !found {
			return 0, 0, c.Fail(1, "chown: invalid group: '%s'", group)
		}
	}
	return uid, gid, 0
}

func chown(c *Call) int {
	o, good := c.getopt("Rhv", "recursive", "no-dereference", "reference=")
	if !good {
		return 1
	}
	uid, gid, code := c.newOwner(&o)
	if code != 0 {
		return code
	}
	for _, name := range o.rest {
		target := c.Abs(name)
		p, err := c.Machine.fs.stat(c.User, target, !o.has("h", "no-dereference", "R", "recursive"))
		if err == nil && c.User.UID != 0 && (uid >= 0 && uid != c.User.UID || p.ino.uid != c.User.UID) {
			err = syscall.EPERM
		}
		if err == nil {
			err = c.each(p.String(), o.has("R", "recursive"), func(n *inode) {
				if uid >= 0 {
					n.uid = uid
				}
				if gid >= 0 {
					n.gid = gid
				}
			})
		}
		if err != nil {
			return c.failPath("changing ownership of ", name, err)
		}
	}
	return 0
}

func touch(c *Call) int {
	o, good := c.getopt("ad:mc", "date=")
	if !good {
		return 1
	}
	for _, name := range o.rest {
		err := c.Machine.fs.change(c.User, c.Abs(name), true, func(n *inode) { n.mtime = c.World.now.UnixNano() })
		if errText(err2(err)) == errTexts[syscall.ENOENT] {
			err = c.Machine.fs.write(c.User, c.Abs(name), newBlob(nil), 0o644)
		}
		if err != nil {
			return c.failPath("cannot touch ", name, err)
		}
	}
	return 0
}

func err2(err error) error {
	if err == nil {
		return syscall.Errno(0)
	}
	return err
}

func truncate(c *Call) int {
	o, good := c.getopt("s:", "size=")
	if !good {
		return 1
	}
	n := size(o.set["s"] + o.set["size"])
	for _, name := range o.rest {
		b, _ := c.ReadFile(name)
		buf := make([]byte, n)
		copy(buf, b)
		if err := c.WriteFile(name, buf, 0o644); err != nil {
			return c.failPath("cannot open ", name, err)
		}
	}
	return 0
}

func mktemp(c *Call) int {
	o, good := c.getopt("dp:", "tmpdir=")
	if !good {
		return 1
	}
	dir, pat := "/tmp", "tmp.XXXXXXXXXX"
	if v := o.set["p"] + o.set["tmpdir"]; v != "" {
		dir = v
	}
	if len(o.rest) > 0 {
		pat = o.rest[0]
		if strings.Contains(pat, "/") {
			dir, pat = pat[:strings.LastIndexByte(pat, '/')], lastName(pat)
		}
	}
	name := dir + "/" + strings.Replace(pat, strings.Repeat("X", strings.Count(pat, "X")), fmt.Sprintf("%0*x", strings.Count(pat, "X"), c.World.random.Uint32()), 1)
	var err error
	if o.has("d") {
		err = c.Machine.fs.mkdir(c.User, name, 0o700)
	} else {
		err = c.WriteFile(name, nil, 0o600)
	}
	if err != nil {
		return c.Fail(1, "mktemp: failed to create file via template '%s': %s", name, errText(err))
	}
	c.Print(name + "\n")
	return 0
}

func sleep(c *Call) int {
	var d time.Duration
	for _, a := range c.Args() {
		s, err := strconv.ParseFloat(strings.TrimSuffix(a, "s"), 64)
		if err != nil {
			return c.Fail(1, "sleep: invalid time interval '%s'", a)
		}
		d += time.Duration(s * float64(time.Second))
	}
	c.Sleep(d)
	return 0
}
