package gauss

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// om is one run of gs_om. gs_om reads everything from the static configuration
// and asks the nodes over ssh (spec/opengauss.md 8.1 and 8.5, spec/mogdb.md 5).
type om struct {
	*sim.Call
	s      *state
	rel    Release
	topo   topology
	act    string
	detail bool
	all    bool
	host   string
	comp   string
	number string
	wait   time.Duration
	opts   string
}

func gsOm(call *sim.Call) int {
	rel, _ := releaseOf(call.Image)
	c := &om{Call: call, s: stateOf(call.World), rel: rel, wait: 300 * time.Second}
	args := call.Args()
	for i := 0; i < len(args); i++ {
		a := args[i]
		k, v, hasVal := strings.Cut(a, "=")
		switch {
		case a == "-V" || a == "--version":
			call.Printf("gs_om (%s OM %s build %s) compiled at %s commit 0 last mr  \n", rel.Product, rel.Version, reverse(rel.Commit), rel.built())
			return 0
		case (a == "-t" || a == "-h" || a == "-o" || a == "-l" || a == "-D" || a == "-m" || a == "-X") && i+1 < len(args):
			i++
			switch a {
			case "-t":
				c.act = args[i]
			case "-h":
				c.host = args[i]
			}
		case a == "--detail":
			c.detail = true
		case a == "--all":
			c.all = true
		case k == "--component" && hasVal:
			c.comp = v
		case k == "--cluster-number" && hasVal:
			c.number = strings.Trim(v, "'")
		case k == "--time-out" && hasVal, k == "--az":
		default:
			return call.Fail(1, "[GAUSS-50000] : Unrecognized parameter: %s.", a)
		}
	}
	c.s.settle(call.World)
	return c.run()
}

func (c *om) run() int {
	if c.User.UID == 0 {
		return c.Fail(1, "[GAUSS-50105] : Cannot run this script as a user with the root permission.")
	}
	home := c.Env["GAUSSHOME"]
	if home == "" {
		return c.Fail(1, "[GAUSS-51800] : The environmental variable $GAUSSHOME is empty. or variable has exceeded maximum length")
	}
	if !c.Exists(home + "/bin/upgrade_version") {
		return c.Fail(1, "[GAUSS-50201] : The %s/bin/upgrade_version does not exist.", home)
	}
	body, err := c.ReadFile(home + "/bin/cluster_static_config")
	if err != nil {
		return c.Fail(1, "[GAUSS-50201] : The %s/bin/cluster_static_config does not exist.", home)
	}
	var ok bool
	if c.topo, ok = readStatic(string(body)); !ok {
		return c.Fail(1, "[GAUSS-50204] : Failed to read %s/bin/cluster_static_config.", home)
	}
	switch c.act {
	case "status":
		return c.status()
	case "query":
		c.detail = true
		c.Print(c.table(false))
		return 0
	case "start":
		return c.start()
	case "stop":
		return c.stop()
	case "restart":
		if code := c.stop(); code != 0 {
			return code
		}
		return c.start()
	case "refreshconf":
		return c.refresh()
	case "generateconf":
		c.Printf("Generating static configuration files for all nodes.\nCreating temporary directory to store static configuration files.\nSuccessfully created the temporary directory.\nGenerating static configuration files.\nSuccessfully generated static configuration files.\nStatic configuration files for all nodes are saved in %s/script/static_config_files.\n", c.Env["GPHOME"])
		return 0
	case "view":
		return c.view()
	}
	return c.Fail(1, "[GAUSS-50004] : The parameter '-t' value is incorrect.")
}

// row is one node as gs_om sees it.
type omRow struct {
	topoNode
	role, state string
}

// ask runs gs_ctl query on every node.
func (c *om) ask() []omRow {
	var rows []omRow
	for _, n := range c.topo.Nodes {
		r := omRow{topoNode: n, role: "Unknown", state: "Unknown"}
		out, _, code, ok := c.OutputOn(c.World.Machine(n.Name), c.Env, "timeout", "20", "gs_ctl", "query", "-D", n.Data)
		switch {
		case !ok:
		case strings.Contains(out, "Is server running") || strings.Contains(out, "could not connect to the local server"):
			r.role, r.state = "Down", "Manually stopped"
		case code == 0:
			r.role, r.state = parseQuery(out)
		}
		if len(c.topo.Nodes) == 1 && r.role == "Normal" {
			r.role = "Primary"
		}
		rows = append(rows, r)
	}
	return rows
}

