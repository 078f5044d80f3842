package view

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// Report is the record of a run for people who were not there.
type Report struct {
	V        int          `json:"v"`
	Run      string       `json:"run"`
	Cluster  string       `json:"cluster"`
	Driver   string       `json:"driver"`
	State    string       `json:"state"`
	From     string       `json:"from"`
	To       string       `json:"to"`
	Started  time.Time    `json:"started"`
	Ended    time.Time    `json:"ended"`
	Sessions []Session    `json:"sessions"`
	Findings []Finding    `json:"findings"`
	Steps    []StepReport `json:"steps"`
	Lines    []Line       `json:"timeline"`
	Measured *Measured    `json:"measured,omitempty"`
	Behind
}

// Session is one process that worked on the run.
type Session struct {
	Time  time.Time `json:"time"`
	Verb  string    `json:"verb"`
	User  string    `json:"user"`
	Host  string    `json:"host"`
	Tool  string    `json:"tool"`
	Fence int64     `json:"fence"`
}

// StepReport is how a step ended.
type StepReport struct {
	ID       string `json:"id"`
	Node     string `json:"node,omitempty"`
	Says     string `json:"says"`
	Status   string `json:"status"`
	Attempts int    `json:"attempts"`
	TookMS   int64  `json:"took_ms"`
	Error    string `json:"error,omitempty"`
}

// Line is one record of the journal as a sentence.
type Line struct {
	Time time.Time `json:"time"`
	Says string    `json:"says"`
}

// ReportOf makes a report of a run's records.
func (s *Screen) ReportOf(records []journal.Record, t *run.Trail, state run.State) Report {
	p := t.Plan
	r := Report{
		V: jsonVersion, Run: t.Run, Cluster: p.Cluster, Driver: p.Driver, State: string(state), From: p.From, To: p.To,
		Started: t.Started, Ended: records[len(records)-1].Time, Sessions: []Session{}, Findings: s.FindingsOf(records[0].Findings),
		Behind: s.BehindOf(t),
	}
	for i := range p.Steps {
		st, trail := &p.Steps[i], &t.Steps[i]
		sr := StepReport{ID: st.ID, Node: st.Node, Says: s.in(st.Says), Status: string(trail.Status), Attempts: trail.Attempt, TookMS: trail.Took.Milliseconds()}
		if trail.Error != nil {
			sr.Error = s.in(*trail.Error)
		}
		r.Steps = append(r.Steps, sr)
	}
	for i := range records {
		s.reportRecord(&r, &records[i])
	}
	return r
}

func (s *Screen) reportRecord(r *Report, rec *journal.Record) {
	if rec.Kind == journal.Open && rec.Who != nil {
		r.Sessions = append(r.Sessions, Session{Time: rec.Time, Verb: rec.Verb, User: rec.Who.User, Host: rec.Who.Host, Tool: rec.Who.Tool, Fence: rec.Fence})
	}
	if rec.Kind == journal.Note {
		var m struct {
			Measured *Measured `json:"measured"`
		}
		// Notes of other kinds are told by their reason alone.
		if json.Unmarshal(rec.Data, &m) == nil && m.Measured != nil {
			r.Measured = m.Measured
		}
	}
	if text := tell(rec); !text.IsZero() {
		r.Lines = append(r.Lines, Line{Time: rec.Time, Says: s.in(text)})
	}
}

// tell says what a record of the journal holds.
func tell(rec *journal.Record) say.Text {
	why := say.Text{}
	if rec.Error != nil {
		why = *rec.Error
	}
	switch rec.Kind {
	case journal.Begin:
		return say.F("run %s begins", "执行 %s 开始", rec.Run)
	case journal.Open:
		if rec.Who != nil {
			return say.F("%s by %s@%s", "%[2]s@%[3]s 执行 %[1]s", rec.Verb, rec.Who.User, rec.Who.Host)
		}
	case journal.Intent:
		if rec.Undo {
			return say.F("undo %s", "撤销 %s", rec.Step)
		}
		return say.F("do %s", "执行 %s", rec.Step)
	case journal.Outcome:
		return say.Join(": ", say.F("%s %s", "%s %s", rec.Step, rec.Result), why)
	case journal.Probed:
		return say.F("%s was found started; probed: %s", "发现 %s 处于已开始状态；探测结果：%s", rec.Step, rec.Standing)
	case journal.Crossed:
		return say.F("gate %s passed", "通过关口 %s", rec.Step)
	case journal.Turn:
		return say.Join(": ", say.F("rollback begins", "开始回滚"), say.Same(rec.Reason))
	case journal.Skipped:
		return say.Join(": ", say.F("undo of %s left out", "略过 %s 的撤销", rec.Step), why)
	case journal.Note:
		return say.Same(rec.Reason)
	case journal.Left:
		return say.Join(": ", say.F("the process left: %s", "进程退出：%s", rec.State), why)
	case journal.End:
		return say.F("the run is over: %s", "执行结束：%s", rec.State)
	}
	return say.Text{}
}

// Report shows a report.
func (s *Screen) Report(r Report) error {
	if s.Format == JSON {
		return s.Object(r)
	}
	fmt.Fprintf(s.Out, s.word("report of run %s\n", "执行 %s 的报告\n"), r.Run)
	fmt.Fprintf(s.Out, "  %s (%s)  %s  %s\n", r.Cluster, r.Driver, arrow(r.From, r.To), s.state(r.State, r.Crossed))
	fmt.Fprintf(s.Out, "  %s — %s  (%s)\n", r.Started.Format(time.DateTime), r.Ended.Format(time.DateTime), Short(r.Ended.Sub(r.Started)))
	s.measured(r.Measured)
	s.reportSteps(r)
	s.reportFindings(r)
	fmt.Fprintf(s.Out, "\n%s\n", s.word("what happened", "经过"))
	for _, l := range r.Lines {
		fmt.Fprintf(s.Out, "  %s  %s\n", l.Time.Format("2006-01-02 15:04:05.000"), clean(l.Says))
	}
	return nil
}

func (s *Screen) reportSteps(r Report) {
	fmt.Fprintf(s.Out, "\n%s\n", s.word("steps", "步骤"))
	rows := make([][]string, 0, len(r.Steps))
	for i, st := range r.Steps {
		tail := st.Says
		if st.Error != "" {
			tail += s.word(": ", "：") + clean(st.Error)
		}
		rows = append(rows, []string{padLeft(fmt.Sprint(i+1), 3), st.Status, fmt.Sprintf("×%d", st.Attempts), Short(time.Duration(st.TookMS) * time.Millisecond), st.ID, tail})
	}
	for _, line := range table(rows) {
		fmt.Fprintf(s.Out, "  %s\n", line)
	}
}

func (s *Screen) reportFindings(r Report) {
	var rows [][]string
	for _, f := range r.Findings {
		if f.Severity == "pass" {
			continue
		}
		tail := f.Says
		if f.Skipped != "" {
			tail += s.word("  (skipped: ", "（跳过：") + f.Skipped + s.word(")", "）")
		}
		rows = append(rows, []string{string(f.Severity), f.ID, dash(f.Node), tail})
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(s.Out, "\n%s\n", s.word("what the checks had found", "检查结论"))
	for _, line := range table(rows) {
		fmt.Fprintf(s.Out, "  %s\n", line)
	}
}
