package gaussdb

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// ClusterState is the answer of gs_om -t status [--detail], gs_om -t query or
// cm_ctl query with any of its options (spec sections 8.1 and 8.2).
type ClusterState struct {
	Name           string
	State          string // Normal, Degraded, Unavailable, …
	Redistributing bool
	Balanced       string
	AZ             string
	Pausing        bool
	CMServers      []Instance
	Datanodes      []Instance
	// NoCMServer: cm_ctl reached no primary cm_server.
	NoCMServer bool
}

// Instance is one row of a table.
type Instance struct {
	AZ     string
	NodeID int
	Node   string
	IP     string
	Port   int
	ID     int    // 6001 of a datanode, 1 of a cm_server
	Path   string // data directory
	Static string // P, S, C or R; empty for a cm_server
	Role   string // Primary, Standby, Cascade, Main, Down, …; gs_om tells the first word only
	State  string // Normal, Need repair, …
	Reason string // what stands in parentheses behind the state
}

// Primaries returns the datanodes that say they are the primary.
func (c ClusterState) Primaries() []Instance {
	var out []Instance
	for _, in := range c.Datanodes {
		if in.Role == RolePrimary || in.Role == "Main" {
			out = append(out, in)
		}
	}
	return out
}

var errNoCluster = say.Errorf("not an answer of gs_om or cm_ctl about a cluster", "不是 gs_om 或 cm_ctl 关于集群的输出")

// ParseCluster reads the tables. Rows are taken apart by their words: header
// columns and dashes do not line up (spec section 8.1).
func ParseCluster(out string) (ClusterState, error) {
	var c ClusterState
	section := ""
	seen, portFirst := false, false
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.Trim(line, "-") == "":
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = strings.TrimSpace(strings.Trim(line, "[]"))
		case strings.Contains(line, "can't connect to cm_server"):
			c.NoCMServer, seen = true, true
		case keyValue.MatchString(line):
			m := keyValue.FindStringSubmatch(line)
			seen = c.set(m[1], strings.TrimSpace(m[2])) || seen
		case strings.HasPrefix(line, "node "):
			// gs_om prints "port instance", cm_ctl the port behind the instance.
			port := strings.Index(line, " port ")
			portFirst = port >= 0 && port < strings.Index(line, "instance")
		case section == "CMServer State":
			if in, ok := cmRow(line); ok {
				c.CMServers, seen = append(c.CMServers, in), true
			}
		case section == "Datanode State":
			for _, part := range strings.Split(line, " | ") {
				if in, ok := dnRow(part, portFirst); ok {
					c.Datanodes, seen = append(c.Datanodes, in), true
				}
			}
		}
	}
	if !seen {
		return ClusterState{}, errNoCluster
	}
	return c, nil
}

var keyValue = regexp.MustCompile(`^([a-z_]+)\s*: (.*)$`)

func (c *ClusterState) set(key, value string) bool {
	switch key {
	case "cluster_name":
		c.Name = value
	case "cluster_state":
		c.State = value
	case "redistributing":
		c.Redistributing = value != "No"
	case "balanced":
		c.Balanced = value
	case "current_az":
		c.AZ = value
	case "pausing":
		c.Pausing = strings.EqualFold(value, "yes")
	default:
		return false
	}
	return true
}

var ipForm = regexp.MustCompile(`^(\d{1,3}(\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)$`)

// cmRow reads "1  node1 [192.168.0.1] 1 /path/cm_server Primary".
func cmRow(line string) (Instance, bool) {
	f := strings.Fields(line)
	in, f, ok := nodeWords(f)
	if !ok || len(f) < 2 {
		return Instance{}, false
	}
	id, err := strconv.Atoi(f[0])
	if err != nil {
		return Instance{}, false
	}
	in.ID, in.Role = id, strings.Join(f[1:], " ")
	if strings.HasPrefix(f[1], "/") {
		in.Path, in.Role = f[1], strings.Join(f[2:], " ")
	}
	return in, in.Role != ""
}

// dnRow reads "AZ1 1 node1 192.168.0.1 15400 6001 /data/dn P Primary Normal"
// and its shorter forms: the single letter of the static role is the anchor.
func dnRow(line string, portFirst bool) (Instance, bool) {
	f := strings.Fields(line)
	at := -1
	for i, w := range f {
		if i >= 3 && len(w) == 1 && strings.Contains("PSCR", w) {
			at = i
			break
		}
	}
	if at < 0 || at+1 >= len(f) {
		return Instance{}, false
	}
	in, mid, ok := nodeWords(f[:at])
	if !ok {
		return Instance{}, false
	}
	in.Static = f[at]
	var numbers []int
	for _, w := range mid {
		if n, err := strconv.Atoi(w); err == nil {
			numbers = append(numbers, n)
		} else if strings.HasPrefix(w, "/") {
			in.Path = w
		}
	}
	switch {
	case len(numbers) == 1:
		in.ID = numbers[0]
	case len(numbers) == 2 && portFirst:
		in.Port, in.ID = numbers[0], numbers[1]
	case len(numbers) == 2:
		in.ID, in.Port = numbers[0], numbers[1]
	}
	in.roleAndState(f[at+1:])
	return in, in.ID != 0
}

// nodeWords takes [az] number name [ip] off the front.
func nodeWords(f []string) (Instance, []string, bool) {
	var in Instance
	if len(f) > 0 {
		if _, err := strconv.Atoi(f[0]); err != nil {
			in.AZ, f = f[0], f[1:]
		}
	}
	if len(f) < 2 {
		return in, nil, false
	}
	n, err := strconv.Atoi(f[0])
	if err != nil {
		return in, nil, false
	}
	in.NodeID, in.Node, f = n, f[1], f[2:]
	if len(f) > 0 && ipForm.MatchString(f[0]) {
		in.IP, f = f[0], f[1:]
	}
	return in, f, true
}

func (in *Instance) roleAndState(f []string) {
	in.Role, f = f[0], f[1:]
	if (in.Role == "Cascade" || in.Role == "Main") && len(f) > 0 && f[0] == "Standby" {
		f = f[1:]
	}
	rest := strings.Join(f, " ")
	if i := strings.IndexByte(rest, '('); i >= 0 && strings.HasSuffix(rest, ")") {
		in.Reason = rest[i+1 : len(rest)-1]
		rest = rest[:i]
	}
	in.State = strings.TrimSpace(rest)
}
