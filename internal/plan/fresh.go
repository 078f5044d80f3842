package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Digest tells observations apart. The order of the facts does not matter.
func Digest(facts []Fact) string {
	h := sha256.New()
	for _, f := range sorted(facts) {
		line, err := json.Marshal([3]string{f.Node, f.Name, f.Value})
		if err != nil {
			panic("plan: strings do not encode: " + err.Error())
		}
		h.Write(append(line, '\n'))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func sorted(facts []Fact) []Fact {
	out := slices.Clone(facts)
	slices.SortFunc(out, compareFacts)
	return out
}

func compareFacts(a, b Fact) int {
	return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
}

// Change is a fact that is no longer what it was. Was or Is is empty where the
// fact was not there.
type Change struct {
	Node string `json:"node,omitempty"`
	Name string `json:"name"`
	Was  string `json:"was"`
	Is   string `json:"is"`
}

// Reachable is the name of the fact that a node answers: "true", or not there.
const Reachable = "reachable"

// silent reports whether a node answered and does so no more.
func (c Change) silent() bool {
	return c.Name == Reachable && c.Was != c.Is && c.Is != "" && c.Is != "true"
}

// Says tells the change: "db2 running 15.16 → 15.17".
func (c Change) Says() say.Text {
	if c.silent() {
		return say.F("%s does not answer any more", "%s 不再应答", c.Node)
	}
	node := say.Same(c.Node)
	if c.Node == "" {
		node = say.F("cluster", "集群")
	}
	value := func(v string) say.Text {
		if v == "" {
			return say.F("(nothing)", "（无）")
		}
		return say.Same(v)
	}
	return say.Join(" ", node, say.Same(c.Name), value(c.Was), say.Same("→"), value(c.Is))
}

// Diff returns what changed between two observations, by node and name.
func Diff(then, now []Fact) []Change {
	type key struct{ node, name string }
	changes := map[key]*Change{}
	at := func(f Fact) *Change {
		k := key{f.Node, f.Name}
		if changes[k] == nil {
			changes[k] = &Change{Node: f.Node, Name: f.Name}
		}
		return changes[k]
	}
	for _, f := range sorted(then) {
		c := at(f)
		c.Was = join(c.Was, f.Value)
	}
	for _, f := range sorted(now) {
		c := at(f)
		c.Is = join(c.Is, f.Value)
	}
	var out []Change
	for k, c := range changes {
		if c.Was == c.Is {
			continue
		}
		// Of a node that has gone silent nothing else is known, so nothing else has changed.
		if r := changes[key{k.node, Reachable}]; r != nil && r != c && r.silent() {
			continue
		}
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Name, b.Name))
	})
	return out
}

// join keeps all values of a fact that stands there more than once.
func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "," + b
}

// CheckFresh compares the plan with what the cluster looks like now.
func (p *Plan) CheckFresh(clusterID string, now []Fact) error {
	if clusterID != p.ClusterID {
		return &OtherClusterError{Plan: p.ClusterID, Inventory: clusterID}
	}
	if Digest(now) == p.Observed {
		return nil
	}
	return &StaleError{To: p.To, Changes: Diff(p.Facts, now)}
}

// StaleError is a plan whose cluster has moved on since it was made.
type StaleError struct {
	To      string
	Changes []Change
}

func (e *StaleError) Error() string { return e.Say().EN }

// Say tells what changed.
func (e *StaleError) Say() say.Text {
	parts := make([]say.Text, 0, len(e.Changes))
	for _, c := range e.Changes {
		parts = append(parts, c.Says())
	}
	what := say.Join("; ", parts...)
	if what.IsZero() {
		what = say.F("the facts of the plan do not fit its digest", "计划中的事实与其摘要不符")
	}
	return say.Join(": ", say.F("the plan is stale", "计划已过期"), what)
}

// OtherClusterError is a plan that was made for another cluster.
type OtherClusterError struct{ Plan, Inventory string }

func (e *OtherClusterError) Error() string { return e.Say().EN }

// Say names both clusters.
func (e *OtherClusterError) Say() say.Text {
	return say.F("the plan was made for cluster %s, the inventory names %s", "计划属于集群 %s，而清单描述的是 %s", e.Plan, e.Inventory)
}
