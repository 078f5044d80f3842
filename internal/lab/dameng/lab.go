package dameng

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

const (
	osUser = "dmdba"
	group  = "GRP1"
	oguid  = 45331
)

// Options say what a practice cluster is like.
type Options struct {
	Topology string // single, dw, dsc, dw-dsc
	Standbys int    // of Data Watch; 1 when 0
	Release  string // what runs at first
	Origin   string // the release that made the library; Release when empty
	Seed     uint64
	Lang     string // "zh" (as most installations) or "en": what disql speaks
	GBK      bool   // disql writes GBK
	Password string // of SYSDBA
	// LogEncrypted and HugeTables are traits of the library.
	LogEncrypted bool
	HugeTables   bool
	// NeverStarted leaves the library as it was initialised.
	NeverStarted bool
	// Cluster is the name of the cluster; "dameng-lab" when empty.
	Cluster string
	// PasswordFile is what the inventory names as the file of the password; the
	// variable DAMENG_PASSWORD when empty.
	PasswordFile string
	// World is the room to build in; a new one with Seed when nil.
	World *sim.World `json:"-"`
}

// DefaultPassword is the password of SYSDBA in a lab.
const DefaultPassword = "Lift@2024/x$"

// Lab is a practice cluster.
type Lab struct {
	World *sim.World
	Opts  Options
}

// New makes a running, healthy cluster.
func New(o Options) (*Lab, error) {
	if o.Standbys == 0 {
		o.Standbys = 1
	}
	if o.Password == "" {
		o.Password = DefaultPassword
	}
	if o.Origin == "" {
		o.Origin = o.Release
	}
	if o.Cluster == "" {
		o.Cluster = "dameng-lab"
	}
	if ver(o.Release) == (version{}) || fmtVersion(ver(o.Release)) != o.Release {
		return nil, fmt.Errorf("%q is not a release of Dameng", o.Release)
	}
	w := o.World
	if w == nil {
		w = sim.New(o.Seed)
	}
	o.World = nil // a clone of the room must not hold the first world
	r := &room{
		opts: o, sites: map[string]*site{}, parts: map[string][]*site{}, servers: map[string]*server{}, watch: map[string]*helper{}, monitor: map[string]*helper{},
		css: map[string]*helper{}, asm: map[string]*helper{}, votes: map[string]vote{}, dcr: map[string]string{}, asmFile: map[string]string{},
		taint: map[string]bool{}, broken: map[string]bool{}, lag: map[string]bool{}, exited: map[string]bool{}, died: map[string]time.Time{}, dark: map[string][]string{}, magic: 460099052, memo: map[string]memo{}, outside: map[string]string{},
	}
	w.SetState(stateKey, r)
	registerServer(w)
	registerDSC(w)
	registerHooks(w)
	for name, fn := range map[string]sim.Tool{"disql": disql, "dmmonitor": dmmonitor, "dmrman": dmrman, "dmctlcvt": dmctlcvt, "scp": scp} {
		w.RegisterTool(name, fn)
	}
	w.Handle(tickEvent, tick)
	l := &Lab{World: w, Opts: o}
	if err := l.layout(r); err != nil {
		return nil, err
	}
	for _, n := range r.order {
		l.furnish(r, r.sites[n])
	}
	l.initialise(r)
	if o.NeverStarted {
		return l, nil
	}
	if err := l.startAll(r); err != nil {
		return nil, err
	}
	w.After(time.Second, tickEvent, "", nil)
	return l, nil
}

// layout names the machines: one per node.
func (l *Lab) layout(r *room) error {
	var sizes []int
	switch l.Opts.Topology {
	case "single":
		sizes = []int{1}
	case "dsc":
		sizes = []int{2}
	case "dw":
		sizes = make([]int, 1+l.Opts.Standbys)
		for i := range sizes {
			sizes[i] = 1
		}
	case "dw-dsc":
		sizes = make([]int, 1+l.Opts.Standbys)
		for i := range sizes {
			sizes[i] = 2
		}
	default:
		return fmt.Errorf("topology %q: single, dw, dsc or dw-dsc was expected", l.Opts.Topology)
	}
	n := 0
	for i, size := range sizes {
		for ep := range size {
			n++
			s := &site{Name: fmt.Sprintf("db%d", n), Member: fmt.Sprintf("m%d", i+1), Seq: ep, Home: "/opt/dmdbms", Dir: "/dm/data/DAMENG", Port: 5236}
			s.Instance = fmt.Sprintf("GRP1_RT_%02d", i+1)
			s.Data = s.Dir
			if size > 1 {
				s.Instance = fmt.Sprintf("DSC%d%d", i+1, ep)
				s.Data = "+DMDATA/data/DAMENG"
			}
			if l.Opts.Topology == "single" {
				s.Instance = "DMSERVER"
			}
			r.add(s)
			l.World.Add(s.Name, fmt.Sprintf("10.0.0.%d", n))
		}
	}
	return nil
}

