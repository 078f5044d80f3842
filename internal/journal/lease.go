package journal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// ErrLost is the cause of a context whose lease ended: it could not be renewed
// in time, or another operator has taken a node over.
var ErrLost = say.Errorf("the lease is lost", "租约已丢失")

// ErrNoAnswer says that no node could be asked for its lease: whether somebody
// works on the cluster is not known.
var ErrNoAnswer = say.Errorf("no node answers", "没有节点应答")

// DefaultTTL is how long a lease outlives its last renewal.
const DefaultTTL = 15 * time.Second

// HeldError says that another operator works on the cluster.
type HeldError struct {
	Who   Who
	Since time.Time
	Doing string
	Node  string // where the lease was found; empty: this control machine
}

// Unwrap returns the sentence with its next step.
func (e *HeldError) Unwrap() error {
	since := e.Since.UTC().Format(time.RFC3339)
	return &say.Problem{
		Place: e.Node,
		Text: say.F("%s on %s (process %d) works on this cluster since %s: %s",
			"%s 在 %s（进程 %d）上自 %s 起正在操作该集群：%s", e.Who.User, e.Who.Host, e.Who.PID, since, e.Doing),
		Next: say.F("wait until it has ended, or look at it: shiplift status", "等待其结束，或查看进展：shiplift status"),
	}
}

func (e *HeldError) Error() string { return e.Unwrap().Error() }

// Say tells who holds the lease, since when and for what.
func (e *HeldError) Say() say.Text { return say.Of(e.Unwrap()) }

// grant is the line in a lease file. Fence and Held come first: FenceScript
// looks at how the line begins. A released lease keeps its fence, so that the
// next one is greater.
type grant struct {
	Fence    int64     `json:"fence"`
	Held     bool      `json:"held"`
	Renewals int64     `json:"renewals"`
	TTL      int64     `json:"ttl_ms"`
	Who      Who       `json:"who"`
	Boot     string    `json:"boot"`
	Start    uint64    `json:"start"`
	Since    time.Time `json:"since"`
	Doing    string    `json:"doing"`
}

func (g grant) line() string {
	b, err := json.Marshal(g)
	if err != nil {
		panic(err) // it holds nothing but numbers and strings
	}
	return string(b)
}

// holder is who holds a lease, the same on all nodes and at all renewals.
func (g grant) holder() string {
	return fmt.Sprintf("%s@%s/%d/%s/%d/%d", g.Who.User, g.Who.Host, g.Who.PID, g.Boot, g.Start, g.Since.UnixNano())
}

func (g grant) heldError(node string) error {
	return &HeldError{Who: g.Who, Since: g.Since, Doing: g.Doing, Node: node}
}

// LeaseOptions are the rules of a lease.
type LeaseOptions struct {
	Clock wait.Clock
	TTL   time.Duration // DefaultTTL when 0
	Drain time.Duration // how long commands of an earlier holder are awaited; 2 minutes when 0
	// Floor is a fencing number that was seen elsewhere, e.g. the last one of
	// the journal; the lease's own is greater.
	Floor int64
	// Serial drives the nodes one after another and starts no goroutine: the
	// lease is renewed by the commands that go through Hosts.
	Serial bool
	Report func(say.Text) // what is waited for
}

func (o LeaseOptions) withDefaults() LeaseOptions {
	o.TTL = cmp.Or(o.TTL, DefaultTTL)
	o.Drain = cmp.Or(o.Drain, 2*time.Minute)
	if o.Report == nil {
		o.Report = func(say.Text) {}
	}
	return o
}

// patience is how long the work goes on without a renewal. It is shorter than
// TTL: the work must have stopped before another may begin.
func (o LeaseOptions) patience() time.Duration { return o.TTL * 4 / 5 }

// leaseTimeout bounds one look at a lease or one change of it. A node that
// hangs must not use up the time in which the others are renewed.
func (o LeaseOptions) leaseTimeout() time.Duration { return max(o.TTL/3, time.Second) }

// Lease is the right to work on a cluster. It is safe for use by several goroutines.
type Lease struct {
	hosts host.Set
	inv   *cluster.Inventory
	self  Self
	doing string
	since time.Time
	opt   LeaseOptions

	mu     sync.Mutex
	fence  int64
	nodes  map[string]*leased
	gone   map[string]bool // holders that were found gone
	fresh  time.Time       // when the last successful renewal began
	lost   error
	cancel context.CancelCauseFunc // of the work that Hold runs
}

