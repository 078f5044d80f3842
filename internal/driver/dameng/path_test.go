package dameng

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// pathCase is one row of the worked paths (spec/dameng.md 2.4).
type pathCase struct {
	from, to string
	topo     Topology
	origin   string
	enc      bool
	huge     bool
	rolling  bool
	facts    map[string]string
	want     string
}

func (c pathCase) request() PathRequest {
	r := PathRequest{
		From: release.MustParse(c.from), To: release.MustParse(c.to), Topology: c.topo,
		LogEncrypted: c.enc, HugeTables: c.huge, Rolling: c.rolling, Facts: c.facts,
	}
	if c.origin != "" {
		r.Origin = release.MustParse(c.origin)
	}
	return r
}

func TestWorkedPaths(t *testing.T) {
	t.Parallel()
	type f = map[string]string
	tests := map[string]pathCase{
		"01 an encrypted log of old DM7":               {from: "7.1.5.100", to: "8.1.1.171", topo: DW, enc: true, want: "refuse DM-004"},
		"02 the last release of that ban":              {from: "7.1.5.125", to: "8.1.1.15", topo: DW, enc: true, want: "refuse DM-004"},
		"03 the first release behind that ban":         {from: "7.1.5.126", to: "8.1.1.15", topo: DW, enc: true, want: "ok 7.6.0.183{E0}R1 8.1.1.15{E1}R1"},
		"04 old DM7 with a plain log":                  {from: "7.1.5.125", to: "8.1.1.15", topo: DW, want: "ok 7.6.0.183{E0}R1 8.1.1.15{E1}R1"},
		"05 the ban does not reach DM7 targets":        {from: "7.1.5.100", to: "7.6.0.183", topo: DW, enc: true, want: "ok 7.6.0.183{E0}R1"},
		"06 the ban stays with the library":            {from: "7.6.0.183", to: "8.1.1.15", topo: DW, origin: "7.1.5.100", enc: true, want: "refuse DM-004"},
		"07 two hops over the DM7 bridge":              {from: "7.1.6.5", to: "8.1.1.171", topo: DW, want: "ok 7.6.0.183{E0}R1 8.1.1.171{E1,E2,E3}R1"},
		"08 two hops over a bridge of one's own":       {from: "7.1.6.10", to: "8.1.2.101", topo: DW, facts: f{"bridge": "7.6.0.200"}, want: "ok 7.6.0.200{E0}R1 8.1.2.101{E1,E2,E3,E4}R1+R5"},
		"09 the first DM7 that goes directly":          {from: "7.1.6.11", to: "8.1.1.15", topo: DW, want: "ok 8.1.1.15{E1}R1"},
		"10 below the new redo log":                    {from: "7.1.6.77", to: "8.1.1.14", topo: DW, want: "ok 8.1.1.14{}restart"},
		"11 DM7 of unknown origin":                     {from: "7.6.0.100", to: "8.1.1.15", topo: DW, want: "ok 8.1.1.15{E1}R1"},
		"12 a known old origin goes over the bridge":   {from: "7.6.0.150", to: "8.1.1.15", topo: DW, origin: "7.1.6.5", want: "ok 7.6.0.183{}restart 8.1.1.15{E1}R1"},
		"13 two formats in one hop":                    {from: "7.6.0.183", to: "8.1.1.101", topo: DW, want: "ok 8.1.1.101{E1,E2}R1"},
		"14 DM7 has no DSC in Data Watch":              {from: "7.1.6.20", to: "8.1.1.15", topo: DWDSC, want: "refuse DM-010"},
		"15 DM7 DSC alone":                             {from: "7.1.6.20", to: "8.1.1.15", topo: DSC, want: "ok 8.1.1.15{E1}R6"},
		"16 early DM8":                                 {from: "8.1.0.147", to: "8.1.1.15", topo: DW, want: "ok 8.1.1.15{E1}R1"},
		"17 three formats in one hop":                  {from: "8.1.1.14", to: "8.1.1.171", topo: DW, want: "ok 8.1.1.171{E1,E2,E3}R1"},
		"18 a standby that lags is restored":           {from: "8.1.1.14", to: "8.1.1.171", topo: DW, facts: f{"standby": "lagging"}, want: "ok DM-022 8.1.1.171{E1,E2,E3}R2"},
		"19 a standby of equal DB_MAGIC is restored":   {from: "8.1.1.14", to: "8.1.1.15", topo: DW, facts: f{"standby": "equal-magic"}, want: "ok DM-024 8.1.1.15{E1}R2"},
		"20 a DSC node in ERROR":                       {from: "8.1.1.14", to: "8.1.1.15", topo: DWDSC, facts: f{"node": "error"}, want: "refuse DM-021"},
		"21 no format between":                         {from: "8.1.1.15", to: "8.1.1.100", topo: DW, want: "ok 8.1.1.100{}restart"},
		"22 an invalid archive does not matter for E2": {from: "8.1.1.15", to: "8.1.1.101", topo: DW, facts: f{"archive": "invalid"}, want: "ok 8.1.1.101{E2}R3"},
		"23 a standby in MOUNT":                        {from: "8.1.1.15", to: "8.1.1.101", topo: DW, facts: f{"standby": "mount"}, want: "refuse DM-060"},
		"24 two formats, consistency not needed":       {from: "8.1.1.87", to: "8.1.1.171", topo: DW, facts: f{"standby": "lagging"}, want: "ok 8.1.1.171{E2,E3}R4"},
		"25 the same with DSC needs consistency":       {from: "8.1.1.87", to: "8.1.1.171", topo: DWDSC, facts: f{"standby": "lagging"}, want: "refuse DM-072"},
		"26 the page format":                           {from: "8.1.1.101", to: "8.1.1.171", topo: DW, want: "ok 8.1.1.171{E3}R4"},
		"27 the page format with DSC":                  {from: "8.1.1.101", to: "8.1.1.171", topo: DWDSC, want: "ok 8.1.1.171{E3}R4"},
		"28 the standby was stopped first":             {from: "8.1.1.156", to: "8.1.1.218", topo: DW, facts: f{"exit": "standby-first"}, want: "refuse DM-002"},
		"29 the last release below the page format":    {from: "8.1.1.170", to: "8.1.1.171", topo: DW, want: "ok 8.1.1.171{E3}R4"},
		"30 behind the page format":                    {from: "8.1.1.171", to: "8.1.2.100", topo: DW, want: "ok 8.1.2.100{}restart"},
		"31 HUGE path without HUGE tables":             {from: "8.1.1.171", to: "8.1.2.101", topo: DW, want: "ok 8.1.2.101{E4}restart+R5"},
		"32 HUGE tables would be lost":                 {from: "8.1.2.100", to: "8.1.3.62", topo: DW, huge: true, want: "block DM-081"},
		"33 four formats in one hop":                   {from: "8.1.1.14", to: "8.1.3.100", topo: DW, want: "ok 8.1.3.100{E1,E2,E3,E4}R1+R5"},
		"34 the same over a backup of the primary":     {from: "8.1.1.14", to: "8.1.3.100", topo: DW, facts: f{"via": "r2"}, want: "ok DM-087 8.1.3.100{E1,E2,E3,E4}R2+R5"},
		"35 late releases of Data Watch":               {from: "8.1.2.162", to: "8.1.3.162", topo: DW, want: "ok 8.1.3.162{}restart"},
		"36 ASM disks of DSC":                          {from: "8.1.3.100", to: "8.1.3.162", topo: DSC, want: "ok 8.1.3.162{E5}R6"},
		"37 rolling to 8.1.4.48":                       {from: "8.1.2.128", to: "8.1.4.48", topo: DSC, rolling: true, want: "refuse DM-092"},
		"37 in place to 8.1.4.48":                      {from: "8.1.2.128", to: "8.1.4.48", topo: DSC, want: "ok 8.1.4.48{E5,E6}R6"},
		"38 rolling to 8.1.4.80":                       {from: "8.1.2.128", to: "8.1.4.80", topo: DSC, rolling: true, want: "ok 8.1.4.80{E5,E6}R6"},
		"39 back over the rollback segment":            {from: "8.1.1.101", to: "8.1.1.15", topo: DW, want: "refuse DM-064"},
		"40 back over the page format with DSC":        {from: "8.1.1.171", to: "8.1.1.101", topo: DWDSC, want: "refuse DM-074"},
		"41 back over the page format without DSC":     {from: "8.1.1.171", to: "8.1.1.101", topo: DW, want: "refuse"},
		"42 back over the redo log":                    {from: "8.1.1.15", to: "8.1.0.147", topo: DW, want: "refuse"},

		"HUGE tables, acknowledged":               {from: "8.1.2.100", to: "8.1.3.62", topo: DW, huge: true, facts: f{"huge-accepted": "yes"}, want: "ok 8.1.3.62{E4}restart+R5"},
		"a fresh library was never started":       {from: "8.1.1.15", to: "8.1.1.101", topo: Single, facts: f{"fresh": "yes"}, want: "refuse DM-067"},
		"a single node has a runbook of its own":  {from: "8.1.1.14", to: "8.1.1.171", topo: Single, want: "ok 8.1.1.171{E1,E2,E3}R7"},
		"a single node below 7.1.6.11 goes twice": {from: "7.1.6.5", to: "8.1.1.15", topo: Single, want: "ok 7.6.0.183{E0}R7 8.1.1.15{E1}R7"},
		"rolling is for DSC alone":                {from: "8.1.2.162", to: "8.1.3.162", topo: DW, rolling: true, want: "refuse"},
		"rolling never changes the redo log":      {from: "8.1.1.14", to: "8.1.1.15", topo: DSC, rolling: true, want: "refuse DM-002"},
		"rolling never initialises disks anew":    {from: "8.1.2.128", to: "8.1.4.80", topo: DSC, rolling: true, facts: f{"asm": "old"}, want: "refuse DM-091"},
		"a standby in MOUNT, page format only":    {from: "8.1.1.101", to: "8.1.1.171", topo: DW, facts: f{"standby": "mount"}, want: "refuse DM-070"},
		"a DSC node in ERROR, page format only":   {from: "8.1.1.101", to: "8.1.1.171", topo: DWDSC, facts: f{"node": "error"}, want: "refuse DM-072"},
		"a DSC node in ERROR, rollback segment":   {from: "8.1.1.15", to: "8.1.1.101", topo: DWDSC, facts: f{"node": "error"}, want: "refuse DM-061"},
		"the release that runs already":           {from: "8.1.1.15", to: "8.1.1.15", topo: DW, want: "ok"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := Path(tc.request())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, brief(a)); diff != "" {
				t.Errorf("-want +got\n%s\nwhy: %s", diff, a.Why.EN)
			}
			speaksBoth(t, a.Why)
			for _, h := range a.Hops {
				for _, n := range h.Notes {
					speaksBoth(t, n.Says)
				}
			}
		})
	}
}

