package gauss

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// ctl is one run of gs_ctl.
type ctl struct {
	*sim.Call
	s      *state
	rel    Release
	pid    int
	name   string // the node's name in the prefix; empty before it is known
	action string
	data   string
	mode   string // -M
	stop   string // -m
	opts   string // -o
	build  string // -b
	lsn    string // -L
	force  bool
	nowait bool
	wait   time.Duration
}

// say writes one log line. gs_ctl writes everything to standard output
// (golden README, fact 1).
func (c *ctl) say(format string, args ...any) {
	c.prefix()
	c.Printf(format, args...)
	c.Print("\n")
}

func (c *ctl) prefix() {
	c.Printf("[%s][%d][%s][gs_ctl]: ", c.World.Time().Format("2006-01-02 15:04:05.000"), c.pid, c.name)
}

var actions = []string{"start", "stop", "restart", "status", "query", "switchover", "failover", "build", "querybuild", "notify", "reload", "finishredo", "kill"}

func gsCtl(call *sim.Call) int {
	s := stateOf(call.World)
	rel, _ := releaseOf(call.Image)
	c := &ctl{Call: call, s: s, rel: rel, pid: call.Machine.NewPID(), wait: 60 * time.Second, data: call.Env["PGDATA"]}
	if code, done := c.parse(); done {
		return code
	}
	s.settle(call.World)
	if c.data == "" {
		c.say("no database directory specified and environment variable PGDATA unset")
		c.Print("Try \"gs_ctl --help\" for more information.\n")
		return 1
	}
	run := runs[c.action]
	if run == nil {
		c.say("no operation specified")
		c.Print("Try \"gs_ctl --help\" for more information.\n")
		return 1
	}
	return run(c)
}

var runs = map[string]func(*ctl) int{
	"start": (*ctl).start, "stop": (*ctl).stopCmd, "restart": (*ctl).restart, "status": (*ctl).status, "query": (*ctl).query, "switchover": (*ctl).switchover,
	"failover": (*ctl).failover, "build": (*ctl).buildCmd, "querybuild": (*ctl).queryBuild, "notify": (*ctl).notify, "reload": (*ctl).reloadCmd,
}

func (c *ctl) parse() (code int, done bool) {
	args := c.Args()
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "-V" || a == "--version" {
			if c.rel.major() >= 6 {
				c.Print("gs_ctl " + c.rel.banner() + "\n")
			} else {
				c.Printf("gs_ctl (%s) 9.2.4\n", c.rel.Product)
			}
			return 0, true
		}
		if slices.Contains(actions, a) {
			c.action = a
			continue
		}
		if len(a) > 2 && a[0] == '-' && strings.IndexByte("DMmtobrLlZ", a[1]) >= 0 { // -Ddir
			args = slices.Insert(args, i+1, a[2:])
			a = a[:2]
		}
		val := ""
		if i+1 < len(args) {
			val = args[i+1]
		}
		switch a {
		case "-D", "--pgdata":
			c.data = strings.TrimRight(val, "/")
		case "-M":
			c.mode = val
		case "-m":
			c.stop = val
		case "-o":
			c.opts = val
		case "-b":
			c.build = val
		case "-L":
			c.lsn = val
		case "-t":
			n, err := strconv.Atoi(val)
			if err != nil || n < 0 {
				c.Printf("gs_ctl: unexpected wait seconds specified, the wait seconds should be a integer\n")
				return 1, true
			}
			c.wait = time.Duration(n) * time.Second
		case "-r", "-l", "-Z":
		case "-f":
			c.force = true
			continue
		case "-w", "-s", "-c":
			continue
		case "-W":
			c.nowait = true
			continue
		default:
			c.Errorf("gs_ctl: unrecognized option '%s'\nTry \"gs_ctl --help\" for more information.\n", a)
			return 1, true
		}
		i++
	}
	return 0, false
}

func (c *ctl) in() *instance { return c.s.at(c.Machine.Name(), c.data) }

