package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/plan"
)

// PlanJSON is a plan as `plan --output json` writes it.
type PlanJSON struct {
	V    int        `json:"v"`
	Plan *plan.Plan `json:"plan"`
	File string     `json:"file,omitempty"`
}

// Plan shows a plan as a numbered tree: group by group in the order of the
// run, each step with its class, impact, estimate and sentence.
func (s *Screen) Plan(p *plan.Plan, file string) error {
	if s.Format == JSON {
		return s.Object(PlanJSON{V: jsonVersion, Plan: p, File: file})
	}
	head := fmt.Sprintf("%s  %s (%s)  %s  %s", s.word("plan", "计划"), p.Cluster, p.Driver, arrow(p.From, p.To), s.mode(p.Request.Mode))
	fmt.Fprintln(s.Out, s.out.strong.Render(strings.TrimRight(head, " ")))
	for _, r := range p.Remarks {
		fmt.Fprintf(s.Out, "  ! %s\n", s.out.warn.Render(s.in(r)))
	}
	for _, k := range p.Request.Skip {
		fmt.Fprintf(s.Out, "  ! %s\n", s.out.warn.Render(s.word("check "+k.ID+" is skipped: ", "跳过检查 "+k.ID+"：")+k.Reason))
	}
	s.tree(p)
	s.totals(p)
	return nil
}

func (s *Screen) mode(m string) string {
	switch m {
	case "rolling":
		return s.word("rolling", "灰度")
	case "inplace":
		return s.word("in-place", "就地")
	}
	return m
}

// tree draws the steps; a new branch begins where the node changes and at a gate.
func (s *Screen) tree(p *plan.Plan) {
	cells := s.stepCells(p)
	groups := groupsOf(p)
	for g, group := range groups {
		branch, stem := "├─", "│ "
		if g == len(groups)-1 {
			branch, stem = "└─", "  "
		}
		first := p.Steps[group[0]]
		fmt.Fprintf(s.Out, "%s %s\n", branch, s.groupName(&first))
		if first.Gate != nil {
			s.gateLines(stem, cells[group[0]], &first)
			continue
		}
		for _, i := range group {
			fmt.Fprintf(s.Out, "%s  %s\n", stem, cells[i])
		}
	}
}

// groupsOf returns runs of steps that belong to one node; a gate stands alone.
func groupsOf(p *plan.Plan) [][]int {
	var groups [][]int
	for i := range p.Steps {
		if i > 0 && p.Steps[i].Gate == nil && p.Steps[i-1].Gate == nil && p.Steps[i].Node == p.Steps[i-1].Node {
			groups[len(groups)-1] = append(groups[len(groups)-1], i)
			continue
		}
		groups = append(groups, []int{i})
	}
	return groups
}

func (s *Screen) groupName(st *plan.Step) string {
	switch {
	case st.Gate != nil && st.Gate.OneWay:
		return s.out.bad.Render(s.word("gate ", "关口 ")+st.ID) + "  " + s.out.bad.Render(s.word("ONE WAY", "单向，不可返回"))
	case st.Gate != nil:
		return s.out.warn.Render(s.word("gate ", "关口 ") + st.ID)
	case st.Node == "":
		return s.out.strong.Render(s.word("cluster", "集群"))
	default:
		return s.out.strong.Render(st.Node)
	}
}

func (s *Screen) gateLines(stem, cell string, st *plan.Step) {
	fmt.Fprintf(s.Out, "%s  %s\n", stem, cell)
	if !st.Gate.Costs.IsZero() {
		fmt.Fprintf(s.Out, "%s     %s\n", stem, s.in(st.Gate.Costs))
	}
}

// stepCells lays out number, class, impact, estimate and sentence of all steps alike.
func (s *Screen) stepCells(p *plan.Plan) []string {
	rows := make([][]string, len(p.Steps))
	digits := len(fmt.Sprint(len(p.Steps)))
	for i := range p.Steps {
		st := &p.Steps[i]
		rows[i] = []string{
			padLeft(fmt.Sprint(i+1), digits), s.class(st.Class), s.impact(st.Impact), about(st.Estimate.Std()),
			clean(s.in(st.Says)) + ruleTag(st.Rule) + s.out.dim.Render("  ("+st.ID+")"),
		}
	}
	return table(rows)
}

func (s *Screen) class(c plan.Class) string {
	switch c {
	case plan.ReadOnly:
		return s.word("reads", "只读")
	case plan.Reversible:
		return s.word("reversible", "可回滚")
	case plan.OneWay:
		return s.word("ONE WAY", "不可回滚")
	}
	return string(c)
}

func (s *Screen) impact(i plan.Impact) string {
	switch i {
	case plan.None:
		return s.word("no impact", "无影响")
	case plan.ReadsOnly:
		return s.word("reads only", "仅可读")
	case plan.WritesStop:
		return s.word("writes stop", "写入暂停")
	case plan.Down:
		return s.word("down", "停服")
	}
	return string(i)
}

func (s *Screen) totals(p *plan.Plan) {
	var felt time.Duration
	work, commits := 0, 0
	for _, st := range p.Steps {
		if st.Gate != nil {
			continue
		}
		if st.Phase == plan.Commit {
			commits++
			continue
		}
		work++
		if st.Impact == plan.WritesStop || st.Impact == plan.Down {
			felt += st.Estimate.Std()
		}
	}
	fmt.Fprintf(s.Out, s.word("\n%d steps, about %s, in which writes stop for about %s; then the gate commit with %d more\n",
		"\n共 %d 个步骤，预计 %s，其中写入暂停约 %s；之后为关口 commit 及其后的 %d 个步骤\n"),
		work, Short(longest(p, nil)), Short(felt), commits)
}

// longest returns how long the phase apply takes when steps run side by side:
// the longest way through the steps that are not done.
func longest(p *plan.Plan, done map[string]bool) time.Duration {
	ends := make(map[string]time.Duration, len(p.Steps))
	var total time.Duration
	for i := range p.Steps {
		st := &p.Steps[i]
		if st.Phase == plan.Commit {
			continue
		}
		var start time.Duration
		for _, need := range st.Needs {
			start = max(start, ends[need])
		}
		if !done[st.ID] && st.Gate == nil {
			start += st.Estimate.Std()
		}
		ends[st.ID] = start
		total = max(total, start)
	}
	return total
}
