package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// module is the path of the module that is cut.
const module = "github.com/shiplift/shiplift"

// source is one file of the product and what is to be written into its copy.
type source struct {
	name  string // slash path from the root
	text  []byte
	fset  *token.FileSet
	file  *ast.File
	edits []edit
}

// edit puts text in at an offset.
type edit struct {
	at    int
	text  string
	right bool // closes what another edit opened
	other int  // the other end of what is enclosed
	seq   int
}

// order nests what begins or ends at one offset.
func (e edit) order(o edit) int {
	switch {
	case e.at != o.at:
		return e.at - o.at
	case e.right != o.right && e.right:
		return -1
	case e.right != o.right:
		return 1
	case e.other != o.other:
		return o.other - e.other
	case e.right:
		return o.seq - e.seq
	}
	return e.seq - o.seq
}

func parse(root, name string) (*source, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	s := &source{name: name, text: text, fset: token.NewFileSet()}
	s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

func (s *source) dir() string { return path.Dir(s.name) }

func (s *source) offset(p token.Pos) int { return s.fset.Position(p).Offset }

func (s *source) line(p token.Pos) int { return s.fset.Position(p).Line }

// of is the text of a node, on one line.
func (s *source) of(n ast.Node) string {
	return oneLine(string(s.text[s.offset(n.Pos()):s.offset(n.End())]))
}

func oneLine(t string) string { return strings.Join(strings.Fields(t), " ") }

// around puts before and after around a node.
func (s *source) around(n ast.Node, before, after string) {
	from, to, seq := s.offset(n.Pos()), s.offset(n.End()), len(s.edits)
	s.edits = append(s.edits, edit{at: from, text: before, other: to, seq: seq}, edit{at: to, text: after, right: true, other: from, seq: seq})
}

// put writes text behind an offset.
func (s *source) put(at token.Pos, text string) {
	s.edits = append(s.edits, edit{at: s.offset(at), text: text, seq: len(s.edits)})
}

// result is the copy. Lines keep their numbers.
func (s *source) result() []byte {
	if len(s.edits) == 0 {
		return s.text
	}
	head := edit{at: s.offset(s.file.Name.End()), text: "; import cutout \"" + module + "/internal/proof/mutant/cut\""}
	edits := append([]edit{head}, s.edits...)
	slices.SortStableFunc(edits, edit.order)
	var out bytes.Buffer
	from := 0
	for _, e := range edits {
		out.Write(s.text[from:e.at])
		out.WriteString(e.text)
		from = e.at
	}
	out.Write(s.text[from:])
	// The package is imported also where a generated helper alone uses it.
	out.WriteString("\nvar _ = cutout.Out\n")
	return out.Bytes()
}

// funcName is "(T).name" for a method and "name" for a function.
func funcName(d *ast.FuncDecl) string {
	if r := recvType(d); r != "" {
		return r + "." + d.Name.Name
	}
	return d.Name.Name
}

func recvType(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return ""
	}
	t := d.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

func (s *source) function(name string) *ast.FuncDecl {
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && funcName(f) == name && f.Body != nil {
			return f
		}
	}
	return nil
}

// find returns the smallest node below within that fits and whose text, on one line, is
// text or, when no node's is, begins with it.
func find[N ast.Node](s *source, within ast.Node, text string) (N, error) {
	text = oneLine(text)
	var exact, begins []N
	ast.Inspect(within, func(n ast.Node) bool {
		if v, ok := n.(N); ok && n != nil {
			switch t := s.of(n); {
			case t == text:
				exact = append(exact, v)
			case strings.HasPrefix(t, text):
				begins = append(begins, v)
			}
		}
		return true
	})
	if len(exact) > 0 {
		return exact[0], nil
	}
	if len(begins) > 0 {
		return begins[0], nil
	}
	var none N
	return none, fmt.Errorf("%s has no %T %q any more", s.name, none, text)
}

// goFiles are the sources of a package without its tests.
func goFiles(root, dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(dir)))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if n := e.Name(); strings.HasSuffix(n, ".go") && !strings.HasSuffix(n, "_test.go") {
			out = append(out, path.Join(dir, n))
		}
	}
	return out, nil
}
