package mogdb

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// The primary may move in the middle of a run: somebody's failover. The primary
// of the plan may then lack what the new one has acknowledged. On the way back a
// server that is the primary hands its role over in order before it is stopped,
// and none is started as the primary while another one was it (I4, M17).

// ruled reports a server that was the primary when it ran last: it writes its
// mode into postmaster.opts at every change.
func (s *site) ruled(ctx context.Context) (bool, error) {
	b, err := host.ReadFile(ctx, s.Host, s.Data+"/postmaster.opts")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	o, err := gaussdb.ParseOpts(string(b))
	return o.Value("-M") == rolePrimary, err
}

// mayFollow refuses to start a server as a standby that was the primary when it
// ran last, while nobody that answers is the primary: it may hold what nobody else
// has, and the start wipes its note, by which alone that is known (M17).
func (s *site) mayFollow(ctx context.Context, t driver.Target, role string) error {
	if !standsBy(role) {
		return nil
	}
	if ruled, err := s.ruled(ctx); err != nil || !ruled {
		return err
	}
	if now, err := reigning(ctx, t); err != nil || now != "" {
		return err
	}
	return &say.Problem{
		Place: s.Name,
		Text:  say.F("it was the primary when it ran last, and nobody that answers is it now: it is not started as a standby [M17]", "该节点上次运行时是主库，目前没有应答的节点是主库：不会将其以备库启动［M17］"),
		Next:  say.F("bring the nodes that do not answer back, then: shiplift rollback", "恢复没有应答的节点，然后执行：shiplift rollback"),
	}
}

// usurped reports a server that does not run, was the primary when it ran last
// and is not that of the plan, while nobody else is the primary now.
func (s *site) usurped(ctx context.Context, t driver.Target) (bool, error) {
	if len(t.Env.Inventory.Nodes) < 2 || primaryAt(t.Plan, t.Step.ID) == s.Name {
		return false, nil
	}
	if ruled, err := s.ruled(ctx); err != nil || !ruled {
		return false, err
	}
	seen := whoIs(ctx, t.Env)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	p, err := primaryOf(t.Env, seen)
	if err != nil || p != "" {
		return false, err
	}
	for _, name := range t.Env.Inventory.Names() {
		if _, answers := seen[name]; !answers && name != s.Name {
			return false, &driver.Owed{Node: name, Err: &say.Problem{
				Place: s.Name,
				Text:  say.F("it was the primary when it was stopped; %s does not answer and may be it now: no second one is started [M21]", "停止时它是主库；%s 没有应答，可能已成为主库：不会启动第二个主库［M21］", name),
				Next:  say.F("when %s answers again: shiplift rollback", "待 %s 恢复应答后执行：shiplift rollback", name),
			}}
		}
	}
	return true, nil
}

// halt stops a server. Somebody's failover may come between the last look
// and the stop: one that was the primary when it was stopped is started as that
// again, what it acknowledged in that moment is nowhere else. Of one that was down
// already nobody knows when it was the primary: another one may have been it later.
func (s *site) halt(ctx context.Context, t driver.Target) error {
	ran, err := s.server(ctx)
	if err != nil {
		return err
	}
	if err := s.bringDown(ctx, report(t)); err != nil {
		return err
	}
	if usurped, err := s.usurped(ctx, t); err != nil || !usurped {
		return err
	}
	if ran == 0 {
		err = s.proveAlone(ctx, t)
	}
	if err != nil {
		return err
	}
	report(t)(say.F("%s was the primary when it was stopped: it goes on as the primary", "%s 停止时是主库：继续以主库运行", s.Name))
	if err := s.startAs(ctx, t, rolePrimary); err != nil {
		return err
	}
	if err := s.awaitRole(ctx, rolePrimary, s.StartWait, report(t)); err != nil {
		return err
	}
	return moved(s.Name, primaryAt(t.Plan, t.Step.ID))
}

// doubtful is the refusal to make s the primary.
func doubtful(s, o *site) error {
	return &say.Problem{
		Place: s.Name,
		Text:  say.F("it must not be made the primary: %s was the primary too when it ran last, and may hold later writes [M17]", "不能设为主库：%s 上次运行时也是主库，可能持有更新的写入［M17］", o.Name),
		Next: say.F("compare the end of the server logs and pg_controldata (latest checkpoint) of %s (%s) and %s (%s); on the one with the later writes: gs_ctl start -D its data directory -M primary; then: shiplift rollback",
			"比较 %s（%s）与 %s（%s）的数据库日志末尾及 pg_controldata（最新检查点）；在写入较新的节点上执行 gs_ctl start -D 其数据目录 -M primary；然后执行：shiplift rollback", s.Name, s.Data, o.Name, o.Data),
	}
}

