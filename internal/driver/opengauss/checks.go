package opengauss

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// asker answers the checks from one observation, and asks the nodes for what
// the observation does not hold.
type asker struct {
	env driver.Env
	v   *view
	r   plan.Request
	pkg func() (*gaussdb.Package, error)
}

// Checks are all questions before an upgrade, in the order in which a person
// wants the answers. Rules in brackets are the vendor's codes.
func (d *Driver) Checks(env driver.Env, o driver.Observation, r plan.Request) []check.Check {
	v, ok := o.Detail.(*view)
	if !ok {
		return nil
	}
	a := &asker{env: env, v: v, r: r, pkg: sync.OnceValues(func() (*gaussdb.Package, error) { return gaussdb.ReadPackage(r.Packages) })}
	if r.Component == componentCM {
		return a.cmChecks()
	}
	q := ask
	return []check.Check{
		q("nodes", "every node answers, its environment is whole, the login is the cluster user", "所有节点可达，环境变量完整，登录用户为集群用户", a.nodes),
		q("trust", "every node reaches every other one without a password", "各节点之间已建立互信", a.trust),
		q("deployment", "the deployment is the one of the installation", "部署与安装时一致", a.deployment),
		q("installation", "$GAUSSHOME is a link, the binaries run and are the same on every node", "$GAUSSHOME 为符号链接，程序可执行且各节点一致", a.installation),
		q("package", "the package is whole: server, CM and SQL with their checksums", "升级包完整：服务端、CM、SQL 及其校验值", a.packages),
		q("strategy", "there is a way from the installed release to the package", "从已安装版本到升级包存在升级路径", a.strategy),
		q("version-cfg", "version.cfg was not edited", "version.cfg 未被修改", a.versionCfg),
		q("open-upgrade", "no other upgrade is open", "没有未结束的升级", a.openUpgrade),
		q("new-directory", "the directory of the new release is free", "新版本目录可用", a.newDirectory),
		q("cluster-state", "the cluster is Normal and not redistributing", "集群状态 Normal 且未在重分布", a.clusterState),
		q("cm-paused", "the cluster manager is not paused", "CM 未暂停", a.cmPaused),
		q("cm-versions", "the cluster manager is the same on every node", "各节点 CM 版本一致", a.cmVersions),
		q("one-primary", "there is exactly one primary and it is Normal", "恰有一个主库且状态正常", a.onePrimary),
		q("caught-up", "every standby streams and has replayed what the primary has flushed", "所有备库流复制正常且已追平", a.caughtUp),
		q("read-only", "the database is not read-only", "数据库未处于只读", a.readOnly),
		q("stream-replication", "enable_stream_replication is on", "enable_stream_replication 为 on", a.streamReplication),
		q("frozen-settings", "the settings that must not change are the ones in use", "升级期间不可修改的参数与运行值一致", a.frozenSettings),
		q("thread-pool", "with a thread pool the replication port is port + 1", "启用线程池时复制端口为 port+1", a.threadPool),
		q("expansion", "no expansion or removal of nodes is running", "没有正在进行的扩容或缩容", a.expansion),
		q("virtual-ip", "no virtual IP is configured", "未配置虚拟 IP", a.virtualIP),
		q("kerberos", "kerberos is off", "未启用 kerberos", a.kerberos),
		q("dual-cluster", "the cluster is not half of a dual cluster", "集群不属于双集群容灾", a.dualCluster),
		q("mot", "no MOT tables where they are not supported", "不支持的版本上没有 MOT 表", a.mot),
		q("java", "functions in Java have their JDK", "Java 函数具备所需 JDK", a.java),
		q("extensions", "extensions have a way to the new release", "扩展可升级到新版本", a.extensions),
		q("load", "not more than 200 readers and 200 writers during a rolling upgrade", "灰度升级期间读、写并发各不超过 200", a.load),
		q("snapshots", "no WDR snapshots are taken until the commit", "提交前不生成 WDR 快照", a.snapshots),
		q("data-directory", "data directories and tablespaces are there and writable", "数据目录与表空间存在且可写", a.dataDirectory),
		q("app-size", "the installed software is not larger than 2000 MB", "已安装软件不超过 2000 MB", a.appSize),
		q("disk-use", "disks are filled to less than 80 %", "磁盘使用率低于 80%", a.diskUse),
		q("room", "there is room for the package and its copy", "空间足够存放升级包及解压后的文件", a.roomLeft),
		q("os-check", "gs_checkos finds nothing abnormal", "gs_checkos 未发现异常", a.osCheck),
		q("backup", "a backup was taken", "已做备份", a.backup),
	}
}

