package journal

import (
	"context"
	"errors"
	"io"
	"net"
	"path"
	"strings"
	"sync"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

type sayText = say.Text

// fake is a machine of a few commands over a map of files.
type fake struct {
	name string

	mu    sync.Mutex
	files map[string]string
	down  bool
	hang  bool
	lose  int // that many changing commands do their work and then lose the connection
	runs  []string

	stderr []byte // of the last command that was fenced
}

func (f *fake) set(down, hang bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.hang = down, hang
}

func (f *fake) Name() string { return f.name }
func (f *fake) Close() error { return nil }
func (f *fake) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no network")
}

func (f *fake) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	f.mu.Lock()
	down, hang := f.down, f.hang
	f.mu.Unlock()
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	if hang {
		<-ctx.Done()
		return host.Result{}, ctx.Err()
	}
	if down {
		return host.Result{}, &host.UnreachableError{Node: f.name, Addr: "fake", Err: errors.New("down")}
	}
	var stdin []byte
	if c.Stdin != nil {
		stdin, _ = io.ReadAll(c.Stdin)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stderr = nil
	out, code := f.exec(c.Argv, string(stdin))
	if c.Effect == host.Changes && f.lose > 0 {
		f.lose--
		return host.Result{}, errors.New("connection lost")
	}
	if code != 0 {
		return host.Result{}, &host.ExitError{Node: f.name, Argv: c.Argv, Code: code, Stdout: []byte(out), Stderr: f.stderr}
	}
	return host.Result{Stdout: []byte(out)}, nil
}

func (f *fake) exec(argv []string, stdin string) (string, int) {
	f.runs = append(f.runs, path.Base(argv[0]))
	switch argv[0] {
	case "sh":
		return f.script(argv, stdin)
	case "true", "mkdir", "chmod":
		return "", 0
	case "cat":
		s, ok := f.files[argv[len(argv)-1]]
		if !ok {
			return "", 1
		}
		return s, 0
	case "test":
		if _, ok := f.files[argv[2]]; ok || argv[2] == "." {
			return "", 0
		}
		return "", 1
	case "rm":
		delete(f.files, argv[len(argv)-1])
		return "", 0
	case "mv":
		from, to := argv[len(argv)-2], argv[len(argv)-1]
		f.files[to] = f.files[from]
		delete(f.files, from)
		return "", 0
	case "ls":
		return f.list(argv[len(argv)-1])
	case "dd":
		return f.dd(argv[1:], stdin)
	}
	return "unknown command " + argv[0], 127
}

func (f *fake) script(argv []string, stdin string) (string, int) {
	sim := Sim{
		Get: func(p string) (string, bool, error) { s, ok := f.files[p]; return s, ok, nil },
		Put: func(p, s string) error { f.files[p] = s; return nil },
	}
	switch argv[2] {
	case LeaseScript:
		return sim.Lease(argv[4:])
	case FenceScript:
		cmd, why, code := sim.Fence(argv[4:])
		if code != 0 {
			f.stderr = []byte(why)
			return "", code
		}
		return f.exec(cmd, stdin)
	}
	return "unknown script", 127
}

func (f *fake) list(dir string) (string, int) {
	out := ""
	for p := range f.files {
		if path.Dir(p) == dir {
			out += path.Base(p) + "\n"
		}
	}
	if out == "" {
		return "", 2
	}
	return out, 0
}

func (f *fake) dd(args []string, stdin string) (string, int) {
	to, more := "", false
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, "of="); ok {
			to = v
		}
		more = more || a == "oflag=append"
	}
	if more {
		stdin = f.files[to] + stdin
	}
	f.files[to] = stdin
	return "", 0
}
