package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

func TestTheDirectoryOfALab(t *testing.T) {
	t.Parallel()
	real, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(real, "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if got, err := lab.Canonical(filepath.Join(link, "not", "yet")); err != nil || got != filepath.Join(real, "not", "yet") {
		t.Errorf("got %s, %v", got, err)
	}
	var p *say.Problem
	if _, err := lab.Canonical(""); !errors.As(err, &p) || p.Place != "--dir" {
		t.Errorf("no directory: %v", err)
	}
}

func TestALabHasOneDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- other.Wait() }()
	p, err := lab.FindProcess(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	s := lab.State{Driver: "toy", Daemon: &p}
	if err := s.Held(dir); err == nil || !strings.Contains(err.Error(), "holds this lab already") {
		t.Errorf("a second daemon: %v", err)
	}
	if err := s.EndDaemon(t.Context(), wait.Real{}); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the daemon ended by itself")
	}
	if err := s.Held(dir); err != nil {
		t.Errorf("behind the end of the daemon: %v", err)
	}
	if err := s.SignIn(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := lab.Load(dir); err != nil || again.Daemon == nil || again.Daemon.PID != os.Getpid() {
		t.Errorf("the state file says %+v, %v", again.Daemon, err)
	}
	if err := s.Held(dir); err != nil {
		t.Errorf("the daemon itself: %v", err)
	}
}

func TestTheDaemonAnswers(t *testing.T) {
	t.Parallel()
	// Deeper than the path of a socket can be long.
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 30))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	control, err := lab.ListenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- control.Serve(ctx, func(_ context.Context, body json.RawMessage) (any, error) {
			var n int
			if err := json.Unmarshal(body, &n); err != nil || n < 0 {
				return nil, errors.New("want a number")
			}
			return n + 1, nil
		})
	}()
	var got int
	if err := lab.Ask(ctx, dir, 41, &got); err != nil || got != 42 {
		t.Errorf("got %d, %v", got, err)
	}
	if err := lab.Ask(ctx, dir, -1, &got); err == nil || err.Error() != "want a number" {
		t.Errorf("a refusal: %v", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	var p *say.Problem
	if err := lab.Ask(t.Context(), dir, 1, nil); !errors.As(err, &p) || !strings.Contains(p.Next.EN, "lab down") {
		t.Errorf("without a daemon: %v", err)
	}
}
