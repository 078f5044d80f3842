package dameng

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/host"
)

// hand is a DBA who types the manual's commands. What she types wrongly is
// named by a slip.
type hand struct {
	t    *testing.T
	l    *Lab
	slip string
}

func (h hand) is(slip string) bool { return h.slip == slip }

func (h hand) run(node string, stdin string, argv ...string) string {
	c := host.Change(argv...)
	c.Stdin = strings.NewReader(stdin)
	c.Timeout = time.Hour
	res, err := h.l.World.Machine(node).Run(context.Background(), c)
	if err != nil && !host.IsExit(err) {
		h.t.Fatalf("%s: %q: %v", node, argv, err)
	}
	if err != nil {
		return err.Error() + string(res.Stdout)
	}
	return string(res.Stdout)
}

func (h hand) sql(node, stmt string) string {
	return h.run(node, "CONN SYSDBA/\""+DefaultPassword+"\"@127.0.0.1:5236\n"+stmt+";\nEXIT\n", "/opt/dmdbms/bin/disql", "-S", "/NOLOG")
}

func (h hand) wait(d time.Duration) { _ = h.l.World.Sleep(context.Background(), d) }

func (h hand) room() *room { return roomOf(h.l.World) }

func (h hand) unit(node, kind, verb string) string {
	return h.run(node, "", "systemctl", verb, h.room().sites[node].unit(kind))
}

func (h hand) standbys() []string { return h.room().members()[1:] }

// stopMember stops a member as the manual wants it.
func (h hand) stopMember(m string) {
	n := h.room().nodes(m)
	if len(n) > 1 {
		h.run(n[0].Name, "ep stop "+groupName(m, "DB")+"\nexit\n", "/opt/dmdbms/bin/dmcssm", "INI_PATH=/dm/data/DAMENG/dmcssm.ini")
		return
	}
	h.unit(n[0].Name, "DmService", "stop")
}

func (h hand) each(kind, verb string) {
	for _, n := range h.room().order {
		if h.l.World.Machine(n).Service(h.room().sites[n].unit(kind)) != nil {
			h.unit(n, kind, verb)
		}
	}
}

// exit is the exit of the whole system in its order.
func (h hand) exit() {
	h.wait(5 * time.Second)
	h.each("DmMonitorService", "stop")
	if !h.is("watcher forgotten") {
		h.each("DmWatcherService", "stop")
	}
	if h.is("node in MOUNT") {
		h.sql("db2", "SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 1)")
		h.sql("db2", "ALTER DATABASE MOUNT")
	}
	if h.is("standby lags") {
		h.l.Lag("m2", true)
		h.l.Write()
		h.wait(5 * time.Second)
	}
	switch {
	case h.is("standby first"):
		for _, m := range h.standbys() {
			h.stopMember(m)
		}
		h.stopMember("m1")
	case h.is("primary killed"):
		h.run("db1", "", "pkill", "-KILL", "-f", "dmserver path")
	case h.is("nodes one after another"):
		h.unit("db1", "DmService", "stop")
		h.unit("db2", "DmService", "stop")
	case h.is("asm before server"):
		h.unit("db1", "DmASMSvrService", "stop")
		h.stopMember("m1")
	default:
		h.stopMember("m1")
	}
	if h.is("watcher forgotten") {
		h.wait(20 * time.Second)
	}
	for _, m := range h.standbys() {
		h.stopMember(m)
	}
	if h.is("standby lags") {
		h.l.Lag("m2", false)
	}
	h.each("DmASMSvrService", "stop")
	h.each("DmCSSService", "stop")
}

func (h hand) archives() {
	if h.is("archives left") {
		return
	}
	for _, n := range h.room().order {
		for _, f := range h.l.World.Machine(n).List("/dm/data/DAMENG/arch") {
			h.run(n, "", "mv", "/dm/data/DAMENG/arch/"+f, "/backup/"+f)
		}
	}
}

func (h hand) install(release string, nodes ...string) {
	for _, n := range nodes {
		m := h.l.World.Machine(n)
		h.l.World.With(func() {
			for _, t := range tools {
				m.Install("/opt/dmdbms/bin/"+t, t+" "+release, osUser)
			}
		})
	}
}

