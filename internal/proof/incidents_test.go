package proof_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	incident = regexp.MustCompile(`(?m)^\| (B-\d+): .*\| (.*) \|$`)
	shownBy  = regexp.MustCompile(`go test (?:-race )?(\./\S+) -run '?([^\s'` + "`" + `]+)`)
	whole    = regexp.MustCompile("go test (\\./\\S+)`") // all tests of a package
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// TestEveryIncidentIsShown: each row of docs/bugs.md names a test or a scenario
// that is there. A seed alone does not do: what it plays changes with the faults.
func TestEveryIncidentIsShown(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("../../docs/bugs.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := incident.FindAllStringSubmatch(string(body), -1)
	if len(rows) < 20 {
		t.Fatalf("%d rows", len(rows))
	}
	seen := map[string]bool{}
	for _, row := range rows {
		if seen[row[1]] {
			t.Errorf("%s is the number of two rows", row[1])
		}
		seen[row[1]] = true
		if !isShown(t, row[2]) {
			t.Errorf("%s has no test and no scenario that is there: %s", row[1], row[2])
		}
	}
}

func isShown(t *testing.T, by string) bool {
	t.Helper()
	if strings.Contains(by, "`make bench`") {
		return true // a figure, not an answer
	}
	for _, m := range shownBy.FindAllStringSubmatch(by, -1) {
		for _, want := range strings.Split(strings.ReplaceAll(m[2], `\|`, "|"), "|") {
			name, scenario, _ := strings.Cut(want, "/")
			if name == "TestScenarios" {
				if _, err := os.Stat(filepath.Join("testdata/scenarios", scenario+".txt")); err == nil {
					return true
				}
				continue
			}
			if hasTest(t, filepath.Join("../..", m[1]), name) {
				return true
			}
		}
	}
	for _, m := range whole.FindAllStringSubmatch(by, -1) {
		if hasTest(t, filepath.Join("../..", m[1]), "Test") {
			return true
		}
	}
	return false
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, fn := range testFunc.FindAllStringSubmatch(string(body), -1) {
			if strings.Contains(fn[1], name) {
				return true
			}
		}
	}
	return false
}
