// Package bench measures Shiplift against what people do without it.
package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/meter"
)

// settledRows is how many writes must have come through after a switchover
// before it counts as over.
const settledRows = 50

// Interruption lets do switch the primary under the meter's load and returns
// the longest time without an acknowledged write.
func Interruption(ctx context.Context, m *meter.Meter, do func(context.Context) error) (time.Duration, error) {
	if err := m.AwaitRows(ctx, settledRows); err != nil { // the load runs before
		return 0, err
	}
	m.Mark("switchover")
	if err := do(ctx); err != nil {
		return 0, err
	}
	if err := m.AwaitRows(ctx, settledRows); err != nil {
		return 0, err
	}
	return m.Mark("between").Longest, nil
}

// Reference is the switchover that a careful operator scripts, on a lab of two
// nodes: checkpoint, so that the stop has little to write; a fast stop, which
// sends everything to the standby before it ends; promote. It returns the
// interruption, and afterwards the old primary follows the new one.
func Reference(ctx context.Context, l *postgres.Lab, m *meter.Meter) (time.Duration, error) {
	from, others, err := l.Primary(ctx)
	if err != nil {
		return 0, err
	}
	if len(others) != 1 {
		return 0, fmt.Errorf("the reference switches between two nodes, not %d", len(others)+1)
	}
	to := others[0]
	gap, err := Interruption(ctx, m, func(ctx context.Context) error {
		if err := statement(ctx, l, from, "CHECKPOINT"); err != nil {
			return err
		}
		if err := l.Break(ctx, from, postgres.StopServer); err != nil {
			return err
		}
		return statement(ctx, l, to, "SELECT pg_promote()")
	})
	if err != nil {
		return 0, fmt.Errorf("reference switchover %s → %s: %w", from, to, err)
	}
	if err := l.Follow(ctx, from, to); err != nil {
		return 0, fmt.Errorf("rejoin %s: %w", from, err)
	}
	return gap, l.AwaitStreaming(ctx)
}

func statement(ctx context.Context, l *postgres.Lab, node, sql string) error {
	c, err := l.Connect(ctx, node, postgres.Superuser)
	if err != nil {
		return err
	}
	defer func(c *pgx.Conn) { _ = c.Close(context.WithoutCancel(ctx)) }(c)
	if _, err := c.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %s: %w", node, sql, err)
	}
	return nil
}
