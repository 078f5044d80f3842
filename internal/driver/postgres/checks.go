package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// asker answers the checks from one observation.
type asker struct {
	env driver.Env
	v   *view
	r   plan.Request
	pkg func(string) (*packageList, error) // reads a package once
}

// Checks are the questions before an upgrade, in the order in which a person
// would want the answers.
func (d *Driver) Checks(env driver.Env, o driver.Observation, r plan.Request) []check.Check {
	v, ok := o.Detail.(*view)
	if !ok {
		return nil
	}
	a := &asker{env: env, v: v, r: r, pkg: packageReader()}
	q := func(id, en, zh string, ask func() []check.Finding) check.Check {
		return check.Check{ID: id, Title: say.Text{EN: en, ZH: zh}, Ask: func(context.Context) ([]check.Finding, error) { return ask(), nil }}
	}
	return []check.Check{
		q("hosts", "every host answers and its key is trusted", "所有主机可达且主机密钥可信", a.hosts),
		q("servers", "every server runs and lets the tool in as superuser", "所有服务器在运行，且工具能以超级用户连接", a.servers),
		q("one-primary", "there is exactly one primary", "恰好有一个主库", a.onePrimary),
		q("same-system", "all nodes are of one cluster", "所有节点属于同一集群", a.sameSystem),
		q("same-release", "all nodes run the same release", "所有节点运行相同版本", a.sameRelease),
		q("running-installed", "the running binary is the installed one", "运行的程序与安装的程序一致", a.runningInstalled),
		q("layout", "<base>/current is a link to a release beside it", "<base>/current 是指向同目录版本的链接", a.layout),
		q("target", "the target is a newer minor release and not known to be bad", "目标是更新的小版本且不是已知问题版本", a.target),
		q("replication", "every standby streams and is not far behind", "所有备库正在流复制且延迟不大", a.replication),
		q("upstream", "every standby follows a node of the inventory", "所有备库都跟随清单中的节点", a.upstream),
		{ID: "replication-login", Title: say.F("the primary may log in to its successor for replication", "主库可以用复制账户登录到接替它的节点"), Ask: a.replicationLogin},
		q("sync", "synchronous replication is satisfied and stays so", "同步复制当前满足，升级中也能保持", a.sync),
		q("parameters", "parameters let every node take the primary's place", "参数允许节点互换角色", a.parameters),
		q("slots", "replication slots are in use, none is lost by a switchover", "复制槽均在使用，切换不会丢失复制槽", a.slots),
		q("data-directory", "data directories belong to the login and are closed to others", "数据目录属主正确且不对他人开放", a.dataDirectory),
		q("storage", "checksums, page size and WAL segment size agree", "数据校验、页大小、WAL 段大小一致", a.storage),
		q("collation", "collation versions are the recorded ones and agree", "排序规则版本与记录一致且各节点相同", a.collation),
		q("disk", "there is room for the package and its copy", "磁盘空间足够存放升级包及其解包", a.disk),
		q("package", "the package is whole, for these machines and of the target release", "升级包完整、适合这些主机且版本正确", a.packages),
		q("libraries", "the package holds every library that databases load", "升级包包含数据库加载的所有扩展库", a.libraries),
		q("long-transactions", "no long transactions", "没有长事务", a.longTransactions),
		q("prepared-transactions", "no prepared transactions", "没有两阶段预备事务", a.preparedTransactions),
		q("ha-agent", "no agent restarts servers or moves the primary", "没有会自动重启或切换的高可用程序", a.haAgent),
		q("clock", "the clocks agree", "时钟一致", a.clock),
		q("leftovers", "nothing is left from an earlier run", "没有以前升级的残留", a.leftovers),
		{ID: "backup", Title: say.F("the newest backup is young enough", "最近的备份足够新"), Ask: a.backup},
	}
}

func (a *asker) block(node, en, zh string, args ...any) check.Finding {
	return check.Finding{Severity: check.Block, Node: node, Says: say.F(en, zh, args...)}
}

func (a *asker) warn(node, en, zh string, args ...any) check.Finding {
	return check.Finding{Severity: check.Warn, Node: node, Says: say.F(en, zh, args...)}
}

