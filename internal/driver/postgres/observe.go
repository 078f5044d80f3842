package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// The roles of a node.
const (
	rolePrimary = "primary"
	roleStandby = "standby" // streams from the primary
	roleCascade = "cascade" // streams from a standby
)

// The health words, from bad to good.
const (
	healthDown      = "down"
	healthDetached  = "detached" // runs as a standby and follows nobody
	healthStreaming = "streaming"
	healthPrimary   = "primary"
)

// healthRank orders the health words for verify (invariant I7): a standby that
// streams is as good as a primary, since roles move.
func healthRank(h string) int {
	return map[string]int{healthDown: 1, healthDetached: 2, healthStreaming: 3, healthPrimary: 3}[h]
}

// seen is what was observed of one node.
type seen struct {
	conf
	Reachable bool
	Trouble   say.Text // why the machine or the server could not be read
	HostKey   bool     // the trouble is the host key
	// What lies on the machine.
	Login, Owner string
	Mode         string
	Proc         process
	Link         string // where current points
	Installed    string
	Releases     []string // directories below base that look like releases
	Signal       bool     // standby.signal is there
	Control      control
	ControlBad   string
	Room         []room
	Arch         string // uname -s, -m
	Agents       []string
	Leftovers    []string
	Offset       time.Duration // the machine's clock against the control machine's
	// What the server says.
	SQL       bool
	ID        identity
	Settings  map[string]setting
	Conninfo  conninfo // without password
	InfoFrom  setting  // where primary_conninfo stands
	Receiver  receiver
	Paused    bool // somebody has paused its replay
	Senders   []sender
	Slots     []slot
	Upstream  string // node; "" unknown or none
	Libraries []library
	Long      []session
	Prepared  []string
	Collation []collation
	Role      string
	Lag       int64 // bytes behind the primary's position of about the same time
}

// room is one file system that the upgrade writes to.
type room struct {
	Path        string
	Free, Total int64
	Mount       string
}

// library is a loadable module that a database or a setting names.
type library struct{ Name, Where string }

type session struct {
	PID, User, Database, State string
	Age                        time.Duration
}

type collation struct{ What, Recorded, Actual string }

// app is the application_name under which the standby streams (PostgreSQL
// manual, 19.6.3 and cluster_name).
func (n *seen) app() string {
	if a := n.Conninfo.get("application_name"); a != "" {
		return a
	}
	if a := n.Settings["cluster_name"].Value; a != "" {
		return a
	}
	return "walreceiver"
}

func (n *seen) health() string {
	switch {
	case !n.SQL:
		return healthDown
	case !n.ID.Recovery:
		return healthPrimary
	case n.Receiver.streams():
		return healthStreaming
	}
	return healthDetached
}

// view is the driver's own observation of the cluster.
type view struct{ Nodes []*seen }

