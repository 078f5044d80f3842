package pgsim

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// tick is how often the clients write.
const tick = 20 * time.Millisecond

// promotionTakes is how long a standby needs to become primary.
const promotionTakes = 30 * time.Millisecond

// States of pg_control.
const (
	shutDown           = 1
	shutDownInRecovery = 2
	archiveRecovery    = 5
	inProduction       = 6
)

const systemID = 7300000000000000001

func register(w *sim.World, cutScript string) {
	w.RegisterTool("postgres", postgresTool)
	w.RegisterTool("pg_ctl", pgctl)
	w.RegisterAnswerer(serverKey, accept)
	w.BeforeChange(func(w *sim.World) { roomOf(w).settle(w) })
	w.RegisterProc("postgres", sim.ProcKind{Exit: crashed, Signal: signalled})
	w.Handle(promoted, func(w *sim.World, e sim.Event) { roomOf(w).promotionEnds(w, e.Node) })
	registerHooks(w)
	if cutScript != "" {
		w.RegisterScript(cutScript, cut)
	}
}

func postgresTool(c *sim.Call) int {
	if a := c.Args(); len(a) == 1 && a[0] == "-V" {
		c.Printf("postgres (PostgreSQL) %s\n", c.Image)
		return 0
	}
	c.World.Complain("postgres %q", c.Args())
	return 1
}

// pgctl knows start and stop.
func pgctl(c *sim.Call) int {
	r := roomOf(c.World)
	dir, mode, verb := "", "fast", ""
	args := c.Args()
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-D", "-l", "-t", "-m", "-o":
			if i++; i == len(args) {
				return c.Fail(1, "pg_ctl: option needs a value")
			}
			if args[i-1] == "-D" {
				dir = args[i]
			} else if args[i-1] == "-m" {
				mode = args[i]
			}
		case "-w":
		case "start", "stop":
			verb = args[i]
		default:
			c.World.Complain("pg_ctl %q", args)
			return 1
		}
	}
	n := r.nodes[c.Machine.Name()]
	if dir != data || mode != "fast" {
		c.World.Complain("pg_ctl %q", args)
		return 1
	}
	switch verb {
	case "start":
		if n.pid != 0 {
			return c.Fail(1, "pg_ctl: another server might be running; trying to start server anyway")
		}
		if err := r.start(c.World, c.Machine, path.Dir(c.Path)+"/postgres"); err != nil {
			return c.Fail(1, "pg_ctl: could not start server: %v", err)
		}
		c.Sleep(100 * time.Millisecond)
		c.Print("waiting for server to start.... done\nserver started\n")
	case "stop":
		if n.pid == 0 {
			return c.Fail(1, "pg_ctl: PID file %q does not exist\nIs server running?", dir+"/postmaster.pid")
		}
		c.Sleep(50 * time.Millisecond)
		r.shutdown(c.World, c.Machine, n)
		c.Print("waiting for server to shut down.... done\nserver stopped\n")
	}
	return 0
}

// cut is what the tool's script does on a real machine.
func cut(c *sim.Call) int {
	r := roomOf(c.World)
	n := r.nodes[c.Machine.Name()]
	if args := c.Args(); len(args) != 2 || args[0] != data || n.pid == 0 {
		return 3
	}
	if err := c.WriteFile(data+"/standby.signal", nil, 0o600); err != nil {
		return 5
	}
	c.Sleep(40 * time.Millisecond)
	r.shutdown(c.World, c.Machine, n)
	body, err := c.ReadFile(data + "/global/pg_control")
	if err != nil {
		return 1
	}
	c.Print(string(body[:296]))
	return 0
}

// start runs a server on the data directory.
func (r *room) start(w *sim.World, m *sim.Machine, binary string) error {
	r.settle(w)
	n := r.nodes[m.Name()]
	exe := m.Real(binary)
	_, n.release, _ = strings.Cut(m.Image(exe), " ")
	if n.release == "" {
		return errors.New("no such binary")
	}
	if size, used := m.Disk(); size-used < 64 {
		return errors.New("could not write lock file \"postmaster.pid\": No space left on device")
	}
	p := m.Spawn(sim.Proc{PPID: 1, Kind: "postgres", User: osUser, Exe: exe, Argv: []string{binary, "-D", data}, Cwd: data})
	n.pid, n.promoting, n.crashed = p.PID, false, false
	n.recovery = m.Exists(data + "/standby.signal")
	r.reload(n)
	status := "ready   "
	n.state = inProduction
	if n.recovery {
		status, n.state = "standby ", archiveRecovery
	}
	m.Write(data+"/postmaster.pid", fmt.Sprintf("%d\n%s\n1700000000\n%s\n\n*\n  1234\n%s\n", n.pid, data, port, status), 0o600, osUser)
	r.writeControl(m, n)
	m.Listen("tcp", port, sim.Listener{Kind: serverKey, Arg: itoa(n.pid)})
	r.guard(w)
	return nil
}

