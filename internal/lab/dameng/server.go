package dameng

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Texts of the vendor (spec/dameng.md 4.2, 4.4).
const (
	textOrigin = "Upgrade is not allowed,please startup with origin dmserver and shutdown again"
	textLower  = "start with lower version is not allowed"
	textArch   = "[-718]:Archive log collected not consecutive"
)

// start starts the server of a site; why is empty when it runs.
func (r *room) start(w *sim.World, s *site, release, channel string, mount bool) (why string) {
	if r.servers[s.Name] != nil {
		return "the server is running"
	}
	l := r.lib(w, s.Member)
	bin, _ := r.readData(w, s, "dm.ctl")
	text, sealed := ctlOpen(bin)
	if l == nil || !sealed {
		return "read ctl file error, dm.ctl is damaged"
	}
	v := ver(release)
	if v == (version{}) {
		return "no dmserver"
	}
	if r.torn(w, s) {
		r.hurt("DM-001", s.Name, "%s was put back without the rest of the library, or the rest without it", r.outside[s.Member])
		return "file " + r.outside[s.Member] + " is inconsistent with the control file"
	}
	if why := r.startDSC(s, release); why != "" {
		return why
	}
	first := !r.runs(s.Member)
	if why := r.mixed(s, v, l); why != "" {
		return why
	}
	if first {
		if why := r.admit(w, s, l, v, mount); why != "" {
			return why
		}
		r.touch(w, s, l, release, text)
	}
	ini := r.config(w, s, "dm.ini")
	sv := &server{
		Release: release, Channel: channel, State: "OPEN", ReadyAt: w.Time().Add(2 * time.Second), Invalid: map[string]bool{},
		AMS: iniValue(ini, "ALTER_MODE_STATUS") == "1",
	}
	if l.Mode != "NORMAL" || mount {
		sv.State = "MOUNT"
	}
	for _, m := range r.members() {
		if m != s.Member && r.shared(m) {
			for _, t := range r.nodes(m) {
				sv.Invalid[t.Instance] = true // a DSC standby is fed only when it was named (DM-034)
			}
		}
	}
	m := w.Machine(s.Name)
	p := m.Spawn(sim.Proc{Kind: "dmserver", User: osUser, Exe: s.Home + "/bin/dmserver",
		Argv: []string{s.Home + "/bin/dmserver", "path=" + s.ini("dm.ini"), "-noconsole"}, Cwd: s.Home + "/bin"})
	sv.PID = p.PID
	r.servers[s.Name] = sv
	delete(r.broken, s.Name)
	r.litAgain(s.Name, "dmserver")
	r.log(w, s, "SYSTEM IS READY.")
	if sv.State == "OPEN" {
		sv.State = "MOUNT"
		return r.openDatabase(w, s, true)
	}
	return ""
}

// mixed: two releases in one DSC cluster are a rolling upgrade, which not every
// pair allows (DM-092), and which no format may be changed in.
func (r *room) mixed(s *site, v version, l *library) string {
	for _, o := range r.nodes(s.Member) {
		sv := r.servers[o.Name]
		if sv == nil || ver(sv.Release) == v {
			continue
		}
		old := ver(sv.Release)
		if !(version{8, 1, 2, 128}).less(old) && v.less(version{8, 1, 4, 80}) || len(l.crosses(v)) > 0 {
			r.hurt("DM-092", s.Name, "%s was started beside %s", fmtVersion(v), sv.Release)
			return "version of this node is not compatible with the cluster"
		}
	}
	return ""
}

func (r *room) runs(member string) bool {
	return slices.ContainsFunc(r.nodes(member), func(s *site) bool { return r.servers[s.Name] != nil })
}

// startDSC: a node needs dmcss and dmasmsvr of its own release (DM-094).
func (r *room) startDSC(s *site, release string) string {
	if !r.shared(s.Member) {
		return ""
	}
	css, asm := r.css[s.Name], r.asm[s.Name]
	if css == nil || asm == nil {
		return "DCR check failed: dmcss and dmasmsvr must be started first"
	}
	if css.Release != release || asm.Release != release {
		r.hurt("DM-094", s.Name, "dmserver %s met dmcss %s and dmasmsvr %s", release, css.Release, asm.Release)
		return "dmcss, dmasmsvr and dmserver are of different versions"
	}
	return ""
}

