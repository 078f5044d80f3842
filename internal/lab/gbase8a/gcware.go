package gbase8a

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// The events of the software.
const (
	evOpen       = "gbase8a: gcware opens"
	evFlushBegin = "gbase8a: flush begins"
	evFlushEnd   = "gbase8a: flush ends"
	evRevive     = "gbase8a: monitor revives"
	evReviveAll  = "gbase8a: everything comes back"
	evBackground = "gbase8a: background snapshot"
	evTrailing   = "gbase8a: snapshot behind the flush ends"
	evQuit       = "gbase8a: gcware is restarted"
	evInstall    = "gbase8a: installer goes on"
)

var snapshotName = regexp.MustCompile(`^SNAPSHOT\.(\d+)\.(\d+)(\.s)?$`)

// Snap is a snapshot of a node, in progress when Partial.
type Snap struct {
	Term, Index uint64
	Partial     bool
}

func (s Snap) after(o Snap) bool {
	return s.Term > o.Term || s.Term == o.Term && s.Index > o.Index
}

// Snapshots returns what a node's directory holds, oldest first.
func (c *Cluster) Snapshots(w *sim.World, node string) []Snap {
	n := c.node(node)
	var out []Snap
	for _, name := range w.Machine(n.Machine).List(n.snapshots()) {
		if f := snapshotName.FindStringSubmatch(name); f != nil {
			term, _ := strconv.ParseUint(f[1], 10, 64)
			index, _ := strconv.ParseUint(f[2], 10, 64)
			out = append(out, Snap{term, index, f[3] != ""})
		}
	}
	slices.SortFunc(out, func(a, b Snap) int {
		if b.after(a) {
			return -1
		}
		return 1
	})
	return out
}

// Newest is the newest complete snapshot of a node.
func (c *Cluster) Newest(w *sim.World, node string) Snap {
	var newest Snap
	for _, s := range c.Snapshots(w, node) {
		if !s.Partial {
			newest = s
		}
	}
	return newest
}

func putSnapshot(m *sim.Machine, n *Node, term, index uint64, suffix string) {
	dir := fmt.Sprintf("%s/SNAPSHOT.%d.%d%s", n.snapshots(), term, index, suffix)
	m.Mkdir(dir+"/data", 0o755, dbaUser)
	m.Write(dir+"/data/state", strings.Repeat("s", 64), 0o644, dbaUser)
	if suffix == "" {
		m.Write(fmt.Sprintf("%s/REDOLOG.%d", n.snapshots(), index), strings.Repeat("r", 320), 0o644, dbaUser)
	}
}

// complete makes a snapshot whole on a node: renames or writes it, drops what a
// crash left, and keeps the newest two.
func (c *Cluster) complete(w *sim.World, n *Node, term, index uint64) {
	m := w.Machine(n.Machine)
	partial := fmt.Sprintf("%s/SNAPSHOT.%d.%d.s", n.snapshots(), term, index)
	if m.Exists(partial) {
		m.Rename(partial, strings.TrimSuffix(partial, ".s"))
	}
	putSnapshot(m, n, term, index, "")
	var whole []Snap
	for _, s := range c.Snapshots(w, n.Name) {
		if s.Partial {
			m.Remove(fmt.Sprintf("%s/SNAPSHOT.%d.%d.s", n.snapshots(), s.Term, s.Index))
			continue
		}
		whole = append(whole, s)
	}
	for _, s := range whole[:max(len(whole)-2, 0)] {
		m.Remove(fmt.Sprintf("%s/SNAPSHOT.%d.%d", n.snapshots(), s.Term, s.Index))
		m.Remove(fmt.Sprintf("%s/REDOLOG.%d", n.snapshots(), s.Index))
	}
}

// gcwareOpen says whether gcadmin shows a node's gcware OPEN.
func (c *Cluster) gcwareOpen(w *sim.World, n *Node) bool {
	return n.Gcware && n.opened && w.Machine(n.Machine).Connected() && c.running(w, n, "gcware") != nil
}

