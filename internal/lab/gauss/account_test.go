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

// TestMendStartsTheOneThatReignedLast: the new primary of a failover falls in
// the same moment, and has written since. The clocks of the machines cannot tell
// which one was the primary last; the servers' logs can (docs/bugs.md B-170).
func TestMendStartsTheOneThatReignedLast(t *testing.T) {
	t.Parallel()
	op := newOperator(t, 3, Options{})
	w := op.lab.World
	w.With(func() {
		s := stateOf(w)
		s.settle(w)
		hooks["failover"](w, nil, nil)
		p := s.primaryOf()
		if p != s.insts[1] {
			t.Fatalf("%s is the primary", p.name)
		}
		s.write(w, p, 136)
		for _, m := range w.Machines() {
			m.PowerOff()
		}
		for _, m := range w.Machines() {
			m.PowerOn()
		}
	})
	if err := op.lab.Mend(); err != nil {
		t.Fatal(err)
	}
	op.sleep(time.Minute)
	if p := op.lab.Primary(); p != "node2" {
		t.Errorf("the primary is %q", p)
	}
	if tr := op.lab.Truth(); tr.Lost != 0 || len(tr.Damage) > 0 {
		t.Errorf("%+v", tr)
	}
	if !op.lab.Healthy() {
		t.Errorf("%+v", op.lab.Nodes())
	}
}
