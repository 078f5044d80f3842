package gbase8a

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// installer is a run of gcinstall.py -U or Restore.py. It goes on by events,
// so that it lives on when the command that started it is cut off.
type installer struct {
	id      int
	running bool
	restore bool
	machine string
	pid     int    // the process that it is; 0 for one in the foreground
	record  string // where a detached one leaves its exit status
	log     string
	code    int
	from    string
	to      string
	phase   int
	backup  string // path of the backup file
	dir     string
	license bool
}

// scripts are the programs of a package's gcinstall directory.
var packaged = []string{"gcinstall.py", "SetSysEnv.py", "Restore.py", "unInstall.py"}

// begin starts an installer in the caller's name; it refuses with a text and
// changes nothing where a precondition is broken.
func (c *Cluster) begin(call *sim.Call, release string, record string, restore bool) *installer {
	in := &installer{running: true, restore: restore, machine: call.Machine.Name(), record: record, to: release, dir: call.Dir}
	if c.install != nil {
		in.id = c.install.id + 1
		if c.install.running {
			c.violate("U6", "a second installer was started while one runs")
		}
	}
	refuse := c.refuseInstall
	if restore {
		refuse = c.refuseRestore
	}
	if why := refuse(call, in); why != "" {
		in.log, in.code, in.running = in.log+why+"\n", 1, false
	}
	c.install = in
	return in
}

// refuseInstall checks in the order of the simulator contract; the texts are
// [A] but for those that the rule table quotes.
func (c *Cluster) refuseInstall(call *sim.Call, in *installer) string {
	args := call.Args()
	opt := func(name string) string {
		for _, a := range args {
			if v, ok := strings.CutPrefix(a, name+"="); ok {
				return v
			}
		}
		return ""
	}
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		if !slices.Contains([]string{"--silent", "--license_file", "--backup_dir", "-a", "-U", "--upgrade", "-i", "--passwordInputMode", "--timeout"}, name) {
			call.World.Complain("gcinstall.py %q is not simulated", a)
		}
	}
	if !slices.Contains(args, "-U") && !slices.Contains(args, "--upgrade") {
		c.violate("U6", "gcinstall.py without -U on a cluster that exists")
		return "cluster is installed already"
	}
	if !slices.Contains(args, "-a") {
		return "Do you accept the above licence agreement ([Y,y]/[N,n])? EOF"
	}
	text, err := call.ReadFile(opt("--silent"))
	if err != nil {
		return "cannot read " + opt("--silent")
	}
	in.from = c.Nodes[0].Version
	backupDir := opt("--backup_dir")
	if backupDir == "" {
		backupDir = home
	}
	in.license = opt("--license_file") != ""
	for _, check := range []func() string{
		func() string { return c.checkOptions(string(text)) },      // G21
		func() string { return c.checkWhere(call) },                // G22
		func() string { return c.checkStopped(call.World) },        // G23
		func() string { return c.checkBackupDir(call, backupDir) }, // G24
		func() string { return c.checkPrefix(call.World) },         // G25
		func() string { return c.checkOS(call.World) },             // G26
		c.checkNoise, // section 11, item 11
	} {
		if why := check(); why != "" {
			return why
		}
	}
	if c.Config.FlushRequired && !c.flushed(call.World) {
		c.violate("G13", "the installer was started without a proven flush")
	}
	stamp := call.World.Time().Format("20060102150405")
	in.backup = path.Join(backupDir, "gcluster_backup_"+stamp+".tar.bz2")
	return ""
}

func (c *Cluster) checkOptions(text string) string {
	vals := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, v, _ := strings.Cut(line, "=")
		vals[strings.TrimSpace(k)] = strings.Trim(strings.TrimSpace(v), "'\"")
	}
	same := func(key string, want func(Node) bool) string {
		got := strings.Split(vals[key], ",")
		if vals[key] == "" {
			got = nil
		}
		var ips []string
		for _, n := range c.Nodes {
			if want(n) {
				ips = append(ips, n.IP)
			}
		}
		slices.Sort(got)
		slices.Sort(ips)
		if !slices.Equal(got, ips) {
			return fmt.Sprintf("%s [%s] must be all existing nodes [%s]", key, strings.Join(got, ","), strings.Join(ips, ","))
		}
		return ""
	}
	for _, key := range []string{"existCoordinateHost", "existDataHost", "existGcwareHost"} {
		if vals[key] != "" {
			return key + " must not be set for an upgrade"
		}
	}
	why := same("coordinateHost", func(n Node) bool { return n.Coor })
	if why == "" {
		why = same("dataHost", func(n Node) bool { return n.Data })
	}
	if why == "" && c.Config.Flavor == V953 {
		why = same("gcwareHost", func(n Node) bool { return n.Gcware })
	}
	if why == "" && vals["dbaPwd"] == "" {
		why = "dbaPwd is not set"
	}
	return why
}

func (c *Cluster) checkWhere(call *sim.Call) string {
	if call.User.Name != dbaUser {
		return "Must be run by dbaUser " + dbaUser
	}
	for _, n := range c.Nodes {
		if n.Coor && n.Machine == call.Machine.Name() {
			return ""
		}
	}
	return "must be run on a coordinator"
}

