package opengauss

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// RestGate is where a run with --nodes waits before it takes the other nodes.
const RestGate = "rest"

// Plan lays the way out. It is pure but for one thing: it reads the package on
// the control machine, whose bytes it names by their sha256.
func (d *Driver) Plan(_ *cluster.Inventory, o driver.Observation, r plan.Request) (plan.Plan, error) {
	v, ok := o.Detail.(*view)
	if !ok {
		return plan.Plan{}, say.Errorf("the observation was not made by driver %s", "该观察结果不是由驱动 %s 得出的", d.Name())
	}
	if r.Component == componentCM {
		return planCM(v, r)
	}
	b, err := newBuilder(v, r)
	if err != nil {
		return plan.Plan{}, err
	}
	b.build()
	return plan.Plan{From: b.s.FromName, To: b.s.ToName, Steps: b.steps, Remarks: b.remarks}, nil
}

// builder gathers the steps. Each new one needs what stands in after.
type builder struct {
	v       *view
	r       plan.Request
	s       strategy
	pkg     *gaussdb.Package
	primary *seen
	order   []*seen // the nodes but the primary, in the order in which they go
	steps   []plan.Step
	after   []string
	remarks []say.Text
}

func newBuilder(v *view, r plan.Request) (*builder, error) {
	if err := settleRequest(v, r); err != nil {
		return nil, err
	}
	pkg, err := readPackage(r.Packages)
	if err != nil {
		return nil, err
	}
	b := &builder{v: v, r: r, pkg: pkg}
	if b.s, err = decide(v, pkg, r); err != nil {
		return nil, err
	}
	if v.cm() && pkg.CM == "" {
		return nil, refuse("GAUSS-50201", "", say.F("the cluster has a cluster manager, and the package holds none", "集群带有 CM，但升级包中没有 CM 安装包"),
			say.F("take the archive that holds everything, or name the CM archive with a second --package", "请使用包含全部内容的升级包，或用第二个 --package 指定 CM 安装包"))
	}
	return b, b.settleNodes()
}

func readPackage(files []string) (*gaussdb.Package, error) {
	pkg, err := gaussdb.ReadPackage(files)
	if p, ok := err.(*gaussdb.PackageError); ok { //nolint:errorlint // ReadPackage returns it as it is
		return nil, &driver.RefusalError{Code: p.Code, Text: say.Text{EN: p.File + ": " + p.Text.EN, ZH: p.File + "：" + p.Text.In(say.Chinese)},
			Next: say.F("get the package and its .sha256 again; then: shiplift plan --package FILE", "请重新获取升级包及其 .sha256；然后执行：shiplift plan --package 文件")}
	}
	return pkg, err
}

// settleRequest refuses options that this driver does not honour.
func settleRequest(v *view, r plan.Request) error {
	leaveOut := say.F("leave it out", "请去掉该选项")
	switch {
	case r.Component != "":
		return refuse("GAUSS-50011", "", say.F("there is no component %q; the component is: cm", "没有组件 %q；可用组件：cm", r.Component), say.Same("--component cm"))
	case r.SwitchBack:
		return refuse("GAUSS-50011", "", say.F("--switch-back is not supported for openGauss", "openGauss 不支持 --switch-back"), leaveOut)
	case r.MaxUnavailable > 1:
		return refuse("GAUSS-50011", "", say.F("openGauss is taken one node at a time: --max-unavailable must be 1", "openGauss 逐节点升级：--max-unavailable 只能为 1"), leaveOut)
	case r.Continue:
		return refuse("GAUSS-52920", "", say.F("the nodes left by --nodes belong to the run that is open", "--nodes 剩下的节点属于尚未结束的那次运行"), say.Same("shiplift apply --continue"))
	}
	for key, val := range r.Options {
		if (key != "path" || val != unguaranteed) && (key != "tools" || val != toolsKeep) {
			return refuse("GAUSS-50011", "", say.F("driver opengauss has no option %s=%s", "驱动 opengauss 没有选项 %s=%s", key, val), leaveOut)
		}
	}
	for _, name := range r.Nodes {
		if !slices.ContainsFunc(v.Nodes, func(n *seen) bool { return n.Name == name }) {
			return refuse("GAUSS-50011", "", say.F("there is no node %s", "没有节点 %s", name), leaveOut)
		}
	}
	return nil
}

