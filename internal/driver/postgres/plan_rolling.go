package postgres

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// holdSlot keeps the WAL that nodes need which are down during the run. It is
// on every node that somebody follows now or will follow.
const holdSlot = "shiplift_hold"

func (b *builder) planRolling() {
	b.holdWAL()
	for i, batch := range b.batches() {
		b.upgradeStandbys(batch, strconv.Itoa(i+1))
	}
	if slices.Contains(b.todo, b.primary) {
		b.upgradePrimary()
	}
	b.releaseWAL()
}

// holdWAL makes slots that keep WAL on all future and present upstreams.
func (b *builder) holdWAL() {
	up := map[string]bool{}
	if slices.Contains(b.todo, b.primary) {
		up[b.candidate.Name] = true
	}
	for _, n := range b.v.Nodes {
		if n.Upstream != "" {
			up[n.Upstream] = true
		}
	}
	var nodes []*seen
	for _, n := range b.v.Nodes {
		if !up[n.Name] {
			continue
		}
		if free := freeSlots(n); free < 1 {
			b.remarks = append(b.remarks, say.F(
				"%s has no free replication slot (max_replication_slots), so WAL that a stopped node still needs is kept there only by wal_keep_size",
				"%s 没有空闲的复制槽（max_replication_slots），停机节点所需的 WAL 只能靠 wal_keep_size 保留", n.Name))
			continue
		}
		nodes = append(nodes, n)
		b.holdsTaken = append(b.holdsTaken, n.Name)
	}
	b.beside(nodes, func(n *seen) {
		args := map[string]string{"slots": holdSlot}
		if n == b.candidate {
			args["for"] = b.primary.Name
		}
		b.add(plan.Step{ID: n.Name + "/hold-wal", Kind: kindMakeSlots, Node: n.Name, Args: args,
			Says: say.F("keep WAL on %s for nodes that are down during the run (slot %s)", "在 %s 上为升级期间停机的节点保留 WAL（复制槽 %s）", n.Name, holdSlot)})
	})
}

func (b *builder) releaseWAL() {
	var nodes []*seen
	for _, name := range b.holdsTaken {
		nodes = append(nodes, b.v.node(name))
	}
	b.beside(nodes, func(n *seen) {
		b.add(plan.Step{ID: n.Name + "/release-wal", Kind: kindDropSlots, Node: n.Name,
			Says: say.F("keep WAL on %s no longer (slot %s)", "%s 不再额外保留 WAL（复制槽 %s）", n.Name, holdSlot),
			Args: map[string]string{"slots": holdSlot}})
	})
}

func freeSlots(n *seen) int {
	most, _ := strconv.Atoi(n.Settings["max_replication_slots"].Value)
	return most - len(n.Slots)
}

// batches are the standbys that go together: the leaves of a cascade before
// their upstream, the candidate last on its level, at most --max-unavailable at once.
func (b *builder) batches() [][]*seen {
	levels := map[int][]*seen{}
	deepest := 0
	for _, n := range b.todo {
		if n == b.primary {
			continue
		}
		d := b.depth(n)
		levels[d] = append(levels[d], n)
		deepest = max(deepest, d)
	}
	size := max(1, b.r.MaxUnavailable)
	var out [][]*seen
	for d := deepest; d > 0; d-- {
		level := levels[d]
		slices.SortStableFunc(level, func(x, y *seen) int {
			switch b.candidate {
			case x:
				return 1
			case y:
				return -1
			}
			return 0
		})
		for batch := range slices.Chunk(level, size) {
			out = append(out, batch)
		}
	}
	return out
}

// depth is how many hops a node is away from the primary.
func (b *builder) depth(n *seen) int {
	d := 0
	for n != nil && n != b.primary && d <= len(b.v.Nodes) {
		n, d = b.v.node(n.Upstream), d+1
	}
	return d
}

func (b *builder) upgradeStandbys(batch []*seen, tag string) {
	relaxed := b.relaxSync(b.primary, b.sync, b.appsBelow(b.primary, batch...), "relax-sync-"+tag, names(batch)+" restart")
	b.beside(batch, func(n *seen) {
		says := say.F("stop the standby %s; the cluster goes on without it", "停止备库 %s；集群在缺少它的情况下继续运行", n.Name)
		b.stop(n, "stop", plan.ReadsOnly, says, nil)
		b.switchBinary(n)
		b.start(n, "start", n.Upstream, plan.ReadsOnly, false)
	})
	b.restore(b.primary, relaxed, "restore-sync-"+tag)
}

func names(nodes []*seen) string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Name
	}
	return strings.Join(out, ", ")
}

// appsBelow are the names under which standbys stream from a node, without
// those of some nodes.
func (b *builder) appsBelow(up *seen, without ...*seen) []string {
	var out []string
	for _, n := range b.v.children(up.Name) {
		if n.Receiver.streams() && !slices.Contains(without, n) {
			out = append(out, n.app())
		}
	}
	return out
}

