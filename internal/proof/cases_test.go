package proof_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/dameng"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
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
	"github.com/shiplift/shiplift/internal/rehearse"
)

// packages is where the labs' packages lie, made when a case first asks.
var packages string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "shiplift-proof-")
	if err != nil {
		panic(err)
	}
	packages = dir
	debug.SetGCPercent(1600) // many small worlds that live shortly: little is left when garbage is collected
	debug.SetMemoryLimit(1 << 30)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// ownPackages is a directory for one case: no other writes there while it reads.
func ownPackages() (string, error) { return os.MkdirTemp(packages, "case-") }

// cases are all practice clusters that the simulation plays on.
func cases() []rehearse.Case {
	out := []rehearse.Case{{Name: "toy-3", Open: toy}}
	for name, c := range postgresCases {
		out = append(out, rehearse.Case{Name: "postgres-" + name, Open: c.opener(), Hooks: c.hooks()})
	}
	for name, c := range gbaseCases {
		out = append(out, rehearse.Case{Name: "gbase8a-" + name, Open: c.opener()})
	}
	for name, c := range damengCases {
		out = append(out, rehearse.Case{Name: "dameng-" + name, Open: c.opener(), Hooks: damenglab.Hooks()})
	}
	for name, c := range gaussCases {
		most := 1
		if c.flavor == gauss.OpenGauss {
			most = 2
		}
		out = append(out, rehearse.Case{Name: name, Open: c.opener(), Hooks: c.hooks(), MostHooks: most})
	}
	slices.SortFunc(out, func(a, b rehearse.Case) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func toy(uint64) (rehearse.World, error) {
	inv, hosts := drivertest.ToyCluster(3, "1.0")
	return rehearse.World{
		Driver:  drivertest.Toy{},
		Env:     driver.Env{Hosts: hosts, Inventory: inv, Clock: rehearse.NewClock(), Serial: true},
		Request: plan.Request{To: "2.0", Mode: "rolling"},
		Truth: func() error {
			primaries := 0
			for _, h := range hosts {
				if strings.TrimSpace(h.(*drivertest.ToyHost).Files["/toy/role"]) == "primary" {
					primaries++
				}
			}
			if primaries != 1 {
				return fmt.Errorf("%d primaries", primaries)
			}
			return nil
		},
	}, nil
}

// postgresCase is a simulated PostgreSQL cluster and what is asked of it.
type postgresCase struct {
	o pgsim.Options
	r plan.Request
}

var postgresCases = map[string]postgresCase{
	"2":             {pgsim.Options{Nodes: 2}, plan.Request{Mode: "rolling"}},
	"3-slots":       {pgsim.Options{Nodes: 3, Slots: true}, plan.Request{Mode: "rolling"}},
	"2-sync":        {pgsim.Options{Nodes: 2, Sync: "FIRST 1 (db1, db2)"}, plan.Request{Mode: "rolling"}},
	"4-cascade":     {pgsim.Options{Nodes: 4, Slots: true, Sync: "ANY 2 (db2, db3)", Upstream: map[string]string{"db4": "db2"}}, plan.Request{Mode: "rolling", SwitchBack: true, Candidate: "db3"}},
	"3-inplace":     {pgsim.Options{Nodes: 3, Sync: "db2"}, plan.Request{Mode: "inplace"}},
	"3-unavailable": {pgsim.Options{Nodes: 4}, plan.Request{Mode: "rolling", MaxUnavailable: 2}},
}

// hooks: an HA agent moves the primary too, where a person can take back what it did.
func (c postgresCase) hooks() []string {
	if c.o.Slots {
		return pgsim.Hooks()
	}
	return append(pgsim.Hooks(), pgsim.MoveHook)
}

var postgresPackage = sync.OnceValues(func() (string, error) {
	return pgsim.WritePackage(packages, "15.17")
})

// opener makes the cluster once; each seed forks it.
func (c postgresCase) opener() func(uint64) (rehearse.World, error) {
	var lab *pgsim.Lab
	of := func(w rehearse.World, room *sim.World) rehearse.World {
		l := lab.Of(room)
		w.Sim, w.Truth, w.Mend, w.Env.Hosts, w.Env.Clock = room, l.Truth, l.Mend, room.Hosts(), room
		return w
	}
	return rehearse.Forked(func() (rehearse.World, error) {
		pkg, err := postgresPackage()
		if err != nil {
			return rehearse.World{}, err
		}
		o, r := c.o, c.r
		o.Release, o.CutScript = "15.16", postgres.CutScript
		if lab, err = pgsim.Start(o); err != nil {
			return rehearse.World{}, err
		}
		r.To, r.Packages = "15.17", []string{pkg}
		return of(rehearse.World{Driver: postgres.New(), Request: r, Secrets: []string{pgsim.Secret}, Env: driver.Env{Inventory: lab.Inventory, Serial: true}}, lab.World), nil
	}, of)
}

// gbaseCase is a simulated GBase 8a cluster and what is asked of it.
type gbaseCase struct {
	cfg gbaselab.Config
	r   plan.Request
}

var gbaseCases = map[string]gbaseCase{
	"flush-v952":   {gbaselab.Config{Flavor: gbaselab.V952, FlushRequired: true}, plan.Request{Component: gbase8a.Component}},
	"flush-v953":   {gbaselab.Config{Flavor: gbaselab.V953, FlushRequired: true}, plan.Request{Component: gbase8a.Component}},
	"upgrade-v952": {gbaselab.Config{Flavor: gbaselab.V952, FlushRequired: true}, plan.Request{To: "9.5.2.44.8", Mode: "inplace"}},
	"upgrade-v953": {gbaselab.Config{Flavor: gbaselab.V953, FlushRequired: true}, plan.Request{To: "9.5.3.28.12", Mode: "inplace"}},
}

func (c gbaseCase) opener() func(uint64) (rehearse.World, error) {
	of := func(w rehearse.World, room *sim.World) rehearse.World {
		lab := gbaselab.Of(room)
		w.Sim, w.Truth = room, func() error { return gbaseTruth(room, lab) }
		w.Mend = func() error { room.With(func() { lab.Mend(room) }); return nil }
		w.Env = driver.Env{Hosts: lab.Hosts(room), Inventory: lab.Inventory(), Clock: room, Secret: gbaselab.Secret, Serial: true}
		return w
	}
	return rehearse.Forked(func() (rehearse.World, error) {
		room, r := sim.New(7), c.r
		gbaselab.Install(room, c.cfg)
		room.NoTrace()
		dir, err := ownPackages()
		if err != nil {
			return rehearse.World{}, err
		}
		files, err := gbaselab.WritePackages(dir, c.cfg)
		if r.Component == "" {
			r.Packages = files
		}
		return of(rehearse.World{Driver: gbase8a.Driver{}, Request: r, Secrets: []string{gbaselab.DBAPassword, gbaselab.DBPassword}}, room), err
	}, of)
}

func gbaseTruth(w *sim.World, c *gbaselab.Cluster) (err error) {
	var bad []string
	w.With(func() { bad, err = c.Violations(), c.Whole(w) })
	if bad = append(bad, w.Complaints()...); len(bad) > 0 {
		err = errors.Join(err, errors.New(strings.Join(bad, "; ")))
	}
	return err
}

// damengCase is a simulated Dameng cluster and what is asked of it.
type damengCase struct {
	o    damenglab.Options
	to   string
	mode string
}

var damengCases = map[string]damengCase{
	"dw-log-epoch": {damenglab.Options{Topology: "dw", Standbys: 2, Release: "8.1.1.14"}, "8.1.1.15", "inplace"},
	"dw-pages":     {damenglab.Options{Topology: "dw", Standbys: 1, Release: "8.1.1.101"}, "8.1.1.171", "inplace"},
	"single-pages": {damenglab.Options{Topology: "single", Release: "8.1.1.101"}, "8.1.1.171", "inplace"},
	"dsc":          {damenglab.Options{Topology: "dsc", Release: "8.1.1.101"}, "8.1.1.171", "inplace"},
}

var damengMade sync.Map

func (c damengCase) opener() func(uint64) (rehearse.World, error) {
	var lab *damenglab.Lab
	of := func(w rehearse.World, room *sim.World) rehearse.World {
		l := lab.Of(room)
		w.Sim, w.Truth, w.Mend = room, func() error { return damengTruth(l) }, func() error { return damengMend(l) }
		w.Env = driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: room, Serial: true,
			Secret: func(string, string) (string, error) { return damenglab.DefaultPassword, nil }}
		return w
	}
	return rehearse.Forked(func() (rehearse.World, error) {
		made, _ := damengMade.LoadOrStore(c.to, sync.OnceValue(func() error {
			_, err := damenglab.WritePackages(packages, c.to)
			return err
		}))
		if err := made.(func() error)(); err != nil {
			return rehearse.World{}, err
		}
		var err error
		if lab, err = damenglab.New(c.o); err != nil {
			return rehearse.World{}, err
		}
		lab.World.NoTrace()
		for range 7 {
			lab.Write()
		}
		return of(rehearse.World{
			Driver:  dameng.Driver{},
			Secrets: []string{damenglab.DefaultPassword},
			Request: plan.Request{To: c.to, Mode: c.mode, Packages: []string{filepath.Join(packages, "dameng-"+c.to+".tar.gz")}},
			Accept:  []string{"point-of-no-return", "hop1/point-of-no-return", "hop2/point-of-no-return"},
		}, lab.World), nil
	}, of)
}

const catchesUp = "dameng: standby catches up"

func damengMend(l *damenglab.Lab) error {
	for i := 2; i <= l.Opts.Standbys+1; i++ {
		if node := fmt.Sprintf("db%d", i); l.World.Machine(node) != nil {
			if err := l.World.Strike(catchesUp, node); err != nil {
				return err
			}
		}
	}
	return l.Mend()
}

func damengTruth(l *damenglab.Lab) error {
	t := l.Truth()
	switch {
	case len(t.Damage) > 0:
		return fmt.Errorf("damage: %v", t.Damage)
	case len(t.Primaries) != 1:
		return fmt.Errorf("writable primaries: %v", t.Primaries)
	case t.Lost > 0:
		return fmt.Errorf("%d acknowledged writes are lost", t.Lost)
	}
	return nil
}

// gaussCase is a simulated openGauss or MogDB cluster and what is asked of it.
type gaussCase struct {
	driver driver.Driver
	flavor gauss.Flavor
	o      gauss.Options
	r      plan.Request
	accept []string
}

var gaussCases = map[string]gaussCase{
	"opengauss-rolling":     {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "5.0.0", Load: true}, plan.Request{To: "5.0.3", Mode: "rolling"}, nil},
	"opengauss-cm":          {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "5.0.0", CM: true, Load: true}, plan.Request{To: "5.0.3", Mode: "rolling"}, nil},
	"opengauss-inplace":     {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "5.0.0"}, plan.Request{To: "5.0.3", Mode: "inplace"}, nil},
	"opengauss-small":       {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "1.1.0", Load: true}, plan.Request{To: "2.0.0", Mode: "rolling"}, nil},
	"opengauss-cascade":     {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "5.0.0", Nodes: 4, Cascade: 1, Load: true}, plan.Request{To: "5.0.3", Mode: "rolling"}, nil},
	"opengauss-subset":      {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "5.0.0", Load: true}, plan.Request{To: "5.0.3", Mode: "rolling", Nodes: []string{"node3"}}, []string{opengauss.RestGate}},
	"opengauss-smallcm":     {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "3.0.0", CM: true, Load: true}, plan.Request{To: "3.0.1", Mode: "rolling"}, nil},
	"opengauss-upgradecm":   {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "5.0.0", CM: true, Load: true}, plan.Request{To: "5.0.3", Component: "cm"}, nil},
	"opengauss-stopcm":      {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "5.0.0", CM: true}, plan.Request{To: "5.0.3", Mode: "inplace"}, nil},
	"opengauss-stopcascade": {opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "5.0.0", Nodes: 4, Cascade: 1}, plan.Request{To: "5.0.3", Mode: "inplace"}, nil},
	"mogdb-rolling-om":      {mogdb.New(), gauss.MogDB, gauss.Options{Flavor: gauss.MogDB, Nodes: 3, Install: "om", MogHA: true, Load: true}, plan.Request{To: "2.0.3", Mode: "rolling"}, nil},
	"mogdb-rolling":         {mogdb.New(), gauss.MogDB, gauss.Options{Flavor: gauss.MogDB, Nodes: 3, Install: "manual", Load: true}, plan.Request{To: "2.0.3", Mode: "rolling"}, nil},
	"mogdb-inplace-om":      {mogdb.New(), gauss.MogDB, gauss.Options{Flavor: gauss.MogDB, Nodes: 3, Install: "om"}, plan.Request{To: "2.0.3", Mode: "inplace"}, nil},
}

