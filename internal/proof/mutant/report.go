package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

func (g *guard) fits(re *regexp.Regexp, pkg string) bool {
	if !strings.Contains(g.product, pkg) && !strings.Contains(g.file, pkg) {
		return false
	}
	return slices.ContainsFunc(g.rules, re.MatchString) || re.MatchString(g.id())
}

// where is the place of a guard as the list tells it.
func (g *guard) where() string { return "`" + g.file + "` `" + g.fn + "`" }

// line is a guard in the list; hintsOf reads it again.
func (g *guard) line(v verdict) string {
	return "- " + g.where() + ": " + quoted(g.what) + " → " + g.outcome(v)
}

// quoted puts what is source into a code span.
func quoted(what string) string {
	for _, lead := range []string{"if ", "case ", "call ", "condition ", "statement "} {
		if strings.HasPrefix(what, lead) {
			return "``" + what + "``"
		}
	}
	return what
}

func (g *guard) outcome(v verdict) string {
	switch why := spared(g); {
	case v.Noticed:
		t := "`" + v.By + "`"
		if v.Deadline {
			t += " by deadline"
		}
		if v.Suite != suitesOf(g)[0] {
			t += " of `" + v.Suite + "`"
		}
		return t
	case why != "":
		return "not noticed: " + why
	case v.Reached:
		return "**not noticed**"
	}
	return "**never reached by a test**"
}

var hintLine = regexp.MustCompile("^- `([^`]+)` `([^`]+)`: (.+) → `([^`]+)`( by deadline)?(?: of `([^`]+)`)?$")

// hintsOf are the tests that noticed the last time: of this checkout, or of
// the list that was committed.
func hintsOf(doc string, v *verdicts) map[string]verdict {
	out := map[string]verdict{}
	if b, err := os.ReadFile(doc); err == nil {
		for line := range strings.Lines(string(b)) {
			m := hintLine.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil || m[5] != "" { // perhaps a test was written that does not hang
				continue
			}
			g := guard{file: m[1], fn: m[2], what: strings.Trim(m[3], "`")}
			out[g.id()] = verdict{Noticed: true, By: m[4], Suite: cmp.Or(m[6], suitesOf(&g)[0])}
		}
	}
	for id, old := range v.by {
		if old.Noticed && !old.Deadline {
			out[id] = old
		}
	}
	return out
}

// report tells what was not noticed; of a whole run it writes the list.
func report(s *set, got map[*guard]verdict, doc string, whole bool, seeds []string) error {
	if whole {
		if err := os.WriteFile(doc, []byte(list(s, got, seeds, madeOf(s.root))), 0o644); err != nil {
			return err
		}
	}
	noticed, bad := 0, 0
	for _, g := range s.guards {
		v, ok := got[g]
		switch {
		case !ok:
		case v.Noticed:
			noticed++
		case spared(g) == "" && idle(g, v) == "":
			bad++
			fmt.Printf("not noticed: %s %q %s (%s)\n", g.product, g.rules, g.id(), word(v))
		}
	}
	fmt.Printf("%d guards removed, %d noticed, %d not noticed\n", len(got), noticed, bad)
	if bad > 0 {
		return fmt.Errorf("%d guards can be removed and no test notices", bad)
	}
	return nil
}

// idle says why no run ever asks for a guard; empty where one may.
func idle(g *guard, v verdict) string {
	switch {
	case v.Reached:
	case strings.HasPrefix(g.what, "the undo of step ") && !v.Foreseen:
		return "never taken back: in each plan it only reads, or stands behind a one-way gate"
	case strings.HasSuffix(g.what, " comes before the step it waits for"):
		return "in each plan it waits for nothing but steps of its kind or the commit"
	}
	return ""
}

var products = []string{engine, "postgres", "opengauss", "mogdb", "gbase8a", "dameng"}