func (v *view) node(name string) *seen {
	for _, n := range v.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// primaries are the nodes that accept writes.
func (v *view) primaries() []*seen {
	var out []*seen
	for _, n := range v.Nodes {
		if n.SQL && !n.ID.Recovery {
			out = append(out, n)
		}
	}
	return out
}

// children are the nodes that stream from a node, in the inventory's order.
func (v *view) children(name string) []*seen {
	var out []*seen
	for _, n := range v.Nodes {
		if n.Upstream == name && n.Role != rolePrimary {
			out = append(out, n)
		}
	}
	return out
}

// Observe reads every node; one that does not answer does not stop the others.
func (d *Driver) Observe(ctx context.Context, env driver.Env) (driver.Observation, error) {
	v, err := look(ctx, env)
	if err != nil {
		return driver.Observation{}, err
	}
	o := driver.Observation{Driver: d.Name(), Cluster: env.Inventory.Cluster, Detail: v}
	for _, n := range v.Nodes {
		o.Nodes = append(o.Nodes, n.shown())
	}
	o.Release = commonRelease(o.Nodes)
	o.Facts = v.facts()
	return o, nil
}

func (n *seen) shown() driver.Node {
	h := n.health()
	return driver.Node{
		Name: n.Name, Reachable: n.Reachable, Trouble: n.Trouble.EN, Role: n.Role,
		Running: n.ID.Version, Installed: n.Installed,
		Healthy: h == healthPrimary || h == healthStreaming, Health: h,
	}
}

func commonRelease(nodes []driver.Node) string {
	release := ""
	for _, n := range nodes {
		if n.Running == "" || release != "" && n.Running != release {
			return ""
		}
		release = n.Running
	}
	return release
}

func look(ctx context.Context, env driver.Env) (*view, error) {
	names := env.Inventory.Names()
	v := &view{Nodes: make([]*seen, len(names))}
	errs := make([]error, len(names))
	each(env, len(names), func(i int) { v.Nodes[i], errs[i] = lookAt(ctx, env, names[i]) })
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	v.relate()
	return v, nil
}

// each runs fn for 0…n-1, beside each other unless the environment is serial.
func each(env driver.Env, n int, fn func(int)) {
	var all sync.WaitGroup
	for i := range n {
		if env.Serial {
			fn(i)
			continue
		}
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

// lookAt reads one node. Only the end of the context is an error.
func lookAt(ctx context.Context, env driver.Env, name string) (*seen, error) {
	s, err := siteOf(env, name)
	if err != nil {
		return nil, err
	}
	n := &seen{conf: s.conf}
	if err := s.lookMachine(ctx, n); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n.Trouble = say.Of(err)
		n.HostKey = isHostKey(err)
		n.Reachable = !gone(err)
		return n, nil
	}
	n.Reachable = true
	if err := s.lookServer(ctx, n); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n.SQL = false
		n.Trouble = say.Of(err)
	}
	return n, nil
}

// lookMachine reads what lies on the machine. What a machine does not tell
// (a missing file, no permission) stays empty and is the checks' business.
func (s *site) lookMachine(ctx context.Context, n *seen) error {
	before := s.env.Clock.Now()
	now, err := s.text(ctx, "date", "+%s.%N")
	if err != nil {
		return err
	}
	if t, err := parseEpoch(now); err == nil {
		n.Offset = t.Sub(before.Add(s.env.Clock.Now().Sub(before) / 2)).Round(time.Millisecond)
	}
	asks := []func(context.Context, *seen) error{s.lookFiles, s.lookSoftware, s.lookRoom, s.lookAgents}
	for _, ask := range asks {
		if err := ask(ctx, n); err != nil && !host.IsExit(err) {
			return err
		}
	}
	return nil
}

func (s *site) lookFiles(ctx context.Context, n *seen) (err error) {
	if n.Login, err = s.text(ctx, "id", "-un"); err != nil {
		return err
	}
	if st, err := host.Stat(ctx, s.host, s.Data); err == nil {
		n.Owner, n.Mode = st.Owner, fmt.Sprintf("%04o", st.Mode.Perm())
	}
	if n.Proc, err = s.process(ctx); err != nil {
		return err
	}
	if n.Signal, err = s.exists(ctx, s.signal()); err != nil {
		return err
	}
	if n.Control, err = s.control(ctx); err != nil {
		n.ControlBad = err.Error()
		if gone(err) {
			return err
		}
	}
	return nil
}

func (s *site) lookSoftware(ctx context.Context, n *seen) (err error) {
	n.Link, n.Installed, err = s.installed(ctx)
	if err != nil && !host.IsExit(err) {
		return err
	}
	names, err := s.text(ctx, "ls", "-A", s.Base)
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(names) {
		switch {
		case strings.Contains(name, ".partial"), name == ".current.new":
			n.Leftovers = append(n.Leftovers, s.Base+"/"+name)
		case name != "current" && name[0] != '.':
			n.Releases = append(n.Releases, name)
		}
	}
	os, err := s.text(ctx, "uname", "-sm")
	n.Arch = os
	return err
}

func (s *site) lookRoom(ctx context.Context, n *seen) error {
	for _, dir := range []string{s.Base, s.Data} {
		out, err := s.text(ctx, "df", "-P", "-k", dir)
		if err != nil {
			return err
		}
		if r, ok := parseDF(out); ok {
			r.Path = dir
			n.Room = append(n.Room, r)
		}
	}
	return nil
}

// parseDF reads the second line of `df -P -k` (POSIX): file system, blocks,
// used, available, capacity, mounted on.
func parseDF(out string) (room, bool) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	f := strings.Fields(lines[len(lines)-1])
	if len(lines) < 2 || len(f) < 6 {
		return room{}, false
	}
	total, err1 := strconv.ParseInt(f[1], 10, 64)
	free, err2 := strconv.ParseInt(f[3], 10, 64)
	return room{Total: total << 10, Free: free << 10, Mount: strings.Join(f[5:], " ")}, err1 == nil && err2 == nil
}

// agents are programs that start a server again which we stop, or move roles.
var agents = []string{"patroni", "repmgrd", "pg_autoctl", "pacemakerd", "stolon-keeper", "efm"}

func (s *site) lookAgents(ctx context.Context, n *seen) error {
	out, err := s.text(ctx, "ps", "-eo", "args=")
	if err != nil {
		return err
	}
	n.Agents = agentsIn(out)
	return nil
}

