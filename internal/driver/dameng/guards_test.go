package dameng

import (
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/host"
	lab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
)

// watch is a cluster of Data Watch, well and seen.
func watch(t *testing.T, o lab.Options) (driver.Env, *detail, driver.Observation) {
	t.Helper()
	l, err := lab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for range 7 {
		l.Write()
	}
	env := driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: l.World, Serial: true,
		Secret: func(string, string) (string, error) { return lab.DefaultPassword, nil }}
	o2, err := Driver{}.Observe(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	return env, o2.Detail.(*detail), o2
}

var oldWatch = lab.Options{Topology: "dw", Release: "8.1.1.14"}

// TestChecksNotice bends one thing of what was seen: the check of that id tells it by its rule.
func TestChecksNotice(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		to   string
		bend func(*detail)
		id   string
		rule string
		sev  check.Severity
	}{
		"nodes run two releases":                             {"8.1.1.15", func(d *detail) { d.nodes["db2"].Instance.Release = release.V(8, 1, 1, 15) }, "dm-release", "DM-031", check.Block},
		"there is no way":                                    {"8.1.1.1", func(*detail) {}, "dm-path", "", check.Block},
		"a standby stands in MOUNT":                          {"8.1.1.15", func(d *detail) { d.nodes["db2"].Instance.Status = "MOUNT" }, "dm-open", "DM-060", check.Block},
		"a standby has the primary's magic":                  {"8.1.1.15", func(d *detail) { d.nodes["db2"].Magic = d.nodes["db1"].Magic }, "dm-magic", "DM-024", check.Warn},
		"an archive is INVALID where standbys must be equal": {"8.1.1.15", func(d *detail) { d.nodes["db1"].Arch = []string{"REALTIME db2 INVALID"} }, "dm-archives", "DM-022", check.Block},
		"an archive is INVALID where it does not matter":     {"8.1.1.14", func(d *detail) { d.nodes["db1"].Arch = []string{"REALTIME db2 INVALID"} }, "dm-archives", "DM-062", check.Warn},
		"a standby is behind":                                {"8.1.1.15", func(d *detail) { d.nodes["db2"].Behind = 99 }, "dm-behind", "DM-022", check.Warn},
		"ALTER_MODE_STATUS was left at 1":                    {"8.1.1.15", func(d *detail) { d.nodes["db2"].AMS = "1" }, "dm-mode-status", "DM-041", check.Block},
		"there is an asynchronous standby":                   {"8.1.1.15", func(d *detail) { d.nodes["db1"].Arch = []string{"ASYNC db3 VALID"} }, "dm-async", "DM-025", check.Warn},
		"a node of DSC is faulty":                            {"8.1.1.15", func(d *detail) { d.nodes["db1"].EPs = map[string]string{"EP0": "ERROR"} }, "dm-nodes", "DM-021", check.Block},
		"nobody answered about HUGE tables":                  {"8.1.3.100", func(*detail) {}, "dm-huge", "DM-081", check.Block},
		"a node cannot be read":                              {"8.1.1.15", func(d *detail) { d.nodes["db2"].Trouble = "no answer" }, "dm-reachable", "", check.Block},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, d, o := watch(t, oldWatch)
			tc.bend(d)
			fs := check.Run(t.Context(), Driver{}.Checks(env, o, plan.Request{To: tc.to, Mode: "inplace"}), nil)
			for _, f := range fs {
				if f.ID == tc.id && f.Severity == tc.sev && (tc.rule == "" || f.Rule == tc.rule) {
					return
				}
			}
			t.Errorf("%s says nothing by %s: %+v", tc.id, tc.rule, fs)
		})
	}
}

