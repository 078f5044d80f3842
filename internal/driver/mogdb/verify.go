package mogdb

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// verifier gathers findings from state that is read again (I6).
type verifier struct {
	env driver.Env
	p   *plan.Plan
	v   *view
	out []check.Finding
}

// Verify proves releases of processes and files, roles, replication, what gs_om
// says and knows, and MogHA, each against the plan and the health before it (I7).
func (d *Driver) Verify(ctx context.Context, env driver.Env, p *plan.Plan) ([]check.Finding, error) {
	o, err := d.Observe(ctx, env)
	if err != nil {
		return nil, err
	}
	v := &verifier{env: env, p: p, v: o.Detail.(*view)}
	for i := range v.v.nodes {
		v.node(ctx, &v.v.nodes[i])
	}
	v.roles()
	v.om()
	v.memory(ctx)
	if len(check.Blocking(v.out)) == 0 {
		v.add("result", check.Pass, "", "", say.F("every node runs %s from whole files, in its role, and is healthy", "每个节点均以完整文件运行 %s，角色正确且健康", p.To), "")
	}
	return v.out, nil
}

func (v *verifier) add(id string, sev check.Severity, node, rule string, says say.Text, evidence string) {
	v.out = append(v.out, check.Finding{ID: id, Severity: sev, Node: node, Rule: rule, Says: says, Evidence: evidence})
}

func (v *verifier) bad(id, node, rule string, says say.Text, evidence string) {
	v.add(id, check.Block, node, rule, says, evidence)
}

func (v *verifier) node(ctx context.Context, n *nodeView) {
	if n.Err != nil {
		v.bad("reachable", n.Name, "", say.F("the node cannot be read: %v", "无法读取该节点：%v", n.Err), "")
		return
	}
	if n.Running.Release != v.p.To {
		v.bad("running", n.Name, "M28", say.F("the server runs %q, not %s", "数据库运行 %q，而不是 %s", n.Running.Release, v.p.To), n.Exe)
	}
	if n.Installed.Release != v.p.To || n.Mixed {
		v.bad("installed", n.Name, "M26", say.F("the files are of %q, bin and lib agree: %t", "文件版本为 %q，bin 与 lib 一致：%t", n.Installed.Release, !n.Mixed), n.App)
	}
	if word, healthy := n.health(); !healthy {
		v.bad("healthy", n.Name, "M02", say.Join(": ", say.Same(word), stateText(n.Name, n.HA)), n.HA.Detail)
	}
	if was := v.p.Before[n.Name]; was.Healthy && n.HA.Process != gaussdb.Running {
		v.bad("fallen", n.Name, "", say.F("it was %s before and is down", "升级前为 %s，现已停止", was.Health), "")
	}
	v.files(ctx, n)
	v.mogha(n)
	for _, name := range frozen {
		if before := v.fact(n.Name, name); before != "" && n.Settings[name] != before {
			v.bad("settings", n.Name, "M24", say.F("%s was %q and is %q: the way back might fail", "%s 原为 %q，现为 %q：回滚可能失败", name, before, n.Settings[name]), "")
		}
	}
}

func (v *verifier) fact(node, name string) string {
	for _, f := range v.p.Facts {
		if f.Node == node && f.Name == name {
			return f.Value
		}
	}
	return ""
}

// files compares both trees with the package and the old ones, as long as those are there.
func (v *verifier) files(ctx context.Context, n *nodeView) {
	s, err := siteOf(v.env, n.Name)
	if err != nil {
		return
	}
	args := argsOf(v.p, n.Name)
	for _, name := range []string{stageOf(args).pkg, path.Join(args["app"], backup("bin", args["from"])), path.Join(args["app"], backup("lib", args["from"]))} {
		if there, err := s.exists(ctx, name); err != nil || !there {
			v.add("files", check.Warn, n.Name, "M26", say.F("%s is gone: the files cannot be compared any more", "%s 已不存在：无法再比对文件", name), "")
			return
		}
	}
	d, err := s.swapped(ctx, args, true)
	switch {
	case err != nil:
		v.bad("files", n.Name, "M26", say.F("the files cannot be compared: %v", "无法比对文件：%v", err), "")
	case d != "":
		v.bad("files", n.Name, "M26", say.F("a file is not what it must be: %s", "文件不符：%s", d), "")
	}
	alien, err := s.text(ctx, "find", args["app"]+"/bin", args["app"]+"/lib", "!", "-user", n.Login)
	if err == nil && alien != "" {
		v.bad("owner", n.Name, "M09", say.F("files do not belong to %s", "有文件不属于 %s", n.Login), alien)
	}
}

