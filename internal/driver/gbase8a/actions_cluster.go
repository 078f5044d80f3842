package gbase8a

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// ---- the operator lock (G31) ----

// readLock returns who holds the lock; "" when nobody does. The lock is a
// symbolic link whose target names the owner: only one of two can make it, it
// is never there half, and ls -l shows a person who it is.
func readLock(ctx context.Context, s *site, node string) (string, error) {
	h, file := s.Hosts[node], s.conf(node).LockFile
	res, err := h.Run(ctx, host.Read("readlink", file))
	if err == nil {
		return res.Text(), nil
	}
	if !host.IsExit(err, 1) {
		return "", err
	}
	there, err := exists(ctx, h, file)
	if err != nil || !there {
		return "", err
	}
	return "somebody (" + file + " is no link)", nil
}

// owner names a run in the lock. Two processes of one run bear the same name;
// the lease keeps those apart.
func owner(t driver.Target) string {
	return fmt.Sprintf("shiplift:%s:%s", t.Plan.ClusterID, t.Plan.Observed)
}

type lock struct{}

// lockMemo is what was not as it should be when the run began (checks may have
// been skipped): the way back must bring back that and need not do better.
type lockMemo struct {
	Fallen  []string            `json:"fallen,omitempty"`
	Running map[string][]string `json:"running"` // processes by node
}

func (lock) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t)
	if err != nil {
		return nil, err
	}
	v, err := s.live(ctx)
	if err != nil {
		return nil, err
	}
	memo := lockMemo{Running: map[string][]string{}}
	for _, f := range s.fallen(v, "NORMAL") {
		memo.Fallen = append(memo.Fallen, f.Node+" "+f.Says.EN)
	}
	for _, m := range s.Members {
		ps, err := s.processes(ctx, m)
		if err != nil {
			return nil, err
		}
		memo.Running[m.Name] = processNames(ps)
	}
	return json.Marshal(memo)
}

func (lock) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t)
	if err != nil {
		return driver.Unknown, err
	}
	held, err := readLock(ctx, s, t.Step.Node)
	return applied(held == owner(t), err)
}

func (lock) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	h, file := s.Hosts[t.Step.Node], s.conf(t.Step.Node).LockFile
	held, err := readLock(ctx, s, t.Step.Node)
	if err == nil && held == "" {
		if _, err = h.Run(ctx, host.Change("ln", "-s", "-T", owner(t), file)); err == nil || host.IsExit(err, 1) {
			held, err = readLock(ctx, s, t.Step.Node)
		}
	}
	if err != nil || held == owner(t) {
		return err
	}
	return &say.Problem{Place: t.Step.Node, Text: say.F("another operator holds the cluster: %s", "另一操作者正持有该集群：%s", held),
		Next: say.F("ask them; when nobody works any more, remove %s on %s and resume", "请与其确认；若确已无人操作，删除 %[2]s 上的 %[1]s 后 resume", file, t.Step.Node)}
}

// Undo gives the lock back when the cluster is as it was: it is the last thing
// that the way back does.
func (lock) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	if held, err := readLock(ctx, s, t.Step.Node); err != nil || held != owner(t) {
		return err
	}
	var memo lockMemo
	if err := json.Unmarshal(t.Memo, &memo); err != nil {
		return say.Errorf("read the memo of the lock: %w", "读取加锁的备忘：%w", err)
	}
	err = s.startWhatRan(ctx, memo)
	if err == nil {
		err = s.asHealthyAsBefore(ctx, memo)
	}
	if err != nil {
		return s.owedIfDown(ctx, err)
	}
	return dropLock(ctx, s, t)
}

