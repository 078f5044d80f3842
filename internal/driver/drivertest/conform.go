package drivertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/say"
)

// Conform is the suite that the actions of every driver pass, step by step of
// the plan that w's request leads to: probe, do, probe, do again, probe, undo,
// probe, undo again; then killed at each command of do and of undo, found by
// the probe, brought to its end. stride thins the kill points out (1: all).
func Conform(t testing.TB, open func(testing.TB) World, stride int) {
	t.Helper()
	first := newWalk(t, open(t))
	var plain *walk // does each step once; forked at each, where worlds can be copied
	if w := open(t); w.Fork != nil {
		plain = newWalk(t, w)
	}
	deaths := 0
	for i := range first.plan.Steps {
		step := first.plan.Steps[i]
		a, ok := first.w.Driver.Action(step.Kind)
		if !ok {
			if step.Kind != plan.GateKind && step.Kind != plan.VerifyKind {
				t.Fatalf("step %s: the driver has no action %q", step.ID, step.Kind)
			}
			continue
		}
		if err := first.through(t, a, step); err != nil {
			t.Fatalf("step %s: %v", step.ID, err)
		}
		kills := &killer{open: open, index: i, step: step, stride: max(1, stride), plain: plain}
		kills.run(t)
		deaths += kills.deaths
		if plain == nil {
			continue
		}
		if err := plain.once(t, a, step); err != nil {
			t.Fatalf("step %s: %v", step.ID, err)
		}
	}
	if err := first.w.Truth(); err != nil {
		t.Errorf("after all steps: %v", err)
	}
	t.Logf("%d steps, %d deaths", len(first.plan.Steps), deaths)
}

// walk carries the steps of a plan out one after another, without a journal.
type walk struct {
	w     World
	plan  *plan.Plan
	memos map[string]driver.Memo
}

func newWalk(t testing.TB, w World) *walk {
	t.Helper()
	o, err := w.Driver.Observe(t.Context(), w.Env)
	if err != nil {
		t.Fatalf("observe: %v", err)
	}
	p, err := driver.Make(w.Driver, w.Env.Inventory, o, w.Request, "test")
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	return &walk{w: w, plan: p, memos: map[string]driver.Memo{}}
}

func (k *walk) target(step plan.Step, d *rehearse.Death) driver.Target {
	env := k.w.Env
	if d != nil {
		env.Hosts = d.Hosts(env.Hosts)
	}
	return driver.Target{
		Env: env, Plan: k.plan, Step: step, Memo: k.memos[step.ID],
		MemoOf: func(id string) driver.Memo { return k.memos[id] },
		Report: func(say.Text) {},
	}
}

func (k *walk) prepare(t testing.TB, a driver.Action, step plan.Step) error {
	memo, err := a.Prepare(t.Context(), k.target(step, nil))
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	k.memos[step.ID] = memo
	return nil
}

func (k *walk) probe(t testing.TB, a driver.Action, step plan.Step, want ...driver.Standing) (driver.Standing, error) {
	got, err := a.Probe(t.Context(), k.target(step, nil))
	if err != nil {
		return got, fmt.Errorf("probe: %w", err)
	}
	for _, w := range want {
		if got == w {
			return got, nil
		}
	}
	return got, fmt.Errorf("probe says %q, want one of %q", got, want)
}

// through is the whole life of a step that nothing disturbs; it ends done.
func (k *walk) through(t testing.TB, a driver.Action, step plan.Step) error {
	ctx := t.Context()
	if err := k.prepare(t, a, step); err != nil {
		return err
	}
	if step.Class != plan.ReadOnly {
		if _, err := k.probe(t, a, step, driver.NotApplied); err != nil {
			return fmt.Errorf("before do: %w", err)
		}
	}
	for _, when := range []string{"do", "do again"} {
		if err := a.Do(ctx, k.target(step, nil)); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		if step.Class == plan.ReadOnly {
			continue
		}
		if _, err := k.probe(t, a, step, driver.Applied); err != nil {
			return fmt.Errorf("after %s: %w", when, err)
		}
	}
	if step.Class != plan.Reversible {
		return nil
	}
	for _, when := range []string{"undo", "undo again"} {
		if err := a.Undo(ctx, k.target(step, nil)); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		if _, err := k.probe(t, a, step, driver.NotApplied); err != nil {
			return fmt.Errorf("after %s: %w", when, err)
		}
	}
	if err := k.prepare(t, a, step); err != nil {
		return err
	}
	if err := a.Do(ctx, k.target(step, nil)); err != nil {
		return fmt.Errorf("do after undo: %w", err)
	}
	return nil
}

// once does a step.
func (k *walk) once(t testing.TB, a driver.Action, step plan.Step) error {
	if err := k.prepare(t, a, step); err != nil {
		return err
	}
	if err := a.Do(t.Context(), k.target(step, nil)); err != nil {
		return fmt.Errorf("do: %w", err)
	}
	return nil
}

// fork is the walk in a world of its own.
func (k *walk) fork() *walk { return &walk{w: k.w.Fork(), plan: k.plan, memos: maps.Clone(k.memos)} }

