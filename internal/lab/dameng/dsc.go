package dameng

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// vote notes that a node of a DSC cluster runs.
func (r *room) vote(s *site) {
	if r.shared(s.Member) && r.servers[s.Name] != nil {
		r.votes[s.Name] = vote{"OPEN", "WORKING", "OK", true}
	}
}

// serial is the exit of one node alone: the group sees it as faulty unless it
// was the last one (spec/dameng.md 4.10, DM-096).
func (r *room) serial(s *site) {
	if !r.shared(s.Member) || r.servers[s.Name] != nil {
		return
	}
	if r.runs(s.Member) {
		r.votes[s.Name] = vote{"SHUTDOWN", "STOP", "ERROR", false}
		return
	}
	r.votes[s.Name] = vote{"SHUTDOWN", "SHUTDOWN", "OK", false}
}

// stopAll ends all nodes of a member as one, as stop_all and ep stop do.
func (r *room) stopAll(w *sim.World, member string) {
	nodes := slices.Clone(r.nodes(member))
	slices.Reverse(nodes)
	for _, s := range nodes {
		if r.servers[s.Name] == nil {
			continue
		}
		r.stop(w, s, true)
		r.votes[s.Name] = vote{"SHUTDOWN", "SHUTDOWN", "OK", false}
		unitGone(w.Machine(s.Name), s.unit("DmService"), true)
	}
}

func registerDSC(w *sim.World) {
	w.RegisterTool("dmcssm", dmcssm)
	w.RegisterTool("dmasmcmd", dmasmcmd)
	for _, k := range []struct {
		kind, unit string
	}{{"dmwatcher", "DmWatcherService"}, {"dmmonitor", "DmMonitorService"}, {"dmcss", "DmCSSService"}, {"dmasmsvr", "DmASMSvrService"}} {
		kind := k.kind
		w.RegisterService(kind, sim.ServiceKind{Start: startHelper, Stop: stopHelper})
		w.RegisterProc(kind, sim.ProcKind{Exit: func(w *sim.World, m *sim.Machine, p *sim.Proc, sig string) {
			r, s := siteOf(w, m)
			r.wentDark(s.Name, p.Kind, sig)
			if in := r.helpers(p.Kind); in[s.Name] != nil && in[s.Name].PID == p.PID {
				delete(in, s.Name)
				unitGone(m, s.unit(unitOf[p.Kind]), false)
			}
		}})
	}
	w.RegisterTool("dmwatcher", func(c *sim.Call) int { return bareHelper(c, "dmwatcher") })
	w.RegisterTool("dmcss", func(c *sim.Call) int { return bareHelper(c, "dmcss") })
	w.RegisterTool("dmasmsvr", func(c *sim.Call) int { return bareHelper(c, "dmasmsvr") })
}

var unitOf = map[string]string{
	"dmwatcher": "DmWatcherService", "dmmonitor": "DmMonitorService", "dmcss": "DmCSSService", "dmasmsvr": "DmASMSvrService",
}

func (r *room) helpers(kind string) map[string]*helper {
	return map[string]map[string]*helper{"dmwatcher": r.watch, "dmmonitor": r.monitor, "dmcss": r.css, "dmasmsvr": r.asm}[kind]
}

func startHelper(w *sim.World, m *sim.Machine, u *sim.Service) error {
	r, s := siteOf(w, m)
	if why := r.startHelper(w, s, u.Kind); why != "" {
		r.log(w, s, why)
		return fmt.Errorf("Job for %s.service failed.\n%s", u.Name, why)
	}
	return nil
}

func (r *room) startHelper(w *sim.World, s *site, kind string) string {
	in := r.helpers(kind)
	if in[s.Name] != nil {
		return "it is running"
	}
	_, release, _ := strings.Cut(w.Machine(s.Name).Image(s.Home+"/bin/"+kind), " ")
	if kind == "dmcss" {
		if why := r.startCSS(s, release); why != "" {
			return why
		}
	}
	if kind == "dmasmsvr" && r.css[s.Name] == nil {
		return "dmcss must be started first"
	}
	p := w.Machine(s.Name).Spawn(sim.Proc{Kind: kind, User: osUser, Exe: s.Home + "/bin/" + kind,
		Argv: []string{s.Home + "/bin/" + kind, s.ini(kind + ".ini")}, Cwd: s.Home + "/bin"})
	in[s.Name] = &helper{Release: release, PID: p.PID, Since: w.Time()}
	r.litAgain(s.Name, kind)
	return ""
}

