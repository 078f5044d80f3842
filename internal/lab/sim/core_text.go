package sim

import (
	"bytes"
	"crypto/md5" // the program md5sum, not a safeguard
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

func hashTool(c *Call) int {
	o, good := c.getopt("cbzt", "check", "status", "quiet", "strict")
	if !good {
		return 1
	}
	sum := func(name string) (string, error) {
		b, err := c.Machine.fs.read(c.User, c.Abs(name))
		if err != nil {
			return "", err
		}
		if c.base() == "md5sum" {
			s := md5.Sum(b.data)
			return hex.EncodeToString(s[:]), nil
		}
		s := b.digest()
		return hex.EncodeToString(s[:]), nil
	}
	if o.has("c", "check") {
		return c.checkSums(o, sum)
	}
	if len(o.rest) == 0 {
		s := newBlob(c.Input()).digest()
		c.Printf("%s  -\n", hex.EncodeToString(s[:]))
		return 0
	}
	code := 0
	for _, name := range o.rest {
		s, err := sum(name)
		if err != nil {
			code = c.Fail(1, "%s: %s: %s", c.base(), name, errText(err))
			continue
		}
		c.Printf("%s  %s\n", s, name)
	}
	return code
}

func (c *Call) checkSums(o opts, sum func(string) (string, error)) int {
	lists := [][]byte{c.Input()}
	if len(o.rest) > 0 {
		lists = nil
		for _, n := range o.rest {
			b, err := c.ReadFile(n)
			if err != nil {
				return c.Fail(1, "%s: %s: %s", c.base(), n, errText(err))
			}
			lists = append(lists, b)
		}
	}
	bad := 0
	for line := range strings.Lines(string(bytes.Join(lists, nil))) {
		want, name, isLine := strings.Cut(strings.TrimSpace(line), " ")
		if !isLine {
			return c.Fail(1, "%s: no properly formatted SHA256 checksum lines found", c.base())
		}
		name = strings.TrimLeft(name, " *")
		got, err := sum(name)
		switch {
		case err != nil || got != want:
			bad++
			c.Printf("%s: FAILED\n", name)
		case !o.has("quiet", "status"):
			c.Printf("%s: OK\n", name)
		}
	}
	if bad > 0 {
		return c.Fail(1, "%s: WARNING: %d computed checksum did NOT match", c.base(), bad)
	}
	return 0
}

func df(c *Call) int {
	o, good := c.getopt("PkmhB:Ti", "output=", "block-size=")
	if !good {
		return 1
	}
	block, head := int64(1024), "1024-blocks"
	if v := o.set["B"] + o.set["block-size"]; v != "" {
		if v[0] < '0' || v[0] > '9' {
			v = "1" + v
		}
		block, head = size(v), v+"-blocks"
	}
	for _, name := range o.rest {
		if !c.Exists(name) {
			return c.Fail(1, "df: %s: No such file or directory", name)
		}
	}
	total, used := c.Machine.Disk()
	avail := max(total-used, 0)
	pct := "0%"
	if total > 0 {
		pct = fmt.Sprintf("%d%%", (used*100+total-1)/total)
	}
	up := func(n int64) string { return fmt.Sprint((n + block - 1) / block) }
	cols := map[string][2]string{
		"source": {"Filesystem", "/dev/sda1"}, "size": {head, up(total)}, "used": {"Used", up(used)},
		"avail": {"Avail", fmt.Sprint(avail / block)}, "pcent": {"Use%", pct}, "target": {"Mounted on", "/"}, "fstype": {"Type", "xfs"},
		"iavail": {"IFree", "1000000"}, "ipcent": {"IUse%", "1%"},
	}
	fields := []string{"source", "size", "used", "avail", "pcent", "target"}
	if v, has := o.set["output"]; has {
		fields = strings.Split(v, ",")
	} else if o.has("P") {
		cols["avail"] = [2]string{"Available", cols["avail"][1]}
		cols["pcent"] = [2]string{"Capacity", pct}
	}
	rows := max(len(o.rest), 1)
	for r := range rows + 1 {
		var line []string
		for _, f := range fields {
			col, known := cols[f]
			if !known {
				c.unknown("--output=" + f)
				return 1
			}
			w := max(len(col[0]), len(col[1]))
			cell := col[min(r, 1)]
			if f == "source" || f == "target" || f == "fstype" {
				line = append(line, fmt.Sprintf("%-*s", w, cell))
			} else {
				line = append(line, fmt.Sprintf("%*s", w, cell))
			}
		}
		c.Print(strings.TrimRight(strings.Join(line, " "), " ") + "\n")
	}
	return 0
}

func du(c *Call) int {
	o, good := c.getopt("sbkmhxL", "apparent-size", "exclude=")
	if !good {
		return 1
	}
	code := 0
	for _, name := range o.rest {
		p, err := c.Machine.fs.stat(c.User, c.Abs(name), strings.HasSuffix(name, "/") || o.has("L"))
		if err != nil {
			code = c.Fail(1, "du: cannot access '%s': %s", name, errText(err))
			continue
		}
		n := p.ino.treeSize()
		switch {
		case o.has("b"):
		case o.has("m"):
			n = (n + 1<<20 - 1) >> 20
		default:
			n = (n + 1023) >> 10
		}
		c.Printf("%d\t%s\n", n, name)
	}
	return code
}

func date(c *Call) int {
	o, good := c.getopt("ud:", "utc", "date=")
	if !good {
		return 1
	}
	t := c.World.now.Add(c.Machine.Skew).UTC()
	if v := o.set["d"] + o.set["date"]; strings.HasPrefix(v, "@") {
		n, err := strconv.ParseInt(v[1:], 10, 64)
		if err != nil {
			return c.Fail(1, "date: invalid date '%s'", v)
		}
		t = time.Unix(n, 0).UTC()
	} else if v != "" {
		c.unknown("-d " + v)
		return 1
	}
	if len(o.rest) == 0 {
		c.Print(t.Format("Mon Jan _2 15:04:05 UTC 2006") + "\n")
		return 0
	}
	c.Print(fill(strings.TrimPrefix(o.rest[0], "+"), func(directive string) (string, bool) { return dateField(t, directive) }) + "\n")
	return 0
}

// dateLayouts are the directives of date that are a layout of package time.
var dateLayouts = map[string]string{
	"Y": "2006", "m": "01", "d": "02", "H": "15", "M": "04", "S": "05", "F": "2006-01-02", "T": "15:04:05", "z": "-0700", "Z": "MST",
}

func dateField(t time.Time, directive string) (string, bool) {
	switch directive {
	case "s":
		return strconv.FormatInt(t.Unix(), 10), true
	case "N":
		return fmt.Sprintf("%09d", t.Nanosecond()), true
	case "3N":
		return fmt.Sprintf("%03d", t.Nanosecond()/1e6), true
	}
	layout, known := dateLayouts[directive]
	return t.Format(layout), known
}

// fill puts the values of directives such as %s and %3N into a format; what is
// behind the percent sign of one that is not known stays as it is.
func fill(format string, value func(directive string) (string, bool)) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(format, "%")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		n := 1
		for n < len(rest) && rest[n-1] >= '0' && rest[n-1] <= '9' {
			n++
		}
		n = min(n, len(rest))
		v, known := value(rest[:n])
		if rest[:n] == "%" {
			v, known = "%", true
		}
		if !known {
			v, n = "%", 0
		}
		out.WriteString(v)
		format = rest[n:]
	}
}

