package dameng

import (
	"slices"

	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// forbid says no where the state of the cluster does not allow the hop.
func (d Duties) forbid(r PathRequest, h release.Hop, state map[string]string) (release.Answer, bool) {
	for _, ask := range []func(PathRequest, release.Hop, map[string]string) (release.Answer, bool){
		d.forbidRolling, d.forbidExit, d.forbidNodes, d.forbidState, d.forbidHuge,
	} {
		if no, stop := ask(r, h, state); stop {
			return no, true
		}
	}
	return release.Answer{}, false
}

func refuse(rule string, why, next say.Text) (release.Answer, bool) {
	a := release.No(release.Refuse, rule, why)
	a.Next = next
	return a, true
}

func (d Duties) forbidRolling(r PathRequest, h release.Hop, state map[string]string) (release.Answer, bool) {
	if r.Rolling && d.crosses("E5") && state["asm"] == "old" {
		return refuse("DM-091", say.F(
			"the ASM disks are below version 4100: DCR and voting disks must be initialised anew for %s, with the whole cluster stopped",
			"ASM 磁盘版本低于 4100：升级到 %s 须整体停机并重新初始化 DCR 与 Voting 磁盘", h.To),
			say.F("ask for the way in place (--mode inplace)", "请改用就地升级（--mode inplace）"))
	}
	if !r.Rolling || !d.strict() {
		return release.Answer{}, false
	}
	return refuse("DM-002", say.F(
		"%s to %s changes a format on disk that nodes of two releases cannot share: no rolling upgrade",
		"从 %s 到 %s 会变更磁盘格式，两个版本的节点不能共用同一个库：不支持滚动升级", h.From, h.To),
		say.F("ask for the way in place (--mode inplace)", "请改用就地升级（--mode inplace）"))
}

func (d Duties) forbidExit(_ PathRequest, h release.Hop, state map[string]string) (release.Answer, bool) {
	if !d.strict() {
		return release.Answer{}, false
	}
	next := say.F("shiplift repair-exit: put the old software back, start, let the cluster settle, and stop in order",
		"shiplift repair-exit：换回旧版本启动，待集群稳定后按顺序正常退出")
	switch {
	case state["exit"] == "standby-first":
		return refuse("DM-002", say.F(
			"the standby was stopped before the primary, so the primary is not cleanly closed: %s refuses to start it",
			"备库先于主库停止，主库未正常退出：%s 会拒绝启动", h.To), next)
	case state["exit"] == "unclean":
		return refuse("DM-002", say.F(
			"a member was not closed normally by %s: %s cannot redo the old log and refuses to start it",
			"有成员未由 %s 正常退出：%s 无法重做旧日志，会拒绝启动", h.From, h.To), next)
	case state["fresh"] == "yes" && d.crosses("E2"):
		return refuse("DM-067", say.F(
			"the library was initialised and never started: %s must have started and closed it once",
			"该库初始化后从未启动：须先用 %s 启动一次并正常退出", h.From), say.Text{})
	}
	return release.Answer{}, false
}

func (d Duties) forbidNodes(r PathRequest, _ release.Hop, state map[string]string) (release.Answer, bool) {
	if state["node"] != "error" || !r.Topology.shared() {
		return release.Answer{}, false
	}
	rule := d.rules["nodes"]
	return refuse(rule, say.F(
		"a node of the DSC cluster is in ERROR: it would hang at the start and the other nodes would fail",
		"DSC 有节点处于 ERROR 状态：升级启动时故障节点会挂起，正常节点会报错"),
		say.F("bring the node back with the old software first", "请先用旧版本把故障节点恢复正常"))
}

func (d Duties) forbidState(r PathRequest, h release.Hop, state map[string]string) (release.Answer, bool) {
	if !r.Topology.watched() || !d.strict() {
		return release.Answer{}, false
	}
	if state["standby"] == "mount" && d.AllOpen {
		return refuse(d.rules["open"], say.F(
			"a standby is in MOUNT: all members must be OPEN before they are stopped for %s",
			"有备库处于 MOUNT 状态：升级到 %s 之前所有成员都须为 OPEN", h.To),
			say.F("bring the standby to OPEN first", "请先让备库恢复到 OPEN"))
	}
	if state["standby"] == "lagging" && d.Consistent && !d.ModeDance {
		return refuse(d.rules["consistent"], say.F(
			"with a DSC member the page format may change only while primary and standby are equal: replay would hang",
			"含 DSC 成员时，页格式升级要求主备完全一致：否则备库重演会挂起或超时"),
			say.F("wait until the standby has caught up", "请等待备库追平主库"))
	}
	return release.Answer{}, false
}

func (d Duties) forbidHuge(r PathRequest, h release.Hop, state map[string]string) (release.Answer, bool) {
	if !d.crosses("E4") || !r.HugeTables || state["huge-accepted"] == "yes" {
		return release.Answer{}, false
	}
	a := release.No(release.Block, "DM-081", say.F(
		"HUGE tables that %s created cannot be used after the upgrade to %s",
		"%s 创建的 HUGE 表升级到 %s 后不可用", h.From, h.To))
	a.Next = say.F("move them into ordinary tables first, or accept the loss: --fact huge-accepted=yes",
		"请先迁移为普通表，或确认放弃：--fact huge-accepted=yes")
	return a, true
}

// notes are the duties of a hop in words.
func (d Duties) notes(r PathRequest, h release.Hop) []release.Note {
	var out []release.Note
	add := func(on bool, rule string, t say.Text) {
		if on {
			out = append(out, release.Note{Rule: rule, Says: t})
		}
	}
	r2 := h.Runbook == R2 || h.Runbook == R2+"+"+R5
	add(true, "DM-001", say.F("a backup of the data exists", "须有数据备份"))
	add(d.strict(), d.rules["exit"], say.F("every member is closed normally by %s, in the order of Data Watch",
		"所有成员由 %s 按守护系统退出顺序正常退出", h.From))
	add(d.AllOpen && r.Topology.watched(), d.rules["open"], say.F("all members are OPEN before they are stopped", "停机前所有成员均为 OPEN"))
	add(d.NodesWell, d.rules["nodes"], say.F("no DSC node is faulty, and every node exits normally", "DSC 无故障节点，且每个节点都正常退出"))
	add(d.Consistent && !r2, d.rules["consistent"], say.F("each standby has replayed all of the primary", "各备库已与主库完全一致"))
	add(d.MoveArchives, "DM-023", say.F("all archives are moved out of their directories", "所有归档文件移出归档目录"))
	add(d.MagicDiffers && !r2, "DM-024", say.F("the DB_MAGIC of each standby differs from the primary's", "各备库的 DB_MAGIC 与主库不同"))
	add(d.ModeDance && !r2, "DM-030", say.F("ALTER_MODE_STATUS is 1 while the databases are opened by SQL", "用 SQL 打开数据库期间 ALTER_MODE_STATUS 为 1"))
	add(d.ModeDance && !r2, "DM-032", say.F("every standby is OPEN before the primary opens", "所有备库先于主库 OPEN"))
	add(d.ModeDance && !r2 && r.Topology == DWDSC, "DM-034", say.F("the archive to the control node of a DSC standby is made valid before the primary opens",
		"主库打开前，先把指向 DSC 备库控制节点的归档置为有效"))
	add(d.WatchersLast, "DM-026", say.F("dmwatcher and dmmonitor start last", "dmwatcher 与 dmmonitor 最后启动"))
	add(r.Facts["async"] == "yes" && d.crosses("E1"), "DM-025", say.F("an asynchronous standby is configured anew in the way of V4.0", "异步备库须按 V4.0 方式重新配置"))
	add(r.Topology == DSC && h.From.Part(0) == 7 && h.To.Part(0) == 8, "DM-090", say.F("DCR and voting disks are initialised anew", "重新初始化 DCR 与 Voting 磁盘"))
	add(d.crosses("E5") && r.Facts["asm"] != "4100", "DM-091", say.F("ASM disks below version 4100: DCR and voting disks are initialised anew", "ASM 磁盘版本低于 4100：重新初始化 DCR 与 Voting 磁盘"))
	add(r.Rolling && d.crosses("E6"), "DM-093", say.F("no DDL on upgraded nodes until all nodes are upgraded", "全部节点升级完成之前，禁止在已升级节点上执行 DDL"))
	add(d.crosses("E4") && !r.HugeTables, "DM-080", say.F("without HUGE tables the HUGE path of MAIN may be left for later (R5)", "没有 HUGE 表时，MAIN 的 HUGE 升级（R5）可以不做"))
	add(d.crosses("E4") && r.HugeTables, "DM-081", say.F("HUGE tables of the old release are lost, as acknowledged", "旧版本的 HUGE 表将不可用（已确认）"))
	add(needsProofOfLog(r), "DM-004", say.F("the log was never encrypted; if it was, there is no way", "确认日志从未加密；若曾加密则不支持升级"))
	return out
}

func needsProofOfLog(r PathRequest) bool {
	return !r.LogEncrypted && release.V(7, 1, 5, 125).AtLeast(r.origin()) && r.To.AtLeast(newRedo)
}

// losses say what can never be undone, and from which step on.
func losses(c *release.Catalogue, r PathRequest, h release.Hop) []release.Note {
	var out []release.Note
	for _, id := range h.Epochs {
		e, ok := c.Epoch(id)
		if !ok {
			continue
		}
		changes := say.Text{EN: e.Changes.EN, ZH: e.Changes.ZH}
		out = append(out, release.Note{Rule: lossRule(e, r.Topology), Says: say.Text{
			EN: id + " cannot be undone from " + lossStep(id, h.Runbook).EN + " on (" + changes.EN + "); only the cold copy leads back",
			ZH: id + " 自" + lossStep(id, h.Runbook).ZH + "起不可撤销（" + changes.ZH + "），之后只能恢复冷备",
		}})
	}
	return out
}

func lossRule(e release.Epoch, t Topology) string {
	if e.ID == "E3" && t.shared() {
		return "DM-074"
	}
	return e.Rule
}

// lossStep names the step of the runbook from which an epoch stays.
func lossStep(id, runbook string) say.Text {
	first := say.F("the first start of a member with the new software", "首次用新版本启动任一成员")
	switch {
	case slices.Contains([]string{"E2", "E3", "E6"}, id):
		return first
	case id == "E4":
		return say.F("the first start behind R5", "R5 之后首次启动")
	case id == "E5":
		return say.F("the initialisation of the DCR disk", "DCR 磁盘重新初始化")
	case runbook == R1 || runbook == R1+"+"+R5:
		return say.F("R1 step 5, the opening of the primary", "R1 第 5 步（打开主库）")
	case runbook == R2 || runbook == R2+"+"+R5:
		return say.F("R2 step 2, the opening of the primary", "R2 第 2 步（打开主库）")
	}
	return first
}
