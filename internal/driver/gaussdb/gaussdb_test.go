package gaussdb

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recording is one recorded output of a real server.
type recording struct {
	name    string
	state   string
	command string
	exit    int
	stdout  string
	stderr  string
	body    string // the whole file
}

func (r recording) both() string { return r.stdout + r.stderr }

func record(t testing.TB, name string) recording {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	r := recording{name: name, body: string(b)}
	head, rest, _ := strings.Cut(string(b), "--- stdout\n")
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimRight(line, "\n"), "# "), ": ")
		switch key {
		case "state":
			r.state = value
		case "command":
			r.command = value
		case "exit":
			r.exit, _ = strconv.Atoi(value)
		}
	}
	if i := strings.LastIndex(rest, "--- stderr\n"); i >= 0 {
		r.stdout, r.stderr = rest[:i], rest[i+len("--- stderr\n"):]
	} else {
		r.stdout = rest
	}
	return r
}

func recordings(t testing.TB) []recording {
	t.Helper()
	var all []recording
	root := filepath.Join("testdata", "golden")
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		all = append(all, record(t, strings.TrimSuffix(rel, ".txt")))
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%d recordings, %v", len(all), err)
	}
	return all
}

// TestEveryRecordingIsRead reads each recording, command by command, with the
// reader for the command; what no reader is for, none of them takes for its own.
func TestEveryRecordingIsRead(t *testing.T) {
	t.Parallel()
	read := map[string]int{}
	for _, r := range recordings(t) {
		if r.command == "" {
			measured(t, r)
			read["measurement"]++
			continue
		}
		for _, c := range said(r) {
			if what := readOne(t, r, c); what != "" {
				read[what]++
			} else {
				t.Errorf("%s: nobody knows %q", r.name, c.command)
			}
		}
	}
	for what, least := range map[string]int{"banner": 8, "query": 50, "status": 6, "switchover": 10, "guc check": 4, "guc": 12, "gsql": 60,
		"options": 15, "number": 10, "start or stop": 20, "help": 5, "build": 3, "measurement": 6} {
		if read[what] < least {
			t.Errorf("%d recordings of %s, want at least %d (%v)", read[what], what, least, read)
		}
	}
	t.Logf("%v", read)
}

// spoken is one command of a recording with what it said. Exit is only known
// of the last one.
type spoken struct {
	command, out string
	exit         int
	last         bool
}

// said takes a recording apart: commands between semicolons, each with its own
// lines where it is known how many it prints, and with all of them otherwise.
func said(r recording) []spoken {
	if tool, _, filtered := strings.Cut(r.command, " > /tmp/o"); filtered {
		return []spoken{{tool, r.both(), r.exit, true}} // what follows only filters its log
	}
	var all []spoken
	lines, rest := 0, strings.SplitAfter(r.both(), "\n")
	known := true
	for _, c := range commandsOf(r.command) {
		if word, _, _ := strings.Cut(c, " "); word == "sleep" || word == "printf" {
			continue
		}
		c, _, _ = strings.Cut(c, " | ")
		all = append(all, spoken{command: strings.TrimPrefix(c, "timeout 10 "), out: r.both()})
		n := printed(c)
		known = known && n > 0
		lines += n
	}
	all[len(all)-1].last, all[len(all)-1].exit = true, r.exit
	if known && lines == len(rest)-1 {
		for i := range all {
			n := printed(all[i].command)
			all[i].out = strings.Join(rest[:n], "")
			rest = rest[n:]
		}
	}
	return all
}

// commandsOf splits at semicolons outside of quotes.
func commandsOf(line string) []string {
	var out []string
	quote, from := byte(0), 0
	for i := range len(line) {
		switch c := line[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && c == ';':
			out, from = append(out, strings.TrimSpace(line[from:i])), i+1
		}
	}
	return append(out, strings.TrimSpace(line[from:]))
}

