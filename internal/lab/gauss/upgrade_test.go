package gauss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// operator does by hand what a driver does, without any of its care.
type operator struct {
	t   testing.TB
	lab *Lab
}

func newOperator(t testing.TB, seed uint64, o Options) *operator {
	t.Helper()
	w := sim.New(seed)
	l, err := New(w, o)
	if err != nil {
		t.Fatal(err)
	}
	return &operator{t, l}
}

func (o *operator) try(node string, argv ...string) (string, error) {
	r, err := o.lab.World.Machine(node).Run(context.Background(), host.Sourced(o.lab.Options.Profile(), host.Cmd{Argv: argv, Timeout: 10 * time.Minute}))
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stdout) + string(exit.Stderr), err
	}
	return string(r.Stdout), err
}

func (o *operator) run(node string, argv ...string) string {
	o.t.Helper()
	out, err := o.try(node, argv...)
	if err != nil {
		o.t.Fatalf("%s: %v: %v\n%s", node, argv, err, out)
	}
	return out
}

func (o *operator) sleep(d time.Duration) { _ = o.lab.World.Sleep(context.Background(), d) }

func (o *operator) names() []string {
	var out []string
	for _, n := range o.lab.Nodes() {
		out = append(out, n.Name)
	}
	return out
}

// unpack lays the new server down beside the old one on a node.
func (o *operator) unpack(node, version string) (app string) {
	o.t.Helper()
	p, err := PackageOf(o.lab.Options.Flavor, version)
	if err != nil {
		o.t.Fatal(err)
	}
	app = p.Release.appDir(o.lab.Options.App())
	m := o.lab.World.Machine(node)
	put := func(name string) string {
		to := "/home/omm/" + name
		if !m.Exists(to) {
			if _, err := m.Run(context.Background(), host.Cmd{Argv: []string{"dd", "of=" + to, "conv=fsync", "status=none"}, Stdin: bytes.NewReader(p.Files[name])}); err != nil {
				o.t.Fatal(err)
			}
		}
		return to
	}
	o.run(node, "mkdir", "-p", "-m", "700", app)
	o.run(node, "tar", "-xjf", put(p.Server()), "-C", app)
	if o.lab.Options.CM {
		o.run(node, "tar", "-xzf", put(p.CM()), "-C", app)
	}
	m.Write(app+"/bin/upgrade_version", upgradeVersion(p.Release), 0o600, "omm")
	old := o.lab.Options.App()
	o.run(node, "cp", "-a", old+"/bin/cluster_static_config", app+"/bin/")
	for _, k := range []string{"server", "usermapping", "datasource"} {
		o.run(node, "cp", "-a", old+"/bin/"+k+".key.cipher", old+"/bin/"+k+".key.rand", app+"/bin/")
	}
	o.run(node, "cp", "-a", old+"/lib/postgresql/pg_plugin", app+"/lib/postgresql/")
	o.run(node, "cp", "-a", old+"/share/sslcert", app+"/share/")
	return app
}

func (o *operator) flip(node, app string) {
	o.t.Helper()
	link := o.lab.Options.App()
	o.run(node, "ln", "-sfn", app, link+".new")
	o.run(node, "mv", "-T", link+".new", link)
}

func (o *operator) sql(node, kind string, from, to int) {
	o.t.Helper()
	for _, db := range []string{"postgres", "template0", "template1"} {
		which := "otherdb"
		if db == "postgres" {
			which = "maindb"
		}
		file := "/home/omm/" + kind + "_" + which + ".sql"
		o.lab.World.Machine(node).Write(file, merged(kind, which, from, to), 0o600, "omm")
		o.run(node, "gsql", "-p", "26000", "-d", db, "-X", "--set", "ON_ERROR_STOP=on", "-f", file)
	}
}

func (o *operator) eachMode(v string) {
	o.t.Helper()
	for _, n := range o.names() {
		o.run(n, "gs_guc", "reload", "-D", o.lab.Options.Data(), "-c", "upgrade_mode="+v)
	}
	o.sleep(4 * time.Second)
}

// move stops a node's server, flips it to app and starts it as a standby.
func (o *operator) move(node, app string, args ...string) {
	o.t.Helper()
	d := o.lab.Options.Data()
	o.flip(node, app)
	o.run(node, "gs_ctl", "stop", "-D", d)
	o.run(node, append([]string{"gs_ctl", "start", "-D", d, "-M", "standby"}, args...)...)
	o.sleep(5 * time.Second)
}

