// Package journal keeps the history of a run where no crash can lose it: a
// file of chained lines on the control machine, copies of it on the nodes, and
// the lease that lets one operator at a time write it.
//
// Nothing is changed on a host before the record that says so is durable
// (invariant I1). One operator works at a time, and the hosts check it (I8).
// The bytes on disk and the lease protocol are in docs/journal.md.
package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// ErrClosed is returned by Append after Close, and after a write or sync that failed.
var ErrClosed = say.Errorf("the journal is closed", "日志已关闭")

// File is where a journal lies. Write appends. *os.File opened for appending
// is one, *Memory is another.
type File interface {
	io.Writer
	io.ReaderAt
	Sync() error
	Truncate(size int64) error
	Close() error
}

// Journal is one run's history, open for appending. It is safe for use by
// several goroutines.
type Journal struct {
	name string
	clk  wait.Clock

	mu       sync.Mutex
	f        File
	records  []Record
	marks    []mark
	failed   error // set once; nothing is written after it
	watchers []func()
}

// CreateFile makes a new journal at path; it must not exist. The file and its
// directory entry are durable when it returns.
func CreateFile(path string, clk wait.Clock) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, storeProblem(path, "create", err)
	}
	if err := errors.Join(f.Sync(), syncDir(filepath.Dir(path))); err != nil {
		return nil, storeProblem(path, "create", errors.Join(err, f.Close()))
	}
	return Use(path, f, clk)
}

// OpenFile opens the journal at path for appending: it verifies all of it and cuts
// off a torn tail.
func OpenFile(path string, clk wait.Clock) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, storeProblem(path, "open", err)
	}
	j, err := Use(path, f, clk)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

// Use opens the journal that lies in f. clk stamps records that have no time
// yet; with a nil clock the caller stamps them.
func Use(name string, f File, clk wait.Clock) (*Journal, error) {
	l, err := Read(io.NewSectionReader(f, 0, math.MaxInt64), name)
	if err != nil {
		return nil, err
	}
	if l.Torn > 0 {
		if err := errors.Join(f.Truncate(l.Size), f.Sync()); err != nil {
			return nil, storeProblem(name, "repair", err)
		}
	}
	return &Journal{name: name, clk: clk, f: f, records: l.Records, marks: l.marks}, nil
}

// Name returns the path it was opened with.
func (j *Journal) Name() string { return j.name }

// Append makes the records durable before it returns: one write, one sync. It
// sets Seq, and Time where it is zero. After a failure the journal is closed
// for good: what is on disk is only known after it was read again. The context
// is not heeded: an outcome is to be recorded also when the run was cancelled.
func (j *Journal) Append(_ context.Context, rs ...Record) error {
	if len(rs) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return j.failed
	}
	if err := j.append(slices.Clone(rs)); err != nil {
		return err
	}
	for _, w := range j.watchers {
		w()
	}
	return nil
}

func (j *Journal) append(rs []Record) error {
	head := j.head()
	end, prev := j.size(), head.Hash
	var lines []byte
	marks := make([]mark, 0, len(rs))
	for i := range rs {
		r := &rs[i]
		r.Seq = head.Seq + 1 + i
		if r.Time.IsZero() && j.clk != nil {
			r.Time = j.clk.Now()
		}
		r.Time = r.Time.UTC().Round(0)
		var err error
		if lines, prev, err = appendLine(lines, prev, r); err != nil {
			return err // nothing was written, so the journal stays usable
		}
		marks = append(marks, mark{end: end + int64(len(lines)), hash: prev})
	}
	if _, err := j.f.Write(lines); err != nil {
		if len(j.records) == 0 {
			return j.fail("create", err) // there is no run yet that could be resumed
		}
		return j.fail("write", err)
	}
	if err := j.f.Sync(); err != nil {
		return j.fail("sync", err)
	}
	j.records = append(j.records, rs...)
	j.marks = append(j.marks, marks...)
	return nil
}

