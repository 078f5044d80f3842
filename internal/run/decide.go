package run

import (
	"slices"

	"github.com/shiplift/shiplift/internal/plan"
)

// Deed is what is to be done with a step.
type Deed string

// The deeds.
const (
	Do    Deed = "do"
	Undo  Deed = "undo"
	Probe Deed = "probe"
	Cross Deed = "cross" // pass a gate
	Waive Deed = "waive" // going back: leave a step whose undo failed (--force)
)

// DefaultParallel is how many steps run at once when nobody says otherwise.
const DefaultParallel = 8

// Order is one deed on one step.
type Order struct {
	Index int // of the step in the plan
	Step  *plan.Step
	Deed  Deed
}

// StopKind says why nothing more is to be ordered.
type StopKind string

// The ends of a decision.
const (
	StopDone   StopKind = "done"   // all that this verb was to do
	StopGate   StopKind = "gate"   // a gate, --until or --pause-between
	StopFailed StopKind = "failed" // a step failed; nothing is left half-done
	StopPerson StopKind = "person" // a step's standing is unknown, or its undo failed
	StopAsked  StopKind = "asked"  // Ctrl-C
	StopOwed   StopKind = "owed"   // all is back but what lies on nodes that do not answer
)

// Stop is the end of a decision.
type Stop struct {
	Kind StopKind
	Step string // the gate or the step
}

// Decision is what follows from a trail: orders now, or a stop once nothing runs.
type Decision struct {
	Orders []Order
	Stop   *Stop
}

// Session is what one process remembers beside the journal. Running and
// Failed are indexed like the plan's steps.
type Session struct {
	Options
	Running []bool          // ordered and not yet ended
	Failed  []bool          // failed in this process and not to be tried again by it
	Asked   bool            // Ctrl-C: nothing new
	Touched map[string]bool // nodes whose service this process interrupted
	busy    int             // how many are Running
	errs    map[int]error   // what failed last, by step
}

func newSession(o Options, steps int) *Session {
	return &Session{Options: o, Running: make([]bool, steps), Failed: make([]bool, steps), Touched: map[string]bool{}, errs: map[int]error{}}
}

// Decide is pure: the same trail and session give the same decision. It looks
// at the plan's steps in the plan's order, so orders come in that order too.
func Decide(t *Trail, s *Session) Decision {
	if t.Back {
		return decideBack(t, s)
	}
	return decideForward(t, s)
}

func decideForward(t *Trail, s *Session) Decision {
	var d Decision
	var bad, wait *Stop
	open := false
	for i := range t.Plan.Steps {
		if t.Steps[i].Status == Done || s.Running[i] {
			continue
		}
		open = true
		step := &t.Plan.Steps[i]
		switch t.Steps[i].Status {
		case Doubt, Doing:
			d.add(i, step, Probe)
		case Half, Undoing:
			d.add(i, step, Undo)
		case Stuck, NotBack:
			bad = worse(bad, &Stop{StopPerson, step.ID})
		case Owing, Pending:
			if s.Failed[i] {
				bad = worse(bad, &Stop{StopFailed, step.ID})
				continue
			}
			if !t.ready(i) {
				continue
			}
			if stop := s.held(step); stop != nil {
				wait = worse(wait, stop)
				continue
			}
			d.add(i, step, deedOf(step))
		case Done:
		}
	}
	return s.conclude(d, bad, wait, open)
}

func (d *Decision) add(i int, step *plan.Step, deed Deed) {
	d.Orders = append(d.Orders, Order{Index: i, Step: step, Deed: deed})
}

func deedOf(step *plan.Step) Deed {
	if step.Gate != nil {
		return Cross
	}
	return Do
}

func (t *Trail) ready(i int) bool {
	for _, need := range t.needs[i] {
		if t.Steps[need].Status != Done {
			return false
		}
	}
	return true
}

// held says why a step whose needs are met may not start now; nil when it may.
func (s *Session) held(step *plan.Step) *Stop {
	switch {
	case step.ID == s.Until,
		step.Gate != nil && (step.Gate.OneWay || step.Gate.Wait) && !slices.Contains(s.Accept, step.ID),
		s.PauseOn != "" && step.Impact != plan.None && step.Node != "" && len(s.Touched) > 0 && !s.Touched[step.Node]:
		return &Stop{StopGate, step.ID}
	}
	return nil
}

func decideBack(t *Trail, s *Session) Decision {
	var d Decision
	var bad, owed *Stop
	open := false
	// blocked[i]: something that needs step i, at any distance, is not yet settled.
	blocked := make([]bool, len(t.Steps))
	left := newLeftovers(t)
	for i := len(t.Steps) - 1; i >= 0; i-- {
		step, st := &t.Plan.Steps[i], &t.Steps[i]
		undone := !undoable(step) || st.Status == Pending
		// What another node owes is left alone by this process: it would be tried for ever.
		held := !undone && left.keeps(i, st.Status == Owing && s.Failed[i])
		for _, need := range t.needs[i] {
			blocked[need] = blocked[need] || blocked[i] || !undone && !held
		}
		left.pass(i, t.needs[i])
		open = open || !undone
		if held {
			owed = &Stop{StopOwed, step.ID}
		}
		if undone || held || blocked[i] || s.Running[i] {
			continue
		}
		bad = worse(bad, s.orderBack(&d, i, step, st.Status))
	}
	return s.conclude(d, bad, owed, open)
}

