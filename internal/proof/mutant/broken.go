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
	seed int    // the first that is played
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

// seedsTried is how many seeds are played, from the one in the table on, until
// one catches the broken build.
const seedsTried = 20

// caught finds the first seed that the whole build passes and the broken one does not.
func (b brokenBuild) caught(ctx context.Context, s *set, w *workshop) (seed int, e ended, err error) {
	for seed = b.seed; seed < b.seed+seedsTried; seed++ {
		whole, cut, err := b.run(ctx, s, w, seed)
		if err != nil {
			return seed, cut, err
		}
		if whole.failed {
			return seed, whole, fmt.Errorf("seed %d of %s fails on the whole build:\n%s", seed, b.play, tail(whole.out))
		}
		if cut.failed {
			return seed, cut, nil
		}
	}
	return seed, ended{}, fmt.Errorf("broken build %s: the seeds %d to %d of %s do not catch it", b.name, b.seed, seed-1, b.play)
}

// seeds proves all broken builds and tells them for the list.
func seeds(ctx context.Context, s *set, w *workshop) ([]string, error) {
	var out []string
	for _, b := range brokenBuilds {
		seed, e, err := b.caught(ctx, s, w)
		if err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprintf("- **%s** (%s): without %s: %s. Case `%s`, seed %d: %s\n  `go run ./internal/proof/mutant -break %s`\n",
			b.name, strings.Join(s.byID[b.id].rules, ", "), s.byID[b.id].where(), b.lets, b.play, seed, symptom(e.out), b.name))
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
		seed, e, err := b.caught(ctx, s, w)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s\nseed %d of %s: the whole build passes it, the broken one fails:\n\n%s\n", b.name, b.lets, seed, b.play, e.out)
		return nil
	}
	var names []string
	for _, b := range brokenBuilds {
		names = append(names, b.name)
	}
	return fmt.Errorf("there is no broken build %q, only %s", name, strings.Join(names, ", "))
}