func (h hand) ams(value string) {
	for _, n := range h.room().order {
		m := h.l.World.Machine(n)
		h.l.World.With(func() {
			text, _ := m.Read("/dm/data/DAMENG/dm.ini")
			m.Write("/dm/data/DAMENG/dm.ini", setIni(text, "ALTER_MODE_STATUS", value), 0o640, osUser)
		})
	}
}

func (h hand) start(members ...string) string {
	out := ""
	for _, m := range members {
		for _, s := range h.room().nodes(m) {
			out += h.unit(s.Name, "DmService", "start")
		}
	}
	h.wait(3 * time.Second)
	return out + h.logs()
}

// logs are the ends of all instances' logs: systemctl tells no reasons.
func (h hand) logs() (out string) {
	for _, n := range h.room().order {
		m := h.l.World.Machine(n)
		for _, f := range m.List("/opt/dmdbms/log") {
			text, _ := m.Read("/opt/dmdbms/log/" + f)
			out += text
		}
	}
	return out
}

func (h hand) shared() {
	h.each("DmCSSService", "start")
	h.each("DmASMSvrService", "start")
}

func (h hand) open(m string) string {
	out := ""
	for _, s := range h.room().nodes(m) {
		if h.is("one node forgotten") && s.Seq > 0 {
			continue
		}
		out += h.sql(s.Name, "ALTER DATABASE OPEN FORCE")
	}
	return out
}

// r1 is the runbook of the new redo log by hand. It returns what the tools said.
func (h hand) r1(to string) (said string) {
	h.exit()
	h.archives()
	h.install(to, h.room().order...)
	if h.is("standby keeps the old software") {
		h.install(h.l.Opts.Release, "db2")
	}
	if !h.is("mode status forgotten") {
		h.ams("1")
	}
	h.shared()
	said += h.start(h.room().members()...)
	if h.is("watcher too early") {
		h.each("DmWatcherService", "start")
		h.wait(10 * time.Second)
	}
	if h.is("monitor too early") {
		h.each("DmMonitorService", "start")
		h.wait(10 * time.Second)
	}
	if !h.is("primary first") {
		for _, m := range h.standbys() {
			said += h.open(m)
		}
	}
	for _, m := range h.standbys() {
		target := h.room().nodes(m)[0].Instance
		if h.is("archive to the normal node") {
			target = h.room().nodes(m)[1].Instance
		}
		if len(h.room().nodes(m)) > 1 && !h.is("archive not made valid") {
			for _, p := range h.room().nodes("m1") {
				if h.is("one primary node not told") && p.Seq > 0 {
					continue
				}
				said += h.sql(p.Name, "SP_SET_ARCH_STATUS('"+target+"', 0)")
			}
		}
	}
	said += h.open("m1")
	if h.is("primary first") {
		for _, m := range h.standbys() {
			said += h.open(m)
		}
	}
	h.wait(10 * time.Second)
	for range 12 {
		for _, m := range h.standbys() {
			h.sql(h.room().nodes(m)[0].Name, "SELECT P_DB_MAGIC, PKG_SEQ_ARR, APPLY_LSN_ARR FROM V$RAPPLY_LSN_INFO")
			said += h.sql(h.room().nodes(m)[0].Name, "SELECT * FROM SYSOPENHISTORY")
		}
	}
	members := h.room().members()
	if h.is("upgraded standby first") {
		slices.Reverse(members)
	}
	for _, m := range members {
		h.stopMember(m)
	}
	if !h.is("mode status left") {
		h.ams("0")
	}
	said += h.start(h.room().members()...)
	h.each("DmWatcherService", "start")
	h.wait(20 * time.Second)
	h.each("DmMonitorService", "start")
	h.wait(10 * time.Second)
	return said
}

// simple is the runbook of the other formats by hand.
func (h hand) simple(to string) string {
	h.exit()
	h.install(to, h.room().order...)
	if h.is("css of the old software") {
		h.install(h.l.Opts.Release, "db1")
		h.shared()
		h.install(to, "db1")
	}
	h.shared()
	said := h.start(h.room().members()...)
	h.each("DmWatcherService", "start")
	h.wait(20 * time.Second)
	return said
}

// manual is one case: the manual followed, or one slip and what comes of it.
type manual struct {
	opts   Options
	to     string
	before func(hand)
	how    func(hand, string) string
	after  func(hand) string
}

