package gauss

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// The cluster manager: om_monitor keeps cm_agent and cm_server alive, cm_agent
// keeps the data node alive, cm_server chooses the primary.

const cmProcKind = "cm"

type cmState struct {
	leader string // node whose cm_server is primary
	voting bool   // a vote is to come
	paused bool   // cm_ctl pause was the last word
}

func (c cmState) clone() cmState { return c }

type cmEvent struct {
	what string // "proc", "inst" or "vote"
	name string
}

// installCM lays the component down on every machine.
func (l *Lab) installCM(s *state) {
	o := &l.Options
	for _, n := range s.nodes() {
		m := l.World.Machine(n)
		app := m.Real(o.App())
		putFiles(m, app, cmFiles(l.Release), o.User)
		m.Write(o.cmDir()+"/cm_agent/cm_agent.conf", "log_dir = /var/log/omm/omm/cm/cm_agent\nupgrade_from = 0\nagent_heartbeat_timeout = 8\nunix_socket_directory = "+o.socketDir()+"\n", 0o600, o.User)
		m.Write(o.cmDir()+"/cm_server/cm_server.conf", "log_dir = /var/log/omm/omm/cm/cm_server\ninstance_failover_delay_timeout = 0\nenable_ssl = on\n", 0o600, o.User)
		m.Write(app+"/share/sslcert/cm/server.crt", "certificate of cm\n", 0o600, o.User)
	}
}

func (s *state) startCM(w *sim.World) {
	for _, n := range s.nodes() {
		if m := w.Machine(n); m.Connected() {
			for _, p := range []string{"om_monitor", "cm_agent", "cm_server"} {
				s.startCMProc(m, p)
			}
		}
	}
	s.elect(w)
}

func (s *state) stopCM(w *sim.World) {
	for _, n := range s.nodes() {
		m := w.Machine(n)
		for _, p := range m.Procs() {
			if p.Kind == cmProcKind {
				m.End(p.PID)
			}
		}
	}
	s.cm.leader = ""
}

func (s *state) startCMProc(m *sim.Machine, name string) {
	if s.cmProc(m, name) != nil {
		return
	}
	exe := m.Real(s.opts.App()) + "/bin/" + name
	if m.Image(exe) != "" {
		m.Spawn(sim.Proc{Kind: cmProcKind, User: s.opts.User, Exe: exe, Argv: []string{s.opts.App() + "/bin/" + name}, Cwd: "/"})
	}
}

func (s *state) cmProc(m *sim.Machine, name string) *sim.Proc {
	for _, p := range m.Procs() {
		if p.Kind == cmProcKind && strings.HasSuffix(p.Argv[0], "/"+name) {
			return p
		}
	}
	return nil
}

// elect keeps the primary cm_server while it lives.
func (s *state) elect(w *sim.World) {
	alive := func(n string) bool {
		m := w.Machine(n)
		return m != nil && m.Connected() && s.cmProc(m, "cm_server") != nil
	}
	if alive(s.cm.leader) {
		return
	}
	s.cm.leader = ""
	for _, n := range s.nodes() {
		if alive(n) {
			s.cm.leader = n
			return
		}
	}
}

var cmProcs = sim.ProcKind{
	Signal: func(_ *sim.World, _ *sim.Machine, _ *sim.Proc, sig string) bool { return sig == "TERM" || sig == "INT" },
	Exit: func(w *sim.World, m *sim.Machine, p *sim.Proc, sig string) {
		s := stateOf(w)
		s.elect(w)
		name := p.Argv[0][strings.LastIndexByte(p.Argv[0], '/')+1:]
		d := 2 * time.Second
		if name == "om_monitor" { // cron brings it back
			d = 10*time.Second + time.Duration(w.Rand().IntN(20))*time.Second
		}
		if sig == "power" { // cron runs again when the machine does
			d = 40 * time.Second
		}
		w.After(d, evCM, m.Name(), cmEvent{"proc", name})
	},
}

