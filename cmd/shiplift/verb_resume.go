package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

func (a *app) resumeVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume",
		Short: a.t("Go on with the run that was interrupted or has failed", "继续已中断或失败的执行"),
		Long: a.t("Finds the newest run on this machine or on the nodes, probes every step that was\nfound started, and goes on. Works on another machine that has only the inventory.",
			"在本机或各节点上找到最近一次执行，探测每个处于已开始状态的步骤，然后继续。\n在只有清单的另一台机器上同样有效。"),
		Example: "  shiplift resume\n  shiplift resume -c prod.yaml --until commit\n  shiplift resume --accept GATE",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	a.yesFlag(cmd)
	flags, meter := a.runFlags(cmd), a.meterFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.onRun(cmd.Context(), "resume", meter, func(s *session, t *run.Trail) (run.Options, error) {
			if t.State(false) == run.Upgraded && len(flags.accept) == 0 {
				return run.Options{}, a.over(s, t, s.app.command("commit"))
			}
			opts, err := flags.options("resume", t.Plan)
			if err != nil || !a.onTerminal() {
				return opts, err // scripts that type resume mean it
			}
			return opts, a.confirm(resumeQuestion(t))
		})
	}
	return cmd
}

// resumeQuestion says where the run will be taken up.
func resumeQuestion(t *run.Trail) say.Text {
	done, total := t.Progress()
	if t.Back {
		return say.F("go on rolling %s back (%d of %d steps are undone)?", "继续回滚 %s（已撤销 %d/%d 步）？", t.Plan.Cluster, done, total)
	}
	return say.F("go on upgrading %s from %s to %s (%d of %d steps are done)?", "继续将 %s 从 %s 升级到 %s（已完成 %d/%d 步）？", t.Plan.Cluster, t.Plan.From, t.Plan.To, done, total)
}

// onRun takes the newest run up and carries it as far as options say.
func (a *app) onRun(ctx context.Context, verb string, meter *meterFlags, options func(*session, *run.Trail) (run.Options, error)) error {
	return a.onTrail(ctx, verb, meter, func(s *session) (*run.Trail, error) { return s.openTrail(verb) }, options)
}

// onOpenRun is onRun for verbs that say themselves what a missing run, or one
// that is over, means.
func (a *app) onOpenRun(ctx context.Context, verb string, meter *meterFlags, options func(*session, *run.Trail) (run.Options, error)) error {
	return a.onTrail(ctx, verb, meter, (*session).trail, options)
}

func (a *app) onTrail(ctx context.Context, verb string, meter *meterFlags, find func(*session) (*run.Trail, error), options func(*session, *run.Trail) (run.Options, error)) error {
	r, err := a.enter(verb)
	if err != nil {
		return err
	}
	defer r.leave()
	s, err := r.take(ctx, verb)
	if err != nil {
		return err
	}
	defer s.give(ctx)
	t, err := find(s)
	if err != nil {
		return err
	}
	opts, err := options(s, t)
	if err != nil {
		return err
	}
	j, err := s.adopt()
	if err != nil {
		return err
	}
	if meter != nil {
		if err := j.startMeter(ctx, meter); err != nil {
			j.settleCopies(ctx)
			return err
		}
	}
	return j.carry(ctx, opts)
}

// openTrail returns the run that verb may work on.
func (s *session) openTrail(verb string) (*run.Trail, error) {
	t, err := s.trail()
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, &say.Problem{
			Place: s.inv.Cluster,
			Text:  say.F("there is no run to %s, neither on this machine nor on a node that answers", "本机和可应答的节点上都没有可供 %s 的执行", verb),
			Next:  say.Same(s.app.command("status")),
		}
	}
	if t.Plan.Driver != s.driver.Name() {
		return nil, &plan.OtherClusterError{Plan: t.Plan.ClusterID, Inventory: s.inv.ID()}
	}
	if t.Final != "" {
		return nil, s.app.over(s, t, "")
	}
	return t, nil
}

// over ends a verb that has nothing to do: where the run stands is the answer.
func (a *app) over(s *session, t *run.Trail, next string) error {
	sum := s.summaryOf(t, t.State(false))
	sum.Next = next
	if err := a.screen.Summary(sum); err != nil {
		return err
	}
	return &ended{exitDone}
}