// relaxSync lets commits wait for fewer standbys where those in here are not
// enough for what is asked; the id of the step, or "" when none is needed.
func (b *builder) relaxSync(on *seen, have syncNames, here []string, id, why string) string {
	less := have.relaxed(here)
	if less.String() == have.String() {
		return ""
	}
	waits, waitsZH := "commits wait for "+less.String(), "提交只等待 "+less.String()
	if less.off() {
		waits, waitsZH = "commits wait for no standby", "提交不等待任何备库"
	}
	return b.add(plan.Step{ID: on.Name + "/" + id, Kind: kindAlter, Node: on.Name,
		Says: say.Text{
			EN: "reduce synchronous replication on " + on.Name + " while " + why + ", so that writes do not block: " + waits,
			ZH: "临时降低 " + on.Name + " 的同步复制要求（" + strings.ReplaceAll(strings.ReplaceAll(why, " restart", " 重启期间"), " is away", " 不在线期间") + "），避免写入阻塞：" + waitsZH,
		},
		Args: map[string]string{"set:synchronous_standby_names": less.String()}})
}

// restore gives settings back their values from before another step.
func (b *builder) restore(on *seen, step, id string) {
	if step == "" {
		return
	}
	b.add(plan.Step{ID: on.Name + "/" + id, Kind: kindAlter, Node: on.Name,
		Says: say.F("give %s the settings back that it had before %s", "恢复 %s 在步骤 %s 之前的设置", on.Name, step),
		Args: map[string]string{"restore": step}})
}

// upgradePrimary hands the primary's role to the candidate, upgrades the old
// primary and takes it in as a standby; on request the role goes back.
func (b *builder) upgradePrimary() {
	p, c := b.primary, b.candidate
	others := slices.DeleteFunc(b.v.children(p.Name), func(n *seen) bool { return n == c })
	there := b.sync.renamed(c.app(), b.appOf(p))
	if len(b.v.children(c.Name)) > 0 {
		b.remarks = append(b.remarks, say.F("%s is both candidate and upstream of %s, which will stream from the new primary directly",
			"%s 既是候选节点又是 %s 的上游，后者将直接从新主库流复制", c.Name, names(b.v.children(c.Name))))
	}
	sw := &swap{from: p, to: c, others: others, have: b.sync, want: there, below: b.appsBelow(c), id: "switchover"}
	b.swap(sw)
	b.switchBinary(p)
	b.start(p, "start", c.Name, plan.None, false)
	b.settleAfter(sw)
	if !b.r.SwitchBack {
		b.tidySlots(sw)
		return
	}
	back := &swap{from: c, to: p, others: others, have: there, want: b.sync, id: "switchback", suffix: "-back"}
	b.swap(back)
	b.start(c, "start-back", p.Name, plan.None, false)
	b.settleAfter(back)
	b.restore(c, cmp.Or(sw.prepared, sw.settled), "restore-settings")
	b.tidyBack(sw)
}

// appOf is the name under which a node will stream as a standby.
func (b *builder) appOf(n *seen) string {
	if a := n.app(); a != "walreceiver" {
		return a
	}
	if b.candidate.app() == "walreceiver" {
		return "walreceiver"
	}
	return n.Name
}

// swap is one change of the primary.
type swap struct {
	from, to    *seen
	others      []*seen // direct standbys of from beside to; they follow to
	have, want  syncNames
	below       []string // application names that stream from to already
	id, suffix  string
	relaxed     string // step that reduced have on from
	prepared    string // step that prepared to
	settled     string // step that gave to its settings for good
	atPromotion syncNames
	made        []string // slots made on to
}

func (b *builder) swap(s *swap) {
	b.prepareSwap(s)
	args := map[string]string{"from": s.from.Name, "to": s.to.Name, "name": b.appOf(s.from), "others": strings.Join(nodeNames(s.others), " ")}
	if b.usesSlots {
		args["slot"] = slotFor(s.from)
	}
	// The step counts as the old primary's, not as s.to's: when the old primary
	// is away, the switch back is owed to it, but the present primary must get
	// its release back all the same (I5).
	b.add(plan.Step{ID: "cluster/" + s.id, Kind: kindSwitchover, Nodes: []string{s.from.Name}, Impact: plan.WritesStop,
		Says: say.F("switch the primary from %s to %s: stop %[1]s, prove that %[2]s has everything, promote %[2]s; writes stop for less than a second",
			"主库从 %s 切换到 %s：停止 %[1]s，确认 %[2]s 已收到全部数据，再提升 %[2]s；写入中断不到一秒", s.from.Name, s.to.Name),
		Estimate: dur(3 * time.Second), Timeout: dur(s.from.StopWait + s.to.CatchUpWait + 2*time.Minute), Args: args})
}