// next sets what to do and the evidence.
func with(f check.Finding, evidence, en, zh string) check.Finding {
	f.Evidence, f.Next = evidence, say.Text{EN: en, ZH: zh}
	return f
}

// live are the nodes whose server answers.
func (a *asker) live() []*seen {
	return slices.DeleteFunc(slices.Clone(a.v.Nodes), func(n *seen) bool { return !n.SQL })
}

// primary is the one primary, or nil.
func (a *asker) primary() *seen {
	if ps := a.v.primaries(); len(ps) == 1 {
		return ps[0]
	}
	return nil
}

func (a *asker) rolling() bool { return a.r.Mode != modeInplace }

func (a *asker) hosts() (out []check.Finding) {
	for _, n := range a.v.Nodes {
		switch {
		case n.HostKey:
			out = append(out, with(a.block(n.Name, "its host key is not trusted", "主机密钥不可信"), n.Trouble.EN,
				"compare the key with the machine's administrator, then correct known_hosts", "与主机管理员核对密钥后更正 known_hosts"))
		case !n.Reachable:
			out = append(out, with(a.block(n.Name, "the host does not answer", "主机无应答"), n.Trouble.EN,
				"look at the machine and its ssh settings in the inventory", "检查主机以及清单中的 ssh 设置"))
		}
	}
	return out
}

func (a *asker) servers() (out []check.Finding) {
	for _, n := range a.v.Nodes {
		switch {
		case !n.Reachable:
		case !n.SQL && !n.Proc.running():
			out = append(out, with(a.block(n.Name, "no server runs in %s", "%s 没有运行中的服务器", n.Data), n.Trouble.EN, "start it, then: shiplift check", "启动后执行：shiplift check"))
		case !n.SQL:
			out = append(out, with(a.block(n.Name, "the server does not let the tool in", "工具无法连接服务器"), n.Trouble.EN,
				"look at user, password_env or password_file, port and socket_dir in the inventory and at pg_hba.conf", "检查清单中的 user、password_env 或 password_file、port、socket_dir，以及 pg_hba.conf"))
		case !n.ID.Superuser:
			out = append(out, with(a.block(n.Name, "user %s is no superuser", "用户 %s 不是超级用户", n.User), "", "name a superuser under settings.user", "请在 settings.user 指定超级用户"))
		}
	}
	return out
}

func (a *asker) onePrimary() []check.Finding {
	ps := a.v.primaries()
	var says []string
	for _, n := range a.live() {
		says = append(says, fmt.Sprintf("%s: pg_is_in_recovery() = %t, timeline %d", n.Name, n.ID.Recovery, n.ID.Timeline))
	}
	evidence := strings.Join(says, "; ")
	switch len(ps) {
	case 1:
		return []check.Finding{{Severity: check.Pass, Node: ps[0].Name, Says: say.F("%s is the primary", "%s 是主库", ps[0].Name), Evidence: evidence}}
	case 0:
		return []check.Finding{with(a.block("", "no node accepts writes", "没有可写节点"), evidence, "find out why; promote the right node, then: shiplift check", "查明原因并提升正确的节点，然后执行：shiplift check")}
	}
	return []check.Finding{with(a.block("", "%d nodes accept writes: %s", "%d 个节点同时可写：%s", len(ps), strings.Join(nodeNames(ps), ", ")), evidence,
		"stop the one whose data is not wanted, at once", "立即停止其中数据不需要的一个")}
}

func (a *asker) sameSystem() (out []check.Finding) {
	live := a.live()
	for _, n := range live {
		if n.ID.SystemID != live[0].ID.SystemID {
			out = append(out, with(a.block(n.Name, "it belongs to another cluster than %s", "与 %s 不属于同一集群", live[0].Name),
				n.ID.SystemID+" / "+live[0].ID.SystemID, "correct the inventory", "请更正清单"))
		}
	}
	return out
}