func id(c *Call) int {
	o, good := c.getopt("ungG")
	if !good {
		return 1
	}
	u := c.User
	if len(o.rest) > 0 {
		if u = c.Machine.users[o.rest[0]]; u == nil {
			return c.Fail(1, "id: '%s': no such user", o.rest[0])
		}
	}
	switch {
	case o.has("u") && o.has("n"):
		c.Print(u.Name + "\n")
	case o.has("g") && o.has("n"):
		c.Print(c.Machine.groupName(u.GID) + "\n")
	case o.has("u"):
		c.Printf("%d\n", u.UID)
	case o.has("g"):
		c.Printf("%d\n", u.GID)
	default:
		g := c.Machine.groupName(u.GID)
		c.Printf("uid=%d(%s) gid=%d(%s) groups=%d(%s)\n", u.UID, u.Name, u.GID, g, u.GID, g)
	}
	return 0
}

func whoami(c *Call) int { c.Print(c.User.Name + "\n"); return 0 }

func uname(c *Call) int {
	o, good := c.getopt("smnrap")
	if !good {
		return 1
	}
	var out []string
	all := o.has("a")
	if all || o.has("s") || len(o.set) == 0 {
		out = append(out, c.Machine.System)
	}
	if all || o.has("n") {
		out = append(out, c.Machine.name)
	}
	if all || o.has("r") {
		out = append(out, "4.18.0-193.el8.x86_64")
	}
	if all || o.has("m") || o.has("p") {
		out = append(out, c.Machine.Arch)
	}
	c.Print(strings.Join(out, " ") + "\n")
	return 0
}

