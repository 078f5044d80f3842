package main

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/rehearse/twin"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

// rehearseFlags are those of rehearse.
type rehearseFlags struct {
	*applyFlags
	runs int
	seed uint64
}

func (a *app) rehearseVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rehearse [PLAN]",
		Short: a.t("Carry a plan out many times on a simulated twin, with faults", "在模拟副本上多次演练计划并注入故障"),
		Long: a.t("Builds a simulated twin of the cluster from what was observed and carries your plan out\non it many times. In each run something goes wrong by chance: the tool is killed, a\nlink breaks, a machine loses power, a disk fills, a package arrives damaged, a second\noperator starts. Tells how the runs ended, how long\nthey took, for how long clients could not write, and which steps are the riskiest.\nWith a saved plan no machine is reached at all; without one the cluster is read. The\nsame plan and seed give the same result. When the twin's plan is not yours step for\nstep, it says what differs and rehearses nothing.",
			"根据观察到的状态构建集群的模拟副本，在其上多次执行您的计划。每次演练都会随机出现故障：\n工具被杀、连接中断、机器掉电、磁盘写满、升级包损坏、另一名操作者同时启动工具。给出各次演练的结局、用时、写入中断时长和风险最高的步骤。\n给出已保存的计划时不访问任何机器；否则先读取集群。相同的计划和种子得到相同的结果。\n若副本上的计划与您的计划不能逐步对应，则说明差异，不做演练。"),
		Example: "  shiplift rehearse p.json\n  shiplift rehearse p.json --runs 1000 --seed 7 --output json\n  shiplift rehearse p.json --runs 1 --seed 42        # one run, told record by record\n  shiplift rehearse --to 15.17 --package postgresql-15.17-linux-amd64.tar.gz",
		Args:    a.maxArgs(1),
	}
	a.clusterFlags(cmd)
	f := &rehearseFlags{applyFlags: &applyFlags{request: a.requestFlags(cmd)}}
	cmd.Flags().IntVar(&f.runs, "runs", 200, a.t("how many runs", "演练次数"))
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, a.t("seed of the first run; each further run takes the next", "首次演练的种子；其后依次递增"))
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.whichPlan(cmd, args); err != nil {
			return err
		}
		if f.runs < 1 || f.runs > 1_000_000 {
			return usage("--runs", say.F("%d is not between 1 and 1000000", "%d 不在 1 到 1000000 之间", f.runs), say.Text{})
		}
		r, err := a.enter("rehearse")
		if err != nil {
			return err
		}
		defer r.leave()
		return r.rehearse(cmd.Context(), f)
	}
	return cmd
}

func (r *room) rehearse(ctx context.Context, f *rehearseFlags) (err error) {
	p, _, err := r.planFor(ctx, f.applyFlags)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "shiplift-rehearse-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t, err := twin.Of(ctx, r.driver, r.inv, p, dir)
	if err != nil {
		return err
	}
	res, err := t.Rehearse(ctx, f.runs, f.seed)
	if err != nil {
		return err
	}
	if f.runs == 1 && r.app.screen.Format == view.Human {
		if err := r.tellRun(ctx, t, f.seed); err != nil {
			return err
		}
	}
	shown := r.rehearsed(t, res)
	shown.Next = r.nextAfterRehearsal(f, res)
	if err := r.app.screen.Rehearsal(shown); err != nil {
		return err
	}
	r.app.screen.Next(say.Same(shown.Next))
	if len(res.Wrong) > 0 {
		return &ended{exitFailed}
	}
	return nil
}

// nextAfterRehearsal is the run to look at, or the work itself.
func (r *room) nextAfterRehearsal(f *rehearseFlags, res *twin.Result) string {
	switch {
	case len(res.Wrong) > 0 && f.planFile != "":
		return r.app.command("rehearse", f.planFile, "--runs", "1", "--seed", strconv.FormatUint(res.Wrong[0].Seed, 10))
	case f.planFile != "":
		return r.app.command("apply", f.planFile)
	}
	return r.app.command("plan", "--to", f.request.to, "--out", "FILE")
}

// tellRun tells one run record by record.
func (r *room) tellRun(ctx context.Context, t *twin.Twin, seed uint64) error {
	one, err := t.Play(ctx, seed)
	if err != nil {
		return err
	}
	for _, fault := range one.Played.Faults {
		r.app.screen.Talk(say.F("fault: %s", "故障：%s", fault))
	}
	for _, verb := range one.Played.Verbs {
		r.app.screen.Talk(say.F("typed: shiplift %s", "执行：shiplift %s", verb))
	}
	r.app.screen.Talk(say.Same(rehearse.Transcript(one.Played.Log.Records)))
	return nil
}

// limits are what no rehearsal can tell, beside what the twin lacks.
var limits = []say.Text{
	say.F("times are those of simulated servers with hardly any data: compare them with each other, not with your clock", "时间来自几乎没有数据的模拟服务器：只宜相互比较，不能当作实际用时"),
	say.F("faults are drawn by chance; the shares say how a run bears a fault, not how often you will meet one", "故障为随机抽取；各项占比反映的是遇到故障时的结局，而非实际发生的概率"),
}

// rehearsed turns a result into what is shown.
func (r *room) rehearsed(t *twin.Twin, res *twin.Result) *view.Rehearsal {
	lang := r.app.screen.Lang
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	spread := func(s twin.Spread) view.Percentiles {
		return view.Percentiles{P50: ms(s.P50), P95: ms(s.P95), Max: ms(s.Max)}
	}
	out := &view.Rehearsal{
		Cluster: t.Plan.Cluster, Driver: t.Plan.Driver, From: t.Plan.From, To: t.Plan.To, Mode: t.Plan.Request.Mode, Runs: res.Runs, Seed: res.Seed,
		Endings: view.Endings{
			Upgraded: res.Endings[twin.Upgraded], TriedBack: res.Endings[twin.TriedOut], RolledBack: res.Endings[twin.BackedUp],
			Person: res.Endings[twin.Person], Broken: res.Endings[twin.Broken],
		},
		Calm: view.RehearsedRun{Took: ms(res.Calm.Took), Stopped: ms(res.Calm.Stopped)},
		Took: spread(res.Took), Stopped: spread(res.Stopped), By: "steps", Pause: twin.Pause,
		Risky: []view.RiskyStep{}, Broken: []view.BrokenRun{},
	}
	if res.Measured {
		out.By = "writes"
	}
	for _, n := range t.Nodes {
		out.Twin = append(out.Twin, view.TwinNode{Name: n.Name, Role: n.Role, Release: n.Release, Twin: n.Twin})
	}
	for _, k := range res.Risky {
		out.Risky = append(out.Risky, view.RiskyStep{
			Step: k.Step.ID, Says: k.Step.Says.In(lang), Impact: k.Step.Impact, Met: k.Met, Back: k.Back, Person: k.Person, Error: k.Error.In(lang), Seed: k.Seed,
		})
	}
	for _, w := range res.Wrong {
		out.Broken = append(out.Broken, view.BrokenRun{Seed: w.Seed, Why: w.Why})
	}
	for _, m := range append(limits[:len(limits):len(limits)], t.Missing...) {
		out.Limits = append(out.Limits, m.In(lang))
	}
	return out
}
