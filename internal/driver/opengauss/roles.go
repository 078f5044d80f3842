package opengauss

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// states asks every node for its role and state; a node that does not answer
// is a nil entry, with the reason in errs.
func (r *room) states(ctx context.Context) (states []*gaussdb.HA, errs []error) {
	states, errs = make([]*gaussdb.HA, len(r.Sites)), make([]error, len(r.Sites))
	each(r.Env, len(r.Sites), func(i int) {
		h, err := r.Sites[i].Query(ctx, r.Sites[i].Data)
		if err != nil {
			errs[i] = err
			return
		}
		states[i] = &h
	})
	return states, errs
}

// primary is the one node that is primary among those that answer; nil when
// there is none. Two are an error (I3): where a role moves while the nodes are
// asked one after another, both may say so, so it looks a second time.
func (r *room) primary(ctx context.Context) (*site, error) {
	found, err := r.onePrimary(ctx)
	if err == nil || ctx.Err() != nil {
		return found, err
	}
	if err := r.Clock.Sleep(ctx, time.Second); err != nil {
		return nil, err
	}
	return r.onePrimary(ctx)
}

func (r *room) onePrimary(ctx context.Context) (*site, error) {
	states, _ := r.states(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var found *site
	for i, h := range states {
		if h == nil || h.Process != gaussdb.Running || !h.Primary() {
			continue
		}
		if found != nil {
			return nil, &say.Problem{Text: say.F("two nodes say that they are the primary: %s and %s", "两个节点都自称主库：%s 与 %s", found.Name, r.Sites[i].Name),
				Next: say.F("stop the one whose data is not wanted, at once; then: shiplift status", "立即停止其中数据不需要的一个，然后执行：shiplift status")}
		}
		found = r.Sites[i]
	}
	return found, nil
}

// mustPrimary waits a little for a primary that takes writes: with a cluster
// manager it may move at any time.
func (r *room) mustPrimary(ctx context.Context) (*site, error) {
	if err := r.revive(ctx); err != nil {
		return nil, err
	}
	var found *site
	spec := wait.Spec{What: say.F("one node is primary and Normal", "有一个状态正常的主库"), Deadline: 90 * time.Second, Every: 500 * time.Millisecond, Next: "shiplift status"}
	err := wait.For(ctx, r.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		p, err := r.primary(ctx)
		if err != nil || p == nil {
			return wait.Look{Says: say.F("there is none", "没有主库")}, err
		}
		h, err := p.Query(ctx, p.Data)
		if err != nil {
			return wait.Look{}, err
		}
		found = p
		return wait.Look{Done: h.Healthy() && h.Primary(), Says: say.F("%s: %s %s", "%s：%s %s", p.Name, h.Role, h.State)}, nil
	})
	if err != nil && r.Undoing {
		// Without a primary nothing of the catalogue can go back: it waits for
		// the node that does not answer and may be it.
		_, errs := r.states(ctx)
		for i, e := range errs {
			var gone *host.UnreachableError
			if errors.As(e, &gone) {
				return found, errors.Join(err, &driver.Owed{Node: r.Sites[i].Name, Err: e})
			}
		}
	}
	return found, err
}

// revive starts the primary again when its machine went down in the middle of
// the run and nobody else started it: a rollback must come to its end also when
// the cluster is down (I5). It does so only when every node answers, none is
// primary or about to become it, and exactly one stopped server was the primary
// when it stopped: the server itself writes its mode into postmaster.opts at
// every change. It looks twice: somebody's failover has a moment in which the
// old primary is down and the new one says nothing yet.
func (r *room) revive(ctx context.Context) error {
	was, err := r.fallen(ctx)
	if err != nil || was == nil {
		return err
	}
	if err := r.Clock.Sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	if again, err := r.fallen(ctx); err != nil || again != was {
		return err
	}
	report(r.Target)(say.F("%s was the primary and does not run: it is started again", "%s 是原主库但未运行：重新启动", was.Name))
	role := "primary"
	if len(r.Sites) == 1 {
		role = ""
	}
	return r.startServer(ctx, was, role)
}

// changing are the states of a server whose role is about to change.
var changing = []string{"Promoting", "Wait promoting", "Demoting"}