// startCSS reads the DCR disk, whose format depends on the release that made it.
func (r *room) startCSS(s *site, release string) string {
	made, v := ver(r.dcr[s.Member]), ver(release)
	switch {
	case made[0] == 7 && v[0] == 8:
		r.hurt("DM-090", s.Name, "dmcss %s met a DCR disk of %s", release, r.dcr[s.Member])
	case made.less(vASM) && !v.less(vASM):
		r.hurt("DM-091", s.Name, "dmcss %s met a DCR disk of %s", release, r.dcr[s.Member])
	case v.less(made) && (v[0] < made[0] || v.less(vASM) && !made.less(vASM)):
	default:
		return ""
	}
	return "DCR disk version is not supported"
}

func stopHelper(w *sim.World, m *sim.Machine, u *sim.Service) error {
	r, s := siteOf(w, m)
	r.stopHelper(w, s, u.Kind)
	return nil
}

func (r *room) stopHelper(w *sim.World, s *site, kind string) {
	in := r.helpers(kind)
	if h := in[s.Name]; h != nil {
		delete(in, s.Name)
		w.Machine(s.Name).End(h.PID)
	}
	if kind == "dmasmsvr" && r.servers[s.Name] != nil || kind == "dmcss" && (r.servers[s.Name] != nil || r.asm[s.Name] != nil) {
		r.hurt("DM-095", s.Name, "%s was stopped before what lives on it", kind)
		r.kill(w, s)
		unitGone(w.Machine(s.Name), s.unit("DmService"), false)
	}
}

func bareHelper(c *sim.Call, kind string) int {
	r, s := siteOf(c.World, c.Machine)
	if why := r.startHelper(c.World, s, kind); why != "" {
		return c.Fail(1, "%s", why)
	}
	return 0
}

func helperScript(c *sim.Call, r *room, s *site, name, verb string) int {
	for kind, unit := range unitOf {
		if name != s.unit(unit) {
			continue
		}
		h := r.helpers(kind)[s.Name]
		switch verb {
		case "status":
			if h == nil {
				c.Printf("%s is stopped\n", name)
				return 3
			}
			c.Printf("%s (pid %d) is running...\n", name, h.PID)
		case "start":
			if why := r.startHelper(c.World, s, kind); why != "" {
				c.Printf("Starting %s:                                [ FAILED ]\n%s\n", name, why)
				return 1
			}
			c.Printf("Starting %s:                                [ OK ]\n", name)
		case "stop":
			r.stopHelper(c.World, s, kind)
			c.Printf("Stopping %s:                                [ OK ]\n", name)
		}
		return 0
	}
	return c.Fail(1, "%s: unknown service", name)
}

// dmcssm reads commands on standard input (spec/dameng.md 4.10).
func dmcssm(c *sim.Call) int {
	r, s := siteOf(c.World, c.Machine)
	now := func() string { return c.World.Time().Format("2006-01-02 15:04:05") }
	if r.css[s.Name] == nil && !slices.ContainsFunc(r.nodes(s.Member), func(o *site) bool { return r.css[o.Name] != nil }) {
		c.Printf("[monitor]          [%s] CSS MONITOR V8\n[monitor]          [%s] Wait CSS Control Node choosed...\n", now(), now())
		return 1
	}
	c.Printf("[monitor]          [%s:548] CSS MONITOR V8\n[monitor]          [%s:550] CSS MONITOR SYSTEM IS READY.\n", now(), now())
	c.Printf("[monitor]          [%s:552] Wait CSS Control Node choosed...\n[monitor]          [%s:554] Wait CSS Control Node choosed succeed.\n", now(), now())
	in := bufio.NewScanner(bytes.NewReader(c.Input()))
	for in.Scan() {
		words := strings.Fields(in.Text())
		switch {
		case len(words) == 0:
		case words[0] == "exit":
			return 0
		case words[0] == "show":
			cssShow(c, r, s)
		case len(words) == 3 && words[0] == "ep" && (words[1] == "stop" || words[1] == "startup"):
			cssEP(c, r, s, words[1], words[2])
		default:
			c.Printf("Unknown command: %s\n", in.Text())
		}
	}
	return 0
}

func groupName(member, kind string) string { return "GRP_" + kind + "_" + strings.ToUpper(member) }