func hostname(c *Call) int {
	if len(c.Argv) > 1 && (c.Argv[1] == "-I" || c.Argv[1] == "-i") {
		c.Print(c.Machine.Address + " \n")
		return 0
	}
	c.Print(c.Machine.name + "\n")
	return 0
}

func nproc(c *Call) int { c.Print("8\n"); return 0 }

func getconf(c *Call) int {
	if len(c.Argv) == 2 {
		if v := map[string]string{"PAGE_SIZE": "4096", "PAGESIZE": "4096", "ARG_MAX": "2097152", "LONG_BIT": "64"}[c.Argv[1]]; v != "" {
			c.Print(v + "\n")
			return 0
		}
	}
	c.unknown(strings.Join(c.Args(), " "))
	return 1
}

func free(c *Call) int {
	c.Print("              total        used        free      shared  buff/cache   available\nMem:       16777216     4194304     8388608      262144     4194304    12320768\nSwap:             0           0           0\n")
	return 0
}

func getent(c *Call) int {
	if len(c.Argv) == 3 && c.Argv[1] == "passwd" {
		if u := c.Machine.users[c.Argv[2]]; u != nil {
			c.Printf("%s:x:%d:%d::%s:/bin/bash\n", u.Name, u.UID, u.GID, u.Home)
			return 0
		}
		return 2
	}
	c.unknown(strings.Join(c.Args(), " "))
	return 2
}

// ---- processes ----

func (m *Machine) args(p *Proc) string { return strings.Join(p.Argv, " ") }

func (c *Call) psField(p *Proc, f string) (head, val string, good bool) {
	switch f {
	case "pid":
		return "PID", strconv.Itoa(p.PID), true
	case "ppid":
		return "PPID", strconv.Itoa(p.PPID), true
	case "user", "euser", "ruser":
		return "USER", p.User, true
	case "uid":
		return "UID", fmt.Sprint(c.Machine.owner(p.User).UID), true
	case "args", "cmd", "command":
		if f == "cmd" {
			return "CMD", c.Machine.args(p), true
		}
		return "COMMAND", c.Machine.args(p), true
	case "comm", "ucmd":
		return "COMMAND", comm(p), true
	case "lstart":
		return "STARTED", p.Started.Format("Mon Jan _2 15:04:05 2006"), true
	case "etimes":
		return "ELAPSED", fmt.Sprint(int(c.World.now.Sub(p.Started).Seconds())), true
	case "etime":
		s := int(c.World.now.Sub(p.Started).Seconds())
		return "ELAPSED", fmt.Sprintf("%02d:%02d", s/60, s%60), true
	case "stat", "state", "s":
		s := "S"
		if p.Stopped {
			s = "T"
		}
		return "STAT", s, true
	case "exe":
		return "EXE", c.Machine.exeLink(p), true
	}
	return "", "", false
}

func comm(p *Proc) string {
	name := path.Base(p.Argv[0])
	if len(name) > 15 {
		name = name[:15]
	}
	return name
}

// psArgs is what one call of ps asks for.
type psArgs struct {
	fields, heads             []string
	noHead, started, everyone bool
	keep                      func(*Proc) bool
}

func anyProc(*Proc) bool { return true }

// choose narrows the choice; the first choice takes the place of the default.
func (a *psArgs) choose(q func(*Proc) bool) {
	was := a.keep
	if !a.started {
		was = anyProc
	}
	a.started = true
	a.keep = func(p *Proc) bool { return was(p) && q(p) }
}

func (a *psArgs) columns(list string) {
	n := 1 + strings.Count(list, ",")
	a.fields, a.heads = slices.Grow(a.fields, n), slices.Grow(a.heads, n)
	for f := range strings.SplitSeq(list, ",") {
		name, head, custom := strings.Cut(f, "=")
		a.fields = append(a.fields, name)
		if custom {
			a.heads = append(a.heads, head)
		} else {
			a.heads = append(a.heads, "\x00")
		}
	}
}

