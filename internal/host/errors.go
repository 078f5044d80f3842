package host

import (
	"fmt"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// LostError is a command whose answer never came: the link broke after it was
// sent. Nobody knows whether it ran, or still runs, so probe.
type LostError struct {
	Node string
	Argv []string
	Err  error
}

func (e *LostError) Error() string { return e.Say().EN }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

// Say tells it in both languages.
func (e *LostError) Say() say.Text {
	cause := say.Of(e.Err)
	return say.Text{
		EN: fmt.Sprintf("%s: the link was lost while %q ran, its outcome is unknown: %s", e.Node, shown(e.Argv), cause.EN),
		ZH: fmt.Sprintf("%s：执行 %q 时连接中断，结果未知：%s", e.Node, shown(e.Argv), cause.In(say.Chinese)),
	}
}

// EndedError is a command that was ended from our side: the context ended, its
// time was up, or what should go into its standard input could not be read.
// How far it came is unknown.
type EndedError struct {
	Node string
	Argv []string
	Gone bool  // the machine has confirmed that the command no longer runs
	Err  error // context.Canceled, context.DeadlineExceeded or the context's cause
}

func (e *EndedError) Error() string { return e.Say().EN }

// Unwrap returns the cause.
func (e *EndedError) Unwrap() error { return e.Err }

// Say tells it in both languages.
func (e *EndedError) Say() say.Text {
	cause := say.Of(e.Err)
	t := say.Text{
		EN: fmt.Sprintf("%s: %q was ended before it was done: %s", e.Node, shown(e.Argv), cause.EN),
		ZH: fmt.Sprintf("%s：%q 未完成即被终止：%s", e.Node, shown(e.Argv), cause.In(say.Chinese)),
	}
	if !e.Gone {
		t.EN += " (the machine has not confirmed that it is gone)"
		t.ZH += "（主机尚未确认该命令已退出）"
	}
	return t
}

// Say tells it in both languages.
func (e *UnreachableError) Say() say.Text {
	cause := say.Of(e.Err)
	return say.Text{
		EN: fmt.Sprintf("%s: cannot reach %s: %s", e.Node, e.Addr, cause.EN),
		ZH: fmt.Sprintf("%s：无法连接 %s：%s", e.Node, e.Addr, cause.In(say.Chinese)),
	}
}

// shown is an argv for a sentence: one line, not too long.
func shown(argv []string) string {
	s := Quote(unscripted(argv))
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		s = s[:i] + "…"
	}
	if r := []rune(s); len(r) > 120 {
		s = string(r[:120]) + "…"
	}
	return s
}
