package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"mvdan.cc/sh/v3/shell"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sshd"
)

// Serve lets an ssh server stand before a machine. The world's clock should
// follow real time. A command line is one simple command, quoted as a shell
// would read it; pipes and the like are refused loudly.
func Serve(m *Machine) sshd.Machine { return served{m} }

type served struct{ m *Machine }

func (s served) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return s.m.Dial(ctx, network, addr)
}

func (s served) Exec(ctx context.Context, req sshd.ExecRequest) int {
	m := s.m
	argv, err := shell.Fields(req.Command, func(string) string { return "" })
	if err != nil || len(argv) == 0 {
		m.world.With(func() { m.world.Complain("%s: command line %q: %v", m.name, req.Command, err) })
		fmt.Fprintf(req.Stderr, "sim: not a simple command: %v\n", err)
		return 2
	}
	if argv[0] == "exec" {
		argv = argv[1:]
	}
	u := m.users[req.User]
	if u == nil {
		u = m.users[m.Login]
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := make(chan struct{})
	defer func() { cancel(); <-watch }()
	go func() {
		defer close(watch)
		for {
			select {
			case _, more := <-req.Signals:
				if !more {
					return
				}
				cancel()
			case <-ctx.Done():
				return
			}
		}
	}()
	if i := slices.Index(argv, host.EndableScript); i == 2 && argv[0] == "sh" {
		// The id that the other side may ask us to end: a simulated command ends with its channel.
		fmt.Fprintf(req.Stderr, "shiplift-pid %d\n", 2<<20)
		argv = argv[min(4, len(argv)):]
	}
	var in io.Reader = req.Stdin
	res, err := m.run(ctx, u, host.Cmd{Argv: argv, Stdin: in, Timeout: -1})
	var exit *host.ExitError
	switch {
	case err == nil:
		_, _ = req.Stdout.Write(res.Stdout)
		_, _ = req.Stderr.Write(res.Stderr)
		return 0
	case errors.As(err, &exit):
		_, _ = req.Stdout.Write(exit.Stdout)
		_, _ = req.Stderr.Write(exit.Stderr)
		return exit.Code
	}
	fmt.Fprintln(req.Stderr, "sim:", err)
	return 255
}