func (c *Call) psArgs() (ask psArgs, good bool) {
	args := c.Args()
	ask.keep = func(p *Proc) bool { return p.User == c.User.Name }
	for i := 0; i < len(args); i++ {
		a := args[i]
		val := func() string {
			i++
			if i < len(args) {
				return args[i]
			}
			return ""
		}
		switch a {
		case "-e", "-A", "ax":
			ask.everyone = true
			ask.choose(anyProc)
		case "-ef", "aux", "-aux", "auxww":
			ask.everyone = true
			ask.choose(anyProc)
			ask.fields = []string{"user", "pid", "ppid", "args"}
		case "-f":
			ask.fields = []string{"user", "pid", "ppid", "args"}
		case "-w", "-ww", "ww":
		case "--no-headers", "h", "--noheaders":
			ask.noHead = true
		case "-u", "-U":
			u := val()
			ask.choose(func(p *Proc) bool { return p.User == u || fmt.Sprint(c.Machine.owner(p.User).UID) == u })
		case "-p", "--pid":
			pids := strings.Split(val(), ",")
			ask.choose(func(p *Proc) bool { return slices.Contains(pids, fmt.Sprint(p.PID)) })
		case "-C":
			n := val()
			ask.choose(func(p *Proc) bool { return comm(p) == n })
		case "-o", "-eo", "-Ao", "-wwo", "-ewwo", "-eww":
			if strings.ContainsAny(a, "eA") {
				ask.everyone = true
				ask.choose(anyProc)
			}
			if a != "-eww" {
				ask.columns(val())
			}
		default:
			c.unknown(a)
			return ask, false
		}
	}
	if ask.fields == nil {
		ask.fields = []string{"pid", "comm"}
	}
	for len(ask.heads) < len(ask.fields) {
		ask.heads = append(ask.heads, "\x00")
	}
	return ask, true
}

// psHead prints the line above the processes, unless every column has an empty name.
func (c *Call) psHead(ask *psArgs) bool {
	if ask.noHead || !slices.ContainsFunc(ask.heads, func(h string) bool { return h != "" }) {
		return true
	}
	var row []string
	for i, f := range ask.fields {
		h, _, good := c.psField(&Proc{Argv: []string{""}, User: "root"}, f)
		if !good {
			c.unknown(f)
			return false
		}
		if ask.heads[i] != "\x00" {
			h = ask.heads[i]
		}
		row = append(row, pad(f, h, i == len(ask.fields)-1))
	}
	c.Print(strings.Join(row, " ") + "\n")
	return true
}

func ps(c *Call) int {
	ask, good := c.psArgs()
	if !good || !c.psHead(&ask) {
		return 1
	}
	n := 0
	for _, p := range c.Machine.Procs() {
		if !ask.keep(p) {
			continue
		}
		n++
		for i, f := range ask.fields {
			_, v, good := c.psField(p, f)
			if !good {
				c.unknown(f)
				return 1
			}
			if i > 0 {
				c.Print(" ")
			}
			c.Print(pad(f, v, i == len(ask.fields)-1))
		}
		c.Print("\n")
	}
	if n == 0 && !ask.everyone {
		return 1
	}
	return 0 // a real ps -e finds itself, at the least
}

const spaces = "        "

func pad(field, v string, last bool) string {
	switch field {
	case "pid", "ppid", "etimes", "uid", "etime":
		return spaces[:max(7-len(v), 0)] + v
	}
	if last {
		return v
	}
	return v + spaces[:max(8-utf8.RuneCountInString(v), 0)]
}

// signalAmong takes pkill's -SIGNAL out of its arguments.
func signalAmong(args []string, isKill bool) (sig string, rest []string) {
	sig = "TERM"
	for _, a := range args {
		if isKill && len(a) > 1 && a[0] == '-' && (a[1] >= '0' && a[1] <= '9' || a[1] >= 'A' && a[1] <= 'Z' && len(a) > 2) {
			sig = signalName(a[1:])
			continue
		}
		rest = append(rest, a)
	}
	return sig, rest
}

// pgrep is also pkill.
// patterns are those that were compiled before.
var patterns sync.Map

func compiled(pattern string) (*regexp.Regexp, error) {
	if known, ok := patterns.Load(pattern); ok {
		return known.(*regexp.Regexp), nil
	}
	re, err := regexp.Compile(pattern)
	if err == nil {
		patterns.Store(pattern, re)
	}
	return re, err
}

