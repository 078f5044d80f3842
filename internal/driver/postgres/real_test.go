package postgres_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
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
	"github.com/shiplift/shiplift/internal/say"
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
	t.Logf("meter: longest gap %s, lost %d, gaps %v, %.0f rows/s before, %.0f after", rep.Interruption, rep.LostWrites, rep.Gaps, rep.Before, rep.After)
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
	for _, f := range r.checks(t) {
		if f.Severity != check.Pass {
			t.Errorf("a healthy cluster: %s %s %s: %s (%s)", f.Severity, f.ID, f.Node, f.Says.EN, f.Evidence)
		}
	}
	r.refusesAStrangersReplication(t)
	m := r.meter(t)
	s, err := rehearse.Begin(t.Context(), r.w)
	if err != nil {
		t.Fatal(err)
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

// refusesAStrangersReplication holds that the check replication-login blocks
// when the candidate's pg_hba.conf does not let the primary in.
func (r *real) refusesAStrangersReplication(t *testing.T) {
	t.Helper()
	hba := filepath.Join(r.lab.Nodes()[1].Data, "pg_hba.conf")
	whole, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}
	login := func() string {
		for _, f := range r.checks(t) {
			if f.ID == "replication-login" {
				return string(f.Severity) + " " + f.Node + ": " + f.Evidence
			}
		}
		return "nothing"
	}
	rewrite := func(body []byte) {
		if err := os.WriteFile(hba, body, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := r.lab.Connect(t.Context(), "db2", labpg.Superuser)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(t.Context())
		if _, err := c.Exec(t.Context(), "SELECT pg_reload_conf()"); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(regexp.MustCompile(`(?m)^.*replication.*\n`).ReplaceAll(whole, nil))
	await(t, func() bool {
		return strings.HasPrefix(login(), "block db1: ") && strings.Contains(login(), "no pg_hba.conf entry")
	})
	rewrite(whole)
	await(t, func() bool { return strings.HasPrefix(login(), "pass db1: ") })
}

// await waits until a condition holds: a server takes a changed file in when it likes.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	spec := wait.Spec{What: say.Same("the condition"), Deadline: 10 * time.Second, Every: 20 * time.Millisecond}
	if err := wait.For(t.Context(), wait.Real{}, spec, nil, func(context.Context) (wait.Look, error) { return wait.Look{Done: ok()}, nil }); err != nil {
		t.Fatal(err)
	}
}

// The other major releases whose control file and views the driver reads.
func TestRealOtherMajorsGoThereAndBackUnderLoad(t *testing.T) {
	t.Parallel()
	for from, to := range map[string]string{"16.13": "16.14", "17.9": "17.10"} {
		t.Run(from+" to "+to, func(t *testing.T) {
			t.Parallel()
			r := openReal(t, labpg.Options{Nodes: 2, Release: from, To: []string{to}}, plan.Request{To: to, Mode: "rolling"})
			for _, f := range r.checks(t) {
				if f.Severity != check.Pass {
					t.Errorf("a healthy cluster: %s %s %s: %s (%s)", f.Severity, f.ID, f.Node, f.Says.EN, f.Evidence)
				}
			}
			r.readsControlAsTheServerDoes(t)
			before := r.releases(t)
			m := r.meter(t)
			s, err := rehearse.Begin(t.Context(), r.w)
			if err != nil {
				t.Fatal(err)
			}
			work(t, s, "apply", run.Upgraded)
			want := []string{"db1 standby " + to + "/" + to + " streaming", "db2 primary " + to + "/" + to + " primary"}
			if got := r.releases(t); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if to == "17.10" {
				work(t, s, "commit", run.Committed)
			} else {
				work(t, s, "rollback", run.RolledBack)
				if got := r.releases(t); !slices.Equal(got, before) {
					t.Errorf("after the rollback: %v, before the run: %v", got, before)
				}
			}
			r.finish(t, m)
		})
	}
}

// readsControlAsTheServerDoes compares the driver's reading of pg_control with
// the server's own.
func (r *real) readsControlAsTheServerDoes(t *testing.T) {
	t.Helper()
	for _, n := range r.lab.Nodes() {
		c, err := r.lab.Connect(t.Context(), n.Name, labpg.Superuser)
		if err != nil {
			t.Fatal(err)
		}
		var says string
		err = c.QueryRow(t.Context(), `SELECT concat_ws(' ', s.system_identifier, s.pg_control_version, s.catalog_version_no, c.checkpoint_lsn, c.redo_lsn, c.timeline_id,
			r.min_recovery_end_lsn, r.min_recovery_end_timeline, i.database_block_size, i.bytes_per_wal_segment, i.data_page_checksum_version)
			FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_init() i, pg_control_recovery() r`).Scan(&says)
		body, fileErr := os.ReadFile(filepath.Join(n.Data, "global", "pg_control"))
		if err := errors.Join(err, fileErr, c.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got, err := postgres.ControlWords(body); err != nil || got != says {
			t.Errorf("%s: read %s, the server says %s: %v", n.Name, got, says, err)
		}
	}
}

func TestRealSynchronousCascadeGoesAndSwitchesBackUnderLoad(t *testing.T) {
	t.Parallel()
	r := openReal(t, labpg.Options{Nodes: 4, Release: "15.16", To: []string{"15.17"}, Upstream: map[string]string{"db4": "db2"}, SyncNames: "FIRST 2 (db2, db3)"},
		plan.Request{To: "15.17", Mode: "rolling", SwitchBack: true, Candidate: "db3"})
	m := r.meter(t)
	s, err := rehearse.Begin(t.Context(), r.w)
	if err != nil {
		t.Fatal(err)
	}
	work(t, s, "apply", run.Upgraded)
	if got := r.finish(t, m).Interruption; got > 3*time.Second {
		t.Errorf("writes stood still for %s: synchronous replication must not block them", got)
	}
	want := []string{"db1 primary 15.17/15.17 primary", "db2 standby 15.17/15.17 streaming", "db3 standby 15.17/15.17 streaming", "db4 cascade 15.17/15.17 streaming"}
	if got := r.releases(t); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := r.facts(t, "sync"), r.factsOf(s.Plan.Facts, "sync"); !slices.Equal(got, want) {
		t.Errorf("synchronous_standby_names %v, before the run %v", got, want)
	}
	work(t, s, "commit", run.Committed)
}

func TestRealInPlaceUpgradeAndBack(t *testing.T) {
	t.Parallel()
	r := openReal(t, labpg.Options{Nodes: 3, Release: "15.16", To: []string{"15.17"}, Cascade: true}, plan.Request{To: "15.17", Mode: "inplace"})
	before := r.releases(t)
	m := r.meter(t)
	s, err := rehearse.Begin(t.Context(), r.w)
	if err != nil {
		t.Fatal(err)
	}
	work(t, s, "apply", run.Upgraded)
	for _, got := range r.releases(t) {
		if !strings.Contains(got, " 15.17/15.17 ") {
			t.Error(got)
		}
	}
	work(t, s, "rollback", run.RolledBack)
	if got := r.releases(t); !slices.Equal(got, before) {
		t.Errorf("after the rollback: %v, before the run: %v", got, before)
	}
	r.finish(t, m)
}

// facts are the values of one fact on all nodes.
func (r *real) facts(t *testing.T, name string) []string {
	t.Helper()
	return r.factsOf(r.observe(t).Facts, name)
}

func (r *real) factsOf(facts []plan.Fact, name string) []string {
	var out []string
	for _, f := range facts {
		if f.Name == name {
			out = append(out, f.Node+"="+f.Value)
		}
	}
	return out
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
