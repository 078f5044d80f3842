package run_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// toyWorld is three toys; wrap, if not nil, stands between the tool and each host.
func toyWorld(nodes int, wrap func(host.Host) host.Host) drivertest.World {
	inv, hosts := drivertest.ToyCluster(nodes, "1.0")
	real := host.Set{}
	for n, h := range hosts {
		real[n] = h
		if wrap != nil {
			hosts[n] = wrap(h)
		}
	}
	return drivertest.World{
		Driver:  drivertest.Toy{},
		Env:     driver.Env{Hosts: hosts, Inventory: inv, Clock: rehearse.NewClock(), Serial: true},
		Request: plan.Request{To: "2.0", Mode: "rolling"},
		Truth:   func() error { return onePrimary(real) },
	}
}

func onePrimary(hosts host.Set) error {
	n := 0
	for _, h := range hosts {
		if strings.TrimSpace(h.(*drivertest.ToyHost).Files["/toy/role"]) == "primary" {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%d primaries", n)
	}
	return nil
}

func begin(t *testing.T, w drivertest.World) *rehearse.Story {
	t.Helper()
	s, err := rehearse.Begin(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func releases(w drivertest.World) []string {
	var out []string
	o, _ := w.Driver.Observe(context.Background(), w.Env)
	for _, n := range o.Nodes {
		out = append(out, n.Running+"/"+n.Installed)
	}
	return out
}

func TestARunGoesToTheGateCommitAndBackOrOn(t *testing.T) {
	t.Parallel()
	for verb, want := range map[string]struct {
		state run.State
		runs  string
	}{
		"commit":   {run.Committed, "2.0/2.0"},
		"rollback": {run.RolledBack, "1.0/1.0"},
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := toyWorld(3, nil)
			s := begin(t, w)
			out, err := s.Work(t.Context(), "apply", nil)
			if err != nil || out.State != run.Upgraded || out.Next != "commit" {
				t.Fatalf("apply: %+v, %v", out, err)
			}
			out, err = s.Work(t.Context(), verb, nil)
			if err != nil || out.State != want.state {
				t.Fatalf("%s: %+v, %v\n%s", verb, out, err, rehearse.Transcript(s.Log.Records))
			}
			if diff := cmp.Diff(slices.Repeat([]string{want.runs}, 3), releases(w)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryCrashEndsUpgradedOrRolledBack(t *testing.T) {
	t.Parallel()
	deaths := drivertest.EveryCrash(t, func(testing.TB) drivertest.World { return toyWorld(3, nil) }, 1)
	if deaths < 200 {
		t.Errorf("only %d deaths: the suite has shrunk", deaths)
	}
}

func TestParallelRunDoesTheSameAsASerialOne(t *testing.T) {
	t.Parallel()
	w := toyWorld(9, nil)
	w.Env.Serial = false
	s := begin(t, w)
	trail, err := run.Read(s.Log.Records)
	if err != nil {
		t.Fatal(err)
	}
	r := &run.Runner{Driver: w.Driver, Env: w.Env, Log: s.Log, Trail: trail, Options: run.Options{Verb: "apply"}}
	out, err := r.Work(t.Context(), journal.Who{}, 1)
	if err != nil || out.State != run.Upgraded {
		t.Fatalf("%+v, %v", out, err)
	}
	if err := intentsBeforeOutcomes(s.Log.Records); err != nil {
		t.Error(err)
	}
}

// intentsBeforeOutcomes is I1 as the journal shows it: every outcome has an intent before it.
func intentsBeforeOutcomes(records []journal.Record) error {
	open := map[string]bool{}
	for _, r := range records {
		switch r.Kind {
		case journal.Intent:
			open[r.Step] = true
		case journal.Outcome:
			if !open[r.Step] {
				return fmt.Errorf("record %d: outcome of %s without an intent", r.Seq, r.Step)
			}
			open[r.Step] = false
		}
	}
	return nil
}

// trouble lets a command fail: hit says which, with what error.
type trouble struct {
	host.Host
	mu  *sync.Mutex
	hit func(node string, argv string) error
	ran bool // the command runs and its answer is replaced
}

func (b *trouble) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	b.mu.Lock()
	err := b.hit(b.Name(), strings.Join(c.Argv, " "))
	b.mu.Unlock()
	if err != nil && !b.ran {
		return host.Result{}, err
	}
	res, runErr := b.Host.Run(ctx, c)
	if err != nil {
		return host.Result{}, err
	}
	return res, runErr
}

func troubled(ran bool, hit func(node, argv string) error) func(host.Host) host.Host {
	mu := &sync.Mutex{}
	return func(h host.Host) host.Host { return &trouble{h, mu, hit, ran} }
}

func TestALinkThatBreaksIsProbedAndTriedAgain(t *testing.T) {
	t.Parallel()
	for name, ran := range map[string]bool{"after the command ran": true, "before the command ran": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := 0
			w := toyWorld(3, troubled(ran, func(node, argv string) error {
				if node == "n2" && strings.HasPrefix(argv, "dd of=/toy/running") && broken == 0 {
					broken++
					return &host.LostError{Node: node, Argv: []string{"dd"}, Err: errors.New("connection reset")}
				}
				return nil
			}))
			s := begin(t, w)
			out, err := s.Work(t.Context(), "apply", nil)
			if err != nil || out.State != run.Upgraded {
				t.Fatalf("%+v, %v\n%s", out, err, rehearse.Transcript(s.Log.Records))
			}
			if broken != 1 {
				t.Fatal("the link never broke")
			}
			wantProbe := slices.ContainsFunc(s.Log.Records, func(r journal.Record) bool { return r.Kind == journal.Probed && r.Step == "n2/upgrade" })
			if !wantProbe {
				t.Error("the step was not probed")
			}
		})
	}
}

func TestAStepThatFailsIsUndoneAndTheRunCanBeResumed(t *testing.T) {
	t.Parallel()
	failing := true
	w := toyWorld(3, troubled(false, func(node, argv string) error {
		if failing && node == "n3" && strings.HasPrefix(argv, "dd of=/toy/running") {
			failing = false
			return &host.ExitError{Node: node, Argv: []string{"dd"}, Code: 1, Stderr: []byte("No space left on device")}
		}
		return nil
	}))
	s := begin(t, w)
	out, err := s.Work(t.Context(), "apply", nil)
	if err != nil || out.State != run.FailedState || out.NeedsPerson || out.Step != "n3/upgrade" || out.Next != "resume" {
		t.Fatalf("%+v, %v", out, err)
	}
	if !strings.Contains(out.Why.EN, "No space left") {
		t.Errorf("the reason is lost: %q", out.Why.EN)
	}
	if diff := cmp.Diff([]string{"1.0/1.0", "2.0/2.0", "1.0/1.0"}, releases(w)); diff != "" {
		t.Errorf("something is left half-done: %s", diff)
	}
	if out, err = s.Work(t.Context(), "resume", nil); err != nil || out.State != run.Upgraded {
		t.Fatalf("%+v, %v", out, err)
	}
}

func TestUnknownStandingNeedsAPerson(t *testing.T) {
	t.Parallel()
	w := toyWorld(2, nil)
	s := begin(t, w)
	d := &rehearse.Death{At: 1 << 30}
	if _, err := s.Work(t.Context(), "apply", d); err != nil {
		t.Fatal(err)
	}
	// Killed in the switch; then somebody opens a second primary by hand.
	s = begin(t, toyWorld(2, nil))
	w = s.World
	for at := 1; ; at++ {
		s = begin(t, w)
		_, _ = s.Work(t.Context(), "apply", &rehearse.Death{At: at})
		if last := s.Log.Records[len(s.Log.Records)-1]; last.Kind == journal.Intent && last.Step == "cluster/switch" {
			break
		}
		if at > 500 {
			t.Fatal("the switch was never reached")
		}
		w = toyWorld(2, nil)
	}
	for _, h := range w.Env.Hosts {
		h.(*drivertest.ToyHost).Files["/toy/role"] = "primary\n"
	}
	out, err := s.Work(t.Context(), "resume", nil)
	if err != nil || out.State != run.FailedState || !out.NeedsPerson || out.Step != "cluster/switch" {
		t.Fatalf("%+v, %v", out, err)
	}
}

func TestRollbackGoesPastANodeThatIsDownAndFinishesItLater(t *testing.T) {
	t.Parallel()
	w := toyWorld(3, nil)
	s := begin(t, w)
	if _, err := s.Work(t.Context(), "apply", nil); err != nil {
		t.Fatal(err)
	}
	down := w.Env.Hosts["n3"].(*drivertest.ToyHost)
	down.Down = true
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // what is owed is not tried for ever
	defer cancel()
	out, err := s.Work(ctx, "rollback", nil)
	if err != nil || out.State != run.FailedState || !out.NeedsPerson || out.Next != "rollback" {
		t.Fatalf("%+v, %v", out, err)
	}
	if diff := cmp.Diff([]string{"n3"}, out.Owed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"1.0/1.0", "1.0/1.0", "/"}, releases(w)); diff != "" {
		t.Error(diff)
	}
	down.Down = false
	if out, err = s.Work(t.Context(), "rollback", nil); err != nil || out.State != run.RolledBack {
		t.Fatalf("%+v, %v\n%s", out, err, rehearse.Transcript(s.Log.Records))
	}
	if diff := cmp.Diff(slices.Repeat([]string{"1.0/1.0"}, 3), releases(w)); diff != "" {
		t.Error(diff)
	}
}

func TestGatesHoldTheRun(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts  run.Options
		gate  string
		state run.State
	}{
		"commit waits to be named":         {run.Options{}, plan.CommitGate, run.Upgraded},
		"until stops before a step":        {run.Options{Until: "cluster/switch"}, "cluster/switch", run.Interrupted},
		"a pause comes with the next node": {run.Options{PauseOn: "nodes"}, "n3/upgrade", run.Interrupted},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := toyWorld(3, nil)
			s := begin(t, w)
			trail, err := run.Read(s.Log.Records)
			if err != nil {
				t.Fatal(err)
			}
			tc.opts.Verb = "apply"
			r := &run.Runner{Driver: w.Driver, Env: w.Env, Log: s.Log, Trail: trail, Options: tc.opts}
			out, err := r.Work(t.Context(), journal.Who{}, 1)
			if err != nil || out.Gate != tc.gate || out.State != tc.state {
				t.Fatalf("%+v, %v", out, err)
			}
			if out, err = s.Work(t.Context(), "resume", nil); err != nil || out.State != run.Upgraded {
				t.Fatalf("resume: %+v, %v", out, err)
			}
		})
	}
}

