package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
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

// The site's own tree is made from a fetched package, and then damaged, mislabelled and used.
func TestPackageFromTreeAndDamage(t *testing.T) {
	t.Parallel()
	release := Releases()[1]
	p, err := labCache().Get(t.Context(), release)
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != p.SHA256 {
		t.Fatal("the checksum is another file's")
	}
	tree := filepath.Join(t.TempDir(), "tree")
	if err := p.unpack(tree, account{}); err != nil {
		t.Fatal(err)
	}
	c := &Cache{Dir: t.TempDir(), Trees: map[string]string{release: tree, "15.1": tree}}
	if _, err := c.Get(t.Context(), "15.1"); err == nil || !strings.Contains(err.Error(), "not 15.1") {
		t.Errorf("a tree of another release was taken: %v", err)
	}
	var wg sync.WaitGroup
	got := make([]Package, 3)
	for i := range got {
		wg.Go(func() {
			if got[i], err = (&Cache{Dir: c.Dir, Trees: c.Trees}).Get(t.Context(), release); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got[0].SHA256 != p.SHA256 || got[1] != got[0] || got[2] != got[0] {
		t.Errorf("the same software makes other packages: %v, from npm %s", got, p.SHA256)
	}
	if err := os.Truncate(got[0].Path, 1000); err != nil {
		t.Fatal(err)
	}
	if again, err := c.Get(t.Context(), release); err != nil || again.verify() != nil {
		t.Errorf("a damaged package was not made anew: %v", err)
	}
}
