package postgres

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// A planned switchover promotes a standby only when it has all that the old
// primary ever wrote, so the old one follows as it is. One that was written to
// beside its successor (somebody's failover, a start by hand) has gone its own
// way and cannot follow. That is noticed before it is started, from two files;
// what to do about it is a person's word, since what only the old one has would
// be lost: the setting rewind.

// fork is where a server's history parted from its upstream's.
type fork struct {
	node, upstream string
	own, theirs    int // timelines
	end, at        lsn // what the server has at least, and where the other timeline began
}

func (f *fork) says() say.Text {
	return say.F("it has gone its own way: its timeline %d reaches %s at least, but %s began timeline %d at %s; what lies between was never on %[3]s, and the server cannot follow",
		"它与上游已分叉：其时间线 %d 至少写到 %s，而 %s 的时间线 %d 始于 %s；其间的内容从未到过 %[3]s，该服务器无法跟随", f.own, f.end, f.upstream, f.theirs, f.at)
}

// parseHistory returns where a timeline was left, by a timeline history file
// (PostgreSQL manual, 26.3.6): number, position, reason; one line each.
func parseHistory(text string, tli int) (lsn, bool) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != strconv.Itoa(tli) {
			continue
		}
		at, err := parseLSN(f[1])
		return at, err == nil && at > 0
	}
	return 0, false
}

