package opengauss_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

var (
	update = flag.Bool("update", false, "rewrite the golden plans")
	seeds  = flag.Int("seeds", 4, "seeded runs with faults of each case")
)

// show prints a plan as a reviewer reads it.
func show(p *plan.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan %s -> %s\n", p.From, p.To)
	for _, r := range p.Remarks {
		fmt.Fprintf(&b, "  %s\n  %s\n", r.EN, r.ZH)
	}
	for i, s := range p.Steps {
		class := string(s.Class)
		if s.Gate != nil {
			class = "GATE"
		}
		fmt.Fprintf(&b, "%2d %-26s %-10s %-11s %s\n%41s%s\n", i+1, s.ID, class, s.Impact, s.Says.EN, "", s.Says.ZH)
	}
	return b.String()
}

// TestPlan holds the printed plans against the files in testdata/plan.
func TestPlan(t *testing.T) {
	t.Parallel()
	for name, o := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := o.open(t)
			var printed [2]string
			for i := range printed {
				w := open(t)
				obs, err := w.Driver.Observe(t.Context(), w.Env)
				if err != nil {
					t.Fatal(err)
				}
				p, err := driver.Make(w.Driver, w.Env.Inventory, obs, w.Request, "test")
				if err != nil {
					t.Fatal(err)
				}
				printed[i] = show(p)
			}
			if printed[0] != printed[1] {
				t.Fatalf("the same facts give two plans:\n%s", cmp.Diff(printed[0], printed[1]))
			}
			file := filepath.Join("testdata", "plan", strings.NewReplacer(" ", "-", ",", "").Replace(name)+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(printed[0]), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), printed[0]); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestRefusedPlans are those that need no look at a package's inside.
func TestRefusedPlans(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		o    opt
		code string
	}{
		"the primary among the first nodes": {opt{req: func(r *plan.Request) { r.Nodes = []string{"node1"} }}, "GAUSS-52909"},
		"--continue without an open run":    {opt{req: func(r *plan.Request) { r.Continue = true }}, "GAUSS-52920"},
		"an unknown node":                   {opt{req: func(r *plan.Request) { r.Nodes = []string{"node9"} }}, "GAUSS-50011"},
		"an unknown mode":                   {opt{mode: "fast"}, "GAUSS-50011"},
		"an unknown component":              {opt{req: func(r *plan.Request) { r.Component = "om" }}, "GAUSS-50011"},
		"an unknown option":                 {opt{req: func(r *plan.Request) { r.Options = map[string]string{"x": "y"} }}, "GAUSS-50011"},
		"several nodes at once":             {opt{req: func(r *plan.Request) { r.MaxUnavailable = 2 }}, "GAUSS-50011"},
		"a cascade standby as candidate":    {opt{Options: gauss.Options{Nodes: 4, Cascade: 1}, req: func(r *plan.Request) { r.Candidate = "node4" }}, "GAUSS-50011"},
		"a candidate in place":              {opt{mode: "inplace", req: func(r *plan.Request) { r.Candidate = "node2" }}, "GAUSS-50011"},
		"over a stop that is needed":        {opt{Options: gauss.Options{Release: "1.0.1"}, to: "2.0.0"}, "GAUSS-52904"},
		"from before 1.0.1":                 {opt{Options: gauss.Options{Release: "1.0.0"}, to: "2.0.0"}, "OG-001"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := tc.o
			if o.to == "" {
				o.to = "5.0.3"
			}
			open, _ := o.open(t)
			_, err := rehearse.Begin(t.Context(), open(t))
			var no *driver.RefusalError
			if !errors.As(err, &no) || no.Code != tc.code && no.Rule != tc.code || no.Text.ZH == "" || no.Next.EN == "" {
				t.Errorf("%v (%+v), want %s", err, no, tc.code)
			}
		})
	}
}

// TestUnguaranteedWayIsAcceptedByName lifts the one block that may be lifted.
func TestUnguaranteedWayIsAcceptedByName(t *testing.T) {
	t.Parallel()
	o := opt{Options: gauss.Options{Release: "3.1.0"}, to: "5.0.3", req: func(r *plan.Request) { r.Options = map[string]string{"path": "unguaranteed"} }}
	open, _ := o.open(t)
	if _, err := rehearse.Begin(t.Context(), open(t)); err != nil {
		t.Error(err)
	}
}