// admit says whether a release may start the library (section 7 rule 1).
func (r *room) admit(w *sim.World, s *site, l *library, v version, mount bool) string {
	crossed := l.crosses(v)
	switch {
	case v.less(ver(l.MinExec)):
		r.hurt("DM-064", s.Name, "a release older than %s was started on the library", l.MinExec)
		return textLower
	case !l.Started && mount:
		return "a new library must be started without mount first"
	case !l.Started && slices.Contains(crossed, "E2"):
		r.hurt("DM-067", s.Name, "a library that was never started was to be upgraded")
		return textOrigin
	case l.release().less(vLogNo) && !l.LogNo && !v.less(vRedo):
		r.hurt("DM-003", s.Name, "%s cannot be started on a library of %s", fmtVersion(v), l.LastExec)
		return textOrigin
	case l.Encrypted && !vBan.less(ver(l.Origin)) && !v.less(vRedo):
		r.hurt("DM-004", s.Name, "an encrypted log that began at %s", l.Origin)
		return textOrigin
	case len(crossed) > 0 && !l.Clean:
		// Who dies between the first start and the change of the format breaks no rule, and is refused as well.
		if l.release() != v {
			r.hurt("DM-002", s.Name, "the library was not closed normally by %s", l.LastExec)
		}
		return textOrigin
	case len(crossed) > 0 && r.faulty(s.Member):
		r.hurt("DM-021", s.Name, "a node of %s is in ERROR", s.Member)
		return "a faulty node exists in the DSC cluster, upgrade failed"
	case v.less(vRedo) && r.mixedArchives(w, s):
		r.hurt("DM-023", s.Name, "old and new archives lie in one directory")
		return textArch
	}
	return ""
}

func fmtVersion(v version) string { return fmt.Sprintf("%d.%d.%d.%d", v[0], v[1], v[2], v[3]) }

func (r *room) faulty(member string) bool {
	if !r.shared(member) {
		return false
	}
	return slices.ContainsFunc(r.nodes(member), func(s *site) bool { return r.votes[s.Name].OK == "ERROR" })
}

// touch is what a start writes into the library (section 7 rule 2).
func (r *room) touch(w *sim.World, s *site, l *library, release, ctl string) {
	v := ver(release)
	crossed := l.crosses(v)
	if (slices.Contains(crossed, "E2") || slices.Contains(crossed, "E3")) && r.watched() && !l.WasOpen {
		rule := map[bool]string{true: "DM-060", false: "DM-070"}[slices.Contains(crossed, "E2")]
		r.hurt(rule, s.Name, "%s was not OPEN when it was closed", s.Member)
	}
	if _, p := r.anyPrimary(w); slices.Contains(crossed, "E3") && r.shared(s.Member) && l.Mode == "STANDBY" && p != nil && !l.equal(p) {
		l.Stuck = "DM-072"
		r.hurt("DM-072", s.Name, "the DSC standby was not equal with the primary when the page format changed")
	}
	for _, e := range crossed {
		switch e {
		case "E0":
			l.LogNo, l.MinExec = true, "7.6.0.183"
		case "E1":
			l.MinExec = later(l.MinExec, "8.1.1.15")
		case "E2":
			l.Roll, l.MinExec = true, later(l.MinExec, "8.1.1.101")
		case "E3":
			l.DBVer = 0x7000c
			if l.DSC || r.shared(s.Member) {
				l.MinExec = later(l.MinExec, "8.1.1.171")
			}
		}
	}
	if !v.less(vInfo5) && !l.Info5 {
		l.Info5, l.MinExec = true, later(l.MinExec, "8.1.4.23")
	}
	if hugePath(ctl) != "" && !v.less(vHuge) {
		l.MinExec = later(l.MinExec, "8.1.2.101")
	}
	l.LastExec, l.Clean, l.Started = release, false, true
	l.Restored = false
	r.save(w, s.Member, l)
}

// anyPrimary is the primary's library, whether it runs or not; it must not be changed.
func (r *room) anyPrimary(w *sim.World) (string, *library) {
	for _, m := range r.members() {
		if l := r.see(w, m); l != nil && l.Mode == "PRIMARY" {
			return m, l
		}
	}
	return "", nil
}

func later(a, b string) string {
	if ver(a).less(ver(b)) {
		return b
	}
	return a
}

// openDatabase opens the database on one node. It returns the error of disql.
func (r *room) openDatabase(w *sim.World, s *site, _ bool) string {
	sv, l := r.servers[s.Name], r.lib(w, s.Member)
	if sv.State == "OPEN" {
		return ""
	}
	if l.Mode != "STANDBY" {
		if why := r.openPrimary(w, s, sv, l); why != "" {
			return why
		}
	} else {
		r.openStandby(w, s, l)
	}
	sv.State = "OPEN"
	r.log(w, s, "database is open")
	return ""
}

