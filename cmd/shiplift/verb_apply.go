package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// runFlags say how far a verb carries a run; nothing in them changes what a step does.
type runFlags struct {
	until, pause string
	accept       []string
}

func (a *app) runFlags(cmd *cobra.Command) *runFlags {
	r := &runFlags{}
	f := cmd.Flags()
	f.StringVar(&r.until, "until", "", a.t("stop before this gate or step", "停在该关口或步骤之前"))
	f.StringVar(&r.pause, "pause-between", "", a.t("nodes: stop each time the next node's turn comes", "nodes：每个节点完成后暂停"))
	f.StringArrayVar(&r.accept, "accept", nil, a.t("cross this one-way gate (repeatable)", "越过该单向关口（可重复）"))
	_ = cmd.RegisterFlagCompletionFunc("pause-between", cobra.FixedCompletions([]string{"nodes"}, cobra.ShellCompDirectiveNoFileComp))
	return r
}

// options turns the flags into options for a run of p; a name that p does not
// have is refused, since the run would go past it.
func (r *runFlags) options(verb string, p *plan.Plan) (run.Options, error) {
	opts := run.Options{Verb: verb, Until: r.until, Accept: r.accept, PauseOn: r.pause}
	if r.pause != "" && r.pause != "nodes" {
		return opts, usage("--pause-between", say.F("%q; expected nodes", "%q；应为 nodes", r.pause), say.Text{})
	}
	var steps, gates []string
	for i := range p.Steps {
		steps = append(steps, p.Steps[i].ID)
		if p.Steps[i].Gate != nil {
			gates = append(gates, p.Steps[i].ID)
		}
	}
	if r.until != "" && !slices.Contains(steps, r.until) {
		return opts, usage("--until", say.F("the plan has no gate or step %q; its gates: %s", "计划中没有关口或步骤 %q；关口有：%s", r.until, strings.Join(gates, ", ")), say.Text{})
	}
	for _, g := range r.accept {
		if !slices.Contains(gates, g) {
			return opts, usage("--accept", say.F("the plan has no gate %q; its gates: %s", "计划中没有关口 %q；关口有：%s", g, strings.Join(gates, ", ")), say.Text{})
		}
	}
	return opts, nil
}

// applyFlags are those of apply.
type applyFlags struct {
	planFile string
	request  *requestFlags
	run      *runFlags
	meter    *meterFlags
}

func (a *app) applyVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply [PLAN]",
		Short: a.t("Carry out a plan up to the gate commit", "执行计划，直到关口 commit"),
		Long: a.t("Carries out a saved plan, or makes one from the flags, shows it and asks. The run\nstops before the gate commit with everything upgraded and the way back open: then\n`shiplift commit` or `shiplift rollback`. Ctrl-C once finishes the running steps and\nstops; twice cancels them. Either way `shiplift resume` goes on.",
			"执行已保存的计划；或按参数生成计划、显示并询问后执行。执行停在关口 commit 之前：\n此时全部节点已升级且仍可回滚，之后用 shiplift commit 或 shiplift rollback。\n按一次 Ctrl-C：完成正在执行的步骤后停止；按两次：取消它们。之后均可用 shiplift resume 继续。"),
		Example: "  shiplift apply p.json\n  shiplift apply p.json --pause-between nodes --meter\n  shiplift apply --to 15.17 --package postgresql-15.17-linux-amd64.tar.gz --yes\n  shiplift apply p.json --output json",
		Args:    a.maxArgs(1),
	}
	a.clusterFlags(cmd)
	a.yesFlag(cmd)
	f := &applyFlags{request: a.requestFlags(cmd), run: a.runFlags(cmd), meter: a.meterFlags(cmd)}
	cmd.Flags().StringVar(&f.planFile, "plan", "", a.t("the plan to carry out; the same as PLAN", "要执行的计划文件；与 PLAN 相同"))
	_ = cmd.MarkFlagFilename("plan", "json")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.request.goOn && len(args) == 0 && f.planFile == "" {
			return a.goOn(cmd, f)
		}
		if err := f.whichPlan(cmd, args); err != nil {
			return err
		}
		r, err := a.enter("apply")
		if err != nil {
			return err
		}
		defer r.leave()
		return r.apply(cmd.Context(), f)
	}
	return cmd
}

