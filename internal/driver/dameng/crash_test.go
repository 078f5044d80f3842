package dameng_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// back: everything is as it was before the upgrade.
func (s *stage) back(from string) error {
	if err := s.upgraded(from); err != nil {
		return err
	}
	for _, m := range s.lab.World.Machines() {
		for _, dir := range []string{"/opt/dmdbms", "/dm/data", "/dm/data/DAMENG", "/backup"} {
			for _, name := range m.List(dir) {
				for _, trace := range []string{"bin.", "cold", ".pre-", ".part", "upgrade-"} {
					if strings.Contains(name, trace) {
						return fmt.Errorf("%s: %s/%s is left", m.Name(), dir, name)
					}
				}
			}
		}
		if n := len(m.List("/dm/data/DAMENG/arch")); n == 0 {
			return fmt.Errorf("%s: the archives are not back", m.Name())
		}
		if ini, _ := m.Read("/dm/data/DAMENG/dm.ini"); !strings.Contains(ini, "ALTER_MODE_STATUS = 0") {
			return fmt.Errorf("%s: ALTER_MODE_STATUS is not 0", m.Name())
		}
	}
	return nil
}

// crossed reports whether a one-way gate lies behind the run.
func crossed(s *rehearse.Story) bool {
	trail, err := run.Fold(s.Plan, s.Log.Records)
	if err != nil {
		return true
	}
	_, ok := trail.Crossed()
	return ok
}

// dieAt kills the tool in an apply, then goes the wanted way to its end.
func dieAt(t *testing.T, sc scene, d *rehearse.Death, after string) error {
	st := sc.open(t)
	s, err := rehearse.Begin(t.Context(), st.world)
	if err != nil {
		return err
	}
	if _, err := s.Work(t.Context(), "apply", d); err != nil && !errors.Is(err, rehearse.ErrDead) {
		return fmt.Errorf("apply: %w", err)
	}
	if after == "rollback" && !crossed(s) {
		if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
			return fmt.Errorf("%w\n%s", err, rehearse.Transcript(s.Log.Records))
		}
		if err := st.back(sc.opts.Release); err != nil {
			return fmt.Errorf("%w\n%s", err, rehearse.Transcript(s.Log.Records))
		}
		return nil
	}
	if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
		return fmt.Errorf("%w\n%s\n%v", err, rehearse.Transcript(s.Log.Records), st.lab.Truth())
	}
	return st.upgraded(sc.to)
}

// TestDeathAtEveryPoint kills the tool before and after records and commands,
// and resumes, or rolls back where no one-way gate lies behind.
func TestDeathAtEveryPoint(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"DW, redo log", "DW, from DM7", "DW, rollback segment", "DW, no format", "DW, over a backup", "DW, HUGE path", "DW, redo log to HUGE path",
		"DW-DSC, redo log", "DW-DSC, page format", "DSC, redo log", "DSC, ASM disks", "DSC, rolling", "single, three formats", "single, no format",
	} {
		sc := scenes[name]
		for _, after := range []string{"resume", "rollback"} {
			t.Run(name+", then "+after, func(t *testing.T) {
				t.Parallel()
				count := &rehearse.Death{}
				if err := dieAt(t, sc, count, "resume"); err != nil {
					t.Fatal(err)
				}
				n := count.Count()
				for at := 1; at <= n; at += drivertest.Every(251) {
					for _, done := range []bool{false, true} {
						if err := dieAt(t, sc, &rehearse.Death{At: at, After: done}, after); err != nil {
							t.Fatalf("killed at point %d of %d (after the deed: %t), then %s: %v", at, n, done, after, err)
						}
					}
				}
			})
		}
	}
}

// TestDeathInRollback kills the tool while it goes back, and goes back again.
func TestDeathInRollback(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, redo log", "DSC, redo log", "DW-DSC, redo log", "single, no format", "DW, no format"} {
		sc := scenes[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			points := 0
			for at := 0; at == 0 || at <= points; at += drivertest.Every(251) {
				st := sc.open(t)
				st.world.Accept = nil // stops at the one-way gate, as late as a rollback can begin
				s, err := rehearse.Begin(t.Context(), st.world)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Work(t.Context(), "apply", nil); err != nil {
					t.Fatal(err)
				}
				d := &rehearse.Death{At: at, After: at%2 == 0}
				if _, err := s.Work(t.Context(), "rollback", d); err != nil && !errors.Is(err, rehearse.ErrDead) {
					t.Fatal(err)
				}
				if s.Final() == "" {
					if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
						t.Fatalf("killed at point %d of %d: %v\n%s", at, points, err, rehearse.Transcript(s.Log.Records))
					}
				}
				if err := st.back(sc.opts.Release); err != nil {
					t.Fatalf("killed at point %d of %d: %v\n%s", at, points, err, rehearse.Transcript(s.Log.Records))
				}
				if at == 0 {
					points = d.Count()
				}
			}
		})
	}
}

