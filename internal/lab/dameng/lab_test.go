package dameng

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// Every topology stands, takes writes, and a clone of it goes its own way.
func TestLabsStand(t *testing.T) {
	t.Parallel()
	for topology, nodes := range map[string]int{"single": 1, "dw": 3, "dsc": 2, "dw-dsc": 6} {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			l, err := New(Options{Topology: topology, Standbys: 2, Release: "8.1.1.14"})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(l.Inventory().Nodes); n != nodes {
				t.Errorf("%d nodes, want %d", n, nodes)
			}
			for range 3 {
				if !l.Write() {
					t.Fatal("the primary takes no writes")
				}
			}
			if err := l.World.Sleep(context.Background(), 10*time.Second); err != nil {
				t.Fatal(err)
			}
			if tr := l.Truth(); len(tr.Primaries) != 1 || tr.Lost != 0 || len(tr.Behind) != 0 || len(tr.Damage) != 0 || len(tr.Releases) != nodes {
				t.Errorf("%+v", tr)
			}
			c := l.Of(l.World.Clone())
			c.World.With(func() { roomOf(c.World).kill(c.World, roomOf(c.World).sites["db1"]) })
			if len(l.Truth().Releases) != nodes || len(c.Truth().Releases) != nodes-1 {
				t.Error("the clone is not a world of its own")
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{"a topology": {Topology: "ring", Release: "8.1.1.14"}, "a release": {Topology: "dw", Release: "15.16"}} {
		if _, err := New(o); err == nil {
			t.Errorf("%s that does not exist was taken", name)
		}
	}
}

// The layouts are those of the vendor's text and of public captures.
func TestDisqlLayout(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts Options
		want string
	}{
		"Chinese": {Options{}, "\n行号     DB_MAGIC             GLOBAL_NEXT_SEQ      FILE_LSN\n---------- -------------------- -------------------- --------------------\n1          460099052            4427                 106610\n\n已用时间: 0.704(毫秒). 执行号:2101.\n"},
		"English": {Options{Lang: "en"}, "\nLINEID     DB_MAGIC             GLOBAL_NEXT_SEQ      FILE_LSN\n---------- -------------------- -------------------- --------------------\n1          460099052            4427                 106610\n\nused time: 7.566(ms). Execute id is 2101.\n"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.opts.Topology, tc.opts.Release = "single", "8.1.1.15"
			l, err := New(tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			h := hand{t, l, ""}
			if diff := cmp.Diff(tc.want, h.sql("db1", "SELECT DB_MAGIC, GLOBAL_NEXT_SEQ, FILE_LSN FROM V$RLOG")); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestAPasswordInArgvIsRefused(t *testing.T) {
	t.Parallel()
	l, err := New(Options{Topology: "single", Release: "8.1.1.15"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.World.Machine("db1").Run(t.Context(), host.Read("/opt/dmdbms/bin/disql", "-S", "SYSDBA/x@127.0.0.1:5236"))
	if !host.IsExit(err) || len(l.World.Complaints()) == 0 {
		t.Errorf("error %v, complaints %v", err, l.World.Complaints())
	}
}

func TestSystemctlAndScriptDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	l, err := New(Options{Topology: "single", Release: "8.1.1.15", Lang: "en"})
	if err != nil {
		t.Fatal(err)
	}
	h := hand{t, l, ""}
	if out := h.run("db1", "", "/opt/dmdbms/bin/DmServiceDMSERVER", "stop"); !strings.Contains(out, "FAILED") {
		t.Errorf("the script stopped what systemctl started: %s", out)
	}
	h.unit("db1", "DmService", "stop")
	h.run("db1", "", "/opt/dmdbms/bin/DmServiceDMSERVER", "start")
	h.unit("db1", "DmService", "stop")
	if len(l.Truth().Releases) != 1 {
		t.Error("systemctl stopped what the script started")
	}
}

func TestHooks(t *testing.T) {
	t.Parallel()
	for _, name := range Hooks() {
		l, err := New(Options{Topology: "dw-dsc", Release: "8.1.1.15"})
		if err != nil {
			t.Fatal(err)
		}
		before := l.World.State(stateKey).Clone()
		l.World.Inject(sim.Fault{Kind: sim.Hook, Do: name, Node: "db3"})
		if name == hookCatchUp {
			l.Lag("m2", true)
			before = l.World.State(stateKey).Clone()
		}
		if _, err := l.World.Machine("db3").Run(t.Context(), host.Read("true")); err != nil {
			t.Fatal(err)
		}
		was, is := before.(*room), roomOf(l.World)
		if was.votes["db3"] == is.votes["db3"] && was.lag["m2"] == is.lag["m2"] && len(was.servers) == len(is.servers) {
			t.Errorf("%s changed nothing", name)
		}
		if c := l.World.Complaints(); len(c) > 0 {
			t.Errorf("%v", c)
		}
	}
}

// To start again what died is what a watcher is for; the machine's own start-up
// brings back what ran, and nothing that was stopped.
func TestMendStartsWhatThePowerTook(t *testing.T) {
	t.Parallel()
	l, err := New(Options{Topology: "dw", Release: "8.1.1.101"})
	if err != nil {
		t.Fatal(err)
	}
	m := l.World.Machine("db2")
	l.World.With(func() { _ = m.StopService(m.Service("DmMonitorServiceGRP1_RT_02")) })
	m.PowerOff()
	m.PowerOn()
	if err := l.Mend(); err != nil {
		t.Fatal(err)
	}
	if err := l.World.Sleep(t.Context(), 60e9); err != nil {
		t.Fatal(err)
	}
	for unit, want := range map[string]bool{"DmServiceGRP1_RT_02": true, "DmWatcherServiceGRP1_RT_02": true, "DmMonitorServiceGRP1_RT_02": false} {
		if got := m.Service(unit).Active; got != want {
			t.Errorf("%s is active: %t, want %t", unit, got, want)
		}
	}
	if err := m.StartService(m.Service("DmMonitorServiceGRP1_RT_02")); err != nil {
		t.Fatal(err)
	}
	l.Kill("db1")
	if err := l.World.Sleep(t.Context(), 60e9); err != nil {
		t.Fatal(err)
	}
	if tr := l.Truth(); len(tr.Damage) > 0 || len(tr.Primaries) != 1 {
		t.Errorf("the watcher started a server that had died: %+v", tr)
	}
}

// A primary sees in V$ARCH_STATUS that a standby lags, as dmmonitor shows it in
// RSTAT: whoever is about to close the primary can look there (DM-022).
func TestAStandbyThatLagsIsSeenFromThePrimary(t *testing.T) {
	t.Parallel()
	l, err := New(Options{Topology: "dw", Standbys: 1, Release: "8.1.1.14"})
	if err != nil {
		t.Fatal(err)
	}
	seen := func() bool {
		var said string
		l.World.With(func() {
			r := roomOf(l.World)
			d := &session{r: r, s: r.sites["db1"]}
			said = strings.Join(d.archStatus(r.servers["db1"], r.lib(l.World, "m1")).rows[1], " ")
		})
		return strings.Contains(said, "INVALID")
	}
	if seen() {
		t.Error("nobody lags")
	}
	l.Lag("m2", true)
	if !seen() {
		t.Error("m2 lags, and its archive is VALID")
	}
}

// A person starts a server that somebody killed: nobody has stopped it in order.
func TestMendStartsAServerThatWasKilled(t *testing.T) {
	t.Parallel()
	for _, topology := range []string{"single", "dsc"} {
		l, err := New(Options{Topology: topology, Release: "8.1.1.101"})
		if err != nil {
			t.Fatal(err)
		}
		nodes := len(l.Truth().Releases)
		if err := l.World.Strike(hookKill, "db1"); err != nil {
			t.Fatal(err)
		}
		if got := len(l.Truth().Releases); got != nodes-1 {
			t.Fatalf("%s: %d servers run", topology, got)
		}
		if err := l.Mend(); err != nil {
			t.Fatal(err)
		}
		if got := len(l.Truth().Releases); got != nodes {
			t.Errorf("%s: %d servers run, want %d", topology, got, nodes)
		}
	}
}
