package opengauss_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
)

// found asks all checks of a world.
func found(t *testing.T, w rehearse.World) []check.Finding {
	t.Helper()
	o, err := w.Driver.Observe(t.Context(), w.Env)
	if err != nil {
		t.Fatal(err)
	}
	fs := check.Run(t.Context(), w.Driver.Checks(w.Env, o, w.Request), nil)
	for _, f := range fs {
		if f.ID == "" || f.Says.EN == "" || f.Says.ZH == "" {
			t.Errorf("a finding without a sentence in both languages: %+v", f)
		}
		if f.Severity == check.Block && f.Next.EN == "" {
			t.Errorf("%s blocks and says not what to do: %s", f.ID, f.Says.EN)
		}
	}
	return fs
}

func tell(fs []check.Finding) string {
	var b strings.Builder
	for _, f := range fs {
		if f.Severity != check.Pass {
			b.WriteString(string(f.Severity) + " " + f.ID + " " + f.Node + ": " + f.Says.EN + " | " + f.Evidence + "\n")
		}
	}
	return b.String()
}

func TestAHealthyClusterIsNotBlocked(t *testing.T) {
	t.Parallel()
	for name, o := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := o.open(t)
			w := open(t)
			fs := found(t, w)
			if bad := check.Blocking(fs); len(bad) > 0 {
				t.Errorf("blocked:\n%s", tell(bad))
			}
			if len(fs) < 30 && !o.cm || len(fs) < 10 {
				t.Errorf("only %d findings", len(fs))
			}
			if c := w.Sim.Complaints(); len(c) > 0 {
				t.Errorf("the simulator complains: %s", strings.Join(c, "; "))
			}
		})
	}
}

