package run_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/wait"
)

// onDisk is a journal on the disk without copies.
type onDisk struct{ *journal.Journal }

// Barrier has no copies to wait for.
func (onDisk) Barrier(context.Context, ...string) error { return nil }

// BenchmarkStep is the tool's own cost of a step: hosts do nothing, the journal
// is on the disk and synced.
func BenchmarkStep(b *testing.B) { applyNodes(b, 100) }

// BenchmarkApply1000 plans and applies an upgrade of 1,000 hosts that do nothing.
func BenchmarkApply1000(b *testing.B) { applyNodes(b, 1000) }

func applyNodes(b *testing.B, nodes int) {
	steps := 0
	for b.Loop() {
		steps += applyOnce(b, nodes)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(steps), "µs/step")
	b.ReportMetric(float64(steps)/float64(b.N), "steps")
	b.ReportMetric(heapMB(), "MB-heap")
}

func applyOnce(b *testing.B, nodes int) int {
	b.Helper()
	inv, hosts := drivertest.ToyCluster(nodes, "1.0")
	env := driver.Env{Hosts: hosts, Inventory: inv, Clock: wait.Real{}}
	o, err := drivertest.Toy{}.Observe(b.Context(), env)
	if err != nil {
		b.Fatal(err)
	}
	p, err := driver.Make(drivertest.Toy{}, inv, o, plan.Request{To: "2.0", Mode: "rolling"}, "bench")
	if err != nil {
		b.Fatal(err)
	}
	j, err := journal.CreateFile(filepath.Join(b.TempDir(), "journal"), env.Clock)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	trail, err := run.Start(b.Context(), onDisk{j}, "bench", p, nil, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	r := &run.Runner{Driver: drivertest.Toy{}, Env: env, Log: onDisk{j}, Trail: trail, Options: run.Options{Verb: "apply"}}
	out, err := r.Work(b.Context(), journal.Who{}, 1)
	if err != nil || out.State != run.Upgraded {
		b.Fatalf("%+v, %v", out, err)
	}
	return len(p.Steps) - nodes - 1 // without the gate and what lies behind it
}

// BenchmarkPlan1000 observes, plans and encodes a plan for 1,000 hosts.
func BenchmarkPlan1000(b *testing.B) {
	inv, hosts := drivertest.ToyCluster(1000, "1.0")
	env := driver.Env{Hosts: hosts, Inventory: inv, Clock: wait.Real{}}
	for b.Loop() {
		o, err := drivertest.Toy{}.Observe(b.Context(), env)
		if err != nil {
			b.Fatal(err)
		}
		p, err := driver.Make(drivertest.Toy{}, inv, o, plan.Request{To: "2.0", Mode: "rolling"}, "bench")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := json.Marshal(p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(heapMB(), "MB-heap")
}

func heapMB() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapSys) / (1 << 20)
}
