package gauss

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Options say what cluster to make. Zero values are the usual ones.
type Options struct {
	Flavor  Flavor // OpenGauss
	Cluster string // "lab"
	Nodes   int    // 3
	Cascade int    // so many of the last nodes are cascade standbys
	Release string // 5.0.0; MogDB 2.0.1
	CM      bool   // with the cluster manager
	MogHA   bool
	Install string // "om" or "manual" (gs_ctl only); openGauss is always "om"
	SepEnv  bool   // the environment lies in a file of its own, not in .bashrc
	Lite    bool   // a lite build
	Load    bool   // a client writes all the time
	Archive bool   // archive_mode=on
	// Unavailable switches most_available_sync off: a commit waits for a standby.
	Unavailable bool
	OneHost     bool   // all instances on one machine with ports of their own, as in the recordings
	User        string // omm
}

func (o *Options) defaults() {
	if o.Flavor == "" {
		o.Flavor = OpenGauss
	}
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Release == "" {
		o.Release = "5.0.0"
		if o.Flavor == MogDB {
			o.Release = "2.0.1"
		}
	}
	if o.Install == "" {
		o.Install = "om"
	}
	if o.Cluster == "" {
		o.Cluster = "lab"
	}
	if o.User == "" {
		o.User = "omm"
	}
}

// Paths of the lab's installations.
func (o *Options) root() string {
	if o.Flavor == MogDB {
		return "/opt/mogdb"
	}
	return "/opt/huawei"
}

// App is $GAUSSHOME: a link for an installation by OM, a directory for a manual one.
func (o *Options) App() string {
	if o.Install == "manual" {
		return o.root() + "/app"
	}
	return o.root() + "/install/app"
}

// Tools is $GPHOME.
func (o *Options) Tools() string { return o.root() + "/install/om" }

// Data is the data directory.
func (o *Options) Data() string {
	if o.Install == "manual" {
		return o.root() + "/data"
	}
	return o.root() + "/install/data/dn"
}

func (o *Options) socketDir() string { return o.root() + "/tmp" }

func (o *Options) cmDir() string { return o.root() + "/data/cm" }

// Profile is the file that sets the environment.
func (o *Options) Profile() string {
	if o.SepEnv {
		return "/home/" + o.User + "/gauss_env"
	}
	return "/home/" + o.User + "/.bashrc"
}

// Lab is a cluster in a world.
type Lab struct {
	World   *sim.World
	Options Options
	Release Release
}

// New puts a healthy cluster into a world.
func New(w *sim.World, o Options) (*Lab, error) {
	o.defaults()
	r, err := ReleaseOf(o.Flavor, o.Release)
	if err != nil {
		return nil, err
	}
	r.Lite = o.Lite
	if o.CM && o.Install == "manual" {
		return nil, fmt.Errorf("a manual installation has no cluster manager")
	}
	l := &Lab{World: w, Options: o, Release: r}
	register(w)
	s := &state{opts: o, last: w.Time(), ha: map[string]*moghaNode{}}
	s.truth = truth{acked: map[*wal]uint64{}, shared: map[*wal]uint64{}, seen: map[string]bool{}}
	w.SetState(stateKey, s)
	root := &wal{}
	for i := range o.Nodes {
		s.insts = append(s.insts, l.instance(i, root))
	}
	for i, in := range s.insts {
		if i == 0 || !o.OneHost {
			l.machine(w.Machine(in.node))
		}
		l.dataDir(s, in)
	}
	if o.CM {
		l.installCM(s)
	}
	for i, in := range s.insts {
		mode := "primary"
		if i > 0 {
			mode = "standby"
			if in.static == 'C' {
				mode = "cascade_standby"
			}
		}
		args := []string{"-D", in.data, "-M", mode}
		if o.Nodes == 1 {
			args = args[:2]
		}
		m := w.Machine(in.node)
		if err := s.start(w, in, m.Real(o.App()), args, o.User, l.env()); err != nil {
			return nil, fmt.Errorf("start %s: %w", in.name, err)
		}
	}
	if o.MogHA {
		l.installMogHA(s)
	}
	if o.CM {
		s.startCM(w)
	}
	if err := w.Sleep(context.Background(), 30*time.Second); err != nil {
		return nil, err
	}
	s.settle(w)
	s.truth.Truth = Truth{Acknowledged: s.truth.Acknowledged}
	s.truth.seen = map[string]bool{}
	return l, nil
}

