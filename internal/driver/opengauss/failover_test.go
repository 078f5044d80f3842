package opengauss_test

import (
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
)

// begun is a run in a fresh world that was applied until it would begin the step.
func begun(t *testing.T, open func(testing.TB) rehearse.World, step string) *rehearse.Story {
	t.Helper()
	s, err := rehearse.Begin(t.Context(), open(t))
	if err != nil {
		t.Fatal(err)
	}
	upTo(t, s, step)
	return s
}

// upTo applies a run until it would begin the step.
func upTo(t *testing.T, s *rehearse.Story, step string) {
	t.Helper()
	trail, err := run.Fold(s.Plan, s.Log.Records)
	if err != nil {
		t.Fatal(err)
	}
	r := &run.Runner{Driver: s.World.Driver, Env: s.World.Env, Log: s.Log, Trail: trail,
		Options: run.Options{Verb: "apply", Accept: s.World.Accept, Parallel: 1, Until: step}}
	if out, err := r.Work(t.Context(), journal.Who{User: "dba", Host: "control"}, 1); err != nil || out.Step != step && out.Gate != step {
		t.Fatalf("until %s: %+v, %v", step, out, err)
	}
}

// TestFailoverThenBack lets somebody else move the primary before each step,
// and takes the run back: what was acknowledged by then and since stays (I4).
// When the new primary falls too, the run may stop, but loses nothing.
func TestFailoverThenBack(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]opt{
		"big rolling":   cases["big rolling"],
		"small rolling": cases["small rolling"],
		"two nodes":     {Options: gauss.Options{Nodes: 2, Load: true}, to: "5.0.3"},
		"cascade":       cases["cascade"],
		"with CM":       cases["big rolling with CM"],
		"in place":      {Options: gauss.Options{Load: true}, to: "5.0.3", mode: "inplace"},
		"in place, CM":  {Options: gauss.Options{CM: true, Load: true}, to: "5.0.3", mode: "inplace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, base := o.open(t)
			first, err := rehearse.Begin(t.Context(), open(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range first.Plan.Steps {
				if step.Phase != plan.Apply || step.Kind == plan.GateKind || strings.HasSuffix(step.ID, "/copy") {
					continue
				}
				failoverThenBack(t, open, base, step.ID, false)
				failoverThenBack(t, open, base, step.ID, true)
			}
		})
	}
}

func failoverThenBack(t *testing.T, open func(testing.TB) rehearse.World, base *gauss.Lab, step string, fallen bool) {
	t.Helper()
	s := begun(t, open, step)
	w := s.World
	_ = w.Env.Clock.Sleep(t.Context(), 5*time.Second)
	w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "failover", Command: w.Sim.Commands() + 1})
	if fallen { // the new primary falls too
		w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "kill primary", Command: w.Sim.Commands() + 3})
	}
	var out run.Outcome
	for range 3 {
		var err error
		if out, err = s.Work(t.Context(), "rollback", nil); err != nil {
			t.Fatal(err)
		}
		if out.State == run.RolledBack {
			break
		}
		_ = w.Env.Clock.Sleep(t.Context(), time.Minute)
	}
	lab := base.Of(w.Sim)
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
		if fallen && !base.Options.CM { // nobody can tell from outside which of the two holds more; a cluster manager can
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

// TestFailoverInTheMomentOfAStop moves the primary at each command of a
// standby's stop: nothing is lost, and the way back is open.
func TestFailoverInTheMomentOfAStop(t *testing.T) {
	t.Parallel()
	open, base := cases["small rolling"].open(t)
	for k := 1; k <= 12; k++ {
		s := begun(t, open, "node2/stop")
		w := s.World
		w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "failover", Command: w.Sim.Commands() + k})
		if _, err := s.Work(t.Context(), "apply", nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
			t.Errorf("failover at command %d of the stop: %v\n%s", k, err, rehearse.Transcript(s.Log.Records))
			continue
		}
		if lost := base.Of(w.Sim).Truth().Lost; lost > 0 {
			t.Errorf("failover at command %d of the stop: %d bytes of acknowledged writes are lost", k, lost)
		}
	}
}

