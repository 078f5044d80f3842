package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shiplift/shiplift/internal/host"
)

// User is an account of a machine.
type User struct {
	Name   string
	UID    int
	GID    int
	Group  string
	Groups []int // further groups
	Home   string
	// Env is what a login without a profile has besides HOME, USER, LOGNAME, SHELL and PATH.
	Env map[string]string
}

// Root owns everything. Set-up writes as root.
var Root = &User{Name: "root", Group: "root", Home: "/root"}

// Machine is one simulated machine. It is a host.Host for its login user.
// Methods other than those of host.Host are for set-up, tools and handlers.
type Machine struct {
	world   *World
	name    string
	Address string
	Login   string        // the user of host.Host
	System  string        // uname -s
	Arch    string        // uname -m
	Skew    time.Duration // of the machine's own clock (date)
	OS      string        // the content of /etc/os-release is made from it by the labs

	fs       fsys
	users    map[string]*User
	accounts []string // the users' names, sorted
	procs    []*Proc  // by number
	nextPID  int
	services map[string]*Service
	listen   map[string]Listener
	up       bool
	bootedAt time.Time
	cut      bool          // the link to it is cut, it runs on
	slow     time.Duration // added to each command
	boots    int
}

// Proc is a running program.
type Proc struct {
	PID, PPID int
	Kind      string // names a ProcKind; empty: it only exists
	User      string
	Exe       string // resolved path of the binary when it started
	Image     string // what the binary was when it started
	Argv      []string
	Cwd       string
	Env       map[string]string // never changed
	Started   time.Time
	Stopped   bool // SIGSTOP
	blob      *Blob
}

// ProcKind says how processes of a kind take signals and ends. Both may be nil.
type ProcKind struct {
	// Signal is asked about every signal but KILL, STOP and CONT; it returns
	// whether the process ends at once. nil: TERM, INT, QUIT and HUP end it.
	Signal func(w *World, m *Machine, p *Proc, sig string) bool
	// Exit is told after the process is gone; sig is what ended it, "power" when the machine went down.
	Exit func(w *World, m *Machine, p *Proc, sig string)
	// Frozen is told when it was stopped (true) or continued (false).
	Frozen func(w *World, m *Machine, p *Proc, frozen bool)
}

// Service is a systemd unit.
type Service struct {
	Name    string
	Kind    string // names a ServiceKind
	Enabled bool
	Active  bool
	Failed  bool
	PID     int
	Since   time.Time
	Arg     string
}

// ServiceKind says how units of a kind start and stop. A stop must end what the start began.
type ServiceKind struct {
	Start func(w *World, m *Machine, s *Service) error
	Stop  func(w *World, m *Machine, s *Service) error
	// NeedsRoot refuses start and stop by others, as systemd does without polkit rights.
	NeedsRoot bool
}

// Listener is a socket that somebody serves.
type Listener struct {
	Kind string // names a ConnHandler
	Arg  string
}

// ConnHandler serves one connection until it returns. It runs beside
// everything else: it takes World.With around what it reads or changes.
type ConnHandler func(w *World, m *Machine, arg string, c net.Conn)

// RegisterProc makes a kind of process known.
func (w *World) RegisterProc(kind string, k ProcKind) { w.mine().procs[kind] = k }

// RegisterService makes a kind of unit known.
func (w *World) RegisterService(kind string, k ServiceKind) { w.mine().services[kind] = k }

// RegisterServer makes a kind of listener known.
func (w *World) RegisterServer(kind string, h ConnHandler) { w.mine().conns[kind] = h }

// Add puts a machine into the world, with the usual directories, root, the
// usual programs in /usr/bin and the link /bin to them.
func (w *World) Add(name, address string) *Machine {
	m := &Machine{
		world: w, name: name, Address: address, Login: "root", System: "Linux", Arch: "x86_64", OS: "centos",
		users: map[string]*User{"root": Root}, accounts: []string{"root"}, nextPID: 1000 + 97*len(w.order),
		services: map[string]*Service{}, listen: map[string]Listener{}, up: true, bootedAt: w.now,
	}
	m.fs.own = &token{}
	m.fs.m = m
	m.fs.cap = 200 << 30
	m.fs.root = m.fs.node(kindDir, 0o755, Root)
	for _, d := range []string{"/usr", "/etc", "/var/log", "/home", "/opt", "/run", "/usr/local/bin", "/usr/sbin"} {
		m.Mkdir(d, 0o755, "root")
	}
	m.Mkdir("/root", 0o700, "root")
	m.Mkdir("/tmp", 0o1777, "root")
	if w.defs.usrbin == nil {
		w.mine().usrbin = coreBin()
	}
	m.fs.root = m.fs.mine(m.fs.root)
	usr := m.fs.owned("/usr")
	usr.kids["bin"] = w.defs.usrbin
	m.Symlink("usr/bin", "/bin")
	w.machines[name] = m
	w.order = append(slices.Clone(w.order), name)
	return m
}

