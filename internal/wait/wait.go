// Package wait holds the tool's clock and the one way to wait for something.
//
// Nothing in the tool sleeps blindly: a wait watches a condition, has a
// deadline and a progress rule, and when it ends without success it names what
// it waited for and the next command to type (invariant I9).
package wait

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shiplift/shiplift/internal/say"
)

// Clock tells the time and sleeps. The simulator's clock is virtual.
type Clock interface {
	Now() time.Time
	// Sleep returns nil after d, or the context's cause when it ends before.
	Sleep(ctx context.Context, d time.Duration) error
}

// Real is the machine's clock.
type Real struct{}

// Now returns the machine's time.
func (Real) Now() time.Time { return time.Now() }

// Sleep sleeps on the machine's clock.
func (Real) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Spec says what is waited for and for how long.
type Spec struct {
	What     say.Text      // "db2 streams from db1"
	Node     string        // empty for the cluster
	Deadline time.Duration // must be set
	Stall    time.Duration // give up when Left has not shrunk for this long; 0 is no such rule
	Every    time.Duration // between two looks; 100ms when 0. What has not changed for long is looked at less often
	Next     string        // the command to type when the wait ends in vain
}

// Look is what one look at the condition saw.
type Look struct {
	Done bool
	Left float64  // what is still missing (bytes, rows, nodes); must shrink where Spec.Stall is set
	Says say.Text // shown as progress and, last, in the error
}

// Error is a wait that ended in vain.
type Error struct {
	Spec    Spec
	Waited  time.Duration
	Stalled bool // the progress rule ended it, not the deadline
	Last    say.Text
}

func (e *Error) Error() string { return e.Say().EN }

// Say tells what was waited for, how long, and what was seen last.
func (e *Error) Say() say.Text {
	why := say.F("no success within %s", "%s 内没有成功", e.Spec.Deadline)
	if e.Stalled {
		why = say.F("no progress for %s", "%s 内没有进展", e.Spec.Stall)
	}
	waited := e.Waited.Round(time.Millisecond)
	t := say.Text{
		EN: fmt.Sprintf("waited %s for: %s (%s)", waited, e.Spec.What.EN, why.EN),
		ZH: fmt.Sprintf("等待 %s：%s（%s）", waited, e.Spec.What.In(say.Chinese), why.ZH),
	}
	if !e.Last.IsZero() {
		t.EN += "; last seen: " + e.Last.EN
		t.ZH += "；最后看到：" + e.Last.In(say.Chinese)
	}
	return t
}

// ended is err, or what ended ctx when err only says that it ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// What does not change is looked at less often: a wait ends late by no more than
// a fiftieth of the time in which nothing changed, and by no more than lazy.
const (
	patience = 50
	lazy     = 10 * time.Second
)

// For looks until the condition holds. An error from look ends the wait at
// once; a passing trouble (a server that does not accept yet) belongs in Look.Says.
// report, if not nil, is called when what is seen changes.
func For(ctx context.Context, clk Clock, s Spec, report func(say.Text), look func(context.Context) (Look, error)) error {
	if s.Deadline <= 0 {
		return say.Errorf("wait for %q has no deadline", "对 %q 的等待没有期限", s.What.EN)
	}
	every := s.Every
	if every <= 0 {
		every = 100 * time.Millisecond
	}
	var p progress
	var pause time.Duration
	before := clk.Now()
	for {
		l, err := look(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		if l.Done {
			return nil
		}
		if report != nil && l.Says != p.last.Says {
			report(l.Says)
		}
		// What has gone by is added up: a clock that is set back takes nothing away.
		now := clk.Now()
		p.see(l, max(now.Sub(before), pause))
		before = now
		over := p.waited >= s.Deadline
		if over || s.Stall > 0 && p.waited-p.moved >= s.Stall {
			return &Error{Spec: s, Waited: p.waited, Stalled: !over, Last: l.Says}
		}
		pause = min(max(every, min((p.waited-p.changed)/patience, lazy)), s.Deadline-p.waited)
		if err := clk.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// progress is what was seen so far, with the time that had gone by then.
type progress struct {
	waited  time.Duration
	looks   int
	last    Look
	changed time.Duration // when a look last differed from the one before
	best    float64       // the least that was left
	moved   time.Duration // when that was first seen
}

func (p *progress) see(l Look, gone time.Duration) {
	p.waited += gone
	if p.looks == 0 || l.Left < p.best {
		p.best, p.moved = l.Left, p.waited
	}
	if l.Left != p.last.Left || l.Says != p.last.Says {
		p.changed = p.waited
	}
	p.last = l
	p.looks++
}
