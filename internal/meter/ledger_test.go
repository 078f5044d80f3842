package meter

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	ack, ref, unk := Acknowledged, Refused, Unknown
	r := func(seq int64) Row { return Row{Seq: seq} }
	tests := map[string]struct {
		sent   []Outcome
		stored map[Row]int
		want   Verdict
	}{
		"all is there":                      {[]Outcome{ack, ack}, map[Row]int{r(1): 1, r(2): 1}, Verdict{Acknowledged: 2}},
		"a lost row is found":               {[]Outcome{ack, ack}, map[Row]int{r(1): 1}, Verdict{Acknowledged: 2, Missing: 1, Examples: []Row{r(2)}}},
		"a duplicate is found":              {[]Outcome{ack}, map[Row]int{r(1): 3}, Verdict{Acknowledged: 1, Duplicates: 2, Examples: []Row{r(1)}}},
		"an unknown row may be stored":      {[]Outcome{unk}, map[Row]int{r(1): 1}, Verdict{UnknownStored: 1}},
		"an unknown row may be absent":      {[]Outcome{unk}, nil, Verdict{UnknownAbsent: 1}},
		"an unknown row is not there twice": {[]Outcome{unk}, map[Row]int{r(1): 2}, Verdict{UnknownStored: 1, Duplicates: 1, Examples: []Row{r(1)}}},
		"a refused row must not be there":   {[]Outcome{ref}, map[Row]int{r(1): 1}, Verdict{Unexpected: 1, Examples: []Row{r(1)}}},
		"a refused row is absent":           {[]Outcome{ref}, nil, Verdict{}},
		"a row nobody sent is found":        {nil, map[Row]int{r(7): 1, {Client: 9, Seq: 1}: 1}, Verdict{Unexpected: 2, Examples: []Row{r(7), {Client: 9, Seq: 1}}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := NewLedger(1)
			for _, o := range tc.sent {
				l.Settle(l.Send(0), o)
			}
			if d := cmp.Diff(tc.want, l.Judge(tc.stored)); d != "" {
				t.Error(d)
			}
		})
	}
}

// Whatever is lost and doubled, the counts add up and Good tells the truth.
func TestJudgeCounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := NewLedger(3)
		stored := map[Row]int{}
		var lost, doubled int64
		for range rapid.IntRange(0, 50).Draw(t, "rows") {
			row := l.Send(rapid.IntRange(0, 2).Draw(t, "client"))
			l.Settle(row, Acknowledged)
			switch n := rapid.IntRange(0, 2).Draw(t, "stored"); n {
			case 0:
				lost++
			case 2:
				doubled++
				fallthrough
			default:
				stored[row] = n
			}
		}
		v := l.Judge(stored)
		if v.Missing != lost || v.Duplicates != doubled || v.Good() != (lost+doubled == 0) {
			t.Fatalf("lost %d, doubled %d: %+v", lost, doubled, v)
		}
	})
}

func TestOutcomeOfAnError(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err  error
		want Outcome
	}{
		"the server refused the row":                   {&pgconn.PgError{Severity: "ERROR", Code: "25006"}, Refused},
		"refused in the server's own language":         {&pgconn.PgError{Severity: "错误", SeverityUnlocalized: "ERROR", Code: "25006"}, Refused},
		"the server was stopped, perhaps after commit": {&pgconn.PgError{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P01"}, Unknown},
		"the connection broke":                         {io.ErrUnexpectedEOF, Unknown},
		"the answer did not come":                      {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, Unknown},
		"anything else":                                {errors.New("?"), Unknown},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := outcome(tc.err); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	line := newTimeline(start, 100*time.Millisecond)
	for ms := 1; ms <= 1000; ms++ {
		line.ack(at(ms), time.Millisecond)
	}
	before := line.mark(at(1000), "switch")
	line.ack(at(1400), time.Millisecond)
	during := line.mark(at(1400), "after")
	for ms := 1402; ms <= 2400; ms += 2 {
		line.ack(at(ms), time.Millisecond)
	}
	m := &Meter{line: line, ledger: NewLedger(1)}
	r := m.measured(at(2700))
	if before.Rows != 1000 || before.Longest != time.Millisecond || during.Longest != 400*time.Millisecond {
		t.Errorf("sections: %+v, %+v", before, during)
	}
	if r.InterruptedMS != 400 || r.Before != 1000 || r.After < 380 || r.After > 390 || r.Rows != 1501 {
		t.Errorf("report: %+v", r)
	}
	if len(r.Gaps) != 2 || r.Gaps[1].Length != 300*time.Millisecond {
		t.Errorf("the gap that is open at the end is missing: %+v", r.Gaps)
	}
	if p := r.GapSpread.P50; p < 950*time.Microsecond || p > 1050*time.Microsecond {
		t.Errorf("median gap %s", p)
	}
}

func TestAnOpenGapCanBeTheLongest(t *testing.T) {
	t.Parallel()
	start := time.Now()
	line := newTimeline(start, time.Second)
	line.ack(start.Add(10*time.Millisecond), time.Millisecond)
	r := (&Meter{line: line, ledger: NewLedger(1)}).measured(start.Add(5 * time.Second))
	if r.InterruptedMS != 4990 || r.After != 0 {
		t.Errorf("%+v", r)
	}
}

func TestABadConnectionStringIsNotRepeated(t *testing.T) {
	t.Parallel()
	_, err := connConfig("postgres://app:secretword@h:port/x", "")
	if err == nil {
		t.Fatal("taken")
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if msg := e.Error(); len(msg) > 0 && strings.Contains(msg, "secretword") {
			t.Errorf("the password is in %q", msg)
		}
	}
}