// startWhatRan starts services that ran when the run began and that no step
// has stopped: a machine that rebooted on the way comes back without them.
func (s *site) startWhatRan(ctx context.Context, memo lockMemo) error {
	for _, tool := range []string{"gcware_services", "gcluster_services"} {
		if tool == "gcware_services" && s.Gen != V953 {
			continue
		}
		for _, m := range s.Members {
			want := slices.DeleteFunc(slices.Clone(memo.Running[m.Name]), func(n string) bool { return !inScope(tool, s.Gen, n) })
			if err := s.startAll(ctx, tool, m, want); err != nil {
				return err
			}
		}
	}
	return nil
}

func dropLock(ctx context.Context, s *site, t driver.Target) error {
	held, err := readLock(ctx, s, t.Step.Node)
	if err != nil || held != owner(t) {
		return err
	}
	_, err = s.Hosts[t.Step.Node].Run(ctx, host.Change("rm", "-f", s.conf(t.Step.Node).LockFile))
	return err
}

type unlock struct{ nothing }

func (unlock) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	standing, err := lock{}.Probe(ctx, t)
	return applied(standing == driver.NotApplied, err)
}

func (unlock) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	return dropLock(ctx, s, t)
}

func (unlock) Undo(context.Context, driver.Target) error { return nil }

// owedIfDown makes an error that comes from a node that does not answer one
// that the way back may finish later.
func (s *site) owedIfDown(ctx context.Context, err error) error {
	for _, m := range s.Members {
		var gone *host.UnreachableError
		if _, e := s.Hosts[m.Name].Run(ctx, host.Read("id", "-un")); errors.As(e, &gone) {
			return errors.Join(&driver.Owed{Node: m.Name, Err: e}, err)
		}
	}
	return err
}

// ---- the state of the cluster ----

// live asks gcadmin now, also for every virtual cluster.
func (s *site) live(ctx context.Context) (*view, error) {
	v := &view{gen: s.Gen, names: s.VCs, vcs: map[string]*Status{}}
	for _, vc := range s.VCs {
		st, err := s.status(ctx, vc)
		if err != nil {
			return nil, err
		}
		v.vcs[vc], v.status = st, st
	}
	for _, m := range s.Members {
		v.nodes = append(v.nodes, nodeView{member: m})
	}
	v.settleRoles()
	return v, nil
}

// fallen are what is worse than it was when the plan was made (I7).
func (s *site) fallen(v *view, mode string) []check.Finding {
	return slices.DeleteFunc(v.unhealthy(mode, "G19"), func(f check.Finding) bool {
		n := v.node(f.Node)
		if n == nil {
			return false
		}
		before := s.plan.Before[f.Node].Health
		return before != "" && slices.Index(healthOrder, v.health(n)) <= slices.Index(healthOrder, before)
	})
}

func listed(fs []check.Finding) say.Text {
	var parts []say.Text
	for _, f := range fs {
		p := f.Says
		if f.Node != "" {
			p = say.Text{EN: f.Node + ": " + p.EN, ZH: f.Node + "：" + p.ZH}
		}
		parts = append(parts, p)
	}
	return say.Join("; ", parts...)
}

// passing turns an error of a look into something a wait goes on past: a
// gcadmin that is silent while gcware comes up says nothing about the end.
func passing(ctx context.Context, err error) (wait.Look, error) {
	if ctx.Err() != nil {
		return wait.Look{}, err
	}
	return wait.Look{Says: say.Of(err)}, nil
}

func (s *site) awaitHealth(ctx context.Context, fallen func(*view) []check.Finding) error {
	spec := wait.Spec{What: say.F("every module of every node is OPEN and data are consistent", "每个节点的所有模块 OPEN 且数据一致"),
		Deadline: s.conf(s.Members[0].Name).StartWait, Every: 3 * time.Second, Next: "gcadmin"}
	defer func() { s.limit = 0 }()
	return wait.For(ctx, s.Clock, spec, s.report, func(ctx context.Context) (wait.Look, error) {
		s.hurry()
		v, err := s.live(ctx)
		if err != nil {
			return passing(ctx, err)
		}
		bad := fallen(v)
		return wait.Look{Done: len(bad) == 0, Says: listed(bad)}, nil
	})
}

