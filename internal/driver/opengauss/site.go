package opengauss

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// The names of the facts that a plan holds. They are all an action needs to
// find its way on a node, also when no tool answers there.
const (
	factRole      = "role"
	factRunning   = "running"   // release and commit of the process
	factInstalled = "installed" // release and commit of the files
	factNumber    = "kernel number"
	factHome      = "GAUSSHOME" // the link
	factApp       = "app"       // where it leads
	factPGHost    = "PGHOST"
	factGPHome    = "GPHOME"
	factID        = "instance"
	factNodeID    = "node id"
	factCMDir     = "cm directory"
	factCM        = "cluster manager" // its commit
	factMode      = "upgrade_mode"
	factOpen      = "open upgrade"
)

// site is one node as a plan saw it, with the means to reach it.
type site struct {
	gaussdb.Node
	Data   string
	Port   int
	Home   string // $GAUSSHOME
	OldApp string
	PGHost string
	GPHome string
	ID     int
	NodeID int
	CMDir  string
	HasCM  bool
	Role   string // before the run
	env    driver.Env
	runAs  gaussdb.Kernel
}

// room is the cluster as a plan saw it.
type room struct {
	driver.Target
	Sites []*site
	Args  map[string]string
}

func factsOf(p *plan.Plan) func(node, name string) string {
	return func(node, name string) string {
		for i := range p.Facts {
			if f := &p.Facts[i]; f.Name == name && f.Node == node {
				return f.Value
			}
		}
		return ""
	}
}

// roomOf reads the plan's facts.
func roomOf(t driver.Target) (*room, error) {
	fact := factsOf(t.Plan)
	r := &room{Target: t, Args: t.Step.Args}
	for _, n := range t.Inventory.Nodes {
		h, ok := t.Hosts[n.Name]
		if !ok {
			return nil, say.Errorf("no machine is known for node %q", "节点 %q 没有对应的主机", n.Name)
		}
		port, err := strconv.Atoi(n.Settings["port"])
		if err != nil {
			return nil, say.Errorf("%s: port %q is not a number", "%s：端口 %q 不是数字", n.Name, n.Settings["port"])
		}
		s := &site{
			Node: gaussdb.Node{Name: n.Name, Host: h, Profile: profileOf(n.Settings)}, env: t.Env,
			Data: n.Settings["data"], Port: port, Home: fact(n.Name, factHome), OldApp: fact(n.Name, factApp),
			PGHost: fact(n.Name, factPGHost), GPHome: fact(n.Name, factGPHome), CMDir: fact(n.Name, factCMDir), HasCM: fact(n.Name, factCM) != "",
			Role: fact(n.Name, factRole),
		}
		s.ID, _ = strconv.Atoi(fact(n.Name, factID))
		s.NodeID, _ = strconv.Atoi(fact(n.Name, factNodeID))
		k, _ := strconv.Atoi(fact(n.Name, factNumber))
		s.runAs = gaussdb.Kernel(k)
		if s.Home == "" || s.OldApp == "" || s.PGHost == "" {
			return nil, say.Errorf("%s: the plan does not say where $GAUSSHOME leads", "%s：计划中没有 $GAUSSHOME 所指的目录", n.Name)
		}
		r.Sites = append(r.Sites, s)
	}
	return r, nil
}

func profileOf(s map[string]string) string {
	if p := s["profile"]; p != "" {
		return p
	}
	return ".bashrc"
}

// here is the site of the step's node.
func (r *room) here() (*site, error) { return r.site(r.Step.Node) }

func (r *room) site(name string) (*site, error) {
	for _, s := range r.Sites {
		if s.Name == name {
			return s, nil
		}
	}
	return nil, say.Errorf("no node %q in the inventory", "清单中没有节点 %q", name)
}

// hereOf is roomOf and here at once.
func hereOf(t driver.Target) (*room, *site, error) {
	r, err := roomOf(t)
	if err != nil {
		return nil, nil, err
	}
	s, err := r.here()
	return r, s, err
}

// targets are the nodes that the step acts on: its own, or all.
func (r *room) targets() []*site {
	if r.Step.Node == "" {
		return r.Sites
	}
	for _, s := range r.Sites {
		if s.Name == r.Step.Node {
			return []*site{s}
		}
	}
	return nil
}

// newApp is the directory of the new release: the plan's commit beside the link.
func (r *room) newApp(s *site) string { return s.Home + "_" + r.Args["commit"] }

func (s *site) openDir() string { return s.PGHost + "/binary_upgrade" }

// work is where Shiplift lays packages down on the node.
func (s *site) work(commit string) string { return s.PGHost + "/shiplift_" + commit }

