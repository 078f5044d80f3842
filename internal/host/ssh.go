package host

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/shiplift/shiplift/internal/say"
)

// SSHConfig says how to reach one machine over ssh. NewSSH fills what is
// empty: from ssh_config first, then from the usual defaults.
type SSHConfig struct {
	Node         string // the node's name in errors
	Host         string // name or address, or an alias of ssh_config
	Port         int
	User         string
	IdentityFile string
	KnownHosts   string // a file; ssh_config's and the usual ones when empty
	ConfigFile   string // ~/.ssh/config and the system's when empty
	ProxyJump    string // [user@]host[:port],…; ssh_config's when empty, "none" for none
	AgentSocket  string // SSH_AUTH_SOCK when empty, "none" for none

	DialTimeout      time.Duration // to connect and log in
	KeepAlive        time.Duration // between two signs of life asked for
	KeepAliveTimeout time.Duration // a sign that takes longer means that the link is lost
	EndWithin        time.Duration // to end a command whose context ended
	Grace            time.Duration // for output after the exit status, while something in the background holds it open
	MaxSessions      int           // commands at once on the one connection; sshd allows 10 and one is kept for ending others
}

func (c SSHConfig) withDefaults() SSHConfig {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.DialTimeout, 10 * time.Second},
		{&c.KeepAlive, 5 * time.Second},
		{&c.KeepAliveTimeout, 15 * time.Second},
		{&c.EndWithin, 5 * time.Second},
		{&c.Grace, 2 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.MaxSessions <= 0 {
		c.MaxSessions = 9
	}
	return c
}

// SSH is a machine behind an ssh server. One connection is kept open; it is
// made when the first command comes and made again after a loss.
type SSH struct {
	Config SSHConfig

	mu      sync.Mutex
	link    *link    // nil: none yet
	dialing *dialing // shared by all who wait for a connection
	closed  bool
}

// NewSSH prepares a machine; nothing is dialled yet.
func NewSSH(cfg SSHConfig) *SSH { return &SSH{Config: cfg.withDefaults()} }

var _ Host = (*SSH)(nil)

// errClosed is what a closed host answers.
var errClosed = say.Errorf("the host is closed", "主机连接已关闭")

// Name returns the node's name.
func (s *SSH) Name() string { return s.Config.Node }

// Close ends the connection. Commands under way end as lost.
func (s *SSH) Close() error {
	s.mu.Lock()
	s.closed = true
	l, d := s.link, s.dialing
	s.link = nil
	s.mu.Unlock()
	if d != nil {
		d.cancel(errClosed)
		<-d.done
		if d.link != nil {
			d.link.close(errClosed)
		}
	}
	if l != nil {
		l.close(errClosed)
	}
	return nil
}

