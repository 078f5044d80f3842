package mogdb

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// The modes of a request. grey is another name for rolling.
const (
	modeRolling = "rolling"
	modeInplace = "inplace"
)

// builder makes a plan: steps that were added since next go beside each other,
// and what follows needs all of them.
type builder struct {
	p      plan.Plan
	v      *view
	r      plan.Request
	opts   options
	file   string
	sum    string
	before []string
	group  []string
	phase  plan.Phase
}

// Plan is pure but for one thing: it reads the package on this machine for its sum.
func (*Driver) Plan(inv *cluster.Inventory, o driver.Observation, r plan.Request) (plan.Plan, error) {
	v, ok := o.Detail.(*view)
	if !ok {
		return plan.Plan{}, say.Errorf("the observation was not made by driver %s", "该观察结果不是由驱动 %s 得出的", Name)
	}
	b := &builder{v: v, r: r, phase: plan.Apply}
	if err := b.refusals(); err != nil {
		return plan.Plan{}, err
	}
	var err error
	if b.opts, err = optionsOf(r); err != nil {
		return plan.Plan{}, err
	}
	if b.file, _, err = thePackage(r); err != nil {
		return plan.Plan{}, err
	}
	if b.sum, err = fileSum(b.file); err != nil {
		return plan.Plan{}, &say.Problem{Place: b.file, Text: say.F("the package cannot be read", "无法读取升级包"), Err: err, Next: say.Same("ls -l " + b.file)}
	}
	b.p.From, b.p.To = v.primary().Running.Release, r.To
	b.tell()
	b.software()
	b.hold()
	switch r.Mode {
	case modeInplace:
		b.inplace()
	default:
		b.rolling()
	}
	b.finish()
	return b.p, nil
}

// refusals are the requests that this driver does not carry out, each with its rule.
func (b *builder) refusals() error {
	if err := b.unasked(); err != nil {
		return err
	}
	for _, n := range b.v.nodes {
		if n.Err != nil {
			return refuse("M02", say.F("%s cannot be read: %v", "无法读取 %s：%v", n.Name, n.Err), say.F("shiplift status", "shiplift status"))
		}
	}
	p := b.v.primary()
	if p == nil {
		return refuse("M02", say.F("there is not exactly one primary", "主库数量不为一"), say.F("shiplift status", "shiplift status"))
	}
	if err := b.releases(p.Running.Release); err != nil {
		return err
	}
	if b.r.Mode == modeRolling && b.v.alone() {
		return refuse("M10", say.F("a single server has no standby to switch to", "单机没有可切换的备库"), say.F("--mode inplace", "--mode inplace"))
	}
	if b.r.Mode == modeRolling && b.candidate() == nil {
		return refuse("M13", say.F("%q is no standby that could become the primary", "%q 不是可以成为主库的备库", b.r.Candidate), say.F("--candidate with one of: %s", "--candidate 可选：%s", strings.Join(b.candidates(), ", ")))
	}
	return nil
}

// unasked refuses what would not be honoured: a flag that does nothing is an error.
func (b *builder) unasked() error {
	r := b.r
	switch {
	case r.Mode != modeInplace && r.Mode != modeRolling:
		return refuse("", say.F("mode %q is not known", "未知的模式 %q", r.Mode), say.F("--mode rolling or --mode inplace", "--mode rolling 或 --mode inplace"))
	case len(r.Nodes) > 0 || r.Continue:
		return refuse("M30", say.F("mixed releases are kept short: all nodes are upgraded in one run", "混合版本的时间应尽量短：一次运行升级所有节点"), say.F("leave out --nodes", "去掉 --nodes"))
	case r.MaxUnavailable > 1:
		return refuse("M11", say.F("one standby is taken down at a time", "每次只停一个备库"), say.F("leave out --max-unavailable", "去掉 --max-unavailable"))
	case r.Component != "":
		return refuse("", say.F("this driver knows no component %q", "该驱动没有组件 %q", r.Component), say.F("leave out --component", "去掉 --component"))
	case r.MaxBackupAge != 0:
		return refuse("", say.F("this driver does not look for backups: data directories are not changed", "该驱动不检查备份：数据目录不会被改动"), say.F("leave out --max-backup-age", "去掉 --max-backup-age"))
	case r.Mode == modeInplace && (r.Candidate != "" || r.SwitchBack):
		return refuse("", say.F("in place there is no switchover", "就地模式没有切换"), say.F("leave out --candidate and --switch-back", "去掉 --candidate 与 --switch-back"))
	}
	return nil
}

