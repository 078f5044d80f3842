package sshd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"

	"mvdan.cc/sh/v3/shell"

	"github.com/shiplift/shiplift/internal/host"
)

// NoAnswer is what Exec returns to have the connection dropped without a status.
const NoAnswer = -1

// Hosted serves a machine that is a host.Host, such as a simulated one. It
// sees the very argv that was asked for: what the ssh transport puts around
// it to be able to end a command is done here.
func Hosted(h host.Host) Machine { return &hosted{h: h, running: make(map[int]*command)} }

type hosted struct {
	h       host.Host
	mu      sync.Mutex
	last    int
	running map[int]*command
}

type command struct {
	end  context.CancelFunc
	done chan struct{}
}

func (m *hosted) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return m.h.Dial(ctx, network, addr)
}

func (m *hosted) Exec(ctx context.Context, req ExecRequest) int {
	argv, err := shell.Fields(req.Command, func(string) string { return "" })
	if err != nil || len(argv) == 0 {
		fmt.Fprintln(req.Stderr, "lab: only plain commands are understood:", err)
		return 2
	}
	if argv[0] == "exec" {
		argv = argv[1:]
	}
	if pid, ok := ending(argv); ok {
		m.end(ctx, pid)
		return 0
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	if inner, ok := after(argv, host.EndableScript); ok {
		argv = inner
		c := &command{end: end, done: make(chan struct{})}
		pid := m.add(c)
		defer m.remove(pid, c)
		fmt.Fprintln(req.Stderr, host.EndableLine(pid))
	}
	res, err := m.run(ctx, argv, req)
	return answer(req, res, err)
}

// run runs argv until it ends or the link to whoever asked is gone.
func (m *hosted) run(ctx context.Context, argv []string, req ExecRequest) (host.Result, error) {
	return m.h.Run(ctx, host.Cmd{Argv: argv, Stdin: req.Stdin, Timeout: -1})
}

// ending reports whether argv is the transport's way to end a command.
func ending(argv []string) (pid int, ok bool) {
	args, ok := after(argv, host.EndScript)
	if !ok || len(args) != 1 {
		return 0, false
	}
	pid, err := strconv.Atoi(args[0])
	return pid, err == nil
}

// after returns the arguments of `sh -c script sh args…`.
func after(argv []string, script string) ([]string, bool) {
	if len(argv) < 4 || !slices.Equal(argv[:3], []string{"sh", "-c", script}) {
		return nil, false
	}
	return argv[4:], true
}

func (m *hosted) add(c *command) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	pid := 1000 + m.last
	m.running[pid] = c
	return pid
}

func (m *hosted) remove(pid int, c *command) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.running, pid)
	close(c.done)
}

func (m *hosted) end(ctx context.Context, pid int) {
	m.mu.Lock()
	c := m.running[pid]
	m.mu.Unlock()
	if c == nil {
		return
	}
	c.end()
	select {
	case <-c.done:
	case <-ctx.Done():
	}
}

// answer turns what the host said into streams and a status.
func answer(req ExecRequest, res host.Result, err error) int {
	var exit *host.ExitError
	var lost *host.LostError
	var away *host.UnreachableError
	code := 0
	switch {
	case errors.As(err, &exit):
		res = host.Result{Stdout: exit.Stdout, Stderr: exit.Stderr}
		code = exit.Code
	case errors.As(err, &lost), errors.As(err, &away):
		return NoAnswer
	case err != nil: // it was ended
		code = 128 + 15
	}
	_, _ = req.Stdout.Write(res.Stdout)
	_, _ = req.Stderr.Write(res.Stderr)
	return code
}
