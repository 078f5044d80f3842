// Package pgsim is a simulated PostgreSQL cluster on the machines of lab/sim,
// for the runs that real servers are too slow for: a tool that dies at every
// command, faults by the thousand.
//
// It knows what matters for an upgrade: roles and standby.signal, the
// write-ahead log with its timelines, streaming, slots, synchronous commit,
// pg_control byte for byte, settings with ALTER SYSTEM and reload, pg_ctl, and
// a server that speaks the protocol. A client writes all the time and notes
// what was acknowledged. Statements are known by the tag in their first
// comment (/* shiplift:TAG */); one that is not known is complained about.
//
// The servers are strict: whoever breaks a rule gets the damage. What must
// never happen is asked by Truth.
package pgsim

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Options say what lab is wanted.
type Options struct {
	Nodes    int
	Release  string
	Upstream map[string]string // standby → node; db1 when empty
	Slots    bool              // standbys use replication slots
	Sync     string            // synchronous_standby_names on every node
	Seed     uint64
	// Names are the nodes' names in their order; db1, db2, … when empty.
	Names   []string
	Primary string // the first node when empty
	// By node, where nodes differ: the release, the slot a standby uses, the
	// name it streams under, and what postgresql.conf says.
	ReleaseOf, SlotOf, AppOf map[string]string
	Conf                     map[string]map[string]string
	// CutScript is the script by which the tool stops a primary.
	CutScript string
}

// Lab is one simulated cluster.
type Lab struct {
	World     *sim.World
	Inventory *cluster.Inventory
	room      *room
}

// Secret is a word of the password in the standbys' primary_conninfo: it must
// be seen in no output. The quote before it makes every quoting be done right.
const Secret = "Gruen3Wiese!"

const secretText = `it\'s ` + Secret

const (
	stateKey  = "pgsim"
	osUser    = "postgres"
	base      = "/opt/pg"
	data      = "/var/lib/pg/data"
	port      = "5432"
	serverKey = "postgres"
	promoted  = "pgsim-promoted"
)

// room is the state of all servers.
type room struct {
	order   []string
	nodes   map[string]*node
	all     []*node // the nodes in their order: each statement goes through them many times
	nextRow int
	nextID  int
	acked   []int     // rows
	blocked int       // writes that waited for a standby which was not there
	ticked  time.Time // the newest moment of a client's write that was looked at
	lastAck time.Time
	longest time.Duration // between two acknowledged writes
	damage  []string
	moved   *moved // by an HA agent, not taken back yet
}

// node is one server and its data directory, as far as it is not in files.
type node struct {
	name, addr string
	pid        int // of the running server; 0: none
	release    string
	recovery   bool
	promoting  bool
	frozen     bool // does not replay
	crashed    bool // it ran when the power went
	wal        []record
	auto       map[string]string // postgresql.auto.conf
	conf       map[string]string // postgresql.conf
	live       map[string]string // in effect
	autoLive   map[string]bool   // whether a live value came from auto
	// What follows from live.
	app, slot string
	follows   string // the node that it is told to follow
	syncNeed  int
	syncNames []string

	slots      map[string]bool
	state      uint32 // of pg_control
	checkpoint uint64
	checkTLI   int
}

// record is one WAL record; rows are what clients wrote.
type record struct {
	id  int // unique in the room
	tli int
	row int
}

const (
	walStart   = 0x3000000
	recordSize = 0x80
)

func lsnAt(i int) uint64 { return walStart + uint64(i)*recordSize }

func (n *node) end() uint64 { return lsnAt(len(n.wal)) }
func (n *node) tli() int {
	if len(n.wal) == 0 {
		return 1
	}
	return n.wal[len(n.wal)-1].tli
}

// Clone copies the room.
func (r *room) Clone() sim.State {
	c := *r
	c.nodes, c.all = map[string]*node{}, nil
	for _, n := range r.all {
		m := *n
		n.wal = n.wal[:len(n.wal):len(n.wal)] // records never change: both sides append to copies
		m.wal = n.wal
		m.auto, m.conf, m.live, m.slots, m.autoLive = maps.Clone(n.auto), maps.Clone(n.conf), maps.Clone(n.live), maps.Clone(n.slots), maps.Clone(n.autoLive)
		c.nodes[n.name] = &m
		c.all = append(c.all, &m)
	}
	c.acked = slices.Clip(r.acked)
	c.damage = append([]string(nil), r.damage...)
	return &c
}

// add appends a record to a server's WAL.
func (r *room) add(n *node, tli, row int) {
	r.nextID++
	n.wal = append(n.wal, record{id: r.nextID, tli: tli, row: row})
}

func roomOf(w *sim.World) *room { return w.State(stateKey).(*room) }

// complete fills in what nodes have in common.
func (o *Options) complete() {
	for i := len(o.Names); i < o.Nodes; i++ {
		o.Names = append(o.Names, fmt.Sprintf("db%d", i+1))
	}
	if o.Primary == "" && len(o.Names) > 0 {
		o.Primary = o.Names[0]
	}
}

