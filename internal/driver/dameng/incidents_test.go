package dameng_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
