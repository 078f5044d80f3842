package postgres_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// simPackage is one package for all simulated worlds of a test.
func simPackage(t testing.TB) string {
	t.Helper()
	p, err := pgsim.WritePackage(t.TempDir(), "15.17")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func simWorld(t testing.TB, o pgsim.Options, r plan.Request, pkg string) (*pgsim.Lab, rehearse.World) {
	t.Helper()
	o.Release, o.CutScript = "15.16", postgres.CutScript
	l, err := pgsim.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	r.To, r.Packages = "15.17", []string{pkg}
	return l, rehearse.World{
		Driver: postgres.New(), Request: r, Truth: l.Truth, Sim: l.World,
		Env: driver.Env{Hosts: l.World.Hosts(), Inventory: l.Inventory, Clock: l.World, Serial: true},
	}
}

// topologies are the clusters that every simulated test goes through.
var topologies = map[string]struct {
	o pgsim.Options
	r plan.Request
}{
	"two nodes":                            {pgsim.Options{Nodes: 2}, plan.Request{Mode: "rolling"}},
	"three nodes with slots":               {pgsim.Options{Nodes: 3, Slots: true}, plan.Request{Mode: "rolling"}},
	"synchronous pair":                     {pgsim.Options{Nodes: 2, Sync: "FIRST 1 (db1, db2)"}, plan.Request{Mode: "rolling"}},
	"synchronous, cascade, there and back": {pgsim.Options{Nodes: 4, Slots: true, Sync: "ANY 2 (db2, db3)", Upstream: map[string]string{"db4": "db2"}}, plan.Request{Mode: "rolling", SwitchBack: true, Candidate: "db3"}},
	"in place":                             {pgsim.Options{Nodes: 3, Sync: "db2"}, plan.Request{Mode: "inplace"}},
	"in place, cascade":                    {pgsim.Options{Nodes: 3, Upstream: map[string]string{"db3": "db2"}}, plan.Request{Mode: "inplace"}},
}

func TestSimulatedRunsGoThereAndBack(t *testing.T) {
	t.Parallel()
	pkg := simPackage(t)
	for name, tc := range topologies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, w := simWorld(t, tc.o, tc.r, pkg)
			before := l.Settings()
			s, err := rehearse.Begin(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []struct {
				verb string
				want run.State
			}{{"apply", run.Upgraded}, {"rollback", run.RolledBack}} {
				out, err := s.Work(t.Context(), v.verb, nil)
				if err != nil || out.State != v.want {
					t.Fatalf("%s: %+v %v\n%s", v.verb, out, err, rehearse.Transcript(s.Log.Records))
				}
				if err := l.Truth(); err != nil {
					t.Fatalf("after %s: %v", v.verb, err)
				}
				if n := l.Blocked(); n > 0 && tc.r.Mode == "rolling" {
					t.Errorf("%s: synchronous replication blocked %d writes", v.verb, n)
				}
			}
			if diff := cmp.Diff(before, l.Settings()); diff != "" {
				t.Errorf("the rollback left other settings:\n%s", diff)
			}
		})
	}
}

func TestSimulatedClusterPassesTheChecks(t *testing.T) {
	t.Parallel()
	_, w := simWorld(t, pgsim.Options{Nodes: 3, Slots: true}, plan.Request{Mode: "rolling"}, simPackage(t))
	o, err := w.Driver.Observe(t.Context(), w.Env)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range check.Run(t.Context(), w.Driver.Checks(w.Env, o, w.Request), nil) {
		if f.Severity != check.Pass {
			t.Errorf("%s %s %s: %s (%s)", f.Severity, f.ID, f.Node, f.Says.EN, f.Evidence)
		}
	}
}

func TestEveryCrashEndsWellAndLosesNothing(t *testing.T) {
	t.Parallel()
	pkg := simPackage(t)
	// How thinly the usual test run takes a topology; those without a number are for make crash alone, which takes every point of each.
	thin := map[string]int{"synchronous pair": 7, "three nodes with slots": 42, "synchronous, cascade, there and back": 84, "in place": 21}
	for name, tc := range topologies {
		every := drivertest.Every(thin[name])
		if every == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deaths := drivertest.EveryCrash(t, func(t testing.TB) rehearse.World {
				_, w := simWorld(t, tc.o, tc.r, pkg)
				return w
			}, every)
			if deaths*every < 1500 {
				t.Errorf("only %d deaths at every %d-th point: the suite has shrunk", deaths, every)
			}
		})
	}
}

func TestActionsConform(t *testing.T) {
	t.Parallel()
	pkg := simPackage(t)
	for name, stride := range map[string]int{"three nodes with slots": 35, "synchronous pair": 35, "in place": 9999} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Conform(t, func(t testing.TB) rehearse.World {
				l, w := simWorld(t, topologies[name].o, topologies[name].r, pkg)
				w.Truth = l.Damage // between two steps a server may be down
				return w
			}, drivertest.Every(stride))
		})
	}
}
