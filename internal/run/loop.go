package run

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Log is where records become durable. Append returns when they are; Barrier
// returns when the copies on the acting nodes hold all that was appended (I1).
type Log interface {
	Append(ctx context.Context, records ...journal.Record) error
	Barrier(ctx context.Context, nodes ...string) error
}

// Runner carries out one run. Set the fields, then call Work once.
type Runner struct {
	Driver  driver.Driver
	Env     driver.Env
	Log     Log
	View    View
	Trail   *Trail
	Options Options

	session *Session
	tries   []int // link failures of a step in this process
	events  chan event
	stops   chan struct{} // one element for each Interrupt
	once    sync.Once
	mu      sync.RWMutex // Trail is folded by the loop and read by workers
}

// linkTries is how often a step is tried again by one process when the link
// to its host broke: a broken link says nothing about the step.
const linkTries = 3

// event is what a worker goroutine asks the loop to write down. reply is
// answered when the records are durable.
type event struct {
	index   int
	records []journal.Record
	note    func() // tells the view, after the records are durable
	ends    bool   // the order is through
	err     error  // of an order that ends
	link    bool   // err says nothing about the step: the link broke
	reply   chan error
}

// Start writes the first record of a run: the plan and what the checks found.
func Start(ctx context.Context, log Log, id string, p *plan.Plan, findings []check.Finding, now time.Time) (*Trail, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, say.Errorf("encode the plan: %w", "生成计划：%w", err)
	}
	if err := log.Append(ctx, journal.Record{Kind: journal.Begin, Time: now, Run: id, Plan: body, Findings: findings}); err != nil {
		return nil, err
	}
	return newTrail(id, p, now), nil
}

// Interrupt asks the run to leave: the first time it finishes the running
// steps, the second time their commands are cancelled and recorded as lost.
// It may be called from any goroutine.
func (r *Runner) Interrupt() {
	r.init()
	select {
	case r.stops <- struct{}{}:
	default:
	}
}

func (r *Runner) init() {
	r.once.Do(func() {
		r.stops = make(chan struct{}, 2)
		r.events = make(chan event)
	})
}

// Work takes the run up as who with the lease's fencing number, and carries it
// as far as Options say. The error is the journal's or the context's: then
// nothing more could be recorded. How the steps went is in the Outcome.
func (r *Runner) Work(ctx context.Context, who journal.Who, fence int64) (Outcome, error) {
	r.init()
	r.session = newSession(r.Options, len(r.Trail.Steps))
	r.tries = make([]int, len(r.Trail.Steps))
	if r.Env.Serial {
		r.session.Parallel = 1
	}
	if err := r.open(ctx, who, fence); err != nil {
		return Outcome{}, err
	}
	r.tell(Event{Kind: Began})
	stop, err := r.loop(ctx)
	if err != nil {
		return Outcome{}, err
	}
	return r.leave(ctx, stop)
}

func (r *Runner) open(ctx context.Context, who journal.Who, fence int64) error {
	if r.Trail.Final != "" {
		return say.Errorf("run %s is over: %s", "运行 %s 已结束：%s", r.Trail.Run, r.Trail.Final)
	}
	records := []journal.Record{{Kind: journal.Open, Who: &who, Verb: r.Options.Verb, Fence: fence}}
	if r.Options.Verb == "rollback" && !r.Trail.Back {
		if gate, crossed := r.Trail.Crossed(); crossed {
			return &say.Problem{
				Text: say.F("the one-way gate %q has been crossed: what lies before it cannot be undone", "已越过单向关口 %q：此前的步骤无法回滚", gate),
				Next: say.F("shiplift status", "shiplift status"),
			}
		}
		records = append(records, journal.Record{Kind: journal.Turn, Reason: r.Options.Reason})
	}
	return r.append(ctx, records...)
}

