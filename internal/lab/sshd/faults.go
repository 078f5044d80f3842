package sshd

import (
	"net"
	"sync"
	"time"
)

// faults is what is wrong with the link on purpose.
type faults struct {
	mu      sync.Mutex
	conns   map[*wire]struct{}
	refuse  bool
	frozen  chan struct{} // not nil: nothing comes through until it is closed
	latency time.Duration
	made    int // connections
	ran     int
	before  int // the command at whose start the connection is dropped
	after   int // the command whose answer is lost

	closed bool
	work   sync.WaitGroup // what is carried over the connections
}

// begin counts one more piece of work, unless the server is closing.
func (f *faults) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.work.Add(1)
	return true
}

func (f *faults) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cut()
	f.work.Wait()
}

// Cut drops all connections and takes no new ones, as when the machine is off
// the network. Commands that run lose their channel.
func (s *Server) Cut() { s.faults.cut() }

// Restore takes connections again and undoes Freeze.
func (s *Server) Restore() {
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = false
	if f.frozen != nil {
		close(f.frozen)
		f.frozen = nil
	}
}

// Freeze lets the connections stand and nothing pass, as when a machine loses
// its power: no one tells the other side.
func (s *Server) Freeze() {
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen == nil {
		f.frozen = make(chan struct{})
	}
}

// Drop drops the connection of whoever asks, without Cut's refusal: once.
func (s *Server) Drop() {
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		_ = c.Conn.Close()
	}
}

// DropAfter drops the connection after the n-th command from now has run, so
// that its answer is lost. 1 is the next one, 0 none.
func (s *Server) DropAfter(n int) {
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = 0
	if n > 0 {
		f.after = f.ran + n
	}
}

// DropBefore drops the connection before the n-th command from now runs. To
// whoever asked it looks the same as DropAfter.
func (s *Server) DropBefore(n int) {
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = 0
	if n > 0 {
		f.before = f.ran + n
	}
}

// Latency holds back everything that comes in for d.
func (s *Server) Latency(d time.Duration) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.latency = d
}

// Commands is how many commands were asked for so far.
func (s *Server) Commands() int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return s.faults.ran
}

// Connections is how many connections were made so far.
func (s *Server) Connections() int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return s.faults.made
}

func (f *faults) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = true
	for c := range f.conns {
		_ = c.Conn.Close()
	}
	if f.frozen != nil {
		close(f.frozen)
		f.frozen = nil
	}
}

func (f *faults) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ran++
	return f.ran
}

func (f *faults) dropBefore(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return n == f.before
}

func (f *faults) dropAfter(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return n == f.after
}

// accept returns nil for a connection that is not taken.
func (f *faults) accept(c net.Conn) net.Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse {
		return nil
	}
	f.made++
	w := &wire{Conn: c, faults: f}
	if f.conns == nil {
		f.conns = make(map[*wire]struct{})
	}
	f.conns[w] = struct{}{}
	return w
}

// wire is one connection with its faults.
type wire struct {
	net.Conn
	faults *faults
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	frozen, latency := w.state()
	if frozen != nil {
		<-frozen
	}
	if latency > 0 {
		time.Sleep(latency)
	}
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	if frozen, _ := w.state(); frozen != nil {
		<-frozen
	}
	return w.Conn.Write(b)
}

func (w *wire) state() (chan struct{}, time.Duration) {
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	return w.faults.frozen, w.faults.latency
}

func (w *wire) Close() error {
	w.faults.mu.Lock()
	delete(w.faults.conns, w)
	w.faults.mu.Unlock()
	return w.Conn.Close()
}