// cmAct is the event in which om_monitor, cron or an agent acts.
func cmAct(w *sim.World, e sim.Event) {
	s := stateOf(w)
	s.settle(w)
	m := w.Machine(e.Node)
	a := e.Arg.(cmEvent)
	if a.what == "vote" {
		s.vote(w)
		return
	}
	if a.what == "inst" {
		s.cmLook(w, s.inst(a.name))
		return
	}
	if !m.Up() {
		w.After(40*time.Second, evCM, e.Node, a)
		return
	}
	if a.name != "om_monitor" && s.cmProc(m, "om_monitor") == nil {
		w.After(2*time.Second, evCM, e.Node, a)
		return
	}
	if m.Exists(s.opts.App()+"/bin/cluster_manual_start") && a.name != "om_monitor" {
		return
	}
	s.startCMProc(m, a.name)
	s.elect(w)
	if a.name == "cm_agent" {
		for _, in := range s.on(e.Node) {
			if in.srv == nil {
				s.cmNotice(w, in)
			}
		}
	}
}

// cmMay says whether the agent may start an instance.
func (s *state) cmMay(w *sim.World, in *instance) bool {
	m := w.Machine(in.node)
	bin := s.opts.App() + "/bin/"
	return s.opts.CM && m.Up() && s.cmProc(m, "cm_agent") != nil && !m.Exists(bin+"cluster_manual_start") && !m.Exists(fmt.Sprintf("%sinstance_manual_start_%d", bin, in.id)) && !m.Exists(bin+"cluster_manual_pause")
}

// cmNotice lets the agent of a node look at an instance that is down.
func (s *state) cmNotice(w *sim.World, in *instance) {
	if s.opts.CM && !in.noticed {
		in.noticed = true
		w.After(5*time.Second+time.Duration(w.Rand().IntN(3000))*time.Millisecond, evCM, in.node, cmEvent{"inst", in.name})
	}
}

// cmLook starts an instance that is down, and looks again later when that is not allowed now.
func (s *state) cmLook(w *sim.World, in *instance) {
	in.noticed = false
	switch {
	case in.srv != nil:
	case s.cmMay(w, in):
		s.revive(w, in)
	default:
		s.cmNotice(w, in)
	}
}

// arbitration is how often cm_server asks the agents while there is no primary.
const arbitration = 5 * time.Second

// callVote lets the cluster manager look for a primary in a while.
func (s *state) callVote(w *sim.World, in time.Duration) {
	if s.opts.CM && !s.cm.voting {
		s.cm.voting = true
		w.After(in, evCM, "", cmEvent{what: "vote"})
	}
}

// vote is the event in which cm_server makes the running standby with the
// newest log the primary, by term and then by position, when none is left; it
// needs word of a majority. Not while an in-place upgrade is open or the
// cluster is paused (spec section 8.2), and it asks again until there is one.
func (s *state) vote(w *sim.World) {
	s.cm.voting = false
	if s.primaryOf() != nil || s.changing() {
		return
	}
	anybody := false
	for _, in := range s.insts {
		anybody = anybody || in.srv != nil
	}
	if !anybody {
		return
	}
	best := s.best(w, nil)
	for _, in := range s.insts { // one that its agent starts and that has a newer log is waited for
		if best != nil && in.srv == nil && in.static != 'C' && s.reports(w, in) && newer(in, best) {
			best = nil
		}
	}
	if s.cm.leader != "" && best != nil && s.majority(w) && !s.resting(w, best) {
		s.giveUp(best)
		s.crown(w, best, "")
		best.wal.elected = true // the branch is new: nobody else holds it yet
		return
	}
	s.callVote(w, arbitration)
}