func (m *Machine) clone(w *World) *Machine {
	c := *m
	c.world = w
	c.fs = m.fs.clone(&c)
	c.users = maps.Clone(m.users) // users themselves are not changed after set-up
	c.procs = cloneProcs(m.procs)
	c.services = cloneMap(m.services)
	c.listen = maps.Clone(m.listen)
	return &c
}

func cloneProcs(procs []*Proc) []*Proc {
	copies, out := make([]Proc, len(procs)), make([]*Proc, len(procs))
	for i, p := range procs {
		copies[i] = *p
		out[i] = &copies[i]
	}
	return out
}

// World returns the machine's world.
func (m *Machine) World() *World { return m.world }

// AddUser adds an account with a home directory of mode 700.
func (m *Machine) AddUser(u User) *User {
	m.users[u.Name] = &u
	m.accounts = slices.Sorted(maps.Keys(m.users))
	m.Mkdir(u.Home, 0o700, u.Name)
	return &u
}

// LoginWith gives every later login of an account an environment.
func (m *Machine) LoginWith(user string, env map[string]string) {
	u := *m.owner(user)
	u.Env = env
	m.users[user] = &u
}

// User returns an account, or nil.
func (m *Machine) User(name string) *User { return m.users[name] }

func (m *Machine) must(err error, what string) {
	if err != nil {
		panic(fmt.Sprintf("sim: %s: %s: %v", m.name, what, err))
	}
}

func (m *Machine) owner(name string) *User {
	u := m.users[name]
	if u == nil {
		panic("sim: no user " + name + " on " + m.name)
	}
	return u
}

// Write puts a file there as set-up does, with its directories. It uses what a
// full disk keeps for root: a simulated server whose own small files need space
// asks Disk before.
func (m *Machine) Write(name, content string, mode uint32, owner string) {
	m.WriteBytes(name, []byte(content), mode, owner)
}

// WriteBytes is Write; content must not be changed afterwards.
func (m *Machine) WriteBytes(name string, content []byte, mode uint32, owner string) {
	u := m.owner(owner)
	m.mkParents(path.Dir(name), u)
	m.must(m.fs.put(name, newBlob(content), mode), name)
	m.must(m.fs.change(Root, name, true, func(n *inode) { n.mode, n.uid, n.gid = mode, u.UID, u.GID }), name)
}

// WriteSized puts a file there that counts size bytes, whatever it holds.
func (m *Machine) WriteSized(name, content string, size int64, mode uint32, owner string) {
	u := m.owner(owner)
	m.mkParents(path.Dir(name), u)
	b := newBlob([]byte(content))
	b.extra = max(size-int64(len(content)), 0)
	m.must(m.fs.put(name, b, mode), name)
	m.must(m.fs.change(Root, name, true, func(n *inode) { n.mode, n.uid, n.gid = mode, u.UID, u.GID }), name)
}

func (m *Machine) mkParents(dir string, u *User) {
	if p, err := m.fs.walk(Root, dir, true); err == nil && p.ino != nil {
		return
	}
	m.Mkdir(dir, 0o755, u.Name)
}

// Mkdir makes a directory and its parents, which belong to owner as well.
func (m *Machine) Mkdir(dir string, mode uint32, owner string) {
	u := m.owner(owner)
	if p, err := m.fs.walk(Root, dir, true); err == nil && p.ino != nil {
		return
	}
	if up := path.Dir(dir); up != "/" {
		m.Mkdir(up, 0o755, owner)
	}
	m.must(m.fs.mkdir(Root, dir, mode), dir)
	m.must(m.fs.change(Root, dir, true, func(n *inode) { n.uid, n.gid = u.UID, u.GID }), dir)
}