// releases asks the catalogue for the way, and that all nodes stand at its start.
func (b *builder) releases(from string) error {
	f, err := release.Parse(from)
	if err != nil {
		return refuse("M01", say.F("the release that runs is not known: %q", "无法得知正在运行的版本：%q", from), say.F("shiplift status", "shiplift status"))
	}
	to, err := release.Parse(b.r.To)
	if err != nil {
		return refuse("M01", say.F("%q is not a release", "%q 不是版本号", b.r.To), say.F("--to 2.0.3", "--to 2.0.3"))
	}
	for _, n := range b.v.nodes {
		if n.Running.Release != from || n.Installed.Release != from {
			return refuse("M01", say.F("%s runs %q and has %q installed; all nodes must have %s", "%s 运行 %q，已安装 %q；所有节点须为 %s", n.Name, n.Running.Release, n.Installed.Release, from),
				say.F("shiplift status", "shiplift status"))
		}
	}
	cat, err := release.Load(Name)
	if err != nil {
		return err
	}
	a := cat.Solve(release.Question{From: f, To: to})
	switch {
	case a.Verdict != release.OK:
		return refuse(a.Rule, a.Why, a.Next)
	case len(a.Hops) == 0:
		return &driver.NothingToDoError{Text: a.Why}
	}
	return nil
}

// candidates are the standbys that a switchover may go to: cascade standbys are none.
func (b *builder) candidates() []string {
	var out []string
	for _, n := range b.v.standbys() {
		if roleWord(n.HA.Role) == roleStandby {
			out = append(out, n.Name)
		}
	}
	return out
}

// candidate is the standby that becomes the primary: the one asked for, else
// the synchronous one, else the first.
func (b *builder) candidate() *nodeView {
	names := b.candidates()
	if b.r.Candidate != "" {
		if !slices.Contains(names, b.r.Candidate) {
			return nil
		}
		return b.v.node(b.r.Candidate)
	}
	if len(names) == 0 {
		return nil
	}
	for _, l := range b.v.primary().HA.Senders {
		for _, n := range names {
			address, _, _ := strings.Cut(l.PeerAddress, ":")
			if l.SyncState == "Sync" && address == b.v.node(n).Address {
				return b.v.node(n)
			}
		}
	}
	return b.v.node(names[0])
}

func (b *builder) next() {
	if len(b.group) > 0 {
		b.before, b.group = b.group, nil
	}
}

// span is a step's estimate and its time limit.
type span struct{ estimate, timeout time.Duration }

// add puts a step beside those of its group; suffix tells steps of one kind on one node apart.
func (b *builder) add(node, kind, suffix, rule string, class plan.Class, impact plan.Impact, t span, args map[string]string, says say.Text) {
	id := kind + suffix
	if node != "" {
		id = node + "/" + id
	} else {
		id = "cluster/" + id
	}
	b.p.Steps = append(b.p.Steps, plan.Step{ID: id, Kind: kind, Node: node, Phase: b.phase, Says: says, Needs: b.before, Class: class, Impact: impact,
		Estimate: plan.Duration(t.estimate), Timeout: plan.Duration(t.timeout), Args: args, Rule: rule})
	b.group = append(b.group, id)
}

func (b *builder) remark(en, zh string, args ...any) {
	b.p.Remarks = append(b.p.Remarks, say.F(en, zh, args...))
}

