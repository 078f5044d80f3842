package postgres

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
)

// TestChecksTell breaks one thing at a time; the finding must say it.
func TestChecksTell(t *testing.T) {
	t.Parallel()
	for says, tc := range map[string]struct {
		id     string
		sev    check.Severity
		change func(*view, *plan.Request)
	}{
		"no server runs in":         {"servers", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].SQL, v.Nodes[1].Proc = false, process{} }},
		"does not let the tool in":  {"servers", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].SQL = false }},
		"no target was named":       {"target", check.Warn, func(_ *view, r *plan.Request) { r.To = "" }},
		"is newer than":             {"target", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].ID.Version = "15.18" }},
		"knows PostgreSQL 13 to 17": {"target", check.Block, func(v *view, r *plan.Request) { r.To = "12.22"; v.each(func(n *seen) { n.ID.Version = "12.21" }) }},
		"names several hosts":       {"upstream", check.Warn, func(v *view, _ *plan.Request) { v.Nodes[1].Conninfo = v.Nodes[1].Conninfo.with("host", "a,b") }},
		"is no node of the inventory: the switchover leaves it behind": {"upstream", check.Warn, func(v *view, _ *plan.Request) {
			v.Nodes[0].Senders = append(v.Nodes[0].Senders, sender{App: "stranger"})
		}},
		"synchronous_standby_names stands on the command line": {"sync", check.Block, func(v *view, _ *plan.Request) {
			v.Nodes[0].Settings[syncSetting] = setting{Value: "*", Source: "command line"}
		}},
		"would not follow a promotion": {"parameters", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Settings["recovery_target_timeline"] = setting{Value: "1"} }},
		"primary_slot_name stands on the command line": {"parameters", check.Block, func(v *view, _ *plan.Request) {
			v.Nodes[1].Settings["primary_slot_name"] = setting{Source: "command line"}
		}},
		"max_wal_senders is 0": {"parameters", check.Block, func(v *view, _ *plan.Request) {
			v.each(func(n *seen) { n.Settings["max_wal_senders"] = setting{Value: "0"} })
		}},
		"has lost WAL": {"slots", check.Block, func(v *view, _ *plan.Request) {
			v.Nodes[0].Slots = []slot{{Name: "x", Type: "physical", WALStatus: "lost"}}
		}},
		"calls its data directory":         {"data-directory", check.Warn, func(v *view, _ *plan.Request) { v.Nodes[0].Settings["data_directory"] = setting{Value: "/else"} }},
		"its control file cannot be read":  {"storage", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].ControlBad = "bad CRC" }},
		"the free disk space is not known": {"disk", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Room = nil }},
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			env, obs := watched(t, pgsim.Options{Nodes: 3})
			r := plan.Request{To: "15.17", Mode: modeRolling, Packages: []string{packageFor(t, "15.17")}}
			tc.change(obs.Detail.(*view), &r)
			fs := check.Run(t.Context(), New().Checks(env, obs, r), nil)
			for _, f := range fs {
				if f.ID == tc.id && f.Severity == tc.sev && strings.Contains(f.Says.EN, says) {
					return
				}
			}
			t.Errorf("%s does not say it: %+v", tc.id, fs)
		})
	}
}

// TestVerifyTells breaks one thing of what is read again (I3, I6, I7).
func TestVerifyTells(t *testing.T) {
	t.Parallel()
	for id, change := range map[string]func(*view){
		"verify.release":     func(v *view) { v.Nodes[1].Installed = "15.15" },
		"verify.health":      func(v *view) { v.Nodes[1].Receiver = receiver{} },
		"verify.answers":     func(v *view) { v.Nodes[1].SQL = false },
		"verify.one-primary": func(v *view) { v.Nodes[1].ID.Recovery = false },
		"verify.sync":        func(v *view) { v.Nodes[0].Settings[syncSetting] = setting{Value: "FIRST 2 (x, y)"} },
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			_, obs := watched(t, pgsim.Options{Nodes: 3})
			v := obs.Detail.(*view)
			p := &plan.Plan{To: "15.16", Before: map[string]plan.NodeState{}}
			for _, n := range v.Nodes {
				p.Before[n.Name] = plan.NodeState{Health: n.health(), Healthy: true}
			}
			judge := func() (out []check.Finding) {
				for _, n := range v.Nodes {
					out = append(out, verifyNode(n, p)...)
				}
				return append(out, v.verifyRoles()...)
			}
			if bad := check.Blocking(judge()); len(bad) > 0 {
				t.Fatalf("a cluster that is well is not: %+v", bad)
			}
			change(v)
			for _, f := range check.Blocking(judge()) {
				if f.ID == id {
					return
				}
			}
			t.Errorf("not told: %+v", judge())
		})
	}
}

