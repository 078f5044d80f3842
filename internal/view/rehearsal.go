package view

import (
	"fmt"
	"time"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// Rehearsal is what `rehearse --output json` writes.
type Rehearsal struct {
	V       int           `json:"v"`
	Cluster string        `json:"cluster"`
	Driver  string        `json:"driver"`
	From    string        `json:"from"`
	To      string        `json:"to"`
	Mode    string        `json:"mode"`
	Runs    int           `json:"runs"`
	Seed    uint64        `json:"seed"` // of the first run; the others follow
	Twin    []TwinNode    `json:"twin"`
	Endings Endings       `json:"endings"`
	Calm    RehearsedRun  `json:"undisturbed"`
	Took    Percentiles   `json:"duration_ms"`
	Stopped Percentiles   `json:"interruption_ms"`
	By      string        `json:"interruption_by"` // "writes": a client wrote all the time; "steps": the steps that stop writes
	Risky   []RiskyStep   `json:"riskiest"`
	Broken  []BrokenRun   `json:"broken"`
	Limits  []string      `json:"limits"` // what the simulation cannot tell
	Next    string        `json:"next"`   // the command to type
	Pause   time.Duration `json:"-"`
}

// TwinNode is a node and the one that stands for it.
type TwinNode struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Release string `json:"release"`
	Twin    string `json:"twin"`
}

// Endings count how the runs ended; each run is in one of them.
type Endings struct {
	Upgraded   int `json:"upgraded"`    // and committed
	TriedBack  int `json:"tried_back"`  // upgraded, then rolled back on purpose
	RolledBack int `json:"rolled_back"` // after trouble
	Person     int `json:"needed_a_person"`
	Broken     int `json:"broken"`
}

// RehearsedRun are the figures of one run.
type RehearsedRun struct {
	Took    float64 `json:"duration_ms"`
	Stopped float64 `json:"interruption_ms"`
}

// Percentiles are those of all runs, in milliseconds.
type Percentiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
}

// RiskyStep is a step at which runs met trouble.
type RiskyStep struct {
	Step   string      `json:"step"`
	Says   string      `json:"says"`
	Impact plan.Impact `json:"impact"`
	Met    int         `json:"runs_in_trouble"`
	Back   int         `json:"rolled_back"`
	Person int         `json:"needed_a_person"`
	Error  string      `json:"error,omitempty"` // what was said most often
	Seed   uint64      `json:"seed"`            // a run to look at
}

// BrokenRun is a run after which something did not hold.
type BrokenRun struct {
	Seed uint64 `json:"seed"`
	Why  string `json:"why"`
}

// Rehearsal shows what a rehearsal found, and what it cannot tell.
func (s *Screen) Rehearsal(r *Rehearsal) error {
	r.V = jsonVersion
	if s.Format == JSON {
		return s.Object(r)
	}
	head := fmt.Sprintf("%s  %s (%s)  %s  %s", s.word("rehearsal", "演练"), r.Cluster, r.Driver, arrow(r.From, r.To), s.mode(r.Mode))
	fmt.Fprintln(s.Out, s.out.strong.Render(head))
	fmt.Fprintf(s.Out, s.word("  %d runs on a simulated twin, seeds %d to %d; its plan is yours, step for step\n\n", "  在模拟副本上演练 %d 次，种子 %d 至 %d；副本的计划与您的计划逐步相同\n\n"),
		r.Runs, r.Seed, r.Seed+uint64(r.Runs)-1)
	s.twinNodes(r)
	s.endings(r)
	s.rehearsedTimes(r)
	s.riskySteps(r)
	for _, b := range r.Broken {
		fmt.Fprintf(s.Out, "  %s %s\n", s.out.bad.Render(s.in(say.F("seed %d did not end as it must:", "种子 %d 未按要求结束：", b.Seed))), clean(b.Why))
	}
	fmt.Fprintf(s.Out, "\n%s\n", s.word("what a simulation cannot tell:", "模拟无法说明的内容："))
	for _, l := range r.Limits {
		fmt.Fprintf(s.Out, "  - %s\n", l)
	}
	return nil
}