// TestANewPrimaryThatFallsIsNoStoppedStandby moves the primary at each command
// of a standby's stop, to the very node, whose power goes soon after: it holds
// what nobody else has, and is not started as a standby (B-150).
func TestANewPrimaryThatFallsIsNoStoppedStandby(t *testing.T) {
	t.Parallel()
	open, base := cases["small rolling"].open(t)
	fell := 0
	for k := 3; k <= 12; k++ {
		for _, later := range []int{5, 20, 70} {
			s := begun(t, open, "node2/stop")
			w := s.World
			w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "failover", Command: w.Sim.Commands() + k})
			w.Sim.Inject(sim.Fault{Kind: sim.NodeDown, Node: "node2", Command: w.Sim.Commands() + k + later, For: 96 * time.Second})
			for _, verb := range []string{"apply", "resume", "resume"} {
				if _, err := s.Work(t.Context(), verb, nil); err != nil {
					t.Fatal(err)
				}
				_ = w.Env.Clock.Sleep(t.Context(), time.Minute)
			}
			trail := rehearse.Transcript(s.Log.Records)
			if err := base.Of(w.Sim).Mend(); err != nil { // both were the primary when they ran last: the tool asks a person
				t.Fatal(err)
			}
			if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
				t.Errorf("failover at command %d of the stop, power lost %d later: %v\n%s", k, later, err, rehearse.Transcript(s.Log.Records))
				continue
			}
			if strings.Contains(trail, "node2/stop half") {
				fell++
			}
			if lost := base.Of(w.Sim).Truth().Lost; lost > 0 {
				t.Errorf("failover at command %d of the stop, power lost %d later: %d bytes of acknowledged writes are lost", k, later, lost)
			}
		}
	}
	if fell == 0 {
		t.Error("node2 never fell as the primary: the test looks at nothing")
	}
}

// TestANodeThatFellBeforeItsTurn: nothing was begun on it, it does not answer
// while the rollback ends, and comes back with its server down.
func TestANodeThatFellBeforeItsTurn(t *testing.T) {
	t.Parallel()
	open, base := cases["small rolling"].open(t)
	w := open(t)
	s, err := rehearse.Begin(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Work(t.Context(), "apply", &rehearse.Death{At: 20}); !errors.Is(err, rehearse.ErrDead) {
		t.Fatal(err)
	}
	if begun := rehearse.Transcript(s.Log.Records); !strings.Contains(begun, "node1/") || strings.Contains(begun, "node3/") {
		t.Fatalf("the case is not what it was made for:\n%s", begun)
	}
	w.Sim.Inject(sim.Fault{Kind: sim.NodeDown, Node: "node3", Command: w.Sim.Commands() + 1, For: 24 * time.Hour})
	out, err := s.Work(t.Context(), "rollback", nil)
	if err != nil || out.State == run.RolledBack {
		t.Fatalf("%+v, %v", out, err)
	}
	w.Sim.Heal()
	_ = w.Env.Clock.Sleep(t.Context(), time.Minute)
	if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	if found := base.Of(w.Sim).Findings(); len(found) > 0 {
		t.Errorf("the lab finds: %s", strings.Join(found, "; "))
	}
}

// TestFailoverToTheNodeThatComesBack moves the primary at each command of the
// way back of a stop: the server that was started as a standby is the one
// primary by then, and nobody waits for it to follow (B-100).
func TestFailoverToTheNodeThatComesBack(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]opt{
		"CM":    {Options: gauss.Options{Nodes: 2, Release: "3.0.0", CM: true, Load: true}, to: "3.0.1"},
		"no CM": {Options: gauss.Options{Nodes: 2, Release: "1.1.0", Load: true}, to: "2.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, base := o.open(t)
			became := 0
			for k := 1; k <= 40; k++ {
				s := begun(t, open, "node2/carry")
				w := s.World
				began := w.Env.Clock.Now()
				w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "failover", Command: w.Sim.Commands() + k})
				if _, err := s.Work(t.Context(), "rollback", nil); err != nil {
					t.Fatal(err)
				}
				if took := w.Env.Clock.Now().Sub(began); took > 9*time.Minute {
					t.Errorf("failover at command %d: the way back took %s: it waited for what could not come", k, took)
				}
				lab := base.Of(w.Sim)
				if s.Final() == "" { // behind its last step a person starts the server that the failover killed
					if err := lab.Mend(); err != nil {
						t.Fatal(err)
					}
					if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
						t.Fatalf("failover at command %d of the way back: %v\n%s", k, err, rehearse.Transcript(s.Log.Records))
					}
				}
				if lab.Primary() == "node2" {
					became++
				}
				if lost := lab.Truth().Lost; lost > 0 {
					t.Errorf("failover at command %d: %d bytes of acknowledged writes are lost", k, lost)
				}
			}
			if became == 0 {
				t.Error("node2 never became the primary: the test looks at nothing")
			}
		})
	}
}

