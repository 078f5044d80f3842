package ogxml

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Difference is one way in which the deployment is not the one of the
// installation any more (GAUSS-51217).
type Difference struct {
	Node  string // empty for the whole cluster
	What  string
	File  string // in the cluster file
	Found string // in the static configuration of the installation
}

func (d Difference) String() string {
	at := ""
	if d.Node != "" {
		at = d.Node + " "
	}
	return fmt.Sprintf("%s%s: %q in the file, %q installed", at, d.What, d.File, d.Found)
}

// Compare holds the file against the old static configuration as the vendor
// does (spec section 3.3): cluster name, paths, node set and, per datanode,
// directory, port, addresses. The cluster manager is not compared. What the
// installation does not tell (an empty or zero field) is passed over.
func Compare(file, old *Deployment) []Difference {
	var out []Difference
	differ := func(node, what, a, b string) {
		if b != "" && a != b {
			out = append(out, Difference{node, what, a, b})
		}
	}
	differ("", "clusterName", file.Cluster, old.Cluster)
	differ("", "gaussdbAppPath", file.App, old.App)
	differ("", "gaussdbLogPath", file.Log, old.Log)
	var names []string
	for _, n := range slices.Concat(file.Nodes, old.Nodes) {
		if !slices.Contains(names, n.Name) {
			names = append(names, n.Name)
		}
	}
	for _, name := range names {
		a, inFile := file.Node(name)
		b, inOld := old.Node(name)
		switch {
		case !inOld:
			out = append(out, Difference{name, "node", "there", "missing"})
		case !inFile:
			out = append(out, Difference{name, "node", "missing", "there"})
		default:
			differ(name, "data directory", a.Data, b.Data)
			differ(name, "address", a.IP, b.IP)
			differ(name, "port", number(a.Port), number(b.Port))
			differ(name, "instance", number(a.ID), number(b.ID))
		}
	}
	return out
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

var viewRow = regexp.MustCompile(`^([A-Za-z]+)( \d+)?\s*:\s*(.*)$`)

// ParseView reads gs_om -t view: the static configuration, which is a binary
// file of an undescribed layout, in the vendor's own words.
func ParseView(out string) (*Deployment, error) {
	d := &Deployment{}
	var n *Node
	for line := range strings.Lines(out) {
		m := viewRow.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		key, value := m[1], strings.TrimSpace(m[3])
		switch key {
		case "azName":
			d.Nodes = append(d.Nodes, Node{AZ: value})
			n = &d.Nodes[len(d.Nodes)-1]
			continue
		case "clusterName":
			d.Cluster = value
		}
		if n == nil {
			continue
		}
		switch key {
		case "nodeName":
			n.Name = value
		case "datanodeLocalDataPath":
			n.Data = trim(value)
		case "datanodePort":
			n.Port, _ = strconv.Atoi(value)
		case "datanodeListenIP":
			if n.IP == "" {
				n.IP = value
			}
		case "datanodeInstanceId":
			n.ID, _ = strconv.Atoi(value)
		}
	}
	d.Nodes = slices.DeleteFunc(d.Nodes, func(n Node) bool { return n.Name == "" })
	if len(d.Nodes) == 0 {
		return nil, say.Errorf("gs_om -t view told no node: %.120q", "gs_om -t view 未给出节点：%.120q", out)
	}
	return d, nil
}