// TestSeededRuns lets an operator upgrade while faults strike.
func TestSeededRuns(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"big rolling", "big rolling with CM", "big in place", "small rolling", "cascade", "subset then the rest"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := cases[name].open(t)
			c := rehearse.Case{Name: name, Open: func(uint64) (rehearse.World, error) {
				w := open(t)
				return w, nil
			}}
			for seed := range uint64(*seeds) {
				if p, err := rehearse.Play(t.Context(), c, seed); err != nil {
					t.Fatalf("%v\n%s", err, p.Tell())
				}
			}
		})
	}
}

// TestForcedRollbackWithANodeDown goes back past a node that does not answer,
// says so, and finishes it when it is there again.
func TestForcedRollbackWithANodeDown(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"big rolling", "small rolling", "big in place"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, lab := cases[name].open(t)
			w := open(t)
			s, err := rehearse.Begin(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
				t.Fatal(err)
			}
			w.Sim.Inject(sim.Fault{Kind: sim.NodeDown, Node: "node3", Command: w.Sim.Commands() + 1, For: 24 * time.Hour})
			out, err := s.Work(t.Context(), "rollback", nil)
			if err != nil {
				t.Fatal(err)
			}
			if out.State == run.RolledBack || !slices.Contains(out.Owed, "node3") {
				t.Fatalf("%s, owed %v: %s\n%s", out.State, out.Owed, out.Why.EN, rehearse.Transcript(s.Log.Records))
			}
			for _, n := range lab.Of(w.Sim).Nodes() {
				if n.Name != "node3" && n.Running != s.Plan.From {
					t.Errorf("%s runs %s, want %s", n.Name, n.Running, s.Plan.From)
				}
			}
			w.Sim.Heal()
			_ = w.Env.Clock.Sleep(t.Context(), time.Minute)
			if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if found := lab.Of(w.Sim).Findings(); len(found) > 0 {
				t.Errorf("the lab finds: %s", strings.Join(found, "; "))
			}
		})
	}
}

// TestSwitchoverGoesWrong lets the switch of the primary fail in the ways that
// were recorded.
func TestSwitchoverGoesWrong(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"timeoutThenCompletes", "timeoutNever", "demoteStuck", "lockHeld", "catchup"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			open, lab := cases["big rolling"].open(t)
			w := open(t)
			s, err := rehearse.Begin(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			lab.Of(w.Sim).SwitchFault(kind, 3*time.Second)
			if _, err := s.Work(t.Context(), "apply", nil); err != nil {
				t.Fatal(err)
			}
			w.Sim.Heal()
			if kind == "demoteStuck" { // no tool repairs a server that hangs in the middle: a person does
				return
			}
			if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if found := lab.Of(w.Sim).Findings(); len(found) > 0 {
				t.Errorf("the lab finds: %s", strings.Join(found, "; "))
			}
		})
	}
}

// TestNothingMadeSinceTheUpgradeIsLost: a setting that was changed and a
// library that was made while the upgrade was open outlive the rollback.
func TestNothingMadeSinceTheUpgradeIsLost(t *testing.T) {
	t.Parallel()
	const data, app = "/opt/huawei/install/data/dn", "/opt/huawei/install/app"
	open, base := cases["big rolling"].open(t)
	w := open(t)
	lab := base.Of(w.Sim)
	s, err := rehearse.Begin(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
		t.Fatal(err)
	}
	setGUC(lab.Primary(), data, "log_min_duration_statement=777")(t, lab, w.Sim)
	_ = w.Env.Clock.Sleep(t.Context(), 10*time.Second) // until it has reached the standbys
	w.Sim.With(func() {
		m := w.Sim.Machine("node2")
		m.Write(m.Real(app)+"/lib/postgresql/pg_plugin/made_later.so", "a function\n", 0o600, "omm")
	})
	if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	w.Sim.With(func() {
		for _, m := range w.Sim.Machines() {
			if conf, _ := m.Read(data + "/postgresql.conf"); !strings.Contains(conf, "log_min_duration_statement = 777") {
				t.Errorf("%s: the setting is lost", m.Name())
			}
		}
		m := w.Sim.Machine("node2")
		if !m.Exists(m.Real(app) + "/lib/postgresql/pg_plugin/made_later.so") {
			t.Error("the library is lost")
		}
	})
}

