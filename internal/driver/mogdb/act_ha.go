package mogdb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// moghaAction stops MogHA (off) or starts it. The one's Do is the other's
// Undo, so that MogHA is on again at the end of every way.
type moghaAction struct{ off bool }

// moghaMemo is the unit and whether it starts with the machine: a node that
// boots in the middle of the work must not bring its MogHA back.
type moghaMemo struct {
	Unit    string `json:"unit"`
	Enabled bool   `json:"enabled"`
}

func (a moghaAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := here(t)
	if err != nil {
		return nil, err
	}
	if a.off {
		h, err := s.mogha(ctx)
		if err != nil {
			return nil, err
		}
		return remember(moghaMemo{s.Unit, h.Enabled})
	}
	var m moghaMemo
	if err := recall(t.MemoOf(t.Step.Node+"/"+kindHold), &m); err != nil {
		return nil, err
	}
	return remember(m)
}

func (a moghaAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := here(t)
	if err != nil {
		return driver.Unknown, err
	}
	var m moghaMemo
	if err := recall(t.Memo, &m); err != nil {
		return driver.Unknown, err
	}
	h, err := s.mogha(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	switch {
	case !h.up() && !h.Enabled:
		return map[bool]driver.Standing{true: driver.Applied, false: driver.NotApplied}[a.off], nil
	case len(h.Procs) > 0 && (h.Active || !h.Unit) && h.Enabled == m.Enabled:
		return map[bool]driver.Standing{true: driver.NotApplied, false: driver.Applied}[a.off], nil
	}
	return driver.Half, nil
}

func (a moghaAction) Do(ctx context.Context, t driver.Target) error { return a.turn(ctx, t, a.off) }

func (a moghaAction) Undo(ctx context.Context, t driver.Target) error {
	return a.turn(ctx, t, !a.off)
}

func (a moghaAction) turn(ctx context.Context, t driver.Target, off bool) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	var m moghaMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	if off {
		return s.moghaOff(ctx, report(t))
	}
	if t.Undoing {
		// A server that fell while MogHA was off is started by nobody else.
		if err := reviveAll(ctx, t); err != nil {
			return err
		}
	}
	if err := healthyForMogHA(ctx, t); err != nil {
		return err
	}
	return s.moghaOn(ctx, m.Enabled, report(t))
}

