package gauss

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
)

// Mend starts the servers that fell with their machines, as a person does where
// no cluster manager or MogHA does it, or MogHA is stopped for the run: in the mode
// that the server itself noted last, but as a standby where somebody else is the
// primary by now. Of several that were the primary it is the one that fell last: it
// reigned after the others, and none where one did that was told to stop, or that
// MogHA will start. What was stopped in order stays stopped; a standby that left
// its primary's history is copied anew.
func (l *Lab) Mend() error {
	if l.Options.CM {
		return nil
	}
	type fallen struct {
		node, data, mode string
		at               time.Time
		reign            int
	}
	var down []fallen
	var reigned time.Time // when one that the person does not start was the primary last
	l.World.With(func() {
		s := stateOf(l.World)
		for _, in := range s.insts {
			m := l.World.Machine(in.node)
			opts, _ := m.Read(in.data + "/postmaster.opts")
			starts := !in.told && m.Connected() && !s.ha[in.node].active(m)
			if in.srv == nil && !starts && strings.Contains(opts, `"-M" "primary"`) && in.stopped.After(reigned) {
				reigned = in.stopped
			}
			if in.srv == nil && starts {
				mode := "standby"
				for _, role := range []string{"primary", "cascade_standby"} {
					if strings.Contains(opts, `"-M" "`+role+`"`) {
						mode = role
					}
				}
				if l.Options.Nodes == 1 {
					mode = ""
				}
				down = append(down, fallen{in.node, in.data, mode, in.stopped, in.wal.id})
			}
		}
	})
	slices.SortStableFunc(down, func(a, b fallen) int { return cmp.Or(b.at.Compare(a.at), b.reign-a.reign) })
	for _, f := range down {
		if f.mode == "primary" && (l.Primary() != "" || reigned.After(f.at)) {
			f.mode = "standby"
		}
		argv := []string{"gs_ctl", "start", "-D", f.data}
		if f.mode != "" {
			argv = append(argv, "-M", f.mode)
		}
		if _, err := l.World.Machine(f.node).Run(context.Background(), host.Sourced(l.Options.Profile(), host.Change(argv...))); err != nil {
			return fmt.Errorf("a person starts %s: %w", f.node, err)
		}
	}
	return l.copyAnew()
}

// copyAnew builds the standbys that cannot follow any more, those that feed
// others first. Where MogHA works it would start the server under the copy (M03):
// that node is left alone.
func (l *Lab) copyAnew() error {
	if err := l.World.Sleep(context.Background(), 5*time.Second); err != nil {
		return err
	}
	for _, role := range []string{roleStandby, roleCascade} {
		var lost []*instance
		l.World.With(func() {
			s := stateOf(l.World)
			for _, in := range s.insts {
				m := l.World.Machine(in.node)
				if in.srv != nil && in.srv.role == role && in.srv.detail == "WAL segment removed" && m.Connected() && !s.ha[in.node].active(m) {
					lost = append(lost, in)
				}
			}
		})
		for _, in := range lost {
			mode := map[string]string{roleStandby: "standby", roleCascade: "cascade_standby"}[role]
			build := host.Sourced(l.Options.Profile(), host.Change("gs_ctl", "build", "-D", in.data, "-b", "full", "-M", mode))
			if _, err := l.World.Machine(in.node).Run(context.Background(), build); err != nil {
				return fmt.Errorf("a person builds %s anew: %w", in.node, err)
			}
		}
	}
	return nil
}
