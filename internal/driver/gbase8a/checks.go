package gbase8a

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// checker asks a cluster before the run.
type checker struct {
	*site
	v *view
	r plan.Request
}

func found(sev check.Severity, node, rule string, says say.Text, evidence string, next say.Text) check.Finding {
	return check.Finding{Severity: sev, Node: node, Rule: rule, Says: says, Evidence: evidence, Next: next}
}

// Checks are the questions of runbook steps U0 to U5 and F1, F2.
func (d Driver) Checks(env driver.Env, o driver.Observation, r plan.Request) []check.Check {
	v, _ := o.Detail.(*view)
	s, err := siteOf(driver.Target{Env: env, Plan: &plan.Plan{Request: r, Facts: o.Facts}})
	if v == nil || err != nil {
		return []check.Check{{ID: "gbase8a-request", Title: say.F("the request can be understood", "请求可以理解"), Ask: func(context.Context) ([]check.Finding, error) {
			return nil, errors.Join(err, say.Errorf("no observation of this driver", "没有该驱动的观察结果"))
		}}}
	}
	c := &checker{s, v, r}
	checks := []check.Check{
		{ID: "gbase8a-nodes", Title: say.F("every node answers to the database's user", "每个节点都能以数据库用户登录"), Ask: c.askNodes},
		{ID: "gbase8a-members", Title: say.F("inventory and gcadmin name the same nodes", "清单与 gcadmin 中的节点一致"), Ask: c.askMembers},
		{ID: "gbase8a-release", Title: say.F("every node has the same release", "所有节点版本一致"), Ask: c.askRelease},
		{ID: "gbase8a-state", Title: say.F("state ACTIVE, mode NORMAL, everything OPEN, data consistent", "状态 ACTIVE、模式 NORMAL、全部 OPEN、数据一致"), Ask: c.askState},
		{ID: "gbase8a-events", Title: say.F("no DDL, DML or storage event", "没有 DDL、DML、存储事件"), Ask: c.askEvents},
		{ID: "gbase8a-quiet", Title: say.F("no user lock, failover or running statement", "没有用户锁、failover 与正在执行的语句"), Ask: c.askQuiet},
		{ID: "gbase8a-lock", Title: say.F("no other operator works on the cluster", "没有其他操作者正在操作集群"), Ask: c.askLock},
		{ID: "gbase8a-clock", Title: say.F("the nodes' clocks agree", "各节点时钟一致"), Ask: c.askClock},
	}
	if c.flushes() {
		checks = append(checks,
			check.Check{ID: "gbase8a-snapshots", Title: say.F("every gcware node has a whole snapshot and none in progress", "每个 gcware 节点都有完整快照且没有进行中的快照"), Ask: c.askSnapshots},
			check.Check{ID: "gbase8a-python", Title: say.F("a coordinator's python has the gcware module", "协调节点的 python 能导入 gcware 模块"), Ask: c.askPython})
	}
	if r.Component == "" {
		checks = append(checks,
			check.Check{ID: "gbase8a-package", Title: say.F("the package fits release, system and machine", "升级包与版本、系统、架构相符"), Ask: c.askPackage},
			check.Check{ID: "gbase8a-writable", Title: say.F("the database's user may write the install prefix", "数据库用户对安装目录有写权限"), Ask: c.askPrefix},
			check.Check{ID: "gbase8a-room", Title: say.F("there is room for the installer's backup", "安装程序的备份空间充足"), Ask: c.askRoom},
			check.Check{ID: "gbase8a-shell", Title: say.F("a login shell prints nothing by itself", "登录 shell 不会额外输出内容"), Ask: c.askShell},
			check.Check{ID: "gbase8a-way-back", Title: say.F("the vendor has a way back", "厂商提供回退途径"), Ask: c.askWayBack})
	}
	return checks
}

func (c *checker) flushes() bool {
	return c.r.Component == Component || c.r.Component == "" && c.opts.wantsFlush(c.v.release())
}