// printed is how many lines a command prints, where that is sure: one for each
// value, and one for each file of options.
func printed(command string) int {
	words := strings.Fields(command)
	switch {
	case words[0] == "cat" && strings.Contains(command, "postmaster.opts"):
		return len(words) - 1
	case words[0] == "gsql" && strings.Contains(command, " -tA ") && (strings.Contains(command, "()") || strings.Contains(command, "count(*)") || strings.Contains(command, "show ")):
		return 1 // of several -c the last one answers
	}
	return 0
}

// readOne returns what kind of output it was; "" when nobody knows.
//
//nolint:gocognit // one case for each tool
func readOne(t *testing.T, r recording, c spoken) string {
	t.Helper()
	cmd, out := c.command, c.out
	fail := func(err error) {
		if err != nil {
			t.Errorf("%s: %s: %v", r.name, cmd, err)
		}
	}
	tool, _, _ := strings.Cut(cmd, " ")
	verb := ""
	for _, w := range strings.Fields(cmd)[1:] {
		if verb == "" && !strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "/") {
			verb = w
		}
	}
	switch {
	case strings.HasSuffix(cmd, "--help"):
		nobody(t, r, c)
		return "help"
	case tool == "gs_initdb" || tool == "pg_controldata" || tool == "pg_config" || tool == "ls" || tool == "od" || tool == "grep" || strings.HasSuffix(cmd, "PG_VERSION"):
		nobody(t, r, c)
		return "other"
	case strings.HasSuffix(cmd, " -V") || strings.HasSuffix(cmd, "--version"):
		b, err := ParseBanner(out)
		fail(err)
		if err == nil && b.Product != "openGauss" {
			t.Errorf("%s: product %q", r.name, b.Product)
		}
		return "banner"
	case tool == "cat" && strings.Contains(cmd, "postmaster.opts"):
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			o, err := ParseOpts(line)
			if strings.HasPrefix(line, "/") { // a value of another command where lines are not counted
				fail(err)
				if o.Value("-D") == "" || o.Value("-M") == "" || !strings.HasSuffix(o.Program, "/gaussdb") {
					t.Errorf("%s: %+v", r.name, o)
				}
			}
		}
		return "options"
	case tool == "cat":
		p, err := ParsePIDFile([]byte(out))
		fail(err)
		if p.PID == 0 {
			t.Errorf("%s: %+v", r.name, p)
		}
		return "pid file"
	case tool == "gs_ctl" && verb == "query" && strings.Contains(cmd, " -L "):
		nobody(t, r, c)
		return "position"
	case tool == "gs_ctl" && verb == "query":
		h, err := ParseQuery(out)
		fail(err)
		if c.last && (h.Process == Running) != (c.exit == 0) && h.Process != Hung {
			t.Errorf("%s: exit %d and yet %s", r.name, c.exit, h.Process)
		}
		if h.Process == Running && (h.Role == "" || h.State == "") {
			t.Errorf("%s: no role or state: %+v", r.name, h)
		}
		return "query"
	case tool == "gs_ctl" && verb == "status":
		s, err := ParseStatus(out)
		fail(err)
		if (s.Process == Running) != (c.exit == 0) || s.Process == Running && (s.PID == 0 || len(s.Args) == 0) {
			t.Errorf("%s: exit %d: %+v", r.name, c.exit, s)
		}
		return "status"
	case tool == "gs_ctl" && verb == "switchover":
		if got := ParseSwitchover(out); got == SwitchUnclear {
			t.Errorf("%s: unclear", r.name)
		}
		return "switchover"
	case tool == "gs_ctl" && verb == "querybuild":
		if h, err := ParseQuery(out); err != nil || h.Healthy() || h.State != "Build completed" {
			t.Errorf("%s: %+v, %v", r.name, h, err)
		}
		return "build"
	case tool == "gs_ctl" && verb == "build":
		nobody(t, r, c)
		return "build"
	case tool == "gs_ctl" && verb != "":
		nobody(t, r, c)
		return "start or stop"
	case tool == "gs_guc" && verb == "check" && c.exit == 0:
		_, err := ParseGucCheck(out)
		fail(err)
		return "guc check"
	case tool == "gs_guc":
		if bad := GucFailed(out); (bad != "") != (c.exit != 0) {
			t.Errorf("%s: exit %d, complaint %q", r.name, c.exit, bad)
		}
		return "guc"
	case tool == "gsql":
		return readSQL(t, r, c)
	case tool == "gaussdb": // a server that does not start
		nobody(t, r, c)
		return "other"
	}
	return ""
}

