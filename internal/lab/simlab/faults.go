package simlab

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/lab/sshd"
	"github.com/shiplift/shiplift/internal/say"
)

// machineFault is trouble that every simulated machine can be given, or the
// end of such trouble.
type machineFault struct {
	ends  []string                  // the faults that are over with this one
	world func(*hall, *sim.Machine) // what happens to the machine; may be nil
	link  func(*sshd.Server)        // what happens to the operator's link to it; may be nil
}

var machineFaults = map[string]machineFault{
	"node-down": {world: func(_ *hall, m *sim.Machine) { m.PowerOff() }, link: (*sshd.Server).Cut},
	"node-up":   {ends: []string{"node-down"}, world: func(_ *hall, m *sim.Machine) { m.PowerOn() }, link: (*sshd.Server).Restore},

	"cut-ssh":     {link: (*sshd.Server).Cut},
	"freeze-ssh":  {link: (*sshd.Server).Freeze},
	"restore-ssh": {ends: []string{"cut-ssh", "freeze-ssh"}, link: (*sshd.Server).Restore},
	"lose-answer": {link: func(s *sshd.Server) { s.DropAfter(1) }},

	"cut-link":  {world: func(_ *hall, m *sim.Machine) { m.Cut(true) }, link: (*sshd.Server).Cut},
	"mend-link": {ends: []string{"cut-link"}, world: func(_ *hall, m *sim.Machine) { m.Cut(false) }, link: (*sshd.Server).Restore},

	"fill-disk": {world: (*hall).fillDisk},
	"free-disk": {ends: []string{"fill-disk"}, world: (*hall).freeDisk},

	"slow-node": {world: func(_ *hall, m *sim.Machine) { m.Slow(10 * time.Second) }},
	"fast-node": {ends: []string{"slow-node"}, world: func(_ *hall, m *sim.Machine) { m.Slow(0) }},
}

// once are the faults that are over as soon as they struck.
var once = []string{"lose-answer"}

// AllFaults returns the faults of a product's labs, in the order of their names.
func (p *Product) AllFaults() []string {
	out := slices.Clone(p.Faults)
	out = slices.AppendSeq(out, maps.Keys(machineFaults))
	slices.Sort(out)
	return out
}

// Break gives a node of the lab in dir a fault, or ends one.
func Break(ctx context.Context, dir, node, fault string) error {
	l, err := Open(dir)
	if err != nil {
		return err
	}
	return l.Break(ctx, node, fault)
}

// Break gives a node a fault, or ends one.
func (l *Lab) Break(ctx context.Context, node, fault string) error {
	if all := l.product.AllFaults(); !slices.Contains(all, fault) {
		return &say.Problem{
			Place: fault, Text: say.F("no such fault; known: %s", "没有该故障类型；已有：%s", strings.Join(all, ", ")),
			Next: say.Same("shiplift lab break --help"),
		}
	}
	return l.ask(ctx, request{Fault: fault, Node: node}, nil)
}

// ask asks the process that holds the cluster, which may be this one.
func (l *Lab) ask(ctx context.Context, req request, into *Inside) error {
	if l.hall == nil {
		if into == nil {
			return lab.Ask(ctx, l.Dir, req, nil)
		}
		return lab.Ask(ctx, l.Dir, req, into)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	got, err := l.asked(ctx, body)
	if err == nil && into != nil {
		*into = got.(Inside)
	}
	return err
}

func (h *hall) breakNode(fault, node string) error {
	if err := h.site.node(node); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f, ok := machineFaults[fault]
	if !ok {
		return h.site.Break(fault, node)
	}
	m := h.site.machine(node)
	if f.world != nil {
		h.site.World.With(func() { f.world(h, m) })
	}
	if f.link != nil {
		f.link(h.servers[m.Name()])
	}
	mine := slices.DeleteFunc(h.broken[m.Name()], func(b string) bool { return b == fault || slices.Contains(f.ends, b) })
	if len(f.ends) == 0 && !slices.Contains(once, fault) {
		mine = append(mine, fault)
	}
	h.broken[m.Name()] = mine
	return nil
}

func (h *hall) fillDisk(m *sim.Machine) {
	size, used := m.Disk()
	if _, full := h.disk[m.Name()]; !full {
		h.disk[m.Name()] = size
	}
	m.SetDisk(max(used, 1), used)
}

func (h *hall) freeDisk(m *sim.Machine) {
	if size, full := h.disk[m.Name()]; full {
		_, used := m.Disk()
		m.SetDisk(size, used)
		delete(h.disk, m.Name())
	}
}