func pgrep(c *Call) int {
	isKill := c.base() == "pkill"
	sig, rest := signalAmong(c.Args(), isKill)
	saved := c.Argv
	c.Argv = append([]string{saved[0]}, rest...)
	o, good := c.getopt("fxlau:U:cno", "full", "exact", "signal=")
	c.Argv = saved
	if !good {
		return 2
	}
	if v, has := o.set["signal"]; has {
		sig = signalName(v)
	}
	pattern := ""
	if len(o.rest) > 0 {
		pattern = o.rest[0]
	}
	if o.has("x", "exact") {
		pattern = "^(?:" + pattern + ")$"
	}
	re, err := compiled(pattern)
	if err != nil {
		return c.Fail(2, "%s: %v", c.base(), err)
	}
	users := o.set["u"] + o.set["U"]
	n := 0
	for _, p := range c.Machine.Procs() {
		what := comm(p)
		if o.has("f", "full") {
			what = c.Machine.args(p)
		}
		if users != "" && !slices.Contains(strings.Split(users, ","), p.User) || !re.MatchString(what) {
			continue
		}
		n++
		switch {
		case isKill:
			if c.User.UID == 0 || c.User.Name == p.User {
				c.Machine.Signal(p, sig)
			}
		case o.has("a"):
			c.Printf("%d %s\n", p.PID, c.Machine.args(p))
		case o.has("l"):
			c.Printf("%d %s\n", p.PID, comm(p))
		case !o.has("c"):
			c.Printf("%d\n", p.PID)
		}
	}
	if o.has("c") {
		c.Printf("%d\n", n)
	}
	if n == 0 {
		return 1
	}
	return 0
}

var signals = map[string]string{"0": "0", "1": "HUP", "2": "INT", "3": "QUIT", "9": "KILL", "10": "USR1", "12": "USR2", "15": "TERM", "18": "CONT", "19": "STOP"}

func signalName(s string) string {
	if n, has := signals[s]; has {
		return n
	}
	return strings.TrimPrefix(strings.ToUpper(s), "SIG")
}

func kill(c *Call) int {
	args, sig := c.Args(), "TERM"
	if len(args) > 1 && args[0] == "-s" {
		sig, args = signalName(args[1]), args[2:]
	} else if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0] != "--" {
		sig, args = signalName(args[0][1:]), args[1:]
	}
	code := 0
	for _, a := range args {
		if a == "--" {
			continue
		}
		pid, err := strconv.Atoi(a)
		p := c.Machine.Proc(pid)
		switch {
		case err != nil:
			code = c.Fail(1, "kill: failed to parse argument: '%s'", a)
		case p == nil:
			code = c.Fail(1, "kill: (%d): No such process", pid)
		case c.User.UID != 0 && p.User != c.User.Name:
			code = c.Fail(1, "kill: (%d): Operation not permitted", pid)
		default:
			c.Machine.Signal(p, sig)
		}
	}
	return code
}

// proc finds the process and the rest of a path below /proc.
func (m *Machine) proc(name string) (p *Proc, rest string, isProc bool) {
	name, isProc = strings.CutPrefix(name, "/proc/")
	if !isProc {
		return nil, "", false
	}
	num, rest, _ := strings.Cut(name, "/")
	pid, _ := strconv.Atoi(num)
	return m.Proc(pid), rest, true
}

func (m *Machine) procExists(name string) bool {
	p, rest, _ := m.proc(name)
	if p == nil {
		return rest == "" && slices.Contains([]string{"/proc/meminfo", "/proc/loadavg", "/proc/uptime"}, name)
	}
	return slices.Contains([]string{"", "exe", "cmdline", "environ", "cwd", "status"}, rest)
}

func (m *Machine) procFile(name string) ([]byte, bool) {
	p, rest, isProc := m.proc(name)
	if !isProc || p == nil {
		return nil, false
	}
	switch rest {
	case "cmdline":
		return []byte(strings.Join(p.Argv, "\x00") + "\x00"), true
	case "environ":
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(p.Env)) {
			b.WriteString(k + "=" + p.Env[k] + "\x00")
		}
		return []byte(b.String()), true
	case "comm":
		return []byte(comm(p) + "\n"), true
	}
	return nil, false
}

func (m *Machine) procLink(name string) (string, bool) {
	p, rest, isProc := m.proc(name)
	if !isProc || p == nil {
		return "", isProc
	}
	switch rest {
	case "exe":
		return m.exeLink(p), true
	case "cwd":
		return p.Cwd, true
	}
	return "", true
}

// ---- small text tools ----

// input is the files named, or standard input.
func (c *Call) input(names []string) ([]byte, int) {
	if len(names) == 0 {
		return c.Input(), 0
	}
	var all []byte
	code := 0
	for _, n := range names {
		b, err := c.ReadFile(n)
		if err != nil {
			code = c.Fail(2, "%s: %s: %s", c.base(), n, errText(err))
			continue
		}
		all = append(all, b...)
	}
	return all, code
}

