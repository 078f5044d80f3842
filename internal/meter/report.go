package meter

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Report is what a measurement found.
type Report struct {
	V             int           `json:"v"`
	Took          time.Duration `json:"took_ns"`
	Writers       int           `json:"writers"`
	Rows          int64         `json:"rows"` // acknowledged
	Interruption  time.Duration `json:"-"`
	InterruptedMS float64       `json:"interruption_ms"` // the longest gap without an acknowledged write
	LostWrites    int64         `json:"lost_writes"`     // acknowledged and missing; -1 when the rows could not be read back
	Longest       Gap           `json:"longest_gap"`
	Gaps          []Gap         `json:"gaps"`            // all longer than Config.GapOver, in order of time
	GapSpread     Spread        `json:"gap_spread"`      // between two acknowledgements, all writers
	WriteSpread   Spread        `json:"write_spread"`    // how long an acknowledged write took
	Before        float64       `json:"rate_before"`     // rows a second up to the longest gap
	After         float64       `json:"rate_after"`      // rows a second from its end on
	Sections      []Section     `json:"sections"`        // between the marks
	Errors        []ErrorCount  `json:"errors"`          // the most frequent first
	Primary       *Verdict      `json:"primary"`         // the rows as the writable server has them; nil when they could not be read
	Nodes         []NodeVerdict `json:"nodes,omitempty"` // and as each node has them, where asked for
}

// NodeVerdict is what one node's copy of the rows looks like.
type NodeVerdict struct {
	Node    string  `json:"node"`
	Verdict Verdict `json:"verdict"`
	Error   string  `json:"error,omitempty"` // the rows could not be read there
}

// Good reports whether the rows were read back everywhere and nothing was lost or invented.
func (r Report) Good() bool {
	if r.Primary == nil || !r.Primary.Good() {
		return false
	}
	return !slices.ContainsFunc(r.Nodes, func(n NodeVerdict) bool { return n.Error != "" || !n.Verdict.Good() })
}

// Stop ends the writers, reads the rows back, removes the table and reports.
// The report holds what was measured also when there is an error. A second
// call returns the same.
func (m *Meter) Stop(ctx context.Context) (Report, error) {
	m.once.Do(func() {
		m.cancel()
		m.work.Wait()
		m.report = m.measured(time.Now())
		m.err = m.readBack(ctx)
	})
	return m.report, m.err
}

// measured is the report as far as the writers know it.
func (m *Meter) measured(now time.Time) Report {
	m.line.mark(now, "")
	t := m.line
	t.mu.Lock()
	defer t.mu.Unlock()
	// What is open at the end is an interruption too, as far as we saw it.
	open := Gap{From: t.last, Length: now.Sub(t.last)}
	longest, rowsThen := t.longest, t.rowsThen
	if open.Length > longest.Length {
		longest, rowsThen = open, t.rows
	}
	gaps := slices.Clone(t.gaps)
	if open.Length > t.over {
		gaps = append(gaps, open)
	}
	slices.SortFunc(gaps, func(a, b Gap) int { return a.From.Compare(b.From) })
	end := longest.From.Add(longest.Length)
	return Report{
		V: 1, Took: now.Sub(t.start), Writers: m.cfg.Writers, Rows: t.rows, LostWrites: -1,
		Interruption: longest.Length, InterruptedMS: float64(longest.Length.Microseconds()) / 1000,
		Longest: longest, Gaps: gaps, GapSpread: t.dist.spread(), WriteSpread: t.latency.spread(),
		Before:   rate(rowsThen, longest.From.Sub(t.start)),
		After:    rate(t.rows-rowsThen, now.Sub(end)),
		Sections: slices.Clone(t.sections), Errors: m.errs.list(),
	}
}

// readBack compares the ledger with the rows on the servers.
func (m *Meter) readBack(ctx context.Context) error {
	var lsn string
	var stored map[Row]int
	read := func(ctx context.Context) error {
		c, err := pgx.ConnectConfig(ctx, m.writable())
		if err != nil {
			return err
		}
		defer closeNow(c)
		if stored, err = m.rows(ctx, c); err != nil {
			return err
		}
		return c.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&lsn)
	}
	what := say.F("the meter's rows can be read back", "能够读回压测写入的行")
	if err := m.retry(ctx, what, read); err != nil {
		return err
	}
	v := m.ledger.Judge(stored)
	m.report.Primary, m.report.LostWrites = &v, v.Missing
	for _, name := range slices.Sorted(maps.Keys(m.cfg.Nodes)) {
		m.report.Nodes = append(m.report.Nodes, m.readNode(ctx, name, lsn))
	}
	return m.retry(ctx, say.F("the meter's table is removed", "压测表已删除"), m.dropTable)
}

// readNode reads the rows from one server when it has replayed up to lsn.
func (m *Meter) readNode(ctx context.Context, name, lsn string) NodeVerdict {
	out := NodeVerdict{Node: name}
	conf, err := connConfig(m.cfg.Nodes[name], m.cfg.PasswordFile)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	err = m.retry(ctx, say.F("%s has replayed the meter's rows", "%s 已回放压测写入的行", name), func(ctx context.Context) error {
		c, err := pgx.ConnectConfig(ctx, conf)
		if err != nil {
			return err
		}
		defer closeNow(c)
		var there bool
		if err := c.QueryRow(ctx, "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= $1::pg_lsn", lsn).Scan(&there); err != nil {
			return err
		}
		if !there {
			return say.Errorf("not replayed yet", "尚未重演")
		}
		stored, err := m.rows(ctx, c)
		if err == nil {
			out.Verdict = m.ledger.Judge(stored)
		}
		return err
	})
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

// rows reads all rows of the meter's table and how often each is there.
func (m *Meter) rows(ctx context.Context, c *pgx.Conn) (map[Row]int, error) {
	rs, err := c.Query(ctx, "SELECT client, seq FROM "+m.table())
	if err != nil {
		return nil, err
	}
	stored := map[Row]int{}
	var r Row
	_, err = pgx.ForEachRow(rs, []any{&r.Client, &r.Seq}, func() error { stored[r]++; return nil })
	return stored, err
}

func (m *Meter) dropTable(ctx context.Context) error {
	c, err := pgx.ConnectConfig(ctx, m.writable())
	if err != nil {
		return err
	}
	defer closeNow(c)
	_, err = c.Exec(ctx, "DROP TABLE IF EXISTS "+m.table())
	return err
}

// retry repeats do until it succeeds: a cluster that was just upgraded may
// need a moment, and the rows are worth waiting for.
func (m *Meter) retry(ctx context.Context, what say.Text, do func(context.Context) error) error {
	spec := wait.Spec{What: what, Deadline: m.cfg.ReadTimeout, Every: 50 * time.Millisecond, Next: "shiplift status"}
	err := wait.For(ctx, wait.Real{}, spec, nil, func(ctx context.Context) (wait.Look, error) {
		err := do(ctx)
		if err == nil {
			return wait.Look{Done: true}, nil
		}
		return wait.Look{Says: say.Same(err.Error())}, nil
	})
	if err != nil {
		return say.Errorf("meter, table %s: %w", "写入探测，表 %s：%w", cmp.Or(m.cfg.Table, DefaultTable), err)
	}
	return nil
}