// append makes records durable and folds them in. Only the loop's goroutine calls it.
func (r *Runner) append(ctx context.Context, records ...journal.Record) error {
	if len(records) == 0 {
		return nil
	}
	now := r.Env.Clock.Now()
	for i := range records {
		records[i].Time = now
	}
	// A record of what has happened is written even while the process is being cancelled.
	if err := r.Log.Append(context.WithoutCancel(ctx), records...); err != nil {
		return say.Errorf("write the journal: %w", "写入日志：%w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range records {
		if err := r.Trail.add(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

// loop: decide, write, act, write, decide.
func (r *Runner) loop(ctx context.Context) (*Stop, error) {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel(errLeaving)
	for {
		r.drainStops(cancel)
		if ctx.Err() != nil {
			r.session.Asked = true
		}
		d := Decide(r.Trail, r.session)
		if d.Stop != nil {
			return d.Stop, nil
		}
		moved, err := r.follow(ctx, work, d.Orders, &workers)
		if err != nil {
			return nil, err
		}
		if moved {
			continue
		}
		if err := r.next(ctx, cancel); err != nil {
			cancel(err)
			r.abandon()
			return nil, err
		}
	}
}

// follow gives the orders out. It ends early, moved, when what follows from one
// of them is decided anew.
func (r *Runner) follow(ctx, work context.Context, orders []Order, workers *sync.WaitGroup) (moved bool, err error) {
	for _, o := range orders {
		settled, err := r.atOnce(ctx, o)
		if err != nil || settled {
			return settled, err
		}
		r.begin(o)
		if r.Env.Serial {
			return true, r.serial(work, o)
		}
		workers.Go(func() { r.carryOut(work, o, r.ask) })
	}
	return false, nil
}

var (
	errLeaving = say.Errorf("the run is left", "运行已中止")
	// ErrCancelled is the cause of contexts that a second Ctrl-C ended.
	ErrCancelled = say.Errorf("cancelled by the operator", "操作员已取消")
)

func (r *Runner) begin(o Order) {
	r.session.Running[o.Index] = true
	r.session.busy++
	if o.Deed == Do && o.Step.Impact != plan.None && o.Step.Node != "" {
		r.session.Touched[o.Step.Node] = true
	}
}

// drainStops takes in what Interrupt asked.
func (r *Runner) drainStops(cancel context.CancelCauseFunc) {
	for {
		select {
		case <-r.stops:
			r.asked(cancel)
		default:
			return
		}
	}
}

func (r *Runner) asked(cancel context.CancelCauseFunc) {
	if r.session.Asked {
		cancel(ErrCancelled)
		return
	}
	r.session.Asked = true
	r.tell(Event{Kind: Remark, Text: say.F(
		"stopping: the running steps are finished first; Ctrl-C again cancels them",
		"正在停止：先完成正在执行的步骤；再按一次 Ctrl-C 将取消它们")})
}

// next waits for workers or the operator. All events that are there already
// are written with one fsync.
func (r *Runner) next(ctx context.Context, cancel context.CancelCauseFunc) error {
	select {
	case <-r.stops:
		r.asked(cancel)
		return nil
	case e := <-r.events:
		batch := []event{e}
		for more := true; more; {
			select {
			case e := <-r.events:
				batch = append(batch, e)
			default:
				more = false
			}
		}
		return r.take(ctx, batch)
	}
}

// abandon lets the workers end: the journal cannot be written any more.
func (r *Runner) abandon() {
	for r.session.busy > 0 {
		e := <-r.events
		e.reply <- errLeaving
		if e.ends {
			r.session.busy--
		}
	}
}

func (r *Runner) take(ctx context.Context, batch []event) error {
	var records []journal.Record
	for _, e := range batch {
		records = append(records, e.records...)
	}
	err := r.append(ctx, records...)
	for _, e := range batch {
		r.settle(e, err)
		e.reply <- err
	}
	return err
}

func (r *Runner) settle(e event, err error) {
	if e.ends {
		r.session.Running[e.index] = false
		r.session.busy--
		r.tally(e)
	}
	if err == nil && e.note != nil {
		e.note()
	}
}

// tally decides whether this process tries the step again.
func (r *Runner) tally(e event) {
	if e.err == nil {
		return
	}
	r.session.errs[e.index] = e.err
	if r.tries[e.index]++; e.link && r.tries[e.index] < linkTries {
		return
	}
	r.session.Failed[e.index] = true
}

// ask hands an event to the loop and waits until it is durable.
func (r *Runner) ask(e event) error {
	e.reply = make(chan error, 1)
	r.events <- e
	return <-e.reply
}

// serial carries an order out on the loop's own goroutine.
func (r *Runner) serial(ctx context.Context, o Order) error {
	var broken error
	r.carryOut(ctx, o, func(e event) error {
		err := r.append(ctx, e.records...)
		if r.settle(e, err); err != nil {
			broken = err
		}
		return err
	})
	return broken
}

// atOnce carries out what needs no host.
func (r *Runner) atOnce(ctx context.Context, o Order) (bool, error) {
	switch o.Deed {
	case Cross:
		if err := r.append(ctx, journal.Record{Kind: journal.Crossed, Step: o.Step.ID}); err != nil {
			return false, err
		}
		r.tell(Event{Kind: Gate, Step: o.Step, Crossed: true})
		return true, nil
	case Waive:
		why := r.Trail.Steps[o.Index].Error
		if why == nil {
			t := say.F("its standing is unknown", "状态未知")
			why = &t
		}
		if err := r.append(ctx, journal.Record{Kind: journal.Skipped, Step: o.Step.ID, Owed: true, Node: o.Step.Node, Error: why, Reason: r.Options.Reason}); err != nil {
			return false, err
		}
		r.session.Failed[o.Index] = true
		return true, nil
	case Do, Undo, Probe:
	}
	return false, nil
}

func (r *Runner) tell(e Event) {
	if r.View == nil {
		return
	}
	e.Time = r.Env.Clock.Now()
	e.Done, e.Total = r.Trail.Progress()
	r.View.Event(e)
}

// isLink reports whether err leaves open what happened on the host, so that
// the step may be probed and tried again by the same process.
func isLink(err error) bool {
	if errors.Is(err, host.ErrHostKey) || errors.Is(err, host.ErrFenced) || errors.Is(err, ErrCancelled) {
		return false
	}
	var exit *host.ExitError
	var waited *wait.Error
	var problem *say.Problem
	if errors.As(err, &exit) || errors.As(err, &waited) || errors.As(err, &problem) {
		return false
	}
	var gone *host.UnreachableError
	var lost *host.LostError
	return errors.As(err, &gone) || errors.As(err, &lost)
}
