package bench

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Stats are what is said about repeated measurements.
type Stats struct {
	N      int           `json:"n"`
	Median time.Duration `json:"median_ns"`
	P99    time.Duration `json:"p99_ns"`
	Max    time.Duration `json:"max_ns"`
}

// Summarize sums up measurements. With less than a hundred of them p99 is the largest.
func Summarize(all []time.Duration) Stats {
	if len(all) == 0 {
		return Stats{}
	}
	s := slices.Sorted(slices.Values(all))
	at := func(q float64) time.Duration { return s[max(0, int(math.Ceil(q*float64(len(s))))-1)] }
	median := at(0.5)
	if len(s)%2 == 0 {
		median = (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	return Stats{N: len(s), Median: median, P99: at(0.99), Max: s[len(s)-1]}
}

func (s Stats) String() string {
	r := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("n=%d median=%s p99=%s max=%s", s.N, r(s.Median), r(s.P99), r(s.Max))
}

// Ratio is how many times as long as b's median a's is; NaN when there is no b.
func Ratio(a, b Stats) float64 {
	if b.Median == 0 {
		return math.NaN()
	}
	return float64(a.Median) / float64(b.Median)
}
