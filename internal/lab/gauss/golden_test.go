package gauss

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"mvdan.cc/sh/v3/shell"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// recording is one file of testdata/golden: what a real server answered.
type recording struct {
	command        string
	exit           int
	stdout, stderr string
}

func readRecording(t *testing.T, name string) recording {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r recording
	into := (*string)(nil)
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		switch {
		case line == "--- stdout":
			into = &r.stdout
		case line == "--- stderr":
			into = &r.stderr
		case into != nil:
			*into += line + "\n"
		case strings.HasPrefix(line, "# command: "):
			r.command = line[len("# command: "):]
		case strings.HasPrefix(line, "# exit: "):
			if r.exit, err = strconv.Atoi(line[len("# exit: "):]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

// masks hide times, process numbers, positions, ports of connections, and what
// comes from the machine on which was recorded.
var masks = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\]\[\d+\]`), "[TIME][PID]"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(\+00)?`), "TIME"},
	{regexp.MustCompile(`[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}`), "TIME"},
	{regexp.MustCompile(`\b[0-9A-F]{1,8}/[0-9A-F]{3,8}\b`), "LSN"},
	{regexp.MustCompile(`PID: \d+`), "PID: N"},
	{regexp.MustCompile(`(_pid +: )\d+`), "${1}N"},
	{regexp.MustCompile(`(_pid +\| )\d+`), "${1}N"},
	{regexp.MustCompile(`(?m)^(pid +\| )\d+`), "${1}N"},
	{regexp.MustCompile(`(client_port +\| )\d+`), "${1}N"},
	{regexp.MustCompile(`waitpid \d+`), "waitpid N"},
	{regexp.MustCompile(`(-->127\.0\.0\.1:)\d+`), "${1}N"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+<--`), "127.0.0.1:N<--"},
	{regexp.MustCompile(`sync_percent( +: )\d+%`), "sync_percent${1}N%"},
	{regexp.MustCompile(`total time: \d+  ms`), "total time: N  ms"},
	{regexp.MustCompile(`/opt/(opengauss|huawei|mogdb)/[a-z/]*app[-_.0-9a-f]*/bin`), "APP/bin"},
	{regexp.MustCompile(`build [0-9a-f]{8}`), "build COMMIT"},
	{regexp.MustCompile(`Database system identifier: +\d+`), "SYSID"},
	{regexp.MustCompile(`\d{10}\.\d+\|postgres\|\d+\|\d+\|\d+`), "SESSION|postgres|SIZES"},
	{regexp.MustCompile(`\d+ kB        \| \d+ bytes`), "SIZES"},
	{regexp.MustCompile(`(switchover\.\.\.)\.+`), "${1}DOTS"}, // one a second
	{regexp.MustCompile(`(shut down\.\.\.)\.+`), "${1}DOTS"},
}

// local are lines that come from the machine, not from the product.
var local = regexp.MustCompile(`^lscpu: |^The core dump path |^ls: cannot read symbolic link |LOG:|WARNING:  |^\s*$`)

func mask(s string, filtered bool) string {
	for _, m := range masks {
		s = m.re.ReplaceAllString(s, m.to)
	}
	if !filtered {
		return s
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line == ".\n" || local.MatchString(line) {
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// stage is a pair on one host, as in the recordings.
type stage struct {
	t   *testing.T
	lab *Lab
	m   *sim.Machine
	env map[string]string
	dir string
}

func newStage(t *testing.T, dir string, o Options) *stage {
	t.Helper()
	o.OneHost, o.Nodes = true, 2
	w := sim.New(3)
	l, err := New(w, o)
	if err != nil {
		t.Fatal(err)
	}
	return &stage{t: t, lab: l, m: w.Machine("node1"), env: l.env(), dir: dir}
}

// use makes the programs of a release those in PATH and links $GAUSSHOME to them.
func (s *stage) use(version string) {
	s.t.Helper()
	r, err := ReleaseOf(OpenGauss, version)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Lite = s.lab.Options.Lite
	app := r.appDir(s.lab.Options.App())
	if !s.m.Exists(app) {
		s.lab.install(s.m, app, r)
		s.lab.installOM(s.m, app)
	}
	s.m.Symlink(app, s.lab.Options.App())
}

// run carries one command line out: simple commands with ';' between them.
func (s *stage) run(command string) (out, errs string, code int) {
	s.t.Helper()
	for _, one := range strings.Split(command, "; ") {
		argv, err := shell.Fields(one, func(string) string { return "" })
		if err != nil {
			s.t.Fatalf("%q: %v", one, err)
		}
		if argv[0] == "sleep" {
			sec, err := strconv.ParseFloat(argv[1], 64)
			if err != nil {
				s.t.Fatal(err)
			}
			if err := s.lab.World.Sleep(s.t.Context(), time.Duration(sec*float64(time.Second))); err != nil {
				s.t.Fatal(err)
			}
			continue
		}
		pre := []string{"env"}
		for _, k := range sortedKeys(s.env) {
			pre = append(pre, k+"="+s.env[k])
		}
		r, err := s.m.Run(s.t.Context(), host.Cmd{Argv: append(pre, argv...), Timeout: -1})
		var exit *host.ExitError
		switch {
		case errors.As(err, &exit):
			out, errs, code = out+string(exit.Stdout), errs+string(exit.Stderr), exit.Code
		case err != nil:
			s.t.Fatalf("%s: %v", one, err)
		default:
			out, errs, code = out+string(r.Stdout), errs+string(r.Stderr), 0
		}
	}
	return out, errs, code
}

// check runs the recorded command and compares everything.
func (s *stage) check(file string) {
	s.t.Helper()
	r := readRecording(s.t, s.dir+"/"+file+".txt")
	s.checkAs(file, r.command, r)
}

// rows are numbers that a recording holds of its own load.
var rowCounts = regexp.MustCompile(`(?m)^\d{3,4}$`)

// checkCounts is check where the counts of the recorded load do not matter.
func (s *stage) checkCounts(file string) {
	s.t.Helper()
	r := readRecording(s.t, s.dir+"/"+file+".txt")
	out, errs, code := s.run(r.command)
	if code != r.exit || !rowCounts.MatchString(out) {
		s.t.Errorf("%s: exit %d, recorded %d\n%s%s", file, code, r.exit, out, errs)
	}
	hide := func(text string) string { return rowCounts.ReplaceAllString(mask(text, false), "ROWS") }
	if diff := cmp.Diff(hide(r.stdout)+r.stderr, hide(out)+errs); diff != "" {
		s.t.Errorf("%s (-recorded +simulated):\n%s", file, diff)
	}
}

// checkDump compares a binary file with the recorded dump of od.
func (s *stage) checkDump(file, name string) {
	s.t.Helper()
	var want []byte
	fill := false
	for line := range strings.Lines(readRecording(s.t, s.dir+"/"+file+".txt").stdout) {
		hex, _, _ := strings.Cut(line, "  >")
		words := strings.Fields(hex)
		if fill = fill || line == "*\n"; line == "*\n" || len(words) == 0 || len(words[0]) != 7 {
			continue
		}
		at, err := strconv.Atoi(words[0])
		if err != nil {
			continue // of ls
		}
		for fill && len(want) < at {
			want = append(want, want[len(want)-16:]...)
		}
		fill = false
		for _, w := range words[1:] {
			b, err := strconv.ParseUint(w, 16, 8)
			if err != nil {
				s.t.Fatal(err)
			}
			want = append(want, byte(b))
		}
	}
	got, _ := s.m.Read(name)
	if diff := cmp.Diff(want, []byte(got)); diff != "" || len(want) != 72 {
		s.t.Errorf("%s: %d bytes recorded (-recorded +simulated):\n%s", file, len(want), diff)
	}
}

func (s *stage) checkAs(file, command string, r recording) {
	s.t.Helper()
	command, _, filtered := strings.Cut(command, " > /tmp/o")
	out, errs, code := s.run(command)
	if strings.Contains(command, " start ") {
		filtered = true
	}
	if code != r.exit {
		s.t.Errorf("%s: exit %d, recorded %d\n%s%s", file, code, r.exit, out, errs)
	}
	if diff := cmp.Diff(mask(r.stdout, filtered), mask(out, filtered)); diff != "" {
		s.t.Errorf("%s: stdout (-recorded +simulated):\n%s", file, diff)
	}
	if diff := cmp.Diff(mask(r.stderr, filtered), mask(errs, filtered)); diff != "" {
		s.t.Errorf("%s: stderr (-recorded +simulated):\n%s", file, diff)
	}
}

func (s *stage) do(command string) {
	s.t.Helper()
	if out, errs, code := s.run(command); code != 0 {
		s.t.Fatalf("%s: exit %d\n%s%s", command, code, out, errs)
	}
}

func (s *stage) settle(d string) { s.do("sleep " + d) }

func (s *stage) signal(data, sig string) {
	s.t.Helper()
	body, ok := s.m.Read(data + "/postmaster.pid")
	if !ok {
		s.t.Fatalf("%s: nothing runs", data)
	}
	pid, _, _ := strings.Cut(body, "\n")
	s.do("kill -" + sig + " " + pid)
}

func (s *stage) done() {
	s.t.Helper()
	if c := s.lab.World.Complaints(); len(c) > 0 {
		s.t.Errorf("complaints: %v", c)
	}
}

func TestGoldenStopped(t *testing.T) {
	t.Parallel()
	s := newStage(t, "5.0.0", Options{Release: "5.0.0"})
	s.do("gs_ctl stop -D /data/dn2; gs_ctl stop -D /data/dn1")
	s.m.Write("/data/dn1/postgresql.conf", "#port = 5432\n#listen_addresses = 'localhost'\nmax_connections = 200\n", 0o600, "omm")
	stateOf(s.lab.World).insts[0].ctl = map[string]string{"wal_level": "hot_standby", "max_connections": "250", "max_prepared_transactions": "200", "max_locks_per_transaction": "256"}
	for _, f := range []string{"001-gaussdb-V", "002-gaussdb-version-long", "003-gsql-V", "004-gs_ctl-V", "005-gs_guc-V", "006-gs_initdb-V", "007-pg_controldata-V", "008-pg_config-version"} {
		s.check(f)
	}
	s.m.Rename("/data", "/data.away")
	for _, f := range []string{"014-gs_ctl-query-nodatadir", "015-gs_ctl-start-nodatadir", "016-gs_ctl-status-nodatadir"} {
		s.check(f)
	}
	s.m.Rename("/data.away", "/data")
	for _, f := range []string{"019-gs_ctl-status-stopped", "020-gs_ctl-query-stopped", "021-gs_ctl-stop-stopped", "022-gs_ctl-reload-stopped", "023-pg_controldata-initialized", "024-gs_guc-check-stopped",
		"025-gs_guc-set-port", "026-gs_guc-set-multi", "027-gs_guc-set-replconninfo1-dn1", "028-gs_guc-set-hba-dn1", "029-gs_guc-set-bad-param", "030-gs_guc-set-bad-value",
		"031-gs_guc-check-port", "032-gs_guc-check-replconninfo1", "033-gs_guc-check-unknown", "034-gs_guc-set-upgrade_mode"} {
		s.check(f)
	}
	s.done()
}

func TestGoldenPair(t *testing.T) {
	t.Parallel()
	s := newStage(t, "5.0.0", Options{Release: "5.0.0"})
	s.do("gs_ctl stop -D /data/dn2")
	for _, f := range []string{"042-gs_ctl-status-primary", "043-gs_ctl-query-primary-alone", "044-gs_ctl-start-already-running", "045-gsql-version", "046-gsql-version-tA", "047-gsql-pg_is_in_recovery", "048-gsql-tcp"} {
		s.check(f)
	}
	s.do("gs_ctl start -D /data/dn2 -M standby; sleep 5")
	for _, f := range []string{"051-gs_ctl-query-primary", "052-gs_ctl-query-standby", "053-gs_ctl-querybuild-standby", "054-gs_ctl-status-standby", "055-gs_ctl-query-L", "058-postmaster.opts", "059-pg_stat_replication-x",
		"060-pg_stat_get_wal_senders-x", "061-pg_stat_get_wal_receiver-x-standby", "062-pg_stat_get_stream_replications-x", "063-pg_stat_get_stream_replications-standby", "064-pg_is_in_recovery-standby",
		"065-pg_current_xlog_location-primary", "066-pg_last_xlog_standby", "067-pg_replication_slots-x", "068-gsql-write-on-standby", "069-gsql-bad-sql", "070-gsql-no-db", "071-gsql-wrong-port"} {
		s.check(f)
	}
	s.checkDump("056-gaussdb.state-strings", "/data/dn1/gaussdb.state")
	pid := readRecording(t, s.dir+"/057-postmaster.pid.txt")
	now, _ := s.m.Read("/data/dn1/postmaster.pid")
	own := regexp.MustCompile(`(?m)^\d{4,5}\n(/data/dn1)\n\d{10}\n(26000)\n/[a-z/]+$`) // process, time, directory of the socket
	s.checkAs("057-postmaster.pid", pid.command, recording{stdout: own.FindString(now) + strings.TrimPrefix(pid.stdout, own.FindString(pid.stdout))})
	s.m.Write("/tmp/t.sql", "select 1;\nselect bad;\nselect 2;\n", 0o644, "omm")
	for _, f := range []string{"072-gsql-f-error-continues", "073-gsql-f-ON_ERROR_STOP"} {
		r := readRecording(t, s.dir+"/"+f+".txt")
		s.checkAs(f, r.command[strings.Index(r.command, "gsql "):], r)
	}
	for _, f := range []string{"074-show-upgrade_mode", "075-show-server_version", "076-working_version_num", "077-opengauss_version", "078-gs_deployment-or-check-enable", "079-gs_guc-reload-ok",
		"080-gs_guc-reload-needs-restart", "081-gs_guc-check-running"} {
		s.check(f)
	}
	s.do("gs_guc set -D /data/dn1 -h 'host all x 127.0.0.1/32 trust'")
	for _, f := range []string{"082-gs_guc-reload-hba", "083-gs_guc-reload-upgrade_mode-1"} {
		s.check(f)
	}
	s.settle("1") // the recording's next command waits two seconds by itself
	r := readRecording(t, s.dir+"/084-show-upgrade_mode-after-reload.txt")
	command, _, _ := strings.Cut(r.command, "; grep")
	r.stdout = "1\n1\n"
	s.checkAs("084-show-upgrade_mode-after-reload", command, r)
	for _, f := range []string{"085-gs_guc-reload-upgrade_mode-0", "086-gs_guc-reload-comment", "087-gs_guc-set-quotes", "088-gsql-datname-list", "089-gsql-l", "090-gs_ctl-notify-standby-invalid"} {
		s.check(f)
	}
	s.done()
}

func TestGoldenSwitchover(t *testing.T) {
	t.Parallel()
	s := newStage(t, "5.0.0", Options{Release: "5.0.0", Load: true})
	for _, f := range []string{"101-gsql-c-error-exit", "102-gsql-c-error-ON_ERROR_STOP", "103-gs_ctl-switchover-on-primary", "104-gs_ctl-switchover-on-standby"} {
		s.check(f)
	}
	s.settle("3")
	for _, f := range []string{"106-gs_ctl-query-new-primary", "107-gs_ctl-query-old-primary", "108-postmaster.opts-after-switchover"} {
		s.check(f)
	}
	s.checkCounts("109-count")
	s.check("110-gs_ctl-switchover-f")
	s.settle("3")
	for _, f := range []string{"112-gs_ctl-query-after-switch-back", "113-gs_ctl-query-after-switch-back-standby", "121-gs_ctl-restart-standby", "122-gs_ctl-query-standby-after-restart-0"} {
		s.check(f)
	}
	for i, after := range []string{"0.2", "0.2", "1.2", "0.4"} { // recorded 0.4 s apart; it linked after 1 s there
		s.settle(after)
		s.check([]string{"123-gs_ctl-query-standby-after-restart-1", "124-gs_ctl-query-standby-after-restart-2", "125-gs_ctl-query-standby-after-restart-3", "126-gs_ctl-query-standby-after-restart-4"}[i])
	}
	s.settle("3")
	for _, f := range []string{"127-gs_ctl-query-standby-after-restart-5", "128-gs_ctl-stop-standby", "129-gs_ctl-query-primary-standby-down", "130-pg_stat_replication-standby-down", "131-pg_stat_get_wal_senders-standby-down",
		"132-switchover-on-stopped-standby", "133-gs_ctl-start-standby"} {
		s.check(f)
	}
	s.settle("3")
	for _, f := range []string{"134-gs_ctl-stop-primary-fast", "135-gs_ctl-query-standby-primary-down", "136-switchover-standby-primary-down", "137-gs_ctl-query-standby-after-failed-switchover", "138-gs_ctl-restart-primary-down"} {
		s.check(f)
	}
	s.settle("2")
	s.check("139-gs_ctl-query-standby-reconnected")
	s.signal("/data/dn1", "STOP")
	for _, f := range []string{"140-switchover-primary-hung", "141-gs_ctl-query-hung-primary", "142-gs_ctl-query-standby-hung-primary"} {
		s.check(f)
	}
	s.signal("/data/dn1", "CONT")
	s.settle("8")
	for _, f := range []string{"143-gs_ctl-query-dn1-after-cont", "144-gs_ctl-query-dn2-after-cont", "147-gsql-write-two-standbys", "148-switchover-two-standbys", "149-failover-two-standbys"} {
		if f == "147-gsql-write-two-standbys" {
			s.settle("50")
			s.check("145-gs_ctl-query-two-standbys-dn1")
			s.check("146-gs_ctl-query-two-standbys-dn2")
		}
		s.check(f)
	}
	s.settle("3")
	for _, f := range []string{"150-gs_ctl-query-dn1-after-failover", "151-gs_ctl-query-dn2-after-failover"} {
		s.check(f)
	}
	s.settle("5")
	s.check("152-gs_ctl-query-dn2-after-failover-8s")
	s.do("gs_ctl build -D /data/dn2; sleep 2")
	s.check("154-gs_ctl-query-dn2-after-build")
	for _, f := range []string{"155-gs_ctl-querybuild-dn2-after-build", "156-gs_ctl-stop-standby-immediate", "157-gs_ctl-start-standby-after-immediate"} {
		s.check(f)
	}
	s.settle("3")
	s.signal("/data/dn1", "KILL")
	s.settle("1")
	for _, f := range []string{"158-gs_ctl-status-killed", "159-gs_ctl-query-killed", "160-gs_ctl-stop-killed", "161-gs_ctl-query-standby-primary-killed", "162-gs_ctl-failover", "163-gs_ctl-query-dn2-promoted", "164-gsql-insert-dn2-promoted",
		"165-gs_ctl-start-old-primary-as-standby"} {
		s.check(f)
	}
	s.settle("4")
	for _, f := range []string{"166-gs_ctl-query-dn1-rejoined", "167-gs_ctl-query-dn2-after-rejoin"} {
		s.check(f)
	}
	if lost := s.lab.Truth().Lost; lost != 0 {
		t.Errorf("%d bytes lost without a diverged node", lost)
	}
	s.do("gs_ctl stop -D /data/dn1")
	for _, f := range []string{"168-gs_ctl-start-second-primary", "169-gs_ctl-query-second-primary-dn1", "170-gs_ctl-query-second-primary-dn2", "171-gsql-insert-second-primary", "172-gs_ctl-restart-diverged-as-standby"} {
		s.check(f)
	}
	s.settle("5")
	for _, f := range []string{"173-gs_ctl-query-diverged-standby", "174-gs_ctl-query-diverged-primary", "175-switchover-diverged-standby"} {
		s.check(f)
	}
	if tr := s.lab.Truth(); tr.TwoPrimaries == 0 || tr.Lost == 0 {
		t.Errorf("the truth knows of two primaries for %s and of %d lost bytes", tr.TwoPrimaries, tr.Lost)
	}
	s.do("gs_ctl build -D /data/dn1 -b incremental; sleep 3")
	for _, f := range []string{"177-gs_ctl-query-after-incremental-build", "178-gs_ctl-build-primary-refused", "179-gs_ctl-query-after-build-primary"} {
		s.check(f)
	}
	s.done()
}

// merged makes the script that the vendor's tool makes of the files of a kind.
func merged(kind, db string, from, to int) string {
	var b strings.Builder
	b.WriteString("START TRANSACTION;SET IsInplaceUpgrade = on;\nSET search_path = 'pg_catalog';\nSET local client_min_messages = NOTICE;\nSET local log_min_messages = NOTICE;\n\n")
	for _, n := range allSteps {
		if n <= from || n > to {
			continue
		}
		dir := strings.TrimSuffix(kind, "-post")
		b.WriteString(upgradeSQL(to)["upgrade_sql/"+dir+"_catalog_"+db+"/"+kind+"_catalog_"+db+"_92_"+strconv.Itoa(n%1000)+".sql"])
	}
	return b.String() + "COMMIT;\n"
}

func (s *stage) scripts(from, to int) {
	for _, kind := range []string{"rollback", "upgrade", "rollback-post", "upgrade-post"} {
		for _, db := range []string{"maindb", "otherdb"} {
			s.m.Write("/opt/upgrade_sql/5.0.0-5.0.3/"+kind+"_catalog_"+db+"_tmp.sql", merged(kind, db, from, to), 0o644, "omm")
		}
	}
}

func TestGoldenRollingUpgrade(t *testing.T) {
	t.Parallel()
	s := newStage(t, "upgrade-5.0.0-to-5.0.3", Options{Release: "5.0.0", Load: true})
	s.scripts(92848, 92862)
	s.do("gs_ctl stop -D /data/dn2; gs_ctl stop -D /data/dn1")
	s.check("001-old-with-u-too-new")
	s.use("5.0.3")
	s.check("002-new-with-u-garbage")
	for _, f := range []string{"003-new-start-no-u", "004-new-query-no-u"} {
		s.check(f)
	}
	s.checkCounts("005-new-versions-no-u")
	for _, f := range []string{"009-set-IsInplaceUpgrade-mode0", "006-new-missing-catalog-object"} {
		s.check(f)
	}
	r := readRecording(t, s.dir+"/008-postmaster.opts.txt")
	s.checkAs("008-postmaster.opts", strings.TrimSuffix(r.command, "; pg_controldata /data/dn1 | head -3"), recording{stdout: strings.Join(strings.SplitAfter(r.stdout, "\n")[:2], "")})
	s.check("010-new-stop")
	if d := strings.Join(s.lab.Truth().Damaged(), "\n"); !strings.Contains(d, "OG-CATALOG") {
		t.Errorf("new binaries without -u on old data did no damage: %s", d)
	}
	s.use("5.0.0")
	s.check("011-old-start-after-new")

	s.do("gs_ctl start -D /data/dn2 -M standby; sleep 5")
	s.check("013-set-upgrade_mode-2")
	s.check("014-show-upgrade_mode")
	s.settle("3")
	for _, f := range []string{"015-rollback-postgres", "016-rollback-template1", "017-rollback-template0", "018-upgrade-postgres", "019-upgrade-template1", "020-upgrade-template0", "021-stop-standby"} {
		s.check(f)
	}
	s.use("5.0.3")
	s.check("022-start-standby-new-u")
	s.settle("3")
	for _, f := range []string{"023-query-mixed-standby", "024-query-mixed-primary", "025-working_version-mixed", "026-switchover-to-new"} {
		s.check(f)
	}
	s.settle("1")
	for _, f := range []string{"027-query-after-switchover-new-primary", "028-query-after-switchover-old-standby", "029-postmaster.opts-after-switchover", "030-stop-dn1", "031-start-dn1-new-u"} {
		s.check(f)
	}
	s.settle("3")
	for _, db := range []string{"postgres", "template1", "template0"} {
		kind := map[string]string{"postgres": "maindb"}[db]
		if kind == "" {
			kind = "otherdb"
		}
		for _, k := range []string{"rollback-post", "upgrade-post"} {
			s.do("gsql -p 26100 -d " + db + " -X --set ON_ERROR_STOP=on -f /opt/upgrade_sql/5.0.0-5.0.3/" + k + "_catalog_" + kind + "_tmp.sql")
		}
	}
	s.checkCounts("033-count-rows")
	s.check("040-working_version-before-commit")
	s.check("041-commit-upgrade_mode-0")
	s.settle("3")
	for _, f := range []string{"042-working_version-after-mode0", "043-restart-dn2-no-u", "044-restart-dn1-no-u"} {
		s.check(f)
	}
	s.settle("3")
	for _, f := range []string{"045-working_version-final", "046-query-final-primary", "047-query-final-standby"} {
		s.check(f)
	}
	s.do("gs_ctl stop -D /data/dn1; gs_ctl stop -D /data/dn2")
	s.check("050-start-dn2-no-u")
	s.check("051-start-dn1-no-u")
	s.settle("3")
	s.check("052-working_version-after-stop-start")
	f := s.lab.Findings()
	f = slices.DeleteFunc(f, func(s string) bool { return strings.Contains(s, "refreshconf") }) // the recording had no gs_om
	if len(f) > 0 {
		t.Errorf("after the commit: %v", f)
	}
	s.do("gs_ctl stop -D /data/dn1")
	s.use("5.0.0")
	s.check("053-old-standby-under-new-primary-start")
	s.settle("5")
	s.check("054-old-standby-under-new-primary-query")
	s.use("5.0.3")
	s.check("055-old-standby-under-new-primary-query-primary")
	s.check("056-old-standby-versions")
	s.do("gs_ctl stop -D /data/dn1; gs_ctl stop -D /data/dn2")
	s.use("5.0.0")
	s.check("048-old-binaries-after-commit-start")
	s.checkCounts("049-old-binaries-after-commit-query")
	if d := strings.Join(s.lab.Truth().Damaged(), "\n"); !strings.Contains(d, "OG-OLDBIN") {
		t.Errorf("old binaries on a committed catalogue did no damage: %s", d)
	}
	s.done()
}

func TestGoldenOldUpgradeVersion(t *testing.T) {
	t.Parallel()
	s := newStage(t, "kill-all-5.0.0-to-5.0.3", Options{Release: "5.0.0", Lite: true})
	s.do("gs_ctl stop -D /data/dn2; gs_ctl stop -D /data/dn1")
	s.use("5.0.3")
	s.m.Write(s.env["PGHOST"]+"/binary_upgrade/old_upgrade_version", "5.0.0\n92.848\na07d57c3\n", 0o600, "omm")
	opts := func(f string) {
		t.Helper()
		r := readRecording(t, s.dir+"/"+f+".txt")
		r.stdout, _, _ = strings.Cut(r.stdout, ".\n..\n")
		command, _, _ := strings.Cut(r.command, "; ls ")
		s.checkAs(f, command, r)
	}
	s.check("006-start-with-old_upgrade_version")
	opts("007-opts-with-old_upgrade_version")
	s.do("rm -r " + s.env["PGHOST"] + "/binary_upgrade")
	s.check("008-restart-after-removing-it")
	opts("009-opts-after-restart")
	s.do("gs_ctl stop -D /data/dn1")
	s.m.Write(s.env["GAUSSHOME"]+"/old_upgrade_version", "5.0.0\n92.848\na07d57c3\n", 0o600, "omm")
	s.check("010-start-with-lite-old_upgrade_version")
	opts("011-opts-with-lite-old_upgrade_version")
	s.m.Remove(s.env["GAUSSHOME"] + "/old_upgrade_version")
	s.check("012-restart-after-removing-lite-file")
	opts("013-opts-after-removing-lite-file-restart")
	s.do("gs_ctl stop -D /data/dn1; gs_ctl start -D /data/dn1 -M primary")
	opts("014-opts-after-stop-start")
	s.done()
}

func TestGoldenKillAll(t *testing.T) {
	t.Parallel()
	s := newStage(t, "kill-all-5.0.0-to-5.0.3", Options{Release: "5.0.0", Load: true})
	s.settle("10")
	s.signal("/data/dn1", "KILL")
	s.signal("/data/dn2", "KILL")
	s.use("5.0.3")
	for _, f := range []string{"001-start-primary-new-u", "002-query-primary-directly", "003-start-standby-new-u"} {
		s.check(f)
	}
	s.settle("3")
	s.checkCounts("005-count")
	s.done()
}

func TestGoldenSwap(t *testing.T) {
	t.Parallel()
	s := newStage(t, "swap-2.0.1-to-2.0.3", Options{Release: "2.0.1", Load: true})
	for _, f := range []string{"001-old-gaussdb-V", "003-old-gsql-V", "005-old-gs_ctl-V", "007-old-gs_guc-V", "011-query-primary", "012-query-standby", "013-status", "014-start-already-running", "015-switchover-on-primary",
		"016-query-nodatadir", "017-status-nodatadir", "018-working_version", "019-gsql-error-exit", "020-walsender-memory-seed-query", "021-walsender-memory-group-by", "022-walsender-memory-detail",
		"024-gs_archive_status-old", "025-stop-standby"} {
		s.check(f)
	}
	s.use("2.0.3")
	for _, f := range []string{"002-new-gaussdb-V", "004-new-gsql-V", "006-new-gs_ctl-V", "008-new-gs_guc-V", "026-start-standby-new"} {
		s.check(f)
	}
	s.settle("3")
	for _, f := range []string{"027-mixed-query-primary", "028-mixed-query-standby", "029-switchover-to-new"} {
		s.check(f)
	}
	s.settle("1")
	for _, f := range []string{"030-switched-query-primary", "031-switched-query-standby"} {
		s.check(f)
	}
	s.use("2.0.1")
	s.check("032-stop-old-primary")
	s.use("2.0.3")
	s.check("033-start-old-primary-new")
	s.settle("3")
	s.check("035-final-query")
	s.checkCounts("036-final-versions")
	r := readRecording(t, s.dir+"/037-gs_archive_status-new-without-scripts.txt")
	r.stderr = strings.Replace(r.stderr, "dn_6001", "dn_6002", 1) // the recorded standby was a copy under its primary's name
	s.checkAs("037-gs_archive_status-new-without-scripts", r.command, r)
	s.do("gs_ctl stop -D /data/dn1")
	s.use("2.0.1")
	s.do("gs_ctl start -D /data/dn1 -M standby; sleep 4")
	s.check("039-rollback-switchover-to-old")
	s.settle("1")
	s.check("040-rollback-query")
	s.do("gs_ctl stop -D /data/dn1")
	s.use("2.0.3")
	s.settle("1")
	s.check("041-switchover-primary-down")
	s.check("042-query-standby-primary-down")
	s.do("gs_ctl stop -D /data/dn2") // dn2 is the primary: nobody serves now
	s.settle("1")
	s.use("2.0.1")
	old, _ := s.m.Read(s.m.Real(s.env["GAUSSHOME"]) + "/lib/libpq.so.5.5")
	s.use("2.0.3")
	s.m.Write(s.m.Real(s.env["GAUSSHOME"])+"/lib/libpq.so.5.5", old, 0o755, "omm")
	s.check("009-half-swapped-gsql")
	s.check("010-half-swapped-gaussdb")
	s.done()
}

func TestGoldenRollback(t *testing.T) {
	t.Parallel()
	s := newStage(t, "rollback-5.0.3-from-6.0.0", Options{Release: "5.0.3", Load: true})
	for _, dn := range []string{"dn1", "dn2"} {
		s.do("gs_guc reload -D /data/" + dn + " -c upgrade_mode=2")
	}
	s.settle("4")
	// both nodes on 6.0.0 with the old working number, dn2 primary
	s.do("gs_ctl stop -D /data/dn2")
	s.use("6.0.0")
	s.do("gs_ctl start -D /data/dn2 -M standby -o '-u 92862'; sleep 4; gs_ctl switchover -D /data/dn2; sleep 4")
	s.do("gs_ctl stop -D /data/dn1")
	s.use("5.0.3")
	dn1 := stateOf(s.lab.World).inst("dn_6001")
	dn1.slow = 4 * time.Second // recorded while it caught up
	s.check("019-start-standby-old")
	s.settle("1.5")
	s.check("020-query-standby-old")
	s.settle("5")
	s.check("021-switchover-to-old")
	s.settle("2")
	s.do("gs_ctl stop -D /data/dn2")
	s.check("022-start-dn2-old")
	s.settle("3")
	s.check("029-upgrade_mode-0")
	s.settle("3")
	f := slices.DeleteFunc(s.lab.Findings(), func(s string) bool { return strings.Contains(s, "refreshconf") })
	if len(f) > 0 {
		t.Errorf("after the rollback: %v", f)
	}
	if tr := s.lab.Truth(); tr.Lost != 0 || len(tr.Damage) > 0 {
		t.Errorf("lost %d, damage %v", tr.Lost, tr.Damaged())
	}
	s.done()
}

// notSimulated are the recordings of what the simulator does not print, with
// the reason. That they can be read is tested beside the readers
// (internal/driver/gaussdb, TestEveryRecordingIsRead).
var notSimulated = map[string]string{
	"5.0.0/009-gs_ctl-help": "no tool asks for help", "5.0.0/010-gs_guc-help": "no tool asks for help", "5.0.0/011-gs_initdb-help": "no tool asks for help", "5.0.0/012-gaussdb-help": "no tool asks for help", "5.0.0/013-gsql-help": "no tool asks for help",
	"5.0.0/017-gs_initdb-dn1": "the lab makes data directories by itself", "5.0.0/018-gs_initdb-again-nonempty": "the lab makes data directories by itself",
	"5.0.0/041-gs_ctl-start-primary":              "the same start as 133 and 138, with the whole server log",
	"5.0.0/049-gs_ctl-build-full-dn2":             "the log of a build: no upgrade builds",
	"5.0.0/153-gs_ctl-build-auto":                 "the log of a build: no upgrade builds",
	"5.0.0/176-gs_ctl-build-incremental-diverged": "the log of a build: no upgrade builds",
	"5.0.0/105-switchover-write-interruption":     "a measurement, no output", "5.0.0/111-switchover-f-write-interruption": "a measurement, no output",
	"swap-2.0.1-to-2.0.3/034-write-interruption": "a measurement, no output", "kill-all-5.0.0-to-5.0.3/004-write-interruption": "a measurement, no output",
	"upgrade-5.0.0-to-5.0.3/032-rolling-write-interruption": "a measurement, no output", "rollback-5.0.3-from-6.0.0/026-rollback-write-interruption": "a measurement, no output",
	"upgrade-5.0.0-to-5.0.3/007-new-ddl-dml-no-u": "a user's function", "upgrade-5.0.0-to-5.0.3/012-old-query-after-new": "a user's function", "swap-2.0.1-to-2.0.3/038-ddl-new": "a user's function",
	"rollback-5.0.3-from-6.0.0/028-user-table-after-rollback": "a user's table", "rollback-5.0.3-from-6.0.0/030-final": "a user's function",
	"swap-2.0.1-to-2.0.3/023-memory-contexts-like-wal":    "all threads of a real server",
	"rollback-5.0.3-from-6.0.0/001-catalog-counts-before": "size of the real catalogue", "rollback-5.0.3-from-6.0.0/008-catalog-counts-after-pre-scripts": "size of the real catalogue",
	"rollback-5.0.3-from-6.0.0/015-catalog-counts-after-post-scripts": "size of the real catalogue", "rollback-5.0.3-from-6.0.0/027-catalog-counts-after-rollback": "size of the real catalogue",
}

// vendorScripts are runs of the vendor's catalogue scripts, statement by
// statement; the lab's packages hold scripts of their own, whose form 015 to 020
// of the upgrade are compared with.
var vendorScripts = regexp.MustCompile(`^(rollback-5\.0\.3-from-6\.0\.0/(00[2-7]|009|01[0-4]|01[6-8]|02[345])|upgrade-5\.0\.0-to-5\.0\.3/03[4-9])-(rollback|upgrade)`)

// TestEachRecordingIsComparedOrNamed: what the simulator prints too is compared.
func TestEachRecordingIsComparedOrNamed(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("golden_test.go")
	if err != nil {
		t.Fatal(err)
	}
	compared := map[string]bool{} // by directory and name
	for _, fn := range strings.Split(string(src), "\nfunc ") {
		if dir := regexp.MustCompile(`newStage\(t, "([^"]+)"`).FindStringSubmatch(fn); dir != nil {
			for _, name := range regexp.MustCompile(`"/?(\d{3}-[^"/]+?)(?:\.txt)?"`).FindAllStringSubmatch(fn, -1) {
				compared[dir[1]+"/"+name[1]] = true
			}
		}
	}
	files, err := filepath.Glob("testdata/golden/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	count := map[string]int{}
	for _, f := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(f, "testdata/golden/"), ".txt")
		switch scripts := vendorScripts.MatchString(name); {
		case compared[name] && (notSimulated[name] != "" || scripts):
			t.Errorf("%s is compared and named as not simulated", name)
		case compared[name]:
			count["compared"]++
		case scripts:
			count["the vendor's scripts"]++
		case notSimulated[name] != "":
			count["named"]++
		default:
			t.Errorf("%s is neither compared nor named", name)
		}
	}
	if count["named"] != len(notSimulated) {
		t.Errorf("%d recordings are named, %d names", count["named"], len(notSimulated))
	}
	t.Logf("%d recordings: %v", len(files), count)
}
