package main

import (
	"context"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

// ask runs the driver's checks. A check that is skipped by an id that does not
// exist is refused: a slip of the pen must not read as a decision.
func (r *room) ask(ctx context.Context, o driver.Observation, req plan.Request) ([]check.Finding, error) {
	checks := r.driver.Checks(r.env, o, req)
	var ids []string
	for _, c := range checks {
		ids = append(ids, c.ID)
	}
	for _, s := range req.Skip {
		if !slices.Contains(ids, s.ID) {
			return nil, usage("--skip", say.F("no check %q; the checks: %s", "没有检查 %q；可用检查：%s", s.ID, strings.Join(ids, ", ")), say.Same(r.app.command("check")))
		}
	}
	fs := check.Run(ctx, checks, req.Skip)
	return fs, context.Cause(ctx)
}

// mustName refuses a request whose node names the inventory does not have.
func (r *room) mustName(req plan.Request) error {
	for _, n := range req.Nodes {
		if err := r.mustHave("--nodes", n); err != nil {
			return err
		}
	}
	if req.Candidate != "" {
		return r.mustHave("--candidate", req.Candidate)
	}
	return nil
}

func (r *room) mustHave(flag, node string) error {
	if _, ok := r.inv.Node(node); ok {
		return nil
	}
	return usage(flag, say.F("no node %q in %s; it has %s", "%[2]s 中没有节点 %[1]q；已有 %[3]s", node, r.inv.Path, strings.Join(r.inv.Names(), ", ")), say.Text{})
}

// aims reports whether a request says what it is for: a release, a package
// that tells one, or a component's own run.
func aims(req plan.Request) bool { return req.To != "" || len(req.Packages) > 0 || req.Component != "" }

// mustTo refuses a request without a target.
func (a *app) mustTo(req plan.Request, verb string) error {
	if aims(req) {
		return nil
	}
	return usage("--to", say.F("the wanted release is missing", "缺少目标版本"), say.Same(a.command(verb, "--to", "RELEASE")))
}

func (r *room) checked(o driver.Observation, req plan.Request) view.Checked {
	return view.Checked{Cluster: r.inv.Cluster, Driver: r.driver.Name(), From: o.Release, To: req.To}
}

// blocked is the end of a verb whose checks forbid to go on.
func (r *room) blocked(fs []check.Finding) error {
	bad := check.Blocking(fs)
	if len(bad) == 0 {
		return nil
	}
	return &errBlocked{bad: bad, next: say.F("put right what blocks, or skip a check with a reason: --skip %s=REASON", "处理阻断项，或说明原因后跳过：--skip %s=原因", bad[0].ID)}
}

// draw makes a plan from what is observed now and what the operator asked for.
func (r *room) draw(ctx context.Context, req plan.Request) (*plan.Plan, []check.Finding, error) {
	if err := r.mustName(req); err != nil {
		return nil, nil, err
	}
	req = driver.WithMode(r.driver, r.inv, req)
	o, err := r.observe(ctx)
	if err != nil {
		return nil, nil, err
	}
	p, planErr := driver.Make(r.driver, r.inv, o, req, engine())
	if is[*driver.NothingToDoError](planErr) {
		return nil, nil, planErr
	}
	findings, err := r.ask(ctx, o, req)
	if err != nil {
		return nil, nil, err
	}
	return p, findings, planErr
}