// TestKeepOldLeavesTheOldBinaries and nothing else.
func TestKeepOldLeavesTheOldBinaries(t *testing.T) {
	t.Parallel()
	o := opt{Options: gauss.Options{Nodes: 2}, to: "5.0.3", req: func(r *plan.Request) { r.KeepOld = true }}
	open, base := o.open(t)
	w := open(t)
	s, err := rehearse.Begin(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
		t.Fatal(err)
	}
	if err := s.Wants(t.Context(), "commit", run.Committed); err != nil {
		t.Fatal(err)
	}
	w.Sim.With(func() {
		if !w.Sim.Machine("node1").Exists("/opt/huawei/install/app_a07d57c3/bin/gaussdb") {
			t.Error("the old binaries are gone")
		}
	})
	if found := base.Of(w.Sim).Findings(); len(found) > 0 {
		t.Errorf("the lab finds: %s", strings.Join(found, "; "))
	}
}

// TestSubsetWaitsUntilItIsToldToGoOn: only the named nodes change, and a
// rollback goes back over the gate.
func TestSubsetWaitsUntilItIsToldToGoOn(t *testing.T) {
	t.Parallel()
	open, base := cases["subset then the rest"].open(t)
	w := open(t)
	w.Accept = nil
	s, err := rehearse.Begin(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // typed twice, it waits twice
		out, err := s.Work(t.Context(), "apply", nil)
		if err != nil || out.Gate != "rest" {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	var got []string
	for _, n := range base.Of(w.Sim).Nodes() {
		got = append(got, n.Name+" "+n.Running+" "+n.Role)
	}
	if diff := cmp.Diff([]string{"node1 5.0.0 Primary", "node2 5.0.0 Standby", "node3 5.0.3 Standby"}, got); diff != "" {
		t.Error(diff)
	}
	if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
		t.Fatal(err)
	}
	if found := base.Of(w.Sim).Findings(); len(found) > 0 {
		t.Errorf("the lab finds: %s", strings.Join(found, "; "))
	}
}

// TestRollbackFromEveryStep goes back from each place where a run can stand:
// every node has what it had, and nothing is left of the upgrade.
func TestRollbackFromEveryStep(t *testing.T) {
	t.Parallel()
	for name, own := range map[string]int{"big rolling": 3, "big rolling with CM": 7, "big in place": 5, "small rolling": 3, "small in place": 5, "small with CM": 7, "in place with CM": 7, "cascade": 7, "CM alone": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, base := cases[name].open(t)
			first, err := rehearse.Begin(t.Context(), open(t))
			if err != nil {
				t.Fatal(err)
			}
			for i := 1; i < len(first.Plan.Steps); i += drivertest.Every(own) {
				step := first.Plan.Steps[i]
				if step.Phase != plan.Apply || step.ID == plan.CommitGate {
					break
				}
				s := begun(t, open, step.ID)
				w := s.World
				if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
					t.Fatalf("from %s: %v\n%s", step.ID, err, rehearse.Transcript(s.Log.Records))
				}
				lab := base.Of(w.Sim)
				if found := lab.Findings(); len(found) > 0 {
					t.Errorf("from %s the lab finds: %s", step.ID, strings.Join(found, "; "))
				}
				for _, n := range lab.Nodes() {
					if om, _, work := toolsOf(w.Sim, n.Name); n.Running != cases[name].release() || om != cases[name].release() || work {
						t.Errorf("from %s: %s runs %s with tools of %s (work area left: %t)", step.ID, n.Name, n.Running, om, work)
					}
				}
			}
		})
	}
}

func (o opt) release() string {
	if o.Release == "" {
		return "5.0.0"
	}
	return o.Release
}
