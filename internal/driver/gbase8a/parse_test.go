package gbase8a

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recorded reads a recorded layout.
func recorded(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "gcadmin", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSnapshotsCompareAsNumbers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ lower, higher Snapshot }{
		"the term counts first, as a number": {Snapshot{9, 100}, Snapshot{142, 5}},
		"the index decides within a term":    {Snapshot{142, 37975}, Snapshot{142, 37977}},
		"a higher term beats any index":      {Snapshot{142, 99999}, Snapshot{143, 1}},
		"the index is a number too":          {Snapshot{142, 999}, Snapshot{142, 37975}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.lower.Compare(tc.higher) >= 0 || tc.higher.Compare(tc.lower) <= 0 || tc.lower.Compare(tc.lower) != 0 {
				t.Errorf("%v must lie before %v", tc.lower, tc.higher)
			}
		})
	}
}

func TestParseSnapshots(t *testing.T) {
	t.Parallel()
	const recordedListing = `f 49 1671783540.0 GCWARE_META.A
f 40 1671783540.0 GCWARE_META.B
f 320 1671783540.0 REDOLOG.37975
f 320 1671783540.0 REDOLOG.37977
d 69 1671783540.0 SNAPSHOT.142.37975
d 69 1671783540.0 SNAPSHOT.142.37977
`
	tests := map[string]struct {
		out     string
		want    SnapshotDir
		newest  Snapshot
		wantErr string
	}{
		"the recorded directory": {
			out: recordedListing,
			want: SnapshotDir{Complete: []Snapshot{{142, 37975}, {142, 37977}},
				Redo: []uint64{37975, 37977}, RedoSize: 640},
			newest: Snapshot{142, 37977},
		},
		"one in progress is not the newest": {
			out: recordedListing + "d 69 1671783600.5 SNAPSHOT.142.37979.s\n",
			want: SnapshotDir{Complete: []Snapshot{{142, 37975}, {142, 37977}}, Running: []Snapshot{{142, 37979}},
				Redo: []uint64{37975, 37977}, RedoSize: 640, Changed: 1671783600.5},
			newest: Snapshot{142, 37977},
		},
		"odd names are told, not errors": {
			out:  "d 69 1.0 SNAPSHOT.142\nd 69 1.0 SNAPSHOT.a.b\nf 69 1.0 SNAPSHOT.1.2\nd 9 1.0 SNAPSHOT.99999999999999999999.1\nf 1 1.0 a b\n",
			want: SnapshotDir{Unknown: []string{"SNAPSHOT.1.2", "SNAPSHOT.142", "SNAPSHOT.99999999999999999999.1", "SNAPSHOT.a.b", "a b"}},
		},
		"text order would choose wrongly": {
			out:    "d 69 1.0 SNAPSHOT.99.5\nd 69 1.0 SNAPSHOT.142.1\n",
			want:   SnapshotDir{Complete: []Snapshot{{99, 5}, {142, 1}}},
			newest: Snapshot{142, 1},
		},
		"an empty directory":        {},
		"a listing of another kind": {out: "total 16\n", wantErr: `want "type size time name"`},
		"a size that is no number":  {out: "d x 1.0 SNAPSHOT.1.2\n", wantErr: "is not a number"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseSnapshots(tc.out)
			if !matches(err, tc.wantErr) {
				t.Fatalf("error %v, want %q", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if newest, _ := got.Newest(); newest != tc.newest {
				t.Errorf("newest is %v, want %v", newest, tc.newest)
			}
		})
	}
}

// matches reports whether err says want; no error where want is empty.
func matches(err error, want string) bool {
	if want == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), want)
}