// fail closes the journal for good.
func (j *Journal) fail(op string, err error) error {
	err = storeProblem(j.name, op, err)
	j.failed = fmt.Errorf("%w after: %w", ErrClosed, err)
	_ = j.f.Close() // the first error is the one that counts
	return err
}

// Records returns all records so far. The caller must not change them.
func (j *Journal) Records() []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clip(j.records)
}

// Head returns the position of the last durable record.
func (j *Journal) Head() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head()
}

// Size returns the number of durable bytes.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size()
}

// Bytes returns the durable bytes from offset from on.
func (j *Journal) Bytes(from int64) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return nil, j.failed
	}
	b := make([]byte, j.size()-from)
	if _, err := j.f.ReadAt(b, from); err != nil && !(errors.Is(err, io.EOF) && len(b) == 0) {
		return nil, say.Errorf("read journal %s: %w", "读取日志 %s：%w", j.name, err)
	}
	return b, nil
}

// Close closes the file. Everything appended is durable already.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return nil
	}
	j.failed = ErrClosed
	return j.f.Close()
}

// watch calls fn after each append, with the journal locked: fn must not block.
func (j *Journal) watch(fn func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.watchers = append(j.watchers, fn)
}

func (j *Journal) head() Position {
	l := Log{marks: j.marks}
	return l.Head()
}

func (j *Journal) size() int64 {
	if len(j.marks) == 0 {
		return 0
	}
	return j.marks[len(j.marks)-1].end
}

// Memory is a File in memory. The zero value is empty.
type Memory struct {
	mu   sync.Mutex
	data []byte
}

// NewMemory returns an empty journal that lies in memory; it has the same
// bytes and the same rules as one on disk.
func NewMemory(clk wait.Clock) *Journal {
	return &Journal{name: "memory", clk: clk, f: &Memory{}}
}

// Write appends p.
func (m *Memory) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = append(m.data, p...)
	return len(p), nil
}

// ReadAt reads from offset off.
func (m *Memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Bytes returns a copy of what was written.
func (m *Memory) Bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.data)
}

// Truncate cuts it to size bytes.
func (m *Memory) Truncate(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = m.data[:min(size, int64(len(m.data)))]
	return nil
}

// Sync does nothing.
func (*Memory) Sync() error { return nil }

// Close does nothing: the bytes stay, as those of a file do.
func (*Memory) Close() error { return nil }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

var opZH = map[string]string{
	"create": "创建", "open": "打开", "read": "读取", "write": "写入", "sync": "落盘", "list": "列出", "lock": "锁定", "repair": "修复",
}

// storeProblem tells a person what is wrong with a file on the control machine.
func storeProblem(path, op string, err error) error {
	p := &say.Problem{Place: path, Err: err,
		Text: say.Text{EN: "cannot " + op + " the journal", ZH: "无法" + opZH[op] + "日志"},
		Next: say.F("use another directory: --state-dir DIR (or set XDG_STATE_HOME)", "改用其他目录：--state-dir 目录（或设置 XDG_STATE_HOME）")}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		p.Text = say.F("no room left on the control machine for the journal", "控制机磁盘空间不足，无法写日志")
		p.Next = say.F("free space on the file system of %s and type: shiplift resume", "清理 %s 所在文件系统的空间后执行：shiplift resume", path)
		if op == "create" {
			p.Next = say.F("free space on the file system of %s, or use another directory: --state-dir DIR", "清理 %s 所在文件系统的空间，或改用其他目录：--state-dir 目录", path)
		}
	case errors.Is(err, syscall.EROFS):
		p.Text = say.F("the file system is read-only: the journal cannot be kept there", "文件系统只读，日志无法写入")
	case errors.Is(err, os.ErrPermission):
		p.Text = say.F("no permission to keep the journal there", "没有权限在此处保存日志")
	case errors.Is(err, os.ErrExist):
		p.Text = say.F("a journal of this name exists already", "同名日志已存在")
		p.Next = say.F("shiplift status", "shiplift status")
	}
	return p
}
