package twin_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/dameng"
	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	"github.com/shiplift/shiplift/internal/driver/mogdb"
	"github.com/shiplift/shiplift/internal/driver/opengauss"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	damenglab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	gbaselab "github.com/shiplift/shiplift/internal/lab/gbase8a"
	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse/twin"
)

var runs = flag.Int("runs", 4, "rehearsed runs of each twin")

// user is somebody's cluster with the plan they made for it.
type user struct {
	d   driver.Driver
	inv *cluster.Inventory
	p   *plan.Plan
}

func planned(t *testing.T, d driver.Driver, env driver.Env, r plan.Request) user {
	t.Helper()
	o, err := d.Observe(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	p, err := driver.Make(d, env.Inventory, o, r, "test")
	if err != nil {
		t.Fatal(err)
	}
	return user{d, env.Inventory, p}
}

func postgresUser(t *testing.T, o pgsim.Options, r plan.Request) user {
	t.Helper()
	o.Release, o.CutScript = "15.16", postgres.CutScript
	l, err := pgsim.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := pgsim.WritePackage(t.TempDir(), "15.17")
	if err != nil {
		t.Fatal(err)
	}
	r.To, r.Packages = "15.17", []string{pkg}
	return planned(t, postgres.New(), driver.Env{Hosts: l.World.Hosts(), Inventory: l.Inventory, Clock: l.World, Serial: true}, r)
}

func gaussUser(t *testing.T, o gauss.Options, r plan.Request) user {
	t.Helper()
	w := sim.New(3)
	l, err := gauss.New(w, o)
	if err != nil {
		t.Fatal(err)
	}
	f, d := gauss.OpenGauss, driver.Driver(opengauss.New())
	if o.Flavor == gauss.MogDB {
		f, d = gauss.MogDB, mogdb.New()
	}
	pkg, err := gauss.PackageOf(f, r.To)
	if err != nil {
		t.Fatal(err)
	}
	files, err := pkg.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r.Packages = files[:1]
	return planned(t, d, driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: w, Serial: true}, r)
}

func damengUser(t *testing.T, o damenglab.Options, r plan.Request) user {
	t.Helper()
	l, err := damenglab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Packages, err = damenglab.WritePackages(t.TempDir(), r.To); err != nil {
		t.Fatal(err)
	}
	return planned(t, dameng.Driver{}, driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: l.World, Serial: true,
		Secret: func(string, string) (string, error) { return damenglab.DefaultPassword, nil }}, r)
}

func gbaseUser(t *testing.T, c gbaselab.Config, r plan.Request) user {
	t.Helper()
	w := sim.New(5)
	l := gbaselab.Install(w, c)
	if r.To != "" {
		c.Packages = []string{r.To}
		var err error
		if r.Packages, err = gbaselab.WritePackages(t.TempDir(), c); err != nil {
			t.Fatal(err)
		}
	}
	return planned(t, gbase8a.Driver{}, driver.Env{Hosts: l.Hosts(w), Inventory: l.Inventory(), Clock: w, Secret: gbaselab.Secret, Serial: true}, r)
}