// Symlink makes or replaces a link.
func (m *Machine) Symlink(target, name string) {
	if _, err := m.fs.stat(Root, name, false); err == nil {
		m.must(m.fs.unlink(Root, name, false), name)
	}
	m.must(m.fs.symlink(Root, target, name), name)
}

// Chown gives a path (a link itself, not its target) to owner.
func (m *Machine) Chown(name, owner string) {
	u := m.owner(owner)
	m.must(m.fs.change(Root, name, false, func(n *inode) { n.uid, n.gid = u.UID, u.GID }), name)
}

// Install puts a program there: a file that runs the tool that image names,
// e.g. "gaussdb 5.0.0 build a07d57c3".
func (m *Machine) Install(name, image, owner string) {
	m.Write(name, Program(image), 0o755, owner)
}

// Program is the content of a file that runs the tool that image names.
func Program(image string) string { return "#!sim:" + image + "\n" }

// Read returns a file's content; ok is false when there is none.
func (m *Machine) Read(name string) (content string, ok bool) {
	b, err := m.fs.read(Root, name)
	if err != nil {
		return "", false
	}
	return string(b.data), true
}

// Holds says whether a path leads to a file that holds just that.
func (m *Machine) Holds(name, content string) bool {
	b, err := m.fs.read(Root, name)
	return err == nil && string(b.data) == content
}

// Exists says whether a path leads to something (a link that leads nowhere does not).
func (m *Machine) Exists(name string) bool {
	_, err := m.fs.stat(Root, name, true)
	return err == nil
}

// IsDir says whether a path leads to a directory.
func (m *Machine) IsDir(name string) bool {
	p, err := m.fs.stat(Root, name, true)
	return err == nil && p.ino.kind == kindDir
}

// Real resolves all links of a path; "" when it leads nowhere.
func (m *Machine) Real(name string) string {
	p, err := m.fs.stat(Root, name, true)
	if err != nil {
		return ""
	}
	return p.String()
}

// List returns the names in a directory, sorted.
func (m *Machine) List(dir string) []string {
	p, err := m.fs.stat(Root, dir, true)
	if err != nil || p.ino.kind != kindDir {
		return nil
	}
	return sortedKids(p.ino)
}

// Mode returns permission bits and owner of what a path leads to.
func (m *Machine) Mode(name string) (mode uint32, owner string, ok bool) {
	p, err := m.fs.stat(Root, name, true)
	if err != nil {
		return 0, "", false
	}
	return p.ino.mode, m.userName(p.ino.uid), true
}

// Remove removes a tree.
func (m *Machine) Remove(name string) {
	if _, err := m.fs.stat(Root, name, false); err == nil {
		m.must(m.fs.unlink(Root, name, true), name)
	}
}

// Rename moves a path, replacing a file that is there.
func (m *Machine) Rename(from, to string) { m.must(m.fs.rename(Root, from, to), from) }

// Image returns what program a path is, "" when it is none.
func (m *Machine) Image(name string) string {
	b, err := m.fs.read(Root, name)
	if err != nil {
		return ""
	}
	return image(b)
}

// SetDisk sets size and use of the machine's disk.
func (m *Machine) SetDisk(size, used int64) { m.fs.cap, m.fs.used = size, used }

// Disk returns size and use of the machine's disk.
func (m *Machine) Disk() (size, used int64) { return m.fs.cap, m.fs.used }

func (m *Machine) userName(uid int) string {
	for _, n := range m.accounts {
		if m.users[n].UID == uid {
			return n
		}
	}
	return fmt.Sprint(uid)
}

func (m *Machine) groupName(gid int) string {
	for _, n := range m.accounts {
		if m.users[n].GID == gid && m.users[n].Group != "" {
			return m.users[n].Group
		}
	}
	return fmt.Sprint(gid)
}

// renamed keeps the exe links of running programs right.
func (m *Machine) renamed(from, to string) {
	for _, p := range m.procs {
		if p.Exe == from || strings.HasPrefix(p.Exe, from+"/") {
			p.Exe = to + p.Exe[len(from):]
		}
	}
}

// exeLink is what /proc/PID/exe says.
func (m *Machine) exeLink(p *Proc) string {
	if b, err := m.fs.read(Root, p.Exe); err == nil && (b == p.blob || p.blob == nil) {
		return p.Exe
	}
	return p.Exe + " (deleted)"
}

// ---- processes and services ----

