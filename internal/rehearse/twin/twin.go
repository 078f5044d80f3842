// Package twin builds a simulated copy of a user's cluster from what a plan
// holds of it, and carries that plan out on the copy many times while faults
// strike by chance.
//
// A twin is only as good as its likeness: its own driver must draw the user's
// plan on it, step for step, or there is no rehearsal.
package twin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/say"
)

// Twin is a simulated copy of a cluster.
type Twin struct {
	Plan *plan.Plan // the user's
	// Missing is what of the cluster is not in the copy.
	Missing []say.Text
	// Nodes are the user's nodes in the inventory's order, with those that stand for them.
	Nodes []Node

	driver driver.Driver
	model  *model
	drawn  *plan.Plan // the twin's own, which is the user's step for step
}

// Node is a node of the user's and the one that stands for it in the twin.
type Node struct{ Name, Role, Release, Twin string }

// model is how a product's twin is made.
type model struct {
	open    func(seed uint64) (*site, error) // a fresh, healthy cluster
	missing []say.Text
}

// site is one opened twin.
type site struct {
	rehearse.World
	// Interrupted is the longest time without an acknowledged write; nil where
	// no client writes in the simulation.
	Interrupted func() time.Duration
}

// sight is what is known of the user's cluster.
type sight struct {
	inv  *cluster.Inventory
	plan *plan.Plan
	dir  string // for the twin's packages
}

func (s *sight) fact(node, name string) string {
	for _, f := range s.plan.Facts {
		if f.Node == node && f.Name == name {
			return f.Value
		}
	}
	return ""
}

// with are the nodes whose fact is value, in the inventory's order.
func (s *sight) with(name, value string) []string {
	var out []string
	for _, n := range s.inv.Names() {
		if s.fact(n, name) == value {
			out = append(out, n)
		}
	}
	return out
}

// to is the release that the plan leads to, without what follows its number.
func (s *sight) to() string { return cmp.Or(s.plan.Request.To, s.plan.To) }

// builders make the twins, by driver.
var builders = map[string]func(*sight) (*model, error){
	"postgres":  postgresTwin,
	"opengauss": gaussTwin,
	"mogdb":     gaussTwin,
	"dameng":    damengTwin,
	"gbase8a":   gbaseTwin,
}

// Of builds the twin of the cluster that a plan was made for. The twin's
// packages are written into dir. It reaches no machine of the user's.
func Of(ctx context.Context, d driver.Driver, inv *cluster.Inventory, p *plan.Plan, dir string) (*Twin, error) {
	build := builders[d.Name()]
	if build == nil {
		return nil, cannot(p, say.F("there is no simulated cluster of %s", "没有 %s 的模拟集群", d.Name()))
	}
	if err := wholeAtFirst(inv, p); err != nil {
		return nil, err
	}
	m, err := build(&sight{inv: inv, plan: p, dir: dir})
	if err != nil {
		return nil, err
	}
	t := &Twin{Plan: p, driver: d, model: m, Missing: append(m.missing, alwaysMissing...)}
	if err := t.match(ctx, inv); err != nil {
		return nil, err
	}
	return t, t.compare(ctx)
}

// alwaysMissing is what no twin has.
var alwaysMissing = []say.Text{
	say.F("sizes and contents of your data, your hardware and your network", "您的数据量与内容、硬件和网络"),
	say.F("your applications: how they bear broken connections is not in it", "您的应用：应用如何应对连接中断不在模拟之内"),
	say.F("what the new release itself does otherwise than the old one", "新版本自身与旧版本在行为上的差异"),
}

// wholeAtFirst refuses a cluster that is not whole: a twin begins healthy.
func wholeAtFirst(inv *cluster.Inventory, p *plan.Plan) error {
	for _, name := range inv.Names() {
		b, ok := p.Before[name]
		switch {
		case !ok:
			return cannot(p, say.F("the plan does not know node %s of the inventory", "计划中没有清单里的节点 %s", name))
		case !b.Healthy:
			return cannot(p, say.F("%s was not healthy (%s) when the plan was made, and a twin begins healthy", "生成计划时 %s 不健康（%s），而模拟集群只能从健康状态开始", name, b.Health))
		}
	}
	return nil
}

// cannot says why there is no twin.
func cannot(p *plan.Plan, why say.Text) error {
	return &say.Problem{
		Place: p.Cluster,
		Text:  say.Text{EN: "no twin of this cluster can be built: " + why.EN, ZH: "无法为该集群构建模拟副本：" + why.ZH},
		Next:  say.F("practise on a lab instead: shiplift lab up %s --help", "可改用演练环境：shiplift lab up %s --help", p.Driver),
	}
}

