package opengauss

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Verify proves the result from state that is read again (I6), and that every
// node is at least as well as it was when the plan was made (I7).
func (d *Driver) Verify(ctx context.Context, env driver.Env, p *plan.Plan) ([]check.Finding, error) {
	if p.Request.Component == componentCM {
		return verifyCM(ctx, env, p)
	}
	var v *view
	var fs []check.Finding
	// A node that has just come up, or a role that has just moved, needs a moment.
	spec := wait.Spec{What: say.F("the cluster is as it shall be", "集群达到应有状态"), Deadline: 60 * time.Second, Every: 2 * time.Second}
	err := wait.For(ctx, env.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		o, err := d.Observe(ctx, env)
		if err != nil {
			return wait.Look{}, err
		}
		v = o.Detail.(*view)
		fs = v.prove(p)
		return wait.Look{Done: len(check.Blocking(fs)) == 0}, nil
	})
	if v == nil || ctx.Err() != nil {
		return nil, err
	}
	fs = append(fs, v.proveSQL(ctx, env)...)
	fs = append(fs, v.proveTools(ctx, p)...)
	// What the machines lack was so before too: it is told, and blocks nothing here.
	found, err := (&asker{env: env, v: v}).osCheck(ctx)
	for _, f := range found {
		f.ID, f.Severity = "os-check", check.Warn
		fs = append(fs, f)
	}
	return fs, err
}

func finding(id string, sev check.Severity, node string, says say.Text, evidence string) check.Finding {
	return check.Finding{ID: id, Severity: sev, Node: node, Says: says, Evidence: evidence}
}

// wanted is what the plan wants to be installed: commit and, of a big upgrade
// that is not committed, the number it works as.
func wanted(p *plan.Plan) (commit, number string) {
	for _, s := range p.Steps {
		if c := s.Args["commit"]; c != "" {
			return c, s.Args["old-number"]
		}
	}
	return "", ""
}

// prove holds what was read against the plan.
func (v *view) prove(p *plan.Plan) []check.Finding {
	var fs []check.Finding
	block := func(id, node string, says say.Text, evidence string) {
		fs = append(fs, finding(id, check.Block, node, says, evidence))
	}
	commit, number := wanted(p)
	for _, n := range v.Nodes {
		switch {
		case !n.Up || n.Trouble != nil:
			block("verify-reachable", n.Name, say.F("the node cannot be read", "无法读取该节点"), fmt.Sprint(n.Trouble))
			continue
		case !n.SQL:
			block("verify-server", n.Name, say.F("the server does not answer", "服务无应答"), fmt.Sprintf("%s %s %v", n.HA.Process, n.HA.State, n.SQLErr))
			continue
		}
		if n.Installed.Commit != commit || n.Running.Commit != commit {
			block("verify-release", n.Name, say.F("installed is %s, running is %s, the plan is for %s %s [GAUSS-52929]", "已安装 %s，运行 %s，计划为 %s %s［GAUSS-52929］", buildName(n.Installed), buildName(n.Running), p.To, commit), n.App)
		}
		open := len(n.Open) > 0
		if want := number; open && want != "" && n.Working.String() != want {
			block("verify-number", n.Name, say.F("the server works as %s, expected %s until the commit", "服务按 %s 工作，提交前应为 %s", n.Working.String(), want), "")
		}
		if !open && n.Software.Kernel > 0 && n.Working != n.Software.Kernel {
			block("verify-number", n.Name, say.F("the server works as %s, its own number is %s", "服务按 %s 工作，而自身版本号为 %s", n.Working.String(), n.Software.Kernel.String()), "")
		}
		was := p.Before[n.Name]
		if healthRank(n.health()) > healthRank(was.Health) {
			block("verify-health", n.Name, say.F("it was %s and is %s now", "此前为 %s，现在为 %s", was.Health, n.health()), n.HA.Detail)
		}
		fs = append(fs, n.proveFrozen(p)...)
	}
	if ps := v.primaries(); len(ps) != 1 {
		block("verify-primary", "", say.F("there are %d primaries, one was expected", "主库有 %d 个，应为 1 个", len(ps)), "")
	} else if streams := len(ps[0].HA.Senders); streams < v.standbysOf(ps[0]) {
		block("verify-streams", ps[0].Name, say.F("%d standbys stream from it, expected %d", "有 %d 个备库在流复制，应为 %d 个", streams, v.standbysOf(ps[0])), "")
	}
	if v.Cluster != nil && v.Cluster.State != "" && v.Cluster.State != "Normal" {
		fs = append(fs, finding("verify-cluster", check.Warn, "", say.F("the cluster calls itself %s", "集群状态为 %s", v.Cluster.State), ""))
	}
	return fs
}

