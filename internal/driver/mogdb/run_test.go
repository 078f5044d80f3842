package mogdb_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/mogdb"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// packages are written once for all cases of the test binary.
var packages struct {
	sync.Mutex
	dir   string
	files map[string]string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mogdb-packages-")
	if err != nil {
		panic(err)
	}
	packages.dir, packages.files = dir, map[string]string{}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func packageOf(t testing.TB, version string) string {
	t.Helper()
	packages.Lock()
	defer packages.Unlock()
	if packages.files[version] == "" {
		p, err := gauss.PackageOf(gauss.MogDB, version)
		if err != nil {
			t.Fatal(err)
		}
		files, err := p.Write(packages.dir)
		if err != nil {
			t.Fatal(err)
		}
		packages.files[version] = files[0]
	}
	return packages.files[version]
}

// world is one case's cluster.
type world struct {
	rehearse.World
	lab *gauss.Lab
}

// Labs are made once; cases fork their worlds from them.
var (
	roomsMu sync.Mutex
	rooms   = map[string]*gauss.Lab{}
)

func labOf(t testing.TB, o gauss.Options) *gauss.Lab {
	t.Helper()
	roomsMu.Lock()
	defer roomsMu.Unlock()
	o.Flavor = gauss.MogDB
	key := fmt.Sprintf("%+v", o)
	if rooms[key] == nil {
		l, err := gauss.New(sim.New(1), o)
		if err != nil {
			t.Fatal(err)
		}
		rooms[key] = l
	}
	return rooms[key]
}

// open forks a cluster; bend plants state and faults before anything runs.
func open(t testing.TB, o gauss.Options, r plan.Request, bend func(*world)) *world {
	t.Helper()
	base := labOf(t, o)
	w := base.World.Clone()
	l := base.Of(w)
	if r.To == "" {
		r.To = "2.0.3"
	}
	if r.Packages == nil {
		r.Packages = []string{packageOf(t, "2.0.3")}
	}
	out := &world{lab: l}
	out.World = rehearse.World{Driver: mogdb.New(), Request: r, Sim: w,
		Env: driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: w, Serial: true}}
	out.Truth = out.truth
	if bend != nil {
		bend(out)
	}
	return out
}

// untraced is for tests of many or long runs: a trace grows with every look of
// every wait, to hundreds of megabytes in a run that gets stuck.
func untraced(w *world) { w.Sim.NoTrace() }

// truth asks the simulator, not the tool.
func (w *world) truth() error {
	t := w.lab.Truth()
	bad := t.Damaged()
	if w.Request.Mode == "inplace" {
		// The business is stopped. That the primary could be written to for a while
		// behind its standbys' stop is no harm, when it cannot be reached just then.
		bad = slices.DeleteFunc(bad, func(s string) bool { return strings.Contains(s, " M11 ") })
	}
	if t.Lost > 0 {
		bad = append(bad, fmt.Sprintf("%d bytes of acknowledged writes are lost", t.Lost))
	}
	if t.TwoPrimaries > 0 {
		bad = append(bad, fmt.Sprintf("two writable primaries for %s", t.TwoPrimaries))
	}
	bad = append(bad, w.Sim.Complaints()...)
	if len(bad) > 0 {
		return fmt.Errorf("the simulator says: %s", strings.Join(bad, "; "))
	}
	return nil
}

// kinds are variants, installations and MogHA, each with each.
func kinds() map[string]struct {
	lab gauss.Options
	r   plan.Request
} {
	out := map[string]struct {
		lab gauss.Options
		r   plan.Request
	}{}
	for _, mode := range []string{"rolling", "inplace"} {
		for _, install := range []string{"manual", "om"} {
			for _, ha := range []bool{false, true} {
				name := mode + " " + install
				if ha {
					name += " mogha"
				}
				out[name] = struct {
					lab gauss.Options
					r   plan.Request
				}{gauss.Options{Nodes: 3, Install: install, MogHA: ha, Archive: true, Load: mode == "rolling"}, plan.Request{Mode: mode}}
			}
		}
	}
	return out
}