// settleNodes finds the actors and the order.
func (b *builder) settleNodes() error {
	for _, n := range b.v.Nodes {
		if b.v.cm() && (n.ID == 0 || n.CMDir == "") {
			return refuse("GAUSS-51601", "", say.F("%s: cm_ctl does not tell its instance or the directory of the cluster manager", "%s：cm_ctl 未给出实例号或 CM 目录", n.Name), say.F("cm_ctl query -Cvipd", "cm_ctl query -Cvipd"))
		}
		if len(n.Open) > 0 {
			return refuse("GAUSS-52936", "", say.F("%s: %s is not empty: another upgrade is not over (%s)", "%s：%s 非空，另一次升级尚未结束（%s）", n.Name, n.openDir(), strings.Join(n.Open, " ")),
				say.F("commit it or roll it back first: shiplift status, or gs_upgradectl of the tool that began it", "请先提交或回滚：shiplift status，或使用发起升级的 gs_upgradectl"))
		}
	}
	ps := b.v.primaries()
	if len(ps) != 1 {
		return refuse("GAUSS-51624", "", say.F("there are %d primaries, one was expected", "主库有 %d 个，应为 1 个", len(ps)), say.F("shiplift check", "shiplift check"))
	}
	b.primary = ps[0]
	for _, n := range b.v.Nodes {
		if n != b.primary {
			b.order = append(b.order, n)
		}
	}
	// Cascade standbys before those that feed them; the one that becomes primary last.
	if err := b.settleCandidate(); err != nil {
		return err
	}
	switch {
	case b.s.Inplace && len(b.r.Nodes) > 0:
		return refuse("GAUSS-50011", "", say.F("--nodes goes with a rolling upgrade only", "--nodes 仅适用于灰度升级"), say.Same("--mode rolling"))
	case slices.Contains(b.r.Nodes, b.primary.Name):
		return refuse("GAUSS-52909", "", say.F("%s is the primary: it goes last, after a switchover", "%s 是主库：应在主备切换后最后升级", b.primary.Name), say.F("name standbys with --nodes", "--nodes 请只指定备库"))
	}
	return nil
}

// inplace reports whether everything stops once: on request, or since there is
// nobody to switch to.
func (b *builder) inplace() bool { return b.s.Inplace || len(b.order) == 0 }

func (b *builder) settleCandidate() error {
	rank := func(n *seen) int {
		switch {
		case n.HA.Role == gaussdb.RoleCascade:
			return 0
		case n.Name == b.r.Candidate:
			return 3
		case b.syncTo(n):
			return 2
		}
		return 1
	}
	slices.SortStableFunc(b.order, func(x, y *seen) int { return rank(x) - rank(y) })
	if b.r.Candidate == "" && !b.inplace() && rank(b.order[len(b.order)-1]) == 0 {
		return refuse("GAUSS-51624", "", say.F("no standby can become the primary", "没有可切换为主库的备库"), say.Same("--mode inplace"))
	}
	if b.r.Candidate == "" {
		return nil
	}
	if b.inplace() {
		return refuse("GAUSS-50011", "", say.F("an in-place upgrade has no switchover: --candidate does not apply", "就地升级没有主备切换：--candidate 不适用"), say.F("leave it out", "请去掉该选项"))
	}
	if last := b.order[len(b.order)-1]; last.Name != b.r.Candidate || last.HA.Role == gaussdb.RoleCascade {
		return refuse("GAUSS-50011", "", say.F("%s is no standby that can become the primary", "%s 不是可切换为主库的备库", b.r.Candidate), say.F("shiplift status", "shiplift status"))
	}
	return nil
}

// syncTo reports a standby that the primary waits for.
func (b *builder) syncTo(n *seen) bool {
	if n.HA.Receiver == nil {
		return false
	}
	return slices.ContainsFunc(b.primary.HA.Senders, func(l gaussdb.Link) bool {
		return l.PeerAddress == n.HA.Receiver.LocalAddress && (l.SyncState == "Sync" || l.SyncState == "Quorum")
	})
}

