package host_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/host/hosttest"
	"github.com/shiplift/shiplift/internal/lab/sshd"
)

func TestLocal(t *testing.T) {
	t.Parallel()
	hosttest.Run(t, func(t *testing.T) hosttest.Machine {
		l := host.NewLocal("db1")
		l.Grace = 300 * time.Millisecond
		return hosttest.Machine{Host: l, Dir: t.TempDir(), Running: hosttest.OSRunning, Shell: true, Listen: hosttest.OSListen}
	})
}

func TestSSH(t *testing.T) {
	t.Parallel()
	for name, machine := range map[string]sshd.OSMachine{
		"a server that kills":     {},
		"a server like OpenSSH's": {Linger: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hosttest.Run(t, func(t *testing.T) hosttest.Machine {
				l := newLab(t, machine)
				return hosttest.Machine{Host: l.host(t, nil), Dir: t.TempDir(), Running: hosttest.OSRunning, Shell: true,
					Cut: l.srv.Cut, Restore: l.srv.Restore, Listen: hosttest.OSListen}
			})
		})
	}
}

// lab is one machine behind an ssh server.
type lab struct {
	srv *sshd.Server
	dir string
	key sshd.Key
	cfg host.SSHConfig
}

func newLab(t testing.TB, m sshd.OSMachine) *lab {
	t.Helper()
	m.Home = t.TempDir()
	return serve(t, &m)
}

func serve(t testing.TB, m sshd.Machine) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir()}
	var err error
	if l.key, err = sshd.NewKey(); err != nil {
		t.Fatal(err)
	}
	hostKey, err := sshd.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	l.srv, err = sshd.Start(sshd.Config{HostKey: hostKey, Authorized: []gossh.PublicKey{l.key.PublicKey()}, Machine: m})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.srv.Close(); err != nil {
			t.Error(err)
		}
	})
	l.cfg = host.SSHConfig{
		Node: "db1", Host: "127.0.0.1", Port: l.srv.Port(), User: "dba", AgentSocket: "none",
		IdentityFile: l.file(t, "id", string(l.key.PEM)),
		KnownHosts:   l.file(t, "known_hosts", l.srv.KnownHosts()),
		ConfigFile:   l.file(t, "config", ""),
		Grace:        300 * time.Millisecond,
	}
	return l
}

func (l *lab) file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// host connects to the machine, with a config changed by change.
func (l *lab) host(t testing.TB, change func(*host.SSHConfig)) *host.SSH {
	t.Helper()
	cfg := l.cfg
	if change != nil {
		change(&cfg)
	}
	h := host.NewSSH(cfg)
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func sum256(b []byte) [sha256.Size]byte { return sha256.Sum256(b) }
