package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// alterAction changes settings of a running server by ALTER SYSTEM and a
// reload. Its arguments are "set:<name>" with a value, and "restore" with the
// step whose memo holds the values to go back to.
type alterAction struct{}

// was is a setting before the run.
type was struct {
	Value string `json:"value"`
	Auto  bool   `json:"auto"` // it stood in postgresql.auto.conf
}

type alterMemo map[string]was

// goal is what a setting shall be.
type goal struct {
	name  string
	value string
	reset bool // take it out of postgresql.auto.conf, so that value shows again
}

func (alterAction) goals(t driver.Target) ([]goal, error) {
	var out []goal
	set := map[string]bool{}
	for key, value := range t.Step.Args {
		if name, ok := strings.CutPrefix(key, "set:"); ok {
			out, set[name] = append(out, goal{name: name, value: value}), true
		}
	}
	if step := t.Step.Args["restore"]; step != "" {
		var m alterMemo
		if err := recall(t.MemoOf(step), &m); err != nil {
			return nil, err
		}
		for _, g := range m.goals() {
			if !set[g.name] {
				out = append(out, g)
			}
		}
	}
	slices.SortFunc(out, func(a, b goal) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func (m alterMemo) goals() []goal {
	var out []goal
	for name, w := range m {
		out = append(out, goal{name: name, value: w.Value, reset: !w.Auto})
	}
	slices.SortFunc(out, func(a, b goal) int { return strings.Compare(a.name, b.name) })
	return out
}

func (a alterAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	goals, err := a.goals(t)
	if err != nil {
		return nil, err
	}
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return nil, err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	m := alterMemo{}
	for _, g := range goals {
		now, err := c.setting(ctx, g.name)
		if err != nil {
			return nil, err
		}
		m[g.name] = was{Value: now.Value, Auto: now.auto()}
	}
	return remember(m)
}

func (a alterAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	goals, err := a.goals(t)
	if err != nil {
		return driver.Unknown, err
	}
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	defer c.close()
	var before alterMemo
	if err := recall(t.Memo, &before); err != nil {
		return driver.Unknown, err
	}
	done, untouched, written := 0, 0, 0
	for _, g := range goals {
		now, err := c.setting(ctx, g.name)
		if err != nil {
			return driver.Unknown, err
		}
		if sameValue(g, now) {
			done++
		}
		if (was{Value: now.Value, Auto: now.auto()}) == before[g.name] {
			untouched++
		}
		value, there, err := c.inFile(ctx, g.name)
		if err != nil {
			return driver.Unknown, err
		}
		if there && !g.reset && value == g.value && value != now.Value {
			written++
		}
	}
	switch {
	case done == len(goals):
		return driver.Applied, nil
	case untouched == len(goals) && written == 0:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

func (a alterAction) Do(ctx context.Context, t driver.Target) error {
	goals, err := a.goals(t)
	if err != nil {
		return err
	}
	return alter(ctx, t, goals)
}

func (alterAction) Undo(ctx context.Context, t driver.Target) error {
	var m alterMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	return alter(ctx, t, m.goals())
}

func alter(ctx context.Context, t driver.Target, goals []goal) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	c, err := s.up(ctx, t.Undoing)
	if err != nil {
		return err
	}
	defer c.close()
	return s.reach(ctx, c, goals)
}

// reach sets settings and waits until the server has taken them over.
func (s *site) reach(ctx context.Context, c *conn, goals []goal) error {
	for _, g := range goals {
		var err error
		if g.reset {
			err = c.resetSetting(ctx, g.name)
		} else {
			err = c.alter(ctx, g.name, g.value)
		}
		if err != nil {
			return err
		}
	}
	if err := c.reload(ctx); err != nil {
		return err
	}
	spec := wait.Spec{
		What: say.F("%s has taken its settings over", "%s 的设置已生效", s.Name), Node: s.Name,
		Deadline: 30 * time.Second, Every: 10 * time.Millisecond, Next: "shiplift resume",
	}
	return wait.For(ctx, s.env.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		for _, g := range goals {
			now, err := c.setting(ctx, g.name)
			if err != nil {
				return wait.Look{}, err
			}
			if !sameValue(g, now) {
				return wait.Look{Says: say.F("%s is not in effect yet (%s)", "%s 尚未生效（%s）", g.name, now.Source)}, nil
			}
		}
		return wait.Look{Done: true}, nil
	})
}

// sameValue compares a goal with what the server shows: pg_settings shows
// intervals in the base unit, milliseconds here.
func sameValue(g goal, now setting) bool {
	if g.value == now.Value {
		return g.reset != now.auto() || now.File == ""
	}
	if d, err := time.ParseDuration(g.value); err == nil {
		if n, ok := parseBytes(now.Value); ok {
			return d == time.Duration(n)*time.Millisecond
		}
	}
	return false
}

// repointAction lets a standby stream from another node.
type repointAction struct{}

// upstreamMemo says where a standby was told to connect. The rest of
// primary_conninfo, the password among it, never leaves the server's own file.
type upstreamMemo struct {
	Set      bool   `json:"set"` // there was a primary_conninfo
	Host     string `json:"host"`
	HostAddr string `json:"hostaddr,omitempty"`
	Port     string `json:"port"`
	HasPort  bool   `json:"has_port"`
	Auto     bool   `json:"auto"`
	Slot     string `json:"slot"`
	SlotAuto bool   `json:"slot_auto"`
}

func (c *conn) upstream(ctx context.Context) (upstreamMemo, error) {
	ci, from, err := c.conninfo(ctx)
	if err != nil {
		return upstreamMemo{}, err
	}
	slot, err := c.setting(ctx, "primary_slot_name")
	if err != nil {
		return upstreamMemo{}, err
	}
	m := upstreamMemo{Set: len(ci) > 0, Host: ci.get("host"), HostAddr: ci.get("hostaddr"), Auto: from.auto(), Slot: slot.Value, SlotAuto: slot.auto()}
	m.Port, m.HasPort = ci.lookup("port")
	return m, nil
}

// restoreUpstream writes back where the server was told to connect before.
func (c *conn) restoreUpstream(ctx context.Context, m upstreamMemo) error {
	ci, _, err := c.conninfo(ctx)
	if err != nil {
		return err
	}
	// Each word keeps its place, so that the text is the old one.
	for _, w := range []struct {
		word
		there bool
	}{{word{"host", m.Host}, m.Host != ""}, {word{"hostaddr", m.HostAddr}, m.HostAddr != ""}, {word{"port", m.Port}, m.HasPort}} {
		if w.there {
			ci = ci.with(w.key, w.value)
		} else {
			ci = ci.without(w.key)
		}
	}
	if m.Auto && m.Set {
		err = c.alter(ctx, "primary_conninfo", ci.String())
	} else {
		err = c.resetSetting(ctx, "primary_conninfo")
	}
	if err != nil {
		return err
	}
	if m.SlotAuto {
		err = c.alter(ctx, "primary_slot_name", m.Slot)
	} else {
		err = c.resetSetting(ctx, "primary_slot_name")
	}
	return cmpErr(err, c.reload(ctx))
}

func (repointAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return nil, err
	}
	switch standby, err := s.standbyBySignal(ctx); {
	case err != nil:
		return nil, err
	case !standby:
		return nil, s.movedHere()
	}
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	m, err := c.upstream(ctx)
	if err != nil {
		return nil, err
	}
	// Asked behind the upstream: the role may move in between.
	if err := stillPrimary(ctx, t.Env, t.Step.Args["from"]); err != nil {
		return nil, err
	}
	return remember(m)
}

func (repointAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	defer c.close()
	r, err := c.receiver(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if r.streams() && s.streamsFrom(r, t.Step.Args["upstream"]) {
		return driver.Applied, nil
	}
	var before upstreamMemo
	if err := recall(t.Memo, &before); err != nil {
		return driver.Unknown, err
	}
	now, err := c.upstream(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if now == before {
		return c.untold(ctx)
	}
	return driver.Half, nil
}

func (repointAction) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	up, err := siteOf(t.Env, t.Step.Args["upstream"])
	if err != nil {
		return err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := s.slotOn(ctx, c, up); err != nil {
		return err
	}
	ci, _, err := c.conninfo(ctx)
	if err != nil {
		return err
	}
	if err := c.alter(ctx, "primary_conninfo", ci.to(up.Address, up.Port).String()); err != nil {
		return err
	}
	if err := c.reload(ctx); err != nil {
		return err
	}
	return s.follow(ctx, up.Name, report(t))
}

// slotOn makes sure that the upstream has the slot that the standby asks for.
func (s *site) slotOn(ctx context.Context, c *conn, up *site) error {
	slot, err := c.setting(ctx, "primary_slot_name")
	if err != nil || slot.Value == "" {
		return err
	}
	u, err := up.connect(ctx)
	if err != nil {
		return err
	}
	defer u.close()
	return u.makeSlot(ctx, slot.Value)
}

// follow proves that a standby follows its upstream under the present primary.
func (s *site) follow(ctx context.Context, upstream string, tell func(say.Text)) error {
	p, err := findPrimary(ctx, s.env)
	if err != nil {
		return err
	}
	if p == nil {
		return noPrimary()
	}
	defer p.close()
	return s.proveFollows(ctx, p.conn, upstream, tell)
}

func (repointAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	var m upstreamMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	old, err := nodeAt(t.Env, m.Host, m.Port)
	if err != nil {
		return err
	}
	if old != nil {
		// A node that does not run cannot be followed: the standby stays where it is.
		p, err := old.process(ctx)
		if err == nil && !p.running() {
			err = say.Errorf("its server does not run", "其服务器没有运行")
		}
		if err != nil {
			return &driver.Owed{Node: old.Name, Err: err}
		}
	}
	c, err := s.up(ctx, true)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.restoreUpstream(ctx, m); err != nil {
		return err
	}
	return s.followBack(ctx, old, m.Slot, report(t))
}

// followBack proves that a standby follows the upstream that it had, unless
// that cannot be: a node that goes back later than the others meets a node that
// keeps nothing for it any more. Its next step back leads it on, and the end of
// the rollback proves where it has come to.
func (s *site) followBack(ctx context.Context, old *site, slot string, tell func(say.Text)) error {
	if old == nil {
		return s.follow(ctx, "", tell)
	}
	serves, err := old.serves(ctx, slot)
	if err != nil || !serves {
		return err
	}
	return s.follow(ctx, old.Name, tell)
}

// serves reports whether a standby that uses that slot can stream from a node.
func (s *site) serves(ctx context.Context, slot string) (bool, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return false, err
	}
	defer c.close()
	have, err := c.slotNames(ctx)
	_, ok := have[slot]
	return ok || slot == "", err
}

// nodeAt finds the node that listens there; nil when it is none of the cluster's.
func nodeAt(env driver.Env, h, port string) (*site, error) {
	if port == "" {
		port = "5432"
	}
	for _, n := range env.Inventory.Nodes {
		if u := confOf(n); (h == u.Address || h == u.Host) && port == u.Port {
			return siteOf(env, u.Name)
		}
	}
	return nil, nil
}
