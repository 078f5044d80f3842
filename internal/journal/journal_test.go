package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/say"
)

var t0 = time.Date(2026, 7, 11, 2, 3, 4, 0, time.UTC)

// sample returns records as a run writes them.
func sample(n int) []Record {
	rs := []Record{{Kind: Begin, Time: t0, Run: "20260711T020304Z-7f3a", Plan: json.RawMessage(`{"format":1,"to":"15.17"}`)}}
	for i := 1; i < n; i++ {
		why := say.F("db%d <does> not answer", "db%d 没有应答", i)
		rs = append(rs, Record{Kind: Intent, Time: t0.Add(time.Duration(i) * time.Second), Step: fmt.Sprintf("db%d/switch", i), Attempt: 1, Error: &why})
	}
	return rs
}

func write(t *testing.T, j *Journal, rs ...Record) {
	t.Helper()
	for _, r := range rs {
		if err := j.Append(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func bytesOf(t *testing.T, n int) []byte {
	t.Helper()
	j := NewMemory(nil)
	write(t, j, sample(n)...)
	b, err := j.Bytes(0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppendedRecordsAreReadBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "run.journal")
	j, err := CreateFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, j, sample(3)...)
	if err := j.Append(context.Background(), sample(3)[1:]...); err != nil {
		t.Fatal(err)
	}
	want, head := j.Records(), j.Head()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(context.Background(), Record{Kind: Note}); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	l, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, l.Records); d != "" {
		t.Error(d)
	}
	if l.Head() != head || head.Seq != 5 {
		t.Errorf("head %v, want %v", l.Head(), head)
	}
	if _, err := CreateFile(path, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("create over a journal: %v", err)
	}
}

func TestACutAtAnyByteReplaysToTheLastWholeRecord(t *testing.T) {
	t.Parallel()
	data := bytesOf(t, 4)
	full, err := Parse("j", data)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range data {
		l, err := Parse("j", data[:cut])
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		n := 0
		for n < len(full.marks) && full.marks[n].end <= int64(cut) {
			n++
		}
		if len(l.Records) != n || l.Size+l.Torn != int64(cut) || (l.Torn > 0) != (l.Size != int64(cut)) {
			t.Fatalf("cut at %d: %d records, size %d, torn %d; want %d records", cut, len(l.Records), l.Size, l.Torn, n)
		}
		if !l.IsPrefixOf(&full) {
			t.Fatalf("cut at %d is not a prefix", cut)
		}
		reopenTorn(t, data[:cut], n)
	}
}

// reopenTorn opens a cut journal, appends, and reads it all back.
func reopenTorn(t *testing.T, data []byte, n int) {
	t.Helper()
	m := &Memory{data: append([]byte(nil), data...)}
	j, err := Use("j", m, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, j, Record{Kind: Note, Time: t0})
	l, err := Parse("j", m.Bytes())
	if err != nil || len(l.Records) != n+1 || l.Torn != 0 {
		t.Fatalf("after cut at %d and append: %d records, torn %d, %v", len(data), len(l.Records), l.Torn, err)
	}
}

func TestAnyChangedByteIsDamageAndNeverTorn(t *testing.T) {
	t.Parallel()
	data := bytesOf(t, 3)
	full, _ := Parse("j", data)
	for at := range data {
		line := 1
		for full.marks[line-1].end <= int64(at) {
			line++
		}
		for _, mask := range []byte{0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff, data[at], data[at] ^ '\n', data[at] ^ '}', data[at] ^ '0'} {
			if mask == 0 {
				continue
			}
			bad := append([]byte(nil), data...)
			bad[at] ^= mask
			l, err := Parse("run.journal", bad)
			var de *DamageError
			if !errors.As(err, &de) || l.Torn != 0 {
				t.Fatalf("byte %d xor %#x: torn %d, error %v", at, mask, l.Torn, err)
			}
			if de.Line != line || de.File != "run.journal" || len(l.Records) != line-1 {
				t.Fatalf("byte %d of line %d: error names %s:%d after %d records", at, line, de.File, de.Line, len(l.Records))
			}
		}
	}
}

func TestDamageNamesFileLineAndRecord(t *testing.T) {
	t.Parallel()
	lines := strings.SplitAfter(string(bytesOf(t, 4)), "\n")[:4]
	tests := map[string]struct {
		lines []string
		want  string
	}{
		"a line is missing":         {[]string{lines[0], lines[2], lines[3]}, "j:2: record 2 of the journal is damaged: it does not follow"},
		"the first line is missing": {lines[1:], "j:1: record 1 of the journal is damaged: it does not follow"},
		"a line is there twice":     {[]string{lines[0], lines[1], lines[1]}, "j:3: record 3 of the journal is damaged: it does not follow"},
		"two lines are swapped":     {[]string{lines[0], lines[2], lines[1]}, "j:2: record 2 of the journal is damaged: it does not follow"},
		"bytes are taken out":       {[]string{lines[0], lines[1][:300] + lines[1][305:]}, "j:2: record 2 of the journal is damaged: it is shorter"},
		"bytes are put in":          {[]string{lines[0], lines[1][:300] + "abc" + lines[1][300:]}, "j:2: record 2 of the journal is damaged: its content"},
		"it is another file":        {[]string{"hello\n"}, "j:1: record 1 of the journal is damaged: the head"},
		"something stands behind":   {[]string{lines[0], "\n"}, "j:2: record 2 of the journal is damaged: the head"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("j", []byte(strings.Join(tc.lines, "")))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %s", err, tc.want)
			}
			var p *say.Problem
			if !errors.As(err, &p) || p.Next.IsZero() {
				t.Error("no next step")
			}
		})
	}
}

