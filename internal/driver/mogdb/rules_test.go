package mogdb_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/driver/mogdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// hand types a command on a node, as an operator without the tool would.
func (w *world) hand(t testing.TB, node string, argv ...string) gaussdb.Answer {
	t.Helper()
	n := gaussdb.Node{Name: node, Host: w.Env.Hosts[node], Profile: w.lab.Options.Profile()}
	c := host.Change(argv...)
	c.Timeout = 10 * time.Minute
	a, err := n.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// gsCtl is gs_ctl with the data directory.
func (w *world) gsCtl(t testing.TB, node, verb string, more ...string) gaussdb.Answer {
	t.Helper()
	return w.hand(t, node, append([]string{"gs_ctl", verb, "-D", w.lab.Options.Data()}, more...)...)
}

func (w *world) app(node string) string {
	return w.Sim.Machine(node).Real(w.lab.Options.App())
}

// handSwap is the seed's way: what it names is carried, the rest is lost.
func (w *world) handSwap(t testing.TB, node, version string, parts ...string) {
	t.Helper()
	p, err := gauss.PackageOf(gauss.MogDB, version)
	if err != nil {
		t.Fatal(err)
	}
	m := w.Sim.Machine(node)
	dir := "/home/omm/new-" + version
	w.Sim.With(func() {
		m.Mkdir(dir, 0o755, "omm")
		m.Write(dir+"/p.tar.bz2", string(p.Files[p.Server()]), 0o644, "omm")
	})
	w.hand(t, node, "tar", "-xjf", dir+"/p.tar.bz2", "-C", dir)
	for _, part := range parts {
		w.hand(t, node, "mv", w.app(node)+"/"+part, w.app(node)+"/"+part+"_201")
		w.hand(t, node, "cp", "-r", dir+"/"+part, w.app(node)+"/"+part)
	}
}

// carryOM carries the two files that the seed names.
func (w *world) carryOM(t testing.TB, node string) {
	for _, f := range []string{"cluster_static_config", "upgrade_version"} {
		w.hand(t, node, "cp", "-a", w.app(node)+"/bin_201/"+f, w.app(node)+"/bin/"+f)
	}
}

// wait lets d go by.
func (w *world) wait(t testing.TB, d time.Duration) {
	t.Helper()
	if err := w.Sim.Sleep(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// damage are the rules that the simulator says were broken, and what is not in order.
func (w *world) damage() []string { return append(w.lab.Truth().Damaged(), w.lab.Findings()...) }

func (w *world) meets(t testing.TB, part string) {
	t.Helper()
	if d := w.damage(); !has(d, part) {
		t.Errorf("no damage %q, only: %s", part, strings.Join(d, "; "))
	}
}

// findings asks the checks.
func (w *world) findings(t testing.TB) []check.Finding {
	t.Helper()
	o, err := w.Driver.Observe(t.Context(), w.Env)
	if err != nil {
		t.Fatal(err)
	}
	return check.Run(t.Context(), w.Driver.Checks(w.Env, o, w.Request), nil)
}

// blocks wants the check of that id to forbid the upgrade by a rule.
func (w *world) blocks(t testing.TB, id, rule string) {
	t.Helper()
	fs := w.findings(t)
	for _, f := range fs {
		if f.ID == id && f.Rule == rule && f.Severity == check.Block {
			if f.Says.ZH == "" || f.Says.EN == "" {
				t.Errorf("%s says nothing in a language: %+v", id, f.Says)
			}
			return
		}
	}
	t.Errorf("check %s does not block by %s: %+v", id, rule, fs)
}

func (w *world) begin(t testing.TB) *rehearse.Story {
	t.Helper()
	s, err := rehearse.Begin(t.Context(), w.World)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// done carries the upgrade out; nothing may be out of order behind it.
func (w *world) done(t testing.TB) *rehearse.Story {
	t.Helper()
	s := w.begin(t)
	if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	w.stands(t, "2.0.3")
	return s
}

// fails carries the upgrade out and wants it to end with a sentence that holds part.
func (w *world) fails(t testing.TB, part string) *rehearse.Story {
	t.Helper()
	s := w.begin(t)
	out, err := s.Work(t.Context(), "apply", nil)
	if err != nil {
		t.Fatal(err)
	}
	if out.State == run.Upgraded || !strings.Contains(out.Why.EN, part) {
		t.Fatalf("ended %s at %q: %s; want …%s…\n%s", out.State, out.Step, out.Why.EN, part, rehearse.Transcript(s.Log.Records))
	}
	return s
}

// back rolls the run back; the cluster must be what it was.
func (w *world) back(t testing.TB, s *rehearse.Story) {
	t.Helper()
	if err := s.Wants(t.Context(), "rollback", run.RolledBack); err != nil {
		t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
	}
	w.stands(t, "2.0.1")
}

// ran are the commands that changed something, in their order: "node2 gs_ctl stop".
func (w *world) ran() []string {
	var out []string
	for _, r := range w.Sim.Trace() {
		argv := r.Argv
		if len(argv) > 5 && argv[0] == "sh" && argv[2] == host.ProfileScript {
			argv = argv[5:]
		}
		if r.Effect == host.Changes {
			out = append(out, r.Node+" "+strings.Join(argv, " "))
		}
	}
	return out
}

// order wants the first command with each part to come in this order.
func order(t testing.TB, ran []string, parts ...string) {
	t.Helper()
	at := -1
	for _, p := range parts {
		next := -1
		for i := at + 1; i < len(ran); i++ {
			if strings.Contains(ran[i], p) {
				next = i
				break
			}
		}
		if next < 0 {
			t.Fatalf("%q does not come behind command %d of\n%s", p, at, strings.Join(ran, "\n"))
		}
		at = next
	}
}

var (
	om3      = gauss.Options{Nodes: 3, Install: "om"}
	hand2    = gauss.Options{Nodes: 2, Install: "manual"}
	om2      = gauss.Options{Nodes: 2, Install: "om"}
	ha2      = gauss.Options{Nodes: 2, Install: "manual", MogHA: true}
	rollingR = plan.Request{Mode: "rolling"}
	inplaceR = plan.Request{Mode: "inplace"}
)

// rule is one of M01 to M30: how the driver keeps it, and what happens to who breaks it.
type rule struct {
	lab    gauss.Options
	r      plan.Request
	keep   func(t *testing.T, w *world)
	broken func(t *testing.T, w *world)
}

func upgraded(t *testing.T, w *world) { w.done(t) }

var rules = map[string]rule{
	"M01 only 2.0.1 is carried to 2.0.3": {om2, rollingR, upgraded, func(t *testing.T, _ *world) {
		w := open(t, gauss.Options{Nodes: 1, Install: "manual", Release: "2.1.0"}, inplaceR, nil)
		w.blocks(t, "release", "M01")
		w.gsCtl(t, "node1", "stop")
		w.handSwap(t, "node1", "2.0.3", "bin", "lib")
		w.gsCtl(t, "node1", "start")
		w.meets(t, "OG-OLDBIN")
	}},
	"M02 the cluster is healthy before": {om3, rollingR, upgraded, func(t *testing.T, w *world) {
		w.gsCtl(t, "node3", "stop")
		w.blocks(t, "healthy", "M02")
		w.gsCtl(t, "node2", "stop") // the first step of who went on
		w.wait(t, 5*time.Minute)
		w.meets(t, "M11")
	}},
	"M03 MogHA is off on every node before the first stop": {ha2, rollingR, func(t *testing.T, w *world) {
		w.done(t)
		order(t, w.ran(), "node1 sudo -n systemctl stop mogha", "node2 sudo -n systemctl stop mogha", "gs_ctl stop", "gs_ctl switchover", "gs_ctl stop", "gs_ctl start", "node1 sudo -n systemctl start mogha", "node2 sudo -n systemctl start mogha")
	}, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.wait(t, 30*time.Second)
		w.meets(t, "M03 node2: the database was stopped while MogHA is active")
		w.meets(t, "M03 node2: MogHA started dn_6002 again")
	}},
	"M03 processes of MogHA that outlive their unit are ended": {ha2, inplaceR, func(t *testing.T, w *world) {
		w.lab.MogHA("node1", true, true)
		w.done(t)
		if !has(w.ran(), "node1 sudo -n kill -TERM") {
			t.Error("the processes were not ended")
		}
	}, func(t *testing.T, w *world) {
		w.lab.MogHA("node1", true, true)
		w.hand(t, "node1", "sudo", "systemctl", "stop", "mogha")
		w.gsCtl(t, "node1", "stop")
		w.meets(t, "M03 node1")
	}},
	"M04 nobody else starts the database": {om2, rollingR, upgraded, func(t *testing.T, _ *world) {
		w := open(t, gauss.Options{Nodes: 3, Install: "om", CM: true}, rollingR, nil)
		w.blocks(t, "supervisors", "M04")
		w.gsCtl(t, "node2", "stop")
		w.wait(t, time.Minute)
		if n := w.lab.Nodes()[1]; n.Role == "" {
			t.Error("the cluster manager did not start the database again")
		}
	}},
	"M05 the server is down before its bin and lib move": {hand2, inplaceR, func(t *testing.T, w *world) {
		w.done(t)
		order(t, w.ran(), "node2 gs_ctl stop", "node1 gs_ctl stop", "mv -T")
	}, func(t *testing.T, w *world) {
		w.handSwap(t, "node2", "2.0.3", "bin", "lib")
		w.meets(t, "M05 node2")
	}},
	"M06 the names for the old directories are free": {hand2, inplaceR, upgraded, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.handSwap(t, "node2", "2.0.3", "bin", "lib")
		w.gsCtl(t, "node2", "start", "-M", "standby")
		w.gsCtl(t, "node2", "stop")
		w.handSwap(t, "node2", "2.0.3", "bin")
		if !w.Sim.Machine("node2").IsDir(w.app("node2") + "/bin_201/bin") {
			t.Error("the second run did not move the new bin into bin_201")
		}
		w = open(t, hand2, inplaceR, func(w *world) {
			w.Sim.With(func() { w.Sim.Machine("node2").Mkdir(w.app("node2")+"/lib_201", 0o755, "omm") })
		})
		w.blocks(t, "backup-names", "M06")
		w.fails(t, "M06")
	}},
	"M07 what gs_om needs is carried": {om2, rollingR, func(t *testing.T, w *world) {
		w.done(t)
		if out := w.hand(t, "node1", "cat", w.app("node1")+"/bin/upgrade_version").Stdout; !strings.Contains(out, "92.299") {
			t.Errorf("upgrade_version is %q", out)
		}
	}, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.handSwap(t, "node2", "2.0.3", "bin", "lib")
		if a := w.hand(t, "node2", "gs_om", "-t", "status"); a.Code == 0 || !strings.Contains(a.Both(), "GAUSS-50201") {
			t.Errorf("gs_om said %d %q", a.Code, a.Both())
		}
		w.gsCtl(t, "node2", "start", "-M", "standby")
		w.meets(t, "bin/cluster_static_config was not carried")
		w.blocks(t, "recorded-release", "M07")
	}},
	"M08 everything else that only the old directories hold is carried": {hand2, inplaceR, func(t *testing.T, w *world) {
		m := w.Sim.Machine("node1")
		own := map[string]bool{ // file to whether it is carried
			"lib/postgresql/postgis-2.4.so": true, "lib/libsimsearch/model/x.bin": true, "bin/gs_tde_keys.cipher": true, "lib/postgresql/java/udf.jar": true,
			"bin/old_tool": false, "lib/libpq.so.5.4": false,
		}
		w.Sim.With(func() {
			for f := range own {
				mode := uint32(0o600)
				if f == "bin/old_tool" {
					mode = 0o700
				}
				m.Write(w.app("node1")+"/"+f, "the site's own\n", mode, "omm")
			}
		})
		if fs := w.findings(t); !has(says(fs), "bin/old_tool, lib/libpq.so.5.4") {
			t.Errorf("what stays behind is not told: %q", says(fs))
		}
		w.done(t)
		for f, carried := range own {
			if got := m.Exists(w.app("node1") + "/" + f); got != carried {
				t.Errorf("%s is there: %t, want %t", f, got, carried)
			}
		}
	}, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.handSwap(t, "node2", "2.0.3", "bin", "lib")
		w.gsCtl(t, "node2", "start", "-M", "standby")
		w.meets(t, "lib/postgresql/pg_plugin/lab_udf.so was not carried")
		w.meets(t, "bin/usermapping.key.cipher was not carried")
	}},
	"M09 owner and rights are those of the installation": {hand2, inplaceR, func(t *testing.T, w *world) {
		w.done(t)
		if out := w.hand(t, "node1", "find", w.app("node1")+"/bin", w.app("node1")+"/lib", "!", "-user", "omm").Stdout; out != "" {
			t.Errorf("not omm's: %s", out)
		}
	}, func(t *testing.T, w *world) {
		w.hand(t, "node2", "sudo", "chown", "root", w.app("node2")+"/bin/server.key.cipher")
		w.blocks(t, "owner", "M09")
		w.meets(t, "owner root")
		w.gsCtl(t, "node1", "stop")
		w.hand(t, "node1", "chmod", "0644", w.app("node1")+"/bin/gs_ctl")
		if a := w.gsCtl(t, "node1", "start", "-M", "primary"); a.Code != 126 && a.Code != 127 {
			t.Errorf("gs_ctl without x ran: %d %q", a.Code, a.Both())
		}
	}},
	"M10 all standbys are new before the switchover": {om3, rollingR, func(t *testing.T, w *world) {
		w.done(t)
		order(t, w.ran(), "node2 gs_ctl start", "node3 gs_ctl start", "node2 gs_ctl switchover", "node1 gs_ctl stop")
	}, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.handSwap(t, "node2", "2.0.3", "bin", "lib")
		w.gsCtl(t, "node2", "start", "-M", "standby")
		w.wait(t, 10*time.Second)
		w.gsCtl(t, "node2", "switchover")
		w.meets(t, "M10 node3")
	}},
	"M11 one standby at a time, and commits do not wait for it": {om3, rollingR, upgraded, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.gsCtl(t, "node3", "stop")
		w.wait(t, 5*time.Minute)
		w.meets(t, "M11")
		w = open(t, gauss.Options{Nodes: 2, Install: "om", Unavailable: true, Load: true}, rollingR, nil)
		w.blocks(t, "sync", "M11")
		w.gsCtl(t, "node2", "stop")
		w.wait(t, time.Minute)
		if b := w.lab.Truth().Blocked; b < 30*time.Second {
			t.Errorf("commits were blocked for %s only", b)
		}
	}},
	"M12 every server is started in its role": {hand2, inplaceR, func(t *testing.T, w *world) {
		w.done(t)
		order(t, w.ran(), "node1 gs_ctl start -D /opt/mogdb/data -M primary", "node2 gs_ctl start -D /opt/mogdb/data -M standby")
	}, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.gsCtl(t, "node2", "start")
		w.meets(t, "M12 node2")
	}},
	"M13 a switchover waits until the standby has caught up": {gauss.Options{Nodes: 2, Install: "om", Load: true}, rollingR, func(t *testing.T, w *world) {
		w.lab.Lag("node2", 4*time.Minute)
		w.done(t)
	}, func(t *testing.T, w *world) {
		w.lab.Lag("node2", 4*time.Minute)
		w.gsCtl(t, "node2", "stop")
		w.gsCtl(t, "node2", "start", "-M", "standby")
		w.wait(t, 5*time.Second)
		if a := w.gsCtl(t, "node2", "switchover"); a.Code != 0 || !strings.Contains(a.Both(), "timeout") || w.lab.Primary() != "node1" {
			t.Errorf("the early switchover said %d %q, the primary is %s", a.Code, a.Both(), w.lab.Primary())
		}
	}},
	"M14 a switchover is believed when both nodes say so": {om2, rollingR, upgraded, func(t *testing.T, w *world) {
		if a := w.gsCtl(t, "node1", "switchover"); a.Code != 0 || !strings.Contains(a.Both(), "switchover completed") || w.lab.Primary() != "node1" {
			t.Errorf("on the primary it said %d %q", a.Code, a.Both())
		}
		w.lab.SwitchFault("lockHeld", 0)
		s := w.fails(t, "M14")
		w.back(t, s)
	}},
	"M15 gs_om learns of every switchover": {om3, rollingR, func(t *testing.T, w *world) {
		s := w.done(t)
		order(t, w.ran(), "node2 gs_ctl switchover", "node2 gs_om -t refreshconf", "node1 gs_ctl stop")
		w.back(t, s)
		order(t, w.ran(), "node2 gs_ctl switchover", "node1 gs_ctl switchover", "node1 gs_om -t refreshconf")
	}, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "switchover")
		w.meets(t, "gs_om does not know that it is the primary (refreshconf)")
	}},
	"M16 the roles that gs_om keeps in bin survive the last swap": {om2, rollingR, func(t *testing.T, w *world) {
		w.done(t)
		for _, n := range []string{"node1", "node2"} {
			if !w.Sim.Machine(n).Exists(w.app(n) + "/bin/cluster_dynamic_config") {
				t.Errorf("%s has none", n)
			}
		}
	}, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "switchover")
		w.hand(t, "node2", "gs_om", "-t", "refreshconf")
		for _, n := range []string{"node1", "node2"} {
			w.gsCtl(t, n, "stop")
			w.handSwap(t, n, "2.0.3", "bin", "lib")
			w.carryOM(t, n)
		}
		w.gsCtl(t, "node2", "start", "-M", "primary")
		w.gsCtl(t, "node1", "start", "-M", "standby")
		w.meets(t, "gs_om does not know that it is the primary (refreshconf)")
	}},
	"M17 in place, roles are those that were observed and not those of a file": {gauss.Options{Nodes: 2, Install: "om"}, inplaceR, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "switchover") // nobody told gs_om
		w.wait(t, 10*time.Second)
		w.done(t)
		if w.lab.Primary() != "node2" {
			t.Errorf("the primary is %s", w.lab.Primary())
		}
	}, func(t *testing.T, _ *world) {
		w := open(t, gauss.Options{Nodes: 2, Install: "om", Load: true}, inplaceR, nil)
		w.gsCtl(t, "node2", "switchover")
		w.wait(t, 10*time.Second)
		w.gsCtl(t, "node1", "stop")
		w.wait(t, 10*time.Second)
		w.gsCtl(t, "node2", "stop")
		w.hand(t, "node1", "gs_om", "-t", "start")
		w.meets(t, "M17 node1")
		if w.lab.Truth().Lost == 0 {
			t.Error("no acknowledged write was lost")
		}
	}},
	"M18 the primary stops last and starts first": {om3, inplaceR, func(t *testing.T, w *world) {
		w.done(t)
		order(t, w.ran(), "node2 gs_ctl stop", "node3 gs_ctl stop", "node1 gs_ctl stop", "node1 gs_ctl start", "node2 gs_ctl start", "node3 gs_ctl start")
	}, func(t *testing.T, w *world) {
		for _, n := range []string{"node1", "node2", "node3"} {
			w.gsCtl(t, n, "stop")
		}
		w.gsCtl(t, "node2", "start", "-M", "standby")
		w.wait(t, 10*time.Second)
		w.meets(t, "dn_6002: Need repair")
	}},
	"M19 MogHA is on again only when all nodes are healthy": {ha2, inplaceR, func(t *testing.T, w *world) {
		s := w.done(t)
		order(t, w.ran(), "node2 gs_ctl start", "node1 sudo -n systemctl start mogha")
		w.back(t, s)
	}, func(t *testing.T, w *world) {
		for _, n := range []string{"node1", "node2"} {
			w.hand(t, n, "sudo", "systemctl", "stop", "mogha")
		}
		w.gsCtl(t, "node2", "stop")
		w.hand(t, "node1", "sudo", "systemctl", "start", "mogha")
		w.meets(t, "M19 node1")
	}},
	"M20 the memory of the walsenders is watched": {gauss.Options{Nodes: 2, Install: "manual", Archive: true, Load: true}, rollingR, func(t *testing.T, w *world) {
		s := w.done(t)
		verdict(t, w, s.Plan, check.Pass, "flat: the walsender of 2.0.3")
	}, func(t *testing.T, w *world) {
		verdict(t, w, nil, check.Block, "growing: the walsender of 2.0.1")
	}},
	"M21 there are never two primaries": {om2, inplaceR, func(t *testing.T, w *world) {
		w.done(t)
		if d := w.lab.Truth().TwoPrimaries; d != 0 {
			t.Errorf("two primaries for %s", d)
		}
	}, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.gsCtl(t, "node2", "start", "-M", "primary")
		w.wait(t, 5*time.Second)
		w.meets(t, "M21 node2")
		w.blocks(t, "healthy", "M21")
		w = open(t, om2, rollingR, func(w *world) { w.lab.SwitchFault("dualPrimary", 0) })
		w.fails(t, "M21")
	}},
	"M22 a standby's copy is thrown away by nobody but a person": {om2, rollingR, func(t *testing.T, w *world) {
		w.done(t)
		if has(w.ran(), "gs_ctl build") {
			t.Error("the driver built a standby")
		}
	}, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.gsCtl(t, "node2", "start", "-M", "primary")
		w.hand(t, "node2", "gsql", "-p", "26000", "-d", "postgres", "-c", "create table only_here(a int)")
		w.gsCtl(t, "node2", "stop")
		w.gsCtl(t, "node2", "start", "-M", "standby")
		w.wait(t, 10*time.Second)
		fs := w.findings(t)
		if !has(says(fs), "Need repair") || !has(nexts(fs), "M22") {
			t.Errorf("the checks say %q, next %q", says(fs), nexts(fs))
		}
		if has(w.ran(), "gs_ctl build") {
			t.Error("the driver built a standby")
		}
	}},
	"M23 the old directories are the way back": {om2, rollingR, func(t *testing.T, w *world) { w.back(t, w.done(t)) }, func(t *testing.T, w *world) {
		s := w.done(t)
		for _, part := range []string{"bin_201", "lib_201"} {
			w.hand(t, "node1", "rm", "-rf", w.app("node1")+"/"+part)
		}
		out, err := s.Work(t.Context(), "rollback", nil)
		if err != nil {
			t.Fatal(err)
		}
		if out.State == run.RolledBack {
			t.Error("the way back is said to be done without the old software")
		}
	}},
	"M24 what a start depends on is the same on all nodes and stays so": {om2, rollingR, upgraded, func(t *testing.T, w *world) {
		conf := w.lab.Options.Data() + "/postgresql.conf"
		body, _ := w.Sim.Machine("node2").Read(conf)
		w.Sim.With(func() {
			w.Sim.Machine("node2").Write(conf, strings.ReplaceAll(body, "max_connections = 200", "max_connections = 100"), 0o600, "omm")
		})
		w.gsCtl(t, "node2", "stop")
		if a := w.gsCtl(t, "node2", "start", "-M", "standby"); a.Code == 0 || !strings.Contains(a.Both(), "max_connections") {
			t.Errorf("it started: %d %q", a.Code, a.Both())
		}
	}},
	"M25 all nodes get the same package": {om2, inplaceR, upgraded, func(t *testing.T, w *world) {
		spoil(t, w, "node2/swap", "node2", "bin/gs_dump")
		w.fails(t, "M25")
	}},
	"M26 bin and lib are whole and of one release": {hand2, inplaceR, upgraded, func(t *testing.T, w *world) {
		w.gsCtl(t, "node2", "stop")
		w.handSwap(t, "node2", "2.0.3", "bin")
		if a := w.gsCtl(t, "node2", "start", "-M", "standby"); a.Code != 0 {
			t.Errorf("the half swap was met by gs_ctl: %q", a.Both())
		}
		w.meets(t, "M26 node2")
		w.blocks(t, "release", "M26")
	}},
	"M27 no vendor upgrade is open and its number stays": {om2, rollingR, upgraded, func(t *testing.T, w *world) {
		w.hand(t, "node1", "mkdir", "-p", "/opt/mogdb/tmp/binary_upgrade/x")
		w.blocks(t, "upgrade-open", "M27")
		w.meets(t, "binary_upgrade")
		w = open(t, om2, rollingR, func(w *world) {
			w.Sim.With(func() {
				w.Sim.Machine("node1").Write(w.app("node1")+"/bin/upgrade_version", "2.0.1\n92.300\n0b99ada0\n", 0o600, "omm")
			})
		})
		w.blocks(t, "recorded-release", "M27")
	}},
	"M28 the profile leads to the software that is swapped": {hand2, rollingR, upgraded, func(t *testing.T, w *world) {
		m := w.Sim.Machine("node2")
		w.hand(t, "node2", "cp", "-a", w.app("node2"), "/opt/mogdb/other")
		body, _ := m.Read(w.lab.Options.Profile())
		w.Sim.With(func() {
			m.Write(w.lab.Options.Profile(), body+"export PATH=/opt/mogdb/other/bin:$PATH\nexport LD_LIBRARY_PATH=/opt/mogdb/other/lib\n", 0o644, "omm")
		})
		w.blocks(t, "environment", "M28")
		w.fails(t, "M28") // started from the other copy, the swap is without effect
	}},
	"M29 there is room for both releases": {hand2, rollingR, upgraded, func(t *testing.T, w *world) {
		w.Sim.With(func() { w.Sim.Machine("node2").SetDisk(1<<30, 1<<30-100) })
		w.blocks(t, "space", "M29")
		s := w.begin(t)
		if out, err := s.Work(t.Context(), "apply", nil); err != nil || out.State == run.Upgraded {
			t.Fatalf("a full disk was not met: %v %s", err, out.State)
		}
		w.Sim.With(func() { w.Sim.Machine("node2").SetDisk(100<<30, 30<<30) })
		w.back(t, s)
	}},
	"M30 a walreceiver that restarts again and again fails the step": {hand2, rollingR, upgraded, func(t *testing.T, w *world) {
		w.Env.Hosts["node2"] = &restless{Host: w.Env.Hosts["node2"]}
		w.Env.Inventory.Nodes[1].Settings["start_timeout"] = "30s"
		w.fails(t, "has caught up")
	}},
}

