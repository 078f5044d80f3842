package release

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want, wantErr string }{
		"two numbers":                 {in: "15.16", want: "15.16"},
		"ten stays ten":               {in: "15.10", want: "15.10"},
		"three numbers":               {in: "5.0.3", want: "5.0.3"},
		"four numbers":                {in: "8.1.1.15", want: "8.1.1.15"},
		"five numbers":                {in: "9.5.2.26.121440", want: "9.5.2.26.121440"},
		"a leading V":                 {in: "V7.6.0.145", want: "7.6.0.145"},
		"a beta":                      {in: "18beta2", want: "18beta2"},
		"a build":                     {in: "5.0.3-build7f3a", want: "5.0.3-build7f3a"},
		"a build in brackets":         {in: "15.16 (Debian 15.16-1)", want: "15.16-(Debian 15.16-1)"},
		"nothing is refused":          {in: "", wantErr: "not a version"},
		"a dot too many is refused":   {in: "8.1.", wantErr: "not a version"},
		"words are refused":           {in: "latest", wantErr: "not a version"},
		"a huge number is refused":    {in: "99999999999999999999", wantErr: "too long"},
		"nine numbers are refused":    {in: "1.2.3.4.5.6.7.8.9", wantErr: "too long"},
		"a bare dash is refused":      {in: "8.1-", wantErr: "not a version"},
		"a line break is not a build": {in: "8.1-a\nb", wantErr: "not a version"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := Parse(tc.in)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil || v.String() != tc.want {
				t.Fatalf("got %q, %v; want %q", v, err, tc.want)
			}
			again, err := Parse(v.String())
			if err != nil || again != v {
				t.Fatalf("%q does not read back: %q, %v", v, again, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"15.16", "8.1.1.15", "18beta2", "V7.6.0.145-Build(2019.03.20-104220)ENT", "-", "1.", "1-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(v.String())
		if err != nil || Compare(v, again) != 0 {
			t.Fatalf("%q -> %q -> %q, %v", s, v, again, err)
		}
	})
}

func TestCompare(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		a, b string
		want int
	}{
		"numbers, not letters":      {"15.9", "15.10", -1},
		"left comes first":          {"8.1.2.0", "8.1.1.171", 1},
		"missing numbers are zero":  {"8.1", "8.1.0.0", 0},
		"a beta comes before":       {"18beta1", "18.0", -1},
		"beta before rc":            {"18beta1", "18rc1", -1},
		"a build makes no order":    {"5.0.3-a", "5.0.3-b", 0},
		"older major, newer minor":  {"7.6.0.999", "8.0.0.0", -1},
		"the same":                  {"8.1.1.15", "8.1.1.15", 0},
		"five numbers against four": {"9.5.2.26.1", "9.5.2.26", 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Compare(MustParse(tc.a), MustParse(tc.b)); got != tc.want {
				t.Errorf("Compare(%s, %s) = %d, want %d", tc.a, tc.b, got, tc.want)
			}
			if got := Compare(MustParse(tc.b), MustParse(tc.a)); got != -tc.want {
				t.Errorf("Compare(%s, %s) = %d, want %d", tc.b, tc.a, got, -tc.want)
			}
		})
	}
}

const small = `
product: boat
known_bad:
  - releases: "2.5"
    use: "2.6"
    why: {en: it leaks, zh: 漏水}
epochs:
  - {id: A, first: "2.0", changes: {en: log, zh: 日志}, return: free}
  - {id: B, first: "3.0", when: {shared: "yes"}, changes: {en: page, zh: 页}, return: never}
stops:
  - {version: "1.9", accepts: ">=1.9 <2", fact: bridge}
refusals:
  - from: "<2"
    to: ">=2"
    when: {origin: "<=1.0", sealed: "yes"}
    rule: R-1
    why: {en: "a library that began at {fact:origin} cannot go to {to}", zh: "起始版本为 {fact:origin} 的库不能升级到 {to}"}
paths:
  - {from: "<1.9", to: ">=1 <2", runbook: small, reversible: true}
  - {from: "1.95", to: ">=3", when: {origin: "<1.5"}, no: true}
  - {from: ">=1.9", to: ">=2", runbook: big, reversible: true}
`

