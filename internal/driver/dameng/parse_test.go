package dameng

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/release"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/out/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseOutput(t *testing.T) {
	t.Parallel()
	rlog := table{cols: []string{"DB_MAGIC", "GLOBAL_NEXT_SEQ", "FILE_LSN"}, rows: [][]string{{"460099052", "4427", "106610"}}}
	tests := map[string]struct {
		in   []byte
		want table
		done bool
		code int
	}{
		"a table in Chinese":           {in: read(t, "rlog-zh.txt"), want: rlog, done: true},
		"the same in GBK":              {in: read(t, "rlog-gbk.txt"), want: rlog, done: true},
		"in English":                   {in: []byte("\nLINEID     NAME       C2\n---------- ---------- --\n1          GRP1_RT_01 x\n\nused time: 7.566(ms). Execute id is 2107.\n"), want: table{cols: []string{"NAME", "C2"}, rows: [][]string{{"GRP1_RT_01", "x"}}}, done: true},
		"without row numbers":          {in: []byte("C1 \n---\nABC\n"), want: table{cols: []string{"C1"}, rows: [][]string{{"ABC"}}}, done: true},
		"a value with blanks":          {in: []byte("LINEID     EP_MODE\n---------- ------------\n1          Control Node\n2          Normal Node\n\n"), want: table{cols: []string{"EP_MODE"}, rows: [][]string{{"Control Node"}, {"Normal Node"}}}, done: true},
		"Chinese values keep columns":  {in: []byte("行号     名称 C2\n---------- ------ --\n1          备库 7\n\n"), want: table{cols: []string{"名称", "C2"}, rows: [][]string{{"备库", "7"}}}, done: true},
		"no rows":                      {in: []byte("未选定行\n\n已用时间: 0.704(毫秒). 执行号:4.\n"), done: true},
		"no rows in English":           {in: []byte("no rows\n\nused time: 0.7(ms). Execute id is 4.\n"), done: true},
		"a statement was executed":     {in: []byte("操作已执行\n已用时间: 3.1(毫秒). 执行号:5.\n"), done: true},
		"a procedure was executed":     {in: []byte("DMSQL executed successfully\nused time: 1.2(ms). Execute id is 6.\n"), done: true},
		"nothing proves nothing":       {in: []byte("\n")},
		"a login banner is no answer":  {in: []byte("服务器[LOCALHOST:5236]:处于主库配置状态\n登录使用时间 : 3.046(ms)\n密钥过期时间：2025-09-19\ndisql V8\n")},
		"CTRL_INFO tells an error":     {in: read(t, "history-missing.txt"), code: codeNoTable},
		"an error":                     {in: []byte("[-2501]:用户名或密码错误.\n"), code: codeBadLogin},
		"an error with a place":        {in: []byte("第1 行附近出现错误[-2106]:无效的表或视图名[X].\n"), code: codeNoTable},
		"an error without a colon":     {in: []byte("[-70028]创建SOCKET连接失败\n"), code: codeNoServer},
		"an error before anything ran": {in: []byte("[-70028]:Create SOCKET connection failure.\n[-70019]:network communication error.\n"), code: codeNoServer},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, done, err := parseOutput(tc.in)
			if tc.code != 0 {
				if !isCode(err, tc.code) {
					t.Fatalf("error %v, want %d", err, tc.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(table{})); diff != "" || done != tc.done {
				t.Errorf("done %v, -want +got\n%s", done, diff)
			}
		})
	}
}

func FuzzParseOutput(f *testing.F) {
	for _, name := range []string{"rlog-zh.txt", "rlog-gbk.txt", "history-missing.txt"} {
		f.Add(read(f, name))
	}
	f.Add([]byte("C1\n---\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _, err := parseOutput(b)
		if err != nil {
			return
		}
		for _, r := range got.rows {
			if len(r) != len(got.cols) {
				t.Fatalf("%d values for %d columns", len(r), len(got.cols))
			}
		}
	})
}

