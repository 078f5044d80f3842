package gauss

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// guc kinds: which settings gs_guc knows and what values they take.
var (
	intGUCs = set("port", "max_connections", "max_prepared_transactions", "max_locks_per_transaction", "max_wal_senders", "upgrade_mode", "replication_type", "checkpoint_segments", "wal_keep_segments", "recovery_time_target", "recovery_max_workers")
	anyGUCs = set("listen_addresses", "synchronous_standby_names", "synchronous_commit", "most_available_sync", "wal_level", "hot_standby", "enable_double_write",
		"log_min_duration_statement", "default_transaction_read_only", "enable_stream_replication", "archive_mode", "archive_command", "ssl", "sync_config_strategy",
		"wal_sender_timeout", "wal_receiver_timeout", "wal_receiver_connect_timeout", "enable_thread_pool", "support_extended_features", "shared_buffers", "enable_wdr_snapshot",
		"application_name", "pgxc_node_name", "unix_socket_directory", "available_zone", "password_encryption_type", "log_directory", "audit_directory", "session_timeout", "enable_mot_server", "shared_preload_libraries", "work_mem", "max_process_memory", "statement_timeout", "logging_collector", "remote_read_mode", "autovacuum")
	cmGUCs = set("upgrade_from", "log_level", "agent_heartbeat_timeout", "instance_failover_delay_timeout", "cmserver_ha_heartbeat_timeout", "enable_transaction_read_only", "coordinator_heartbeat_timeout", "datastorage_threshold_value_check", "enable_ssl", "log_dir", "unix_socket_directory", "incremental_build", "security_mode", "agent_report_interval", "ddb_type")
)

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

type guc struct {
	*sim.Call
	s          *state
	action     string
	dir, kind  string // -D, -Z
	node, inst string // -N, -I
	params     []string
	hba        []string
}

func gsGuc(call *sim.Call) int {
	s := stateOf(call.World)
	rel, _ := releaseOf(call.Image)
	g := &guc{Call: call, s: s}
	args := call.Args()
	var echo []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch a {
		case "-V", "--version":
			if rel.major() >= 6 {
				call.Print("gs_guc " + rel.banner() + "\n")
			} else {
				call.Printf("gs_guc (%s) 9.2.4\n", rel.Product)
			}
			return 0
		case "set", "reload", "check", "encrypt", "generate":
			g.action = a
			continue
		case "-D", "-Z", "-N", "-I", "-c", "-h", "--lcname":
		default:
			call.Errorf("gs_guc: unrecognized option '%s'\nTry \"gs_guc --help\" for more information.\n", a)
			return 1
		}
		i++
		if i >= len(args) {
			return 1
		}
		echo = append(echo, a, args[i])
		switch a {
		case "-D":
			g.dir = strings.TrimRight(args[i], "/")
		case "-Z":
			g.kind = args[i]
		case "-N":
			g.node = args[i]
		case "-I":
			g.inst = args[i]
		case "-c":
			g.params = append(g.params, args[i])
		case "-h":
			g.hba = append(g.hba, args[i])
		}
	}
	call.Errorf("The gs_guc run with the following arguments: [gs_guc %s %s ].\n", strings.Join(echo, " "), g.action)
	s.settle(call.World)
	if code := g.valid(); code != 0 {
		return code
	}
	if g.kind == "cmagent" || g.kind == "cmserver" {
		return g.cm()
	}
	if g.node != "" || g.inst != "" {
		return g.cluster()
	}
	return g.one()
}

