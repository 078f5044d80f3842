package damengini

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/say"
)

// Import makes an inventory of the configuration files in dir: one directory
// per node, named as the node, or the files of one node in dir itself. Nodes
// that only the shared files name (dmmal.ini, dmdcr_cfg.ini) are taken to have
// the paths of the first node; say names what was supposed in this way.
func Import(dir fs.FS, name string) (inv *cluster.Inventory, supposed []say.Text, err error) {
	im := importer{byInstance: map[string]*found{}}
	if err := im.readAll(dir); err != nil {
		return nil, nil, err
	}
	if len(im.nodes) == 0 {
		return nil, nil, &say.Problem{
			Text: say.F("there is no dm.ini here", "此处没有 dm.ini"),
			Next: say.F("put the files of each node into a directory of its own: <dir>/<node>/dm.ini …", "请把每个节点的文件放入各自目录：<dir>/<节点>/dm.ini …"),
		}
	}
	if err := im.complete(); err != nil {
		return nil, nil, err
	}
	return im.inventory(name), im.supposed, nil
}

type importer struct {
	nodes      []*found
	byInstance map[string]*found
	supposed   []say.Text
}

// found is what the files tell about one node.
type found struct {
	name     string
	files    map[string]*File
	set      cluster.Settings
	address  string
	instance string
}

var known = []string{"dm.ini", "dmmal.ini", "dmarch.ini", "dmwatcher.ini", "dmmonitor.ini", "dmdcr_cfg.ini", "dmdcr.ini", "dmcssm.ini"}

func (im *importer) readAll(dir fs.FS) error {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return say.Errorf("read the directory of the configuration files: %w", "读取配置文件目录：%w", err)
	}
	if err := im.readNode(dir, ".", "db1"); err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := im.readNode(dir, e.Name(), e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (im *importer) readNode(dir fs.FS, at, name string) error {
	n := &found{name: name, files: map[string]*File{}, set: cluster.Settings{}}
	for _, base := range known {
		p := path.Join(at, base)
		text, err := fs.ReadFile(dir, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return say.Errorf("read %s: %w", "读取 %s：%w", p, err)
		}
		f, err := Parse(p, text)
		if err != nil {
			return &say.Problem{Text: say.F("a configuration file cannot be read", "配置文件无法解析"), Err: err}
		}
		n.files[base] = f
	}
	ini := n.files["dm.ini"]
	if ini == nil {
		return nil
	}
	if n.instance = ini.Get("INSTANCE_NAME"); n.instance == "" {
		return &say.Problem{Place: path.Join(at, "dm.ini"), Text: say.F("INSTANCE_NAME is missing", "缺少 INSTANCE_NAME")}
	}
	if other := im.byInstance[n.instance]; other != nil {
		return &say.Problem{Place: path.Join(at, "dm.ini"), Text: say.F(
			"instance %s is also that of %s", "实例名 %s 与 %s 重复", n.instance, other.name)}
	}
	im.fill(n, dir, at)
	im.nodes = append(im.nodes, n)
	im.byInstance[n.instance] = n
	return nil
}

// fill takes the settings of a node from its own files.
func (im *importer) fill(n *found, dir fs.FS, at string) {
	ini := n.files["dm.ini"]
	n.put("instance", n.instance)
	n.put("port", ini.Get("PORT_NUM"))
	data := firstOf(ini.Get("CONFIG_PATH"), ini.Get("SYSTEM_PATH"))
	if data != "" {
		n.put("ini", path.Join(data, "dm.ini"))
	}
	if w := n.files["dmwatcher.ini"]; w != nil {
		n.put("watcher_ini", path.Join(path.Dir(n.set["ini"]), "dmwatcher.ini"))
		for _, s := range w.Sections[1:] {
			n.put("group", s.Name)
			n.put("oguid", s.Get("INST_OGUID"))
			if own := s.Get("INST_INI"); own != "" {
				n.put("ini", own)
				n.put("watcher_ini", path.Join(path.Dir(own), "dmwatcher.ini"))
			}
			if start := s.Get("INST_STARTUP_CMD"); strings.Contains(start, "/bin/") {
				n.put("home", start[:strings.LastIndex(start, "/bin/")])
			}
			n.put("dcr_ini", s.Get("DCR_INI"))
		}
	}
	if n.files["dmmonitor.ini"] != nil {
		n.put("monitor_ini", path.Join(path.Dir(n.set["ini"]), "dmmonitor.ini"))
	}
	if d := n.files["dmdcr.ini"]; d != nil {
		n.put("dcr_ini", path.Join(path.Dir(n.set["ini"]), "dmdcr.ini"))
		n.put("dcr_disk", d.Get("DMDCR_PATH"))
	}
	if n.files["dmcssm.ini"] != nil {
		n.put("cssm_ini", path.Join(path.Dir(n.set["ini"]), "dmcssm.ini"))
	}
	im.services(n, dir, at)
}

func (n *found) put(key, value string) {
	if value != "" && n.set[key] == "" {
		n.set[key] = value
	}
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" && !strings.HasPrefix(v, "+") {
			return v
		}
	}
	return ""
}

// serviceKeys are the prefixes of the vendor's service names.
var serviceKeys = []struct{ prefix, key string }{
	{"DmWatcherService", "watcher_service"}, {"DmMonitorService", "monitor_service"}, {"DmASMSvrmService", "asm_service"},
	{"DmASMSvrService", "asm_service"}, {"DmCSSMonitorService", ""}, {"DmCSSService", "css_service"}, {"DmService", "server_service"},
}