func ask(id, en, zh string, fn func(ctx context.Context) ([]check.Finding, error)) check.Check {
	return check.Check{ID: id, Title: say.Text{EN: en, ZH: zh}, Ask: fn}
}

// mark makes a finding with the vendor's code.
func mark(sev check.Severity, node, code string, says say.Text, evidence string, next say.Text) check.Finding {
	return check.Finding{Severity: sev, Node: node, Rule: code, Says: says, Evidence: evidence, Next: next}
}

func block(node, code string, says say.Text, evidence string, next say.Text) check.Finding {
	return mark(check.Block, node, code, says, evidence, next)
}

func warn(node, code string, says say.Text, evidence string, next say.Text) check.Finding {
	return mark(check.Warn, node, code, says, evidence, next)
}

// cmd is a sentence that is a command.
func cmd(format string, args ...any) say.Text { return say.Same(fmt.Sprintf(format, args...)) }

// readable are the nodes whose files were read.
func (a *asker) readable() []*seen {
	return slices.DeleteFunc(slices.Clone(a.v.Nodes), func(n *seen) bool { return !n.Up || n.App == "" })
}

// live are the nodes whose server answers SQL.
func (a *asker) live() []*seen {
	return slices.DeleteFunc(slices.Clone(a.v.Nodes), func(n *seen) bool { return !n.SQL })
}

// onEach asks every readable node and gathers what they say, in their order.
func (a *asker) onEach(fn func(n *seen) ([]check.Finding, error)) ([]check.Finding, error) {
	nodes := a.readable()
	found, errs := make([][]check.Finding, len(nodes)), make([]error, len(nodes))
	each(a.env, len(nodes), func(i int) { found[i], errs[i] = fn(nodes[i]) })
	return slices.Concat(found...), errors.Join(errs...)
}

func (a *asker) nodes(context.Context) ([]check.Finding, error) {
	var fs []check.Finding
	for _, n := range a.v.Nodes {
		var lacks *gaussdb.EnvironmentError
		switch {
		case errors.As(n.Trouble, &lacks):
			fs = append(fs, block(n.Name, "GAUSS-51800", say.Of(n.Trouble), n.Profile, say.F("name the right file with the setting profile", "请用 profile 设置指定正确的环境变量文件")))
		case n.Trouble != nil:
			code := "GAUSS-51100"
			if n.Up {
				code = "GAUSS-51400"
			}
			if n.NoLink {
				code = "GAUSS-52915"
			}
			fs = append(fs, block(n.Name, code, say.F("the node cannot be read", "无法读取该节点"), say.Of(n.Trouble).EN, cmd("shiplift check -v")))
		case n.Env.User == "root":
			fs = append(fs, block(n.Name, "GAUSS-50105", say.F("the login is root; the cluster user was expected", "登录用户为 root，应使用集群用户"), "", say.F("set ssh.user in the inventory", "请在清单中设置 ssh.user")))
		case n.SQLErr != nil:
			fs = append(fs, block(n.Name, "GAUSS-51400", say.F("the server refuses the cluster user", "数据库拒绝集群用户登录"), n.SQLErr.Error(), cmd("gsql -d postgres -p %d -c 'select 1'", n.Port)))
		}
	}
	return fs, nil
}

// trust asks every node to reach all the others by the vendor's own way.
func (a *asker) trust(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		if len(a.v.Nodes) == 1 {
			return nil, nil
		}
		ans, err := n.Ask(ctx, "gs_ssh", "-c", "hostname")
		if err != nil {
			return nil, err
		}
		res, err := gaussdb.ParseSSH(ans.Both())
		if err != nil {
			return []check.Finding{warn(n.Name, "GAUSS-51100", say.F("gs_ssh gave no answer, so the trust between the nodes is not proven", "gs_ssh 无结果，未能确认节点互信"), strings.TrimSpace(ans.Both()), cmd("gs_ssh -c hostname"))}, nil //nolint:nilerr // no answer is the finding
		}
		if len(res.Bad) > 0 {
			return []check.Finding{block(n.Name, "GAUSS-51100", say.F("it does not reach %s", "无法访问 %s", strings.Join(res.Bad, ", ")), strings.TrimSpace(ans.Both()), cmd("gs_sshexkey -f HOSTFILE"))}, nil
		}
		return nil, nil
	})
}

