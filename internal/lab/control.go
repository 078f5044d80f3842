package lab

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

	"github.com/shiplift/shiplift/internal/say"
)

// ControlSocket is the name of the socket in a lab's directory on which the
// lab's daemon is asked to do something.
const ControlSocket = "control"

// Control is the daemon's end of the control socket.
type Control struct {
	listener *net.UnixListener
}

// ListenControl makes the control socket of the lab in dir. One that an
// earlier daemon left behind is replaced.
func ListenControl(dir string) (*Control, error) {
	if err := os.Remove(filepath.Join(dir, ControlSocket)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var c Control
	err := throughDir(dir, func(path string) (err error) {
		c.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	c.listener.SetUnlinkOnClose(false) // its short path means something else by then
	return &c, os.Chmod(filepath.Join(dir, ControlSocket), 0o600)
}

// Close ends Serve.
func (c *Control) Close() error { return c.listener.Close() }

// Serve answers requests until ctx ends. What do returns, or its error, is the answer.
func (c *Control) Serve(ctx context.Context, do func(context.Context, json.RawMessage) (any, error)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, func() { _ = c.listener.Close() })()
	defer func() { _ = c.listener.Close() }()
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("control socket: %w", err)
		}
		wg.Go(func() { answer(ctx, conn, do) })
	}
}

type reply struct {
	Error  string          `json:"error,omitempty"`
	Answer json.RawMessage `json:"answer,omitempty"`
}

// answer serves one request. Who asks and says nothing is not waited for long.
func answer(ctx context.Context, conn net.Conn, do func(context.Context, json.RawMessage) (any, error)) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	var req json.RawMessage
	if json.NewDecoder(conn).Decode(&req) != nil {
		return
	}
	var rep reply
	got, err := do(ctx, req)
	if err == nil {
		rep.Answer, err = json.Marshal(got)
	}
	if err != nil {
		rep.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(rep)
}

// Ask sends a request to the daemon of the lab in dir and reads its answer
// into into, which may be nil.
func Ask(ctx context.Context, dir string, req, into any) error {
	var conn net.Conn
	err := throughDir(dir, func(path string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	if err != nil {
		return silent(dir, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var rep reply
	if err := errors.Join(json.NewEncoder(conn).Encode(req), json.NewDecoder(conn).Decode(&rep)); err != nil {
		return silent(dir, err)
	}
	if rep.Error != "" {
		return errors.New(rep.Error)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(rep.Answer, into)
}

func silent(dir string, err error) error {
	return &say.Problem{
		Place: dir,
		Text:  say.F("the lab's daemon does not answer", "演练环境的后台进程没有响应"),
		Next:  say.F("shiplift lab down --dir %s, then lab up again", "先执行 shiplift lab down --dir %s，再重新 lab up", dir),
		Err:   err,
	}
}

// throughDir calls fn with a short path of the control socket: a lab may lie
// deeper than the path of a socket can be long.
func throughDir(dir string, fn func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return fn(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), ControlSocket))
}
