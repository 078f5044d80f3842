package pgtest

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/lab/postgres"
)

// A lab's servers are started by pg_ctl and outlive whoever started them, so a
// test binary that is killed (Ctrl-C, a timeout, SIGKILL) would leave them
// running: no code of it runs any more. So a second process watches: the test
// binary itself, started again, holds the reading end of a pipe whose writing
// end only the test has. When the test is gone, the pipe ends, and the watcher
// takes away every lab below the directory.

// guardEnv names the directory to the watcher.
const guardEnv = "SHIPLIFT_PGTEST_GUARD"

// guardEnd is what a test that has cleaned up itself says to its watcher.
const guardEnd = "over"

func init() { //nolint:gochecknoinits // the watcher is any test binary that holds labs: it has to turn aside before main
	dir := os.Getenv(guardEnv)
	if dir == "" {
		return
	}
	said, _ := io.ReadAll(os.Stdin)
	if string(said) == guardEnd || sweep(dir) == nil {
		os.Exit(0)
	}
	os.Exit(1)
}

// Guard takes away what is left of the labs in dir and below it when this
// process ends without having done so. Labs made by Dir are guarded already.
func Guard(tb testing.TB, dir string) {
	tb.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe") //nolint:noctx // it ends with the pipe
	cmd.Args = []string{"lab-guard"}
	cmd.Dir, cmd.Stdin, cmd.Env = "/", r, append(os.Environ(), guardEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the Ctrl-C that ends the test must not end it
	if err := cmd.Start(); err != nil {
		tb.Fatalf("watch over %s: %v", dir, err)
	}
	tb.Cleanup(func() {
		_, _ = w.WriteString(guardEnd)
		_ = w.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("the watcher over %s: %v", dir, err)
		}
	})
}

// quietFor is how long nothing may run in the directory before it counts as
// empty: a pg_ctl that was under way may still bring a server up.
const quietFor = 500 * time.Millisecond

// sweep ends all that works below dir and removes it. A lab that lies there
// whole is taken down first, so that also what the kernel keeps of it is freed.
func sweep(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	labs, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, l := range append(labs, dir) {
		if fi, err := os.Stat(l); err == nil && fi.IsDir() {
			_ = postgres.Down(ctx, l) // what it leaves, and what is no lab, is ended below
		}
	}
	for since := time.Now(); time.Since(since) < quietFor && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		for _, p := range postgres.ProcessesIn(dir) {
			_ = p.Signal(syscall.SIGKILL)
			since = time.Now()
		}
	}
	return os.RemoveAll(dir)
}
