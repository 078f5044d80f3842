package view

import (
	"fmt"
	"sync"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
)

// live draws what runs now below the lines of what has happened. It takes no
// input and catches no signal: Ctrl-C belongs to the verb.
type live struct {
	program *tea.Program
	gone    chan struct{}
	once    sync.Once
}

func startLive(s *Screen, p *plan.Plan, back bool) *live {
	l := &live{gone: make(chan struct{})}
	m := newBoard(s, p, back)
	l.program = tea.NewProgram(m, tea.WithOutput(s.Err), tea.WithInput(nil), tea.WithoutSignalHandler())
	go func() {
		defer close(l.gone)
		// A view that fails must not stop the run: it goes on unseen and is journalled.
		_, _ = l.program.Run()
	}()
	return l
}

// Event hands the event to the drawing; it is dropped once that has ended.
func (l *live) Event(e run.Event) { l.program.Send(e) }

// Close draws the last state and gives the terminal back.
func (l *live) Close() {
	l.once.Do(l.program.Quit)
	<-l.gone
}

// board is the model of the live view.
type board struct {
	s       *Screen
	p       *plan.Plan
	back    bool
	width   int
	now     time.Time
	skew    time.Duration // the run's clock minus this process's
	began   time.Time
	done    int
	total   int
	settled map[string]bool
	active  []*active // in the order in which they started
	ended   bool
}

// active is a step that runs.
type active struct {
	step  *plan.Step
	undo  bool
	since time.Time
	waits string
}

type tick time.Time

// refresh is how often clocks on the screen move.
const refresh = 200 * time.Millisecond

func newBoard(s *Screen, p *plan.Plan, back bool) board {
	return board{s: s, p: p, back: back, width: 80, settled: map[string]bool{}}
}

func nextTick() tea.Cmd { return tea.Tick(refresh, func(t time.Time) tea.Msg { return tick(t) }) }

// Init shows the cursor, which the program hides: a process that is killed then leaves nothing to repair.
func (b board) Init() tea.Cmd { return tea.Batch(tea.ShowCursor, nextTick()) }

// Update takes in an event or moves the clocks.
func (b board) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		if m.Width > 0 { // a terminal that does not know its size says 0
			b.width = max(20, m.Width)
		}
	case tick:
		b.now = time.Time(m).Add(b.skew)
		return b, nextTick()
	case run.Event:
		return b.take(m)
	}
	return b, nil
}

func (b board) take(e run.Event) (tea.Model, tea.Cmd) {
	if b.began.IsZero() {
		b.began = e.Time
	}
	if e.Time.After(b.now) {
		b.now = e.Time
	}
	b.done, b.total = e.Done, e.Total
	line := ""
	switch e.Kind {
	case run.Started:
		b.active = append(b.active, &active{step: e.Step, undo: e.Undo, since: e.Time})
	case run.Progress:
		if a := b.find(e.Step); a != nil {
			a.waits = clean(b.s.in(e.Text))
		}
	case run.Finished:
		b.drop(e.Step)
		if e.Err == nil && e.Step != nil {
			b.settled[e.Step.ID] = true
		}
		line = b.s.eventLine(e)
	case run.Settled, run.Gate, run.Remark:
		line = b.s.eventLine(e)
	case run.Ended:
		b.ended = true
	case run.Began:
	}
	if line == "" {
		return b, nil
	}
	return b, tea.Println(ansi.Wrap(line, b.width, ""))
}

func (b *board) find(step *plan.Step) *active {
	if step == nil {
		return nil
	}
	for _, a := range b.active {
		if a.step != nil && a.step.ID == step.ID {
			return a
		}
	}
	return nil
}

func (b *board) drop(step *plan.Step) {
	kept := b.active[:0:0]
	for _, a := range b.active {
		if step == nil || a.step == nil || a.step.ID != step.ID {
			kept = append(kept, a)
		}
	}
	b.active = kept
}

// View draws the board: what runs, since when, what it waits for; then the whole.
func (b board) View() string {
	if b.ended || b.began.IsZero() {
		return ""
	}
	out := ""
	for _, a := range b.shown() {
		out += ansi.Truncate(b.activeLine(a), b.width-1, "…") + "\n"
	}
	if hidden := len(b.active) - len(b.shown()); hidden > 0 {
		out += fmt.Sprintf(b.s.word("   … and %d more\n", "   …… 另有 %d 个\n"), hidden)
	}
	return out + ansi.Truncate(b.summary(), b.width-1, "…")
}

// most is how many running steps are drawn: the view must fit a small terminal.
const most = 8

func (b board) shown() []*active { return b.active[:min(most, len(b.active))] }

func (b board) activeLine(a *active) string {
	node := a.step.Node
	if node == "" {
		node = b.s.word("cluster", "集群")
	}
	line := fmt.Sprintf(" ▸ %s  %s  %s %s", b.s.err.strong.Render(node), padLeft(Short(b.now.Sub(a.since)), 6), b.s.verb(a.undo), clean(b.s.in(a.step.Says)))
	if a.waits != "" {
		line += "  " + b.s.err.dim.Render(b.s.word("waiting: ", "等待：")+a.waits)
	}
	return line
}

func (b board) summary() string {
	line := fmt.Sprintf(" %s %d/%d  %s %s", bar(b.done, b.total, 20), b.done, b.total, b.s.word("elapsed", "已用"), Short(b.now.Sub(b.began)))
	if left := longest(b.p, b.settled); left > 0 && !b.back {
		line += "  " + b.s.word("about "+Short(left)+" left", "预计剩余 "+Short(left))
	}
	return line
}

func bar(done, total, width int) string {
	full := 0
	if total > 0 {
		full = width * done / total
	}
	cells := make([]rune, width)
	for i := range cells {
		cells[i] = '░'
		if i < full {
			cells[i] = '█'
		}
	}
	return string(cells)
}
