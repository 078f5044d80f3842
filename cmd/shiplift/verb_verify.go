package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// watcher is a driver that can look at something for a while: MogDB's memory
// of the walsenders (spec/mogdb.md section 10).
type watcher interface {
	Watch(ctx context.Context, env driver.Env, p *plan.Plan, d time.Duration) ([]check.Finding, error)
}

func (a *app) verifyVerb() *cobra.Command {
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "verify",
		Short: a.t("Prove the result of the newest run from what is read now", "根据当前读取的状态验证最近一次执行的结果"),
		Long: a.t("Reads roles, releases of processes and files, and replication again and compares them\nwith the plan and with the health before the run. After a rollback: whether every node\nis as it was. Exits with 5 when something does not hold. Changes nothing.",
			"重新读取角色、进程与文件的版本以及复制状态，与计划和执行前的健康状况比较；\n回滚之后则验证每个节点是否恢复原样。有不符合之处时退出码为 5。不做任何更改。"),
		Example: "  shiplift verify\n  shiplift verify --output json | jq .findings\n  shiplift verify --watch 30m",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	cmd.Flags().DurationVar(&watch, "watch", 0, a.t("also watch for this long what the product needs watched (mogdb: memory of the walsenders)", "并在这段时间内持续观察产品需要观察的内容（mogdb：walsender 内存）"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := a.enter("verify")
		if err != nil {
			return err
		}
		defer r.leave()
		st, t, o, err := r.status(cmd.Context())
		if err != nil {
			return err
		}
		if t == nil && watch == 0 {
			return &say.Problem{
				Place: r.inv.Cluster, Text: say.F("there is no run whose result could be verified", "没有可验证结果的执行"),
				Next: say.Same(a.command("check")),
			}
		}
		findings, err := a.verified(cmd.Context(), r, t, &o, watch)
		if err != nil {
			return err
		}
		if err := a.screen.Verified(st, findings); err != nil {
			return err
		}
		if len(check.Blocking(findings)) > 0 {
			return &ended{exitBlocked}
		}
		return nil
	}
	return cmd
}

// verified are the findings of a look at the result, and of a watch over it.
// Before any run, t is nil and there is only the watch: what the upgrade is to mend.
func (a *app) verified(ctx context.Context, r *room, t *run.Trail, o *driver.Observation, watch time.Duration) ([]check.Finding, error) {
	w, watches := r.driver.(watcher)
	if watch > 0 && !watches {
		return nil, usage("--watch", say.F("driver %s has nothing to watch", "驱动 %s 没有需要持续观察的内容", r.driver.Name()), say.Same(a.command("verify")))
	}
	var findings []check.Finding
	var p *plan.Plan
	if t != nil {
		p = t.Plan
	}
	var err error
	switch {
	case t == nil:
	case t.Back:
		findings = run.BackFindings(p, o)
	default:
		if findings, err = r.driver.Verify(ctx, r.env, p); err != nil {
			return nil, err
		}
	}
	if watch > 0 {
		seen, err := w.Watch(ctx, r.env, p, watch)
		if err != nil {
			return nil, err
		}
		findings = append(findings, seen...)
	}
	return findings, nil
}
