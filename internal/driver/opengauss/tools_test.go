package opengauss_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
)

// toolsOf tells for a node which release gs_om and version.cfg in $GPHOME are of.
func toolsOf(w *sim.World, node string) (om, cfg string, work bool) {
	const tools = "/opt/huawei/install/om"
	w.With(func() {
		m := w.Machine(node)
		body, _ := m.Read(tools + "/script/gs_om")
		if f := strings.Fields(body); len(f) > 2 {
			om = f[2]
		}
		cfg, _ = m.Read(tools + "/version.cfg")
		cfg, _, _ = strings.Cut(strings.TrimPrefix(cfg, "openGauss-"), "\n")
		for _, name := range m.List(tools) {
			work = work || strings.HasPrefix(name, ".shiplift")
		}
	})
	return om, cfg, work
}

// breakTools gives both nodes an archive of tools whose gs_om does not run, as
// where its interpreter is missing.
func breakTools(t *testing.T, w *sim.World, body string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	a := tar.NewWriter(z)
	for _, name := range []string{"./script/gs_om", "./version.cfg"} {
		if err := a.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(a.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	w.With(func() {
		for _, m := range w.Machines() {
			m.Write("/opt/huawei/tmp/shiplift_89d144c2/all/openGauss-5.0.3-CentOS-64bit-om.tar.gz", b.String(), 0o600, "omm")
		}
	})
}

// TestToolsChangeWithTheRelease: gs_om and the others are of the package when
// it is applied, of the old release behind a rollback, and nothing is left.
func TestToolsChangeWithTheRelease(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		verbs   []string
		options map[string]string
		breaks  string // what gs_om of the package becomes
		want    string
	}{
		"applied":                {verbs: []string{"apply"}, want: "5.0.3"},
		"committed":              {verbs: []string{"apply", "commit"}, want: "5.0.3"},
		"rolled back":            {verbs: []string{"apply", "rollback"}, want: "5.0.0"},
		"kept":                   {verbs: []string{"apply", "commit"}, options: map[string]string{"tools": "keep"}, want: "5.0.0"},
		"kept and back":          {verbs: []string{"apply", "rollback"}, options: map[string]string{"tools": "keep"}, want: "5.0.0"},
		"new ones that run not":  {verbs: []string{"apply", "commit"}, breaks: "#!sim:test\n", want: "5.0.0"},
		"those, and rolled back": {verbs: []string{"apply", "rollback"}, breaks: "#!sim:test\n", want: "5.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := opt{Options: gauss.Options{Nodes: 2}, to: "5.0.3", req: func(r *plan.Request) { r.Options = tc.options }}
			open, base := o.open(t)
			w := open(t)
			s, err := rehearse.Begin(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if tc.breaks != "" {
				upTo(t, s, "node1/start")
				breakTools(t, w.Sim, tc.breaks)
			}
			for _, v := range tc.verbs {
				want := map[string]run.State{"apply": run.Upgraded, "commit": run.Committed, "rollback": run.RolledBack}[v]
				if err := s.Wants(t.Context(), v, want); err != nil {
					t.Fatalf("%v\n%s", err, rehearse.Transcript(s.Log.Records))
				}
			}
			for _, node := range []string{"node1", "node2"} {
				om, cfg, work := toolsOf(w.Sim, node)
				if om != tc.want || cfg != tc.want || work && len(tc.verbs) > 1 {
					t.Errorf("%s: gs_om of %s, version.cfg of %s, want %s; a work area is left: %t", node, om, cfg, tc.want, work)
				}
			}
			if found := base.Of(w.Sim).Findings(); len(found) > 0 && len(tc.verbs) > 1 {
				t.Errorf("the lab finds: %s", strings.Join(found, "; "))
			}
			if tc.verbs[len(tc.verbs)-1] == "commit" {
				fs, err := w.Driver.Verify(t.Context(), w.Env, s.Plan)
				if err != nil {
					t.Fatal(err)
				}
				told := strings.Contains(tell(fs), "warn verify-tools")
				if told != (tc.want == "5.0.0") || len(check.Blocking(fs)) > 0 {
					t.Errorf("verify says:\n%s", tell(fs))
				}
			}
		})
	}
}
