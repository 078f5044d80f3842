package simlab

import (
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/gbase8a"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/say"
)

var gbaseProduct = &Product{
	Name:  "gbase8a",
	About: say.F("A lab of simulated GBase 8a MPP nodes", "由模拟的 GBase 8a MPP 节点组成的演练环境"),
	Flags: []Flag{
		{Name: "flavor", Default: "v953", Words: []string{"v952", "v953"}, Doc: say.F("generation: gcware on the coordinators, or a cluster of its own", "版本系列：gcware 在协调节点上，或独立成集群")},
		{Name: "coordinators", Kind: Number, Default: "3", Doc: say.F("how many coordinators", "协调节点数")},
		{Name: "data-nodes", Kind: Number, Default: "3", Doc: say.F("how many data nodes", "数据节点数")},
		{Name: "gcware-nodes", Kind: Number, Default: "0", Doc: say.F("v953: how many gcware nodes; as many as coordinators when 0", "v953：gcware 节点数；0 表示与协调节点数相同")},
		{Name: "separate", Kind: Yes, Default: "false", Doc: say.F("each role has machines of its own", "各角色使用独立的机器")},
		{Name: "per-machine", Kind: Number, Default: "1", Doc: say.F("v953: instances on one machine", "v953：每台机器上的实例数")},
		{Name: "vcs", Kind: List, Doc: say.F("names of virtual clusters", "虚拟集群名")},
		{Name: "release", Doc: say.F("the release that runs at the beginning; one of the flavour when not given", "初始运行的版本；默认取该系列的一个版本")},
		{Name: "to", Kind: List, Doc: say.F("releases whose packages are laid ready; the next one of the flavour when not given", "预备升级包的版本；默认为该系列的下一版本")},
	},
	Own:    []string{"demo.options", "gcadmin.txt"},
	Faults: []string{"kill-server", "lag-flush", "endless-flush", "close-gcware", "stubborn-stop", "healthy"},
	New:    gbaseSite,
	Packages: func(a Args, dir string) ([]string, error) {
		return gbase8a.WritePackages(dir, gbaseConfig(a, ""))
	},
}

func gbaseConfig(a Args, cluster string) gbase8a.Config {
	return gbase8a.Config{
		Name: cluster, Flavor: gbase8a.Flavor(a["flavor"]), Coordinators: a.Int("coordinators"), DataNodes: a.Int("data-nodes"),
		Gcware: a.Int("gcware-nodes"), Separate: a.Bool("separate"), PerMachine: a.Int("per-machine"), VCs: a.List("vcs"),
		Release: a["release"], Packages: a.List("to"), FlushRequired: true,
	}
}

func gbaseSite(s Setup) (*Site, error) {
	w := sim.New(s.Seed)
	w.StartAt(time.Now().UTC().Truncate(time.Second))
	g := gbaseLab{gbase8a.Install(w, gbaseConfig(s.Args, s.Cluster)), w}
	site := &Site{
		World: w, Inventory: g.Inventory(), On: map[string]string{},
		Secrets: map[string]string{"dba_password": gbase8a.DBAPassword, "db_password": gbase8a.DBPassword},
		Files:   map[string]string{"demo.options": g.Options(), "gcadmin.txt": g.Status(w)},
		Nodes:   g.nodes, Break: g.fault,
	}
	for _, n := range g.Cluster.Nodes {
		site.On[n.Name] = n.Machine
	}
	site.Damage = func() (out []string) {
		w.With(func() { out = g.Violations() })
		return out
	}
	return site, nil
}

type gbaseLab struct {
	*gbase8a.Cluster
	w *sim.World
}

func (g gbaseLab) nodes() (out []Node) {
	g.w.With(func() {
		for _, l := range g.Look(g.w) {
			out = append(out, Node{Name: l.Name, Role: l.Roles, Running: l.Running, Installed: l.Installed, State: l.State})
		}
	})
	return out
}

func (g gbaseLab) fault(fault, node string) (err error) {
	g.w.With(func() {
		switch fault {
		case "kill-server":
			for _, prog := range strings.Fields("gclusterd gcware gbased") {
				g.Kill(g.w, node, prog)
			}
		case "lag-flush":
			g.Faults.LagNode = node
		case "endless-flush":
			g.Faults.NeverComplete = node
		case "close-gcware":
			g.Faults.CloseNode = node
		case "stubborn-stop":
			g.Faults.StopTimeout = node
		case "healthy":
			g.Faults = gbase8a.Faults{}
		default:
			err = noFault(fault)
		}
	})
	return err
}
