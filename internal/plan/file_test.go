package plan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/say"
)

func example() *Plan {
	step := func(node, kind string, needs ...string) Step {
		return Step{
			ID: node + "/" + kind, Kind: kind, Node: node, Phase: Apply, Needs: needs, Class: Reversible, Impact: ReadsOnly,
			Estimate: Duration(5 * time.Second), Timeout: Duration(time.Minute), Says: say.F("%s on %s", "在 %[2]s 上 %[1]s", kind, node),
		}
	}
	p := &Plan{
		Format: Format, Engine: "0.1.0", Cluster: "prod", ClusterID: "prod-1a2b3c4d", Driver: "toy", From: "15.16", To: "15.17",
		Request: Request{To: "15.17", Mode: "rolling", MaxBackupAge: Duration(24 * time.Hour), Skip: []check.Skip{{ID: "lag", Reason: "a < b & c"}}},
		Facts: []Fact{
			{Node: "db1", Name: "role", Value: "primary"},
			{Node: "db2", Name: "running", Value: "15.16"},
			{Name: "slots", Value: "2"},
		},
		Before:  map[string]NodeState{"db1": {Role: "primary", Running: "15.16", Healthy: true}},
		Remarks: []say.Text{say.F("mind the backup", "注意备份")},
		Steps: []Step{
			step("db2", "switch-binary"),
			step("db1", "switch-binary", "db2/switch-binary"),
			{
				ID: CommitGate, Kind: GateKind, Phase: Commit, Needs: []string{"db1/switch-binary"}, Class: OneWay, Impact: None,
				Says: say.F("commit", "提交"), Gate: &Gate{OneWay: true, Costs: say.F("no way back", "不可回滚")},
			},
			{ID: "db1/clean", Kind: "clean", Node: "db1", Phase: Commit, Needs: []string{CommitGate}, Class: OneWay, Impact: None, Says: say.F("remove the old", "删除旧版本")},
		},
	}
	p.Observed = Digest(p.Facts)
	return p
}

func TestSaveThenLoadIsTheSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.json")
	want := example()
	if err := Save(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-saved +loaded):\n%s", diff)
	}
	first, _ := os.ReadFile(path)
	if err := Save(path, got); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(path); string(first) != string(second) {
		t.Error("the same plan was written in other bytes")
	}
	if !strings.Contains(string(first), "a < b & c") {
		t.Error("the file escapes what a person wrote")
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ old, by, place, says string }{
		"an edited step, by name and line": {`"timeout": "1m0s"`, `"timeout": "9m0s"`, "p.json:40", "changed after it was made (step db2/switch-binary)"},
		"an edited request":                {`"mode": "rolling"`, `"mode": "inplace"`, "p.json:10", "changed after it was made (request)"},
		"an edited head": {`"to": "15.17",
    "request"`, `"to": "15.18",
    "request"`, "p.json:2", "changed after it was made (head)"},
		"an edited fact":                           {`"value": "primary"`, `"value": "standby"`, "p.json:22", "changed after it was made (facts)"},
		"a step that was taken out":                {`"id": "db1/clean"`, `"id": "db1/clear"`, "p.json", "changed after it was made (step db1/clean, step db1/clear)"},
		"a field that nobody knows":                {`"engine"`, `"force": true, "engine"`, "p.json", `unknown field "force"`},
		"another format":                           {`"format": 1`, `"format": 7`, "p.json", "the plan has format 7"},
		"a file that is cut":                       {`"parts"`, "\x00", "p.json:127", "this is not a whole plan"},
		"a digest that was replaced but not parts": {`"digest": "sha256:`, `"digest": "sha256:0`, "p.json", "changed after it was made"},
	}
	whole, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := strings.Replace(string(whole), tc.old, tc.by, 1)
			if bad == string(whole) {
				t.Fatalf("%q is not in the file:\n%s", tc.old, whole)
			}
			_, err := Decode("p.json", []byte(bad))
			var p *say.Problem
			if !errors.As(err, &p) {
				t.Fatalf("error is %T %v, want a *say.Problem", err, err)
			}
			if !strings.HasPrefix(p.Place, tc.place) || !strings.Contains(p.Error(), tc.says) || !strings.Contains(p.Next.EN, "shiplift plan") {
				t.Errorf("told %q (next %q), want %q at %s", p.Error(), p.Next.EN, tc.says, tc.place)
			}
		})
	}
}

// TestDecodeRefusesEveryCut holds that no beginning of a plan passes for one.
func TestDecodeRefusesEveryCut(t *testing.T) {
	t.Parallel()
	whole, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(strings.TrimSpace(string(whole))) {
		if _, err := Decode("p.json", whole[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes pass for a plan", n, len(whole))
		}
	}
}

// TestDecodeRefusesEveryChangedByte holds that a changed byte is never carried out.
func TestDecodeRefusesEveryChangedByte(t *testing.T) {
	t.Parallel()
	whole, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	want, err := Decode("p.json", whole)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := []byte(string(whole))
		bad[i] ^= 1
		got, err := Decode("p.json", bad)
		if err == nil && cmp.Diff(want, got) != "" {
			t.Fatalf("byte %d changed and another plan was read", i)
		}
	}
}

