package opengauss

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
)

// TestNodesAreRefused: actors that a plan cannot be made with, with the vendor's codes.
func TestNodesAreRefused(t *testing.T) {
	t.Parallel()
	for says, tc := range map[string]struct {
		code string
		lab  gauss.Options
		bend func(*view, *plan.Request)
	}{
		"does not tell its instance":           {"GAUSS-51601", gauss.Options{CM: true}, func(v *view, _ *plan.Request) { v.Nodes[1].ID = 0 }},
		"the directory of the cluster manager": {"GAUSS-51601", gauss.Options{CM: true}, func(v *view, _ *plan.Request) { v.Nodes[1].CMDir = "" }},
		"goes with a rolling upgrade only": {"GAUSS-50011", gauss.Options{}, func(_ *view, r *plan.Request) {
			r.Mode, r.Nodes = "inplace", []string{"node3"}
		}},
		"no standby can become the primary": {"GAUSS-51624", gauss.Options{}, func(v *view, _ *plan.Request) {
			v.Nodes[1].HA.Role, v.Nodes[2].HA.Role = gaussdb.RoleCascade, gaussdb.RoleCascade
		}},
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			_, o, r := guarded{lab: tc.lab}.open(t)
			v := o.Detail.(*view)
			if tc.lab.CM { // the whole cluster, not its manager alone
				p, err := gauss.PackageOf(gauss.OpenGauss, "5.0.3")
				if err != nil {
					t.Fatal(err)
				}
				files, err := p.Write(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				r.Component, r.Mode, r.Packages = "", "rolling", files[:1]
			}
			if _, err := newBuilder(v, r); err != nil {
				t.Fatalf("nodes that are well are refused: %v", err)
			}
			tc.bend(v, &r)
			_, err := newBuilder(v, r)
			drivertest.Refuses(t, err, says)
			var no *driver.RefusalError
			if !errors.As(err, &no) || no.Code != tc.code {
				t.Errorf("%v: not %s", err, tc.code)
			}
		})
	}
}

