package postgres_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/host"
	labpg "github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/lab/postgres/pgtest"
	"github.com/shiplift/shiplift/internal/meter"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/wait"
)

// real is a lab of real servers with the driver on it.
type real struct {
	lab *labpg.Lab
	inv *cluster.Inventory
	w   rehearse.World
}

func openReal(t *testing.T, o labpg.Options, r plan.Request) *real {
	t.Helper()
	d := postgres.New()
	l := pgtest.Start(t, o)
	inv, err := cluster.Read(l.Inventory, func(string) ([]cluster.Key, bool) { return d.Settings(), true })
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := host.Connect(inv, host.SSHConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hosts.Close() })
	for _, p := range l.Packages {
		r.Packages = append(r.Packages, p.Path)
	}
	return &real{lab: l, inv: inv, w: rehearse.World{
		Driver: d, Request: r,
		Env: driver.Env{Hosts: hosts, Inventory: inv, Clock: wait.Real{}, Secret: func(string, string) (string, error) {
			body, err := os.ReadFile(l.SuperuserFile())
			return strings.TrimSpace(string(body)), err
		}},
	}}
}

func (r *real) observe(t *testing.T) driver.Observation {
	t.Helper()
	o, err := r.w.Driver.Observe(t.Context(), r.w.Env)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (r *real) checks(t *testing.T) []check.Finding {
	t.Helper()
	o := r.observe(t)
	return check.Run(t.Context(), r.w.Driver.Checks(r.w.Env, o, r.w.Request), nil)
}

// releases are running/installed of each node.
func (r *real) releases(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, n := range r.observe(t).Nodes {
		out = append(out, n.Name+" "+n.Role+" "+n.Running+"/"+n.Installed+" "+n.Health)
	}
	return out
}

func (r *real) meter(t *testing.T) *meter.Meter {
	t.Helper()
	m, err := meter.Start(t.Context(), r.meterConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (r *real) finish(t *testing.T, m *meter.Meter) meter.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rep, err := m.Stop(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("meter: %+v", rep)
	if !rep.Good() {
		t.Errorf("acknowledged rows are missing: %+v", rep)
	}
	return rep
}

// work carries a verb out and wants its end.
func work(t *testing.T, s *rehearse.Story, verb string, want run.State) {
	t.Helper()
	began := time.Now()
	out, err := s.Work(t.Context(), verb, nil)
	if err != nil || out.State != want {
		t.Fatalf("%s: %+v, %v\n%s", verb, out, err, rehearse.Transcript(s.Log.Records))
	}
	t.Logf("%s took %s", verb, time.Since(began).Round(time.Millisecond))
}

func TestRealRollingUpgradeAndBackUnderLoad(t *testing.T) {
	t.Parallel()
	r := openReal(t, labpg.Options{Nodes: 3, Release: "15.16", To: []string{"15.17"}}, plan.Request{To: "15.17", Mode: "rolling"})
	before := r.releases(t)
	m := r.meter(t)
	s, err := rehearse.Begin(t.Context(), r.w)
	if err != nil {
		t.Fatal(err)
	}
	for i, st := range s.Plan.Steps {
		t.Logf("%2d %s", i+1, fmt.Sprintf("%-26s %-12s %s", st.ID, st.Impact, st.Says.EN))
	}
	work(t, s, "apply", run.Upgraded)
	after := r.releases(t)
	t.Log(after)
	work(t, s, "rollback", run.RolledBack)
	if got := r.releases(t); !slices.Equal(got, before) {
		t.Errorf("after the rollback: %v, before the run: %v", got, before)
	}
	r.finish(t, m)
}

func (r *real) meterConfig(t *testing.T) meter.Config {
	t.Helper()
	dsn, err := r.lab.DSN()
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := r.lab.NodeDSNs()
	if err != nil {
		t.Fatal(err)
	}
	return meter.Config{DSN: dsn, Nodes: nodes}
}
