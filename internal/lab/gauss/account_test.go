package gauss

import (
	"testing"
	"time"
)

// TestWhatAnElectionMayLose kills the primary for good: what it acknowledged
// alone, as most_available_sync lets it, is nobody's loss when the cluster
// manager elects another one; what a standby had received too is (B-152).
func TestWhatAnElectionMayLose(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ alone, lost bool }{
		"acknowledged alone":                         {alone: true},
		"the newest log is elected":                  {},
		"received by a standby, another was elected": {lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := newOperator(t, 3, Options{CM: true, Load: true})
			w := op.lab.World
			op.sleep(10 * time.Second)
			if c.alone {
				w.Machine("node2").Cut(true)
				w.Machine("node3").Cut(true)
				op.lab.Truth() // the links end now
				op.sleep(2 * time.Second)
			}
			before := op.lab.Truth().Acknowledged
			w.With(func() {
				s := stateOf(w)
				s.settle(w)
				w.Machine("node1").PowerOff()
				w.Machine("node2").Cut(false)
				w.Machine("node3").Cut(false)
				s.elect(w)
				if c.lost { // an election that goes wrong: nobody who can be asked has the newest log
					for _, in := range s.insts[1:] {
						in.lsn -= 1360
					}
				}
			})
			op.sleep(2 * time.Minute)
			tr := op.lab.Truth()
			if p := op.lab.Primary(); p != "node2" && p != "node3" || tr.Acknowledged <= before {
				t.Fatalf("%q is the primary, %d writes behind the %d before", p, tr.Acknowledged, before)
			}
			if (tr.Lost > 0) != c.lost {
				t.Errorf("%d bytes of acknowledged writes are lost", tr.Lost)
			}
		})
	}
}