func (l *Lab) instance(i int, root *wal) *instance {
	o := &l.Options
	in := &instance{
		name: fmt.Sprintf("dn_%d", 6001+i), id: 6001 + i, nodeID: i + 1, node: fmt.Sprintf("node%d", i+1), addr: fmt.Sprintf("192.168.0.%d", i+1),
		data: o.Data(), port: 26000, static: 'S', base: l.Release.Number, wal: root, lsn: 0x4000148, system: 215046882207045728,
		cat: &catalog{dbs: []string{"postgres", "template0", "template1"}, objects: map[string]bool{}},
		ctl: map[string]string{"max_connections": "200", "max_prepared_transactions": "200", "max_locks_per_transaction": "256", "wal_level": "hot_standby"},
	}
	if o.OneHost {
		in.node, in.addr, in.port, in.data = "node1", "127.0.0.1", 26000+100*i, fmt.Sprintf("/data/dn%d", i+1)
	}
	if i == 0 {
		in.static = 'P'
	}
	if i > 0 && i >= o.Nodes-o.Cascade {
		in.static = 'C'
	}
	if l.World.Machine(in.node) == nil {
		m := l.World.Add(in.node, in.addr)
		m.AddUser(sim.User{Name: o.User, UID: 1001, GID: 1001, Group: "dbgrp", Home: "/home/" + o.User})
		m.Login = o.User
	}
	return in
}

// env is the environment of the database user.
func (l *Lab) env() map[string]string {
	o := &l.Options
	e := map[string]string{
		"HOME": "/home/" + o.User, "USER": o.User, "LOGNAME": o.User, "SHELL": "/bin/bash",
		"GAUSSHOME": o.App(), "PGHOST": o.socketDir(), "PGDATA": o.Data(), "GAUSSLOG": "/var/log/omm/" + o.User, "PGPORT": "26000",
		"LD_LIBRARY_PATH": o.App() + "/lib", "PATH": o.App() + "/bin:/usr/local/bin:/usr/bin",
	}
	if o.Install == "om" {
		e["GPHOME"], e["GS_CLUSTER_NAME"], e["GAUSS_VERSION"], e["GAUSS_ENV"] = o.Tools(), o.Cluster, l.Release.Version, "2"
		e["PATH"] = o.Tools() + "/script:" + e["PATH"]
	}
	return e
}

func (l *Lab) profile() string {
	o := &l.Options
	var b strings.Builder
	b.WriteString("# set by the installation\n")
	put := func(k, v string) { b.WriteString("export " + k + "=" + v + "\n") }
	put("GAUSSHOME", o.App())
	put("PGHOST", o.socketDir())
	put("PGDATA", o.Data())
	put("PGPORT", "26000")
	put("GAUSSLOG", "/var/log/omm/"+o.User)
	put("LD_LIBRARY_PATH", "$GAUSSHOME/lib")
	put("PATH", "$GAUSSHOME/bin:$PATH")
	if o.Install == "om" {
		put("GPHOME", o.Tools())
		put("PATH", "$GPHOME/script:$PATH")
		put("GS_CLUSTER_NAME", o.Cluster)
		put("GAUSS_VERSION", l.Release.Version)
		put("GAUSS_ENV", "2")
	}
	if o.SepEnv {
		put("MPPDB_ENV_SEPARATE_PATH", o.Profile())
	}
	return b.String()
}

func (l *Lab) machine(m *sim.Machine) {
	o := &l.Options
	u := o.User
	m.Mkdir(o.root(), 0o755, u)
	m.Mkdir(o.socketDir(), 0o700, u)
	m.Mkdir("/var/log/omm/"+u, 0o700, u)
	m.Write(o.Profile(), l.profile(), 0o644, u)
	m.Write("/etc/os-release", "NAME=\"CentOS Linux\"\nVERSION=\"7 (Core)\"\nID=\"centos\"\nVERSION_ID=\"7\"\n", 0o644, "root")
	m.SetDisk(100<<30, 30<<30)
	app := o.App()
	if o.Install == "om" {
		app = l.Release.appDir(o.App())
		m.Mkdir(app, 0o700, u)
		m.Symlink(app, o.App())
		m.Chown(o.App(), u)
	}
	l.install(m, app, l.Release)
	if o.Install == "om" {
		l.installOM(m, app)
	}
}

