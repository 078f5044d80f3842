package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// CutScript takes the primary's role from a server, in one round trip.
// Arguments: the data directory, and for how many seconds to look.
//
// It first makes standby.signal durable, so that nobody's restart makes a
// second primary (I3), then asks the server for a fast stop and returns
// pg_control as soon as that says "shut down": from then on the server can
// write nothing, even while its process still says goodbye to its standbys.
// It signals no process but the postgres that works in that very directory.
//
// The clients wait while it looks, so one process both signals and looks where
// the host has perl; processes of its own for every look would compete with
// the server that is to end.
//
// Exit status: 0 shut down; 3 no server of this directory runs; 4 it did not
// shut down in time. Standard output is the head of pg_control.
const CutScript = `data=$(readlink -f "$1") && seconds=$2 && cd "$data" || exit 3
read -r pid < postmaster.pid || exit 3
[ "$pid" -gt 1 ] && [ "$(readlink "/proc/$pid/cwd")" = "$data" ] || exit 3
case $(readlink "/proc/$pid/exe") in */bin/postgres|*/bin/postgres' (deleted)') ;; *) exit 3 ;; esac
: > standby.signal && sync standby.signal . || exit 5
if perl -e 1 2>/dev/null; then
	exec perl -e '
		my ($pid, $end) = ($ARGV[0], time + $ARGV[1]);
		kill INT => $pid or exit 3;
		while (time <= $end) {
			open my $f, "<", "global/pg_control" or exit 4;
			binmode $f;
			my $n = sysread $f, my $head, 296;
			close $f;
			if ($n == 296 && unpack("x16 L", $head) == 1) {
				binmode STDOUT;
				syswrite STDOUT, $head;
				exit 0;
			}
			select undef, undef, undef, 0.001;
		}
		exit 4' "$pid" "$seconds"
fi
kill -INT "$pid" || exit 3
looks=$((seconds * 200))
while :; do
	case $(od -An -tu4 -j16 -N4 global/pg_control) in *' 1') exec head -c 296 global/pg_control ;; esac
	looks=$((looks - 1))
	[ "$looks" -gt 0 ] || exit 4
	sleep 0.002
done`

// Statuses of CutScript.
const (
	cutNoServer = 3
	cutTooLate  = 4
	cutNoSignal = 5
)

const (
	cutDeadline    = 20 * time.Second // for the old primary to shut down
	proofDeadline  = 10 * time.Second // for the candidate to have replayed all of it
	promoteTime    = 60 * time.Second // for the promotion to end
	shortCheck     = 100 * time.Millisecond
	maxCheckpoints = 6
	switchLag      = 1 << 20 // bytes that the candidate may be behind when the cut is made
)

const syncSetting = "synchronous_standby_names"

// switchoverAction hands the primary's role from one node to another.
type switchoverAction struct{}

// swapMemo is where the old primary was told to connect before it got the
// upstream that it will have as a standby.
type swapMemo struct {
	From     upstreamMemo `json:"from"`
	Timeline int          `json:"timeline"` // before the switch
	Sync     was          `json:"sync"`     // synchronous_standby_names of the old primary
}

// pair is the two actors with their connections.
type pair struct {
	t        driver.Target
	from, to *site
	fc, tc   *conn // nil where the server does not answer
	fe, te   error // why not
}

func pairOf(t driver.Target) (*pair, error) {
	from, err := siteOf(t.Env, t.Step.Args["from"])
	if err != nil {
		return nil, err
	}
	to, err := siteOf(t.Env, t.Step.Args["to"])
	return &pair{t: t, from: from, to: to}, err
}

// connectBoth opens both connections; a server that does not answer is no error here.
func (p *pair) connectBoth(ctx context.Context) {
	p.fc, p.fe = p.from.connect(ctx)
	p.tc, p.te = p.to.connect(ctx)
}

func (p *pair) close() {
	p.fc.close()
	p.tc.close()
}

// swapped is the same pair for the way back.
func (p *pair) swapped() *pair { return &pair{t: p.t, from: p.to, to: p.from} }

