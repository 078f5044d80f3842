package gbase8a

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	lab "github.com/shiplift/shiplift/internal/lab/gbase8a"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// seen is a cluster that is well, and what was observed of it.
func seen(t *testing.T, r plan.Request) (driver.Env, *view, driver.Observation, plan.Request) {
	t.Helper()
	cfg := lab.Config{Flavor: lab.V953, FlushRequired: true}
	w := sim.New(7)
	lab.Install(w, cfg)
	c := lab.Of(w)
	if r.Component == "" {
		packages, err := lab.WritePackages(t.TempDir(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.Packages = packages
	}
	env := driver.Env{Hosts: c.Hosts(w), Inventory: c.Inventory(), Clock: w, Secret: lab.Secret, Serial: true}
	o, err := Driver{}.Observe(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	return env, o.Detail.(*view), o, r
}

var (
	upgrade = plan.Request{To: "9.5.3.28.12", Mode: "inplace"}
	flushes = plan.Request{Component: Component}
)

// TestChecksNotice bends one thing of what was seen or is heard: the check of that id tells it by its rule.
func TestChecksNotice(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		r    plan.Request
		bend func(driver.Env, *view)
		id   string
		rule string
		sev  check.Severity
	}{
		"a node does not answer":        {upgrade, func(_ driver.Env, v *view) { v.nodes[1].err = errors.New("no answer") }, "gbase8a-nodes", "U0", check.Block},
		"a profile leads to no program": {upgrade, func(_ driver.Env, v *view) { v.nodes[1].Root = "" }, "gbase8a-nodes", "F1", check.Block},
		"gcadmin shows a node that nobody named": {upgrade, func(_ driver.Env, v *view) {
			v.status.Coordinators = append(v.status.Coordinators, Row{Name: "x", IP: "10.9.9.9"})
		}, "gbase8a-members", "G21", check.Block},
		"gcadmin does not show a node": {upgrade, func(_ driver.Env, v *view) { v.nodes[1].rows = nil }, "gbase8a-members", "G21", check.Block},
		"the nodes have two releases":  {upgrade, func(_ driver.Env, v *view) { v.nodes[1].installed = "9.5.3.1.1" }, "gbase8a-release", "G32", check.Block},
		"nobody may see statements":    {upgrade, func(env driver.Env, _ *view) { forget(env, keyDBUser) }, "gbase8a-quiet", "G20", check.Warn},
		"a clock is an hour ahead": {upgrade, func(env driver.Env, _ *view) {
			drivertest.Hear(env, "db2", "date +%s", func(string) string { return "99999999999\n" })
		}, "gbase8a-clock", "U0", check.Warn},
		"a node has no whole snapshot": {flushes, func(env driver.Env, _ *view) { drivertest.Hear(env, "db2", "find", func(string) string { return "" }) }, "gbase8a-snapshots", "F2", check.Warn},
		"the directory holds what nobody knows": {flushes, func(env driver.Env, _ *view) {
			drivertest.Hear(env, "db2", "find", func(s string) string { return s + "f 1 1700000000.0 core.4711\n" })
		}, "gbase8a-snapshots", "G01", check.Warn},
		"df says nothing": {upgrade, func(env driver.Env, _ *view) {
			drivertest.Hear(env, "db1", "df -P", func(string) string { return "?\n" })
		}, "gbase8a-room", "", check.Block},
		"the machine is of another kind": {upgrade, func(env driver.Env, _ *view) {
			drivertest.Hear(env, "db2", "uname -m", func(string) string { return "aarch64\n" })
		}, "gbase8a-package", "G26", check.Block},
		"the prefix may not be written": {upgrade, func(env driver.Env, _ *view) { drivertest.HearExit(env, "db2", "test -w", 1) }, "gbase8a-writable", "G25", check.Block},
		"the vendor has no way back":    {upgrade, func(_ driver.Env, v *view) { everyNode(v, func(n *nodeView) { n.installed = "8.6.2.43.7" }) }, "gbase8a-way-back", "G33", check.Warn},
		"the shell prints": {upgrade, func(env driver.Env, _ *view) {
			drivertest.Hear(env, "db2", "bash -lc true", func(string) string { return "hello\n" })
		}, "gbase8a-shell", "P24", check.Block},
		"a node's state is not OPEN": {upgrade, func(_ driver.Env, v *view) { v.nodes[1].rows[0].Gcware = "CLOSE" }, "gbase8a-state", "G19", check.Block},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, v, o, r := seen(t, tc.r)
			tc.bend(env, v)
			fs := check.Run(t.Context(), Driver{}.Checks(env, o, r), nil)
			for _, f := range fs {
				if f.ID == tc.id && (f.Rule == tc.rule || tc.rule == "") && f.Severity == tc.sev {
					return
				}
			}
			t.Errorf("%s says nothing by %s: %+v", tc.id, tc.rule, fs)
		})
	}
}

