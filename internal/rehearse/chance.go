package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// Case is a practice cluster that can be opened again and again: the same seed
// opens the same world.
type Case struct {
	Name string
	Open func(seed uint64) (World, error)
	// Hooks are faults of the product's own, registered in the world by name:
	// an HA agent that moves the primary, a standby that lags.
	Hooks []string
}

// Played is how one seeded run went.
type Played struct {
	Case      string
	Seed      uint64
	Faults    []string // what was planned to go wrong
	Verbs     []string // what the operator typed
	Final     run.State
	Processes int           // how often the tool was started
	Took      time.Duration // on the world's clock
	Mended    int           // how often a person had to mend the cluster before the run went on
	Troubled  string        // the step at which the first failure was met
	Log       *Memory
}

// maxProcesses bounds how often the operator starts the tool in one run.
const maxProcesses = 16

// Play opens a world by seed, lets an operator upgrade it while faults strike,
// and asks at the end whether everything that must hold holds. The same case
// and seed always play the same.
func Play(ctx context.Context, c Case, seed uint64) (*Played, error) {
	w, err := c.Open(seed)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	p := &player{Case: c, world: w, rng: rand.New(rand.NewPCG(seed, 0xc4a2ce)), out: &Played{Case: c.Name, Seed: seed}}
	if p.story, err = Begin(ctx, w); err != nil {
		return p.out, err
	}
	p.out.Log = p.story.Log
	began := w.Env.Clock.Now()
	p.plant()
	err = p.play(ctx)
	p.out.Took = w.Env.Clock.Now().Sub(began)
	if err == nil {
		err = p.prove(ctx)
	}
	return p.out, err
}

type player struct {
	Case
	world World
	story *Story
	rng   *rand.Rand
	out   *Played
	death *Death // of the process that is started next
	// closed: a rollback was refused behind a one-way gate, and nobody asks for it again.
	closed bool
}

// plant chooses one or two things that will go wrong.
func (p *player) plant() {
	for range 1 + p.rng.IntN(2) {
		kinds := 2
		if p.world.Sim != nil {
			kinds = 10
		}
		switch k := p.rng.IntN(kinds); {
		case k < 3:
			p.death = &Death{At: 1 + p.rng.IntN(p.points()), After: p.rng.IntN(2) == 1}
			p.say("the tool is killed at its point %d (after the deed: %t)", p.death.At, p.death.After)
		case k < 8 || len(p.Hooks) == 0:
			p.inject(p.fault())
		default:
			f := sim.Fault{Kind: sim.Hook, Do: p.Hooks[p.rng.IntN(len(p.Hooks))], Command: p.command()}
			p.inject(f)
		}
	}
}

// points guesses how many commands and records a run has: kills shall fall into it.
func (p *player) points() int { return 12 * len(p.story.Plan.Steps) }

func (p *player) command() int {
	return p.world.Sim.Commands() + 1 + p.rng.IntN(10*len(p.world.Env.Inventory.Nodes)*10)
}

func (p *player) fault() sim.Fault {
	nodes := p.world.Env.Inventory.Names()
	f := sim.Fault{Node: nodes[p.rng.IntN(len(nodes))], Command: p.command()}
	seconds := func(from, to int) time.Duration {
		return time.Duration(from+p.rng.IntN(to-from)) * time.Second
	}
	switch p.rng.IntN(7) {
	case 0:
		f.Kind, f.Changes = sim.LinkLostAfter, true
	case 1:
		f.Kind = sim.LinkLostBefore
	case 2:
		f.Kind, f.Times = sim.Unreachable, 1+p.rng.IntN(6)
	case 3:
		f.Kind, f.For = sim.NodeDown, seconds(5, 300)
	case 4:
		f.Kind, f.For = sim.LinkCut, seconds(1, 120)
	case 5:
		f.Kind, f.Bytes = sim.DiskFull, int64(p.rng.IntN(1<<20))
	default:
		f.Kind, f.Delay = sim.SlowCommand, seconds(1, 200)
	}
	return f
}

func (p *player) inject(f sim.Fault) {
	p.world.Sim.Inject(f)
	p.say("%s on %s %s from command %d (for %s, %d times, delay %s)", f.Kind, f.Node, f.Do, f.Command, f.For, f.Times, f.Delay)
}

