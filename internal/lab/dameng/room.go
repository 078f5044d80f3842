package dameng

import (
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Damage is what a broken rule did.
type Damage struct {
	Rule string
	Node string
	Says string
}

func (d Damage) String() string { return d.Rule + " " + d.Node + ": " + d.Says }

// site is one node of the room: never changed after set-up.
type site struct {
	Name, Member, Instance string
	Seq                    int
	Home, Dir              string // DM_HOME; the directory of dm.ini
	Data                   string // SYSTEM_PATH: a directory, or a path in ASM that starts with +
	Port                   int
}

func (s *site) unit(kind string) string { return kind + s.Instance }

func (s *site) ini(name string) string { return s.Dir + "/" + name }

// server is a running dmserver.
type server struct {
	Release string
	PID     int
	Channel string // "systemctl", "script" or "bare"
	State   string // MOUNT, OPEN
	AMS     bool   // ALTER_MODE_STATUS as it was read or set
	ReadyAt time.Time
	Invalid map[string]bool // archive destinations that are INVALID
	Hang    bool            // an exit never ends
}

// helper is a running dmwatcher, dmmonitor, dmcss or dmasmsvr.
type helper struct {
	Release string
	PID     int
	Since   time.Time
}

// vote is what dmcss remembers of a node.
type vote struct {
	Inst, VTD, OK string
	Active        bool
}

// room is the state of the simulated software.
type room struct {
	opts    Options
	sites   map[string]*site // shared by clones, as are the next three
	order   []string
	groups  []string           // the members in the order of the nodes
	parts   map[string][]*site // the sites of a member in the order of their sequence numbers
	servers map[string]*server
	watch   map[string]*helper
	monitor map[string]*helper
	css     map[string]*helper
	asm     map[string]*helper
	votes   map[string]vote
	dcr     map[string]string    // per member: which release made the DCR disk
	asmFile map[string]string    // files on shared disks
	taint   map[string]bool      // members whose next exit is not clean
	broken  map[string]bool      // nodes whose last exit was none; a start recovers them
	lag     map[string]bool      // members that never catch up
	exited  map[string]bool      // nodes whose server was stopped and did not die
	died    map[string]time.Time // when the server of a node died last
	dark    map[string][]string  // per node: kinds of processes that went with the power
	damage  []Damage
	acked   int
	magic   int64
	memo    map[string]memo
	outside map[string]string // per member: a file of its library in a directory of its own
}

// Clone is for sim.World.
func (r *room) Clone() sim.State {
	c := *r
	c.servers = cloned(r.servers)
	for _, s := range c.servers {
		s.Invalid = maps.Clone(s.Invalid)
	}
	c.watch, c.monitor, c.css, c.asm = cloned(r.watch), cloned(r.monitor), cloned(r.css), cloned(r.asm)
	c.votes, c.dcr, c.asmFile = maps.Clone(r.votes), maps.Clone(r.dcr), maps.Clone(r.asmFile)
	c.taint, c.broken, c.lag = maps.Clone(r.taint), maps.Clone(r.broken), maps.Clone(r.lag)
	c.exited, c.died, c.dark = maps.Clone(r.exited), maps.Clone(r.died), maps.Clone(r.dark)
	for n, kinds := range c.dark {
		c.dark[n] = slices.Clone(kinds)
	}
	c.damage = slices.Clone(r.damage)
	c.memo, c.outside = maps.Clone(r.memo), maps.Clone(r.outside)
	return &c
}

func cloned[V any](m map[string]*V) map[string]*V {
	out := make(map[string]*V, len(m))
	for k, v := range m {
		c := *v
		out[k] = &c
	}
	return out
}

const stateKey = "dameng"

func roomOf(w *sim.World) *room { return w.State(stateKey).(*room) }

func (r *room) hurt(rule, node, format string, args ...any) {
	d := Damage{rule, node, fmt.Sprintf(format, args...)}
	if !slices.Contains(r.damage, d) {
		r.damage = append(r.damage, d)
	}
}

// add puts a site into the room, at set-up.
func (r *room) add(s *site) {
	r.sites[s.Name] = s
	r.order = append(r.order, s.Name)
	if r.parts[s.Member] == nil {
		r.groups = append(r.groups, s.Member)
	}
	r.parts[s.Member] = append(r.parts[s.Member], s)
}

// nodes returns the sites of a member in the order of their sequence numbers.
func (r *room) nodes(member string) []*site { return r.parts[member] }

// members in the order of the nodes.
func (r *room) members() []string { return r.groups }

func (r *room) shared(member string) bool { return len(r.nodes(member)) > 1 }

func (r *room) watched() bool { return len(r.members()) > 1 }

// readData and writeData reach a file of a member's data, on its disk or in ASM.
func (r *room) readData(w *sim.World, s *site, name string) (string, bool) {
	if strings.HasPrefix(s.Data, "+") {
		v, ok := r.asmFile[s.Member+":"+s.Data+"/"+name]
		return v, ok
	}
	return w.Machine(s.Name).Read(s.Data + "/" + name)
}

// holds reports whether a file of a member's data is there and holds text.
func (r *room) holds(w *sim.World, s *site, name, text string) bool {
	if strings.HasPrefix(s.Data, "+") {
		v, ok := r.readData(w, s, name)
		return ok && v == text
	}
	return w.Machine(s.Name).Holds(s.Data+"/"+name, text)
}

func (r *room) writeData(w *sim.World, s *site, name, content string) {
	if strings.HasPrefix(s.Data, "+") {
		r.asmFile[s.Member+":"+s.Data+"/"+name] = content
		return
	}
	w.Machine(s.Name).Write(s.Data+"/"+name, content, 0o640, osUser)
}

// lib is a copy of a member's library, to be changed and saved.
func (r *room) lib(w *sim.World, member string) *library {
	if l := r.see(w, member); l != nil {
		return l.clone()
	}
	return nil
}

// see is a member's library, which must not be changed.
func (r *room) see(w *sim.World, member string) *library {
	s := r.nodes(member)[0]
	if m, known := r.memo[member]; known && r.holds(w, s, "SYSTEM.DBF", m.text) {
		return m.lib
	}
	text, ok := r.readData(w, s, "SYSTEM.DBF")
	if !ok {
		return nil
	}
	l := libraryOf(text)
	if l != nil {
		r.memo[member] = memo{text, l}
	}
	return l
}

func (r *room) save(w *sim.World, member string, l *library) {
	text := l.bytes()
	r.memo[member] = memo{text, l.clone()}
	r.writeData(w, r.nodes(member)[0], "SYSTEM.DBF", text)
	if f := r.outside[member]; f != "" {
		w.Machine(r.nodes(member)[0].Name).Write(f, stamp(text), 0o640, osUser)
	}
}

// stamp marks a file as being of the same moment as the library.
func stamp(library string) string {
	return "stamp=" + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(library))), 16) + "\n"
}

