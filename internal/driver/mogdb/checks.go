package mogdb

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// asker answers the checks from the observation, and asks the nodes for the rest.
type asker struct {
	env driver.Env
	v   *view
	r   plan.Request
	pkg *content
	err error // why the package could not be read
}

// Checks are the questions of the rules M01 to M30 that can be asked before anything changes.
func (*Driver) Checks(env driver.Env, o driver.Observation, r plan.Request) []check.Check {
	v, ok := o.Detail.(*view)
	if !ok {
		return nil
	}
	a := &asker{env: env, v: v, r: r}
	ask := func(id string, title say.Text, fn func(context.Context) ([]check.Finding, error)) check.Check {
		return check.Check{ID: id, Title: title, Ask: fn}
	}
	return []check.Check{
		ask("reachable", say.F("every node answers and its environment is complete", "每个节点可达且环境变量完整"), a.reachable),
		ask("release", say.F("every node runs and has installed a release that needs the patch", "每个节点运行且安装的版本需要该补丁"), a.release),
		ask("recorded-release", say.F("upgrade_version says what is installed", "upgrade_version 与已安装版本一致"), a.recorded),
		ask("healthy", say.F("one primary, every standby Normal and caught up", "一个主库，每个备库 Normal 且已追平"), a.healthy),
		ask("mogha", say.F("MogHA can be stopped and started", "MogHA 可以停止与启动"), a.mogha),
		ask("supervisors", say.F("nobody else starts the database", "没有其他组件会拉起数据库"), a.supervisors),
		ask("backup-names", say.F("the names for the old bin and lib are free", "旧 bin 与 lib 的备份名未被占用"), a.names),
		ask("files", say.F("the files that a swap would lose are known", "已查明替换会丢失的文件"), a.files),
		ask("owner", say.F("the software belongs to the login", "软件目录属于登录用户"), a.owner),
		ask("sync", say.F("commits do not wait for a standby that is down", "备库停机时提交不会等待"), a.sync),
		ask("upgrade-open", say.F("no upgrade of the vendor's tools is open", "没有未结束的厂商升级"), a.upgradeOpen),
		ask("environment", say.F("the profile leads to the software that is swapped", "环境变量指向将被替换的软件"), a.environment),
		ask("space", say.F("there is room for the new release", "磁盘空间足够"), a.space),
		ask("settings", say.F("the settings that a start depends on are the same on all nodes", "影响启动的参数在各节点一致"), a.settings),
		ask("package", say.F("the package is whole and fits the machines", "升级包完整且与主机匹配"), a.fits),
		ask("switch-hook", say.F("the site's program for the virtual IP is there", "漂移虚拟 IP 的程序可用"), a.hook),
		ask("leak", say.F("the defect that the patch repairs can be met here", "此集群会遇到补丁所修复的缺陷"), a.leak),
	}
}

// nodes calls fn for every node that answers and gathers what it finds.
func (a *asker) nodes(fn func(*nodeView) *check.Finding) []check.Finding {
	var out []check.Finding
	for i := range a.v.nodes {
		n := &a.v.nodes[i]
		if n.Err != nil {
			continue
		}
		if f := fn(n); f != nil {
			f.Node = n.Name
			out = append(out, *f)
		}
	}
	return out
}

func block(rule string, says, next say.Text, evidence string) *check.Finding {
	return &check.Finding{Severity: check.Block, Rule: rule, Says: says, Next: next, Evidence: evidence}
}

func warn(rule string, says, next say.Text, evidence string) *check.Finding {
	return &check.Finding{Severity: check.Warn, Rule: rule, Says: says, Next: next, Evidence: evidence}
}

func pass(says say.Text, evidence string) *check.Finding {
	return &check.Finding{Severity: check.Pass, Says: says, Evidence: evidence}
}

func one(f *check.Finding) []check.Finding {
	if f == nil {
		return nil
	}
	return []check.Finding{*f}
}

