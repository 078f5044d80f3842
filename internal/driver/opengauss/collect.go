package opengauss

import (
	"context"
	"path"
	"strconv"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
)

// Collect tells what of a node gs_collector would take: server, cluster manager
// and tool logs below $GAUSSLOG, configuration, and what the tools say now. No
// core dumps, no write-ahead log: those are asked for by name where they are needed.
func (*Driver) Collect(ctx context.Context, env driver.Env, node string) (driver.Sources, error) {
	n, _ := env.Inventory.Node(node)
	g := gaussdb.Node{Name: node, Host: env.Hosts[node], Profile: profileOf(n.Settings)}
	data := n.Settings["data"]
	src := driver.Sources{Logs: []string{data + "/pg_log"}}
	for _, f := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf", "postmaster.opts", "gaussdb.state", oldConf} {
		src.Files = append(src.Files, data+"/"+f)
	}
	ask := func(name string, argv ...string) {
		src.States = append(src.States, driver.Question{Name: name, Cmd: host.Sourced(g.Profile, host.Read(argv...))})
	}
	ask("gs_ctl-query", "gs_ctl", "query", "-D", data)
	ask("gs_ctl-status", "gs_ctl", "status", "-D", data)
	ask("gaussdb-version", "gaussdb", "-V")
	ask("pg_controldata", "pg_controldata", data)
	ask("gs_om-status", "gs_om", "-t", "status", "--detail")
	ask("df", "df", "-Pk")
	e, err := g.Environment(ctx)
	if err != nil {
		return src, err
	}
	if e.GaussLog != "" {
		src.Logs = append([]string{e.GaussLog}, src.Logs...)
	}
	if e.GaussHome != "" {
		src.Files = append(src.Files, e.GaussHome+"/bin/upgrade_version")
	}
	if e.GPHome != "" {
		src.Files = append(src.Files, e.GPHome+"/version.cfg")
	}
	for _, f := range []string{fileDirs, fileNumber, fileSteps, fileInplace, fileCommit, fileDone} {
		src.Files = append(src.Files, e.BinaryUpgrade()+"/"+f)
	}
	if xml := n.Settings["xml"]; xml != "" {
		src.Files = append(src.Files, xml)
	} else if xml := env.Inventory.Settings["xml"]; xml != "" {
		src.Files = append(src.Files, xml)
	}
	// A node that has no cluster manager has no answer either.
	if there, err := host.Exists(ctx, g.Host, e.GaussHome+"/bin/cm_ctl"); err == nil && there {
		ask("cm_ctl-query", "cm_ctl", "query", "-Cvipd")
		ask("cm_ctl-version", "cm_ctl", "-V")
		if dir := cmDirOf(ctx, g, n.Settings["cm_dir"]); dir != "" {
			src.Files = append(src.Files, dir+"/cm_agent/cm_agent.conf", dir+"/cm_server/cm_server.conf")
		}
	}
	ask("sessions", gaussdb.GsqlArgv(atoi(n.Settings["port"]), "postgres", "select pid, usename, application_name, state, query from pg_stat_activity")...)
	return src, nil
}

func atoi(s string) int {
	i, _ := strconv.Atoi(s)
	return i
}

// cmDirOf is the setting cm_dir, or what cm_ctl tells.
func cmDirOf(ctx context.Context, g gaussdb.Node, set string) string {
	if set != "" {
		return set
	}
	a, err := g.Ask(ctx, "cm_ctl", "query", "-Cvipd")
	if err != nil {
		return ""
	}
	c, err := gaussdb.ParseCluster(a.Both())
	if err != nil || len(c.CMServers) == 0 {
		return ""
	}
	dir := c.CMServers[0].Path
	for _, in := range c.CMServers {
		if in.Node == g.Name {
			dir = in.Path
		}
	}
	if dir == "" {
		return ""
	}
	return path.Dir(dir)
}
