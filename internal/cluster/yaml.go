package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/shiplift/shiplift/internal/say"
)

// Version is the version of the inventory's format.
const Version = 1

// The transports of a node.
const (
	TransportSSH   = "ssh"
	TransportLocal = "local"
)

// defaultStateDir is where Shiplift's own files lie on a node, relative to the login's home.
const defaultStateDir = ".shiplift"

// maxInventory bounds what is read before it is understood.
const maxInventory = 4 << 20

// KeysOf returns the settings that a driver knows; ok is false for an unknown driver.
type KeysOf func(driver string) (keys []Key, ok bool)

// nextFormat is what to type when the form of the file is in doubt.
func nextFormat() say.Text {
	return say.F("correct the file, then run the command again; the form: shiplift help inventory",
		"改正文件后重新执行命令；格式说明：shiplift help inventory")
}

// Read reads an inventory. It is strict: whatever it does not know is refused
// with file, line and column (*say.Problem), so that a misspelt key never
// silently means its default. Settings are not looked at when keysOf is nil.
func Read(path string, keysOf KeysOf) (*Inventory, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, keysOf)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &say.Problem{
			Place: path,
			Text:  say.F("there is no inventory here", "此处没有清单文件"),
			Next: say.F("name it with -c FILE, write one (shiplift help inventory), import one (shiplift inventory import --help) or practise (shiplift lab up --help)",
				"用 -c FILE 指定，或编写（shiplift help inventory）、导入（shiplift inventory import --help），也可先在演练环境中练习（shiplift lab up --help）"),
			Err: fs.ErrNotExist,
		}
	case err != nil:
		return nil, &say.Problem{Place: path, Text: say.F("cannot read the inventory", "无法读取清单文件"), Err: err, Next: say.Same("ls -l " + path)}
	case info.IsDir() || info.Size() > maxInventory:
		return nil, &say.Problem{Place: path, Text: say.F("this is not an inventory (a YAML file below 4 MiB)", "这不是清单文件（应为小于 4 MiB 的 YAML 文件）"), Next: nextFormat()}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &say.Problem{Place: path, Text: say.F("cannot read the inventory", "无法读取清单文件"), Err: err, Next: say.Same("ls -l " + path)}
	}
	return data, nil
}

// Parse reads an inventory that came from path.
func Parse(path string, data []byte, keysOf KeysOf) (*Inventory, error) {
	r := &reader{path: path, dir: filepath.Dir(path)}
	root, err := r.document(data)
	if err != nil {
		return nil, err
	}
	inv, err := r.inventory(root, keysOf)
	if err != nil {
		return nil, err
	}
	inv.Path = path
	return inv, nil
}

// reader turns the tree of a YAML file into an inventory and stops at the first trouble.
type reader struct{ path, dir string }

// fail is a problem at a token of the file.
func (r *reader) fail(at *token.Token, text say.Text) error {
	return &say.Problem{Place: r.place(at), Text: text, Next: nextFormat()}
}

func (r *reader) place(at *token.Token) string {
	if at == nil || at.Position == nil {
		return r.path
	}
	return fmt.Sprintf("%s:%d:%d", r.path, at.Position.Line, at.Position.Column)
}