// TestVerifyNotices bends one thing of what is read again behind an upgrade.
func TestVerifyNotices(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		bend func(driver.Env, *detail)
		rule string
	}{
		"there is no primary":               {func(_ driver.Env, d *detail) { d.primary = "" }, "DM-043"},
		"no watcher runs on a node":         {func(_ driver.Env, d *detail) { d.nodes["db2"].Watcher = false }, "DM-043"},
		"a standby has the primary's magic": {func(_ driver.Env, d *detail) { d.nodes["db2"].Magic = d.nodes["db1"].Magic }, "DM-024"},
		"the page format is the old one":    {func(_ driver.Env, d *detail) { d.nodes["db2"].Instance.DBVer = 0x7000b }, "DM-075"},
		"ALTER_MODE_STATUS is still 1":      {func(_ driver.Env, d *detail) { d.nodes["db2"].AMS = "1" }, "DM-041"},
		"an archive is INVALID": {func(env driver.Env, d *detail) {
			drivertest.Hear(env, "db1", "disql", func(s string) string { return strings.ReplaceAll(s, " VALID", " INVALID") })
			d.site, _ = newSite(env)
		}, "DM-063"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, d, _ := watch(t, lab.Options{Topology: "dw", Release: "8.1.1.171"})
			p := &plan.Plan{From: "8.1.1.101", To: "8.1.1.171"}
			if fs := d.verifyGroup(t.Context(), p); len(fs) > 0 {
				t.Fatalf("a cluster that is well is not: %+v", fs)
			}
			tc.bend(env, d)
			fs := d.verifyGroup(t.Context(), p)
			for _, f := range fs {
				if f.Rule == tc.rule && f.Severity == check.Block {
					return
				}
			}
			t.Errorf("nothing by %s: %+v", tc.rule, fs)
		})
	}
}

// TestVerifyWantsStandbysToReplay: archives that are VALID do not prove it (DM-063).
func TestVerifyWantsStandbysToReplay(t *testing.T) {
	t.Parallel()
	l, err := lab.New(lab.Options{Topology: "dw", Release: "8.1.1.171"})
	if err != nil {
		t.Fatal(err)
	}
	env := driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: l.World, Serial: true,
		Secret: func(string, string) (string, error) { return lab.DefaultPassword, nil }}
	l.Lag("m2", true)
	l.Write()
	o, err := Driver{}.Observe(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	fs := o.Detail.(*detail).verifyGroup(t.Context(), &plan.Plan{From: "8.1.1.101", To: "8.1.1.171"})
	for _, f := range fs {
		if f.Rule == "DM-063" && f.Severity == check.Block && strings.Contains(f.Says.EN, "does not replay") && f.Says.ZH != f.Says.EN {
			return
		}
	}
	t.Errorf("not told: %+v", fs)
}

