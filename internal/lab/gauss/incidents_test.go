package gauss

import (
	"testing"
	"time"
)

// TestWhatACutFindsWasStreamed: a standby has what the primary acknowledged until
// the moment in which its power or network went, although nobody has looked at
// the cluster for a while (B-047).
func TestWhatACutFindsWasStreamed(t *testing.T) {
	t.Parallel()
	for name, strike := range map[string]func(*Lab){
		"the power of the primary": func(l *Lab) { l.World.Machine("node1").PowerOff() },
		"its network":              func(l *Lab) { l.World.Machine("node1").Cut(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := newOperator(t, 47, Options{Load: true})
			op.sleep(10 * time.Second)
			before := op.lab.Truth().Acknowledged
			op.sleep(5 * time.Second)
			op.lab.World.With(func() { strike(op.lab) })
			acknowledged := op.lab.Truth().Acknowledged
			if acknowledged-before < 400 {
				t.Fatalf("%d writes in five seconds: the test looks at nothing", acknowledged-before)
			}
			op.lab.Kill("node1")
			op.run("node2", "gs_ctl", "failover", "-D", op.lab.Options.Data())
			if tr := op.lab.Truth(); op.lab.Primary() != "node2" || tr.Lost > 0 {
				t.Errorf("%s is the primary, %d bytes of acknowledged writes are lost", op.lab.Primary(), tr.Lost)
			}
		})
	}
}

// TestACascadeAheadOfItsSourceWaits: behind a change of the primary a cascade
// standby may be fed by one that has not come as far. It waits for that one, and
// its data has left nobody's history (B-106).
func TestACascadeAheadOfItsSourceWaits(t *testing.T) {
	t.Parallel()
	for name, reign := range map[string]bool{"within one reign": false, "across a change of reign": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := newOperator(t, 106, Options{Nodes: 4, Cascade: 1, Load: true})
			l, data := op.lab, op.lab.Options.Data()
			slow, primary := "node2", "node1"
			op.sleep(10 * time.Second)
			op.run(slow, "gs_ctl", "stop", "-D", data)
			if reign { // node1 goes with all that it has sent; what comes now is of node2's reign
				op.run(slow, "gs_ctl", "start", "-D", data, "-M", "standby")
				op.sleep(5 * time.Second)
				slow, primary = "node1", "node2"
				op.run(slow, "gs_ctl", "stop", "-D", data)
				op.run(primary, "gs_ctl", "failover", "-D", data)
			}
			op.sleep(10 * time.Second) // node3 feeds the cascade
			l.Lag(slow, time.Minute)
			op.run(slow, "gs_ctl", "start", "-D", data, "-M", "standby")
			op.sleep(5 * time.Second)
			op.run("node3", "gs_ctl", "stop", "-D", data)
			op.sleep(5 * time.Second)
			at := map[string]Node{}
			for _, n := range l.Nodes() {
				at[n.Name] = n
			}
			if l.Primary() != primary || at[slow].State != "Catchup" || at["node4"].LSN <= at[slow].LSN {
				t.Fatalf("the cascade is not ahead of a standby that is slow: %+v", at)
			}
			op.sleep(2 * time.Minute)
			for _, n := range l.Nodes() {
				if n.Name == "node4" && n.State != "Normal" {
					t.Errorf("the cascade is %s when its source has come as far", n.State)
				}
			}
			for _, d := range l.Truth().Damage {
				t.Error(d)
			}
		})
	}
}
