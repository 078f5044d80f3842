package gbase8a

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// flushProgram is what python is asked to run; it prints 1 when the request
// was sent, which says nothing about its end (G09, spec section 3).
const flushProgram = "import gcware; print(gcware.flush_statemachine())"

// isWait reports whether err is a wait that ended in vain.
func isWait(err error) bool {
	var w *wait.Error
	return errors.As(err, &w)
}

// waitGcware is F5: every gcware row OPEN. CLUSTER STATE says ACTIVE with one
// of three OPEN (spec section 4.1), so it is not looked at (G07).
func (s *site) waitGcware(ctx context.Context, _ driver.Target) error {
	var open int
	again := map[string]bool{}
	spec := wait.Spec{What: say.F("gcware is OPEN on every node", "每个节点的 gcware 均为 OPEN"), Deadline: s.conf(s.Members[0].Name).OpenWait, Every: 3 * time.Second, Next: "gcadmin"}
	defer func() { s.limit = 0 }()
	err := wait.For(ctx, s.Clock, spec, s.report, func(ctx context.Context) (wait.Look, error) {
		s.hurry()
		st, err := s.status(ctx, "")
		if err != nil {
			if err := s.gcwareAgain(ctx, again); err != nil {
				return wait.Look{}, err
			}
			return passing(ctx, err)
		}
		if back := databaseOpen(st); len(back) > 0 {
			return wait.Look{}, &say.Problem{Text: say.F("database services came back before the flush: %s", "刷写前有数据库服务复活：%s", strings.Join(back, ", ")),
				Next: say.F("stop what starts them, then: shiplift rollback, and plan again", "停止其启动来源，然后：shiplift rollback 并重新制定计划")}
		}
		closed := s.notOpen(st)
		open = len(s.gcware()) - len(closed)
		if len(closed) > 0 {
			if err := s.gcwareAgain(ctx, again); err != nil {
				return wait.Look{}, err
			}
		}
		return wait.Look{Done: len(closed) == 0, Says: say.F("not OPEN: %s", "未 OPEN：%s", strings.Join(closed, ", "))}, nil
	})
	if !isWait(err) {
		return err
	}
	next := say.F("look at gcware.log of those nodes; then shiplift resume or shiplift rollback", "查看这些节点的 gcware.log；然后 shiplift resume 或 shiplift rollback")
	if n := len(s.gcware()); open <= n/2 { // G30
		return &say.Problem{Text: say.F("only %d of %d gcware are OPEN: without a majority the cluster is LOCKED", "仅 %d/%d 个 gcware 为 OPEN：失去多数派，集群被锁定", open, n), Next: next, Err: err}
	}
	return &say.Problem{Text: say.F("a gcware node does not open: a flush would reach only a part of the nodes", "有 gcware 节点未能 OPEN：刷写只会到达部分节点"), Next: next, Err: err}
}

