// Package plan holds the reviewed artifact: a graph of steps and gates with
// every option that changes behaviour and the digest of what was observed.
package plan

import (
	"encoding/json"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/say"
)

// Format is the version of the file format.
const Format = 1

// Class says whether a step can be taken back.
type Class string

// The classes of a step.
const (
	ReadOnly   Class = "read-only"
	Reversible Class = "reversible"
	OneWay     Class = "one-way"
)

// Impact says what the clients of the cluster feel while a step runs.
type Impact string

// The impacts, from none to all.
const (
	None       Impact = "none"
	ReadsOnly  Impact = "read-only" // one node stops serving reads, or the cluster takes reads only
	WritesStop Impact = "writes-stop"
	Down       Impact = "down"
)

// Phase says which verb carries a step out.
type Phase string

// The phases. Steps of Commit lie behind the gate "commit".
const (
	Apply  Phase = "apply"
	Commit Phase = "commit"
)

// CommitGate is the id of the last gate: nothing behind it can be undone.
const CommitGate = "commit"

// Step is data: one bounded change to one node, or to the cluster when Node is empty.
type Step struct {
	ID       string            `json:"id"`   // stable across builds: "db2/switch-binary"
	Kind     string            `json:"kind"` // key into the driver's actions; "gate" for a gate
	Node     string            `json:"node,omitempty"`
	Nodes    []string          `json:"nodes,omitempty"` // of a step of the cluster: the nodes it acts on; empty: all
	Phase    Phase             `json:"phase"`
	Says     say.Text          `json:"says"` // one sentence a DBA can approve
	Needs    []string          `json:"needs,omitempty"`
	Class    Class             `json:"class"`
	Impact   Impact            `json:"impact"`
	Estimate Duration          `json:"estimate"`
	Timeout  Duration          `json:"timeout"`
	Args     map[string]string `json:"args,omitempty"` // what the action needs to know; never a secret
	Gate     *Gate             `json:"gate,omitempty"`
	Rule     string            `json:"rule,omitempty"` // rules of the vendor's manual that put it here
}

// Kinds of steps that run carries out itself, for every driver.
const (
	GateKind   = "gate"   // a place where the run waits
	VerifyKind = "verify" // the driver's Verify; a blocking finding fails the step
)

// Gate is a place where the run waits, or may never return.
type Gate struct {
	// OneWay gates are crossed only by naming them; the others are passed
	// unless the run was asked to stop there (--until).
	OneWay bool `json:"one_way"`
	// Wait gates are crossed only by naming them too, but a rollback goes back over them.
	Wait  bool     `json:"wait,omitempty"`
	Costs say.Text `json:"costs,omitzero"` // what crossing gives up, and which way is left
}

// Request is what the operator asked for: every option that changes behaviour.
type Request struct {
	To             string            `json:"to"`
	Mode           string            `json:"mode"` // "rolling" or "inplace"
	Component      string            `json:"component,omitempty"`
	Packages       []string          `json:"packages,omitempty"` // paths on the control machine
	Nodes          []string          `json:"nodes,omitempty"`    // a subset first
	Continue       bool              `json:"continue,omitempty"` // the rest of an earlier subset
	MaxUnavailable int               `json:"max_unavailable,omitempty"`
	Candidate      string            `json:"candidate,omitempty"`
	SwitchBack     bool              `json:"switch_back,omitempty"`
	KeepOld        bool              `json:"keep_old,omitempty"` // commit leaves the old software
	MaxBackupAge   Duration          `json:"max_backup_age,omitempty"`
	Options        map[string]string `json:"options,omitempty"` // a driver's own, by --option key=value
	Skip           []check.Skip      `json:"skip,omitempty"`
}

// Fact is one thing that was observed and must still hold when the plan is
// carried out: "db2" "running" "15.16". Node is empty for the whole cluster.
type Fact struct {
	Node  string `json:"node,omitempty"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Plan is complete: apply takes no option that changes behaviour besides it.
type Plan struct {
	Format    int     `json:"format"`
	Engine    string  `json:"engine"` // the tool's version
	Cluster   string  `json:"cluster"`
	ClusterID string  `json:"cluster_id"`
	Driver    string  `json:"driver"`
	From      string  `json:"from"`
	To        string  `json:"to"`
	Request   Request `json:"request"`
	Observed  string  `json:"observed"` // digest of Facts
	Facts     []Fact  `json:"facts"`
	Steps     []Step  `json:"steps"` // in an order that respects Needs
	// Before is how each node was when the plan was made: verify compares with
	// it (I7), rollback restores it (I5).
	Before map[string]NodeState `json:"before,omitempty"`
	// Remarks are told before the steps: what the operator should know.
	Remarks []say.Text `json:"remarks,omitempty"`
}

// NodeState is how a node was when the plan was made.
type NodeState struct {
	Role      string `json:"role"`
	Running   string `json:"running"`
	Installed string `json:"installed"`
	Health    string `json:"health"`
	Healthy   bool   `json:"healthy"`
}

// Duration is a time.Duration that reads and writes as "1m30s".
type Duration time.Duration

// MarshalJSON writes "1m30s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads "1m30s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// Std returns it as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Acting returns the nodes that the step acts on; nil means all of them.
func (s *Step) Acting() []string {
	if s.Node != "" {
		return []string{s.Node}
	}
	return s.Nodes
}
