package dameng

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// Health of a node, from best to worst.
const (
	healthOpen    = "open"
	healthMount   = "mount"
	healthDown    = "down"
	healthUnknown = "unknown"
)

var healthOrder = map[string]int{healthOpen: 3, healthMount: 2, healthDown: 1, healthUnknown: 0}

// seen is what was read of one node.
type seen struct {
	Node      string
	Trouble   string
	Instance  instance
	Installed release.Version
	Process   bool
	AMS       string // ALTER_MODE_STATUS in dm.ini
	Watcher   bool
	Monitor   bool
	Magic     int64
	Behind    int64 // LSN that a standby has not replayed; -1 unknown
	Arch      []string
	Stale     []string // things of an earlier upgrade that are in the way
	HugeMain  string   // "yes", "no", "" unknown
	EPs       map[string]string
	Cold      []string // what the cold copy of its library has to hold
	HugeRows  int      // rows of huge_query; -1 when it was not asked
	LastExit  string
	Exited    bool
	ASMOld    bool
}

// detail is the driver's view of a cluster.
type detail struct {
	site    *site
	nodes   map[string]*seen
	primary string // member
}

func (d *detail) of(m *member) *seen { return d.nodes[m.first().name] }

// Observe reads all nodes. It changes nothing.
func (Driver) Observe(ctx context.Context, env driver.Env) (driver.Observation, error) {
	s, err := newSite(env)
	if err != nil {
		return driver.Observation{}, err
	}
	d := &detail{site: s, nodes: map[string]*seen{}}
	found := make([]*seen, len(s.nodes))
	var all sync.WaitGroup
	for i, n := range s.nodes {
		if env.Serial {
			found[i] = n.observe(ctx)
			continue
		}
		all.Go(func() { found[i] = n.observe(ctx) })
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return driver.Observation{}, context.Cause(ctx)
	}
	for i, n := range s.nodes {
		d.nodes[n.name] = found[i]
	}
	d.findPrimary()
	d.behind(ctx)
	return d.observation(env), nil
}

func (d *detail) findPrimary() {
	var found []string
	for _, m := range d.site.members {
		if mode := d.of(m).Instance.Mode; mode == "PRIMARY" || mode == "NORMAL" {
			found = append(found, m.name)
		}
	}
	if len(found) == 1 {
		d.primary = found[0]
	}
}

// behind looks once how far the standbys are; it does not wait.
func (d *detail) behind(ctx context.Context) {
	p := d.site.member(d.primary)
	if p == nil {
		return
	}
	at, err := p.position(ctx)
	if err != nil {
		return
	}
	for _, m := range d.site.members {
		if m == p {
			continue
		}
		if r, err := m.replay(ctx, at.Magic); err == nil && r.PMagic == at.Magic {
			d.of(m).Behind = r.behind(at)
		}
	}
}

func (n *node) observe(ctx context.Context) *seen {
	s := &seen{Node: n.name, Behind: -1, HugeRows: -1, EPs: map[string]string{}}
	if err := n.observeInto(ctx, s); err != nil {
		s.Trouble = say.Of(err).EN
	}
	return s
}

func (n *node) observeInto(ctx context.Context, s *seen) error {
	f, err := n.config(ctx, n.ini())
	if err != nil {
		return err
	}
	s.AMS = f.Get("ALTER_MODE_STATUS")
	s.Cold = outermost(append(n.dataDirs(f), strings.Split(n.set["cold_paths"], ",")...))
	pid, err := n.serverProcess(ctx)
	if err != nil {
		return err
	}
	s.Process = pid != 0
	if s.Instance, err = n.look(ctx); err != nil {
		return err
	}
	if s.Installed, err = n.installedIn(ctx, n.home()+"/bin"); err != nil {
		return err
	}
	if s.Installed.IsZero() && pid != 0 && n.fromBin(ctx, pid) {
		s.Installed = s.Instance.Release
	}
	if s.Watcher, err = n.alive(ctx, "dmwatcher", n.set["watcher_service"]); err != nil {
		return err
	}
	if s.Monitor, err = n.alive(ctx, "dmmonitor", n.set["monitor_service"]); err != nil {
		return err
	}
	log, err := n.logTail(ctx)
	if err != nil {
		return err
	}
	s.Exited, s.LastExit = lastExit(log)
	if !s.Instance.Up {
		return nil
	}
	return n.observeOpen(ctx, s)
}

