package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

// TestAFailedStepAsksAPerson: what a step wants a person to do before the run can
// go on is told beside the verb to type next, in both languages (B-192).
func TestAFailedStepAsksAPerson(t *testing.T) {
	t.Parallel()
	asks := say.F("move the role back, then: shiplift resume", "将主库切回，然后执行：shiplift resume")
	for name, tc := range map[string]struct {
		out  run.Outcome
		want say.Text
	}{
		"it asks":                  {run.Outcome{Next: "resume", Err: &say.Problem{Next: asks}}, asks},
		"it asks, in another one":  {run.Outcome{Next: "resume", Err: fmt.Errorf("db2: %w", &say.Problem{Next: asks})}, asks},
		"another verb goes on":     {run.Outcome{Next: "resume", Err: &say.Problem{Next: say.Same("shiplift rollback")}}, say.Same("shiplift rollback")},
		"it asks for nothing more": {run.Outcome{Next: "resume", Err: &say.Problem{Next: say.Same("shiplift resume")}}, say.Text{}},
		"it says nothing":          {run.Outcome{Next: "resume", Err: errors.New("the link is gone")}, say.Text{}},
		"nothing failed":           {run.Outcome{State: run.Upgraded, Next: "commit"}, say.Text{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, adviceOf(&tc.out)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestTheSummaryOfAFailedRunAsks: the question stands in the summary, in the
// operator's language, and the exit code says that nothing is left half-done.
func TestTheSummaryOfAFailedRunAsks(t *testing.T) {
	t.Parallel()
	for lang, want := range map[say.Lang]string{say.English: "move the role back", say.Chinese: "将主库切回"} {
		var out strings.Builder
		none := func(string) string { return "" }
		a := &app{getenv: none, screen: view.NewScreen(&out, io.Discard, lang, view.Human, none)}
		j := &job{session: &session{room: &room{app: a}}, trail: &run.Trail{Plan: &plan.Plan{Cluster: "prod"}}}
		sum := j.summary("apply", &run.Outcome{
			State: run.FailedState, Step: "db2/stop", Next: "resume",
			Err: &say.Problem{Text: say.F("it is the primary now", "该节点现在是主库"), Next: say.F("move the role back", "将主库切回")},
		})
		if err := a.screen.Summary(sum); err != nil {
			t.Fatal(err)
		}
		if sum.Exit != exitFailed || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "shiplift resume") {
			t.Errorf("exit %d:\n%s", sum.Exit, &out)
		}
	}
}
