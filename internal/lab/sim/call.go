package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
	"syscall"
	"time"
)

// Tool is a program. It returns the exit code.
type Tool func(*Call) int

// Call is one run of a program.
type Call struct {
	World   *World
	Machine *Machine
	User    *User
	Argv    []string          // as it was called, Argv[0] the name
	Path    string            // the file that was run, links resolved
	Image   string            // what that file says behind the tool's name
	Env     map[string]string // to be read only: WithEnv gives a child another one
	Dir     string

	login bool // Env is that of the login
	in    *input
	out   *buffer
	err   *buffer
	sess  *session
}

type buffer struct{ b []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}

// input is what the caller sends. It is read when a program asks for it, and
// then all of it: a program that does not read is not held up.
type input struct {
	r    io.Reader
	b    []byte
	done bool
}

// session is one command that came over a link, with all that it runs.
type session struct {
	ctx      context.Context
	m        *Machine
	deadline time.Time
	boots    int
}

// abort ends a session from within; it travels as a panic through the tools.
type abort struct {
	sess *session
	why  error
}

var errTimeout = fmt.Errorf("the time for the command is over: %w", context.DeadlineExceeded)

// top runs the session's command and says why it ended when it did not end by itself.
func (c *Call) top(d time.Duration) (code int, ended error) {
	c.sess.boots = c.Machine.boots
	defer func() {
		if r := recover(); r != nil {
			a, ok := r.(abort)
			if !ok || a.sess != c.sess {
				panic(r)
			}
			code, ended = 137, a.why
		}
	}()
	c.Sleep(d)
	return c.run(), nil
}

// Args are the words behind the name.
func (c *Call) Args() []string { return c.Argv[1:] }

// Stdin is what the caller sends.
func (c *Call) Stdin() io.Reader { return bytes.NewReader(c.Input()) }

// Input is all that the caller sends. Other machines' commands go on while it comes.
func (c *Call) Input() []byte {
	in := c.in
	if in == nil || in.done || in.r == nil {
		if in == nil {
			return nil
		}
		return in.b
	}
	in.done = true
	w := c.World
	w.mu.Unlock()
	b, err := c.receive(in.r)
	w.mu.Lock()
	w.catchUp()
	if err != nil {
		panic(abort{c.sess, err})
	}
	in.b = b
	return b
}

// receive reads until the end, or until the caller is gone.
func (c *Call) receive(r io.Reader) ([]byte, error) {
	switch r.(type) {
	case *bytes.Reader, *strings.Reader, *bytes.Buffer:
		return io.ReadAll(r)
	}
	type read struct {
		b   []byte
		err error
	}
	got := make(chan read, 1)
	go func() { // ends when the reader does; a reader that never does is the caller's
		b, err := io.ReadAll(r)
		got <- read{b, err}
	}()
	select {
	case g := <-got:
		return g.b, g.err
	case <-c.sess.ctx.Done():
		return nil, context.Cause(c.sess.ctx)
	}
}

// Stdout and Stderr take what the program says.
func (c *Call) Stdout() io.Writer { return c.out }

// Stderr takes what the program says on its second stream.
func (c *Call) Stderr() io.Writer { return c.err }

// Printf writes to standard output.
func (c *Call) Printf(format string, args ...any) { c.out.b = fmt.Appendf(c.out.b, format, args...) }

// Print writes to standard output.
func (c *Call) Print(s string) { c.out.b = append(c.out.b, s...) }

// Said is how many bytes were written to standard output so far.
func (c *Call) Said() int { return len(c.out.b) }

// Trim takes the last n bytes of standard output back.
func (c *Call) Trim(n int) { c.out.b = c.out.b[:max(len(c.out.b)-n, 0)] }

// Errorf writes to standard error.
func (c *Call) Errorf(format string, args ...any) { c.err.b = fmt.Appendf(c.err.b, format, args...) }

// Fail writes a line to standard error and returns code.
func (c *Call) Fail(code int, format string, args ...any) int {
	c.Errorf(format+"\n", args...)
	return code
}

// Sleep lets time pass in which the program does nothing; events happen. It
// does not return when the machine goes down, the caller's time is over or
// the caller is gone.
func (c *Call) Sleep(d time.Duration) {
	w := c.World
	until := w.now.Add(d)
	over := !c.sess.deadline.IsZero() && until.After(c.sess.deadline)
	if over {
		until = c.sess.deadline
	}
	if w.speed > 0 {
		c.realSleep(until)
	} else {
		w.advanceTo(until)
	}
	if m := c.sess.m; !m.up || m.cut || m.boots != c.sess.boots {
		panic(abort{c.sess, errLost})
	}
	if err := c.sess.ctx.Err(); err != nil {
		panic(abort{c.sess, context.Cause(c.sess.ctx)})
	}
	if over {
		panic(abort{c.sess, errTimeout})
	}
}