// Spawn starts a program that stays; Image and Exe are taken from exe as it is now.
func (m *Machine) Spawn(p Proc) *Proc {
	m.nextPID += 3
	p.PID = m.nextPID
	if p.PPID == 0 {
		p.PPID = 1
	}
	p.Started = m.world.now
	if real, err := m.fs.stat(Root, p.Exe, true); err == nil && real.ino.kind == kindFile {
		p.Exe, p.blob = real.String(), real.ino.blob
		p.Image = image(p.blob)
	}
	m.procs = append(m.procs, &p) // it has the highest number
	return &p
}

// NewPID is a process number for what only passes by (log prefixes).
func (m *Machine) NewPID() int {
	m.nextPID++
	return m.nextPID
}

// Proc returns a running process, or nil.
func (m *Machine) Proc(pid int) *Proc {
	if i, ok := m.procAt(pid); ok {
		return m.procs[i]
	}
	return nil
}

func (m *Machine) procAt(pid int) (int, bool) {
	return slices.BinarySearchFunc(m.procs, pid, func(p *Proc, pid int) int { return p.PID - pid })
}

// Procs returns the running processes by number.
func (m *Machine) Procs() []*Proc { return slices.Clone(m.procs) }

// FindProc returns the first running process that fits, or nil.
func (m *Machine) FindProc(fits func(*Proc) bool) *Proc {
	if i := slices.IndexFunc(m.procs, fits); i >= 0 {
		return m.procs[i]
	}
	return nil
}

// End removes a process without telling its kind.
func (m *Machine) End(pid int) {
	if i, ok := m.procAt(pid); ok {
		m.procs = slices.Delete(m.procs, i, i+1)
	}
}

// Signal delivers a signal ("TERM", "KILL", …).
func (m *Machine) Signal(p *Proc, sig string) {
	k := m.world.defs.procs[p.Kind]
	switch sig {
	case "0":
		return
	case "STOP", "CONT":
		if p.Stopped != (sig == "STOP") {
			p.Stopped = sig == "STOP"
			if k.Frozen != nil {
				k.Frozen(m.world, m, p, p.Stopped)
			}
		}
		return
	case "KILL":
	default:
		if p.Stopped {
			return // delivered when it goes on; nothing here depends on it
		}
		if k.Signal != nil {
			if !k.Signal(m.world, m, p, sig) {
				return
			}
		} else if !slices.Contains([]string{"TERM", "INT", "QUIT", "HUP"}, sig) {
			return
		}
	}
	m.exit(p, sig)
}

func (m *Machine) exit(p *Proc, sig string) {
	if m.Proc(p.PID) == nil {
		return
	}
	m.End(p.PID)
	if k := m.world.defs.procs[p.Kind]; k.Exit != nil {
		k.Exit(m.world, m, p, sig)
	}
}

// AddService adds a unit that is not active.
func (m *Machine) AddService(s Service) *Service {
	m.services[s.Name] = &s
	return &s
}

// Service returns the unit of that name, or nil.
func (m *Machine) Service(name string) *Service {
	return m.services[strings.TrimSuffix(name, ".service")]
}

// StartService starts a unit; an active one stays as it is.
func (m *Machine) StartService(s *Service) error {
	if s.Active {
		return nil
	}
	if err := m.world.defs.services[s.Kind].Start(m.world, m, s); err != nil {
		s.Failed = true
		return err
	}
	s.Active, s.Failed, s.Since = true, false, m.world.now
	return nil
}

// StopService stops a unit; an inactive one stays as it is.
func (m *Machine) StopService(s *Service) error {
	if !s.Active {
		return nil
	}
	if err := m.world.defs.services[s.Kind].Stop(m.world, m, s); err != nil {
		return err
	}
	s.Active, s.Since = false, m.world.now
	return nil
}

// Listen lets somebody serve connections: network "tcp" with a port as addr, or "unix" with a path.
func (m *Machine) Listen(network, addr string, l Listener) { m.listen[network+" "+addr] = l }

// Unlisten ends that.
func (m *Machine) Unlisten(network, addr string) { delete(m.listen, network+" "+addr) }

// ---- power and link ----

// The events that bring a machine and its link back.
const (
	nodeUp = "sim: node up"
	linkUp = "sim: link up"
)

// Up says whether the machine runs.
func (m *Machine) Up() bool { return m.up }

