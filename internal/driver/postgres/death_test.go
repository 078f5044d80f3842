package postgres_test

import (
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// A machine that is gone must not keep the others from getting their release
// back; what is owed to it is done when it is back.
func TestRollbackGoesOnWithoutANodeAndEndsWhenItIsBack(t *testing.T) {
	t.Parallel()
	pkg := simPackage(t)
	for _, gone := range []string{"db1", "db2", "db3"} {
		t.Run(gone, func(t *testing.T) {
			t.Parallel()
			l, w := simWorld(t, pgsim.Options{Nodes: 3, Slots: true}, plan.Request{Mode: "rolling", Candidate: "db2"}, pkg)
			s, err := rehearse.Begin(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := s.Work(t.Context(), "apply", nil); err != nil || out.State != run.Upgraded {
				t.Fatalf("apply: %+v %v", out, err)
			}
			l.World.With(func() { l.World.Machine(gone).PowerOff() })
			out, err := s.Work(t.Context(), "rollback", nil)
			if err != nil || out.State == run.RolledBack {
				t.Fatalf("rollback without %s: %+v %v\n%s", gone, out, err, rehearse.Transcript(s.Log.Records))
			}
			t.Logf("without %s: %s, owed %v: %s", gone, out.State, out.Owed, out.Why.EN)
			if err := l.Damage(); err != nil {
				t.Fatal(err)
			}
			if gone == "db1" { // the old primary: the present one stays, on its old binary
				o, err := w.Driver.Observe(t.Context(), w.Env)
				if err != nil {
					t.Fatal(err)
				}
				if n := o.Node("db2"); n.Role != "primary" || n.Running != "15.16" || n.Installed != "15.16" {
					t.Errorf("db2 is %+v\n%s", n, rehearse.Transcript(s.Log.Records))
				}
			}
			l.World.Heal()
			for range 3 {
				if out, err = s.Work(t.Context(), "rollback", nil); err != nil || out.State == run.RolledBack {
					break
				}
			}
			if err != nil || out.State != run.RolledBack {
				t.Fatalf("rollback with %s back: %+v %v\n%s", gone, out, err, rehearse.Transcript(s.Log.Records))
			}
			if err := l.Truth(); err != nil {
				t.Error(err)
			}
			o, err := w.Driver.Observe(t.Context(), w.Env)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range o.Nodes {
				if !strings.HasPrefix(n.Running, "15.16") || n.Installed != "15.16" {
					t.Errorf("%+v", n)
				}
			}
		})
	}
}
