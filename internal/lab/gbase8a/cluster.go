package gbase8a

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Flavor is the generation of a lab's cluster.
type Flavor string

// The flavours (spec section 1).
const (
	V952 Flavor = "v952" // gcware lives on the coordinators
	V953 Flavor = "v953" // gcware is a cluster of its own
)

// Config says what cluster a lab has.
type Config struct {
	Name         string // of the cluster; "practice" when empty
	Flavor       Flavor
	Coordinators int
	DataNodes    int
	Gcware       int // V953: nodes of the gcware cluster; as many as coordinators when 0
	// Separate puts coordinators, data nodes and (V953) gcware nodes on machines
	// of their own; otherwise the i-th of each share one.
	Separate bool
	// PerMachine is how many instances share one machine, each with an address
	// and a profile of its own (V953); 1 when 0.
	PerMachine int
	Release    string   // what is installed
	Packages   []string // releases whose packages lie in Packages()
	VCs        []string // names of the virtual clusters; none is the single, compatible mode
	Licensed   bool     // the packages are of the License kind
	Prefix     string   // "/opt/gbase" when empty
	// Autostart: /etc/rc.local of every machine starts all services (spec section 5).
	Autostart bool
	// FlushRequired makes an upgrade fail whose gcware nodes hold no snapshot
	// that is newer than the cluster's start [A: the real consequence is unknown].
	FlushRequired bool
}

// Faults bend the cluster. They may be set between two commands.
type Faults struct {
	LagNode       string        // completes a flush LagBy later
	LagBy         time.Duration // 60s when 0
	NeverComplete string        // a node or "all": the flush stays ".s" there until Cure
	SilentFlush   string        // a node or "all": nothing of a flush appears there
	CloseNode     string        // gcware on it, or on "all", never opens
	CloseWith     string        // what its cell says; CLOSE when empty
	ForeignTerm   string        // a snapshot of a smaller term and a larger index appears there
	Return0       bool          // flush_statemachine() returns 0
	HangPython    bool
	Locked        bool   // without quorum gcadmin prints LOCKED instead of hanging
	StopTimeout   string // a normal stop fails on this node, only --force works
	AgedBaseline  bool   // a background snapshot appears as gcware becomes OPEN
	ReviveOnce    string // 6s after "all stop" its services come back once (rc.local, a monitor elsewhere)
	NoMonitor     string // monitors of this node do not revive
	CrashAt       string // the installer ends there: backup, copy, start
	NoBackup      bool   // the installer writes no backup file
	BashNoise     string // what a login shell prints at its start on this node
	RestoreFails  bool
	Trailing      string // behind the flush it writes one more snapshot, for LagBy or a minute
	LazyFlush     int    // so many flush calls do nothing although they return 1
}

// Delays of the simulated software, which tests may shorten or lengthen.
type Delays struct{ Open, Flush, Write, Revive, Backup, Copy, Start time.Duration }

var usualDelays = Delays{
	Open: 2 * time.Second, Flush: time.Second, Write: 8 * time.Second, Revive: 5 * time.Second,
	Backup: 20 * time.Second, Copy: 15 * time.Second, Start: 20 * time.Second,
}

// Node is one instance: one address in gcadmin's tables.
type Node struct {
	Name    string
	IP      string
	Machine string
	Coor    bool
	Gcware  bool
	Data    bool
	Root    string // "<prefix>" or "<prefix>/<ip>"
	Version string

	opened     bool // gcware has been up long enough to be OPEN
	writing    bool // a snapshot that nobody asked for
	fell       bool // its programs ended with the power, and none was started since
	stopFailed bool // a normal stop failed: --force is allowed
	revived    bool
}

// Cluster is the state of the simulated software.
type Cluster struct {
	Config Config
	Faults Faults
	Delays Delays
	Nodes  []Node

	Term, Index uint64
	Leader      string
	FlushMark   uint64 // with FlushRequired: every gcware node's newest snapshot must be of a larger index
	Modes       map[string]string
	Events      map[string]int // "ddl", "dml", "dmlstorage", with "/vc" behind it for a virtual cluster
	Locks       []string       // content of user locks
	Failover    []string
	Inconsist   map[string]bool // DataState 1, by node name
	Statements  []string        // running SQL
	Uninit      bool            // nodedatamap is not initialised
	LicenseOK   bool
	OtherLock   bool // another operator works on this cluster

	mended     bool // the vendor's people unmixed the releases, and no tool was used since
	job        flushJob
	sawOpen    time.Time // when gcadmin last showed every gcware OPEN
	install    *installer
	violations []string
	tables     []string // test tables that were not dropped
}

