package rehearse

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/wait"
)

// The bounds of a run: one that hangs is a failure like any other. The first
// two are the simulation's own, so the same seed fails the same way each time.
const (
	maxCommands = 50_000
	maxVirtual  = 10 * 24 * time.Hour
	maxReal     = 2 * time.Minute
)

// ErrEndless is why a run was ended that would not come to its end.
var ErrEndless = errors.New("the run hangs")

// bound ends a run behind so many commands or so much time of its world: from
// then on no command runs and no time goes by.
type bound struct {
	mu    sync.Mutex
	clock wait.Clock
	until time.Time
	left  int
	over  error
	ended func() // told when a bound is met; nil: nobody
}

// end notes which bound was met first.
func (b *bound) end(over error) {
	if b.over != nil {
		return
	}
	if b.over = over; b.ended != nil {
		b.ended()
	}
}

// bind puts the bounds around a world.
func bind(w *World) *bound {
	b := &bound{clock: w.Env.Clock, until: w.Env.Clock.Now().Add(maxVirtual), left: maxCommands}
	w.Env.Clock = boundClock{b}
	w.Env.Hosts = w.Env.Hosts.Wrap(func(h host.Host) host.Host { return &boundHost{h, b} })
	return b
}

// err tells whether a bound was met.
func (b *bound) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

func (b *bound) command() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left--; b.left < 0 {
		b.end(fmt.Errorf("%w: more than %d commands", ErrEndless, maxCommands))
	}
	return b.over
}

func (b *bound) time() error {
	now := b.clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.After(b.until) {
		b.end(fmt.Errorf("%w: it has taken %s", ErrEndless, maxVirtual))
	}
	return b.over
}

type boundHost struct {
	host.Host
	b *bound
}

func (h *boundHost) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if err := h.b.command(); err != nil {
		return host.Result{}, err
	}
	return h.Host.Run(ctx, c)
}

type boundClock struct{ b *bound }

func (c boundClock) Now() time.Time { return c.b.clock.Now() }

func (c boundClock) Sleep(ctx context.Context, d time.Duration) error {
	if err := c.b.time(); err != nil {
		return err
	}
	return c.b.clock.Sleep(ctx, d)
}

// virtual is the simulated room's own clock, whatever stands around it.
func virtual(w World) wait.Clock {
	if w.Sim != nil {
		return trueClock{w.Sim}
	}
	return w.Env.Clock
}

// trueClock tells the room's time, not the one that the tool reads: that may have been set.
type trueClock struct{ *sim.World }

func (c trueClock) Now() (t time.Time) {
	c.With(func() { t = c.Time() })
	return t
}