func cssEP(c *sim.Call, r *room, s *site, verb, group string) {
	c.Sleep(3 * time.Second)
	failed := func(why string) { c.Printf("%s\nEP %s %s failed\n", why, strings.ToUpper(verb), group) }
	switch {
	case group == groupName(s.Member, "CSS"):
		failed("CSS group does not support this command")
		return
	case group == groupName(s.Member, "DB") && verb == "stop":
		for _, n := range r.nodes(s.Member) {
			if sv := r.servers[n.Name]; sv != nil && sv.Hang {
				failed("wait ep stop timeout")
				return
			}
		}
		r.stopAll(c.World, s.Member)
	case group == groupName(s.Member, "ASM") && verb == "stop":
		if r.runs(s.Member) {
			failed("DB group is active, stop it first")
			return
		}
		for _, n := range r.nodes(s.Member) {
			r.stopHelper(c.World, n, "dmasmsvr")
			unitGone(c.World.Machine(n.Name), n.unit("DmASMSvrService"), true)
		}
	default:
		failed("no such group")
		return
	}
	if r.opts.Lang == "zh" {
		c.Printf("命令EP %s %s执行成功\n", strings.ToUpper(verb), group)
		return
	}
	c.Printf("Command EP %s %s execute successfully\n", strings.ToUpper(verb), group)
}

func cssShow(c *sim.Call, r *room, s *site) {
	control := 255
	if n := r.control(s.Member); n != nil {
		control = n.Seq
	}
	now := c.World.Time().Format("2006-01-02 15:04:05")
	c.Printf("monitor current time:%s, n_group:3\n", now)
	c.Printf("=================== group[name = %s, seq = 2, type = DB, Control Node = %d] ========================================\n", groupName(s.Member, "DB"), control)
	ok := 0
	for _, n := range r.nodes(s.Member) {
		if r.servers[n.Name] != nil {
			ok++
		}
	}
	c.Printf("n_ok_ep = %d\nok_ep_arr(index, seqno):\n", ok)
	i := 0
	for _, n := range r.nodes(s.Member) {
		if r.servers[n.Name] != nil {
			c.Printf("(%d, %d)\n", i, n.Seq)
			i++
		}
	}
	c.Print("sta = OPEN, sub_sta = STARTUP\nbreak ep = NULL\nrecover ep = NULL\ncrash process over flag is TRUE\n")
	c.Print("ep:     css_time               inst_name     seqno     port    mode         inst_status        vtd_status   is_ok        active       guid              ts\n")
	for _, n := range r.nodes(s.Member) {
		v := r.votes[n.Name]
		mode := "Normal Node"
		if n.Seq == control {
			mode = "Control Node"
		}
		active := "FALSE"
		if v.Active {
			active = "TRUE"
		}
		c.Printf("        %s    %-14s%-10d%-8d%s %-19s%-13s%-13s%-13s%-18d%d\n", now, n.Instance, n.Seq, n.Port, mode, v.Inst, v.VTD, v.OK, active, 13930, 20404)
	}
}

// dmasmcmd reads commands on standard input: export, create and init of DCR and voting disks.
func dmasmcmd(c *sim.Call) int {
	r, s := siteOf(c.World, c.Machine)
	c.Print("DMASMCMD V8\n")
	in := bufio.NewScanner(bytes.NewReader(c.Input()))
	for in.Scan() {
		line := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(in.Text()), ";"))
		words := strings.Fields(line)
		quoted := strings.Split(line, "'")
		switch {
		case line == "" || line == "exit":
			continue
		case len(quoted) < 3:
			c.Print("[code : -1]syntax error\n")
			return 1
		case strings.HasPrefix(line, "export dcrdisk"):
			if err := c.WriteFile(quoted[3], []byte("DCR_N_GRP = 3\nDCR_OGUID = 63635\n"), 0o644); err != nil {
				c.Printf("[code : -1]%v\n", err)
				return 1
			}
			c.Print("[Trace]DG 126 export dcr successfully\n")
		case words[0] == "create":
			c.Printf("[Trace]The ASM initialize %s successfully\n", words[1])
		case strings.HasPrefix(line, "init dcrdisk"):
			if r.anyHelper(s.Member) {
				r.hurt("DM-090", s.Name, "the DCR disk was initialised while dmcss was running")
				c.Print("[code : -1]disk is in use\n")
				return 1
			}
			if !c.Exists(quoted[3]) || !strings.Contains(line, "identified by") {
				c.Print("[code : -1]invalid configuration\n")
				return 1
			}
			r.dcr[s.Member] = c.Image
			c.Print("[Trace]DG 126 init dcr successfully\n")
		case strings.HasPrefix(line, "init votedisk"):
			c.Print("[Trace]DG 126 init vote successfully\n")
		default:
			c.Print("[code : -1]syntax error\n")
			return 1
		}
	}
	return 0
}

func (r *room) anyHelper(member string) bool {
	return slices.ContainsFunc(r.nodes(member), func(s *site) bool { return r.css[s.Name] != nil })
}
