package proof_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/rehearse"
)

// BenchmarkUpgrades plays whole upgrades with faults, each with its proof at
// the end, one after another: the seeds of TestSim, again and again.
func BenchmarkUpgrades(b *testing.B) {
	for _, c := range cases() {
		if !strings.Contains(c.Name, *only) {
			continue
		}
		b.Run(c.Name, func(b *testing.B) {
			var play []uint64
			for i := range uint64(*seeds) {
				if _, open := stillOpen[fmt.Sprintf("%s/%d", c.Name, *seed0+i)]; !open {
					play = append(play, *seed0+i)
				}
			}
			n := 0
			for b.Loop() {
				if p, err := rehearse.Play(context.Background(), c, play[n%len(play)]); err != nil {
					b.Fatalf("%v\n%s", err, p.Tell())
				}
				n++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "upgrades/s")
		})
	}
}
