package gbase8a_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	"github.com/shiplift/shiplift/internal/plan"
)

var update = flag.Bool("update", false, "rewrite testdata/plan")

// told prints a plan as a person reviews it.
func told(p *plan.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s -> %s  %s%s\n", p.From, p.To, p.Request.Mode, p.Request.Component)
	for _, r := range p.Remarks {
		fmt.Fprintf(&b, "# %s\n# %s\n", r.EN, r.ZH)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%2d  %-28s %-10s %-11s %-7s [%s] needs %s\n", i+1, s.ID, s.Class, s.Impact, time.Duration(s.Estimate), s.Rule, strings.Join(s.Needs, ","))
		fmt.Fprintf(&b, "      %s\n      %s\n", s.Says.EN, s.Says.ZH)
		if s.Gate != nil {
			fmt.Fprintf(&b, "      one way: %t; %s\n", s.Gate.OneWay, s.Gate.Costs.EN)
		}
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := told(begin(t, open(t, tc.cfg, tc.r, nil)).Plan)
			file := filepath.Join("testdata", "plan", strings.NewReplacer(" ", "-", "=", "-").Replace(name)+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("go test -run Plan -update rewrites it; differs:\n%s", diff)
			}
		})
	}
}

// TestPlanIsPure: the same observation and request give the same plan.
func TestPlanIsPure(t *testing.T) {
	t.Parallel()
	o := open(t, v953, upgrade953, nil)
	obs, err := o.Driver.Observe(t.Context(), o.Env)
	if err != nil {
		t.Fatal(err)
	}
	first, err := o.Driver.Plan(o.Env.Inventory, obs, o.Request)
	if err != nil {
		t.Fatal(err)
	}
	second, err := o.Driver.Plan(o.Env.Inventory, obs, o.Request)
	if diff := cmp.Diff(first, second); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

// TestTheVendorsWaysBack holds G33.
func TestTheVendorsWaysBack(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		now, old string
		want     bool
	}{
		{"9.5.3.28.12", "9.5.3.27.14", true}, {"9.5.3.28.12", "9.5.2.39.10", true}, {"9.5.2.44.8", "9.5.2.39.10", true},
		{"9.5.2.44.8", "8.6.2.43", true}, {"9.5.3.28.12", "8.6.2.43", false}, {"9.5.2.44.8", "9.5.3.27.14", false}, {"9.8.0.1", "9.5.3.27.14", false},
	} {
		if got := gbase8a.CanRestore(tc.now, tc.old); got != tc.want {
			t.Errorf("from %s back to %s: %t", tc.now, tc.old, got)
		}
	}
}
