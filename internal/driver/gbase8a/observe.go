package gbase8a

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
)

// view is what was seen of a cluster, for Checks and Plan.
type view struct {
	gen      Generation
	status   *Status            // the root view; nil when nobody answered
	vcs      map[string]*Status // by virtual cluster; the single one has no name
	names    []string           // of the virtual clusters, in gcadmin's order
	statusBy string             // the coordinator that answered
	err      error              // why there is no status
	nodes    []nodeView         // in the inventory's order
}

// nodeView is one instance.
type nodeView struct {
	member
	err       error
	login     string
	tools     map[string]string // name to path
	procs     []Process
	installed string
	running   string
	rows      []Row // of all tables, by address
}

func (v *view) node(name string) *nodeView {
	for i := range v.nodes {
		if v.nodes[i].Name == name {
			return &v.nodes[i]
		}
	}
	return nil
}

// with returns the nodes that fit.
func (v *view) with(fits func(member) bool) []nodeView {
	var out []nodeView
	for _, n := range v.nodes {
		if fits(n.member) {
			out = append(out, n)
		}
	}
	return out
}

// lookedFor are the programs whose places tell the instance's layout (spec section 1).
var lookedFor = []string{"gcadmin", "gcluster_services", "gcware_services", "gclusterd", "gbased", "gcware", "gccli"}

// Observe reads every instance and asks one coordinator for the cluster's
// state. A gcadmin that does not answer leaves a view without a state.
func (Driver) Observe(ctx context.Context, env driver.Env) (driver.Observation, error) {
	v := &view{vcs: map[string]*Status{}}
	s := &site{Env: env, confs: map[string]conf{}}
	for _, n := range env.Inventory.Nodes {
		s.confs[n.Name] = confOf(n.Settings)
		s.Members = append(s.Members, member{Name: n.Name, IP: n.Address})
	}
	seen := make([]nodeView, len(s.Members))
	var mu sync.Mutex
	_ = each(env.Serial, s.Members, func(m member) error {
		n := s.look(ctx, m)
		mu.Lock()
		defer mu.Unlock()
		seen[slices.IndexFunc(s.Members, func(o member) bool { return o.Name == m.Name })] = n
		return nil
	})
	if err := ctx.Err(); err != nil {
		return driver.Observation{}, context.Cause(ctx)
	}
	v.nodes = seen
	s.askState(ctx, v)
	v.settleRoles()
	for i := range v.nodes {
		s.settleRunning(ctx, v, &v.nodes[i])
	}
	return v.observation(env.Inventory), nil
}

// look reads one instance: who logs in, where the programs lie, what runs.
func (s *site) look(ctx context.Context, m member) nodeView {
	n := nodeView{member: m}
	h := s.Hosts[m.Name]
	res, err := h.Run(ctx, host.Read("id", "-un"))
	if err != nil {
		n.err = err
		return n
	}
	n.login = res.Text()
	if n.tools, n.err = s.findTools(ctx, m); n.err != nil {
		return n
	}
	n.Root = rootOf(n.tools)
	n.Python = s.findPython(ctx, n)
	n.installed, n.err = s.installed(ctx, m, n.tools)
	if n.err == nil {
		n.procs, n.err = processesOf(ctx, h, s.conf(m.Name).DBAUser, rootBase(n.Root))
	}
	return n
}

// findTools asks for the places of the programs.
func (s *site) findTools(ctx context.Context, m member) (map[string]string, error) {
	res, err := s.ask(ctx, m.Name, append([]string{"which"}, lookedFor...)...)
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code == 1 {
		res, err = host.Result{Stdout: exit.Stdout}, nil // those it found, it printed
	}
	tools := map[string]string{}
	for _, file := range splitLines(string(res.Stdout)) {
		tools[path.Base(file)] = file
	}
	return tools, err
}

func rootBase(root string) []string {
	if root == "" {
		return nil
	}
	return []string{root}
}

// rootOf finds the instance's root from where its programs lie:
// <root>/gcluster/server/bin, <root>/gnode/server/bin, <root>/gcware/bin.
func rootOf(tools map[string]string) string {
	for _, t := range []struct{ name, tail string }{
		{"gcluster_services", "/gcluster/server/bin/gcluster_services"}, {"gcadmin", "/gcware/bin/gcadmin"},
		{"gcware_services", "/gcware/sbin/gcware_services"}, {"gbased", "/gnode/server/bin/gbased"},
	} {
		if root, ok := strings.CutSuffix(tools[t.name], t.tail); ok {
			return root
		}
	}
	return ""
}

// findPython is the python that imports the gcware module (G27); only
// coordinators have it.
func (s *site) findPython(ctx context.Context, n nodeView) string {
	if n.tools["gcadmin"] == "" {
		return ""
	}
	names := []string{"python", "python2"}
	if p := s.conf(n.Name).Python; p != "" {
		names = []string{p}
	}
	for _, p := range names {
		if _, err := s.ask(ctx, n.Name, p, "-c", "import gcware"); err == nil {
			return p
		}
	}
	return ""
}

// installed is the release of an instance's files; releases of its parts that
// differ are all named: half an upgrade must not look like a whole one.
func (s *site) installed(ctx context.Context, m member, tools map[string]string) (string, error) {
	var found []string
	for _, t := range []struct{ tool, flag string }{{"gcadmin", "-V"}, {"gbased", "--version"}, {"gcware", "--version"}} { // [A] but for gcadmin
		if tools[t.tool] == "" {
			continue
		}
		res, err := s.ask(ctx, m.Name, t.tool, t.flag)
		if err != nil && !host.IsExit(err) {
			return "", err
		}
		if v := ParseVersion(string(res.Stdout) + string(res.Stderr)); v != "" {
			found = append(found, v)
		}
	}
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " and "), nil
}

