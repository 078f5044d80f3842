package sshd_test

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/shiplift/shiplift/internal/host/hosttest"
	"github.com/shiplift/shiplift/internal/lab/sshd"
)

// The server as a whole is shown by the tests of package host; here is what
// only the lab sees.

func exec(t *testing.T, m sshd.OSMachine, command string) (int, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := m.Exec(t.Context(), sshd.ExecRequest{User: "dba", Command: command,
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
	return code, out.String() + errs.String()
}

func TestCommandsRunAtHomeInAnEnvironmentOfTheirOwn(t *testing.T) {
	t.Setenv("SHIPLIFT_LEAK", "x")
	home := t.TempDir()
	code, out := exec(t, sshd.OSMachine{Home: home}, `echo "$PWD $HOME $USER ${SHIPLIFT_LEAK-none}"`)
	if want := home + " " + home + " dba none\n"; code != 0 || out != want {
		t.Errorf("got %d %q, want %q", code, out, want)
	}
}

func TestCommandsRunAsTheGivenUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can be someone else")
	}
	m := sshd.OSMachine{Home: "/", Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if code, out := exec(t, m, "id -u; id -g"); code != 0 || out != "65534\n65534\n" {
		t.Errorf("got %d %q", code, out)
	}
}

func TestADaemonSurvivesItsCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := `setsid sh -c 'i=0; while [ ! -e stop ] && [ $i -lt 400 ]; do sleep 0.05; i=$((i+1)); done; echo stopped >ended' >/dev/null 2>&1 </dev/null &`
	if code, out := exec(t, sshd.OSMachine{Home: dir}, script); code != 0 {
		t.Fatalf("got %d %q", code, out)
	}
	if err := os.WriteFile(dir+"/stop", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for late := time.After(20 * time.Second); ; {
		if b, err := os.ReadFile(dir + "/ended"); err == nil && len(b) > 0 {
			return
		}
		select {
		case <-late:
			t.Fatal("the daemon did not live to see the file")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestAKeyIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/key"
	made, err := sshd.KeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := sshd.KeyFile(path)
	if err != nil || !bytes.Equal(made.PublicKey().Marshal(), kept.PublicKey().Marshal()) {
		t.Errorf("another key came back: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("the key file is %v, %v", st.Mode(), err)
	}
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	key, err := sshd.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := sshd.Start(sshd.Config{HostKey: key, Authorized: []gossh.PublicKey{key.PublicKey()},
		Machine: &sshd.OSMachine{Home: t.TempDir(), Linger: true}})
	if err != nil {
		t.Fatal(err)
	}
	s.Latency(time.Millisecond)
	c, err := gossh.Dial("tcp", s.Addr(), &gossh.ClientConfig{User: "dba",
		HostKeyCallback: gossh.FixedHostKey(key.PublicKey()), Auth: []gossh.AuthMethod{gossh.PublicKeys(key)}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("exec sleep 298.25"); err != nil {
		t.Fatal(err)
	}
	for !hosttest.OSRunning("sleep", "298.25") {
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if hosttest.OSRunning("sleep", "298.25") {
		t.Error("a command outlived its server")
	}
}