// leased is the lease on one node; mu keeps its changes in order.
type leased struct {
	mu    sync.Mutex
	grant grant
	taken bool
}

// LeaseFile returns the path of a node's lease.
func LeaseFile(inv *cluster.Inventory, node string) string {
	return path.Join(StateDir(inv, node), "lease")
}

// StateDir returns where Shiplift keeps its own files on a node.
func StateDir(inv *cluster.Inventory, node string) string {
	if n, ok := inv.Node(node); ok && n.StateDir != "" {
		return n.StateDir
	}
	return path.Join(".shiplift", inv.Cluster, node)
}

// Acquire takes the lease on every node that answers, under a fencing number
// greater than any that was seen. A live holder is a *HeldError. A holder is
// gone when its process on this machine is gone, or when it has not renewed for
// its time to live, measured on our own clock.
func Acquire(ctx context.Context, hosts host.Set, inv *cluster.Inventory, self Self, doing string, opt LeaseOptions) (*Lease, error) {
	opt = opt.withDefaults()
	l := &Lease{
		hosts: hosts, inv: inv, self: self, doing: strings.ToValidUTF8(doing, "?"), opt: opt,
		since: opt.Clock.Now().UTC().Round(0), fence: opt.Floor,
		nodes: map[string]*leased{}, gone: map[string]bool{},
	}
	var order []string
	for _, n := range inv.Names() {
		if hosts[n] != nil {
			order = append(order, n)
			l.nodes[n] = &leased{}
		}
	}
	err := l.acquire(ctx, order)
	if err == nil {
		err = l.drain(ctx, l.Nodes())
	}
	if err != nil {
		return nil, first(err, l.release(ctx))
	}
	return l, nil
}

func noLease() error {
	return &say.Problem{
		Text: say.F("the lease cannot be taken", "无法取得操作租约"),
		Next: say.F("check the connections: shiplift check", "检查连接：shiplift check"),
		Err:  ErrNoAnswer,
	}
}

// acquire takes what can be taken of nodes. A change between the look and the
// swap by somebody who has released again starts it over.
func (l *Lease) acquire(ctx context.Context, nodes []string) error {
	var err error
	for range 5 {
		var seen map[string]grant
		if seen, err = l.look(ctx, nodes); err != nil {
			return err
		}
		if len(seen) == 0 {
			return noLease()
		}
		if err = l.outlive(ctx, seen); err != nil {
			return err
		}
		if err = l.swap(ctx, nodes, seen); !errors.Is(err, errMoved) {
			return err
		}
	}
	return err
}

// errMoved says that a lease changed hands and is free again.
var errMoved = say.Errorf("the lease changes hands all the time", "租约不断易手")

// look reads the leases of nodes; those that do not answer are left out.
func (l *Lease) look(ctx context.Context, nodes []string) (map[string]grant, error) {
	var mu sync.Mutex
	seen := map[string]grant{}
	err := l.each(nodes, func(n string) error {
		g, err := l.read(ctx, n)
		if err != nil {
			if _, ok := errors.AsType[*say.Problem](err); ok || ctx.Err() != nil {
				return err
			}
			return nil // it does not answer; Join takes it when it is back
		}
		mu.Lock()
		defer mu.Unlock()
		seen[n] = g
		return nil
	})
	return seen, err
}

func (l *Lease) read(ctx context.Context, node string) (grant, error) {
	c := host.Read("cat", LeaseFile(l.inv, node))
	c.Timeout = l.opt.leaseTimeout()
	res, err := l.hosts[node].Run(ctx, c)
	if host.IsExit(err) {
		return grant{}, nil // none yet; the swap finds out when it is something else
	}
	if err != nil {
		return grant{}, err
	}
	return l.parse(node, res.Text())
}

func (l *Lease) parse(node, line string) (grant, error) {
	var g grant
	if line == "" {
		return g, nil
	}
	// What is swapped is compared byte for byte with what is written again here.
	if err := json.Unmarshal([]byte(line), &g); err != nil || g.line() != line {
		return g, &say.Problem{
			Place: node + ":" + LeaseFile(l.inv, node),
			Text:  say.F("this is not a lease that this release of the tool understands", "租约文件内容无法识别"),
			Next:  say.F("look at the file; remove it when nobody works on the cluster", "查看该文件；确认无人操作集群后删除它"),
			Err:   err,
		}
	}
	return g, nil
}

