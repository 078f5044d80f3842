package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// steps cuts every kind of step: left out, done before the step it waits for,
// its undo, its probe.
func (s *set) steps(f field, files []*source) error {
	names := map[string]string{}
	var keys []ast.Expr
	for _, src := range files {
		ast.Inspect(src.file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				stringsOf(v, names)
			}
			keys = append(keys, keysOf(n, f.kinds)...)
			return true
		})
	}
	var kinds []string
	for _, k := range keys {
		switch k := k.(type) {
		case *ast.BasicLit:
			kind, _ := strconv.Unquote(k.Value)
			kinds = append(kinds, kind)
		case *ast.Ident:
			kinds = append(kinds, names[k.Name])
		}
	}
	if len(kinds) == 0 || slices.Contains(kinds, "") {
		return fmt.Errorf("%s: the kinds of steps in %s cannot be read: %q", f.dir, f.kinds, kinds)
	}
	slices.Sort(kinds)
	return s.wrap(f, files, kinds)
}

// stringsOf learns the constants that are a word.
func stringsOf(v *ast.ValueSpec, into map[string]string) {
	for i, name := range v.Names {
		if i >= len(v.Values) {
			return
		}
		if l, ok := v.Values[i].(*ast.BasicLit); ok && l.Kind == token.STRING {
			into[name.Name], _ = strconv.Unquote(l.Value)
		}
	}
}

// keysOf are the keys of the literal that becomes the variable of that name.
func keysOf(n ast.Node, variable string) []ast.Expr {
	var name string
	var value ast.Expr
	switch n := n.(type) {
	case *ast.ValueSpec:
		if len(n.Names) == 1 && len(n.Values) == 1 {
			name, value = n.Names[0].Name, n.Values[0]
		}
	case *ast.AssignStmt:
		if id, ok := n.Lhs[0].(*ast.Ident); ok {
			name, value = id.Name, n.Rhs[0]
		}
	}
	c, ok := value.(*ast.CompositeLit)
	if name != variable || !ok {
		return nil
	}
	var out []ast.Expr
	for _, e := range c.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			out = append(out, kv.Key)
		}
	}
	return out
}

// wrap renames Action and Plan of the driver and writes others around them.
func (s *set) wrap(f field, files []*source, kinds []string) error {
	var action, planner *ast.FuncDecl
	var actionSrc, planSrc *source
	for _, src := range files {
		for _, d := range src.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && recvType(fn) == "Driver" {
				switch fn.Name.Name {
				case "Action":
					action, actionSrc = fn, src
				case "Plan":
					planner, planSrc = fn, src
				}
			}
		}
	}
	if action == nil || planner == nil {
		return fmt.Errorf("%s: Driver has no Action or no Plan any more", f.dir)
	}
	actionSrc.put(action.Name.End(), "Uncut")
	planSrc.put(planner.Name.End(), "Uncut")
	h := s.helper(f.dir, planSrc.file.Name.Name)
	for _, p := range []string{"context", module + "/internal/cluster", module + "/internal/driver", module + "/internal/plan", module + "/internal/proof/mutant/cut"} {
		h.imports[p] = true
	}
	table := func(name, what string, src *source, fn *ast.FuncDecl) {
		fmt.Fprintf(&h.text, "var %s = map[string]int{\n", name)
		for _, k := range kinds {
			w := walker{s: s, f: f, src: src, fn: fn}
			rules := []string{"step " + k}
			if name == "cutOut" || name == "cutSoon" {
				rules = append(rules, stepRules[f.product][k]...)
			}
			fmt.Fprintf(&h.text, "\t%q: %s,\n", k, w.guard(fmt.Sprintf(what, k), rules))
		}
		h.text.WriteString("}\n\n")
	}
	table("cutOut", "step %s is left out", actionSrc, action)
	table("cutSoon", "step %s comes before the step it waits for", planSrc, planner)
	table("cutUndo", "the undo of step %s does nothing", actionSrc, action)
	table("cutProbe", "the probe of step %s says applied", actionSrc, action)
	recv := actionSrc.of(action.Recv.List[0].Type)
	precv := planSrc.of(planner.Recv.List[0].Type)
	h.text.WriteString(strings.NewReplacer("ARECV", recv, "PRECV", precv).Replace(stepWrapper))
	return nil
}

// stepWrapper is the generated part of a driver.
const stepWrapper = `func (d ARECV) Action(kind string) (driver.Action, bool) {
	a, ok := d.ActionUncut(kind)
	if !ok {
		return a, ok
	}
	return cutAction{a, kind}, true
}

type cutAction struct {
	driver.Action
	kind string
}

func (a cutAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	if cut.Chosen(cutOut[a.kind]) {
		return nil, nil
	}
	return a.Action.Prepare(ctx, t)
}

func (a cutAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	if cut.Chosen(cutOut[a.kind]) || cut.Out(cutProbe[a.kind]) {
		return driver.Applied, nil
	}
	return a.Action.Probe(ctx, t)
}

func (a cutAction) Do(ctx context.Context, t driver.Target) error {
	if cut.Out(cutOut[a.kind]) {
		return nil
	}
	return a.Action.Do(ctx, t)
}

func (a cutAction) Undo(ctx context.Context, t driver.Target) error {
	if cut.Chosen(cutOut[a.kind]) || cut.Out(cutUndo[a.kind]) {
		return nil
	}
	return a.Action.Undo(ctx, t)
}

func (d PRECV) Plan(inv *cluster.Inventory, o driver.Observation, r plan.Request) (plan.Plan, error) {
	p, err := d.PlanUncut(inv, o, r)
	if err != nil {
		return p, err
	}
	for i := range p.Steps {
		if p.Steps[i].Class == plan.Reversible {
			cut.Foresee(cutUndo[p.Steps[i].Kind])
		}
		if n := cutSoon[p.Steps[i].Kind]; n != 0 && cutBefore(&p, i, false) && cut.Out(n) {
			cutBefore(&p, i, true)
		}
	}
	return p, nil
}

// cutBefore moves step i before the last step that it needs, and lets that one
// need it; it reports whether it can.
func cutBefore(p *plan.Plan, i int, move bool) bool {
	s := p.Steps[i]
	last := -1
	for j := range i {
		for _, need := range s.Needs {
			if p.Steps[j].ID == need {
				last = j
			}
		}
	}
	if last < 0 || p.Steps[last].Kind == s.Kind || p.Steps[last].Gate != nil && p.Steps[last].ID == plan.CommitGate {
		return false
	}
	if !move {
		return true
	}
	before := p.Steps[last]
	var needs []string
	for _, n := range s.Needs {
		if n != before.ID {
			needs = append(needs, n)
		}
	}
	seen := map[string]bool{}
	for _, n := range needs {
		seen[n] = true
	}
	for _, n := range before.Needs {
		if !seen[n] {
			needs = append(needs, n)
		}
	}
	s.Needs = needs
	before.Needs = append(append([]string(nil), before.Needs...), s.ID)
	copy(p.Steps[last+2:i+1], p.Steps[last+1:i])
	p.Steps[last], p.Steps[last+1] = s, before
	return true
}
`
