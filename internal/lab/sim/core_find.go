package sim

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

type finder struct {
	c        *Call
	min, max int
	tests    []func(name string, n *inode) bool
	prune    []string // globs of paths not to go into
	out      func(root, name string, n *inode)
	follow   bool
}

func find(c *Call) int {
	f := &finder{c: c, max: 1 << 20}
	f.out = func(_, name string, _ *inode) { c.Print(name + "\n") }
	args := c.Args()
	var roots []string
	for len(args) > 0 && (args[0] == "-L" || args[0] == "-H" || args[0] == "-P") {
		f.follow = args[0] == "-L"
		args = args[1:]
	}
	for len(args) > 0 && args[0][0] != '-' && args[0] != "!" && args[0] != "(" {
		roots, args = append(roots, args[0]), args[1:]
	}
	if !f.parse(args) {
		return 1
	}
	if len(roots) == 0 {
		roots = []string{"."}
	}
	code := 0
	for _, r := range roots {
		abs := c.Abs(r)
		p, err := c.Machine.fs.stat(c.User, abs, f.follow || strings.HasSuffix(r, "/"))
		if err != nil {
			code = c.Fail(1, "find: '%s': %s", r, errText(err))
			continue
		}
		f.visit(r, r, p.ino, 0)
	}
	return code
}

func (f *finder) parse(args []string) bool {
	neg := false
	add := func(t func(string, *inode) bool) {
		if neg {
			was := t
			t = func(s string, n *inode) bool { return !was(s, n) }
		}
		neg = false
		f.tests = append(f.tests, t)
	}
	for i := 0; i < len(args); i++ {
		val := ""
		if i+1 < len(args) {
			val = args[i+1]
		}
		switch args[i] {
		case "-maxdepth":
			f.max, _ = strconv.Atoi(val)
			i++
		case "-mindepth":
			f.min, _ = strconv.Atoi(val)
			i++
		case "-type":
			kinds := strings.Split(val, ",")
			add(func(_ string, n *inode) bool { return slices.Contains(kinds, string(n.kind)) })
			i++
		case "-name":
			add(func(s string, _ *inode) bool { m, _ := path.Match(val, lastName(s)); return m })
			i++
		case "-path":
			add(func(s string, _ *inode) bool { return globAll(val, s) })
			i++
		case "-user":
			add(func(_ string, n *inode) bool { return f.c.Machine.userName(n.uid) == val })
			i++
		case "-perm":
			add(func(_ string, n *inode) bool {
				if strings.HasPrefix(val, "-") {
					return n.mode&octal(val[1:]) == octal(val[1:])
				}
				if strings.HasPrefix(val, "/") {
					return n.mode&octal(val[1:]) != 0
				}
				return n.mode == octal(val)
			})
			i++
		case "!", "-not":
			neg = !neg
		case "-xdev", "-print", "-mount", "-depth":
		case "-print0":
			f.out = func(_, name string, _ *inode) { f.c.Print(name + "\x00") }
		case "-printf":
			format := unescape(val)
			f.out = func(root, name string, n *inode) { f.c.out.b = f.printf(f.c.out.b, format, root, name, n) }
			i++
		default:
			return f.c.unknown(args[i])
		}
	}
	return true
}

// appendUnix writes a time as find does: seconds and ten digits behind the point.
func appendUnix(out []byte, t time.Time) []byte {
	out = strconv.AppendInt(out, t.Unix(), 10)
	point := len(out)
	out = strconv.AppendInt(out, 1e10+int64(t.Nanosecond())*10, 10)
	out[point] = '.'
	return out
}

// globAll matches as -path does: * also stands for slashes.
func globAll(pat, s string) bool {
	parts := strings.Split(pat, "*")
	if len(parts) == 1 {
		return pat == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

func (f *finder) visit(root, name string, n *inode, depth int) {
	if depth >= f.min {
		good := true
		for _, t := range f.tests {
			if !t(name, n) {
				good = false
				break
			}
		}
		if good {
			f.out(root, name, n)
		}
	}
	if n.kind != kindDir || depth >= f.max {
		return
	}
	if !n.allows(f.c.User, accR|accX) {
		f.c.Errorf("find: '%s': Permission denied\n", name)
		return
	}
	for _, k := range sortedKids(n) {
		kid := n.kids[k]
		if f.follow && kid.kind == kindLink {
			if p, err := f.c.Machine.fs.stat(f.c.User, f.c.Abs(name+"/"+k), true); err == nil {
				kid = p.ino
			}
		}
		f.visit(root, strings.TrimRight(name, "/")+"/"+k, kid, depth+1)
	}
}

// printf writes what -printf says of a file behind out.
func (f *finder) printf(out []byte, format, root, name string, n *inode) []byte {
	for {
		before, rest, ok := strings.Cut(format, "%")
		out = append(out, before...)
		if !ok {
			return out
		}
		if rest == "" {
			return append(out, '%')
		}
		used := 1
		switch rest[0] {
		case '%':
			out = append(out, '%')
		case 'p':
			out = append(out, name...)
		case 'P':
			out = append(out, strings.TrimPrefix(strings.TrimPrefix(name, root), "/")...)
		case 'f':
			out = append(out, lastName(name)...)
		case 'h':
			dir := "."
			if i := strings.LastIndexByte(name, '/'); i >= 0 {
				dir = name[:i]
			}
			out = append(out, dir...)
		case 's':
			out = strconv.AppendInt(out, n.bytes(), 10)
		case 'm':
			out = strconv.AppendUint(out, uint64(n.mode), 8)
		case 'M':
			out = append(out, rights(n)...)
		case 'u':
			out = append(out, f.c.Machine.userName(n.uid)...)
		case 'g':
			out = append(out, f.c.Machine.groupName(n.gid)...)
		case 'U':
			out = strconv.AppendInt(out, int64(n.uid), 10)
		case 'G':
			out = strconv.AppendInt(out, int64(n.gid), 10)
		case 'y':
			out = append(out, n.kind)
		case 'l':
			out = append(out, n.target...)
		case 'T':
			if t := n.modTime(); strings.HasPrefix(rest, "T@") {
				out, used = appendUnix(out, t), 2
				break
			}
			fallthrough
		default:
			out = append(out, '%', rest[0])
		}
		format = rest[used:]
	}
}