// shutdown is a fast stop: the last record reaches those who stream.
func (r *room) shutdown(w *sim.World, m *sim.Machine, n *node) {
	r.pump(w)
	if n.pid == 0 {
		return
	}
	if n.recovery {
		n.state = shutDownInRecovery
	} else {
		n.checkpoint, n.checkTLI = n.end(), n.tli()
		r.add(n, n.tli(), 0)
		n.state = shutDown
		r.flow(w)
	}
	pid := n.pid
	r.ended(m, n)
	m.End(pid)
	m.Remove(data + "/postmaster.pid")
	r.writeControl(m, n)
}

func (r *room) ended(m *sim.Machine, n *node) {
	n.pid, n.promoting = 0, false
	m.Unlisten("tcp", port)
}

func signalled(w *sim.World, m *sim.Machine, p *sim.Proc, sig string) bool {
	w.Complain("%s: the server got signal %s", m.Name(), sig)
	return true
}

// crashed: the power went, or somebody killed the server.
func crashed(w *sim.World, m *sim.Machine, p *sim.Proc, _ string) {
	r := roomOf(w)
	if n := r.nodes[m.Name()]; n != nil && n.pid == p.PID {
		r.settle(w)
		r.ended(m, n)
		n.crashed = true
	}
}

// reload reads the settings again.
func (r *room) reload(n *node) {
	n.live, n.autoLive = maps.Clone(n.conf), map[string]bool{}
	for k, v := range n.auto {
		n.live[k], n.autoLive[k] = v, true
	}
	words := info(n.live["primary_conninfo"])
	n.app = cmp.Or(words["application_name"], n.live["cluster_name"])
	n.slot = n.live["primary_slot_name"]
	n.syncNeed, n.syncNames = syncNeeds(n.live["synchronous_standby_names"])
	n.follows = ""
	for _, name := range r.order {
		if u := r.nodes[name]; u != n && u.addr == words["host"] && port == words["port"] {
			n.follows = name
			break
		}
	}
}

var infoWord = regexp.MustCompile(`(\w+)=('(?:[^'\\]|\\.)*'|\S+)`)

// infos holds connection strings that were read before: there are few, and
// each is asked for thousands of times.
var infos sync.Map

// info reads a connection string.
func info(conninfo string) map[string]string {
	if known, ok := infos.Load(conninfo); ok {
		return known.(map[string]string)
	}
	words := map[string]string{}
	for _, m := range infoWord.FindAllStringSubmatch(conninfo, -1) {
		words[m[1]] = strings.Trim(m[2], "'")
	}
	infos.Store(conninfo, words)
	return words
}

// told is the node that a standby is told to follow.
func (r *room) told(n *node) *node { return r.nodes[n.follows] }

// upstream is the node that a standby streams from now, or nil.
func (r *room) upstream(w *sim.World, n *node) *node {
	u := r.told(n)
	if u == nil || n.pid == 0 || !n.recovery || u.pid == 0 || !w.Machine(n.name).Connected() || !w.Machine(u.name).Connected() {
		return nil
	}
	if n.slot != "" && !u.slots[n.slot] {
		return nil
	}
	if !prefix(n.wal, u.wal) {
		return nil
	}
	return u
}

func (r *room) slotUsed(w *sim.World, n *node, s string) bool {
	for _, d := range r.all {
		if d.slot == s && r.upstream(w, d) == n {
			return true
		}
	}
	return false
}

func prefix(a, b []record) bool {
	if len(a) > len(b) {
		return false
	}
	// Histories that agree in their last record agree before it.
	return len(a) == 0 || a[len(a)-1] == b[len(a)-1]
}

// pump brings the room up to now: what clients wrote since, and where it flowed.
func (r *room) pump(w *sim.World) {
	r.settle(w)
	r.flow(w)
}

// settle lets the clients write that did since it was last asked. Nothing
// changed in between, or it would have been asked then: so the first of these
// writes and the last stand for all.
func (r *room) settle(w *sim.World) {
	ticks := w.Time().Sub(r.ticked) / tick
	if ticks <= 0 {
		return
	}
	first := r.ticked.Add(tick)
	r.ticked = r.ticked.Add(ticks * tick)
	r.flow(w)
	if acked := r.write(w, first); ticks > 1 {
		if acked {
			r.lastAck = r.ticked.Add(-tick)
			r.longest = max(r.longest, tick)
		}
		r.flow(w)
		r.write(w, r.ticked)
	}
}

