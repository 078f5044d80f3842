package gauss

import (
	"fmt"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// MogHA restarts what it finds stopped, and fails over (spec/mogdb.md section 6).

const moghaService = "mogha"

type moghaNode struct {
	Failover bool // primary_down_handle_method=failover
	Linger   bool // KillMode=process: the children survive a stop of the unit
	tries    int
}

var moghaProcs = []string{"watchdog", "http-server", "heartbeat"}

func (l *Lab) installMogHA(s *state) {
	for _, n := range s.nodes() {
		m := l.World.Machine(n)
		dir := "/opt/mogha"
		m.Install(dir+"/mogha", "mogha "+l.Release.image(), "root")
		m.Write(dir+"/node.conf", "[config]\ndb_port=26000\nheartbeat_interval=3\nprimary_down_handle_method=restart\nrestart_strategy=10/3\nagent_port=8081\n[zone1]\nvip=192.168.0.100\n", 0o644, "root")
		m.Write("/usr/lib/systemd/system/mogha.service", "[Service]\nType=simple\nExecStart=/opt/mogha/mogha -c /opt/mogha/node.conf\nKillMode=process\nUser=root\n", 0o644, "root")
		s.ha[n] = &moghaNode{}
		svc := m.AddService(sim.Service{Name: "mogha", Kind: moghaService, Enabled: true})
		if err := m.StartService(svc); err != nil {
			panic(err) // the start of the lab's own unit cannot fail
		}
	}
}

var moghaKind = sim.ServiceKind{
	NeedsRoot: true,
	Start: func(w *sim.World, m *sim.Machine, svc *sim.Service) error {
		s := stateOf(w)
		s.settle(w)
		for _, role := range moghaProcs {
			p := m.Spawn(sim.Proc{User: "root", Exe: "/opt/mogha/mogha", Argv: []string{"mogha: " + role}, Cwd: "/opt/mogha"})
			if svc.PID == 0 {
				svc.PID = p.PID
			}
		}
		for _, in := range s.insts {
			// What the machine's own start-up starts after a loss of power is nobody's choice.
			if in.srv == nil && in.told && !(m.BootedAt().Equal(w.Time()) && m.BootedAt().After(sim.Epoch)) {
				s.truth.damage(w, "M19", m.Name(), "MogHA was started while "+in.name+" is down")
				break
			}
		}
		for _, in := range s.on(m.Name()) {
			if in.srv == nil {
				s.haNotice(w, in)
			}
		}
		return nil
	},
	Stop: func(w *sim.World, m *sim.Machine, svc *sim.Service) error {
		s := stateOf(w)
		s.settle(w)
		linger := s.ha[m.Name()] != nil && s.ha[m.Name()].Linger
		for _, p := range m.Procs() {
			if strings.HasPrefix(p.Argv[0], "mogha: ") && (!linger || p.PID == svc.PID) {
				m.End(p.PID)
			}
		}
		svc.PID = 0
		return nil
	},
}

// active says whether a part of MogHA that acts runs on the machine.
func (h *moghaNode) active(m *sim.Machine) bool {
	if h == nil {
		return false
	}
	for _, p := range m.Procs() {
		if strings.HasPrefix(p.Argv[0], "mogha: ") {
			return true
		}
	}
	return false
}

// haNotice lets MogHA of a node act on an instance that is down.
func (s *state) haNotice(w *sim.World, in *instance) {
	m := w.Machine(in.node)
	if h := s.ha[in.node]; h.active(m) {
		h.tries = 0
		w.After(3*time.Second+time.Duration(w.Rand().IntN(7000))*time.Millisecond, evMogHA, in.node, in.name)
	}
}

// moghaAct is the event in which MogHA starts an instance again.
func moghaAct(w *sim.World, e sim.Event) {
	s := stateOf(w)
	s.settle(w)
	m := w.Machine(e.Node)
	h := s.ha[e.Node]
	in := s.inst(e.Arg.(string))
	if in == nil || in.srv != nil || !m.Up() || !h.active(m) {
		return
	}
	body, _ := m.Read(in.data + "/postmaster.opts")
	args := optsArgs(body)
	role := "standby"
	for i := 0; i+1 < len(args); i++ {
		if args[i] == "-M" {
			role = args[i+1]
		}
	}
	if role == "primary" && h.Failover {
		if best := s.best(w, in); best != in && best.standby() {
			s.crown(w, best, "")
			role = "standby"
		}
	}
	if role == "primary" && s.primaryOf() != nil {
		role = "standby"
	}
	args = []string{"-D", in.data}
	if len(s.insts) > 1 {
		args = append(args, "-M", role)
	}
	h.tries++
	if err := s.start(w, in, m.Real(s.opts.App()), args, s.opts.User, nil); err != nil {
		if h.tries < 10 {
			w.After(3*time.Second, evMogHA, e.Node, in.name)
		}
		return
	}
	if in.told { // one that fell is MogHA's to start again
		s.truth.damage(w, "M03", e.Node, fmt.Sprintf("MogHA started %s again", in.name))
	}
}

// haFindings is what is not in order with MogHA at the end.
func (s *state) haFindings(w *sim.World) []string {
	var out []string
	for _, n := range s.nodes() {
		if h := s.ha[n]; h != nil {
			m := w.Machine(n)
			if svc := m.Service("mogha"); svc == nil || !svc.Active || !h.active(m) {
				out = append(out, n+": MogHA is not active")
			}
		}
	}
	return out
}

// MogHA changes how MogHA of a node behaves: failover instead of restart, and
// whether its processes survive a stop of the unit.
func (l *Lab) MogHA(node string, failover, linger bool) {
	l.World.With(func() {
		h := stateOf(l.World).ha[node]
		h.Failover, h.Linger = failover, linger
	})
}
