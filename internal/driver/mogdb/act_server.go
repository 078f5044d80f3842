package mogdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// stopAction stops a server and proves that no process of it is left.
type stopAction struct{}

type stopMemo struct {
	Role string `json:"role"` // in which it ran, and in which undo starts it; "" for a single server
}

func (stopAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := here(t)
	if err != nil {
		return nil, err
	}
	h, err := s.Query(ctx, s.Data)
	if err != nil {
		return nil, err
	}
	role := roleWord(h.Role)
	if h.Process != gaussdb.Running || role == "" {
		return nil, &say.Problem{
			Place: s.Name,
			Text:  say.F("the server does not run in a known role (process %s, role %q): nobody could say how to start it again", "服务器不在已知角色下运行（进程 %s，角色 %q）：无法得知应以何种角色重新启动", h.Process, h.Role),
			Next:  say.F("start it in its role, then: shiplift resume", "以其角色启动后执行：shiplift resume"),
		}
	}
	if h.Role == gaussdb.RoleNormal {
		role = ""
	} else if planned := primaryAt(t.Plan, t.Step.ID); (role == rolePrimary) != (planned == s.Name) {
		return nil, moved(s.Name, planned)
	}
	return remember(stopMemo{role})
}

// moved is the refusal to go on where the primary is not the one of the plan:
// its steps would stop the wrong server, and start the wrong one as the primary.
func moved(at, planned string) error {
	return &say.Problem{
		Place: at,
		Text:  say.F("the primary has moved since the plan was made: it should be %s now [M17]", "计划制定之后主库已变更：此时应为 %s［M17］", planned),
		Next:  say.F("shiplift rollback, then make a new plan", "先执行 shiplift rollback，再重新制定计划"),
	}
}

func (stopAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := here(t)
	if err != nil {
		return driver.Unknown, err
	}
	pid, err := s.server(ctx)
	switch {
	case err != nil:
		return driver.Unknown, err
	case pid == 0:
		if usurped, err := s.usurped(ctx, t); err != nil || usurped {
			return driver.Half, err
		}
		return driver.Applied, nil
	case t.Undoing:
		// It may have been on its way down, or be started half: undo sees to it.
		return driver.Half, nil
	}
	return driver.NotApplied, nil
}

func (stopAction) Do(ctx context.Context, t driver.Target) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	ha, err := s.mogha(ctx)
	if err != nil {
		return err
	}
	if ha.up() {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("MogHA is active again: it would start the database in the middle of the swap [M03]", "MogHA 又处于活动状态：它会在替换过程中拉起数据库［M03］"),
			Next:  say.F("find out who started it and stop it on every node, then: shiplift resume", "查明由谁启动并在所有节点上停止它，然后执行：shiplift resume"),
		}
	}
	return s.halt(ctx, t)
}

// bringDown stops the server; its word is not believed, the process must be gone.
func (s *site) bringDown(ctx context.Context, tell func(say.Text)) error {
	pid, err := s.server(ctx)
	if err != nil || pid == 0 {
		return err
	}
	c := host.Change("gs_ctl", "stop", "-D", s.Data, "-t", seconds(s.StopWait))
	c.Timeout = s.StopWait + time.Minute
	if _, err := s.Run(ctx, c); believed(ctx, err) != nil {
		return err
	}
	spec := wait.Spec{What: say.F("the server of %s is gone", "%s 的数据库进程已退出", s.Name), Node: s.Name, Deadline: time.Minute, Every: 500 * time.Millisecond, Next: "gs_ctl stop -D " + s.Data}
	return wait.For(ctx, s.env.Clock, spec, tell, func(ctx context.Context) (wait.Look, error) {
		pid, err := s.server(ctx)
		return wait.Look{Done: pid == 0, Says: say.F("process %d is still there", "进程 %d 仍在", pid)}, err
	})
}

func seconds(d time.Duration) string { return fmt.Sprint(int(d / time.Second)) }

func (stopAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	var m stopMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	if standsBy(m.Role) {
		if err := revivePrimary(ctx, t, primaryAt(t.Plan, t.Step.ID)); isLater(err) {
			return errors.Join(err, s.startBlind(ctx, t, m.Role)) // up at once; proven when the primary can be asked
		} else if err != nil {
			return err
		}
	}
	role, err := s.roleNow(ctx, t, m.Role)
	if err != nil {
		return err
	}
	return s.bringUp(ctx, t, role, t.Step.Args["from"])
}

