package drivertest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
)

func toys(d driver.Driver) func(testing.TB) drivertest.World {
	return func(testing.TB) drivertest.World {
		inv, hosts := drivertest.ToyCluster(3, "1.0")
		return drivertest.World{
			Driver:  d,
			Env:     driver.Env{Hosts: hosts, Inventory: inv, Clock: rehearse.NewClock(), Serial: true},
			Request: plan.Request{To: "2.0", Mode: "rolling"},
			Truth:   func() error { return nil },
		}
	}
}

func TestToyConforms(t *testing.T) {
	t.Parallel()
	drivertest.Conform(t, toys(drivertest.Toy{}), 1)
}

// spy is a TB that remembers how it failed instead of failing.
type spy struct {
	testing.TB
	said string
}

func (s *spy) Helper() {}

func (s *spy) Fatalf(format string, args ...any) {
	s.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// broken is a toy with one action replaced.
type broken struct {
	drivertest.Toy
	kind string
	with func(driver.Action) driver.Action
}

func (b broken) Action(kind string) (driver.Action, bool) {
	a, ok := b.Toy.Action(kind)
	if kind == b.kind {
		a = b.with(a)
	}
	return a, ok
}

type idleUndo struct{ driver.Action }

func (idleUndo) Undo(context.Context, driver.Target) error { return nil }

type idleDo struct{ driver.Action }

func (idleDo) Do(context.Context, driver.Target) error { return nil }

type blind struct{ driver.Action }

func (b blind) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := b.Action.Probe(ctx, t)
	if s == driver.Half {
		s = driver.Unknown
	}
	return s, err
}

func TestConformNoticesABrokenAction(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		d    broken
		says string
	}{
		"an undo that does nothing":          {broken{kind: "upgrade", with: func(a driver.Action) driver.Action { return idleUndo{a} }}, "after undo: probe says"},
		"a do that does nothing":             {broken{kind: "stage", with: func(a driver.Action) driver.Action { return idleDo{a} }}, "after do: probe says"},
		"a probe that does not know a crash": {broken{kind: "upgrade", with: func(a driver.Action) driver.Action { return blind{a} }}, `after the death: probe says "unknown"`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &spy{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				drivertest.Conform(s, toys(tc.d), 1)
			}()
			<-done
			if !strings.Contains(s.said, tc.says) {
				t.Errorf("the suite said %q, want %q in it", s.said, tc.says)
			}
		})
	}
}
