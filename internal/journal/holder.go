package journal

import (
	"context"
	"errors"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
)

// Holder returns who works on the cluster now; nil when nobody does. It takes
// nothing and changes nothing. A holder on another machine that cannot be
// looked at is watched until its lease moves or has run out, as Acquire does.
// When no node answers, nobody knows: ErrNoAnswer.
func Holder(ctx context.Context, hosts host.Set, inv *cluster.Inventory, self Self, opt LeaseOptions) (*HeldError, error) {
	l := &Lease{hosts: hosts, inv: inv, self: self, opt: opt.withDefaults(), nodes: map[string]*leased{}, gone: map[string]bool{}}
	var order []string
	for _, n := range inv.Names() {
		if hosts[n] != nil {
			order = append(order, n)
			l.nodes[n] = &leased{}
		}
	}
	seen, err := l.look(ctx, order)
	switch {
	case err == nil && len(seen) == 0:
		err = ErrNoAnswer
	case err == nil:
		err = l.outlive(ctx, seen)
	}
	if held, ok := errors.AsType[*HeldError](err); ok {
		return held, nil
	}
	return nil, err
}