func readSQL(t *testing.T, r recording, c spoken) string {
	t.Helper()
	errs := SQLErrors(c.out)
	if c.last && c.exit != 0 && len(errs) == 0 {
		t.Errorf("%s: exit %d and no complaint found in %q", r.name, c.exit, clip(c.out))
	}
	if len(errs) > 0 && !strings.Contains(c.out, "ERROR") && !strings.Contains(c.out, "FATAL") && !strings.Contains(c.out, "failed to connect") {
		t.Errorf("%s: complaints found where there are none: %q", r.name, errs)
	}
	if !strings.Contains(c.command, "working_version_num()") || strings.Count(c.out, "\n") != 1 {
		return "gsql"
	}
	rows := ParseTuples(c.out)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Errorf("%s: %q", r.name, rows)
	} else if k, err := ParseKernel(rows[0][0]); err != nil || k < 92298 || k > 92954 {
		t.Errorf("%s: %v, %v", r.name, k, err)
	}
	return "number"
}

// nobody: no reader takes for its own what another tool said.
func nobody(t *testing.T, r recording, c spoken) {
	t.Helper()
	if c.out == "" {
		t.Errorf("%s: %s said nothing", r.name, c.command)
	}
	if h, err := ParseQuery(c.out); err == nil && h.Process == Running {
		t.Errorf("%s: %s was read as the state of a server: %+v", r.name, c.command, h)
	}
	if s, err := ParseStatus(c.out); err == nil && s.Process == Running {
		t.Errorf("%s: %s was read as a status: %+v", r.name, c.command, s)
	}
	if b, err := ParseBanner(c.out); err == nil && b.Release != "" {
		t.Errorf("%s: %s was read as a banner: %+v", r.name, c.command, b)
	}
	if got := ParseSwitchover(c.out); got == SwitchCompleted {
		t.Errorf("%s: %s was read as a switchover", r.name, c.command)
	}
}

var gapRE = regexp.MustCompile(`largest gaps between acknowledged writes over both nodes \(seconds, node before -> node after\): (\d+\.\d+) `)

// measured reads how long nobody could write: docs/drivers/opengauss.md tells it.
func measured(t *testing.T, r recording) {
	t.Helper()
	m := gapRE.FindStringSubmatch(r.body)
	if m == nil || !strings.Contains(r.body, "acknowledged writes: ") {
		t.Errorf("%s: no measurement in %q", r.name, clip(r.body))
		return
	}
	gap, err := strconv.ParseFloat(m[1], 64)
	if switches := !strings.Contains(r.name, "kill-all"); err != nil || switches && (gap < 1.3 || gap > 2.0) {
		t.Errorf("%s: nobody could write for %v s (%v), it is said to be 1.3 to 2.0", r.name, gap, err)
	}
}

