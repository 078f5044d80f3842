package dameng

import (
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// hop lays out one change of the software with its runbook.
func (b *builder) hop(h release.Hop) error {
	b.h, b.gated, b.down = h, false, false
	b.duties = DutiesOf(b.d.site.topology, h.Epochs)
	b.primary, b.standby = b.d.site.member(b.d.primary), nil
	for _, m := range b.d.site.members {
		if m != b.primary {
			b.standby = append(b.standby, m)
		}
	}
	b.remarks()
	if b.q.Rolling {
		return b.rolling()
	}
	if err := b.stageSoftware(b.d.site.nodes); err != nil {
		return err
	}
	b.stopAll()
	switch strings.TrimSuffix(h.Runbook, "+"+R5) {
	case R1:
		b.r1()
	case R2:
		b.r2()
	default:
		b.simple()
	}
	b.bringUp()
	return nil
}

func (b *builder) remarks() {
	if b.h.Rule != "" && !b.h.Why.IsZero() {
		b.p.Remarks = append(b.p.Remarks, say.Text{EN: b.h.Why.EN + " [" + b.h.Rule + "]", ZH: b.h.Why.ZH + "［" + b.h.Rule + "］"})
	}
	for _, n := range b.h.Notes {
		b.p.Remarks = append(b.p.Remarks, say.Text{EN: n.Rule + ": " + n.Says.EN, ZH: n.Rule + "：" + n.Says.ZH})
	}
}

func (b *builder) stageSoftware(nodes []*node) error {
	pkg, err := b.packageFor(b.h.To)
	if err != nil {
		return err
	}
	steps := b.each(nodes, "stage", "stage", "DM-001", func(n *node) say.Text {
		return say.F("Put the software of %s beside the running one on %s", "把 %s 的软件放到 %s 上（与现用版本并存）", b.h.To, n.name)
	})
	for i := range steps {
		steps[i].Args["package"] = pkg
		steps[i].Timeout = minutes(60)
	}
	b.stage(steps...)
	return nil
}

// stopAll is the exit of the whole system in its order, with the proof of it:
// monitors, watchers, the primary's server, the standbys' servers.
func (b *builder) stopAll() {
	r1 := strings.HasPrefix(b.h.Runbook, R1)
	b.stage(plan.Step{ID: b.prefix + "outage", Kind: plan.GateKind, Class: plan.Reversible, Impact: plan.None,
		Says: say.F("From here on the cluster goes down: applications have stopped writing", "从此处开始停机：应用已停止写入"), Gate: &plan.Gate{}})
	if b.duties.Consistent && (r1 || !strings.HasPrefix(b.h.Runbook, R2)) {
		b.stage(b.readOnly(b.members(b.standby, "wait-equal", "wait-equal", b.duties.rules["consistent"], func(m *member) say.Text {
			return say.F("Wait until %s has replayed all of %s", "等待 %s 与主库 %s 完全一致", m.name, b.primary.name)
		}))...)
	}
	if b.d.site.topology.watched() {
		b.stage(b.each(b.d.site.monitors(), "stop-monitor", "stop-monitor", "DM-020", func(n *node) say.Text {
			return say.F("Stop dmmonitor on %s", "停止 %s 上的 dmmonitor", n.name)
		})...)
		b.stopWatchers()
	}
	b.down = true
	stop := func(m *member) say.Text {
		return say.F("Stop the database server of %s normally", "正常停止 %s 的数据库服务", m.name)
	}
	b.stage(b.members([]*member{b.primary}, "stop-server", "stop-server", b.duties.rules["exit"], stop)...)
	b.stage(b.members(b.standby, "stop-server", "stop-server", b.duties.rules["exit"], stop)...)
	if b.duties.strict() {
		b.stage(b.readOnly(b.members(b.downwards(), "prove-exit", "prove-exit", "DM-002", func(m *member) say.Text {
			return say.F("Prove that %s was closed normally by %s", "证明 %s 由 %s 正常退出", m.name, b.h.From)
		}))...)
	}
	if b.duties.MoveArchives {
		b.stage(b.each(b.d.site.nodes, "move-archives", "move-archives", "DM-023", func(n *node) say.Text {
			return say.F("Move the archives of %s out of their directories", "把 %s 的归档移出归档目录", n.name)
		})...)
	}
	if len(b.h.Epochs) > 0 {
		copies := b.members(b.d.site.members, "cold-copy", "cold-copy", "DM-001", func(m *member) say.Text {
			if m.shared() {
				return say.F("Back %s up offline, its data being in ASM: the way back", "脱机备份 %s（数据在 ASM 中），供回退使用", m.name)
			}
			return say.F("Make a cold copy of %s, the way back: %s", "冷备 %s，供回退使用：%s", m.name, strings.Join(b.d.of(m).Cold, " "))
		})
		for i, m := range b.d.site.members {
			if !m.shared() {
				copies[i].Args["paths"] = strings.Join(b.d.of(m).Cold, ",")
			}
		}
		b.stage(copies...)
	}
	shared := sharedOf(b.d.site.members)
	b.stage(b.each(nodesOf(shared...), "stop-asm", "stop-asm", "DM-095", func(n *node) say.Text {
		return say.F("Stop dmasmsvr on %s", "停止 %s 上的 dmasmsvr", n.name)
	})...)
	b.stage(b.each(nodesOf(shared...), "stop-css", "stop-css", "DM-095", func(n *node) say.Text {
		return say.F("Stop dmcss on %s", "停止 %s 上的 dmcss", n.name)
	})...)
	b.stage(b.each(b.d.site.nodes, "switch-bin", "switch-bin", "DM-031", func(n *node) say.Text {
		return say.F("Put %s in the place of %s on %s", "在 %[3]s 上以 %[1]s 替换 %[2]s", b.h.To, b.h.From, n.name)
	})...)
	b.startShared(shared)
}

func (b *builder) downwards() []*member { return append([]*member{b.primary}, b.standby...) }

// stopWatchers: those of standbys before the primary's; the first of them, being
// the last on the way back, then waits until all is open again.
func (b *builder) stopWatchers() {
	says := func(n *node) say.Text { return say.F("Stop dmwatcher on %s", "停止 %s 上的 dmwatcher", n.name) }
	nodes := nodesOf(b.standby...)
	if len(nodes) == 0 {
		nodes = nodesOf(b.primary)
	}
	first := b.each(nodes[:1], "stop-watcher", "stop-watcher", "DM-020", says)
	first[0].Args["settle"] = "yes"
	b.stage(first...)
	b.stage(b.each(nodes[1:], "stop-watcher", "stop-watcher", "DM-020", says)...)
	if len(b.standby) > 0 {
		b.stage(b.each(nodesOf(b.primary), "stop-watcher", "stop-watcher", "DM-020", says)...)
	}
}

// startShared brings up what lies under the servers of DSC clusters.
func (b *builder) startShared(shared []*member) {
	if b.needsDCR() {
		b.gateFirst(say.F("The DCR and voting disks get the format of %s", "DCR 与 Voting 磁盘将改为 %s 的格式", b.h.To))
		b.stage(b.members(shared, "init-dcr", "init-dcr", b.dcrRule(), func(m *member) say.Text {
			return say.F("Initialise the DCR and voting disks of %s anew", "重新初始化 %s 的 DCR 与 Voting 磁盘", m.name)
		})...)
	}
	b.stage(b.each(nodesOf(shared...), "start-css", "start-css", "DM-094", func(n *node) say.Text {
		return say.F("Start dmcss of %s on %s", "在 %[2]s 上启动 %[1]s 的 dmcss", b.h.To, n.name)
	})...)
	b.stage(b.each(nodesOf(shared...), "start-asm", "start-asm", "DM-094", func(n *node) say.Text {
		return say.F("Start dmasmsvr of %s on %s", "在 %[2]s 上启动 %[1]s 的 dmasmsvr", b.h.To, n.name)
	})...)
}

// needsDCR: formats of the DCR disk differ between DM7 and DM8 (DM-090), and
// from 8.1.3.129 on for disks below version 4100 (DM-091).
func (b *builder) needsDCR() bool {
	if !b.d.site.topology.shared() {
		return false
	}
	return b.h.From.Part(0) == 7 && b.h.To.Part(0) == 8 || b.duties.crosses("E5") && b.d.asmOld()
}

func (b *builder) dcrRule() string {
	if b.duties.crosses("E5") {
		return "DM-091"
	}
	return "DM-090"
}

func (d *detail) asmOld() bool {
	for _, n := range d.site.nodes {
		if d.nodes[n.name].ASMOld {
			return true
		}
	}
	return false
}

// gateFirst is the gate before the first start that cannot be taken back.
func (b *builder) gateFirst(what say.Text) {
	if b.gated {
		return
	}
	var rules []string
	for _, e := range b.h.Epochs {
		rule := map[string]string{"E0": "DM-003", "E1": "DM-002", "E2": "DM-064", "E3": "DM-075", "E4": "DM-080", "E5": "DM-091", "E6": "DM-093"}[e]
		if e == "E3" && b.d.site.topology.shared() {
			rule = "DM-074"
		}
		rules = append(rules, rule)
	}
	b.gate("point-of-no-return", strings.Join(rules, " "), what, say.F(
		"no rollback by Shiplift any more; the way left is forward, or the cold copies of ALL members put back by hand",
		"此后 Shiplift 不再能回滚；只能继续向前，或手工恢复全部成员的冷备"))
}

func (b *builder) gateStart() {
	b.gateFirst(say.F("The first start of %s changes the format of the libraries (%s)", "首次启动 %s 将变更库的格式（%s）", b.h.To, strings.Join(b.h.Epochs, ", ")))
}

func (b *builder) doesHuge() bool {
	return b.duties.crosses("E4") && b.r.Options["huge"] != "skip"
}

// huge is R5 on members that are down: each one separately (DM-082).
func (b *builder) huge(ms []*member) {
	if !b.doesHuge() {
		return
	}
	b.stage(b.members(ms, "huge", "huge-path", "DM-082 DM-085", func(m *member) say.Text {
		return say.F("Give MAIN of %s its HUGE path where the control file has none", "若控制文件中没有，则为 %s 的 MAIN 增加 HUGE 路径", m.name)
	})...)
}

func (b *builder) mount(id string, ms []*member) {
	for _, group := range [][]*member{intersect(ms, b.standby), intersect(ms, []*member{b.primary})} {
		steps := b.members(group, "start-server", id, "DM-031", func(m *member) say.Text {
			return say.F("Start %s with %s; it stays in MOUNT", "用 %[2]s 启动 %[1]s，停留在 MOUNT", m.name, b.h.To)
		})
		for i := range steps {
			steps[i].Args["quiet"], steps[i].Args["want"] = "yes", "MOUNT"
			if b.d.site.topology == Single || b.d.site.topology == DSC {
				steps[i].Args["quiet"], steps[i].Args["want"] = "no", "OPEN"
				steps[i].Says = say.F("Start %s with %s", "用 %[2]s 启动 %[1]s", group[i].name, b.h.To)
				steps[i].Rule = "DM-094"
			}
		}
		b.stage(steps...)
	}
}

func intersect(a, b []*member) []*member {
	return slices.DeleteFunc(slices.Clone(a), func(m *member) bool { return !slices.Contains(b, m) })
}

// onlyLog reports whether the redo log is all that changes: then the first
// start can still be taken back with the cold copies.
func (b *builder) onlyLog() bool {
	return slices.Equal(b.h.Epochs, []string{"E1"}) || slices.Equal(b.h.Epochs, []string{"E1", "E4"})
}

// r1 is the runbook of the new redo log: steps 2 to 9.
func (b *builder) r1() {
	if !b.onlyLog() {
		b.gateStart()
	}
	b.modeStatus("set-mode-status", "1")
	b.mount("mount", b.d.site.members)
	b.stage(b.members(b.standby, "open-standby", "open-standby", "DM-032 DM-033", func(m *member) say.Text {
		return say.F("Open the standby %s", "打开备库 %s", m.name)
	})...)
	if b.onlyLog() {
		b.gate("point-of-no-return", "DM-002", say.F("The primary opens with %s and writes the upgrade log", "主库以 %s 打开并写入升级日志", b.h.To),
			say.F("%s cannot read the primary any more; the way left is forward, or the cold copies of ALL members put back by hand", "此后 %s 无法再读主库；只能继续向前，或手工恢复全部成员的冷备", b.h.From))
	}
	b.stage(b.members([]*member{b.primary}, "open-primary", "open-primary", "DM-032 DM-034 DM-036", func(m *member) say.Text {
		return say.F("Open the primary %s, once every standby is open (DSC standbys: archive to the control node made valid first)",
			"所有备库打开后，打开主库 %s（DSC 备库：先把指向控制节点的归档置为有效）", m.name)
	})...)
	b.stage(b.members(b.standby, "prove-standby", "prove-standby", "DM-037", func(m *member) say.Text {
		return say.F("Wait until %s has replayed the upgrade and shows SYSOPENHISTORY; if it never does, mark it for a restore (R1.F)",
			"等待 %s 重演升级日志并可查询 SYSOPENHISTORY；若始终不能，则标记为需还原（R1.F）", m.name)
	})...)
	b.stopUpgraded(b.downwards())
	b.huge([]*member{b.primary})
	b.rebuild(true)
	b.huge(b.standby)
	b.modeStatus("clear-mode-status", "0")
	b.mount("mount-again", b.d.site.members)
	b.adopt()
}

func (b *builder) modeStatus(id, value string) {
	b.stage(func() []plan.Step {
		steps := b.each(b.d.site.nodes, "mode-status", id, map[string]string{"1": "DM-030", "0": "DM-041"}[value], func(n *node) say.Text {
			return say.F("Set ALTER_MODE_STATUS = %s in dm.ini of %s", "在 %[2]s 的 dm.ini 中设置 ALTER_MODE_STATUS = %[1]s", value, n.name)
		})
		for i := range steps {
			steps[i].Args["value"] = value
		}
		return steps
	}()...)
}

func (b *builder) stopUpgraded(ms []*member) {
	says := func(m *member) say.Text {
		return say.F("Stop %s normally again", "再次正常停止 %s", m.name)
	}
	b.stage(b.members(intersect(ms, []*member{b.primary}), "stop-server", "stop-upgraded", "DM-039", says)...)
	b.stage(b.members(intersect(ms, b.standby), "stop-server", "stop-upgraded", "DM-040", says)...)
}

// rebuild restores standbys from an offline backup of the primary: all of them
// in R2, in R1 those that did not take part in the upgrade.
func (b *builder) rebuild(onlyMarked bool) {
	backup := b.members([]*member{b.primary}, "backup-primary", "backup-primary", "DM-051", func(m *member) say.Text {
		if onlyMarked {
			return say.F("Back the primary %s up offline, if a standby is marked for a restore", "若有备库被标记为需还原，则脱机备份主库 %s", m.name)
		}
		return say.F("Back the primary %s up offline", "脱机备份主库 %s", m.name)
	})
	restore := b.members(b.standby, "restore-standby", "restore-standby", "DM-038 DM-051", func(m *member) say.Text {
		if onlyMarked {
			return say.F("Restore %s from that backup with a DB_MAGIC of its own, if it is marked", "若 %s 被标记，则用该备份还原并更新 DB_MAGIC", m.name)
		}
		return say.F("Restore %s from that backup with a DB_MAGIC of its own", "用该备份还原 %s 并更新 DB_MAGIC", m.name)
	})
	for _, steps := range [][]plan.Step{backup, restore} {
		for i := range steps {
			steps[i].Args["marked"] = yes(onlyMarked)
		}
	}
	b.stage(backup...)
	b.stage(restore...)
}

func (b *builder) adopt() {
	b.stage(b.members(b.standby, "adopt-standby", "adopt-standby", "DM-024", func(m *member) say.Text {
		return say.F("See that %s is a STANDBY of the group with a DB_MAGIC of its own", "确认 %s 为本组 STANDBY 且 DB_MAGIC 独立", m.name)
	})...)
}

// r2 upgrades the primary alone and restores the standbys from its backup.
func (b *builder) r2() {
	b.gateStart()
	b.mount("mount", []*member{b.primary})
	b.stage(b.members([]*member{b.primary}, "force-open", "force-open", "DM-050", func(m *member) say.Text {
		return say.F("Open %s alone: all archives to standbys invalid first", "单独打开 %s：先把到备库的归档全部置为无效", m.name)
	})...)
	b.stopUpgraded([]*member{b.primary})
	b.huge([]*member{b.primary})
	b.rebuild(false)
	b.huge(b.standby)
	b.mount("mount-again", b.d.site.members)
	b.adopt()
}

// simple is R3, R4, R6, R7 and the plain restart: start everything with the new software.
func (b *builder) simple() {
	if len(b.h.Epochs) > 0 && !(slices.Equal(b.h.Epochs, []string{"E4"}) && !b.doesHuge()) {
		b.gateStart()
	}
	b.huge(b.d.site.members)
	b.mount("start-server", b.d.site.members)
}

// bringUp starts watchers and monitors last and waits until all is open.
func (b *builder) bringUp() {
	if b.d.site.topology.watched() {
		b.stage(b.each(nodesOf(b.upwards()...), "start-watcher", "start-watcher", "DM-042", func(n *node) say.Text {
			return say.F("Start dmwatcher on %s", "启动 %s 上的 dmwatcher", n.name)
		})...)
	}
	wait := b.step(b.primary.first(), "wait-open", "wait-open", "DM-043 DM-063", say.F("Wait until every database is OPEN and its archive VALID; start again what has died, where that is safe", "等待所有数据库 OPEN、归档 VALID；若有实例异常退出且规则允许，则重新启动"))
	wait.Timeout = minutes(30)
	b.stage(wait)
	b.down = false
	b.stage(b.each(b.d.site.monitors(), "start-monitor", "start-monitor", "DM-042", func(n *node) say.Text {
		return say.F("Start dmmonitor on %s", "启动 %s 上的 dmmonitor", n.name)
	})...)
}

// cleanup is behind the gate commit.
func (b *builder) cleanup(hops []release.Hop) {
	if b.r.KeepOld {
		return
	}
	var steps []plan.Step
	for _, n := range b.d.site.nodes {
		var from, to []string
		for _, h := range hops {
			from, to = append(from, h.From.String()), append(to, h.To.String())
		}
		steps = append(steps, plan.Step{ID: n.name + "/clean-up", Kind: "clean-up", Node: n.name, Phase: plan.Commit, Class: plan.OneWay, Impact: plan.None,
			Says: say.F("Remove the old software and the cold copy on %s", "删除 %s 上的旧软件与冷备", n.name),
			Args: map[string]string{"from": strings.Join(from, ","), "to": strings.Join(to, ",")}})
	}
	b.stage(steps...)
}

// rolling upgrades a DSC cluster node by node (R6, rolling form).
func (b *builder) rolling() error {
	nodes := slices.Clone(b.primary.nodes)
	if err := b.stageSoftware(nodes); err != nil {
		return err
	}
	b.stage(plan.Step{ID: b.prefix + "ddl-ban", Kind: plan.GateKind, Class: plan.Reversible, Impact: plan.None, Rule: "DM-093",
		Says: say.F("No DDL from here on until all nodes are upgraded", "从此处起到全部节点升级完成，禁止执行 DDL"), Gate: &plan.Gate{}})
	slices.Reverse(nodes) // the node whose dmcss controls the others, the first one, comes last
	for _, n := range nodes {
		b.rollNode(n)
	}
	wait := b.step(b.primary.first(), "wait-open", "wait-open", "DM-093", say.F("Wait until every node is OPEN", "等待所有节点 OPEN"))
	b.stage(wait)
	return nil
}

func (b *builder) rollNode(n *node) {
	one := func(kind, rule string, says say.Text) {
		s := b.step(n, kind, kind, rule, says)
		s.Impact = plan.ReadsOnly
		s.Timeout = plan.Duration(n.stopTime() + n.startTime())
		b.stage(s)
	}
	one("stop-node", "DM-095", say.F("Stop the instance of %s alone", "单独停止 %s 的实例", n.name))
	one("stop-css-first", "DM-095", say.F("Stop dmasmsvr and dmcss on %s", "停止 %s 上的 dmasmsvr 与 dmcss", n.name))
	one("switch-bin", "DM-094", say.F("Put %s in the place of %s on %s", "在 %[3]s 上以 %[1]s 替换 %[2]s", b.h.To, b.h.From, n.name))
	if len(b.h.Epochs) > 0 && !b.gated {
		b.gateStart()
	}
	one("start-node", "DM-092 DM-094", say.F("Start dmcss, dmasmsvr and the instance of %s with %s, and wait until the cluster calls it OK", "用 %[2]s 启动 %[1]s 的 dmcss、dmasmsvr 与实例，等待集群确认 OK", n.name, b.h.To))
}