func (b *builder) add(s plan.Step) {
	if s.Phase == "" {
		s.Phase = plan.Apply
	}
	if s.Class == "" {
		s.Class = plan.Reversible
	}
	if s.Impact == "" {
		s.Impact = plan.None
	}
	if s.Estimate == 0 {
		s.Estimate = plan.Duration(2 * time.Second)
	}
	if s.Timeout == 0 {
		s.Timeout = plan.Duration(5 * time.Minute)
	}
	if s.Kind != plan.GateKind && s.Kind != plan.VerifyKind {
		args := b.args()
		for k, v := range s.Args {
			args[k] = v
		}
		s.Args = args
	}
	s.Needs = b.after
	b.steps = append(b.steps, s)
	b.after = []string{s.ID}
}

// args are what every action needs to know.
func (b *builder) args() map[string]string {
	a := map[string]string{"commit": b.s.To.Commit, "old-commit": b.s.From.Commit}
	if b.s.Big {
		a["old-number"], a["new-number"] = b.s.From.Kernel.String(), b.s.To.Kernel.String()
	}
	return a
}

// beside lets the nodes go side by side, each with its own chain.
func (b *builder) beside(nodes []*seen, fn func(n *seen)) {
	before := b.after
	var ends []string
	for _, n := range nodes {
		b.after = before
		fn(n)
		ends = append(ends, b.after...)
	}
	b.after = ends
}

func dur(d time.Duration) plan.Duration { return plan.Duration(d) }

func (b *builder) build() {
	b.explain()
	b.prepare()
	b.openCatalogue()
	if b.inplace() {
		b.allAtOnce()
	} else {
		b.oneByOne()
	}
	b.swapTools()
	if b.s.Big {
		b.add(plan.Step{ID: "cluster/sql-post", Kind: kindSQLPost, Estimate: dur(10 * time.Second), Timeout: dur(40 * time.Minute),
			Says: say.F("run the catalogue SQL rollback-post and upgrade-post (%s to %s) on the primary, in every database", "在主库的每个数据库中执行 rollback-post 与 upgrade-post 脚本（%s 到 %s）", b.s.From.Kernel.Dotted(), b.s.To.Kernel.Dotted())})
	}
	b.restoreSync()
	b.add(plan.Step{ID: "verify", Kind: plan.VerifyKind, Class: plan.ReadOnly, Timeout: dur(10 * time.Minute),
		Says: say.F("prove the result: releases of processes and files, roles, replication, a write here read there", "验证结果：进程与文件的版本、角色、复制，在主库写入并在备库读出")})
	b.commit()
}

// explain tells what was decided and why, and what a DBA should know.
func (b *builder) explain() {
	if b.s.Big {
		b.remarks = append(b.remarks, say.F(
			"big upgrade: the kernel number changes from %s to %s, so the catalogue changes too; until the commit all nodes work as %[1]s",
			"大版本升级：内核版本号由 %s 变为 %s，需升级数据字典；提交之前所有节点按 %[1]s 工作", b.s.From.Kernel.Dotted(), b.s.To.Kernel.Dotted()))
		b.remarks = append(b.remarks, say.F(
			"the vendor's rollback SQL is no exact inverse: after a rollback some catalogue rows may differ from before; user data is kept",
			"厂商的回滚脚本并非完全逆操作：回滚后个别系统表行可能与升级前不同，用户数据不受影响"))
	} else {
		b.remarks = append(b.remarks, say.F("small upgrade: the kernel number stays %s, only the binaries change", "小版本升级：内核版本号保持 %s，只更换程序", b.s.From.Kernel.Dotted()))
	}
	b.remarks = append(b.remarks, say.F(
		"do not change wal_level, max_connections, max_prepared_transactions or max_locks_per_transaction before the commit or the rollback",
		"在提交或回滚之前，请勿修改 wal_level、max_connections、max_prepared_transactions、max_locks_per_transaction"))
	if b.tools() {
		b.remarks = append(b.remarks, say.F(
			"the tools in $GPHOME (gs_om and others) change too; what only root can do (trust, kernel settings) is left to gs_preinstall of the new package",
			"$GPHOME 下的工具（gs_om 等）也会更换；只有 root 能做的部分（互信、内核参数）仍需执行新包的 gs_preinstall"))
	} else {
		b.remarks = append(b.remarks, say.F(
			"the tools in $GPHOME (gs_om and others) are not changed: after the commit run gs_preinstall of the new package as root",
			"不会改动 $GPHOME 下的工具（gs_om 等）：提交后请以 root 执行新包的 gs_preinstall"))
	}
	if !b.s.Inplace && len(b.order) == 0 {
		b.remarks = append(b.remarks, say.F("there is no standby: the database is down while its only node changes", "没有备库：唯一节点切换期间数据库停止服务"))
	}
}