func (s *site) asHealthyAsBefore(ctx context.Context, memo lockMemo) error {
	return s.awaitHealth(ctx, func(v *view) []check.Finding {
		return slices.DeleteFunc(s.fallen(v, "NORMAL"), func(f check.Finding) bool { return slices.Contains(memo.Fallen, f.Node+" "+f.Says.EN) })
	})
}

// waitHealthy is U8: everything OPEN, no event. With a package of the License
// kind it tells a missing license from other troubles (G28).
func (s *site) waitHealthy(ctx context.Context, t driver.Target) error {
	if err := s.startFallen(ctx); err != nil {
		return err
	}
	var last *view
	err := s.awaitHealth(ctx, func(v *view) []check.Finding {
		last = v
		return s.fallen(v, "NORMAL")
	})
	if err != nil && t.Step.Args["licensed"] == "true" && last.looksUnlicensed() {
		return &say.Problem{Text: say.F("gcluster and gnode stay CLOSE while gcware is OPEN: the license is missing or not valid for this release", "gcware 为 OPEN 而 gcluster、gnode 一直为 CLOSE：授权缺失或对该版本无效"),
			Next: say.F("./chkLicense, ./License -f FILE, start the services, then: shiplift resume", "执行 ./chkLicense 与 ./License -f 文件，启动服务，然后：shiplift resume"), Err: err}
	}
	if err != nil {
		return err
	}
	return s.awaitNothing(ctx, 2*time.Minute, say.F("no event is left", "没有遗留事件"), func(ctx context.Context) ([]check.Finding, error) { return s.events(ctx) })
}

// startFallen starts what a tool knows on nodes where none of it runs while
// others run: their machines went down since their services were started. A
// node that does not answer is left to the wait.
func (s *site) startFallen(ctx context.Context) error {
	type part struct {
		tool string
		m    member
	}
	var fallen []part
	alive := false
	for _, tool := range []string{"gcware_services", "gcluster_services"} {
		if tool == "gcware_services" && s.Gen != V953 {
			continue
		}
		for _, m := range s.Members {
			switch names, err := s.running(ctx, tool, m); {
			case err != nil && ctx.Err() != nil:
				return err
			case err == nil && len(names) > 0:
				alive = true
			case err == nil && len(s.expected(tool, m)) > 0:
				fallen = append(fallen, part{tool, m})
			}
		}
	}
	if !alive {
		return nil // the whole cluster is down: that is for a person to judge
	}
	for _, f := range fallen {
		s.report(say.F("%s: nothing of %s runs: starting it", "%s：%s 的服务均未运行：启动", f.m.Name, f.tool))
		if err := s.startAll(ctx, f.tool, f.m, s.expected(f.tool, f.m)); err != nil {
			return err
		}
	}
	return nil
}

// looksUnlicensed: gcware works and no database process came up anywhere.
func (v *view) looksUnlicensed() bool {
	if v == nil || v.status == nil {
		return false
	}
	closed := func(cell func(Row) string, rows []Row) bool {
		return !slices.ContainsFunc(rows, func(r Row) bool { return cell(r) == Open })
	}
	open := !slices.ContainsFunc(v.status.Gcware, func(r Row) bool { return r.Gcware != Open })
	return open && closed(func(r Row) string { return r.Gcluster }, v.status.Coordinators) && closed(func(r Row) string { return r.Gnode }, v.status.Data)
}

// awaitNothing waits until a question has no findings.
func (s *site) awaitNothing(ctx context.Context, d time.Duration, what say.Text, ask func(context.Context) ([]check.Finding, error)) error {
	spec := wait.Spec{What: what, Deadline: d, Every: 3 * time.Second, Next: "shiplift check"}
	return wait.For(ctx, s.Clock, spec, s.report, func(ctx context.Context) (wait.Look, error) {
		fs, err := ask(ctx)
		if err != nil {
			return passing(ctx, err)
		}
		return wait.Look{Done: len(fs) == 0, Says: listed(fs)}, nil
	})
}