// shortest is the shortest time that is really slept; what is shorter is skipped.
const shortest = 5 * time.Millisecond

// realSleep sleeps on the machine's clock without the world's lock.
func (c *Call) realSleep(until time.Time) {
	w := c.World
	w.catchUp()
	d := w.toReal(until.Sub(w.now))
	if d < shortest {
		// Skipped, not left out: a tool that looks again and again in short
		// steps must see time pass.
		w.realNow = w.realNow.Add(max(until.Sub(w.now), 0))
		w.catchUp()
		return
	}
	w.mu.Unlock()
	t := time.NewTimer(d)
	select {
	case <-t.C:
	case <-c.sess.ctx.Done():
	}
	t.Stop()
	w.mu.Lock()
	w.catchUp()
}

// Abs makes a path absolute.
func (c *Call) Abs(name string) string {
	if name == "" || name[0] == '/' {
		return name
	}
	return c.Dir + "/" + name
}

// ReadFile reads a file with the caller's rights.
func (c *Call) ReadFile(name string) ([]byte, error) {
	if b, ok := c.Machine.procFile(name); ok {
		return b, nil
	}
	b, err := c.Machine.fs.read(c.User, c.Abs(name))
	if err != nil {
		return nil, err
	}
	return b.data, nil
}

// WriteFile writes a file with the caller's rights; a new one gets mode.
func (c *Call) WriteFile(name string, data []byte, mode uint32) error {
	return c.Machine.fs.write(c.User, c.Abs(name), newBlob(bytes.Clone(data)), mode)
}

// MkdirAll makes a directory and its parents with the caller's rights.
func (c *Call) MkdirAll(name string, mode uint32) error {
	return c.Machine.fs.mkdirAll(c.User, c.Abs(name), mode)
}

// RemoveAll removes a tree with the caller's rights; one that is not there is no error.
func (c *Call) RemoveAll(name string) error {
	err := c.Machine.fs.unlink(c.User, c.Abs(name), true)
	if errors.Is(err, syscall.ENOENT) {
		err = nil
	}
	return err
}

// Exists says whether the caller sees something at a path.
func (c *Call) Exists(name string) bool {
	_, err := c.Machine.fs.stat(c.User, c.Abs(name), true)
	return err == nil
}

// WithEnv returns the environment with changes; an empty value stays a value.
func (c *Call) WithEnv(changes map[string]string) map[string]string {
	env := maps.Clone(c.Env)
	for k, v := range changes {
		env[k] = v
	}
	return env
}

// Exec runs another program with the same streams and returns its exit code.
func (c *Call) Exec(argv ...string) int {
	child := *c
	child.Argv = argv
	return child.run()
}

// ExecEnv runs another program in another environment.
func (c *Call) ExecEnv(env map[string]string, argv ...string) int {
	child := *c
	return child.become(env, argv)
}

// become runs another program in the caller's place, as exec does: the caller
// has nothing more to do.
func (c *Call) become(env map[string]string, argv []string) int {
	c.Argv, c.Env, c.login = argv, env, false
	return c.run()
}

// Output runs another program and returns what it said.
func (c *Call) Output(argv ...string) (stdout, stderr string, code int) {
	child := *c
	child.Argv, child.in = argv, nil
	child.out, child.err = &buffer{c.World.scratch()}, &buffer{c.World.scratch()}
	code = child.run()
	return string(c.World.result(child.out)), string(c.World.result(child.err)), code
}

// OutputOn runs a program on another machine, as tools do that use ssh
// between the nodes; ok is false when that machine cannot be reached or goes down.
func (c *Call) OutputOn(m *Machine, env map[string]string, argv ...string) (stdout, stderr string, code int, ok bool) {
	if m == nil || (m != c.Machine && !m.Connected()) || !c.Machine.up {
		return "", "", 255, false
	}
	u := m.users[c.User.Name]
	if u == nil {
		return "", "Permission denied", 255, false
	}
	child := *c
	child.Machine, child.User, child.Argv, child.in = m, u, argv, nil
	child.Dir, child.Env, child.login = u.Home, env, env == nil
	if env == nil {
		child.Env = m.loginEnv(u)
	}
	child.out, child.err = new(buffer), new(buffer)
	if m != c.Machine {
		child.sess = &session{ctx: c.sess.ctx, m: m, deadline: c.sess.deadline, boots: m.boots}
	}
	defer func() {
		if r := recover(); r != nil {
			a, isAbort := r.(abort)
			if !isAbort || a.sess != child.sess || child.sess == c.sess || !errors.Is(a.why, errLost) {
				if isAbort && a.sess == child.sess && child.sess != c.sess {
					panic(abort{c.sess, a.why})
				}
				panic(r)
			}
			stdout, stderr, code, ok = string(child.out.b), string(child.err.b), 255, false
		}
	}()
	code = child.run()
	return string(child.out.b), string(child.err.b), code, true
}