// prepare lays the new release down beside the old one.
func (b *builder) prepare() {
	var names []string
	for _, f := range b.pkg.Files {
		names = append(names, filepath.Base(f.Path)+"="+f.Sum)
	}
	args := map[string]string{"files": strings.Join(names, " "), "server": b.pkg.Server, "release": b.s.ToName}
	if b.pkg.ServerIn {
		args["whole"] = filepath.Base(b.pkg.Files[0].Path)
	}
	if b.v.cm() {
		args["cm"] = b.pkg.CM
	}
	b.beside(b.v.Nodes, func(n *seen) {
		b.add(plan.Step{ID: n.Name + "/copy", Kind: kindCopy, Node: n.Name, Args: args, Estimate: dur(20 * time.Second), Timeout: dur(2 * time.Hour),
			Says: say.F("copy the package to %s:%s and check its sha256 there", "将升级包复制到 %s:%s 并在该节点校验 sha256", n.Name, n.work(b.s.To.Commit))})
		b.add(plan.Step{ID: n.Name + "/unpack", Kind: kindUnpack, Node: n.Name, Args: args, Estimate: dur(20 * time.Second), Timeout: dur(30 * time.Minute),
			Says: say.F("unpack %s beside the running release on %s: %s_%s", "在 %[2]s 上将 %[1]s 解压到运行版本旁：%[3]s_%[4]s", b.s.ToName, n.Name, n.Home, b.s.To.Commit)})
		open := map[string]string{"inplace": ""}
		if b.s.Inplace {
			open["inplace"] = "yes"
		}
		says := say.F("mark the upgrade as open on %s (%s): expansion and other tools refuse until it is over", "在 %s 上标记升级开始（%s）：扩容等工具在升级结束前会拒绝执行", n.Name, n.openDir())
		b.add(plan.Step{ID: n.Name + "/open", Kind: kindOpen, Node: n.Name, Args: open, Says: says})
	})
}

// openCatalogue holds the cluster at the old working number and runs the SQL
// that belongs before the first node changes.
func (b *builder) openCatalogue() {
	b.relaxSync()
	if !b.s.Big {
		return
	}
	if b.v.cm() {
		b.beside(b.v.Nodes, func(n *seen) {
			b.add(plan.Step{ID: n.Name + "/cm-number", Kind: kindCMNumber, Node: n.Name, Args: map[string]string{"value": b.s.From.Kernel.String()},
				Says: say.F("let the cluster manager of %s start instances with -u %s (upgrade_from in cm_agent.conf)", "让 %s 上的 CM 以 -u %s 拉起实例（cm_agent.conf 的 upgrade_from）", n.Name, b.s.From.Kernel.String())})
		})
	}
	b.setGUC(b.primary, "upgrade-mode", "upgrade_mode", b.s.mode(), say.F("without a restart", "无需重启"))
	b.add(plan.Step{ID: "cluster/sql-pre", Kind: kindSQLPre, Estimate: dur(10 * time.Second), Timeout: dur(40 * time.Minute),
		Says: say.F("run the catalogue SQL rollback and upgrade (%s to %s) on the primary, in every database", "在主库的每个数据库中执行 rollback 与 upgrade 脚本（%s 到 %s）", b.s.From.Kernel.Dotted(), b.s.To.Kernel.Dotted())})
}

// needsRelax reports that writes would wait for a standby that restarts.
func (b *builder) needsRelax() bool {
	return len(b.order) > 0 && b.primary.Settings["synchronous_standby_names"] != "" && b.primary.Settings["most_available_sync"] != "on"
}