func speaksBoth(t *testing.T, s say.Text) {
	t.Helper()
	if s.EN == "" || s.ZH == "" || s.EN == s.ZH || strings.Contains(s.EN+s.ZH, "{") || strings.Contains(s.EN+s.ZH, "%!") {
		t.Errorf("a sentence is not whole in both languages: %q / %q", s.EN, s.ZH)
	}
}

// brief writes the verdict, the rule where it is the reason, and the hops.
func brief(a release.Answer) string {
	words := []string{string(a.Verdict)}
	choice := len(a.Hops) > 0 && strings.HasPrefix(a.Hops[0].Runbook, R2)
	if a.Rule != "" && (a.Verdict != release.OK || choice) {
		words = append(words, a.Rule)
	}
	for _, h := range a.Hops {
		words = append(words, h.To.String()+"{"+strings.Join(h.Epochs, ",")+"}"+h.Runbook)
	}
	return strings.Join(words, " ")
}

func TestNothingReturnsOnceAFormatChanged(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		pathCase
		want  bool
		rules []string // of the losses
	}{
		"no format":             {pathCase{from: "8.1.1.15", to: "8.1.1.100", topo: DW}, true, nil},
		"redo log":              {pathCase{from: "8.1.1.14", to: "8.1.1.15", topo: DW}, false, []string{"DM-002"}},
		"rollback segment":      {pathCase{from: "8.1.1.15", to: "8.1.1.101", topo: DW}, false, []string{"DM-064"}},
		"page format":           {pathCase{from: "8.1.1.101", to: "8.1.1.171", topo: DW}, false, []string{"DM-075"}},
		"page format with DSC":  {pathCase{from: "8.1.1.101", to: "8.1.1.171", topo: DWDSC}, false, []string{"DM-074"}},
		"ASM disks, dictionary": {pathCase{from: "8.1.2.128", to: "8.1.4.48", topo: DSC}, false, []string{"DM-091", "DM-093"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := Path(tc.request())
			if err != nil {
				t.Fatal(err)
			}
			if got := a.Hops[0].Reversible; got != tc.want {
				t.Errorf("reversible %v, want %v", got, tc.want)
			}
			var rules []string
			for _, n := range a.Hops[0].Notes {
				if strings.Contains(n.Says.EN, "cannot be undone") {
					rules = append(rules, n.Rule)
				}
			}
			if diff := cmp.Diff(tc.rules, rules); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestPathRequestIsRead(t *testing.T) {
	t.Parallel()
	ok := PathRequest{From: release.V(8, 1, 1, 14), To: release.V(8, 1, 1, 15), Topology: DW}
	tests := map[string]struct {
		change func(*PathRequest)
		want   string
	}{
		"an unknown topology":           {func(r *PathRequest) { r.Topology = "cloud" }, "not a topology"},
		"a release of another product":  {func(r *PathRequest) { r.From = release.V(15, 16) }, "not a release of DM7 or DM8"},
		"an unknown fact":               {func(r *PathRequest) { r.Facts = map[string]string{"moon": "full"} }, "no such fact"},
		"an unknown value":              {func(r *PathRequest) { r.Facts = map[string]string{"standby": "tired"} }, "not one of"},
		"a bridge below the first step": {func(r *PathRequest) { r.Facts = map[string]string{"bridge": "7.6.0.100"} }, "7.6.0.183"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ok
			tc.change(&r)
			_, err := Path(r)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestDecodeRelease(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want string }{
		"DM7 banner":                {"DM Database Server x64 V7.6.0.145-Build(2019.03.20-104220)ENT ", "7.6.0.145"},
		"initdb of early DM8":       {"initdb V8.1.0.147-Build(2019.03.27-104581)ENT", "8.1.0.147"},
		"disql of early DM8":        {"disql V8.1.1.126-Build<2020.11.19-61560trunc>", "8.1.1.126"},
		"disql of DM7":              {"disql V7.6.0.171-Build(2019.07.02-109059)ENT", "7.6.0.171"},
		"dmctlcvt of DM7":           {"DMCTLCVT V7.6.0.95-Build(2019.01.02-1)ENT", "7.6.0.95"},
		"ID_CODE with a pack":       {"--03134284294-20241009-244896-20119 Pack3", "8.1.4.6"},
		"ID_CODE in V$VERSION":      {"03134284094-20230927-197096-20046", "8.1.3.62"},
		"ID_CODE of security":       {"--05134283938-20230101-1-1", "8.1.2.162"},
		"ID_CODE in the older form": {"1-1-144-20.11.06-129436-ENT Pack1", "8.1.1.144"},
		"with dashes before it":     {"--1-1-144-20.11.06-129436-ENT", "8.1.1.144"},
		"8.1.1.14":                  {"--03134283534-20200101-1-1", "8.1.1.14"},
		"8.1.1.15":                  {"--03134283535-20200101-1-1", "8.1.1.15"},
		"8.1.1.100":                 {"--03134283620-20200101-1-1", "8.1.1.100"},
		"8.1.1.101":                 {"--03134283621-20200101-1-1", "8.1.1.101"},
		"8.1.1.170":                 {"--03134283690-20200101-1-1", "8.1.1.170"},
		"8.1.1.171":                 {"--03134283691-20200101-1-1", "8.1.1.171"},
		"8.1.2.100":                 {"--03134283876-20200101-1-1", "8.1.2.100"},
		"8.1.2.101":                 {"--03134283877-20200101-1-1", "8.1.2.101"},
		"8.1.3.100":                 {"--03134284132-20200101-1-1", "8.1.3.100"},
		"8.1.3.129":                 {"--03134284161-20200101-1-1", "8.1.3.129"},
		"8.1.3.162":                 {"--03134284194-20200101-1-1", "8.1.3.162"},
		"8.1.4.23":                  {"--03134284311-20200101-1-1", "8.1.4.23"},
		"8.1.4.80":                  {"--03134284368-20200101-1-1", "8.1.4.80"},
		"8.1.4.170":                 {"--03134284458-20200101-1-1", "8.1.4.170"},

		"DM8 tools name no release":    {"disql V8", ""},
		"nor does the banner":          {"DM Database Server 64 V8", ""},
		"nor does a short row":         {"8.4", ""},
		"a number of no release":       {"--03234284294-20241009-244896-20119", ""},
		"the version= key of dm.ctl":   {"117508180", ""},
		"a year is no dash form":       {"2024-10-09-1", ""},
		"nothing":                      {"", ""},
		"a dash form of major 8 parts": {"9-1-144-20.11.06-1", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := DecodeRelease(tc.in)
			if tc.want == "" {
				if err == nil {
					t.Errorf("read as %s", v)
				}
				return
			}
			if err != nil || v.String() != tc.want {
				t.Errorf("got %s, %v; want %s", v, err, tc.want)
			}
			if v.Part(0) == 8 && !strings.Contains(tc.in, "V") {
				again, err := DecodeRelease("--" + IDCode(v) + "-20240101-1-1")
				if err != nil || again != v {
					t.Errorf("IDCode(%s) = %s reads as %s, %v", v, IDCode(v), again, err)
				}
			}
		})
	}
}

func TestDecodeBanner(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rows []string
		want Banner
	}{
		"DM7":                {[]string{"DM Database Server x64 V7.6.0.145-Build(2019.03.20-104220)ENT ", "DB Version: 0x7000a"}, Banner{release.V(7, 6, 0, 145), 0x7000a}},
		"DM8":                {[]string{"DM Database Server 64 V8", "DB Version: 0x7000c"}, Banner{DBVersion: 0x7000c}},
		"DM8 with more rows": {[]string{"DM Database Server 64 V8", "DB Version: 0x7000d", "03134284094-20230927-1-1", "8.4", "ENT"}, Banner{release.V(8, 1, 3, 62), 0x7000d}},
		"nothing":            {nil, Banner{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, DecodeBanner(tc.rows), cmp.Comparer(func(a, b release.Version) bool { return a == b })); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func FuzzDecodeRelease(f *testing.F) {
	for _, s := range []string{"--03134284294-20241009-244896-20119 Pack3", "1-1-144-20.11.06-129436-ENT Pack1", "disql V8", "V7.6.0.145-Build(2019"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := DecodeRelease(s)
		if err == nil && v.Len() != 4 {
			t.Fatalf("%q read as %s", s, v)
		}
	})
}

// TestTheWayNamesItsRule: a person can look up why a hop may be made.
func TestTheWayNamesItsRule(t *testing.T) {
	t.Parallel()
	for rule, tc := range map[string]pathCase{
		"DM-003": {from: "7.1.6.5", to: "7.6.0.183", topo: DW},
		"DM-005": {from: "7.1.6.11", to: "8.1.1.15", topo: DW},
		"DM-006": {from: "8.1.1.14", to: "8.1.1.15", topo: DW},
		"DM-007": {from: "7.6.0.100", to: "7.6.0.183", topo: DW},
		"DM-008": {from: "8.1.0.147", to: "8.1.1.14", topo: DW},
	} {
		a, err := Path(tc.request())
		if err != nil || len(a.Hops) != 1 || a.Hops[0].Rule != rule {
			t.Errorf("%s to %s: %+v, %v; one hop by %s was expected", tc.from, tc.to, a.Hops, err, rule)
		}
	}
}