var tools = []string{"dmserver", "dmwatcher", "dmmonitor", "disql", "dmrman", "dmctlcvt", "dmcss", "dmcssm", "dmasmsvr", "dmasmcmd"}

// furnish installs the software and the configuration of a node.
func (l *Lab) furnish(r *room, s *site) {
	m := l.World.Machine(s.Name)
	m.AddUser(sim.User{Name: osUser, UID: 1001, GID: 1001, Group: "dinstall", Home: "/home/dmdba"})
	m.Login = osUser
	for _, d := range []string{"/dm", "/backup", s.Dir, s.Dir + "/arch", s.Home, s.Home + "/bin", s.Home + "/log"} {
		m.Mkdir(d, 0o755, osUser)
		m.Chown(d, osUser)
	}
	for _, t := range tools {
		m.Install(s.Home+"/bin/"+t, t+" "+l.Opts.Release, osUser)
	}
	m.Install("/usr/local/bin/scp", "scp", "root")
	kinds := map[string]string{"DmService": "dmserver"}
	if r.watched() {
		kinds["DmWatcherService"] = "dmwatcher"
		if s.Name == r.order[len(r.order)-1] {
			kinds["DmMonitorService"] = "dmmonitor"
		}
	}
	if r.shared(s.Member) {
		kinds["DmCSSService"], kinds["DmASMSvrService"] = "dmcss", "dmasmsvr"
	}
	for unit, kind := range kinds {
		m.AddService(sim.Service{Name: s.unit(unit), Kind: kind})
		m.Install(s.Home+"/bin/"+s.unit(unit), "dmservice "+kind, osUser)
	}
	for name, text := range l.configs(r, s) {
		m.Write(s.ini(name), text, 0o640, osUser)
	}
	r.archive(l.World, s, map[bool]string{true: "old", false: "pkg"}[ver(l.Opts.Release).less(vRedo)])
}

func (l *Lab) configs(r *room, s *site) map[string]string {
	out := map[string]string{}
	out["dm.ini"] = "#DaMeng Database Server Configuration file\nCTL_PATH = " + s.Data + "/dm.ctl #ctl file path\nSYSTEM_PATH = " + s.Data +
		"\nCONFIG_PATH = " + s.Dir + "\n\tINSTANCE_NAME = " + s.Instance + " #Instance name\n\tPORT_NUM = " + fmt.Sprint(s.Port) +
		"\n\tALTER_MODE_STATUS = 0 #Whether to permit user to alter database mode and status by SQLs, 1: yes, 0: no\n\tMAL_INI = 1\n\tARCH_INI = 1\n"
	arch, mal := "ARCH_WAIT_APPLY = 0\n", "MAL_CHECK_INTERVAL = 5\n"
	for _, m := range r.members() {
		var names []string
		for _, n := range r.nodes(m) {
			names = append(names, n.Instance)
		}
		if m != s.Member {
			arch += "[ARCHIVE_REALTIME_" + m + "]\nARCH_TYPE = REALTIME\nARCH_DEST = " + strings.Join(names, "/") + "\n"
		}
	}
	out["dmarch.ini"] = arch + "[ARCHIVE_LOCAL1]\nARCH_TYPE = LOCAL\nARCH_DEST = " + r.archiveDir(s) + "\nARCH_FILE_SIZE = 128\nARCH_SPACE_LIMIT = 0\n"
	for i, n := range r.order {
		o, addr := r.sites[n], l.World.Machine(n).Address
		mal += fmt.Sprintf("[MAL_INST%d]\nMAL_INST_NAME = %s\nMAL_HOST = %s\nMAL_PORT = 5336\nMAL_INST_HOST = %s\nMAL_INST_PORT = %d\nMAL_DW_PORT = 5436\nMAL_INST_DW_PORT = 5536\n", i+1, o.Instance, addr, addr, o.Port)
	}
	out["dmmal.ini"] = mal
	if r.watched() {
		out["dmwatcher.ini"] = fmt.Sprintf("[%s]\nDW_TYPE = GLOBAL\nDW_MODE = MANUAL\nINST_OGUID = %d\nINST_INI = %s\nINST_AUTO_RESTART = 1\nINST_STARTUP_CMD = %s/bin/dmserver\n", group, oguid, s.ini("dm.ini"), s.Home)
		mon := fmt.Sprintf("MON_DW_CONFIRM = 1\nMON_LOG_PATH = %s/log\n[%s]\nMON_INST_OGUID = %d\n", s.Home, group, oguid)
		for _, n := range r.order {
			mon += "MON_DW_IP = " + l.World.Machine(n).Address + ":5436\n"
		}
		if s.Name == r.order[len(r.order)-1] {
			out["dmmonitor.ini"] = mon
		}
	}
	if r.shared(s.Member) {
		out["dmdcr.ini"] = fmt.Sprintf("DMDCR_PATH = /dev/raw/dcr-%s\nDMDCR_MAL_PATH = %s/dmasvrmal.ini\nDMDCR_SEQNO = %d\n", s.Member, s.Dir, s.Seq)
		cfg := "DCR_N_GRP = 3\nDCR_VTD_PATH = /dev/raw/vtd-" + s.Member + "\nDCR_OGUID = 63635\n"
		for _, kind := range []string{"CSS", "ASM", "DB"} {
			cfg += "[GRP]\nDCR_GRP_TYPE = " + kind + "\nDCR_GRP_NAME = " + groupName(s.Member, kind) + "\nDCR_GRP_N_EP = 2\n"
		}
		for _, n := range r.nodes(s.Member) {
			cfg += fmt.Sprintf("[%s]\nDCR_EP_NAME = %s\nDCR_EP_SEQNO = %d\nDCR_EP_PORT = %d\nDCR_EP_HOST = %s\n", groupName(s.Member, "DB"), n.Instance, n.Seq, n.Port, l.World.Machine(n.Name).Address)
		}
		out["dmdcr_cfg.ini"] = cfg
		out["dmcssm.ini"] = "CSSM_OGUID = 63635\nCSSM_CSS_IP = 10.0.0.1:9341\n"
	}
	return out
}

