package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

func (a *app) commitVerb() *cobra.Command {
	var accept []string
	cmd := &cobra.Command{
		Use:   "commit",
		Short: a.t("Give up the way back and clean up", "放弃回滚余地并清理"),
		Long: a.t("Crosses the gate commit of a run that has reached `upgraded`. Naming this verb names\nthat gate; any other one-way gate behind it takes --accept.",
			"越过已升级的执行的关口 commit。使用本命令即表示接受该关口；其后的其他单向关口仍需 --accept。"),
		Example: "  shiplift commit\n  shiplift commit --yes --output json",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	a.yesFlag(cmd)
	cmd.Flags().StringArrayVar(&accept, "accept", nil, a.t("cross this one-way gate too (repeatable)", "同时越过该单向关口（可重复）"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.onRun(cmd.Context(), "commit", nil, func(s *session, t *run.Trail) (run.Options, error) {
			if err := s.mayCommit(t); err != nil {
				return run.Options{}, err
			}
			opts, err := (&runFlags{accept: accept}).options("commit", t.Plan)
			if err != nil {
				return opts, err
			}
			opts.Accept = append(opts.Accept, plan.CommitGate)
			return opts, a.confirm(commitQuestion(t.Plan))
		})
	}
	return cmd
}

// mayCommit refuses to commit what is not upgraded. A commit that was cut off
// is past its gate and goes on.
func (s *session) mayCommit(t *run.Trail) error {
	gate := t.Step(plan.CommitGate)
	if !t.Back && (t.Upgraded() || gate != nil && gate.Status == run.Done) {
		return nil
	}
	next := "resume"
	if t.Back {
		next = "rollback"
	}
	return &say.Problem{
		Place: s.inv.Cluster,
		Text:  say.F("run %s is %s: only what is upgraded and proven can be committed", "执行 %s 的状态为 %s：只有已升级并通过验证的才能提交", t.Run, t.State(false)),
		Next:  say.Same(s.app.command(next)),
	}
}

// commitQuestion names what is given up.
func commitQuestion(p *plan.Plan) say.Text {
	q := say.F("commit %s %s → %s? Rollback is not possible any more after that.", "提交 %s %s → %s？此后不能再回滚。", p.Cluster, p.From, p.To)
	i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.ID == plan.CommitGate })
	if i >= 0 && p.Steps[i].Gate != nil && !p.Steps[i].Gate.Costs.IsZero() {
		q = say.Join(" ", q, p.Steps[i].Gate.Costs)
	}
	return q
}

func (a *app) rollbackVerb() *cobra.Command {
	var force string
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: a.t("Bring every node back to the release it had", "将所有节点恢复到原版本"),
		Long: a.t("Undoes the newest run, from whatever step it stands at, also when the cluster is down,\nuntil a one-way gate was crossed. Nodes that do not answer are left for later: run\nrollback again when they are back. --force=REASON goes on past steps whose undo fails;\nthe reason stands in the journal and the report.",
			"从最近一次执行所处的任意步骤撤销，集群停止时同样有效，直到越过单向关口为止。\n没有应答的节点留待恢复后再次执行 rollback。--force=原因 会略过撤销失败的步骤，原因写入日志和报告。"),
		Example: "  shiplift rollback\n  shiplift rollback --yes\n  shiplift rollback --force=\"db3 is lost for good\"",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	a.yesFlag(cmd)
	cmd.Flags().StringVar(&force, "force", "", a.t("go on past steps that cannot be undone, for this reason", "因此原因略过无法撤销的步骤"))
	meter := a.meterFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		forced := cmd.Flags().Changed("force")
		if forced && strings.TrimSpace(force) == "" {
			return usage("--force", say.F("it takes a reason", "需要说明原因"), say.Same(a.command("rollback", "--force=REASON")))
		}
		return a.onRun(cmd.Context(), "rollback", meter, func(s *session, t *run.Trail) (run.Options, error) {
			if gate, crossed := t.Crossed(); crossed {
				return run.Options{}, &say.Problem{
					Place: s.inv.Cluster,
					Text:  say.F("the one-way gate %q has been crossed: what lies before it cannot be undone", "已越过单向关口 %q：此前的步骤无法回滚", gate),
					Next:  say.Same(a.command("resume")),
				}
			}
			question := say.F("roll %s back from %s to %s?", "将 %s 从 %s 回滚到 %s？", t.Plan.Cluster, t.Plan.To, t.Plan.From)
			return run.Options{Verb: "rollback", Force: forced, Reason: force}, a.confirm(question)
		})
	}
	return cmd
}

// summaryOf is the summary of a run that nobody works on.
func (r *room) summaryOf(t *run.Trail, state run.State) view.Summary {
	return view.Summary{Verb: "status", Cluster: t.Plan.Cluster, Run: t.Run, State: string(state), From: t.Plan.From, To: t.Plan.To, Behind: r.app.screen.BehindOf(t)}
}
