package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// until watches a condition.
func until(t *testing.T, what string, cond func(context.Context) bool) {
	t.Helper()
	spec := wait.Spec{What: say.Same(what), Deadline: time.Minute, Every: 10 * time.Millisecond}
	err := wait.For(t.Context(), wait.Real{}, spec, nil, func(ctx context.Context) (wait.Look, error) {
		return wait.Look{Done: cond(ctx)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (l *Lab) mustBreak(t *testing.T, node string, f Fault) {
	t.Helper()
	if err := l.Break(t.Context(), node, f); err != nil {
		t.Fatal(err)
	}
}

func (l *Lab) mustAsk(t *testing.T, node, query string) string {
	t.Helper()
	n, err := l.spec.node(node)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := l.ask(t.Context(), n, query)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestFaults(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 3)
	o.Cascade, o.Sync = true, true
	l := startLab(t, o)
	hs := hosts(t, l)
	for _, tc := range []struct {
		name string
		run  func(*testing.T, *Lab, host.Set)
	}{
		{"the layout is as wanted", layoutAsWanted},
		{"a full disk fails what writes and df says so", fullDisk},
		{"a skewed clock shows in date", skewedClock},
		{"a cut node is unreachable and comes back", cutNode},
		{"frozen replay receives and does not replay", frozenReplay},
		{"transactions are held and released", heldTransactions},
		{"a killed server leaves its pid file and starts again", killedServer},
		{"a restarted node comes back in its role", restartedNode},
		{"unknown nodes and faults are refused with the known ones", unknownNames},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, l, hs) })
	}
}

func layoutAsWanted(t *testing.T, l *Lab, hs host.Set) {
	s := l.Status(t.Context())
	for i, want := range []struct {
		role      string
		followers int
	}{{"primary", 1}, {"standby", 1}, {"standby", 0}} {
		if n := s.Nodes[i]; n.Role != want.role || n.Followers != want.followers || n.Release != "15.18" || !n.SSH || !n.Running {
			t.Errorf("%+v, want %+v", n, want)
		}
	}
	if got := l.mustAsk(t, "db1", "SHOW synchronous_standby_names"); got != "ANY 1 (db2, db3)" {
		t.Errorf("synchronous_standby_names = %q", got)
	}
	if got := l.mustAsk(t, "db1", "SELECT sync_state FROM pg_stat_replication"); got != "quorum" {
		t.Errorf("sync_state = %q", got)
	}
	if got := l.mustAsk(t, "db2", "SHOW data_checksums"); got != "on" {
		t.Errorf("data_checksums = %q", got)
	}
	out, err := hs["db2"].Run(t.Context(), host.Read("readlink", l.Nodes()[1].Base+"/current"))
	if err != nil || out.Text() != "15.18" {
		t.Errorf("current leads to %q: %v", out.Text(), err)
	}
	conn, err := hs["db2"].Dial(t.Context(), "unix", l.Nodes()[1].SocketDir+"/.s.PGSQL."+l.mustAsk(t, "db2", "SHOW port"))
	if err != nil {
		t.Fatalf("the socket of db2 over ssh: %v", err)
	}
	conn.Close()
}

func fullDisk(t *testing.T, l *Lab, hs host.Set) {
	write := func() error {
		_, err := hs["db2"].Run(t.Context(), host.Cmd{Argv: []string{"dd", "of=probe", "conv=fsync", "status=none"}, Stdin: strings.NewReader("x")})
		return err
	}
	free := func() string {
		out, err := hs["db2"].Run(t.Context(), host.Read("df", "-Pk", "."))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(strings.Split(out.Text(), "\n")[1])[3]
	}
	if err := write(); err != nil || free() == "0" {
		t.Fatalf("before: %v, %s free", err, free())
	}
	l.mustBreak(t, "db2", FillDisk)
	var ee *host.ExitError
	if err := write(); !errors.As(err, &ee) || ee.Code != 1 || !strings.Contains(string(ee.Stderr), "No space left on device") {
		t.Errorf("dd on a full disk: %v", err)
	}
	if free() != "0" || l.Status(t.Context()).Nodes[1].Faults[0] != "fill-disk" {
		t.Errorf("df says %s free", free())
	}
	if _, err := hs["db2"].Run(t.Context(), host.Change("tar", "-xzf", "x.tar.gz")); !host.IsExit(err, 2) {
		t.Errorf("tar on a full disk: %v", err)
	}
	l.mustBreak(t, "db2", FreeDisk)
	if err := write(); err != nil || free() == "0" {
		t.Errorf("after: %v, %s free", err, free())
	}
}

func skewedClock(t *testing.T, l *Lab, hs host.Set) {
	now := func(node string) string {
		out, err := hs[node].Run(t.Context(), host.Read("date", "-u", "+%Y"))
		if err != nil {
			t.Fatal(err)
		}
		return out.Text()
	}
	seconds := func() time.Duration {
		out, err := hs["db3"].Run(t.Context(), host.Read("date", "+%s"))
		if err != nil {
			t.Fatal(err)
		}
		d, err := time.ParseDuration(out.Text() + "s")
		if err != nil {
			t.Fatal(err)
		}
		return d - time.Duration(time.Now().Unix())*time.Second
	}
	l.mustBreak(t, "db3", SkewClock)
	if d := seconds(); d < 299*time.Second || d > 301*time.Second || now("db3") == "" {
		t.Errorf("skew is %s", d)
	}
	l.mustBreak(t, "db3", RightClock)
	if d := seconds(); d < -2*time.Second || d > 2*time.Second {
		t.Errorf("skew is still %s", d)
	}
}

func cutNode(t *testing.T, l *Lab, hs host.Set) {
	l.mustBreak(t, "db3", CutSSH)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := hs["db3"].Run(ctx, host.Read("true")); err == nil {
		t.Error("a command ran on a node that is cut off")
	}
	if got := l.mustAsk(t, "db3", "SELECT 'up'"); got != "up" {
		t.Error("the server went down with ssh")
	}
	l.mustBreak(t, "db3", RestoreSSH)
	if _, err := hs["db3"].Run(t.Context(), host.Read("true")); err != nil {
		t.Errorf("after restore: %v", err)
	}
}

func frozenReplay(t *testing.T, l *Lab, _ host.Set) {
	l.mustBreak(t, "db2", FreezeReplay)
	before := l.mustAsk(t, "db2", "SELECT pg_last_wal_replay_lsn()::text")
	lsn := l.mustAsk(t, "db1", "SELECT pg_switch_wal()::text")
	until(t, "db2 has received", func(ctx context.Context) bool {
		n, _ := l.spec.node("db2")
		got, err := l.ask(ctx, n, "SELECT (pg_last_wal_receive_lsn() >= $1::pg_lsn)::text", lsn)
		return err == nil && got == "true"
	})
	if now := l.mustAsk(t, "db2", "SELECT pg_last_wal_replay_lsn()::text"); now != before {
		t.Errorf("replayed from %s to %s", before, now)
	}
	l.mustBreak(t, "db2", ThawReplay)
	if err := l.AwaitStreaming(t.Context()); err != nil {
		t.Error(err)
	}
}

func heldTransactions(t *testing.T, l *Lab, _ host.Set) {
	const open = "SELECT count(*)::text FROM pg_stat_activity WHERE state = 'idle in transaction'"
	const prepared = "SELECT count(*)::text FROM pg_prepared_xacts"
	l.mustBreak(t, "db1", HoldTransaction)
	l.mustBreak(t, "db1", HoldPrepared)
	if a, b := l.mustAsk(t, "db1", open), l.mustAsk(t, "db1", prepared); a != "1" || b != "1" {
		t.Errorf("%s open, %s prepared", a, b)
	}
	l.mustBreak(t, "db1", ReleaseTransaction)
	l.mustBreak(t, "db1", ReleasePrepared)
	until(t, "the transaction ends", func(context.Context) bool { return l.mustAsk(t, "db1", open) == "0" })
	if b := l.mustAsk(t, "db1", prepared); b != "0" {
		t.Errorf("%s prepared", b)
	}
}

func killedServer(t *testing.T, l *Lab, _ host.Set) {
	l.mustBreak(t, "db3", KillServer)
	if n := l.Status(t.Context()).Nodes[2]; n.Running || n.Role != "" {
		t.Errorf("%+v", n)
	}
	l.mustBreak(t, "db3", StartServer)
	l.mustBreak(t, "db3", StartServer) // it runs: nothing to do
	l.mustBreak(t, "db3", StopServer)
	l.mustBreak(t, "db3", StopServer)
	l.mustBreak(t, "db3", RestartServer)
	if err := l.AwaitStreaming(t.Context()); err != nil {
		t.Error(err)
	}
}

func restartedNode(t *testing.T, l *Lab, hs host.Set) {
	l.mustBreak(t, "db2", RestartNode)
	if n := l.Status(t.Context()).Nodes[1]; n.Role != "standby" || !n.SSH {
		t.Errorf("%+v", n)
	}
	if _, err := hs["db2"].Run(t.Context(), host.Read("true")); err != nil {
		t.Errorf("ssh after the restart: %v", err)
	}
}

func unknownNames(t *testing.T, l *Lab, _ host.Set) {
	if err := l.Break(t.Context(), "db9", KillServer); err == nil || !strings.Contains(err.Error(), "db1") {
		t.Errorf("got %v", err)
	}
	if err := l.Break(t.Context(), "db1", "explode"); err == nil || !strings.Contains(err.Error(), "cut-ssh") {
		t.Errorf("got %v", err)
	}
}
