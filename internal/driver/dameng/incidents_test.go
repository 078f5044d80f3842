package dameng_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	lab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// TestARunAsksInOneOrder: the same cluster is upgraded by the same commands in the
// same order each time, or a seed would play something else (B-120).
func TestARunAsksInOneOrder(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, redo log", "DW-DSC, redo log"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := scenes[name]
			first := sc.commands(t)
			if strings.Count(first, "dmmonitor") < 3 {
				t.Fatal("nobody asks for a dmmonitor: the test looks at nothing")
			}
			for range 2 {
				if diff := cmp.Diff(first, sc.commands(t)); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}

// commands are those of a whole run, one a line.
func (s scene) commands(t *testing.T) string {
	t.Helper()
	st := s.open(t)
	story, err := rehearse.Begin(t.Context(), st.world)
	if err == nil {
		err = story.Wants(t.Context(), "apply", run.Upgraded)
	}
	if err == nil {
		err = story.Wants(t.Context(), "commit", run.Committed)
	}
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, c := range st.lab.World.Trace() {
		fmt.Fprintf(&b, "%s %q\n", c.Node, c.Argv)
	}
	return b.String()
}

// TestWhatCameUpByItselfIsStoppedOnTheWayThereToo: dmasmsvr, which the run has
// stopped, was started again by its machine or by a person. It is stopped before
// the dmcss that it lives on (DM-095, B-163).
func TestWhatCameUpByItselfIsStoppedOnTheWayThereToo(t *testing.T) {
	t.Parallel()
	sc := scene{opts: lab.Options{Topology: "dsc", Release: "8.1.3.140"}, to: "8.1.3.162"}
	st, s := begin(t, sc)
	s.Until = "db1/stop-css"
	if out := work(t, s, "apply"); out.Gate != s.Until && out.Step != s.Until {
		t.Fatalf("%+v", out)
	}
	st.sh(t, "db1", "systemctl", "start", "DmASMSvrServiceDSC10")
	s.Until = ""
	if err := s.Wants(t.Context(), "resume", run.Upgraded); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
}