// openPrimary makes the upgrade redo and ships it (section 7 rule 4).
func (r *room) openPrimary(w *sim.World, s *site, sv *server, l *library) string {
	v := ver(sv.Release)
	if l.Redo == "old" && !v.less(vRedo) {
		for _, m := range r.members() {
			if m == s.Member {
				continue
			}
			if t := r.nodes(m)[0]; r.control(m) == nil && !sv.Invalid[t.Instance] {
				if !r.justDied(w, t) {
					r.hurt("DM-050", s.Name, "the primary ships upgrade redo to %s, which does not run", m)
				}
				return "[-7100]:send redo to standby failed"
			}
		}
		l.Redo = "pkg"
		l.History = []string{s.Instance + " " + sv.Release}
		for _, m := range r.members() {
			if m != s.Member {
				r.ship(w, sv, l, m)
			}
		}
		l.Seq[s.Seq]++ // the upgrade redo itself
		l.LSN[s.Seq] += 100
		r.archive(w, s, "pkg")
	} else if l.Redo == "pkg" && !v.less(vRedo) && len(l.History) == 0 {
		l.History = []string{s.Instance + " " + sv.Release}
	}
	if !v.less(vRedo) && !r.runsOpen(s.Member) {
		l.History = append(l.History, fmt.Sprintf("%s %s #%d", s.Instance, sv.Release, len(l.History)))
	}
	r.save(w, s.Member, l)
	return ""
}

// justDied reports a site whose machine has no power, or whose server was killed
// a moment ago: that is nobody's doing, and nobody could have seen it.
func (r *room) justDied(w *sim.World, s *site) bool {
	at, dead := r.died[s.Name]
	return !w.Machine(s.Name).Up() || dead && !r.exited[s.Name] && w.Time().Sub(at) < time.Second
}

func (r *room) runsOpen(member string) bool {
	return slices.ContainsFunc(r.nodes(member), func(s *site) bool { sv := r.servers[s.Name]; return sv != nil && sv.State == "OPEN" })
}

// ship sends the upgrade redo to one standby and says what becomes of it.
func (r *room) ship(w *sim.World, sv *server, p *library, member string) {
	t := r.control(member)
	if t == nil || sv.Invalid[t.Instance] {
		l := r.lib(w, member)
		if t != nil && r.shared(member) && l != nil {
			l.Stuck = "DM-034"
			r.hurt("DM-034", t.Name, "the archive to the control node %s was not valid when the primary opened", t.Instance)
			r.save(w, member, l)
		}
		return
	}
	l := r.lib(w, member)
	switch {
	case !r.open(member):
		l.Stuck = "DM-032"
		r.hurt("DM-032", t.Name, "the primary opened before the standby was open")
	case ver(r.servers[t.Name].Release).less(vRedo):
		l.Stuck = "DM-031"
		r.hurt("DM-031", t.Name, "the standby runs %s", r.servers[t.Name].Release)
	case l.Magic == p.Magic:
		l.Stuck = "DM-024"
		r.hurt("DM-024", t.Name, "the DB_MAGIC of the standby is the primary's")
	case !l.equal(p):
		l.Stuck = "DM-022"
		r.hurt("DM-022", t.Name, "the standby was not equal with the primary when the primary was closed")
	default:
		l.Pending = true
	}
	r.save(w, member, l)
}

func (r *room) openStandby(w *sim.World, s *site, l *library) {
	if _, p := r.primary(w); p != nil && p.Redo == "pkg" && l.Redo == "old" && !l.Pending && l.Stuck == "" {
		l.Stuck = "DM-032"
		r.hurt("DM-032", s.Name, "the standby was opened after the primary")
		r.save(w, s.Member, l)
	}
}

// ---- exit ----