func (b *builder) relaxSync() {
	if !b.needsRelax() || b.inplace() {
		return
	}
	b.setGUC(b.primary, "relax-sync", "most_available_sync", "on", say.F("so that commits do not wait for a node that restarts", "避免提交等待正在重启的备库"))
	b.remarks = append(b.remarks, say.F("most_available_sync is off now: while it is on, a commit may be acknowledged by the primary alone for as long as no standby is connected",
		"当前 most_available_sync 为 off：置为 on 期间，若没有备库连接，主库可能单独确认提交"))
}

func (b *builder) restoreSync() {
	if !b.needsRelax() || b.inplace() {
		return
	}
	b.setGUC(b.order[len(b.order)-1], "restore-sync", "most_available_sync", "off", say.F("as before", "恢复原值"))
}

// setGUC gives a setting a value on every node, the primary last: what is
// reloaded there reaches the standbys by itself within seconds, and each
// node's way back must know what the node had.
func (b *builder) setGUC(primary *seen, id, name, value string, why say.Text) {
	nodes := slices.DeleteFunc(slices.Clone(b.v.Nodes), func(n *seen) bool { return n == primary })
	for _, n := range append(nodes, primary) {
		says := say.F("set %s = %s on %s", "设置 %s = %s（%s）", name, value, n.Name)
		b.add(plan.Step{ID: n.Name + "/" + id, Kind: kindGUC, Node: n.Name, Args: map[string]string{"name": name, "value": value},
			Says: say.Text{EN: says.EN + ", " + why.EN, ZH: says.ZH + "，" + why.ZH}})
	}
}

// tools reports whether the package brings operation tools that are wanted.
func (b *builder) tools() bool {
	return b.pkg.OM != "" && b.r.Options["tools"] != toolsKeep && !slices.ContainsFunc(b.v.Nodes, func(n *seen) bool { return n.GPHome == "" })
}

// swapTools changes gs_om and the others when every node runs the new release:
// they know the old one and are needed until then. It comes before the SQL of
// the cluster, whose way back must not wait for a node that does not answer.
func (b *builder) swapTools() {
	if !b.tools() {
		return
	}
	args := map[string]string{"om": b.pkg.OM}
	if b.pkg.ServerIn {
		args["whole"] = filepath.Base(b.pkg.Files[0].Path)
	}
	b.beside(b.v.Nodes, func(n *seen) {
		b.add(plan.Step{ID: n.Name + "/tools", Kind: kindTools, Node: n.Name, Args: args, Estimate: dur(5 * time.Second), Timeout: dur(10 * time.Minute),
			Says: say.F("change the tools in %s on %s for those of the package; the old ones are kept until the commit", "将 %[2]s 上 %[1]s 中的工具更换为升级包中的版本；旧工具保留到提交", n.GPHome, n.Name)})
	})
}

// oneByOne is the rolling way: standbys, switchover, the old primary.
func (b *builder) oneByOne() {
	first, rest := b.order, []*seen(nil)
	if len(b.r.Nodes) > 0 {
		first = slices.DeleteFunc(slices.Clone(b.order), func(n *seen) bool { return !slices.Contains(b.r.Nodes, n.Name) })
		rest = slices.DeleteFunc(slices.Clone(b.order), func(n *seen) bool { return slices.Contains(b.r.Nodes, n.Name) })
	}
	for _, n := range first {
		b.swap(n, plan.ReadsOnly)
	}
	if len(b.r.Nodes) > 0 {
		b.add(plan.Step{ID: RestGate, Kind: plan.GateKind, Class: plan.ReadOnly, Gate: &plan.Gate{Wait: true},
			Says: say.F("wait: %s run %s; go on with the other nodes by shiplift resume --accept %s", "等待：%s 已运行 %s；执行 shiplift resume --accept %s 继续其余节点", strings.Join(b.r.Nodes, ", "), b.s.ToName, RestGate)})
	}
	for _, n := range rest {
		b.swap(n, plan.ReadsOnly)
	}
	to := b.order[len(b.order)-1]
	b.add(plan.Step{ID: "cluster/switchover", Kind: kindSwitchover, Nodes: []string{b.primary.Name, to.Name}, Impact: plan.WritesStop, Estimate: dur(6 * time.Second), Timeout: dur(5 * time.Minute),
		Args: map[string]string{"from": b.primary.Name, "to": to.Name},
		Says: say.F("switch the primary from %s to %s; writes stop for about two seconds", "主库从 %s 切换到 %s；写入中断约两秒", b.primary.Name, to.Name)})
	if !b.v.cm() {
		b.add(plan.Step{ID: "cluster/refreshconf", Kind: kindRefresh, Nodes: []string{b.primary.Name}, Args: map[string]string{"from": b.primary.Name},
			Says: say.F("tell gs_om the new roles (gs_om -t refreshconf)", "刷新 gs_om 的角色信息（gs_om -t refreshconf）")})
	}
	b.swap(b.primary, plan.None)
}