// giveUp takes from the account what a primary acknowledged alone, as
// most_available_sync lets it, before it fell and another one is elected: no
// tool can bring that back. What a standby has received too stays in it: of two
// that hold it one is in every majority. Not while a server is down that was
// told to stop: that one may be what is missing.
func (s *state) giveUp(best *instance) {
	if best.srv.conf["most_available_sync"] != "on" || slices.ContainsFunc(s.insts, func(in *instance) bool { return in.srv == nil && in.told }) {
		return
	}
	for b, upTo := range s.truth.acked {
		at, ok := holds(best.wal, best.lsn, b)
		if !ok {
			at = b.from
		}
		s.truth.acked[b] = min(upTo, max(at, s.truth.shared[b]))
	}
}

// resting says that the cluster manager shall elect nobody.
func (s *state) resting(w *sim.World, in *instance) bool {
	m := w.Machine(in.node)
	bin := s.opts.App() + "/bin/"
	return s.maintenance(m) || m.Exists(bin+"cluster_manual_pause") || m.Exists(bin+"cluster_manual_start")
}

func (s *state) maintenance(m *sim.Machine) bool {
	return m.Exists(s.opts.socketDir()+"/binary_upgrade/inplace_upgrade_flag") && s.upgradeFrom(m) > 0
}

// changing says that a switchover is under way.
func (s *state) changing() bool {
	return slices.ContainsFunc(s.insts, func(in *instance) bool { return in.srv != nil && in.srv.phase != "" })
}

// reports says that the cluster manager knows what an instance holds: its server
// runs, or waits to be told its role.
func (s *state) reports(w *sim.World, in *instance) bool {
	if !w.Machine(in.node).Connected() || s.cmProc(w.Machine(in.node), "cm_agent") == nil {
		return false
	}
	return in.srv != nil || s.cmMay(w, in)
}

// majority says whether more than half of those that could be the primary report.
func (s *state) majority(w *sim.World) bool {
	all, known := 0, 0
	for _, in := range s.insts {
		if in.static == 'C' {
			continue
		}
		all++
		if s.reports(w, in) {
			known++
		}
	}
	return 2*known > all
}

// revive starts an instance again; when the primary is gone and nobody who
// reports has a newer log it becomes the primary, otherwise a standby. While an
// in-place upgrade is open nobody is chosen: it comes back as what it was.
func (s *state) revive(w *sim.World, in *instance) {
	m := w.Machine(in.node)
	role := "standby"
	if in.static == 'C' {
		role = "cascade_standby"
	}
	before := in.wal
	if s.primaryOf() == nil && !s.changing() {
		leads := s.best(w, in) == in && s.majority(w)
		if s.maintenance(m) {
			leads = s.lastPrimary(w) == in
		}
		if leads {
			role = "primary"
		} else {
			s.callVote(w, arbitration)
		}
	}
	args := []string{"-D", in.data, "-M", role}
	if n := s.upgradeFrom(m); n > 0 {
		args = append([]string{"-u", strconv.Itoa(n)}, args...)
	}
	if err := s.start(w, in, m.Real(s.opts.App()), args, s.opts.User, nil); err != nil {
		s.cmNotice(w, in)
	}
	if in.wal != before {
		in.wal.elected = true
	}
}

// lastPrimary is the instance that was the primary last, as the servers noted it; nil when none was.
func (s *state) lastPrimary(w *sim.World) *instance {
	var last *instance
	for _, in := range s.insts {
		opts, _ := w.Machine(in.node).Read(in.data + "/postmaster.opts")
		if strings.Contains(opts, `"-M" "primary"`) && (last == nil || in.wal.id > last.wal.id) {
			last = in
		}
	}
	return last
}

// elected says whether a reign that was chosen in a failover lies between a
// primary's history and one that left it.
func elected(h, other *wal) bool {
	for ; h != nil; h = h.parent {
		if h.elected {
			return true
		}
		for o := other; o != nil; o = o.parent {
			if o == h {
				return false
			}
		}
	}
	return false
}