// outlive waits until every holder in seen is known to be gone, and returns a
// *HeldError when one is not.
func (l *Lease) outlive(ctx context.Context, seen map[string]grant) error {
	watched := map[string]grant{}
	ttl := l.opt.TTL
	for _, n := range l.sorted(seen) {
		g := seen[n]
		switch {
		case !g.Held || l.isOurs(g) || l.isGone(g):
		case l.self.sees(g):
			if l.self.Alive(g.Who.PID, g.Start) {
				return g.heldError(n)
			}
			l.setGone(g)
		default:
			watched[n] = g
			ttl = max(ttl, time.Duration(g.TTL)*time.Millisecond)
		}
	}
	if len(watched) == 0 {
		return nil
	}
	if err := l.watch(ctx, watched, ttl); err != nil {
		return err
	}
	for _, g := range watched {
		l.setGone(g)
	}
	return nil
}

// watch returns nil when none of the leases moved for ttl.
func (l *Lease) watch(ctx context.Context, watched map[string]grant, ttl time.Duration) error {
	start := l.opt.Clock.Now()
	first := l.sorted(watched)[0]
	who := watched[first].Who
	spec := wait.Spec{
		What: say.F("the lease of %s on %s to run out", "%s（%s）的租约到期", who.User, who.Host),
		Node: first, Deadline: 3*ttl + time.Minute, Every: max(ttl/10, 10*time.Millisecond), Next: "shiplift status",
	}
	return wait.For(ctx, l.opt.Clock, spec, l.opt.Report, func(ctx context.Context) (wait.Look, error) {
		now, err := l.look(ctx, l.sorted(watched))
		if err != nil {
			return wait.Look{}, err
		}
		for _, n := range l.sorted(now) {
			switch {
			case !now[n].Held:
				delete(watched, n) // released; the swap sees that too
			case now[n] != watched[n]:
				return wait.Look{}, now[n].heldError(n)
			}
		}
		left := ttl - l.opt.Clock.Now().Sub(start)
		says := say.F("%s on %s (process %d) has not renewed its lease; it is taken over when it does not within %s",
			"%s 在 %s（进程 %d）上的租约未续期；若持续 %s 将接管", who.User, who.Host, who.PID, ttl)
		return wait.Look{Done: left <= 0 || len(watched) == 0, Left: left.Seconds(), Says: says}, nil
	})
}

// swap takes the leases that were seen. All operators begin with the same
// node, so that of two at once one goes on and the other takes nothing.
func (l *Lease) swap(ctx context.Context, order []string, seen map[string]grant) error {
	l.raise(seen)
	nodes := slices.DeleteFunc(slices.Clone(order), func(n string) bool { _, ok := seen[n]; return !ok })
	take := func(n string) error { return l.take(ctx, n, seen[n]) }
	err := take(nodes[0])
	if err == nil {
		err = l.each(nodes[1:], take)
	}
	if err != nil {
		return first(err, l.release(ctx))
	}
	if len(l.Nodes()) == 0 {
		return noLease()
	}
	return nil
}

// raise makes the fencing number greater than all that were seen.
func (l *Lease) raise(seen map[string]grant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	top := l.fence
	for _, g := range seen {
		top = max(top, g.Fence)
	}
	l.fence = top + 1
}

// take swaps one node's lease. A node that does not answer is left for Join.
func (l *Lease) take(ctx context.Context, node string, was grant) error {
	st := l.nodes[node]
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.taken {
		return nil // by another goroutine
	}
	began := l.opt.Clock.Now()
	next := grant{
		Fence: max(l.Fence(), was.Fence+1), Held: true, TTL: l.opt.TTL.Milliseconds(),
		Who: l.self.Who, Boot: l.self.Boot, Start: l.self.Start, Since: l.since, Doing: l.doing,
	}
	code, now, err := l.cas(ctx, node, was, next, 0)
	switch {
	case err != nil:
		if _, ok := errors.AsType[*say.Problem](err); ok || ctx.Err() != nil {
			return err
		}
		return nil
	case code == leaseOther && now.Held && !l.isOurs(now):
		return now.heldError(node)
	case code == leaseOther:
		return errMoved
	}
	st.grant, st.taken = next, true
	l.renewed(began)
	return nil
}