// rolling is the whole upgrade 5.0.0 to 5.0.3, standbys first.
func (o *operator) rolling(to string) {
	o.t.Helper()
	rel, err := ReleaseOf(OpenGauss, to)
	if err != nil {
		o.t.Fatal(err)
	}
	from, d := o.lab.Release.Number, o.lab.Options.Data()
	app := map[string]string{}
	for _, n := range o.names() {
		app[n] = o.unpack(n, to)
		m := o.lab.World.Machine(n)
		m.Write(o.lab.Options.socketDir()+"/binary_upgrade/old_upgrade_version", upgradeVersion(o.lab.Release), 0o600, "omm")
		m.Write(o.lab.Options.socketDir()+"/binary_upgrade/upgrade_step.csv", "node_host,upgrade_action,step\n", 0o600, "omm")
	}
	o.eachMode("2")
	o.sql("node1", "rollback", from, rel.Number)
	o.sql("node1", "upgrade", from, rel.Number)
	for _, n := range o.names()[1:] {
		o.move(n, app[n])
	}
	o.run("node2", "gs_ctl", "switchover", "-D", d)
	o.sleep(5 * time.Second)
	o.move("node1", app["node1"])
	o.sql("node2", "rollback-post", from, rel.Number)
	o.sql("node2", "upgrade-post", from, rel.Number)
	o.eachMode("0")
	for _, n := range o.names() {
		o.run(n, "rm", "-r", o.lab.Options.socketDir()+"/binary_upgrade")
		o.run(n, "dd", "of="+d+"/postmaster.opts.new", "status=none") // what a driver edits, an operator restarts away
		o.run(n, "rm", d+"/postmaster.opts.new")
	}
	for _, n := range append(o.names()[2:], "node1") {
		o.run(n, "gs_ctl", "stop", "-D", d)
		o.run(n, "gs_ctl", "start", "-D", d, "-M", "standby")
		o.sleep(5 * time.Second)
	}
	o.run("node1", "gs_ctl", "switchover", "-D", d)
	o.sleep(5 * time.Second)
	o.run("node2", "gs_ctl", "stop", "-D", d)
	o.run("node2", "gs_ctl", "start", "-D", d, "-M", "standby")
	o.sleep(5 * time.Second)
	o.run("node1", "gs_om", "-t", "refreshconf")
}

func TestRollingUpgradeByHandIsClean(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"three nodes":            {Load: true},
		"a pair":                 {Load: true, Nodes: 2},
		"a profile of its own":   {Load: true, SepEnv: true},
		"from 3.0.0 over epochs": {Load: true, Release: "3.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := newOperator(t, 5, o)
			op.rolling("5.0.3")
			if f := op.lab.Findings(); len(f) > 0 {
				t.Errorf("findings:\n%s", strings.Join(f, "\n"))
			}
			tr := op.lab.Truth()
			if len(tr.Damage) > 0 || tr.Lost > 0 || tr.TwoPrimaries > 0 {
				t.Errorf("damage %v, lost %d, two primaries for %s", tr.Damaged(), tr.Lost, tr.TwoPrimaries)
			}
			if tr.Longest > 3*time.Second || tr.Longest == 0 || tr.Acknowledged == 0 {
				t.Errorf("longest gap %s, %d writes", tr.Longest, tr.Acknowledged)
			}
			if c := op.lab.World.Complaints(); len(c) > 0 {
				t.Errorf("complaints: %v", c)
			}
		})
	}
}