// Spawn starts a program that stays when this one has ended.
func (c *Call) Spawn(p Proc) *Proc {
	if p.User == "" {
		p.User = c.User.Name
	}
	if p.Cwd == "" {
		p.Cwd = c.Dir
	}
	return c.Machine.Spawn(p)
}

// Look finds a program by name as the shell does.
func (c *Call) Look(name string) (file string, ok bool) {
	p, err := c.look(name)
	return p.String(), err == nil
}

func (c *Call) look(name string) (place, error) {
	if strings.Contains(name, "/") {
		p, err := c.Machine.fs.stat(c.User, c.Abs(name), true)
		if err == nil && (p.ino.kind != kindFile || !p.ino.allows(c.User, accX)) {
			err = syscall.EACCES
		}
		return p, err
	}
	dirs := c.Env["PATH"]
	for dirs != "" {
		var d string
		d, dirs, _ = strings.Cut(dirs, ":")
		if d == "" {
			continue
		}
		dir, err := c.Machine.fs.stat(c.User, d, true)
		if err != nil {
			continue
		}
		p := place{ino: dir.ino.kids[name]}
		switch {
		case p.ino == nil || dir.ino.entered(c.User) != nil:
			continue
		case p.ino.kind != kindLink:
			p.path = strings.TrimSuffix(dir.path, "/") + "/" + name
		default:
			if p, err = c.Machine.fs.stat(c.User, d+"/"+name, true); err != nil {
				continue
			}
		}
		if p.ino.kind == kindFile && p.ino.allows(c.User, accX) {
			return p, nil
		}
	}
	return place{}, syscall.ENOENT
}

// image returns what a file's first line says behind "#!sim:".
func image(b *Blob) string { return string(imageLine(b)) }

func imageLine(b *Blob) []byte {
	line, ok := bytes.CutPrefix(b.data, []byte("#!sim:"))
	if !ok {
		return nil
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return line
}

// program is the tool that a file runs, and what the file says behind its
// name; nil when it is no program.
func program(b *Blob) (tool, rest []byte) {
	line := imageLine(b)
	if len(line) == 0 {
		return nil, nil
	}
	tool, rest, _ = bytes.Cut(line, []byte(" "))
	return tool, rest
}

func (c *Call) run() int {
	name := c.Argv[0]
	p, err := c.look(name)
	switch {
	case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR):
		what := "command not found"
		if strings.Contains(name, "/") {
			what = "No such file or directory"
		}
		return c.Fail(127, "bash: %s: %s", name, what)
	case err != nil:
		return c.Fail(126, "bash: %s: %s", name, errText(err))
	}
	tool, rest := program(p.ino.blob)
	if tool == nil {
		c.World.Complain("%s: %s was run but is no program", c.Machine.name, p)
		return c.Fail(126, "bash: %s: cannot execute binary file: Exec format error", name)
	}
	fn := c.World.defs.tools[string(tool)]
	if fn == nil {
		c.World.Complain("%s: no tool %q (%s)", c.Machine.name, tool, p)
		return c.Fail(126, "bash: %s: cannot execute", name)
	}
	c.Path, c.Image = p.String(), string(rest)
	return fn(c)
}

// base is the program's name without its directory.
func (c *Call) base() string { return path.Base(c.Argv[0]) }

var errTexts = map[syscall.Errno]string{
	syscall.ENOENT: "No such file or directory", syscall.EACCES: "Permission denied",
	syscall.EPERM: "Operation not permitted", syscall.EEXIST: "File exists",
	syscall.ENOTDIR: "Not a directory", syscall.EISDIR: "Is a directory",
	syscall.ENOTEMPTY: "Directory not empty", syscall.ENOSPC: "No space left on device",
	syscall.ELOOP: "Too many levels of symbolic links", syscall.EBUSY: "Device or resource busy",
	syscall.EINVAL: "Invalid argument", syscall.ESRCH: "No such process",
}

// errText is an error as the C library words it.
func errText(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		if t, ok := errTexts[no]; ok {
			return t
		}
	}
	return err.Error()
}