// parted reports whether a server that has timeline tli up to end, that one
// not included, can no longer follow the primary; nil when it can, or when nobody can tell.
func (s *site) parted(ctx context.Context, p *primary, tli int, end lsn) (*fork, error) {
	id, err := p.conn.identity(ctx)
	if err != nil || id.Timeline <= tli {
		return nil, err
	}
	text, err := p.text(ctx, "cat", fmt.Sprintf("%s/pg_wal/%08X.history", p.Data, id.Timeline))
	if host.IsExit(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	at, known := parseHistory(text, tli)
	if !known || end <= at {
		return nil, nil
	}
	return &fork{node: s.Name, upstream: p.Name, own: tli, theirs: id.Timeline, end: end, at: at}, nil
}

// canFollow looks, before a standby is started, whether it can follow the
// present primary. One that cannot is rewound where that is allowed.
func (s *site) canFollow(ctx context.Context) error {
	p, err := findPrimary(ctx, s.env)
	if err != nil || p == nil || p.Name == s.Name {
		p.close()
		return err
	}
	defer p.close()
	end, err := s.control(ctx)
	if err != nil {
		return err
	}
	f, err := s.parted(ctx, p, end.historyTLI(), end.historyEnd())
	if err != nil {
		return err
	}
	begun, err := s.exists(ctx, s.rewindDir())
	if err != nil || f == nil && !begun {
		return err
	}
	if f == nil { // an earlier process has rewound it and died before it had put its files back
		return s.putBack(ctx)
	}
	return s.rewind(ctx, p, f, end.State == stateShutDown || end.State == stateShutDownInRecovery)
}

func (s *site) rewindDir() string { return s.Base + "/.rewind" }

// rewind lets PostgreSQL's own tool take back what only this server has. It is
// tried dry first; the node's own configuration, which the tool overwrites with
// the primary's, is kept beside and put back.
func (s *site) rewind(ctx context.Context, p *primary, f *fork, clean bool) error {
	tool := s.bin("current", "pg_rewind")
	there, err := s.exists(ctx, tool)
	if err != nil {
		return err
	}
	source := conninfo{{"host", p.Address}, {"port", p.Port}, {"user", s.User}, {"dbname", s.Database}, {"passfile", s.rewindDir() + "/pass"}}
	argv := []string{tool, "--target-pgdata=" + s.Data, "--source-server=" + source.String(), "--write-recovery-conf"}
	if !there || !clean || !s.Rewind {
		return s.cannotFollow(p, f, there, clean, argv)
	}
	if err := s.keepFiles(ctx); err != nil {
		return err
	}
	if err := s.runRewind(ctx, f, argv, source); err != nil {
		return err
	}
	return s.putBack(ctx)
}

// cannotFollow says what a person can do about it.
func (s *site) cannotFollow(p *primary, f *fork, there, clean bool, argv []string) error {
	by := say.F("take it in anew by pg_basebackup from %s, or by pg_rewind of its release (this package has none)",
		"用 pg_basebackup 从 %s 重建，或使用该版本的 pg_rewind（此升级包中没有）", p.Name)
	switch {
	case there && !clean:
		by = say.F("by hand, since it did not stop cleanly: %s", "由于未正常停止，请手工执行：%s", strings.Join(argv, " "))
	case there:
		by = say.F("settings.rewind: discard in the inventory lets pg_rewind do so",
			"在清单中设置 settings.rewind: discard 即可由 pg_rewind 处理")
	}
	return &say.Problem{Place: s.Name, Text: f.says(), Next: say.Text{
		EN: "save what only " + s.Name + " has, if it is wanted (pg_waldump from " + f.at.String() + " on); then " + by.EN + "; then: shiplift resume (or shiplift rollback)",
		ZH: "如需保留仅在 " + s.Name + " 上的内容，请先备份（从 " + f.at.String() + " 起用 pg_waldump 查看）；然后" + by.ZH + "；最后执行：shiplift resume（或 shiplift rollback）",
	}}
}

// ownFiles are a node's own in the data directory. pg_rewind makes them the source's.
var ownFiles = []string{"postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"}

// keepFiles keeps the node's own files beside, unless an earlier process has:
// then those in the data directory may be the source's already.
func (s *site) keepFiles(ctx context.Context) error {
	if begun, err := s.exists(ctx, s.rewindDir()); err != nil || begun {
		return err
	}
	tmp := s.rewindDir() + ".partial"
	if err := s.change(ctx, []string{"rm", "-rf", tmp}, []string{"mkdir", "-m", "0700", tmp}); err != nil {
		return err
	}
	for _, name := range ownFiles {
		there, err := s.exists(ctx, s.Data+"/"+name)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if err := s.change(ctx, []string{"cp", "-p", s.Data + "/" + name, tmp + "/" + name}, []string{"sync", tmp + "/" + name}); err != nil {
			return err
		}
	}
	return s.change(ctx, []string{"mv", "-T", tmp, s.rewindDir()}, []string{"sync", s.Base})
}

// rewindTime bounds pg_rewind, which reads all WAL since the fork and copies
// what has changed.
const rewindTime = time.Hour

func (s *site) runRewind(ctx context.Context, f *fork, argv []string, source conninfo) error {
	password := ""
	if s.PasswordSetting != "" {
		var err error
		if password, err = s.env.Secret(s.Name, s.PasswordSetting); err != nil {
			return say.Errorf("%s: password: %w", "%s：口令：%w", s.Name, err)
		}
	}
	pass := source.get("passfile")
	line := "*:*:*:*:" + strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(password) + "\n"
	if err := host.WriteFile(ctx, s.host, pass, []byte(line), 0o600); err != nil {
		return err
	}
	return errors.Join(s.tryRewind(ctx, f, argv), s.change(ctx, []string{"rm", "-f", pass})) // no password stays behind (I10)
}

// tryRewind runs the tool dry, then for good.
func (s *site) tryRewind(ctx context.Context, f *fork, argv []string) error {
	for _, words := range [][]string{append(argv[:len(argv):len(argv)], "--dry-run"), argv} {
		c := host.Change(words...)
		c.Timeout = rewindTime
		if _, err := s.run(ctx, c); err != nil {
			if !host.IsExit(err) {
				return err
			}
			return &say.Problem{Place: s.Name, Err: err,
				Text: say.Text{EN: f.says().EN + "; and " + path.Base(argv[0]) + " could not mend it", ZH: f.says().ZH + "；" + path.Base(argv[0]) + " 也未能处理"},
				Next: say.F("take %s in anew by pg_basebackup, then: shiplift resume (or shiplift rollback)", "用 pg_basebackup 重建 %s，然后执行：shiplift resume（或 shiplift rollback）", s.Name)}
		}
	}
	return nil
}

// putBack gives the node its own files again and makes it a standby, also when
// an earlier process has begun that.
func (s *site) putBack(ctx context.Context) error {
	for _, name := range ownFiles {
		kept := s.rewindDir() + "/" + name
		there, err := s.exists(ctx, kept)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if err := s.change(ctx, []string{"cp", "-p", kept, s.Data + "/" + name}, []string{"sync", s.Data + "/" + name}); err != nil {
			return err
		}
	}
	return s.change(ctx, []string{"touch", s.signal()}, []string{"sync", s.signal(), s.Data}, []string{"rm", "-rf", s.rewindDir()})
}