// stop ends the server of a site. clean is false for signals and worse.
func (r *room) stop(w *sim.World, s *site, clean bool) {
	sv := r.servers[s.Name]
	if sv == nil {
		return
	}
	l := r.lib(w, s.Member)
	if clean && l != nil && l.Mode != "STANDBY" && sv.State == "OPEN" {
		r.replay(w, s.Member, l) // an exit ships the last packages to the standbys that run
	}
	delete(r.servers, s.Name)
	r.exited[s.Name] = clean
	if !clean {
		r.died[s.Name] = w.Time()
	}
	m := w.Machine(s.Name)
	m.End(sv.PID)
	if l == nil {
		return
	}
	if clean && r.shared(s.Member) && r.asm[s.Name] == nil {
		r.hurt("DM-095", s.Name, "dmasmsvr was stopped before dmserver")
		clean = false
	}
	// A standby to which the archives were made invalid is none that the primary waits for.
	if pm, p := r.primary(w); clean && p != nil && l.Mode == "STANDBY" && r.watched() && pm != s.Member && r.feeds(pm, s) {
		r.taint[pm] = true
		r.hurt("DM-020", s.Name, "the standby was stopped while the primary server was running")
	}
	if !clean {
		r.broken[s.Name] = true
	}
	if r.runs(s.Member) {
		r.log(w, s, exitLines(clean)...)
		return
	}
	broken := slices.ContainsFunc(r.nodes(s.Member), func(n *site) bool { return r.broken[n.Name] })
	l.Clean, l.WasOpen = !r.taint[s.Member] && !broken, sv.State == "OPEN"
	delete(r.taint, s.Member)
	r.log(w, s, exitLines(clean)...)
	r.save(w, s.Member, l)
}

func exitLines(clean bool) []string {
	if clean {
		return []string{"DM Database Server shutdown successfully.", "[for dem]SYSTEM SHUTDOWN SUCCESS."}
	}
	return []string{"SYSTEM SHUTDOWN ABORT."}
}

// log appends to the instance's log of the month.
func (r *room) log(w *sim.World, s *site, lines ...string) {
	m := w.Machine(s.Name)
	name := fmt.Sprintf("%s/log/dm_%s_%s.log", s.Home, s.Instance, w.Time().Format("200601"))
	old, _ := m.Read(name)
	for _, line := range lines {
		old += w.Time().Format("2006-01-02 15:04:05.000") + " [INFO] database P0000004321 T0000000000000004321  " + line + "\n"
	}
	m.Write(name, old, 0o644, osUser)
}

// ---- archives ----

func (r *room) archiveDir(s *site) string { return s.Dir + "/arch" }

func (r *room) archive(w *sim.World, s *site, format string) {
	m := w.Machine(s.Name)
	m.Write(fmt.Sprintf("%s/ARCHIVE_LOCAL1_0x1B6C_EP%d_%s_%s.log", r.archiveDir(s), s.Seq, w.Time().Format("20060102150405"), format), "fmt="+format+"\n", 0o640, osUser)
}

func (r *room) mixedArchives(w *sim.World, s *site) bool {
	m := w.Machine(s.Name)
	seen := map[string]bool{}
	for _, f := range m.List(r.archiveDir(s)) {
		text, _ := m.Read(path.Join(r.archiveDir(s), f))
		if format, ok := strings.CutPrefix(strings.TrimSpace(text), "fmt="); ok {
			seen[format] = true
		}
	}
	return seen["old"] && seen["pkg"]
}

// ---- units, scripts and processes ----

func registerServer(w *sim.World) {
	w.RegisterTool("dmserver", dmserver)
	w.RegisterTool("dmservice", dmservice)
	w.RegisterProc("dmserver", sim.ProcKind{
		Signal: func(w *sim.World, m *sim.Machine, p *sim.Proc, sig string) bool {
			r, s := roomOf(w), roomOf(w).sites[m.Name()]
			clean := sig == "TERM" && !r.shared(s.Member)
			r.stop(w, s, clean)
			unitGone(m, s.unit("DmService"), clean)
			return true
		},
		Exit: func(w *sim.World, m *sim.Machine, p *sim.Proc, sig string) {
			r, s := roomOf(w), roomOf(w).sites[m.Name()]
			r.wentDark(s.Name, p.Kind, sig)
			if sv := r.servers[s.Name]; sv != nil && sv.PID == p.PID {
				r.kill(w, s)
				unitGone(m, s.unit("DmService"), false)
			}
		},
	})
	w.RegisterService("dmserver", sim.ServiceKind{Start: startUnit, Stop: stopUnit})
}

// kill is the end of a server without an exit.
func (r *room) kill(w *sim.World, s *site) {
	if r.servers[s.Name] == nil {
		return
	}
	r.stop(w, s, false)
	if r.shared(s.Member) {
		r.votes[s.Name] = vote{"OPEN", "SYSHALT", "ERROR", false}
	}
	if sv := r.servers[s.Name]; sv != nil {
		delete(r.servers, s.Name)
	}
}

func unitGone(m *sim.Machine, name string, clean bool) {
	if u := m.Service(name); u != nil && u.Active {
		u.Active, u.Failed = false, !clean
	}
}

