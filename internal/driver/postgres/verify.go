package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// Verify reads everything again (I6) and compares it with the plan and with
// the health before (I7).
func (d *Driver) Verify(ctx context.Context, env driver.Env, p *plan.Plan) ([]check.Finding, error) {
	v, err := look(ctx, env)
	if err != nil {
		return nil, err
	}
	var out []check.Finding
	for _, n := range v.Nodes {
		out = append(out, verifyNode(n, p)...)
	}
	out = append(out, v.verifyRoles()...)
	if len(check.Blocking(out)) > 0 {
		return out, nil
	}
	moved, err := v.verifyMovement(ctx, env)
	return append(out, moved...), err
}

func verifyNode(n *seen, p *plan.Plan) []check.Finding {
	if !n.Reachable || !n.SQL {
		why := n.Trouble
		if why.IsZero() {
			why = say.F("no server runs", "服务器未运行")
		}
		return []check.Finding{{ID: "verify.answers", Severity: check.Block, Node: n.Name, Says: why, Next: say.F("shiplift status", "shiplift status")}}
	}
	releases := check.Finding{ID: "verify.release", Severity: check.Pass, Node: n.Name,
		Says:     say.F("runs %s, and %s would be started next", "运行 %s，下次启动为 %s", n.ID.Version, n.Installed),
		Evidence: n.Proc.Exe + " → " + n.ID.Version + "; " + n.current() + " → " + n.Link}
	if n.ID.Version != p.To || n.Installed != p.To || releaseOfExe(n.Proc.Exe) != p.To {
		releases.Severity = check.Block
		releases.Next = say.F("shiplift resume, or shiplift rollback", "shiplift resume 或 shiplift rollback")
	}
	out := []check.Finding{releases}
	before, known := p.Before[n.Name]
	if now := n.health(); known && healthRank(now) < healthRank(before.Health) {
		out = append(out, check.Finding{ID: "verify.health", Severity: check.Block, Node: n.Name,
			Says: say.F("its health fell from %q to %q", "健康状态从 %q 降为 %q", before.Health, now),
			Next: say.F("look at the server's log; then: shiplift verify", "请查看服务器日志，然后执行：shiplift verify")})
	}
	if slices.ContainsFunc(n.Slots, func(s slot) bool { return s.Name == holdSlot }) {
		out = append(out, check.Finding{ID: "verify.slots", Severity: check.Warn, Node: n.Name,
			Says: say.F("the run's slot %s is still there and keeps WAL", "升级使用的复制槽 %s 仍在，会持续保留 WAL", holdSlot),
			Next: say.F("select pg_drop_replication_slot('%s')", "select pg_drop_replication_slot('%s')", holdSlot)})
	}
	return out
}

func (v *view) verifyRoles() []check.Finding {
	f := check.Finding{ID: "verify.one-primary", Severity: check.Pass, Says: say.F("exactly one node accepts writes", "恰好一个节点可写")}
	ps := v.primaries()
	if len(ps) != 1 {
		f.Severity, f.Says = check.Block, say.F("%d nodes accept writes: %s", "%d 个节点可写：%s", len(ps), strings.Join(nodeNames(ps), ", "))
		f.Next = say.F("shiplift status", "shiplift status")
		return []check.Finding{f}
	}
	f.Evidence = fmt.Sprintf("%s, timeline %d", ps[0].Name, ps[0].ID.Timeline)
	out := []check.Finding{f}
	names, err := parseSyncNames(ps[0].Settings["synchronous_standby_names"].Value)
	if err != nil || names.off() {
		return out
	}
	var here []string
	for _, s := range ps[0].Senders {
		here = append(here, s.App)
	}
	sync := check.Finding{ID: "verify.sync", Severity: check.Pass, Node: ps[0].Name, Evidence: "synchronous_standby_names = " + names.String(),
		Says: say.F("the standbys that commits wait for are there", "同步提交所需的备库均在线")}
	if names.relaxed(here).String() != names.String() {
		sync.Severity, sync.Says = check.Block, say.F("commits wait for standbys that are not there", "提交正在等待不在线的同步备库")
		sync.Next = say.F("bring them back, or alter synchronous_standby_names", "恢复这些备库，或调整 synchronous_standby_names")
	}
	return append(out, sync)
}

// verifyMovement proves that every standby follows: its position moves twice.
func (v *view) verifyMovement(ctx context.Context, env driver.Env) ([]check.Finding, error) {
	p, err := findPrimary(ctx, env)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, noPrimary()
	}
	defer p.close()
	var out []check.Finding
	for _, n := range v.Nodes {
		if n.Name == p.Name {
			continue
		}
		s, err := siteOf(env, n.Name)
		if err != nil {
			return nil, err
		}
		f := check.Finding{ID: "verify.follows", Severity: check.Pass, Node: n.Name,
			Says: say.F("follows: its position moved twice", "正常跟随：位点连续前进两次")}
		if err := s.proveFollows(ctx, p.conn, "", func(say.Text) {}); err != nil {
			f.Severity, f.Says = check.Block, say.Of(err)
			f.Next = say.F("look at the server's log on %s", "请查看 %s 的服务器日志", n.Name)
		}
		out = append(out, f)
	}
	return out, nil
}