// flushJob is the flush that runs.
type flushJob struct {
	term, index uint64
	left        map[string]bool // nodes that have not completed
	begun       map[string]bool // nodes that show ".s"
	id          int
}

// Clone copies all that changes.
func (c *Cluster) Clone() sim.State {
	d := *c
	d.Nodes = slices.Clone(c.Nodes)
	d.Modes, d.Events, d.Inconsist = maps.Clone(c.Modes), maps.Clone(c.Events), maps.Clone(c.Inconsist)
	d.Locks, d.Failover, d.Statements = slices.Clone(c.Locks), slices.Clone(c.Failover), slices.Clone(c.Statements)
	d.violations, d.tables = slices.Clone(c.violations), slices.Clone(c.tables)
	d.job.left, d.job.begun = maps.Clone(c.job.left), maps.Clone(c.job.begun)
	if c.install != nil {
		i := *c.install
		d.install = &i
	}
	return &d
}

const (
	rcLocal  = "gbase8a rc.local"
	stateKey = "gbase8a"
	tool     = "gbase8a" // one simulated program; the image says which and whose
	dbaUser  = "gbase"
	home     = "/home/gbase"
)

// Of returns the cluster of a world, also of a clone of it.
func Of(w *sim.World) *Cluster { return w.State(stateKey).(*Cluster) }

// Install puts a cluster into a world: machines, software, everything running.
func Install(w *sim.World, cfg Config) *Cluster {
	cfg = cfg.withDefaults()
	c := &Cluster{Config: cfg, Delays: usualDelays, Term: 142, Index: 41200, Modes: map[string]string{},
		Events: map[string]int{}, Inconsist: map[string]bool{}, LicenseOK: true}
	w.SetState(stateKey, c)
	register(w)
	c.Nodes = cfg.nodes()
	for _, vc := range c.vcs() {
		c.Modes[vc] = "NORMAL"
	}
	for i := range c.Nodes {
		c.setUp(w, &c.Nodes[i])
	}
	for i := range c.Nodes {
		c.startAll(w, &c.Nodes[i])
		c.Nodes[i].opened = c.Nodes[i].Gcware
	}
	c.elect(w)
	c.Term = 142
	if cfg.FlushRequired {
		c.FlushMark = c.Index
	}
	return c
}

func (cfg Config) withDefaults() Config {
	if cfg.Name == "" {
		cfg.Name = "practice"
	}
	if cfg.Flavor == "" {
		cfg.Flavor = V953
	}
	if cfg.Coordinators == 0 {
		cfg.Coordinators = 3
	}
	if cfg.DataNodes == 0 {
		cfg.DataNodes = 3
	}
	if cfg.Flavor == V952 {
		cfg.Gcware = 0
	} else if cfg.Gcware == 0 {
		cfg.Gcware = cfg.Coordinators
	}
	if cfg.Release == "" {
		cfg.Release = map[Flavor]string{V952: "9.5.2.39.10", V953: "9.5.3.27.14"}[cfg.Flavor]
	}
	if len(cfg.Packages) == 0 {
		cfg.Packages = []string{map[Flavor]string{V952: "9.5.2.44.8", V953: "9.5.3.28.12"}[cfg.Flavor]}
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "/opt/gbase"
	}
	cfg.PerMachine = max(cfg.PerMachine, 1)
	return cfg
}

// nodes lays the roles out. Node names are those of the instances, not those
// in gcadmin's tables, which count each role for itself.
func (cfg Config) nodes() []Node {
	var ns []Node
	add := func(n, first int, prefix string, role func(*Node)) {
		for i := range n {
			at := i
			if cfg.Separate {
				at = first + i
			}
			for len(ns) <= at {
				k := len(ns)
				ip := fmt.Sprintf("10.0.2.%d", 101+k)
				root := cfg.Prefix
				if cfg.Flavor == V953 {
					root += "/" + ip
				}
				name := fmt.Sprintf("%s%d", prefix, i+1)
				machine := name
				if cfg.PerMachine > 1 {
					machine = fmt.Sprintf("host%d", k/cfg.PerMachine+1)
				}
				ns = append(ns, Node{Name: name, IP: ip, Root: root, Version: cfg.Release, Machine: machine})
			}
			role(&ns[at])
		}
	}
	add(cfg.Coordinators, 0, "db", func(n *Node) { n.Coor, n.Gcware = true, cfg.Flavor == V952 })
	add(cfg.DataNodes, cfg.Coordinators, "data", func(n *Node) { n.Data = true })
	add(cfg.Gcware, cfg.Coordinators+cfg.DataNodes, "gcware", func(n *Node) { n.Gcware = true })
	return ns
}

