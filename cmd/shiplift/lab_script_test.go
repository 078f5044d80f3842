package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
			"exits": exits, "field": field, "keys": keys, "healthy": healthy, "killed": killed,
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

// killed kills the tool (SIGKILL) when it has told of so many finished steps:
// killed 5 shiplift apply p.json --output json.
func killed(ts *testscript.TestScript, neg bool, args []string) {
	after, err := strconv.Atoi(args[0])
	if neg || err != nil || len(args) < 2 {
		ts.Fatalf("usage: killed STEPS COMMAND...")
	}
	self, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(self, args[2:]...)
	cmd.Args[0] = args[1] // by which the test binary knows that it is to be the tool
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "XDG_STATE_HOME", "LANG", "SHIPLIFT_CLUSTER", testSpeed} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"event":"finished"`) {
			if after--; after == 0 {
				ts.Check(cmd.Process.Kill())
			}
		}
	}
	_ = cmd.Wait() // it was killed, or see below
	if after > 0 {
		ts.Fatalf("%v ended by itself: %s", args[1:], stderr.String())
	}
}