func TestLoadTellsWhatToDoWithoutAFile(t *testing.T) {
	t.Parallel()
	_, err := Load(filepath.Join(t.TempDir(), "p.json"))
	var p *say.Problem
	if !errors.As(err, &p) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v is not for a person", err)
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		bend func(*Plan)
		says string
	}{
		"no steps":                         {func(p *Plan) { p.Steps = nil }, "it has no steps"},
		"an id that stands there twice":    {func(p *Plan) { p.Steps[1].ID = p.Steps[0].ID; p.Steps[1].Needs = nil }, "two steps bear this id"},
		"a need that comes later":          {func(p *Plan) { p.Steps[0].Needs = []string{"db1/switch-binary"} }, "does not come before it"},
		"a need that nobody has":           {func(p *Plan) { p.Steps[0].Needs = []string{"db9/x"} }, "does not come before it"},
		"no commit gate":                   {func(p *Plan) { p.Steps = p.Steps[:2] }, "no gate of this name"},
		"a gate that is no gate":           {func(p *Plan) { p.Steps[2].Gate = nil }, "a gate is a step of kind"},
		"a sentence in one language":       {func(p *Plan) { p.Steps[0].Says.ZH = "" }, "lacks its sentence"},
		"an unknown impact":                {func(p *Plan) { p.Steps[0].Impact = "some" }, "unknown impact"},
		"an unknown class":                 {func(p *Plan) { p.Steps[0].Class = "" }, "unknown class"},
		"an unknown phase":                 {func(p *Plan) { p.Steps[0].Phase = "" }, "unknown phase"},
		"work of apply behind the commit":  {func(p *Plan) { p.Steps[3].Phase = Apply; p.Steps[3].Class = Reversible }, "wrong side of the gate"},
		"work of commit before the commit": {func(p *Plan) { p.Steps[1].Phase = Commit }, "wrong side of the gate"},
		"one way without a gate":           {func(p *Plan) { p.Steps[1].Class = OneWay }, "no one-way gate stands before it"},
	}
	if err := example().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := example()
			tc.bend(p)
			if err := p.Validate(); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want %q", err, tc.says)
			}
		})
	}
}

func TestCheckFresh(t *testing.T) {
	t.Parallel()
	p := example()
	moved := []Fact{p.Facts[2], p.Facts[0], {Node: "db2", Name: "running", Value: "15.17"}, {Node: "db3", Name: "role", Value: "standby"}}
	if err := p.CheckFresh(p.ClusterID, []Fact{p.Facts[2], p.Facts[1], p.Facts[0]}); err != nil {
		t.Errorf("the same facts in another order: %v", err)
	}
	var stale *StaleError
	if err := p.CheckFresh(p.ClusterID, moved); !errors.As(err, &stale) {
		t.Fatalf("error %v, want a *StaleError", err)
	}
	want := say.Text{
		EN: "the plan is stale: db2 running 15.16 → 15.17; db3 role (nothing) → standby",
		ZH: "计划已过期: db2 running 15.16 → 15.17; db3 role （无） → standby",
	}
	if diff := cmp.Diff(want, stale.Say()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	var other *OtherClusterError
	if err := p.CheckFresh("prod-ffffffff", p.Facts); !errors.As(err, &other) {
		t.Errorf("error %v, want an *OtherClusterError", err)
	}
}

// FuzzDecode holds that no file makes the reader panic and that a plan which
// is read can be written and read again.
func FuzzDecode(f *testing.F) {
	whole, err := Encode(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"plan":{"format":1},"parts":[],"digest":""}`))
	f.Add([]byte(`{"plan":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode("p.json", data)
		if err != nil {
			var problem *say.Problem
			if !errors.As(err, &problem) {
				t.Fatalf("%T is not for people: %v", err, err)
			}
			return
		}
		again, err := Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := Decode("p.json", again); err != nil || cmp.Diff(p, q) != "" {
			t.Fatalf("read back: %v\n%s", err, cmp.Diff(p, q))
		}
	})
}

func TestANodeThatWentSilentIsOneChange(t *testing.T) {
	t.Parallel()
	then := []Fact{{"db1", "running", "15.16"}, {"db2", "reachable", "true"}, {"db2", "role", "standby"}, {"db2", "running", "15.16"}}
	now := []Fact{{"db1", "running", "15.17"}, {"db2", "reachable", "false"}}
	want := say.F("the plan is stale: db1 running 15.16 → 15.17; db2 does not answer any more",
		"计划已过期: db1 running 15.16 → 15.17; db2 不再应答")
	if diff := cmp.Diff(want, (&StaleError{Changes: Diff(then, now)}).Say()); diff != "" {
		t.Error(diff)
	}
}
