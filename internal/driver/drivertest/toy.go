// Package drivertest is the conformance suite that each driver passes, the
// harness that kills the tool at every point of a run, and a toy product to
// try the run itself on.
package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// Toy is a product whose whole state is three files on each node: role,
// running and installed. It upgrades standbys first, moves the primary, then
// upgrades what was the primary.
type Toy struct{}

var _ driver.Driver = Toy{}

// Name returns "toy".
func (Toy) Name() string { return "toy" }

// Settings are the toy's keys.
func (Toy) Settings() []cluster.Key {
	return []cluster.Key{{Name: "dir", Required: true, PerNode: true, Doc: "directory that holds the toy's files"}}
}

var errToyValue = errors.New("no value")

func toyGet(ctx context.Context, env driver.Env, node, name string) (string, error) {
	n, ok := env.Inventory.Node(node)
	if !ok {
		return "", fmt.Errorf("no node %q", node)
	}
	res, err := env.Hosts[node].Run(ctx, host.Read("cat", path.Join(n.Settings["dir"], name)))
	if host.IsExit(err) {
		return "", errToyValue
	}
	return res.Text(), err
}

func toySet(ctx context.Context, env driver.Env, node, name, value string) error {
	n, _ := env.Inventory.Node(node)
	cmd := host.Change("dd", "of="+path.Join(n.Settings["dir"], name), "conv=fsync")
	cmd.Stdin = strings.NewReader(value + "\n")
	_, err := env.Hosts[node].Run(ctx, cmd)
	return err
}

func toyDrop(ctx context.Context, env driver.Env, node, name string) error {
	n, _ := env.Inventory.Node(node)
	_, err := env.Hosts[node].Run(ctx, host.Change("rm", "-f", path.Join(n.Settings["dir"], name)))
	return err
}

// Observe reads the three files of each node.
func (Toy) Observe(ctx context.Context, env driver.Env) (driver.Observation, error) {
	o := driver.Observation{Driver: "toy", Cluster: env.Inventory.Cluster}
	for _, name := range env.Inventory.Names() {
		n := driver.Node{Name: name, Reachable: true, Healthy: true, Health: "normal"}
		for key, to := range map[string]*string{"role": &n.Role, "running": &n.Running, "installed": &n.Installed} {
			v, err := toyGet(ctx, env, name, key)
			if err != nil {
				n.Reachable, n.Healthy, n.Health, n.Trouble = false, false, "unknown", err.Error()
				break
			}
			*to = v
		}
		o.Nodes = append(o.Nodes, n)
		for _, f := range [][2]string{{"installed", n.Installed}, {"role", n.Role}, {"running", n.Running}} {
			o.Facts = append(o.Facts, plan.Fact{Node: name, Name: f[0], Value: f[1]})
		}
	}
	o.Release = o.Nodes[0].Running
	return o, nil
}

// Checks asks whether there is one primary and every node answers.
func (Toy) Checks(_ driver.Env, o driver.Observation, _ plan.Request) []check.Check {
	return []check.Check{{ID: "one-primary", Title: say.F("one primary", "只有一个主库"), Ask: func(context.Context) ([]check.Finding, error) {
		if n := len(toyNodes(o, "primary")); n != 1 {
			return []check.Finding{{Severity: check.Block, Says: say.F("%d primaries", "有 %d 个主库", n)}}, nil
		}
		return nil, nil
	}}}
}

func toyNodes(o driver.Observation, role string) []string {
	var out []string
	for _, n := range o.Nodes {
		if n.Role == role {
			out = append(out, n.Name)
		}
	}
	return out
}

