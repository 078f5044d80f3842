package mogdb_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// upTo applies a run until it would begin the step.
func upTo(ctx context.Context, s *rehearse.Story, step string) (run.Outcome, error) {
	trail, err := run.Fold(s.Plan, s.Log.Records)
	if err != nil {
		return run.Outcome{}, err
	}
	r := &run.Runner{Driver: s.World.Driver, Env: s.World.Env, Log: s.Log, Trail: trail,
		Options: run.Options{Verb: "apply", Accept: s.World.Accept, Parallel: 1, Until: step}}
	return r.Work(ctx, journal.Who{User: "dba", Host: "control"}, 1)
}

// TestFailoverThenBack lets somebody else move the primary before each step,
// and takes the run back: what was acknowledged by then and since stays (I4).
// When the new primary falls too, the run may stop, but loses nothing.
func TestFailoverThenBack(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		lab gauss.Options
		r   plan.Request
	}{}
	for name, tc := range allKinds() {
		if tc.lab.Nodes > 1 && !tc.lab.MogHA || name == "switched back" || name == "rolling om mogha" {
			cases[name] = tc
		}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.lab.Load = true
			first, err := rehearse.Begin(t.Context(), open(t, tc.lab, tc.r, untraced).World)
			if err != nil {
				t.Fatal(err)
			}
			noted := false // before the roles are noted nothing has been touched that runs
			for _, step := range first.Plan.Steps {
				if step.Phase != plan.Apply || step.Kind == plan.GateKind || !noted {
					noted = noted || step.ID == "cluster/note-roles"
					continue
				}
				failoverThenBack(t, open(t, tc.lab, tc.r, untraced), step.ID, false)
				failoverThenBack(t, open(t, tc.lab, tc.r, untraced), step.ID, true)
			}
		})
	}
}

func failoverThenBack(t *testing.T, w *world, step string, fallen bool) {
	t.Helper()
	s, err := rehearse.Begin(t.Context(), w.World)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := upTo(t.Context(), s, step); err != nil || out.Step != step && out.Gate != step {
		t.Fatalf("until %s: %+v, %v", step, out, err)
	}
	_ = w.Env.Clock.Sleep(t.Context(), 5*time.Second)
	w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "failover", Command: w.Sim.Commands() + 1})
	if fallen { // the new primary falls too
		w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "kill primary", Command: w.Sim.Commands() + 3})
	}
	var out run.Outcome
	for range 3 {
		if out, err = s.Work(t.Context(), "rollback", nil); err != nil {
			t.Fatal(err)
		}
		if out.State == run.RolledBack {
			break
		}
		_ = w.Env.Clock.Sleep(t.Context(), time.Minute)
	}
	lab := w.lab
	for _, d := range lab.Truth().Damage {
		switch d.Rule {
		case "DIVERGED", "M17", "M21":
			t.Errorf("failover before %s (fallen: %t): %s", step, fallen, d)
		}
	}
	if lost := lab.Truth().Lost; lost > 0 {
		t.Errorf("failover before %s (fallen: %t): %d bytes of acknowledged writes are lost", step, fallen, lost)
	}
	if out.State != run.RolledBack {
		if fallen { // nobody can tell from outside which of the two holds more
			return
		}
		t.Errorf("failover before %s (fallen: %t): %s at %s: %s", step, fallen, out.State, out.Step, out.Why.EN)
		return
	}
	for _, n := range lab.Nodes() {
		if n.Running != s.Plan.From {
			t.Errorf("failover before %s (fallen: %t): %s runs %q behind the rollback", step, fallen, n.Name, n.Running)
		}
	}
}