// swap changes one node.
func (b *builder) swap(n *seen, impact plan.Impact) {
	b.stop(n, impact)
	b.carryAndFlip(n)
	b.start(n, impact, b.standbyRole(n))
}

func (b *builder) standbyRole(n *seen) string {
	if n.HA.Role == gaussdb.RoleCascade {
		return "cascade_standby"
	}
	return "standby"
}

func (b *builder) stop(n *seen, impact plan.Impact) {
	role := b.standbyRole(n)
	if b.inplace() && n == b.primary {
		role = b.ownRole(n)
	}
	b.add(plan.Step{ID: n.Name + "/stop", Kind: kindStop, Node: n.Name, Impact: impact, Timeout: dur(35 * time.Minute), Args: map[string]string{"role": role},
		Says: say.F("stop %s in order (data directory %s)", "正常停止 %s（数据目录 %s）", n.Name, n.Data)})
}

func (b *builder) carryAndFlip(n *seen) {
	args := map[string]string{}
	if b.v.cm() {
		args["cm"] = "yes"
	}
	gone := map[string]string{"gone": strings.Join(b.pkg.Scripts.Gone, " ")}
	b.add(plan.Step{ID: n.Name + "/carry", Kind: kindCarry, Node: n.Name, Args: gone,
		Says: say.F("carry over on %s what a new directory lacks: configuration, keys, certificates, pg_plugin, extension scripts, CM flags", "在 %s 上带入新目录缺少的文件：静态/动态配置、密钥、证书、pg_plugin、扩展脚本、CM 标记", n.Name)})
	b.add(plan.Step{ID: n.Name + "/flip", Kind: kindFlip, Node: n.Name, Args: args, Timeout: dur(10 * time.Minute),
		Says: say.F("point %s on %s to %s", "将 %[2]s 上的 %[1]s 指向 %[3]s", n.Home, n.Name, b.s.ToName)})
}

func (b *builder) start(n *seen, impact plan.Impact, role string) {
	b.add(plan.Step{ID: n.Name + "/start", Kind: kindStart, Node: n.Name, Impact: impact, Estimate: dur(5 * time.Second), Timeout: dur(25 * time.Minute), Args: map[string]string{"role": role},
		Says: say.F("start %s as %s on %s and wait until it has caught up", "以 %[2]s 启动 %[1]s（%[3]s），等待其追平", n.Name, role, b.s.ToName)})
}

// ownRole is the mode in which a node that is alone, or the primary, is started.
func (b *builder) ownRole(n *seen) string {
	if n.HA.Role == gaussdb.RoleNormal {
		return ""
	}
	return "primary"
}

