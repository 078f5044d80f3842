package wait_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// TestAWaitWithoutADeadlineIsRefused: it is an error before the first look (I9).
func TestAWaitWithoutADeadlineIsRefused(t *testing.T) {
	t.Parallel()
	err := wait.For(t.Context(), wait.Real{}, wait.Spec{What: say.F("x", "x")}, nil, func(context.Context) (wait.Look, error) {
		t.Error("it was looked at")
		return wait.Look{Done: true}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "has no deadline") {
		t.Errorf("got %v", err)
	}
}

// instant is a clock whose Sleep returns at once and moves the time on.
type instant struct{ now time.Time }

func (c *instant) Now() time.Time { return c.now }

func (c *instant) Sleep(_ context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	return nil
}

// TestWhatDoesNotChangeIsLookedAtLessOften: the deadline is met to the moment,
// and no look comes later than a fiftieth of the time in which nothing changed.
func TestWhatDoesNotChangeIsLookedAtLessOften(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		left  func(looks int) float64
		looks int
	}{
		"nothing changes":         {func(int) float64 { return 1 }, 258},
		"each look sees a change": {func(looks int) float64 { return float64(-looks) }, 3001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clk := &instant{time.Unix(0, 0)}
			looks, last, gap := 0, clk.now, time.Duration(0)
			spec := wait.Spec{What: say.F("x", "x"), Deadline: 5 * time.Minute}
			err := wait.For(t.Context(), clk, spec, nil, func(context.Context) (wait.Look, error) {
				looks++
				gap = max(gap, clk.now.Sub(last))
				last = clk.now
				return wait.Look{Left: tc.left(looks)}, nil
			})
			var late *wait.Error
			if !errors.As(err, &late) || late.Waited != spec.Deadline {
				t.Errorf("got %v", err)
			}
			if looks > tc.looks+1 || looks < tc.looks*9/10 || gap > 6*time.Second {
				t.Errorf("%d looks, about %d expected; the longest pause was %s", looks, tc.looks, gap)
			}
		})
	}
}

// backwards is a clock that is set back by an hour at its third sleep.
type backwards struct {
	now    time.Time
	sleeps int
}

func (c *backwards) Now() time.Time { return c.now }

func (c *backwards) Sleep(_ context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	if c.sleeps++; c.sleeps == 3 {
		c.now = c.now.Add(-time.Hour)
	}
	return nil
}

// TestAClockThatIsSetBackDoesNotProlongAWait (I9, docs/bugs.md B-119).
func TestAClockThatIsSetBackDoesNotProlongAWait(t *testing.T) {
	t.Parallel()
	c := &backwards{now: time.Unix(1e9, 0)}
	err := wait.For(t.Context(), c, wait.Spec{What: say.Same("nothing"), Deadline: time.Minute, Every: time.Second}, nil,
		func(context.Context) (wait.Look, error) { return wait.Look{}, nil })
	if _, late := errors.AsType[*wait.Error](err); !late || c.sleeps > 60 {
		t.Errorf("%v after %d sleeps", err, c.sleeps)
	}
}

// TestAWaitEndsWhereNothingMovesAnyMore: what shrinks, however slowly, is waited
// for until the deadline; what stands still, or grows again, ends the wait (I9).
func TestAWaitEndsWhereNothingMovesAnyMore(t *testing.T) {
	t.Parallel()
	const stall = time.Minute
	for name, tc := range map[string]struct {
		left    func(gone time.Duration) float64
		stalled bool
		ends    time.Duration
	}{
		"it shrinks by little":          {func(gone time.Duration) float64 { return 1000 - float64(gone/(50*time.Second)) }, false, time.Hour},
		"it stands still at once":       {func(time.Duration) float64 { return 7 }, true, stall},
		"it grows":                      {func(gone time.Duration) float64 { return gone.Seconds() }, true, stall},
		"it stands still after a while": {func(gone time.Duration) float64 { return 1000 - min(600, gone.Seconds()) }, true, 11 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clk := &instant{time.Unix(0, 0)}
			began, looks := clk.now, 0
			spec := wait.Spec{What: say.F("x", "x"), Deadline: time.Hour, Stall: stall, Every: time.Second}
			err := wait.For(t.Context(), clk, spec, nil, func(context.Context) (wait.Look, error) {
				if looks++; looks > 10000 {
					return wait.Look{}, errors.New("nobody ended it")
				}
				return wait.Look{Left: tc.left(clk.now.Sub(began))}, nil
			})
			var ended *wait.Error
			if !errors.As(err, &ended) || ended.Stalled != tc.stalled || ended.Waited < tc.ends || ended.Waited > tc.ends+3*time.Second {
				t.Errorf("got %v; after %s, stalled %t was expected", err, tc.ends, tc.stalled)
			}
		})
	}
}
