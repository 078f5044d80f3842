package dameng

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// ---- before the exit ----

// waitEqual waits until a standby has replayed all of the primary. Nothing has
// been changed when it ends in vain: the way over a backup is open.
func waitEqual(ctx context.Context, k *task) error {
	got, err := k.s.untilEqual(ctx, k.primary(), k.m, k.from(), k.n.equalTime(), k.report)
	if err != nil || got == same {
		return err
	}
	return &say.Problem{Place: k.m.name,
		Text: say.F("it did not become equal with the primary (%s): old archives are unusable after the upgrade, so the primary could not send the rest (DM-022)",
			"备库未与主库一致（%s）：升级后旧归档不可用，主库无法补发（DM-022）", string(got)),
		Next: say.F("shiplift rollback, then shiplift plan --option runbook=r2: the primary is upgraded alone and the standbys are restored from its backup",
			"shiplift rollback，然后 shiplift plan --option runbook=r2：先单独升级主库，再用其备份还原备库")}
}

// proveExit requires that every node is gone and that its log, or for DSC the
// group's table, says that it went normally (spec/dameng.md 3, DW exit order).
func proveExit(ctx context.Context, k *task) error {
	for _, n := range k.m.nodes {
		pid, err := n.serverProcess(ctx)
		if err != nil {
			return err
		}
		if pid != 0 {
			return k.unclean(n, say.F("dmserver runs (process %d)", "dmserver 仍在运行（进程 %d）", pid))
		}
		log, err := n.logTail(ctx)
		if err != nil {
			return err
		}
		if clean, evidence := lastExit(log); !clean {
			return k.unclean(n, say.F("its log ends with %q", "其日志最后为 %q", evidence))
		}
	}
	if !k.m.shared() {
		return nil
	}
	rows, err := k.m.cssRows(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if !r.down() {
			return k.unclean(k.n, say.F("dmcssm shows %s as %s %s %s", "dmcssm 显示 %s 为 %s %s %s", r.Instance, r.Status, r.VTD, r.OK))
		}
	}
	return nil
}

func (k *task) unclean(n *node, what say.Text) error {
	if k.arg("runbook") == repairExit {
		return &say.Problem{Place: n.name, Text: say.Join(": ", say.F("it was not closed normally", "未正常退出"), what),
			Next: say.F("look at its log, then shiplift rollback and shiplift repair-exit once more", "请查看其日志，然后 shiplift rollback，并再次执行 shiplift repair-exit")}
	}
	return &say.Problem{Place: n.name,
		Text: say.Join(": ", say.F("it was not closed normally by %s, and %s would refuse it (DM-002)", "未由 %s 正常退出，%s 会拒绝启动（DM-002）", k.from(), k.to()), what),
		Next: say.F("shiplift rollback, then shiplift repair-exit", "shiplift rollback，然后 shiplift repair-exit")}
}

// ---- behind the opening of the primary ----

// sick is the mark that a standby did not take part in the upgrade and has to
// be restored (R1.F).
func (k *task) sick(m *member) string { return k.markOf(m.first(), "sick-"+m.name) }

// markOf is a file in Shiplift's own directory on a node that remembers how far
// a step has come that leaves no other trace. It belongs to this plan alone.
func (k *task) markOf(n *node, what string) string {
	return n.file("marks-" + k.planTag() + "/" + what + "-" + k.arg("to"))
}

func (k *task) planTag() string {
	tag := k.Plan.Observed
	if i := strings.LastIndexByte(tag, ':'); i >= 0 {
		tag = tag[i+1:]
	}
	return tag[:min(len(tag), 12)]
}

func (k *task) setMark(ctx context.Context, n *node, mark, text string) error {
	if err := n.change(ctx, "mkdir", "-p", path.Dir(mark)); err != nil {
		return err
	}
	return host.WriteFile(ctx, n.host, mark, []byte(text+"\n"), 0o644)
}

