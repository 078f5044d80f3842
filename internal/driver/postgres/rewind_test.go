package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	labpg "github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// fakeRewind stands in for pg_rewind, which the lab's packages do not have. It
// writes down how it was called, takes the data directory back to a copy from
// before the fork, and does to it what the real one does: the source's
// configuration, no standby.signal of the target's own.
const fakeRewind = `#!/bin/sh
set -e
{ printf '%s\n' "$@"; echo --; } >> {log}
stat -c %a "$(dirname {pass})" {pass} >> {log}
case " $* " in *" --dry-run "*) exit 0 ;; esac
rm -rf {data}/* && cp -a {saved}/. {data}/ && rm -f {data}/standby.signal
cp {source}/postgresql.conf {source}/postgresql.auto.conf {source}/pg_hba.conf {data}/
`

// TestRealOldPrimaryThatWentItsOwnWay takes a primary that was written to beside
// its successor in again: refused with the place where the histories part, and
// rewound where the package has the tool and the inventory allows it.
func TestRealOldPrimaryThatWentItsOwnWay(t *testing.T) {
	t.Parallel()
	r := openReal(t, labpg.Options{Nodes: 2, Release: "15.16"}, plan.Request{})
	db1, db2 := r.lab.Nodes()[0], r.lab.Nodes()[1]
	saved := filepath.Join(filepath.Dir(db1.Data), "saved")
	r.do(t, plan.Step{ID: "cluster/switchover", Kind: "switchover", Args: map[string]string{"from": "db1", "to": "db2", "name": "db1", "slot": "db1"}})
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", db1.Data, saved).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}

	// Somebody starts it by itself and a client writes there.
	signal := filepath.Join(db1.Data, "standby.signal")
	if err := os.Remove(signal); err != nil {
		t.Fatal(err)
	}
	r.fault(t, "db1", labpg.StartServer)
	c, err := r.lab.Connect(t.Context(), "db1", labpg.App)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "CREATE TABLE only_here (x int); CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	_ = c.Close(t.Context())
	r.fault(t, "db1", labpg.StopServer)
	own(t, signal, db1.Data, "")

	start := plan.Step{ID: "db1/start", Kind: "start", Node: "db1", Args: map[string]string{"release": "15.16", "upstream": "db2"}}
	refused := func(next string) {
		t.Helper()
		text := say.Of(r.try(t, start)).EN
		for _, want := range []string{"db1: it has gone its own way: its timeline 1 reaches 0/", "db2 began timeline 2 at 0/"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing in %s", want, text)
			}
		}
		if p, ok := r.problem(t, start); !ok || !strings.Contains(p.Next.EN, next) || p.Next.ZH == "" {
			t.Errorf("next: %+v, want %q", p, next)
		}
	}
	refused("take it in anew by pg_basebackup from db2")

	// With the tool in the package.
	log, pass := filepath.Join(filepath.Dir(db1.Data), "rewind.log"), filepath.Join(db1.Base, ".rewind", "pass")
	tool := filepath.Join(db1.Base, "current", "bin", "pg_rewind")
	own(t, log, db1.Data, "")
	own(t, tool, db1.Data, strings.NewReplacer("{log}", log, "{pass}", pass, "{data}", db1.Data, "{saved}", saved, "{source}", db2.Data).Replace(fakeRewind))
	if err := os.Chmod(tool, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	refused("settings.rewind: discard")
	if said, err := os.ReadFile(log); err != nil || len(said) > 0 {
		t.Errorf("it was called without leave: %s %v", said, err)
	}
	for i := range r.inv.Nodes {
		r.inv.Nodes[i].Settings["rewind"] = "discard"
	}
	before := r.facts(t, "slot") // db2 alone answers
	r.do(t, start)
	want := []string{"db1 standby 15.16/15.16 streaming", "db2 primary 15.16/15.16 primary"}
	if got := r.releases(t); strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("got %v", got)
	}
	if got := r.facts(t, "name"); got[0] != "db1=db1" {
		t.Errorf("it bears the primary's configuration: %v (slots %v)", got, before)
	}
	said, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	dry, real := strings.Index(string(said), "--dry-run"), strings.LastIndex(string(said), "--target-pgdata="+db1.Data)
	password, err := os.ReadFile(r.lab.SuperuserFile())
	if err != nil {
		t.Fatal(err)
	}
	if dry < 0 || real < dry || strings.Count(string(said), "--\n700\n600\n") != 2 || strings.Contains(string(said), strings.TrimSpace(string(password))) {
		t.Errorf("pg_rewind was called so:\n%s", said)
	}
	if _, err := os.Stat(filepath.Dir(pass)); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
}

// own writes a file that belongs to whom another one belongs to.
func own(t *testing.T, name, like, body string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "chown", "--reference="+like, name).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
}

func (r *real) fault(t *testing.T, node string, f labpg.Fault) {
	t.Helper()
	if err := r.lab.Break(t.Context(), node, f); err != nil {
		t.Fatal(err)
	}
}

// do carries out one step, prepared and in one go.
func (r *real) do(t *testing.T, s plan.Step) {
	t.Helper()
	if err := r.try(t, s); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", s.ID, err))
	}
}

func (r *real) try(t *testing.T, s plan.Step) error {
	t.Helper()
	a, ok := postgres.New().Action(s.Kind)
	if !ok {
		t.Fatal(s.Kind)
	}
	target := driver.Target{Env: r.w.Env, Step: s, Report: func(say.Text) {}}
	memo, err := a.Prepare(t.Context(), target)
	if err != nil {
		return err
	}
	target.Memo = memo
	return a.Do(context.WithoutCancel(t.Context()), target)
}

func (r *real) problem(t *testing.T, s plan.Step) (*say.Problem, bool) {
	t.Helper()
	return errors.AsType[*say.Problem](r.try(t, s))
}
