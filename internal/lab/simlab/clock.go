package simlab

import (
	"context"
	"time"

	"github.com/shiplift/shiplift/internal/wait"
)

// NewClock is a clock for those who work on a lab of that speed: what they wait
// for takes as long as in the simulated world, not twenty times as long.
func NewClock(speed float64) wait.Clock { return clock{time.Now(), speed} }

type clock struct {
	start time.Time
	speed float64
}

func (c clock) Now() time.Time {
	return c.start.Add(time.Duration(float64(time.Since(c.start)) * c.speed))
}

func (c clock) Sleep(ctx context.Context, d time.Duration) error {
	return wait.Real{}.Sleep(ctx, time.Duration(float64(d)/c.speed))
}
