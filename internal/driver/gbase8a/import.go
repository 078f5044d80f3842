package gbase8a

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/say"
)

// Import makes an inventory of name from what gcadmin printed (the root view,
// followed by any number of `gcadmin showcluster vc NAME`) or from the
// demo.options that the cluster was installed with. Passwords are not taken over.
func Import(name string, data []byte) (*cluster.Inventory, error) {
	if text := string(data); strings.Contains(plain(text), "CLUSTER STATE:") {
		return importStatus(name, text)
	}
	return importOptions(name, string(data))
}

func importStatus(name, text string) (*cluster.Inventory, error) {
	m := &merged{}
	var names []string
	parts := splitStatus(text)
	for i, part := range parts {
		st, err := ParseStatus(part)
		if err != nil {
			return nil, &say.Problem{Text: say.F("the text cannot be read as gcadmin's", "无法按 gcadmin 输出解析"), Err: err,
				Next: say.F("gcadmin > FILE (on several virtual clusters also: gcadmin showcluster vc NAME >> FILE)", "gcadmin > 文件（多虚拟集群还需：gcadmin showcluster vc 名称 >> 文件）")}
		}
		if i == 0 {
			names = st.VCNames
		}
		m.take(st)
	}
	if len(m.nodes) == 0 || !slices.ContainsFunc(m.nodes, func(n importedNode) bool { return n.coor }) {
		return nil, &say.Problem{Text: say.F("there is no coordinator in the text", "文本中没有协调节点"), Next: say.F("gcadmin > FILE", "gcadmin > 文件")}
	}
	if behind := len(parts) - 1; len(names) > 0 && behind > 0 && behind < len(names) {
		return nil, &say.Problem{Text: say.F("there are %d virtual clusters and the text shows the nodes of %d", "共有 %d 个虚拟集群，而文本只包含 %d 个的节点", len(names), behind),
			Next: say.F("for each of %s: gcadmin showcluster vc NAME >> FILE", "对 %s 逐个执行：gcadmin showcluster vc 名称 >> 文件", strings.Join(names, ", "))}
	}
	if len(names) > 0 && !slices.ContainsFunc(m.nodes, func(n importedNode) bool { return n.data }) {
		return nil, &say.Problem{Text: say.F("the root view of several virtual clusters shows no data node", "多虚拟集群的总览不显示数据节点"),
			Next: say.F("for each of %s: gcadmin showcluster vc NAME >> FILE", "对 %s 逐个执行：gcadmin showcluster vc 名称 >> 文件", strings.Join(names, ", "))}
	}
	return m.inventory(name, ""), nil
}

// splitStatus cuts a text of several gcadmin outputs at their first lines.
func splitStatus(text string) []string {
	var parts []string
	for _, line := range splitLines(text) {
		if strings.HasPrefix(plain(line), "CLUSTER STATE:") {
			parts = append(parts, "")
		}
		if len(parts) > 0 { // what stands before the first is a prompt or a banner
			parts[len(parts)-1] += line + "\n"
		}
	}
	return parts
}

func importOptions(name, text string) (*cluster.Inventory, error) {
	opts, err := ParseOptions(text)
	if err != nil {
		return nil, &say.Problem{Text: say.F("this is neither gcadmin's output nor a demo.options", "既不是 gcadmin 输出，也不是 demo.options"), Err: err,
			Next: say.F("shiplift inventory import gbase8a FILE", "shiplift inventory import gbase8a 文件")}
	}
	m := &merged{user: optionValue(opts, "dbaUser")}
	for _, r := range []struct {
		keys []string
		role func(*importedNode)
		name string
	}{
		{[]string{"coordinateHost", "existCoordinateHost"}, func(n *importedNode) { n.coor = true }, "coordinator"},
		{[]string{"dataHost", "existDataHost"}, func(n *importedNode) { n.data = true }, "node"},
		{[]string{"gcwareHost", "existGcwareHost"}, func(n *importedNode) { n.gcware = true }, "gcware"},
	} {
		k := 0
		for _, key := range r.keys {
			for _, ip := range hostList(optionValue(opts, key)) {
				k++
				r.role(m.node(fmt.Sprintf("%s%d", r.name, k), ip))
			}
		}
		if k == 0 && r.name == "coordinator" {
			return nil, &say.Problem{Place: "coordinateHost", Text: say.F("demo.options names no coordinator", "demo.options 中没有协调节点"), Next: say.F("use the file of the last installation, or gcadmin's output", "请使用最近一次安装的文件或 gcadmin 输出")}
		}
	}
	if p := optionValue(opts, "sshPort"); p != "" {
		if m.port, err = strconv.Atoi(p); err != nil || m.port < 1 || m.port > 65535 {
			return nil, &say.Problem{Place: "sshPort", Text: say.F("%q is not a port", "%q 不是端口号", p), Next: say.F("correct demo.options", "请更正 demo.options")}
		}
	}
	return m.inventory(name, optionValue(opts, "installPrefix")), nil
}

// importedNode is one address with its roles.
type importedNode struct {
	name, ip           string
	coor, data, gcware bool
}

// merged gathers the roles of each address; the first name it had stays.
type merged struct {
	nodes []importedNode
	user  string
	port  int
}

func (m *merged) node(name, ip string) *importedNode {
	i := slices.IndexFunc(m.nodes, func(n importedNode) bool { return n.ip == ip })
	if i < 0 {
		// Each virtual cluster counts its nodes for itself, so names repeat.
		for used := name; ; used = name + "-" + strings.NewReplacer(".", "-", ":", "-").Replace(ip) {
			if !slices.ContainsFunc(m.nodes, func(n importedNode) bool { return n.name == used }) {
				name = used
				break
			}
		}
		m.nodes = append(m.nodes, importedNode{name: name, ip: ip})
		i = len(m.nodes) - 1
	}
	return &m.nodes[i]
}

func (m *merged) take(st *Status) {
	for _, r := range st.Coordinators {
		m.node(r.Name, r.IP).coor = true
	}
	for _, r := range st.Data {
		m.node(r.Name, r.IP).data = true
	}
	for _, r := range st.Free {
		m.node(r.Name, r.IP).data = true
	}
	for _, r := range st.Gcware {
		m.node(r.Name, r.IP).gcware = true
	}
}

// inventory writes the nodes down. With a prefix and gcware hosts (V953) each
// instance gets the profiles of its own address, so that several may live on
// one machine (spec section 1).
func (m *merged) inventory(name, prefix string) *cluster.Inventory {
	v953 := slices.ContainsFunc(m.nodes, func(n importedNode) bool { return n.gcware })
	user := m.user
	if user == "" {
		user = "gbase"
	}
	inv := &cluster.Inventory{Cluster: name, Driver: "gbase8a", Settings: cluster.Settings{keyDBAUser: user}}
	for _, n := range m.nodes {
		s := cluster.Settings{keyDBAUser: user}
		if v953 && prefix != "" {
			var files []string
			if n.coor || n.data {
				files = append(files, path.Join(prefix, n.ip, "gbase_profile"))
			}
			if n.coor || n.gcware { // a coordinator has gcadmin from there
				files = append(files, path.Join(prefix, n.ip, "gcware_profile"))
			}
			s[keyProfile] = strings.Join(files, " ")
		}
		inv.Nodes = append(inv.Nodes, cluster.Node{Name: n.name, Address: n.ip, Transport: "ssh", StateDir: path.Join(".shiplift", name, n.name),
			SSH: cluster.SSH{Host: n.ip, User: user, Port: m.port}, Settings: s})
	}
	return inv
}
