package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/shiplift/shiplift/internal/lab/simlab"
)

// testSpeed names the variable that makes the drivers' clock as fast as the lab's.
const testSpeed = "SHIPLIFT_TEST_SPEED"

func init() {
	if speed, err := strconv.ParseFloat(os.Getenv(testSpeed), 64); err == nil {
		clock = simlab.NewClock(speed)
	}
}

// TestLabScripts plays whole upgrades of simulated clusters: the tool as users
// call it, a lab's daemon, ssh.
func TestLabScripts(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("whole upgrades over ssh")
	}
	const speed = "20"
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/lab",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("LANG", "en_US.UTF-8")
			env.Setenv("SPEED", speed)
			env.Setenv(testSpeed, speed)
			env.Setenv("SHIPLIFT_CLUSTER", filepath.Join(env.WorkDir, "lab", "cluster.yaml"))
			env.Defer(func() { // also after a script that failed
				if err := simlab.Down(context.Background(), filepath.Join(env.WorkDir, "lab")); err != nil {
					t.Error(err)
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "field": field, "keys": keys, "healthy": healthy,
		},
	})
}

// healthy holds that no rule of the vendor's manual was broken, that nothing
// unknown was asked of the simulated machines, and that all nodes run a release:
// healthy 5.0.3.
func healthy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: healthy RELEASE")
	}
	st, err := simlab.GetStatus(context.Background(), ts.MkAbs("lab"))
	ts.Check(err)
	for _, what := range append(st.Damage, st.Complaints...) {
		err = errors.Join(err, errors.New(what))
	}
	ts.Check(err)
	for _, n := range st.Nodes {
		if n.Running != args[0] || n.Installed != args[0] {
			ts.Fatalf("%s runs %q with files of %q, want %s", n.Name, n.Running, n.Installed, args[0])
		}
	}
	if len(st.Nodes) == 0 {
		ts.Fatalf("no nodes")
	}
}