// moghaOff stops the unit, ends the processes that outlive it (KillMode=process
// leaves them, spec/mogdb.md section 6) and proves that nothing is left.
func (s *site) moghaOff(ctx context.Context, tell func(say.Text)) error {
	h, err := s.mogha(ctx)
	if err != nil {
		return err
	}
	if h.Enabled {
		if _, err := s.Host.Run(ctx, host.Change(append(slices.Clone(s.Sudo), "systemctl", "disable", s.Unit)...)); err != nil {
			return s.haTrouble(err)
		}
	}
	if !h.up() {
		return nil
	}
	if cmd := s.haCommand(h, s.HAStop, "stop"); cmd != nil {
		if _, err := s.Host.Run(ctx, host.Change(cmd...)); err != nil {
			return s.haTrouble(err)
		}
	}
	spec := wait.Spec{What: say.F("MogHA of %s is gone", "%s 的 MogHA 已退出", s.Name), Node: s.Name, Deadline: 2 * time.Minute, Every: time.Second, Next: "ps -ef | grep mogha"}
	looks := 0
	return wait.For(ctx, s.env.Clock, spec, tell, func(ctx context.Context) (wait.Look, error) {
		h, err := s.mogha(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		if looks++; looks == 5 && len(h.Procs) > 0 && !h.Active {
			tell(say.F("%s: %d processes of MogHA outlive their unit and are ended", "%s：MogHA 有 %d 个进程未随服务退出，现将其结束", s.Name, len(h.Procs)))
			if err := s.endProcesses(ctx, h.Procs); err != nil {
				return wait.Look{}, err
			}
		}
		return wait.Look{Done: !h.up(), Left: float64(len(h.Procs)), Says: say.F("%d processes are left", "还有 %d 个进程", len(h.Procs))}, nil
	})
}

func (s *site) endProcesses(ctx context.Context, procs []process) error {
	argv := append(slices.Clone(s.Sudo), "kill", "-TERM")
	for _, p := range procs {
		argv = append(argv, itoa(p.PID))
	}
	_, err := s.Host.Run(ctx, host.Change(argv...))
	if host.IsExit(err) {
		return nil // some were gone already: who is left is looked at
	}
	return err
}

// haCommand is the command that stops or starts MogHA: the site's own where
// one is given, systemctl where there is a unit.
func (s *site) haCommand(h haState, own []string, verb string) []string {
	switch {
	case len(own) > 0:
		return own
	case h.Unit:
		return append(slices.Clone(s.Sudo), "systemctl", verb, s.Unit)
	}
	return nil
}

func (s *site) haTrouble(err error) error {
	if !host.IsExit(err) {
		return err
	}
	return &say.Problem{
		Place: s.Name,
		Text:  say.F("MogHA could not be stopped or started", "无法停止或启动 MogHA"),
		Next:  say.F("let the login run systemctl for unit %s with sudo without a password, or set mogha_stop and mogha_start in the inventory", "为登录用户配置对服务 %s 执行 systemctl 的免密 sudo，或在清单中设置 mogha_stop 与 mogha_start", s.Unit),
		Err:   err,
	}
}

// moghaOn starts MogHA and proves that unit and processes are there.
func (s *site) moghaOn(ctx context.Context, enabled bool, tell func(say.Text)) error {
	h, err := s.mogha(ctx)
	if err != nil {
		return err
	}
	if enabled && !h.Enabled {
		if _, err := s.Host.Run(ctx, host.Change(append(slices.Clone(s.Sudo), "systemctl", "enable", s.Unit)...)); err != nil {
			return s.haTrouble(err)
		}
	}
	if !h.Active || len(h.Procs) == 0 {
		cmd := s.haCommand(h, s.HAStart, "start")
		if h.Active && len(s.HAStart) == 0 { // a unit whose processes died
			cmd = s.haCommand(h, nil, "restart")
		}
		if cmd == nil {
			return s.haTrouble(&host.ExitError{Node: s.Name, Argv: []string{"systemctl", "start", s.Unit}, Code: 5, Stderr: []byte("no unit")})
		}
		if len(h.Procs) == 0 || h.Unit {
			if _, err := s.Host.Run(ctx, host.Change(cmd...)); err != nil {
				return s.haTrouble(err)
			}
		}
	}
	spec := wait.Spec{What: say.F("MogHA of %s is active", "%s 的 MogHA 处于活动状态", s.Name), Node: s.Name, Deadline: 2 * time.Minute, Every: time.Second, Next: "systemctl status " + s.Unit}
	return wait.For(ctx, s.env.Clock, spec, tell, func(ctx context.Context) (wait.Look, error) {
		h, err := s.mogha(ctx)
		return wait.Look{Done: len(h.Procs) > 0 && (h.Active || !h.Unit), Says: say.F("unit %s, %d processes", "服务 %s，%d 个进程", h.word(), len(h.Procs))}, err
	})
}

// quiet proves that nobody brings back what will be stopped, and that the
// cluster is as it was: watched for the time in which MogHA would have acted
// (M02, M03, M04).
func quiet(ctx context.Context, t driver.Target) error {
	settle := confOf(t.Env.Inventory.Nodes[0]).Settle
	began := t.Clock.Now()
	first := ""
	spec := wait.Spec{What: say.F("nothing moves for %s", "%s 内没有任何变化", settle), Deadline: settle + 5*time.Minute, Every: 3 * time.Second, Next: "shiplift status"}
	return wait.For(ctx, t.Clock, spec, report(t), func(ctx context.Context) (wait.Look, error) {
		now, err := rollCall(ctx, t)
		if err != nil {
			return wait.Look{}, err
		}
		if first == "" {
			first = now
		}
		if now != first {
			return wait.Look{}, &say.Problem{
				Text: say.F("roles or states changed while MogHA is off: %s, before: %s", "MogHA 停止期间角色或状态发生变化：%s，此前：%s", now, first),
				Next: say.F("shiplift status", "shiplift status"),
			}
		}
		return wait.Look{Done: t.Clock.Now().Sub(began) >= settle, Says: say.Same(now)}, nil
	})
}

// rollCall asks every node and refuses anything that is not in order; it
// returns roles as one line.
func rollCall(ctx context.Context, t driver.Target) (string, error) {
	var words []string
	for _, name := range t.Env.Inventory.Names() {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return "", err
		}
		all, err := s.processes(ctx)
		if err != nil {
			return "", err
		}
		for _, p := range all {
			if p.mogha() || p.clusterManager() {
				return "", &say.Problem{
					Place: name,
					Text:  say.F("process %d (%s) would start the database again [M03 M04]", "进程 %d（%s）会重新拉起数据库［M03 M04］", p.PID, p.Args),
					Next:  say.F("stop it and whoever starts it, then: shiplift resume", "停止它及其启动者，然后执行：shiplift resume"),
				}
			}
		}
		h, err := s.Query(ctx, s.Data)
		if err != nil {
			return "", err
		}
		if !h.Healthy() {
			return "", &say.Problem{Place: name, Text: say.Join(": ", say.F("not healthy", "状态不正常"), stateText(name, h)), Next: say.F("shiplift status", "shiplift status")}
		}
		if planned := primaryAt(t.Plan, t.Step.ID); h.Primary() != (name == planned) {
			return "", moved(name, planned)
		}
		words = append(words, fmt.Sprintf("%s %s", name, h.Role))
	}
	return strings.Join(words, ", "), nil
}