// torn reports whether a file of the library is of another moment than the rest.
func (r *room) torn(w *sim.World, s *site) bool {
	f := r.outside[s.Member]
	if f == "" {
		return false
	}
	library, _ := r.readData(w, s, "SYSTEM.DBF")
	text, _ := w.Machine(r.nodes(s.Member)[0].Name).Read(f)
	return text != stamp(library)
}

// memo is a library as it was last read or written, never changed; every second asks for it.
type memo struct {
	text string
	lib  *library
}

func (r *room) huge(w *sim.World, member string) bool {
	bin, _ := r.readData(w, r.nodes(member)[0], "dm.ctl")
	text, ok := ctlOpen(bin)
	return ok && hugePath(text) != ""
}

// control is the control node of a member: the running one with the lowest number.
func (r *room) control(member string) *site {
	for _, s := range r.nodes(member) {
		if r.servers[s.Name] != nil {
			return s
		}
	}
	return nil
}

// open reports whether all running nodes of a member are OPEN, and one runs.
func (r *room) open(member string) bool {
	n := 0
	for _, s := range r.nodes(member) {
		if sv := r.servers[s.Name]; sv != nil {
			n++
			if sv.State != "OPEN" {
				return false
			}
		}
	}
	return n > 0
}

// primary returns the member whose library is PRIMARY (or NORMAL) and runs; the
// library must not be changed.
func (r *room) primary(w *sim.World) (string, *library) {
	for _, m := range r.members() {
		if l := r.see(w, m); l != nil && l.Mode != "STANDBY" && r.control(m) != nil {
			return m, l
		}
	}
	return "", nil
}