// TestConform is the suite that every driver passes. Of the longer plans each
// step is done, undone, probed and killed once where nothing asks for more.
func TestConform(t *testing.T) {
	t.Parallel()
	for name, stride := range map[string]int{
		"DW, redo log": 67, "DSC, redo log": 67, "single, no format": 67,
		"DW, no format": once, "DW, HUGE path": once, "DW, over a backup, HUGE path": once, "DSC, ASM disks": once, "DSC, rolling": once,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := scenes[name]
			sc.opts.Standbys = 1
			drivertest.Conform(t, func(tb testing.TB) drivertest.World {
				st := sc.open(tb)
				st.world.Truth = func() error { return st.midway() }
				return st.world
			}, drivertest.Every(stride))
		})
	}
}

// once is a stride that no step is as long as.
const once = 9999

// midway: in the middle of a plan no primary may be open.
func (s *stage) midway() error {
	if tr := s.lab.Truth(); len(tr.Damage) > 0 || len(tr.Primaries) > 1 || tr.Lost > 0 {
		return fmt.Errorf("%+v", tr)
	}
	return nil
}

// TestLinkLost drops the link after commands whose answer then never comes:
// the same process probes and goes on, or the next one does.
func TestLinkLost(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, redo log", "DW, over a backup", "DSC, redo log", "DSC, rolling", "single, three formats"} {
		sc := scenes[name]
		for _, kind := range []sim.FaultKind{sim.LinkLostAfter, sim.LinkLostBefore, sim.Unreachable} {
			t.Run(name+", "+string(kind), func(t *testing.T) {
				t.Parallel()
				count := &rehearse.Death{}
				if err := dieAt(t, sc, count, "resume"); err != nil {
					t.Fatal(err)
				}
				for at := 1; at <= count.Count(); at += drivertest.Every(211) {
					st, s := begin(t, sc)
					st.lab.World.Inject(sim.Fault{Kind: kind, Command: st.lab.World.Commands() + at})
					if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
						t.Fatalf("at command %d: %v\n%s", at, err, rehearse.Transcript(s.Log.Records))
					}
					if err := st.upgraded(sc.to); err != nil {
						t.Fatalf("at command %d: %v", at, err)
					}
				}
			})
		}
	}
}

// TestPowerLost takes the power of a node away for a minute, at any command of
// every scene. Somebody starts what ran there, and the run comes to its end.
func TestPowerLost(t *testing.T) {
	t.Parallel()
	for name, sc := range scenes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, s := begin(t, sc)
			if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
				t.Fatal(err)
			}
			nodes, last := st.world.Env.Inventory.Names(), st.lab.World.Commands()
			for at := 1; at < last; at += drivertest.Every(419) {
				node := nodes[at%len(nodes)]
				st, s := begin(t, sc)
				st.lab.World.Inject(sim.Fault{Kind: sim.NodeDown, Node: node, Command: at, For: 60e9})
				s.World.Truth = func() error { return nil } // asked at the end
				if err := lightsOn(t, st, s); err != nil {
					t.Fatalf("%s without power at command %d of %d: %v\n%s", node, at, last, err, rehearse.Transcript(s.Log.Records))
				}
				if err := st.upgraded(sc.to); err != nil {
					t.Fatalf("%s without power at command %d of %d: %v\n%s", node, at, last, err, rehearse.Transcript(s.Log.Records))
				}
			}
		})
	}
}

// lightsOn goes on after a loss of power, as an operator would.
func lightsOn(t *testing.T, st *stage, s *rehearse.Story) error {
	verb := "apply"
	for range 6 {
		out, err := s.Work(t.Context(), verb, nil)
		if err != nil {
			return err
		}
		if out.State == run.Upgraded { // the power may have gone behind the last look
			return errors.Join(st.lab.World.Sleep(t.Context(), 120e9), st.lab.Mend())
		}
		if out.Why.EN == "" || out.Why.ZH == "" {
			return fmt.Errorf("ended %s and says nothing", out.State)
		}
		verb = "resume"
		err = errors.Join(st.lab.World.Sleep(t.Context(), 120e9), st.lab.Mend(), st.lab.World.Sleep(t.Context(), 60e9))
		if err != nil {
			return err
		}
	}
	return errors.New("it does not come to its end")
}
