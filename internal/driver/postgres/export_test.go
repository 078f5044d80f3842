package postgres

import (
	"context"
	"strconv"

	"github.com/shiplift/shiplift/internal/driver"
)

// Rejoin takes the old primary in again.
func Rejoin(ctx context.Context, env driver.Env, from, to string) error {
	f, err := siteOf(env, from)
	if err != nil {
		return err
	}
	s, err := siteOf(env, to)
	if err != nil {
		return err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.makeSlot(ctx, from); err != nil {
		return err
	}
	if err := f.bringUp(ctx); err != nil {
		return err
	}
	return f.proveFollows(ctx, c, to, nil)
}

func itoa64(n uint64) string { return strconv.FormatUint(n, 10) }
