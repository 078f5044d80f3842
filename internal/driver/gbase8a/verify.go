package gbase8a

import (
	"context"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// Verify is U8 (G32): every node has and runs the target release, is at least
// as healthy as before, no event is left and the modes are as the run leaves them.
func (d Driver) Verify(ctx context.Context, env driver.Env, p *plan.Plan) ([]check.Finding, error) {
	o, err := d.Observe(ctx, env)
	if err != nil {
		return nil, err
	}
	s, err := siteOf(driver.Target{Env: env, Plan: p})
	if err != nil {
		return nil, err
	}
	v := o.Detail.(*view)
	out := releasesProven(o, p)
	if v.status == nil {
		return append(out, check.Finding{ID: "gbase8a-state", Severity: check.Block, Rule: "G19", Says: say.Join(": ", say.F("the cluster's state cannot be read", "无法读取集群状态"), say.Of(v.err))}), nil
	}
	for _, f := range s.fallen(v, s.endMode(v)) {
		f.ID = "gbase8a-state"
		out = append(out, f)
	}
	events, err := s.events(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range events {
		f.ID = "gbase8a-events"
		out = append(out, f)
	}
	return append(out, s.snapshotsProven(ctx)...), nil
}

func releasesProven(o driver.Observation, p *plan.Plan) []check.Finding {
	var out []check.Finding
	for _, n := range o.Nodes {
		f := check.Finding{ID: "gbase8a-release", Severity: check.Pass, Node: n.Name, Rule: "G32", Says: say.F("it runs %s", "正在运行 %s", n.Running)}
		switch {
		case !n.Reachable:
			f.Severity, f.Says = check.Block, say.F("it does not answer: %s", "没有应答：%s", n.Trouble)
		case n.Installed != p.To:
			f.Severity, f.Says = check.Block, say.F("it has %s installed, not %s", "安装的是 %s，而不是 %s", n.Installed, p.To)
		case n.Running != p.To:
			f.Severity, f.Says = check.Block, say.F("it runs %q, not %s", "正在运行 %q，而不是 %s", n.Running, p.To)
		}
		out = append(out, f)
	}
	return out
}

// endMode is the mode that the cluster may have now: READONLY while the run
// holds it for the commit, NORMAL otherwise.
func (s *site) endMode(v *view) string {
	held := s.plan.Request.Component == "" && s.opts.Hold == "readonly"
	for _, vc := range v.names {
		if held && v.vcs[vc].Mode == "READONLY" {
			return "READONLY"
		}
	}
	return "NORMAL"
}

// snapshotsProven shows the newest snapshot of every gcware node; one behind
// the others is told.
func (s *site) snapshotsProven(ctx context.Context) []check.Finding {
	dirs, err := s.allSnapshots(ctx)
	if err != nil {
		return []check.Finding{{ID: "gbase8a-snapshots", Severity: check.Warn, Rule: "G02", Says: say.F("the snapshots cannot be listed: %v", "无法列出快照：%v", err)}}
	}
	var rows []string
	for _, m := range s.gcware() {
		d := dirs[m.Name]
		newest, _ := d.Newest()
		rows = append(rows, m.Name+" "+newest.String())
	}
	slices.Sort(rows)
	return []check.Finding{{ID: "gbase8a-snapshots", Severity: check.Pass, Rule: "G13", Says: say.F("newest snapshots: %s", "最新快照：%s", strings.Join(rows, ", "))}}
}
