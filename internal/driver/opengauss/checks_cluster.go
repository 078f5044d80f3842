package opengauss

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/cluster/ogxml"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// xml reads the cluster file: here, or on the first node where it lies there.
func (a *asker) xml(ctx context.Context) (*ogxml.Deployment, string, error) {
	name := a.env.Inventory.Settings["xml"]
	if name == "" && len(a.env.Inventory.Nodes) > 0 {
		name = a.env.Inventory.Nodes[0].Settings["xml"]
	}
	if name == "" {
		return nil, "", nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		for _, n := range a.readable() {
			if b, err = host.ReadFile(ctx, n.Host, name); err == nil {
				break
			}
		}
	}
	if err != nil {
		return nil, name, err
	}
	d, err := ogxml.Parse(name, b)
	return d, name, err
}

func (a *asker) deployment(ctx context.Context) ([]check.Finding, error) {
	d, name, err := a.xml(ctx)
	if name == "" {
		return []check.Finding{warn("", "GAUSS-50001", say.F("no cluster file is named, so the deployment is not compared", "未指定集群配置文件，未比较部署是否变化"), "", say.F("set xml in the inventory", "请在清单中设置 xml"))}, nil
	}
	if err != nil {
		return []check.Finding{block("", "GAUSS-50201", say.Of(err), name, cmd("ls -l %s", name))}, nil
	}
	var fs []check.Finding
	changed := func(evidence string) {
		fs = append(fs, block("", "GAUSS-51217", say.F("the cluster file and the installation differ: %s", "集群配置文件与安装不一致：%s", evidence), evidence,
			say.F("give the cluster file that the installation was made with", "请提供安装时使用的集群配置文件")))
	}
	if old, err := a.static(ctx); err != nil {
		fs = append(fs, warn("", "GAUSS-51217", say.F("the static configuration could not be read", "无法读取静态配置"), err.Error(), cmd("gs_om -t view")))
	} else {
		for _, diff := range ogxml.Compare(d, old) {
			changed(diff.String())
		}
	}
	// And against the inventory, which is what the tool goes by.
	for _, n := range a.v.Nodes {
		node, there := d.Node(n.Name)
		switch {
		case !there:
			changed("node " + n.Name + " of the inventory is not in the file")
		case node.Data != n.Data || node.Port != n.Port:
			changed(n.Name + ": " + node.Data + ":" + strconv.Itoa(node.Port) + " in the file, " + n.Data + ":" + strconv.Itoa(n.Port) + " in the inventory")
		case n.Home != "" && d.App != n.Home:
			changed(n.Name + ": gaussdbAppPath is " + d.App + ", $GAUSSHOME is " + n.Home)
		}
	}
	if len(d.Nodes) != len(a.v.Nodes) {
		changed(strconv.Itoa(len(d.Nodes)) + " nodes in the file, " + strconv.Itoa(len(a.v.Nodes)) + " in the inventory")
	}
	return fs, nil
}

// static is the static configuration as gs_om tells it.
func (a *asker) static(ctx context.Context) (*ogxml.Deployment, error) {
	var last error
	for _, n := range a.readable() {
		ans, err := n.Ask(ctx, "gs_om", "-t", "view")
		if err != nil {
			last = err
			continue
		}
		old, err := ogxml.ParseView(ans.Both())
		if err == nil && a.v.Cluster != nil {
			old.Cluster = a.v.Cluster.Name
		}
		return old, err
	}
	return nil, last
}

