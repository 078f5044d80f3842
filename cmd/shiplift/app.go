package main

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/driver/opengauss"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = ""

// engine is the tool's version as plans, journals and leases carry it.
func engine() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// app is one call of the tool.
type app struct {
	stdin  io.Reader
	screen *view.Screen
	getenv func(string) string
	stops  *stops
	flags  common
	vendor *opengauss.Upgradectl // the call is in the words of gs_upgradectl
}

// verbs returns the commands, each from a file of its own, in the order of the
// help. A verb that is added needs one line here.
func (a *app) verbs() []*cobra.Command {
	return []*cobra.Command{
		a.inventoryVerb(), a.pathVerb(), a.checkVerb(), a.planVerb(), a.rehearseVerb(), a.applyVerb(), a.statusVerb(),
		a.resumeVerb(), a.verifyVerb(), a.commitVerb(), a.rollbackVerb(), a.repairVerb(), a.reportVerb(), a.collectVerb(), a.upgradectlVerb(),
		a.labVerb(), a.demoVerb(), a.completionVerb(), a.versionVerb(),
		a.exitCodesTopic(), a.driversTopic(),
	}
}

// Main runs the tool and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	lang, langErr := view.Language(early(args, "--lang", ""), getenv)
	format := view.Human
	if early(args, "--output", "") == string(view.JSON) {
		format = view.JSON // also errors that are found before a verb runs
	}
	a := &app{stdin: stdin, getenv: getenv, screen: view.NewScreen(stdout, stderr, lang, format, getenv)}
	ctx, stops := listen(context.Background())
	defer stops.close()
	a.stops = stops
	err := langErr
	if err != nil {
		err = &usageError{err}
	} else {
		err = a.execute(ctx, args)
	}
	return a.finish(ctx, err)
}

// finish tells how the call ended and returns its exit code.
func (a *app) finish(ctx context.Context, err error) int {
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errInterrupted) && !is[*ended](err) {
		err = errors.Join(errInterrupted, err)
		a.screen.Error(&say.Problem{Text: say.F("interrupted", "已中断")}, a.nextOf(err), exitInterrupted)
		return exitInterrupted
	}
	code := exitOf(err)
	switch {
	case err == nil, is[*ended](err):
	case code == exitDone: // nothing to do
		a.screen.Talk(say.Of(err))
	default:
		a.screen.Error(err, a.nextOf(err), code)
	}
	return code
}

func (a *app) execute(ctx context.Context, args []string) error {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.screen.Out)
	root.SetErr(a.screen.Err)
	return root.ExecuteContext(ctx)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "shiplift",
		Short:         a.t("Upgrade clustered databases from a reviewed plan", "按评审过的计划升级数据库集群"),
		Long:          a.t(rootLongEN, rootLongZH),
		Example:       "  shiplift check --to 15.17\n  shiplift plan --to 15.17 --out p.json\n  shiplift apply p.json\n  shiplift commit",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          a.noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringVar(&a.flags.lang, "lang", "", a.t("language: en or zh (SHIPLIFT_LANG, then the locale)", "语言：en 或 zh（默认取 SHIPLIFT_LANG，其次为系统区域设置）"))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return a.flagError(cmd, err)
	})
	root.AddCommand(a.verbs()...)
	return root
}

const rootLongEN = `Shiplift reads a cluster, finds the way from the running release to the wanted
one, writes that way down as a plan that a DBA can read, carries the plan out
over ssh with a journal that survives any crash, proves the result, and keeps
the way back open until somebody commits.`

const rootLongZH = `Shiplift 读取集群，找出从当前版本到目标版本的路径，写成 DBA 能读懂的计划，
经 ssh 执行该计划并写入任何崩溃都不会丢失的日志，验证结果，
并在提交之前始终保留回滚的余地。`

// t picks the operator's language for what cobra prints.
func (a *app) t(en, zh string) string { return say.Text{EN: en, ZH: zh}.In(a.screen.Lang) }

// flagError tells what is wrong with a flag and how to learn its form.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	return &usageError{&say.Problem{
		Text: say.F("%s", "参数错误：%s", err),
		Next: say.Same(cmd.CommandPath() + " --help"),
	}}
}

// noArgs refuses words behind a verb that takes none.
func (a *app) noArgs(cmd *cobra.Command, args []string) error { return a.maxArgs(0)(cmd, args) }

// maxArgs refuses more than n words behind a verb.
func (a *app) maxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		if cmd.HasSubCommands() {
			return usage("", say.F("%s has no verb %q", "%s 没有子命令 %q", cmd.CommandPath(), args[n]), say.Same(cmd.CommandPath()+" --help"))
		}
		return usage("", say.F("%s does not take %q", "%s 不接受参数 %q", cmd.CommandPath(), args[n]), say.Same(cmd.CommandPath()+" --help"))
	}
}

// early finds a flag's value before the command line is parsed: the help and
// the errors of the parser itself are already in the operator's language.
func early(args []string, name, otherwise string) string {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if v, ok := strings.CutPrefix(arg, name+"="); ok {
			return v
		}
		if arg == name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return otherwise
}
