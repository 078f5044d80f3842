package mogdb_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

var seeds = flag.Int("seeds", 6, "seeded runs with faults for each kind of upgrade")

// TestSeeds carries runs out in which machines, links and the tool fail by chance.
func TestSeeds(t *testing.T) {
	t.Parallel()
	for name, tc := range kinds() {
		c := rehearse.Case{Name: name, Open: func(uint64) (rehearse.World, error) { return open(t, tc.lab, tc.r, untraced).World, nil }}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range *seeds {
				p, err := rehearse.Play(t.Context(), c, uint64(seed))
				if err != nil {
					t.Fatalf("seed %d, faults %q, verbs %q: %v\n%s", seed, p.Faults, p.Verbs, err, rehearse.Transcript(p.Log.Records))
				}
			}
		})
	}
}

func TestSwitchoverThatGoesWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault string
		delay time.Duration
		says  string // how the run fails; "" when it must succeed
	}{
		"it completes behind gs_ctl's timeout":    {"timeoutThenCompletes", 40 * time.Second, ""},
		"nobody ever takes the request up":        {"timeoutNever", 0, "the request /"},
		"the primary refuses it for a catchup":    {"catchup", 0, "the request /"},
		"another gs_ctl holds the lock":           {"lockHeld", 0, "did not happen"},
		"the old primary hangs while it gives up": {"demoteStuck", 0, "tell which of them is the primary"},
		"both are primary":                        {"dualPrimary", 0, "two nodes are primary"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, gauss.Options{Nodes: 3, Install: "om", MogHA: true}, rollingR, func(w *world) { w.lab.SwitchFault(tc.fault, tc.delay) })
			if tc.says == "" {
				w.done(t)
				return
			}
			s := w.fails(t, tc.says)
			if tc.fault == "lockHeld" {
				w.back(t, s)
			}
			if n := strings.Count(strings.Join(w.ran(), "\n"), "gs_ctl switchover"); n > 2 {
				t.Errorf("it was asked for %d times", n)
			}
		})
	}
}

func TestLinkLostDuringTheSwitchover(t *testing.T) {
	t.Parallel()
	w := open(t, om3, rollingR, func(w *world) {
		w.Sim.Inject(sim.Fault{Kind: sim.LinkLostAfter, Match: "gs_ctl switchover"})
	})
	w.done(t)
}

// TestBackWithANodeDown rolls back past a node without power and finishes when it is back.
func TestBackWithANodeDown(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]plan.Request{"rolling": rollingR, "in place": inplaceR} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, gauss.Options{Nodes: 3, Install: "om", MogHA: true}, r, nil)
			s := w.done(t)
			w.Sim.With(func() { w.Sim.Machine("node3").PowerOff() })
			out, err := s.Work(t.Context(), "rollback", nil)
			if err != nil {
				t.Fatal(err)
			}
			if out.State == run.RolledBack {
				t.Fatal("the run is said to be back without node3")
			}
			for _, n := range w.lab.Nodes()[:2] {
				if n.Installed != "2.0.1" || n.Running != "2.0.1" {
					t.Errorf("%s runs %s and has %s installed\n%s", n.Name, n.Running, n.Installed, rehearse.Transcript(s.Log.Records))
				}
			}
			w.Sim.With(func() { w.Sim.Machine("node3").PowerOn() })
			if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil && !strings.Contains(err.Error(), "M19") {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			for _, n := range w.lab.Nodes() {
				if n.Installed != "2.0.1" || n.Running != "2.0.1" {
					t.Errorf("%s runs %s and has %s installed", n.Name, n.Running, n.Installed)
				}
			}
		})
	}
}