// TestThePausedClusterManagerElectsNobody: in place everything stops, the
// primary first, and a standby may take its time. A cluster manager that works
// would make it the primary meanwhile.
func TestThePausedClusterManagerElectsNobody(t *testing.T) {
	t.Parallel()
	open, base := cases["small in place, CM"].open(t)
	for _, verbs := range [][]string{{"apply"}, {"apply", "rollback"}} {
		w := open(t)
		s, err := rehearse.Begin(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range verbs {
			for _, node := range []string{"node2", "node3"} {
				w.Sim.Inject(sim.Fault{Kind: sim.SlowCommand, Node: node, Match: "gs_ctl stop", Delay: 20 * time.Second})
			}
			if err := s.Wants(t.Context(), v, map[string]run.State{"apply": run.Upgraded, "rollback": run.RolledBack}[v]); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if p := base.Of(w.Sim).Primary(); p != "node1" {
				t.Errorf("%s: %q is the primary", v, p)
			}
		}
		if struck := w.Sim.Struck(sim.SlowCommand); struck < 2 {
			t.Errorf("only %d stops were slow: the test looks at nothing", struck)
		}
		if trail := rehearse.Transcript(s.Log.Records); strings.Contains(trail, "failed") {
			t.Errorf("a step failed:\n%s", trail)
		}
	}
}

// TestNobodyIsStoppedWhileTheOthersDoNotFollow kills the primary at each command
// of a standby's start: the next standby is stopped only when a primary serves
// again and all follow it (B-107).
func TestNobodyIsStoppedWhileTheOthersDoNotFollow(t *testing.T) {
	t.Parallel()
	open, base := cases["small with CM"].open(t)
	elected := 0
	for k := 1; k <= 16; k++ {
		s := begun(t, open, "node3/start")
		w := s.World
		_ = w.Env.Clock.Sleep(t.Context(), 20*time.Second) // node3 lacks what is written meanwhile
		w.Sim.Inject(sim.Fault{Kind: sim.Hook, Do: "kill primary", Command: w.Sim.Commands() + k})
		if _, err := s.Work(t.Context(), "apply", nil); err != nil {
			t.Fatal(err)
		}
		lab := base.Of(w.Sim)
		if s.Final() == "" {
			if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
				t.Errorf("killed at command %d: %v\n%s", k, err, rehearse.Transcript(s.Log.Records))
				continue
			}
		}
		if lost := lab.Truth().Lost; lost > 0 {
			t.Errorf("killed at command %d: %d bytes of acknowledged writes are lost", k, lost)
		}
		elected += w.Sim.Struck(sim.Hook)
	}
	if elected < 16 {
		t.Errorf("only %d primaries were killed", elected)
	}
}

// TestANodeThatWasAwayWhileTheOthersWentBack: half-way through its change a node
// does not answer for a while, and is there again before the rollback ends. Its
// server may be started meanwhile for the others' sake (B-099).
func TestANodeThatWasAwayWhileTheOthersWentBack(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"small with CM", "small rolling"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, base := cases[name].open(t)
			for _, step := range []string{"node2/flip", "node2/start"} {
				for k := 1; k <= 9; k += 4 {
					for _, away := range []time.Duration{13 * time.Second, time.Minute} {
						s := begun(t, open, step)
						w := s.World
						w.Sim.Inject(sim.Fault{Kind: sim.NodeDown, Node: "node2", Command: w.Sim.Commands() + k, For: away})
						if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
							t.Fatalf("before %s, at command %d, for %s: %v\n%s", step, k, away, err, rehearse.Transcript(s.Log.Records))
						}
						_ = w.Env.Clock.Sleep(t.Context(), time.Minute)
						if found := base.Of(w.Sim).Findings(); len(found) > 0 {
							t.Errorf("before %s, at command %d, for %s: the lab finds: %s", step, k, away, strings.Join(found, "; "))
						}
					}
				}
			}
		})
	}
}

