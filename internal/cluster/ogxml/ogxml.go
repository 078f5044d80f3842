// Package ogxml reads the cluster file of openGauss and MogDB
// (clusterconfig.xml) and makes an inventory of it. Facts: spec/opengauss.md section 3.
package ogxml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/say"
)

// Deployment is what the file says: where everything lies.
type Deployment struct {
	Cluster string
	App     string // gaussdbAppPath: $GAUSSHOME, a link
	Log     string
	Tmp     string // tmpMppdbPath: $PGHOST
	Tools   string // gaussdbToolPath: $GPHOME
	Core    string
	Nodes   []Node // in the order of nodeNames
	Shared  bool   // DSS, shared storage
	DCF     bool
}

// Node is one DEVICE.
type Node struct {
	Name     string
	AZ       string
	IP       string // backIp1
	SSH      string // sshIp1
	Floats   []string
	CMDir    string
	CMPort   int // of a cm_server; 0 without one
	CMServer bool
	Data     string
	Port     int
	ID       int // 6001…; 0 for a node without a datanode
	Cascade  bool
}

// CM reports whether the cluster has a cluster manager: some node must yield a
// cm_server.
func (d *Deployment) CM() bool {
	return slices.ContainsFunc(d.Nodes, func(n Node) bool { return n.CMServer })
}

// Node returns the node of that name.
func (d *Deployment) Node(name string) (Node, bool) {
	i := slices.IndexFunc(d.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return d.Nodes[i], true
}

// params are the PARAMs of one element with the line each stands in.
type params map[string]param

type param struct {
	value string
	line  int
}

func (p params) get(name string) string { return p[name].value }

type reader struct {
	place   string
	cluster params
	devices []params
	lines   []int
}

// Parse reads the file. place names it in complaints.
func Parse(place string, b []byte) (*Deployment, error) {
	r := &reader{place: place}
	if err := r.read(b); err != nil {
		return nil, err
	}
	return r.deployment()
}

func (r *reader) fail(line int, text say.Text) error {
	place := r.place
	if line > 0 {
		place += ":" + strconv.Itoa(line)
	}
	return &say.Problem{Place: place, Text: text, Next: say.F("correct the cluster file; it is the one that gs_preinstall was given with -X", "请更正集群配置文件（即 gs_preinstall 的 -X 参数所用文件）")}
}

func onlyUTF8(label string, in io.Reader) (io.Reader, error) {
	if strings.EqualFold(label, "utf8") {
		return in, nil
	}
	return nil, say.Errorf("the encoding %q is not read; write it as UTF-8", "不支持编码 %q；请改用 UTF-8", label)
}

func (r *reader) read(b []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(b))
	dec.CharsetReader = onlyUTF8
	var at params
	var stack []string
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		line, _ := dec.InputPos()
		if err != nil {
			return r.fail(line, say.F("not readable as XML: %s", "无法按 XML 解析：%s", err.Error()))
		}
		switch t := tok.(type) {
		case xml.StartElement:
			stack = append(stack, t.Name.Local)
			if at, err = r.start(at, strings.Join(stack, "/"), t, line); err != nil {
				return err
			}
		case xml.EndElement:
			stack = stack[:len(stack)-1]
			if t.Name.Local == "CLUSTER" || t.Name.Local == "DEVICE" {
				at = nil
			}
		}
	}
	if r.cluster == nil {
		return r.fail(0, say.F("there is no ROOT/CLUSTER in it: not a cluster file", "缺少 ROOT/CLUSTER，不是集群配置文件"))
	}
	return nil
}

// start takes an opening element in and returns the section that it lies in.
func (r *reader) start(at params, stack string, t xml.StartElement, line int) (params, error) {
	switch stack {
	case "ROOT/CLUSTER":
		r.cluster = params{}
		return r.cluster, nil
	case "ROOT/DEVICELIST/DEVICE":
		at = params{}
		r.devices, r.lines = append(r.devices, at), append(r.lines, line)
		return at, nil
	}
	if t.Name.Local == "PARAM" && at != nil {
		return at, r.param(at, t, line)
	}
	return at, nil
}

func (r *reader) param(at params, t xml.StartElement, line int) error {
	var name string
	p := param{line: line}
	for _, a := range t.Attr {
		switch a.Name.Local {
		case "name":
			name = strings.TrimSpace(a.Value)
		case "value":
			p.value = strings.TrimSpace(a.Value)
		}
	}
	if name == "cmServerlevel" { // both spellings are in use
		name = "cmServerLevel"
	}
	if name == "" {
		return r.fail(line, say.F("a PARAM without a name", "PARAM 缺少 name"))
	}
	if old, twice := at[name]; twice && old.value != p.value {
		return r.fail(line, say.F("%s stands twice, as %q and %q", "%s 出现两次：%q 与 %q", name, old.value, p.value))
	}
	at[name] = p
	return nil
}