// services takes the names of units that lie beside the files: their suffix is free text.
func (im *importer) services(n *found, dir fs.FS, at string) {
	entries, _ := fs.ReadDir(dir, at) // a directory that was readable before; without units the default names stay
	for _, e := range entries {
		unit, ok := strings.CutSuffix(e.Name(), ".service")
		if !ok {
			continue
		}
		for _, s := range serviceKeys {
			if strings.HasPrefix(unit, s.prefix) {
				if s.key != "" {
					n.put(s.key, unit)
				}
				break
			}
		}
	}
}

// complete adds nodes that only shared files name, and what they tell of all.
func (im *importer) complete() error {
	first := im.nodes[0]
	if mal := im.shared("dmmal.ini"); mal != nil {
		for _, s := range mal.Sections[1:] {
			inst := s.Get("MAL_INST_NAME")
			if inst == "" {
				continue
			}
			n := im.byInstance[inst]
			if n == nil {
				n = im.suppose(first, inst)
			}
			n.address = firstNonEmpty(s.Get("MAL_INST_HOST"), s.Get("MAL_HOST"))
			n.put("port", s.Get("MAL_INST_PORT"))
		}
	}
	if err := im.completeDSC(); err != nil {
		return err
	}
	for _, n := range im.nodes {
		n.defaults(first)
	}
	return nil
}

func firstNonEmpty(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (im *importer) shared(base string) *File {
	for _, n := range im.nodes {
		if f := n.files[base]; f != nil {
			return f
		}
	}
	return nil
}

func (im *importer) suppose(like *found, instance string) *found {
	n := &found{name: strings.ToLower(instance), instance: instance, files: map[string]*File{}, set: cluster.Settings{"instance": instance}}
	for _, key := range []string{"ini", "home", "group", "oguid", "watcher_ini", "dcr_ini", "cssm_ini", "dcr_disk"} {
		n.put(key, like.set[key])
	}
	im.nodes = append(im.nodes, n)
	im.byInstance[instance] = n
	im.supposed = append(im.supposed, say.F(
		"%s: no dm.ini of instance %s was given; its paths are taken to be those of %s", "%s：没有实例 %s 的 dm.ini，假定其路径与 %s 相同",
		n.name, instance, like.name))
	return n
}

// completeDSC groups the nodes of each DSC cluster by its dmdcr_cfg.ini.
func (im *importer) completeDSC() error {
	for _, n := range slices.Clone(im.nodes) {
		cfg := n.files["dmdcr_cfg.ini"]
		if cfg == nil {
			continue
		}
		for _, grp := range cfg.Sections[1:] {
			if !strings.EqualFold(grp.Get("DCR_GRP_TYPE"), "DB") {
				continue
			}
			if err := im.group(n, cfg, grp.Get("DCR_GRP_NAME")); err != nil {
				return err
			}
		}
	}
	return nil
}

func (im *importer) group(like *found, cfg *File, name string) error {
	if name == "" {
		return &say.Problem{Place: like.name + "/dmdcr_cfg.ini", Text: say.F("a group of type DB has no DCR_GRP_NAME", "DB 组缺少 DCR_GRP_NAME")}
	}
	for _, ep := range cfg.Sections[1:] {
		inst := ep.Get("DCR_EP_NAME")
		if !strings.EqualFold(ep.Name, name) || inst == "" {
			continue
		}
		n := im.byInstance[inst]
		if n == nil {
			n = im.suppose(like, inst)
		}
		n.set["member"] = name
		n.put("db_group", name)
		n.put("vote_disk", cfg.Get("DCR_VTD_PATH"))
		n.put("seqno", ep.Get("DCR_EP_SEQNO"))
		n.put("port", ep.Get("DCR_EP_PORT"))
		if n.address == "" {
			n.address = ep.Get("DCR_EP_HOST")
		}
		for _, grp := range cfg.Sections[1:] {
			if strings.EqualFold(grp.Get("DCR_GRP_TYPE"), "ASM") {
				n.put("asm_group", grp.Get("DCR_GRP_NAME"))
			}
		}
	}
	return nil
}

// defaults are the vendor's usual names where no file tells another.
func (n *found) defaults(first *found) {
	n.put("home", first.set["home"])
	n.put("home", "/opt/dmdbms")
	n.put("server_service", "DmService"+n.instance)
	if n.set["watcher_ini"] != "" {
		n.put("watcher_service", "DmWatcherService"+n.instance)
	}
	if n.set["monitor_ini"] != "" {
		n.put("monitor_service", "DmMonitorService"+n.instance)
	}
	if n.set["member"] != "" {
		n.put("css_service", "DmCSSService"+n.instance)
		n.put("asm_service", "DmASMSvrService"+n.instance)
	}
	if n.address == "" {
		n.address = "127.0.0.1"
	}
}

func (im *importer) inventory(name string) *cluster.Inventory {
	inv := &cluster.Inventory{Cluster: name, Driver: "dameng", Settings: cluster.Settings{}}
	sort.SliceStable(im.nodes, func(i, j int) bool { return im.nodes[i].name < im.nodes[j].name })
	for _, key := range []string{"group", "oguid"} {
		for _, n := range im.nodes {
			if v := n.set[key]; v != "" {
				inv.Settings[key] = v
			}
			delete(n.set, key)
		}
	}
	for _, n := range im.nodes {
		for k, v := range inv.Settings {
			n.put(k, v)
		}
		inv.Nodes = append(inv.Nodes, cluster.Node{Name: n.name, Address: n.address, Transport: "ssh", Settings: n.set,
			StateDir: path.Join(".shiplift", name, n.name)})
	}
	return inv
}
