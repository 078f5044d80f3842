package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// DaemonLog is the name of the file in a lab's directory that holds what the
// lab's daemon prints.
const DaemonLog = "daemon.log"

// Canonical is dir as the kernel names it, which is how running processes are
// recognised; its last parts need not exist.
func Canonical(dir string) (string, error) {
	if dir == "" {
		return "", &say.Problem{Place: "--dir", Text: say.F("a lab needs a directory", "演练环境需要一个目录"), Next: say.Same("shiplift lab up --help")}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	missing := ""
	for d := abs; ; d = filepath.Dir(d) {
		real, err := filepath.EvalSymlinks(d)
		if err == nil {
			return filepath.Join(real, missing), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			return "", fmt.Errorf("the lab's directory: %w", err)
		}
		missing = filepath.Join(filepath.Base(d), missing)
	}
}

// StartDaemon starts the process that holds the lab in dir and outlives us:
// argv with dir as its last word, or this program's own verb lab serve.
func (s *State) StartDaemon(ctx context.Context, dir string, argv, env []string) error {
	if len(argv) == 0 {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		argv = []string{self, "lab", "serve", s.Driver, "--dir"}
	}
	p, err := Spawn(ctx, append(argv[:len(argv):len(argv)], dir), env, "/", filepath.Join(dir, DaemonLog))
	if err != nil {
		return err
	}
	s.Daemon = &p
	return s.Save(dir)
}

// Held is an error when another process holds the lab in dir.
func (s *State) Held(dir string) error {
	if d := s.Daemon; d != nil && d.PID != os.Getpid() && d.Alive() {
		return fmt.Errorf("%s: process %d holds this lab already", dir, d.PID)
	}
	return nil
}

// SignIn writes down this process as the daemon of the lab in dir. It does so
// itself: who started it may die before it could.
func (s *State) SignIn(dir string) error {
	p, err := FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	s.Daemon = &p
	return s.Save(dir)
}

// EndDaemon ends the lab's daemon, if there is one, and returns when it is gone.
func (s *State) EndDaemon(ctx context.Context, clk wait.Clock) error {
	d := s.Daemon
	if d == nil || !d.Alive() {
		return nil
	}
	if err := d.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	what := say.F("the lab's daemon ends", "演练环境的后台进程结束")
	if err := WaitGone(ctx, clk, what, 5*time.Second, *d); err == nil {
		return nil
	}
	return errors.Join(d.Signal(syscall.SIGKILL), WaitGone(ctx, clk, what, 5*time.Second, *d))
}