// prepareSwap does before the cut all that can be done before it.
func (b *builder) prepareSwap(s *swap) {
	stay := b.appsBelow(s.from, append(slices.Clone(s.others), s.to)...)
	s.relaxed = b.relaxSync(s.from, s.have, append(stay, b.appOf(s.to)), "relax-sync-switch"+s.suffix, "the switchover is under way")
	if slots := b.slotsOn(s); len(slots) > 0 {
		b.add(plan.Step{ID: s.to.Name + "/make-slots" + s.suffix, Kind: kindMakeSlots, Node: s.to.Name,
			Says: say.F("make the replication slots on %s that its future standbys use: %s", "在 %s 上创建未来备库使用的复制槽：%s", s.to.Name, strings.Join(slots, ", ")),
			Args: map[string]string{"slots": strings.Join(slots, " "), "for": s.from.Name}})
	}
	b.beside(s.others, func(n *seen) {
		b.add(plan.Step{ID: n.Name + "/repoint" + s.suffix, Kind: kindRepoint, Node: n.Name,
			Says:     say.F("let %s stream from %s, so that it follows through the switchover", "让 %s 改从 %s 流复制，使其平滑跟随主备切换", n.Name, s.to.Name),
			Estimate: dur(2 * time.Second), Timeout: dur(n.CatchUpWait + time.Minute),
			Args: map[string]string{"upstream": s.to.Name, "from": s.from.Name}})
	})
	here := slices.Clone(s.below)
	for _, n := range s.others {
		here = append(here, n.app())
	}
	s.atPromotion = s.want.relaxed(here)
	if s.to.Settings["synchronous_standby_names"].Value == s.atPromotion.String() {
		return
	}
	s.prepared = b.add(plan.Step{ID: s.to.Name + "/prepare" + s.suffix, Kind: kindAlter, Node: s.to.Name,
		Says: say.F("prepare %s for the promotion: synchronous_standby_names = '%s' until %s is back", "为提升 %s 做准备：在 %[3]s 归队前 synchronous_standby_names = '%[2]s'", s.to.Name, s.atPromotion.String(), s.from.Name),
		Args: map[string]string{"set:synchronous_standby_names": s.atPromotion.String()}})
}

func nodeNames(nodes []*seen) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Name
	}
	return out
}

// settleAfter gives both nodes the settings that are right now: the old
// primary is back as a standby, so commits may wait for it again.
func (b *builder) settleAfter(s *swap) {
	if s.want.String() != s.atPromotion.String() {
		s.settled = b.add(plan.Step{ID: s.to.Name + "/settle" + s.suffix, Kind: kindAlter, Node: s.to.Name,
			Says: say.F("ask for synchronous replication on %s again: synchronous_standby_names = '%s'", "恢复 %s 的同步复制：synchronous_standby_names = '%s'", s.to.Name, s.want.String()),
			Args: map[string]string{"set:synchronous_standby_names": s.want.String()}})
	}
	b.restore(s.from, s.relaxed, "restore-sync-switch"+s.suffix)
}

// slotsOn are the slots that the new primary lacks for its future standbys.
func (b *builder) slotsOn(s *swap) []string {
	if !b.usesSlots {
		return nil
	}
	want := []string{slotFor(s.from)}
	for _, n := range s.others {
		if n.Settings["primary_slot_name"].Value != "" {
			want = append(want, slotFor(n))
		}
	}
	want = slices.DeleteFunc(want, func(name string) bool {
		return slices.ContainsFunc(s.to.Slots, func(x slot) bool { return x.Name == name })
	})
	slices.Sort(want)
	s.made = slices.Compact(want)
	return s.made
}

// slotFor is the slot that a node uses on its upstream.
func slotFor(n *seen) string {
	if name := n.Settings["primary_slot_name"].Value; name != "" {
		return name
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(n.Name))
}

// tidySlots drops the slots on the old primary that nobody uses any more: they
// would keep WAL there for ever.
func (b *builder) tidySlots(s *swap) {
	moved := append([]*seen{s.to}, s.others...)
	var stale []string
	for _, x := range s.from.Slots {
		if x.Type == "physical" && slices.ContainsFunc(moved, func(n *seen) bool { return n.Settings["primary_slot_name"].Value == x.Name }) {
			stale = append(stale, x.Name)
		}
	}
	b.dropSlots(s.from, stale)
}

// tidyBack drops what the way there and back has left.
func (b *builder) tidyBack(there *swap) { b.dropSlots(there.to, there.made) }

func (b *builder) dropSlots(on *seen, slots []string) {
	if len(slots) == 0 {
		return
	}
	b.add(plan.Step{ID: on.Name + "/drop-slots", Kind: kindDropSlots, Node: on.Name,
		Says: say.F("drop the replication slots on %s that nobody uses any more: %s", "删除 %s 上不再使用的复制槽：%s", on.Name, strings.Join(slots, ", ")),
		Args: map[string]string{"slots": strings.Join(slots, " ")}})
}
