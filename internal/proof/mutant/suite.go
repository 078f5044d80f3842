package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	dir    string
	bin    string
	hash   string // of the binary: sources, tests and guards
	state  string // file of what was learned about this binary
	skips  *regexp.Regexp
	guards int

	mu     sync.Mutex
	Survey *survey        // nil until asked for
	Alone  map[string]int // tests that were run alone with nothing cut: milliseconds, -1 when they do not pass
}

// survey is what one run of all tests tells, with nothing cut.
type survey struct {
	Millis   int
	Reached  []int    // guards that some test asks for
	Foreseen []int    // guards that a plan may lead to
	Failed   []string // tests that fail, and notice nothing therefore
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
	if b, err := os.ReadFile(s.state); err == nil {
		if err := json.Unmarshal(b, s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.state, err)
		}
	}
	if s.Alone == nil {
		s.Alone = map[string]int{}
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

// order is one run of a test binary.
type order struct {
	name  string // of the test; empty: all tests
	cut   int    // the guard that is cut out; 0: none
	limit time.Duration
	marks string   // file in which guards that are asked for are marked
	args  []string // further ones
	first bool     // ends with the first test that fails
}

// ended is how a run ended.
type ended struct {
	failed   bool
	deadline bool     // the tests' own deadline ended it
	by       []string // the tests that failed, subtests before what they belong to
	began    []string // the tests that had not ended, the innermost first
	took     time.Duration
	out      string
}

var (
	failLine = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	runLine  = regexp.MustCompile(`(?m)^=== RUN\s+(\S+)`)
	endLine  = regexp.MustCompile(`(?m)^\s*--- (?:PASS|FAIL|SKIP): (\S+)`)
)

// errFirst ends a run whose first failure was seen.
var errFirst = errors.New("the first test has failed")

func (s *suite) run(ctx context.Context, o order) (ended, error) {
	ctx, cancel := context.WithTimeout(ctx, o.limit+20*time.Second)
	defer cancel()
	ctx, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	tmp, err := os.MkdirTemp("", "shiplift-cut-")
	if err != nil {
		return ended{}, err
	}
	defer os.RemoveAll(tmp)
	c := exec.CommandContext(ctx, "sh", s.argv(o)...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "GOMAXPROCS=2", "TMPDIR="+tmp, "HOME="+tmp, "GOTRACEBACK=single")
	if o.cut != 0 {
		c.Env = append(c.Env, cut.Env+"="+strconv.Itoa(o.cut))
	}
	if o.marks != "" {
		c.Env = append(c.Env, cut.EnvReached+"="+o.marks)
	}
	var out bytes.Buffer
	c.Stdout = io.Writer(&out)
	if o.first {
		c.Stdout = &watcher{w: &out, seen: func() { enough(errFirst) }}
	}
	c.Stderr = c.Stdout
	c.WaitDelay = 5 * time.Second
	start := time.Now()
	err = c.Run()
	e := ended{took: time.Since(start), out: out.String()}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return e, nil
	case !errors.As(err, &exit) && ctx.Err() == nil && !errors.Is(err, exec.ErrWaitDelay):
		return e, err
	}
	e.read()
	e.failed = true
	e.deadline = strings.Contains(e.out, "panic: test timed out") || ctx.Err() != nil && !errors.Is(context.Cause(ctx), errFirst)
	return e, nil
}

func (s *suite) argv(o order) []string {
	argv := []string{"-c", `ulimit -v 6000000; exec "$0" "$@"`, s.bin, "-test.v", "-test.timeout", o.limit.String(), "-test.count=1"}
	if o.name != "" {
		argv = append(argv, "-test.failfast", "-test.run", pattern(o.name))
	} else if s.skips != nil {
		argv = append(argv, "-test.skip", s.skips.String())
	}
	return append(argv, o.args...)
}

// read finds which tests failed, and which had not ended.
func (e *ended) read() {
	for _, m := range failLine.FindAllStringSubmatch(e.out, -1) {
		e.by = append(e.by, m[1])
	}
	over := map[string]bool{}
	for _, m := range endLine.FindAllStringSubmatch(e.out, -1) {
		over[m[1]] = true
	}
	for _, m := range runLine.FindAllStringSubmatch(e.out, -1) {
		if !over[m[1]] {
			e.began = append(e.began, m[1])
		}
	}
	slices.SortStableFunc(e.began, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
}

// watcher calls seen with the first test that fails.
type watcher struct {
	w    *bytes.Buffer
	seen func()
}

func (w *watcher) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	all := w.w.Bytes()
	if tail := all[max(0, len(all)-n-200):]; w.seen != nil && failLine.Match(tail) {
		w.seen()
		w.seen = nil
	}
	return n, err
}

// pattern matches the test of that name and what is below it.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// look runs all tests once, with nothing cut.
func (s *suite) look(ctx context.Context) (*survey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Survey != nil {
		return s.Survey, nil
	}
	fmt.Fprintf(os.Stderr, "run all tests of %s with nothing cut\n", s.dir)
	marks := s.state + ".marks"
	defer os.Remove(marks)
	if err := os.WriteFile(marks, make([]byte, s.guards+1), 0o644); err != nil {
		return nil, err
	}
	e, err := s.run(ctx, order{limit: 20 * time.Minute, marks: marks})
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if e.failed && len(e.by) == 0 {
		return nil, fmt.Errorf("the tests of %s fail with nothing cut:\n%s", s.dir, tail(e.out))
	}
	for _, name := range e.by {
		fmt.Fprintf(os.Stderr, "%s fails with nothing cut, and counts for nothing\n", name)
	}
	b, err := os.ReadFile(marks)
	if err != nil {
		return nil, err
	}
	got := &survey{Millis: int(e.took.Milliseconds()), Failed: e.by}
	for n, m := range b {
		if m&cut.Asked != 0 {
			got.Reached = append(got.Reached, n)
		}
		if m&cut.Foreseen != 0 {
			got.Foreseen = append(got.Foreseen, n)
		}
	}
	s.Survey = got
	return got, s.save()
}

// alone runs one test with nothing cut: how long it takes, and whether it passes.
func (s *suite) alone(ctx context.Context, name string) (took time.Duration, sound bool, err error) {
	s.mu.Lock()
	ms, known := s.Alone[name]
	s.mu.Unlock()
	if known {
		return time.Duration(ms) * time.Millisecond, ms >= 0, nil
	}
	e, err := s.run(ctx, order{name: name, limit: 3 * time.Minute})
	if err := errors.Join(err, ctx.Err()); err != nil {
		return 0, false, err
	}
	sound = !e.failed && strings.Contains(e.out, "--- PASS: "+name+" ")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Alone[name] = -1
	if sound {
		s.Alone[name] = int(e.took.Milliseconds())
	}
	return e.took, sound, s.save()
}

func tail(t string) string {
	lines := strings.Split(strings.TrimSpace(t), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
