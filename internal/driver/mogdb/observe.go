package mogdb

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
)

// frozen are the settings that must not change while the work is open: a start
// on the way back could fail (M24).
var frozen = []string{"wal_level", "max_connections", "max_prepared_transactions", "max_locks_per_transaction"}

// asked are the settings that the checks look at besides.
var asked = append([]string{"archive_mode", "synchronous_standby_names", "most_available_sync"}, frozen...)

// view is what was seen of a cluster, for Checks and Plan.
type view struct {
	nodes   []nodeView // in the inventory's order
	install string     // manual or om
	status  *gaussdb.ClusterState
}

// nodeView is one node.
type nodeView struct {
	Name      string
	Address   string
	conf      conf
	Err       error
	Login     string
	Vars      map[string]string // environment of the profile
	Home      string            // $GAUSSHOME as it is set
	App       string            // where it leads
	Installed gaussdb.Banner
	Mixed     bool // bin and lib of different releases
	Running   gaussdb.Banner
	PID       int
	Exe       string
	HA        gaussdb.HA
	MogHA     haState
	Managers  []process // of CM
	Recorded  gaussdb.Software
	Static    bool   // bin/cluster_static_config
	Dynamic   string // sum of bin/cluster_dynamic_config, "" when there is none
	Settings  map[string]string
}

func (v *view) node(name string) *nodeView {
	for i := range v.nodes {
		if v.nodes[i].Name == name {
			return &v.nodes[i]
		}
	}
	return nil
}

// alone reports a single server without standbys.
func (v *view) alone() bool { return len(v.nodes) == 1 }

// primary is the node that says it is one; nil unless exactly one does.
func (v *view) primary() *nodeView {
	var only *nodeView
	for i := range v.nodes {
		n := &v.nodes[i]
		if n.Err == nil && n.HA.Process == gaussdb.Running && n.HA.Primary() {
			if only != nil {
				return nil
			}
			only = n
		}
	}
	return only
}

// standbys are the nodes that are not the primary, in the inventory's order.
func (v *view) standbys() []*nodeView {
	p := v.primary()
	var out []*nodeView
	for i := range v.nodes {
		if n := &v.nodes[i]; n != p {
			out = append(out, n)
		}
	}
	return out
}

// Observe reads every node; nothing is believed from a file but what the node
// itself would start.
func (*Driver) Observe(ctx context.Context, env driver.Env) (driver.Observation, error) {
	inv := env.Inventory
	v := &view{nodes: make([]nodeView, len(inv.Nodes)), install: byHand}
	each(env, len(inv.Nodes), func(i int) {
		n := inv.Nodes[i]
		s, err := siteOf(env, n.Name)
		if err != nil {
			v.nodes[i] = nodeView{Name: n.Name, Address: n.Address, conf: confOf(n), Err: err}
			return
		}
		v.nodes[i] = s.look(ctx)
	})
	if ctx.Err() != nil {
		return driver.Observation{}, context.Cause(ctx)
	}
	for _, n := range v.nodes {
		if n.Static {
			v.install = byOM
		}
	}
	if set := v.nodes[0].conf.Install; set != "" {
		v.install = set
	}
	if v.install == byOM {
		v.status = omStatus(ctx, env, v)
	}
	return v.observation(inv), nil
}

// omStatus asks gs_om on the first node that answers.
func omStatus(ctx context.Context, env driver.Env, v *view) *gaussdb.ClusterState {
	for _, n := range v.nodes {
		if n.Err != nil {
			continue
		}
		s, err := siteOf(env, n.Name)
		if err != nil {
			return nil
		}
		a, err := s.Ask(ctx, "gs_om", "-t", "status", "--detail")
		if err != nil {
			continue
		}
		if c, err := gaussdb.ParseCluster(a.Both()); err == nil {
			return &c
		}
		return nil
	}
	return nil
}

// look reads one node.
func (s *site) look(ctx context.Context) nodeView {
	n := nodeView{Name: s.Name, Address: s.Address, conf: s.conf, Settings: map[string]string{}}
	for _, part := range []func(context.Context, *nodeView) error{s.lookSoftware, s.lookServer, s.lookWatchers} {
		if n.Err = part(ctx, &n); n.Err != nil {
			return n
		}
	}
	return n
}

func (s *site) lookSoftware(ctx context.Context, n *nodeView) (err error) {
	if n.Login, err = s.text(ctx, "id", "-un"); err != nil {
		return err
	}
	a, err := s.Ask(ctx, "env")
	if err != nil {
		return err
	}
	n.Vars = gaussdb.ParseEnv(a.Stdout)
	if n.Home = strings.TrimRight(n.Vars["GAUSSHOME"], "/"); n.Home == "" {
		return &gaussdb.EnvironmentError{Node: s.Name, Missing: []string{"GAUSSHOME"}}
	}
	if n.App, err = s.text(ctx, "readlink", "-f", n.Home); err != nil {
		return err
	}
	return s.lookFiles(ctx, n)
}

