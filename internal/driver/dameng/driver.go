// Package dameng is the driver of Dameng DM7 and DM8: single nodes, Data Watch,
// DSC clusters and Data Watch of DSC clusters.
//
// The facts are those of the vendor's manual on version upgrades; their rules
// are numbered DM-001 … DM-096 in docs/drivers/dameng.md, which also says which
// of them are public knowledge or assumptions. Everything goes through the
// vendor's tools on the machines: disql (statements and password on standard
// input), the services, dmmonitor, dmcssm, dmrman, dmctlcvt and dmasmcmd.
package dameng

import (
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// Driver knows Dameng.
type Driver struct{}

var _ driver.Driver = Driver{}

// Name returns "dameng".
func (Driver) Name() string { return "dameng" }

// DefaultMode is the mode of a request that names none: only a DSC cluster
// without Data Watch can be upgraded node by node.
func (Driver) DefaultMode(inv *cluster.Inventory) string {
	if newShape(inv).topology == DSC {
		return "rolling"
	}
	return "inplace"
}

var _ driver.DefaultMode = Driver{}

func aPath(v string) error {
	if !path.IsAbs(v) || strings.ContainsAny(v, "\n'\"") {
		return cluster.Expected("an absolute path without quotes", "不含引号的绝对路径")
	}
	return nil
}

func somePaths(v string) error {
	for _, p := range strings.Split(v, ",") {
		if err := aPath(strings.TrimSpace(p)); err != nil {
			return err
		}
	}
	return nil
}

func aName(v string) error {
	for _, c := range v {
		if !(c == '_' || c == '-' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return cluster.Expected("letters, digits, _, - and .", "字母、数字、_、- 或 .")
		}
	}
	return nil
}

// Settings are the driver's keys. The vendor's tools give services free names,
// so none is guessed.
func (Driver) Settings() []cluster.Key {
	return []cluster.Key{
		{Name: "ini", Required: true, PerNode: true, Check: aPath, Doc: "path of dm.ini"},
		{Name: "instance", Required: true, PerNode: true, Check: aName, Doc: "INSTANCE_NAME"},
		{Name: "server_service", Required: true, PerNode: true, Check: aName, Doc: "service of dmserver, e.g. DmServiceDMSERVER"},
		{Name: "home", PerNode: true, Check: aPath, Doc: "DM_HOME (/opt/dmdbms)"},
		{Name: "port", PerNode: true, Check: cluster.Number, Doc: "PORT_NUM (5236)"},
		{Name: "user", PerNode: true, Check: aName, Doc: "database user (SYSDBA)"},
		{Name: "password_env", PerNode: true, Doc: "environment variable of the control machine that holds the password; without one the operating system vouches for the login"},
		{Name: "password_file", PerNode: true, Doc: "file of the control machine that holds the password"},
		{Name: "member", PerNode: true, Check: aName, Doc: "nodes of one DSC cluster bear the same name; the node's name"},
		{Name: "seqno", PerNode: true, Check: cluster.Number, Doc: "DCR_EP_SEQNO of a DSC node (0)"},
		{Name: "watcher_service", PerNode: true, Check: aName, Doc: "service of dmwatcher; set on every node of Data Watch"},
		{Name: "watcher_ini", PerNode: true, Check: aPath, Doc: "path of dmwatcher.ini"},
		{Name: "monitor_service", PerNode: true, Check: aName, Doc: "service of dmmonitor, on the nodes that run one"},
		{Name: "monitor_ini", PerNode: true, Check: aPath, Doc: "path of dmmonitor.ini"},
		{Name: "css_service", PerNode: true, Check: aName, Doc: "service of dmcss (DSC)"},
		{Name: "asm_service", PerNode: true, Check: aName, Doc: "service of dmasmsvr or dmasmsvrm (DSC)"},
		{Name: "dcr_ini", PerNode: true, Check: aPath, Doc: "path of dmdcr.ini (DSC)"},
		{Name: "cssm_ini", PerNode: true, Check: aPath, Doc: "path of dmcssm.ini (DSC)"},
		{Name: "db_group", PerNode: true, Check: aName, Doc: "DCR group of type DB (DSC)"},
		{Name: "asm_group", PerNode: true, Check: aName, Doc: "DCR group of type ASM (DSC)"},
		{Name: "dcr_disk", PerNode: true, Check: aPath, Doc: "DCR disk (DSC)"},
		{Name: "vote_disk", PerNode: true, Check: aPath, Doc: "voting disk (DSC)"},
		{Name: "group", Check: aName, Doc: "group of Data Watch"},
		{Name: "oguid", Check: cluster.Number, Doc: "OGUID of the group"},
		{Name: "services", PerNode: true, Check: cluster.OneOf("systemctl", "script"), Doc: "what started the services: systemctl or script ($DM_HOME/bin/<service>); both never see what the other started"},
		{Name: "systemctl", PerNode: true, Doc: "words that call systemctl (systemctl), e.g. sudo -n systemctl"},
		{Name: "backup_dir", PerNode: true, Check: aPath, Doc: "directory for offline backups (<data>/../backup)"},
		{Name: "backup_copy", Check: cluster.OneOf("scp", "shared"), Doc: "how a standby gets the primary's backup: scp between the nodes, or shared, backup_dir being the same everywhere"},
		{Name: "cold_paths", PerNode: true, Check: somePaths, Doc: "further files and directories of a library for its cold copy, with commas between: what V$DATAFILE, V$RLOGFILE and the directories of dm.ini do not name"},
		{Name: "huge_query", Doc: "SELECT whose rows are the HUGE tables; without one the operator answers with --option huge-tables=yes|no"},
		{Name: "origin", Check: aName, Doc: "oldest release that the library ever had (DM-004)"},
		{Name: "log_encrypted", Check: cluster.OneOf("yes", "no"), Doc: "whether the redo log is or was encrypted (DM-004)"},
		{Name: "stop_timeout", Check: cluster.Span, Doc: "longest exit of a server (15m)"},
		{Name: "start_timeout", Check: cluster.Span, Doc: "longest start of a server (5m)"},
		{Name: "open_timeout", Check: cluster.Span, Doc: "longest opening of a database (15m)"},
		{Name: "equal_timeout", Check: cluster.Span, Doc: "how long a standby may take to become equal with the primary (10m)"},
		{Name: "settle_timeout", Check: cluster.Span, Doc: "how long watchers may take to open everything (3m)"},
		{Name: "backup_timeout", Check: cluster.Span, Doc: "longest backup, restore or copy of a database (2h)"},
	}
}

// node is one node of the inventory with its machine.
type node struct {
	driver.Env
	name, address, stateDir string
	host                    host.Host
	set                     cluster.Settings
	member                  string
	seq                     int
}

func (n *node) or(key, fallback string) string {
	if v := n.set[key]; v != "" {
		return v
	}
	return fallback
}

func (n *node) home() string            { return n.or("home", "/opt/dmdbms") }
func (n *node) bin(tool string) string  { return n.home() + "/bin/" + tool }
func (n *node) ini() string             { return n.set["ini"] }
func (n *node) port() string            { return n.or("port", "5236") }
func (n *node) instance() string        { return n.set["instance"] }
func (n *node) backups() string         { return n.or("backup_dir", path.Dir(path.Dir(n.ini()))+"/backup") }
func (n *node) file(name string) string { return path.Join(n.stateDir, name) }

func (n *node) timeout(key string, fallback time.Duration) time.Duration {
	if d, err := time.ParseDuration(n.set[key]); err == nil && d > 0 {
		return d
	}
	return fallback
}

func (n *node) stopTime() time.Duration   { return n.timeout("stop_timeout", 15*time.Minute) }
func (n *node) startTime() time.Duration  { return n.timeout("start_timeout", 5*time.Minute) }
func (n *node) openTime() time.Duration   { return n.timeout("open_timeout", 15*time.Minute) }
func (n *node) equalTime() time.Duration  { return n.timeout("equal_timeout", 10*time.Minute) }
func (n *node) settleTime() time.Duration { return n.timeout("settle_timeout", 3*time.Minute) }
func (n *node) backupTime() time.Duration { return n.timeout("backup_timeout", 2*time.Hour) }

// member is one database: a node, or the nodes of a DSC cluster by their numbers.
type member struct {
	name  string
	nodes []*node
}

func (m *member) first() *node { return m.nodes[0] }
func (m *member) shared() bool { return len(m.nodes) > 1 }

// site is the cluster of the inventory.
type site struct {
	env      driver.Env
	nodes    []*node
	members  []*member
	topology Topology
}

// newSite reads the inventory. It asks no machine.
func newSite(env driver.Env) (*site, error) {
	s := newShape(env.Inventory)
	s.env = env
	for _, n := range s.nodes {
		n.Env = env
		if n.host = env.Hosts[n.name]; n.host == nil {
			return nil, say.Errorf("no machine is known for node %q", "节点 %q 没有对应的主机", n.name)
		}
	}
	return s, nil
}

// newShape is the cluster as the inventory names it, without machines.
func newShape(inv *cluster.Inventory) *site {
	s := &site{}
	watched := false
	for _, in := range inv.Nodes {
		n := &node{name: in.Name, address: in.Address, stateDir: in.StateDir, set: in.Settings}
		n.member = n.or("member", n.name)
		n.seq, _ = strconv.Atoi(n.or("seqno", "0"))
		s.nodes = append(s.nodes, n)
		watched = watched || n.set["watcher_service"] != ""
		m := s.member(n.member)
		if m == nil {
			m = &member{name: n.member}
			s.members = append(s.members, m)
		}
		at := len(m.nodes)
		for at > 0 && m.nodes[at-1].seq > n.seq {
			at--
		}
		m.nodes = append(m.nodes[:at], append([]*node{n}, m.nodes[at:]...)...)
	}
	shared := false
	for _, m := range s.members {
		shared = shared || m.shared()
	}
	switch {
	case watched && shared:
		s.topology = DWDSC
	case watched:
		s.topology = DW
	case shared:
		s.topology = DSC
	default:
		s.topology = Single
	}
	return s
}

func (s *site) node(name string) *node {
	for _, n := range s.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (s *site) member(name string) *member {
	for _, m := range s.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

// monitors are the nodes that run a dmmonitor.
func (s *site) monitors() []*node {
	var out []*node
	for _, n := range s.nodes {
		if n.set["monitor_service"] != "" {
			out = append(out, n)
		}
	}
	return out
}

func problem(place string, text, next say.Text) error {
	return &say.Problem{Place: place, Text: text, Next: next}
}
