package run

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// carryOut does one order on its hosts. It writes through ask alone, so that
// it can run beside others; its last event always ends the order.
func (r *Runner) carryOut(ctx context.Context, o Order, ask func(event) error) {
	w := worker{r: r, o: o, ask: ask, began: r.Env.Clock.Now()}
	w.attempt = r.Trail.Steps[o.Index].Attempt + 1
	w.memo = r.Trail.Steps[o.Index].Memo
	action, err := r.action(*o.Step)
	if err != nil {
		w.end(nil, err)
		return
	}
	// A link that broke gets a moment before it is tried again.
	if tries := r.tries[o.Index]; tries > 0 {
		if err := r.Env.Clock.Sleep(ctx, time.Second<<tries); err != nil {
			w.end(nil, err)
			return
		}
	}
	if timeout := o.Step.Timeout.Std(); timeout > 0 {
		if _, real := r.Env.Clock.(wait.Real); real {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, &timeoutError{o.Step.ID, timeout})
			defer cancel()
		}
	}
	switch o.Deed {
	case Probe:
		w.probe(ctx, action)
	case Undo:
		w.undo(ctx, action)
	case Do:
		w.do(ctx, action)
	case Cross, Waive:
		w.end(nil, say.Errorf("%s is no deed for a host", "%s 不是对主机的操作", o.Deed))
	}
}

type timeoutError struct {
	step  string
	after time.Duration
}

func (e *timeoutError) Error() string { return e.Say().EN }

func (e *timeoutError) Say() say.Text {
	return say.F("step %s did not end within its time limit of %s", "步骤 %s 未在时限 %s 内结束", e.step, e.after)
}

// worker is one order under way.
type worker struct {
	r       *Runner
	o       Order
	ask     func(event) error
	attempt int
	memo    json.RawMessage
	began   time.Time
}

func (w *worker) target() driver.Target {
	return driver.Target{
		Env: w.r.Env, Plan: w.r.Trail.Plan, Step: *w.o.Step, Memo: w.memo,
		MemoOf:  w.r.memoOf,
		Undoing: w.r.Trail.Back,
		Report: func(t say.Text) {
			_ = w.ask(event{index: w.o.Index, note: func() {
				w.r.tell(Event{Kind: Progress, Step: w.o.Step, Undo: w.o.Deed == Undo, Text: t})
			}})
		},
	}
}

func (w *worker) event(kind EventKind, err error) func() {
	return func() {
		w.r.tell(Event{Kind: kind, Step: w.o.Step, Undo: w.o.Deed == Undo, Attempt: w.attempt, Err: err, Took: w.r.Env.Clock.Now().Sub(w.began)})
	}
}

// end writes the last records of the order.
func (w *worker) end(records []journal.Record, err error) {
	kind := Finished
	if w.o.Deed == Probe {
		kind = Settled
	}
	_ = w.ask(event{index: w.o.Index, records: records, ends: true, err: err, link: err != nil && isLink(err) && !owes(records), note: w.event(kind, err)})
}

// owes: what is owed is not tried again by this process.
func owes(records []journal.Record) bool {
	return len(records) > 0 && records[len(records)-1].Kind == journal.Skipped
}

// begin makes the intent durable, here and in the copy on the acting node (I1).
func (w *worker) begin(ctx context.Context) error {
	rec := journal.Record{Kind: journal.Intent, Step: w.o.Step.ID, Attempt: w.attempt, Undo: w.o.Deed == Undo, Memo: w.memo}
	if rec.Undo {
		rec.Memo = nil
	}
	if err := w.ask(event{index: w.o.Index, records: []journal.Record{rec}, note: w.event(Started, nil)}); err != nil {
		return err
	}
	return w.r.Log.Barrier(ctx, w.o.Step.Acting()...)
}

func (w *worker) do(ctx context.Context, a driver.Action) {
	t := w.target()
	if w.memo == nil {
		memo, err := a.Prepare(ctx, t)
		if err != nil {
			text := say.Of(err) // nothing was begun: a remark, no outcome
			w.end([]journal.Record{{Kind: journal.Note, Step: w.o.Step.ID, Error: &text}}, err)
			return
		}
		w.memo, t.Memo = memo, memo
	}
	err := w.begin(ctx)
	if err == nil {
		err = a.Do(ctx, t)
	}
	w.end([]journal.Record{w.outcome(ctx, err)}, err)
}

func (w *worker) undo(ctx context.Context, a driver.Action) {
	err := w.begin(ctx)
	if err == nil {
		err = a.Undo(ctx, w.target())
	}
	if node, owed := w.owed(err); owed {
		w.end([]journal.Record{w.owe(node, err)}, err)
		return
	}
	rec := w.outcome(ctx, err)
	if err != nil && isLink(err) && w.r.tries[w.o.Index]+1 < linkTries {
		rec.Result = journal.Lost
	}
	w.end([]journal.Record{rec}, err)
}

