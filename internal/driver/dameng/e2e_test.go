package dameng_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/dameng"
	"github.com/shiplift/shiplift/internal/host"
	lab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// scene is a practice cluster and what is asked of it.
type scene struct {
	opts    lab.Options
	to      string
	bridge  string // further package
	mode    string
	options map[string]string
	before  func(*lab.Lab)
}

// stage is a scene that stands.
type stage struct {
	lab   *lab.Lab
	world rehearse.World
}

var (
	packagesOnce sync.Once
	packagesDir  string
	packagesMade sync.Map
)

func TestMain(m *testing.M) {
	code := m.Run()
	if packagesDir != "" {
		_ = os.RemoveAll(packagesDir)
	}
	os.Exit(code)
}

// packageOf is the package of a release, made once for all tests.
func packageOf(t testing.TB, release string) string {
	t.Helper()
	packagesOnce.Do(func() {
		dir, err := os.MkdirTemp("", "dameng-packages-")
		if err != nil {
			t.Fatal(err)
		}
		packagesDir = dir
	})
	once, _ := packagesMade.LoadOrStore(release, sync.OnceValue(func() error {
		_, err := lab.WritePackages(packagesDir, release)
		return err
	}))
	if err := once.(func() error)(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(packagesDir, "dameng-"+release+".tar.gz")
}

func (s scene) open(t testing.TB) *stage {
	t.Helper()
	l, err := lab.New(s.opts)
	if err != nil {
		t.Fatal(err)
	}
	for range 7 {
		l.Write()
	}
	if s.before != nil {
		s.before(l)
	}
	packages := []string{packageOf(t, s.to)}
	if s.bridge != "" {
		packages = append(packages, packageOf(t, s.bridge))
	}
	mode := s.mode
	if mode == "" {
		mode = "inplace"
	}
	st := &stage{lab: l}
	st.world = rehearse.World{
		Driver: dameng.Driver{},
		Env: driver.Env{Hosts: guarded(t, l.Hosts()), Inventory: l.Inventory(), Clock: l.World, Serial: true,
			Secret: func(string, string) (string, error) { return lab.DefaultPassword, nil }},
		Request: plan.Request{To: s.to, Mode: mode, Packages: packages, Options: s.options},
		Accept:  []string{"point-of-no-return", "hop1/point-of-no-return", "hop2/point-of-no-return"},
		Truth:   func() error { return st.truth() },
	}
	return st
}

// truth: one primary, nothing lost, no rule broken, nothing asked that the
// simulator does not know.
func (s *stage) truth() error {
	t := s.lab.Truth()
	switch {
	case len(t.Damage) > 0:
		return fmt.Errorf("damage: %v", t.Damage)
	case len(t.Primaries) != 1:
		return fmt.Errorf("writable primaries: %v", t.Primaries)
	case t.Lost > 0:
		return fmt.Errorf("%d acknowledged writes are lost", t.Lost)
	}
	if c := s.lab.World.Complaints(); len(c) > 0 {
		return fmt.Errorf("the simulator complains: %v", c)
	}
	return nil
}

// guarded fails the test when the password is seen outside of standard input.
func guarded(t testing.TB, set host.Set) host.Set {
	out := host.Set{}
	for name, h := range set {
		out[name] = &guard{h, t}
	}
	return out
}

type guard struct {
	host.Host
	t testing.TB
}

func (g *guard) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if strings.Contains(strings.Join(c.Argv, " "), lab.DefaultPassword) {
		g.t.Errorf("the password is in argv: %q", c.Argv)
	}
	res, err := g.Host.Run(ctx, c)
	if bytes.Contains(res.Stdout, []byte(lab.DefaultPassword)) {
		g.t.Errorf("the password is in the output of %q", c.Argv)
	}
	return res, err
}

