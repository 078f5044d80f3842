package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/shiplift/shiplift/internal/say"
)

// EndableScript runs argv under `sh -c` after it has told its process id.
//
// An ssh server does not end a command when its channel is closed, and the
// signal request of ssh is ignored by OpenSSH before 7.9 and for logins as
// root. What works everywhere is to know the process: sshd starts each command
// as the leader of a session of its own, and `exec` keeps that process, so its
// id names the group of everything it started. The id comes as the first line
// of standard error and is taken out again.
const EndableScript = `echo "` + pidMark + `$$" >&2; exec "$@"`

const pidMark = "shiplift-pid "

// EndableLine is the first line of standard error under EndableScript.
func EndableLine(pid int) string { return pidMark + strconv.Itoa(pid) }

// EndScript ends the process $1 and its group: it asks, waits up to two seconds
// for the process, and kills what is left. Where the process does not lead a
// group (a forced command, a bastion) it alone is ended. It does not wait for
// the group to be empty: orphans stay in it as zombies where init is slow.
const EndScript = `p=-$1
kill -s TERM -- $p 2>/dev/null || { p=$1; kill -s TERM $p 2>/dev/null; } || exit 0
i=0
while [ $i -lt 40 ] && kill -s 0 $1 2>/dev/null; do i=$((i+1)); sleep 0.05; done
if [ $p != $1 ] || [ $i -ge 40 ]; then kill -s KILL -- $p 2>/dev/null; fi
exit 0`

// commandLine is what the login shell of the other side gets to read.
func commandLine(argv []string) string {
	return "exec " + Quote(append([]string{"sh", "-c", EndableScript, "sh"}, argv...))
}

// channel is one command on its way.
type channel struct {
	link *link
	ch   ssh.Channel
	free func()

	out    output
	status chan int      // the exit status; closed without one when the channel closed before
	fed    chan struct{} // closed when nothing is read from Cmd.Stdin any more
}

func newChannel(l *link, ch ssh.Channel, reqs <-chan *ssh.Request, free func()) *channel {
	c := &channel{link: l, ch: ch, free: free, status: make(chan int, 1), fed: make(chan struct{})}
	go c.watch(reqs)
	return c
}

// release closes the channel and gives its place back.
func (c *channel) release() {
	_ = c.ch.Close()
	c.free()
}

// watch takes the exit status from the requests that come on the channel.
func (c *channel) watch(reqs <-chan *ssh.Request) {
	defer close(c.status)
	for r := range reqs {
		switch r.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &m) == nil {
				c.status <- int(m.Status)
			}
		case "exit-signal":
			var m struct {
				Name         string
				Core         bool
				Message, Tag string
			}
			if ssh.Unmarshal(r.Payload, &m) == nil {
				c.status <- 128 + signalNumber(m.Name)
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
		if len(c.status) > 0 { // one status is all there can be
			go ssh.DiscardRequests(reqs)
			return
		}
	}
}

// run sends the command and waits for its end or for the end of ctx.
func (c *channel) run(ctx context.Context, cfg SSHConfig, cmd Cmd) (Result, error) {
	type answer struct {
		code int
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		code, err := c.command(cmd, cfg.Grace)
		done <- answer{code, err}
	}()
	select {
	case a := <-done:
		return c.result(cfg.Node, cmd, a.code, a.err)
	case <-ctx.Done():
	}
	gone := c.end(ctx, cfg.EndWithin)
	if !gone {
		_ = c.ch.Close() // at least its input ends
	}
	within := time.NewTimer(cfg.EndWithin)
	defer within.Stop()
	select {
	case a := <-done:
		// Only the exit status proves that it is gone: what belongs to another
		// user (sudo) cannot be signalled, which looks like nothing left to signal.
		gone = gone && a.err == nil
	case <-within.C:
		gone = false
	}
	stdout, stderr := c.out.take()
	return Result{Stdout: stdout, Stderr: stderr},
		&EndedError{Node: cfg.Node, Argv: cmd.Argv, Gone: gone, Err: context.Cause(ctx)}
}

func (c *channel) result(node string, cmd Cmd, code int, err error) (Result, error) {
	stdout, stderr := c.out.take()
	res := Result{Stdout: stdout, Stderr: stderr}
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		return res, &UnreachableError{Node: node, Addr: c.link.client.RemoteAddr().String(), Err: err}
	case err != nil:
		return res, &LostError{Node: node, Argv: cmd.Argv, Err: err}
	case code != 0:
		return res, &ExitError{Node: node, Argv: cmd.Argv, Code: code, Stdout: stdout, Stderr: stderr}
	}
	return res, nil
}

// refusedError is a server that does not run commands.
type refusedError struct{}

func (*refusedError) Error() string { return "the ssh server refuses to run commands" }

