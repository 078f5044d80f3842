package gbase8a

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

func refuse(rule string, text, next say.Text) error {
	return &driver.RefusalError{Rule: rule, Text: text, Next: next}
}

// thePackage is the archive of the request's target release.
func thePackage(r plan.Request) (file string, name packageName, err error) {
	for _, p := range r.Packages {
		if n, ok := parsePackage(filepath.Base(p)); ok && n.Version == r.To {
			return p, n, nil
		}
	}
	return "", packageName{}, refuse("U5", say.F("no package of release %s is given", "没有给出版本 %s 的升级包", r.To),
		say.F("--package GBase8a_MPP_Cluster-<License|NoLicense>-%s-<os>-<arch>.tar.bz2 (its .sha256 beside it)",
			"--package GBase8a_MPP_Cluster-<License|NoLicense>-%s-<系统>-<架构>.tar.bz2（同目录下需有 .sha256）", r.To))
}

// readSum reads FILE.sha256: the sum, alone or as sha256sum writes it.
func readSum(file string) (string, error) {
	body, err := os.ReadFile(file + ".sha256")
	if err != nil {
		return "", refuse("U5", say.F("the checksum of %s cannot be read: %v", "无法读取 %s 的校验和：%v", filepath.Base(file), err),
			say.F("sha256sum %[1]s > %[1]s.sha256, after comparing it with the vendor's", "与厂商公布的值核对后执行 sha256sum %[1]s > %[1]s.sha256", file))
	}
	f := strings.Fields(string(body))
	if len(f) == 0 || len(f[0]) != 64 || strings.Trim(strings.ToLower(f[0]), "0123456789abcdef") != "" {
		return "", refuse("U5", say.F("%s.sha256 holds no sha256 sum", "%s.sha256 中没有 sha256 校验和", file), say.Text{})
	}
	return strings.ToLower(f[0]), nil
}

// builder gathers the steps; each group needs all of the group before it.
type builder struct {
	v      *view
	r      plan.Request
	opts   options
	confs  map[string]conf
	x      string // the executing coordinator
	p      plan.Plan
	before []string // ids of the group before
	group  []string
	impact plan.Impact
	phase  plan.Phase
}

// Plan writes down runbook A (the flush) or runbook B (the upgrade around it).
func (Driver) Plan(inv *cluster.Inventory, o driver.Observation, r plan.Request) (plan.Plan, error) {
	v, ok := o.Detail.(*view)
	if !ok {
		return plan.Plan{}, say.Errorf("gbase8a: the observation is of another driver", "gbase8a：该观察结果属于另一驱动")
	}
	opts, err := optionsOf(r)
	if err != nil {
		return plan.Plan{}, err
	}
	b := &builder{v: v, r: r, opts: opts, confs: map[string]conf{}, x: v.executor(), impact: plan.None, phase: plan.Apply}
	for _, n := range inv.Nodes {
		b.confs[n.Name] = confOf(n.Settings)
	}
	if err := b.possible(o); err != nil {
		return plan.Plan{}, err
	}
	b.p.From, b.p.To = o.Release, r.To
	if r.Component == Component {
		b.p.To = o.Release
		b.flushRun()
		return b.p, nil
	}
	if err := b.upgradeRun(); err != nil {
		return plan.Plan{}, err
	}
	return b.p, nil
}

