package opengauss_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/opengauss"
	"github.com/shiplift/shiplift/internal/host"
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
	files map[string][]string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "opengauss-packages-")
	if err != nil {
		panic(err)
	}
	packages.dir, packages.files = dir, map[string][]string{}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// packagesOf are the files of a release: the archive that holds everything,
// then the cluster manager's.
func packagesOf(t testing.TB, version string) []string {
	t.Helper()
	packages.Lock()
	defer packages.Unlock()
	if have, ok := packages.files[version]; ok {
		return have
	}
	p, err := gauss.PackageOf(gauss.OpenGauss, version)
	if err != nil {
		t.Fatal(err)
	}
	files, err := p.Write(packages.dir)
	if err != nil {
		t.Fatal(err)
	}
	packages.files[version] = files
	return files
}

// apart writes the archives of a release one by one and names the server's and
// the cluster manager's; the catalogue scripts lie beside them.
func apart(t testing.TB, version string) []string {
	t.Helper()
	p, err := gauss.PackageOf(gauss.OpenGauss, version)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for n, b := range p.Files {
		if n != p.Name {
			if err := os.WriteFile(filepath.Join(dir, n), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return opengauss.PackagesIn(dir)
}

// opt is one kind of practice cluster and upgrade.
type opt struct {
	gauss.Options
	to   string
	mode string
	req  func(*plan.Request)
	cm   bool // only the cluster manager
	// apart gives the archives one by one, as they lie in $GPHOME.
	apart bool
}

// open makes a fresh world; the lab itself is made once and cloned.
func (o opt) open(t testing.TB) (func(testing.TB) rehearse.World, *gauss.Lab) {
	t.Helper()
	if o.Release == "" {
		o.Release = "5.0.0"
	}
	base := sim.New(1)
	lab, err := gauss.New(base, o.Options)
	if err != nil {
		t.Fatal(err)
	}
	files := packagesOf(t, o.to)
	switch {
	case o.apart:
		files = apart(t, o.to)
	case o.cm:
		files = files[1:]
	default:
		files = files[:1]
	}
	var of func(w *sim.World) rehearse.World
	of = func(w *sim.World) rehearse.World {
		l := lab.Of(w)
		req := plan.Request{To: o.to, Mode: o.mode, Packages: files}
		if o.cm {
			req.Component, req.Mode = "cm", ""
		}
		if o.req != nil {
			o.req(&req)
		}
		return rehearse.World{
			Driver:  opengauss.New(),
			Env:     driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: w, Serial: true},
			Request: req, Sim: w, Truth: truth(l), Accept: []string{opengauss.RestGate},
			Fork: func() rehearse.World { return of(w.Clone()) },
		}
	}
	return func(testing.TB) rehearse.World { return of(base.Clone()) }, lab
}

// truth asks the simulator, not the tool.
func truth(l *gauss.Lab) func() error {
	return func() error {
		t := l.Truth()
		var bad []string
		bad = append(bad, t.Damaged()...)
		if t.Lost > 0 {
			bad = append(bad, fmt.Sprintf("%d bytes of acknowledged writes are lost", t.Lost))
		}
		if t.TwoPrimaries > 0 {
			bad = append(bad, fmt.Sprintf("two writable primaries for %s", t.TwoPrimaries))
		}
		bad = append(bad, l.World.Complaints()...)
		if len(bad) > 0 {
			return fmt.Errorf("the simulator says: %s", strings.Join(bad, "; "))
		}
		return nil
	}
}

var cases = map[string]opt{
	"big rolling":          {Options: gauss.Options{Load: true}, to: "5.0.3"},
	"big rolling with CM":  {Options: gauss.Options{CM: true, Load: true}, to: "5.0.3"},
	"big in place":         {Options: gauss.Options{}, to: "5.0.3", mode: "inplace"},
	"small rolling":        {Options: gauss.Options{Release: "1.1.0", Load: true}, to: "2.0.0"},
	"small in place":       {Options: gauss.Options{Release: "1.1.0"}, to: "2.0.0", mode: "inplace"},
	"one node":             {Options: gauss.Options{Nodes: 1}, to: "5.0.3"},
	"cascade":              {Options: gauss.Options{Nodes: 4, Cascade: 1, Load: true}, to: "5.0.3"},
	"five nodes":           {Options: gauss.Options{Nodes: 5, Load: true}, to: "6.0.0"},
	"separated env, lite":  {Options: gauss.Options{Nodes: 2, SepEnv: true, Lite: true, Load: true}, to: "5.0.3"},
	"strict sync":          {Options: gauss.Options{Nodes: 2, Unavailable: true, Load: true}, to: "5.0.3"},
	"subset then the rest": {Options: gauss.Options{Load: true}, to: "5.0.3", req: func(r *plan.Request) { r.Nodes = []string{"node3"} }},
	"archives one by one":  {Options: gauss.Options{CM: true, Nodes: 2}, to: "6.0.0", apart: true},
	"CM alone":             {Options: gauss.Options{CM: true, Load: true}, to: "5.0.3", cm: true},
	"CM of one node":       {Options: gauss.Options{CM: true, Load: true}, to: "5.0.3", cm: true, req: func(r *plan.Request) { r.Nodes = []string{"node2"} }},
	"small with CM":        {Options: gauss.Options{Release: "3.0.0", CM: true, Load: true}, to: "3.0.1"},
	"small in place, CM":   {Options: gauss.Options{Release: "3.0.0", CM: true}, to: "3.0.1", mode: "inplace"},
	"two nodes":            {Options: gauss.Options{Nodes: 2, Load: true}, to: "5.0.3"},
	"small, one node":      {Options: gauss.Options{Nodes: 1, Release: "1.1.0"}, to: "2.0.0"},
	"small cascade":        {Options: gauss.Options{Nodes: 4, Cascade: 1, Release: "1.1.0", Load: true}, to: "2.0.0"},
	"cascade in place":     {Options: gauss.Options{Nodes: 4, Cascade: 1}, to: "5.0.3", mode: "inplace"},
	"cascade with CM":      {Options: gauss.Options{Nodes: 4, Cascade: 1, CM: true, Load: true}, to: "5.0.3"},
	"in place with CM":     {Options: gauss.Options{CM: true}, to: "5.0.3", mode: "inplace"},
}

// TestUpgradeThereAndBack carries each kind of upgrade out, to its commit and
// to its rollback.
func TestUpgradeThereAndBack(t *testing.T) {
	t.Parallel()
	for name, o := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, lab := o.open(t)
			for _, verbs := range [][]string{{"apply", "commit"}, {"apply", "rollback"}} {
				w := open(t)
				s, err := rehearse.Begin(t.Context(), w)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range verbs {
					want := map[string]run.State{"apply": run.Upgraded, "commit": run.Committed, "rollback": run.RolledBack}[v]
					if err := s.Wants(t.Context(), v, want); err != nil {
						t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
					}
				}
				if found := lab.Of(w.Sim).Findings(); len(found) > 0 {
					t.Errorf("after %v the lab finds: %s", verbs, strings.Join(found, "; "))
				}
			}
		})
	}
}

