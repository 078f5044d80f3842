package meter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// How long a writer waits before it tries to connect again: short, because
// what it measures is the cluster and not its own patience.
const (
	minBackoff = time.Millisecond
	maxBackoff = 5 * time.Millisecond
)

// writer writes rows until ctx ends, over one connection at a time.
func (m *Meter) writer(ctx context.Context, client int) {
	for ctx.Err() == nil {
		c, err := m.connect(ctx)
		if err != nil {
			if c = m.await(ctx); c == nil {
				continue
			}
		}
		m.writeOn(ctx, c, client)
		closeNow(c)
	}
}

func (m *Meter) connect(ctx context.Context) (*pgx.Conn, error) {
	c, err := pgx.ConnectConfig(ctx, m.writable())
	if err != nil && ctx.Err() == nil {
		m.errs.add("connect", err)
	}
	return c, err
}

// await waits until a server takes writes. Of all writers one looks for it at
// a time, as in an application's pool: what all of them would ask of the
// servers together would be part of what is measured. The one that looked gets
// its connection, the others nil: they know that it is worth while to try.
func (m *Meter) await(ctx context.Context) (found *pgx.Conn) {
	_, _, _ = m.seek.Do("writable", func() (any, error) {
		for backoff := minBackoff; ctx.Err() == nil && found == nil; backoff = min(2*backoff, maxBackoff) {
			pause(ctx, backoff)
			found, _ = m.connect(ctx)
		}
		return nil, nil
	})
	return found
}

// writeOn writes rows until the connection cannot be used any more.
func (m *Meter) writeOn(ctx context.Context, c *pgx.Conn, client int) {
	insert := "INSERT INTO " + m.table() + " (client, seq, sent) VALUES ($1, $2, now())"
	for ctx.Err() == nil {
		if !m.write(ctx, c, client, insert) {
			return
		}
		if m.cfg.Pause > 0 {
			pause(ctx, m.cfg.Pause)
		}
	}
}

// write writes one row and settles it in the ledger. A write that is under way
// when ctx ends is finished: whatever can have an answer shall have it.
func (m *Meter) write(ctx context.Context, c *pgx.Conn, client int, insert string) (again bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.WriteTimeout)
	defer cancel()
	row := m.ledger.Send(client)
	sent := time.Now()
	_, err := c.Exec(ctx, insert, row.Client, row.Seq)
	now := time.Now()
	if err == nil {
		m.ledger.Settle(row, Acknowledged)
		m.line.ack(now, now.Sub(sent))
		return true
	}
	m.ledger.Settle(row, outcome(err))
	m.errs.add("write", err)
	return false // another server may take writes now
}

// outcome says what an error tells about the row. Only an ERROR of the server
// is a refusal: a FATAL may come after the commit, while the server waited for
// a synchronous standby and was stopped.
func outcome(err error) Outcome {
	var pe *pgconn.PgError
	if errors.As(err, &pe) && (pe.SeverityUnlocalized == "ERROR" || pe.SeverityUnlocalized == "" && pe.Severity == "ERROR") {
		return Refused
	}
	if pgconn.SafeToRetry(err) {
		return Refused // nothing was sent
	}
	return Unknown
}

// mustWrite refuses a server that takes no writes.
func mustWrite(ctx context.Context, c *pgconn.PgConn) error {
	return pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, c)
}

// closeNow closes a connection without waiting for the server's good-bye.
func closeNow(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = c.Close(ctx)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// ErrorCount is how often one kind of error was seen.
type ErrorCount struct {
	When  string `json:"when"` // connect or write
	Class string `json:"class"`
	Count int64  `json:"count"`
	First string `json:"first"` // the first one, in full
}

// errorCounts counts errors by kind.
type errorCounts struct {
	mu     sync.Mutex
	byKind map[[2]string]*ErrorCount
	latest string
	n      int64
}

func (e *errorCounts) add(when string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	class := classOf(err)
	e.latest = class
	e.n++
	key := [2]string{when, class}
	if e.byKind == nil {
		e.byKind = map[[2]string]*ErrorCount{}
	}
	if e.byKind[key] == nil {
		e.byKind[key] = &ErrorCount{When: when, Class: class, First: err.Error()}
	}
	e.byKind[key].Count++
}

func (e *errorCounts) total() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

func (e *errorCounts) last() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.latest
}

func (e *errorCounts) list() []ErrorCount {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []ErrorCount
	for _, c := range e.byKind {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.When, b.When), cmp.Compare(a.Class, b.Class))
	})
	return out
}

// classOf names the kind of an error: the server's SQLSTATE where it said one.
func classOf(err error) string {
	var pe *pgconn.PgError
	var ne net.Error
	switch {
	case errors.As(err, &pe):
		return fmt.Sprintf("SQLSTATE %s", pe.Code)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection lost"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return "no answer in time"
	default:
		return "no writable server"
	}
}
