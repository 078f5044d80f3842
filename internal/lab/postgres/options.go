package postgres

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Options say what lab is wanted.
type Options struct {
	Dir     string // where the lab lies; made when it does not exist
	Nodes   int    // 1 to MaxNodes; named db1, db2, …; db1 is the first primary
	Release string
	To      []string // releases whose packages go to Dir/packages

	Cascade   bool              // the last standby follows the first one, not the primary
	Upstream  map[string]string // or: who follows whom, standby → node
	Sync      bool              // synchronous replication: each commit waits for any one standby
	SyncNames string            // or: synchronous_standby_names as it is, on every node
	BasePort  int               // servers listen on BasePort+1…, ssh on BasePort+101…; 0: free ports

	Cache  Cache          // where packages come from
	Serve  []string       // the daemon's command, to which Dir is added; empty: this program, lab serve postgres --dir
	Env    []string       // added to the daemon's environment
	Report func(say.Text) // told what is going on; may be nil
	Clock  wait.Clock     // the machine's when nil
}

// MaxNodes bounds a lab's size: each node is a whole server with files of its own.
const MaxNodes = 9

// Node is one node of a lab.
type Node struct {
	Name      string `json:"name"`
	Upstream  string `json:"upstream,omitempty"` // whom it followed when the lab was made
	Port      int    `json:"port"`
	SSHPort   int    `json:"ssh_port"`
	Home      string `json:"home"`       // the login's home
	Base      string `json:"base"`       // holds <release>/ and current
	Data      string `json:"data"`       // the data directory
	SocketDir string `json:"socket_dir"` // empty when the path would be too long for a socket
	Log       string `json:"log"`        // the server's log file
	Tools     string `json:"tools"`      // commands that stand in front of the machine's own, for faults
}

// spec is the part of the state file that belongs to this product.
type spec struct {
	Account account  `json:"account"`
	Release string   `json:"release"`
	To      []string `json:"to"`
	Nodes   []Node   `json:"nodes"`
	Sync    string   `json:"sync,omitempty"` // Options.SyncNames
	AnyOne  bool     `json:"any_one,omitempty"`
}

func (s spec) node(name string) (Node, error) {
	var names []string
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return Node{}, &say.Problem{
		Place: "node " + name,
		Text:  say.F("no such node in this lab; it has %v", "演练环境中没有该节点；已有 %v", names),
		Next:  say.F("name one of them", "请指定其中之一"),
	}
}

// standbys returns the nodes that follow upstream.
func (s spec) standbys(upstream string) []Node {
	var out []Node
	for _, n := range s.Nodes {
		if n.Upstream == upstream {
			out = append(out, n)
		}
	}
	return out
}

// syncNames is synchronous_standby_names of a node: empty when replication is asynchronous.
func (s spec) syncNames(node string) string {
	if !s.AnyOne {
		return s.Sync
	}
	list := ""
	for _, n := range s.Nodes {
		if n.Name == node {
			continue
		}
		if list != "" {
			list += ", "
		}
		list += n.Name
	}
	if list == "" {
		return ""
	}
	return "ANY 1 (" + list + ")"
}

var releaseForm = regexp.MustCompile(`^\d{2}\.\d+$`)

// check refuses options that make no lab.
func (o Options) check() error {
	usage := func(place string, text say.Text) error {
		return &say.Problem{Place: place, Text: text, Next: say.Same("shiplift lab up postgres --help")}
	}
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return usage("--nodes", say.F("%d nodes; a lab has 1 to %d", "%d 个节点；演练环境可有 1 到 %d 个", o.Nodes, MaxNodes))
	}
	for _, r := range append([]string{o.Release}, o.To...) {
		if !releaseForm.MatchString(r) {
			return usage("--release", say.F("%q is not a release; write it like 15.16", "%q 不是版本号；应写作 15.16 的形式", r))
		}
	}
	if o.Cascade && o.Nodes < 3 {
		return usage("--cascade", say.F("a cascading standby needs three nodes", "级联备机至少需要三个节点"))
	}
	if (o.Sync || o.SyncNames != "") && o.Nodes < 2 {
		return usage("--sync", say.F("synchronous replication needs a standby", "同步复制至少需要一个备机"))
	}
	if o.BasePort != 0 && (o.BasePort < 1024 || o.BasePort > 65000) {
		return usage("--base-port", say.F("%d is not between 1024 and 65000", "%d 不在 1024 到 65000 之间", o.BasePort))
	}
	return nil
}

// layout gives every node its place and its ports.
func (o Options) layout(acc account) (spec, error) {
	s := spec{Account: acc, Release: o.Release, To: o.To, Sync: o.SyncNames, AnyOne: o.Sync}
	ports, err := pickPorts(o.BasePort, o.Nodes)
	if err != nil {
		return s, err
	}
	for i := range o.Nodes {
		name := "db" + strconv.Itoa(i+1)
		dir := filepath.Join(o.Dir, name)
		n := Node{
			Name: name, Port: ports[i], SSHPort: ports[o.Nodes+i],
			Home: filepath.Join(dir, "home"), Base: filepath.Join(dir, "pg"), Data: filepath.Join(dir, "data"),
			SocketDir: filepath.Join(dir, "run"), Log: filepath.Join(dir, "log", "postgresql.log"), Tools: filepath.Join(dir, "bin"),
		}
		if len(n.SocketDir)+len("/.s.PGSQL.65535.lock") > maxSocketPath {
			n.SocketDir = ""
		}
		if i > 0 {
			n.Upstream = o.upstream(name)
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s, s.checkUpstreams()
}

// maxSocketPath is the longest path of a unix socket on Linux (sun_path, without the zero).
const maxSocketPath = 107

func (o Options) upstream(standby string) string {
	if up, ok := o.Upstream[standby]; ok {
		return up
	}
	if o.Cascade && standby == "db"+strconv.Itoa(o.Nodes) {
		return "db2"
	}
	return "db1"
}

// checkUpstreams makes sure that every standby hangs, through others, on the primary.
func (s spec) checkUpstreams() error {
	for _, n := range s.Nodes {
		at := n
		for hops := 0; at.Upstream != ""; hops++ {
			next, err := s.node(at.Upstream)
			if err != nil {
				return err
			}
			if at = next; hops > len(s.Nodes) {
				return fmt.Errorf("%s follows itself through others", n.Name)
			}
		}
	}
	return nil
}
