package opengauss

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
)

// guarded is a cluster with the package of another release; hear comes before
// it is observed, bend after.
type guarded struct {
	lab  gauss.Options
	to   string
	hear func(driver.Env, *gauss.Lab)
	bend func(*view, *plan.Request)
}

func (g guarded) open(t *testing.T) (driver.Env, driver.Observation, plan.Request) {
	t.Helper()
	if g.lab.Release == "" {
		g.lab.Release = "5.0.0"
	}
	if g.to == "" {
		g.to = "5.0.3"
	}
	w := sim.New(1)
	l, err := gauss.New(w, g.lab)
	if err != nil {
		t.Fatal(err)
	}
	p, err := gauss.PackageOf(gauss.OpenGauss, g.to)
	if err != nil {
		t.Fatal(err)
	}
	files, err := p.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	env := driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: w, Serial: true}
	r := plan.Request{To: g.to, Mode: "rolling", Packages: files}
	if g.lab.CM {
		r.Component, r.Mode, r.Packages = componentCM, "", files[1:]
	}
	if g.hear != nil {
		g.hear(env, l)
	}
	o, err := New().Observe(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	if g.bend != nil {
		g.bend(o.Detail.(*view), &r)
	}
	return env, o, r
}

func hears(node, part string, edit func(string) string) func(driver.Env, *gauss.Lab) {
	return func(env driver.Env, _ *gauss.Lab) { drivertest.Hear(env, node, part, edit) }
}

func always(text string) func(string) string { return func(string) string { return text } }