// proveProbe: a standby is judged when it is marked, or shows its open history.
func proveProbe(ctx context.Context, k *task) (driver.Standing, error) {
	marked, err := k.n.exists(ctx, k.sick(k.m))
	if err != nil || marked || !k.crosses("E1") {
		return standing(err, marked)
	}
	err = k.m.history(ctx)
	var code *sqlError
	if errors.As(err, &code) {
		return driver.NotApplied, nil
	}
	return standing(err, err == nil)
}

func proveStandby(ctx context.Context, k *task) error {
	why, err := k.proveUpgraded(ctx)
	if err != nil || why.IsZero() {
		return err
	}
	k.report(why)
	return k.setMark(ctx, k.m.first(), k.sick(k.m), why.EN)
}

// proveUpgraded returns why a standby has to be restored; nothing when it was upgraded.
func (k *task) proveUpgraded(ctx context.Context) (say.Text, error) {
	restore := func(why say.Text) (say.Text, error) {
		return say.Join(": ", say.F("%s did not take part in the upgrade and will be restored (R1.F)", "%s 未完成升级，将用备份还原（R1.F）", k.m.name), why), nil
	}
	if !k.crosses("E1") {
		// The hop inside DM7: no SYSOPENHISTORY there; the later proofs are OPEN and dmmonitor.
		return say.Text{}, nil
	}
	// A primary that died behind its opening is opened again: it is the new release's library already.
	p := *k
	p.m, p.n = k.primary(), k.primary().first()
	if err := p.openNodes(ctx, nil); err != nil {
		return say.Text{}, err
	}
	if err := k.primary().history(ctx); err != nil {
		return say.Text{}, err
	}
	got, err := compare(ctx, k.primary(), k.m, k.n.equalTime(), k.report)
	if err != nil {
		if down, why := k.lost(ctx, err); down {
			return restore(why)
		}
		return say.Text{}, err
	}
	if got != same && got != growing {
		return restore(say.Same(string(got)))
	}
	limit := k.n.equalTime()
	err = k.n.waitFor(ctx, say.F("SYSOPENHISTORY on %s", "%s 上的 SYSOPENHISTORY", k.m.name), limit, "", k.report, func(ctx context.Context) (wait.Look, error) {
		err := k.m.history(ctx)
		if isCode(err, codeNoTable) {
			return wait.Look{Says: say.F("not there yet", "尚未出现")}, nil
		}
		return wait.Look{Done: err == nil}, err
	})
	var waited *wait.Error
	if errors.As(err, &waited) {
		return restore(say.F("SYSOPENHISTORY is missing (DM-037)", "缺少 SYSOPENHISTORY（DM-037）"))
	}
	if err != nil {
		if down, why := k.lost(ctx, err); down {
			return restore(why)
		}
	}
	return say.Text{}, err
}

// lost reports whether the standby died when it was asked (DM-038).
func (k *task) lost(ctx context.Context, err error) (bool, say.Text) {
	if !isCode(err, codeLinkLost, codeNoServer) {
		return false, say.Text{}
	}
	up, _, rerr := k.m.running(ctx)
	return rerr == nil && up == 0, say.F("its server ended when it was asked (DM-038)", "查询时其数据库退出（DM-038）")
}

// ---- backup and restore ----

// rman runs statements of dmrman, each with the member's dm.ini for %s. The
// helper dmap is not needed (USE_AP=2).
func (k *task) rman(ctx context.Context, stmts ...string) error { return k.rmanAt(ctx, k.n, stmts...) }

func (k *task) rmanAt(ctx context.Context, n *node, stmts ...string) error {
	for _, stmt := range stmts {
		if strings.Contains(stmt, "%s") {
			stmt = fmt.Sprintf(stmt, n.ini())
		}
		argv := []string{n.bin("dmrman"), "CTLSTMT=" + stmt, "USE_AP=2"}
		if dcr := n.set["dcr_ini"]; dcr != "" {
			argv = append(argv, "DCR_INI="+dcr)
		}
		out, err := n.run(ctx, host.Cmd{Argv: argv, Timeout: n.backupTime()})
		if err != nil && !host.IsExit(err) {
			return err
		}
		// Success is a word and no code; the exit status proves nothing (spec/dameng.md 4.8).
		if m := reCode.FindStringSubmatch(out); m != nil || err != nil || !strings.Contains(out, "successfully") {
			code := ""
			if m != nil {
				code = m[0]
			}
			return &say.Problem{Place: n.name, Err: err, Text: say.F("dmrman did not succeed: %s: %s", "dmrman 执行失败：%s：%s", stmt, orLast(code, out)),
				Next: say.F("shiplift resume", "shiplift resume")}
		}
	}
	return nil
}