// TestWhatBlocks breaks one thing at a time: the check of that id blocks, with
// the vendor's code where there is one.
func TestWhatBlocks(t *testing.T) {
	t.Parallel()
	const app, data, tools, tmp = "/opt/huawei/install/app", "/opt/huawei/install/data/dn", "/opt/huawei/install/om", "/opt/huawei/tmp"
	write := func(node, name, body string) func(*sim.World, *plan.Request) {
		return func(w *sim.World, _ *plan.Request) {
			w.With(func() { w.Machine(node).Write(name, body, 0o600, "omm") })
		}
	}
	edit := func(node, name, old, repl string) func(*sim.World, *plan.Request) {
		return func(w *sim.World, _ *plan.Request) {
			w.With(func() {
				b, _ := w.Machine(node).Read(name)
				w.Machine(node).Write(name, strings.Replace(b, old, repl, 1), 0o600, "omm")
			})
		}
	}
	tests := map[string]struct {
		id, rule string
		o        opt
		breaks   func(*sim.World, *plan.Request)
	}{
		"a node that does not answer": {"nodes", "GAUSS-51100", opt{}, func(w *sim.World, _ *plan.Request) {
			w.Inject(sim.Fault{Kind: sim.NodeDown, Node: "node2", Command: 1})
		}},
		"a variable that is missing":       {"nodes", "GAUSS-51800", opt{}, edit("node2", "/home/omm/.bashrc", "export PGHOST", "#export PGHOST")},
		"another port in the cluster file": {"deployment", "GAUSS-51217", opt{}, edit("node1", "/opt/huawei/clusterconfig.xml", "26000", "26100")},
		"a cluster file that is not there": {"deployment", "GAUSS-50201", opt{}, func(w *sim.World, _ *plan.Request) {
			w.With(func() {
				for _, m := range w.Machines() {
					m.Remove("/opt/huawei/clusterconfig.xml")
				}
			})
		}},
		"a damaged upgrade_version": {"installation", "GAUSS-50222", opt{}, write("node2", app+"/bin/upgrade_version", "5.0.0\n")},
		"no static configuration": {"installation", "GAUSS-50201", opt{}, func(w *sim.World, _ *plan.Request) {
			w.With(func() { m := w.Machine("node3"); m.Remove(m.Real(app) + "/bin/cluster_static_config") })
		}},
		"an edited version.cfg":                {"version-cfg", "GAUSS-50222", opt{}, write("node1", tools+"/version.cfg", "openGauss-5.0.0\n92.299\na07d57c3\n")},
		"no package":                           {"package", "GAUSS-50001", opt{}, func(_ *sim.World, r *plan.Request) { r.Packages = nil }},
		"the same release":                     {"strategy", "GAUSS-52901", opt{to: "5.0.0"}, nil},
		"an older release":                     {"strategy", "GAUSS-52902", opt{to: "3.0.0"}, nil},
		"a release that is not in the package": {"strategy", "GAUSS-52935", opt{}, func(_ *sim.World, r *plan.Request) { r.To = "5.0.5" }},
		"a way that is not guaranteed":         {"strategy", "OG-004", opt{Options: gauss.Options{Release: "3.1.0"}}, nil},
		"an upgrade of another tool":           {"open-upgrade", "GAUSS-52936", opt{}, write("node2", tmp+"/binary_upgrade/record_app_directory", "x\n")},
		"an in-place upgrade that is open":     {"open-upgrade", "GAUSS-50200", opt{}, write("node2", tmp+"/binary_upgrade/inplace_upgrade_flag", "x\n")},
		"a rolling upgrade that is open":       {"open-upgrade", "GAUSS-50200", opt{mode: "inplace"}, write("node2", tmp+"/binary_upgrade/upgrade_step.csv", "x\n")},
		"something in the new directory":       {"new-directory", "GAUSS-50233", opt{}, write("node3", app+"_89d144c2/x", "x\n")},
		"a changed frozen setting":             {"frozen-settings", "", opt{}, edit("node2", data+"/postgresql.conf", "max_connections = 200", "max_connections = 300")},
		"a read-only database":                 {"read-only", "GAUSS-52907", opt{}, nil},
		"stream replication off":               {"stream-replication", "GAUSS-52102", opt{}, nil},
		"a thread pool with a wrong port":      {"thread-pool", "", opt{}, edit("node2", data+"/postgresql.conf", "localport=26001", "localport=26007")},
		"a standby that was killed":            {"cluster-state", "GAUSS-51601", opt{}, nil},
		"no primary":                           {"one-primary", "GAUSS-51624", opt{}, nil},
		"a paused cluster manager":             {"cm-paused", "", opt{Options: gauss.Options{CM: true}}, nil},
		"kerberos":                             {"kerberos", "GAUSS-50200", opt{}, write("node1", "/home/omm/FI_KRB_XML", "")},
		"a dual cluster":                       {"dual-cluster", "", opt{}, write("node1", tmp+"/upgrade_phase_info", "1\n")},
		"a full disk":                          {"disk-use", "GAUSS-50400", opt{}, func(w *sim.World, _ *plan.Request) { w.With(func() { w.Machine("node2").SetDisk(100<<30, 81<<30) }) }},
		"no room": {"room", "GAUSS-50400", opt{}, func(w *sim.World, _ *plan.Request) {
			w.With(func() { w.Machine("node2").SetDisk(100<<30, 100<<30-(50<<20)) })
		}},
		"a huge application directory": {"app-size", "GAUSS-50401", opt{}, func(w *sim.World, _ *plan.Request) {
			w.With(func() { m := w.Machine("node1"); m.WriteSized(m.Real(app)+"/core.1", "core", 3<<30, 0o600, "omm") })
		}},
		"a virtual IP":                       {"virtual-ip", "", opt{}, edit("node1", "/opt/huawei/clusterconfig.xml", `<PARAM name="azPriority"`, `<PARAM name="floatIp1" value="10.0.0.9"/><PARAM name="azPriority"`)},
		"a node added with an older CM":      {"cm-versions", "", opt{Options: gauss.Options{CM: true}}, edit("node3", app+"/bin/cm_ctl", "5.0.0 a07d57c3 92848", "3.1.1 0123abcd 92841")},
		"a standby that cannot keep up":      {"caught-up", "GAUSS-51601", opt{Options: gauss.Options{Load: true}}, nil},
		"a running expansion":                {"expansion", "GAUSS-52936", opt{}, func(w *sim.World, _ *plan.Request) { spawn(w, "node1", "gs_expansion") }},
		"nodes being dropped":                {"expansion", "GAUSS-52936", opt{}, func(w *sim.World, _ *plan.Request) { spawn(w, "node2", "gs_dropnode") }},
		"an expansion, CM alone":             {"expansion", "GAUSS-52936", opt{Options: gauss.Options{CM: true}, cm: true}, func(w *sim.World, _ *plan.Request) { spawn(w, "node1", "gs_expansion") }},
		"a CM package that others may write": {"cm-package", "GAUSS-50205", opt{Options: gauss.Options{CM: true}, cm: true}, nil},
		"a CM package with a wrong sum":      {"cm-package", "GAUSS-51635", opt{Options: gauss.Options{CM: true}, cm: true}, nil},
		"a CM package without its sum":       {"cm-package", "GAUSS-50201", opt{Options: gauss.Options{CM: true}, cm: true}, nil},
		"a CM package that is cut":           {"cm-package", "GAUSS-50222", opt{Options: gauss.Options{CM: true}, cm: true}, nil},
		"a CM upgrade while another is open": {"open-upgrade", "GAUSS-52936", opt{Options: gauss.Options{CM: true}, cm: true}, write("node2", tmp+"/binary_upgrade/record_app_directory", "x\n")},
		"a CM upgrade of a degraded cluster": {"cluster-state", "GAUSS-51601", opt{Options: gauss.Options{CM: true}, cm: true}, nil},
		"MOT tables in 2.0":                  {"mot", "", opt{Options: gauss.Options{Release: "2.0.0"}}, nil},
		"MOT tables over 93.039":             {"mot", "", opt{Options: gauss.Options{Release: "6.0.0"}, to: "7.0.0-RC1", req: func(r *plan.Request) { r.Options = map[string]string{"path": "unguaranteed"} }}, nil},
		"an OS that is not fit":              {"os-check", "", opt{Options: gauss.Options{Release: "6.0.0"}, to: "6.0.1"}, write("node2", "/etc/lab_checkos", "A12 Abnormal\n")},
		"a tablespace without the right to write": {"data-directory", "GAUSS-50205", opt{}, func(w *sim.World, _ *plan.Request) {
			w.With(func() {
				w.Machine("node2").Mkdir("/space", 0o755, "root")
				w.Machine("node2").Mkdir(data+"/pg_tblspc", 0o700, "omm")
				w.Machine("node2").Symlink("/space", data+"/pg_tblspc/16400")
			})
		}},
		"a backup that is asked for": {"backup", "", opt{}, func(_ *sim.World, r *plan.Request) { r.MaxBackupAge = plan.Duration(time.Hour) }},
	}
	special := map[string]func(t *testing.T, l *gauss.Lab, w *sim.World){
		"a read-only database": setGUC("node1", data, "default_transaction_read_only=on"),
		"a standby that cannot keep up": func(_ *testing.T, l *gauss.Lab, w *sim.World) {
			l.Lag("node3", time.Hour)
			l.Kill("node3")
			_ = l.Mend()
		},
		"a CM upgrade of a degraded cluster": func(t *testing.T, l *gauss.Lab, w *sim.World) {
			runTool("node3", "cm_ctl", "stop", "-n", "3", "-D", data)(t, l, w)
		},
		"MOT tables in 2.0":         func(_ *testing.T, l *gauss.Lab, _ *sim.World) { l.Holds(2, 0) },
		"MOT tables over 93.039":    func(_ *testing.T, l *gauss.Lab, _ *sim.World) { l.Holds(2, 0) },
		"stream replication off":    setGUC("node2", data, "enable_stream_replication=off"),
		"a standby that was killed": func(_ *testing.T, l *gauss.Lab, _ *sim.World) { l.Kill("node3") },
		"no primary":                func(_ *testing.T, l *gauss.Lab, _ *sim.World) { l.Kill("node1") },
		"a paused cluster manager":  runTool("node1", "cm_ctl", "pause"),
		"a thread pool with a wrong port": func(t *testing.T, l *gauss.Lab, w *sim.World) {
			runTool("node2", "gs_guc", "set", "-D", data, "-c", "enable_thread_pool=on")(t, l, w)
			runTool("node2", "gs_ctl", "restart", "-D", data, "-M", "standby")(t, l, w)
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := tc.o
			if o.to == "" {
				o.to = "5.0.3"
			}
			open, lab := o.open(t)
			w := open(t)
			if tc.breaks != nil {
				tc.breaks(w.Sim, &w.Request)
			}
			if breakCM[name] != nil {
				w.Request.Packages = brokenCM(t, w.Request.Packages[0], breakCM[name])
			}
			if f := special[name]; f != nil {
				f(t, lab.Of(w.Sim), w.Sim)
			}
			fs := found(t, w)
			if !slices.ContainsFunc(check.Blocking(fs), func(f check.Finding) bool { return f.ID == tc.id && (tc.rule == "" || f.Rule == tc.rule) }) {
				t.Errorf("%s (%s) does not block:\n%s", tc.id, tc.rule, tell(fs))
			}
			if _, err := rehearse.Begin(t.Context(), w); err == nil && slices.Contains([]string{"package", "strategy", "open-upgrade", "one-primary", "nodes"}, tc.id) {
				t.Error("and yet a plan was made")
			}
		})
	}
}

