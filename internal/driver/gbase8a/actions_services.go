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

// services stops or starts all that one tool knows on one instance. Both act
// on their own node only; there is no stop of a whole cluster (spec section 5).
type services struct {
	tool  string
	stops bool
}

// serviceMemo is what ran before: the way back starts no more and no less.
type serviceMemo struct {
	Running []string `json:"running"`
}

// inScope reports whether a tool's "all" means a process.
func inScope(tool string, gen Generation, name string) bool {
	ware := name == "gcware" || strings.HasPrefix(name, "gcware_")
	if gen == V952 {
		return true
	}
	return ware == (tool == "gcware_services")
}

// running are the tool's processes that run on a member.
func (s *site) running(ctx context.Context, tool string, m member) ([]string, error) {
	ps, err := s.processes(ctx, m)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(processNames(ps), func(n string) bool { return !inScope(tool, s.Gen, n) }), nil
}

func (s *site) expected(tool string, m member) []string {
	return slices.DeleteFunc(m.expected(s.Gen), func(n string) bool { return !inScope(tool, s.Gen, n) })
}

func (a services) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t)
	if err != nil {
		return nil, err
	}
	names, err := s.running(ctx, a.tool, s.member(t.Step.Node))
	if err != nil {
		return nil, err
	}
	return json.Marshal(serviceMemo{names})
}

// wants are the processes that have to run when the services are started.
func (a services) wants(s *site, t driver.Target) []string {
	var memo serviceMemo
	if a.stops && json.Unmarshal(t.Memo, &memo) == nil && len(memo.Running) > 0 {
		return memo.Running
	}
	return s.expected(a.tool, s.member(t.Step.Node))
}

func (a services) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t)
	if err != nil {
		return driver.Unknown, err
	}
	names, err := s.running(ctx, a.tool, s.member(t.Step.Node))
	if err != nil {
		return driver.Unknown, err
	}
	all := len(missing(a.wants(s, t), names)) == 0
	switch {
	case len(names) == 0 == a.stops && (a.stops || all):
		return driver.Applied, nil
	case a.stops && all, !a.stops && len(names) == 0:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

func missing(want, have []string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(n string) bool { return slices.Contains(have, n) })
}

func (a services) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	if a.stops {
		return s.stopAll(ctx, a.tool, s.member(t.Step.Node))
	}
	return s.startAll(ctx, a.tool, s.member(t.Step.Node), a.wants(s, t))
}

// Undo starts what was stopped. What was started at the end of a run is left
// running when the whole run goes back: it ends with everything started.
func (a services) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	switch {
	case err != nil:
		return err
	case a.stops:
		return s.startAll(ctx, a.tool, s.member(t.Step.Node), a.wants(s, t))
	case t.Undoing:
		return nil
	}
	return s.stopAll(ctx, a.tool, s.member(t.Step.Node))
}

// lingering is how long processes may take to go after their tool has ended.
const lingering = 30 * time.Second

// stopAll stops until no process is left (G03, G04). --force is used only
// after a normal stop has failed, and only where the request allows it.
func (s *site) stopAll(ctx context.Context, tool string, m member) error {
	names, err := s.running(ctx, tool, m)
	if err != nil || len(names) == 0 {
		return err
	}
	argv := []string{tool, "all", "stop"}
	said, err := s.tool(ctx, m.Name, argv)
	if err != nil {
		return err
	}
	if names, err = s.goneSoon(ctx, tool, m); err != nil || len(names) == 0 {
		return err
	}
	if s.opts.ForceStop {
		if said, err = s.tool(ctx, m.Name, append(argv, "--force")); err != nil {
			return err
		}
		if names, err = s.goneSoon(ctx, tool, m); err != nil || len(names) == 0 {
			return err
		}
	}
	return &say.Problem{Place: m.Name, Text: say.F("%s did not stop: %s still there; it said: %s", "%s 未能停止：仍有 %s；输出：%s", strings.Join(argv, " "), strings.Join(names, ", "), said),
		Next: say.F("look at the node; after a stop that failed the vendor allows `%s all stop --force` there; then resume", "请检查该节点；正常停止失败后厂商允许在该节点执行 `%s all stop --force`；之后 resume", tool)}
}

// tool runs a service tool. That it failed is told, not decided on: the
// processes are the proof. That nobody knows whether it ran is an error.
func (s *site) tool(ctx context.Context, node string, argv []string) (said string, err error) {
	res, err := s.do(ctx, node, s.conf(node).StopWait, argv...)
	if err != nil && !host.IsExit(err) {
		return "", err
	}
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return clip(fmt.Sprintf("status %d: %s%s", exit.Code, exit.Stdout, exit.Stderr)), nil
	}
	for _, l := range ParseServiceLines(string(res.Stdout)) {
		if !l.OK {
			said += l.Verb + " " + l.Service + " FAILED "
		}
	}
	return said, nil
}

