package gauss

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

const stateKey = "gauss"

// state is all that the lab knows beyond the machines' files and processes.
type state struct {
	opts  Options
	insts []*instance
	truth truth
	last  time.Time // up to when load and replication were accounted for
	walID int
	cm    cmState
	ha    map[string]*moghaNode // by machine
	fault switchFault
	mot   int // MOT tables of the cluster
	java  int // functions written in Java
}

func stateOf(w *sim.World) *state {
	s, _ := w.State(stateKey).(*state)
	return s
}

// Clone makes a copy that shares only what never changes.
func (s *state) Clone() sim.State {
	c := *s
	c.insts = make([]*instance, len(s.insts))
	for i, in := range s.insts {
		n := *in
		if in.srv != nil {
			srv := *in.srv
			n.srv = &srv
		}
		c.insts[i] = &n
	}
	c.truth = s.truth.clone()
	c.cm = s.cm.clone()
	c.ha = make(map[string]*moghaNode, len(s.ha))
	for k, v := range s.ha {
		h := *v
		c.ha[k] = &h
	}
	return &c
}

// wal is one reign of a primary: where its history left its parent's.
type wal struct {
	id      int
	parent  *wal
	from    uint64
	elected bool // the cluster manager, or somebody else by a failover, chose who reigns
}

// holds says up to where a history that stands at (h, at) contains branch b.
func holds(h *wal, at uint64, b *wal) (upTo uint64, ok bool) {
	for h != nil {
		if h == b {
			return at, true
		}
		at, h = min(at, h.from), h.parent
	}
	return 0, false
}

// catalog is what the catalogue scripts left in the databases. It never
// changes: changes make another one.
type catalog struct {
	dbs     []string
	objects map[string]bool // "db name"
	noted   bool            // working number was raised over it for good
}

func (c *catalog) has(db, obj string) bool { return c.objects[db+" "+obj] }

func (c *catalog) with(db, obj string, there bool) *catalog {
	n := &catalog{dbs: c.dbs, objects: maps.Clone(c.objects), noted: c.noted}
	if there {
		n.objects[db+" "+obj] = true
	} else {
		delete(n.objects, db+" "+obj)
	}
	return n
}

// instance is a data directory and, when it runs, its server.
type instance struct {
	name   string // dn_6001
	id     int    // 6001
	node   string // the machine
	nodeID int    // 1…
	addr   string
	data   string
	port   int
	static byte // P, S or C: what the static configuration says
	base   int  // kernel number whose catalogue initdb made

	wal     *wal
	lsn     uint64
	cat     *catalog
	ctl     map[string]string // the four settings as the control file holds them; never changed
	system  int64             // system identifier
	demote  bool              // a switchover was asked for while the primary hung
	slow    time.Duration     // how long it takes to catch up at least
	rows    int64
	running string // image that last ran on the data
	stopped time.Time
	told    bool // its last server was told to stop, and did not fall
	noticed bool // the cluster manager's agent will look at it
	srv     *server
}

// Roles of a server.
const (
	roleNormal  = "Normal"
	rolePrimary = "Primary"
	roleStandby = "Standby"
	roleCascade = "Cascade Standby"
	rolePending = "Pending"
)

// server is a running gaussdb.
type server struct {
	pid     int
	rel     Release
	lib     Release // of the libraries it was started with
	app     string  // directory above bin, links resolved
	u       int     // -u, 0 without
	working int
	role    string
	started time.Time
	conf    map[string]string // in force; replaced, never changed
	frozen  bool
	phase   string    // Demoting, Wait promoting, Promoting or empty
	refuses time.Time // no connections before

	linked  bool
	up      string // name of the instance it streams from
	since   time.Time
	behind  time.Time // Catchup until
	detail  string    // why it is not linked
	joining int       // event that will link it; 0 when none
	port    int       // of its replication connection
	rpid    int
	spid    int
	session int64
	base    uint64 // lsn when the link was made, for the leak
}

func (s *state) inst(name string) *instance {
	for _, in := range s.insts {
		if in.name == name {
			return in
		}
	}
	return nil
}

// on returns the instances of a machine.
func (s *state) on(node string) []*instance {
	var out []*instance
	for _, in := range s.insts {
		if in.node == node {
			out = append(out, in)
		}
	}
	return out
}

func (s *state) at(node, data string) *instance {
	for _, in := range s.insts {
		if in.node == node && in.data == strings.TrimRight(data, "/") {
			return in
		}
	}
	return nil
}

func (s *state) byPort(node string, port int) *instance {
	for _, in := range s.insts {
		if in.node == node && in.port == port && in.srv != nil {
			return in
		}
	}
	return nil
}

func (in *instance) primary() bool {
	return in.srv != nil && (in.srv.role == rolePrimary || in.srv.role == roleNormal)
}

func (in *instance) standby() bool {
	return in.srv != nil && (in.srv.role == roleStandby || in.srv.role == roleCascade)
}

// writable says whether a client's write would be taken.
func (in *instance) writable(w *sim.World) bool {
	return in.primary() && !in.srv.frozen && in.srv.phase == "" && !w.Time().Before(in.srv.refuses) &&
		in.srv.conf["default_transaction_read_only"] != "on" && in.srv.conf["default_transaction_read_only"] != "true"
}