// cas runs LeaseScript; now is what is there when the status is leaseOther. An
// error that is not a *say.Problem means that nobody knows what happened.
func (l *Lease) cas(ctx context.Context, node string, was, next grant, drain int) (code int, now grant, err error) {
	want := ""
	if was != (grant{}) {
		want = was.line()
	}
	c := host.Change("sh", "-c", LeaseScript, "shiplift-lease", LeaseFile(l.inv, node), want, next.line(), strconv.Itoa(drain))
	c.Timeout = l.opt.leaseTimeout() + time.Duration(drain)*time.Second
	_, err = l.hosts[node].Run(ctx, c)
	ee, ok := errors.AsType[*host.ExitError](err)
	switch {
	case !ok:
		return 0, now, err
	case ee.Code == leaseBusy:
		return leaseBusy, now, nil
	case ee.Code == leaseOther:
		now, err = l.parse(node, host.Result{Stdout: ee.Stdout}.Text())
		return leaseOther, now, err
	}
	p := &say.Problem{
		Place: node + ":" + LeaseFile(l.inv, node), Err: reason(ee),
		Text: say.F("the lease cannot be written, so nothing is done", "租约文件无法写入，因此不做任何操作"),
		Next: say.F("make room in %[1]s on %[2]s, or give the login the right to write there; then the same command again",
			"在 %[2]s 上为 %[1]s 腾出空间，或授予登录用户写权限；然后重新执行同一命令", StateDir(l.inv, node), node),
	}
	if ee.Code == leaseLocked {
		p.Text = say.F("the lease is locked for more than 10 s", "租约文件被锁定超过 10 秒")
		p.Next = say.F("look at what holds it on %s: fuser %s.lock", "查看 %s 上占用它的进程：fuser %s.lock", node, LeaseFile(l.inv, node))
	}
	return ee.Code, now, p
}

// reason is what the machine said when a script of ours failed. The script
// itself tells a person nothing.
func reason(e *host.ExitError) error {
	said, _, _ := strings.Cut(strings.TrimSpace(string(e.Stderr)), "\n")
	if said == "" {
		said = "exit status " + strconv.Itoa(e.Code)
	}
	return errors.New(said)
}

// drain waits until no command of an earlier holder runs on nodes any more:
// from here on nobody but us changes them. It renews meanwhile.
func (l *Lease) drain(ctx context.Context, nodes []string) error {
	if len(nodes) == 0 {
		return nil
	}
	var mu sync.Mutex
	busy := nodes
	spec := wait.Spec{
		What: say.F("commands of an earlier operation to end", "先前操作的命令结束"),
		Node: nodes[0], Deadline: l.opt.Drain, Every: time.Second, Next: "shiplift status",
	}
	return wait.For(ctx, l.opt.Clock, spec, l.opt.Report, func(ctx context.Context) (wait.Look, error) {
		var still []string
		err := l.each(nodes, func(n string) error {
			seconds := 0
			if slices.Contains(busy, n) {
				seconds = 2
			}
			code, err := l.renewOn(ctx, n, seconds)
			if code == leaseBusy {
				mu.Lock()
				still = append(still, n)
				mu.Unlock()
			}
			return l.unlessGone(ctx, n, err)
		})
		busy = still
		slices.Sort(busy)
		says := say.F("commands of an earlier operation still run on %s", "%s 上仍有先前操作的命令在运行", strings.Join(busy, ", "))
		return wait.Look{Done: len(busy) == 0, Left: float64(len(busy)), Says: says}, err
	})
}

// unlessGone forgets a node that stopped answering: it joins when it is back.
func (l *Lease) unlessGone(ctx context.Context, node string, err error) error {
	if err == nil || ctx.Err() != nil || l.Err() != nil {
		return err
	}
	if _, ok := errors.AsType[*say.Problem](err); ok {
		return err
	}
	st := l.nodes[node]
	st.mu.Lock()
	defer st.mu.Unlock()
	st.taken = false
	return nil
}

