package simlab

import (
	"slices"

	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/say"
)

var openGaussProduct = &Product{
	Name:  "opengauss",
	About: say.F("A lab of simulated openGauss servers", "由模拟的 openGauss 服务器组成的演练环境"),
	Flags: []Flag{
		{Name: "nodes", Kind: Number, Default: "3", Doc: say.F("how many nodes", "节点数")},
		{Name: "cascade", Kind: Number, Default: "0", Doc: say.F("so many of the last nodes are cascade standbys", "末尾多少个节点为级联备机")},
		{Name: "release", Default: "3.0.0", Words: gauss.Versions(), Doc: say.F("the release that runs at the beginning", "初始运行的版本")},
		{Name: "to", Kind: List, Doc: say.F("releases whose packages are laid ready; every later one when not given", "预备升级包的版本；默认为所有更高版本")},
		{Name: "cm", Kind: Yes, Default: "false", Doc: say.F("with the cluster manager", "带集群管理组件 CM")},
		{Name: "separate-env", Kind: Yes, Default: "false", Doc: say.F("the environment lies in a file of its own", "使用单独的环境变量文件")},
	},
	Own: gaussOwn, Faults: gaussFaults(),
	New: func(s Setup) (*Site, error) {
		a := s.Args
		return gaussSite(s, gauss.Options{
			Flavor: gauss.OpenGauss, Nodes: a.Int("nodes"), Cascade: a.Int("cascade"), Release: a["release"],
			CM: a.Bool("cm"), SepEnv: a.Bool("separate-env"), Load: true,
		})
	},
	Packages: func(a Args, dir string) ([]string, error) {
		to := a.List("to")
		if len(to) == 0 {
			to = laterGauss(a["release"])
		}
		return gaussPackages(gauss.OpenGauss, dir, to)
	},
}

// laterGauss are the releases after one, of which an upgrade may lead to.
func laterGauss(release string) []string {
	all := gauss.Versions()
	if i := slices.Index(all, release); i >= 0 {
		return all[i+1:]
	}
	return nil
}
