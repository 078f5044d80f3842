package main

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

// common are flags that several verbs have. A verb has only those that it honours.
type common struct {
	lang      string
	inventory string
	driver    string
	stateDir  string
	output    string
	verbose   bool
	yes       bool
}

const defaultInventory = "cluster.yaml"

// clusterFlags are those of every verb that reaches the cluster.
func (a *app) clusterFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&a.flags.inventory, "cluster-file", "c", cmp.Or(a.getenv("SHIPLIFT_CLUSTER"), defaultInventory),
		a.t("inventory of the cluster (SHIPLIFT_CLUSTER)", "集群清单文件（SHIPLIFT_CLUSTER）"))
	f.StringVar(&a.flags.driver, "driver", "", a.t("the driver that the inventory must name: "+strings.Join(driverNames(), ", "), "清单所用的驱动："+strings.Join(driverNames(), "、")))
	f.StringVar(&a.flags.stateDir, "state-dir", "", a.t("directory of the journals on this machine (~/.local/state/shiplift)", "本机保存日志的目录（~/.local/state/shiplift）"))
	f.BoolVarP(&a.flags.verbose, "verbose", "v", false, a.t("show each command that is run on a node", "显示在各节点上执行的每条命令"))
	_ = cmd.MarkFlagFilename("cluster-file", "yaml", "yml")
	_ = cmd.MarkFlagDirname("state-dir")
	_ = cmd.RegisterFlagCompletionFunc("driver", cobra.FixedCompletions(driverNames(), cobra.ShellCompDirectiveNoFileComp))
	a.outputFlag(cmd)
}

// outputFlag is that of every verb that writes data.
func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().Var(&outputValue{a.screen}, "output", a.t("human or json", "输出格式：human 或 json"))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"human", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// outputValue sets the screen's format.
type outputValue struct{ screen *view.Screen }

func (o *outputValue) String() string {
	if o.screen == nil {
		return string(view.Human)
	}
	return string(o.screen.Format)
}
func (*outputValue) Type() string { return "format" }
func (o *outputValue) Set(v string) error {
	if v != string(view.Human) && v != string(view.JSON) {
		return say.Errorf("expected human or json", "应为 human 或 json")
	}
	o.screen.Format = view.Format(v)
	return nil
}

func (a *app) yesFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&a.flags.yes, "yes", "y", false, a.t("answer questions with yes; never crosses a one-way gate", "对询问一律回答“是”；不会越过单向关口"))
}

// requestFlags hold what becomes a plan.Request.
type requestFlags struct {
	to, mode, component, candidate string
	packages, nodes                []string
	skip, options                  []string
	maxUnavailable                 int
	switchBack, keepOld, goOn      bool
	maxBackupAge                   time.Duration
}

func (a *app) requestFlags(cmd *cobra.Command) *requestFlags {
	r := &requestFlags{}
	f := cmd.Flags()
	f.StringVar(&r.to, "to", "", a.t("the wanted release", "目标版本"))
	f.StringArrayVar(&r.packages, "package", nil, a.t("the vendor's archive with its .sha256 beside it (repeatable)", "厂商升级包，旁边需有 .sha256（可重复）"))
	f.StringVar(&r.mode, "mode", "", a.t("rolling (also: grey) or inplace; not given: rolling where the cluster can", "rolling（又称 grey，灰度）或 inplace（就地）；不指定时，能滚动则滚动"))
	f.StringVar(&r.component, "component", "", a.t("upgrade one component alone, by the driver's name for it", "只升级某个组件（名称由驱动定义）"))
	f.StringVar(&r.candidate, "candidate", "", a.t("the standby that becomes the primary; the best one when not named", "切换后成为主库的备库；不指定则自动选择"))
	f.BoolVar(&r.switchBack, "switch-back", false, a.t("make the old primary the primary again at the end", "最后切换回原主库"))
	f.IntVar(&r.maxUnavailable, "max-unavailable", 1, a.t("standbys that are upgraded at once", "同时升级的备库数"))
	f.StringSliceVar(&r.nodes, "nodes", nil, a.t("these nodes first; the rest later with --continue", "先升级这些节点；其余节点之后用 --continue"))
	f.BoolVar(&r.goOn, "continue", false, a.t("the rest after an earlier run with --nodes", "继续升级此前 --nodes 未包含的节点"))
	f.StringArrayVar(&r.skip, "skip", nil, a.t("do not heed a check: ID=REASON, kept in plan and report (repeatable)", "忽略某项检查：标识=原因，会写入计划和报告（可重复）"))
	f.StringArrayVar(&r.options, "option", nil, a.t("an option of the driver: KEY=VALUE (repeatable)", "驱动自有选项：键=值（可重复）"))
	f.DurationVar(&r.maxBackupAge, "max-backup-age", 0, a.t("refuse when the newest backup is older, e.g. 24h", "最近备份早于此时长则拒绝，如 24h"))
	f.BoolVar(&r.keepOld, "keep-old", false, a.t("commit leaves the old software on the nodes", "提交后保留旧版本软件"))
	_ = cmd.MarkFlagFilename("package", "gz", "tgz", "bz2", "xz", "tar")
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"rolling", "inplace", "grey"}, cobra.ShellCompDirectiveNoFileComp))
	return r
}

