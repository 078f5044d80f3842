package meter

import (
	"math"
	"sync"
	"time"
)

// Gap is a time without an acknowledged write, over all writers.
type Gap struct {
	From   time.Time     `json:"from"` // the last acknowledgement before
	Length time.Duration `json:"length_ns"`
}

// Section is the part of a run between two marks.
type Section struct {
	Name    string        `json:"name"`
	Took    time.Duration `json:"took_ns"`
	Rows    int64         `json:"rows"`
	Rate    float64       `json:"rows_per_second"`
	Longest time.Duration `json:"longest_gap_ns"` // of the gaps that ended here
}

// maxGaps bounds the list of long gaps; the longest are kept.
const maxGaps = 1000

// timeline watches the acknowledgements of all writers pass by.
type timeline struct {
	over time.Duration // gaps longer than this are listed

	mu       sync.Mutex
	start    time.Time
	last     time.Time // the last acknowledgement, or the start
	rows     int64
	dist     histogram
	latency  histogram
	longest  Gap
	rowsThen int64 // rows before the longest gap
	gaps     []Gap

	sections  []Section
	name      string // the section that runs
	since     time.Time
	rowsSince int64
	longHere  time.Duration
}

func newTimeline(now time.Time, over time.Duration) *timeline {
	return &timeline{over: over, start: now, last: now, since: now, name: "start"}
}

// ack takes note of one acknowledged write.
func (t *timeline) ack(now time.Time, latency time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gap(now)
	t.rows++
	t.latency.add(latency)
}

// gap closes the gap since the last acknowledgement.
func (t *timeline) gap(now time.Time) {
	g := Gap{From: t.last, Length: now.Sub(t.last)}
	if g.Length < 0 {
		return // two writers that came to the lock in the other order
	}
	t.last = now
	t.dist.add(g.Length)
	t.longHere = max(t.longHere, g.Length)
	if g.Length > t.longest.Length {
		t.longest, t.rowsThen = g, t.rows
	}
	if t.over > 0 && g.Length > t.over {
		t.list(g)
	}
}

func (t *timeline) list(g Gap) {
	if len(t.gaps) < maxGaps {
		t.gaps = append(t.gaps, g)
		return
	}
	shortest := 0
	for i := range t.gaps {
		if t.gaps[i].Length < t.gaps[shortest].Length {
			shortest = i
		}
	}
	if g.Length > t.gaps[shortest].Length {
		t.gaps = append(append(t.gaps[:shortest:shortest], t.gaps[shortest+1:]...), g)
	}
}

// mark ends the running section and begins another. A gap that is open now
// counts for the one that ends, so far, and for the one in which it ends, whole.
func (t *timeline) mark(now time.Time, next string) Section {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := now.Sub(t.since)
	s := Section{Name: t.name, Took: took, Rows: t.rows - t.rowsSince, Longest: max(t.longHere, now.Sub(t.last))}
	s.Rate = rate(s.Rows, took)
	t.sections = append(t.sections, s)
	t.name, t.since, t.rowsSince, t.longHere = next, now, t.rows, 0
	return s
}

func rate(rows int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return math.Round(float64(rows)/d.Seconds()*10) / 10
}

// count is how many writes have been acknowledged.
func (t *timeline) count() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rows
}

// histogram counts durations in buckets that grow by a twentieth, from a
// microsecond on: small, and exact to 5 %.
type histogram struct {
	buckets []int64
	n       int64
	max     time.Duration
}

const bucketGrowth = 1.05

func (h *histogram) add(d time.Duration) {
	i := 0
	if us := float64(d) / float64(time.Microsecond); us > 1 {
		i = int(math.Ceil(math.Log(us) / math.Log(bucketGrowth)))
	}
	for len(h.buckets) <= i {
		h.buckets = append(h.buckets, 0)
	}
	h.buckets[i]++
	h.n++
	h.max = max(h.max, d)
}

// quantile returns the upper bound of the bucket in which the q-th part of all lies.
func (h *histogram) quantile(q float64) time.Duration {
	need := int64(math.Ceil(q * float64(h.n)))
	var seen int64
	for i, n := range h.buckets {
		if seen += n; seen >= need && n > 0 {
			return min(h.max, time.Duration(math.Pow(bucketGrowth, float64(i))*float64(time.Microsecond)))
		}
	}
	return h.max
}

// Spread is how durations are distributed; p50 and p99 are exact to 5 %.
type Spread struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

func (h *histogram) spread() Spread {
	return Spread{P50: h.quantile(0.5), P99: h.quantile(0.99), Max: h.max}
}
