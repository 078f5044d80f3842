package sim

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
)

// Point is a place between two commands: where a tool can die.
type Point struct {
	N      int // the N-th command of the world
	Before bool
	Node   string
	Argv   []string
	Effect host.Effect
}

// FaultKind says what goes wrong.
type FaultKind string

// The kinds of faults.
const (
	LinkLostAfter  FaultKind = "link lost after"  // the command ran, nobody learns how it ended
	LinkLostBefore FaultKind = "link lost before" // it did not run, the caller cannot know that
	Unreachable    FaultKind = "unreachable"      // the connection is refused; it did not run
	NodeDown       FaultKind = "node down"        // power goes before the command; back after For, or never
	NodeDownAfter  FaultKind = "node down after"  // power goes while the command ends
	LinkCut        FaultKind = "link cut"         // the machine runs on, out of reach, for For
	DiskFull       FaultKind = "disk full"        // Bytes are left from now on
	SlowCommand    FaultKind = "slow"             // the command takes Delay longer
	SlowNode       FaultKind = "slow node"        // each command there takes Delay longer from now on
	Hang           FaultKind = "hang"             // the command ends only with its time
	Damaged        FaultKind = "damaged"          // a piece of a package arrives with a byte that is wrong
	ClockJump      FaultKind = "clock jumps"      // the tool's clock steps by Delay
	Hook           FaultKind = "hook"             // the function registered as Do runs before
	HookAfter      FaultKind = "hook after"       // it runs after
)

// Fault is something that will go wrong. It fires at the first command that
// fits Node, Command, Match and Changes, Times times (0: once, negative: always).
type Fault struct {
	Kind    FaultKind     `json:"kind"`
	Node    string        `json:"node,omitempty"`    // empty: any
	Command int           `json:"command,omitempty"` // not before the n-th command of the world
	Match   string        `json:"match,omitempty"`   // in the words of the command; empty: any
	Changes bool          `json:"changes,omitempty"` // only commands that may change something
	Skip    int           `json:"skip,omitempty"`    // let so many that fit pass first
	Times   int           `json:"times,omitempty"`
	For     time.Duration `json:"for,omitempty"`
	Delay   time.Duration `json:"delay,omitempty"`
	Bytes   int64         `json:"bytes,omitempty"`
	Do      string        `json:"do,omitempty"`
	spent   bool
}

// Inject adds a fault.
func (w *World) Inject(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, f)
}

// Pending returns the faults that have not fired for the last time.
func (w *World) Pending() []Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Fault
	for _, f := range w.faults {
		if !f.spent {
			out = append(out, f)
		}
	}
	return out
}

// Struck is how often faults of a kind struck so far.
func (w *World) Struck(kind FaultKind) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.struck[kind]
}

// Heal drops all faults, mends links, boots machines and frees disks.
func (w *World) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil
	for _, m := range w.Machines() {
		m.Cut(false)
		m.slow = 0
		if m.fs.cap > 0 && m.fs.cap-m.fs.used < 100<<30 {
			m.fs.cap = m.fs.used + 100<<30
		}
		m.PowerOn()
	}
}

// forever is longer than any command may take.
const forever = 24 * time.Hour

// appendedTo is the file to which a command appends a piece of a package
// (host.Put); "" when it is no such command.
func appendedTo(argv []string) string {
	if !slices.Contains(argv, "oflag=append") {
		return ""
	}
	for _, word := range argv {
		if name, ok := strings.CutPrefix(word, "of="); ok {
			return name
		}
	}
	return ""
}

// damage turns a byte in the middle of a file.
func (m *Machine) damage(name string) {
	if name != "" && name[0] != '/' {
		name = m.owner(m.Login).Home + "/" + name
	}
	b, err := m.fs.read(Root, name)
	if err != nil || len(b.data) == 0 {
		return
	}
	data := slices.Clone(b.data)
	data[len(data)/2] ^= 1
	m.must(m.fs.write(Root, name, newBlob(data), 0), name)
}

type struck struct {
	unreachable, lostBefore, lostAfter bool
	delay                              time.Duration
	after                              []Fault
}

