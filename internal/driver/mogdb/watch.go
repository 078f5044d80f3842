package mogdb

import (
	"context"
	"fmt"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// Watch samples the memory of the primary's walsenders for d and judges each
// of them: growing or flat, with the figures behind it (spec/mogdb.md section
// 10). p may be nil: then a cluster is watched that has no run, e.g. before it.
func (*Driver) Watch(ctx context.Context, env driver.Env, p *plan.Plan, d time.Duration) ([]check.Finding, error) {
	if d <= 0 {
		return nil, &say.Problem{Text: say.F("how long to watch must be more than nothing", "观察时长必须大于零"), Next: say.Same("shiplift verify --watch 30m")}
	}
	l := usualLimits()
	every := min(time.Minute, d/40)
	l.Span = min(l.Span, d*8/10)
	l.WarmUp = min(l.WarmUp, d/10)
	w := watcher{env: env, limits: l}
	began := env.Clock.Now()
	for {
		if err := w.sample(ctx); err != nil {
			return nil, err
		}
		if env.Clock.Now().Sub(began) >= d {
			break
		}
		if err := env.Clock.Sleep(ctx, every); err != nil {
			return nil, err
		}
	}
	return w.findings(d), nil
}

type watcher struct {
	env     driver.Env
	limits  limits
	primary string
	release string
	archive string
	all     []*series
	missed  int
}

// sample looks once. A primary that changes or does not answer for a moment
// makes a gap, no error; only the end of the context is one.
func (w *watcher) sample(ctx context.Context) error {
	primary, err := primaryOf(w.env, whoIs(ctx, w.env))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if primary == "" {
		w.missed++
		return nil
	}
	s, err := siteOf(w.env, primary)
	if err != nil {
		return err
	}
	if err := w.look(ctx, s); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		w.missed++
	}
	return nil
}

func (w *watcher) look(ctx context.Context, s *site) error {
	if s.Name != w.primary {
		b, err := s.Node.Value(ctx, s.Port, "select version()")
		if err != nil {
			return err
		}
		banner, err := gaussdb.ParseBanner(b)
		if err != nil {
			return err
		}
		if w.archive, err = s.Value(ctx, s.Port, "show archive_mode"); err != nil {
			return err
		}
		w.limits.WAL = s.WatchWAL
		w.primary, w.release = s.Name, banner.Release
	}
	at, err := s.Value(ctx, s.Port, "select pg_current_xlog_location()")
	if err != nil {
		return err
	}
	lsn, err := gaussdb.ParseLSN(at)
	if err != nil {
		return err
	}
	rows, err := s.SQL(ctx, s.Port, "postgres", memoryQuery)
	if err != nil {
		return err
	}
	sessions, err := parseMemory(rows)
	if err != nil {
		return err
	}
	now := w.env.Clock.Now()
	for _, m := range sessions {
		w.series(s.Name + " " + m.ID).Samples = append(w.series(s.Name+" "+m.ID).Samples, sample{At: now, Used: m.Used, WAL: lsn})
	}
	return nil
}

func (w *watcher) series(id string) *series {
	for _, s := range w.all {
		if s.ID == id {
			return s
		}
	}
	w.all = append(w.all, &series{ID: id})
	return w.all[len(w.all)-1]
}

func (w *watcher) findings(d time.Duration) []check.Finding {
	const id = "walsender-memory"
	if len(w.all) == 0 {
		return []check.Finding{{ID: id, Severity: check.Warn, Node: w.primary, Rule: "M20",
			Says: say.F("not measurable: no walsender had a row in gs_session_memory_detail in %s (%d looks failed)", "无法测量：%s 内 gs_session_memory_detail 中没有 walsender 的记录（%d 次查询失败）", d, w.missed)}}
	}
	var out []check.Finding
	for _, s := range w.all {
		m := w.judge(s)
		f := check.Finding{ID: id, Node: w.primary, Rule: "M20", Evidence: figures(s.ID, m)}
		if w.archive != "on" && m.Trend != growing {
			m.Trend, m.Why, m.WhyZH = unclear, "archive_mode is "+w.archive+": the leak shows only with archiving on", "archive_mode 为 "+w.archive+"：仅在开启归档时才会泄漏"
		}
		switch m.Trend {
		case growing:
			f.Severity = check.Block
			f.Says = say.F("growing: the walsender of %s leaks %.0f kB an hour (%s)", "持续增长：%s 的 walsender 每小时泄漏 %.0f kB（%s）", w.release, m.Slope/1024, f.Evidence)
			f.Next = say.F("keep the run uncommitted and tell the vendor; 2.0.1 leaks until it is upgraded", "暂不提交并联系厂商；2.0.1 在升级之前会持续泄漏")
		case flat:
			f.Severity = check.Pass
			f.Says = say.F("flat: the walsender of %s holds its memory (%s)", "保持平稳：%s 的 walsender 内存未增长（%s）", w.release, f.Evidence)
		default:
			f.Severity = check.Warn
			f.Says = say.Join(": ", say.F("no verdict", "无法得出结论"), say.Text{EN: m.Why, ZH: m.WhyZH})
			f.Next = say.F("watch longer, under the usual load", "请在正常负载下延长观察")
		}
		out = append(out, f)
	}
	return out
}

// judge strips the node's name, which only keeps sessions apart.
func (w *watcher) judge(s *series) measure {
	_, id, _ := cutLast(s.ID)
	return w.limits.judge(series{ID: id, Samples: s.Samples})
}

func cutLast(s string) (string, string, bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == ' ' {
			return s[:i], s[i+1:], true
		}
	}
	return "", s, false
}

func figures(id string, m measure) string {
	return fmt.Sprintf("%s: %d samples over %s, usedsize %d -> %d bytes, slope %+.0f bytes/h, %d MB of log", id, m.Samples, m.Span.Round(time.Second), m.From, m.To, m.Slope, m.WAL>>20)
}
