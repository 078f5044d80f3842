package mogdb

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/driver/gaussdb"
)

// golden is standard output of a recording of a real server.
func golden(t testing.TB, name string) (stdout, stderr string) {
	t.Helper()
	b, err := os.ReadFile("testdata/golden/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	_, out, _ := strings.Cut(string(b), "--- stdout\n")
	stdout, stderr, _ = strings.Cut(out, "--- stderr\n")
	return stdout, stderr
}

func TestMemoryOfARealServer(t *testing.T) {
	t.Parallel()
	out, _ := golden(t, "022-walsender-memory-detail")
	got, err := parseMemory(gaussdb.ParseTuples(out))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Used != 8394696 || got[0].ID != "1795236474.140023718475520" || got[0].began() != time.Unix(1795236474, 0) {
		t.Errorf("got %+v", got)
	}
	out, errs := golden(t, "020-walsender-memory-seed-query")
	if rows := gaussdb.ParseTuples(out); len(rows) != 0 || len(gaussdb.SQLErrors(errs)) != 1 {
		t.Errorf("the vendor's query without GROUP BY: rows %q, errors %q", rows, gaussdb.SQLErrors(errs))
	}
}

// make samples every minute; used tells the bytes at each.
func makeSeries(n int, used func(i int) int64) series {
	start := time.Unix(1_700_000_000, 0)
	s := series{ID: "1700000000.139812345678592"}
	for i := range n {
		s.Samples = append(s.Samples, sample{At: start.Add(time.Duration(i) * time.Minute), Used: used(i), WAL: gaussdb.LSN(i) << 22})
	}
	return s
}

func TestJudge(t *testing.T) {
	t.Parallel()
	noise := func(i int) int64 { return int64(i*7919%16384) - 8192 }
	for name, tc := range map[string]struct {
		s    series
		want trend
	}{
		"flat with noise of 8 kB":             {makeSeries(120, func(i int) int64 { return 8<<20 + noise(i) }), flat},
		"one megabyte an hour":                {makeSeries(120, func(i int) int64 { return 8<<20 + int64(i)*(1<<20)/60 + noise(i) }), growing},
		"a single step of 512 kB":             {makeSeries(120, func(i int) int64 { return 8<<20 + int64(i/60)*(512<<10) }), flat},
		"a saw-tooth":                         {makeSeries(120, func(i int) int64 { return 8<<20 + int64(i%10)*(64<<10) }), flat},
		"shrinking":                           {makeSeries(120, func(i int) int64 { return 8<<20 - int64(i)*4096 }), flat},
		"ten samples":                         {makeSeries(10, func(i int) int64 { return 8<<20 + int64(i)<<20 }), unclear},
		"growing in the session's first time": {makeSeries(45, func(i int) int64 { return 8<<20 + int64(min(i, 9))<<20 }), unclear},
		"between the limits":                  {makeSeries(120, func(i int) int64 { return 8<<20 + int64(i)*(32<<10)/60 }), unclear},
		"little log":                          {withoutLog(makeSeries(120, func(i int) int64 { return 8 << 20 })), unclear},
		"a database whose clock is ahead":     {ahead(makeSeries(120, func(i int) int64 { return 8<<20 + int64(i)*(1<<20)/60 })), growing},
		"no sample":                           {series{ID: "1700000000.1"}, unclear},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := usualLimits().judge(tc.s)
			if m.Trend != tc.want {
				t.Errorf("got %s (%+v), want %s", m.Trend, m, tc.want)
			}
			if m.Trend == unclear && (m.Why == "" || m.WhyZH == "") {
				t.Errorf("no reason in both languages: %+v", m)
			}
		})
	}
}

func ahead(s series) series {
	s.ID = strconv.FormatInt(s.Samples[0].At.Add(24*time.Hour).Unix(), 10) + ".1"
	return s
}

func withoutLog(s series) series {
	for i := range s.Samples {
		s.Samples[i].WAL = 0
	}
	return s
}

// A session that ends and one that begins are two series: neither is judged by the other's figures.
func TestRestartMakesTwoSeries(t *testing.T) {
	t.Parallel()
	w := watcher{}
	for i, id := range []string{"n 1.1", "n 1.1", "n 2.1"} {
		s := w.series(id)
		s.Samples = append(s.Samples, sample{Used: int64(i)})
	}
	if len(w.all) != 2 || len(w.all[0].Samples) != 2 || len(w.all[1].Samples) != 1 {
		t.Errorf("got %+v", w.all)
	}
}

func TestTheilSen(t *testing.T) {
	t.Parallel()
	s := makeSeries(61, func(i int) int64 { return int64(i) * 1000 })
	if got := theilSen(s.Samples); math.Abs(got-60000) > 1e-6 {
		t.Errorf("got %f bytes an hour", got)
	}
}

func FuzzParseMemory(f *testing.F) {
	f.Add("1795236474.140023718475520|postgres|8396936|2240|8394696\n")
	f.Add("a|b|c\n||||\n")
	f.Fuzz(func(t *testing.T, out string) {
		got, err := parseMemory(gaussdb.ParseTuples(out))
		for _, s := range got {
			if err == nil && s.Used < 0 {
				t.Errorf("%+v out of %q", s, out)
			}
		}
	})
}