// twinNodes tells which node stands for which, where the names differ.
func (s *Screen) twinNodes(r *Rehearsal) {
	var rows [][]string
	other := false
	for _, n := range r.Twin {
		rows = append(rows, []string{"  " + n.Name, n.Role, n.Release, s.word("played by ", "由 ") + n.Twin + s.word("", " 代替")})
		other = other || n.Name != n.Twin
	}
	if !other {
		return
	}
	for _, line := range table(rows) {
		fmt.Fprintln(s.Out, line)
	}
	fmt.Fprintln(s.Out)
}

func (s *Screen) endings(r *Rehearsal) {
	rows := [][]string{}
	for _, e := range []struct {
		n      int
		en, zh string
	}{
		{r.Endings.Upgraded, "upgraded and committed", "升级并提交"},
		{r.Endings.TriedBack, "upgraded, then rolled back on purpose", "升级后有意回滚（回滚也在演练之列）"},
		{r.Endings.RolledBack, "rolled back after trouble", "遇到故障后回滚"},
		{r.Endings.Person, "needed a person who mended a machine", "需要人工修复机器后才能继续"},
		{r.Endings.Broken, "did not end as they must", "未按要求结束"},
	} {
		rows = append(rows, []string{padLeft(fmt.Sprint(e.n), 6), s.word(e.en, e.zh)})
	}
	for _, line := range table(rows) {
		fmt.Fprintln(s.Out, line)
	}
}

func (s *Screen) rehearsedTimes(r *Rehearsal) {
	ms := func(f float64) string {
		if f < 1000 {
			return fmt.Sprintf("%.0fms", f)
		}
		return Short(time.Duration(f * float64(time.Millisecond)))
	}
	row := func(what string, calm float64, p Percentiles) []string {
		return []string{"  " + what, ms(calm), ms(p.P50), ms(p.P95), ms(p.Max)}
	}
	stopped := s.word("writes stopped", "写入中断")
	if r.By == "steps" {
		stopped = s.word("steps that stop writes", "停写步骤用时")
	}
	fmt.Fprintln(s.Out)
	for _, line := range table([][]string{
		{"  " + s.word("on the simulator's clock", "按模拟器的时钟"), s.word("undisturbed", "无故障"), "p50", "p95", s.word("longest", "最长")},
		row(s.word("duration", "用时"), r.Calm.Took, r.Took), row(stopped, r.Calm.Stopped, r.Stopped),
	}) {
		fmt.Fprintln(s.Out, line)
	}
	fmt.Fprintf(s.Out, s.word("  in every run one or two things go wrong; the operator waits %s behind a failure\n", "  每次演练都有一两处故障；操作者在失败后等待 %s 再继续\n"), Short(r.Pause))
}

func (s *Screen) riskySteps(r *Rehearsal) {
	if len(r.Risky) == 0 {
		return
	}
	fmt.Fprintf(s.Out, "\n%s\n", s.word("the riskiest steps:", "风险最高的步骤："))
	for i, k := range r.Risky {
		fmt.Fprintf(s.Out, "  %d  %s  %s\n", i+1, s.out.strong.Render(k.Step), clean(k.Says))
		fmt.Fprintf(s.Out, s.word("     %s while it runs; trouble in %d runs, after which %d were rolled back and %d needed a person (e.g. seed %d)\n",
			"     执行期间：%s；%d 次演练在此遇到故障，其中 %d 次回滚，%d 次需要人工（例如种子 %d）\n"), s.impact(k.Impact), k.Met, k.Back, k.Person, k.Seed)
		if k.Error != "" {
			fmt.Fprintf(s.Out, s.word("     most often: %s\n", "     最常见：%s\n"), clean(k.Error))
		}
	}
}