// whichPlan settles whether a saved plan is meant; then no flag may say
// anything that the plan says already.
func (f *applyFlags) whichPlan(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		if f.planFile != "" && f.planFile != args[0] {
			return usage("--plan", say.F("two plans are named: %s and %s", "给出了两个计划：%s 和 %s", args[0], f.planFile), say.Text{})
		}
		f.planFile = args[0]
	}
	if f.planFile == "" {
		return nil
	}
	if extra := given(cmd, requestNames); len(extra) > 0 {
		return usage(extra[0], say.F("a saved plan holds every option; it cannot be changed here", "已保存的计划包含全部选项，此处不能更改"),
			say.F("make another plan: shiplift plan %s … --out FILE", "重新生成计划：shiplift plan %s … --out 文件", strings.Join(extra, " ")))
	}
	return nil
}

func (r *room) apply(ctx context.Context, f *applyFlags) error {
	p, findings, err := r.planFor(ctx, f)
	if err != nil {
		return err
	}
	opts, err := f.run.options("apply", p)
	if err != nil {
		return err
	}
	if f.planFile == "" {
		if err := r.approve(p, findings); err != nil {
			return err
		}
	}
	return r.start(ctx, p, opts, f.meter)
}

// start begins a run of a plan and carries it as far as options say. Without a
// meter nothing is measured.
func (r *room) start(ctx context.Context, p *plan.Plan, opts run.Options, meter *meterFlags) error {
	s, err := r.take(ctx, opts.Verb+" "+p.From+" → "+p.To)
	if err != nil {
		return err
	}
	defer s.give(ctx)
	if err := s.noOpenRun(); err != nil {
		return err
	}
	findings, err := s.fresh(ctx, p)
	if err != nil {
		return err
	}
	j, err := s.begin(ctx, p, findings)
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

// planFor reads the saved plan or makes one.
func (r *room) planFor(ctx context.Context, f *applyFlags) (*plan.Plan, []check.Finding, error) {
	if f.planFile != "" {
		p, err := plan.Load(f.planFile)
		if err != nil {
			return nil, nil, &usageError{err}
		}
		if p.Driver != r.driver.Name() || p.ClusterID != r.inv.ID() {
			return nil, nil, &plan.OtherClusterError{Plan: p.ClusterID, Inventory: r.inv.ID()}
		}
		return p, nil, nil
	}
	req, err := f.request.request()
	if err != nil {
		return nil, nil, err
	}
	if err := r.app.mustTo(req, "apply"); err != nil {
		return nil, nil, err
	}
	return r.draw(ctx, req)
}

// approve shows a plan that nobody has seen yet and asks.
func (r *room) approve(p *plan.Plan, findings []check.Finding) error {
	if err := r.app.screen.Plan(p, ""); err != nil {
		return err
	}
	if err := r.blocked(findings); err != nil {
		r.app.screen.TalkFindings(check.Blocking(findings))
		return err
	}
	return r.app.confirm(say.F("carry out this plan on %s?", "在 %s 上执行该计划？", r.inv.Cluster))
}

// noOpenRun refuses a new run while another is open: its way back would be lost.
func (s *session) noOpenRun() error {
	t, err := s.trail()
	if err != nil || t == nil || t.Final != "" {
		return err
	}
	state := t.State(false)
	next := s.app.command("resume")
	if _, crossed := t.Crossed(); !crossed {
		next += say.Text{EN: "   (or: ", ZH: "   （或："}.In(s.app.screen.Lang) + s.app.command("rollback") + say.Text{EN: ")", ZH: "）"}.In(s.app.screen.Lang)
	}
	if state == run.Upgraded {
		next = strings.Replace(next, "resume", "commit", 1)
	}
	return &say.Problem{
		Place: s.inv.Cluster,
		Text:  say.F("run %s (%s → %s) is not over: %s", "执行 %s（%s → %s）尚未结束：%s", t.Run, t.Plan.From, t.Plan.To, state),
		Next:  say.Same(next),
	}
}

// fresh looks again, now that nobody else can change anything: the plan must
// fit what is there, and the checks must still allow it.
func (s *session) fresh(ctx context.Context, p *plan.Plan) ([]check.Finding, error) {
	o, err := s.observe(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.CheckFresh(s.inv.ID(), o.Facts); err != nil {
		return nil, err
	}
	findings, err := s.ask(ctx, o, p.Request)
	if err != nil {
		return nil, err
	}
	if err := s.blocked(findings); err != nil {
		s.app.screen.TalkFindings(check.Blocking(findings))
		return nil, err
	}
	return findings, nil
}