func (a *asker) clusterState(context.Context) ([]check.Finding, error) {
	c := a.v.Cluster
	if c == nil {
		return []check.Finding{block("", "GAUSS-51601", say.F("neither gs_om nor cm_ctl tells the cluster's state", "gs_om 与 cm_ctl 均无法给出集群状态"), a.v.OMWhy, cmd("gs_om -t status --detail"))}, nil
	}
	var fs []check.Finding
	if c.State != "Normal" {
		fs = append(fs, block("", "GAUSS-51601", say.F("the cluster is %s; it must be Normal", "集群状态为 %s，应为 Normal", c.State), "", cmd("gs_om -t status --detail")))
	}
	if c.Redistributing {
		fs = append(fs, block("", "GAUSS-51601", say.F("the cluster is redistributing", "集群正在重分布"), "", say.F("wait until it is over", "请等待重分布结束")))
	}
	for _, n := range a.v.Nodes {
		if n.Up && n.Trouble == nil && n.health() != gaussdb.StateNormal {
			fs = append(fs, block(n.Name, "GAUSS-51601", say.F("its instance is %s (%s)", "实例状态为 %s（%s）", n.health(), n.HA.Detail), "", cmd("gs_ctl query -D %s", n.Data)))
		}
	}
	return fs, nil
}

func (a *asker) cmPaused(context.Context) ([]check.Finding, error) {
	if a.v.Cluster != nil && a.v.Cluster.Pausing {
		return []check.Finding{block("", "", say.F("the cluster manager is paused (Cluster is pausing.)", "CM 处于暂停状态（Cluster is pausing.）"), "", cmd("cm_ctl resume"))}, nil
	}
	return nil, nil
}

// cmVersions finds nodes whose cluster manager is another: added later, or left behind.
func (a *asker) cmVersions(context.Context) ([]check.Finding, error) {
	if !a.v.cm() {
		return nil, nil
	}
	newest := a.v.Nodes[0].CM
	for _, n := range a.v.Nodes {
		if older(newest.Release, n.CM.Release) {
			newest = n.CM
		}
	}
	var fs []check.Finding
	for _, n := range a.readable() {
		if got, newest := buildName(n.CM), buildName(newest); got != newest {
			fs = append(fs, block(n.Name, "", say.F("its cluster manager is %q, others have %s", "该节点 CM 为 %q，其他节点为 %s", got, newest), "", cmd("shiplift apply --component cm --package CM-PACKAGE --nodes %s", n.Name)))
		}
	}
	return fs, nil
}

// older compares releases by their numbers; one that cannot be read is older than any.
func older(a, b string) bool {
	x, err := release.Parse(b)
	if err != nil {
		return false
	}
	y, err := release.Parse(a)
	return err != nil || y.Less(x)
}

func (a *asker) onePrimary(context.Context) ([]check.Finding, error) {
	ps := a.v.primaries()
	if len(ps) != 1 {
		var names []string
		for _, p := range ps {
			names = append(names, p.Name)
		}
		return []check.Finding{block("", "GAUSS-51624", say.F("there are %d primaries, one was expected", "主库有 %d 个，应为 1 个", len(ps)), strings.Join(names, " "), cmd("shiplift status"))}, nil
	}
	if !ps[0].HA.Healthy() {
		return []check.Finding{block(ps[0].Name, "GAUSS-51652", say.F("the primary is %s", "主库状态为 %s", ps[0].HA.State), ps[0].HA.Detail, cmd("gs_ctl query -D %s", ps[0].Data))}, nil
	}
	return nil, nil
}

// caughtUp remembers what the primary has flushed and waits until every
// standby has replayed that (spec section 5.1).
func (a *asker) caughtUp(ctx context.Context) ([]check.Finding, error) {
	var fs []check.Finding
	for _, n := range a.v.Nodes {
		if n.HA.Process != gaussdb.Running || n.HA.Primary() {
			continue
		}
		if n.HA.Receiver == nil {
			fs = append(fs, block(n.Name, "GAUSS-51601", say.F("the standby does not stream: %s (%s)", "备库未在流复制：%s（%s）", n.HA.State, n.HA.Detail), "", cmd("gs_ctl query -D %s", n.Data)))
			continue
		}
		target := n.HA.Receiver.SenderFlush
		spec := wait.Spec{What: say.F("%s has replayed %s", "%s 已回放到 %s", n.Name, target.String()), Node: n.Name, Deadline: 60 * time.Second, Stall: 30 * time.Second, Every: 2 * time.Second}
		err := wait.For(ctx, a.env.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
			h, err := n.Query(ctx, n.Data)
			if err != nil || h.Receiver == nil {
				return wait.Look{Left: 1}, err
			}
			if h.Receiver.Replay >= target {
				return wait.Look{Done: true}, nil
			}
			return wait.Look{Left: float64(target - h.Receiver.Replay)}, nil
		})
		if err != nil {
			fs = append(fs, block(n.Name, "GAUSS-51601", say.F("the standby has not caught up", "备库尚未追平"), say.Of(err).EN, cmd("gs_ctl query -D %s", n.Data)))
		}
	}
	return fs, nil
}

