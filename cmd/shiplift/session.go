package main

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
	"github.com/shiplift/shiplift/internal/wait"
)

// session is a room that this process alone may change things in (I8).
type session struct {
	*room
	lock  *journal.Lock
	lease *journal.Lease
	found *journal.Found // the newest run, read under the lease; nil when there is none
}

// take takes the lock of this machine and the lease on the nodes.
func (r *room) take(ctx context.Context, doing string) (*session, error) {
	lock, err := r.store.Lock(r.self.Who, doing)
	if err != nil {
		return nil, err
	}
	s := &session{room: r, lock: lock}
	if err := s.takeLease(ctx, doing); err != nil {
		s.give(ctx)
		return nil, err
	}
	return s, nil
}

func (s *session) takeLease(ctx context.Context, doing string) error {
	before, err := s.find(ctx) // its fencing number is a floor, also when nodes lost their lease file
	if err != nil {
		return err
	}
	s.lease, err = journal.Acquire(ctx, s.hosts, s.inv, s.self, doing, journal.LeaseOptions{
		Clock: wait.Real{}, Floor: lastFence(before), Report: s.app.screen.Talk,
	})
	if err != nil {
		return err
	}
	s.found, err = s.find(ctx)
	return err
}

// find reads the newest run that this machine or a node knows of, and tells of copies that are damaged.
func (r *room) find(ctx context.Context) (*journal.Found, error) {
	found, err := r.store.Find(ctx, r.hosts, r.inv, false)
	if err != nil || found == nil {
		return nil, err
	}
	return found, context.Cause(ctx)
}

func lastFence(f *journal.Found) int64 {
	var last int64
	if f != nil {
		for i := range f.Log.Records {
			last = max(last, f.Log.Records[i].Fence)
		}
	}
	return last
}

// trail folds the run that was found; nil when there is none.
func (s *session) trail() (*run.Trail, error) { return trailOf(s.found) }

func trailOf(f *journal.Found) (*run.Trail, error) {
	if f == nil {
		return nil, nil
	}
	return run.Read(f.Log.Records)
}

// give gives lease and lock back.
func (s *session) give(ctx context.Context) {
	if s.lease != nil {
		if err := s.lease.Release(ctx); err != nil {
			s.app.screen.Talk(say.Join(": ", say.F("the lease runs out by itself", "租约将自行到期"), say.Of(err)))
		}
	}
	_ = s.lock.Unlock() // ends with the process in any case
}

// job is a run that this process works on.
type job struct {
	*session
	trail *run.Trail
	copy  *journal.Replicator
	meter *metering
}

// begin starts a new run of a plan.
func (s *session) begin(ctx context.Context, p *plan.Plan, findings []check.Finding) (*job, error) {
	newest := ""
	if s.found != nil {
		newest = s.found.Run
	}
	now := time.Now()
	id, err := journal.NewRunID(now, rand.Reader, newest)
	if err != nil {
		return nil, err
	}
	j, err := s.store.New(id)
	if err != nil {
		return nil, err
	}
	rep := s.replicate(j, id)
	trail, err := run.Start(ctx, rep, id, p, findings, now)
	if err != nil {
		rep.Close()
		return nil, errors.Join(err, j.Close())
	}
	return &job{session: s, trail: trail, copy: rep}, nil
}

// adopt takes up the run that was found.
func (s *session) adopt() (*job, error) {
	j, err := s.store.Adopt(s.found)
	if err != nil {
		return nil, err
	}
	trail, err := run.Read(j.Records())
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return &job{session: s, trail: trail, copy: s.replicate(j, s.found.Run)}, nil
}

func (s *session) replicate(j *journal.Journal, id string) *journal.Replicator {
	return journal.Replicate(j, id, s.lease.Hosts(), s.inv, journal.CopyOptions{Clock: wait.Real{}, Extra: 1})
}