// rebuild is the event in which the cluster manager has copied a standby anew
// from its primary (cm_agent does so when a standby needs repair).
func rebuild(w *sim.World, e sim.Event) {
	s := stateOf(w)
	s.settle(w)
	in := s.inst(e.Arg.(string))
	if in == nil || in.srv == nil || in.srv.joining != e.Seq {
		return
	}
	in.srv.joining = 0
	if up := s.upstream(w, in); up != nil && s.cmMay(w, in) {
		in.wal, in.lsn, in.cat, in.rows = up.wal, up.lsn, up.cat, up.rows
	}
	s.relink(w)
}

func (s *state) primaryOf() *instance {
	for _, in := range s.insts {
		if in.primary() {
			return in
		}
	}
	return nil
}

// best is the instance with the newest log among those that are up, or in
// itself; with a cluster manager also among those that wait to be told their
// role. Where in is nil only those count that run. nil when there is none.
func (s *state) best(w *sim.World, in *instance) *instance {
	best := in
	for _, other := range s.insts {
		switch {
		case other == in || !w.Machine(other.node).Connected():
		case other.srv == nil && (in == nil || !s.opts.CM || other.static == 'C' || !s.reports(w, other)):
		case other.srv != nil && other.srv.role != roleStandby:
		case best == nil, best == in && other.srv != nil && !newer(in, other), newer(other, best):
			best = other
		}
	}
	return best
}

// newer compares logs: a later term first, then the position.
func newer(a, b *instance) bool {
	if a.wal != b.wal {
		return a.wal.id > b.wal.id
	}
	return a.lsn > b.lsn
}

func (s *state) upgradeFrom(m *sim.Machine) int {
	body, _ := m.Read(s.opts.cmDir() + "/cm_agent/cm_agent.conf")
	n, _ := strconv.Atoi(readConf(body)["upgrade_from"])
	return n
}

func cmVersion(c *sim.Call) int {
	rel, _ := releaseOf(c.Image)
	c.Printf("%s (%s CM %s build %s) compiled at %s debug\n", c.Argv[0][strings.LastIndexByte(c.Argv[0], '/')+1:], rel.Product, rel.Version, rel.Commit, rel.built())
	return 0
}

// cmctl is one run of cm_ctl.
type cmctl struct {
	*sim.Call
	s          *state
	rel        Release
	node       int
	dir        string
	key, val   string
	part       string
	v, i, d, p bool
	C, w, all  bool
}

// letters reads bundled one-letter options.
func (c *cmctl) letters(all string) bool {
	for _, o := range all {
		switch o {
		case 'v':
			c.v = true
		case 'i':
			c.i = true
		case 'd':
			c.d = true
		case 'p':
			c.p = true
		case 'C':
			c.C = true
		case 'w':
			c.w = true
		case 's', 'z', 'F', 'L':
		default:
			return false
		}
	}
	return true
}

func cmCtl(call *sim.Call) int {
	rel, _ := releaseOf(call.Image)
	c := &cmctl{Call: call, s: stateOf(call.World), rel: rel}
	args := call.Args()
	verb := ""
	for i := 0; i < len(args); i++ {
		a := args[i]
		next := func() string {
			i++
			if i < len(args) {
				return args[i]
			}
			return ""
		}
		switch {
		case a == "-V" || a == "--version":
			return cmVersion(call)
		case a[0] != '-' && verb == "":
			verb = a
		case a == "-n":
			c.node, _ = strconv.Atoi(next())
		case a == "-D":
			c.dir = next()
		case a == "-k":
			c.key = next()
		case a == "-m", a == "-t", a == "-z":
			if v := next(); v == "ALL" {
				c.all = true
			}
		case verb == "set" && a == "-v":
			c.val = next()
		case a == "--param":
		case a == "--agent", a == "--server":
			c.part = a[2:]
		case strings.HasPrefix(a, "--"), a == "-f", a == "-a", a == "-A":
		default:
			if !c.letters(a[1:]) {
				return call.Fail(1, "cm_ctl: unrecognized option '%s'\nTry \"cm_ctl --help\" for more information.", a)
			}
		}
	}
	c.s.settle(call.World)
	c.s.elect(call.World)
	switch verb {
	case "query":
		return c.query()
	case "start":
		return c.start()
	case "stop":
		return c.stop()
	case "switchover":
		return c.switchover()
	case "pause", "resume":
		return c.pause(verb)
	case "reload", "set", "list":
		return c.param(verb)
	}
	return call.Fail(1, "cm_ctl: unrecognized operation mode \"%s\"\nTry \"cm_ctl --help\" for more information.", verb)
}