// TestFailoverThenGoOn lets somebody else move the primary before a step and
// the failed server come back as a standby: the run must not go on by the roles
// of its plan, and must find its way back.
func TestFailoverThenGoOn(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]plan.Request{"in place": inplaceR, "standby first": rollingR} {
		for _, step := range []string{"cluster/note-roles", "cluster/quiet", "node2/stop"} {
			t.Run(name+" before "+step, func(t *testing.T) {
				t.Parallel()
				w := open(t, gauss.Options{Nodes: 3, Install: "om", Load: true}, r, untraced)
				s := w.begin(t)
				if _, err := upTo(t.Context(), s, step); err != nil {
					t.Fatal(err)
				}
				w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "failover", Command: w.Sim.Commands() + 1})
				_, _ = w.Env.Hosts["node3"].Run(t.Context(), host.Read("true"))
				w.gsCtl(t, "node1", "start", "-M", "standby")
				w.wait(t, 30*time.Second)
				out, err := s.Work(t.Context(), "resume", nil)
				if err != nil {
					t.Fatal(err)
				}
				if out.State == run.Upgraded || !strings.Contains(out.Why.EN, "the primary has moved") {
					t.Errorf("ended %s at %s: %s", out.State, out.Step, out.Why.EN)
				}
				if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestFailoverInTheMomentOfAStop lets somebody else move the primary at each
// command of a standby's stop: it may be the primary when it is stopped (B-111).
func TestFailoverInTheMomentOfAStop(t *testing.T) {
	t.Parallel()
	for k := 1; k <= 12; k++ {
		w := open(t, gauss.Options{Nodes: 3, Install: "manual", Load: true}, rollingR, untraced)
		s := w.begin(t)
		if _, err := upTo(t.Context(), s, "node2/stop"); err != nil {
			t.Fatal(err)
		}
		w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "failover", Command: w.Sim.Commands() + k})
		if _, err := s.Work(t.Context(), "resume", nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
			t.Errorf("failover at command %d of the stop: %v\n%s", k, err, rehearse.Transcript(s.Log.Records))
		}
	}
}

// TestAStoppedPrimaryIsNotStartedBesideOneThatMayBe: the same, and a node does
// not answer then: it may be the primary by now (I3, M21).
func TestAStoppedPrimaryIsNotStartedBesideOneThatMayBe(t *testing.T) {
	t.Parallel()
	refused := 0
	for k := 1; k <= 12; k++ {
		w := open(t, gauss.Options{Nodes: 3, Install: "manual", Load: true}, rollingR, untraced)
		s := w.begin(t)
		if _, err := upTo(t.Context(), s, "node2/stop"); err != nil {
			t.Fatal(err)
		}
		w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "failover", Command: w.Sim.Commands() + k})
		w.Sim.Inject(sim.Fault{Kind: sim.Unreachable, Node: "node3", Command: w.Sim.Commands() + k, Times: -1})
		out, err := s.Work(t.Context(), "resume", nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.Why.EN, "no second one is started") {
			refused++
		}
		for _, n := range w.lab.Nodes() {
			if n.Name == "node2" && n.Role == "Primary" && strings.Contains(out.Why.EN, "no second one") {
				t.Errorf("failover at command %d: node2 was started as the primary while node3 did not answer", k)
			}
		}
	}
	if refused == 0 {
		t.Error("the case was never met")
	}
}

// TestTheRoleWaitsForANodeThatOwesItsWayBack: the old primary does not answer
// for a moment while a rollback begins, and does again when the role would go
// back to it: it holds the new software still, others run the old one (M10, B-114).
func TestTheRoleWaitsForANodeThatOwesItsWayBack(t *testing.T) {
	t.Parallel()
	for at := 1; at <= 80; at += 4 {
		w := open(t, gauss.Options{Nodes: 3, Install: "manual", Load: true}, rollingR, untraced)
		s := w.begin(t)
		if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
			t.Fatal(err)
		}
		f := sim.Fault{Kind: sim.Unreachable, Node: "node1", Command: w.Sim.Commands() + at, Times: 6}
		if at%8 == 5 {
			f.Kind, f.Times, f.For = sim.LinkCut, 0, 34*time.Second
		}
		w.Sim.Inject(f)
		for range 4 {
			if out, err := s.Work(t.Context(), "rollback", nil); err != nil || out.State == run.RolledBack {
				break
			}
		}
		if err := s.World.Truth(); err != nil || s.Final() != run.RolledBack {
			t.Errorf("node1 away from command %d on: %v\n%s", at, err, rehearse.Transcript(s.Log.Records))
		}
	}
}