func (b *builder) tell() {
	b.remark("bin and lib are replaced and nothing else; the old ones stay as %s and %s until commit, and until then every step can be undone",
		"只替换 bin 与 lib；旧目录保留为 %s 与 %s，直到提交，此前每一步都可回滚", backup("bin", b.p.From), backup("lib", b.p.From))
	b.remark("leave wal_level, max_connections, max_prepared_transactions, max_locks_per_transaction and the number of nodes alone until commit [M24]",
		"提交之前不要改动 wal_level、max_connections、max_prepared_transactions、max_locks_per_transaction，也不要增减节点［M24］")
	b.remark("the catalogue stays that of 92.299: view gs_archive_status of 2.0.3 is not made, and no vendor upgrade tool may run before commit [M27]",
		"系统表仍为 92.299：不会创建 2.0.3 的 gs_archive_status 视图；提交之前不得运行厂商升级工具［M27］")
	if b.r.Mode == modeInplace {
		b.remark("the business must be stopped: the database is down from the first stop to the last start", "须停止业务：从第一次停库到最后一次启动期间数据库不可用")
	} else {
		b.remark("the log is watched while releases are mixed: a standby whose walreceiver keeps restarting fails its step [M30]", "混合版本期间观察复制：若备库的 walreceiver 反复重启，则该步骤失败［M30］")
	}
	b.tellHA()
}

func (b *builder) tellHA() {
	held, vip := b.held(), b.v.nodes[0].conf.VIP
	if len(held) == 0 {
		b.remark("MogHA is not active on any node", "所有节点上 MogHA 均未运行")
	} else {
		b.remark("MogHA is off on %s from before the first stop until the end; meanwhile nobody restarts a database that fails, and nobody moves the virtual IP. A run that is left open leaves it off: resume or rollback turns it on again",
			"从第一次停库之前到运行结束，%s 上的 MogHA 处于停止状态；期间无人自动拉起数据库，也无人漂移虚拟 IP。中途搁置的运行会使其保持停止：执行 resume 或 rollback 后恢复", strings.Join(held, ", "))
	}
	if b.r.Mode != modeRolling {
		return
	}
	name := "the virtual IP"
	zh := "虚拟 IP"
	if vip != "" {
		name, zh = vip, vip
	}
	switch {
	case b.opts.Hook != "":
		b.p.Remarks = append(b.p.Remarks, say.Text{
			EN: fmt.Sprintf("%s moves %s right behind the switchover", b.opts.Hook, name),
			ZH: fmt.Sprintf("切换后立即由 %s 漂移%s", b.opts.Hook, zh)})
	case len(held) > 0 || vip != "":
		b.p.Remarks = append(b.p.Remarks, say.Text{
			EN: fmt.Sprintf("behind the switchover %s still points to the old primary, until MogHA is on again: move it by hand or name the site's program with --option %s=", name, optHook),
			ZH: fmt.Sprintf("切换后、MogHA 恢复之前，%s仍指向旧主库：请手工漂移，或用 --option %s= 指定本单位的程序", zh, optHook)})
	}
}

// held are the nodes whose MogHA acts now; those it is off on stay so.
func (b *builder) held() []string {
	var out []string
	for _, n := range b.v.nodes {
		if n.MogHA.up() {
			out = append(out, n.Name)
		}
	}
	return out
}

// args are what every step on a node has to know.
func (b *builder) args(n *nodeView, more ...string) map[string]string {
	a := map[string]string{"app": n.App, "from": b.p.From, "to": b.p.To}
	for i := 0; i+1 < len(more); i += 2 {
		a[more[i]] = more[i+1]
	}
	return a
}

