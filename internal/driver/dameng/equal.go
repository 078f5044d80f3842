package dameng

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// position is where a primary stands: per node the next package and the LSN in
// its log file (spec/dameng.md section 5).
type position struct {
	Magic   int64
	NextSeq []int64
	FileLSN []int64
}

// replay is where a standby stands.
type replay struct {
	PMagic int64
	Seq    []int64
	LSN    []int64
}

var (
	errNotReady = say.Errorf("the standby does not tell its replay yet", "备库尚未给出重演进度")
	errNoViews  = say.Errorf("this release has no view of the replay", "该版本没有查看重演进度的视图")
)

// parseArray reads "(4426, 17)".
func parseArray(s string) ([]int64, error) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "(") || !strings.HasSuffix(s, ")") {
		return nil, say.Errorf("%q is not a list in parentheses", "%q 不是括号内的列表", s)
	}
	var out []int64
	for _, w := range strings.Split(s[1:len(s)-1], ",") {
		v, err := strconv.ParseInt(strings.TrimSpace(w), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// position reads V$RLOG on every node of the primary.
func (m *member) position(ctx context.Context) (position, error) {
	var p position
	for _, n := range m.nodes {
		t, err := n.ask(ctx, "SELECT DB_MAGIC, GLOBAL_NEXT_SEQ, FILE_LSN FROM V$RLOG")
		if err != nil {
			return p, fmt.Errorf("%s: %w", n.name, err)
		}
		magic, err1 := t.number(0, "DB_MAGIC")
		seq, err2 := t.number(0, "GLOBAL_NEXT_SEQ")
		lsn, err3 := t.number(0, "FILE_LSN")
		if err := errors.Join(err1, err2, err3); err != nil {
			return p, say.Errorf("%s: V$RLOG: %w", "%s：V$RLOG：%w", n.name, err)
		}
		p.Magic, p.NextSeq, p.FileLSN = magic, append(p.NextSeq, seq), append(p.FileLSN, lsn)
	}
	return p, nil
}

// replay reads V$RAPPLY_LSN_INFO at the node that replays.
func (m *member) replay(ctx context.Context, primary int64) (replay, error) {
	for _, n := range m.nodes {
		t, err := n.ask(ctx, "SELECT P_DB_MAGIC, PKG_SEQ_ARR, APPLY_LSN_ARR FROM V$RAPPLY_LSN_INFO")
		if isCode(err, codeNoTable) {
			return replay{}, errNoViews
		}
		if err != nil {
			return replay{}, fmt.Errorf("%s: %w", n.name, err)
		}
		if len(t.rows) == 0 {
			continue // of a DSC standby only the control node replays
		}
		// Of several rows the one of the primary counts; none means that it is not our primary's log.
		row := 0
		for i := range t.rows {
			if t.get(i, "P_DB_MAGIC") == fmt.Sprint(primary) {
				row = i
			}
		}
		magic, err1 := t.number(row, "P_DB_MAGIC")
		seq, err2 := parseArray(t.get(row, "PKG_SEQ_ARR"))
		lsn, err3 := parseArray(t.get(row, "APPLY_LSN_ARR"))
		if err := errors.Join(err1, err2, err3); err != nil {
			return replay{}, say.Errorf("%s: V$RAPPLY_LSN_INFO: %w", "%s：V$RAPPLY_LSN_INFO：%w", n.name, err)
		}
		return replay{magic, seq, lsn}, nil
	}
	return replay{}, errNotReady
}

// equal tells whether the three facts hold: the last package of each node is
// replayed, to the same LSN, and it is this primary's log.
func (r replay) equal(p position) bool {
	if r.PMagic != p.Magic || len(r.Seq) != len(p.NextSeq) || len(r.LSN) != len(p.FileLSN) {
		return false
	}
	for i := range p.NextSeq {
		if r.Seq[i] != p.NextSeq[i]-1 || r.LSN[i] != p.FileLSN[i] {
			return false
		}
	}
	return true
}

// behind counts what is missing, for the progress.
func (r replay) behind(p position) (left int64) {
	for i := range min(len(p.FileLSN), len(r.LSN)) {
		left += max(0, p.FileLSN[i]-r.LSN[i])
	}
	return left
}

// sameness is the answer of a consistency loop.
type sameness string

const (
	same     sameness = "same"
	growing  sameness = "growing"  // never met exactly, but it moves with the primary
	stuck    sameness = "stuck"    // it does not move
	foreign  sameness = "foreign"  // it replays another primary's log
	died     sameness = "died"     // it went away when it was asked
	unviewed sameness = "unviewed" // this release has no view of it
)

// samples is how many of the last looks must have risen to count as growing.
const samples = 5

// compare is the loop of spec/dameng.md section 5: the primary is read before and
// after the standby, since it writes even when nobody uses it.
func compare(ctx context.Context, primary, standby *member, limit time.Duration, report func(say.Text)) (sameness, error) {
	var seen []replay
	answer, magics := stuck, 0
	n := standby.first()
	err := n.waitFor(ctx, say.F("%s has replayed all of %s", "%s 与 %s 完全一致", standby.name, primary.name), limit, "", report, func(ctx context.Context) (wait.Look, error) {
		before, err := primary.position(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		r, err := standby.replay(ctx, before.Magic)
		switch {
		case errors.Is(err, errNoViews):
			answer = unviewed
			return wait.Look{Done: true}, nil
		case isCode(err, codeLinkLost, codeNoServer):
			answer = died
			return wait.Look{Done: true}, nil
		case errors.Is(err, errNotReady):
			return wait.Look{Says: say.Same(err.Error())}, nil
		case err != nil:
			return wait.Look{}, err
		}
		after, err := primary.position(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		if r.PMagic != before.Magic {
			if magics++; magics >= 3 {
				answer = foreign
				return wait.Look{Done: true}, nil
			}
		}
		if r.equal(before) || r.equal(after) {
			answer = same
			return wait.Look{Done: true}, nil
		}
		seen = append(seen, r)
		return wait.Look{Left: float64(r.behind(after)), Says: say.F("%d behind in LSN", "LSN 落后 %d", r.behind(after))}, nil
	})
	var waited *wait.Error
	if errors.As(err, &waited) {
		if rising(seen) {
			return growing, nil
		}
		return stuck, nil
	}
	return answer, err
}

// rising reports whether the last samples all moved on.
func rising(seen []replay) bool {
	if len(seen) < samples {
		return false
	}
	last := seen[len(seen)-samples:]
	first, end := last[0], last[len(last)-1]
	return slices.Compare(end.Seq, first.Seq) > 0 && slices.Compare(end.LSN, first.LSN) > 0
}

// compareOld is the loop for releases without the views: dmmonitor shows both
// members with equal LSNs and a valid recovery state (spec/dameng.md section 5).
func (s *site) compareOld(ctx context.Context, standby *member, limit time.Duration, report func(say.Text)) (sameness, error) {
	n := standby.first()
	err := n.waitFor(ctx, say.F("%s shows the LSN of the primary", "%s 的 LSN 与主库一致", standby.name), limit, "", report, func(ctx context.Context) (wait.Look, error) {
		return s.lookShow(ctx, standby)
	})
	var waited *wait.Error
	if errors.As(err, &waited) {
		return stuck, nil
	}
	if err != nil {
		return stuck, err
	}
	return same, nil
}

func (s *site) lookShow(ctx context.Context, standby *member) (wait.Look, error) {
	all, err := s.show(ctx, standby.name)
	if err != nil {
		return wait.Look{}, err
	}
	find := func(fits func(shown) bool) *shown {
		if i := slices.IndexFunc(all, fits); i >= 0 {
			return &all[i]
		}
		return nil
	}
	p := find(func(r shown) bool { return r.IMode == "PRIMARY" })
	b := find(func(r shown) bool {
		return slices.ContainsFunc(standby.nodes, func(n *node) bool { return n.instance() == r.Instance })
	})
	if p == nil || b == nil {
		return wait.Look{Says: say.F("dmmonitor does not show both", "dmmonitor 未同时显示主备库")}, nil
	}
	if b.RStat == "VALID" && len(p.FLSN) > 0 && slices.Equal(p.FLSN, b.FLSN) && slices.Equal(p.CLSN, b.CLSN) {
		return wait.Look{Done: true}, nil
	}
	return wait.Look{Says: say.F("RSTAT %s, FLSN %v, primary %v", "RSTAT %s，FLSN %v，主库 %v", b.RStat, b.FLSN, p.FLSN)}, nil
}

// untilEqual compares in the way that the release allows.
func (s *site) untilEqual(ctx context.Context, primary, standby *member, from release.Version, limit time.Duration, report func(say.Text)) (sameness, error) {
	if !from.Less(newRedo) {
		got, err := compare(ctx, primary, standby, limit, report)
		if err != nil || got != unviewed {
			return got, err
		}
	}
	return s.compareOld(ctx, standby, limit, report)
}