// goneSoon waits for the last processes to go and returns those that do not.
func (s *site) goneSoon(ctx context.Context, tool string, m member) ([]string, error) {
	var names []string
	spec := wait.Spec{What: say.F("%s has no process left", "%s 没有残留进程", m.Name), Node: m.Name, Deadline: lingering, Every: time.Second}
	err := wait.For(ctx, s.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		var err error
		names, err = s.running(ctx, tool, m)
		return wait.Look{Done: len(names) == 0}, err
	})
	if isWait(err) {
		return names, nil
	}
	return names, err
}

// startAll starts and waits until all that is wanted runs. Whether it is OPEN
// is asked later: one node alone has no quorum.
func (s *site) startAll(ctx context.Context, tool string, m member, want []string) error {
	names, err := s.running(ctx, tool, m)
	if err != nil || len(missing(want, names)) == 0 {
		return err
	}
	said, err := s.tool(ctx, m.Name, []string{tool, "all", "start"})
	if err != nil {
		return err
	}
	spec := wait.Spec{What: say.F("all services of %s run", "%s 的所有服务在运行", m.Name), Node: m.Name, Deadline: s.conf(m.Name).StartWait, Every: time.Second, Next: tool + " all info"}
	return wait.For(ctx, s.Clock, spec, s.report, func(ctx context.Context) (wait.Look, error) {
		names, err := s.running(ctx, tool, m)
		if err != nil {
			return wait.Look{}, err
		}
		left := missing(want, names)
		says := say.F("not yet: %s %s", "尚未：%s %s", strings.Join(left, ", "), said)
		return wait.Look{Done: len(left) == 0, Left: float64(len(left)), Says: says}, nil
	})
}

// rounds is how often what came back is stopped again before a person is asked.
const rounds = 3

// settle watches all nodes for a while: gcmonit, rc.local or somebody else may
// start services again, and a flush with a living database is worth nothing (G03, G04).
func (s *site) settle(ctx context.Context, _ driver.Target) error {
	for range rounds {
		back, err := s.quietFor(ctx)
		if err != nil || back == nil {
			return err
		}
		for _, m := range back {
			s.report(say.F("services came back on %s: stopping them again", "%s 上有服务复活：再次停止", m.Name))
			if err := s.stopMember(ctx, m); err != nil {
				return err
			}
		}
	}
	return &say.Problem{Text: say.F("services come back again and again after the stop", "停止后服务反复复活"),
		Next: say.F("find what starts them (gcmonit, /etc/rc.local, cron, another operator), then resume", "查明启动来源（gcmonit、/etc/rc.local、cron、其他操作者）后 resume")}
}

// quietFor watches for the settle time; it returns the members on which something lives.
func (s *site) quietFor(ctx context.Context) ([]member, error) {
	var back []member
	end := s.Clock.Now().Add(s.conf(s.Members[0].Name).Settle)
	spec := wait.Spec{What: say.F("nothing comes back", "没有进程复活"), Deadline: s.conf(s.Members[0].Name).Settle + time.Minute, Every: 2 * time.Second}
	err := wait.For(ctx, s.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		alive, err := s.alive(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		back = alive
		return wait.Look{Done: len(back) > 0 || !s.Clock.Now().Before(end)}, nil
	})
	if len(back) == 0 {
		return nil, err
	}
	return back, err
}

// alive are the members with any process of the product.
func (s *site) alive(ctx context.Context) ([]member, error) {
	names := make([][]Process, len(s.Members))
	err := each(s.Serial, s.Members, func(m member) error {
		ps, err := s.processes(ctx, m)
		names[slices.IndexFunc(s.Members, func(o member) bool { return o.Name == m.Name })] = ps
		return err
	})
	var out []member
	for i, m := range s.Members {
		if len(names[i]) > 0 {
			out = append(out, m)
		}
	}
	return out, err
}

// stopMember stops all that may run on a member, in the vendor's order.
func (s *site) stopMember(ctx context.Context, m member) error {
	if database(m) {
		if err := s.stopAll(ctx, "gcluster_services", m); err != nil {
			return err
		}
	}
	if s.Gen == V953 && m.Gcware {
		return s.stopAll(ctx, "gcware_services", m)
	}
	return nil
}

// ---- gcware alone ----

