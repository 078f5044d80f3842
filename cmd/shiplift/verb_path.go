package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/driver/dameng"
	"github.com/shiplift/shiplift/internal/driver/opengauss"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// pathFlags are those of path.
type pathFlags struct {
	from, to  string
	facts     []string
	topology  string
	origin    string
	encrypted bool
	huge      bool
	rolling   bool
}

// pather answers for one product. own are the flags that it honours beyond
// --from, --to and --fact; any other one is refused for it.
type pather struct {
	own    []string
	answer func(f *pathFlags, facts map[string]string) (release.Answer, error)
}

var pathers = map[string]pather{
	postgres.Name: {answer: cataloguePath(postgres.Name)},
	"mogdb":       {answer: cataloguePath("mogdb")},
	"opengauss":   {answer: opengaussPath},
	"dameng":      {own: []string{"topology", "origin", "log-encrypted", "huge-tables", "rolling"}, answer: damengPath},
}

func (a *app) pathVerb() *cobra.Command {
	f := &pathFlags{}
	cmd := &cobra.Command{
		Use:   "path",
		Short: a.t("Find the way from one release to another, or say why there is none", "查找从一个版本到另一个版本的路径，或说明为何不可行"),
		Long: a.t("Needs no cluster: --driver and --from name the start. Without --from the release is\nread from the cluster of the inventory. Exits with 0 when there is a way, else with 5.",
			"无需集群：用 --driver 和 --from 指定起点。不给 --from 时从清单中的集群读取当前版本。\n可行时退出码为 0，否则为 5。"),
		Example: "  shiplift path --driver postgres --from 15.16 --to 15.17\n  shiplift path --to 15.17 -c prod.yaml\n  shiplift path --driver dameng --from 7.1.6.5 --to 8.1.1.171 --topology dw --output json",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.from, "from", "", a.t("the release to start from", "起始版本"))
	fs.StringVar(&f.to, "to", "", a.t("the wanted release", "目标版本"))
	fs.StringArrayVar(&f.facts, "fact", nil, a.t("what is known beyond the releases: NAME=VALUE (repeatable)", "版本之外的已知情况：名称=值（可重复）"))
	fs.StringVar(&f.topology, "topology", "", a.t("dameng: single, dw, dsc or dw-dsc", "dameng：single、dw、dsc 或 dw-dsc"))
	fs.StringVar(&f.origin, "origin", "", a.t("dameng: the release that made the library", "dameng：最初建库的版本"))
	fs.BoolVar(&f.encrypted, "log-encrypted", false, a.t("dameng: the redo log is encrypted", "dameng：重做日志已加密"))
	fs.BoolVar(&f.huge, "huge-tables", false, a.t("dameng: there are HUGE tables", "dameng：存在 HUGE 表"))
	fs.BoolVar(&f.rolling, "rolling", false, a.t("dameng: one node after another is wanted", "dameng：希望逐节点升级"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.path(cmd, f) }
	return cmd
}

func (a *app) path(cmd *cobra.Command, f *pathFlags) error {
	if f.to == "" {
		return usage("--to", say.F("the wanted release is missing", "缺少目标版本"), say.Same("shiplift path --help"))
	}
	name, err := a.pathStart(cmd, f)
	if err != nil {
		return err
	}
	p, ok := pathers[name]
	if _, known := drivers[name]; !ok && known {
		return usage("--driver", say.F("the way of %s is not told by releases alone; the plan tells it", "%s 的升级路径不由版本单独决定；请查看计划", name), say.Same("shiplift plan --help"))
	}
	if !ok {
		return unknownDriver("--driver", name)
	}
	for _, flag := range given(cmd, []string{"topology", "origin", "log-encrypted", "huge-tables", "rolling"}) {
		if !slices.Contains(p.own, strings.TrimPrefix(flag, "--")) {
			return usage(flag, say.F("it means nothing for driver %s", "对驱动 %s 无意义", name), say.Same("shiplift path --help"))
		}
	}
	facts, err := pairs("--fact", f.facts)
	if err != nil {
		return err
	}
	answer, err := p.answer(f, facts)
	if err != nil {
		return &usageError{err}
	}
	if err := a.screen.Path(answer); err != nil {
		return err
	}
	if answer.Verdict != release.OK {
		return &ended{exitBlocked}
	}
	return nil
}

// pathStart settles driver and first release; both come from the cluster when
// they are not named.
func (a *app) pathStart(cmd *cobra.Command, f *pathFlags) (string, error) {
	if f.from != "" {
		if a.flags.driver == "" {
			return "", usage("--driver", say.F("with --from the driver is needed too", "使用 --from 时还需指定驱动"), say.Same("shiplift path --driver "+postgres.Name+" --from "+quote(f.from)+" --to "+quote(f.to)))
		}
		return a.flags.driver, nil
	}
	r, err := a.enter("path")
	if err != nil {
		return "", err
	}
	defer r.leave()
	o, err := r.observe(cmd.Context())
	if err != nil {
		return "", err
	}
	if o.Release == "" {
		return "", &say.Problem{Place: r.inv.Cluster, Text: say.F("the nodes do not run one release", "各节点运行的版本不一致"), Next: say.Same(a.command("status"))}
	}
	f.from = o.Release
	return r.driver.Name(), nil
}

// pairs reads NAME=VALUE words.
func pairs(flag string, words []string) (map[string]string, error) {
	out := map[string]string{}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok || name == "" {
			return nil, usage(flag, say.F("%q is not NAME=VALUE", "%q 不是 名称=值 的形式", w), say.Text{})
		}
		out[name] = value
	}
	return out, nil
}

// versions reads the two ends of a way.
func (f *pathFlags) versions() (from, to release.Version, err error) {
	if from, err = release.Parse(f.from); err != nil {
		return from, to, &say.Problem{Place: "--from", Text: say.F("%q is not a release", "%q 不是版本号", f.from), Err: err}
	}
	if to, err = release.Parse(f.to); err != nil {
		return from, to, &say.Problem{Place: "--to", Text: say.F("%q is not a release", "%q 不是版本号", f.to), Err: err}
	}
	return from, to, nil
}

// cataloguePath answers from a product's catalogue alone.
func cataloguePath(product string) func(*pathFlags, map[string]string) (release.Answer, error) {
	return func(f *pathFlags, facts map[string]string) (release.Answer, error) {
		from, to, err := f.versions()
		if err != nil {
			return release.Answer{}, err
		}
		c, err := release.Load(product)
		if err != nil {
			return release.Answer{}, err
		}
		return c.Solve(release.Question{From: from, To: to, Facts: maps.Clone(facts)}), nil
	}
}

func opengaussPath(f *pathFlags, facts map[string]string) (release.Answer, error) {
	from, to, err := f.versions()
	if err != nil {
		return release.Answer{}, err
	}
	return opengauss.Path(release.Question{From: from, To: to, Facts: facts})
}

func damengPath(f *pathFlags, facts map[string]string) (release.Answer, error) {
	from, to, err := f.versions()
	if err != nil {
		return release.Answer{}, err
	}
	r := dameng.PathRequest{
		From: from, To: to, Topology: dameng.Topology(orElse(f.topology, string(dameng.DW))),
		LogEncrypted: f.encrypted, HugeTables: f.huge, Rolling: f.rolling, Facts: facts,
	}
	if f.origin != "" {
		if r.Origin, err = release.Parse(f.origin); err != nil {
			return release.Answer{}, &say.Problem{Place: "--origin", Text: say.F("%q is not a release", "%q 不是版本号", f.origin), Err: err}
		}
	}
	return dameng.Path(r)
}
