package opengauss

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// hold is the file that keeps the cluster manager from starting an instance.
func (s *site) hold(app string) string {
	return fmt.Sprintf("%s/bin/instance_manual_start_%d", app, s.ID)
}

// held asks for it where $GAUSSHOME leads now.
func (s *site) held(ctx context.Context) (bool, error) {
	if !s.HasCM {
		return true, nil
	}
	return s.exists(ctx, s.hold(s.Home))
}

// minded tells whether a cluster manager starts the server again and chooses
// its role: not while it is paused or told to leave this server alone.
func (s *site) minded(ctx context.Context) (bool, error) {
	if !s.HasCM {
		return false, nil
	}
	for _, flag := range []string{below(s.Home, pauseFlag), s.hold(s.Home)} {
		if there, err := s.exists(ctx, flag); err != nil || there {
			return false, err
		}
	}
	return true, nil
}

// elects reports a cluster manager that makes one of the nodes the primary where
// there is none: not while it is paused.
func (s *site) elects(ctx context.Context) (bool, error) {
	if !s.HasCM {
		return false, nil
	}
	paused, err := s.exists(ctx, below(s.Home, pauseFlag))
	return err == nil && !paused, err
}

// halt stops the server in order. A server that was killed is stopped already:
// gs_ctl stop would wait for it and fail (golden 5.0.0/160).
func (s *site) halt(ctx context.Context) error {
	if s.HasCM {
		if err := s.change(ctx, "touch", s.hold(s.Home)); err != nil {
			return err
		}
	}
	st, err := s.Status(ctx, s.Data)
	if err != nil || st.Process != gaussdb.Running {
		return err
	}
	a, err := s.tool(ctx, 31*time.Minute, "gs_ctl", "stop", "-D", s.Data, "-m", "fast", "-t", "1800")
	if err != nil {
		return err
	}
	if st, err = s.Status(ctx, s.Data); err != nil {
		return err
	}
	if st.Process == gaussdb.Running {
		return toolFailed(s, "gs_ctl stop", a)
	}
	return nil
}

// program returns the gaussdb that runs on the data directory, links resolved;
// "" when none does.
func (s *site) program(ctx context.Context) (string, error) {
	st, err := s.Status(ctx, s.Data)
	if err != nil || st.Process != gaussdb.Running {
		return "", err
	}
	res, err := s.Host.Run(ctx, host.Read("readlink", "/proc/"+strconv.Itoa(st.PID)+"/exe"))
	if err != nil {
		return "", err
	}
	return res.Text(), nil
}

// launch starts the server in a mode ("primary", "standby", "cascade_standby",
// or "" for a single node) and proves that it runs out of the directory that
// $GAUSSHOME leads to and, where it is a standby, that it follows.
func (r *room) launch(ctx context.Context, s *site, role string) error {
	app, err := s.link(ctx)
	if err != nil {
		return err
	}
	exe, err := s.program(ctx)
	if err != nil {
		return err
	}
	if exe != "" && exe != app+"/bin/gaussdb" {
		return &say.Problem{Place: s.Name, Text: say.F("a server of another release runs on %s: %s", "%s 上运行着其他版本的服务：%s", s.Data, exe),
			Next: say.F("shiplift status", "shiplift status")}
	}
	if exe == "" {
		if err := r.startServer(ctx, s, role); err != nil {
			return err
		}
	}
	if s.HasCM { // from now on it is the cluster manager's again, which also copies anew what cannot follow
		if err := s.change(ctx, "rm", "-f", s.hold(s.Home), s.hold(s.OldApp), s.hold(r.newApp(s))); err != nil {
			return err
		}
	}
	return r.proveStarted(ctx, s, app, role)
}

func (r *room) startServer(ctx context.Context, s *site, role string) error {
	if role == "primary" || role == "" {
		// I3: a second primary would not be refused by anybody (golden 5.0.0/168 to 170).
		other, err := r.primary(ctx)
		if err != nil {
			return err
		}
		if other != nil {
			return &say.Problem{Place: s.Name, Text: say.F("%s is the primary now: %s is not started as a second one", "当前主库为 %s：不会将 %s 启动为第二个主库", other.Name, s.Name),
				Next: say.F("shiplift status", "shiplift status")}
		}
		if err := r.proveLast(ctx, s, r.Undoing); err != nil {
			return err
		}
	} else if err := r.mayFollow(ctx, s); err != nil {
		return err
	}
	argv := []string{"gs_ctl", "start", "-D", s.Data, "-t", "600"}
	if role != "" {
		argv = append(argv, "-M", role)
	}
	a, err := s.tool(ctx, 11*time.Minute, argv...)
	if err != nil {
		return err
	}
	if st, err := s.Status(ctx, s.Data); err != nil || st.Process != gaussdb.Running {
		if err == nil {
			err = toolFailed(s, "gs_ctl start", a)
		}
		return err
	}
	return nil
}

