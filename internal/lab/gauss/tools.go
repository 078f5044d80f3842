package gauss

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Small programs of the server package.

func gaussdbTool(c *sim.Call) int {
	rel, _ := releaseOf(c.Image)
	if len(c.Argv) > 1 && (c.Argv[1] == "-V" || c.Argv[1] == "--version") {
		c.Print("gaussdb " + rel.banner() + "\n")
		return 0
	}
	s := stateOf(c.World)
	s.settle(c.World)
	dir := c.Env["PGDATA"]
	for i, a := range c.Argv[:len(c.Argv)-1] {
		if a == "-D" {
			dir = c.Argv[i+1]
		}
	}
	in := s.at(c.Machine.Name(), dir)
	if in == nil {
		return c.Fail(2, "gaussdb cannot access the server configuration file \"%s/postgresql.conf\": No such file or directory", dir)
	}
	if in.srv != nil {
		return c.Fail(1, "FATAL:  lock file \"postmaster.pid\" already exists")
	}
	if err := s.start(c.World, in, strings.TrimSuffix(c.Path, "/bin/gaussdb"), c.Args(), c.User.Name, c.Env); err != nil {
		return c.Fail(1, "%s", err)
	}
	return 0
}

// shortVersion is -V of the tools that say 9.2.4 before 6.0.
func shortVersion(c *sim.Call) bool {
	rel, _ := releaseOf(c.Image)
	if len(c.Argv) < 2 || c.Argv[1] != "-V" && c.Argv[1] != "--version" {
		return false
	}
	name := c.Argv[0][strings.LastIndexByte(c.Argv[0], '/')+1:]
	if rel.major() >= 6 {
		c.Print(name + " " + rel.banner() + "\n")
	} else {
		c.Printf("%s (%s) 9.2.4\n", name, rel.Product)
	}
	return true
}

func gsInitdb(c *sim.Call) int {
	if shortVersion(c) {
		return 0
	}
	c.World.Complain("%s: %q is not simulated", c.Machine.Name(), c.Argv)
	return 1
}

func pgConfig(c *sim.Call) int {
	rel, _ := releaseOf(c.Image)
	c.Printf("PostgreSQL 9.2.4\n%s %s\n", rel.Product, rel.Version)
	return 0
}

func pgControldata(c *sim.Call) int {
	if shortVersion(c) {
		return 0
	}
	dir := c.Env["PGDATA"]
	if len(c.Argv) > 1 {
		dir = c.Argv[len(c.Argv)-1]
	}
	s := stateOf(c.World)
	s.settle(c.World)
	in := s.at(c.Machine.Name(), dir)
	if in == nil || !c.Machine.Exists(dir+"/global/pg_control") {
		return c.Fail(2, "pg_controldata: could not open file \"%s/global/pg_control\" for reading: No such file or directory", dir)
	}
	st := "shut down"
	switch {
	case in.primary():
		st = "in production"
	case in.srv != nil:
		st = "in archive recovery"
	}
	row := func(k string, v any) { c.Printf("%-37s %v\n", k+":", v) }
	stamp := c.World.Time().Format("Mon Jan _2 15:04:05 2006")
	row("pg_control version number", 923)
	row("Catalog version number", 201611171)
	row("Database system identifier", in.system)
	row("Database cluster state", st)
	row("pg_control last modified", stamp)
	row("Latest checkpoint location", lsnText(in.lsn))
	row("Prior checkpoint location", lsnText(in.lsn-0x25d18))
	row("Latest checkpoint's REDO location", lsnText(in.lsn))
	row("Latest checkpoint's TimeLineID", 1)
	row("Latest checkpoint's full_page_writes", "off")
	row("Latest checkpoint's NextXID", 12156)
	row("Latest checkpoint's NextOID", 14721)
	row("Latest checkpoint's NextMultiXactId", 2)
	row("Latest checkpoint's NextMultiOffset", 0)
	row("Latest checkpoint's oldestXID", 11091)
	row("Latest checkpoint's oldestXID's DB", 14715)
	row("Latest checkpoint's oldestActiveXID", 0)
	row("Latest checkpoint's remove lsn", "0/1")
	row("Time of latest checkpoint", stamp)
	for _, k := range []string{"Minimum recovery ending location", "Backup start location", "Backup end location"} {
		row(k, "0/0")
	}
	row("End-of-backup record required", "no")
	row("Current wal_level setting", in.ctl["wal_level"])
	row("Current max_connections setting", in.ctl["max_connections"])
	row("Current max_prepared_xacts setting", in.ctl["max_prepared_transactions"])
	row("Current max_locks_per_xact setting", in.ctl["max_locks_per_transaction"])
	for _, kv := range [][2]string{{"Maximum data alignment", "8"}, {"Database block size", "8192"}, {"Blocks per segment of large relation", "131072"}, {"WAL block size", "8192"},
		{"Bytes per WAL segment", "16777216"}, {"Maximum length of identifiers", "64"}, {"Maximum columns in an index", "32"}, {"Maximum size of a TOAST chunk", "1996"},
		{"Date/time type storage", "64-bit integers"}, {"Float4 argument passing", "by value"}, {"Float8 argument passing", "by value"}, {"Database system TimeLine", "0"}} {
		row(kv[0], kv[1])
	}
	return 0
}

