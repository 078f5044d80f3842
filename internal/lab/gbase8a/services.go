package gbase8a

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// service is what the tools call a service, and the program behind it.
type service struct{ name, prog string }

var (
	gclusterServices = []service{{"gcluster", "gclusterd"}, {"gcrecover", "gcrecover"}, {"gbase", "gbased"}, {"syncserver", "gc_sync_server"}}
	gcwareService    = service{"gcware", "gcware"}
	allPrograms      = []string{"gclusterd", "gcrecover", "gbased", "gc_sync_server", "gcware", "gcmonit", "gcmmonit", "gcware_monit", "gcware_mmonit"}
)

// column is where a service tool prints its verdict (spec section 5).
const column = 59

func verdict(text string, ok bool) string {
	word := "[  OK  ]"
	if !ok {
		word = "[FAILED]" // [A]
	}
	return fmt.Sprintf("%-*s%s\n", column, text, word)
}

// has says whether a node carries a program.
func (c *Cluster) has(n *Node, prog string) bool {
	_, has := n.kit(c.Config.Flavor).file[prog]
	return has
}

func (c *Cluster) file(n *Node, prog string) string {
	if f, has := n.kit(c.Config.Flavor).file[prog]; has {
		return n.base(f)
	}
	return ""
}

func (c *Cluster) start(w *sim.World, n *Node, prog string) {
	if !c.has(n, prog) || c.running(w, n, prog) != nil {
		return
	}
	if (prog == "gclusterd" || prog == "gbased") && !c.LicenseOK {
		return // G28: they stay CLOSE
	}
	f := c.file(n, prog)
	w.Machine(n.Machine).Spawn(sim.Proc{Kind: tool, User: dbaUser, Exe: f, Argv: []string{f}})
	n.fell = false
	if prog == "gcware" {
		n.opened = false
		w.After(c.Delays.Open, evOpen, n.Name, nil)
	}
}

func (c *Cluster) stop(w *sim.World, n *Node, prog string) {
	if p := c.running(w, n, prog); p != nil {
		w.Machine(n.Machine).Signal(p, "TERM")
	}
}

// exits is told about every program that ended.
func exits(w *sim.World, m *sim.Machine, p *sim.Proc, why string) {
	f := strings.Fields(p.Image)
	c := Of(w)
	n := c.node(f[2])
	n.fell = n.fell || why == "power"
	if f[1] == "gcware" {
		c.gcwareExits(w, n, why)
	}
	monitor := "gcmonit"
	if f[1] == "gcware" && c.Config.Flavor == V953 {
		monitor = "gcware_monit"
	}
	if why != "power" && !strings.Contains(f[1], "monit") && c.running(w, n, monitor) != nil && c.Faults.NoMonitor != n.Name {
		w.After(c.Delays.Revive, evRevive, n.Name, f[1])
	}
}

func revives(w *sim.World, e sim.Event) {
	c := Of(w)
	n := c.node(e.Node)
	prog := e.Arg.(string)
	monitor := "gcmonit"
	if prog == "gcware" && c.Config.Flavor == V953 {
		monitor = "gcware_monit"
	}
	if w.Machine(n.Machine).Up() && c.running(w, n, monitor) != nil {
		c.start(w, n, prog)
	}
}

func revivesAll(w *sim.World, e sim.Event) {
	c := Of(w)
	if n := c.node(e.Node); w.Machine(n.Machine).Up() {
		c.startAll(w, n)
	}
}

func (c *Cluster) startAll(w *sim.World, n *Node) {
	for _, p := range []string{"gcware", "gclusterd", "gcrecover", "gbased", "gc_sync_server", "gcmonit", "gcmmonit", "gcware_monit", "gcware_mmonit"} {
		c.start(w, n, p)
	}
}

