package dameng_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	lab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

func begin(t *testing.T, sc scene) (*stage, *rehearse.Story) {
	t.Helper()
	st := sc.open(t)
	s, err := rehearse.Begin(t.Context(), st.world)
	if err != nil {
		t.Fatal(err)
	}
	return st, s
}

// work carries the verb out and returns how it ended.
func work(t *testing.T, s *rehearse.Story, verb string) run.Outcome {
	t.Helper()
	out, err := s.Work(t.Context(), verb, nil)
	if err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	return out
}

func rollBack(t *testing.T, st *stage, s *rehearse.Story, release string) {
	t.Helper()
	if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	if err := st.back(release); err != nil {
		t.Fatal(err)
	}
}

func says(t *testing.T, out run.Outcome, step, words string) {
	t.Helper()
	if !strings.Contains(out.Step, step) || !strings.Contains(out.Why.EN, words) || out.Why.ZH == "" {
		t.Fatalf("ended %s at %q: %s; expected a failure at %q that says %q", out.State, out.Step, out.Why.EN, step, words)
	}
}

func TestAStandbyThatLagsForEverStopsBeforeAnythingChanged(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, redo log", "DW, from DM7", "DW-DSC, page format"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := scenes[name]
			sc.before = func(l *lab.Lab) { l.Lag("m2", true); l.Write() }
			st, s := begin(t, sc)
			says(t, work(t, s, "apply"), "wait-equal", "DM-022")
			st.lab.Lag("m2", false)
			rollBack(t, st, s, sc.opts.Release)
		})
	}
}

func TestALaggingStandbyIsRestoredByR2(t *testing.T) {
	t.Parallel()
	sc := scenes["DW, redo log"]
	sc.options = map[string]string{"runbook": "r2"}
	sc.before = func(l *lab.Lab) { l.Lag("m2", true); l.Write() }
	st, s := begin(t, sc)
	if err := s.Wants(t.Context(), "apply", run.Upgraded); err == nil {
		t.Fatal("a standby that never replays cannot become healthy")
	}
	st.lab.Lag("m2", false)
	if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	if err := st.upgraded(sc.to); err != nil {
		t.Fatal(err)
	}
}

// A standby that does not take part once the primary has opened is restored in
// the same run (R1.F).
func TestAStandbyThatMissesTheUpgradeIsRestored(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, redo log", "DW-DSC, redo log"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := scenes[name]
			st, s := begin(t, sc)
			st.world.Accept = nil
			s.World.Accept = nil
			if out := work(t, s, "apply"); out.Gate != "point-of-no-return" {
				t.Fatalf("ended %s at %q, gate %q: %s", out.State, out.Step, out.Gate, out.Why.EN)
			}
			st.lab.Lag("m2", true)
			s.World.Accept = []string{"point-of-no-return"}
			s.World.Truth = func() error { return nil }
			_ = s.Wants(t.Context(), "resume", run.Upgraded) // stays behind until the lag ends
			st.lab.Lag("m2", false)
			if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if err := st.upgraded(sc.to); err != nil {
				t.Fatal(err)
			}
			if !st.ran("db1", "FULL TO SHIPLIFT_UPGRADE") || !strings.Contains(strings.Join(st.commands(), "\n"), "UPDATE DB_MAGIC") {
				t.Error("the standby was not restored from a backup of the primary")
			}
		})
	}
}

func (s *stage) commands() (out []string) {
	for _, r := range s.lab.World.Trace() {
		out = append(out, r.Node+" "+strings.Join(r.Argv, " "))
	}
	return out
}

func (s *stage) ran(node, words string) bool {
	return slices.ContainsFunc(s.commands(), func(c string) bool { return strings.HasPrefix(c, node+" ") && strings.Contains(c, words) })
}

func (s *stage) sh(t *testing.T, node string, argv ...string) {
	t.Helper()
	if _, err := s.lab.World.Machine(node).Run(t.Context(), host.Change(argv...)); err != nil {
		t.Fatal(err)
	}
}

func TestAForgottenWatcherIsFoundBeforeItRevivesAServer(t *testing.T) {
	t.Parallel()
	sc := scenes["DW, redo log"]
	st, s := begin(t, sc)
	// Somebody started the watcher of db2 by hand: its service is inactive.
	st.sh(t, "db2", "systemctl", "stop", "DmWatcherServiceGRP1_RT_02")
	st.sh(t, "db2", "/opt/dmdbms/bin/dmwatcher", "/dm/data/DAMENG/dmwatcher.ini")
	says(t, work(t, s, "apply"), "db2/stop-watcher", "started it by hand")
	st.sh(t, "db2", "pkill", "-f", "bin/dmwatcher")
	st.sh(t, "db2", "systemctl", "start", "DmWatcherServiceGRP1_RT_02")
	if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
		t.Fatal(err)
	}
	if err := st.upgraded(sc.to); err != nil {
		t.Fatal(err)
	}
}