func grep(c *Call) int {
	o, good := c.getopt("qivcFExwno", "quiet")
	if !good || len(o.rest) == 0 {
		return 2
	}
	pat := o.rest[0]
	if o.has("F") {
		pat = regexp.QuoteMeta(pat)
	}
	if o.has("w") {
		pat = `\b(?:` + pat + `)\b`
	}
	if o.has("x") {
		pat = "^(?:" + pat + ")$"
	}
	if o.has("i") {
		pat = "(?i)" + pat
	}
	re, err := compiled(pat)
	if err != nil {
		return c.Fail(2, "grep: %v", err)
	}
	in, code := c.input(o.rest[1:])
	if code != 0 {
		return 2
	}
	n := 0
	for line := range strings.Lines(string(in)) {
		line = strings.TrimSuffix(line, "\n")
		if re.MatchString(line) == o.has("v") {
			continue
		}
		n++
		if o.has("o") {
			line = re.FindString(line)
		}
		if !o.has("q", "quiet", "c") {
			c.Print(line + "\n")
		}
	}
	if o.has("c") {
		c.Printf("%d\n", n)
	}
	if n == 0 {
		return 1
	}
	return 0
}

// head is also tail.
func head(c *Call) int {
	o, good := c.getopt("n:c:")
	if !good {
		return 1
	}
	in, code := c.input(o.rest)
	if code != 0 {
		return 1
	}
	tail := c.base() == "tail"
	if v, has := o.set["c"]; has {
		fromStart := strings.HasPrefix(v, "+")
		n := int(size(strings.TrimPrefix(v, "+")))
		switch {
		case tail && fromStart:
			in = in[min(max(n-1, 0), len(in)):]
		case tail:
			in = in[max(len(in)-n, 0):]
		default:
			in = in[:min(n, len(in))]
		}
		_, _ = c.out.Write(in)
		return 0
	}
	n := 10
	if v, has := o.set["n"]; has {
		n = int(size(v))
	}
	lines := slices.Collect(strings.Lines(string(in)))
	if tail {
		lines = lines[max(len(lines)-n, 0):]
	} else {
		lines = lines[:min(n, len(lines))]
	}
	c.Print(strings.Join(lines, ""))
	return 0
}

func wc(c *Call) int {
	o, good := c.getopt("lc")
	if !good {
		return 1
	}
	in, code := c.input(o.rest)
	if code != 0 {
		return 1
	}
	n := len(in)
	if o.has("l") {
		n = bytes.Count(in, []byte("\n"))
	}
	if len(o.rest) > 0 {
		c.Printf("%d %s\n", n, o.rest[0])
	} else {
		c.Printf("%d\n", n)
	}
	return 0
}

func cmpTool(c *Call) int {
	o, good := c.getopt("s")
	if !good || len(o.rest) != 2 {
		return 2
	}
	a, err := c.ReadFile(o.rest[0])
	if err != nil {
		return c.Fail(2, "cmp: %s: %s", o.rest[0], errText(err))
	}
	b, err := c.ReadFile(o.rest[1])
	if err != nil {
		return c.Fail(2, "cmp: %s: %s", o.rest[1], errText(err))
	}
	if bytes.Equal(a, b) {
		return 0
	}
	if !o.has("s") {
		c.Printf("%s %s differ\n", o.rest[0], o.rest[1])
	}
	return 1
}

func echo(c *Call) int {
	args, nl := c.Args(), "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, nl = args[1:], ""
	}
	c.Print(strings.Join(args, " ") + nl)
	return 0
}

func printf(c *Call) int {
	args := c.Args()
	if len(args) == 0 {
		return 1
	}
	format, vals := unescape(args[0]), args[1:]
	for {
		n := strings.Count(strings.ReplaceAll(format, "%%", ""), "%")
		line := make([]any, n)
		for i := range line {
			line[i] = ""
			if i < len(vals) {
				line[i] = vals[i]
			}
		}
		c.Printf(strings.ReplaceAll(format, "%d", "%s"), line...)
		if n == 0 || len(vals) <= n {
			return 0
		}
		vals = vals[n:]
	}
}

func basename(c *Call) int {
	if len(c.Argv) < 2 {
		return 1
	}
	b := lastName(c.Argv[1])
	if len(c.Argv) > 2 {
		b = strings.TrimSuffix(b, c.Argv[2])
	}
	c.Print(b + "\n")
	return 0
}

func dirname(c *Call) int {
	if len(c.Argv) < 2 {
		return 1
	}
	c.Print(path.Dir(c.Argv[1]) + "\n")
	return 0
}

func which(c *Call) int {
	code := 0
	for _, n := range c.Args() {
		p, found := c.Look(n)
		if !found {
			code = 1
			continue
		}
		c.Print(p + "\n")
	}
	return code
}

// ---- programs that run others ----