// carry works on the run and shows how it went; the error holds the exit code.
func (j *job) carry(ctx context.Context, opts run.Options) error {
	began := time.Now()
	out, err := j.work(ctx, opts)
	j.settleMeter(ctx)
	j.settleCopies(ctx)
	if err != nil {
		return j.broken(err)
	}
	sum := j.summary(opts.Verb, &out)
	sum.TookMS = time.Since(began).Milliseconds()
	if err := j.app.screen.Summary(sum); err != nil {
		return err
	}
	if sum.Exit == exitDone {
		return nil
	}
	if log := j.audit.path(); log != "" && out.State == run.FailedState {
		j.app.screen.Talk(say.F("every command that was run: %s", "执行过的全部命令：%s", log))
	}
	return &ended{sum.Exit}
}

func (j *job) work(ctx context.Context, opts run.Options) (out run.Outcome, err error) {
	env := j.env
	env.Hosts = j.lease.Hosts()
	progress := j.app.screen.Progress(j.trail.Plan, j.trail.Back || opts.Verb == "rollback")
	defer progress.Close() // also when something panics: the terminal is given back
	runner := &run.Runner{Driver: j.driver, Env: env, Log: j.copy, View: progress, Trail: j.trail, Options: opts}
	defer j.app.stops.during(runner.Interrupt)()
	err = j.lease.Hold(ctx, func(ctx context.Context) error {
		out, err = runner.Work(ctx, j.self.Who, j.lease.Fence())
		return err
	})
	return out, err
}

// settleCopies brings the journal to the nodes and closes it.
func (j *job) settleCopies(ctx context.Context) {
	behind := j.copy.Flush(context.WithoutCancel(ctx), 5*time.Second)
	j.copy.Close()
	if len(behind) > 0 {
		names := strings.Join(behind, ", ")
		j.app.screen.Talk(say.F("the journal's copy is behind on %s; resume from this machine", "%s 上的日志副本未更新；请在本机续作", names))
	}
	if err := j.copy.Journal().Close(); err != nil {
		j.app.screen.Talk(say.Of(err))
	}
}

// broken is a run that could not be recorded any further. What was done is in
// the journal; a person puts right what stopped it.
func (j *job) broken(err error) error {
	if code := exitOf(err); code != exitFailed {
		return err
	}
	next := say.Same(j.app.command("status"))
	if p, ok := errors.AsType[*say.Problem](err); ok && !p.Next.IsZero() {
		next = p.Next
	}
	j.app.screen.Error(err, next, exitPerson)
	return &ended{exitPerson}
}

func (j *job) summary(verb string, out *run.Outcome) view.Summary {
	p := j.trail.Plan
	sum := view.Summary{
		Verb: verb, Cluster: p.Cluster, Run: j.trail.Run, State: string(out.State), From: p.From, To: p.To, Gate: out.Gate,
		Step: out.Step, Why: out.Why.In(j.app.screen.Lang), Advice: adviceOf(out).In(j.app.screen.Lang), Owed: out.Owed, Exit: exitOfOutcome(out),
		Behind: j.app.screen.BehindOf(j.trail),
	}
	sum.Next = j.app.nextCommand(out.Next, out.Gate, p)
	if j.meter != nil {
		sum.Measured = j.meter.result
	}
	return sum
}

// adviceOf is what the step that failed asks of a person, where that is more than
// the verb to type next.
func adviceOf(out *run.Outcome) say.Text {
	p, ok := errors.AsType[*say.Problem](out.Err)
	if !ok || p.Next.EN == "shiplift "+out.Next {
		return say.Text{}
	}
	return p.Next
}

// nextCommand is what to type after a verb left a run.
func (a *app) nextCommand(verb, gate string, p *plan.Plan) string {
	if verb == "" {
		return ""
	}
	if verb == "resume" && gate != "" {
		for i := range p.Steps {
			if s := &p.Steps[i]; s.ID == gate && s.Gate != nil && (s.Gate.OneWay || s.Gate.Wait) {
				return a.command(verb, "--accept", gate)
			}
		}
	}
	return a.command(verb)
}
