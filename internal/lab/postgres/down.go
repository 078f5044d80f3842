package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/say"
)

// Down takes the lab in dir away: its servers, its daemon, its files. It may
// be called again, works on a lab that was made or removed half-way and after
// a reboot, and refuses a directory that is not a lab's.
func Down(ctx context.Context, dir string) error {
	l, err := Open(dir)
	if errors.Is(err, lab.ErrNoLab) {
		return nil
	}
	if err != nil {
		return err
	}
	// The daemon first: through its ssh servers somebody could start a server again.
	if err := l.State.EndDaemon(ctx, l.clk); err != nil {
		return err
	}
	err = each(l.spec.Nodes, func(n Node) error { return l.server(n).destroy(ctx) })
	if err != nil {
		return fmt.Errorf("stop the lab's servers: %w", err)
	}
	if err := l.endStrays(ctx); err != nil {
		return err
	}
	return l.State.Remove(l.Dir)
}

// endStrays ends what still works inside the nodes' directories: a command
// that was run over ssh, or a server that was starting while we looked.
func (l *Lab) endStrays(ctx context.Context) error {
	var strays []lab.Process
	for _, p := range processesIn(l.nodeDirs()) {
		if p.PID == os.Getpid() {
			continue
		}
		if err := p.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		strays = append(strays, p)
	}
	return lab.WaitGone(ctx, l.clk, say.F("the end of what runs in the lab's directories", "演练环境目录内的进程结束"), 10*time.Second, strays...)
}
