package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

func (a *app) reportVerb() *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use:   "report",
		Short: a.t("Show the record of a run: who, when, what, how long", "显示一次执行的记录：何人、何时、做了什么、用时多久"),
		Long: a.t("Shows the newest run, or the one that is named with --run, as text or JSON: the steps\nwith their attempts and times, what the checks had found, skipped checks with their\nreasons, what was measured, and everything that happened in order.",
			"以文本或 JSON 显示最近一次执行，或 --run 指定的执行：各步骤的次数与用时、检查结论、\n跳过的检查及原因、测量结果，以及按顺序的全部经过。"),
		Example: "  shiplift report\n  shiplift report --output json > report.json\n  shiplift report --run 20261121T060102Z-1a2b",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	cmd.Flags().StringVar(&id, "run", "", a.t("the run's id; the newest when empty", "执行编号；为空则取最近一次"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := a.enter("report")
		if err != nil {
			return err
		}
		defer r.leave()
		records, err := r.records(cmd, id)
		if err != nil {
			return err
		}
		t, err := run.Read(records)
		if err != nil {
			return err
		}
		return a.screen.Report(a.screen.ReportOf(records, t, t.State(false)))
	}
	return cmd
}

// records reads the named run on this machine, or the newest one anywhere.
func (r *room) records(cmd *cobra.Command, id string) ([]journal.Record, error) {
	if id == "" {
		found, err := r.find(cmd.Context())
		if err != nil {
			return nil, err
		}
		if found == nil {
			return nil, &say.Problem{Place: r.inv.Cluster, Text: say.F("there is no run yet", "还没有任何执行"), Next: say.Same(r.app.command("status"))}
		}
		return found.Log.Records, nil
	}
	runs, err := r.store.List()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(runs, id) {
		return nil, usage("--run", say.F("this machine has no run %q; it has %v", "本机没有执行 %q；已有 %v", id, runs), say.Text{})
	}
	log, err := r.store.Read(id)
	if err != nil {
		return nil, err
	}
	return log.Records, nil
}
