package rehearse

import (
	"net"
	"testing"
)

// TestTheGoodbyeOfABrokenConnectionIsNoPoint: it comes from a goroutine of its
// own, at no certain moment, and the same seed must play the same.
func TestTheGoodbyeOfABrokenConnectionIsNoPoint(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	d := &Death{}
	c := &mortalConn{Conn: here, d: d}
	go func() { _, _ = there.Read(make([]byte, 8)); _ = there.Close() }()
	if _, err := c.Write([]byte("question")); err != nil || d.Count() != 1 {
		t.Fatalf("a question is one point, not %d (%v)", d.Count(), err)
	}
	if _, err := c.Read(make([]byte, 8)); err == nil {
		t.Fatal("the connection did not end")
	}
	if _, err := c.Write([]byte("goodbye")); err == nil || d.Count() != 1 {
		t.Errorf("behind the goodbye %d points were counted (%v)", d.Count(), err)
	}
	other, far := net.Pipe()
	go func() { _, _ = far.Read(make([]byte, 16)) }()
	if _, err := (&mortalConn{Conn: other, d: d}).Write(append(cancels, 0, 0, 0, 1, 0, 0, 0, 1)); err != nil || d.Count() != 1 {
		t.Errorf("behind a request to cancel %d points were counted (%v)", d.Count(), err)
	}
	_, _, _ = far.Close(), here.Close(), other.Close()
}
