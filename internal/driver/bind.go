package driver

import (
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/plan"
)

// WithMode fills in the mode of a request that names none.
func WithMode(d Driver, inv *cluster.Inventory, r plan.Request) plan.Request {
	if r.Mode != "" {
		return r
	}
	r.Mode = "rolling"
	if d, ok := d.(DefaultMode); ok {
		r.Mode = d.DefaultMode(inv)
	}
	return r
}

// Make asks d for a plan and binds it to the observation it was made from:
// apply refuses it when the facts have moved on.
func Make(d Driver, inv *cluster.Inventory, o Observation, r plan.Request, engine string) (*plan.Plan, error) {
	p, err := d.Plan(inv, o, r)
	if err != nil {
		return nil, err
	}
	p.Format = plan.Format
	p.Engine = engine
	p.Cluster, p.ClusterID = inv.Cluster, inv.ID()
	p.Driver = d.Name()
	p.Request = r
	p.Facts = o.Facts
	p.Observed = plan.Digest(o.Facts)
	p.Before = make(map[string]plan.NodeState, len(o.Nodes))
	for _, n := range o.Nodes {
		p.Before[n.Name] = plan.NodeState{Role: n.Role, Running: n.Running, Installed: n.Installed, Health: n.Health, Healthy: n.Healthy}
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &p, nil
}
