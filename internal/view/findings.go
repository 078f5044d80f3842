package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/lipgloss"

	"github.com/shiplift/shiplift/internal/check"
)

// Finding is a finding as JSON writes it.
type Finding struct {
	ID       string         `json:"id"`
	Severity check.Severity `json:"severity"`
	Node     string         `json:"node,omitempty"`
	Says     string         `json:"says"`
	Evidence string         `json:"evidence,omitempty"`
	Next     string         `json:"next,omitempty"`
	Rule     string         `json:"rule,omitempty"`
	Skipped  string         `json:"skipped,omitempty"`
}

// FindingsOf returns findings in the operator's language.
func (s *Screen) FindingsOf(fs []check.Finding) []Finding {
	out := make([]Finding, 0, len(fs))
	for _, f := range fs {
		out = append(out, Finding{
			ID: f.ID, Severity: f.Severity, Node: f.Node, Says: s.in(f.Says), Evidence: f.Evidence,
			Next: s.in(f.Next), Rule: f.Rule, Skipped: f.Skipped,
		})
	}
	return out
}

// Checked is the outcome of `check` as JSON.
type Checked struct {
	V        int       `json:"v"`
	Cluster  string    `json:"cluster"`
	Driver   string    `json:"driver"`
	From     string    `json:"from"`
	To       string    `json:"to,omitempty"`
	Blocked  bool      `json:"blocked"`
	Findings []Finding `json:"findings"`
}

// Checks shows what the checks found.
func (s *Screen) Checks(c Checked, fs []check.Finding) error {
	if s.Format == JSON {
		c.V, c.Blocked, c.Findings = jsonVersion, len(check.Blocking(fs)) > 0, s.FindingsOf(fs)
		return s.Object(c)
	}
	title := fmt.Sprintf("%s  %s (%s)  %s", s.word("check", "检查"), c.Cluster, c.Driver, arrow(c.From, c.To))
	fmt.Fprintln(s.Out, s.out.strong.Render(title))
	s.Findings(fs)
	return nil
}

func arrow(from, to string) string {
	switch {
	case to == "":
		return from
	case from == "":
		return "→ " + to
	}
	return from + " → " + to
}

// rank orders findings for a reader: what forbids the upgrade comes first.
func rank(f check.Finding) int {
	switch {
	case f.Severity == check.Block && f.Skipped == "":
		return 0
	case f.Skipped != "":
		return 1
	case f.Severity == check.Warn:
		return 2
	default:
		return 3
	}
}

// Findings shows findings in groups, the worst first, with evidence and what to do.
func (s *Screen) Findings(fs []check.Finding) {
	sorted := gathered(fs)
	slices.SortStableFunc(sorted, func(a, b check.Finding) int { return rank(a) - rank(b) })
	marks := make([]string, 4)
	for i := range marks {
		marks[i] = s.mark(i)
	}
	var ids, nodes []string
	for _, f := range sorted {
		ids, nodes = append(ids, f.ID), append(nodes, f.Node)
	}
	wm, wi, wn := widest(marks), widest(ids), widest(nodes)
	last := -1
	for _, f := range sorted {
		r := rank(f)
		if r != last {
			fmt.Fprintln(s.Out)
			last = r
		}
		head := []string{s.markStyle(r).Render(pad(marks[r], wm)), pad(f.ID, wi)}
		if wn > 0 {
			head = append(head, pad(f.Node, wn))
		}
		fmt.Fprintf(s.Out, "  %s  %s%s\n", strings.Join(head, "  "), clean(s.in(f.Says)), ruleTag(f.Rule))
		s.under(wm+4, f)
	}
	s.tally(fs)
}

// gathered says once what was found the same on several nodes: the first of
// them stands for all and names them.
func gathered(fs []check.Finding) []check.Finding {
	var out []check.Finding
	at := map[check.Finding]int{}
	for _, f := range fs {
		same := f
		same.Node = ""
		i, known := at[same]
		switch {
		case f.Node == "":
			out = append(out, f)
		case known && !slices.Contains(strings.Split(out[i].Node, ", "), f.Node):
			out[i].Node += ", " + f.Node
		case !known:
			at[same] = len(out)
			out = append(out, f)
		}
	}
	return out
}

func ruleTag(rule string) string {
	if rule == "" {
		return ""
	}
	return " [" + rule + "]"
}

// under writes what belongs to a finding below it. A check that passed needs no evidence.
func (s *Screen) under(indent int, f check.Finding) {
	line := func(key, text string) {
		if text != "" {
			fmt.Fprintf(s.Out, "%s%s%s\n", strings.Repeat(" ", indent), s.out.dim.Render(key), clean(text))
		}
	}
	if f.Severity != check.Pass {
		line(s.word("seen: ", "依据："), f.Evidence)
		line(s.word("next: ", "处理："), s.in(f.Next))
	}
	line(s.word("skipped because: ", "跳过原因："), f.Skipped)
}

func (s *Screen) mark(rank int) string {
	return []string{s.word("block", "阻断"), s.word("skipped", "已跳过"), s.word("warn", "警告"), s.word("pass", "通过")}[rank]
}

func (s *Screen) markStyle(rank int) lipgloss.Style {
	return []lipgloss.Style{s.out.bad, s.out.warn, s.out.warn, s.out.good}[rank]
}

func (s *Screen) tally(fs []check.Finding) {
	n := make([]int, 4)
	for _, f := range fs {
		n[rank(f)]++
	}
	var parts []string
	for i, count := range n {
		if count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count, s.mark(i)))
		}
	}
	if len(parts) == 0 {
		parts = []string{s.word("nothing to report", "没有结论")}
	}
	fmt.Fprintf(s.Out, "\n%s\n", strings.Join(parts, s.word(", ", "，")))
}

// TalkFindings tells findings beside other data, on standard error.
func (s *Screen) TalkFindings(fs []check.Finding) {
	for _, f := range gathered(fs) {
		parts := []string{s.err.bad.Render(s.mark(rank(f))), f.ID}
		if f.Node != "" {
			parts = append(parts, f.Node)
		}
		fmt.Fprintf(s.Err, "%s  %s%s\n", strings.Join(parts, "  "), clean(s.in(f.Says)), ruleTag(f.Rule))
		if next := s.in(f.Next); next != "" {
			fmt.Fprintf(s.Err, "  %s%s\n", s.err.dim.Render(s.word("next: ", "处理：")), clean(next))
		}
	}
}
