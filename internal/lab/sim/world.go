// Package sim is a simulated machine room: machines with files, users,
// processes, services and tools, one virtual clock, seeded chance and faults
// that are data. The vendor labs put their software on these machines.
//
// A World is used by one goroutine at a time: a lock makes each command, each
// sleep and each event one after another. What happens depends only on the
// seed and on the order of the commands. There are no goroutines and no
// closures in the state, so that Clone can fork a world at any point between
// two commands and both go on from there.
package sim

import (
	"container/heap"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/wait"
)

// Epoch is when a virtual clock starts.
var Epoch = time.Date(2024, 3, 1, 8, 0, 0, 0, time.UTC)

// World is a set of machines that share a clock.
type World struct {
	mu     sync.Mutex
	defs   *defs
	shared bool // clones have the same defs

	now      time.Time
	skew     time.Duration // of the tool's clock against now
	speed    float64       // the clock runs so many times as fast as the machine's; 0: it is virtual
	realBase time.Time     // machine's time when now was realNow
	realNow  time.Time     //
	tick     chan struct{} // closed and replaced when the clock moves; nil when nobody follows it

	pcg    *rand.PCG
	random *rand.Rand

	machines map[string]*Machine
	order    []string
	states   map[string]State
	events   eventHeap
	seq      int

	commands   int
	trace      []Ran
	noTrace    bool
	faults     []Fault
	struck     map[FaultKind]int
	complaints []string
	spare      [][]byte   // see scratch
	idle       []*running // see command

	// OnCommand, if set, is called before and after each command that reaches
	// a machine by its Run, without the world's lock: it may Clone. An error
	// it returns becomes the error of Run; before the command, it then does not run.
	OnCommand func(Point) error
}

// defs is what never changes after set-up. Clones share it until one of them
// makes something known that the others do not have.
type defs struct {
	tools    map[string]Tool
	scripts  map[string]Tool
	handlers map[string]func(*World, Event)
	hooks    map[string]func(*World, *Machine, []string)
	procs    map[string]ProcKind
	services map[string]ServiceKind
	conns    map[string]ConnHandler
	servers  map[string]func(*World, *Machine, string) Server
	before   []func(*World)
	usrbin   *inode
	tars     *tars
	envs     *envs
}

// tars are the archives that were read, by their content.
type tars struct {
	sync.Mutex
	read map[[32]byte]*archive
}

// State is what a lab keeps about its software. Clone must share nothing that
// either side will change.
type State interface{ Clone() State }

// New makes an empty world. The same seed and the same commands give the same history.
func New(seed uint64) *World {
	w := &World{
		defs: &defs{
			tools: map[string]Tool{}, scripts: map[string]Tool{},
			handlers: map[string]func(*World, Event){},
			hooks:    map[string]func(*World, *Machine, []string){},
			procs:    map[string]ProcKind{}, services: map[string]ServiceKind{},
			conns: map[string]ConnHandler{}, servers: map[string]func(*World, *Machine, string) Server{},
			tars: &tars{read: map[[32]byte]*archive{}},
			envs: &envs{login: map[*User]map[string]string{}, profile: map[profiled]map[string]string{}},
		},
		now:      Epoch,
		pcg:      rand.NewPCG(seed, 0x5eed),
		machines: map[string]*Machine{},
		states:   map[string]State{},
	}
	w.random = rand.New(w.pcg)
	registerCore(w.defs)
	registerScripts(w.defs)
	return w
}

// RegisterTool makes a program known: a file whose first line is
// "#!sim:NAME rest" runs it with Call.Image = "rest". To be done before the first command.
func (w *World) RegisterTool(name string, t Tool) { w.mine().tools[name] = t }

// RegisterScript makes "sh -c script name args…" run fn with Call.Argv =
// {name, args…}. Scripts that nobody registered fail loudly.
func (w *World) RegisterScript(script string, fn Tool) { w.mine().scripts[script] = fn }

// Handle says what happens when an event of that kind is due.
func (w *World) Handle(kind string, fn func(*World, Event)) { w.mine().handlers[kind] = fn }

// RegisterHook makes a function known by name to Fault.Do.
func (w *World) RegisterHook(name string, fn func(*World, *Machine, []string)) {
	w.mine().hooks[name] = fn
}

