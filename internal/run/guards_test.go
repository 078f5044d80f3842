package run_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// fullDisk is a log whose copy on one node cannot be written.
type fullDisk struct {
	run.Log
	node string
}

var errNoRoom = errors.New("no room for the copy of the journal")

func (f fullDisk) Barrier(ctx context.Context, nodes ...string) error {
	if slices.Contains(nodes, f.node) {
		return errNoRoom
	}
	return f.Log.Barrier(ctx, nodes...)
}

// work carries a story on with another log.
func work(t *testing.T, s *rehearse.Story, log run.Log, verb string) (run.Outcome, error) {
	t.Helper()
	trail, err := run.Read(s.Log.Records)
	if err != nil {
		t.Fatal(err)
	}
	r := &run.Runner{Driver: s.World.Driver, Env: s.World.Env, Log: log, Trail: trail, Options: run.Options{Verb: verb}}
	return r.Work(t.Context(), journal.Who{}, 1)
}

// TestNothingIsDoneOnANodeThatDoesNotHoldTheIntent is I1 on the acting node, in
// both directions.
func TestNothingIsDoneOnANodeThatDoesNotHoldTheIntent(t *testing.T) {
	t.Parallel()
	for verb, want := range map[string]string{"apply": "1.0/1.0", "rollback": "2.0/2.0"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := toyWorld(3, nil)
			s := begin(t, w)
			if verb == "rollback" {
				if _, err := s.Work(t.Context(), "apply", nil); err != nil {
					t.Fatal(err)
				}
			}
			out, err := work(t, s, fullDisk{s.Log, "n2"}, verb)
			if err != nil || out.State != run.FailedState || !strings.Contains(out.Why.EN, errNoRoom.Error()) {
				t.Fatalf("%+v, %v", out, err)
			}
			if got := releases(w)[1]; got != want {
				t.Errorf("n2 is %s, want %s: it was changed without an intent in its copy", got, want)
			}
		})
	}
}

func TestARunThatIsOverIsNotWorkedOn(t *testing.T) {
	t.Parallel()
	s := begin(t, toyWorld(2, nil))
	for _, verb := range []string{"apply", "rollback"} {
		if _, err := s.Work(t.Context(), verb, nil); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := work(t, s, s.Log, "resume"); err == nil || !strings.Contains(err.Error(), "is over") {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestNobodyGoesBackOverAOneWayGate: the tool died behind the gate, so the run is open.
func TestNobodyGoesBackOverAOneWayGate(t *testing.T) {
	t.Parallel()
	for at := 1; at < 200; at++ {
		s := begin(t, toyWorld(2, nil))
		if _, err := s.Work(t.Context(), "apply", nil); err != nil {
			t.Fatal(err)
		}
		_, _ = s.Work(t.Context(), "commit", &rehearse.Death{At: at})
		trail, err := run.Read(s.Log.Records)
		if err != nil {
			t.Fatal(err)
		}
		if _, crossed := trail.Crossed(); !crossed || trail.Final != "" {
			continue
		}
		if out, err := work(t, s, s.Log, "rollback"); err == nil || !strings.Contains(err.Error(), "one-way gate") {
			t.Fatalf("%+v, %v", out, err)
		}
		return
	}
	t.Fatal("no death left the run open behind the gate")
}

// liar shows the cluster otherwise than it is.
type liar struct {
	drivertest.Toy
	lies func(*driver.Node)
}

func (l liar) Observe(ctx context.Context, env driver.Env) (driver.Observation, error) {
	o, err := l.Toy.Observe(ctx, env)
	l.lies(&o.Nodes[1])
	return o, err
}

// TestARollbackIsOverOnlyWhenEveryNodeIsAsBefore is I5, I6 and I7 at the end of the way back.
func TestARollbackIsOverOnlyWhenEveryNodeIsAsBefore(t *testing.T) {
	t.Parallel()
	for says, lies := range map[string]func(*driver.Node){
		"n2 does not answer":                  func(n *driver.Node) { n.Reachable = false },
		"n2 runs 2.0, it ran 1.0 before":      func(n *driver.Node) { n.Running = "2.0" },
		"n2 has 2.0 installed, it had 1.0":    func(n *driver.Node) { n.Installed = "2.0" },
		"n2 was healthy and is now: degraded": func(n *driver.Node) { n.Healthy, n.Health = false, "degraded" },
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			s := begin(t, toyWorld(3, nil))
			if _, err := s.Work(t.Context(), "apply", nil); err != nil {
				t.Fatal(err)
			}
			s.World.Driver = liar{lies: lies}
			out, err := work(t, s, s.Log, "rollback")
			if err != nil || out.State != run.FailedState || !out.NeedsPerson || !strings.Contains(out.Why.EN, says) {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}

// doubter finds something wrong with every result.
type doubter struct{ drivertest.Toy }

func (doubter) Verify(context.Context, driver.Env, *plan.Plan) ([]check.Finding, error) {
	return []check.Finding{{ID: "x", Severity: check.Block, Says: say.F("it is not well", "状态不正常")}}, nil
}

// TestAResultThatIsNotProvenIsNoSuccess: what Verify finds fails the run (I6, I7).
func TestAResultThatIsNotProvenIsNoSuccess(t *testing.T) {
	t.Parallel()
	w := toyWorld(2, nil)
	w.Driver = doubter{}
	s := begin(t, w)
	out, err := s.Work(t.Context(), "apply", nil)
	if err != nil || out.State != run.FailedState || out.Step != "verify" || !strings.Contains(out.Why.EN, "it is not well") {
		t.Errorf("%+v, %v", out, err)
	}
}

// deaf is a cluster on which the step of one node hangs, as a command does
// that never answers.
type deaf struct {
	drivertest.Toy
	node string
}

func (h deaf) Plan(inv *cluster.Inventory, o driver.Observation, r plan.Request) (plan.Plan, error) {
	p, err := h.Toy.Plan(inv, o, r)
	for i := range p.Steps {
		if p.Steps[i].Kind == "upgrade" && p.Steps[i].Node == h.node {
			p.Steps[i].Timeout = plan.Duration(20 * time.Millisecond)
		}
	}
	return p, err
}

func (h deaf) Action(kind string) (driver.Action, bool) {
	a, ok := h.Toy.Action(kind)
	return hangs{a, h.node, kind}, ok
}

type hangs struct {
	driver.Action
	node, kind string
}

func (h hangs) Do(ctx context.Context, t driver.Target) error {
	if h.kind != "upgrade" || t.Step.Node != h.node {
		return h.Action.Do(ctx, t)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(5 * time.Second):
		return errors.New("nobody ended it")
	}
}

// TestAStepThatHangsEndsAtItsTimeLimit: the run says which one, and for how long
// it was let; nobody knows how far it came, so it is asked before anything else (I2, I9).
func TestAStepThatHangsEndsAtItsTimeLimit(t *testing.T) {
	t.Parallel()
	w := toyWorld(3, nil)
	w.Env.Clock = wait.Real{}
	w.Driver = deaf{node: "n2"}
	s := begin(t, w)
	out, err := s.Work(t.Context(), "apply", nil)
	if err != nil || out.State == run.Upgraded || out.Step != "n2/upgrade" || !strings.Contains(out.Why.EN, "did not end within its time limit of 20ms") || out.Why.ZH == out.Why.EN {
		t.Fatalf("%+v, %v\n%s", out, err, rehearse.Transcript(s.Log.Records))
	}
	s.World.Driver = drivertest.Toy{}
	if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
		t.Errorf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
}