// possible refuses what cannot be planned.
func (b *builder) possible(o driver.Observation) error {
	status := say.F("gcadmin on a coordinator, as the database's user", "在协调节点上以数据库用户执行 gcadmin")
	if b.v.status == nil {
		why := say.F("unknown", "未知")
		if b.v.err != nil {
			why = say.Of(b.v.err)
		}
		return refuse("G29", say.Join(": ", say.F("the cluster's state cannot be read", "无法读取集群状态"), why), status)
	}
	for _, n := range b.v.nodes {
		if n.err != nil {
			return refuse("U0", say.Join(": ", say.F("node %s cannot be read", "无法读取节点 %s", n.Name), say.Of(n.err)), say.F("shiplift check", "shiplift check"))
		}
		if len(n.rows) == 0 {
			return refuse("G21", say.F("gcadmin does not show the address %s of %s", "gcadmin 中没有 %[2]s 的地址 %[1]s", n.IP, n.Name), say.F("shiplift check", "shiplift check"))
		}
	}
	if o.Release == "" {
		return refuse("G32", say.F("the nodes do not have one release", "各节点版本不一致"), say.F("mixed releases need the vendor", "版本混杂时请联系厂商"))
	}
	if !isV95(o.Release) {
		return refuse("G34", say.F("release %s is not V95: there is no gcware snapshot to flush, and this driver upgrades V95 only", "版本 %s 不是 V95：没有可刷写的 gcware 快照，本驱动只升级 V95", o.Release),
			say.F("from 8.6 follow the vendor's manual to 9.5.2 first", "8.6 请先按厂商手册升级到 9.5.2"))
	}
	switch b.r.Component {
	case Component:
		return nil
	case "":
		return b.possibleTarget(o.Release)
	}
	return refuse("", say.F("this driver has no component %q", "该驱动没有组件 %q", b.r.Component), say.F("--component %s", "--component %s", Component))
}

func (b *builder) possibleTarget(from string) error {
	switch to := b.r.To; {
	case to == "":
		return refuse("", say.F("no target release is given", "没有给出目标版本"), say.F("--to 9.5.…", "--to 9.5.…"))
	case to == from:
		return &driver.NothingToDoError{Text: say.F("all nodes have %s already", "所有节点已是 %s", to)}
	case older(to, from):
		return refuse("G33", say.F("%s is older than %s", "%s 比 %s 旧", to, from), say.F("the way back is `shiplift rollback` of the run that upgraded", "回退请对升级所用的运行执行 shiplift rollback"))
	case family(to) != family(from):
		return refuse("G21", say.F("from %s to %s gcware changes its layout and its tools; this driver stays within one generation", "从 %s 到 %s 时 gcware 的目录与工具会改变；本驱动只在同一代内升级", from, to),
			say.F("make the step between the generations with the vendor's manual; the flush before it: --component %s", "跨代升级请按厂商手册进行；之前的刷写可用 --component %s", Component))
	case b.r.Mode == "rolling":
		return refuse("U6", say.F("the vendor's installer upgrades all nodes at once with everything stopped", "厂商安装程序在全停状态下一次升级所有节点"), say.F("--mode inplace", "--mode inplace"))
	case len(b.r.Nodes) > 0:
		return refuse("G21", say.F("the vendor's installer upgrades all nodes or none", "厂商安装程序只能升级全部节点"), say.F("leave out --nodes", "去掉 --nodes"))
	}
	return nil
}

// next closes the group: what follows needs all of it.
func (b *builder) next() {
	if len(b.group) > 0 {
		b.before, b.group = b.group, nil
	}
}

// span is a step's estimate and its time limit.
type span struct{ estimate, timeout time.Duration }

func (b *builder) step(node, kind, rule string, class plan.Class, t span, says say.Text, args map[string]string) {
	id := "cluster/" + kind
	if node != "" {
		id = node + "/" + kind
	}
	if m := args["mode"]; m != "" {
		id = "cluster/mode-" + m
		if b.has(id) {
			id += "-again"
		}
	}
	b.p.Steps = append(b.p.Steps, plan.Step{ID: id, Kind: kind, Node: node, Phase: b.phase, Says: says, Needs: b.before, Class: class, Impact: b.impact,
		Estimate: plan.Duration(t.estimate), Timeout: plan.Duration(t.timeout), Args: args, Rule: rule})
	b.group = append(b.group, id)
}

func (b *builder) has(id string) bool {
	for _, s := range b.p.Steps {
		if s.ID == id {
			return true
		}
	}
	return false
}

func (b *builder) remark(t say.Text) { b.p.Remarks = append(b.p.Remarks, t) }

func database(m member) bool   { return m.Coor || m.Data }
func runsGcware(m member) bool { return m.Gcware }

// flushRun is runbook A as a run of its own; it ends with the services back.
func (b *builder) flushRun() {
	b.remark(say.F("the cluster is down from the stop of its services until they are started again: about ten minutes", "从停止服务到重新启动服务期间集群不可用：约十分钟"))
	b.lock()
	b.quiet()
	b.stopAll()
	b.flush()
	b.startAll()
	b.finish(false)
}