// Each way to do it wrong meets its damage.
func TestDamage(t *testing.T) {
	t.Parallel()
	d := (&Options{Flavor: OpenGauss, Install: "om"}).Data()
	tests := map[string]struct {
		o    Options
		do   func(*operator)
		rule string
	}{
		"new binaries without -u on old data": {do: func(o *operator) {
			app := o.unpack("node1", "6.0.0")
			o.flip("node1", app)
			o.run("node1", "gs_ctl", "restart", "-D", d, "-M", "primary", "-o", " ")
		}, rule: "OG-CATALOG"},
		"commit while a node runs old binaries": {do: func(o *operator) {
			app := o.unpack("node1", "5.0.3")
			o.eachMode("2")
			o.sql("node1", "upgrade", 92848, 92862)
			o.flip("node1", app)
			o.run("node1", "gs_ctl", "stop", "-D", d)
			o.run("node1", "gs_ctl", "start", "-D", d, "-M", "primary", "-o", "-u 92848")
			o.eachMode("0")
		}, rule: "OG-COMMIT-MIXED"},
		"upgrade-post while a node runs old binaries": {do: func(o *operator) {
			app := o.unpack("node1", "5.0.3")
			o.eachMode("2")
			o.sql("node1", "upgrade", 92848, 92862)
			o.flip("node1", app)
			o.run("node1", "gs_ctl", "stop", "-D", d)
			o.run("node1", "gs_ctl", "start", "-D", d, "-M", "primary", "-o", "-u 92848")
			o.sql("node1", "upgrade-post", 92848, 92862)
		}, rule: "OG-POST-MIXED"},
		"two primaries": {do: func(o *operator) { o.run("node2", "gs_ctl", "failover", "-D", d) }, rule: "M21"},
		"a start without -M": {do: func(o *operator) {
			o.run("node2", "gs_ctl", "stop", "-D", d)
			o.run("node2", "gs_ctl", "start", "-D", d)
		}, rule: "M12"},
		"the binaries deleted under a running server": {do: func(o *operator) { o.run("node1", "rm", "-r", "/opt/huawei/install/app/bin") }, rule: "M05"},
		"two standbys down": {do: func(o *operator) {
			o.run("node2", "gs_ctl", "stop", "-D", d)
			o.run("node3", "gs_ctl", "stop", "-D", d)
			o.sleep(2 * time.Minute)
		}, rule: "M11"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := newOperator(t, 9, tc.o)
			tc.do(op)
			if got := strings.Join(op.lab.Truth().Damaged(), "\n"); !strings.Contains(got, tc.rule) {
				t.Errorf("no %s, but: %s", tc.rule, got)
			}
		})
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	d := (&Options{Flavor: OpenGauss, Install: "om"}).Data()
	t.Run("CM starts what is down and moves the primary", func(t *testing.T) {
		t.Parallel()
		op := newOperator(t, 2, Options{CM: true, Load: true})
		op.lab.Kill("node1")
		op.sleep(30 * time.Second)
		if !op.lab.Healthy() || op.lab.Primary() == "node1" {
			t.Errorf("after a kill: %v", op.lab.Nodes())
		}
		if out := op.run("node1", "cm_ctl", "query", "-Cvipd"); !strings.Contains(out, "balanced        : No") {
			t.Errorf("query: %s", out)
		}
		op.run("node2", "cm_ctl", "switchover", "-n", "1", "-D", d)
		op.sleep(5 * time.Second)
		if op.lab.Primary() != "node1" {
			t.Errorf("after the switchover: %v", op.lab.Nodes())
		}
		if tr := op.lab.Truth(); tr.Lost != 0 || tr.TwoPrimaries != 0 {
			t.Errorf("lost %d, two primaries for %s", tr.Lost, tr.TwoPrimaries)
		}
	})
	t.Run("a paused CM leaves everything", func(t *testing.T) {
		t.Parallel()
		op := newOperator(t, 2, Options{CM: true})
		op.run("node1", "cm_ctl", "pause")
		if out := op.run("node1", "cm_ctl", "query", "-Cv"); !strings.Contains(out, "pausing         : Yes") {
			t.Errorf("query: %s", out)
		}
		op.lab.Kill("node2")
		op.sleep(time.Minute)
		if n := op.lab.Nodes()[1]; n.Role != "" {
			t.Errorf("it was started: %v", n)
		}
		op.run("node1", "cm_ctl", "resume")
		op.sleep(time.Minute)
		if !op.lab.Healthy() {
			t.Errorf("after resume: %v", op.lab.Nodes())
		}
	})
	t.Run("om_monitor brings the component back", func(t *testing.T) {
		t.Parallel()
		op := newOperator(t, 2, Options{CM: true})
		for _, p := range []string{"om_monitor", "cm_agent", "cm_server"} {
			op.run("node1", "pkill", "-9", p)
		}
		if len(op.lab.Findings()) == 0 {
			t.Error("nothing was missed")
		}
		op.sleep(2 * time.Minute)
		if f := op.lab.Findings(); len(f) > 0 {
			t.Errorf("findings: %v", f)
		}
	})
	t.Run("gs_om stops and starts the cluster", func(t *testing.T) {
		t.Parallel()
		op := newOperator(t, 2, Options{})
		op.run("node1", "gs_om", "-t", "stop")
		if out := op.run("node1", "gs_om", "-t", "status"); !strings.Contains(out, "cluster_state   : Unavailable") {
			t.Errorf("stopped: %s", out)
		}
		op.run("node1", "gs_om", "-t", "start")
		if !op.lab.Healthy() || len(op.lab.Truth().Damage) > 0 {
			t.Errorf("started: %v %v", op.lab.Nodes(), op.lab.Truth().Damaged())
		}
	})
	t.Run("cm_ctl stops and starts the cluster", func(t *testing.T) {
		t.Parallel()
		op := newOperator(t, 2, Options{CM: true, Load: true})
		op.run("node1", "cm_ctl", "stop")
		op.sleep(time.Minute)
		op.run("node1", "cm_ctl", "start")
		op.sleep(5 * time.Second)
		if f := op.lab.Findings(); len(f) > 0 {
			t.Errorf("findings: %v", f)
		}
	})
	t.Run("gs_ssh ends with 0 whatever happens", func(t *testing.T) {
		t.Parallel()
		op := newOperator(t, 2, Options{})
		op.lab.World.Machine("node3").Cut(true)
		if out := op.run("node1", "gs_ssh", "-c", "hostname"); !strings.HasPrefix(out, "Failed to execute command on node3 .\nSuccessfully execute command on node1, node2 .\n") {
			t.Errorf("said: %s", out)
		}
	})
	t.Run("a node that loses its power comes back and joins", func(t *testing.T) {
		t.Parallel()
		op := newOperator(t, 2, Options{Load: true})
		m := op.lab.World.Machine("node2")
		op.lab.World.With(m.PowerOff)
		op.sleep(time.Minute)
		op.lab.World.With(m.PowerOn)
		op.run("node2", "gs_ctl", "start", "-D", d, "-M", "standby")
		op.sleep(10 * time.Second)
		if !op.lab.Healthy() {
			t.Errorf("nodes: %v", op.lab.Nodes())
		}
	})
}