// running looks at postmaster.pid as gs_ctl does: none, one that lives, or a stale one.
func (c *ctl) running() (in *instance, pidFile bool) {
	in = c.in()
	pidFile = c.Machine.Exists(c.data + "/postmaster.pid")
	if in != nil && in.srv == nil {
		in = nil
	}
	return in, pidFile
}

func (c *ctl) noPID(dot string) int {
	c.say(" PID file \"%s/postmaster.pid\" does not exist%s", c.data, dot)
	c.say("Is server running?")
	return 1
}

func (c *ctl) stale() int {
	c.say(" The process recorded in PID file \"%s/postmaster.pid\" is not current server", c.data)
	c.say("Is server running?")
	return 1
}

func (c *ctl) status() int {
	c.say("gs_ctl status,datadir is %s ", c.data)
	in, pidFile := c.running()
	switch {
	case in != nil:
		opts, _ := c.Machine.Read(c.data + "/postmaster.opts")
		c.Printf("gs_ctl: server is running (PID: %d)\n%s", in.srv.pid, opts)
		return 0
	case pidFile:
		c.Printf("gs_ctl: The process recorded in PID file \"%s/postmaster.pid\" is not current server\nIs server running?\n", c.data)
		return 1
	}
	c.Print("no server running\n")
	return 3
}

// app is the directory above the bin that this gs_ctl lies in.
func (c *ctl) app() string { return strings.TrimSuffix(c.Path, "/bin/gs_ctl") }

func (c *ctl) start() int {
	c.say("gs_ctl started,datadir is %s ", c.data)
	if !c.Machine.IsDir(c.data) {
		c.say("can't create lock file \"%s/pg_ctl.lock\" : No such file or directory", c.data)
		return 1
	}
	in, _ := c.running()
	if in != nil {
		c.say(" another server might be running; Please use the restart command")
		return 0
	}
	return c.bringUp(c.gaussdbArgs())
}

// gaussdbArgs are what gs_ctl start passes on; the file old_upgrade_version
// adds -u in front (spec/opengauss.md section 6.7, golden kill-all/006 to 014).
func (c *ctl) gaussdbArgs() []string {
	var args []string
	file := c.Env["PGHOST"] + "/binary_upgrade/old_upgrade_version"
	if c.rel.Lite {
		file = c.Env["GAUSSHOME"] + "/old_upgrade_version"
	}
	if body, err := c.ReadFile(file); err == nil {
		if f := strings.Fields(string(body)); len(f) >= 2 {
			args = append(args, "-u", strconv.Itoa(kernelNumber(f[1])))
		}
	}
	args = append(args, "-D", c.data)
	args = append(args, strings.Fields(c.opts)...)
	if c.mode != "" {
		args = append(args, "-M", c.mode)
	}
	return args
}

// kernelNumber reads 92.848 as 92848.
func kernelNumber(s string) int {
	whole, frac, _ := strings.Cut(s, ".")
	for len(frac) < 3 {
		frac += "0"
	}
	n, _ := strconv.Atoi(whole + frac[:3])
	return n
}

const alarmLog = `0 LOG:  [Alarm Module]can not read GAUSS_WARNING_TYPE env.
	
0 LOG:  [Alarm Module]Host Name: %[1]s 
	
0 LOG:  [Alarm Module]Host IP: %[1]s. Copy hostname directly in case of taking 10s to use 'gethostbyname' when /etc/hosts does not contain <HOST IP>
	
0 LOG:  [Alarm Module]Get ENV GS_CLUSTER_NAME failed!
	
0 LOG:  [Alarm Module]Invalid data in AlarmItem file! Read alarm English name failed! line: 57
	
0 WARNING:  failed to open feature control file, please check whether it exists: FileName=gaussdb.version, Errno=2, Errmessage=No such file or directory.
0 WARNING:  failed to parse feature control file: gaussdb.version.
0 WARNING:  Failed to load the product control file, so gaussdb cannot distinguish product version.
`

