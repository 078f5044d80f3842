package mogdb_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/mogdb"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
)

func swap(old, now string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, old, now) }
}

func always(text string) func(string) string { return func(string) string { return text } }

// receiver is what gs_ctl query tells of the log that a standby receives.
var receiver = regexp.MustCompile(`(?s)Receiver info:.*`)

func noReceiver(s string) string {
	return receiver.ReplaceAllString(s, "Receiver info:\nNo information\n")
}

// behind is a standby that has replayed nothing yet.
func behind(s string) string {
	return regexp.MustCompile(`(receiver_replay_location *: )\S+`).ReplaceAllString(s, "${1}0/1")
}

// TestChecksNotice gives each check one answer that it must not let pass.
func TestChecksNotice(t *testing.T) {
	t.Parallel()
	hears := func(node, part string, edit func(string) string) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { drivertest.Hear(w.Env, node, part, edit) }
	}
	for name, tc := range map[string]struct {
		lab  gauss.Options
		r    plan.Request
		bend func(*testing.T, *world)
		id   string
		rule string
		sev  check.Severity
	}{
		"a node does not answer": {om3, rollingR, func(_ *testing.T, w *world) {
			w.Sim.With(func() { w.Sim.Machine("node3").PowerOff() })
		}, "reachable", "M02", check.Block},
		"the software is another product's":                             {om2, rollingR, hears("node2", "bin/gsql -V", swap("MogDB", "openGauss")), "release", "M01", check.Block},
		"what runs is not what is installed":                            {om2, rollingR, hears("node2", "bin/gsql -V", swap("2.0.1", "2.0.2")), "release", "M01", check.Block},
		"the new files lie under a server that still runs the old ones": {om2, rollingR, hears("node2", "bin/gsql -V", swap("2.0.1", "2.0.3")), "release", "M01", check.Block},
		"upgrade_version is another release's": {om2, rollingR, func(_ *testing.T, w *world) {
			w.Sim.With(func() {
				w.Sim.Machine("node2").Write(w.app("node2")+"/bin/upgrade_version", "2.0.0\n92.299\n0b99ada0\n", 0o600, "omm")
			})
		}, "recorded-release", "M27", check.Block},
		"the static config is missing on one node": {om2, rollingR, func(t *testing.T, w *world) {
			w.hand(t, "node2", "rm", w.app("node2")+"/bin/cluster_static_config")
		}, "recorded-release", "M07", check.Block},
		"a standby is far behind":    {om3, rollingR, hears("node3", "gs_ctl query", behind), "healthy", "M02", check.Block},
		"a standby receives nothing": {om3, rollingR, hears("node3", "gs_ctl query", noReceiver), "healthy", "M02", check.Block},
		"gs_om says Degraded": {om3, rollingR, hears("", "gs_om -t status", func(s string) string {
			return regexp.MustCompile(`cluster_state( *): Normal`).ReplaceAllString(s, "cluster_state$1: Degraded")
		}), "healthy", "M02", check.Block},
		"nobody is the primary":     {hand2, rollingR, hears("node1", "gs_ctl query", swap(": Primary", ": Pending")), "healthy", "M02", check.Block},
		"MogHA runs without a unit": {ha2, rollingR, hears("node2", "systemctl show", always("LoadState=not-found\nActiveState=inactive\n")), "mogha", "M03", check.Block},
		"sudo asks for a password": {ha2, rollingR, func(_ *testing.T, w *world) {
			drivertest.HearExit(w.Env, "node2", "sudo -n true", 1)
		}, "mogha", "M03", check.Block},
		"a unit of systemd starts the database": {om2, rollingR, func(_ *testing.T, w *world) {
			drivertest.HearExit(w.Env, "node2", "systemctl is-active mogdb", 0)
		}, "supervisors", "M04", check.Block},
		"a crontab looks after the database": {om2, rollingR, func(_ *testing.T, w *world) {
			drivertest.HearExit(w.Env, "node2", "crontab -l", 0)
			drivertest.Hear(w.Env, "node2", "crontab -l", always("* * * * * gs_ctl start -D /opt/mogdb/data\n"))
		}, "supervisors", "M04", check.Block},
		"the data directory is root's": {om2, rollingR, func(t *testing.T, w *world) {
			w.hand(t, "node2", "sudo", "chown", "root", w.lab.Options.Data())
		}, "owner", "M09", check.Block},
		"LD_LIBRARY_PATH leads elsewhere": {hand2, rollingR, hears("node2", " env", func(s string) string {
			return regexp.MustCompile(`(?m)^LD_LIBRARY_PATH=.*$`).ReplaceAllString(s, "LD_LIBRARY_PATH=/usr/lib")
		}), "environment", "M28", check.Block},
		"the server runs from another copy":       {hand2, rollingR, hears("node2", "/exe", always("/opt/mogdb/other/bin/mogdb\n")), "environment", "M28", check.Block},
		"PATH leads to another gs_ctl":            {hand2, rollingR, hears("node2", "which gs_ctl", always("/usr/bin/true\n")), "environment", "M28", check.Block},
		"a setting differs between the nodes":     {om2, rollingR, hears("node2", "show max_connections", swap("200", "100")), "settings", "M24", check.Block},
		"the package is of another machine":       {om2, rollingR, hears("node2", "uname -m", always("aarch64\n")), "package", "M25", check.Block},
		"the site's program is not there":         {om2, plan.Request{Mode: "rolling", Options: map[string]string{"switch-hook": "/opt/none"}}, nil, "switch-hook", "", check.Block},
		"the defect is not met without archiving": {om2, rollingR, nil, "leak", "M20", check.Warn},
		"the defect is met with archiving":        {gauss.Options{Nodes: 2, Install: "manual", Archive: true}, rollingR, nil, "leak", "", check.Pass},
		"MogHA will be held":                      {ha2, rollingR, nil, "mogha", "", check.Pass},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, tc.lab, tc.r, nil)
			if tc.bend != nil {
				tc.bend(t, w)
			}
			fs := w.findings(t)
			for _, f := range fs {
				if f.ID == tc.id && f.Rule == tc.rule && f.Severity == tc.sev {
					return
				}
			}
			t.Errorf("check %s says nothing by %q: %+v", tc.id, tc.rule, fs)
		})
	}
}

