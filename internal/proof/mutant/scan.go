package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// guard is one thing that can be cut out.
type guard struct {
	n       int
	product string
	rules   []string
	file    string // slash path from the root
	fn      string
	what    string // what is removed, in words and source
	source  string // text of the function, for the cache
	key     string
}

// id is stable as long as the function and what is removed are.
func (g *guard) id() string { return g.file + " " + g.fn + ": " + g.what }

// field is a package whose guards are looked for.
type field struct {
	product string
	dir     string
	rule    *regexp.Regexp // what a rule looks like in its comments and literals
	kinds   string         // the variable that holds the actions; empty: no driver
	asks    bool           // each check and each finding is a rule of its own
}

// set is all guards of a tree, with the copies that hold them.
type set struct {
	root    string
	guards  []*guard
	sources map[string]*source
	helpers map[string]*helper
	byID    map[string]*guard
}

// helper gathers what a package's generated file holds.
type helper struct {
	pkg     string
	text    strings.Builder
	imports map[string]bool
	waits   bool
}

func scan(root string) (*set, error) {
	s := &set{root: root, sources: map[string]*source{}, helpers: map[string]*helper{}, byID: map[string]*guard{}}
	for _, f := range fields {
		if err := s.field(f); err != nil {
			return nil, err
		}
	}
	if err := s.catalogues(); err != nil {
		return nil, err
	}
	var missing []string
	for _, c := range curated {
		if err := s.curate(c); err != nil {
			missing = append(missing, err.Error())
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("the table of guards (internal/proof/mutant/table.go) names what is gone:\n%s", strings.Join(missing, "\n"))
	}
	return s, nil
}

func (s *set) load(name string) (*source, error) {
	if src := s.sources[name]; src != nil {
		return src, nil
	}
	src, err := parse(s.root, name)
	if err == nil {
		s.sources[name] = src
	}
	return src, err
}

func (s *set) helper(dir, pkg string) *helper {
	if s.helpers[dir] == nil {
		s.helpers[dir] = &helper{pkg: pkg, imports: map[string]bool{}}
	}
	return s.helpers[dir]
}

// add numbers a guard; of several that read the same the later ones are counted.
func (s *set) add(g guard) int {
	what := g.what
	for n := 2; s.byID[g.id()] != nil; n++ {
		g.what = fmt.Sprintf("%s (no. %d)", what, n)
	}
	slices.Sort(g.rules)
	g.rules = slices.Compact(g.rules)
	g.n = len(s.guards) + 1
	s.guards = append(s.guards, &g)
	s.byID[g.id()] = &g
	return g.n
}

func (s *set) field(f field) error {
	names, err := goFiles(s.root, f.dir)
	if err != nil {
		return err
	}
	var files []*source
	for _, n := range names {
		src, err := s.load(n)
		if err != nil {
			return err
		}
		files = append(files, src)
	}
	asks := map[string]string{}
	if f.asks {
		for _, src := range files {
			askMethods(src, asks)
		}
	}
	for _, src := range files {
		for _, d := range src.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				w := walker{s: s, f: f, src: src, fn: fn, ask: asks[fn.Name.Name]}
				if recvType(fn) == "" || !findings(src, fn) {
					w.ask = ""
				}
				w.function()
			}
		}
	}
	if f.kinds != "" {
		return s.steps(f, files)
	}
	return nil
}

// askMethods finds which method answers which check: calls q("id", …, a.method)
// and literals {ID: "id", …, Ask: a.method} in functions named like Checks.
func askMethods(src *source, into map[string]string) {
	for _, d := range src.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || !strings.HasSuffix(strings.ToLower(fn.Name.Name), "checks") {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if id, method := asked(valuesOf(n)); id != "" && method != "" && !strings.Contains(id, " ") {
				into[method] = id
			}
			return true
		})
	}
}

// valuesOf are the arguments of a call and the values of a literal.
func valuesOf(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.CallExpr:
		return n.Args
	case *ast.CompositeLit:
		var out []ast.Expr
		for _, e := range n.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				out = append(out, kv.Value)
			}
		}
		return out
	}
	return nil
}