// bringUp starts the server and waits as gs_ctl does.
func (c *ctl) bringUp(args []string) int {
	in := c.in()
	if in == nil || !c.Machine.Exists(c.data+"/postgresql.conf") {
		c.say("could not start server")
		c.Print("Examine the log output.\n")
		return 1
	}
	c.Sleep(25 * time.Millisecond)
	c.say("waiting for server to start...")
	err := c.s.start(c.World, in, c.app(), args, c.User.Name, c.Env)
	c.Print(".")
	var why *startError
	if errors.As(err, &why) {
		c.Printf(alarmLog, c.Machine.Name())
		c.Print(why.log + "\n")
		c.Sleep(time.Second)
		c.say("waitpid %d failed, exitstatus is 256, ret is 2\n", c.pid+6)
		c.say("stopped waiting")
		c.say("could not start server")
		c.Print("Examine the log output.\n")
		return 1
	}
	c.Printf(alarmLog, c.Machine.Name())
	c.Printf("%s [unknown] [unknown] localhost 140322181651520 0[0:0#0]  0 [BACKEND] LOG:  loaded library \"security_plugin\"\n", c.World.Time().Format("2006-01-02 15:04:05.000"))
	if c.nowait {
		return 0
	}
	c.Sleep(time.Second)
	c.s.settle(c.World)
	if in.srv == nil {
		c.say("stopped waiting")
		c.say("could not start server")
		c.Print("Examine the log output.\n")
		return 1
	}
	c.say(" done")
	c.say("server started (%s)", c.data)
	return 0
}

func (c *ctl) stopCmd() int {
	c.say("gs_ctl stopped ,datadir is %s ", c.data)
	in, pidFile := c.running()
	if in == nil && !pidFile {
		return c.noPID(".")
	}
	return c.bringDown(in, false)
}

// bringDown stops the server; a restart prints no dots.
func (c *ctl) bringDown(in *instance, quiet bool) int {
	c.Print("waiting for server to shut down...")
	if in == nil || in.srv.frozen && c.stop != "immediate" {
		for range int(c.wait / time.Second) {
			c.Sleep(time.Second)
			c.Print(".")
		}
		c.Print(" failed\n")
		c.say(" server does not shut down (%s)", c.data)
		return 1
	}
	c.judgeStop()
	secs := 1
	if in.primary() && c.rel.major() < 5 {
		secs = 2
	}
	if quiet {
		secs = 2
	}
	pid := in.srv.pid
	in.srv.refuses = c.World.Time().Add(time.Hour) // no new writes from the first moment on
	c.s.settle(c.World)
	for range secs {
		c.Sleep(time.Second)
		if !quiet {
			c.Print(".")
		}
	}
	if in.srv != nil && in.srv.pid == pid {
		c.s.stop(c.World, in, c.stop != "immediate")
	}
	c.s.relink(c.World)
	c.Print(" done\nserver stopped\n")
	return 0
}

func (c *ctl) judgeStop() {
	if c.s.ha[c.Machine.Name()].active(c.Machine) {
		c.s.truth.damage(c.World, "M03", c.Machine.Name(), "the database was stopped while MogHA is active")
	}
}

func (c *ctl) restart() int {
	c.say("gs_ctl restarted ,datadir is %s ", c.data)
	body, _ := c.Machine.Read(c.data + "/postmaster.opts")
	in, pidFile := c.running()
	if in == nil && pidFile {
		return c.bringDown(in, true)
	}
	if in != nil {
		if code := c.bringDown(in, true); code != 0 {
			return code
		}
	} else {
		c.noPID("")
		c.say("starting server anyway")
	}
	args := c.gaussdbArgs()
	if c.opts == "" && body != "" {
		// The arguments of the last start are used again, -u among them (golden upgrade/045).
		old := optsArgs(body)
		if i := slices.Index(args, "-u"); i >= 0 && !slices.Contains(old, "-u") {
			old = append([]string{"-u", args[i+1]}, old...)
		}
		args = old
		if c.mode != "" {
			if i := slices.Index(args, "-M"); i >= 0 && i+1 < len(args) {
				args[i+1] = c.mode
			} else {
				args = append(args, "-M", c.mode)
			}
		}
	}
	return c.bringUp(args)
}

func (c *ctl) reloadCmd() int {
	c.say("gs_ctl reload ,datadir is %s ", c.data)
	in, pidFile := c.running()
	if in == nil {
		if pidFile {
			return c.stale()
		}
		return c.noPID("")
	}
	c.s.reload(c.World, in)
	c.say("server signaled")
	return 0
}