// swap exchanges bin and lib as MogDB's note says.
func (o *operator) swap(node string, omFiles bool) {
	o.t.Helper()
	p, err := PackageOf(MogDB, "2.0.3")
	if err != nil {
		o.t.Fatal(err)
	}
	m := o.lab.World.Machine(node)
	m.Write("/home/omm/p.tar.bz2", string(p.Files[p.Server()]), 0o644, "omm")
	o.run(node, "mkdir", "-p", "new")
	o.run(node, "tar", "-xjf", "p.tar.bz2", "-C", "new")
	app := o.lab.Options.App()
	for _, d := range []string{"bin", "lib"} {
		o.run(node, "mv", app+"/"+d, app+"/"+d+"_201")
		o.run(node, "cp", "-r", "new/"+d, app)
	}
	if omFiles {
		o.run(node, "cp", app+"/bin_201/cluster_static_config", app+"/bin_201/upgrade_version", app+"/bin/")
	}
}

func TestMogDB(t *testing.T) {
	t.Parallel()
	mog := Options{Flavor: MogDB, Install: "manual", Load: true}
	d := (&mog).Data()
	t.Run("standby first is clean but for what the note forgets", func(t *testing.T) {
		t.Parallel()
		op := newOperator(t, 4, mog)
		for _, n := range []string{"node2", "node3"} {
			op.run(n, "gs_ctl", "-D", d, "stop")
			op.swap(n, false)
			op.run(n, "gs_ctl", "-D", d, "start", "-M", "standby")
			op.sleep(5 * time.Second)
		}
		op.run("node2", "gs_ctl", "switchover", "-D", d)
		op.sleep(5 * time.Second)
		op.run("node1", "gs_ctl", "-D", d, "stop")
		op.swap("node1", false)
		op.run("node1", "gs_ctl", "-D", d, "start", "-M", "standby")
		op.sleep(5 * time.Second)
		if tr := op.lab.Truth(); len(tr.Damage) > 0 || tr.Lost > 0 {
			t.Errorf("damage %v, lost %d", tr.Damaged(), tr.Lost)
		}
		f := strings.Join(op.lab.Findings(), "\n")
		if !strings.Contains(f, "pg_plugin") || !strings.Contains(f, "key.cipher") || strings.Contains(f, "runs") {
			t.Errorf("findings:\n%s", f)
		}
	})
	tests := map[string]struct {
		o    Options
		do   func(*operator)
		rule string
	}{
		"MogHA starts what was stopped": {o: Options{MogHA: true}, do: func(o *operator) {
			o.run("node2", "gs_ctl", "-D", d, "stop")
			o.sleep(30 * time.Second)
		}, rule: "MogHA started dn_6002 again"},
		"the swap under a running server": {do: func(o *operator) { o.swap("node2", false) }, rule: "M05"},
		"half a swap is started": {do: func(o *operator) {
			o.run("node2", "gs_ctl", "-D", d, "stop")
			o.swap("node2", false)
			o.run("node2", "rm", "-r", "/opt/mogdb/app/lib")
			o.run("node2", "mv", "/opt/mogdb/app/lib_201", "/opt/mogdb/app/lib")
			o.run("node2", "gs_ctl", "-D", d, "start", "-M", "standby")
		}, rule: "M26"},
		"a switchover with an old standby left": {do: func(o *operator) {
			o.run("node2", "gs_ctl", "-D", d, "stop")
			o.swap("node2", false)
			o.run("node2", "gs_ctl", "-D", d, "start", "-M", "standby")
			o.sleep(5 * time.Second)
			o.run("node2", "gs_ctl", "switchover", "-D", d)
		}, rule: "M10"},
		"MogHA started too early": {o: Options{MogHA: true}, do: func(o *operator) {
			for _, n := range o.names() {
				o.run(n, "sudo", "systemctl", "stop", "mogha")
			}
			o.run("node2", "gs_ctl", "-D", d, "stop")
			o.run("node1", "sudo", "systemctl", "start", "mogha")
		}, rule: "M19"},
		"gs_om starts a stale primary": {o: Options{Install: "om"}, do: func(o *operator) {
			dn := "/opt/mogdb/install/data/dn"
			o.run("node2", "gs_ctl", "switchover", "-D", dn)
			o.sleep(20 * time.Second)
			o.run("node1", "gs_ctl", "stop", "-D", dn)
			o.sleep(20 * time.Second)
			for _, n := range []string{"node3", "node2"} {
				o.run(n, "gs_ctl", "stop", "-D", dn)
			}
			_, _ = o.try("node1", "gs_om", "-t", "start")
		}, rule: "M17"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := tc.o
			o.Flavor, o.Load = MogDB, true
			if o.Install == "" {
				o.Install = "manual"
			}
			op := newOperator(t, 4, o)
			tc.do(op)
			if got := strings.Join(op.lab.Truth().Damaged(), "\n"); !strings.Contains(got, tc.rule) {
				t.Errorf("no %s, but: %s", tc.rule, got)
			}
		})
	}
	t.Run("without upgrade_version gs_om does nothing", func(t *testing.T) {
		t.Parallel()
		op := newOperator(t, 4, Options{Flavor: MogDB})
		op.run("node1", "rm", "/opt/mogdb/install/app/bin/upgrade_version")
		if out, err := op.try("node1", "gs_om", "-t", "status"); err == nil || !strings.Contains(out, "[GAUSS-50201]") {
			t.Errorf("%v %s", err, out)
		}
	})
}

