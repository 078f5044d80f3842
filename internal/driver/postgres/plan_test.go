package postgres

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// watched is a simulated cluster and what the driver saw of it.
func watched(t *testing.T, o pgsim.Options) (driver.Env, driver.Observation) {
	t.Helper()
	o.Release, o.CutScript = "15.16", CutScript
	l, err := pgsim.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	env := driver.Env{Hosts: l.World.Hosts(), Inventory: l.Inventory, Clock: l.World, Serial: true}
	obs, err := New().Observe(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	return env, obs
}

func packageFor(t *testing.T, release string) string {
	t.Helper()
	p, err := pgsim.WritePackage(t.TempDir(), release)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPlan holds the plans of testdata/plan; -update rewrites them, and their
// difference is reviewed like code.
func TestPlan(t *testing.T) {
	t.Parallel()
	cascade := map[string]string{"db4": "db2"}
	tests := map[string]struct {
		o pgsim.Options
		r plan.Request
	}{
		"two-nodes":         {pgsim.Options{Nodes: 2}, plan.Request{}},
		"three-nodes-slots": {pgsim.Options{Nodes: 3, Slots: true}, plan.Request{Candidate: "db3"}},
		"cascade":           {pgsim.Options{Nodes: 4, Upstream: cascade}, plan.Request{Candidate: "db3"}},
		"synchronous":       {pgsim.Options{Nodes: 3, Sync: "FIRST 2 (db2, db3)"}, plan.Request{}},
		"max-unavailable":   {pgsim.Options{Nodes: 5, Sync: "ANY 2 (*)"}, plan.Request{MaxUnavailable: 3}},
		"switch-back":       {pgsim.Options{Nodes: 3, Slots: true, Sync: "FIRST 1 (db2, db3)"}, plan.Request{SwitchBack: true}},
		"in-place":          {pgsim.Options{Nodes: 3}, plan.Request{Mode: modeInplace}},
		"keep-old":          {pgsim.Options{Nodes: 2}, plan.Request{KeepOld: true}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, obs := watched(t, tc.o)
			tc.r.To, tc.r.Packages = "15.17", []string{packageFor(t, "15.17")}
			p, err := driver.Make(New(), env.Inventory, obs, tc.r, "test")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "plan", name+".txt")
			got := tree(obs, p)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
			again, err := driver.Make(New(), env.Inventory, obs, tc.r, "test")
			if err != nil || cmp.Diff(p, again) != "" {
				t.Errorf("the same question has another answer: %v %s", err, cmp.Diff(p, again))
			}
		})
	}
}