// list is docs/proof.md.
func list(s *set, got map[*guard]verdict, seeds []string, made string) string {
	var b strings.Builder
	b.WriteString(preface)
	b.WriteString(made)
	b.WriteString("\n## Counts\n\n| of | rules | guards removed | noticed | of these by a deadline | spared with a reason, or no run asks for it | not noticed |\n|---|---|---|---|---|---|---|\n")
	for _, p := range products {
		var n, noticed, deadline, spare, bad int
		for _, g := range s.guards {
			if g.product != p {
				continue
			}
			v := got[g]
			n++
			switch {
			case v.Noticed:
				noticed++
				if v.Deadline {
					deadline++
				}
			case spared(g) != "" || idle(g, v) != "":
				spare++
			default:
				bad++
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d |\n", p, len(rulesIn(s, p)), n, noticed, deadline, spare, bad)
	}
	writeOpen(&b, s, got)
	writeFacts(&b)
	b.WriteString("\n## Broken builds, caught by seed\n\nEach of these builds lacks one guard. The simulation plays the case with the seed and finds what the simulated machines suffered; the whole build passes the same seed.\n\n")
	for _, line := range seeds {
		b.WriteString(line)
	}
	for _, p := range products {
		writeProduct(&b, s, got, p)
	}
	return b.String()
}

// madeOf tells of which sources the list is made.
func madeOf(root string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("log", "-1", "--format=%h")
	changed, err2 := git("status", "--porcelain", "--", "internal", "cmd", "go.mod", "go.sum")
	switch {
	case err != nil || err2 != nil:
		return ""
	case changed != "":
		commit += ", with changes that were not committed"
	}
	return "\nEach guard below was judged on the sources of commit " + commit + ".\n"
}

// writeFacts tells of the rules that have no guard.
func writeFacts(b *strings.Builder) {
	b.WriteString("\n## Rules with nothing to remove\n\n")
	for _, p := range products {
		for _, r := range sortedKeys(facts[p]) {
			name := p + " " + r
			if text := ruleTexts[p][r]; text != "" {
				name += " (" + text + ")"
			}
			fmt.Fprintf(b, "- %s: %s\n", name, facts[p][r])
		}
	}
}

func writeOpen(b *strings.Builder, s *set, got map[*guard]verdict) {
	var open, spare []string
	for _, g := range s.guards {
		v := got[g]
		switch {
		case v.Noticed || idle(g, v) != "":
		case spared(g) == "":
			open = append(open, fmt.Sprintf("- %s %s: %s: %s → %s\n", g.product, strings.Join(g.rules, ", "), g.where(), quoted(g.what), g.outcome(v)))
		default:
			spare = append(spare, fmt.Sprintf("- %s %s: %s: %s: %s\n", g.product, strings.Join(g.rules, ", "), g.where(), quoted(g.what), spared(g)))
		}
	}
	b.WriteString("\n## Not noticed\n\n")
	if len(open) == 0 {
		b.WriteString("None.\n")
	}
	b.WriteString(strings.Join(open, ""))
	b.WriteString("\n## Spared\n\nGuards whose removal changes nothing that a test could see, each with its reason.\n\n")
	b.WriteString(strings.Join(spare, ""))
}

func rulesIn(s *set, product string) []string {
	seen := map[string]bool{}
	for _, g := range s.guards {
		if g.product == product {
			for _, r := range g.rules {
				seen[r] = true
			}
		}
	}
	return slices.SortedFunc(func(yield func(string) bool) {
		for r := range seen {
			if !yield(r) {
				return
			}
		}
	}, byRule)
}

var digits = regexp.MustCompile(`[0-9]+`)

// byRule sorts I2 before I10, and checks, steps and waits behind the rules.
func byRule(a, b string) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(padded(a), padded(b)))
}

func rank(r string) int {
	switch {
	case strings.HasPrefix(r, "check "):
		return 1
	case r == "waits":
		return 2
	case strings.HasPrefix(r, "step "):
		return 3
	}
	return 0
}

func padded(r string) string {
	return digits.ReplaceAllStringFunc(r, func(d string) string { return fmt.Sprintf("%06s", d) })
}

func writeProduct(b *strings.Builder, s *set, got map[*guard]verdict, product string) {
	fmt.Fprintf(b, "\n## %s\n", product)
	steps := false
	for _, r := range rulesIn(s, product) {
		if rank(r) == 3 {
			if !steps {
				steps = true
				b.WriteString("\n### steps\n")
			}
			fmt.Fprintf(b, "\n%s:\n\n", r)
		} else {
			fmt.Fprintf(b, "\n### %s\n\n", strings.TrimSpace(r+". "+ruleTexts[product][r]))
		}
		for _, g := range s.guards {
			if g.product != product || !slices.Contains(g.rules, r) {
				continue
			}
			if rank(r) == 1 && !strings.HasPrefix(g.what, "the check ") && slices.ContainsFunc(g.rules, func(o string) bool { return rank(o) == 0 }) {
				continue // told under its rule
			}
			b.WriteString(lineOf(g, got[g]) + "\n")
		}
	}
}

func lineOf(g *guard, v verdict) string {
	if why := idle(g, v); why != "" {
		return "- " + g.where() + ": " + g.what + " → no run asks for it: " + why
	}
	return g.line(v)
}

// spared says why the removal of a guard changes nothing that could be seen.
func spared(g *guard) string {
	if why := redundant[g.id()]; why != "" {
		return why
	}
	return redundant[path.Base(g.file)+" "+g.fn+": "+g.what]
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

const preface = `# Proof: do the checks check?

Made by ` + "`make proof`" + `; do not edit. Every guard behind a safety rule was removed, one at a time, and the tests were run until one failed.

- A **guard** is an ` + "`if`" + `, a case, a check, a wait, a step of a plan, its undo, its probe, its place in the order, an entry of a catalogue of releases. Guards are found in the sources by
  the rules that their literals and comments name; those that no text ties to a rule stand in a table of the harness (` + "`internal/proof/mutant/table.go`" + `), which fails when what it names is gone.
- The sources are not changed and have no switch: copies in which each guard can be cut out go into the test binaries through ` + "`go test -c -overlay`" + `.
- "by deadline" means that no assertion failed, but the tests' own time limit ended them.
- "the probe of step … says applied" and "the undo … does nothing" are what a crash or a rollback would meet (I2, I5).

To repeat: ` + "`make proof`" + ` (all; goes on where it was interrupted), ` + "`make proof PKG=mogdb RULES='M1[0-5]'`" + ` (some). A guard that nobody notices is a missing test.
`