// proveTools tells of operation tools that are not of the release: nothing
// depends on them but what people type.
func (v *view) proveTools(ctx context.Context, p *plan.Plan) []check.Finding {
	commit, _ := wanted(p)
	var fs []check.Finding
	for _, n := range v.Nodes {
		if !n.Up || n.GPHome == "" {
			continue
		}
		b, err := n.readIf(ctx, n.GPHome+"/version.cfg")
		if err != nil || b == nil {
			continue
		}
		if s, err := gaussdb.ParseSoftware(b); err == nil && s.Commit != commit {
			fs = append(fs, finding("verify-tools", check.Warn, n.Name, say.F("the tools in %s are of %s: run gs_preinstall of the new package as root", "%s 下的工具仍为 %s：请以 root 执行新包的 gs_preinstall", n.GPHome, s.Release), n.GPHome+"/version.cfg"))
		}
	}
	return fs
}

// standbysOf counts the direct standbys that run.
func (v *view) standbysOf(p *seen) int {
	n := 0
	for _, s := range v.Nodes {
		if s != p && s.HA.Process == gaussdb.Running && s.HA.Role == gaussdb.RoleStandby {
			n++
		}
	}
	return n
}

// proveFrozen reports the four settings that must stay as they were.
func (s *seen) proveFrozen(p *plan.Plan) []check.Finding {
	fact := factsOf(p)
	var fs []check.Finding
	for _, name := range frozen {
		if was := fact(s.Name, name); was != "" && s.Settings[name] != "" && was != s.Settings[name] {
			fs = append(fs, finding("frozen-settings", check.Block, s.Name,
				say.F("%s was %s when the upgrade began and is %s now: a rollback could not start the instance", "%s 在升级开始时为 %s，现在为 %s：回滚时实例可能无法启动", name, was, s.Settings[name]), name))
		}
	}
	return fs
}

// probeTable is written on the primary and read on every standby.
const probeTable = "shiplift_probe"

// proveSQL writes on the primary and reads on the standbys.
func (v *view) proveSQL(ctx context.Context, env driver.Env) []check.Finding {
	ps := v.primaries()
	if len(ps) != 1 {
		return nil
	}
	p := ps[0]
	token := env.Clock.Now().UTC().Format("20060102150405.000000000")
	failed := func(node string, err error) []check.Finding {
		return []check.Finding{finding("verify-write", check.Block, node, say.F("a row that was written on %s cannot be read", "在 %s 写入的数据无法读出", p.Name), say.Of(err).EN)}
	}
	for _, sql := range []string{"drop table if exists " + probeTable, "create table " + probeTable + "(token text)", "insert into " + probeTable + " values('" + token + "')"} {
		if err := p.Exec(ctx, p.Port, "postgres", sql); err != nil {
			return failed(p.Name, err)
		}
	}
	var fs []check.Finding
	for _, n := range v.Nodes {
		if n.SQL {
			if err := n.reads(ctx, env, token); err != nil {
				fs = append(fs, failed(n.Name, err)...)
			}
		}
	}
	if err := p.Exec(ctx, p.Port, "postgres", "drop table if exists "+probeTable); err != nil {
		fs = append(fs, failed(p.Name, err)...)
	}
	if len(fs) == 0 {
		fs = append(fs, finding("verify-write", check.Pass, "", say.F("a row written on %s was read on every node", "在 %s 写入的数据已在各节点读出", p.Name), ""))
	}
	return fs
}

func (s *seen) reads(ctx context.Context, env driver.Env, token string) error {
	spec := wait.Spec{What: say.F("%s shows the row", "%s 可读到该行", s.Name), Node: s.Name, Deadline: 30 * time.Second, Every: 200 * time.Millisecond}
	return wait.For(ctx, env.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		rows, err := s.site.SQL(ctx, s.Port, "postgres", "select * from "+probeTable)
		if err != nil {
			if strings.Contains(err.Error(), "does not exist") { // not there yet
				return wait.Look{}, nil
			}
			return wait.Look{}, err
		}
		return wait.Look{Done: len(rows) == 1 && rows[0][0] == token}, nil
	})
}
