package postgres

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConninfoIsEditedAndNothingElseChanges(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want string }{
		"host and port are replaced in their places": {"user=r host=a port=5432 sslmode=verify-full", "user=r host=b port=6000 sslmode=verify-full"},
		"a missing port is added":                    {"host=a user=r", "host=b user=r port=6000"},
		"hostaddr would win and goes":                {"hostaddr=10.0.0.1 host=a port=1", "host=b port=6000"},
		"a quoted password survives":                 {`host=a port=1 password='it\'s a \\ secret'`, `host=b port=6000 password='it\'s a \\ secret'`},
		"an empty value stays":                       {`host=a port=1 options=''`, `host=b port=6000 options=''`},
		"blanks around the sign are read":            {"host = a  port = 1", "host=b port=6000"},
		"several hosts become one":                   {"host=a,c port=1,2", "host=b port=6000"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ci, err := parseConninfo(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if got := ci.to("b", "6000").String(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestConninfoNeverShowsTheSecret(t *testing.T) {
	t.Parallel()
	ci, err := parseConninfo("host=a password=hunter2 sslpassword=hunter2")
	if err != nil {
		t.Fatal(err)
	}
	if got := ci.shown(); strings.Contains(got, "hunter2") {
		t.Error(got)
	}
	for _, broken := range []string{"password=hunter2 'x", "password='hunter2", "hunter2", "postgres://u:hunter2@h/"} {
		if _, err := parseConninfo(broken); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", broken, err)
		}
	}
}

func FuzzConninfo(f *testing.F) {
	for _, s := range []string{"host=a port=1", `password='it\'s' host=x`, "a = b c='d e'", "a=''", `a=\ b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ci, err := parseConninfo(s)
		if err != nil {
			return
		}
		again, err := parseConninfo(ci.String())
		if err != nil || len(ci) != len(again) {
			t.Fatalf("%q: %q: %v", s, ci.String(), err)
		}
		for i := range ci {
			if ci[i] != again[i] {
				t.Fatalf("%q: %+v became %+v", s, ci[i], again[i])
			}
		}
	})
}

func TestSyncNames(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in      string
		here    []string
		relaxed string
	}{
		"off stays off":                             {"", nil, ""},
		"a plain list asks for one":                 {"a, b", []string{"b"}, "a, b"},
		"nobody left asks for nothing":              {"a, b", []string{"c"}, ""},
		"FIRST 2 with one left":                     {"FIRST 2 (a, b, c)", []string{"c", "x"}, "FIRST 1 (a, b, c)"},
		"ANY 2 with two left":                       {"ANY 2 (a, b, c)", []string{"a", "c"}, "ANY 2 (a, b, c)"},
		"the old form with a number":                {"2 (a, b)", []string{"a"}, "1 (a, b)"},
		"the star is everybody":                     {"FIRST 2 (*)", []string{"x"}, "FIRST 1 (*)"},
		"names are compared without regard to case": {"DB2", []string{"db2"}, "DB2"},
		"a quoted name":                             {`ANY 1 ("db-2", "o""k")`, []string{"db-2"}, `ANY 1 ("db-2", "o""k")`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := parseSyncNames(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.relaxed, s.relaxed(tc.here).String()); diff != "" {
				t.Error(diff)
			}
		})
	}
	s, _ := parseSyncNames("FIRST 1 (db2, db3)")
	if got := s.renamed("db2", "db1").String(); got != "FIRST 1 (db1, db3)" {
		t.Errorf("after a switch to db2: %s", got)
	}
	if got := s.renamed("db2", "db3").String(); got != "FIRST 1 (db2, db3)" {
		t.Errorf("a list that holds both stays: %s", got)
	}
	for _, broken := range []string{"FIRST 2", "FIRST 0 (a)", "a,", "(a)", "ANY 1 (a", `"a`, "a b", "a;b"} {
		if got, err := parseSyncNames(broken); err == nil {
			t.Errorf("%q was read as %+v", broken, got)
		}
	}
}

func FuzzSyncNames(f *testing.F) {
	for _, s := range []string{"", "a", "FIRST 2 (a, b)", "ANY 1 (\"x y\", *)", "3(a,b,c)", "first"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSyncNames(s)
		if err != nil {
			return
		}
		again, err := parseSyncNames(n.String())
		if err != nil || again.num != n.num || !cmp.Equal(again.names, n.names) {
			t.Fatalf("%q: written as %q, read as %+v (%v)", s, n.String(), again, err)
		}
	})
}

// The control file was written by initdb of 15.18; pg_controldata said what is wanted here.
func TestControlFile(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/pg_control.15")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/pg_controldata.15.txt")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseControl(b)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{
		"Database system identifier":         itoa64(c.SystemID),
		"Database cluster state":             c.State.String(),
		"Latest checkpoint location":         c.Checkpoint.String(),
		"Latest checkpoint's REDO location":  c.Redo.String(),
		"Latest checkpoint's TimeLineID":     itoa64(uint64(c.Timeline)),
		"Catalog version number":             itoa64(uint64(c.Catalog)),
		"Database block size":                itoa64(uint64(c.BlockSize)),
		"Bytes per WAL segment":              itoa64(uint64(c.SegmentSize)),
		"Data page checksum version":         itoa64(uint64(c.ChecksumsMode)),
		"Minimum recovery ending location":   c.MinRecovery.String(),
		"Min recovery ending loc's timeline": fmt.Sprint(c.MinRecoverTLI),
	}
	said := map[string]string{}
	for _, line := range strings.Split(string(want), "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok {
			said[k] = strings.TrimSpace(v)
		}
	}
	for k, v := range got {
		if said[k] != v {
			t.Errorf("%s: %s, pg_controldata says %q", k, v, said[k])
		}
	}
	for i := range controlCRC {
		b[i] ^= 0x40
		if _, err := parseControl(b); err == nil {
			t.Fatalf("a flip at byte %d was not noticed", i)
		}
		b[i] ^= 0x40
	}
}

