package gbase8a

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// FlushProgram is what a driver asks python to run (spec section 3).
const FlushProgram = "import gcware; print(gcware.flush_statemachine())"

// register makes the simulated software known to a world.
func register(w *sim.World) {
	w.RegisterTool(tool, run)
	w.RegisterScript(host.DetachScript, detached)
	w.RegisterScript("true", func(*sim.Call) int { return 0 })
	w.RegisterProc(tool, sim.ProcKind{Exit: exits})
	w.RegisterProc(tool+" installer", sim.ProcKind{Exit: installExits})
	w.RegisterService(rcLocal, sim.ServiceKind{Start: bootsUp, Stop: func(*sim.World, *sim.Machine, *sim.Service) error { return nil }})
	w.Handle(evOpen, openEvent)
	w.Handle(evFlushBegin, flushBegins)
	w.Handle(evFlushEnd, flushEnds)
	w.Handle(evRevive, revives)
	w.Handle(evReviveAll, revivesAll)
	w.Handle(evQuit, quits)
	w.Handle(evTrailing, trailingEnds)
	w.Handle(evInstall, installEvent)
}

// bootsUp is rc.local: a while after the machine, all services are started.
func bootsUp(w *sim.World, m *sim.Machine, _ *sim.Service) error {
	c := Of(w)
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Machine == m.Name() {
			w.After(3*time.Second, evReviveAll, n.Name, nil)
		}
	}
	return nil
}

// run is every program of the lab: its image says which one, and whose.
func run(call *sim.Call) int {
	f := strings.Fields(call.Image)
	switch f[0] {
	case "python":
		return python(call, f[1])
	case "bash":
		return bash(call)
	case "gcinstall.py":
		return runInstaller(call, f[1], false)
	case "Restore.py":
		return runInstaller(call, f[1], true)
	case "SetSysEnv.py":
		return setSysEnv(call)
	}
	if len(f) != 3 {
		call.World.Complain("%s: %q is not simulated", call.Machine.Name(), call.Argv)
		return 1
	}
	c := Of(call.World)
	c.mended = false
	n := c.node(f[1])
	switch f[0] {
	case "gcadmin":
		return gcadmin(call, n)
	case "gcluster_services", "gcware_services":
		return serviceTool(call, n, f[0] == "gcware_services")
	case "gccli":
		return gccli(call, n)
	case "gbased", "gcware", "gclusterd":
		if slices.Contains(call.Args(), "--version") { // [A]
			call.Printf("%s  Ver %s for linux on x86_64\n", path.Base(call.Argv[0]), f[2])
			return 0
		}
	}
	call.World.Complain("%s: %q is not simulated", call.Machine.Name(), call.Argv)
	return 1
}

// bash is the shell with what its start files print in front.
func bash(call *sim.Call) int {
	args := call.Args()
	if f := Of(call.World).Faults.BashNoise; f != "" && len(args) > 0 && args[0] == "-lc" {
		call.Print(f)
	}
	return call.Exec(append([]string{"sh"}, args...)...)
}

func python(call *sim.Call, version string) int {
	args := call.Args()
	c := Of(call.World)
	switch {
	case len(args) == 1 && args[0] == "-V":
		if version[0] == '2' {
			call.Errorf("Python %s\n", version)
		} else {
			call.Printf("Python %s\n", version)
		}
		return 0
	case len(args) == 2 && args[0] == "-c":
		if dir := call.Env["PYTHONPATH"]; dir == "" || version[0] != '2' || !call.Exists(dir+"/gcware.so") {
			call.Errorf("Traceback (most recent call last):\n  File \"<string>\", line 1, in <module>\nImportError: No module named gcware\n")
			return 1
		}
		switch args[1] {
		case "import gcware":
			return 0
		case FlushProgram:
			return flushCall(call, c)
		}
	case len(args) > 0 && strings.HasSuffix(args[0], ".py"):
		return call.Exec(append([]string{call.Abs(args[0])}, args[1:]...)...)
	}
	call.World.Complain("%s: %q is not simulated", call.Machine.Name(), call.Argv)
	return 1
}

