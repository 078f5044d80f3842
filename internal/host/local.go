package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/shiplift/shiplift/internal/host/pipe"
	"github.com/shiplift/shiplift/internal/say"
)

// Local is the machine that the tool itself runs on.
type Local struct {
	Node string
	Dir  string   // where commands start; the login's home when empty, as with ssh
	Env  []string // the tool's own environment when nil
	// Grace is how long a command that is ended has for itself between SIGTERM
	// and SIGKILL, and how long output is awaited that a child left in the
	// background still holds open.
	Grace time.Duration
}

// NewLocal is this machine under the name of a node.
func NewLocal(node string) *Local { return &Local{Node: node, Grace: 2 * time.Second} }

var _ Host = (*Local)(nil)

// Name returns the node's name.
func (l *Local) Name() string { return l.Node }

// Close has nothing to give back.
func (l *Local) Close() error { return nil }

// Dial connects from this machine.
func (l *Local) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// Run runs c in a process group of its own, so that what it started ends with it.
func (l *Local) Run(ctx context.Context, c Cmd) (Result, error) {
	if err := checkArgv(c.Argv); err != nil {
		return Result{}, &UnreachableError{Node: l.Node, Addr: "local", Err: err}
	}
	if err := ctx.Err(); err != nil {
		return Result{}, &UnreachableError{Node: l.Node, Addr: "local", Err: context.Cause(ctx)}
	}
	ctx, stop := bounded(ctx, c.Timeout)
	defer stop(nil)

	out, err := newLocalOutput()
	if err != nil {
		return Result{}, &UnreachableError{Node: l.Node, Addr: "local", Err: err}
	}
	defer out.close()
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = out.stdout.W, out.stderr.W
	cmd.Dir, cmd.Env = l.Dir, l.Env
	if cmd.Dir == "" {
		cmd.Dir, _ = os.UserHomeDir() // without a home the tool's own directory will do
	}
	feed, fed, err := feedLocal(cmd, c.Stdin, stop)
	if err != nil {
		return Result{}, &UnreachableError{Node: l.Node, Addr: "local", Err: err}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = l.Grace
	if err := cmd.Start(); err != nil {
		return Result{}, l.notStarted(c.Argv, err)
	}
	go feed()
	out.started()
	err = cmd.Wait()
	lost := out.await(l.Grace)
	select { // whoever gave the input may not want it read after Run
	case <-fed:
	case <-time.After(l.Grace):
	}
	res := Result{Stdout: out.said[0].Bytes(), Stderr: out.said[1].Bytes()}
	if ctx.Err() != nil && !cmd.ProcessState.Success() {
		// The leader is gone; members of its group that ignored SIGTERM are not.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return res, &EndedError{Node: l.Node, Argv: c.Argv, Gone: true, Err: context.Cause(ctx)}
	}
	if code := exitCode(cmd.ProcessState); code != 0 {
		return res, &ExitError{Node: l.Node, Argv: c.Argv, Code: code, Stdout: res.Stdout, Stderr: res.Stderr}
	}
	if err != nil && ctx.Err() != nil { // status 0, but it was fed only a part of its input
		return res, &EndedError{Node: l.Node, Argv: c.Argv, Gone: true, Err: context.Cause(ctx)}
	}
	if lost != nil { // nobody may take half an answer for the whole
		return res, &LostError{Node: l.Node, Argv: c.Argv, Err: lost}
	}
	return res, nil
}

// localOutput gathers what a command says. Its pipes are not those of os/exec,
// which on a busy machine drops output that the command wrote before its end.
type localOutput struct {
	stdout, stderr *pipe.Pipe
	said           [2]bytes.Buffer
	failed         [2]error
	copied         sync.WaitGroup
}

func newLocalOutput() (*localOutput, error) {
	stdout, err := pipe.New()
	if err != nil {
		return nil, err
	}
	stderr, err := pipe.New()
	if err != nil {
		stdout.Close()
		return nil, err
	}
	return &localOutput{stdout: stdout, stderr: stderr}, nil
}

// started copies from now on; the command has its ends.
func (o *localOutput) started() {
	for i, p := range []*pipe.Pipe{o.stdout, o.stderr} {
		_ = p.W.Close()
		o.copied.Go(func() { o.failed[i] = p.CopyTo(&o.said[i]) })
	}
}

// await returns when all is there that the command wrote.
func (o *localOutput) await(grace time.Duration) error {
	o.stdout.Ended(grace)
	o.stderr.Ended(grace)
	o.copied.Wait()
	return errors.Join(o.failed[:]...)
}

func (o *localOutput) close() {
	o.stdout.Close()
	o.stderr.Close()
}

// feedLocal prepares the input of cmd. os/exec would feed it too, but then wait
// for a reader that blocks, even after the command is gone.
func feedLocal(cmd *exec.Cmd, in io.Reader, failed context.CancelCauseFunc) (feed func(), fed chan struct{}, err error) {
	fed = make(chan struct{})
	if in == nil {
		close(fed)
		return func() {}, fed, nil
	}
	pipe, err := cmd.StdinPipe()
	return func() {
		defer close(fed)
		if _, err := io.Copy(pipe, &stdin{Reader: in, failed: failed}); err == nil {
			_ = pipe.Close() // after an error the end must not look like the whole
		}
	}, fed, err
}

// notStarted answers as the shell of an ssh login does when there is nothing
// to run: 127, or 126 when there is something that cannot be run.
func (l *Local) notStarted(argv []string, err error) error {
	code := 126
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		code = 127
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
	default:
		return &UnreachableError{Node: l.Node, Addr: "local", Err: err}
	}
	return &ExitError{Node: l.Node, Argv: argv, Code: code, Stderr: []byte(err.Error())}
}

func exitCode(st *os.ProcessState) int {
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return st.ExitCode()
}

// bounded adds a command's own timeout to ctx.
func bounded(ctx context.Context, timeout time.Duration) (context.Context, context.CancelCauseFunc) {
	ctx, stop := context.WithCancelCause(ctx)
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	if timeout < 0 {
		return ctx, stop
	}
	cause := say.Errorf("no end within %s: %w", "%s 内没有结束：%w", timeout, context.DeadlineExceeded)
	ctx, free := context.WithTimeoutCause(ctx, timeout, cause)
	return ctx, func(err error) { stop(err); free() }
}

// stdin ends the command when what it is fed cannot be read: an error taken
// for the end of the input would make a half file look like a whole one.
type stdin struct {
	io.Reader
	failed context.CancelCauseFunc
}

func (s *stdin) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed(say.Errorf("read the input: %w", "读取输入：%w", err))
	}
	return n, err
}
