package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/proof/mutant/cut"
)

// suite is the tests of one package, built once with every guard in it.
type suite struct {
	dir  string
	bin  string
	hash string // of the binary: sources, tests and guards

	mu     sync.Mutex
	Units  []*unit        // what can be run alone, nil until asked for
	Sound  map[string]int // units that pass with nothing cut: milliseconds
	state  string         // file of what was learned about this binary
	skips  *regexp.Regexp
	guards int
}

// unit is a test, or a subtest of a long one.
type unit struct {
	Name    string
	Millis  int
	Reached []int // guards that it asks for
}

// workshop builds suites from one scan.
type workshop struct {
	root    string
	cache   string
	overlay string
	guards  int
	suites  map[string]*suite
	mu      sync.Mutex
}

// newWorkshop writes the copies of the sources down.
func newWorkshop(root, cache string, s *set) (*workshop, error) {
	w := &workshop{root: root, cache: cache, guards: len(s.guards), suites: map[string]*suite{}}
	dir := filepath.Join(cache, "copies")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	replace := map[string]string{}
	for name, text := range s.copies() {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return nil, err
		}
		replace[filepath.Join(root, filepath.FromSlash(name))] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	w.overlay = filepath.Join(cache, "overlay.json")
	return w, os.WriteFile(w.overlay, b, 0o644)
}

// suite builds the tests of a package, once.
func (w *workshop) suite(ctx context.Context, dir string) (*suite, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.suites[dir]; s != nil {
		return s, nil
	}
	s := &suite{dir: filepath.Join(w.root, filepath.FromSlash(dir)), guards: w.guards, skips: slowTests[dir]}
	s.bin = filepath.Join(w.cache, strings.ReplaceAll(dir, "/", "-")+".test")
	fmt.Fprintf(os.Stderr, "build the tests of %s\n", dir)
	c := exec.CommandContext(ctx, "go", "test", "-c", "-buildvcs=false", "-trimpath", "-overlay", w.overlay, "-o", s.bin, "./"+dir)
	c.Dir = w.root
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the tests of %s with its guards: %w\n%s", dir, err, out)
	}
	b, err := os.ReadFile(s.bin)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	s.hash = hex.EncodeToString(sum[:8])
	s.state = s.bin + "." + s.hash + ".json"
	s.Sound = map[string]int{}
	if b, err := os.ReadFile(s.state); err == nil {
		if err := json.Unmarshal(b, s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.state, err)
		}
	}
	w.suites[dir] = s
	return s, nil
}

func (s *suite) save() error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(s.state, b, 0o644)
}

// ended is how a run of a unit ended.
type ended struct {
	failed   bool
	deadline bool   // the tests' own deadline ended it
	by       string // the test that failed
	took     time.Duration
	out      string
}

var failLine = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// run runs what pattern names, with guard n cut out; 0 cuts nothing.
func (s *suite) run(ctx context.Context, name string, n int, limit time.Duration, args ...string) (ended, error) {
	return s.runMarked(ctx, name, n, limit, "", args...)
}

func (s *suite) runMarked(ctx context.Context, name string, n int, limit time.Duration, marks string, args ...string) (ended, error) {
	ctx, cancel := context.WithTimeout(ctx, limit+20*time.Second)
	defer cancel()
	tmp, err := os.MkdirTemp("", "shiplift-cut-")
	if err != nil {
		return ended{}, err
	}
	defer os.RemoveAll(tmp)
	argv := append([]string{"-c", `ulimit -v 6000000; exec "$0" "$@"`, s.bin,
		"-test.run", pattern(name), "-test.failfast", "-test.timeout", limit.String(), "-test.count=1"}, args...)
	c := exec.CommandContext(ctx, "sh", argv...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "GOMAXPROCS=2", "TMPDIR="+tmp, "HOME="+tmp, "GOTRACEBACK=single")
	if n != 0 {
		c.Env = append(c.Env, cut.Env+"="+strconv.Itoa(n))
	}
	if marks != "" {
		c.Env = append(c.Env, cut.EnvReached+"="+marks)
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.WaitDelay = 5 * time.Second
	start := time.Now()
	err = c.Run()
	e := ended{took: time.Since(start), out: out.String()}
	if err == nil {
		return e, nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) && ctx.Err() == nil && !errors.Is(err, exec.ErrWaitDelay) {
		return e, err
	}
	e.failed = true
	for _, m := range failLine.FindAllStringSubmatch(e.out, -1) {
		if len(m[1]) > len(e.by) {
			e.by = m[1]
		}
	}
	if strings.Contains(e.out, "panic: test timed out") || ctx.Err() != nil {
		e.deadline = true
	}
	if e.by == "" {
		e.by = name
	}
	return e, nil
}

// pattern matches the test of that name and what is below it.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

var passLine = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)

