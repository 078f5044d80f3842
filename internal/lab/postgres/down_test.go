package postgres

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab"
)

func TestDownAfterTheDaemonWasKilled(t *testing.T) {
	t.Parallel()
	l, err := Up(t.Context(), testOptions(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	// Through the daemon, from a process that does not hold the ssh servers.
	l.mustBreak(t, "db2", CutSSH)
	if _, err := hosts(t, l)["db2"].Run(t.Context(), host.Read("true")); err == nil {
		t.Error("db2 answers")
	}
	l.mustBreak(t, "db2", RestoreSSH)
	if err := Serve(t.Context(), l.Dir); err == nil || !strings.Contains(err.Error(), "holds this lab") {
		t.Errorf("a second daemon: %v", err)
	}
	if err := l.State.Daemon.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The first thread may be gone while another one still holds the sockets.
	until(t, "the daemon and its ssh servers are gone", func(ctx context.Context) bool {
		s := l.Status(ctx)
		return !s.Daemon && !s.Nodes[0].SSH && !s.Nodes[1].SSH
	})
	if s := l.Status(t.Context()); s.Nodes[0].Role != "primary" {
		t.Errorf("%+v", s)
	}
	if err := l.Break(t.Context(), "db2", CutSSH); err == nil || !strings.Contains(err.Error(), "daemon") {
		t.Errorf("got %v", err)
	}
	if err := Down(t.Context(), l.Dir); err != nil {
		t.Fatal(err)
	}
	checkGone(t, l)
}

func TestDownKeepsWhatOthersPutThere(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	l, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(l.Dir, "plan.json")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	if err := Down(t.Context(), l.Dir); err == nil || !strings.Contains(err.Error(), "no lab") {
		t.Errorf("a directory that is no lab was taken: %v", err)
	}
	if _, err := Up(t.Context(), o); err == nil || !strings.Contains(err.Error(), "plan.json") {
		t.Errorf("a lab was made among other files: %v", err)
	}
}

// A lab that was cut short at any point of its making is cleaned up by Down;
// here the state file and one server are there, and little else.
func TestDownOfAHalfMadeLab(t *testing.T) {
	t.Parallel()
	l := startLab(t, testOptions(t, 2))
	if err := l.machines.close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{lab.InventoryFile, secretsDir, "db2/pg", lab.PackagesDir} {
		if err := os.RemoveAll(filepath.Join(l.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Down(t.Context(), l.Dir); err != nil {
		t.Fatal(err)
	}
	checkGone(t, l)
}

func TestUpThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 2)
	o.Serve = []string{"/bin/false"}
	l := &Lab{Dir: o.Dir}
	if _, err := Up(t.Context(), o); err == nil || !strings.Contains(err.Error(), "daemon") {
		t.Errorf("got %v", err)
	}
	checkGone(t, l)

	ctx, cancel := context.WithCancelCause(t.Context())
	o = testOptions(t, 2)
	stopped := errors.New("stopped by the operator")
	o.Serve = []string{"/bin/sh", "-c", "exec sleep 60"}
	o.Env = nil
	cancelled := make(chan error, 1)
	go func() { _, err := Up(ctx, o); cancelled <- err }()
	until(t, "the lab is there", func(context.Context) bool {
		_, err := os.Stat(filepath.Join(o.Dir, "db2", "data", "standby.signal"))
		return err == nil
	})
	cancel(stopped)
	if err := <-cancelled; !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	checkGone(t, &Lab{Dir: o.Dir})
}

func TestOptionsThatMakeNoLab(t *testing.T) {
	t.Parallel()
	good := Options{Dir: t.TempDir(), Nodes: 3, Release: "15.18"}
	for says, change := range map[string]func(*Options){
		"0 nodes":         func(o *Options) { o.Nodes = 0 },
		"10 nodes":        func(o *Options) { o.Nodes = 10 },
		"like 15.16":      func(o *Options) { o.Release = "15" },
		"three nodes":     func(o *Options) { o.Nodes, o.Cascade = 2, true },
		"needs a standby": func(o *Options) { o.Nodes, o.Sync = 1, true },
		"1024":            func(o *Options) { o.BasePort = 80 },
		"follows itself":  func(o *Options) { o.Upstream = map[string]string{"db2": "db3", "db3": "db2"} },
		"no such node":    func(o *Options) { o.Upstream = map[string]string{"db2": "db7"} },
	} {
		o := good
		change(&o)
		err := o.check()
		if err == nil {
			_, err = o.layout(account{})
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", says, err)
		}
	}
}

func TestADirectoryThatTheServersCannotReach(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(testDir(t), "closed")
	if err := os.MkdirAll(closed, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o600); err != nil {
		t.Fatal(err)
	}
	err := account{Name: "somebody", UID: 65000, GID: 65000, Drop: true}.checkReach(filepath.Join(closed, "lab"))
	if err == nil || !strings.Contains(err.Error(), closed) || !strings.Contains(err.Error(), "somebody") {
		t.Errorf("got %v", err)
	}
}

// The path of the lab is longer than a socket's may be: no unix sockets, and
// the control socket is reached all the same.
func TestADeepDirectory(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.Dir = filepath.Join(o.Dir, strings.Repeat("deep/", 20)+"it's a lab")
	l, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if l.Nodes()[0].SocketDir != "" {
		t.Errorf("socket in %s", l.Nodes()[0].SocketDir)
	}
	l.mustBreak(t, "db1", HoldTransaction)
	l.mustBreak(t, "db1", FillDisk)
	if _, err := hosts(t, l)["db1"].Run(t.Context(), host.Change("cp", "a", "b")); !host.IsExit(err, 1) {
		t.Errorf("cp on a full disk: %v", err)
	}
	if err := Down(t.Context(), o.Dir); err != nil {
		t.Fatal(err)
	}
	checkGone(t, l)
}

// The tests of this package run again as an ordinary user when root runs them.
func TestAsAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("this is an ordinary user already: the other tests show it")
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("no account nobody")
	}
	p, err := labCache().Get(t.Context(), "15.18")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(testDir(t))
	acc := account{Name: u.Username, UID: 65534, GID: 65534, Drop: true}
	cache := filepath.Join(dir, "cache", "shiplift", "packages")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CopyTo(cache); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "lab.test")
	copyProgram(t, self(t), program)
	home := filepath.Join(dir, "home")
	if err := acc.mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run", "^TestUpAndDownTwice$", "-test.v")
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + home, "XDG_CACHE_HOME=" + filepath.Join(dir, "cache")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: acc.credential()}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: TestUpAndDownTwice") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}