// TestAPersonTellsWhichPrimaryWasLast: two servers were the primary when they fell,
// while MogHA is stopped for the run. The rollback starts neither, and says which
// two files to compare and what to start; then it goes on (docs/bugs.md B-164).
func TestAPersonTellsWhichPrimaryWasLast(t *testing.T) {
	t.Parallel()
	w := open(t, gauss.Options{Nodes: 3, Install: "om", MogHA: true, Load: true}, rollingR, untraced)
	s := w.begin(t)
	if _, err := upTo(t.Context(), s, "node2/switchover"); err != nil {
		t.Fatal(err)
	}
	w.lab.Kill("node1")
	w.gsCtl(t, "node2", "failover")
	w.wait(t, 5*time.Second)
	w.lab.Kill("node2")
	out, err := s.Work(t.Context(), "rollback", nil)
	if err != nil || out.State == run.RolledBack {
		t.Fatalf("%+v, %v", out, err)
	}
	var why *say.Problem
	if !errors.As(out.Err, &why) || !strings.Contains(why.Next.EN, "node1 ("+w.lab.Options.Data()+")") || !strings.Contains(why.Next.EN, "node2 ("+w.lab.Options.Data()+")") {
		t.Fatalf("a person cannot act on: %v; %s", out.Err, why.Next.EN)
	}
	if err := w.lab.Mend(); err != nil { // a person does what it says
		t.Fatal(err)
	}
	if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	if tr := w.lab.Truth(); tr.Lost > 0 || len(tr.Damage) > 0 {
		t.Errorf("%+v", tr)
	}
}

// TestANewPrimaryThatFallsIsNotStartedAsAStandby moves the primary at each command
// of a standby's start, to the very node, whose power goes soon after: it holds
// what nobody else has, and is not started as a standby while nobody is the
// primary, which would wipe its mark (docs/bugs.md B-181).
func TestANewPrimaryThatFallsIsNotStartedAsAStandby(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lab gauss.Options
		r   plan.Request
	}{
		"standby first": {gauss.Options{Nodes: 3, Install: "manual", Load: true}, rollingR},
		"two nodes":     {gauss.Options{Nodes: 2, Install: "om", Load: true}, rollingR},
		"in place":      {gauss.Options{Nodes: 3, Install: "om", Load: true}, inplaceR},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused := 0
			for k := 5; k <= 9; k++ {
				for _, later := range []int{3, 12} {
					w := open(t, tc.lab, tc.r, untraced)
					s := w.begin(t)
					if _, err := upTo(t.Context(), s, "node2/start"); err != nil {
						t.Fatal(err)
					}
					w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "failover", Command: w.Sim.Commands() + k})
					w.Sim.Inject(sim.Fault{Kind: sim.NodeDown, Node: "node2", Command: w.Sim.Commands() + k + later, For: 96 * time.Second})
					for _, verb := range []string{"apply", "resume", "resume", "rollback", "rollback", "rollback"} {
						if _, err := s.Work(t.Context(), verb, nil); err != nil {
							t.Fatal(err)
						}
						if s.Final() != "" {
							break
						}
						if w.wait(t, time.Minute); verb == "rollback" {
							w.Sim.Heal()
							if err := w.lab.Mend(); err != nil { // of two that were the primary a person starts the later one
								t.Fatal(err)
							}
						}
					}
					if strings.Contains(rehearse.Transcript(s.Log.Records), "it is not started as a standby") {
						refused++
					}
					if err := s.World.Truth(); err != nil || s.Final() != run.RolledBack {
						t.Errorf("failover at command %d, power lost %d later: %v\n%s", k, later, err, rehearse.Transcript(s.Log.Records))
						return
					}
				}
			}
			if refused == 0 {
				t.Error("the node never fell as the primary: the test looks at nothing")
			}
		})
	}
}