func r1(h hand, to string) string     { return h.r1(to) }
func simple(h hand, to string) string { return h.simple(to) }

// TestRules: for each rule the manual followed leaves no damage, and the slip
// meets what the manual describes.
func TestRules(t *testing.T) {
	t.Parallel()
	dw := Options{Topology: "dw", Release: "8.1.1.14"}
	dsc := Options{Topology: "dsc", Release: "8.1.1.14"}
	dwdsc := Options{Topology: "dw-dsc", Release: "8.1.1.14"}
	tests := map[string]struct {
		rule string
		manual
		slip string
		// broken changes the case beside the slip
		broken func(*manual)
		says   string // what a tool prints when the rule is broken
	}{
		"DM-001 a copy is put back whole":                     {rule: "DM-001", manual: manual{opts: Options{Topology: "single", Release: "8.1.1.14"}, to: "8.1.1.15", before: func(h hand) { h.l.PlaceOutside("m1", "/data2/TS1.DBF") }, how: thereAndBack}, slip: "file forgotten", says: "inconsistent"},
		"DM-036 each node of a DSC primary names its target":  {rule: "", manual: manual{opts: dwdsc, to: "8.1.1.15", how: r1}, slip: "one primary node not told", says: "-2106"},
		"DM-037 the open history tells who took part":         {rule: "", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "primary first", says: "-2106"},
		"DM-039 the upgraded primary stops first as well":     {rule: "DM-020", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "upgraded standby first"},
		"DM-062 the rollback segment asks for no equality":    {rule: "DM-072", manual: manual{opts: Options{Topology: "dw", Release: "8.1.1.15"}, to: "8.1.1.101", before: behind, how: simple}, broken: func(m *manual) { m.opts = Options{Topology: "dw-dsc", Release: "8.1.1.101"}; m.to = "8.1.1.171" }},
		"DM-066 below the new redo log its rules come first":  {rule: "DM-032", manual: manual{opts: dw, to: "8.1.1.101", how: r1}, slip: "primary first", says: "-2106"},
		"DM-071 all closed normally (page format)":            {rule: "DM-002", manual: manual{opts: Options{Topology: "dw", Release: "8.1.1.101"}, to: "8.1.1.171", how: simple}, slip: "primary killed", says: textOrigin},
		"DM-082 each member gets a HUGE path of its own":      {rule: "DM-084", manual: manual{opts: Options{Topology: "dw", Release: "8.1.2.100"}, to: "8.1.2.101", how: offlineHuge, after: makeHuge}, slip: "primary alone"},
		"DM-083 DM-087 MAIN of the primary before the backup": {rule: "DM-084", manual: manual{opts: dw, to: "8.1.2.101", how: r2, after: func(h hand) string { return swapRoles(h) + h.sql("db2", "CREATE HUGE TABLE H2 (C1 INT)") }}, slip: "backup before MAIN"},
		"DM-093 no DDL while releases are mixed": {rule: "DM-093", manual: manual{opts: Options{Topology: "dsc", Release: "8.1.3.162"}, to: "8.1.4.80", how: oneNode}, broken: func(m *manual) {
			m.after = func(h hand) string { h.wait(5 * time.Second); return h.sql("db2", "CREATE TABLE T1 (C1 INT)") }
		}},
		"DM-093 later releases refuse that DDL": {rule: "", manual: manual{opts: Options{Topology: "dsc", Release: "8.1.3.162"}, to: "8.1.4.110", how: oneNode}, broken: func(m *manual) {
			m.after = func(h hand) string { h.wait(5 * time.Second); return h.sql("db2", "CREATE TABLE T1 (C1 INT)") }
		}, says: "-7100"},
		"DM-002 the primary is closed normally":                {rule: "DM-002", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "primary killed", says: textOrigin},
		"DM-003 old DM7 goes over 7.6.0.183":                   {rule: "DM-003", manual: manual{opts: Options{Topology: "single", Release: "7.1.6.5"}, to: "7.6.0.183", how: simple}, broken: func(m *manual) { m.to = "8.1.1.15" }, says: textOrigin},
		"DM-004 no encrypted log of old DM7":                   {rule: "DM-004", manual: manual{opts: Options{Topology: "single", Release: "7.6.0.183", Origin: "7.1.5.125"}, to: "8.1.1.15", how: simple}, broken: func(m *manual) { m.opts.LogEncrypted = true }, says: textOrigin},
		"DM-020 the primary's server stops first":              {rule: "DM-020", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "standby first", says: textOrigin},
		"DM-021 no faulty DSC node":                            {rule: "DM-021", manual: manual{opts: dsc, to: "8.1.1.15", how: simple}, slip: "nodes one after another", says: "faulty node"},
		"DM-022 the standby is equal before the exit":          {rule: "DM-022", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "standby lags", says: "-2106"},
		"DM-023 archives are moved away":                       {rule: "DM-023", manual: manual{opts: dw, to: "8.1.1.15", how: r1, after: coldReturn}, slip: "archives left", says: "-718"},
		"DM-024 the standby has its own DB_MAGIC":              {rule: "DM-024", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, broken: func(m *manual) { m.before = func(h hand) { h.l.EqualMagic("m2") } }, says: "-2106"},
		"DM-026 watchers start last":                           {rule: "DM-026", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "monitor too early"},
		"DM-026 a watcher does not outlive the exit":           {rule: "DM-026", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "watcher forgotten"},
		"DM-030 ALTER_MODE_STATUS is 1 while SQL opens":        {rule: "", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "mode status forgotten", says: "-720"},
		"DM-031 one release everywhere":                        {rule: "DM-031", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "standby keeps the old software"},
		"DM-032 the standby opens before the primary":          {rule: "DM-032", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "primary first", says: "-2106"},
		"DM-033 each node of a DSC standby is opened":          {rule: "DM-032", manual: manual{opts: dwdsc, to: "8.1.1.15", how: r1}, slip: "one node forgotten"},
		"DM-034 the archive to the control node is valid":      {rule: "DM-034", manual: manual{opts: dwdsc, to: "8.1.1.15", how: r1}, slip: "archive not made valid", says: "-2106"},
		"DM-034 only the control node takes redo":              {rule: "DM-034", manual: manual{opts: dwdsc, to: "8.1.1.15", how: r1}, slip: "archive to the normal node", says: "-2106"},
		"DM-038 a standby that was not upgraded may die asked": {rule: "DM-038", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "primary first"},
		"DM-041 ALTER_MODE_STATUS is 0 for watchers":           {rule: "DM-041", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "mode status left"},
		"DM-042 watchers only behind the second start":         {rule: "DM-041", manual: manual{opts: dw, to: "8.1.1.15", how: r1}, slip: "watcher too early"},
		"DM-050 R2 opens with archives invalid":                {rule: "DM-050", manual: manual{opts: dw, to: "8.1.1.15", how: r2}, slip: "archives valid", says: "-7100"},
		"DM-051 RECOVER comes before UPDATE DB_MAGIC":          {rule: "", manual: manual{opts: dw, to: "8.1.1.15", how: r2}, slip: "no recover", says: "-8308"},
		"DM-060 all OPEN before the exit (rollback segment)":   {rule: "DM-060", manual: manual{opts: Options{Topology: "dw", Release: "8.1.1.15"}, to: "8.1.1.101", how: simple}, slip: "node in MOUNT"},
		"DM-061 no faulty node (rollback segment)":             {rule: "DM-021", manual: manual{opts: Options{Topology: "dsc", Release: "8.1.1.15"}, to: "8.1.1.101", how: simple}, slip: "nodes one after another", says: "faulty node"},
		"DM-064 older software never again":                    {rule: "DM-064", manual: manual{opts: Options{Topology: "single", Release: "8.1.1.15"}, to: "8.1.1.101", how: simple}, broken: func(m *manual) { m.after = oldAgain }, says: textLower},
		"DM-067 a new library was started once":                {rule: "DM-067", manual: manual{opts: Options{Topology: "single", Release: "8.1.1.15"}, to: "8.1.1.101", how: simple}, broken: func(m *manual) { m.opts.NeverStarted = true }, says: textOrigin},
		"DM-070 all OPEN before the exit (page format)":        {rule: "DM-070", manual: manual{opts: Options{Topology: "dw", Release: "8.1.1.101"}, to: "8.1.1.171", how: simple}, slip: "node in MOUNT"},
		"DM-072 DSC standby equal (page format)":               {rule: "DM-072", manual: manual{opts: Options{Topology: "dw-dsc", Release: "8.1.1.101"}, to: "8.1.1.171", how: simple}, slip: "standby lags"},
		"DM-074 no return for DSC (page format)":               {rule: "DM-064", manual: manual{opts: Options{Topology: "dsc", Release: "8.1.1.101"}, to: "8.1.1.171", how: simple}, broken: func(m *manual) { m.after = oldAgain }, says: textLower},
		"DM-081 HUGE tables of the old release":                {rule: "DM-081", manual: manual{opts: Options{Topology: "single", Release: "8.1.2.101", HugeTables: true}, to: "8.1.3.62", how: simple, after: useHuge}, broken: func(m *manual) { m.opts.Release = "8.1.2.100" }, says: "not available"},
		"DM-084 MAIN is alike on both":                         {rule: "DM-084", manual: manual{opts: Options{Topology: "dw", Release: "8.1.2.101"}, to: "8.1.3.62", how: simple, after: makeHuge}, broken: func(m *manual) { m.opts.Release = "8.1.2.100"; m.after = hugeOnPrimary }},
		"DM-085 the HUGE path stands at the end of MAIN":       {rule: "DM-085", manual: manual{opts: Options{Topology: "single", Release: "8.1.2.100"}, to: "8.1.2.101", how: offlineHuge}, slip: "huge path in another block", says: "damaged"},
		"DM-086 the HUGE path is nobody else's":                {rule: "DM-086", manual: manual{opts: Options{Topology: "single", Release: "8.1.2.100"}, to: "8.1.2.101", how: offlineHuge}, slip: "huge path of another", says: "damaged"},
		"DM-090 DCR disks are made anew for DM8":               {rule: "DM-090", manual: manual{opts: Options{Topology: "dsc", Release: "7.1.6.20"}, to: "8.1.1.15", how: dcrAnew}, slip: "dcr kept", says: "DCR disk version"},
		"DM-091 DCR disks are made anew for 8.1.3.129":         {rule: "DM-091", manual: manual{opts: Options{Topology: "dsc", Release: "8.1.3.100"}, to: "8.1.3.162", how: dcrAnew}, slip: "dcr kept", says: "DCR disk version"},
		"DM-092 rolling only between releases that can":        {rule: "DM-092", manual: manual{opts: Options{Topology: "dsc", Release: "8.1.4.80"}, to: "8.1.4.170", how: oneNode}, broken: func(m *manual) { m.opts.Release = "8.1.2.128"; m.to = "8.1.3.100" }, says: "not compatible"},
		"DM-094 one release of dmcss, dmasmsvr and dmserver":   {rule: "DM-094", manual: manual{opts: Options{Topology: "dsc", Release: "8.1.1.15"}, to: "8.1.1.100", how: simple}, slip: "css of the old software", says: "different versions"},
		"DM-095 dmserver stops before dmasmsvr":                {rule: "DM-095", manual: manual{opts: dsc, to: "8.1.1.15", how: simple}, slip: "asm before server"},
		"DM-096 the nodes of a DSC stop together":              {rule: "DM-021", manual: manual{opts: dsc, to: "8.1.1.15", how: simple}, slip: "nodes one after another", says: "faulty node"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, said := tc.play(t, "")
			if tr := l.Truth(); len(tr.Damage) > 0 || len(l.World.Complaints()) > 0 {
				t.Errorf("kept, and yet: %v %v\n%s", tr.Damage, l.World.Complaints(), said)
			} else if len(tr.Primaries) != 1 {
				t.Errorf("kept: primaries %v, releases %v\n%s", tr.Primaries, tr.Releases, said)
			}
			broken := tc.manual
			if tc.broken != nil {
				tc.broken(&broken)
			}
			l, said = broken.play(t, tc.slip)
			if tc.rule != "" && !slices.ContainsFunc(l.Truth().Damage, func(d Damage) bool { return d.Rule == tc.rule }) {
				t.Errorf("broken: damage %v, want %s\n%s", l.Truth().Damage, tc.rule, said)
			}
			if !strings.Contains(said, tc.says) {
				t.Errorf("broken: the tools did not say %q:\n%s", tc.says, said)
			}
		})
	}
}

