package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	lab "github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

// demo is the main job on a real cluster that exists for a minute.
type demo struct {
	app  *app
	dir  string
	lab  *lab.Lab
	from string
	to   string
	mode string
	keep bool
}

func (a *app) demoVerb() *cobra.Command {
	d := &demo{app: a}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: a.t("Upgrade a real PostgreSQL cluster of three nodes under load, from lab to commit", "在负载下升级真实的三节点 PostgreSQL 集群：从搭建到提交"),
		Long: a.t("Brings up a lab of real PostgreSQL servers, shows checks and plan, carries the plan out\nwhile clients write, verifies, prints the interruption and the lost writes, commits, and\ntakes the lab down. About a minute, plus fetching PostgreSQL the first time. Ctrl-C\nstops it and still takes the lab down.",
			"搭建真实的 PostgreSQL 演练环境，显示检查和计划，在客户端持续写入时执行计划，验证，\n输出中断时长和丢失的写入，提交，最后删除环境。约一分钟，首次另需下载 PostgreSQL。\n按 Ctrl-C 停止时同样会删除环境。"),
		Example: "  shiplift demo\n  shiplift demo --mode inplace --release 16.9 --to 16.10\n  shiplift demo --keep --dir /tmp/demo",
		Args:    a.noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&d.dir, "dir", "", a.t("where the lab lies; a temporary directory when empty", "演练环境的目录；为空则使用临时目录"))
	f.StringVar(&d.from, "release", "15.16", a.t("the release to start from", "初始版本"))
	f.StringVar(&d.to, "to", "15.17", a.t("the release to go to", "目标版本"))
	f.StringVar(&d.mode, "mode", "rolling", a.t("rolling (also: grey) or inplace", "rolling（又称 grey，灰度）或 inplace（就地）"))
	f.BoolVar(&d.keep, "keep", false, a.t("leave the lab running at the end", "结束后保留演练环境"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) }
	return cmd
}

func (d *demo) run(ctx context.Context) (err error) {
	if err = d.place(); err != nil {
		return err
	}
	began := time.Now()
	d.tell(say.F("A cluster of three real PostgreSQL %s servers: a primary and two standbys.", "搭建三个真实的 PostgreSQL %s 服务器：一主两备。", d.from))
	// A lab that is half made removes itself; from here on it is ours to remove.
	if d.lab, err = lab.Up(ctx, d.options()); err != nil {
		return errors.Join(err, removeEmpty(d.dir))
	}
	defer func() { err = errors.Join(err, d.down(err)) }()
	d.app.screen.Talk(say.Same("$ export SHIPLIFT_CLUSTER=" + quote(d.lab.Inventory)))
	for _, act := range d.acts() {
		d.tell(act.says)
		if err := d.shiplift(ctx, act.args...); err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	d.tell(say.F("Done in %s.", "完成，用时 %s。", view.Short(time.Since(began))))
	return nil
}

// place makes a directory when none is named. As root the servers run as an
// ordinary user, who must be able to enter it.
func (d *demo) place() error {
	if d.dir != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "shiplift-demo-")
	if err != nil {
		return err
	}
	d.dir = dir
	return os.Chmod(dir, 0o755) //nolint:gosec // secrets inside it have their own, closed directory
}

func (d *demo) options() lab.Options {
	o := lab.Options{Dir: d.dir, Nodes: 3, Release: d.from, To: []string{d.to}, Report: d.app.screen.Talk}
	o.Cache.Report = d.app.screen.Talk
	return o
}

// act is one command of the demo and why it is given.
type act struct {
	says say.Text
	args []string
}

func (d *demo) acts() []act {
	pkg, file := "", filepath.Join(d.dir, "plan.json")
	for _, p := range d.lab.Packages {
		if p.Release == d.to {
			pkg = p.Path
		}
	}
	return []act{
		{say.F("What is there? Roles are observed, never believed from a file.", "现状如何？角色由观察得到，不取自文件。"), []string{"status"}},
		{say.F("May it be upgraded? Every answer has an id and evidence.", "能否升级？每项结论都有标识和依据。"), []string{"check", "--to", d.to, "--package", pkg, "--mode", d.mode}},
		{say.F("The plan, for review. What can be undone says so.", "供评审的计划。可回滚的步骤均有标明。"), []string{"plan", "--to", d.to, "--package", pkg, "--mode", d.mode, "--out", file}},
		{say.F("Carry it out while clients write all the time.", "在客户端持续写入的同时执行计划。"), []string{"apply", file, "--meter", "--meter-dsn-file", d.lab.DSNFile(), "--yes"}},
		{say.F("Prove the result from what is read now, not from exit codes.", "根据当前读取的状态（而非退出码）验证结果。"), []string{"verify"}},
		{say.F("Until now `shiplift rollback` would bring %s back. Commit gives that up.", "到此为止 shiplift rollback 仍可恢复 %s；提交后不再可回滚。", d.from), []string{"commit", "--yes"}},
	}
}

// shiplift runs the tool as an operator would, in this process.
func (d *demo) shiplift(ctx context.Context, args ...string) error {
	d.app.screen.Talk(say.Same("$ " + strings.Join(append([]string{"shiplift"}, args...), " ")))
	sub := &app{stdin: d.app.stdin, getenv: d.env, stops: d.app.stops, screen: d.app.screen}
	err := sub.execute(ctx, args)
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	if code := exitOf(err); err != nil && code != exitDone {
		if !is[*ended](err) {
			d.app.screen.Error(err, sub.nextOf(err), code)
		}
		return &ended{code}
	}
	return nil
}

// env names the lab's cluster and keeps the demo's journals with the lab.
func (d *demo) env(name string) string {
	switch name {
	case "SHIPLIFT_CLUSTER":
		return d.lab.Inventory
	case "XDG_STATE_HOME":
		return filepath.Join(d.dir, "state")
	}
	return d.app.getenv(name)
}

func (d *demo) tell(t say.Text) {
	d.app.screen.Talk(say.Text{EN: "\n── " + t.EN, ZH: "\n── " + t.In(say.Chinese)})
}

// down takes the lab down, also after Ctrl-C; a failed demo that is to be kept stays.
func (d *demo) down(failed error) error {
	if d.keep {
		d.app.screen.Talk(say.F("the lab is left running; take it down with: shiplift lab down --dir %s", "演练环境保持运行；删除命令：shiplift lab down --dir %s", quote(d.dir)))
		return nil
	}
	d.tell(say.F("Take the lab down.", "删除演练环境。"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := lab.Down(ctx, d.dir)
	if failed == nil || err == nil {
		// what the demo itself put there: state and plan
		err = errors.Join(err, os.RemoveAll(filepath.Join(d.dir, "state")), os.RemoveAll(filepath.Join(d.dir, "plan.json")), removeEmpty(d.dir))
	}
	return err
}

// removeEmpty removes a directory that nothing is left in.
func removeEmpty(dir string) error {
	if err := os.Remove(dir); err != nil && !isMissing(err) {
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			return nil // it holds what somebody else put there
		}
		return err
	}
	return nil
}