func (o *Options) releaseOf(node string) string { return cmp.Or(o.ReleaseOf[node], o.Release) }

func (o *Options) slotOf(node string) string {
	if o.Slots {
		return cmp.Or(o.SlotOf[node], node)
	}
	return o.SlotOf[node]
}

// address is that of the i-th node.
func address(i int) string { return fmt.Sprintf("10.0.%d.%d", i/250, i%250+1) }

// Start makes a lab whose servers run and stream.
func Start(o Options) (*Lab, error) {
	o.complete()
	w := sim.New(o.Seed)
	w.NoTrace()
	r := &room{nodes: map[string]*node{}, ticked: w.Time()}
	l := &Lab{World: w, room: r, Inventory: &cluster.Inventory{Cluster: "sim", Driver: "postgres"}}
	w.SetState(stateKey, r)
	register(w, o.CutScript)
	for i := range o.Names {
		l.addNode(&o, i)
	}
	for _, name := range o.Names {
		l.follow(&o, name)
	}
	for _, name := range r.order {
		if err := r.start(w, w.Machine(name), base+"/current/bin/postgres"); err != nil {
			return nil, err
		}
	}
	r.pump(w)
	return l, nil
}

// Of is the lab in a clone of its world.
func (l *Lab) Of(w *sim.World) *Lab { return &Lab{World: w, Inventory: l.Inventory, room: roomOf(w)} }

func (l *Lab) addNode(o *Options, i int) {
	name, addr := o.Names[i], address(i)
	m := l.World.Add(name, addr)
	m.AddUser(sim.User{Name: osUser, UID: 101, GID: 104, Group: osUser, Home: "/home/" + osUser})
	m.Login = osUser
	release := o.releaseOf(name)
	for _, tool := range []string{"postgres", "pg_ctl"} {
		m.Install(base+"/"+release+"/bin/"+tool, tool+" "+release, osUser)
	}
	m.Symlink(release, base+"/current")
	m.Mkdir(data, 0o700, osUser)
	m.Mkdir(data+"/global", 0o700, osUser)
	for _, p := range []string{base, base + "/" + release, base + "/" + release + "/bin", base + "/current", data} {
		m.Chown(p, osUser)
	}
	n := &node{name: name, addr: addr, auto: map[string]string{}, conf: map[string]string{"cluster_name": name, "synchronous_standby_names": o.Sync}, slots: map[string]bool{}, state: shutDown, checkTLI: 1}
	maps.Copy(n.conf, o.Conf[name])
	l.room.order = append(l.room.order, name)
	l.room.nodes[name], l.room.all = n, append(l.room.all, n)
	l.room.writeControl(m, n)
	l.Inventory.Nodes = append(l.Inventory.Nodes, cluster.Node{
		Name: name, Address: addr, Transport: "ssh",
		Settings: cluster.Settings{"base": base, "data": data, "port": port, "user": "postgres"},
	})
}

// follow tells a standby whom to follow.
func (l *Lab) follow(o *Options, name string) {
	if name == o.Primary {
		return
	}
	n, up := l.room.nodes[name], l.room.nodes[cmp.Or(o.Upstream[name], o.Primary)]
	n.auto["primary_conninfo"] = conninfo(up, cmp.Or(o.AppOf[name], name))
	l.World.Machine(name).Write(data+"/standby.signal", "", 0o600, osUser)
	if slot := o.slotOf(name); slot != "" {
		n.auto["primary_slot_name"] = slot
		up.slots[slot] = true
	}
}

func conninfo(up *node, app string) string {
	return fmt.Sprintf("host=%s port=%s user=replicator password='%s' application_name=%s", up.addr, port, secretText, app)
}

// WritePackage writes a package of simulated software and its checksum into
// dir and returns the archive's path.
func WritePackage(dir, release string) (string, error) {
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for _, tool := range []string{"postgres", "pg_ctl"} {
		body := sim.Program(tool + " " + release)
		if err := tw.WriteHeader(&tar.Header{Name: "bin/" + tool, Mode: 0o755, Size: int64(len(body)), Typeflag: tar.TypeReg}); err != nil {
			return "", err
		}
		if _, err := tw.Write([]byte(body)); err != nil {
			return "", err
		}
	}
	if err := tw.Close(); err != nil {
		return "", err
	}
	if err := gz.Close(); err != nil {
		return "", err
	}
	name := filepath.Join(dir, "postgresql-"+release+"-linux-amd64.tar.gz")
	sum := sha256.Sum256(buf.Bytes())
	if err := os.WriteFile(name, buf.Bytes(), 0o600); err != nil {
		return "", err
	}
	return name, os.WriteFile(name+".sha256", []byte(hex.EncodeToString(sum[:])+"  "+filepath.Base(name)+"\n"), 0o600)
}