// TestANodeThatAStepOfTheClusterWaitsForIsNamed: its own steps wait behind that one.
func TestANodeThatAStepOfTheClusterWaitsForIsNamed(t *testing.T) {
	t.Parallel()
	w := open(t, om3, rollingR, untraced)
	s := w.begin(t)
	if _, err := upTo(t.Context(), s, "node2/stop"); err != nil {
		t.Fatal(err)
	}
	w.Sim.With(func() { w.Sim.Machine("node2").PowerOff() })
	out, err := s.Work(t.Context(), "rollback", nil)
	if err != nil || len(out.Owed) != 1 || out.Owed[0] != "node2" || !strings.Contains(out.Why.EN, "node2") {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestFailedStart rolls back when the new software does not come up.
func TestFailedStart(t *testing.T) {
	t.Parallel()
	for name, tc := range allKinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, tc.lab, tc.r, nil)
			node := "node1"
			if tc.r.Mode == "rolling" {
				node = "node2"
			}
			m := w.Sim.Machine(node)
			w.Env.Hosts[node] = &meddling{Host: w.Env.Hosts[node], before: "gs_ctl start", do: func() {
				if m.Exists(w.app(node) + "/bin_201") { // the new software does not run on this machine
					w.Sim.With(func() { m.Write(w.app(node)+"/bin/gaussdb", "broken\n", 0o755, "omm") })
				}
			}}
			s := w.begin(t)
			out, err := s.Work(t.Context(), "apply", nil)
			if err != nil || out.State == run.Upgraded {
				t.Fatalf("broken software came up: %v %s", err, out.State)
			}
			w.Truth = func() error { return nil } // the broken file is the test's own
			if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			for _, f := range w.lab.Findings() {
				t.Error(f)
			}
		})
	}
}

// TestHook moves a virtual IP that the lab's own program holds in a file.
func TestHook(t *testing.T) {
	t.Parallel()
	const hook, held = "/usr/local/bin/move_vip", "/etc/vip_held"
	make := func() *world {
		return open(t, gauss.Options{Nodes: 3, Install: "om", MogHA: true, Load: true}, plan.Request{Mode: "rolling", Options: map[string]string{"switch-hook": hook}}, func(w *world) {
			w.Sim.RegisterTool("move_vip", func(c *sim.Call) int {
				switch c.Argv[1] {
				case "holds":
					if !c.Machine.Exists(held) {
						return 1
					}
				case "take":
					c.Machine.Write(held, c.Argv[2]+" "+c.Argv[3]+"\n", 0o644, "root")
				case "release":
					if c.Machine.Exists(held) {
						c.Machine.Remove(held)
					}
				}
				return 0
			})
			w.Sim.With(func() {
				for _, m := range w.Sim.Machines() {
					m.Install(hook, "move_vip", "root")
				}
				w.Sim.Machine("node1").Write(held, "", 0o644, "root")
			})
		})
	}
	w := make()
	if bad := check.Blocking(w.findings(t)); len(bad) > 0 {
		t.Fatalf("%+v", bad)
	}
	s := w.done(t)
	if !w.Sim.Machine("node2").Exists(held) || w.Sim.Machine("node1").Exists(held) {
		t.Error("the virtual IP is not where the new primary is")
	}
	w.back(t, s)
	if !w.Sim.Machine("node1").Exists(held) || w.Sim.Machine("node2").Exists(held) {
		t.Error("the virtual IP is not back")
	}
	// The tool dies at each command of the step.
	for at := 1; ; at++ {
		w := make()
		s := w.begin(t)
		d := &rehearse.Death{At: 420 + at, After: at%2 == 0}
		_, _ = s.Work(t.Context(), "apply", d)
		if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
			t.Fatalf("killed at %d: %v", 420+at, err)
		}
		if !w.Sim.Machine("node2").Exists(held) || w.Sim.Machine("node1").Exists(held) {
			t.Fatalf("killed at %d: the virtual IP is not where the new primary is", 420+at)
		}
		if at == 60 {
			break
		}
	}
}

