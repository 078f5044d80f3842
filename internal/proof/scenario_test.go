package proof_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
)

var update = flag.Bool("update", false, "rewrite what the scenarios print")

const dashes = "----\n"

// TestScenarios plays the files in testdata/scenarios: commands above the
// dashes, what they print below. -update rewrites the part below.
//
//	cluster postgres nodes=3 slots=true sync="db2" mode=rolling cascade=db4:db2
//	cluster CASE                 one of the simulation's practice clusters (make sim)
//	fault KIND node= match= command= skip= times= for= delay= bytes= changes=   KIND as in lab/sim, with dashes
//	crash after-record=N         the next process dies behind the journal's N-th record
//	crash at=N after=true        it dies at (or behind) its N-th command, message or record
//	apply | resume | rollback | commit [until=STEP]   as the tool's --until: leave before that step or gate
//	heal                         a person mends what is broken
//	pass 5m                      time goes by
//	status                       what the driver observes
//	truth                        what the simulator knows
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/scenarios/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/scenarios/"), ".txt"), func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			commands, want, _ := strings.Cut(string(body), dashes)
			got := playScenario(t, commands)
			if *update {
				if err := os.WriteFile(file, []byte(commands+dashes+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-update rewrites it):\n%s", file, diff)
			}
		})
	}
}

// scenario is one file while it is played.
type scenario struct {
	story *rehearse.Story
	world rehearse.World
	death *rehearse.Death
	told  int // records that were printed
	out   strings.Builder
}

func playScenario(t *testing.T, commands string) string {
	t.Helper()
	s := &scenario{}
	for n, line := range strings.Split(commands, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		if s.story == nil && words[0] != "cluster" {
			t.Fatalf("line %d: no cluster yet", n+1)
		}
		if words[0] != "fault" && words[0] != "crash" && words[0] != "cluster" {
			fmt.Fprintf(&s.out, "> %s\n", line)
		}
		if err := s.do(t, words[0], words[1:]); err != nil {
			t.Fatalf("line %d: %s: %v", n+1, line, err)
		}
	}
	return s.out.String()
}

func (s *scenario) do(t *testing.T, verb string, args []string) error {
	o := options(args)
	switch verb {
	case "cluster":
		return s.open(t, args[0], o)
	case "fault":
		f, err := faultOf(args[0], o)
		if err != nil {
			return err
		}
		s.world.Sim.Inject(f)
	case "crash":
		s.death = &rehearse.Death{At: o.int("at"), Record: o.int("after-record"), After: o["after"] == "true"}
	case "apply", "resume", "rollback", "commit":
		s.story.Until = o["until"]
		s.work(t, verb)
	case "heal":
		s.world.Sim.Heal()
		if s.world.Mend != nil {
			return s.world.Mend()
		}
	case "pass":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		return s.world.Env.Clock.Sleep(t.Context(), d)
	case "status":
		return s.status(t)
	case "truth":
		if err := s.world.Truth(); err != nil {
			fmt.Fprintf(&s.out, "%v\n", err)
			return nil
		}
		s.out.WriteString("all that must hold holds\n")
	default:
		return errors.New("no such command")
	}
	return nil
}

func (s *scenario) open(t *testing.T, name string, o opts) (err error) {
	if name == "postgres" {
		up := map[string]string{}
		if node, to, ok := strings.Cut(o["cascade"], ":"); ok {
			up[node] = to
		}
		c := postgresCase{pgsim.Options{Nodes: o.int("nodes"), Slots: o["slots"] == "true", Sync: o["sync"], Upstream: up}, plan.Request{Mode: o["mode"], Candidate: o["candidate"]}}
		s.world, err = c.opener()(1)
	} else {
		all := cases()
		i := slices.IndexFunc(all, func(c rehearse.Case) bool { return c.Name == name })
		if i < 0 {
			return fmt.Errorf("no practice cluster %q", name)
		}
		s.world, err = all[i].Open(1)
	}
	if err != nil {
		return err
	}
	s.story, err = rehearse.Begin(t.Context(), s.world)
	return err
}

// work starts the tool and prints the records that it leaves.
func (s *scenario) work(t *testing.T, verb string) {
	out, err := s.story.Work(t.Context(), verb, s.death)
	s.out.WriteString(rehearse.Transcript(s.story.Log.Records[s.told:]))
	s.told = len(s.story.Log.Records)
	switch {
	case s.death.Dead():
		s.out.WriteString("-- the tool was killed --\n")
		s.death = nil
	case err != nil:
		fmt.Fprintf(&s.out, "error: %v\n", err)
	default:
		fmt.Fprintf(&s.out, "= %s\n", out.State)
	}
}

func (s *scenario) status(t *testing.T) error {
	o, err := s.world.Driver.Observe(t.Context(), s.world.Env)
	if err != nil {
		return err
	}
	for _, n := range o.Nodes {
		fmt.Fprintf(&s.out, "%-6s %-8s runs %-8s has %-8s %s\n", n.Name, n.Role, n.Running, n.Installed, n.Health)
	}
	return nil
}

// opts are the words of a line that read key=value.
type opts map[string]string

func options(args []string) opts {
	o := opts{}
	for _, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok {
			o[k] = strings.Trim(v, `"`)
		}
	}
	return o
}

func (o opts) int(key string) int {
	n, _ := strconv.Atoi(o[key])
	return n
}

func faultOf(kind string, o opts) (sim.Fault, error) {
	f := sim.Fault{
		Kind: sim.FaultKind(strings.ReplaceAll(kind, "-", " ")), Node: o["node"], Match: o["match"], Command: o.int("command"),
		Skip: o.int("skip"), Times: o.int("times"), Bytes: int64(o.int("bytes")), Changes: o["changes"] == "true", Do: o["do"],
	}
	for key, d := range map[string]*time.Duration{"for": &f.For, "delay": &f.Delay} {
		if o[key] == "" {
			continue
		}
		var err error
		if *d, err = time.ParseDuration(o[key]); err != nil {
			return f, err
		}
	}
	return f, nil
}
