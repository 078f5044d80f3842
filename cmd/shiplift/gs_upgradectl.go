package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/cluster/ogxml"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/opengauss"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

// upgradectl is the vendor's name: a binary that is called so takes its command line.
const upgradectl = "gs_upgradectl"

// asVendor puts the vendor's verb first when the binary bears the vendor's name.
func asVendor(program string, args []string) []string {
	if filepath.Base(program) != upgradectl {
		return args
	}
	return append([]string{upgradectl}, args...)
}

const upgradectlHelp = `gs_upgradectl is a utility to upgrade a cluster, carried out by Shiplift.

Usage:
  gs_upgradectl -? | --help
  gs_upgradectl -V | --version
  gs_upgradectl -t chose-strategy [-X XMLFILE] [-l LOGFILE]
  gs_upgradectl -t auto-upgrade -X XMLFILE --grey | --inplace-upgrade [-h HOSTS | --continue] [-l LOGFILE]
  gs_upgradectl -t auto-rollback -X XMLFILE [-l LOGFILE] [--force]
  gs_upgradectl -t commit-upgrade -X XMLFILE [-l LOGFILE]
  gs_upgradectl -t upgrade-cm --upgrade-package PACKAGE [-X XMLFILE]
  gs_upgradectl -S show-step [-X XMLFILE]

Options:
  -t                   Subcommand: chose-strategy, auto-upgrade, auto-rollback, commit-upgrade, upgrade-cm.
  -X                   Path of the cluster's XML file.
  -l                   Path of the log file: what is shown is also written there.
  -h                   The nodes to upgrade first, separated by commas.
  --continue           Upgrade the remaining nodes.
  --grey               One node after another, with a switchover.
  --inplace-upgrade    Everything stops once.
  --force              Go on past nodes and steps that fail on the way back.
  --upgrade-package    Path of the CM package.
  -S show-step         Show how far each node has come.

The packages are those that gs_preinstall left in $GPHOME; SHIPLIFT_PACKAGE names others,
separated by ':'. The inventory is $SHIPLIFT_CLUSTER or ./cluster.yaml; without one it is
made from the XML file. Plan and journal are those of shiplift, which can go on with the run.
`

func (a *app) upgradectlVerb() *cobra.Command {
	return &cobra.Command{
		Use:                upgradectl + " OPTIONS",
		Short:              a.t("The vendor's command line for openGauss, over the same plan and journal", "openGauss 厂商工具的命令行，使用同一份计划和日志"),
		Long:               upgradectlHelp,
		Example:            "  shiplift gs_upgradectl -t auto-upgrade -X clusterconfig.xml --grey\n  ln -s shiplift gs_upgradectl && ./gs_upgradectl -t chose-strategy",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case slices.Contains(args, "-?") || slices.Contains(args, "--help"):
				return a.screen.Raw([]byte(upgradectlHelp))
			case slices.Contains(args, "-V") || slices.Contains(args, "--version"):
				return a.screen.Raw([]byte(upgradectl + " (shiplift " + engine() + ")\n"))
			}
			u, err := opengauss.ParseUpgradectl(args)
			if err != nil {
				return a.vendorEnd(cmd.Context(), &u, err)
			}
			closeLog, err := a.logTo(u.Log)
			if err != nil {
				return a.vendorEnd(cmd.Context(), &u, err)
			}
			defer closeLog()
			a.vendor, a.flags.yes = &u, true
			return a.vendorEnd(cmd.Context(), &u, a.vendorAct(cmd.Context(), &u))
		},
	}
}

// logTo lets a file have what the screen shows.
func (a *app) logTo(name string) (end func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, &driver.RefusalError{Code: "GAUSS-50206", Text: say.F("the log file cannot be written: %s", "无法写入日志文件：%s", err.Error())}
	}
	was := a.screen
	a.screen = view.NewScreen(io.MultiWriter(was.Out, f), io.MultiWriter(was.Err, f), was.Lang, was.Format, a.getenv)
	return func() {
		a.screen = was
		_ = f.Close() // what was shown is on the screen too
	}, nil
}