func (c *Cluster) openCount(w *sim.World) (open, all int) {
	for i := range c.Nodes {
		if c.Nodes[i].Gcware {
			all++
			if c.gcwareOpen(w, &c.Nodes[i]) {
				open++
			}
		}
	}
	return open, all
}

// quorum: a majority of the gcware nodes answers.
func (c *Cluster) quorum(w *sim.World) bool {
	open, all := c.openCount(w)
	return open > all/2
}

// elect raises the term when a quorum has no leader [A].
func (c *Cluster) elect(w *sim.World) {
	if !c.quorum(w) {
		c.Leader = ""
		return
	}
	if l := c.node(c.Leader); l != nil && c.gcwareOpen(w, l) {
		return
	}
	for i := range c.Nodes {
		if c.gcwareOpen(w, &c.Nodes[i]) {
			c.Leader = c.Nodes[i].Name
			c.Term++
			return
		}
	}
}

func openEvent(w *sim.World, e sim.Event) {
	c := Of(w)
	n := c.node(e.Node)
	if c.running(w, n, "gcware") == nil || is(c.Faults.CloseNode, n.Name) {
		return
	}
	n.opened = true
	c.elect(w)
	if open, all := c.openCount(w); c.Faults.AgedBaseline && open == all {
		c.Faults.AgedBaseline = false
		c.Background(w)
	}
}

// Background writes a whole snapshot on every gcware node, as gcware does now and then by itself.
func (c *Cluster) Background(w *sim.World) {
	c.Index += 2
	c.backgroundSnapshot(w)
}

func (c *Cluster) backgroundSnapshot(w *sim.World) {
	for i := range c.Nodes {
		if c.gcwareOpen(w, &c.Nodes[i]) && room(w.Machine(c.Nodes[i].Machine), 1<<10) {
			c.complete(w, &c.Nodes[i], c.Term, c.Index)
		}
	}
}

// justNow is how old a look at gcadmin may be when the flush is called.
const justNow = 10 * time.Second

// room says whether a machine's disk takes so many bytes more.
func room(m *sim.Machine, bytes int64) bool {
	size, used := m.Disk()
	return size == 0 || used+bytes <= size
}

// flush is gcware.flush_statemachine(): it takes the request, no more.
func (c *Cluster) flush(w *sim.World) {
	open, all := c.openCount(w)
	if open < all && w.Time().Sub(c.sawOpen) > justNow { // a node that died since gcadmin was asked is nobody's fault
		c.violate("G06", "flush with %d of %d gcware OPEN", open, all)
	}
	for i := range c.Nodes {
		for _, prog := range allPrograms {
			if prog != "gcware" && c.running(w, &c.Nodes[i], prog) != nil {
				c.violate("G03", "flush while %s runs on %s", prog, c.Nodes[i].Name)
			}
		}
	}
	if c.Faults.LazyFlush > 0 {
		c.Faults.LazyFlush--
		return
	}
	if len(c.job.left) > 0 {
		return // merged with the one that runs [A]
	}
	c.Index += 2
	c.job = flushJob{term: c.Term, index: c.Index, left: map[string]bool{}, begun: map[string]bool{}, id: c.job.id + 1}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if !c.gcwareOpen(w, n) || is(c.Faults.SilentFlush, n.Name) {
			continue
		}
		c.job.left[n.Name] = true
		w.After(c.Delays.Flush, evFlushBegin, n.Name, c.job.id)
		w.After(c.Delays.Flush+c.flushTime(n), evFlushEnd, n.Name, c.job.id)
	}
}

func (c *Cluster) flushTime(n *Node) time.Duration {
	if c.Faults.LagNode == n.Name {
		return c.Delays.Write + c.lag()
	}
	return c.Delays.Write
}

// lag is how much longer a node takes that lags.
func (c *Cluster) lag() time.Duration {
	if c.Faults.LagBy > 0 {
		return c.Faults.LagBy
	}
	return time.Minute
}

func is(fault, node string) bool { return fault == node || fault == "all" }