func siteOf(w *sim.World, m *sim.Machine) (*room, *site) {
	r := roomOf(w)
	return r, r.sites[m.Name()]
}

func startUnit(w *sim.World, m *sim.Machine, u *sim.Service) error {
	r, s := siteOf(w, m)
	why := r.start(w, s, r.installed(w, s), "systemctl", false)
	if why != "" {
		r.log(w, s, why) // systemctl tells no reason
		return fmt.Errorf("Job for %s.service failed because the control process exited with error code.\n%s", u.Name, why)
	}
	r.vote(s)
	return nil
}

func stopUnit(w *sim.World, m *sim.Machine, _ *sim.Service) error {
	r, s := siteOf(w, m)
	sv := r.servers[s.Name]
	if sv == nil || sv.Channel != "systemctl" {
		return nil // systemctl sees only what it started (spec/dameng.md 4.3)
	}
	if sv.Hang {
		return fmt.Errorf("Job for %s.service canceled.", s.unit("DmService"))
	}
	r.stop(w, s, true)
	r.serial(s)
	return nil
}

// dmserver [ini] [-noconsole] [mount] [path=ini]
func dmserver(c *sim.Call) int {
	r, s := siteOf(c.World, c.Machine)
	ini, mount := "", false
	for _, a := range c.Args() {
		switch {
		case a == "mount":
			mount = true
		case strings.HasPrefix(a, "path="):
			ini = strings.TrimPrefix(a, "path=")
		case strings.HasSuffix(a, ".ini"):
			ini = a
		}
	}
	if ini != s.ini("dm.ini") {
		c.Print("Invalid input " + ini + "\nformat: ./dmserver [ini_file_path] [-noconsole] [mount] [path=ini_file_path] [dcr_ini=dcr_path]\n")
		return 1
	}
	c.Print("file dm.key not found, use default license!\nversion info: develop\n")
	if c.User.Name == "root" {
		r.hurt("run-as-root", s.Name, "dmserver was started by root")
	}
	c.Sleep(time.Second)
	if why := r.start(c.World, s, c.Image, "bare", mount); why != "" {
		c.Print(why + "\n")
		return 1
	}
	r.vote(s)
	c.Print("SYSTEM IS READY.\n")
	return 0
}

// dmservice is the script that the vendor's installer writes: NAME start|stop|status|stop_all.
func dmservice(c *sim.Call) int {
	r, s := siteOf(c.World, c.Machine)
	name, verb := path.Base(c.Argv[0]), ""
	if len(c.Args()) > 0 {
		verb = c.Args()[0]
	}
	if !strings.HasPrefix(name, "DmService") {
		return helperScript(c, r, s, name, verb)
	}
	sv := r.servers[s.Name]
	switch verb {
	case "status":
		if sv != nil {
			c.Printf("%s (pid %d) is running...\n", name, sv.PID)
			return 0
		}
		c.Printf("%s is stopped\n", name)
		return 3
	case "start":
		c.Printf("Starting %s:                                ", name)
		c.Sleep(2 * time.Second)
		if why := r.start(c.World, s, r.installed(c.World, s), "script", false); why != "" && sv == nil {
			c.Print("[ FAILED ]\n" + why + "\n")
			return 1
		}
		r.vote(s)
		c.Print("[ OK ]\n")
		return 0
	case "stop", "stop_all":
		return stopScript(c, r, s, name, verb == "stop_all")
	}
	c.Printf("Usage: %s {start|stop|status|restart|condrestart|stop_all}\n", name)
	return 2
}

func stopScript(c *sim.Call, r *room, s *site, name string, all bool) int {
	sv := r.servers[s.Name]
	c.Printf("Stopping %s:                                ", name)
	c.Sleep(2 * time.Second)
	if sv == nil {
		c.Print("[ OK ]\n")
		return 0
	}
	if sv.Hang || sv.Channel == "systemctl" {
		c.Sleep(15 * time.Second)
		c.Printf("[**FAILED**]\nKill the process(pid:%d) had timeout!\n", sv.PID)
		return 1
	}
	if all {
		r.stopAll(c.World, s.Member)
	} else {
		r.stop(c.World, s, true)
		r.serial(s)
	}
	c.Print("[ OK ]\n")
	return 0
}

func iniValue(text, key string) string {
	for _, line := range strings.Split(text, "\n") {
		name, value, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(name) == key {
			value, _, _ = strings.Cut(value, "#")
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func setIni(text, key, value string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if name, _, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == key {
			lines[i] = name + "= " + value
		}
	}
	return strings.Join(lines, "\n")
}
