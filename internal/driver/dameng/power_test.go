package dameng_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/journal"
	lab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// dark takes the power of a node away for a minute when a step of it begins
// with words, and lets the run fail there.
func dark(t *testing.T, sc scene, node, words string) (*stage, *rehearse.Story) {
	t.Helper()
	st, s := begin(t, sc)
	s.World.Truth = func() error { return nil }
	st.lab.World.Inject(sim.Fault{Kind: sim.NodeDown, Node: node, Match: words, For: 60e9})
	if out := work(t, s, "apply"); out.State == run.Upgraded {
		t.Fatalf("the loss of power at %q was not met", words)
	}
	if err := st.lab.World.Sleep(t.Context(), 120e9); err != nil {
		t.Fatal(err)
	}
	s.World.Truth = st.truth
	return st, s
}

// Behind the one-way gate nobody starts the server but the run itself: the
// release in place has run the library already.
func TestAServerThatLostItsPowerBehindTheGateIsStartedAgain(t *testing.T) {
	t.Parallel()
	meets := map[string]func(*testing.T) (*stage, *rehearse.Story){
		"single, three formats": func(t *testing.T) (*stage, *rehearse.Story) {
			st, s := cutOffIn(t, scenes["single, three formats"], "db1/wait-open")
			st.lab.World.Machine("db1").PowerOff()
			st.lab.World.Machine("db1").PowerOn()
			return st, s
		},
		"DSC, redo log": func(t *testing.T) (*stage, *rehearse.Story) {
			st, s := cutOffIn(t, scenes["DSC, redo log"], "db1/wait-open")
			st.lab.World.Machine("db2").PowerOff()
			st.lab.World.Machine("db2").PowerOn()
			return st, s
		},
		"DW, page format": func(t *testing.T) (*stage, *rehearse.Story) {
			return dark(t, scenes["DW, page format"], "db1", "start DmWatcherServiceGRP1_RT_01")
		},
	}
	for name, meet := range meets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, s := meet(t)
			if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if err := st.upgraded(scenes[name].to); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// cutOffIn kills the tool behind the intent of a step.
func cutOffIn(t *testing.T, sc scene, step string) (*stage, *rehearse.Story) {
	t.Helper()
	count := &rehearse.Death{}
	_, s := begin(t, sc)
	if _, err := s.Work(t.Context(), "apply", count); err != nil {
		t.Fatal(err)
	}
	for at := count.Count(); at > 0; at-- {
		st, s := begin(t, sc)
		if _, err := s.Work(t.Context(), "apply", &rehearse.Death{At: at}); err != nil && !errors.Is(err, rehearse.ErrDead) {
			t.Fatal(err)
		}
		if last := s.Log.Records[len(s.Log.Records)-1]; last.Step == step && last.Kind == journal.Intent {
			return st, s
		}
	}
	t.Fatalf("no step %s", step)
	return nil, nil
}

// Where the redo log changes, only a person starts a server that died (DM-044),
// and is told how.
func TestAServerThatDiedInR1IsLeftToAPerson(t *testing.T) {
	t.Parallel()
	st, s := dark(t, scenes["DW, redo log"], "db2", "start DmWatcherServiceGRP1_RT_02")
	out := work(t, s, "resume")
	if !strings.Contains(out.Why.EN, "DM-044") {
		t.Fatalf("ended %s at %q: %s", out.State, out.Step, out.Why.EN)
	}
	st.sh(t, "db2", "systemctl", "start", "DmServiceGRP1_RT_02")
	if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	if err := st.upgraded(scenes["DW, redo log"].to); err != nil {
		t.Fatal(err)
	}
}

// A node that was away while the others went back has its software and library
// still of the upgrade: nobody starts it before its own steps are back.
func TestANodeIsNotStartedBeforeItsOwnStepsAreBack(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, redo log", "DSC, redo log"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := scenes[name]
			st, s := begin(t, sc)
			node := "db2"
			s.World.Accept = nil
			if out := work(t, s, "apply"); out.Gate != "point-of-no-return" {
				t.Fatalf("gate %q at %q: %s", out.Gate, out.Step, out.Why.EN)
			}
			st.lab.World.Machine(node).PowerOff()
			out := work(t, s, "rollback")
			if out.State == run.RolledBack {
				t.Fatal("a node that is away cannot be back")
			}
			st.lab.World.Machine(node).PowerOn()
			s.World.Truth = func() error { return nil }
			rollBack(t, st, s, sc.opts.Release)
		})
	}
}

