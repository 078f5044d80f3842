package rehearse

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// rival is a second operator, who starts the tool on another machine while the
// first one works. The first one's machine stands still meanwhile.
type rival struct {
	at    int  // the command of the world before which they start
	waits bool // on another machine, they wait until the first one's lease has run out, and then go on with the run
	p     *player

	busy, came bool
	gone       bool     // the first operator: the second one has gone on with the run
	changed    []string // the nodes where the second operator has changed something
	took       *Story   // the run as the second operator has left it
	verdict    error
}

// operator is a process of an operator's; those before it on the same machine are dead.
func operator(host string) journal.Self {
	return journal.Self{
		Who: journal.Who{User: "dba", Host: host, PID: 7}, Boot: "boot-of-" + host, Start: 1,
		Alive: func(int, uint64) bool { return false },
	}
}

// lease takes the lease in the name of one of the operators.
func lease(ctx context.Context, w *World, records []journal.Record, who, doing string) (*journal.Lease, error) {
	var floor int64
	for i := range records {
		floor = max(floor, records[i].Fence)
	}
	return journal.Acquire(ctx, w.Env.Hosts, w.Env.Inventory, operator(who), doing,
		journal.LeaseOptions{Clock: w.Env.Clock, Serial: true, Floor: floor})
}

// come is asked before every command of the world. Before the first operator
// has the lease, or behind it, the second one finds nobody at work: the tool
// reads the journal again under the lease, which a story does not.
func (r *rival) come(pt sim.Point) error {
	if !pt.Before || r.busy || r.came || pt.N < r.at || r.p.now == nil || !r.p.story.holds {
		return nil
	}
	r.busy, r.came = true, true
	defer func() { r.busy = false }()
	ctx := context.Background()
	if !r.waits {
		r.verdict = r.refused(ctx)
		return nil
	}
	r.takeOver(ctx)
	return nil
}

// refused: while somebody works, a second operator is told who it is (I8).
func (r *rival) refused(ctx context.Context) error {
	w := r.p.world
	beside := operator("first") // another process of the same machine
	beside.PID, beside.Alive = 8, func(int, uint64) bool { return true }
	held, err := journal.Holder(ctx, w.Env.Hosts, w.Env.Inventory, beside, journal.LeaseOptions{Clock: w.Env.Clock, Serial: true})
	switch {
	case err != nil:
		return nil //nolint:nilerr // nothing could be learned of the nodes: then nobody begins either
	case held == nil:
		return errors.New("a second operator sees no lease while the first one works")
	case held.Who.Host != "first":
		return fmt.Errorf("a second operator is told that %s works", held.Who.Host)
	}
	return nil
}

// takeOver: the first operator's machine stands still until the lease has run
// out; the second one goes on with the run.
func (r *rival) takeOver(ctx context.Context) {
	w := r.p.world
	s := &Story{World: w, Plan: r.p.story.Plan, Log: &Memory{Records: slices.Clone(r.p.story.Log.Records)}, leaks: r.p.leaks, operator: "second"}
	_, err := s.Work(ctx, r.p.now.verb, nil)
	if errors.Is(err, errNoLease) {
		return // nodes did not answer: nobody begins
	}
	r.took, r.gone = s, true
}

var errNoLease = errors.New("no lease")

// spyHost notes what the first operator's tool still changes behind a
// take-over, on a node where the second one works.
type spyHost struct {
	host.Host
	r *rival
}

func (h *spyHost) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	res, err := h.Host.Run(ctx, c)
	if c.Effect == host.ReadOnly || err != nil || isLease(c) {
		return res, err
	}
	switch {
	case h.r.busy:
		h.r.changed = append(h.r.changed, h.Name())
	case h.r.took != nil && slices.Contains(h.r.changed, h.Name()):
		h.r.verdict = fmt.Errorf("the first operator changed %s behind the second one's back: %q", h.Name(), c.Argv)
	}
	return res, err
}

// isLease: giving the lease up, or asking for it, is no change of the cluster's.
func isLease(c host.Cmd) bool { return slices.Contains(c.Argv, journal.LeaseScript) }