func (m manual) play(t *testing.T, slip string) (*Lab, string) {
	m.opts.Lang = "en"
	l, err := New(m.opts)
	if err != nil {
		t.Fatal(err)
	}
	h := hand{t, l, slip}
	if m.before != nil {
		m.before(h)
	}
	said := m.how(h, m.to)
	if m.after != nil {
		said += m.after(h)
	}
	return l, said
}

// r2: the primary alone, its backup to the standby.
func r2(h hand, to string) (said string) {
	h.exit()
	h.archives()
	h.install(to, h.room().order...)
	said += h.start("m1")
	if !h.is("archives valid") {
		said += h.sql("db1", "SP_SET_ALL_ARCH_STATUS(1)")
	}
	said += h.sql("db1", "SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 1)") + h.sql("db1", "ALTER DATABASE OPEN FORCE") + h.sql("db1", "SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 0)")
	h.stopMember("m1")
	if to == "8.1.2.101" && !h.is("backup before MAIN") {
		said += h.addHuge("db1")
	}
	rman := func(node, stmt string) {
		said += h.run(node, "", "/opt/dmdbms/bin/dmrman", "CTLSTMT="+stmt, "USE_AP=2")
	}
	rman("db1", "BACKUP DATABASE '/dm/data/DAMENG/dm.ini' FULL TO B1 BACKUPSET '/backup/b1'")
	said += h.run("db2", "", "scp", "-r", "10.0.0.1:/backup/b1", "/backup/")
	rman("db2", "RESTORE DATABASE '/dm/data/DAMENG/dm.ini' FROM BACKUPSET '/backup/b1'")
	if !h.is("no recover") {
		rman("db2", "RECOVER DATABASE '/dm/data/DAMENG/dm.ini' FROM BACKUPSET '/backup/b1'")
	}
	rman("db2", "RECOVER DATABASE '/dm/data/DAMENG/dm.ini' UPDATE DB_MAGIC")
	said += h.start("m2", "m1")
	for _, s := range []string{"SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 1)", fmt.Sprintf("SP_SET_OGUID(%d)", oguid), "ALTER DATABASE STANDBY", "SP_SET_PARA_VALUE(1, 'ALTER_MODE_STATUS', 0)"} {
		said += h.sql("db2", s)
	}
	h.each("DmWatcherService", "start")
	h.wait(20 * time.Second)
	return said
}