func env(c *Call) int {
	args := c.Args()
	e := maps.Clone(c.Env)
	for len(args) > 0 {
		a := args[0]
		switch {
		case a == "-i":
			e = map[string]string{}
		case a == "-u" && len(args) > 1:
			args = args[1:]
			delete(e, args[0])
		case strings.HasPrefix(a, "--chdir=") || a == "-C" && len(args) > 1:
			if a == "-C" {
				args = args[1:]
				a = "--chdir=" + args[0]
			}
			c.Dir = c.Abs(strings.TrimPrefix(a, "--chdir="))
		case strings.Contains(a, "=") && a[0] != '-':
			k, v, _ := strings.Cut(a, "=")
			e[k] = v
		case a == "--":
		case a[0] == '-':
			c.unknown(a)
			return 125
		default:
			return c.ExecEnv(e, args...)
		}
		args = args[1:]
	}
	for _, k := range slices.Sorted(maps.Keys(e)) {
		c.Print(k + "=" + e[k] + "\n")
	}
	return 0
}

func timeout(c *Call) (code int) {
	args := c.Args()
	for len(args) > 0 && args[0][0] == '-' {
		if (args[0] == "-k" || args[0] == "-s") && len(args) > 1 {
			args = args[1:]
		}
		args = args[1:]
	}
	if len(args) < 2 {
		return 125
	}
	d, err := time.ParseDuration(strings.TrimRight(args[0], "s") + "s")
	if err != nil {
		return c.Fail(125, "timeout: invalid time interval '%s'", args[0])
	}
	inner := *c.sess
	if until := c.World.now.Add(d); inner.deadline.IsZero() || until.Before(inner.deadline) {
		inner.deadline = until
	} else {
		return c.Exec(args[1:]...)
	}
	child := *c
	child.sess, child.Argv = &inner, args[1:]
	defer func() {
		if r := recover(); r != nil {
			a, isAbort := r.(abort)
			if !isAbort || a.sess != &inner {
				panic(r)
			}
			if !errors.Is(a.why, errTimeout) {
				panic(abort{c.sess, a.why})
			}
			code = 124
		}
	}()
	return child.run()
}

func nice(c *Call) int {
	args := c.Args()
	for len(args) > 0 && args[0][0] == '-' {
		if args[0] == "-n" && len(args) > 1 {
			args = args[1:]
		}
		args = args[1:]
	}
	if len(args) == 0 {
		return 125
	}
	return c.Exec(args...)
}

func nohup(c *Call) int { return c.Exec(c.Args()...) }

// sudo works without a password; a machine can take the right away by removing /usr/bin/sudo.
func sudo(c *Call) int {
	args, user := c.Args(), "root"
	for len(args) > 0 && args[0][0] == '-' {
		switch {
		case args[0] == "-u" && len(args) > 1:
			user, args = args[1], args[2:]
		case args[0] == "-n" || args[0] == "-i" || args[0] == "--" || args[0] == "-H" || args[0] == "-E":
			args = args[1:]
		default:
			c.unknown(args[0])
			return 1
		}
	}
	u := c.Machine.users[user]
	if u == nil {
		return c.Fail(1, "sudo: unknown user: %s", user)
	}
	if len(args) == 0 {
		return 1
	}
	child := *c
	child.User, child.Argv, child.Env, child.login = u, args, c.Machine.loginEnv(u), true
	return child.run()
}

// sh runs scripts that were registered, and nothing else.
func sh(c *Call) int {
	args := c.Args()
	if len(args) > 0 && (args[0] == "-lc" || args[0] == "-ec") {
		args = append([]string{"-c"}, args[1:]...)
	}
	if len(args) < 2 || args[0] != "-c" {
		c.World.Complain("%s: %q: only sh -c SCRIPT is simulated", c.Machine.name, c.Argv)
		return 127
	}
	fn := c.World.defs.scripts[args[1]]
	if fn == nil {
		c.World.Complain("%s: no script registered: %q", c.Machine.name, args[1])
		return c.Fail(127, "sh: the simulated machine does not know this script")
	}
	if c.Argv = args[2:]; len(c.Argv) == 0 {
		c.Argv = []string{"sh"}
	}
	return fn(c)
}

// ---- systemctl ----

func systemctl(c *Call) int {
	o, good := c.getopt("qn:lp:", "now", "no-pager", "quiet", "no-legend", "property=", "value", "user", "type=", "all", "plain")
	if !good || len(o.rest) == 0 {
		return 1
	}
	verb, names := o.rest[0], o.rest[1:]
	if verb == "daemon-reload" {
		return 0
	}
	if verb == "list-units" || verb == "list-unit-files" {
		for _, n := range slices.Sorted(maps.Keys(c.Machine.services)) {
			c.Printf("%s.service\n", n)
		}
		return 0
	}
	code := 0
	for _, n := range names {
		if r := c.unit(verb, strings.TrimSuffix(n, ".service"), o); r != 0 {
			code = r
		}
	}
	return code
}

