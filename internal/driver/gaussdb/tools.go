package gaussdb

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// Node is one machine with the environment profile of the cluster user: every
// tool runs in the environment that the profile sets, also when it is separated
// (MPPDB_ENV_SEPARATE_PATH).
type Node struct {
	Name    string
	Host    host.Host
	Profile string // absolute, or below the login's home; empty for none
}

// Answer is what a tool said on both streams, and how it ended. Exit statuses
// are told and not believed (spec section 10.2, 10).
type Answer struct {
	Stdout string
	Stderr string
	Code   int
}

// Both is the text of both streams.
func (a Answer) Both() string {
	if a.Stdout != "" && !strings.HasSuffix(a.Stdout, "\n") {
		return a.Stdout + "\n" + a.Stderr
	}
	return a.Stdout + a.Stderr
}

// Run runs a command in the profile's environment. A command that ran and
// failed is an Answer; the error is for one that perhaps never ran.
func (n Node) Run(ctx context.Context, c host.Cmd) (Answer, error) {
	if n.Profile != "" {
		c = host.Sourced(n.Profile, c)
	}
	res, err := n.Host.Run(ctx, c)
	var exit *host.ExitError
	if errors.As(err, &exit) {
		if exit.Code == 126 && strings.Contains(string(exit.Stderr), "cannot read the environment profile") {
			return Answer{}, &say.Problem{
				Place: n.Name,
				Text:  say.F("cannot read the environment profile %s", "无法读取环境变量文件 %s", n.Profile),
				Next:  say.F("correct the setting profile in the inventory", "请更正清单中的 profile 设置"),
			}
		}
		return Answer{Stdout: string(exit.Stdout), Stderr: string(exit.Stderr), Code: exit.Code}, nil
	}
	if err != nil {
		return Answer{}, err
	}
	return Answer{Stdout: string(res.Stdout), Stderr: string(res.Stderr)}, nil
}

// Ask runs a command that only reads.
func (n Node) Ask(ctx context.Context, argv ...string) (Answer, error) {
	return n.Run(ctx, host.Read(argv...))
}

// Environment is what the profile of the cluster user sets (spec section 1.1).
type Environment struct {
	GaussHome string // a link; the binaries of the present release
	PGHost    string // sockets and the work area of an upgrade
	GPHome    string // the vendor's scripts and the packages
	GaussLog  string
	PGData    string
	Cluster   string // GS_CLUSTER_NAME
	User      string
	Home      string
	Language  string
}

// EnvironmentError is a profile that lacks variables (GAUSS-51800).
type EnvironmentError struct {
	Node    string
	Missing []string
}

func (e *EnvironmentError) Error() string { return e.Say().EN }

// Say tells which variables are missing.
func (e *EnvironmentError) Say() say.Text {
	m := strings.Join(e.Missing, ", ")
	return say.F("%s: the environment profile does not set %s [GAUSS-51800]", "%s：环境变量文件未设置 %s［GAUSS-51800］", e.Node, m)
}

// Environment reads the variables. Those in need must be there.
func (n Node) Environment(ctx context.Context, need ...string) (Environment, error) {
	a, err := n.Ask(ctx, "env")
	if err != nil {
		return Environment{}, err
	}
	vars := ParseEnv(a.Stdout)
	var missing []string
	for _, name := range need {
		if vars[name] == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return Environment{}, &EnvironmentError{n.Name, missing}
	}
	trim := func(name string) string { return strings.TrimRight(vars[name], "/") }
	return Environment{
		GaussHome: trim("GAUSSHOME"), PGHost: trim("PGHOST"), GPHome: trim("GPHOME"), GaussLog: trim("GAUSSLOG"), PGData: trim("PGDATA"),
		Cluster: vars["GS_CLUSTER_NAME"], User: vars["USER"], Home: trim("HOME"), Language: vars["LANG"],
	}, nil
}

// ParseEnv reads the output of env. A value that holds a line end is cut there.
func ParseEnv(out string) map[string]string {
	vars := map[string]string{}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			vars[k] = v
		}
	}
	return vars
}

