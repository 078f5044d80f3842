package rehearse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/run"
)

// ErrDead is what a process gets that was killed: from then on it can change
// nothing, write nothing and learn nothing.
var ErrDead = errors.New("the tool was killed")

// Death kills the tool at one point: before or after its n-th command, message
// to a server, or journal record. At 0 it never comes.
type Death struct {
	At    int  // counted from 1
	After bool // the deed happened, its answer never came
	// Record kills behind the journal's record of that number instead; 0: none.
	Record int
	// Watch, if set, is told of each point before its deed and behind it, while
	// nothing else goes on: whoever copies the world there has what a death there
	// leaves. It is not asked again for what it does itself. A point reads when its
	// deed is a command that changes nothing.
	Watch func(point int, after, reads bool)

	mu    sync.Mutex
	count int
	dead  bool
}

// Count returns how many points were passed.
func (d *Death) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// Dead reports whether the tool was killed; a nil Death never kills.
func (d *Death) Dead() bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

// pass counts a point. It tells whether the deed happens and whether its answer arrives.
func (d *Death) pass() (happens, answered bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return false, false
	}
	d.count++
	if d.count != d.At {
		return true, true
	}
	d.dead = true
	return d.After, false
}

// watch tells of the point that was passed last.
func (d *Death) watch(after, reads bool) {
	if d != nil && d.Watch != nil && !d.Dead() {
		d.Watch(d.Count(), after, reads)
	}
}

// kill ends the process.
func (d *Death) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
}

// Hosts wraps all machines of a set.
func (d *Death) Hosts(set host.Set) host.Set {
	out := make(host.Set, len(set))
	for name, h := range set {
		out[name] = &mortalHost{h, d}
	}
	return out
}

type mortalHost struct {
	host.Host
	d *Death
}

func (m *mortalHost) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	happens, answered := m.d.pass()
	if !happens {
		return host.Result{}, ErrDead
	}
	reads := c.Effect == host.ReadOnly
	m.d.watch(false, reads)
	res, err := m.Host.Run(ctx, c)
	m.d.watch(true, reads)
	if !answered {
		return host.Result{}, ErrDead
	}
	return res, err
}

func (m *mortalHost) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if m.d.Dead() {
		return nil, ErrDead
	}
	c, err := m.Host.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &mortalConn{Conn: c, d: m.d}, nil
}

type mortalConn struct {
	net.Conn
	d      *Death
	broken atomic.Bool
}

// cancels is how a request begins that PostgreSQL shall end a statement.
var cancels = []byte{0, 0, 0, 16, 4, 210, 22, 46}

// Write is a point, unless it is of the goodbye that the library sends from a
// goroutine of its own once a connection broke: nobody could tell when it comes.
func (c *mortalConn) Write(b []byte) (int, error) {
	if c.broken.Load() || bytes.HasPrefix(b, cancels) {
		if c.d.Dead() {
			return 0, ErrDead
		}
		return c.Conn.Write(b)
	}
	happens, answered := c.d.pass()
	if !happens {
		_ = c.Conn.Close()
		return 0, ErrDead
	}
	c.d.watch(false, false)
	n, err := c.Conn.Write(b)
	c.d.watch(true, false)
	if err != nil {
		c.broken.Store(true)
	}
	if !answered {
		return n, ErrDead // the server has the message; the connection ends with the process
	}
	return n, err
}

func (c *mortalConn) Read(b []byte) (int, error) {
	if c.d.Dead() {
		_ = c.Conn.Close()
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b)
	if err != nil {
		c.broken.Store(true)
	}
	return n, err
}

// Memory is a journal in memory that outlives the process that writes it.
type Memory struct {
	Records []journal.Record
	d       *Death
}

var _ run.Log = (*Memory)(nil)

// Append keeps records unless the tool is dead.
func (m *Memory) Append(_ context.Context, records ...journal.Record) error {
	happens, answered := true, true
	if m.d != nil {
		happens, answered = m.d.pass()
	}
	if happens {
		m.d.watch(false, false)
		for i := range records {
			records[i].Seq = len(m.Records) + 1
			m.Records = append(m.Records, records[i])
		}
		m.d.watch(true, false)
	}
	if answered && m.d != nil && m.d.Record > 0 && len(m.Records) >= m.d.Record {
		m.d.kill()
		return ErrDead
	}
	if !answered {
		return ErrDead
	}
	return nil
}

// Barrier has no copies to wait for.
func (m *Memory) Barrier(context.Context, ...string) error { return nil }
