package postgres

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// The kinds of steps.
const (
	kindCopy          = "copy-package"
	kindUnpack        = "unpack"
	kindStop          = "stop"
	kindSwitch        = "switch-binary"
	kindStart         = "start"
	kindAlter         = "alter"
	kindMakeSlots     = "make-slots"
	kindDropSlots     = "drop-slots"
	kindRepoint       = "repoint"
	kindSwitchover    = "switchover"
	kindFollows       = "follows"
	kindRemovePackage = "remove-package"
	kindRemoveRelease = "remove-release"
)

var actions = map[string]driver.Action{
	kindCopy:          copyAction{},
	kindUnpack:        unpackAction{},
	kindStop:          stopAction{},
	kindSwitch:        switchAction{},
	kindStart:         startAction{},
	kindAlter:         alterAction{},
	kindMakeSlots:     makeSlotsAction{},
	kindDropSlots:     dropSlotsAction{},
	kindRepoint:       repointAction{},
	kindSwitchover:    switchoverAction{},
	kindFollows:       followsAction{},
	kindRemovePackage: removePackageAction{},
	kindRemoveRelease: removeReleaseAction{},
}

func remember(v any) (driver.Memo, error) { return json.Marshal(v) }

// recall reads a memo into v; a memo that is missing is an error, since it was
// durable before Do started.
func recall(m driver.Memo, v any) error {
	if len(m) == 0 {
		return say.Errorf("the step's memo is missing from the journal", "日志中缺少该步骤的备忘")
	}
	return json.Unmarshal(m, v)
}

func report(t driver.Target) func(say.Text) {
	if t.Report == nil {
		return func(say.Text) {}
	}
	return t.Report
}

// switchAction points the link "current" at another release.
type switchAction struct{}

type switchMemo struct {
	Link string `json:"link"`
}

func (switchAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return nil, err
	}
	link, err := s.text(ctx, "readlink", s.current())
	if err != nil {
		return nil, err
	}
	return remember(switchMemo{link})
}

func (switchAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	var m switchMemo
	if err := recall(t.Memo, &m); err != nil {
		return driver.Unknown, err
	}
	link, err := s.text(ctx, "readlink", s.current())
	if err != nil {
		return driver.Unknown, err
	}
	switch link {
	case t.Step.Args["release"]:
		return driver.Applied, nil
	case m.Link:
		if half, err := s.exists(ctx, s.newLink()); err != nil || half {
			return driver.Half, err
		}
		return driver.NotApplied, nil
	}
	return driver.Unknown, say.Errorf("%s: %s points to %q, neither the old release nor the new one", "%s：%s 指向 %q，既不是旧版本也不是新版本", s.Name, s.current(), link)
}

func (switchAction) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	release := t.Step.Args["release"]
	got, err := s.says(ctx, s.bin(release, "postgres"))
	if err != nil {
		return err
	}
	if got != release {
		return say.Errorf("%s: %s holds release %s", "%s：%s 中的版本为 %s", s.Name, s.dir(release), got)
	}
	return s.flip(ctx, release)
}

func (switchAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	var m switchMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	if err := s.stopStarted(ctx, t.Step.Args["release"]); err != nil {
		return err
	}
	return s.point(ctx, m.Link)
}

// stopStarted stops a server that somebody has started with the new release
// while its step had not: the step before starts it with the old one again.
func (s *site) stopStarted(ctx context.Context, release string) error {
	p, err := s.process(ctx)
	if err != nil || !p.running() || !p.runs(release) {
		return err
	}
	return s.stopGently(ctx)
}

// followsAction proves that standbys follow; it changes nothing.
type followsAction struct{}

func (followsAction) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (followsAction) Probe(context.Context, driver.Target) (driver.Standing, error) {
	return driver.NotApplied, nil // what was proven before a crash is proven again
}

func (followsAction) Do(ctx context.Context, t driver.Target) error {
	p, err := findPrimary(ctx, t.Env)
	if err != nil {
		return err
	}
	if p == nil {
		return noPrimary()
	}
	defer p.close()
	for _, name := range strings.Fields(t.Step.Args["standbys"]) {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		if err := s.proveFollows(ctx, p.conn, "", report(t)); err != nil {
			return err
		}
	}
	return nil
}

func (followsAction) Undo(context.Context, driver.Target) error { return nil }

func noPrimary() error {
	return &say.Problem{
		Text: say.F("no node is primary now", "当前没有主库"),
		Next: say.F("shiplift status", "shiplift status"),
	}
}