// TestChecksNotice bends one thing of what was seen or is heard: the check of that id tells it.
func TestChecksNotice(t *testing.T) {
	t.Parallel()
	bends := func(bend func(*view)) guarded {
		return guarded{bend: func(v *view, _ *plan.Request) { bend(v) }}
	}
	cm := gauss.Options{CM: true}
	for name, tc := range map[string]struct {
		g    guarded
		id   string
		sev  check.Severity
		says string
	}{
		"the login is root":                  {bends(func(v *view) { v.Nodes[1].Env.User = "root" }), "nodes", check.Block, "the login is root"},
		"the server refuses the login":       {bends(func(v *view) { v.Nodes[1].SQLErr = errors.New("no") }), "nodes", check.Block, "refuses the cluster user"},
		"a node answers and is not read":     {bends(func(v *view) { v.Nodes[1].Trouble = errors.New("no") }), "nodes", check.Block, "GAUSS-51400"},
		"the software is no link":            {bends(func(v *view) { v.Nodes[1].Trouble, v.Nodes[1].NoLink = errors.New("no"), true }), "nodes", check.Block, "GAUSS-52915"},
		"a node does not reach another":      {guarded{hear: hears("node1", "gs_ssh", func(s string) string { return strings.ReplaceAll(s, "SUCCESS", "FAILURE") })}, "trust", check.Block, "does not reach"},
		"the catalogue scripts are left out": {guarded{bend: func(_ *view, r *plan.Request) { r.Packages = nil }}, "package", check.Block, "no package was named"},
		"no cluster file is named": {guarded{bend: func(_ *view, _ *plan.Request) {}, hear: func(env driver.Env, _ *gauss.Lab) {
			delete(env.Inventory.Settings, "xml")
			for i := range env.Inventory.Nodes {
				delete(env.Inventory.Nodes[i].Settings, "xml")
			}
		}}, "deployment", check.Warn, "no cluster file is named"},
		"nobody tells the cluster's state": {bends(func(v *view) { v.Cluster = nil }), "cluster-state", check.Block, "neither gs_om nor cm_ctl"},
		"the cluster is Degraded":          {bends(func(v *view) { v.Cluster.State = "Degraded" }), "cluster-state", check.Block, "the cluster is Degraded"},
		"the cluster redistributes":        {bends(func(v *view) { v.Cluster.Redistributing = true }), "cluster-state", check.Block, "redistributing"},
		"an instance is not Normal":        {bends(func(v *view) { v.Nodes[2].HA.State = "Need repair" }), "cluster-state", check.Block, "its instance is Need repair"},
		"cluster managers differ":          {guarded{lab: cm, bend: func(v *view, _ *plan.Request) { v.Nodes[1].CM.Release = "3.0.0" }}, "cm-versions", check.Warn, "its cluster manager is"},
		"the primary is not well":          {bends(func(v *view) { v.primaries()[0].HA.State = "Need repair" }), "one-primary", check.Block, "the primary is Need repair"},
		"a standby does not stream":        {bends(func(v *view) { v.Nodes[2].HA.Receiver = nil }), "caught-up", check.Block, "does not stream"},
		"a standby never catches up":       {bends(func(v *view) { v.Nodes[2].HA.Receiver.SenderFlush = 1 << 50 }), "caught-up", check.Block, "has not caught up"},
		"nodes are being added": {guarded{hear: func(env driver.Env, _ *gauss.Lab) {
			drivertest.HearExit(env, "node1", "pgrep", 0)
			drivertest.Hear(env, "node1", "pgrep", always("4711\n"))
		}}, "expansion", check.Block, "gs_expansion is running"},
		"MOT tables":                    {guarded{lab: gauss.Options{Release: "2.0.1"}, to: "3.0.0", hear: func(_ driver.Env, l *gauss.Lab) { l.Holds(3, 0) }}, "mot", check.Block, "MOT tables"},
		"functions in Java":             {guarded{hear: func(_ driver.Env, l *gauss.Lab) { l.Holds(0, 2) }}, "java", check.Warn, "written in Java"},
		"dolphin":                       {guarded{hear: hears("", "pg_extension", always("dolphin\n"))}, "extensions", check.Warn, "dolphin"},
		"much is read":                  {guarded{hear: hears("", "state='active'", always(strings.Repeat("select 1\n", 201)))}, "load", check.Block, "201"},
		"snapshots are taken":           {bends(func(v *view) { v.primaries()[0].Settings["enable_wdr_snapshot"] = "on" }), "snapshots", check.Warn, ""},
		"what runs is not installed":    {bends(func(v *view) { v.Nodes[1].Running.Commit = "00000000" }), "installation", check.Block, "was not restarted"},
		"nodes have different software": {bends(func(v *view) { v.Nodes[1].Installed.Commit = "00000000" }), "installation", check.Block, "other nodes have commit"},
		"a tablespace is not writable":  {guarded{hear: func(env driver.Env, _ *gauss.Lab) { drivertest.HearExit(env, "node2", "test -w", 1) }}, "data-directory", check.Block, "not writable"},
		"gs_checkos finds something": {guarded{hear: func(env driver.Env, _ *gauss.Lab) {
			drivertest.HearExit(env, "node2", "gs_checkos", 0)
			drivertest.Hear(env, "node2", "gs_checkos", always("Checking items:\n    A1. [ OS version status ]                                   : Abnormal\nTotal numbers:1. Abnormal numbers:1. Warning numbers:0.\n"))
		}}, "os-check", check.Block, "Abnormal"},
		"there is no backup": {guarded{hear: func(env driver.Env, _ *gauss.Lab) { env.Inventory.Nodes[0].Settings["backup"] = "/none" }}, "backup", check.Block, "there is no backup"},
		"the backup is old": {guarded{hear: func(env driver.Env, _ *gauss.Lab) { env.Inventory.Nodes[0].Settings["backup"] = "/opt" },
			bend: func(_ *view, r *plan.Request) { r.MaxBackupAge = plan.Duration(time.Nanosecond) }}, "backup", check.Block, "older than"},
		"a node has no cluster manager":  {guarded{lab: cm, bend: func(v *view, _ *plan.Request) { v.Nodes[1].CMDir = "" }}, "cm-installed", check.Block, "no cluster manager"},
		"two packages for one component": {guarded{lab: cm, bend: func(_ *view, r *plan.Request) { r.Packages = append(r.Packages, r.Packages...) }}, "cm-package", check.Block, "one package of the cluster manager"},
		"nothing is left to do": {guarded{lab: cm, to: "5.0.3", bend: func(v *view, _ *plan.Request) {
			for _, n := range v.Nodes {
				n.CM.Release = "5.0.3"
			}
		}}, "cm-package", check.Block, "everywhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, o, r := tc.g.open(t)
			fs := check.Run(t.Context(), New().Checks(env, o, r), nil)
			for _, f := range fs {
				if f.ID == tc.id && f.Severity == tc.sev && strings.Contains(f.Rule+" "+f.Says.EN, tc.says) {
					return
				}
			}
			for _, f := range fs {
				if f.ID == tc.id {
					t.Errorf("%s says %s %s %s", f.ID, f.Severity, f.Rule, f.Says.EN)
				}
			}
		})
	}
}