func (s *site) lookFiles(ctx context.Context, n *nodeView) error {
	a, err := s.Ask(ctx, n.App+"/bin/gsql", "-V")
	if err != nil {
		return err
	}
	n.Mixed = gaussdb.MixedLibraries(a.Both())
	if b, err := gaussdb.ParseBanner(a.Both()); err == nil {
		n.Installed = b
	}
	recorded, err := readIfThere(ctx, s, n.App+"/bin/upgrade_version")
	if err != nil {
		return err
	}
	if recorded != nil {
		n.Recorded, _ = gaussdb.ParseSoftware(recorded) // what is broken is a finding
	}
	if n.Static, err = s.exists(ctx, n.App+"/bin/cluster_static_config"); err != nil {
		return err
	}
	n.Dynamic, err = host.Sum(ctx, s.Host, n.App+"/bin/cluster_dynamic_config")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

func readIfThere(ctx context.Context, s *site, name string) ([]byte, error) {
	b, err := host.ReadFile(ctx, s.Host, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (s *site) lookServer(ctx context.Context, n *nodeView) (err error) {
	if n.HA, err = s.Query(ctx, s.Data); err != nil {
		return err
	}
	if n.HA.Process != gaussdb.Running || n.HA.Refusing {
		return nil
	}
	if b, err := s.release(ctx); err == nil {
		n.Running = b
	}
	for _, name := range asked {
		if v, err := s.Value(ctx, s.Port, "show "+name); err == nil {
			n.Settings[name] = v
		}
	}
	return nil
}

func (s *site) lookWatchers(ctx context.Context, n *nodeView) (err error) {
	if n.MogHA, err = s.mogha(ctx); err != nil {
		return err
	}
	all, err := s.processes(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.serves(s.Data) {
			n.PID = p.PID
		}
		if p.clusterManager() {
			n.Managers = append(n.Managers, p)
		}
	}
	if n.PID == 0 {
		return nil
	}
	// What the process was started from; a file that was replaced since says so.
	n.Exe, err = s.text(ctx, "readlink", "/proc/"+itoa(n.PID)+"/exe")
	if host.IsExit(err) {
		err = nil
	}
	return err
}

func (v *view) observation(inv *cluster.Inventory) driver.Observation {
	o := driver.Observation{Driver: Name, Cluster: inv.Cluster, Detail: v}
	fact := func(node, name, value string) {
		o.Facts = append(o.Facts, plan.Fact{Node: node, Name: name, Value: value})
	}
	fact("", "install", v.install)
	same := true
	for _, n := range v.nodes {
		seen := driver.Node{Name: n.Name, Reachable: n.Err == nil}
		if n.Err != nil {
			seen.Trouble = n.Err.Error()
			o.Nodes = append(o.Nodes, seen)
			fact(n.Name, "reachable", "no")
			same = false
			continue
		}
		seen.Running, seen.Installed = n.Running.Release, n.Installed.Release
		if n.HA.Process == gaussdb.Running {
			seen.Role = strings.TrimSuffix(roleWord(n.HA.Role), "_standby")
		}
		seen.Health, seen.Healthy = n.health()
		o.Nodes = append(o.Nodes, seen)
		fact(n.Name, "role", seen.Role)
		fact(n.Name, "running", seen.Running)
		fact(n.Name, "installed", seen.Installed)
		fact(n.Name, "software", n.App)
		fact(n.Name, "data", n.conf.Data)
		fact(n.Name, "mogha", n.MogHA.word())
		for _, name := range frozen {
			fact(n.Name, name, n.Settings[name])
		}
		if o.Release == "" {
			o.Release = seen.Running
		}
		same = same && seen.Running == o.Release
	}
	if !same {
		o.Release = ""
	}
	return o
}

// health is the driver's word for a node's state, and whether it is a good one.
func (n *nodeView) health() (word string, healthy bool) {
	switch {
	case n.HA.Process != gaussdb.Running:
		return "down", false
	case n.HA.Refusing:
		return "refusing", false
	}
	return n.HA.State, n.HA.Healthy()
}

// backup is the name that the old bin or lib gets: bin_201 for 2.0.1.
func backup(part, release string) string { return part + "_" + strings.ReplaceAll(release, ".", "") }

// stageDir is where a release is laid down aside: inside the software's
// directory, since only there a rename is sure to be one.
func stageDir(app, release string) string { return path.Join(app, "shiplift-"+release) }