func TestCommittedRunsAreNotRolledBack(t *testing.T) {
	t.Parallel()
	s := begin(t, toyWorld(2, nil))
	for _, verb := range []string{"apply", "commit"} {
		if _, err := s.Work(t.Context(), verb, nil); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := s.Work(t.Context(), "rollback", nil); err == nil {
		t.Fatalf("rolled back after commit: %+v", out)
	}
}

func TestCtrlCOnceFinishesTheRunningStep(t *testing.T) {
	t.Parallel()
	w := toyWorld(3, nil)
	w.Env.Serial = false
	s := begin(t, w)
	trail, err := run.Read(s.Log.Records)
	if err != nil {
		t.Fatal(err)
	}
	r := &run.Runner{Driver: w.Driver, Env: w.Env, Log: s.Log, Trail: trail, Options: run.Options{Verb: "apply"}}
	r.View = viewFunc(func(e run.Event) {
		if e.Kind == run.Started && e.Step.ID == "n2/upgrade" {
			r.Interrupt()
		}
	})
	out, err := r.Work(t.Context(), journal.Who{}, 1)
	if err != nil || out.State != run.Interrupted || out.Next != "resume" {
		t.Fatalf("%+v, %v", out, err)
	}
	if st := trail.Step("n2/upgrade").Status; st != run.Done {
		t.Errorf("the running step stands at %q", st)
	}
	if st := trail.Step("n3/upgrade").Status; st != run.Pending {
		t.Errorf("a new step was begun: %q", st)
	}
}

func TestCtrlCTwiceCancelsAndResumeProbes(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	var once sync.Once
	w := toyWorld(3, func(h host.Host) host.Host { return &hanging{Host: h, started: started, once: &once} })
	w.Env.Serial = false
	s := begin(t, w)
	trail, err := run.Read(s.Log.Records)
	if err != nil {
		t.Fatal(err)
	}
	r := &run.Runner{Driver: w.Driver, Env: w.Env, Log: s.Log, Trail: trail, Options: run.Options{Verb: "apply"}}
	go func() {
		<-started
		r.Interrupt()
		r.Interrupt()
	}()
	out, err := r.Work(t.Context(), journal.Who{}, 1)
	if err != nil || out.State != run.Interrupted {
		t.Fatalf("%+v, %v", out, err)
	}
	lost := slices.ContainsFunc(s.Log.Records, func(r journal.Record) bool { return r.Kind == journal.Outcome && r.Result == journal.Lost })
	if !lost {
		t.Errorf("the cancelled step is not recorded as lost:\n%s", rehearse.Transcript(s.Log.Records))
	}
	if out, err = s.Work(t.Context(), "resume", nil); err != nil || out.State != run.Upgraded {
		t.Fatalf("%+v, %v", out, err)
	}
}

// hanging lets the first change of n2's running release hang until it is cancelled.
type hanging struct {
	host.Host
	started chan struct{}
	once    *sync.Once
}

func (h *hanging) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if h.Name() == "n2" && strings.Contains(strings.Join(c.Argv, " "), "/toy/running") && c.Effect == host.Changes {
		hang := false
		h.once.Do(func() { hang = true })
		if hang {
			close(h.started)
			<-ctx.Done()
			return host.Result{}, &host.EndedError{Node: "n2", Argv: c.Argv, Err: context.Cause(ctx)}
		}
	}
	return h.Host.Run(ctx, c)
}

