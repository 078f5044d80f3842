package simlab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/say"
)

var damengProduct = &Product{
	Name:  "dameng",
	About: say.F("A lab of simulated Dameng servers", "由模拟的达梦服务器组成的演练环境"),
	Flags: []Flag{
		{Name: "topology", Default: "dw", Words: []string{"single", "dw", "dsc", "dw-dsc"}, Doc: say.F("single node, Data Watch, DSC, Data Watch of DSC", "单机、数据守护、DSC、DSC 的数据守护")},
		{Name: "standbys", Kind: Number, Default: "1", Doc: say.F("standbys of Data Watch", "数据守护的备库数")},
		{Name: "release", Default: "8.1.1.14", Doc: say.F("the release that runs at the beginning", "初始运行的版本")},
		{Name: "origin", Doc: say.F("the release that made the library; that of --release when not given", "建库时的版本；默认同 --release")},
		{Name: "to", Kind: List, Doc: say.F("releases whose packages are laid ready; later ones from each side of a change of format when not given", "预备升级包的版本；默认为各格式变化前后的更高版本")},
		{Name: "prompts", Default: "zh", Words: []string{"zh", "en"}, Doc: say.F("the language that disql speaks", "disql 的语言")},
		{Name: "gbk", Kind: Yes, Default: "false", Doc: say.F("disql writes GBK", "disql 输出为 GBK")},
		{Name: "log-encrypted", Kind: Yes, Default: "false", Doc: say.F("the redo log is encrypted", "联机日志已加密")},
		{Name: "huge-tables", Kind: Yes, Default: "false", Doc: say.F("there are HUGE tables", "存在 HUGE 表")},
	},
	Own:    []string{"ini"},
	Faults: []string{"kill-server", "lag", "no-lag", "equal-magic", "node-error", "hang-stop", "end-stop", "standby-first"},
	New:    damengSite,
	Packages: func(a Args, dir string) ([]string, error) {
		to := a.List("to")
		if len(to) == 0 {
			to = laterDameng(a["release"])
		}
		return dameng.WritePackages(dir, to...)
	},
}

// laterDameng are releases after one, such that every change of the format on
// disk lies between two of them (spec/dameng.md section 2).
func laterDameng(release string) []string {
	number := func(r string) (n [4]int) {
		for i, p := range strings.SplitN(r, ".", 4) {
			n[i], _ = strconv.Atoi(p)
		}
		return n
	}
	own := number(release)
	return slices.DeleteFunc([]string{
		"7.1.6.11", "7.6.0.183", "8.1.1.14", "8.1.1.15", "8.1.1.101", "8.1.1.171", "8.1.2.101", "8.1.3.62", "8.1.3.162", "8.1.4.80", "8.1.4.170",
	}, func(r string) bool { n := number(r); return slices.Compare(n[:], own[:]) <= 0 })
}

func damengSite(s Setup) (*Site, error) {
	a := s.Args
	l, err := dameng.New(dameng.Options{
		Topology: a["topology"], Standbys: a.Int("standbys"), Release: a["release"], Origin: a["origin"], Seed: s.Seed,
		Lang: a["prompts"], GBK: a.Bool("gbk"), LogEncrypted: a.Bool("log-encrypted"), HugeTables: a.Bool("huge-tables"), Cluster: s.Cluster,
	})
	if err != nil {
		return nil, err
	}
	for range 7 {
		l.Write() // there is something to lose
	}
	d := damengLab{l}
	site := &Site{
		World: l.World, Inventory: l.Inventory(), Secrets: map[string]string{"password": l.Opts.Password},
		Files: d.files(), Nodes: d.nodes, Break: d.fault,
	}
	site.Damage = func() []string { return texts(l.Truth().Damage) }
	return site, nil
}

type damengLab struct{ *dameng.Lab }

// files are the configuration files of every node, as `inventory import` wants them.
func (d damengLab) files() map[string]string {
	out := map[string]string{}
	for _, n := range d.Nodes() {
		for _, name := range []string{"dm.ini", "dmmal.ini", "dmarch.ini", "dmwatcher.ini", "dmmonitor.ini", "dmdcr_cfg.ini", "dmdcr.ini", "dmcssm.ini"} {
			if text, ok := d.Config(n.Name, name); ok {
				out["ini/"+n.Name+"/"+name] = text
			}
		}
	}
	return out
}

func (d damengLab) nodes() []Node {
	var out []Node
	for _, n := range d.Nodes() {
		out = append(out, Node{Name: n.Name, Role: n.Role, Running: n.Running, Installed: n.Installed, State: n.State})
	}
	return out
}

func (d damengLab) fault(fault, node string) error {
	switch fault {
	case "kill-server":
		d.Kill(node)
	case "lag", "no-lag":
		d.Lag(d.member(node), fault == "lag")
	case "equal-magic":
		d.EqualMagic(d.member(node))
	case "node-error":
		d.NodeError(node)
	case "hang-stop", "end-stop":
		d.HangStop(node, fault == "hang-stop")
	case "standby-first":
		return d.StopStandbyFirst()
	default:
		return noFault(fault)
	}
	return nil
}

func (d damengLab) member(node string) string {
	for _, n := range d.Nodes() {
		if n.Name == node {
			return n.Member
		}
	}
	return ""
}

// texts are the sentences of a list.
func texts[T fmt.Stringer](list []T) []string {
	out := []string{}
	for _, d := range list {
		out = append(out, d.String())
	}
	return out
}
