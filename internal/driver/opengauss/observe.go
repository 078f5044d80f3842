package opengauss

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// view is what was seen of the cluster.
type view struct {
	Nodes   []*seen
	Cluster *gaussdb.ClusterState // of gs_om or cm_ctl; nil when none answered
	OMWhy   string                // why it is nil
}

// seen is what was seen of one node.
type seen struct {
	site
	Up        bool // the machine answers
	Trouble   error
	Env       gaussdb.Environment
	App       string // where $GAUSSHOME leads
	NoLink    bool
	Installed gaussdb.Banner
	Software  gaussdb.Software // upgrade_version
	SoftErr   error
	HA        gaussdb.HA
	Status    gaussdb.Status
	SQL       bool
	SQLErr    error
	Running   gaussdb.Banner
	Working   gaussdb.Kernel
	Settings  map[string]string
	Open      []string // files of binary_upgrade: an upgrade that is not over
	CM        gaussdb.Banner
}

// watched are the settings that are looked at. The first four must not change
// between start and commit or rollback (spec section 5).
var watched = []string{
	"wal_level", "max_connections", "max_prepared_transactions", "max_locks_per_transaction",
	"upgrade_mode", "synchronous_standby_names", "most_available_sync", "enable_stream_replication", "default_transaction_read_only",
	"enable_thread_pool", "sync_config_strategy", "enable_mot_server", "enable_wdr_snapshot",
}

var frozen = watched[:4]

// healthOrder, best first (spec section 9). Words that are not in it are worst.
var healthOrder = []string{"Normal", "Catchup", "Promoting", "Demoting", "Building", "Need repair", "Starting", "Wait promoting", "Build failed", "Disk damaged", "Port conflicting", "Down", "Unknown"}

func healthRank(word string) int {
	if i := slices.Index(healthOrder, word); i >= 0 {
		return i
	}
	return len(healthOrder)
}

// Observe reads every node, and once the cluster's own view of itself.
func (d *Driver) Observe(ctx context.Context, env driver.Env) (driver.Observation, error) {
	v := &view{Nodes: make([]*seen, len(env.Inventory.Nodes))}
	each(env, len(v.Nodes), func(i int) { v.Nodes[i] = look(ctx, env, env.Inventory.Nodes[i]) })
	if ctx.Err() != nil {
		return driver.Observation{}, context.Cause(ctx)
	}
	v.askCluster(ctx)
	o := driver.Observation{Driver: d.Name(), Cluster: env.Inventory.Cluster, Detail: v}
	for _, n := range v.Nodes {
		o.Nodes = append(o.Nodes, n.node())
	}
	o.Release = sameRelease(o.Nodes)
	o.Facts = v.facts()
	return o, nil
}

func sameRelease(nodes []driver.Node) string {
	r := ""
	for _, n := range nodes {
		switch {
		case n.Running == "":
		case r == "":
			r = n.Running
		case r != n.Running:
			return ""
		}
	}
	return r
}

func look(ctx context.Context, env driver.Env, n cluster.Node) *seen {
	port, _ := strconv.Atoi(n.Settings["port"])
	s := &seen{site: site{Node: gaussdb.Node{Name: n.Name, Host: env.Hosts[n.Name], Profile: profileOf(n.Settings)}, env: env,
		Data: n.Settings["data"], Port: port, CMDir: n.Settings["cm_dir"]}, Settings: map[string]string{}}
	if s.Host == nil {
		s.Trouble = say.Errorf("no machine is known for node %q", "节点 %q 没有对应的主机", n.Name)
		return s
	}
	if err := s.lookAtFiles(ctx); err != nil {
		s.Trouble = err
		return s
	}
	s.Trouble = s.lookAtServer(ctx)
	return s
}