// breakCM are packages of the cluster manager that are not what they should be.
var breakCM = map[string]func(t *testing.T, pkg, sum string) error{
	"a CM package that others may write": func(_ *testing.T, pkg, _ string) error { return os.Chmod(pkg, 0o666) },
	"a CM package with a wrong sum": func(_ *testing.T, _, sum string) error {
		return os.WriteFile(sum, []byte(strings.Repeat("0", 64)+"\n"), 0o600)
	},
	"a CM package without its sum": func(_ *testing.T, _, sum string) error { return os.Remove(sum) },
	"a CM package that is cut":     func(_ *testing.T, pkg, _ string) error { return os.Truncate(pkg, 200) },
}

func brokenCM(t *testing.T, pkg string, harm func(t *testing.T, pkg, sum string) error) []string {
	t.Helper()
	dir := t.TempDir()
	sum := strings.TrimSuffix(pkg, ".tar.gz") + ".sha256"
	for _, f := range []string{pkg, sum} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := filepath.Join(dir, filepath.Base(pkg))
	if err := harm(t, at, filepath.Join(dir, filepath.Base(sum))); err != nil {
		t.Fatal(err)
	}
	return []string{at}
}

// TestWhatWarns are answers that a DBA must see and that stop nothing.
func TestWhatWarns(t *testing.T) {
	t.Parallel()
	const data = "/opt/huawei/install/data/dn"
	for name, tc := range map[string]struct {
		id string
		o  opt
		do func(*testing.T, *gauss.Lab, *sim.World)
	}{
		"functions in Java":   {"java", opt{}, func(_ *testing.T, l *gauss.Lab, _ *sim.World) { l.Holds(0, 3) }},
		"snapshots are taken": {"snapshots", opt{}, setGUC("node1", data, "enable_wdr_snapshot=on")},
		"the system is warned of": {"os-check", opt{Options: gauss.Options{Release: "6.0.0"}, to: "6.0.1"}, func(_ *testing.T, _ *gauss.Lab, w *sim.World) {
			w.With(func() { w.Machine("node1").Write("/etc/lab_checkos", "A12 Warning\n", 0o644, "root") })
		}},
		"nobody names a backup": {"backup", opt{}, nil},
		"CM of one node, CM alone": {"cm-versions", opt{Options: gauss.Options{CM: true}, cm: true}, func(_ *testing.T, _ *gauss.Lab, w *sim.World) {
			w.With(func() {
				m := w.Machine("node3")
				at := m.Real("/opt/huawei/install/app") + "/bin/cm_ctl"
				b, _ := m.Read(at)
				m.Write(at, strings.Replace(b, "5.0.0 a07d57c3 92848", "3.1.1 0123abcd 92841", 1), 0o755, "omm")
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := tc.o
			if o.to == "" {
				o.to = "5.0.3"
			}
			open, lab := o.open(t)
			w := open(t)
			if tc.do != nil {
				tc.do(t, lab.Of(w.Sim), w.Sim)
			}
			fs := found(t, w)
			if !slices.ContainsFunc(fs, func(f check.Finding) bool { return f.ID == tc.id && f.Severity == check.Warn }) || len(check.Blocking(fs)) > 0 {
				t.Errorf("%s:\n%s", tc.id, tell(fs))
			}
		})
	}
}

// spawn lets a tool of the vendor's run.
func spawn(w *sim.World, node, tool string) {
	w.With(func() {
		w.Machine(node).Spawn(sim.Proc{Exe: "/usr/bin/sleep", Argv: []string{"python3", "/opt/huawei/install/om/script/" + tool}, User: "omm"})
	})
}

func runTool(node string, argv ...string) func(*testing.T, *gauss.Lab, *sim.World) {
	return func(t *testing.T, l *gauss.Lab, _ *sim.World) {
		t.Helper()
		cmd := sourced(l, argv...)
		if _, err := l.Hosts()[node].Run(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
}

func setGUC(node, data, value string) func(*testing.T, *gauss.Lab, *sim.World) {
	return func(t *testing.T, l *gauss.Lab, w *sim.World) {
		t.Helper()
		runTool(node, "gs_guc", "reload", "-D", data, "-c", value)(t, l, w)
	}
}

// TestBadPackages are refused with the vendor's code before anything is asked.
func TestBadPackages(t *testing.T) {
	t.Parallel()
	p, err := gauss.PackageOf(gauss.OpenGauss, "5.0.3")
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.TrimSuffix(p.Server(), ".tar.bz2") + ".sha256"
	tests := map[string]struct {
		change func(files map[string][]byte)
		code   string
	}{
		"a whole package":              {func(map[string][]byte) {}, ""},
		"a wrong checksum":             {func(f map[string][]byte) { f[sum] = []byte(strings.Repeat("0", 64) + "\n") }, "GAUSS-51635"},
		"two lines in a checksum file": {func(f map[string][]byte) { f[sum] = append(f[sum], f[sum]...) }, "GAUSS-50204"},
		"no checksum file":             {func(f map[string][]byte) { delete(f, sum) }, "GAUSS-50201"},
		"a damaged SQL archive":        {func(f map[string][]byte) { f["upgrade_sql.tar.gz"] = f["upgrade_sql.tar.gz"][:100] }, "GAUSS-50222"},
		"a wrong checksum of the SQL":  {func(f map[string][]byte) { f["upgrade_sql.sha256"] = []byte(strings.Repeat("1", 64)) }, "GAUSS-51635"},
		"a cut server archive":         {func(f map[string][]byte) { f[p.Server()] = f[p.Server()][:len(f[p.Server()])/2] }, "GAUSS-5"},
		"something that is no archive": {func(f map[string][]byte) { f[p.Server()] = []byte("hello") }, "GAUSS-50222"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := map[string][]byte{}
			for n, b := range p.Files {
				if n != p.Name {
					files[n] = slices.Clone(b)
				}
			}
			tc.change(files)
			for n, b := range files {
				if err := os.WriteFile(filepath.Join(dir, n), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o := opt{to: "5.0.3", req: func(r *plan.Request) { r.Packages = []string{filepath.Join(dir, p.Server())} }}
			open, _ := o.open(t)
			w := open(t)
			fs := check.Blocking(found(t, w))
			_, err := rehearse.Begin(t.Context(), w)
			if tc.code == "" {
				if len(fs) > 0 || err != nil {
					t.Errorf("%s, %v", tell(fs), err)
				}
				return
			}
			if !slices.ContainsFunc(fs, func(f check.Finding) bool { return f.ID == "package" && strings.HasPrefix(f.Rule, tc.code) }) {
				t.Errorf("want %s:\n%s", tc.code, tell(fs))
			}
			if err == nil {
				t.Error("a plan was made of a bad package")
			}
		})
	}
}