func (c *ctl) query() int {
	c.say("gs_ctl query ,datadir is %s ", c.data)
	in, pidFile := c.running()
	if in == nil {
		if pidFile {
			return c.stale()
		}
		return c.noPID("")
	}
	if in.srv.frozen {
		c.Sleep(time.Hour) // it connects and waits for an answer that never comes
	}
	if c.lsn != "" {
		c.Printf("LSN query result:\n   MAX_LSN: %s\n   Input LSN %s check success, and is not a checkpoint\n", lsnText(in.lsn), c.lsn)
		return 0
	}
	if in.srv.phase == "Demoting" || c.World.Time().Before(in.srv.refuses) {
		c.stateFile(in)
		return 0
	}
	c.haText(in)
	return 0
}

// stateFile is what query tells when the server takes no connections: what gaussdb.state says.
func (c *ctl) stateFile(in *instance) {
	st, _ := in.dbState(c.World)
	row := func(k, v string) { c.Printf("        %-30s: %s\n", k, v) }
	c.Print(" HA state:\n")
	row("local_role", in.srv.role)
	row("static_connections", fmt.Sprint(staticConnections(in.srv.conf)))
	row("db_state", st)
	row("detail_information", "could not connect to the local server: could not receive data from server: Connection reset by peer")
	row("sync_mode", "Async")
	c.Print("\n Senders info:\n        No information\n Receiver info:\n        No information\n")
}

// haRows prints what gs_ctl query makes of a server's state.
type haRows struct{ *sim.Call }

func (b haRows) block(title string) {
	b.Print(" ")
	b.padded(title, 20)
	b.Print("\n")
}

func (b haRows) row(k, v string) {
	b.Print("\t")
	b.padded(k, 30)
	b.Print(" : ")
	b.Print(v)
	b.Print("\n")
}

func (b haRows) padded(s string, width int) {
	b.Print(s)
	b.Print(spaces[:max(width-len(s), 0)])
}

// spaces fill the widest column.
const spaces = "                              "

// haText is the answer of gs_ctl query to the byte.
func (c *ctl) haText(in *instance) {
	b, s, w := haRows{c.Call}, c.s, c.World
	st, detail := in.dbState(w)
	b.block("HA state:")
	b.row("local_role", in.srv.role)
	b.row("static_connections", strconv.Itoa(staticConnections(in.srv.conf)))
	b.row("db_state", st)
	b.row("detail_information", detail)
	b.Print("\n")
	b.block("Senders info:")
	n := 0
	for _, sb := range s.insts {
		if sb.srv == nil || !sb.srv.linked || sb.srv.up != in.name {
			continue
		}
		s.senderRows(b, w, in, sb)
		n++
	}
	if n == 0 {
		b.Print("No information \n")
	}
	b.block("Receiver info:")
	up := s.inst(in.srv.up)
	if !in.srv.linked || up == nil || up.srv == nil {
		b.Print("No information \n")
		return
	}
	state := "Normal"
	if st == "Catchup" {
		state = "Catchup"
	}
	b.row("receiver_pid", strconv.Itoa(in.srv.rpid))
	b.row("local_role", in.srv.role)
	b.row("peer_role", up.srv.role)
	b.row("peer_state", "Normal")
	b.row("state", state)
	b.positions(up.lsn, in.lsn)
	b.row("sync_percent", percent(up.lsn, in.lsn))
	b.row("channel", fmt.Sprintf("%s:%d<--%s:%d", in.addr, in.srv.port, up.addr, up.port+1))
	b.Print("\n")
}

func (b haRows) positions(sent, got uint64) {
	from, to := lsnText(sent), lsnText(got)
	for _, k := range []string{"sender_sent_location", "sender_write_location", "sender_flush_location", "sender_replay_location"} {
		b.row(k, from)
	}
	for _, k := range []string{"receiver_received_location", "receiver_write_location", "receiver_flush_location", "receiver_replay_location"} {
		b.row(k, to)
	}
}

