package opengauss

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// gucAction gives one setting a value on every node, without a restart.
type gucAction struct{}

// gucMemo is what each node's file said: "" where it did not set the name.
type gucMemo struct {
	Was map[string]string `json:"was"`
}

func (s *site) fileValue(ctx context.Context, name string) (string, error) {
	b, err := host.ReadFile(ctx, s.Host, s.Data+"/postgresql.conf")
	if err != nil {
		return "", err
	}
	v, _ := gaussdb.ReadConf(b).Get(name)
	return v, nil
}

func (r *room) fileValues(ctx context.Context, name string) (map[string]string, error) {
	got := make([]string, len(r.targets()))
	err := r.onAllIndexed(func(i int, s *site) (err error) {
		got[i], err = s.fileValue(ctx, name)
		return err
	})
	m := map[string]string{}
	for i, s := range r.targets() {
		m[s.Name] = got[i]
	}
	return m, err
}

func (gucAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	r, err := roomOf(t)
	if err != nil {
		return nil, err
	}
	was, err := r.fileValues(ctx, r.Args["name"])
	if err != nil {
		return nil, err
	}
	return remember(gucMemo{was})
}

func (gucAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, err := roomOf(t)
	if err != nil {
		return half(err)
	}
	var m gucMemo
	if err := recall(t.Memo, &m); err != nil {
		return half(err)
	}
	now, err := r.fileValues(ctx, r.Args["name"])
	if err != nil {
		return half(err)
	}
	done, open := 0, 0
	for _, s := range r.targets() {
		switch {
		case now[s.Name] != r.Args["value"]:
			open++
		case m.Was[s.Name] != now[s.Name]:
			done++
		}
	}
	switch {
	case open == 0:
		return driver.Applied, nil
	case done == 0:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

func (gucAction) Do(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	return r.setEverywhere(ctx, r.Args["name"], func(*site) string { return r.Args["value"] }, "")
}

func (gucAction) Undo(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	var m gucMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	return r.setEverywhere(ctx, r.Args["name"], func(s *site) string { return m.Was[s.Name] }, r.Args["value"])
}

// setEverywhere reloads a setting on every node and proves it with show; ""
// takes it out of the file. The default of upgrade_mode is 0.
func (r *room) setEverywhere(ctx context.Context, name string, value func(*site) string, not string) error {
	err := r.onAll(func(s *site) error {
		want := name + "=" + value(s)
		if value(s) == "" {
			want = name
		}
		have, err := s.fileValue(ctx, name)
		if err != nil {
			return err
		}
		if have == value(s) {
			return nil
		}
		a, err := s.tool(ctx, time.Minute, "gs_guc", "reload", "-D", s.Data, "-c", want)
		if err != nil {
			return err
		}
		if have, err = s.fileValue(ctx, name); err != nil {
			return err
		}
		if have != value(s) {
			return toolFailed(s, "gs_guc reload", a)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.onAll(func(s *site) error { return r.proveShown(ctx, s, name, value(s), not) })
}

// proveShown waits until a running server uses the value. A setting that was
// taken out of the file must at least not be the old value any more.
func (r *room) proveShown(ctx context.Context, s *site, name, want, not string) error {
	st, err := s.Status(ctx, s.Data)
	if err != nil || st.Process != gaussdb.Running {
		return err
	}
	spec := wait.Spec{What: say.F("%s uses %s = %s", "%s 使用 %s = %s", s.Name, name, want), Node: s.Name, Deadline: 30 * time.Second, Every: 200 * time.Millisecond, Next: "shiplift resume"}
	return wait.For(ctx, r.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		got, err := s.Value(ctx, s.Port, "show "+name)
		if err != nil {
			return wait.Look{}, err
		}
		return wait.Look{Done: want != "" && got == want || want == "" && got != not, Says: say.F("%s = %s", "%s = %s", name, got)}, nil
	})
}

// cmNumberAction tells the agents with which working number to start
// instances: upgrade_from in cm_agent.conf.
type cmNumberAction struct{}

func (s *site) agentConf() string { return s.CMDir + "/cm_agent/cm_agent.conf" }

func (s *site) upgradeFrom(ctx context.Context) (string, error) {
	b, err := host.ReadFile(ctx, s.Host, s.agentConf())
	if err != nil {
		return "", err
	}
	v, set := gaussdb.ReadConf(b).Get("upgrade_from")
	if !set {
		v = "0"
	}
	return v, nil
}

func (r *room) upgradeFroms(ctx context.Context) (map[string]string, error) {
	got := make([]string, len(r.targets()))
	err := r.onAllIndexed(func(i int, s *site) (err error) {
		got[i], err = s.upgradeFrom(ctx)
		return err
	})
	m := map[string]string{}
	for i, s := range r.targets() {
		m[s.Name] = got[i]
	}
	return m, err
}

func (cmNumberAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	return nil, nil
}

func (cmNumberAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, err := roomOf(t)
	if err != nil {
		return half(err)
	}
	now, err := r.upgradeFroms(ctx)
	if err != nil {
		return half(err)
	}
	done := 0
	for _, v := range now {
		if v == r.Args["value"] {
			done++
		}
	}
	switch done {
	case 0:
		return driver.NotApplied, nil
	case len(r.targets()):
		return driver.Applied, nil
	}
	return driver.Half, nil
}

func (cmNumberAction) Do(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	return r.setUpgradeFrom(ctx, r.Args["value"])
}

func (cmNumberAction) Undo(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	return r.setUpgradeFrom(ctx, "0")
}

func (r *room) setUpgradeFrom(ctx context.Context, value string) error {
	return r.onAll(func(s *site) error {
		have, err := s.upgradeFrom(ctx)
		if err != nil || have == value {
			return err
		}
		a, err := s.tool(ctx, time.Minute, "gs_guc", "set", "-Z", "cmagent", "-N", s.Name, "-I", "all", "-c", "upgrade_from="+value)
		if err != nil {
			return err
		}
		if have, err = s.upgradeFrom(ctx); err != nil {
			return err
		}
		if have != value {
			return toolFailed(s, "gs_guc set upgrade_from", a)
		}
		return s.reloadAgent(ctx)
	})
}

// reloadAgent lets the agent of the node read its file again.
func (s *site) reloadAgent(ctx context.Context) error {
	procs, err := s.cmProcs(ctx)
	if err != nil {
		return err
	}
	for _, p := range procs {
		if p.name == "cm_agent" {
			if err := s.change(ctx, "kill", "-1", p.pid); err != nil {
				return err
			}
		}
	}
	return nil
}

// cmProc is a process of the cluster manager.
type cmProc struct {
	name, pid, exe string
	stale          bool // its program was replaced or deleted
}

var cmPrograms = []string{"om_monitor", "cm_agent", "cm_server"}

// cmProcs are those that run out of a directory of this installation: other
// clusters of the same user are none of ours.
func (s *site) cmProcs(ctx context.Context) ([]cmProc, error) {
	var out []cmProc
	for _, name := range cmPrograms {
		res, err := s.Host.Run(ctx, host.Read("pgrep", "-x", name))
		if host.IsExit(err, 1) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, pid := range strings.Fields(res.Text()) {
			exe, err := s.Host.Run(ctx, host.Read("readlink", "/proc/"+pid+"/exe"))
			if host.IsExit(err) {
				continue // it has ended, or belongs to somebody else
			}
			if err != nil {
				return nil, err
			}
			path, stale := strings.CutSuffix(exe.Text(), " (deleted)")
			if strings.HasPrefix(path, s.Home+"_") || strings.HasPrefix(path, s.Home+"/") || strings.HasPrefix(path, s.OldApp+"/") {
				out = append(out, cmProc{name, pid, path, stale})
			}
		}
	}
	return out, nil
}

// cmStray are processes of the cluster manager that do not run out of app.
func (s *site) cmStray(ctx context.Context, app string) ([]cmProc, error) {
	procs, err := s.cmProcs(ctx)
	if err != nil {
		return nil, err
	}
	var out []cmProc
	for _, p := range procs {
		if !strings.HasPrefix(p.exe, app+"/") {
			out = append(out, p)
		}
	}
	return out, nil
}

// moveCM ends the processes that run out of the other directory, one kind
// after another; om_monitor, which cron brings back, starts the others.
func (r *room) moveCM(ctx context.Context, s *site, app string) error {
	for _, name := range cmPrograms {
		stray, err := s.cmStray(ctx, app)
		if err != nil {
			return err
		}
		moved := false
		for _, p := range stray {
			if p.name == name {
				moved = true
				if err := s.change(ctx, "kill", "-9", p.pid); err != nil && !host.IsExit(err) {
					return err
				}
			}
		}
		if !moved {
			continue
		}
		if err := r.cmBack(ctx, s, name, app); err != nil {
			return err
		}
	}
	return nil
}

// cmBack waits until a process runs out of app. cron needs up to a minute.
func (r *room) cmBack(ctx context.Context, s *site, name, app string) error {
	spec := wait.Spec{What: say.F("%s runs out of %s on %s", "%[3]s 上的 %[1]s 从 %[2]s 运行", name, app, s.Name), Node: s.Name, Deadline: 3 * time.Minute, Every: time.Second,
		Next: fmt.Sprintf("crontab -l on %s must hold om_monitor; then: shiplift resume", s.Name)}
	return wait.For(ctx, r.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		procs, err := s.cmProcs(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		for _, p := range procs {
			if p.name == name && strings.HasPrefix(p.exe, app+"/") {
				return wait.Look{Done: true}, nil
			}
		}
		return wait.Look{Says: say.F("not yet", "尚未运行")}, nil
	})
}

// cmPauseAction pauses the cluster manager on a node, or lets it go on: while
// everything is stopped on purpose it must not elect anybody. The flag is what
// cm_ctl pause sets on every node (spec section 6.8); cm_ctl itself asks a
// question while an upgrade is open, ends with 0 when it has paused nothing,
// and needs every node to answer.
type cmPauseAction struct{ noMemo }

const pauseFlag = "bin/cluster_manual_pause"

func (cmPauseAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	there, err := s.exists(ctx, below(s.Home, pauseFlag))
	if err != nil {
		return half(err)
	}
	if there == (r.Args["value"] == "on") {
		return driver.Applied, nil
	}
	return driver.NotApplied, nil
}

func (cmPauseAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	return s.pause(ctx, r.Args["value"] == "on")
}

func (cmPauseAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	return s.pause(ctx, r.Args["value"] != "on")
}

func (s *site) pause(ctx context.Context, on bool) error {
	if on {
		return s.change(ctx, "touch", below(s.Home, pauseFlag))
	}
	return s.change(ctx, "rm", "-f", below(s.Home, pauseFlag))
}