func TestParseShow(t *testing.T) {
	t.Parallel()
	got, err := parseShow(string(read(t, "monitor-show.txt")))
	if err != nil {
		t.Fatal(err)
	}
	want := []shown{{Instance: "GRP1_RT_02", WStatus: "OPEN", InstOK: "OK", IStatus: "OPEN", IMode: "PRIMARY", RStat: "VALID", NEP: "1", NOK: "1", FLSN: []string{"40283"}, CLSN: []string{"40283"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if _, err := parseShow("show\n"); err == nil {
		t.Error("an empty answer was read")
	}
}

func FuzzParseShow(f *testing.F) {
	f.Add(string(read(f, "monitor-show.txt")))
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseShow(s) })
}

func TestParseCSS(t *testing.T) {
	t.Parallel()
	got, err := parseCSS(string(read(t, "cssm-show.txt")), "GRP_DSC")
	if err != nil {
		t.Fatal(err)
	}
	want := []cssRow{{"DSC01", "OPEN", "WORKING", "OK", "TRUE"}, {"DSC02", "SHUTDOWN", "STOP", "ERROR", "FALSE"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if _, err := parseCSS(string(read(t, "cssm-show.txt")), "GRP_ASM"); err == nil {
		t.Error("another group was read")
	}
}

func FuzzParseCSS(f *testing.F) {
	f.Add(string(read(f, "cssm-show.txt")), "GRP_DSC")
	f.Fuzz(func(_ *testing.T, s, group string) { _, _ = parseCSS(s, group) })
}

func TestParseArray(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   string
		want []int64
		ok   bool
	}{
		"one":               {"(4426)", []int64{4426}, true},
		"two":               {"(4426, 17)", []int64{4426, 17}, true},
		"blanks around":     {" ( 4426 ,17 ) ", []int64{4426, 17}, true},
		"no parentheses":    {"4426", nil, false},
		"nothing inside":    {"()", nil, false},
		"words inside":      {"(a)", nil, false},
		"an open one":       {"(1", nil, false},
		"too large to hold": {"(99999999999999999999)", nil, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseArray(tc.in)
			if (err == nil) != tc.ok {
				t.Fatalf("error %v", err)
			}
			if tc.ok && !cmp.Equal(got, tc.want) {
				t.Errorf("%v", got)
			}
		})
	}
}

func FuzzParseArray(f *testing.F) {
	f.Add("(4426, 17)")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseArray(s) })
}

// The three facts of the manual, with its own sample.
func TestEqual(t *testing.T) {
	t.Parallel()
	p := position{Magic: 460099052, NextSeq: []int64{4427}, FileLSN: []int64{106610}}
	two := position{Magic: 1, NextSeq: []int64{4427, 18}, FileLSN: []int64{106610, 900}}
	tests := map[string]struct {
		r    replay
		p    position
		want bool
	}{
		"the sample of the manual":         {replay{460099052, []int64{4426}, []int64{106610}}, p, true},
		"the last package is missing":      {replay{460099052, []int64{4425}, []int64{106610}}, p, false},
		"the next is not the last":         {replay{460099052, []int64{4427}, []int64{106610}}, p, false},
		"an LSN behind":                    {replay{460099052, []int64{4426}, []int64{106609}}, p, false},
		"another primary's log":            {replay{460099053, []int64{4426}, []int64{106610}}, p, false},
		"two nodes":                        {replay{1, []int64{4426, 17}, []int64{106610, 900}}, two, true},
		"the second node is behind":        {replay{1, []int64{4426, 16}, []int64{106610, 900}}, two, false},
		"a node is missing":                {replay{1, []int64{4426}, []int64{106610}}, two, false},
		"fewer LSNs than packages, no end": {replay{1, []int64{4426, 17}, []int64{106610}}, two, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.r.equal(tc.p); got != tc.want {
				t.Errorf("equal = %v", got)
			}
		})
	}
}