// proveStarted waits for a state that was read again: "server started" does not
// say that the link is ready. Roles are looked at, not remembered: a cluster
// manager or somebody's failover may give a server that starts the other one.
func (r *room) proveStarted(ctx context.Context, s *site, app, role string) error {
	exe, err := s.program(ctx)
	if err != nil {
		return err
	}
	if exe != app+"/bin/gaussdb" {
		return say.Errorf("%s: the server runs out of %q, expected %s/bin/gaussdb", "%s：服务器运行的程序在 %q，应为 %s/bin/gaussdb", s.Name, exe, app)
	}
	p, err := r.primary(ctx)
	if err != nil {
		return err
	}
	alone := p == nil && (role == "standby" || role == "cascade_standby") && (r.Undoing || !r.rolling())
	spec := wait.Spec{What: say.F("%s runs and follows, or is the primary", "%s 运行正常，已追平或为主库", s.Name), Node: s.Name, Deadline: 10 * time.Minute, Every: 200 * time.Millisecond, Next: "shiplift resume"}
	var target gaussdb.LSN
	seen := 0
	return wait.For(ctx, r.Clock, spec, report(r.Target), func(ctx context.Context) (wait.Look, error) {
		h, err := s.Query(ctx, s.Data)
		if err != nil {
			return wait.Look{}, err
		}
		l := wait.Look{Left: 1, Says: say.F("%s: %s %s (%s)", "%s：%s %s（%s）", s.Name, h.Role, h.State, h.Detail)}
		switch {
		case h.Process != gaussdb.Running:
			return l, &say.Problem{Place: s.Name, Text: say.F("the server has ended after its start", "服务启动后退出"), Next: say.F("look at the newest log under $GAUSSLOG on %s", "查看 %s 上 $GAUSSLOG 下最新的日志", s.Name)}
		case h.Refusing:
			return l, nil
		case h.Primary(): // also where it was started as a standby: who reigns is not this step's choice
			if h.State == gaussdb.StateNormal {
				p, err = r.primary(ctx)
				l.Done = p == s
			}
			return l, err
		case alone: // its primary is down too: that it runs is all that can be asked
			l.Done = true
			return l, nil
		case h.State != gaussdb.StateNormal || h.Receiver == nil:
			return l, nil
		}
		if target == 0 {
			target = h.Receiver.SenderFlush
		}
		if h.Receiver.Replay < target {
			l.Left = float64(target - h.Receiver.Replay)
			return l, nil
		}
		// A restarted standby says Normal for a moment and breaks off again: twice.
		seen++
		l.Done = seen > 1
		return l, nil
	})
}

// roleNow is the mode in which a server has to come back: what it was, but as
// a standby when somebody else is the primary by now.
func (r *room) roleNow(ctx context.Context, s *site, role string) (string, error) {
	if role != "primary" {
		return role, nil
	}
	p, err := r.primary(ctx)
	if err == nil && p != nil && p != s {
		role = "standby"
	}
	return role, err
}

// stopAction stops a server; going back starts it again.
type stopAction struct{ noMemo }

func (stopAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	held, err := s.held(ctx)
	if err != nil {
		return half(err)
	}
	st, err := s.Status(ctx, s.Data)
	if err != nil {
		return half(err)
	}
	running := st.Process == gaussdb.Running
	switch {
	case !running && held:
		if usurped, err := r.usurped(ctx, s); err != nil || usurped {
			return driver.Half, err
		}
		return driver.Applied, nil
	case running && s.HasCM && held, !running:
		return driver.Half, nil
	}
	return driver.NotApplied, nil
}

