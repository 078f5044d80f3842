package dameng

// Node is what holds about one node, whatever its tools say.
type Node struct {
	Name, Member string
	Role         string // mode of the library; empty when the server does not run
	State        string // MOUNT, OPEN; empty when the server does not run
	Running      string // release of the running server
	Installed    string // release of the files
}

// Nodes tells what holds about every node.
func (l *Lab) Nodes() []Node {
	var out []Node
	l.World.With(func() {
		r := roomOf(l.World)
		for _, name := range r.order {
			s := r.sites[name]
			n := Node{Name: name, Member: s.Member, Installed: r.installed(l.World, s)}
			if sv := r.servers[name]; sv != nil {
				n.State, n.Running = sv.State, sv.Release
				if lib := r.see(l.World, s.Member); lib != nil {
					n.Role = lib.Mode
				}
			}
			out = append(out, n)
		}
	})
	return out
}

// Kill ends a node's server with SIGKILL.
func (l *Lab) Kill(node string) {
	l.World.With(func() {
		m := l.World.Machine(node)
		if sv := roomOf(l.World).servers[node]; sv != nil {
			if p := m.Proc(sv.PID); p != nil {
				m.Signal(p, "KILL")
			}
		}
	})
}

// Config is one of a node's configuration files as it is now.
func (l *Lab) Config(node, name string) (text string, ok bool) {
	l.World.With(func() {
		m := l.World.Machine(node)
		text, ok = m.Read(roomOf(l.World).sites[node].ini(name))
	})
	return text, ok
}