// Plan upgrades the standbys, switches, and upgrades the old primary.
func (Toy) Plan(_ *cluster.Inventory, o driver.Observation, r plan.Request) (plan.Plan, error) {
	primary, standbys := toyNodes(o, "primary"), toyNodes(o, "standby")
	if len(primary) != 1 || len(standbys) == 0 {
		return plan.Plan{}, &driver.RefusalError{Text: say.F("a toy needs one primary and a standby", "toy 需要一个主库和一个备库")}
	}
	if o.Release == r.To {
		return plan.Plan{}, &driver.NothingToDoError{Text: say.F("all nodes run %s already", "所有节点已在运行 %s", r.To)}
	}
	p := plan.Plan{From: o.Release, To: r.To}
	var staged, before []string
	for _, n := range o.Nodes {
		p.Steps = append(p.Steps, toyStep(n.Name, "stage", plan.None, nil))
		staged = append(staged, n.Name+"/stage")
	}
	before = staged
	for _, n := range standbys {
		p.Steps = append(p.Steps, toyStep(n, "upgrade", plan.ReadsOnly, before))
		before = []string{n + "/upgrade"}
	}
	sw := toyStep("", "switch", plan.WritesStop, before)
	sw.ID = "cluster/switch"
	sw.Args = map[string]string{"from": primary[0], "to": standbys[0]}
	p.Steps = append(p.Steps, sw, toyStep(primary[0], "upgrade", plan.ReadsOnly, []string{sw.ID}))
	p.Steps = append(p.Steps,
		plan.Step{ID: "verify", Kind: plan.VerifyKind, Phase: plan.Apply, Needs: []string{primary[0] + "/upgrade"}, Class: plan.ReadOnly, Impact: plan.None, Says: say.F("prove the result", "验证结果")},
		plan.Step{ID: plan.CommitGate, Kind: plan.GateKind, Phase: plan.Commit, Needs: []string{"verify"}, Class: plan.OneWay, Impact: plan.None, Says: say.F("commit", "提交"), Gate: &plan.Gate{OneWay: true}})
	for _, n := range o.Nodes {
		c := toyStep(n.Name, "clean", plan.None, []string{plan.CommitGate})
		c.Phase, c.Class = plan.Commit, plan.OneWay
		p.Steps = append(p.Steps, c)
	}
	return p, nil
}

func toyStep(node, kind string, impact plan.Impact, needs []string) plan.Step {
	return plan.Step{
		ID: node + "/" + kind, Kind: kind, Node: node, Phase: plan.Apply, Needs: needs, Class: plan.Reversible, Impact: impact,
		Estimate: plan.Duration(time.Second), Timeout: plan.Duration(time.Minute),
		Says: say.F("%s %s", "%s %s", kind, node),
	}
}

// Action returns the toy's actions.
func (Toy) Action(kind string) (driver.Action, bool) {
	a, ok := map[string]driver.Action{"stage": toyStage{}, "upgrade": toyUpgrade{}, "switch": toySwitch{}, "clean": toyClean{}}[kind]
	return a, ok
}

// Verify asks that every node runs the new release and that one is the primary.
func (t Toy) Verify(ctx context.Context, env driver.Env, p *plan.Plan) ([]check.Finding, error) {
	o, err := t.Observe(ctx, env)
	if err != nil {
		return nil, err
	}
	var out []check.Finding
	for _, n := range o.Nodes {
		if n.Running != p.To || n.Installed != p.To {
			out = append(out, check.Finding{ID: "release", Severity: check.Block, Node: n.Name, Says: say.F("runs %s, not %s", "正在运行 %s，而不是 %s", n.Running, p.To)})
		}
	}
	if n := len(toyNodes(o, "primary")); n != 1 {
		out = append(out, check.Finding{ID: "one-primary", Severity: check.Block, Says: say.F("%d primaries", "有 %d 个主库", n)})
	}
	return out, nil
}

type toyPlain struct{}

func (toyPlain) Prepare(context.Context, driver.Target) (driver.Memo, error) {
	return driver.Memo(`{}`), nil
}

type toyStage struct{ toyPlain }

func (toyStage) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	_, err := toyGet(ctx, t.Env, t.Step.Node, "staged")
	if errors.Is(err, errToyValue) {
		return driver.NotApplied, nil
	}
	return driver.Applied, err
}

func (toyStage) Do(ctx context.Context, t driver.Target) error {
	return toySet(ctx, t.Env, t.Step.Node, "staged", t.Plan.To)
}

func (toyStage) Undo(ctx context.Context, t driver.Target) error {
	return toyDrop(ctx, t.Env, t.Step.Node, "staged")
}

type toyUpgrade struct{ toyPlain }