func (r *reader) deployment() (*Deployment, error) {
	d := &Deployment{
		Cluster: r.cluster.get("clusterName"), App: trim(r.cluster.get("gaussdbAppPath")), Log: trim(r.cluster.get("gaussdbLogPath")),
		Tmp: trim(r.cluster.get("tmpMppdbPath")), Tools: trim(r.cluster.get("gaussdbToolPath")), Core: trim(r.cluster.get("corePath")),
		Shared: r.cluster.get("enable_dss") == "on", DCF: r.cluster.get("enable_dcf") == "on",
	}
	for _, need := range []string{"clusterName", "nodeNames", "gaussdbAppPath"} {
		if r.cluster.get(need) == "" {
			return nil, r.fail(0, say.F("%s is missing", "缺少 %s", need))
		}
	}
	if r.cluster.get("clusterType") == "single-inst" && len(r.devices) == 0 {
		return nil, r.fail(0, say.F("there is no DEVICE", "没有 DEVICE"))
	}
	byName := map[string]int{}
	for i, dev := range r.devices {
		n, err := r.node(i, dev)
		if err != nil {
			return nil, err
		}
		if _, twice := byName[n.Name]; twice {
			return nil, r.fail(r.lines[i], say.F("two DEVICEs are named %s", "两个 DEVICE 同名：%s", n.Name))
		}
		byName[n.Name] = len(d.Nodes)
		d.Nodes = append(d.Nodes, n)
	}
	if err := r.order(d); err != nil {
		return nil, err
	}
	if err := r.datanodes(d); err != nil {
		return nil, err
	}
	return d, r.cmServers(d)
}

func trim(p string) string {
	if len(p) > 1 {
		return strings.TrimRight(p, "/")
	}
	return p
}

func (r *reader) node(i int, p params) (Node, error) {
	n := Node{Name: p.get("name"), AZ: p.get("azName"), IP: firstOf(p.get("backIp1")), SSH: firstOf(p.get("sshIp1")), CMDir: trim(p.get("cmDir")), Cascade: p.get("cascadeRole") == "on"}
	if n.Name == "" || n.IP == "" {
		return n, r.fail(r.lines[i], say.F("a DEVICE needs name and backIp1", "DEVICE 需要 name 和 backIp1"))
	}
	if n.SSH == "" {
		n.SSH = n.IP
	}
	for _, key := range []string{"floatIp1", "floatIp2", "floatIp3"} {
		if v := p.get(key); v != "" {
			n.Floats = append(n.Floats, v)
		}
	}
	return n, nil
}

// order brings the nodes into the order of nodeNames and holds both lists against each other.
func (r *reader) order(d *Deployment) error {
	names := list(r.cluster.get("nodeNames"))
	line := r.cluster["nodeNames"].line
	for _, name := range names {
		if _, there := d.Node(name); !there {
			return r.fail(line, say.F("nodeNames lists %s, which has no DEVICE", "nodeNames 中的 %s 没有对应的 DEVICE", name))
		}
	}
	if len(names) != len(d.Nodes) {
		return r.fail(line, say.F("nodeNames lists %d nodes and there are %d DEVICEs", "nodeNames 列出 %d 个节点，而 DEVICE 有 %d 个", len(names), len(d.Nodes)))
	}
	slices.SortStableFunc(d.Nodes, func(a, b Node) int { return slices.Index(names, a.Name) - slices.Index(names, b.Name) })
	return nil
}

