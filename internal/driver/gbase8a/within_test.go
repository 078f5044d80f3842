package gbase8a

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
)

// hanging is a machine whose commands never end by themselves.
type hanging struct{ host.Host }

func (hanging) Run(ctx context.Context, _ host.Cmd) (host.Result, error) {
	<-ctx.Done()
	return host.Result{}, context.Cause(ctx)
}

// clock lets exactly its own time pass in a Sleep.
type clock struct{ slept chan time.Duration }

func (clock) Now() time.Time { return time.Time{} }

func (c clock) Sleep(_ context.Context, d time.Duration) error {
	c.slept <- d
	return nil
}

// TestStatusCallsEndByTheRunsClock holds G29: nobody waits half a minute of
// real time where the run's clock says that it is over.
func TestStatusCallsEndByTheRunsClock(t *testing.T) {
	t.Parallel()
	c := clock{make(chan time.Duration, 4)}
	s := &site{Env: driver.Env{Hosts: host.Set{"db1": hanging{}}, Clock: c}, confs: map[string]conf{"db1": confOf(nil)}}
	_, err := s.gcadmin(t.Context(), "db1")
	var silent *SilentError
	if !errors.As(err, &silent) || silent.Wait != 30*time.Second || !errors.Is(err, errSilent) {
		t.Errorf("error %v", err)
	}
	if d := <-c.slept; d != 30*time.Second {
		t.Errorf("slept %s", d)
	}
	s.hurry()
	if _, err = s.gcadmin(t.Context(), "db1"); !errors.As(err, &silent) {
		t.Errorf("error %v", err)
	}
	if d := <-c.slept; d != firstLimit {
		t.Errorf("in a wait the first call slept %s", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = s.gcadmin(ctx, "db1"); errors.As(err, &silent) {
		t.Errorf("a run that was ended is no silent node: %v", err)
	}
}
