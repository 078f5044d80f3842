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
	Deadline bool   `json:",omitempty"` // a test's deadline noticed it, no assertion
	Suite    string // the package of the tests
	Unit     string // what was run
	By       string // the test that failed
	Hash     string // of the binary that was run
	Tried    int
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
	w      *workshop
	v      *verdicts
	hints  map[string]verdict // of an earlier run or of docs/proof.md
	budget time.Duration      // for the tests of one package and one guard
	longer time.Duration      // units that take longer are not run
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
	var got verdict
	if hint, ok := j.hints[g.id()]; ok && hint.Noticed {
		v, err := j.hinted(ctx, g, hint)
		if err != nil {
			return got, err
		}
		got = v
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
		v.Reached, v.Tried = v.Reached || got.Reached, v.Tried+got.Tried
		got = v
	}
	if !got.Noticed {
		got.Hash = strings.Join(hashes, " ")
	}
	got.Seconds = time.Since(began).Seconds()
	return got, j.v.put(g.id(), got)
}

// hinted runs the test that noticed the last time.
func (j *judge) hinted(ctx context.Context, g *guard, hint verdict) (verdict, error) {
	if !slices.Contains(suitesOf(g), hint.Suite) {
		return verdict{}, nil
	}
	s, err := j.w.suite(ctx, hint.Suite)
	if err != nil {
		return verdict{}, err
	}
	name := hint.Unit
	if name == "" {
		name = hint.By
	}
	if ok, err := s.sound(ctx, name); err != nil || !ok {
		return verdict{}, err
	}
	e, err := s.run(ctx, name, g.n, 2*time.Minute)
	if err != nil || !e.failed {
		return verdict{}, err
	}
	return verdict{Noticed: true, Reached: true, Deadline: e.deadline, Suite: hint.Suite, Unit: name, By: e.by, Hash: s.hash, Tried: 1}, nil
}

// try runs the units of a package that reach the guard until one fails.
func (j *judge) try(ctx context.Context, g *guard, dir string) (verdict, error) {
	s, err := j.w.suite(ctx, dir)
	if err != nil {
		return verdict{}, err
	}
	if err := s.learn(ctx); err != nil {
		return verdict{}, err
	}
	got := verdict{Suite: dir, Hash: s.hash}
	began := time.Now()
	for _, u := range s.candidates(g) {
		got.Reached = true
		took := time.Duration(u.Millis) * time.Millisecond
		if took > j.longer || time.Since(began) > j.budget {
			continue
		}
		e, err := s.run(ctx, u.Name, g.n, max(20*time.Second, 10*took))
		if err != nil {
			return got, err
		}
		got.Tried++
		if e.failed {
			got.Noticed, got.Deadline, got.Unit, got.By = true, e.deadline, u.Name, e.by
			return got, nil
		}
	}
	return got, ctx.Err()
}

// verdicts judges guards, or only remembers how they were judged.
func (j *judge) verdicts(ctx context.Context, guards []*guard, workers int, remembered bool) (map[*guard]verdict, error) {
	if !remembered {
		return j.all(ctx, guards, workers)
	}
	out := map[*guard]verdict{}
	for _, g := range guards {
		v, ok := j.v.get(g.id())
		if !ok {
			return nil, fmt.Errorf("%s was never judged: run it without -write", g.id())
		}
		out[g] = v
	}
	return out, nil
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
		return fmt.Sprintf("NOT NOTICED by %d", v.Tried)
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
