package bench

import (
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/lab/postgres/pgtest"
	"github.com/shiplift/shiplift/internal/meter"
)

// There and back again: the second switchover shows that the first one left a
// healthy cluster behind.
func TestReference(t *testing.T) {
	t.Parallel()
	l := pgtest.Start(t, postgres.Options{Nodes: 2, Release: "15.18"})
	dsn, err := l.DSN()
	if err != nil {
		t.Fatal(err)
	}
	m, err := meter.Start(t.Context(), meter.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	var gaps []time.Duration
	for _, want := range []string{"db2", "db1"} {
		gap, err := Reference(t.Context(), l, m)
		if err != nil {
			t.Fatal(err)
		}
		if now, _, err := l.Primary(t.Context()); err != nil || now != want {
			t.Errorf("primary is %s, want %s: %v", now, want, err)
		}
		gaps = append(gaps, gap)
	}
	r, err := m.Stop(t.Context())
	if err != nil || !r.Good() {
		t.Errorf("%+v, %v", r.Primary, err)
	}
	if r.Interruption < gaps[0] || r.Interruption < gaps[1] || gaps[0] < time.Millisecond {
		t.Errorf("gaps %v do not fit the whole run's %s", gaps, r.Interruption)
	}
	t.Logf("gaps %v, %.0f and %.0f rows/s", gaps, r.Before, r.After)
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for i := 200; i >= 1; i-- {
		all = append(all, time.Duration(i))
	}
	if got, want := Summarize(all), (Stats{N: 200, Median: 100, P99: 198, Max: 200}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := Summarize([]time.Duration{3, 1, 2}), (Stats{N: 3, Median: 2, P99: 3, Max: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if r := Ratio(Stats{Median: 3}, Stats{Median: 6}); r != 0.5 {
		t.Errorf("ratio %v", r)
	}
}
