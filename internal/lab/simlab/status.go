package simlab

import (
	"context"
	"slices"
	"time"
)

// Status is what a lab looks like now.
type Status struct {
	Dir       string  `json:"dir"`
	Cluster   string  `json:"cluster"`
	Driver    string  `json:"driver"`
	Inventory string  `json:"inventory"`
	Simulated bool    `json:"simulated"` // always: no software of the vendor runs here
	Ready     bool    `json:"ready"`     // it was healthy once
	Daemon    bool    `json:"daemon"`    // the process that is the cluster runs
	Speed     float64 `json:"speed"`     // of its clock
	Inside
}

// Inside is what only the process that holds the cluster knows.
type Inside struct {
	Time       time.Time    `json:"time,omitzero"` // of the simulated clock
	Nodes      []NodeStatus `json:"nodes"`
	Damage     []string     `json:"damage"`     // rules of the vendor's manual that were broken
	Complaints []string     `json:"complaints"` // what was asked of the simulated machines that they do not know
}

// NodeStatus is what one node of a lab looks like now: the truth, not what its tools say.
type NodeStatus struct {
	Node
	Address string   `json:"address"` // in the simulated world
	SSHPort int      `json:"ssh_port"`
	Up      bool     `json:"up"` // the machine has power
	Faults  []string `json:"faults,omitempty"`
}

// GetStatus looks at the lab in dir.
func GetStatus(ctx context.Context, dir string) (Status, error) {
	l, err := Open(dir)
	if err != nil {
		return Status{}, err
	}
	return l.Status(ctx)
}

// Status looks at the lab.
func (l *Lab) Status(ctx context.Context) (Status, error) {
	s := Status{
		Dir: l.Dir, Cluster: l.State.Cluster, Driver: l.product.Name, Inventory: l.Inventory,
		Simulated: true, Ready: l.State.Ready, Speed: l.spec.Speed,
	}
	s.Daemon = l.hall != nil || l.State.Daemon != nil && l.State.Daemon.Alive()
	if !s.Daemon {
		return s, nil
	}
	return s, l.ask(ctx, request{}, &s.Inside)
}

// look tells the truth about the cluster.
func (h *hall) look() Inside {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := Inside{Time: h.site.World.Now(), Nodes: []NodeStatus{}, Damage: append([]string{}, h.site.Damage()...), Complaints: append([]string{}, h.site.World.Complaints()...)}
	slices.Sort(in.Complaints)
	in.Complaints = slices.Compact(in.Complaints)
	truth := map[string]Node{}
	for _, n := range h.site.Nodes() {
		truth[n.Name] = n
	}
	for _, n := range h.site.Inventory.Nodes {
		m := h.site.machine(n.Name)
		s := NodeStatus{Node: truth[n.Name], Address: n.Address, SSHPort: h.servers[m.Name()].Port(), Faults: h.broken[m.Name()]}
		s.Name = n.Name
		h.site.World.With(func() { s.Up = m.Up() })
		in.Nodes = append(in.Nodes, s)
	}
	return in
}
