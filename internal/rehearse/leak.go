package rehearse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// leaks looks for the world's secrets in all that the tool lets out (I10): the
// words of its commands, what a person sees, the journal and the plan.
type leaks struct {
	secrets []string
	found   string // the first place
}

// first reports whether a text is the first one in which a secret is seen.
func (l *leaks) first(text string) bool {
	return l.found == "" && slices.ContainsFunc(l.secrets, func(s string) bool { return strings.Contains(text, s) })
}

// firstIn is first for what was written.
func (l *leaks) firstIn(text []byte) bool {
	return l.found == "" && slices.ContainsFunc(l.secrets, func(s string) bool { return bytes.Contains(text, []byte(s)) })
}

func (l *leaks) hosts(set host.Set) host.Set {
	if len(l.secrets) == 0 {
		return set
	}
	return set.Wrap(func(h host.Host) host.Host { return &leakHost{h, l} })
}

type leakHost struct {
	host.Host
	l *leaks
}

func (h *leakHost) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	for _, w := range c.Argv {
		if h.l.first(w) {
			h.l.found = fmt.Sprintf("the words of a command on %s (%s …)", h.Name(), c.Argv[0])
		}
	}
	return h.Host.Run(ctx, c)
}

var _ run.View = (*leaks)(nil)

// Event looks at what a person would see.
func (l *leaks) Event(e run.Event) {
	if len(l.secrets) == 0 {
		return
	}
	said := e.Text
	if e.Err != nil {
		said = say.Join("; ", said, say.Of(e.Err))
	}
	if e.Outcome != nil {
		said = say.Join("; ", said, e.Outcome.Why)
	}
	if l.first(said.EN) || l.first(said.ZH) {
		l.found = fmt.Sprintf("what the screen says (%s)", e.Kind)
	}
}

// prove looks at what is left behind: the journal with the plan in it.
func (l *leaks) prove(log *Memory) error {
	if len(l.secrets) == 0 {
		return nil
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	for i := range log.Records {
		r := &log.Records[i]
		if r.Plan != nil { // it is written already
			if l.firstIn(r.Plan) {
				l.found = "the plan"
			}
			bare := *r
			bare.Plan, r = nil, &bare
		}
		line.Reset()
		if err := enc.Encode(r); err != nil {
			return err
		}
		if l.firstIn(line.Bytes()) {
			l.found = fmt.Sprintf("record %d of the journal", r.Seq)
		}
	}
	if l.found != "" {
		return fmt.Errorf("a secret is seen in %s", l.found)
	}
	return nil
}
