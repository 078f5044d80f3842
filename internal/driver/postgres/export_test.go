package postgres

import (
	"context"
	"fmt"
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

// ControlWords are the fields of a control file in the words of the server's
// own functions pg_control_system, _checkpoint, _init and _recovery.
func ControlWords(b []byte) (string, error) {
	c, err := parseControl(b)
	return fmt.Sprintf("%d %d %d %s %s %d %s %d %d %d %d", c.SystemID, c.Version, c.Catalog, c.Checkpoint, c.Redo, c.Timeline, c.MinRecovery, c.MinRecoverTLI, c.BlockSize, c.SegmentSize, c.ChecksumsMode), err
}

func itoa64(n uint64) string { return strconv.FormatUint(n, 10) }