func (switchoverAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	p, err := pairOf(t)
	if err != nil {
		return nil, err
	}
	c, err := p.from.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	id, err := c.identity(ctx)
	if err != nil {
		return nil, err
	}
	if id.Recovery {
		return nil, stillPrimary(ctx, t.Env, p.from.Name)
	}
	m := swapMemo{Timeline: id.Timeline}
	if m.From, err = c.upstream(ctx); err != nil {
		return nil, err
	}
	sync, err := c.setting(ctx, syncSetting)
	if err != nil {
		return nil, err
	}
	m.Sync = was{Value: sync.Value, Auto: sync.auto()}
	return remember(m)
}

// standing is what the two nodes look like together.
type standing struct {
	fromPID            process
	fromPrimary        bool // it answers and accepts writes
	toPrimary, toKnown bool
	promoting          bool
	signal             bool // standby.signal lies on from
	fromErr            error
}

func (p *pair) look(ctx context.Context) (standing, error) {
	var st standing
	p.connectBoth(ctx)
	defer p.close()
	if p.tc != nil {
		recovering, err := p.tc.inRecovery(ctx)
		if err != nil {
			return st, err
		}
		st.toKnown, st.toPrimary = true, !recovering
		if recovering {
			if st.promoting, err = p.tc.promoting(ctx); err != nil {
				return st, err
			}
		}
	}
	if st.fromPID, st.fromErr = p.from.process(ctx); st.fromErr == nil {
		st.signal, st.fromErr = p.from.standbyBySignal(ctx)
	}
	if p.fc != nil {
		recovering, err := p.fc.inRecovery(ctx)
		if err != nil {
			return st, err
		}
		st.fromPrimary = !recovering
	}
	return st, nil
}