// TestTwinsDrawTheUsersPlan builds twins of many clusters and plays on each:
// Of refuses a twin whose plan is another.
func TestTwinsDrawTheUsersPlan(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*testing.T) user{
		"postgres, two nodes": func(t *testing.T) user {
			return postgresUser(t, pgsim.Options{Nodes: 2}, plan.Request{Mode: "rolling"})
		},
		"postgres, own names, the primary in the middle": func(t *testing.T) user {
			return postgresUser(t, pgsim.Options{Names: []string{"beijing", "shanghai", "wuhan"}, Primary: "shanghai", Slots: true}, plan.Request{Mode: "rolling", SwitchBack: true})
		},
		"postgres, synchronous cascade": func(t *testing.T) user {
			return postgresUser(t, pgsim.Options{Nodes: 4, Sync: "ANY 2 (db2, db3)", Slots: true, Upstream: map[string]string{"db4": "db2"}}, plan.Request{Mode: "rolling", Candidate: "db3"})
		},
		"postgres, one node upgraded before": func(t *testing.T) user {
			return postgresUser(t, pgsim.Options{Nodes: 3, ReleaseOf: map[string]string{"db3": "15.17"}}, plan.Request{Mode: "rolling"})
		},
		"postgres, in place": func(t *testing.T) user {
			return postgresUser(t, pgsim.Options{Nodes: 3, Sync: "db2"}, plan.Request{Mode: "inplace"})
		},
		"opengauss": func(t *testing.T) user { return gaussUser(t, gauss.Options{}, plan.Request{To: "5.0.3"}) },
		"opengauss cascade": func(t *testing.T) user {
			return gaussUser(t, gauss.Options{Nodes: 4, Cascade: 1}, plan.Request{To: "5.0.3"})
		},
		"opengauss with CM": func(t *testing.T) user {
			return gaussUser(t, gauss.Options{CM: true}, plan.Request{To: "5.0.3", Mode: "inplace"})
		},
		"mogdb": func(t *testing.T) user {
			return gaussUser(t, gauss.Options{Flavor: gauss.MogDB, MogHA: true}, plan.Request{To: "2.0.3", Mode: "rolling"})
		},
		"mogdb by hand": func(t *testing.T) user {
			return gaussUser(t, gauss.Options{Flavor: gauss.MogDB, Nodes: 2, Install: "manual"}, plan.Request{To: "2.0.3", Mode: "inplace"})
		},
		"dameng": func(t *testing.T) user {
			return damengUser(t, damenglab.Options{Topology: "dw", Standbys: 2, Release: "8.1.1.14"}, plan.Request{To: "8.1.1.15", Mode: "inplace"})
		},
		"dameng DSC": func(t *testing.T) user {
			return damengUser(t, damenglab.Options{Topology: "dsc", Release: "8.1.1.101"}, plan.Request{To: "8.1.1.171", Mode: "inplace"})
		},
		"gbase8a": func(t *testing.T) user {
			return gbaseUser(t, gbaselab.Config{Flavor: gbaselab.V953, FlushRequired: true}, plan.Request{To: "9.5.3.28.12", Mode: "inplace"})
		},
		"gbase8a flush": func(t *testing.T) user {
			return gbaseUser(t, gbaselab.Config{Flavor: gbaselab.V952, Coordinators: 3, DataNodes: 4, Separate: true, FlushRequired: true}, plan.Request{Component: gbase8a.Component})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := make(t)
			tw, err := twin.Of(t.Context(), u.d, u.inv, u.p, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			res, err := tw.Rehearse(t.Context(), *runs, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Wrong) > 0 {
				t.Errorf("%+v", res.Wrong)
			}
			t.Logf("%+v %+v %v", res.Calm, res.Took, res.Endings)
		})
	}
}

func TestARehearsalIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	u := postgresUser(t, pgsim.Options{Nodes: 3, Slots: true}, plan.Request{Mode: "rolling"})
	var got [2]*twin.Result
	for i := range got {
		tw, err := twin.Of(t.Context(), u.d, u.inv, u.p, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if got[i], err = tw.Rehearse(t.Context(), 40, 7); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("the same seed gives another result:\n%s", diff)
	}
	total := 0
	for _, n := range got[0].Endings {
		total += n
	}
	if total != 40 || len(got[0].Risky) == 0 || got[0].Stopped.P95 < got[0].Stopped.P50 || !got[0].Measured {
		t.Errorf("%+v", got[0])
	}
}

func TestATwinThatIsNotLikeItsClusterIsRefused(t *testing.T) {
	t.Parallel()
	three := postgresUser(t, pgsim.Options{Nodes: 3}, plan.Request{Mode: "rolling"})
	for name, tc := range map[string]struct {
		bend func(*user)
		says string
	}{
		"a step that the twin's plan has not": {func(u *user) {
			p := *u.p
			p.Steps = append([]plan.Step{{ID: "db2/paint", Kind: "paint", Node: "db2"}}, p.Steps...)
			u.p = &p
		}, "only in your plan: db2/paint (paint)"},
		"a node that was down": {func(u *user) {
			p := *u.p
			p.Before = map[string]plan.NodeState{}
			for k, v := range u.p.Before {
				v.Healthy, v.Health = v.Healthy && k != "db3", "down"
				p.Before[k] = v
			}
			u.p = &p
		}, "db3 was not healthy (down)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := three
			tc.bend(&u)
			_, err := twin.Of(t.Context(), u.d, u.inv, u.p, t.TempDir())
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
		})
	}
}