func (c *cmctl) pausing() bool {
	return c.Machine.Exists(c.s.opts.App() + "/bin/cluster_manual_pause")
}

// rows are the data nodes as cm_server knows them: full words, not first ones.
func (c *cmctl) rows() []omRow {
	var out []omRow
	for _, in := range c.s.insts {
		r := omRow{topoNode: topoNode{ID: in.nodeID, Name: in.node, IP: in.addr, Inst: in.id, Data: in.data, Port: in.port, Static: string(in.static)}, role: "Down", state: "Manually stopped"}
		m := c.World.Machine(in.node)
		switch {
		case !m.Connected() || c.s.cmProc(m, "cm_agent") == nil:
			r.role, r.state = "Unknown", "Unknown"
		case in.srv != nil:
			st, det := in.dbState(c.World)
			r.role, r.state = in.srv.role, st
			if st == "Need repair" {
				r.state += "(" + strings.TrimSuffix(det, "...") + ")"
			}
		case !c.Machine.Exists(c.s.opts.App() + "/bin/cluster_manual_start"):
			r.state = "Unknown"
		}
		out = append(out, r)
	}
	return out
}

func (c *cmctl) query() int {
	if c.C || c.v {
		c.servers()
	}
	if c.s.cm.leader == "" {
		c.Errorf("cm_ctl: can't connect to cm_server.\nMaybe cm_server is not running, or timeout expired. Please try again.\n")
		return 255
	}
	rows := c.rows()
	st := clusterState(shortRoles(rows))
	if !c.C && !c.v {
		rule := strings.Repeat("-", 71)
		c.Printf("%s\n\ncluster_state             : %s\nredistributing            : No\nbalanced                  : %s\n", rule, st, balanced(rows))
		if c.pausing() {
			c.Print("pausing                   : Yes\n")
		}
		c.Printf("\n%s\n", rule)
		return 0
	}
	c.Printf("[   Cluster State   ]\n\ncluster_state   : %s\nredistributing  : No\nbalanced        : %s\ncurrent_az      : AZ_ALL\n", st, balanced(rows))
	if c.pausing() {
		c.Print("pausing         : Yes\n")
	}
	c.Print("\n[  Datanode State   ]\n\n")
	c.datanodes(rows)
	return 0
}

func shortRoles(rows []omRow) []omRow {
	out := slices.Clone(rows)
	for i := range out {
		out[i].role, _, _ = strings.Cut(out[i].role, " ")
	}
	return out
}

func balanced(rows []omRow) string {
	for _, r := range rows {
		if (r.Static == "P") != (r.role == "Primary") {
			return "No"
		}
	}
	return "Yes"
}

func (c *cmctl) servers() {
	dir, name := c.s.opts.cmDir()+"/cm_server", 4
	for _, n := range c.s.nodes() {
		name = max(name, len(n))
	}
	ip := ""
	if c.i {
		ip = fmt.Sprintf("%-16s", "node_ip")
	}
	head := fmt.Sprintf("%-*s%s%-*s", name+4, "node", ip, len(dir)+6, "instance") + "state"
	c.Printf("[  CMServer State   ]\n\n%s\n%s\n", head, strings.Repeat("-", len(head)+2))
	for i, n := range c.s.nodes() {
		m := c.World.Machine(n)
		st := "Standby"
		switch {
		case n == c.s.cm.leader:
			st = "Primary"
		case !m.Connected() || c.s.cmProc(m, "cm_server") == nil:
			st = "Down"
		}
		if c.i {
			ip = fmt.Sprintf("%-15s ", m.Address)
		}
		c.Printf("%-2d %-*s %s%-4d %-*s %s\n", i+1, name, n, ip, i+1, len(dir), dir, st)
	}
	c.Print("\n")
}

