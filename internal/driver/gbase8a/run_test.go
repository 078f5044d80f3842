package gbase8a_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	lab "github.com/shiplift/shiplift/internal/lab/gbase8a"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// room is a lab that cases fork their worlds from, with its packages on disk.
type room struct {
	base     *sim.World
	packages []string
}

// What faults may do in these tests.
const (
	hookDown  = "host2 goes down"
	hookStart = "somebody starts db2"
	hookLose  = "db2 loses its newest snapshot"
	hookQuit  = "somebody stops gcware on db3 while it flushes"
	hookOwn   = "gcware writes a snapshot of its own"
	// hookWrongTool puts gcluster_services where gcware_services was.
	hookWrongTool = "db2 has another tool"
)

var (
	roomsMu sync.Mutex
	rooms   = map[string]*room{} // by the configuration's text
)

func roomOf(t testing.TB, cfg lab.Config) *room {
	t.Helper()
	roomsMu.Lock()
	defer roomsMu.Unlock()
	key := fmt.Sprintf("%+v", cfg)
	if rooms[key] != nil {
		return rooms[key]
	}
	w := sim.New(7)
	lab.Install(w, cfg)
	w.RegisterHook(hookDown, func(w *sim.World, _ *sim.Machine, _ []string) { w.Machine("db2").PowerOff() })
	w.RegisterHook(hookStart, func(w *sim.World, _ *sim.Machine, _ []string) { lab.Of(w).StartAll(w, "db2") })
	w.RegisterHook(hookLose, func(w *sim.World, _ *sim.Machine, _ []string) { lab.Of(w).LoseSnapshot(w, "db2") })
	w.RegisterHook(hookOwn, func(w *sim.World, _ *sim.Machine, _ []string) { lab.Of(w).Background(w) })
	w.RegisterHook(hookQuit, func(w *sim.World, _ *sim.Machine, _ []string) { lab.Of(w).QuitInFlush(w, "db3") })
	w.RegisterHook(hookWrongTool, func(w *sim.World, m *sim.Machine, _ []string) {
		n := lab.Of(w).Nodes[1]
		w.Machine("db2").Install(n.Root+"/gcware/sbin/gcware_services", "gbase8a gcluster_services db2 "+n.Version, "gbase")
	})
	packages, err := lab.WritePackages(filepath.Join(packageDir, fmt.Sprint(len(rooms))), cfg)
	if err != nil {
		t.Fatal(err)
	}
	rooms[key] = &room{w, packages}
	return rooms[key]
}

// world is one case's cluster.
type world struct {
	rehearse.World
	w *sim.World
	c *lab.Cluster
}

// open forks a cluster; bend sets faults and state before anything runs.
func open(t testing.TB, cfg lab.Config, r plan.Request, bend func(*sim.World, *lab.Cluster)) *world {
	t.Helper()
	rm := roomOf(t, cfg)
	w := rm.base.Clone()
	c := lab.Of(w)
	inv := c.Inventory()
	if bend != nil {
		w.With(func() { bend(w, c) })
	}
	if r.Component == "" {
		r.Packages = rm.packages
	}
	o := &world{w: w, c: c}
	o.World = rehearse.World{Driver: gbase8a.Driver{}, Request: r, Sim: w,
		Env: driver.Env{Hosts: c.Hosts(w), Inventory: inv, Clock: w, Secret: lab.Secret, Serial: true}}
	o.Truth = func() error { return errors.Join(o.rules(), o.whole()) }
	o.Mend = func() error {
		w.With(func() { c.Mend(w) })
		return nil
	}
	return o
}