// gcwareAgain starts gcware once more on nodes where it ended since its step
// started it: a machine that lost its power comes back without it, and the step
// is not taken again. One that does not answer is left to the wait.
func (s *site) gcwareAgain(ctx context.Context, again map[string]bool) error {
	for _, m := range s.gcware() {
		up, err := s.gcwareUp(ctx, m)
		if err != nil || up || again[m.Name] {
			continue
		}
		again[m.Name] = true
		s.report(say.F("%s: gcware runs no more: starting it again", "%s：gcware 已不在运行：重新启动", m.Name))
		if _, err := s.tool(ctx, m.Name, []string{gcwareTool(s.Gen), "gcware", "start"}); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// notOpen are the gcware nodes that gcadmin does not show OPEN, or not at all.
func (s *site) notOpen(st *Status) []string {
	var out []string
	for _, m := range s.gcware() {
		i := slices.IndexFunc(st.Gcware, func(r Row) bool { return r.IP == m.IP })
		if i < 0 {
			out = append(out, m.Name+" (not shown)")
		} else if st.Gcware[i].Gcware != Open {
			out = append(out, m.Name+" "+st.Gcware[i].Gcware)
		}
	}
	return out
}

// databaseOpen are the database modules that run; while gcware runs alone none should.
func databaseOpen(st *Status) []string {
	var out []string
	for _, r := range st.Coordinators {
		if r.Gcluster == Open {
			out = append(out, r.Name+" gcluster")
		}
	}
	for _, r := range st.Data {
		if r.Gnode == Open || r.Syncserver == Open {
			out = append(out, r.Name)
		}
	}
	return out
}

// ---- flush ----

// flush is F5b to F7. Its probe never says applied: between a crash and now a
// background snapshot could have been taken for the flush (G12), and flushing
// once more is harmless.
type flush struct{}

// flushMemo is the baseline: each gcware node's newest snapshot right before
// the flush, and the ".s" that earlier crashes had left.
type flushMemo struct {
	Newest map[string]Snapshot   `json:"newest"`
	Ghosts map[string][]Snapshot `json:"ghosts,omitempty"`
}

func (flush) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t)
	if err != nil {
		return nil, err
	}
	base, err := s.baseline(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(base)
}

func (s *site) baseline(ctx context.Context) (flushMemo, error) {
	base := flushMemo{Newest: map[string]Snapshot{}, Ghosts: map[string][]Snapshot{}}
	dirs, err := s.allSnapshots(ctx)
	for name, d := range dirs {
		base.Newest[name], _ = d.Newest()
		if len(d.Running) > 0 {
			base.Ghosts[name] = d.Running
		}
	}
	return base, err
}

// highest is the newest snapshot of the whole cluster before the flush.
func (m flushMemo) highest() Snapshot {
	var top Snapshot
	for _, s := range m.Newest {
		if s.Compare(top) > 0 {
			top = s
		}
	}
	return top
}

// raised is the baseline of another flush: every node's snapshot has to be newer
// than the newest that any node holds now.
func (m flushMemo) raised(dirs map[string]SnapshotDir) flushMemo {
	top := m.highest()
	for _, d := range dirs {
		if newest, _ := d.Newest(); newest.Compare(top) > 0 {
			top = newest
		}
	}
	out := flushMemo{Newest: map[string]Snapshot{}, Ghosts: m.Ghosts}
	for name := range m.Newest {
		out.Newest[name] = top
	}
	return out
}

func (flush) Probe(context.Context, driver.Target) (driver.Standing, error) {
	return driver.NotApplied, nil
}

func (flush) Undo(context.Context, driver.Target) error { return nil }

func (flush) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	if err := s.waitGcware(ctx, t); err != nil { // G06, also after a crash between the steps
		return err
	}
	var memo flushMemo
	if err := json.Unmarshal(t.Memo, &memo); err != nil {
		return say.Errorf("read the memo of the flush: %w", "读取刷写的备忘：%w", err)
	}
	if err := s.awaitFlushOfBefore(ctx, t.Memo, memo); err != nil {
		return err
	}
	return s.flushNow(ctx, t)
}

// flushNow flushes a cluster whose gcware is OPEN everywhere.
func (s *site) flushNow(ctx context.Context, t driver.Target) error {
	base, err := s.baseline(ctx) // G12: now, not when the step was begun
	if err != nil {
		return err
	}
	calls := max(s.opts.FlushCalls, 1)
	for call := 1; ; call++ {
		if err := s.callFlush(ctx, base); err != nil {
			return err
		}
		err := s.awaitFlush(ctx, base)
		switch {
		case err == nil || !isWait(err):
			return err
		case call == calls:
			return &say.Problem{Text: say.F("the flush did not complete on every gcware node after %d calls", "调用 %d 次后仍有 gcware 节点未完成刷写", call),
				Next: say.F("shiplift rollback starts the old release again; a \".s\" directory is never removed by hand", "shiplift rollback 将重新启动旧版本；切勿手工删除 \".s\" 目录"), Err: err}
		}
		if err := s.waitGcware(ctx, t); err != nil { // a node that went away meanwhile would be left out (G06)
			return err
		}
		dirs, err := s.allSnapshots(ctx)
		if err != nil {
			return err
		}
		if len(s.behind(dirs, base)) == 0 {
			return nil // the node that kept it waiting is back, and done
		}
		// The end of the first flush, on a node that was away, must not pass for
		// that of the next one, which shows nothing for a while (G09).
		base = base.raised(dirs)
		s.report(say.F("no progress: calling the flush again (%d of %d)", "没有进展：再次调用刷写（%d/%d）", call+1, calls))
	}
}

// awaitFlushOfBefore lets a flush end that an earlier attempt of this step
// began: a baseline taken in its middle would let it pass for the next one.
func (s *site) awaitFlushOfBefore(ctx context.Context, raw driver.Memo, memo flushMemo) error {
	for _, m := range s.gcware() {
		d, err := s.snapshots(ctx, m)
		if err != nil {
			return err
		}
		if len(fresh(d.Running, memo.Ghosts[m.Name])) == 0 {
			continue
		}
		if _, err := s.flushOver(ctx, m, raw); err != nil {
			return err
		}
	}
	return nil
}

// fresh are the snapshots in progress that were not there before.
func fresh(running, ghosts []Snapshot) []Snapshot {
	return slices.DeleteFunc(slices.Clone(running), func(x Snapshot) bool { return slices.Contains(ghosts, x) })
}