func (r *reader) document(data []byte) (ast.Node, error) {
	file, err := parser.ParseBytes(data, 0)
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		return nil, r.fail(syntax.Token, say.F("this is not YAML: %s", "不是合法的 YAML：%s", syntax.Message))
	}
	if err != nil {
		return nil, r.fail(nil, say.F("this is not YAML: %s", "不是合法的 YAML：%s", err))
	}
	var bodies []ast.Node
	for _, d := range file.Docs {
		if d.Body != nil && d.Body.Type() != ast.NullType && d.Body.Type() != ast.CommentType {
			bodies = append(bodies, d.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return nil, r.fail(nil, say.F("the inventory is empty", "清单文件是空的"))
	case 1:
		return bodies[0], nil
	default:
		return nil, r.fail(beginOf(bodies[1]), say.F("a second YAML document begins here; an inventory is one document that names one cluster",
			"这里开始了第二个 YAML 文档；一个清单只含一个文档，描述一个集群"))
	}
}

// draft is an inventory before node defaults are filled in.
type draft struct {
	inv      Inventory
	stateDir string
	ssh      SSH
	settings settings
	nodes    []nodeDraft
}

type nodeDraft struct {
	at       *token.Token
	node     Node
	stateDir string
	ssh      SSH
	settings settings
}

// settings remembers where each value stands.
type settings map[string]located

type located struct {
	at    *token.Token
	value string
}

func (r *reader) inventory(root ast.Node, keysOf KeysOf) (*Inventory, error) {
	var d draft
	if err := r.top(root, &d); err != nil {
		return nil, err
	}
	if err := r.complete(root, &d); err != nil {
		return nil, err
	}
	if err := r.checkSettings(root, &d, keysOf); err != nil {
		return nil, err
	}
	for i := range d.nodes {
		d.inv.Nodes = append(d.inv.Nodes, d.finish(&d.nodes[i]))
	}
	d.inv.Settings = d.settings.values()
	return &d.inv, r.distinct(&d)
}

func (r *reader) top(root ast.Node, d *draft) error {
	var nodes ast.Node
	err := r.mapping(root, say.F("the inventory", "清单"), fields{
		"version":   r.version,
		"cluster":   r.nameInto("cluster", &d.inv.Cluster),
		"driver":    r.textInto("driver", &d.inv.Driver),
		"ssh":       func(n ast.Node) error { return r.ssh(n, &d.ssh) },
		"state_dir": r.textInto("state_dir", &d.stateDir),
		"settings":  func(n ast.Node) error { return r.settings(n, &d.settings) },
		"nodes":     func(n ast.Node) error { nodes = n; return nil },
	})
	if err != nil || nodes == nil {
		return err
	}
	list, ok := nodes.(*ast.SequenceNode)
	if !ok {
		return r.wrongType("nodes", nodes, say.F("a list of nodes: - {name: db1, address: 10.0.0.1}", "节点列表：- {name: db1, address: 10.0.0.1}"))
	}
	for _, n := range list.Values {
		nd, err := r.node(n)
		if err != nil {
			return err
		}
		d.nodes = append(d.nodes, nd)
	}
	return nil
}

func (r *reader) version(n ast.Node) error {
	s, err := r.scalar("version", n)
	if err != nil {
		return err
	}
	if s != strconv.Itoa(Version) {
		return r.fail(n.GetToken(), say.F("version is %q; this tool reads version %d", "version 为 %q；本工具只读取版本 %d", s, Version))
	}
	return nil
}

func (r *reader) node(n ast.Node) (nodeDraft, error) {
	nd := nodeDraft{at: beginOf(n)}
	nd.node.Transport = TransportSSH
	err := r.mapping(n, say.F("a node", "节点"), fields{
		"name":      r.nameInto("name", &nd.node.Name),
		"address":   func(n ast.Node) error { return r.address("address", n, &nd.node.Address) },
		"transport": func(n ast.Node) error { return r.transport(n, &nd.node.Transport) },
		"ssh":       func(n ast.Node) error { return r.ssh(n, &nd.ssh) },
		"state_dir": r.textInto("state_dir", &nd.stateDir),
		"settings":  func(n ast.Node) error { return r.settings(n, &nd.settings) },
	})
	return nd, err
}

func (r *reader) transport(n ast.Node, into *string) error {
	s, err := r.scalar("transport", n)
	if err != nil {
		return err
	}
	if s != TransportSSH && s != TransportLocal {
		return r.fail(n.GetToken(), say.F("transport is %q; expected ssh or local", "transport 为 %q；应为 ssh 或 local", s))
	}
	*into = s
	return nil
}

func (r *reader) ssh(n ast.Node, into *SSH) error {
	return r.mapping(n, say.F("ssh", "ssh"), fields{
		"user":          r.textInto("ssh.user", &into.User),
		"host":          func(n ast.Node) error { return r.address("ssh.host", n, &into.Host) },
		"port":          func(n ast.Node) error { return r.port(n, &into.Port) },
		"identity_file": r.pathInto("ssh.identity_file", &into.IdentityFile),
		"known_hosts":   r.pathInto("ssh.known_hosts", &into.KnownHosts),
		"config":        r.pathInto("ssh.config", &into.ConfigFile),
	})
}

func (r *reader) port(n ast.Node, into *int) error {
	s, err := r.scalar("ssh.port", n)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(s)
	if err != nil || port < 1 || port > 65535 {
		return r.fail(n.GetToken(), say.F("ssh.port is %q; expected a number from 1 to 65535", "ssh.port 为 %q；应为 1 到 65535 的数字", s))
	}
	*into = port
	return nil
}

// addressForm is a host name or an IP address; a zone and a port are not part of it.
var addressForm = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)$`)

// portBehind finds the usual slip "10.0.0.1:5432".
var portBehind = regexp.MustCompile(`^[^:]+:[0-9]+$`)

func (r *reader) address(key string, n ast.Node, into *string) error {
	s, err := r.scalar(key, n)
	if err != nil {
		return err
	}
	if !addressForm.MatchString(s) || portBehind.MatchString(s) {
		return r.fail(n.GetToken(), say.F("%s is %q; expected a host name or an IP address without a port", "%s 为 %q；应为不带端口的主机名或 IP 地址", key, s))
	}
	*into = s
	return nil
}

// nameForm keeps names usable as directory names and on a command line.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

func (r *reader) nameInto(key string, into *string) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := r.scalar(key, n)
		if err != nil {
			return err
		}
		if !nameForm.MatchString(s) {
			return r.fail(n.GetToken(), say.F("the name %q does not fit: letters, digits, dot, dash and underscore, 64 at most, not beginning with a dot or dash",
				"名称 %q 不合要求：只能用字母、数字、点、连字符和下划线，最多 64 个字符，不能以点或连字符开头", s))
		}
		*into = s
		return nil
	}
}

func (r *reader) textInto(key string, into *string) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := r.scalar(key, n)
		*into = s
		return err
	}
}

// pathInto reads a path on the control machine: ~ is the home, a relative one
// lies beside the inventory, so that a lab's directory can be moved as a whole.
func (r *reader) pathInto(key string, into *string) func(ast.Node) error {
	return func(n ast.Node) error {
		s, err := r.scalar(key, n)
		if err != nil || s == "" {
			return err
		}
		if rest, ok := strings.CutPrefix(s, "~/"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				return r.fail(n.GetToken(), say.F("~ has no meaning here: %s", "无法解析 ~：%s", err))
			}
			s = filepath.Join(home, rest)
		}
		if !filepath.IsAbs(s) {
			s = filepath.Join(r.dir, s)
		}
		*into = s
		return nil
	}
}

func (r *reader) settings(n ast.Node, into *settings) error {
	entries, err := r.entries(n, say.F("settings", "settings"))
	if err != nil {
		return err
	}
	*into = settings{}
	for _, e := range entries {
		v, err := r.scalar("settings."+e.key, e.value)
		if err != nil {
			return err
		}
		(*into)[e.key] = located{at: e.at, value: v}
	}
	return nil
}

func (s settings) values() Settings {
	out := Settings{}
	for k, v := range s {
		out[k] = v.value
	}
	return out
}

// fields maps each key of a mapping to what reads its value.
type fields map[string]func(ast.Node) error

// mapping reads a mapping whose keys are all known.
func (r *reader) mapping(n ast.Node, what say.Text, known fields) error {
	entries, err := r.entries(n, what)
	if err != nil {
		return err
	}
	for _, e := range entries {
		read, ok := known[e.key]
		if !ok {
			return r.unknownKey(e, what, slices.Sorted(maps.Keys(known)))
		}
		if err := read(e.value); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) unknownKey(e entry, what say.Text, known []string) error {
	text := say.Text{
		EN: fmt.Sprintf("unknown key %q in %s; expected one of %s", e.key, what.EN, strings.Join(known, ", ")),
		ZH: fmt.Sprintf("%s中有未知的键 %q；应为以下之一：%s", what.In(say.Chinese), e.key, strings.Join(known, "、")),
	}
	if near := nearest(e.key, known); near != "" {
		text.EN += fmt.Sprintf(" (did you mean %s?)", near)
		text.ZH += fmt.Sprintf("（是否想写 %s？）", near)
	}
	return r.fail(e.at, text)
}

type entry struct {
	key   string
	at    *token.Token
	value ast.Node
}

// entries returns what stands in a mapping; a key that stands there twice is refused.
func (r *reader) entries(n ast.Node, what say.Text) ([]entry, error) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return nil, r.wrongType(what.EN, n, say.F("keys and values", "键值对"))
	}
	seen := map[string]bool{}
	var out []entry
	for _, v := range values {
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			return nil, r.fail(v.Key.GetToken(), say.F("a key is expected here, a plain word", "此处应为键名（普通单词）"))
		}
		if seen[key.Value] {
			return nil, r.fail(key.GetToken(), say.F("the key %q stands here twice", "键 %q 重复出现", key.Value))
		}
		seen[key.Value] = true
		out = append(out, entry{key: key.Value, at: key.GetToken(), value: v.Value})
	}
	return out, nil
}

// scalar returns a value as it is written: 5432, "5432" and yes are what the operator typed.
func (r *reader) scalar(key string, n ast.Node) (string, error) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, nil
	case *ast.LiteralNode:
		return v.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return v.GetToken().Value, nil
	default:
		return "", r.wrongType(key, n, say.F("a single value", "单个值"))
	}
}

func (r *reader) wrongType(key string, n ast.Node, expected say.Text) error {
	var at *token.Token
	found := say.F("nothing", "空值")
	if n != nil {
		at = beginOf(n)
		found = kindOf(n)
	}
	return r.fail(at, say.Text{
		EN: fmt.Sprintf("%s is %s; expected %s", key, found.EN, expected.EN),
		ZH: fmt.Sprintf("%s 是%s；应为%s", key, found.ZH, expected.ZH),
	})
}

// beginOf returns where a person sees a value begin; a mapping's own token is its first colon.
func beginOf(n ast.Node) *token.Token {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken()
	}
	return n.GetToken()
}

func kindOf(n ast.Node) say.Text {
	switch n.Type() {
	case ast.NullType:
		return say.F("empty", "空值")
	case ast.SequenceType:
		return say.F("a list", "列表")
	case ast.MappingType, ast.MappingValueType:
		return say.F("a mapping", "键值对")
	case ast.AnchorType, ast.AliasType, ast.TagType, ast.MergeKeyType:
		return say.F("an anchor, alias or tag, which an inventory does not use", "锚点、别名或标签（清单中不使用）")
	default:
		return say.F("a single value", "单个值")
	}
}

// complete refuses an inventory that lacks what must be there.
func (r *reader) complete(root ast.Node, d *draft) error {
	missing := func(at *token.Token, key, expected string) error {
		return r.fail(at, say.F("%s is missing; expected, for example, %s", "缺少 %s；例如 %s", key, expected))
	}
	switch {
	case d.inv.Cluster == "":
		return missing(beginOf(root), "cluster", "cluster: prod")
	case d.inv.Driver == "":
		return missing(beginOf(root), "driver", "driver: postgres")
	case len(d.nodes) == 0:
		return missing(beginOf(root), "nodes", "nodes: [{name: db1, address: 10.0.0.1}]")
	}
	seen := map[string]*token.Token{}
	for _, nd := range d.nodes {
		if nd.node.Name == "" {
			return missing(nd.at, "name", "name: db1")
		}
		if nd.node.Address == "" {
			return missing(nd.at, "address", "address: 10.0.0.1")
		}
		if first, dup := seen[nd.node.Name]; dup {
			return r.fail(nd.at, say.F("node %s stands in the inventory twice; first in line %d", "节点 %s 在清单中重复；首次出现在第 %d 行",
				nd.node.Name, first.Position.Line))
		}
		seen[nd.node.Name] = nd.at
	}
	return nil
}

// tokenOf returns where the value of a top-level key stands.
func (r *reader) tokenOf(root ast.Node, key string) *token.Token {
	entries, err := r.entries(root, say.Text{})
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.key == key {
			return e.value.GetToken()
		}
	}
	return nil
}

// finish fills a node's gaps from what holds for the whole cluster.
func (d *draft) finish(nd *nodeDraft) Node {
	n := nd.node
	n.SSH = nd.ssh.or(d.ssh)
	n.Settings = d.settings.values()
	maps.Copy(n.Settings, nd.settings.values())
	n.StateDir = nd.stateDir
	if n.StateDir == "" {
		n.StateDir = stateDir(d.stateDir, d.inv.Cluster, n.Name)
	}
	return n
}

func stateDir(base, cluster, node string) string {
	if base == "" {
		base = defaultStateDir
	}
	return base + "/" + cluster + "/" + node
}

func (s SSH) or(def SSH) SSH {
	pick := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	out := SSH{
		Host: pick(s.Host, def.Host), User: pick(s.User, def.User), Port: s.Port,
		IdentityFile: pick(s.IdentityFile, def.IdentityFile), KnownHosts: pick(s.KnownHosts, def.KnownHosts), ConfigFile: pick(s.ConfigFile, def.ConfigFile),
	}
	if out.Port == 0 {
		out.Port = def.Port
	}
	return out
}

// distinct refuses two nodes that are one: a line that was copied and not changed.
func (r *reader) distinct(d *draft) error {
	for i, n := range d.inv.Nodes {
		for _, m := range d.inv.Nodes[:i] {
			if n.Address == m.Address && n.SSH == m.SSH && n.Transport == m.Transport && maps.Equal(n.Settings, m.Settings) {
				return r.fail(d.nodes[i].at, say.F("nodes %s and %s have the same address and the same settings", "节点 %s 与 %s 的地址和设置完全相同", m.Name, n.Name))
			}
		}
	}
	return nil
}