func TestSolve(t *testing.T) {
	t.Parallel()
	c, err := Read("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		from, to string
		facts    Facts
		want     string
	}{
		"one hop":                       {from: "1.9", to: "2.0", want: `ok: 2.0 big [A] true`},
		"passes a stop":                 {from: "1.0", to: "2.0", want: `ok: 1.9 small [] true; 2.0 big [A] true`},
		"the operator's stop":           {from: "1.0", to: "2.0", facts: Facts{"bridge": "1.95"}, want: `ok: 1.95 small [] true; 2.0 big [A] true`},
		"a stop out of range is unused": {from: "1.0", to: "2.0", facts: Facts{"bridge": "2.4"}, want: `ok: 1.9 small [] true; 2.0 big [A] true`},
		"an epoch only when it applies": {from: "2.0", to: "3.0", want: `ok: 3.0 big [] true`},
		"no return behind some epochs":  {from: "2.0", to: "3.0", facts: Facts{"shared": "yes"}, want: `ok: 3.0 big [B] false`},
		"refuses known bad":             {from: "1.9", to: "2.5", want: `refuse  2.5 is known bad: use 2.6 (it leaks)`},
		"refuses by a rule":             {from: "1.5", to: "2.0", facts: Facts{"origin": "0.9", "sealed": "yes"}, want: `refuse R-1 a library that began at 0.9 cannot go to 2.0`},
		"the rule's range has an end":   {from: "1.9", to: "2.0", facts: Facts{"origin": "1.1", "sealed": "yes"}, want: `ok: 2.0 big [A] true`},
		"nothing to do":                 {from: "2.0", to: "2.0", want: `ok:`},
		"a forbidden hop has no way":    {from: "1.95", to: "3.0", facts: Facts{"origin": "1.2"}, want: `refuse  there is no known way from 1.95 to 3.0`},
		"no way back":                   {from: "3.0", to: "2.0", want: `refuse  a way back from 3.0 to 2.0 is not described: restore the backup that was made before the upgrade`},
		"no way":                        {from: "0.5", to: "0.9", want: `refuse  there is no known way from 0.5 to 0.9`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := c.Solve(Question{From: MustParse(tc.from), To: MustParse(tc.to), Facts: tc.facts})
			if diff := cmp.Diff(tc.want, brief(a)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if a.Why.ZH == "" {
				t.Error("the answer has no Chinese sentence")
			}
		})
	}
}

func brief(a Answer) string {
	if a.Verdict != OK {
		return string(a.Verdict) + " " + a.Rule + " " + a.Why.EN
	}
	var hops []string
	for _, h := range a.Hops {
		rev := " false"
		if h.Reversible {
			rev = " true"
		}
		hops = append(hops, " "+h.To.String()+" "+h.Runbook+" ["+strings.Join(h.Epochs, " ")+"]"+rev)
	}
	return "ok:" + strings.Join(hops, ";")
}

func TestAnswerKeepsItsJSONShape(t *testing.T) {
	t.Parallel()
	c, err := Read("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c.Solve(Question{From: V(1, 9), To: V(2, 0)}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"verdict":"ok","why":{"en":"1.9 to 2.0 directly","zh":"从 1.9 直接升级到 2.0"},` +
		`"hops":[{"from":"1.9","to":"2.0","epochs":["A"],"runbook":"big","reversible":true}]}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestReadNamesThePlaceOfAnError(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want string }{
		"a broken version":           {"product: x\nstops:\n  - version: newest\n", "[3:14]"},
		"a broken range":             {"product: x\npaths:\n  - from: \">=two\"\n", "[3:11]"},
		"an unknown key":             {"product: x\nepoch: []\n", "[2:1]"},
		"a missing translation":      {"product: x\nknown_bad:\n  - {releases: \"1\", use: \"2\", why: {en: bad}}\n", "known_bad 1"},
		"advice that is itself bad":  {"product: x\nknown_bad:\n  - {releases: \">=1 <3\", use: \"2\", why: {en: bad, zh: 坏}}\n", "itself"},
		"an epoch without a return":  {"product: x\nepochs:\n  - {id: A, first: \"2\", changes: {en: a, zh: 甲}}\n", "return must be"},
		"a list for a version":       {"product: x\nstops:\n  - version: [1]\n", "a version was expected"},
		"a catalogue without a name": {"stops: []\n", "product is missing"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Read("x.yaml", []byte(tc.in))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestEveryEmbeddedCatalogueReads(t *testing.T) {
	t.Parallel()
	entries, err := files.ReadDir("catalogue")
	if err != nil || len(entries) == 0 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		product := strings.TrimSuffix(e.Name(), ".yaml")
		c, err := Load(product)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if c.Product != product {
			t.Errorf("%s calls itself %s", e.Name(), c.Product)
		}
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	c, err := Load("postgres")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ from, to, want string }{
		"a minor release":           {"15.8", "15.16", "ok: 15.16 minor [] true"},
		"ten is above nine":         {"15.8", "15.10", "ok: 15.10 minor [] true"},
		"the broken ABI":            {"15.8", "15.9", "refuse  15.9 is known bad: use 15.10 (it breaks the ABI of extensions (November 2024), which may crash the server)"},
		"the damaged indexes":       {"14.0", "14.3", "refuse  14.3 is known bad: use 14.4 (CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY may leave rows out of the index)"},
		"away from a known bad one": {"14.2", "14.4", "ok: 14.4 minor [] true"},
		"an older one":              {"15.17", "15.16", "refuse  15.16 is older than 15.17: a plan leads to a newer release only"},
		"another major":             {"15.8", "16.1", "refuse  there is no known way from 15.8 to 16.1"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, brief(c.Solve(Question{From: MustParse(tc.from), To: MustParse(tc.to)}))); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