// upTo does the steps before the one at index, and prepares that one.
func (k *walk) upTo(t testing.TB, index int) (driver.Action, error) {
	for i := range index {
		step := k.plan.Steps[i]
		a, ok := k.w.Driver.Action(step.Kind)
		if !ok {
			continue
		}
		if err := k.once(t, a, step); err != nil {
			return nil, fmt.Errorf("step %s: %w", step.ID, err)
		}
	}
	step := k.plan.Steps[index]
	a, _ := k.w.Driver.Action(step.Kind)
	return a, k.prepare(t, a, step)
}

// killer kills the tool in one step, at each point of it.
type killer struct {
	open   func(testing.TB) World
	index  int
	step   plan.Step
	stride int
	plain  *walk // stands before the step; nil: each kill begins with a fresh world
	deaths int
}

func (k *killer) run(t testing.TB) {
	t.Helper()
	kill := k.each
	if k.plain != nil {
		kill = k.forked
	}
	kill(t, "do", driver.Action.Do, (*walk).recover)
	if k.step.Class == plan.Reversible {
		kill(t, "undo", driver.Action.Undo, (*walk).undone)
	}
}

type (
	doing   func(driver.Action, context.Context, driver.Target) error
	finding func(*walk, testing.TB, driver.Action, plan.Step) error
)

// before is a walk that stands before the deed.
func (k *killer) before(t testing.TB, deed string) (w *walk, a driver.Action, err error) {
	if k.plain != nil {
		w = k.plain.fork()
		a, _ = w.w.Driver.Action(k.step.Kind)
		err = w.prepare(t, a, k.step)
	} else {
		w = newWalk(t, k.open(t))
		a, err = w.upTo(t, k.index)
	}
	if err == nil && deed == "undo" {
		if err = a.Do(t.Context(), w.target(k.step, nil)); err != nil {
			err = fmt.Errorf("do: %w", err)
		}
	}
	return w, a, err
}

// each begins anew for each point.
func (k *killer) each(t testing.TB, deed string, do doing, recover finding) {
	t.Helper()
	points := -1
	for at := 0; points < 0 || at <= points; at += k.stride {
		for _, after := range []bool{false, true} {
			d := &rehearse.Death{At: at, After: after}
			w, a, err := k.before(t, deed)
			if err == nil {
				err = do(a, t.Context(), w.target(k.step, d))
			}
			if err == nil || d.Dead() {
				err = recover(w, t, a, k.step)
			}
			if err != nil {
				t.Fatalf("step %s: killed in %s at point %d of %d (after the deed: %t): %v", k.step.ID, deed, at, points, after, err)
			}
			if at == 0 {
				points = d.Count()
				break
			}
			k.deaths++
		}
	}
}

// forked does the deed once and goes on in a copy of the world at each point.
func (k *killer) forked(t testing.TB, deed string, do doing, recover finding) {
	t.Helper()
	w, a, err := k.before(t, deed)
	if err != nil {
		t.Fatalf("step %s: %v", k.step.ID, err)
	}
	d := forked(w.w, k.stride, func(at int, behind bool) bool {
		k.deaths++
		if err := recover(w.fork(), t, a, k.step); err != nil {
			t.Errorf("step %s: killed in %s at point %d (after the deed: %t): %v", k.step.ID, deed, at, behind, err)
			return false
		}
		return true
	})
	if err = do(a, t.Context(), w.target(k.step, d)); err == nil {
		err = recover(w, t, a, k.step)
	}
	if err != nil {
		t.Fatalf("step %s: %s, not killed: %v", k.step.ID, deed, err)
	}
}

// recover is what run does with a step that it finds started (I2).
func (k *walk) recover(t testing.TB, a driver.Action, step plan.Step) error {
	standing, err := k.probe(t, a, step, driver.Applied, driver.NotApplied, driver.Half)
	if err != nil {
		return fmt.Errorf("after the death: %w", err)
	}
	if standing == driver.Half && step.Class == plan.Reversible {
		if err := a.Undo(t.Context(), k.target(step, nil)); err != nil {
			return fmt.Errorf("undo of a half-done step: %w", err)
		}
		if _, err := k.probe(t, a, step, driver.NotApplied); err != nil {
			return fmt.Errorf("after undo of a half-done step: %w", err)
		}
	}
	if standing != driver.Applied {
		if err := a.Do(t.Context(), k.target(step, nil)); err != nil {
			return fmt.Errorf("do after the death: %w", err)
		}
	}
	if step.Class != plan.ReadOnly {
		if _, err := k.probe(t, a, step, driver.Applied); err != nil {
			return fmt.Errorf("after do after the death: %w", err)
		}
	}
	return k.w.Truth()
}

// undone is what run does with an undo that was cut off.
func (k *walk) undone(t testing.TB, a driver.Action, step plan.Step) error {
	if err := a.Undo(t.Context(), k.target(step, nil)); err != nil {
		return fmt.Errorf("undo after the death: %w", err)
	}
	if _, err := k.probe(t, a, step, driver.NotApplied); err != nil {
		return errors.Join(err, k.w.Truth())
	}
	return k.w.Truth()
}