func (v *verifier) mogha(n *nodeView) {
	if v.fact(n.Name, "mogha") == "active" && (n.MogHA.word() != "active" || len(n.MogHA.Procs) == 0) {
		v.bad("mogha", n.Name, "M19", say.F("MogHA was active before and is %s", "MogHA 原为活动状态，现为 %s", n.MogHA.word()), "")
	}
}

// wantedPrimary is the node that the plan makes the primary.
func wantedPrimary(p *plan.Plan) string {
	name := ""
	for n, was := range p.Before {
		if was.Role == rolePrimary {
			name = n
		}
	}
	for _, s := range p.Steps {
		if s.Kind == kindSwitch {
			name = s.Args["new"]
		}
	}
	return name
}

func (v *verifier) roles() {
	want := wantedPrimary(v.p)
	p := v.v.primary()
	if p == nil {
		v.bad("primary", "", "M21", say.F("there is not exactly one primary", "主库数量不为一"), "")
		return
	}
	if p.Name != want {
		// A switch since then is no fault of the upgrade: the nodes are judged as they are.
		v.add("primary", check.Warn, p.Name, "M14", say.F("it is the primary; the plan made %s the primary", "它是主库；计划中的主库为 %s", want), "")
	}
	streaming := 0
	for _, l := range p.HA.Senders {
		if l.State == "Streaming" {
			streaming++
		}
	}
	standbys := 0
	for _, n := range v.v.standbys() {
		if n.Err == nil && roleWord(n.HA.Role) == roleStandby {
			standbys++
		}
		if n.Err == nil && n.HA.Receiver == nil {
			v.bad("replication", n.Name, "M02", say.F("it receives no log", "未接收日志"), n.HA.Detail)
		}
	}
	if streaming < standbys {
		v.bad("replication", p.Name, "M02", say.F("%d of %d standbys stream from the primary", "%[2]d 个备库中有 %[1]d 个在从主库流复制", streaming, standbys), "")
	}
}

// om proves that gs_om works and knows the roles (M07, M15, M16).
func (v *verifier) om() {
	if v.fact("", "install") != byOM || v.v.alone() {
		return
	}
	c := v.v.status
	if c == nil {
		v.bad("gs_om", "", "M07", say.F("gs_om -t status does not answer", "gs_om -t status 无应答"), "")
		return
	}
	if c.State != "Normal" || len(c.Primaries()) != 1 || len(c.Datanodes) != len(v.v.nodes) {
		v.bad("gs_om", "", "M02", say.F("gs_om -t status says %s, %d primaries, %d nodes", "gs_om -t status 显示 %s，%d 个主库，%d 个节点", c.State, len(c.Primaries()), len(c.Datanodes)), "")
	}
	sum := ""
	for _, n := range v.v.nodes {
		switch {
		case n.Err != nil:
			continue
		case n.Recorded.Release != v.p.From:
			v.bad("upgrade_version", n.Name, "M27", say.F("bin/upgrade_version must stay that of %s, it says %q", "bin/upgrade_version 须保持 %s，现为 %q", v.p.From, n.Recorded.Name), "")
		case n.Dynamic == "":
			v.bad("refreshconf", n.Name, "M16", say.F("bin/%s is missing: gs_om start would take the static roles", "缺少 bin/%s：gs_om start 会采用静态角色", dynamicConfig), "")
		case sum != "" && n.Dynamic != sum:
			v.bad("refreshconf", n.Name, "M15", say.F("bin/%s differs between the nodes", "各节点的 bin/%s 不一致", dynamicConfig), "")
		}
		if n.Err == nil && n.Dynamic != "" {
			sum = n.Dynamic
		}
	}
}

// memory takes one sample. It is no verdict: a restart alone resets the memory (spec/mogdb.md section 10).
func (v *verifier) memory(ctx context.Context) {
	p := v.v.primary()
	if p == nil || v.v.alone() || p.Err != nil {
		return
	}
	s, err := siteOf(v.env, p.Name)
	if err != nil {
		return
	}
	rows, err := s.SQL(ctx, s.Port, "postgres", memoryQuery)
	var sessions []session
	if err == nil {
		sessions, err = parseMemory(rows)
	}
	if err != nil || len(sessions) == 0 {
		v.add("walsender-memory", check.Warn, p.Name, "M20", say.F("the memory of the walsenders is not measurable now", "目前无法测得 walsender 内存"), fmt.Sprint(err))
		return
	}
	var words []string
	for _, m := range sessions {
		words = append(words, fmt.Sprintf("%s used %d bytes", m.ID, m.Used))
	}
	v.add("walsender-memory", check.Pass, p.Name, "M20", say.F("one look at %d walsenders is no verdict: shiplift verify --watch 30m", "对 %d 个 walsender 的一次查看不构成结论：shiplift verify --watch 30m", len(sessions)), strings.Join(words, "; "))
}
