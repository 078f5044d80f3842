package sim_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

func newMachine(t testing.TB) (*sim.World, *sim.Machine) {
	t.Helper()
	w := sim.New(7)
	m := w.Add("db1", "10.0.0.1")
	m.AddUser(sim.User{Name: "omm", UID: 1001, GID: 1001, Group: "dbgrp", Home: "/home/omm"})
	m.Login = "omm"
	return w, m
}

// said runs a command and returns stdout, or the exit error in short.
func said(t *testing.T, h host.Host, stdin string, argv ...string) string {
	t.Helper()
	res, err := h.Run(t.Context(), host.Cmd{Argv: argv, Stdin: strings.NewReader(stdin)})
	var ee *host.ExitError
	if errors.As(err, &ee) {
		return strings.TrimSpace(string(ee.Stdout) + string(ee.Stderr))
	}
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return strings.TrimSpace(string(res.Stdout))
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	type step struct {
		cmd, stdin, want string
	}
	tests := map[string][]step{
		"a file is written aside and moved into place": {
			{cmd: "dd of=f.tmp conv=fsync status=none", stdin: "one\n"},
			{cmd: "mv -T f.tmp f"},
			{cmd: "cat f", want: "one"},
			{cmd: "test -e f.tmp"},
			{cmd: "stat -c %s:%a:%U:%G:%F f", want: "4:644:omm:dbgrp:regular file"},
		},
		"a package grows by appending": {
			{cmd: "dd of=p oflag=append conv=notrunc,fsync status=none", stdin: "ab"},
			{cmd: "dd of=p oflag=append conv=notrunc,fsync status=none", stdin: "cd"},
			{cmd: "cat p", want: "abcd"},
			{cmd: "sha256sum p", want: "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589  p"},
			{cmd: "dd if=p bs=1 skip=1 count=2 status=none", want: "bc"},
		},
		"a link is flipped by renaming another over it": {
			{cmd: "mkdir -p a_old a_new"},
			{cmd: "ln -s a_old app"},
			{cmd: "readlink -f app", want: "/home/omm/a_old"},
			{cmd: "ln -sfn a_new app.tmp"},
			{cmd: "mv -T app.tmp app"},
			{cmd: "readlink app", want: "a_new"},
			{cmd: "ln -s x app"},
			{cmd: "ln -s x app", want: "ln: failed to create symbolic link 'app/x': File exists"},
		},
		"mv does not replace a directory that holds something": {
			{cmd: "mkdir -p d1 d2/x"},
			{cmd: "mv -T d1 d2", want: "mv: cannot move 'd1' to 'd2': Directory not empty"},
			{cmd: "mv -n d1 d3"},
			{cmd: "ls -1", want: "d2\nd3"},
		},
		"cp -a keeps modes and links, cp -r does not keep modes": {
			{cmd: "mkdir -p s/sub"},
			{cmd: "dd of=s/secret status=none", stdin: "k"},
			{cmd: "chmod 600 s/secret"},
			{cmd: "ln -s secret s/l"},
			{cmd: "cp -a s t"},
			{cmd: "find t -mindepth 1 -printf %P:%y:%m:%l\\n", want: "l:l:777:secret\nsecret:f:600:\nsub:d:755:"},
			{cmd: "dd of=t/secret status=none", stdin: "other"},
			{cmd: "cat s/secret", want: "k"},
		},
		"others' files are out of reach": {
			{cmd: "cat /root/x", want: "cat: /root/x: Permission denied"},
			{cmd: "mkdir /opt/mine", want: "mkdir: cannot create directory '/opt/mine': Permission denied"},
			{cmd: "chown root .", want: "chown: changing ownership of '.': Operation not permitted"},
			{cmd: "no-such-tool", want: "bash: no-such-tool: command not found"},
		},
		"a directory is removed only when asked": {
			{cmd: "mkdir -p a/b"},
			{cmd: "rm a", want: "rm: cannot remove 'a': Is a directory"},
			{cmd: "rmdir a", want: "rmdir: failed to remove 'a': Directory not empty"},
			{cmd: "rm -rf a nothing"},
			{cmd: "ls -A", want: ""},
		},
		"the disk is told": {
			{cmd: "df -P -B1 /", want: "Filesystem 1-blocks      Used Available Capacity Mounted on\n/dev/sda1    1000000 500000    500000      50% /"},
			{cmd: "df --output=pcent,avail -B1 .", want: "Use%  Avail\n 50% 500000"},
		},
		"small ones": {
			{cmd: "env A=1 sh -c unregistered", want: "sh: the simulated machine does not know this script"},
			{cmd: "date +%s", want: "1709280000"},
			{cmd: "id -un", want: "omm"},
			{cmd: "uname -m", want: "x86_64"},
			{cmd: "timeout 5 sleep 10", want: ""},
			{cmd: "which tar", want: "/usr/bin/tar"},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, m := newMachine(t)
			m.SetDisk(1_000_000, 500_000)
			for _, s := range steps {
				got := said(t, m, s.stdin, strings.Fields(s.cmd)...)
				want := s.want
				if strings.HasPrefix(s.cmd, "df -P") {
					got, want = strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " ")
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", s.cmd, diff)
				}
			}
		})
	}
}

