package gauss

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

const procKind = "gaussdb"

// frozenGUCs must not change while an upgrade is open: a standby checks them
// against the control file at its start (spec/opengauss.md section 5).
var frozenGUCs = []string{"max_connections", "max_prepared_transactions", "max_locks_per_transaction", "wal_level"}

// readConf reads postgresql.conf: the last line of a name wins.
func readConf(body string) map[string]string {
	conf := map[string]string{}
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		conf[strings.TrimSpace(k)] = unquote(strings.TrimSpace(v))
	}
	return conf
}

func unquote(v string) string {
	if len(v) >= 2 && v[0] == '\'' {
		if i := strings.LastIndexByte(v, '\''); i > 0 {
			return v[1:i]
		}
	}
	if i := strings.IndexByte(v, '#'); i >= 0 {
		v = strings.TrimSpace(v[:i])
	}
	return v
}

// setConf changes one line of postgresql.conf as gs_guc does; a nil value comments it out.
func setConf(body, name string, value *string) string {
	var b strings.Builder
	done := false
	for line := range strings.Lines(body) {
		k, _, ok := strings.Cut(strings.TrimLeft(line, "# "), "=")
		if ok && strings.TrimSpace(k) == name {
			if done {
				continue
			}
			done = true
			if value == nil {
				if !strings.HasPrefix(line, "#") {
					line = "#" + line
				}
			} else {
				line = name + " = " + *value + "\n"
			}
		}
		b.WriteString(line)
	}
	if !done && value != nil {
		b.WriteString(name + " = " + *value + "\n")
	}
	return b.String()
}

func (s *state) conf(w *sim.World, in *instance) map[string]string {
	body, _ := w.Machine(in.node).Read(in.data + "/postgresql.conf")
	return readConf(body)
}

// staticConnections counts the replconninfo lines that say something.
func staticConnections(conf map[string]string) int {
	n := 0
	for i := 1; i <= 8; i++ {
		if conf["replconninfo"+strconv.Itoa(i)] != "" {
			n++
		}
	}
	return n
}

// startError is why a server did not come up: what it wrote last.
type startError struct{ log string }

func (e *startError) Error() string { return e.log }

// start runs gaussdb with args ("-D" dir and more) out of the directory that
// holds bin. The process is there when it returns nil.
func (s *state) start(w *sim.World, in *instance, app string, args []string, user string, env map[string]string) error {
	m := w.Machine(in.node)
	bin := app + "/bin/gaussdb"
	img := m.Image(bin)
	tool, rest, _ := strings.Cut(img, " ")
	rel, ok := releaseOf(rest)
	if tool != "gaussdb" || !ok {
		return &startError{fmt.Sprintf("sh: %s: No such file or directory", bin)}
	}
	libText, hasLib := m.Read(app + "/lib/libpq.so.5.5")
	if !hasLib {
		return &startError{"gaussdb: error while loading shared libraries: libpq.so.5: cannot open shared object file: No such file or directory"}
	}
	lib, _ := releaseOf(strings.TrimSpace(libText))
	srv := &server{rel: rel, lib: lib, app: app, role: roleNormal, working: rel.Number, started: w.Time(), conf: s.conf(w, in)}
	for i := 0; i < len(args); i++ {
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		switch args[i] {
		case "-u":
			n, err := strconv.Atoi(next)
			if err != nil || n > rel.Number {
				return &startError{fmt.Sprintf("gaussdb: invalid argument for option -u: %q, GRAND_VERSION_NUM is %d", next, rel.Number)}
			}
			srv.u = n
			if n > 1 {
				srv.working = n
			}
			i++
		case "-M":
			srv.role = map[string]string{"primary": rolePrimary, "standby": roleStandby, "cascade_standby": roleCascade, "pending": rolePending, "normal": roleNormal}[next]
			if srv.role == "" {
				return &startError{fmt.Sprintf("gaussdb: invalid argument for option -M: %q", next)}
			}
			i++
		case "-D":
			i++
		}
	}
	if err := s.refuses(w, in, srv); err != nil {
		return err
	}
	p := m.Spawn(sim.Proc{Kind: procKind, User: user, Exe: bin, Argv: append([]string{bin}, args...), Cwd: in.data, Env: env})
	srv.pid = p.PID
	in.srv = srv
	s.judgeStart(w, in)
	in.running = rest
	srv.detail = "Disconnected"
	if in.primary() && s.opts.Nodes > 1 {
		s.reign(in)
	}
	s.saveRun(w, in, args)
	s.relink(w)
	return nil
}