// askState asks gcadmin on one coordinator after another.
func (s *site) askState(ctx context.Context, v *view) {
	v.gen = V952
	for i := range v.nodes {
		n := &v.nodes[i]
		n.Coor, n.Gcware = n.tools["gcadmin"] != "", n.tools["gcware"] != ""
		s.Members[i] = n.member
		if n.tools["gcware_services"] != "" {
			v.gen = V953
		}
	}
	var out string
	out, v.statusBy, v.err = s.anyGcadmin(ctx)
	if v.err == nil {
		v.status, v.err = ParseStatus(out)
	}
	if v.err != nil {
		return
	}
	v.gen = v.status.Generation()
	if v.status.VCNames == nil {
		v.names, v.vcs[""] = []string{""}, v.status
		return
	}
	v.names = v.status.VCNames
	for _, vc := range v.names { // nodes and mode of a virtual cluster show only there (spec section 4.3)
		out, err := s.gcadmin(ctx, v.statusBy, "showcluster", "vc", vc)
		if err == nil {
			v.vcs[vc], err = ParseStatus(out)
		}
		if err != nil {
			v.status, v.err = nil, err
			return
		}
	}
}

// settleRoles takes roles from gcadmin's tables, which count more than files.
func (v *view) settleRoles() {
	for i := range v.nodes {
		n := &v.nodes[i]
		if v.status == nil {
			n.Coor, n.Data = n.tools["gclusterd"] != "", n.tools["gbased"] != ""
			n.Gcware = n.tools["gcware"] != ""
			continue
		}
		mine := func(rows []Row) bool {
			found := false
			for _, r := range rows {
				if r.IP == n.IP {
					n.rows, found = append(n.rows, r), true
				}
			}
			return found
		}
		n.rows = nil
		n.Coor = mine(v.status.Coordinators)
		n.Gcware = slices.ContainsFunc(v.status.Gcware, func(r Row) bool { return r.IP == n.IP })
		if v.status.GcwareTable {
			mine(v.status.Gcware)
		}
		n.Data = mine(v.status.Free)
		for _, vc := range v.names {
			n.Data = mine(v.vcs[vc].Data) || n.Data
		}
	}
}

// settleRunning: the release of what runs. A coordinator is asked in SQL where
// a database user is known; elsewhere it is that of the files the processes
// were started from, as far as all that belong to the instance run.
func (s *site) settleRunning(ctx context.Context, v *view, n *nodeView) {
	if n.err != nil {
		return
	}
	names := processNames(n.procs)
	for _, want := range n.expected(v.gen) {
		if !slices.Contains(names, want) {
			return
		}
	}
	n.running = n.installed
	if n.Coor && s.conf(n.Name).DBUser != "" {
		out, err := s.sql(ctx, n.Name, "select version()")
		if ver := ParseVersion(out); err == nil && ver != "" {
			n.running = ver
		}
	}
}

// The words of a node's health, from good to bad.
const (
	healthOpen         = "open"
	healthInconsistent = "data-inconsistent"
	healthPartly       = "partly-open"
	healthClosed       = "closed"
	healthUnknown      = "unknown"
)

// healthOrder ranks them: less is better (I7).
var healthOrder = []string{healthOpen, healthInconsistent, healthPartly, healthClosed, healthUnknown}

func (v *view) health(n *nodeView) string {
	if v.status == nil || len(n.rows) == 0 {
		return healthUnknown
	}
	open, all, inconsistent := 0, 0, false
	for _, r := range n.rows {
		for _, cell := range []string{r.Gcware, r.Gcluster, r.Gnode, r.Syncserver} {
			if cell == "" {
				continue
			}
			all++
			if cell == Open {
				open++
			}
		}
		inconsistent = inconsistent || r.DataState != "" && r.DataState != "0"
	}
	switch {
	case open == 0:
		return healthClosed
	case open < all:
		return healthPartly
	case inconsistent:
		return healthInconsistent
	}
	return healthOpen
}

func (v *view) observation(inv *cluster.Inventory) driver.Observation {
	o := driver.Observation{Driver: "gbase8a", Cluster: inv.Cluster, Detail: v}
	o.Facts = append(o.Facts, plan.Fact{Name: factGeneration, Value: string(v.gen)})
	if v.status != nil {
		o.Facts = append(o.Facts,
			plan.Fact{Name: factVCs, Value: strings.Join(v.names, ",")},
			plan.Fact{Name: factDist, Value: strings.Join(v.distributions(), ",")})
	}
	releases := map[string]bool{}
	for i := range v.nodes {
		n := &v.nodes[i]
		d := driver.Node{Name: n.Name, Reachable: n.err == nil, Role: n.roles(), Running: n.running, Installed: n.installed, Health: v.health(n)}
		d.Healthy = d.Reachable && d.Health == healthOpen
		if n.err != nil {
			d.Trouble = n.err.Error()
		} else if v.err != nil {
			d.Trouble = v.err.Error()
		}
		o.Nodes = append(o.Nodes, d)
		releases[n.installed] = true
		for _, f := range [][2]string{{factIP, n.IP}, {factInstalled, n.installed}, {factRoles, n.roles()}, {factRoot, n.Root}, {factPython, n.Python}} {
			o.Facts = append(o.Facts, plan.Fact{Node: n.Name, Name: f[0], Value: f[1]})
		}
	}
	if len(releases) == 1 && len(v.nodes) > 0 {
		o.Release = v.nodes[0].installed
	}
	return o
}

// distributions are the ids that the data nodes show.
func (v *view) distributions() []string {
	var ids []string
	for _, vc := range v.names {
		for _, r := range v.vcs[vc].Data {
			ids = append(ids, r.Distribution)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