// rules: nothing in the manual was broken and nothing asked that the lab does not know.
func (o *world) rules() error {
	var bad []string
	o.w.With(func() { bad = o.c.Violations() })
	bad = append(bad, o.w.Complaints()...)
	for _, r := range o.w.Trace() {
		for _, word := range r.Argv {
			if strings.Contains(word, lab.DBAPassword) || strings.Contains(word, lab.DBPassword) {
				bad = append(bad, "a secret in argv: "+strings.Join(r.Argv, " "))
			}
		}
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

func (o *world) whole() (err error) {
	o.w.With(func() { err = o.c.Whole(o.w) })
	return err
}

var (
	flushRequest = plan.Request{Component: gbase8a.Component}
	v952         = lab.Config{Flavor: lab.V952, FlushRequired: true}
	v953         = lab.Config{Flavor: lab.V953, FlushRequired: true}
	upgrade952   = plan.Request{To: "9.5.2.44.8", Mode: "inplace"}
	upgrade953   = plan.Request{To: "9.5.3.28.12", Mode: "inplace"}
)

// cases are the clusters that every run is tried on.
var cases = map[string]struct {
	cfg lab.Config
	r   plan.Request
}{
	"flush V952":               {v952, flushRequest},
	"flush V953":               {v953, flushRequest},
	"upgrade V952":             {v952, upgrade952},
	"upgrade V953":             {v953, upgrade953},
	"upgrade V953 multi VC":    {lab.Config{Flavor: lab.V953, VCs: []string{"vc1", "vc2"}, DataNodes: 4, FlushRequired: true}, upgrade953},
	"upgrade V953 separate":    {lab.Config{Flavor: lab.V953, Separate: true, Coordinators: 2, DataNodes: 2, Gcware: 3, FlushRequired: true}, upgrade953},
	"upgrade V953 instances":   {lab.Config{Flavor: lab.V953, PerMachine: 2, Coordinators: 4, DataNodes: 4, Gcware: 3, FlushRequired: true}, upgrade953},
	"upgrade V952 separate":    {lab.Config{Flavor: lab.V952, Separate: true, Coordinators: 3, DataNodes: 2, FlushRequired: true}, upgrade952},
	"flush V952 rc.local":      {lab.Config{Flavor: lab.V952, FlushRequired: true, Autostart: true}, flushRequest},
	"upgrade V953 rc.local":    {lab.Config{Flavor: lab.V953, FlushRequired: true, Autostart: true}, upgrade953},
	"upgrade V953 held by SQL": {v953, plan.Request{To: "9.5.3.28.12", Mode: "inplace", Options: map[string]string{"quiesce": "readonly"}}},
	"upgrade V953 hold=none":   {v953, plan.Request{To: "9.5.3.28.12", Mode: "inplace", KeepOld: true, Options: map[string]string{"hold": "none"}}},
}

func TestRunsEndToEnd(t *testing.T) {
	t.Parallel()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := open(t, tc.cfg, tc.r, nil)
			from := o.c.Nodes[0].Version
			s := begin(t, o)
			wants(t, s, "apply", run.Upgraded)
			want := tc.r.To
			if want == "" {
				want = from
			}
			if got := o.c.Nodes[0].Version; got != want {
				t.Errorf("the cluster has %s, want %s", got, want)
			}
			wants(t, s, "commit", run.Committed)
			for vc, mode := range o.c.Modes {
				if mode != "NORMAL" {
					t.Errorf("mode of %q is %s after commit", vc, mode)
				}
			}
		})
		t.Run(name+" and back", func(t *testing.T) {
			t.Parallel()
			o := open(t, tc.cfg, tc.r, nil)
			from := o.c.Nodes[0].Version
			s := begin(t, o)
			wants(t, s, "apply", run.Upgraded)
			wants(t, s, "rollback", run.RolledBack)
			if got := o.c.Nodes[0].Version; got != from {
				t.Errorf("the cluster has %s, want %s again", got, from)
			}
			for vc, mode := range o.c.Modes {
				if mode != "NORMAL" {
					t.Errorf("mode of %q is %s after rollback", vc, mode)
				}
			}
		})
	}
}

func begin(t *testing.T, o *world) *rehearse.Story {
	t.Helper()
	s, err := rehearse.Begin(t.Context(), o.World)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wants(t *testing.T, s *rehearse.Story, verb string, want run.State) {
	t.Helper()
	if err := s.Wants(t.Context(), verb, want); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
}

func TestConform(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"flush V952", "flush V953", "upgrade V952", "upgrade V953 held by SQL"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc := cases[name]
			drivertest.Conform(t, func(t testing.TB) drivertest.World {
				o := open(t, tc.cfg, tc.r, nil)
				o.Truth = o.rules // in the middle of a run the cluster is not whole
				return o.World
			}, 11)
		})
	}
}

// TestEveryCrash kills the tool before and after records and commands of
// whole runs; -short thins the points out, -every 1 tries them all.
func TestEveryCrash(t *testing.T) {
	t.Parallel()
	for name, stride := range map[string]int{"flush V952": 17, "flush V953": 23, "upgrade V952": 41, "upgrade V953": 47, "upgrade V953 held by SQL": 53} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				stride *= 5
			}
			tc := cases[name]
			deaths := drivertest.EveryCrash(t, func(t testing.TB) drivertest.World { return open(t, tc.cfg, tc.r, nil).World }, drivertest.Every(stride))
			t.Logf("the tool died %d times", deaths)
		})
	}
}
