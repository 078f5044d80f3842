package view

import (
	"fmt"

	"github.com/shiplift/shiplift/internal/release"
)

// pathJSON is a way as `path --output json` writes it.
type pathJSON struct {
	V       int       `json:"v"`
	Verdict string    `json:"verdict"`
	Rule    string    `json:"rule"`
	Why     string    `json:"why"`
	Next    string    `json:"next,omitempty"`
	Hops    []hopJSON `json:"hops"`
}

type hopJSON struct {
	From       string     `json:"from"`
	To         string     `json:"to"`
	Epochs     []string   `json:"epochs"`
	Runbook    string     `json:"runbook"`
	Reversible bool       `json:"reversible"`
	Rule       string     `json:"rule,omitempty"`
	Why        string     `json:"why,omitempty"`
	Notes      []noteJSON `json:"notes,omitempty"`
}

type noteJSON struct {
	Rule string `json:"rule,omitempty"`
	Says string `json:"says"`
}

// Path shows the way from one release to another, or why there is none.
func (s *Screen) Path(a release.Answer) error {
	if s.Format == JSON {
		return s.Object(s.pathJSON(a))
	}
	style := s.out.good
	if a.Verdict != release.OK {
		style = s.out.bad
	}
	fmt.Fprintf(s.Out, "%s  %s%s\n", style.Render(s.verdict(a.Verdict)), s.in(a.Why), ruleTag(a.Rule))
	for i, h := range a.Hops {
		s.hop(i, h)
	}
	if !a.Next.IsZero() {
		fmt.Fprintf(s.Out, "%s%s\n", s.word("next: ", "下一步："), s.in(a.Next))
	}
	return nil
}

func (s *Screen) verdict(v release.Verdict) string {
	switch v {
	case release.OK:
		return s.word("ok", "可行")
	case release.Refuse:
		return s.word("refused", "拒绝")
	case release.Block:
		return s.word("blocked", "阻断")
	}
	return string(v)
}

func (s *Screen) hop(i int, h release.Hop) {
	back := s.word("reversible", "可回滚")
	if !h.Reversible {
		back = s.out.bad.Render(s.word("ONE WAY", "不可回滚"))
	}
	fmt.Fprintf(s.Out, "  %d  %s  %s", i+1, arrow(h.From.String(), h.To.String()), back)
	if h.Runbook != "" {
		fmt.Fprintf(s.Out, "  %s %s", s.word("runbook", "流程"), h.Runbook)
	}
	for _, e := range h.Epochs {
		fmt.Fprintf(s.Out, "  %s", e)
	}
	fmt.Fprintln(s.Out)
	if !h.Why.IsZero() {
		fmt.Fprintf(s.Out, "     %s%s\n", s.in(h.Why), ruleTag(h.Rule))
	}
	for _, n := range h.Notes {
		fmt.Fprintf(s.Out, "     ! %s%s\n", s.in(n.Says), ruleTag(n.Rule))
	}
}

func (s *Screen) pathJSON(a release.Answer) pathJSON {
	j := pathJSON{V: jsonVersion, Verdict: string(a.Verdict), Rule: a.Rule, Why: s.in(a.Why), Next: s.in(a.Next), Hops: []hopJSON{}}
	for _, h := range a.Hops {
		hop := hopJSON{
			From: h.From.String(), To: h.To.String(), Epochs: h.Epochs, Runbook: h.Runbook,
			Reversible: h.Reversible, Rule: h.Rule, Why: s.in(h.Why),
		}
		if hop.Epochs == nil {
			hop.Epochs = []string{}
		}
		for _, n := range h.Notes {
			hop.Notes = append(hop.Notes, noteJSON{Rule: n.Rule, Says: s.in(n.Says)})
		}
		j.Hops = append(j.Hops, hop)
	}
	return j
}
