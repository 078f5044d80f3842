// Package sshd is the ssh server of one lab machine, on loopback, with its own
// host key and one key that may log in.
//
// It runs commands and makes connections, and refuses everything else that ssh
// can do. What a command does is up to the Machine behind it: this operating
// system or a simulated one. The link itself can be broken on purpose.
package sshd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/gliderlabs/ssh"
	"github.com/skeema/knownhosts"
	gossh "golang.org/x/crypto/ssh"
)

// Machine is what stands behind the server.
type Machine interface {
	// Exec runs one command line and returns its status, 128+n when signal n
	// ended it, or NoAnswer. When ctx ends the link to whoever asked is gone.
	Exec(ctx context.Context, req ExecRequest) (exit int)
	// Dial connects from the machine ("tcp" or "unix").
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
}

// ExecRequest is one command line.
type ExecRequest struct {
	User           string
	Command        string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Signals        <-chan string   // names of RFC 4254, "TERM"; closed when the channel is
	Closing        <-chan struct{} // closed when the server itself ends: nothing may outlive it
}

// Config says what to serve.
type Config struct {
	Addr       string // 127.0.0.1:0 when empty
	HostKey    gossh.Signer
	Authorized []gossh.PublicKey // who may log in; at least one
	User       string            // the only login, any when empty
	Machine    Machine
}

// Server is a running ssh server.
type Server struct {
	cfg    Config
	srv    *ssh.Server
	ln     net.Listener
	faults faults
	serve  sync.WaitGroup
	once   sync.Once
	mu     sync.Mutex // guards cfg.Authorized

	closing chan struct{}
}

