package dameng

import (
	"context"
	"errors"
	"strings"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// reviveAll starts what the plan has started on nodes and what is down again,
// as after a loss of power; with watchers it starts those too.
//
// A library that the release in place has run already is recovered by the same
// release: that crosses no format (DM-002), and dmwatcher would do the same.
// Where the redo log changes or standbys are restored, an abnormal death in the
// middle means that the members may differ (DM-044): then only a person starts
// the server, and is told the command.
func (k *task) reviveAll(ctx context.Context, nodes []*node, watchers bool) error {
	for _, n := range nodes {
		pid, err := n.serverProcess(ctx)
		if err != nil {
			return err
		}
		if pid == 0 && !k.mayRevive() {
			return n.diedInR1()
		}
		if err := n.revive(ctx, k.report); err != nil {
			return err
		}
	}
	if !watchers {
		return nil
	}
	for _, n := range nodes {
		if err := n.startWatcher(ctx); err != nil {
			return err
		}
	}
	return nil
}

// startWatcher starts the dmwatcher of a node of Data Watch where none runs.
func (n *node) startWatcher(ctx context.Context) error {
	if n.set["watcher_service"] == "" {
		return nil
	}
	up, err := n.alive(ctx, "dmwatcher", n.set["watcher_service"])
	if err != nil || up {
		return err
	}
	return n.startUnit(ctx, n.set["watcher_service"])
}

// bringBack is the end of a node's way back: what lost its power while no step
// of the run had stopped it runs again as it did before.
func (k *task) bringBack(ctx context.Context) error {
	if !k.wellBefore(k.n) || k.arg("runbook") == repairExit {
		return nil
	}
	if err := k.reviveOld(ctx, k.n); err != nil {
		return err
	}
	return k.n.startWatcher(ctx)
}

// wake starts the servers of a member that died between the first start with
// the new software and the opening of the database. Where the new software
// refuses the library, its format was not changed yet: nobody has opened it, and
// the cold copy is what it was at the exit that was proven (DM-002, DM-044).
func (k *task) wake(ctx context.Context, m *member) error {
	up, down, err := m.running(ctx)
	if err != nil || down == 0 {
		return err
	}
	if err := k.s.noWatchers(ctx); err != nil {
		return err
	}
	t := *k
	t.m, t.n = m, m.first()
	half, err := t.n.exists(ctx, t.puttingBack())
	if err != nil {
		return err
	}
	if !half {
		err = m.start(ctx, k.to(), "", k.report)
		if !errors.Is(err, errRefusedStart) || up > 0 || strings.HasSuffix(k.Step.ID, "/mount-again") {
			return err
		}
	}
	back, cerr := t.coldBack(ctx)
	if cerr != nil || !back {
		return errors.Join(cerr, err)
	}
	k.report(say.F("%s died before it was opened: its cold copy was put back, it is started again", "%s 在打开之前退出：已恢复其冷备并重新启动", m.name))
	return m.start(ctx, k.to(), "", k.report)
}

// reopenStandby wakes a standby that died before the primary opens, and opens
// it again (DM-032). One that lives is left as it is.
func (k *task) reopenStandby(ctx context.Context, m *member) error {
	if in, err := k.m.first().look(ctx); err != nil || in.Status == "OPEN" {
		return err // the primary is open: what a standby missed is proved later
	}
	t := *k
	t.m, t.n = m, m.first()
	return t.openNodes(ctx, nil)
}

// mayRevive reports whether the runbook lets a server that died be started again.
func (k *task) mayRevive() bool {
	book := k.arg("runbook")
	return !strings.HasPrefix(book, R1) && !strings.HasPrefix(book, R2)
}

// reviveOld starts, on the way back, the server of a node with the software and
// the library that it had: nothing forbids that.
func (k *task) reviveOld(ctx context.Context, n *node) error {
	pid, err := n.serverProcess(ctx)
	if err != nil || pid != 0 {
		return err
	}
	if err := k.isBack(ctx, n); err != nil {
		return err
	}
	return n.revive(ctx, k.report)
}

// isBack requires that a node has its old software and its old library again.
// A node that did not answer for a while may have both steps still before it:
// started now, it would change its format behind the run's back.
func (k *task) isBack(ctx context.Context, n *node) error {
	kept, err := n.exists(ctx, n.home()+"/bin."+k.arg("from"))
	if err != nil {
		return err
	}
	m := k.s.member(n.member)
	touched, err := m.first().exists(ctx, m.touchedMark(k.arg("to")))
	if err != nil || !kept && !touched {
		return err
	}
	return &driver.Owed{Node: n.name, Err: problem(n.name, say.F("its own steps have to be taken back first", "须先回退该节点自身的步骤"),
		say.F("shiplift rollback", "shiplift rollback"))}
}

// revive starts the server of a node, and what it lives on, when none runs.
func (n *node) revive(ctx context.Context, report func(say.Text)) error {
	pid, err := n.serverProcess(ctx)
	if err != nil || pid != 0 {
		return err
	}
	report(say.F("the server of %s is down: it is started again", "%s 的数据库已停止：重新启动", n.name))
	if err := n.startUnder(ctx); err != nil {
		return err
	}
	if err := n.startServer(ctx); err != nil {
		return err
	}
	return n.answers(ctx, release.Version{}, "", report)
}

// startUnder starts dmcss and dmasmsvr of a DSC node where they do not run.
func (n *node) startUnder(ctx context.Context) error {
	for _, u := range []struct{ tool, service string }{{"dmcss", n.set["css_service"]}, {"dmasmsvr", n.set["asm_service"]}} {
		if u.service == "" {
			continue
		}
		up, err := n.alive(ctx, u.tool, u.service)
		if err != nil {
			return err
		}
		if !up {
			if err := n.startUnit(ctx, u.service); err != nil {
				return err
			}
		}
	}
	return nil
}

// diedInR1 says which commands a person types when a server has died.
func (n *node) diedInR1() error {
	var words []string
	for _, key := range []string{"css_service", "asm_service", "server_service"} {
		if s := n.set[key]; s != "" {
			words = append(words, n.command("start", s))
		}
	}
	start := strings.Join(words, " && ")
	return problem(n.name, say.F("its server has died in the middle of the upgrade: the members may differ (DM-044)", "升级过程中该节点数据库异常退出：各库数据可能不一致（DM-044）"),
		say.F("on %s: %s ; then shiplift resume. A standby that does not become VALID then is restored from a backup of the primary (R2)",
			"在 %s 上执行：%s ；然后 shiplift resume。若备库仍不能恢复为 VALID，请用主库备份还原（R2）", n.name, start))
}