// upgrading reports whether Data Watch V4.0 cannot work yet: an open history is
// missing or being made (DM-026).
func (r *room) upgrading(w *sim.World) bool {
	for _, m := range r.members() {
		l := r.see(w, m)
		if l == nil || l.Redo == "old" || len(l.History) == 0 {
			return true
		}
		for _, s := range r.nodes(m) {
			if sv := r.servers[s.Name]; sv != nil && sv.AMS {
				return true
			}
		}
	}
	return false
}

// ---- time passes ----

const tickEvent = "dameng: tick"

// tick lets a second pass: packages are written, shipped and replayed, watchers act.
func tick(w *sim.World, _ sim.Event) {
	r := roomOf(w)
	w.After(time.Second, tickEvent, "", nil)
	if m, p := r.primary(w); p != nil && r.open(m) {
		r.replay(w, m, r.produce(w, m))
	}
	for _, n := range r.order {
		r.watcherTick(w, r.sites[n])
		r.monitorTick(w, r.sites[n])
	}
}

func (r *room) produce(w *sim.World, member string) *library {
	p := r.lib(w, member)
	for _, s := range r.nodes(member) {
		if r.servers[s.Name] == nil || w.Rand().IntN(3) > 0 {
			continue
		}
		p.Seq[s.Seq]++
		p.LSN[s.Seq] += int64(1 + w.Rand().IntN(9))
	}
	r.save(w, member, p)
	return p
}

func (r *room) replay(w *sim.World, primary string, p *library) {
	for _, m := range r.members() {
		l := r.see(w, m)
		if m == primary || l == nil || l.Mode != "STANDBY" || !r.open(m) || l.Stuck != "" || r.lag[m] {
			continue
		}
		if l.Redo != p.Redo && !l.Pending {
			continue
		}
		if !r.fed(primary, m) || l.Magic == p.Magic {
			continue
		}
		l = l.clone()
		if l.Pending {
			l.Pending, l.Redo = false, "pkg"
			l.History = slices.Clone(p.History)
		}
		if len(l.History) < len(p.History) {
			l.History = slices.Clone(p.History)
		}
		l.follow(p)
		r.save(w, m, l)
	}
}

// fed reports whether the primary ships to the member.
func (r *room) fed(primary, member string) bool {
	target := r.control(member)
	if target == nil {
		return false
	}
	for _, s := range r.nodes(primary) {
		if sv := r.servers[s.Name]; sv != nil && sv.Invalid[target.Instance] {
			return false
		}
	}
	return true
}

// feeds reports whether a node of the primary has a valid archive to the site.
func (r *room) feeds(primary string, s *site) bool {
	return slices.ContainsFunc(r.nodes(primary), func(p *site) bool {
		sv := r.servers[p.Name]
		return sv != nil && !sv.Invalid[s.Instance]
	})
}

// watcherTick: a watcher opens what is mounted, restarts what is gone, and
// ends when it finds no valid open history (spec/dameng.md 4.6, DM-026).
func (r *room) watcherTick(w *sim.World, s *site) {
	h := r.watch[s.Name]
	if h == nil || w.Time().Sub(h.Since) < 3*time.Second {
		return
	}
	sv := r.servers[s.Name]
	if !ver(h.Release).less(vRedo) && r.upgrading(w) {
		rule := "DM-026"
		if sv != nil && sv.AMS {
			rule = "DM-041"
		}
		r.hurt(rule, s.Name, "dmwatcher found no valid open history and ended; the state of Data Watch is not to be trusted")
		r.endHelper(w, s, r.watch, "DmWatcherService")
		return
	}
	switch {
	case sv == nil:
		if !strings.Contains(r.config(w, s, "dmwatcher.ini"), "INST_AUTO_RESTART = 1") {
			return
		}
		release := r.installed(w, s)
		// To start again what died is what a watcher is for; what was stopped must stay down.
		stopped := r.exited[s.Name]
		if why := r.start(w, s, release, "watcher", false); why == "" && stopped {
			r.hurt("DM-026", s.Name, "dmwatcher was alive and started the server again")
		}
		h.Since = w.Time()
	case sv.State == "MOUNT" && !w.Time().Before(sv.ReadyAt):
		if sv.AMS {
			r.hurt("DM-041", s.Name, "dmwatcher works while ALTER_MODE_STATUS is 1")
		}
		r.watcherOpen(w, s)
	}
	r.repair(w)
}