// install lays an installed server down as the vendor's installation leaves it.
func (l *Lab) install(m *sim.Machine, app string, r Release) {
	u := l.Options.User
	m.Mkdir(app, 0o700, u)
	putFiles(m, app, appFiles(r), u)
	for _, k := range []string{"server", "usermapping", "datasource"} {
		m.Write(app+"/bin/"+k+".key.cipher", k+" cipher\n", 0o600, u)
		m.Write(app+"/bin/"+k+".key.rand", k+" rand\n", 0o600, u)
	}
	m.Write(app+"/lib/postgresql/pg_plugin/lab_udf.so", "a user's function\n", 0o600, u)
	m.Write(app+"/share/sslcert/gsql/client.crt", "certificate of gsql\n", 0o600, u)
	m.Write(app+"/share/sslcert/om/server.crt", "certificate of om\n", 0o600, u)
}

func putFiles(m *sim.Machine, dir string, files map[string]file, user string) {
	for _, n := range sortedKeys(files) {
		f := files[n]
		if f.link != "" {
			m.Symlink(f.link, dir+"/"+n)
			m.Chown(dir+"/"+n, user)
			continue
		}
		m.Write(dir+"/"+n, f.body, f.mode, user)
	}
}

func (l *Lab) installOM(m *sim.Machine, app string) {
	o := &l.Options
	u := o.User
	m.Write(app+"/bin/upgrade_version", upgradeVersion(l.Release), 0o600, u)
	m.Write(app+"/bin/cluster_static_config", l.staticConfig(), 0o600, u)
	putFiles(m, o.Tools(), omFiles(l.Release), u)
	m.Write(o.Tools()+"/version.cfg", versionCfg(l.Release), 0o400, u)
	m.Write(o.root()+"/clusterconfig.xml", l.XML(), 0o644, u)
}

// topology is what the static configuration holds.
type topology struct {
	Cluster string     `json:"cluster"`
	App     string     `json:"app"`
	Log     string     `json:"log"`
	Nodes   []topoNode `json:"nodes"`
}

type topoNode struct {
	ID     int    `json:"id"`
	Name   string `json:"name"`
	IP     string `json:"ip"`
	Inst   int    `json:"inst"`
	Data   string `json:"data"`
	Port   int    `json:"port"`
	Static string `json:"static"`
	CM     string `json:"cm,omitempty"`
}

// staticConfig is cluster_static_config. Its real layout is not known; tools
// copy it and only gs_om reads it.
func (l *Lab) staticConfig() string {
	o := &l.Options
	t := topology{Cluster: o.Cluster, App: o.App(), Log: "/var/log/omm"}
	for _, in := range stateOf(l.World).insts {
		n := topoNode{ID: in.nodeID, Name: in.node, IP: in.addr, Inst: in.id, Data: in.data, Port: in.port, Static: string(in.static)}
		if o.CM {
			n.CM = o.cmDir()
		}
		t.Nodes = append(t.Nodes, n)
	}
	b, _ := json.Marshal(t)
	return "\x01\x00\x00\x00static\x00" + string(b)
}

func readStatic(body string) (topology, bool) {
	var t topology
	_, js, ok := strings.Cut(body, "static\x00")
	return t, ok && json.Unmarshal([]byte(js), &t) == nil
}

// dataDir makes a data directory as gs_initdb and the installation leave it.
func (l *Lab) dataDir(s *state, in *instance) {
	o := &l.Options
	m := l.World.Machine(in.node)
	u := o.User
	m.Mkdir(in.data, 0o700, u)
	var b strings.Builder
	b.WriteString("# -----------------------------\n# PostgreSQL configuration file\n# -----------------------------\n")
	put := func(k, v string) { b.WriteString(k + " = " + v + "\n") }
	put("port", fmt.Sprint(in.port))
	put("listen_addresses", "'"+in.addr+"'")
	put("max_connections", "200")
	put("max_prepared_transactions", "200")
	put("max_locks_per_transaction", "256")
	put("wal_level", "hot_standby")
	put("pgxc_node_name", "'"+in.name+"'")
	put("enable_stream_replication", "on")
	put("sync_config_strategy", "all_node")
	if o.Nodes > 1 {
		put("synchronous_standby_names", "'*'")
		put("most_available_sync", map[bool]string{true: "off", false: "on"}[o.Unavailable])
	}
	if o.Archive {
		put("archive_mode", "on")
		put("archive_command", "'cp %p /archive/%f'")
	}
	b.WriteString("#upgrade_mode = 0\n#log_min_duration_statement = 30min\n")
	n := 0
	for _, other := range s.insts {
		if other == in {
			continue
		}
		n++
		put(fmt.Sprintf("replconninfo%d", n), fmt.Sprintf("'localhost=%s localport=%d localheartbeatport=%d localservice=%d remotehost=%s remoteport=%d remoteheartbeatport=%d remoteservice=%d'",
			in.addr, in.port+1, in.port+5, in.port+4, other.addr, other.port+1, other.port+5, other.port+4))
	}
	m.Write(in.data+"/postgresql.conf", b.String(), 0o600, u)
	m.Write(in.data+"/postgresql.conf.lock", "", 0o600, u)
	m.Write(in.data+"/pg_hba.conf", "local all all trust\nhost all all 127.0.0.1/32 trust\n", 0o600, u)
	m.Write(in.data+"/PG_VERSION", "9.2\n", 0o600, u)
	m.WriteSized(in.data+"/base/1/1249", "relation\n", 200<<20, 0o600, u)
	m.Write(in.data+"/global/pg_control", "control\n", 0o600, u)
	m.Write(in.data+"/server.key", "key\n", 0o600, u)
}