// TestSettingsThatTheNewReleaseLacks are told on the nodes that have them set.
func TestSettingsThatTheNewReleaseLacks(t *testing.T) {
	t.Parallel()
	env, o, r := guarded{}.open(t)
	pkg, err := gaussdb.ReadPackage(r.Packages[:1])
	if err != nil {
		t.Fatal(err)
	}
	pkg.Scripts.Gone = []string{"enable_old_thing", "never_heard_of"}
	v := o.Detail.(*view)
	for _, n := range v.Nodes[1:] {
		line := "enable_old_thing = on\n"
		if n.Name == "node3" {
			line = "#" + line
		}
		file := n.Data + "/postgresql.conf"
		b, err := host.ReadFile(t.Context(), n.Host, file)
		if err == nil {
			err = host.WriteFile(t.Context(), n.Host, file, append(b, line...), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a := &asker{env: env, v: v, r: r, pkg: func() (*gaussdb.Package, error) { return pkg, nil }}
	fs, err := a.strategy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := ""
	for _, f := range fs {
		if f.Severity == check.Warn {
			told += f.Node + ": " + f.Says.EN + "\n"
		}
	}
	if !strings.HasPrefix(told, "node2: the new release does not know the setting enable_old_thing") || strings.Count(told, "\n") != 1 {
		t.Errorf("told:\n%s", told)
	}
}

// TestReleasesBefore101: only one before 1.0.1 is reached from one (OG-001).
func TestReleasesBefore101(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]release.Verdict{"1.0.0": release.OK, "1.0.1": release.Refuse, "2.0.0": release.Refuse} {
		from, err1 := release.Parse("0.9.9")
		v, err2 := release.Parse(to)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		a, err := Path(release.Question{From: from, To: v})
		if err != nil || a.Verdict != want || want == release.Refuse && a.Rule != "OG-001" {
			t.Errorf("0.9.9 to %s: %v %s, %v", to, a.Verdict, a.Rule, err)
		}
	}
}

// roomFor is the cluster of a lab as the actions of a plan see it.
func roomFor(t *testing.T, o gauss.Options) (*room, *gauss.Lab) {
	t.Helper()
	var lab *gauss.Lab
	env, obs, r := guarded{lab: o, hear: func(_ driver.Env, l *gauss.Lab) { lab = l }}.open(t)
	before := map[string]plan.NodeState{}
	for _, n := range obs.Nodes {
		before[n.Name] = plan.NodeState{Running: n.Running}
	}
	target := driver.Target{Env: env, Plan: &plan.Plan{Facts: obs.Facts, Request: r, Before: before},
		Step: plan.Step{ID: "cluster/switchover", Kind: kindSwitchover, Args: map[string]string{"from": "node1", "to": "node2", "commit": "89d144c2"}}}
	rm, err := roomOf(target)
	if err != nil {
		t.Fatal(err)
	}
	return rm, lab
}

func (r *room) run(t *testing.T, s *site, argv ...string) gaussdb.Answer {
	t.Helper()
	a, err := s.tool(t.Context(), 5*time.Minute, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// again restarts a standby, which then takes a while to catch up.
func (r *room) again(t *testing.T, l *gauss.Lab, s *site, takes time.Duration) {
	t.Helper()
	l.Lag(s.Name, takes)
	l.Kill(s.Name)
	r.run(t, s, "gs_ctl", "start", "-D", s.Data, "-M", "standby")
}

// TestTwoPrimariesAreAnError (I3).
func TestTwoPrimariesAreAnError(t *testing.T) {
	t.Parallel()
	r, _ := roomFor(t, gauss.Options{})
	if p, err := r.primary(t.Context()); err != nil || p != r.Sites[0] {
		t.Fatalf("%v, %v", p, err)
	}
	r.Sites[2].Host = r.Sites[0].Host // says what the primary says
	_, err := r.primary(t.Context())
	drivertest.Refuses(t, err, "two nodes say that they are the primary: node1 and node3")
}

// TestASwitchoverThatComesLate: the tool gave up before the roles changed. The
// probe looks until they have (B-045).
func TestASwitchoverThatComesLate(t *testing.T) {
	t.Parallel()
	r, lab := roomFor(t, gauss.Options{})
	lab.SwitchFault("timeoutThenCompletes", 4*time.Second)
	r.run(t, r.Sites[1], "gs_ctl", "switchover", "-D", r.Sites[1].Data, "-t", "2")
	if p := lab.Primary(); p != "node1" {
		t.Fatalf("%s is the primary already: the test looks at nothing", p)
	}
	got, err := switchoverAction{}.Probe(t.Context(), r.Target)
	if err != nil || got != driver.Applied || lab.Primary() != "node2" {
		t.Errorf("the probe says %q, %v; %s is the primary", got, err, lab.Primary())
	}
}

// TestAThirdNodeThatBecameThePrimary in the middle of a switchover does not stop
// the run for ever: the step is half done, and its way back brings the role back (B-103).
func TestAThirdNodeThatBecameThePrimary(t *testing.T) {
	t.Parallel()
	r, lab := roomFor(t, gauss.Options{})
	lab.Kill("node1")
	r.run(t, r.Sites[2], "gs_ctl", "failover", "-D", r.Sites[2].Data)
	if err := r.Clock.Sleep(t.Context(), 5*time.Second); err != nil || lab.Primary() != "node3" {
		t.Fatalf("%v; %s is the primary", err, lab.Primary())
	}
	a := switchoverAction{}
	if got, err := a.Probe(t.Context(), r.Target); err != nil || got != driver.Half {
		t.Errorf("the probe says %q, %v", got, err)
	}
	if err := a.Undo(t.Context(), r.Target); err != nil || lab.Primary() != "node1" || !lab.Healthy() {
		t.Errorf("the way back: %v; %s is the primary, healthy: %t", err, lab.Primary(), lab.Healthy())
	}
	if err := a.Do(t.Context(), r.Target); err != nil || lab.Primary() != "node2" {
		t.Errorf("behind it: %v; %s is the primary", err, lab.Primary())
	}
}

// TestWaitsForStandbys: what is said to have caught up, or to follow, does.
func TestWaitsForStandbys(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]func(*testing.T, *room) error{
		"caught up":  func(t *testing.T, r *room) error { return r.caughtUp(t.Context(), r.Sites[0], r.Sites[1]) },
		"all follow": func(t *testing.T, r *room) error { return r.allFollow(t.Context()) },
		"steady":     func(t *testing.T, r *room) error { return r.steady(t.Context(), r.Sites[2]) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, lab := roomFor(t, gauss.Options{})
			r.again(t, lab, r.Sites[1], 40*time.Second)
			if lab.Healthy() {
				t.Fatal("all is well before the wait: the test looks at nothing")
			}
			if err := wait(t, r); err != nil || !lab.Healthy() {
				t.Errorf("%v; healthy: %t", err, lab.Healthy())
			}
			// One that never comes is told.
			r.again(t, lab, r.Sites[1], time.Hour)
			drivertest.Refuses(t, wait(t, r), "Catchup")
		})
	}
}

// TestVerifyGivesTheClusterAMoment: a standby that has just come up is no failure.
func TestVerifyGivesTheClusterAMoment(t *testing.T) {
	t.Parallel()
	var lab *gauss.Lab
	env, o, _ := guarded{hear: func(_ driver.Env, l *gauss.Lab) { lab = l }}.open(t)
	v := o.Detail.(*view)
	p := &plan.Plan{Before: map[string]plan.NodeState{}, Facts: o.Facts,
		Steps: []plan.Step{{ID: "x", Args: map[string]string{"commit": v.Nodes[0].Installed.Commit}}}}
	for _, n := range v.Nodes {
		p.Before[n.Name] = plan.NodeState{Health: n.health()}
	}
	r, err := roomOf(driver.Target{Env: env, Plan: p})
	if err != nil {
		t.Fatal(err)
	}
	r.again(t, lab, r.Sites[2], 30*time.Second)
	fs, err := New().Verify(t.Context(), env, p)
	if bad := check.Blocking(fs); err != nil || len(bad) > 0 {
		t.Errorf("%v: %+v", err, bad)
	}
	r.again(t, lab, r.Sites[2], time.Hour)
	if fs, err = New().Verify(t.Context(), env, p); err == nil && len(check.Blocking(fs)) == 0 {
		t.Error("a standby that never catches up is well")
	}
}

// TestTheSoftwareMustBeALink (GAUSS-52915).
func TestTheSoftwareMustBeALink(t *testing.T) {
	t.Parallel()
	r, _ := roomFor(t, gauss.Options{})
	s := r.Sites[0]
	if at, err := s.link(t.Context()); err != nil || at != s.OldApp {
		t.Fatalf("%s, %v", at, err)
	}
	if _, err := s.Host.Run(t.Context(), host.Change("rm", s.Home)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Host.Run(t.Context(), host.Change("mkdir", s.Home)); err != nil {
		t.Fatal(err)
	}
	_, err := s.link(t.Context())
	drivertest.Refuses(t, err, "GAUSS-52915")
}

// TestNobodyIsMadeThePrimaryWhoWasItEarlier: node2 was it after node1, and both
// are down. What node2 has acknowledged would be lost (I4).
func TestNobodyIsMadeThePrimaryWhoWasItEarlier(t *testing.T) {
	t.Parallel()
	r, lab := roomFor(t, gauss.Options{Load: true})
	if err := r.proveLast(t.Context(), r.Sites[0], false); err != nil {
		t.Fatalf("the primary itself is doubted: %v", err)
	}
	lab.Kill("node1")
	r.run(t, r.Sites[1], "gs_ctl", "failover", "-D", r.Sites[1].Data)
	if err := r.Clock.Sleep(t.Context(), 5*time.Second); err != nil || lab.Primary() != "node2" {
		t.Fatalf("%v; %s is the primary", err, lab.Primary())
	}
	lab.Kill("node2")
	err := r.startServer(t.Context(), r.Sites[0], "primary")
	drivertest.Refuses(t, err, "it is not made the primary: node2 was")
	if lab.Primary() != "" {
		t.Errorf("%s is the primary", lab.Primary())
	}
}

// TestTheLoadOfARollingUpgrade: 200 that read and 200 that write pass, one more
// of either does not; the session that asks does not count. In place nobody asks.
func TestTheLoadOfARollingUpgrade(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reads, writes int
		mode          string
		blocked       bool
	}{
		"at the bound":     {200, 200, "rolling", false},
		"one reads more":   {201, 0, "rolling", true},
		"one writes more":  {200, 201, "rolling", true},
		"in place, a load": {500, 500, "inplace", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sessions := strings.Repeat("SELECT * from t\n", tc.reads-1) + "with x as (select 1) select * from x\n" + strings.Repeat("  insert into t values(1)\n", tc.writes)
			env, o, r := guarded{hear: hears("", "state='active'", func(own string) string { return own + sessions })}.open(t)
			r.Mode = tc.mode
			fs, err := (&asker{env: env, v: o.Detail.(*view), r: r}).load(t.Context())
			if err != nil || len(check.Blocking(fs)) > 0 != tc.blocked {
				t.Errorf("%+v, %v", fs, err)
			}
			if tc.blocked && (fs[0].Node != "node1" || !strings.Contains(fs[0].Says.EN, "up to 200 of each")) {
				t.Errorf("it says %+v", fs[0])
			}
		})
	}
}

// TestTrustBetweenAllNodes: each node asks all others. One way that is broken is
// told with both its ends; a node that cannot ask at all is a warning.
func TestTrustBetweenAllNodes(t *testing.T) {
	t.Parallel()
	oneWay := func(s string) string {
		return strings.Replace(s, "[SUCCESS] node3:", "[FAILURE] node3:", 1)
	}
	for name, tc := range map[string]struct {
		hear func(driver.Env, *gauss.Lab)
		sev  check.Severity
		node string
		says string
	}{
		"all reach all":          {nil, check.Pass, "", ""},
		"node2 to node3":         {hears("node2", "gs_ssh", oneWay), check.Block, "node2", "it does not reach node3"},
		"a tool without a word":  {hears("node2", "gs_ssh", always("")), check.Warn, "node2", "is not proven"},
		"node3 has lost its key": {hears("node1", "gs_ssh", oneWay), check.Block, "node1", "it does not reach node3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, o, r := guarded{hear: tc.hear}.open(t)
			fs, err := (&asker{env: env, v: o.Detail.(*view), r: r}).trust(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if tc.sev == check.Pass {
				if len(fs) > 0 {
					t.Errorf("%+v", fs)
				}
				return
			}
			if len(fs) != 1 || fs[0].Severity != tc.sev || fs[0].Rule != "GAUSS-51100" || fs[0].Node != tc.node || !strings.Contains(fs[0].Says.EN, tc.says) {
				t.Errorf("%+v", fs)
			}
		})
	}
}
