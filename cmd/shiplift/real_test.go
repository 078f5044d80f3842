package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	lab "github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/lab/postgres/pgtest"
)

// TestReal runs the built tool on a lab of real servers, as its users do. The
// lab's daemon is the tool itself, so it has to be a file of its own.
func TestReal(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(bin, "shiplift"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tool: %v\n%s", err, out)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	place := filepath.Dir(pgtest.Dir(t)) // each script has its lab there
	t.Cleanup(func() {                   // when a script failed in the middle
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		labs, _ := filepath.Glob(filepath.Join(place, "*"))
		for _, dir := range labs {
			if err := lab.Down(ctx, dir); err != nil {
				t.Errorf("take the lab down: %v", err)
			}
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/real",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			dir := filepath.Join(place, filepath.Base(env.WorkDir))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("XDG_CACHE_HOME", cache)
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("LANG", "C")
			env.Setenv("LAB", dir)
			env.Setenv("PKG", filepath.Join(dir, "packages", lab.PackageName("15.17")))
			env.Setenv("OLDPKG", filepath.Join(dir, "packages", lab.PackageName("15.16")))
			env.Setenv("PKGNAME", lab.PackageName("15.17"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "field": field, "keys": keys},
	})
}
