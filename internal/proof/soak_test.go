package proof_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/host"
	labpg "github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/lab/postgres/pgtest"
	"github.com/shiplift/shiplift/internal/meter"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/wait"
)

var (
	soak     = flag.Duration("soak", 0, "how long real clusters are upgraded under load with faults; 0: two schedules")
	soakSeed = flag.Uint64("soakseed", 1, "the first schedule's seed")
)

// TestSoak upgrades clusters of real servers under load while real faults
// strike by a seeded schedule (make soak). What the schedule does is fixed by
// the seed; when exactly it meets the work is up to the machine.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("real servers under load")
	}
	t.Parallel()
	end := time.Now().Add(*soak)
	for n := uint64(0); n < 2 && *soak == 0 || time.Now().Before(end); n++ {
		seed := *soakSeed + n
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			if *soak == 0 {
				t.Parallel() // the two of the usual test run go beside each other
			}
			soakOnce(t, seed)
		})
		if !ok {
			return
		}
	}
}

// soaked is one cluster while it is upgraded.
type soaked struct {
	t     *testing.T
	rng   *rand.Rand
	lab   *labpg.Lab
	inv   *cluster.Inventory
	story *rehearse.Story
}

func soakOnce(t *testing.T, seed uint64) {
	s := &soaked{t: t, rng: rand.New(rand.NewPCG(seed, 0x50a6)), lab: pgtest.Start(t, labpg.Options{Nodes: 3, Release: "15.16", To: []string{"15.17"}})}
	d := postgres.New()
	var err error
	if s.inv, err = cluster.Read(s.lab.Inventory, func(string) ([]cluster.Key, bool) { return d.Settings(), true }); err != nil {
		t.Fatal(err)
	}
	w := rehearse.World{
		Driver: d, Request: plan.Request{To: "15.17", Mode: []string{"rolling", "rolling", "inplace"}[s.rng.IntN(3)]},
		Env: driver.Env{Inventory: s.inv, Clock: wait.Real{}, Secret: func(string, string) (string, error) {
			body, err := os.ReadFile(s.lab.SuperuserFile())
			return strings.TrimSpace(string(body)), err
		}},
	}
	for _, p := range s.lab.Packages {
		w.Request.Packages = append(w.Request.Packages, p.Path)
	}
	w.Env.Hosts = s.connect()
	if s.story, err = rehearse.Begin(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	m := s.load()
	s.upgrade()
	s.healthy()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rep, err := m.Stop(ctx)
	if err != nil || !rep.Good() {
		t.Errorf("acknowledged rows are missing: %v %+v", err, rep)
	}
	t.Logf("%s; %d rows acknowledged, %d lost, longest gap %s", s.story.Final(), rep.Rows, rep.LostWrites, rep.Interruption)
	if t.Failed() {
		t.Logf("repeat it: make soak DURATION=1s SEED0=%d", seed)
		t.Log(rehearse.Transcript(s.story.Log.Records))
	}
}

func (s *soaked) load() *meter.Meter {
	dsn, err := s.lab.DSN()
	if err != nil {
		s.t.Fatal(err)
	}
	nodes, err := s.lab.NodeDSNs()
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := meter.Start(s.t.Context(), meter.Config{DSN: dsn, Nodes: nodes})
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// connect opens connections as a new process of the tool does.
func (s *soaked) connect() host.Set {
	hosts, err := host.Connect(s.inv, host.SSHConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = hosts.Close() })
	return hosts
}

// upgrade types verbs until the run is over; trouble strikes the first two processes.
func (s *soaked) upgrade() {
	verb := "apply"
	for n := 0; n < 12 && s.story.Final() == ""; n++ {
		var struck sync.WaitGroup
		var death *rehearse.Death
		if n < 2 {
			struck.Go(s.trouble())
			if s.rng.IntN(2) == 0 {
				death = &rehearse.Death{At: 50 + s.rng.IntN(500), After: s.rng.IntN(2) == 0}
				s.t.Logf("the tool dies at its point %d (behind the deed: %t)", death.At, death.After)
			}
		}
		s.story.World.Env.Hosts = s.connect()
		out, err := s.story.Work(s.t.Context(), verb, death)
		struck.Wait()
		s.t.Logf("%s: %s %s %v", verb, out.State, out.Why.EN, err)
		switch {
		case out.State == run.Upgraded:
			verb = []string{"commit", "rollback"}[s.rng.IntN(2)]
		case verb == "apply" || verb == "resume":
			verb = []string{"resume", "rollback"}[s.rng.IntN(2)]
		}
	}
	if s.story.Final() == "" {
		s.t.Errorf("the run does not come to an end")
	}
}

// trouble draws a fault with its end; the function it returns does both.
func (s *soaked) trouble() func() {
	kinds := [][2]labpg.Fault{
		{labpg.KillServer, labpg.StartServer}, {labpg.CutSSH, labpg.RestoreSSH}, {labpg.FreezeReplay, labpg.ThawReplay},
		{labpg.FillDisk, labpg.FreeDisk}, {labpg.RestartNode, labpg.StartServer},
	}
	k, node := kinds[s.rng.IntN(len(kinds))], s.inv.Nodes[s.rng.IntN(len(s.inv.Nodes))].Name
	after, lasts := time.Duration(s.rng.IntN(5000))*time.Millisecond, time.Duration(200+s.rng.IntN(3000))*time.Millisecond
	s.t.Logf("%s on %s after %s for %s", k[0], node, after, lasts)
	ctx := s.t.Context()
	return func() {
		for _, x := range []struct {
			wait time.Duration
			f    labpg.Fault
		}{{after, k[0]}, {lasts, k[1]}} {
			_ = wait.Real{}.Sleep(ctx, x.wait)
			if err := s.lab.Break(ctx, node, x.f); err != nil {
				s.t.Logf("%s on %s: %v", x.f, node, err) // a primary replays nothing, a stopped server is not killed
			}
		}
	}
}

// healthy holds that one primary serves, every standby follows, and every node
// has the release that the run's end promises.
func (s *soaked) healthy() {
	s.story.World.Env.Hosts = s.connect()
	o, err := s.story.World.Driver.Observe(s.t.Context(), s.story.World.Env)
	if err != nil {
		s.t.Fatal(err)
	}
	want := "15.17"
	if s.story.Final() == run.RolledBack {
		want = "15.16"
	}
	primaries := 0
	for _, n := range o.Nodes {
		if n.Role == "primary" {
			primaries++
		}
		if !n.Healthy || n.Running != want || n.Installed != want {
			s.t.Errorf("the run is %s, yet %s is %s, runs %s and has %s", s.story.Final(), n.Name, n.Health, n.Running, n.Installed)
		}
	}
	if primaries != 1 {
		s.t.Errorf("%d primaries", primaries)
	}
}
