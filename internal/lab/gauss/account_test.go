package gauss

import (
	"fmt"
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

// TestNobodyIsElectedInMaintenance: an in-place upgrade is open, the others are
// stopped for it, and a machine comes back: its agent starts the server as what
// it was, and makes no standby the primary (spec/opengauss.md 6.8; B-173).
func TestNobodyIsElectedInMaintenance(t *testing.T) {
	t.Parallel()
	for node, want := range map[string]string{"node1": rolePrimary, "node3": roleStandby} {
		t.Run(node, func(t *testing.T) {
			t.Parallel()
			op := newOperator(t, 3, Options{CM: true})
			w, o := op.lab.World, op.lab.Options
			w.Machine(node).PowerOff()
			w.With(func() {
				for i, m := range w.Machines() {
					m.Write(o.socketDir()+"/binary_upgrade/inplace_upgrade_flag", "newClusterNumber:92.862\n", 0o600, o.User)
					m.Write(o.cmDir()+"/cm_agent/cm_agent.conf", "upgrade_from = 92848\n", 0o600, o.User)
					if m.Name() != node {
						m.Write(fmt.Sprintf("%s/bin/instance_manual_start_%d", o.App(), 6001+i), "", 0o600, o.User)
					}
				}
			})
			for _, n := range op.names() {
				if n != node {
					op.run(n, "gs_ctl", "stop", "-D", o.Data())
				}
			}
			w.Machine(node).PowerOn()
			op.sleep(3 * time.Minute)
			for _, n := range op.lab.Nodes() {
				if n.Name == node && n.Role != want || n.Name != node && n.Role != "" {
					t.Errorf("%s is %q", n.Name, n.Role)
				}
			}
		})
	}
}
