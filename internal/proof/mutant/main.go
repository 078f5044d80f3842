// Command mutant asks whether the checks check: it removes the guards behind
// each safety rule one at a time and runs the tests until one notices (make proof).
//
// The sources are parsed, and copies are made in which every guard can be cut
// out by a number in the environment; the tests of a package are built once
// with all these copies (go test -c -overlay). A run without a cut tells which
// test reaches which guard; then each guard is cut out in a run of its own, the
// quickest tests that reach it first, until one fails. The product's own
// sources know nothing of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := prove(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func prove(ctx context.Context) error {
	rules := flag.String("rules", "", "only guards whose rules or names match this expression")
	pkg := flag.String("pkg", "", "only guards of products or files that contain this")
	list := flag.Bool("list", false, "list the guards and stop")
	workers := flag.Int("j", 2, "how many runs at once")
	broken := flag.String("break", "", "play the seed that catches this broken build")
	doc := flag.String("doc", "docs/proof.md", "the list that is read for hints and, of a whole run, written")
	flag.Parse()
	root, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	s, err := scan(root)
	if err != nil {
		return err
	}
	guards, err := choose(s.guards, *rules, *pkg)
	if err != nil {
		return err
	}
	if *list {
		for _, g := range guards {
			fmt.Println(g.product, g.rules, g.id())
		}
		return nil
	}
	cache := filepath.Join(root, ".cache", "proof")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	w, err := newWorkshop(root, cache, s)
	if err != nil {
		return err
	}
	if *broken != "" {
		return breakOne(ctx, s, w, *broken)
	}
	v, err := loadVerdicts(filepath.Join(cache, "verdicts.json"))
	if err != nil {
		return err
	}
	j := &judge{w: w, v: v, hints: hintsOf(filepath.Join(root, filepath.FromSlash(*doc)), v)}
	got, err := j.all(ctx, guards, *workers)
	if err != nil {
		return err
	}
	whole := len(guards) == len(s.guards)
	var caught []string
	if whole {
		if caught, err = seeds(ctx, s, w); err != nil {
			return err
		}
	}
	return report(s, got, *doc, whole, caught)
}

func choose(all []*guard, rules, pkg string) ([]*guard, error) {
	re, err := regexp.Compile(rules)
	if err != nil {
		return nil, err
	}
	var out []*guard
	for _, g := range all {
		if g.fits(re, pkg) {
			out = append(out, g)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no guard fits RULES=%s PKG=%s", rules, pkg)
	}
	return out, nil
}