// gcwareAlone starts or stops gcware by its name on one node (G05, G17).
type gcwareAlone struct{ starts bool }

// gcwareMemo is the newest snapshot before gcware is stopped.
type gcwareMemo struct {
	Newest Snapshot `json:"newest"`
}

func (a gcwareAlone) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t)
	if err != nil {
		return nil, err
	}
	d, err := s.snapshots(ctx, s.member(t.Step.Node))
	if err != nil {
		return nil, err
	}
	newest, _ := d.Newest()
	return json.Marshal(gcwareMemo{newest})
}

func (a gcwareAlone) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t)
	if err != nil {
		return driver.Unknown, err
	}
	up, err := s.gcwareUp(ctx, s.member(t.Step.Node))
	return applied(up == a.starts, err)
}

func (s *site) gcwareUp(ctx context.Context, m member) (bool, error) {
	ps, err := s.processes(ctx, m)
	return slices.Contains(processNames(ps), "gcware"), err
}

func (a gcwareAlone) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	m := s.member(t.Step.Node)
	if a.starts {
		return s.startGcware(ctx, m)
	}
	if err := s.flushProven(ctx, t.MemoOf(stepID("cluster", kindFlush))); err != nil {
		return err
	}
	if err := s.stopGcware(ctx, m); err != nil {
		return err
	}
	return s.snapshotKept(ctx, m, t.Memo)
}

// snapshotKept proves that stopping gcware lost nothing.
func (s *site) snapshotKept(ctx context.Context, m member, memo driver.Memo) error {
	var before gcwareMemo
	if err := json.Unmarshal(memo, &before); err != nil {
		return say.Errorf("read the memo of %s: %w", "读取 %s 的备忘：%w", m.Name, err)
	}
	d, err := s.snapshots(ctx, m)
	if err != nil {
		return err
	}
	if now, ok := d.Newest(); !ok || now.Compare(before.Newest) < 0 {
		return &say.Problem{Place: m.Name, Text: say.F("its newest snapshot was %s and is %s after the stop", "停止前最新快照为 %s，停止后为 %s", before.Newest, now),
			Next: say.F("shiplift rollback, then ask the vendor", "shiplift rollback，并联系厂商")}
	}
	return nil
}

// Undo of a start leaves gcware alone while a flush runs on the node, since a
// stop would lose it (G09), and when the other services run: then gcware
// belongs to the cluster that is in service. Undo of a stop has nothing to do
// when the whole run goes back: everything is started then.
func (a gcwareAlone) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	m := s.member(t.Step.Node)
	switch {
	case !a.starts && t.Undoing:
		return nil
	case !a.starts:
		return s.startGcware(ctx, m)
	}
	ps, err := s.processes(ctx, m)
	if err != nil {
		return err
	}
	if names := processNames(ps); !slices.Contains(names, "gcware") || len(names) > 1 {
		return nil
	}
	over, err := s.flushOver(ctx, m, t.MemoOf(stepID("cluster", kindFlush)))
	if err != nil {
		return err
	}
	if !over {
		s.report(say.F("%s: a flush does not end; gcware is left running", "%s：刷写未结束，保持 gcware 运行", m.Name))
		return nil
	}
	return s.stopGcware(ctx, m)
}

func (s *site) startGcware(ctx context.Context, m member) error {
	return s.byName(ctx, m, "start", true)
}

func (s *site) stopGcware(ctx context.Context, m member) error {
	return s.byName(ctx, m, "stop", false)
}

func (s *site) byName(ctx context.Context, m member, verb string, up bool) error {
	is, err := s.gcwareUp(ctx, m)
	if err != nil || is == up {
		return err
	}
	argv := []string{gcwareTool(s.Gen), "gcware", verb}
	err = s.byTool(ctx, m, argv, up)
	if isWait(err) && !up && s.opts.ForceStop { // only after a normal stop has failed
		err = s.byTool(ctx, m, append(argv, "--force"), up)
	}
	return err
}

func (s *site) byTool(ctx context.Context, m member, argv []string, up bool) error {
	said, err := s.tool(ctx, m.Name, argv)
	if err != nil {
		return err
	}
	cmd := strings.Join(argv, " ")
	spec := wait.Spec{What: say.F("%s: %s took effect", "%s：%s 已生效", m.Name, cmd), Node: m.Name, Deadline: time.Minute, Every: time.Second, Next: cmd}
	return wait.For(ctx, s.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		is, err := s.gcwareUp(ctx, m)
		return wait.Look{Done: is == up, Says: say.Same(said)}, err
	})
}
