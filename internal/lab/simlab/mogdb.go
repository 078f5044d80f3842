package simlab

import (
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/say"
)

var mogDBProduct = &Product{
	Name:  "mogdb",
	About: say.F("A lab of simulated MogDB servers", "由模拟的 MogDB 服务器组成的演练环境"),
	Flags: []Flag{
		{Name: "nodes", Kind: Number, Default: "3", Doc: say.F("how many nodes", "节点数")},
		{Name: "release", Default: "2.0.1", Words: []string{"2.0.0", "2.0.1", "2.0.3", "2.1.0", "2.1.1"}, Doc: say.F("the release that runs at the beginning", "初始运行的版本")},
		{Name: "to", Kind: List, Default: "2.0.3", Doc: say.F("releases whose packages are laid ready", "预备升级包的版本")},
		{Name: "install", Default: "om", Words: []string{"om", "manual"}, Doc: say.F("installed with gs_om, or by hand (gs_ctl only)", "安装方式：om 或 manual（仅 gs_ctl）")},
		{Name: "mogha", Kind: Yes, Default: "false", Doc: say.F("with MogHA, which restarts what it finds stopped", "带 MogHA，会重启被停止的数据库")},
		{Name: "archive", Kind: Yes, Default: "false", Doc: say.F("archive_mode=on: the walsender of 2.0.1 leaks memory", "archive_mode=on：2.0.1 的 walsender 会泄漏内存")},
	},
	Own: gaussOwn, Faults: gaussFaults(),
	New: func(s Setup) (*Site, error) {
		a := s.Args
		return gaussSite(s, gauss.Options{
			Flavor: gauss.MogDB, Nodes: a.Int("nodes"), Release: a["release"], Install: a["install"],
			MogHA: a.Bool("mogha"), Archive: a.Bool("archive"), Load: true,
		})
	},
	Packages: func(a Args, dir string) ([]string, error) { return gaussPackages(gauss.MogDB, dir, a.List("to")) },
}
