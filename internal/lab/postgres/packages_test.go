package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// labCache is the packages that the tests of this package share: fetched once a machine.
func labCache() *Cache { return &Cache{} }

func TestPackageIsTheSameEveryTime(t *testing.T) {
	t.Parallel()
	entries := func() []entry {
		return []entry{
			{name: "lib/libpq.so.5", link: "libpq.so.5.15"}, {name: "lib/libpq.so.5.15", body: []byte("so")},
			{name: "bin/postgres", exec: true, body: bytes.Repeat([]byte("binary"), 1<<18)},
			{name: "bin/initdb", exec: true, body: []byte("i")}, {name: "bin/pg_ctl", exec: true, body: []byte("p")},
		}
	}
	var a, b bytes.Buffer
	forward, backward := entries(), entries()
	for i, j := 0, len(backward)-1; i < j; i, j = i+1, j-1 {
		backward[i], backward[j] = backward[j], backward[i]
	}
	if err := writeArchive(&a, forward); err != nil {
		t.Fatal(err)
	}
	if err := writeArchive(&b, backward); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the order of the entries shows in the archive")
	}
}

func TestNPMLinks(t *testing.T) {
	t.Parallel()
	got, err := npmLinks([]byte(`[{"source":"native/lib/libpq.so.5.15","target":"native/lib/libpq.so.5"}]`))
	if err != nil || len(got) != 1 || got[0].name != "lib/libpq.so.5" || got[0].link != "libpq.so.5.15" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{`[{"source":"/etc/passwd","target":"native/lib/x"}]`, `[{"source":"native/a","target":"native/../../x"}]`, `{`} {
		if _, err := npmLinks([]byte(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestAWrongFileFromTheRegistryIsRefused(t *testing.T) {
	t.Parallel()
	release := Releases()[0]
	c := &Cache{Dir: t.TempDir(), Fetch: func(_ context.Context, _, _, dir string) (string, error) {
		path := filepath.Join(dir, "x.tgz")
		return path, os.WriteFile(path, []byte("something else"), 0o600)
	}}
	_, err := c.Get(t.Context(), release)
	if err == nil || !strings.Contains(err.Error(), "integrity") {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, PackageName(release))); err == nil {
		t.Error("a package was left behind")
	}
}

func TestUnknownReleaseNamesTheKnownOnes(t *testing.T) {
	t.Parallel()
	_, err := (&Cache{Dir: t.TempDir()}).Get(t.Context(), "9.3")
	if err == nil || !strings.Contains(err.Error(), Releases()[0]) {
		t.Errorf("got %v", err)
	}
}

func TestCacheThatCannotBeWrittenSaysSo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := (&Cache{Dir: filepath.Join(file, "cache")}).Get(t.Context(), Releases()[0])
	if err == nil || !strings.Contains(err.Error(), "cache cannot be written") {
		t.Errorf("got %v", err)
	}
}

// fakeTree is a site's own software whose server says that it is release.
func fakeTree(t *testing.T, release string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "tree")
	for name, body := range map[string]string{
		"postgres.sh": "#!/bin/sh\necho 'postgres (PostgreSQL) " + release + " (Site 1)'\n", "bin/initdb": "i", "bin/pg_ctl": "p",
		"lib/libpq.so.5.15": "so", "share/x.sample": "s", "elsewhere/libssl.so.3": "ssl",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyProgram(t, filepath.Join(root, "postgres.sh"), filepath.Join(root, "bin", "postgres"))
	for link, to := range map[string]string{"lib/libpq.so.5": "libpq.so.5.15", "lib/libssl.so": filepath.Join(root, "elsewhere", "libssl.so.3")} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// copyProgram copies a program that is started soon. Another process does it:
// a file that this one has just written can be "busy" while it forks elsewhere.
func copyProgram(t *testing.T, src, dst string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", src, dst).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestPackageFromTree(t *testing.T) {
	t.Parallel()
	tree := fakeTree(t, "15.3")
	c := Cache{Dir: t.TempDir(), Trees: map[string]string{"15.3": tree, "15.1": tree, "15.2": t.TempDir()}}
	if _, err := c.Get(t.Context(), "15.1"); err == nil || !strings.Contains(err.Error(), "not 15.1") {
		t.Errorf("a tree of another release was taken: %v", err)
	}
	if _, err := c.Get(t.Context(), "15.2"); err == nil || !strings.Contains(err.Error(), "no PostgreSQL software") {
		t.Errorf("an empty tree was taken: %v", err)
	}
	var wg sync.WaitGroup
	got := make([]Package, 3)
	for i := range got {
		wg.Go(func() {
			other := c
			p, err := other.Get(t.Context(), "15.3")
			if err != nil {
				t.Error(err)
			}
			got[i] = p
		})
	}
	wg.Wait()
	body, err := os.ReadFile(got[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != got[0].SHA256 || got[1] != got[0] || got[2] != got[0] {
		t.Errorf("several at a time got %v", got)
	}
	to := filepath.Join(t.TempDir(), "15.3")
	if err := got[0].unpack(to, account{}); err != nil {
		t.Fatal(err)
	}
	if link, err := os.Readlink(filepath.Join(to, "lib", "libpq.so.5")); err != nil || link != "libpq.so.5.15" {
		t.Errorf("a link inside the tree: %q, %v", link, err)
	}
	if body, err := os.ReadFile(filepath.Join(to, "lib", "libssl.so")); err != nil || string(body) != "ssl" {
		t.Errorf("a link out of the tree: %q, %v", body, err)
	}
	if err := os.Truncate(got[0].Path, 100); err != nil {
		t.Fatal(err)
	}
	if again, err := c.Get(t.Context(), "15.3"); err != nil || again.verify() != nil || again.SHA256 != got[0].SHA256 {
		t.Errorf("a damaged package was not made anew: %v", err)
	}
}