// TestAServerThatRunsOtherFilesIsToBeRestarted: the advice is not to wait for
// another package (M01).
func TestAServerThatRunsOtherFilesIsToBeRestarted(t *testing.T) {
	t.Parallel()
	w := open(t, om2, rollingR, nil)
	drivertest.Hear(w.Env, "node2", "bin/gsql -V", swap("2.0.1", "2.0.2"))
	o, err := w.Driver.Observe(t.Context(), w.Env)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range check.Run(t.Context(), w.Driver.Checks(w.Env, o, w.Request), nil) {
		if f.ID == "release" && f.Node == "node2" && strings.Contains(f.Says.EN, `"2.0.1" runs and "2.0.2" is installed`) && strings.Contains(f.Next.EN, "restart the node") {
			return
		}
	}
	t.Error("not told")
}

// TestVerifyHears gives Verify, behind a good upgrade, one answer at a time
// that it must not let pass.
func TestVerifyHears(t *testing.T) {
	t.Parallel()
	base := open(t, om3, rollingR, nil)
	p := base.done(t).Plan
	for name, tc := range map[string]struct {
		node, part string
		edit       func(string) string
		id, rule   string
		sev        check.Severity
	}{
		"a server of the old release runs": {"node3", "select version()", swap("2.0.3", "2.0.1"), "running", "M28", check.Block},
		"the old files are in place":       {"node3", "bin/gsql -V", swap("2.0.3", "2.0.1"), "installed", "M26", check.Block},
		"the unpacked package is gone":     {"node3", "test -e", nil, "files", "M26", check.Warn},
		"a file belongs to root":           {"node3", "! -user", always("/opt/mogdb/app/bin/gs_ctl\n"), "owner", "M09", check.Block},
		"a standby receives nothing":       {"node3", "gs_ctl query", noReceiver, "replication", "M02", check.Block},
		"the primary feeds nobody":         {"node2", "gs_ctl query", swap(": Streaming", ": Catchup"), "replication", "M02", check.Block},
		"gs_om does not answer":            {"", "gs_om -t status", always("?\n"), "gs_om", "M07", check.Block},
		"gs_om says Degraded": {"", "gs_om -t status", func(s string) string {
			return regexp.MustCompile(`cluster_state( *): Normal`).ReplaceAllString(s, "cluster_state$1: Degraded")
		}, "gs_om", "M02", check.Block},
		"the dynamic configs differ":           {"node3", "sha256sum", func(s string) string { return strings.Repeat("0", 64) + s[min(64, len(s)):] }, "refreshconf", "M15", check.Block},
		"the memory of walsenders is not told": {"node2", "memory", always(""), "walsender-memory", "M20", check.Warn},
		"the memory of walsenders is told":     {"", "\x00", nil, "walsender-memory", "M20", check.Pass},
	} {
		t.Run(name, func(t *testing.T) {
			env := base.Env
			env.Hosts = base.lab.Hosts()
			if tc.edit != nil {
				drivertest.Hear(env, tc.node, tc.part, tc.edit)
			} else {
				drivertest.HearExit(env, tc.node, tc.part, 1)
			}
			fs, err := base.Driver.Verify(t.Context(), env, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fs {
				if f.ID == tc.id && f.Rule == tc.rule && f.Severity == tc.sev {
					return
				}
			}
			t.Errorf("%s says nothing by %s: %+v", tc.id, tc.rule, fs)
		})
	}
	t.Run("somebody moved the primary since", func(t *testing.T) {
		base.gsCtl(t, "node1", "switchover")
		base.wait(t, 30*time.Second)
		fs, err := base.Driver.Verify(t.Context(), base.Env, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fs {
			if f.ID == "primary" && f.Rule == "M14" && f.Severity == check.Warn {
				return
			}
		}
		t.Errorf("it is not told: %+v", fs)
	})
}

// TestStepsRefuse gives steps, in the state before them, an answer that they
// must not go on with.
func TestStepsRefuse(t *testing.T) {
	t.Parallel()
	const mogha = "  99 omm mogha: master\n"
	turns := func() func(string) string {
		n := 0
		return func(s string) string {
			if n++; n > 2 {
				return strings.ReplaceAll(s, ": Standby", ": Cascade Standby")
			}
			return s
		}
	}
	for name, tc := range map[string]struct {
		lab        gauss.Options
		step       string
		node, part string
		edit       func(string) string
		says       string
	}{
		"MogHA is there again while it should be quiet (M03)":             {ha2, "cluster/quiet", "node2", "ps -eww", func(s string) string { return s + mogha }, "M03 M04"},
		"a role changes while it should be quiet (M02)":                   {om3, "cluster/quiet", "node3", "gs_ctl query", turns(), "roles or states changed"},
		"MogHA is active again before a stop (M03)":                       {ha2, "node2/stop", "node2", "ps -eww", func(s string) string { return s + mogha }, "M03"},
		"a node that was to be a standby is the primary (M10)":            {hand2, "cluster/standbys-ready", "node2", "gs_ctl query", func(s string) string { return noReceiver(strings.ReplaceAll(s, ": Standby", ": Primary")) }, "is the primary"},
		"another node is the primary before one is started as such (M21)": {hand2, "node1/start", "node2", "gs_ctl query", func(s string) string { return strings.ReplaceAll(s, ": Standby", ": Primary") }, "[M21]"},
		"a switchover of earlier is not finished (M13)":                   {hand2, "cluster/standbys-ready", "node2", "data/switchover", always("x"), "M13"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, tc.lab, rollingR, nil)
			p := w.begin(t).Plan
			if tc.step == "cluster/quiet" || tc.step == "node2/stop" {
				for _, n := range w.Env.Inventory.Names() {
					if tc.lab.MogHA {
						w.hand(t, n, "sudo", "systemctl", "stop", "mogha")
					}
				}
			}
			a, target := drivertest.Target(t, w.Driver, w.Env, p, tc.step)
			if strings.Contains(tc.part, "data/switchover") {
				w.Sim.With(func() { w.Sim.Machine("node2").Write(w.lab.Options.Data()+"/switchover", "", 0o600, "omm") })
			} else {
				drivertest.Hear(w.Env, tc.node, tc.part, tc.edit)
			}
			if tc.step == "node1/start" {
				w.gsCtl(t, "node1", "stop")
				target.Step.Args["role"] = "primary"
			}
			if tc.step == "cluster/standbys-ready" {
				drivertest.Hear(w.Env, "node2", "select version()", swap("2.0.1", "2.0.3"))
			}
			drivertest.Refuses(t, a.Do(t.Context(), target), tc.says)
		})
	}
}