// coldReturn puts the library back as it was before, without its archives.
func coldReturn(h hand) string {
	if !h.is("archives left") {
		return "" // the archives were moved: nothing is mixed
	}
	h.exit()
	h.l.World.With(func() {
		r := h.room()
		lib := newLibrary("8.1.1.14", 1)
		lib.Mode, lib.Started = "PRIMARY", true
		r.save(h.l.World, "m1", lib)
	})
	h.install("8.1.1.14", "db1")
	return h.start("m1")
}

func oldAgain(h hand) string {
	h.exit()
	h.install(h.l.Opts.Release, h.room().order...)
	h.shared()
	return h.start("m1")
}

func useHuge(h hand) string { return h.sql("db1", "SELECT * FROM T_HUGE") }

func makeHuge(h hand) string { return h.sql("db1", "CREATE HUGE TABLE H2 (C1 INT)") }

func hugeOnPrimary(h hand) string {
	return h.sql("db1", "ALTER TABLESPACE MAIN ADD HUGE PATH '/dm/data/DAMENG/HMAIN'") + makeHuge(h)
}

// offlineHuge is the method of R5 by hand.
func offlineHuge(h hand, to string) (said string) {
	h.exit()
	h.install(to, h.room().order...)
	for _, n := range h.room().order {
		if n != "db1" && h.is("primary alone") {
			continue
		}
		said += h.addHuge(n)
	}
	said += h.start(h.room().members()...)
	h.each("DmWatcherService", "start")
	h.wait(20 * time.Second)
	return said
}

