package rehearse

import (
	"errors"
	"testing"
)

// TestARunThatCannotBeginIsAnErrorAndNoPanic: a plan that is refused, say.
func TestARunThatCannotBeginIsAnErrorAndNoPanic(t *testing.T) {
	t.Parallel()
	p, err := Play(t.Context(), Case{Name: "none", Open: func(uint64) (World, error) { return World{}, errors.New("no cluster") }}, 1)
	if err == nil {
		t.Fatal("it was played")
	}
	if p.Tell() != "" {
		t.Errorf("it tells %q", p.Tell())
	}
}