// release is the release of the first node that could be read.
func (v *view) release() string {
	for _, n := range v.nodes {
		if n.installed != "" {
			return n.installed
		}
	}
	return ""
}

func (c *checker) askNodes(context.Context) ([]check.Finding, error) {
	var out []check.Finding
	for _, n := range c.v.nodes {
		switch user := c.conf(n.Name).DBAUser; {
		case n.err != nil:
			out = append(out, found(check.Block, n.Name, "U0", say.F("it does not answer or its programs cannot be found", "没有应答，或找不到其程序"), say.Of(n.err).EN,
				say.F("look at ssh and the profile of %s", "请检查 %s 的 ssh 与环境配置文件", n.Name)))
		case n.login != user:
			out = append(out, found(check.Block, n.Name, "G22", say.F("the login is %s; gcadmin and the installer run as %s only", "登录用户为 %s；gcadmin 与安装程序只能由 %s 执行", n.login, user), "id -un: "+n.login,
				say.F("set ssh.user to %s in the inventory", "在清单中将 ssh.user 设为 %s", user)))
		case n.Root == "":
			out = append(out, found(check.Block, n.Name, "F1", say.F("no GBase 8a programs on the profile's PATH", "环境配置文件的 PATH 中没有 GBase 8a 程序"), strings.Join(c.conf(n.Name).Profiles, " "),
				say.F("set %s to the profile of this instance", "将 %s 设为该实例的环境配置文件", keyProfile)))
		}
	}
	return out, nil
}

func (c *checker) needStatus() error {
	if c.v.status == nil {
		if c.v.err == nil {
			return say.Errorf("gcadmin was not asked", "尚未执行 gcadmin")
		}
		return c.v.err
	}
	return nil
}

func (c *checker) askMembers(context.Context) ([]check.Finding, error) {
	if err := c.needStatus(); err != nil {
		return nil, err
	}
	var out []check.Finding
	for _, ip := range c.v.addresses() {
		if !slices.ContainsFunc(c.v.nodes, func(n nodeView) bool { return n.IP == ip }) {
			out = append(out, found(check.Block, "", "G21", say.F("gcadmin shows %s, the inventory does not have it", "gcadmin 中有 %s，清单中没有", ip), "",
				say.F("add the node with address %s to the inventory", "请在清单中加入地址为 %s 的节点", ip)))
		}
	}
	for _, n := range c.v.nodes {
		if len(n.rows) == 0 {
			out = append(out, found(check.Block, n.Name, "G21", say.F("gcadmin does not show its address %s", "gcadmin 中没有其地址 %s", n.IP), "",
				say.F("correct the address, or take the node out of the inventory", "请更正地址，或从清单中移除该节点")))
		}
	}
	return out, nil
}

// addresses are all that gcadmin shows.
func (v *view) addresses() []string {
	var ips []string
	add := func(rows []Row) {
		for _, r := range rows {
			ips = append(ips, r.IP)
		}
	}
	add(v.status.Coordinators)
	add(v.status.Gcware)
	add(v.status.Free)
	for _, vc := range v.names {
		add(v.vcs[vc].Data)
	}
	slices.Sort(ips)
	return slices.Compact(ips)
}

func (c *checker) askRelease(context.Context) ([]check.Finding, error) {
	first := c.v.release()
	var out []check.Finding
	for _, n := range c.v.nodes {
		if n.err == nil && n.installed != first {
			out = append(out, found(check.Block, n.Name, "G32", say.F("it has release %q, another node has %q", "其版本为 %q，另有节点为 %q", n.installed, first), n.installed,
				say.F("mixed releases need the vendor", "版本混杂时请联系厂商")))
		}
	}
	return out, nil
}

func (c *checker) askState(context.Context) ([]check.Finding, error) {
	if err := c.needStatus(); err != nil {
		return nil, err
	}
	return c.v.unhealthy("NORMAL", "G19"), nil
}