// fallen is the stopped server that was the primary; nil while somebody else is
// it, may be it, or becomes it.
func (r *room) fallen(ctx context.Context) (*site, error) {
	states, errs := r.states(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var was []*site
	for i, h := range states {
		switch {
		case errs[i] != nil:
			return nil, nil //nolint:nilerr // it might be the primary: the wait that follows tells
		case h.Process == gaussdb.Running && (h.Primary() || slices.Contains(changing, h.State)):
			return nil, nil
		case h.Process == gaussdb.Running:
			continue
		}
		if minded, err := r.Sites[i].minded(ctx); err != nil || minded {
			if err != nil {
				return nil, err
			}
			continue
		}
		o, err := r.Sites[i].opts(ctx)
		if err != nil {
			return nil, err
		}
		if o.Value("-M") == "primary" || o.Program != "" && len(r.Sites) == 1 {
			was = append(was, r.Sites[i])
		}
	}
	switch len(was) {
	case 0:
		return nil, nil
	case 1:
		return was[0], nil
	}
	return nil, doubtful(was[0], was[1])
}

// comeUp starts a server that ran before the upgrade and is down now, with the
// release that $GAUSSHOME leads to. It leaves that to a cluster manager that works.
func (r *room) comeUp(ctx context.Context, s *site) error {
	if r.Plan.Before[s.Name].Running == "" {
		return nil
	}
	if minded, err := s.minded(ctx); err != nil || minded {
		return err
	}
	st, err := s.Status(ctx, s.Data)
	if err != nil || st.Process == gaussdb.Running {
		return err
	}
	if err := r.revive(ctx); err != nil {
		return err
	}
	if st, err = s.Status(ctx, s.Data); err != nil || st.Process == gaussdb.Running {
		return err
	}
	role := map[string]string{"primary": "standby", "standby": "standby", "cascade": "cascade_standby"}[s.Role]
	return r.launch(ctx, s, role)
}

// switchoverAction hands the primary's role over.
type switchoverAction struct{ noMemo }

func (a switchoverAction) ends(r *room, back bool) (from, to *site, err error) {
	if from, err = r.site(r.Args["from"]); err != nil {
		return nil, nil, err
	}
	if to, err = r.site(r.Args["to"]); err != nil {
		return nil, nil, err
	}
	if back {
		from, to = to, from
	}
	return from, to, nil
}

func (a switchoverAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, err := roomOf(t)
	if err != nil {
		return half(err)
	}
	from, to, err := a.ends(r, false)
	if err != nil {
		return half(err)
	}
	// A switchover that is under way comes to an end within seconds: look until it
	// has. One that has not begun to show may still come: the request outlives the
	// tool that made it, so the old primary must stay what it is for a while.
	standing := driver.Half
	stays := time.Time{}
	spec := wait.Spec{What: say.F("the switchover has come to an end", "主备切换已结束"), Deadline: 45 * time.Second, Every: 500 * time.Millisecond}
	_ = wait.For(ctx, r.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		standing = driver.Half
		p, err := r.primary(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		switch p {
		case to:
			standing = driver.Applied
		case from:
			if standing = driver.NotApplied; stays.IsZero() {
				stays = r.Clock.Now()
			}
			return wait.Look{Done: r.Clock.Now().Sub(stays) >= 15*time.Second}, nil
		}
		stays = time.Time{}
		return wait.Look{Done: p != nil}, nil
	})
	if ctx.Err() != nil {
		return half(context.Cause(ctx))
	}
	if standing == driver.Half {
		p, err := r.primary(ctx)
		if err != nil {
			return half(err)
		}
		if p != nil { // a third node: somebody else moved the role, and the way back begins with bringing it back
			return driver.Half, nil
		}
		for _, s := range []*site{from, to} { // no primary at all, and a node that does not answer might be one
			if _, err := s.Query(ctx, s.Data); err != nil {
				return half(err)
			}
		}
	}
	return standing, nil
}

func (a switchoverAction) Do(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	from, to, err := a.ends(r, false)
	if err != nil {
		return err
	}
	return r.handOver(ctx, from, to)
}

func (a switchoverAction) Undo(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	from, to, err := a.ends(r, true)
	if err != nil {
		return err
	}
	if err := r.revive(ctx); err != nil {
		return err
	}
	p, err := r.primary(ctx)
	if err != nil {
		return err
	}
	if p != nil {
		return r.handOver(ctx, from, to)
	}
	// Whoever fell behind a switchover that was done may hold more than the primary
	// before it: a cluster manager that works compares them and chooses.
	elects, err := to.elects(ctx)
	switch {
	case err != nil:
		return err
	case elects:
		return r.handOver(ctx, from, to)
	}
	return r.promote(ctx, to, from)
}

// handOver makes to the primary. The tool's word and its status are no proof:
// it says completed on a primary, and ends with 0 after a timeout.
func (r *room) handOver(ctx context.Context, from, to *site) error {
	p, err := r.mustPrimary(ctx)
	if err != nil {
		return err
	}
	if p != to {
		if p != from {
			report(r.Target)(say.F("%s is the primary now, not %s", "当前主库为 %s，而不是 %s", p.Name, from.Name))
		}
		if err := r.comeUp(ctx, to); err != nil {
			return err
		}
		if err := r.caughtUp(ctx, p, to); err != nil {
			return err
		}
		// A checkpoint first: the demotion then has little left to write.
		if err := p.Exec(ctx, p.Port, "postgres", "checkpoint"); err != nil {
			return err
		}
		argv, err := to.switchover(ctx)
		if err != nil {
			return err
		}
		a, err := to.tool(ctx, 2*time.Minute, argv...)
		if err != nil {
			return err
		}
		if err := r.switched(ctx, to, a); err != nil {
			return err
		}
	}
	return r.allFollow(ctx)
}

// switchover is the command that makes s the primary. While an in-place upgrade
// is open the cluster manager refuses (spec section 6.8), and leaves the roles
// to the servers.
func (s *site) switchover(ctx context.Context) ([]string, error) {
	byServer := !s.HasCM
	if s.HasCM {
		var err error
		if byServer, err = s.exists(ctx, path.Join(s.openDir(), fileInplace)); err != nil {
			return nil, err
		}
	}
	if byServer {
		return []string{"gs_ctl", "switchover", "-D", s.Data, "-t", "60"}, nil
	}
	return []string{"cm_ctl", "switchover", "-n", fmt.Sprint(s.NodeID), "-D", s.Data}, nil
}

// switched waits for the role to be where it shall be.
func (r *room) switched(ctx context.Context, to *site, a gaussdb.Answer) error {
	spec := wait.Spec{What: say.F("%s is the primary", "%s 成为主库", to.Name), Deadline: 30 * time.Second, Every: 200 * time.Millisecond, Next: "shiplift resume"}
	err := wait.For(ctx, r.Clock, spec, report(r.Target), func(ctx context.Context) (wait.Look, error) {
		h, err := to.Query(ctx, to.Data)
		if err != nil {
			return wait.Look{}, err
		}
		return wait.Look{Done: h.Healthy() && h.Primary(), Says: say.F("%s: %s %s", "%s：%s %s", to.Name, h.Role, h.State)}, nil
	})
	if err != nil {
		said := strings.TrimSpace(a.Both())
		if i := strings.LastIndexByte(said, '\n'); i >= 0 {
			said = said[i+1:]
		}
		return say.Errorf("%w (the tool said: %s)", "%w（工具输出：%s）", err, said)
	}
	return nil
}

// promote brings a primary back when a switchover left none: the one that was
// the primary has all that was acknowledged, since it demoted last (golden
// 5.0.0/140 to 151: a switchover then times out and only failover repairs it).
func (r *room) promote(ctx context.Context, was, other *site) error {
	for _, s := range []*site{was, other} {
		h, err := s.Query(ctx, s.Data)
		if err != nil {
			return err
		}
		if h.Process != gaussdb.Running {
			return &say.Problem{Place: s.Name, Text: say.F("no node is primary, and the server of %s does not run", "没有主库，且 %s 的服务未运行", s.Name), Next: say.F("shiplift status", "shiplift status")}
		}
	}
	if err := r.proveLast(ctx, was, false); err != nil {
		return err
	}
	a, err := was.tool(ctx, 2*time.Minute, "gs_ctl", "failover", "-D", was.Data)
	if err != nil {
		return err
	}
	if err := r.switched(ctx, was, a); err != nil {
		return err
	}
	return r.allFollow(ctx)
}

// caughtUp waits until a standby has replayed what the primary had flushed.
func (r *room) caughtUp(ctx context.Context, p, to *site) error {
	spec := wait.Spec{What: say.F("%s has replayed all of %s", "%s 已回放 %s 的全部日志", to.Name, p.Name), Node: to.Name, Deadline: 5 * time.Minute, Every: 500 * time.Millisecond, Next: "shiplift resume"}
	var target gaussdb.LSN
	return wait.For(ctx, r.Clock, spec, report(r.Target), func(ctx context.Context) (wait.Look, error) {
		h, err := to.Query(ctx, to.Data)
		if err != nil {
			return wait.Look{}, err
		}
		l := wait.Look{Left: 1, Says: say.F("%s: %s (%s)", "%s：%s（%s）", to.Name, h.State, h.Detail)}
		if h.State != gaussdb.StateNormal || h.Receiver == nil {
			return l, nil
		}
		if target == 0 {
			target = h.Receiver.SenderFlush
		}
		l.Done = h.Receiver.Replay >= target
		return l, nil
	})
}

// allFollow waits until every server that runs, but the primary, streams.
func (r *room) allFollow(ctx context.Context) error {
	spec := wait.Spec{What: say.F("all standbys follow the primary", "所有备库跟随主库"), Deadline: 2 * time.Minute, Every: 500 * time.Millisecond, Next: "shiplift resume"}
	return wait.For(ctx, r.Clock, spec, report(r.Target), func(ctx context.Context) (wait.Look, error) {
		states, errs := r.states(ctx)
		l := wait.Look{Done: true}
		for i, h := range states {
			switch {
			case errs[i] != nil:
				// A node that does not answer is not waited for here: its own steps do.
			case h.Process == gaussdb.Running && !h.Healthy():
				l.Done = false
				l.Left++
				l.Says = say.F("%s: %s %s (%s)", "%s：%s %s（%s）", r.Sites[i].Name, h.Role, h.State, h.Detail)
			}
		}
		return l, nil
	})
}

// rolling reports a run in which the cluster goes on serving.
func (r *room) rolling() bool { return len(r.Sites) > 1 && r.Plan.Request.Mode != "inplace" }

// steady waits until one primary serves and every other server that ran before
// the run follows it. In a rolling run the next server is stopped only then: it
// may be the only one that holds what the primary has acknowledged, and were
// that to fall now, a cluster manager would make another one the primary (I4).
func (r *room) steady(ctx context.Context, but *site) error {
	if !r.rolling() {
		return nil
	}
	if _, err := r.mustPrimary(ctx); err != nil {
		return err
	}
	spec := wait.Spec{What: say.F("the other nodes serve and follow, before %s is stopped", "停止 %s 之前，其余节点正常服务并跟随主库", but.Name), Node: but.Name, Deadline: 2 * time.Minute, Every: 500 * time.Millisecond, Next: "shiplift status"}
	return wait.For(ctx, r.Clock, spec, report(r.Target), func(ctx context.Context) (wait.Look, error) {
		states, errs := r.states(ctx)
		l := wait.Look{}
		serves := false
		for i, h := range states {
			o := r.Sites[i]
			switch {
			case errs[i] != nil:
				l.Left++
				l.Says = say.Of(errs[i])
			case h.Process == gaussdb.Running && h.Primary() && h.Healthy():
				serves = true
			case o != but && r.Plan.Before[o.Name].Running != "" && !h.Healthy():
				l.Left++
				l.Says = say.F("%s: %s %s %s (%s)", "%s：%s %s %s（%s）", o.Name, h.Process, h.Role, h.State, h.Detail)
			}
		}
		l.Done = serves && l.Left == 0
		return l, nil
	})
}

// steadyBack is steady on the way back, which goes on past nodes that after that
// time do not answer or do not follow (I5), but for one that rests and answers.
// Where all answer, and the cluster manager has made nobody the primary, it goes
// no further either.
func (r *room) steadyBack(ctx context.Context, but *site) error {
	err := r.steady(ctx, but)
	if err == nil || ctx.Err() != nil || !r.Undoing {
		return ctx.Err()
	}
	if owed := r.restsAlone(ctx, but); owed != nil || !but.HasCM {
		return owed
	}
	states, errs := r.states(ctx)
	if errors.Join(errs...) != nil || slices.ContainsFunc(states, func(h *gaussdb.HA) bool { return h.Primary() }) {
		return nil //nolint:nilerr // the way back is open
	}
	return err
}

// restsAlone leaves a server for the next rollback while one that answers is
// stopped in order, and a primary serves: one at a time is down (M11). The own
// way back of that one starts it again; it did not answer when its turn was.
func (r *room) restsAlone(ctx context.Context, but *site) error {
	if p, err := r.primary(ctx); err != nil || p == nil {
		return err
	}
	for _, o := range r.Sites {
		if o == but || r.Plan.Before[o.Name].Running == "" {
			continue
		}
		rests, err := o.rests(ctx)
		var gone *host.UnreachableError
		if err != nil && !errors.As(err, &gone) {
			return err
		}
		if rests {
			return &driver.Owed{Node: but.Name, Err: &say.Problem{Place: but.Name,
				Text: say.F("its server is not stopped for the way back while that of %s is stopped too", "%s 的服务也处于停止状态时，不会为回退停止该节点的服务", o.Name),
				Next: say.F("shiplift rollback", "shiplift rollback")}}
		}
	}
	return nil
}

// rests reports a server that was stopped in order: one that fell leaves its
// postmaster.pid behind.
func (s *site) rests(ctx context.Context) (bool, error) {
	st, err := s.Status(ctx, s.Data)
	if err != nil || st.Process == gaussdb.Running {
		return false, err
	}
	fell, err := s.exists(ctx, below(s.Data, "postmaster.pid"))
	return err == nil && !fell, err
}

// refreshAction tells gs_om the roles: it starts the cluster by what the
// dynamic configuration says.
type refreshAction struct{}

// refreshMemo is what the file was on each node: its sum, "" for no file.
type refreshMemo struct {
	Sums map[string]string `json:"sums"`
}

const dynamicConf = "bin/cluster_dynamic_config"

func (r *room) dynamicSums(ctx context.Context) (map[string]string, error) {
	sums := make([]string, len(r.Sites))
	err := r.onAllIndexed(func(i int, s *site) error {
		there, err := s.exists(ctx, below(s.Home, dynamicConf))
		if err != nil || !there {
			return r.passOver(s, err)
		}
		sums[i], err = host.Sum(ctx, s.Host, below(s.Home, dynamicConf))
		return r.passOver(s, err)
	})
	m := map[string]string{}
	for i, s := range r.Sites {
		m[s.Name] = sums[i]
	}
	return m, err
}

func below(dir, name string) string { return dir + "/" + name }

// passOver lets a way back go on without a node that does not answer: its file
// lies in the new directory, which its own way back leaves. Only the old
// primary's lies in the old one.
func (r *room) passOver(s *site, err error) error {
	var gone *host.UnreachableError
	if r.Undoing && s.Name != r.Args["from"] && errors.As(err, &gone) {
		return nil
	}
	return err
}

func (r *room) saved(s *site) string { return s.work(r.Args["commit"]) + "/cluster_dynamic_config" }

func (refreshAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	r, err := roomOf(t)
	if err != nil {
		return nil, err
	}
	sums, err := r.dynamicSums(ctx)
	if err != nil {
		return nil, err
	}
	return remember(refreshMemo{sums})
}

func (refreshAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, err := roomOf(t)
	if err != nil {
		return half(err)
	}
	var m refreshMemo
	if err := recall(t.Memo, &m); err != nil {
		return half(err)
	}
	now, err := r.dynamicSums(ctx)
	if err != nil {
		return half(err)
	}
	changed := 0
	for _, s := range r.Sites {
		if now[s.Name] != m.Sums[s.Name] {
			changed++
		}
	}
	switch changed {
	case 0:
		return driver.NotApplied, nil
	case len(r.Sites):
		return driver.Applied, nil
	}
	return driver.Half, nil
}

func (refreshAction) Do(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	var m refreshMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	// The copy first: it is what a rollback puts back.
	err = r.onAll(func(s *site) error {
		if m.Sums[s.Name] == "" {
			return nil
		}
		if have, err := s.exists(ctx, r.saved(s)); err != nil || have {
			return err
		}
		return s.change(ctx, "cp", "-a", below(s.Home, dynamicConf), r.saved(s))
	})
	if err != nil {
		return err
	}
	p, err := r.mustPrimary(ctx)
	if err != nil {
		return err
	}
	a, err := p.tool(ctx, 5*time.Minute, "gs_om", "-t", "refreshconf")
	if err != nil {
		return err
	}
	if a.Code != 0 {
		return toolFailed(p, "gs_om -t refreshconf", a)
	}
	return nil
}

func (refreshAction) Undo(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	var m refreshMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	return r.onAll(func(s *site) error { return r.passOver(s, r.dynamicBack(ctx, s, m.Sums[s.Name] != "")) })
}

// dynamicBack puts the file back that was saved, or takes it away where there was none.
func (r *room) dynamicBack(ctx context.Context, s *site, was bool) error {
	if !was {
		return s.change(ctx, "rm", "-f", below(s.Home, dynamicConf))
	}
	there, err := s.exists(ctx, r.saved(s))
	if err != nil || !there {
		return err
	}
	if err := s.change(ctx, "cp", "-a", r.saved(s), below(s.Home, dynamicConf)); err != nil {
		return err
	}
	return s.change(ctx, "rm", "-f", r.saved(s))
}
