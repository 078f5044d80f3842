package dameng

import (
	"context"
	"errors"
	"slices"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// repairExit is the runbook for a cluster whose servers were stopped in the
// wrong order (spec/dameng.md section 6, 1): the old software starts everything,
// Data Watch settles, everything is closed in order with the proof of it, and
// opened again. The next upgrade then finds a library that was closed cleanly.
const repairExit = "repair-exit"

// RepairRequest asks for the repair. A zero release is read from the nodes;
// oldBin is where somebody has put the old binaries, empty when they are in place.
func RepairRequest(v release.Version, oldBin string) plan.Request {
	r := plan.Request{Mode: "inplace", Options: map[string]string{"runbook": repairExit}}
	if !v.IsZero() {
		r.Options["release"], r.To = v.String(), v.String()
	}
	if oldBin != "" {
		r.Options["old-bin"] = oldBin
	}
	return r
}

func repairs(r plan.Request) bool { return r.Options["runbook"] == repairExit }

// repairRelease is what the library ran last: what the operator says, else what
// the servers or the binaries tell. Binaries that were swapped tell nothing.
func (d *detail) repairRelease(r plan.Request) (release.Version, error) {
	if said := r.Options["release"]; said != "" {
		return release.Parse(said)
	}
	next := say.F("name it: shiplift repair-exit --release 8.1.1.156", "请指定：shiplift repair-exit --release 8.1.1.156")
	if r.Options["old-bin"] != "" {
		return release.Version{}, problem("", say.F("nobody tells which release lies in %s", "无法得知 %s 中的版本", r.Options["old-bin"]), next)
	}
	v, err := d.release()
	if err != nil {
		text := say.Of(err)
		return v, problem("", text, next)
	}
	return v, nil
}

func (d *detail) planRepair(r plan.Request) (plan.Plan, error) {
	v, err := d.repairRelease(r)
	if err != nil {
		return plan.Plan{}, err
	}
	for _, n := range d.site.nodes {
		s := d.nodes[n.name]
		if s.Process && r.Options["old-bin"] != "" {
			return plan.Plan{}, problem(n.name, say.F("its server runs: the binaries cannot be exchanged", "其数据库正在运行：不能更换执行码"),
				say.F("stop it the way it was started, or leave --old-bin away", "请用当初的启动方式停止它，或去掉 --old-bin"))
		}
		if in := s.Instance; in.Up && !in.Release.Same(v) {
			return plan.Plan{}, problem(n.name, say.F("it runs %s, not %s", "运行版本为 %s，不是 %s", in.Release, v), say.Text{})
		}
	}
	b := &builder{d: d, r: r, q: PathRequest{Topology: d.site.topology}}
	b.p.From, b.p.To = v.String(), v.String()
	b.h = release.Hop{From: v, To: v, Runbook: repairExit}
	b.duties = DutiesOf(d.site.topology, nil)
	b.primary = d.site.member(d.primary)
	if b.primary == nil {
		b.primary = d.site.members[0] // all is down: the order of the inventory; stopping looks again
	}
	for _, m := range d.site.members {
		if m != b.primary {
			b.standby = append(b.standby, m)
		}
	}
	b.p.Remarks = append(b.p.Remarks, say.F("the whole cluster is started with %s, closed in order and started again", "整个集群将以 %s 启动、按顺序正常退出，然后再次启动", v))
	b.down = true
	b.settleOld()
	b.closeInOrder()
	b.prefix = "open/"
	b.repairStart("start-server")
	b.bringUp()
	b.prefix = ""
	b.stage(plan.Step{ID: "verify", Kind: plan.VerifyKind, Class: plan.ReadOnly, Impact: plan.None, Timeout: minutes(30),
		Says: say.F("Prove that the whole cluster is open and healthy with %s", "证明整个集群以 %s 打开且健康", v)})
	b.stage(plan.Step{ID: plan.CommitGate, Kind: plan.GateKind, Class: plan.OneWay, Impact: plan.None, Says: say.F("Close the repair", "结束修复"),
		Gate: &plan.Gate{OneWay: true, Costs: say.F("nothing is removed; the next upgrade stops the cluster in order", "不删除任何内容；下一次升级会按顺序停止集群")}})
	return b.p, nil
}

// settleOld starts everything with the old software and lets Data Watch open it.
func (b *builder) settleOld() {
	b.prefix = "settle/"
	if b.d.site.topology.watched() {
		b.stopHelpers()
	}
	if dir := b.r.Options["old-bin"]; dir != "" {
		steps := b.each(b.d.site.nodes, "put-back-bin", "put-back-bin", "DM-002", func(n *node) say.Text {
			return say.F("Put the old binaries of %s back in their place on %s; those in it go to bin.set-aside", "把 %[2]s 上 %[1]s 中的旧执行码放回原处；现有的移到 bin.set-aside", dir, n.name)
		})
		for i := range steps {
			steps[i].Args["dir"] = dir
		}
		b.stage(steps...)
	}
	b.startShared(sharedOf(b.d.site.members))
	b.repairStart("start-server")
	b.bringUp()
	b.down = true
}

// stopHelpers stops monitors and watchers, those of standbys first.
func (b *builder) stopHelpers() {
	b.stage(b.each(b.d.site.monitors(), "stop-monitor", "stop-monitor", "DM-020", func(n *node) say.Text {
		return say.F("Stop dmmonitor on %s, where it runs", "停止 %s 上的 dmmonitor（若在运行）", n.name)
	})...)
	for _, nodes := range [][]*node{nodesOf(b.standby...), nodesOf(b.primary)} {
		b.stage(b.each(nodes, "stop-watcher", "stop-watcher", "DM-020", func(n *node) say.Text {
			return say.F("Stop dmwatcher on %s, where it runs", "停止 %s 上的 dmwatcher（若在运行）", n.name)
		})...)
	}
}

// closeInOrder is the exit that was missed, and the proof of it.
func (b *builder) closeInOrder() {
	b.prefix = "exit/"
	if b.d.site.topology.watched() {
		b.stopHelpers()
	}
	stop := func(m *member) say.Text {
		return say.F("Stop the database server of %s normally", "正常停止 %s 的数据库服务", m.name)
	}
	b.stage(b.members([]*member{b.primary}, "stop-server", "stop-server", "DM-020", stop)...)
	b.stage(b.members(b.standby, "stop-server", "stop-server", "DM-020", stop)...)
	b.stage(b.readOnly(b.members(b.downwards(), "prove-exit", "prove-exit", "DM-002", func(m *member) say.Text {
		return say.F("Prove that %s was closed normally by %s", "证明 %s 由 %s 正常退出", m.name, b.h.From)
	}))...)
}

// repairStart starts the members, standbys first, in whatever state they come up.
func (b *builder) repairStart(id string) {
	at := len(b.p.Steps)
	b.mount(id, b.d.site.members)
	for i := at; i < len(b.p.Steps); i++ {
		delete(b.p.Steps[i].Args, "want")
		b.p.Steps[i].Rule = "DM-002"
		b.p.Steps[i].Class = plan.Reversible
	}
}

// ---- the old binaries ----

func (k *task) setAside() string { return k.n.home() + "/bin.set-aside" }

func putBackPrepare(ctx context.Context, k *task) (any, error) {
	if there, err := k.n.exists(ctx, k.arg("dir")+"/dmserver"); err != nil || !there {
		return nil, errors.Join(err, problem(k.n.name, say.F("there is no dmserver in %s", "%s 中没有 dmserver", k.arg("dir")), say.F("name the directory of the old binaries", "请指定旧执行码所在目录")))
	}
	if there, err := k.n.exists(ctx, k.setAside()); err != nil || there {
		return nil, errors.Join(err, problem(k.n.name, say.F("%s is there already", "%s 已存在", k.setAside()), say.F("look at it, and move it away if nothing needs it", "请检查，不再需要时移走")))
	}
	v, err := k.n.installedIn(ctx, k.arg("dir"))
	if err == nil && !v.IsZero() && !v.Same(k.to()) {
		err = problem(k.n.name, say.F("%s holds %s, %s was expected", "%s 中为 %s，应为 %s", k.arg("dir"), v, k.to()), say.Text{})
	}
	return nil, err
}

func putBackProbe(ctx context.Context, k *task) (driver.Standing, error) {
	waiting, err1 := k.n.exists(ctx, k.arg("dir"))
	aside, err2 := k.n.exists(ctx, k.setAside())
	bin, err3 := k.n.exists(ctx, k.n.home()+"/bin")
	if err := errors.Join(err1, err2, err3); err != nil {
		return driver.Unknown, err
	}
	switch {
	case bin && aside && !waiting:
		return driver.Applied, nil
	case bin && waiting && !aside:
		return driver.NotApplied, nil
	case waiting || aside:
		return driver.Half, nil
	}
	return driver.Unknown, say.Errorf("%s: neither %s nor %s is there", "%s：%s 与 %s 均不存在", k.n.name, k.arg("dir"), k.setAside())
}

func putBackDo(ctx context.Context, k *task) error { return k.moveBin(ctx, k.arg("dir"), k.setAside()) }

func putBackUndo(ctx context.Context, k *task) error {
	return k.moveBin(ctx, k.setAside(), k.arg("dir"))
}

// repairing reports whether the step belongs to a repair of a cluster of which
// something ran before: its way back leaves the servers as they are then, since
// a standby must not be stopped while the primary serves (DM-020).
func (k *task) repairing() bool {
	return k.arg("runbook") == repairExit && slices.ContainsFunc(k.s.nodes, func(n *node) bool {
		h := k.Plan.Before[n.name].Health
		return h == healthOpen || h == healthMount
	})
}