// unhealthy names everything that is not as a healthy cluster has it.
func (v *view) unhealthy(mode, rule string) []check.Finding {
	var out []check.Finding
	next := say.F("gcadmin", "gcadmin")
	add := func(node string, says say.Text) {
		out = append(out, found(check.Block, node, rule, says, "", next))
	}
	for _, vc := range v.names {
		st := v.vcs[vc]
		if st.State != "ACTIVE" {
			add("", say.F("cluster state %s, not ACTIVE", "集群状态为 %s，而非 ACTIVE", st.State))
		}
		if st.Mode != mode {
			add("", say.F("mode of %s is %s, not %s", "%s 的模式为 %s，而非 %s", vcName(vc), st.Mode, mode))
		}
		if len(st.Data) == 0 {
			add("", say.F("%s has no data node: the cluster is not initialised, or its license is missing", "%s 没有数据节点：集群未初始化或缺少授权", vcName(vc)))
		}
		for _, r := range st.Data {
			if r.Distribution == "" || r.Distribution == "0" {
				add("", say.F("%s has no distribution", "%s 没有分布信息", r.Name))
			}
		}
	}
	for i := range v.nodes {
		n := &v.nodes[i]
		if h := v.health(n); h != healthOpen {
			add(n.Name, say.F("not healthy: %s (%s)", "不健康：%s（%s）", h, cells(n.rows)))
		}
	}
	return out
}

func vcName(vc string) string {
	if vc == "" {
		return "the cluster"
	}
	return vc
}

// cells shows what is not OPEN or not consistent.
func cells(rows []Row) string {
	var bad []string
	for _, r := range rows {
		for _, c := range [][2]string{{"gcware", r.Gcware}, {"gcluster", r.Gcluster}, {"gnode", r.Gnode}, {"syncserver", r.Syncserver}} {
			if c[1] != "" && c[1] != Open {
				bad = append(bad, r.Name+" "+c[0]+" "+c[1])
			}
		}
		if r.DataState != "" && r.DataState != "0" {
			bad = append(bad, r.Name+" DataState "+r.DataState)
		}
	}
	return strings.Join(bad, ", ")
}

// eventKinds are the three event commands (G18).
var eventKinds = []string{"showddlevent", "showdmlevent", "showdmlstorageevent"}

func (c *checker) askEvents(ctx context.Context) ([]check.Finding, error) {
	if err := c.needStatus(); err != nil {
		return nil, err
	}
	return c.events(ctx)
}

// events counts the events of every virtual cluster.
func (s *site) events(ctx context.Context) ([]check.Finding, error) {
	var out []check.Finding
	for _, vc := range s.VCs {
		for _, kind := range eventKinds {
			text, _, err := s.anyGcadmin(ctx, append([]string{kind}, vcArgs(vc)...)...)
			if err != nil {
				return nil, err
			}
			n, err := ParseEventCount(text)
			if err != nil {
				return nil, say.Errorf("gcadmin %s: %w", "gcadmin %s：%w", kind, err)
			}
			if n > 0 {
				out = append(out, found(check.Block, "", "G18", say.F("gcadmin %s of %s counts %d", "gcadmin %s（%s）计数为 %d", kind, vcName(vc), n), clip(text),
					say.F("let the cluster recover, then ask again: gcadmin %s", "等待集群恢复后再次查询：gcadmin %s", kind)))
			}
		}
	}
	return out, nil
}

func (c *checker) askQuiet(ctx context.Context) ([]check.Finding, error) {
	if err := c.needStatus(); err != nil {
		return nil, err
	}
	busy, err := c.busy(ctx)
	if err != nil {
		return nil, err
	}
	for i := range busy {
		busy[i].Severity = check.Warn // the run waits for quiet itself, right before the stop
	}
	if c.conf(c.v.statusBy).DBUser == "" {
		busy = append(busy, found(check.Warn, "", "G20", say.F("running statements cannot be seen: no %s is set", "未设置 %s，无法查看正在执行的语句", keyDBUser), "",
			say.F("set %s and %s_file", "设置 %s 与 %s_file", keyDBUser, secretDB)))
	}
	return busy, nil
}

