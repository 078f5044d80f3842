package gbase8a

import "github.com/shiplift/shiplift/internal/lab/sim"

// Mend does what people do when the tool asks for them: the vendor's unmix
// releases that a broken installer left, back to the old one; an operator
// starts what fell with its machine's power while the rest of the cluster is
// in service. A half Restore.py is not touched: the tool goes on with it.
//
// That the vendor's were needed behind the last command of a run is an error
// in Whole: the run must not have ended like that.
func (c *Cluster) Mend(w *sim.World) {
	if in := c.install; in != nil && !in.running && !in.restore && c.mixed() {
		for i := range c.Nodes {
			c.setVersion(w, &c.Nodes[i], in.from)
		}
		c.mended = true
	}
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.fell && w.Machine(n.Machine).Up() && c.inService(w) {
			c.startAll(w, n)
		}
	}
}

// mixed: not all nodes have one release.
func (c *Cluster) mixed() bool {
	for i := range c.Nodes {
		if c.Nodes[i].Version != c.Nodes[0].Version {
			return true
		}
	}
	return false
}

// inService: a database process runs somewhere.
func (c *Cluster) inService(w *sim.World) bool {
	for i := range c.Nodes {
		for _, s := range gclusterServices {
			if c.running(w, &c.Nodes[i], s.prog) != nil {
				return true
			}
		}
	}
	return false
}
