package gbase8a_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	lab "github.com/shiplift/shiplift/internal/lab/gbase8a"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// broken is a cluster on which a rule is broken and what the tool must do about it.
type broken struct {
	cfg  lab.Config
	r    plan.Request
	bend func(*sim.World, *lab.Cluster)
	// check is the id of the check that must find it; severity Block unless warns.
	check string
	warns bool
	// step is where apply must fail, and says what it must tell. Afterwards a
	// rollback must bring the cluster back whole, when cure has been called.
	step, says string
	cure       func(*sim.World, *lab.Cluster)
	stays      bool // the way back needs a person
	// recovers: the run meets it and succeeds all the same. met tells from what
	// was done that the trouble was there.
	recovers bool
	met      func(*world) bool
	// refused is the rule that Plan must refuse with.
	refused string
	fault   sim.Fault
	calls   int           // of the flush, where not the usual three
	blame   string        // what the lab noted, since somebody else broke it
	later   time.Duration // how long after the bend the case begins
}

// asked is how often a node, or any with "", was asked for a text.
func asked(o *world, node, text string) int {
	n := 0
	for _, r := range o.w.Trace() {
		if (node == "" || r.Node == node) && strings.Contains(strings.Join(r.Argv, " "), text) {
			n++
		}
	}
	return n
}

// flushTook is the time from the call to the first stop of gcware.
func flushTook(o *world) time.Duration {
	var began time.Time
	for _, r := range o.w.Trace() {
		switch line := strings.Join(r.Argv, " "); {
		case strings.Contains(line, theFlush):
			began = r.At
		case !began.IsZero() && strings.Contains(line, "gcware stop"):
			return r.At.Sub(began)
		}
	}
	return 0
}

// twice: the node's services were stopped, came back, and were stopped again.
func twice(node string) func(*world) bool {
	return func(o *world) bool { return asked(o, node, "gcluster_services all stop") >= 2 }
}

