package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

func TestExitOf(t *testing.T) {
	t.Parallel()
	wrapped := func(err error) error { return fmt.Errorf("while working: %w", err) }
	tests := map[string]struct {
		err  error
		want int
	}{
		"no error":                           {nil, 0},
		"nothing to do":                      {wrapped(&driver.NothingToDoError{}), 0},
		"any error":                          {errors.New("x"), 1},
		"wrong usage":                        {wrapped(&usageError{errors.New("x")}), 2},
		"a plan for another cluster":         {wrapped(&plan.OtherClusterError{}), 2},
		"a damaged journal":                  {wrapped(&journal.DamageError{}), 3},
		"histories that went different ways": {wrapped(&journal.DivergedError{}), 3},
		"a stale plan":                       {wrapped(&plan.StaleError{}), 4},
		"checks forbid it":                   {&errBlocked{}, 5},
		"a refusal":                          {wrapped(&driver.RefusalError{}), 5},
		"a lease that is held":               {wrapped(&journal.HeldError{}), 6},
		"a lease that is lost":               {wrapped(journal.ErrLost), 6},
		"a fence":                            {wrapped(host.ErrFenced), 6},
		"Ctrl-C":                             {wrapped(errInterrupted), 130},
		"Ctrl-C twice":                       {wrapped(run.ErrCancelled), 130},
		"a lost lease ends a context":        {errors.Join(journal.ErrLost, context.Canceled), 6},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := exitOf(tc.err); got != tc.want {
				t.Errorf("exit %d, want %d", got, tc.want)
			}
		})
	}
}

func TestExitOfOutcome(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		out  run.Outcome
		want int
	}{
		"upgraded":                       {run.Outcome{State: run.Upgraded, Gate: plan.CommitGate}, 0},
		"committed":                      {run.Outcome{State: run.Committed}, 0},
		"rolled back":                    {run.Outcome{State: run.RolledBack}, 0},
		"waiting at a gate":              {run.Outcome{State: run.Interrupted, Gate: "soak"}, 7},
		"interrupted":                    {run.Outcome{State: run.Interrupted}, 130},
		"stopped because the lease went": {run.Outcome{State: run.Interrupted, Err: journal.ErrLost}, 6},
		"failed":                         {run.Outcome{State: run.FailedState, Err: errors.New("x")}, 1},
		"failed, and somebody must look": {run.Outcome{State: run.FailedState, NeedsPerson: true}, 3},
		"failed since another took over": {run.Outcome{State: run.FailedState, Err: host.ErrFenced}, 6},
		"what no process leaves behind":  {run.Outcome{State: run.Running}, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := exitOfOutcome(&tc.out); got != tc.want {
				t.Errorf("exit %d, want %d", got, tc.want)
			}
		})
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		typed string
		yes   bool
		want  int
	}{
		"yes goes on":              {typed: "yes\n", want: 0},
		"Chinese yes goes on":      {typed: "是\n", want: 0},
		"no stops":                 {typed: "no\n", want: 1},
		"a slip stops":             {typed: "yess\n", want: 1},
		"an empty answer stops":    {typed: "\n", want: 1},
		"nobody there":             {typed: "", want: 2},
		"--yes answers beforehand": {typed: "no\n", yes: true, want: 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, talk bytes.Buffer
			_, stops := listen(t.Context())
			defer stops.close()
			a := &app{stdin: strings.NewReader(tc.typed), stops: stops, screen: view.NewScreen(&out, &talk, say.English, view.Human, func(string) string { return "" })}
			a.flags.yes = tc.yes
			if got := exitOf(a.confirm(say.F("go?", "执行？"))); got != tc.want {
				t.Errorf("exit %d, want %d", got, tc.want)
			}
			if out.Len() > 0 {
				t.Errorf("a question went to standard output: %q", out.String())
			}
		})
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"p.json": "p.json", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(x)": "'$(x)'"} {
		if got := quote(word); got != want {
			t.Errorf("%q is quoted as %s, want %s", word, got, want)
		}
	}
}
