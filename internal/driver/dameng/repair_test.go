package dameng_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver/dameng"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

const oldBin = "/opt/dmdbms/bin_old"

// slip is what somebody did before the repair was asked for.
type slip struct {
	scene   string
	do      func(*testing.T, *stage)
	release string // what the operator says; empty: nothing
	oldBin  string
}

func standbyFirst(t *testing.T, st *stage) {
	t.Helper()
	if err := st.lab.StopStandbyFirst(); err != nil {
		t.Fatal(err)
	}
}

// swapped: the field report. The servers were stopped standby first, the
// binaries were exchanged, and the new software refuses the primary.
func swapped(t *testing.T, st *stage) {
	t.Helper()
	standbyFirst(t, st)
	for _, m := range st.lab.World.Machines() {
		st.sh(t, m.Name(), "mv", "-T", "/opt/dmdbms/bin", oldBin)
		st.sh(t, m.Name(), "cp", "-a", oldBin, "/opt/dmdbms/bin")
	}
	st.lab.InstallByHand("8.1.1.15")
	_, err := st.lab.World.Machine("db1").Run(t.Context(), host.Change("systemctl", "start", "DmServiceGRP1_RT_01"))
	var exit *host.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(exit.Stderr)+string(exit.Stdout)+log(st, "db1"), "Upgrade is not allowed") {
		t.Fatalf("the new software took the library: %v", err)
	}
}

func log(st *stage, node string) (out string) {
	m := st.lab.World.Machine(node)
	for _, f := range m.List("/opt/dmdbms/log") {
		text, _ := m.Read("/opt/dmdbms/log/" + f)
		out += text
	}
	return out
}

var slips = map[string]slip{
	"the standby was stopped first, then the primary": {scene: "DW, redo log", do: standbyFirst, release: "8.1.1.14"},
	"the same where no format changes":                {scene: "DW, no format", do: standbyFirst, release: "8.1.1.15"},
	"the same with DSC members":                       {scene: "DW-DSC, redo log", do: standbyFirst, release: "8.1.1.14"},
	"the same with DM7, whose tools tell the release": {scene: "DW, from DM7", do: standbyFirst},
	"the binaries were exchanged as well":             {scene: "DW, redo log", do: swapped, release: "8.1.1.14", oldBin: oldBin},
	"only the standby was stopped": {scene: "DW, redo log", release: "", do: func(t *testing.T, st *stage) {
		for _, n := range []string{"1", "2", "3"} {
			st.sh(t, "db"+n, "systemctl", "stop", "DmWatcherServiceGRP1_RT_0"+n)
		}
		st.sh(t, "db2", "systemctl", "stop", "DmServiceGRP1_RT_02")
		for _, m := range st.lab.World.Machines() {
			m.Write("/opt/dmdbms/bin/release.txt", "V8.1.1.14-Build\n", 0o644, "dmdba")
		}
	}},
	"a single node was killed": {scene: "single, three formats", release: "8.1.1.14", do: func(_ *testing.T, st *stage) { st.lab.Kill("db1") }},
	"the nodes of a DSC were stopped one after another": {scene: "DSC, redo log", release: "8.1.1.14", do: func(t *testing.T, st *stage) {
		st.sh(t, "db1", "systemctl", "stop", "DmServiceDSC10")
		st.sh(t, "db2", "systemctl", "stop", "DmServiceDSC11")
	}},
}

func (sl slip) repair(t *testing.T) (*stage, *rehearse.Story) {
	t.Helper()
	st := scenes[sl.scene].open(t)
	sl.do(t, st)
	var v release.Version
	if sl.release != "" {
		v = release.MustParse(sl.release)
	}
	w := st.world
	w.Request = dameng.RepairRequest(v, sl.oldBin)
	w.Truth = func() error { return nil } // the slip itself is on record
	if bad := st.blocks(t, w); bad != "" {
		t.Fatalf("the checks block the repair: %s", bad)
	}
	s, err := rehearse.Begin(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return st, s
}

// blocks tells what the checks hold against a request; empty when nothing.
func (s *stage) blocks(t *testing.T, w rehearse.World) string {
	t.Helper()
	o, err := w.Driver.Observe(t.Context(), w.Env)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range check.Blocking(check.Run(t.Context(), w.Driver.Checks(w.Env, o, w.Request), nil)) {
		out = append(out, f.ID+" "+f.Node+" "+f.Says.EN)
	}
	return strings.Join(out, "; ")
}

// The slip, the repair, and then the upgrade goes through.
func TestRepairExit(t *testing.T) {
	t.Parallel()
	for name, sl := range slips {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, s := sl.repair(t)
			slipped := len(st.lab.Truth().Damage)
			if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if err := s.Wants(t.Context(), "commit", run.Committed); err != nil {
				t.Fatal(err)
			}
			sc := scenes[sl.scene]
			st.world.Truth = func() error { return nil }
			s, err := rehearse.Begin(t.Context(), st.world)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			tr := st.lab.Truth()
			if len(tr.Damage) != slipped || tr.Lost > 0 || len(tr.Primaries) != 1 {
				t.Errorf("beside the slip: %+v", tr)
			}
			for n, v := range tr.Releases {
				if v != sc.to {
					t.Errorf("%s runs %s", n, v)
				}
			}
		})
	}
}

// A repair that is rolled back leaves the binaries as they were found, and
// stops no standby under a primary that serves.
func TestARepairIsRolledBack(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"the binaries were exchanged as well", "only the standby was stopped", "the same with DSC members"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sl := slips[name]
			st, s := sl.repair(t)
			slipped := len(st.lab.Truth().Damage)
			if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
				t.Fatal(err)
			}
			if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if tr := st.lab.Truth(); len(tr.Damage) != slipped || tr.Lost > 0 {
				t.Errorf("beside the slip: %+v", tr)
			}
			if there := len(st.lab.World.Machine("db2").List(oldBin)) > 0; there != (sl.oldBin != "") {
				t.Errorf("old binaries aside: %t", there)
			}
		})
	}
}