// software lays the new release down aside, while everything serves.
func (b *builder) software() {
	for i := range b.v.nodes {
		n := &b.v.nodes[i]
		args := b.args(n, "package", b.file, "sha256", b.sum, "file", filepath.Base(b.file))
		b.add(n.Name, kindPut, "", "M25", plan.Reversible, plan.None, span{time.Minute, 6 * time.Hour}, args,
			say.F("%s: copy the package to %s and compare its sha256", "%s：将升级包复制到 %s 并校验 sha256", n.Name, stageDir(n.App, b.p.To)))
	}
	b.next()
	for i := range b.v.nodes {
		n := &b.v.nodes[i]
		b.add(n.Name, kindUnpack, "", "M09 M25", plan.Reversible, plan.None, span{time.Minute, 30 * time.Minute}, b.args(n, "file", filepath.Base(b.file)),
			say.F("%s: unpack both layers aside, compare the inner sha256, run the new gsql -V", "%s：在旁路目录解开两层压缩包，校验内层 sha256，执行新版 gsql -V", n.Name))
	}
	b.next()
	for i := range b.v.nodes {
		n := &b.v.nodes[i]
		b.add(n.Name, kindBuild, "", "M07 M08 M26", plan.Reversible, plan.None, span{30 * time.Second, 30 * time.Minute}, b.args(n),
			say.F("%s: make the new bin and lib aside with what only the old ones hold, and compare every file", "%s：在旁路目录生成新的 bin 与 lib，并入仅旧目录拥有的文件，逐个文件比对", n.Name))
	}
	b.next()
}

// hold stops MogHA everywhere before the first database stops (M03).
func (b *builder) hold() {
	held := b.held()
	for _, name := range held {
		b.add(name, kindHold, "", "M03", plan.Reversible, plan.None, span{5 * time.Second, 15 * time.Minute}, nil,
			say.F("%s: stop MogHA, also for a boot, and prove that none of its processes is left; on the way back it is started when the cluster is healthy", "%s：停止 MogHA（含开机自启）并确认没有残留进程；回滚时在集群健康后重新启动", name))
	}
	b.next()
	b.add("", kindNote, "", "M23", plan.Reversible, plan.None, span{2 * time.Second, 2 * time.Hour}, map[string]string{"om": fmt.Sprint(b.v.install == byOM && !b.v.alone())},
		say.F("note the roles on every node; on the way back, every server that ran is brought up again in its role", "在每个节点记录角色；回滚时，原先运行的每个数据库都以原角色恢复运行"))
	b.next()
	b.add("", kindQuiet, "", "M02 M03 M04", plan.ReadOnly, plan.None, span{b.v.nodes[0].conf.Settle, 10 * time.Minute}, nil,
		say.F("watch all nodes for %s: no MogHA, no cluster manager, roles and states as they were, standbys caught up", "观察所有节点 %s：没有 MogHA、没有 CM，角色与状态不变，备库已追平", b.v.nodes[0].conf.Settle))
	b.next()
}

func (b *builder) stop(n *nodeView, suffix, rule string, impact plan.Impact) {
	b.add(n.Name, kindStop, suffix, rule, plan.Reversible, impact, span{10 * time.Second, n.conf.StopWait + n.conf.StartWait + time.Minute}, b.args(n),
		say.F("%s: gs_ctl stop, until no process of it is left", "%s：gs_ctl stop，直至没有残留进程", n.Name))
}

func (b *builder) swap(n *nodeView, suffix string, impact plan.Impact) {
	b.add(n.Name, kindSwap, suffix, "M05 M06 M07 M08 M09 M26", plan.Reversible, impact, span{5 * time.Second, 30 * time.Minute}, b.args(n),
		say.F("%s: rename bin and lib to %s and %s, and the new ones into their place", "%s：将 bin、lib 改名为 %s、%s，并将新目录改名到位", n.Name, backup("bin", b.p.From), backup("lib", b.p.From)))
}

func (b *builder) start(n *nodeView, suffix, role string, impact plan.Impact) {
	how := "gs_ctl start -M " + role
	if b.v.alone() {
		role, how = "", "gs_ctl start"
	}
	b.add(n.Name, kindStart, suffix, "M12 M18 M30", plan.Reversible, impact, span{15 * time.Second, n.conf.StartWait + n.conf.StopWait + time.Minute}, b.args(n, "role", role),
		say.F("%s: %s; then role, state, replication and release of the process are read", "%s：%s；随后读取角色、状态、复制与进程版本", n.Name, how))
}

