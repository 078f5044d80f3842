// Package host reaches one machine and runs commands there.
//
// Everything the tool does to a machine is a command: files are read with cat,
// written with dd and mv, packages are appended with dd. So one small
// interface carries all of it, and audit, redaction, retry, fencing and
// dry-run are wrappers that see everything. A database connection is a Dial.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/say"
)

// Effect says whether a command may change the machine.
type Effect int

// The effects of a command. The zero value is the careful one.
const (
	Changes  Effect = iota // may change the machine: fenced, never repeated by a wrapper
	ReadOnly               // only reads: may be repeated, allowed in a dry run
)

// Cmd is one command. Argv is passed as it is, word by word; the transport
// quotes it. A secret may only travel in Stdin (invariant I10).
type Cmd struct {
	Argv    []string
	Stdin   io.Reader
	Effect  Effect
	Timeout time.Duration // 0: DefaultTimeout; a negative one: only the context ends it
	// Private: what the command prints holds a secret, so the audit keeps none
	// of it (I10).
	Private bool
}

// DefaultTimeout ends a command that says nothing about its own.
const DefaultTimeout = 60 * time.Second

// Result is what a command that ended with status 0 said.
type Result struct {
	Stdout, Stderr []byte
}

// Text returns standard output without the line end behind it.
func (r Result) Text() string { return strings.TrimRight(string(r.Stdout), "\r\n") }

// ExitError is a command that ran and ended with another status than 0.
// Any other error of Run leaves open whether the command ran.
type ExitError struct {
	Node   string
	Argv   []string
	Code   int // 128+n when signal n ended it
	Stdout []byte
	Stderr []byte
}

func (e *ExitError) Error() string {
	said := strings.TrimSpace(string(e.Stderr))
	if said == "" {
		said = strings.TrimSpace(string(e.Stdout))
	}
	if len(said) > 500 {
		said = said[:500] + "…"
	}
	return fmt.Sprintf("%s: %s: exit status %d: %s", e.Node, named(e.Argv), e.Code, said)
}

// named is a command for a person. A script is named by the word behind it: its
// lines say nothing to who reads an error.
func named(argv []string) string {
	s := strings.Join(unscripted(argv), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "…"
	}
	return s
}

// UnreachableError is a machine that could not be reached: the command
// certainly did not start.
type UnreachableError struct {
	Node string
	Addr string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%s: cannot reach %s: %v", e.Node, e.Addr, e.Err)
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// ErrHostKey is in the chain of an UnreachableError when the host key is
// unknown or has changed; it is never retried.
var ErrHostKey = say.Errorf("host key not trusted", "主机密钥不受信任")

// ErrFenced means that another operator with a newer lease has taken the node over.
var ErrFenced = say.Errorf("another operation has taken over", "另一操作已接管")

func unscripted(argv []string) []string {
	if len(argv) > 3 && argv[0] == "sh" && argv[1] == "-c" && strings.Contains(argv[2], "\n") {
		return argv[3:]
	}
	return argv
}

// Host reaches one machine. It is safe for use by several goroutines.
//
// Run has three outcomes and callers treat them differently: nil, the command
// ended with status 0; *ExitError, it ran and failed; any other error, nobody
// knows whether it ran (unless it is *UnreachableError), so probe. When ctx
// ends or the timeout passes, Run returns and the remote command is ended.
type Host interface {
	Name() string
	Run(ctx context.Context, c Cmd) (Result, error)
	// Dial connects from the machine to addr ("tcp", "127.0.0.1:5432" or
	// "unix", "/run/x.sock") as a program that runs on it would.
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
	Close() error
}

// Set is the machines of a cluster by node name.
type Set map[string]Host

// Close closes all of them.
func (s Set) Close() error {
	var errs []error
	for _, h := range s {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// Read is a command that only reads.
func Read(argv ...string) Cmd { return Cmd{Argv: argv, Effect: ReadOnly} }

// Change is a command that may change the machine.
func Change(argv ...string) Cmd { return Cmd{Argv: argv} }

// IsExit reports whether err says that a command ran and ended with one of
// codes, or with any status other than 0 when none is given.
func IsExit(err error, codes ...int) bool {
	var ee *ExitError
	if !errors.As(err, &ee) {
		return false
	}
	for _, c := range codes {
		if ee.Code == c {
			return true
		}
	}
	return len(codes) == 0
}
