package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgpassfile"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// asStandby is how a primary will log in to its successor: as it was told when
// it was a standby itself, else as its successor does now. own tells which.
func asStandby(ctx context.Context, from, to *conn) (ci conninfo, own bool, err error) {
	if ci, _, err = from.conninfo(ctx); err != nil || len(ci) > 0 {
		return ci, true, err
	}
	ci, _, err = to.conninfo(ctx)
	return ci.without("application_name"), false, err
}

// loginError is a login for replication that a server has refused, or that
// does not reach it.
type loginError struct {
	node, user, to string
	err            error
}

func (e *loginError) Error() string { return e.Say().EN + ": " + e.err.Error() }
func (e *loginError) Unwrap() error { return e.err }

// Say tells it in both languages.
func (e *loginError) Say() say.Text {
	return say.F("%s may not log in to %s for replication as %q: it could not follow after the switchover",
		"%s 无法以 %[3]q 登录到 %[2]s 进行复制：切换后将无法跟随", e.node, e.to, e.user)
}

// unaskedError is a login that cannot be tried from here.
type unaskedError struct{ why say.Text }

func (e *unaskedError) Error() string { return e.why.EN }
func (e *unaskedError) Say() say.Text { return e.why }

// mayFollow proves that a standby of to on this machine, with this connection
// string, would be let in: it logs in as a WAL receiver does, from this machine,
// with the password that the server would use, and leaves again. Nothing but a
// login tells it: pg_hba.conf, roles and pass files belong to each node alone.
// A way of logging in that needs files of the machine (client certificates, an
// authority of its own) cannot be tried, and is no error here.
func (s *site) mayFollow(ctx context.Context, to *site, ci conninfo) error {
	err := s.tryLogin(ctx, to, ci.to(to.Address, to.Port))
	var no *unaskedError
	if errors.As(err, &no) {
		return nil
	}
	return err
}

func (s *site) tryLogin(ctx context.Context, to *site, ci conninfo) error {
	for _, key := range []string{"sslcert", "sslkey", "sslrootcert", "service", "gssencmode", "sslmode"} {
		if v := ci.get(key); strings.HasPrefix(v, "verify-") || v != "" && key != "sslmode" && v != "disable" && v != "prefer" {
			return &unaskedError{say.F("primary_conninfo uses %s, which only the server itself can", "primary_conninfo 使用了 %s，只有服务器自身才能使用", key)}
		}
	}
	user := ci.get("user")
	if user == "" {
		user = s.User // libpq takes the account's name, which the server's account bears by custom
	}
	words := conninfo{
		{"host", ci.get("host")}, {"port", ci.get("port")}, {"user", user}, {"dbname", "replication"},
		{"sslmode", "prefer"}, {"passfile", "/dev/null"}, {"target_session_attrs", "any"},
	}
	if m := ci.get("sslmode"); m != "" {
		words = words.with("sslmode", m)
	}
	cfg, err := pgconn.ParseConfig(words.String())
	if err != nil {
		return &unaskedError{say.F("primary_conninfo cannot be tried: %v", "无法试用 primary_conninfo：%v", err)}
	}
	if cfg.Password, err = s.replicationPassword(ctx, ci, user); err != nil {
		return err
	}
	cfg.RuntimeParams = map[string]string{"replication": "true", "application_name": appName}
	c, err := s.open(ctx, s.host, cfg)
	switch {
	case err == nil:
		c.close()
		return nil
	case gone(err) || ctx.Err() != nil:
		return err
	}
	return &loginError{s.Name, user, to.Name, err}
}

// replicationPassword finds the password as libpq does on the server's machine
// (PostgreSQL manual, 34.16): in the connection string, else in the pass file.
func (s *site) replicationPassword(ctx context.Context, ci conninfo, user string) (string, error) {
	if p, ok := ci.lookup("password"); ok {
		return p, nil
	}
	file := ci.get("passfile")
	if file == "" {
		file = ".pgpass" // of the login, which is the server's account
	}
	c := host.Read("cat", file)
	c.Private = true
	res, err := s.run(ctx, c)
	if host.IsExit(err) {
		return "", nil // none: the server may trust
	}
	if err != nil {
		return "", err
	}
	pf, err := pgpassfile.ParsePassfile(strings.NewReader(res.Text()))
	if err != nil {
		return "", nil //nolint:nilerr // not a pass file; its text may hold a secret
	}
	return pf.FindPassword(ci.get("host"), ci.get("port"), "replication", user), nil
}

// replicationLogin asks what the switchover takes for granted: that the old
// primary, as a standby, is let in by its successor.
func (a *asker) replicationLogin(ctx context.Context) ([]check.Finding, error) {
	p := a.primary()
	if p == nil || !a.rolling() || p.ID.Version == a.r.To && p.Installed == a.r.To {
		return nil, nil // no primary of its own, or the role does not move
	}
	b := &builder{v: a.v, r: a.r, primary: p}
	if b.settleCandidate() != nil {
		return nil, nil //nolint:nilerr // without a successor there is no plan; the refusal says why
	}
	from, err := siteOf(a.env, p.Name)
	if err != nil {
		return nil, err
	}
	to, err := siteOf(a.env, b.candidate.Name)
	if err != nil {
		return nil, err
	}
	ci, err := from.futureConninfo(ctx, to)
	if err != nil {
		return nil, err
	}
	ci = ci.to(to.Address, to.Port)
	evidence := p.Name + " → " + to.Name + ": " + ci.shown()
	err = from.tryLogin(ctx, to, ci)
	var refused *loginError
	var unasked *unaskedError
	switch {
	case err == nil:
		return []check.Finding{{Severity: check.Pass, Node: p.Name, Evidence: evidence,
			Says: say.F("may log in to %s for replication", "可以登录到 %s 进行复制", to.Name)}}, nil
	case errors.As(err, &unasked):
		says := say.Join(": ", say.F("nobody knows whether it may log in to %s for replication", "无法确认能否登录到 %s 进行复制", to.Name), unasked.why)
		return []check.Finding{with(check.Finding{Severity: check.Warn, Node: p.Name, Says: says}, evidence,
			"try it by hand from that machine", "请在该主机上手工验证")}, nil
	case errors.As(err, &refused):
		f := check.Finding{Severity: check.Block, Node: p.Name, Says: refused.Say(), Evidence: evidence + "; " + refused.err.Error(),
			Next: say.F("let it in by a line in pg_hba.conf on %[1]s (host replication USER ADDRESS-OF-%[2]s …) and the password on %[2]s (passfile); reload; then: shiplift check",
				"在 %[1]s 的 pg_hba.conf 中增加一行（host replication 用户 %[2]s的地址 …），并在 %[2]s 上准备好密码（passfile）；重新加载后执行：shiplift check", to.Name, p.Name)}
		return []check.Finding{f}, nil
	}
	return nil, err
}

// futureConninfo is asStandby for two nodes that are not connected yet.
func (s *site) futureConninfo(ctx context.Context, to *site) (conninfo, error) {
	fc, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer fc.close()
	tc, err := to.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer tc.close()
	ci, _, err := asStandby(ctx, fc, tc)
	return ci, err
}