// vendorEnd tells an error with the vendor's code and returns the vendor's exit status.
func (a *app) vendorEnd(ctx context.Context, u *opengauss.Upgradectl, err error) error {
	e, over := errors.AsType[*ended](err)
	switch {
	case err == nil, over && e.code == exitDone, over && e.code == exitGate && len(u.Request.Nodes) > 0:
		return &ended{u.ExitCode(true)}
	case over && e.code == exitInterrupted, ctx.Err() != nil:
		return err
	case over:
	default:
		a.vendorError(u, err)
	}
	return &ended{u.ExitCode(false)}
}

// vendorCode finds the vendor's code in an error's words.
var vendorCode = regexp.MustCompile(` ?[\[［](GAUSS-[0-9]{5})[\]］]( : )?`)

func (a *app) vendorError(u *opengauss.Upgradectl, err error) {
	if blocked, ok := errors.AsType[*errBlocked](err); ok {
		for _, f := range blocked.bad {
			at := ""
			if f.Node != "" {
				at = f.Node + ": "
			}
			fmt.Fprintf(a.screen.Err, "[%s] : %s%s (%s)\n", codeOr(f.Rule, "GAUSS-52900"), at, f.Says.In(a.screen.Lang), f.ID)
			if !f.Next.IsZero() {
				fmt.Fprintf(a.screen.Err, "    %s\n", f.Next.In(a.screen.Lang))
			}
		}
		return
	}
	code, text := vendorWords(err, a.screen.Lang)
	line := text
	if code != "" {
		line = "[" + code + "] : " + text
	}
	if u.Verb == "check" {
		line = "[GAUSS-52900] : Failed to upgrade strategy: " + line + ". Do nothing this time."
	}
	fmt.Fprintln(a.screen.Err, line)
	next := a.nextOf(err)
	if p, ok := errors.AsType[*say.Problem](err); ok && next.IsZero() {
		next = p.Next
	}
	a.screen.Next(next)
}

// vendorWords are the code and the text without it.
func vendorWords(err error, lang say.Lang) (code, text string) {
	text = say.Of(err).In(lang)
	if m := vendorCode.FindStringSubmatch(text); m != nil {
		code, text = m[1], strings.TrimSpace(vendorCode.ReplaceAllString(text, ""))
	}
	if no, ok := errors.AsType[*driver.RefusalError](err); ok {
		code = cmp.Or(no.Code, code)
	}
	if is[*driver.NothingToDoError](err) {
		code = "GAUSS-52901"
	}
	return code, text
}

func codeOr(rule, otherwise string) string {
	if strings.HasPrefix(rule, "GAUSS-") {
		return rule
	}
	return otherwise
}

// vendorInventory is the one that is named, or what the XML file says.
func (a *app) vendorInventory(u *opengauss.Upgradectl) (*cluster.Inventory, error) {
	if u.XML != "" {
		if _, err := os.Stat(u.XML); err != nil {
			return nil, &driver.RefusalError{Code: "GAUSS-50201", Text: say.F("the XML file %s does not exist", "XML 文件 %s 不存在", u.XML)}
		}
	}
	a.flags.inventory = orElse(a.getenv("SHIPLIFT_CLUSTER"), defaultInventory)
	inv, err := cluster.Read(a.flags.inventory, keysOf)
	switch {
	case err == nil && inv.Driver != opengauss.Name:
		return nil, &driver.RefusalError{Code: "GAUSS-50011", Text: say.F("%s is of driver %s, not of openGauss", "%s 的驱动为 %s，不是 openGauss", a.flags.inventory, inv.Driver)}
	case err == nil:
		return inv, vendorXML(inv, u.XML)
	case !isMissing(err):
		return nil, err
	case u.XML == "":
		return nil, &driver.RefusalError{Code: "GAUSS-50001", Text: say.F("the cluster is not known: there is no inventory, and -X is missing", "不知道是哪个集群：没有清单，也没有 -X"),
			Next: say.F("name the XML file with -X, or the inventory with SHIPLIFT_CLUSTER", "用 -X 指定 XML 文件，或用 SHIPLIFT_CLUSTER 指定清单")}
	}
	return ogxml.Import(opengauss.Name, u.XML, a.getenv)
}

