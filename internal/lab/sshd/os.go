package sshd

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/shiplift/shiplift/internal/host/pipe"
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
	pipes.started(req)
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m.watch(ctx, cmd.Process.Pid, req, ended)
	}()
	_ = cmd.Wait()
	close(ended)
	<-watched
	pipes.ended()
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

// pipes are the streams between a command and its channel.
type pipes struct {
	in, theirs *os.File // our end and the command's
	out, err   *pipe.Pipe
	copied     sync.WaitGroup
}

func attach(cmd *exec.Cmd) (*pipes, error) {
	p := &pipes{}
	var err error
	if p.theirs, p.in, err = os.Pipe(); err != nil {
		return p, err
	}
	if p.out, err = pipe.New(); err != nil {
		return p, err
	}
	if p.err, err = pipe.New(); err != nil {
		return p, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.theirs, p.out.W, p.err.W
	return p, nil
}

// started feeds the command, which has its ends now, and copies what it says.
func (p *pipes) started(req ExecRequest) {
	_ = p.theirs.Close()
	_ = p.out.W.Close()
	_ = p.err.W.Close()
	go func() {
		_, _ = io.Copy(p.in, req.Stdin)
		_ = p.in.Close()
	}()
	p.copied.Go(func() { _ = p.out.CopyTo(req.Stdout) }) // a client that is gone misses nothing
	p.copied.Go(func() { _ = p.err.CopyTo(req.Stderr) })
}

// ended returns when all has been sent that the command said.
func (p *pipes) ended() {
	p.out.Ended(backgroundGrace)
	p.err.Ended(backgroundGrace)
	p.copied.Wait()
}

func (p *pipes) close() {
	for _, f := range []*os.File{p.in, p.theirs} {
		if f != nil {
			_ = f.Close()
		}
	}
	for _, o := range []*pipe.Pipe{p.out, p.err} {
		if o != nil {
			o.Close()
		}
	}
}
