package rehearse

import (
	"context"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/wait"
)

// Clock is a clock whose Sleep returns at once and moves the time on.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

var _ wait.Clock = (*Clock)(nil)

// NewClock returns a clock that starts at a fixed moment.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC)} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Sleep moves the time on by d.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return nil
}
