package view

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

var update = flag.Bool("update", false, "rewrite testdata")

func noEnv(string) string { return "" }

func screen(lang say.Lang, format Format) (*Screen, *bytes.Buffer, *bytes.Buffer) {
	var out, talk bytes.Buffer
	return NewScreen(&out, &talk, lang, format, noEnv), &out, &talk
}

func examplePlan() *plan.Plan {
	step := func(id, node, kind string, impact plan.Impact, estimate time.Duration, says say.Text, needs ...string) plan.Step {
		return plan.Step{ID: id, Node: node, Kind: kind, Phase: plan.Apply, Class: plan.Reversible, Impact: impact, Estimate: plan.Duration(estimate), Says: says, Needs: needs}
	}
	return &plan.Plan{
		Format: 1, Engine: "0.1.0", Cluster: "prod", Driver: "postgres", From: "15.16", To: "15.17",
		Request: plan.Request{To: "15.17", Mode: "rolling", Skip: []check.Skip{{ID: "backup", Reason: "taken by storage"}}},
		Remarks: []say.Text{say.F("db3 has no data checksums", "db3 未启用数据校验和")},
		Steps: []plan.Step{
			step("db2/stage", "db2", "stage", plan.None, 5*time.Second, say.F("Copy the package to db2 and verify it", "将升级包复制到 db2 并校验")),
			step("db2/swap", "db2", "swap", plan.ReadsOnly, 12*time.Second, say.F("Restart standby db2 on 15.17", "以 15.17 重启备库 db2"), "db2/stage"),
			{
				ID: "soak", Kind: plan.GateKind, Phase: plan.Apply, Class: plan.ReadOnly, Impact: plan.None, Needs: []string{"db2/swap"},
				Says: say.F("Look at db2 before the switchover", "切换前观察 db2"), Gate: &plan.Gate{},
			},
			step("switchover", "", "switch", plan.WritesStop, 300*time.Millisecond, say.F("Move the primary from db1 to db2", "将主库从 db1 切换到 db2"), "soak"),
			{
				ID: plan.CommitGate, Kind: plan.GateKind, Phase: plan.Commit, Class: plan.OneWay, Impact: plan.None, Needs: []string{"switchover"},
				Says: say.F("Give up the way back", "放弃回滚"), Gate: &plan.Gate{OneWay: true, Costs: say.F("rollback is no longer possible", "此后不能回滚")},
			},
			{
				ID: "db1/clean", Node: "db1", Kind: "clean", Phase: plan.Commit, Class: plan.OneWay, Impact: plan.None, Needs: []string{plan.CommitGate}, Rule: "PG-7",
				Says: say.F("Remove 15.16 from db1", "从 db1 删除 15.16"),
			},
		},
	}
}

func exampleFindings() []check.Finding {
	return []check.Finding{
		{ID: "ssh", Severity: check.Pass, Says: say.F("every node answers", "所有节点均可连接"), Evidence: "3 of 3"},
		{ID: "lag", Severity: check.Warn, Node: "db2", Says: say.F("lag is 20 MB", "延迟为 20 MB"), Evidence: "pg_stat_replication:\n\treplay_lag=20MB", Next: say.F("wait a little", "稍候再试")},
		{ID: "backup", Severity: check.Block, Says: say.F("no backup is known", "没有已知的备份"), Skipped: "taken by storage"},
		{ID: "disk", Severity: check.Block, Node: "db3", Says: say.F("40 MB are free, 120 MB are needed", "剩余 40 MB，需要 120 MB"), Evidence: "df -B1: 41943040", Next: say.F("make room on db3", "清理 db3 的磁盘"), Rule: "PG-3"},
	}
}

func exampleStatus() Status {
	return Status{
		Cluster: "prod", Driver: "postgres", State: "interrupted", From: "15.16", To: "15.17", Step: Count{Done: 3, Total: 12}, Next: "shiplift resume -c cluster.yaml",
		Run: "20261121-1", Operator: &Holder{User: "ann", Host: "ops1", PID: 7, Since: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC), Doing: "apply"},
		Nodes: []Node{
			{Name: "db1", Role: "primary", Running: "15.16", Installed: "15.16", Healthy: true},
			{Name: "node-db2", Role: "standby", Running: "15.16", Installed: "15.17", Health: "lagging", Trouble: "replay is\npaused"},
			{Name: "db3", Health: "unknown", Trouble: "connection refused"},
		},
	}
}