// rulesBroken: each rule of the table has a case that breaks it here; those
// that keep it are rulesKept.
var rulesBroken = map[string]broken{
	"G01 a term that gains a digit is the newer one": {cfg: v953, r: flushRequest, recovers: true,
		bend: func(w *sim.World, c *lab.Cluster) { c.SetTerm(w, 98) },
		met: func(o *world) bool {
			s := o.c.Snapshots(o.w, "db2")
			return s[0].Term == 98 && s[len(s)-1].Term >= 100
		}},
	"G02 a gcware node that cannot be listed is not overlooked": {cfg: v953, r: flushRequest,
		bend:  func(w *sim.World, c *lab.Cluster) { removeDir(w, c, "db3") },
		check: "gbase8a-snapshots", step: "db3/start-gcware", says: "No such file"},
	"G03 services that come back once are stopped again": {cfg: v952, r: flushRequest, recovers: true,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.ReviveOnce = "db2" }, met: twice("db2")},
	"G04 monitors that revive do not disturb all stop": {cfg: v953, r: flushRequest, recovers: true,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.ReviveOnce = "db1"; c.Delays.Revive = time.Second }, met: twice("db1")},
	"G05 a tool that does not know gcware starts nothing": {cfg: v953, r: flushRequest, step: "db2/start-gcware", says: "Usage: gcware_services <gbase|gcluster",
		fault: sim.Fault{Kind: sim.HookAfter, Do: hookWrongTool, Node: "db3", Match: "gcware_services all stop"}, cure: rightTool},
	"G06 a gcware node that does not open stops the run": {cfg: v953, r: flushRequest,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.CloseNode = "db2" }, step: "cluster/wait-gcware", says: "a part of the nodes",
		cure: func(_ *sim.World, c *lab.Cluster) { c.Faults.CloseNode = "" }},
	"G07 ACTIVE is no proof": {cfg: v952, r: flushRequest,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.CloseNode, c.Faults.CloseWith = "db3", "FAILURE" }, step: "cluster/wait-gcware", says: "db3 FAILURE",
		cure: func(_ *sim.World, c *lab.Cluster) { c.Faults.CloseNode, c.Faults.CloseWith = "", "" }},
	"G08 a coordinator whose answer is lost is not followed by another when the flush shows": {cfg: v953, r: flushRequest, recovers: true,
		fault: sim.Fault{Kind: sim.LinkLostAfter, Match: theFlush},
		met:   func(o *world) bool { return asked(o, "db1", theFlush) == 1 && asked(o, "", theFlush) == 1 }},
	"G08 a coordinator that was not reached is followed by another": {cfg: v953, r: flushRequest, recovers: true,
		fault: sim.Fault{Kind: sim.LinkLostBefore, Match: theFlush},
		met:   func(o *world) bool { return asked(o, "db1", theFlush) == 1 && asked(o, "db2", theFlush) == 1 }},
	"G09 gcware that is stopped while the flush runs is not taken for flushed": {cfg: v953, r: flushRequest, step: "cluster/flush", says: "behind: db3", calls: 1,
		fault: sim.Fault{Kind: sim.HookAfter, Do: hookQuit, Match: theFlush}, blame: "G09"},
	"G09 a return value that is not 1 stops the run": {cfg: v953, r: flushRequest,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.Return0 = true }, step: "cluster/flush", says: `said "0", not 1`},
	"G10 a request that does nothing is made again": {cfg: v953, r: flushRequest, recovers: true,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.LazyFlush = 2 },
		met:  func(o *world) bool { return asked(o, "", theFlush) == 3 }},
	"G11 a flush that never ends stops the run": {cfg: v953, r: flushRequest,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.NeverComplete = "all" }, step: "cluster/flush", says: "after 3 calls"},
	"G11 a snapshot in progress beside a newer one is waited for": {cfg: v953, r: flushRequest, recovers: true,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.Trailing = "db3" }, met: func(o *world) bool { return flushTook(o) > time.Minute }},
	"G12 a snapshot that appears behind the record of the step is not taken for the flush": {cfg: v953, r: flushRequest, recovers: true,
		bend:  func(_ *sim.World, c *lab.Cluster) { c.Faults.LazyFlush = 1 },
		fault: sim.Fault{Kind: sim.Hook, Do: hookOwn, Match: theListing, Skip: 6}, // three of start-gcware, three of the record
		met:   func(o *world) bool { return asked(o, "", theFlush) == 2 }},
	"G12 a background snapshot is not taken for the flush": {cfg: v953, r: upgrade953, recovers: true,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.AgedBaseline = true },
		met:  func(o *world) bool { return !o.c.Faults.AgedBaseline && asked(o, "", theFlush) == 1 }},
	"G13 a node that lags is waited for": {cfg: v953, r: flushRequest, recovers: true,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.LagNode = "db2" }, met: func(o *world) bool { return flushTook(o) > time.Minute }},
	"G13 a node on which nothing appears stops the run": {cfg: v953, r: flushRequest,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.SilentFlush = "db2" }, step: "cluster/flush", says: "behind: db2"},
	"G14 a smaller term with a larger index stops the run": {cfg: v953, r: flushRequest,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.ForeignTerm = "db3" }, step: "cluster/flush", says: "smaller term with a larger index"},
	"G15 three calls in vain end the run": {cfg: v952, r: flushRequest,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.SilentFlush = "all" }, step: "cluster/flush", says: "after 3 calls"},
	"G16 a .s that stays the same counts as stuck": {cfg: v952, r: flushRequest,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.NeverComplete = "db1" }, step: "cluster/flush", says: "no progress for 10m0s"},
	"G16 a .s of an earlier crash is told and cleared by the flush": {cfg: v953, r: flushRequest, recovers: true, check: "gbase8a-snapshots", warns: true,
		bend: func(w *sim.World, c *lab.Cluster) { c.GhostSnapshot(w, "db2") }, later: time.Hour,
		met: func(o *world) bool {
			return !slices.ContainsFunc(o.c.Snapshots(o.w, "db2"), func(s lab.Snap) bool { return s.Partial })
		}},
	"G18 events": {cfg: v953, r: upgrade953, check: "gbase8a-events", step: "cluster/quiet", says: "showdmlevent",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Events["dml"] = 170 }},
	"G18 events in the second virtual cluster": {cfg: lab.Config{Flavor: lab.V953, VCs: []string{"vc1", "vc2"}, DataNodes: 4}, r: upgrade953, check: "gbase8a-events", step: "cluster/quiet", says: "of vc2",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Events["dmlstorage/vc2"] = 1 }},
	"G19 inconsistent data": {cfg: v953, r: upgrade953, check: "gbase8a-state",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Inconsist["db2"] = true }},
	"G19 not initialised": {cfg: v953, r: upgrade953, check: "gbase8a-state", step: "cluster/quiet", says: "no distribution",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Uninit = true }},
	"G19 a mode left behind": {cfg: v953, r: upgrade953, check: "gbase8a-state", step: "cluster/quiet", says: "READONLY",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Modes[""] = "READONLY" }, cure: func(_ *sim.World, c *lab.Cluster) { c.Modes[""] = "NORMAL" }},
	"G20 a user's lock": {cfg: v953, r: upgrade953, check: "gbase8a-quiet", warns: true, step: "cluster/quiet", says: "lock vc1.test.t1",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Locks = []string{"vc1.test.t1"} }},
	"G20 a running statement": {cfg: v953, r: upgrade953, check: "gbase8a-quiet", warns: true, step: "cluster/quiet", says: "insert into t",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Statements = []string{"insert into t select 1"} }},
	"G20 a failover entry": {cfg: v953, r: upgrade953, check: "gbase8a-quiet", warns: true, step: "cluster/quiet", says: "showfailover",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Failover = []string{"commit id: 7  database: test"} }},
	"G21 a node that the inventory does not have": {cfg: v953, r: upgrade953, check: "gbase8a-members", refused: "G21",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Nodes[2].IP = "10.9.9.9" }},
	"G22 the wrong login": {cfg: v953, r: upgrade953, check: "gbase8a-nodes",
		bend: func(w *sim.World, _ *lab.Cluster) { w.Machine("db2").Login = "root" }},
	"G24 no room for the backup": {cfg: v953, r: upgrade953, check: "gbase8a-room",
		bend: func(w *sim.World, _ *lab.Cluster) { w.Machine("db1").SetDisk(200<<30, 200<<30-2<<30) }},
	"G24 the installer wrote no backup": {cfg: v953, r: upgrade953, step: "db1/install", says: "no backup file", stays: true,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.NoBackup = true }},
	"G25 the prefix is not writable": {cfg: v953, r: upgrade953, check: "gbase8a-writable", step: "db1/install", says: "doesn't have write",
		bend: func(w *sim.World, _ *lab.Cluster) { w.Machine("db3").Chown("/opt/gbase", "root") }},
	"G26 another system": {cfg: v953, r: upgrade953, check: "gbase8a-package", step: "db1/install", says: "must be centos7",
		bend: func(w *sim.World, _ *lab.Cluster) {
			w.Machine("db2").Write("/etc/os-release", "ID=\"kylin\"\nVERSION_ID=\"V10\"\n", 0o644, "root")
		}},
	"G27 a python without gcware": {cfg: v953, r: upgrade953, check: "gbase8a-python", step: "cluster/flush", says: "no coordinator has a python",
		bend: func(w *sim.World, _ *lab.Cluster) {
			for _, h := range []string{"db1", "db2", "db3"} {
				w.Machine(h).Install("/usr/bin/python", "gbase8a python 3.9.1", "root")
				w.Machine(h).Remove("/usr/bin/python2")
			}
		}},
	"G27 one coordinator's python is enough": {cfg: v953, r: flushRequest, recovers: true, check: "gbase8a-python", warns: true,
		bend: func(w *sim.World, _ *lab.Cluster) {
			w.Machine("db1").Install("/usr/bin/python", "gbase8a python 3.9.1", "root")
			w.Machine("db1").Remove("/usr/bin/python2")
		}, met: func(o *world) bool { return asked(o, "db1", theFlush) == 0 && asked(o, "db2", theFlush) == 1 }},
	"G28 a license that is missing": {cfg: lab.Config{Flavor: lab.V953, Licensed: true}, r: upgrade953, step: "cluster/wait-healthy", says: "license is missing",
		cure: func(_ *sim.World, c *lab.Cluster) { c.LicenseOK = true }},
	"G29 a python call that hangs": {cfg: v953, r: flushRequest, step: "cluster/flush", says: "did not answer within 30s",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.HangPython = true }},
	"G30 a majority that does not open": {cfg: v952, r: flushRequest, step: "cluster/wait-gcware", says: "only 0 of 3 gcware are OPEN",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.CloseNode = "all" }, cure: func(_ *sim.World, c *lab.Cluster) { c.Faults.CloseNode = "" }},
	"G23 a service that somebody starts before the installer": {cfg: v953, r: upgrade953, step: "db1/install", says: "services run on db2",
		fault: sim.Fault{Kind: sim.HookAfter, Do: hookStart, Match: "shiplift.options", Changes: true}},
	"G17 gcware that lost its snapshot": {cfg: v953, r: upgrade953, step: "db2/stop-gcware", says: "the flush is not proven",
		fault: sim.Fault{Kind: sim.HookAfter, Do: hookLose, Node: "db1", Match: "gcware_services gcware stop"}},
	"G31 another operator": {cfg: v953, r: flushRequest, check: "gbase8a-lock", step: "db1/lock", says: "another operator holds the cluster: somebody-else",
		bend: func(w *sim.World, c *lab.Cluster) {
			c.OtherLock = true
			w.Machine("db1").Symlink("somebody-else", "/home/gbase/.shiplift-gbase8a.lock")
		}},
	"G32 mixed releases after a crash of the installer": {cfg: v953, r: upgrade953, step: "db1/install", says: "different releases", stays: true,
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.CrashAt = "copy" }},
	"U6 the installer does not start the new release": {cfg: v953, r: upgrade953, step: "db1/install", says: "failed to start it",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.CrashAt = "start" }, cure: func(_ *sim.World, c *lab.Cluster) { c.Faults.CrashAt = "" }},
	"U6 the installer fails before it copies": {cfg: v953, r: upgrade953, step: "db1/install", says: "ended with status 1",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.CrashAt = "backup" }},
	"P24 a shell that prints": {cfg: v953, r: upgrade953, check: "gbase8a-shell", step: "db1/install", says: "invalid literal for int()",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.BashNoise = "\x1b[?2004l\r" }},
	"P2 a stop that fails needs a person": {cfg: v952, r: flushRequest, step: "db2/stop-services", says: "did not stop",
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.StopTimeout = "db2" }},
	"P2 --force behind a failed stop, where it is allowed": {cfg: v952, recovers: true,
		r:    plan.Request{Component: gbase8a.Component, Options: map[string]string{"force-stop": "after-failure"}},
		met:  func(o *world) bool { return asked(o, "db2", "all stop --force") > 0 && asked(o, "db1", "--force") == 0 },
		bend: func(_ *sim.World, c *lab.Cluster) { c.Faults.StopTimeout = "db2" }},
	"G34 a source before V95": {cfg: lab.Config{Flavor: lab.V952, Release: "8.6.2.43.7"}, r: flushRequest, refused: "G34"},
	"G33 a target that is older": {cfg: v953, refused: "G33",
		r: plan.Request{To: "9.5.3.20.1", Mode: "inplace"}},
	"G05 another generation": {cfg: v952, refused: "G21", r: plan.Request{To: "9.5.3.28.12", Mode: "inplace"}},
}