type viewFunc func(run.Event)

func (f viewFunc) Event(e run.Event) { f(e) }

func TestAJournalThatCannotBeWrittenStopsTheRunBeforeTheNextChange(t *testing.T) {
	t.Parallel()
	for _, serial := range []bool{true, false} {
		w := toyWorld(3, nil)
		w.Env.Serial = serial
		s := begin(t, w)
		trail, err := run.Read(s.Log.Records)
		if err != nil {
			t.Fatal(err)
		}
		full := &fullLog{Memory: s.Log, room: 4}
		r := &run.Runner{Driver: w.Driver, Env: w.Env, Log: full, Trail: trail, Options: run.Options{Verb: "apply"}}
		if out, err := r.Work(t.Context(), journal.Who{}, 1); !errors.Is(err, errFull) {
			t.Fatalf("serial %t: %+v, %v", serial, out, err)
		}
	}
}

var errFull = errors.New("no space left on device")

type fullLog struct {
	*rehearse.Memory
	room int
}

func (l *fullLog) Append(ctx context.Context, records ...journal.Record) error {
	if l.room--; l.room < 0 {
		return errFull
	}
	return l.Memory.Append(ctx, records...)
}

// A node that answers again in the middle of a rollback must not have its
// earlier steps undone before its later ones (docs/bugs.md B-001).
func TestTheWayBackOfANodeKeepsItsOrder(t *testing.T) {
	t.Parallel()
	refused := 0
	w := toyWorld(3, troubled(false, func(node, argv string) error {
		if node == "n1" && refused > 0 && strings.HasPrefix(argv, "dd") {
			refused--
			return &host.UnreachableError{Node: node, Addr: node, Err: errors.New("no route to host")}
		}
		return nil
	}))
	s := begin(t, w)
	if _, err := s.Work(t.Context(), "apply", nil); err != nil {
		t.Fatal(err)
	}
	refused = 1 // the undo of n1/upgrade does not get through; n1 answers right after that
	out, err := s.Work(t.Context(), "rollback", nil)
	if err != nil || out.State != run.FailedState || len(out.Owed) != 1 {
		t.Fatalf("%+v, %v\n%s", out, err, rehearse.Transcript(s.Log.Records))
	}
	for _, r := range s.Log.Records {
		if r.Undo && (r.Step == "n1/stage" || r.Step == "cluster/switch") {
			t.Errorf("%s was undone before what came after it on n1:\n%s", r.Step, rehearse.Transcript(s.Log.Records))
		}
	}
	if out, err = s.Work(t.Context(), "rollback", nil); err != nil || out.State != run.RolledBack {
		t.Fatalf("%+v, %v\n%s", out, err, rehearse.Transcript(s.Log.Records))
	}
}
