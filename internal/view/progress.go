package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// Progress follows a run. Close ends it and leaves the terminal as it was; it
// may be called more than once.
type Progress interface {
	run.View
	Close()
}

// Progress returns what fits the screen: JSON lines, a live view on a
// terminal, plain lines otherwise.
func (s *Screen) Progress(p *plan.Plan, back bool) Progress {
	switch {
	case s.Format == JSON:
		return &stream{s: s}
	case s.Live:
		return startLive(s, p, back)
	default:
		return &lines{s: s, said: map[string]time.Time{}}
	}
}

// lines is the progress where it cannot be drawn again: one line per event.
type lines struct {
	s    *Screen
	said map[string]time.Time // when a step last told what it waits for
}

// quiet is how long a step that waits says nothing new on a log.
const quiet = 10 * time.Second

func (l *lines) Close() {}

// Event writes the event's line.
func (l *lines) Event(e run.Event) {
	if e.Kind == run.Progress {
		if e.Step == nil || e.Time.Sub(l.said[e.Step.ID]) < quiet {
			return
		}
		l.said[e.Step.ID] = e.Time
	}
	if e.Step != nil && (e.Kind == run.Progress || e.Kind == run.Finished || e.Kind == run.Settled) {
		// The line above told the sentence when the step began.
		short := *e.Step
		short.Says, short.Node = say.Same(short.ID), ""
		e.Step = &short
	}
	if text := l.s.eventLine(e); text != "" {
		fmt.Fprintf(l.s.Err, "%s  %s\n", e.Time.Format(time.TimeOnly), text)
	}
}

// eventLine tells an event in one line; "" where there is nothing to tell.
func (s *Screen) eventLine(e run.Event) string {
	count := fmt.Sprintf("[%*d/%d]", len(fmt.Sprint(e.Total)), e.Done, e.Total)
	switch e.Kind {
	case run.Started:
		return s.stepLine(count, s.verb(e.Undo), e, "")
	case run.Progress:
		return s.stepLine(count, s.word("wait", "等待"), e, s.in(e.Text))
	case run.Settled:
		return s.stepLine(count, s.word("probe", "探测"), e, s.in(e.Text))
	case run.Finished:
		if e.Err != nil {
			return s.stepLine(count, s.err.bad.Render(s.word("FAIL", "失败")), e, s.in(say.Of(e.Err)))
		}
		return s.stepLine(count, s.err.good.Render(s.word("ok", "完成")), e, Short(e.Took))
	case run.Gate:
		return s.gateLine(count, e)
	case run.Remark:
		return s.in(e.Text)
	case run.Began, run.Ended:
	}
	return ""
}

func (s *Screen) verb(undo bool) string {
	if undo {
		return s.word("undo", "撤销")
	}
	return s.word("do", "执行")
}

func (s *Screen) stepLine(count, verb string, e run.Event, tail string) string {
	if e.Step == nil {
		return strings.Join([]string{count, verb, tail}, "  ")
	}
	text := clean(s.in(e.Step.Says))
	if tail != "" {
		text += s.word(": ", "：") + clean(tail)
	}
	if e.Attempt > 1 && e.Kind == run.Started && !e.Undo { // an undo always follows an attempt
		text += fmt.Sprintf(s.word("  (attempt %d)", "（第 %d 次）"), e.Attempt)
	}
	parts := []string{count, pad(verb, 5)}
	if e.Step.Node != "" {
		parts = append(parts, e.Step.Node)
	}
	return strings.Join(append(parts, text), "  ")
}

func (s *Screen) gateLine(count string, e run.Event) string {
	id := "?"
	if e.Step != nil {
		id = e.Step.ID
	}
	if e.Crossed {
		return count + "  " + s.word("gate "+id+" passed", "已通过关口 "+id)
	}
	return count + "  " + s.word("waiting before "+id, "停在 "+id+" 之前")
}

// stream is the progress as JSON lines on standard output.
type stream struct{ s *Screen }

// eventJSON is one line of `apply --output json`.
type eventJSON struct {
	V       int        `json:"v"`
	Event   string     `json:"event"`
	Time    *time.Time `json:"time,omitempty"`
	Step    string     `json:"step,omitempty"`
	Node    string     `json:"node,omitempty"`
	Undo    bool       `json:"undo,omitempty"`
	Attempt int        `json:"attempt,omitempty"`
	Says    string     `json:"says,omitempty"`
	Error   string     `json:"error,omitempty"`
	TookMS  int64      `json:"took_ms,omitempty"`
	Done    int        `json:"done"`
	Total   int        `json:"total"`
	Crossed *bool      `json:"crossed,omitempty"`
	State   string     `json:"state,omitempty"`
}

func (*stream) Close() {}

// Event writes the event.
func (st *stream) Event(e run.Event) {
	j := eventJSON{
		V: jsonVersion, Event: string(e.Kind), Time: &e.Time, Undo: e.Undo, Attempt: e.Attempt,
		Says: st.s.in(e.Text), TookMS: e.Took.Milliseconds(), Done: e.Done, Total: e.Total,
	}
	if e.Step != nil {
		j.Step, j.Node = e.Step.ID, e.Step.Node
		if j.Says == "" {
			j.Says = st.s.in(e.Step.Says)
		}
	}
	if e.Err != nil {
		j.Error = st.s.in(say.Of(e.Err))
	}
	if e.Kind == run.Gate {
		j.Crossed = &e.Crossed
	}
	if e.Outcome != nil {
		j.State = string(e.Outcome.State)
	}
	// A reader that has gone away must not stop the run.
	_ = st.s.Object(j)
}
