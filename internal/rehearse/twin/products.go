package twin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/dameng"
	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	"github.com/shiplift/shiplift/internal/driver/mogdb"
	"github.com/shiplift/shiplift/internal/driver/opengauss"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/host"
	damenglab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	gbaselab "github.com/shiplift/shiplift/internal/lab/gbase8a"
	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/say"
)

// postgresTwin has the nodes' names, roles, upstreams, slots, stream names,
// releases and the settings that the driver's facts hold.
func postgresTwin(s *sight) (*model, error) {
	primaries := s.with("role", "primary")
	if len(primaries) != 1 {
		return nil, cannot(s.plan, say.F("it has %d primaries", "有 %d 个主库", len(primaries)))
	}
	o := pgsim.Options{
		Names: s.inv.Names(), Primary: primaries[0], CutScript: postgres.CutScript,
		Upstream: map[string]string{}, ReleaseOf: map[string]string{}, SlotOf: map[string]string{}, AppOf: map[string]string{}, Conf: map[string]map[string]string{},
	}
	for _, n := range o.Names {
		o.Upstream[n], o.SlotOf[n], o.AppOf[n] = s.fact(n, "upstream"), s.fact(n, "slot"), s.fact(n, "name")
		o.ReleaseOf[n] = s.plan.Before[n].Running
		if installed := s.plan.Before[n].Installed; installed != o.ReleaseOf[n] {
			return nil, cannot(s.plan, say.F("%s runs %s and has %s installed", "%s 运行 %s，已安装 %s", n, o.ReleaseOf[n], installed))
		}
		o.Conf[n] = postgresConf(s, n)
	}
	pkg, err := pgsim.WritePackage(s.dir, s.to())
	if err != nil {
		return nil, err
	}
	base, err := pgsim.Start(o)
	if err != nil {
		return nil, cannot(s.plan, say.Same(err.Error()))
	}
	return &model{
		open: func(uint64) (*site, error) {
			l := base.Of(base.World.Clone())
			return &site{Interrupted: l.Interruption, World: rehearse.World{
				Driver: postgres.New(), Request: plan.Request{Packages: []string{pkg}}, Truth: l.Truth, Mend: l.Mend, Sim: l.World, Secrets: []string{pgsim.Secret},
				Env: driver.Env{Hosts: l.World.Hosts(), Inventory: l.Inventory, Clock: l.World, Serial: true},
			}}, nil
		},
		missing: []say.Text{say.F("directories and ports (the twin's are its own), extensions, logical and other foreign slots, settings that the plan does not hold",
			"目录和端口（副本使用自己的）、扩展、逻辑槽及其他外来的槽、计划中未记录的参数")},
	}, nil
}

// postgresConf is what a node's postgresql.conf says in the twin.
func postgresConf(s *sight, node string) map[string]string {
	conf := map[string]string{"cluster_name": s.fact(node, "name"), "synchronous_standby_names": s.fact(node, "sync")}
	for _, name := range []string{"max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction", "wal_level"} {
		if v := s.fact(node, name); v != "" {
			conf[name] = v
		}
	}
	return conf
}

