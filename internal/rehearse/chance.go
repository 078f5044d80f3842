package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
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
	// MostHooks is how many of them may strike in one run; 0: one.
	MostHooks int
	// Only, if set, is the one kind of trouble that strikes (Troubles).
	Only string
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
	Struck    []string      // the kinds of trouble that did strike
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
	ctx, cancel := context.WithTimeoutCause(ctx, maxReal, fmt.Errorf("%w: %s of real time", ErrEndless, maxReal))
	defer cancel()
	p := &player{Case: c, world: w, rng: rand.New(rand.NewPCG(seed, 0xc4a2ce)), out: &Played{Case: c.Name, Seed: seed}}
	p.leaks = &leaks{secrets: w.Secrets}
	p.bound = bind(&p.world)
	p.bound.ended = cancel // nothing answers any more: nobody shall try for long
	p.world.Env.Hosts = p.leaks.hosts(p.world.Env.Hosts)
	if p.story, err = Begin(ctx, p.world); err != nil {
		return p.out, err
	}
	p.story.leaks, p.before = p.leaks, p.installed()
	p.out.Log = p.story.Log
	clock := virtual(w)
	began := clock.Now()
	p.plant()
	err = p.play(ctx)
	p.out.Log, p.out.Took = p.story.Log, clock.Now().Sub(began)
	p.note()
	if err == nil {
		err = p.prove(ctx)
	}
	if over := p.bound.err(); over != nil {
		err = over
	}
	return p.out, err
}

type player struct {
	Case
	world  World
	story  *Story
	rng    *rand.Rand
	out    *Played
	death  *Death // of the process that is started next
	dead   bool   // a death was met
	advice int    // how often the tool named the way back
	hooked int    // troubles of the product's own that are planted
	rival  *rival
	now    *process // the process that works
	bound  *bound
	leaks  *leaks
	before map[string]string // what was installed on each node
	// closed: a rollback was refused behind a one-way gate, and nobody asks for it again.
	closed bool
}

type process struct{ verb string }

// installed is what lay on each node when the plan was drawn.
func (p *player) installed() map[string]string {
	if p.world.Parts != nil {
		return p.world.Parts()
	}
	out := map[string]string{}
	for n, was := range p.story.Plan.Before {
		out[n] = was.Installed
	}
	return out
}

// trouble is a kind of thing that goes wrong.
type trouble struct {
	name   string
	weight int // of so many in all
	plant  func(p *player)
	struck func(p *player) bool
}

// Troubles are the names that Case.Only may have.
func Troubles() []string {
	var out []string
	for _, t := range troubles {
		out = append(out, t.name)
	}
	return out
}

var troubles = []trouble{
	{"death", 5, (*player).plantDeath, func(p *player) bool { return p.dead }},
	fault("link lost after", 2, sim.LinkLostAfter, func(_ *player, f *sim.Fault) { f.Changes = true }),
	fault("link lost before", 1, sim.LinkLostBefore, func(*player, *sim.Fault) {}),
	fault("unreachable", 1, sim.Unreachable, func(p *player, f *sim.Fault) { f.Times = 1 + p.rng.IntN(6) }),
	fault("node down", 2, sim.NodeDown, func(p *player, f *sim.Fault) { f.For = p.seconds(5, 300) }),
	fault("node down after", 1, sim.NodeDownAfter, func(p *player, f *sim.Fault) { f.For, f.Changes = p.seconds(5, 300), true }),
	fault("link cut", 1, sim.LinkCut, func(p *player, f *sim.Fault) { f.For = p.seconds(1, 120) }),
	fault("disk full", 1, sim.DiskFull, func(p *player, f *sim.Fault) { f.Bytes = int64(p.rng.IntN(2) * p.rng.IntN(1<<20)) }),
	fault("slow", 1, sim.SlowCommand, func(p *player, f *sim.Fault) { f.Delay = p.seconds(1, 200) }),
	fault("hang", 1, sim.Hang, func(*player, *sim.Fault) {}),
	fault("clock jumps", 1, sim.ClockJump, func(p *player, f *sim.Fault) {
		f.Node, f.Delay = "", p.seconds(-3600, 3600)
	}),
	fault("package damaged", 1, sim.Damaged, func(_ *player, f *sim.Fault) { f.Command = 0 }),
	{"second operator", 1, func(p *player) { p.plantRival(false) }, func(p *player) bool { return p.rival != nil && p.rival.came }},
	{"second operator takes over", 1, func(p *player) { p.plantRival(true) }, func(p *player) bool { return p.rival != nil && p.rival.gone }},
	{"hook", 3, (*player).plantHook, func(p *player) bool { return p.world.Sim.Struck(sim.Hook) > 0 }},
}

