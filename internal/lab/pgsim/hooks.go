package pgsim

import (
	"maps"
	"slices"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Hooks are what chance may do by a sim.Fault of kind Hook, by Fault.Do. MoveHook
// goes beside them where the cluster has no replication slots: those that an
// agent makes and drops are more than the simulated person can take back.
func Hooks() []string { return []string{hookLag, hookKill} }

const (
	hookLag  = "postgres: standby lags" // the node's server replays nothing until it is mended
	hookKill = "postgres: kill server"  // the node's server is killed
	// MoveHook is an HA agent that hands the role to the first standby that can take it.
	MoveHook = "postgres: agent moves the primary"
)

func registerHooks(w *sim.World) {
	w.RegisterHook(hookLag, func(w *sim.World, m *sim.Machine, _ []string) {
		r := roomOf(w)
		r.pump(w)
		if n := r.nodes[m.Name()]; n.recovery {
			n.frozen = true
		}
	})
	w.RegisterHook(hookKill, func(w *sim.World, m *sim.Machine, _ []string) {
		r := roomOf(w)
		r.settle(w)
		if n := r.nodes[m.Name()]; n.pid != 0 {
			m.Signal(m.Proc(n.pid), "KILL")
		}
	})
	w.RegisterHook(MoveHook, func(w *sim.World, _ *sim.Machine, _ []string) { roomOf(w).move(w) })
}

// moved is what an HA agent has done, for the person who takes it back.
type moved struct {
	from, to string
	auto     map[string]map[string]string // by node, what it read before
}

// move is a switchover as an HA agent does it: the primary is stopped in
// order, a standby that has all of it is promoted, all others follow that one.
func (r *room) move(w *sim.World) {
	r.pump(w)
	old := r.primary()
	if old == nil || r.moved != nil || !w.Machine(old.name).Connected() {
		return
	}
	for _, name := range r.order {
		if n := r.nodes[name]; n.pid != 0 && !n.promoting && !n.frozen && r.upstream(w, n) == old {
			r.moved = &moved{old.name, name, map[string]map[string]string{}}
			for _, name := range r.order {
				r.moved.auto[name] = maps.Clone(r.nodes[name].auto)
			}
			r.handOver(w, old, n)
			return
		}
	}
}

// handOver stops one server in order and makes another the primary, whom all
// that followed the first one follow, with slots where those use slots; one that
// only holds WAL for a while makes no cluster of slots.
func (r *room) handOver(w *sim.World, old, to *node) {
	slots := slices.ContainsFunc(r.order, func(name string) bool {
		n := r.nodes[name]
		return n != old && n.slot != "" && r.told(n) == old
	})
	r.shutdown(w, w.Machine(old.name), old)
	m := w.Machine(to.name)
	r.add(to, to.tli()+1, 0)
	to.recovery, to.state = false, inProduction
	m.Remove(data + "/standby.signal")
	delete(to.auto, "primary_conninfo")
	delete(to.auto, "primary_slot_name")
	r.reload(to)
	r.writeControl(m, to)
	old.slots = map[string]bool{}
	for _, name := range r.order {
		if n := r.nodes[name]; n != to && (n == old || r.told(n) == old) {
			r.redirect(n, to, slots)
		}
	}
	m = w.Machine(old.name)
	m.Write(data+"/standby.signal", "", 0o600, osUser)
	if err := r.start(w, m, base+"/current/bin/postgres"); err != nil {
		old.crashed = true // a person starts it
	}
	r.flow(w)
}

func (r *room) redirect(n, to *node, slots bool) {
	n.auto["primary_conninfo"] = conninfo(to, n.name)
	delete(n.auto, "primary_slot_name")
	if slots {
		n.auto["primary_slot_name"], to.slots[n.name] = n.name, true
	}
	if n.pid != 0 {
		r.reload(n)
	}
}

// moveBack is the person who takes back what the agent did, and its settings with it.
func (r *room) moveBack(w *sim.World) {
	did := r.moved
	if did == nil {
		return
	}
	from, to := r.nodes[did.from], r.nodes[did.to]
	switch p := r.primary(); {
	case p == nil || p == to && r.upstream(w, from) != to:
		return // not yet
	case p != to: // the role has been moved on since
	default:
		r.handOver(w, to, from)
	}
	r.moved = nil
	for _, name := range r.order {
		r.restore(r.nodes[name], did, from, to)
	}
	r.flow(w)
	for _, n := range []*node{from, to} {
		for slot := range n.slots {
			if !r.slotUsed(w, n, slot) {
				delete(n.slots, slot) // the agent made them, or moved what needed them
			}
		}
	}
}

// restore gives a node the upstream back that it had before the agent came.
func (r *room) restore(n *node, did *moved, from, to *node) {
	if c := n.auto["primary_conninfo"]; n != from && c != conninfo(from, n.name) && c != conninfo(to, n.name) {
		return
	}
	for _, key := range []string{"primary_conninfo", "primary_slot_name"} {
		delete(n.auto, key)
		if v, ok := did.auto[n.name][key]; ok {
			n.auto[key] = v
		}
	}
	if n.pid != 0 {
		r.reload(n)
	}
	if u := r.told(n); u != nil && n.slot != "" {
		u.slots[n.slot] = true
	}
}