// initialise makes the libraries: standbys are restored copies of the primary.
func (l *Lab) initialise(r *room) {
	w := l.World
	var primary *library
	for i, m := range r.members() {
		s := r.nodes(m)[0]
		lib := newLibrary(l.Opts.Release, len(r.nodes(m)))
		lib.Origin, lib.Encrypted, lib.DSC = l.Opts.Origin, l.Opts.LogEncrypted, r.shared(m)
		lib.PermMagic, lib.Magic = 1183041, r.magic+int64(i)*1009
		lib.Started = !l.Opts.NeverStarted
		if r.watched() {
			lib.Mode, lib.OGUID = "STANDBY", oguid
			if i == 0 {
				lib.Mode = "PRIMARY"
			}
		}
		if l.Opts.HugeTables {
			lib.Huge["T_HUGE"] = l.Opts.Release
		}
		if i == 0 {
			primary = lib
		} else {
			lib.follow(primary)
		}
		huge := ""
		if !ver(l.Opts.Release).less(vHuge) {
			huge = s.Data + "/HMAIN"
		}
		r.writeData(w, s, "dm.ctl", ctlBinary(ctlText("DAMENG", lib.DBVer, s.Data, huge)))
		r.dcr[m] = l.Opts.Release
		r.save(w, m, lib)
	}
}