func TestUnknownIsLoud(t *testing.T) {
	t.Parallel()
	w, m := newMachine(t)
	for _, argv := range [][]string{{"ls", "--zoom"}, {"sh", "-c", "rm -rf *"}, {"find", ".", "-exec", "x"}} {
		n := len(w.Complaints())
		if _, err := m.Run(t.Context(), host.Cmd{Argv: argv}); !host.IsExit(err) {
			t.Errorf("%q: %v, want an exit error", argv, err)
		}
		if len(w.Complaints()) != n+1 {
			t.Errorf("%q was not complained about", argv)
		}
	}
}

func TestSwappingFilesChangesWhatRuns(t *testing.T) {
	t.Parallel()
	w, m := newMachine(t)
	w.RegisterTool("db", func(c *sim.Call) int { c.Printf("%s\n", c.Image); return 0 })
	m.Install("/opt/app_a/bin/db", "db 1.0", "omm")
	m.Install("/opt/app_b/bin/db", "db 2.0", "omm")
	m.Symlink("app_a", "/opt/app")
	m.Chown("/opt", "omm")
	if got := said(t, m, "", "env", "PATH=/opt/app/bin:/usr/bin", "db"); got != "1.0" {
		t.Fatalf("before: %q", got)
	}
	said(t, m, "", "ln", "-sfn", "app_b", "/opt/app")
	if got := said(t, m, "", "/opt/app/bin/db"); got != "2.0" {
		t.Fatalf("after: %q", got)
	}
}