// valid refuses unknown names and wrong values before anything is changed.
func (g *guc) valid() int {
	for _, p := range g.params {
		name, val, hasVal := strings.Cut(p, "=")
		name = strings.TrimSpace(name)
		known := intGUCs[name] || anyGUCs[name] || strings.HasPrefix(name, "replconninfo")
		if g.kind == "cmagent" || g.kind == "cmserver" {
			known = cmGUCs[name]
		}
		if !known {
			g.Printf("ERROR: The name of parameter \"%s\" is incorrect. It is not within the CN/DN support parameters or it is a read only parameter.\nTry \"gs_guc --help\" for more information.\n", name)
			return 1
		}
		if _, err := strconv.Atoi(strings.Trim(val, "' ")); hasVal && intGUCs[name] && err != nil {
			g.Printf("ERROR: The parameter \"%s\" requires an integer value.\nERROR: The value \"%s\" for parameter \"%s\" is incorrect, requires a integer value\nTry \"gs_guc --help\" for more information.\n", name, val, name)
			return 1
		}
	}
	return 0
}

func (g *guc) one() int {
	if g.dir == "" {
		g.dir = g.Env["PGDATA"]
	}
	in := g.s.at(g.Machine.Name(), g.dir)
	if in == nil {
		g.Printf("ERROR: The directory \"%s\" does not exist.\n", g.dir)
		return 1
	}
	if g.action == "check" {
		return g.check([]*instance{in})
	}
	file := g.dir + "/postgresql.conf"
	if len(g.hba) > 0 {
		file = g.dir + "/pg_hba.conf"
	}
	for _, p := range g.params {
		if strings.HasPrefix(p, "wal_level=") {
			g.Print("NOTICE: If you need to copy the data stream for WAL log archiving and standby machine. You must be set to the parameter with archive or hot_standby. If this parameter is setted to archive. The hot_standby must be setted to off, otherwise it will cause the database can not be started, at the same time the max_wal_senders must be set at least 1.\n")
		}
	}
	g.Printf("expected instance path: [%s]\n", file)
	if !g.Machine.Exists(file) {
		g.Printf("Total instances: 1. Failed instances: 1.\nFailure to perform gs_guc!\n\n")
		return 1
	}
	g.apply(g.Machine, in, func(line string) { g.Print(line) })
	g.Print("\nTotal instances: 1. Failed instances: 0.\nSuccess to perform gs_guc!\n\n")
	return 0
}

// apply writes the settings of one instance and signals its server on a reload.
func (g *guc) apply(m *sim.Machine, in *instance, out func(string)) {
	file := in.data + "/postgresql.conf"
	for _, h := range g.hba {
		if !m.Exists(in.data + "/pg_hba.conf.lock") {
			out(fmt.Sprintf("realpath(%s/pg_hba.conf.lock) failed : No such file or directory!\n", in.data))
			m.Write(in.data+"/pg_hba.conf.lock", "", 0o600, g.User.Name)
		}
		body, _ := m.Read(in.data + "/pg_hba.conf")
		if !strings.Contains(body, h+"\n") {
			m.Write(in.data+"/pg_hba.conf", body+h+"\n", 0o600, g.User.Name)
		}
		out(fmt.Sprintf("gs_guc %shba: %s: [%s/pg_hba.conf]\n", g.action, h, in.data))
	}
	for _, p := range g.params {
		name, val, hasVal := strings.Cut(p, "=")
		name, val = strings.TrimSpace(name), strings.TrimSpace(val)
		body, _ := m.Read(file)
		if hasVal {
			m.Write(file, setConf(body, name, &val), 0o600, g.User.Name)
			out(fmt.Sprintf("gs_guc %s: %s=%s: [%s]\n", g.action, name, val, file))
		} else {
			m.Write(file, setConf(body, name, nil), 0o600, g.User.Name)
			out(fmt.Sprintf("gs_guc %s: #%s: [%s]\n", g.action, name, file))
		}
	}
	if g.action == "reload" {
		if in.srv != nil && in.node == m.Name() {
			out("server signaled\n")
			g.s.reload(g.World, in)
		} else {
			out(fmt.Sprintf(" PID file \"%s/postmaster.pid\" does not exist\nIs server running?\n", in.data))
		}
	}
}

// raw is a setting as it stands in the file, with its quotes; NULL without one.
func raw(body, name string) string {
	v := "NULL"
	for line := range strings.Lines(body) {
		k, val, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && strings.TrimSpace(k) == name {
			v = strings.TrimSpace(val)
		}
	}
	return v
}