func (b *builder) lock() {
	b.step(b.x, kindLock, "G31", plan.Reversible, span{time.Second, b.confs[b.x].StartWait + 5*time.Minute},
		say.F("take the operator lock on %s; given back, on the way back, when all services are OPEN again", "在 %s 上取得操作锁；回滚时待所有服务恢复 OPEN 后释放", b.x), nil)
	b.next()
}

func (b *builder) quiet() {
	wait := span{10 * time.Second, 15 * time.Minute}
	if b.opts.Quiesce == "readonly" {
		b.impact = plan.WritesStop
		b.mode("readonly", "U3", say.F("set every virtual cluster to READONLY", "将各虚拟集群设为 READONLY"))
	}
	b.step("", kindQuiet, "G18 G19 G20", plan.ReadOnly, wait, say.F("prove that nothing is under way: everything OPEN, no event, no lock, no failover, no running statement", "确认没有进行中的工作：全部 OPEN，无事件、锁、failover 与正在执行的语句"), nil)
	b.next()
	if b.opts.Quiesce == "readonly" {
		// gcware keeps the mode, so it would survive the upgrade (U3b) [A].
		b.mode("normal", "U3b", say.F("set every virtual cluster back to NORMAL, right before the stop", "停止服务前将各虚拟集群恢复为 NORMAL"))
	}
}

func (b *builder) mode(mode, rule string, says say.Text) {
	b.step("", kindMode, rule, plan.Reversible, span{5 * time.Second, 5 * time.Minute}, says, map[string]string{"mode": mode})
	b.next()
}

// stopAll stops all services of all nodes, and gcware's own cluster after the rest (G03, G04).
func (b *builder) stopAll() {
	b.impact = plan.Down
	for _, n := range b.v.with(database) {
		t := span{20 * time.Second, 2*b.confs[n.Name].StopWait + b.confs[n.Name].StartWait}
		b.step(n.Name, kindStopServices, "G03 G04", plan.Reversible, t, say.F("%s: gcluster_services all stop (monitors first), until no process of it is left", "%s：gcluster_services all stop（先停监控），直至没有残留进程", n.Name), nil)
	}
	b.next()
	if b.v.gen == V953 {
		for _, n := range b.v.with(runsGcware) {
			t := span{10 * time.Second, 2*b.confs[n.Name].StopWait + b.confs[n.Name].StartWait}
			b.step(n.Name, kindStopGcwareAll, "G03 G04", plan.Reversible, t, say.F("%s: gcware_services all stop (monitors first), until no process of it is left", "%s：gcware_services all stop（先停监控），直至没有残留进程", n.Name), nil)
		}
		b.next()
	}
	b.step("", kindSettle, "G04", plan.ReadOnly, span{b.confs[b.x].Settle, 30 * time.Minute},
		say.F("watch all nodes for %s: nothing may come back; what a monitor revives is stopped again", "观察所有节点 %s：不得有进程复活；被监控拉起的将再次停止", b.confs[b.x].Settle), nil)
	b.next()
}

// tool is the service tool that knows gcware by name (G05).
func gcwareTool(gen Generation) string {
	if gen == V953 {
		return "gcware_services"
	}
	return "gcluster_services"
}