// dbState is db_state and detail_information as gs_ctl query tells them.
func (in *instance) dbState(w *sim.World) (st, detail string) {
	s := in.srv
	switch {
	case s.phase != "":
		return s.phase, "Normal"
	case in.primary() || s.role == rolePending:
		return "Normal", "Normal"
	case !s.linked:
		return "Need repair", s.detail
	case w.Time().Before(s.behind):
		return "Catchup", "Normal"
	}
	return "Normal", "Normal"
}

func lsnText(n uint64) string { return fmt.Sprintf("%X/%X", n>>32, n&0xffffffff) }

// settle accounts for the time since the last look: the client's writes, what
// standbys received, who could be written to. What is cut or ended now held
// until now: links are looked at behind the account.
func (s *state) settle(w *sim.World) {
	now := w.Time()
	dt := now.Sub(s.last)
	s.last = now
	s.reach(w, dt)
	s.stream(now)
	s.unlinkLost(w)
	s.relink(w) // a walreceiver tries again when the network is back
}

// stream lets linked standbys have what their source has.
func (s *state) stream(now time.Time) {
	for _, in := range s.insts {
		if in.srv == nil || !in.srv.linked || now.Before(in.srv.behind) {
			continue
		}
		if up := s.inst(in.srv.up); up != nil && up.srv != nil {
			in.wal, in.lsn, in.cat, in.rows = up.wal, up.lsn, up.cat, up.rows
			if in.static != 'C' && s.opts.CM {
				s.truth.shared[in.wal] = max(s.truth.shared[in.wal], in.lsn)
			}
		}
	}
}

// reach lets the client write to whoever takes it.
func (s *state) reach(w *sim.World, dt time.Duration) {
	var open []*instance
	for _, in := range s.insts {
		if in.writable(w) {
			open = append(open, in)
		}
	}
	s.truth.writable(w.Time(), dt, open)
	if !s.opts.Load || dt <= 0 {
		return
	}
	for _, in := range open {
		if !s.acknowledges(in) {
			s.truth.Blocked += dt
			continue
		}
		n := int64(dt / loadEvery)
		if n == 0 {
			continue
		}
		in.lsn += uint64(n) * 136
		in.rows += n
		s.truth.Acknowledged += n
		s.truth.acked[in.wal] = in.lsn
	}
}

// loadEvery is the time between two writes of the client.
const loadEvery = 10 * time.Millisecond

// acknowledges says whether a commit on the primary returns.
func (s *state) acknowledges(in *instance) bool {
	names := in.srv.conf["synchronous_standby_names"]
	if names == "" || in.srv.role == roleNormal || in.srv.conf["most_available_sync"] == "on" {
		return true
	}
	for _, sb := range s.insts {
		if sb.standby() && sb.srv.linked && sb.srv.up == in.name && !sb.srv.frozen {
			return true
		}
	}
	return len(s.insts) == 1
}

// write is one acknowledged change made through a tool.
func (s *state) write(w *sim.World, in *instance, bytes uint64) {
	in.lsn += bytes
	s.truth.acked[in.wal] = in.lsn
	s.settle(w)
}

// reachable says whether two machines talk to each other.
func reachable(w *sim.World, a, b string) bool {
	if a == b {
		return w.Machine(a).Up()
	}
	return w.Machine(a).Connected() && w.Machine(b).Connected()
}

// unlinkLost drops links whose other end is gone.
func (s *state) unlinkLost(w *sim.World) {
	for _, in := range s.insts {
		if in.srv == nil || !in.srv.linked {
			continue
		}
		up := s.inst(in.srv.up)
		if up == nil || up.srv == nil || up.srv.frozen || up.srv.phase == "Demoting" || !reachable(w, in.node, up.node) || in.srv.frozen || !feeds(up, in) {
			s.unlink(in, "Disconnected")
		}
	}
}

// feeds says whether up has the role from which in streams.
func feeds(up, in *instance) bool {
	if in.srv.role == roleCascade {
		return up.srv.role == roleStandby || up.srv.role == rolePrimary
	}
	return up.srv.role == rolePrimary
}

func (s *state) unlink(in *instance, why string) {
	in.srv.linked, in.srv.up, in.srv.detail = false, "", why
}

// upstream is the server that a standby would stream from.
func (s *state) upstream(w *sim.World, in *instance) *instance {
	for _, up := range s.insts {
		if up == in || up.srv == nil || up.srv.frozen || up.srv.phase != "" || !reachable(w, in.node, up.node) {
			continue
		}
		if in.srv.role == roleCascade && up.srv.role == roleStandby && up.srv.linked {
			return up
		}
		if in.srv.role == roleStandby && up.srv.role == rolePrimary {
			return up
		}
	}
	return nil
}

