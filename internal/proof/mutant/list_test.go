package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestTheListNamesEveryRule: docs/proof.md tells of every rule that a source names.
func TestTheListNamesEveryRule(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join(root, "docs/proof.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		names, err := goFiles(root, f.dir)
		if err != nil {
			t.Fatal(err)
		}
		missing := map[string]bool{}
		for _, name := range names {
			src, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, rule := range f.rule.FindAllString(string(src), -1) {
				if !regexp.MustCompile(`\b` + rule + `\b`).Match(doc) {
					missing[rule] = true
				}
			}
		}
		if len(missing) > 0 {
			t.Errorf("docs/proof.md does not tell of %v of %s: make proof", missing, f.dir)
		}
	}
}
