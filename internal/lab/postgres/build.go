package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// build makes the servers: the primary from initdb, the standbys from a copy
// of its stopped data directory, which every server version can be made from
// without pg_basebackup.
func (l *Lab) build(ctx context.Context, packages []Package) error {
	primary, standbys := l.spec.Nodes[0], l.spec.Nodes[1:]
	l.report(say.F("making %d nodes of PostgreSQL %s", "正在建立 %d 个 PostgreSQL %s 节点", len(l.spec.Nodes), l.spec.Release))
	if err := errors.Join(l.makeSecrets(), l.makeKeys(), l.copyPackages(packages)); err != nil {
		return err
	}
	if err := each(l.spec.Nodes, func(n Node) error { return l.makeNode(n, l.Packages[0]) }); err != nil {
		return err
	}
	if err := l.makePrimary(ctx, l.server(primary), standbys); err != nil {
		return err
	}
	if err := each(standbys, func(n Node) error { return l.makeStandby(n) }); err != nil {
		return err
	}
	// Level by level: a standby that finds no slot on its upstream comes back only after 5 s.
	for level := l.spec.standbys(primary.Name); len(level) > 0; {
		err := each(level, func(n Node) error {
			return errors.Join(l.server(n).start(), l.makeSlots(ctx, n, l.spec.standbys(n.Name)))
		})
		if err != nil {
			return err
		}
		var next []Node
		for _, n := range level {
			next = append(next, l.spec.standbys(n.Name)...)
		}
		level = next
	}
	if err := l.AwaitStreaming(ctx); err != nil {
		return err
	}
	return l.setSync()
}

// makeNode makes the node's folders and unpacks the software, from the lab's
// own copy of the package: the cache may be closed to the account.
func (l *Lab) makeNode(n Node, p Package) error {
	acc := l.spec.Account
	top := filepath.Dir(n.Home)
	for _, dir := range []string{top, n.Home, n.Base, filepath.Dir(n.Log), filepath.Join(top, "run")} {
		mode := os.FileMode(0o755)
		if dir == n.Home || dir == n.SocketDir {
			mode = 0o700
		}
		if err := acc.mkdir(dir, mode); err != nil {
			return err
		}
	}
	if err := l.makeTools(n); err != nil {
		return err
	}
	password, err := l.password(Replicator)
	if err != nil {
		return err
	}
	if err := acc.write(l.server(n).passfile(), "*:*:*:"+Replicator+":"+password+"\n", 0o600); err != nil {
		return err
	}
	if err := p.unpack(filepath.Join(n.Base, p.Release), acc); err != nil {
		return err
	}
	current := filepath.Join(n.Base, "current")
	return errors.Join(os.Symlink(p.Release, current), acc.take(current))
}

func (l *Lab) makePrimary(ctx context.Context, s server, standbys []Node) error {
	password, err := l.password(Superuser)
	if err != nil {
		return err
	}
	if err := errors.Join(s.initdb(password), s.configure(), s.start()); err != nil {
		return err
	}
	if err := l.makeAccounts(ctx, s.Node); err != nil {
		return err
	}
	if err := s.stop("fast"); err != nil {
		return err
	}
	if err := each(standbys, func(n Node) error { return l.spec.Account.copyTree(s.Data, n.Data, notCopied) }); err != nil {
		return err
	}
	// After the copy: slots belong to one server.
	if err := s.start(); err != nil {
		return err
	}
	return l.makeSlots(ctx, s.Node, l.spec.standbys(s.Name))
}

func notCopied(rel string) bool { return rel == "postmaster.pid" || rel == "postmaster.opts" }

func (l *Lab) makeAccounts(ctx context.Context, n Node) error {
	c, err := l.Connect(ctx, n.Name, Superuser)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	for _, account := range []struct{ name, rights string }{{Replicator, "REPLICATION LOGIN"}, {App, "LOGIN"}} {
		password, err := l.password(account.name)
		if err != nil {
			return err
		}
		// A fixed name and a password of hex digits: nothing to quote.
		if _, err := c.Exec(ctx, fmt.Sprintf("CREATE ROLE %s %s PASSWORD '%s'", account.name, account.rights, password)); err != nil {
			return fmt.Errorf("%s: create role %s: %w", n.Name, account.name, err)
		}
	}
	if _, err := c.Exec(ctx, "CREATE DATABASE "+App+" OWNER "+App); err != nil {
		return fmt.Errorf("%s: create database: %w", n.Name, err)
	}
	return nil
}

