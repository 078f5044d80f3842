package journal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/wait"
)

func inventory(names ...string) *cluster.Inventory {
	inv := &cluster.Inventory{Cluster: "shop", Driver: "postgres"}
	for _, n := range names {
		inv.Nodes = append(inv.Nodes, cluster.Node{Name: n, StateDir: ".shiplift/shop/" + n})
	}
	return inv
}

// shells are nodes with a real sh, each with a home of its own.
func shells(t *testing.T, names ...string) host.Set {
	t.Helper()
	set := host.Set{}
	for _, n := range names {
		set[n] = &host.Local{Node: n, Dir: t.TempDir(), Grace: time.Second}
	}
	return set
}

// fakes are nodes in memory that know the two scripts and a few commands.
func fakes(names ...string) (host.Set, map[string]*fake) {
	set, m := host.Set{}, map[string]*fake{}
	for _, n := range names {
		f := &fake{name: n, files: map[string]string{}}
		set[n], m[n] = f, f
	}
	return set, m
}

func operator(name string, pid int) Self {
	return Self{Who: Who{User: name, Host: name + "-desk", PID: pid, Tool: "0.1"}}
}

func acquire(t *testing.T, set host.Set, inv *cluster.Inventory, self Self) *Lease {
	t.Helper()
	l, err := Acquire(context.Background(), set, inv, self, "apply", LeaseOptions{Clock: wait.Real{}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOfTwoAcquirersAtOnceOneWins(t *testing.T) {
	t.Parallel()
	names := []string{"db1", "db2", "db3"}
	for round := range 4 {
		set, _ := fakes(names...)
		if round == 0 {
			set = shells(t, names...)
		}
		inv := inventory(names...)
		boot := func(name string, pid int) Self { // both live on one machine
			s := operator(name, pid)
			s.Host, s.Boot, s.Alive = "desk", "b", func(int, uint64) bool { return true }
			return s
		}
		var won atomic.Int32
		var wg sync.WaitGroup
		for i, name := range []string{"ann", "bob"} {
			wg.Go(func() {
				l, err := Acquire(context.Background(), set, inv, boot(name, i+1), "apply", LeaseOptions{Clock: wait.Real{}})
				var held *HeldError
				switch {
				case err == nil:
					won.Add(1)
					if len(l.Nodes()) != 3 {
						t.Errorf("%s holds %v", name, l.Nodes())
					}
				case !errors.As(err, &held) || held.Doing != "apply" || held.Since.IsZero():
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d acquirers won", won.Load())
		}
	}
}

func TestReleaseKeepsTheFencingNumber(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set, inv := shells(t, "db1", "db2"), inventory("db1", "db2")
	first := acquire(t, set, inv, operator("ann", 1))
	if err := first.Release(ctx); err != nil {
		t.Fatal(err)
	}
	second, err := Acquire(ctx, set, inv, operator("bob", 2), "rollback", LeaseOptions{Clock: wait.Real{}, Floor: 7})
	if err != nil {
		t.Fatal(err)
	}
	if first.Fence() != 1 || second.Fence() != 8 {
		t.Fatalf("fences %d and %d", first.Fence(), second.Fence())
	}
	// The first one's commands reach neither a released nor a taken lease.
	_, err = Fenced(set["db1"], LeaseFile(inv, "db1"), 1).Run(ctx, host.Change("touch", "made"))
	if !errors.Is(err, host.ErrFenced) {
		t.Fatalf("an old holder's command: %v", err)
	}
	if _, err := set["db1"].Run(ctx, host.Read("test", "-e", "made")); err == nil {
		t.Fatal("it ran")
	}
	if _, err := first.Hosts()["db1"].Run(ctx, host.Change("touch", "made")); !errors.Is(err, ErrLost) {
		t.Fatalf("after release: %v", err)
	}
}

func TestAFencedCommandIsTheCommandItself(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set, inv := shells(t, "db1"), inventory("db1")
	h := acquire(t, set, inv, operator("ann", 1)).Hosts()["db1"]
	c := host.Change("cat", "-")
	c.Stdin = strings.NewReader("one\ntwo $HOME\n")
	if res, err := h.Run(ctx, c); err != nil || res.Text() != "one\ntwo $HOME" {
		t.Fatalf("stdin: %q, %v", res.Stdout, err)
	}
	if res, err := h.Run(ctx, host.Change("printf", "%s|", "a b", "$(id)", "", "*")); err != nil || res.Text() != "a b|$(id)||*|" {
		t.Fatalf("argv: %q, %v", res.Stdout, err)
	}
	_, err := h.Run(ctx, host.Change("sh", "-c", "echo why >&2; exit 97"))
	var ee *host.ExitError
	if !errors.As(err, &ee) || ee.Code != 97 || ee.Argv[0] != "sh" || len(ee.Argv) != 3 || strings.TrimSpace(string(ee.Stderr)) != "why" {
		t.Fatalf("its own status 97: %v", err)
	}
	if _, err := h.Run(ctx, host.Change("/no/such/program")); !host.IsExit(err, 127) {
		t.Fatalf("no such program: %v", err)
	}
	if _, err := h.Run(ctx, host.Change("sh", "-c", "kill -9 $$")); !host.IsExit(err, 137) {
		t.Fatalf("killed: %v", err)
	}
}

func TestALostLeaseFileIsWrittenAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set, inv := shells(t, "db1"), inventory("db1")
	l := acquire(t, set, inv, operator("ann", 1))
	if _, err := set["db1"].Run(ctx, host.Change("rm", "-r", ".shiplift")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Hosts()["db1"].Run(ctx, host.Change("true")); err != nil {
		t.Fatal(err)
	}
}

func TestAProcessThatIsGoneLosesItsLeaseAtOnce(t *testing.T) {
	t.Parallel()
	set, inv := shells(t, "db1", "db2"), inventory("db1", "db2")
	me, err := Myself("ann", "0.1")
	if err != nil || me.Boot == "" || !me.Alive(me.PID, me.Start) {
		t.Skip("no /proc", err)
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	dead := me
	dead.PID = child.Process.Pid
	dead.Start, err = startTime(dead.PID)
	if err != nil {
		t.Fatal(err)
	}
	old := acquire(t, set, inv, dead)

	_, err = Acquire(context.Background(), set, inv, me, "resume", LeaseOptions{Clock: wait.Real{}})
	var held *HeldError
	if !errors.As(err, &held) || held.Node != "db1" || held.Who.PID != dead.PID {
		t.Fatalf("while it lives: %v", err)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	now := acquire(t, set, inv, me)
	if now.Fence() != old.Fence()+1 || len(now.Nodes()) != 2 {
		t.Fatalf("fence %d on %v", now.Fence(), now.Nodes())
	}
	if _, err := old.Hosts()["db2"].Run(context.Background(), host.Change("true")); !errors.Is(err, host.ErrFenced) || !errors.Is(err, ErrLost) {
		t.Fatalf("the old holder: %v", err)
	}
	if old.Err() == nil {
		t.Fatal("the old holder does not know")
	}
}

func TestATakeoverWaitsForRunningCommands(t *testing.T) {
	t.Parallel()
	for _, sh := range []string{"sh", "bash"} {
		if _, err := exec.LookPath(sh); err != nil {
			continue
		}
		t.Run(sh, func(t *testing.T) {
			t.Parallel()
			testDrain(t, sh)
		})
	}
}

// testDrain runs a command of a holder that dies, and takes its lease over.
func testDrain(t *testing.T, sh string) {
	ctx := context.Background()
	set, inv := shells(t, "db1"), inventory("db1")
	home := set["db1"].(*host.Local).Dir
	dead := operator("ann", 1)
	dead.Boot, dead.Host = "b", "desk"
	old := acquire(t, set, inv, dead)
	// A server that the command leaves behind is not waited for.
	script := `sleep 30 >/dev/null 2>&1 & echo $! >server; echo >started; while [ ! -e end ]; do sleep 0.02; done; echo >ended`
	cmd := exec.Command(sh, "-c", FenceScript, "shiplift-fence", LeaseFile(inv, "db1"), fmt.Sprint(old.Fence()), "sh", "-c", script)
	cmd.Dir = home
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { _, err := os.Stat(filepath.Join(home, "started")); return err == nil })

	me := operator("bob", 2)
	me.Boot, me.Host, me.Alive = "b", "desk", func(int, uint64) bool { return false }
	busy := make(chan struct{})
	var once sync.Once
	go func() {
		<-busy
		_ = os.WriteFile(filepath.Join(home, "end"), nil, 0o600)
	}()
	opt := LeaseOptions{Clock: wait.Real{}, Report: func(sayText) { once.Do(func() { close(busy) }) }}
	_, err := Acquire(ctx, set, inv, me, "resume", opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(home, "ended")); err != nil {
		t.Fatal("the lease was given while the command ran")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := set["db1"].Run(ctx, host.Change("sh", "-c", "kill $(cat server)")); err != nil {
		t.Fatal("the server did not outlive the wait", err)
	}
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	spec := wait.Spec{Deadline: 10 * time.Second, Every: 5 * time.Millisecond}
	if err := wait.For(context.Background(), wait.Real{}, spec, nil, func(context.Context) (wait.Look, error) {
		return wait.Look{Done: ok()}, nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherMachinesLeaseIsTakenOverOnlyWhenItStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		set, _ := fakes("db1", "db2")
		inv := inventory("db1", "db2")
		ann := acquire(t, set, inv, operator("ann", 1))
		stop := make(chan struct{})
		held := make(chan error)
		go func() {
			held <- ann.Hold(ctx, func(ctx context.Context) error {
				select {
				case <-stop:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			})
		}()
		time.Sleep(time.Minute)
		began := time.Now()
		_, err := Acquire(ctx, set, inv, operator("bob", 1), "apply", LeaseOptions{Clock: wait.Real{}})
		var he *HeldError
		if !errors.As(err, &he) || he.Who.User != "ann" || time.Since(began) > 8*time.Second {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
		close(stop) // ann's process dies: nothing renews, nothing is released
		if err := <-held; err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		bob, err := Acquire(ctx, set, inv, operator("bob", 1), "apply", LeaseOptions{Clock: wait.Real{}})
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < DefaultTTL || d > DefaultTTL+5*time.Second {
			t.Errorf("taken over after %s", d)
		}
		if bob.Fence() != 2 {
			t.Errorf("fence %d", bob.Fence())
		}
		if err := ann.Hold(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil }); !errors.Is(err, ErrLost) {
			t.Errorf("the old holder: %v", err)
		}
	})
}

func TestALeaseThatCannotBeRenewedEndsTheWorkBeforeItRunsOut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		down []string
		hang bool
		lost bool
	}{
		"one node of three is down": {down: []string{"db1"}},
		"one node of three hangs":   {down: []string{"db1"}, hang: true},
		"all nodes are down":        {down: []string{"db1", "db2", "db3"}, lost: true},
		"all nodes hang":            {down: []string{"db1", "db2", "db3"}, hang: true, lost: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				set, m := fakes("db1", "db2", "db3")
				l := acquire(t, set, inventory("db1", "db2", "db3"), operator("ann", 1))
				began := time.Now()
				err := l.Hold(context.Background(), func(ctx context.Context) error {
					for _, n := range tc.down {
						m[n].set(!tc.hang, tc.hang)
					}
					select {
					case <-ctx.Done():
						return context.Cause(ctx)
					case <-time.After(time.Minute):
						return nil
					}
				})
				if errors.Is(err, ErrLost) != tc.lost {
					t.Fatalf("after %s: %v", time.Since(began), err)
				}
				if tc.lost && time.Since(began) >= DefaultTTL {
					t.Fatalf("the work went on for %s", time.Since(began))
				}
			})
		})
	}
}

func TestANodeThatComesBackJoinsBeforeItsFirstChange(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set, m := fakes("db1", "db2")
	inv := inventory("db1", "db2")
	earlier := acquire(t, set, inv, operator("eve", 1))
	_ = earlier.Release(ctx)
	m["db1"].set(true, false)
	l := acquire(t, set, inv, operator("ann", 1))
	if got := l.Nodes(); len(got) != 1 || got[0] != "db2" {
		t.Fatalf("held on %v", got)
	}
	h := l.Hosts()["db1"]
	var ue *host.UnreachableError
	if _, err := h.Run(ctx, host.Change("true")); !errors.As(err, &ue) {
		t.Fatalf("while it is down: %v", err)
	}
	m["db1"].set(false, false)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := h.Run(ctx, host.Change("true")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(l.Nodes()) != 2 {
		t.Fatalf("held on %v", l.Nodes())
	}
}

// TestANodeDoesNotJoinALeaseThatSomebodyHadMeanwhile: the operator stood still
// while another one took all nodes over, worked and gave the lease back. The
// node that was away then is free, under a number that is greater than ours (I8).
func TestANodeDoesNotJoinALeaseThatSomebodyHadMeanwhile(t *testing.T) {
	t.Parallel()
	set, m := fakes("db1", "db2")
	inv := inventory("db1", "db2")
	m["db1"].set(true, false)
	brief := LeaseOptions{Clock: wait.Real{}, TTL: 100 * time.Millisecond}
	ann, err := Acquire(t.Context(), set, inv, operator("ann", 1), "apply", brief)
	if err != nil {
		t.Fatal(err)
	}
	h := ann.Hosts()["db1"]
	m["db1"].set(false, false)
	bob, err := Acquire(t.Context(), set, inv, operator("bob", 2), "apply", brief)
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Run(t.Context(), host.Change("true")); err == nil {
		t.Error("it was done behind bob's back")
	}
	if !errors.Is(ann.Err(), ErrLost) {
		t.Error("ann does not know that her lease is lost:", ann.Err())
	}
}

func TestNoNodeNoLease(t *testing.T) {
	t.Parallel()
	set, m := fakes("db1")
	m["db1"].set(true, false)
	_, err := Acquire(context.Background(), set, inventory("db1"), operator("ann", 1), "apply", LeaseOptions{Clock: wait.Real{}})
	if err == nil || !strings.Contains(err.Error(), "no node answers") {
		t.Fatal(err)
	}
}

func TestWhoCannotAskDoesNotSayThatNobodyWorks(t *testing.T) {
	t.Parallel()
	set, m := fakes("db1")
	ask := func() (*HeldError, error) {
		return Holder(t.Context(), set, inventory("db1"), operator("bob", 2), LeaseOptions{Clock: wait.Real{}})
	}
	if held, err := ask(); held != nil || err != nil {
		t.Fatal("nobody works:", held, err)
	}
	acquire(t, set, inventory("db1"), operator("ann", 1))
	m["db1"].set(true, false)
	if held, err := ask(); held != nil || !errors.Is(err, ErrNoAnswer) {
		t.Fatal(held, err)
	}
}

func TestALeaseThatCannotBeWrittenTellsWhyAndNotHow(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		home func(t *testing.T, dir string)
		want string
	}{
		"no directory can be made": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, ".shiplift"), nil, 0o600))
		}, "mkdir: "},
		"the disk is full": {func(t *testing.T, dir string) {
			must(t, os.MkdirAll(filepath.Join(dir, ".shiplift/shop/db1"), 0o700))
			must(t, os.Symlink("/dev/full", filepath.Join(dir, ".shiplift/shop/db1/lease.new")))
		}, "dd: "},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tc.home(t, dir)
			set := host.Set{"db1": &host.Local{Node: "db1", Dir: dir, Grace: time.Second}}
			_, err := Acquire(t.Context(), set, inventory("db1"), operator("ann", 1), "apply", LeaseOptions{Clock: wait.Real{}})
			if err == nil {
				t.Fatal("the lease was given")
			}
			for _, want := range []string{"db1:.shiplift/shop/db1/lease", "the lease cannot be written", tc.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "flock") || strings.Contains(err.Error(), "\n") {
				t.Errorf("the script is told: %v", err)
			}
		})
	}
}

