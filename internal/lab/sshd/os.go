package sshd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
)

// OSMachine is this operating system as one machine: commands run with `sh -c`
// in a home of their own.
type OSMachine struct {
	Home string   // where commands start
	Env  []string // all of the environment; a usual one with HOME when nil
	// Credential is who the commands run as; nil is whoever runs the server.
	Credential *syscall.Credential
	// Linger lets a command outlive its channel, as OpenSSH does. Without it
	// the command's process group is killed; what has made itself a daemon stays.
	Linger bool
}

var _ Machine = (*OSMachine)(nil)

// backgroundGrace is how long output is awaited after the command has ended
// while something it left in the background holds the streams open.
const backgroundGrace = 200 * time.Millisecond

// Dial connects from this machine.
func (m *OSMachine) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// Exec runs a command line.
func (m *OSMachine) Exec(ctx context.Context, req ExecRequest) int {
	cmd := exec.Command("/bin/sh", "-c", req.Command)
	cmd.Dir, cmd.Env = m.Home, m.environ(req.User)
	// A session of its own, as under sshd: the command leads a process group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: m.Credential}
	pipes, err := attach(cmd)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		pipes.close()
		fmt.Fprintln(req.Stderr, "lab:", err)
		return 126
	}
	pipes.started()
	go pipes.feed(req.Stdin)
	out, errs := pipes.out.copyTo(req.Stdout), pipes.err.copyTo(req.Stderr)

	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m.watch(ctx, cmd.Process.Pid, req, ended)
	}()
	_ = cmd.Wait()
	close(ended)
	<-watched
	pipes.out.ended()
	pipes.err.ended()
	<-out
	<-errs
	pipes.close()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

func (m *OSMachine) environ(user string) []string {
	if m.Env != nil {
		return m.Env
	}
	return []string{"HOME=" + m.Home, "USER=" + user, "LOGNAME=" + user, "SHELL=/bin/sh",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
}

// watch passes signals on and ends the command when its channel is closed.
func (m *OSMachine) watch(ctx context.Context, pid int, req ExecRequest, ended <-chan struct{}) {
	gone, signals := ctx.Done(), req.Signals
	if m.Linger {
		gone = req.Closing
	}
	for {
		select {
		case <-ended:
			return
		case <-gone:
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			gone = nil
		case name, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			for n, known := range signalNames {
				if known == name {
					_ = syscall.Kill(-pid, syscall.Signal(n))
				}
			}
		}
	}
}

// pipes are the streams between a command and its channel. They are pipes of
// ours and not of os/exec, which would give output that a slow link has not
// yet taken the same short time as output that never ends.
type pipes struct {
	in       *os.File // our end
	out, err *stream
	theirs   []*os.File
}

func attach(cmd *exec.Cmd) (*pipes, error) {
	p := &pipes{out: &stream{}, err: &stream{}}
	r, w, err := os.Pipe()
	if err != nil {
		return p, err
	}
	p.in, cmd.Stdin, p.theirs = w, r, append(p.theirs, r)
	for _, s := range []*stream{p.out, p.err} {
		r, w, err := os.Pipe()
		if err != nil {
			return p, err
		}
		s.r, s.w = r, w
		p.theirs = append(p.theirs, w)
	}
	cmd.Stdout, cmd.Stderr = p.out.w, p.err.w
	return p, nil
}

// started closes the ends that now belong to the command.
func (p *pipes) started() {
	for _, f := range p.theirs {
		_ = f.Close()
	}
}

func (p *pipes) close() {
	p.started() // again, when it was never started
	for _, f := range []*os.File{p.in, p.out.r, p.err.r} {
		if f != nil {
			_ = f.Close()
		}
	}
}

func (p *pipes) feed(from io.Reader) {
	_, _ = io.Copy(p.in, from)
	_ = p.in.Close()
}

// stream is one output of a command.
type stream struct {
	r, w *os.File
	over atomic.Bool // the command has ended
}

func (s *stream) ended() {
	s.over.Store(true)
	_ = s.r.SetReadDeadline(time.Now().Add(backgroundGrace))
}

// copyTo copies until the end, or after the command has ended until nothing
// comes any more.
func (s *stream) copyTo(w io.Writer) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 32<<10)
		for {
			if s.over.Load() {
				_ = s.r.SetReadDeadline(time.Now().Add(backgroundGrace))
			}
			n, err := s.r.Read(buf)
			if n > 0 {
				if _, werr := w.Write(buf[:n]); werr != nil {
					_, _ = io.Copy(io.Discard, s.r) // the command must not block on a link that is gone
					return
				}
			}
			if errors.Is(err, os.ErrDeadlineExceeded) && !s.over.Load() {
				continue
			}
			if err != nil {
				return
			}
		}
	}()
	return done
}
