package simlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Options say what lab is wanted.
type Options struct {
	Product string
	Dir     string // where the lab lies; made when it does not exist
	Args    Args   // the product's own flags; defaults are filled in
	Speed   float64
	Serve   []string // the daemon's command, to which Dir is added; empty: this program, lab serve PRODUCT --dir
	Env     []string // added to the daemon's environment
}

// DefaultSpeed is how many times as fast as the real clock a lab's runs: a
// server that takes half a minute to start is there after a second or two.
const DefaultSpeed = 20

// MaxSpeed keeps the simulated world slower than the commands that come over ssh.
const MaxSpeed = 200

// spec is the part of the state file that belongs to simulated labs.
type spec struct {
	Args     Args     `json:"args"`
	Speed    float64  `json:"speed"`
	Packages []string `json:"packages"` // names in the folder of packages
}

// Lab is one simulated practice cluster.
type Lab struct {
	Dir       string // absolute, without symbolic links
	Inventory string // the inventory's path
	State     lab.State

	product *Product
	spec    spec
	hall    *hall // the machines, when this process holds them
}

// Packages are the paths of the packages of releases that the cluster could go to.
func (l *Lab) Packages() []string {
	var out []string
	for _, name := range l.spec.Packages {
		out = append(out, filepath.Join(l.Dir, lab.PackagesDir, name))
	}
	return out
}

// Site is the simulated cluster of a lab made by Start; nil for any other.
func (l *Lab) Site() *Site {
	if l.hall == nil {
		return nil
	}
	return l.hall.site
}

// Up makes a lab and leaves it behind, held by a daemon. When it fails it leaves nothing.
func Up(ctx context.Context, o Options) (*Lab, error) {
	return create(o, func(l *Lab) error { return l.State.StartDaemon(ctx, l.Dir, o.Serve, o.Env) })
}

// Start makes a lab that lives until Close: this process is the cluster.
func Start(o Options) (*Lab, error) {
	return create(o, func(l *Lab) (err error) {
		l.hall, err = l.raise()
		return err
	})
}

// Close ends a lab made by Start and leaves no port or file of it.
func (l *Lab) Close() error {
	var err error
	if l.hall != nil {
		err = l.hall.close()
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
	l := &Lab{Dir: dir, Inventory: filepath.Join(dir, lab.InventoryFile), State: state, product: products[state.Driver]}
	if l.product == nil {
		return nil, &say.Problem{
			Place: dir,
			Text:  say.F("this is a lab of %s, which is not a simulated one", "这是 %s 的演练环境，不是模拟环境", state.Driver),
			Next:  say.F("name a lab of %v", "请指定 %v 的演练环境", Products()),
		}
	}
	if err := json.Unmarshal(state.Spec, &l.spec); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, lab.StateFile), err)
	}
	return l, nil
}

func create(o Options, serve func(*Lab) error) (_ *Lab, err error) {
	l, err := o.check()
	if err != nil {
		return nil, err
	}
	if err := l.begin(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := l.makeFolders(); err != nil {
		return nil, err
	}
	if err := l.makePackages(); err != nil {
		return nil, err
	}
	if err := serve(l); err != nil {
		return nil, fmt.Errorf("start the simulated machines: %w", err)
	}
	hall := l.hall
	if l, err = Open(l.Dir); err != nil { // whoever serves has signed in
		return nil, err
	}
	l.hall = hall
	l.State.Ready = true
	return l, l.State.Save(l.Dir)
}

// Check refuses options that make no lab. Up and Start do so too.
func (o Options) Check() error {
	_, err := o.check()
	return err
}

// check refuses options that make no lab, before anything is made.
func (o Options) check() (*Lab, error) {
	p := products[o.Product]
	if p == nil {
		return nil, &say.Problem{
			Place: o.Product, Text: say.F("no simulated product of this name; there are: %v", "没有此名称的模拟产品；可用的有：%v", Products()),
			Next: say.Same("shiplift lab up --help"),
		}
	}
	if o.Speed == 0 {
		o.Speed = DefaultSpeed
	}
	if o.Speed < 0.1 || o.Speed > MaxSpeed {
		return nil, p.usage("--speed", say.F("%v is not between 0.1 and %d", "%v 不在 0.1 到 %d 之间", o.Speed, MaxSpeed))
	}
	args, err := p.complete(o.Args)
	if err != nil {
		return nil, err
	}
	dir, err := lab.Canonical(o.Dir)
	if err != nil {
		return nil, err
	}
	l := &Lab{Dir: dir, Inventory: filepath.Join(dir, lab.InventoryFile), product: p, spec: spec{Args: args, Speed: o.Speed}}
	l.State.Cluster = lab.NewName()
	if _, err := l.site(); err != nil {
		return nil, p.usage("", say.Of(err))
	}
	return l, nil
}

func (l *Lab) site() (*Site, error) {
	return l.product.New(Setup{Args: l.spec.Args, Cluster: l.State.Cluster, Seed: 1})
}

// begin writes down what the lab will consist of, then nothing else can be forgotten.
func (l *Lab) begin() error {
	body, err := json.Marshal(l.spec)
	if err != nil {
		return err
	}
	made := append([]string{
		lab.InventoryFile, lab.PackagesDir, secretsDir, sshDir, lab.ControlSocket, lab.DaemonLog, lab.InventoryFile + ".tmp",
	}, l.product.Own...)
	l.State, err = lab.Create(l.Dir, lab.State{Driver: l.product.Name, Cluster: l.State.Cluster, Made: made, Spec: body})
	return err
}

func (l *Lab) makeFolders() error {
	return errors.Join(
		os.Mkdir(filepath.Join(l.Dir, lab.PackagesDir), 0o755),
		os.Mkdir(filepath.Join(l.Dir, secretsDir), 0o700),
		os.Mkdir(filepath.Join(l.Dir, sshDir), 0o700),
	)
}

func (l *Lab) makePackages() error {
	paths, err := l.product.Packages(l.spec.Args, filepath.Join(l.Dir, lab.PackagesDir))
	if err != nil {
		return fmt.Errorf("make the packages: %w", err)
	}
	for _, p := range paths {
		l.spec.Packages = append(l.spec.Packages, filepath.Base(p))
	}
	if l.State.Spec, err = json.Marshal(l.spec); err != nil {
		return err
	}
	return l.State.Save(l.Dir)
}

// Down takes the lab in dir away: its daemon and its files. It may be called
// again, works on a lab that was made or removed half-way and after its daemon
// was killed, and refuses a directory that is not a simulated lab's.
func Down(ctx context.Context, dir string) error {
	l, err := Open(dir)
	if errors.Is(err, lab.ErrNoLab) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := l.State.EndDaemon(ctx, wait.Real{}); err != nil {
		return err
	}
	return l.State.Remove(l.Dir)
}
