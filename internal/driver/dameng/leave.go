package dameng

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// leavesOld reports whether this is the exit of the old software before a
// format changes, and not that of the new one later on.
func (k *task) leavesOld() bool {
	return strings.HasSuffix(k.Step.ID, "/stop-server") && DutiesOf(k.s.topology, strings.Split(k.arg("epochs"), ",")).AllOpen &&
		k.arg("runbook") != repairExit
}

// readyToLeave reports whether what has to be OPEN before the exit is OPEN: the
// member itself (DM-060, DM-070), and before the primary's exit every standby
// (DM-022). One that was started again after a loss of power stands in MOUNT.
func (k *task) readyToLeave(ctx context.Context) (bool, error) {
	members, alone := []*member{k.m}, strings.HasPrefix(k.arg("runbook"), R2)
	switch {
	case k.m != k.primary() && alone:
		return true, nil // it is restored from a backup in any case
	case k.m == k.primary() && !alone:
		members = k.s.members
	}
	for _, n := range nodesOf(members...) {
		if open, err := n.isOpen(ctx, k.report); err != nil || !open {
			return false, err
		}
	}
	if k.m != k.primary() || !k.mustBeEqual() {
		return true, nil
	}
	// What came back after a loss of power may not be fed any more.
	bad, err := k.m.badArchives(ctx)
	return len(bad) == 0, err
}

// isOpen reports whether the server runs and its database is OPEN.
func (n *node) isOpen(ctx context.Context, report func(say.Text)) (bool, error) {
	pid, err := n.serverProcess(ctx)
	if err != nil || pid == 0 {
		return false, err
	}
	if err := n.answers(ctx, release.Version{}, "", report); err != nil {
		return false, err // one that was started a moment ago does not answer yet
	}
	in, err := n.state(ctx)
	return in.Status == "OPEN", err
}

// mustBeEqual reports whether the standbys have to be equal with the primary at the exit.
func (k *task) mustBeEqual() bool {
	return DutiesOf(k.s.topology, strings.Split(k.arg("epochs"), ",")).Consistent && !strings.HasPrefix(k.arg("runbook"), R2)
}

// What the mark of openOnceMore says: how far it has come.
const (
	opening = "opening"
	leaving = "leaving"
)

func (k *task) openingMark() string { return k.markOf(k.n, "opening-once-more") }

// openingBegun tells how far an earlier openOnceMore of this step has come, also
// that of a tool that died in it; empty when there was none.
func (k *task) openingBegun(ctx context.Context) (string, error) {
	text, err := k.n.read(ctx, k.openingMark())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(text), err
}

// openOnceMore lets Data Watch open everything again with the old software, and
// goes through the exit up to this step: a database in MOUNT must not be closed
// for a new format, and only the watchers bring it back.
func (k *task) openOnceMore(ctx context.Context, begun string) error {
	if !k.s.topology.watched() {
		return problem(k.m.name, say.F("it is not OPEN; every database must be OPEN before it is closed for the upgrade (DM-060, DM-070)", "尚未 OPEN；为升级而关闭之前，所有数据库必须为 OPEN（DM-060、DM-070）"),
			say.F("open it, then shiplift resume", "请打开数据库，然后 shiplift resume"))
	}
	if begun == opening {
		if err := k.openAll(ctx); err != nil {
			return err
		}
	}
	for _, n := range nodesOf(k.upwards()...) {
		if err := n.stopUnit(ctx, "dmwatcher", n.set["watcher_service"]); err != nil {
			return err
		}
	}
	if k.m != k.primary() { // the primary first, as in any exit (DM-020)
		if err := k.primary().stop(ctx, k.report); err != nil {
			return err
		}
		for _, m := range k.s.members {
			if m == k.m || m == k.primary() {
				continue
			}
			if err := m.stop(ctx, k.report); err != nil {
				return err
			}
		}
	}
	return k.n.change(ctx, "rm", "-f", k.openingMark())
}

func (k *task) openAll(ctx context.Context) error {
	k.report(say.F("not every database is OPEN: Data Watch opens them once more before the exit", "有数据库未 OPEN：停机前由守护系统重新打开"))
	if err := k.setMark(ctx, k.n, k.openingMark(), opening); err != nil {
		return err
	}
	for _, m := range k.upwards() {
		if err := m.start(ctx, k.from(), "", k.report); err != nil {
			return err
		}
	}
	for _, n := range nodesOf(k.upwards()...) {
		if err := n.startUnit(ctx, n.set["watcher_service"]); err != nil {
			return err
		}
	}
	err := k.n.waitFor(ctx, say.F("every database is OPEN", "所有数据库 OPEN"), k.n.settleTime()+k.n.openTime(), "shiplift status", k.report, func(ctx context.Context) (wait.Look, error) {
		return k.s.lookOpen(ctx, true)
	})
	if err != nil {
		return err
	}
	if err := k.equalAgain(ctx); err != nil {
		return err
	}
	return k.setMark(ctx, k.n, k.openingMark(), leaving)
}

// equalAgain waits for the standbys where the exit needs them equal (DM-022, DM-072).
func (k *task) equalAgain(ctx context.Context) error {
	if !k.mustBeEqual() {
		return nil
	}
	for _, m := range k.s.members {
		if m == k.primary() {
			continue
		}
		t := *k
		t.m, t.n = m, m.first()
		if err := waitEqual(ctx, &t); err != nil {
			return err
		}
	}
	return nil
}

// upwards are the members, standbys before the primary.
func (k *task) upwards() []*member {
	var out []*member
	for _, m := range k.s.members {
		if m != k.primary() {
			out = append(out, m)
		}
	}
	return append(out, k.primary())
}