func (stopAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	if r.Step.Args["role"] == "standby" {
		// A standby that became the primary meanwhile is not stopped: the cluster would have none.
		if p, err := r.primary(ctx); err != nil || p == s {
			if err == nil {
				err = &say.Problem{Place: s.Name, Text: say.F("%s has become the primary meanwhile", "%s 已变为主库", s.Name), Next: say.F("shiplift rollback", "shiplift rollback")}
			}
			return err
		}
		if err := r.steady(ctx, s); err != nil {
			return err
		}
		return r.rest(ctx, s)
	}
	return s.halt(ctx)
}

func (stopAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	role, err := r.roleNow(ctx, s, r.Args["role"])
	if err != nil {
		return err
	}
	minded, err := s.minded(ctx)
	if err != nil {
		return err
	}
	if role == "standby" && !minded {
		// It may have become the primary and fallen: started as a standby, nobody
		// would know any more who was it last.
		if ruled, err := s.ruled(ctx); err != nil {
			return err
		} else if ruled {
			if err := r.revive(ctx); err != nil {
				return err
			}
			p, err := r.primary(ctx)
			if err != nil {
				return err
			}
			if p == s {
				role = "primary"
			}
		}
	}
	return r.launch(ctx, s, role)
}

// startAction starts a server on the new release; going back stops it.
type startAction struct{ noMemo }

func (startAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	_, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	held, err := s.held(ctx)
	if err != nil {
		return half(err)
	}
	h, err := s.Query(ctx, s.Data)
	if err != nil {
		return half(err)
	}
	switch {
	case h.Process != gaussdb.Running && held:
		return driver.NotApplied, nil
	case h.Healthy() && (!s.HasCM || !held):
		return driver.Applied, nil
	}
	return driver.Half, nil
}

func (startAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	role, err := r.roleNow(ctx, s, r.Args["role"])
	if err != nil {
		return err
	}
	if err := r.launch(ctx, s, role); err != nil {
		return err
	}
	return r.proveNumber(ctx, s)
}

// proveNumber holds a server of a big upgrade to the old catalogue.
func (r *room) proveNumber(ctx context.Context, s *site) error {
	want := r.Args["old-number"]
	if want == "" {
		return nil
	}
	got, err := s.Value(ctx, s.Port, "select working_version_num()")
	if err != nil {
		return err
	}
	if got != want {
		return &say.Problem{Place: s.Name, Text: say.F("the server works as %s, not as %s: it would use a catalogue that is not there", "服务按 %s 工作而不是 %s：将使用不存在的数据字典", got, want),
			Next: say.F("shiplift rollback", "shiplift rollback")}
	}
	return nil
}

func (startAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	return r.takeDown(ctx, s)
}

// takeDown stops a server that runs on the new release, on the way back.
func (r *room) takeDown(ctx context.Context, s *site) error {
	if err := r.catchCatalogue(ctx, s); err != nil {
		return err
	}
	if err := r.steadyBack(ctx, s); err != nil {
		return err
	}
	if err := r.abdicate(ctx, s); err != nil {
		return err
	}
	if r.planned() == s.Name || len(r.Sites) < 2 {
		return s.halt(ctx)
	}
	return r.rest(ctx, s)
}

// catchCatalogue lets a node that was away while the catalogue went back
// receive that with the new binaries: the old ones would not start on what it
// still holds (spec section 12.2, 4).
func (r *room) catchCatalogue(ctx context.Context, s *site) error {
	if !r.Undoing || r.Args["old-number"] == "" {
		return nil
	}
	p, err := r.primary(ctx)
	if err != nil || p == nil || p == s {
		return err
	}
	app, err := s.link(ctx)
	if err != nil || app != r.newApp(s) {
		return err
	}
	role := r.Args["role"]
	if role == "primary" {
		role = "standby"
	}
	return r.launch(ctx, s, role)
}

// carryAction brings what a node has made its own from the old directory into
// the new one (spec section 1.2); going back brings user libraries back that
// came since, and the settings that the new release did not know.
type carryAction struct{ noMemo }

// carried are files and directories below the app directory. A pattern ends
// in *; what is not there is passed over.
var carried = []string{
	"bin/cluster_static_config", "bin/cluster_dynamic_config", "bin/*.key.cipher", "bin/*.key.rand",
	"bin/cluster_manual_start", "bin/cluster_manual_pause", "bin/cluster_manual_starting", "bin/etcd_manual_start", "bin/cms_maintain", "bin/instance_manual_start_*",
	"share/sslcert/*", "lib/postgresql/pg_plugin", "utilslib", "etc/*.cfg", "share/postgresql/extension/*--*--*.sql", "bin/script",
}

