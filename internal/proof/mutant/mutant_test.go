package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const root = "../../.."

// TestTheTableFitsTheSources: what the table names is still there, and every
// rule of the manuals has a guard, or a reason why it has none.
func TestTheTableFitsTheSources(t *testing.T) {
	t.Parallel()
	s, err := scan(root)
	if err != nil {
		t.Fatal(err)
	}
	for product, texts := range ruleTexts {
		have := map[string]bool{}
		for _, r := range rulesIn(s, product) {
			have[r] = true
		}
		for rule := range texts {
			if !have[rule] && facts[product][rule] == "" && !elsewhere(s, rule) {
				t.Errorf("%s %s has no guard that can be removed", product, rule)
			}
		}
	}
	for _, b := range brokenBuilds {
		if s.byID[b.id] == nil {
			t.Errorf("broken build %s: there is no guard %q", b.name, b.id)
		}
	}
	for id := range redundant {
		found := s.byID[id] != nil
		for _, g := range s.guards {
			found = found || strings.HasSuffix(g.file, "/"+strings.SplitN(id, " ", 2)[0]) && spared(g) == redundant[id]
		}
		if !found {
			t.Errorf("spared, but there is no guard %q", id)
		}
	}
}

// elsewhere: an invariant may be kept by the drivers alone.
func elsewhere(s *set, rule string) bool {
	for _, p := range products {
		for _, r := range rulesIn(s, p) {
			if r == rule {
				return true
			}
		}
	}
	return false
}

// TestSample removes a few guards of a quick package: the harness builds, and
// the tests notice.
func TestSample(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds the tests of another package")
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scan(abs)
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWorkshop(abs, t.TempDir(), s)
	if err != nil {
		t.Fatal(err)
	}
	v, err := loadVerdicts(filepath.Join(w.cache, "verdicts.json"))
	if err != nil {
		t.Fatal(err)
	}
	guards, err := choose(s.guards, "^I", "internal/plan")
	if err != nil {
		t.Fatal(err)
	}
	hints := map[string]verdict{}
	for id, h := range hintsOf(filepath.Join(abs, "docs/proof.md"), v) {
		if h.Suite == "internal/plan" {
			hints[id] = h
		}
	}
	j := &judge{w: w, v: v, hints: hints}
	for _, g := range guards[:4] {
		got, err := j.guard(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Noticed || got.Suite != "internal/plan" {
			t.Errorf("%s: %s", g.id(), word(got))
		}
	}
	whole, err := w.suites["internal/plan"].run(t.Context(), order{name: "TestPlanThatNobodyHas", limit: time.Minute})
	if err != nil || whole.failed {
		t.Errorf("a run without a cut and without a test: %+v, %v", whole, err)
	}
}

func TestCutsNest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("package a\n\nfunc f(x, y bool) bool {\n\tif x || y {\n\t\treturn true\n\t}\n\treturn false\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := parse(dir, "a.go")
	if err != nil {
		t.Fatal(err)
	}
	fn := src.function("f")
	for i, at := range []string{"x || y", "x", "y", "x || y"} {
		e, err := condition(src, fn.Body, at)
		if err != nil {
			t.Fatal(err)
		}
		n := string(rune('1' + i))
		src.around(e, "c"+n+"(", ")")
	}
	want := "\tif c1(c4(c2(x) || c3(y))) {\n"
	if got := string(src.result()); !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant %s", got, want)
	}
	if _, err := condition(src, fn.Body, "z"); err == nil {
		t.Error("a condition that is not there was found")
	}
}