func everyNode(v *view, do func(*nodeView)) {
	for i := range v.nodes {
		do(&v.nodes[i])
	}
}

// forget takes a setting from every node of the inventory.
func forget(env driver.Env, key string) {
	for i := range env.Inventory.Nodes {
		delete(env.Inventory.Nodes[i].Settings, key)
	}
}

// TestPlansRefuse bends what was seen: the plan is refused by that rule.
func TestPlansRefuseWhatWasSeen(t *testing.T) {
	t.Parallel()
	for rule, bend := range map[string]func(*view, *driver.Observation){
		"G29": func(v *view, _ *driver.Observation) { v.status = nil },
		"G32": func(_ *view, o *driver.Observation) { o.Release = "" },
		"U0":  func(v *view, _ *driver.Observation) { v.nodes[1].err = errors.New("no answer") },
		"G21": func(v *view, _ *driver.Observation) { v.nodes[1].rows = nil },
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			env, v, o, r := seen(t, upgrade)
			bend(v, &o)
			_, err := Driver{}.Plan(env.Inventory, o, r)
			var no *driver.RefusalError
			if !errors.As(err, &no) || no.Rule != rule {
				t.Errorf("got %v, want a refusal by %s", err, rule)
			}
		})
	}
}

// TestStepsRefuse asks what a step asks, with one answer that must stop it.
func TestStepsRefuse(t *testing.T) {
	t.Parallel()
	at := func(t *testing.T, env driver.Env, o driver.Observation, r plan.Request) (*site, driver.Target) {
		t.Helper()
		target := driver.Target{Env: env, Plan: &plan.Plan{Request: r, Facts: o.Facts, From: "9.5.3.20.1", To: "9.5.3.28.12"}, Step: plan.Step{ID: "cluster/x", Node: "db1"}}
		s, err := siteOf(target)
		if err != nil {
			t.Fatal(err)
		}
		return s, target
	}
	t.Run("database services that are up again before the flush (G07)", func(t *testing.T) {
		t.Parallel()
		env, _, o, r := seen(t, flushes)
		s, target := at(t, env, o, r)
		drivertest.Refuses(t, s.waitGcware(t.Context(), target), "came back before the flush")
	})
	t.Run("a gcware that is gone before the next coordinator is asked (G06)", func(t *testing.T) {
		t.Parallel()
		env, _, o, r := seen(t, flushes)
		drivertest.HearExit(env, "db1", flushProgram, 1)
		closed := func(text string) string { return strings.ReplaceAll(text, "OPEN", "CLOSE") }
		drivertest.Hear(env, "", "gcadmin", closed)
		s, _ := at(t, env, o, r)
		drivertest.Refuses(t, s.callFlush(t.Context(), flushMemo{}), "gcware is no longer OPEN everywhere")
	})
	t.Run("a way back that the vendor does not have (G33)", func(t *testing.T) {
		t.Parallel()
		env, _, o, r := seen(t, upgrade)
		s, target := at(t, env, o, r)
		target.Plan.From = "8.6.2.43.7"
		drivertest.Refuses(t, s.restore(t.Context(), target, installMemo{}), "does not lead from")
	})
	t.Run("no state to verify (G19)", func(t *testing.T) {
		t.Parallel()
		env, _, o, r := seen(t, flushes)
		p, err := driver.Make(Driver{}, env.Inventory, o, r, "test")
		if err != nil {
			t.Fatal(err)
		}
		drivertest.HearExit(env, "", "gcadmin", 1)
		fs, err := Driver{}.Verify(t.Context(), env, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fs {
			if f.ID == "gbase8a-state" && f.Rule == "G19" && f.Severity == check.Block && strings.Contains(f.Says.EN, "cannot be read") {
				return
			}
		}
		t.Errorf("%+v", fs)
	})
}

// TestWaitsEnd lets a tool do nothing and claim success: the step waits for the
// effect, and says in the end what it waited for (I9).
func TestWaitsEnd(t *testing.T) {
	t.Parallel()
	at := func(t *testing.T, r plan.Request, part string) (*site, driver.Target) {
		t.Helper()
		env, _, o, r := seen(t, r)
		drivertest.HearNothing(env, "", part)
		target := driver.Target{Env: env, Plan: &plan.Plan{Request: r, Facts: o.Facts}, Step: plan.Step{ID: "cluster/x", Node: "db1"}}
		s, err := siteOf(target)
		if err != nil {
			t.Fatal(err)
		}
		return s, target
	}
	t.Run("a mode that does not change", func(t *testing.T) {
		t.Parallel()
		_, target := at(t, upgrade, "switchmode")
		drivertest.Refuses(t, switchMode{}.to(t.Context(), target, "readonly"), "every virtual cluster is READONLY")
	})
	t.Run("services that do not start", func(t *testing.T) {
		t.Parallel()
		s, _ := at(t, upgrade, "all start")
		m := s.Members[0]
		if err := s.stopMember(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		drivertest.Refuses(t, s.startAll(t.Context(), "gcluster_services", m, []string{"gbased"}), "all services of "+m.Name+" run")
	})
}

// TestProcessesMayTakeAMomentToGo: what is still there when the tool has ended is
// waited for, and nothing is forced (G03).
func TestProcessesMayTakeAMomentToGo(t *testing.T) {
	t.Parallel()
	env, _, o, r := seen(t, upgrade)
	r.Options = map[string]string{"force-stop": "after-failure"}
	last, late := "", 0
	drivertest.Hear(env, "db1", "ps -u", func(s string) string {
		if strings.Contains(s, "gclusterd") || late == 3 {
			last = s
			return s
		}
		late++
		return last
	})
	forced := false
	drivertest.Hear(env, "db1", "--force", func(s string) string { forced = true; return s })
	s, err := siteOf(driver.Target{Env: env, Plan: &plan.Plan{Request: r, Facts: o.Facts}, Step: plan.Step{ID: "db1/x", Node: "db1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.stopMember(t.Context(), s.member("db1")); err != nil {
		t.Error(err)
	}
	if late != 3 || forced {
		t.Errorf("it was there %d looks longer, forced %t", late, forced)
	}
}

// TestANodeBehindTheClustersNewestIsNotDone: its own snapshot is newer than its
// baseline and older than what another node had before (G13).
func TestANodeBehindTheClustersNewestIsNotDone(t *testing.T) {
	t.Parallel()
	env, _, o, r := seen(t, flushes)
	s, err := siteOf(driver.Target{Env: env, Plan: &plan.Plan{Request: r, Facts: o.Facts}})
	if err != nil {
		t.Fatal(err)
	}
	base, dirs := flushMemo{Newest: map[string]Snapshot{}}, map[string]SnapshotDir{}
	for i, m := range s.gcware() {
		base.Newest[m.Name] = Snapshot{Term: 2, Index: uint64(100 * (i + 1))}
		dirs[m.Name] = SnapshotDir{Complete: []Snapshot{{Term: 2, Index: 1000}}}
	}
	first := s.gcware()[0].Name
	dirs[first] = SnapshotDir{Complete: []Snapshot{{Term: 2, Index: 150}}}
	if behind := s.behind(dirs, base); len(behind) != 1 || behind[0] != first {
		t.Errorf("behind: %v, want %s", behind, first)
	}
}

// TestWhatWasProvenIsProvenAgain: a step that only reads is never taken for done behind a crash (I2).
func TestWhatWasProvenIsProvenAgain(t *testing.T) {
	t.Parallel()
	env, _, o, r := seen(t, upgrade)
	p, err := driver.Make(Driver{}, env.Inventory, o, r, "test")
	if err != nil {
		t.Fatal(err)
	}
	drivertest.ProvenAgain(t, Driver{}, env, p)
}

// TestTheLicenseIsWhereTheInstallerLooks: copied before the installer starts (G28).
func TestTheLicenseIsWhereTheInstallerLooks(t *testing.T) {
	t.Parallel()
	cfg := lab.Config{Flavor: lab.V953, Licensed: true}
	w := sim.New(7)
	lab.Install(w, cfg)
	c := lab.Of(w)
	dir := t.TempDir()
	packages, err := lab.WritePackages(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	license := filepath.Join(dir, "gbase.lic")
	if err := os.WriteFile(license, []byte("the license"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := driver.Env{Hosts: c.Hosts(w), Inventory: c.Inventory(), Clock: w, Secret: lab.Secret, Serial: true}
	r := plan.Request{To: upgrade.To, Mode: upgrade.Mode, Packages: packages, Options: map[string]string{"license": license}}
	s, err := rehearse.Begin(t.Context(), rehearse.World{Driver: Driver{}, Env: env, Request: r, Sim: w, Truth: func() error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
		t.Fatal(err)
	}
	for _, did := range w.Trace() {
		for _, word := range did.Argv {
			if file, ok := strings.CutPrefix(word, "--license_file="); ok {
				put := slices.ContainsFunc(w.Trace(), func(o sim.Ran) bool {
					return o.Node == did.Node && strings.Contains(strings.Join(o.Argv, " "), path.Base(file)) && !slices.Contains(o.Argv, word)
				})
				if !put {
					t.Errorf("%s was never put on %s", file, did.Node)
				}
				return
			}
		}
	}
	t.Error("the installer was given no license")
}

// TestVerifyComparesReleases: of the process and of the files (I6).
func TestVerifyComparesReleases(t *testing.T) {
	t.Parallel()
	well := driver.Node{Name: "db1", Reachable: true, Running: "9.5.3.28.12", Installed: "9.5.3.28.12"}
	p := &plan.Plan{To: "9.5.3.28.12"}
	for says, bend := range map[string]func(*driver.Node){
		"does not answer": func(n *driver.Node) { n.Reachable = false },
		"has 9.5.3.20.1":  func(n *driver.Node) { n.Installed = "9.5.3.20.1" },
		"it runs \"9.5.3": func(n *driver.Node) { n.Running = "9.5.3.20.1" },
	} {
		n := well
		if bad := check.Blocking(releasesProven(driver.Observation{Nodes: []driver.Node{n}}, p)); len(bad) > 0 {
			t.Fatalf("a node that is well is not: %+v", bad)
		}
		bend(&n)
		bad := check.Blocking(releasesProven(driver.Observation{Nodes: []driver.Node{n}}, p))
		if len(bad) != 1 || !strings.Contains(bad[0].Says.EN, says) {
			t.Errorf("%s: %+v", says, bad)
		}
	}
}