func flushBegins(w *sim.World, e sim.Event) {
	c := Of(w)
	n := c.node(e.Node)
	if c.job.id != e.Arg.(int) || !c.job.left[n.Name] || !room(w.Machine(n.Machine), 1<<10) {
		return
	}
	c.job.begun[n.Name] = true
	if c.Faults.ForeignTerm == n.Name {
		putSnapshot(w.Machine(n.Machine), n, c.job.term-5, c.job.index+1000, "")
	}
	putSnapshot(w.Machine(n.Machine), n, c.job.term, c.job.index, ".s")
}

func flushEnds(w *sim.World, e sim.Event) {
	c := Of(w)
	n := c.node(e.Node)
	if c.job.id != e.Arg.(int) || !c.job.left[n.Name] || is(c.Faults.NeverComplete, n.Name) || c.Faults.ForeignTerm == n.Name || !room(w.Machine(n.Machine), 1<<10) {
		return
	}
	delete(c.job.left, n.Name)
	c.complete(w, n, c.job.term, c.job.index)
	if c.Faults.Trailing == n.Name {
		n.writing = true
		next := Snap{c.job.term, c.job.index + 2, true}
		putSnapshot(w.Machine(n.Machine), n, next.Term, next.Index, ".s")
		w.After(c.lag(), evTrailing, n.Name, next)
	}
}

// trailingEnds completes the snapshot that a node wrote behind the flush.
func trailingEnds(w *sim.World, e sim.Event) {
	c := Of(w)
	n := c.node(e.Node)
	if n.writing {
		n.writing = false
		c.complete(w, n, e.Arg.(Snap).Term, e.Arg.(Snap).Index)
	}
}

// gcwareExits: a flush that runs on the node is lost and its ".s" stays [A].
func (c *Cluster) gcwareExits(w *sim.World, n *Node, why string) {
	n.opened = false
	if n.writing && why != "power" {
		c.violate("G09", "gcware stopped on %s while it wrote a snapshot", n.Name)
	}
	n.writing = false
	if c.job.left[n.Name] {
		if c.job.begun[n.Name] && why != "power" {
			c.violate("G09", "gcware stopped on %s while its flush ran", n.Name)
		}
		delete(c.job.left, n.Name)
	}
	c.elect(w)
}

// GhostSnapshot leaves a ".s" of an earlier crash on a node.
func (c *Cluster) GhostSnapshot(w *sim.World, node string) {
	n := c.node(node)
	putSnapshot(w.Machine(n.Machine), n, 141, 30001, ".s")
}

// SetTerm gives the cluster and its snapshots another term, before anything happened.
func (c *Cluster) SetTerm(w *sim.World, term uint64) {
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if !n.Gcware {
			continue
		}
		for _, s := range c.Snapshots(w, n.Name) {
			w.Machine(n.Machine).Rename(fmt.Sprintf("%s/SNAPSHOT.%d.%d", n.snapshots(), s.Term, s.Index), fmt.Sprintf("%s/SNAPSHOT.%d.%d", n.snapshots(), term, s.Index))
		}
	}
	c.Term = term
}

// QuitInFlush makes gcware on a node end in the middle of the next snapshot, as
// somebody's `gcware stop` does, and come back.
func (c *Cluster) QuitInFlush(w *sim.World, node string) {
	w.After(c.Delays.Flush+c.Delays.Write/2, evQuit, node, nil)
}

func quits(w *sim.World, e sim.Event) {
	c := Of(w)
	n := c.node(e.Node)
	c.stop(w, n, "gcware")
	c.start(w, n, "gcware")
}

// LoseSnapshot takes a node's newest whole snapshot away.
func (c *Cluster) LoseSnapshot(w *sim.World, node string) {
	n, s := c.node(node), c.Newest(w, node)
	w.Machine(n.Machine).Remove(fmt.Sprintf("%s/SNAPSHOT.%d.%d", n.snapshots(), s.Term, s.Index))
}

// StartAll starts everything on a node, as somebody else would.
func (c *Cluster) StartAll(w *sim.World, node string) { c.startAll(w, c.node(node)) }

// flushed says whether every gcware node holds a snapshot beyond the mark.
func (c *Cluster) flushed(w *sim.World) bool {
	for _, n := range c.Nodes {
		if n.Gcware && c.Newest(w, n.Name).Index <= c.FlushMark {
			return false
		}
	}
	return true
}
