package mogdb

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// While MogHA is off nobody starts a server that fell, or that was on a machine
// without power. A run that goes back does it itself: the way back must also
// be there when the cluster is down (I5).

// noteAction notes the roles on every node. Its undo, behind those of all stops
// and before MogHA is on again, brings back every server that ran before.
type noteAction struct{}

func noteFile(args map[string]string) string {
	return path.Join(stageDir(args["app"], args["to"]), "roles.json")
}

func (noteAction) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (noteAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	there, names := 0, t.Env.Inventory.Names()
	for _, name := range names {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return driver.Unknown, err
		}
		_, err = host.Stat(ctx, s.Host, noteFile(argsOf(t.Plan, name)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return driver.Unknown, err
		}
		if err == nil {
			there++
		}
	}
	switch there {
	case 0:
		return driver.NotApplied, nil
	case len(names):
		return driver.Applied, nil
	}
	return driver.Half, nil
}

func (noteAction) Do(ctx context.Context, t driver.Target) error {
	roles := map[string]string{}
	for name, n := range t.Plan.Before {
		roles[name] = n.Role
	}
	body, err := json.MarshalIndent(map[string]any{"cluster": t.Plan.Cluster, "from": t.Plan.From, "to": t.Plan.To, "roles": roles}, "", "  ")
	if err != nil {
		return err
	}
	for _, name := range t.Env.Inventory.Names() {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		if err := host.WriteFile(ctx, s.Host, noteFile(argsOf(t.Plan, name)), append(body, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Undo brings back the primary first, then the others, each in the role that it had.
func (noteAction) Undo(ctx context.Context, t driver.Target) error {
	if err := reviveAll(ctx, t); err != nil {
		return err
	}
	primary := primaryAt(t.Plan, t.Step.ID)
	if now, err := reigning(ctx, t); err != nil {
		return err
	} else if now != "" {
		primary = now
	}
	if err := agree(ctx, t, primary); err != nil {
		return err
	}
	for _, name := range t.Env.Inventory.Names() {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		if err := s.change(ctx, []string{"rm", "-f", noteFile(argsOf(t.Plan, name))}); err != nil {
			return err
		}
	}
	return nil
}

// reviveAll starts every server that ran before and is down. What lies on a
// node that does not answer is owed; the others' servers are started all the same.
func reviveAll(ctx context.Context, t driver.Target) error {
	var owed error
	if len(t.Env.Inventory.Nodes) > 1 {
		if err := revivePrimary(ctx, t, primaryAt(t.Plan, t.Step.ID)); isLater(err) {
			owed = err
		} else if err != nil {
			return err
		}
	}
	for _, name := range t.Env.Inventory.Names() {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		role := roleBefore(t.Plan, name)
		if owed != nil && standsBy(role) {
			err = s.startBlind(ctx, t, role)
		} else {
			err = s.revive(ctx, t, role)
		}
		if isGone(err) {
			owed = errors.Join(owed, &driver.Owed{Node: name, Err: err})
		} else if err != nil {
			return err
		}
	}
	return owed
}

// reviveLast ends a rollback: what went down before the run had noted any role
// is started too. The steps that copy the package are undone last, and that of
// the first node, which is the last of all, looks at every node. Where MogHA is
// on again it is the one that starts servers.
func reviveLast(ctx context.Context, t driver.Target) error {
	if !t.Undoing || t.Step.Node != t.Env.Inventory.Names()[0] {
		return nil
	}
	for _, name := range t.Env.Inventory.Names() {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		if ha, err := s.mogha(ctx); err != nil && !isGone(err) {
			return err
		} else if ha.up() {
			return nil
		}
	}
	return reviveAll(ctx, t)
}

// isLater reports an error behind which the rollback goes on: a node does not
// answer, or owes a step of its own.
func isLater(err error) bool {
	var owed *driver.Owed
	return isGone(err) || errors.As(err, &owed)
}

// roleBefore is how gs_ctl starts a node's server in the role that it had; ""
// for one that did not run.
func roleBefore(p *plan.Plan, name string) string {
	if role := p.Before[name].Role; role != "cascade" {
		return role
	}
	return roleCascade
}

func standsBy(role string) bool { return role == roleStandby || role == roleCascade }

// agree lets gs_om write the roles once more when the nodes hold different
// ones: one of them was away when it should have got them (M15).
func agree(ctx context.Context, t driver.Target, primary string) error {
	if t.Step.Args["om"] != "true" {
		return nil
	}
	files, err := dynamicOf(ctx, t, false)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Sum != files[primary].Sum {
			s, err := siteOf(t.Env, primary)
			if err != nil {
				return err
			}
			return s.refreshconf(ctx)
		}
	}
	return nil
}

// revive starts a server that ran before and is down.
func (s *site) revive(ctx context.Context, t driver.Target, role string) error {
	pid, err := s.server(ctx)
	if err != nil || pid != 0 || role == "" {
		return err
	}
	if len(t.Env.Inventory.Nodes) == 1 {
		role = ""
	}
	if role, err = s.roleNow(ctx, t, role); err != nil {
		return err
	}
	report(t)(say.F("%s is down and is started in its role", "%s 已停止，现以原角色启动", s.Name))
	return s.bringUp(ctx, t, role, t.Plan.From)
}

// revivePrimary starts the node that was the primary last, when its server is
// down and no other node is the primary. It runs what is installed there.
func revivePrimary(ctx context.Context, t driver.Target, name string) error {
	if !t.Undoing {
		return nil
	}
	name, err := lastRuler(ctx, t, name)
	if err != nil {
		return err
	}
	s, err := siteOf(t.Env, name)
	if err != nil {
		return err
	}
	pid, err := s.server(ctx)
	if err != nil || pid != 0 {
		return err
	}
	seen := whoIs(ctx, t.Env)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if other, err := primaryOf(t.Env, seen); err != nil || other != "" {
		return err
	}
	if err := s.proveAlone(ctx, t); err != nil {
		return err
	}
	report(t)(say.F("%s was the primary and is down: it is started as the primary", "%s 原为主库且已停止：现以主库启动", name))
	if err := s.startAs(ctx, t, rolePrimary); err != nil {
		return err
	}
	return s.awaitRole(ctx, rolePrimary, s.StartWait, report(t))
}

// startBlind starts a standby's server, if it is down, while nobody can ask the
// primary. It writes nothing by itself, and is up when the primary looks for it.
// One that was the primary last keeps the mark of that.
func (s *site) startBlind(ctx context.Context, t driver.Target, role string) error {
	pid, err := s.server(ctx)
	if err != nil || pid != 0 {
		return err
	}
	if ruled, err := s.ruled(ctx); err != nil || ruled {
		return err
	}
	report(t)(say.F("the primary does not answer: %s is started as its standby nevertheless", "主库没有应答：仍将 %s 以备库启动", s.Name))
	return s.startAs(ctx, t, role)
}

// lastRuler is the one node that was the primary when it ran last, by its own
// note: somebody's failover may have made it so. Where several were, or some
// node does not answer, it is the one of the plan.
func lastRuler(ctx context.Context, t driver.Target, planned string) (string, error) {
	only := ""
	for _, name := range t.Env.Inventory.Names() {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return "", err
		}
		ruled, err := s.ruled(ctx)
		if isGone(err) {
			return planned, nil
		}
		if err != nil {
			return "", err
		}
		if ruled && only != "" {
			return planned, nil
		}
		if ruled {
			only = name
		}
	}
	if only == "" {
		return planned, nil
	}
	return only, nil
}

// primaryAt is the node that is the primary at a step, as the plan has it.
func primaryAt(p *plan.Plan, step string) string {
	name := ""
	for n, was := range p.Before {
		if was.Role == rolePrimary {
			name = n
		}
	}
	for _, s := range p.Steps {
		if s.ID == step {
			break
		}
		if s.Kind == kindSwitch {
			name = s.Args["new"]
		}
	}
	return name
}