func (c *Cluster) checkStopped(w *sim.World) string {
	for i := range c.Nodes {
		for _, prog := range allPrograms {
			if c.running(w, &c.Nodes[i], prog) != nil {
				return fmt.Sprintf("%s is running on %s, please stop all services first", prog, c.Nodes[i].IP)
			}
		}
	}
	return ""
}

func (c *Cluster) checkBackupDir(call *sim.Call, dir string) string {
	if !call.Machine.IsDir(dir) {
		return "backup dir " + dir + " does not exist"
	}
	if size, used := call.Machine.Disk(); size-used < 1<<30 {
		return "no space left in " + dir
	}
	return ""
}

func (c *Cluster) checkPrefix(w *sim.World) string {
	for _, n := range c.Nodes {
		if mode, owner, ok := w.Machine(n.Machine).Mode(c.Config.Prefix); !ok || owner != dbaUser && mode&2 == 0 {
			return fmt.Sprintf("Dir '%s',dbaUser '%s' doesn't have write and privilege to this dirctory '%s'", c.Config.Prefix, dbaUser, c.Config.Prefix)
		}
	}
	return ""
}

func (c *Cluster) checkOS(w *sim.World) string {
	for _, n := range c.Nodes {
		if text, _ := w.Machine(n.Machine).Read("/etc/os-release"); !strings.Contains(text, "VERSION_ID=\"7\"") {
			return "operating system is 'xxx', must be centos7"
		}
	}
	return ""
}

func (c *Cluster) checkNoise() string {
	if c.Faults.BashNoise != "" {
		return `invalid literal for int() with base 10: '\x1b[?2004l\r0'`
	}
	return ""
}

// restores is the matrix of the way back (spec section 6).
var restores = [][2]string{{"9.5.3", "9.5.3"}, {"9.5.3", "9.5.2"}, {"9.5.2", "9.5.2"}, {"9.5.2", "8.6"}}

func (c *Cluster) refuseRestore(call *sim.Call, in *installer) string {
	file := ""
	for _, a := range call.Args() {
		if v, ok := strings.CutPrefix(a, "--backupFile="); ok {
			file = v
		}
	}
	content, ok := call.Machine.Read(file)
	if !ok {
		return "backup file " + file + " does not exist"
	}
	in.to = strings.TrimSpace(strings.TrimPrefix(content, "backup of "))
	in.from = in.to
	for _, n := range c.Nodes {
		if n.Version != in.to {
			in.from = n.Version
		}
	}
	if why := c.checkStopped(call.World); why != "" {
		return why
	}
	family := func(v string) string { return strings.Join(strings.Split(v, ".")[:3], ".") }
	if !slices.Contains(restores, [2]string{family(in.from), family(in.to)}) {
		return "cannot restore " + in.from + " to " + in.to
	}
	if c.Faults.RestoreFails {
		return "restore failed"
	}
	return ""
}

// backupSize is what the installer's backup takes.
const backupSize = 200 << 20

// advance lets the installer go on by one phase; it returns how long the next one takes.
func (c *Cluster) advance(w *sim.World, in *installer) (time.Duration, bool) {
	say := func(format string, args ...any) { in.log += fmt.Sprintf(format+"\n", args...) }
	phase := in.phase
	in.phase++
	if in.restore {
		if phase < len(c.Nodes) {
			if m := w.Machine(c.Nodes[phase].Machine); !m.Connected() || !room(m, 1<<20) {
				in.code = 1
				say("%s is not reachable or full", c.Nodes[phase].IP)
				return 0, false
			}
			c.setVersion(w, &c.Nodes[phase], in.to)
			say("restore %s ...", c.Nodes[phase].IP)
			return c.Delays.Copy, true
		}
		say("Restore cluster successfully.")
		return 0, false
	}
	switch {
	case phase == 0:
		say("backup ...")
		return c.Delays.Backup, true
	case phase == 1:
		if c.Faults.CrashAt == "backup" || !room(w.Machine(in.machine), backupSize+1<<20) {
			in.code = 1
			say("backup failed")
			return 0, false
		}
		if !c.Faults.NoBackup {
			w.Machine(in.machine).WriteSized(in.backup, "backup of "+in.from+"\n", backupSize, 0o644, dbaUser)
		}
		say("backup %s", in.backup)
		return c.Delays.Copy, true
	case phase < 2+len(c.Nodes):
		k := phase - 2
		if c.Faults.CrashAt == "copy" && k == (len(c.Nodes)+1)/2 {
			in.code = 1
			say("copy failed")
			return 0, false
		}
		if m := w.Machine(c.Nodes[k].Machine); !m.Connected() || !room(m, 1<<20) {
			say("%s is not reachable or full", c.Nodes[k].IP)
			return 0, c.takeBack(w, in, say)
		}
		c.setVersion(w, &c.Nodes[k], in.to)
		say("upgrade %s ...", c.Nodes[k].IP)
		return c.Delays.Copy, true
	}
	return 0, c.launch(w, in, say)
}