// parseQuery keeps the first words, as gs_om does.
func parseQuery(out string) (role, st string) {
	val := func(key string) string {
		for line := range strings.Lines(out) {
			k, v, ok := strings.Cut(line, ":")
			if ok && strings.TrimSpace(k) == key {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	first := func(s string) string { w, _, _ := strings.Cut(s, " "); return w }
	st = val("db_state")
	if st == "Need repair" {
		return first(val("local_role")), "Need repair(" + strings.TrimSuffix(first(val("detail_information")), "...") + ")"
	}
	return first(val("local_role")), first(st)
}

func clusterState(rows []omRow) string {
	primaries, degraded := 0, false
	for _, r := range rows {
		switch {
		case r.role == "Primary" || r.role == "Main":
			primaries++
			if r.state != "Normal" {
				return "Unavailable"
			}
		case r.role != "Standby" && r.role != "Secondary" && r.role != "Cascade" || r.state != "Normal":
			degraded = true
		}
	}
	switch {
	case primaries != 1:
		return "Unavailable"
	case degraded:
		return "Degraded"
	}
	return "Normal"
}

func (c *om) status() int {
	if c.s.opts.CM && !c.switching() {
		if c.detail {
			return c.Exec("cm_ctl", "query", "-Cvipdw")
		}
		return c.Exec("cm_ctl", "query")
	}
	if c.all || c.host != "" {
		return c.statusAll()
	}
	if c.detail {
		c.Print(c.table(true))
		return 0
	}
	rule := strings.Repeat("-", 71)
	c.Printf("%s\n\ncluster_name    : %s\ncluster_state   : %s\nredistributing  : No\n\n%s\n", rule, c.topo.Cluster, clusterState(c.ask()), rule)
	return 0
}

// table is status --detail and query. 2.0.1 puts all nodes on one line.
func (c *om) table(paths bool) string {
	rows := c.ask()
	var b strings.Builder
	fmt.Fprintf(&b, "[   Cluster State   ]\n\ncluster_state   : %s\nredistributing  : No\ncurrent_az      : AZ_ALL\n\n[  Datanode State   ]\n\n", clusterState(rows))
	name, dir := 4, 0
	for _, r := range rows {
		name, dir = max(name, len(r.Name)), max(dir, len(r.Data))
	}
	if c.rel.Number <= 92299 {
		return b.String() + oneLine(rows, name, dir)
	}
	az := ""
	if paths && c.rel.major() >= 3 {
		az = "AZ1 "
	}
	head := fmt.Sprintf("    %-*s%-16s%-10s%-*s %s", name+4, "node", "node_ip", "port", max(dir, 4)+8, "instance", "state")
	b.WriteString(head + "\n" + strings.Repeat("-", len(head)+16) + "\n")
	for _, r := range rows {
		where := "    "
		if paths {
			where = fmt.Sprintf("%-*s", dir, r.Data)
		}
		fmt.Fprintf(&b, "%s%-2d %-*s %-15s %-10d %d %s %3s %-7s %s\n", az, r.ID, name, r.Name, r.IP, r.Port, r.Inst, where, r.Static, r.role, r.state)
	}
	return b.String()
}

func oneLine(rows []omRow, name, dir int) string {
	var heads, cells []string
	for i, r := range rows {
		pad := ""
		if i < len(rows)-1 {
			pad = " "
		}
		cell := fmt.Sprintf("%-2d %-*s %-15s %d %-*s %s %-7s %s%s", r.ID, name, r.Name, r.IP, r.Inst, dir, r.Data, r.Static, r.role, r.state, pad)
		head := fmt.Sprintf("%-*s%-16s%-*s", name+4, "node", "node_ip", dir+6, "instance") + "state"
		if i < len(rows)-1 {
			head = fmt.Sprintf("%-*s", len(cell), head)
		}
		heads, cells = append(heads, head), append(cells, cell)
	}
	line := strings.Join(cells, "| ")
	return strings.Join(heads, "| ") + "\n" + strings.Repeat("-", len(line)) + "\n" + line + "\n"
}

// switching says whether a grey upgrade of the vendor's tool is before the
// switch of some node: then gs_om asks the nodes itself.
func (c *om) switching() bool {
	body, _ := c.Machine.Read(c.Env["PGHOST"] + "/binary_upgrade/upgrade_step.csv")
	for line := range strings.Lines(body) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if len(f) == 3 && (f[2] == "0" || f[2] == "1" || f[2] == "2") {
			return true
		}
	}
	return false
}

func (c *om) statusAll() int {
	c.Printf("%s\n\ncluster_state             : %s\nredistributing            : No\n\n", strings.Repeat("-", 71), clusterState(c.ask()))
	for _, r := range c.ask() {
		if c.host != "" && c.host != r.Name {
			continue
		}
		line := func(k string, v any) { c.Printf("%-26s: %v\n", k, v) }
		c.Print(strings.Repeat("-", 71) + "\n\n")
		line("node", r.ID)
		line("node_name", r.Name)
		line("instance_id", r.Inst)
		line("node_ip", r.IP)
		line("data_path", r.Data)
		line("instance_port", r.Port)
		line("type", "Datanode")
		line("instance_state", r.state)
		line("az_name", "AZ1")
		line("static_connections", len(c.topo.Nodes)-1)
		line("HA_state", r.state)
		line("instance_role", r.role)
		c.Print("\n")
	}
	return 0
}

func (c *om) stop() int {
	if c.comp == "CM" || c.comp == "" && c.s.opts.CM && c.host == "" {
		if !c.s.opts.CM {
			c.Print("No CM components to stop.\n")
			return 0
		}
		argv := []string{"cm_ctl", "stop"}
		if c.comp == "CM" {
			c.s.stopCM(c.World)
			c.Print("Stopping CM.\nSuccessfully stopped CM.\n")
			return 0
		}
		return c.Exec(argv...)
	}
	rule := strings.Repeat("=", 41)
	c.Printf("Stopping cluster.\n%s\n", rule)
	rows := slices.Clone(c.topo.Nodes)
	slices.Reverse(rows) // standbys before the primary of the static configuration
	failed := ""
	for _, n := range rows {
		if c.host != "" && c.host != n.Name {
			continue
		}
		out, _, code, ok := c.OutputOn(c.World.Machine(n.Name), c.Env, "gs_ctl", "stop", "-D", n.Data)
		if !ok || code != 0 && !strings.Contains(out, "does not exist") {
			failed = n.Name
		}
	}
	if failed != "" {
		return c.Fail(1, "[GAUSS-53606]: Can not stop the database, the cmd is source %s ; python3 'gs_om' -t stop on %s,  Error:\n[GAUSS-51610] : Failed to stop cluster.", c.s.opts.Profile(), failed)
	}
	c.Printf("Successfully stopped cluster.\n%s\nEnd stop cluster.\n", rule)
	return 0
}

// roles are those of the newest dynamic configuration on any node, else the static ones.
func (c *om) roles() map[string]string {
	roles := map[string]string{}
	for _, n := range c.topo.Nodes {
		roles[fmt.Sprintf("dn_%d", n.Inst)] = n.Static
	}
	newest := ""
	for _, n := range c.topo.Nodes {
		m := c.World.Machine(n.Name)
		if body, ok := m.Read(c.Env["GAUSSHOME"] + "/bin/cluster_dynamic_config"); ok && (m == c.Machine || m.Connected()) && body > newest {
			newest = body
		}
	}
	for line := range strings.Lines(newest) {
		if f := strings.Fields(line); len(f) == 2 && strings.HasPrefix(f[0], "dn_") {
			roles[f[0]] = f[1]
		}
	}
	return roles
}

func (c *om) start() int {
	if c.comp == "CM" && !c.s.opts.CM {
		c.Print("No CM components to start.\n")
		return 0
	}
	if c.s.opts.CM && c.comp != "DN" {
		c.s.startCM(c.World)
		if c.comp == "CM" {
			c.Print("Successfully started CM.\n")
			return 0
		}
		return c.Exec("cm_ctl", "start")
	}
	rule := strings.Repeat("=", 41)
	c.Printf("Starting cluster.\n%s\n", rule)
	roles := c.roles()
	nodes := slices.Clone(c.topo.Nodes)
	slices.SortStableFunc(nodes, func(a, b topoNode) int {
		return strings.Compare(order3(roles[fmt.Sprintf("dn_%d", a.Inst)]), order3(roles[fmt.Sprintf("dn_%d", b.Inst)]))
	})
	for _, n := range nodes {
		if c.host != "" && c.host != n.Name {
			continue
		}
		argv := []string{"gs_ctl", "start", "-D", n.Data}
		if len(c.topo.Nodes) > 1 {
			argv = append(argv, "-M", map[string]string{"P": "primary", "S": "standby", "C": "cascade_standby"}[roles[fmt.Sprintf("dn_%d", n.Inst)]])
		}
		if c.number != "" {
			argv = append(argv, "-o", fmt.Sprintf("-u %d", kernelNumber(c.number)))
		}
		out, _, code, ok := c.OutputOn(c.World.Machine(n.Name), c.Env, argv...)
		if !ok || code != 0 {
			return c.Fail(1, "[GAUSS-53600]: Can not start the database, the cmd is source %s ; %s,  Error:\n%s.", c.s.opts.Profile(), strings.Join(argv, " "), out)
		}
		c.Printf("[SUCCESS] %s\n%s", n.Name, out)
	}
	for waited := 0; ; waited += 5 {
		st := clusterState(c.ask())
		if st == "Normal" {
			break
		}
		if waited >= 30 {
			return c.Fail(1, "[GAUSS-51607] : Failed to start cluster. After startup, the last check results were %s. Please check manually.", st)
		}
		c.Print("Waiting for check cluster state...\n")
		c.Sleep(5 * time.Second)
	}
	c.Printf("%s\nSuccessfully started.\n", rule)
	return 0
}

func order3(r string) string { return map[string]string{"P": "1", "S": "2", "C": "3"}[r] }

func (c *om) refresh() int {
	if len(c.topo.Nodes) == 1 {
		c.Print("No need to generate dynamic configuration file for one node.\n")
		return 0
	}
	c.Print("Generating dynamic configuration file for all nodes.\n")
	rows := c.ask()
	primaries := 0
	for _, r := range rows {
		if r.role == "Primary" {
			primaries++
		}
	}
	if primaries != 1 {
		return c.Fail(1, "[GAUSS-50205] : Failed to write dynamic configuration file. Error: \n[GAUSS-51230] : The number of master dn must equal to 1.")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "dynamic %d\n", c.World.Time().Unix())
	for _, r := range rows {
		role := map[string]string{"Primary": "P", "Cascade": "C"}[r.role]
		if role == "" {
			role = "S"
		}
		fmt.Fprintf(&b, "dn_%d %s\n", r.Inst, role)
	}
	for _, n := range c.topo.Nodes {
		m := c.World.Machine(n.Name)
		if m != c.Machine && !m.Connected() || !m.IsDir(c.Env["GAUSSHOME"]+"/bin") {
			return c.Fail(1, "[GAUSS-50216] : Failed to remote copy cluster_dynamic_config to %s.", n.Name)
		}
		m.Write(c.Env["GAUSSHOME"]+"/bin/cluster_dynamic_config", b.String(), 0o600, c.User.Name)
	}
	c.Print("Successfully generated dynamic configuration file.\n")
	return 0
}

// view tells the static configuration.
func (c *om) view() int {
	c.Printf("NodeHeader:\nversion:301\ntime:%d\nnodeCount:%d\nnode:%d\n", sim.Epoch.Unix(), len(c.topo.Nodes), c.topo.Nodes[0].ID)
	for _, n := range c.topo.Nodes {
		c.Printf("azName:AZ1\nazPriority:1\nnode :%d\nnodeName:%s\nssh channel :\nsshChannel 1:%s\n", n.ID, n.Name, n.IP)
		c.Printf("datanodeCount:1\ndatanode 1:\ndatanodeLocalDataPath :%s\ndatanodeXlogPath :\ndatanodeListenIP 1:%s\ndatanodePort :%d\ndatanodeLocalHAIP 1:%s\ndatanodeLocalHAPort :%d\n", n.Data, n.IP, n.Port, n.IP, n.Port+1)
	}
	return 0
}