// TestOfTwoThatFellTheToolStartsNeither: the primary moved twice, and both that
// were it fell. The first one is taken back; it is not started as the primary for
// that, the other one holds later writes (docs/bugs.md B-182).
func TestOfTwoThatFellTheToolStartsNeither(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"node3/stop", "node3/start"} {
		w := open(t, gauss.Options{Nodes: 3, Install: "manual", Load: true}, rollingR, untraced)
		s := w.begin(t)
		if _, err := upTo(t.Context(), s, step); err != nil {
			t.Fatal(err)
		}
		for _, back := range []string{"node1", "node2"} {
			if err := w.Sim.Strike("failover", "node3"); err != nil {
				t.Fatal(err)
			}
			if back == "node1" {
				w.gsCtl(t, back, "start", "-M", "standby")
			}
			w.wait(t, 10*time.Second)
		}
		if p := w.lab.Primary(); p != "node1" {
			t.Fatalf("%s is the primary", p)
		}
		w.lab.Kill("node1")
		if out, err := s.Work(t.Context(), "rollback", nil); err != nil || out.State == run.RolledBack {
			t.Fatalf("%+v, %v", out, err)
		}
		if err := w.lab.Mend(); err != nil { // a person tells which one was the last
			t.Fatal(err)
		}
		w.wait(t, time.Minute)
		if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
			t.Errorf("before %s: %v\n%s", step, err, rehearse.Transcript(s.Log.Records))
		}
	}
}

// TestTheRoleIsNotHandedOverAnOldStandbyThatIsOutOfReach: the old primary has gone
// back and follows, somebody's failover makes a standby with the new software the
// primary, and the old one does not answer the tool when that hands its role over.
// It still follows: no other server with the new software becomes its primary (M10,
// docs/bugs.md B-187).
func TestTheRoleIsNotHandedOverAnOldStandbyThatIsOutOfReach(t *testing.T) {
	t.Parallel()
	for _, dead := range []bool{false, true} { // one without power follows nobody
		w := open(t, gauss.Options{Nodes: 3, Install: "om", Load: true}, rollingR, untraced)
		s := w.begin(t)
		if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
			t.Fatal(err)
		}
		room := w.Sim
		w.Env.Hosts["node1"] = &meddling{Host: w.Env.Hosts["node1"], before: "gs_ctl start", do: func() {
			if err := room.Strike("failover", "node1"); err != nil {
				t.Error(err)
			}
		}}
		w.Env.Hosts["node2"] = &meddling{Host: w.Env.Hosts["node2"], before: "gs_ctl start", do: func() {
			f := sim.Fault{Kind: sim.Unreachable, Node: "node1", Command: room.Commands() + 1, Times: -1}
			if dead {
				f.Kind, f.Times, f.For = sim.NodeDown, 0, 24*time.Hour
			}
			room.Inject(f)
		}}
		s.World = w.World
		out, err := s.Work(t.Context(), "rollback", nil)
		if err != nil || out.State == run.RolledBack {
			t.Fatalf("%+v, %v", out, err)
		}
		if n := w.lab.Nodes()[2]; n.Running == "2.0.1" != dead {
			t.Errorf("dead: %t: %s runs %q\n%s", dead, n.Name, n.Running, rehearse.Transcript(s.Log.Records))
		}
		room.Heal()
		w.wait(t, time.Minute)
		if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
			t.Errorf("dead: %t: %v\n%s", dead, err, rehearse.Transcript(s.Log.Records))
		}
	}
}
