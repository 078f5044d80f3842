package opengauss

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// componentCM is the component that can be upgraded alone: the cluster
// manager, by vendor name upgrade-cm (spec section 7). The vendor restarts it
// on all nodes at once, checks no checksum and has a rollback that cannot work;
// here it goes node by node, the one with the primary cm_server last.
const componentCM = "cm"

const (
	kindCMCopy  = "cm-copy-package"
	kindCMSwap  = "cm-swap"
	kindCMClean = "cm-clean"

	cmSumArg     = "sum"
	cmFileArg    = "file"
	cmReleaseArg = "cm-release"
)

// cmWork is where the package lies on a node, named by its checksum.
func cmWork(s *site, sum string) string { return s.PGHost + "/shiplift_cm_" + sum[:8] }

func planCM(v *view, r plan.Request) (plan.Plan, error) {
	pkg, err := settleCM(v, r)
	if err != nil {
		return plan.Plan{}, err
	}
	nodes := cmOrder(v, r.Nodes)
	b := &builder{v: v, r: r}
	from := nodes[0].CM.Release
	for _, n := range nodes {
		from = min(from, n.CM.Release)
	}
	args := map[string]string{cmSumArg: pkg.Sum, cmFileArg: filepath.Base(pkg.Path), cmReleaseArg: pkg.Release}
	add := func(s plan.Step) {
		s.Args = map[string]string{}
		for k, v := range args {
			s.Args[k] = v
		}
		s.Needs = b.after
		if s.Phase == "" {
			s.Phase, s.Class = plan.Apply, plan.Reversible
		}
		s.Impact = plan.None
		if s.Estimate == 0 {
			s.Estimate = dur(5 * time.Second)
		}
		if s.Timeout == 0 {
			s.Timeout = dur(15 * time.Minute)
		}
		b.steps = append(b.steps, s)
		b.after = []string{s.ID}
	}
	b.beside(nodes, func(n *seen) {
		add(plan.Step{ID: n.Name + "/cm-copy", Kind: kindCMCopy, Node: n.Name,
			Says: say.F("copy the CM package to %s, check its sha256 and unpack it there", "将 CM 安装包复制到 %s，校验 sha256 并解压", n.Name)})
	})
	for _, n := range nodes {
		add(plan.Step{ID: n.Name + "/cm-swap", Kind: kindCMSwap, Node: n.Name, Estimate: dur(40 * time.Second),
			Says: say.F("back up the cluster manager of %s (%s) in $PGHOST, install %s, restart its processes, and see that the cluster is as well as before", "在 %s 上将 CM（%s）备份到 $PGHOST，安装 %s，重启其进程，并确认集群状态不差于之前", n.Name, buildName(n.CM), pkg.Release)})
	}
	b.steps = append(b.steps,
		plan.Step{ID: "verify", Kind: plan.VerifyKind, Phase: plan.Apply, Needs: b.after, Class: plan.ReadOnly, Impact: plan.None, Timeout: dur(5 * time.Minute), Says: say.F("cm_ctl -V on every node, state of the cluster", "各节点 cm_ctl -V 与集群状态")},
		plan.Step{ID: plan.CommitGate, Kind: plan.GateKind, Phase: plan.Commit, Needs: []string{"verify"}, Class: plan.OneWay, Impact: plan.None, Gate: &plan.Gate{OneWay: true,
			Costs: say.F("the automatic way back ends here; the backup archive stays in $PGHOST", "此后不能自动回退；备份包保留在 $PGHOST")}, Says: say.F("commit the cluster manager %s", "提交 CM %s", pkg.Release)})
	b.after = []string{plan.CommitGate}
	b.beside(nodes, func(n *seen) {
		add(plan.Step{ID: n.Name + "/cm-clean", Kind: kindCMClean, Node: n.Name, Phase: plan.Commit, Class: plan.OneWay,
			Says: say.F("remove the package and what was unpacked from it on %s", "删除 %s 上的安装包及解压文件", n.Name)})
	})
	remarks := []say.Text{say.F("only the cluster manager changes; the databases keep running", "只更换 CM，数据库不停止")}
	return plan.Plan{From: from, To: pkg.Release, Steps: b.steps, Remarks: remarks}, nil
}