func exampleAnswer() release.Answer {
	return release.Answer{
		V: 1, Verdict: release.OK, Why: say.F("two hops", "分两跳"), Hops: []release.Hop{
			{From: release.MustParse("5.0.3"), To: release.MustParse("6.0.0"), Epochs: []string{"catalog"}, Runbook: "R1", Reversible: true},
			{From: release.MustParse("6.0.0"), To: release.MustParse("6.0.1"), Notes: []release.Note{{Rule: "X-1", Says: say.F("mind the logs", "注意日志")}}},
		},
	}
}

// events is a run as a view hears it.
func events() []run.Event {
	p := examplePlan()
	at := func(sec int) time.Time { return time.Date(2026, 11, 21, 10, 0, sec, 0, time.UTC) }
	return []run.Event{
		{Kind: run.Began, Time: at(0), Total: 5},
		{Kind: run.Started, Time: at(0), Step: &p.Steps[0], Attempt: 1, Total: 5},
		{Kind: run.Finished, Time: at(2), Step: &p.Steps[0], Took: 2 * time.Second, Done: 1, Total: 5},
		{Kind: run.Started, Time: at(2), Step: &p.Steps[1], Attempt: 2, Done: 1, Total: 5},
		{Kind: run.Progress, Time: at(3), Step: &p.Steps[1], Text: say.F("db2 replays: 5 MB left", "db2 正在回放：还差 5 MB"), Done: 1, Total: 5},
		{Kind: run.Progress, Time: at(5), Step: &p.Steps[1], Text: say.F("db2 replays: 4 MB left", "db2 正在回放：还差 4 MB"), Done: 1, Total: 5},
		{Kind: run.Finished, Time: at(9), Step: &p.Steps[1], Err: errors.New("db2 does not start"), Took: 7 * time.Second, Done: 1, Total: 5},
		{Kind: run.Settled, Time: at(9), Step: &p.Steps[1], Text: say.F("half", "做了一半"), Done: 1, Total: 5},
		{Kind: run.Gate, Time: at(10), Step: &p.Steps[2], Crossed: true, Done: 2, Total: 5},
		{Kind: run.Gate, Time: at(11), Step: &p.Steps[4], Done: 2, Total: 5},
		{Kind: run.Ended, Time: at(11), Outcome: &run.Outcome{State: run.Interrupted}, Done: 2, Total: 5},
	}
}

func exampleRecords(t *testing.T) ([]journal.Record, *run.Trail) {
	t.Helper()
	body, err := json.Marshal(examplePlan())
	if err != nil {
		t.Fatal(err)
	}
	at := func(sec int) time.Time { return time.Date(2026, 11, 21, 10, 0, sec, 0, time.UTC) }
	broken := say.F("db2 does not start", "db2 无法启动")
	records := []journal.Record{
		{Seq: 1, Time: at(0), Kind: journal.Begin, Run: "20261121-1", Plan: body, Findings: exampleFindings()},
		{Seq: 2, Time: at(0), Kind: journal.Open, Verb: "apply", Fence: 1, Who: &journal.Who{User: "ann", Host: "ops1", PID: 7, Tool: "0.1.0"}},
		{Seq: 3, Time: at(1), Kind: journal.Intent, Step: "db2/stage", Attempt: 1},
		{Seq: 4, Time: at(3), Kind: journal.Outcome, Step: "db2/stage", Attempt: 1, Result: journal.OK},
		{Seq: 5, Time: at(3), Kind: journal.Intent, Step: "db2/swap", Attempt: 1},
		{Seq: 6, Time: at(5), Kind: journal.Outcome, Step: "db2/swap", Attempt: 1, Result: journal.Failed, Error: &broken},
		{Seq: 7, Time: at(6), Kind: journal.Probed, Step: "db2/swap", Standing: "not applied"},
		{Seq: 8, Time: at(7), Kind: journal.Note, Reason: "writes were measured", Data: json.RawMessage(`{"measured":{"interruption_ms":87,"lost_writes":0,"acknowledged_writes":4200,"write_errors":3,"rows_per_second_before":410.2,"rows_per_second_after":409.8}}`)},
		{Seq: 9, Time: at(8), Kind: journal.Left, State: "failed", Error: &broken},
	}
	trail, err := run.Read(records)
	if err != nil {
		t.Fatal(err)
	}
	return records, trail
}