// serviceTool is gcluster_services and gcware_services; both act on their own node only.
func serviceTool(call *sim.Call, n *Node, ware bool) int {
	c := Of(call.World)
	services, monitors, monitorName := c.servicesOf(n, ware)
	known := []string{"all"}
	for _, s := range services {
		known = append(known, s.name)
	}
	if !ware {
		known = append(known, "gcluster", "gcrecover", "gbase", "syncserver")
	}
	args := call.Args()
	force := len(args) == 3 && args[2] == "--force"
	if len(args) < 2 || len(args) > 3 || len(args) == 3 && !force || !slices.Contains(known, args[0]) ||
		!slices.Contains([]string{"start", "stop", "restart", "info"}, args[1]) || force && (args[1] == "start" || args[1] == "info") {
		return c.usage(call, ware)
	}
	if call.User.Name != dbaUser {
		return call.Fail(1, "Must be run by %s.", dbaUser)
	}
	if args[1] != "info" && c.OtherLock {
		c.violate("G31", "%s %s on %s while another operator holds the cluster", args[0], args[1], n.Name)
	}
	if args[1] == "start" && c.install != nil && c.install.running {
		c.violate("U6", "%s started on %s while the installer runs", args[0], n.Name)
	}
	pick := services
	if args[0] != "all" {
		monitors = nil
		pick = nil
		for _, s := range services {
			if s.name == args[0] {
				pick = []service{s}
			}
		}
	}
	t := serviceRun{call, c, n, pick, monitors, monitorName, args[0] == "all"}
	switch args[1] {
	case "start":
		return t.start()
	case "stop":
		return t.stop(force)
	case "restart":
		if code := t.stop(force); code != 0 {
			return code
		}
		return t.start()
	}
	return t.info()
}

// servicesOf are the services that a tool knows on a node, with their monitors.
func (c *Cluster) servicesOf(n *Node, ware bool) (services []service, monitors []string, name string) {
	if ware {
		return []service{gcwareService}, []string{"gcware_monit", "gcware_mmonit"}, "GCWareMonit"
	}
	if c.Config.Flavor == V952 && n.Gcware {
		services = append(services, gcwareService)
	}
	for _, s := range gclusterServices {
		if c.has(n, s.prog) {
			services = append(services, s)
		}
	}
	return services, []string{"gcmonit", "gcmmonit"}, "GCMonit"
}

func (c *Cluster) usage(call *sim.Call, ware bool) int {
	names := "gbase|gcluster|gcrecover|syncserver|all"
	if ware {
		names = "gcware|all"
	} else if c.Config.Flavor == V952 {
		names = "gbase|gcluster|gcware|gcrecover|syncserver|all"
	}
	call.Printf("Usage: %s <%s> <start|stop [--force]|restart [--force]|info>\n", call.Argv[0], names)
	return 1
}

type serviceRun struct {
	call     *sim.Call
	c        *Cluster
	n        *Node
	services []service
	monitors []string
	name     string
	all      bool
}

// each is how long one service takes to start or stop.
const each = 500 * time.Millisecond

func (t *serviceRun) start() int {
	code := 0
	for _, s := range t.services {
		t.call.Sleep(each)
		t.c.start(t.call.World, t.n, s.prog)
		ok := t.c.running(t.call.World, t.n, s.prog) != nil
		t.call.Print(verdict("Starting "+s.name+" :", ok))
		if !ok {
			code = 1
		}
	}
	for _, m := range t.monitors {
		t.c.start(t.call.World, t.n, m)
	}
	if len(t.monitors) > 0 {
		t.call.Printf("Starting %s success!\n", t.name)
	}
	return code
}

func (t *serviceRun) stop(force bool) int {
	w, n := t.call.World, t.n
	if force && !n.stopFailed {
		t.c.violate("P2", "--force on %s without a failed stop before", n.Name)
	}
	for _, m := range t.monitors {
		t.c.stop(w, n, m)
	}
	if len(t.monitors) > 0 {
		t.call.Printf("Stopping %s success!\n", t.name)
	}
	code := 0
	for _, s := range slices.Backward(t.services) {
		t.call.Sleep(each)
		if t.c.Faults.StopTimeout == n.Name && !force && t.c.running(w, n, s.prog) != nil {
			t.call.Print(verdict("Stopping "+s.name+" :", false))
			n.stopFailed = true
			code = 1
			continue
		}
		t.c.stop(w, n, s.prog)
		t.call.Print(verdict("Stopping "+s.name+" :", true))
	}
	if t.all && t.c.Faults.ReviveOnce == n.Name && !n.revived {
		n.revived = true
		w.After(6*time.Second, evReviveAll, n.Name, nil)
	}
	return code
}

func (t *serviceRun) info() int {
	for _, s := range t.services {
		name := s.name
		if t.c.Config.Flavor == V953 {
			name = t.c.file(t.n, s.prog)
		}
		state := "is stopped" // [A]
		if t.c.running(t.call.World, t.n, s.prog) != nil {
			state = "is running"
		}
		t.call.Printf("%s %s\n", name, state)
	}
	return 0
}