// vendorXML lets the checks compare the deployment with the file that was named.
func vendorXML(inv *cluster.Inventory, xml string) error {
	if xml == "" {
		return nil
	}
	abs, err := filepath.Abs(xml)
	if err != nil {
		return err
	}
	if inv.Settings == nil {
		inv.Settings = cluster.Settings{}
	}
	inv.Settings["xml"] = abs
	for i := range inv.Nodes {
		if inv.Nodes[i].Settings != nil {
			inv.Nodes[i].Settings["xml"] = abs
		}
	}
	return nil
}

// vendorPackages are those that gs_preinstall left, or that are named.
func (a *app) vendorPackages() ([]string, error) {
	if named := a.getenv("SHIPLIFT_PACKAGE"); named != "" {
		return absolute(strings.Split(named, ":"))
	}
	home := a.getenv("GPHOME")
	if home == "" {
		return nil, &driver.RefusalError{Code: "GAUSS-51800", Text: say.F("the environment variable GPHOME is not set, so the package is not known", "未设置环境变量 GPHOME，不知道升级包在哪里"),
			Next: say.F("set GPHOME, or name the package with SHIPLIFT_PACKAGE", "请设置 GPHOME，或用 SHIPLIFT_PACKAGE 指定升级包")}
	}
	files := opengauss.PackagesIn(home)
	if files == nil {
		return nil, &driver.RefusalError{Code: "GAUSS-50201", Text: say.F("%s holds no package, or more than one", "%s 中没有升级包，或不止一个", home),
			Next: say.F("run gs_preinstall of the new package, or name it with SHIPLIFT_PACKAGE", "请执行新包的 gs_preinstall，或用 SHIPLIFT_PACKAGE 指定")}
	}
	return absolute(files)
}

func absolute(files []string) ([]string, error) {
	var out []string
	for _, f := range files {
		abs, err := filepath.Abs(f)
		if err != nil {
			return nil, err
		}
		out = append(out, abs)
	}
	return out, nil
}

// vendorAct does what the command line asks for.
func (a *app) vendorAct(ctx context.Context, u *opengauss.Upgradectl) error {
	inv, err := a.vendorInventory(u)
	if err != nil {
		return err
	}
	switch u.Verb {
	case "check":
		return a.vendorStrategy(ctx, inv)
	case "status":
		return a.vendorSteps(ctx, inv)
	case "commit":
		return a.vendorCommit(ctx, inv, u)
	case "rollback":
		return a.vendorRollback(ctx, inv, u)
	}
	return a.vendorUpgrade(ctx, inv, u)
}

// openRun is the run that is not over; nil when there is none.
func (r *room) openRun(ctx context.Context) (*run.Trail, error) {
	found, err := r.find(ctx)
	if err != nil {
		return nil, err
	}
	t, err := trailOf(found)
	if err != nil || t == nil || t.Final != "" {
		return nil, err
	}
	return t, nil
}

func (a *app) vendorStrategy(ctx context.Context, inv *cluster.Inventory) error {
	r, err := a.enterWith(inv, upgradectl)
	if err != nil {
		return err
	}
	defer r.leave()
	t, err := r.openRun(ctx)
	if err != nil {
		return err
	}
	if t != nil && opengauss.Target(t.Plan) != "" {
		return a.vendorSay("Upgrade strategy: %s.", opengauss.Strategy(t.Plan))
	}
	files, err := a.vendorPackages()
	if err != nil {
		return err
	}
	o, err := r.observe(ctx)
	if err != nil {
		return err
	}
	p, err := driver.Make(r.driver, inv, o, plan.Request{Mode: "rolling", Packages: files}, engine())
	if err != nil {
		return err
	}
	return a.vendorSay("Upgrade strategy: %s.", opengauss.Strategy(p))
}

func (a *app) vendorSay(format string, args ...any) error {
	return a.screen.Raw(fmt.Appendf(nil, format+"\n", args...))
}