func TestASerialLeaseIsRenewedByItsCommands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		set, m := fakes("db1")
		inv := inventory("db1")
		l, err := Acquire(ctx, set, inv, operator("ann", 1), "apply", LeaseOptions{Clock: wait.Real{}, Serial: true})
		if err != nil {
			t.Fatal(err)
		}
		err = l.Hold(ctx, func(ctx context.Context) error {
			for range 10 {
				time.Sleep(6 * time.Second)
				if _, err := l.Hosts()["db1"].Run(ctx, host.Change("true")); err != nil {
					return err
				}
			}
			if !strings.Contains(m["db1"].files[LeaseFile(inv, "db1")], `"renewals":11,`) {
				t.Errorf("lease: %s", m["db1"].files[LeaseFile(inv, "db1")])
			}
			time.Sleep(time.Hour)
			if _, err := l.Hosts()["db1"].Run(ctx, host.Change("true")); err != nil {
				return err
			}
			m["db1"].set(true, false)
			time.Sleep(DefaultTTL)
			_, err := l.Hosts()["db1"].Run(ctx, host.Change("true"))
			return err
		})
		if !errors.Is(err, ErrLost) {
			t.Fatal(err)
		}
	})
}

func TestTheScriptsWorkWithoutFlock(t *testing.T) {
	t.Parallel()
	bin, home := t.TempDir(), t.TempDir()
	for _, tool := range []string{"sh", "dirname", "mkdir", "rmdir", "cat", "dd", "mv", "sleep", "echo"} {
		at, err := exec.LookPath(tool)
		must(t, err)
		must(t, os.Symlink(at, filepath.Join(bin, tool)))
	}
	h := &host.Local{Node: "db1", Dir: home, Env: []string{"PATH=" + bin}, Grace: time.Second}
	swap := func(want, next string) error {
		_, err := h.Run(context.Background(), host.Change(filepath.Join(bin, "sh"), "-c", LeaseScript, "shiplift-lease", "s/lease", want, next, "2"))
		return err
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			switch err := swap("", fmt.Sprintf(`{"fence":%d,"held":true,}`, i)); {
			case err == nil:
				won.Add(1)
			case !host.IsExit(err, leaseOther):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d of 8 swaps won", won.Load())
	}
	if _, err := os.Stat(filepath.Join(home, "s", "lease.mutex")); err == nil {
		t.Fatal("the lock was left behind")
	}
	line, err := host.ReadFile(context.Background(), h, "s/lease")
	must(t, err)
	fence := line[len(`{"fence":`)] - '0'
	if _, err := Fenced(h, "s/lease", int64(fence)).Run(context.Background(), host.Change("echo", "ran")); err != nil {
		t.Fatal(err)
	}
	if _, err := Fenced(h, "s/lease", 99).Run(context.Background(), host.Change("echo", "ran")); !errors.Is(err, host.ErrFenced) {
		t.Fatal(err)
	}
}

// Both implementations of the scripts answer the same.
func TestTheSimulatedScriptsAnswerAsTheRealOnes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	shell := shells(t, "db1")["db1"]
	fakeSet, _ := fakes("db1")
	lease := func(args ...string) host.Cmd {
		return host.Change(append([]string{"sh", "-c", LeaseScript, "shiplift-lease", "s/lease"}, args...)...)
	}
	fence := func(args ...string) host.Cmd {
		return host.Change(append([]string{"sh", "-c", FenceScript, "shiplift-fence", "s/lease"}, args...)...)
	}
	held, freed := `{"fence":3,"held":true,"x":"a'b $c \\n"}`, `{"fence":3,"held":false,"x":"a'b"}`
	steps := []struct {
		says string
		cmd  host.Cmd
	}{
		{"fenced before there is a lease", fence("3", "true")},
		{"not what is wanted: absent", lease("x", held, "0")},
		{"taken", lease("", held, "2")},
		{"taken again", lease("", held, "2")},
		{"the same once more", lease(held, held, "0")},
		{"our fence", fence("3", "true")},
		{"a part of the number", fence("33", "true")},
		{"another number", fence("4", "true")},
		{"released", lease(held, freed, "0")},
		{"nothing runs under a released lease", fence("3", "true")},
		{"content", host.Read("cat", "s/lease")},
	}
	for _, s := range steps {
		a, errA := shell.Run(ctx, s.cmd)
		b, errB := fakeSet["db1"].Run(ctx, s.cmd)
		if d := cmp.Diff(outcome(a, errA), outcome(b, errB)); d != "" {
			t.Fatalf("%s: shell -, simulated +\n%s", s.says, d)
		}
	}
}