func TestChecksOfAHealthyClusterPass(t *testing.T) {
	t.Parallel()
	for name, tc := range allKinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, tc.lab, tc.r, nil)
			for _, f := range w.findings(t) {
				if f.Severity == check.Block {
					t.Errorf("%s %s: %s (%s)", f.ID, f.Node, f.Says.EN, f.Evidence)
				}
				if f.Says.EN == "" || f.Says.ZH == "" {
					t.Errorf("%s says nothing in a language", f.ID)
				}
			}
			if err := w.truth(); err != nil {
				t.Error(err)
			}
			if ran := w.ran(); len(ran) > 0 {
				t.Errorf("checks changed something: %q", ran)
			}
		})
	}
}

// TestVerifyMeets shows that what is out of order behind an upgrade is met.
func TestVerifyMeets(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(*testing.T, *world)
		id    string
	}{
		"a server that is down": {func(t *testing.T, w *world) {
			w.hand(t, "node3", "sudo", "systemctl", "stop", "mogha")
			w.gsCtl(t, "node3", "stop")
		}, "healthy"},
		"a server that fell": {func(t *testing.T, w *world) {
			w.hand(t, "node3", "sudo", "systemctl", "stop", "mogha")
			w.gsCtl(t, "node3", "stop")
		}, "fallen"},
		"MogHA that is off": {func(t *testing.T, w *world) { w.hand(t, "node1", "sudo", "systemctl", "stop", "mogha") }, "mogha"},
		"a file of another build": {func(t *testing.T, w *world) {
			w.Sim.With(func() { w.Sim.Machine("node2").Write(w.app("node2")+"/lib/libecpg.so.6", "x\n", 0o755, "omm") })
		}, "files"},
		"a file that is missing": {func(t *testing.T, w *world) {
			w.hand(t, "node2", "rm", w.app("node2")+"/lib/postgresql/pg_plugin/lab_udf.so")
		}, "files"},
		"a dynamic config that is gone": {func(t *testing.T, w *world) { w.hand(t, "node1", "rm", w.app("node1")+"/bin/cluster_dynamic_config") }, "refreshconf"},
		"a setting that was changed": {func(t *testing.T, w *world) {
			for _, n := range []string{"node1", "node2", "node3"} {
				conf := w.lab.Options.Data() + "/postgresql.conf"
				body, _ := w.Sim.Machine(n).Read(conf)
				w.Sim.With(func() {
					w.Sim.Machine(n).Write(conf, strings.ReplaceAll(body, "max_connections = 200", "max_connections = 400"), 0o600, "omm")
				})
			}
			w.hand(t, "node3", "sudo", "systemctl", "stop", "mogha")
			w.gsCtl(t, "node3", "stop")
			w.gsCtl(t, "node3", "start", "-M", "standby")
		}, "settings"},
		"a number of another release": {func(t *testing.T, w *world) {
			w.Sim.With(func() {
				w.Sim.Machine("node1").Write(w.app("node1")+"/bin/upgrade_version", "2.0.3\n92.300\naaaaaaaa\n", 0o600, "omm")
			})
		}, "upgrade_version"},
		"a node that does not answer": {func(t *testing.T, w *world) { w.Sim.With(func() { w.Sim.Machine("node3").PowerOff() }) }, "reachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, gauss.Options{Nodes: 3, Install: "om", MogHA: true}, rollingR, nil)
			s := w.done(t)
			tc.spoil(t, w)
			fs, err := w.Driver.Verify(t.Context(), w.Env, s.Plan)
			if err != nil {
				t.Fatal(err)
			}
			met := false
			for _, f := range check.Blocking(fs) {
				met = met || f.ID == tc.id
			}
			if !met {
				t.Errorf("not met: %s", fmt.Sprint(says(fs)))
			}
		})
	}
}

// meddling does something before a command.
type meddling struct {
	host.Host
	before string
	do     func()
}

func (m *meddling) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if strings.Contains(strings.Join(c.Argv, " "), m.before) {
		m.do()
	}
	return m.Host.Run(ctx, c)
}
