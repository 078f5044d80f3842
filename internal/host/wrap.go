package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Wrap puts the wrapper that with makes around each machine.
func (s Set) Wrap(with func(Host) Host) Set {
	out := make(Set, len(s))
	for name, h := range s {
		out[name] = with(h)
	}
	return out
}

// Entry is one command or connection in the audit.
type Entry struct {
	Node    string        `json:"node"`
	Argv    []string      `json:"argv,omitempty"`
	Dial    string        `json:"dial,omitempty"` // network and address of a connection
	Changes bool          `json:"changes,omitempty"`
	Start   time.Time     `json:"start"`
	Took    time.Duration `json:"took"`
	Outcome string        `json:"outcome"` // ok, exit, unreachable, lost, ended, refused
	Code    int           `json:"code,omitempty"`
	Stdout  string        `json:"stdout,omitempty"`
	Stderr  string        `json:"stderr,omitempty"`
	Error   string        `json:"error,omitempty"` // what is not ok and not exit
}

// Recorder keeps the audit. It may be called by several goroutines.
type Recorder interface {
	Record(Entry)
}

// Audit records every command with its output, in which secrets are hidden.
// Standard input is never recorded: it is where secrets travel.
func Audit(h Host, clk wait.Clock, to Recorder, secrets *Secrets) Host {
	return &audit{Host: h, clk: clk, to: to, secrets: secrets}
}

type audit struct {
	Host
	clk     wait.Clock
	to      Recorder
	secrets *Secrets
}

// saidLimit is how much of one stream the audit keeps.
const saidLimit = 16 << 10

func (a *audit) Run(ctx context.Context, c Cmd) (Result, error) {
	start := a.clk.Now()
	res, err := a.Host.Run(ctx, c)
	e := a.entry(start, err)
	e.Changes = c.Effect == Changes
	for _, w := range c.Argv {
		e.Argv = append(e.Argv, a.secrets.Hide(w))
	}
	stdout, stderr := res.Stdout, res.Stderr
	if ee := (*ExitError)(nil); errors.As(err, &ee) {
		stdout, stderr = ee.Stdout, ee.Stderr
	}
	if e.Stderr = a.secrets.said(stderr); !c.Private {
		e.Stdout = a.secrets.said(stdout)
	}
	a.to.Record(e)
	return res, err
}

func (a *audit) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	start := a.clk.Now()
	conn, err := a.Host.Dial(ctx, network, addr)
	e := a.entry(start, err)
	e.Dial = network + " " + addr
	a.to.Record(e)
	return conn, err
}

func (a *audit) entry(start time.Time, err error) Entry {
	e := Entry{Node: a.Name(), Start: start, Took: a.clk.Now().Sub(start), Outcome: outcome(err)}
	if ee := (*ExitError)(nil); errors.As(err, &ee) {
		e.Code = ee.Code
	} else if err != nil {
		e.Error = a.secrets.Hide(err.Error())
	}
	return e
}

func outcome(err error) string {
	var (
		exit        *ExitError
		unreachable *UnreachableError
		ended       *EndedError
		dry         *DryRunError
	)
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &exit):
		return "exit"
	case errors.As(err, &unreachable):
		return "unreachable"
	case errors.As(err, &ended):
		return "ended"
	case errors.As(err, &dry), errors.Is(err, ErrFenced):
		return "refused"
	}
	return "lost"
}

// Secrets are words that nobody may read. They are learned while the tool
// runs, so more can be added. A nil *Secrets hides nothing.
type Secrets struct {
	mu    sync.RWMutex
	words []string
}

// Hidden stands where a secret stood.
const Hidden = "***"

