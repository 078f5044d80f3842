package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/collect"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/say"
)

// collectFlags are those of collect.
type collectFlags struct {
	begin, end, out string
	nodes           []string
}

func (a *app) collectVerb() *cobra.Command {
	f := &collectFlags{}
	cmd := &cobra.Command{
		Use:   "collect",
		Short: a.t("Gather logs, configuration, journals and states of all nodes in one archive", "将所有节点的日志、配置、执行日志和状态收集到一个归档中"),
		Long: a.t("Takes what was written between --begin and --end (times of this machine), and what the\nnodes say now. Passwords are masked, keys and certificates are left out. A node that is\ndown is told and costs its own part only. Changes nothing on any node.",
			"收集 --begin 与 --end 之间（本机时间）写入的日志，以及各节点当前状态。密码会被掩盖，\n密钥和证书不收集。无法访问的节点会注明，只影响该节点的部分。不对任何节点做更改。"),
		Example: "  shiplift collect --begin \"20200724 00:00\" --end \"20200725 00:00\"\n  shiplift collect --begin \"2026-11-21 08:00\" --nodes db2 --out /tmp",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.begin, "begin", "", a.t("from this time on: \"yyyymmdd hh:mm\"", "起始时间：\"yyyymmdd hh:mm\""))
	fs.StringVar(&f.end, "end", "", a.t("up to this time; now when not given", "结束时间；不指定则为当前时间"))
	fs.StringSliceVar(&f.nodes, "nodes", nil, a.t("these nodes only", "只收集这些节点"))
	fs.StringVar(&f.out, "out", ".", a.t("directory of the archive", "归档所在目录"))
	_ = cmd.MarkFlagDirname("out")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		begin, end, err := f.times(time.Now())
		if err != nil {
			return err
		}
		r, err := a.enter("collect")
		if err != nil {
			return err
		}
		defer r.leave()
		for _, n := range f.nodes {
			if err := r.mustHave("--nodes", n); err != nil {
				return err
			}
		}
		return r.collect(cmd.Context(), collect.Request{Begin: begin, End: end, Nodes: f.nodes, Hide: r.secrets.Hide, Report: a.screen.Talk}, f.out)
	}
	return cmd
}

// collectTimes are the forms of a time, gs_collector's first.
var collectTimes = []string{"20060102 15:04", "2006-01-02 15:04", "2006-01-02 15:04:05", time.RFC3339}

func (f *collectFlags) times(now time.Time) (begin, end time.Time, err error) {
	if f.begin == "" {
		return begin, end, usage("--begin", say.F("it is missing", "缺少该参数"), say.Same("shiplift collect --begin \"20200724 00:00\" --end \"20200725 00:00\""))
	}
	if begin, err = collectTime("--begin", f.begin); err != nil {
		return begin, end, err
	}
	if end = now; f.end != "" {
		if end, err = collectTime("--end", f.end); err != nil {
			return begin, end, err
		}
	}
	if !begin.Before(end) {
		return begin, end, usage("--begin", say.F("%s is not before %s", "%s 不早于 %s", begin.Format(time.DateTime), end.Format(time.DateTime)), say.Text{})
	}
	return begin, end, nil
}

func collectTime(flag, v string) (time.Time, error) {
	for _, form := range collectTimes {
		if at, err := time.ParseInLocation(form, v, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usage(flag, say.F("%q is not a time; expected \"yyyymmdd hh:mm\"", "%q 不是时间；应为 \"yyyymmdd hh:mm\"", v), say.Text{})
}

func (r *room) collect(ctx context.Context, req collect.Request, dir string) error {
	top := "collector_" + time.Now().Format("20060102_150405")
	name := filepath.Join(dir, top+".tar.gz")
	own, err := r.own(ctx, req.Begin)
	if err != nil {
		return err
	}
	req.Own = own
	out, err := os.OpenFile(name+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return usage("--out", say.F("the archive cannot be written: %s", "无法写入归档：%s", err.Error()), say.Text{})
	}
	nodes, err := collect.Gather(ctx, r.env, r.driver, req, top, out)
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(name + ".part")
		return err
	}
	if err := os.Rename(name+".part", name); err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Trouble != "" {
			r.app.screen.Talk(say.F("%s: not all could be had: %s", "%s：未能收集完整：%s", n.Name, n.Trouble))
		}
	}
	if r.app.screen.Format == "json" {
		return r.app.screen.Object(map[string]any{"v": 1, "archive": name, "nodes": nodes})
	}
	return r.app.screen.Raw([]byte(r.app.t("All results are stored in ", "结果已存入 ") + name + ".\n"))
}

// own are Shiplift's records: the runs that this machine or a node knows of, and
// the commands that were run from here.
func (r *room) own(ctx context.Context, begin time.Time) ([]collect.File, error) {
	var out []collect.File
	runs, err := r.store.List()
	if err != nil {
		return nil, err
	}
	for _, id := range runs {
		if out, err = ownFile(out, "journal/"+filepath.Base(r.store.Path(id)), r.store.Path(id), begin); err != nil {
			return nil, err
		}
	}
	logs := filepath.Join(r.store.Dir, r.store.Cluster, "log")
	entries, err := os.ReadDir(logs)
	if err != nil && !isMissing(err) {
		return nil, err
	}
	for _, e := range entries {
		if out, err = ownFile(out, "log/"+e.Name(), filepath.Join(logs, e.Name()), begin); err != nil {
			return nil, err
		}
	}
	// The newest run may have been made on another machine.
	found, err := r.find(ctx)
	if err != nil || found == nil || slices.Contains(runs, found.Run) {
		return out, nil //nolint:nilerr // nodes that do not answer are told with what is collected of them
	}
	lines, err := journalLines(found.Log.Records)
	return append(out, collect.File{Name: "journal/" + found.Run + ".of-the-nodes.jsonl", Data: lines}), err
}

func ownFile(out []collect.File, name, file string, begin time.Time) ([]collect.File, error) {
	info, err := os.Stat(file)
	if err != nil || info.ModTime().Before(begin) {
		return out, nil //nolint:nilerr // gone meanwhile
	}
	b, err := os.ReadFile(file)
	return append(out, collect.File{Name: name, Data: b}), err
}

func journalLines(records []journal.Record) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for i := range records {
		if err := enc.Encode(&records[i]); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}
