package mogdb

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/say"
)

// memoryQuery asks for the walsenders' memory in bytes. The seed's query lacks
// its GROUP BY and is refused by the server (golden swap/020); sesstype says
// "postgres" for a walsender, so the context's name filters (golden swap/022).
const memoryQuery = "select sessid,sesstype,totalsize,freesize,usedsize from gs_session_memory_detail where contextname='Wal Sender'"

// session is one row of the answer.
type session struct {
	ID   string // start in seconds since 1970, a dot, the thread
	Used int64
}

// began is when the session started; the zero time when its id does not tell.
func (s session) began() time.Time { return sessionStart(s.ID) }

func sessionStart(id string) time.Time {
	sec, _, _ := strings.Cut(id, ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}
	}
	return time.Unix(n, 0)
}

func parseMemory(rows [][]string) ([]session, error) {
	var out []session
	for _, r := range rows {
		if len(r) != 5 {
			return nil, say.Errorf("five columns were expected, got %q", "应为五列，实为 %q", strings.Join(r, "|"))
		}
		used, err := strconv.ParseInt(strings.TrimSpace(r[4]), 10, 64)
		if err != nil || used < 0 {
			return nil, say.Errorf("usedsize is %q", "usedsize 为 %q", r[4])
		}
		// A walsender may have several contexts of that name.
		if i := slices.IndexFunc(out, func(s session) bool { return s.ID == r[0] }); i >= 0 {
			out[i].Used += used
			continue
		}
		out = append(out, session{r[0], used})
	}
	return out, nil
}

// sample is one look at one walsender.
type sample struct {
	At   time.Time
	Used int64
	WAL  gaussdb.LSN
}

// series are the looks at one walsender; a reconnect starts another one.
type series struct {
	ID      string
	Samples []sample
}

// trend is the verdict about a series (spec/mogdb.md section 10).
type trend string

// The verdicts.
const (
	growing trend = "growing"
	flat    trend = "flat"
	unclear trend = "unclear"
)

// measure holds the figures behind a verdict.
type measure struct {
	Trend   trend
	Slope   float64 // bytes an hour
	From    int64   // usedsize of the first and the last sample that counts
	To      int64
	Span    time.Duration
	Samples int
	WAL     int64 // bytes of log written meanwhile
	Why     string
	WhyZH   string
}

// limits are the numbers of the verdict; the vendor gives none [A].
type limits struct {
	Span    time.Duration
	Samples int
	WAL     int64
	Leak    float64       // bytes an hour
	Flat    float64       // bytes an hour
	WarmUp  time.Duration // of a session, in which its memory may grow
}

func usualLimits() limits {
	return limits{Span: time.Hour, Samples: 30, WAL: 64 << 20, Leak: 64 << 10, Flat: 16 << 10, WarmUp: 10 * time.Minute}
}

// judge looks at usedsize alone: totals grow in steps that double. A low value
// behind a restart proves nothing, so a session's first minutes do not count.
func (l limits) judge(s series) measure {
	start := sessionStart(s.ID)
	// The id is of the database's clock: no session began after it was first seen.
	if len(s.Samples) > 0 && start.After(s.Samples[0].At) {
		start = s.Samples[0].At
	}
	var used []sample
	for _, x := range s.Samples {
		if start.IsZero() || !x.At.Before(start.Add(l.WarmUp)) {
			used = append(used, x)
		}
	}
	m := measure{Trend: unclear, Samples: len(used)}
	early, late := theilSen(used[:len(used)/2]), theilSen(used[len(used)/2:])
	if len(used) > 0 {
		first, last := used[0], used[len(used)-1]
		m.From, m.To, m.Span = first.Used, last.Used, last.At.Sub(first.At)
		if last.WAL > first.WAL {
			m.WAL = int64(last.WAL - first.WAL)
		}
		m.Slope = theilSen(used)
	}
	switch {
	case m.Samples < l.Samples:
		m.Why, m.WhyZH = fmt.Sprintf("%d samples behind the first %s of the session, %d are needed", m.Samples, l.WarmUp, l.Samples), fmt.Sprintf("会话启动 %s 之后只有 %d 个样本，需要 %d 个", l.WarmUp, m.Samples, l.Samples)
	case m.Span < l.Span:
		m.Why, m.WhyZH = fmt.Sprintf("watched for %s, %s are needed", m.Span, l.Span), fmt.Sprintf("观察了 %s，需要 %s", m.Span, l.Span)
	case m.WAL < l.WAL:
		m.Why, m.WhyZH = fmt.Sprintf("%d MB of log were written, %d MB are needed: the leak grows with the log", m.WAL>>20, l.WAL>>20), fmt.Sprintf("期间只写入 %d MB 日志，需要 %d MB：泄漏随日志增长", m.WAL>>20, l.WAL>>20)
	case m.Slope > l.Leak && min(early, late) > l.Flat && leastOf(used[len(used)*3/4:]) > mostOf(used[:(len(used)+3)/4]):
		m.Trend = growing
	case m.Slope <= l.Flat, max(early, late) <= l.Flat: // a single step grows in neither half
		m.Trend = flat
	default:
		m.Why, m.WhyZH = "the slope lies between the limits, or only one half of the time shows growth", "斜率介于两个阈值之间，或仅有一半时间在增长"
	}
	return m
}

func leastOf(s []sample) int64 {
	return slices.MinFunc(s, func(a, b sample) int { return int(a.Used - b.Used) }).Used
}

func mostOf(s []sample) int64 {
	return slices.MaxFunc(s, func(a, b sample) int { return int(a.Used - b.Used) }).Used
}

// theilSen is the median of the slopes of all pairs, in bytes an hour: a
// single step or an outlier does not move it.
func theilSen(s []sample) float64 {
	var slopes []float64
	for i := range s {
		for j := i + 1; j < len(s); j++ {
			if h := s[j].At.Sub(s[i].At).Hours(); h > 0 {
				slopes = append(slopes, float64(s[j].Used-s[i].Used)/h)
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	sort.Float64s(slopes)
	n := len(slopes)
	if n%2 == 1 {
		return slopes[n/2]
	}
	return (slopes[n/2-1] + slopes[n/2]) / 2
}
