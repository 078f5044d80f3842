package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/shiplift/shiplift/internal/say"
)

// dialLink connects and logs in.
func dialLink(ctx context.Context, cfg SSHConfig) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.DialTimeout,
		say.Errorf("no connection within %s: %w", "%s 内未建立连接：%w", cfg.DialTimeout, context.DeadlineExceeded))
	defer cancel()
	way, err := resolve(cfg)
	if err != nil {
		return nil, err
	}
	keys, err := way.keyDB()
	if err != nil {
		return nil, err
	}
	signers, agent, err := way.signers()
	if err != nil {
		return nil, err
	}
	if agent != nil {
		defer agent.Close()
	}
	raw, jump, err := connect(ctx, cfg, way)
	if err != nil {
		return nil, err
	}
	client, err := login(ctx, raw, way, keys, signers)
	if err != nil {
		_ = raw.Close()
		if jump != nil {
			_ = jump.Close()
		}
		return nil, err
	}
	return newLink(client, cfg, jump), nil
}

// connect makes the connection that ssh is spoken over: directly, or through
// the machine in between.
func connect(ctx context.Context, cfg SSHConfig, way route) (net.Conn, *SSH, error) {
	if way.jump == nil {
		d := net.Dialer{KeepAlive: 15 * time.Second}
		raw, err := d.DialContext(ctx, "tcp", way.addr())
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return raw, nil, err
	}
	over := *way.jump
	over.Node = cfg.Node
	over.DialTimeout, over.KeepAlive, over.KeepAliveTimeout = cfg.DialTimeout, cfg.KeepAlive, cfg.KeepAliveTimeout
	jump := NewSSH(over)
	raw, err := jump.Dial(ctx, "tcp", way.addr())
	if err != nil {
		_ = jump.Close()
		return nil, nil, say.Errorf("through %s: %w", "经由 %s：%w", over.Host, err)
	}
	return raw, jump, nil
}

// login does the ssh handshake. The host key is always checked.
func login(ctx context.Context, raw net.Conn, way route, keys *keyDB, signers []ssh.Signer) (*ssh.Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	var keyErr error
	trusted := false
	conn, chans, reqs, err := ssh.NewClientConn(raw, way.name(), &ssh.ClientConfig{
		User: way.user,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyCallback: func(name string, remote net.Addr, key ssh.PublicKey) error {
			keyErr = keys.check(name, remote, key)
			trusted = keyErr == nil
			return keyErr
		},
		HostKeyAlgorithms: keys.algorithms(way.name()),
		ClientVersion:     "SSH-2.0-Shiplift",
	})
	switch {
	case err == nil:
		return ssh.NewClient(conn, chans, reqs), nil
	case keyErr != nil:
		return nil, keyErr
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case trusted && !errors.Is(err, io.EOF):
		return nil, way.loginRefused(err)
	}
	return nil, err
}

func (r route) loginRefused(err error) error {
	return &say.Problem{
		Text: say.F("the login as %s was refused", "以 %s 登录被拒绝", r.user),
		Next: say.Same("ssh -p " + strconv.Itoa(r.port) + " " + r.user + "@" + r.host + " true"),
		Err:  err,
	}
}

// forward is the channel type and payload of a connection made by the server:
// RFC 4254, section 7.2, and OpenSSH's PROTOCOL, section 2.4.
func forward(network, addr string) (kind string, payload []byte, err error) {
	switch network {
	case "unix":
		return "direct-streamlocal@openssh.com", ssh.Marshal(struct {
			Path     string
			Reserved string
			Number   uint32
		}{Path: addr}), nil
	case "tcp", "tcp4", "tcp6":
		name, port, err := net.SplitHostPort(addr)
		if err != nil {
			return "", nil, err
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return "", nil, say.Errorf("port %q of %s: %w", "%[2]s 的端口 %[1]q：%[3]w", port, addr, err)
		}
		return "direct-tcpip", ssh.Marshal(struct {
			Host   string
			Port   uint32
			Origin string
			From   uint32
		}{name, uint32(n), "127.0.0.1", 0}), nil
	}
	return "", nil, say.Errorf("cannot dial %q: only tcp and unix", "无法连接 %q：只支持 tcp 和 unix", network)
}

// dialRefused tells whether the machine could not connect or its ssh server may not.
func dialRefused(node, network, addr string, refused *ssh.OpenChannelError) error {
	err := &net.OpError{Op: "dial", Net: network, Addr: netAddr{network, addr}, Err: refused}
	if refused.Reason != ssh.Prohibited {
		return fmt.Errorf("%s: %w", node, err)
	}
	option := "AllowTcpForwarding"
	if network == "unix" {
		option = "AllowStreamLocalForwarding"
	}
	return &say.Problem{
		Place: node,
		Text: say.F("the ssh server does not forward connections, so the database cannot be reached through it",
			"ssh 服务器不允许转发连接，无法通过它访问数据库"),
		Next: say.F("set \"%s local\" (or yes) in sshd_config on %s and reload sshd", "在 %[2]s 的 sshd_config 中设置 \"%[1]s local\"（或 yes）并重新加载 sshd", option, node),
		Err:  err,
	}
}

// bridge makes a net.Conn with deadlines of an ssh channel, which has none:
// database clients end a query by setting one.
func bridge(ch ssh.Channel, network, addr string) net.Conn {
	near, far := net.Pipe()
	go func() {
		_, _ = io.Copy(far, ch)
		_ = far.Close()
	}()
	go func() {
		_, _ = io.Copy(ch, far)
		_ = ch.Close()
		_ = far.Close()
	}()
	return &bridged{Conn: near, addr: netAddr{network, addr}}
}

type bridged struct {
	net.Conn
	addr net.Addr
}

// RemoteAddr is where the connection ends, as seen from the machine.
func (b *bridged) RemoteAddr() net.Addr { return b.addr }

type netAddr struct{ network, addr string }

func (a netAddr) Network() string { return a.network }
func (a netAddr) String() string  { return a.addr }

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