// requestNames are the flags that requestFlags defines.
var requestNames = []string{
	"to", "package", "mode", "component", "candidate", "switch-back", "max-unavailable", "nodes", "continue", "skip", "option", "max-backup-age", "keep-old",
}

// given returns the flags of names that stand on the command line.
func given(cmd *cobra.Command, names []string) []string {
	var out []string
	for _, n := range names {
		if cmd.Flags().Changed(n) {
			out = append(out, "--"+n)
		}
	}
	return out
}

// request turns flags into a request; what does not fit is refused.
func (r *requestFlags) request() (plan.Request, error) {
	req := plan.Request{
		To: r.to, Mode: r.mode, Component: r.component, Nodes: slices.Clone(r.nodes), Continue: r.goOn, MaxUnavailable: r.maxUnavailable,
		Candidate: r.candidate, SwitchBack: r.switchBack, KeepOld: r.keepOld, MaxBackupAge: plan.Duration(r.maxBackupAge),
	}
	switch r.mode {
	case "grey":
		req.Mode = "rolling"
	case "rolling", "inplace", "": // the driver knows what the cluster can
	default:
		return req, usage("--mode", say.F("no mode %q; expected rolling, grey or inplace", "没有模式 %q；应为 rolling、grey 或 inplace", r.mode), say.Text{})
	}
	if r.maxUnavailable < 1 {
		return req, usage("--max-unavailable", say.F("%d is not 1 or more", "%d 应不小于 1", r.maxUnavailable), say.Text{})
	}
	if r.maxBackupAge < 0 {
		return req, usage("--max-backup-age", say.F("%s lies in the future", "%s 是负数", r.maxBackupAge), say.Text{})
	}
	for _, p := range r.packages {
		abs, err := filepath.Abs(p)
		if err != nil {
			return req, say.Errorf("package %s: %w", "升级包 %s：%w", p, err)
		}
		req.Packages = append(req.Packages, abs)
	}
	for _, s := range r.skip {
		id, reason, ok := strings.Cut(s, "=")
		if id, reason = strings.TrimSpace(id), strings.TrimSpace(reason); !ok || id == "" || reason == "" {
			return req, usage("--skip", say.F("%q has no reason; expected ID=REASON", "%q 没有原因；应为 标识=原因", s), say.F("shiplift plan --skip disk=\"the volume is thin-provisioned\"", "shiplift plan --skip disk=\"该卷为精简配置\""))
		}
		req.Skip = append(req.Skip, check.Skip{ID: id, Reason: reason})
	}
	for _, o := range r.options {
		key, value, ok := strings.Cut(o, "=")
		if !ok || key == "" {
			return req, usage("--option", say.F("%q is not KEY=VALUE", "%q 不是 键=值 的形式", o), say.Text{})
		}
		if req.Options == nil {
			req.Options = map[string]string{}
		}
		if _, twice := req.Options[key]; twice {
			return req, usage("--option", say.F("%s is given twice", "%s 重复给出", key), say.Text{})
		}
		req.Options[key] = value
	}
	return req, nil
}

// command is a command line that the operator can paste: the verb with the
// flags that tell which cluster is meant.
func (a *app) command(verb string, more ...string) string {
	if a.vendor != nil {
		return vendorCommand(a.vendor, verb, more)
	}
	words := []string{"shiplift", verb}
	if a.flags.inventory != "" && a.flags.inventory != defaultInventory && a.flags.inventory != a.getenv("SHIPLIFT_CLUSTER") {
		words = append(words, "-c", quote(a.flags.inventory))
	}
	if a.flags.stateDir != "" {
		words = append(words, "--state-dir", quote(a.flags.stateDir))
	}
	for _, m := range more {
		words = append(words, quote(m))
	}
	return strings.Join(words, " ")
}

// quote makes a word safe to paste into a shell.
func quote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-") == "" {
		return word
	}
	if strings.ContainsAny(word, "\n\x1b") {
		return strconv.Quote(word)
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
