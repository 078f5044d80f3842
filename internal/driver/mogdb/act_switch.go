package mogdb

import (
	"context"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// switchAction lets a standby become the primary. gs_ctl ends with 0 after a
// timeout, on the primary and when another one holds the lock, and says
// "completed" when nothing happened: only the roles that both nodes tell
// afterwards count (M14).
type switchAction struct{}

type switchMemo struct {
	Old string `json:"old"`
	New string `json:"new"`
}

func (switchAction) Prepare(_ context.Context, t driver.Target) (driver.Memo, error) {
	return remember(switchMemo{t.Step.Args["old"], t.Step.Args["new"]})
}

// pair is the two nodes of a switchover.
type pair struct{ from, to *site }

func pairOf(env driver.Env, from, to string) (pair, error) {
	f, err := siteOf(env, from)
	if err != nil {
		return pair{}, err
	}
	t, err := siteOf(env, to)
	return pair{f, t}, err
}

// stand is how two nodes stand to each other.
type stand string

const (
	before   stand = "before" // from is the primary, to its standby
	switched stand = "switched"
	moving   stand = "moving" // one of them changes, or does not answer for the moment
	noneIs   stand = "no primary"
	bothAre  stand = "two primaries"
)

// look asks both nodes.
func (p pair) look(ctx context.Context) (stand, say.Text, error) {
	var h [2]gaussdb.HA
	var errs [2]error
	each(p.from.env, 2, func(i int) {
		s := []*site{p.from, p.to}[i]
		h[i], errs[i] = s.Query(ctx, s.Data)
	})
	for _, err := range errs {
		if err != nil {
			return moving, say.Text{}, err
		}
	}
	says := say.Join("; ", stateText(p.from.Name, h[0]), stateText(p.to.Name, h[1]))
	return standOf(h[0], h[1]), says, nil
}

func standOf(from, to gaussdb.HA) stand {
	for _, h := range []gaussdb.HA{from, to} {
		switch {
		case h.Process != gaussdb.Running, h.Refusing, h.Trouble != "", h.State == "Demoting", h.State == "Promoting", h.State == "Wait promoting":
			return moving
		}
	}
	switch f, t := from.Role == gaussdb.RolePrimary, to.Role == gaussdb.RolePrimary; {
	case f && t:
		return bothAre
	case t && from.Healthy() && to.Healthy() && from.Receiver != nil:
		return switched
	case t:
		return moving // the old primary is not yet back as a standby
	case f:
		return before
	}
	return noneIs
}

func (switchAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	p, err := pairOf(t.Env, t.Step.Args["old"], t.Step.Args["new"])
	if err != nil {
		return driver.Unknown, err
	}
	if t.Undoing {
		// While one of them is down nothing settles; undo starts who was the primary.
		for _, s := range []*site{p.from, p.to} {
			if pid, err := s.server(ctx); err != nil {
				return driver.Unknown, err
			} else if pid == 0 {
				return driver.Half, nil
			}
		}
	}
	at, err := p.settle(ctx, report(t))
	if err != nil {
		return driver.Unknown, err
	}
	if at == switched {
		return driver.Applied, nil
	}
	return driver.NotApplied, nil
}

// settle waits until the roles rest: what was asked for is active also when
// the one who asked is gone, and may complete later (spec/mogdb.md section 4).
// A request that nobody takes up is told to a person.
func (p pair) settle(ctx context.Context, tell func(say.Text)) (stand, error) {
	var at stand
	spec := wait.Spec{
		What: say.F("%s and %s tell which of them is the primary", "%s 与 %s 明确谁是主库", p.from.Name, p.to.Name), Deadline: p.to.SwitchWait, Every: 2 * time.Second,
		Next: "gs_ctl query -D DATA",
	}
	err := wait.For(ctx, p.to.env.Clock, spec, tell, func(ctx context.Context) (wait.Look, error) {
		var says say.Text
		var err error
		if at, says, err = p.look(ctx); err != nil {
			return wait.Look{}, err
		}
		if at == bothAre {
			return wait.Look{}, twoPrimaries(p.from.Name, p.to.Name)
		}
		l := wait.Look{Says: says, Done: at == switched}
		if at == before {
			asked, err := p.asked(ctx)
			if err != nil {
				return l, err
			}
			l.Done = !asked
			if asked {
				l.Says = say.Join("; ", says, say.F("the request %s is still there", "请求文件 %s 仍在", p.request()))
			}
		}
		return l, nil
	})
	return at, err
}

// request is the file by which a standby is asked.
func (p pair) request() string { return p.to.Data + "/switchover" }

func (p pair) asked(ctx context.Context) (bool, error) { return p.to.exists(ctx, p.request()) }

func (switchAction) Do(ctx context.Context, t driver.Target) error {
	p, err := pairOf(t.Env, t.Step.Args["old"], t.Step.Args["new"])
	if err != nil {
		return err
	}
	return p.switchover(ctx, report(t))
}

// switchover makes to the primary, unless it is.
func (p pair) switchover(ctx context.Context, tell func(say.Text)) error {
	at, err := p.settle(ctx, tell)
	if err != nil {
		return err
	}
	if at != switched {
		if err := p.ready(ctx, tell); err != nil {
			return err
		}
		c := host.Change("gs_ctl", "switchover", "-D", p.to.Data)
		c.Timeout = 3 * time.Minute
		if _, err := p.to.Run(ctx, c); believed(ctx, err) != nil {
			return err
		}
		if at, err = p.settle(ctx, tell); err != nil {
			return err
		}
		if at != switched {
			return &say.Problem{
				Place: p.to.Name,
				Text:  say.F("the switchover did not happen: %s is the primary still [M14]", "切换没有发生：%s 仍是主库［M14］", p.from.Name),
				Next:  say.F("look at the server logs of both (catchup or build under way, lock of another gs_ctl), then: shiplift resume", "查看两个节点的数据库日志（是否有追赶、重建或其他 gs_ctl 占用），然后执行：shiplift resume"),
			}
		}
	}
	return p.others(ctx, tell)
}

// ready waits until the standby streams and is caught up: an early request runs
// into its timeout (M13).
func (p pair) ready(ctx context.Context, tell func(say.Text)) error {
	return p.to.awaitRole(ctx, roleStandby, p.to.StartWait, tell)
}

// others waits until every other standby follows the new primary.
func (p pair) others(ctx context.Context, tell func(say.Text)) error {
	for _, name := range p.to.env.Inventory.Names() {
		if name == p.to.Name {
			continue
		}
		s, err := siteOf(p.to.env, name)
		if err != nil {
			return err
		}
		h, err := s.Query(ctx, s.Data)
		if isGone(err) {
			tell(say.F("%s does not answer and is passed over", "%s 没有应答，已跳过", name))
			continue
		}
		if err != nil {
			return err
		}
		if h.Process != gaussdb.Running {
			continue // a server that is down is another step's matter
		}
		role := roleStandby
		if h.Role == gaussdb.RoleCascade {
			role = roleCascade
		}
		if err := s.awaitRole(ctx, role, s.StartWait, tell); err != nil {
			return err
		}
	}
	return nil
}

// Undo switches back, and lets gs_om know: the step refreshconf, which was
// undone before, cannot do it any more (M15). gs_om needs every node; what it
// cannot do for want of one is made up when that is back (noteAction).
func (switchAction) Undo(ctx context.Context, t driver.Target) error {
	p, err := pairOf(t.Env, t.Step.Args["new"], t.Step.Args["old"])
	if err != nil {
		return err
	}
	if err := p.reviveRuler(ctx, t); err != nil {
		return err
	}
	if p, err = p.asItIs(ctx, t); err != nil {
		return err
	}
	if err := p.to.mayReign(ctx, t); err != nil {
		return err
	}
	if err := p.switchover(ctx, report(t)); err != nil {
		return err
	}
	if t.Step.Args["om"] != "true" {
		return nil
	}
	err = p.to.refreshconf(ctx)
	if err == nil {
		return nil
	}
	for _, name := range t.Env.Inventory.Names() {
		s, serr := siteOf(t.Env, name)
		if serr != nil {
			return serr
		}
		if _, perr := s.server(ctx); isGone(perr) {
			report(t)(say.F("gs_om cannot write the roles while %s does not answer", "%s 没有应答，gs_om 暂时无法写入角色配置", name))
			return nil
		}
	}
	return err
}

// reviveRuler starts the one of the two that was the primary when it ran last:
// the new one behind a switchover, the old one where it never came to that.
func (p pair) reviveRuler(ctx context.Context, t driver.Target) error {
	for _, s := range []*site{p.from, p.to} {
		pid, err := s.server(ctx)
		if err != nil {
			return err
		}
		if pid != 0 {
			continue
		}
		if ruled, err := s.ruled(ctx); err != nil {
			return err
		} else if !ruled {
			continue
		}
		if err := revivePrimary(ctx, t, s.Name); err != nil {
			return err
		}
	}
	return nil
}

// asItIs takes the node that somebody else made the primary meanwhile for the
// one that hands over; who should have been it follows, and is started for that
// when its server fell.
func (p pair) asItIs(ctx context.Context, t driver.Target) (pair, error) {
	now, err := reigning(ctx, t)
	if err != nil || now == "" {
		return p, err
	}
	if now != p.from.Name {
		if err := p.from.follow(ctx, t); err != nil && !isGone(err) {
			return p, err
		}
	}
	if now == p.to.Name {
		return p, nil
	}
	if err := p.to.follow(ctx, t); err != nil {
		return p, err
	}
	return pairOf(t.Env, now, p.to.Name)
}

// standbysReady proves that nothing stands in the way of the switchover (M10, M13).
func standbysReady(ctx context.Context, t driver.Target) error {
	for _, name := range t.Env.Inventory.Names() {
		if name == t.Step.Args["primary"] {
			continue
		}
		s, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		h, err := s.Query(ctx, s.Data)
		if err != nil {
			return err
		}
		if err := s.awaitRole(ctx, roleWord(h.Role), s.StartWait, report(t)); err != nil {
			return err
		}
		if roleWord(h.Role) == rolePrimary {
			return say.Errorf("%s is the primary, not %s", "主库是 %s，不是 %s", name, t.Step.Args["primary"])
		}
		if err := s.proveRelease(ctx, t.Step.Args["to"]); err != nil {
			return err
		}
		if asked, err := s.exists(ctx, s.Data+"/switchover"); err != nil || asked {
			if err == nil {
				err = &say.Problem{
					Place: s.Name,
					Text:  say.F("a switchover that was asked for earlier is not finished: %s/switchover is there [M13]", "此前请求的切换尚未结束：%s/switchover 仍在［M13］", s.Data),
					Next:  say.F("wait for it or look at the server's log, then: shiplift resume", "等待其结束或查看数据库日志，然后执行：shiplift resume"),
				}
			}
			return err
		}
	}
	return nil
}