// addHuge gives MAIN of a node that is down its HUGE path.
func (h hand) addHuge(node string) (said string) {
	said += h.run(node, "", "/opt/dmdbms/bin/dmctlcvt", "TYPE=1", "SRC=/dm/data/DAMENG/dm.ctl", "DEST=/home/dmdba/ctl.txt")
	text := h.run(node, "", "cat", "/home/dmdba/ctl.txt")
	path, at := "/dm/data/DAMENG/HMAIN", "ts_name=MAIN"
	if h.is("huge path of another") {
		path = "/dm/data/DAMENG/ROLL.DBF"
	}
	if h.is("huge path in another block") {
		at = "ts_name=ROLL"
	}
	i := strings.Index(text, at)
	j := i + strings.Index(text[i:], bar)
	text = text[:j] + hugeBlock(path) + text[j:]
	h.run(node, text, "dd", "of=/home/dmdba/new.txt")
	return said + h.run(node, "", "/opt/dmdbms/bin/dmctlcvt", "TYPE=2", "SRC=/home/dmdba/new.txt", "DEST=/dm/data/DAMENG/dm.ctl")
}

// behind is a standby that never catches up.
func behind(h hand) {
	h.l.Lag("m2", true)
	h.l.Write()
}

// thereAndBack upgrades a single node and puts its cold copy back.
func thereAndBack(h hand, to string) string {
	h.exit()
	copies := map[string]string{"/dm/data/DAMENG": "/backup/DAMENG", "/data2/TS1.DBF": "/backup/TS1.DBF"}
	for from, copied := range copies {
		h.run("db1", "", "cp", "-a", from, copied)
	}
	h.install(to, "db1")
	said := h.start("m1")
	h.exit()
	h.install(h.l.Opts.Release, "db1")
	for from, copied := range copies {
		if h.is("file forgotten") && from == "/data2/TS1.DBF" {
			continue
		}
		h.run("db1", "", "rm", "-rf", from)
		h.run("db1", "", "cp", "-a", copied, from)
	}
	return said + h.start("m1")
}

