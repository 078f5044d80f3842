package proof_test

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/rehearse"
)

// BenchmarkUpgrades plays whole upgrades with faults, each with its proof at
// the end, on all cores: the seeds of TestSim, again and again.
func BenchmarkUpgrades(b *testing.B) {
	for _, c := range chosen(cases()) {
		b.Run(c.Name, func(b *testing.B) {
			var next atomic.Uint64
			began := cpuTime()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if p, err := rehearse.Play(context.Background(), c, *seed0+next.Add(1)-1); err != nil {
						b.Logf("seed %d: %v", p.Seed, err) // make sim tells more; here only the time counts
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "upgrades/s")
			b.ReportMetric(float64((cpuTime()-began).Microseconds())/1000/float64(b.N), "cpu-ms/upgrade")
		})
	}
}

// cpuTime is what this process has had of the processors: unlike the time that
// went by it says the same on a machine that is busy with something else.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