// relink lets standbys that could stream try to, a moment later.
func (s *state) relink(w *sim.World) {
	for _, in := range s.insts {
		if !in.standby() || in.srv.linked || in.srv.joining != 0 || in.srv.frozen {
			continue
		}
		if s.upstream(w, in) != nil {
			d := 1700*time.Millisecond + time.Duration(w.Rand().IntN(700))*time.Millisecond // golden 5.0.0/122 to 125
			if w.Time().Sub(in.srv.started) > 3*time.Second {
				d = 50 * time.Millisecond // a walreceiver that only waits for its primary comes back at once
			}
			in.srv.joining = w.After(d, evLink, in.node, in.name)
		}
	}
}

// link is the event that makes a standby stream.
func link(w *sim.World, e sim.Event) {
	s := stateOf(w)
	s.settle(w)
	in := s.inst(e.Arg.(string))
	if in == nil || in.srv == nil || in.srv.joining != e.Seq {
		return
	}
	in.srv.joining = 0
	up := s.upstream(w, in)
	if up == nil || in.srv.linked {
		return
	}
	if up.system != in.system {
		in.srv.detail = "System id not matched"
		return
	}
	if at, ok := holds(in.wal, in.lsn, up.wal); ok && at >= up.lsn && (in.wal != up.wal || in.lsn > up.lsn) && !up.primary() {
		// A cascade that is ahead of another standby waits until that has come as far.
		in.srv.detail = "Connecting"
		in.srv.joining = w.After(time.Second, evLink, in.node, in.name)
		return
	}
	if at, ok := holds(up.wal, up.lsn, in.wal); !ok || in.lsn > at {
		in.srv.detail = "WAL segment removed"
		if elected(up.wal, in.wal) { // not the tool's fault; a cluster manager mends it, otherwise a person
			if !s.opts.CM {
				return
			}
			in.srv.joining = w.After(30*time.Second, evRebuild, in.node, in.name)
			return
		}
		s.truth.damage(w, "DIVERGED", in.node, "the data of "+in.name+" left the history of its primary")
		return
	}
	in.srv.linked, in.srv.up, in.srv.since, in.srv.detail = true, up.name, w.Time(), "Normal"
	lag := time.Duration(up.lsn-in.lsn) * time.Second / (64 << 20)
	in.srv.behind = w.Time().Add(max(lag, in.slow))
	in.srv.port = 32768 + w.Rand().IntN(28000)
	in.srv.rpid, in.srv.spid = w.Machine(in.node).NewPID(), w.Machine(up.node).NewPID()
	in.srv.session = 140000000000000 + w.Rand().Int64N(1<<40)
	in.srv.base = up.lsn
	if up.primary() { // what was set while it was away reaches it too
		w.After(2500*time.Millisecond, evSync, up.node, up.name)
	}
	s.settle(w)
	s.relink(w)
}

// events of the lab.
const (
	evLink    = "gauss: link"
	evDemote  = "gauss: demote"
	evPromote = "gauss: promote"
	evSync    = "gauss: settings reach the standbys"
	evCount   = "gauss: two nodes are down for long"
	evRebuild = "gauss: cluster manager rebuilds a standby"
	evThaw    = "gauss: hung primary goes on"
	evCM      = "gauss: cluster manager acts"
	evMogHA   = "gauss: mogha acts"
)

// Truth is what really happened, not what tools said.
type Truth struct {
	Acknowledged int64         // writes of the simulated client that were acknowledged
	Lost         int64         // bytes of acknowledged writes that the present primary does not hold
	TwoPrimaries time.Duration // how long more than one server took writes
	FirstTwo     time.Time
	Longest      time.Duration // longest time in which nobody took writes
	Down         time.Duration // all such time
	Blocked      time.Duration // a commit hung for want of a synchronous standby
	Damage       []Damage
}

// Damage is a rule of the manual that was broken.
type Damage struct {
	Rule string // DIVERGED, OG-…, M05, …
	At   time.Time
	Node string
	Says string
}

func (d Damage) String() string {
	return fmt.Sprintf("%s %s %s: %s", d.At.Format("15:04:05.000"), d.Rule, d.Node, d.Says)
}

type truth struct {
	Truth
	acked  map[*wal]uint64
	shared map[*wal]uint64 // what a standby has received too, where a cluster manager elects
	gap    time.Duration
	seen   map[string]bool
}

func (t *truth) clone() truth {
	c := *t
	c.Damage = slices.Clone(t.Damage)
	c.acked, c.shared = maps.Clone(t.acked), maps.Clone(t.shared)
	c.seen = maps.Clone(t.seen)
	return c
}

// damage records a broken rule, once for a node.
func (t *truth) damage(w *sim.World, rule, node, says string) {
	key := rule + " " + node + " " + says
	if t.seen[key] {
		return
	}
	t.seen[key] = true
	t.Damage = append(t.Damage, Damage{Rule: rule, At: w.Time(), Node: node, Says: says})
}

func (t *truth) writable(now time.Time, dt time.Duration, open []*instance) {
	switch {
	case len(open) > 1:
		if t.FirstTwo.IsZero() {
			t.FirstTwo = now.Add(-dt)
		}
		t.TwoPrimaries += dt
		t.gap = 0
	case len(open) == 1:
		t.gap = 0
	default:
		t.gap += dt
		t.Down += dt
		t.Longest = max(t.Longest, t.gap)
	}
}