func TestAMonitorStartedEarlyStopsTheRun(t *testing.T) {
	t.Parallel()
	sc := scenes["DW, redo log"]
	st, s := begin(t, sc)
	s.World.Accept = nil
	if out := work(t, s, "apply"); out.Gate != "point-of-no-return" {
		t.Fatalf("gate %q", out.Gate)
	}
	st.sh(t, "db3", "systemctl", "start", "DmMonitorServiceGRP1_RT_03")
	s.World.Accept = []string{"point-of-no-return"}
	says(t, work(t, s, "resume"), "open-primary", "DM-026")
}

func TestAnOldArchiveLeftBehindStopsTheFirstStart(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, redo log to page format", "single, three formats", "DSC, redo log"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := scenes[name]
			st, s := begin(t, sc)
			s.World.Accept = nil
			if out := work(t, s, "apply"); out.Gate != "point-of-no-return" {
				t.Fatalf("gate %q", out.Gate)
			}
			m := st.lab.World.Machine("db1")
			m.Write("/dm/data/DAMENG/arch/OLD.log", "fmt=old\n", 0o640, "dmdba")
			s.World.Accept = []string{"point-of-no-return"}
			out := work(t, s, "resume")
			if !strings.Contains(out.Why.EN, "DM-023") || !strings.Contains(out.Why.EN, "OLD.log") {
				t.Fatalf("ended %s at %q: %s", out.State, out.Step, out.Why.EN)
			}
			st.sh(t, "db1", "rm", "-f", "/dm/data/DAMENG/arch/OLD.log")
			if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if err := st.upgraded(sc.to); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAStopThatDoesNotEndIsReportedAndNothingIsKilled(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, redo log", "DSC, redo log"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := scenes[name]
			st, s := begin(t, sc)
			st.lab.HangStop("db1", true)
			says(t, work(t, s, "apply"), "db1/stop-server", "not killed")
			for _, c := range st.commands() {
				if strings.Contains(c, "kill") {
					t.Errorf("a kill: %s", c)
				}
			}
			st.lab.HangStop("db1", false)
			rollBack(t, st, s, sc.opts.Release)
		})
	}
}

func TestAFaultyDSCNodeIsRefused(t *testing.T) {
	t.Parallel()
	sc := scenes["DW-DSC, redo log"]
	sc.before = func(l *lab.Lab) { l.NodeError("db2") }
	st := sc.open(t)
	_, err := rehearse.Begin(t.Context(), st.world)
	var no *driver.RefusalError
	if !errors.As(err, &no) || no.Rule != "DM-021" {
		t.Fatalf("error %v, want the refusal DM-021", err)
	}
	findings := st.checks(t)
	if !slices.ContainsFunc(check.Blocking(findings), func(f check.Finding) bool { return f.ID == "dm-nodes" && f.Rule == "DM-021" }) {
		t.Errorf("findings %+v", findings)
	}
}

func (s *stage) checks(t *testing.T) []check.Finding {
	t.Helper()
	o, err := s.world.Driver.Observe(t.Context(), s.world.Env)
	if err != nil {
		t.Fatal(err)
	}
	return check.Run(t.Context(), s.world.Driver.Checks(s.world.Env, o, s.world.Request), nil)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		sc   scene
		rule string
	}{
		"an encrypted log of old DM7": {scene{opts: lab.Options{Topology: "dw", Release: "7.1.5.125", LogEncrypted: true}, to: "8.1.1.15", bridge: "7.6.0.183", options: map[string]string{"log-encrypted": "yes"}}, "DM-004"},
		"the origin is remembered":    {scene{opts: lab.Options{Topology: "dw", Release: "7.6.0.183", Origin: "7.1.5.100", LogEncrypted: true}, to: "8.1.1.15", options: map[string]string{"log-encrypted": "yes", "origin": "7.1.5.100"}}, "DM-004"},
		"the way back":                {scene{opts: lab.Options{Topology: "dw", Release: "8.1.1.101"}, to: "8.1.1.15"}, "DM-064"},
		"HUGE tables not accepted":    {scene{opts: lab.Options{Topology: "single", Release: "8.1.2.100"}, to: "8.1.3.62", options: map[string]string{"huge-tables": "yes"}}, "DM-081"},
		"rolling over the redo log":   {scene{opts: lab.Options{Topology: "dsc", Release: "8.1.1.14"}, to: "8.1.1.15", mode: "rolling"}, "DM-002"},
		"rolling with old ASM disks":  {scene{opts: lab.Options{Topology: "dsc", Release: "8.1.2.128"}, to: "8.1.4.80", mode: "rolling"}, "DM-091"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := rehearse.Begin(t.Context(), tc.sc.open(t).world)
			var no *driver.RefusalError
			if !errors.As(err, &no) || no.Rule != tc.rule {
				t.Fatalf("error %v, want the refusal %s", err, tc.rule)
			}
			if s := say.Of(no); s.ZH == "" || s.ZH == s.EN {
				t.Errorf("no Chinese: %+v", s)
			}
		})
	}
}