// renew takes one node through stop, swap and start.
func (b *builder) renew(n *nodeView, role string) {
	b.stop(n, "", "M05", plan.ReadsOnly)
	b.next()
	b.swap(n, "", plan.ReadsOnly)
	b.next()
	b.start(n, "", role, plan.ReadsOnly)
	b.next()
}

// rolling is variant 2: standbys, switchover, old primary.
func (b *builder) rolling() {
	p, s := b.v.primary(), b.candidate()
	for _, n := range b.v.standbys() {
		b.renew(n, roleWord(n.HA.Role))
	}
	b.add("", kindReady, "", "M10 M13", plan.ReadOnly, plan.None, span{5 * time.Second, p.conf.StartWait}, map[string]string{"to": b.p.To, "primary": p.Name},
		say.F("every standby runs %s, is Normal and caught up, no switchover is unfinished", "所有备库均已运行 %s、状态 Normal 且已追平，没有未完成的切换", b.p.To))
	b.next()
	b.switchover(p, s, "")
	b.renew(p, roleStandby)
	switch {
	case b.r.SwitchBack:
		b.switchover(s, p, "-back") // with the last refreshconf
	case b.v.install == byOM:
		b.refresh("-last", b.reign(), "M16")
	}
}

// reign is the primary at the end.
func (b *builder) reign() *nodeView {
	if b.r.Mode == modeInplace || b.r.SwitchBack {
		return b.v.primary()
	}
	return b.candidate()
}

func (b *builder) switchover(from, to *nodeView, suffix string) {
	args := map[string]string{"old": from.Name, "new": to.Name, "om": fmt.Sprint(b.v.install == byOM)}
	b.add(to.Name, kindSwitch, suffix, "M13 M14 M21", plan.Reversible, plan.WritesStop, span{6 * time.Second, 2*to.conf.SwitchWait + 5*time.Minute}, args,
		say.F("%s: gs_ctl switchover; done when %s is Primary and %s Standby, both Normal, by their own word", "%s：gs_ctl switchover；当 %s 为 Primary、%s 为 Standby 且两者自报 Normal 时才算完成", to.Name, to.Name, from.Name))
	b.next()
	if b.opts.Hook != "" {
		hook := map[string]string{"hook": b.opts.Hook, "old": from.Name, "new": to.Name}
		b.add(to.Name, kindHook, suffix, "", plan.Reversible, plan.WritesStop, span{5 * time.Second, 5 * time.Minute}, hook,
			say.F("%s release on %s, %s take on %s, proven by %s holds", "在 %[2]s 上执行 %[1]s release，在 %[4]s 上执行 %[3]s take，并以 %[5]s holds 证明", b.opts.Hook, from.Name, b.opts.Hook, to.Name, path.Base(b.opts.Hook)))
		b.next()
	}
	if b.v.install == byOM {
		b.refresh(suffix, to, "M15")
	}
}

func (b *builder) refresh(suffix string, on *nodeView, rule string) {
	b.add(on.Name, kindRefresh, suffix, rule, plan.Reversible, plan.None, span{5 * time.Second, 10 * time.Minute}, b.args(on),
		say.F("%s: gs_om -t refreshconf; every node must hold the new roles", "%s：gs_om -t refreshconf；每个节点都必须持有新的角色配置", on.Name))
	b.next()
}

