package opengauss

import (
	"errors"
	"path"
	"strings"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// unguaranteed is the option that accepts a way which the guides do not promise.
const unguaranteed = "unguaranteed"

// Path finds the way between two releases. Facts may hold path=unguaranteed,
// and the kernel numbers that were read ("from-number", "to-number").
func Path(q release.Question) (release.Answer, error) {
	c, err := release.Load(Name)
	if err != nil {
		return release.Answer{}, err
	}
	a := c.Solve(q)
	if a.Verdict == release.Block && a.Rule == "OG-004" && q.Facts["path"] == unguaranteed {
		lifted := *c
		lifted.Refusals = nil
		for _, r := range c.Refusals {
			if r.Verdict != release.Block {
				lifted.Refusals = append(lifted.Refusals, r)
			}
		}
		a = lifted.Solve(q)
	}
	for i := range a.Hops {
		a.Hops[i].Runbook = runbook(c, a.Hops[i])
	}
	return a, nil
}

// runbook tells small or big where the catalogue knows both kernel numbers.
func runbook(c *release.Catalogue, h release.Hop) string {
	number := func(v release.Version) gaussdb.Kernel {
		for _, k := range c.Releases {
			if k.Version.Value.Same(v) {
				n, err := gaussdb.ParseKernel(k.Build)
				if err == nil {
					return n
				}
			}
		}
		return 0
	}
	from, to := number(h.From), number(h.To)
	switch {
	case from == 0 || to == 0:
		return ""
	case from == to:
		return "small"
	}
	return "big"
}

// strategy is what kind of upgrade it is.
type strategy struct {
	From, To gaussdb.Software
	Big      bool
	Inplace  bool
	FromName string // the release as the banner tells it
	ToName   string
}

// mode is the value of upgrade_mode while a big upgrade is open.
func (s strategy) mode() string {
	if s.Inplace {
		return "1"
	}
	return "2"
}

func refuse(code, rule string, text, next say.Text) error {
	return &driver.RefusalError{Rule: rule, Code: code, Text: text, Next: next}
}

// decide follows the vendor's order of questions (spec section 4.2), with
// numbers compared as numbers.
func decide(v *view, pkg *gaussdb.Package, r plan.Request) (strategy, error) {
	s := strategy{To: pkg.Software, ToName: releaseName(pkg.Software)}
	switch r.Mode {
	case "", "rolling", "grey":
	case "inplace":
		s.Inplace = true
	default:
		return s, refuse("GAUSS-50011", "", say.F("unknown mode %q", "未知模式 %q", r.Mode), say.F("--mode rolling or --mode inplace", "--mode rolling 或 --mode inplace"))
	}
	if err := s.settleFrom(v); err != nil {
		return s, err
	}
	if r.To != "" && r.To != s.ToName && r.To != s.To.Release {
		return s, refuse("GAUSS-52935", "", say.F("the package holds %s, --to says %s", "升级包为 %s，而 --to 为 %s", s.ToName, r.To),
			say.F("name the package of %s, or leave --to out", "请指定 %s 的升级包，或去掉 --to", r.To))
	}
	if s.From.Commit == s.To.Commit {
		return s, &driver.NothingToDoError{Text: say.F("every node runs %s with commit %s already [GAUSS-52901]", "所有节点都已是 %s，提交号 %s［GAUSS-52901］", s.ToName, s.To.Commit)}
	}
	if err := s.settlePath(r); err != nil {
		return s, err
	}
	if s.To.Kernel < s.From.Kernel {
		return s, refuse("GAUSS-51629", "OG-005", say.F("the kernel number of the package, %s, is lower than the installed one, %s", "升级包的内核版本号 %s 低于已安装的 %s", s.To.Kernel.Dotted(), s.From.Kernel.Dotted()),
			say.F("take a newer package", "请使用更新的升级包"))
	}
	s.Big = s.To.Kernel > s.From.Kernel
	if s.Big && !pkg.HasSQL {
		return s, refuse("GAUSS-50201", "", say.F("the catalogue changes from %s to %s, and the package has no upgrade_sql.tar.gz", "数据字典从 %s 变为 %s，但升级包中没有 upgrade_sql.tar.gz", s.From.Kernel.Dotted(), s.To.Kernel.Dotted()),
			say.F("take the archive that holds everything (-all.tar.gz)", "请使用包含全部内容的升级包（-all.tar.gz）"))
	}
	return s, nil
}

// releaseName is the release as the binaries of a package will call themselves:
// three numbers lose the "-RC1" that line 1 of version.cfg still has.
func releaseName(s gaussdb.Software) string {
	name := s.Name
	for _, prefix := range []string{"openGauss-Server-", "openGauss-", "MogDB-Server-", "MogDB-"} {
		name = strings.TrimPrefix(name, prefix)
	}
	if strings.HasPrefix(name, s.Release) {
		return name
	}
	return s.Release
}

// settleFrom needs one old release, the same on every node.
func (s *strategy) settleFrom(v *view) error {
	for i, n := range v.Nodes {
		if n.NoLink {
			return refuse("GAUSS-52915", "", say.F("%s: $GAUSSHOME (%s) is not a symbolic link", "%s：$GAUSSHOME（%s）不是符号链接", n.Name, n.Home), say.F("ls -ld %s", "ls -ld %s", n.Home))
		}
		if !n.Up || n.Trouble != nil {
			why := say.F("no answer", "无应答")
			if n.Trouble != nil {
				why = say.Of(n.Trouble)
			}
			return refuse("GAUSS-51100", "", say.Text{EN: n.Name + " cannot be read: " + why.EN, ZH: "无法读取节点 " + n.Name + "：" + why.In(say.Chinese)}, say.F("shiplift check", "shiplift check"))
		}
		if n.SoftErr != nil {
			why := say.Of(n.SoftErr)
			return refuse("GAUSS-50222", "", say.Text{EN: n.Name + ": upgrade_version cannot be read: " + why.EN, ZH: n.Name + "：无法读取 upgrade_version：" + why.In(say.Chinese)},
				say.F("cat %s", "cat %s", path.Join(n.App, "bin/upgrade_version")))
		}
		if n.Software.Commit != n.Installed.Commit {
			return refuse("GAUSS-50222", "", say.F("%s: upgrade_version says commit %s, the binaries are of %s", "%s：upgrade_version 的提交号为 %s，程序的提交号为 %s", n.Name, n.Software.Commit, n.Installed.Commit),
				say.F("somebody changed files under %s: put them right first", "%s 下的文件被改动过，请先修正", n.App))
		}
		if i == 0 {
			s.From, s.FromName = n.Software, n.Installed.Release
		} else if n.Software.Commit != s.From.Commit {
			return refuse("GAUSS-52914", "", say.F("the nodes have different releases installed: %s has %s, %s has %s", "各节点安装的版本不同：%s 为 %s，%s 为 %s", v.Nodes[0].Name, s.From.Commit, n.Name, n.Software.Commit),
				say.F("an earlier upgrade is not over: shiplift status", "此前的升级尚未结束：shiplift status"))
		}
	}
	return nil
}

func (s *strategy) settlePath(r plan.Request) error {
	from, err1 := release.Parse(s.FromName)
	to, err2 := release.Parse(s.ToName)
	if err := errors.Join(err1, err2); err != nil {
		return refuse("GAUSS-52946", "", say.Same(err.Error()), say.F("shiplift path", "shiplift path"))
	}
	if from.Same(to) {
		return nil // another build of the same release
	}
	a, err := Path(release.Question{From: from, To: to, Facts: release.Facts{"path": r.Options["path"]}})
	if err != nil {
		return err
	}
	switch {
	case a.Verdict != release.OK:
		code := ""
		if to.Less(from) {
			code = "GAUSS-52902"
		}
		return refuse(code, a.Rule, a.Why, a.Next)
	case len(a.Hops) > 1:
		return refuse("GAUSS-52904", "OG-002", say.F("there is no direct way from %s to %s: upgrade to %s first, commit, then go on", "不能从 %s 直接升级到 %s：请先升级到 %s 并提交，再继续", from, to, a.Hops[0].To),
			say.F("shiplift plan --to %s", "shiplift plan --to %s", a.Hops[0].To))
	}
	return nil
}