// vendorSteps is show-step.
func (a *app) vendorSteps(ctx context.Context, inv *cluster.Inventory) error {
	r, err := a.enterWith(inv, upgradectl)
	if err != nil {
		return err
	}
	defer r.leave()
	st, t, _, err := r.status(ctx)
	if err != nil {
		return err
	}
	if err := a.vendorSay("Cluster Nodes are %s.", opengauss.VendorList(inv.Names())); err != nil {
		return err
	}
	for _, n := range st.Nodes {
		if err := a.vendorSay("%s: %s runs, %s is installed %s", n.Name, orElse(n.Running, "nothing"), orElse(n.Installed, "nothing"), n.Trouble); err != nil {
			return err
		}
	}
	if t == nil || t.Final != "" || opengauss.Target(t.Plan) == "" {
		return a.vendorSay("Cluster Not in Upgrading or have been run `upgrade-commit`.")
	}
	done := func(id string) bool { s := t.Step(id); return s != nil && s.Status == run.Done }
	for _, name := range inv.Names() {
		step, means := opengauss.VendorStep(t.Plan, name, done)
		if err := a.vendorSay("%s: step %d, %s", name, step, means.In(a.screen.Lang)); err != nil {
			return err
		}
	}
	a.screen.Next(say.Same(st.Next))
	return nil
}

func (a *app) vendorCommit(ctx context.Context, inv *cluster.Inventory, u *opengauss.Upgradectl) error {
	return a.withSession(ctx, inv, "commit", func(s *session) error {
		t, err := s.trail()
		if err != nil {
			return err
		}
		if t == nil || t.Final != "" {
			return &driver.RefusalError{Code: "GAUSS-52916", Text: say.F("Current upgrade status is not pre commit: no upgrade is open", "当前不是待提交状态：没有未结束的升级")}
		}
		u.Request.Mode = t.Plan.Request.Mode
		if err := s.mayCommit(t); err != nil {
			return &driver.RefusalError{Code: "GAUSS-52916", Text: say.Join(": ", say.F("Current upgrade status is not pre commit", "当前不是待提交状态"), say.Of(err)), Next: a.nextOfProblem(err)}
		}
		if err := s.carryOn(ctx, run.Options{Verb: "commit", Accept: u.Accept}); err != nil {
			return err
		}
		return a.vendorSay("Commit upgrade succeeded.")
	})
}

func (a *app) nextOfProblem(err error) say.Text {
	if p, ok := errors.AsType[*say.Problem](err); ok {
		return p.Next
	}
	return say.Text{}
}

func (a *app) vendorRollback(ctx context.Context, inv *cluster.Inventory, u *opengauss.Upgradectl) error {
	return a.withSession(ctx, inv, "rollback", func(s *session) error {
		t, err := s.trail()
		if err != nil {
			return err
		}
		if t == nil || t.Final != "" {
			return a.vendorSay("No need to rollback.")
		}
		if _, crossed := t.Crossed(); crossed {
			return &driver.RefusalError{Code: "GAUSS-52919", Text: say.F("Upgrade has already been committed but not finished commit. Please commit again! Can not rollback any more.", "升级已开始提交但尚未完成，请再次提交，不能再回滚"), Next: say.Same(a.command("commit"))}
		}
		opts := run.Options{Verb: "rollback", Force: u.Force}
		if u.Force {
			opts.Reason = "gs_upgradectl -t auto-rollback --force"
		}
		if err := s.carryOn(ctx, opts); err != nil {
			fmt.Fprintln(a.screen.Err, "Rollback failed.")
			return err
		}
		return a.vendorSay("Rollback succeeded.")
	})
}

// withSession lets fn work while nobody else can change anything.
func (a *app) withSession(ctx context.Context, inv *cluster.Inventory, doing string, fn func(*session) error) error {
	r, err := a.enterWith(inv, upgradectl)
	if err != nil {
		return err
	}
	defer r.leave()
	s, err := r.take(ctx, doing)
	if err != nil {
		return err
	}
	defer s.give(ctx)
	return fn(s)
}

