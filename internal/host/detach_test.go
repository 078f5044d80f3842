package host_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

func TestDetachedProgramOutlivesItsCommand(t *testing.T) {
	t.Parallel()
	h := host.NewLocal("here")
	dir := t.TempDir()
	rec, fifo := filepath.Join(dir, "rec"), filepath.Join(dir, "go")
	state := func() (host.DetachState, int) {
		t.Helper()
		s, code, err := host.DetachedState(t.Context(), h, rec)
		if err != nil {
			t.Fatal(err)
		}
		return s, code
	}
	until := func(want host.DetachState) int {
		t.Helper()
		var code int
		spec := wait.Spec{What: say.Same(string(want)), Deadline: 10 * time.Second, Every: 10 * time.Millisecond}
		if err := wait.For(t.Context(), wait.Real{}, spec, nil, func(context.Context) (wait.Look, error) {
			s, c := state()
			code = c
			return wait.Look{Done: s == want}, nil
		}); err != nil {
			t.Fatal(err)
		}
		return code
	}
	if s, _ := state(); s != host.DetachAbsent {
		t.Errorf("before it starts it is %s", s)
	}
	if _, err := h.Run(t.Context(), host.Change("mkfifo", fifo)); err != nil {
		t.Fatal(err)
	}
	cmd := host.Detached(dir, rec, "sh", "-c", `pwd; cat "$1"; exit 7`, "sh", fifo)
	if _, err := h.Run(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	until(host.DetachRunning)
	if _, err := h.Run(t.Context(), cmd); !host.IsExit(err, 73) {
		t.Errorf("a second start gave %v, want exit status 73", err)
	}
	if err := os.WriteFile(fifo, []byte("went on\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := until(host.DetachEnded); code != 7 {
		t.Errorf("exit status %d, want 7", code)
	}
	log, err := os.ReadFile(filepath.Join(rec, "log"))
	if err != nil || string(log) != dir+"\nwent on\n" {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestDetachedProgramThatDiedIsLost(t *testing.T) {
	t.Parallel()
	h := host.NewLocal("here")
	rec := t.TempDir()
	if s, _, err := host.DetachedState(t.Context(), h, rec); err != nil || s != host.DetachLost {
		t.Errorf("without a pid it is %s, %v", s, err)
	}
	if err := os.WriteFile(filepath.Join(rec, "pid"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, _, err := host.DetachedState(t.Context(), h, rec); err != nil || s != host.DetachLost {
		t.Errorf("with the pid of another program it is %s, %v", s, err)
	}
}
