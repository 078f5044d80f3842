package pgsim

import "testing"

// TestAnAgentMakesSlotsWhereStandbysUseThem: a slot that only holds WAL while
// nodes are down makes no cluster of slots; what the agent made there nobody
// would take away when the role has moved on (B-193).
func TestAnAgentMakesSlotsWhereStandbysUseThem(t *testing.T) {
	t.Parallel()
	for name, slots := range map[string]bool{"with slots": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := Start(Options{Nodes: 3, Slots: slots, Release: "15.16"})
			if err != nil {
				t.Fatal(err)
			}
			l.World.With(func() { roomOf(l.World).nodes["db1"].slots["hold"] = true })
			if err := l.World.Strike(MoveHook, "db1"); err != nil {
				t.Fatal(err)
			}
			have := l.Settings()
			if have["db3 primary_conninfo"] != conninfo(roomOf(l.World).nodes["db2"], "db3") {
				t.Fatalf("db3 does not follow db2: %v", have)
			}
			if made := have["db2 slot db3"] != ""; made != slots {
				t.Errorf("a slot for db3 was made: %t", made)
			}
		})
	}
}
