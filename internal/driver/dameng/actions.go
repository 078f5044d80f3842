package dameng

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// deed is how one kind of step is done. Fields that are nil do nothing; a nil
// probe says "not applied", which makes a step that only reads be done again.
type deed struct {
	prepare func(context.Context, *task) (any, error)
	probe   func(context.Context, *task) (driver.Standing, error)
	do      func(context.Context, *task) error
	undo    func(context.Context, *task) error
}

// task is a step with the cluster around it.
type task struct {
	driver.Target
	s *site
	n *node   // the step's node
	m *member // the node's member
}

func newTask(t driver.Target) (*task, error) {
	s, err := newSite(t.Env)
	if err != nil {
		return nil, err
	}
	k := &task{Target: t, s: s, n: s.node(t.Step.Node)}
	if k.n == nil {
		return nil, say.Errorf("step %s: no node %q", "步骤 %s：没有节点 %q", t.Step.ID, t.Step.Node)
	}
	k.m = s.member(k.n.member)
	return k, nil
}

func (k *task) arg(name string) string { return k.Step.Args[name] }

func (k *task) from() release.Version { return k.version("from") }
func (k *task) to() release.Version   { return k.version("to") }

func (k *task) version(name string) release.Version {
	v, err := release.Parse(k.arg(name))
	if err != nil {
		return release.Version{}
	}
	return v
}

func (k *task) crosses(epoch string) bool {
	return slices.Contains(strings.Split(k.arg("epochs"), ","), epoch)
}

func (k *task) primary() *member { return k.s.member(k.arg("primary")) }

func (k *task) report(t say.Text) {
	if k.Report != nil {
		k.Report(t)
	}
}

func (k *task) memo(into any) error {
	if len(k.Memo) == 0 {
		return nil
	}
	if err := json.Unmarshal(k.Memo, into); err != nil {
		return say.Errorf("step %s: read the memo: %w", "步骤 %s：读取备忘：%w", k.Step.ID, err)
	}
	return nil
}

var _ driver.Action = deed{}

// Prepare reads what undo will need.
func (d deed) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	if d.prepare == nil {
		return nil, nil
	}
	k, err := newTask(t)
	if err != nil {
		return nil, err
	}
	v, err := d.prepare(ctx, k)
	if err != nil || v == nil {
		return nil, err
	}
	return json.Marshal(v)
}

// Probe tells where the hosts stand.
func (d deed) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	if d.probe == nil {
		return driver.NotApplied, nil
	}
	k, err := newTask(t)
	if err != nil {
		return driver.Unknown, err
	}
	return d.probe(ctx, k)
}

// Do does the step.
func (d deed) Do(ctx context.Context, t driver.Target) error {
	k, err := newTask(t)
	if err != nil {
		return err
	}
	return d.do(ctx, k)
}

// Undo takes it back.
func (d deed) Undo(ctx context.Context, t driver.Target) error {
	if d.undo == nil {
		return nil
	}
	k, err := newTask(t)
	if err != nil {
		return err
	}
	if !k.m.shared() || k.Plan.Request.Mode == "rolling" {
		return d.undo(ctx, k)
	}
	if err := k.memberAnswers(ctx); err != nil {
		return err
	}
	if err := d.undo(ctx, k); err != nil {
		return err
	}
	return k.n.change(ctx, "rm", "-f", k.owedMark()) // if it was this step that was owed
}

// memberAnswers holds the way back of a DSC member together: with one of its
// nodes away, its servers cannot be stopped as one, and what lies under a server
// that runs must not be taken from it (DM-095). A step that was left out for that
// holds those behind it on its node, also when the other node is there again.
// In a rolling upgrade each node goes alone.
func (k *task) memberAnswers(ctx context.Context) error {
	other := ""
	for _, n := range k.m.nodes {
		if n == k.n {
			continue
		}
		other = n.name
		if _, err := n.serverProcess(ctx); err != nil {
			held, rerr := k.owed(ctx)
			if rerr != nil {
				return rerr // unmarked it would not hold the steps behind it
			}
			if held != "" {
				return &driver.Owed{Node: n.name, Err: err}
			}
			if merr := k.setMark(ctx, k.n, k.owedMark(), k.Step.ID); merr != nil {
				return merr
			}
			return &driver.Owed{Node: n.name, Err: err}
		}
	}
	held, err := k.owed(ctx)
	if err != nil || held == "" || held == k.Step.ID {
		return err
	}
	return &driver.Owed{Node: other, Err: problem(k.n.name, say.F("%s has to be taken back first", "须先回退 %s", held), say.F("shiplift rollback", "shiplift rollback"))}
}