// Killed at any point, a repair goes on.
func TestDeathInRepair(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"the binaries were exchanged as well", "the same with DSC members"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			points := 0
			for at := 0; at == 0 || at <= points; at += drivertest.Every(151) {
				st, s := slips[name].repair(t)
				slipped := len(st.lab.Truth().Damage)
				d := &rehearse.Death{At: at, After: at%2 == 0}
				if _, err := s.Work(t.Context(), "apply", d); err != nil && !errors.Is(err, rehearse.ErrDead) {
					t.Fatal(err)
				}
				if at == 0 {
					points = d.Count()
				}
				if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
					t.Fatalf("killed at point %d of %d: %v\n%s", at, points, err, rehearse.Transcript(s.Log.Records))
				}
				if tr := st.lab.Truth(); len(tr.Damage) != slipped || tr.Lost > 0 || len(tr.Primaries) != 1 {
					t.Fatalf("killed at point %d of %d: %+v", at, points, tr)
				}
			}
		})
	}
}

// Killed behind the intent of a step of any kind, before anything was done: the
// next process asks the nodes, and does it.
func TestARepairDiesBehindAnIntent(t *testing.T) {
	t.Parallel()
	const name = "the binaries were exchanged as well"
	_, whole := slips[name].repair(t)
	if err := whole.Wants(t.Context(), "apply", run.Upgraded); err != nil {
		t.Fatal(err)
	}
	kindOf := map[string]string{}
	for _, p := range whole.Plan.Steps {
		kindOf[p.ID] = p.Kind
	}
	met := map[string]bool{}
	for i, rec := range whole.Log.Records {
		if rec.Kind != journal.Intent || met[kindOf[rec.Step]] {
			continue
		}
		met[kindOf[rec.Step]] = true
		_, s := slips[name].repair(t)
		if _, err := s.Work(t.Context(), "apply", &rehearse.Death{Record: i + 1}); !errors.Is(err, rehearse.ErrDead) {
			t.Fatalf("%s: %v", rec.Step, err)
		}
		if last := s.Log.Records[len(s.Log.Records)-1]; last.Kind != journal.Intent || last.Step != rec.Step {
			t.Fatalf("it died behind %s %s, not behind the intent of %s", last.Kind, last.Step, rec.Step)
		}
		if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
			t.Fatalf("killed behind the intent of %s: %v\n%s", rec.Step, err, rehearse.Transcript(s.Log.Records))
		}
	}
	if !met["put-back-bin"] || !met["prove-exit"] {
		t.Errorf("met %v", met)
	}
}

// A server that is killed instead of stopped was not closed: the repair says so
// and does not open the cluster over it (DM-002).
func TestARepairProvesTheExit(t *testing.T) {
	t.Parallel()
	const name = "the standby was stopped first, then the primary"
	_, whole := slips[name].repair(t)
	if err := whole.Wants(t.Context(), "apply", run.Upgraded); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(whole.Log.Records, func(r journal.Record) bool { return r.Kind == journal.Intent && r.Step == "exit/db1/stop-server" })
	st, s := slips[name].repair(t)
	if _, err := s.Work(t.Context(), "apply", &rehearse.Death{Record: at + 1}); !errors.Is(err, rehearse.ErrDead) {
		t.Fatal(err)
	}
	st.lab.Kill("db1")
	says(t, work(t, s, "resume"), "exit/db1/prove-exit", "it was not closed normally")
}

// TestRepairPlan: what comes before what in a repair.
func TestRepairPlan(t *testing.T) {
	t.Parallel()
	_, s := slips["the binaries were exchanged as well"].repair(t)
	golden(t, "repair", printed(s.Plan, func(s string) string { return s }))
}

func TestRepairThatCannotBe(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		slip
		says string
	}{
		"nobody says what ran last":      {slip{scene: "DW, redo log", do: standbyFirst}, "release cannot be told"},
		"the old binaries tell nothing":  {slip{scene: "DW, redo log", do: swapped, oldBin: oldBin}, "nobody tells which release"},
		"a server runs":                  {slip{scene: "DW, redo log", do: func(*testing.T, *stage) {}, release: "8.1.1.14", oldBin: oldBin}, "its server runs"},
		"a server runs another release":  {slip{scene: "DW, redo log", do: func(*testing.T, *stage) {}, release: "8.1.1.15"}, "it runs 8.1.1.14"},
		"an old-bin that is no path":     {slip{scene: "DW, redo log", do: standbyFirst, release: "8.1.1.14", oldBin: "bin_old"}, "not an absolute path"},
		"options of a repair in another": {slip{scene: "DW, redo log", do: func(*testing.T, *stage) {}}, "repair-exit alone"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := scenes[tc.scene].open(t)
			tc.do(t, st)
			var v release.Version
			if tc.release != "" {
				v = release.MustParse(tc.release)
			}
			w := st.world
			w.Request = dameng.RepairRequest(v, tc.oldBin)
			if name == "options of a repair in another" {
				w.Request.Options = map[string]string{"release": "8.1.1.14"}
			}
			_, err := rehearse.Begin(t.Context(), w)
			var no *say.Problem
			if !errors.As(err, &no) || !strings.Contains(no.Text.EN, tc.says) || no.Text.ZH == no.Text.EN {
				t.Errorf("error %v, want %q", err, tc.says)
			}
		})
	}
}