// TestRunsStop lets a tool lie, or do nothing and claim success, in the middle
// of a run: the run stops at that step and says why.
func TestRunsStop(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lab        gauss.Options
		r          plan.Request
		node, part string
		edit       func(string) string // nil: the command does nothing
		says       string
	}{
		"gs_om does not say that it wrote the roles (M15)": {om2, rollingR, "", "gs_om -t refreshconf", nil, "refreshconf failed"},
		"gs_om wrote the roles to one node only (M15)":     {om2, rollingR, "node1", "cluster_dynamic_config", func(s string) string { return strings.Repeat("0", min(64, len(s))) + s[min(64, len(s)):] }, "M15"},
		"the package unpacks to files of root (M09)":       {hand2, rollingR, "node2", "! -user", always("/x\n"), "M09"},
		"files are not carried (M26)":                      {hand2, rollingR, "node2", "cp -a /opt/mogdb/app/lib/", nil, "new.partial/lib"},
		"a server does not start (M12)":                    {hand2, rollingR, "node2", "gs_ctl start", nil, "did not start"},
		"a server does not stop (M05)":                     {hand2, rollingR, "node2", "gs_ctl stop", nil, "is gone"},
		"MogHA does not start (M19)":                       {ha2, inplaceR, "node2", "systemctl start mogha", nil, "MogHA of node2 is active"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, tc.lab, tc.r, nil)
			if tc.edit == nil {
				drivertest.HearNothing(w.Env, tc.node, tc.part)
			} else {
				drivertest.Hear(w.Env, tc.node, tc.part, tc.edit)
			}
			w.fails(t, tc.says)
		})
	}
}