// Start listens and serves until Close.
func Start(cfg Config) (*Server, error) {
	if cfg.HostKey == nil || len(cfg.Authorized) == 0 || cfg.Machine == nil {
		return nil, errors.New("an ssh server needs a host key, an authorized key and a machine")
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for ssh: %w", err)
	}
	s := &Server{cfg: cfg, ln: ln, closing: make(chan struct{})}
	s.srv = &ssh.Server{
		Version:          "ShipliftLab",
		HostSigners:      []ssh.Signer{cfg.HostKey},
		PublicKeyHandler: s.mayLogIn,
		ConnCallback:     func(_ ssh.Context, c net.Conn) net.Conn { return s.faults.accept(c) },
		ChannelHandlers: map[string]ssh.ChannelHandler{
			"session":                        s.session,
			"direct-tcpip":                   s.directTCP,
			"direct-streamlocal@openssh.com": s.directUnix,
		},
		// Without a handler every global request is refused; to a keepalive
		// that is an answer as good as any.
		RequestHandlers: map[string]ssh.RequestHandler{},
	}
	s.serve.Go(func() { _ = s.srv.Serve(ln) })
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Port is the port the server listens on.
func (s *Server) Port() int { return s.ln.Addr().(*net.TCPAddr).Port }

// KnownHosts is the server's line for a known_hosts file.
func (s *Server) KnownHosts() string {
	return knownhosts.Line([]string{s.Addr()}, s.cfg.HostKey.PublicKey()) + "\n"
}

// Close ends all connections and waits for the commands that run.
func (s *Server) Close() error {
	s.once.Do(func() { close(s.closing) })
	err := s.ln.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	_ = s.srv.Close()
	s.faults.close()
	s.serve.Wait()
	return err
}

// Authorize lets one more key log in.
func (s *Server) Authorize(key gossh.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Authorized = append(slices.Clone(s.cfg.Authorized), key)
}

func (s *Server) mayLogIn(ctx ssh.Context, key ssh.PublicKey) bool {
	if s.cfg.User != "" && ctx.User() != s.cfg.User {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.cfg.Authorized {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

// session serves one command. The library's own session does not tell when its
// channel is closed and sends no exit-signal.
func (s *Server) session(_ *ssh.Server, conn *gossh.ServerConn, newChan gossh.NewChannel, _ ssh.Context) {
	if !s.faults.begin() {
		_ = newChan.Reject(gossh.ConnectionFailed, "the server is closing")
		return
	}
	defer s.faults.work.Done()
	ch, reqs, err := newChan.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel()
	signals := make(chan string, 16)
	defer close(signals)
	started := false
	for r := range reqs {
		ok := false
		switch {
		case r.Type == "exec" && !started:
			var m struct{ Command string }
			if ok = gossh.Unmarshal(r.Payload, &m) == nil; !ok {
				break
			}
			started = true
			req := ExecRequest{User: conn.User(), Command: m.Command, Stdin: ch, Stdout: ch, Stderr: ch.Stderr(), Signals: signals, Closing: s.closing}
			// The answer goes first: a command that ends at once would close the
			// channel before, and to whoever asked that is a broken link.
			if r.WantReply {
				_ = r.Reply(true, nil)
				r.WantReply = false
			}
			run.Go(func() { s.exec(ctx, conn, ch, req) })
		case r.Type == "signal":
			ok = passOn(signals, r.Payload)
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
	}
}

// passOn hands a signal to the command, when it still reads them.
func passOn(signals chan<- string, payload []byte) bool {
	var m struct{ Name string }
	if gossh.Unmarshal(payload, &m) != nil {
		return false
	}
	select {
	case signals <- m.Name:
	default: // nobody reads them
	}
	return true
}

// exec runs the command and answers, unless the link is to be lost here.
func (s *Server) exec(ctx context.Context, conn *gossh.ServerConn, ch gossh.Channel, req ExecRequest) {
	defer ch.Close()
	n := s.faults.count()
	if s.faults.dropBefore(n) {
		_ = conn.Close()
		return
	}
	code := s.cfg.Machine.Exec(ctx, req)
	if code == NoAnswer || s.faults.dropAfter(n) {
		_ = conn.Close()
		return
	}
	_ = ch.CloseWrite()
	if name, ok := signalNames[code-128]; ok {
		_, _ = ch.SendRequest("exit-signal", false, gossh.Marshal(struct {
			Name         string
			Core         bool
			Message, Tag string
		}{Name: name}))
		return
	}
	_, _ = ch.SendRequest("exit-status", false, gossh.Marshal(struct{ Status uint32 }{uint32(code)}))
}

// signalNames are the signals that have a name in RFC 4254, section 6.10.
var signalNames = map[int]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 8: "FPE", 9: "KILL",
	10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM",
}

func (s *Server) directTCP(_ *ssh.Server, _ *gossh.ServerConn, newChan gossh.NewChannel, ctx ssh.Context) {
	var m struct {
		Host   string
		Port   uint32
		Origin string
		From   uint32
	}
	if err := gossh.Unmarshal(newChan.ExtraData(), &m); err != nil {
		_ = newChan.Reject(gossh.ConnectionFailed, err.Error())
		return
	}
	s.connect(ctx, newChan, "tcp", net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port))))
}

func (s *Server) directUnix(_ *ssh.Server, _ *gossh.ServerConn, newChan gossh.NewChannel, ctx ssh.Context) {
	var m struct {
		Path     string
		Reserved string
		Number   uint32
	}
	if err := gossh.Unmarshal(newChan.ExtraData(), &m); err != nil {
		_ = newChan.Reject(gossh.ConnectionFailed, err.Error())
		return
	}
	s.connect(ctx, newChan, "unix", m.Path)
}

func (s *Server) connect(ctx context.Context, newChan gossh.NewChannel, network, addr string) {
	if !s.faults.begin() {
		_ = newChan.Reject(gossh.ConnectionFailed, "the server is closing")
		return
	}
	defer s.faults.work.Done()
	conn, err := s.cfg.Machine.Dial(ctx, network, addr)
	if err != nil {
		_ = newChan.Reject(gossh.ConnectionFailed, err.Error())
		return
	}
	defer conn.Close()
	ch, reqs, err := newChan.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go gossh.DiscardRequests(reqs)
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(conn, ch)
		// The client has closed its side: without this the other copy would
		// wait for a server that waits for its client.
		if w, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		} else {
			_ = conn.Close()
		}
	})
	_, _ = io.Copy(ch, conn)
	_ = ch.Close()
	_ = conn.Close()
	up.Wait()
}
