// Package pipe takes the output of a command whole, and does not wait for ever
// for what the command has left in the background with its output still open.
package pipe

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Pipe is one output of a command.
type Pipe struct {
	// W is the command's end. Whoever starts the command closes it behind the
	// start: until then no end of the output can be seen.
	W *os.File

	r     *os.File
	ended atomic.Bool
}

// New makes a pipe.
func New() (*Pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &Pipe{W: w, r: r}, nil
}

// Ended says that the command has ended. Output of others that hold the pipe
// open is taken for another grace.
func (p *Pipe) Ended(grace time.Duration) {
	p.ended.Store(true)
	_ = p.r.SetReadDeadline(time.Now().Add(grace))
}

// Close gives both ends back.
func (p *Pipe) Close() {
	_ = p.W.Close()
	_ = p.r.Close()
}

// CopyTo copies to w until the output ends, or until the grace after Ended is
// over. All that was written before Ended reaches w, however late this
// goroutine comes to run and however slow w is. Where w fails, the rest is read
// and dropped: the command must not block on a link that is gone.
func (p *Pipe) CopyTo(w io.Writer) error {
	_, err := io.Copy(w, p.r)
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && p.ended.Load() {
		return p.rest(w)
	}
	_, _ = io.Copy(io.Discard, p.r)
	return err
}

// most is more than a pipe holds (pipe-max-size of Linux).
const most = 1 << 20

// rest copies what lies in the pipe at this moment. A read after a deadline
// fails without a look at the pipe: on a busy machine the deadline can pass
// before the first read, and with it the whole output.
func (p *Pipe) rest(w io.Writer) error {
	if err := p.r.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	raw, err := p.r.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for copied := 0; copied < most; { // somebody in the background may go on writing
		var n int
		var rerr error
		if err := raw.Read(func(fd uintptr) bool { n, rerr = syscall.Read(int(fd), buf); return true }); err != nil {
			return err
		}
		switch {
		case errors.Is(rerr, syscall.EINTR):
			continue
		case errors.Is(rerr, syscall.EAGAIN):
			return nil
		case rerr != nil:
			return rerr
		case n == 0:
			return nil
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		copied += n
	}
	return nil
}