func TestRising(t *testing.T) {
	t.Parallel()
	at := func(n ...int64) (out []replay) {
		for _, v := range n {
			out = append(out, replay{1, []int64{v}, []int64{v * 10}})
		}
		return out
	}
	if !rising(at(1, 2, 2, 3, 4)) || rising(at(1, 2)) || rising(at(1, 2, 3, 4, 4, 4, 4, 4)) {
		t.Error("rising looks at the last samples only, and needs enough of them")
	}
}

func TestHugePath(t *testing.T) {
	t.Parallel()
	const text = "ts_name=SYSTEM\n# file path\nfil_path=/d/SYSTEM.DBF\n#====\n# table space name\nts_name=MAIN\nts_id=4\n#---\n# file path\nfil_path=/d/MAIN.DBF\n#====\nts_name=BOOK\nhuge_path=/d/BOOK\n#====\n"
	if has, err := hugeMain(text); err != nil || has {
		t.Fatalf("another tablespace's path was taken for MAIN's: %v, %v", has, err)
	}
	got, err := addHuge(text, "/d/HMAIN", time.Date(2022, 1, 13, 17, 29, 14, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	want := "fil_path=/d/MAIN.DBF\n#-----------------------------------------------\n# huge path\nhuge_path=/d/HMAIN\n# huge path create time\nhuge_create_time=DATETIME '2022-1-13 17:29:14'\n" +
		"# huge path modify time\nhuge_modify_time=DATETIME '2022-1-13 17:29:14'\n#====\nts_name=BOOK"
	if !strings.Contains(got, want) {
		t.Errorf("the block stands elsewhere:\n%s", got)
	}
	if has, err := hugeMain(got); err != nil || !has {
		t.Errorf("it does not read back: %v, %v", has, err)
	}
	if _, err := addHuge(text, "/d/BOOK", time.Now()); err == nil {
		t.Error("another tablespace's path was given to MAIN (DM-086)")
	}
	for _, broken := range []string{"", "ts_name=MAIN\nno end"} {
		if _, err := hugeMain(broken); err == nil {
			t.Errorf("%q was read", broken)
		}
	}
}

func TestLastExit(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		log   string
		clean bool
	}{
		"a normal exit":         {"x SYSTEM IS READY.\nx DM Database Server shutdown successfully.\nx [for dem]SYSTEM SHUTDOWN SUCCESS.\n", true},
		"an abort":              {"x SYSTEM IS READY.\nx SYSTEM SHUTDOWN ABORT.\n", false},
		"started again":         {"x SYSTEM SHUTDOWN SUCCESS.\nx SYSTEM IS READY.\n", false},
		"halted by the cluster": {"x SYSTEM IS READY.\nx VTD_CMD_SYS_HALT\n", false},
		"nothing":               {"", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if clean, _ := lastExit(tc.log); clean != tc.clean {
				t.Errorf("clean = %v", clean)
			}
		})
	}
}

// Every setting's check refuses something, and no key is named twice.
func TestSettings(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, k := range (Driver{}).Settings() {
		if seen[k.Name] || k.Doc == "" {
			t.Errorf("key %s is there twice, or has no line for the reference", k.Name)
		}
		seen[k.Name] = true
		if k.Check != nil && k.Check("a b'\n") == nil {
			t.Errorf("key %s takes anything", k.Name)
		}
	}
}

func TestHasRelease(t *testing.T) {
	t.Parallel()
	v := release.MustParse("8.1.1.15")
	for name, want := range map[string]bool{
		"dameng-8.1.1.15.tar.gz": true, "dm8.1.1.15_x86.tgz": true, "dameng-8.1.1.151.tar.gz": false, "dameng-8.1.1.15.1.tar.gz": false, "18.1.1.15.tar": false, "x.tar": false,
	} {
		if got := hasRelease(name, v); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
