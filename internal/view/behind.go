package view

import (
	"github.com/shiplift/shiplift/internal/run"
)

// Behind is the one-way gate that lies behind a run which is not over: no
// rollback leads over it, and whoever looks must see which way is left.
type Behind struct {
	Crossed string `json:"crossed,omitempty"`
	Left    string `json:"way_left,omitempty"`
}

// BehindOf tells of the last one-way gate behind a run; nothing when the way back is open.
func (s *Screen) BehindOf(t *run.Trail) Behind {
	gate, crossed := t.Crossed()
	if !crossed || t.Final != "" {
		return Behind{}
	}
	b := Behind{Crossed: gate}
	for i := range t.Plan.Steps {
		if st := &t.Plan.Steps[i]; st.ID == gate {
			b.Left = s.in(st.Gate.Costs)
		}
	}
	return b
}

// lines are how people read it; line writes one.
func (b Behind) lines(s *Screen, line func(key, value string)) {
	if b.Crossed == "" {
		return
	}
	line(s.word("no rollback: ", "不能回滚："), s.word("the one-way gate "+b.Crossed+" was crossed", "已越过单向关口 "+b.Crossed))
	line(s.word("way left: ", "剩余的路："), b.Left)
}