// refuses are the reasons for which a server does not come up.
func (s *state) refuses(w *sim.World, in *instance, srv *server) error {
	fatal := func(format string, a ...any) error {
		return &startError{w.Time().Format("2006-01-02 15:04:05.000") + " [unknown] [unknown] localhost 139900000000000 0[0:0#0]  0 [BACKEND] FATAL:  " + fmt.Sprintf(format, a...)}
	}
	if srv.role != roleNormal && srv.role != rolePending && staticConnections(srv.conf) == 0 {
		return fatal("the server has no replconninfo and cannot be started as %s", strings.ToLower(srv.role))
	}
	if srv.conf["ssl"] == "on" && !w.Machine(in.node).Exists(in.data+"/server.key") {
		return fatal("could not load server certificate file \"server.crt\"")
	}
	if srv.role == roleStandby || srv.role == roleCascade {
		for _, g := range frozenGUCs[:3] {
			have, _ := strconv.Atoi(srv.conf[g])
			want, _ := strconv.Atoi(in.ctl[g])
			if srv.conf[g] != "" && have < want {
				return fatal("hot standby is not possible because %s = %d is a lower setting than on the master server (its value was %d)", g, have, want)
			}
		}
	}
	for _, other := range s.on(in.node) {
		if other != in && other.srv != nil && other.port == in.port {
			return fatal("could not bind IPv4 socket: Address already in use")
		}
	}
	return nil
}

// reign begins a history of its own when somebody else went on with the old one.
func (s *state) reign(in *instance) {
	for _, other := range s.insts {
		if other == in {
			continue
		}
		if _, ok := holds(other.wal, other.lsn, in.wal); ok && other.wal != in.wal || other.wal == in.wal && (other.primary() || other.lsn > in.lsn) {
			s.branch(in)
			return
		}
	}
}

func (s *state) branch(in *instance) {
	s.walID++
	in.wal = &wal{id: s.walID, parent: in.wal, from: in.lsn}
}

// judgeStart notes the rules that a start breaks.
func (s *state) judgeStart(w *sim.World, in *instance) {
	srv := in.srv
	mixed := srv.lib.Commit != srv.rel.Commit
	if mixed {
		s.truth.damage(w, "M26", in.node, fmt.Sprintf("bin of %s was started with lib of %s", srv.rel.Version, srv.lib.Version))
	}
	if srv.role == roleNormal && len(s.insts) > 1 {
		s.truth.damage(w, "M12", in.node, "started without -M in a cluster")
	}
	if srv.rel.Number < in.base || in.cat.noted && srv.rel.Number < s.topNumber(in.cat) {
		s.truth.damage(w, "OG-OLDBIN", in.node, "binaries "+srv.rel.Version+" were started on a catalogue that is newer")
	} else if n := s.postAbove(in.cat, srv.rel.Number); n > 0 {
		s.truth.damage(w, "OG-OLDBIN", in.node, fmt.Sprintf("binaries %s were started while the upgrade-post catalogue of %d was not rolled back", srv.rel.Version, n))
	}
	if in.primary() {
		for _, other := range s.insts {
			if other != in && other.primary() && !other.srv.frozen {
				s.truth.damage(w, "M21", in.node, "started as primary while "+other.name+" is one")
			}
		}
		if in.running != "" {
			s.judgeStale(w, in)
		}
	}
	s.judgeCatalog(w, in)
}

// judgeStale notes a primary that starts without the latest acknowledged writes.
func (s *state) judgeStale(w *sim.World, in *instance) {
	if n := s.lostAt(in); n > 0 {
		s.truth.damage(w, "M17", in.node, fmt.Sprintf("started as primary without %d bytes of acknowledged writes", n))
	}
}

// judgeCatalog notes a working number above the catalogue. MogDB's patch is a
// plain swap: there it is the manual's way.
func (s *state) judgeCatalog(w *sim.World, in *instance) {
	if in.srv == nil || !in.primary() || s.opts.Flavor == MogDB {
		return
	}
	if miss := s.missing(in, in.srv.working); miss != "" {
		s.truth.damage(w, "OG-CATALOG", in.node, fmt.Sprintf("working number %d was in force without %s", in.srv.working, miss))
	}
}

// saveRun writes what a starting server leaves in the data directory.
func (s *state) saveRun(w *sim.World, in *instance, args []string) {
	m := w.Machine(in.node)
	owner := s.opts.User
	var b strings.Builder
	b.WriteString(in.srv.app + "/bin/gaussdb")
	for _, a := range args {
		b.WriteString(` "` + a + `"`)
	}
	m.Write(in.data+"/postmaster.opts", b.String()+"\n", 0o600, owner)
	m.Write(in.data+"/postmaster.pid", fmt.Sprintf("%d\n%s\n%d\n%d\n%s\n\n %8d %9d\n", in.srv.pid, in.data, w.Time().Unix(), in.port, s.opts.socketDir(), in.port*1000+1, 131110), 0o600, owner)
	s.saveState(w, in)
}