func outcome(r host.Result, err error) string {
	var ee *host.ExitError
	if errors.As(err, &ee) {
		return fmt.Sprintf("status %d: %s", ee.Code, ee.Stdout)
	}
	return fmt.Sprintf("%v: %s", err, r.Stdout)
}

func BenchmarkFence(b *testing.B) {
	set, inv := host.Set{"db1": &host.Local{Node: "db1", Dir: b.TempDir()}}, inventory("db1")
	l, err := Acquire(context.Background(), set, inv, operator("ann", 1), "x", LeaseOptions{Clock: wait.Real{}})
	if err != nil {
		b.Fatal(err)
	}
	for name, h := range map[string]host.Host{"bare": set["db1"], "fenced": Fenced(set["db1"], LeaseFile(inv, "db1"), l.Fence())} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Run(context.Background(), host.Change("true")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAStatementNeedsTheLease: what goes over an open connection is fenced by
// nothing but the lease, so a process that stood still sends no more of it
// (docs/bugs.md B-083).
func TestAStatementNeedsTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		set, _ := fakes("db1")
		server := &taking{}
		set["db1"] = dials{set["db1"], server}
		inv := inventory("db1")
		l, err := Acquire(ctx, set, inv, operator("ann", 1), "apply", LeaseOptions{Clock: wait.Real{}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Hosts()["db1"].Dial(ctx, "tcp", "db1:5432")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("select 1")); err != nil {
			t.Errorf("under the lease: %v", err)
		}
		time.Sleep(DefaultTTL) // nobody renewed
		if _, err := c.Write([]byte("select pg_promote()")); !errors.Is(err, ErrLost) {
			t.Errorf("behind the lease: %v", err)
		}
		if !server.closed {
			t.Error("the connection is still open: who sends waits for an answer to what was not sent")
		}
		if _, err := l.Hosts()["db1"].Dial(ctx, "tcp", "db1:5432"); !errors.Is(err, ErrLost) {
			t.Errorf("a new connection behind the lease: %v", err)
		}
	})
}

// dials is a node whose server takes everything.
type dials struct {
	host.Host
	server *taking
}

func (d dials) Dial(context.Context, string, string) (net.Conn, error) { return d.server, nil }

type taking struct {
	net.Conn
	closed bool
}

func (*taking) Write(b []byte) (int, error) { return len(b), nil }

func (t *taking) Close() error { t.closed = true; return nil }
