package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// World is a fresh practice cluster for one case.
type World = rehearse.World

// ways are how a run can be cut off and taken up again.
var ways = []struct {
	name  string
	first []string // verbs carried out before, each to its end
	verb  string   // the verb in which the tool dies
	after string
	want  run.State
}{
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
					met, err := crashTwice(t.Context(), open(t), c.first, c.verb, c.after, c.want, i, j)
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
func crashTwice(ctx context.Context, w World, first []string, verb, after string, want run.State, i, j int) (met int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := rehearse.Begin(ctx, w)
	if err != nil {
		return 0, err
	}
	for _, v := range first {
		if err := s.Wants(ctx, v, stateAfter[v]); err != nil {
			return 0, err
		}
	}
	for _, d := range []struct {
		verb string
		at   int
	}{{verb, i}, {after, j}} {
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
		if err := s.Wants(ctx, after, want); err != nil {
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
	ctx := t.Context()
	deaths := 0
	for _, c := range ways {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			points := -1
			for at := 0; points < 0 || at <= points; at += max(1, stride) {
				for _, after := range []bool{false, true} {
					d := &rehearse.Death{At: at, After: after}
					if err := crashOnce(ctx, open(t), c.first, c.verb, c.after, c.want, d); err != nil {
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
		})
	}
	return deaths
}

func crashOnce(ctx context.Context, w World, first []string, verb, after string, want run.State, d *rehearse.Death) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := rehearse.Begin(ctx, w)
	if err != nil {
		return err
	}
	for _, v := range first {
		if err := s.Wants(ctx, v, stateAfter[v]); err != nil {
			return err
		}
	}
	_, err = s.Work(ctx, verb, d)
	if err != nil && !errors.Is(err, rehearse.ErrDead) {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if trail, err := run.Read(s.Log.Records); err == nil && trail.Final != "" {
		if trail.Final == run.RolledBack || want == trail.Final {
			return w.Truth()
		}
	}
	if err := s.Wants(ctx, after, want); err != nil {
		return fmt.Errorf("%w\njournal:\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	return nil
}

var stateAfter = map[string]run.State{"apply": run.Upgraded, "rollback": run.RolledBack, "commit": run.Committed}
