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
				t.Errorf("-want +got (go test -run GoldenPlans -update)\n%s", diff)
			}
		})
	}
}
