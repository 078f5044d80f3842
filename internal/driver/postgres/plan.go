package postgres

import (
	"cmp"
	"fmt"
	"os"
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

// The modes of an upgrade.
const (
	modeRolling = "rolling"
	modeGrey    = "grey" // another name for rolling
	modeInplace = "inplace"
)

// Plan lays the way out. It is pure but for one thing: it reads the checksum
// file that lies beside each package, so that a plan names the very bytes.
func (d *Driver) Plan(_ *cluster.Inventory, o driver.Observation, r plan.Request) (plan.Plan, error) {
	v, ok := o.Detail.(*view)
	if !ok {
		return plan.Plan{}, say.Errorf("the observation was not made by driver %s", "该观察结果不是由驱动 %s 得出的", d.Name())
	}
	b := &builder{v: v, r: r, to: r.To, uniq: map[string]int{}}
	if err := b.settle(); err != nil {
		return plan.Plan{}, err
	}
	b.provide()
	if b.rolling() {
		b.planRolling()
	} else {
		b.planInplace()
	}
	b.finish()
	return plan.Plan{From: b.from, To: b.to, Steps: b.steps, Remarks: b.remarks}, nil
}

// builder gathers the steps. Each new one needs what stands in after, which
// then is the new one: a chain, with bundles where nodes go side by side.
type builder struct {
	v          *view
	r          plan.Request
	from, to   string
	primary    *seen
	candidate  *seen
	sync       syncNames // of the primary, before the run
	todo       []*seen   // nodes whose release changes, in the inventory's order
	packages   map[string]pack
	usesSlots  bool
	steps      []plan.Step
	after      []string
	uniq       map[string]int
	remarks    []say.Text
	holdsTaken []string // nodes that hold WAL during the run
}

func (b *builder) rolling() bool { return b.r.Mode != modeInplace }

func refuse(text, next say.Text) error { return &driver.RefusalError{Text: text, Next: next} }

// settle refuses what has no way and finds the actors.
func (b *builder) settle() error {
	if err := b.settleMode(); err != nil {
		return err
	}
	if err := b.settleNodes(); err != nil {
		return err
	}
	if err := b.settleRelease(); err != nil {
		return err
	}
	var err error
	if b.sync, err = parseSyncNames(b.primary.Settings["synchronous_standby_names"].Value); err != nil {
		return refuse(say.Same(err.Error()), say.F("correct synchronous_standby_names on %s", "请更正 %s 上的 synchronous_standby_names", b.primary.Name))
	}
	for _, n := range b.v.Nodes {
		b.usesSlots = b.usesSlots || n.Settings["primary_slot_name"].Value != "" && n.ID.Recovery
	}
	if err := b.settlePackages(); err != nil {
		return err
	}
	if b.rolling() {
		return b.settleCandidate()
	}
	if b.r.SwitchBack || b.r.Candidate != "" {
		return refuse(say.F("an in-place upgrade has no switchover: --candidate and --switch-back do not apply", "就地升级没有主备切换：--candidate 与 --switch-back 不适用"),
			say.F("leave them out, or use --mode rolling", "请去掉这些选项，或使用 --mode rolling"))
	}
	return nil
}

func (b *builder) settleMode() error {
	switch b.r.Mode {
	case "", modeRolling, modeGrey:
		b.r.Mode = modeRolling
	case modeInplace:
	default:
		return refuse(say.F("unknown mode %q", "未知模式 %q", b.r.Mode), say.F("--mode rolling or --mode inplace", "--mode rolling 或 --mode inplace"))
	}
	if len(b.r.Nodes) > 0 || b.r.Continue || b.r.Component != "" {
		return refuse(say.F("a PostgreSQL minor upgrade takes the whole cluster: --nodes, --continue and --component do not apply", "PostgreSQL 小版本升级针对整个集群：--nodes、--continue、--component 不适用"),
			say.F("leave them out", "请去掉这些选项"))
	}
	for key := range b.r.Options {
		return refuse(say.F("driver postgres has no option %q", "驱动 postgres 没有选项 %q", key), say.F("leave it out", "请去掉该选项"))
	}
	if b.r.MaxUnavailable < 0 {
		return refuse(say.F("--max-unavailable must be at least 1", "--max-unavailable 至少为 1"), say.F("--max-unavailable 1", "--max-unavailable 1"))
	}
	return nil
}

func (b *builder) settleNodes() error {
	for _, n := range b.v.Nodes {
		if !n.SQL {
			why := n.Trouble
			if why.IsZero() {
				why = say.F("no server runs", "服务器未运行")
			}
			return refuse(say.Text{EN: n.Name + " does not answer: " + why.EN, ZH: n.Name + " 无应答：" + why.In(say.Chinese)},
				say.F("shiplift check", "shiplift check"))
		}
	}
	ps := b.v.primaries()
	if len(ps) != 1 {
		names := make([]string, len(ps))
		for i, p := range ps {
			names[i] = p.Name
		}
		if len(ps) == 0 {
			return refuse(say.F("there is no primary: every node is in recovery", "没有主库：所有节点都处于恢复状态"), say.F("find out why, promote the right node, then: shiplift check", "查明原因并提升正确的节点，然后执行：shiplift check"))
		}
		return refuse(say.F("there are %d primaries: %s", "存在 %d 个主库：%s", len(ps), strings.Join(names, ", ")), say.F("stop the wrong one, then: shiplift check", "停掉错误的主库，然后执行：shiplift check"))
	}
	b.primary = ps[0]
	return nil
}

func (b *builder) settleRelease() error {
	want, err := release.Parse(b.to)
	if err != nil || want.Len() != 2 {
		return refuse(say.F("--to %q is not a PostgreSQL release such as 15.17", "--to %q 不是 PostgreSQL 版本号（例如 15.17）", b.to), say.F("shiplift path", "shiplift path"))
	}
	same := true
	for _, n := range b.v.Nodes {
		have, err := release.Parse(n.ID.Version)
		if err != nil {
			return refuse(say.F("%s runs %q, which is not a release", "%s 运行的 %q 不是正式版本", n.Name, n.ID.Version), say.F("shiplift check", "shiplift check"))
		}
		switch {
		case have.Part(0) != want.Part(0):
			return refuse(say.F("%s runs %s: going to %s is a major upgrade, and this driver does minor releases only", "%s 运行 %s：升级到 %s 属于大版本升级，本驱动只做小版本升级", n.Name, n.ID.Version, b.to),
				say.F("choose a release %d.x", "请选择 %d.x 版本", have.Part(0)))
		case want.Less(have):
			return refuse(say.F("%s runs %s, which is newer than %s", "%s 运行 %s，比 %s 新", n.Name, n.ID.Version, b.to), say.F("to go back after an upgrade: shiplift rollback", "升级后要回退：shiplift rollback"))
		}
		if b.from == "" || have.Less(release.MustParse(b.from)) {
			b.from = n.ID.Version
		}
		if n.ID.Version != b.to || n.Installed != b.to {
			same = false
			b.todo = append(b.todo, n)
		}
	}
	if same {
		return &driver.NothingToDoError{Text: say.F("every node runs %s: nothing to do", "所有节点都已运行 %s：无需操作", b.to)}
	}
	return nil
}

// pack is one package on the control machine.
type pack struct{ path, sum string }

// settlePackages finds the package of each node that has to be given one. A
// node that has the release lying beside the present one needs none.
func (b *builder) settlePackages() error {
	b.packages = map[string]pack{}
	for _, n := range b.todo {
		if slices.Contains(n.Releases, b.to) && len(b.r.Packages) == 0 {
			continue
		}
		p, err := choosePackage(b.r.Packages, b.to, n.Arch)
		if err != nil {
			return refuse(say.Text{EN: n.Name + ": " + say.Of(err).EN, ZH: n.Name + "：" + say.Of(err).In(say.Chinese)},
				say.F("--package postgresql-%s-linux-amd64.tar.gz (its .sha256 beside it)", "--package postgresql-%s-linux-amd64.tar.gz（同目录下需有 .sha256）", b.to))
		}
		b.packages[n.Name] = p
	}
	return nil
}

// choosePackage picks the package for a machine by its name,
// postgresql-<release>-<os>-<arch>.tar.gz, and reads its checksum.
func choosePackage(paths []string, to, uname string) (pack, error) {
	if len(paths) == 0 {
		return pack{}, &say.Problem{Text: say.F("release %s does not lie there and no package was given", "节点上没有版本 %s，也未指定升级包", to)}
	}
	want := "postgresql-" + to + "-" + platform(uname)
	for _, p := range paths {
		if strings.HasPrefix(filepath.Base(p), want+".tar") {
			sum, err := readSum(p)
			return pack{p, sum}, err
		}
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	return pack{}, &say.Problem{Text: say.F("a package named %s.tar.gz is needed; given: %s", "需要名为 %s.tar.gz 的升级包；给出的是：%s", want, strings.Join(names, ", "))}
}

// platform is what packages call a machine: "linux-amd64" for "Linux x86_64".
func platform(uname string) string {
	os, arch, _ := strings.Cut(uname, " ")
	if a, ok := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[arch]; ok {
		arch = a
	}
	return strings.ToLower(os) + "-" + arch
}

// readSum reads <package>.sha256: the sum, alone or as sha256sum writes it.
func readSum(pkg string) (string, error) {
	body, err := os.ReadFile(pkg + ".sha256")
	if err != nil {
		return "", &say.Problem{Text: say.F("the package's checksum cannot be read: %v", "无法读取升级包的校验和：%v", err)}
	}
	f := strings.Fields(string(body))
	if len(f) == 0 || len(f[0]) != 64 || strings.Trim(strings.ToLower(f[0]), "0123456789abcdef") != "" {
		return "", &say.Problem{Text: say.F("%s.sha256 holds no sha256 sum", "%s.sha256 中没有 sha256 校验和", pkg)}
	}
	return strings.ToLower(f[0]), nil
}

// settleCandidate finds who becomes primary: the operator's choice or the best
// direct standby by sync state, lag and the inventory's order.
func (b *builder) settleCandidate() error {
	direct := b.v.children(b.primary.Name)
	if len(direct) == 0 {
		return refuse(say.F("a rolling upgrade needs a standby that streams from %s", "灰度升级需要一个从 %s 流复制的备库", b.primary.Name), say.F("--mode inplace", "--mode inplace"))
	}
	if b.r.Candidate != "" {
		i := slices.IndexFunc(direct, func(n *seen) bool { return n.Name == b.r.Candidate })
		if i < 0 {
			names := make([]string, len(direct))
			for i, n := range direct {
				names[i] = n.Name
			}
			return refuse(say.F("candidate %q is not a standby of the primary %s", "候选节点 %q 不是主库 %s 的备库", b.r.Candidate, b.primary.Name),
				say.F("--candidate with one of: %s", "--candidate 可选：%s", strings.Join(names, ", ")))
		}
		b.candidate = direct[i]
		return nil
	}
	fit := slices.DeleteFunc(slices.Clone(direct), func(n *seen) bool { return !mayLead(n) })
	if len(fit) == 0 {
		return refuse(say.F("no standby of %s may become primary", "%s 的备库都不能成为主库", b.primary.Name), say.F("shiplift check", "shiplift check"))
	}
	b.candidate = slices.MinFunc(fit, func(x, y *seen) int {
		return cmp.Or(cmp.Compare(b.syncRank(x), b.syncRank(y)), cmp.Compare(x.Lag>>24, y.Lag>>24))
	})
	return nil
}

// mayLead reports whether a standby can take the primary's place at all.
func mayLead(n *seen) bool {
	d := n.Settings["recovery_min_apply_delay"].Value
	return n.Receiver.streams() && (d == "" || d == "0")
}

func (b *builder) syncRank(n *seen) int {
	for _, s := range b.primary.Senders {
		if s.App == n.app() {
			switch s.Sync {
			case "sync", "quorum":
				return 0
			case "potential":
				return 1
			}
		}
	}
	return 2
}

// Steps.

func dur(d time.Duration) plan.Duration { return plan.Duration(d) }

func (b *builder) add(s plan.Step) string {
	if b.uniq[s.ID]++; b.uniq[s.ID] > 1 {
		s.ID = fmt.Sprintf("%s-%d", s.ID, b.uniq[s.ID])
	}
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
		s.Estimate = dur(time.Second)
	}
	if s.Timeout == 0 {
		s.Timeout = dur(2 * time.Minute)
	}
	s.Needs = slices.Clone(b.after)
	b.steps = append(b.steps, s)
	b.after = []string{s.ID}
	return s.ID
}

// beside runs one chain per node; what comes next needs all of them.
func (b *builder) beside(nodes []*seen, chain func(*seen)) {
	start := b.after
	var ends []string
	for _, n := range nodes {
		b.after = start
		chain(n)
		ends = append(ends, b.after...)
	}
	if len(nodes) > 0 {
		slices.Sort(ends)
		b.after = slices.Compact(ends)
	}
}

// provide copies and unpacks on all nodes at once, before anything is touched.
func (b *builder) provide() {
	b.beside(b.todo, func(n *seen) {
		p, ok := b.packages[n.Name]
		if !ok {
			return
		}
		file := filepath.Base(p.path)
		b.add(plan.Step{ID: n.Name + "/copy-package", Kind: kindCopy, Node: n.Name,
			Says:     say.F("copy %s to %s and verify its checksum there", "把 %s 复制到 %s 并在该节点校验", file, n.Name),
			Estimate: dur(10 * time.Second), Timeout: dur(30 * time.Minute),
			Args: map[string]string{"package": p.path, "file": file, "sha256": p.sum}})
		b.add(plan.Step{ID: n.Name + "/unpack", Kind: kindUnpack, Node: n.Name,
			Says:     say.F("unpack release %s beside the present one into %s", "将版本 %s 解包到现有版本旁的 %s", b.to, n.dir(b.to)),
			Estimate: dur(5 * time.Second), Timeout: dur(10 * time.Minute),
			Args: map[string]string{"file": file, "release": b.to}})
	})
}

func (b *builder) stop(n *seen, id string, impact plan.Impact, says say.Text, args map[string]string) {
	b.add(plan.Step{ID: n.Name + "/" + id, Kind: kindStop, Node: n.Name, Says: says, Impact: impact,
		Estimate: dur(2 * time.Second), Timeout: dur(n.StopWait + time.Minute), Args: args})
}

func (b *builder) switchBinary(n *seen) {
	b.add(plan.Step{ID: n.Name + "/switch-binary", Kind: kindSwitch, Node: n.Name, Impact: plan.ReadsOnly,
		Says: say.F("point %s at release %s", "将 %s 指向版本 %s", n.current(), b.to),
		Args: map[string]string{"release": b.to}})
}

// start adds a start. upstream is empty for a primary.
func (b *builder) start(n *seen, id, upstream string, impact plan.Impact, later bool) {
	args := map[string]string{"release": b.to}
	says := say.F("start %s as primary on release %s and prove that it accepts writes", "以版本 %[2]s 启动主库 %[1]s，并确认可写", n.Name, b.to)
	if upstream != "" {
		args["upstream"] = upstream
		says = say.F("start %s as standby on release %s, wait until it has caught up and prove that it follows %s", "以版本 %[2]s 启动备库 %[1]s，等待追平并确认其跟随 %[3]s", n.Name, b.to, upstream)
	}
	if later {
		args["follows"] = "later"
		says = say.F("start %s as standby on release %s; it follows when %s is up", "以版本 %[2]s 启动备库 %[1]s；%[3]s 启动后即可跟随", n.Name, b.to, upstream)
	}
	if impact == plan.ReadsOnly { // rolling: those below must follow again, too
		var below []string
		for _, c := range b.v.children(n.Name) {
			below = append(below, c.Name)
		}
		if len(below) > 0 && upstream != "" {
			args["below"] = strings.Join(below, " ")
		}
	}
	b.add(plan.Step{ID: n.Name + "/" + id, Kind: kindStart, Node: n.Name, Says: says, Impact: impact,
		Estimate: dur(5 * time.Second), Timeout: dur(n.StartWait + n.CatchUpWait + time.Minute), Args: args})
}

// finish adds the proof, the gate and what lies behind it.
func (b *builder) finish() {
	b.add(plan.Step{ID: "verify", Kind: plan.VerifyKind, Class: plan.ReadOnly, Timeout: dur(10 * time.Minute), Estimate: dur(3 * time.Second),
		Says: say.F("verify: releases of running processes and files, one primary, every standby follows", "验证：进程与文件的版本、唯一主库、所有备库正常跟随")})
	b.add(plan.Step{ID: plan.CommitGate, Kind: plan.GateKind, Class: plan.OneWay, Gate: &plan.Gate{OneWay: true, Costs: b.costs()},
		Says: say.F("commit: keep release %s for good", "提交：永久保留版本 %s", b.to)})
	b.beside(b.todo, func(n *seen) {
		if p, ok := b.packages[n.Name]; ok {
			b.commitStep(n, "remove-package", kindRemovePackage, say.F("remove the copied package from %s", "删除 %s 上的升级包副本", n.Name),
				map[string]string{"file": filepath.Base(p.path)})
		}
		if old := n.Installed; !b.r.KeepOld && old != b.to && old != "" {
			b.commitStep(n, "remove-release", kindRemoveRelease, say.F("remove release %s from %s", "删除 %[2]s 上的版本 %[1]s", old, n.Name),
				map[string]string{"release": old})
		}
	})
}

func (b *builder) costs() say.Text {
	if b.r.KeepOld {
		return say.F("shiplift rollback is gone; the old software stays on the nodes and can be put back by hand", "此后不能再用 shiplift rollback；旧版本软件保留在节点上，可手工切回")
	}
	return say.F("shiplift rollback is gone and release %s is removed from the nodes; going back needs its package again", "此后不能再用 shiplift rollback，节点上的版本 %s 将被删除；如需退回须重新提供其软件包", b.from)
}

func (b *builder) commitStep(n *seen, id, kind string, says say.Text, args map[string]string) {
	b.add(plan.Step{ID: n.Name + "/" + id, Kind: kind, Node: n.Name, Phase: plan.Commit, Class: plan.OneWay, Says: says, Args: args})
}