// flow lets WAL flow down the chains, and looks for what must never be.
func (r *room) flow(w *sim.World) {
	for range r.all {
		moved := false
		for _, n := range r.all {
			if n.frozen || n.promoting {
				continue
			}
			if u := r.upstream(w, n); u != nil && len(u.wal) > len(n.wal) {
				// Records never change, so the standby shares them; its own first
				// record after a promotion makes a copy.
				n.wal, moved = u.wal[:len(u.wal):len(u.wal)], true
			}
		}
		if !moved {
			break
		}
	}
	for _, n := range r.all {
		if u := r.told(n); n.pid != 0 && n.recovery && u != nil && u.pid != 0 && !u.recovery && !prefix(n.wal, u.wal) {
			r.hurt("the history of %s forked from that of %s", n.name, u.name)
		}
	}
	r.guard(w)
}

// guard notes when two servers accept writes.
func (r *room) guard(*sim.World) {
	var up []string
	for _, n := range r.all {
		if n.pid != 0 && !n.recovery {
			up = append(up, n.name)
		}
	}
	if len(up) > 1 {
		r.hurt("two primaries: %s", strings.Join(up, ", "))
	}
}

func (r *room) hurt(format string, args ...any) {
	d := fmt.Sprintf(format, args...)
	for _, have := range r.damage {
		if have == d {
			return
		}
	}
	r.damage = append(r.damage, d)
}

// write lets a client write one row wherever it is let. With synchronous
// commit it is acknowledged when enough standbys have it; else at once, while
// no standby has it yet. It returns whether all rows were acknowledged.
func (r *room) write(w *sim.World, at time.Time) bool {
	acked := false
	for _, n := range r.all {
		if n.pid == 0 || n.recovery || !w.Machine(n.name).Connected() {
			continue
		}
		r.nextRow++
		r.add(n, n.tli(), r.nextRow)
		need := n.syncNeed
		if need > 0 {
			r.flow(w)
			for _, s := range r.all {
				if len(s.wal) == len(n.wal) && r.upstream(w, s) == n && matches(n.syncNames, s.app) {
					need--
				}
			}
		}
		if acked = need <= 0; acked {
			r.ack(at)
		} else {
			r.blocked++
		}
	}
	return acked
}

// ack tells the client that its newest row is kept.
func (r *room) ack(now time.Time) {
	if !r.lastAck.IsZero() {
		r.longest = max(r.longest, now.Sub(r.lastAck))
	}
	r.acked, r.lastAck = append(r.acked, r.nextRow), now
}

var syncForm = regexp.MustCompile(`(?i)^\s*(?:(?:FIRST|ANY)\s+)?(\d+)\s*\((.*)\)\s*$`)

// syncNeeds reads synchronous_standby_names: how many of whom.
func syncNeeds(s string) (int, []string) {
	if strings.TrimSpace(s) == "" {
		return 0, nil
	}
	need, list := 1, s
	if m := syncForm.FindStringSubmatch(s); m != nil {
		need, _ = strconv.Atoi(m[1])
		list = m[2]
	}
	var names []string
	for _, n := range strings.Split(list, ",") {
		names = append(names, strings.Trim(strings.TrimSpace(n), `"`))
	}
	return need, names
}

func matches(names []string, app string) bool {
	for _, n := range names {
		if n == "*" || strings.EqualFold(n, app) {
			return true
		}
	}
	return false
}

func (r *room) promotionEnds(w *sim.World, name string) {
	r.settle(w)
	n := r.nodes[name]
	if n.pid == 0 || !n.promoting {
		return
	}
	m := w.Machine(name)
	r.add(n, n.tli()+1, 0)
	n.recovery, n.promoting, n.state = false, false, inProduction
	m.Remove(data + "/standby.signal")
	r.writeControl(m, n)
	r.guard(w)
}

// writeControl writes pg_control as PostgreSQL 13 to 17 lay it out.
func (r *room) writeControl(m *sim.Machine, n *node) {
	b := make([]byte, 8192)
	le := binary.LittleEndian
	le.PutUint64(b, systemID)
	le.PutUint32(b[8:], 1300)
	le.PutUint32(b[12:], 202209061)
	le.PutUint32(b[16:], n.state)
	le.PutUint64(b[32:], n.checkpoint)
	le.PutUint64(b[40:], n.checkpoint)
	le.PutUint32(b[48:], uint32(n.checkTLI)) //nolint:gosec // small
	le.PutUint32(b[216:], 8192)
	le.PutUint32(b[228:], 16<<20)
	le.PutUint32(b[288:], crc32.Checksum(b[:288], crc32.MakeTable(crc32.Castagnoli)))
	m.WriteBytes(data+"/global/pg_control", b, 0o600, osUser)
}