func (p *player) say(format string, args ...any) {
	p.out.Faults = append(p.out.Faults, fmt.Sprintf(format, args...))
}

// play is the operator: types verbs until the run is over.
func (p *player) play(ctx context.Context) error {
	verb, failures := "apply", 0
	for p.out.Processes = 1; p.out.Processes <= maxProcesses; p.out.Processes++ {
		// A tool that died behind its last record has left nothing to do.
		if p.out.Final = p.story.Final(); p.out.Final != "" {
			return nil
		}
		p.out.Verbs = append(p.out.Verbs, verb)
		out, err := p.story.Work(ctx, verb, p.death)
		died := p.death.Dead()
		if died {
			p.death = nil
		}
		switch {
		case err != nil && !died:
			// The way back is closed behind a one-way gate: only forward is left.
			var no *say.Problem
			if verb == "rollback" && errors.As(err, &no) {
				verb, p.closed = "resume", true
				continue
			}
			return fmt.Errorf("%s: %w", verb, err)
		case died:
			verb = p.after(verb)
		case out.State == run.Committed || out.State == run.RolledBack:
			p.out.Final = out.State
			return nil
		case out.State == run.Upgraded:
			if verb = []string{"commit", "rollback"}[p.rng.IntN(2)]; p.closed {
				verb = "commit"
			}
		default:
			p.out.Troubled = cmp.Or(p.out.Troubled, out.Step)
			failures++
			if err := p.afterFailure(ctx, failures); err != nil {
				return err
			}
			verb = p.after(verb)
		}
	}
	return fmt.Errorf("the run does not come to an end: %s", strings.Join(p.out.Verbs, ", "))
}

// afterFailure lets time pass, or a person mend what does not mend itself.
func (p *player) afterFailure(ctx context.Context, failures int) error {
	patience := 2
	if p.world.Pause > 0 {
		patience = 4
	}
	switch {
	case failures >= patience:
	case p.world.Pause > 0:
		return p.world.Env.Clock.Sleep(ctx, p.world.Pause)
	default:
		return nil
	}
	p.out.Mended++
	return p.heal(ctx)
}

// after is what the operator types when a process has ended in the middle.
func (p *player) after(verb string) string {
	if verb == "rollback" || verb == "commit" {
		return verb
	}
	if p.rng.IntN(10) < 3 && !p.closed {
		return "rollback"
	}
	return "resume"
}

// heal is the person who mends what is broken, and the time that takes.
func (p *player) heal(ctx context.Context) error {
	if p.world.Sim != nil {
		p.world.Sim.Heal()
	}
	if p.world.Mend != nil {
		if err := p.world.Mend(); err != nil {
			return err
		}
	}
	return p.world.Env.Clock.Sleep(ctx, time.Minute)
}

// prove asks the simulator's own truth and reads every node's release.
func (p *player) prove(ctx context.Context) error {
	if err := p.heal(ctx); err != nil {
		return err
	}
	if err := p.world.Truth(); err != nil {
		return err
	}
	o, err := p.world.Driver.Observe(ctx, p.world.Env)
	if err != nil {
		return err
	}
	for _, n := range o.Nodes {
		want := p.story.Plan.To
		if p.out.Final == run.RolledBack {
			want = p.story.Plan.Before[n.Name].Installed
		}
		if n.Installed != want {
			return fmt.Errorf("the run is %s, yet %s has %q installed, not %q", p.out.Final, n.Name, n.Installed, want)
		}
	}
	return nil
}

// Tell prints a run so that a person can follow and repeat it.
func (p *Played) Tell() string {
	var b strings.Builder
	fmt.Fprintf(&b, "case %s, seed %d\n", p.Case, p.Seed)
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "  fault: %s\n", f)
	}
	fmt.Fprintf(&b, "  the operator typed: %s\n", strings.Join(p.Verbs, ", "))
	if p.Log != nil {
		b.WriteString(Transcript(p.Log.Records))
	}
	fmt.Fprintf(&b, "repeat it: make sim CASE=%s SEED0=%d SEEDS=1\n", p.Case, p.Seed)
	return b.String()
}