// owed is the step of this node that was left out since another node of its
// member did not answer; empty when there is none.
func (k *task) owed(ctx context.Context) (string, error) {
	text, err := k.n.read(ctx, k.owedMark())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(text), err
}

func (k *task) owedMark() string { return k.markOf(k.n, "owed") }

var deeds = map[string]deed{
	"stage":           {prepare: stagePrepare, probe: stageProbe, do: stageDo, undo: stageUndo},
	"wait-equal":      {do: waitEqual},
	"stop-monitor":    helperStop("dmmonitor", "monitor_service"),
	"stop-watcher":    helperStop("dmwatcher", "watcher_service"),
	"stop-asm":        helperStop("dmasmsvr", "asm_service"),
	"stop-css":        helperStop("dmcss", "css_service"),
	"start-monitor":   helperStart("dmmonitor", "monitor_service"),
	"start-watcher":   helperStart("dmwatcher", "watcher_service"),
	"start-asm":       helperStart("dmasmsvr", "asm_service"),
	"start-css":       helperStart("dmcss", "css_service"),
	"stop-server":     {prepare: serverWas, probe: stopServerProbe, do: stopServerDo, undo: stopServerUndo},
	"prove-exit":      {do: proveExit},
	"move-archives":   {prepare: archivesPrepare, probe: archivesProbe, do: archivesDo, undo: archivesUndo},
	"cold-copy":       {probe: coldProbe, do: coldDo, undo: coldUndo},
	"switch-bin":      {probe: switchProbe, do: switchDo, undo: switchUndo},
	"mode-status":     {prepare: modePrepare, probe: modeProbe, do: modeDo, undo: modeUndo},
	"start-server":    {probe: startServerProbe, do: startServerDo, undo: startServerUndo},
	"open-standby":    {probe: openProbe, do: openStandby, undo: openUndo},
	"open-primary":    {probe: openProbe, do: openPrimary},
	"force-open":      {probe: forceProbe, do: forceOpen},
	"prove-standby":   {probe: proveProbe, do: proveStandby},
	"backup-primary":  {probe: backupProbe, do: backupDo},
	"restore-standby": {probe: restoreProbe, do: restoreDo},
	"adopt-standby":   {probe: adoptProbe, do: adoptDo},
	"huge":            {probe: hugeProbe, do: hugeDo},
	"init-dcr":        {probe: dcrProbe, do: dcrDo},
	"wait-open":       {probe: waitOpenProbe, do: waitOpen, undo: waitOpenUndo},
	"stop-node":       {prepare: nodeWas, probe: stopNodeProbe, do: stopNodeDo, undo: stopNodeUndo},
	"stop-css-first":  {probe: sharedDownProbe, do: sharedDown, undo: sharedUp},
	"start-node":      {probe: startNodeProbe, do: startNodeDo, undo: startNodeUndo},
	"clean-up":        {do: cleanUp, probe: cleanProbe},
	"put-back-bin":    {prepare: putBackPrepare, probe: putBackProbe, do: putBackDo, undo: putBackUndo},
}

// Action returns how steps of a kind are done.
func (Driver) Action(kind string) (driver.Action, bool) {
	d, ok := deeds[kind]
	return d, ok
}

// ---- helpers: monitor, watcher, asm, css ----

// wellBefore reports whether a node was healthy when the plan was made: the
// way back restores that, also where a loss of power came in between.
func (k *task) wellBefore(n *node) bool { return k.Plan.Before[n.name].Healthy }

type wasActive struct {
	Active bool `json:"active"`
}