// gaussTwin has the number of nodes, of cascade standbys, the release, the
// cluster manager or MogHA, and how the software was installed.
func gaussTwin(s *sight) (*model, error) {
	o := gauss.Options{Nodes: len(s.inv.Nodes), Release: s.plan.From, Load: true}
	for _, n := range s.inv.Names() {
		if strings.HasPrefix(s.plan.Before[n].Role, "cascade") {
			o.Cascade++
		}
		o.CM = o.CM || s.fact(n, "cluster manager") != ""
		o.MogHA = o.MogHA || s.fact(n, "mogha") == "active"
		o.Unavailable = o.Unavailable || s.fact(n, "most_available_sync") == "off"
	}
	if s.plan.Driver == "mogdb" {
		o.Flavor, o.Install = gauss.MogDB, s.fact("", "install")
	}
	base := sim.New(1)
	lab, err := gauss.New(base, o)
	if err != nil {
		return nil, cannot(s.plan, say.Same(err.Error()))
	}
	files, err := gaussPackages(s, o.Flavor)
	if err != nil {
		return nil, cannot(s.plan, say.Same(err.Error()))
	}
	return &model{
		open: func(uint64) (*site, error) {
			w := base.Clone()
			l := lab.Of(w)
			var d driver.Driver = opengauss.New()
			if o.Flavor == gauss.MogDB {
				d = mogdb.New()
			}
			return &site{World: rehearse.World{
				Driver: d, Sim: w, Mend: func() error { return gaussMend(l) }, Truth: func() error { return gaussTruth(l, s.plan.Request.Mode) }, Request: plan.Request{Packages: files},
				Env: driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: w, Serial: true},
			}}, nil
		},
		missing: []say.Text{say.F("names (the twin's nodes are node1, node2, …), directories and ports, extensions, parameters that the plan does not hold",
			"名称（副本的节点为 node1、node2……）、目录和端口、扩展、计划中未记录的参数")},
	}, nil
}

// gaussPackages writes the release's packages: the archive that holds all, or the cluster manager's.
func gaussPackages(s *sight, f gauss.Flavor) ([]string, error) {
	if f == "" {
		f = gauss.OpenGauss
	}
	p, err := gauss.PackageOf(f, s.to())
	if err != nil {
		return nil, err
	}
	files, err := p.Write(s.dir)
	switch {
	case err != nil:
		return nil, err
	case s.plan.Request.Component != "" && len(files) > 1:
		return files[1:], nil
	}
	return files[:1], nil
}

// gaussMend starts what fell with its machine, as a person does where no
// cluster manager does it: as standbys of the primary that is there, otherwise
// the one that has most as the primary.
func gaussMend(l *gauss.Lab) error {
	if l.Options.CM {
		return nil
	}
	nodes := l.Nodes()
	slices.SortStableFunc(nodes, func(a, b gauss.Node) int { return cmp.Compare(b.LSN, a.LSN) })
	for _, n := range nodes {
		if n.Running != "" {
			continue
		}
		mode := "standby"
		if l.Primary() == "" {
			mode = "primary"
		}
		inv := l.Inventory()
		node, _ := inv.Node(n.Name)
		start := host.Sourced(l.Options.Profile(), host.Change("gs_ctl", "start", "-D", node.Settings["data"], "-M", mode))
		if _, err := l.World.Machine(n.Name).Run(context.Background(), start); err != nil {
			return fmt.Errorf("a person starts %s: %w", n.Name, err)
		}
	}
	return nil
}

func gaussTruth(l *gauss.Lab, mode string) error {
	t := l.Truth()
	bad := t.Damaged()
	if mode == "inplace" {
		// The business is stopped: that the primary outlives its standbys' stop does no harm.
		bad = slices.DeleteFunc(bad, func(s string) bool { return strings.Contains(s, " M11 ") })
	}
	if t.Lost > 0 {
		bad = append(bad, fmt.Sprintf("%d bytes of acknowledged writes are lost", t.Lost))
	}
	if t.TwoPrimaries > 0 {
		bad = append(bad, fmt.Sprintf("two writable primaries for %s", t.TwoPrimaries))
	}
	return wrong(append(bad, l.World.Complaints()...))
}

// wrong is an error of what is wrong, or nil.
func wrong(bad []string) error {
	if len(bad) == 0 {
		return nil
	}
	return errors.New(strings.Join(bad, "; "))
}