// watcherOpen opens a member, the primary behind its standbys.
func (r *room) watcherOpen(w *sim.World, s *site) {
	l := r.see(w, s.Member)
	if l == nil {
		return
	}
	if l.Mode == "PRIMARY" {
		if m, p := r.primary(w); p != nil && m != s.Member && r.open(m) {
			r.hurt("I3", s.Name, "two primaries: %s is open as well", m)
		}
	}
	_ = r.openDatabase(w, s, true)
}

// repair: watchers make the archive to an open and equal standby VALID again.
func (r *room) repair(w *sim.World) {
	m, p := r.primary(w)
	if p == nil || !r.open(m) {
		return
	}
	for _, other := range r.members() {
		l := r.see(w, other)
		if other == m || l == nil || l.Stuck != "" || !r.open(other) || !slices.ContainsFunc(r.nodes(other), func(s *site) bool { return r.watch[s.Name] != nil }) {
			continue // the primary's watcher hears of a standby from that one's watcher
		}
		for _, s := range r.nodes(m) {
			if sv, t := r.servers[s.Name], r.control(other); sv != nil && t != nil {
				delete(sv.Invalid, t.Instance)
			}
		}
	}
}

func (r *room) monitorTick(w *sim.World, s *site) {
	h := r.monitor[s.Name]
	if h == nil || w.Time().Sub(h.Since) < 3*time.Second || ver(h.Release).less(vRedo) || !r.upgrading(w) {
		return
	}
	r.hurt("DM-026", s.Name, "dmmonitor found no valid open history and ended")
	r.endHelper(w, s, r.monitor, "DmMonitorService")
}

func (r *room) endHelper(w *sim.World, s *site, in map[string]*helper, kind string) {
	h := in[s.Name]
	if h == nil {
		return
	}
	m := w.Machine(s.Name)
	m.End(h.PID)
	delete(in, s.Name)
	if u := m.Service(s.unit(kind)); u != nil && u.Active {
		u.Active, u.Failed = false, true
	}
}

func (r *room) config(w *sim.World, s *site, name string) string {
	text, _ := w.Machine(s.Name).Read(s.ini(name))
	return text
}

// installed is the release of the binaries that would be started now.
func (r *room) installed(w *sim.World, s *site) string {
	_, release, _ := strings.Cut(w.Machine(s.Name).Image(s.Home+"/bin/dmserver"), " ")
	return release
}

// Write is an application that writes once; it is acknowledged when the
// primary is open and not before.
func (l *Lab) Write() bool {
	ok := false
	l.World.With(func() {
		r := roomOf(l.World)
		m, p := r.primary(l.World)
		if p == nil || !r.open(m) || p.Mode == "STANDBY" {
			return
		}
		p = p.clone()
		p.Writes++
		r.acked++
		p.Seq[0]++
		p.LSN[0] += 5
		r.save(l.World, m, p)
		ok = true
	})
	return ok
}

// Truth is what holds, whatever anybody believes.
type Truth struct {
	Primaries []string // members that are open and writable
	Lost      int      // acknowledged writes that the primary does not have
	Behind    []string // standbys that do not have all of them
	Releases  map[string]string
	Damage    []Damage
}

// Truth looks at the room from outside.
func (l *Lab) Truth() Truth {
	var t Truth
	l.World.With(func() {
		w, r := l.World, roomOf(l.World)
		t.Releases = map[string]string{}
		for _, m := range r.members() {
			lib := r.see(w, m)
			if lib == nil {
				continue
			}
			if lib.Mode == "STANDBY" {
				if lib.Writes < r.acked {
					t.Behind = append(t.Behind, m)
				}
				continue
			}
			t.Lost = max(t.Lost, r.acked-lib.Writes)
			if r.open(m) {
				t.Primaries = append(t.Primaries, m)
			}
		}
		for n, sv := range r.servers {
			t.Releases[n] = sv.Release
		}
		t.Damage = slices.Clone(r.damage)
	})
	return t
}
