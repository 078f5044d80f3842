package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/plan"
)

var update = flag.Bool("update", false, "rewrite the files that the output is compared with")

// savedPlan is a plan that somebody made for a cluster which is out of reach
// now, and the cluster's inventory.
func savedPlan(t *testing.T, bend func(*plan.Plan)) (file, inventory string) {
	t.Helper()
	dir := t.TempDir()
	pkg, err := pgsim.WritePackage(dir, "15.17")
	if err != nil {
		t.Fatal(err)
	}
	l, err := pgsim.Start(pgsim.Options{
		Names: []string{"beijing", "shanghai", "wuhan"}, Primary: "shanghai", Slots: true, Release: "15.16", Sync: "FIRST 1 (beijing, wuhan)", CutScript: postgres.CutScript,
	})
	if err != nil {
		t.Fatal(err)
	}
	inventory, file = filepath.Join(dir, "cluster.yaml"), filepath.Join(dir, "p.json")
	l.Inventory.Cluster = "orders"
	if err := cluster.Write(inventory, l.Inventory); err != nil {
		t.Fatal(err)
	}
	inv, err := cluster.Read(inventory, keysOf)
	if err != nil {
		t.Fatal(err)
	}
	d := postgres.New()
	o, err := d.Observe(t.Context(), driver.Env{Hosts: l.World.Hosts(), Inventory: inv, Clock: l.World, Serial: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := driver.Make(d, inv, o, plan.Request{To: "15.17", Mode: "rolling", Packages: []string{pkg}}, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if bend != nil {
		bend(p)
	}
	if err := plan.Save(file, p); err != nil {
		t.Fatal(err)
	}
	return file, inventory
}

// TestRehearse holds the whole output on a fixed seed. No machine of the
// cluster can be reached: a saved plan needs none.
func TestRehearse(t *testing.T) {
	t.Parallel()
	file, inventory := savedPlan(t, nil)
	for name, args := range map[string][]string{
		"human.txt": {"--runs", "40", "--lang", "en"},
		"zh.txt":    {"--runs", "40", "--lang", "zh"},
		"out.json":  {"--runs", "40", "--lang", "en", "--output", "json"},
		"one.txt":   {"--runs", "1", "--seed", "9", "--lang", "en"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, talk bytes.Buffer
			code := Main(append([]string{"rehearse", file, "-c", inventory, "--state-dir", filepath.Join(filepath.Dir(file), "state")}, args...), nil, &out, &talk, func(string) string { return "" })
			if code != exitDone {
				t.Fatalf("exit %d\n%s%s", code, out.String(), talk.String())
			}
			hold(t, filepath.Join("testdata", "rehearse", name), bytes.ReplaceAll(out.Bytes(), []byte(filepath.Dir(file)), []byte("DIR")))
		})
	}
}

func TestRehearseSaysWhatDiffers(t *testing.T) {
	t.Parallel()
	file, inventory := savedPlan(t, func(p *plan.Plan) {
		p.Steps = append([]plan.Step{{
			ID: "wuhan/backup", Kind: "backup", Node: "wuhan", Phase: plan.Apply, Class: plan.Reversible, Impact: plan.None, Says: p.Steps[0].Says,
		}}, p.Steps...)
	})
	var out, talk bytes.Buffer
	code := Main([]string{"rehearse", file, "-c", inventory, "--state-dir", t.TempDir(), "--lang", "en"}, nil, &out, &talk, func(string) string { return "" })
	if code != exitFailed || out.Len() > 0 || !bytes.Contains(talk.Bytes(), []byte("only in your plan: wuhan/backup (backup)")) {
		t.Errorf("exit %d\n%s%s", code, out.String(), talk.String())
	}
}

// hold compares output with a file; -update rewrites it.
func hold(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-update rewrites it):\n%s", file, diff)
	}
}
