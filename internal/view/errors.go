package view

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/shiplift/shiplift/internal/say"
)

// ErrorJSON is an error as a machine reads it, on standard error.
type ErrorJSON struct {
	V     int    `json:"v"`
	Error string `json:"error"`
	Place string `json:"place,omitempty"`
	Next  string `json:"next,omitempty"`
	Exit  int    `json:"exit"`
}

// Error tells an error and, on a line of its own, what to type next.
func (s *Screen) Error(err error, next say.Text, exit int) {
	var p *say.Problem
	if next.IsZero() && errors.As(err, &p) {
		next = p.Next
	}
	if s.Format == JSON {
		j := ErrorJSON{V: jsonVersion, Error: s.in(say.Of(err)), Next: s.in(next), Exit: exit}
		if p != nil {
			j.Place = p.Place
		}
		enc := json.NewEncoder(s.Err)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(j) // nothing can be told where standard error is gone
		return
	}
	fmt.Fprintf(s.Err, "%s%s\n", s.err.bad.Render(s.word("error: ", "错误：")), s.in(say.Of(err)))
	s.Next(next)
}

// Next tells what to type next.
func (s *Screen) Next(next say.Text) {
	if !next.IsZero() {
		fmt.Fprintf(s.Err, "%s%s\n", s.err.strong.Render(s.word("next: ", "下一步：")), s.in(next))
	}
}