// TestVerifyWantsStandbysToMove: a standby that replays nothing is told (I6).
func TestVerifyWantsStandbysToMove(t *testing.T) {
	t.Parallel()
	l, err := pgsim.Start(pgsim.Options{Nodes: 3, Release: "15.16", CutScript: CutScript})
	if err != nil {
		t.Fatal(err)
	}
	env := driver.Env{Hosts: l.World.Hosts(), Inventory: l.Inventory, Clock: l.World, Serial: true}
	l.Freeze("db3", true)
	obs, err := New().Observe(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := obs.Detail.(*view).verifyMovement(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	if bad := check.Blocking(fs); len(bad) != 1 || bad[0].Node != "db3" || bad[0].ID != "verify.follows" {
		t.Errorf("%+v", fs)
	}
}

// atCut does something when the switchover's script comes, before or behind it.
type atCut struct {
	host.Host
	before func()
	after  func(host.Result, error) (host.Result, error)
}

func (h *atCut) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if len(c.Argv) < 3 || c.Argv[2] != CutScript {
		return h.Host.Run(ctx, c)
	}
	if h.before != nil {
		h.before()
	}
	res, err := h.Host.Run(ctx, c)
	if h.after != nil {
		return h.after(res, err)
	}
	return res, err
}

// planned are steps of a rolling upgrade, of which nothing is done yet; half of
// the nodes may be away at once.
func planned(t *testing.T, nodes int, ids ...string) (*pgsim.Lab, driver.Env, []driver.Target) {
	t.Helper()
	l, err := pgsim.Start(pgsim.Options{Nodes: nodes, Release: "15.16", CutScript: CutScript})
	if err != nil {
		t.Fatal(err)
	}
	env := driver.Env{Hosts: l.World.Hosts(), Inventory: l.Inventory, Clock: l.World, Serial: true}
	obs, err := New().Observe(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	p, err := driver.Make(New(), env.Inventory, obs, plan.Request{To: "15.17", Mode: modeRolling, MaxUnavailable: nodes / 2, Packages: []string{packageFor(t, "15.17")}}, "test")
	if err != nil {
		t.Fatal(err)
	}
	var out []driver.Target
	for _, id := range ids {
		_, target := drivertest.Target(t, New(), env, p, id)
		out = append(out, target)
	}
	return l, env, out
}

// switching is a cluster right before its switchover, from db1 to db2.
func switching(t *testing.T) (*pgsim.Lab, driver.Env, driver.Action, driver.Target) {
	t.Helper()
	l, env, ways := planned(t, 2, "cluster/switchover")
	return l, env, switchoverAction{}, ways[0]
}

// TestTheSwitchoverPromotesOnlyWhatHoldsEverything is I4 at the moment that
// counts: whatever is wrong between the cut and the promotion, the old primary
// gets its role back and nothing is lost.
func TestTheSwitchoverPromotesOnlyWhatHoldsEverything(t *testing.T) {
	t.Parallel()
	l, env, a, target := switching(t)
	env.Hosts["db1"] = &atCut{Host: env.Hosts["db1"], before: func() { l.Freeze("db2", true) }}
	drivertest.Refuses(t, a.Do(t.Context(), target), "has replayed the last record")
	l.Freeze("db2", false)
	if err := l.Truth(); err != nil {
		t.Error(err)
	}
	if obs, err := New().Observe(t.Context(), env); err != nil || obs.Node("db1").Role != "primary" || obs.Node("db2").Role != "standby" {
		t.Errorf("the old primary does not have its role back: %+v, %v", obs.Nodes, err)
	}
}

// TestTheCutIsProvenByTheControlFile: a stop that claims success and did
// nothing promotes nobody, nor does the control file of another history (I3, I4).
func TestTheCutIsProvenByTheControlFile(t *testing.T) {
	t.Parallel()
	_, env, a, target := switching(t)
	drivertest.HearNothing(env, "db1", CutScript)
	drivertest.Refuses(t, a.Do(t.Context(), target), "its control file says")
	p, err := pairOf(target)
	if err != nil {
		t.Fatal(err)
	}
	p.connectBoth(t.Context())
	defer p.close()
	now, err := p.fc.identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Refuses(t, p.promote(t.Context(), now, control{SystemID: 1, Timeline: 1}), "expected")
}

// TestTheSwitchoverKnowsWhomItMeets: the roles are asked once more right before (I3).
func TestTheSwitchoverKnowsWhomItMeets(t *testing.T) {
	t.Parallel()
	for says, turn := range map[string]func(*pair) *pair{
		"db2 is not the primary any more": (*pair).swapped,
		"two nodes accept writes":         func(p *pair) *pair { return &pair{t: p.t, from: p.from, to: p.from} },
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			_, _, _, target := switching(t)
			p, err := pairOf(target)
			if err != nil {
				t.Fatal(err)
			}
			p = turn(p)
			p.connectBoth(t.Context())
			defer p.close()
			_, err = p.prepare(t.Context())
			drivertest.Refuses(t, err, says)
		})
	}
}

