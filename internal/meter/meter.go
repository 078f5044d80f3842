// Package meter is a client that writes, keeps a ledger of what the server
// acknowledged, and measures for how long nobody could write.
//
// It sees a cluster as an application does: several writers, one connection
// string with all hosts, any writable server will do. What it finds missing
// afterwards was lost, whatever the servers say about themselves.
package meter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// Config says what to measure. Start fills what is empty.
type Config struct {
	DSN          string // all hosts; target_session_attrs=read-write is added when nothing is said
	PasswordFile string // holds the password where the DSN has none
	Table        string // made by Start, removed by Stop; DefaultTable when empty
	Writers      int
	Pause        time.Duration // between two writes of one writer; negative for none
	GapOver      time.Duration // longer gaps are listed in the report
	WriteTimeout time.Duration // a write without an answer for so long is unknown
	ReadTimeout  time.Duration // how long Stop tries to read the rows back

	// Nodes are further places from which the rows are read at the end: name →
	// connection string of one server. Each is awaited until it has replayed.
	Nodes map[string]string
}

// DefaultTable is the table that the meter makes.
const DefaultTable = "shiplift_meter"

// tableMark is the comment by which the meter knows a table of its own that an
// earlier, killed one left behind.
const tableMark = "shiplift meter: may be dropped"

func (c Config) withDefaults() Config {
	if c.Table == "" {
		c.Table = DefaultTable
	}
	if c.Writers <= 0 {
		c.Writers = 4
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Pause, 2 * time.Millisecond},
		{&c.GapOver, 100 * time.Millisecond},
		{&c.WriteTimeout, 10 * time.Second},
		{&c.ReadTimeout, 30 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return c
}

// Meter is a running measurement.
type Meter struct {
	cfg    Config
	conn   *pgx.ConnConfig
	ledger *Ledger
	line   *timeline
	errs   errorCounts

	cancel context.CancelFunc // ends the writers between two writes
	work   sync.WaitGroup
	seek   singleflight.Group // for a server that takes writes
	once   sync.Once
	report Report
	err    error
}

// Start makes the table and begins to write. It returns when the first row is acknowledged.
func Start(ctx context.Context, cfg Config) (*Meter, error) {
	cfg = cfg.withDefaults()
	conn, err := connConfig(cfg.DSN, cfg.PasswordFile)
	if err != nil {
		return nil, err
	}
	m := &Meter{cfg: cfg, conn: conn, ledger: NewLedger(cfg.Writers)}
	if err := m.makeTable(ctx); err != nil {
		return nil, say.Errorf("meter: %w", "写入探测：%w", err)
	}
	m.line = newTimeline(time.Now(), cfg.GapOver)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ends by Stop, which also cleans up
	m.cancel = cancel
	for i := range cfg.Writers {
		m.work.Go(func() { m.writer(run, i) })
	}
	if err := m.AwaitRows(ctx, 1); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ReadTimeout)
		defer cancel()
		_, stopErr := m.Stop(stop)
		return nil, say.Errorf("meter: %w", "写入探测：%w", errors.Join(err, stopErr))
	}
	return m, nil
}

// Mark ends a section of the run and begins the next; it returns the one that
// ended. The first section is "start".
func (m *Meter) Mark(next string) Section { return m.line.mark(time.Now(), next) }

// AwaitRows waits until n more rows are acknowledged than now.
func (m *Meter) AwaitRows(ctx context.Context, n int64) error {
	want := m.line.count() + n
	spec := wait.Spec{
		What:     say.F("%d more acknowledged writes", "再有 %d 次写入得到确认", n),
		Deadline: m.cfg.ReadTimeout, Every: time.Millisecond, Next: "shiplift status",
	}
	return wait.For(ctx, wait.Real{}, spec, nil, func(context.Context) (wait.Look, error) {
		left := want - m.line.count()
		return wait.Look{Done: left <= 0, Left: float64(left), Says: say.F("%d to go; %s", "还差 %d；%s", left, m.errs.last())}, nil
	})
}

// Live is what a running measurement has seen so far.
type Live struct {
	Rows    int64         // acknowledged
	Idle    time.Duration // since the last acknowledgement
	Longest time.Duration // gap, an open one included
	Errors  int64
}

// Live looks at the running measurement.
func (m *Meter) Live() Live {
	now := time.Now()
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	idle := now.Sub(m.line.last)
	return Live{Rows: m.line.rows, Idle: idle, Longest: max(idle, m.line.longest.Length), Errors: m.errs.total()}
}

// connConfig reads the connection string. Its errors do not repeat it: it may hold a password.
func connConfig(dsn, passwordFile string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, &say.Problem{
			Text: say.F("the meter's connection string cannot be read", "无法解析压测连接串"),
			Next: say.F("write it like postgres://user@host1:5432,host2:5432/database", "应写作 postgres://user@host1:5432,host2:5432/database"),
			Err:  errors.New(strings.ReplaceAll(err.Error(), dsn, "…")),
		}
	}
	if passwordFile != "" && c.Password == "" {
		b, err := os.ReadFile(passwordFile)
		if err != nil {
			return nil, say.Errorf("meter: read the password: %w", "写入探测：读取口令：%w", err)
		}
		c.Password = strings.TrimRight(string(b), "\r\n")
	}
	if c.ConnectTimeout == 0 || c.ConnectTimeout > maxConnect {
		c.ConnectTimeout = maxConnect
	}
	c.RuntimeParams["application_name"] = "shiplift-meter"
	return c, nil
}

// maxConnect bounds one attempt to reach one host: a host that does not answer
// must not hide for long that another one takes writes.
const maxConnect = 2 * time.Second

// writable is the configuration of a connection that may write.
func (m *Meter) writable() *pgx.ConnConfig {
	c := m.conn.Copy()
	if c.ValidateConnect == nil {
		c.ValidateConnect = mustWrite
	}
	return c
}

func (m *Meter) table() string { return pgx.Identifier(strings.Split(m.cfg.Table, ".")).Sanitize() }

func (m *Meter) makeTable(ctx context.Context) error {
	c, err := pgx.ConnectConfig(ctx, m.writable())
	if err != nil {
		return say.Errorf("connect: %w", "连接：%w", err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	var comment *string
	err = c.QueryRow(ctx, "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass($1)", m.table()).Scan(&comment)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return say.Errorf("look for table %s: %w", "查找表 %s：%w", m.cfg.Table, err)
	case comment == nil || *comment != tableMark:
		return &say.Problem{
			Place: m.cfg.Table,
			Text:  say.F("a table of this name exists and is not the meter's", "已存在同名表，且不是压测程序创建的"),
			Next:  say.F("rename that table, or run without --meter", "请将该表改名，或去掉 --meter"),
		}
	}
	_, err = c.Exec(ctx, fmt.Sprintf(`BEGIN; DROP TABLE IF EXISTS %[1]s;
		CREATE TABLE %[1]s (client int4 NOT NULL, seq int8 NOT NULL, sent timestamptz NOT NULL);
		COMMENT ON TABLE %[1]s IS '%[2]s'; COMMIT`, m.table(), tableMark))
	if err != nil {
		return say.Errorf("make table %s: %w", "创建表 %s：%w", m.cfg.Table, err)
	}
	return nil
}