// vcs are the virtual clusters; the single one has no name.
func (c *Cluster) vcs() []string {
	if len(c.Config.VCs) == 0 {
		return []string{""}
	}
	return c.Config.VCs
}

func (n *Node) base(part string) string { return n.Root + "/" + part }

// snapshots is the node's snapshot directory.
func (n *Node) snapshots() string { return n.base("gcware/data/gcware") }

// Profile is what a command on the node has to source: with several instances
// on a machine each has files of its own (spec section 1).
func (n *Node) Profile(cfg Config) string {
	if cfg.PerMachine == 1 {
		return home + "/.gbase_profile"
	}
	return strings.Join(n.profiles(), " ")
}

// profiles are the node's files on V953.
func (n *Node) profiles() []string {
	var files []string
	if n.Coor || n.Data {
		files = append(files, n.Root+"/gbase_profile")
	}
	if n.Coor || n.Gcware {
		files = append(files, n.Root+"/gcware_profile")
	}
	return files
}

func (c *Cluster) setUp(w *sim.World, n *Node) {
	m := w.Machine(n.Machine)
	if m == nil {
		m = w.Add(n.Machine, n.IP)
		m.AddUser(sim.User{Name: dbaUser, UID: 1001, GID: 1001, Group: dbaUser, Home: home})
		m.Login = dbaUser
		m.Install("/usr/bin/python", tool+" python 2.7.5", "root")
		m.Install("/usr/bin/python2", tool+" python 2.7.5", "root")
		m.Install("/usr/bin/bash", tool+" bash", "root")
		m.Write("/etc/os-release", "NAME=\"CentOS Linux\"\nVERSION=\"7 (Core)\"\nID=\"centos\"\nVERSION_ID=\"7\"\n", 0o644, "root")
		m.Mkdir(c.Config.Prefix, 0o755, dbaUser)
		if c.Config.Autostart {
			m.AddService(sim.Service{Name: "rc-local", Kind: rcLocal, Enabled: true, Active: true})
		}
	}
	c.installFiles(m, n)
	c.writeProfiles(m, n)
	m.Write(n.base("gcluster/config/gbase_8a_gcluster.cnf"), "[gclusterd]\nport=5258\n", 0o644, dbaUser)
	m.Write(n.base("gcluster/config/gcmonit.conf"), "interval=5\nretry_times=10\n", 0o644, dbaUser)
	if n.Data {
		m.Write(n.base("gnode/config/gbase_8a_gbase.cnf"), "[gbased]\nport=5050\n", 0o644, dbaUser)
	}
	if n.Gcware {
		m.Write(n.base("gcware/config/gcware.conf"), "cfg_connect_timeout: 5000\n", 0o644, dbaUser)
		m.Mkdir(n.snapshots(), 0o755, dbaUser)
		m.Write(n.snapshots()+"/GCWARE_META.A", strings.Repeat("a", 49), 0o644, dbaUser)
		m.Write(n.snapshots()+"/GCWARE_META.B", strings.Repeat("b", 40), 0o644, dbaUser)
		for _, index := range []uint64{37975, 37977} {
			putSnapshot(m, n, 142, index, "")
		}
	}
}

// kit is the software of a node: its files with their programs, and the way back.
type kit struct{ prog, file map[string]string }

// kits are those of all kinds of nodes; they never change.
var kits = func() map[[4]bool]kit {
	all := map[[4]bool]kit{}
	for i := range 16 {
		k := [4]bool{i&1 > 0, i&2 > 0, i&4 > 0, i&8 > 0}
		it := kit{kitOf(k[0], k[1], k[2], k[3]), map[string]string{}}
		for f, p := range it.prog {
			it.file[p] = f
		}
		all[k] = it
	}
	return all
}()

