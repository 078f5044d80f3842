package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Driver is the name of the driver that upgrades these labs.
const Driver = "postgres"

// Lab is one practice cluster.
type Lab struct {
	Dir       string // absolute, without symbolic links
	Inventory string // the inventory's path
	Packages  []Package
	State     lab.State

	spec     spec
	clk      wait.Clock
	report   func(say.Text)
	machines *machines // the ssh servers, when this process holds them
}

// Nodes returns the lab's nodes.
func (l *Lab) Nodes() []Node { return l.spec.Nodes }

// Release is the release that the lab began with.
func (l *Lab) Release() string { return l.spec.Release }

// User is the ordinary account that servers and logins run as.
func (l *Lab) User() string { return l.spec.Account.Name }

// Up makes a lab and leaves it behind, held by a daemon. It returns when every
// standby streams and has replayed all there is. When it fails it leaves nothing.
func Up(ctx context.Context, o Options) (*Lab, error) {
	return create(ctx, o, func(l *Lab) error { return l.State.StartDaemon(ctx, l.Dir, o.Serve, o.Env) })
}

// Start makes a lab that lives until Close: its ssh servers run in this process.
func Start(ctx context.Context, o Options) (*Lab, error) {
	return create(ctx, o, func(l *Lab) error {
		m, err := l.openMachines()
		l.machines = m
		return err
	})
}

// Close ends a lab made by Start and leaves no process, port or file of it.
func (l *Lab) Close() error {
	var err error
	if l.machines != nil {
		err = l.machines.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(err, Down(ctx, l.Dir))
}

// Open returns the lab that lies in dir.
func Open(dir string) (*Lab, error) {
	dir, err := lab.Canonical(dir)
	if err != nil {
		return nil, err
	}
	state, err := lab.Load(dir)
	if err != nil {
		return nil, err
	}
	if state.Driver != Driver {
		return nil, &say.Problem{
			Place: dir,
			Text:  say.F("this is a lab of %s", "这是 %s 的演练环境", state.Driver),
			Next:  say.F("name a lab of %s", "请指定 %s 的演练环境", Driver),
		}
	}
	l := &Lab{Dir: dir, Inventory: filepath.Join(dir, lab.InventoryFile), State: state, clk: wait.Real{}, report: func(say.Text) {}}
	if err := json.Unmarshal(state.Spec, &l.spec); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, lab.StateFile), err)
	}
	for _, r := range append([]string{l.spec.Release}, l.spec.To...) {
		p := packageIn(filepath.Join(dir, lab.PackagesDir), r)
		if sum, err := readSum(p.SumPath); err == nil {
			p.SHA256 = sum
			l.Packages = append(l.Packages, p)
		}
	}
	return l, nil
}

func create(ctx context.Context, o Options, serve func(*Lab) error) (_ *Lab, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Dir, err = lab.Canonical(o.Dir); err != nil {
		return nil, err
	}
	l := &Lab{Dir: o.Dir, Inventory: filepath.Join(o.Dir, lab.InventoryFile), clk: o.Clock, report: o.Report}
	if l.clk == nil {
		l.clk = wait.Real{}
	}
	if l.report == nil {
		l.report = func(say.Text) {}
	}
	acc, err := pickAccount()
	if err != nil {
		return nil, err
	}
	if err := acc.checkReach(o.Dir); err != nil {
		return nil, err
	}
	if l.spec, err = o.layout(acc); err != nil {
		return nil, err
	}
	packages, err := o.packages(ctx, l.report) // before anything is made: this is what fails most often
	if err != nil {
		return nil, err
	}
	if err := l.begin(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.abandon())
		}
	}()
	if err := l.build(ctx, packages); err != nil {
		return nil, err
	}
	if err := serve(l); err != nil {
		return nil, fmt.Errorf("start the nodes' ssh servers: %w", err)
	}
	if err := l.writeInventory(); err != nil {
		return nil, err
	}
	l.State.Ready = true
	return l, l.State.Save(l.Dir)
}

// packages gets every release that is wanted.
func (o Options) packages(ctx context.Context, report func(say.Text)) ([]Package, error) {
	c := o.Cache
	if c.Report == nil {
		c.Report = report
	}
	var out []Package
	seen := map[string]bool{}
	for _, r := range append([]string{o.Release}, o.To...) {
		if seen[r] {
			continue
		}
		seen[r] = true
		p, err := c.Get(ctx, r)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// begin writes down what the lab will consist of, then nothing else can be forgotten.
func (l *Lab) begin() error {
	body, err := json.Marshal(l.spec)
	if err != nil {
		return err
	}
	made := []string{
		lab.InventoryFile, lab.PackagesDir, secretsDir, sshDir, lab.ControlSocket, lab.DaemonLog,
		lab.InventoryFile + ".tmp",
	}
	for _, n := range l.spec.Nodes {
		made = append(made, n.Name)
	}
	l.State, err = lab.Create(l.Dir, lab.State{Driver: Driver, Cluster: lab.NewName(), Made: made, Spec: body})
	return err
}

// abandon takes away a lab that did not come up.
func (l *Lab) abandon() error {
	l.report(say.F("the lab did not come up: removing it", "演练环境未能建立：正在清除"))
	return l.Close()
}

// writeInventory writes the file that names the cluster.
func (l *Lab) writeInventory() error {
	inv := &cluster.Inventory{
		Cluster: l.State.Cluster, Driver: Driver,
		Settings: cluster.Settings{"user": Superuser, "database": Superuser, "password_file": l.SuperuserFile()},
	}
	for _, n := range l.spec.Nodes {
		settings := cluster.Settings{"base": n.Base, "data": n.Data, "port": fmt.Sprint(n.Port)}
		if n.SocketDir != "" {
			settings["socket_dir"] = n.SocketDir
		}
		inv.Nodes = append(inv.Nodes, cluster.Node{
			Name: n.Name, Address: "127.0.0.1", Transport: "ssh", Settings: settings,
			SSH: cluster.SSH{
				Port: n.SSHPort, User: l.spec.Account.Name,
				IdentityFile: filepath.Join(l.Dir, sshDir, clientKey), KnownHosts: filepath.Join(l.Dir, sshDir, knownHosts),
			},
		})
	}
	return cluster.Write(l.Inventory, inv)
}

func (l *Lab) server(n Node) server { return server{Node: n, acc: l.spec.Account, clk: l.clk} }

// each calls fn for several nodes at a time and joins their errors.
func each(nodes []Node, fn func(Node) error) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = fn(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// copyPackages puts the packages where the lab's user finds them.
func (l *Lab) copyPackages(from []Package) error {
	dir := filepath.Join(l.Dir, lab.PackagesDir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, p := range from {
		to, err := p.CopyTo(dir)
		if err != nil {
			return err
		}
		l.Packages = append(l.Packages, to)
	}
	return nil
}

// LogTail is the end of what a node's server wrote to its log.
func (l *Lab) LogTail(node string) string {
	n, err := l.spec.node(node)
	if err != nil {
		return ""
	}
	return l.server(n).logTail()
}