var failoverNone = regexp.MustCompile(`(?im)^\s*total\s*:\s*0\s*$|no failover`)

// busy names locks on user objects, failover entries and running statements (G20).
func (s *site) busy(ctx context.Context) ([]check.Finding, error) {
	var out []check.Finding
	add := func(says say.Text, evidence string) {
		out = append(out, found(check.Block, "", "G20", says, evidence, say.F("stop the business, then ask again", "停止业务后再次查询")))
	}
	text, node, err := s.anyGcadmin(ctx, "showlock")
	if err != nil {
		return nil, err
	}
	locks, err := ParseLocks(text)
	if err != nil {
		return nil, err
	}
	for _, l := range locks {
		if !l.permanent() {
			add(say.F("lock %s is held by %s", "锁 %s 由 %s 持有", l.Name, l.Owner), l.Content)
		}
	}
	if text, err = s.gcadmin(ctx, node, "showfailover"); err != nil {
		return nil, err
	}
	// An empty answer and one that counts none are both none; its table's layout is not known [A].
	if strings.TrimSpace(text) != "" && !failoverNone.MatchString(text) {
		add(say.F("gcadmin showfailover is not empty", "gcadmin showfailover 不为空"), clip(text))
	}
	if s.conf(node).DBUser == "" {
		return out, nil
	}
	text, err = s.sql(ctx, node, "show processlist")
	if err != nil {
		return nil, err
	}
	for _, st := range statements(text) {
		add(say.F("a statement runs: %s", "有语句正在执行：%s", st), st)
	}
	return out, nil
}

// statements are the running ones in "show processlist": rows of command Query but our own.
func statements(out string) []string {
	var found []string
	for _, line := range splitLines(out) {
		f := strings.Split(line, "\t")
		if len(f) < 8 || f[4] != "Query" || strings.EqualFold(f[7], "show processlist") {
			continue
		}
		found = append(found, f[7])
	}
	return found
}

func (c *checker) askLock(ctx context.Context) ([]check.Finding, error) {
	for _, n := range c.v.nodes {
		if !n.Coor || n.err != nil {
			continue
		}
		owner, err := readLock(ctx, c.site, n.Name)
		if err != nil {
			return nil, err
		}
		if owner != "" {
			return []check.Finding{found(check.Block, n.Name, "G31", say.F("another operator holds the cluster: %s", "另一操作者正持有该集群：%s", owner), c.conf(n.Name).LockFile,
				say.F("ask them; when nobody works any more, remove the file %s on %s", "请与其确认；若确已无人操作，删除 %[2]s 上的文件 %[1]s", c.conf(n.Name).LockFile, n.Name))}, nil
		}
	}
	return nil, nil
}

// maxSkew is how far the nodes' clocks may be apart.
const maxSkew = 60 * time.Second

func (c *checker) askClock(ctx context.Context) ([]check.Finding, error) {
	var low, high int64
	var lowAt, highAt string
	for _, n := range c.v.nodes {
		if n.err != nil {
			continue
		}
		res, err := c.Hosts[n.Name].Run(ctx, host.Read("date", "+%s"))
		if err != nil {
			return nil, err
		}
		at, err := strconv.ParseInt(res.Text(), 10, 64)
		if err != nil {
			return nil, say.Errorf("%s: date says %q", "%s：date 的输出为 %q", n.Name, res.Text())
		}
		if low == 0 || at < low {
			low, lowAt = at, n.Name
		}
		if at > high {
			high, highAt = at, n.Name
		}
	}
	if skew := time.Duration(high-low) * time.Second; skew > maxSkew {
		return []check.Finding{found(check.Warn, highAt, "U0", say.F("its clock is %s ahead of %s", "其时钟比 %[2]s 快 %[1]s", skew, lowAt), "",
			say.F("set the clocks", "请校准时钟"))}, nil
	}
	return nil, nil
}

// crashAge is how old a ".s" must be to count as left by a crash.
const crashAge = 10 * time.Minute