// A database that stands in MOUNT when it is to be closed was started again
// after a loss of power. The manual wants it OPEN (DM-022, DM-060, DM-070): Data
// Watch opens everything once more, and then it is closed in order.
func TestADatabaseThatIsNotOpenIsOpenedBeforeItIsClosed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, page format", "DW, rollback segment", "DW, redo log"} {
		for _, node := range []string{"1", "2"} {
			for _, verb := range []string{"resume", "rollback"} {
				t.Run(name+", db"+node+", "+verb, func(t *testing.T) {
					t.Parallel()
					sc := scenes[name]
					unit := "DmServiceGRP1_RT_0" + node
					st, s := dark(t, sc, "db"+node, "stop "+unit)
					st.sh(t, "db"+node, "systemctl", "start", unit)
					if verb == "rollback" {
						rollBack(t, st, s, sc.opts.Release)
						return
					}
					if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
						t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
					}
					if err := st.upgraded(sc.to); err != nil {
						t.Fatal(err)
					}
				})
			}
		}
	}
}

// The same with the tool killed while everything is opened once more.
func TestDeathWhileEverythingIsOpenedOnceMore(t *testing.T) {
	t.Parallel()
	for _, node := range []string{"1", "2", "3"} {
		t.Run("db"+node, func(t *testing.T) {
			t.Parallel()
			sc := scenes["DW, redo log to page format"]
			unit, points := "DmServiceGRP1_RT_0"+node, 0
			for at := 0; at == 0 || at <= points; at += drivertest.Every(97) {
				st, s := dark(t, sc, "db"+node, "stop "+unit)
				st.sh(t, "db"+node, "systemctl", "start", unit)
				d := &rehearse.Death{At: at, After: at%2 == 0}
				if _, err := s.Work(t.Context(), "resume", d); err != nil && !errors.Is(err, rehearse.ErrDead) {
					t.Fatal(err)
				}
				if at == 0 {
					points = d.Count() / 2 // behind that lies the upgrade itself
				}
				if s.Final() != "" {
					continue
				}
				if at%3 == 0 && !crossed(s) {
					rollBack(t, st, s, sc.opts.Release)
					continue
				}
				if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
					t.Fatalf("killed at point %d: %v\n%s", at, err, rehearse.Transcript(s.Log.Records))
				}
				if err := st.upgraded(sc.to); err != nil {
					t.Fatalf("killed at point %d: %v\n%s", at, err, rehearse.Transcript(s.Log.Records))
				}
			}
		})
	}
}

// A standby whose link is cut keeps its server while the others go back. When it
// answers again the primary serves: it is stopped only once nothing is sent to it (DM-020).
func TestAStandbyThatComesBackLateIsNotMissed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, no format", "DW, redo log", "DW-DSC, redo log"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := scenes[name]
			st, s := begin(t, sc)
			s.World.Accept = nil // stops at the one-way gate, where there is one
			work(t, s, "apply")
			late := st.lab.World.Machine("db" + strconv.Itoa(len(st.world.Env.Inventory.Nodes)))
			late.Cut(true)
			s.World.Truth = func() error { return nil }
			if out := work(t, s, "rollback"); out.State == run.RolledBack {
				t.Fatal("a node that does not answer cannot be back")
			}
			if tr := st.lab.Truth(); len(tr.Primaries) != 1 {
				t.Fatalf("the primary does not serve: %+v", tr)
			}
			late.Cut(false)
			s.World.Truth = st.truth
			rollBack(t, st, s, sc.opts.Release)
		})
	}
}