// asked are the first word and the last method among values.
func asked(values []ast.Expr) (id, method string) {
	for _, v := range values {
		if l, ok := v.(*ast.BasicLit); ok && l.Kind == token.STRING && id == "" {
			id, _ = strconv.Unquote(l.Value)
		}
		if sel, ok := v.(*ast.SelectorExpr); ok {
			method = sel.Sel.Name
		}
	}
	return id, method
}

// findings reports whether a function returns findings.
func findings(src *source, fn *ast.FuncDecl) bool {
	return fn.Type.Results != nil && strings.Contains(src.of(fn.Type.Results), "check.Finding")
}

// walker looks at one function.
type walker struct {
	s   *set
	f   field
	src *source
	fn  *ast.FuncDecl
	ask string // the check that it answers
	doc []string
}

func (w *walker) guard(what string, rules []string) string {
	return strconv.Itoa(w.s.add(guard{
		product: w.f.product, rules: rules, file: w.src.name, fn: funcName(w.fn), what: what, source: w.src.of(w.fn),
	}))
}

func (w *walker) function() {
	if w.fn.Doc != nil && w.f.rule != nil {
		w.doc = w.f.rule.FindAllString(w.fn.Doc.Text(), -1)
	}
	if w.ask != "" {
		w.whole("the check "+w.ask+" is not asked", []string{"check " + w.ask})
	}
	ast.Inspect(w.fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			w.ifStmt(n)
		case *ast.SwitchStmt:
			w.switchStmt(n)
		case *ast.ExprStmt:
			w.exprStmt(n)
		case *ast.CallExpr:
			w.wait(n)
		}
		return true
	})
}

// whole lets the function return its zero values at once.
func (w *walker) whole(what string, rules []string) {
	if w.fn.Type.Results == nil {
		return
	}
	var names, decl []string
	for _, r := range w.fn.Type.Results.List {
		for range max(1, len(r.Names)) {
			name := fmt.Sprintf("cutZero%d", len(names))
			names = append(names, name)
			decl = append(decl, "var "+name+" "+w.src.of(r.Type))
		}
	}
	n := w.guard(what, rules)
	w.src.put(w.fn.Body.Lbrace+1, " if cutout.Out("+n+") { "+strings.Join(decl, "; ")+"; return "+strings.Join(names, ", ")+" }; ")
}

// ifStmt cuts an if whose body refuses by a rule.
func (w *walker) ifStmt(n *ast.IfStmt) {
	rules := w.rulesOf(n, n.Body.List)
	if rules == nil || propagates(n.Cond) {
		return
	}
	no := w.guard("if "+clip(w.src.of(n.Cond)), rules)
	w.src.around(n.Cond, "!cutout.Out("+no+") && (", ")")
}

func (w *walker) switchStmt(n *ast.SwitchStmt) {
	for _, c := range n.Body.List {
		cc := c.(*ast.CaseClause)
		if cc.List == nil {
			continue
		}
		rules := w.rulesOf(cc, cc.Body)
		if rules == nil || n.Tag != nil {
			continue
		}
		var conds []string
		for _, e := range cc.List {
			conds = append(conds, w.src.of(e))
		}
		if slices.ContainsFunc(cc.List, propagates) {
			continue
		}
		no := w.guard("case "+clip(strings.Join(conds, ", ")), rules)
		for _, e := range cc.List {
			w.src.around(e, "!cutout.Out("+no+") && (", ")")
		}
	}
}

// exprStmt leaves a call out whose arguments name a rule and which only gathers.
func (w *walker) exprStmt(n *ast.ExprStmt) {
	call, ok := n.X.(*ast.CallExpr)
	if !ok || w.f.rule == nil {
		return
	}
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	if !slices.Contains([]string{"add", "stage", "step", "one"}, name) {
		return
	}
	var rules []string
	for _, a := range call.Args {
		ast.Inspect(a, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				rules = append(rules, w.f.rule.FindAllString(l.Value, -1)...)
			}
			_, inner := n.(*ast.FuncLit)
			return !inner
		})
	}
	if rules == nil {
		return
	}
	no := w.guard("call "+clip(w.src.of(call)), rules)
	w.src.around(n, "if !cutout.Out("+no+") { ", " }")
}

