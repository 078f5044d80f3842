package journal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// Hold runs fn while it keeps the lease alive. When the lease is lost, fn's
// context ends with a cause that wraps ErrLost, while no other operator can
// have begun yet. Hold returns when fn has; it does not release the lease.
func (l *Lease) Hold(ctx context.Context, fn func(context.Context) error) error {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.mu.Lock()
	l.cancel = cancel
	lost := l.lost
	l.mu.Unlock()
	if lost != nil {
		return lost
	}
	stop := func() {}
	if !l.opt.Serial {
		stop = l.keep(ctx)
	}
	err := fn(work)
	stop()
	if lost := l.Err(); lost != nil && !errors.Is(err, ErrLost) {
		return errors.Join(lost, err)
	}
	return err
}

// keep renews until stop is called. It outlives a cancelled ctx: an
// interrupted run still finishes its running step under the lease.
func (l *Lease) keep(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		pause := l.opt.TTL / 3
		for l.Err() == nil {
			if l.opt.Clock.Sleep(ctx, min(pause, max(l.left(), 0))) != nil {
				return
			}
			pause = l.opt.TTL / 3
			if !l.renew(ctx) {
				pause = l.opt.TTL / 15
			}
		}
	}()
	return func() { cancel(); <-done }
}

// left is how long the work may go on without another renewal.
func (l *Lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opt.patience() - l.opt.Clock.Now().Sub(l.fresh)
}

// renew renews the lease on all nodes that hold it and reports whether one
// took it. When the time is over, the lease is lost.
func (l *Lease) renew(ctx context.Context) bool {
	if left := l.left(); left > 0 {
		within, cancel := context.WithTimeout(ctx, left)
		took := l.round(within)
		cancel()
		if took || ctx.Err() != nil {
			return took
		}
	}
	l.loseIfLate()
	return false
}

// tick renews in Serial mode when it is time. A simulated clock may have made a
// long step since: what would have been renewed meanwhile still is, unless
// somebody has taken it over.
func (l *Lease) tick(ctx context.Context) {
	if l.Err() != nil || l.left() > l.opt.patience()-l.opt.TTL/3 {
		return
	}
	if !l.round(context.WithoutCancel(ctx)) {
		l.loseIfLate()
	}
}

func (l *Lease) loseIfLate() {
	if l.left() > 0 || l.Err() != nil {
		return
	}
	_ = l.lose(&say.Problem{
		Text: say.F("the lease could not be renewed on any node for %s; the work was stopped", "租约在任何节点上都无法续期已达 %s，操作已停止", l.opt.patience()),
		Next: say.F("check the connections, then: shiplift resume", "检查网络连接，然后执行：shiplift resume"),
		Err:  ErrLost,
	})
}

// round renews on all nodes and reports whether one took it. A node that hangs
// holds it up for a third of the time to live at most.
func (l *Lease) round(ctx context.Context) bool {
	var took atomic.Bool
	_ = l.each(l.Nodes(), func(n string) error {
		if _, err := l.renewOn(ctx, n, 0); err == nil {
			took.Store(true)
		}
		return nil // a loss is remembered, and a node that does not answer is asked again
	})
	return took.Load()
}

// renewOn renews on one node. Another holder there ends the lease.
func (l *Lease) renewOn(ctx context.Context, node string, drain int) (code int, err error) {
	st := l.nodes[node]
	st.mu.Lock()
	defer st.mu.Unlock()
	was := st.grant
	for range 3 {
		next := st.grant
		next.Renewals = max(next.Renewals, was.Renewals) + 1
		began := l.opt.Clock.Now()
		code, now, err := l.cas(ctx, node, was, next, drain)
		if err != nil {
			return 0, err
		}
		if code != leaseOther {
			st.grant = next
			l.renewed(began)
			return code, nil
		}
		if now.Fence > st.grant.Fence || (now.Held && !l.isOurs(now)) {
			return 0, l.lose(l.takenOver(node, now))
		}
		was = now // a renewal whose answer was lost, or somebody removed the file
	}
	return 0, fmt.Errorf("%s: %w", node, errMoved)
}

