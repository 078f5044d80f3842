package gaussdb

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/shiplift/shiplift/internal/say"
)

// Opts is postmaster.opts: how the running, or last, server was started.
type Opts struct {
	Program string
	Args    []string
}

// ParseOpts reads one line: the program, then each argument in double quotes.
func ParseOpts(s string) (Opts, error) {
	s = strings.TrimRight(s, " \r\n")
	program, rest, quoted := strings.Cut(s, ` "`)
	if !strings.HasSuffix(strings.TrimSpace(program), "/gaussdb") && strings.TrimSpace(program) != "gaussdb" {
		return Opts{}, say.Errorf("not postmaster.opts: %q", "不是 postmaster.opts 的内容：%q", clip(s))
	}
	o := Opts{Program: strings.TrimSpace(program)}
	if !quoted {
		return o, nil
	}
	rest, closed := strings.CutSuffix(rest, `"`)
	if !closed {
		return Opts{}, say.Errorf("not postmaster.opts: a quote is open in %q", "不是 postmaster.opts 的内容：%q 中有未闭合的引号", clip(s))
	}
	o.Args = strings.Split(rest, `" "`)
	return o, nil
}

// Value returns what stands behind an option: Value("-u") is the working number.
func (o Opts) Value(option string) string {
	for i, a := range o.Args {
		if a == option && i+1 < len(o.Args) {
			return o.Args[i+1]
		}
	}
	return ""
}

// Without returns the options without one that takes a value. postmaster.opts
// keeps -u after the commit, and gs_ctl restart reads it from there (golden upgrade/045).
func (o Opts) Without(option string) Opts {
	out := Opts{Program: o.Program}
	for i := 0; i < len(o.Args); i++ {
		if o.Args[i] == option {
			i++
			continue
		}
		out.Args = append(out.Args, o.Args[i])
	}
	return out
}

// String writes the line as the server does.
func (o Opts) String() string {
	var b strings.Builder
	b.WriteString(o.Program)
	for _, a := range o.Args {
		b.WriteString(` "` + a + `"`)
	}
	return b.String() + "\n"
}

// PIDFile is postmaster.pid.
type PIDFile struct {
	PID       int
	DataDir   string
	Started   int64 // seconds since 1970
	Port      int
	SocketDir string
}

// ParsePIDFile reads postmaster.pid.
func ParsePIDFile(b []byte) (PIDFile, error) {
	lines := strings.Split(string(b), "\n")
	if len(lines) < 5 {
		return PIDFile{}, say.Errorf("not postmaster.pid: five lines were expected", "不是 postmaster.pid 的内容：应有五行")
	}
	var p PIDFile
	var err error
	if p.PID, err = strconv.Atoi(strings.TrimSpace(lines[0])); err != nil || p.PID <= 0 {
		return PIDFile{}, say.Errorf("not postmaster.pid: line 1 is %q", "不是 postmaster.pid 的内容：第 1 行为 %q", clip(lines[0]))
	}
	p.DataDir = strings.TrimSpace(lines[1])
	if p.Started, err = strconv.ParseInt(strings.TrimSpace(lines[2]), 10, 64); err != nil {
		return PIDFile{}, say.Errorf("not postmaster.pid: line 3 is %q", "不是 postmaster.pid 的内容：第 3 行为 %q", clip(lines[2]))
	}
	if p.Port, err = strconv.Atoi(strings.TrimSpace(lines[3])); err != nil {
		return PIDFile{}, say.Errorf("not postmaster.pid: line 4 is %q", "不是 postmaster.pid 的内容：第 4 行为 %q", clip(lines[3]))
	}
	p.SocketDir = strings.TrimSpace(lines[4])
	return p, nil
}

// Conf is postgresql.conf, or a file of the cluster manager: the last line that
// sets a name counts.
type Conf struct {
	lines []string
}

// ReadConf takes a file's text; any text is a file.
func ReadConf(b []byte) Conf {
	if len(b) == 0 {
		return Conf{}
	}
	return Conf{lines: strings.SplitAfter(string(b), "\n")}
}

// Get returns a value without its quotes.
func (c Conf) Get(name string) (string, bool) {
	value, found := "", false
	for _, line := range c.lines {
		if k, v, ok := assignment(line); ok && k == strings.ToLower(name) {
			value, found = v, true
		}
	}
	return value, found
}