// tree prints topology and steps.
func tree(o driver.Observation, p *plan.Plan) string {
	var b strings.Builder
	for _, n := range o.Detail.(*view).Nodes {
		fmt.Fprintf(&b, "# %s %s follows=%q sync=%q\n", n.Name, n.Role, n.Upstream, n.Settings[syncSetting].Value)
	}
	fmt.Fprintf(&b, "plan %s -> %s %s\n", p.From, p.To, p.Request.Mode)
	for _, r := range p.Remarks {
		fmt.Fprintf(&b, "! %s\n! %s\n", r.EN, r.ZH)
	}
	number := map[string]int{}
	for i, s := range p.Steps {
		number[s.ID] = i + 1
		var needs []string
		for _, n := range s.Needs {
			needs = append(needs, fmt.Sprint(number[n]))
		}
		fmt.Fprintf(&b, "%2d %-26s %-11s %-10s after %s\n   %s\n   %s\n", i+1, s.ID, s.Impact, s.Class, strings.Join(needs, ","), s.Says.EN, s.Says.ZH)
	}
	return b.String()
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		nodes  int
		r      plan.Request
		change func(*view)
		want   string
	}{
		"an older target":               {2, plan.Request{To: "15.2"}, nil, "newer than 15.2"},
		"another major release":         {2, plan.Request{To: "16.4"}, nil, "minor releases only"},
		"something that is no release":  {2, plan.Request{To: "latest"}, nil, "not a PostgreSQL release"},
		"two primaries":                 {3, plan.Request{To: "15.17"}, func(v *view) { v.Nodes[1].ID.Recovery = false }, "2 primaries: db1, db2"},
		"no primary":                    {2, plan.Request{To: "15.17"}, func(v *view) { v.Nodes[0].ID.Recovery = true }, "no primary"},
		"a node that does not answer":   {2, plan.Request{To: "15.17"}, func(v *view) { v.Nodes[1].SQL = false }, "db2 does not answer"},
		"no package":                    {2, plan.Request{To: "15.17", Packages: []string{}}, nil, "no package was given"},
		"a package for another machine": {2, plan.Request{To: "15.17"}, func(v *view) { v.Nodes[1].Arch = "Linux aarch64" }, "linux-arm64.tar.gz is needed"},
		"rolling without a standby":     {1, plan.Request{To: "15.17"}, nil, "needs a standby"},
		"a candidate that is none":      {2, plan.Request{To: "15.17", Candidate: "db1"}, nil, "not a standby"},
		"an unknown option":             {2, plan.Request{To: "15.17", Options: map[string]string{"x": "y"}}, nil, "no option"},
		"part of the cluster":           {2, plan.Request{To: "15.17", Nodes: []string{"db1"}}, nil, "whole cluster"},
		"an unknown mode":               {2, plan.Request{To: "15.17", Mode: "fast"}, nil, "unknown mode"},
		"a switch back in place":        {2, plan.Request{To: "15.17", Mode: modeInplace, SwitchBack: true}, nil, "no switchover"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, obs := watched(t, pgsim.Options{Nodes: tc.nodes})
			if tc.change != nil {
				tc.change(obs.Detail.(*view))
			}
			if tc.r.Packages == nil {
				tc.r.Packages = []string{packageFor(t, "15.17")}
			}
			_, err := New().Plan(nil, obs, tc.r)
			var no *driver.RefusalError
			if !errors.As(err, &no) || !strings.Contains(no.Text.EN, tc.want) || no.Next.EN == "" || no.Text.In(say.Chinese) == "" {
				t.Errorf("got %v, want a refusal with %q and a next step", err, tc.want)
			}
		})
	}
	_, obs := watched(t, pgsim.Options{Nodes: 2})
	var nothing *driver.NothingToDoError
	if _, err := New().Plan(nil, obs, plan.Request{To: "15.16"}); !errors.As(err, &nothing) {
		t.Errorf("the same release: %v", err)
	}
}