// settleCM refuses what cannot be.
func settleCM(v *view, r plan.Request) (*gaussdb.ComponentPackage, error) {
	leaveOut := say.F("leave it out", "请去掉该选项")
	switch {
	case !v.cm():
		return nil, refuse("GAUSS-50011", "", say.F("the cluster has no cluster manager", "集群没有 CM"), say.F("shiplift status", "shiplift status"))
	case len(r.Packages) != 1:
		return nil, refuse("GAUSS-50001", "", say.F("one package of the cluster manager is needed", "需要指定一个 CM 安装包"), say.Same("--package openGauss-VERSION-cm.tar.gz"))
	case r.Candidate != "" || r.SwitchBack || r.Continue || r.KeepOld || len(r.Options) > 0:
		return nil, refuse("GAUSS-50011", "", say.F("--candidate, --switch-back, --continue, --keep-old and --option mean nothing for a component", "升级组件时 --candidate、--switch-back、--continue、--keep-old、--option 无意义"), leaveOut)
	}
	pkg, err := gaussdb.ReadComponent(r.Packages[0])
	var bad *gaussdb.PackageError
	if errors.As(err, &bad) {
		return nil, &driver.RefusalError{Code: bad.Code, Text: say.Text{EN: bad.File + ": " + bad.Text.EN, ZH: bad.File + "：" + bad.Text.In(say.Chinese)}, Next: say.F("get the package and its .sha256 again", "请重新获取安装包及其 .sha256")}
	}
	if err != nil {
		return nil, err
	}
	if r.To != "" && r.To != pkg.Release {
		return nil, refuse("GAUSS-52935", "", say.F("the package holds %s, --to says %s", "安装包为 %s，而 --to 为 %s", pkg.Release, r.To), leaveOut)
	}
	todo := cmOrder(v, r.Nodes)
	for _, n := range todo {
		if !n.Up || n.Trouble != nil || !n.HasCM || n.CMDir == "" {
			return nil, refuse("GAUSS-51100", "", say.F("%s: the cluster manager cannot be read", "%s：无法读取 CM", n.Name), say.F("shiplift check --component cm", "shiplift check --component cm"))
		}
		if len(n.Open) > 0 {
			return nil, refuse("GAUSS-52936", "", say.F("%s: an upgrade is open (%s)", "%s：存在未结束的升级（%s）", n.Name, strings.Join(n.Open, " ")), say.F("commit it or roll it back first", "请先提交或回滚"))
		}
	}
	if len(todo) == 0 {
		return nil, refuse("GAUSS-50011", "", say.F("none of the nodes is in the inventory", "清单中没有这些节点"), leaveOut)
	}
	if !slices.ContainsFunc(todo, func(n *seen) bool { return n.CM.Release != pkg.Release }) {
		return nil, &driver.NothingToDoError{Text: say.F("the cluster manager is %s everywhere", "各节点 CM 都已是 %s", pkg.Release)}
	}
	return pkg, nil
}

