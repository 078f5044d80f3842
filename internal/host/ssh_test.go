package host_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/host/hosttest"
	"github.com/shiplift/shiplift/internal/lab/sshd"
	"github.com/shiplift/shiplift/internal/say"
)

// TestHosted serves one host over ssh: the contract holds through both.
func TestHosted(t *testing.T) {
	t.Parallel()
	hosttest.Run(t, func(t *testing.T) hosttest.Machine {
		local := host.NewLocal("inner")
		local.Grace = 300 * time.Millisecond
		l := serve(t, sshd.Hosted(local))
		return hosttest.Machine{Host: l.host(t, nil), Dir: t.TempDir(), Running: hosttest.OSRunning, Shell: true,
			Cut: l.srv.Cut, Restore: l.srv.Restore, Listen: hosttest.OSListen}
	})
}

func TestHostKeyIsAlwaysChecked(t *testing.T) {
	t.Parallel()
	other, err := sshd.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	otherKey := strings.TrimSpace(string(gossh.MarshalAuthorizedKey(other.PublicKey())))
	tests := map[string]struct {
		known   func(l *lab) string
		place   string
		problem string
		next    string
	}{
		"unknown": {
			known: func(*lab) string { return "[127.0.0.1]:1 " + otherKey + "\n" },
			place: "known", problem: "is unknown (ssh-ed25519 SHA256:", next: "ssh-keyscan -p ",
		},
		"changed": {
			known: func(l *lab) string { return fmt.Sprintf("# a comment\n[127.0.0.1]:%d %s\n", l.srv.Port(), otherKey) },
			place: "known:2", problem: "has changed", next: "ssh-keygen -R '[127.0.0.1]:",
		},
		"revoked": {
			known: func(l *lab) string { return "@revoked " + l.srv.KnownHosts() },
			place: "known:1", problem: "is revoked", next: "do not connect",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, sshd.OSMachine{})
			h := l.host(t, func(c *host.SSHConfig) { c.KnownHosts = l.file(t, "known", tc.known(l)) })
			_, err := host.Retry(h, clock{}, 3).Run(t.Context(), host.Read("true"))
			var away *host.UnreachableError
			if !errors.As(err, &away) || !errors.Is(err, host.ErrHostKey) {
				t.Fatalf("got %v, want unreachable with ErrHostKey", err)
			}
			p := problem(t, err)
			if got := filepath.Base(p.Place); got != tc.place {
				t.Errorf("the place is %s, want %s", got, tc.place)
			}
			if !strings.Contains(p.Text.EN, tc.problem) || !strings.Contains(p.Next.EN, tc.next) {
				t.Errorf("got %q, next %q", p.Text.EN, p.Next.EN)
			}
			if n := l.srv.Commands(); n != 0 {
				t.Errorf("%d commands reached the machine", n)
			}
		})
	}
	t.Run("no file at all", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, sshd.OSMachine{})
		h := l.host(t, func(c *host.SSHConfig) { c.KnownHosts = l.dir + "/none" })
		if _, err := h.Run(t.Context(), host.Read("true")); !errors.Is(err, host.ErrHostKey) {
			t.Errorf("got %v", err)
		}
	})
}

// clock is a clock whose sleeps take no time.
type clock struct{}

func (clock) Now() time.Time                             { return time.Unix(0, 0) }
func (clock) Sleep(context.Context, time.Duration) error { return nil }

func problem(t *testing.T, err error) *say.Problem {
	t.Helper()
	var p *say.Problem
	if !errors.As(err, &p) || p.Next.IsZero() || p.Text.ZH == "" {
		t.Fatalf("got %v, want a Problem with a next step in both languages", err)
	}
	return p
}