// register makes the lab's programs known to a world.
func register(w *sim.World) {
	for n, t := range map[string]sim.Tool{
		"gaussdb": gaussdbTool, "gs_ctl": gsCtl, "gs_guc": gsGuc, "gsql": gsqlTool, "gs_initdb": gsInitdb, "pg_controldata": pgControldata, "gs_basebackup": gsBasebackup,
		"gs_dump": gsDump, "pg_config": pgConfig, "gs_om": gsOm, "gs_ssh": gsSSH, "gs_checkos": gsCheckos, "gs_collector": gsCollector,
		"gs_preinstall": gsPreinstall, "gs_sshexkey": gsSshexkey, "gs_expansion": gsBlocked, "gs_dropnode": gsBlocked,
		"cm_ctl": cmCtl, "cm_server": cmVersion, "cm_agent": cmVersion, "om_monitor": cmVersion, "mogha": func(*sim.Call) int { return 0 },
	} {
		w.RegisterTool(n, t)
	}
	w.Handle(evLink, link)
	w.Handle(evDemote, demote)
	w.Handle(evPromote, promote)
	w.Handle(evSync, syncConf)
	w.Handle(evThaw, thaw)
	w.Handle(evCount, count)
	w.Handle(evCM, cmAct)
	w.Handle(evRebuild, rebuild)
	w.Handle(evMogHA, moghaAct)
	for name, fn := range hooks {
		w.RegisterHook(name, fn)
	}
	w.RegisterProc(procKind, procs)
	w.RegisterProc(cmProcKind, cmProcs)
	w.RegisterService(moghaService, moghaKind)
}

// hooks are what a sim.Fault of kind Hook or HookAfter can do, by Fault.Do.
var hooks = map[string]func(*sim.World, *sim.Machine, []string){
	// the server of the command's node is killed
	"kill server": func(w *sim.World, m *sim.Machine, _ []string) {
		for _, in := range stateOf(w).on(m.Name()) {
			kill(w, in)
		}
	},
	// the primary's server is killed, wherever it is
	"kill primary": func(w *sim.World, _ *sim.Machine, _ []string) { kill(w, stateOf(w).primaryOf()) },
	// the primary hangs
	"hang primary": func(w *sim.World, _ *sim.Machine, _ []string) {
		if in := stateOf(w).primaryOf(); in != nil {
			m := w.Machine(in.node)
			m.Signal(m.Proc(in.srv.pid), "STOP")
		}
	},
	// somebody else moves the primary: it is killed, and the best standby promoted,
	// if that holds all that was acknowledged
	"failover": func(w *sim.World, _ *sim.Machine, _ []string) {
		s := stateOf(w)
		s.settle(w)
		old := s.primaryOf()
		if old == nil {
			return
		}
		best := s.best(w, old)
		if best == old || s.lostAt(best) > 0 {
			return
		}
		kill(w, old)
		s.promote(w, best)
		best.wal.elected = true // the branch is new: nobody else holds it yet
	},
	"switchover never": func(w *sim.World, _ *sim.Machine, _ []string) { stateOf(w).fault = switchFault{Kind: "timeoutNever"} },
	"switchover late": func(w *sim.World, _ *sim.Machine, _ []string) {
		stateOf(w).fault = switchFault{Kind: "timeoutThenCompletes", Delay: 5 * time.Second}
	},
	"switchover stuck":   func(w *sim.World, _ *sim.Machine, _ []string) { stateOf(w).fault = switchFault{Kind: "demoteStuck"} },
	"switchover refused": func(w *sim.World, _ *sim.Machine, _ []string) { stateOf(w).fault = switchFault{Kind: "lockHeld"} },
	// the standbys of the node take long to catch up from now on
	"slow standby": func(w *sim.World, m *sim.Machine, _ []string) {
		for _, in := range stateOf(w).on(m.Name()) {
			in.slow = 90 * time.Second
		}
	},
}