// flush is runbook A, steps F4 to F8.
func (b *builder) flush() {
	tool, c := gcwareTool(b.v.gen), b.confs[b.x]
	for _, n := range b.v.with(runsGcware) {
		b.step(n.Name, kindStartGcware, "G05", plan.Reversible, span{3 * time.Second, 15 * time.Minute}, say.F("%s: %s gcware start, and nothing else", "%s：%s gcware start，不启动其他服务", n.Name, tool), nil)
	}
	b.next()
	b.step("", kindWaitGcware, "G06 G07 G30", plan.ReadOnly, span{10 * time.Second, c.OpenWait + time.Minute}, say.F("wait until gcadmin shows gcware OPEN on every node; where its machine went down meanwhile it is started again", "等待 gcadmin 显示每个节点的 gcware 均为 OPEN；期间因宕机停止的会重新启动"), nil)
	b.next()
	calls := time.Duration(b.opts.FlushCalls)
	b.step("", kindFlush, "G08 G10 G12 G13 G15", plan.ReadOnly, span{30 * time.Second, calls * (c.FlushWait + time.Minute)},
		say.F("note every node's newest snapshot, flush from one coordinator, wait until every gcware node holds a newer whole snapshot (changes no data)",
			"记录各节点最新快照，在一个协调节点上刷写，等待每个 gcware 节点都有更新的完整快照（不改动数据）"), map[string]string{"calls": strconv.Itoa(b.opts.FlushCalls)})
	b.next()
	for _, n := range b.v.with(runsGcware) {
		b.step(n.Name, kindStopGcware, "G09 G17", plan.Reversible, span{3 * time.Second, 2 * c.StopWait}, say.F("%s: %s gcware stop; its newest snapshot stays", "%s：%s gcware stop；最新快照保持不变", n.Name, tool), nil)
	}
	b.next()
}

// startAll returns to service in the vendor's order: gcware's own cluster first.
func (b *builder) startAll() {
	if b.v.gen == V953 {
		for _, n := range b.v.with(runsGcware) {
			b.step(n.Name, kindStartGcwareAll, "F8", plan.Reversible, span{5 * time.Second, 30 * time.Minute}, say.F("%s: gcware_services all start", "%s：gcware_services all start", n.Name), nil)
		}
		b.next()
	}
	for _, n := range b.v.with(database) {
		b.step(n.Name, kindStartServices, "F8", plan.Reversible, span{10 * time.Second, 30 * time.Minute}, say.F("%s: gcluster_services all start", "%s：gcluster_services all start", n.Name), nil)
	}
	b.next()
	b.waitHealthy("")
}

func (b *builder) waitHealthy(license string) {
	args := map[string]string{}
	if license != "" {
		args["licensed"] = license
	}
	b.step("", kindWaitHealthy, "G19 G28 G32", plan.ReadOnly, span{30 * time.Second, b.confs[b.x].StartWait + time.Minute},
		say.F("wait until every module of every node is OPEN, data are consistent and no event is left; a node on which nothing runs any more is started", "等待每个节点的所有模块 OPEN、数据一致且无事件；已无任何服务运行的节点会被启动"), args)
	b.next()
}

// finish adds the proof, the gate and what lies behind it.
func (b *builder) finish(upgrade bool) {
	b.impact = plan.None
	b.p.Steps = append(b.p.Steps,
		plan.Step{ID: "verify", Kind: plan.VerifyKind, Phase: plan.Apply, Needs: b.before, Class: plan.ReadOnly, Impact: plan.None,
			Estimate: plan.Duration(5 * time.Second), Timeout: plan.Duration(10 * time.Minute), Says: say.F("prove the result from state that is read again", "重新读取状态，验证结果")})
	gate := plan.Step{ID: plan.CommitGate, Kind: plan.GateKind, Phase: plan.Commit, Needs: []string{"verify"}, Class: plan.OneWay, Impact: plan.None,
		Says: say.F("commit: the run is over", "提交：运行结束"), Gate: &plan.Gate{OneWay: true, Costs: say.F("nothing is lost: the snapshot is harmless", "没有任何代价：快照是无害的")}}
	if upgrade {
		gate.Says = say.F("commit: the business may write again", "提交：业务可以恢复写入")
		gate.Gate.Costs = say.F("Restore.py puts back software and metadata: what is written from here on would be lost, so the tool does not go back behind this gate; the installer's backup file stays",
			"Restore.py 恢复软件与元数据：此后写入的数据会丢失，因此工具不再回退；安装程序的备份文件保留")
	}
	b.p.Steps = append(b.p.Steps, gate)
	b.before, b.phase, b.impact = []string{plan.CommitGate}, plan.Commit, plan.None
	if upgrade && b.opts.Hold == "readonly" {
		b.step("", kindMode, "U9", plan.OneWay, span{5 * time.Second, 5 * time.Minute}, say.F("set every virtual cluster to NORMAL: the business may write", "将各虚拟集群设为 NORMAL：业务可写入"), map[string]string{"mode": "normal"})
		b.next()
	}
	if upgrade && !b.r.KeepOld {
		b.step(b.x, kindCleanup, "U9", plan.OneWay, span{5 * time.Second, 10 * time.Minute}, say.F("%s: remove the unpacked package and its archive", "%s：删除解包目录与升级包", b.x), b.packageArgs())
		b.next()
	}
	b.step(b.x, kindUnlock, "G31", plan.OneWay, span{time.Second, time.Minute}, say.F("give the operator lock back", "释放操作锁"), nil)
}