// Query asks gs_ctl query. Bin is the bin directory of the release to ask
// with; empty for the one of the environment.
func (n Node) Query(ctx context.Context, data string) (HA, error) {
	c := host.Read("gs_ctl", "query", "-D", data)
	c.Timeout = 20 * time.Second // a hung server never answers (golden 5.0.0/141)
	a, err := n.Run(ctx, c)
	var ended *host.EndedError
	if errors.As(err, &ended) && ctx.Err() == nil {
		return HA{Process: Hung, Trouble: "gs_ctl query did not answer within 20s"}, nil
	}
	if err != nil {
		return HA{}, err
	}
	h, err := ParseQuery(a.Both())
	if err != nil {
		return HA{}, fmt.Errorf("%s: %w", n.Name, err)
	}
	return h, nil
}

// Status asks gs_ctl status.
func (n Node) Status(ctx context.Context, data string) (Status, error) {
	a, err := n.Ask(ctx, "gs_ctl", "status", "-D", data)
	if err != nil {
		return Status{}, err
	}
	s, err := ParseStatus(a.Both())
	if err != nil {
		return Status{}, fmt.Errorf("%s: %w", n.Name, err)
	}
	return s, nil
}

// BannerOf asks a program for its version: gaussdb, or a path to one.
func (n Node) BannerOf(ctx context.Context, program string) (Banner, error) {
	a, err := n.Ask(ctx, program, "-V")
	if err != nil {
		return Banner{}, err
	}
	b, err := ParseBanner(a.Both())
	if err != nil {
		return Banner{}, fmt.Errorf("%s: %s: %w", n.Name, path.Base(program), err)
	}
	return b, nil
}

// SQLError is a statement that the server refused.
type SQLError struct {
	Node     string
	Database string
	Lines    []string
}

func (e *SQLError) Error() string {
	return fmt.Sprintf("%s: database %s: %s", e.Node, e.Database, strings.Join(e.Lines, "; "))
}

// GsqlArgv is gsql for one statement whose rows are read by ParseTuples. -X
// keeps ~/.gsqlrc out; ON_ERROR_STOP makes an error an exit status.
func GsqlArgv(port int, database, sql string) []string {
	return []string{"gsql", "-p", fmt.Sprint(port), "-d", database, "-X", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-c", sql}
}

// SQL asks the server of a node for rows, as the cluster user over its socket.
func (n Node) SQL(ctx context.Context, port int, database, sql string) ([][]string, error) {
	return n.sql(ctx, host.Read(GsqlArgv(port, database, sql)...), database)
}

// Exec runs a statement that changes the database.
func (n Node) Exec(ctx context.Context, port int, database, sql string) error {
	_, err := n.sql(ctx, host.Change(GsqlArgv(port, database, sql)...), database)
	return err
}

func (n Node) sql(ctx context.Context, c host.Cmd, database string) ([][]string, error) {
	a, err := n.Run(ctx, c)
	if err != nil {
		return nil, err
	}
	if errs := SQLErrors(a.Both()); len(errs) > 0 || a.Code != 0 {
		if len(errs) == 0 {
			errs = []string{fmt.Sprintf("gsql ended with status %d: %s", a.Code, clip(a.Both()))}
		}
		return nil, &SQLError{n.Name, database, errs}
	}
	return ParseTuples(a.Stdout), nil
}

// Value asks for a single value.
func (n Node) Value(ctx context.Context, port int, sql string) (string, error) {
	rows, err := n.SQL(ctx, port, "postgres", sql)
	if err != nil {
		return "", err
	}
	if len(rows) == 0 {
		return "", nil
	}
	return strings.Join(rows[0], "|"), nil
}

// BinaryUpgrade is the directory whose content says that an upgrade is open; it
// blocks expansion, node removal and kerberos changes (spec section 1.5).
func (e Environment) BinaryUpgrade() string { return path.Join(e.PGHost, "binary_upgrade") }