// kit is the software of a node.
func (n *Node) kit(f Flavor) kit { return kits[[4]bool{n.Coor, n.Data, n.Gcware, f == V953}] }

// kitOf lays out the files of a kind of node.
func kitOf(coor, data, gcware, v953 bool) map[string]string {
	p := map[string]string{"gcluster/server/bin/gcluster_services": "gcluster_services"}
	put := func(dir string, names ...string) {
		for _, name := range names {
			p[dir+"/"+name] = name
		}
	}
	if coor {
		put("gcware/bin", "gcadmin")
		put("gcluster/server/bin", "gclusterd", "gcrecover", "gccli", "gcmonit", "gcmmonit")
	}
	if data {
		put("gnode/server/bin", "gbased", "gc_sync_server")
		put("gcluster/server/bin", "gcmonit", "gcmmonit")
	}
	if gcware {
		put("gcware/bin", "gcware")
	}
	if gcware && v953 {
		put("gcware/bin", "gcware_monit", "gcware_mmonit")
		put("gcware/sbin", "gcware_services")
	}
	if !coor && !data { // a pure gcware node has no gcluster
		delete(p, "gcluster/server/bin/gcluster_services")
	}
	return p
}

func (c *Cluster) installFiles(m *sim.Machine, n *Node) {
	for file, prog := range n.kit(c.Config.Flavor).prog {
		m.Install(n.base(file), tool+" "+prog+" "+n.Name+" "+n.Version, dbaUser)
	}
	if n.Coor {
		m.Write(n.base("gcware/python/gcware.so"), n.Version, 0o644, dbaUser)
	}
}

// writeProfiles puts the environment of each instance there, and that of the
// only one into the user's own profile.
func (c *Cluster) writeProfiles(m *sim.Machine, n *Node) {
	database := fmt.Sprintf("export GCLUSTER_BASE=%s\nexport GBASE_BASE=%s\nexport PATH=$GCLUSTER_BASE/server/bin:$GBASE_BASE/server/bin:$PATH\n", n.base("gcluster"), n.base("gnode"))
	ware := fmt.Sprintf("export GCWARE_BASE=%s\nexport PYTHONPATH=$GCWARE_BASE/python\nexport PATH=$GCWARE_BASE/bin:$GCWARE_BASE/sbin:$PATH\n", n.base("gcware"))
	if c.Config.Flavor == V953 {
		for _, f := range n.profiles() {
			text := database
			if strings.HasSuffix(f, "gcware_profile") {
				text = ware
			}
			m.Write(f, text, 0o644, dbaUser)
		}
	}
	if c.Config.PerMachine == 1 {
		m.Write(home+"/.gbase_profile", database+ware, 0o644, dbaUser)
	}
}

// node returns the node of that name, or nil.
func (c *Cluster) node(name string) *Node {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return &c.Nodes[i]
		}
	}
	return nil
}

// Hosts are the nodes by their names; instances of one machine share it.
func (c *Cluster) Hosts(w *sim.World) host.Set {
	s := host.Set{}
	for _, n := range c.Nodes {
		s[n.Name] = w.Machine(n.Machine)
	}
	return s
}

// violate notes that a rule of the manual was broken.
func (c *Cluster) violate(rule, format string, args ...any) {
	c.violations = append(c.violations, rule+": "+fmt.Sprintf(format, args...))
}

// Violations are the rules of the manual that were broken so far, by id.
func (c *Cluster) Violations() []string { return slices.Clone(c.violations) }

// Forgive forgets the rules that were broken so far: somebody else broke them.
func (c *Cluster) Forgive() { c.violations = nil }

// Running says whether a program of a node runs.
func (c *Cluster) running(w *sim.World, n *Node, prog string) *sim.Proc {
	return w.Machine(n.Machine).FindProc(func(p *sim.Proc) bool {
		rest, ours := cutWord(p.Image, tool, true)
		rest, ours = cutWord(rest, prog, ours)
		_, ours = cutWord(rest, n.Name, ours)
		return ours
	})
}

// cutWord takes a word and the blank behind it off the front.
func cutWord(s, word string, ours bool) (string, bool) {
	if !ours || len(s) <= len(word) || s[:len(word)] != word || s[len(word)] != ' ' {
		return s, false
	}
	return s[len(word)+1:], true
}
