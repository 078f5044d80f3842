package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// standbyBySignal reports how the server would come up, or has come up: a
// data directory with standby.signal is a standby.
func (s *site) standbyBySignal(ctx context.Context) (bool, error) { return s.exists(ctx, s.signal()) }

// bringUp starts the server in the role that its data directory has. One that
// would accept writes is started only when no other node does (I3).
func (s *site) bringUp(ctx context.Context) error {
	p, err := s.process(ctx)
	if err != nil || p.running() && !p.stopping() {
		return err
	}
	if p.stopping() {
		if err := s.waitGone(ctx); err != nil {
			return err
		}
	}
	standby, err := s.standbyBySignal(ctx)
	if err != nil {
		return err
	}
	if !standby {
		err = s.onlyPrimary(ctx)
	} else {
		err = s.canFollow(ctx)
	}
	if err != nil {
		return err
	}
	return s.startServer(ctx)
}

// onlyPrimary proves that no other node accepts writes (I3). An answer that was
// lost proves nothing; a machine that does not answer at all is gone.
func (s *site) onlyPrimary(ctx context.Context) error {
	for _, name := range s.env.Inventory.Names() {
		if name == s.Name {
			continue
		}
		o, err := siteOf(s.env, name)
		if err != nil {
			return err
		}
		writes, err := o.acceptsWrites(ctx)
		if err != nil {
			return err
		}
		if writes {
			return &say.Problem{
				Place: s.Name,
				Text:  say.F("it would start as a second primary beside %s", "启动后将与 %s 同时成为主库", name),
				Next: say.F("let %s follow %s and move the role back to it (and pause what moves it), then: shiplift resume, or shiplift rollback",
					"让 %s 跟随 %s 并将主库切回该节点（并暂停自动切换的组件），然后执行 shiplift resume 或 shiplift rollback", s.Name, name),
			}
		}
	}
	return nil
}

// acceptsWrites asks a server whether it is a primary. One that runs and cannot
// be asked is a standby as long as its standby.signal lies there: it may need
// the primary before it lets anybody in.
func (s *site) acceptsWrites(ctx context.Context) (bool, error) {
	c, err := s.connect(ctx)
	if err == nil {
		defer c.close()
		var recovering bool
		if recovering, err = c.inRecovery(ctx); err == nil {
			return !recovering, nil
		}
	}
	p, perr := s.process(ctx)
	if perr != nil || !p.running() {
		return false, ignoreGone(perr)
	}
	standby, serr := s.standbyBySignal(ctx)
	if serr != nil || standby {
		return false, serr
	}
	return false, &say.Problem{
		Place: s.Name, Err: err,
		Text: say.F("its server runs, is no standby and cannot be asked whether it is the primary", "其数据库正在运行且不是备库，但无法确认它是否为主库"),
		Next: say.F("shiplift status", "shiplift status"),
	}
}

// stopAction stops a server cleanly.
type stopAction struct{}

func (stopAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return nil, err
	}
	if fits, err := s.inRole(ctx, t.Step); err != nil || fits {
		return nil, err
	}
	return nil, s.moved(t.Step)
}

// stopsStandby reports the role of the server that a step stops, as the plan has it:
// a primary is stopped only where the whole cluster is.
func stopsStandby(step plan.Step) bool {
	return step.Impact != plan.WritesStop && step.Impact != plan.Down || step.Args["received-all-of"] != ""
}

// inRole reports whether a server has the role in which a step is to stop it. By
// standby.signal, it knows that of a stopped server too.
func (s *site) inRole(ctx context.Context, step plan.Step) (bool, error) {
	standby, err := s.standbyBySignal(ctx)
	return standby == stopsStandby(step), err
}

// moved tells that a server does not have the role in which a step is to stop it.
func (s *site) moved(step plan.Step) error {
	if stopsStandby(step) {
		return s.movedHere()
	}
	return s.movedAway()
}

// stillPrimary refuses a step that was planned while a node was the primary
// which is not any more: what a memo would keep now is not what the cluster had
// when the plan was made, and a rollback would lead back to that.
func stillPrimary(ctx context.Context, env driver.Env, name string) error {
	if name == "" {
		return nil // a plan of an older release of the tool
	}
	s, err := siteOf(env, name)
	if err != nil {
		return err
	}
	writes, err := s.acceptsWrites(ctx)
	if err != nil || writes {
		return err
	}
	return s.movedAway()
}

// movedAway refuses a step that takes a node for the primary which is not any more.
func (s *site) movedAway() error {
	return &say.Problem{
		Place: s.Name,
		Text:  say.F("it is not the primary now, and the plan takes it for the primary: it is down, or somebody has moved the role since the plan was made", "该节点现在不是主库，而计划将其视为主库：其数据库已停止，或生成计划之后有人切换过主库"),
		Next:  say.F("start %s, or move the role back to it (and pause what moves it), then: shiplift resume, or shiplift rollback", "启动 %s，或将主库切回该节点（并暂停自动切换的组件），然后执行 shiplift resume 或 shiplift rollback", s.Name),
	}
}

