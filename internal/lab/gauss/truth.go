package gauss

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Truth is what really happened so far, the damage list included.
func (l *Lab) Truth() Truth {
	var t Truth
	l.World.With(func() {
		s := stateOf(l.World)
		s.settle(l.World)
		s.movedFiles(l.World)
		t = s.truth.Truth
		t.Damage = slices.Clone(t.Damage)
		t.Lost = s.lost()
	})
	return t
}

// lost counts the bytes of acknowledged writes that the present primary does not hold.
func (s *state) lost() int64 {
	var p *instance
	for _, in := range s.insts {
		if in.primary() && (p == nil || in.lsn > p.lsn) {
			p = in
		}
	}
	if p == nil { // nobody serves: what any node holds is not lost
		best := int64(-1)
		for _, in := range s.insts {
			if n := s.lostAt(in); best < 0 || n < best {
				best = n
			}
		}
		return max(best, 0)
	}
	return s.lostAt(p)
}

func (s *state) lostAt(p *instance) int64 {
	var lost int64
	for b, upTo := range s.truth.acked {
		at, ok := holds(p.wal, p.lsn, b)
		if !ok {
			at = b.from
		}
		if upTo > at {
			lost += int64(upTo - at)
		}
	}
	return lost
}

// Node is the truth about one node.
type Node struct {
	Name      string
	Instance  string
	Role      string // empty when its server does not run
	State     string
	Running   string // release of the running server
	Working   int
	Mode      string // upgrade_mode in force
	Installed string // release of the files that $GAUSSHOME leads to
	App       string // where it leads
	LSN       uint64
	CM        string // release of the cluster manager's files; empty when there is none
}

// Nodes tells the truth about every node.
func (l *Lab) Nodes() []Node {
	var out []Node
	l.World.With(func() {
		s := stateOf(l.World)
		s.settle(l.World)
		for _, in := range s.insts {
			m := l.World.Machine(in.node)
			n := Node{Name: in.node, Instance: in.name, LSN: in.lsn, App: m.Real(l.Options.App())}
			if _, img, ok := strings.Cut(m.Image(l.Options.App()+"/bin/gaussdb"), " "); ok {
				r, _ := releaseOf(img)
				n.Installed = r.Version
			}
			if _, img, ok := strings.Cut(m.Image(l.Options.App()+"/bin/cm_agent"), " "); ok {
				r, _ := releaseOf(img)
				n.CM = r.Version
			}
			if in.srv != nil {
				n.Role, n.Running, n.Working, n.Mode = in.srv.role, in.srv.rel.Version, in.srv.working, mode(in.srv.conf)
				n.State, _ = in.dbState(l.World)
			}
			out = append(out, n)
		}
	})
	return out
}

// Findings are what is not in order at the end of a run: an upgrade or a
// rollback that calls itself finished must leave none.
func (l *Lab) Findings() []string {
	var out []string
	l.World.With(func() {
		s := stateOf(l.World)
		s.settle(l.World)
		s.movedFiles(l.World)
		out = s.findings(l)
	})
	return out
}

func (s *state) findings(l *Lab) []string {
	w, o := l.World, &l.Options
	var out []string
	add := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	primaries := 0
	var rel Release
	for _, in := range s.insts {
		if in.srv == nil {
			add("%s: the server does not run", in.name)
			continue
		}
		if in.primary() {
			primaries++
		}
		if rel.Commit == "" {
			rel = in.srv.rel
		} else if rel.Commit != in.srv.rel.Commit {
			add("%s: runs %s, another node %s", in.name, in.srv.rel.Version, rel.Version)
		}
		s.nodeFindings(w, o, in, add)
	}
	if primaries != 1 {
		add("%d primaries", primaries)
	}
	if o.Flavor == OpenGauss && rel.Number > 0 {
		for _, in := range s.insts {
			if in.srv == nil {
				continue
			}
			if miss := s.missing(in, rel.Number); miss != "" {
				add("%s: lacks %s", in.name, miss)
			}
			if left := s.leftovers(in.cat, rel.Number); len(left) > 0 {
				add("%s: still holds %s", in.name, left[0])
			}
		}
	}
	out = append(out, s.haFindings(w)...)
	out = append(out, s.cmFindings(w)...)
	return append(out, s.omFindings(l)...)
}

