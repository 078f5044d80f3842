package rehearse_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// pair is a case of two simulated PostgreSQL servers; bend changes its worlds.
func pair(t *testing.T, bend func(*rehearse.World)) rehearse.Case {
	t.Helper()
	pkg, err := pgsim.WritePackage(t.TempDir(), "15.17")
	if err != nil {
		t.Fatal(err)
	}
	var lab *pgsim.Lab
	of := func(w rehearse.World, room *sim.World) rehearse.World {
		l := lab.Of(room)
		w.Sim, w.Truth, w.Mend, w.Env.Hosts, w.Env.Clock = room, l.Truth, l.Mend, room.Hosts(), room
		if bend != nil {
			bend(&w)
		}
		return w
	}
	return rehearse.Case{Name: "pair", Hooks: pgsim.Hooks(), Open: rehearse.Forked(func() (rehearse.World, error) {
		if lab, err = pgsim.Start(pgsim.Options{Nodes: 2, Slots: true, Release: "15.16", CutScript: postgres.CutScript}); err != nil {
			return rehearse.World{}, err
		}
		return of(rehearse.World{
			Driver: postgres.New(), Request: plan.Request{To: "15.17", Mode: "rolling", Packages: []string{pkg}}, Secrets: []string{pgsim.Secret},
			Env: driver.Env{Inventory: lab.Inventory, Serial: true},
		}, lab.World), nil
	}, of)}
}

// TestEveryTroubleStrikes plays with one kind of trouble at a time: in some of
// the runs it strikes, and some of those do not go as if nothing had been.
func TestEveryTroubleStrikes(t *testing.T) {
	t.Parallel()
	c := pair(t, nil)
	// What strikes without that the run must notice it: a clock that was set, a
	// slow command, a second operator who is refused.
	quiet := []string{"clock jumps", "slow", "second operator"}
	for _, kind := range rehearse.Troubles() {
		t.Run(strings.ReplaceAll(kind, " ", "_"), func(t *testing.T) {
			t.Parallel()
			c := c
			c.Only = kind
			struck, troubled := 0, 0
			for seed := uint64(1); seed <= 12; seed++ {
				p, err := rehearse.Play(t.Context(), c, seed)
				if err != nil {
					t.Fatalf("%v\n%s", err, p.Tell())
				}
				if !slices.Contains(p.Struck, kind) {
					continue
				}
				struck++
				if noticed(p) {
					troubled++
				}
			}
			if struck == 0 || troubled == 0 && !slices.Contains(quiet, kind) {
				t.Errorf("struck in %d runs, noticed in %d", struck, troubled)
			}
		})
	}
}

// TestTroublesStrikeAnywhere: over some seeds they strike in each tenth of a run
// that nothing else disturbs, its last one among them.
func TestTroublesStrikeAnywhere(t *testing.T) {
	t.Parallel()
	c := pair(t, nil)
	w, err := c.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	before := w.Sim.Commands()
	s, err := rehearse.Begin(t.Context(), w)
	if err == nil {
		err = s.Wants(t.Context(), "apply", run.Upgraded)
	}
	if err == nil {
		err = s.Wants(t.Context(), "commit", run.Committed)
	}
	if err != nil {
		t.Fatal(err)
	}
	commands := w.Sim.Commands() - before
	c.Only = "link lost after"
	struck := map[int]bool{}
	for seed := uint64(1); seed <= 150; seed++ {
		p, err := rehearse.Play(t.Context(), c, seed)
		if err != nil {
			t.Fatalf("%v\n%s", err, p.Tell())
		}
		for _, f := range p.Faults {
			_, from, _ := strings.Cut(f, "from command ")
			at := 0
			if _, err := fmt.Sscan(from, &at); err != nil {
				t.Fatal(f)
			}
			if len(p.Struck) > 0 {
				struck[10*(at-before-1)/commands] = true
			}
		}
	}
	for tenth := range 10 {
		if !struck[tenth] {
			t.Errorf("nothing struck in tenth %d of %d commands", tenth+1, commands)
		}
	}
}

// noticed: a process more than apply and what follows it, or a step that did not go through at once.
func noticed(p *rehearse.Played) bool {
	return p.Processes > 2 || p.Troubled != "" || slices.ContainsFunc(p.Log.Records, func(r journal.Record) bool {
		return r.Kind == journal.Outcome && r.Result != journal.OK
	})
}

// TestTheSameSeedTellsTheSameStory plays seeds twice.
func TestTheSameSeedTellsTheSameStory(t *testing.T) {
	t.Parallel()
	c := pair(t, nil)
	for seed := uint64(1); seed <= 8; seed++ {
		var told [2]string
		for i := range told {
			p, err := rehearse.Play(t.Context(), c, seed)
			if err != nil {
				t.Fatalf("%v\n%s", err, p.Tell())
			}
			told[i] = p.Tell() + p.Took.String()
		}
		if told[0] != told[1] {
			t.Errorf("seed %d:\n%s\n%s", seed, told[0], told[1])
		}
	}
}

// chatty is the driver with an action that tells the secret in its memo.
type chatty struct{ driver.Driver }

func (d chatty) Action(kind string) (driver.Action, bool) {
	a, ok := d.Driver.Action(kind)
	return chattyAction{a}, ok
}

type chattyAction struct{ driver.Action }

func (a chattyAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	_, err := a.Action.Prepare(ctx, t)
	return driver.Memo(`{"password":"` + pgsim.Secret + `"}`), err
}

// wordy is the driver that gives a password to a command as a word.
type wordy struct{ driver.Driver }

func (d wordy) Verify(ctx context.Context, env driver.Env, p *plan.Plan) ([]check.Finding, error) {
	if _, err := env.Hosts["db1"].Run(ctx, host.Read("echo", "password="+pgsim.Secret)); err != nil {
		return nil, err
	}
	return d.Driver.Verify(ctx, env, p)
}

// endless is the driver with a check of the result that never ends.
type endless struct{ driver.Driver }

func (d endless) Verify(ctx context.Context, env driver.Env, p *plan.Plan) ([]check.Finding, error) {
	for ctx.Err() == nil {
		if _, err := env.Hosts["db1"].Run(ctx, host.Read("true")); err != nil {
			return nil, err
		}
	}
	return nil, context.Cause(ctx)
}

// TestWhatMustNotBeIsFound breaks one thing that must hold.
func TestWhatMustNotBeIsFound(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		bend func(*rehearse.World)
		says string
	}{
		"a secret in a memo": {func(w *rehearse.World) { w.Driver = chatty{w.Driver} }, "a secret is seen in record"},
		"a secret in the words of a command": {func(w *rehearse.World) {
			w.Driver = wordy{w.Driver}
		}, "a secret is seen in the words of a command"},
		"a run that hangs": {func(w *rehearse.World) { w.Driver = endless{w.Driver} }, "the run hangs: more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pair(t, tc.bend)
			p, err := rehearse.Play(t.Context(), c, 1)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %q\n%s", err, tc.says, p.Tell())
			}
		})
	}
}