func (s *seen) lookAtFiles(ctx context.Context) error {
	e, err := s.Environment(ctx, "GAUSSHOME", "PGHOST")
	var lacks *gaussdb.EnvironmentError
	s.Up = err == nil || errors.As(err, &lacks)
	if err != nil {
		var p *say.Problem
		s.Up = s.Up || errors.As(err, &p)
		return err
	}
	s.Env = e
	s.Home, s.PGHost, s.GPHome = e.GaussHome, e.PGHost, e.GPHome
	if s.App, err = s.link(ctx); err != nil {
		s.NoLink = true
		return err
	}
	s.OldApp = s.App
	if s.Installed, err = s.installed(ctx, s.App); err != nil {
		return err
	}
	b, err := host.ReadFile(ctx, s.Host, s.App+"/bin/upgrade_version")
	if err == nil {
		s.Software, s.SoftErr = gaussdb.ParseSoftware(b)
	} else {
		s.SoftErr = err
	}
	if s.Open, err = s.list(ctx, s.openDir()); err != nil {
		return err
	}
	return s.lookForCM(ctx)
}

// lookForCM asks whether the node has a part of the cluster manager.
func (s *seen) lookForCM(ctx context.Context) error {
	there, err := s.exists(ctx, s.App+"/bin/cm_ctl")
	if err != nil || !there {
		return err
	}
	s.HasCM = true
	s.CM, err = s.BannerOf(ctx, "cm_ctl")
	return err
}

func (s *seen) lookAtServer(ctx context.Context) error {
	var err error
	if s.Status, err = s.site.Status(ctx, s.Data); err != nil {
		return err
	}
	if s.HA, err = s.Query(ctx, s.Data); err != nil {
		return err
	}
	if s.HA.Process != gaussdb.Running || s.HA.Refusing {
		return nil
	}
	rows, err := s.site.SQL(ctx, s.Port, "postgres", "select version(), working_version_num()")
	if err != nil {
		s.SQLErr = err
		return nil //nolint:nilerr // that it does not answer is what was seen
	}
	if len(rows) != 1 || len(rows[0]) < 2 {
		return say.Errorf("%s: version() answered %q", "%s：version() 返回 %q", s.Name, rows)
	}
	last := len(rows[0]) - 1
	if s.Running, err = gaussdb.ParseBanner(strings.Join(rows[0][:last], "|")); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	if s.Working, err = gaussdb.ParseKernel(rows[0][last]); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	s.SQL = true
	return s.lookAtSettings(ctx)
}

func (s *seen) lookAtSettings(ctx context.Context) error {
	rows, err := s.site.SQL(ctx, s.Port, "postgres", "select name,setting from pg_settings where name in ('"+strings.Join(watched, "','")+"')")
	if err != nil {
		s.SQL, s.SQLErr = false, err
		return nil //nolint:nilerr // that it does not answer is what was seen
	}
	for _, r := range rows {
		if len(r) >= 2 {
			s.Settings[r[0]] = strings.Join(r[1:], "|")
		}
	}
	return nil
}