func (s *state) nodeFindings(w *sim.World, o *Options, in *instance, add func(string, ...any)) {
	m := w.Machine(in.node)
	if st, d := in.dbState(w); st != "Normal" {
		add("%s: %s (%s)", in.name, st, d)
	}
	if in.srv.lib.Commit != in.srv.rel.Commit {
		add("%s: bin of %s with lib of %s", in.name, in.srv.rel.Version, in.srv.lib.Version)
	}
	if in.srv.working != in.srv.rel.Number {
		add("%s: working number %d, binaries %d", in.name, in.srv.working, in.srv.rel.Number)
	}
	if v := mode(in.srv.conf); v != "0" {
		add("%s: upgrade_mode is %s", in.name, v)
	}
	if v := mode(s.conf(w, in)); v != "0" {
		add("%s: upgrade_mode is %s in postgresql.conf", in.name, v)
	}
	if opts, _ := m.Read(in.data + "/postmaster.opts"); strings.Contains(opts, `"-u"`) {
		add("%s: postmaster.opts still holds -u", in.name)
	}
	for _, g := range frozenGUCs {
		if v := s.conf(w, in)[g]; v != "" && v != in.ctl[g] {
			add("%s: %s was changed to %s", in.name, g, v)
		}
	}
	app := m.Real(o.App())
	if in.srv.app != app {
		add("%s: the running binaries lie in %s, $GAUSSHOME leads to %s", in.name, in.srv.app, app)
	}
	for _, f := range []string{"lib/postgresql/pg_plugin/lab_udf.so", "bin/server.key.cipher", "bin/server.key.rand", "bin/usermapping.key.cipher", "bin/usermapping.key.rand", "bin/datasource.key.cipher"} {
		if !m.Exists(app + "/" + f) {
			add("%s: %s was not carried", in.name, f)
		} else if mode, owner, _ := m.Mode(app + "/" + f); owner != o.User || mode&0o077 != 0 {
			add("%s: %s has mode %o and owner %s", in.name, f, mode, owner)
		}
	}
	if o.Install == "om" {
		for _, f := range []string{"bin/cluster_static_config", "bin/upgrade_version"} {
			if !m.Exists(app + "/" + f) {
				add("%s: %s was not carried", in.name, f)
			}
		}
		if m.IsDir(o.socketDir() + "/binary_upgrade") {
			add("%s: binary_upgrade is still there", in.name)
		}
	}
	if m.Exists(in.data + "/postgresql.conf.bak.old") {
		add("%s: postgresql.conf.bak.old is still there", in.name)
	}
}

// omFindings are about the dynamic configuration: a forgotten refreshconf (M15).
func (s *state) omFindings(l *Lab) []string {
	o := &l.Options
	if o.Install != "om" || o.Nodes == 1 || o.CM {
		return nil
	}
	var out []string
	for _, in := range s.insts {
		if in.srv == nil {
			continue
		}
		body, there := l.World.Machine(in.node).Read(o.App() + "/bin/cluster_dynamic_config")
		switch {
		case there && in.primary() && !strings.Contains(body, in.name+" P\n"),
			!there && in.primary() && in.static != 'P':
			out = append(out, in.name+": gs_om does not know that it is the primary (refreshconf)")
		}
	}
	return out
}

// movedFiles notes binaries that were moved or deleted under a running server (M05).
func (s *state) movedFiles(w *sim.World) {
	for _, in := range s.insts {
		if in.srv == nil {
			continue
		}
		m := w.Machine(in.node)
		p := m.Proc(in.srv.pid)
		if p == nil {
			continue
		}
		if p.Exe != in.srv.app+"/bin/gaussdb" || !m.Exists(p.Exe) || m.Image(p.Exe) != p.Image {
			s.truth.damage(w, "M05", in.node, "the binaries were moved or deleted while the server ran")
		}
	}
}

// Damaged says which rules were broken.
func (t Truth) Damaged() []string {
	var out []string
	for _, d := range t.Damage {
		out = append(out, d.String())
	}
	return out
}

// SwitchFault makes the next switchover go wrong: timeoutThenCompletes (after
// the tool's time, plus delay), timeoutNever, dualPrimary, demoteStuck,
// lockHeld, catchup.
func (l *Lab) SwitchFault(kind string, delay time.Duration) {
	l.World.With(func() { stateOf(l.World).fault = switchFault{Kind: kind, Delay: delay} })
}

// Lag makes a standby take at least d to catch up after each start.
func (l *Lab) Lag(node string, d time.Duration) {
	l.World.With(func() {
		for _, in := range stateOf(l.World).on(node) {
			in.slow = d
		}
	})
}

// Holds says what the databases hold beyond the usual: MOT tables, functions in Java.
func (l *Lab) Holds(mot, java int) {
	l.World.With(func() {
		s := stateOf(l.World)
		s.mot, s.java = mot, java
	})
}

// Kill ends a node's server with SIGKILL.
func (l *Lab) Kill(node string) {
	l.World.With(func() {
		s := stateOf(l.World)
		for _, in := range s.on(node) {
			kill(l.World, in)
		}
	})
}

// Primary is the node that is primary, "" when none or several are.
func (l *Lab) Primary() string {
	name := ""
	for _, n := range l.Nodes() {
		if n.Role == rolePrimary || n.Role == roleNormal {
			if name != "" {
				return ""
			}
			name = n.Name
		}
	}
	return name
}

// Healthy says whether one primary and only linked standbys run.
func (l *Lab) Healthy() bool {
	ok := l.Primary() != ""
	for _, n := range l.Nodes() {
		ok = ok && n.State == "Normal"
	}
	return ok
}
