package dameng_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/dameng"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/simlab"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// overSSH are the scenes that are always played over ssh, one of each topology
// and R2; -every 1 plays all of them.
var overSSH = []string{"single, three formats", "DW, redo log", "DW, equal DB_MAGIC", "DSC, rolling", "DW-DSC, redo log"}

// TestRunbooksOverSSH plays whole upgrades on machines that are reached over
// ssh, all nodes at the same time: up to the one-way gate, back, and to the end.
func TestRunbooksOverSSH(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("whole upgrades over ssh")
	}
	for name, sc := range scenes {
		if drivertest.Every(2) > 1 && !slices.Contains(overSSH, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, w := sc.overSSH(t)
			s, err := rehearse.Begin(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			s.World.Accept = nil
			if out, err := s.Work(t.Context(), "apply", nil); err != nil || out.State == run.FailedState {
				t.Fatalf("ended %s at %q: %s %v", out.State, out.Step, out.Why.EN, err)
			}
			if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if err := allRun(l, sc.opts.Release); err != nil {
				t.Fatalf("after rollback: %v", err)
			}
			if s, err = rehearse.Begin(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
				t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
			}
			if err := s.Wants(t.Context(), "commit", run.Committed); err != nil {
				t.Fatal(err)
			}
			if err := allRun(l, sc.to); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// allRun: no rule was broken, and every node runs a release and is open.
func allRun(l *simlab.Lab, release string) error {
	site := l.Site()
	var err error
	for _, d := range append(site.Damage(), site.World.Complaints()...) {
		err = errors.Join(err, errors.New(d))
	}
	for _, n := range site.Nodes() {
		if n.Running != release || n.Installed != release || n.State != "OPEN" {
			err = errors.Join(err, fmt.Errorf("%s runs %q with files of %q and is %s, want %s", n.Name, n.Running, n.Installed, n.State, release))
		}
	}
	return err
}

// overSSH is a scene in a lab whose machines answer over ssh.
func (s scene) overSSH(t *testing.T) (*simlab.Lab, rehearse.World) {
	t.Helper()
	const speed = 20
	args := simlab.Args{"topology": s.opts.Topology, "standbys": strconv.Itoa(max(s.opts.Standbys, 1)), "release": s.opts.Release, "to": s.to}
	if s.bridge != "" {
		args["to"] += "," + s.bridge
	}
	if s.opts.Lang != "" {
		args["prompts"] = s.opts.Lang
	}
	if s.opts.GBK {
		args["gbk"] = "true"
	}
	if s.opts.HugeTables {
		args["huge-tables"] = "true"
	}
	dir := filepath.Join(t.TempDir(), "lab")
	l, err := simlab.Start(simlab.Options{Product: "dameng", Dir: dir, Args: args, Speed: speed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if s.before != nil { // the one scene with a slip before it
		if err := l.Site().Break("equal-magic", "db2"); err != nil {
			t.Fatal(err)
		}
	}
	inv, err := cluster.Read(l.Inventory, nil)
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := host.Connect(inv, host.SSHConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hosts.Close() })
	password, err := os.ReadFile(filepath.Join(dir, "secrets", "password"))
	if err != nil {
		t.Fatal(err)
	}
	w := rehearse.World{
		Driver: dameng.Driver{},
		Env: driver.Env{Hosts: guarded(t, hosts), Inventory: inv, Clock: simlab.NewClock(speed),
			Secret: func(string, string) (string, error) { return strings.TrimSpace(string(password)), nil }},
		Request: driver.WithMode(dameng.Driver{}, inv, plan.Request{To: s.to, Mode: s.mode, Packages: l.Packages(), Options: s.options}),
		Accept:  []string{"point-of-no-return", "hop1/point-of-no-return", "hop2/point-of-no-return"},
		Truth:   func() error { return nil }, // asked at the end
	}
	if s.opts.Topology == "dsc" && s.mode == "" {
		w.Request.Mode = "inplace"
	}
	return l, w
}