// PowerOff ends all programs at once, as pulling the plug does.
func (m *Machine) PowerOff() {
	if !m.up {
		return
	}
	m.world.changes()
	m.up = false
	for _, s := range m.services {
		s.Active, s.PID = false, 0
	}
	for _, p := range m.Procs() {
		m.exit(p, "power")
	}
	m.listen = map[string]Listener{}
}

// PowerOn boots the machine and starts its enabled services.
func (m *Machine) PowerOn() {
	if m.up {
		return
	}
	m.world.changes()
	m.up, m.bootedAt = true, m.world.now
	m.boots++
	for _, n := range slices.Sorted(maps.Keys(m.services)) {
		if s := m.services[n]; s.Enabled {
			_ = m.StartService(s) // a unit that fails to start at boot is only seen by systemctl
		}
	}
}

// BootedAt is when the machine was powered on last.
func (m *Machine) BootedAt() time.Time { return m.bootedAt }

// Cut cuts (true) or mends the link to the machine; it runs on meanwhile.
func (m *Machine) Cut(cut bool) {
	if m.cut != cut {
		m.world.changes()
	}
	m.cut = cut
}

// Slow makes each command that comes to the machine take d longer.
func (m *Machine) Slow(d time.Duration) { m.slow = d }

// Connected says whether other machines reach this one.
func (m *Machine) Connected() bool { return m.up && !m.cut }

// ---- host.Host ----

var _ host.Host = (*Machine)(nil)

// Name returns the machine's name.
func (m *Machine) Name() string { return m.name }

// Close does nothing: the machine stays.
func (m *Machine) Close() error { return nil }

// Run runs a command as the login user.
func (m *Machine) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	return m.run(ctx, m.owner(m.Login), c)
}

// As reaches the machine as another user.
func (m *Machine) As(user string) host.Host { return login{m, m.owner(user)} }

type login struct {
	*Machine
	user *User
}

func (l login) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	return l.run(ctx, l.user, c)
}

// Dial connects to what listens on this machine, or on the machine addr names.
func (m *Machine) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	w.catchUp()
	if !m.Connected() {
		return nil, &host.UnreachableError{Node: m.name, Addr: m.Address, Err: syscall.EHOSTUNREACH}
	}
	to, key := m, network+" "+addr
	if network == "tcp" {
		h, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		if h != "localhost" && !strings.HasPrefix(h, "127.") && h != "::1" {
			if to = w.ByAddress(h); to == nil || !to.Connected() {
				return nil, fmt.Errorf("dial %s: %w", addr, syscall.EHOSTUNREACH)
			}
		}
		key = network + " " + port
	}
	l, ok := to.listen[key]
	if !ok {
		err := error(syscall.ECONNREFUSED)
		if network == "unix" && !m.Exists(addr) {
			err = syscall.ENOENT
		}
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	if make := w.defs.servers[l.Kind]; make != nil {
		return newConn(make(w, to, l.Arg)), nil
	}
	here, there := net.Pipe()
	go w.defs.conns[l.Kind](w, to, l.Arg, there) // ends when the caller closes its end
	return here, nil
}

// errLost is what a caller sees whose link broke while a command ran.
var errLost = errors.New("connection lost while the command ran")

func (m *Machine) run(ctx context.Context, u *User, c host.Cmd) (host.Result, error) {
	if ctx.Err() != nil {
		return host.Result{}, context.Cause(ctx)
	}
	if len(c.Argv) == 0 {
		return host.Result{}, errors.New("empty command")
	}
	w := m.world
	w.mu.Lock()
	w.commands++
	p := Point{N: w.commands, Node: m.name, Argv: c.Argv, Before: true, Effect: c.Effect}
	if err := w.ask(p); err != nil {
		w.mu.Unlock()
		return host.Result{}, err
	}
	res, err := m.session(ctx, u, c, p)
	p.Before = false
	if e := w.ask(p); e != nil {
		w.mu.Unlock()
		return host.Result{}, e
	}
	w.mu.Unlock()
	return res, err
}

// ask calls the world's hook without the lock.
func (w *World) ask(p Point) error {
	if w.OnCommand == nil {
		return nil
	}
	w.mu.Unlock()
	defer w.mu.Lock()
	return w.OnCommand(p)
}

