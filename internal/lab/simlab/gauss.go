package simlab

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// gaussSite makes a cluster of openGauss or MogDB, which share their tools.
func gaussSite(s Setup, o gauss.Options) (*Site, error) {
	w := sim.New(s.Seed)
	w.StartAt(time.Now().UTC().Truncate(time.Second))
	o.Cluster = s.Cluster
	l, err := gauss.New(w, o)
	if err != nil {
		return nil, err
	}
	g := gaussLab{l}
	if !l.Options.SepEnv {
		if err := g.readAtLogin(); err != nil {
			return nil, err
		}
	}
	site := &Site{World: w, Inventory: l.Inventory(), Nodes: g.nodes, Break: g.fault}
	site.Damage = func() []string { t := l.Truth(); return t.Damaged() }
	if l.Options.Install == "om" {
		site.Files = map[string]string{"clusterconfig.xml": l.XML()}
	}
	return site, nil
}

var gaussOwn = []string{"clusterconfig.xml"}

type gaussLab struct{ *gauss.Lab }

// readAtLogin gives every login what .bashrc sets, as bash does for the
// commands of an ssh session.
func (g gaussLab) readAtLogin() error {
	for _, m := range g.World.Machines() {
		res, err := m.Run(context.Background(), host.Sourced(g.Options.Profile(), host.Read("env")))
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name(), err)
		}
		env := map[string]string{}
		for line := range strings.Lines(string(res.Stdout)) {
			if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
				env[k] = v
			}
		}
		m.LoginWith(m.Login, env)
	}
	return nil
}

func (g gaussLab) nodes() []Node {
	var out []Node
	for _, n := range g.Nodes() {
		out = append(out, Node{Name: n.Name, Role: n.Role, Running: n.Running, Installed: n.Installed, State: n.State})
	}
	return out
}

// gaussFaults are the lab's hooks (kill-server, failover by a high-availability
// agent, switchover-never, …), and move-primary: the node becomes the primary
// through the vendor's own tool.
func gaussFaults() []string {
	out := []string{"move-primary"}
	for _, h := range gauss.Hooks() {
		out = append(out, strings.ReplaceAll(h, " ", "-"))
	}
	return out
}

func (g gaussLab) fault(fault, node string) error {
	if fault == "move-primary" {
		return g.movePrimary(node)
	}
	return g.World.Strike(strings.ReplaceAll(fault, "-", " "), node)
}

// movePrimary runs the vendor's own tool: a switchover while there is a primary, otherwise a failover.
func (g gaussLab) movePrimary(node string) error {
	verb := "switchover"
	if g.Primary() == "" {
		verb = "failover"
	}
	cmd := host.Sourced(g.Options.Profile(), host.Change("gs_ctl", verb, "-D", g.Options.Data()))
	if _, err := g.World.Machine(node).Run(context.Background(), cmd); err != nil {
		return fmt.Errorf("gs_ctl %s: %w", verb, err)
	}
	return nil
}

// gaussPackages writes the packages of releases.
func gaussPackages(f gauss.Flavor, dir string, releases []string) ([]string, error) {
	var out []string
	for _, r := range releases {
		p, err := gauss.PackageOf(f, strings.TrimSpace(r))
		if err != nil {
			return nil, err
		}
		paths, err := p.Write(dir)
		if err != nil {
			return nil, err
		}
		out = append(out, paths...)
	}
	return out, nil
}