// saveState writes gaussdb.state, 72 bytes: mode, connections and state.
func (s *state) saveState(w *sim.World, in *instance) {
	if in.srv == nil {
		return
	}
	b := make([]byte, 72)
	b[0] = map[string]byte{roleNormal: 1, rolePrimary: 1, roleStandby: 2, roleCascade: 3, rolePending: 4}[in.srv.role]
	if in.srv.role == rolePrimary {
		b[0] = 2
	}
	if in.srv.role == roleStandby {
		b[0] = 3
	}
	b[4], b[8], b[68] = 1, 1, byte(staticConnections(in.srv.conf))
	w.Machine(in.node).Write(in.data+"/gaussdb.state", string(b), 0o600, s.opts.User)
}

// setMode rewrites -M in postmaster.opts after a change of role.
func (s *state) setMode(w *sim.World, in *instance, mode string) {
	m := w.Machine(in.node)
	body, _ := m.Read(in.data + "/postmaster.opts")
	f := optsArgs(body)
	for i := 0; i+1 < len(f); i++ {
		if f[i] == "-M" {
			f[i+1] = mode
		}
	}
	var b strings.Builder
	b.WriteString(in.srv.app + "/bin/gaussdb")
	for _, a := range f {
		b.WriteString(` "` + a + `"`)
	}
	m.Write(in.data+"/postmaster.opts", b.String()+"\n", 0o600, s.opts.User)
	s.saveState(w, in)
}

// optsArgs are the words behind the program in postmaster.opts.
func optsArgs(body string) []string {
	var out []string
	for i, part := range strings.Split(strings.TrimSpace(body), `"`) {
		if i%2 == 1 {
			out = append(out, part)
		}
	}
	return out
}

// down is what happens when a server's process is gone.
func (s *state) down(w *sim.World, in *instance, clean bool) {
	s.settle(w)
	for _, sb := range s.insts {
		if sb.standby() && sb.srv.linked && sb.srv.up == in.name {
			why := "Disconnected"
			if clean {
				why = "Connecting..."
			}
			s.unlink(sb, why)
		}
	}
	if clean {
		w.Machine(in.node).Remove(in.data + "/postmaster.pid")
	}
	ruled := in.primary()
	in.srv, in.stopped, in.told = nil, w.Time(), clean
	if ruled && w.Machine(in.node).Connected() {
		s.callVote(w, 2*time.Second)
	} else if ruled { // nobody tells: only when its agent is missed
		s.callVote(w, 10*time.Second)
	}
	s.countDown(w)
	s.watchers(w, in)
}

// patience is how long two nodes may be down while the cluster serves: the way
// to a full stop leads through it.
const patience = 45 * time.Second

// countDown looks later whether two nodes are still down at once.
func (s *state) countDown(w *sim.World) {
	if s.opts.Nodes > 2 && s.nodesDown(w) > 1 {
		w.After(patience, evCount, "", nil)
	}
}

// nodesDown counts those that were stopped: one that fell was nobody's choice,
// and a rollback goes on past it; nor is one whose machine has no power.
func (s *state) nodesDown(w *sim.World) int {
	n := 0
	for _, in := range s.insts {
		if in.srv == nil && in.told && w.Machine(in.node).Up() {
			n++
		}
	}
	return n
}

// count is the event in which two nodes that are still down are noted (M11).
func count(w *sim.World, _ sim.Event) {
	s := stateOf(w)
	s.settle(w)
	for _, in := range s.insts {
		if s.nodesDown(w) > 1 && in.srv == nil && w.Time().Sub(in.stopped) >= patience {
			for _, p := range s.insts {
				if p.writable(w) {
					s.truth.damage(w, "M11", in.node, "more than one node was down for long while the cluster served")
				}
			}
		}
	}
}

// watchers are those who act when a server is gone.
func (s *state) watchers(w *sim.World, in *instance) {
	s.cmNotice(w, in)
	s.haNotice(w, in)
}