func TestClusterClones(t *testing.T) {
	t.Parallel()
	op := newOperator(t, 6, Options{Load: true})
	c := op.lab.Of(op.lab.World.Clone())
	op.run("node2", "gs_ctl", "switchover", "-D", op.lab.Options.Data())
	if op.lab.Primary() != "node2" || c.Primary() != "node1" {
		t.Errorf("primaries: %s and %s", op.lab.Primary(), c.Primary())
	}
	again := &operator{t, c}
	again.run("node2", "gs_ctl", "switchover", "-D", c.Options.Data())
	if a, b := op.lab.Truth(), c.Truth(); a.Acknowledged != b.Acknowledged || a.Down != b.Down {
		t.Errorf("the same went otherwise: %+v, %+v", a, b)
	}
}

func BenchmarkRollingUpgrade(b *testing.B) {
	op := newOperator(b, 5, Options{Load: true})
	op.lab.World.NoTrace()
	base := op.lab.World
	for b.Loop() {
		l := op.lab.Of(base.Clone())
		l.World.NoTrace()
		(&operator{b, l}).rolling("5.0.3")
	}
}

func TestHooksStrike(t *testing.T) {
	t.Parallel()
	d := (&Options{Flavor: OpenGauss, Install: "om"}).Data()
	for _, name := range Hooks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := newOperator(t, 8, Options{Load: true})
			op.lab.World.Inject(sim.Fault{Kind: sim.Hook, Match: "gs_ctl switchover", Do: name})
			_, _ = op.try("node2", "gs_ctl", "switchover", "-D", d, "-t", "10")
			moved := op.lab.Primary() == "node2" && op.lab.Healthy()
			if want := name == "slow standby"; moved != want {
				t.Errorf("the switchover was done: %v; %v", moved, op.lab.Nodes())
			}
			if tr := op.lab.Truth(); tr.Lost != 0 {
				t.Errorf("lost %d bytes", tr.Lost)
			}
			if c := op.lab.World.Complaints(); len(c) > 0 || len(op.lab.World.Pending()) > 0 {
				t.Errorf("complaints: %v", c)
			}
		})
	}
}