func (toyUpgrade) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	installed, err := toyGet(ctx, t.Env, t.Step.Node, "installed")
	if err != nil {
		return driver.Unknown, err
	}
	running, err := toyGet(ctx, t.Env, t.Step.Node, "running")
	if err != nil {
		return driver.Unknown, err
	}
	switch {
	case installed == t.Plan.To && running == t.Plan.To:
		return driver.Applied, nil
	case installed == t.Plan.From && running == t.Plan.From:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

func (toyUpgrade) Do(ctx context.Context, t driver.Target) error {
	if err := toySet(ctx, t.Env, t.Step.Node, "installed", t.Plan.To); err != nil {
		return err
	}
	return toySet(ctx, t.Env, t.Step.Node, "running", t.Plan.To)
}

func (toyUpgrade) Undo(ctx context.Context, t driver.Target) error {
	if err := toySet(ctx, t.Env, t.Step.Node, "installed", t.Plan.From); err != nil {
		return err
	}
	return toySet(ctx, t.Env, t.Step.Node, "running", t.Plan.From)
}

type toySwitch struct{ toyPlain }

func (toySwitch) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	from, err := toyGet(ctx, t.Env, t.Step.Args["from"], "role")
	if err != nil {
		return driver.Unknown, err
	}
	to, err := toyGet(ctx, t.Env, t.Step.Args["to"], "role")
	if err != nil {
		return driver.Unknown, err
	}
	switch from + ">" + to {
	case "primary>standby":
		return driver.NotApplied, nil
	case "standby>primary":
		return driver.Applied, nil
	case "standby>standby":
		return driver.Half, nil
	}
	return driver.Unknown, nil
}

func (toySwitch) Do(ctx context.Context, t driver.Target) error {
	return toyMove(ctx, t, t.Step.Args["from"], t.Step.Args["to"])
}

func (toySwitch) Undo(ctx context.Context, t driver.Target) error {
	return toyMove(ctx, t, t.Step.Args["to"], t.Step.Args["from"])
}

// toyMove closes the one before it opens the other (I3).
func toyMove(ctx context.Context, t driver.Target, from, to string) error {
	if err := toySet(ctx, t.Env, from, "role", "standby"); err != nil {
		return err
	}
	return toySet(ctx, t.Env, to, "role", "primary")
}

type toyClean struct{ toyPlain }

func (toyClean) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	_, err := toyGet(ctx, t.Env, t.Step.Node, "staged")
	if errors.Is(err, errToyValue) {
		return driver.Applied, nil
	}
	return driver.NotApplied, err
}

func (toyClean) Do(ctx context.Context, t driver.Target) error {
	return toyDrop(ctx, t.Env, t.Step.Node, "staged")
}

func (toyClean) Undo(context.Context, driver.Target) error { return nil }

// ToyHost is a machine in memory that knows cat, dd and rm: enough for a toy.
type ToyHost struct {
	Node  string
	Files map[string]string
	Down  bool // does not answer
	mu    sync.Mutex
}

var _ host.Host = (*ToyHost)(nil)

// Name returns the node's name.
func (h *ToyHost) Name() string { return h.Node }

// Run carries cat, dd and rm out.
func (h *ToyHost) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if err := ctx.Err(); err != nil {
		return host.Result{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Down {
		return host.Result{}, &host.UnreachableError{Node: h.Node, Addr: h.Node, Err: errors.New("connection refused")}
	}
	switch c.Argv[0] {
	case "cat":
		v, ok := h.Files[c.Argv[1]]
		if !ok {
			return host.Result{}, &host.ExitError{Node: h.Node, Argv: c.Argv, Code: 1, Stderr: []byte("No such file or directory")}
		}
		return host.Result{Stdout: []byte(v)}, nil
	case "dd":
		var b bytes.Buffer
		if _, err := io.Copy(&b, c.Stdin); err != nil {
			return host.Result{}, err
		}
		h.Files[strings.TrimPrefix(c.Argv[1], "of=")] = b.String()
		return host.Result{}, nil
	case "rm":
		delete(h.Files, c.Argv[2])
		return host.Result{}, nil
	}
	return host.Result{}, &host.ExitError{Node: h.Node, Argv: c.Argv, Code: 127, Stderr: []byte("command not found")}
}

// Dial refuses: a toy has no server.
func (h *ToyHost) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, &host.UnreachableError{Node: h.Node, Addr: h.Node, Err: errors.New("a toy has no server")}
}

// Close does nothing.
func (h *ToyHost) Close() error { return nil }

// ToyCluster makes a toy cluster of n nodes in memory; the first is the primary.
func ToyCluster(n int, release string) (*cluster.Inventory, host.Set) {
	inv := &cluster.Inventory{Cluster: "toys", Driver: "toy"}
	hosts := host.Set{}
	for i := range n {
		name, role := fmt.Sprintf("n%d", i+1), "standby"
		if i == 0 {
			role = "primary"
		}
		inv.Nodes = append(inv.Nodes, cluster.Node{Name: name, Address: name, StateDir: ".shiplift/toys/" + name, Settings: cluster.Settings{"dir": "/toy"}})
		hosts[name] = &ToyHost{Node: name, Files: map[string]string{"/toy/role": role + "\n", "/toy/running": release + "\n", "/toy/installed": release + "\n"}}
	}
	return inv, hosts
}