// allAtOnce is the way in place: the primary stops first, so that the standbys
// have all that it wrote; then everything changes and starts, the primary first.
func (b *builder) allAtOnce() {
	if b.v.cm() {
		b.beside(b.v.Nodes, func(n *seen) {
			b.add(plan.Step{ID: n.Name + "/cm-pause", Kind: kindCMPause, Node: n.Name, Args: map[string]string{"value": "on"},
				Says: say.F("pause the cluster manager on %s, so that it elects nobody while everything is stopped", "暂停 %s 上的 CM，避免整体停止期间触发选主", n.Name)})
		})
	}
	// Downstream: who feeds others stops before them, so that they have it all, and
	// starts before them, since they cannot follow what does not run.
	downstream := slices.Clone(b.order)
	slices.SortStableFunc(downstream, func(x, y *seen) int { return rankDown(x) - rankDown(y) })
	b.stop(b.primary, plan.Down)
	for _, n := range downstream {
		b.stop(n, plan.Down)
	}
	b.beside(b.v.Nodes, b.carryAndFlip)
	b.start(b.primary, plan.Down, b.ownRole(b.primary))
	for _, n := range downstream {
		b.start(n, plan.ReadsOnly, b.standbyRole(n))
	}
	if b.v.cm() {
		b.beside(b.v.Nodes, func(n *seen) {
			b.add(plan.Step{ID: n.Name + "/cm-resume", Kind: kindCMPause, Node: n.Name, Args: map[string]string{"value": "off"},
				Says: say.F("let the cluster manager on %s go on", "恢复 %s 上的 CM", n.Name)})
		})
	}
}

func rankDown(n *seen) int {
	if n.HA.Role == gaussdb.RoleCascade {
		return 1
	}
	return 0
}

// commit: the point of no return is recorded before anything is given up, the
// old binaries go last.
func (b *builder) commit() {
	costs := say.F("the way back to %s ends here; the old binaries are deleted", "此后无法退回 %s；旧版本程序将被删除", b.s.FromName)
	if b.r.KeepOld {
		costs = say.F("the way back to %s ends here", "此后无法退回 %s", b.s.FromName)
	}
	b.add(plan.Step{ID: plan.CommitGate, Kind: plan.GateKind, Phase: plan.Commit, Class: plan.OneWay, Gate: &plan.Gate{OneWay: true, Costs: costs},
		Says: say.F("commit the upgrade to %s", "提交到 %s 的升级", b.s.ToName)})
	oneWay := func(s plan.Step) {
		s.Phase, s.Class = plan.Commit, plan.OneWay
		b.add(s)
	}
	b.beside(b.v.Nodes, func(n *seen) {
		oneWay(plan.Step{ID: n.Name + "/seal", Kind: kindSeal, Node: n.Name, Says: say.F("record on %s that the commit has begun", "在 %s 上记录提交已开始", n.Name)})
	})
	if b.s.Big {
		if b.v.cm() {
			oneWay(plan.Step{ID: "cluster/cm-number-off", Kind: kindCMNumber, Args: map[string]string{"value": "0"},
				Says: say.F("let the cluster manager start instances without -u (upgrade_from = 0)", "让 CM 不再带 -u 拉起实例（upgrade_from = 0）")})
		}
		b.beside(b.v.Nodes, func(n *seen) {
			oneWay(plan.Step{ID: n.Name + "/forget-number", Kind: kindForget, Node: n.Name,
				Says: say.F("remove old_upgrade_version on %s and the -u that postmaster.opts keeps, so that no restart falls back to %s", "删除 %s 上的 old_upgrade_version 以及 postmaster.opts 中的 -u，避免重启后退回 %s", n.Name, b.s.From.Kernel.Dotted())})
		})
		oneWay(plan.Step{ID: "cluster/upgrade-mode-off", Kind: kindEndMode, Says: say.F(
			"set upgrade_mode = 0 on every node: from then on the cluster works as %s; no restart", "在所有节点设置 upgrade_mode = 0：此后集群按 %s 工作，无需重启", b.s.To.Kernel.Dotted())})
	}
	b.beside(b.v.Nodes, func(n *seen) {
		if !b.r.KeepOld {
			oneWay(plan.Step{ID: n.Name + "/remove-old", Kind: kindRemoveOld, Node: n.Name, Timeout: dur(15 * time.Minute),
				Says: say.F("delete the old binaries on %s: %s", "删除 %s 上的旧版本程序：%s", n.Name, n.App)})
		}
		oneWay(plan.Step{ID: n.Name + "/close", Kind: kindClose, Node: n.Name, Timeout: dur(15 * time.Minute),
			Says: say.F("remove the marks of the upgrade on %s: other tools work again", "清除 %s 上的升级标记，其他工具恢复可用", n.Name)})
	})
}
