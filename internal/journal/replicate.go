package journal

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/wait"
)

// CopyOptions say how copies are kept.
type CopyOptions struct {
	Clock wait.Clock // for Serial: when a node that failed is asked again
	// Extra is the number of nodes beside the acting ones whose copies Barrier
	// waits for, up to ExtraWait (2s when 0).
	Extra     int
	ExtraWait time.Duration
	// Lag is how long lines that nobody waits for are collected before they go
	// out as one write; 1s when 0.
	Lag time.Duration
	// Serial starts no goroutine: Barrier writes the copies one after another,
	// the others follow with Flush.
	Serial bool
}

// Replicator keeps a copy of a journal on every node. A node that does not
// answer never holds the run up, unless the run acts on it.
type Replicator struct {
	j     *Journal
	run   string
	hosts host.Set
	inv   *cluster.Inventory
	opt   CopyOptions
	order []string
	slots chan struct{} // bounds the copies that nobody waits for

	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	copies  map[string]*nodeCopy
	changed chan struct{} // closed and made anew when a copy changes
}

// nodeCopy is what is known of one node's copy; Replicator.mu guards it.
type nodeCopy struct {
	work    copying // its worker's own
	acked   int64
	err     error // of the last attempt
	ended   int   // attempts
	busy    bool
	wanted  int64 // to be written now
	urgent  bool  // somebody waits for it
	retryAt time.Time
	pause   time.Duration
	poke    chan struct{}
}

