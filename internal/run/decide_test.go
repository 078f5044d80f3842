package run

import (
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
)

// TestGoingBackAStepOfUnknownStandingIsProbedFirst: I2 on the way back.
func TestGoingBackAStepOfUnknownStandingIsProbedFirst(t *testing.T) {
	t.Parallel()
	p := &plan.Plan{Steps: []plan.Step{{ID: "n1/a", Kind: "a", Node: "n1", Phase: plan.Apply, Class: plan.Reversible}}}
	for status, want := range map[Status]Deed{Doubt: Probe, Doing: Probe, Half: Undo, Undoing: Undo, Done: Undo} {
		trail := &Trail{Plan: p, Back: true, Steps: []StepTrail{{Status: status}}, index: map[string]int{"n1/a": 0}, needs: [][]int{nil}}
		d := Decide(trail, newSession(Options{}, 1))
		if len(d.Orders) != 1 || d.Orders[0].Deed != want {
			t.Errorf("%s: %+v, want %s", status, d, want)
		}
	}
}

// TestTheProofOfTheResultIsMadeAgain: what was proven before a crash does not count (I2, I6).
func TestTheProofOfTheResultIsMadeAgain(t *testing.T) {
	t.Parallel()
	if got, err := (verifyAction{}).Probe(t.Context(), driver.Target{}); got != driver.NotApplied || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}