func helperStop(tool, setting string) deed {
	return deed{
		prepare: func(ctx context.Context, k *task) (any, error) {
			up, err := k.n.alive(ctx, tool, k.n.set[setting])
			return wasActive{up}, err
		},
		probe: func(ctx context.Context, k *task) (driver.Standing, error) {
			var was wasActive
			if err := k.memo(&was); err != nil {
				return driver.Unknown, err
			}
			up, err := k.n.alive(ctx, tool, k.n.set[setting])
			return standing(err, !up && was.Active || !was.Active)
		},
		do: func(ctx context.Context, k *task) error {
			return k.n.stopHelper(ctx, tool, k.n.set[setting])
		},
		undo: func(ctx context.Context, k *task) error {
			var was wasActive
			if err := k.memo(&was); err != nil || !was.Active && !k.wellBefore(k.n) {
				return err
			}
			if tool == "dmwatcher" {
				if err := k.reviveOld(ctx, k.n); err != nil {
					return err
				}
			}
			if err := k.n.startUnit(ctx, k.n.set[setting]); err != nil {
				return err
			}
			if k.arg("settle") == "yes" {
				return k.settle(ctx)
			}
			return k.n.staysUp(ctx, tool, k.n.set[setting])
		},
	}
}

func helperStart(tool, setting string) deed {
	return deed{
		probe: func(ctx context.Context, k *task) (driver.Standing, error) {
			up, err := k.n.alive(ctx, tool, k.n.set[setting])
			return standing(err, up)
		},
		do: func(ctx context.Context, k *task) error {
			if tool == "dmwatcher" {
				if err := k.reviveAll(ctx, []*node{k.n}, false); err != nil {
					return err
				}
			}
			if err := k.n.startUnit(ctx, k.n.set[setting]); err != nil {
				return err
			}
			return k.n.staysUp(ctx, tool, k.n.set[setting])
		},
		undo: func(ctx context.Context, k *task) error { return k.n.stopHelper(ctx, tool, k.n.set[setting]) },
	}
}

// stopHelper stops a helper, and dmasmsvr before the dmcss that it lives on
// (DM-095): a machine that was without power while its step failed may have
// started it by itself since, and no step takes that back.
func (n *node) stopHelper(ctx context.Context, tool, service string) error {
	if asm := n.set["asm_service"]; tool == "dmcss" && asm != "" {
		if err := n.stopUnit(ctx, "dmasmsvr", asm); err != nil {
			return err
		}
	}
	return n.stopUnit(ctx, tool, service)
}

func standing(err error, applied bool) (driver.Standing, error) {
	switch {
	case err != nil:
		return driver.Unknown, err
	case applied:
		return driver.Applied, nil
	}
	return driver.NotApplied, nil
}

// staysUp sees that a helper is still there after a few seconds: watchers and
// monitors that find no valid open history end by themselves (DM-026).
func (n *node) staysUp(ctx context.Context, tool, service string) error {
	looks := 0
	return n.waitFor(ctx, say.F("%s on %s stays up", "%[2]s 上的 %[1]s 保持运行", tool, n.name), n.settleTime(), "shiplift status", nil, func(ctx context.Context) (wait.Look, error) {
		up, err := n.alive(ctx, tool, service)
		if err != nil {
			return wait.Look{}, err
		}
		if !up {
			return wait.Look{}, problem(n.name, say.F("%s ended by itself: the state of Data Watch is not to be trusted (DM-044)", "%s 自行退出：守护系统状态不可信（DM-044）", tool),
				say.F("look at its log in %s/log, then plan with --option runbook=r2", "请查看 %s/log 中的日志，然后以 --option runbook=r2 重新计划", n.home()))
		}
		looks++
		return wait.Look{Done: looks >= 3}, nil
	})
}

// ---- servers ----

type serverBefore struct {
	Up     bool   `json:"up"`
	Status string `json:"status"`
}

func serverWas(ctx context.Context, k *task) (any, error) {
	in, err := k.n.state(ctx)
	return serverBefore{in.Up, in.Status}, err
}

