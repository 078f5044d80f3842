package postgres

import (
	"context"
	"errors"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

func isHostKey(err error) bool { return errors.Is(err, host.ErrHostKey) }

// lookInside asks what the checks need to know of databases and sessions.
func (s *site) lookInside(ctx context.Context, c *conn, n *seen) error {
	if err := c.lookCollations(ctx, n); err != nil {
		return err
	}
	for _, name := range []string{"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"} {
		for _, l := range strings.Split(n.Settings[name].Value, ",") {
			if l = strings.Trim(strings.TrimSpace(l), `"`); l != "" {
				n.Libraries = append(n.Libraries, library{l, name})
			}
		}
	}
	if n.ID.Recovery {
		return nil
	}
	if err := c.lookSessions(ctx, n); err != nil {
		return err
	}
	return s.lookLibraries(ctx, c, n)
}

// lookCollations compares the collation versions that the databases were made
// with to those of the libraries that the server uses now.
func (c *conn) lookCollations(ctx context.Context, n *seen) error {
	databases := ""
	if n.ID.Major >= 15 {
		databases = `select 'database ' || datname, coalesce(datcollversion, ''), coalesce(pg_database_collation_actual_version(oid), '') from pg_database where datallowconn union all `
	}
	rows, err := c.table(ctx, "collations", databases+`select * from (select 'collation ' || collname, coalesce(collversion, ''), coalesce(pg_collation_actual_version(oid), '') from pg_collation
 where collprovider in ('c', 'i') and collversion is not null and oid >= 16384 limit 100) c order by 1`)
	if err != nil {
		return err
	}
	for _, r := range rows {
		n.Collation = append(n.Collation, collation{r[0], r[1], r[2]})
	}
	return nil
}

// longTransaction is the age from which on a transaction is told: a fast stop
// ends it.
const longTransaction = time.Minute

func (c *conn) lookSessions(ctx context.Context, n *seen) error {
	rows, err := c.table(ctx, "long-transactions", `select pid::text, coalesce(usename, ''), coalesce(datname, ''), coalesce(state, ''), extract(epoch from clock_timestamp() - xact_start)::bigint::text
 from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and xact_start < clock_timestamp() - make_interval(secs => $1::int) order by xact_start limit 20`,
		strconv.Itoa(int(longTransaction.Seconds())))
	if err != nil {
		return err
	}
	for _, r := range rows {
		age, _ := strconv.Atoi(r[4])
		n.Long = append(n.Long, session{r[0], r[1], r[2], r[3], time.Duration(age) * time.Second})
	}
	rows, err = c.table(ctx, "prepared-transactions", `select gid || ' in ' || database || ' by ' || owner || ' since ' || prepared::timestamp(0) from pg_prepared_xacts order by prepared limit 20`)
	for _, r := range rows {
		n.Prepared = append(n.Prepared, r[0])
	}
	return err
}

// lookLibraries collects the modules that functions of all databases need.
func (s *site) lookLibraries(ctx context.Context, c *conn, n *seen) error {
	rows, err := c.table(ctx, "databases", `select datname from pg_database where datallowconn and not datistemplate order by datname`)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := s.librariesOf(ctx, n, r[0]); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) librariesOf(ctx context.Context, n *seen, database string) error {
	c, err := s.connectTo(ctx, database)
	if err != nil {
		return say.Errorf("database %s: %w", "数据库 %s：%w", database, err)
	}
	defer c.close()
	rows, err := c.table(ctx, "libraries", `select distinct probin from pg_proc where probin is not null order by probin`)
	for _, r := range rows {
		n.Libraries = append(n.Libraries, library{r[0], "database " + database})
	}
	return err
}

// file is the library's file name below the package directory of a release, or
// "" when it lies elsewhere and has nothing to do with the package.
func (l library) file() string {
	name := strings.TrimPrefix(l.Name, "$libdir/")
	if strings.Contains(name, "/") && !strings.HasPrefix(l.Name, "$libdir/") {
		return ""
	}
	if path.Ext(name) != ".so" {
		name += ".so"
	}
	return name
}