// rightTool puts back what hookWrongTool took.
func rightTool(w *sim.World, c *lab.Cluster) {
	w.Machine("db2").Install(c.Nodes[1].Root+"/gcware/sbin/gcware_services", "gbase8a gcware_services db2 "+c.Nodes[1].Version, "gbase")
}

// removeDir takes a node's snapshot directory away.
func removeDir(w *sim.World, c *lab.Cluster, node string) {
	for _, n := range c.Nodes {
		if n.Name == node {
			w.Machine(n.Machine).Remove(n.Root + "/gcware/data/gcware")
		}
	}
}

func TestRulesBroken(t *testing.T) {
	t.Parallel()
	for name, tc := range rulesBroken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.calls > 0 {
				tc.r.Options = map[string]string{"flush-calls": strconv.Itoa(tc.calls)}
			}
			o := open(t, tc.cfg, tc.r, tc.bend)
			_ = o.w.Sleep(t.Context(), tc.later)
			if tc.fault.Kind != "" {
				o.w.Inject(tc.fault)
			}
			if tc.check != "" {
				tc.found(t, o)
			}
			if tc.refused != "" {
				var no *driver.RefusalError
				if _, err := rehearse.Begin(t.Context(), o.World); !errors.As(err, &no) || no.Rule != tc.refused {
					t.Errorf("plan gave %v, want a refusal by %s", err, tc.refused)
				}
				return
			}
			if tc.recovers {
				s := begin(t, o)
				wants(t, s, "apply", run.Upgraded)
				if tc.met == nil || !tc.met(o) {
					t.Errorf("the trouble was not met\n%s", rehearse.Transcript(s.Log.Records))
				}
				wants(t, s, "rollback", run.RolledBack)
			}
			if tc.step != "" {
				tc.fails(t, o)
			}
		})
	}
}