// cmOrder: nodes whose cm_server is a standby, or that have none, before the primary's.
func cmOrder(v *view, only []string) []*seen {
	primary := ""
	if v.Cluster != nil {
		for _, in := range v.Cluster.CMServers {
			if in.Role == "Primary" {
				primary = in.Node
			}
		}
	}
	var out []*seen
	for _, n := range v.Nodes {
		if len(only) == 0 || slices.Contains(only, n.Name) {
			out = append(out, n)
		}
	}
	slices.SortStableFunc(out, func(a, b *seen) int {
		rank := func(n *seen) int {
			if n.Name == primary {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	return out
}

// cmCopyAction lays the package down and unpacks it beside the installation.
type cmCopyAction struct{ noMemo }

func (cmCopyAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	work := cmWork(s, r.Args[cmSumArg])
	whole, err := s.exists(ctx, work+"/new")
	if err != nil {
		return half(err)
	}
	if whole {
		return driver.Applied, nil
	}
	some, err := s.exists(ctx, work)
	if err != nil || some {
		return driver.Half, err
	}
	return driver.NotApplied, nil
}

func (cmCopyAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	work := cmWork(s, r.Args[cmSumArg])
	if there, err := s.exists(ctx, work+"/new"); err != nil || there {
		return err
	}
	if err := s.change(ctx, "mkdir", "-p", "-m", "0700", work); err != nil {
		return err
	}
	file := sent{r.Args[cmFileArg], r.Args[cmSumArg]}
	if err := sendFile(ctx, t, s, t.Plan.Request.Packages[0], file, work+"/"+file.name); err != nil {
		return err
	}
	for _, argv := range [][]string{{"rm", "-rf", work + "/part"}, {"mkdir", "-m", "0700", work + "/part"}, {"tar", "-xzf", work + "/" + file.name, "-C", work + "/part"}} {
		if err := s.change(ctx, argv...); err != nil {
			return err
		}
	}
	a, err := s.Run(ctx, host.Read("env", "LD_LIBRARY_PATH="+work+"/part/lib:"+s.Home+"/lib", work+"/part/bin/cm_ctl", "-V"))
	if err != nil {
		return err
	}
	if b, err := gaussdb.ParseBanner(a.Both()); err != nil || b.Release != r.Args[cmReleaseArg] {
		return say.Errorf("%s: the package calls itself %s and its cm_ctl says %q", "%s：升级包自称 %s，其 cm_ctl 却报告 %q", s.Name, r.Args[cmReleaseArg], strings.TrimSpace(a.Both()))
	}
	return s.change(ctx, "mv", "-T", work+"/part", work+"/new")
}

func (cmCopyAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	return s.change(ctx, "rm", "-rf", cmWork(s, r.Args[cmSumArg]))
}

// cmSwapAction changes the cluster manager of one node.
type cmSwapAction struct{}

// cmMemo is what the way back needs.
type cmMemo struct {
	Archive string   `json:"archive"` // the backup in $PGHOST, named as the vendor does
	Old     []string `json:"old"`     // files that the package replaces
	New     []string `json:"new"`     // files that exist only because of it
	State   string   `json:"state"`   // of the cluster
	Servers int      `json:"servers"` // cm_servers that were well
}

func (cmSwapAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return nil, err
	}
	b, err := s.BannerOf(ctx, "cm_ctl")
	if err != nil {
		return nil, err
	}
	commit := b.Commit
	if commit == "" {
		commit = "no_version"
	}
	m := cmMemo{Archive: fmt.Sprintf("%s/upgrade_cm_backup.tar.gz-%s-%s.tar.gz", s.PGHost, commit, t.Clock.Now().UTC().Format("20060102-150405"))}
	work := cmWork(s, r.Args[cmSumArg])
	a, err := s.Host.Run(ctx, host.Read("tar", "-tzf", work+"/"+r.Args[cmFileArg]))
	if err != nil {
		return nil, err
	}
	have, err := s.filesBelow(ctx, s.OldApp)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(a.Text()) {
		name := strings.TrimPrefix(strings.TrimSpace(line), "./")
		switch {
		case name == "" || strings.HasSuffix(name, "/"):
		case have[name]:
			m.Old = append(m.Old, name)
		default:
			m.New = append(m.New, name)
		}
	}
	c, err := r.cmState(ctx, s)
	if err != nil {
		return nil, err
	}
	m.State, m.Servers = c.State, wellServers(c)
	return remember(m)
}

// filesBelow are the files in a directory, by their names relative to it.
func (s *site) filesBelow(ctx context.Context, dir string) (map[string]bool, error) {
	res, err := s.Host.Run(ctx, host.Read("find", dir, "!", "-type", "d"))
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for line := range strings.Lines(res.Text()) {
		out[strings.TrimPrefix(strings.TrimSpace(line), dir+"/")] = true
	}
	return out, nil
}

func (r *room) cmState(ctx context.Context, s *site) (gaussdb.ClusterState, error) {
	a, err := s.Ask(ctx, "cm_ctl", "query", "-Cvipd")
	if err != nil {
		return gaussdb.ClusterState{}, err
	}
	return gaussdb.ParseCluster(a.Both())
}

// wellServers counts cm_servers that are primary or standby.
func wellServers(c gaussdb.ClusterState) int {
	n := 0
	for _, in := range c.CMServers {
		if in.Role == "Primary" || in.Role == "Standby" {
			n++
		}
	}
	return n
}

// The marks of a swap that was begun and one that is whole.
func cmMarks(work string) (begun, done string) { return work + "/begun", work + "/done" }

func (cmSwapAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	begun, done := cmMarks(cmWork(s, r.Args[cmSumArg]))
	if there, err := s.exists(ctx, done); err != nil || there {
		return driver.Applied, err
	}
	if there, err := s.exists(ctx, begun); err != nil || there {
		return driver.Half, err
	}
	return driver.NotApplied, nil
}

func (cmSwapAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	var m cmMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	work := cmWork(s, r.Args[cmSumArg])
	begun, done := cmMarks(work)
	if there, err := s.exists(ctx, done); err != nil || there {
		return err
	}
	if err := s.backUpCM(ctx, work, m); err != nil {
		return err
	}
	if err := host.WriteFile(ctx, s.Host, begun, []byte(m.Archive+"\n"), 0o600); err != nil {
		return err
	}
	// What runs is replaced by another file, not written over.
	if err := s.change(ctx, "cp", "-a", "--remove-destination", "-T", work+"/new", s.OldApp); err != nil {
		return err
	}
	if err := s.mergeCMConf(ctx, work); err != nil {
		return err
	}
	if err := r.restartCM(ctx, s); err != nil {
		return err
	}
	if err := r.proveCM(ctx, s, m); err != nil {
		return err
	}
	return host.WriteFile(ctx, s.Host, done, []byte(r.Args[cmReleaseArg]+"\n"), 0o600)
}

var cmConfs = []string{"cm_agent", "cm_server"}

func (s *site) cmConf(name string) string { return s.CMDir + "/" + name + "/" + name + ".conf" }

// backUpCM keeps the files that the package replaces, and both configurations.
func (s *site) backUpCM(ctx context.Context, work string, m cmMemo) error {
	for _, name := range cmConfs {
		there, err := s.exists(ctx, s.cmConf(name))
		if err != nil {
			return err
		}
		kept, err := s.exists(ctx, work+"/"+name+".conf")
		if err != nil {
			return err
		}
		if there && !kept {
			if err := s.change(ctx, "cp", "-a", s.cmConf(name), work+"/"+name+".conf"); err != nil {
				return err
			}
		}
	}
	if there, err := s.exists(ctx, m.Archive); err != nil || there || len(m.Old) == 0 {
		return err
	}
	if err := s.change(ctx, append([]string{"tar", "-czf", m.Archive + ".part", "-C", s.OldApp}, m.Old...)...); err != nil {
		return err
	}
	return s.change(ctx, "mv", "-T", m.Archive+".part", m.Archive)
}

// mergeCMConf takes the new sample and puts every old key in: new parameters
// come with their defaults, none of the operator's own is lost.
func (s *site) mergeCMConf(ctx context.Context, work string) error {
	for _, name := range cmConfs {
		old, err := s.readIf(ctx, work+"/"+name+".conf")
		if err != nil || old == nil {
			if err != nil {
				return err
			}
			continue
		}
		sample, err := s.readIf(ctx, s.OldApp+"/share/config/"+name+".conf.sample")
		if err != nil || sample == nil {
			if err != nil {
				return err
			}
			continue
		}
		was := gaussdb.ReadConf(old)
		merged := gaussdb.ReadConf(old)
		for _, key := range gaussdb.ReadConf(sample).Names() {
			if _, set := was.Get(key); !set {
				v, _ := gaussdb.ReadConf(sample).Get(key)
				merged = merged.Set(key, v)
			}
		}
		if err := host.WriteFile(ctx, s.Host, s.cmConf(name), merged.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// restartCM ends the processes of the node by pid, one kind after another, and
// waits for each to be back from the files that lie there now.
func (r *room) restartCM(ctx context.Context, s *site) error {
	stopped, err := s.exists(ctx, s.OldApp+"/bin/cluster_manual_start")
	if err != nil {
		return err
	}
	procs, err := s.cmProcs(ctx)
	if err != nil {
		return err
	}
	for _, name := range cmPrograms {
		ran := false
		for _, p := range procs {
			if p.name == name {
				ran = true
				if err := s.change(ctx, "kill", "-9", p.pid); err != nil && !host.IsExit(err) {
					return err
				}
			}
		}
		if !ran || stopped && name != "om_monitor" {
			continue
		}
		if err := r.cmRenewed(ctx, s, name, procs); err != nil {
			return err
		}
	}
	return nil
}

func (r *room) cmRenewed(ctx context.Context, s *site, name string, old []cmProc) error {
	spec := wait.Spec{What: say.F("%s runs again on %s", "%[2]s 上的 %[1]s 已重新运行", name, s.Name), Node: s.Name, Deadline: 3 * time.Minute, Every: time.Second, Next: "shiplift resume"}
	return wait.For(ctx, r.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		now, err := s.cmProcs(ctx)
		if err != nil {
			return wait.Look{}, err
		}
		for _, p := range now {
			if p.name == name && !slices.ContainsFunc(old, func(o cmProc) bool { return o.pid == p.pid }) {
				return wait.Look{Done: true}, nil
			}
		}
		return wait.Look{Says: say.F("not yet", "尚未运行")}, nil
	})
}

// proveCM asks three times in a row, two seconds apart, and wants the cluster
// at least as well as it was: Degraded after Normal is not enough.
func (r *room) proveCM(ctx context.Context, s *site, m cmMemo) error {
	good := 0
	spec := wait.Spec{What: say.F("the cluster is at least as well as before (%s)", "集群状态不差于之前（%s）", m.State), Deadline: 3 * time.Minute, Every: 2 * time.Second, Next: "cm_ctl query -Cvipd"}
	return wait.For(ctx, r.Clock, spec, report(r.Target), func(ctx context.Context) (wait.Look, error) {
		c, err := r.cmState(ctx, s)
		if err != nil {
			return wait.Look{Says: say.Same(err.Error())}, nil //nolint:nilerr // cm_ctl gives no answer while cm_server changes
		}
		if clusterRank(c.State) <= clusterRank(m.State) && wellServers(c) >= m.Servers && !c.NoCMServer {
			good++
		} else {
			good = 0
		}
		return wait.Look{Done: good >= 3, Says: say.F("cluster %s, %d cm_servers", "集群 %s，cm_server %d 个", c.State, wellServers(c))}, nil
	})
}

// clusterRank orders states of a cluster, best first (spec section 9).
func clusterRank(state string) int {
	order := []string{"Normal", "NormalCNDeleted", "Degraded", "Redistributing", "Starting", "Unavailable"}
	if i := slices.Index(order, state); i >= 0 {
		return i
	}
	return len(order)
}

// Undo puts the old files back, takes the new ones away, gives both
// configurations back and restarts. The vendor's rollback cannot work in any
// release (spec section 7).
func (cmSwapAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	var m cmMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	work := cmWork(s, r.Args[cmSumArg])
	begun, done := cmMarks(work)
	started, err := s.exists(ctx, begun)
	if err != nil {
		return err
	}
	if !started {
		return s.change(ctx, "rm", "-f", m.Archive, m.Archive+".part")
	}
	if err := s.change(ctx, "rm", "-f", done); err != nil {
		return err
	}
	for _, argv := range append(s.cmBackSteps(m, work), [][]string{{"cp", "-a", "--remove-destination", "-T", work + "/old", s.OldApp}, {"rm", "-rf", work + "/old"}}...) {
		if err := s.change(ctx, argv...); err != nil {
			return err
		}
	}
	for _, name := range m.New {
		if err := s.change(ctx, "rm", "-f", s.OldApp+"/"+name); err != nil {
			return err
		}
	}
	if err := s.cmConfsBack(ctx, work); err != nil {
		return err
	}
	if err := r.restartCM(ctx, s); err != nil {
		return err
	}
	if err := r.proveCM(ctx, s, m); err != nil {
		return err
	}
	return s.change(ctx, "rm", "-f", begun, m.Archive)
}

// cmConfsBack gives the configurations back that were kept.
func (s *site) cmConfsBack(ctx context.Context, work string) error {
	for _, name := range cmConfs {
		there, err := s.exists(ctx, work+"/"+name+".conf")
		if err == nil && there {
			err = s.change(ctx, "cp", "-a", work+"/"+name+".conf", s.cmConf(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cmBackSteps unpack the backup beside the installation.
func (s *site) cmBackSteps(m cmMemo, work string) [][]string {
	return [][]string{{"rm", "-rf", work + "/old"}, {"mkdir", "-m", "0700", work + "/old"}, {"tar", "-xzpf", m.Archive, "-C", work + "/old"}}
}

// cmCleanAction removes what the upgrade needed; the backup archive stays.
type cmCleanAction struct{ forward }

func (cmCleanAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	there, err := s.exists(ctx, cmWork(s, r.Args[cmSumArg]))
	if err != nil {
		return half(err)
	}
	if there {
		return driver.NotApplied, nil
	}
	return driver.Applied, nil
}

func (cmCleanAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	return s.change(ctx, "rm", "-rf", cmWork(s, r.Args[cmSumArg]))
}

// verifyCM reads cm_ctl -V on every node, what runs, and the cluster's state.
func verifyCM(ctx context.Context, env driver.Env, p *plan.Plan) ([]check.Finding, error) {
	o, err := New().Observe(ctx, env)
	if err != nil {
		return nil, err
	}
	v := o.Detail.(*view)
	var fs []check.Finding
	for _, n := range v.Nodes {
		if len(p.Request.Nodes) > 0 && !slices.Contains(p.Request.Nodes, n.Name) {
			continue
		}
		if n.CM.Release != p.To {
			fs = append(fs, finding("verify-cm", check.Block, n.Name, say.F("cm_ctl says %q, expected %s", "cm_ctl 为 %q，应为 %s", buildName(n.CM), p.To), ""))
		}
		procs, err := n.cmProcs(ctx)
		if err != nil {
			return nil, err
		}
		for _, pr := range procs {
			if pr.stale {
				fs = append(fs, finding("verify-cm", check.Block, n.Name, say.F("%s still runs the program from before", "%s 仍在运行旧程序", pr.name), pr.exe))
			}
		}
		if was := p.Before[n.Name]; healthRank(n.health()) > healthRank(was.Health) {
			fs = append(fs, finding("verify-health", check.Block, n.Name, say.F("it was %s and is %s now", "此前为 %s，现在为 %s", was.Health, n.health()), n.HA.Detail))
		}
	}
	switch {
	case v.Cluster == nil || v.Cluster.NoCMServer:
		fs = append(fs, finding("verify-cm", check.Block, "", say.F("cm_ctl gives no answer", "cm_ctl 无应答"), v.OMWhy))
	case v.Cluster.State != "Normal":
		fs = append(fs, finding("verify-cluster", check.Warn, "", say.F("the cluster calls itself %s", "集群状态为 %s", v.Cluster.State), ""))
	}
	return fs, nil
}

// cmChecks are the questions before an upgrade of the cluster manager.
func (a *asker) cmChecks() []check.Check {
	return []check.Check{
		ask("nodes", "every node answers, its environment is whole, the login is the cluster user", "所有节点可达，环境变量完整，登录用户为集群用户", a.nodes),
		ask("trust", "every node reaches every other one without a password", "各节点之间已建立互信", a.trust),
		ask("cm-installed", "every node has a cluster manager and its configuration is found", "各节点都有 CM 且能找到其配置", a.cmInstalled),
		ask("cm-package", "the package is whole: owner, rights, sha256, content", "安装包完整：属主、权限、sha256、内容", a.cmPackage),
		ask("open-upgrade", "no other upgrade is open", "没有未结束的升级", a.openUpgrade),
		ask("expansion", "no expansion or removal of nodes is running", "没有正在进行的扩容或缩容", a.expansion),
		ask("cluster-state", "the cluster is Normal and not redistributing", "集群状态 Normal 且未在重分布", a.clusterState),
		ask("cm-paused", "the cluster manager is not paused", "CM 未暂停", a.cmPaused),
		ask("cm-versions", "the cluster manager is the same on every node", "各节点 CM 版本一致", a.cmDiffers),
		ask("disk-use", "disks are filled to less than 80 %", "磁盘使用率低于 80%", a.diskUse),
	}
}

// cmDiffers warns only: to bring a node into line is what the upgrade is for.
func (a *asker) cmDiffers(ctx context.Context) ([]check.Finding, error) {
	fs, err := a.cmVersions(ctx)
	for i := range fs {
		fs[i].Severity = check.Warn
	}
	return fs, err
}

func (a *asker) cmInstalled(context.Context) ([]check.Finding, error) {
	var fs []check.Finding
	for _, n := range a.readable() {
		if !n.HasCM || n.CMDir == "" {
			fs = append(fs, block(n.Name, "GAUSS-50201", say.F("there is no cluster manager, or its directory is not known", "没有 CM，或不知道其目录"), n.App+"/bin/cm_ctl", say.F("set cm_dir in the inventory", "请在清单中设置 cm_dir")))
		}
	}
	return fs, nil
}

func (a *asker) cmPackage(context.Context) ([]check.Finding, error) {
	_, err := settleCM(a.v, a.r)
	var no *driver.RefusalError
	var nothing *driver.NothingToDoError
	switch {
	case errors.As(err, &no):
		return []check.Finding{block("", no.Code, no.Text, "", no.Next)}, nil
	case errors.As(err, &nothing):
		return []check.Finding{block("", "GAUSS-52901", nothing.Text, "", cmd("cm_ctl -V"))}, nil
	}
	return nil, err
}