// startAction starts a server in a role and proves what came up.
type startAction struct{}

func (startAction) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (startAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := here(t)
	if err != nil {
		return driver.Unknown, err
	}
	pid, err := s.server(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if pid == 0 {
		return driver.NotApplied, nil
	}
	// It may be a moment behind its start: that alone is no reason to stop it again.
	role := t.Step.Args["role"]
	if err := s.awaitRole(ctx, role, time.Minute, report(t)); err != nil {
		return driver.Half, nil //nolint:nilerr // whatever it lacks, it is not what the step wants
	}
	if err := s.proveRelease(ctx, t.Step.Args["to"]); err != nil {
		return driver.Half, nil //nolint:nilerr // the same
	}
	return driver.Applied, nil
}

func (startAction) Do(ctx context.Context, t driver.Target) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	return s.bringUp(ctx, t, t.Step.Args["role"], t.Step.Args["to"])
}

func (startAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	return s.rest(ctx, t)
}

// rest stops a server that is taken back.
func (s *site) rest(ctx context.Context, t driver.Target) error {
	if err := s.mayRest(ctx, t); err != nil {
		return err
	}
	if err := s.abdicate(ctx, t); err != nil {
		return err
	}
	return s.halt(ctx, t)
}

// startAs lets gs_ctl start the server in a role, on what is installed there if
// that is whole: a swap that broke off is undone by its own step. What became of
// it is looked at afterwards.
func (s *site) startAs(ctx context.Context, t driver.Target, role string) error {
	if whole, err := s.whole(ctx, argsOf(t.Plan, s.Name)); err != nil {
		return err
	} else if !whole {
		return &driver.Owed{Node: s.Name, Err: halfSwapped(s.Name)}
	}
	if err := s.mayFollow(ctx, t, role); err != nil {
		return err
	}
	c := host.Change("gs_ctl", "start", "-D", s.Data, "-M", role, "-t", seconds(s.StartWait))
	c.Timeout = s.StartWait + time.Minute
	_, err := s.Run(ctx, c)
	return believed(ctx, err)
}

// bringUp starts the server in a role, "" for a single one, unless it runs, and
// proves role, state, replication and release (M12, I6).
func (s *site) bringUp(ctx context.Context, t driver.Target, role, release string) error {
	pid, err := s.server(ctx)
	if err != nil {
		return err
	}
	if pid == 0 {
		if role == rolePrimary {
			err = s.proveAlone(ctx, t)
		} else {
			err = s.mayFollow(ctx, t, role)
		}
		if err != nil {
			return err
		}
		argv := []string{"gs_ctl", "start", "-D", s.Data}
		if role != "" { // -M is not for a single server (spec/mogdb.md section 4)
			argv = append(argv, "-M", role)
		}
		c := host.Change(append(argv, "-t", seconds(s.StartWait))...)
		c.Timeout = s.StartWait + time.Minute
		a, err := s.Run(ctx, c)
		if believed(ctx, err) != nil {
			return err
		}
		if pid, err = s.server(ctx); err != nil {
			return err
		}
		if pid == 0 {
			return &say.Problem{
				Place: s.Name,
				Text:  say.F("the server did not start: %s", "数据库未能启动：%s", lastLines(a.Both())),
				Next:  say.F("look at the server's log; then: shiplift resume, or shiplift rollback", "查看数据库日志，然后执行 shiplift resume 或 shiplift rollback"),
			}
		}
	}
	if err := s.awaitRole(ctx, role, s.StartWait, report(t)); err != nil {
		return err
	}
	return s.proveRelease(ctx, release)
}

// lastLines is the end of what a tool said, where its reasons stand.
func lastLines(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], " / ")
}

