package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
)

// World is a fresh practice cluster for one case. Env is Serial and its clock
// virtual, so that the same case always goes the same way.
type World struct {
	Driver  driver.Driver
	Env     driver.Env
	Request plan.Request
	// Truth is asked after each case, from what the simulator knows and not
	// from what the tool believes: two primaries, lost writes, rules broken.
	Truth func() error
	// Accept are the one-way gates the case crosses besides commit.
	Accept []string
}

// Story is one case: what is done to a world, with the tool killed on the way.
type Story struct {
	World World
	Log   *Memory
}

// Begin observes, plans and starts a run.
func Begin(ctx context.Context, w World) (*Story, error) {
	o, err := w.Driver.Observe(ctx, w.Env)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	p, err := driver.Make(w.Driver, w.Env.Inventory, o, w.Request, "test")
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	s := &Story{World: w, Log: &Memory{}}
	if _, err := run.Start(ctx, s.Log, "run", p, nil, w.Env.Clock.Now()); err != nil {
		return nil, err
	}
	return s, nil
}

// Work lets a new process take the run up, which dies as d says; nil d never dies.
func (s *Story) Work(ctx context.Context, verb string, d *Death) (run.Outcome, error) {
	trail, err := run.Read(s.Log.Records)
	if err != nil {
		return run.Outcome{}, err
	}
	opts := run.Options{Verb: verb, Accept: s.World.Accept, Parallel: 1}
	if verb == "commit" {
		opts.Accept = append([]string{plan.CommitGate}, opts.Accept...)
	}
	env := s.World.Env
	s.Log.d = d
	if d != nil {
		env.Hosts = d.Hosts(env.Hosts)
	}
	r := &run.Runner{Driver: s.World.Driver, Env: env, Log: s.Log, Trail: trail, Options: opts}
	out, err := r.Work(ctx, journal.Who{User: "dba", Host: "control"}, 1)
	s.Log.d = nil
	return out, err
}

// wants works until the run stands at want, as an operator would type the same
// verb again, and asks the truth.
func (s *Story) wants(ctx context.Context, verb string, want run.State) error {
	var out run.Outcome
	for range 3 {
		var err error
		if out, err = s.Work(ctx, verb, nil); err != nil {
			return fmt.Errorf("%s: %w", verb, err)
		}
		if out.State == want {
			return s.World.Truth()
		}
	}
	return fmt.Errorf("%s ended %s at step %q: %s (gate %q)", verb, out.State, out.Step, out.Why.EN, out.Gate)
}

// EveryCrash kills the tool before and after every record, command and message
// of an apply, a rollback and a commit. After each death the run is resumed to
// its end and, in another world, rolled back; Truth is asked each time. stride
// thins the points out (1: all of them). It returns how many deaths there were.
func EveryCrash(t *testing.T, open func(testing.TB) World, stride int) int {
	t.Helper()
	ctx := t.Context()
	deaths := 0
	for _, c := range []struct {
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
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			points := -1
			for at := 0; points < 0 || at <= points; at += max(1, stride) {
				for _, after := range []bool{false, true} {
					d := &Death{At: at, After: after}
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

func crashOnce(ctx context.Context, w World, first []string, verb, after string, want run.State, d *Death) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := Begin(ctx, w)
	if err != nil {
		return err
	}
	for _, v := range first {
		if err := s.wants(ctx, v, stateAfter[v]); err != nil {
			return err
		}
	}
	_, err = s.Work(ctx, verb, d)
	if err != nil && !errors.Is(err, ErrDead) {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if trail, err := run.Read(s.Log.Records); err == nil && trail.Final != "" {
		if trail.Final == run.RolledBack || want == trail.Final {
			return w.Truth()
		}
	}
	if err := s.wants(ctx, after, want); err != nil {
		return fmt.Errorf("%w\njournal:\n%s", err, Transcript(s.Log.Records))
	}
	return nil
}

var stateAfter = map[string]run.State{"apply": run.Upgraded, "rollback": run.RolledBack, "commit": run.Committed}

// Transcript prints records as a person would note them down.
func Transcript(records []journal.Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%4d %-8s", r.Seq, r.Kind)
		for _, w := range []string{r.Verb, r.Step, string(r.Result), r.Standing, r.State, r.Reason} {
			if w != "" {
				b.WriteString(" " + w)
			}
		}
		if r.Undo {
			b.WriteString(" (undo)")
		}
		if r.Error != nil {
			b.WriteString(" — " + r.Error.EN)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
