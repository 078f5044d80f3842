package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
	"github.com/shiplift/shiplift/internal/wait"
)

func (a *app) statusVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: a.t("Show where the cluster and its run stand", "显示集群及其执行的当前状态"),
		Long: a.t("Reads the nodes and the newest run, from this machine or from the copies on the\nnodes, and says what to type next. Changes nothing.",
			"读取各节点和最近一次执行（来自本机或节点上的副本），并给出下一步命令。不做任何更改。"),
		Example: "  shiplift status\n  shiplift status -c prod.yaml --output json | jq -r .state",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := a.enter("status")
		if err != nil {
			return err
		}
		defer r.leave()
		st, _, _, err := r.status(cmd.Context())
		if err != nil {
			return err
		}
		return a.screen.Status(st)
	}
	return cmd
}

// status reads where the cluster stands. The trail is nil when there is no run.
func (r *room) status(ctx context.Context) (view.Status, *run.Trail, driver.Observation, error) {
	o, err := r.observe(ctx)
	if err != nil {
		return view.Status{}, nil, o, err
	}
	st := view.Status{Cluster: r.inv.Cluster, Driver: r.driver.Name(), State: string(run.Idle), From: o.Release}
	for _, n := range o.Nodes {
		st.Nodes = append(st.Nodes, view.Node{
			Name: n.Name, Role: n.Role, Running: n.Running, Installed: n.Installed, Healthy: n.Healthy, Health: n.Health, Trouble: n.Trouble,
		})
	}
	found, err := r.find(ctx)
	if err != nil {
		return st, nil, o, err
	}
	for node, bad := range badCopies(found) {
		r.app.screen.Talk(say.Join(": ", say.F("the journal's copy on %s cannot be used", "%s 上的日志副本不可用", node), say.Of(bad)))
	}
	t, err := trailOf(found)
	if err != nil {
		return st, nil, o, err
	}
	held, err := r.holder(ctx)
	if err != nil {
		return st, t, o, err
	}
	if held != nil {
		st.Operator = &view.Holder{User: held.Who.User, Host: held.Who.Host, PID: held.Who.PID, Since: held.Since, Doing: held.Doing}
	}
	if t == nil {
		st.Next = r.app.command("check", "--to", "RELEASE")
		return st, nil, o, nil
	}
	r.runStatus(&st, t, held != nil)
	return st, t, o, nil
}

func badCopies(f *journal.Found) map[string]error {
	if f == nil {
		return nil
	}
	return f.Bad
}

// holder looks who works on the cluster; nobody answering is told by the nodes' own state.
func (r *room) holder(ctx context.Context) (*journal.HeldError, error) {
	held, err := journal.Holder(ctx, r.hosts, r.inv, r.self, journal.LeaseOptions{Clock: wait.Real{}, Report: r.app.screen.Talk})
	if errors.Is(err, journal.ErrNoAnswer) {
		return nil, nil //nolint:nilnil // as said above
	}
	return held, err
}

// runStatus fills in what the run tells.
func (r *room) runStatus(st *view.Status, t *run.Trail, alive bool) {
	state := t.State(alive && t.Final == "")
	st.State, st.Run, st.Back = string(state), t.Run, t.Back
	st.From, st.To = t.Plan.From, t.Plan.To
	st.Step.Done, st.Step.Total = t.Progress()
	if leave := t.Leave; leave != nil && state == run.FailedState {
		st.Failed = leave.Step
		if leave.Error != nil {
			st.Why = leave.Error.In(r.app.screen.Lang)
		}
	}
	st.Gate = gateOf(t, state)
	st.Behind = r.app.screen.BehindOf(t)
	switch state {
	case run.Upgraded:
		st.Next = r.app.command("commit")
	case run.Interrupted, run.FailedState:
		st.Next = r.app.nextCommand("resume", st.Gate, t.Plan)
		if t.Back {
			st.Next = r.app.command("rollback")
		}
	case run.Idle, run.Running, run.Committed, run.RolledBack:
	}
}

// gateOf is the gate that a run waits at; empty when it waits at none.
func gateOf(t *run.Trail, state run.State) string {
	switch {
	case state == run.Upgraded:
		return plan.CommitGate
	case state == run.Interrupted && t.Leave != nil:
		gate, _ := strings.CutPrefix(t.Leave.Reason, "gate ")
		return gate
	}
	return ""
}