// running tells which nodes of the member have a dmserver.
func (m *member) running(ctx context.Context) (up, down int, err error) {
	for _, n := range m.nodes {
		pid, err := n.serverProcess(ctx)
		if err != nil {
			return 0, 0, err
		}
		if pid != 0 {
			up++
		} else {
			down++
		}
	}
	return up, down, nil
}

func stopServerProbe(ctx context.Context, k *task) (driver.Standing, error) {
	up, down, err := k.m.running(ctx)
	switch {
	case err != nil:
		return driver.Unknown, err
	case up == 0:
		begun, err := k.openingBegun(ctx)
		return standing(err, begun == "")
	case down == 0:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

// stopServerDo ends the database of a member normally. It never kills: an exit
// that does not end is reported with what was seen (DM-044, DM-096).
func stopServerDo(ctx context.Context, k *task) error {
	begun, err := k.openingBegun(ctx)
	if err != nil {
		return err
	}
	if begun == "" {
		if err := k.s.noWatchers(ctx); err != nil {
			return err
		}
		if up, _, err := k.m.running(ctx); err != nil || up == 0 {
			return err
		}
		if k.leavesOld() {
			ready, err := k.readyToLeave(ctx)
			if err != nil {
				return err
			}
			if !ready {
				begun = opening
			}
		}
	}
	if begun != "" {
		if err := k.openOnceMore(ctx, begun); err != nil {
			return err
		}
	}
	return k.m.stop(ctx, k.report)
}

// noWatchers proves that no dmwatcher is left that would start a server again.
func (s *site) noWatchers(ctx context.Context) error {
	for _, n := range s.nodes {
		for _, tool := range []string{"dmwatcher", "dmmonitor"} {
			up, err := n.alive(ctx, tool, n.set[strings.TrimPrefix(tool, "dm")+"_service"])
			if err != nil {
				return err
			}
			if up {
				return problem(n.name, say.F("%s is running: it would start servers again, or meet a state it does not know (DM-026)", "%s 仍在运行：它会重新拉起数据库或遇到无法识别的状态（DM-026）", tool),
					say.F("stop it the way it was started, then run the same command again", "请用当初的启动方式停止它，然后重新执行"))
			}
		}
	}
	return nil
}

func (m *member) stop(ctx context.Context, report func(say.Text)) error {
	if m.shared() {
		if err := m.epStop(ctx, m.first().set["db_group"]); err != nil && !host.IsExit(err) {
			if up, _, rerr := m.running(ctx); rerr != nil || up > 0 {
				return m.hangs(ctx, err)
			}
		}
	} else if up, err := m.first().active(ctx, m.first().set["server_service"]); err != nil {
		return err
	} else if up {
		if _, err := m.first().unit(ctx, "stop", m.first().set["server_service"], m.first().stopTime()); err != nil {
			return m.hangs(ctx, err)
		}
	}
	n := m.first()
	err := n.waitFor(ctx, say.F("the server of %s has ended", "%s 的数据库进程已退出", m.name), n.stopTime(), "shiplift resume", report, func(ctx context.Context) (wait.Look, error) {
		up, _, err := m.running(ctx)
		if up > 0 && !m.shared() {
			if active, aerr := n.active(ctx, n.set["server_service"]); aerr == nil && !active {
				return wait.Look{}, m.hangs(ctx, say.Errorf("the service is inactive and dmserver runs", "服务已停止，但 dmserver 仍在运行"))
			}
		}
		return wait.Look{Done: up == 0, Left: float64(up), Says: say.F("%d still there", "还有 %d 个", up)}, err
	})
	return err
}

func (m *member) hangs(ctx context.Context, cause error) error {
	log, _ := m.first().logTail(ctx)
	return &say.Problem{Place: m.name, Err: cause,
		Text: say.F("the server did not end; it was not killed, since a kill makes the exit unclean. Last line of its log: %s", "数据库没有退出；未强杀，因为强杀会使退出不正常。其日志最后一行：%s", lastLine(log)),
		Next: say.F("stop it the way it was started (service or script), then shiplift resume", "请用当初的启动方式（服务或脚本）停止它，然后 shiplift resume")}
}

// stopServerUndo starts the member again with whatever software is in place.
func stopServerUndo(ctx context.Context, k *task) error {
	if err := k.n.change(ctx, "rm", "-f", k.openingMark()); err != nil {
		return err
	}
	var was serverBefore
	if err := k.memo(&was); err != nil || !was.Up && !k.wellBefore(k.n) {
		return err
	}
	for _, n := range k.m.nodes {
		if err := k.isBack(ctx, n); err != nil {
			return err
		}
	}
	if err := k.m.start(ctx, release.Version{}, "", k.report); err != nil {
		return err
	}
	if k.s.topology.watched() {
		return nil // the watchers open it
	}
	return k.settle(ctx)
}

// start starts every node of a member and waits until it answers. want is the
// state it must be in; "" any. A zero release is not compared.
func (m *member) start(ctx context.Context, v release.Version, want string, report func(say.Text)) error {
	for _, n := range m.nodes {
		if err := n.startUnder(ctx); err != nil {
			return err
		}
	}
	for _, n := range m.nodes {
		if err := n.startServer(ctx); err != nil {
			return err
		}
	}
	for _, n := range m.nodes {
		if err := n.answers(ctx, v, want, report); err != nil {
			return err
		}
	}
	return nil
}

// startServer starts the service of a server that does not run. Where the
// manager believes that it runs, it is asked to stop it first.
func (n *node) startServer(ctx context.Context) error {
	service := n.set["server_service"]
	for range 2 {
		pid, err := n.serverProcess(ctx)
		if err != nil || pid != 0 {
			return err
		}
		if up, err := n.active(ctx, service); err != nil {
			return err
		} else if up {
			if _, err := n.unit(ctx, "stop", service, n.stopTime()); err != nil {
				return err
			}
		}
		if err := n.startUnit(ctx, service); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) answers(ctx context.Context, v release.Version, want string, report func(say.Text)) error {
	ask := n.look
	if v.IsZero() {
		ask = n.state
	}
	return n.waitFor(ctx, say.F("%s answers", "%s 可以连接", n.name), n.startTime(), "shiplift status", report, func(ctx context.Context) (wait.Look, error) {
		in, err := ask(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		if !in.Up {
			pid, err := n.serverProcess(ctx)
			if err == nil && pid == 0 {
				return wait.Look{}, n.startFailed(ctx, n.set["server_service"], say.Errorf("dmserver has ended", "dmserver 已退出"))
			}
			return wait.Look{Says: say.F("not yet", "尚未就绪")}, err
		}
		if !v.IsZero() && !in.Release.Same(v) {
			return wait.Look{}, problem(n.name, say.F("the server says it is %s, %s was expected", "数据库报告版本为 %s，应为 %s", in.Release, v), say.F("look at the package", "请检查升级包"))
		}
		return wait.Look{Done: want == "" || in.Status == want, Says: say.Same(in.Status)}, nil
	})
}

// start-server: Probe, Do and Undo.

func startServerProbe(ctx context.Context, k *task) (driver.Standing, error) {
	up, down, err := k.m.running(ctx)
	switch {
	case err != nil:
		return driver.Unknown, err
	case up == 0:
		return driver.NotApplied, nil
	case down > 0:
		return driver.Half, nil
	}
	for _, n := range k.m.nodes {
		in, err := n.look(ctx)
		if err != nil {
			return driver.Unknown, err
		}
		if !in.Up || !in.Release.Same(k.to()) {
			return driver.Half, nil
		}
	}
	return driver.Applied, nil
}

func startServerDo(ctx context.Context, k *task) error {
	if k.arg("quiet") == "yes" {
		if err := k.s.noWatchers(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(k.noOldArchives(ctx), k.noFaultyNode(ctx)); err != nil {
		return err
	}
	if err := k.touched(ctx); err != nil {
		return err
	}
	if err := k.wake(ctx, k.m); err != nil {
		return err
	}
	return k.m.start(ctx, k.to(), k.arg("want"), k.report)
}

// noFaultyNode sees before a DSC cluster is started over a change of format that
// dmcss calls none of its nodes faulty: the others would fail, and it would hang (DM-021).
func (k *task) noFaultyNode(ctx context.Context) error {
	d := DutiesOf(k.s.topology, strings.Split(k.arg("epochs"), ","))
	if up, _, err := k.m.running(ctx); err != nil || up > 0 || !k.m.shared() || !d.strict() {
		return err
	}
	rows, err := k.m.cssRows(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.OK == "ERROR" {
			return problem(k.m.name, say.F("dmcss calls its node %s faulty (%s %s): started now, it would hang (DM-021)", "dmcss 显示节点 %s 故障（%s %s）：此时启动会挂起（DM-021）", r.Instance, r.Status, r.VTD),
				say.F("put the node right in dmcssm, then shiplift resume", "请在 dmcssm 中处理该节点，然后 shiplift resume"))
		}
	}
	return nil
}

func startServerUndo(ctx context.Context, k *task) error {
	if k.repairing() {
		return nil
	}
	if up, _, err := k.m.running(ctx); err != nil || up == 0 {
		return err
	}
	if err := k.release(ctx); err != nil {
		return err
	}
	return k.m.stop(ctx, k.report)
}

// release takes a standby out of what the primary feeds. A node that did not
// answer while the others went back is stopped when the primary serves again,
// and a standby that is fed must not be stopped first (DM-020).
func (k *task) release(ctx context.Context) error {
	p := k.primary()
	if !k.s.topology.watched() || p == nil || p == k.m {
		return nil
	}
	for _, n := range p.nodes {
		in, err := n.state(ctx)
		if err != nil {
			return &driver.Owed{Node: n.name, Err: err} // it may serve, and feed this standby
		}
		if !in.Up || in.Mode != "PRIMARY" {
			continue
		}
		for _, t := range k.m.nodes {
			if err := n.tell(ctx, time.Minute, "SP_SET_ARCH_STATUS('"+t.instance()+"', 1)"); err != nil {
				return err
			}
		}
	}
	return nil
}

// ---- opening ----

// openProbe: a step that opens is applied when every node of its member is open.
func openProbe(ctx context.Context, k *task) (driver.Standing, error) {
	for _, n := range k.m.nodes {
		in, err := n.state(ctx)
		if err != nil {
			return driver.Unknown, err
		}
		if in.Status != "OPEN" { // also one that died: it is woken first
			return driver.NotApplied, nil
		}
	}
	return driver.Applied, nil
}

const openForce = "ALTER DATABASE OPEN FORCE"

func openStandby(ctx context.Context, k *task) error { return k.openNodes(ctx, nil) }

func (k *task) openNodes(ctx context.Context, before func(*node) error) error {
	if err := k.wake(ctx, k.m); err != nil {
		return err
	}
	for _, n := range k.m.nodes {
		in, err := n.state(ctx)
		if err != nil {
			return err
		}
		if in.Status == "OPEN" {
			continue // never opened twice: opening a primary again would be another open of its history
		}
		if before != nil {
			if err := before(n); err != nil {
				return err
			}
		}
		if err := n.tell(ctx, n.openTime(), openForce); err != nil {
			if isCode(err, codeForbidden) {
				return &say.Problem{Place: n.name, Err: err, Text: say.F("the server does not let SQL open it (DM-030)", "数据库不允许用 SQL 打开（DM-030）"), Next: say.F("see that ALTER_MODE_STATUS is 1 and no dmwatcher runs", "请确认 ALTER_MODE_STATUS 为 1 且没有 dmwatcher 运行")}
			}
			return err
		}
		if err := n.answers(ctx, k.to(), "OPEN", k.report); err != nil {
			return err
		}
	}
	return nil
}

// openUndo takes a standby back to MOUNT.
func openUndo(ctx context.Context, k *task) error {
	for _, n := range k.m.nodes {
		in, err := n.state(ctx)
		if err != nil {
			return err
		}
		if in.Status != "OPEN" {
			continue
		}
		if err := n.tell(ctx, n.openTime(), "ALTER DATABASE MOUNT"); err != nil {
			return err
		}
	}
	return nil
}

// openPrimary opens the primary only while every standby is open (DM-032), and
// names the control node of each DSC standby as target first (DM-034).
func openPrimary(ctx context.Context, k *task) error {
	if err := k.s.noWatchers(ctx); err != nil {
		return err
	}
	targets, err := k.openTargets(ctx)
	if err != nil {
		return err
	}
	return k.openNodes(ctx, func(n *node) error {
		for _, t := range targets {
			if err := n.tell(ctx, time.Minute, "SP_SET_ARCH_STATUS('"+t+"', 0)"); err != nil {
				return err
			}
		}
		return nil
	})
}

// openTargets proves that every standby is open and returns the control nodes
// of those that are DSC clusters.
func (k *task) openTargets(ctx context.Context) (targets []string, err error) {
	for _, m := range k.s.members {
		if m == k.m {
			continue
		}
		if err := k.reopenStandby(ctx, m); err != nil {
			return nil, err
		}
		for _, n := range m.nodes {
			in, err := n.state(ctx)
			if err != nil {
				return nil, err
			}
			if in.Status != "OPEN" || in.Mode != "STANDBY" {
				return nil, problem(n.name, say.F("it is %s %s; every standby must be open before the primary opens (DM-032)", "当前为 %s %s；主库打开之前所有备库必须已打开（DM-032）", in.Mode, orNone(in.Status)), say.F("shiplift resume", "shiplift resume"))
			}
		}
		if m.shared() {
			target, err := m.control(ctx)
			if err != nil {
				return nil, err
			}
			targets = append(targets, target)
		}
	}
	return targets, nil
}

// control returns the instance of the control node of a DSC member.
func (m *member) control(ctx context.Context) (string, error) {
	t, err := m.first().ask(ctx, "SELECT EP_NAME, EP_MODE FROM V$DSC_EP_INFO")
	if err != nil {
		return "", err
	}
	for i := range t.rows {
		if strings.HasPrefix(t.get(i, "EP_MODE"), "Control") {
			name := t.get(i, "EP_NAME")
			return name, aName(name)
		}
	}
	return "", say.Errorf("%s: no control node", "%s：没有控制节点", m.name)
}

// forceProbe: open, and ALTER_MODE_STATUS is back at 0 on every node. A run
// that died between the two once left it at 1, and the watchers ended (DM-041).
func forceProbe(ctx context.Context, k *task) (driver.Standing, error) {
	got, err := openProbe(ctx, k)
	if err != nil || got != driver.Applied {
		return got, err
	}
	for _, n := range k.m.nodes {
		f, err := n.config(ctx, n.ini())
		if err != nil {
			return driver.Unknown, err
		}
		if f.Get("ALTER_MODE_STATUS") != "0" {
			return driver.NotApplied, nil
		}
	}
	return driver.Applied, nil
}

// forceOpen opens a primary whose standbys are down (DM-050): in this order.
func forceOpen(ctx context.Context, k *task) error {
	if err := k.s.noWatchers(ctx); err != nil {
		return err
	}
	err := k.openNodes(ctx, func(n *node) error {
		return n.tell(ctx, time.Minute, "SP_SET_ALL_ARCH_STATUS(1)", "SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 1)")
	})
	if err != nil {
		return err
	}
	for _, n := range k.m.nodes {
		if err := n.tell(ctx, time.Minute, "SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 0)"); err != nil {
			return err
		}
	}
	if k.crosses("E1") {
		err = k.m.history(ctx)
	}
	return err
}

// history reads SYSOPENHISTORY; a missing table is a sqlError.
func (m *member) history(ctx context.Context) error {
	t, err := m.first().ask(ctx, "SELECT * FROM SYSOPENHISTORY")
	if err != nil {
		return say.Errorf("%s: SYSOPENHISTORY: %w", "%s：SYSOPENHISTORY：%w", m.name, err)
	}
	if len(t.rows) == 0 {
		return say.Errorf("%s: SYSOPENHISTORY has no rows", "%s：SYSOPENHISTORY 中没有行", m.name)
	}
	return nil
}