// Blocked is how many writes waited for a standby that was not there.
func (l *Lab) Blocked() (n int) {
	l.World.With(func() { n = roomOf(l.World).blocked })
	return n
}

// Interruption is the longest time between two acknowledged writes; clients
// write every 20 ms.
func (l *Lab) Interruption() (d time.Duration) {
	l.World.With(func() {
		roomOf(l.World).settle(l.World)
		d = roomOf(l.World).longest
	})
	return d
}

// Settings are what every node's postgresql.auto.conf holds, for comparing.
func (l *Lab) Settings() map[string]string {
	out := map[string]string{}
	l.World.With(func() {
		for _, n := range roomOf(l.World).nodes {
			for k, v := range n.auto {
				out[n.name+" "+k] = v
			}
			for s := range n.slots {
				out[n.name+" slot "+s] = "there"
			}
		}
	})
	return out
}

// Freeze lets a standby receive and replay nothing more, or go on.
func (l *Lab) Freeze(name string, frozen bool) {
	l.World.With(func() {
		r := roomOf(l.World)
		r.pump(l.World)
		r.nodes[name].frozen = frozen
	})
}

// Mend does what a person, or the machine's own start-up, does after the power
// was lost: starts the servers that ran, in the role that their data directories
// have. Standbys that stood still replay again, and what an HA agent did in the
// middle of an upgrade is taken back: nobody should let one work meanwhile.
func (l *Lab) Mend() error {
	var err error
	l.World.With(func() {
		r := roomOf(l.World)
		r.settle(l.World)
		for _, name := range r.order {
			r.nodes[name].frozen = false
			if n := r.nodes[name]; n.pid == 0 && n.crashed {
				err = errors.Join(err, r.start(l.World, l.World.Machine(name), base+"/current/bin/postgres"))
			}
		}
		r.flow(l.World)
		r.moveBack(l.World)
	})
	return err
}

// Truth tells what is wrong at the end of a run: what Damage tells, and a
// server that is down or does not follow, or something of the run left behind.
func (l *Lab) Truth() error {
	if err := l.Damage(); err != nil {
		return err
	}
	var err error
	l.World.With(func() {
		r := roomOf(l.World)
		if r.primary() == nil {
			err = errors.New("there is no primary")
		}
		for _, name := range r.order {
			if err == nil {
				err = r.nodeTruth(l.World, r.nodes[name])
			}
		}
	})
	return err
}

// Damage tells what must not be at any time, also in the middle of a run: two
// primaries, a history that forked, an acknowledged write that is missing, a
// command or statement that the simulator does not know.
func (l *Lab) Damage() error {
	if err := l.World.Sleep(context.Background(), 4*tick); err != nil {
		return err
	}
	if c := l.World.Complaints(); len(c) > 0 {
		return fmt.Errorf("the simulator was asked what it does not know: %q", c)
	}
	var err error
	l.World.With(func() {
		r := roomOf(l.World)
		r.pump(l.World)
		if len(r.damage) > 0 {
			err = fmt.Errorf("damage: %q", r.damage)
			return
		}
		err = r.lost()
	})
	return err
}

func (r *room) primary() *node {
	for _, name := range r.order {
		if n := r.nodes[name]; n.pid != 0 && !n.recovery {
			return n
		}
	}
	return nil
}

// lost looks for acknowledged rows that the primary lacks.
func (r *room) lost() error {
	p := r.primary()
	if p == nil {
		return nil
	}
	have := map[int]bool{}
	for _, rec := range p.wal {
		have[rec.row] = true
	}
	for _, row := range r.acked {
		if !have[row] {
			return fmt.Errorf("the acknowledged row %d is missing on %s", row, p.name)
		}
	}
	return nil
}

func (r *room) nodeTruth(w *sim.World, n *node) error {
	m := w.Machine(n.name)
	if n.pid == 0 {
		return fmt.Errorf("%s: no server runs", n.name)
	}
	if n.recovery && r.upstream(w, n) == nil {
		return fmt.Errorf("%s does not stream: %q, slot %q", n.name, n.live["primary_conninfo"], n.live["primary_slot_name"])
	}
	for s := range n.slots {
		if !r.slotUsed(w, n, s) {
			return fmt.Errorf("%s: slot %s is left and keeps WAL", n.name, s)
		}
	}
	if m.Exists(data+"/standby.signal") != n.recovery {
		return fmt.Errorf("%s: standby.signal does not fit its role (standby: %t)", n.name, n.recovery)
	}
	for _, name := range m.List(base) {
		if name[0] == '.' && name != ".packages" {
			return fmt.Errorf("%s: %s is left", n.name, name)
		}
	}
	if p := m.Proc(n.pid); p == nil || p.Exe != m.Real(base+"/current/bin/postgres") {
		return fmt.Errorf("%s runs another binary than the installed one", n.name)
	}
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }
