package postgres

import (
	"context"
	"strconv"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
)

// ReferenceSwitch is what a careful operator scripts: checkpoint, a fast stop,
// pg_promote.
func ReferenceSwitch(ctx context.Context, env driver.Env, from, to string) error {
	f, err := siteOf(env, from)
	if err != nil {
		return err
	}
	s, err := siteOf(env, to)
	if err != nil {
		return err
	}
	fc, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer fc.close()
	tc, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer tc.close()
	if err := fc.alter(ctx, "primary_conninfo", "host=127.0.0.1 port="+s.Port+" user=replicator application_name="+from+" passfile="+passfile(ctx, tc, fc)); err != nil {
		return err
	}
	if err := fc.checkpoint(ctx, f.StopWait); err != nil {
		return err
	}
	if _, err := f.run(ctx, host.Change(f.stopArgv()...)); err != nil {
		return err
	}
	if _, err := tc.table(ctx, "promote", "select pg_promote()"); err != nil {
		return err
	}
	return f.change(ctx, []string{"touch", f.signal()})
}

func passfile(ctx context.Context, conns ...*conn) string {
	for _, c := range conns {
		if ci, _, err := c.conninfo(ctx); err == nil && ci.get("passfile") != "" {
			return ci.get("passfile")
		}
	}
	return ""
}

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