func percent(sent, got uint64) string {
	if got >= sent || sent == 0 {
		return "100%"
	}
	return fmt.Sprintf("%d%%", min(99, got*100/sent))
}

// senderState tells what a primary knows about a standby that streams.
func (s *state) senderState(w *sim.World, in, sb *instance) (state, sync string, priority int) {
	state = "Streaming"
	if w.Time().Before(sb.srv.behind) {
		state = "Catchup"
	}
	if in.srv.conf["synchronous_standby_names"] == "" || sb.srv.role == roleCascade {
		return state, "Async", 0
	}
	first := true
	for _, other := range s.insts {
		if other == sb {
			break
		}
		if other.srv != nil && other.srv.linked && other.srv.up == in.name {
			first = false
		}
	}
	if first {
		return state, "Sync", 1
	}
	return state, "Potential", 1
}

func (s *state) senderRows(b haRows, w *sim.World, in, sb *instance) {
	st, sync, prio := s.senderState(w, in, sb)
	ava := "Off"
	if in.srv.conf["most_available_sync"] == "on" {
		ava = "On"
	}
	b.row("sender_pid", strconv.Itoa(sb.srv.spid))
	b.row("local_role", in.srv.role)
	b.row("peer_role", sb.srv.role)
	b.row("peer_state", "Normal")
	b.row("state", st)
	b.positions(in.lsn, sb.lsn)
	b.row("sync_percent", percent(in.lsn, sb.lsn))
	b.row("sync_state", sync)
	b.row("sync_priority", strconv.Itoa(prio))
	b.row("sync_most_available", ava)
	b.row("channel", fmt.Sprintf("%s:%d-->%s:%d", in.addr, in.port+1, sb.addr, sb.srv.port))
	b.Print("\n")
}

func (c *ctl) queryBuild() int {
	c.say("gs_ctl build query ,datadir is %s ", c.data)
	in, _ := c.running()
	role := "Unknown"
	if in != nil {
		role = in.srv.role
	}
	row := func(k, v string) { c.Printf("        %-30s: %s\n", k, v) }
	c.Print(" HA state:\n")
	row("local_role", role)
	row("static_connections", fmt.Sprint(staticConnections(c.s.conf(c.World, c.in()))))
	row("db_state", "Build completed")
	row("sync_mode", "Async")
	c.Print("\n")
	return 0
}

func (c *ctl) switchover() int {
	if c.force {
		c.say("Performing a Forced Switchover")
	}
	c.say("gs_ctl switchover ,datadir is %s ", c.data)
	c.say("switchover term (1)")
	in, pidFile := c.running()
	if in == nil {
		if pidFile {
			return c.stale()
		}
		return c.noPID("")
	}
	if in.primary() {
		c.say("switchover completed (%s)", c.data)
		return 0
	}
	if !in.standby() {
		c.say(" cannot switchover server; server is not in standby or cascade standby mode")
		return 1
	}
	if c.s.fault.Kind == "lockHeld" {
		c.s.fault = switchFault{}
		c.Print("Another gs_ctl command is still running,switchover failed !\n")
		return 0
	}
	c.say("waiting for server to switchover...")
	c.unline()
	c.ask(in)
	return c.await(in)
}

// unline takes the line end back: the dots follow on the same line.
func (c *ctl) unline() { c.Trim(1) }

// ask writes the request that the server acts on.
func (c *ctl) ask(in *instance) {
	c.Machine.Write(c.data+"/switchover", "1", 0o600, c.User.Name)
	up := c.s.inst(in.srv.up)
	if in.srv.role == roleCascade {
		up = nil
	}
	takes := 1300*time.Millisecond + time.Duration(c.World.Rand().IntN(700))*time.Millisecond
	delay := 20 * time.Millisecond
	if c.s.fault.Kind == "timeoutNever" || c.s.fault.Kind == "catchup" {
		c.s.fault = switchFault{}
		return
	}
	if c.s.fault.Kind == "timeoutThenCompletes" {
		delay = c.wait + c.s.fault.Delay
		c.s.fault = switchFault{}
	}
	if up == nil {
		for _, p := range c.s.insts {
			if p.srv != nil && p.primary() && p.srv.frozen {
				p.demote = true
			}
		}
		return
	}
	c.World.After(delay, evDemote, up.node, switchArg{from: up.name, to: in.name, takes: takes})
}

