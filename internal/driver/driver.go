// Package driver holds the contract that each product's driver keeps.
//
// A driver observes, checks, plans and knows the actions. It decides nothing
// about order at run time, keeps no state between calls and never writes to
// the journal: run does. The conformance suite is driver/drivertest.
package driver

import (
	"context"
	"encoding/json"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Env is where a driver works: the machines, the inventory and the clock.
// A driver never asks the machine's clock, environment or network itself.
type Env struct {
	Hosts     host.Set
	Inventory *cluster.Inventory
	Clock     wait.Clock
	// Secret returns a password by the name of the setting that points to it
	// ("password"), read from the environment or a file, never from argv.
	Secret func(node, setting string) (string, error)
	// Serial asks that hosts are driven one after another, not in parallel:
	// the simulator's runs must be the same each time.
	Serial bool
}

// Node is what was observed of one node.
type Node struct {
	Name      string `json:"name"`
	Reachable bool   `json:"reachable"`
	Trouble   string `json:"trouble,omitempty"` // why it is not reachable or could not be read
	Role      string `json:"role"`              // "primary", "standby", "cascade", … or "" when unknown
	Running   string `json:"running"`           // release of the running process; "" when it does not run
	Installed string `json:"installed"`         // release of the files that would be started next
	Healthy   bool   `json:"healthy"`
	Health    string `json:"health"` // a word of the driver's health order
}

// Observation is what was seen of a cluster. Facts are covered by the plan's
// digest (releases, roles, directories, parameters a plan changes), not lag or uptime.
type Observation struct {
	Driver  string      `json:"driver"`
	Cluster string      `json:"cluster"`
	Release string      `json:"release"` // the cluster's release; "" when nodes differ or none answers
	Nodes   []Node      `json:"nodes"`   // in the inventory's order
	Facts   []plan.Fact `json:"facts"`
	// Detail is the driver's own view, for its Checks and Plan.
	Detail any `json:"-"`
}

// Node returns the observed node of that name, or nil.
func (o *Observation) Node(name string) *Node {
	for i := range o.Nodes {
		if o.Nodes[i].Name == name {
			return &o.Nodes[i]
		}
	}
	return nil
}

// Driver knows one product. Observe, checks and Verify only read what belongs
// to the user. Plan is pure: the same observation and request give the same
// plan, byte for byte; it fills neither Format, Engine, ClusterID, Driver, Cluster,
// Request nor Observed, Facts and Before: Make does. A plan ends its apply phase
// with a step of kind plan.VerifyKind, which Verify carries out, and then the
// gate plan.CommitGate; both are carried out by run, without an Action.
//
// Observe returns an error only when nothing at all can be said; a node that
// does not answer is a Node with Reachable false. Errors for people are *say.Problem.
type Driver interface {
	Name() string
	// Settings are the keys that the inventory may hold for this driver.
	Settings() []cluster.Key
	Observe(ctx context.Context, env Env) (Observation, error)
	Checks(env Env, o Observation, r plan.Request) []check.Check
	// Plan returns *NothingToDoError when the target is what runs already, and a
	// *RefusalError when there is no way.
	Plan(inv *cluster.Inventory, o Observation, r plan.Request) (plan.Plan, error)
	// Action returns how steps of a kind are done; ok is false for an unknown kind.
	Action(kind string) (a Action, ok bool)
	// Verify proves the result from state that is read again (I6), against
	// the plan and the health before it (I7).
	Verify(ctx context.Context, env Env, p *plan.Plan) ([]check.Finding, error)
}

// Standing says where a host stands with a step that was found started.
type Standing string

// The standings. Half is undone first; Unknown stops the run and asks a person.
const (
	Applied    Standing = "applied"
	NotApplied Standing = "not applied"
	Half       Standing = "half"
	Unknown    Standing = "unknown"
)

// Memo is what Undo needs to know about the time before; it is durable before
// Do starts and holds no secret. nil where nothing is needed.
type Memo = json.RawMessage

// Target is what an action acts on.
type Target struct {
	Env
	Plan *plan.Plan
	Step plan.Step
	// Memo is what Prepare of this step returned, in Probe, Do and Undo.
	Memo Memo
	// MemoOf returns the memo of another step of the run; nil when it has none.
	MemoOf func(stepID string) Memo
	// Undoing is true while the run goes back: Do is never called then, and an
	// Undo may find that steps behind it were skipped since their node is down.
	Undoing bool
	// Report shows progress; it never fails and nothing depends on it.
	Report func(say.Text)
}

// Action is how one kind of step is done. Do and Undo may be called again
// after a crash at any point of them; each first looks whether there is
// anything left to do. Probe answers from state that it reads.
//
// Undo of a step whose effect is already gone succeeds. Do and Undo return only
// when the change is proven by state that was read again.
type Action interface {
	Prepare(ctx context.Context, t Target) (Memo, error) // reads only
	Probe(ctx context.Context, t Target) (Standing, error)
	Do(ctx context.Context, t Target) error
	Undo(ctx context.Context, t Target) error
}

// DefaultMode is what a driver has whose clusters do not all know both modes: it
// names the mode of a request that names none. Without it that is "rolling".
type DefaultMode interface {
	DefaultMode(inv *cluster.Inventory) string
}

// RefusalError is the driver's reasoned no, with the rule of the manual behind it.
type RefusalError struct {
	Rule string
	Code string // the vendor's error code for the same refusal, e.g. GAUSS-52935
	Text say.Text
	Next say.Text
}

func (e *RefusalError) Error() string { return e.Text.EN }

// Say tells the refusal with its rule.
func (e *RefusalError) Say() say.Text {
	tag := e.Rule
	if e.Code != "" {
		tag = e.Code
	}
	if tag == "" {
		return e.Text
	}
	return say.Text{EN: e.Text.EN + " [" + tag + "]", ZH: e.Text.In(say.Chinese) + "［" + tag + "］"}
}

// NothingToDoError says that the cluster is where the request wants it.
type NothingToDoError struct{ Text say.Text }

func (e *NothingToDoError) Error() string { return e.Text.EN }

// Say tells it.
func (e *NothingToDoError) Say() say.Text { return e.Text }

// Owed is joined to an Undo's error, or returned by it, when what is left to
// undo lies on a node that does not answer: a rollback goes on past it and
// finishes it when the node is back.
type Owed struct {
	Node string
	Err  error
}

func (e *Owed) Error() string { return "left to do when " + e.Node + " is back: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Owed) Unwrap() error { return e.Err }
