package simlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/cluster/damengini"
	"github.com/shiplift/shiplift/internal/cluster/ogxml"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// serveDir names the variable that makes the test binary a lab's daemon.
const serveDir = "SIMLAB_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveDir) != "" {
		if err := Serve(context.Background(), os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func start(t *testing.T, product string, args Args) *Lab {
	t.Helper()
	l, err := Start(Options{Product: product, Dir: filepath.Join(t.TempDir(), "lab"), Args: args, Speed: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(l.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", l.Dir, err)
		}
	})
	return l
}

// up makes a lab whose daemon is this test binary.
func up(t *testing.T, product string) *Lab {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Up(t.Context(), Options{
		Product: product, Dir: filepath.Join(t.TempDir(), "lab"), Speed: 100,
		Serve: []string{self}, Env: []string{serveDir + "=1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Down(context.Background(), l.Dir); err != nil {
			t.Error(err)
		}
	})
	return l
}

// connect reaches a lab's nodes as the tool does.
func connect(t *testing.T, l *Lab) (*cluster.Inventory, host.Set) {
	t.Helper()
	inv, err := cluster.Read(l.Inventory, nil)
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := host.Connect(inv, host.SSHConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hosts.Close() })
	return inv, hosts
}

// first are the products with the node and the command that shows it healthy.
var first = map[string]struct {
	node, want string
	argv       []string
}{
	"opengauss": {"node1", "local_role                     : Primary", []string{"gs_ctl", "query", "-D", "/opt/huawei/install/data/dn"}},
	"mogdb":     {"node1", "local_role                     : Primary", []string{"gs_ctl", "query", "-D", "/opt/mogdb/install/data/dn"}},
	"dameng":    {"db1", "active", []string{"systemctl", "is-active", "DmServiceGRP1_RT_01"}},
	"gbase8a":   {"db1", "CLUSTER STATE:         ACTIVE", nil},
}

func TestEveryProductIsReachedOverSSH(t *testing.T) {
	t.Parallel()
	for _, product := range Products() {
		t.Run(product, func(t *testing.T) {
			t.Parallel()
			tc, ok := first[product]
			if !ok {
				t.Fatalf("no case for %s", product)
			}
			l := start(t, product, nil)
			inv, hosts := connect(t, l)
			cmd := host.Read(tc.argv...)
			if product == "gbase8a" {
				cmd = host.Sourced(inv.Nodes[0].Settings["profile"], host.Read("gcadmin"))
			}
			res, err := hosts[tc.node].Run(t.Context(), cmd)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(res.Stdout), tc.want) {
				t.Errorf("no %q in\n%s", tc.want, res.Stdout)
			}
			for _, n := range inv.Nodes {
				if _, err := hosts[n.Name].Run(t.Context(), host.Read("true")); err != nil {
					t.Error(err)
				}
			}
			secretsArePrivate(t, l, inv)
			packagesAreThere(t, l)
			st, err := l.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !st.Simulated || !st.Daemon || len(st.Nodes) != len(inv.Nodes) || len(st.Damage)+len(st.Complaints) > 0 {
				t.Errorf("status: %+v", st)
			}
		})
	}
}