func (l *Lease) takenOver(node string, by grant) error {
	return &say.Problem{
		Place: node,
		Text: say.F("%s on %s (process %d) has taken the cluster over; the work was stopped",
			"%s 在 %s（进程 %d）上已接管该集群，操作已停止", by.Who.User, by.Who.Host, by.Who.PID),
		Next: say.Same("shiplift status"),
		Err:  ErrLost,
	}
}

func (l *Lease) renewed(began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if began.After(l.fresh) {
		l.fresh = began
	}
}

// lose ends the lease for good, and the work under it. It returns why.
func (l *Lease) lose(why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == nil {
		l.lost = why
		if l.cancel != nil {
			l.cancel(why)
		}
	}
	return l.lost
}

// Hosts returns the machines of the cluster as they may be changed under the
// lease: a node that was not there when the lease was taken joins before its
// first change, every change is fenced, and a node that another operator has
// taken over ends the lease.
func (l *Lease) Hosts() host.Set {
	set := host.Set{}
	for n, h := range l.hosts {
		set[n] = h
		if l.nodes[n] != nil {
			set[n] = &guarded{Host: h, lease: l}
		}
	}
	return set
}

type guarded struct {
	host.Host
	lease *Lease
}

func (g *guarded) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	l := g.lease
	if l.opt.Serial {
		l.tick(ctx)
	}
	if c.Effect == host.ReadOnly {
		return g.Host.Run(ctx, c)
	}
	if err := l.Err(); err != nil {
		return host.Result{}, g.notStarted(err)
	}
	node := g.Name()
	if err := l.Join(ctx, node); err != nil {
		return host.Result{}, g.notStarted(err)
	}
	run := func() (host.Result, error) {
		return Fenced(g.Host, LeaseFile(l.inv, node), l.nodes[node].fence()).Run(ctx, c)
	}
	res, err := run()
	if !errors.Is(err, host.ErrFenced) {
		return res, err
	}
	// Somebody has taken the node over, or has removed the file: then the
	// renewal writes it again, and the command, which did not start, may.
	if _, lost := l.renewOn(ctx, node, 0); lost != nil {
		return res, g.notStarted(errors.Join(lost, err))
	}
	if res, err = run(); errors.Is(err, host.ErrFenced) {
		return res, g.notStarted(err)
	}
	return res, err
}

// Dial connects under the lease: what is sent to a server over the connection
// is fenced by nothing but the lease itself, so it must still be ours.
func (g *guarded) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := g.lease.ours(ctx); err != nil {
		return nil, g.notStarted(err)
	}
	c, err := g.Host.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &leasedConn{c, g.lease}, nil
}

// ours tells why the lease may not be ours any more; nil when nobody else can have it.
func (l *Lease) ours(ctx context.Context) error {
	if l.opt.Serial {
		l.tick(ctx)
	}
	l.loseIfLate()
	return l.Err()
}

type leasedConn struct {
	net.Conn
	lease *Lease
}

// Write sends only while the lease is ours: a process that stood still until
// its lease had run out changes nothing more. The connection ends with the lease:
// nobody waits for an answer to what was not sent.
func (c *leasedConn) Write(b []byte) (int, error) {
	if err := c.lease.ours(context.Background()); err != nil {
		_ = c.Conn.Close()
		return 0, err
	}
	return c.Conn.Write(b)
}

// notStarted says what the contract of Run asks for: the command did not start.
func (g *guarded) notStarted(err error) error {
	if _, ok := errors.AsType[*host.UnreachableError](err); ok {
		return err
	}
	return &host.UnreachableError{Node: g.Name(), Addr: "lease", Err: err}
}

func (st *leased) fence() int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.grant.Fence
}