// proveAlone proves that no other node is the primary before one is started as
// such (I3). A node that does not answer counts as gone only when this run has
// stopped its server.
func (s *site) proveAlone(ctx context.Context, t driver.Target) error {
	for _, name := range s.env.Inventory.Names() {
		if name == s.Name {
			continue
		}
		o, err := siteOf(s.env, name)
		if err != nil {
			return err
		}
		h, err := o.Query(ctx, o.Data)
		switch {
		case err != nil && isGone(err) && t.MemoOf != nil && t.MemoOf(name+"/"+kindStop) != nil:
			report(t)(say.F("%s does not answer; this run has stopped its server", "%s 没有应答；其数据库已由本次运行停止", name))
		case err != nil:
			return err
		case h.Process == gaussdb.Running && h.Primary() || h.Process == gaussdb.Hung:
			return &say.Problem{
				Place: s.Name,
				Text:  say.F("it must not be started as the primary: %s is %s (process %s) [M21]", "不能以主库启动：%s 为 %s（进程 %s）［M21］", name, h.Role, h.Process),
				Next:  say.F("shiplift status", "shiplift status"),
			}
		}
		if ruled, err := o.ruled(ctx); ruled {
			return doubtful(s, o)
		} else if err != nil && !isGone(err) {
			return err
		}
	}
	return nil
}

// awaitRole waits until the server is in its role, Normal and, as a standby,
// streams and is caught up. It must be so in two looks with the same
// walreceiver: one that restarts again and again does not count (M30).
func (s *site) awaitRole(ctx context.Context, role string, deadline time.Duration, tell func(say.Text)) error {
	what := say.F("%s runs as %s, Normal", "%s 以 %s 运行且状态 Normal", s.Name, roleOrSingle(role))
	if role == roleStandby || role == roleCascade {
		what = say.F("%s runs as %s, Normal, and has caught up", "%s 以 %s 运行、状态 Normal 且已追平", s.Name, role)
	}
	spec := wait.Spec{What: what, Node: s.Name, Deadline: deadline, Every: time.Second, Next: "gs_ctl query -D " + s.Data}
	receiver := 0
	return wait.For(ctx, s.env.Clock, spec, tell, func(ctx context.Context) (wait.Look, error) {
		h, err := s.Query(ctx, s.Data)
		if err != nil {
			return wait.Look{}, err
		}
		l := wait.Look{Says: stateText(s.Name, h)}
		good, pid := s.inRole(h, role)
		l.Done = good && (pid == 0 || pid == receiver)
		receiver = pid
		return l, nil
	})
}

// inRole reports a server that is what it should be, and the process that
// receives the log where there is one.
func (s *site) inRole(h gaussdb.HA, role string) (good bool, receiver int) {
	if !h.Healthy() {
		return false, 0
	}
	switch role {
	case "":
		return h.Role == gaussdb.RoleNormal || h.Role == gaussdb.RolePrimary, 0
	case rolePrimary:
		return h.Role == gaussdb.RolePrimary, 0
	}
	if roleWord(h.Role) != role || h.Receiver == nil || int64(h.Receiver.Lag()) > s.MaxLag {
		return false, 0
	}
	return true, h.Receiver.PID
}

func roleOrSingle(role string) string {
	if role == "" {
		return "single"
	}
	return role
}

func stateText(node string, h gaussdb.HA) say.Text {
	if h.Process != gaussdb.Running {
		return say.F("%s: %s", "%s：%s", node, h.Process)
	}
	detail := ""
	if h.Detail != "" && h.Detail != gaussdb.StateNormal {
		detail = " (" + h.Detail + ")"
	}
	t := say.F("%s: %s, %s%s", "%s：%s，%s%s", node, h.Role, h.State, detail)
	if h.Receiver != nil && h.Receiver.Lag() > 0 {
		t = say.Join("", t, say.F(", %d bytes behind", "，落后 %d 字节", uint64(h.Receiver.Lag())))
	}
	if h.State == gaussdb.StateNeedRepair {
		// gs_ctl build throws the standby's copy away; only a person decides that (M22).
		t = say.Join("", t, say.F("; should it stay so, gs_ctl build -D DATA copies the standby anew [M22]", "；若一直如此，可由人工执行 gs_ctl build -D 数据目录 重建备库［M22］"))
	}
	return t
}

// proveRelease asks the running server, not the files.
func (s *site) proveRelease(ctx context.Context, release string) error {
	b, err := s.Node.Value(ctx, s.Port, "select version()")
	if err != nil {
		return err
	}
	banner, err := gaussdb.ParseBanner(b)
	if err != nil {
		return err
	}
	if banner.Release != release {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("the server that runs is of release %s, not %s [M28]", "正在运行的数据库版本为 %s，而不是 %s［M28］", banner.Release, release),
			Next:  say.F("look whether PATH and LD_LIBRARY_PATH of the profile lead to another copy of the software", "检查环境文件中的 PATH 与 LD_LIBRARY_PATH 是否指向另一份软件"),
		}
	}
	return nil
}