func (c *cmctl) datanodes(rows []omRow) {
	name, dir := 4, 4
	for _, r := range rows {
		name, dir = max(name, len(r.Name)), max(dir, len(r.Data))
	}
	if !c.d {
		dir = 4
	}
	var heads, cells []string
	for i, r := range rows {
		ip, port, where, ipHead := "", "", "    ", ""
		if c.i {
			ip, ipHead = fmt.Sprintf("%-15s ", r.IP), fmt.Sprintf("%-16s", "node_ip")
		}
		if c.p {
			port = fmt.Sprintf("%-6d ", r.Port)
		}
		if c.d {
			where = fmt.Sprintf("%-*s", dir, r.Data)
		}
		cell := fmt.Sprintf("%-2d %-*s %s%d %s%s %s %-7s %s", r.ID, name, r.Name, ip, r.Inst, port, where, r.Static, r.role, r.state)
		head := fmt.Sprintf("%-*s%s%-*s", name+4, "node", ipHead, 5+len(port)+dir+1, "instance") + "state"
		if i < len(rows)-1 {
			head = fmt.Sprintf("%-*s", len(cell), head)
		}
		heads, cells = append(heads, head), append(cells, cell)
	}
	if c.w {
		head := strings.TrimRight(heads[0], " ")
		c.Printf("%s\n%s\n%s\n", head, strings.Repeat("-", len(head)), strings.Join(cells, "\n"))
		return
	}
	line := strings.Join(cells, " | ")
	c.Printf("%s\n%s\n%s\n", strings.Join(heads, " | "), strings.Repeat("-", len(line)), line)
}

// target is the instance that -n and -D name.
func (c *cmctl) target() *instance {
	for _, in := range c.s.insts {
		if in.nodeID == c.node && (c.dir == "" || in.data == strings.TrimRight(c.dir, "/")) {
			return in
		}
	}
	return nil
}

func (c *cmctl) flag(name string) string { return c.s.opts.App() + "/bin/" + name }

func (c *cmctl) stop() int {
	w := c.World
	var ins []*instance
	if c.node != 0 {
		in := c.target()
		if in == nil {
			return c.Fail(1, "cm_ctl: can't find the node_id:%d, data_path:%s.", c.node, c.dir)
		}
		w.Machine(in.node).Write(c.flag(fmt.Sprintf("instance_manual_start_%d", in.id)), "", 0o600, c.User.Name)
		ins = []*instance{in}
		c.Printf("cm_ctl: stop the node: %d,datapath: %s. \n", in.nodeID, in.data)
	} else {
		for _, n := range c.s.nodes() {
			if m := w.Machine(n); m.Connected() {
				m.Write(c.flag("cluster_manual_start"), "", 0o600, c.User.Name)
			}
		}
		c.Print("cm_ctl: stop cluster. \n")
		for _, in := range slices.Backward(c.s.insts) {
			c.Printf("cm_ctl: stop nodeid: %d\n", in.nodeID)
			ins = append(ins, in)
		}
	}
	for _, in := range ins {
		if in.srv != nil && w.Machine(in.node).Connected() {
			c.s.stop(w, in, true)
		}
	}
	for range 3 {
		c.Sleep(time.Second)
		c.Print(".")
	}
	if c.node != 0 {
		c.Print("\ncm_ctl: stop instance successfully.\n")
	} else {
		c.s.stopCM(w)
		c.Print("\ncm_ctl: stop cluster successfully.\n")
	}
	return 0
}

