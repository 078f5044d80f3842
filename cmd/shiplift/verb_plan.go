package main

import (
	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

func (a *app) planVerb() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: a.t("Write down the way to a release, for review; changes nothing", "写出升级到目标版本的计划供评审；不做任何更改"),
		Long: a.t("Reads the cluster, runs the checks and makes the plan: a numbered tree of steps and\ngates. With --out the plan is saved for `shiplift apply`, together with the digest\nof what was observed; apply refuses it when the cluster has changed.",
			"读取集群、执行检查并生成计划：由步骤和关口组成的编号树。\n使用 --out 保存计划供 shiplift apply 执行，其中包含所观察状态的摘要；集群发生变化后 apply 会拒绝该计划。"),
		Example: "  shiplift plan --to 15.17 --package postgresql-15.17-linux-amd64.tar.gz --out p.json\n  shiplift plan --to 15.17 --mode inplace\n  shiplift plan --to 15.17 --candidate db3 --switch-back --out p.json",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	flags := a.requestFlags(cmd)
	cmd.Flags().StringVarP(&out, "out", "o", "", a.t("save the plan here", "将计划保存到此文件"))
	_ = cmd.MarkFlagFilename("out", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req, err := flags.request()
		if err != nil {
			return err
		}
		if err := a.mustTo(req, "plan"); err != nil {
			return err
		}
		r, err := a.enter("plan")
		if err != nil {
			return err
		}
		defer r.leave()
		p, findings, err := r.draw(cmd.Context(), req)
		if err != nil {
			if bad := check.Blocking(findings); len(bad) > 0 {
				a.screen.TalkFindings(bad)
			}
			return err
		}
		if out != "" {
			if err := plan.Save(out, p); err != nil {
				return err
			}
		}
		if err := a.screen.Plan(p, out); err != nil {
			return err
		}
		return r.afterPlan(p, findings, out)
	}
	return cmd
}

// afterPlan tells what stands in the plan's way, and what to type next.
func (r *room) afterPlan(_ *plan.Plan, findings []check.Finding, out string) error {
	if err := r.blocked(findings); err != nil {
		r.app.screen.TalkFindings(check.Blocking(findings))
		return err
	}
	if out != "" {
		r.app.screen.Next(say.Same(r.app.command("apply", out)))
	}
	return nil
}