// launch starts the new release; it never goes on.
func (c *Cluster) launch(w *sim.World, in *installer, say func(string, ...any)) bool {
	if c.Faults.CrashAt == "start" {
		in.code = 1
		say("start failed")
		return false
	}
	unflushed := c.Config.FlushRequired && !c.flushed(w)
	if unflushed { // [A]: gcware does not come up on an old snapshot
		say("start gcware failed")
		return c.takeBack(w, in, say)
	}
	if c.Config.Licensed && !in.license {
		c.LicenseOK = false
	}
	c.startReachable(w)
	say("start cluster ...\nupgrade successfully.") // [A]
	return false
}

// takeBack is what the installer does by itself when it fails: the old release
// on every node that it reaches, started. It never goes on.
func (c *Cluster) takeBack(w *sim.World, in *installer, say func(string, ...any)) bool {
	say("rollback ...")
	in.code = 1
	for i := range c.Nodes {
		if w.Machine(c.Nodes[i].Machine).Connected() {
			c.setVersion(w, &c.Nodes[i], in.from)
		}
	}
	c.startReachable(w)
	return false
}

func (c *Cluster) startReachable(w *sim.World) {
	for i := range c.Nodes {
		if w.Machine(c.Nodes[i].Machine).Connected() {
			c.startAll(w, &c.Nodes[i])
		}
	}
}

func (c *Cluster) setVersion(w *sim.World, n *Node, version string) {
	if n.Version == version {
		return
	}
	n.Version = version
	c.installFiles(w.Machine(n.Machine), n)
}

// installEvent goes on with the installer that the event belongs to.
func installEvent(w *sim.World, e sim.Event) {
	c := Of(w)
	if in := c.install; in != nil && in.running && in.id == e.Arg.(int) {
		c.step(w, in)
	}
}

func (c *Cluster) step(w *sim.World, in *installer) {
	d, more := c.advance(w, in)
	if !more {
		in.running = false
		c.report(w, in)
		if m := w.Machine(in.machine); in.pid != 0 {
			m.End(in.pid)
		}
		return
	}
	c.report(w, in)
	w.After(d, evInstall, in.machine, in.id)
}

// report writes what a detached installer leaves in its record, and its own log.
func (c *Cluster) report(w *sim.World, in *installer) {
	m := w.Machine(in.machine)
	if !room(m, 1<<20) {
		return // what a full disk cannot take is lost
	}
	m.Write(in.dir+"/gcinstall.log", in.log, 0o644, dbaUser)
	if in.record == "" {
		return
	}
	m.Write(in.record+"/log", in.log, 0o644, dbaUser)
	if !in.running {
		m.Write(in.record+"/status", fmt.Sprintf("%d\n", in.code), 0o644, dbaUser)
	}
}

// installExits is told when the installer's process was killed: it stops where it is.
func installExits(w *sim.World, _ *sim.Machine, p *sim.Proc, _ string) {
	if in := Of(w).install; in != nil && in.running && in.pid == p.PID {
		in.running = false
	}
}

// runInstaller is the installer in the foreground.
func runInstaller(call *sim.Call, release string, restore bool) int {
	c := Of(call.World)
	in := c.begin(call, release, "", restore)
	if in.running {
		c.step(call.World, in)
	}
	for in.running {
		call.Sleep(time.Second)
	}
	call.Print(in.log)
	return in.code
}

// detached runs a program as host.DetachScript does: argv is {name, dir, record, program…}.
func detached(call *sim.Call) int {
	args := call.Args()
	dir, record, argv := args[0], args[1], args[2:]
	if call.Exists(record) || call.MkdirAll(record, 0o755) != nil {
		return call.Fail(73, "mkdir: cannot create directory '%s': File exists", record)
	}
	if !call.Machine.IsDir(dir) {
		return call.Fail(72, "sh: cd: %s: No such file or directory", dir)
	}
	prog := argv[0]
	if path.Base(prog) == "python" {
		prog, argv = argv[1], argv[1:]
	}
	if !strings.HasPrefix(prog, "/") {
		prog = path.Join(dir, prog)
	}
	f := strings.Fields(call.Machine.Image(prog))
	if len(f) != 3 || f[0] != tool || f[1] != "gcinstall.py" && f[1] != "Restore.py" {
		call.World.Complain("%s: %q cannot be detached", call.Machine.Name(), argv)
		return 0
	}
	c := Of(call.World)
	inner := *call
	inner.Argv, inner.Dir = argv, dir
	in := c.begin(&inner, f[2], record, f[1] == "Restore.py")
	if !in.running {
		c.report(call.World, in)
		_ = call.WriteFile(record+"/pid", []byte("1\n"), 0o644)
		return 0
	}
	p := call.Spawn(sim.Proc{Kind: tool + " installer", Exe: prog, Cwd: dir, Argv: append([]string{"sh", "detached", record}, argv...)})
	in.pid = p.PID
	_ = call.WriteFile(record+"/pid", fmt.Appendf(nil, "%d\n", p.PID), 0o644)
	c.step(call.World, in)
	return 0
}