func TestLogin(t *testing.T) {
	t.Parallel()
	l := newLab(t, sshd.OSMachine{})
	stranger, err := sshd.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(t *testing.T, c *host.SSHConfig)
		want   string // in the problem; empty: it works
	}{
		"with the identity file": {change: func(*testing.T, *host.SSHConfig) {}},
		"a key that is not authorized": {
			change: func(t *testing.T, c *host.SSHConfig) { c.IdentityFile = l.file(t, "stranger", string(stranger.PEM)) },
			want:   "the login as dba was refused",
		},
		"an identity file that is not there": {
			change: func(t *testing.T, c *host.SSHConfig) { c.IdentityFile = l.dir + "/none" },
			want:   "cannot read the ssh identity file",
		},
		"a file that is no key": {
			change: func(t *testing.T, c *host.SSHConfig) { c.IdentityFile = l.file(t, "nokey", "hello") },
			want:   "not a private key",
		},
		"an encrypted key without an agent": {
			change: func(t *testing.T, c *host.SSHConfig) { c.IdentityFile, _ = encrypted(t, l) },
			want:   "has a passphrase",
		},
		"ssh_config gives host, port, user and key": {change: func(t *testing.T, c *host.SSHConfig) {
			c.ConfigFile = l.file(t, "named", fmt.Sprintf("Host db-one\n  HostName 127.0.0.1\n  Port %d\n  User dba\n  IdentityFile %s\n", l.srv.Port(), c.IdentityFile))
			c.Host, c.Port, c.User, c.IdentityFile = "db-one", 0, "", ""
		}},
		"ssh_config gives known_hosts and an alias for the key": {change: func(t *testing.T, c *host.SSHConfig) {
			known := strings.Replace(l.srv.KnownHosts(), fmt.Sprintf("[127.0.0.1]:%d", l.srv.Port()), "the-alias", 1)
			c.ConfigFile = l.file(t, "alias", "Host *\n  HostKeyAlias the-alias\n  UserKnownHostsFile "+l.file(t, "known2", known)+"\n")
			c.KnownHosts = ""
		}},
		"ssh_config with a ProxyCommand": {
			change: func(t *testing.T, c *host.SSHConfig) {
				c.ConfigFile = l.file(t, "proxy", "Host *\n  ProxyCommand nc %h %p\n")
			},
			want: "ProxyCommand, which is not supported",
		},
		"ssh_config that cannot be read": {
			change: func(t *testing.T, c *host.SSHConfig) {
				c.ConfigFile = l.file(t, "match", "Match exec \"true\"\n  User x\n")
			},
			want: "cannot read this ssh_config",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := l.host(t, func(c *host.SSHConfig) { tc.change(t, c) })
			_, err := h.Run(t.Context(), host.Read("true"))
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var away *host.UnreachableError
			if p := problem(t, err); !errors.As(err, &away) || !strings.Contains(p.Text.EN, tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// encrypted makes a private key with a passphrase.
func encrypted(t *testing.T, l *lab) (path string, key ed25519.PrivateKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKeyWithPassphrase(key, "", []byte("word"))
	if err != nil {
		t.Fatal(err)
	}
	return l.file(t, "encrypted", string(pem.EncodeToMemory(block))), key
}

func TestEncryptedKeyComesFromTheAgent(t *testing.T) {
	t.Parallel()
	l := newLab(t, sshd.OSMachine{})
	path, key := encrypted(t, l)
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	l.srv.Authorize(signer.PublicKey())
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	ln, socket := hosttest.OSListen(t, "unix")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _ = agent.ServeAgent(ring, c) }()
		}
	}()
	h := l.host(t, func(c *host.SSHConfig) { c.IdentityFile, c.AgentSocket = path, socket })
	if _, err := h.Run(t.Context(), host.Read("true")); err != nil {
		t.Error(err)
	}
}

