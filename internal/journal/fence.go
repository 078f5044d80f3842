package journal

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// Fenced wraps h so that a command that may change the machine runs only while
// leaseFile on the machine is held under fence; when it is not, Run returns an
// error that wraps host.ErrFenced and the command did not start. Commands that
// only read pass through (invariant I8).
func Fenced(h host.Host, leaseFile string, fence int64) host.Host {
	return &fenced{Host: h, file: leaseFile, fence: fence}
}

type fenced struct {
	host.Host
	file  string
	fence int64
}

func (f *fenced) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	if c.Effect == host.ReadOnly {
		return f.Host.Run(ctx, c)
	}
	argv := c.Argv
	c.Argv = slices.Concat([]string{"sh", "-c", FenceScript, "shiplift-fence", f.file, strconv.FormatInt(f.fence, 10)}, argv)
	res, err := f.Host.Run(ctx, c)
	var ee *host.ExitError
	if !errors.As(err, &ee) {
		return res, err
	}
	if ee.Code == fenceStatus && bytes.Contains(ee.Stderr, []byte(fenceMark)) {
		return res, say.Errorf("%s: %w (fence %d)", "%s：%w（隔离号 %d）", f.Name(), host.ErrFenced, f.fence)
	}
	bare := *ee
	bare.Argv = argv // the person asked for the command, not for the fence around it
	return res, &bare
}