func kill(w *sim.World, in *instance) {
	if in != nil && in.srv != nil {
		m := w.Machine(in.node)
		m.Signal(m.Proc(in.srv.pid), "KILL")
	}
}

// Hooks are the names that Fault.Do may have.
func Hooks() []string { return sortedKeys(hooks) }

// Of is the lab of a world that was cloned.
func (l *Lab) Of(w *sim.World) *Lab { return &Lab{World: w, Options: l.Options, Release: l.Release} }

// Hosts are the machines.
func (l *Lab) Hosts() host.Set { return l.World.Hosts() }

// Inventory names the cluster as an operator would.
func (l *Lab) Inventory() *cluster.Inventory {
	o := &l.Options
	inv := &cluster.Inventory{Cluster: o.Cluster, Driver: strings.ToLower(string(o.Flavor)), Settings: cluster.Settings{"profile": o.Profile()}}
	if o.Flavor == MogDB {
		inv.Settings["install"] = o.Install
		if o.MogHA {
			inv.Settings["mogha"] = "mogha"
		}
	} else {
		inv.Settings["xml"] = o.root() + "/clusterconfig.xml"
	}
	for _, in := range stateOf(l.World).insts {
		set := cluster.Settings{"data": in.data, "port": fmt.Sprint(in.port)}
		for k, v := range inv.Settings {
			set[k] = v
		}
		inv.Nodes = append(inv.Nodes, cluster.Node{Name: in.node, Address: in.addr, Transport: "ssh", StateDir: ".shiplift/" + o.Cluster + "/" + in.node, Settings: set})
	}
	return inv
}

// XML is the vendor's cluster file (spec/opengauss.md section 3).
func (l *Lab) XML() string {
	o := &l.Options
	insts := stateOf(l.World).insts
	var names, ips []string
	for _, in := range insts {
		names, ips = append(names, in.node), append(ips, in.addr)
	}
	var b strings.Builder
	p := func(indent int, k, v string) {
		fmt.Fprintf(&b, "%s<PARAM name=\"%s\" value=\"%s\"/>\n", strings.Repeat("  ", indent), k, v)
	}
	b.WriteString("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<ROOT>\n  <CLUSTER>\n")
	p(2, "clusterName", o.Cluster)
	p(2, "nodeNames", strings.Join(names, ","))
	p(2, "gaussdbAppPath", o.App())
	p(2, "gaussdbLogPath", "/var/log/omm")
	p(2, "tmpMppdbPath", o.socketDir())
	p(2, "gaussdbToolPath", o.Tools())
	p(2, "corePath", o.root()+"/corefile")
	p(2, "backIp1s", strings.Join(ips, ","))
	b.WriteString("  </CLUSTER>\n  <DEVICELIST>\n")
	for i, in := range insts {
		fmt.Fprintf(&b, "    <DEVICE sn=\"%s\">\n", in.node)
		p(3, "name", in.node)
		p(3, "azName", "AZ1")
		p(3, "azPriority", "1")
		p(3, "backIp1", in.addr)
		p(3, "sshIp1", in.addr)
		if in.static == 'C' {
			p(3, "cascadeRole", "on")
		}
		if i == 0 {
			if o.CM {
				p(3, "cmsNum", "1")
				p(3, "cmServerPortBase", "15000")
				p(3, "cmServerListenIp1", strings.Join(ips, ","))
				p(3, "cmServerHaIp1", strings.Join(ips, ","))
				p(3, "cmServerLevel", "1")
				p(3, "cmServerRelation", strings.Join(names, ","))
				p(3, "cmDir", o.cmDir())
			}
			p(3, "dataNum", "1")
			p(3, "dataPortBase", fmt.Sprint(in.port))
			node := in.data
			for _, other := range insts[1:] {
				node += "," + other.node + "," + other.data
			}
			p(3, "dataNode1", node)
			p(3, "dataNode1_syncNum", "0")
		} else if o.CM {
			p(3, "cmServerPortStandby", "15000")
			p(3, "cmDir", o.cmDir())
		}
		b.WriteString("    </DEVICE>\n")
	}
	b.WriteString("  </DEVICELIST>\n</ROOT>\n")
	return b.String()
}