// TestConform drives every step alone through its life and kills the tool in
// the middle of it; with -every in all kinds of clusters.
func TestConform(t *testing.T) {
	t.Parallel()
	everyCase(t, map[string]int{"big rolling": 13, "big rolling with CM": 23, "big in place": 19, "small rolling": 11, "strict sync": 19, "in place with CM": 23, "CM alone": 7},
		func(t *testing.T, open func(testing.TB) rehearse.World, stride int) {
			drivertest.Conform(t, open, stride)
		})
}

// TestEveryCrash kills the tool before and after records, commands and
// messages of whole runs, and takes each run up again or back; with -every in
// all kinds of clusters.
func TestEveryCrash(t *testing.T) {
	t.Parallel()
	everyCase(t, map[string]int{"big rolling": 127, "big rolling with CM": 197, "big in place": 149, "small rolling": 67, "small in place": 83, "one node": 47, "cascade": 197, "CM alone": 83},
		func(t *testing.T, open func(testing.TB) rehearse.World, stride int) {
			drivertest.EveryCrash(t, open, stride)
		})
}

// everyCase runs a suite of many points: usually on the kinds named in own, at
// every so many points; where -every says more, on all kinds.
func everyCase(t *testing.T, own map[string]int, suite func(t *testing.T, open func(testing.TB) rehearse.World, stride int)) {
	t.Helper()
	for name, o := range cases {
		stride := drivertest.Every(own[name])
		if stride == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := o.open(t)
			suite(t, open, stride)
		})
	}
}

// sourced is a command as the cluster user types it.
func sourced(l *gauss.Lab, argv ...string) host.Cmd {
	return host.Sourced(l.Options.Profile(), host.Change(argv...))
}