func (a *asker) reachable(context.Context) ([]check.Finding, error) {
	var out []check.Finding
	for _, n := range a.v.nodes {
		if n.Err != nil {
			f := block("M02", say.F("the node cannot be read: %v", "无法读取该节点：%v", n.Err), say.F("shiplift status", "shiplift status"), "")
			f.Node = n.Name
			out = append(out, *f)
		}
	}
	return out, nil
}

func (a *asker) release(context.Context) ([]check.Finding, error) {
	b := &builder{v: a.v, r: a.r}
	return a.nodes(func(n *nodeView) *check.Finding {
		evidence := fmt.Sprintf("running %s %s, installed %s %s", n.Running.Product, n.Running.Release, n.Installed.Product, n.Installed.Release)
		switch {
		case n.Mixed:
			return block("M26", say.F("bin and lib are of different releases", "bin 与 lib 版本不一致"), say.F("finish or undo the earlier swap by hand", "请先人工完成或撤销此前的替换"), evidence)
		case n.Installed.Product != "MogDB":
			return block("M01", say.F("the software is not MogDB but %q", "软件不是 MogDB，而是 %q", n.Installed.Product), say.F("use the driver of that product", "请使用对应产品的驱动"), evidence)
		case n.Running.Release != n.Installed.Release:
			return block("M01", say.F("%q runs and %q is installed", "运行版本为 %q，安装版本为 %q", n.Running.Release, n.Installed.Release), say.F("restart the node, or find out who changed its software", "重启该节点，或查明谁更换了软件"), evidence)
		}
		if err := b.releases(n.Running.Release); err != nil {
			return block("M01", say.Of(err), say.Text{}, evidence)
		}
		return nil
	}), nil
}

// recorded compares upgrade_version with what runs: 92.299 says that the
// catalogue is that of 2.0.1 (M27).
func (a *asker) recorded(context.Context) ([]check.Finding, error) {
	return a.nodes(func(n *nodeView) *check.Finding {
		if a.v.install != byOM {
			return nil
		}
		evidence := fmt.Sprintf("%s %s %s", n.Recorded.Name, n.Recorded.Kernel.Dotted(), n.Recorded.Commit)
		switch {
		case n.Recorded.Release == "":
			return block("M07", say.F("bin/upgrade_version is missing or broken: gs_om needs it", "bin/upgrade_version 缺失或损坏：gs_om 需要它"), say.F("put the file back from a node that has it", "请从其他节点恢复该文件"), "")
		case n.Recorded.Release != n.Installed.Release:
			return block("M27", say.F("bin/upgrade_version says %s, the programs are %s", "bin/upgrade_version 为 %s，而程序为 %s", n.Recorded.Release, n.Installed.Release),
				say.F("find out which software was put here", "请查明此处放置了哪个版本的软件"), evidence)
		case n.Installed.Release == "2.0.1" && n.Recorded.Kernel != 92299:
			return block("M27", say.F("bin/upgrade_version holds number %s, 2.0.1 has 92.299", "bin/upgrade_version 的内核号为 %s，2.0.1 应为 92.299", n.Recorded.Kernel.Dotted()),
				say.F("no vendor upgrade may be half done: look for one", "不得有未完成的厂商升级：请检查"), evidence)
		}
		if !n.Static {
			return block("M07", say.F("bin/cluster_static_config is missing: gs_om needs it", "bin/cluster_static_config 缺失：gs_om 需要它"), say.F("gs_om -t generateconf on a node that has it", "在有该文件的节点执行 gs_om -t generateconf"), "")
		}
		return nil
	}), nil
}