func (c *checker) askSnapshots(ctx context.Context) ([]check.Finding, error) {
	dirs, err := c.allSnapshots(ctx)
	if err != nil {
		return nil, err
	}
	var out []check.Finding
	for _, m := range c.gcware() {
		d := dirs[m.Name]
		if _, ok := d.Newest(); !ok {
			out = append(out, found(check.Warn, m.Name, "F2", say.F("it has no whole snapshot", "没有完整快照"), SnapshotPath(m.gcwareBase()), say.Text{}))
		}
		if len(d.Running) > 0 {
			age := c.Clock.Now().Sub(time.Unix(int64(d.Changed), 0))
			f := found(check.Block, m.Name, "G11", say.F("a snapshot is being written: %s.s", "正在写快照：%s.s", d.Running[0]), "", say.F("wait until it has ended", "请等待其结束"))
			if age > crashAge {
				f = found(check.Warn, m.Name, "G16", say.F("%s.s is %s old: left by a crash; the next flush clears it, never remove it by hand", "%s.s 已存在 %s：为崩溃所遗留，下一次刷写会清除，切勿手工删除", d.Running[0], age.Round(time.Minute)), "", say.Text{})
			}
			out = append(out, f)
		}
		if len(d.Unknown) > 0 {
			out = append(out, found(check.Warn, m.Name, "G01", say.F("unknown entries in the snapshot directory: %s", "快照目录中有未知条目：%s", strings.Join(d.Unknown, ", ")), "", say.Text{}))
		}
	}
	return out, nil
}

func (c *checker) askPython(context.Context) ([]check.Finding, error) {
	var without []string
	for _, n := range c.v.nodes {
		if n.Coor && n.err == nil && n.Python == "" {
			without = append(without, n.Name)
		}
	}
	next := say.F("alternatives --set python /usr/bin/python2, or set %s in the inventory", "alternatives --set python /usr/bin/python2，或在清单中设置 %s", keyPython)
	switch all := c.coordinators(); {
	case len(without) == 0:
		return nil, nil
	case len(without) == len(all):
		return []check.Finding{found(check.Block, "", "G27", say.F("no coordinator has a python that imports gcware", "没有协调节点的 python 能导入 gcware"), "", next)}, nil
	}
	return []check.Finding{found(check.Warn, "", "G27", say.F("no python that imports gcware on %s", "%s 上没有能导入 gcware 的 python", strings.Join(without, ", ")), "", next)}, nil
}

func (c *checker) askPackage(ctx context.Context) ([]check.Finding, error) {
	file, name, err := thePackage(c.r)
	if err != nil {
		return []check.Finding{found(check.Block, "", "U5", say.Of(err), "", say.Text{})}, nil
	}
	var out []check.Finding
	for _, n := range c.v.nodes {
		if n.err != nil {
			continue
		}
		res, err := c.Hosts[n.Name].Run(ctx, host.Read("cat", "/etc/os-release"))
		if err != nil {
			return nil, err
		}
		if system := osOf(string(res.Stdout)); !osFits(name.OS, system) {
			out = append(out, found(check.Block, n.Name, "G26", say.F("the package is for %s, the system is %s", "升级包适用于 %s，而系统为 %s", name.OS, system), path.Base(file),
				say.F("get the package for %s", "请获取适用于 %s 的升级包", system)))
		}
		if res, err = c.Hosts[n.Name].Run(ctx, host.Read("uname", "-m")); err != nil {
			return nil, err
		}
		if res.Text() != name.Arch {
			out = append(out, found(check.Block, n.Name, "G26", say.F("the package is for %s, the machine is %s", "升级包适用于 %s，而机器为 %s", name.Arch, res.Text()), path.Base(file), say.Text{}))
		}
	}
	return out, nil
}

