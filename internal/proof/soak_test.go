package proof_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
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
	"github.com/shiplift/shiplift/internal/wait"
)

var (
	soak     = flag.Duration("soak", 0, "how long real clusters are upgraded under load with faults; 0: two schedules")
	soakSeed = flag.Uint64("soakseed", 1, "the first schedule's seed")
)

// TestSoak upgrades clusters of real servers under load with the built tool, a
// process of its own with its journal on disk, which gets SIGKILL at drawn
// moments while real faults strike (make soak). What a schedule does is fixed by
// its seed; when exactly it meets the work is up to the machine.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("real servers under load")
	}
	t.Parallel()
	tool := buildTool(t)
	end := time.Now().Add(*soak)
	for n := uint64(0); n < 2 && *soak == 0 || time.Now().Before(end); n++ {
		seed := *soakSeed + n
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			if *soak == 0 {
				t.Parallel() // the two of the usual test run go beside each other
			}
			soakOnce(t, tool, seed)
		})
		if !ok {
			return
		}
	}
}

// buildTool builds the tool as its users have it.
func buildTool(t *testing.T) string {
	t.Helper()
	tool := filepath.Join(t.TempDir(), "shiplift")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", tool, "github.com/shiplift/shiplift/cmd/shiplift").CombinedOutput()
	if err != nil {
		t.Fatalf("build the tool: %v\n%s", err, out)
	}
	return tool
}

// soaked is one cluster while it is upgraded.
type soaked struct {
	t      *testing.T
	tool   string
	rng    *rand.Rand
	lab    *labpg.Lab
	inv    *cluster.Inventory
	mode   string
	state  string // directory of the journals: the control machine, as it were
	killed int
	said   bytes.Buffer
}

func soakOnce(t *testing.T, tool string, seed uint64) {
	s := &soaked{t: t, tool: tool, rng: rand.New(rand.NewPCG(seed, 0x50a6)), state: t.TempDir(),
		lab: pgtest.Start(t, labpg.Options{Nodes: 3, Release: "15.16", To: []string{"15.17"}})}
	s.mode = []string{"rolling", "rolling", "inplace"}[s.rng.IntN(3)]
	var err error
	if s.inv, err = cluster.Read(s.lab.Inventory, func(string) ([]cluster.Key, bool) { return postgres.New().Settings(), true }); err != nil {
		t.Fatal(err)
	}
	m := s.load()
	final := s.upgrade()
	s.healthy(final)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rep, err := m.Stop(ctx)
	if err != nil || !rep.Good() {
		t.Errorf("acknowledged rows are missing: %v %+v", err, rep)
	}
	t.Logf("%s %s, the tool killed %d times; %d rows acknowledged, %d lost, longest gap %s", s.mode, final, s.killed, rep.Rows, rep.LostWrites, rep.Interruption)
	if t.Failed() {
		t.Logf("repeat it: make soak DURATION=1s SEED0=%d", seed)
		t.Log(s.said.String())
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

// upgrade types verbs until the run is over and returns its end; trouble
// strikes the first two processes, death the first one that gets so far and
// half of the next.
func (s *soaked) upgrade() string {
	state := "idle"
	for n := range 14 {
		verb := s.verb(state)
		if verb == nil {
			return state
		}
		var struck sync.WaitGroup
		if n < 2 {
			struck.Go(s.trouble())
		}
		deadly := n < 6 && (s.killed == 0 || s.rng.IntN(2) == 0)
		code := s.run(deadly, verb...)
		struck.Wait()
		if s.rng.IntN(4) == 0 {
			s.state = s.t.TempDir() // the control machine is lost; another one has only the inventory
		}
		state = s.look()
		s.t.Logf("%s: exit %s, now %s", verb[0], code, state)
	}
	s.t.Errorf("the run does not come to an end")
	return state
}

// verb is what an operator types next; nil when there is nothing left to do.
func (s *soaked) verb(state string) []string {
	either := func(a, b string) []string { return []string{[]string{a, b}[s.rng.IntN(2)], "--yes"} }
	switch state {
	case "committed", "rolled-back":
		return nil
	case "idle": // it died, or was refused, before its first record
		words := []string{"apply", "--to", "15.17", "--mode", s.mode, "--yes"}
		for _, p := range s.lab.Packages {
			words = append(words, "--package", p.Path)
		}
		return words
	case "upgraded":
		return either("commit", "rollback")
	}
	return either("resume", "rollback")
}

// run runs the tool as a process of its own; a deadly run is killed at some
// moment behind a drawn record of its journal.
func (s *soaked) run(deadly bool, words ...string) string {
	cmd := s.command(words...)
	cmd.Stdout, cmd.Stderr = &s.said, &s.said
	fmt.Fprintf(&s.said, "\n$ shiplift %s\n", strings.Join(words, " "))
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	over := make(chan struct{})
	var hand sync.WaitGroup
	if deadly {
		behind, later := s.records()+s.rng.IntN(30), time.Duration(s.rng.IntN(200))*time.Millisecond
		hand.Go(func() {
			for s.records() < behind {
				select {
				case <-over:
					return
				case <-time.After(2 * time.Millisecond):
				}
			}
			select {
			case <-over:
			case <-time.After(later):
				_ = cmd.Process.Kill() // SIGKILL; it may be over by now
			}
		})
	}
	err := cmd.Wait()
	close(over)
	hand.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "0"
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return fmt.Sprint(exit.ExitCode())
	}
	s.killed++
	return err.Error()
}

func (s *soaked) command(words ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), s.tool, append(words, "-c", s.lab.Inventory, "--state-dir", s.state)...)
	cmd.Env = append(os.Environ(), "SHIPLIFT_LANG=en", "HOME="+s.state)
	return cmd
}

// records is how many lines the journals on this control machine hold.
func (s *soaked) records() int {
	n := 0
	files, _ := filepath.Glob(filepath.Join(s.state, "*", "*.journal"))
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err == nil {
			n += bytes.Count(body, []byte("\n"))
		}
	}
	return n
}

// look asks the tool where the run stands.
func (s *soaked) look() string {
	out, err := s.command("status", "--output", "json").Output()
	var st struct {
		State string `json:"state"`
	}
	if jsonErr := json.Unmarshal(out, &st); err != nil || jsonErr != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = append(out, exit.Stderr...)
		}
		s.t.Fatalf("status: %v %v: %s", err, jsonErr, out)
	}
	return st.State
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
func (s *soaked) healthy(final string) {
	hosts, err := host.Connect(s.inv, host.SSHConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer hosts.Close()
	o, err := postgres.New().Observe(s.t.Context(), driver.Env{Hosts: hosts, Inventory: s.inv, Clock: wait.Real{}, Secret: func(string, string) (string, error) {
		body, err := os.ReadFile(s.lab.SuperuserFile())
		return strings.TrimSpace(string(body)), err
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	want := "15.17"
	if final == "rolled-back" {
		want = "15.16"
	}
	primaries := 0
	for _, n := range o.Nodes {
		if n.Role == "primary" {
			primaries++
		}
		if !n.Healthy || n.Running != want || n.Installed != want {
			s.t.Errorf("the run is %s, yet %s is %s, runs %s and has %s", final, n.Name, n.Health, n.Running, n.Installed)
		}
	}
	if primaries != 1 {
		s.t.Errorf("%d primaries", primaries)
	}
}