func TestProxyJumpGoesThroughTheMachineInBetween(t *testing.T) {
	t.Parallel()
	l, between := newLab(t, sshd.OSMachine{}), newLab(t, sshd.OSMachine{})
	between.srv.Authorize(l.key.PublicKey())
	h := l.host(t, func(c *host.SSHConfig) {
		c.KnownHosts = l.file(t, "both", l.srv.KnownHosts()+between.srv.KnownHosts())
		c.ConfigFile = l.file(t, "jump", fmt.Sprintf("Host db1\n  HostName 127.0.0.1\n  ProxyJump dba@127.0.0.1:%d\n", between.srv.Port()))
		c.Host = "db1"
	})
	if _, err := h.Run(t.Context(), host.Read("true")); err != nil {
		t.Fatal(err)
	}
	between.srv.Cut()
	_, err := h.Run(t.Context(), host.Read("true"))
	var away *host.UnreachableError
	if !errors.As(err, &away) {
		t.Errorf("without the machine in between: %v", err)
	}
}

func TestAnswerLostIsLost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		break_ func(*sshd.Server, int)
		ran    bool
	}{
		"after the command ran":  {(*sshd.Server).DropAfter, true},
		"before the command ran": {(*sshd.Server).DropBefore, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, sshd.OSMachine{})
			h := l.host(t, nil)
			dir := t.TempDir()
			tc.break_(l.srv, 2)
			if _, err := h.Run(t.Context(), host.Read("true")); err != nil {
				t.Fatal(err)
			}
			_, err := h.Run(t.Context(), host.Change("mkdir", dir+"/made"))
			var lost *host.LostError
			if !errors.As(err, &lost) {
				t.Errorf("got %v, want lost", err)
			}
			if _, err := os.Stat(dir + "/made"); (err == nil) != tc.ran {
				t.Errorf("ran: %v", err)
			}
			if _, err := h.Run(t.Context(), host.Read("true")); err != nil {
				t.Errorf("the next command: %v", err)
			}
		})
	}
}

func TestADeadPeerIsNoticed(t *testing.T) {
	t.Parallel()
	l := newLab(t, sshd.OSMachine{})
	h := l.host(t, func(c *host.SSHConfig) {
		c.KeepAlive, c.KeepAliveTimeout, c.DialTimeout = 20*time.Millisecond, 3*time.Second, 3*time.Second
	})
	if _, err := h.Run(t.Context(), host.Read("true")); err != nil {
		t.Fatal(err)
	}
	l.srv.Freeze()
	_, err := h.Run(t.Context(), host.Read("true"))
	var away *host.UnreachableError
	var lost *host.LostError
	if !errors.As(err, &away) && !errors.As(err, &lost) {
		t.Errorf("got %v, want lost or unreachable", err)
	}
	l.srv.Restore()
	if _, err := h.Run(t.Context(), host.Read("true")); err != nil {
		t.Errorf("after it is back: %v", err)
	}
}

