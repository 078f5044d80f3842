package gbase8a

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

func recorded(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// place gives a lab's nodes recorded addresses.
func place(c *Cluster, ips ...string) {
	for i, ip := range ips {
		c.Nodes[i].IP = ip
	}
}

func TestTablesEqualTheRecordedOnesToTheByte(t *testing.T) {
	t.Parallel()
	v953 := func(t *testing.T, cfg Config) (*sim.World, *Cluster) {
		w := sim.New(1)
		cfg.Flavor = V953
		c := Install(w, cfg)
		place(c, "192.168.6.72", "192.168.6.73", "192.168.6.74")
		return w, c
	}
	stopDatabase := func(w *sim.World, c *Cluster) {
		for i := range c.Nodes {
			for _, p := range []string{"gcmonit", "gcmmonit", "gclusterd", "gcrecover", "gbased", "gc_sync_server"} {
				c.stop(w, &c.Nodes[i], p)
			}
		}
	}
	// The recorded data tables list their nodes in an order of their own.
	swap := func(text string) string {
		a, b := "|  node1   |               192.168.6.73  ", "|  node2   |               192.168.6.72  "
		return strings.NewReplacer(a, strings.Replace(a, ".73", ".72", 1), b, strings.Replace(b, ".72", ".73", 1)).Replace(text)
	}
	t.Run("V953 healthy", func(t *testing.T) {
		w, c := v953(t, Config{})
		if diff := cmp.Diff(swap(recorded(t, "v953-healthy.txt")), c.status(w, "")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("V953 gcware only", func(t *testing.T) {
		w, c := v953(t, Config{})
		stopDatabase(w, c)
		if diff := cmp.Diff(swap(recorded(t, "v953-gcware-only.txt")), c.status(w, "")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("V953 with virtual clusters, their own comments put in", func(t *testing.T) {
		w, c := v953(t, Config{VCs: []string{"vc1"}})
		own := table("GBASE VIRTUAL CLUSTER INFORMATION", []string{"VcName", "DistributionId", "comment"}, [][]string{{"vc1", "1", "practice vc1"}}, 0)
		recordedTable, _, _ := strings.Cut(recorded(t, "vc-table.fragment.txt"), "\n1 virtual cluster")
		want := strings.Replace(recorded(t, "v953-multi-vc-root.txt"), recordedTable, own, 1)
		if diff := cmp.Diff(want, c.status(w, "")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the table of virtual clusters", func(t *testing.T) {
		got := table("GBASE VIRTUAL CLUSTER INFORMATION", []string{"VcName", "DistributionId", "comment"}, [][]string{{"vc1", "1", "Home VMware VC1"}}, 0)
		want, _, _ := strings.Cut(recorded(t, "vc-table.fragment.txt"), "\n1 virtual cluster")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a free node", func(t *testing.T) {
		got := table("GBASE CLUSTER FREE DATA NODE INFORMATION", []string{"NodeName", "IpAddress", "gnode", "syncserver", "DataState"},
			[][]string{{"FreeNode1", "192.168.3.72", "CLOSE", "OPEN", "0"}}, 0)
		want, _, _ := strings.Cut(recorded(t, "free-node.fragment.txt"), "0 virtual cluster")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("V952 after gcware was started", func(t *testing.T) {
		w := sim.New(1)
		c := Install(w, Config{Flavor: V952})
		place(c, "10.0.2.102", "10.0.2.202", "10.0.2.203")
		stopDatabase(w, c)
		got := strings.ReplaceAll(c.status(w, ""), "       1        |", "       6        |")
		if diff := cmp.Diff(recorded(t, "v952-flush-ready.txt"), got); diff != "" {
			t.Error(diff)
		}
		for _, n := range []int{0, 2} {
			c.Nodes[n].opened = false
		}
		got = strings.ReplaceAll(c.status(w, ""), "       1        |", "       6        |")
		want := strings.Replace(recorded(t, "v952-gcware-1-of-3-open.txt"), "ACTIVE", "LOCKED", 1) // the sample's own state contradicts its table
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// do runs a command on a node in its profile.
func do(t *testing.T, w *sim.World, c *Cluster, node string, timeout time.Duration, argv ...string) (string, error) {
	t.Helper()
	cmd := host.Sourced(home+"/.gbase_profile", host.Change(argv...))
	cmd.Timeout = timeout
	res, err := c.Hosts(w)[node].Run(t.Context(), cmd)
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stdout), err
	}
	return string(res.Stdout), err
}

// must runs a command that has to succeed.
func must(t *testing.T, w *sim.World, c *Cluster, node string, argv ...string) string {
	t.Helper()
	out, err := do(t, w, c, node, 0, argv...)
	if err != nil {
		t.Fatalf("%s: %v: %v", node, argv, err)
	}
	return out
}

func noComplaints(t *testing.T, w *sim.World) {
	t.Helper()
	if cs := w.Complaints(); len(cs) > 0 {
		t.Errorf("complaints: %v", cs)
	}
}

// gcwareOnly stops everything and starts gcware alone.
func gcwareOnly(t *testing.T, w *sim.World, c *Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		must(t, w, c, n.Name, "gcluster_services", "all", "stop")
	}
	tool := "gcluster_services"
	if c.Config.Flavor == V953 {
		tool = "gcware_services"
		for _, n := range c.Nodes {
			must(t, w, c, n.Name, tool, "all", "stop")
		}
	}
	for _, n := range c.Nodes {
		must(t, w, c, n.Name, tool, "gcware", "start")
	}
	_ = w.Sleep(t.Context(), 3*time.Second)
}

func TestFlushIsAsynchronous(t *testing.T) {
	t.Parallel()
	for _, flavor := range []Flavor{V952, V953} {
		t.Run(string(flavor), func(t *testing.T) {
			t.Parallel()
			w := sim.New(1)
			c := Install(w, Config{Flavor: flavor})
			gcwareOnly(t, w, c)
			if c.Term != 144 {
				t.Errorf("term %d, want 144: one more when the leader went, one more with the new quorum", c.Term)
			}
			if out := must(t, w, c, "db2", "python", "-c", FlushProgram); out != "1\n" {
				t.Errorf("flush said %q", out)
			}
			old := Snap{Term: 142, Index: 37977}
			if got := c.Newest(w, "db1"); got != old {
				t.Errorf("right after the call the newest is %v", got)
			}
			_ = w.Sleep(t.Context(), 2*time.Second)
			snaps := c.Snapshots(w, "db1")
			if last := snaps[len(snaps)-1]; !last.Partial || c.Newest(w, "db1") != old {
				t.Errorf("while it runs there are %v", snaps)
			}
			_ = w.Sleep(t.Context(), 10*time.Second)
			want := []Snap{{142, 37977, false}, {144, 41202, false}}
			if diff := cmp.Diff(want, c.Snapshots(w, "db3")); diff != "" {
				t.Errorf("the newest two are kept: %s", diff)
			}
			if v := c.Violations(); len(v) > 0 {
				t.Errorf("violations %v", v)
			}
			noComplaints(t, w)
		})
	}
}

func TestRulesThatAreBrokenAreNoted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rule string
		do   func(t *testing.T, w *sim.World, c *Cluster)
	}{
		"flush while the database runs": {"G03", func(t *testing.T, w *sim.World, c *Cluster) {
			must(t, w, c, "db1", "python", "-c", FlushProgram)
		}},
		"flush before every gcware is OPEN": {"G06", func(t *testing.T, w *sim.World, c *Cluster) {
			gcwareOnly(t, w, c)
			must(t, w, c, "db3", "gcware_services", "gcware", "stop")
			must(t, w, c, "db1", "python", "-c", FlushProgram)
		}},
		"gcware is stopped while the flush runs": {"G09", func(t *testing.T, w *sim.World, c *Cluster) {
			gcwareOnly(t, w, c)
			must(t, w, c, "db1", "python", "-c", FlushProgram)
			_ = w.Sleep(t.Context(), 2*time.Second)
			must(t, w, c, "db2", "gcware_services", "gcware", "stop")
		}},
		"--force without a failed stop": {"P2", func(t *testing.T, w *sim.World, c *Cluster) {
			must(t, w, c, "db1", "gcluster_services", "all", "stop", "--force")
		}},
		"a second operator": {"G31", func(t *testing.T, w *sim.World, c *Cluster) {
			c.OtherLock = true
			must(t, w, c, "db1", "gcluster_services", "all", "stop")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := sim.New(1)
			c := Install(w, Config{Flavor: V953})
			tc.do(t, w, c)
			if v := strings.Join(c.Violations(), "\n"); !strings.Contains(v, tc.rule+":") {
				t.Errorf("violations %q, want %s", v, tc.rule)
			}
			noComplaints(t, w)
		})
	}
}

func TestSimulatedSoftware(t *testing.T) {
	t.Parallel()
	for name, check := range map[string]func(t *testing.T, w *sim.World, c *Cluster){
		"gcmonit revives a service that was stopped by name": func(t *testing.T, w *sim.World, c *Cluster) {
			must(t, w, c, "db1", "gcluster_services", "gcluster", "stop")
			_ = w.Sleep(t.Context(), 6*time.Second)
			if c.running(w, c.node("db1"), "gclusterd") == nil {
				t.Error("gclusterd was not revived")
			}
		},
		"all stop stays stopped": func(t *testing.T, w *sim.World, c *Cluster) {
			must(t, w, c, "db1", "gcluster_services", "all", "stop")
			_ = w.Sleep(t.Context(), time.Minute)
			if c.running(w, c.node("db1"), "gclusterd") != nil {
				t.Error("gclusterd came back")
			}
		},
		"gcluster_services does not know gcware on V953": func(t *testing.T, w *sim.World, c *Cluster) {
			out, err := do(t, w, c, "db1", 0, "gcluster_services", "gcware", "start")
			if !host.IsExit(err, 1) || !strings.HasPrefix(out, "Usage:") {
				t.Errorf("said %q, %v", out, err)
			}
		},
		"gcadmin hangs without a majority": func(t *testing.T, w *sim.World, c *Cluster) {
			must(t, w, c, "db2", "gcware_services", "all", "stop")
			must(t, w, c, "db1", "gcadmin")
			must(t, w, c, "db3", "gcware_services", "all", "stop")
			start := w.Now()
			if _, err := do(t, w, c, "db1", 30*time.Second, "gcadmin"); err == nil || host.IsExit(err) {
				t.Errorf("said %v", err)
			}
			if took := w.Now().Sub(start); took < 30*time.Second || took > 31*time.Second {
				t.Errorf("took %s", took)
			}
		},
		"a service line has its verdict in column 59": func(t *testing.T, w *sim.World, c *Cluster) {
			must(t, w, c, "db1", "gcware_services", "all", "stop")
			out := must(t, w, c, "db1", "gcware_services", "gcware", "start")
			if want := "Starting gcware :                                          [  OK  ]\n"; out != want {
				t.Errorf("said %q, want %q", out, want)
			}
		},
		"a power cut leaves the .s and a later flush clears it": func(t *testing.T, w *sim.World, c *Cluster) {
			gcwareOnly(t, w, c)
			must(t, w, c, "db1", "python", "-c", FlushProgram)
			_ = w.Sleep(t.Context(), 2*time.Second)
			w.Machine("db3").PowerOff()
			w.Machine("db3").PowerOn()
			_ = w.Sleep(t.Context(), 20*time.Second)
			if s := c.Snapshots(w, "db3"); !s[len(s)-1].Partial {
				t.Errorf("snapshots %v", s)
			}
			must(t, w, c, "db3", "gcware_services", "gcware", "start")
			_ = w.Sleep(t.Context(), 3*time.Second)
			must(t, w, c, "db1", "python", "-c", FlushProgram)
			_ = w.Sleep(t.Context(), 20*time.Second)
			for _, s := range c.Snapshots(w, "db3") {
				if s.Partial {
					t.Errorf("%v is left", s)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := sim.New(1)
			c := Install(w, Config{Flavor: V953})
			check(t, w, c)
			if v := c.Violations(); len(v) > 0 {
				t.Errorf("violations %v", v)
			}
			noComplaints(t, w)
		})
	}
}

func TestMend(t *testing.T) {
	t.Parallel()
	w := sim.New(1)
	c := Install(w, Config{Flavor: V953})
	db3 := w.Machine("db3")
	db3.PowerOff()
	db3.PowerOn()
	if err := c.Whole(w); err == nil {
		t.Fatal("what fell with the power came back by itself")
	}
	c.Mend(w)
	_ = w.Sleep(t.Context(), 5*time.Second)
	if err := c.Whole(w); err != nil {
		t.Errorf("a person starts it while the others serve: %v", err)
	}
	for _, n := range c.Nodes {
		must(t, w, c, n.Name, "gcluster_services", "all", "stop")
	}
	db3.PowerOff()
	db3.PowerOn()
	c.Mend(w)
	if c.running(w, c.node("db3"), "gcware") != nil {
		t.Error("started although the cluster was stopped on purpose")
	}
	c.install = &installer{from: "9.5.3.27.14", to: "9.5.3.28.12"}
	c.setVersion(w, c.node("db1"), "9.5.3.28.12")
	c.Mend(w)
	if c.mixed() || c.Nodes[0].Version != "9.5.3.27.14" {
		t.Errorf("db1 has %s", c.Nodes[0].Version)
	}
	if err := c.Whole(w); err == nil || !strings.Contains(err.Error(), "ended with mixed releases") {
		t.Errorf("a run that ends mixed is not noticed: %v", err)
	}
}

func TestRcLocalStartsEverything(t *testing.T) {
	t.Parallel()
	w := sim.New(1)
	c := Install(w, Config{Flavor: V952, Autostart: true})
	w.Machine("db2").PowerOff()
	_ = w.Sleep(t.Context(), time.Minute)
	w.Machine("db2").PowerOn()
	if c.running(w, c.node("db2"), "gcware") != nil {
		t.Error("rc.local was done before the machine was up")
	}
	_ = w.Sleep(t.Context(), 10*time.Second)
	if err := c.Whole(w); err != nil {
		t.Error(err)
	}
}