// TestScreens holds that each thing looks as its file in testdata says, in
// both languages and as JSON. `go test ./internal/view -update` rewrites them.
func TestScreens(t *testing.T) {
	t.Parallel()
	shows := map[string]func(*testing.T, *Screen) error{
		"checks": func(_ *testing.T, s *Screen) error {
			return s.Checks(Checked{Cluster: "prod", Driver: "postgres", From: "15.16", To: "15.17"}, exampleFindings())
		},
		"plan":   func(_ *testing.T, s *Screen) error { return s.Plan(examplePlan(), "p.json") },
		"status": func(_ *testing.T, s *Screen) error { return s.Status(exampleStatus()) },
		"verify": func(_ *testing.T, s *Screen) error { return s.Verified(exampleStatus(), exampleFindings()) },
		"path":   func(_ *testing.T, s *Screen) error { return s.Path(exampleAnswer()) },
		"refused": func(_ *testing.T, s *Screen) error {
			return s.Path(release.No(release.Refuse, "DM-001", say.F("there is no way down", "不支持降级")))
		},
		"summary": func(_ *testing.T, s *Screen) error {
			return s.Summary(Summary{
				Verb: "apply", Cluster: "prod", Run: "20261121-1", State: "failed", From: "15.16", To: "15.17", Step: "db2/swap", Why: "db2 does not start", Advice: "look at its log", Next: "shiplift resume", Owed: []string{"db2"}, Exit: 1, TookMS: 61000,
				Measured: &Measured{InterruptionMS: 87, Acknowledged: 4200, Errors: 3, RowsBefore: 410.2, RowsAfter: 409.8},
			})
		},
		"behind": func(_ *testing.T, s *Screen) error {
			return s.Summary(Summary{
				Verb: "apply", Cluster: "prod", Run: "20261121-1", State: "upgraded", From: "8.1.1.14", To: "8.1.1.15", Gate: "commit", Next: "shiplift commit",
				Behind: Behind{Crossed: "point-of-no-return", Left: "forward only"},
			})
		},
		"report": func(t *testing.T, s *Screen) error {
			records, trail := exampleRecords(t)
			return s.Report(s.ReportOf(records, trail, run.FailedState))
		},
		"progress": func(_ *testing.T, s *Screen) error {
			v := s.Progress(examplePlan(), false)
			defer v.Close()
			for _, e := range events() {
				v.Event(e)
			}
			return nil
		},
		"error": func(_ *testing.T, s *Screen) error {
			s.Error(&say.Problem{Place: "cluster.yaml:3:1", Text: say.F("unknown key", "未知的键"), Next: say.F("correct it", "请改正")}, say.Text{}, 2)
			return nil
		},
	}
	for name, show := range shows {
		for suffix, format := range map[string]Format{"en.txt": Human, "zh.txt": Human, "json": JSON} {
			t.Run(name+"/"+suffix, func(t *testing.T) {
				t.Parallel()
				lang := say.English
				if suffix == "zh.txt" {
					lang = say.Chinese
				}
				s, out, talk := screen(lang, format)
				if err := show(t, s); err != nil {
					t.Fatal(err)
				}
				got := "-- stdout --\n" + out.String() + "-- stderr --\n" + talk.String()
				golden(t, filepath.Join("testdata", name+"."+suffix), got)
			})
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		flag string
		env  map[string]string
		want say.Lang
		bad  bool
	}{
		"nothing said is English":             {want: say.English},
		"the flag wins":                       {flag: "en", env: map[string]string{"LANG": "zh_CN.UTF-8"}, want: say.English},
		"the flag takes a region":             {flag: "zh-CN", want: say.Chinese},
		"a flag that is no language":          {flag: "tlh", want: say.English, bad: true},
		"the tool's variable beats a locale":  {env: map[string]string{"SHIPLIFT_LANG": "zh", "LC_ALL": "en_US.UTF-8"}, want: say.Chinese},
		"LC_ALL beats LANG":                   {env: map[string]string{"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, want: say.English},
		"LC_MESSAGES beats LANG":              {env: map[string]string{"LC_MESSAGES": "zh_CN.GB18030", "LANG": "en_US"}, want: say.Chinese},
		"LANG counts":                         {env: map[string]string{"LANG": "zh_TW.UTF-8"}, want: say.Chinese},
		"a language that nobody wrote for it": {env: map[string]string{"LANG": "fr_FR.UTF-8"}, want: say.English},
		"POSIX is English":                    {env: map[string]string{"LANG": "POSIX"}, want: say.English},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Language(tc.flag, func(k string) string { return tc.env[k] })
			if got != tc.want || (err != nil) != tc.bad {
				t.Errorf("language %q error %v, want %q", got, err, tc.want)
			}
		})
	}
}

// TestBoard holds what the live view draws, without a terminal.
func TestBoard(t *testing.T) {
	t.Parallel()
	s, _, _ := screen(say.English, Human)
	b := newBoard(s, examplePlan(), false)
	var printed int
	for _, e := range events()[:5] {
		m, cmd := b.Update(e)
		b = m.(board)
		if cmd != nil {
			printed++
		}
	}
	want := " ▸ db2    1.0s  do Restart standby db2 on 15.17  waiting: db2 replays: 5 MB left\n" +
		" ████░░░░░░░░░░░░░░░░ 1/5  elapsed 3.0s  about 12s left"
	b.width = 120
	if diff := cmp.Diff(want, b.View()); diff != "" {
		t.Errorf("board (-want +got):\n%s", diff)
	}
	if printed != 1 {
		t.Errorf("%d lines were left above the board, want 1", printed)
	}
	b.width = 30
	for line := range strings.Lines(b.View()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 30 {
			t.Errorf("a line of %d characters on a terminal of 30: %q", n, line)
		}
	}
	for _, e := range events()[5:] {
		m, _ := b.Update(e)
		b = m.(board)
	}
	if v := b.View(); v != "" {
		t.Errorf("the board stays after the end: %q", v)
	}
}

func TestLiveEndsAndLeavesTheLines(t *testing.T) {
	t.Parallel()
	var out, talk bytes.Buffer
	s := NewScreen(&out, &talk, say.English, Human, noEnv)
	s.Live = true
	v := s.Progress(examplePlan(), false)
	for _, e := range events() {
		v.Event(e)
	}
	v.Close()
	v.Close()
	v.Event(events()[1]) // after the end nobody listens, and nobody blocks
	if text := talk.String(); !strings.Contains(text, "Copy the package to db2 and verify it: 2.0s") || !strings.Contains(text, "db2 does not start") {
		t.Errorf("the lines are not there:\n%q", text)
	}
	if out.Len() > 0 {
		t.Errorf("progress went to standard output: %q", out.String())
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 300 * time.Millisecond: "0.3s", 12 * time.Second: "12s", 245 * time.Second: "4m05s", 130 * time.Minute: "2h10m",
	} {
		if got := Short(d); got != want {
			t.Errorf("%d is told as %q, want %q", d, got, want)
		}
	}
}

func TestTableCountsWideCharacters(t *testing.T) {
	t.Parallel()
	got := table([][]string{{"可回滚", "a"}, {"reads", "b"}})
	if diff := cmp.Diff([]string{"可回滚  a", "reads   b"}, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestCleanKeepsTheTerminalSafe(t *testing.T) {
	t.Parallel()
	if got := clean(" a\x1b[2Jb\nc\td\u009bx "); got != "a[2Jb c dx" {
		t.Errorf("got %q", got)
	}
}
