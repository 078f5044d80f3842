package main

import (
	"fmt"
	"go/ast"
	"strings"
)

// how says what becomes of the place that a table entry names.
type how string

// What a curated entry does with its place.
const (
	never  how = "never"  // a condition: false
	always how = "always" // a condition: true
	drop   how = "drop"   // a statement: left out
	passes how = "passes" // a function: returns its zero values, or those given
	swap   how = "swap"   // a statement: another one in its place
)

// entry is a guard that is named by hand.
type entry struct {
	product string
	rules   string // separated by spaces
	dir     string
	fn      string
	how     how
	at      string // the condition or statement
	with    string // what a function returns, the other statement, or when a condition is cut
	says    string // what is removed, where the source does not tell it
}

func (s *set) curate(c entry) error {
	src, fn, err := s.place(c.dir, c.fn)
	if err != nil {
		return err
	}
	w := walker{s: s, f: field{product: c.product}, src: src, fn: fn}
	rules := strings.Split(c.rules, ", ")
	what := c.says
	if what == "" {
		what = map[how]string{never: "condition ", always: "condition ", drop: "statement ", swap: "statement ", passes: "the whole function"}[c.how] + clip(oneLine(c.at))
	}
	switch c.how {
	case never, always:
		err = w.cutCondition(c, what, rules)
	case drop, swap:
		err = w.cutStatement(c, what, rules)
	case passes:
		if c.with == "" {
			w.whole(what, rules)
			return nil
		}
		no := w.guard(what, rules)
		src.put(fn.Body.Lbrace+1, " if cutout.Out("+no+") { return "+c.with+" }; ")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.fn, err)
	}
	return nil
}

// place finds a function in a package.
func (s *set) place(dir, name string) (*source, *ast.FuncDecl, error) {
	names, err := goFiles(s.root, dir)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range names {
		src, err := s.load(n)
		if err != nil {
			return nil, nil, err
		}
		if fn := src.function(name); fn != nil {
			return src, fn, nil
		}
	}
	return nil, nil, fmt.Errorf("%s has no function %s any more", dir, name)
}

func (w *walker) cutCondition(c entry, what string, rules []string) error {
	e, err := condition(w.src, w.fn.Body, c.at)
	if err != nil {
		return err
	}
	if kv, ok := e.(*ast.KeyValueExpr); ok {
		e = kv.Value
	}
	when := "cutout.Out(" + w.guard(what, rules) + ")"
	if c.with != "" {
		when += " && (" + c.with + ")"
	}
	if c.how == never {
		w.src.around(e, "(!("+when+") && (", "))")
	} else {
		w.src.around(e, "("+when+" || (", "))")
	}
	return nil
}

func (w *walker) cutStatement(c entry, what string, rules []string) error {
	st, err := find[ast.Stmt](w.src, w.fn.Body, c.at)
	if err != nil {
		return err
	}
	no := w.guard(what, rules)
	if c.how == drop {
		w.src.around(st, "if !cutout.Out("+no+") { ", " }")
	} else {
		w.src.around(st, "if cutout.Out("+no+") { "+c.with+" } else { ", " }")
	}
	return nil
}

// condition finds what an if or a case asks, or else any expression.
func condition(src *source, body ast.Node, at string) (ast.Expr, error) {
	var found ast.Expr
	ast.Inspect(body, func(n ast.Node) bool {
		var conds []ast.Expr
		switch n := n.(type) {
		case *ast.IfStmt:
			conds = []ast.Expr{n.Cond}
		case *ast.CaseClause:
			conds = n.List
		}
		for _, c := range conds {
			if found == nil && src.of(c) == oneLine(at) {
				found = c
			}
		}
		return true
	})
	if found != nil {
		return found, nil
	}
	return find[ast.Expr](src, body, at)
}