// carryOn takes the run up that was found.
func (s *session) carryOn(ctx context.Context, opts run.Options) error {
	j, err := s.adopt()
	if err != nil {
		return err
	}
	return j.carry(ctx, opts)
}

// vendorUpgrade is auto-upgrade and upgrade-cm.
func (a *app) vendorUpgrade(ctx context.Context, inv *cluster.Inventory, u *opengauss.Upgradectl) error {
	var err error
	if u.Request.Component == "" {
		u.Request.Packages, err = a.vendorPackages()
	} else {
		u.Request.Packages, err = absolute(u.Request.Packages)
	}
	if err != nil {
		return err
	}
	return a.withSession(ctx, inv, "upgrade", func(s *session) error {
		t, err := s.trail()
		if err != nil {
			return err
		}
		if t != nil && t.Final == "" {
			return a.vendorAgain(ctx, s, t, u)
		}
		if u.Resume {
			return &driver.RefusalError{Code: "GAUSS-52920", Text: say.F("there is no open run whose first nodes are done", "没有已完成首批节点且尚未结束的执行"), Next: say.F("begin with -h HOSTS", "请先用 -h 指定首批节点")}
		}
		p, findings, err := s.vendorPlan(ctx, u.Request)
		if err != nil {
			return err
		}
		j, err := s.begin(ctx, p, findings)
		if err != nil {
			return err
		}
		return a.vendorUpgraded(u, j.carry(ctx, run.Options{Verb: "apply"}))
	})
}