// proveQuiet is U1 to U3 once more, right before the stop: the checks are
// older than that. A statement that ends within the wait is no obstacle.
func (s *site) proveQuiet(ctx context.Context, _ driver.Target) error {
	mode := "NORMAL"
	if s.opts.Quiesce == "readonly" {
		mode = "READONLY"
	}
	v, err := s.live(ctx)
	if err != nil {
		return err
	}
	if bad := s.fallen(v, mode); len(bad) > 0 {
		return &say.Problem{Text: say.Join(": ", say.F("the cluster is worse than when the plan was made", "集群状态比制定计划时差"), listed(bad)), Next: say.F("shiplift check", "shiplift check")}
	}
	d := 2 * time.Minute
	if s.opts.Quiesce == "readonly" {
		d = 10 * time.Minute // writes that began before the switch come to their end
	}
	return s.awaitNothing(ctx, d, say.F("no event, lock, failover or running statement", "没有事件、锁、failover 与正在执行的语句"), func(ctx context.Context) ([]check.Finding, error) {
		events, err := s.events(ctx)
		if err != nil {
			return nil, err
		}
		busy, err := s.busy(ctx)
		return append(events, busy...), err
	})
}

// ---- mode ----

type switchMode struct{ nothing }

func (switchMode) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t)
	if err != nil {
		return driver.Unknown, err
	}
	have, err := s.modes(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	want, n := strings.ToUpper(t.Step.Args["mode"]), 0
	for _, m := range have {
		if m == want {
			n++
		}
	}
	switch n {
	case len(have):
		return driver.Applied, nil
	case 0:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

// modes are the modes of the virtual clusters now.
func (s *site) modes(ctx context.Context) ([]string, error) {
	var out []string
	for _, vc := range s.VCs {
		st, err := s.status(ctx, vc)
		if err != nil {
			return nil, err
		}
		out = append(out, st.Mode)
	}
	return out, nil
}

func (a switchMode) Do(ctx context.Context, t driver.Target) error {
	return a.to(ctx, t, t.Step.Args["mode"])
}

func (a switchMode) Undo(ctx context.Context, t driver.Target) error {
	other := "normal"
	if t.Step.Args["mode"] == "normal" {
		other = "readonly"
	}
	return a.to(ctx, t, other)
}

// to switches and believes only what gcadmin shows afterwards; the text of
// switchmode is not known [A]. gcware may still be electing when the way back comes here.
func (switchMode) to(ctx context.Context, t driver.Target, mode string) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	spec := wait.Spec{What: say.F("every virtual cluster is %s", "各虚拟集群为 %s", strings.ToUpper(mode)), Deadline: 3 * time.Minute, Every: 3 * time.Second, Next: "gcadmin switchmode " + mode}
	defer func() { s.limit = 0 }()
	return wait.For(ctx, s.Clock, spec, s.report, func(ctx context.Context) (wait.Look, error) {
		s.hurry()
		for _, vc := range s.VCs {
			_, node, err := s.anyGcadmin(ctx, "-V")
			if err != nil {
				return passing(ctx, err)
			}
			st, err := s.status(ctx, vc)
			if err != nil {
				return passing(ctx, err)
			}
			if st.Mode == strings.ToUpper(mode) {
				continue
			}
			if _, err := s.do(ctx, node, s.conf(node).StatusWait, append([]string{"gcadmin", "switchmode", mode}, vcArgs(vc)...)...); err != nil {
				return passing(ctx, err)
			}
		}
		have, err := s.modes(ctx)
		if err != nil {
			return passing(ctx, err)
		}
		return wait.Look{Done: !slices.ContainsFunc(have, func(m string) bool { return m != strings.ToUpper(mode) }), Says: say.Same(strings.Join(have, " "))}, nil
	})
}