func (a *asker) healthy(context.Context) ([]check.Finding, error) {
	out := a.nodes(func(n *nodeView) *check.Finding {
		if n.HA.Healthy() {
			if r := n.HA.Receiver; r != nil && int64(r.Lag()) > n.conf.MaxLag {
				return block("M02", say.F("it is %d bytes behind", "落后 %d 字节", uint64(r.Lag())), say.F("wait until it has caught up", "等待其追平"), "")
			}
			if roleWord(n.HA.Role) == roleStandby && n.HA.Receiver == nil {
				return block("M02", say.F("it does not receive from the primary", "未从主库接收日志"), say.F("gs_ctl query", "gs_ctl query"), "")
			}
			return nil
		}
		next := say.F("make it healthy first", "请先使其恢复正常")
		if n.HA.State == gaussdb.StateNeedRepair {
			next = say.F("look at its log; gs_ctl build throws its copy away and copies the primary: only with the consent of whoever answers for the data [M22]",
				"查看其日志；gs_ctl build 会丢弃该副本并从主库复制：须经数据负责人同意［M22］")
		}
		return block("M02", stateText(n.Name, n.HA), next, n.HA.Detail)
	})
	out = append(out, a.onePrimary()...)
	if a.v.install == byOM && (a.v.status == nil || a.v.status.State != "Normal") && !a.v.alone() {
		state := "no answer"
		if a.v.status != nil {
			state = a.v.status.State
		}
		out = append(out, *block("M02", say.F("gs_om -t status does not say Normal: %s", "gs_om -t status 不是 Normal：%s", state), say.F("gs_om -t status --detail", "gs_om -t status --detail"), state))
	}
	return out, nil
}

// onePrimary finds that nobody or more than one node is the primary.
func (a *asker) onePrimary() (out []check.Finding) {
	primaries := 0
	for i := range a.v.nodes {
		if n := &a.v.nodes[i]; n.Err == nil && n.HA.Process == gaussdb.Running && n.HA.Primary() {
			primaries++
		}
	}
	switch {
	case primaries > 1:
		out = append(out, *block("M21", say.F("%d nodes are primary", "出现 %d 个主库", primaries), say.F("write nothing; stop the one to be demoted, start it with -M standby, then gs_om -t refreshconf", "停止写入；停止应降级的节点，以 -M standby 启动，然后 gs_om -t refreshconf"), ""))
	case primaries == 0:
		out = append(out, *block("M02", say.F("no node is the primary", "没有主库"), say.F("gs_ctl query on every node", "在每个节点执行 gs_ctl query"), ""))
	}
	return out
}

// mogha finds out whether what runs could be stopped and started again (M03).
func (a *asker) mogha(ctx context.Context) ([]check.Finding, error) {
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		if !n.MogHA.up() {
			return nil
		}
		var evidence []string
		for _, p := range n.MogHA.Procs {
			evidence = append(evidence, fmt.Sprintf("%d %s", p.PID, p.Args))
		}
		seen := strings.Join(evidence, "; ")
		if !n.MogHA.Unit && (len(n.conf.HAStop) == 0 || len(n.conf.HAStart) == 0) {
			return block("M03", say.F("MogHA runs and is no systemd unit %q", "MogHA 在运行，但不是 systemd 服务 %q", n.conf.Unit),
				say.F("set mogha (its unit) or mogha_stop and mogha_start in the inventory", "在清单中设置 mogha（服务名），或 mogha_stop 与 mogha_start"), seen)
		}
		if n.MogHA.Unit && len(n.conf.HAStop) == 0 {
			s, err := siteOf(a.env, n.Name)
			if err != nil {
				failed = err
				return nil
			}
			if _, err := s.Host.Run(ctx, host.Read(append(slices.Clone(n.conf.Sudo), "true")...)); err != nil {
				return block("M03", say.F("%q does not work without a password: MogHA could not be stopped", "%q 无法免密执行：不能停止 MogHA", strings.Join(n.conf.Sudo, " ")),
					say.F("allow it for systemctl, or set sudo in the inventory", "为 systemctl 配置免密，或在清单中设置 sudo"), err.Error())
			}
		}
		return pass(say.F("MogHA is active and will be held", "MogHA 处于活动状态，将被停止保持"), seen)
	})
	return out, failed
}

