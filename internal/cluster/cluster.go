// Package cluster holds the inventory: the file that names a cluster, its
// nodes and how to reach them. Roles are observed, never read from a file.
package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Inventory names one cluster.
type Inventory struct {
	Path    string // the file it was read from
	Cluster string
	Driver  string
	Nodes   []Node // in the file's order, at least one
	// Settings holds the driver's own keys that belong to the whole cluster;
	// Node.Settings holds them merged with the node's own.
	Settings Settings
}

// Node is one host's part of the cluster.
type Node struct {
	Name      string
	Address   string // as the other nodes and clients reach the database
	Transport string // "ssh" or "local"
	SSH       SSH
	StateDir  string // where Shiplift keeps its own files on the node; relative to the login's home
	Settings  Settings
}

// SSH says how to reach a node. Zero fields come from ssh_config, then from the usual defaults.
type SSH struct {
	Host         string
	Port         int
	User         string
	IdentityFile string
	KnownHosts   string
	ConfigFile   string
}

// Settings are a driver's own keys, e.g. data directory and port.
type Settings map[string]string

// Key is a setting that a driver knows. Unknown keys are refused with file and line.
type Key struct {
	Name     string
	Required bool
	PerNode  bool   // may stand at a node; every key may stand for the whole cluster
	Doc      string // one line for the reference
	Check    func(value string) error
}

// Names returns the nodes' names in the file's order.
func (inv *Inventory) Names() []string {
	names := make([]string, len(inv.Nodes))
	for i, n := range inv.Nodes {
		names[i] = n.Name
	}
	return names
}

// Node returns the node of that name.
func (inv *Inventory) Node(name string) (Node, bool) {
	for _, n := range inv.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// ID tells clusters apart that bear the same name: the name and a digest of
// driver, node names and addresses.
func (inv *Inventory) ID() string {
	var parts []string
	for _, n := range inv.Nodes {
		parts = append(parts, fmt.Sprintf("%s=%s/%s:%d/%s", n.Name, n.Address, n.SSH.Host, n.SSH.Port, n.StateDir))
	}
	slices.Sort(parts)
	sum := sha256.Sum256([]byte(inv.Driver + "\n" + strings.Join(parts, "\n")))
	return inv.Cluster + "-" + hex.EncodeToString(sum[:4])
}