func flushCall(call *sim.Call, c *Cluster) int {
	if c.Faults.HangPython {
		call.Sleep(24 * time.Hour)
	}
	call.Sleep(200 * time.Millisecond)
	if open, _ := c.openCount(call.World); open == 0 {
		call.Errorf("Traceback (most recent call last):\n  File \"<string>\", line 1, in <module>\ngcware.error: connect gcware failed\n") // [A]
		return 1
	}
	if c.Faults.Return0 {
		call.Print("0\n")
		return 0
	}
	c.flush(call.World)
	call.Print("1\n")
	return 0
}

func setSysEnv(call *sim.Call) int {
	if call.User.Name != "root" {
		return call.Fail(1, "Must be run by root.")
	}
	if err := call.WriteFile("/tmp/SetSysEnv.log", []byte("set system environment\n"), 0o644); err != nil {
		return call.Fail(1, "%v", err)
	}
	return 0
}

// DBPassword is the password of the database user in every lab.
const DBPassword = "gbase-practice-1"

// gccli is the SQL client; the password comes in an option file on stdin.
func gccli(call *sim.Call, n *Node) int {
	c := Of(call.World)
	sql := ""
	for i, a := range call.Args() {
		switch {
		case a == "-e" && i+1 < len(call.Args()):
			sql = call.Args()[i+1]
		case strings.HasPrefix(a, "-p"):
			c.violate("I10", "a password in the words of a command")
		}
	}
	if !strings.Contains(string(call.Input()), "password=\""+DBPassword+"\"\n") {
		return call.Fail(1, "ERROR 1045 (28000): Access denied for user 'root'@'localhost'")
	}
	if c.running(call.World, n, "gclusterd") == nil {
		return call.Fail(1, "ERROR 2002 (HY000): Can't connect through socket '/tmp/gcluster_5258.sock' (2)")
	}
	call.Sleep(100 * time.Millisecond)
	return c.sql(call, n, sql)
}

func (c *Cluster) sql(call *sim.Call, n *Node, sql string) int {
	writes := strings.HasPrefix(sql, "create ") || strings.HasPrefix(sql, "drop ")
	switch {
	case c.Uninit && writes:
		return call.Fail(1, "ERROR 1707 (HY000): gcluster command error: (GBA-02CO-0003) nodedatamap is not initialized.")
	case sql == "select version()":
		call.Print(strings.Fields(c.running(call.World, n, "gclusterd").Image)[3] + "\n")
	case sql == "show processlist":
		call.Printf("1\tevent_scheduler\tlocalhost\tNULL\tDaemon\t100\tWaiting for next activation\tNULL\n")
		for i, s := range c.Statements {
			call.Printf("%d\troot\t10.0.9.9:4000\tdb\tQuery\t3\tSending data\t%s\n", i+2, s)
		}
		call.Printf("99\troot\tlocalhost\tNULL\tQuery\t0\tNULL\tshow processlist\n")
	case writes && c.Modes[c.vcs()[0]] != "NORMAL":
		return call.Fail(1, "ERROR 1149 (42000): (GBA-02SC-1001) cluster is readonly") // [A]
	case strings.HasPrefix(sql, "create table "):
		c.tables = append(c.tables, strings.Fields(sql)[2])
	case strings.HasPrefix(sql, "drop table if exists "):
		name := strings.Fields(sql)[4]
		c.tables = slices.DeleteFunc(c.tables, func(t string) bool { return t == name })
	default:
		call.World.Complain("%s: sql %q is not simulated", n.Name, sql)
		return call.Fail(1, "ERROR 1064 (42000): syntax error")
	}
	return 0
}

// packageName is the vendor's name of a package (spec section 6).
func packageName(cfg Config, release string) string {
	kind := "NoLicense-FREE"
	if cfg.Licensed {
		kind = "License"
	}
	return fmt.Sprintf("GBase8a_MPP_Cluster-%s-%s-redhat7-x86_64.tar.bz2", kind, release)
}
