package gbase8a_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/simlab"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/wait"
)

// hasty is a clock that runs as fast as the lab's.
type hasty struct {
	start time.Time
	speed float64
}

func (h hasty) Now() time.Time {
	return h.start.Add(time.Duration(float64(time.Since(h.start)) * h.speed))
}

func (h hasty) Sleep(ctx context.Context, d time.Duration) error {
	return wait.Real{}.Sleep(ctx, time.Duration(float64(d)/h.speed))
}

// TestOverSSH upgrades both flavours over ssh, one to commit and one there and back.
func TestOverSSH(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts ssh servers")
	}
	const speed = 150
	for flavor, tc := range map[string]struct {
		to, verb string
		want     run.State
	}{
		"v952": {"9.5.2.44.8", "rollback", run.RolledBack},
		"v953": {"9.5.3.28.12", "commit", run.Committed},
	} {
		t.Run(flavor, func(t *testing.T) {
			t.Parallel()
			l, err := simlab.Start(simlab.Options{Product: "gbase8a", Dir: filepath.Join(t.TempDir(), "lab"), Speed: speed, Args: simlab.Args{"flavor": flavor}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
			inv, err := cluster.Read(l.Inventory, func(string) ([]cluster.Key, bool) { return gbase8a.Driver{}.Settings(), true })
			if err != nil {
				t.Fatal(err)
			}
			hosts, err := host.Connect(inv, host.SSHConfig{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = hosts.Close() })
			secret := func(node, setting string) (string, error) {
				n, _ := inv.Node(node)
				b, err := os.ReadFile(n.Settings[setting+"_file"])
				return strings.TrimSpace(string(b)), err
			}
			w := rehearse.World{Driver: gbase8a.Driver{}, Truth: func() error { return nil },
				Request: plan.Request{To: tc.to, Mode: "inplace", Packages: l.Packages()},
				Env:     driver.Env{Hosts: hosts, Inventory: inv, Clock: hasty{time.Now(), speed}, Secret: secret}}
			o, err := w.Driver.Observe(t.Context(), w.Env)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range o.Nodes {
				if !n.Healthy || n.Running == "" {
					t.Errorf("before: %+v", n)
				}
			}
			s, err := rehearse.Begin(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			wants(t, s, "apply", run.Upgraded)
			wants(t, s, tc.verb, tc.want)
			if bad := l.Site().Damage(); len(bad) > 0 {
				t.Errorf("rules broken: %v", bad)
			}
		})
	}
}