// hooks are the troubles of these products that chance may bring; the drivers'
// own tests strike with the others at places of their choice. Where there is a
// cluster manager it elects a primary when one is killed.
func (c gaussCase) hooks() []string {
	hooks := []string{"slow standby", "switchover late", "failover"}
	if c.o.CM {
		hooks = append(hooks, "kill primary")
	}
	return hooks
}

// opener makes the cluster once; each seed forks it.
func (c gaussCase) opener() func(uint64) (rehearse.World, error) {
	var lab *gauss.Lab
	of := func(w rehearse.World, room *sim.World) rehearse.World {
		l := lab.Of(room)
		w.Sim, w.Mend, w.Truth = room, l.Mend, func() error { return gaussTruth(l, c.r.Mode) }
		w.Env = driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: room, Serial: true}
		if c.r.Component != "" {
			w.Parts = func() map[string]string { return managers(l) }
		}
		return w
	}
	return rehearse.Forked(func() (w rehearse.World, err error) {
		room := sim.New(1)
		room.NoTrace()
		if lab, err = gauss.New(room, c.o); err != nil {
			return w, err
		}
		plantPassword(lab)
		p, err := gauss.PackageOf(c.flavor, c.r.To)
		if err != nil {
			return w, err
		}
		dir, err := ownPackages()
		if err != nil {
			return w, err
		}
		files, err := p.Write(dir)
		r := c.r
		r.Packages = files[:1]
		if r.Component != "" {
			r.Packages = files[1:]
		}
		return of(rehearse.World{Driver: c.driver, Request: r, Accept: c.accept, Secrets: []string{gaussPassword}}, room), err
	}, of)
}

