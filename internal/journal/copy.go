package journal

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// CopyFile returns where the copy of a run's journal lies on a node.
func CopyFile(inv *cluster.Inventory, node, run string) string {
	return path.Join(StateDir(inv, node), run+suffix)
}

// copyTimeout bounds one command of a copy; a journal is small.
const copyTimeout = 30 * time.Second

// DivergedError says that two copies of a run's journal went different ways:
// two operators wrote it, and each holds changes the other does not know.
type DivergedError struct {
	Run    string
	A, B   string // where they lie
	Common int    // records that both begin with
}

// Unwrap returns the sentence with its next step.
func (e *DivergedError) Unwrap() error {
	return &say.Problem{
		Place: e.B,
		Text: say.F("the journal of run %s here is another one than on %s: they are the same up to record %d only",
			"运行 %s 的日志与 %s 上的不是同一份：仅前 %d 条记录一致", e.Run, e.A, e.Common),
		Next: say.F("compare what both say was done, move the wrong one away, then: shiplift resume", "比较两份日志所记录的操作，移走错误的一份，然后执行：shiplift resume"),
	}
}

func (e *DivergedError) Error() string { return e.Unwrap().Error() }

// Say tells which histories differ.
func (e *DivergedError) Say() say.Text { return say.Of(e.Unwrap()) }

// mattersAlone reports whether records that only one history holds say that
// something was changed or decided. What a cut-off process merely noted may be
// overwritten by its successor.
func mattersAlone(rs []Record) bool {
	for _, r := range rs {
		switch r.Kind {
		case Begin, Intent, Crossed, Turn, Skipped, End:
			return true
		case Open, Outcome, Probed, Note, Left:
		}
	}
	return false
}

// copying brings one node's copy up to date. Only one goroutine at a time uses it.
type copying struct {
	r     *Replicator
	node  string
	known bool  // the node's copy is ours up to acked
	acked int64 // durable on the node
}

// catchUp appends what the node's copy lacks, as one write. After an error
// nobody knows what the copy holds; the next call reads it.
func (c *copying) catchUp(ctx context.Context) (err error) {
	h := c.r.hosts[c.node]
	file := CopyFile(c.r.inv, c.node, c.r.run)
	defer func() {
		if err != nil {
			c.known = false
		}
	}()
	if !c.known {
		if c.acked, err = c.compare(ctx, h, file); err != nil {
			return err
		}
		c.known = true
	}
	lines, err := c.r.j.Bytes(c.acked)
	if err != nil || len(lines) == 0 {
		return err
	}
	if c.acked == 0 {
		err = c.replace(ctx, h, file, lines)
	} else {
		err = c.append(ctx, h, file, lines)
	}
	if err != nil {
		return err
	}
	c.acked += int64(len(lines))
	return nil
}

func (c *copying) append(ctx context.Context, h host.Host, file string, lines []byte) error {
	_, err := h.Run(ctx, host.Cmd{
		Argv:    []string{"dd", "of=" + file, "oflag=append", "conv=notrunc,fsync", "bs=64k"},
		Stdin:   bytes.NewReader(lines),
		Timeout: copyTimeout,
	})
	return err
}

func (c *copying) replace(ctx context.Context, h host.Host, file string, lines []byte) error {
	if _, err := h.Run(ctx, host.Change("mkdir", "-p", path.Dir(file))); err != nil {
		return err
	}
	return host.WriteFile(ctx, h, file, lines, 0o600)
}

// compare reads the node's copy and returns how much of it can stay: all of a
// prefix of ours, wherever it was cut, else nothing. A copy that tells of
// changes which ours does not know is not overwritten.
func (c *copying) compare(ctx context.Context, h host.Host, file string) (int64, error) {
	theirs, err := host.ReadFile(ctx, h, file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	ours, err := c.r.j.Bytes(0)
	if err != nil {
		return 0, err
	}
	if bytes.HasPrefix(ours, theirs) {
		return int64(len(theirs)), nil
	}
	mine := c.r.j.log()
	l, _ := Parse(file, theirs) // what verifies counts; the rest is written anew
	common := l.Common(&mine)
	if mattersAlone(l.Records[common:]) {
		return 0, &DivergedError{Run: c.r.run, A: c.r.j.Name(), B: c.node + ":" + file, Common: common}
	}
	return 0, nil
}

// log is the journal as if it had been read.
func (j *Journal) log() Log {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Log{Records: j.records[:len(j.records):len(j.records)], Size: j.size(), marks: j.marks[:len(j.marks):len(j.marks)]}
}

func copyProblem(node string, err error) error {
	return &say.Problem{
		Place: node,
		Text:  say.F("the copy of the journal cannot be stored there, so nothing is changed there", "无法在该节点保存日志副本，因此不在该节点做任何修改"),
		Next:  say.F("check the connection and the free room of %s, then: shiplift resume", "检查 %s 的连接和剩余空间，然后执行：shiplift resume", node),
		Err:   say.Errorf("copy of the journal: %w", "日志副本：%w", err),
	}
}
