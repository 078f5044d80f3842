package gbase8a

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// table prints as gcadmin does: the rule was derived from every recorded
// sample (spec section 4). fixed is the width of the IpAddress column, 0 for as wide as needed.
func table(title string, header []string, rows [][]string, fixed int) string {
	widths := make([]int, len(header))
	total := len(header) + 1
	for i, h := range header {
		widths[i] = len(h)
		for _, r := range rows {
			widths[i] = max(widths[i], len(r[i]))
		}
		widths[i] += 2
		switch {
		case h == "IpAddress" && fixed > 0:
			widths[i] = fixed
		case h == "VcName":
			widths[i] = max(widths[i], vcNameWidth)
		}
		total += widths[i]
	}
	var b strings.Builder
	b.Grow((2*len(rows) + 5) * (total + 1))
	rule := func(c string) { b.WriteString(strings.Repeat(c, total) + "\n") }
	rule("=")
	cell(&b, title, total-2)
	b.WriteString("|\n")
	rule("=")
	line := func(cells []string) {
		for i, c := range cells {
			cell(&b, c, widths[i])
		}
		b.WriteString("|\n")
		rule("-")
	}
	line(header)
	for _, r := range rows {
		line(r)
	}
	return b.String()
}

// cell is a word in the middle of its column, behind the column's bar.
func cell(b *strings.Builder, word string, width int) {
	b.WriteByte('|')
	free := max(width-len(word), 0)
	for range free / 2 {
		b.WriteByte(' ')
	}
	b.WriteString(word)
	for range free - free/2 {
		b.WriteByte(' ')
	}
}

// dataAddressWidth is the fixed width of the address column in the data table.
const dataAddressWidth = 42

// vcNameWidth is the least width of the column VcName: the recorded one is
// wider than the rule of the other columns gives.
const vcNameWidth = 14

func (c *Cluster) cell(w *sim.World, n *Node, prog string) string {
	switch {
	case !w.Machine(n.Machine).Connected():
		return "OFFLINE"
	case prog == "gcware" && is(c.Faults.CloseNode, n.Name) && c.Faults.CloseWith != "":
		return c.Faults.CloseWith
	case prog == "gcware" && c.gcwareOpen(w, n), prog != "gcware" && c.running(w, n, prog) != nil:
		return "OPEN"
	}
	return "CLOSE"
}

func (c *Cluster) dataState(n *Node) string {
	if c.Inconsist[n.Name] {
		return "1"
	}
	return "0"
}

// status is what gcadmin prints; vc is "" for the root view.
func (c *Cluster) status(w *sim.World, vc string) string {
	var b strings.Builder
	state := "ACTIVE"
	if !c.quorum(w) {
		state = "LOCKED"
	}
	fmt.Fprintf(&b, "CLUSTER STATE:         %s\n", state)
	multi := len(c.Config.VCs) > 0
	if !multi || vc != "" {
		fmt.Fprintf(&b, "VIRTUAL CLUSTER MODE:  %s\n", c.Modes[vc])
	}
	b.WriteString("\n")
	b.WriteString(c.gcwareTable(w))
	b.WriteString(c.coordinatorTable(w))
	switch {
	case !multi || vc != "":
		b.WriteString(c.dataTable(w, vc))
	default:
		b.WriteString(c.vcTable())
	}
	return b.String()
}

func (c *Cluster) gcwareTable(w *sim.World) string {
	if c.Config.Flavor == V952 {
		return ""
	}
	var rows [][]string
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Gcware {
			rows = append(rows, []string{fmt.Sprintf("gcware%d", len(rows)+1), n.IP, c.cell(w, n, "gcware")})
		}
	}
	return table("GBASE GCWARE CLUSTER INFORMATION", []string{"NodeName", "IpAddress", "gcware"}, rows, 0)
}

func (c *Cluster) coordinatorTable(w *sim.World) string {
	header := []string{"NodeName", "IpAddress", "gcluster", "DataState"}
	if c.Config.Flavor == V952 {
		header = slices.Insert(header, 2, "gcware")
	}
	var rows [][]string
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if !n.Coor {
			continue
		}
		row := []string{fmt.Sprintf("coordinator%d", len(rows)+1), n.IP, c.cell(w, n, "gclusterd"), c.dataState(n)}
		if c.Config.Flavor == V952 {
			row = slices.Insert(row, 2, c.cell(w, n, "gcware"))
		}
		rows = append(rows, row)
	}
	return table("GBASE COORDINATOR CLUSTER INFORMATION", header, rows, 0)
}

// vcOf spreads the data nodes over the virtual clusters.
func (c *Cluster) vcOf(k int) string { return c.vcs()[k%len(c.vcs())] }

func (c *Cluster) dataTable(w *sim.World, vc string) string {
	var rows [][]string
	k := 0
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if !n.Data {
			continue
		}
		if c.vcOf(k) == vc {
			id := "1"
			if c.Uninit {
				id = "0"
			}
			rows = append(rows, []string{fmt.Sprintf("node%d", len(rows)+1), n.IP, id, c.cell(w, n, "gbased"), c.cell(w, n, "gc_sync_server"), c.dataState(n)})
		}
		k++
	}
	return table("GBASE DATA CLUSTER INFORMATION", []string{"NodeName", "IpAddress", "DistributionId", "gnode", "syncserver", "DataState"}, rows, dataAddressWidth)
}