// TestChecksNotice breaks one thing in a healthy cluster at a time.
func TestChecksNotice(t *testing.T) {
	t.Parallel()
	set := func(n *seen, name, value string) { n.Settings[name] = setting{Value: value} }
	tests := map[string]struct {
		id     string
		want   check.Severity
		change func(v *view, r *plan.Request)
	}{
		"a host that does not answer":        {"hosts", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Reachable, v.Nodes[1].SQL = false, false }},
		"an unknown host key":                {"hosts", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].HostKey = true }},
		"a server that is down":              {"servers", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].SQL, v.Nodes[1].Proc = false, process{} }},
		"a login that is no superuser":       {"servers", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].ID.Superuser = false }},
		"two primaries":                      {"one-primary", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].ID.Recovery = false }},
		"another cluster":                    {"same-system", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].ID.SystemID = "1" }},
		"mixed releases":                     {"same-release", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].ID.Version = "15.15" }},
		"a link that was flipped":            {"running-installed", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Installed = "15.17" }},
		"no link":                            {"layout", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Link, v.Nodes[1].Installed = "", "" }},
		"a known-bad release":                {"target", check.Block, func(v *view, r *plan.Request) { r.To = "15.9"; v.each(func(n *seen) { n.ID.Version = "15.8" }) }},
		"a major upgrade":                    {"target", check.Block, func(_ *view, r *plan.Request) { r.To = "16.4" }},
		"a standby whose replay is paused":   {"replication", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Paused = true }},
		"a standby that does not stream":     {"replication", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Receiver = receiver{} }},
		"a standby that lags":                {"replication", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Lag = 1 << 30 }},
		"an upstream outside":                {"upstream", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Upstream = "" }},
		"synchronous standbys that are away": {"sync", check.Block, func(v *view, _ *plan.Request) { set(v.Nodes[0], syncSetting, "FIRST 2 (x, y)") }},
		"a smaller standby":                  {"parameters", check.Block, func(v *view, _ *plan.Request) { set(v.Nodes[1], "max_connections", "50") }},
		"a larger standby":                   {"parameters", check.Block, func(v *view, _ *plan.Request) { set(v.Nodes[1], "max_connections", "500") }},
		"a logical slot": {"slots", check.Block, func(v *view, _ *plan.Request) {
			v.Nodes[0].Slots = append(v.Nodes[0].Slots, slot{Name: "cdc", Type: "logical"})
		}},
		"a slot that keeps much": {"slots", check.Warn, func(v *view, _ *plan.Request) {
			v.Nodes[0].Slots = []slot{{Name: "old", Type: "physical", Restart: 1}}
			v.Nodes[0].ID.Current = 1 << 40
		}},
		"somebody else's directory": {"data-directory", check.Block, func(v *view, _ *plan.Request) { v.Nodes[0].Owner = "root" }},
		"an open directory":         {"data-directory", check.Block, func(v *view, _ *plan.Request) { v.Nodes[0].Mode = "0755" }},
		"other checksums":           {"storage", check.Block, func(v *view, _ *plan.Request) { set(v.Nodes[1], "data_checksums", "on") }},
		"an old collation":          {"collation", check.Warn, func(v *view, _ *plan.Request) { v.Nodes[0].Collation = []collation{{"database app", "2.31", "2.36"}} }},
		"other collations": {"collation", check.Block, func(v *view, _ *plan.Request) {
			v.Nodes[0].Collation = []collation{{"database app", "2.36", "2.36"}}
			v.Nodes[1].Collation = []collation{{"database app", "2.36", "2.31"}}
		}},
		"a full disk":       {"disk", check.Block, func(v *view, _ *plan.Request) { v.Nodes[1].Room[0].Free = v.Nodes[1].Room[0].Total / 10 }},
		"a damaged package": {"package", check.Block, func(_ *view, r *plan.Request) { damage(r.Packages[0]) }},
		"a missing library": {"libraries", check.Block, func(v *view, _ *plan.Request) {
			v.Nodes[0].Libraries = []library{{"$libdir/postgis-3", "database gis"}}
		}},
		"a long transaction":           {"long-transactions", check.Warn, func(v *view, _ *plan.Request) { v.Nodes[0].Long = []session{{PID: "1", Age: 5 * time.Minute}} }},
		"a very long transaction":      {"long-transactions", check.Block, func(v *view, _ *plan.Request) { v.Nodes[0].Long = []session{{PID: "1", Age: 5 * time.Hour}} }},
		"a prepared transaction":       {"prepared-transactions", check.Warn, func(v *view, _ *plan.Request) { v.Nodes[0].Prepared = []string{"x"} }},
		"an agent":                     {"ha-agent", check.Block, func(v *view, _ *plan.Request) { v.Nodes[0].Agents = []string{"patroni"} }},
		"a clock that is off":          {"clock", check.Warn, func(v *view, _ *plan.Request) { v.Nodes[0].Offset = time.Minute }},
		"a signal file on the primary": {"leftovers", check.Block, func(v *view, _ *plan.Request) { v.Nodes[0].Signal = true }},
		"a left slot":                  {"leftovers", check.Warn, func(v *view, _ *plan.Request) { v.Nodes[0].Slots = []slot{{Name: holdSlot}} }},
		"no way to ask for the backup": {"backup", check.Block, func(_ *view, r *plan.Request) { r.MaxBackupAge = plan.Duration(time.Hour) }},
		"an old backup":                {"backup", check.Block, func(v *view, r *plan.Request) { r.MaxBackupAge = plan.Duration(time.Hour) }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, obs := watched(t, pgsim.Options{Nodes: 3})
			if name == "an old backup" {
				env.Inventory.Nodes[0].Settings[keyBackup] = "echo 1700000000"
				obs, _ = New().Observe(t.Context(), env)
			}
			r := plan.Request{To: "15.17", Mode: modeRolling, Packages: []string{packageFor(t, "15.17")}}
			tc.change(obs.Detail.(*view), &r)
			for _, f := range check.Run(t.Context(), New().Checks(env, obs, r), nil) {
				if f.ID == tc.id && f.Severity == tc.want {
					if f.Says.In(say.Chinese) == "" || f.Says.EN == "" {
						t.Errorf("a language is missing: %+v", f)
					}
					return
				}
			}
			t.Errorf("%s did not answer %s", tc.id, tc.want)
		})
	}
}

func (v *view) each(fn func(*seen)) {
	for _, n := range v.Nodes {
		fn(n)
	}
}

func damage(file string) {
	b, err := os.ReadFile(file)
	if err == nil {
		b[len(b)/2] ^= 1
		_ = os.WriteFile(file, b, 0o600)
	}
}
