package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/say"
)

// Fault is a kind of trouble that a lab's node can be given, or its end.
type Fault string

// The faults, each with the one that ends it.
const (
	KillServer    Fault = "kill-server"    // the server's processes vanish as in a power cut
	StopServer    Fault = "stop-server"    // a fast stop
	StartServer   Fault = "start-server"   // starts a server that does not run
	RestartServer Fault = "restart-server" // a fast stop and a start
	RestartNode   Fault = "restart-node"   // ssh drops, the server is killed, both come back

	CutSSH     Fault = "cut-ssh"    // connections break, new ones are refused
	FreezeSSH  Fault = "freeze-ssh" // connections stand, nothing passes
	RestoreSSH Fault = "restore-ssh"

	Promote Fault = "promote" // somebody makes a standby a primary; nothing ends it but a new lab

	FreezeReplay Fault = "freeze-replay" // the standby receives and does not replay
	ThawReplay   Fault = "thaw-replay"

	// FillDisk makes the commands of a login (dd, tar, cp, mkdir) fail as on a
	// full disk, and df say so. The database server is not touched: without
	// root there is no quota to fill for it.
	FillDisk Fault = "fill-disk"
	FreeDisk Fault = "free-disk"

	SkewClock  Fault = "skew-clock" // date on the node says five minutes more
	RightClock Fault = "right-clock"

	HoldTransaction    Fault = "hold-transaction" // a client's transaction stays open
	ReleaseTransaction Fault = "release-transaction"
	HoldPrepared       Fault = "hold-prepared" // a prepared transaction stays
	ReleasePrepared    Fault = "release-prepared"
)

// faultDo says how each fault is done, and whether only the process that holds
// the ssh servers can do it.
var faultDo = map[Fault]struct {
	held bool
	do   func(*Lab, context.Context, Node) error
}{
	KillServer:  {do: func(l *Lab, ctx context.Context, n Node) error { return l.server(n).kill(ctx) }},
	StopServer:  {do: (*Lab).stopServer},
	StartServer: {do: (*Lab).startServer},
	RestartServer: {do: func(l *Lab, ctx context.Context, n Node) error {
		return inOrder(l, ctx, n, (*Lab).stopServer, (*Lab).startServer)
	}},
	RestartNode:  {held: true, do: (*Lab).restartNode},
	CutSSH:       {held: true, do: func(l *Lab, _ context.Context, n Node) error { return l.machines.cut(n.Name) }},
	FreezeSSH:    {held: true, do: func(l *Lab, _ context.Context, n Node) error { return l.machines.freeze(n.Name) }},
	RestoreSSH:   {held: true, do: func(l *Lab, _ context.Context, n Node) error { return l.machines.restore(n.Name) }},
	Promote:      {do: func(l *Lab, ctx context.Context, n Node) error { return l.tell(ctx, n, "SELECT pg_promote()") }},
	FreezeReplay: {do: func(l *Lab, ctx context.Context, n Node) error { return l.tell(ctx, n, "SELECT pg_wal_replay_pause()") }},
	ThawReplay: {do: func(l *Lab, ctx context.Context, n Node) error {
		return l.tell(ctx, n, "SELECT pg_wal_replay_resume()")
	}},
	FillDisk:           {do: func(l *Lab, _ context.Context, n Node) error { return l.mark(n, diskFull, "") }},
	FreeDisk:           {do: func(l *Lab, _ context.Context, n Node) error { return l.unmark(n, diskFull) }},
	SkewClock:          {do: func(l *Lab, _ context.Context, n Node) error { return l.mark(n, clockSkew, "300\n") }},
	RightClock:         {do: func(l *Lab, _ context.Context, n Node) error { return l.unmark(n, clockSkew) }},
	HoldTransaction:    {held: true, do: (*Lab).holdTransaction},
	ReleaseTransaction: {held: true, do: (*Lab).releaseTransaction},
	HoldPrepared:       {do: (*Lab).holdPrepared},
	ReleasePrepared:    {do: func(l *Lab, ctx context.Context, n Node) error { return l.tell(ctx, n, "ROLLBACK PREPARED 'lab'") }},
}

// Faults returns all kinds of faults in the order of their names.
func Faults() []Fault {
	var out []Fault
	for f := range faultDo {
		out = append(out, f)
	}
	slices.Sort(out)
	return out
}

// Break gives a node of the lab in dir a fault, or ends one.
func Break(ctx context.Context, dir, node string, f Fault) error {
	l, err := Open(dir)
	if err != nil {
		return err
	}
	return l.Break(ctx, node, f)
}

// Break gives a node a fault, or ends one.
func (l *Lab) Break(ctx context.Context, node string, f Fault) error {
	if _, err := l.spec.node(node); err != nil {
		return err
	}
	how, ok := faultDo[f]
	if !ok {
		return &say.Problem{
			Place: string(f),
			Text:  say.F("no such fault; known: %v", "没有该故障类型；已有：%v", Faults()),
			Next:  say.Same("shiplift lab break --help"),
		}
	}
	req := request{Node: node, Fault: f}
	if how.held && l.machines == nil {
		return lab.Ask(ctx, l.Dir, req, nil)
	}
	return l.doHere(ctx, req)
}

func (l *Lab) doHere(ctx context.Context, req request) error {
	n, err := l.spec.node(req.Node)
	if err != nil {
		return err
	}
	how, ok := faultDo[req.Fault]
	if !ok {
		return fmt.Errorf("no fault %q", req.Fault)
	}
	if err := how.do(l, ctx, n); err != nil {
		return fmt.Errorf("%s on %s: %w", req.Fault, n.Name, err)
	}
	return nil
}