// swapRoles makes the standby the primary, as a switchover would.
func swapRoles(h hand) string {
	h.wait(10 * time.Second)
	h.l.World.With(func() {
		r := h.room()
		a, b := r.lib(h.l.World, "m1"), r.lib(h.l.World, "m2")
		a.Mode, b.Mode = b.Mode, a.Mode
		r.save(h.l.World, "m1", a)
		r.save(h.l.World, "m2", b)
	})
	return ""
}

func dcrAnew(h hand, to string) (said string) {
	h.exit()
	export := "export dcrdisk '/dev/raw/dcr-m1' to '/home/dmdba/cfg.ini'\n"
	said += h.run("db1", export, "/opt/dmdbms/bin/dmasmcmd")
	h.install(to, h.room().order...)
	if !h.is("dcr kept") {
		said += h.run("db1", "create dcrdisk '/dev/raw/dcr-m1' 'dcr'\ninit dcrdisk '/dev/raw/dcr-m1' from '/home/dmdba/cfg.ini' identified by 'x'\n", "/opt/dmdbms/bin/dmasmcmd")
	}
	said += h.unit("db1", "DmCSSService", "start")
	h.shared()
	return said + h.start("m1")
}

// oneNode upgrades one node of a DSC cluster while the other runs.
func oneNode(h hand, to string) string {
	h.sql("db2", "STOP INSTANCE")
	h.unit("db2", "DmASMSvrService", "stop")
	h.unit("db2", "DmCSSService", "stop")
	h.install(to, "db2")
	h.unit("db2", "DmCSSService", "start")
	h.unit("db2", "DmASMSvrService", "start")
	return h.unit("db2", "DmService", "start") + h.logs()
}

// TestAStandbyThatIsKilledInTheMomentOfTheOpen: nobody could have seen it; who
// opens the primary a minute later could (DM-050, docs/bugs.md B-186).
func TestAStandbyThatIsKilledInTheMomentOfTheOpen(t *testing.T) {
	t.Parallel()
	for before, want := range map[time.Duration]bool{0: false, time.Minute: true} {
		l, err := New(Options{Topology: "dw", Release: "8.1.1.14", Lang: "en"})
		if err != nil {
			t.Fatal(err)
		}
		h := hand{t, l, ""}
		h.exit()
		h.archives()
		h.install("8.1.1.15", h.room().order...)
		h.ams("1")
		h.start(h.room().members()...)
		for _, m := range h.standbys() {
			h.open(m)
		}
		l.Kill("db2")
		h.wait(before)
		if said := h.open("m1"); !strings.Contains(said, "-7100") {
			t.Errorf("killed %s before the open: %s", before, said)
		}
		if hurt := slices.ContainsFunc(l.Truth().Damage, func(d Damage) bool { return d.Rule == "DM-050" }); hurt != want {
			t.Errorf("killed %s before the open: %v", before, l.Truth().Damage)
		}
	}
}