// gsBasebackup copies the data directory as it is known to the lab.
func gsBasebackup(c *sim.Call) int {
	if shortVersion(c) {
		return 0
	}
	dir := ""
	for i, a := range c.Argv[:len(c.Argv)-1] {
		if a == "-D" {
			dir = c.Argv[i+1]
		}
	}
	if dir == "" {
		return c.Fail(1, "gs_basebackup: no target directory specified\nTry \"gs_basebackup --help\" for more information.")
	}
	if err := c.MkdirAll(dir, 0o700); err != nil {
		return c.Fail(1, "gs_basebackup: could not create directory \"%s\": %v", dir, err)
	}
	if err := c.WriteFile(dir+"/backup_label", []byte("BACKUP METHOD: streamed\n"), 0o600); err != nil {
		return c.Fail(1, "gs_basebackup: could not write to file \"%s/backup_label\": No space left on device", dir)
	}
	c.Sleep(2e9)
	c.Print("INFO:  The starting position of the xlog copy of the full build is: 0/4000028. The slot minimum LSN is: 0/0.\n")
	c.Print("gs_basebackup: base backup successfully\n")
	return 0
}

func gsDump(c *sim.Call) int {
	if shortVersion(c) {
		return 0
	}
	file := ""
	for i, a := range c.Argv[:len(c.Argv)-1] {
		if a == "-f" {
			file = c.Argv[i+1]
		}
	}
	c.Sleep(1e9)
	if file == "" {
		c.Print("-- dump\n")
		return 0
	}
	if err := c.WriteFile(file, []byte("-- dump\n"), 0o600); err != nil {
		return c.Fail(1, "gs_dump: could not open output file \"%s\"", file)
	}
	c.Print("dump database dbname='postgres' successfully\n")
	return 0
}

// gsSSH runs a command on all nodes; its exit code is 0 even when that fails
// (spec/opengauss.md section 8.7).
func gsSSH(c *sim.Call) int {
	var cmd string
	for i, a := range c.Argv[:len(c.Argv)-1] {
		if a == "-c" {
			cmd = c.Argv[i+1]
		}
	}
	if cmd == "" {
		return c.Fail(1, "[GAUSS-50001] : Incorrect parameter. Parameter '-c' is required.")
	}
	s := stateOf(c.World)
	var good, bad []string
	var out strings.Builder
	for _, n := range s.nodes() {
		so, se, code, ok := c.OutputOn(c.World.Machine(n), c.Env, strings.Fields(cmd)...)
		if ok && code == 0 {
			good = append(good, n)
			fmt.Fprintf(&out, "[SUCCESS] %s:\n%s", n, so)
		} else {
			bad = append(bad, n)
			fmt.Fprintf(&out, "[FAILURE] %s:\n%s%s", n, so, se)
		}
	}
	switch {
	case len(bad) == 0:
		c.Print("Successfully execute command on all nodes.\n")
	case len(good) == 0:
		c.Print("Failed to execute command on all nodes.\n")
	default:
		c.Printf("Failed to execute command on %s .\nSuccessfully execute command on %s .\n", strings.Join(bad, ", "), strings.Join(good, ", "))
	}
	c.Print("\nOutput:\n" + out.String())
	return 0
}

// nodes are the machines of the cluster in their order.
func (s *state) nodes() []string {
	var out []string
	for _, in := range s.insts {
		if !slices.Contains(out, in.node) {
			out = append(out, in.node)
		}
	}
	return out
}

var osChecks = []string{"OS version status", "Kernel version status", "Unicode status", "Time zone status", "Swap memory status", "System control parameters status", "File system configuration status",
	"Disk configuration status", "Pre-read block size status", "IO scheduler status", "Network card configuration status", "Time consistency status", "Firewall service status", "THP service status"}