// makeSlots gives each standby a physical slot on its upstream.
func (l *Lab) makeSlots(ctx context.Context, upstream Node, standbys []Node) error {
	if len(standbys) == 0 {
		return nil
	}
	c, err := l.Connect(ctx, upstream.Name, Superuser)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	for _, n := range standbys {
		if _, err := c.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", n.Name); err != nil {
			return fmt.Errorf("%s: make the slot of %s: %w", upstream.Name, n.Name, err)
		}
	}
	return nil
}

func (l *Lab) makeStandby(n Node) error {
	s := l.server(n)
	upstream, err := l.spec.node(n.Upstream)
	if err != nil {
		return err
	}
	return errors.Join(s.configure(), s.follow(upstream))
}

// setSync turns synchronous replication on, once there are standbys to answer.
func (l *Lab) setSync() error {
	return each(l.spec.Nodes, func(n Node) error {
		names := l.spec.syncNames(n.Name)
		if names == "" {
			return nil
		}
		s := l.server(n)
		return errors.Join(s.autoConf("synchronous_standby_names", names), s.reload())
	})
}

// Connect opens a superuser's connection to a node's database.
func (l *Lab) Connect(ctx context.Context, node, database string) (*pgx.Conn, error) {
	n, err := l.spec.node(node)
	if err != nil {
		return nil, err
	}
	password, err := l.password(Superuser)
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig("sslmode=disable connect_timeout=5")
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = "127.0.0.1", uint16(n.Port), Superuser, password, database
	cfg.Fallbacks = nil
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: connect: %w", node, err)
	}
	return c, nil
}

// AwaitStreaming waits until one node is a primary, all others stream, and
// each has replayed what the primary had written when the wait began.
func (l *Lab) AwaitStreaming(ctx context.Context) error {
	target := ""
	spec := wait.Spec{
		What:     say.F("all standbys stream and have replayed", "所有备机处于流复制状态并完成回放"),
		Deadline: time.Minute, Every: 20 * time.Millisecond, Next: "shiplift lab status --dir " + l.Dir,
	}
	return wait.For(ctx, l.clk, spec, l.report, func(ctx context.Context) (wait.Look, error) {
		if target == "" {
			lsn, err := l.primaryPosition(ctx)
			if err != nil {
				return wait.Look{Says: say.Same(err.Error())}, nil
			}
			target = lsn
		}
		var behind []string
		for _, n := range l.spec.Nodes {
			if ok, err := l.caughtUp(ctx, n, target); err != nil || !ok {
				behind = append(behind, n.Name)
			}
		}
		return wait.Look{
			Done: len(behind) == 0, Left: float64(len(behind)),
			Says: say.F("%s not there yet", "%s 尚未就绪", strings.Join(behind, ", ")),
		}, nil
	})
}

// primaryPosition returns the write position of the only primary.
func (l *Lab) primaryPosition(ctx context.Context) (string, error) {
	lsn := ""
	for _, n := range l.spec.Nodes {
		at, err := l.ask(ctx, n, "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_current_wal_lsn()::text END")
		if err != nil {
			return "", err
		}
		if at != "" && lsn != "" {
			return "", errors.New("two nodes take writes")
		}
		lsn += at
	}
	if lsn == "" {
		return "", errors.New("no node takes writes")
	}
	return lsn, nil
}

func (l *Lab) caughtUp(ctx context.Context, n Node, target string) (bool, error) {
	answer, err := l.ask(ctx, n, `SELECT (NOT pg_is_in_recovery() OR
		(pg_last_wal_replay_lsn() >= $1::pg_lsn AND EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming')))::text`, target)
	return answer == "true", err
}

// ask asks a node's server one question with one answer.
func (l *Lab) ask(ctx context.Context, n Node, query string, args ...any) (string, error) {
	c, err := l.Connect(ctx, n.Name, Superuser)
	if err != nil {
		return "", err
	}
	defer c.Close(context.WithoutCancel(ctx))
	var answer string
	if err := c.QueryRow(ctx, query, args...).Scan(&answer); err != nil {
		return "", fmt.Errorf("%s: %w", n.Name, err)
	}
	return answer, nil
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