func TestRules(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for name, r := range rules {
		seen[name[:3]] = true
		t.Run(name+"/kept", func(t *testing.T) {
			t.Parallel()
			r.keep(t, open(t, r.lab, r.r, nil))
		})
		t.Run(name+"/broken", func(t *testing.T) {
			t.Parallel()
			r.broken(t, open(t, r.lab, r.r, nil))
		})
	}
	for i := 1; i <= 30; i++ {
		if id := fmt.Sprintf("M%02d", i); !seen[id] {
			t.Errorf("rule %s has no test", id)
		}
	}
}

func says(fs []check.Finding) []string {
	var out []string
	for _, f := range fs {
		out = append(out, f.Node+" "+f.Says.EN)
	}
	return out
}

func nexts(fs []check.Finding) []string {
	var out []string
	for _, f := range fs {
		out = append(out, f.Next.EN)
	}
	return out
}

// figures are what a verdict rests on.
var figures = regexp.MustCompile(`\d+ samples over \S+, usedsize \d+ -> \d+ bytes, slope [+-]\d+ bytes/h, \d+ MB of log`)

// verdict watches the walsenders. The lab's client writes 48 MB an hour.
func verdict(t *testing.T, w *world, p *plan.Plan, want check.Severity, text string) {
	t.Helper()
	w.Env.Inventory.Nodes[0].Settings["watch_wal"] = "20"
	w.Env.Inventory.Nodes[1].Settings["watch_wal"] = "20"
	fs, err := mogdb.New().Watch(t.Context(), w.Env, p, 60*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(fs) != 1 || fs[0].Severity != want || !strings.Contains(fs[0].Says.EN, text) || !figures.MatchString(fs[0].Says.EN) || !figures.MatchString(fs[0].Says.ZH) {
		t.Errorf("got %+v, want %s …%s…", fs, want, text)
	}
}

// spoil changes a file of a node's package right behind a step, as a damaged
// disk would.
func spoil(t *testing.T, w *world, _, node, file string) {
	t.Helper()
	h := w.Env.Hosts[node]
	w.Env.Hosts[node] = &spoiling{Host: h, after: "mv -T", do: func() {
		m := w.Sim.Machine(node)
		name := w.app(node) + "/shiplift-2.0.3/package/" + file
		if m.Exists(name) {
			w.Sim.With(func() { m.Write(name, "another build\n", 0o755, "omm") })
		}
		name = w.app(node) + "/" + file
		if m.Exists(w.app(node)+"/lib_201") && m.Exists(name) {
			w.Sim.With(func() { m.Write(name, "another build\n", 0o755, "omm") })
		}
	}}
}

type spoiling struct {
	host.Host
	after string
	do    func()
}

func (s *spoiling) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	res, err := s.Host.Run(ctx, c)
	line := strings.Join(c.Argv, " ")
	if strings.HasPrefix(line, s.after) && strings.HasSuffix(line, "/lib") {
		s.do()
	}
	return res, err
}

// restless is a standby whose walreceiver is another process each time.
type restless struct {
	host.Host
	n int
}

var receiverPID = regexp.MustCompile(`(receiver_pid\s+: )\d+`)

func (r *restless) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	res, err := r.Host.Run(ctx, c)
	r.n++
	res.Stdout = receiverPID.ReplaceAll(res.Stdout, fmt.Appendf(nil, "${1}%d", 1000+r.n))
	return res, err
}
