package gaussdb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sqlArchive is an upgrade_sql.tar.gz whose scripts say their own names.
func sqlArchive(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, name := range sortedKeys(files) {
		body := files[name]
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestMergeSelectsAndOrders(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"upgrade_sql/set_guc/delete_guc": "# gone\n\nold_guc datanode\ncm_guc cmserver\n",
		"upgrade_sql/set_guc/add_guc":    "new_guc datanode\n",
		"upgrade_sql/README.sql":         "-- not a script of the scheme\n",
	}
	for _, n := range []string{"92_299", "92_505", "92_506", "92_507", "92_92", "92_913"} {
		for _, kind := range []Kind{Upgrade, RollbackPost} {
			dir := "upgrade"
			if kind == RollbackPost {
				dir = "rollback"
			}
			files["upgrade_sql/"+dir+"_catalog_maindb/"+string(kind)+"_catalog_maindb_"+n+".sql"] = "-- " + n
		}
	}
	s, err := ReadScripts(bytes.NewReader(sqlArchive(t, files)))
	if err != nil {
		t.Fatal(err)
	}
	names := func(kind Kind, from, to Kernel) string {
		var out []string
		for line := range strings.Lines(s.Merge(kind, true, from, to)) {
			if strings.HasPrefix(line, "-- ") {
				out = append(out, strings.TrimSpace(line[3:]))
			}
		}
		return strings.Join(out, " ")
	}
	for name, tc := range map[string]struct {
		kind     Kind
		from, to Kernel
		want     string
	}{
		"above the old, up to the new": {Upgrade, 92299, 92506, "92_505 92_506"},
		"ascending, as numbers":        {Upgrade, 92298, 92913, "92_299 92_505 92_506 92_507 92_913"},
		"back descending, 92.506 last": {RollbackPost, 92298, 92913, "92_913 92_507 92_505 92_299 92_506"},
		"nothing between the two":      {Upgrade, 92299, 92300, ""},
		"a kind that has no scripts":   {UpgradePost, 92298, 92913, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := names(tc.kind, tc.from, tc.to); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
	text := s.Merge(Upgrade, true, 92298, 92299)
	if diff := cmp.Diff(header+"-- 92_299\nCOMMIT;\n", text); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"old_guc"}, s.Gone); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"new_guc"}, s.Added); diff != "" {
		t.Error(diff)
	}
	if _, err := ReadScripts(bytes.NewReader(sqlArchive(t, map[string]string{"upgrade_sql/set_guc/add_guc": "a b c\n"}))); err == nil || !strings.Contains(err.Error(), "GAUSS-50222") {
		t.Errorf("a line of three words: %v", err)
	}
}

func TestCheckSum(t *testing.T) {
	t.Parallel()
	have := strings.Repeat("ab", 32)
	for name, tc := range map[string]struct{ text, code string }{
		"the digits and a line end": {have + "\n", ""},
		"capital digits":            {strings.ToUpper(have), ""},
		"another sum":               {strings.Repeat("cd", 32), "GAUSS-51635"},
		"two lines":                 {have + "\n" + have + "\n", "GAUSS-50204"},
		"a file name behind it":     {have + "  file\n", "GAUSS-50204"},
		"nothing":                   {"", "GAUSS-50204"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CheckSum("x.sha256", tc.text, have)
			if (err == nil) != (tc.code == "") || err != nil && !strings.Contains(err.Error(), tc.code) {
				t.Errorf("%v, want %q", err, tc.code)
			}
		})
	}
}

// TestWhoMayHaveMadeAComponent: the package runs as the cluster user, so nobody
// else may have written it.
func TestWhoMayHaveMadeAComponent(t *testing.T) {
	t.Parallel()
	const self = 1001
	for name, tc := range map[string]struct {
		mode  os.FileMode
		owner int
		says  string
	}{
		"mine alone":                {0o600, self, ""},
		"others may read it":        {0o644, self, ""},
		"root's":                    {0o444, 0, ""},
		"its group may write it":    {0o664, self, "mode 0664"},
		"all may write it":          {0o666, 0, "mode 0666"},
		"others alone may write it": {0o602, self, "mode 0602"},
		"somebody else's":           {0o600, 1002, "belongs to user 1002"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := proveRights("/p/cm.tar.gz", tc.mode, tc.owner, self)
			if tc.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "GAUSS-50205") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestReadComponent: a package as the vendor ships it passes, with its sum and
// what it holds; each thing that is wrong with it is refused with its code.
func TestReadComponent(t *testing.T) {
	t.Parallel()
	whole := []string{"bin/cm_ctl", "bin/cm_agent", "bin/cm_server", "bin/om_monitor", "lib/libdcc.so", "lib/libgstor.so"}
	const file = "openGauss-5.0.3-CentOS-64bit-cm.tar.gz"
	for name, tc := range map[string]struct {
		file, code string
		members    []string
		mode       os.FileMode
		sum        func(have string) string // "" for no file
	}{
		"as it is shipped":         {file, "", whole, 0o600, nil},
		"another name":             {"cm.tar.gz", "GAUSS-50004", whole, 0o600, nil},
		"its group may write it":   {file, "GAUSS-50205", whole, 0o660, nil},
		"a program is missing":     {file, "GAUSS-50201", whole[1:], 0o600, nil},
		"another sum":              {file, "GAUSS-51635", whole, 0o600, func(string) string { return strings.Repeat("0", 64) + "\n" }},
		"two sums":                 {file, "GAUSS-50204", whole, 0o600, func(have string) string { return have + "\n" + have + "\n" }},
		"no sum":                   {file, "GAUSS-50201", whole, 0o600, func(string) string { return "" }},
		"a library is missing":     {file, "GAUSS-50201", whole[:5], 0o600, nil},
		"a sum in capital letters": {file, "", whole, 0o600, func(have string) string { return strings.ToUpper(have) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := filepath.Join(t.TempDir(), tc.file)
			files := map[string]string{}
			for _, m := range tc.members {
				files[m] = "x"
			}
			body := sqlArchive(t, files)
			if err := os.WriteFile(at, body, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(at, tc.mode); err != nil {
				t.Fatal(err)
			}
			have := fmt.Sprintf("%x", sha256.Sum256(body))
			sum := have + "\n"
			if tc.sum != nil {
				sum = tc.sum(have)
			}
			if sum != "" {
				if err := os.WriteFile(strings.TrimSuffix(at, ".tar.gz")+".sha256", []byte(sum), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p, err := ReadComponent(at)
			if tc.code != "" {
				if err == nil || !strings.Contains(err.Error(), tc.code) {
					t.Errorf("%v, want %s", err, tc.code)
				}
				return
			}
			if err != nil || p.Release != "5.0.3" || p.Sum != have {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func FuzzReadScripts(f *testing.F) {
	f.Add(sqlArchive(f, map[string]string{"a/upgrade_catalog_maindb_92_299.sql": "x", "a/add_guc": "g datanode\n"}))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadScripts(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, kind := range Kinds {
			if text := s.Merge(kind, true, 0, 99999999); text != "" && !strings.HasSuffix(text, "COMMIT;\n") {
				t.Error("a script without its end")
			}
		}
	})
}
