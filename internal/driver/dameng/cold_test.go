package dameng_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/check"
	lab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

const elsewhere = "/data2/TS1.DBF"

// A tablespace far from the rest of its library is part of the cold copy: the
// plan names it, the way back brings it, commit leaves nothing of it.
func TestTheColdCopyHoldsWhatLiesElsewhere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DW, redo log", "single, three formats", "DW, old DM7 in two hops"} {
		sc := scenes[name]
		sc.before = func(l *lab.Lab) {
			l.PlaceOutside("m1", elsewhere)
			if sc.opts.Topology == "dw" {
				l.PlaceOutside("m2", elsewhere)
			}
		}
		for _, verb := range []string{"rollback", "commit"} {
			t.Run(name+", "+verb, func(t *testing.T) {
				t.Parallel()
				st, s := begin(t, sc)
				i := slices.IndexFunc(s.Plan.Steps, func(p plan.Step) bool { return p.Kind == "cold-copy" })
				if i < 0 || !strings.Contains(s.Plan.Steps[i].Says.EN, elsewhere) || !strings.Contains(s.Plan.Steps[i].Says.EN, "/dm/data/DAMENG") {
					t.Fatalf("the plan does not say what is copied: %+v", s.Plan.Steps[i])
				}
				if verb == "commit" {
					if err := s.Wants(t.Context(), "apply", run.Upgraded); err != nil {
						t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
					}
					if err := s.Wants(t.Context(), "commit", run.Committed); err != nil {
						t.Fatal(err)
					}
				} else {
					s.World.Accept = nil
					work(t, s, "apply")
					rollBack(t, st, s, sc.opts.Release)
				}
				if got := st.lab.World.Machine("db1").List("/data2"); !slices.Equal(got, []string{"TS1.DBF"}) {
					t.Errorf("/data2 holds %q", got)
				}
				if err := st.truth(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// What nobody can read from the server is named by the site.
func TestColdPathsOfASite(t *testing.T) {
	t.Parallel()
	sc := scenes["DW, redo log"]
	st := sc.open(t)
	for i := range st.world.Env.Inventory.Nodes {
		st.world.Env.Inventory.Nodes[i].Settings["cold_paths"] = "/etc/dm_svc.conf, /dm/data/DAMENG/inside"
	}
	if bad := st.blocks(t, st.world); !strings.Contains(bad, "/etc/dm_svc.conf, which the cold copy has to hold, is not there") {
		t.Errorf("blocked by %q", bad)
	}
	for _, m := range st.lab.World.Machines() {
		m.Write("/etc/dm_svc.conf", "TIME_ZONE=(480)\n", 0o644, "dmdba")
		m.Chown("/etc", "dmdba")
	}
	s, err := rehearse.Begin(t.Context(), st.world)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Plan.Steps {
		if p.Kind == "cold-copy" && p.Args["paths"] != "/dm/data/DAMENG,/etc/dm_svc.conf" {
			t.Errorf("%s copies %s", p.ID, p.Args["paths"])
		}
	}
	s.World.Accept = nil
	work(t, s, "apply")
	if !slices.Contains(st.lab.World.Machine("db2").List("/etc"), "dm_svc.conf.cold-8.1.1.15") {
		t.Error("it was not copied")
	}
	rollBack(t, st, s, sc.opts.Release)
}

func TestNoRoomForAColdCopyBlocks(t *testing.T) {
	t.Parallel()
	sc := scenes["single, three formats"]
	sc.before = func(l *lab.Lab) {
		m := l.World.Machine("db1")
		m.Write("/dm/data/DAMENG/BIG.DBF", strings.Repeat("x", 4<<20), 0o640, "dmdba")
		_, used := m.Disk()
		m.SetDisk(used+1<<20, used)
	}
	bad := check.Blocking(sc.open(t).checks(t))
	if !slices.ContainsFunc(bad, func(f check.Finding) bool { return f.ID == "dm-space" && f.Rule == "DM-001" && f.Says.ZH != "" }) {
		t.Errorf("findings %+v", bad)
	}
}