// movedHere refuses a step that takes a node for a standby which is the primary now.
func (s *site) movedHere() error {
	return &say.Problem{
		Place: s.Name,
		Text:  say.F("it is the primary now, and the plan takes it for a standby: somebody has moved the role since the plan was made", "该节点现在是主库，而计划将其视为备库：生成计划之后有人切换过主库"),
		Next:  say.F("move the role back (and pause what moves it), then: shiplift resume, or shiplift rollback", "将主库切回原节点（并暂停自动切换的组件），然后执行 shiplift resume 或 shiplift rollback"),
	}
}

func (stopAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	p, err := s.process(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if p.stopping() {
		return driver.Half, nil
	}
	if p.running() {
		return driver.NotApplied, nil
	}
	c, err := s.control(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if c.State != stateShutDown && c.State != stateShutDownInRecovery {
		return driver.Half, nil // crashed: a start makes it clean again
	}
	if fits, err := s.inRole(ctx, t.Step); err != nil || !fits {
		return driver.Half, err // stopped in the other role: it goes on in that
	}
	return driver.Applied, nil
}

func (stopAction) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	if of := t.Step.Args["received-all-of"]; of != "" {
		if err := s.provenComplete(ctx, of, report(t)); err != nil {
			return err
		}
	}
	if err := s.stopGently(ctx); err != nil {
		return err
	}
	if fits, err := s.inRole(ctx, t.Step); err != nil || fits {
		return err
	}
	// It got the other role between the question and the stop. The step is half
	// done, and undone: the server goes on as what it is now, or the cluster would
	// have no primary.
	return s.moved(t.Step)
}

// stopGently writes down first what a stop would write, so that the stop is short.
func (s *site) stopGently(ctx context.Context) error {
	if c, err := s.connect(ctx); err == nil {
		err = c.checkpoint(ctx, s.StopWait)
		c.close()
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return s.stopServer(ctx)
}

// provenComplete waits until a standby has replayed the shutdown checkpoint of
// a node that is stopped: nothing was written after it (I4).
func (s *site) provenComplete(ctx context.Context, of string, tell func(say.Text)) error {
	up, err := siteOf(s.env, of)
	if err != nil {
		return err
	}
	if err := up.waitStopped(ctx); err != nil {
		return err
	}
	end, err := up.control(ctx)
	if err != nil {
		return err
	}
	p, err := s.process(ctx)
	if err != nil {
		return err
	}
	if !p.running() {
		return nil // stopped by an earlier attempt, which had proven it
	}
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	spec := wait.Spec{
		What: say.F("%s has the last record of %s (%s)", "%s 已收到 %s 的最后一条记录（%s）", s.Name, of, end.Checkpoint.String()), Node: s.Name,
		Deadline: s.CatchUpWait, Stall: stallLimit, Every: 20 * time.Millisecond, Next: "shiplift rollback",
	}
	return wait.For(ctx, s.env.Clock, spec, tell, func(ctx context.Context) (wait.Look, error) {
		_, replayed, err := c.positions(ctx)
		left := float64(end.Checkpoint) - float64(replayed)
		return wait.Look{Done: replayed > end.Checkpoint, Left: left, Says: say.F("replayed %s", "已回放 %s", replayed.String())}, err
	})
}

func (stopAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	if err := s.bringUp(ctx); err != nil {
		return err
	}
	return s.proveBack(ctx, report(t))
}

// proveBack proves that a server that was brought up again does its part: a
// primary accepts writes, a standby follows as soon as there is a primary.
func (s *site) proveBack(ctx context.Context, tell func(say.Text)) error {
	standby, err := s.standbyBySignal(ctx)
	if err != nil {
		return err
	}
	if !standby {
		return s.proveWrites(ctx)
	}
	p, err := findPrimary(ctx, s.env)
	if err != nil || p == nil {
		return err // without a primary there is nobody to follow yet
	}
	defer p.close()
	up, err := s.upstreamUp(ctx)
	if err != nil || !up {
		return err
	}
	return s.proveFollows(ctx, p.conn, "", tell)
}

// upstreamUp reports whether the server that a standby is told to follow runs.
func (s *site) upstreamUp(ctx context.Context) (bool, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return false, err
	}
	defer c.close()
	ci, _, err := c.conninfo(ctx)
	if err != nil {
		return false, err
	}
	for _, n := range s.env.Inventory.Nodes {
		u := confOf(n)
		if h := ci.get("host"); (h == u.Address || h == u.Host) && ci.get("port") == u.Port {
			up, err := siteOf(s.env, u.Name)
			if err != nil {
				return false, err
			}
			p, err := up.process(ctx)
			return err == nil && p.running(), nil // one that cannot be asked is not waited for
		}
	}
	return true, nil
}

// proveWrites proves that a server is a primary and writes.
func (s *site) proveWrites(ctx context.Context) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	return s.waitWrites(ctx, c)
}