// TestASwapIsLookedAt: right behind it, both trees are compared with what they must be (M26).
func TestASwapIsLookedAt(t *testing.T) {
	t.Parallel()
	w := open(t, hand2, rollingR, nil)
	m, app := w.Sim.Machine("node2"), w.app("node2")
	drivertest.Hear(w.Env, "node2", app+"/lib -mindepth", func(s string) string {
		if m.Exists(app + "/lib_201") {
			return ""
		}
		return s
	})
	w.fails(t, "after the swap")
}

// TestPlansRefuseMixedReleases: all nodes must stand at the start of the way (M01).
func TestPlansRefuseMixedReleases(t *testing.T) {
	t.Parallel()
	w := open(t, om3, rollingR, nil)
	drivertest.Hear(w.Env, "node3", "select version()", swap("2.0.1", "2.0.2"))
	_, err := rehearse.Begin(t.Context(), w.World)
	drivertest.Refuses(t, err, "all nodes must have 2.0.1")
}

// TestMogHAWaitsForEveryNode: it is not turned on while a server is down (M19).
func TestMogHAWaitsForEveryNode(t *testing.T) {
	t.Parallel()
	w := open(t, ha2, inplaceR, nil)
	p := w.begin(t).Plan
	for _, n := range []string{"node1", "node2"} {
		w.hand(t, n, "sudo", "systemctl", "stop", "mogha")
	}
	a, target := drivertest.Target(t, w.Driver, w.Env, p, "node1/mogha-off")
	w.gsCtl(t, "node2", "stop")
	drivertest.Refuses(t, a.Undo(t.Context(), target), "all nodes are healthy")
}