// startUnits are systemd units that are known to start the database (M04).
var startUnits = []string{"mogdb", "opengauss", "gaussdb"}

func (a *asker) supervisors(ctx context.Context) ([]check.Finding, error) {
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		if len(n.Managers) > 0 {
			return block("M04", say.F("the cluster manager runs: it would start the database in the middle of the swap", "集群管理组件 CM 在运行：它会在替换过程中拉起数据库"),
				say.F("this driver knows no clusters with CM", "本驱动不支持带 CM 的集群"), n.Managers[0].Args)
		}
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			failed = err
			return nil
		}
		for _, unit := range startUnits {
			state, err := s.text(ctx, "systemctl", "is-active", unit)
			if err == nil {
				return block("M04", say.F("unit %s is %s and would start the database again", "服务 %s 为 %s，会重新拉起数据库", unit, state), say.F("systemctl stop %s for the time of the upgrade; then start the database with gs_ctl", "升级期间 systemctl stop %s；随后用 gs_ctl 启动数据库", unit), "")
			}
		}
		res, err := s.Host.Run(ctx, host.Read("crontab", "-l"))
		if host.IsExit(err) {
			return nil // no crontab
		}
		if err != nil {
			failed = err
			return nil
		}
		for line := range strings.Lines(res.Text()) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "#") && (strings.Contains(line, "gs_ctl") || strings.Contains(line, "gs_om") || strings.Contains(line, "mogdb") || strings.Contains(line, "gaussdb")) {
				return block("M04", say.F("the crontab of the database user starts or looks after the database", "数据库用户的 crontab 会启动或看护数据库"), say.F("take the line out for the time of the upgrade: crontab -e", "升级期间注释该行：crontab -e"), line)
			}
		}
		return nil
	})
	return out, failed
}

func (a *asker) names(ctx context.Context) ([]check.Finding, error) {
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			failed = err
			return nil
		}
		for _, name := range []string{path.Join(n.App, backup("bin", n.Installed.Release)), path.Join(n.App, backup("lib", n.Installed.Release)), stageDir(n.App, a.r.To)} {
			there, err := s.exists(ctx, name)
			if err != nil {
				failed = err
				return nil
			}
			if there {
				return block("M06", say.F("%s is there already: a second swap would lose the only copy of the old software", "%s 已存在：再次替换会丢失旧软件的唯一副本", name),
					say.F("look which software lies in it, and move it away", "确认其中的软件版本并移走"), "")
			}
		}
		return nil
	})
	return out, failed
}

// thePackage reads the archive once.
func (a *asker) thePackage() (*content, error) {
	if a.pkg == nil && a.err == nil {
		var file string
		if file, _, a.err = thePackage(a.r); a.err == nil {
			a.pkg, a.err = readPackage(file)
		}
	}
	return a.pkg, a.err
}

// files tells what will be carried and what stays behind (M07, M08).
func (a *asker) files(ctx context.Context) ([]check.Finding, error) {
	pkg, err := a.thePackage()
	if err != nil {
		return nil, err
	}
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			failed = err
			return nil
		}
		var carried, left []string
		for _, part := range parts {
			old, err := s.tree(ctx, path.Join(n.App, part), false)
			if err != nil {
				failed = err
				return nil
			}
			c, l := carry(part, old, pkg.Parts[part])
			for _, name := range c {
				carried = append(carried, part+"/"+name)
			}
			for _, name := range l {
				left = append(left, part+"/"+name)
			}
		}
		evidence := "carried: " + strings.Join(carried, ", ")
		if len(left) > 0 {
			return warn("M08", say.F("%d files of the old release are not carried since the new one has its own: %s", "旧版本的 %d 个文件不随迁（新版本自带）：%s", len(left), strings.Join(left, ", ")),
				say.F("should one of them be the site's own, copy it by hand behind the swap; it stays in %s and %s", "若其中有自有文件，请在替换后手工复制；它们保留在 %s 与 %s 中", backup("bin", n.Installed.Release), backup("lib", n.Installed.Release)), evidence)
		}
		return pass(say.F("%d files that only the old bin and lib hold will be carried", "将随迁 %d 个仅旧 bin 与 lib 拥有的文件", len(carried)), evidence)
	})
	return out, failed
}

