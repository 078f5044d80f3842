package dameng

import (
	"fmt"
	"maps"
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

// Options of --option that this driver honours.
var optionNames = map[string][]string{
	"runbook":       {"r1", "r2", "repair-exit"}, // r2: primary alone, standbys from its backup
	"huge":          {"do", "skip"},              // the HUGE path of MAIN (R5)
	"huge-tables":   {"yes", "no"},               // whether HUGE tables exist
	"huge-accepted": {"yes"},                     // their loss is accepted (DM-081)
	"log-encrypted": {"yes", "no"},
	"origin":        nil,
	"bridge":        nil,
	"release":       nil, // of repair-exit: what the library ran last
	"old-bin":       nil, // of repair-exit: where the old binaries were put
}

func checkOptions(r plan.Request) error {
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		values, ok := optionNames[name]
		if !ok {
			return problem("--option "+name, say.F("driver dameng has no such option; it has %s", "驱动 dameng 没有该选项；可用的有 %s", strings.Join(slices.Sorted(maps.Keys(optionNames)), ", ")), say.Text{})
		}
		if err := checkOption(r, name, values); err != nil {
			return err
		}
	}
	if r.Component != "" || len(r.Nodes) > 0 || r.Candidate != "" || r.Continue {
		return problem("", say.F("Dameng is upgraded as a whole: no component, nodes or candidate can be chosen", "达梦只能整体升级：不能指定组件、部分节点或候选主库"), say.Text{})
	}
	return nil
}

// checkOption reads the value of one option; values are those that it may have.
func checkOption(r plan.Request, name string, values []string) error {
	place, value := "--option "+name, r.Options[name]
	if (name == "release" || name == "old-bin") && !repairs(r) {
		return problem(place, say.F("it belongs to repair-exit alone", "仅用于 repair-exit"), say.Text{})
	}
	switch {
	case name == "old-bin":
		if err := aPath(value); err != nil {
			return problem(place, say.F("%q is not an absolute path", "%q 不是绝对路径", value), say.Text{})
		}
	case values == nil:
		if _, err := release.Parse(value); err != nil {
			return problem(place, say.Same(err.Error()), say.Text{})
		}
	case !slices.Contains(values, value):
		return problem(place, say.F("%q is not one of %s", "%q 不在可选值 %s 中", value, strings.Join(values, ", ")), say.Text{})
	}
	return nil
}

// pathRequest is the question that a plan's request asks.
func (d *detail) pathRequest(r plan.Request, from, to release.Version) PathRequest {
	first := d.site.nodes[0]
	q := PathRequest{From: from, To: to, Topology: d.site.topology, Rolling: r.Mode == "rolling", Facts: map[string]string{}}
	pick := func(option, setting string) string {
		if v := r.Options[option]; v != "" {
			return v
		}
		return first.set[setting]
	}
	if v, err := release.Parse(pick("origin", "origin")); err == nil {
		q.Origin = v
	}
	q.LogEncrypted = pick("log-encrypted", "log_encrypted") == "yes"
	q.HugeTables = r.Options["huge-tables"] == "yes"
	for _, n := range d.site.nodes {
		q.HugeTables = q.HugeTables || d.nodes[n.name].HugeRows > 0
	}
	if v := r.Options["huge-accepted"]; v != "" {
		q.Facts["huge-accepted"] = v
	}
	if v := r.Options["bridge"]; v != "" {
		q.Facts["bridge"] = v
	}
	if d.site.topology.shared() && d.asmOld() {
		q.Facts["asm"] = "old"
	}
	if r.Options["runbook"] == "r2" {
		q.Facts["via"] = "r2"
	}
	d.stateFacts(q.Facts)
	return q
}

// stateFacts are what was seen of the cluster.
func (d *detail) stateFacts(f map[string]string) {
	if len(d.equalMagic()) > 0 {
		f["standby"] = "equal-magic"
	}
	for _, m := range d.site.members {
		if s := d.of(m); m.name != d.primary && s.Instance.Status == "MOUNT" {
			f["standby"] = "mount"
		}
		for _, status := range d.of(m).EPs {
			if status != "OK" {
				f["node"] = "error"
			}
		}
	}
}

