package gbase8a

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// member is one instance of the cluster as the plan saw it.
type member struct {
	Name, IP           string
	Coor, Gcware, Data bool
	Root               string // "<prefix>" or "<prefix>/<ip>"
	Python             string // the python that imports gcware; "" where there is none
}

// gcwareBase is the base of gcware on the instance.
func (m member) gcwareBase() string { return m.Root + "/gcware" }

// roles tells them in one word.
func (m member) roles() string {
	var r []string
	for _, x := range []struct {
		is   bool
		name string
	}{{m.Coor, "coordinator"}, {m.Gcware, "gcware"}, {m.Data, "data"}} {
		if x.is {
			r = append(r, x.name)
		}
	}
	return strings.Join(r, "+")
}

// expected are the processes of the instance when everything runs.
func (m member) expected(gen Generation) []string {
	var p []string
	if m.Coor {
		p = append(p, "gclusterd", "gcrecover")
	}
	if m.Data {
		p = append(p, "gbased", "gc_sync_server")
	}
	if m.Coor || m.Data {
		p = append(p, "gcmonit", "gcmmonit")
	}
	if m.Gcware {
		p = append(p, "gcware")
	}
	if m.Gcware && gen == V953 {
		p = append(p, "gcware_monit", "gcware_mmonit")
	}
	slices.Sort(p)
	return p
}

// site is a cluster as a plan saw it, with the means to reach it. It is made
// from the plan's facts, so that actions also work when gcadmin does not answer.
type site struct {
	driver.Env
	Gen     Generation
	VCs     []string // names; one empty name for the single mode
	Members []member
	confs   map[string]conf
	opts    options
	plan    *plan.Plan
	report  func(say.Text)
	// limit shortens the status calls of a wait; see hurry.
	limit time.Duration
}

// firstLimit is the time that the first status call of a wait gets.
const firstLimit = 3 * time.Second

// hurry gives the status calls of a wait little time at first and twice as
// much each time, up to the setting: while gcware forms its majority gcadmin
// blocks, and only a new call sees that it has.
func (s *site) hurry() {
	if s.limit == 0 {
		s.limit = firstLimit
	} else if s.limit < time.Hour {
		s.limit *= 2
	}
}

// statusWait is the hard limit of a gcadmin call now.
func (s *site) statusWait(node string) time.Duration {
	if w := s.conf(node).StatusWait; s.limit == 0 || w < s.limit {
		return w
	}
	return s.limit
}

// The names of the facts that a plan holds.
const (
	factGeneration = "generation"
	factVCs        = "virtual clusters"
	factRoles      = "roles"
	factRoot       = "root"
	factPython     = "python"
	factInstalled  = "installed"
	factIP         = "address"
	factDist       = "distributions"
)

func siteOf(t driver.Target) (*site, error) {
	opts, err := optionsOf(t.Plan.Request)
	if err != nil {
		return nil, err
	}
	s := &site{Env: t.Env, opts: opts, plan: t.Plan, report: t.Report, confs: make(map[string]conf, len(t.Inventory.Nodes))}
	if s.report == nil {
		s.report = func(say.Text) {}
	}
	fact := func(node, name string) string {
		for i := range t.Plan.Facts {
			if f := &t.Plan.Facts[i]; f.Name == name && f.Node == node {
				return f.Value
			}
		}
		return ""
	}
	s.Gen = Generation(fact("", factGeneration))
	s.VCs = strings.Split(fact("", factVCs), ",")
	s.Members = make([]member, 0, len(t.Inventory.Nodes))
	for _, n := range t.Inventory.Nodes {
		s.confs[n.Name] = confOf(n.Settings)
		m := member{Name: n.Name, IP: fact(n.Name, factIP), Root: fact(n.Name, factRoot), Python: fact(n.Name, factPython)}
		for role := range strings.SplitSeq(fact(n.Name, factRoles), "+") {
			m.Coor, m.Gcware, m.Data = m.Coor || role == "coordinator", m.Gcware || role == "gcware", m.Data || role == "data"
		}
		s.Members = append(s.Members, m)
	}
	return s, nil
}

func (s *site) member(name string) member {
	for _, m := range s.Members {
		if m.Name == name {
			return m
		}
	}
	return member{Name: name}
}

func (s *site) conf(node string) conf { return s.confs[node] }

// with returns the members that fit.
func (s *site) with(fits func(member) bool) []member {
	out := make([]member, 0, len(s.Members))
	for _, m := range s.Members {
		if fits(m) {
			out = append(out, m)
		}
	}
	return out
}