func FuzzControl(f *testing.F) {
	if b, err := os.ReadFile("testdata/pg_control.15"); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseControl(b) })
}

func TestPidFile(t *testing.T) {
	t.Parallel()
	p, err := parsePidFile("24724\n/data\n1795241425\n12099\n/run\n127.0.0.1\n  7 9\nstandby \n")
	if err != nil || p != (pidFile{PID: 24724, Data: "/data", Port: "12099", Status: "standby"}) {
		t.Errorf("%+v %v", p, err)
	}
	for _, broken := range []string{"", "x\n", "-12\n/data", "0\n"} {
		if _, err := parsePidFile(broken); err == nil {
			t.Errorf("%q was read", broken)
		}
	}
}

func TestReleaseOfBinary(t *testing.T) {
	t.Parallel()
	for exe, want := range map[string]string{
		"/opt/pg/15.16/bin/postgres": "15.16", "/opt/pg/15.16/bin/postgres (deleted)": "15.16", "/usr/bin/vim": "",
	} {
		if got := releaseOfExe(exe); got != want {
			t.Errorf("%s: %q", exe, got)
		}
	}
	if got := parseReleaseLine("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"); got != "15.18" {
		t.Error(got)
	}
}

func TestAgentsAreKnownByTheirProgram(t *testing.T) {
	t.Parallel()
	ps := "/usr/bin/python3 /usr/local/bin/patroni /etc/patroni.yml\nvim /etc/patroni.yml\n/usr/bin/repmgrd -f x\ngrep patroni\n"
	if diff := cmp.Diff([]string{"patroni", "repmgrd"}, agentsIn(ps)); diff != "" {
		t.Error(diff)
	}
}

func TestHistoryTellsWhereATimelineWasLeft(t *testing.T) {
	t.Parallel()
	const history = "1\t0/5000060\tno recovery target specified\n\n2\t1/0\tbefore 2026-01-01 00:00:00+00\n"
	tests := map[string]struct {
		text  string
		tli   int
		want  lsn
		known bool
	}{
		"the first":               {history, 1, 0x5000060, true},
		"a later one":             {history, 2, 1 << 32, true},
		"one that is not in it":   {history, 3, 0, false},
		"a number that starts so": {"11\t0/1\tx\n", 1, 0, false},
		"no position":             {"1\tx\n", 1, 0, false},
		"cut off":                 {"1", 1, 0, false},
		"nothing":                 {"", 1, 0, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if at, known := parseHistory(tc.text, tc.tli); at != tc.want || known != tc.known {
				t.Errorf("got %s, %t", at, known)
			}
		})
	}
}

func FuzzHistory(f *testing.F) {
	f.Add("1\t0/5000060\tno recovery target specified\n", 1)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, text string, tli int) {
		if at, known := parseHistory(text, tli); known != (at > 0) {
			t.Errorf("%s, %t", at, known)
		}
	})
}