// Plan writes the way down. It is pure.
func (Driver) Plan(inv *cluster.Inventory, o driver.Observation, r plan.Request) (plan.Plan, error) {
	d, ok := o.Detail.(*detail)
	if !ok {
		return plan.Plan{}, say.Errorf("the observation is not one of driver dameng", "该观察结果不是 dameng 驱动的")
	}
	if err := checkOptions(r); err != nil {
		return plan.Plan{}, err
	}
	if repairs(r) {
		return d.planRepair(r)
	}
	from, err := d.release()
	if err != nil {
		return plan.Plan{}, err
	}
	to, err := release.Parse(r.To)
	if err != nil {
		return plan.Plan{}, problem("--to", say.Same(err.Error()), say.Text{})
	}
	if to.Same(from) {
		return plan.Plan{}, &driver.NothingToDoError{Text: say.F("the cluster runs %s already", "集群已运行 %s", to)}
	}
	q := d.pathRequest(r, from, to)
	a, err := Path(q)
	if err != nil {
		return plan.Plan{}, err
	}
	if a.Verdict != release.OK {
		next := a.Next
		if a.Rule == "DM-081" {
			next = say.F("move them into ordinary tables first, or accept the loss: --option huge-accepted=yes", "请先迁移为普通表，或确认放弃：--option huge-accepted=yes")
		}
		return plan.Plan{}, &driver.RefusalError{Rule: a.Rule, Text: a.Why, Next: next}
	}
	if d.primary == "" {
		return plan.Plan{}, problem("", say.F("exactly one primary was expected", "应当恰好有一个主库"), say.F("bring the cluster to its normal state first", "请先恢复集群正常状态"))
	}
	b := &builder{d: d, r: r, q: q}
	b.p.From, b.p.To = from.String(), to.String()
	if !q.Rolling {
		b.p.Remarks = append(b.p.Remarks, say.F("this upgrade is in place: the whole cluster is down for a while", "本次为就地升级：整个集群将停机一段时间"))
	}
	for i, h := range a.Hops {
		b.prefix = ""
		if len(a.Hops) > 1 {
			b.prefix = fmt.Sprintf("hop%d/", i+1)
		}
		if err := b.hop(h); err != nil {
			return plan.Plan{}, err
		}
	}
	b.prefix = ""
	b.stage(plan.Step{ID: "verify", Kind: plan.VerifyKind, Class: plan.ReadOnly, Impact: plan.None, Timeout: minutes(30),
		Says: say.F("Prove releases, roles, archives and open history from state that is read again", "重新读取状态，证明版本、角色、归档与打开历史")})
	b.stage(plan.Step{ID: plan.CommitGate, Kind: plan.GateKind, Class: plan.OneWay, Impact: plan.None,
		Says: say.F("Accept the upgrade", "确认升级完成"), Gate: &plan.Gate{OneWay: true, Costs: say.F("the old software and the cold copies are removed; moved archives stay", "删除旧软件与冷备；移走的归档保留")}})
	b.cleanup(a.Hops)
	return b.p, nil
}

func minutes(n int) plan.Duration { return plan.Duration(time.Duration(n) * time.Minute) }

// builder lays steps out in stages: each step of a stage needs all of the one before.
type builder struct {
	p      plan.Plan
	d      *detail
	r      plan.Request
	q      PathRequest
	prefix string
	last   []string
	// of the hop under way
	h       release.Hop
	duties  Duties
	gated   bool // a one-way gate of this hop is behind
	down    bool
	primary *member
	standby []*member
}

// stage adds steps that may go side by side.
func (b *builder) stage(steps ...plan.Step) {
	if len(steps) == 0 {
		return
	}
	var ids []string
	for _, s := range steps {
		s.Needs = b.last
		if s.Phase == "" {
			s.Phase = plan.Apply
		}
		if s.Timeout == 0 {
			s.Timeout = minutes(10)
		}
		if s.Estimate == 0 {
			s.Estimate = plan.Duration(usually(s.Kind))
		}
		b.p.Steps = append(b.p.Steps, s)
		ids = append(ids, s.ID)
	}
	b.last = ids
}

