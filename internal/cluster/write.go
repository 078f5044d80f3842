package cluster

import (
	"github.com/goccy/go-yaml"
	"github.com/google/renameio/v2"

	"github.com/shiplift/shiplift/internal/say"
)

// Marshal returns the inventory as a file that Read reads back to the same inventory.
func Marshal(inv *Inventory) ([]byte, error) {
	doc := yaml.MapSlice{
		{Key: "version", Value: Version},
		{Key: "cluster", Value: inv.Cluster},
		{Key: "driver", Value: inv.Driver},
	}
	common := commonSSH(inv.Nodes)
	doc = appendSSH(doc, common)
	if len(inv.Settings) > 0 {
		doc = append(doc, yaml.MapItem{Key: "settings", Value: inv.Settings})
	}
	var nodes []yaml.MapSlice
	for _, n := range inv.Nodes {
		nodes = append(nodes, nodeItem(inv, n, common))
	}
	doc = append(doc, yaml.MapItem{Key: "nodes", Value: nodes})
	return yaml.MarshalWithOptions(doc, yaml.IndentSequence(true))
}

func nodeItem(inv *Inventory, n Node, common SSH) yaml.MapSlice {
	item := yaml.MapSlice{{Key: "name", Value: n.Name}, {Key: "address", Value: n.Address}}
	if n.Transport == TransportLocal {
		item = append(item, yaml.MapItem{Key: "transport", Value: n.Transport})
	}
	if n.SSH != common {
		item = appendSSH(item, n.SSH)
	}
	if n.StateDir != "" && n.StateDir != stateDir("", inv.Cluster, n.Name) {
		item = append(item, yaml.MapItem{Key: "state_dir", Value: n.StateDir})
	}
	own := map[string]string{}
	for k, v := range n.Settings {
		if whole, ok := inv.Settings[k]; !ok || whole != v {
			own[k] = v
		}
	}
	if len(own) > 0 {
		item = append(item, yaml.MapItem{Key: "settings", Value: own})
	}
	return item
}

// commonSSH is what all nodes share; nothing when they differ in anything, so
// that reading never adds a field to a node that has none.
func commonSSH(nodes []Node) SSH {
	if len(nodes) == 0 {
		return SSH{}
	}
	for _, n := range nodes[1:] {
		if n.SSH != nodes[0].SSH {
			return SSH{}
		}
	}
	return nodes[0].SSH
}

func appendSSH(to yaml.MapSlice, s SSH) yaml.MapSlice {
	if s == (SSH{}) {
		return to
	}
	var item yaml.MapSlice
	add := func(key, value string) {
		if value != "" {
			item = append(item, yaml.MapItem{Key: key, Value: value})
		}
	}
	add("host", s.Host)
	if s.Port != 0 {
		item = append(item, yaml.MapItem{Key: "port", Value: s.Port})
	}
	add("user", s.User)
	add("identity_file", s.IdentityFile)
	add("known_hosts", s.KnownHosts)
	add("config", s.ConfigFile)
	return append(to, yaml.MapItem{Key: "ssh", Value: item})
}

// Write puts the inventory at path, whole or not at all.
func Write(path string, inv *Inventory) error {
	data, err := Marshal(inv)
	if err != nil {
		return say.Errorf("encode inventory: %w", "生成清单：%w", err)
	}
	if err := renameio.WriteFile(path, data, 0o644); err != nil {
		return &say.Problem{Place: path, Text: say.F("cannot write the inventory", "无法写入清单文件"), Err: err, Next: say.Same("df -h . && ls -ld .")}
	}
	return nil
}
