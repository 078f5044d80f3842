package gbase8a

import (
	"fmt"
	"strings"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Look is what holds about one node, whatever its tools say.
type Look struct {
	Name      string
	Roles     string // coordinator, gcware, data
	Installed string
	Running   string // release of what runs; empty when nothing does
	State     string // how much of what belongs there runs
}

// Look tells what holds about every node.
func (c *Cluster) Look(w *sim.World) []Look {
	var out []Look
	for i := range c.Nodes {
		n := &c.Nodes[i]
		l := Look{Name: n.Name, Installed: n.Version}
		var roles []string
		for _, r := range []struct {
			name string
			has  bool
		}{{"coordinator", n.Coor}, {"gcware", n.Gcware}, {"data", n.Data}} {
			if r.has {
				roles = append(roles, r.name)
			}
		}
		l.Roles = strings.Join(roles, "+")
		running, all := 0, 0
		for _, prog := range allPrograms {
			if !c.has(n, prog) {
				continue
			}
			all++
			if p := c.running(w, n, prog); p != nil {
				running++
				l.Running = p.Image[strings.LastIndexByte(p.Image, ' ')+1:]
			}
		}
		l.State = fmt.Sprintf("%d of %d programs run", running, all)
		out = append(out, l)
	}
	return out
}

// Kill ends a program of a node with SIGKILL; monitors may start it again.
func (c *Cluster) Kill(w *sim.World, node, prog string) bool {
	n := c.node(node)
	if n == nil {
		return false
	}
	p := c.running(w, n, prog)
	if p == nil {
		return false
	}
	w.Machine(n.Machine).Signal(p, "KILL")
	return true
}

// Status is what gcadmin prints on a coordinator; with several virtual clusters
// what it prints about each follows, as an inventory needs it.
func (c *Cluster) Status(w *sim.World) string {
	text := c.status(w, "")
	for _, vc := range c.Config.VCs {
		text += c.status(w, vc)
	}
	return text
}

// Options is the installer's file demo.options as it was filled in for this cluster; passwords are left out.
func (c *Cluster) Options() string {
	hosts := func(has func(*Node) bool) string {
		var ips []string
		for i := range c.Nodes {
			if has(&c.Nodes[i]) {
				ips = append(ips, c.Nodes[i].IP)
			}
		}
		return strings.Join(ips, ",")
	}
	text := "installPrefix= " + c.Config.Prefix + "\ncoordinateHost = " + hosts(func(n *Node) bool { return n.Coor }) +
		"\ndataHost = " + hosts(func(n *Node) bool { return n.Data }) + "\n"
	if c.Config.Flavor == V953 {
		text += "gcwareHost = " + hosts(func(n *Node) bool { return n.Gcware }) + "\n"
	}
	return text + "#existCoordinateHost =\n#existDataHost =\ndbaUser = " + dbaUser + "\ndbaGroup = " + dbaUser + "\ndbaPwd = ''\nrootPwd = ''\n"
}