// spans are what steps take on a small database, by our own reckoning: the
// vendor gives no figures. Copies grow with the data.
var spans = map[string]time.Duration{
	"stage": 30 * time.Second, "clean-up": 30 * time.Second,
	"stop-server": 30 * time.Second, "start-server": 30 * time.Second,
	"stop-node": time.Minute, "start-node": time.Minute,
	"wait-open": time.Minute, "open-primary": 30 * time.Second, "open-standby": 20 * time.Second, "force-open": 20 * time.Second,
	"cold-copy": 5 * time.Minute, "backup-primary": 10 * time.Minute, "restore-standby": 10 * time.Minute, "adopt-standby": 30 * time.Second,
}

func usually(kind string) time.Duration {
	if d, ok := spans[kind]; ok {
		return d
	}
	return 5 * time.Second
}

// step makes a step of this hop on a node.
func (b *builder) step(n *node, kind, id, rule string, says say.Text) plan.Step {
	impact := plan.None
	if b.down {
		impact = plan.Down
	}
	class := plan.Reversible
	if b.gated {
		class = plan.OneWay
	}
	at := n.name
	name := b.prefix + at + "/" + id
	return plan.Step{ID: name, Kind: kind, Node: at, Says: says, Rule: rule, Class: class, Impact: impact,
		Args: map[string]string{"from": b.h.From.String(), "to": b.h.To.String(), "epochs": strings.Join(b.h.Epochs, ","), "primary": b.primary.name, "runbook": b.h.Runbook}}
}

// each makes a step for every node.
func (b *builder) each(nodes []*node, kind, id, rule string, says func(*node) say.Text) []plan.Step {
	var out []plan.Step
	for _, n := range nodes {
		out = append(out, b.step(n, kind, id, rule, says(n)))
	}
	return out
}

func (b *builder) members(ms []*member, kind, id, rule string, says func(*member) say.Text) []plan.Step {
	var out []plan.Step
	for _, m := range ms {
		s := b.step(m.first(), kind, id, rule, says(m))
		s.Timeout = plan.Duration(m.first().backupTime())
		out = append(out, s)
	}
	return out
}

func (b *builder) readOnly(steps []plan.Step) []plan.Step {
	for i := range steps {
		steps[i].Class = plan.ReadOnly
	}
	return steps
}

func (b *builder) gate(id, rule string, says, costs say.Text) {
	impact := plan.None
	if b.down {
		impact = plan.Down
	}
	b.stage(plan.Step{ID: b.prefix + id, Kind: plan.GateKind, Class: plan.OneWay, Impact: impact, Rule: rule, Says: says, Gate: &plan.Gate{OneWay: true, Costs: costs}})
	b.gated = true
}

// all members, standbys before the primary: an undo, which goes the other
// way, then stops the primary's server first.
func (b *builder) upwards() []*member { return append(slices.Clone(b.standby), b.primary) }

func nodesOf(ms ...*member) []*node {
	var out []*node
	for _, m := range ms {
		out = append(out, m.nodes...)
	}
	return out
}

func sharedOf(ms []*member) []*member {
	return slices.DeleteFunc(slices.Clone(ms), func(m *member) bool { return !m.shared() })
}

// packageFor returns the package of a release among those of the request.
func (b *builder) packageFor(v release.Version) (string, error) {
	for _, p := range b.r.Packages {
		if hasRelease(filepath.Base(p), v) {
			return p, nil
		}
	}
	return "", problem("--package", say.F("no package of %s was given: its file name must hold the release", "没有 %s 的升级包：文件名中须包含版本号", v),
		say.F("--package dameng-%s.tar.gz (a tar.gz of the directory bin, with release.txt holding its ID_CODE)", "--package dameng-%s.tar.gz（bin 目录的 tar.gz，其中 release.txt 写有 ID_CODE）", v))
}

// hasRelease reports whether a name holds the release and not a longer one.
func hasRelease(name string, v release.Version) bool {
	for rest := name; ; {
		i := strings.Index(rest, v.String())
		if i < 0 {
			return false
		}
		before, after := byte('-'), byte('-')
		if i > 0 {
			before = rest[i-1]
		}
		if j := i + len(v.String()); j < len(rest) {
			after = rest[j]
			if after == '.' && j+1 < len(rest) && (rest[j+1] < '0' || rest[j+1] > '9') {
				after = '-'
			}
		}
		if !isVersionByte(before) && !isVersionByte(after) {
			return true
		}
		rest = rest[i+1:]
	}
}

func isVersionByte(c byte) bool { return c == '.' || c >= '0' && c <= '9' }