func fault(name string, weight int, kind sim.FaultKind, with func(*player, *sim.Fault)) trouble {
	return trouble{name, weight, func(p *player) {
		nodes := p.world.Env.Inventory.Names()
		f := sim.Fault{Kind: kind, Node: nodes[p.rng.IntN(len(nodes))], Command: p.command()}
		with(p, &f)
		p.inject(f)
	}, func(p *player) bool { return p.world.Sim.Struck(kind) > 0 }}
}

// plant chooses one or two things that will go wrong.
func (p *player) plant() {
	all := 0
	for _, t := range troubles {
		all += t.weight
	}
	for range 1 + p.rng.IntN(2) {
		at := p.rng.IntN(all)
		for _, t := range troubles {
			if at -= t.weight; p.Only == t.name || p.Only == "" && at < 0 {
				if p.world.Sim == nil {
					t = troubles[0]
				}
				t.plant(p)
				break
			}
		}
	}
}

// note remembers which kinds of trouble struck.
func (p *player) note() {
	for _, t := range troubles {
		if (p.world.Sim != nil || t.name == "death") && t.struck(p) {
			p.out.Struck = append(p.out.Struck, t.name)
		}
	}
}

func (p *player) plantDeath() {
	p.death = &Death{At: 1 + p.rng.IntN(p.points()), After: p.rng.IntN(2) == 1}
	p.say("the tool is killed at its point %d (after the deed: %t)", p.death.At, p.death.After)
}

func (p *player) plantHook() {
	if len(p.Hooks) == 0 || p.hooked >= max(1, p.MostHooks) {
		p.plantDeath()
		return
	}
	p.hooked++
	nodes := p.world.Env.Inventory.Names()
	p.inject(sim.Fault{Kind: sim.Hook, Do: p.Hooks[p.rng.IntN(len(p.Hooks))], Node: nodes[p.rng.IntN(len(nodes))], Command: p.command()})
}

func (p *player) plantRival(waits bool) {
	if p.rival != nil {
		return
	}
	p.rival = &rival{at: p.command(), waits: waits, p: p}
	p.story.operator = "first"
	p.world.Sim.OnCommand = p.rival.come
	p.world.Env.Hosts = p.world.Env.Hosts.Wrap(func(h host.Host) host.Host { return &spyHost{h, p.rival} })
	p.story.World = p.world
	p.say("a second operator starts before command %d (and waits for the lease: %t)", p.rival.at, waits)
}

func (p *player) seconds(from, to int) time.Duration {
	return time.Duration(from+p.rng.IntN(to-from)) * time.Second
}

// points is where kills shall fall: anywhere in a run, and a little beyond, where
// one that goes back is still at work. Unmeasured it is guessed.
func (p *player) points() int { return cmp.Or(p.world.points*5/4, 12*len(p.story.Plan.Steps)) }

// command is where a trouble strikes, as points.
func (p *player) command() int {
	return p.world.Sim.Commands() + 1 + p.rng.IntN(cmp.Or(p.world.commands*5/4, 100*len(p.world.Env.Inventory.Nodes)))
}

func (p *player) inject(f sim.Fault) {
	p.world.Sim.Inject(f)
	p.say("%s %s on %s from command %d (for %s, %d times, delay %s)", f.Kind, f.Do, cmp.Or(f.Node, "any"), f.Command, f.For, f.Times, f.Delay)
}

func (p *player) say(format string, args ...any) {
	p.out.Faults = append(p.out.Faults, fmt.Sprintf(format, args...))
}