// reigning is the node that is the primary now, "" when none that answers is.
func reigning(ctx context.Context, t driver.Target) (string, error) {
	seen := whoIs(ctx, t.Env)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return primaryOf(t.Env, seen)
}

// abdicate lets a server that became the primary by a failover hand the role
// over before it is stopped; first to the one that is the primary in the plan.
func (s *site) abdicate(ctx context.Context, t driver.Target) error {
	planned := primaryAt(t.Plan, t.Step.ID)
	if !t.Undoing || len(t.Env.Inventory.Nodes) < 2 || planned == s.Name {
		return nil
	}
	if p, err := reigning(ctx, t); err != nil || p != s.Name {
		return err
	}
	var gone error
	for _, name := range append([]string{planned}, t.Env.Inventory.Names()...) {
		if name == s.Name || name == "" {
			continue
		}
		to, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		took, err := s.offer(ctx, t, to, name == planned)
		if took || err != nil && !isLater(err) {
			return err
		}
		gone = errors.Join(gone, err)
	}
	var owed *driver.Owed
	if errors.As(gone, &owed) {
		return gone
	}
	return &say.Problem{
		Place: s.Name, Err: gone,
		Text: say.F("it has become the primary meanwhile, and no other node can take the role: it is not stopped, what it has acknowledged would be lost", "该节点在此期间已成为主库，且没有其他节点可以接任：不会停止它，否则其已确认的写入会丢失"),
		Next: say.F("let a standby follow it (gs_ctl query on every node), then: shiplift rollback", "请先让一个备库跟随它（在每个节点执行 gs_ctl query 查看），然后执行：shiplift rollback"),
	}
}

// offer hands the role to a node that can take it. Of an error that comes later
// (isLater) another node may be asked.
func (s *site) offer(ctx context.Context, t driver.Target, to *site, planned bool) (took bool, _ error) {
	h, err := to.Query(ctx, to.Data)
	if err != nil {
		return false, err
	}
	if ahead, err := to.aheadOfOthers(ctx, t); err != nil || ahead {
		if err == nil {
			err = &driver.Owed{Node: to.Name, Err: stillNew(to.Name)}
		}
		return false, err
	}
	if !planned && (h.Role != gaussdb.RoleStandby || !h.Healthy()) {
		return false, nil
	}
	report(t)(say.F("%s has become the primary meanwhile: it hands the role over to %s before it is stopped", "%s 在此期间已成为主库：停止之前先将角色交给 %s", s.Name, to.Name))
	if err := s.handTo(ctx, t, to); err != nil {
		return !isGone(err), err
	}
	return true, nil
}

// mayReign refuses to hand the role to a node whose own way back is owed, while
// others have gone theirs; one that has it keeps it.
func (s *site) mayReign(ctx context.Context, t driver.Target) error {
	if now, err := reigning(ctx, t); err != nil || now == s.Name {
		return err
	}
	if ahead, err := s.aheadOfOthers(ctx, t); err != nil || !ahead {
		return err
	}
	return &driver.Owed{Node: s.Name, Err: stillNew(s.Name)}
}

// aheadOfOthers reports a node that holds the new software while another one has
// gone back to the old one. Of one that does not answer nobody knows that; where
// it follows the primary it is waited for.
func (s *site) aheadOfOthers(ctx context.Context, t driver.Target) (bool, error) {
	if old, err := s.holdsOld(ctx, t); err != nil || old {
		return false, err
	}
	var gone []string
	for _, name := range t.Env.Inventory.Names() {
		o, err := siteOf(t.Env, name)
		if err != nil {
			return false, err
		}
		old, err := o.holdsOld(ctx, t)
		switch {
		case isGone(err):
			gone = append(gone, name)
		case err != nil || old:
			return err == nil, err
		}
	}
	if len(gone) == 0 {
		return false, nil
	}
	if follow, err := followUnseen(ctx, t, gone); err != nil || !follow {
		return false, err
	}
	return false, &driver.Owed{Node: gone[0], Err: &say.Problem{
		Place: s.Name,
		Text:  say.F("it cannot take the role of the primary: %s does not answer, follows the present one, and may run the old release again [M10]", "不能接任主库：%s 没有应答，但仍跟随当前主库，且可能已恢复旧版本［M10］", strings.Join(gone, ", ")),
		Next:  say.F("when %s answers again: shiplift rollback", "待 %s 恢复应答后执行：shiplift rollback", strings.Join(gone, ", ")),
	}}
}