// learn runs all tests once, cuts long ones into their subtests, then runs
// each unit alone: how long it takes and which guards it asks for.
func (s *suite) learn(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Units != nil {
		return nil
	}
	began := time.Now()
	fmt.Fprintf(os.Stderr, "look which test reaches which guard: %s\n", s.dir)
	names, below, err := s.names(ctx)
	if err != nil {
		return err
	}
	marks := s.state + ".marks"
	defer os.Remove(marks)
	units := []*unit{}
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		if err := os.WriteFile(marks, make([]byte, s.guards+1), 0o644); err != nil {
			return err
		}
		e, err := s.runMarked(ctx, name, 0, 3*time.Minute, marks)
		if err != nil {
			return err
		}
		if e.failed {
			fmt.Fprintf(os.Stderr, "%s fails with nothing cut, and is left out\n%s\n", name, tail(e.out))
			names = append(names, below[name]...) // those of its subtests that pass are not
			continue
		}
		b, err := os.ReadFile(marks)
		if err != nil {
			return err
		}
		u := &unit{Name: name, Millis: int(e.took.Milliseconds()), Reached: []int{}}
		for n, m := range b {
			if m != 0 {
				u.Reached = append(u.Reached, n)
			}
		}
		units = append(units, u)
	}
	s.Units = units
	fmt.Fprintf(os.Stderr, "%d units, %s\n", len(units), time.Since(began).Round(time.Second))
	return s.save()
}

// names lists the units, and the subtests of each test.
func (s *suite) names(ctx context.Context) (out []string, below map[string][]string, err error) {
	args := []string{"-test.v"}
	if s.skips != nil {
		args = append(args, "-test.skip", s.skips.String())
	}
	e, err := s.all(ctx, args)
	if err != nil {
		return nil, nil, err
	}
	took := map[string]float64{}
	below = map[string][]string{}
	for _, m := range passLine.FindAllStringSubmatch(e.out, -1) {
		if m[1] == "SKIP" {
			continue
		}
		took[m[2]], _ = strconv.ParseFloat(m[3], 64)
	}
	for name := range took {
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			below[name[:i]] = append(below[name[:i]], name)
		}
	}
	var visit func(name string, depth int)
	visit = func(name string, depth int) {
		subs := below[name]
		if depth < 2 && len(subs) > 1 && took[name] > 0.3*float64(1+4*depth) {
			slices.Sort(subs)
			for _, sub := range subs {
				visit(sub, depth+1)
			}
			return
		}
		out = append(out, name)
	}
	for _, name := range slices.Sorted(maps.Keys(took)) {
		if !strings.Contains(name, "/") {
			visit(name, 0)
		}
	}
	if len(out) == 0 {
		return nil, nil, fmt.Errorf("%s: no test was seen\n%s", s.dir, tail(e.out))
	}
	return out, below, nil
}

// all runs every test once, with nothing cut.
func (s *suite) all(ctx context.Context, args []string) (ended, error) {
	c := exec.CommandContext(ctx, s.bin, append(args, "-test.timeout", "20m")...)
	c.Dir = s.dir
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return ended{}, err
	}
	return ended{out: string(out), failed: err != nil}, nil
}

// sound reports whether a unit passes with nothing cut.
func (s *suite) sound(ctx context.Context, name string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.Units {
		if u.Name == name {
			return true, nil
		}
	}
	if ms, known := s.Sound[name]; known {
		return ms >= 0, nil
	}
	e, err := s.run(ctx, name, 0, 3*time.Minute)
	if err != nil {
		return false, err
	}
	s.Sound[name] = int(e.took.Milliseconds())
	if e.failed || strings.Contains(e.out, "no tests to run") {
		s.Sound[name] = -1
	}
	return s.Sound[name] >= 0, s.save()
}

// candidates are the units that reach guard n, the likely ones first.
func (s *suite) candidates(g *guard) []*unit {
	var out []*unit
	for _, u := range s.Units {
		if slices.Contains(u.Reached, g.n) {
			out = append(out, u)
		}
	}
	likely := func(u *unit) int {
		for _, r := range g.rules {
			if strings.Contains(u.Name, r) {
				return u.Millis / 10
			}
		}
		return u.Millis
	}
	slices.SortStableFunc(out, func(a, b *unit) int { return likely(a) - likely(b) })
	return out
}

func tail(t string) string {
	lines := strings.Split(strings.TrimSpace(t), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