func TestChecksBlockWhatNobodyAnswered(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		sc   scene
		want string
	}{
		"whether the log was encrypted":   {scene{opts: lab.Options{Topology: "dw", Release: "7.1.5.100"}, to: "8.1.1.15", bridge: "7.6.0.183"}, "dm-log-encrypted"},
		"whether there are HUGE tables":   {scene{opts: lab.Options{Topology: "dw", Release: "8.1.1.171"}, to: "8.1.2.101"}, "dm-huge"},
		"a standby that is down":          {scene{opts: lab.Options{Topology: "dw", Release: "8.1.1.15"}, to: "8.1.1.100", before: func(l *lab.Lab) { l.World.Machine("db2").PowerOff() }}, "dm-reachable"},
		"an equal DB_MAGIC is only told":  {scene{opts: lab.Options{Topology: "dw", Release: "8.1.1.14"}, to: "8.1.1.15", before: func(l *lab.Lab) { l.EqualMagic("m2") }}, ""},
		"nothing, with a healthy cluster": {scene{opts: lab.Options{Topology: "dw", Release: "8.1.1.14"}, to: "8.1.1.15"}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := check.Blocking(tc.sc.open(t).checks(t))
			if tc.want == "" {
				if len(bad) > 0 {
					t.Errorf("blocked by %+v", bad)
				}
				return
			}
			if !slices.ContainsFunc(bad, func(f check.Finding) bool { return f.ID == tc.want && f.Says.EN != "" && f.Says.ZH != "" }) {
				t.Errorf("findings %+v, want %s", bad, tc.want)
			}
		})
	}
}

func TestScriptServicesAndGBK(t *testing.T) {
	t.Parallel()
	sc := scenes["DW, redo log"]
	sc.opts.GBK = true
	st := sc.open(t)
	for _, u := range []string{"db1 DmWatcherServiceGRP1_RT_01", "db2 DmWatcherServiceGRP1_RT_02", "db3 DmWatcherServiceGRP1_RT_03", "db3 DmMonitorServiceGRP1_RT_03",
		"db1 DmServiceGRP1_RT_01", "db2 DmServiceGRP1_RT_02", "db3 DmServiceGRP1_RT_03"} {
		node, unit, _ := strings.Cut(u, " ")
		st.sh(t, node, "systemctl", "stop", unit)
	}
	for _, u := range []string{"db3 DmServiceGRP1_RT_03", "db2 DmServiceGRP1_RT_02", "db1 DmServiceGRP1_RT_01", "db3 DmWatcherServiceGRP1_RT_03",
		"db2 DmWatcherServiceGRP1_RT_02", "db1 DmWatcherServiceGRP1_RT_01", "db3 DmMonitorServiceGRP1_RT_03"} {
		node, unit, _ := strings.Cut(u, " ")
		st.sh(t, node, "/opt/dmdbms/bin/"+unit, "start")
	}
	if err := st.lab.World.Sleep(t.Context(), 60e9); err != nil {
		t.Fatal(err)
	}
	for i := range st.world.Env.Inventory.Nodes {
		st.world.Env.Inventory.Nodes[i].Settings["services"] = "script"
	}
	s, err := rehearse.Begin(t.Context(), st.world)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	if err := st.upgraded(sc.to); err != nil {
		t.Fatal(err)
	}
}

// login.sql of a site switches row numbers off; the driver must not mind.
func TestLoginProfilesDoNotMatter(t *testing.T) {
	t.Parallel()
	sc := scenes["DW, no format"]
	st := sc.open(t)
	for _, m := range st.lab.World.Machines() {
		m.Write("/opt/dmdbms/bin/disql_conf/login.sql", "SET LINESHOW OFF\n", 0o644, "dmdba")
	}
	if bad := check.Blocking(st.checks(t)); len(bad) > 0 {
		t.Errorf("%+v", bad)
	}
}

// A node that is called faulty while all are down is met before the first start
// with the new software, also behind the gate.
func TestANodeThatTurnsFaultyWhileAllAreDown(t *testing.T) {
	t.Parallel()
	sc := scenes["DSC, redo log"]
	st, s := begin(t, sc)
	s.World.Accept = nil
	if out := work(t, s, "apply"); out.Gate != "point-of-no-return" {
		t.Fatalf("gate %q", out.Gate)
	}
	st.lab.NodeError("db2")
	s.World.Accept = []string{"point-of-no-return"}
	says(t, work(t, s, "resume"), "db1/start-server", "DM-021")
	if err := st.lab.Mend(); err != nil {
		t.Fatal(err)
	}
	if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	if err := st.upgraded(sc.to); err != nil {
		t.Fatal(err)
	}
}
