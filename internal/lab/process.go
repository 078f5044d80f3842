package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Process names one process for good: a number alone could mean another
// process after a reboot or a long time.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, from /proc/PID/stat
	Boot  string `json:"boot"`  // the kernel's boot id
}

// FindProcess returns the process that bears the number now.
func FindProcess(pid int) (Process, error) {
	start, _, err := readStat(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, Start: start, Boot: bootID()}, nil
}

// Alive reports whether the process still runs. One that has ended and waits
// for its parent to notice does not.
func (p Process) Alive() bool {
	if p.PID <= 0 || p.Boot != bootID() {
		return false
	}
	start, state, err := readStat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// Reaped reports whether the process's number is free again. One that has
// ended keeps it until its parent has noticed.
func (p Process) Reaped() bool {
	start, _, err := readStat(p.PID)
	return err != nil || start != p.Start
}

// Signal sends a signal to the process if it still runs.
func (p Process) Signal(sig syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// Children returns the processes whose parent is p.
func (p Process) Children() []Process {
	var out []Process
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		body, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		fields := statFields(body)
		if len(fields) > 1 && fields[1] == strconv.Itoa(p.PID) {
			if c, err := FindProcess(pid); err == nil {
				out = append(out, c)
			}
		}
	}
	return out
}

// WaitGone waits until none of the processes runs.
func WaitGone(ctx context.Context, clk wait.Clock, what say.Text, deadline time.Duration, procs ...Process) error {
	spec := wait.Spec{What: what, Deadline: deadline, Every: 10 * time.Millisecond}
	return wait.For(ctx, clk, spec, nil, func(context.Context) (wait.Look, error) {
		alive := 0
		for _, p := range procs {
			if p.Alive() {
				alive++
			}
		}
		return wait.Look{Done: alive == 0, Left: float64(alive), Says: say.F("%d still run", "还有 %d 个进程在运行", alive)}, nil
	})
}

func readStat(pid int) (start uint64, state byte, err error) {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := statFields(body)
	if len(fields) < 20 || len(fields[0]) != 1 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: unknown layout", pid)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

// statFields returns the fields of /proc/PID/stat from the third on (state,
// parent, …): the second, the command's name, may hold blanks and parentheses.
func statFields(stat []byte) []string {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return nil
	}
	return strings.Fields(string(stat[i+1:]))
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// A spawned process finds the pipe on which it says that it is ready at
// readyFD; readyEnv tells it that somebody waits there.
const (
	readyFD  = 3
	readyEnv = "SHIPLIFT_LAB_READY"
)

// Spawn starts argv as a process of its own that outlives the caller, and
// returns when it has called Ready. What it prints goes to the file logPath.
func Spawn(ctx context.Context, argv []string, env []string, dir, logPath string) (Process, error) {
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return Process{}, fmt.Errorf("open the daemon's log: %w", err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return Process{}, err
	}
	defer r.Close()
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // it outlives the caller on purpose
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, log, log, append(append(os.Environ(), env...), readyEnv+"=1")
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return Process{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }() // ends with the child; reaps it while we live
	proc, err := FindProcess(cmd.Process.Pid)
	if err != nil {
		return Process{}, fmt.Errorf("the daemon ended at once; its last words are in %s: %w", logPath, err)
	}
	if err := awaitReady(ctx, r, logPath); err != nil {
		_ = proc.Signal(syscall.SIGKILL)
		<-gone
		return Process{}, err
	}
	return proc, nil
}

func awaitReady(ctx context.Context, r *os.File, logPath string) error {
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	said, err := io.ReadAll(io.LimitReader(r, 4096))
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case string(said) == "ready\n":
		return nil
	case len(said) > 0:
		return errors.New(strings.TrimSpace(string(said)))
	default:
		return fmt.Errorf("the daemon ended before it was ready; its last words are in %s", logPath)
	}
}

// Ready tells the process that spawned this one that it is ready, or that it
// could not become so. Without such a process it does nothing.
func Ready(failure error) error {
	if os.Getenv(readyEnv) == "" {
		return nil
	}
	if err := os.Unsetenv(readyEnv); err != nil {
		return err
	}
	f := os.NewFile(readyFD, "ready")
	defer f.Close()
	word := "ready\n"
	if failure != nil {
		word = failure.Error() + "\n"
	}
	_, err := f.WriteString(word)
	return err
}