// askCluster asks gs_om, or cm_ctl, on the first node that answers. With a
// cluster manager gs_om asks cm_ctl itself unless an upgrade is open.
func (v *view) askCluster(ctx context.Context) {
	for _, n := range v.Nodes {
		if !n.Up || n.App == "" {
			continue
		}
		argv := []string{"gs_om", "-t", "status", "--detail"}
		if n.HasCM {
			argv = []string{"cm_ctl", "query", "-Cvipd"}
		}
		a, err := n.Ask(ctx, argv...)
		if err != nil {
			v.OMWhy = err.Error()
			continue
		}
		c, err := gaussdb.ParseCluster(a.Both())
		if err != nil {
			v.OMWhy = strings.TrimSpace(err.Error() + ": " + firstLine(a.Both()))
			continue
		}
		v.Cluster = &c
		v.number()
		return
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// number gives each node the ids that the cluster knows it by.
func (v *view) number() {
	for _, in := range v.Cluster.Datanodes {
		for _, n := range v.Nodes {
			if in.Node == n.Name && (in.Path == "" || path.Clean(in.Path) == path.Clean(n.Data)) {
				n.ID, n.NodeID = in.ID, in.NodeID
			}
		}
	}
	// cmDir of the cluster file: the directory above the one of a cm_server. A
	// node without a cm_server has its agent in the same place as the others.
	for _, n := range v.Nodes {
		for _, in := range v.Cluster.CMServers {
			if n.HasCM && in.Path != "" && (in.Node == n.Name || n.CMDir == "") {
				n.CMDir = path.Dir(in.Path)
			}
		}
	}
}

// roleWord is the role in the tool's words.
func roleWord(r string) string {
	switch r {
	case gaussdb.RolePrimary, gaussdb.RoleNormal:
		return "primary"
	case gaussdb.RoleStandby:
		return "standby"
	case gaussdb.RoleCascade, "Cascade":
		return "cascade"
	case "":
		return ""
	}
	return strings.ToLower(r)
}

func (s *seen) health() string {
	switch {
	case !s.Up || s.Trouble != nil:
		return "Unknown"
	case s.HA.Process != gaussdb.Running:
		return "Down"
	case s.HA.Refusing && s.HA.State == gaussdb.StateNormal:
		return "Starting"
	}
	return s.HA.State
}

func (s *seen) node() driver.Node {
	n := driver.Node{Name: s.Name, Reachable: s.Up, Installed: s.Installed.Release, Running: s.Running.Release, Role: roleWord(s.HA.Role), Health: s.health()}
	if s.HA.Process != gaussdb.Running {
		n.Role = ""
	}
	n.Healthy = n.Health == gaussdb.StateNormal && s.SQL
	if s.Trouble != nil {
		n.Trouble = say.Of(s.Trouble).EN
	} else if s.SQLErr != nil {
		n.Trouble = s.SQLErr.Error()
	}
	return n
}

func buildName(b gaussdb.Banner) string {
	if b.Release == "" {
		return ""
	}
	return b.Release + " " + b.Commit
}

func (v *view) facts() []plan.Fact {
	var out []plan.Fact
	add := func(node, name, value string) {
		if value != "" {
			out = append(out, plan.Fact{Node: node, Name: name, Value: value})
		}
	}
	for _, n := range v.Nodes {
		add(n.Name, factRole, n.node().Role)
		add(n.Name, factRunning, buildName(n.Running))
		add(n.Name, factInstalled, buildName(n.Installed))
		if n.SoftErr == nil && n.Software.Kernel > 0 {
			add(n.Name, factNumber, n.Software.Kernel.String())
		}
		add(n.Name, factHome, n.Home)
		add(n.Name, factApp, n.App)
		add(n.Name, factPGHost, n.PGHost)
		add(n.Name, factGPHome, n.GPHome)
		if n.ID > 0 {
			add(n.Name, factID, strconv.Itoa(n.ID))
			add(n.Name, factNodeID, strconv.Itoa(n.NodeID))
		}
		if n.HasCM {
			add(n.Name, factCM, buildName(n.CM))
			add(n.Name, factCMDir, n.CMDir)
		}
		for _, name := range slices.Concat(frozen, []string{"upgrade_mode", "synchronous_standby_names", "most_available_sync"}) {
			add(n.Name, name, n.Settings[name])
		}
		if len(n.Open) > 0 {
			add(n.Name, factOpen, strings.Join(n.Open, " "))
		}
	}
	return out
}

// primaries are the nodes that say they are the primary.
func (v *view) primaries() []*seen {
	var out []*seen
	for _, n := range v.Nodes {
		if n.HA.Process == gaussdb.Running && n.HA.Primary() {
			out = append(out, n)
		}
	}
	return out
}

// cm reports whether the cluster has a cluster manager.
func (v *view) cm() bool {
	return slices.ContainsFunc(v.Nodes, func(n *seen) bool { return n.HasCM })
}