// TestOneStandbyRestsAtATime: the link to a node that the run has stopped is cut
// when the rollback begins, and there again before the next standby's turn: that
// one is not stopped beside it, or a loss of its power would leave one of three
// nodes for long (B-151).
func TestOneStandbyRestsAtATime(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"small rolling", "big rolling", "big rolling with CM"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, base := cases[name].open(t)
			for _, step := range []string{"node1/carry", "node1/flip", "node1/start"} {
				s := begun(t, open, step)
				w := s.World
				w.Sim.Inject(sim.Fault{Kind: sim.LinkCut, Node: "node1", Command: w.Sim.Commands() + 1, For: time.Minute})
				w.Sim.Inject(sim.Fault{Kind: sim.NodeDownAfter, Node: "node3", Match: "gs_ctl stop", For: time.Hour})
				for range 4 {
					if s.Final() != "" {
						break
					}
					if _, err := s.Work(t.Context(), "rollback", nil); err != nil {
						t.Fatal(err)
					}
					w.Sim.Heal()
					_ = w.Env.Clock.Sleep(t.Context(), time.Minute)
				}
				if w.Sim.Struck(sim.LinkCut) == 0 {
					t.Error("no link was cut: the test looks at nothing")
				}
				for _, d := range base.Of(w.Sim).Truth().Damage {
					t.Errorf("before %s: %s", step, d)
				}
				if s.Final() == "" {
					t.Errorf("before %s: the rollback does not come to its end\n%s", step, rehearse.Transcript(s.Log.Records))
				}
			}
		})
	}
}

// TestTheClusterManagerChoosesThePrimary: behind the switchover the new primary
// falls while nobody follows it, and its agent starts it again as a standby. On
// the way back nobody is the primary for a moment: the cluster manager makes the
// one that holds everything the primary, and the run none beside it (B-172).
func TestTheClusterManagerChoosesThePrimary(t *testing.T) {
	t.Parallel()
	open, base := cases["big rolling with CM"].open(t)
	for later := range 10 {
		s := begun(t, open, "node1/start")
		w := s.World
		lab := base.Of(w.Sim)
		w.Sim.Inject(sim.Fault{Kind: sim.NodeDown, Node: "node3", Command: w.Sim.Commands() + 1, For: 42 * time.Second})
		if _, err := lab.Hosts()["node3"].Run(t.Context(), host.Read("true")); err == nil {
			t.Fatal("node3 answers")
		}
		_ = w.Env.Clock.Sleep(t.Context(), 20*time.Second) // node1 lacks what is written meanwhile
		lab.Kill("node2")
		_ = w.Env.Clock.Sleep(t.Context(), 20*time.Second+time.Duration(later)*500*time.Millisecond)
		if n := lab.Nodes()[1]; n.Role != "Standby" {
			t.Fatalf("node2 is %q", n.Role)
		}
		for range 4 {
			if s.Final() != "" {
				break
			}
			if _, err := s.Work(t.Context(), "rollback", nil); err != nil {
				t.Fatal(err)
			}
			w.Sim.Heal()
			_ = w.Env.Clock.Sleep(t.Context(), time.Minute)
		}
		if truth := lab.Truth(); truth.Lost > 0 || truth.TwoPrimaries > 0 || len(truth.Damage) > 0 {
			t.Errorf("%d: %d bytes are lost, two primaries for %s, %v", later, truth.Lost, truth.TwoPrimaries, truth.Damage)
		}
		if s.Final() == "" {
			t.Errorf("%d: the rollback does not come to its end\n%s", later, rehearse.Transcript(s.Log.Records))
		}
	}
}