// everything runs to, is open and has all writes.
func (s *stage) upgraded(to string) error {
	if err := s.truth(); err != nil {
		return err
	}
	t := s.lab.Truth()
	for n, r := range t.Releases {
		if r != to {
			return fmt.Errorf("%s runs %s, not %s", n, r, to)
		}
	}
	if len(t.Releases) != len(s.world.Env.Inventory.Nodes) {
		return fmt.Errorf("running: %v", t.Releases)
	}
	for range 3 {
		if !s.lab.Write() {
			return fmt.Errorf("the primary takes no writes")
		}
	}
	if err := s.lab.World.Sleep(context.Background(), 60e9); err != nil {
		return err
	}
	if t = s.lab.Truth(); len(t.Behind) > 0 || t.Lost > 0 {
		return fmt.Errorf("after new writes: behind %v, lost %d", t.Behind, t.Lost)
	}
	return nil
}

var scenes = map[string]scene{
	"DW, redo log":                  {opts: lab.Options{Topology: "dw", Standbys: 2, Release: "8.1.1.14"}, to: "8.1.1.15"},
	"DW, redo log to page format":   {opts: lab.Options{Topology: "dw", Standbys: 2, Release: "8.1.1.14", Lang: "en"}, to: "8.1.1.171"},
	"DW, from DM7":                  {opts: lab.Options{Topology: "dw", Release: "7.6.0.183", GBK: true}, to: "8.1.1.101"},
	"DW, old DM7 in two hops":       {opts: lab.Options{Topology: "dw", Release: "7.1.6.5"}, to: "8.1.1.171", bridge: "7.6.0.183"},
	"DW, rollback segment":          {opts: lab.Options{Topology: "dw", Standbys: 2, Release: "8.1.1.15"}, to: "8.1.1.101"},
	"DW, page format":               {opts: lab.Options{Topology: "dw", Release: "8.1.1.101"}, to: "8.1.1.171"},
	"DW, no format":                 {opts: lab.Options{Topology: "dw", Release: "8.1.1.15"}, to: "8.1.1.100"},
	"DW, HUGE path":                 {opts: lab.Options{Topology: "dw", Release: "8.1.1.171"}, to: "8.1.2.101", options: map[string]string{"huge-tables": "no"}},
	"DW, redo log to HUGE path":     {opts: lab.Options{Topology: "dw", Release: "8.1.1.14"}, to: "8.1.3.100", options: map[string]string{"huge-tables": "no"}},
	"DW, over a backup":             {opts: lab.Options{Topology: "dw", Standbys: 2, Release: "8.1.1.14"}, to: "8.1.1.171", options: map[string]string{"runbook": "r2"}},
	"DW, over a backup, HUGE path":  {opts: lab.Options{Topology: "dw", Release: "8.1.1.14"}, to: "8.1.3.100", options: map[string]string{"runbook": "r2", "huge-tables": "no"}},
	"DW, equal DB_MAGIC":            {opts: lab.Options{Topology: "dw", Release: "8.1.1.14"}, to: "8.1.1.15", before: func(l *lab.Lab) { l.EqualMagic("m2") }},
	"DW-DSC, redo log":              {opts: lab.Options{Topology: "dw-dsc", Release: "8.1.1.14"}, to: "8.1.1.15"},
	"DW-DSC, redo log to page":      {opts: lab.Options{Topology: "dw-dsc", Standbys: 2, Release: "8.1.1.14"}, to: "8.1.1.171"},
	"DW-DSC, page format":           {opts: lab.Options{Topology: "dw-dsc", Release: "8.1.1.101"}, to: "8.1.1.171"},
	"DW-DSC, over a backup":         {opts: lab.Options{Topology: "dw-dsc", Release: "8.1.1.14"}, to: "8.1.1.15", options: map[string]string{"runbook": "r2"}},
	"DSC, redo log":                 {opts: lab.Options{Topology: "dsc", Release: "8.1.1.14"}, to: "8.1.1.15"},
	"DSC, from DM7":                 {opts: lab.Options{Topology: "dsc", Release: "7.1.6.20"}, to: "8.1.1.15"},
	"DSC, ASM disks":                {opts: lab.Options{Topology: "dsc", Release: "8.1.3.100"}, to: "8.1.3.162"},
	"DSC, HUGE path":                {opts: lab.Options{Topology: "dsc", Release: "8.1.2.100"}, to: "8.1.2.162", options: map[string]string{"huge-tables": "no"}},
	"DSC, rolling":                  {opts: lab.Options{Topology: "dsc", Release: "8.1.4.80"}, to: "8.1.4.170", mode: "rolling"},
	"single, three formats":         {opts: lab.Options{Topology: "single", Release: "8.1.1.14"}, to: "8.1.1.171"},
	"single, no format":             {opts: lab.Options{Topology: "single", Release: "8.1.2.162", Lang: "en"}, to: "8.1.3.162"},
	"single, old DM7 in two hops":   {opts: lab.Options{Topology: "single", Release: "7.1.6.5"}, to: "8.1.1.15", bridge: "7.6.0.183"},
	"single, HUGE tables, accepted": {opts: lab.Options{Topology: "single", Release: "8.1.2.100", HugeTables: true}, to: "8.1.3.62", options: map[string]string{"huge-tables": "yes", "huge-accepted": "yes"}},
}