// callFlush asks one coordinator (G08); the next one only when it refused, or
// when its answer was lost and no snapshot shows that it did what it was asked:
// a second flush behind the end of the first would be on its way unseen while
// the first one's snapshots prove the step (G09).
func (s *site) callFlush(ctx context.Context, base flushMemo) error {
	var errs []error
	for _, m := range s.coordinators() {
		if m.Python == "" {
			continue
		}
		if len(errs) > 0 { // what keeps one coordinator from answering may have taken its gcware too (G06)
			if err := s.stillOpen(ctx); err != nil {
				return errors.Join(append(errs, err)...)
			}
		}
		done, err := s.askFlush(ctx, m.Name, []string{m.Python, "-c", flushProgram}, base)
		if done {
			return err
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return &say.Problem{Text: say.F("no coordinator has a python that imports gcware", "没有协调节点的 python 能导入 gcware"), Next: say.F("shiplift check", "shiplift check")}
	}
	return errors.Join(errs...)
}

// askFlush is one call on one coordinator. Undone, another one may be asked.
func (s *site) askFlush(ctx context.Context, node string, argv []string, base flushMemo) (done bool, _ error) {
	limit := s.conf(node).StatusWait
	res, err := s.do(ctx, node, limit, argv...)
	var gone *host.UnreachableError
	if err != nil && !host.IsExit(err) && !errors.As(err, &gone) {
		if began, e := s.flushBegan(ctx, base); began || e != nil {
			return true, e
		}
	}
	if err = silent(ctx, node, limit, argv, err); err != nil {
		return false, err
	}
	if string(res.Stdout) != "1\n" {
		return false, &say.Problem{Place: node, Text: say.F("flush_statemachine() said %q, not 1", "flush_statemachine() 返回 %q，而非 1", clip(string(res.Stdout))), Next: say.F("gcadmin", "gcadmin")}
	}
	return true, nil
}

// flushBegan watches for the grace time whether any gcware node shows a flush
// that was not there before; what could not be seen is no answer.
func (s *site) flushBegan(ctx context.Context, base flushMemo) (began bool, err error) {
	grace := s.conf(s.Members[0].Name).FlushGrace
	start := s.Clock.Now()
	spec := wait.Spec{What: say.F("it shows whether the flush began whose answer was lost", "可看出应答丢失的刷写是否已开始"), Deadline: grace + 5*time.Minute, Every: time.Second}
	err = wait.For(ctx, s.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		over := s.Clock.Now().Sub(start) >= grace
		dirs, err := s.allSnapshots(ctx)
		if err != nil {
			return passing(ctx, err)
		}
		for _, m := range s.gcware() {
			d := dirs[m.Name]
			newest, _ := d.Newest()
			began = began || newest.Compare(base.Newest[m.Name]) > 0 || len(fresh(d.Running, base.Ghosts[m.Name])) > 0
		}
		return wait.Look{Done: began || over}, nil
	})
	return began, err
}

// stillOpen refuses when a gcware is no longer OPEN.
func (s *site) stillOpen(ctx context.Context) error {
	st, err := s.status(ctx, "")
	if err != nil {
		return err
	}
	if closed := s.notOpen(st); len(closed) > 0 {
		return &say.Problem{Text: say.F("gcware is no longer OPEN everywhere: %s", "gcware 不再全部 OPEN：%s", strings.Join(closed, ", ")), Next: say.F("shiplift resume or shiplift rollback", "shiplift resume 或 shiplift rollback")}
	}
	return nil
}

// progress turns what a wait sees into the number that must shrink: it falls
// whenever the picture changes, so that a ".s" of the same name and the same
// inner size counts as no progress (G16).
type progress struct {
	last string
	left float64
}

func (p *progress) see(picture string) float64 {
	if picture != p.last {
		p.last = picture
		p.left--
	}
	return p.left
}

// awaitFlush is F7: done when every gcware node holds a whole snapshot that is
// newer than its own baseline and not older than the cluster's newest before,
// and nothing is in progress any more (G10, G11, G13).
func (s *site) awaitFlush(ctx context.Context, base flushMemo) error {
	c := s.conf(s.Members[0].Name)
	var p progress
	spec := wait.Spec{What: say.F("every gcware node holds a snapshot newer than before", "每个 gcware 节点都有比之前更新的快照"), Deadline: c.FlushWait, Stall: c.FlushStall, Every: 5 * time.Second,
		Next: "shiplift rollback"}
	return wait.For(ctx, s.Clock, spec, s.report, func(ctx context.Context) (wait.Look, error) {
		dirs, err := s.allSnapshots(ctx)
		if err != nil {
			return passing(ctx, err)
		}
		if err := s.foreign(dirs, base); err != nil {
			return wait.Look{}, err
		}
		behind := s.behind(dirs, base)
		return wait.Look{Done: len(behind) == 0, Left: p.see(s.picture(ctx, dirs)), Says: matrix(s.gcware(), dirs, base, behind)}, nil
	})
}