func (c *ctl) await(in *instance) int {
	least := 5 * time.Second
	if c.World.Rand().IntN(20) == 0 {
		least = 11 * time.Second
	}
	for waited := time.Duration(0); waited < c.wait; waited += time.Second {
		c.Sleep(time.Second)
		c.Print(".")
		c.s.settle(c.World)
		if in.srv == nil {
			c.Print("\n")
			c.say("waitpid failed, switchover failed")
			return 1
		}
		if in.srv.role == rolePrimary && in.srv.phase == "" && waited+time.Second >= least {
			c.Print("\n")
			c.say("done")
			c.say("switchover completed (%s)", c.data)
			return 0
		}
	}
	c.Print("\n")
	if in.srv.phase == "" && !in.srv.linked {
		in.srv.detail = "Disconnected"
	}
	c.prefix()
	c.Printf("\n switchover timeout after %d seconds. please manually check the cluster status.\n", c.wait/time.Second)
	return 0
}

func (c *ctl) failover() int {
	c.say("gs_ctl failover ,datadir is %s ", c.data)
	c.say("failover term (1)")
	in, pidFile := c.running()
	if in == nil {
		if pidFile {
			return c.stale()
		}
		return c.noPID("")
	}
	if in.primary() {
		c.say(" failover completed (%s)", c.data)
		return 0
	}
	c.say(" waiting for server to failover...")
	c.Sleep(time.Second)
	if in.srv == nil {
		return 1
	}
	in.srv.linked = false
	c.s.crown(c.World, in, "")
	c.Print(".")
	c.say(" done")
	c.say(" failover completed (%s)", c.data)
	return 0
}

func (c *ctl) notify() int {
	c.say("gs_ctl notify ,datadir is %s ", c.data)
	in, _ := c.running()
	if in == nil {
		return c.noPID("")
	}
	if in.srv.role != rolePending && !(in.srv.role == roleNormal && c.mode == "primary") {
		c.say(" only support notify server in pending mode; or notify server to primary in normal mode")
		return 1
	}
	switch c.mode {
	case "primary":
		in.srv.role = rolePrimary
		c.s.reign(in)
	case "standby":
		in.srv.role = roleStandby
	case "cascade_standby":
		in.srv.role = roleCascade
	}
	c.s.setMode(c.World, in, c.mode)
	c.s.relink(c.World)
	c.say(" notify completed (%s)", c.data)
	return 0
}

// buildCmd copies the primary's data and starts the standby.
func (c *ctl) buildCmd() int {
	kind := c.build
	if kind == "" {
		kind = "incremental"
	}
	c.say("gs_ctl %s build ,datadir is %s", kind, c.data)
	for _, what := range []string{"fopen", "fprintf", "fsync"} {
		c.say("%s build pid file \"%s/gs_build.pid\" success", what, c.data)
	}
	in := c.in()
	if in == nil {
		return 1
	}
	if in.primary() {
		c.say("The local server run as Primary,build cannot be executed.")
		return 1
	}
	var p *instance
	for _, other := range c.s.insts {
		if other != in && other.srv != nil && other.srv.role == rolePrimary && reachable(c.World, in.node, other.node) {
			p = other
		}
	}
	if in.srv != nil {
		c.bringDown(in, false)
	}
	if p == nil {
		c.say("could not connect to the primary server, build failed")
		return 1
	}
	c.name = in.name
	c.say("build try host(%s) port(%d) success", p.addr, p.port+1)
	c.say("connected to server success, build started.")
	c.Sleep(3 * time.Second)
	in.wal, in.lsn, in.cat, in.rows, in.system, in.ctl = p.wal, p.lsn, p.cat, p.rows, p.system, p.ctl
	c.say("build completed(%s).", c.data)
	mode := c.mode
	if mode == "" {
		mode = "standby"
	}
	c.mode = mode
	return c.bringUp(c.gaussdbArgs())
}
