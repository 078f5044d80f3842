package mogdb_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/plan"
)

var update = flag.Bool("update", false, "write the golden plans anew")

func (w *world) plan(t testing.TB) (*plan.Plan, error) {
	t.Helper()
	o, err := w.Driver.Observe(t.Context(), w.Env)
	if err != nil {
		t.Fatal(err)
	}
	return driver.Make(w.Driver, w.Env.Inventory, o, w.Request, "test")
}

// tree prints a plan as a DBA reads it.
func tree(p *plan.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan %s -> %s  %s  %d nodes\n", p.From, p.To, p.Request.Mode, len(p.Before))
	for _, r := range p.Remarks {
		fmt.Fprintf(&b, "   ! %s\n   ！%s\n", r.EN, r.ZH)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%2d %-24s %-10s %-11s %-20s <- %s\n", i+1, s.ID, s.Class, s.Impact, s.Rule, strings.Join(s.Needs, " "))
		fmt.Fprintf(&b, "     %s\n     %s\n", s.Says.EN, s.Says.ZH)
		if s.Gate != nil {
			fmt.Fprintf(&b, "     costs: %s\n", s.Gate.Costs.EN)
		}
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	t.Parallel()
	cases := allKinds()
	cases["rolling om mogha with a hook"] = struct {
		lab gauss.Options
		r   plan.Request
	}{gauss.Options{Nodes: 3, Install: "om", MogHA: true}, plan.Request{Mode: "rolling", Options: map[string]string{"switch-hook": "/usr/local/bin/move_vip"}}}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, tc.lab, tc.r, nil)
			p, err := w.plan(t)
			if err != nil {
				t.Fatal(err)
			}
			again, err := w.plan(t)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(p, again); d != "" {
				t.Errorf("the same observation made another plan:\n%s", d)
			}
			file := filepath.Join("testdata", "plan", strings.ReplaceAll(name, " ", "-")+".txt")
			got := tree(p)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("the plan is another one (-update writes it):\n%s", d)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	three := gauss.Options{Nodes: 3, Install: "om"}
	release := func(v string) gauss.Options { return gauss.Options{Nodes: 2, Install: "om", Release: v} }
	rolling := plan.Request{Mode: "rolling"}
	with := func(fn func(*plan.Request)) plan.Request {
		r := rolling
		fn(&r)
		return r
	}
	for name, tc := range map[string]struct {
		lab  gauss.Options
		r    plan.Request
		bend func(*world)
		rule string
		says string
	}{
		"2.1.0 does not need it":                  {lab: release("2.1.0"), r: rolling, rule: "M01", says: "2.1.0 does not need the patch: 2.1 and later never had the defect"},
		"5.0.0 does not need it":                  {lab: release("5.0.0"), r: rolling, rule: "M01", says: "does not need the patch"},
		"2.0.4 is later than the patch":           {lab: release("2.0.4"), r: rolling, rule: "M01", says: "2.0.4 is later than the patch"},
		"2.0.0 is refused":                        {lab: release("2.0.0"), r: rolling, rule: "M01", says: "applies to 2.0.1 alone, not to 2.0.0"},
		"another target is refused":               {lab: three, r: with(func(r *plan.Request) { r.To = "2.1.0" }), rule: "M01", says: "not the way to 2.1.0"},
		"the way back is no upgrade":              {lab: release("2.0.3"), r: with(func(r *plan.Request) { r.To = "2.0.1" }), rule: "M23", says: "rollback"},
		"a single server has nobody to switch to": {lab: gauss.Options{Nodes: 1, Install: "manual"}, r: rolling, rule: "M10", says: "single server"},
		"a cascade standby is no candidate":       {lab: gauss.Options{Nodes: 4, Cascade: 1, Install: "om"}, r: with(func(r *plan.Request) { r.Candidate = "node4" }), rule: "M13", says: "node4"},
		"the primary is no candidate":             {lab: three, r: with(func(r *plan.Request) { r.Candidate = "node1" }), rule: "M13", says: "node1"},
		"a subset of nodes":                       {lab: three, r: with(func(r *plan.Request) { r.Nodes = []string{"node2"} }), rule: "M30", says: "mixed releases"},
		"two standbys at once":                    {lab: three, r: with(func(r *plan.Request) { r.MaxUnavailable = 2 }), rule: "M11", says: "one standby"},
		"a package of another name":               {lab: three, r: with(func(r *plan.Request) { r.Packages = []string{"/tmp/x.tar.gz"} }), rule: "P3", says: "vendor's name"},
		"no package":                              {lab: three, r: with(func(r *plan.Request) { r.Packages = []string{} }), rule: "P3", says: "one package is needed"},
		"a package of another release":            {lab: three, r: with(func(r *plan.Request) { r.Packages = []string{"/tmp/MogDB-2.1.0-CentOS-x86_64.tar.gz"} }), rule: "M01", says: "holds 2.1.0"},
		"an option that is not known":             {lab: three, r: with(func(r *plan.Request) { r.Options = map[string]string{"vip": "1"} }), says: "no option"},
		"a hook without an absolute path":         {lab: three, r: with(func(r *plan.Request) { r.Options = map[string]string{"switch-hook": "move"} }), says: "absolute path"},
		"an unknown mode":                         {lab: three, r: plan.Request{Mode: "blue-green"}, says: "not known"},
		"a candidate in place":                    {lab: three, r: plan.Request{Mode: "inplace", Candidate: "node2"}, says: "no switchover"},
		"a component":                             {lab: three, r: with(func(r *plan.Request) { r.Component = "x" }), says: "no component"},
		"a backup age that nobody would look at":  {lab: three, r: with(func(r *plan.Request) { r.MaxBackupAge = 1 }), says: "does not look for backups"},
		"a node that does not answer":             {lab: three, r: rolling, bend: func(w *world) { w.Sim.With(func() { w.Sim.Machine("node3").PowerOff() }) }, rule: "M02", says: "node3 cannot be read"},
		"no primary":                              {lab: three, r: rolling, bend: func(w *world) { w.lab.Kill("node1") }, rule: "M02", says: "not exactly one primary"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := open(t, tc.lab, tc.r, tc.bend).plan(t)
			var no *driver.RefusalError
			if !errors.As(err, &no) {
				t.Fatalf("got %v, want a refusal", err)
			}
			if no.Rule != tc.rule || !strings.Contains(no.Text.EN, tc.says) || no.Text.ZH == "" {
				t.Errorf("got rule %q: %s / %s, want rule %q: …%s…", no.Rule, no.Text.EN, no.Text.ZH, tc.rule, tc.says)
			}
		})
	}
	t.Run("2.0.3 is there already", func(t *testing.T) {
		t.Parallel()
		_, err := open(t, release("2.0.3"), rolling, nil).plan(t)
		var nothing *driver.NothingToDoError
		if !errors.As(err, &nothing) {
			t.Fatalf("got %v, want nothing to do", err)
		}
	})
}
