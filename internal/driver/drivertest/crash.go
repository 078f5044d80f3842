package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// World is a fresh practice cluster for one case.
type World = rehearse.World

// way is how a run can be cut off and taken up again.
type way struct {
	name  string
	first []string // verbs carried out before, each to its end
	verb  string   // the verb in which the tool dies
	after string
	want  run.State
}

var ways = []way{
	{"apply then resume", nil, "apply", "resume", run.Upgraded},
	{"apply then rollback", nil, "apply", "rollback", run.RolledBack},
	{"rollback then rollback", []string{"apply"}, "rollback", "rollback", run.RolledBack},
	{"commit then commit", []string{"apply"}, "commit", "commit", run.Committed},
}

// EveryPair kills the tool twice: behind the i-th record of a verb, and the
// next process behind the j-th of what it does, for every pair of records. Then
// the run is brought to its end and Truth is asked. stride thins the pairs out
// (1: all of them). It returns how many pairs there were.
func EveryPair(t *testing.T, open func(testing.TB) World, stride int) int {
	t.Helper()
	pairs := 0
	for _, c := range ways {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			n := 0
			for i, more := 1, true; more; i++ {
				for j, again := 1, true; again; j += max(1, stride) {
					met, err := crashTwice(t.Context(), open(t), c, i, j)
					if err != nil {
						t.Fatalf("killed in %s behind record %d, then in %s behind record %d: %v", c.verb, i, c.after, j, err)
					}
					more, again = met > 0, met > 1
					n++
				}
				i += max(1, stride) - 1
			}
			pairs += n
			t.Logf("%d pairs of step boundaries", n)
		})
	}
	return pairs
}

// crashTwice returns how many of the two deaths were met.
func crashTwice(ctx context.Context, w World, c way, i, j int) (met int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := c.begin(ctx, w)
	if err != nil {
		return 0, err
	}
	for _, d := range []struct {
		verb string
		at   int
	}{{c.verb, i}, {c.after, j}} {
		if s.Final() != "" {
			break
		}
		death := &rehearse.Death{Record: len(s.Log.Records) + d.at}
		if _, err := s.Work(ctx, d.verb, death); err != nil && !errors.Is(err, rehearse.ErrDead) {
			return met, fmt.Errorf("%s: %w\njournal:\n%s", d.verb, err, rehearse.Transcript(s.Log.Records))
		}
		if !death.Dead() {
			break
		}
		met++
	}
	if s.Final() == "" {
		if err := s.Wants(ctx, c.after, c.want); err != nil {
			return met, fmt.Errorf("%w\njournal:\n%s", err, rehearse.Transcript(s.Log.Records))
		}
	}
	return met, w.Truth()
}

// EveryCrash kills the tool before and after every record, command and message
// of an apply, a rollback and a commit. After each death the run is resumed to
// its end and, in another world, rolled back; Truth is asked each time. stride
// thins the points out (1: all of them). It returns how many deaths there were.
func EveryCrash(t *testing.T, open func(testing.TB) World, stride int) int {
	t.Helper()
	var deaths atomic.Int64
	t.Run("ways", func(t *testing.T) {
		for _, c := range ways {
			t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
				n := 0
				if w := open(t); w.Fork != nil {
					t.Parallel()
					n = crashForked(t, w, c, max(1, stride))
				} else {
					n = crashAnew(t, open, c, max(1, stride))
				}
				deaths.Add(int64(n))
			})
		}
	})
	return int(deaths.Load())
}

// crashAnew begins with a fresh world for each death.
func crashAnew(t *testing.T, open func(testing.TB) World, c way, stride int) (deaths int) {
	t.Helper()
	points := -1
	for at := 0; points < 0 || at <= points; at += stride {
		for _, after := range []bool{false, true} {
			d := &rehearse.Death{At: at, After: after}
			if err := crashOnce(t.Context(), open(t), c, d); err != nil {
				t.Fatalf("killed in %s at point %d of %d (after the deed: %t): %v", c.verb, at, points, after, err)
			}
			if at == 0 {
				points = d.Count()
				break
			}
			deaths++
		}
	}
	t.Logf("%d points, before and after", points)
	return deaths
}

// crashForked carries the verb out once; at each point the run goes on in a
// copy of the world as after a death there.
func crashForked(t *testing.T, w World, c way, stride int) (deaths int) {
	t.Helper()
	ctx := t.Context()
	s, err := c.begin(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	d := forked(w, stride, func(at int, behind bool) bool {
		deaths++
		err := goOn(ctx, s.Fork(), c)
		if err != nil {
			t.Errorf("killed in %s at point %d (after the deed: %t): %v", c.verb, at, behind, err)
		}
		return err == nil
	})
	if _, err := s.Work(ctx, c.verb, d); err != nil {
		t.Fatalf("%s: %v", c.verb, err)
	}
	if err := goOn(ctx, s, c); err != nil {
		t.Errorf("%s that nobody killed: %v", c.verb, err)
	}
	t.Logf("%d points, %d deaths", d.Count(), deaths)
	return deaths
}

// forked watches a process and lets one be asked, at every stride-th point,
// about each world that a death there leaves, until it says no. A world that
// stands as the one before is left out: behind a command that only read, and
// before a point up to which nothing was done and no time went by.
func forked(w World, stride int, one func(at int, behind bool) bool) *rehearse.Death {
	on, seen, when := true, 0, time.Time{}
	return &rehearse.Death{Watch: func(at int, behind, reads bool) {
		now := w.Env.Clock.Now()
		if !on || at%stride != 0 || !behind && seen == at-1 && now.Equal(when) {
			return
		}
		if behind {
			seen, when = at, now
		}
		if !behind || !reads {
			on = one(at, behind)
		}
	}}
}

func crashOnce(ctx context.Context, w World, c way, d *rehearse.Death) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := c.begin(ctx, w)
	if err != nil {
		return err
	}
	if _, err := s.Work(ctx, c.verb, d); err != nil && !errors.Is(err, rehearse.ErrDead) {
		return fmt.Errorf("%s: %w", c.verb, err)
	}
	return goOn(ctx, s, c)
}

// begin starts a run and brings it to where the verb of the way is typed.
func (c way) begin(ctx context.Context, w World) (*rehearse.Story, error) {
	s, err := rehearse.Begin(ctx, w)
	if err != nil {
		return nil, err
	}
	for _, v := range c.first {
		if err := s.Wants(ctx, v, stateAfter[v]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// goOn brings a run to its end behind a death.
func goOn(ctx context.Context, s *rehearse.Story, c way) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if trail, err := run.Read(s.Log.Records); err == nil && trail.Final != "" {
		if trail.Final == run.RolledBack || c.want == trail.Final {
			return s.World.Truth()
		}
	}
	if err := s.Wants(ctx, c.after, c.want); err != nil {
		return fmt.Errorf("%w\njournal:\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	return nil
}

var stateAfter = map[string]run.State{"apply": run.Upgraded, "rollback": run.RolledBack, "commit": run.Committed}
