// Package rehearse carries runs out on practice clusters: a world, an operator
// who types verbs, a tool that dies, faults that strike. The conformance
// harness, the simulation and the verb rehearse are built from it.
package rehearse

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
)

// World is a fresh practice cluster for one case. Env is Serial and its clock
// virtual, so that the same case always goes the same way.
type World struct {
	Driver  driver.Driver
	Env     driver.Env
	Request plan.Request
	// Truth is asked after each case, from what the simulator knows and not
	// from what the tool believes: two primaries, lost writes, rules broken.
	Truth func() error
	// Parts tells, from the simulator too, the release on each node of what the
	// plan changes, where that is not the server that Observe reads.
	Parts func() map[string]string
	// Mend does what a person, or the machine's own start-up, does after the power
	// was lost: starts what ran then. nil where nothing is to be done.
	Mend func() error
	// Accept are the one-way gates the case crosses besides commit.
	Accept []string
	// Secrets must be seen in nothing that the tool lets out (I10).
	Secrets []string
	// Pause is how long the operator waits behind a failure before the next verb; 0
	// is a hasty one, who has the cluster mended at the second failure.
	Pause time.Duration
	// Plan was drawn on this world as it stands; nil: Begin looks and draws it.
	Plan *plan.Plan
	// Sim is the simulated room in which faults can be planted; nil when there is none.
	Sim *sim.World
	// Fork, if set, makes a world of its own that stands where this one stands now.
	Fork func() World

	first *journal.Record // the record that begins a run of Plan
	// How many commands the world has in a run that nothing disturbs, and how many
	// points at which the tool can die; 0: nobody has measured (Measure).
	commands, points int
}