func (s *site) waitWrites(ctx context.Context, c *conn) error {
	spec := wait.Spec{
		What: say.F("%s accepts writes", "%s 可写", s.Name), Node: s.Name,
		Deadline: s.StartWait, Every: 20 * time.Millisecond, Next: "shiplift resume",
	}
	return wait.For(ctx, s.env.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		recovering, err := c.inRecovery(ctx)
		if err != nil || recovering {
			return wait.Look{Says: say.F("it is in recovery", "仍处于恢复状态")}, err
		}
		_, err = c.nudge(ctx)
		return wait.Look{Done: err == nil}, err
	})
}

// startAction starts a server on a release and proves its role.
type startAction struct{}

func (startAction) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (startAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	p, err := s.process(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if !p.running() {
		return driver.NotApplied, nil
	}
	if !p.runs(t.Step.Args["release"]) || p.stopping() {
		return driver.Half, nil // somebody started the other release, or it is going down
	}
	c, err := s.connect(ctx)
	if err != nil {
		return driver.Half, nil // it runs and is not there yet
	}
	defer c.close()
	recovering, err := c.inRecovery(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if recovering != (t.Step.Args["upstream"] != "") {
		if t.Undoing {
			return driver.Half, nil // the way back stops it whatever its role, and the steps before this one give it the right one
		}
		return driver.Unknown, say.Errorf("%s: in recovery: %t; the plan expects the other role", "%s：处于恢复状态：%t；计划要求的是另一角色", s.Name, recovering)
	}
	if recovering && t.Step.Args["follows"] != "later" {
		r, err := c.receiver(ctx)
		if err != nil {
			return driver.Unknown, err
		}
		if !r.streams() {
			return driver.Half, nil
		}
	}
	return driver.Applied, nil
}

func (startAction) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	wantStandby := t.Step.Args["upstream"] != ""
	standby, err := s.standbyBySignal(ctx)
	if err != nil {
		return err
	}
	if standby != wantStandby {
		return &say.Problem{
			Place: s.Name,
			Text: say.F("standby.signal is there: %t; the plan expects it: %t. Starting would give the node the wrong role",
				"standby.signal 存在：%t；计划预期：%t。此时启动会使节点角色错误", standby, wantStandby),
			Next: say.F("shiplift rollback", "shiplift rollback"),
		}
	}
	if err := s.bringUp(ctx); err != nil {
		return err
	}
	if err := s.proveRelease(ctx, t.Step.Args["release"]); err != nil {
		return err
	}
	switch {
	case !wantStandby:
		return s.proveWrites(ctx)
	case t.Step.Args["follows"] == "later":
		return s.proveRecovery(ctx)
	}
	return s.proveChain(ctx, t)
}

// proveRelease proves which release runs: by the binary and by what it says.
func (s *site) proveRelease(ctx context.Context, release string) error {
	p, err := s.process(ctx)
	if err != nil {
		return err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	id, err := c.identity(ctx)
	if err != nil {
		return err
	}
	if !p.runs(release) || id.Version != release {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("the server runs %s (%s), not release %s", "服务器运行的是 %s（%s），而不是版本 %s", p.Exe, id.Version, release),
			Next:  say.F("shiplift resume (it is started again, with that release), or shiplift rollback", "执行 shiplift resume（将以该版本重新启动），或 shiplift rollback"),
		}
	}
	return nil
}

func (s *site) proveRecovery(ctx context.Context) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	recovering, err := c.inRecovery(ctx)
	if err == nil && !recovering {
		err = say.Errorf("%s: started as a standby, but accepts writes", "%s：以备库启动，却接受写入", s.Name)
	}
	return err
}

// proveChain proves that a standby follows its upstream, and those below it again.
func (s *site) proveChain(ctx context.Context, t driver.Target) error {
	p, err := findPrimary(ctx, t.Env)
	if err != nil {
		return err
	}
	if p == nil {
		return noPrimary()
	}
	defer p.close()
	if err := s.proveFollows(ctx, p.conn, t.Step.Args["upstream"], report(t)); err != nil {
		return err
	}
	for _, name := range strings.Fields(t.Step.Args["below"]) {
		below, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		if err := below.proveFollows(ctx, p.conn, s.Name, report(t)); err != nil {
			return err
		}
	}
	return nil
}