// found: the check finds it; all others do not block.
func (tc broken) found(t *testing.T, o *world) {
	t.Helper()
	fs := ask(t, o)
	var hit bool
	for _, f := range fs {
		want := check.Block
		if tc.warns {
			want = check.Warn
		}
		hit = hit || f.ID == tc.check && f.Severity == want
	}
	if !hit {
		t.Errorf("check %s did not find it: %+v", tc.check, fs)
	}
}

func ask(t *testing.T, o *world) []check.Finding {
	t.Helper()
	obs, err := o.Driver.Observe(t.Context(), o.Env)
	if err != nil {
		t.Fatal(err)
	}
	return check.Run(t.Context(), o.Driver.Checks(o.Env, obs, o.Request), nil)
}

// fails: apply stops at the step with the words; then the way back is gone.
func (tc broken) fails(t *testing.T, o *world) {
	t.Helper()
	s := begin(t, o)
	out, err := s.Work(t.Context(), "apply", nil)
	if err != nil {
		t.Fatal(err)
	}
	if out.State != run.FailedState || out.Step != tc.step || !strings.Contains(out.Why.EN, tc.says) || out.Why.ZH == "" {
		t.Fatalf("apply ended %s at %q: %s", out.State, out.Step, out.Why.EN)
	}
	switch err := o.rules(); {
	case tc.blame != "":
		if v := strings.Join(o.c.Violations(), " "); !strings.HasPrefix(v, tc.blame) {
			t.Errorf("the lab noted %q, not %s: the damage was not met", v, tc.blame)
		}
		o.w.With(func() { o.c.Forgive() })
	case err != nil:
		t.Errorf("on the way: %v", err)
	}
	if tc.cure != nil {
		o.w.With(func() { tc.cure(o.w, o.c) })
	}
	if tc.stays {
		if out, err = s.Work(t.Context(), "rollback", nil); err != nil || !out.NeedsPerson {
			t.Errorf("rollback ended %s, %v; want a person", out.State, err)
		}
		return
	}
	wantsBack(t, s, o)
}