func (s *site) coordinators() []member { return s.with(func(m member) bool { return m.Coor }) }
func (s *site) gcware() []member       { return s.with(func(m member) bool { return m.Gcware }) }

// each runs fn for all members, at once unless the run is serial, and joins the errors.
func each(serial bool, ms []member, fn func(member) error) error {
	errs := make([]error, len(ms))
	if serial {
		for i, m := range ms {
			errs[i] = fn(m)
		}
		return errors.Join(errs...)
	}
	var all sync.WaitGroup
	for i, m := range ms {
		all.Go(func() { errs[i] = fn(m) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// sourced is a command in the node's environment: a plain ssh command reads no
// profile, and with several instances on a machine each needs its own (spec section 1).
func sourced(c conf, cmd host.Cmd) host.Cmd {
	for _, p := range slices.Backward(c.Profiles) {
		cmd = host.Sourced(p, cmd)
	}
	return cmd
}

// ask runs a tool that only reads.
func (s *site) ask(ctx context.Context, node string, argv ...string) (host.Result, error) {
	cmd := host.Read(argv...)
	cmd.Timeout = s.conf(node).StatusWait
	return s.Hosts[node].Run(ctx, sourced(s.conf(node), cmd))
}

// do runs a tool that changes something.
func (s *site) do(ctx context.Context, node string, timeout time.Duration, argv ...string) (host.Result, error) {
	cmd := host.Change(argv...)
	cmd.Timeout = timeout
	return s.Hosts[node].Run(ctx, sourced(s.conf(node), cmd))
}

// SilentError is a status call that was not answered in time: a majority of
// gcware is down, or the node hangs (G29).
type SilentError struct {
	Node string
	Argv []string
	Wait time.Duration
	Err  error
}

func (e *SilentError) Error() string { return e.Say().EN }

// Unwrap returns the cause.
func (e *SilentError) Unwrap() error { return e.Err }

// Say tells it.
func (e *SilentError) Say() say.Text {
	cmd := strings.Join(e.Argv, " ")
	return say.F("%s: %s did not answer within %s: a majority of gcware is down, or the node hangs", "%s：%s 在 %s 内没有应答：多数 gcware 已停止，或该节点无响应", e.Node, cmd, e.Wait)
}

// silent tells a call without an answer from one that was answered; the
// context's own end stays what it is.
func silent(ctx context.Context, node string, wait time.Duration, argv []string, err error) error {
	var gone *host.UnreachableError
	if err == nil || ctx.Err() != nil || host.IsExit(err) || errors.As(err, &gone) {
		return err
	}
	return &SilentError{node, argv, wait, err}
}

// shortLimit is what a status call outside a wait gets at first.
const shortLimit = 5 * time.Second

// gcadmin runs a gcadmin command that only reads on one coordinator. One that
// is silent for a while is given up at once where no majority of gcware runs:
// it would block for its whole time. Otherwise it is asked again, with that.
func (s *site) gcadmin(ctx context.Context, node string, args ...string) (string, error) {
	limit := s.statusWait(node)
	if s.limit > 0 || limit <= shortLimit {
		return s.gcadminWithin(ctx, limit, node, args)
	}
	out, err := s.gcadminWithin(ctx, shortLimit, node, args)
	var quiet *SilentError
	if !errors.As(err, &quiet) || s.noMajority(ctx) {
		return out, err
	}
	return s.gcadminWithin(ctx, limit, node, args)
}

func (s *site) gcadminWithin(ctx context.Context, limit time.Duration, node string, args []string) (string, error) {
	argv := append([]string{"gcadmin"}, args...)
	cmd := host.Read(argv...)
	cmd.Timeout = limit
	res, err := s.Hosts[node].Run(ctx, sourced(s.conf(node), cmd))
	return string(res.Stdout), silent(ctx, node, limit, argv, err)
}

// noMajority: on half of the gcware nodes or more it is seen not to run. A node
// that does not answer may run it.
func (s *site) noMajority(ctx context.Context) bool {
	all := s.gcware()
	down := 0
	for _, m := range all {
		if up, err := s.gcwareUp(ctx, m); err == nil && !up {
			down++
		}
	}
	return down > 0 && 2*down >= len(all)
}

// anyGcadmin asks the coordinators one after another until one answers. After
// two silent ones it gives up: each costs the whole time limit.
func (s *site) anyGcadmin(ctx context.Context, args ...string) (out, node string, err error) {
	silents := 0
	var errs []error
	for _, m := range s.coordinators() {
		out, err := s.gcadmin(ctx, m.Name, args...)
		if err == nil {
			return out, m.Name, nil
		}
		errs = append(errs, err)
		var quiet *SilentError
		if errors.As(err, &quiet) {
			silents++
		}
		if ctx.Err() != nil || silents == 2 {
			break
		}
	}
	if len(errs) == 0 {
		return "", "", say.Errorf("the plan knows no coordinator", "计划中没有协调节点")
	}
	return "", "", errors.Join(errs...)
}

// vcArgs are the words that point a gcadmin command to a virtual cluster.
func vcArgs(vc string) []string {
	if vc == "" {
		return nil
	}
	return []string{"vc", vc}
}

// status is gcadmin's answer about one virtual cluster, or the single one.
func (s *site) status(ctx context.Context, vc string) (*Status, error) {
	args := []string(nil)
	if vc != "" {
		args = []string{"showcluster", "vc", vc}
	}
	out, node, err := s.anyGcadmin(ctx, args...)
	if err != nil {
		return nil, err
	}
	st, err := ParseStatus(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node, err)
	}
	return st, nil
}

// processes are those of one instance.
func (s *site) processes(ctx context.Context, m member) ([]Process, error) {
	return processesOf(ctx, s.Hosts[m.Name], s.conf(m.Name).DBAUser, []string{m.Root})
}

func processesOf(ctx context.Context, h host.Host, user string, bases []string) ([]Process, error) {
	res, err := h.Run(ctx, host.Read("ps", "-u", user, "-o", "pid=,comm=,args="))
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code == 1 && len(exit.Stdout) == 0 {
		return nil, nil // no process at all
	}
	if err != nil {
		return nil, err
	}
	return ParseProcesses(string(res.Stdout), bases), nil
}

// snapshots lists the snapshot directory of a gcware node. An entry that is
// renamed while find looks makes find fail once; the second look settles it.
func (s *site) snapshots(ctx context.Context, m member) (SnapshotDir, error) {
	var err error
	for range 3 {
		var res host.Result
		if res, err = s.Hosts[m.Name].Run(ctx, host.Read(ListSnapshots(m.gcwareBase())...)); err == nil {
			var d SnapshotDir
			if d, err = ParseSnapshots(string(res.Stdout)); err != nil {
				err = fmt.Errorf("%s: %w", m.Name, err)
			}
			return d, err
		}
		if !host.IsExit(err, 1) {
			break
		}
	}
	return SnapshotDir{}, err
}

// allSnapshots lists all gcware nodes; one that cannot be listed is an error,
// since overlooking it would break G02.
func (s *site) allSnapshots(ctx context.Context) (map[string]SnapshotDir, error) {
	var mu sync.Mutex
	dirs := map[string]SnapshotDir{}
	err := each(s.Serial, s.gcware(), func(m member) error {
		d, err := s.snapshots(ctx, m)
		mu.Lock()
		defer mu.Unlock()
		dirs[m.Name] = d
		return err
	})
	return dirs, err
}

// innerSize is how many bytes lie in a directory.
func (s *site) innerSize(ctx context.Context, node, dir string) string {
	res, err := s.Hosts[node].Run(ctx, host.Read("du", "-sb", dir))
	if err != nil {
		return ""
	}
	size, _, _ := strings.Cut(res.Text(), "\t")
	return size
}

// optionFile quotes a value of an option file.
var optionFile = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sql asks a coordinator's gclusterd. The password travels in an option file
// on standard input [A: gccli reads it as the mysql clients do].
func (s *site) sql(ctx context.Context, node, query string) (string, error) {
	c := s.conf(node)
	password, err := s.Secret(node, secretDB)
	if err != nil {
		return "", say.Errorf("%s: password of %s: %w", "%s：%s 的口令：%w", node, c.DBUser, err)
	}
	cmd := host.Read("gccli", "--defaults-extra-file=/dev/stdin", "-h127.0.0.1", "-P"+c.DBPort, "-N", "-e", query)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("[client]\nuser=\"%s\"\npassword=\"%s\"\n", optionFile.Replace(c.DBUser), optionFile.Replace(password)))
	cmd.Timeout = c.StatusWait
	res, err := s.Hosts[node].Run(ctx, sourced(c, cmd))
	return string(res.Stdout), silent(ctx, node, c.StatusWait, []string{"gccli"}, err)
}

// exists reports whether a file is there.
func exists(ctx context.Context, h host.Host, name string) (bool, error) {
	_, err := host.Stat(ctx, h, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// workDir is where a release's package is unpacked on the executing coordinator.
func workDir(c conf, to string) string { return path.Join(c.WorkDir, to) }
