package opengauss

import (
	"context"
	"errors"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// The primary may move in the middle of a run: somebody's failover. Who was the
// primary in the plan may then lack what the new one has acknowledged. Two
// things keep that (I4): a server that is the primary is never stopped on the
// way back before its role was handed over in order, to a standby that follows
// it; and no server is started or promoted as the primary while another one was
// it, by the mode that each server writes into postmaster.opts at every change.

// planned is the node that is the primary at a step, as the plan has it.
func (r *room) planned() string {
	name := ""
	for _, s := range r.Sites {
		if s.Role == "primary" {
			name = s.Name
		}
	}
	for _, s := range r.Plan.Steps {
		if s.ID == r.Step.ID {
			break
		}
		if s.Kind == kindSwitchover {
			name = s.Args["to"]
		}
	}
	return name
}

// abdicate lets a server that became the primary by somebody's failover hand
// the role over before it is stopped. What it has acknowledged goes along.
func (r *room) abdicate(ctx context.Context, s *site) error {
	if len(r.Sites) < 2 || r.planned() == s.Name {
		return nil
	}
	p, err := r.primary(ctx)
	if err != nil || p != s {
		return err
	}
	var gone error
	for _, to := range r.heirs(s) {
		h, err := to.Query(ctx, to.Data)
		if err == nil && to.Name != r.planned() && (h.Role != gaussdb.RoleStandby || !h.Healthy()) {
			continue
		}
		if err == nil {
			report(r.Target)(say.F("%s has become the primary meanwhile: it hands the role over to %s before it is stopped", "%s 在此期间已成为主库：停止之前先将角色交给 %s", s.Name, to.Name))
			err = r.handOver(ctx, s, to)
		}
		if err == nil {
			return nil
		}
		if u := (*host.UnreachableError)(nil); !errors.As(err, &u) {
			return err
		}
		gone = errors.Join(gone, err)
	}
	return &say.Problem{Place: s.Name, Err: gone,
		Text: say.F("it has become the primary meanwhile, and no other node can take the role: it is not stopped, what it has acknowledged would be lost", "该节点在此期间已成为主库，且没有其他节点可以接任：不会停止它，否则其已确认的写入会丢失"),
		Next: say.F("let a standby follow it (gs_ctl query on every node), then: shiplift rollback", "请先让一个备库跟随它（在每个节点执行 gs_ctl query 查看），然后执行：shiplift rollback")}
}

// heirs are the other nodes, the planned primary first.
func (r *room) heirs(s *site) []*site {
	var first, rest []*site
	for _, o := range r.Sites {
		switch {
		case o == s, o.Role == "cascade":
		case o.Name == r.planned():
			first = append(first, o)
		default:
			rest = append(rest, o)
		}
	}
	return append(first, rest...)
}

// ruled reports a server that was the primary when it ran last.
func (s *site) ruled(ctx context.Context) (bool, error) {
	o, err := s.opts(ctx)
	return o.Value("-M") == "primary", err
}

// orphaned reports a server that does not run and was the primary when it ran
// last, while nobody that answers is the primary now: it may hold what nobody
// else has acknowledged. A cluster manager that works makes another one the
// primary; what the server noted is of an earlier reign where somebody else is it.
func (r *room) orphaned(ctx context.Context, s *site) (bool, error) {
	if len(r.Sites) < 2 {
		return false, nil
	}
	if elects, err := s.elects(ctx); err != nil || elects {
		return false, err
	}
	if ruled, err := s.ruled(ctx); err != nil || !ruled {
		return false, err
	}
	p, err := r.primary(ctx)
	return err == nil && p == nil, err
}

// usurped reports an orphaned server that is not the primary of the plan. It
// counts as stopped by half: its stop is taken back, which starts it as the primary.
func (r *room) usurped(ctx context.Context, s *site) (bool, error) {
	if r.planned() == s.Name {
		return false, nil
	}
	return r.orphaned(ctx, s)
}

// mayFollow refuses to start an orphaned server as a standby: the start wipes
// its note, and nobody would know any more that it was the primary last.
func (r *room) mayFollow(ctx context.Context, s *site) error {
	orphaned, err := r.orphaned(ctx, s)
	if err != nil || !orphaned {
		return err
	}
	return &say.Problem{Place: s.Name,
		Text: say.F("it was the primary when it ran last, and nobody that answers is it now: it is not started as a standby", "该节点上次运行时是主库，目前没有应答的节点是主库：不会将其以备库启动"),
		Next: say.F("bring the nodes that do not answer back, then: shiplift rollback", "恢复没有应答的节点，然后执行：shiplift rollback")}
}

// proveLast proves that no other server was the primary when it ran last,
// before s becomes it. A node that cannot be asked proves nothing; only a run
// that itself stopped s as the primary goes back past one.
func (r *room) proveLast(ctx context.Context, s *site, past bool) error {
	for _, o := range r.Sites {
		if o == s {
			continue
		}
		ruled, err := o.ruled(ctx)
		var gone *host.UnreachableError
		switch {
		case errors.As(err, &gone) && past:
		case errors.As(err, &gone) && r.Undoing:
			return errors.Join(&driver.Owed{Node: o.Name, Err: err}, doubtful(s, o))
		case err != nil:
			return err
		case ruled:
			return doubtful(s, o)
		}
	}
	return nil
}

func doubtful(s, o *site) error {
	return &say.Problem{Place: s.Name,
		Text: say.F("it is not made the primary: %s was, or may have been, the primary after it, and may hold writes that it lacks", "不会将其设为主库：%s 在其之后曾是（或可能曾是）主库，可能持有它缺少的写入", o.Name),
		Next: say.F("compare pg_controldata and the server logs of both; start the one with the later writes with gs_ctl start -D %s -M primary, then: shiplift rollback",
			"比较两个节点的 pg_controldata 与数据库日志；用 gs_ctl start -D %s -M primary 启动写入较新的节点，然后执行：shiplift rollback", s.Data)}
}

// rest stops a server that is a standby. Somebody's failover may have made it
// the primary between the question and the stop: then it goes on as that at
// once, and the step fails. Nobody else would know any more that it was it.
func (r *room) rest(ctx context.Context, s *site) error {
	if err := s.halt(ctx); err != nil {
		return err
	}
	if orphaned, err := r.orphaned(ctx, s); err != nil || !orphaned {
		return err
	}
	a, err := s.tool(ctx, 11*time.Minute, "gs_ctl", "start", "-D", s.Data, "-t", "600", "-M", "primary")
	if err != nil {
		return err
	}
	if st, err := s.Status(ctx, s.Data); err != nil || st.Process != gaussdb.Running {
		if err == nil {
			err = toolFailed(s, "gs_ctl start", a)
		}
		return err
	}
	return &say.Problem{Place: s.Name, Text: say.F("%s became the primary in the moment in which it was stopped: it goes on as the primary", "%s 在停止的瞬间成为主库：已继续作为主库运行", s.Name), Next: say.F("shiplift rollback", "shiplift rollback")}
}
