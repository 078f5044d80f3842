package view

import (
	"fmt"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Measured is what a meter saw while the run was on.
type Measured struct {
	InterruptionMS float64 `json:"interruption_ms"` // longest gap without an acknowledged write
	LostWrites     int64   `json:"lost_writes"`     // acknowledged rows that are missing
	GapP50MS       float64 `json:"gap_p50_ms"`      // between two acknowledged writes, all clients
	GapP99MS       float64 `json:"gap_p99_ms"`
	Acknowledged   int64   `json:"acknowledged_writes"`
	Errors         int64   `json:"write_errors"`
	RowsBefore     float64 `json:"rows_per_second_before"`
	RowsAfter      float64 `json:"rows_per_second_after"`
}

// Summary is the end of a verb that worked on a run.
type Summary struct {
	V       int      `json:"v"`
	Event   string   `json:"event"` // "summary"
	Verb    string   `json:"verb"`
	Cluster string   `json:"cluster"`
	Run     string   `json:"run,omitempty"`
	State   string   `json:"state"`
	From    string   `json:"from"`
	To      string   `json:"to"`
	Gate    string   `json:"gate,omitempty"`
	Step    string   `json:"failed_step,omitempty"`
	Why     string   `json:"why,omitempty"`
	Advice  string   `json:"advice,omitempty"` // what a person has to do before Next can go well
	Next    string   `json:"next,omitempty"`
	Owed    []string `json:"owed,omitempty"`
	Exit    int      `json:"exit"`
	TookMS  int64    `json:"took_ms"`
	Behind
	*Measured
}

// Summary ends the output of a verb that worked on a run.
func (s *Screen) Summary(sum Summary) error {
	sum.V, sum.Event = jsonVersion, "summary"
	if s.Format == JSON {
		return s.Object(sum)
	}
	head := fmt.Sprintf("%s: %s  %s", sum.Cluster, s.state(sum.State, sum.Crossed), way(sum.State, sum.From, sum.To))
	style := s.out.good
	if sum.Exit != 0 {
		style = s.out.warn
	}
	if sum.State == "failed" {
		style = s.out.bad
	}
	fmt.Fprintln(s.Out, style.Render(head))
	line := func(text say.Text) { fmt.Fprintf(s.Out, "  %s\n", s.in(text)) }
	if sum.Gate != "" && sum.State != "upgraded" {
		line(say.F("waiting before %s", "停在 %s 之前", sum.Gate))
	}
	if sum.Step != "" {
		line(say.F("failed step: %s", "失败步骤：%s", sum.Step))
	}
	if sum.Why != "" {
		line(say.F("why: %s", "原因：%s", clean(sum.Why)))
	}
	if sum.Advice != "" {
		line(say.F("advice: %s", "建议：%s", clean(sum.Advice)))
	}
	sum.lines(s, func(key, value string) { fmt.Fprintf(s.Out, "  %s%s\n", key, clean(value)) })
	if len(sum.Owed) > 0 {
		line(say.F("left to do on: %s", "尚待处理的节点：%s", strings.Join(sum.Owed, ", ")))
	}
	s.measured(sum.Measured)
	if sum.Next != "" {
		fmt.Fprintf(s.Out, "%s%s\n", s.word("next: ", "下一步："), sum.Next)
	}
	return nil
}

func (s *Screen) measured(m *Measured) {
	if m == nil {
		return
	}
	fmt.Fprintf(s.Out, s.word("  writes: longest interruption %.0f ms (gaps between writes: p50 %.1f ms, p99 %.1f ms); %d acknowledged, %d lost, %d errors seen; %.0f rows/s before, %.0f after\n",
		"  写入：最长中断 %.0f 毫秒（写入间隔：p50 %.1f 毫秒，p99 %.1f 毫秒）；已确认 %d 条，丢失 %d 条，出现错误 %d 次；之前每秒 %.0f 行，之后每秒 %.0f 行\n"),
		m.InterruptionMS, m.GapP50MS, m.GapP99MS, m.Acknowledged, m.LostWrites, m.Errors, m.RowsBefore, m.RowsAfter)
}