func orLast(code, out string) string {
	if code != "" {
		return code
	}
	return lastLine(out)
}

func (k *task) upgradeSet(n *node) string { return n.backups() + "/upgrade-" + k.arg("to") }

// marked returns the standbys that are to be restored.
func (k *task) marked(ctx context.Context) ([]*member, error) {
	var out []*member
	for _, m := range k.s.members {
		if m == k.primary() {
			continue
		}
		if k.arg("marked") == "yes" {
			there, err := m.first().exists(ctx, k.sick(m))
			if err != nil {
				return nil, err
			}
			if !there {
				continue
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// backed is the mark that the primary was backed up, or needed no backup.
func (k *task) backed() string { return k.markOf(k.n, "backed-up") }

func backupProbe(ctx context.Context, k *task) (driver.Standing, error) {
	done, err := k.n.exists(ctx, k.backed())
	return standing(err, done)
}

func backupDo(ctx context.Context, k *task) error {
	if got, err := backupProbe(ctx, k); err != nil || got == driver.Applied {
		return err
	}
	ms, err := k.marked(ctx)
	if err != nil {
		return err
	}
	if len(ms) > 0 {
		set := k.upgradeSet(k.n)
		if err := k.n.change(ctx, "rm", "-rf", set); err != nil {
			return err
		}
		if err := k.n.change(ctx, "mkdir", "-p", path.Dir(set)); err != nil {
			return err
		}
		if err := k.rman(ctx, "BACKUP DATABASE '%s' FULL TO SHIPLIFT_UPGRADE BACKUPSET '"+set+"'", "CHECK BACKUPSET '"+set+"'"); err != nil {
			return err
		}
	}
	return k.setMark(ctx, k.n, k.backed(), "")
}

// restored is the mark that a standby was restored and has its own DB_MAGIC, or needed no restore.
func (k *task) restored() string { return k.markOf(k.n, "restored-"+k.m.name) }

func restoreProbe(ctx context.Context, k *task) (driver.Standing, error) {
	done, err := k.n.exists(ctx, k.restored())
	return standing(err, done)
}

// restoreDo never leaves out the RECOVER between RESTORE and UPDATE DB_MAGIC.
func restoreDo(ctx context.Context, k *task) error {
	if got, err := restoreProbe(ctx, k); err != nil || got == driver.Applied {
		return err
	}
	ms, err := k.marked(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(ms, k.m) {
		return k.setMark(ctx, k.n, k.restored(), "")
	}
	from, set := k.primary().first(), k.upgradeSet(k.n)
	if k.n.set["backup_copy"] != "shared" {
		if err := k.n.change(ctx, "rm", "-rf", set); err != nil {
			return err
		}
		if err := k.n.change(ctx, "mkdir", "-p", path.Dir(set)); err != nil {
			return err
		}
		c := host.Change("scp", "-r", "-B", "-p", from.address+":"+k.upgradeSet(from), path.Dir(set)+"/")
		c.Timeout = k.n.backupTime()
		if _, err := k.n.host.Run(ctx, c); err != nil {
			return &say.Problem{Place: k.n.name, Err: err, Text: say.F("the backup of the primary could not be fetched", "无法取得主库的备份"),
				Next: say.F("let %s log in to %s without a password, or set backup_copy: shared", "请配置 %s 到 %s 的免密登录，或设置 backup_copy: shared", k.n.name, from.name)}
		}
	}
	if err := k.rman(ctx, "CHECK BACKUPSET '"+set+"'", "RESTORE DATABASE '%s' FROM BACKUPSET '"+set+"'",
		"RECOVER DATABASE '%s' FROM BACKUPSET '"+set+"'", "RECOVER DATABASE '%s' UPDATE DB_MAGIC"); err != nil {
		return err
	}
	return k.setMark(ctx, k.n, k.restored(), "")
}

// ---- what a restored standby is ----

func (k *task) adopted() string { return k.markOf(k.n, "adopted-"+k.m.name) }

func adoptProbe(ctx context.Context, k *task) (driver.Standing, error) {
	done, err := k.n.exists(ctx, k.adopted())
	return standing(err, done)
}

// isStandby reports whether the library is a standby of the group.
func isStandby(ctx context.Context, k *task) (bool, error) {
	in, err := k.n.state(ctx)
	if err != nil {
		return false, err
	}
	oguid, err := k.oguid(ctx)
	return in.Mode == "STANDBY" && in.OGUID == oguid, err
}

func (k *task) oguid(ctx context.Context) (string, error) {
	if v := k.n.set["oguid"]; v != "" {
		return v, nil
	}
	in, err := k.primary().first().state(ctx)
	return in.OGUID, err
}

// adoptDo gives a restored library the mode and the group of a standby while
// it is in MOUNT: two primaries would open otherwise (I3).
func adoptDo(ctx context.Context, k *task) error {
	if err := k.s.noWatchers(ctx); err != nil {
		return err
	}
	is, err := isStandby(ctx, k)
	if err != nil {
		return err
	}
	if !is {
		if err := k.makeStandby(ctx); err != nil {
			return err
		}
		if is, err = isStandby(ctx, k); err != nil || !is {
			return errors.Join(err, say.Errorf("%s: it is still no STANDBY of the group", "%s：仍不是该组的 STANDBY", k.m.name))
		}
	}
	// A run that died while the mode was changed has left it open to SQL (DM-041).
	for _, n := range k.m.nodes {
		f, err := n.config(ctx, n.ini())
		if err != nil {
			return err
		}
		if f.Get("ALTER_MODE_STATUS") == "1" {
			if err := n.tell(ctx, time.Minute, "SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 0)"); err != nil {
				return err
			}
		}
	}
	own, err1 := k.m.position(ctx)
	theirs, err2 := k.primary().position(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if own.Magic == theirs.Magic {
		return problem(k.m.name, say.F("its DB_MAGIC %d is the primary's: they would not synchronise (DM-024)", "其 DB_MAGIC %d 与主库相同，无法同步（DM-024）", own.Magic),
			say.F("run RECOVER DATABASE … UPDATE DB_MAGIC with dmrman while it is stopped, then shiplift resume", "停库后用 dmrman 执行 RECOVER DATABASE … UPDATE DB_MAGIC，然后 shiplift resume"))
	}
	return k.setMark(ctx, k.n, k.adopted(), "")
}

func (k *task) makeStandby(ctx context.Context) error {
	oguid, err := k.oguid(ctx)
	if err != nil {
		return err
	}
	if err := cluster.Number(oguid); err != nil {
		return say.Errorf("%s: OGUID %q: %w", "%s：OGUID %q：%w", k.n.name, oguid, err)
	}
	for _, n := range k.m.nodes {
		if err := n.tell(ctx, time.Minute, "SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 1)"); err != nil {
			return err
		}
	}
	if err := k.n.tell(ctx, time.Minute, "SP_SET_OGUID("+oguid+")", "ALTER DATABASE STANDBY"); err != nil {
		return err
	}
	for _, n := range k.m.nodes {
		if err := n.tell(ctx, time.Minute, "SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 0)"); err != nil {
			return err
		}
	}
	return nil
}

// ---- all is open ----

// settle waits on the way back until every member that was up is open again.
func (k *task) settle(ctx context.Context) error {
	for _, n := range k.s.nodes {
		if k.wellBefore(n) {
			if err := k.reviveOld(ctx, n); err != nil {
				return err
			}
			if err := n.startWatcher(ctx); err != nil { // one that went with the power is nobody else's to start
				return err
			}
		}
	}
	return k.n.waitFor(ctx, say.F("every database is OPEN again", "所有数据库恢复 OPEN"), k.n.settleTime()+k.n.openTime(), "shiplift status", k.report, func(ctx context.Context) (wait.Look, error) {
		return k.s.lookOpen(ctx, false)
	})
}

// waited is the mark that all was open: the step is one that changes something,
// since it may start a server again.
func (k *task) waited() string { return k.markOf(k.n, "all-open") }

func waitOpenProbe(ctx context.Context, k *task) (driver.Standing, error) {
	done, err := k.n.exists(ctx, k.waited())
	if err != nil || !done {
		return standing(err, false)
	}
	look, err := k.s.lookOpen(ctx, k.s.topology.watched())
	return standing(err, look.Done)
}

func waitOpenUndo(ctx context.Context, k *task) error {
	return k.n.change(ctx, "rm", "-f", k.waited())
}

// waitOpen is the end of every runbook (DM-043, DM-063).
func waitOpen(ctx context.Context, k *task) error {
	if err := k.reviveAll(ctx, k.s.nodes, true); err != nil {
		return err
	}
	err := k.n.waitFor(ctx, say.F("every database is OPEN", "所有数据库 OPEN"), k.n.settleTime()+k.n.openTime(), "shiplift status", k.report, func(ctx context.Context) (wait.Look, error) {
		return k.s.lookOpen(ctx, k.s.topology.watched())
	})
	if err != nil {
		return err
	}
	return k.setMark(ctx, k.n, k.waited(), "")
}

// lookOpen counts the nodes that are not open, and archives to standbys that
// are not VALID where they matter. Two primaries end the wait at once.
func (s *site) lookOpen(ctx context.Context, archives bool) (wait.Look, error) {
	var missing []string
	var primaries []*member
	for _, m := range s.members {
		for i, n := range m.nodes {
			in, err := n.state(ctx)
			if err != nil {
				return wait.Look{}, err
			}
			if in.Status != "OPEN" {
				missing = append(missing, n.name+" "+orNone(in.Status))
			}
			if i == 0 && in.Mode == "PRIMARY" && in.Status == "OPEN" {
				primaries = append(primaries, m)
			}
		}
	}
	if len(primaries) > 1 {
		return wait.Look{}, problem(primaries[0].name, say.F("two primaries are open: %s as well (I3)", "出现两个打开的主库：还有 %s（I3）", primaries[1].name),
			say.F("stop one of them now", "请立即停止其中一个"))
	}
	if archives && len(missing) == 0 && len(primaries) == 1 {
		bad, err := primaries[0].badArchives(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		missing = bad
	}
	return wait.Look{Done: len(missing) == 0, Left: float64(len(missing)), Says: say.Same(strings.Join(missing, ", "))}, nil
}

// badArchives are the realtime archives of a primary that are not VALID.
func (m *member) badArchives(ctx context.Context) ([]string, error) {
	var out []string
	for _, n := range m.nodes {
		t, err := n.ask(ctx, "SELECT ARCH_TYPE, ARCH_DEST, ARCH_STATUS FROM V$ARCH_STATUS")
		if err != nil {
			return nil, err
		}
		for i := range t.rows {
			if kind := t.get(i, "ARCH_TYPE"); (kind == "REALTIME" || kind == "TIMELY") && t.get(i, "ARCH_STATUS") != "VALID" {
				out = append(out, n.name+" → "+t.get(i, "ARCH_DEST")+" "+t.get(i, "ARCH_STATUS"))
			}
		}
	}
	return out, nil
}

// ---- rolling: one node of a DSC cluster ----

func nodeWas(ctx context.Context, k *task) (any, error) { return serverWas(ctx, k) }

func stopNodeProbe(ctx context.Context, k *task) (driver.Standing, error) {
	pid, err := k.n.serverProcess(ctx)
	return standing(err, pid == 0)
}

func stopNodeDo(ctx context.Context, k *task) error {
	pid, err := k.n.serverProcess(ctx)
	if err != nil || pid == 0 {
		return err
	}
	// The server ends under its session; what disql says about that proves nothing.
	_, _, err = k.n.disql(ctx, "STOP INSTANCE", host.Changes, k.n.stopTime())
	var code *sqlError
	if err != nil && !errors.As(err, &code) && !host.IsExit(err) {
		return err
	}
	return k.n.waitFor(ctx, say.F("the instance of %s has ended", "%s 的实例已退出", k.n.name), k.n.stopTime(), "shiplift resume", k.report, func(ctx context.Context) (wait.Look, error) {
		pid, err := k.n.serverProcess(ctx)
		return wait.Look{Done: pid == 0}, err
	})
}

func stopNodeUndo(ctx context.Context, k *task) error {
	var was serverBefore
	if err := k.memo(&was); err != nil || !was.Up && !k.wellBefore(k.n) {
		return err
	}
	if err := (&member{name: k.m.name, nodes: []*node{k.n}}).start(ctx, k.from(), "OPEN", k.report); err != nil {
		return err
	}
	return k.epOK(ctx)
}

// epOK waits until the cluster itself calls the node OK.
func (k *task) epOK(ctx context.Context) error {
	return k.n.waitFor(ctx, say.F("the cluster calls %s OK", "集群确认 %s 为 OK", k.n.name), k.n.settleTime(), "shiplift status", k.report, func(ctx context.Context) (wait.Look, error) {
		t, err := k.n.ask(ctx, "SELECT EP_NAME, EP_STATUS FROM V$DSC_EP_INFO")
		if err != nil {
			return wait.Look{}, err
		}
		for i := range t.rows {
			if t.get(i, "EP_NAME") == k.n.instance() {
				return wait.Look{Done: t.get(i, "EP_STATUS") == "OK", Says: say.Same(t.get(i, "EP_STATUS"))}, nil
			}
		}
		return wait.Look{Says: say.F("not listed", "未列出")}, nil
	})
}

func sharedDownProbe(ctx context.Context, k *task) (driver.Standing, error) {
	css, err1 := k.n.alive(ctx, "dmcss", k.n.set["css_service"])
	asm, err2 := k.n.alive(ctx, "dmasmsvr", k.n.set["asm_service"])
	switch err := errors.Join(err1, err2); {
	case err != nil:
		return driver.Unknown, err
	case !css && !asm:
		return driver.Applied, nil
	case css && asm:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

func sharedDown(ctx context.Context, k *task) error {
	if err := k.n.stopUnit(ctx, "dmasmsvr", k.n.set["asm_service"]); err != nil {
		return err
	}
	return k.n.stopUnit(ctx, "dmcss", k.n.set["css_service"])
}

func sharedUp(ctx context.Context, k *task) error {
	if err := k.n.startUnit(ctx, k.n.set["css_service"]); err != nil {
		return err
	}
	return k.n.startUnit(ctx, k.n.set["asm_service"])
}

func startNodeProbe(ctx context.Context, k *task) (driver.Standing, error) {
	pid, err := k.n.serverProcess(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if pid == 0 {
		under, err := sharedDownProbe(ctx, k)
		if err == nil && under != driver.Applied {
			return driver.Half, nil
		}
		return standing(err, false)
	}
	in, err := k.n.look(ctx)
	if err == nil && !(in.Status == "OPEN" && in.Release.Same(k.to())) {
		return driver.Half, nil
	}
	return standing(err, true)
}

func startNodeUndo(ctx context.Context, k *task) error {
	pid, err := k.n.serverProcess(ctx)
	if err != nil {
		return err
	}
	if pid != 0 {
		if err := k.n.answers(ctx, release.Version{}, "", k.report); err != nil {
			return err
		}
		if err := stopNodeDo(ctx, k); err != nil {
			return err
		}
	}
	return sharedDown(ctx, k)
}

func startNodeDo(ctx context.Context, k *task) error {
	if err := sharedUp(ctx, k); err != nil {
		return err
	}
	if err := (&member{name: k.m.name, nodes: []*node{k.n}}).start(ctx, k.to(), "OPEN", k.report); err != nil {
		return err
	}
	return k.epOK(ctx)
}
