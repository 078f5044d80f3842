package run

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// leave writes down how the process leaves the run.
func (r *Runner) leave(ctx context.Context, stop *Stop) (Outcome, error) {
	out := r.outcome(ctx, stop)
	rec := journal.Record{Kind: journal.Left, State: string(out.State), Step: out.Step}
	if out.Gate != "" {
		rec.Reason = "gate " + out.Gate
	}
	if !out.Why.IsZero() {
		rec.Error = &out.Why
	}
	if out.State == Committed || out.State == RolledBack {
		rec.Kind = journal.End
	}
	if err := r.append(ctx, rec); err != nil {
		return out, err
	}
	if err := r.Log.Barrier(context.WithoutCancel(ctx)); err != nil {
		return out, err
	}
	if out.Gate != "" {
		r.tell(Event{Kind: Gate, Step: r.stepOf(out.Gate)})
	}
	r.tell(Event{Kind: Ended, Outcome: &out})
	return out, nil
}

func (r *Runner) stepOf(id string) *plan.Step {
	i, ok := r.Trail.index[id]
	if !ok {
		return nil
	}
	return &r.Trail.Plan.Steps[i]
}

func (r *Runner) outcome(ctx context.Context, stop *Stop) Outcome {
	if err := context.Cause(ctx); err != nil && stop.Kind == StopAsked {
		return Outcome{State: Interrupted, Next: r.again(), Err: err, Why: say.Of(err)}
	}
	switch stop.Kind {
	case StopAsked:
		return Outcome{State: Interrupted, Next: r.again()}
	case StopGate:
		return r.atGate(stop.Step)
	case StopOwed:
		nodes := r.owing()
		return Outcome{State: FailedState, NeedsPerson: true, Owed: nodes, Step: stop.Step, Next: "rollback", Why: say.F(
			"rolled back but for what lies on %s; run rollback again when it answers",
			"除 %s 上的部分外均已回滚；待其恢复应答后请再次执行 rollback", strings.Join(nodes, ", "))}
	case StopFailed, StopPerson:
		return r.failed(stop)
	case StopDone:
	}
	if r.Trail.Back {
		return r.proveBack(ctx)
	}
	return Outcome{State: Committed}
}

// again is the verb that takes the run up where it stands.
func (r *Runner) again() string {
	if r.Trail.Back {
		return "rollback"
	}
	return "resume"
}

func (r *Runner) atGate(id string) Outcome {
	if id == plan.CommitGate && r.Trail.Upgraded() {
		return Outcome{State: Upgraded, Gate: id, Next: "commit"}
	}
	return Outcome{State: Interrupted, Gate: id, Next: "resume"}
}

func (r *Runner) failed(stop *Stop) Outcome {
	out := Outcome{State: FailedState, NeedsPerson: stop.Kind == StopPerson, Step: stop.Step, Next: "resume"}
	if r.Trail.Back {
		out.Next = "rollback"
		out.NeedsPerson = true
	}
	i := r.Trail.index[stop.Step]
	if err := r.session.errs[i]; err != nil {
		out.Err, out.Why = err, say.Of(err)
	} else if s := r.Trail.Steps[i].Error; s != nil {
		out.Why = *s
	}
	return out
}

func (r *Runner) owing() []string {
	var own, all []string
	for i := range r.Trail.Steps {
		if r.Trail.Steps[i].Status != Owing {
			continue
		}
		all = append(all, r.Trail.Steps[i].OwedBy)
		if r.Trail.Plan.Steps[i].Node != "" {
			own = append(own, r.Trail.Steps[i].OwedBy)
		}
	}
	// A step of the whole cluster is mostly owed for a node whose own steps are owed too.
	if own == nil {
		own = all
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// proveBack reads the cluster again: a rollback is over when every node has the
// release it had, and is at least as healthy as it was (I5, I6, I7).
func (r *Runner) proveBack(ctx context.Context) Outcome {
	spec := wait.Spec{
		What:     say.F("every node is as it was before", "每个节点都恢复到原来的样子"),
		Deadline: proofDeadline, Every: time.Second, Next: "shiplift rollback",
	}
	err := wait.For(ctx, r.Env.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		o, err := r.Driver.Observe(ctx, r.Env)
		if err != nil {
			return wait.Look{}, err
		}
		fallen := compareBack(r.Trail.Plan, &o)
		return wait.Look{Done: len(fallen) == 0, Says: say.Join("; ", fallen...)}, nil
	})
	if err != nil {
		return Outcome{State: FailedState, NeedsPerson: true, Next: "rollback", Why: say.Of(err), Err: err}
	}
	return Outcome{State: RolledBack}
}

// proofDeadline bounds the wait for standbys that have just been started.
const proofDeadline = 2 * time.Minute

func compareBack(p *plan.Plan, o *driver.Observation) []say.Text {
	var fallen []say.Text
	for _, n := range o.Nodes {
		was, ok := p.Before[n.Name]
		if !ok {
			continue
		}
		switch {
		case !n.Reachable:
			fallen = append(fallen, say.F("%s does not answer: %s", "%s 没有应答：%s", n.Name, n.Trouble))
		case was.Running != "" && n.Running != was.Running:
			fallen = append(fallen, say.F("%s runs %s, it ran %s before", "%s 正在运行 %s，之前为 %s", n.Name, orNothing(n.Running), was.Running))
		case n.Installed != was.Installed:
			fallen = append(fallen, say.F("%s has %s installed, it had %s before", "%s 安装的是 %s，之前为 %s", n.Name, orNothing(n.Installed), was.Installed))
		case was.Healthy && !n.Healthy:
			fallen = append(fallen, say.F("%s was healthy and is now: %s %s", "%s 之前健康，现在：%s %s", n.Name, n.Health, n.Trouble))
		}
	}
	return fallen
}

func orNothing(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
