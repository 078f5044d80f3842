package wait_test

import (
	"context"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// TestAWaitWithoutADeadlineIsRefused: it is an error before the first look (I9).
func TestAWaitWithoutADeadlineIsRefused(t *testing.T) {
	t.Parallel()
	err := wait.For(t.Context(), wait.Real{}, wait.Spec{What: say.F("x", "x")}, nil, func(context.Context) (wait.Look, error) {
		t.Error("it was looked at")
		return wait.Look{Done: true}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "has no deadline") {
		t.Errorf("got %v", err)
	}
}
