package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Server is one connection's other end that answers at once: what a client
// writes is carried out before its Write returns, on the client's goroutine.
// Nobody is woken up and nobody is waited for.
type Server interface {
	// Serve takes what came and returns what goes back; open is false when the
	// server ends the connection behind it. It takes World.With around what it
	// reads or changes.
	Serve(came []byte) (back []byte, open bool)
}

// RegisterAnswerer makes a kind of listener known whose connections are Servers.
func (w *World) RegisterAnswerer(kind string, accept func(w *World, m *Machine, arg string) Server) {
	w.mine().servers[kind] = accept
}

// conn is the client's end of a connection to a Server.
type conn struct {
	srv Server

	mu      sync.Mutex
	more    *sync.Cond
	back    []byte // what the client has not read yet
	ended   bool   // by the server
	closed  bool   // by the client
	expired bool   // the deadline is over
	timer   *time.Timer
}

func newConn(s Server) *conn {
	c := &conn{srv: s}
	c.more = sync.NewCond(&c.mu)
	return c
}

// Write lets the server carry b out.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	err := c.broken()
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	back, open := c.srv.Serve(b)
	c.mu.Lock()
	c.back = append(c.back, back...)
	c.ended = !open
	c.mu.Unlock()
	c.more.Broadcast()
	return len(b), nil
}

func (c *conn) broken() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.ended:
		return io.ErrClosedPipe
	case c.expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Read takes what the server sent.
func (c *conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.back) == 0 {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.ended:
			return 0, io.EOF
		case c.expired:
			return 0, os.ErrDeadlineExceeded
		}
		c.more.Wait()
	}
	n := copy(b, c.back)
	if c.back = c.back[n:]; len(c.back) == 0 {
		c.back = nil
	}
	return n, nil
}

// Close ends the connection.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.more.Broadcast()
	return nil
}

// SetDeadline ends reads and writes at t; the zero time takes that back.
func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.expired = false
	if left := time.Until(t); t.IsZero() {
		return nil
	} else if left > 0 {
		c.timer = time.AfterFunc(left, c.expire)
		return nil
	}
	c.expired = true
	c.more.Broadcast()
	return nil
}

func (c *conn) expire() {
	c.mu.Lock()
	c.expired = true
	c.mu.Unlock()
	c.more.Broadcast()
}

// SetReadDeadline and SetWriteDeadline are one deadline here.
func (c *conn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetWriteDeadline is SetDeadline.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

// LocalAddr and RemoteAddr name no real place.
func (c *conn) LocalAddr() net.Addr { return nowhere{} }

// RemoteAddr names no real place.
func (c *conn) RemoteAddr() net.Addr { return nowhere{} }

type nowhere struct{}

func (nowhere) Network() string { return "sim" }
func (nowhere) String() string  { return "sim" }
