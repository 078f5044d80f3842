package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// site is one node: its settings and its machine.
type site struct {
	conf
	env  driver.Env
	host host.Host
}

// siteOf returns the node of that name; the plan and the inventory agree on names.
func siteOf(env driver.Env, name string) (*site, error) {
	n, ok := env.Inventory.Node(name)
	h := env.Hosts[name]
	if !ok || h == nil {
		return nil, &say.Problem{
			Place: name,
			Text:  say.F("the inventory has no such node", "清单中没有该节点"),
			Next:  say.F("shiplift plan", "shiplift plan"),
		}
	}
	return &site{conf: confOf(n), env: env, host: h}, nil
}

// conn is a connection to one server. Every statement is sent by the simple
// protocol, returns text, and starts with a tag that names it.
type conn struct {
	pg   *pgconn.PgConn
	node string
}

// How long a connection and a short statement may take. They bound a hanging
// link; the waits of the actions have deadlines of their own.
const (
	connectTimeout   = 10 * time.Second
	statementTimeout = 30 * time.Second
	goodbyeTimeout   = 2 * time.Second
)

// runtimeParams are set for the tool's own sessions.
var runtimeParams = map[string]string{
	"application_name":              appName,
	"client_encoding":               "UTF8",
	"search_path":                   "pg_catalog",
	"standard_conforming_strings":   "on",
	"default_transaction_read_only": "off",
	"statement_timeout":             "0",
	"lock_timeout":                  "0",
	"synchronous_commit":            "local", // the tool itself never waits for a standby
	// ALTER SYSTEM SET primary_conninfo may carry a password: keep it out of the server's log (I10).
	"log_statement":              "none",
	"log_min_duration_statement": "-1",
	"log_min_error_statement":    "panic",
}

// appName is the application_name of the tool's own sessions.
const appName = "shiplift"

func (s *site) connect(ctx context.Context) (*conn, error) { return s.connectTo(ctx, s.Database) }

func (s *site) connectTo(ctx context.Context, database string) (*conn, error) {
	words := conninfo{
		{"host", s.Host}, {"port", s.Port}, {"user", s.User}, {"dbname", database},
		{"sslmode", s.SSLMode}, {"passfile", "/dev/null"}, {"target_session_attrs", "any"},
	}
	if s.SSLRootCert != "" {
		words = append(words, word{"sslrootcert", s.SSLRootCert})
	}
	cfg, err := parseConfig(words.String())
	if err != nil {
		return nil, say.Errorf("%s: connection settings: %w", "%s：连接参数：%w", s.Name, err)
	}
	cfg.Password = ""
	if s.PasswordSetting != "" {
		if cfg.Password, err = s.env.Secret(s.Name, s.PasswordSetting); err != nil {
			return nil, say.Errorf("%s: password: %w", "%s：口令：%w", s.Name, err)
		}
	}
	cfg.RuntimeParams = runtimeParams
	return s.open(ctx, s.host, cfg)
}

// configs are connection settings that were read before, without passwords:
// a run connects to each server many times.
var configs sync.Map

func parseConfig(words string) (*pgconn.Config, error) {
	if known, ok := configs.Load(words); ok {
		return known.(*pgconn.Config).Copy(), nil
	}
	cfg, err := pgconn.ParseConfig(words)
	if err != nil {
		return nil, err
	}
	configs.Store(words, cfg.Copy())
	return cfg, nil
}

// open connects as a program on h would.
func (s *site) open(ctx context.Context, h host.Host, cfg *pgconn.Config) (*conn, error) {
	cfg.DialFunc = h.Dial
	cfg.LookupFunc = func(_ context.Context, name string) ([]string, error) { return []string{name}, nil }
	cfg.ConnectTimeout = connectTimeout
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, say.Errorf("%s: connect to the server: %w", "%s：连接服务器：%w", s.Name, err)
	}
	return &conn{pg: pg, node: s.Name}, nil
}

func (c *conn) close() {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	_ = c.pg.Close(ctx) // the session is of no more use; the server ends it by itself too
}

// table sends one statement and returns its rows as text; NULL is "".
func (c *conn) table(ctx context.Context, tag, sql string, args ...string) ([][]string, error) {
	return c.within(ctx, statementTimeout, tag, sql, args...)
}

func (c *conn) within(ctx context.Context, limit time.Duration, tag, sql string, args ...string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	results, err := c.pg.Exec(ctx, "/* shiplift:"+tag+" */ "+fill(sql, args)).ReadAll()
	if err != nil {
		return nil, c.failed(tag, err)
	}
	if len(results) == 0 {
		return nil, nil
	}
	res := results[len(results)-1]
	if res.Err != nil {
		return nil, c.failed(tag, res.Err)
	}
	rows := make([][]string, len(res.Rows))
	for i, r := range res.Rows {
		rows[i] = make([]string, len(r))
		for j, v := range r {
			rows[i][j] = string(v)
		}
	}
	return rows, nil
}

// ended waits until a connection that broke is over. The library asks the
// server on a goroutine of its own to end the statement: it would do so beside
// what the run does next.
func (c *conn) ended() {
	if !c.pg.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	select {
	case <-c.pg.CleanupDone():
	case <-ctx.Done(): // a link that hangs
	}
}

// failed names the statement by its tag: its text may hold a secret.
func (c *conn) failed(tag string, err error) error {
	c.ended()
	return fmt.Errorf("%s: %s: %w", c.node, tag, err)
}

// row returns the one row of a statement, with at least n columns.
func (c *conn) row(ctx context.Context, n int, tag, sql string, args ...string) ([]string, error) {
	rows, err := c.table(ctx, tag, sql, args...)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) < n {
		return nil, say.Errorf("%s: %s: one row of %d columns expected, %d rows came", "%s：%s：应为一行 %d 列，实为 %d 行", c.node, tag, n, len(rows))
	}
	return rows[0], nil
}

func (c *conn) value(ctx context.Context, tag, sql string, args ...string) (string, error) {
	r, err := c.row(ctx, 1, tag, sql, args...)
	if err != nil {
		return "", err
	}
	return r[0], nil
}

// fill puts quoted literals in the place of $1…$9. The simple protocol has no
// parameters, and ALTER SYSTEM takes none anyway.
func fill(sql string, args []string) string {
	if len(args) == 0 {
		return sql
	}
	out := make([]byte, 0, len(sql)+64)
	for {
		before, rest, found := strings.Cut(sql, "$")
		out = append(out, before...)
		switch {
		case !found:
			return string(out)
		case rest != "" && rest[0] >= '1' && int(rest[0]-'0') <= len(args):
			out, rest = append(out, literal(args[rest[0]-'1'])...), rest[1:]
		default:
			out = append(out, '$')
		}
		sql = rest
	}
}

// literal quotes for standard_conforming_strings = on, which every session of
// the tool has; a NUL cannot stand in a statement.
func literal(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", "''") + "'"
}

// sqlState returns the server's error code in err's chain, or "".
func sqlState(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}

// gone reports whether err says that the machine itself does not answer, so
// that nothing can be said about its server.
func gone(err error) bool {
	var ue *host.UnreachableError
	return errors.As(err, &ue)
}

// hostPort is an address for a person.
func hostPort(h, p string) string { return net.JoinHostPort(h, p) }