// match finds the node of the twin that stands for each of the user's: the one
// of the same name, otherwise the next of the same role.
func (t *Twin) match(ctx context.Context, inv *cluster.Inventory) error {
	s, err := t.model.open(0)
	if err != nil {
		return err
	}
	o, err := s.Driver.Observe(ctx, s.Env)
	if err != nil {
		return fmt.Errorf("observe the twin: %w", err)
	}
	left := slices.Clone(o.Nodes)
	for _, name := range inv.Names() {
		b := t.Plan.Before[name]
		i := slices.IndexFunc(left, func(n driver.Node) bool { return n.Name == name && n.Role == b.Role })
		if i < 0 {
			i = slices.IndexFunc(left, func(n driver.Node) bool { return n.Role == b.Role })
		}
		if i < 0 {
			return cannot(t.Plan, say.F("%s is %q, and the simulated cluster has no such node left", "%s 的角色是 %q，模拟集群中没有对应的节点", name, b.Role))
		}
		t.Nodes = append(t.Nodes, Node{Name: name, Role: b.Role, Release: b.Running, Twin: left[i].Name})
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		return cannot(t.Plan, say.F("the simulated cluster has a node more, %s (%s)", "模拟集群多出一个节点 %s（%s）", left[0].Name, left[0].Role))
	}
	return nil
}

// twinOf and nameOf translate between the user's nodes and the twin's.
func (t *Twin) twinOf(name string) string {
	for _, n := range t.Nodes {
		if n.Name == name {
			return n.Twin
		}
	}
	return name
}

func (t *Twin) nameOf(twin string) string {
	for _, n := range t.Nodes {
		if n.Twin == twin {
			return n.Name
		}
	}
	return twin
}

// Pause is how long the rehearsal's operator waits behind a failure.
const Pause = 2 * time.Minute

// open makes a twin that is asked for what the user asked of the cluster.
func (t *Twin) open(seed uint64) (*site, error) {
	s, err := t.model.open(seed)
	if err != nil {
		return nil, err
	}
	inv := *s.Env.Inventory
	inv.Nodes = nil
	for _, n := range t.Nodes {
		node, _ := s.Env.Inventory.Node(n.Twin)
		inv.Nodes = append(inv.Nodes, node)
	}
	s.Env.Inventory = &inv
	s.Pause, s.Plan = Pause, t.drawn
	packages := s.Request.Packages
	s.Request = t.Plan.Request
	s.Request.Packages = packages
	s.Request.Candidate = t.twinOf(s.Request.Candidate)
	s.Request.Nodes = nil
	for _, n := range t.Plan.Request.Nodes {
		s.Request.Nodes = append(s.Request.Nodes, t.twinOf(n))
	}
	for i := range t.Plan.Steps {
		if st := &t.Plan.Steps[i]; st.Gate != nil && st.ID != plan.CommitGate {
			s.Accept = append(s.Accept, t.idOn(st.ID, t.twinOf))
		}
	}
	return s, nil
}

// idOn is a step's id with the nodes' names translated.
func (t *Twin) idOn(id string, name func(string) string) string {
	parts := strings.Split(id, "/")
	for i, p := range parts {
		parts[i] = name(p)
	}
	return strings.Join(parts, "/")
}

// DiffersError says in what the twin's plan is not the user's.
type DiffersError struct{ Lines []say.Text }

func (e *DiffersError) Error() string { return e.Say().EN }

// Say tells it.
func (e *DiffersError) Say() say.Text {
	head := say.F("the twin's plan is not yours, so a rehearsal would prove nothing about it:", "模拟副本上得到的计划与您的计划不同，演练无法说明您的计划：")
	return say.Join("\n  ", append([]say.Text{head}, e.Lines...)...)
}

// compare draws the plan on the twin and holds it against the user's.
func (t *Twin) compare(ctx context.Context) error {
	s, err := t.open(0)
	if err != nil {
		return err
	}
	o, err := s.Driver.Observe(ctx, s.Env)
	if err != nil {
		return fmt.Errorf("observe the twin: %w", err)
	}
	p, err := driver.Make(s.Driver, s.Env.Inventory, o, s.Request, t.Plan.Engine)
	if err != nil {
		says := say.Of(err)
		return &DiffersError{[]say.Text{{EN: "on the twin the driver says: " + says.EN, ZH: "在模拟副本上驱动报告：" + says.In(say.Chinese)}}}
	}
	if lines := t.differences(p.Steps); len(lines) > 0 {
		return &DiffersError{lines}
	}
	t.drawn = p
	return nil
}

func (t *Twin) differences(twins []plan.Step) []say.Text {
	var ours, theirs []string
	for _, s := range t.Plan.Steps {
		ours = append(ours, s.ID+" ("+s.Kind+")")
	}
	for _, s := range twins {
		theirs = append(theirs, t.idOn(s.ID, t.nameOf)+" ("+s.Kind+")")
	}
	if slices.Equal(ours, theirs) {
		return nil
	}
	var out []say.Text
	for _, s := range ours {
		if !slices.Contains(theirs, s) {
			out = append(out, say.F("only in your plan: %s", "仅在您的计划中：%s", s))
		}
	}
	for _, s := range theirs {
		if !slices.Contains(ours, s) {
			out = append(out, say.F("only in the twin's: %s", "仅在模拟副本的计划中：%s", s))
		}
	}
	if len(out) > 0 {
		return out
	}
	for i := range ours {
		if ours[i] != theirs[i] {
			return []say.Text{say.F("step %d is %s in your plan and %s in the twin's", "第 %d 个步骤在您的计划中是 %s，在模拟副本中是 %s", i+1, ours[i], theirs[i])}
		}
	}
	return nil
}
