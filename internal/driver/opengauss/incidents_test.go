package opengauss

import (
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/lab/gauss"
)

// TestTheClusterManagerCopiesWhatCannotFollow: a server that holds what nobody
// else has was stopped, another one was elected meanwhile. The step that starts
// it again gives it back to the cluster manager as soon as it runs, which copies
// it anew; held back until it follows it would never follow (B-109).
func TestTheClusterManagerCopiesWhatCannotFollow(t *testing.T) {
	t.Parallel()
	r, lab := roomFor(t, gauss.Options{CM: true, Load: true})
	s := r.Sites[0]
	sleep := func(d time.Duration) {
		t.Helper()
		if err := r.Clock.Sleep(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	sleep(5 * time.Second)
	if err := s.change(t.Context(), "touch", s.hold(s.Home)); err != nil {
		t.Fatal(err)
	}
	m := lab.World.Machine(s.Name)
	lab.World.With(func() { m.Cut(true) })
	lab.Truth()
	sleep(5 * time.Second) // it takes writes alone
	lab.Kill(s.Name)
	sleep(30 * time.Second)
	lab.World.With(func() { m.Cut(false) })
	if p := lab.Primary(); p != "node2" && p != "node3" {
		t.Fatalf("%q was elected", p)
	}
	if err := r.startServer(t.Context(), s, "standby"); err != nil {
		t.Fatal(err)
	}
	sleep(time.Minute)
	if n := lab.Nodes()[0]; n.Role != "Standby" || n.State != "Need repair" {
		t.Fatalf("it is no standby that cannot follow: %+v", n)
	}
	if err := r.launch(t.Context(), s, "standby"); err != nil || !lab.Healthy() {
		t.Errorf("%v; healthy: %t", err, lab.Healthy())
	}
}

// TestAnOrphanIsNotStartedAsAStandby: somebody made it the primary, it fell, and
// nobody is the primary now. Started as a standby it would forget that it was the
// last one (I4, B-150).
func TestAnOrphanIsNotStartedAsAStandby(t *testing.T) {
	t.Parallel()
	r, lab := roomFor(t, gauss.Options{})
	s := r.Sites[1]
	lab.Kill("node1")
	r.run(t, s, "gs_ctl", "failover", "-D", s.Data)
	if err := r.Clock.Sleep(t.Context(), 5*time.Second); err != nil || lab.Primary() != s.Name {
		t.Fatalf("%v; %s is the primary", err, lab.Primary())
	}
	lab.Kill(s.Name)
	drivertest.Refuses(t, r.startServer(t.Context(), s, "standby"), "it is not started as a standby")
	if ruled, err := s.ruled(t.Context()); err != nil || !ruled {
		t.Errorf("it has forgotten that it was the primary: %v", err)
	}
}