// Run runs c over the kept connection.
func (s *SSH) Run(ctx context.Context, c Cmd) (Result, error) {
	if err := checkArgv(c.Argv); err != nil {
		return Result{}, s.unreachable(err)
	}
	var ch *channel
	err := s.withLink(ctx, func(l *link) (err error) {
		ch, err = l.session(ctx)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	defer ch.release()
	ctx, stop := bounded(ctx, c.Timeout)
	defer stop(nil)
	if c.Stdin != nil {
		c.Stdin = &stdin{Reader: c.Stdin, failed: stop}
	}
	return ch.run(ctx, s.Config, c)
}

// Dial connects from the machine, through the connection.
func (s *SSH) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	kind, payload, err := forward(network, addr)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	var refused *ssh.OpenChannelError
	err = s.withLink(ctx, func(l *link) error {
		ch, reqs, err := l.open(ctx, kind, payload)
		if errors.As(err, &refused) {
			return nil // an answer of the machine, not of the way to it
		}
		if err != nil {
			return err
		}
		go ssh.DiscardRequests(reqs)
		conn = bridge(ch, network, addr)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, dialRefused(s.Config.Node, network, addr, refused)
	}
	return conn, nil
}

// withLink calls use with a live link. When the link turns out to be dead,
// nothing was sent, so use gets one more, newly dialled.
func (s *SSH) withLink(ctx context.Context, use func(*link) error) error {
	for again := true; ; again = false {
		l, err := s.get(ctx)
		if err != nil {
			return s.unreachable(err)
		}
		if err = use(l); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return s.unreachable(context.Cause(ctx))
		}
		if !l.dead() || !again {
			return s.unreachable(err)
		}
	}
}

func (s *SSH) unreachable(err error) error {
	return &UnreachableError{Node: s.Config.Node, Addr: s.addr(), Err: err}
}

func (s *SSH) addr() string {
	if s.Config.Port == 0 {
		return s.Config.Host
	}
	return hostPort(s.Config.Host, s.Config.Port)
}

// dialing is one attempt to connect, outliving whoever asked first: the next
// one who waits for it must not fail because the first gave up.
type dialing struct {
	done   chan struct{}
	cancel context.CancelCauseFunc
	link   *link
	err    error
}

func (s *SSH) get(ctx context.Context) (*link, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errClosed
	}
	if s.link != nil && !s.link.dead() {
		defer s.mu.Unlock()
		return s.link, nil
	}
	if err := ctx.Err(); err != nil {
		s.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	d := s.dialing
	if d == nil {
		d = s.startDialing()
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		return d.link, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// startDialing is called with s.mu held.
func (s *SSH) startDialing() *dialing {
	ctx, cancel := context.WithCancelCause(context.Background())
	d := &dialing{done: make(chan struct{}), cancel: cancel}
	s.dialing = d
	go func() {
		defer cancel(nil)
		d.link, d.err = dialLink(ctx, s.Config)
		s.mu.Lock()
		s.dialing = nil
		if !s.closed {
			s.link = d.link
		}
		s.mu.Unlock()
		close(d.done)
	}()
	return d
}

// link is one ssh connection.
type link struct {
	client *ssh.Client
	places chan struct{} // one per session under way
	kill   chan struct{} // the one session kept for ending others
	gone   chan struct{} // closed when the connection is lost
	jump   *SSH          // the machine in between, if any
	once   sync.Once
	why    error // set before gone is closed
}

func newLink(client *ssh.Client, cfg SSHConfig, jump *SSH) *link {
	l := &link{
		client: client,
		places: make(chan struct{}, cfg.MaxSessions),
		kill:   make(chan struct{}, 1),
		gone:   make(chan struct{}),
		jump:   jump,
	}
	go func() {
		err := client.Wait()
		if err == nil {
			err = say.Errorf("connection closed", "连接已关闭")
		}
		l.close(err)
	}()
	go l.keepAlive(cfg.KeepAlive, cfg.KeepAliveTimeout)
	return l
}

func (l *link) close(why error) {
	l.once.Do(func() {
		l.why = why
		_ = l.client.Close()
		if l.jump != nil {
			_ = l.jump.Close()
		}
		close(l.gone)
	})
}

func (l *link) dead() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// keepAlive closes the link when the other side gives no sign of life: a
// machine that lost its power sends nothing, and without this a command would
// wait for its answer until its own timeout.
func (l *link) keepAlive(every, within time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-l.gone:
			return
		case <-tick.C:
		}
		late := time.AfterFunc(within, func() { l.close(errors.New("no sign of life within " + within.String())) })
		_, _, err := l.client.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			l.close(err)
			return
		}
	}
}

// open opens a channel, or gives up when ctx ends.
func (l *link) open(ctx context.Context, kind string, payload []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	answer := make(chan opened, 1)
	go func() {
		ch, reqs, err := l.client.OpenChannel(kind, payload)
		answer <- opened{ch, reqs, err}
	}()
	select {
	case o := <-answer:
		var refused *ssh.OpenChannelError
		if o.err != nil && !errors.As(o.err, &refused) {
			l.close(o.err) // whatever else goes wrong here means that the link is gone
		}
		return o.ch, o.reqs, o.err
	case <-l.gone:
		// The library leaves a channel waiting for ever that is asked for while
		// the connection ends: after it told the others, before it refuses more.
		return nil, nil, l.why
	case <-ctx.Done():
		go func() {
			if o := <-answer; o.err == nil {
				go ssh.DiscardRequests(o.reqs)
				_ = o.ch.Close()
			}
		}()
		return nil, nil, context.Cause(ctx)
	}
}

// session opens a channel for a command, when there is a place for one.
func (l *link) session(ctx context.Context) (*channel, error) {
	return l.sessionIn(ctx, l.places)
}

func (l *link) sessionIn(ctx context.Context, places chan struct{}) (*channel, error) {
	select {
	case places <- struct{}{}:
	case <-l.gone:
		return nil, l.why
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ch, reqs, err := l.open(ctx, "session", nil)
	if err != nil {
		<-places
		return nil, err
	}
	return newChannel(l, ch, reqs, func() { <-places }), nil
}