func inOrder(l *Lab, ctx context.Context, n Node, steps ...func(*Lab, context.Context, Node) error) error {
	for _, step := range steps {
		if err := step(l, ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) stopServer(_ context.Context, n Node) error {
	if _, up := l.server(n).postmaster(); !up {
		return nil
	}
	return l.server(n).stop("fast")
}

func (l *Lab) startServer(_ context.Context, n Node) error {
	if _, up := l.server(n).postmaster(); up {
		return nil
	}
	return l.server(n).start()
}

func (l *Lab) restartNode(ctx context.Context, n Node) error {
	if err := l.machines.cut(n.Name); err != nil {
		return err
	}
	err := inOrder(l, ctx, n, func(l *Lab, ctx context.Context, n Node) error { return l.server(n).kill(ctx) }, (*Lab).startServer)
	return errors.Join(err, l.machines.restore(n.Name))
}

// tell lets a node's server do one statement.
func (l *Lab) tell(ctx context.Context, n Node, statement string) error {
	c, err := l.Connect(ctx, n.Name, App)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	_, err = c.Exec(ctx, statement)
	return err
}

func (l *Lab) holdPrepared(ctx context.Context, n Node) error {
	return l.tell(ctx, n, "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'lab'")
}

// held is the transactions that a lab keeps open, by node.
type held struct {
	mu    sync.Mutex
	conns map[string]*pgx.Conn
}

func (l *Lab) holdTransaction(ctx context.Context, n Node) error {
	h := &l.machines.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns[n.Name] != nil {
		return nil
	}
	c, err := l.Connect(ctx, n.Name, App)
	if err != nil {
		return err
	}
	// On a standby a transaction gets no number; a snapshot is what it can hold.
	if _, err := c.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_xact_id() END"); err != nil {
		return errors.Join(err, c.Close(ctx))
	}
	if h.conns == nil {
		h.conns = map[string]*pgx.Conn{}
	}
	h.conns[n.Name] = c
	return nil
}

func (l *Lab) releaseTransaction(ctx context.Context, n Node) error {
	h := &l.machines.held
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.conns[n.Name]
	delete(h.conns, n.Name)
	if c == nil {
		return nil
	}
	_ = c.Close(ctx) // the server may be gone, and the transaction with it
	return nil
}

func (h *held) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, c := range h.conns {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // do not wait for a server that is gone
		_ = c.Close(ctx)
		delete(h.conns, name)
	}
}

// The files beside a node's tools that turn them into those of a broken machine.
const (
	diskFull  = "disk-full"
	clockSkew = "clock-skew"
)

func (l *Lab) mark(n Node, name, body string) error {
	return l.spec.Account.write(filepath.Join(filepath.Dir(n.Home), name), body, 0o644)
}

func (l *Lab) unmark(n Node, name string) error {
	err := os.Remove(filepath.Join(filepath.Dir(n.Home), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// faults returns the faults of a node that lie on its disk.
func (l *Lab) faults(n Node) []string {
	var out []string
	for name, f := range map[string]Fault{diskFull: FillDisk, clockSkew: SkewClock} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(n.Home), name)); err == nil {
			out = append(out, string(f))
		}
	}
	slices.Sort(out)
	return out
}

// toolScripts stand in front of the machine's own tools in a login's PATH. In
// each, {real} is the machine's own and {node} the node's directory, quoted.
var toolScripts = map[string]string{
	"dd": `for a; do case $a in of=*) of=${a#of=};; esac; done
if [ -e {node}/disk-full ] && [ -n "$of" ] && [ "$of" != /dev/null ]; then
	: >>"$of" 2>/dev/null
	echo "dd: error writing '$of': No space left on device" >&2
	exit 1
fi
`,
	"tar": `for a; do case $a in -*x*|x*|--extract|--get) extract=1;; --*) ;; esac; done
if [ -e {node}/disk-full ] && [ -n "$extract" ]; then
	echo "tar: Cannot write: No space left on device" >&2
	echo "tar: Exiting with failure status due to previous errors" >&2
	exit 2
fi
`,
	"cp": `if [ -e {node}/disk-full ]; then
	for a; do last=$a; done
	echo "cp: error writing '$last': No space left on device" >&2
	exit 1
fi
`,
	"mkdir": `if [ -e {node}/disk-full ]; then
	for a; do last=$a; done
	[ -d "$last" ] || { echo "mkdir: cannot create directory '$last': No space left on device" >&2; exit 1; }
fi
`,
	"df": `if [ -e {node}/disk-full ]; then
	{real} "$@" | awk 'NR == 1 { for (i = 1; i <= NF; i++) if ($i ~ /^Avail/) a = i; print; next } { if (a) $a = 0; print }'
	exit 0
fi
`,
	"date": `if [ -e {node}/clock-skew ]; then
	read -r s <{node}/clock-skew
	exec {real} -d "now + $s seconds" "$@"
fi
`,
}

// makeTools writes the tools that faults act through. They do nothing but call
// the machine's own as long as there is no fault.
func (l *Lab) makeTools(n Node) error {
	acc := l.spec.Account
	if err := acc.mkdir(n.Tools, 0o755); err != nil {
		return err
	}
	for name, script := range toolScripts {
		real, err := exec.LookPath(name)
		if err != nil {
			continue // a machine without the tool stays without it
		}
		body := strings.NewReplacer("{real}", quoteShell(real), "{node}", quoteShell(filepath.Dir(n.Home))).
			Replace("#!/bin/sh\n" + script + `exec {real} "$@"` + "\n")
		if err := acc.write(filepath.Join(n.Tools, name), body, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func quoteShell(v string) string { return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'" }
