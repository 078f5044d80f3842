package dameng

import (
	"context"
	"fmt"
	"strings"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// Checks ask what the manual wants to hold before the exit of the old software.
func (Driver) Checks(env driver.Env, o driver.Observation, r plan.Request) []check.Check {
	d, ok := o.Detail.(*detail)
	if !ok {
		return nil
	}
	c := checker{d: d, r: r, env: env}
	var out []check.Check
	add := func(id string, title say.Text, ask func() []check.Finding) {
		out = append(out, check.Check{ID: id, Title: title, Ask: func(context.Context) ([]check.Finding, error) { return ask(), nil }})
	}
	add("dm-reachable", say.F("every node can be read", "所有节点可读取"), c.reachable)
	if repairs(r) {
		add("dm-mode-status", say.F("ALTER_MODE_STATUS is 0", "ALTER_MODE_STATUS 为 0"), c.modeStatus)
		return out // what else the checks want is what the repair is for
	}
	add("dm-release", say.F("all nodes run one release", "所有节点版本一致"), c.oneRelease)
	add("dm-path", say.F("there is a way to the wanted release", "存在到目标版本的升级路径"), c.path)
	add("dm-open", say.F("every database is OPEN", "所有数据库为 OPEN"), c.open)
	add("dm-nodes", say.F("no node of a DSC cluster is faulty", "DSC 无故障节点"), c.nodes)
	add("dm-magic", say.F("each standby has a DB_MAGIC of its own", "各备库 DB_MAGIC 独立"), c.magic)
	add("dm-archives", say.F("archives to the standbys are VALID", "到备库的归档为 VALID"), c.archives)
	add("dm-behind", say.F("the standbys have replayed what the primary wrote", "备库已重演主库日志"), c.behind)
	add("dm-mode-status", say.F("ALTER_MODE_STATUS is 0", "ALTER_MODE_STATUS 为 0"), c.modeStatus)
	add("dm-log-encrypted", say.F("the log of the library was never encrypted", "日志从未加密"), c.logEncrypted)
	add("dm-huge", say.F("no HUGE table is lost", "没有会失效的 HUGE 表"), c.huge)
	out = append(out, check.Check{ID: "dm-space", Title: say.F("there is room for the cold copies", "磁盘空间足够存放冷备"), Ask: c.space})
	add("dm-async", say.F("asynchronous standbys", "异步备库"), c.async)
	return out
}

type checker struct {
	d   *detail
	r   plan.Request
	env driver.Env
}

func block(node, rule string, says, next say.Text) check.Finding {
	return check.Finding{Severity: check.Block, Node: node, Rule: rule, Says: says, Next: next}
}

func warn(node, rule string, says say.Text) check.Finding {
	return check.Finding{Severity: check.Warn, Node: node, Rule: rule, Says: says}
}

// duties of all hops together; nil when there is no way.
func (c checker) duties() *Duties {
	from, err := c.d.release()
	if err != nil {
		return nil
	}
	to, err := release.Parse(c.r.To)
	if err != nil {
		return nil
	}
	a, err := Path(c.d.pathRequest(c.r, from, to))
	if err != nil || len(a.Hops) == 0 {
		return nil
	}
	d := DutiesOf(c.d.site.topology, a.Hops[0].Epochs)
	if strings.HasPrefix(a.Hops[0].Runbook, R2) {
		d.Consistent = false
	}
	return &d
}

func (c checker) reachable() (out []check.Finding) {
	for _, n := range c.d.site.nodes {
		if t := c.d.nodes[n.name].Trouble; t != "" {
			f := block(n.name, "", say.F("it cannot be read", "无法读取"), say.F("repair it first", "请先修复"))
			f.Evidence = t
			out = append(out, f)
		}
	}
	return out
}

func (c checker) oneRelease() []check.Finding {
	if _, err := c.d.release(); err != nil {
		return []check.Finding{block("", "DM-031", say.Of(err), say.Text{})}
	}
	return nil
}

func (c checker) path() []check.Finding {
	from, err := c.d.release()
	if err != nil {
		return nil // told by another check
	}
	to, err := release.Parse(c.r.To)
	if err != nil {
		return []check.Finding{block("", "", say.Same(err.Error()), say.Text{})}
	}
	a, err := Path(c.d.pathRequest(c.r, from, to))
	switch {
	case err != nil:
		return []check.Finding{block("", "", say.Of(err), say.Text{})}
	case a.Verdict != release.OK:
		return []check.Finding{block("", a.Rule, a.Why, a.Next)}
	}
	return nil
}

func (c checker) open() (out []check.Finding) {
	for _, n := range c.d.site.nodes {
		if s := c.d.nodes[n.name]; s.Trouble == "" && s.Instance.Status != "OPEN" {
			f := block(n.name, "DM-060", say.F("the database is %s, not OPEN", "数据库为 %s，不是 OPEN", orNone(s.Instance.Status)), say.F("shiplift repair-exit, or bring it to OPEN", "shiplift repair-exit，或使其恢复 OPEN"))
			f.Evidence = s.LastExit
			out = append(out, f)
		}
	}
	return out
}

func (c checker) nodes() (out []check.Finding) {
	for _, m := range c.d.site.members {
		for ep, status := range c.d.of(m).EPs {
			if status != "OK" {
				out = append(out, block(m.first().name, "DM-021", say.F("node %s of %s is %s", "%[2]s 的节点 %[1]s 为 %[3]s", ep, m.name, status), say.F("bring it back with the old software", "请用旧版本恢复该节点")))
			}
		}
	}
	return out
}

func (c checker) magic() (out []check.Finding) {
	d := c.duties()
	for _, m := range c.d.equalMagic() {
		f := warn(c.d.site.member(m).first().name, "DM-024", say.F("%s has the DB_MAGIC of the primary: it will be restored from the primary's backup (R2)", "%s 的 DB_MAGIC 与主库相同：将用主库备份还原（R2）", m))
		if d == nil || !d.MagicDiffers {
			f.Says = say.F("%s has the DB_MAGIC of the primary; this upgrade does not need it to differ, the next one may", "%s 的 DB_MAGIC 与主库相同；本次升级不受影响，以后的升级可能受影响", m)
		}
		out = append(out, f)
	}
	return out
}

func (c checker) archives() (out []check.Finding) {
	d := c.duties()
	for _, n := range c.d.site.nodes {
		for _, a := range c.d.nodes[n.name].Arch {
			if (strings.HasPrefix(a, "REALTIME") || strings.HasPrefix(a, "TIMELY")) && !strings.HasSuffix(a, " VALID") {
				f := warn(n.name, "DM-062", say.F("an archive is not VALID", "有归档不是 VALID"))
				if d != nil && d.Consistent {
					f = block(n.name, "DM-022", say.F("an archive is not VALID: the standby cannot be equal with the primary", "有归档不是 VALID：备库无法与主库一致"), say.F("repair it, or plan with --option runbook=r2", "请修复，或以 --option runbook=r2 重新计划"))
				}
				f.Evidence = a
				out = append(out, f)
			}
		}
	}
	return out
}

func (c checker) behind() (out []check.Finding) {
	for _, m := range c.d.site.members {
		if b := c.d.of(m).Behind; b > 0 {
			f := warn(m.first().name, "DM-022", say.F("%s is behind the primary; the run waits for it before the exit", "%s 落后于主库；停机前会等待其追平", m.name))
			f.Evidence = fmt.Sprintf("%d in LSN", b)
			out = append(out, f)
		}
	}
	return out
}

func (c checker) modeStatus() (out []check.Finding) {
	for _, n := range c.d.site.nodes {
		if v := c.d.nodes[n.name].AMS; v != "" && v != "0" {
			out = append(out, block(n.name, "DM-041", say.F("ALTER_MODE_STATUS is %s in dm.ini while Data Watch works", "守护系统运行期间 dm.ini 中 ALTER_MODE_STATUS 为 %s", v), say.F("set it to 0", "请改为 0")))
		}
	}
	return out
}

func (c checker) logEncrypted() []check.Finding {
	from, err := c.d.release()
	if err != nil {
		return nil
	}
	to, err := release.Parse(c.r.To)
	if err != nil {
		return nil
	}
	q := c.d.pathRequest(c.r, from, to)
	answered := c.r.Options["log-encrypted"] != "" || c.d.site.nodes[0].set["log_encrypted"] != ""
	if answered || !needsProofOfLog(q) {
		return nil
	}
	return []check.Finding{block("", "DM-004", say.F("the library began at %s or before: nobody said whether its log is encrypted", "该库起始版本不高于 %s：尚未确认日志是否加密", q.origin()),
		say.F("answer with --option log-encrypted=no or =yes", "请用 --option log-encrypted=no 或 =yes 回答"))}
}

func (c checker) huge() []check.Finding {
	d := c.duties()
	if d == nil || !d.crosses("E4") {
		return nil
	}
	asked := c.r.Options["huge-tables"] != ""
	for _, n := range c.d.site.nodes {
		asked = asked || c.d.nodes[n.name].HugeRows >= 0
	}
	if !asked {
		return []check.Finding{block("", "DM-081", say.F("HUGE tables of an older release are not usable after this upgrade; nobody said whether there are any", "旧版本的 HUGE 表升级后不可用；尚未确认是否存在"),
			say.F("answer with --option huge-tables=no or =yes, or set huge_query", "请用 --option huge-tables=no 或 =yes 回答，或设置 huge_query"))}
	}
	return nil
}

func (c checker) async() (out []check.Finding) {
	d := c.duties()
	for _, n := range c.d.site.nodes {
		for _, a := range c.d.nodes[n.name].Arch {
			if strings.HasPrefix(a, "ASYNC") && d != nil && d.crosses("E1") {
				out = append(out, warn(n.name, "DM-025", say.F("an asynchronous standby has to be configured anew after the upgrade", "异步备库升级后须重新配置")))
			}
		}
	}
	return out
}

// Verify proves the result from state that is read again (I6) and against the
// health before (I7).
func (Driver) Verify(ctx context.Context, env driver.Env, p *plan.Plan) ([]check.Finding, error) {
	o, err := Driver{}.Observe(ctx, env)
	if err != nil {
		return nil, err
	}
	d := o.Detail.(*detail)
	var out []check.Finding
	add := func(f check.Finding) { f.ID = "dm-verify"; out = append(out, f) }
	for _, n := range o.Nodes {
		for _, f := range verifyNode(n, p) {
			add(f)
		}
	}
	for _, f := range d.verifyGroup(ctx, p) {
		add(f)
	}
	if len(out) == 0 {
		add(check.Finding{Severity: check.Pass, Says: say.F("every node runs %s and is open", "所有节点运行 %s 且已打开", p.To)})
	}
	return out, nil
}

func verifyNode(n driver.Node, p *plan.Plan) (out []check.Finding) {
	fall := func(says say.Text) {
		out = append(out, block(n.Name, "", says, say.F("shiplift status", "shiplift status")))
	}
	if !n.Reachable {
		fall(say.F("it cannot be read: %s", "无法读取：%s", n.Trouble))
		return out
	}
	if n.Running != p.To {
		fall(say.F("it runs %s, not %s", "运行版本为 %s，不是 %s", orNone(n.Running), p.To))
	}
	if n.Installed != "" && n.Installed != p.To {
		fall(say.F("its software is %s, not %s", "软件版本为 %s，不是 %s", n.Installed, p.To))
	}
	before := p.Before[n.Name]
	if healthOrder[n.Health] < healthOrder[healthOpen] || healthOrder[n.Health] < healthOrder[before.Health] {
		fall(say.F("it is %s; before the upgrade it was %s", "当前为 %s；升级前为 %s", n.Health, before.Health))
	}
	if before.Role != "" && n.Role != before.Role {
		fall(say.F("its role is %s; before the upgrade it was %s", "当前角色为 %s；升级前为 %s", orNone(n.Role), before.Role))
	}
	return out
}

func (d *detail) verifyGroup(ctx context.Context, p *plan.Plan) (out []check.Finding) {
	to, err := release.Parse(p.To)
	if err != nil {
		return []check.Finding{block("", "", say.Same(err.Error()), say.Text{})}
	}
	from, _ := release.Parse(p.From)
	fall := func(node, rule string, says say.Text) { out = append(out, block(node, rule, says, say.Text{})) }
	primary := d.site.member(d.primary)
	if primary == nil {
		fall("", "DM-043", say.F("there is not exactly one primary", "主库不是恰好一个"))
		return out
	}
	if d.site.topology.watched() {
		d.verifyWatched(ctx, primary, to, fall)
	}
	for _, m := range d.site.members {
		d.verifyMember(ctx, m, from, to, fall)
		if m == primary || to.Less(newRedo) || d.of(m).Instance.Status != "OPEN" {
			continue
		}
		// VALID archives alone do not prove that a standby replays.
		got, err := compare(ctx, primary, m, m.first().settleTime(), nil)
		if err != nil {
			fall(m.first().name, "DM-063", say.Of(err))
		} else if got != same && got != growing {
			fall(m.first().name, "DM-063", say.F("it does not replay what the primary writes (%s)", "备库没有重演主库日志（%s）", string(got)))
		}
	}
	return out
}

// fell reports what does not hold.
type fell func(node, rule string, says say.Text)

func (d *detail) verifyWatched(ctx context.Context, primary *member, to release.Version, fall fell) {
	if bad, err := primary.badArchives(ctx); err != nil {
		fall(primary.name, "DM-063", say.Of(err))
	} else if len(bad) > 0 {
		fall(primary.name, "DM-063", say.F("archives are not VALID: %s", "归档不是 VALID：%s", strings.Join(bad, ", ")))
	}
	for _, n := range d.site.nodes {
		if !d.nodes[n.name].Watcher {
			fall(n.name, "DM-043", say.F("no dmwatcher runs", "没有 dmwatcher 运行"))
		}
	}
	for _, m := range d.equalMagic() {
		if to.AtLeast(newRedo) {
			fall(m, "DM-024", say.F("its DB_MAGIC is the primary's", "其 DB_MAGIC 与主库相同"))
		}
	}
}

func (d *detail) verifyMember(ctx context.Context, m *member, from, to release.Version, fall fell) {
	if from.Less(newRedo) && to.AtLeast(newRedo) {
		if err := m.history(ctx); err != nil {
			fall(m.first().name, "DM-037", say.Of(err))
		}
	}
	if v := d.of(m).Instance.DBVer; to.AtLeast(newPage) && v != 0 && v < 0x7000c {
		fall(m.first().name, "DM-075", say.F("DB_VERSION is 0x%x, at least 0x7000c was expected", "DB_VERSION 为 0x%x，应不低于 0x7000c", v))
	}
	for _, n := range m.nodes {
		if v := d.nodes[n.name].AMS; v != "" && v != "0" {
			fall(n.name, "DM-041", say.F("ALTER_MODE_STATUS is still %s", "ALTER_MODE_STATUS 仍为 %s", v))
		}
	}
}
