package release

import (
	"maps"
	"slices"

	"github.com/shiplift/shiplift/internal/say"
)

// Facts are what is known of a cluster beyond its release: topology, origin,
// what an operator answered.
type Facts map[string]string

// With returns a copy with one fact more.
func (f Facts) With(name, value string) Facts {
	g := maps.Clone(f)
	if g == nil {
		g = Facts{}
	}
	g[name] = value
	return g
}

// Verdict is the answer to the question whether there is a way.
type Verdict string

// The verdicts. Block can be lifted by the operator (an acknowledgement, a
// repaired state); Refuse cannot.
const (
	OK     Verdict = "ok"
	Refuse Verdict = "refuse"
	Block  Verdict = "block"
)

// Question asks for a way.
type Question struct {
	From, To Version
	Facts    Facts
}

// Hop is one change of the software.
type Hop struct {
	From       Version  `json:"from"`
	To         Version  `json:"to"`
	Epochs     []string `json:"epochs"`
	Runbook    string   `json:"runbook"`
	Reversible bool     `json:"reversible"`
	Rule       string   `json:"rule,omitempty"`
	Why        say.Text `json:"why,omitzero"`
	// Notes are the obligations and losses of the hop, told to a person.
	Notes []Note `json:"notes,omitempty"`
}

// Note is one thing that must hold, or is given up, on a hop.
type Note struct {
	Rule string   `json:"rule,omitempty"`
	Says say.Text `json:"says"`
}

// Answer is the way, or the reason why there is none.
type Answer struct {
	V       int      `json:"v"`
	Verdict Verdict  `json:"verdict"`
	Rule    string   `json:"rule,omitempty"`
	Why     say.Text `json:"why"`
	Next    say.Text `json:"next,omitzero"`
	Hops    []Hop    `json:"hops"`
}

// No makes an answer without a way.
func No(v Verdict, rule string, why say.Text) Answer {
	return Answer{V: 1, Verdict: v, Rule: rule, Why: why, Hops: []Hop{}}
}

// Solve finds the way with the fewest hops. It decides from its arguments
// alone: the same question has the same answer.
func (c *Catalogue) Solve(q Question) Answer {
	if q.From.Same(q.To) {
		return Answer{
			V: 1, Verdict: OK, Hops: []Hop{},
			Why: say.F("%s is what runs already", "当前已是 %s", q.To),
		}
	}
	if no, found := c.refusal(q); found {
		return no
	}
	if bad := c.KnownBad(q.To); bad != nil {
		why := bad.Why.text(q)
		return No(Refuse, "", say.Text{
			EN: q.To.String() + " is known bad: use " + bad.Use.Value.String() + " (" + why.EN + ")",
			ZH: q.To.String() + " 是已知有问题的版本，请改用 " + bad.Use.Value.String() + "（" + why.ZH + "）",
		})
	}
	return c.search(q)
}

func (c *Catalogue) refusal(q Question) (Answer, bool) {
	down := q.To.Less(q.From)
	for _, r := range c.Refusals {
		if r.Down == down && r.From.Value.Holds(q.From) && r.To.Value.Holds(q.To) && r.When.Holds(q.Facts) {
			verdict := r.Verdict
			if verdict == "" {
				verdict = Refuse
			}
			no := No(verdict, r.Rule, r.Why.text(q))
			no.Next = r.Next.text(q)
			return no, true
		}
	}
	return Answer{}, false
}

// search is a breadth-first walk over the stops: the first way found has the
// fewest hops, and among those the one over the earliest stops of the catalogue.
func (c *Catalogue) search(q Question) Answer {
	points := append(c.stops(q), q.To)
	type node struct {
		at   Version
		hops []Hop
	}
	seen := []Version{q.From}
	for queue := []node{{at: q.From}}; len(queue) > 0; queue = queue[1:] {
		cur := queue[0]
		if cur.at.Same(q.To) {
			return Answer{V: 1, Verdict: OK, Why: wayText(q, cur.hops), Hops: cur.hops}
		}
		for _, p := range points {
			visited := slices.ContainsFunc(seen, p.Same)
			way, ok := c.way(cur.at, p, q.Facts)
			if visited || !ok {
				continue
			}
			seen = append(seen, p)
			queue = append(queue, node{p, append(slices.Clone(cur.hops), c.hop(way, cur.at, p, q))})
		}
	}
	if q.To.Less(q.From) {
		return No(Refuse, "", say.F(
			"a way back from %s to %s is not described: restore the backup that was made before the upgrade",
			"没有从 %s 回到 %s 的官方步骤：请恢复升级前的备份", q.From, q.To))
	}
	return No(Refuse, "", say.F("there is no known way from %s to %s", "没有已知的从 %s 到 %s 的升级路径", q.From, q.To))
}

func wayText(q Question, hops []Hop) say.Text {
	if len(hops) == 1 {
		return say.F("%s to %s directly", "从 %s 直接升级到 %s", q.From, q.To)
	}
	return say.F("%s to %s in %d hops", "从 %s 到 %s，共 %d 跳", q.From, q.To, len(hops))
}

// stops returns the releases in between that may be used: none that is known
// bad, and the operator's own choice where a fact names one.
func (c *Catalogue) stops(q Question) []Version {
	var out []Version
	for _, s := range c.Stops {
		v := s.Version.Value
		if own, err := Parse(q.Facts[s.Fact]); err == nil && s.Accepts.Value.Holds(own) {
			v = own
		}
		if c.KnownBad(v) == nil && q.From.Less(v) && v.Less(q.To) {
			out = append(out, v)
		}
	}
	return out
}

func (c *Catalogue) way(from, to Version, f Facts) (Way, bool) {
	for _, w := range c.Paths {
		if w.Down != to.Less(from) || !w.From.Value.Holds(from) || !w.To.Value.Holds(to) || !w.When.Holds(f) {
			continue
		}
		same := true
		for i := range w.Same {
			same = same && from.Part(i) == to.Part(i)
		}
		if same {
			return w, !w.No
		}
	}
	return Way{}, false
}

func (c *Catalogue) hop(w Way, from, to Version, q Question) Hop {
	h := Hop{From: from, To: to, Epochs: []string{}, Runbook: w.Runbook, Reversible: w.Return, Rule: w.Rule}
	h.Why = w.Why.text(Question{From: from, To: to, Facts: q.Facts})
	for _, e := range c.Crossed(from, to, q.Facts) {
		h.Epochs = append(h.Epochs, e.ID)
		if e.Return != "free" {
			h.Reversible = false
		}
	}
	return h
}