// faultsFor lets the faults that fit strike and spends them.
func (w *World) faultsFor(m *Machine, p Point) struck {
	var s struck
	for i := range w.faults {
		f := &w.faults[i]
		if f.spent || !f.fits(p) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 1 {
			f.Times--
		} else if f.Times >= 0 {
			f.spent = true
		}
		w.strike(m, *f, p, &s)
	}
	return s
}

func (f *Fault) fits(p Point) bool {
	switch {
	case f.Kind == Damaged && appendedTo(p.Argv) == "":
		return false
	case f.Node != "" && f.Node != p.Node, p.N < f.Command, f.Changes && p.Effect == host.ReadOnly:
		return false
	case f.Match == "":
		return true
	}
	line := strings.Join(p.Argv, " ")
	if ok, err := path.Match(f.Match, line); err == nil && ok {
		return true
	}
	return strings.Contains(line, f.Match)
}

func (w *World) strike(m *Machine, f Fault, p Point, s *struck) {
	if w.struck == nil {
		w.struck = map[FaultKind]int{}
	}
	w.struck[f.Kind]++
	switch f.Kind {
	case LinkLostAfter:
		s.lostAfter = true
	case LinkLostBefore:
		s.lostBefore = true
	case Unreachable:
		s.unreachable = true
	case NodeDown:
		m.PowerOff()
		if f.For > 0 {
			w.After(f.For, nodeUp, m.name, nil)
		}
	case LinkCut:
		m.Cut(true)
		if f.For > 0 {
			w.After(f.For, linkUp, m.name, nil)
		}
	case DiskFull:
		m.fs.cap = m.fs.used + f.Bytes
	case SlowCommand:
		s.delay += f.Delay
	case SlowNode:
		m.slow = f.Delay
	case Hang:
		s.delay += forever
	case ClockJump:
		w.skew += f.Delay
	case Hook:
		w.hook(m, f, p)
	case HookAfter, NodeDownAfter, Damaged:
		s.after = append(s.after, f)
	default:
		w.Complain("unknown fault kind %q", f.Kind)
	}
}

// Message is what a client sends over an open connection: do carries it out on
// the machine. It counts as a command, and the faults that fit strike around
// it; lost says that the link broke with it, so nothing comes back. The world's
// lock is held.
func (w *World) Message(m *Machine, words string, effect host.Effect, do func()) (lost bool) {
	w.commands++
	p := Point{N: w.commands, Before: true, Node: m.name, Argv: []string{words}, Effect: effect}
	f := w.faultsFor(m, p)
	if f.unreachable || f.lostBefore || !m.Connected() {
		return true
	}
	if wait := m.slow + f.delay; wait > 0 {
		w.advanceTo(w.now.Add(min(wait, patience)))
		if wait > patience || !m.Connected() {
			return true
		}
	}
	do()
	p.Before = false
	return w.strikeAfter(m, f, p) || !m.Connected()
}

// patience is how long a client waits for an answer to what it sends.
const patience = 5 * time.Minute

// Strike runs the function registered as hook now, between two commands.
func (w *World) Strike(hook, node string) error {
	fn, m := w.defs.hooks[hook], w.machines[node]
	if fn == nil || m == nil {
		return fmt.Errorf("no hook %q or no machine %q", hook, node)
	}
	w.With(func() { fn(w, m, nil) })
	return nil
}

func (w *World) hook(m *Machine, f Fault, p Point) {
	fn := w.defs.hooks[f.Do]
	if fn == nil {
		w.Complain("no hook %q", f.Do)
		return
	}
	fn(w, m, p.Argv)
}

// strikeAfter does what a fault wants done when the command has ended.
func (w *World) strikeAfter(m *Machine, s struck, p Point) (lost bool) {
	for _, f := range s.after {
		switch f.Kind { //nolint:exhaustive // the others strike before
		case HookAfter:
			w.hook(m, f, p)
			continue
		case Damaged:
			m.damage(appendedTo(p.Argv))
			continue
		}
		m.PowerOff()
		if f.For > 0 {
			w.After(f.For, nodeUp, m.name, nil)
		}
		lost = true
	}
	return lost || s.lostAfter
}