// primary is the node that accepts writes, with a connection to it.
type primary struct {
	*site
	conn *conn
}

func (p *primary) close() {
	if p != nil {
		p.conn.close()
	}
}

// findPrimary looks for the node that accepts writes; nil when there is none
// among those that answer, an error when there are two (I3).
func findPrimary(ctx context.Context, env driver.Env) (*primary, error) {
	names := env.Inventory.Names()
	found := make([]*primary, len(names))
	each(env, len(names), func(i int) { found[i] = primaryAt(ctx, env, names[i]) })
	var only *primary
	for _, p := range found {
		switch {
		case p == nil:
		case only == nil:
			only = p
		default:
			err := twoPrimaries(only.Name, p.Name)
			for _, p := range found {
				p.close()
			}
			return nil, err
		}
	}
	if only == nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return only, nil
}

func primaryAt(ctx context.Context, env driver.Env, name string) *primary {
	s, err := siteOf(env, name)
	if err != nil {
		return nil
	}
	c, err := s.connect(ctx)
	if err != nil {
		return nil
	}
	if recovering, err := c.inRecovery(ctx); err != nil || recovering {
		c.close()
		return nil
	}
	return &primary{s, c}
}

func twoPrimaries(a, b string) error {
	return &say.Problem{
		Text: say.F("two nodes accept writes: %s and %s", "两个节点同时可写：%s 和 %s", a, b),
		Next: say.F("stop the one whose data is not wanted, at once; then: shiplift status", "立即停止其中数据不需要的一个，然后执行：shiplift status"),
	}
}

// proveFollows waits until a standby streams and has replayed two positions
// that the primary wrote one after the other. A standby may report streaming
// and yet follow a wrong timeline, so its position has to move twice before it
// is believed. upstream, where not empty, is the node it must stream from.
func (s *site) proveFollows(ctx context.Context, p *conn, upstream string, say2 func(say.Text)) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	delay, err := c.setting(ctx, "recovery_min_apply_delay")
	if err != nil {
		return err
	}
	for range 2 {
		to, err := p.nudge(ctx)
		if err != nil {
			return err
		}
		if err := s.waitFor(ctx, c, to, upstream, delay.Value != "0", say2); err != nil {
			return err
		}
	}
	return nil
}

// stallLimit ends a wait for a standby whose distance does not shrink.
const stallLimit = 60 * time.Second

func (s *site) waitFor(ctx context.Context, c *conn, to lsn, upstream string, delayed bool, tell func(say.Text)) error {
	spec := wait.Spec{
		What: say.F("%s streams and has replayed %s", "%s 正在流复制并已回放到 %s", s.Name, to.String()), Node: s.Name,
		Deadline: s.CatchUpWait, Stall: stallLimit, Every: 20 * time.Millisecond, Next: "shiplift resume",
	}
	return wait.For(ctx, s.env.Clock, spec, tell, func(ctx context.Context) (wait.Look, error) {
		r, err := c.receiver(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		received, replayed, err := c.positions(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		at := replayed
		if delayed { // replays late on purpose
			at = received
		}
		l := wait.Look{Left: 1}
		if to > at {
			l.Left += float64(to - at)
		}
		switch from := s.streamsFrom(r, upstream); {
		case !r.streams():
			l.Says = say.F("%s does not stream (%s)", "%s 未在流复制（%s）", s.Name, statusWord(r.Status))
		case !from:
			l.Says = say.F("%s streams from %s", "%s 正从 %s 流复制", s.Name, hostPort(r.Host, r.Port))
		case to > at:
			l.Says = say.F("%s is %d bytes behind", "%s 落后 %d 字节", s.Name, uint64(to-at))
		default:
			l.Done = true
		}
		return l, nil
	})
}

func statusWord(s string) string {
	if s == "" {
		return "no WAL receiver"
	}
	return s
}

// streamsFrom reports whether the receiver is connected to a node. A receiver
// that went there by another name of the machine is told by its port alone.
func (s *site) streamsFrom(r receiver, upstream string) bool {
	if upstream == "" {
		return true
	}
	u, err := siteOf(s.env, upstream)
	if err != nil {
		return false
	}
	if r.Host == u.Address || r.Host == u.Host {
		return r.Port == u.Port
	}
	for _, n := range s.env.Inventory.Nodes {
		if o := confOf(n); (r.Host == o.Address || r.Host == o.Host) && r.Port == o.Port {
			return false // certainly another node
		}
	}
	return r.Port == u.Port
}