// agentsIn finds the agents in a list of command lines. Only the program's own
// name and, for interpreters, the script's name count: an editor that has
// patroni.yml open is no agent.
func agentsIn(ps string) []string {
	var found []string
	for _, line := range strings.Split(ps, "\n") {
		f := strings.Fields(line)
		for i, w := range f[:min(len(f), 2)] {
			name := w[strings.LastIndexByte(w, '/')+1:]
			if i == 1 && !strings.Contains(f[0], "python") {
				break
			}
			if slices.Contains(agents, strings.TrimSuffix(name, ":")) {
				found = append(found, name)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// lookServer asks the server. One that does not run is no error.
func (s *site) lookServer(ctx context.Context, n *seen) error {
	if !n.Proc.running() {
		return nil
	}
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if n.ID, err = c.identity(ctx); err != nil {
		return err
	}
	n.SQL = true
	if n.Settings, err = c.settings(ctx); err != nil {
		return err
	}
	var ci conninfo
	if ci, n.InfoFrom, err = c.conninfo(ctx); err != nil {
		return err
	}
	n.InfoFrom.Value = ""
	n.Conninfo = ci.without("password", "sslpassword")
	if n.Receiver, err = c.receiver(ctx); err != nil {
		return err
	}
	if n.ID.Recovery {
		if n.Paused, err = c.replayPaused(ctx); err != nil {
			return err
		}
	}
	if n.Senders, err = c.senders(ctx); err != nil {
		return err
	}
	if n.Slots, err = c.slots(ctx, n.ID.Major); err != nil {
		return err
	}
	return s.lookInside(ctx, c, n)
}

// relate works out who follows whom, the roles and the lags.
func (v *view) relate() {
	for _, n := range v.Nodes {
		if n.SQL && n.ID.Recovery {
			n.Upstream = v.upstreamOf(n)
		}
	}
	for _, n := range v.Nodes {
		if !n.SQL {
			continue
		}
		n.Role = rolePrimary
		if n.ID.Recovery {
			n.Role = roleStandby
			if up := v.node(n.Upstream); up != nil && up.ID.Recovery {
				n.Role = roleCascade
			}
		}
	}
	ps := v.primaries()
	if len(ps) != 1 {
		return
	}
	for _, n := range v.Nodes {
		if n.Role != rolePrimary && n.SQL && ps[0].ID.Current > n.ID.Replayed {
			n.Lag = int64(ps[0].ID.Current - n.ID.Replayed)
		}
	}
}

// upstreamOf finds the node that a standby streams from: by the address that
// its receiver reports or, while it does not stream, by what it is told to
// connect to; at last by the name under which somebody sends to it.
func (v *view) upstreamOf(n *seen) string {
	h, p := n.Receiver.Host, n.Receiver.Port
	if h == "" {
		h, p = n.Conninfo.get("host"), cmp.Or(n.Conninfo.get("port"), "5432")
		if a := n.Conninfo.get("hostaddr"); a != "" {
			h = a
		}
	}
	for _, u := range v.Nodes {
		if u != n && u.Port == p && (u.Address == h || u.Host == h) {
			return u.Name
		}
	}
	var senders []string
	for _, u := range v.Nodes {
		if u != n && slices.ContainsFunc(u.Senders, func(s sender) bool { return s.App == n.app() }) {
			senders = append(senders, u.Name)
		}
	}
	if len(senders) == 1 && n.app() != "walreceiver" {
		return senders[0]
	}
	return ""
}

// frozen are parameters that a standby must not have smaller than its primary
// (PostgreSQL manual, 27.4.3), and others that must not change during the run.
var frozen = []string{"max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction", "wal_level"}

// facts are what the plan's digest covers.
func (v *view) facts() []plan.Fact {
	var out []plan.Fact
	for _, n := range v.Nodes {
		add := func(name, value string) { out = append(out, plan.Fact{Node: n.Name, Name: name, Value: value}) }
		add("reachable", strconv.FormatBool(n.Reachable))
		add("role", n.Role)
		add("running", n.ID.Version)
		add("installed", n.Installed)
		add("upstream", n.Upstream)
		add("data", n.Data)
		add("system", n.ID.SystemID)
		if !n.SQL {
			continue
		}
		add("slot", n.Settings["primary_slot_name"].Value)
		add("name", n.app())
		add("sync", n.Settings["synchronous_standby_names"].Value)
		for _, p := range frozen {
			add(p, n.Settings[p].Value)
		}
	}
	return out
}
