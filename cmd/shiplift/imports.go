package main

import (
	"os"
	"path/filepath"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/cluster/damengini"
	"github.com/shiplift/shiplift/internal/cluster/ogxml"
	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	"github.com/shiplift/shiplift/internal/say"
)

// importer makes an inventory of the vendor's own files. What it had to
// suppose is told to the operator.
type importer func(a *app, file, name string) (inv *cluster.Inventory, supposed []say.Text, err error)

// importers are the drivers whose vendor has such files. A new one is added here.
var importers = map[string]importer{
	"opengauss": xmlImporter("opengauss"),
	"mogdb":     xmlImporter("mogdb"),
	"dameng":    importDameng,
	"gbase8a":   importGBase,
}

// xmlImporter reads clusterconfig.xml as gs_om does.
func xmlImporter(driver string) importer {
	return func(a *app, file, name string) (*cluster.Inventory, []say.Text, error) {
		inv, err := ogxml.Import(driver, file, a.getenv)
		if err == nil && name != "" {
			inv.Cluster = name
		}
		return inv, nil, err
	}
}

// importDameng reads a directory with the *.ini files of each node.
func importDameng(_ *app, dir, name string) (*cluster.Inventory, []say.Text, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, nil, &say.Problem{
			Place: dir, Text: say.F("a directory is expected that holds dm.ini, or one directory for each node", "此处应为目录，其中含 dm.ini，或每个节点一个子目录"),
			Next: say.Same("ls -l " + quote(dir)), Err: err,
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, err
	}
	return damengini.Import(os.DirFS(dir), orElse(name, filepath.Base(abs)))
}

// importGBase reads gcadmin's output or the installer's demo.options.
func importGBase(_ *app, file, name string) (*cluster.Inventory, []say.Text, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, &say.Problem{Place: file, Text: say.F("cannot read it", "无法读取"), Next: say.Same("ls -l " + quote(file)), Err: err}
	}
	inv, err := gbase8a.Import(orElse(name, "gbase"), data)
	return inv, nil, err
}