func (c *cmctl) start() int {
	w := c.World
	if c.node != 0 {
		in := c.target()
		if in == nil {
			return c.Fail(1, "cm_ctl: can't find the node_id:%d, data_path:%s.", c.node, c.dir)
		}
		m := w.Machine(in.node)
		m.Remove(c.flag(fmt.Sprintf("instance_manual_start_%d", in.id)))
		c.Printf("cm_ctl: start the node:%d,datapath:%s. \n", in.nodeID, in.data)
		c.s.revive(w, in)
		return c.settleStart("cm_ctl: start instance successfully.\n")
	}
	c.Print("cm_ctl: checking cluster status.\ncm_ctl: checking cluster status.\ncm_ctl: checking finished in 3 ms.\ncm_ctl: start cluster. \n")
	for _, n := range c.s.nodes() {
		if m := w.Machine(n); m.Connected() {
			m.Remove(c.flag("cluster_manual_start"))
		}
	}
	c.s.startCM(w)
	order := slices.Clone(c.s.insts)
	slices.SortStableFunc(order, func(a, b *instance) int { // who has the most becomes primary
		if a.lsn != b.lsn {
			return int(b.lsn>>1) - int(a.lsn>>1)
		}
		return a.id - b.id
	})
	for _, in := range order {
		c.Printf("cm_ctl: start nodeid: %d\n", in.nodeID)
		if in.srv == nil && c.s.cmMay(w, in) {
			c.s.revive(w, in)
		}
	}
	return c.settleStart("cm_ctl: start cluster successfully.\n")
}

func (c *cmctl) settleStart(good string) int {
	for n := range 60 {
		c.Sleep(time.Second)
		c.Print(".")
		c.s.settle(c.World)
		ok := true
		for _, in := range c.s.insts {
			if in.srv == nil {
				ok = ok && c.node != 0 && in.nodeID != c.node
				continue
			}
			st, _ := in.dbState(c.World)
			ok = ok && st == "Normal"
		}
		if ok && n > 1 {
			c.Print("\n" + good)
			return 0
		}
	}
	return c.Fail(255, "\ncm_ctl: start cluster failed in (60)s!\n\nHINT: Maybe the cluster is continually being started in the background.")
}

func (c *cmctl) switchover() int {
	in := c.target()
	switch {
	case c.s.cm.leader == "":
		return c.Fail(255, "cm_ctl: can't connect to cm_server.\nMaybe cm_server is not running, or timeout expired. Please try again.")
	case in == nil:
		return c.Fail(1, "cm_ctl: can't find the node_id:%d, data_path:%s.", c.node, c.dir)
	case in.primary():
		c.Print("cm_ctl: switchover successfully.\n")
		return 0
	case !in.standby() || !in.srv.linked:
		return c.Fail(1, "cm_ctl: can not do switchover at current role.")
	case c.Machine.Exists(c.s.opts.socketDir() + "/binary_upgrade/inplace_upgrade_flag"):
		return c.Fail(1, "cm_ctl: can not do switchover, another command(1) is running.")
	}
	takes := 1300*time.Millisecond + time.Duration(c.World.Rand().IntN(700))*time.Millisecond
	c.World.After(20*time.Millisecond, evDemote, in.node, switchArg{from: in.srv.up, to: in.name, takes: takes})
	for range 60 {
		c.Sleep(time.Second)
		c.Print(".")
		c.s.settle(c.World)
		if in.srv != nil && in.srv.role == rolePrimary && in.srv.phase == "" {
			c.Print("\ncm_ctl: switchover successfully.\n")
			return 0
		}
	}
	return c.Fail(1, "\ncm_ctl: failed to do switch-over. Wait the candidate to be promoted timeout.")
}