// each runs fn for every index, side by side unless the environment is serial.
func each(env driver.Env, n int, fn func(i int)) {
	if env.Serial {
		for i := range n {
			fn(i)
		}
		return
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

// onAll runs fn for every node that the step acts on and joins what went wrong.
func (r *room) onAll(fn func(s *site) error) error {
	return r.onAllIndexed(func(_ int, s *site) error { return fn(s) })
}

// onAllIndexed is onAll with the index in targets.
func (r *room) onAllIndexed(fn func(i int, s *site) error) error {
	sites := r.targets()
	errs := make([]error, len(sites))
	each(r.Env, len(sites), func(i int) { errs[i] = fn(i, sites[i]) })
	return errors.Join(errs...)
}

// change runs a command that must end with status 0.
func (s *site) change(ctx context.Context, argv ...string) error {
	_, err := s.Host.Run(ctx, host.Change(argv...))
	return err
}

// tool runs a vendor's tool that changes something. What it says is no proof;
// an exit status other than 0 is told with its words.
func (s *site) tool(ctx context.Context, timeout time.Duration, argv ...string) (gaussdb.Answer, error) {
	c := host.Change(argv...)
	c.Timeout = timeout
	return s.Run(ctx, c)
}

func toolFailed(s *site, argv string, a gaussdb.Answer) error {
	text := strings.TrimSpace(a.Both())
	if r := []rune(text); len(r) > 400 {
		text = "…" + string(r[len(r)-400:])
	}
	return &say.Problem{
		Place: s.Name,
		Text:  say.F("%s ended with status %d: %s", "%s 以状态 %d 结束：%s", argv, a.Code, text),
		Next:  say.F("look at the logs under $GAUSSLOG on %s, then: shiplift resume", "查看 %s 上 $GAUSSLOG 下的日志，然后执行：shiplift resume", s.Name),
	}
}

// link returns where $GAUSSHOME leads; it must be a symbolic link (GAUSS-52915).
func (s *site) link(ctx context.Context) (string, error) {
	res, err := s.Host.Run(ctx, host.Read("readlink", s.Home))
	if host.IsExit(err) {
		return "", &say.Problem{Place: s.Name, Text: say.F("%s is not a symbolic link [GAUSS-52915]", "%s 不是符号链接［GAUSS-52915］", s.Home),
			Next: say.F("ls -ld %s", "ls -ld %s", s.Home)}
	}
	if err != nil {
		return "", err
	}
	to := strings.TrimRight(res.Text(), "/")
	if !strings.HasPrefix(to, "/") {
		to = path.Join(path.Dir(s.Home), to)
	}
	return to, nil
}

// point makes $GAUSSHOME lead to app in one step: there is never a moment
// without a link.
func (s *site) point(ctx context.Context, app string) error {
	now, err := s.link(ctx)
	if err != nil || now == app {
		return err
	}
	tmp := s.Home + ".shiplift"
	if err := s.change(ctx, "ln", "-sfn", app, tmp); err != nil {
		return err
	}
	if err := s.change(ctx, "mv", "-T", tmp, s.Home); err != nil {
		return err
	}
	now, err = s.link(ctx)
	if err == nil && now != app {
		err = say.Errorf("%s: %s leads to %s, not to %s", "%s：%s 指向 %s，而不是 %s", s.Name, s.Home, now, app)
	}
	return err
}

func (s *site) exists(ctx context.Context, name string) (bool, error) {
	return host.Exists(ctx, s.Host, name)
}

// readIf reads a file; nil when it is not there.
func (s *site) readIf(ctx context.Context, name string) ([]byte, error) {
	b, err := host.ReadFile(ctx, s.Host, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && b == nil {
		b = []byte{}
	}
	return b, err
}

// list returns the names in a directory; none when it is not there.
func (s *site) list(ctx context.Context, dir string) ([]string, error) {
	there, err := s.exists(ctx, dir)
	if err != nil || !there {
		return nil, err
	}
	res, err := s.Host.Run(ctx, host.Read("ls", "-1A", dir))
	if err != nil {
		return nil, err
	}
	return strings.Fields(res.Text()), nil
}

// installed is the release whose files lie in a directory.
func (s *site) installed(ctx context.Context, app string) (gaussdb.Banner, error) {
	// The libraries of the release itself: the profile's path leads through the link.
	a, err := s.Run(ctx, host.Read("env", "LD_LIBRARY_PATH="+app+"/lib", app+"/bin/gaussdb", "-V"))
	if err != nil {
		return gaussdb.Banner{}, err
	}
	b, err := gaussdb.ParseBanner(a.Both())
	if err != nil {
		return b, say.Errorf("%s: %s: %w [GAUSS-51623]", "%s：%s：%w [GAUSS-51623]", s.Name, app, err)
	}
	return b, nil
}
