package proof_test

import (
	"context"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/rehearse"
)

// BenchmarkUpgrades plays whole upgrades with faults, each with its proof at
// the end, one after another.
func BenchmarkUpgrades(b *testing.B) {
	for _, c := range cases() {
		if !strings.Contains(c.Name, *only) {
			continue
		}
		b.Run(c.Name, func(b *testing.B) {
			seed := *seed0
			for b.Loop() {
				if p, err := rehearse.Play(context.Background(), c, seed); err != nil {
					b.Fatalf("%v\n%s", err, p.Tell())
				}
				seed++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "upgrades/s")
		})
	}
}