// behind are the gcware nodes that are not done.
func (s *site) behind(dirs map[string]SnapshotDir, base flushMemo) []string {
	var out []string
	top := base.highest()
	for _, m := range s.gcware() {
		d := dirs[m.Name]
		newest, ok := d.Newest()
		if !ok || newest.Compare(base.Newest[m.Name]) <= 0 || newest.Compare(top) < 0 || len(d.Running) > 0 {
			out = append(out, m.Name)
		}
	}
	return out
}

// foreign stops at a snapshot of a smaller term and a larger index than the
// node's baseline: no log leads there (G14).
func (s *site) foreign(dirs map[string]SnapshotDir, base flushMemo) error {
	for _, m := range s.gcware() {
		for _, x := range dirs[m.Name].Complete {
			if x.foreign(base.Newest[m.Name]) {
				return &say.Problem{Place: m.Name, Text: say.F("it has %s beside %s: a smaller term with a larger index cannot come from this cluster's log", "存在 %s，而基线为 %s：任期更小而索引更大，不可能来自本集群的日志", x, base.Newest[m.Name]),
					Next: say.F("shiplift rollback, then ask the vendor", "shiplift rollback，并联系厂商")}
			}
		}
	}
	return nil
}

// picture is all that may move while a flush runs.
func (s *site) picture(ctx context.Context, dirs map[string]SnapshotDir) string {
	var b strings.Builder
	for _, m := range s.gcware() {
		d := dirs[m.Name]
		newest, _ := d.Newest()
		fmt.Fprintf(&b, "%s %v", m.Name, newest)
		for _, r := range d.Running {
			fmt.Fprintf(&b, " %v=%s", r, s.innerSize(ctx, m.Name, fmt.Sprintf("%s/%s.s", SnapshotPath(m.gcwareBase()), r)))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// matrix shows node by node where the flush stands and who lags.
func matrix(ms []member, dirs map[string]SnapshotDir, base flushMemo, behind []string) say.Text {
	var rows []string
	for _, m := range ms {
		d := dirs[m.Name]
		newest, _ := d.Newest()
		row := fmt.Sprintf("%s %d.%d → %d.%d", m.Name, base.Newest[m.Name].Term, base.Newest[m.Name].Index, newest.Term, newest.Index)
		if len(d.Running) > 0 {
			row += fmt.Sprintf(" (%v.s)", d.Running[0])
		}
		rows = append(rows, row)
	}
	shown := strings.Join(rows, "; ")
	return say.F("%s; behind: %s", "%s；落后：%s", shown, orNone(behind))
}

// flushProven proves once more, right before gcware is stopped, that the flush
// is over on every node (G09, G17).
func (s *site) flushProven(ctx context.Context, memo driver.Memo) error {
	var base flushMemo
	if memo == nil || json.Unmarshal(memo, &base) != nil {
		return say.Errorf("the run has no record of the flush", "该次运行没有刷写的记录")
	}
	dirs, err := s.allSnapshots(ctx)
	if err != nil {
		return err
	}
	behind := s.behind(dirs, base)
	if len(behind) == 0 {
		return nil
	}
	return &say.Problem{Text: say.Join(": ", say.F("the flush is not proven, gcware is not stopped", "刷写未得到证明，不停止 gcware"), matrix(s.gcware(), dirs, base, behind)),
		Next: say.F("shiplift rollback", "shiplift rollback")}
}

// flushOver waits until no flush of this run is in progress on a node; false
// when one does not end. A request that was sent shows nothing for a while, so
// a node without a newer snapshot is watched for the grace time first.
func (s *site) flushOver(ctx context.Context, m member, memo driver.Memo) (bool, error) {
	if memo == nil {
		return true, nil // no flush was ever called
	}
	var base flushMemo
	if err := json.Unmarshal(memo, &base); err != nil {
		return false, say.Errorf("read the memo of the flush: %w", "读取刷写的备忘：%w", err)
	}
	c := s.conf(m.Name)
	var p progress
	start := s.Clock.Now()
	spec := wait.Spec{What: say.F("the flush on %s is over", "%s 上的刷写结束", m.Name), Node: m.Name, Deadline: c.FlushWait, Stall: c.FlushStall, Every: time.Second}
	err := wait.For(ctx, s.Clock, spec, s.report, func(ctx context.Context) (wait.Look, error) {
		d, err := s.snapshots(ctx, m)
		if err != nil {
			return wait.Look{}, err
		}
		newest, _ := d.Newest()
		shown := newest.Compare(base.Newest[m.Name]) > 0 || s.Clock.Now().Sub(start) >= c.FlushGrace
		picture := s.picture(ctx, map[string]SnapshotDir{m.Name: d})
		return wait.Look{Done: shown && len(fresh(d.Running, base.Ghosts[m.Name])) == 0, Left: p.see(picture)}, nil
	})
	if isWait(err) {
		return false, nil
	}
	return err == nil, err
}