// Join takes the lease on a node that did not answer before. It does nothing
// where the lease is held already.
func (l *Lease) Join(ctx context.Context, node string) error {
	st := l.nodes[node]
	if st == nil {
		return say.Errorf("%s is not a node of the cluster", "%s 不是集群的节点", node)
	}
	if st.has() {
		return nil
	}
	if err := l.Err(); err != nil {
		return err
	}
	seen, err := l.look(ctx, []string{node})
	if err != nil {
		return err
	}
	g, ok := seen[node]
	if !ok {
		_, err := l.read(ctx, node) // for the reason why it does not answer
		return cmp.Or(err, error(&host.UnreachableError{Node: node, Addr: node, Err: say.Errorf("it does not answer", "没有应答")}))
	}
	if err := l.outlive(ctx, seen); err != nil {
		return err
	}
	if g.Fence > l.Fence() {
		if err := l.stillOurs(ctx, node); err != nil {
			return err
		}
	}
	if err := l.take(ctx, node, g); err != nil {
		return err
	}
	if st.has() {
		if err := l.drain(ctx, []string{node}); err != nil {
			return err
		}
	}
	if !st.has() {
		return &host.UnreachableError{Node: node, Addr: node, Err: say.Errorf("it stopped answering while the lease was taken", "获取租约时停止应答")}
	}
	return nil
}

// stillOurs asks the nodes that we hold, before one joins that somebody has had
// under a greater number: we may have stood still while they worked on all of
// them, and gave the lease back.
func (l *Lease) stillOurs(ctx context.Context, joining string) error {
	took := l.round(ctx)
	if err := l.Err(); err != nil || took {
		return err
	}
	return &host.UnreachableError{Node: joining, Addr: "lease", Err: say.Errorf("no other node can be asked whether the lease is still ours", "无法向其他节点确认租约仍归本次操作所有")}
}

func (st *leased) has() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.taken
}

// Release gives the lease back on every node that holds it; the fencing number
// stays. The error names nodes that could not be told: there the lease runs out.
func (l *Lease) Release(ctx context.Context) error {
	_ = l.lose(ErrLost) // nothing is to run under it any more
	return l.release(ctx)
}

func (l *Lease) release(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return l.each(l.Nodes(), func(n string) error {
		st := l.nodes[n]
		st.mu.Lock()
		defer st.mu.Unlock()
		was := st.grant
		for range 2 {
			next := was
			next.Held = false
			code, now, err := l.cas(ctx, n, was, next, 0)
			if err != nil {
				return say.Errorf("release the lease on %s: %w", "释放 %s 上的租约：%w", n, err)
			}
			if code == leaseOther && now.Held && l.isOurs(now) {
				was = now // a renewal whose answer was lost
				continue
			}
			break
		}
		st.taken = false
		return nil
	})
}

// Fence returns the fencing number. On a node that joined later it may be greater.
func (l *Lease) Fence() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fence
}

// Nodes returns the nodes on which the lease is held, in the inventory's order.
func (l *Lease) Nodes() []string {
	var names []string
	for _, n := range l.inv.Names() {
		if st := l.nodes[n]; st != nil && st.has() {
			names = append(names, n)
		}
	}
	return names
}

// Err returns why the lease is lost, or nil.
func (l *Lease) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

func (l *Lease) isOurs(g grant) bool {
	return g.holder() == grant{Who: l.self.Who, Boot: l.self.Boot, Start: l.self.Start, Since: l.since}.holder()
}

func (l *Lease) isGone(g grant) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone[g.holder()]
}

func (l *Lease) setGone(g grant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone[g.holder()] = true
}

func (l *Lease) sorted(m map[string]grant) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return slices.Index(l.inv.Names(), a) - slices.Index(l.inv.Names(), b)
	})
}

// each calls fn for all nodes: in order when Serial, else a few at a time.
func (l *Lease) each(nodes []string, fn func(node string) error) error {
	limit := 64
	if l.opt.Serial || len(nodes) == 1 {
		limit = 1
	}
	return atOnce(nodes, limit, fn)
}

// atOnce calls fn for all names, at most limit at a time, and waits for all.
// With limit 1 it does so in their order, on the caller's goroutine.
func atOnce(names []string, limit int, fn func(string) error) error {
	errs := make([]error, len(names))
	if limit == 1 {
		for i, n := range names {
			errs[i] = fn(n)
		}
		return first(errs...)
	}
	slots := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for i, n := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = fn(n)
		})
	}
	wg.Wait()
	return first(errs...)
}

// first returns the error that a person has to see: another operator before
// all others, one alone as it is.
func first(errs ...error) error {
	errs = slices.DeleteFunc(slices.Clone(errs), func(e error) bool { return e == nil })
	for _, e := range errs {
		if held, ok := errors.AsType[*HeldError](e); ok {
			return held
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