func TestRestartKeepsTheRole(t *testing.T) {
	t.Parallel()
	op := newOperator(t, 8, Options{})
	d := op.lab.Options.Data()
	op.lab.World.Machine("node2").Write("/opt/huawei/tmp/binary_upgrade/old_upgrade_version", "5.0.0\n92.848\na07d57c3\n", 0o600, "omm")
	op.run("node2", "gs_ctl", "restart", "-D", d)
	if got := op.run("node2", "cat", d+"/postmaster.opts"); !strings.HasSuffix(got, `gaussdb "-u" "92848" "-D" "`+d+`" "-M" "standby"`+"\n") {
		t.Errorf("options: %s", got)
	}
}

func TestUserTables(t *testing.T) {
	t.Parallel()
	op := newOperator(t, 8, Options{Nodes: 2})
	sql := func(node, text string) string {
		out, _ := op.try(node, "gsql", "-d", "postgres", "-p", "26000", "-tA", "-v", "ON_ERROR_STOP=1", "-c", text)
		return strings.TrimSpace(out)
	}
	for _, step := range [][3]string{
		{"node1", "create table probe(token text)", "CREATE TABLE"},
		{"node1", "begin; delete from probe; insert into probe values('x 1'); commit", "COMMIT"},
		{"node2", "select * from probe", "x 1"},
		{"node2", "select count(*) from probe where token='x 1'", "1"},
		{"node1", "insert into probe values('y'); insert into nothing values(1)", "ERROR:  relation \"nothing\" does not exist on dn_6001"},
		{"node1", "select token from probe order by 1", "x 1"},
		{"node1", "select version(), working_version_num()", "|92848"},
		{"node1", "drop table if exists probe", "DROP TABLE"},
		{"node2", "select * from probe", "ERROR:  relation \"probe\" does not exist"},
	} {
		if got := sql(step[0], step[1]); !strings.Contains(got, step[2]) {
			t.Errorf("%s: %s: %q, want %q", step[0], step[1], got, step[2])
		}
	}
	if c := op.lab.World.Complaints(); len(c) > 0 {
		t.Errorf("complaints: %v", c)
	}
}

// TestMendStartsWhatNobodyElseDoes: two servers were the primary when they fell;
// a person starts the later one as that, and the other one behind it. Where
// MogHA works, it is left to MogHA (docs/bugs.md B-164).
func TestMendStartsWhatNobodyElseDoes(t *testing.T) {
	t.Parallel()
	for _, works := range []bool{false, true} {
		t.Run(fmt.Sprintf("MogHA works: %t", works), func(t *testing.T) {
			t.Parallel()
			op := newOperator(t, 8, Options{Flavor: MogDB, Nodes: 2, Install: "om", MogHA: true})
			for _, node := range op.names() {
				m := op.lab.World.Machine(node)
				if err := m.StopService(m.Service("mogha")); err != nil {
					t.Fatal(err)
				}
			}
			d := op.lab.Options.Data()
			op.lab.World.Machine("node1").PowerOff()
			op.run("node2", "gs_ctl", "failover", "-D", d)
			op.lab.World.Machine("node2").PowerOff()
			for _, node := range op.names() {
				m := op.lab.World.Machine(node)
				m.PowerOn()
				if !works {
					_ = m.StopService(m.Service("mogha"))
				}
			}
			if err := op.lab.Mend(); err != nil {
				t.Fatal(err)
			}
			if p := op.lab.Primary(); works && p != "" || !works && p != "node2" {
				t.Errorf("the primary is %q", p)
			}
			if tr := op.lab.Truth(); tr.Lost != 0 || len(tr.Damage) > 0 {
				t.Errorf("%+v", tr)
			}
		})
	}
}