// Add adds words to be hidden.
func (s *Secrets) Add(words ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range words {
		if w != "" && !slices.Contains(s.words, w) {
			s.words = append(s.words, w)
		}
	}
	// The longest first: a secret may contain another one.
	slices.SortFunc(s.words, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
}

// Hide replaces every secret in text.
func (s *Secrets) Hide(text string) string {
	if s == nil {
		return text
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, w := range s.words {
		text = strings.ReplaceAll(text, w, Hidden)
	}
	return text
}

func (s *Secrets) said(b []byte) string {
	text := s.Hide(string(b))
	if len(text) > saidLimit {
		text = text[:saidLimit] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// Redact hides secrets in everything that h says in an error. The result of a
// command that succeeded is left as it is: it is data for the program, which
// may edit a file that holds a password and write it back.
func Redact(h Host, secrets *Secrets) Host { return &redact{h, secrets} }

type redact struct {
	Host
	secrets *Secrets
}

func (r *redact) Run(ctx context.Context, c Cmd) (Result, error) {
	res, err := r.Host.Run(ctx, c)
	if err != nil {
		res = Result{Stdout: r.hide(res.Stdout), Stderr: r.hide(res.Stderr)}
	}
	return res, r.err(err)
}

func (r *redact) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := r.Host.Dial(ctx, network, addr)
	return conn, r.err(err)
}

func (r *redact) hide(b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	return []byte(r.secrets.Hide(string(b)))
}

func (r *redact) err(err error) error {
	var exit *ExitError
	if errors.As(err, &exit) {
		clean := *exit
		clean.Stdout, clean.Stderr = r.hide(exit.Stdout), r.hide(exit.Stderr)
		clean.Argv = slices.Clone(exit.Argv)
		for i := range clean.Argv {
			clean.Argv[i] = r.secrets.Hide(clean.Argv[i])
		}
		return &clean
	}
	if err == nil {
		return nil
	}
	text := say.Of(err)
	clean := say.Text{EN: r.secrets.Hide(text.EN), ZH: r.secrets.Hide(text.ZH)}
	if clean == text {
		return err
	}
	return &redacted{text: clean, err: err}
}

// redacted tells an error without its secrets and is still the same error to errors.As.
type redacted struct {
	text say.Text
	err  error
}

func (r *redacted) Error() string { return r.text.EN }
func (r *redacted) Say() say.Text { return r.text }
func (r *redacted) Unwrap() error { return r.err }

// Retry repeats a command that only reads, up to times more, when the machine
// could not be reached or the answer was lost. A host key that is not trusted
// is never tried again, nor is a command with input, which is used up.
func Retry(h Host, clk wait.Clock, times int) Host { return &retry{h, clk, times} }

type retry struct {
	Host
	clk   wait.Clock
	times int
}

func (r *retry) Run(ctx context.Context, c Cmd) (Result, error) {
	for n := 0; ; n++ {
		res, err := r.Host.Run(ctx, c)
		if c.Effect != ReadOnly || c.Stdin != nil || n >= r.times || !passing(err) || ctx.Err() != nil {
			return res, err
		}
		if r.clk.Sleep(ctx, min(200*time.Millisecond<<min(n, 5), 5*time.Second)) != nil {
			return res, err
		}
	}
}

// passing reports whether err may be gone in a moment.
func passing(err error) bool {
	var lost *LostError
	var unreachable *UnreachableError
	if errors.Is(err, ErrHostKey) {
		return false
	}
	return errors.As(err, &lost) || errors.As(err, &unreachable)
}

// DryRunError is a command that a dry run did not pass on.
type DryRunError struct {
	Node string
	Argv []string
}

func (e *DryRunError) Error() string { return e.Say().EN }

// Say tells it in both languages.
func (e *DryRunError) Say() say.Text {
	return say.Text{
		EN: fmt.Sprintf("%s: a dry run does not run %q", e.Node, shown(e.Argv)),
		ZH: fmt.Sprintf("%s：试运行不会执行 %q", e.Node, shown(e.Argv)),
	}
}

// DryRun passes on only commands that read. Connections are passed on too:
// what is observed is read over them.
func DryRun(h Host) Host { return &dryRun{h} }

type dryRun struct{ Host }

func (d *dryRun) Run(ctx context.Context, c Cmd) (Result, error) {
	if c.Effect != ReadOnly {
		return Result{}, &DryRunError{Node: d.Name(), Argv: c.Argv}
	}
	return d.Host.Run(ctx, c)
}