// gaussPassword is one that the tool has no use for: it comes in by the local
// socket, as the login's own user. It lies where a DBA may have left one.
const gaussPassword = "Gauss_9f3c51d7"

// plantPassword exports a password in the profile that every command sources.
func plantPassword(l *gauss.Lab) {
	l.World.With(func() {
		for _, m := range l.World.Machines() {
			if text, ok := m.Read(l.Options.Profile()); ok {
				m.Write(l.Options.Profile(), text+"export PGPASSWORD="+gaussPassword+"\n", 0o644, l.Options.User)
			}
		}
	})
}

// managers are the releases of the cluster manager, node by node.
func managers(l *gauss.Lab) map[string]string {
	out := map[string]string{}
	for _, n := range l.Nodes() {
		out[n.Name] = n.CM
	}
	return out
}

func gaussTruth(l *gauss.Lab, mode string) error {
	t := l.Truth()
	bad := append(t.Damaged(), l.World.Complaints()...)
	if mode == "inplace" {
		// The service is stopped by intent: standbys that are down together harm nobody.
		bad = slices.DeleteFunc(bad, func(s string) bool { return strings.Contains(s, " M11 ") })
	}
	if t.Lost > 0 {
		bad = append(bad, fmt.Sprintf("%d bytes of acknowledged writes are lost", t.Lost))
	}
	if t.TwoPrimaries > 0 {
		bad = append(bad, fmt.Sprintf("two writable primaries for %s", t.TwoPrimaries))
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}
