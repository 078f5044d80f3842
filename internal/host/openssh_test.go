package host_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/host/hosttest"
	"github.com/shiplift/shiplift/internal/lab/sshd"
)

// TestOpenSSH shows the contract on a real OpenSSH server, where one is
// installed (or named by SHIPLIFT_SSHD) and may run: it kills nothing when a
// channel is closed and allows ten sessions.
func TestOpenSSH(t *testing.T) {
	t.Parallel()
	program := os.Getenv("SHIPLIFT_SSHD")
	if program == "" {
		program = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("no OpenSSH server is installed")
	}
	l := openSSH(t, program)
	hosttest.Run(t, func(t *testing.T) hosttest.Machine {
		return hosttest.Machine{Host: l.host(t, nil), Dir: t.TempDir(), Running: hosttest.OSRunning, Shell: true, Listen: hosttest.OSListen}
	})
}

func openSSH(t testing.TB, program string) *lab {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{dir: t.TempDir()}
	if l.key, err = sshd.NewKey(); err != nil {
		t.Fatal(err)
	}
	hostKey, err := sshd.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	config := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nMaxStartups 200\nLogLevel ERROR\n",
		port, l.file(t, "host_key", string(hostKey.PEM)), l.file(t, "authorized", string(gossh.MarshalAuthorizedKey(l.key.PublicKey()))))
	var log strings.Builder
	cmd := exec.Command(program, "-D", "-e", "-f", l.file(t, "sshd_config", config))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Skipf("cannot start %s: %v", program, err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Log(log.String())
		}
	})
	at := fmt.Sprint("127.0.0.1:", port)
	for late := time.After(10 * time.Second); ; {
		if c, err := net.Dial("tcp", at); err == nil {
			_ = c.Close()
			break
		}
		select {
		case <-ended:
			t.Skipf("%s does not run here: %s", program, log.String())
		case <-late:
			t.Fatal("sshd does not listen")
		case <-time.After(10 * time.Millisecond):
		}
	}
	known := fmt.Sprintf("[127.0.0.1]:%d %s", port, gossh.MarshalAuthorizedKey(hostKey.PublicKey()))
	l.cfg = host.SSHConfig{
		Node: "db1", Host: "127.0.0.1", Port: port, User: me.Username, AgentSocket: "none",
		IdentityFile: l.file(t, "id", string(l.key.PEM)),
		KnownHosts:   l.file(t, "known_hosts", known),
		ConfigFile:   l.file(t, "config", ""),
		Grace:        300 * time.Millisecond,
	}
	return l
}
