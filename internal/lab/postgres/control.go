package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/say"
)

const (
	controlSocket = "control"
	daemonLog     = "daemon.log"
)

// spawnDaemon starts the process that holds the ssh servers and outlives us.
func (l *Lab) spawnDaemon(ctx context.Context, o Options) error {
	argv := o.Serve
	if len(argv) == 0 {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		argv = []string{self, "lab", "serve", Driver, "--dir"}
	}
	p, err := lab.Spawn(ctx, append(argv[:len(argv):len(argv)], l.Dir), o.Env, "/", filepath.Join(l.Dir, daemonLog))
	if err != nil {
		return err
	}
	l.State.Daemon = &p
	return l.State.Save(l.Dir)
}

// Serve holds the ssh servers of the lab in dir until ctx ends, and does what
// is asked on the control socket. It is the daemon that Up leaves behind.
func Serve(ctx context.Context, dir string) (err error) {
	l, listener, err := openServing(dir)
	if err := errors.Join(err, lab.Ready(err)); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer func() { wg.Wait(); err = errors.Join(err, l.machines.close()) }()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	defer listener.Close()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("control socket: %w", err)
		}
		wg.Go(func() { l.answer(ctx, conn) })
	}
}

func openServing(dir string) (*Lab, net.Listener, error) {
	l, err := Open(dir)
	if err != nil {
		return nil, nil, err
	}
	if d := l.State.Daemon; d != nil && d.PID != os.Getpid() && d.Alive() {
		return nil, nil, fmt.Errorf("%s: process %d holds this lab already", l.Dir, d.PID)
	}
	listener, err := listenControl(l.Dir)
	if err != nil {
		return nil, nil, err
	}
	if l.machines, err = l.openMachines(); err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	if err := l.signIn(); err != nil {
		return nil, nil, errors.Join(err, l.machines.close(), listener.Close())
	}
	return l, listener, nil
}

// signIn writes down this process as the lab's daemon. It does so itself: who
// started it may die before it could.
func (l *Lab) signIn() error {
	p, err := lab.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	l.State.Daemon = &p
	return l.State.Save(l.Dir)
}

// throughDir calls fn with a short path of the control socket: a lab may lie
// deeper than the path of a socket can be long.
func throughDir(dir string, fn func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return fn(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), controlSocket))
}

func listenControl(dir string) (net.Listener, error) {
	if err := os.Remove(filepath.Join(dir, controlSocket)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var listener *net.UnixListener
	err := throughDir(dir, func(path string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener.SetUnlinkOnClose(false) // its short path means something else by then
	return listener, os.Chmod(filepath.Join(dir, controlSocket), 0o600)
}

// request is what the daemon is asked to do; reply is its answer.
type request struct {
	Node  string `json:"node"`
	Fault Fault  `json:"fault"`
}

type reply struct {
	Error string `json:"error,omitempty"`
}

// answer serves one request. Who asks and says nothing is not waited for long.
func (l *Lab) answer(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	var req request
	if json.NewDecoder(conn).Decode(&req) != nil {
		return
	}
	var rep reply
	if err := l.doHere(ctx, req); err != nil {
		rep.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(rep)
}

// askDaemon sends a request to the process that holds the ssh servers.
func (l *Lab) askDaemon(ctx context.Context, req request) error {
	var conn net.Conn
	err := throughDir(l.Dir, func(path string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	if err != nil {
		return &say.Problem{
			Place: l.Dir,
			Text:  say.F("the lab's daemon does not answer", "演练环境的后台进程没有响应"),
			Next:  say.F("shiplift lab down --dir %s, then lab up again", "先执行 shiplift lab down --dir %s，再重新 lab up", l.Dir),
			Err:   err,
		}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var rep reply
	if err := errors.Join(json.NewEncoder(conn).Encode(req), json.NewDecoder(conn).Decode(&rep)); err != nil {
		return fmt.Errorf("ask the lab's daemon: %w", err)
	}
	if rep.Error != "" {
		return errors.New(rep.Error)
	}
	return nil
}
