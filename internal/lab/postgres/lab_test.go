package postgres

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// TestMain lets this program be a lab's daemon, as the real one can be.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve-lab" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err := Serve(ctx, os.Args[2])
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// testDir is a directory that the servers' account can reach, which
// t.TempDir is not when root runs the tests.
func testDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "lab")
}

func testOptions(t *testing.T, nodes int) Options {
	t.Helper()
	return Options{
		Dir: testDir(t), Nodes: nodes, Release: "15.18", Serve: []string{self(t), "serve-lab"},
		Report: func(s say.Text) { t.Log(s.EN) },
	}
}

// startLab starts a lab that ends with the test and checks that nothing of it stays.
func startLab(t *testing.T, o Options) *Lab {
	t.Helper()
	l, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		checkGone(t, l)
	})
	return l
}

// checkGone fails when a process, port or file of the lab is left.
func checkGone(t *testing.T, l *Lab) {
	t.Helper()
	if _, err := os.Stat(l.Dir); !os.IsNotExist(err) {
		t.Errorf("the lab's directory is still there: %v", err)
	}
	if left := processesIn(append(l.nodeDirs(), l.Dir)); len(left) > 0 {
		t.Errorf("processes are still there: %v", left)
	}
	for _, n := range l.Nodes() {
		for _, p := range []int{n.Port, n.SSHPort} {
			if !portFree(p) {
				t.Errorf("%s: port %d is still taken", n.Name, p)
			}
		}
	}
}

// hosts opens the lab's nodes over ssh, from the inventory that the lab wrote.
func hosts(t *testing.T, l *Lab) host.Set {
	t.Helper()
	inv, err := cluster.Read(l.Inventory, nil)
	if err != nil {
		t.Fatal(err)
	}
	set := host.Set{}
	for _, n := range inv.Nodes {
		h := host.NewSSH(host.SSHConfig{
			Node: n.Name, Host: n.Address, Port: n.SSH.Port, User: n.SSH.User, IdentityFile: n.SSH.IdentityFile,
			KnownHosts: n.SSH.KnownHosts, ConfigFile: os.DevNull, AgentSocket: "none",
		})
		set[n.Name] = h
		t.Cleanup(func() { _ = h.Close() })
	}
	return set
}

// Twice in a row in one directory: the first leaves nothing that hinders the second.
func TestUpAndDownTwice(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 2)
	o.To = []string{"15.18"}
	for range 2 {
		begin := time.Now()
		l, err := Up(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		up := time.Since(begin)
		again, err := Open(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		s := again.Status(t.Context())
		if !s.Ready || !s.Daemon || s.Nodes[0].Role != "primary" || s.Nodes[0].Followers != 1 || s.Nodes[1].Role != "standby" || !s.Nodes[1].Streaming {
			t.Errorf("status: %+v", s)
		}
		if _, err := Up(t.Context(), o); err == nil {
			t.Error("a second lab was made over the first")
		}
		for name, h := range hosts(t, again) {
			r, err := h.Run(t.Context(), host.Read("id", "-u"))
			if want := strconv.Itoa(l.spec.Account.UID); err != nil || r.Text() != want {
				t.Errorf("%s: login as %q, want %s: %v", name, r.Text(), want, err)
			}
		}
		begin = time.Now()
		if err := Down(t.Context(), o.Dir); err != nil {
			t.Fatal(err)
		}
		t.Logf("up %s, down %s", up.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
		checkGone(t, l)
		if err := Down(t.Context(), o.Dir); err != nil {
			t.Errorf("down again: %v", err)
		}
	}
}

// self is this program's path.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