func (g *guc) check(ins []*instance) int {
	total := 0
	var tail strings.Builder
	for _, p := range g.params {
		vals := map[string]bool{}
		var details strings.Builder
		for _, in := range ins {
			total++
			file := in.data + "/postgresql.conf"
			g.Printf("expected guc information: %s: %s=NULL: [%s]\n", in.node, p, file)
			body, _ := g.World.Machine(in.node).Read(file)
			v := raw(body, p)
			vals[v] = true
			g.Printf("gs_guc check: %s: %s=%s: [%s]\n", in.node, p, v, file)
			fmt.Fprintf(&details, "    [%s]  %s=%s  [%s]\n", in.node, p, v, file)
		}
		if len(vals) == 1 && !vals["NULL"] {
			for v := range vals {
				fmt.Fprintf(&tail, "The value of parameter %s is same on all instances.\n    %s=%s\n", p, p, v)
			}
		} else {
			fmt.Fprintf(&tail, "The details for %s:\n%s", p, details.String())
		}
	}
	g.Printf("\nTotal GUC values: %d. Failed GUC values: 0.\n%s\n", total, tail.String())
	return 0
}

// chosen are the instances that -N and -I name.
func (g *guc) chosen() []*instance {
	var out []*instance
	for _, in := range g.s.insts {
		if g.node == "all" || g.node == "" && in.node == g.Machine.Name() || g.node == in.node {
			out = append(out, in)
		}
	}
	return out
}

func (g *guc) cluster() int {
	ins := g.chosen()
	if g.action == "check" {
		return g.check(ins)
	}
	what := "datanodes"
	failed := 0
	var lost []string
	for _, in := range ins {
		m := g.World.Machine(in.node)
		if m != g.Machine && !m.Connected() {
			failed++
			lost = append(lost, in.node)
			continue
		}
		g.apply(m, in, func(string) {})
	}
	return g.summary(what, len(ins), failed, lost)
}

func (g *guc) summary(what string, n, failed int, lost []string) int {
	g.Printf("Begin to perform the total nodes: %d.\nPopen count is %d, Popen success count is %d, Popen failure count is %d.\n", n, n, n-failed, failed)
	g.Printf("Begin to perform gs_guc for %s.\nCommand count is %d, Command success count is %d, Command failure count is %d.\n\n", what, n, n-failed, failed)
	if failed > 0 {
		g.Print("Failed instance information:\n")
		for _, l := range lost {
			g.Printf("    [%s]\n", l)
		}
		g.Printf("Total instances: %d. Failed instances: %d.\nALL: Failure to perform gs_guc!\n\n", n, failed)
		return 1
	}
	g.Printf("Total instances: %d. Failed instances: 0.\nALL: Success to perform gs_guc!\n\n", n)
	return 0
}

// cm changes the files of the cluster manager.
func (g *guc) cm() int {
	what, file := "cm_agents", "/cm_agent/cm_agent.conf"
	if g.kind == "cmserver" {
		what, file = "cm_servers", "/cm_server/cm_server.conf"
	}
	n, failed := 0, 0
	var lost []string
	for _, m := range g.World.Machines() {
		if g.node != "all" && g.node != m.Name() && !(g.node == "" && m == g.Machine) {
			continue
		}
		n++
		conf := g.s.opts.cmDir() + file
		if m != g.Machine && !m.Connected() || !m.Exists(conf) {
			failed++
			lost = append(lost, m.Name())
			continue
		}
		for _, p := range g.params {
			name, val, hasVal := strings.Cut(p, "=")
			body, _ := m.Read(conf)
			if hasVal {
				m.Write(conf, setConf(body, name, &val), 0o600, g.User.Name)
			} else {
				m.Write(conf, setConf(body, name, nil), 0o600, g.User.Name)
			}
		}
	}
	return g.summary(what, n, failed, lost)
}