func (n *node) observeOpen(ctx context.Context, s *seen) error {
	files, err := n.dataFiles(ctx)
	if err != nil {
		return err
	}
	s.Cold = outermost(append(s.Cold, files...))
	t, err := n.ask(ctx, "SELECT DB_MAGIC FROM V$RLOG")
	if err != nil {
		return err
	}
	if s.Magic, err = t.number(0, "DB_MAGIC"); err != nil {
		return err
	}
	if t, err = n.ask(ctx, "SELECT ARCH_TYPE, ARCH_DEST, ARCH_STATUS FROM V$ARCH_STATUS"); err != nil {
		return err
	}
	for i := range t.rows {
		s.Arch = append(s.Arch, t.get(i, "ARCH_TYPE")+" "+t.get(i, "ARCH_DEST")+" "+t.get(i, "ARCH_STATUS"))
	}
	if n.set["dcr_ini"] != "" {
		if t, err = n.ask(ctx, "SELECT EP_NAME, EP_STATUS FROM V$DSC_EP_INFO"); err != nil {
			return err
		}
		for i := range t.rows {
			s.EPs[t.get(i, "EP_NAME")] = t.get(i, "EP_STATUS")
		}
		if t, err = n.ask(ctx, "SELECT DISK_VERSION FROM V$ASMDISK"); err == nil {
			v, nerr := t.number(0, "DISK_VERSION")
			s.ASMOld = nerr == nil && v < 4100
		}
	}
	if t, err = n.ask(ctx, "SELECT NAME FROM V$HUGE_TABLESPACE WHERE NAME = 'MAIN'"); err == nil {
		s.HugeMain = yes(len(t.rows) > 0)
	}
	if q := n.set["huge_query"]; q != "" && s.Instance.Status == "OPEN" {
		if t, err = n.ask(ctx, q); err != nil {
			return say.Errorf("huge_query: %w", "huge_query：%w", err)
		}
		s.HugeRows = len(t.rows)
	}
	return nil
}

// observation sums up what was seen.
func (d *detail) observation(env driver.Env) driver.Observation {
	o := driver.Observation{Driver: "dameng", Cluster: env.Inventory.Cluster, Detail: d}
	releases := map[string]bool{}
	for _, n := range d.site.nodes {
		s := d.nodes[n.name]
		out := driver.Node{Name: n.name, Reachable: s.Trouble == "", Trouble: s.Trouble, Role: d.role(n), Health: healthUnknown}
		if out.Reachable {
			out.Health = healthDown
			if s.Instance.Up {
				out.Health, out.Running = healthMount, s.Instance.Release.String()
				if s.Instance.Status == "OPEN" {
					out.Health = healthOpen
				}
			}
		}
		if !s.Installed.IsZero() {
			out.Installed = s.Installed.String()
		}
		out.Healthy = out.Health == healthOpen
		if out.Running != "" {
			releases[out.Running] = true
		} else if out.Installed != "" {
			releases[out.Installed] = true
		}
		o.Nodes = append(o.Nodes, out)
		o.Facts = append(o.Facts, d.facts(n, out)...)
	}
	if len(releases) == 1 {
		for r := range releases {
			o.Release = r
		}
	}
	o.Facts = append(o.Facts, plan.Fact{Name: "topology", Value: string(d.site.topology)})
	sort.SliceStable(o.Facts, func(i, j int) bool { return o.Facts[i].Node < o.Facts[j].Node })
	return o
}

func (d *detail) role(n *node) string {
	switch d.nodes[n.name].Instance.Mode {
	case "PRIMARY":
		return "primary"
	case "STANDBY":
		return "standby"
	case "NORMAL":
		return "normal"
	}
	return ""
}

func (d *detail) facts(n *node, o driver.Node) []plan.Fact {
	s := d.nodes[n.name]
	fact := func(name, value string) plan.Fact { return plan.Fact{Node: n.name, Name: name, Value: value} }
	return []plan.Fact{
		fact("running", o.Running), fact("installed", o.Installed), fact("role", o.Role), fact("health", o.Health), fact("ini", n.ini()),
		fact("magic", fmt.Sprint(s.Magic)), fact("oguid", s.Instance.OGUID), fact("alter-mode-status", s.AMS), fact("huge-main", s.HugeMain),
		fact("data", strings.Join(s.Cold, " ")),
	}
}

// equalMagic names the standbys whose DB_MAGIC is the primary's (DM-024).
func (d *detail) equalMagic() []string {
	var out []string
	p := d.site.member(d.primary)
	if p == nil {
		return nil
	}
	for _, m := range d.site.members {
		if m != p && d.of(m).Magic != 0 && d.of(m).Magic == d.of(p).Magic {
			out = append(out, m.name)
		}
	}
	return out
}

var errNoRelease = say.Errorf("no release", "没有版本号")

// release is what the whole cluster runs.
func (d *detail) release() (release.Version, error) {
	var v release.Version
	for _, n := range d.site.nodes {
		s := d.nodes[n.name]
		r := s.Instance.Release
		if r.IsZero() {
			r = s.Installed
		}
		if r.IsZero() {
			return v, problem(n.name, say.F("its release cannot be told: the server does not run (%s)", "无法得知其版本：服务器未运行（%s）", orNone(s.Trouble)),
				say.F("start the cluster with the software that is installed", "请用已安装的版本启动集群"))
		}
		if !v.IsZero() && !v.Same(r) {
			return v, problem(n.name, say.F("it is at %s and others at %s: finish or roll back the earlier upgrade first", "其版本为 %s，其他节点为 %s：请先完成或回滚之前的升级", r, v), say.Text{})
		}
		v = r
	}
	if v.IsZero() {
		return v, errNoRelease
	}
	return v, nil
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return strings.TrimSpace(s)
}