// like is what steps have in common that undo each other's work: a role that
// is moved there and back, a standby that is led on and on. Whatever is left of
// those that came later, they go back in their order.
type like struct{ kind, node string }

func likeOf(step *plan.Step) like { return like{step.Kind, step.Node} }

// orderBack orders what brings one step back; a stop when only a person can.
func (s *Session) orderBack(d *Decision, i int, step *plan.Step, at Status) *Stop {
	switch at {
	case NotBack, Stuck:
		if !s.Force {
			return &Stop{StopPerson, step.ID}
		}
		d.add(i, step, Waive)
	case Doubt, Doing:
		d.add(i, step, Probe)
	default:
		d.add(i, step, Undo)
	}
	return nil
}

// leftovers knows for each step the nodes on which something that came after
// it is owed. What came before on the same node has to wait for that: the way
// back of a node keeps its order, whatever the other nodes do. A step of the
// cluster waits for all nodes that it acts on, and they for it.
type leftovers struct {
	t     *Trail
	nodes []map[string]bool // by step
	later map[like]bool     // what is left, of the steps that came after the one that is looked at
}

// everyNode stands for all nodes of the cluster.
const everyNode = "*"

func newLeftovers(t *Trail) *leftovers {
	return &leftovers{t: t, nodes: make([]map[string]bool, len(t.Steps)), later: map[like]bool{}}
}

// keeps reports whether step i has to stay as it is for now: because another
// node owes something for it, or because something that came after it is left.
func (l *leftovers) keeps(i int, owing bool) bool {
	step := &l.t.Plan.Steps[i]
	if owing {
		l.owe(i, l.t.Steps[i].OwedBy)
	}
	held, late := l.holds(i, step), l.later[likeOf(step)]
	if held || late && step.Node == "" {
		l.oweAll(i, step)
	}
	if !held && !late && !owing {
		return false
	}
	l.later[likeOf(step)] = true
	l.oweBetween(i)
	return true
}

func (l *leftovers) owe(i int, node string) {
	if l.nodes[i] == nil {
		l.nodes[i] = map[string]bool{}
	}
	l.nodes[i][node] = true
}

func (l *leftovers) oweAll(i int, step *plan.Step) {
	acting := step.Acting()
	if acting == nil {
		acting = []string{everyNode}
	}
	for _, node := range acting {
		l.owe(i, node)
	}
}

// oweBetween: where what the cluster has done and undone is left, the nodes that
// the earlier of both acts on keep what came between: they serve with it.
func (l *leftovers) oweBetween(i int) {
	step := &l.t.Plan.Steps[i]
	if step.Node != "" {
		return
	}
	for j := range i {
		if other := &l.t.Plan.Steps[j]; likeOf(other) == likeOf(step) && undoable(other) && l.t.Steps[j].Status != Pending {
			l.oweAll(i, other)
		}
	}
}

func (l *leftovers) holds(i int, step *plan.Step) bool {
	acting := step.Acting()
	if l.nodes[i][everyNode] || acting == nil && len(l.nodes[i]) > 0 {
		return true
	}
	return slices.ContainsFunc(acting, func(node string) bool { return l.nodes[i][node] })
}

func (l *leftovers) pass(i int, needs []int) {
	for node := range l.nodes[i] {
		for _, need := range needs {
			l.owe(need, node)
		}
	}
}

// conclude turns what was found into orders or, when nothing runs any more, a stop.
func (s *Session) conclude(d Decision, bad, wait *Stop, open bool) Decision {
	if bad != nil || s.Asked {
		d.Orders = onlySettling(d.Orders, s.Asked)
	}
	if len(d.Orders) > 0 || s.busy > 0 {
		d.Orders = s.limit(d.Orders)
		return d
	}
	switch {
	case bad != nil:
		d.Stop = bad
	case s.Asked && open:
		d.Stop = &Stop{Kind: StopAsked}
	case wait != nil:
		d.Stop = wait
	default:
		d.Stop = &Stop{Kind: StopDone}
	}
	return d
}

// worse keeps the first stop, but one that needs a person before any other.
func worse(a, b *Stop) *Stop {
	if a == nil || b != nil && a.Kind != StopPerson && b.Kind == StopPerson {
		return b
	}
	return a
}

// onlySettling keeps the orders that settle what was begun. After Ctrl-C not
// even those: a process that is asked to leave asks no host anything new.
func onlySettling(orders []Order, asked bool) []Order {
	return slices.DeleteFunc(orders, func(o Order) bool {
		return asked || (o.Deed != Probe && o.Deed != Undo)
	})
}

func (s *Session) limit(orders []Order) []Order {
	most := s.Parallel
	if most <= 0 {
		most = DefaultParallel
	}
	return orders[:min(len(orders), max(0, most-s.busy))]
}