func secretsArePrivate(t *testing.T, l *Lab, inv *cluster.Inventory) {
	t.Helper()
	for name, value := range l.Site().Secrets {
		file := inv.Nodes[0].Settings[name+"_file"]
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 || filepath.Dir(file) != filepath.Join(l.Dir, secretsDir) {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
		if body, _ := os.ReadFile(file); strings.TrimSpace(string(body)) != value {
			t.Errorf("%s does not hold the secret", file)
		}
		if body, _ := os.ReadFile(l.Inventory); strings.Contains(string(body), value) {
			t.Errorf("the inventory holds the secret %s", name)
		}
	}
}

func packagesAreThere(t *testing.T, l *Lab) {
	t.Helper()
	if len(l.Packages()) == 0 {
		t.Error("no packages")
	}
	for _, p := range l.Packages() {
		if info, err := os.Stat(p); err != nil || info.Size() == 0 {
			t.Errorf("package %s: %v", p, err)
		}
	}
}

func TestTheVendorsOwnFilesCanBeImported(t *testing.T) {
	t.Parallel()
	t.Run("clusterconfig.xml", func(t *testing.T) {
		t.Parallel()
		l := start(t, "opengauss", Args{"cm": "true", "nodes": "4"})
		inv, err := ogxml.Import("opengauss", filepath.Join(l.Dir, "clusterconfig.xml"), func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		sameCluster(t, l, inv)
	})
	t.Run("dm*.ini", func(t *testing.T) {
		t.Parallel()
		for _, topology := range []string{"single", "dw", "dsc", "dw-dsc"} {
			l := start(t, "dameng", Args{"topology": topology})
			inv, supposed, err := damengini.Import(os.DirFS(filepath.Join(l.Dir, "ini")), "x")
			if err != nil {
				t.Fatalf("%s: %v", topology, err)
			}
			if len(supposed) > 0 && topology == "single" {
				t.Errorf("%s: supposed %v", topology, supposed)
			}
			sameCluster(t, l, inv)
		}
	})
}

func TestPackagesOfLaterReleasesAreReady(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		product string
		args    Args
		want    []string
	}{
		"openGauss": {"opengauss", Args{"release": "6.0.1"}, []string{
			"openGauss-All-6.0.2-CentOS7-x86_64.tar.gz", "openGauss-CM-6.0.2-CentOS7-x86_64.tar.gz", "openGauss-7.0.0-RC1-CentOS-64bit-all.tar.gz", "openGauss-7.0.0-RC1-CentOS-64bit-cm.tar.gz",
		}},
		"MogDB":      {"mogdb", nil, []string{"MogDB-2.0.3-CentOS-x86_64.tar.gz"}},
		"Dameng":     {"dameng", Args{"release": "8.1.3.100", "topology": "dsc"}, []string{"dameng-8.1.3.162.tar.gz", "dameng-8.1.4.80.tar.gz", "dameng-8.1.4.170.tar.gz"}},
		"GBase V952": {"gbase8a", Args{"flavor": "v952"}, []string{"GBase8a_MPP_Cluster-NoLicense-FREE-9.5.2.44.8-redhat7-x86_64.tar.bz2"}},
		"named ones": {"dameng", Args{"to": "8.1.1.16,8.1.1.17"}, []string{"dameng-8.1.1.16.tar.gz", "dameng-8.1.1.17.tar.gz"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, p := range start(t, tc.product, tc.args).Packages() {
				got = append(got, filepath.Base(p))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// sameCluster holds names, addresses and ports against the lab's own inventory.
func sameCluster(t *testing.T, l *Lab, inv *cluster.Inventory) {
	t.Helper()
	own, err := cluster.Read(l.Inventory, nil)
	if err != nil {
		t.Fatal(err)
	}
	about := func(inv *cluster.Inventory) (out []string) {
		for _, n := range inv.Nodes {
			out = append(out, n.Name+" "+n.Address+" "+n.Settings["port"]+" "+n.Settings["data"]+" "+n.Settings["ini"])
		}
		return out
	}
	if a, b := about(own), about(inv); !slices.Equal(a, b) {
		t.Errorf("imported\n%s\nthe lab's\n%s", strings.Join(b, "\n"), strings.Join(a, "\n"))
	}
}

func TestALabStaysAndGoes(t *testing.T) {
	t.Parallel()
	l := up(t, "opengauss")
	_, hosts := connect(t, l)
	if _, err := hosts["node2"].Run(t.Context(), host.Read("true")); err != nil {
		t.Fatal(err)
	}
	if err := Break(t.Context(), l.Dir, "node2", "node-down"); err != nil {
		t.Fatal(err)
	}
	st, err := GetStatus(t.Context(), l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := st.Nodes[1]; n.Up || n.Running != "" || !slices.Equal(n.Faults, []string{"node-down"}) {
		t.Errorf("after node-down: %+v", n)
	}
	if err := Break(t.Context(), l.Dir, "node9", "node-down"); err == nil {
		t.Error("a node that is not there can be broken")
	}
	if err := Break(t.Context(), l.Dir, "node2", "earthquake"); err == nil {
		t.Error("an unknown fault is taken")
	}
	daemon := *l.State.Daemon
	if err := Down(t.Context(), l.Dir); err != nil {
		t.Fatal(err)
	}
	if daemon.Alive() {
		t.Error("the daemon lives")
	}
	if _, err := os.Stat(l.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left", l.Dir)
	}
	if err := Down(t.Context(), l.Dir); err != nil {
		t.Errorf("down twice: %v", err)
	}
}

func TestALabWhoseDaemonWasKilledSaysSoAndGoes(t *testing.T) {
	t.Parallel()
	l := up(t, "dameng")
	if err := l.State.Daemon.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := lab.WaitGone(t.Context(), wait.Real{}, say.Same("daemon gone"), 5*time.Second, *l.State.Daemon); err != nil {
		t.Fatal(err)
	}
	st, err := GetStatus(t.Context(), l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if st.Daemon || len(st.Nodes) > 0 {
		t.Errorf("a dead lab tells of nodes: %+v", st)
	}
	if err := Break(t.Context(), l.Dir, "db1", "lag"); err == nil {
		t.Error("a dead lab can be broken")
	}
	if err := Down(t.Context(), l.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left", l.Dir)
	}
}

func TestBadOptionsLeaveNothing(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"an unknown product":        {Product: "oracle"},
		"an unknown release":        {Product: "opengauss", Args: Args{"release": "9.9.9"}},
		"an unknown topology":       {Product: "dameng", Args: Args{"topology": "ring"}},
		"an unknown option":         {Product: "dameng", Args: Args{"nodes": "3"}},
		"a count that is no number": {Product: "mogdb", Args: Args{"nodes": "three"}},
		"an unknown target":         {Product: "opengauss", Args: Args{"to": "9.9.9"}},
		"a clock that is too fast":  {Product: "mogdb", Speed: 1e6},
		"an unknown flavour":        {Product: "gbase8a", Args: Args{"flavor": "v951"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.Dir = filepath.Join(t.TempDir(), "lab")
			l, err := Start(o)
			if err == nil {
				_ = l.Close()
				t.Fatal("a lab was made")
			}
			if _, err := os.Stat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left", o.Dir)
			}
		})
	}
	t.Run("a directory of others", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Start(Options{Product: "mogdb", Dir: dir}); err == nil {
			t.Fatal("a lab was made")
		}
		if err := Down(t.Context(), dir); err == nil {
			t.Error("a directory of others was taken down")
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("left: %v", entries)
		}
	})
}

func TestMachineFaults(t *testing.T) {
	t.Parallel()
	l := start(t, "opengauss", nil)
	_, hosts := connect(t, l)
	run := func(node string, argv ...string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := hosts[node].Run(ctx, host.Change(argv...))
		return err
	}
	do := func(fault, node string) {
		t.Helper()
		if err := l.Break(t.Context(), node, fault); err != nil {
			t.Fatalf("%s %s: %v", fault, node, err)
		}
	}
	works := func(node string, argv ...string) {
		t.Helper()
		if err := run(node, argv...); err != nil {
			t.Errorf("%v on %s: %v", argv, node, err)
		}
	}
	works("node1", "touch", "/home/omm/a")

	do("fill-disk", "node1")
	if _, err := hosts["node1"].Run(t.Context(), host.Cmd{Argv: []string{"dd", "of=/home/omm/b"}, Stdin: strings.NewReader("data"), Effect: host.Changes}); err == nil {
		t.Error("a full disk took a file")
	}
	do("free-disk", "node1")
	works("node1", "cp", "/home/omm/a", "/home/omm/c")

	do("lose-answer", "node2")
	if err := run("node2", "mkdir", "/home/omm/once"); !lost(err) {
		t.Errorf("a lost answer is %v", err)
	}
	if err := run("node2", "mkdir", "/home/omm/once"); lost(err) || err == nil {
		t.Errorf("the command whose answer was lost did not run: %v", err)
	}

	for _, pair := range [][2]string{{"cut-ssh", "restore-ssh"}, {"cut-link", "mend-link"}, {"node-down", "node-up"}} {
		do(pair[0], "node3")
		if err := run("node3", "true"); err == nil {
			t.Errorf("%s: a command runs", pair[0])
		}
		do(pair[1], "node3")
		works("node3", "true")
	}
	do("node-up", "node3")
	st, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range st.Nodes {
		if len(n.Faults) > 0 || !n.Up {
			t.Errorf("%s has %v left", n.Name, n.Faults)
		}
	}
}

// lost reports whether nobody knows how a command ended.
func lost(err error) bool {
	var exit *host.ExitError
	return err != nil && !errors.As(err, &exit)
}

func TestTheProductsOwnFaults(t *testing.T) {
	t.Parallel()
	t.Run("the primary moves", func(t *testing.T) {
		t.Parallel()
		l := start(t, "opengauss", nil)
		if err := l.Break(t.Context(), "node3", "move-primary"); err != nil {
			t.Fatal(err)
		}
		hasRole(t, l, "node3", "Primary")
		if err := l.Break(t.Context(), "node1", "failover"); err != nil {
			t.Fatal(err)
		}
		hasRole(t, l, "node3", "")
	})
	t.Run("a server is killed", func(t *testing.T) {
		t.Parallel()
		for product, node := range map[string]string{"mogdb": "node2", "dameng": "db1"} {
			args := Args{}
			if product == "dameng" {
				args["topology"] = "single" // no watcher starts it again
			}
			l := start(t, product, args)
			if err := l.Break(t.Context(), node, "kill-server"); err != nil {
				t.Fatal(err)
			}
			hasRole(t, l, node, "")
		}
	})
	t.Run("every fault is known to its product", func(t *testing.T) {
		t.Parallel()
		for _, product := range Products() {
			p := Get(product)
			s, err := p.New(Setup{Args: defaults(t, p), Cluster: "x", Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range p.Faults {
				if f == "node-error" { // only where there is DSC
					continue
				}
				if err := s.Break(f, s.Inventory.Nodes[1].Name); err != nil {
					t.Errorf("%s: %s: %v", product, f, err)
				}
			}
			if err := s.Break("earthquake", s.Inventory.Nodes[1].Name); err == nil {
				t.Errorf("%s: an unknown fault is taken", product)
			}
		}
	})
}

func defaults(t *testing.T, p *Product) Args {
	t.Helper()
	a, err := p.complete(nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func hasRole(t *testing.T, l *Lab, node, role string) {
	t.Helper()
	st, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range st.Nodes {
		if n.Name == node && n.Role != role {
			t.Errorf("%s is %q, want %q", node, n.Role, role)
		}
	}
}

// TestTheStateFileIsEnoughToGo: a lab whose making was cut short at its first
// breath goes away too.
func TestTheStateFileIsEnoughToGo(t *testing.T) {
	t.Parallel()
	o := Options{Product: "gbase8a", Dir: filepath.Join(t.TempDir(), "lab")}
	l, err := o.check()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.begin(); err != nil {
		t.Fatal(err)
	}
	if err := l.makeFolders(); err != nil {
		t.Fatal(err)
	}
	if err := Down(t.Context(), l.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left", l.Dir)
	}
}

func TestWhoAsksTheDaemonNonsenseGetsAnError(t *testing.T) {
	t.Parallel()
	l := up(t, "mogdb")
	if err := lab.Ask(t.Context(), l.Dir, []string{"what"}, nil); err == nil {
		t.Error("nonsense is answered")
	}
	// Somebody who connects and leaves does not end the daemon.
	d, err := os.Open(l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), lab.ControlSocket))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("{"))
	_ = c.Close()
	var in Inside
	if err := lab.Ask(t.Context(), l.Dir, request{}, &in); err != nil || len(in.Nodes) != 3 {
		t.Errorf("%v %+v", err, in)
	}
	if _, err := json.Marshal(in); err != nil {
		t.Error(err)
	}
}