func (c *Cluster) vcTable() string {
	var rows [][]string
	for i, vc := range c.Config.VCs {
		rows = append(rows, []string{vc, fmt.Sprint(i + 1), "practice " + vc})
	}
	coors := 0
	for _, n := range c.Nodes {
		if n.Coor {
			coors++
		}
	}
	return table("GBASE VIRTUAL CLUSTER INFORMATION", []string{"VcName", "DistributionId", "comment"}, rows, 0) +
		fmt.Sprintf("\n%d virtual cluster: %s\n%d coordinator node\n0 free data node\n", len(c.Config.VCs), strings.Join(c.Config.VCs, ", "), coors)
}

// gcadmin is the status tool. Without a majority of gcware it does not answer (spec section 4.5).
func gcadmin(call *sim.Call, n *Node) int {
	c := Of(call.World)
	args := call.Args()
	if len(args) == 1 && (args[0] == "-V" || args[0] == "--version") {
		call.Printf("gcadmin version %s\n", n.Version)
		return 0
	}
	if call.User.Name != dbaUser {
		return call.Fail(1, "gcadmin must be run by the user %s.", dbaUser)
	}
	call.Sleep(300 * time.Millisecond)
	if !c.quorum(call.World) {
		if open, _ := c.openCount(call.World); open == 0 && c.Faults.Locked {
			return call.Fail(1, "gcware is not running.") // [A]
		}
		if !c.Faults.Locked {
			call.Sleep(24 * time.Hour)
		}
	}
	vc, args := c.vcArg(args)
	if vc == "?" {
		return call.Fail(1, "virtual cluster does not exist.")
	}
	switch {
	case len(args) == 0, args[0] == "showcluster":
		if open, all := c.openCount(call.World); open == all {
			c.sawOpen = call.World.Time()
		}
		call.Print(c.status(call.World, vc))
	case strings.HasPrefix(args[0], "show") && strings.HasSuffix(args[0], "event"):
		c.events(call, strings.TrimSuffix(strings.TrimPrefix(args[0], "show"), "event"), vc)
	case args[0] == "showlock":
		c.showLocks(call)
	case args[0] == "showfailover":
		for _, f := range c.Failover {
			call.Printf("%s\n", f)
		}
		call.Printf("Total : %d\n", len(c.Failover)) // [A]
	case args[0] == "switchmode" && len(args) == 2 && slices.Contains([]string{"normal", "readonly", "recovery"}, args[1]):
		c.Modes[vc] = strings.ToUpper(args[1])
		call.Printf("switch cluster mode...\nswitch pre mode:  [NORMAL]\nswitch mode to    [%s]\nswitch after mode:    [%s]\n", c.Modes[vc], c.Modes[vc]) // [A]
	case args[0] == "showdistribution":
		call.Print("                                 Distribution ID: 1 | State: new | Total segment num: 6\n")
	case args[0] == "getdistribution" && len(args) == 3:
		if err := call.WriteFile(args[2], []byte("<?xml version='1.0' encoding=\"utf-8\"?>\n<distributions>\n</distributions>\n"), 0o644); err != nil {
			return call.Fail(1, "gcadmin getdistribution: %v", err)
		}
	default:
		call.World.Complain("%s: %q is not simulated", n.Name, call.Argv)
		return call.Fail(1, "unknown command")
	}
	return 0
}

// vcArg takes "vc NAME" out of the words; "?" when there is none of that name.
func (c *Cluster) vcArg(args []string) (string, []string) {
	i := slices.Index(args, "vc")
	if i < 0 || i+1 >= len(args) {
		return "", args
	}
	name := args[i+1]
	if !slices.Contains(c.Config.VCs, name) {
		return "?", args
	}
	return name, slices.Delete(slices.Clone(args), i, i+2)
}

// maxEvents is how many events are listed; the count is never cut [A].
const maxEvents = 16

func (c *Cluster) events(call *sim.Call, kind, vc string) {
	key := kind
	if vc != "" {
		key += "/" + vc
	}
	n := c.Events[key]
	call.Printf("Vc event count:%d\n", n)
	for i := range min(n, maxEvents) {
		call.Printf("Event ID: %d\nObjectName: test\nFail Node Copy:\nFail Data Copy:\nNodeIP: 10.0.2.101 FAILURE\n", i+1)
	}
}

func (c *Cluster) showLocks(call *sim.Call) {
	rows := [][]string{{"gc-event-lock", "global master", "global master", "20240301080000", "locked", "E"}}
	for _, l := range c.Locks {
		rows = append(rows, []string{l, "10.0.2.101:5258", "sql", "20240301080000", "locked", "S"})
	}
	call.Print(table("GCluster lock", []string{"Lock name", "owner", "content", "create time", "locked/orphan", "type"}, rows, 0))
	call.Printf("Total : %d\n", len(rows))
}
