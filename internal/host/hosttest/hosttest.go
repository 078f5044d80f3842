// Package hosttest is the conformance suite of host.Host: one subtest per
// sentence of the contract. Each way to reach a machine calls it, simulated
// machines too.
package hosttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// Machine is one machine under test. Only the names of coreutils are used on
// it: cat chmod dd echo false kill mv printf rm sha256sum sh sleep stat test true mkdir.
type Machine struct {
	host.Host
	Dir string // an empty directory on the machine

	// Running reports whether a process with exactly this argv runs. nil: the
	// machine has no time of its own, so commands never last and the sentences
	// about ending them are passed over.
	Running func(argv ...string) bool
	// Shell says that sh -c runs any script, not only those the tool knows.
	Shell bool
	// Cut loses the link and Restore brings it back; nil: it cannot be lost.
	Cut, Restore func()
	// Listen opens a listener that programs on the machine reach under the
	// address it returns; nil: nothing can be dialled.
	Listen func(t *testing.T, network string) (net.Listener, string)
}

// Run checks every sentence. open is called once for each.
func Run(t *testing.T, open func(t *testing.T) Machine) {
	for _, s := range sentences {
		t.Run(s.says, func(t *testing.T) {
			t.Parallel()
			m := open(t)
			if s.needs != nil && !s.needs(m) {
				t.Skip("this machine cannot show it")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s.check(ctx, t, m)
			if err := m.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if err := m.Close(); err != nil {
				t.Errorf("close again: %v", err)
			}
		})
	}
}

type sentence struct {
	says  string
	needs func(Machine) bool
	check func(context.Context, *testing.T, Machine)
}

func lasts(m Machine) bool    { return m.Running != nil }
func shell(m Machine) bool    { return m.Shell }
func cuttable(m Machine) bool { return m.Cut != nil && m.Running != nil }
func listens(m Machine) bool  { return m.Listen != nil }

var sentences = []sentence{
	{"status 0 is no error and the streams are apart", shell, streamsApart},
	{"output comes back", nil, outputComesBack},
	{"another status is an ExitError with it", nil, exitStatus},
	{"any status comes back as it is", shell, anyStatus},
	{"a command that is not there is status 127", nil, notThere},
	{"a signal is status 128 and its number", shell, signalStatus},
	{"argv arrives word by word", nil, oddArgv},
	{"standard input arrives and ends", nil, stdinArrives},
	{"no standard input is an empty one", nil, noStdin},
	{"input that the command does not read does no harm", nil, unreadStdin},
	{"input that never comes does not hold the answer back", nil, endlessStdin},
	{"input that cannot be read ends the command and is no success", nil, brokenStdin},
	{"large and binary data passes both ways", nil, largeData},
	{"many commands run at once", nil, concurrent},
	{"a command in the background does not hold the answer back", shell, background},
	{"when the context ends the remote process is gone", lasts, contextEnds},
	{"when the context ends what the command started is gone too", func(m Machine) bool { return lasts(m) && shell(m) }, childrenEnd},
	{"a command that ignores SIGTERM is gone too", func(m Machine) bool { return lasts(m) && shell(m) }, stubborn},
	{"when the timeout passes the remote process is gone", lasts, timeout},
	{"a context that has ended runs nothing", nil, endedBefore},
	{"a lost link is neither an ExitError nor unreachable", cuttable, lostLink},
	{"without a link the machine is unreachable, and back afterwards", cuttable, unreachable},
	{"ReadFile of nothing is fs.ErrNotExist", nil, readNothing},
	{"Stat tells size, mode and kind", nil, statTells},
	{"WriteFile replaces the whole file and leaves nothing else", nil, writeReplaces},
	{"WriteFile that fails leaves the old file", nil, writeFails},
	{"Put sends a file and its sum is checked", nil, putSends},
	{"Put with a wrong sum leaves the old file and no part", nil, putWrongSum},
	{"Put goes on where a cut transfer ended", nil, putResumes},
	{"Put starts anew when the part is of another file", nil, putForeignPart},
	{"Put of what is there already sends nothing", nil, putAgain},
	{"a command in an environment profile sees it", shell, sourced},
	{"Dial reaches a tcp port and a unix socket of the machine", listens, dial},
	{"Dial to nothing is an error and not unreachable", listens, dialNothing},
	{"a connection keeps its deadlines", listens, dialDeadline},
}

func streamsApart(ctx context.Context, t *testing.T, m Machine) {
	r, err := m.Run(ctx, host.Read("sh", "-c", "echo out; echo err >&2"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(r.Stdout) + "|" + string(r.Stderr); got != "out\n|err\n" {
		t.Errorf("streams are %q", got)
	}
}

func outputComesBack(ctx context.Context, t *testing.T, m Machine) {
	r, err := m.Run(ctx, host.Read("echo", "one", "two"))
	if err != nil || r.Text() != "one two" || len(r.Stderr) != 0 {
		t.Errorf("got %q, %q, %v", r.Stdout, r.Stderr, err)
	}
}

func exitStatus(ctx context.Context, t *testing.T, m Machine) {
	_, err := m.Run(ctx, host.Read("false"))
	if !host.IsExit(err, 1) {
		t.Errorf("false: %v, want status 1", err)
	}
	_, err = m.Run(ctx, host.Read("cat", m.Dir+"/none"))
	var exit *host.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("cat of nothing: %v, want an ExitError", err)
	}
	if exit.Node != m.Name() || len(exit.Stderr) == 0 || exit.Argv[0] != "cat" {
		t.Errorf("the error does not tell where, what and why: %#v", exit)
	}
}

func anyStatus(ctx context.Context, t *testing.T, m Machine) {
	for _, code := range []int{1, 2, 42, 126, 255} {
		_, err := m.Run(ctx, host.Read("sh", "-c", fmt.Sprintf("exit %d", code)))
		if !host.IsExit(err, code) {
			t.Errorf("exit %d: %v", code, err)
		}
	}
}

func notThere(ctx context.Context, t *testing.T, m Machine) {
	for _, name := range []string{"shiplift-no-such-program", m.Dir + "/no-such-program"} {
		if _, err := m.Run(ctx, host.Read(name)); !host.IsExit(err, 127) {
			t.Errorf("%s: %v, want status 127", name, err)
		}
	}
}

func signalStatus(ctx context.Context, t *testing.T, m Machine) {
	for name, n := range map[string]int{"TERM": 15, "KILL": 9} {
		_, err := m.Run(ctx, host.Read("sh", "-c", "kill -"+name+" $$"))
		if !host.IsExit(err, 128+n) {
			t.Errorf("SIG%s: %v, want status %d", name, err, 128+n)
		}
	}
}

// Odd is an argv that a careless quoting breaks.
var Odd = []string{
	"", " ", "a b", "'", `"`, `it's`, "''", "$HOME", "$(id)", "`id`", "*", "?", "[a-z]", "~", "~root", "!", "!!", "a\nb", "\t",
	`\`, `\\`, `\n`, "a;b", "a&b", "a|b", "<", ">", "(", ")", "{a,b}", "#", "-n", "--", "A=b", "升船机", "\u00e9", "%s", "'; exit 3; '",
}

func oddArgv(ctx context.Context, t *testing.T, m Machine) {
	r, err := m.Run(ctx, host.Read(append([]string{"printf", "[%s]"}, Odd...)...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("["+strings.Join(Odd, "][")+"]", string(r.Stdout)); diff != "" {
		t.Error(diff)
	}
}

func stdinArrives(ctx context.Context, t *testing.T, m Machine) {
	c := host.Read("cat")
	c.Stdin = strings.NewReader("hello\n")
	if r, err := m.Run(ctx, c); err != nil || string(r.Stdout) != "hello\n" {
		t.Errorf("got %q, %v", r.Stdout, err)
	}
}

func noStdin(ctx context.Context, t *testing.T, m Machine) {
	if r, err := m.Run(ctx, host.Read("cat")); err != nil || len(r.Stdout) != 0 {
		t.Errorf("got %q, %v", r.Stdout, err)
	}
}

func unreadStdin(ctx context.Context, t *testing.T, m Machine) {
	c := host.Read("true")
	c.Stdin = bytes.NewReader(make([]byte, 4<<20)) // more than any window or pipe
	if _, err := m.Run(ctx, c); err != nil {
		t.Error(err)
	}
}

func endlessStdin(ctx context.Context, t *testing.T, m Machine) {
	in, w := io.Pipe()
	defer w.Close()
	c := host.Read("true")
	c.Stdin = in
	start := time.Now()
	if _, err := m.Run(ctx, c); err != nil || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

func brokenStdin(ctx context.Context, t *testing.T, m Machine) {
	broken := errors.New("the source is broken")
	c := host.Change("dd", "of="+m.Dir+"/half")
	c.Stdin = io.MultiReader(strings.NewReader("half"), failing{broken})
	_, err := m.Run(ctx, c)
	if err == nil || host.IsExit(err) || !errors.Is(err, broken) {
		t.Errorf("got %v, want the reason and no exit status", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func largeData(ctx context.Context, t *testing.T, m Machine) {
	data := noise(3<<20 + 17)
	if err := host.WriteFile(ctx, m, m.Dir+"/large", data, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := host.ReadFile(ctx, m, m.Dir+"/large")
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(data), err)
	}
	sum, err := host.Sum(ctx, m, m.Dir+"/large")
	if err != nil || sum != sha(data) {
		t.Errorf("sum %s, %v", sum, err)
	}
}

func concurrent(ctx context.Context, t *testing.T, m Machine) {
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			want := fmt.Sprint("command ", i)
			if r, err := m.Run(ctx, host.Read("echo", want)); err != nil || r.Text() != want {
				t.Errorf("%s: got %q, %v", want, r.Text(), err)
			}
		})
	}
	all.Wait()
}

func background(ctx context.Context, t *testing.T, m Machine) {
	// The process lets go of its output only when the file is there.
	start := time.Now()
	r, err := m.Run(ctx, host.Change("sh", "-c",
		`(i=0; while [ ! -e "$1" ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i+1)); done) & echo started`, "sh", m.Dir+"/stop"))
	if err != nil || r.Text() != "started" {
		t.Errorf("got %q, %v", r.Text(), err)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("took %s", took)
	}
	if err := host.WriteFile(ctx, m, m.Dir+"/stop", nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// lasting is a command that lasts and cannot be taken for another one.
func lasting() []string { return []string{"sleep", fmt.Sprintf("300.%09d", rand.IntN(1e9))} }

// ended checks an error of a command that was ended from our side.
func ended(t *testing.T, err, want error) {
	t.Helper()
	var gone *host.EndedError
	if !errors.As(err, &gone) || !errors.Is(err, want) || host.IsExit(err) {
		t.Fatalf("got %v, want an EndedError of %v", err, want)
	}
	if !gone.Gone {
		t.Errorf("it is not confirmed that the command is gone")
	}
}

func contextEnds(ctx context.Context, t *testing.T, m Machine) {
	argv := lasting()
	ctx, cancel := context.WithCancel(ctx)
	result := start(ctx, m, argv...)
	until(t, "the command runs", func() bool { return m.Running(argv...) })
	cancel()
	ended(t, <-result, context.Canceled)
	if m.Running(argv...) {
		t.Error("the command still runs")
	}
	if _, err := m.Run(t.Context(), host.Read("true")); err != nil {
		t.Errorf("the machine is of no use afterwards: %v", err)
	}
}

func childrenEnd(ctx context.Context, t *testing.T, m Machine) {
	argv := lasting()
	ctx, cancel := context.WithCancel(ctx)
	result := start(ctx, m, "sh", "-c", `"$@" & wait; true`, "sh", argv[0], argv[1])
	until(t, "the child runs", func() bool { return m.Running(argv...) })
	cancel()
	ended(t, <-result, context.Canceled)
	until(t, "the child is gone", func() bool { return !m.Running(argv...) })
}

func stubborn(ctx context.Context, t *testing.T, m Machine) {
	argv := lasting()
	ctx, cancel := context.WithCancel(ctx)
	result := start(ctx, m, "sh", "-c", `trap "" TERM; "$@"; exit 0`, "sh", argv[0], argv[1])
	until(t, "the command runs", func() bool { return m.Running(argv...) })
	cancel()
	ended(t, <-result, context.Canceled)
	if m.Running(argv...) {
		t.Error("the command still runs")
	}
}

func timeout(ctx context.Context, t *testing.T, m Machine) {
	argv := lasting()
	_, err := m.Run(ctx, host.Cmd{Argv: argv, Timeout: 200 * time.Millisecond})
	ended(t, err, context.DeadlineExceeded)
	if m.Running(argv...) {
		t.Error("the command still runs")
	}
}

func endedBefore(ctx context.Context, t *testing.T, m Machine) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	_, err := m.Run(ctx, host.Change("mkdir", m.Dir+"/made"))
	if err == nil || host.IsExit(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if there, err := host.Exists(t.Context(), m, m.Dir+"/made"); there || err != nil {
		t.Errorf("the command ran: %v, %v", there, err)
	}
}

func lostLink(ctx context.Context, t *testing.T, m Machine) {
	argv := lasting()
	result := start(ctx, m, argv...)
	until(t, "the command runs", func() bool { return m.Running(argv...) })
	m.Cut()
	err := <-result
	var lost *host.LostError
	var unreachable *host.UnreachableError
	if !errors.As(err, &lost) || host.IsExit(err) || errors.As(err, &unreachable) {
		t.Errorf("got %v, want only a LostError", err)
	}
}

func unreachable(ctx context.Context, t *testing.T, m Machine) {
	if _, err := m.Run(ctx, host.Read("true")); err != nil {
		t.Fatal(err)
	}
	m.Cut()
	_, err := m.Run(ctx, host.Read("true"))
	var away *host.UnreachableError
	if !errors.As(err, &away) || errors.Is(err, host.ErrHostKey) {
		t.Errorf("got %v, want unreachable", err)
	}
	m.Restore()
	if _, err := m.Run(ctx, host.Read("true")); err != nil {
		t.Errorf("after the link is back: %v", err)
	}
}

func readNothing(ctx context.Context, t *testing.T, m Machine) {
	for _, name := range []string{m.Dir + "/none", m.Dir + "/none/below"} {
		if _, err := host.ReadFile(ctx, m, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", name, err)
		}
		if _, err := host.Stat(ctx, m, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat %s: %v, want fs.ErrNotExist", name, err)
		}
	}
	if _, err := host.ReadFile(ctx, m, m.Dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory: %v, want an error other than fs.ErrNotExist", err)
	}
}

func statTells(ctx context.Context, t *testing.T, m Machine) {
	name := m.Dir + "/some file"
	if err := host.WriteFile(ctx, m, name, []byte("12345"), 0o640); err != nil {
		t.Fatal(err)
	}
	st, err := host.Stat(ctx, m, name)
	if err != nil {
		t.Fatal(err)
	}
	if st.Size != 5 || st.Mode != 0o640 || st.Owner == "" || st.Group == "" || st.ModTime.IsZero() {
		t.Errorf("got %+v", st)
	}
	if st, err := host.Stat(ctx, m, m.Dir); err != nil || !st.Mode.IsDir() {
		t.Errorf("the directory is %+v, %v", st, err)
	}
}

func writeReplaces(ctx context.Context, t *testing.T, m Machine) {
	if _, err := m.Run(ctx, host.Change("mkdir", m.Dir+"/d")); err != nil {
		t.Fatal(err)
	}
	name := m.Dir + "/d/f"
	for mode, text := range map[fs.FileMode]string{0o644: "a much longer text", 0o600: "short", 0o755: ""} {
		if err := host.WriteFile(ctx, m, name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		got, err := host.ReadFile(ctx, m, name)
		if err != nil || string(got) != text {
			t.Errorf("got %q, %v; want %q", got, err, text)
		}
		if st, err := host.Stat(ctx, m, name); err != nil || st.Mode != mode {
			t.Errorf("mode %v, %v; want %v", st.Mode, err, mode)
		}
	}
	if _, err := m.Run(ctx, host.Change("rm", name)); err != nil {
		t.Fatal(err)
	}
	emptied(ctx, t, m, m.Dir+"/d")
}

// emptied checks that a directory is empty in the one way that coreutils have
// and that works everywhere: mv -T onto a directory needs it to be.
func emptied(ctx context.Context, t *testing.T, m Machine, dir string) {
	t.Helper()
	if _, err := m.Run(ctx, host.Change("mkdir", dir+".new")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(ctx, host.Change("mv", "-T", dir+".new", dir)); err != nil {
		t.Errorf("something is left in %s: %v", dir, err)
	}
}

func writeFails(ctx context.Context, t *testing.T, m Machine) {
	name := m.Dir + "/f"
	if err := host.WriteFile(ctx, m, name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, last := range []string{"dd", "chmod", "mv"} {
		broken := failOn{Host: m, program: last}
		if err := host.WriteFile(ctx, broken, name, []byte("new"), 0o644); err == nil {
			t.Errorf("%s failed and WriteFile says nothing", last)
		}
		if got, err := host.ReadFile(ctx, m, name); err != nil || string(got) != "old" {
			t.Errorf("after %s failed: %q, %v", last, got, err)
		}
	}
}

// failOn loses every command of one program before it is sent.
type failOn struct {
	host.Host
	program string
}

func (f failOn) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if c.Argv[0] == f.program {
		return host.Result{}, &host.LostError{Node: f.Name(), Argv: c.Argv, Err: io.ErrUnexpectedEOF}
	}
	return f.Host.Run(ctx, c)
}

func putSends(ctx context.Context, t *testing.T, m Machine) {
	data := noise(1<<20 + 3)
	var told []int64
	var mu sync.Mutex
	err := host.Put(ctx, m, bytes.NewReader(data), m.Dir+"/p", sha(data), func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, done)
		if total != int64(len(data)) {
			t.Errorf("the total is %d", total)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	holds(ctx, t, m, "/p", data)
	if len(told) < 2 || told[0] != 0 || told[len(told)-1] != int64(len(data)) {
		t.Errorf("progress went %v", told)
	}
}

func holds(ctx context.Context, t *testing.T, m Machine, name string, want []byte) {
	t.Helper()
	got, err := host.ReadFile(ctx, m, m.Dir+name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes, %v; want %d", name, len(got), err, len(want))
	}
	if there, err := host.Exists(ctx, m, m.Dir+name+host.PartSuffix); there || err != nil {
		t.Errorf("the part is left: %v, %v", there, err)
	}
}

func putWrongSum(ctx context.Context, t *testing.T, m Machine) {
	if err := host.WriteFile(ctx, m, m.Dir+"/p", []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := host.Put(ctx, m, strings.NewReader("new"), m.Dir+"/p", sha([]byte("other")), nil)
	var problem *say.Problem
	if !errors.As(err, &problem) || problem.Next.IsZero() {
		t.Errorf("got %v, want a Problem with a next step", err)
	}
	holds(ctx, t, m, "/p", []byte("old"))
}

func putResumes(ctx context.Context, t *testing.T, m Machine) {
	data := noise(100_000)
	for i, at := range []int{0, 1, 511, 65_536, len(data) - 1, len(data)} {
		name := fmt.Sprintf("/p%d", i)
		part := m.Dir + name + host.PartSuffix
		if err := host.WriteFile(ctx, m, part, data[:at], 0o644); err != nil {
			t.Fatal(err)
		}
		counting := &count{Host: m}
		if err := host.Put(ctx, counting, bytes.NewReader(data), m.Dir+name, sha(data), nil); err != nil {
			t.Fatalf("cut at %d: %v", at, err)
		}
		holds(ctx, t, m, name, data)
		if counting.sent != int64(len(data)-at) {
			t.Errorf("cut at %d: %d bytes were sent", at, counting.sent)
		}
	}
}

// count counts what goes into standard inputs.
type count struct {
	host.Host
	sent int64
}

func (h *count) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if c.Stdin != nil {
		c.Stdin = io.TeeReader(c.Stdin, h)
	}
	return h.Host.Run(ctx, c)
}

func (h *count) Write(b []byte) (int, error) { h.sent += int64(len(b)); return len(b), nil }

func putForeignPart(ctx context.Context, t *testing.T, m Machine) {
	data := noise(50_000)
	for i, part := range [][]byte{noise(20_000), append(bytes.Clone(data), 'x')} {
		name := fmt.Sprintf("/p%d", i)
		if err := host.WriteFile(ctx, m, m.Dir+name+host.PartSuffix, part, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := host.Put(ctx, m, bytes.NewReader(data), m.Dir+name, sha(data), nil); err != nil {
			t.Fatal(err)
		}
		holds(ctx, t, m, name, data)
	}
}

func putAgain(ctx context.Context, t *testing.T, m Machine) {
	data := noise(5000)
	for i := range 2 {
		counting := &count{Host: m}
		if err := host.Put(ctx, counting, bytes.NewReader(data), m.Dir+"/p", sha(data), nil); err != nil {
			t.Fatal(err)
		}
		if want := int64(len(data) * (1 - i)); counting.sent != want {
			t.Errorf("time %d: %d bytes were sent, want %d", i, counting.sent, want)
		}
	}
}

func sourced(ctx context.Context, t *testing.T, m Machine) {
	profile := m.Dir + "/profile"
	text := "echo noise\nread x\nSHIPLIFT_WORD='a b'; export SHIPLIFT_WORD\nset -- changed\ncd /\nfalse\n"
	if err := host.WriteFile(ctx, m, profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := host.Sourced(profile, host.Read("sh", "-c", `echo "$SHIPLIFT_WORD:$1:"; cat`, "sh", "it's"))
	c.Stdin = strings.NewReader("input")
	if r, err := m.Run(ctx, c); err != nil || string(r.Stdout) != "a b:it's:\ninput" {
		t.Errorf("got %q, %v", r.Stdout, err)
	}
	if _, err := m.Run(ctx, host.Sourced(m.Dir+"/none", host.Read("true"))); !host.IsExit(err, 126) {
		t.Errorf("without the profile: %v, want status 126", err)
	}
}

func dial(ctx context.Context, t *testing.T, m Machine) {
	for _, network := range []string{"tcp", "unix"} {
		ln, addr := m.Listen(t, network)
		go echo(ln)
		conn, err := m.Dial(ctx, network, addr)
		if err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		if got := conn.RemoteAddr(); got.Network() != network || got.String() != addr {
			t.Errorf("%s: the remote address is %s %s", network, got.Network(), got)
		}
		sent := noise(300_000)
		go func() { _, _ = conn.Write(sent) }()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: the echo is wrong: %v", network, err)
		}
		_ = conn.Close()
		_ = ln.Close()
	}
}

func echo(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

func dialNothing(ctx context.Context, t *testing.T, m Machine) {
	for _, network := range []string{"tcp", "unix"} {
		ln, addr := m.Listen(t, network)
		_ = ln.Close()
		conn, err := m.Dial(ctx, network, addr)
		var away *host.UnreachableError
		if err == nil {
			_ = conn.Close()
		}
		if err == nil || errors.As(err, &away) {
			t.Errorf("%s: got %v", network, err)
		}
	}
}

func dialDeadline(ctx context.Context, t *testing.T, m Machine) {
	ln, addr := m.Listen(t, "tcp")
	defer ln.Close()
	conn, err := m.Dial(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var ne net.Error
	if _, err := conn.Read(make([]byte, 1)); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
}

func start(ctx context.Context, m Machine, argv ...string) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := m.Run(ctx, host.Cmd{Argv: argv, Effect: host.ReadOnly, Timeout: -1})
		result <- err
	}()
	return result
}

// until watches a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// noise is data of which no part repeats, the same in every run.
func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
