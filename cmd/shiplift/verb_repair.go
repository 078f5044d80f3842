package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/driver/dameng"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// repairers make the request of a repair, per product that has one.
var repairers = map[string]func(v release.Version, oldBin string) plan.Request{
	dameng.Driver{}.Name(): dameng.RepairRequest,
}

// repairFlags are those of repair-exit.
type repairFlags struct {
	release, oldBin string
	run             *runFlags
}

func (a *app) repairVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair-exit",
		Short: a.t("Settle a cluster that was stopped in the wrong order, with the old software (dameng)", "用旧版本修复未按顺序停止的集群（dameng）"),
		Long: a.t("For a Dameng whose servers were not closed in order, so that the new software refuses\nthem (\"Upgrade is not allowed\"). Puts the old binaries back where --old-bin names them,\nstarts everything with the old release, lets Data Watch settle, closes everything in\norder, proves that each exit was clean, and opens it again. Then upgrade as usual. What is\ncut off goes on with `shiplift resume`.",
			"用于达梦服务器未按顺序停止、新版本拒绝启动（“Upgrade is not allowed”）的情况：\n若给出 --old-bin 则先放回旧执行码；用旧版本启动全部成员，等待守护系统稳定，按顺序退出，\n证明每个成员均为正常退出，然后再次打开。之后照常升级。中断后用 shiplift resume 继续。"),
		Example: "  shiplift repair-exit --release 8.1.1.156\n  shiplift repair-exit --release 8.1.1.156 --old-bin /opt/dmdbms/bin_old --yes",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	a.yesFlag(cmd)
	f := &repairFlags{run: &runFlags{}}
	cmd.Flags().StringVar(&f.release, "release", "", a.t("the release that ran last; needed where nothing runs that could tell it (DM8)", "最后运行的版本；没有实例运行、无法得知版本时（DM8）必须给出"))
	cmd.Flags().StringVar(&f.oldBin, "old-bin", "", a.t("directory on the nodes to which the old binaries were moved; they are put back in place", "各节点上旧执行码所在目录；将放回原处"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := a.enter("repair-exit")
		if err != nil {
			return err
		}
		defer r.leave()
		return r.repair(cmd.Context(), f)
	}
	return cmd
}

func (r *room) repair(ctx context.Context, f *repairFlags) error {
	request, ok := repairers[r.driver.Name()]
	if !ok {
		return usage("", say.F("driver %s knows no repair-exit; dameng does", "驱动 %s 没有 repair-exit；仅 dameng 有", r.driver.Name()), say.Text{})
	}
	var v release.Version
	if f.release != "" {
		var err error
		if v, err = release.Parse(f.release); err != nil {
			return usage("--release", say.F("%q is not a release", "%q 不是版本号", f.release), say.Text{})
		}
	}
	p, findings, err := r.draw(ctx, request(v, f.oldBin))
	if err != nil {
		return err
	}
	if err := r.approve(p, findings); err != nil {
		return err
	}
	opts, err := f.run.options("repair-exit", p)
	if err != nil {
		return err
	}
	// The repair changes no release and removes nothing: naming the verb names its gate.
	opts.Accept = append(opts.Accept, plan.CommitGate)
	return r.start(ctx, p, opts, nil)
}