func isOn(v string) bool {
	return slices.Contains([]string{"on", "true", "1", "yes"}, strings.ToLower(v))
}

func (a *asker) readOnly(context.Context) ([]check.Finding, error) {
	var fs []check.Finding
	for _, n := range a.live() {
		if isOn(n.Settings["default_transaction_read_only"]) {
			fs = append(fs, block(n.Name, "GAUSS-52907", say.F("default_transaction_read_only is on", "default_transaction_read_only 为 on"), "", cmd("gs_guc reload -D %s -c default_transaction_read_only=off", n.Data)))
		}
	}
	return fs, nil
}

func (a *asker) streamReplication(context.Context) ([]check.Finding, error) {
	var fs []check.Finding
	for _, n := range a.live() {
		if v := n.Settings["enable_stream_replication"]; v != "" && !isOn(v) && n.Software.Kernel >= 92149 {
			fs = append(fs, block(n.Name, "GAUSS-52102", say.F("enable_stream_replication is %s", "enable_stream_replication 为 %s", v), "", cmd("gs_guc reload -D %s -c enable_stream_replication=on", n.Data)))
		}
	}
	return fs, nil
}

// frozenSettings holds the file against the running server: a value that
// waits for a restart would come into force in the middle of the upgrade.
func (a *asker) frozenSettings(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		b, err := host.ReadFile(ctx, n.Host, n.Data+"/postgresql.conf")
		if err != nil {
			return nil, err
		}
		conf := gaussdb.ReadConf(b)
		var fs []check.Finding
		for _, name := range frozen {
			inFile, set := conf.Get(name)
			if running := n.Settings[name]; set && running != "" && inFile != running {
				fs = append(fs, block(n.Name, "", say.F("%s is %s in the file and %s in use: the upgrade would bring the change into force", "%s 配置文件为 %s，运行值为 %s：升级会使修改生效", name, inFile, running), n.Data+"/postgresql.conf",
					say.F("restart the instance, or put the value back, before the upgrade", "请在升级前重启实例或恢复原值")))
			}
		}
		return fs, nil
	})
}

func (a *asker) threadPool(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		if !isOn(n.Settings["enable_thread_pool"]) {
			return nil, nil
		}
		b, err := host.ReadFile(ctx, n.Host, n.Data+"/postgresql.conf")
		if err != nil {
			return nil, err
		}
		for name, v := range gaussdb.ReadConf(b).All() {
			if p, err := gaussdb.ParsePeer(v); strings.HasPrefix(name, "replconninfo") && err == nil && p.LocalPort != n.Port+1 {
				return []check.Finding{block(n.Name, "", say.F("enable_thread_pool is on and the replication port is %d, not %d", "enable_thread_pool 为 on，但复制端口为 %d 而不是 %d", p.LocalPort, n.Port+1), name,
					say.F("correct replconninfo, or switch the thread pool off", "请更正 replconninfo 或关闭线程池"))}, nil
			}
		}
		return nil, nil
	})
}