// gsCheckos ends with 0 whatever it finds. A file /etc/lab_checkos with lines
// "A12 Warning" sets what it finds.
func gsCheckos(c *sim.Call) int {
	rel, _ := releaseOf(c.Image)
	if c.User.UID != 0 && rel.major() < 6 {
		return c.Fail(1, "[GAUSS-50104] : Only a user with the root permission can run this script.")
	}
	found := map[string]string{}
	body, _ := c.Machine.Read("/etc/lab_checkos")
	for line := range strings.Lines(body) {
		if f := strings.Fields(line); len(f) == 2 {
			found[f[0]] = f[1]
		}
	}
	c.Print("Checking items:\n")
	n, bad, warn := 0, 0, 0
	for i, what := range osChecks {
		id := fmt.Sprintf("A%d", i+1)
		if c.User.UID != 0 && !slices.Contains([]string{"A1", "A2", "A3", "A4", "A5", "A8", "A12", "A13"}, id) {
			continue
		}
		st := found[id]
		if st == "" {
			st = "Normal"
		}
		n++
		switch st {
		case "Abnormal":
			bad++
		case "Warning":
			warn++
		}
		c.Printf("    %-4s[ %-40s]: %s\n", id+".", what, st)
	}
	c.Printf("Total numbers:%d. Abnormal numbers:%d. Warning numbers:%d.\n", n, bad, warn)
	if bad > 0 {
		c.Print("Do checking operation finished. Result: Abnormal.\n")
	}
	return 0
}

func gsCollector(c *sim.Call) int {
	begin, end, dir := "", "", c.Env["GAUSSLOG"]
	for i, a := range c.Argv {
		k, v, ok := strings.Cut(a, "=")
		switch {
		case k == "--begin-time" && ok:
			begin = v
		case k == "--end-time" && ok:
			end = v
		case a == "-o" && i+1 < len(c.Argv):
			dir = c.Argv[i+1]
		}
	}
	if begin == "" || end == "" {
		return c.Fail(1, "[GAUSS-50001] : Incorrect parameter. Parameter '--begin-time' and '--end-time' are required.")
	}
	name := dir + "/collector_" + c.World.Time().Format("20060102_150405") + ".tar.gz"
	if err := c.WriteFile(name, gz(archive(map[string]file{"Summary.log": {body: "ok\n", mode: 0o600}})), 0o600); err != nil {
		return c.Fail(1, "[GAUSS-50205] : Failed to write %s", name)
	}
	c.Printf("Successfully parsed the configuration file.\nSuccessfully create dir.\nSuccessfully do system check.\nSuccessfully copy logs.\nAll results are stored in %s.\n", name)
	return 0
}

func gsSshexkey(c *sim.Call) int {
	c.Print("Checking network information.\nAll nodes in the network are Normal.\n")
	return 0
}

// gsBlocked are tools that refuse while an upgrade is open.
func gsBlocked(c *sim.Call) int {
	if dir := c.Env["PGHOST"] + "/binary_upgrade"; len(c.Machine.List(dir)) > 0 {
		return c.Fail(1, "[GAUSS-52936] : Upgrade is not finished, cannot do another task.")
	}
	c.World.Complain("%s: %q is not simulated", c.Machine.Name(), c.Argv)
	return 1
}

// gsPreinstall distributes the package that lies in the directory above its
// script/ to all nodes (root; spec/opengauss.md section 2).
func gsPreinstall(c *sim.Call) int {
	if c.User.UID != 0 {
		return c.Fail(1, "[GAUSS-50104] : Only a user with the root permission can run this script.")
	}
	s := stateOf(c.World)
	from := strings.TrimSuffix(c.Path, "/script/gs_preinstall")
	cfg, ok := c.Machine.Read(from + "/version.cfg")
	lines := strings.Split(cfg, "\n")
	if !ok || len(lines) < 3 {
		return c.Fail(1, "[GAUSS-50201] : The %s/version.cfg does not exist.", from)
	}
	for _, n := range s.nodes() {
		m := c.World.Machine(n)
		if !m.Connected() && m != c.Machine {
			return c.Fail(1, "[GAUSS-51100] : Failed to verify SSH trust on these nodes: %s.", n)
		}
		app := s.opts.App() + "_" + lines[2]
		m.Mkdir(app, 0o700, s.opts.User)
		for _, f := range c.Machine.List(from) {
			if body, isFile := c.Machine.Read(from + "/" + f); isFile && f != "version.cfg" {
				m.Write(s.opts.Tools()+"/"+f, body, 0o400, s.opts.User)
			}
		}
		m.Write(s.opts.Tools()+"/version.cfg", cfg, 0o400, s.opts.User)
	}
	c.Print("Parsing the configuration file.\nSuccessfully parsed the configuration file.\nInstalling the tools on the local node.\nSuccessfully installed the tools on the local node.\nPreinstallation succeeded.\n")
	return 0
}
