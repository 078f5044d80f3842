package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// verdict is what became of one guard.
type verdict struct {
	Noticed  bool
	Reached  bool
	Foreseen bool   `json:",omitempty"` // a plan may lead to it
	Deadline bool   `json:",omitempty"` // a test's deadline noticed it, no assertion
	Suite    string // the package of the tests
	By       string // the test that failed
	Hash     string // of the binary that was run
	Seconds  float64
}

// verdicts are kept by the guard's id.
type verdicts struct {
	file string
	mu   sync.Mutex
	by   map[string]verdict
}

func loadVerdicts(file string) (*verdicts, error) {
	v := &verdicts{file: file, by: map[string]verdict{}}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	return v, json.Unmarshal(b, &v.by)
}

func (v *verdicts) get(id string) (verdict, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	got, ok := v.by[id]
	return got, ok
}

// put keeps a verdict, so that an interrupted run goes on where it was.
func (v *verdicts) put(id string, got verdict) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.by[id] = got
	b, err := json.MarshalIndent(v.by, "", " ")
	if err != nil {
		return err
	}
	tmp := v.file + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, v.file)
}

// judge finds the test that notices guard by guard.
type judge struct {
	w     *workshop
	v     *verdicts
	hints map[string]verdict // of an earlier run or of docs/proof.md
}

// valid returns a verdict that was reached with the very same binaries.
func (j *judge) valid(ctx context.Context, g *guard) (verdict, bool, error) {
	old, ok := j.v.get(g.id())
	if !ok {
		return old, false, nil
	}
	dirs := suitesOf(g)
	if old.Noticed {
		dirs = []string{old.Suite}
	}
	var hashes []string
	for _, dir := range dirs {
		s, err := j.w.suite(ctx, dir)
		if err != nil {
			return old, false, err
		}
		hashes = append(hashes, s.hash)
	}
	return old, old.Hash == strings.Join(hashes, " "), nil
}

func (j *judge) guard(ctx context.Context, g *guard) (verdict, error) {
	if old, ok, err := j.valid(ctx, g); ok || err != nil {
		return old, err
	}
	began := time.Now()
	got, err := j.hinted(ctx, g)
	if err != nil {
		return got, err
	}
	var hashes []string
	for _, dir := range suitesOf(g) {
		if got.Noticed {
			break
		}
		v, err := j.try(ctx, g, dir)
		if err != nil {
			return got, err
		}
		hashes = append(hashes, v.Hash)
		v.Reached, v.Foreseen = v.Reached || got.Reached, v.Foreseen || got.Foreseen
		got = v
	}
	if !got.Noticed {
		got.Hash = strings.Join(hashes, " ")
	}
	got.Seconds = time.Since(began).Seconds()
	return got, j.v.put(g.id(), got)
}

// hinted runs the test that noticed the last time.
func (j *judge) hinted(ctx context.Context, g *guard) (verdict, error) {
	hint := j.hints[g.id()]
	if !hint.Noticed || !slices.Contains(suitesOf(g), hint.Suite) {
		return verdict{}, nil
	}
	s, err := j.w.suite(ctx, hint.Suite)
	if err != nil {
		return verdict{}, err
	}
	e, err := j.alone(ctx, s, g, hint.By)
	if err != nil || !e.failed {
		return verdict{}, err
	}
	return verdict{Noticed: true, Reached: true, Deadline: e.deadline, Suite: hint.Suite, By: hint.By, Hash: s.hash}, nil
}

// alone runs one test with the guard cut out; one that does not pass alone with
// nothing cut notices nothing.
func (j *judge) alone(ctx context.Context, s *suite, g *guard, name string) (ended, error) {
	took, sound, err := s.alone(ctx, name)
	if err != nil || !sound {
		return ended{}, err
	}
	e, err := s.run(ctx, order{name: name, cut: g.n, limit: max(20*time.Second, 10*took)})
	return e, errors.Join(err, ctx.Err())
}

// try runs all tests of a package with the guard cut out. What fails there must
// fail alone too: then it is the guard that it misses.
func (j *judge) try(ctx context.Context, g *guard, dir string) (verdict, error) {
	s, err := j.w.suite(ctx, dir)
	if err != nil {
		return verdict{}, err
	}
	whole, err := s.look(ctx)
	if err != nil {
		return verdict{}, err
	}
	got := verdict{Suite: dir, Hash: s.hash, Reached: slices.Contains(whole.Reached, g.n), Foreseen: slices.Contains(whole.Foreseen, g.n)}
	if !got.Reached {
		return got, nil
	}
	for range 2 {
		e, err := s.run(ctx, order{cut: g.n, limit: time.Minute + 4*time.Duration(whole.Millis)*time.Millisecond, first: len(whole.Failed) == 0})
		if err := errors.Join(err, ctx.Err()); err != nil {
			return got, err
		}
		if !e.failed {
			return got, nil
		}
		for _, name := range append(e.by, e.began...) {
			if slices.Contains(whole.Failed, name) {
				continue
			}
			e, err := j.alone(ctx, s, g, name)
			if err != nil {
				return got, err
			}
			if e.failed {
				got.Noticed, got.Deadline, got.By = true, e.deadline, name
				return got, nil
			}
		}
	}
	return got, nil
}

// all judges guards, a few at a time.
func (j *judge) all(ctx context.Context, guards []*guard, workers int) (map[*guard]verdict, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := map[*guard]verdict{}
	var mu sync.Mutex
	next := make(chan *guard)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for g := range next {
				v, err := j.guard(ctx, g)
				if err != nil {
					cancel(fmt.Errorf("%s: %w", g.id(), err))
					return
				}
				mu.Lock()
				out[g] = v
				fmt.Printf("%4d/%d %s %s %s\n", len(out), len(guards), word(v), g.product, g.id())
				mu.Unlock()
			}
		})
	}
	for _, g := range guards {
		select {
		case next <- g:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return out, context.Cause(ctx)
}

func word(v verdict) string {
	switch {
	case v.Deadline:
		return "noticed by deadline (" + v.By + ")"
	case v.Noticed:
		return "noticed (" + v.By + ")"
	case v.Reached:
		return "NOT NOTICED"
	}
	return "NEVER REACHED"
}

// suitesOf are the packages whose tests are asked, in this order.
func suitesOf(g *guard) []string {
	own := filepath.ToSlash(filepath.Dir(g.file))
	if own == "internal/release/catalogue" {
		own = "internal/release"
	}
	out := []string{own}
	for _, dir := range moreSuites[g.product] {
		if !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	return out
}
