package plan

import (
	"slices"

	"github.com/shiplift/shiplift/internal/say"
)

// Validate refuses a plan that could not be carried out as it reads: a step
// that bears another's name, one that needs what comes later, work behind no
// gate that could not be undone.
func (p *Plan) Validate() error {
	if len(p.Steps) == 0 {
		return broken(p, "", say.F("it has no steps", "没有步骤"))
	}
	seen := make(map[string]*Step, len(p.Steps))
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.ID == "" {
			return broken(p, "", say.F("step %d has no id", "第 %d 个步骤没有标识", i+1))
		}
		if seen[s.ID] != nil {
			return broken(p, s.ID, say.F("two steps bear this id", "两个步骤使用了同一标识"))
		}
		if err := p.validStep(s, seen); err != nil {
			return err
		}
		seen[s.ID] = s
	}
	gate := seen[CommitGate]
	if gate == nil || gate.Kind != GateKind {
		return broken(p, CommitGate, say.F("there is no gate of this name", "没有此名称的关口"))
	}
	return p.commitBehindGate(seen)
}

func (p *Plan) validStep(s *Step, before map[string]*Step) error {
	switch {
	case s.Kind == "":
		return broken(p, s.ID, say.F("it has no kind", "没有类型"))
	case (s.Kind == GateKind) != (s.Gate != nil):
		return broken(p, s.ID, say.F("a gate is a step of kind %q that says what it costs", "关口必须是类型为 %q 且带有关口说明的步骤", GateKind))
	case s.Says.EN == "" || s.Says.ZH == "":
		return broken(p, s.ID, say.F("it lacks its sentence in a language", "缺少某种语言的说明"))
	case !slices.Contains([]Class{ReadOnly, Reversible, OneWay}, s.Class):
		return broken(p, s.ID, say.F("unknown class %q", "未知的可逆性 %q", s.Class))
	case !slices.Contains([]Impact{None, ReadsOnly, WritesStop, Down}, s.Impact):
		return broken(p, s.ID, say.F("unknown impact %q", "未知的影响 %q", s.Impact))
	case s.Phase != Apply && s.Phase != Commit:
		return broken(p, s.ID, say.F("unknown phase %q", "未知的阶段 %q", s.Phase))
	case s.Phase == Apply && s.Class == OneWay && s.Gate == nil && !behindOneWay(s, before):
		return broken(p, s.ID, say.F("it cannot be undone and no one-way gate stands before it", "该步骤不可回滚，但之前没有单向关口"))
	}
	for _, need := range s.Needs {
		if before[need] == nil {
			return broken(p, s.ID, say.F("it needs %q, which does not come before it", "它依赖 %q，但后者不在它之前", need))
		}
	}
	return nil
}

// behindOneWay reports whether a one-way gate lies on the way to s.
func behindOneWay(s *Step, before map[string]*Step) bool {
	return behind(s, before, func(n *Step) bool { return n.Gate != nil && n.Gate.OneWay }, map[string]bool{})
}

// behind reports whether a step that fits lies on the way to s.
func behind(s *Step, before map[string]*Step, fits func(*Step) bool, seen map[string]bool) bool {
	for _, need := range s.Needs {
		n := before[need]
		if n == nil || seen[need] {
			continue
		}
		seen[need] = true
		if fits(n) || behind(n, before, fits, seen) {
			return true
		}
	}
	return false
}

// commitBehindGate holds the two phases apart: nothing of Apply waits for the
// gate commit, and everything of Commit does.
func (p *Plan) commitBehindGate(all map[string]*Step) error {
	isGate := func(n *Step) bool { return n.ID == CommitGate }
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.ID == CommitGate {
			continue
		}
		if after := behind(s, all, isGate, map[string]bool{}); after != (s.Phase == Commit) {
			return broken(p, s.ID, say.F("a step of phase %q stands on the wrong side of the gate %q", "阶段为 %q 的步骤位于关口 %q 的错误一侧", s.Phase, CommitGate))
		}
	}
	return nil
}

func broken(p *Plan, id string, text say.Text) error {
	place := "plan " + p.From + " → " + p.To
	if id != "" {
		place += ": " + id
	}
	return &say.Problem{Place: place, Text: text, Next: again()}
}