func TestParseQuery(t *testing.T) {
	t.Parallel()
	pos := LSN(0x4000148)
	tests := map[string]struct {
		file string
		want HA
	}{
		"a primary with its standby": {"5.0.0/051-gs_ctl-query-primary", HA{Process: Running, Role: "Primary", Connections: 1, State: "Normal", Detail: "Normal", Senders: []Link{{
			PID: 18071, LocalRole: "Primary", PeerRole: "Standby", PeerState: "Normal", State: "Streaming", SenderFlush: pos, ReceiverFlush: pos, Replay: pos,
			SyncState: "Sync", MostAvailable: true, LocalAddress: "127.0.0.1:26001", PeerAddress: "127.0.0.1:43517"}}}},
		"a standby": {"5.0.0/052-gs_ctl-query-standby", HA{Process: Running, Role: "Standby", Connections: 1, State: "Normal", Detail: "Normal", Receiver: &Link{
			PID: 18070, LocalRole: "Standby", PeerRole: "Primary", PeerState: "Normal", State: "Normal", SenderFlush: pos, ReceiverFlush: pos, Replay: pos,
			LocalAddress: "127.0.0.1:43517", PeerAddress: "127.0.0.1:26001"}}},
		"a stopped server":            {"5.0.0/020-gs_ctl-query-stopped", HA{Process: Stopped}},
		"a killed server":             {"5.0.0/159-gs_ctl-query-killed", HA{Process: StalePID}},
		"a hung server":               {"5.0.0/141-gs_ctl-query-hung-primary", HA{Process: Hung}},
		"no data directory":           {"5.0.0/014-gs_ctl-query-nodatadir", HA{Process: Stopped}},
		"a standby without a primary": {"5.0.0/135-gs_ctl-query-standby-primary-down", HA{Process: Running, Role: "Standby", Connections: 1, State: "Need repair", Detail: "Connecting..."}},
		"a diverged standby":          {"5.0.0/173-gs_ctl-query-diverged-standby", HA{Process: Running, Role: "Standby", Connections: 1, State: "Need repair", Detail: "WAL segment removed"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseQuery(record(t, tc.file).both())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseQueryOfAServerThatTakesNoConnections(t *testing.T) {
	t.Parallel()
	out := "[2026-11-21 03:47:02.239][23040][][gs_ctl]: gs_ctl query ,datadir is /data/dn1 \n HA state:\n" +
		"        local_role                    : Primary\n        static_connections            : 1\n        db_state                      : Demoting\n" +
		"        detail_information            : could not connect to the local server: could not receive data from server: Connection reset by peer\n" +
		"        sync_mode                     : Async\n\n Senders info:\n        No information\n Receiver info:\n        No information\n"
	got, err := ParseQuery(out)
	if err != nil || !got.Refusing || got.Process != Running || got.State != "Demoting" || got.Healthy() {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ParseQuery("bash: gs_ctl: command not found\n"); err == nil {
		t.Error("an answer of another program was read")
	}
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	got, err := ParseStatus(record(t, "5.0.0/042-gs_ctl-status-primary").both())
	want := Status{Process: Running, PID: 17812, Program: "/opt/opengauss/app/bin/gaussdb", Args: []string{"-D", "/data/dn1", "-M", "primary"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for file, want := range map[string]Process{"5.0.0/019-gs_ctl-status-stopped": Stopped, "5.0.0/158-gs_ctl-status-killed": StalePID} {
		if got, err := ParseStatus(record(t, file).both()); err != nil || got.Process != want {
			t.Errorf("%s: %+v, %v", file, got, err)
		}
	}
}

func TestParseSwitchover(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]Switched{
		"5.0.0/104-gs_ctl-switchover-on-standby":          SwitchCompleted,
		"5.0.0/103-gs_ctl-switchover-on-primary":          SwitchCompleted,
		"5.0.0/136-switchover-standby-primary-down":       SwitchTimeout,
		"5.0.0/140-switchover-primary-hung":               SwitchTimeout,
		"5.0.0/132-switchover-on-stopped-standby":         SwitchRefused,
		"swap-2.0.1-to-2.0.3/041-switchover-primary-down": SwitchTimeout,
	} {
		if got := ParseSwitchover(record(t, file).both()); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

func TestParseBanner(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   string
		want Banner
	}{
		"recorded 5.0.0":           {record(t, "5.0.0/001-gaussdb-V").both(), Banner{"gaussdb", "openGauss", "5.0.0", "a07d57c3", ""}},
		"recorded version()":       {record(t, "5.0.0/046-gsql-version-tA").both(), Banner{"", "openGauss", "5.0.0", "a07d57c3", ""}},
		"recorded gs_ctl":          {record(t, "5.0.0/004-gs_ctl-V").both(), Banner{Tool: "gs_ctl", Product: "openGauss"}},
		"recorded 2.0.1":           {record(t, "swap-2.0.1-to-2.0.3/001-old-gaussdb-V").both(), Banner{"gaussdb", "openGauss", "2.0.1", "d97c0e8a", ""}},
		"version() of 1.1.0":       {"PostgreSQL 9.2.4 (openGauss 1.1.0 build 392c0438) compiled at 2020-12-31 20:07:42 commit 0 last mr  on x86", Banner{"", "openGauss", "1.1.0", "392c0438", ""}},
		"a candidate":              {"gaussdb (openGauss 6.0.0-RC1 build ed7f8e37) compiled at 2024-03-31 11:59:31 commit 0 last mr", Banner{"gaussdb", "openGauss", "6.0.0-RC1", "ed7f8e37", ""}},
		"6.0 names its build mode": {"gaussdb (openGauss 6.0.0 build aee4abd5) compiled at 2024-09-29 19:14:27 commit 0 last mr  release", Banner{"gaussdb", "openGauss", "6.0.0", "aee4abd5", "release"}},
		"the cluster manager":      {"cm_ctl (openGauss CM 3.0.0 build ab4a14da) compiled at 2000-01-01 00:00:00 debug", Banner{"cm_ctl", "openGauss CM", "3.0.0", "ab4a14da", "debug"}},
		"the om tools":             {"gs_om (openGauss OM 2.0.1 build da8e0828) compiled at 2021-06-02 19:48:48 commit 0 last mr", Banner{"gs_om", "openGauss OM", "2.0.1", "da8e0828", ""}},
		"MogDB":                    {"gaussdb (MogDB 5.0.8 build 9aa6aca6) compiled at 2024-06-25 18:32:29 commit 0 last mr 1804", Banner{"gaussdb", "MogDB", "5.0.8", "9aa6aca6", ""}},
		"a warning of the loader":  {"The \"libpq.so\" loaded mismatch the version of gsql\ngsql (openGauss 2.0.3 build 07ad2fc0) compiled at 2021-01-01 00:00:00 commit 0 last mr", Banner{"gsql", "openGauss", "2.0.3", "07ad2fc0", ""}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseBanner(tc.in)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
	if !MixedLibraries(record(t, "swap-2.0.1-to-2.0.3/009-half-swapped-gsql").both()) {
		t.Error("half swapped binaries were not seen")
	}
}

func TestParseSoftware(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in      string
		want    Software
		wantErr string
	}{
		"package of 2.0.1":          {in: "openGauss-2.0.1\n92.299\nd97c0e8a\n", want: Software{"openGauss-2.0.1", "2.0.1", 92299, "d97c0e8a", ""}},
		"package of 6.0.0":          {in: "openGauss-Server-6.0.0\n92.954\naee4abd5\nrelease\n", want: Software{"openGauss-Server-6.0.0", "6.0.0", 92954, "aee4abd5", "release"}},
		"an installation":           {in: "3.0.0\n92.605\n02c14696", want: Software{"3.0.0", "3.0.0", 92605, "02c14696", ""}},
		"a lost trailing zero":      {in: "3.1.0\n92.78\n12345678\n", want: Software{"3.1.0", "3.1.0", 92780, "12345678", ""}},
		"two lines":                 {in: "3.0.0\n92.605\n", wantErr: "GAUSS-50222"},
		"no release":                {in: "openGauss\n92.605\n02c14696\n", wantErr: "GAUSS-50222"},
		"a number that is none":     {in: "3.0.0\nninety\n02c14696\n", wantErr: "GAUSS-51628"},
		"a commit that is too long": {in: "3.0.0\n92.605\n02c146961\n", wantErr: "GAUSS-50222"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseSoftware([]byte(tc.in))
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want %s", err, tc.wantErr)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

func TestKernelsCompareAsIntegers(t *testing.T) {
	t.Parallel()
	a, _ := ParseKernel("92.92")
	b, _ := ParseKernel("92.913")
	if a != 92920 || b != 92913 || a <= b {
		t.Errorf("%d %d", a, b)
	}
	for _, bad := range []string{"", "92.", "92.1234", ".5", "abc", "92,848", "-92.848", "12"} {
		if k, err := ParseKernel(bad); err == nil {
			t.Errorf("%q was read as %d", bad, k)
		}
	}
}

const omDetail = `[   Cluster State   ]

cluster_state   : Degraded
redistributing  : No
current_az      : AZ_ALL

[  Datanode State   ]

    node     node_ip         port      instance         state
-----------------------------------------------------------------------------
AZ1 1  node1 192.168.0.1     6432       6001 /data/dn   P Primary Normal
AZ1 2  node2 192.168.0.2     15400      6002 /data/dn   S Standby Need repair(Connecting)
AZ1 3  node3 192.168.0.3     15400      6003 /data/dn   S Down    Manually stopped
`

const cmDetail = `[  CMServer State   ]

node     node_ip         instance                                 state
-------------------------------------------------------------------------
1  node1 192.168.0.1     1    /opt/huawei/data/cmserver/cm_server Primary
2  node2 192.168.0.2     2    /opt/huawei/data/cmserver/cm_server Standby

[   Cluster State   ]

cluster_state   : Normal
redistributing  : No
balanced        : Yes
current_az      : AZ_ALL
pausing         : Yes

[  Datanode State   ]

node     node_ip         instance             state            | node     node_ip         instance             state
------------------------------------------------------------------------------------------------------------------------------
1  node1 192.168.0.1     6001 15400  /data/dn P Primary Normal | 2  node2 192.168.0.2     6002 15400  /data/dn C Cascade Standby Need repair(Disconnected) | 3  node3 192.168.0.3     6003 15400  /data/dn S Down    Unknown
`

const cmPlain = `-----------------------------------------------------------------------

cluster_state             : Normal
redistributing            : No
balanced                  : Yes

-----------------------------------------------------------------------
`

const cmGone = `[  CMServer State   ]

node     instance                                 state
---------------------------------------------------------
1  node1 1    /opt/huawei/data/cmserver/cm_server Down

cm_ctl: can't connect to cm_server.
Maybe cm_server is not running, or timeout expired. Please try again.
`

func TestParseCluster(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   string
		want ClusterState
	}{
		"gs_om with details": {omDetail, ClusterState{State: "Degraded", AZ: "AZ_ALL", Datanodes: []Instance{
			{AZ: "AZ1", NodeID: 1, Node: "node1", IP: "192.168.0.1", Port: 6432, ID: 6001, Path: "/data/dn", Static: "P", Role: "Primary", State: "Normal"},
			{AZ: "AZ1", NodeID: 2, Node: "node2", IP: "192.168.0.2", Port: 15400, ID: 6002, Path: "/data/dn", Static: "S", Role: "Standby", State: "Need repair", Reason: "Connecting"},
			{AZ: "AZ1", NodeID: 3, Node: "node3", IP: "192.168.0.3", Port: 15400, ID: 6003, Path: "/data/dn", Static: "S", Role: "Down", State: "Manually stopped"},
		}}},
		"gs_om query without paths": {"[  Datanode State   ]\n\n    node     node_ip         port      instance         state\n1  node1 192.168.0.1     15400      6001       P Primary Normal\n", ClusterState{Datanodes: []Instance{
			{NodeID: 1, Node: "node1", IP: "192.168.0.1", Port: 15400, ID: 6001, Static: "P", Role: "Primary", State: "Normal"}}}},
		"cm_ctl with everything": {cmDetail, ClusterState{State: "Normal", Balanced: "Yes", AZ: "AZ_ALL", Pausing: true,
			CMServers: []Instance{{NodeID: 1, Node: "node1", IP: "192.168.0.1", ID: 1, Path: "/opt/huawei/data/cmserver/cm_server", Role: "Primary"},
				{NodeID: 2, Node: "node2", IP: "192.168.0.2", ID: 2, Path: "/opt/huawei/data/cmserver/cm_server", Role: "Standby"}},
			Datanodes: []Instance{
				{NodeID: 1, Node: "node1", IP: "192.168.0.1", Port: 15400, ID: 6001, Path: "/data/dn", Static: "P", Role: "Primary", State: "Normal"},
				{NodeID: 2, Node: "node2", IP: "192.168.0.2", Port: 15400, ID: 6002, Path: "/data/dn", Static: "C", Role: "Cascade", State: "Need repair", Reason: "Disconnected"},
				{NodeID: 3, Node: "node3", IP: "192.168.0.3", Port: 15400, ID: 6003, Path: "/data/dn", Static: "S", Role: "Down", State: "Unknown"},
			}}},
		"cm_ctl query alone": {cmPlain, ClusterState{State: "Normal", Balanced: "Yes"}},
		"no cm_server":       {cmGone, ClusterState{NoCMServer: true, CMServers: []Instance{{NodeID: 1, Node: "node1", ID: 1, Path: "/opt/huawei/data/cmserver/cm_server", Role: "Down"}}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseCluster(tc.in)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
	if _, err := ParseCluster("-bash: gs_om: command not found\n"); err == nil {
		t.Error("an answer of another program was read")
	}
}

func TestParseGucCheck(t *testing.T) {
	t.Parallel()
	got, err := ParseGucCheck(record(t, "5.0.0/032-gs_guc-check-replconninfo1").both())
	if err != nil || len(got) != 1 || !got[0].Set {
		t.Fatalf("%+v, %v", got, err)
	}
	p, err := ParsePeer(got[0].Value)
	if diff := cmp.Diff(Peer{LocalHost: "127.0.0.1", LocalPort: 26001, RemoteHost: "127.0.0.1", RemotePort: 26101}, p); diff != "" || err != nil {
		t.Error(diff, err)
	}
	unset, err := ParseGucCheck(record(t, "5.0.0/024-gs_guc-check-stopped").both())
	want := []Setting{{Node: "node1", Name: "port", File: "/data/dn1/postgresql.conf"}}
	if diff := cmp.Diff(want, unset); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := ParseGucCheck(record(t, "5.0.0/033-gs_guc-check-unknown").both()); err == nil || !strings.Contains(err.Error(), "no_such_parameter") {
		t.Errorf("the complaint is lost: %v", err)
	}
}

func TestDataDirectoryFiles(t *testing.T) {
	t.Parallel()
	p, err := ParsePIDFile([]byte(record(t, "5.0.0/057-postmaster.pid").stdout))
	if diff := cmp.Diff(PIDFile{17812, "/data/dn1", 1795232733, 26000, "/tmp"}, p); diff != "" || err != nil {
		t.Error(diff, err)
	}
	line := "/opt/opengauss/app-5.0.3/bin/gaussdb \"-D\" \"/data/dn2\" \"-u\" \"92848\" \"-M\" \"primary\"\n"
	if !strings.Contains(record(t, "upgrade-5.0.0-to-5.0.3/029-postmaster.opts-after-switchover").stdout, line) {
		t.Fatal("the recording has changed")
	}
	o, err := ParseOpts(line)
	if err != nil || o.Value("-u") != "92848" || o.Value("-M") != "primary" || o.String() != line {
		t.Errorf("%+v, %v", o, err)
	}
	if got := o.Without("-u").String(); got != "/opt/opengauss/app-5.0.3/bin/gaussdb \"-D\" \"/data/dn2\" \"-M\" \"primary\"\n" {
		t.Errorf("without -u: %q", got)
	}
	k, err := OldNumber([]byte("5.0.0\n92.848\na07d57c3\n"))
	if k != 92848 || err != nil {
		t.Error(k, err)
	}
}

func TestConf(t *testing.T) {
	t.Parallel()
	c := ReadConf([]byte("port = 26000\n#max_connections = 1\nMax_Connections = 200 # many\nlisten_addresses='a,b'\nmax_connections = 300\nx = 'it''s # no comment'\ny 7"))
	want := map[string]string{"port": "26000", "max_connections": "300", "listen_addresses": "a,b", "x": "it's # no comment", "y": "7"}
	if diff := cmp.Diff(want, c.All()); diff != "" {
		t.Error(diff)
	}
	d := c.Set("max_connections", "400").Set("upgrade_mode", "2").Drop("port")
	if v, _ := d.Get("MAX_CONNECTIONS"); v != "400" {
		t.Errorf("max_connections is %q", v)
	}
	if _, there := d.Get("port"); there {
		t.Error("port is still set")
	}
	if !strings.HasSuffix(string(d.Bytes()), "y 7\nupgrade_mode = 2\n") || !strings.Contains(string(d.Bytes()), "#port = 26000\n") {
		t.Errorf("%q", d.Bytes())
	}
	if string(c.Bytes()) != string(ReadConf(c.Bytes()).Bytes()) {
		t.Error("a file does not read back")
	}
}

func TestLSN(t *testing.T) {
	t.Parallel()
	a, _ := ParseLSN("0/9")
	b, _ := ParseLSN("0/10")
	c, err := ParseLSN("1/0")
	if a >= b || b >= c || err != nil || c.String() != "1/0" || b.String() != "0/10" {
		t.Error(a, b, c, err)
	}
}

func FuzzReaders(f *testing.F) {
	for _, r := range recordings(f) {
		if len(r.stdout) < 4000 {
			f.Add(r.both())
		}
	}
	for _, s := range []string{omDetail, cmDetail, cmPlain, cmGone, "3.0.0\n92.605\n02c14696\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := ParseQuery(s); err == nil && h.Process == "" {
			t.Error("an answer without a process")
		}
		if st, err := ParseStatus(s); err == nil && st.Process == "" {
			t.Error("a status without a process")
		}
		if c, err := ParseCluster(s); err == nil {
			for _, in := range c.Datanodes {
				if in.Node == "" || in.Role == "" || in.ID == 0 {
					t.Errorf("half a row: %+v", in)
				}
			}
		}
		if sw, err := ParseSoftware([]byte(s)); err == nil {
			again, err := ParseSoftware(sw.UpgradeVersion())
			if err != nil || again.Release != sw.Release || again.Kernel != sw.Kernel || again.Commit != sw.Commit {
				t.Errorf("%+v does not read back: %+v, %v", sw, again, err)
			}
		}
		if b, err := ParseBanner(s); err == nil && b.Product == "" {
			t.Error("a banner without a product")
		}
		if o, err := ParseOpts(s); err == nil && o.Program != "" {
			if again, err := ParseOpts(o.String()); err != nil || cmp.Diff(o, again) != "" {
				t.Errorf("%+v does not read back: %+v, %v", o, again, err)
			}
		}
		c := ReadConf([]byte(s))
		if string(c.Bytes()) != s {
			t.Error("a file does not read back")
		}
		if v, ok := c.Set("upgrade_mode", "2").Get("upgrade_mode"); v != "2" || !ok {
			t.Errorf("upgrade_mode is %q after it was set", v)
		}
		if _, ok := c.Set("upgrade_mode", "2").Drop("upgrade_mode").Get("upgrade_mode"); ok {
			t.Error("upgrade_mode is set after it was dropped")
		}
		_, _ = ParseGucCheck(s)
		_, _ = ParsePIDFile([]byte(s))
		_, _ = ParsePeer(s)
		_, _ = OldNumber([]byte(s))
		_ = ParseTuples(s)
		_ = SQLErrors(s)
		_ = GucFailed(s)
		_ = ParseSwitchover(s)
	})
}
