package drivertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
)

// Hear lets the driver hear something else from a node than the node says:
// edit gets what every command says whose words hold part, each
// stream for itself. An
// empty node means all of them. It is for what the simulator cannot be brought
// to, or only by hours of play: each guard needs one answer that it refuses.
func Hear(env driver.Env, node, part string, edit func(said string) string) {
	each(env, node, part, func(_ host.Cmd, res host.Result, err error) (host.Result, error) {
		res.Stdout = []byte(edit(string(res.Stdout)))
		if len(res.Stderr) > 0 {
			res.Stderr = []byte(edit(string(res.Stderr)))
		}
		return res, err
	})
}

// HearExit lets such commands end with a status instead, without being run.
func HearExit(env driver.Env, node, part string, code int) {
	for name := range env.Hosts {
		if node == "" || node == name {
			env.Hosts[name] = &heard{Host: env.Hosts[name], part: part, instead: func(c host.Cmd) (host.Result, error) {
				if code == 0 {
					return host.Result{}, nil
				}
				return host.Result{}, &host.ExitError{Node: name, Argv: c.Argv, Code: code}
			}}
		}
	}
}

// HearNothing lets commands that change do nothing and claim success.
func HearNothing(env driver.Env, node, part string) { HearExit(env, node, part, 0) }

func each(env driver.Env, node, part string, edit func(host.Cmd, host.Result, error) (host.Result, error)) {
	for name := range env.Hosts {
		if node == "" || node == name {
			env.Hosts[name] = &heard{Host: env.Hosts[name], part: part, edit: edit}
		}
	}
}

type heard struct {
	host.Host
	part    string
	edit    func(host.Cmd, host.Result, error) (host.Result, error)
	instead func(host.Cmd) (host.Result, error)
}

func (h *heard) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if !strings.Contains(strings.Join(c.Argv, " "), h.part) {
		return h.Host.Run(ctx, c)
	}
	if h.instead != nil {
		return h.instead(c)
	}
	res, err := h.Host.Run(ctx, c)
	return h.edit(c, res, err)
}

// Target is what run hands to the action of a plan's step, with the memo that
// its Prepare gives now.
func Target(t testing.TB, d driver.Driver, env driver.Env, p *plan.Plan, step string) (driver.Action, driver.Target) {
	t.Helper()
	i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.ID == step })
	if i < 0 {
		t.Fatalf("the plan has no step %s", step)
	}
	a, ok := d.Action(p.Steps[i].Kind)
	if !ok {
		t.Fatalf("the driver has no action %s", p.Steps[i].Kind)
	}
	target := driver.Target{Env: env, Plan: p, Step: p.Steps[i], MemoOf: func(string) driver.Memo { return nil }}
	memo, err := a.Prepare(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	target.Memo = memo
	return a, target
}

// Refuses wants an error that holds part.
func Refuses(t testing.TB, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(fmt.Sprint(err), part) {
		t.Errorf("got %v, want a refusal with …%s…", err, part)
	}
}

// ProvenAgain wants the probe of every step that only reads to say "not
// applied": what held before a crash is proven once more, never believed (I2).
func ProvenAgain(t testing.TB, d driver.Driver, env driver.Env, p *plan.Plan) {
	t.Helper()
	proofs := 0
	for _, s := range p.Steps {
		if s.Class != plan.ReadOnly || s.Kind == plan.VerifyKind || s.Gate != nil {
			continue
		}
		a, ok := d.Action(s.Kind)
		if !ok {
			t.Errorf("no action %s", s.Kind)
			continue
		}
		proofs++
		target := driver.Target{Env: env, Plan: p, Step: s, MemoOf: func(string) driver.Memo { return nil }}
		if got, err := a.Probe(t.Context(), target); err == nil && got != driver.NotApplied {
			t.Errorf("the probe of %s says %q: what it proves would not be proven again", s.ID, got)
		}
	}
	if proofs == 0 {
		t.Error("the plan has no step that only reads")
	}
}