// TestComponentsAreRefused bends a request for the cluster manager alone.
func TestComponentsAreRefused(t *testing.T) {
	t.Parallel()
	for says, bend := range map[string]func(*view, *plan.Request){
		"the cluster has no cluster manager": func(v *view, _ *plan.Request) {
			for _, n := range v.Nodes {
				n.HasCM = false
			}
		},
		"one package of the cluster manager":    func(_ *view, r *plan.Request) { r.Packages = nil },
		"mean nothing for a component":          func(_ *view, r *plan.Request) { r.KeepOld = true },
		"the package holds":                     func(_ *view, r *plan.Request) { r.To = "9.9.9" },
		"the cluster manager cannot be read":    func(v *view, _ *plan.Request) { v.Nodes[1].CMDir = "" },
		"an upgrade is open":                    func(v *view, _ *plan.Request) { v.Nodes[1].Open = []string{"x"} },
		"none of the nodes is in the inventory": func(_ *view, r *plan.Request) { r.Nodes = []string{"else"} },
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			_, o, r := guarded{lab: gauss.Options{CM: true}, bend: bend}.open(t)
			_, err := settleCM(o.Detail.(*view), r)
			drivertest.Refuses(t, err, says)
		})
	}
}

// TestVerifyNotices bends what is read again behind an upgrade (I3, I6, I7).
func TestVerifyNotices(t *testing.T) {
	t.Parallel()
	for id, bend := range map[string]func(*view){
		"verify-reachable": func(v *view) { v.Nodes[1].Trouble = errors.New("no") },
		"verify-server":    func(v *view) { v.Nodes[1].SQL = false },
		"verify-release":   func(v *view) { v.Nodes[1].Running.Commit = "00000000" },
		"verify-number":    func(v *view) { v.Nodes[1].Working = 1 },
		"verify-health":    func(v *view) { v.Nodes[1].HA.State = "Need repair" },
		"verify-primary":   func(v *view) { v.Nodes[1].HA.Role = gaussdb.RolePrimary },
		"verify-streams":   func(v *view) { v.primaries()[0].HA.Senders = nil },
		"frozen-settings":  func(v *view) { v.Nodes[1].Settings["max_connections"] = "1" },
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			_, o, _ := guarded{}.open(t)
			v := o.Detail.(*view)
			p := &plan.Plan{Before: map[string]plan.NodeState{}, Facts: o.Facts,
				Steps: []plan.Step{{ID: "x", Args: map[string]string{"commit": v.Nodes[0].Installed.Commit}}}}
			for _, n := range v.Nodes {
				p.Before[n.Name] = plan.NodeState{Health: n.health()}
			}
			if bad := check.Blocking(v.prove(p)); len(bad) > 0 {
				t.Fatalf("a cluster that is well is not: %+v", bad)
			}
			bend(v)
			for _, f := range check.Blocking(v.prove(p)) {
				if f.ID == id {
					return
				}
			}
			t.Errorf("not told: %+v", v.prove(p))
		})
	}
}

// TestVerifyReadsWhatItWrote: a row that a standby does not show is told (I6).
func TestVerifyReadsWhatItWrote(t *testing.T) {
	t.Parallel()
	env, o, _ := guarded{hear: hears("node3", probeTable, always(""))}.open(t)
	for _, f := range check.Blocking(o.Detail.(*view).proveSQL(t.Context(), env)) {
		if f.ID == "verify-write" && f.Node == "node3" {
			return
		}
	}
	t.Error("it is not told")
}