// healthyForMogHA waits until MogHA would find nothing to repair: one primary,
// and every other node that answers Normal (M19).
func healthyForMogHA(ctx context.Context, t driver.Target) error {
	spec := wait.Spec{What: say.F("all nodes are healthy, before MogHA is on again", "所有节点健康，然后恢复 MogHA"), Deadline: 5 * time.Minute, Every: 2 * time.Second, Next: "shiplift status"}
	return wait.For(ctx, t.Clock, spec, report(t), func(ctx context.Context) (wait.Look, error) {
		var l wait.Look
		seen := whoIs(ctx, t.Env)
		if ctx.Err() != nil {
			return l, context.Cause(ctx)
		}
		primary, err := primaryOf(t.Env, seen)
		if err != nil {
			return l, err
		}
		l.Done = primary != ""
		if primary == "" {
			l.Says = say.F("no node is the primary", "没有主库")
		}
		for _, name := range t.Env.Inventory.Names() {
			h, answers := seen[name]
			if answers && h.Process != gaussdb.Running || answers && !h.Healthy() || answers && h.Role == gaussdb.RoleStandby && h.Receiver == nil {
				l.Done, l.Says = false, stateText(name, h)
			}
			if !answers && !t.Undoing {
				l.Done, l.Says = false, say.F("%s does not answer", "%s 没有应答", name)
			}
		}
		return l, nil
	})
}

// allHealthy proves the end of the work: releases, roles and states (M19, E1).
func allHealthy(ctx context.Context, t driver.Target) error {
	for _, name := range t.Env.Inventory.Names() {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		role := roleStandby
		h, err := s.Query(ctx, s.Data)
		if err != nil {
			return err
		}
		switch {
		case len(t.Env.Inventory.Nodes) == 1:
			role = ""
		case name == t.Step.Args["primary"]:
			role = rolePrimary
		case h.Role == gaussdb.RoleCascade:
			role = roleCascade
		}
		if err := s.awaitRole(ctx, role, s.StartWait, report(t)); err != nil {
			return err
		}
		if err := s.proveRelease(ctx, t.Step.Args["to"]); err != nil {
			return err
		}
	}
	return nil
}