// wait lets a wait look once and return.
func (w *walker) wait(n *ast.CallExpr) {
	sel, ok := n.Fun.(*ast.SelectorExpr)
	if !ok || w.f.kinds == "" {
		return
	}
	if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "wait" || sel.Sel.Name != "For" {
		return
	}
	rules := slices.Clone(w.doc)
	no := w.guard("the wait ends after one look", append(rules, "waits"))
	w.src.around(sel, "cutFor("+no+", ", ")")
	w.s.helper(w.src.dir(), w.src.file.Name.Name).waits = true
}

// rulesOf are the rules that a refusing body names, itself, in the comment
// above or beside it, or in the comment of its function; nil when the body
// does not refuse.
func (w *walker) rulesOf(n ast.Node, body []ast.Stmt) []string {
	refuses, finds := false, false
	var rules []string
	for _, st := range body {
		ast.Inspect(st, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.IfStmt, *ast.FuncLit, *ast.SwitchStmt, *ast.ForStmt, *ast.RangeStmt:
				return false
			case *ast.ReturnStmt:
				refuses = refuses || slices.ContainsFunc(n.Results, refusal)
			case *ast.BasicLit:
				if n.Kind == token.STRING && w.f.rule != nil {
					rules = append(rules, w.f.rule.FindAllString(n.Value, -1)...)
				}
			case *ast.CallExpr:
				finds = finds || slices.Contains([]string{"block", "warn", "found", "refuse"}, callee(n))
			}
			return true
		})
	}
	near := w.near(n)
	rules = append(rules, near...)
	if w.ask != "" && (finds || refuses) {
		rules = append(rules, "check "+w.ask)
	}
	switch {
	case len(rules) > 0 && (refuses || finds || len(near) > 0):
		return rules
	case len(rules) > 0:
		return rules
	case (refuses || finds) && len(w.doc) > 0:
		return slices.Clone(w.doc)
	}
	return nil
}

// near are the rules in the comments above a node and on its first line.
func (w *walker) near(n ast.Node) []string {
	if w.f.rule == nil {
		return nil
	}
	at := w.src.line(n.Pos())
	var rules []string
	for _, g := range w.src.file.Comments {
		if last := w.src.line(g.End()); last == at || last == at-1 && g.Pos() > w.fn.Body.Pos() && w.src.line(g.Pos()) <= last && w.alone(g) {
			rules = append(rules, w.f.rule.FindAllString(g.Text(), -1)...)
		}
	}
	return rules
}

// alone reports whether a comment stands on a line of its own.
func (w *walker) alone(g *ast.CommentGroup) bool {
	at := w.src.offset(g.Pos())
	for at--; at >= 0 && w.src.text[at] != '\n'; at-- {
		if w.src.text[at] != '\t' && w.src.text[at] != ' ' {
			return false
		}
	}
	return true
}

func callee(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// refusal reports whether a returned value makes an error or a finding anew.
func refusal(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name := callee(n)
			found = found || slices.Contains([]string{"Errorf", "New", "F", "block", "warn", "found", "refuse", "problem", "broken", "fail"}, name)
		case *ast.CompositeLit:
			if t, ok := n.Type.(*ast.SelectorExpr); ok {
				found = found || t.Sel.Name == "Problem" || t.Sel.Name == "RefusalError"
			}
		}
		return true
	})
	return found
}

// propagates reports whether a condition only asks whether an error came.
func propagates(e ast.Expr) bool {
	b, ok := e.(*ast.BinaryExpr)
	if !ok || b.Op != token.NEQ {
		return false
	}
	x, ok1 := b.X.(*ast.Ident)
	y, ok2 := b.Y.(*ast.Ident)
	return ok1 && ok2 && x.Name == "err" && y.Name == "nil"
}

func clip(t string) string {
	if r := []rune(t); len(r) > 110 {
		return string(r[:107]) + "…"
	}
	return t
}