// TestWhatWasProvenIsProvenAgain: a step that only reads is never taken for done behind a crash (I2).
func TestWhatWasProvenIsProvenAgain(t *testing.T) {
	t.Parallel()
	for _, o := range []gauss.Options{om3, ha2} {
		w := open(t, o, rollingR, nil)
		drivertest.ProvenAgain(t, w.Driver, w.Env, w.begin(t).Plan)
	}
}

// TestEveryNodeIsHealthyBeforeMogHAIsOnAgain: the step says no while one is down (M19).
func TestEveryNodeIsHealthyBeforeMogHAIsOnAgain(t *testing.T) {
	t.Parallel()
	w := open(t, ha2, rollingR, nil)
	a, target := drivertest.Target(t, w.Driver, w.Env, w.done(t).Plan, "cluster/healthy")
	if err := a.Do(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"node1", "node2"} {
		w.hand(t, n, "sudo", "systemctl", "stop", "mogha")
	}
	w.gsCtl(t, "node1", "stop")
	drivertest.Refuses(t, a.Do(t.Context(), target), "last seen: node1: stopped")
}

// TestAPackageOfAnotherReleaseUnderTheRightName is met by what it holds (M01).
func TestAPackageOfAnotherReleaseUnderTheRightName(t *testing.T) {
	t.Parallel()
	old, err := os.ReadFile(packageOf(t, "2.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), filepath.Base(packageOf(t, "2.0.3")))
	if err := os.WriteFile(name, old, 0o600); err != nil {
		t.Fatal(err)
	}
	w := open(t, om2, plan.Request{Mode: "rolling", Packages: []string{name}}, nil)
	w.blocks(t, "package", "M01")
}

// TestMemoryThatNobodyTellsIsNoVerdict: no row is not the same as a flat line (M20).
func TestMemoryThatNobodyTellsIsNoVerdict(t *testing.T) {
	t.Parallel()
	w := open(t, gauss.Options{Nodes: 2, Install: "manual", Archive: true, Load: true}, rollingR, nil)
	drivertest.Hear(w.Env, "", "memory", always(""))
	fs, err := mogdb.New().Watch(t.Context(), w.Env, nil, time.Hour)
	if err != nil || len(fs) != 1 || fs[0].Severity != check.Warn || !strings.Contains(fs[0].Says.EN, "not measurable") {
		t.Errorf("%+v, %v", fs, err)
	}
}

// TestAStandbyRestsOnlyWhileItsPrimaryIsKnown: on the way back a node that does not
// answer may be the primary, so another one is not stopped (M11).
func TestAStandbyRestsOnlyWhileItsPrimaryIsKnown(t *testing.T) {
	t.Parallel()
	w := open(t, om3, rollingR, nil)
	s := w.done(t)
	a, target := drivertest.Target(t, w.Driver, w.Env, s.Plan, "node3/start")
	target.Undoing = true
	w.Sim.With(func() { w.Sim.Machine("node2").PowerOff() }) // the primary since the switchover
	drivertest.Refuses(t, a.Undo(t.Context(), target), "node2 does not answer and may be the primary")
}