// TestTheSwitchoverWantsOneHistory: a standby of a later timeline is not this primary's (I4).
func TestTheSwitchoverWantsOneHistory(t *testing.T) {
	t.Parallel()
	_, _, _, target := switching(t)
	p, err := pairOf(target)
	if err != nil {
		t.Fatal(err)
	}
	_, _, a, other := switching(t)
	if err := a.Do(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	elsewhere, err := pairOf(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := elsewhere.from.bringUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.to = elsewhere.from
	p.connectBoth(t.Context())
	defer p.close()
	_, err = p.prepare(t.Context())
	drivertest.Refuses(t, err, "are not of one history")
}

// TestTheOldPrimaryStaysAStandby: whatever somebody did to it in the middle, it
// would not come up as a second primary (I3).
func TestTheOldPrimaryStaysAStandby(t *testing.T) {
	t.Parallel()
	l, env, a, target := switching(t)
	p, err := pairOf(target)
	if err != nil {
		t.Fatal(err)
	}
	h := &atCut{Host: env.Hosts["db1"], after: func(r host.Result, err error) (host.Result, error) {
		m := l.World.Machine("db1")
		l.World.With(func() { m.Remove(p.from.signal()) })
		return r, err
	}}
	env.Hosts["db1"] = h
	target.Env = env
	if err := a.Do(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if !l.World.Machine("db1").Exists(p.from.signal()) {
		t.Error("the old primary has no standby.signal: its next start makes a second primary")
	}
}

// TestTwoPrimariesStopEverything: when both accept writes nobody decides but a person (I3).
func TestTwoPrimariesStopEverything(t *testing.T) {
	t.Parallel()
	_, _, a, target := switching(t)
	if err := a.Do(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	both := target
	both.Step.Args = map[string]string{"from": target.Step.Args["to"], "to": target.Step.Args["to"]}
	standing, err := a.Probe(t.Context(), both)
	if standing != driver.Unknown {
		t.Errorf("probe: %s", standing)
	}
	drivertest.Refuses(t, err, "two nodes accept writes")
	drivertest.Refuses(t, a.Undo(t.Context(), both), "two nodes accept writes")
}

// TestWhatWasProvenIsProvenAgain: a step that only reads is never taken for done behind a crash (I2).
func TestWhatWasProvenIsProvenAgain(t *testing.T) {
	t.Parallel()
	env, obs := watched(t, pgsim.Options{Nodes: 3})
	p, err := driver.Make(New(), env.Inventory, obs, plan.Request{To: "15.17", Mode: modeInplace, Packages: []string{packageFor(t, "15.17")}}, "test")
	if err != nil {
		t.Fatal(err)
	}
	drivertest.ProvenAgain(t, New(), env, p)
}

// TestFollowsWaitsForEveryStandby: one that replays nothing stops the step (I6).
func TestFollowsWaitsForEveryStandby(t *testing.T) {
	t.Parallel()
	l, err := pgsim.Start(pgsim.Options{Nodes: 2, Release: "15.16", CutScript: CutScript})
	if err != nil {
		t.Fatal(err)
	}
	l.Freeze("db2", true)
	env := driver.Env{Hosts: l.World.Hosts(), Inventory: l.Inventory, Clock: l.World, Serial: true}
	a, ok := New().Action(kindFollows)
	if !ok {
		t.Fatal("no such action")
	}
	target := driver.Target{Env: env, Plan: &plan.Plan{}, Step: plan.Step{ID: "x", Kind: kindFollows, Args: map[string]string{"standbys": "db2"}}}
	drivertest.Refuses(t, a.Do(t.Context(), target), "db2")
}

// TestWaitsEnd: each wait for a server ends and says for what it waited (I9).
func TestWaitsEnd(t *testing.T) {
	t.Parallel()
	_, _, _, target := switching(t)
	p, err := pairOf(target)
	if err != nil {
		t.Fatal(err)
	}
	p.connectBoth(t.Context())
	defer p.close()
	drivertest.Refuses(t, p.awaitPromotion(t.Context()), "db2 accepts writes")
	drivertest.Refuses(t, p.to.waitWrites(t.Context(), p.tc), "db2 accepts writes")
	// What a reset brings back is not what it was: somebody has edited postgresql.conf.
	drivertest.Refuses(t, p.from.reach(t.Context(), p.fc, []goal{{name: "primary_slot_name", value: "elsewhere", reset: true}}), "db1 has taken its settings over")
	far := &pair{t: target, from: p.from, to: p.to, fc: p.fc, tc: p.fc} // a server that tells of no replay
	drivertest.Refuses(t, far.waitClose(t.Context()), "db2 is close behind db1")
	drivertest.Refuses(t, p.from.waitGone(t.Context()), "the server of db1 has stopped cleanly")
	if err := p.to.stopServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	drivertest.Refuses(t, p.to.waitAnswer(t.Context()), "the server of db2 accepts connections")
}

// TestAStandbyIsStoppedOnlyWithEverything: one that lacks the end of the stopped
// primary goes on running, so that it can still get it (I4).
func TestAStandbyIsStoppedOnlyWithEverything(t *testing.T) {
	t.Parallel()
	l, _, _, target := switching(t)
	p, err := pairOf(target)
	if err != nil {
		t.Fatal(err)
	}
	l.Freeze("db2", true)
	if err := p.from.stopServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	target.Step = plan.Step{ID: "db2/stop", Kind: kindStop, Node: "db2", Impact: plan.Down, Args: map[string]string{"received-all-of": "db1"}}
	a, _ := New().Action(kindStop)
	drivertest.Refuses(t, a.Do(t.Context(), target), "db2 has the last record of db1")
	if proc, err := p.to.process(t.Context()); err != nil || !proc.running() {
		t.Errorf("its server was stopped all the same: %+v, %v", proc, err)
	}
}

// TestTheOldPrimaryIsNotStartedBesideANewOne: whoever gives it its role back asks
// everybody first (I3).
func TestTheOldPrimaryIsNotStartedBesideANewOne(t *testing.T) {
	t.Parallel()
	l, _, a, target := switching(t)
	if err := a.Do(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	p, err := pairOf(target)
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Refuses(t, p.reinstate(t.Context()), "as a second primary beside db2")
	if !l.World.Machine("db1").Exists(p.from.signal()) {
		t.Error("its standby.signal is gone: its next start makes a second primary")
	}
	if err := l.Damage(); err != nil {
		t.Error(err)
	}
}

// shutOut is a machine that the server at an address lets nobody in from.
type shutOut struct {
	host.Host
	of string
}

func (h *shutOut) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(address, h.of+":") {
		return h.Host.Dial(ctx, network, address)
	}
	tool, server := net.Pipe()
	go letsNobodyIn(server)
	return tool, nil
}

// letsNobodyIn is a server that lets nobody in.
func letsNobodyIn(c net.Conn) {
	defer c.Close()
	b := pgproto3.NewBackend(c, c)
	m, err := b.ReceiveStartupMessage()
	if _, ok := m.(*pgproto3.SSLRequest); ok {
		_, _ = c.Write([]byte("N"))
		_, err = b.ReceiveStartupMessage()
	}
	if err == nil {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28000", Message: "no pg_hba.conf entry for replication connection"})
		_ = b.Flush()
	}
}

// TestTheReplicationLoginIsTried: what the switchover takes for granted is known
// before it, in either case.
func TestTheReplicationLoginIsTried(t *testing.T) {
	t.Parallel()
	env, obs := watched(t, pgsim.Options{Nodes: 2})
	r := plan.Request{To: "15.17", Mode: modeRolling, Packages: []string{packageFor(t, "15.17")}}
	told := func(sev check.Severity, says string) {
		t.Helper()
		fs := check.Run(t.Context(), New().Checks(env, obs, r), nil)
		for _, f := range fs {
			if f.ID == "replication-login" && f.Severity == sev && strings.Contains(f.Says.EN, says) && strings.Contains(f.Evidence, "db1 → db2") {
				return
			}
		}
		t.Errorf("%q is not told: %+v", says, fs)
	}
	told(check.Pass, "may log in to db2 for replication")
	to, err := siteOf(env, "db2")
	if err != nil {
		t.Fatal(err)
	}
	env.Hosts["db1"] = &shutOut{env.Hosts["db1"], to.Address}
	told(check.Block, "db1 may not log in to db2 for replication")
}

// TestAnOldPrimaryThatIsAwayIsOwed: the way back leaves the present primary
// alone until the old one answers (I3, I4).
func TestAnOldPrimaryThatIsAwayIsOwed(t *testing.T) {
	t.Parallel()
	l, _, a, target := switching(t)
	if err := a.Do(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	l.World.With(func() { l.World.Machine("db1").PowerOff() })
	var owed *driver.Owed
	if err := a.Undo(t.Context(), target); !errors.As(err, &owed) || owed.Node != "db1" {
		t.Errorf("got %v, want what db1 owes", err)
	}
}

// TestSlotsStayWhileTheirNodeIsDown: slots were made for the time in which the
// old primary is away; on the way back they go when its server runs, not when
// its machine answers: those that were moved off it use them (docs/bugs.md B-140).
func TestSlotsStayWhileTheirNodeIsDown(t *testing.T) {
	t.Parallel()
	l, err := pgsim.Start(pgsim.Options{Nodes: 3, Slots: true, Release: "15.16", CutScript: CutScript})
	if err != nil {
		t.Fatal(err)
	}
	target := driver.Target{Env: driver.Env{Inventory: l.Inventory, Hosts: l.World.Hosts(), Clock: l.World, Serial: true}, Undoing: true,
		Step: plan.Step{ID: "db2/make-slots", Node: "db2", Args: map[string]string{"slots": "db3", "for": "db1"}}, Memo: driver.Memo(`{}`)}
	if err := awaited(t.Context(), target); err != nil {
		t.Fatal("its server runs:", err)
	}
	if err := l.World.Strike("postgres: kill server", "db1"); err != nil {
		t.Fatal(err)
	}
	var owed *driver.Owed
	if err := (makeSlotsAction{}).Undo(t.Context(), target); !errors.As(err, &owed) || owed.Node != "db1" {
		t.Errorf("got %v, want a step that is owed to db1", err)
	}
}

// TestALostAnswerProvesNoPrimaryAway: whoever wants to start a second one has to
// hear from the first one that it is read-only (I3, docs/bugs.md B-141).
func TestALostAnswerProvesNoPrimaryAway(t *testing.T) {
	t.Parallel()
	l, err := pgsim.Start(pgsim.Options{Nodes: 2, Release: "15.16", CutScript: CutScript})
	if err != nil {
		t.Fatal(err)
	}
	s, err := siteOf(driver.Env{Inventory: l.Inventory, Hosts: l.World.Hosts(), Clock: l.World, Serial: true}, "db2")
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Refuses(t, s.onlyPrimary(t.Context()), "a second primary beside db1")
	l.World.Inject(sim.Fault{Kind: sim.LinkLostBefore, Node: "db1", Match: "in-recovery"})
	if err := s.onlyPrimary(t.Context()); err == nil {
		t.Error("the answer of db1 was lost, and db2 may start as a primary")
	}
	// A server with a standby.signal may need the primary before it lets anybody in.
	l.World.Inject(sim.Fault{Kind: sim.LinkLostBefore, Node: "db2", Match: "in-recovery"})
	first, err := siteOf(s.env, "db1")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.onlyPrimary(t.Context()); err != nil {
		t.Errorf("a standby that cannot be asked keeps the primary down: %v", err)
	}
}

// TestALostMachineMayHaveBeenPromoted: the tool died behind the promotion of a
// way back, and the machine of the promoted server does not answer the next one
// any more. The other server is not started as the primary (I3, docs/bugs.md B-141).
func TestALostMachineMayHaveBeenPromoted(t *testing.T) {
	t.Parallel()
	l, env, a, target := switching(t)
	if err := a.Do(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	p, err := pairOf(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.from.bringUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	target.Undoing = true
	dying := target
	dying.Clock = diesInPromotion{l.World}
	if err := a.Undo(t.Context(), dying); !errors.Is(err, errDied) {
		t.Fatalf("got %v", err)
	}
	if err := l.World.Sleep(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	env.Hosts["db1"] = &goneAtDial{Host: env.Hosts["db1"]}
	if err := a.Undo(t.Context(), target); !gone(err) {
		t.Errorf("got %v, want that db1 does not answer", err)
	}
	if err := l.Damage(); err != nil {
		t.Error(err)
	}
}

// goneAtDial is a machine that does not answer any more when its server is asked.
type goneAtDial struct {
	host.Host
	gone bool
}

func (h *goneAtDial) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if h.gone {
		return host.Result{}, &host.UnreachableError{}
	}
	return h.Host.Run(ctx, c)
}

func (h *goneAtDial) Dial(context.Context, string, string) (net.Conn, error) {
	h.gone = true
	return nil, &host.UnreachableError{}
}

// TestAMoveBehindThePlansBackIsNoMemo: a memo that is kept after somebody has
// moved the role would lead a rollback to what that somebody has made, and that
// may be gone by then (docs/bugs.md B-160).
func TestAMoveBehindThePlansBackIsNoMemo(t *testing.T) {
	t.Parallel()
	for step, action := range map[string]driver.Action{"db3/repoint": repointAction{}, "cluster/switchover": switchoverAction{}} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l, _, ways := planned(t, 4, step)
			target := ways[0]
			if _, err := action.Prepare(t.Context(), target); err != nil {
				t.Fatal("nobody has moved anything:", err)
			}
			if err := l.World.Strike(pgsim.MoveHook, "db1"); err != nil {
				t.Fatal(err)
			}
			_, err := action.Prepare(t.Context(), target)
			drivertest.Refuses(t, err, "somebody has moved the role")
			if err := l.Mend(); err != nil { // a person does what the message says
				t.Fatal(err)
			}
			if _, err := action.Prepare(t.Context(), target); err != nil {
				t.Error("the role is back:", err)
			}
		})
	}
}

// TestAThirdNodeThatMayBeThePrimary: the way back of a switchover finds two
// standbys, since somebody has made a third node the primary, and that does not
// answer. Its machine may come back with it (I3, docs/bugs.md B-161).
func TestAThirdNodeThatMayBeThePrimary(t *testing.T) {
	t.Parallel()
	l, env, ways := planned(t, 4, "db3/repoint", "db4/repoint", "cluster/switchover")
	for _, do := range []driver.Action{repointAction{}, repointAction{}, switchoverAction{}} {
		if err := do.Do(t.Context(), ways[0]); err != nil {
			t.Fatal(err)
		}
		if len(ways) > 1 {
			ways = ways[1:]
		}
	}
	if err := l.World.Strike(pgsim.MoveHook, "db1"); err != nil { // to db3, since db1 is down
		t.Fatal(err)
	}
	down := env.Hosts["db3"]
	env.Hosts["db3"] = away{}
	drivertest.Refuses(t, switchoverAction{}.Undo(t.Context(), ways[0]), "may be the primary")
	env.Hosts["db3"] = down
	if err := l.World.Strike("postgres: kill server", "db3"); err != nil {
		t.Fatal(err)
	}
	drivertest.Refuses(t, switchoverAction{}.Undo(t.Context(), ways[0]), "lose what db3 wrote last")
	if err := l.Damage(); err != nil {
		t.Error(err)
	}
}

// TestAnOldPrimaryThatWasAStandbyLast: before the switchover somebody has made a
// third node the primary, of which the candidate has not heard. The old one, which
// followed that when it ran last, is not opened beside it (I3, docs/bugs.md B-161).
func TestAnOldPrimaryThatWasAStandbyLast(t *testing.T) {
	t.Parallel()
	l, env, ways := planned(t, 4, "cluster/switchover")
	l.Freeze("db2", true)
	if err := l.World.Strike(pgsim.MoveHook, "db1"); err != nil { // to db3, since db2 does not keep up
		t.Fatal(err)
	}
	p, err := pairOf(ways[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := p.from.stopServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	env.Hosts["db3"] = away{}
	drivertest.Refuses(t, switchoverAction{}.Undo(t.Context(), ways[0]), "may be the primary")
	if err := l.Damage(); err != nil {
		t.Error(err)
	}
}

// TestAPromotionUnderWayIsAwaited: the tool died while the candidate was being
// promoted; who goes on does not switch again, but waits for the end of it.
func TestAPromotionUnderWayIsAwaited(t *testing.T) {
	t.Parallel()
	l, _, ways := planned(t, 4, "db3/repoint", "db4/repoint", "cluster/switchover")
	for _, way := range ways[:2] {
		if err := (repointAction{}).Do(t.Context(), way); err != nil {
			t.Fatal(err)
		}
	}
	dying := ways[2]
	dying.Clock = diesInPromotion{l.World}
	if err := (switchoverAction{}).Do(t.Context(), dying); !errors.Is(err, errDied) {
		t.Fatalf("got %v", err)
	}
	p, err := pairOf(ways[2])
	if err != nil {
		t.Fatal(err)
	}
	if st, err := p.look(t.Context()); err != nil || !st.promoting {
		t.Fatalf("no promotion is under way: %+v %v", st, err)
	}
	if st, err := p.settled(t.Context()); err != nil || st.promoting || !st.toPrimary {
		t.Errorf("got %+v %v, want the candidate as the primary", st, err)
	}
}

var errDied = errors.New("the tool died")

// diesInPromotion ends the tool when it looks for the end of a promotion again.
type diesInPromotion struct{ *sim.World }

func (c diesInPromotion) Sleep(ctx context.Context, d time.Duration) error {
	if d == 2*time.Millisecond {
		return errDied
	}
	return c.World.Sleep(ctx, d)
}

// away is a machine that does not answer.
type away struct{ host.Host }

func (away) Run(context.Context, host.Cmd) (host.Result, error) {
	return host.Result{}, &host.UnreachableError{}
}

func (away) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, &host.UnreachableError{}
}

// TestAStartThatMetThePrimaryGoesBack: the server that is to be a standby has
// been made the primary again by a person; a rollback brings it where it is,
// and does not wait for somebody to move the role once more (docs/bugs.md B-162).
func TestAStartThatMetThePrimaryGoesBack(t *testing.T) {
	t.Parallel()
	_, _, ways := planned(t, 4, "db1/start")
	target := ways[0]
	target.Step.Args["release"] = "15.16" // it runs what it ran, as the primary
	st, err := (startAction{}).Probe(t.Context(), target)
	if st != driver.Unknown {
		t.Errorf("forward: %s %v", st, err)
	}
	target.Undoing = true
	if st, err = (startAction{}).Probe(t.Context(), target); st != driver.Half || err != nil {
		t.Errorf("on the way back: %s %v, want a step that is undone", st, err)
	}
}

// slowGoodbye is a machine that takes its time over every connection but the first.
type slowGoodbye struct {
	host.Host
	dials atomic.Int32
	said  atomic.Bool // a second connection was asked for and answered
}

func (h *slowGoodbye) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if h.dials.Add(1) > 1 {
		<-time.After(30 * time.Millisecond)
		defer h.said.Store(true)
	}
	return h.Host.Dial(ctx, network, address)
}

// TestNothingGoesOnBehindAConnectionThatBroke: the library asks the server to
// end the statement; the run goes on when that is over.
func TestNothingGoesOnBehindAConnectionThatBroke(t *testing.T) {
	t.Parallel()
	l, env, _ := planned(t, 2)
	slow := &slowGoodbye{Host: env.Hosts["db1"]}
	env.Hosts["db1"] = slow
	s, err := siteOf(env, "db1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	l.World.Machine("db1").Cut(true)
	if _, err := c.inRecovery(t.Context()); err == nil {
		t.Fatal("the link is cut, and the server has answered")
	}
	if !slow.said.Load() {
		t.Error("the connection's goodbye comes beside what the run does next")
	}
}