func (a *asker) owner(ctx context.Context) ([]check.Finding, error) {
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			failed = err
			return nil
		}
		for _, dir := range []string{n.App, n.conf.Data} {
			st, err := host.Stat(ctx, s.Host, dir)
			if err != nil {
				failed = err
				return nil
			}
			if st.Owner != n.Login {
				return block("M09", say.F("%s belongs to %s, the login is %s", "%s 属于 %s，登录用户为 %s", dir, st.Owner, n.Login), say.F("log in as the database user", "请以数据库用户登录"), "")
			}
		}
		alien, err := s.text(ctx, "find", n.App+"/bin", n.App+"/lib", "!", "-user", n.Login)
		if err != nil {
			failed = err
			return nil
		}
		if alien != "" {
			return block("M09", say.F("files in bin or lib do not belong to %s", "bin 或 lib 中有文件不属于 %s", n.Login), say.F("chown -R %s: on them", "对其执行 chown -R %s:", n.Login), alien)
		}
		return nil
	})
	return out, failed
}

// sync finds commits that would hang while the only standby is down (M11).
func (a *asker) sync(context.Context) ([]check.Finding, error) {
	p := a.v.primary()
	if p == nil || a.v.alone() || a.r.Mode == modeInplace {
		return nil, nil
	}
	names, available := p.Settings["synchronous_standby_names"], p.Settings["most_available_sync"]
	evidence := fmt.Sprintf("synchronous_standby_names=%q most_available_sync=%s standbys=%d", names, available, len(a.v.standbys()))
	if names == "" || available == "on" || len(a.v.standbys()) > 1 && !strings.Contains(strings.ToUpper(names), "ANY") && strings.Contains(names, "*") {
		return nil, nil
	}
	return one(block("M11", say.F("commits wait for a standby that is down: most_available_sync is off and no other standby stands in", "备库停机时提交会挂起：most_available_sync 为 off，且没有其他同步备库可替代"),
		say.F("gs_guc reload -D DATA -c \"most_available_sync=on\" on the primary for the time of the upgrade, or --mode inplace", "升级期间在主库执行 gs_guc reload -D 数据目录 -c \"most_available_sync=on\"，或使用 --mode inplace"), evidence)), nil
}

func (a *asker) upgradeOpen(ctx context.Context) ([]check.Finding, error) {
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		dir := n.Vars["PGHOST"]
		if !strings.HasPrefix(dir, "/") {
			return nil
		}
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			failed = err
			return nil
		}
		out, err := s.text(ctx, "ls", "-A", path.Join(dir, "binary_upgrade"))
		if host.IsExit(err) || out == "" {
			return nil
		}
		if err != nil {
			failed = err
			return nil
		}
		return block("M27", say.F("an upgrade of the vendor's tools is open: %s/binary_upgrade is not empty", "厂商升级尚未结束：%s/binary_upgrade 非空", dir), say.F("finish or undo it first", "请先完成或回滚它"), out)
	})
	return out, failed
}