func wantsBack(t *testing.T, s *rehearse.Story, o *world) {
	t.Helper()
	o.Truth = o.rules
	s.World.Truth = o.rules
	wants(t, s, "rollback", run.RolledBack)
	if len(o.c.Inconsist) == 0 {
		if err := o.whole(); err != nil {
			t.Errorf("after the rollback: %v\n%s", err, rehearse.Transcript(s.Log.Records))
		}
	}
}

func TestAHealthyClusterPassesEveryCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, f := range ask(t, open(t, tc.cfg, tc.r, nil)) {
				if f.Severity != check.Pass {
					t.Errorf("%s %s: %s %s", f.ID, f.Node, f.Says.EN, f.Evidence)
				}
			}
		})
	}
}

// TestFlushKeepsItsOrder holds G03, G05, G06, G08, G12 and G17 from what the
// machines were asked, in the order in which they were.
func TestFlushKeepsItsOrder(t *testing.T) {
	t.Parallel()
	for name, tool := range map[string]string{"flush V952": "gcluster_services", "flush V953": "gcware_services"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc := cases[name]
			o := open(t, tc.cfg, tc.r, nil)
			wants(t, begin(t, o), "apply", run.Upgraded)
			first, last, calls := map[string]int{}, map[string]int{}, 0
			for i, r := range o.w.Trace() {
				line := strings.Join(r.Argv, " ")
				for _, what := range []string{"gcluster_services all stop", tool + " gcware start", "flush_statemachine", tool + " gcware stop", "gcluster_services all start"} {
					if strings.Contains(line, what) {
						if first[what] == 0 {
							first[what] = i
						}
						last[what] = i
						if what == "flush_statemachine" {
							calls++
						}
					}
				}
			}
			order := []string{"gcluster_services all stop", tool + " gcware start", "flush_statemachine", tool + " gcware stop", "gcluster_services all start"}
			for i := 1; i < len(order); i++ {
				if first[order[i]] == 0 || first[order[i]] < last[order[i-1]] {
					t.Errorf("%q at %d does not lie behind %q at %d", order[i], first[order[i]], order[i-1], last[order[i-1]])
				}
			}
			if calls != 1 {
				t.Errorf("the flush was called %d times", calls)
			}
		})
	}
}

