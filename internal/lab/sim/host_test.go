package sim_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/host/hosttest"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/lab/sshd"
)

var _ sshd.Machine = sim.Serve(nil)

func TestMachineIsAHost(t *testing.T) {
	t.Parallel()
	hosttest.Run(t, func(t *testing.T) hosttest.Machine {
		_, m := newMachine(t)
		m.Mkdir("/home/omm/work", 0o755, "omm")
		return hosttest.Machine{Host: m, Dir: "/home/omm/work"}
	})
}

func TestScriptsOfTheToolAreKnown(t *testing.T) {
	t.Parallel()
	w, m := newMachine(t)
	m.Write("/home/omm/.bashrc", "# profile\nexport GAUSSHOME=/opt/app\nexport PATH=$GAUSSHOME/bin:$PATH\nA=\"${GAUSSHOME}/x\"\n", 0o644, "omm")
	got := func(c host.Cmd) string {
		r, err := m.Run(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return r.Text()
	}
	if g := got(host.Sourced("~/.bashrc", host.Read("env", "-u", "HOME"))); g != "A=/opt/app/x\nGAUSSHOME=/opt/app\nLOGNAME=omm\nPATH=/opt/app/bin:/usr/local/bin:/usr/bin\nSHELL=/bin/bash\nUSER=omm" {
		t.Errorf("environment:\n%s", g)
	}
	if _, err := m.Run(t.Context(), host.Sourced("nothing", host.Read("true"))); !host.IsExit(err, 126) {
		t.Errorf("no profile: %v", err)
	}
	if c := w.Complaints(); len(c) != 0 {
		t.Errorf("complaints: %v", c)
	}
}

func TestFollowerWaitsForTheMainWork(t *testing.T) {
	t.Parallel()
	w, _ := newMachine(t)
	done := make(chan time.Time)
	go func() {
		clk := w.Follower()
		if err := clk.Sleep(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		done <- clk.Now()
	}()
	for {
		select {
		case at := <-done:
			if at.Before(sim.Epoch.Add(time.Minute)) {
				t.Errorf("woke at %s", at)
			}
			return
		default:
			if err := w.Sleep(t.Context(), time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRealTimeDoesNotHoldOthersUp(t *testing.T) {
	t.Parallel()
	w, m := newMachine(t)
	w.FollowRealTime(1)
	began := make(chan struct{})
	ended := make(chan error)
	w.RegisterTool("slow", func(c *sim.Call) int {
		close(began)
		c.Sleep(time.Minute)
		return 0
	})
	m.Install("/usr/local/bin/slow", "slow", "root")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := m.Run(ctx, host.Read("slow"))
		ended <- err
	}()
	<-began
	if _, err := m.Run(t.Context(), host.Read("true")); err != nil {
		t.Errorf("meanwhile: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