// vendorPlan makes a plan that nothing forbids.
func (s *session) vendorPlan(ctx context.Context, req plan.Request) (*plan.Plan, []check.Finding, error) {
	for _, n := range req.Nodes {
		if _, ok := s.inv.Node(n); !ok {
			return nil, nil, &driver.RefusalError{Code: "GAUSS-50011", Text: say.F("there is no node %s; the nodes are %s", "没有节点 %s；节点有 %s", n, strings.Join(s.inv.Names(), ", "))}
		}
	}
	p, findings, err := s.draw(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	if err := s.app.screen.Plan(p, ""); err != nil {
		return nil, nil, err
	}
	return p, findings, s.blocked(findings)
}

// vendorAgain is auto-upgrade while a run is open: it goes on with that run, or
// says why it is not the one that is asked for.
func (a *app) vendorAgain(ctx context.Context, s *session, t *run.Trail, u *opengauss.Upgradectl) error {
	if err := a.vendorSame(t, u); err != nil {
		return err
	}
	opts := run.Options{Verb: "resume", Accept: u.Accept}
	switch state := t.State(false); {
	case state == run.Upgraded:
		return a.vendorSay("All nodes have been upgrade, no need to upgrade again.")
	case len(u.Request.Nodes) > 0 && gateOf(t, state) == opengauss.RestGate:
		return &driver.RefusalError{Code: "GAUSS-52910", Text: say.F("the nodes %s have been upgraded", "节点 %s 已升级", opengauss.VendorList(u.Request.Nodes)), Next: say.Same(a.command("resume", "--accept", opengauss.RestGate))}
	case len(t.Plan.Request.Nodes) > 0 && len(u.Request.Nodes) == 0:
		opts.Accept = []string{opengauss.RestGate}
	}
	return a.vendorUpgraded(u, s.carryOn(ctx, opts))
}

// vendorSame refuses what is not the open run (spec sections 4.2 and 5).
func (a *app) vendorSame(t *run.Trail, u *opengauss.Upgradectl) error {
	no := func(code string, text say.Text) error {
		return &driver.RefusalError{Code: code, Text: text, Next: say.Same(a.command("rollback"))}
	}
	was := t.Plan.Request
	switch _, crossed := t.Crossed(); {
	case was.Component != u.Request.Component && t.Upgraded():
		return &driver.RefusalError{Code: "GAUSS-52936", Text: say.F("Upgrade is not finished, cannot do another task.", "升级尚未结束，不能执行其他任务"), Next: say.Same(a.command("commit"))}
	case was.Component != u.Request.Component:
		return no("GAUSS-52936", say.F("Upgrade is not finished, cannot do another task.", "升级尚未结束，不能执行其他任务"))
	case crossed:
		return &driver.RefusalError{Code: "GAUSS-52919", Text: say.F("Upgrade has already been committed but not finished commit.", "升级已开始提交但尚未完成"), Next: say.Same(a.command("commit"))}
	case t.Back:
		return no("GAUSS-52936", say.F("the upgrade is being rolled back", "升级正在回滚"))
	case u.Request.Component != "":
		return nil
	case was.Mode == "inplace" && u.Request.Mode != "inplace":
		return no("GAUSS-50200", say.F("In inplace upgrade process, cannot do grey upgrade!", "就地升级尚未结束，不能做灰度升级"))
	case was.Mode != "inplace" && u.Request.Mode == "inplace":
		return no("GAUSS-50200", say.F("In grey upgrade process, cannot do inplace upgrade!", "灰度升级尚未结束，不能做就地升级"))
	case u.Resume && len(was.Nodes) == 0:
		return no("GAUSS-52920", say.F("the open upgrade takes all nodes: nothing was left for later", "未结束的升级包含全部节点，没有剩余节点"))
	case len(u.Request.Nodes) > 0 && !slices.Equal(slices.Sorted(slices.Values(was.Nodes)), slices.Sorted(slices.Values(u.Request.Nodes))):
		return no("GAUSS-52911", say.F("the open upgrade began with %s, not with %s", "未结束的升级首批节点为 %s，而不是 %s", opengauss.VendorList(was.Nodes), opengauss.VendorList(u.Request.Nodes)))
	}
	commit, err := opengauss.PackageCommit(u.Request.Packages)
	if err != nil {
		return err
	}
	if commit != opengauss.Target(t.Plan) {
		return no("GAUSS-52935", say.F("Current upgrade version is not same with unfinished upgrade version record.", "当前升级版本与未结束的升级记录不一致"))
	}
	return nil
}

// vendorUpgraded tells how it went. What upgrade-cm has done is done: the backup
// archive stays in $PGHOST.
func (a *app) vendorUpgraded(u *opengauss.Upgradectl, err error) error {
	e, over := errors.AsType[*ended](err)
	switch {
	case over && e.code == exitGate && len(u.Request.Nodes) > 0:
		if err := a.vendorSay("The nodes %s have been successfully upgraded.Then can upgrade the remaining nodes.", opengauss.VendorList(u.Request.Nodes)); err != nil {
			return err
		}
		return e
	case err != nil:
		return err
	case u.Request.Component != "":
		return a.vendorSay("Upgrade CM component successfully.\nThe way back stays open until: %s", a.command("commit"))
	}
	return a.vendorSay("Upgrade main process has been finished, user can do some check now.\nOnce the check done, please execute following command to commit upgrade:\n\n    %s\n\nSuccessfully upgrade all nodes.", a.command("commit"))
}

// vendorCommand is a command line of the vendor's for what Shiplift would have typed.
func vendorCommand(u *opengauss.Upgradectl, verb string, more []string) string {
	words := []string{upgradectl}
	task := map[string]string{"commit": "commit-upgrade", "rollback": "auto-rollback", "resume": "auto-upgrade", "apply": "auto-upgrade"}[verb]
	if task == "" {
		return upgradectl + " -S show-step"
	}
	words = append(words, "-t", task)
	words = append(words, "-X", orElse(quoteIf(u.XML), "XMLFILE"))
	if task == "auto-upgrade" {
		if u.Request.Component != "" {
			return upgradectl + " -t upgrade-cm --upgrade-package " + quote(strings.Join(u.Request.Packages, " "))
		}
		words = append(words, map[bool]string{true: "--inplace-upgrade", false: "--grey"}[u.Request.Mode == "inplace"])
		if slices.Contains(more, opengauss.RestGate) {
			words = append(words, "--continue")
		}
	}
	return strings.Join(words, " ")
}

func quoteIf(word string) string {
	if word == "" {
		return ""
	}
	return quote(word)
}