func list(v string) []string {
	var out []string
	for _, w := range strings.Split(v, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

func firstOf(v string) string {
	if l := list(v); len(l) > 0 {
		return l[0]
	}
	return ""
}

// dataNode1 reads the port and the words of the device that carries dataNode1.
func (r *reader) dataNode1(dev params) (int, []string, error) {
	v := dev["dataNode1"]
	if num := dev.get("dataNum"); num != "" && num != "1" {
		return 0, nil, r.fail(dev["dataNum"].line, say.F("dataNum is %s; more than one datanode on a node is not supported", "dataNum 为 %s；不支持一个节点上有多个数据节点", num))
	}
	port, err := strconv.Atoi(dev.get("dataPortBase"))
	if err != nil || port < 1 || port > 65535 {
		return 0, nil, r.fail(v.line, say.F("dataPortBase %q is not a port", "dataPortBase %q 不是端口号", dev.get("dataPortBase")))
	}
	words := list(v.value)
	if len(words)%2 == 0 {
		return 0, nil, r.fail(v.line, say.F("dataNode1 must be a directory, followed by pairs of host and directory", "dataNode1 应为目录，其后为成对的主机与目录"))
	}
	return port, words, nil
}

// datanodes hands out directory, port and id: dataNode1 of one device lists
// its own directory and then host and directory of each other.
func (r *reader) datanodes(d *Deployment) error {
	id := 6001
	for _, dev := range r.devices {
		v := dev["dataNode1"]
		if v.value == "" {
			continue
		}
		if id > 6001 {
			return r.fail(v.line, say.F("a second DEVICE carries dataNode1; openGauss has one group of datanodes", "第二个 DEVICE 也含 dataNode1；openGauss 只有一组数据节点"))
		}
		port, words, err := r.dataNode1(dev)
		if err != nil {
			return err
		}
		place := func(name, dir string) error {
			k := slices.IndexFunc(d.Nodes, func(n Node) bool { return n.Name == name })
			if k < 0 {
				return r.fail(v.line, say.F("dataNode1 names the host %s, which has no DEVICE", "dataNode1 中的主机 %s 没有对应的 DEVICE", name))
			}
			if d.Nodes[k].ID != 0 {
				return r.fail(v.line, say.F("dataNode1 names the host %s twice", "dataNode1 中主机 %s 出现两次", name))
			}
			d.Nodes[k].ID, d.Nodes[k].Data, d.Nodes[k].Port = id, trim(dir), port
			id++
			return nil
		}
		words = append([]string{dev.get("name")}, words...)
		for k := 0; k+1 < len(words); k += 2 {
			if err := place(words[k], words[k+1]); err != nil {
				return err
			}
		}
	}
	if id == 6001 {
		return r.fail(0, say.F("no DEVICE carries dataNode1", "没有 DEVICE 含 dataNode1"))
	}
	if k := slices.IndexFunc(d.Nodes, func(n Node) bool { return n.ID == 0 }); k >= 0 {
		return r.fail(0, say.F("node %s has no datanode", "节点 %s 没有数据节点", d.Nodes[k].Name))
	}
	return nil
}

// cmServers finds the nodes that have a cm_server.
func (r *reader) cmServers(d *Deployment) error {
	for _, dev := range r.devices {
		num := dev.get("cmsNum")
		if num == "" || num == "0" {
			continue
		}
		port, err := strconv.Atoi(dev.get("cmServerPortBase"))
		if err != nil {
			return r.fail(dev["cmsNum"].line, say.F("cmServerPortBase %q is not a port", "cmServerPortBase %q 不是端口号", dev.get("cmServerPortBase")))
		}
		members := list(dev.get("cmServerRelation"))
		if len(members) == 0 {
			members = []string{dev.get("name")}
		}
		for _, name := range members {
			k := slices.IndexFunc(d.Nodes, func(n Node) bool { return n.Name == name })
			if k < 0 {
				return r.fail(dev["cmServerRelation"].line, say.F("cmServerRelation names %s, which has no DEVICE", "cmServerRelation 中的 %s 没有对应的 DEVICE", name))
			}
			if d.Nodes[k].CMDir == "" {
				return r.fail(dev["cmServerRelation"].line, say.F("%s has a cm_server and no cmDir", "%s 有 cm_server 却没有 cmDir", name))
			}
			d.Nodes[k].CMServer, d.Nodes[k].CMPort = true, port
		}
	}
	return nil
}

// Import makes an inventory for the driver (opengauss or mogdb) of the file.
// The cluster user stands in no cluster file: it is taken from ssh_config
// or added by hand. getenv tells MPPDB_ENV_SEPARATE_PATH, which names the
// profile where the environment is separated; nil means it is not.
func Import(driver, file string, getenv func(string) string) (*cluster.Inventory, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, &say.Problem{Place: file, Text: say.F("cannot read the cluster file [GAUSS-50201]", "无法读取集群配置文件［GAUSS-50201］"), Err: err, Next: say.Same("ls -l " + file)}
	}
	d, err := Parse(file, b)
	if err != nil {
		return nil, err
	}
	profile := ""
	if getenv != nil {
		profile = getenv("MPPDB_ENV_SEPARATE_PATH")
	}
	return d.Inventory(driver, file, profile), nil
}

// DefaultProfile is where the environment lies when it is not separated.
const DefaultProfile = ".bashrc"

// Inventory is the deployment as an inventory. xml is the file's own name,
// for the check that the deployment has not changed.
func (d *Deployment) Inventory(driver, xml, profile string) *cluster.Inventory {
	if profile == "" {
		profile = DefaultProfile
	}
	inv := &cluster.Inventory{Cluster: d.Cluster, Driver: driver, Settings: cluster.Settings{"profile": profile}}
	set := func(key, value string) {
		if value != "" {
			inv.Settings[key] = value
		}
	}
	set("xml", xml)
	for _, n := range d.Nodes {
		s := cluster.Settings{}
		for k, v := range inv.Settings {
			s[k] = v
		}
		s["data"], s["port"] = n.Data, strconv.Itoa(n.Port)
		if d.CM() && n.CMDir != "" {
			s["cm_dir"] = n.CMDir
		}
		node := cluster.Node{Name: n.Name, Address: n.IP, Transport: cluster.TransportSSH, StateDir: ".shiplift/" + d.Cluster + "/" + n.Name, Settings: s}
		if n.SSH != n.IP {
			node.SSH.Host = n.SSH
		}
		inv.Nodes = append(inv.Nodes, node)
	}
	return inv
}
