package proof_test

import (
	"context"
	"flag"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/rehearse"
)

var (
	seeds = flag.Int("seeds", 10, "seeded runs of each case")
	seed0 = flag.Uint64("seed0", 1, "the first seed")
	keep  = flag.Bool("keep", false, "go on behind a run that fails, and tell each in one line")
	fault = flag.String("trouble", "", "let only this kind of trouble strike (rehearse.Troubles)")
	only  = flag.String("case", "", "play only the cases whose name contains this")
)

// TestSim plays every case with seeds seed0… and faults (make sim).
func TestSim(t *testing.T) {
	t.Parallel()
	for _, c := range chosen(cases()) {
		c.Only = *fault
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			finals := playAll(t, c)
			t.Logf("%d runs, %.0f a second: %v", *seeds, float64(*seeds)/time.Since(began).Seconds(), finals)
		})
	}
}

// chosen are the cases that -case names: the one of that name, or all whose names contain it.
func chosen(all []rehearse.Case) []rehearse.Case {
	if i := slices.IndexFunc(all, func(c rehearse.Case) bool { return c.Name == *only }); i >= 0 {
		return all[i : i+1]
	}
	return slices.DeleteFunc(all, func(c rehearse.Case) bool { return !strings.Contains(c.Name, *only) })
}

// playAll plays a case with all seeds on all cores and stops at the first that fails.
func playAll(t *testing.T, c rehearse.Case) map[string]int {
	t.Helper()
	var mu sync.Mutex
	finals := map[string]int{}
	var next, failed atomic.Uint64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for failed.Load() == 0 {
				i := next.Add(1) - 1
				if i >= uint64(*seeds) {
					return
				}
				p, err := rehearse.Play(context.Background(), c, *seed0+i)
				if err != nil && *keep {
					t.Errorf("%s seed %d: %.300s | %s", c.Name, *seed0+i, err, strings.Join(p.Faults, "; "))
					continue
				}
				if err != nil {
					failed.Add(1)
					t.Errorf("%v\n%s", err, p.Tell())
					return
				}
				mu.Lock()
				finals[string(p.Final)]++
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return finals
}