// packageArgs are where the package lies on the executing coordinator.
func (b *builder) packageArgs() map[string]string {
	c := b.confs[b.x]
	file, _, err := thePackage(b.r)
	if err != nil {
		return nil
	}
	return map[string]string{"archive": path.Join(c.WorkDir, filepath.Base(file)), "dir": workDir(c, b.r.To)}
}

// upgradeRun is runbook B.
func (b *builder) upgradeRun() error {
	file, name, err := thePackage(b.r)
	if err != nil {
		return err
	}
	sum, err := readSum(file)
	if err != nil {
		return err
	}
	args := b.packageArgs()
	if err := b.license(name, args); err != nil {
		return err
	}
	b.tellWays()
	b.lock()
	b.backups()
	put := map[string]string{"package": file, "archive": args["archive"], "sha256": sum}
	b.step(b.x, kindPut, "U5", plan.Reversible, span{time.Minute, 6 * time.Hour}, say.F("copy the package to %s and compare its sha256", "将升级包复制到 %s 并校验 sha256", b.x), put)
	b.next()
	b.step(b.x, kindUnpack, "U5", plan.Reversible, span{10 * time.Second, time.Hour}, say.F("%s: unpack it to a new directory %s", "%s：解包到新目录 %s", b.x, args["dir"]), args)
	b.next()
	if args["license"] != "" {
		lic := map[string]string{"package": b.opts.License, "archive": args["license"], "sha256": args["license_sum"]}
		b.step(b.x, kindPutLicense, "G28", plan.Reversible, span{time.Second, 10 * time.Minute}, say.F("copy the license to %s", "将授权文件复制到 %s", b.x), lic)
		b.next()
	}
	b.quiet()
	b.stopAll()
	if b.opts.wantsFlush(b.p.From) {
		b.flush()
	} else {
		b.remark(say.F("the gcware snapshot is not flushed: flush=never", "不刷写 gcware 快照：flush=never"))
	}
	b.install(args)
	b.waitHealthy(strconv.FormatBool(name.Licensed))
	if b.opts.Hold == "readonly" {
		b.impact = plan.WritesStop
		b.mode("readonly", "U8", say.F("hold every virtual cluster READONLY until commit, so that a rollback loses nothing", "提交前将各虚拟集群保持为 READONLY，使回滚不丢失数据"))
	}
	b.step(b.x, kindDropOptions, "U9", plan.Reversible, span{time.Second, time.Minute}, say.F("%s: remove demo.options, it holds passwords", "%s：删除含有密码的 demo.options", b.x), args)
	b.next()
	b.finish(true)
	return nil
}

func (b *builder) license(name packageName, args map[string]string) error {
	switch {
	case b.opts.License != "" && !name.Licensed:
		return refuse("G28", say.F("the package needs no license", "该升级包不需要授权文件"), say.F("leave out --option license", "去掉 --option license"))
	case b.opts.License != "":
		sum, err := fileSum(b.opts.License)
		if err != nil {
			return refuse("G28", say.F("the license cannot be read: %v", "无法读取授权文件：%v", err), say.F("--option license=FILE", "--option license=文件"))
		}
		args["license"] = path.Join(b.confs[b.x].WorkDir, filepath.Base(b.opts.License))
		args["license_sum"] = sum
	case name.Licensed:
		b.remark(say.F("the package is of the License kind and no license file is given: the one that is installed has to be valid for %s", "升级包为 License 版且未给出授权文件：已安装的授权须对 %s 有效", b.r.To))
	}
	return nil
}

