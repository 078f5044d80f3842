package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// stops hears Ctrl-C. While a run works, the run is asked to leave; at any
// other time the context ends.
type stops struct {
	signals chan os.Signal
	pipe    chan os.Signal
	cancel  context.CancelCauseFunc
	done    chan struct{}

	mu      sync.Mutex
	handler func()
}

// listen begins to hear signals until close.
func listen(ctx context.Context) (context.Context, *stops) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stops{signals: make(chan os.Signal, 4), pipe: make(chan os.Signal, 1), cancel: cancel, done: make(chan struct{})}
	signal.Notify(s.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A reader of our output that goes away (| head) must not end a run in the
	// middle; with a listener the write fails instead of the process.
	signal.Notify(s.pipe, syscall.SIGPIPE)
	go func() {
		defer close(s.done)
		for range s.signals {
			s.hear()
		}
	}()
	return ctx, s
}

func (s *stops) hear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handler != nil {
		s.handler()
		return
	}
	s.cancel(errInterrupted)
}

// during sends Ctrl-C to handler until the returned func is called.
func (s *stops) during(handler func()) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = handler
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.handler = nil
	}
}

func (s *stops) close() {
	signal.Stop(s.signals)
	signal.Stop(s.pipe)
	close(s.signals)
	<-s.done
	s.cancel(nil)
}