func (startAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	p, err := s.process(ctx)
	if err != nil {
		return err
	}
	if !p.running() {
		return nil // also after a crash: the next start recovers
	}
	return s.stopGently(ctx)
}

// makeSlotsAction makes physical slots; dropSlotsAction drops them.
type makeSlotsAction struct{}

type slotsMemo struct {
	Existed []string `json:"existed"`
}

func slotsMemoOf(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return nil, err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	have, err := c.slotNames(ctx)
	if err != nil {
		return nil, err
	}
	m := slotsMemo{Existed: []string{}}
	for _, name := range strings.Fields(t.Step.Args["slots"]) {
		if _, ok := have[name]; ok {
			m.Existed = append(m.Existed, name)
		}
	}
	return remember(m)
}

// slotNames returns the slots by name and whether they are in use.
func (c *conn) slotNames(ctx context.Context) (map[string]bool, error) {
	rows, err := c.table(ctx, "slot-names", `select slot_name, active::text from pg_replication_slots order by slot_name`)
	have := map[string]bool{}
	for _, r := range rows {
		have[r[0]] = yes(r[1])
	}
	return have, err
}

// slotsStand compares what is there with what a step wants.
func slotsStand(ctx context.Context, t driver.Target, want bool) (driver.Standing, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	defer c.close()
	have, err := c.slotNames(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	names, right := strings.Fields(t.Step.Args["slots"]), 0
	for _, name := range names {
		if _, ok := have[name]; ok == want {
			right++
		}
	}
	switch right {
	case len(names):
		return driver.Applied, nil
	case 0:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

// setSlots makes or drops slots of a node and proves it.
func setSlots(ctx context.Context, t driver.Target, names []string, want bool) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil || len(names) == 0 {
		return err
	}
	c, err := s.up(ctx, t.Undoing)
	if err != nil {
		return err
	}
	defer c.close()
	var busy error
	for _, name := range names {
		if want {
			err = c.makeSlot(ctx, name)
		} else if err = c.dropSlot(ctx, name); sqlState(err) == "55006" && t.Undoing { // object_in_use
			// A node still streams through it, since its way back is owed.
			busy, err = &driver.Owed{Node: t.Step.Node, Err: err}, nil
		}
		if err != nil {
			return err
		}
	}
	have, err := c.slotNames(ctx)
	if err != nil || busy != nil {
		return cmpErr(err, busy)
	}
	for _, name := range names {
		if _, ok := have[name]; ok != want {
			return say.Errorf("%s: slot %s is there: %t, wanted: %t", "%s：复制槽 %s 存在：%t，应为：%t", s.Name, name, ok, want)
		}
	}
	return nil
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// up connects; a rollback first brings a server up that is down.
func (s *site) up(ctx context.Context, undoing bool) (*conn, error) {
	if undoing {
		if err := s.bringUp(ctx); err != nil {
			return nil, err
		}
	}
	return s.connect(ctx)
}

func (makeSlotsAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	return slotsMemoOf(ctx, t)
}

func (makeSlotsAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	return slotsStand(ctx, t, true)
}

func (makeSlotsAction) Do(ctx context.Context, t driver.Target) error {
	return setSlots(ctx, t, strings.Fields(t.Step.Args["slots"]), true)
}

func (makeSlotsAction) Undo(ctx context.Context, t driver.Target) error {
	if err := awaited(ctx, t); err != nil {
		return err
	}
	var m slotsMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	return setSlots(ctx, t, without(strings.Fields(t.Step.Args["slots"]), m.Existed), false)
}

// awaited is owed to the node that slots are made for while that is away, or its
// server is down: it will need their WAL to come back, and those that were moved
// off it still use them. They go when it is back.
func awaited(ctx context.Context, t driver.Target) error {
	name := t.Step.Args["for"]
	if name == "" {
		return nil
	}
	s, err := siteOf(t.Env, name)
	if err != nil {
		return err
	}
	p, err := s.process(ctx)
	switch {
	case gone(err):
		return &driver.Owed{Node: name, Err: err}
	case err == nil && !p.running():
		return &driver.Owed{Node: name, Err: &say.Problem{Place: name, Text: say.F("its server does not run", "其数据库未运行"), Next: say.F("shiplift rollback", "shiplift rollback")}}
	}
	return nil
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(a string) bool { return slices.Contains(some, a) })
}

type dropSlotsAction struct{}

func (dropSlotsAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	return slotsMemoOf(ctx, t)
}

func (dropSlotsAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	return slotsStand(ctx, t, false)
}

func (dropSlotsAction) Do(ctx context.Context, t driver.Target) error {
	return setSlots(ctx, t, strings.Fields(t.Step.Args["slots"]), false)
}

func (dropSlotsAction) Undo(ctx context.Context, t driver.Target) error {
	var m slotsMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	return setSlots(ctx, t, m.Existed, true)
}