// tellWays says honestly what leads back from where.
func (b *builder) tellWays() {
	b.remark(say.F("the business must be stopped before apply and stay stopped until commit", "apply 之前须停止业务，直到 commit 为止"))
	b.remark(say.F("until the installer starts, rollback starts the old release again; from then on only the installer's own rollback or Restore.py leads back", "安装程序启动之前，回滚即重新启动旧版本；此后只能依靠安装程序的自动回退或 Restore.py"))
	if b.opts.Hold == "none" {
		b.remark(say.F("hold=none: the cluster takes writes as soon as the installer has started it; Restore.py would lose them", "hold=none：安装程序启动集群后即可写入；Restore.py 会丢失这些写入"))
	}
	b.remark(say.F("data are not backed up by this run: make a backup of level 0 with gcrcman.py before, by hand, where you want one", "本次运行不备份数据：如有需要，请事先手工用 gcrcman.py 做 level 0 备份"))
	b.remark(say.F("SetSysEnv.py needs root and is not called; run it by hand first where the release notes ask for it", "SetSysEnv.py 需要 root 权限，工具不调用；若发布说明要求，请事先手工执行"))
}

func (b *builder) backups() {
	for _, n := range b.v.nodes {
		dir := path.Join(b.confs[n.Name].BackupDir, "shiplift-"+b.r.To)
		b.step(n.Name, kindBackup, "U4", plan.Reversible, span{5 * time.Second, 10 * time.Minute}, say.F("%s: save configuration and profile to %s", "%s：将配置与环境文件备份到 %s", n.Name, dir),
			map[string]string{"file": path.Join(dir, n.Name+"-config.tar.gz")})
	}
	dir := path.Join(b.confs[b.x].BackupDir, "shiplift-"+b.r.To)
	for _, id := range b.v.distributions() {
		if id == "" || id == "0" {
			continue
		}
		s := len(b.p.Steps)
		b.step(b.x, kindDistribution, "U4", plan.Reversible, span{2 * time.Second, 5 * time.Minute}, say.F("%s: gcadmin getdistribution %s", "%s：gcadmin getdistribution %s", b.x, id),
			map[string]string{"id": id, "file": path.Join(dir, "distribution-"+id+".xml")})
		b.p.Steps[s].ID += "-" + id
		b.group[len(b.group)-1] = b.p.Steps[s].ID
	}
	b.next()
}

// install is U6 and U7; where Restore.py has no way back, a one-way gate stands before it.
func (b *builder) install(args map[string]string) {
	b.step(b.x, kindWriteOptions, "G21", plan.Reversible, span{time.Second, time.Minute}, say.F("%s: write demo.options (0600) with all existing nodes", "%s：写入包含全部现有节点的 demo.options（0600）", b.x), args)
	b.next()
	class := plan.Reversible
	if !CanRestore(b.r.To, b.p.From) {
		class = plan.OneWay
		b.p.Steps = append(b.p.Steps, plan.Step{ID: "install", Kind: plan.GateKind, Phase: plan.Apply, Needs: b.before, Class: plan.OneWay, Impact: plan.None,
			Says: say.F("the vendor's installer starts", "启动厂商安装程序"),
			Gate: &plan.Gate{OneWay: true, Costs: say.F("Restore.py does not lead from %s back to %s: there is no way back", "Restore.py 不支持从 %s 回退到 %s：无法回退", b.r.To, b.p.From)}})
		b.before = []string{"install"}
	}
	cmd := "gcinstall.py --silent=shiplift.options --backup_dir=" + b.confs[b.x].BackupDir + " -a -U"
	b.step(b.x, kindInstall, "G22 G23 G24 G32 G33", class, span{30 * time.Minute, 2 * b.confs[b.x].Install},
		say.F("%s: %s, followed until it ends; then every node must have %s and the backup file must be there (undo: Restore.py)", "%s：%s，跟踪至结束；之后每个节点须为 %s 且备份文件存在（回滚：Restore.py）", b.x, cmd, b.r.To), args)
	b.next()
}

// stepID names a step of another kind on a node.
func stepID(node, kind string) string { return fmt.Sprintf("%s/%s", node, kind) }
