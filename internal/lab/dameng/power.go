package dameng

import (
	"slices"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// wentDark notes what a machine loses with its power.
func (r *room) wentDark(node, kind, sig string) {
	if sig == "power" && !slices.Contains(r.dark[node], kind) {
		r.dark[node] = append(slices.Clone(r.dark[node]), kind)
	}
}

// litAgain forgets it: somebody has started it since.
func (r *room) litAgain(node, kind string) {
	r.dark[node] = slices.DeleteFunc(slices.Clone(r.dark[node]), func(k string) bool { return k == kind })
}

// bootOrder is the order in which services of a node come up.
var bootOrder = []string{"dmcss", "dmasmsvr", "dmserver", "dmwatcher", "dmmonitor"}

// Mend does what a machine's own start-up, or a person, does after the power
// was lost: it starts the services that ran, and those only. What was stopped
// before stays down. A person also ends what holds a standby back, and brings a
// node that runs and is called faulty back into its cluster.
func (l *Lab) Mend() error {
	l.World.With(func() {
		r := roomOf(l.World)
		clear(r.lag)
		for _, n := range r.order {
			switch s := r.sites[n]; {
			case r.servers[n] != nil:
				r.vote(s)
			case r.shared(s.Member) && r.votes[n].OK == "ERROR" && (!r.runs(s.Member) || slices.Contains(r.dark[n], "dmserver")):
				r.votes[n] = vote{"SHUTDOWN", "SHUTDOWN", "OK", false}
			}
		}
		for _, kind := range bootOrder {
			for _, n := range r.order {
				m := l.World.Machine(n)
				if m.Up() && slices.Contains(r.dark[n], kind) {
					_ = m.StartService(r.unitOf(m, kind)) // as at a boot, only systemctl tells of a failure
				}
			}
		}
	})
	return nil
}

func (r *room) unitOf(m *sim.Machine, kind string) *sim.Service {
	unit := "DmService"
	if u, ok := unitOf[kind]; ok {
		unit = u
	}
	return m.Service(r.sites[m.Name()].unit(unit))
}