// ownFirst are patterns of which the new release keeps its own files.
func ownFirst(pattern string) bool {
	return strings.HasSuffix(pattern, ".sql") || pattern == "bin/script"
}

// carryMark is written last.
const carryMark = ".shiplift_carried"

func (carryAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	there, err := s.exists(ctx, path.Join(r.newApp(s), carryMark))
	if err != nil || there {
		return driver.Applied, err
	}
	return driver.NotApplied, nil // a copy that broke off is made again from the start
}

func (carryAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	newApp := r.newApp(s)
	if there, err := s.exists(ctx, path.Join(newApp, carryMark)); err != nil || there {
		return err
	}
	for _, pattern := range carried {
		if err := s.carry(ctx, s.OldApp, newApp, pattern); err != nil {
			return err
		}
	}
	if err := s.dropSettings(ctx, strings.Fields(r.Args["gone"])); err != nil {
		return err
	}
	return host.WriteFile(ctx, s.Host, path.Join(newApp, carryMark), []byte(s.OldApp+"\n"), 0o600)
}

// carry copies what fits a pattern with owner, mode and time.
func (s *site) carry(ctx context.Context, from, to, pattern string) error {
	dir, base := path.Split(pattern)
	dir = strings.TrimSuffix(dir, "/")
	names, err := s.list(ctx, path.Join(from, dir))
	if err != nil {
		return err
	}
	for _, name := range names {
		if ok, err := path.Match(base, name); err != nil || !ok {
			continue
		}
		there, err := s.exists(ctx, path.Join(to, dir, name))
		if err != nil {
			return err
		}
		if there && ownFirst(pattern) {
			continue
		}
		if there && name == "pg_plugin" { // the vendor leaves it without the right to write
			if err := s.change(ctx, "chmod", "-R", "u+w", path.Join(to, dir, name)); err != nil {
				return err
			}
		}
		if err := s.change(ctx, "mkdir", "-p", path.Join(to, dir)); err != nil {
			return err
		}
		if err := s.change(ctx, "cp", "-a", path.Join(from, dir, name), path.Join(to, dir)+"/"); err != nil {
			return err
		}
	}
	return nil
}

// dropSettings comments out what the new release does not know (set_guc/delete_guc).
func (s *site) dropSettings(ctx context.Context, gone []string) error {
	if len(gone) == 0 {
		return nil
	}
	file := path.Join(s.Data, "postgresql.conf")
	b, err := host.ReadFile(ctx, s.Host, file)
	if err != nil {
		return err
	}
	changed := gaussdb.ReadConf(b).Drop(gone...).Bytes()
	if string(changed) == string(b) {
		return nil
	}
	return host.WriteFile(ctx, s.Host, file, changed, 0o600)
}

func (carryAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	newApp := r.newApp(s)
	there, err := s.exists(ctx, path.Join(newApp, carryMark))
	if err != nil || !there {
		return err
	}
	// Users' libraries that were made since the upgrade.
	old, err := s.list(ctx, path.Join(s.OldApp, "lib/postgresql/pg_plugin"))
	if err != nil {
		return err
	}
	now, err := s.list(ctx, path.Join(newApp, "lib/postgresql/pg_plugin"))
	if err != nil {
		return err
	}
	for _, name := range now {
		if !slices.Contains(old, name) {
			if err := s.change(ctx, "cp", "-a", path.Join(newApp, "lib/postgresql/pg_plugin", name), path.Join(s.OldApp, "lib/postgresql/pg_plugin")+"/"); err != nil {
				return err
			}
			report(t)(say.F("%s: brought back the library %s, made since the upgrade", "%s：带回升级后新增的函数库 %s", s.Name, name))
		}
	}
	if err := r.settingsBack(ctx, s, strings.Fields(r.Args["gone"])); err != nil {
		return err
	}
	return s.change(ctx, "rm", "-f", path.Join(newApp, carryMark))
}