// expansion looks for the tools that change the set of nodes.
func (a *asker) expansion(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		var fs []check.Finding
		for _, tool := range []string{"gs_expansion", "gs_dropnode"} {
			res, err := n.Host.Run(ctx, host.Read("pgrep", "-f", "["+tool[:1]+"]"+tool[1:]))
			if err == nil && res.Text() != "" {
				fs = append(fs, block(n.Name, "GAUSS-52936", say.F("%s is running", "%s 正在运行", tool), res.Text(), say.F("wait until it has ended", "请等待其结束")))
			} else if err != nil && !host.IsExit(err, 1) {
				return nil, err
			}
		}
		return fs, nil
	})
}

func (a *asker) virtualIP(ctx context.Context) ([]check.Finding, error) {
	d, _, err := a.xml(ctx)
	if d == nil || err != nil {
		return nil, nil //nolint:nilerr // the check of the deployment has told it
	}
	var fs []check.Finding
	for _, n := range d.Nodes {
		if len(n.Floats) > 0 {
			fs = append(fs, block(n.Name, "", say.F("a virtual IP is configured: %s", "配置了虚拟 IP：%s", strings.Join(n.Floats, ", ")), "", say.F("remove it for the time of the upgrade", "请在升级期间移除")))
		}
	}
	return fs, nil
}

func (a *asker) kerberos(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		dir := "."
		if i := strings.LastIndexByte(n.Profile, '/'); i > 0 {
			dir = n.Profile[:i]
		}
		there, err := n.exists(ctx, dir+"/FI_KRB_XML")
		if err != nil || !there {
			return nil, err
		}
		return []check.Finding{block(n.Name, "GAUSS-50200", say.F("kerberos is installed", "已启用 kerberos"), dir+"/FI_KRB_XML", say.F("switch kerberos off before the upgrade", "请在升级前关闭 kerberos"))}, nil
	})
}

func (a *asker) dualCluster(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		there, err := n.exists(ctx, n.PGHost+"/upgrade_phase_info")
		if err != nil || !there {
			return nil, err
		}
		return []check.Finding{block(n.Name, "", say.F("the cluster is half of a dual cluster, which is not supported", "集群属于双集群容灾，暂不支持"), n.PGHost+"/upgrade_phase_info", say.F("use the vendor's gs_upgradectl", "请使用厂商的 gs_upgradectl"))}, nil
	})
}

// ofPrimary runs a query on the primary; no primary is told by another check.
func (a *asker) ofPrimary(ctx context.Context, sql string) ([][]string, *seen, error) {
	ps := a.v.primaries()
	if len(ps) != 1 || !ps[0].SQL {
		return nil, nil, nil
	}
	rows, err := ps[0].site.SQL(ctx, ps[0].Port, "postgres", sql)
	return rows, ps[0], err
}

func (a *asker) mot(ctx context.Context) ([]check.Finding, error) {
	rows, p, err := a.ofPrimary(ctx, "select srvname from pg_foreign_server")
	if err != nil || p == nil {
		return nil, err
	}
	if !slices.ContainsFunc(rows, func(r []string) bool { return r[0] == "mot_server" }) {
		return nil, nil
	}
	rows, _, err = a.ofPrimary(ctx, "select count(*) from pg_foreign_table t join pg_foreign_server s on t.ftserver = s.oid where s.srvname = 'mot_server'")
	if err != nil || len(rows) == 0 || rows[0][0] == "0" {
		return nil, err
	}
	next := say.F("export the MOT tables and drop them before the upgrade", "请在升级前导出并删除 MOT 表")
	if p.Software.Kernel < 92421 {
		return []check.Finding{block(p.Name, "", say.F("%s MOT tables: not supported from this release", "有 %s 张 MOT 表：该版本不支持", rows[0][0]), "", next)}, nil
	}
	if pkg, err := a.pkg(); err == nil && pkg.Software.Kernel >= 93039 && p.Software.Kernel < 93039 && !isOn(p.Settings["enable_mot_server"]) {
		return []check.Finding{block(p.Name, "", say.F("%s MOT tables: the new release needs enable_mot_server = on", "有 %s 张 MOT 表：新版本需要 enable_mot_server = on", rows[0][0]), "", cmd("gs_guc set -D %s -c enable_mot_server=on", p.Data))}, nil
	}
	return nil, nil
}