// inplace is variant 1: everything stopped once. Roles are started as they
// were, with gs_ctl, also where gs_om would do: gs_om start takes the roles of
// its files, and those may be old (M17).
func (b *builder) inplace() {
	p, standbys := b.v.primary(), b.v.standbys()
	for _, n := range standbys {
		b.stop(n, "", "M05 M18", plan.ReadsOnly)
	}
	b.next()
	b.stop(p, "", "M05 M18", plan.Down)
	b.next()
	for i := range b.v.nodes {
		b.swap(&b.v.nodes[i], "", plan.Down)
	}
	b.next()
	b.add("", kindCompare, "", "M25", plan.ReadOnly, plan.Down, span{10 * time.Second, 30 * time.Minute}, map[string]string{"to": b.p.To},
		say.F("bin and lib of the package are the same on all nodes, every file", "所有节点上来自升级包的 bin 与 lib 逐个文件一致"))
	b.next()
	b.start(p, "", rolePrimary, plan.Down)
	b.next()
	for _, n := range standbys {
		b.start(n, "", roleWord(n.HA.Role), plan.ReadsOnly)
	}
	b.next()
	if b.v.install == byOM && !b.v.alone() {
		b.refresh("-last", p, "M16 M17")
	}
}

// finish turns MogHA on, proves, and puts behind the gate what cannot be undone.
func (b *builder) finish() {
	held := b.held()
	if len(held) > 0 {
		b.add("", kindHealthy, "", "M19", plan.ReadOnly, plan.None, span{5 * time.Second, 15 * time.Minute}, map[string]string{"to": b.p.To, "primary": b.reign().Name},
			say.F("all nodes are healthy on %s before MogHA is on again", "MogHA 恢复之前，所有节点均健康运行 %s", b.p.To))
		b.next()
	}
	for _, name := range held {
		b.add(name, kindRelease, "", "M19", plan.Reversible, plan.None, span{5 * time.Second, 15 * time.Minute}, nil,
			say.F("%s: start MogHA and prove that it is active", "%s：启动 MogHA 并确认其处于活动状态", name))
	}
	b.next()
	b.p.Steps = append(b.p.Steps,
		plan.Step{ID: "verify", Kind: plan.VerifyKind, Phase: plan.Apply, Needs: b.before, Class: plan.ReadOnly, Impact: plan.None, Rule: "M20",
			Estimate: plan.Duration(10 * time.Second), Timeout: plan.Duration(30 * time.Minute), Says: say.F("prove releases, files, roles, replication and MogHA from state that is read again", "重新读取状态，验证版本、文件、角色、复制与 MogHA")},
		plan.Step{ID: plan.CommitGate, Kind: plan.GateKind, Phase: plan.Commit, Needs: []string{"verify"}, Class: plan.OneWay, Impact: plan.None,
			Says: say.F("commit: the old software is given up; watch the walsenders before (verify --watch)", "提交：放弃旧软件；提交前请先观察 walsender（verify --watch）"),
			Gate: &plan.Gate{OneWay: true, Costs: say.F("%s and %s are removed: the way back ends", "删除 %s 与 %s：不再能回退", backup("bin", b.p.From), backup("lib", b.p.From))}})
	b.before, b.phase = []string{plan.CommitGate}, plan.Commit
	for i := range b.v.nodes {
		n := &b.v.nodes[i]
		if !b.r.KeepOld {
			b.add(n.Name, kindRemoveOld, "", "M23", plan.OneWay, plan.None, span{5 * time.Second, 10 * time.Minute}, b.args(n),
				say.F("%s: remove %s and %s", "%s：删除 %s 与 %s", n.Name, backup("bin", b.p.From), backup("lib", b.p.From)))
		}
		b.add(n.Name, kindRemoveStage, "", "", plan.OneWay, plan.None, span{5 * time.Second, 10 * time.Minute}, b.args(n),
			say.F("%s: remove the package and what was unpacked aside", "%s：删除升级包与旁路解包目录", n.Name))
	}
	b.next()
}

// argsOf are the arguments that every step on a node has.
func argsOf(p *plan.Plan, node string) map[string]string {
	for i := range p.Steps {
		if p.Steps[i].Node == node && p.Steps[i].Args["app"] != "" {
			return p.Steps[i].Args
		}
	}
	return map[string]string{}
}
