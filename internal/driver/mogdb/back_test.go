package mogdb_test

import (
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// TestBackFromEveryStep applies a run up to each step and takes it back: as it
// stands, behind a loss of power of the primary, and of all nodes. Nobody but
// the run starts a server again.
func TestBackFromEveryStep(t *testing.T) {
	t.Parallel()
	for name, tc := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, err := rehearse.Begin(t.Context(), open(t, tc.lab, tc.r, untraced).World)
			if err != nil {
				t.Fatal(err)
			}
			for i, step := range first.Plan.Steps {
				if step.Phase != plan.Apply || i == 0 { // before the first step nothing is there to go back from
					continue
				}
				for j, dark := range []string{"", "node1", "node2", "all"} {
					if (i+j)%drivertest.Every(8) == 0 {
						backFrom(t, open(t, tc.lab, tc.r, untraced), step.ID, dark)
					}
				}
			}
		})
	}
}

func backFrom(t *testing.T, w *world, step, dark string) {
	t.Helper()
	s := w.begin(t)
	if out, err := upTo(t.Context(), s, step); err != nil || out.Step != step && out.Gate != step {
		t.Fatalf("until %s: %+v, %v", step, out, err)
	}
	power := func(on bool) {
		w.Sim.With(func() {
			for _, m := range w.Sim.Machines() {
				switch {
				case dark != "all" && dark != m.Name():
				case on:
					m.PowerOn()
				default:
					m.PowerOff()
				}
			}
		})
	}
	power(false)
	_ = w.Env.Clock.Sleep(t.Context(), time.Minute)
	power(true)
	if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
		t.Fatalf("back from %s (no power: %q): %v\n%s", step, dark, err, rehearse.Transcript(s.Log.Records))
	}
	w.stands(t, "2.0.1")
}

// TestPrimaryOutOfReachOnTheWayBack cuts the link to the primary at each command
// of a rollback. While it may serve, no more than one standby is down (M11).
func TestPrimaryOutOfReachOnTheWayBack(t *testing.T) {
	t.Parallel()
	for name, lab := range map[string]gauss.Options{
		"manual": {Nodes: 3, Install: "manual", Load: true},
		"om":     {Nodes: 3, Install: "om", MogHA: true, Load: true},
	} {
		for _, from := range []string{"node2/switchover", "verify"} {
			t.Run(name+" from "+from, func(t *testing.T) {
				t.Parallel()
				begun := func() (*world, *rehearse.Story) {
					w := open(t, lab, rollingR, untraced)
					s := w.begin(t)
					if _, err := upTo(t.Context(), s, from); err != nil {
						t.Fatal(err)
					}
					return w, s
				}
				w, s := begun()
				first := w.Sim.Commands()
				w.back(t, s)
				for at := first; at < w.Sim.Commands(); at += drivertest.Every(19) {
					w, s := begun()
					w.Sim.Inject(sim.Fault{Kind: sim.LinkCut, Node: w.lab.Primary(), Command: at, For: 4 * time.Minute})
					outOfReach(t, w, s, at)
				}
			})
		}
	}
}

func outOfReach(t *testing.T, w *world, s *rehearse.Story, at int) {
	t.Helper()
	for range 4 {
		out, err := s.Work(t.Context(), "rollback", nil)
		if err != nil {
			t.Fatal(err)
		}
		if out.State == run.RolledBack {
			for range 2 { // the cut may have struck its last command: standbys link again
				_ = w.Env.Clock.Sleep(t.Context(), 3*time.Minute)
				_ = w.lab.Nodes()
			}
			_ = w.Env.Clock.Sleep(t.Context(), time.Second)
			w.stands(t, "2.0.1")
			return
		}
		_ = w.Env.Clock.Sleep(t.Context(), 2*time.Minute)
	}
	t.Errorf("cut at command %d: not back\n%s", at, rehearse.Transcript(s.Log.Records))
}