// procs is how gaussdb takes signals.
var procs = sim.ProcKind{
	Signal: func(w *sim.World, m *sim.Machine, p *sim.Proc, sig string) bool {
		s := stateOf(w)
		in := s.ofPID(m.Name(), p.PID)
		switch sig {
		case "TERM", "INT", "QUIT":
			if in != nil {
				s.down(w, in, sig != "QUIT")
			}
			return true
		case "HUP":
			if in != nil {
				s.settle(w)
				s.reload(w, in)
			}
		}
		return false
	},
	Exit: func(w *sim.World, m *sim.Machine, p *sim.Proc, _ string) {
		s := stateOf(w)
		if in := s.ofPID(m.Name(), p.PID); in != nil {
			s.down(w, in, false)
		}
	},
	Frozen: func(w *sim.World, m *sim.Machine, p *sim.Proc, frozen bool) {
		s := stateOf(w)
		in := s.ofPID(m.Name(), p.PID)
		if in == nil {
			return
		}
		s.settle(w)
		in.srv.frozen = frozen
		s.unlinkLost(w)
		if !frozen {
			if in.demote {
				w.After(3*time.Second, evThaw, in.node, in.name)
			}
			s.relink(w)
		}
	},
}

func (s *state) ofPID(node string, pid int) *instance {
	for _, in := range s.insts {
		if in.node == node && in.srv != nil && in.srv.pid == pid {
			return in
		}
	}
	return nil
}

// thaw is the event in which a primary that hung during a switchover demotes
// late: then there are two standbys and no primary (golden 5.0.0/140 to 147).
func thaw(w *sim.World, e sim.Event) {
	s := stateOf(w)
	s.settle(w)
	in := s.inst(e.Arg.(string))
	if in == nil || in.srv == nil || !in.demote {
		return
	}
	in.demote = false
	in.srv.role, in.srv.detail = roleStandby, "Connecting..."
	s.setMode(w, in, "standby")
	s.relink(w)
}

// noReload are settings that a reload does not change.
var noReload = map[string]bool{
	"max_connections": true, "max_prepared_transactions": true, "max_locks_per_transaction": true, "wal_level": true, "port": true,
	"listen_addresses": true, "shared_buffers": true, "enable_thread_pool": true, "max_wal_senders": true, "archive_mode_restart": true, "enable_double_write": true,
}

// reload is SIGHUP.
func (s *state) reload(w *sim.World, in *instance) {
	old := in.srv.conf
	conf := s.conf(w, in)
	for k := range noReload {
		if v, ok := old[k]; ok {
			conf[k] = v
		} else {
			delete(conf, k)
		}
	}
	in.srv.conf = conf
	if mode(old) != "0" && mode(conf) == "0" && in.srv.working != in.srv.rel.Number {
		in.srv.working = in.srv.rel.Number
		if in.primary() {
			s.committed(w, in)
		}
	}
	if in.primary() {
		w.After(2500*time.Millisecond, evSync, in.node, in.name)
	}
}

// mode is the upgrade mode in a set of settings.
func mode(conf map[string]string) string {
	if v := conf["upgrade_mode"]; v != "" {
		return v
	}
	return "0"
}

// committed is the moment in which the working number of a primary rises.
func (s *state) committed(w *sim.World, in *instance) {
	for _, other := range s.insts {
		if other.srv != nil && other.srv.rel.Number < in.srv.rel.Number {
			s.truth.damage(w, "OG-COMMIT-MIXED", other.node, "the working number was raised while this node runs "+other.srv.rel.Version)
		}
	}
	s.judgeCatalog(w, in)
	cat := *in.cat
	cat.noted = true
	in.cat = &cat
	s.settle(w)
}