// The power of a node goes behind the start of dmasmsvr, and the next attempt
// fails since dmcss is down: the step owes nothing. Then the machine starts both
// again. The way back stops dmasmsvr before the dmcss that it lives on (DM-095,
// docs/bugs.md B-163).
func TestWhatCameUpByItselfIsStoppedBeforeWhatItLivesOn(t *testing.T) {
	t.Parallel()
	st, s := begin(t, scene{opts: lab.Options{Topology: "dsc", Release: "8.1.3.140"}, to: "8.1.3.162"}) // one format: no gate before commit
	s.World.Truth = func() error { return nil }
	st.lab.World.Inject(sim.Fault{Kind: sim.NodeDownAfter, Node: "db1", Match: "start DmASMSvrService", For: 60e9, Changes: true})
	if out := work(t, s, "apply"); out.State == run.Upgraded {
		t.Fatal("the loss of power was not met")
	}
	if err := st.lab.World.Sleep(t.Context(), 120e9); err != nil {
		t.Fatal(err)
	}
	if out := work(t, s, "resume"); out.State == run.Upgraded {
		t.Fatal("dmcss was not missing")
	}
	if err := st.lab.Mend(); err != nil {
		t.Fatal(err)
	}
	s.World.Truth = st.truth
	if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
}

// Somebody starts dmcss and dmasmsvr of a node before its software is replaced,
// there or back: they would go on with the release that is moved away, and the
// server that is started then meets another one (DM-094, docs/bugs.md B-183).
func TestWhatAPersonStartedIsStoppedBeforeTheSoftwareIsReplaced(t *testing.T) {
	t.Parallel()
	for until, verb := range map[string]string{"db1/switch-bin": "resume", "db2/switch-bin": "rollback"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			sc := scene{opts: lab.Options{Topology: "dsc", Release: "8.1.3.140"}, to: "8.1.3.162"}
			st, s := begin(t, sc)
			s.Until = until
			if out := work(t, s, "apply"); out.Gate != until && out.Step != until {
				t.Fatalf("%+v", out)
			}
			st.sh(t, "db1", "systemctl", "start", "DmCSSServiceDSC10")
			st.sh(t, "db1", "systemctl", "start", "DmASMSvrServiceDSC10")
			s.Until = ""
			if verb == "rollback" {
				rollBack(t, st, s, sc.opts.Release)
				return
			}
			if err := s.Wants(t.Context(), verb, run.Upgraded); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if err := st.upgraded(sc.to); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// One node of a DSC member is away when the rollback begins, and the other one
// does not say which step it owes: nothing is left out then, since nobody would
// know that it comes before the rest (docs/bugs.md B-184).
func TestAStepThatCannotBeNotedIsNotLeftOut(t *testing.T) {
	t.Parallel()
	sc := scene{opts: lab.Options{Topology: "dsc", Release: "8.1.3.140"}, to: "8.1.3.162"}
	st, s := begin(t, sc)
	s.Until = "db2/stop-css"
	if out := work(t, s, "apply"); out.Gate != s.Until && out.Step != s.Until {
		t.Fatalf("%+v", out)
	}
	s.Until = ""
	st.lab.World.Machine("db2").Cut(true)
	st.lab.World.Inject(sim.Fault{Kind: sim.Hang, Node: "db1", Match: "owed-"})
	if out := work(t, s, "rollback"); out.State == run.RolledBack {
		t.Fatal("a node that does not answer cannot be back")
	}
	st.lab.World.Machine("db2").Cut(false)
	st.lab.World.Heal()
	rollBack(t, st, s, sc.opts.Release)
}