func TestALengthBeyondTheBoundIsRefusedBeforeItIsRead(t *testing.T) {
	t.Parallel()
	line := bytesOf(t, 1)
	copy(line[lenAt:], "f0000000")
	copy(line[crcAt:], lengthSum([]byte("f0000000")))
	if _, err := Parse("j", line); err == nil || !strings.Contains(err.Error(), "length") {
		t.Fatal(err)
	}
}

func TestOtherHistoriesAreNotMistaken(t *testing.T) {
	t.Parallel()
	a, _ := Parse("a", bytesOf(t, 4))
	b := NewMemory(nil)
	write(t, b, sample(2)...)
	write(t, b, Record{Kind: Note, Time: t0}, Record{Kind: Note, Time: t0})
	raw, _ := b.Bytes(0)
	l, _ := Parse("b", raw)
	if l.IsPrefixOf(&a) || a.IsPrefixOf(&l) || a.Common(&l) != 2 {
		t.Fatalf("common %d", a.Common(&l))
	}
	if a.Holds(l.Head()) || !a.Holds(Position{}) {
		t.Fatal("positions are mistaken")
	}
}

// broken fails at the n-th write or sync.
type broken struct {
	Memory
	writeErr, syncErr error
}

func (b *broken) Write(p []byte) (int, error) {
	if b.writeErr != nil {
		n, _ := b.Memory.Write(p[:len(p)/2])
		return n, b.writeErr
	}
	return b.Memory.Write(p)
}

func (b *broken) Sync() error { return b.syncErr }

func TestAfterAFailedWriteTheJournalIsClosedForGood(t *testing.T) {
	t.Parallel()
	tests := map[string]*broken{
		"write": {writeErr: syscall.ENOSPC},
		"sync":  {syncErr: syscall.EIO},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			writeErr, syncErr := f.writeErr, f.syncErr
			f.writeErr, f.syncErr = nil, nil
			j, err := Use("j", f, nil)
			if err != nil {
				t.Fatal(err)
			}
			write(t, j, sample(2)...)
			f.writeErr, f.syncErr = writeErr, syncErr
			err = j.Append(context.Background(), sample(2)...)
			var p *say.Problem
			if !errors.As(err, &p) || p.Place != "j" || p.Next.IsZero() {
				t.Fatalf("got %v", err)
			}
			f.writeErr, f.syncErr = nil, nil
			if err := j.Append(context.Background(), Record{Kind: Note}); !errors.Is(err, ErrClosed) {
				t.Fatalf("second append: %v", err)
			}
			if n := len(j.Records()); n != 2 {
				t.Fatalf("%d records acknowledged", n)
			}
			l, err := Parse("j", f.Bytes())
			if err != nil || len(l.Records) < 2 {
				t.Fatalf("what is left does not replay: %v", err)
			}
		})
	}
}

func TestARealFullDiskSaysWhatToDo(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	tests := map[string]struct {
		before []Record
		next   string
	}{
		"in its very first record: there is no run to resume": {nil, "or use another directory: --state-dir DIR"},
		"in the middle of a run":                              {sample(1), "and type: shiplift resume"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
			if err != nil {
				t.Skip(err)
			}
			j := &Journal{name: "/state/run.journal", f: f, records: tc.before, marks: make([]mark, len(tc.before))}
			err = j.Append(context.Background(), sample(1)...)
			var p *say.Problem
			if !errors.As(err, &p) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(p.Next.EN, tc.next) {
				t.Fatalf("got %v, next %+v", err, p)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	j := NewMemory(nil)
	for _, r := range sample(3) {
		_ = j.Append(context.Background(), r)
	}
	data, _ := j.Bytes(0)
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Add(data[:300])
	f.Add([]byte(`{"v":1,"len":"`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse("j", b)
		if int(l.Size+l.Torn) > len(b) || len(l.Records) != l.Head().Seq {
			t.Fatal("positions do not add up")
		}
		if err == nil && l.Size+l.Torn != int64(len(b)) {
			t.Fatal("bytes are neither verified nor torn")
		}
		again, err := Parse("j", b[:l.Size])
		if err != nil || again.Head() != l.Head() || again.Torn != 0 {
			t.Fatal("what verified does not verify again")
		}
	})
}

func BenchmarkAppendSync(b *testing.B) {
	j, err := CreateFile(filepath.Join(b.TempDir(), "j"), nil)
	if err != nil {
		b.Fatal(err)
	}
	r := sample(2)[1]
	for b.Loop() {
		if err := j.Append(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMemory(b *testing.B) {
	j := NewMemory(nil)
	r := sample(2)[1]
	b.ReportAllocs()
	for b.Loop() {
		if err := j.Append(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEveryOperationHasItsChineseName(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"create", "open", "read", "write", "sync", "list", "lock", "repair"} {
		if say.Of(storeProblem("p", op, errors.New("x"))).ZH != "p：无法"+opZH[op]+"日志：x" || opZH[op] == "" {
			t.Error(op)
		}
	}
}

func TestAPositionSurvivesJSON(t *testing.T) {
	t.Parallel()
	l, err := Parse("j", bytesOf(t, 2))
	must(t, err)
	b, err := json.Marshal(l.Head())
	must(t, err)
	var p Position
	must(t, json.Unmarshal(b, &p))
	if !l.Holds(p) || json.Unmarshal([]byte(`{"hash":"abc"}`), &p) == nil {
		t.Fatalf("%s became %v", b, p)
	}
}