func TestEndingACommandOfADeadPeerIsBounded(t *testing.T) {
	t.Parallel()
	l := newLab(t, sshd.OSMachine{})
	h := l.host(t, func(c *host.SSHConfig) { c.EndWithin = 100 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := h.Run(ctx, host.Read("sleep", "299.5"))
		result <- err
	}()
	for !hosttest.OSRunning("sleep", "299.5") {
		time.Sleep(time.Millisecond)
	}
	l.srv.Freeze()
	cancel()
	var ended *host.EndedError
	if err := <-result; !errors.As(err, &ended) || ended.Gone {
		t.Errorf("got %v, want an EndedError that does not say it is gone", err)
	}
}

func TestOneConnectionServesAll(t *testing.T) {
	t.Parallel()
	l := newLab(t, sshd.OSMachine{})
	h := l.host(t, nil)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if _, err := h.Run(t.Context(), host.Read("true")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := l.srv.Connections(); n != 1 {
		t.Errorf("%d connections were made", n)
	}
}

func TestPutGoesOnAfterTheLinkWasCut(t *testing.T) {
	t.Parallel()
	l := newLab(t, sshd.OSMachine{})
	h := l.host(t, nil)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	dst := t.TempDir() + "/p"
	sum := fmt.Sprintf("%x", sum256(data))
	var once sync.Once
	err := host.Put(t.Context(), h, bytes.NewReader(data), dst, sum, func(done, _ int64) {
		if done > 3<<20 {
			once.Do(l.srv.Drop)
		}
	})
	var lost *host.LostError
	if !errors.As(err, &lost) {
		t.Fatalf("got %v, want lost", err)
	}
	first := int64(-1)
	err = host.Put(t.Context(), h, bytes.NewReader(data), dst, sum, func(done, _ int64) {
		if first < 0 {
			first = done
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if first <= 0 {
		t.Errorf("it began anew at %d", first)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file is wrong: %d bytes, %v", len(got), err)
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	l := newLab(t, sshd.OSMachine{})
	inv := &cluster.Inventory{Path: "c.yaml", Nodes: []cluster.Node{
		{Name: "db1", Transport: "local"},
		{Name: "db2", Transport: "ssh", Address: "127.0.0.1", SSH: cluster.SSH{Port: l.srv.Port(), User: "dba",
			IdentityFile: l.cfg.IdentityFile, KnownHosts: l.cfg.KnownHosts, ConfigFile: l.cfg.ConfigFile}},
	}}
	set, err := host.Connect(inv, host.SSHConfig{AgentSocket: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	src, dir := t.TempDir()+"/src", t.TempDir()
	if err := os.WriteFile(src, []byte("package"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, node := range inv.Names() { // both are this machine, so one after the other
		dst := dir + "/" + node
		if err := host.PutAll(t.Context(), set, []string{node}, src, dst, fmt.Sprintf("%x", sum256([]byte("package"))), nil); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(dst); err != nil || string(got) != "package" {
			t.Errorf("%s: %q, %v", node, got, err)
		}
	}
	err = host.PutAll(t.Context(), set, inv.Names(), src, dir+"/x", fmt.Sprintf("%x", sum256(nil)), nil)
	if p := problem(t, err); p.Place != src {
		t.Errorf("a wrong package is blamed on %s", p.Place)
	}
	inv.Nodes[0].Transport = "telnet"
	if _, err := host.Connect(inv, host.SSHConfig{}); err == nil {
		t.Error("telnet is taken")
	} else {
		problem(t, err)
	}
}

func TestServerRefusesEverythingElse(t *testing.T) {
	t.Parallel()
	l := newLab(t, sshd.OSMachine{})
	known := gossh.InsecureIgnoreHostKey() //nolint:gosec // the key is not the point here
	c, err := gossh.Dial("tcp", l.srv.Addr(), &gossh.ClientConfig{User: "dba", HostKeyCallback: known,
		Auth: []gossh.AuthMethod{gossh.PublicKeys(l.key)}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	session := func() *gossh.Session {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for what, err := range map[string]error{
		"a shell":             session().Shell(),
		"a terminal":          session().RequestPty("xterm", 24, 80, nil),
		"a subsystem":         session().RequestSubsystem("sftp"),
		"an environment":      session().Setenv("A", "b"),
		"a forwarded port":    listen(c, "tcp"),
		"another channel":     open(c),
		"the agent forwarded": agent.RequestAgentForwarding(session()),
	} {
		if err == nil {
			t.Errorf("%s is not refused", what)
		}
	}
	if _, err := gossh.Dial("tcp", l.srv.Addr(), &gossh.ClientConfig{User: "dba", HostKeyCallback: known,
		Auth: []gossh.AuthMethod{gossh.Password("x")}}); err == nil {
		t.Error("a password is taken")
	}
}

func listen(c *gossh.Client, network string) error {
	ln, err := c.Listen(network, "127.0.0.1:0")
	if err == nil {
		_ = ln.Close()
	}
	return err
}

func open(c *gossh.Client) error {
	_, _, err := c.OpenChannel("x11", nil)
	return err
}