// packages reads every archive and compares its checksum.
func (a *asker) packages(context.Context) ([]check.Finding, error) {
	if len(a.r.Packages) == 0 {
		return []check.Finding{block("", "GAUSS-50001", say.F("no package was named", "未指定升级包"), "", cmd("shiplift check --package openGauss-VERSION-all.tar.gz"))}, nil
	}
	pkg, err := a.pkg()
	var p *gaussdb.PackageError
	if errors.As(err, &p) {
		return []check.Finding{block("", p.Code, say.Text{EN: p.File + ": " + p.Text.EN, ZH: p.File + "：" + p.Text.In(say.Chinese)}, "", say.F("get the package and its .sha256 again", "请重新获取升级包及其 .sha256"))}, nil
	}
	if err != nil {
		return nil, err
	}
	var fs []check.Finding
	if !pkg.HasSQL {
		fs = append(fs, warn("", "GAUSS-50201", say.F("upgrade_sql.tar.gz is not in the package: only a small upgrade is possible", "升级包中没有 upgrade_sql.tar.gz：只能做小版本升级"), "", say.F("take the archive that holds everything", "请使用包含全部内容的升级包")))
	}
	if a.v.cm() && pkg.CM == "" {
		fs = append(fs, block("", "GAUSS-50201", say.F("the cluster has a cluster manager, and the package holds none", "集群带有 CM，但升级包中没有 CM 安装包"), "", say.F("name the CM archive with a second --package", "请用第二个 --package 指定 CM 安装包")))
	}
	return append(fs, mark(check.Pass, "", "", say.F("%s, kernel number %s, commit %s; checksums agree", "%s，内核版本号 %s，提交号 %s；校验值一致", releaseName(pkg.Software), pkg.Software.Kernel.Dotted(), pkg.Software.Commit), pkg.Server, say.Text{})), nil
}

// strategy tells small or big with its reason, or the refusal with its rule.
func (a *asker) strategy(ctx context.Context) ([]check.Finding, error) {
	pkg, err := a.pkg()
	if err != nil {
		return nil, nil //nolint:nilerr // the check of the package has told it
	}
	s, err := decide(a.v, pkg, a.r)
	var no *driver.RefusalError
	var nothing *driver.NothingToDoError
	switch {
	case errors.As(err, &no):
		code := no.Code
		if code == "" {
			code = no.Rule
		}
		return []check.Finding{block("", code, no.Text, no.Rule, no.Next)}, nil
	case errors.As(err, &nothing):
		return []check.Finding{block("", "GAUSS-52901", nothing.Text, "", cmd("shiplift status"))}, nil
	case err != nil:
		return nil, err
	}
	why := say.F("small upgrade: the kernel number stays %s", "小版本升级：内核版本号保持 %s", s.From.Kernel.Dotted())
	if s.Big {
		why = say.F("big upgrade: the kernel number goes from %s to %s", "大版本升级：内核版本号从 %s 变为 %s", s.From.Kernel.Dotted(), s.To.Kernel.Dotted())
	}
	fs := []check.Finding{mark(check.Pass, "", "", why, s.FromName+" → "+s.ToName, say.Text{})}
	gone, err := a.gone(ctx, pkg.Scripts.Gone)
	return append(fs, gone...), err
}

// gone tells of settings that are set and that the new release does not know.
func (a *asker) gone(ctx context.Context, names []string) ([]check.Finding, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var fs []check.Finding
	for _, n := range a.live() {
		b, err := host.ReadFile(ctx, n.Host, path.Join(n.Data, "postgresql.conf"))
		if err != nil {
			return nil, err
		}
		conf := gaussdb.ReadConf(b)
		for _, name := range names {
			if _, set := conf.Get(name); set {
				fs = append(fs, warn(n.Name, "", say.F("the new release does not know the setting %s: it is commented out, and comes back with a rollback", "新版本已无参数 %s：将被注释，回滚时恢复", name), "", say.Text{}))
			}
		}
	}
	return fs, nil
}