func (m *Machine) session(ctx context.Context, u *User, c host.Cmd, p Point) (host.Result, error) {
	w := m.world
	w.catchUp()
	rec := Ran{N: p.N, At: w.now, Node: m.name, User: u.Name, Argv: c.Argv, Effect: c.Effect}
	note := func() {
		rec.Took = w.now.Sub(rec.At)
		if !w.noTrace {
			w.trace = append(w.trace, rec)
		}
	}
	f := w.faultsFor(m, p)
	if f.unreachable || !m.Connected() {
		rec.Lost = "unreachable"
		w.advanceTo(w.now.Add(time.Second))
		note()
		return host.Result{}, &host.UnreachableError{Node: m.name, Addr: m.Address, Err: syscall.EHOSTUNREACH}
	}
	if f.lostBefore {
		rec.Lost = "link lost before"
		note()
		return host.Result{}, &host.LostError{Node: m.name, Argv: c.Argv, Err: errLost}
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = host.DefaultTimeout
	}
	r := w.command()
	*r = running{sess: session{ctx: ctx, m: m}, in: input{r: c.Stdin}, out: buffer{w.scratch()}, err: buffer{w.scratch()}}
	if timeout > 0 {
		r.sess.deadline = w.now.Add(timeout)
	}
	r.call = Call{
		World: w, Machine: m, User: u, Env: m.loginEnv(u), login: true, Dir: u.Home,
		Argv: c.Argv, in: &r.in, sess: &r.sess, out: &r.out, err: &r.err,
	}
	rec.Ran = true
	code, ended := r.call.top(cost + m.slow + f.delay)
	stdout, stderr := w.result(&r.out), w.result(&r.err)
	w.idle = append(w.idle, r)
	if w.strikeAfter(m, f, p) || ended != nil {
		if ended == nil {
			ended = errLost
		}
		rec.Lost, rec.Code = ended.Error(), code
		note()
		if errors.Is(ended, errLost) {
			return host.Result{}, &host.LostError{Node: m.name, Argv: c.Argv, Err: ended}
		}
		return host.Result{}, &host.EndedError{Node: m.name, Argv: c.Argv, Gone: true, Err: ended}
	}
	rec.Code = code
	note()
	if code != 0 {
		return host.Result{}, &host.ExitError{Node: m.name, Argv: c.Argv, Code: code, Stdout: stdout, Stderr: stderr}
	}
	return host.Result{Stdout: stdout, Stderr: stderr}, nil
}

// running is what one command over a link needs.
type running struct {
	call     Call
	sess     session
	in       input
	out, err buffer
}

// command is room for a command that is to run: it was another's before.
func (w *World) command() *running {
	if len(w.idle) == 0 {
		return new(running)
	}
	r := w.idle[len(w.idle)-1]
	w.idle = w.idle[:len(w.idle)-1]
	return r
}

// scratch is room for what a command says: it was another's before.
func (w *World) scratch() []byte {
	if len(w.spare) == 0 {
		return nil
	}
	b := w.spare[len(w.spare)-1]
	w.spare = w.spare[:len(w.spare)-1]
	return b
}

// result is what was said; its room goes to the next command.
func (w *World) result(b *buffer) []byte {
	said := b.b
	b.b = nil
	if cap(said) > 0 && cap(said) <= 64<<10 {
		w.spare = append(w.spare, said[:0])
		said = bytes.Clone(said)
	}
	if len(said) == 0 {
		return nil
	}
	return said
}

// cost is the time that a command takes by itself.
const cost = 2 * time.Millisecond

// loginEnv is the environment of a new login. It is the same map each time.
func (m *Machine) loginEnv(u *User) map[string]string {
	e := m.world.defs.envs
	e.Lock()
	defer e.Unlock()
	env := e.login[u]
	if env != nil {
		return env
	}
	env = make(map[string]string, len(u.Env)+5)
	env["HOME"], env["USER"], env["LOGNAME"], env["SHELL"] = u.Home, u.Name, u.Name, "/bin/bash"
	env["PATH"] = "/usr/local/bin:/usr/bin"
	maps.Copy(env, u.Env)
	e.login[u] = env
	return env
}

// envs are environments that were made before, for all clones of a world:
// they never change, and every command needs one.
type envs struct {
	sync.Mutex
	login   map[*User]map[string]string
	profile map[profiled]map[string]string
}

// profiled is a login that has sourced a file.
type profiled struct {
	user *User
	file [32]byte // its digest
}
