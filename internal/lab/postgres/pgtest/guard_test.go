package pgtest_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/lab/postgres/pgtest"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

const holdEnv = "SHIPLIFT_PGTEST_HOLD"

// TestHolds is a test that somebody kills; by itself it does nothing.
func TestHolds(t *testing.T) {
	when := os.Getenv(holdEnv)
	if when == "" {
		t.Skip("only for TestNothingOutlivesATestThatIsKilled")
	}
	dir := pgtest.Dir(t)
	tell := func(text say.Text) { _, _ = os.Stdout.WriteString("LAB " + dir + " " + text.EN + "\n") }
	pgtest.Start(t, postgres.Options{Dir: dir, Nodes: 2, Release: "15.16", Report: tell})
	tell(say.Same("up"))
	select {}
}

func TestNothingOutlivesATestThatIsKilled(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		signal os.Signal
		at     string // what the lab says last before the signal
	}{
		"killed while its lab is up":       {os.Kill, "up"},
		"Ctrl-C":                           {os.Interrupt, "up"},
		"terminated while its lab is made": {syscall.SIGTERM, "making"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHolds$", "-test.v")
			child.Env = append(os.Environ(), holdEnv+"=1")
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			dir := ""
			for s := bufio.NewScanner(out); s.Scan(); {
				if f := strings.Fields(s.Text()); len(f) > 2 && f[0] == "LAB" {
					if dir = f[1]; f[2] == tc.at {
						break
					}
				}
			}
			if dir == "" {
				t.Fatal("the child made no lab")
			}
			if tc.at == "making" { // until the first server is there
				await(t, func() bool { return len(postgres.ProcessesIn(dir)) > 0 })
			} else if len(postgres.ProcessesIn(dir)) < 2 {
				t.Fatal("the child's servers do not run, so nothing is shown")
			}
			if err := child.Process.Signal(tc.signal); err != nil {
				t.Fatal(err)
			}
			_ = child.Wait()
			await(t, func() bool {
				_, err := os.Stat(filepath.Dir(dir))
				return os.IsNotExist(err)
			})
			if left := postgres.ProcessesIn(filepath.Dir(dir)); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
		})
	}
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	spec := wait.Spec{What: say.Same("the condition"), Deadline: 60 * time.Second, Every: 10 * time.Millisecond}
	if err := wait.For(t.Context(), wait.Real{}, spec, nil, func(context.Context) (wait.Look, error) { return wait.Look{Done: ok()}, nil }); err != nil {
		t.Fatal(err)
	}
}
