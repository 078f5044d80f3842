package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/say"
)

// Status is where a cluster stands, as `status --output json` writes it.
type Status struct {
	V        int     `json:"v"`
	Cluster  string  `json:"cluster"`
	Driver   string  `json:"driver"`
	State    string  `json:"state"`
	From     string  `json:"from"`
	To       string  `json:"to"`
	Step     Count   `json:"step"`
	Next     string  `json:"next"` // the command to type
	Nodes    []Node  `json:"nodes"`
	Run      string  `json:"run,omitempty"`
	Gate     string  `json:"gate,omitempty"`
	Back     bool    `json:"back,omitempty"` // the run goes back
	Failed   string  `json:"failed,omitempty"`
	Why      string  `json:"why,omitempty"`
	Operator *Holder `json:"operator,omitempty"`
	Behind
	// Findings is set by verify alone.
	Findings *[]Finding `json:"findings,omitempty"`
}

// Count is how many of the steps are done.
type Count struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}

// Node is a node as status shows it.
type Node struct {
	Name      string `json:"name"`
	Role      string `json:"role"`
	Running   string `json:"running"`
	Installed string `json:"installed"`
	Healthy   bool   `json:"healthy"`
	Health    string `json:"health,omitempty"`
	Trouble   string `json:"trouble,omitempty"`
}

// Holder is who works on the cluster.
type Holder struct {
	User  string    `json:"user"`
	Host  string    `json:"host"`
	PID   int       `json:"pid,omitempty"`
	Since time.Time `json:"since,omitzero"`
	Doing string    `json:"doing,omitempty"`
}

// Status shows where a cluster stands.
func (s *Screen) Status(st Status) error {
	if s.Format == JSON {
		st.V = jsonVersion
		if st.Nodes == nil {
			st.Nodes = []Node{}
		}
		return s.Object(st)
	}
	s.statusHead(&st)
	s.nodes(st.Nodes)
	if st.Next != "" {
		fmt.Fprintf(s.Out, "\n%s%s\n", s.word("next: ", "下一步："), st.Next)
	}
	return nil
}

// Verified shows what verify found, with the state of the nodes.
func (s *Screen) Verified(st Status, fs []check.Finding) error {
	if s.Format == JSON {
		findings := s.FindingsOf(fs)
		st.Findings = &findings
		return s.Status(st)
	}
	s.statusHead(&st)
	s.nodes(st.Nodes)
	s.Findings(fs)
	return nil
}

func (s *Screen) statusHead(st *Status) {
	head := fmt.Sprintf("%s (%s)  %s  %s", st.Cluster, st.Driver, s.state(st.State, st.Crossed), way(st.State, st.From, st.To))
	if st.Step.Total > 0 {
		head += fmt.Sprintf("  %s %d/%d", s.word("step", "步骤"), st.Step.Done, st.Step.Total)
	}
	fmt.Fprintln(s.Out, s.out.strong.Render(strings.TrimRight(head, " ")))
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(s.Out, "  %s%s\n", key, clean(value))
		}
	}
	line(s.word("run: ", "执行编号："), st.Run)
	line(s.word("gate: ", "停在关口："), st.Gate)
	line(s.word("failed step: ", "失败步骤："), st.Failed)
	line(s.word("why: ", "原因："), st.Why)
	st.lines(s, line)
	if h := st.Operator; h != nil {
		line(s.word("operator: ", "操作者："), s.in(h.Says()))
	}
}

// Says tells who works, since when, doing what.
func (h *Holder) Says() say.Text {
	return say.F("%s@%s, since %s: %s", "%s@%s，自 %s 起：%s", h.User, h.Host, h.Since.Format(time.DateTime), h.Doing)
}

// state names a state; crossed is a one-way gate behind it, which leaves no rollback.
func (s *Screen) state(state, crossed string) string {
	if state == "upgraded" && crossed != "" {
		return s.word("upgraded, waiting for commit", "已升级，等待提交")
	}
	words := map[string][2]string{
		"idle": {"idle", "空闲"}, "running": {"running", "执行中"}, "interrupted": {"interrupted", "已中断（可续作）"},
		"failed": {"failed", "失败"}, "upgraded": {"upgraded, waiting for commit or rollback", "已升级，等待提交或回滚"},
		"committed": {"committed", "已提交"}, "rolled-back": {"rolled back", "已回滚"},
	}
	w, ok := words[state]
	if !ok {
		return state
	}
	return s.word(w[0], w[1])
}

func (s *Screen) nodes(nodes []Node) {
	if len(nodes) == 0 {
		return
	}
	rows := [][]string{{s.word("node", "节点"), s.word("role", "角色"), s.word("running", "运行版本"), s.word("installed", "安装版本"), s.word("health", "健康")}}
	for _, n := range nodes {
		health := s.word("healthy", "健康")
		if !n.Healthy {
			health = s.word("NOT healthy", "不健康")
			if n.Health != "" {
				health += " (" + n.Health + ")"
			}
		}
		if n.Trouble != "" {
			health += "  " + clean(n.Trouble)
		}
		rows = append(rows, []string{n.Name, dash(s.role(n.Role)), dash(n.Running), dash(n.Installed), health})
	}
	fmt.Fprintln(s.Out)
	for i, line := range table(rows) {
		if i == 0 {
			line = s.out.dim.Render(line)
		}
		fmt.Fprintf(s.Out, "  %s\n", line)
	}
}

func (s *Screen) role(role string) string {
	words := map[string]string{"primary": "主库", "standby": "备库", "cascade": "级联备库"}
	if zh, ok := words[role]; ok {
		return s.word(role, zh)
	}
	return role
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// way shows which way a run went.
func way(state, from, to string) string {
	if state == "rolled-back" {
		return arrow(to, from)
	}
	return arrow(from, to)
}