// mine returns the definitions for a change that no clone will see: a clone's
// set-up goes on while other clones are at work.
func (w *World) mine() *defs {
	if !w.shared {
		return w.defs
	}
	d := *w.defs
	d.tools, d.scripts, d.handlers, d.hooks = maps.Clone(d.tools), maps.Clone(d.scripts), maps.Clone(d.handlers), maps.Clone(d.hooks)
	d.procs, d.services, d.conns = maps.Clone(d.procs), maps.Clone(d.services), maps.Clone(d.conns)
	d.servers, d.before = maps.Clone(d.servers), slices.Clone(d.before)
	w.defs, w.shared = &d, false
	return w.defs
}

// BeforeChange lets fn run each time before the power or the link of a machine
// changes: software that flows by itself brings its state up to now.
func (w *World) BeforeChange(fn func(*World)) {
	d := w.mine()
	d.before = append(d.before, fn)
}

func (w *World) changes() {
	for _, fn := range w.defs.before {
		fn(w)
	}
}

// SetState and State keep a lab's own state.
func (w *World) SetState(key string, s State) { w.states[key] = s }

// State returns the lab's state of that key, or nil.
func (w *World) State(key string) State { return w.states[key] }

// Rand is the world's source of chance; only for tools and handlers.
func (w *World) Rand() *rand.Rand { return w.random }

// With runs fn while no command runs.
func (w *World) With(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.catchUp()
	fn()
}

// Machine returns the machine of that name, or nil.
func (w *World) Machine(name string) *Machine { return w.machines[name] }

// Machines returns all machines in the order they were added.
func (w *World) Machines() []*Machine {
	out := make([]*Machine, len(w.order))
	for i, n := range w.order {
		out[i] = w.machines[n]
	}
	return out
}

// ByAddress returns the machine with that address or name, or nil.
func (w *World) ByAddress(addr string) *Machine {
	if m := w.machines[addr]; m != nil {
		return m
	}
	for _, n := range w.order {
		if w.machines[n].Address == addr {
			return w.machines[n]
		}
	}
	return nil
}

// Hosts are all machines, reached with their login users.
func (w *World) Hosts() host.Set {
	s := host.Set{}
	for n, m := range w.machines {
		s[n] = m
	}
	return s
}

// Complain records that something was asked of the simulator that it does not
// know. Tests fail on complaints: silence would prove nothing.
func (w *World) Complain(format string, args ...any) {
	w.complaints = append(w.complaints, fmt.Sprintf(format, args...))
}

// Complaints returns what was complained about.
func (w *World) Complaints() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.complaints)
}

// Clone forks the world: both go on separately from the same point, with the
// same chance to come. It is cheap: files are copied when they are written.
func (w *World) Clone() *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	pcg := *w.pcg
	w.shared = true
	c := &World{
		defs: w.defs, shared: true, now: w.now, skew: w.skew, pcg: &pcg, random: rand.New(&pcg),
		machines: make(map[string]*Machine, len(w.machines)),
		order:    w.order,
		states:   make(map[string]State, len(w.states)),
		events:   slices.Clone(w.events), seq: w.seq,
		commands: w.commands, trace: w.trace[:len(w.trace):len(w.trace)], noTrace: w.noTrace,
		faults:     slices.Clone(w.faults),
		struck:     maps.Clone(w.struck),
		complaints: slices.Clone(w.complaints),
	}
	for n, m := range w.machines {
		c.machines[n] = m.clone(c)
	}
	for k, s := range w.states {
		c.states[k] = s.Clone()
	}
	return c
}

// ---- time and events ----

// Event is something that will happen. Arg must never be changed after After.
type Event struct {
	At   time.Time
	Seq  int // also its name for Cancel
	Kind string
	Node string
	Arg  any
}

type eventHeap []Event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].At.Equal(h[j].At) {
		return h[i].At.Before(h[j].At)
	}
	return h[i].Seq < h[j].Seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *eventHeap) Push(x any) { *h = append(*h, x.(Event)) }

// Pop is for container/heap.
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// After makes an event happen d from now and returns its number. Only for
// tools, handlers and set-up.
func (w *World) After(d time.Duration, kind, node string, arg any) int {
	w.seq++
	heap.Push(&w.events, Event{At: w.now.Add(max(d, 0)), Seq: w.seq, Kind: kind, Node: node, Arg: arg})
	return w.seq
}

