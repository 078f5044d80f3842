package main

import (
	"fmt"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// catalogues cuts what the catalogues of releases say: each rule's refusals,
// ways and formats.
func (s *set) catalogues() error {
	numbers, err := s.entries()
	if err != nil {
		return err
	}
	for _, p := range []struct{ file, fn, loop, text string }{
		{"solve.go", "Catalogue.refusal", "for _, r := range c.Refusals", ` if cutEntry(c.Product, "refusals", r.Rule) { continue }; `},
		{"solve.go", "Catalogue.way", "for _, w := range c.Paths", ` if cutEntry(c.Product, "paths", w.Rule) { continue }; `},
		{"catalogue.go", "Catalogue.Crossed", "for _, e := range c.Epochs", ` if cutEntry(c.Product, "epochs", e.Rule) { continue }; `},
	} {
		src, err := s.load(releaseDir + "/" + p.file)
		if err != nil {
			return err
		}
		fn := src.function(p.fn)
		if fn == nil {
			return fmt.Errorf("%s has no function %s any more", src.name, p.fn)
		}
		r, err := find[*ast.RangeStmt](src, fn, p.loop)
		if err != nil {
			return err
		}
		src.put(r.Body.Lbrace+1, p.text)
	}
	h := s.helper(releaseDir, "release")
	h.imports[module+"/internal/proof/mutant/cut"] = true
	h.text.WriteString("var cutEntries = map[string]int{\n")
	for _, k := range slices.Sorted(maps.Keys(numbers)) {
		fmt.Fprintf(&h.text, "\t%q: %d,\n", k, numbers[k])
	}
	h.text.WriteString("}\n\nfunc cutEntry(product, section, rule string) bool {\n\tn := cutEntries[product+\" \"+section+\" \"+rule]\n\treturn n != 0 && cut.Out(n)\n}\n")
	return nil
}

const releaseDir = "internal/release"

// entries numbers "product section rule".
func (s *set) entries() (map[string]int, error) {
	names, err := filepath.Glob(filepath.Join(s.root, releaseDir, "catalogue", "*.yaml"))
	if err != nil {
		return nil, err
	}
	numbers := map[string]int{}
	for _, name := range names {
		product := strings.TrimSuffix(filepath.Base(name), ".yaml")
		entries, err := catalogueRules(name)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			key := product + " " + e
			if numbers[key] != 0 {
				continue
			}
			section, rule, _ := strings.Cut(e, " ")
			numbers[key] = s.add(guard{
				product: product, rules: []string{rule}, file: releaseDir + "/catalogue/" + product + ".yaml", fn: section,
				what: "the entries of " + rule, source: e,
			})
		}
	}
	return numbers, nil
}

var (
	catalogueSection = regexp.MustCompile(`^([a-z_]+):`)
	catalogueRule    = regexp.MustCompile(`\brule: ([A-Z]+-?[0-9]+)`)
)

// catalogueRules are "section rule" in the file's order.
func catalogueRules(name string) ([]string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var out []string
	section := ""
	for line := range strings.Lines(string(b)) {
		if m := catalogueSection.FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		for _, m := range catalogueRule.FindAllStringSubmatch(line, -1) {
			if slices.Contains([]string{"refusals", "paths", "epochs"}, section) {
				out = append(out, section+" "+m[1])
			}
		}
	}
	return out, nil
}
