package gbase8a

import (
	"slices"
	"testing"
)

// TestTheEndOfTheFirstFlushIsNotThatOfTheSecond: db2 was away while the flush
// ran, and the flush is called again when it is back. What db2 brings back of
// the first one proves nothing of the second, which shows nothing for a while
// (G09, docs/bugs.md B-117).
func TestTheEndOfTheFirstFlushIsNotThatOfTheSecond(t *testing.T) {
	t.Parallel()
	s := &site{}
	for _, name := range []string{"db1", "db2", "db3"} {
		s.Members = append(s.Members, member{Name: name, Gcware: true})
	}
	old, first, second := Snapshot{142, 37977}, Snapshot{144, 41202}, Snapshot{144, 41204}
	hold := func(db1, db2, db3 Snapshot) map[string]SnapshotDir {
		return map[string]SnapshotDir{"db1": {Complete: []Snapshot{db1}}, "db2": {Complete: []Snapshot{db2}}, "db3": {Complete: []Snapshot{db3}}}
	}
	before := flushMemo{Newest: map[string]Snapshot{"db1": old, "db2": old, "db3": old}}
	again := before.raised(hold(first, old, first))
	if got := s.behind(hold(second, first, second), again); !slices.Equal(got, []string{"db2"}) {
		t.Errorf("behind are %v, want db2", got)
	}
	if got := s.behind(hold(second, second, second), again); len(got) > 0 {
		t.Errorf("behind are %v, want none", got)
	}
}