// command carries one command out: start, feed, collect, exit status.
func (c *channel) command(cmd Cmd, grace time.Duration) (int, error) {
	ok, err := c.ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{commandLine(cmd.Argv)}))
	if err != nil {
		return 0, c.lost(err)
	}
	if !ok {
		return 0, &refusedError{}
	}
	go c.feed(cmd.Stdin)
	whole := c.out.collect(c.ch, c.ch.Stderr())
	code, ok := <-c.status
	if !ok {
		return 0, c.lost(say.Errorf("the channel was closed without an exit status", "通道已关闭，未给出退出状态"))
	}
	c.out.await(whole, grace)
	_ = c.ch.Close() // lets a feed end that nobody reads
	select {
	case <-c.fed:
	case <-time.After(grace):
	}
	return code, nil
}

// lost prefers the reason why the link is gone.
func (c *channel) lost(err error) error {
	select {
	case <-c.link.gone:
		return c.link.why
	default:
		return err
	}
}

func (c *channel) feed(in io.Reader) {
	defer close(c.fed)
	if in != nil {
		if _, err := io.Copy(c.ch, in); err != nil {
			return // either the command is gone, or the context ends it
		}
	}
	_ = c.ch.CloseWrite()
}

// end ends the command on the machine through the session kept for that, and
// reports whether it is gone.
func (c *channel) end(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	pid := c.out.pid(ctx)
	if pid == 0 {
		return false
	}
	k, err := c.link.sessionIn(ctx, c.link.kill)
	if err != nil {
		return false
	}
	defer k.release()
	line := Quote([]string{"sh", "-c", EndScript, "sh", strconv.Itoa(pid)})
	ended := make(chan bool, 1)
	go func() {
		ok, err := k.ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
		if err != nil || !ok {
			ended <- false
			return
		}
		_ = k.ch.CloseWrite()
		k.out.collect(k.ch, k.ch.Stderr())
		code, ok := <-k.status
		ended <- ok && code == 0
	}()
	select {
	case ok := <-ended:
		return ok
	case <-ctx.Done():
		return false
	}
}

// output gathers what a command says.
type output struct {
	mu             sync.Mutex
	stdout, stderr bytes.Buffer
	changed        chan struct{} // closed and replaced at each change
}

// collect copies both streams until they end; the channel it returns is closed then.
func (o *output) collect(stdout, stderr io.Reader) <-chan struct{} {
	var both sync.WaitGroup
	both.Go(func() { o.copy(&o.stdout, stdout) })
	both.Go(func() { o.copy(&o.stderr, stderr) })
	whole := make(chan struct{})
	go func() { both.Wait(); close(whole) }()
	return whole
}

func (o *output) copy(to *bytes.Buffer, from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			o.mu.Lock()
			to.Write(buf[:n])
			if o.changed != nil {
				close(o.changed)
				o.changed = nil
			}
			o.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// next returns a channel that is closed at the next change.
func (o *output) next() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

// await waits until both streams ended, or until nothing came for grace: a
// server that was started in the background may hold them open for good. The
// grace passes in turns, so that a machine that stood still for a while takes
// what has come meanwhile before the grace is over.
func (o *output) await(whole <-chan struct{}, grace time.Duration) {
	const turns = 10
	for quiet := 0; quiet < turns; quiet++ {
		turn := time.NewTimer(grace / turns)
		select {
		case <-whole:
			turn.Stop()
			return
		case <-turn.C:
		case <-o.next():
			turn.Stop()
			quiet = -1
		}
	}
}

// pid waits for the process id of EndableScript; 0 when ctx ended before.
func (o *output) pid(ctx context.Context) int {
	for {
		next := o.next()
		o.mu.Lock()
		pid, _ := cutPid(o.stderr.Bytes())
		o.mu.Unlock()
		if pid != 0 {
			return pid
		}
		select {
		case <-next:
		case <-ctx.Done():
			return 0
		}
	}
}

// take returns what has come so far, without the line of EndableScript and
// what the login's own start-up files wrote before it.
func (o *output) take() (stdout, stderr []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	stdout = bytes.Clone(o.stdout.Bytes())
	_, said := cutPid(o.stderr.Bytes())
	return stdout, bytes.Clone(said)
}

// cutPid finds the line of EndableScript in what came on standard error, and
// returns what the command itself said; all of it when the line is not there.
func cutPid(b []byte) (pid int, said []byte) {
	_, rest, ok := bytes.Cut(b, []byte(pidMark))
	if !ok {
		return 0, b
	}
	digits, said, ok := bytes.Cut(rest, []byte("\n"))
	if !ok {
		return 0, b
	}
	pid, err := strconv.Atoi(string(digits))
	if err != nil || pid <= 1 {
		return 0, b
	}
	return pid, said
}

// signalNumber gives the number of a signal by its name in RFC 4254, section 6.10.
func signalNumber(name string) int {
	for _, s := range []struct {
		name string
		n    int
	}{
		{"HUP", 1}, {"INT", 2}, {"QUIT", 3}, {"ILL", 4}, {"ABRT", 6}, {"FPE", 8}, {"KILL", 9},
		{"USR1", 10}, {"SEGV", 11}, {"USR2", 12}, {"PIPE", 13}, {"ALRM", 14}, {"TERM", 15},
	} {
		if s.name == name {
			return s.n
		}
	}
	return 127 // some signal; the server did not say which
}