// osOf is the system in the words of package names: "redhat7", "kylin10".
func osOf(release string) string {
	val := map[string]string{}
	for _, l := range splitLines(release) {
		k, v, _ := strings.Cut(l, "=")
		val[k] = unquote(v)
	}
	id := val["ID"]
	if slices.Contains([]string{"centos", "rhel", "redhat", "rocky", "almalinux", "ol"}, id) {
		id = "redhat"
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(val["VERSION_ID"]), "v"), ".")
	return id + major
}

func osFits(pkg, system string) bool { return pkg == system }

func (c *checker) askPrefix(ctx context.Context) ([]check.Finding, error) {
	var out []check.Finding
	for _, n := range c.v.nodes {
		if n.err != nil || n.Root == "" {
			continue
		}
		dir := prefixOf(c.v.gen, n.Root)
		_, err := c.Hosts[n.Name].Run(ctx, host.Read("test", "-w", dir))
		if host.IsExit(err, 1) {
			out = append(out, found(check.Block, n.Name, "G25", say.F("%s may not write %s", "%s 对 %s 没有写权限", c.conf(n.Name).DBAUser, dir), "",
				say.F("chown %s %s", "chown %s %s", c.conf(n.Name).DBAUser, dir)))
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// prefixOf is installPrefix in demo.options.
func prefixOf(gen Generation, root string) string {
	if gen == V953 {
		return path.Dir(root) // <prefix>/<ip>
	}
	return root
}

func (c *checker) askRoom(ctx context.Context) ([]check.Finding, error) {
	x := c.v.executor()
	cf := c.conf(x)
	res, err := c.Hosts[x].Run(ctx, host.Read("df", "-P", "-k", cf.BackupDir))
	if err != nil {
		return nil, err
	}
	lines := splitLines(string(res.Stdout))
	f := strings.Fields(lines[len(lines)-1])
	if len(f) < 4 {
		return nil, say.Errorf("%s: df says %q", "%s：df 的输出为 %q", x, clip(string(res.Stdout)))
	}
	free, err := strconv.ParseInt(f[3], 10, 64)
	if err != nil {
		return nil, say.Errorf("%s: df says %q", "%s：df 的输出为 %q", x, clip(string(res.Stdout)))
	}
	if free<<10 < cf.BackupRoom {
		return []check.Finding{found(check.Block, x, "G24", say.F("%s has %d MB free, %d are wanted", "%s 剩余 %d MB，需要 %d MB", cf.BackupDir, free>>10, cf.BackupRoom>>20), "",
			say.F("make room, or set %s or %s", "请腾出空间，或设置 %s 或 %s", keyBackupDir, keyBackupRoom))}, nil
	}
	return nil, nil
}

// executor is the coordinator that runs the installer and holds the lock: the
// first one in the inventory that answers.
func (v *view) executor() string {
	for _, n := range v.nodes {
		if n.Coor && n.err == nil {
			return n.Name
		}
	}
	return ""
}

func (c *checker) askShell(ctx context.Context) ([]check.Finding, error) {
	var out []check.Finding
	for _, n := range c.v.nodes {
		if n.err != nil {
			continue
		}
		res, err := c.Hosts[n.Name].Run(ctx, host.Read("bash", "-lc", "true"))
		if err != nil {
			return nil, err
		}
		if len(res.Stdout) > 0 {
			out = append(out, found(check.Block, n.Name, "P24", say.F("a login shell prints text of its own, which breaks the installer", "登录 shell 会输出额外内容，将导致安装程序出错"), fmt.Sprintf("%q", clip(string(res.Stdout))),
				say.F("make the start files of the shell silent when they are not used by a person", "请使 shell 启动文件在非交互时不输出内容")))
		}
	}
	return out, nil
}

func (c *checker) askWayBack(context.Context) ([]check.Finding, error) {
	if from := c.v.release(); !CanRestore(c.r.To, from) {
		return []check.Finding{found(check.Warn, "", "G33", say.F("Restore.py does not lead from %s back to %s", "Restore.py 不支持从 %s 回退到 %s", c.r.To, from), "",
			say.F("the plan has a one-way gate before the installer", "计划在安装程序之前设有单向关口"))}, nil
	}
	return nil, nil
}
