package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// brokenBuild is a build that lacks one guard, and the seed that catches it.
type brokenBuild struct {
	name string
	lets string // what the build lets happen
	id   string // of the guard
	play string // the case
	seed int
}

const simSuite = "internal/proof"

func (b brokenBuild) args(seed int) []string {
	return []string{"-seeds", "1", "-seed0", fmt.Sprint(seed), "-case", b.play}
}

// play runs a case with a seed on the whole build and on the broken one.
func (b brokenBuild) run(ctx context.Context, s *set, w *workshop, seed int) (whole, cut ended, err error) {
	g := s.byID[b.id]
	if g == nil {
		return whole, cut, fmt.Errorf("broken build %s: there is no guard %q any more", b.name, b.id)
	}
	suite, err := w.suite(ctx, simSuite)
	if err != nil {
		return whole, cut, err
	}
	if whole, err = suite.run(ctx, order{name: "TestSim", limit: 2 * time.Minute, args: b.args(seed)}); err != nil {
		return whole, cut, err
	}
	cut, err = suite.run(ctx, order{name: "TestSim", cut: g.n, limit: 2 * time.Minute, args: b.args(seed)})
	return whole, cut, err
}

// seeds proves all broken builds and tells them for the list.
func seeds(ctx context.Context, s *set, w *workshop) ([]string, error) {
	var out []string
	for _, b := range brokenBuilds {
		whole, cut, err := b.run(ctx, s, w, b.seed)
		if err != nil {
			return nil, err
		}
		if whole.failed || !cut.failed {
			return nil, fmt.Errorf("broken build %s: seed %d of %s: the whole build failed: %v, the broken one: %v", b.name, b.seed, b.play, whole.failed, cut.failed)
		}
		out = append(out, fmt.Sprintf("- **%s** (%s): without %s: %s. Case `%s`, seed %d: %s\n  `go run ./internal/proof/mutant -break %s`\n",
			b.name, strings.Join(s.byID[b.id].rules, ", "), s.byID[b.id].where(), b.lets, b.play, b.seed, symptom(cut.out), b.name))
	}
	return out, nil
}

// symptom is the first thing that the simulation says.
func symptom(out string) string {
	for line := range strings.Lines(out) {
		if _, says, ok := strings.Cut(line, "sim_test.go:"); ok {
			if _, says, ok = strings.Cut(says, ": "); ok {
				return "“" + strings.TrimSpace(says) + "”"
			}
		}
	}
	return "it fails"
}

// breakOne shows one broken build.
func breakOne(ctx context.Context, s *set, w *workshop, name string) error {
	for _, b := range brokenBuilds {
		if b.name != name {
			continue
		}
		whole, cut, err := b.run(ctx, s, w, b.seed)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s\nthe whole build, seed %d of %s: failed %v\nthe broken build: failed %v\n\n%s\n", b.name, b.lets, b.seed, b.play, whole.failed, cut.failed, cut.out)
		return nil
	}
	var names []string
	for _, b := range brokenBuilds {
		names = append(names, b.name)
	}
	return fmt.Errorf("there is no broken build %q, only %s", name, strings.Join(names, ", "))
}