func (l *Lab) startAll(r *room) error {
	w := l.World
	for _, unit := range []string{"DmCSSService", "DmASMSvrService", "DmService"} {
		for _, n := range r.order {
			if err := l.startUnit(n, r.sites[n].unit(unit)); err != nil {
				return err
			}
		}
	}
	members := r.members()
	for i := len(members) - 1; i >= 0; i-- {
		for _, s := range r.nodes(members[i]) {
			lib := r.lib(w, members[i])
			if !ver(l.Opts.Release).less(vRedo) && len(lib.History) == 0 {
				lib.History = []string{r.sites[r.order[0]].Instance + " " + l.Opts.Release}
				r.save(w, members[i], lib)
			}
			if why := r.openDatabase(w, s, true); why != "" {
				return fmt.Errorf("open %s: %s", s.Name, why)
			}
		}
	}
	for _, n := range r.order {
		r.servers[n].Invalid = map[string]bool{}
		r.servers[n].ReadyAt = w.Time()
	}
	for _, unit := range []string{"DmWatcherService", "DmMonitorService"} {
		for _, n := range r.order {
			if err := l.startUnit(n, r.sites[n].unit(unit)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Lab) startUnit(node, unit string) error {
	m := l.World.Machine(node)
	if u := m.Service(unit); u != nil {
		return m.StartService(u)
	}
	return nil
}

// Of is the same lab in a clone of its world.
func (l *Lab) Of(w *sim.World) *Lab { return &Lab{World: w, Opts: l.Opts} }

// Later returns releases at which a format changes, and the newest known one,
// that come behind a release: what a lab's packages are made for.
func Later(release string) []string {
	var out []string
	for _, r := range []string{"7.6.0.183", "8.1.1.15", "8.1.1.101", "8.1.1.171", "8.1.2.101", "8.1.3.162", "8.1.4.80", "8.1.4.170"} {
		if ver(release).less(ver(r)) {
			out = append(out, r)
		}
	}
	return out
}

// Hooks are faults of Dameng's own for sim.Fault.Do, each at the node where it strikes.
func Hooks() []string { return []string{hookKill, hookLag, hookCatchUp, hookNodeError} }

const (
	hookKill      = "dameng: kill server"
	hookLag       = "dameng: standby lags"
	hookCatchUp   = "dameng: standby catches up"
	hookNodeError = "dameng: node in ERROR"
)

func registerHooks(w *sim.World) {
	w.RegisterHook(hookKill, func(w *sim.World, m *sim.Machine, _ []string) {
		r, s := siteOf(w, m)
		if r.servers[s.Name] != nil {
			r.wentDark(s.Name, "dmserver", "power") // nobody stopped it: who mends starts it
		}
		r.kill(w, s)
		unitGone(m, s.unit("DmService"), false)
	})
	lag := func(on bool) func(*sim.World, *sim.Machine, []string) {
		return func(w *sim.World, m *sim.Machine, _ []string) {
			r, s := siteOf(w, m)
			r.lag[s.Member] = on
		}
	}
	w.RegisterHook(hookLag, lag(true))
	w.RegisterHook(hookCatchUp, lag(false))
	w.RegisterHook(hookNodeError, func(w *sim.World, m *sim.Machine, _ []string) {
		r, s := siteOf(w, m)
		if r.servers[s.Name] == nil {
			return // dmcss calls none faulty that was stopped with its group
		}
		v := r.votes[s.Name]
		v.OK = "ERROR"
		r.votes[s.Name] = v
	})
}

// Hosts are the machines.
func (l *Lab) Hosts() host.Set { return l.World.Hosts() }

// Inventory names the cluster as a DBA would write it down.
func (l *Lab) Inventory() *cluster.Inventory {
	r := roomOf(l.World)
	inv := &cluster.Inventory{Cluster: l.Opts.Cluster, Driver: "dameng", Settings: cluster.Settings{
		"user": "SYSDBA", "password_env": "DAMENG_PASSWORD", "home": "/opt/dmdbms", "backup_dir": "/backup",
	}}
	if f := l.Opts.PasswordFile; f != "" {
		delete(inv.Settings, "password_env")
		inv.Settings["password_file"] = f
	}
	if r.watched() {
		inv.Settings["group"], inv.Settings["oguid"] = group, fmt.Sprint(oguid)
	}
	for _, n := range r.order {
		s := r.sites[n]
		set := cluster.Settings{"instance": s.Instance, "port": fmt.Sprint(s.Port), "ini": s.ini("dm.ini"), "server_service": s.unit("DmService")}
		if r.watched() {
			set["watcher_service"], set["watcher_ini"] = s.unit("DmWatcherService"), s.ini("dmwatcher.ini")
			if n == r.order[len(r.order)-1] {
				set["monitor_service"], set["monitor_ini"] = s.unit("DmMonitorService"), s.ini("dmmonitor.ini")
			}
		}
		if r.shared(s.Member) {
			set["member"], set["seqno"] = s.Member, fmt.Sprint(s.Seq)
			set["css_service"], set["asm_service"] = s.unit("DmCSSService"), s.unit("DmASMSvrService")
			set["dcr_ini"], set["cssm_ini"] = s.ini("dmdcr.ini"), s.ini("dmcssm.ini")
			set["db_group"], set["asm_group"] = groupName(s.Member, "DB"), groupName(s.Member, "ASM")
			set["dcr_disk"], set["vote_disk"] = "/dev/raw/dcr-"+s.Member, "/dev/raw/vtd-"+s.Member
		}
		for k, v := range inv.Settings {
			set[k] = v
		}
		inv.Nodes = append(inv.Nodes, cluster.Node{Name: n, Address: l.World.Machine(n).Address, Transport: "ssh",
			StateDir: ".shiplift/" + l.Opts.Cluster + "/" + n, Settings: set})
	}
	return inv
}

// Package is the archive of a release: the directory bin as it is after an installation.
func Package(release string) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	t := tar.NewWriter(z)
	add := func(name, text string, mode int64) {
		h := &tar.Header{Name: "bin/" + name, Mode: mode, Size: int64(len(text)), ModTime: sim.Epoch, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			panic(err)
		}
		if _, err := t.Write([]byte(text)); err != nil {
			panic(err)
		}
	}
	if err := t.WriteHeader(&tar.Header{Name: "bin/", Mode: 0o755, ModTime: sim.Epoch, Typeflag: tar.TypeDir, Format: tar.FormatUSTAR}); err != nil {
		panic(err)
	}
	for _, name := range tools {
		add(name, sim.Program(name+" "+release), 0o755)
	}
	add("release.txt", idCode(release)+"\n", 0o644)
	if err := t.Close(); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// WritePackages puts the packages of releases into dir, with their checksums.
func WritePackages(dir string, releases ...string) ([]string, error) {
	var out []string
	for _, rel := range releases {
		body := Package(rel)
		name := filepath.Join(dir, "dameng-"+rel+".tar.gz")
		if err := os.WriteFile(name, body, 0o644); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		if err := os.WriteFile(name+".sha256", []byte(hex.EncodeToString(sum[:])+"  "+filepath.Base(name)+"\n"), 0o644); err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

// Lag makes a standby never catch up, or catch up again.
func (l *Lab) Lag(member string, on bool) {
	l.World.With(func() { roomOf(l.World).lag[member] = on })
}

// EqualMagic gives a standby the DB_MAGIC of the primary, as a copy of its files would have.
func (l *Lab) EqualMagic(member string) {
	l.World.With(func() {
		r := roomOf(l.World)
		_, p := r.primary(l.World)
		s := r.lib(l.World, member)
		s.Magic = p.Magic
		r.save(l.World, member, s)
	})
}

// NodeError makes a node of a DSC cluster faulty.
func (l *Lab) NodeError(node string) {
	l.World.With(func() {
		r := roomOf(l.World)
		v := r.votes[node]
		v.OK = "ERROR"
		r.votes[node] = v
	})
}

// StopStandbyFirst is the slip of the field case (spec/dameng.md section 6, 1):
// somebody stops monitors and watchers, then the standbys, and the primary last.
func (l *Lab) StopStandbyFirst() error {
	var err error
	l.World.With(func() {
		r := roomOf(l.World)
		stop := func(unit string, member string) {
			for _, s := range r.nodes(member) {
				if m := l.World.Machine(s.Name); m.Service(s.unit(unit)) != nil {
					err = errors.Join(err, m.StopService(m.Service(s.unit(unit))))
				}
			}
		}
		members := slices.Clone(r.members())
		slices.Reverse(members)
		for _, unit := range []string{"DmMonitorService", "DmWatcherService"} {
			for _, m := range members {
				stop(unit, m)
			}
		}
		for _, m := range members {
			if r.shared(m) {
				r.stopAll(l.World, m)
				continue
			}
			stop("DmService", m)
		}
	})
	return err
}

// PlaceOutside lays a tablespace of a member into a file far from the others.
func (l *Lab) PlaceOutside(member, file string) {
	l.World.With(func() {
		r := roomOf(l.World)
		m := l.World.Machine(r.nodes(member)[0].Name)
		m.Mkdir(path.Dir(file), 0o755, osUser)
		m.Chown(path.Dir(file), osUser)
		r.outside[member] = file
		r.save(l.World, member, r.lib(l.World, member))
	})
}

// InstallByHand puts the binaries of a release in place on every node, with no
// step of the manual around it.
func (l *Lab) InstallByHand(release string) {
	l.World.With(func() {
		for _, s := range roomOf(l.World).sites {
			for _, t := range tools {
				l.World.Machine(s.Name).Install(s.Home+"/bin/"+t, t+" "+release, osUser)
			}
		}
	})
}

// HangStop makes the exit of a server never end, or end again.
func (l *Lab) HangStop(node string, on bool) {
	l.World.With(func() {
		if sv := roomOf(l.World).servers[node]; sv != nil {
			sv.Hang = on
		}
	})
}