// followUnseen reports that the primary feeds more servers than those that
// answer: one of those that do not is among them.
func followUnseen(ctx context.Context, t driver.Target, gone []string) (bool, error) {
	seen := whoIs(ctx, t.Env)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	p, err := primaryOf(t.Env, seen)
	if err != nil || p == "" {
		return false, err
	}
	fed := len(seen[p].Senders)
	for name, h := range seen {
		if !slices.Contains(gone, name) && h.Role == gaussdb.RoleStandby && h.Receiver != nil {
			fed--
		}
	}
	return fed > 0, nil
}

// holdsOld reports a node whose software is, or is again, that of before the run.
func (s *site) holdsOld(ctx context.Context, t driver.Target) (bool, error) {
	at, err := s.places(ctx, argsOf(t.Plan, s.Name))
	return !at["bin"].old && !at["lib"].old, err
}

// stillNew is why a node cannot take the role yet: those that have gone back
// already must not follow a newer primary (M10).
func stillNew(name string) error {
	return &say.Problem{
		Place: name,
		Text:  say.F("it cannot take the role of the primary before its own steps are taken back: others run the old release again [M10]", "其自身步骤撤销之前不能接任主库：其他节点已恢复旧版本［M10］"),
		Next:  say.F("shiplift rollback", "shiplift rollback"),
	}
}

// mayRest reports whether a server may be stopped for the way back. One standby
// rests at a time (M11), and it has to come back as the standby of somebody:
// while no node says that it is the primary and one does not answer, that one
// may be it, and may serve. The server runs on until it can be asked.
func (s *site) mayRest(ctx context.Context, t driver.Target) error {
	names := t.Env.Inventory.Names()
	if !t.Undoing || len(names) < 2 || t.Plan.Request.Mode == modeInplace {
		return nil
	}
	if pid, err := s.server(ctx); err != nil || pid == 0 {
		return err
	}
	seen := whoIs(ctx, t.Env)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p, err := primaryOf(t.Env, seen); err != nil || p != "" {
		return err
	}
	for _, name := range names {
		if _, answers := seen[name]; !answers {
			return &driver.Owed{Node: s.Name, Err: &say.Problem{
				Place: s.Name,
				Text:  say.F("its server is not stopped for the way back: %s does not answer and may be the primary [M11]", "回滚时不会停止其数据库：%s 没有应答，它可能是主库［M11］", name),
				Next:  say.F("when %s answers again: shiplift rollback", "待 %s 恢复应答后执行：shiplift rollback", name),
			}}
		}
	}
	return nil // the whole cluster is down: who was the primary is started first
}

// handTo makes to the primary in place of s; all that s holds is there then.
func (s *site) handTo(ctx context.Context, t driver.Target, to *site) error {
	if err := to.follow(ctx, t); err != nil {
		return err
	}
	return pair{s, to}.switchover(ctx, report(t))
}

// follow starts a server that is down as a standby of who is the primary, on
// what is installed there.
func (s *site) follow(ctx context.Context, t driver.Target) error {
	pid, err := s.server(ctx)
	if err != nil || pid != 0 {
		return err
	}
	role := roleStandby
	if roleBefore(t.Plan, s.Name) == roleCascade {
		role = roleCascade
	}
	if err := s.startAs(ctx, t, role); err != nil {
		return err
	}
	return s.awaitRole(ctx, role, s.StartWait, report(t))
}

// roleNow is the role in which a server comes back: what it was, but a standby
// when somebody else is the primary by now, and the primary when it was that
// last and nobody is.
func (s *site) roleNow(ctx context.Context, t driver.Target, role string) (string, error) {
	if role != rolePrimary && role != roleStandby || len(t.Env.Inventory.Nodes) < 2 {
		return role, nil
	}
	pid, err := s.server(ctx)
	if err != nil {
		return role, err
	}
	p, err := reigning(ctx, t)
	switch {
	case err != nil:
		return role, err
	case p == s.Name:
		return rolePrimary, nil
	case p != "":
		return roleStandby, nil
	case pid != 0 || role == rolePrimary:
		return role, nil
	}
	if ruled, err := s.ruled(ctx); err != nil || !ruled {
		return role, err
	}
	return rolePrimary, nil
}