func (a *asker) java(ctx context.Context) ([]check.Finding, error) {
	rows, p, err := a.ofPrimary(ctx, "select lanname from pg_language")
	if err != nil || p == nil || !slices.ContainsFunc(rows, func(r []string) bool { return r[0] == "java" }) {
		return nil, err
	}
	rows, _, err = a.ofPrimary(ctx, "select count(*) from pg_proc p join pg_language l on p.prolang = l.oid where l.lanname = 'java'")
	if err != nil || len(rows) == 0 || rows[0][0] == "0" {
		return nil, err
	}
	return []check.Finding{warn(p.Name, "", say.F("%s functions are written in Java: JDK 1.8 or newer must be configured for the new release", "有 %s 个 Java 函数：新版本需配置 JDK 1.8 或以上", rows[0][0]), "", cmd("echo $JAVA_HOME"))}, nil
}

func (a *asker) extensions(ctx context.Context) ([]check.Finding, error) {
	rows, p, err := a.ofPrimary(ctx, "select extname from pg_extension")
	if err != nil || p == nil {
		return nil, err
	}
	var names []string
	for _, r := range rows {
		if r[0] != "plpgsql" {
			names = append(names, r[0])
		}
	}
	if !slices.Contains(names, "dolphin") {
		return nil, nil
	}
	// extension "dolphin" has no update path from version "1.2" to version "4.0" (IBGHZ3)
	return []check.Finding{warn(p.Name, "", say.F("the extension dolphin is installed: its scripts are carried over, yet 5.0.x to 6.0.1 is known to lack an update path", "已安装扩展 dolphin：其脚本会被带入新目录，但已知 5.0.x 到 6.0.1 缺少升级脚本"), strings.Join(names, " "),
		say.F("rehearse the upgrade on a copy that has the extension", "请在带有该扩展的副本上先演练"))}, nil
}

// load counts sessions that run something now (spec section 5: < 200 readers
// and < 200 writers during a rolling upgrade).
// activeStatements asks what the sessions do.
const activeStatements = "select query from pg_stat_activity where state='active'"

func (a *asker) load(ctx context.Context) ([]check.Finding, error) {
	if a.r.Mode == "inplace" {
		return nil, nil
	}
	rows, p, err := a.ofPrimary(ctx, activeStatements)
	if err != nil || p == nil {
		return nil, err
	}
	reads, writes := 0, 0
	for _, r := range rows {
		q := strings.ToLower(strings.TrimSpace(strings.Join(r, "|")))
		switch {
		case q == activeStatements: // this very question
		case strings.HasPrefix(q, "select"), strings.HasPrefix(q, "with"), strings.HasPrefix(q, "show"):
			reads++
		case strings.HasPrefix(q, "insert"), strings.HasPrefix(q, "update"), strings.HasPrefix(q, "delete"), strings.HasPrefix(q, "merge"), strings.HasPrefix(q, "copy"):
			writes++
		}
	}
	if reads > 200 || writes > 200 {
		return []check.Finding{block(p.Name, "", say.F("%d sessions read and %d write; a rolling upgrade is promised up to 200 of each", "当前读会话 %d、写会话 %d；灰度升级支持的上限各为 200", reads, writes), "", say.F("wait for a quieter hour", "请选择业务低峰时段"))}, nil
	}
	return nil, nil
}

func (a *asker) snapshots(context.Context) ([]check.Finding, error) {
	for _, n := range a.live() {
		if n.HA.Primary() && isOn(n.Settings["enable_wdr_snapshot"]) {
			return []check.Finding{warn(n.Name, "", say.F("enable_wdr_snapshot is on: from a big upgrade's start to its commit no snapshot is taken, and none must be created by hand", "enable_wdr_snapshot 为 on：大版本升级期间不会生成快照，也请勿手工创建"), "", say.Text{})}, nil
		}
	}
	return nil, nil
}
