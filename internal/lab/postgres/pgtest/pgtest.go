// Package pgtest gives tests a PostgreSQL lab that ends with them.
package pgtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/say"
)

// Dir is a new path for a lab. The servers' account can reach it, which it
// could not under t.TempDir when root runs the tests.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	Guard(tb, dir)
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the servers run as another account
		tb.Fatal(err)
	}
	return filepath.Join(dir, "lab")
}

// Start makes a lab in this process; it is gone when the test is over. An
// empty Dir is filled. What the servers said last is shown when the test fails.
func Start(tb testing.TB, o postgres.Options) *postgres.Lab {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = Dir(tb)
	}
	if o.Report == nil {
		o.Report = func(t say.Text) { tb.Log(t.EN) }
	}
	l, err := postgres.Start(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			for _, n := range l.Nodes() {
				tb.Logf("%s says last:%s", n.Name, l.LogTail(n.Name))
			}
		}
		if err := l.Close(); err != nil {
			tb.Errorf("take the lab down: %v", err)
		}
	})
	return l
}
