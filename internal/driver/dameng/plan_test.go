package dameng_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/driver"
	lab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/plan"
)

var update = flag.Bool("update", false, "rewrite the golden plans")

// printed is a plan as a numbered list, stages apart.
func printed(p *plan.Plan, clean func(string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan %s -> %s\n", p.From, p.To)
	for _, r := range p.Remarks {
		fmt.Fprintf(&b, "  %s\n", r.EN)
	}
	last := ""
	for i, s := range p.Steps {
		if needs := strings.Join(s.Needs, " "); needs != last {
			last = needs
			if i > 0 {
				b.WriteString("\n")
			}
		}
		class := string(s.Class)
		if s.Gate != nil {
			class = "gate"
			if s.Gate.OneWay {
				class = "ONE WAY GATE"
			}
		}
		line := fmt.Sprintf("%-3d %-28s %-12s %-10s %s", i+1, s.ID, class, s.Impact, s.Says.EN)
		if s.Rule != "" {
			line += " [" + strings.TrimSpace(s.Rule) + "]"
		}
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
	}
	return clean(b.String())
}

func TestGoldenPlans(t *testing.T) {
	t.Parallel()
	for name, sc := range scenes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := sc.open(t)
			made := func() *plan.Plan {
				o, err := st.world.Driver.Observe(t.Context(), st.world.Env)
				if err != nil {
					t.Fatal(err)
				}
				p, err := driver.Make(st.world.Driver, st.world.Env.Inventory, o, st.world.Request, "test")
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			p := made()
			one, err := plan.Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			two, err := plan.Encode(made())
			if err != nil {
				t.Fatal(err)
			}
			if string(one) != string(two) {
				t.Error("the same cluster gave two plans")
			}
			if strings.Contains(string(one), lab.DefaultPassword) {
				t.Error("the password is in the plan")
			}
			for _, s := range p.Steps {
				if s.Says.ZH == "" || s.Says.ZH == s.Says.EN || strings.Contains(s.Says.EN+s.Says.ZH, "%!") {
					t.Errorf("%s is not said in both languages: %+v", s.ID, s.Says)
				}
			}
			got := printed(p, func(s string) string {
				return strings.ReplaceAll(s, filepath.Dir(st.world.Request.Packages[0]), "PACKAGES")
			})
			golden(t, name, got)
		})
	}
}

// golden compares with the plan of that name in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "plan", strings.NewReplacer(", ", "_", " ", "-").Replace(name)+".txt")
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
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got (go test -run 'GoldenPlans|RepairPlan' -update)\n%s", diff)
	}
}

// kinds are the kinds of steps in a scene's plan.
func kinds(t *testing.T, sc scene) map[string]int {
	t.Helper()
	st := sc.open(t)
	o, err := st.world.Driver.Observe(t.Context(), st.world.Env)
	if err != nil {
		t.Fatal(err)
	}
	p, err := driver.Make(st.world.Driver, st.world.Env.Inventory, o, st.world.Request, "test")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, s := range p.Steps {
		out[s.Kind]++
	}
	return out
}

// TestPlansHoldWhatARuleWants names steps that a rule wants or forbids.
func TestPlansHoldWhatARuleWants(t *testing.T) {
	t.Parallel()
	skip := scenes["DW, HUGE path"]
	skip.options = map[string]string{"huge-tables": "no", "huge": "skip"}
	tests := map[string]struct {
		sc   scene
		kind string
		want int
	}{
		"DM-027: Data Watch of DSC keeps its DCR disks for the redo log": {scenes["DW-DSC, redo log"], "init-dcr", 0},
		"DM-090: DM7 to DM8 on a DSC makes them anew":                    {scenes["DSC, from DM7"], "init-dcr", 1},
		"DM-091: so do ASM disks below 4100":                             {scenes["DSC, ASM disks"], "init-dcr", 1},
		"DM-080: the HUGE path may be left for later":                    {skip, "huge", 0},
		"DM-082: each member gets it by itself":                          {scenes["DW, HUGE path"], "huge", 2},
		"DM-062: the rollback segment waits for no equality":             {scenes["DW, rollback segment"], "wait-equal", 0},
		"DM-071: nor does the page format without DSC":                   {scenes["DW, page format"], "wait-equal", 0},
		"DM-072: with DSC it does":                                       {scenes["DW-DSC, page format"], "wait-equal", 1},
		"DM-022: and so does the redo log":                               {scenes["DW, redo log"], "wait-equal", 2},
		"DM-008: no format, nothing is copied or moved":                  {scenes["DW, no format"], "cold-copy", 0},
		"DM-003: old DM7 is copied twice":                                {scenes["single, old DM7 in two hops"], "cold-copy", 2},
		"DM-093: no DDL is a gate of a rolling upgrade":                  {scenes["DSC, rolling"], plan.GateKind, 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := kinds(t, tc.sc)[tc.kind]; got != tc.want {
				t.Errorf("%d steps %q, want %d", got, tc.kind, tc.want)
			}
		})
	}
}