// environment proves that the programs and libraries which the profile leads
// to, and those of the running server, are the ones that are swapped (M28).
func (a *asker) environment(ctx context.Context) ([]check.Finding, error) {
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			failed = err
			return nil
		}
		if found, err := otherTools(ctx, s, n); err != nil || found != nil {
			failed = errors.Join(failed, err)
			return found
		}
		lib := ""
		for _, d := range strings.Split(n.Vars["LD_LIBRARY_PATH"], ":") {
			if strings.HasSuffix(path.Clean(d), "/lib") && strings.HasPrefix(path.Clean(d), n.Home) || path.Clean(d) == path.Join(n.App, "lib") {
				lib = d
				break
			}
		}
		if lib == "" {
			return block("M28", say.F("LD_LIBRARY_PATH does not lead to the lib of %s", "LD_LIBRARY_PATH 未指向 %s 的 lib", n.Home), say.F("correct it in %s", "请在 %s 中更正", n.conf.Profile), n.Vars["LD_LIBRARY_PATH"])
		}
		if n.Exe != "" && path.Dir(path.Dir(n.Exe)) != n.App {
			return block("M28", say.F("the server runs from %s and not from %s", "数据库运行自 %s，而不是 %s", n.Exe, n.App), say.F("the swap would be without effect: start it from the right software first", "替换不会生效：请先从正确的软件启动"), "")
		}
		return nil
	})
	return out, failed
}

// otherTools finds a profile that leads to programs which are not swapped.
func otherTools(ctx context.Context, s *site, n *nodeView) (*check.Finding, error) {
	for _, tool := range []string{"gs_ctl", "gsql"} {
		ans, err := s.Ask(ctx, "which", tool)
		if err != nil {
			return nil, err
		}
		file, err := s.text(ctx, "readlink", "-f", strings.TrimSpace(ans.Stdout))
		if err != nil && !host.IsExit(err) {
			return nil, err
		}
		if file != path.Join(n.App, "bin", tool) {
			return block("M28", say.F("%s of the profile is %q and not the one of %s", "环境变量中的 %s 是 %q，而不是 %s 下的", tool, file, n.App), say.F("correct PATH in %s", "请更正 %s 中的 PATH", n.conf.Profile), n.Vars["PATH"]), nil
		}
	}
	return nil, nil
}

// space wants twice the new bin and lib, and the package (M29).
func (a *asker) space(ctx context.Context) ([]check.Finding, error) {
	pkg, err := a.thePackage()
	if err != nil {
		return nil, err
	}
	file, _, err := thePackage(a.r)
	if err != nil {
		return nil, err
	}
	size, err := sizeOf(file)
	if err != nil {
		return nil, err
	}
	need := 2*pkg.Unpacked + 3*size // the archive, what it unpacks to first, and the rest of the server
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			failed = err
			return nil
		}
		out, err := s.text(ctx, "df", "-Pk", n.App)
		if err != nil {
			failed = err
			return nil
		}
		free, err := freeOf(out)
		if err != nil {
			failed = err
			return nil
		}
		if free < need {
			return block("M29", say.F("%d MB are free at %s, %d MB are needed", "%[2]s 剩余 %[1]d MB，需要 %[3]d MB", free>>20, n.App, need>>20), say.F("make room", "请清理空间"), out)
		}
		return nil
	})
	return out, failed
}

// freeOf reads df -Pk.
func freeOf(out string) (int64, error) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	f := strings.Fields(lines[len(lines)-1])
	if len(lines) < 2 || len(f) < 6 {
		return 0, say.Errorf("df said %q", "df 的输出为 %q", out)
	}
	kb, err := strconv.ParseInt(f[3], 10, 53)
	if err != nil {
		return 0, say.Errorf("df said %q", "df 的输出为 %q", out)
	}
	return kb << 10, nil
}

// settings finds a standby that could not be started again (M24).
func (a *asker) settings(context.Context) ([]check.Finding, error) {
	p := a.v.primary()
	if p == nil {
		return nil, nil
	}
	return a.nodes(func(n *nodeView) *check.Finding {
		for _, name := range frozen {
			if n.Settings[name] != p.Settings[name] {
				return block("M24", say.F("%s is %q, on the primary %s it is %q: a start might fail", "%s 为 %q，主库 %s 上为 %q：启动可能失败", name, n.Settings[name], p.Name, p.Settings[name]), say.F("make them the same first", "请先改为一致"), "")
			}
		}
		return nil
	}), nil
}