func FuzzParsePS(f *testing.F) {
	f.Add(" 1201 omm      /opt/mogdb/app/bin/gaussdb -D /opt/mogdb/data -M primary\n  900 root mogha: watchdog\n")
	f.Add("x y z\n")
	f.Fuzz(func(t *testing.T, out string) {
		all, err := parsePS(out)
		for _, p := range all {
			_ = p.serves("/opt/mogdb/data")
			if p.mogha() && strings.TrimSpace(p.Args) == "" && err == nil {
				t.Errorf("%+v", p)
			}
		}
	})
}

func FuzzParseTree(f *testing.F) {
	f.Add("f\t700\tomm\t12\tgsql\t\nl\t777\tomm\t5\tlibpq.so.5\tlibpq.so.5.5\n")
	f.Add("d\t\t\t\t\t")
	f.Fuzz(func(t *testing.T, out string) {
		tr, err := parseTree(out)
		if err == nil {
			carried, left := carry("lib", tr, tree{})
			if len(carried)+len(left) > len(tr) {
				t.Errorf("%d carried, %d left of %d", len(carried), len(left), len(tr))
			}
		}
	})
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]struct{ serves, mogha, cm bool }{
		"/opt/mogdb/app/bin/gaussdb -D /opt/mogdb/data -M primary":            {serves: true},
		"/opt/mogdb/app/bin/mogdb -D /opt/mogdb/data/":                        {serves: true},
		"/opt/mogdb/app/bin/gaussdb -D /opt/mogdb/data2":                      {},
		"gs_ctl stop -D /opt/mogdb/data":                                      {},
		"vi /opt/mogdb/data":                                                  {},
		"mogha: heartbeat":                                                    {mogha: true},
		"/opt/mogha/mogha -c /opt/mogha/node.conf":                            {mogha: true},
		"/usr/bin/python3 /opt/mogha/mogha.py":                                {mogha: true},
		"/usr/bin/python /usr/bin/supervisord -c /opt/mogha/supervisord.conf": {mogha: true},
		"systemctl status mogha":                                              {},
		"grep mogha":                                                          {},
		"/opt/mogdb/app/bin/cm_agent 1":                                       {cm: true},
		"[kworker/0:1]":                                                       {},
	} {
		p := process{PID: 1, User: "omm", Args: args}
		got := struct{ serves, mogha, cm bool }{p.serves("/opt/mogdb/data"), p.mogha(), p.clusterManager()}
		if got != want {
			t.Errorf("%q: got %+v, want %+v", args, got, want)
		}
	}
}

func TestCarry(t *testing.T) {
	t.Parallel()
	file := func(mode string) entry { return entry{Kind: 'f', Mode: mode} }
	for name, tc := range map[string]struct {
		part    string
		old     tree
		pkg     tree
		carried string
		left    string
	}{
		"what OM keeps in bin":                       {"bin", tree{"cluster_static_config": file("600"), "upgrade_version": file("600"), "cluster_static_config_node2": file("600")}, tree{"gsql": file("700")}, "cluster_static_config cluster_static_config_node2 upgrade_version", ""},
		"the site's file beats the package's":        {"bin", tree{"server.key.cipher": file("600")}, tree{"server.key.cipher": file("600")}, "server.key.cipher", ""},
		"the package's program beats the old one":    {"bin", tree{"gsql": file("700")}, tree{"gsql": file("755")}, "", ""},
		"a program that is gone stays behind":        {"bin", tree{"gs_old": file("755")}, tree{}, "", "gs_old"},
		"a library of another version":               {"lib", tree{"libpq.so.5.4": file("755")}, tree{"libpq.so.5.5": file("755")}, "", "libpq.so.5.4"},
		"an extension":                               {"lib", tree{"postgresql": entry{Kind: 'd'}, "postgresql/postgis-2.4.so": file("755")}, tree{"libpq.so.5.5": file("755")}, "postgresql/postgis-2.4.so", ""},
		"a plugin of the same name as the package's": {"lib", tree{"postgresql/pg_plugin/udf.so": file("600")}, tree{"postgresql/pg_plugin/udf.so": file("755")}, "postgresql/pg_plugin/udf.so", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			carried, left := carry(tc.part, tc.old, tc.pkg)
			if strings.Join(carried, " ") != tc.carried || strings.Join(left, " ") != tc.left {
				t.Errorf("carried %q, left %q; want %q, %q", carried, left, tc.carried, tc.left)
			}
		})
	}
}

func TestFitsMachine(t *testing.T) {
	t.Parallel()
	centos, euler := "NAME=\"CentOS Linux\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\n", "ID=\"openEuler\"\n"
	for name, tc := range map[string]struct {
		file, arch, os string
		want           string
	}{
		"the same":                {"MogDB-2.0.3-CentOS-x86_64.tar.gz", "x86_64", centos, ""},
		"arm64 is aarch64":        {"MogDB-2.0.3-openEuler-arm64.tar.gz", "aarch64", euler, ""},
		"another architecture":    {"MogDB-2.0.3-CentOS-arm64.tar.gz", "x86_64", centos, "block"},
		"another system":          {"MogDB-2.0.3-Kylin-x86_64.tar.gz", "x86_64", centos, "block"},
		"a system that is alike":  {"MogDB-2.0.3-CentOS-x86_64.tar.gz", "x86_64", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "warn"},
		"a system without a name": {"MogDB-2.0.3-CentOS-x86_64.tar.gz", "x86_64", "", "block"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, ok := parsePackageName(tc.file)
			if !ok {
				t.Fatal(tc.file)
			}
			got := ""
			if f := fitsMachine(n, tc.arch, tc.os); f != nil {
				got = string(f.Severity)
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