// All returns every value that is set.
func (c Conf) All() map[string]string {
	out := map[string]string{}
	for _, line := range c.lines {
		if k, v, ok := assignment(line); ok {
			out[k] = v
		}
	}
	return out
}

// Names returns the names that are set, in the file's order, once each.
func (c Conf) Names() []string {
	var out []string
	seen := map[string]bool{}
	for _, line := range c.lines {
		if k, _, ok := assignment(line); ok && !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	return out
}

// Set gives a name a value, written as it is: quotes are the caller's. It
// replaces the last line that sets the name, or adds one.
func (c Conf) Set(name, raw string) Conf {
	lines := append([]string(nil), c.lines...)
	line := name + " = " + raw + "\n"
	for i := len(lines) - 1; i >= 0; i-- {
		if k, _, ok := assignment(lines[i]); ok && k == strings.ToLower(name) {
			lines[i] = line
			return Conf{lines}
		}
	}
	if n := len(lines); n > 0 && lines[n-1] != "" && !strings.HasSuffix(lines[n-1], "\n") {
		lines[n-1] += "\n"
	}
	return Conf{append(lines, line)}
}

// Drop comments every line out that sets one of the names.
func (c Conf) Drop(names ...string) Conf {
	gone := map[string]bool{}
	for _, n := range names {
		gone[strings.ToLower(n)] = true
	}
	lines := append([]string(nil), c.lines...)
	for i, line := range lines {
		if k, _, ok := assignment(line); ok && gone[k] {
			lines[i] = "#" + line
		}
	}
	return Conf{lines}
}

// Bytes is the file's text.
func (c Conf) Bytes() []byte { return []byte(strings.Join(c.lines, "")) }

// assignment reads "name = value # comment" or "name value".
func assignment(line string) (name, value string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	end := strings.IndexFunc(line, func(r rune) bool { return r == '=' || r == ' ' || r == '\t' })
	if end <= 0 {
		return "", "", false
	}
	name = strings.ToLower(line[:end])
	rest := strings.TrimSpace(line[end:])
	rest = strings.TrimSpace(strings.TrimPrefix(rest, "="))
	return name, confValue(rest), true
}

// confValue takes quotes and a comment off.
func confValue(s string) string {
	if !strings.HasPrefix(s, "'") {
		if i := strings.IndexByte(s, '#'); i >= 0 {
			s = s[:i]
		}
		return strings.TrimSpace(s)
	}
	var b strings.Builder
	for i := 1; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\'' && i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i += 2
			continue
		case r == '\'':
			return b.String()
		case r == '\\' && i+1 < len(s):
			b.WriteByte(s[i+1])
			i += 2
			continue
		}
		b.WriteString(s[i : i+n])
		i += n
	}
	return b.String()
}

// Peer is one replconninfoN: how an instance reaches another one.
type Peer struct {
	LocalHost  string
	LocalPort  int
	RemoteHost string
	RemotePort int
	Cascade    bool
}

// ParsePeer reads the value of replconninfoN.
func ParsePeer(v string) (Peer, error) {
	var p Peer
	for _, w := range strings.Fields(v) {
		key, val, ok := strings.Cut(w, "=")
		if !ok {
			return Peer{}, say.Errorf("replconninfo: %q is not key=value", "replconninfo：%q 不是 key=value 形式", clip(w))
		}
		n, _ := strconv.Atoi(val)
		switch key {
		case "localhost":
			p.LocalHost = val
		case "localport":
			p.LocalPort = n
		case "remotehost":
			p.RemoteHost = val
		case "remoteport":
			p.RemotePort = n
		case "iscascade":
			p.Cascade = val == "true"
		}
	}
	if p.RemoteHost == "" || p.RemotePort == 0 {
		return Peer{}, say.Errorf("replconninfo names no other instance: %q", "replconninfo 未指出其他实例：%q", clip(v))
	}
	return p, nil
}

// OldNumber reads what gs_ctl start takes the working number from: the file
// old_upgrade_version holds the old upgrade_version (spec section 6.7).
func OldNumber(b []byte) (Kernel, error) {
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0, say.Errorf("[GAUSS-50222] old_upgrade_version holds no kernel number", "[GAUSS-50222] old_upgrade_version 中没有内核版本号")
	}
	return ParseKernel(f[1])
}