// Measure carries the run out once, undisturbed, to learn where troubles can
// strike; w is used up. Of a run that does not end nothing is learned. Worlds
// that are opened like w get the measure by As.
func (w World) Measure(ctx context.Context) World {
	s, err := Begin(ctx, w)
	if err != nil {
		return w
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := bind(&s.World)
	b.ended = cancel
	before, d := w.Sim.Commands(), &Death{}
	for _, verb := range []string{"apply", "resume", "commit"} {
		if s.Final() != "" {
			break
		}
		if _, err := s.Work(ctx, verb, d); err != nil || b.err() != nil {
			return w
		}
	}
	w.commands, w.points = w.Sim.Commands()-before, d.Count()
	return w
}

// As takes over what was measured in a world like this one.
func (w World) As(measured World) World {
	w.commands, w.points = measured.commands, measured.points
	return w
}

// Story is one case: what is done to a world, with the tool killed on the way.
type Story struct {
	World World
	Plan  *plan.Plan
	Log   *Memory
	Until string // the step or gate before which each process leaves; "": as far as it goes

	operator string // who takes the lease for each process; "": nobody asks for one
	holds    bool   // and has it now
	leaks    *leaks
}

// Begin observes, plans and starts a run.
func Begin(ctx context.Context, w World) (*Story, error) {
	s := &Story{World: w, Plan: w.Plan, Log: &Memory{}}
	if s.Plan == nil {
		var err error
		if s.Plan, err = draw(ctx, w); err != nil {
			return nil, err
		}
	}
	s.Log.Records = make([]journal.Record, 0, 4*len(s.Plan.Steps))
	if w.first != nil {
		rec := *w.first
		rec.Time = w.Env.Clock.Now()
		return s, s.Log.Append(ctx, rec)
	}
	_, err := run.Start(ctx, s.Log, "run", s.Plan, nil, w.Env.Clock.Now())
	return s, err
}

// draw observes the world and plans what it is asked for.
func draw(ctx context.Context, w World) (*plan.Plan, error) {
	o, err := w.Driver.Observe(ctx, w.Env)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	p, err := driver.Make(w.Driver, w.Env.Inventory, o, w.Request, "test")
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

// Forked is an opener of worlds that builds, observes and plans once; each seed
// goes on from there in a clone of the simulated room. of binds a world's parts
// to such a clone.
func Forked(build func() (World, error), of func(base World, room *sim.World) World) func(uint64) (World, error) {
	once := sync.OnceValues(func() (World, error) {
		w, err := build()
		if err != nil {
			return w, err
		}
		s, err := Begin(context.Background(), w)
		if err != nil {
			return w, err
		}
		w.Plan, w.first = s.Plan, &s.Log.Records[0]
		return w.As(w.in(w.Sim.Clone(), of).Measure(context.Background())), nil
	})
	return func(uint64) (World, error) {
		base, err := once()
		if err != nil {
			return base, err
		}
		return base.in(base.Sim.Clone(), of), nil
	}
}

// in is the world in a room of its own, which can be forked again.
func (w World) in(room *sim.World, of func(base World, room *sim.World) World) World {
	out := of(w, room)
	out.Plan, out.first = w.Plan, w.first
	out.Fork = func() World { return w.in(room.Clone(), of) }
	return out.As(w)
}

// Work lets a new process take the run up, which dies as d says; nil d never dies.
func (s *Story) Work(ctx context.Context, verb string, d *Death) (run.Outcome, error) {
	trail, err := run.Fold(s.Plan, s.Log.Records)
	if err != nil {
		return run.Outcome{}, err
	}
	opts := run.Options{Verb: verb, Accept: s.World.Accept, Until: s.Until, Parallel: 1}
	if verb == "commit" {
		opts.Accept = append([]string{plan.CommitGate}, opts.Accept...)
	}
	w := s.World
	s.Log.d = d
	defer func() { s.Log.d = nil }()
	if d != nil {
		w.Env.Hosts = d.Hosts(w.Env.Hosts)
	}
	r := &run.Runner{Driver: w.Driver, Env: w.Env, Log: s.Log, Trail: trail, Options: opts}
	if s.leaks != nil {
		r.View = s.leaks
	}
	if s.operator == "" {
		return r.Work(ctx, journal.Who{User: "dba", Host: "control"}, 1)
	}
	return s.leased(ctx, &w, r)
}

// leased works under a lease of the operator's.
func (s *Story) leased(ctx context.Context, w *World, r *run.Runner) (out run.Outcome, err error) {
	l, err := lease(ctx, w, s.Log.Records, s.operator, r.Options.Verb)
	if err != nil {
		return out, fmt.Errorf("%w: %w", errNoLease, err)
	}
	r.Env.Hosts = l.Hosts()
	s.holds = true
	defer func() { s.holds = false }()
	err = l.Hold(ctx, func(ctx context.Context) error {
		out, err = r.Work(ctx, operator(s.operator).Who, l.Fence())
		return err
	})
	s.holds = false
	_ = l.Release(ctx) // where a node does not answer it runs out by itself
	return out, err
}

// Fork is the run in a world of its own, as a process finds it that is started
// now: of the process that works nothing is in it.
func (s *Story) Fork() *Story {
	return &Story{World: s.World.Fork(), Plan: s.Plan, Log: &Memory{Records: slices.Clone(s.Log.Records)}, Until: s.Until}
}

// Final returns how the run ended; "" while it is open.
func (s *Story) Final() run.State {
	last := s.Log.Records[len(s.Log.Records)-1]
	if last.Kind != journal.End {
		return ""
	}
	return run.State(last.State)
}

// Wants works until the run stands at want, as an operator would type the same
// verb again, and asks the truth.
func (s *Story) Wants(ctx context.Context, verb string, want run.State) error {
	var out run.Outcome
	for range 3 {
		var err error
		if out, err = s.Work(ctx, verb, nil); err != nil {
			return fmt.Errorf("%s: %w", verb, err)
		}
		if out.State == want {
			return s.World.Truth()
		}
	}
	return fmt.Errorf("%s ended %s at step %q: %s (gate %q)", verb, out.State, out.Step, out.Why.EN, out.Gate)
}

// Transcript prints records as a person would note them down.
func Transcript(records []journal.Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%4d %-8s", r.Seq, r.Kind)
		for _, w := range []string{r.Verb, r.Step, string(r.Result), r.Standing, r.State, r.Reason} {
			if w != "" {
				b.WriteString(" " + w)
			}
		}
		if r.Undo {
			b.WriteString(" (undo)")
		}
		if r.Error != nil {
			b.WriteString(" — " + r.Error.EN)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
