package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// goOn is apply --continue: the nodes that an earlier apply --nodes left, in the
// same run and the same journal. It may be typed again after a failure.
func (a *app) goOn(cmd *cobra.Command, f *applyFlags) error {
	others := slices.DeleteFunc(slices.Clone(requestNames), func(n string) bool { return n == "continue" })
	if extra := given(cmd, others); len(extra) > 0 {
		return usage(extra[0], say.F("the run that is open holds every option; it cannot be changed here", "未结束的执行包含全部选项，此处不能更改"), say.Same(a.command("apply", "--continue")))
	}
	return a.onOpenRun(cmd.Context(), "apply", f.meter, func(s *session, t *run.Trail) (run.Options, error) {
		gate, err := s.restOf(t)
		if err != nil {
			return run.Options{}, err
		}
		if t.State(false) == run.Upgraded {
			return run.Options{}, a.over(s, t, a.command("commit"))
		}
		opts, err := f.run.options("apply", t.Plan)
		if err != nil {
			return opts, err
		}
		opts.Accept = append(opts.Accept, gate)
		return opts, a.confirm(resumeQuestion(t))
	})
}

// restOf is the gate behind the first nodes of an open run; a refusal when
// there is nothing to continue.
func (s *session) restOf(t *run.Trail) (string, error) {
	no := func(text say.Text, next string) error {
		return &driver.RefusalError{Code: "GAUSS-52920", Text: text, Next: say.Same(next)}
	}
	switch {
	case t == nil || t.Final != "":
		return "", no(say.F("there is no open run whose first nodes are done: begin one with --nodes", "没有已完成首批节点且尚未结束的执行：请先用 --nodes 开始"), s.app.command("apply", "--nodes", "NODE", "--package", "FILE"))
	case t.Back:
		return "", no(say.F("run %s is being rolled back", "执行 %s 正在回滚", t.Run), s.app.command("rollback"))
	}
	i := slices.IndexFunc(t.Plan.Steps, func(p plan.Step) bool { return p.Gate != nil && p.Gate.Wait })
	if i < 0 {
		return "", no(say.F("run %s takes all nodes at once: nothing was left for later", "执行 %s 一次升级全部节点，没有剩余节点", t.Run), s.app.command("resume"))
	}
	return t.Plan.Steps[i].ID, nil
}