// properties prints those that -p asks for, all without it.
func (c *Call) properties(o opts, all [][2]string) {
	want := strings.Split(o.set["p"]+o.set["property"], ",")
	for _, kv := range all {
		switch {
		case want[0] != "" && !slices.Contains(want, kv[0]):
		case o.has("value"):
			c.Print(kv[1] + "\n")
		default:
			c.Print(kv[0] + "=" + kv[1] + "\n")
		}
	}
}

func (c *Call) noUnit(verb, name string, o opts) int {
	switch verb {
	case "is-active":
		c.Print("inactive\n")
		return 3
	case "is-enabled":
		return c.Fail(1, "Failed to get unit file state for %s.service: No such file or directory", name)
	case "status":
		return c.Fail(4, "Unit %s.service could not be found.", name)
	case "cat":
		return c.Fail(1, "No files found for %s.service.", name)
	case "start", "restart":
		return c.Fail(5, "Failed to %s %s.service: Unit %s.service not found.", verb, name, name)
	case "show":
		c.properties(o, [][2]string{{"LoadState", "not-found"}, {"ActiveState", "inactive"}, {"SubState", "dead"}})
		return 0
	}
	return c.Fail(5, "Failed to %s %s.service: Unit %s.service not loaded.", verb, name, name)
}

func (c *Call) unitStatus(s *Service, name string) int {
	long := "inactive (dead)"
	if s.Active {
		long = "active (running) since " + s.Since.Format("Mon 2006-01-02 15:04:05 UTC")
	}
	en := map[bool]string{true: "enabled", false: "disabled"}[s.Enabled]
	c.Printf("● %s.service - %s\n   Loaded: loaded (/usr/lib/systemd/system/%s.service; %s; vendor preset: disabled)\n   Active: %s\n", name, name, name, en, long)
	if s.Active {
		c.Printf(" Main PID: %d\n", s.PID)
		return 0
	}
	return 3
}

func (s *Service) state() string {
	switch {
	case s.Active:
		return "active"
	case s.Failed:
		return "failed"
	}
	return "inactive"
}

func (c *Call) unit(verb, name string, o opts) int {
	s := c.Machine.Service(name)
	if s == nil {
		return c.noUnit(verb, name, o)
	}
	changes := slices.Contains([]string{"start", "stop", "restart", "enable", "disable", "kill"}, verb)
	if changes && c.User.UID != 0 && c.World.defs.services[s.Kind].NeedsRoot {
		return c.Fail(1, "Failed to %s %s.service: Access denied\nSee system logs and 'systemctl status %s.service' for details.", verb, name, name)
	}
	state := s.state()
	var err error
	switch verb {
	case "start":
		err = c.Machine.StartService(s)
	case "stop":
		err = c.Machine.StopService(s)
	case "restart":
		if err = c.Machine.StopService(s); err == nil {
			err = c.Machine.StartService(s)
		}
	case "enable", "disable":
		s.Enabled = verb == "enable"
		if o.has("now") {
			return c.unit(map[bool]string{true: "start", false: "stop"}[s.Enabled], name, opts{})
		}
	case "is-active":
		if !o.has("q", "quiet") {
			c.Print(state + "\n")
		}
		if !s.Active {
			return 3
		}
	case "is-enabled":
		c.Print(map[bool]string{true: "enabled", false: "disabled"}[s.Enabled] + "\n")
		if !s.Enabled {
			return 1
		}
	case "is-failed":
		c.Print(state + "\n")
		if !s.Failed {
			return 1
		}
	case "show":
		sub := map[string]string{"active": "running", "inactive": "dead", "failed": "failed"}[state]
		en := map[bool]string{true: "enabled", false: "disabled"}[s.Enabled]
		c.properties(o, [][2]string{{"MainPID", fmt.Sprint(s.PID)}, {"LoadState", "loaded"}, {"ActiveState", state}, {"SubState", sub}, {"UnitFileState", en}})
	case "status":
		return c.unitStatus(s, name)
	default:
		c.unknown(verb)
		return 1
	}
	if err != nil {
		return c.Fail(1, "Job for %s.service failed because the control process exited with error code.\nSee \"systemctl status %s.service\" and \"journalctl -xe\" for details.", name, name)
	}
	return 0
}