// notSynced are settings that do not follow from the primary to the standbys.
func notSynced(name string) bool {
	for _, p := range []string{"replconninfo", "ssl"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	switch name {
	case "port", "listen_addresses", "application_name", "archive_command", "synchronous_standby_names", "pgxc_node_name", "unix_socket_directory", "log_directory", "available_zone":
		return true
	}
	return false
}

// syncConf is the event in which the standbys take over the primary's settings.
func syncConf(w *sim.World, e sim.Event) {
	s := stateOf(w)
	s.settle(w)
	p := s.inst(e.Arg.(string))
	if p == nil || !p.primary() || p.srv.conf["sync_config_strategy"] != "" && p.srv.conf["sync_config_strategy"] != "all_node" {
		return
	}
	from := s.conf(w, p)
	for _, sb := range s.insts {
		if !sb.standby() || !sb.srv.linked || sb.srv.up != p.name {
			continue
		}
		m := w.Machine(sb.node)
		file := sb.data + "/postgresql.conf"
		body, _ := m.Read(file)
		have := readConf(body)
		changed := body
		for _, k := range sortedKeys(from) {
			if v := from[k]; have[k] != v && !notSynced(k) {
				q := quoteConf(v)
				changed = setConf(changed, k, &q)
			}
		}
		for _, k := range sortedKeys(have) {
			if _, there := from[k]; !there && !notSynced(k) {
				changed = setConf(changed, k, nil)
			}
		}
		if changed != body {
			m.Write(file, changed, 0o600, s.opts.User)
			s.reload(w, sb)
		}
	}
}

func quoteConf(v string) string {
	if v == "" || strings.ContainsAny(v, " ,*/=()%") {
		return "'" + v + "'"
	}
	return v
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// switchFault is how the next switchover goes wrong.
type switchFault struct {
	Kind  string
	Delay time.Duration
}

// demote is the event in which a primary gives its place up.
func demote(w *sim.World, e sim.Event) {
	s := stateOf(w)
	s.settle(w)
	a := e.Arg.(switchArg)
	p, sb := s.inst(a.from), s.inst(a.to)
	if p == nil || sb == nil || p.srv == nil || sb.srv == nil || !p.primary() || p.srv.phase != "" || p.srv.frozen {
		return
	}
	if !sb.srv.linked || sb.srv.up != p.name || w.Time().Before(sb.srv.behind) {
		return
	}
	w.Machine(sb.node).Remove(sb.data + "/switchover")
	p.srv.phase, sb.srv.phase = "Demoting", "Wait promoting"
	p.srv.refuses = w.Time().Add(a.takes)
	// What the standby has is all that was acknowledged: its last bytes come before the primary closes.
	sb.wal, sb.lsn, sb.cat, sb.rows = p.wal, p.lsn, p.cat, p.rows
	if s.fault.Kind == "demoteStuck" {
		s.fault = switchFault{}
		return
	}
	w.After(a.takes, evPromote, sb.node, a)
}

type switchArg struct {
	from, to string
	takes    time.Duration
}

// promote is the event in which the standby takes the place.
func promote(w *sim.World, e sim.Event) {
	s := stateOf(w)
	s.settle(w)
	a := e.Arg.(switchArg)
	p, sb := s.inst(a.from), s.inst(a.to)
	if p != nil && p.srv != nil && p.srv.phase == "Demoting" {
		p.srv.phase, p.srv.role, p.srv.detail = "", roleStandby, "Disconnected"
		p.srv.linked = false
		if s.fault.Kind == "dualPrimary" {
			p.srv.role = rolePrimary
			s.fault = switchFault{}
		}
		s.setMode(w, p, modeWord(p.srv.role))
	}
	if sb != nil && sb.srv != nil && sb.srv.phase == "Wait promoting" {
		s.crown(w, sb, a.from)
	}
	s.relink(w)
}

func modeWord(role string) string {
	return map[string]string{rolePrimary: "primary", roleStandby: "standby", roleCascade: "cascade_standby", roleNormal: "normal", rolePending: "pending"}[role]
}

// crown makes a standby the primary; from is the one that gave its place up, if any.
func (s *state) crown(w *sim.World, in *instance, from string) {
	s.promote(w, in)
	s.judgePromotion(w, in, from)
}

// promote makes a standby the primary. Whether that was right is another matter:
// a failover by somebody else comes when it comes.
func (s *state) promote(w *sim.World, in *instance) {
	s.settle(w)
	in.srv.phase, in.srv.role, in.srv.linked, in.srv.up = "", rolePrimary, false, ""
	s.branch(in)
	s.setMode(w, in, "primary")
	for _, other := range s.insts {
		if other != in && other.primary() && !other.srv.frozen {
			s.truth.damage(w, "M21", in.node, "promoted while "+other.name+" is primary")
		}
		if other != in && other.srv != nil && other.standby() && other.srv.linked && other.srv.up != in.name {
			s.unlink(other, "Disconnected")
		}
	}
	s.judgeCatalog(w, in)
	s.relink(w)
}

// judgePromotion notes a promotion that leaves an older standby behind (M10).
func (s *state) judgePromotion(w *sim.World, in *instance, from string) {
	if s.opts.Flavor != MogDB {
		return
	}
	for _, other := range s.insts {
		if other != in && other.name != from && other.srv != nil && other.srv.rel.Number < in.srv.rel.Number {
			s.truth.damage(w, "M10", other.node, "a standby still runs "+other.srv.rel.Version+" at the switchover")
		}
	}
}

// stop ends a server cleanly.
func (s *state) stop(w *sim.World, in *instance, clean bool) {
	m := w.Machine(in.node)
	pid := in.srv.pid
	s.down(w, in, clean)
	m.End(pid)
	if !clean {
		m.Remove(in.data + "/postmaster.pid")
	}
}
