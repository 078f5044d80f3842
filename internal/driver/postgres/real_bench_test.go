package postgres_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/bench"
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/host"
	labpg "github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/lab/postgres/pgtest"
	"github.com/shiplift/shiplift/internal/meter"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// BenchmarkSwitchover measures how long clients cannot write while the
// primary's role goes from one node to the other, under load, on two nodes: by
// the driver and by what a careful operator scripts, in turns, so that both
// meet the same machine.
//
//	go test -run '^$' -bench Switchover -benchtime 20x ./internal/driver/postgres
func BenchmarkSwitchover(b *testing.B) {
	l := pgtest.Start(b, labpg.Options{Nodes: 2, Release: "15.16", Report: func(say.Text) {}})
	d := postgres.New()
	inv, err := cluster.Read(l.Inventory, func(string) ([]cluster.Key, bool) { return d.Settings(), true })
	if err != nil {
		b.Fatal(err)
	}
	hosts, err := host.Connect(inv, host.SSHConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer hosts.Close()
	env := driver.Env{Hosts: hosts, Inventory: inv, Clock: wait.Real{}, Secret: func(string, string) (string, error) {
		body, err := os.ReadFile(l.SuperuserFile())
		return strings.TrimSpace(string(body)), err
	}}
	dsn, err := l.DSN()
	if err != nil {
		b.Fatal(err)
	}
	took := map[string][]time.Duration{}
	from, to := "db1", "db2"
	for b.Loop() {
		for range 2 { // there and back
			took["shiplift"] = append(took["shiplift"], measured(b, dsn, func(ctx context.Context, m *meter.Meter) (time.Duration, error) {
				return bench.Interruption(ctx, m, func(context.Context) error { return ourSwitch(b, d, env, from, to) })
			}))
			if err := postgres.Rejoin(b.Context(), env, from, to); err != nil {
				b.Fatal(err)
			}
			took["reference"] = append(took["reference"], measured(b, dsn, func(ctx context.Context, m *meter.Meter) (time.Duration, error) {
				return bench.Reference(ctx, l, m)
			}))
		}
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	ours, reference := bench.Summarize(took["shiplift"]), bench.Summarize(took["reference"])
	for way, s := range map[string]bench.Stats{"shiplift": ours, "reference": reference} {
		b.Logf("%-9s %s: %v", way, s, took[way])
		b.ReportMetric(ms(s.Median), way+"-median-ms")
		b.ReportMetric(ms(s.P99), way+"-p99-ms")
		b.ReportMetric(ms(s.Max), way+"-max-ms")
	}
	b.ReportMetric(float64(ours.N), "switchovers")
	b.ReportMetric(bench.Ratio(ours, reference), "ratio")
}

// measured is the longest gap without an acknowledged write around a switch.
// Not one acknowledged write may be lost.
func measured(b *testing.B, dsn string, change func(context.Context, *meter.Meter) (time.Duration, error)) time.Duration {
	m, err := meter.Start(b.Context(), meter.Config{DSN: dsn})
	if err != nil {
		b.Fatal(err)
	}
	gap, err := change(b.Context(), m)
	if err != nil {
		b.Fatal(err)
	}
	rep, err := m.Stop(b.Context())
	if err != nil || !rep.Good() {
		b.Fatalf("%v %+v", err, rep)
	}
	return gap
}

func ourSwitch(b *testing.B, d *postgres.Driver, env driver.Env, from, to string) error {
	a, _ := d.Action("switchover")
	t := driver.Target{Env: env, Step: plan.Step{ID: "cluster/switchover", Args: map[string]string{"from": from, "to": to, "name": from, "slot": from}},
		Report: func(say.Text) {}}
	memo, err := a.Prepare(context.Background(), t)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	t.Memo = memo
	return a.Do(context.Background(), t)
}