// play is the operator: types verbs until the run is over.
//
//nolint:gocognit // one case for each way in which a process can end
func (p *player) play(ctx context.Context) error {
	verb, failures := "apply", 0
	for p.out.Processes = 1; p.out.Processes <= maxProcesses; p.out.Processes++ {
		// A tool that died behind its last record has left nothing to do.
		if p.out.Final = p.story.Final(); p.out.Final != "" {
			return nil
		}
		p.out.Verbs = append(p.out.Verbs, verb)
		out, err, died := p.work(ctx, verb)
		if wrong := p.verdict(); wrong != nil {
			return wrong
		}
		switch {
		case errors.Is(err, errNoLease):
			failures++
			if err := p.afterFailure(ctx, failures); err != nil {
				return err
			}
			continue
		case p.handedOver(verb, err):
			verb = p.after(verb)
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
			if verb = p.after(verb); p.advised(out) {
				verb = "rollback"
			}
		}
	}
	return fmt.Errorf("the run does not come to an end: %s", strings.Join(p.out.Verbs, ", "))
}

// advised: the tool has named the way back as what to type next for the third
// time, and the operator does what it says.
func (p *player) advised(out run.Outcome) bool {
	var why *say.Problem
	if p.closed || !errors.As(out.Err, &why) || why.Next.EN != "shiplift rollback" {
		return false
	}
	p.advice++
	return p.advice > 2
}

// handedOver: the process heard that its lease is over, since somebody else
// works or since its clock was set, and leaves the run to whoever comes next.
func (p *player) handedOver(verb string, err error) bool {
	if p.rival == nil || p.rival.took == nil {
		return errors.Is(err, journal.ErrLost)
	}
	p.story, p.rival.took = p.rival.took, nil
	p.out.Verbs = append(p.out.Verbs, "(the second operator) "+verb)
	return true
}

// verdict is what was found wrong while the tool worked.
func (p *player) verdict() error {
	if err := p.bound.err(); err != nil || p.rival == nil {
		return err
	}
	return p.rival.verdict
}

// work starts the tool once.
func (p *player) work(ctx context.Context, verb string) (out run.Outcome, err error, died bool) {
	p.now = &process{verb}
	out, err = p.story.Work(ctx, verb, p.death)
	p.now = nil
	if died = p.death.Dead(); died {
		p.death, p.dead = nil, true
	}
	return out, err, died
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
	// Whoever has tried so often does what the tool has told them to.
	if (p.rng.IntN(10) < 3 || p.out.Processes > maxProcesses/2) && !p.closed {
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
	if err := p.leaks.prove(p.story.Log); err != nil {
		return err
	}
	if p.rival != nil {
		if err := p.free(ctx); err != nil {
			return err
		}
	}
	return p.proveReleases(ctx)
}

// proveReleases: each node has the release that the end of the run promises.
func (p *player) proveReleases(ctx context.Context) error {
	has := map[string]string{}
	if p.world.Parts != nil {
		has = p.world.Parts()
	} else {
		o, err := p.world.Driver.Observe(ctx, p.world.Env)
		if err != nil {
			return err
		}
		for _, n := range o.Nodes {
			has[n.Name] = n.Installed
		}
	}
	for _, n := range p.world.Env.Inventory.Names() {
		want := p.story.Plan.To
		if p.out.Final == run.RolledBack {
			want = p.before[n]
		}
		if has[n] != want {
			return fmt.Errorf("the run is %s, yet %s has %q installed, not %q", p.out.Final, n, has[n], want)
		}
	}
	return nil
}

// free tells whether a lease is left that keeps the next operator out.
func (p *player) free(ctx context.Context) error {
	l, err := lease(ctx, &p.world, p.story.Log.Records, "third", "look")
	if err != nil {
		return fmt.Errorf("nobody can take the lease any more: %w", err)
	}
	return l.Release(ctx)
}

// Tell prints a run so that a person can follow and repeat it; of one that
// could not even begin there is nothing to tell.
func (p *Played) Tell() string {
	if p == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "case %s, seed %d\n", p.Case, p.Seed)
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "  fault: %s\n", f)
	}
	fmt.Fprintf(&b, "  the operator typed: %s\n", strings.Join(p.Verbs, ", "))
	if p.Troubled != "" {
		fmt.Fprintf(&b, "  the first failure was met at step %s\n", p.Troubled)
	}
	if p.Log != nil {
		b.WriteString(Transcript(p.Log.Records))
	}
	fmt.Fprintf(&b, "repeat it: make sim CASE=%s SEED0=%d SEEDS=1\n", p.Case, p.Seed)
	return b.String()
}