// damengTwin has the topology, the number of standbys and the release.
func damengTwin(s *sight) (*model, error) {
	o := damenglab.Options{Topology: s.fact("", "topology"), Release: s.plan.From, Standbys: len(s.with("role", "standby"))}
	if o.Topology == "dw-dsc" {
		o.Standbys /= 2 // each is a cluster of two nodes
	}
	base, err := damenglab.New(o)
	if err != nil {
		return nil, cannot(s.plan, say.Same(err.Error()))
	}
	for range 7 {
		base.Write() // there is something to lose
	}
	var hops []string
	for _, p := range s.plan.Request.Packages {
		name := strings.TrimSuffix(filepath.Base(p), ".tar.gz")
		if release, ok := strings.CutPrefix(name, "dameng-"); ok && release != s.to() {
			hops = append(hops, release)
		}
	}
	files, err := damenglab.WritePackages(s.dir, append(hops, s.to())...)
	if err != nil {
		return nil, cannot(s.plan, say.Same(err.Error()))
	}
	return &model{
		open: func(uint64) (*site, error) {
			l := base.Of(base.World.Clone())
			return &site{World: rehearse.World{
				Driver: dameng.Driver{}, Sim: l.World, Truth: func() error { return damengTruth(l) }, Mend: l.Mend, Request: plan.Request{Packages: files},
				Env: driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: l.World, Serial: true,
					Secret: func(string, string) (string, error) { return damenglab.DefaultPassword, nil }},
			}}, nil
		},
		missing: []say.Text{say.F("names, directories and ports (the twin has its own), the contents of the ini files, the size of the library",
			"名称、目录和端口（副本使用自己的）、各 ini 文件的内容、库的大小")},
	}, nil
}

func damengTruth(l *damenglab.Lab) error {
	t := l.Truth()
	var bad []string
	for _, d := range t.Damage {
		bad = append(bad, d.String())
	}
	if len(t.Primaries) != 1 {
		bad = append(bad, fmt.Sprintf("writable primaries: %v", t.Primaries))
	}
	if t.Lost > 0 {
		bad = append(bad, fmt.Sprintf("%d acknowledged writes are lost", t.Lost))
	}
	return wrong(bad)
}

// gbaseTwin has the generation, the number of nodes of each role, the virtual
// clusters and the release.
func gbaseTwin(s *sight) (*model, error) {
	c := gbaselab.Config{Flavor: gbaselab.Flavor(s.fact("", "generation")), Release: s.plan.From, FlushRequired: true, Separate: true}
	for _, n := range s.inv.Names() {
		roles := strings.Split(s.plan.Before[n].Role, "+")
		if slices.Contains(roles, "coordinator") {
			c.Coordinators++
		}
		if slices.Contains(roles, "gcware") {
			c.Gcware++
		}
		if slices.Contains(roles, "data") {
			c.DataNodes++
		}
		both := slices.Contains(roles, "coordinator") && slices.Contains(roles, "data")
		c.Separate = c.Separate && !both
	}
	if vcs := s.fact("", "virtual clusters"); vcs != "" {
		c.VCs = strings.Split(vcs, ",")
	}
	if c.Flavor != gbaselab.V953 {
		c.Gcware = 0
	}
	if s.plan.Request.Component == "" {
		c.Packages = []string{s.to()}
	}
	base := sim.New(7)
	gbaselab.Install(base, c)
	files, err := gbaselab.WritePackages(s.dir, c)
	if err != nil {
		return nil, cannot(s.plan, say.Same(err.Error()))
	}
	if s.plan.Request.Component != "" {
		files = nil
	}
	return &model{
		open: func(uint64) (*site, error) {
			w := base.Clone()
			lab := gbaselab.Of(w)
			return &site{World: rehearse.World{
				Driver: gbase8a.Driver{}, Sim: w, Request: plan.Request{Packages: files}, Truth: func() error { return gbaseTruth(w, lab) },
				Mend: func() error { w.With(func() { lab.Mend(w) }); return nil },
				Env:  driver.Env{Hosts: lab.Hosts(w), Inventory: lab.Inventory(), Clock: w, Secret: gbaselab.Secret, Serial: true},
			}}, nil
		},
		missing: []say.Text{say.F("names, addresses and directories (the twin has its own), tables, distributions, the load that keeps gcware busy",
			"名称、地址和目录（副本使用自己的）、表与分布、使 gcware 繁忙的负载")},
	}, nil
}

func gbaseTruth(w *sim.World, c *gbaselab.Cluster) (err error) {
	var bad []string
	w.With(func() { bad, err = c.Violations(), c.Whole(w) })
	return errors.Join(err, wrong(append(bad, w.Complaints()...)))
}