func TestTarKnowsRealFormats(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for _, h := range []tar.Header{
		{Name: "pkg/bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "pkg/bin/db", Typeflag: tar.TypeReg, Mode: 0o755, Size: 3},
		{Name: "pkg/lib", Typeflag: tar.TypeSymlink, Linkname: "bin"},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			_, _ = tw.Write([]byte("abc"))
		}
	}
	_, _ = tw.Close(), gz.Close()
	_, m := newMachine(t)
	m.Write("/home/omm/p.tar.gz", buf.String(), 0o644, "omm")
	said(t, m, "", "mkdir", "new")
	said(t, m, "", "tar", "-xzf", "p.tar.gz", "-C", "new", "--strip-components=1")
	if got := said(t, m, "", "find", "new", "-printf", `%p %m %u %l\n`); got != "new 755 omm \nnew/bin 755 omm \nnew/bin/db 755 omm \nnew/lib 777 omm bin" {
		t.Errorf("unpacked:\n%s", got)
	}
	said(t, m, "", "tar", "-czf", "again.tgz", "-C", "new", ".")
	if got := said(t, m, "", "tar", "-tf", "again.tgz"); !strings.Contains(got, "bin/db") {
		t.Errorf("listed: %q", got)
	}
	m.Write("/home/omm/torn.tar.gz", buf.String()[:buf.Len()-20], 0o644, "omm")
	if _, err := m.Run(t.Context(), host.Change("tar", "-xzf", "torn.tar.gz", "-C", "new")); !host.IsExit(err, 2) {
		t.Errorf("a torn archive: %v", err)
	}
	m.Remove("/usr/bin/gzip")
	if got := said(t, m, "", "tar", "-xzf", "p.tar.gz"); !strings.Contains(got, "gzip: Cannot exec") {
		t.Errorf("without gzip: %q", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault       sim.Fault
		ran         bool // the command did what it should
		unreachable bool
	}{
		"lost after it ran":       {fault: sim.Fault{Kind: sim.LinkLostAfter}, ran: true},
		"lost before it ran":      {fault: sim.Fault{Kind: sim.LinkLostBefore}},
		"refused":                 {fault: sim.Fault{Kind: sim.Unreachable}, unreachable: true},
		"power gone":              {fault: sim.Fault{Kind: sim.NodeDown, For: time.Minute}, unreachable: true},
		"power goes while it ran": {fault: sim.Fault{Kind: sim.NodeDownAfter, For: time.Minute}, ran: true},
		"link cut":                {fault: sim.Fault{Kind: sim.LinkCut, For: time.Minute}, unreachable: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := newMachine(t)
			tc.fault.Match = "touch *"
			w.Inject(tc.fault)
			said(t, m, "", "true")
			_, err := m.Run(t.Context(), host.Change("touch", "x"))
			if err == nil || host.IsExit(err) {
				t.Fatalf("got %v, want an error that leaves it open", err)
			}
			var ue *host.UnreachableError
			if errors.As(err, &ue) != tc.unreachable {
				t.Errorf("unreachable: %v", err)
			}
			if got := m.Exists("/home/omm/x"); got != tc.ran {
				t.Errorf("ran: %v", got)
			}
			if err := w.Sleep(t.Context(), 2*time.Minute); err != nil {
				t.Fatal(err)
			}
			said(t, m, "", "true")
			if n := len(w.Trace()); n != 3 {
				t.Errorf("%d commands in the trace", n)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	w, m := newMachine(t)
	w.Inject(sim.Fault{Kind: sim.DiskFull, Bytes: 3})
	if got := said(t, m, "hello", "dd", "of=f", "status=none"); !strings.Contains(got, "No space left on device") {
		t.Fatalf("got %q", got)
	}
	if got := said(t, m, "", "cat", "f"); got != "hel" {
		t.Errorf("what fitted: %q", got)
	}
}

func TestCloneGoesItsOwnWay(t *testing.T) {
	t.Parallel()
	w, m := newMachine(t)
	m.Write("/home/omm/d/f", "one", 0o644, "omm")
	w.Handle("grow", func(w *sim.World, e sim.Event) {
		w.Machine(e.Node).Write("/home/omm/late", "x", 0o644, "omm")
	})
	w.After(time.Minute, "grow", "db1", nil)
	c := w.Clone()
	said(t, m, "two", "dd", "of=d/f", "status=none")
	cm := c.Machine("db1")
	said(t, cm, "", "rm", "-r", "d")
	if got := said(t, m, "", "cat", "d/f"); got != "two" {
		t.Errorf("first world: %q", got)
	}
	if err := c.Sleep(t.Context(), 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	if !cm.Exists("/home/omm/late") || m.Exists("/home/omm/late") {
		t.Error("an event of the clone belongs to the clone")
	}
	if w.Rand().Uint64() != c.Rand().Uint64() {
		t.Error("both have the same chance to come")
	}
}

func TestWhatACloneIsTaughtIsItsOwn(t *testing.T) {
	t.Parallel()
	w, m := newMachine(t)
	m.Install("/usr/local/bin/db", "db 1.0", "omm")
	taught, other := w.Clone(), w.Clone()
	var running sync.WaitGroup
	running.Go(func() { // reads what all have while the other learns
		for range 100 {
			if _, err := other.Machine("db1").Run(t.Context(), host.Read("true")); err != nil {
				t.Error(err)
			}
		}
	})
	taught.RegisterTool("db", func(*sim.Call) int { return 0 })
	running.Wait()
	said(t, taught.Machine("db1"), "", "db")
	for name, w := range map[string]*sim.World{"its origin": w, "another clone": other, "a later clone": w.Clone()} {
		if _, err := w.Machine("db1").Run(t.Context(), host.Change("db")); err == nil {
			t.Errorf("%s knows the tool too", name)
		}
	}
}

func TestTimeAndProcesses(t *testing.T) {
	t.Parallel()
	w, m := newMachine(t)
	w.RegisterTool("db", func(*sim.Call) int { return 0 })
	m.Install("/opt/a/db", "db 1", "omm")
	p := m.Spawn(sim.Proc{User: "omm", Exe: "/opt/a/db", Argv: []string{"/opt/a/db", "-D", "/data"}, Cwd: "/data"})
	if got := said(t, m, "", "pgrep", "-f", "-u", "omm", "D /elsewhere"); got != "" {
		t.Errorf("pgrep found %q", got)
	}
	if got := said(t, m, "", "ps", "-u", "omm", "-o", "pid=,args="); got != strings.TrimSpace(said(t, m, "", "pgrep", "db")+" /opt/a/db -D /data") {
		t.Errorf("ps: %q", got)
	}
	m.Rename("/opt/a", "/opt/b")
	exe := func() string {
		return said(t, m, "", "readlink", "/proc/"+said(t, m, "", "pgrep", "db")+"/exe")
	}
	if got := exe(); got != "/opt/b/db" {
		t.Errorf("exe after rename: %q", got)
	}
	m.Install("/opt/b/db", "db 2", "omm")
	if got := exe(); got != "/opt/b/db (deleted)" {
		t.Errorf("exe after replacement: %q", got)
	}
	if p.Image != "db 1" {
		t.Errorf("it runs %q", p.Image)
	}
	said(t, m, "", "pkill", "-9", "db")
	if len(m.Procs()) != 0 {
		t.Error("it is still there")
	}
	before := w.Now()
	_, err := m.Run(t.Context(), host.Cmd{Argv: []string{"sleep", "100"}, Timeout: 5 * time.Second})
	if err == nil || host.IsExit(err) || w.Now().Sub(before) != 5*time.Second {
		t.Errorf("a command over its time: %v after %s", err, w.Now().Sub(before))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Run(ctx, host.Read("true")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func BenchmarkCommand(b *testing.B) {
	w, m := newMachine(b)
	w.NoTrace()
	m.Write("/opt/app/bin/x", "hello", 0o644, "omm")
	for b.Loop() {
		if _, err := m.Run(b.Context(), host.Read("cat", "/opt/app/bin/x")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClone(b *testing.B) {
	w, m := newMachine(b)
	for range 9 {
		w.Add("x"+string(rune('a'+len(w.Machines()))), "")
	}
	for b.Loop() {
		c := w.Clone()
		if _, err := c.Machine("db1").Run(b.Context(), host.Change("touch", "f")); err != nil {
			b.Fatal(err)
		}
	}
	_ = m
}

func TestClocksJump(t *testing.T) {
	t.Parallel()
	w, m := newMachine(t)
	m.Skew = -time.Hour
	w.Jump(24 * time.Hour)
	if got := w.Now().Sub(sim.Epoch); got != 24*time.Hour {
		t.Errorf("the tool's clock moved by %s", got)
	}
	if got := said(t, m, "", "date", "+%F %T"); got != "2024-03-01 07:00:00" {
		t.Errorf("the machine says %s", got)
	}
}