// The pauses between attempts on a node that fails.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// Replicate keeps copies of j, the journal of run, on all nodes in hosts,
// which should be fenced (Lease.Hosts). Close ends it.
func Replicate(j *Journal, run string, hosts host.Set, inv *cluster.Inventory, opt CopyOptions) *Replicator {
	opt.ExtraWait = cmp.Or(opt.ExtraWait, 2*time.Second)
	opt.Lag = cmp.Or(opt.Lag, time.Second)
	if opt.Clock == nil {
		opt.Clock = wait.Real{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Replicator{
		j: j, run: run, hosts: hosts, inv: inv, opt: opt, cancel: cancel,
		copies: map[string]*nodeCopy{}, changed: make(chan struct{}), slots: make(chan struct{}, 16),
	}
	for _, n := range inv.Names() {
		if hosts[n] == nil {
			continue
		}
		r.order = append(r.order, n)
		c := &nodeCopy{work: copying{r: r, node: n}, poke: make(chan struct{}, 1)}
		r.copies[n] = c
		if !opt.Serial {
			r.done.Go(func() { r.follow(ctx, c) })
		}
	}
	if !opt.Serial {
		j.watch(r.pokeAll)
	}
	return r
}

// Append makes the records durable in the journal; the copies follow.
func (r *Replicator) Append(ctx context.Context, rs ...Record) error { return r.j.Append(ctx, rs...) }

// Journal returns the journal that is copied.
func (r *Replicator) Journal() *Journal { return r.j }

// Barrier returns when the copies on the acting nodes hold all that was
// appended before. An acting node that cannot store it is an error that names
// the node. It also waits a short while for the extra copies, so that the loss
// of the control machine and one node together loses nothing.
func (r *Replicator) Barrier(ctx context.Context, acting ...string) error {
	target := r.j.Size()
	if r.opt.Serial {
		return r.barrierSerial(ctx, target, acting)
	}
	limit := time.NewTimer(r.opt.ExtraWait)
	defer limit.Stop()
	b := &barrier{r: r, target: target, acting: acting, from: r.attempts()}
	patient := true
	for {
		done, changed, err := b.look(patient)
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-limit.C:
			patient = false
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// barrier is one call of Barrier.
type barrier struct {
	r      *Replicator
	target int64
	acting []string
	from   map[string]int // attempts that do not count: they began before
}

// look reports whether the wait is over, and asks for what is missing.
func (b *barrier) look(patient bool) (done bool, changed <-chan struct{}, err error) {
	r := b.r
	r.mu.Lock()
	defer r.mu.Unlock()
	done = true
	for _, n := range b.acting {
		c := r.copies[n]
		switch {
		case c == nil || c.acked >= b.target:
		case c.err != nil && c.ended > b.from[n]:
			return false, nil, copyProblem(n, c.err)
		default:
			c.want(b.target)
			done = false
		}
	}
	if patient && !b.extras() {
		done = false
	}
	return done, r.changed, nil
}

// extras reports whether enough other copies are there or none can be hoped for.
func (b *barrier) extras() bool {
	missing := b.r.opt.Extra
	var hope []*nodeCopy
	for _, n := range b.r.order {
		c := b.r.copies[n]
		switch {
		case slices.Contains(b.acting, n):
		case c.acked >= b.target:
			missing--
		case c.err == nil:
			hope = append(hope, c)
		}
	}
	if missing <= 0 || len(hope) == 0 {
		return true
	}
	for _, c := range hope[:min(missing, len(hope))] {
		c.want(b.target)
	}
	return false
}

func (c *nodeCopy) want(target int64) {
	c.wanted, c.urgent = max(c.wanted, target), true
	c.wake()
}

func (c *nodeCopy) wake() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// attempts returns how many attempts of each node are too early to tell
// anything about lines appended now.
func (r *Replicator) attempts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := map[string]int{}
	for name, c := range r.copies {
		n[name] = c.ended
		if c.busy {
			n[name]++
		}
	}
	return n
}

func (r *Replicator) pokeAll() {
	for _, c := range r.copies {
		c.wake()
	}
}

// follow is the worker of one node: it writes at once what somebody waits for,
// and the rest after a while.
func (r *Replicator) follow(ctx context.Context, c *nodeCopy) {
	for ctx.Err() == nil {
		delay := r.delay(c)
		if delay == 0 {
			if free := r.slot(ctx, c); free != nil {
				r.attempt(ctx, c)
				free()
			}
			continue
		}
		var later <-chan time.Time
		stop := func() bool { return true }
		if delay > 0 {
			t := time.NewTimer(delay)
			later, stop = t.C, t.Stop
		}
		select {
		case <-ctx.Done():
		case <-c.poke:
		case <-later:
			r.due(c)
		}
		stop()
	}
}

// slot waits for a place among those that write a copy nobody waits for, so
// that a journal goes out to a thousand nodes a few at a time. It returns nil
// when ctx has ended.
func (r *Replicator) slot(ctx context.Context, c *nodeCopy) (free func()) {
	for {
		r.mu.Lock()
		urgent := c.urgent
		r.mu.Unlock()
		if urgent {
			return func() {}
		}
		select {
		case r.slots <- struct{}{}:
			return func() { <-r.slots }
		case <-c.poke:
		case <-ctx.Done():
			return nil
		}
	}
}

// delay says when the next attempt is due: 0 now, negative when the copy is complete.
func (r *Replicator) delay(c *nodeCopy) time.Duration {
	size := r.j.Size()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opt.Clock.Now()
	switch {
	case c.acked >= size:
		c.retryAt = time.Time{}
		return -1
	case c.wanted > c.acked:
		return 0
	case c.retryAt.IsZero():
		c.retryAt = now.Add(r.opt.Lag)
	}
	return max(c.retryAt.Sub(now), 1)
}

// due makes the next attempt one that is wanted now.
func (r *Replicator) due(c *nodeCopy) {
	size := r.j.Size()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.opt.Clock.Now().Before(c.retryAt) {
		c.wanted = size
	}
}

// attempt brings the copy up to date and tells those who wait.
func (r *Replicator) attempt(ctx context.Context, c *nodeCopy) {
	r.mu.Lock()
	c.busy = true
	r.mu.Unlock()
	err := c.work.catchUp(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.busy = false
	c.ended++
	c.err = err
	if c.work.known {
		c.acked = c.work.acked
	} else {
		c.acked = 0
	}
	c.wanted, c.urgent, c.retryAt = 0, false, time.Time{}
	if err == nil {
		c.pause = 0
	} else {
		c.pause = min(max(2*c.pause, firstPause), lastPause)
		c.retryAt = r.opt.Clock.Now().Add(c.pause)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Replicator) barrierSerial(ctx context.Context, target int64, acting []string) error {
	for _, n := range acting {
		c := r.copies[n]
		if c == nil || c.acked >= target {
			continue
		}
		if r.attempt(ctx, c); c.err != nil {
			return copyProblem(n, c.err)
		}
	}
	missing := r.opt.Extra
	for _, n := range r.order {
		c := r.copies[n]
		if missing <= 0 || slices.Contains(acting, n) {
			continue
		}
		if c.acked < target && !r.opt.Clock.Now().Before(c.retryAt) {
			r.attempt(ctx, c)
		}
		if c.acked >= target {
			missing--
		}
	}
	return nil
}

// Flush brings all copies up to date that can be within a while, and returns
// the nodes that are behind.
func (r *Replicator) Flush(ctx context.Context, within time.Duration) (behind []string) {
	target := r.j.Size()
	if r.opt.Serial {
		for _, n := range r.order {
			if r.copies[n].acked < target {
				r.attempt(ctx, r.copies[n])
			}
		}
		return r.behind(target)
	}
	limit := time.NewTimer(within)
	defer limit.Stop()
	from := r.attempts()
	for {
		r.mu.Lock()
		pending := false
		for n, c := range r.copies {
			if c.acked < target && (c.err == nil || c.ended <= from[n]) {
				c.want(target)
				pending = true
			}
		}
		changed := r.changed
		r.mu.Unlock()
		if !pending {
			return r.behind(target)
		}
		select {
		case <-changed:
		case <-limit.C:
			return r.behind(target)
		case <-ctx.Done():
			return r.behind(target)
		}
	}
}

func (r *Replicator) behind(target int64) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, n := range r.order {
		if r.copies[n].acked < target {
			names = append(names, n)
		}
	}
	return names
}

// Trouble returns why each node's last attempt failed; nil for a node where it did not.
func (r *Replicator) Trouble() map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]error{}
	for n, c := range r.copies {
		if c.err != nil {
			out[n] = c.err
		}
	}
	return out
}

// Close ends the workers and waits for them. Lines that are not on a node yet
// stay missing there: Flush before.
func (r *Replicator) Close() {
	r.cancel()
	r.done.Wait()
}