// pause asks first while an upgrade is open; any answer but y does nothing and
// still ends with 0.
func (c *cmctl) pause(verb string) int {
	if verb == "pause" && len(c.Machine.List(c.s.opts.socketDir()+"/binary_upgrade")) > 0 {
		c.Print("cm_ctl: WARNING: the cluster is upgrading, pausing it may make the upgrade fail. Are you sure want to continue? (y/[n])")
		if in := c.Input(); len(in) == 0 || in[0] != 'y' {
			c.Print("\n")
			return 0
		}
		c.Print("\n")
	}
	c.Print("cm_ctl: Checking trust among all nodes.\n")
	for _, n := range c.s.nodes() {
		if !c.World.Machine(n).Connected() {
			return c.Fail(1, "cm_ctl: Failed to check trust among all nodes, node %s.", n)
		}
	}
	c.Printf("cm_ctl: %s the cluster.\n", map[string]string{"pause": "Pausing", "resume": "Resuming"}[verb])
	for _, n := range c.s.nodes() {
		m := c.World.Machine(n)
		if verb == "pause" {
			m.Write(c.flag("cluster_manual_pause"), "", 0o600, c.User.Name)
		} else {
			m.Remove(c.flag("cluster_manual_pause"))
		}
	}
	c.s.cm.paused = verb == "pause"
	if verb == "resume" {
		for _, in := range c.s.insts {
			if in.srv == nil {
				c.s.cmNotice(c.World, in)
			}
		}
	}
	c.Printf("cm_ctl: The cluster has been %s.\n", map[string]string{"pause": "paused", "resume": "resumed"}[verb])
	return 0
}

func (c *cmctl) param(verb string) int {
	file := c.s.opts.cmDir() + "/cm_" + c.part + "/cm_" + c.part + ".conf"
	for _, n := range c.s.nodes() {
		m := c.World.Machine(n)
		body, ok := m.Read(file)
		if !ok || !m.Connected() {
			return c.Fail(1, "cm_ctl: failed to %s the parameter on node %s.", verb, n)
		}
		switch verb {
		case "list":
			for _, k := range sortedKeys(readConf(body)) {
				c.Printf("%s %s = %s\n", n, k, readConf(body)[k])
			}
		case "set":
			m.Write(file, setConf(body, c.key, &c.val), 0o600, c.User.Name)
			c.Printf("cm_ctl: set param %s=%s on node %s successfully.\n", c.key, c.val, n)
		case "reload":
			c.Printf("cm_ctl: reload cm_%s param success on node %s.\n", c.part, n)
		}
	}
	return 0
}

// cmFindings is what is not in order with the cluster manager at the end.
func (s *state) cmFindings(w *sim.World) []string {
	if !s.opts.CM {
		return nil
	}
	var out []string
	for _, n := range s.nodes() {
		m := w.Machine(n)
		app := m.Real(s.opts.App())
		if v := s.upgradeFrom(m); v != 0 {
			out = append(out, fmt.Sprintf("%s: upgrade_from is still %d", n, v))
		}
		for _, name := range []string{"om_monitor", "cm_agent", "cm_server"} {
			p := s.cmProc(m, name)
			if p == nil {
				out = append(out, n+": "+name+" does not run")
			} else if p.Exe != app+"/bin/"+name || m.Image(p.Exe) != p.Image {
				out = append(out, n+": "+name+" still runs the program it was started from, not what lies there now")
			}
		}
		if paused := m.Exists(app + "/bin/cluster_manual_pause"); paused != s.cm.paused {
			out = append(out, fmt.Sprintf("%s: cluster_manual_pause is there: %v, it should be: %v", n, paused, s.cm.paused))
		}
		for _, f := range []string{"cluster_manual_start"} {
			if m.Exists(app + "/bin/" + f) {
				out = append(out, n+": "+f+" is still there")
			}
		}
		if !m.Exists(app + "/share/sslcert/cm/server.crt") {
			out = append(out, n+": the certificates of CM were not carried")
		}
	}
	return out
}