func TestRunbooksEndToEnd(t *testing.T) {
	t.Parallel()
	for name, sc := range scenes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := sc.open(t)
			o, err := st.world.Driver.Observe(t.Context(), st.world.Env)
			if err != nil {
				t.Fatal(err)
			}
			if bad := check.Blocking(check.Run(t.Context(), st.world.Driver.Checks(st.world.Env, o, st.world.Request), nil)); len(bad) > 0 {
				t.Fatalf("checks block: %+v", bad)
			}
			s, err := rehearse.Begin(t.Context(), st.world)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
				t.Fatalf("%v\n%s\n%v", err, rehearse.Transcript(s.Log.Records), st.lab.Truth())
			}
			if err := st.upgraded(sc.to); err != nil {
				t.Fatalf("after apply: %v", err)
			}
			if slices.ContainsFunc(s.Plan.Steps, func(p plan.Step) bool { return p.Kind == "huge" }) {
				st.hugePaths(t)
			}
			if err := s.Wants(t.Context(), "commit", run.Committed); err != nil {
				t.Fatal(err)
			}
			st.clean(t)
		})
	}
}

// hugePaths: MAIN of every member has one HUGE path, as the server sees it too (DM-082, DM-085).
func (s *stage) hugePaths(t *testing.T) {
	t.Helper()
	for _, n := range s.world.Env.Inventory.Nodes {
		ini, _ := s.lab.Config(n.Name, "dm.ini")
		_, ctl, _ := strings.Cut(ini, "CTL_PATH = ")
		s.sh(t, n.Name, "/opt/dmdbms/bin/dmctlcvt", "TYPE=1", "SRC="+strings.Fields(ctl)[0], "DEST=/tmp/ctl.txt")
		text, _ := s.lab.World.Machine(n.Name).Read("/tmp/ctl.txt")
		if got := strings.Count(text, "huge_path="); got != 1 {
			t.Errorf("%s: its control file holds %d HUGE paths", n.Name, got)
		}
	}
}

// clean: commit leaves neither old software nor cold copies.
func (s *stage) clean(t *testing.T) {
	t.Helper()
	for _, m := range s.lab.World.Machines() {
		for _, dir := range []string{"/opt/dmdbms", "/dm/data", "/backup"} {
			for _, name := range m.List(dir) {
				if slices.ContainsFunc([]string{"bin.", "cold", "upgrade-"}, func(p string) bool { return strings.Contains(name, p) }) {
					t.Errorf("%s: %s/%s is left", m.Name(), dir, name)
				}
			}
		}
	}
}