// settingsBack gives the settings back that were commented out, and names the
// ones that somebody changed since the upgrade: they are kept, not lost.
func (r *room) settingsBack(ctx context.Context, s *site, gone []string) error {
	before, err := s.readIf(ctx, path.Join(s.Data, oldConf))
	if err != nil || before == nil {
		return err
	}
	file := path.Join(s.Data, "postgresql.conf")
	b, err := host.ReadFile(ctx, s.Host, file)
	if err != nil {
		return err
	}
	was, now := gaussdb.ReadConf(before), gaussdb.ReadConf(b)
	back := now
	for _, name := range gone {
		if v, set := was.Get(name); set {
			back = back.Set(name, "'"+strings.ReplaceAll(v, "'", "''")+"'")
		}
	}
	for _, name := range changedNames(was, now) {
		if !slices.Contains(gone, name) && name != "upgrade_mode" && name != "most_available_sync" {
			report(r.Target)(say.F("%s: %s was changed since the upgrade; the new value is kept", "%s：%s 在升级后被修改过，保留新值", s.Name, name))
		}
	}
	if string(back.Bytes()) == string(b) {
		return nil
	}
	return host.WriteFile(ctx, s.Host, file, back.Bytes(), 0o600)
}

// changedNames are the settings whose values differ. Values are not told: a
// command in them may hold a password (I10).
func changedNames(was, now gaussdb.Conf) []string {
	a, b := was.All(), now.All()
	var out []string
	for _, name := range slices.Concat(was.Names(), now.Names()) {
		va, inA := a[name]
		vb, inB := b[name]
		if (inA != inB || va != vb) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// flipAction points $GAUSSHOME to the new directory. With a cluster manager its
// processes go over at once: they run out of the directory of the link.
type flipAction struct{ noMemo }

func (flipAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	at, err := s.link(ctx)
	if err != nil {
		return half(err)
	}
	if at != r.newApp(s) && at != s.OldApp {
		return driver.Unknown, say.Errorf("%s: %s leads to %s, neither the old release nor the new one", "%s：%s 指向 %s，既不是旧版本也不是新版本", s.Name, s.Home, at)
	}
	if r.Args["cm"] != "" {
		stray, err := s.cmStray(ctx, at)
		if err != nil {
			return half(err)
		}
		if len(stray) > 0 {
			return driver.Half, nil
		}
	}
	if at == s.OldApp {
		return driver.NotApplied, nil
	}
	return driver.Applied, nil
}

func (flipAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	got, err := s.installed(ctx, r.newApp(s))
	if err != nil {
		return err
	}
	if got.Commit != r.Args["commit"] {
		return say.Errorf("%s: %s holds commit %s, the plan is for %s", "%s：%s 中的 commit 为 %s，计划的是 %s", s.Name, r.newApp(s), got.Commit, r.Args["commit"])
	}
	return r.flip(ctx, s, r.newApp(s))
}

// Undo stops a server that somebody started meanwhile on the new release: while
// the node did not answer, other steps went on, and one of them may have found
// it down.
func (flipAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	exe, err := s.program(ctx)
	if err != nil {
		return err
	}
	switch {
	case t.Undoing && exe == r.newApp(s)+"/bin/gaussdb":
		if err := r.takeDown(ctx, s); err != nil {
			return err
		}
	case t.Undoing && exe == s.OldApp+"/bin/gaussdb":
		return r.flipBack(ctx, s)
	}
	return r.flip(ctx, s, s.OldApp)
}

// flipBack is for a node whose server runs on the old release already: the link
// leads there, or the server would run out of the new directory.
func (r *room) flipBack(ctx context.Context, s *site) error {
	at, err := s.link(ctx)
	if err == nil && at != s.OldApp {
		err = say.Errorf("%s: the server runs out of %s, and %s leads to %s", "%s：服务从 %s 运行，而 %s 指向 %s", s.Name, s.OldApp, s.Home, at)
	}
	if err != nil || r.Args["cm"] == "" {
		return err
	}
	return r.moveCM(ctx, s, s.OldApp)
}

func (r *room) flip(ctx context.Context, s *site, app string) error {
	if st, err := s.Status(ctx, s.Data); err != nil || st.Process == gaussdb.Running {
		if err == nil {
			err = say.Errorf("%s: the server runs: its directory is not changed under it", "%s：服务器正在运行，不能更换其目录", s.Name)
		}
		return err
	}
	if s.HasCM {
		// The flag lives in the directory that the link leads to: set it on both
		// sides before the change, or the agent starts the instance in between.
		for _, dir := range []string{s.OldApp, r.newApp(s)} {
			if err := s.change(ctx, "touch", s.hold(dir)); err != nil {
				return err
			}
		}
	}
	if err := s.point(ctx, app); err != nil {
		return err
	}
	if r.Args["cm"] == "" {
		return nil
	}
	return r.moveCM(ctx, s, app)
}