// Cancel takes an event back.
func (w *World) Cancel(seq int) {
	for i := range w.events {
		if w.events[i].Seq == seq {
			heap.Remove(&w.events, i)
			return
		}
	}
}

// Time is the world's time, for tools and handlers (Now takes the lock).
func (w *World) Time() time.Time { return w.now }

// Now makes World a wait.Clock.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.catchUp()
	return w.now.Add(w.skew)
}

// Jump steps the clock that the tool reads, as when somebody sets the time of
// the control machine. What runs on the machines does not notice, and no sleep
// becomes longer or shorter.
func (w *World) Jump(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skew += d
}

// Sleep advances the clock and lets everything happen that is due by then, in
// its order. A clock that follows real time really sleeps.
func (w *World) Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.mu.Lock()
	if w.speed > 0 {
		d = w.toReal(d)
		w.mu.Unlock()
		return wait.Real{}.Sleep(ctx, d)
	}
	w.advanceTo(w.now.Add(max(d, 0)))
	w.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// FollowRealTime makes the clock run with the machine's from now on, speed
// times as fast, as for machines that are served over ssh. Events happen when
// next somebody looks.
func (w *World) FollowRealTime(speed float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.speed, w.realBase, w.realNow = speed, time.Now(), w.now
}

// toReal is how long d takes on the machine's clock.
func (w *World) toReal(d time.Duration) time.Duration {
	return time.Duration(float64(d) / w.speed)
}

// StartAt sets the clock before anything happened, e.g. to the machine's time.
func (w *World) StartAt(t time.Time) { w.now = t }

func (w *World) catchUp() {
	if w.speed > 0 {
		w.advanceTo(w.realNow.Add(time.Duration(float64(time.Since(w.realBase)) * w.speed)))
	}
}

// advanceTo moves the clock, events first. Handlers may add events.
func (w *World) advanceTo(t time.Time) {
	for len(w.events) > 0 && !w.events[0].At.After(t) {
		e := heap.Pop(&w.events).(Event)
		if e.At.After(w.now) {
			w.now = e.At
		}
		w.fire(e)
	}
	if t.After(w.now) {
		w.now = t
	}
	if w.tick != nil {
		close(w.tick)
		w.tick = nil
	}
}

func (w *World) fire(e Event) {
	if e.Kind == nodeUp {
		if m := w.machines[e.Node]; m != nil && !m.up {
			m.PowerOn()
		}
		return
	}
	if e.Kind == linkUp {
		w.machines[e.Node].Cut(false)
		return
	}
	fn := w.defs.handlers[e.Kind]
	if fn == nil {
		w.Complain("no handler for event %q", e.Kind)
		return
	}
	fn(w, e)
}

// Follower is a clock for what runs beside the main work (a lease renewer):
// its Sleep does not move time, it waits until the main work has.
func (w *World) Follower() wait.Clock { return follower{w} }

type follower struct{ w *World }

func (f follower) Now() time.Time { return f.w.Now() }

func (f follower) Sleep(ctx context.Context, d time.Duration) error {
	w := f.w
	w.mu.Lock()
	if w.speed > 0 {
		w.mu.Unlock()
		return w.Sleep(ctx, d)
	}
	until := w.now.Add(d)
	for w.now.Before(until) {
		if w.tick == nil {
			w.tick = make(chan struct{})
		}
		tick := w.tick
		w.mu.Unlock()
		select {
		case <-tick:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		w.mu.Lock()
	}
	w.mu.Unlock()
	return nil
}

// ---- what happened ----

// Ran is one command that reached a machine.
type Ran struct {
	N      int
	At     time.Time
	Took   time.Duration
	Node   string
	User   string
	Argv   []string
	Effect host.Effect
	Ran    bool   // false: a fault kept it from running
	Code   int    // exit code when it ended
	Lost   string // why the caller never learned how it ended
}

// Trace returns what ran so far.
func (w *World) Trace() []Ran {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.trace)
}

// NoTrace switches the trace off, for the many runs that do not read it.
func (w *World) NoTrace() { w.noTrace = true }

// Commands is how many commands were sent so far.
func (w *World) Commands() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.commands
}

func cloneMap[K comparable, V any](m map[K]*V) map[K]*V {
	out := make(map[K]*V, len(m))
	for k, v := range m {
		c := *v
		out[k] = &c
	}
	return out
}