// TestPlansAreRefused: what this driver does not do, and a package without the
// cluster manager for a cluster that has one.
func TestPlansAreRefused(t *testing.T) {
	t.Parallel()
	_, o, r := guarded{lab: gauss.Options{CM: true}}.open(t)
	v := o.Detail.(*view)
	p, err := gauss.PackageOf(gauss.OpenGauss, "5.0.3")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, body := range p.Files {
		if name == p.Name || strings.Contains(name, "-cm") || strings.Contains(name, "CM") {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.Component, r.Mode, r.Packages = "", "rolling", PackagesIn(dir)
	_, err = newBuilder(v, r)
	drivertest.Refuses(t, err, "the package holds none")
	r.SwitchBack = true
	_, err = newBuilder(v, r)
	drivertest.Refuses(t, err, "--switch-back is not supported")
}

// TestPackagesAreLookedInto: what a package lacks is told before anything else.
func TestPackagesAreLookedInto(t *testing.T) {
	t.Parallel()
	env, o, r := guarded{lab: gauss.Options{CM: true}}.open(t)
	a := &asker{env: env, v: o.Detail.(*view), r: r, pkg: func() (*gaussdb.Package, error) { return &gaussdb.Package{}, nil }}
	fs, err := a.packages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := map[check.Severity]bool{}
	for _, f := range fs {
		if f.Rule == "GAUSS-50201" {
			told[f.Severity] = true
		}
	}
	if !told[check.Warn] || !told[check.Block] {
		t.Errorf("a package without SQL and without the cluster manager: %+v", fs)
	}
	a.r.Packages = nil
	if fs, err = a.packages(t.Context()); err != nil || len(fs) != 1 || !strings.Contains(fs[0].Says.EN, "no package was named") {
		t.Errorf("%+v, %v", fs, err)
	}
}

// TestWaitsEnd: a step waits for its effect, and says in the end for what (I9).
func TestWaitsEnd(t *testing.T) {
	t.Parallel()
	env, o, r := guarded{lab: gauss.Options{CM: true}}.open(t)
	target := driver.Target{Env: env, Plan: &plan.Plan{Facts: o.Facts, Request: r},
		Step: plan.Step{ID: "node2/x", Node: "node2", Args: map[string]string{"new-number": "1.001", "commit": "00000000"}}}
	rm, s, err := hereOf(target)
	if err != nil {
		t.Fatal(err)
	}
	procs, err := s.cmProcs(t.Context())
	if err != nil || len(procs) == 0 {
		t.Fatalf("%v, %v", procs, err)
	}
	for says, wait := range map[string]func() error{
		"uses upgrade_mode = 7":      func() error { return rm.proveShown(t.Context(), s, "upgrade_mode", "7", "0") },
		"works as 1.001":             func() error { return rm.proveOwnNumber(t.Context(), s) },
		"runs again on node2":        func() error { return rm.cmRenewed(t.Context(), s, procs[0].name, procs) },
		"at least as well as before": func() error { return rm.proveCM(t.Context(), s, cmMemo{State: "Normal", Servers: 99}) },
	} {
		drivertest.Refuses(t, wait(), says)
	}
}

// TestAPackageThatUnpacksToAnotherCommit is met before it is named (GAUSS-52935).
func TestAPackageThatUnpacksToAnotherCommit(t *testing.T) {
	t.Parallel()
	env, o, r := guarded{hear: func(env driver.Env, _ *gauss.Lab) {
		drivertest.HearExit(env, "node2", "version.cfg", 0)
		drivertest.Hear(env, "node2", "version.cfg", always("openGauss-5.0.3\n92.848\n00000000\n"))
	}}.open(t)
	target := driver.Target{Env: env, Plan: &plan.Plan{Facts: o.Facts, Request: r},
		Step: plan.Step{ID: "node2/x", Node: "node2", Args: map[string]string{"commit": "00000000"}}}
	rm, s, err := hereOf(target)
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Refuses(t, rm.nameRelease(t.Context(), s, o.Detail.(*view).Nodes[1].App), "GAUSS-52935")
}

// TestTheStrategyIsRefused: one old release, the same everywhere, and a package
// that leads forward (spec/opengauss.md section 4.2).
func TestTheStrategyIsRefused(t *testing.T) {
	t.Parallel()
	for says, bend := range map[string]func(*view, *gaussdb.Package){
		"is not a symbolic link":         func(v *view, _ *gaussdb.Package) { v.Nodes[1].NoLink = true },
		"cannot be read":                 func(v *view, _ *gaussdb.Package) { v.Nodes[1].Up = false },
		"upgrade_version cannot be read": func(v *view, _ *gaussdb.Package) { v.Nodes[1].SoftErr = errors.New("no") },
		"the binaries are of":            func(v *view, _ *gaussdb.Package) { v.Nodes[1].Installed.Commit = "00000000" },
		"different releases installed": func(v *view, _ *gaussdb.Package) {
			v.Nodes[1].Installed.Commit, v.Nodes[1].Software.Commit = "00000000", "00000000"
		},
		"is lower than the installed one": func(_ *view, p *gaussdb.Package) { p.Software.Kernel = 1 },
		"has no upgrade_sql.tar.gz":       func(v *view, p *gaussdb.Package) { p.Software.Kernel, p.HasSQL = v.Nodes[0].Software.Kernel+1, false },
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			_, o, r := guarded{}.open(t)
			pkg, err := gaussdb.ReadPackage(r.Packages)
			if err != nil {
				t.Fatal(err)
			}
			v := o.Detail.(*view)
			if _, err := decide(v, pkg, r); err != nil {
				t.Fatalf("a way that is there is refused: %v", err)
			}
			bend(v, pkg)
			_, err = decide(v, pkg, r)
			drivertest.Refuses(t, err, says)
		})
	}
}