// TestACoordinatorThatIsDown: nothing is planned around it; when it goes down
// in the middle the run stops, and goes back when it is there again.
func TestACoordinatorThatIsDown(t *testing.T) {
	t.Parallel()
	t.Run("before the run", func(t *testing.T) {
		t.Parallel()
		o := open(t, v953, flushRequest, func(w *sim.World, _ *lab.Cluster) { w.Machine("db2").PowerOff() })
		if _, err := rehearse.Begin(t.Context(), o.World); err == nil || !strings.Contains(err.Error(), "db2") {
			t.Errorf("plan gave %v", err)
		}
	})
	for _, cmd := range []string{"all stop", "gcware start", "flush_statemachine", "gcware stop", "all start"} {
		t.Run("at "+cmd, func(t *testing.T) {
			t.Parallel()
			o := open(t, v953, flushRequest, nil)
			s := begin(t, o)
			o.w.Inject(sim.Fault{Kind: sim.HookAfter, Do: hookDown, Match: cmd})
			out, err := s.Work(t.Context(), "apply", nil)
			if err != nil || out.State != run.FailedState {
				t.Fatalf("apply ended %s, %v", out.State, err)
			}
			if out, err = s.Work(t.Context(), "rollback", nil); err != nil || out.State == run.RolledBack {
				t.Errorf("rollback with the node down ended %s, %v", out.State, err)
			}
			o.w.Heal()
			s.World.Truth = o.rules
			wants(t, s, "rollback", run.RolledBack)
			if err := o.whole(); err != nil {
				t.Errorf("after the node is back: %v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
		})
	}
}

// TestAMachineThatLosesItsPowerOnTheWay comes back at once, without its
// services: one more resume, or a rollback, ends well, and nobody has started
// anything by hand.
func TestAMachineThatLosesItsPowerOnTheWay(t *testing.T) {
	t.Parallel()
	for _, flavor := range []lab.Config{v952, v953} {
		for _, at := range []string{"gcware start", "/data/gcware -mindepth", theFlush, "gcware stop", "gcluster_services all start"} {
			for _, verb := range []string{"resume", "rollback"} {
				t.Run(fmt.Sprintf("%s at %s, %s", flavor.Flavor, at, verb), func(t *testing.T) {
					t.Parallel()
					o := open(t, flavor, flushRequest, nil)
					s := begin(t, o)
					node := "db3"
					if at == theFlush {
						node = "db1" // the one that is asked
					}
					o.w.Inject(sim.Fault{Kind: sim.NodeDownAfter, Node: node, Match: at, For: 5 * time.Second})
					out, err := s.Work(t.Context(), "apply", nil)
					if err != nil {
						t.Fatal(err)
					}
					if n := len(o.w.Pending()); n != 0 {
						t.Fatal("the machine did not go down")
					}
					if out.State == run.Upgraded {
						return // met and mended in one go
					}
					want := run.Upgraded
					if verb == "rollback" {
						want = run.RolledBack
					}
					wants(t, s, verb, want)
				})
			}
		}
	}
}

func TestStatusIsAskedWithALimit(t *testing.T) {
	t.Parallel()
	o := open(t, v953, flushRequest, func(w *sim.World, _ *lab.Cluster) {
		w.Machine("db2").PowerOff()
		w.Machine("db3").PowerOff()
	})
	start := o.w.Now()
	obs, err := o.Driver.Observe(t.Context(), o.Env)
	if err != nil {
		t.Fatal(err)
	}
	if took := o.w.Now().Sub(start); took > 90*time.Second {
		t.Errorf("observing took %s", took)
	}
	if n := obs.Node("db1"); !n.Reachable || n.Healthy || !strings.Contains(n.Trouble, "did not answer within 30s") {
		t.Errorf("db1 is %+v", n)
	}
	var no *driver.RefusalError
	if _, err := o.Driver.Plan(o.Env.Inventory, obs, o.Request); !errors.As(err, &no) {
		t.Errorf("plan gave %v, want a refusal", err)
	}
}

// TestNobodyWaitsForAMajorityThatIsStopped: gcadmin blocks without one, and the
// processes show that there is none.
func TestNobodyWaitsForAMajorityThatIsStopped(t *testing.T) {
	t.Parallel()
	o := open(t, v953, flushRequest, nil)
	o.w.With(func() {
		for _, n := range []string{"db2", "db3"} { // nobody revives it: the machine comes back without its services
			o.w.Machine(n).PowerOff()
			o.w.Machine(n).PowerOn()
		}
	})
	began := o.w.Now()
	obs, err := o.Driver.Observe(t.Context(), o.Env)
	if err != nil {
		t.Fatal(err)
	}
	if took := o.w.Now().Sub(began); took > 20*time.Second {
		t.Errorf("observing took %s", took)
	}
	if n := obs.Node("db1"); !strings.Contains(n.Trouble, "a majority of gcware is down") {
		t.Errorf("db1 is %+v", n)
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	with := func(bend func(*plan.Request)) plan.Request {
		r := upgrade953
		bend(&r)
		return r
	}
	tests := map[string]struct {
		r    plan.Request
		says string
	}{
		"an unknown option":        {with(func(r *plan.Request) { r.Options = map[string]string{"banana": "1"} }), `no option "banana"`},
		"an unknown value":         {with(func(r *plan.Request) { r.Options = map[string]string{"hold": "1"} }), "cannot be"},
		"an unknown component":     {plan.Request{Component: "cm"}, `no component "cm"`},
		"no target":                {with(func(r *plan.Request) { r.To = "" }), "no target release"},
		"a rolling upgrade":        {with(func(r *plan.Request) { r.Mode = "rolling" }), "all nodes at once"},
		"a subset of nodes":        {with(func(r *plan.Request) { r.Nodes = []string{"db1"} }), "all nodes or none"},
		"a package that is absent": {with(func(r *plan.Request) { r.To = "9.5.3.29.1" }), "no package of release 9.5.3.29.1"},
		"a license for nothing":    {with(func(r *plan.Request) { r.Options = map[string]string{"license": "/x"} }), "needs no license"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := open(t, v953, tc.r, nil)
			_, err := rehearse.Begin(t.Context(), o.World)
			var no *driver.RefusalError
			if !errors.As(err, &no) || !strings.Contains(no.Text.EN, tc.says) || no.Text.ZH == "" {
				t.Errorf("error %v, want a refusal with %q", err, tc.says)
			}
		})
	}
	t.Run("nothing to do", func(t *testing.T) {
		t.Parallel()
		o := open(t, v953, with(func(r *plan.Request) { r.To = "9.5.3.27.14" }), nil)
		var nothing *driver.NothingToDoError
		if _, err := rehearse.Begin(t.Context(), o.World); !errors.As(err, &nothing) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a package without its sum", func(t *testing.T) {
		t.Parallel()
		o := open(t, v953, upgrade953, nil)
		file := filepath.Join(t.TempDir(), filepath.Base(o.Request.Packages[0]))
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		o.Request.Packages = []string{file}
		if _, err := rehearse.Begin(t.Context(), o.World); err == nil || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("error %v", err)
		}
	})
}

// TestAWrongPackageChangesNothing: the sum is compared on the node before anything else.
func TestAWrongPackageChangesNothing(t *testing.T) {
	t.Parallel()
	o := open(t, v953, upgrade953, nil)
	good := o.Request.Packages[0]
	bad := filepath.Join(t.TempDir(), filepath.Base(good))
	sum, err := os.ReadFile(good + ".sha256")
	if err == nil {
		err = errors.Join(os.WriteFile(bad, []byte("damaged"), 0o600), os.WriteFile(bad+".sha256", sum, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	o.Request.Packages = []string{bad}
	broken{step: "db1/put-package", says: "sha256"}.fails(t, o)
}

// TestALicenseGoesWithThePackage holds G28 from its good side.
func TestALicenseGoesWithThePackage(t *testing.T) {
	t.Parallel()
	lic := filepath.Join(t.TempDir(), "gbase.lic")
	if err := os.WriteFile(lic, []byte("license"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := upgrade953
	r.Options = map[string]string{"license": lic}
	licensed := lab.Config{Flavor: lab.V953, Licensed: true}
	s := begin(t, open(t, licensed, r, nil))
	wants(t, s, "apply", run.Upgraded)
	wants(t, s, "commit", run.Committed)
	t.Run("and is taken away on the way back", func(t *testing.T) {
		t.Parallel()
		drivertest.Conform(t, func(t testing.TB) drivertest.World {
			o := open(t, licensed, r, nil)
			o.Truth = o.rules
			return o.World
		}, 9999)
	})
}

// TestALinkThatBreaksUnderTheInstaller: it goes on, and is found again (U6).
func TestALinkThatBreaksUnderTheInstaller(t *testing.T) {
	t.Parallel()
	for _, kind := range []sim.FaultKind{sim.LinkLostAfter, sim.LinkLostBefore} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			o := open(t, v953, upgrade953, nil)
			s := begin(t, o)
			o.w.Inject(sim.Fault{Kind: kind, Match: "gcinstall.py --silent"})
			wants(t, s, "apply", run.Upgraded)
			n := 0
			for _, r := range o.w.Trace() {
				if r.Ran && slices.Contains(r.Argv, "./gcinstall.py") {
					n++
				}
			}
			if n != 1 {
				t.Errorf("the installer was started %d times", n)
			}
		})
	}
}

// TestAnUpgradeWithoutItsFlushIsTakenBack holds the reason of runbook A in the
// simulator: flush=never fails where a flush was needed, and the way back works.
func TestAnUpgradeWithoutItsFlushIsTakenBack(t *testing.T) {
	t.Parallel()
	r := upgrade953
	r.Options = map[string]string{"flush": "never"}
	o := open(t, v953, r, nil)
	s := begin(t, o)
	out, err := s.Work(t.Context(), "apply", nil)
	if err != nil || out.State != run.FailedState || !strings.Contains(out.Why.EN, "every node has 9.5.3.27.14") {
		t.Fatalf("apply ended %s: %s, %v", out.State, out.Why.EN, err)
	}
	if v := strings.Join(o.c.Violations(), " "); !strings.Contains(v, "G13") {
		t.Errorf("the lab did not notice: %q", v)
	}
	s.World.Truth = func() error { return nil }
	wants(t, s, "rollback", run.RolledBack)
	if o.c.Nodes[0].Version != "9.5.3.27.14" {
		t.Errorf("the cluster has %s", o.c.Nodes[0].Version)
	}
}

// TestTheOldLockBlocksASecondRun: two plans, one cluster.
func TestTheOldLockBlocksASecondRun(t *testing.T) {
	t.Parallel()
	o := open(t, v953, flushRequest, nil)
	s := begin(t, o)
	if _, err := s.Work(context.WithoutCancel(t.Context()), "apply", &rehearse.Death{At: 30}); err == nil {
		t.Fatal("the tool did not die")
	}
	if fs := ask(t, o); !slices.ContainsFunc(fs, func(f check.Finding) bool { return f.ID == "gbase8a-lock" && f.Severity == check.Block }) {
		t.Error("the check does not see the lock")
	}
}

// TestResumeAfterTheInstallerWentBack: the cause is mended, resume flushes
// anew and installs.
func TestResumeAfterTheInstallerWentBack(t *testing.T) {
	t.Parallel()
	r := upgrade953
	o := open(t, v953, r, func(w *sim.World, _ *lab.Cluster) { w.Machine("db3").SetDisk(200<<30, 200<<30-1<<19) })
	s := begin(t, o)
	out, err := s.Work(t.Context(), "apply", nil)
	if err != nil || out.State != run.FailedState || out.Step != "db1/install" {
		t.Fatalf("apply ended %s at %q: %s, %v", out.State, out.Step, out.Why.EN, err)
	}
	o.w.Heal()
	wants(t, s, "resume", run.Upgraded)
	flushes := 0
	for _, c := range o.w.Trace() {
		if strings.Contains(strings.Join(c.Argv, " "), "flush_statemachine") {
			flushes++
		}
	}
	if flushes != 2 || o.c.Nodes[0].Version != "9.5.3.28.12" {
		t.Errorf("%d flushes, release %s", flushes, o.c.Nodes[0].Version)
	}
	wants(t, s, "rollback", run.RolledBack)
}

// TestARestoreThatDidNotEndIsMadeAgain: a disk was full under Restore.py, some
// nodes have the old release and one the new; the cause is mended, and the same
// backup is restored once more.
func TestARestoreThatDidNotEndIsMadeAgain(t *testing.T) {
	t.Parallel()
	o := open(t, v953, upgrade953, nil)
	s := begin(t, o)
	wants(t, s, "apply", run.Upgraded)
	o.w.With(func() { o.w.Machine("db3").SetDisk(200<<30, 200<<30-1<<19) })
	for _, says := range []string{"10.0.2.103 is not reachable or full", "10.0.2.103 is not reachable or full"} {
		out, err := s.Work(t.Context(), "rollback", nil)
		if err != nil || out.State != run.FailedState || out.Step != "db1/install" || !strings.Contains(out.Why.EN, says) {
			t.Fatalf("rollback ended %s at %q: %s, %v", out.State, out.Step, out.Why.EN, err)
		}
	}
	if !o.mixed() {
		t.Fatal("the releases are not mixed: the case shows nothing")
	}
	o.w.Heal()
	wantsBack(t, s, o)
}

// TestABusyMachineIsAskedAgainForItsRelease: behind the installer one look
// takes longer than it may; the step does not fail for that.
func TestABusyMachineIsAskedAgainForItsRelease(t *testing.T) {
	t.Parallel()
	o := open(t, v953, upgrade953, nil)
	s := begin(t, o)
	o.w.Inject(sim.Fault{Kind: sim.SlowCommand, Node: "db2", Match: "which gcadmin", Delay: time.Minute, Times: 2})
	out, err := s.Work(t.Context(), "apply", nil)
	if err != nil || out.State != run.Upgraded {
		t.Fatalf("apply ended %s at %q: %s, %v", out.State, out.Step, out.Why.EN, err)
	}
	if strings.Contains(rehearse.Transcript(s.Log.Records), "failed") {
		t.Errorf("a step failed:\n%s", rehearse.Transcript(s.Log.Records))
	}
}