// more are clusters beyond the three nodes of kinds.
var more = map[string]struct {
	lab gauss.Options
	r   plan.Request
}{
	"single server":         {gauss.Options{Nodes: 1, Install: "manual"}, plan.Request{Mode: "inplace"}},
	"single server with OM": {gauss.Options{Nodes: 1, Install: "om", MogHA: true}, plan.Request{Mode: "inplace"}},
	"two nodes":             {gauss.Options{Nodes: 2, Install: "om", MogHA: true, Load: true}, plan.Request{Mode: "rolling"}},
	"five nodes":            {gauss.Options{Nodes: 5, Install: "om", Load: true}, plan.Request{Mode: "rolling"}},
	"cascade":               {gauss.Options{Nodes: 4, Cascade: 1, Install: "om", Load: true}, plan.Request{Mode: "rolling"}},
	"switched back":         {gauss.Options{Nodes: 3, Install: "om", MogHA: true, Load: true}, plan.Request{Mode: "rolling", SwitchBack: true}},
	"a candidate":           {gauss.Options{Nodes: 3, Install: "manual", Load: true}, plan.Request{Mode: "rolling", Candidate: "node3", KeepOld: true}},
}

func allKinds() map[string]struct {
	lab gauss.Options
	r   plan.Request
} {
	out := kinds()
	for k, v := range more {
		out[k] = v
	}
	return out
}

// TestThereAndBack carries each kind of upgrade to its commit and to its rollback.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	for name, tc := range allKinds() {
		for _, last := range []string{"commit", "rollback"} {
			t.Run(name+" "+last, func(t *testing.T) {
				t.Parallel()
				w := open(t, tc.lab, tc.r, nil)
				s, err := rehearse.Begin(t.Context(), w.World)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
					t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
				}
				w.stands(t, "2.0.3")
				want := map[string]run.State{"commit": run.Committed, "rollback": run.RolledBack}[last]
				if err := s.Wants(t.Context(), last, want); err != nil {
					t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
				}
				if last == "commit" {
					w.stands(t, "2.0.3")
				} else {
					w.stands(t, "2.0.1")
				}
			})
		}
	}
}

// stands asks the simulator for what must hold at the end of a run.
func (w *world) stands(t testing.TB, release string) {
	t.Helper()
	for _, n := range w.lab.Nodes() {
		if n.Running != release || n.Installed != release {
			t.Errorf("%s runs %s and has %s installed, want %s", n.Name, n.Running, n.Installed, release)
		}
	}
	for _, f := range w.lab.Findings() {
		t.Errorf("at the end of the run: %s", f)
	}
	if err := w.truth(); err != nil {
		t.Error(err)
	}
}

// TestEveryCrash kills the tool at records and commands of every kind.
func TestEveryCrash(t *testing.T) {
	t.Parallel()
	for name, tc := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := drivertest.EveryCrash(t, func(t testing.TB) rehearse.World {
				w := open(t, tc.lab, tc.r, untraced)
				// Asked when a verb has come to its end: then nothing may be out of order.
				w.Truth = func() error {
					if bad := w.lab.Findings(); len(bad) > 0 {
						return fmt.Errorf("at the end: %s", strings.Join(bad, "; "))
					}
					return w.truth()
				}
				return w.World
			}, drivertest.Every(149))
			t.Logf("%d deaths", n)
		})
	}
}

// TestConform is the suite for the actions of each kind of step.
func TestConform(t *testing.T) {
	t.Parallel()
	for name, tc := range kinds() {
		if strings.HasPrefix(name, "inplace manual") && !strings.Contains(name, "mogha") {
			continue // its steps are among those of the others
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.lab.Nodes = 2
			drivertest.Conform(t, func(t testing.TB) rehearse.World { return open(t, tc.lab, tc.r, untraced).World }, drivertest.Every(17))
		})
	}
}

func has(list []string, part string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, part) })
}