func TestParseStatusReadsEveryRecordedLayout(t *testing.T) {
	t.Parallel()
	data := func(n, ip, id, state string) Row {
		return Row{Name: n, IP: ip, Distribution: id, Gnode: state, Syncserver: state, DataState: "0"}
	}
	v953 := func(state string) *Status {
		s := &Status{State: "ACTIVE", Mode: "NORMAL", GcwareTable: true}
		for i, ip := range []string{"192.168.6.72", "192.168.6.73", "192.168.6.74"} {
			n := string(rune('1' + i))
			s.Gcware = append(s.Gcware, Row{Name: "gcware" + n, IP: ip, Gcware: "OPEN"})
			s.Coordinators = append(s.Coordinators, Row{Name: "coordinator" + n, IP: ip, Gcluster: state, DataState: "0"})
		}
		s.Data = []Row{data("node1", "192.168.6.73", "1", state), data("node2", "192.168.6.72", "1", state), data("node3", "192.168.6.74", "1", state)}
		return s
	}
	coor := func(n, ip, gcware string) Row {
		return Row{Name: n, IP: ip, Gcware: gcware, Gcluster: "CLOSE", DataState: "0"}
	}
	v952 := func(a, b, c string) *Status {
		rows := []Row{coor("coordinator1", "10.0.2.102", a), coor("coordinator2", "10.0.2.202", b), coor("coordinator3", "10.0.2.203", c)}
		return &Status{State: "ACTIVE", Mode: "NORMAL", Gcware: rows, Coordinators: rows,
			Data: []Row{data("node1", "10.0.2.102", "6", "CLOSE"), data("node2", "10.0.2.202", "6", "CLOSE"), data("node3", "10.0.2.203", "6", "CLOSE")}}
	}
	multi := v953("OPEN")
	multi.Mode, multi.Data = "", nil
	multi.VCs, multi.VCNames, multi.Footer = []VC{{"vc1", "1", "Home VMware VC1"}}, []string{"vc1"}, true
	free := v953("OPEN")
	free.Data, free.Footer = nil, true
	free.Free = []Row{{Name: "FreeNode1", IP: "192.168.3.72", Gnode: "CLOSE", Syncserver: "OPEN", DataState: "0"}}
	for name, want := range map[string]*Status{
		"v952-gcware-1-of-3-open.txt": v952("CLOSE", "OPEN", "CLOSE"),
		"v952-flush-ready.txt":        v952("OPEN", "OPEN", "OPEN"),
		"v953-healthy.txt":            v953("OPEN"),
		"v953-gcware-only.txt":        v953("CLOSE"),
		"v953-multi-vc-root.txt":      multi,
		"v953-free-node.txt":          free,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseStatus(recorded(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	healthy := recorded(t, "v953-healthy.txt")
	tests := map[string]struct{ out, wantErr string }{
		"colours around values are taken away": {out: strings.ReplaceAll(healthy, "OPEN", "\x1b[32mOPEN\x1b[0m")},
		"two virtual clusters in the footer":   {out: healthy + "2 virtual cluster: vc01, vc02\n"},
		"the old name of the mode":             {out: strings.Replace(healthy, "VIRTUAL CLUSTER MODE", "CLUSTER MODE", 1)},
		"nothing at all":                       {out: "", wantErr: `no line "CLUSTER STATE:"`},
		"no table":                             {out: "CLUSTER STATE:         LOCKED\n", wantErr: "no node in any table"},
		"cut inside a row":                     {out: healthy[:strings.Index(healthy, "gcware3")+4], wantErr: "cut off"},
		"cut between row and rule":             {out: strings.SplitAfter(healthy, "gcware2  | 192.168.6.73 |  OPEN  |\n")[0], wantErr: "without its last rule"},
		"an unknown table":                     {out: strings.Replace(healthy, "GCWARE CLUSTER INF", "BANANA CLUSTER INF", 1), wantErr: "unknown table"},
		"a column is missing":                  {out: strings.Replace(healthy, "| gcware |", "| banana |", 1), wantErr: "no column gcware"},
		"the footer contradicts itself":        {out: healthy + "3 virtual cluster: vc01, vc02\n", wantErr: "counts 3 virtual clusters and names 2"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := ParseStatus(tc.out); !matches(err, tc.wantErr) {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
		})
	}
}

func TestParseEventCount(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		out     string
		want    int
		wantErr string
	}{
		"single cluster":                    {out: "Event count:0\n"},
		"virtual cluster":                   {out: "Vc event count:0\n"},
		"one event with its text":           {out: "Vc event count:1\nEvent ID: 6\nObjectName: test\nFail Node Copy:\nFail Data Copy:\nNodeIP: 10.10.14.35 FAILURE\n", want: 1},
		"more than are listed":              {out: "Vc event count: 170\n", want: 170},
		"no line is an error, never a zero": {out: "Event ID: 6\n", wantErr: "no line"},
		"a count inside a text is no count": {out: "the Event count:0 was\n", wantErr: "no line"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseEventCount(tc.out)
			if !matches(err, tc.wantErr) || got != tc.want {
				t.Errorf("got %d, %v; want %d, %q", got, err, tc.want, tc.wantErr)
			}
		})
	}
}

func TestParseServiceTools(t *testing.T) {
	t.Parallel()
	out := "Stopping GCMonit success!\n" +
		"Stopping gcrecover :                                       [  OK  ]\n" +
		"Stopping gcluster :                                        [FAILED]\n"
	want := []ServiceLine{{"Stopping", "GCMonit", true}, {"Stopping", "gcrecover", true}, {"Stopping", "gcluster", false}}
	if diff := cmp.Diff(want, ParseServiceLines(out)); diff != "" {
		t.Error(diff)
	}
	info := ParseInfo("gcware is running\n/opt/gbase/192.168.6.72/gcluster/server/bin/gclusterd is running\ngcrecover is stopped\n")
	if diff := cmp.Diff(map[string]bool{"gcware": true, "gclusterd": true, "gcrecover": false}, info); diff != "" {
		t.Error(diff)
	}
}

func TestParseProcessesTellsInstancesApart(t *testing.T) {
	t.Parallel()
	out := " 101 gclusterd /opt/gbase/192.168.6.72/gcluster/server/bin/gclusterd --x\n" +
		" 102 gclusterd /opt/gbase/192.168.6.82/gcluster/server/bin/gclusterd --x\n" +
		" 103 gcmonit gcmonit --start\n" +
		" 104 bash -bash\n"
	got := processNames(ParseProcesses(out, []string{"/opt/gbase/192.168.6.72/gcluster"}))
	if diff := cmp.Diff([]string{"gclusterd", "gcmonit"}, got); diff != "" {
		t.Error("ours and those without a path: " + diff)
	}
	if n := len(ParseProcesses(out, nil)); n != 3 {
		t.Errorf("without bases all %d processes of the product count, want 3", n)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	layout := Layout{Prefix: "/opt/gbase", Coordinators: []string{"10.0.0.1", "10.0.0.2"}, Data: []string{"10.0.0.1", "10.0.0.3"},
		Gcware: []string{"10.0.0.1"}, DBAUser: "gbase", DBAGroup: "gbase", DBAPassword: "s'3"}
	opts, err := ParseOptions(layout.Render() + "#existCoordinateHost =\n# a remark\n")
	if err != nil {
		t.Fatal(err)
	}
	if d := layout.Differs(opts); d != nil {
		t.Errorf("what was rendered differs: %v", d)
	}
	for name, tc := range map[string]struct {
		text, want string
	}{
		"a data node is missing": {"coordinateHost=10.0.0.2, 10.0.0.1\ndataHost = 10.0.0.1\ngcwareHost=10.0.0.1\n", "dataHost has 10.0.0.1"},
		"gcwareHost is missing":  {"coordinateHost=10.0.0.2,10.0.0.1\ndataHost = 10.0.0.1,10.0.0.3\n", "gcwareHost has none"},
		"an exist key is active": {layout.Render() + "existDataHost = 10.0.0.1\n", "existDataHost is active"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts, err := ParseOptions(tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if d := strings.Join(layout.Differs(opts), "\n"); !strings.Contains(d, tc.want) {
				t.Errorf("differs %q, want %q", d, tc.want)
			}
		})
	}
	for text, want := range map[string]string{
		"banana = 1\n":                         "line 1: unknown key",
		"dbaUser gbase\n":                      "want \"key = value\"",
		"dbaUser = gbase\n\ndbaUser = other\n": "line 3: dbaUser stands already in line 1",
	} {
		if _, err := ParseOptions(text); !matches(err, want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	names, err := filepath.Glob("testdata/gcadmin/*.txt")
	if err != nil || len(names) == 0 {
		f.Fatal("no recorded layouts")
	}
	for _, n := range names {
		f.Add(recorded(f, filepath.Base(n)))
	}
	f.Fuzz(func(t *testing.T, out string) {
		st, err := ParseStatus(out)
		if err != nil {
			return
		}
		if st.State == "" || len(st.Gcware)+len(st.Coordinators)+len(st.Data)+len(st.Free) == 0 {
			t.Errorf("accepted a status without state or nodes: %q", out)
		}
	})
}

func FuzzParseSnapshots(f *testing.F) {
	f.Add("f 49 1671783540.0 GCWARE_META.A\nf 320 1671783540.0 REDOLOG.37975\nd 69 1671783540.0 SNAPSHOT.142.37975\nd 69 1.0 SNAPSHOT.142.37979.s\n")
	f.Add("d 69 1.0 SNAPSHOT.142\n")
	f.Fuzz(func(t *testing.T, out string) {
		d, err := ParseSnapshots(out)
		if err != nil {
			return
		}
		newest, ok := d.Newest()
		for _, s := range d.Complete {
			if !ok || s.Compare(newest) > 0 {
				t.Errorf("%v lies after the newest %v", s, newest)
			}
		}
	})
}

func FuzzParseTools(f *testing.F) {
	f.Add("Starting gcware :                                          [  OK  ]\nStarting GCMonit success!\n")
	f.Add("| Lock name | owner | content |\n| gc-event-lock | global master | x |\n")
	f.Add("Vc event count:1\nEvent ID: 6\n")
	f.Add("installPrefix = /opt\n#existDataHost=\n")
	f.Fuzz(func(t *testing.T, out string) {
		ParseServiceLines(out)
		ParseInfo(out)
		ParseProcesses(out, []string{"/opt"})
		if n, err := ParseEventCount(out); err == nil && n < 0 {
			t.Error("a negative count")
		}
		_, _ = ParseLocks(out)
		_, _ = ParseOptions(out)
	})
}
