// Package say holds the sentences a person reads, in every language the tool speaks.
//
// A sentence is made where its facts are known (a check, a step, an error) and
// shown by view, which picks the language. Nothing decides by reading a Text.
package say

import (
	"fmt"
	"strings"
)

// Lang is a language the tool speaks.
type Lang string

// The languages of the tool.
const (
	English Lang = "en"
	Chinese Lang = "zh"
)

// Text is one sentence in both languages.
type Text struct {
	EN string `json:"en"`
	ZH string `json:"zh"`
}

// F formats both sentences with the same arguments. A translation that needs
// another order uses indexed verbs (%[2]s).
func F(en, zh string, args ...any) Text {
	if len(args) == 0 {
		return Text{EN: en, ZH: zh}
	}
	return Text{EN: fmt.Sprintf(en, args...), ZH: fmt.Sprintf(zh, args...)}
}

// Same is a sentence that reads the same in every language: a name, a command, a figure.
func Same(s string) Text { return Text{EN: s, ZH: s} }

// In returns the sentence in lang; English where there is no other.
func (t Text) In(lang Lang) string {
	if lang == Chinese && t.ZH != "" {
		return t.ZH
	}
	return t.EN
}

// IsZero reports whether there is nothing to say.
func (t Text) IsZero() bool { return t.EN == "" && t.ZH == "" }

// Join puts sentences behind each other with sep between them.
func Join(sep string, parts ...Text) Text {
	en, zh := make([]string, 0, len(parts)), make([]string, 0, len(parts))
	for _, p := range parts {
		if p.IsZero() {
			continue
		}
		en, zh = append(en, p.In(English)), append(zh, p.In(Chinese))
	}
	return Text{EN: strings.Join(en, sep), ZH: strings.Join(zh, sep)}
}

// Sayer is an error that can be told in both languages.
type Sayer interface {
	error
	Say() Text
}

// Problem is an error for a person: where, what was found, what was expected,
// and the next command to type.
type Problem struct {
	Place string // file:line, node, key, flag; empty when there is none
	Text  Text
	Next  Text  // what to do now; a command where there is one
	Err   error // the cause, for errors.Is and errors.As
}

func (p *Problem) Error() string {
	s := p.Text.EN
	if p.Place != "" {
		s = p.Place + ": " + s
	}
	if p.Err != nil {
		s += ": " + p.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// Say tells the problem without the next step, which view prints on a line of its own.
func (p *Problem) Say() Text {
	t := p.Text
	if p.Err != nil {
		cause := Of(p.Err)
		t = Text{EN: t.EN + ": " + cause.EN, ZH: t.In(Chinese) + "：" + cause.In(Chinese)}
	}
	if p.Place != "" {
		t = Text{EN: p.Place + ": " + t.EN, ZH: p.Place + "：" + t.In(Chinese)}
	}
	return t
}

// told is an error whose sentence was written in both languages.
type told struct {
	err  error
	zh   string
	args []any
}

func (t *told) Error() string { return t.err.Error() }

// Unwrap returns the English error, whose own chain goes on with the causes.
func (t *told) Unwrap() error { return t.err }

// Say tells the causes among the arguments in the same language.
func (t *told) Say() Text {
	args := make([]any, len(t.args))
	for i, a := range t.args {
		if err, ok := a.(error); ok {
			a = Of(err).In(Chinese)
		}
		args[i] = a
	}
	return Text{EN: t.Error(), ZH: F("", strings.ReplaceAll(t.zh, "%w", "%v"), args...).ZH}
}

// Errorf is fmt.Errorf in both languages, with the same arguments; %w wraps in
// both. Another order in the translation uses indexed verbs (%[2]s).
func Errorf(en, zh string, args ...any) error {
	return &told{err: fmt.Errorf(en, args...), zh: zh, args: args} //nolint:err113 // it is what callers write down
}

// Of tells any error: in both languages when it can, as it is when not. What
// stands around a cause, such as the name of a node, stays as it is.
func Of(err error) Text {
	if s, ok := err.(Sayer); ok { //nolint:errorlint // the outermost error knows the whole sentence
		return s.Say()
	}
	t := Same(err.Error())
	for _, cause := range causes(err) {
		if c := Of(cause); c.In(Chinese) != c.EN {
			t.ZH = strings.Replace(t.ZH, cause.Error(), c.In(Chinese), 1)
		}
	}
	return t
}

func causes(err error) []error {
	switch e := err.(type) { //nolint:errorlint // one link of the chain at a time
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil {
			return []error{cause}
		}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}