// fits compares the package's name and content with the machines (M25).
func (a *asker) fits(ctx context.Context) ([]check.Finding, error) {
	pkg, err := a.thePackage()
	if err != nil {
		return one(block("M25", say.F("the package is not usable: %v", "升级包不可用：%v", err), say.F("get it again from the vendor", "请重新向厂商获取"), "")), nil //nolint:nilerr // the answer to the question
	}
	file, name, err := thePackage(a.r)
	if err != nil {
		return nil, err
	}
	if pkg.Software.Release != a.r.To || !strings.HasPrefix(pkg.Software.Name, "MogDB") {
		return one(block("M01", say.F("the package holds %s, wanted is MogDB %s", "升级包内是 %s，目标为 MogDB %s", pkg.Software.Name, a.r.To), say.F("use the package of %s", "请使用 %s 的升级包", a.r.To), file)), nil
	}
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			failed = err
			return nil
		}
		arch, err := s.text(ctx, "uname", "-m")
		if err != nil {
			failed = err
			return nil
		}
		release, err := readIfThere(ctx, s, "/etc/os-release")
		if err != nil {
			failed = err
			return nil
		}
		return fitsMachine(name, arch, string(release))
	})
	return out, failed
}

// fitsMachine compares the package's name with uname -m and /etc/os-release.
func fitsMachine(name packageName, arch, osRelease string) *check.Finding {
	same := map[string]string{"arm64": "aarch64"}
	want := name.Arch
	if w, ok := same[want]; ok {
		want = w
	}
	if arch != want {
		return block("M25", say.F("the package is for %s, the machine is %s", "升级包适用于 %s，主机为 %s", name.Arch, arch), say.F("use the package for %s", "请使用 %s 的升级包", arch), "")
	}
	conf := gaussdb.ReadConf([]byte(strings.ReplaceAll(osRelease, `"`, "'")))
	id, _ := conf.Get("ID")
	like, _ := conf.Get("ID_LIKE")
	switch {
	case strings.EqualFold(id, name.OS):
		return nil
	case slices.Contains(strings.Fields(strings.ToLower(like)), strings.ToLower(name.OS)), name.OS == "CentOS" && id == "rhel":
		return warn("M25", say.F("the package is for %s, the machine has %s, which is alike", "升级包适用于 %s，主机为与其同源的 %s", name.OS, id), say.F("the step unpack runs the new gsql before anything is stopped", "unpack 步骤会在停库之前试运行新版 gsql"), "")
	}
	return block("M25", say.F("the package is for %s, the machine has %q", "升级包适用于 %s，主机系统为 %q", name.OS, id), say.F("use the package for this system", "请使用适合该系统的升级包"), "")
}

func (a *asker) hook(ctx context.Context) ([]check.Finding, error) {
	opts, err := optionsOf(a.r)
	if err != nil || opts.Hook == "" || a.r.Mode != modeRolling {
		return nil, err
	}
	var failed error
	out := a.nodes(func(n *nodeView) *check.Finding {
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			failed = err
			return nil
		}
		if _, err := s.Host.Run(ctx, host.Read("test", "-x", opts.Hook)); err != nil {
			return block("", say.F("%s is not a program on this node", "%s 在该节点上不可执行", opts.Hook), say.F("put it on every node", "请在每个节点放置该程序"), "")
		}
		return nil
	})
	return out, failed
}

// leak says whether the defect is met at all: only with archiving on (spec/mogdb.md section 1).
func (a *asker) leak(context.Context) ([]check.Finding, error) {
	archiving := slices.ContainsFunc(a.v.nodes, func(n nodeView) bool { return n.Settings["archive_mode"] == "on" })
	if archiving && !a.v.alone() {
		return one(pass(say.F("archiving is on: the primary's walsender leaks until it is upgraded", "已开启归档：升级之前主库 walsender 会持续泄漏内存"), "")), nil
	}
	return one(warn("M20", say.F("archiving is off or there is no standby: the defect is not met here", "未开启归档或没有备库：此处不会遇到该缺陷"), say.F("the patch may wait", "补丁可以从缓"), "")), nil
}