func (switchoverAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	p, err := pairOf(t)
	if err != nil {
		return driver.Unknown, err
	}
	st, err := p.settled(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	switch {
	case st.fromPrimary && st.toPrimary:
		return driver.Unknown, twoPrimaries(p.from.Name, p.to.Name)
	case st.toPrimary && (st.signal || gone(st.fromErr)):
		return driver.Applied, nil
	case st.toPrimary:
		return driver.Unknown, say.Errorf("%s is primary, but %s has no standby.signal: a start would make a second primary", "%s 是主库，但 %s 没有 standby.signal：启动它会产生第二个主库", p.to.Name, p.from.Name)
	case !st.toKnown:
		return driver.Unknown, say.Errorf("%s does not answer, so nobody knows whether it was promoted: %w", "%s 没有应答，无法得知其是否已提升：%w", p.to.Name, p.te)
	case st.fromErr != nil:
		return driver.Unknown, st.fromErr
	case !st.fromPrimary || st.signal:
		return driver.Half, nil
	}
	return p.told(ctx)
}

// told reports whether the primary was already told whom it will follow.
func (p *pair) told(ctx context.Context) (driver.Standing, error) {
	var m swapMemo
	if err := recall(p.t.Memo, &m); err != nil {
		return driver.Unknown, err
	}
	c, err := p.from.connect(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	defer c.close()
	now, err := c.upstream(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if now == m.From {
		return c.untold(ctx)
	}
	return driver.Half, nil
}

// settled looks again while a promotion is under way.
func (p *pair) settled(ctx context.Context) (st standing, err error) {
	spec := wait.Spec{
		What: say.F("the promotion of %s has ended", "%s 的提升已结束", p.to.Name), Node: p.to.Name,
		Deadline: promoteTime, Every: 50 * time.Millisecond, Next: "shiplift resume",
	}
	err = wait.For(ctx, p.t.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		st, err = p.look(ctx)
		return wait.Look{Done: err == nil && !st.promoting}, err
	})
	return st, err
}

func (switchoverAction) Do(ctx context.Context, t driver.Target) error {
	p, err := pairOf(t)
	if err != nil {
		return err
	}
	st, err := p.settled(ctx)
	if err != nil {
		return err
	}
	if !st.toPrimary {
		if err := p.swing(ctx); err != nil {
			return err
		}
	}
	return p.finish(ctx, strings.Fields(t.Step.Args["others"]))
}

// swing is the switch itself: everything that can be done before is done
// before; then the cut, the proof and the promotion follow each other closely.
func (p *pair) swing(ctx context.Context) error {
	p.connectBoth(ctx)
	defer p.close()
	if err := cmpErr(p.fe, p.te); err != nil {
		return err
	}
	before, err := p.prepare(ctx)
	if err != nil {
		return err
	}
	began := p.t.Clock.Now()
	end, err := p.cut(ctx)
	if err != nil {
		return p.revert(ctx, err)
	}
	report(p.t)(say.F("%s is shut down after %d ms", "%s 已停止，用时 %d 毫秒", p.from.Name, p.t.Clock.Now().Sub(began).Milliseconds()))
	if err := p.promote(ctx, before, end); err != nil {
		var notYet *unprovenError
		if errors.As(err, &notYet) {
			return p.revert(ctx, err)
		}
		return err // nobody knows whether it was promoted: probe
	}
	report(p.t)(say.F("%s is primary; the switch took %d ms", "%s 已成为主库；切换用时 %d 毫秒", p.to.Name, p.t.Clock.Now().Sub(began).Milliseconds()))
	return nil
}

// prepare brings both servers to the point from which the cut is short.
func (p *pair) prepare(ctx context.Context) (identity, error) {
	from, err := p.fc.identity(ctx)
	if err != nil {
		return from, err
	}
	to, err := p.tc.identity(ctx)
	if err != nil {
		return from, err
	}
	switch {
	case from.Recovery:
		return from, say.Errorf("%s is not the primary any more", "%s 已不是主库", p.from.Name)
	case !to.Recovery:
		return from, twoPrimaries(p.from.Name, p.to.Name)
	case from.SystemID != to.SystemID || from.Timeline != to.Timeline:
		return from, say.Errorf("%s (system %s, timeline %d) and %s (system %s, timeline %d) are not of one history", "%s（系统 %s，时间线 %d）与 %s（系统 %s，时间线 %d）不同源",
			p.from.Name, from.SystemID, from.Timeline, p.to.Name, to.SystemID, to.Timeline)
	}
	// First what changes nothing: a candidate that does not catch up ends the
	// attempt with nothing to undo.
	if err := p.to.proveFollows(ctx, p.fc, p.from.Name, report(p.t)); err != nil {
		return from, err
	}
	if err := p.giveUpstream(ctx); err != nil {
		return from, err
	}
	if err := p.settleCheckpoints(ctx); err != nil {
		return from, err
	}
	return from, p.waitClose(ctx)
}

// giveUpstream tells the primary whom it will follow as a standby. It takes
// effect when it starts with standby.signal.
func (p *pair) giveUpstream(ctx context.Context) error {
	ci, own, err := asStandby(ctx, p.fc, p.tc)
	if err != nil {
		return err
	}
	if name := p.t.Step.Args["name"]; !own && name != "" && name != "walreceiver" && p.from.Name == p.t.Step.Args["from"] {
		ci = ci.with("application_name", name)
	}
	// What would not be let in must be known while the clients still write.
	if err := p.from.mayFollow(ctx, p.to, ci); err != nil {
		return err
	}
	slot := p.t.Step.Args["slot"]
	if p.from.Name != p.t.Step.Args["from"] { // the way back: it follows as it did
		was, err := p.fc.setting(ctx, "primary_slot_name")
		if err != nil {
			return err
		}
		slot = was.Value
	}
	if slot != "" {
		if err := p.tc.makeSlot(ctx, slot); err != nil {
			return err
		}
	}
	now, err := p.fc.upstream(ctx)
	if err != nil {
		return err
	}
	if now.Host == p.to.Address && now.Port == p.to.Port && now.HostAddr == "" && now.Slot == slot {
		return nil // told already, perhaps in postgresql.conf
	}
	if err := p.fc.alter(ctx, "primary_conninfo", ci.to(p.to.Address, p.to.Port).String()); err != nil {
		return err
	}
	if err := p.fc.alter(ctx, "primary_slot_name", slot); err != nil {
		return err
	}
	return p.fc.reload(ctx)
}

// settleCheckpoints repeats CHECKPOINT until one is short: the stop writes one
// more, and the clients wait for that.
func (p *pair) settleCheckpoints(ctx context.Context) error {
	if err := p.tc.checkpoint(ctx, p.to.StopWait); err != nil {
		return err
	}
	for range maxCheckpoints {
		began := p.t.Clock.Now()
		if err := p.fc.checkpoint(ctx, p.from.StopWait); err != nil {
			return err
		}
		if p.t.Clock.Now().Sub(began) < shortCheck {
			break
		}
	}
	return nil
}

// waitClose waits until the candidate is almost where the primary is.
func (p *pair) waitClose(ctx context.Context) error {
	spec := wait.Spec{
		What: say.F("%s is close behind %s", "%s 紧跟 %s", p.to.Name, p.from.Name), Node: p.to.Name,
		Deadline: p.to.CatchUpWait, Stall: stallLimit, Every: 5 * time.Millisecond, Next: "shiplift resume",
	}
	return wait.For(ctx, p.t.Clock, spec, report(p.t), func(ctx context.Context) (wait.Look, error) {
		at, err := p.fc.currentLSN(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		_, replayed, err := p.tc.positions(ctx)
		left := float64(at) - float64(replayed)
		return wait.Look{Done: left <= switchLag, Left: left, Says: say.F("%.0f bytes behind", "落后 %.0f 字节", left)}, err
	})
}

// cut stops the old primary and returns its control file, which proves it.
func (p *pair) cut(ctx context.Context) (control, error) {
	seconds := strconv.Itoa(int(cutDeadline / time.Second))
	c := host.Change("sh", "-c", CutScript, "cut", p.from.Data, seconds)
	c.Timeout = 2*cutDeadline + 10*time.Second
	res, err := p.from.run(ctx, c)
	if err != nil {
		return control{}, say.Errorf("stop the primary %s: %w", "停止主库 %s：%w", p.from.Name, err)
	}
	end, err := parseControl(res.Stdout)
	if err != nil {
		end, err = p.from.control(ctx) // read while it was written
	}
	if err == nil && end.State != stateShutDown {
		err = say.Errorf("%s: its control file says %q after the stop", "%s：停止之后其控制文件为 %q", p.from.Name, end.State)
	}
	return end, err
}

// unprovenError means that the promotion was certainly not asked for.
type unprovenError struct{ err error }

func (e *unprovenError) Error() string { return e.err.Error() }
func (e *unprovenError) Unwrap() error { return e.err }

// promote promotes the candidate in the very statement that proves that it has
// replayed the old primary's shutdown checkpoint (I4), and waits until it is primary.
func (p *pair) promote(ctx context.Context, before identity, end control) error {
	if sys := strconv.FormatUint(end.SystemID, 10); sys != before.SystemID || int(end.Timeline) != before.Timeline {
		return &unprovenError{say.Errorf("%s: the control file is of system %s, timeline %d; expected %s, %d", "%s：控制文件属于系统 %s、时间线 %d；应为 %s、%d", p.from.Name, sys, end.Timeline, before.SystemID, before.Timeline)}
	}
	spec := wait.Spec{
		What: say.F("%s has replayed the last record of %s (%s)", "%s 已回放 %s 的最后一条记录（%s）", p.to.Name, p.from.Name, end.Checkpoint.String()), Node: p.to.Name,
		Deadline: proofDeadline, Every: 2 * time.Millisecond, Next: "shiplift rollback",
	}
	asked := false
	err := wait.For(ctx, p.t.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		var err error
		asked, err = p.tc.promoteIf(ctx, end.Checkpoint)
		return wait.Look{Done: asked}, err
	})
	if err != nil {
		var late *wait.Error
		if errors.As(err, &late) {
			return &unprovenError{err}
		}
		return err
	}
	return p.awaitPromotion(ctx)
}

// awaitPromotion waits until the candidate is primary. When the request comes
// before the startup process has seen the end of the stream, it takes note of
// both and then sleeps for the rest of wal_retrieve_retry_interval (5 s) all
// the same: a reload wakes it and changes nothing.
func (p *pair) awaitPromotion(ctx context.Context) error {
	spec := wait.Spec{
		What: say.F("%s accepts writes", "%s 可写", p.to.Name), Node: p.to.Name,
		Deadline: promoteTime, Every: 2 * time.Millisecond, Next: "shiplift resume",
	}
	return wait.For(ctx, p.t.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		over, asleep, err := p.tc.promotion(ctx)
		if err == nil && !over && asleep {
			err = p.tc.reload(ctx)
		}
		return wait.Look{Done: over}, err
	})
}

// revert gives the role back at once when the switch came to nothing: the
// clients wait. It is only for when the candidate was certainly not promoted.
func (p *pair) revert(ctx context.Context, why error) error {
	if host.IsExit(why, cutNoServer, cutNoSignal) {
		return cmpErr(p.dropSignalIfPrimary(ctx), why)
	}
	if !host.IsExit(why, cutTooLate) {
		var notYet *unprovenError
		if !errors.As(why, &notYet) {
			return why // the link broke: nobody knows how far it came
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.from.StopWait+p.from.StartWait)
	defer cancel()
	return errors.Join(why, p.reinstate(ctx))
}

func (p *pair) dropSignalIfPrimary(ctx context.Context) error {
	if recovering, err := p.fc.inRecovery(ctx); err != nil || recovering {
		return err
	}
	return p.from.change(ctx, []string{"rm", "-f", p.from.signal()})
}

// reinstate makes from the primary again. The candidate is known to be a standby.
func (p *pair) reinstate(ctx context.Context) error {
	proc, err := p.from.process(ctx)
	if err != nil {
		return err
	}
	if proc.running() {
		c, err := p.from.connect(ctx)
		if err == nil {
			recovering, rerr := c.inRecovery(ctx)
			c.close()
			if rerr == nil && !recovering { // never stopped
				return p.from.change(ctx, []string{"rm", "-f", p.from.signal()})
			}
		}
		if err := p.from.stopServer(ctx); err != nil {
			return err
		}
	}
	if err := p.from.onlyPrimary(ctx); err != nil {
		return err
	}
	if err := p.from.change(ctx, []string{"rm", "-f", p.from.signal()}, []string{"sync", p.from.Data}); err != nil {
		return err
	}
	if err := p.from.bringUp(ctx); err != nil {
		return err
	}
	return p.from.proveWrites(ctx)
}

// finish proves the new order of things and makes the old primary's end tidy.
func (p *pair) finish(ctx context.Context, others []string) error {
	if err := p.oldIsStandby(ctx); err != nil {
		return err
	}
	c, err := p.to.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := p.to.waitWrites(ctx, c); err != nil {
		return err
	}
	for _, name := range others {
		o, err := siteOf(p.t.Env, name)
		if err != nil {
			return err
		}
		if err := o.proveFollows(ctx, c, p.to.Name, report(p.t)); err != nil {
			return err
		}
	}
	return nil
}

// oldIsStandby makes sure that the old primary is stopped, or runs as a
// standby already, and would never come up as a primary. One that does not
// answer cannot be asked; the steps behind this one will.
func (p *pair) oldIsStandby(ctx context.Context) error {
	proc, err := p.from.process(ctx)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	signal, err := p.from.standbyBySignal(ctx)
	if err != nil {
		return err
	}
	if !signal {
		if err := p.from.change(ctx, []string{"touch", p.from.signal()}, []string{"sync", p.from.signal(), p.from.Data}); err != nil {
			return err
		}
	}
	if c, err := p.from.connect(ctx); err == nil {
		recovering, err := c.inRecovery(ctx)
		c.close()
		if err == nil && recovering {
			return nil
		}
		if err == nil {
			return twoPrimaries(p.from.Name, p.to.Name)
		}
	}
	if p.from.Unit != "" {
		// systemd has to know that the stop was wanted.
		return p.from.stopServer(ctx)
	}
	if proc.running() {
		return p.from.waitStopped(ctx)
	}
	return nil
}

// Undo makes from the primary again: nothing is lost on the way back either,
// so when the role has moved, it goes back by the same careful switch.
func (switchoverAction) Undo(ctx context.Context, t driver.Target) error {
	p, err := pairOf(t)
	if err != nil {
		return err
	}
	var m swapMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	if err := p.quiet(ctx); err != nil {
		return err
	}
	if err := p.wake(ctx); err != nil {
		return err
	}
	st, err := p.settled(ctx)
	if err != nil {
		return err
	}
	switch {
	case st.fromPrimary && st.toPrimary:
		return twoPrimaries(p.from.Name, p.to.Name)
	case st.fromErr != nil:
		// The old primary is away: the present one stays until it is back.
		return &driver.Owed{Node: p.from.Name, Err: st.fromErr}
	case st.toPrimary:
		err = p.goBack(ctx)
	case st.fromPrimary:
		if err = p.reinstate(ctx); err == nil {
			err = p.behind(ctx)
		}
	case st.toKnown:
		if err = p.nobodyElse(ctx, m); err == nil {
			err = p.reinstate(ctx)
		}
	default:
		err = &say.Problem{
			Place: p.to.Name,
			Text: say.F("it does not answer, so nobody knows whether it was promoted; starting %s could make a second primary",
				"它没有应答，无法判断是否已被提升；启动 %s 可能造成双主", p.from.Name),
			Next: say.F("bring %s back, or make sure that it never comes back; then: shiplift rollback", "恢复 %s，或确保它不会再上线；然后执行：shiplift rollback", p.to.Name),
			Err:  p.te,
		}
	}
	if err != nil {
		return err
	}
	return p.forget(ctx, m)
}

// nobodyElse refuses to open the old primary while a third node may be the
// primary (I3), or may hold later writes (I4): neither of the two is, the role
// has been with another one since the switch, and a machine does not answer or a
// primary is down there.
func (p *pair) nobodyElse(ctx context.Context, m swapMemo) error {
	if moved, err := p.movedOn(ctx, m); err != nil || !moved {
		return err
	}
	for _, name := range p.t.Inventory.Names() {
		if name == p.from.Name || name == p.to.Name {
			continue
		}
		s, err := siteOf(p.t.Env, name)
		if err != nil {
			return err
		}
		down, err := s.primaryDown(ctx)
		if down || gone(err) {
			return &say.Problem{
				Place: name, Err: err,
				Text: say.F("it does not answer, and may be the primary: neither %s nor %s is, so somebody has moved the role. Starting %[1]s could make a second primary, or lose what %[3]s wrote last",
					"该节点没有应答，且可能是主库：%s 和 %s 都不是主库，说明有人切换过。启动 %[1]s 可能造成双主，或丢失 %[3]s 最后写入的数据", p.from.Name, p.to.Name, name),
				Next: say.F("start %s and move the role to %s (or, if what only %[1]s has is not wanted: put standby.signal into its data directory); then: shiplift rollback",
					"启动 %s 并将主库切换到 %s（若仅在 %[1]s 上的数据可以放弃：在其数据目录中创建 standby.signal）；然后执行：shiplift rollback", name, p.from.Name),
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// movedOn reports whether neither of the two is the last primary: the old one
// was a standby when it ran last, or the other one is on a later timeline than
// that from which this switch began.
func (p *pair) movedOn(ctx context.Context, m swapMemo) (bool, error) {
	end, err := p.from.control(ctx)
	if err != nil || end.State == stateShutDownInRecovery || end.State == stateArchiveRecovery {
		return true, err
	}
	c, err := p.to.connect(ctx)
	if err != nil {
		return false, err
	}
	defer c.close()
	id, err := c.identity(ctx)
	return id.Timeline > m.Timeline, err
}

// primaryDown reports whether a node's server is down and was no standby when it ran last.
func (s *site) primaryDown(ctx context.Context) (bool, error) {
	p, err := s.process(ctx)
	if err != nil || p.running() {
		return false, err
	}
	standby, err := s.standbyBySignal(ctx)
	return !standby, err
}

// quiet makes sure that no statement of an earlier process of the tool is
// still on its way to the candidate.
func (p *pair) quiet(ctx context.Context) error {
	c, err := p.to.connect(ctx)
	if err != nil {
		return nil // what does not answer gets no statements either; look decides
	}
	defer c.close()
	return c.endOwnSessions(ctx)
}

// wake settles what an earlier way back has left half-way: the candidate was
// primary, is stopped, and the old primary is not yet promoted. A candidate
// that ended otherwise is brought up in the role that its data directory has.
func (p *pair) wake(ctx context.Context) error {
	proc, err := p.to.process(ctx)
	if err != nil || proc.running() && !proc.stopping() {
		return ignoreGone(err)
	}
	if proc.stopping() {
		if err := p.to.waitGone(ctx); err != nil {
			return err
		}
	}
	if fp, err := p.from.process(ctx); err != nil || p.answersAsPrimary(ctx, fp) {
		return ignoreGone(err) // settled: Undo brings the candidate up behind it
	}
	signal, err := p.to.standbyBySignal(ctx)
	if err != nil {
		return err
	}
	end, err := p.to.control(ctx)
	if err != nil {
		return err
	}
	if end.State != stateShutDown || !signal {
		return p.to.bringUp(ctx)
	}
	back := p.swapped()
	err = back.to.bringUp(ctx)
	if gone(err) {
		return err // it may have been promoted: nobody knows
	}
	if err == nil {
		if back.tc, err = back.to.connect(ctx); err != nil {
			return err
		}
		defer back.tc.close()
		err := back.promoteBack(ctx, end)
		var notYet *unprovenError
		if !errors.As(err, &notYet) {
			return err
		}
	}
	// The old primary lacks something: the candidate has to be primary again.
	return back.reinstate(ctx)
}

// promoteBack makes the old primary the primary again, unless it is already.
func (p *pair) promoteBack(ctx context.Context, end control) error {
	if done, err := p.promotedAlready(ctx); err != nil || done {
		return err
	}
	id, err := p.tc.identity(ctx)
	if err != nil {
		return err
	}
	// What the stopped server wrote last may be on the timeline before the
	// one that it began: promote compares what the two files say.
	before := identity{SystemID: id.SystemID, Timeline: int(end.Timeline)}
	return p.promote(ctx, before, end)
}

// promotedAlready waits for a promotion that an earlier process has asked for.
func (p *pair) promotedAlready(ctx context.Context) (bool, error) {
	promoting, err := p.tc.promoting(ctx)
	if err != nil {
		return false, err
	}
	if promoting {
		if err := p.awaitPromotion(ctx); err != nil {
			return false, err
		}
	}
	recovering, err := p.tc.inRecovery(ctx)
	return err == nil && !recovering, err
}

func ignoreGone(err error) error {
	if gone(err) {
		return nil
	}
	return err
}

func (p *pair) answersAsPrimary(ctx context.Context, proc process) bool {
	if !proc.running() {
		return false
	}
	c, err := p.from.connect(ctx)
	if err != nil {
		return false
	}
	defer c.close()
	recovering, err := c.inRecovery(ctx)
	return err == nil && !recovering
}

// goBack takes the old primary in as a standby and switches to it.
func (p *pair) goBack(ctx context.Context) error {
	if err := p.from.change(ctx, []string{"touch", p.from.signal()}, []string{"sync", p.from.signal(), p.from.Data}); err != nil {
		return err
	}
	back := p.swapped()
	c, err := back.from.connect(ctx)
	if err != nil {
		return err
	}
	if slot := p.t.Step.Args["slot"]; slot != "" {
		err = c.makeSlot(ctx, slot)
	}
	if err = cmpErr(err, p.from.bringUp(ctx)); err != nil {
		c.close()
		return err
	}
	err = back.to.proveFollows(ctx, c, back.from.Name, report(p.t))
	c.close()
	if err != nil {
		return err
	}
	if err := p.relaxForReturn(ctx); err != nil {
		return err
	}
	if err := back.swing(ctx); err != nil {
		return err
	}
	if err := back.finish(ctx, nil); err != nil {
		return err
	}
	return p.behind(ctx)
}

// behind lets the candidate be the standby that it was. One whose machine does
// not answer is left to the steps that are still to be undone on it.
func (p *pair) behind(ctx context.Context) error {
	signal, err := p.to.standbyBySignal(ctx)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !signal { // it was promoted and its switch back has not got so far
		return &say.Problem{
			Place: p.to.Name,
			Text:  say.F("it has no standby.signal although %s is primary", "%s 是主库，但该节点没有 standby.signal", p.from.Name),
			Next:  say.F("shiplift status", "shiplift status"),
		}
	}
	if err := p.to.bringUp(ctx); err != nil {
		return err
	}
	return p.to.follow(ctx, p.from.Name, report(p.t))
}

// relaxForReturn makes sure that the old primary waits for no standby that
// will not be there in the moment in which it is primary again; forget gives
// it back what it asked for, by the memo.
func (p *pair) relaxForReturn(ctx context.Context) error {
	c, err := p.from.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	now, err := c.setting(ctx, syncSetting)
	if err != nil {
		return err
	}
	names, err := parseSyncNames(now.Value)
	if err != nil {
		return err
	}
	senders, err := c.senders(ctx)
	if err != nil {
		return err
	}
	var here []string
	for _, s := range senders {
		here = append(here, s.App)
	}
	less := names.relaxed(here)
	if less.String() == names.String() {
		return nil
	}
	return p.from.reach(ctx, c, []goal{{name: syncSetting, value: less.String()}})
}

// forget takes back what the primary was told about its life as a standby.
func (p *pair) forget(ctx context.Context, m swapMemo) error {
	c, err := p.from.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.restoreUpstream(ctx, m.From); err != nil {
		return err
	}
	if err := p.from.reach(ctx, c, alterMemo{syncSetting: m.Sync}.goals()); err != nil {
		return err
	}
	return p.from.waitWrites(ctx, c)
}