// TestStepsRefuse asks steps to go on where they must not.
func TestStepsRefuse(t *testing.T) {
	t.Parallel()
	step := func(t *testing.T, env driver.Env, node, kind string, args map[string]string) driver.Target {
		t.Helper()
		if _, ok := deeds[kind]; !ok {
			t.Fatalf("no step %s", kind)
		}
		return driver.Target{Env: env, Plan: &plan.Plan{}, Step: plan.Step{ID: node + "/" + kind, Kind: kind, Node: node, Args: args}}
	}
	t.Run("the primary does not open while a standby is in MOUNT (DM-032)", func(t *testing.T) {
		t.Parallel()
		env, _, _ := watch(t, oldWatch)
		drivertest.Hear(env, "db2", "disql", func(s string) string { return strings.ReplaceAll(s, "OPEN", "MOUNT") })
		k, err := newTask(step(t, env, "db1", "open-primary", map[string]string{"primary": "db1", "epochs": "E1"}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.openTargets(t.Context())
		drivertest.Refuses(t, err, "DM-032")
	})
	t.Run("a server that does not let SQL open it (DM-030)", func(t *testing.T) {
		t.Parallel()
		env, _, _ := watch(t, oldWatch)
		drivertest.Hear(env, "db2", "disql", func(s string) string { return strings.ReplaceAll(s, "OPEN", "MOUNT") })
		k, err := newTask(step(t, env, "db2", "open-standby", map[string]string{"primary": "db1", "epochs": "E1"}))
		if err != nil {
			t.Fatal(err)
		}
		drivertest.Refuses(t, openStandby(t.Context(), k), "DM-030")
	})
	t.Run("a restored library that is no standby when it was told to be one (I3)", func(t *testing.T) {
		t.Parallel()
		env, _, _ := watch(t, oldWatch)
		for _, order := range []string{"stop DmWatcherServiceGRP1_RT_02", "stop DmServiceGRP1_RT_02", "start DmServiceGRP1_RT_02"} {
			if _, err := env.Hosts["db2"].Run(t.Context(), host.Change(append([]string{"systemctl"}, strings.Fields(order)...)...)); err != nil {
				t.Fatal(err)
			}
		}
		if err := env.Clock.Sleep(t.Context(), 10*time.Second); err != nil { // until it answers
			t.Fatal(err)
		}
		drivertest.Hear(env, "db2", "disql", func(s string) string { return strings.ReplaceAll(s, "STANDBY", "PRIMARY") })
		k, err := newTask(step(t, env, "db2", "adopt-standby", map[string]string{"primary": "db1", "to": "8.1.1.15"}))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range k.s.nodes {
			n.set["watcher_service"], n.set["monitor_service"] = "", ""
		}
		drivertest.Refuses(t, adoptDo(t.Context(), k), "still no STANDBY")
	})
	t.Run("the disks of DCR are not named (DM-090)", func(t *testing.T) {
		t.Parallel()
		env, _, _ := watch(t, lab.Options{Topology: "dsc", Release: "8.1.3.100"})
		k, err := newTask(step(t, env, "db1", "init-dcr", map[string]string{"primary": "m1"}))
		if err != nil {
			t.Fatal(err)
		}
		k.n.set["dcr_disk"] = ""
		drivertest.Refuses(t, dcrDo(t.Context(), k), "dcr_disk")
	})
	t.Run("a password that would end dmasmcmd's word (DM-091)", func(t *testing.T) {
		t.Parallel()
		env, _, _ := watch(t, lab.Options{Topology: "dsc", Release: "8.1.3.100"})
		env.Secret = func(string, string) (string, error) { return "a'b", nil }
		drivertest.HearNothing(env, "", "dmasmcmd")
		k, err := newTask(step(t, env, "db1", "init-dcr", map[string]string{"primary": "m1", "from": "8.1.3.100", "to": "8.1.3.162"}))
		if err != nil {
			t.Fatal(err)
		}
		drivertest.Refuses(t, dcrDo(t.Context(), k), "no password that dmasmcmd can be given")
	})
	t.Run("a restored standby with the primary's DB_MAGIC (DM-024)", func(t *testing.T) {
		t.Parallel()
		l, err := lab.New(oldWatch)
		if err != nil {
			t.Fatal(err)
		}
		l.EqualMagic("m2")
		env := driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: l.World, Serial: true,
			Secret: func(string, string) (string, error) { return lab.DefaultPassword, nil }}
		k, err := newTask(step(t, env, "db2", "adopt-standby", map[string]string{"primary": "db1", "to": "8.1.1.15"}))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range k.s.nodes {
			n.set["watcher_service"], n.set["monitor_service"] = "", ""
		}
		drivertest.Refuses(t, adoptDo(t.Context(), k), "DM-024")
	})
	t.Run("a helper that ends by itself (DM-044)", func(t *testing.T) {
		t.Parallel()
		_, d, _ := watch(t, oldWatch)
		drivertest.Refuses(t, d.site.node("db2").staysUp(t.Context(), "dmnothing", "DmNothingService"), "DM-044")
	})
}

// TestTwoPrimariesEndTheWait: nobody waits on while two libraries take writes (I3).
func TestTwoPrimariesEndTheWait(t *testing.T) {
	t.Parallel()
	env, _, _ := watch(t, oldWatch)
	drivertest.Hear(env, "db2", "disql", func(s string) string { return strings.ReplaceAll(s, "STANDBY", "PRIMARY") })
	s, err := newSite(env)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.lookOpen(t.Context(), true)
	drivertest.Refuses(t, err, "(I3)")
}

// TestWithoutDataWatchNobodyOpensIt: a single database that is not OPEN is left to a person (DM-060, DM-070).
func TestWithoutDataWatchNobodyOpensIt(t *testing.T) {
	t.Parallel()
	env, d, _ := watch(t, lab.Options{Topology: "single", Release: "8.1.1.101"})
	k, err := newTask(driver.Target{Env: env, Plan: &plan.Plan{}, Step: plan.Step{ID: "x", Node: d.site.nodes[0].name, Args: map[string]string{"primary": d.primary}}})
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Refuses(t, k.openOnceMore(t.Context(), "x"), "DM-060")
}

// TestWordsOfTheServer: a refusal of the server is told by its rule.
func TestWordsOfTheServer(t *testing.T) {
	t.Parallel()
	_, d, _ := watch(t, oldWatch)
	said := &host.ExitError{Node: "db2", Code: 1, Stdout: []byte(refusedStart + ",please startup with origin dmserver and shutdown again\n")}
	drivertest.Refuses(t, d.site.node("db2").startFailed(t.Context(), "DmServiceX", said), "DM-002")
}

// TestPathsRefuseByState: what is known of the last exit forbids a hop that changes a format.
func TestPathsRefuseByState(t *testing.T) {
	t.Parallel()
	ask := func(r PathRequest) release.Answer {
		t.Helper()
		a, err := Path(r)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := ask(PathRequest{From: release.V(8, 1, 1, 14), To: release.V(8, 1, 1, 15), Topology: DW, Facts: map[string]string{"exit": "unclean"}}); a.Verdict != release.Refuse || a.Rule != "DM-002" {
		t.Errorf("an unclean exit: %+v", a)
	}
	for rule, r := range map[string]PathRequest{
		"DM-025": {From: release.V(8, 1, 1, 14), To: release.V(8, 1, 1, 15), Topology: DW, Facts: map[string]string{"async": "yes"}},
		"DM-093": {From: release.V(8, 1, 4, 20), To: release.V(8, 1, 4, 170), Topology: DSC, Rolling: true},
		"DM-004": {From: release.V(7, 1, 5, 100), To: release.V(8, 1, 1, 15), Topology: Single},
	} {
		a := ask(r)
		told := false
		for _, h := range a.Hops {
			for _, n := range h.Notes {
				told = told || n.Rule == rule && !strings.Contains(n.Says.EN, "cannot be undone") // a loss is told by the same rule
			}
		}
		if !told {
			t.Errorf("%s is not told: %+v", rule, a)
		}
	}
}

// TestWhatWasProvenIsProvenAgain: a step that only reads is never taken for done behind a crash (I2).
func TestWhatWasProvenIsProvenAgain(t *testing.T) {
	t.Parallel()
	env, _, o := watch(t, oldWatch)
	packages, err := lab.WritePackages(t.TempDir(), "8.1.1.15")
	if err != nil {
		t.Fatal(err)
	}
	p, err := driver.Make(Driver{}, env.Inventory, o, plan.Request{To: "8.1.1.15", Mode: "inplace", Packages: packages}, "test")
	if err != nil {
		t.Fatal(err)
	}
	drivertest.ProvenAgain(t, Driver{}, env, p)
}

// TestVerifyComparesEveryNode: releases, health and role (I3, I6, I7).
func TestVerifyComparesEveryNode(t *testing.T) {
	t.Parallel()
	p := &plan.Plan{To: "8.1.1.15", Before: map[string]plan.NodeState{"db2": {Role: "standby", Health: healthOpen}}}
	well := driver.Node{Name: "db2", Reachable: true, Role: "standby", Running: "8.1.1.15", Installed: "8.1.1.15", Health: healthOpen}
	if fs := verifyNode(well, p); len(fs) > 0 {
		t.Fatalf("a node that is well is not: %+v", fs)
	}
	for says, bend := range map[string]func(*driver.Node){
		"it cannot be read":              func(n *driver.Node) { *n = driver.Node{Name: "db2", Trouble: "no answer"} },
		"it runs 8.1.1.14":               func(n *driver.Node) { n.Running = "8.1.1.14" },
		"its software is 8.1.1.14":       func(n *driver.Node) { n.Installed = "8.1.1.14" },
		"before the upgrade it was open": func(n *driver.Node) { n.Health = healthMount },
		"its role is primary":            func(n *driver.Node) { n.Role = "primary" },
	} {
		n := well
		bend(&n)
		fs := verifyNode(n, p)
		if len(fs) != 1 || !strings.Contains(fs[0].Says.EN, says) {
			t.Errorf("%s: %+v", says, fs)
		}
	}
}

// TestProofsRefuse: what proves something says no when it does not hold.
func TestProofsRefuse(t *testing.T) {
	t.Parallel()
	env, d, _ := watch(t, oldWatch)
	n := d.site.nodes[1]
	drivertest.Refuses(t, n.answers(t.Context(), release.V(8, 1, 1, 15), "", nil), "was expected")
	proof, _ := Driver{}.Action("prove-exit")
	target := driver.Target{Env: env, Plan: &plan.Plan{}, Step: plan.Step{ID: "x", Node: n.name, Args: map[string]string{"primary": d.primary}}}
	drivertest.Refuses(t, proof.Do(t.Context(), target), "dmserver runs")
	drivertest.Hear(env, d.site.nodes[0].name, "disql", func(s string) string { return strings.ReplaceAll(s, " VALID", " INVALID") })
	s, err := newSite(env)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := s.lookOpen(t.Context(), true); err == nil && l.Done {
		t.Error("all is said to be open with archives that are not VALID (DM-063, DM-073)")
	}
}

// TestAStandbyThatWasNotUpgradedIsRestored: one whose open history never comes,
// or that dies when it is asked for it, is told to be restored (DM-037, DM-038);
// the run goes on.
func TestAStandbyThatWasNotUpgradedIsRestored(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		kill   bool
		why    string
	}{
		"its open history never comes":   {answer: "[-2106]:无效的表或视图名\n", why: "DM-037"},
		"it dies when it is asked":       {answer: "[-70019]:网络通信异常\n", kill: true, why: "DM-038"},
		"only the link to it was broken": {answer: "[-70019]:网络通信异常\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := lab.New(lab.Options{Topology: "dw", Release: "8.1.1.15"})
			if err != nil {
				t.Fatal(err)
			}
			env := driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: l.World, Serial: true,
				Secret: func(string, string) (string, error) { return lab.DefaultPassword, nil }}
			if _, err := env.Hosts["db2"].Run(t.Context(), host.Change("systemctl", "stop", "DmWatcherServiceGRP1_RT_02")); err != nil {
				t.Fatal(err)
			}
			drivertest.Hear(env, "db2", "disql", func(s string) string {
				if !strings.Contains(s, "PRIMARY_INST_NAME") { // a column of SYSOPENHISTORY
					return s
				}
				if tc.kill {
					l.Kill("db2")
				}
				return tc.answer
			})
			k, err := newTask(driver.Target{Env: env, Plan: &plan.Plan{}, Step: plan.Step{ID: "db2/prove-standby", Node: "db2",
				Args: map[string]string{"primary": "db1", "epochs": "E1", "from": "8.1.1.14", "to": "8.1.1.15"}}})
			if err != nil {
				t.Fatal(err)
			}
			why, err := k.proveUpgraded(t.Context())
			if tc.why == "" {
				drivertest.Refuses(t, err, "-70019")
				return
			}
			if err != nil || !strings.Contains(why.EN, tc.why) {
				t.Errorf("why %q, error %v; %s was expected", why.EN, err, tc.why)
			}
		})
	}
}