// owed tells whether an undo failed only since a node does not answer. A run
// that goes back goes on past it; one that cleans a half-done step does not.
func (w *worker) owed(err error) (node string, ok bool) {
	if err == nil || !w.r.Trail.Back {
		return "", false
	}
	var owed *driver.Owed
	if errors.As(err, &owed) {
		return owed.Node, true
	}
	var gone *host.UnreachableError
	if errors.As(err, &gone) && !errors.Is(err, host.ErrHostKey) {
		return gone.Node, true
	}
	return "", false
}

func (w *worker) owe(node string, err error) journal.Record {
	text := say.Of(err)
	return journal.Record{Kind: journal.Skipped, Step: w.o.Step.ID, Owed: true, Error: &text, Node: node}
}

func (w *worker) outcome(ctx context.Context, err error) journal.Record {
	rec := journal.Record{Kind: journal.Outcome, Step: w.o.Step.ID, Attempt: w.attempt, Undo: w.o.Deed == Undo, Result: journal.OK}
	if err == nil {
		return rec
	}
	rec.Result = journal.Failed
	if ctx.Err() != nil {
		rec.Result = journal.Lost
	}
	text := say.Of(err)
	rec.Error = &text
	return rec
}

// probe settles a step that was found started or failed (I2).
func (w *worker) probe(ctx context.Context, a driver.Action) {
	standing, err := a.Probe(ctx, w.target())
	if err != nil {
		if node, owed := w.owed(err); owed {
			w.end([]journal.Record{w.owe(node, err)}, err)
			return
		}
		if isLink(err) && w.r.tries[w.o.Index]+1 < linkTries {
			w.end(nil, err)
			return
		}
		standing = driver.Unknown
	}
	rec := journal.Record{Kind: journal.Probed, Step: w.o.Step.ID, Standing: string(standing)}
	if err != nil {
		text := say.Of(err)
		rec.Error = &text
	}
	_ = w.ask(event{index: w.o.Index, records: []journal.Record{rec}, ends: true, note: func() {
		w.r.tell(Event{Kind: Settled, Step: w.o.Step, Text: standingText(standing), Err: err})
	}})
}

func standingText(s driver.Standing) say.Text {
	zh := map[driver.Standing]string{
		driver.Applied: "已生效", driver.NotApplied: "未生效", driver.Half: "只完成一半，先撤销", driver.Unknown: "无法判断，需要人工查看",
	}
	en := string(s)
	switch s {
	case driver.Half:
		en = "half done: undone first"
	case driver.Unknown:
		en = "unknown: a person must look"
	case driver.Applied, driver.NotApplied:
	}
	return say.Text{EN: en, ZH: zh[s]}
}

func (r *Runner) memoOf(id string) driver.Memo {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.Trail.Step(id); s != nil {
		return s.Memo
	}
	return nil
}

func (r *Runner) action(s plan.Step) (driver.Action, error) {
	if s.Kind == plan.VerifyKind {
		return verifyAction{r.Driver}, nil
	}
	if a, ok := r.Driver.Action(s.Kind); ok {
		return a, nil
	}
	return nil, &say.Problem{
		Place: s.ID,
		Text:  say.F("driver %s has no action %q: the plan was made by another version of shiplift", "驱动 %s 没有动作 %q：该计划由其他版本的 shiplift 生成", r.Driver.Name(), s.Kind),
		Next:  say.F("shiplift plan", "shiplift plan"),
	}
}

// verifyAction proves the result as a step of the plan.
type verifyAction struct{ d driver.Driver }

func (verifyAction) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

// Probe never says applied: what was proven before a crash is proven again.
func (verifyAction) Probe(context.Context, driver.Target) (driver.Standing, error) {
	return driver.NotApplied, nil
}

func (v verifyAction) Do(ctx context.Context, t driver.Target) error {
	findings, err := v.d.Verify(ctx, t.Env, t.Plan)
	if err != nil {
		return err
	}
	if bad := check.Blocking(findings); len(bad) > 0 {
		return &UnprovenError{Findings: bad}
	}
	return nil
}

func (verifyAction) Undo(context.Context, driver.Target) error { return nil }

// UnprovenError says that the result could not be proven: what fell, and on which node.
type UnprovenError struct{ Findings []check.Finding }

func (e *UnprovenError) Error() string { return e.Say().EN }

// Say names each finding with its node.
func (e *UnprovenError) Say() say.Text {
	parts := []say.Text{say.F("the result is not proven", "结果未得到证明")}
	for _, f := range e.Findings {
		p := f.Says
		if f.Node != "" {
			p = say.Text{EN: f.Node + ": " + p.EN, ZH: f.Node + "：" + p.In(say.Chinese)}
		}
		parts = append(parts, p)
	}
	return say.Join("; ", parts...)
}