// TestMendStartsNoFormerPrimary: a server was the primary after the one that fell,
// and was told to stop; the one that fell lacks what it wrote (docs/bugs.md B-165).
func TestMendStartsNoFormerPrimary(t *testing.T) {
	t.Parallel()
	op := newOperator(t, 8, Options{Flavor: MogDB, Nodes: 2, Install: "manual", Load: true})
	d := op.lab.Options.Data()
	op.lab.Kill("node1")
	op.run("node2", "gs_ctl", "failover", "-D", d)
	op.sleep(5 * time.Second)
	op.run("node2", "gs_ctl", "stop", "-D", d)
	if err := op.lab.Mend(); err != nil {
		t.Fatal(err)
	}
	if p := op.lab.Primary(); p != "" {
		t.Errorf("%s is the primary", p)
	}
	op.run("node2", "gs_ctl", "start", "-D", d, "-M", "primary")
	if tr := op.lab.Truth(); tr.Lost != 0 {
		t.Errorf("%+v", tr)
	}
}

// TestMendLeavesALaterPrimaryToMogHA: the one that was the primary last fell on a
// machine where MogHA works; the one before it fell where MogHA is stopped for
// the run, and lacks what the later one wrote (docs/bugs.md B-180).
func TestMendLeavesALaterPrimaryToMogHA(t *testing.T) {
	t.Parallel()
	op := newOperator(t, 8, Options{Flavor: MogDB, Nodes: 2, Install: "om", MogHA: true, Load: true})
	first := op.lab.World.Machine("node1")
	if err := first.StopService(first.Service("mogha")); err != nil {
		t.Fatal(err)
	}
	if err := op.lab.World.Strike("failover", "node1"); err != nil {
		t.Fatal(err)
	}
	op.sleep(time.Second)
	op.lab.Kill("node2")
	if err := op.lab.Mend(); err != nil {
		t.Fatal(err)
	}
	op.sleep(time.Minute)
	if p := op.lab.Primary(); p != "node2" {
		t.Errorf("the primary is %q", p)
	}
	if tr := op.lab.Truth(); tr.Lost != 0 || len(tr.Damage) > 0 {
		t.Errorf("%+v", tr)
	}
}

// TestMendCopiesAStandbyAnew: a standby that has log which its primary lacks is
// built from it, while MogHA is stopped (M22).
func TestMendCopiesAStandbyAnew(t *testing.T) {
	t.Parallel()
	for _, works := range []bool{false, true} {
		t.Run(fmt.Sprintf("MogHA works: %t", works), func(t *testing.T) {
			t.Parallel()
			op := newOperator(t, 8, Options{Flavor: MogDB, Nodes: 2, Install: "om", MogHA: true, Load: true})
			for _, node := range op.names() {
				m := op.lab.World.Machine(node)
				if err := m.StopService(m.Service("mogha")); err != nil {
					t.Fatal(err)
				}
			}
			if err := op.lab.World.Strike("failover", "node1"); err != nil {
				t.Fatal(err)
			}
			op.lab.World.With(func() { stateOf(op.lab.World).insts[0].lsn += 136 }) // written, and seen by nobody
			op.run("node1", "gs_ctl", "start", "-D", op.lab.Options.Data(), "-M", "standby")
			op.sleep(10 * time.Second)
			m := op.lab.World.Machine("node1")
			if works {
				if err := m.StartService(m.Service("mogha")); err != nil {
					t.Fatal(err)
				}
			}
			if err := op.lab.Mend(); err != nil {
				t.Fatal(err)
			}
			op.sleep(10 * time.Second)
			if op.lab.Healthy() == works {
				t.Errorf("%+v", op.lab.Nodes())
			}
			if tr := op.lab.Truth(); tr.Lost != 0 || len(tr.Damage) > 0 {
				t.Errorf("%+v", tr)
			}
		})
	}
}