func (a *asker) sameRelease() (out []check.Finding) {
	live := a.live()
	for _, n := range live {
		if n.ID.Version != live[0].ID.Version || n.Control.Catalog != live[0].Control.Catalog {
			out = append(out, with(a.block(n.Name, "it runs %s, %s runs %s", "运行 %s，而 %s 运行 %s", n.ID.Version, live[0].Name, live[0].ID.Version),
				fmt.Sprintf("catalog version %d / %d", n.Control.Catalog, live[0].Control.Catalog),
				"finish or undo the earlier upgrade first; --skip same-release takes the nodes as they are", "请先完成或撤销之前的升级；--skip same-release 表示按现状处理"))
		}
	}
	return out
}

func (a *asker) runningInstalled() (out []check.Finding) {
	for _, n := range a.live() {
		if n.ID.Version == n.Installed && releaseOfExe(n.Proc.Exe) == n.Installed {
			continue
		}
		out = append(out, with(a.block(n.Name, "it runs %s, but %s would be started next", "运行 %s，但下次将启动 %s", n.ID.Version, orNothing(n.Installed)),
			n.Proc.Exe+"; "+n.current()+" → "+n.Link, "restart the server, or point the link back", "重启服务器，或将链接指回"))
	}
	return out
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

func (a *asker) layout() (out []check.Finding) {
	for _, n := range a.v.Nodes {
		if !n.Reachable || n.Trouble != (say.Text{}) && !n.SQL {
			continue
		}
		link := strings.TrimPrefix(n.Link, n.Base+"/")
		if link == "" || strings.Contains(link, "/") || link != n.Installed {
			out = append(out, with(a.block(n.Name, "%s does not point at <release> beside it", "%s 没有指向同目录下的 <版本> 目录", n.current()),
				fmt.Sprintf("link: %q, its postgres says %q", n.Link, n.Installed), "lay the software out as <base>/<release> and make the link: docs/drivers/postgres.md", "按 <base>/<版本> 存放软件并建立链接：见 docs/drivers/postgres.md"))
		}
	}
	return out
}

func (a *asker) target() (out []check.Finding) {
	want, err := release.Parse(a.r.To)
	if a.r.To == "" {
		return []check.Finding{a.warn("", "no target was named: checks that depend on it are not asked", "未指定目标版本：相关检查未执行")}
	}
	if err != nil {
		return []check.Finding{with(a.block("", "%q is not a release", "%q 不是版本号", a.r.To), "", "--to 15.17", "--to 15.17")}
	}
	for _, n := range a.live() {
		have, err := release.Parse(n.ID.Version)
		switch {
		case err != nil || have.Part(0) != want.Part(0):
			out = append(out, with(a.block(n.Name, "it runs %s: only minor releases of %d can be reached", "运行 %s：只能升级到 %d 的小版本", n.ID.Version, have.Part(0)), "", "choose another target", "请选择其他目标版本"))
		case want.Less(have):
			out = append(out, with(a.block(n.Name, "it runs %s, which is newer than %s", "运行 %s，比 %s 新", n.ID.Version, a.r.To), "", "choose another target", "请选择其他目标版本"))
		case have.Part(0) < 13 || have.Part(0) > 17:
			out = append(out, with(a.block(n.Name, "this driver knows PostgreSQL 13 to 17, not %d", "本驱动支持 PostgreSQL 13 到 17，不支持 %d", have.Part(0)), "", "docs/drivers/postgres.md", "见 docs/drivers/postgres.md"))
		}
	}
	cat, err := release.Load(Name)
	if err != nil {
		return append(out, a.block("", "the catalogue of releases cannot be read: %v", "无法读取版本目录：%v", err))
	}
	if b := cat.KnownBad(want); b != nil {
		out = append(out, with(check.Finding{Severity: check.Block, Says: say.Text{
			EN: want.String() + " is known to be bad: " + b.Why.EN,
			ZH: want.String() + " 是已知有问题的版本：" + b.Why.ZH,
		}}, "", "--to "+b.Use.Value.String(), "--to "+b.Use.Value.String()))
	}
	return out
}

func (a *asker) replication() (out []check.Finding) {
	for _, n := range a.live() {
		switch {
		case !n.ID.Recovery:
		case !n.Receiver.streams():
			out = append(out, with(a.block(n.Name, "it does not stream", "没有流复制"), "pg_stat_wal_receiver: "+statusWord(n.Receiver.Status)+"; primary_conninfo: "+n.Conninfo.shown(),
				"look at its log; repair the replication", "查看日志并修复复制"))
		case n.Paused:
			out = append(out, with(a.block(n.Name, "its replay is paused, so it never catches up", "回放已暂停，无法追平"), "pg_is_wal_replay_paused: true",
				"select pg_wal_replay_resume()", "select pg_wal_replay_resume()"))
		case n.Lag > n.MaxLag:
			out = append(out, with(a.block(n.Name, "it is %d MB behind", "落后 %d MB", n.Lag>>20), fmt.Sprintf("replayed %s; limit %d MB (max_lag)", n.ID.Replayed, n.MaxLag>>20),
				"wait until it has caught up", "等待其追平"))
		default:
			out = append(out, check.Finding{Severity: check.Pass, Node: n.Name, Says: say.F("streams from %s, %d bytes behind", "从 %s 流复制，落后 %d 字节", n.Upstream, n.Lag)})
		}
	}
	return out
}

func (a *asker) upstream() (out []check.Finding) {
	for _, n := range a.live() {
		if !n.ID.Recovery {
			continue
		}
		if n.Upstream == "" {
			out = append(out, with(a.block(n.Name, "it follows %s, which is no node of the inventory", "跟随 %s，但它不在清单中", hostPort(n.Receiver.Host, n.Receiver.Port)),
				"primary_conninfo: "+n.Conninfo.shown(), "add the node, or correct its address and port", "将该节点加入清单，或更正其地址与端口"))
		}
		if strings.Contains(n.Conninfo.get("host"), ",") {
			out = append(out, with(a.warn(n.Name, "its primary_conninfo names several hosts; after the switchover it names one", "primary_conninfo 列有多个主机；切换后只保留一个"),
				"primary_conninfo: "+n.Conninfo.shown(), "put the list back after commit if it is wanted", "如仍需要，请在提交后恢复该列表"))
		}
	}
	for _, p := range a.v.primaries() {
		for _, s := range p.Senders {
			known := slices.ContainsFunc(a.v.Nodes, func(n *seen) bool { return n.Upstream == p.Name && n.app() == s.App })
			if !known && a.rolling() {
				out = append(out, with(a.warn(p.Name, "%q streams from it and is no node of the inventory: the switchover leaves it behind", "%q 从它流复制但不在清单中：切换后将失去上游", s.App),
					s.Addr+" "+s.State, "stop it, or add it to the inventory", "停止它，或将其加入清单"))
			}
		}
	}
	return out
}

func (a *asker) sync() (out []check.Finding) {
	p := a.primary()
	if p == nil {
		return nil
	}
	names, err := parseSyncNames(p.Settings["synchronous_standby_names"].Value)
	if err != nil {
		return []check.Finding{a.block(p.Name, "%v", "%v", err)}
	}
	if names.off() {
		return nil
	}
	evidence := "synchronous_standby_names = " + names.String()
	var here []string
	for _, s := range p.Senders {
		if s.State == "streaming" {
			here = append(here, s.App)
		}
	}
	if names.relaxed(here).String() != names.String() {
		return []check.Finding{with(a.block(p.Name, "commits wait for standbys that are not there", "提交正在等待不在线的备库"), evidence+"; streaming: "+strings.Join(here, ", "),
			"bring the standbys back, or alter synchronous_standby_names", "恢复这些备库，或调整 synchronous_standby_names")}
	}
	for _, n := range a.live() {
		if src := n.Settings["synchronous_standby_names"].Source; src == "command line" {
			out = append(out, with(a.block(n.Name, "synchronous_standby_names stands on the command line and cannot be altered", "synchronous_standby_names 由命令行指定，无法调整"), evidence,
				"put it into postgresql.conf", "请改写到 postgresql.conf"))
		}
	}
	if len(out) == 0 {
		out = []check.Finding{{Severity: check.Pass, Node: p.Name, Evidence: evidence,
			Says: say.F("satisfied; where a restart would break it, the plan reduces it and restores it, in steps of their own", "当前满足；若重启会破坏，计划会以单独步骤临时降低并恢复")}}
	}
	return out
}

// frozenOf compares the settings that a standby may not have less of than its primary.
func (a *asker) frozenOf(n, p *seen) (out []check.Finding) {
	for _, name := range frozen {
		mine, theirs := n.Settings[name].Value, p.Settings[name].Value
		less := numberOf(mine) < numberOf(theirs)
		if n != p && mine != theirs && (less || name == "wal_level") {
			out = append(out, with(a.block(n.Name, "%s = %s is less than the primary's %s", "%s = %s 小于主库的 %s", name, mine, theirs), "",
				"set it to at least the primary's value and restart", "请设为不小于主库的值并重启"))
		}
		if n != p && !less && mine != theirs && name != "wal_level" && a.rolling() {
			out = append(out, with(a.warn(n.Name, "%s = %s is more than the primary's %s: after a switchover %s could not follow", "%s = %s 大于主库的 %s：切换后 %s 将无法跟随", name, mine, theirs, p.Name), "",
				"set the same value on all nodes", "请在所有节点设为相同值"))
			out[len(out)-1].Severity = check.Block
		}
	}
	return out
}

func (a *asker) parameters() (out []check.Finding) {
	p := a.primary()
	if p == nil {
		return nil
	}
	for _, n := range a.live() {
		out = append(out, a.frozenOf(n, p)...)
		if s := n.Settings["recovery_target_timeline"]; s.Value != "" && s.Value != "latest" {
			out = append(out, with(a.block(n.Name, "recovery_target_timeline = %s: it would not follow a promotion", "recovery_target_timeline = %s：不会跟随提升后的时间线", s.Value), "", "set it to latest", "请设为 latest"))
		}
		for _, name := range []string{"primary_conninfo", "primary_slot_name"} {
			if n.Settings[name].Source == "command line" || name == "primary_conninfo" && n.InfoFrom.Source == "command line" {
				out = append(out, with(a.block(n.Name, "%s stands on the command line and cannot be altered", "%s 由命令行指定，无法调整", name), "", "put it into postgresql.conf", "请改写到 postgresql.conf"))
			}
		}
	}
	if a.rolling() && numberOf(p.Settings["max_wal_senders"].Value) < 1 {
		out = append(out, a.block(p.Name, "max_wal_senders is 0", "max_wal_senders 为 0"))
	}
	return out
}

func numberOf(s string) int64 {
	n, ok := parseBytes(s)
	if !ok {
		return -1
	}
	return n
}

// retained is how much WAL an inactive slot may keep before it is told.
const retained = 1 << 30

func (a *asker) slots() (out []check.Finding) {
	for _, n := range a.live() {
		for _, s := range n.Slots {
			at := max(n.ID.Current, n.ID.Replayed)
			kept := int64(0)
			if s.Restart > 0 && at > s.Restart {
				kept = int64(at - s.Restart)
			}
			evidence := fmt.Sprintf("%s slot %s: active %t, wal_status %s, keeps %d MB", s.Type, s.Name, s.Active, s.WALStatus, kept>>20)
			switch {
			case s.Name == holdSlot: // the check "leftovers" tells it
			case s.Type == "logical" && a.rolling() && !n.ID.Recovery && !s.Failover:
				out = append(out, with(a.block(n.Name, "the logical slot %s does not go with the primary's role", "逻辑复制槽 %s 不会随主库切换", s.Name), evidence,
					"drain and drop it, make it a failover slot (17), or use --mode inplace", "请先消费完并删除、改为故障切换槽（17），或使用 --mode inplace"))
			case s.WALStatus == "lost":
				out = append(out, with(a.block(n.Name, "slot %s has lost WAL that its standby needs", "复制槽 %s 所需的 WAL 已丢失", s.Name), evidence, "rebuild that standby", "请重建该备库"))
			case !s.Active && kept > retained:
				out = append(out, with(a.warn(n.Name, "slot %s is not in use and keeps %d MB of WAL", "复制槽 %s 未被使用，占用 %d MB WAL", s.Name, kept>>20), evidence, "drop it if nobody needs it", "如不需要请删除"))
			}
		}
	}
	return out
}

func (a *asker) dataDirectory() (out []check.Finding) {
	for _, n := range a.live() {
		evidence := fmt.Sprintf("%s: owner %s, mode %s; login %s", n.Data, n.Owner, n.Mode, n.Login)
		switch {
		case n.Owner != n.Login:
			out = append(out, with(a.block(n.Name, "the data directory belongs to %s, but the login is %s", "数据目录属主是 %s，而登录用户是 %s", n.Owner, n.Login), evidence, "log in as the server's account: ssh.user", "请用服务器账户登录：ssh.user"))
		case n.Mode != "0700" && n.Mode != "0750":
			out = append(out, with(a.block(n.Name, "the data directory has mode %s; the server wants 0700 or 0750", "数据目录权限为 %s；应为 0700 或 0750", n.Mode), evidence, "chmod 0700", "chmod 0700"))
		}
		if dir := n.Settings["data_directory"].Value; dir != "" && dir != n.Data {
			out = append(out, with(a.warn(n.Name, "the server calls its data directory %s", "服务器报告的数据目录为 %s", dir), n.Data, "name it so in the inventory", "请在清单中使用同一路径"))
		}
	}
	return out
}

func (a *asker) storage() (out []check.Finding) {
	live := a.live()
	for _, n := range live {
		for _, name := range []string{"data_checksums", "block_size", "wal_segment_size"} {
			if mine, first := n.Settings[name].Value, live[0].Settings[name].Value; mine != first {
				out = append(out, with(a.block(n.Name, "%s is %s, on %s it is %s", "%s 为 %s，而 %s 上为 %s", name, mine, live[0].Name, first), "", "rebuild the standby", "请重建备库"))
			}
		}
		if n.ControlBad != "" {
			out = append(out, with(a.block(n.Name, "its control file cannot be read", "无法读取控制文件"), n.ControlBad, "look at the data directory", "请检查数据目录"))
		}
	}
	return out
}

func (a *asker) collation() (out []check.Finding) {
	live := a.live()
	for _, n := range live {
		for _, c := range n.Collation {
			if c.Recorded != "" && c.Actual != "" && c.Recorded != c.Actual {
				out = append(out, with(a.warn(n.Name, "%s was made with collation version %s, the library here has %s: indexes on text may be wrong", "%s 建立时的排序规则版本是 %s，当前库为 %s：文本索引可能不正确", c.What, c.Recorded, c.Actual), "",
					"reindex what depends on it, then ALTER … REFRESH COLLATION VERSION", "重建相关索引，然后执行 ALTER … REFRESH COLLATION VERSION"))
			}
			if other := actualOn(live[0], c.What); other != "" && c.Actual != "" && other != c.Actual {
				out = append(out, with(a.block(n.Name, "%s: the library here has version %s, on %s %s: the nodes would sort differently", "%s：此处库版本为 %s，%s 上为 %s：各节点排序将不一致", c.What, c.Actual, live[0].Name, other), "",
					"bring the machines to the same system release", "请使各主机系统版本一致"))
			}
		}
	}
	return out
}

func actualOn(n *seen, what string) string {
	for _, c := range n.Collation {
		if c.What == what {
			return c.Actual
		}
	}
	return ""
}

func (a *asker) longTransactions() (out []check.Finding) {
	for _, n := range a.live() {
		for _, s := range n.Long {
			out = append(out, with(a.warn(n.Name, "a transaction of %s in %s is open for %s; the switch would end it", "%s 在 %s 中的事务已打开 %s；切换会中断它", s.User, s.Database, s.Age),
				"pid "+s.PID+", "+s.State, "let it end, or end it: select pg_terminate_backend("+s.PID+")", "等其结束，或终止：select pg_terminate_backend("+s.PID+")"))
			if s.Age >= time.Hour {
				out[len(out)-1].Severity = check.Block
			}
		}
	}
	return out
}

func (a *asker) preparedTransactions() (out []check.Finding) {
	for _, n := range a.live() {
		for _, p := range n.Prepared {
			out = append(out, with(a.warn(n.Name, "a prepared transaction is open; it survives the upgrade and keeps its locks", "存在未完成的预备事务；升级后仍保留并持有锁"), p,
				"commit prepared or rollback prepared, if nobody needs it", "如不再需要，请 commit prepared 或 rollback prepared"))
		}
	}
	return out
}

func (a *asker) haAgent() (out []check.Finding) {
	for _, n := range a.v.Nodes {
		if len(n.Agents) > 0 {
			out = append(out, with(a.block(n.Name, "%s runs here: it would start what the upgrade stops, or move the primary", "%s 正在运行：会重启被升级停止的服务器或切换主库", strings.Join(n.Agents, ", ")), "",
				"pause or stop it for the time of the upgrade", "升级期间请暂停或停止它"))
		}
	}
	return out
}

// skew is how far clocks may be apart.
const skew = 2 * time.Second

func (a *asker) clock() (out []check.Finding) {
	for _, n := range a.v.Nodes {
		if n.Reachable && (n.Offset > skew || n.Offset < -skew) {
			out = append(out, with(a.warn(n.Name, "its clock is %s off this machine's", "时钟与本机相差 %s", n.Offset), "", "set the clocks by NTP", "请用 NTP 校时"))
		}
	}
	return out
}

func (a *asker) leftovers() (out []check.Finding) {
	for _, n := range a.v.Nodes {
		for _, l := range n.Leftovers {
			out = append(out, with(a.warn(n.Name, "%s is left from an earlier run", "%s 是以前升级的残留", l), "", "the run removes it; or rm -rf it", "升级会清除；也可自行删除"))
		}
		if n.SQL && slices.ContainsFunc(n.Slots, func(s slot) bool { return s.Name == holdSlot }) {
			out = append(out, with(a.warn(n.Name, "slot %s is left from an earlier run and keeps WAL", "复制槽 %s 是以前升级的残留，会持续保留 WAL", holdSlot), "",
				"select pg_drop_replication_slot('"+holdSlot+"')", "select pg_drop_replication_slot('"+holdSlot+"')"))
		}
		if n.SQL && !n.ID.Recovery && n.Signal {
			out = append(out, with(a.block(n.Name, "standby.signal lies in the primary's data directory: it would not be primary after a restart", "主库数据目录中有 standby.signal：重启后将不再是主库"), n.signal(),
				"an earlier run was cut short: shiplift status; or remove the file", "以前的升级中断了：shiplift status；或删除该文件"))
		}
	}
	return out
}

// backup asks how old the newest backup is, where a way to ask is configured.
func (a *asker) backup(ctx context.Context) (out []check.Finding, err error) {
	limit := a.r.MaxBackupAge.Std()
	asked := false
	for _, n := range a.v.Nodes {
		if len(n.Backup) == 0 || !n.Reachable {
			continue
		}
		asked = true
		s, err := siteOf(a.env, n.Name)
		if err != nil {
			return nil, err
		}
		said, err := s.text(ctx, n.Backup...)
		if err != nil {
			out = append(out, with(a.block(n.Name, "backup_command failed", "backup_command 执行失败"), err.Error(), "correct settings.backup_command", "请更正 settings.backup_command"))
			continue
		}
		at, err := parseBackupTime(said)
		if err != nil {
			out = append(out, with(a.block(n.Name, "backup_command printed no time", "backup_command 没有输出时间"), said, "let it print RFC 3339 or seconds since 1970", "应输出 RFC 3339 时间或 1970 年以来的秒数"))
			continue
		}
		age := a.env.Clock.Now().Sub(at).Round(time.Minute)
		f := check.Finding{Severity: check.Pass, Node: n.Name, Says: say.F("the newest backup is %s old", "最近的备份距今 %s", age), Evidence: said}
		if limit > 0 && age > limit {
			f.Severity, f.Next = check.Block, say.F("make a backup; the limit is --max-backup-age %s", "请先备份；上限为 --max-backup-age %s", limit)
		}
		out = append(out, f)
	}
	if !asked && limit > 0 {
		out = append(out, with(a.block("", "--max-backup-age was given, but no node has a way to ask", "指定了 --max-backup-age，但没有节点配置查询方法"), "", "set backup_command in the inventory", "请在清单中设置 backup_command"))
	}
	return out, nil
}

func parseBackupTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return parseEpoch(s)
}
