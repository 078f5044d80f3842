package postgres

import (
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// planInplace stops everything once: the primary first, so that the standbys
// receive its last record, and starts it last, so that no write comes before
// its standbys are there.
func (b *builder) planInplace() {
	p := b.primary
	var standbys []*seen
	for _, n := range b.v.Nodes {
		if n != p {
			standbys = append(standbys, n)
		}
	}
	if len(standbys) > 0 {
		b.add(plan.Step{ID: "cluster/caught-up", Kind: kindFollows, Class: plan.ReadOnly,
			Says:     say.F("prove that every standby streams and has caught up", "确认所有备库均在流复制且已追平"),
			Estimate: dur(2 * time.Second), Timeout: dur(p.CatchUpWait + time.Minute),
			Args: map[string]string{"standbys": strings.Join(nodeNames(standbys), " ")}})
	}
	b.stop(p, "stop", plan.Down, say.F("stop the primary %s cleanly: the cluster is down from here on", "正常停止主库 %s：集群从此刻起不可用", p.Name), nil)
	b.beside(standbys, func(n *seen) {
		b.stop(n, "stop", plan.Down, say.F("prove that %s has received the last record of %s, then stop it", "确认 %s 已收到 %s 的最后一条记录，然后停止", n.Name, p.Name),
			map[string]string{"received-all-of": p.Name})
	})
	b.beside(b.todo, b.switchBinary)
	b.beside(standbys, func(n *seen) { b.start(n, "start", n.Upstream, plan.Down, true) })
	b.start(p, "start", "", plan.Down, false)
	if len(standbys) > 0 {
		b.add(plan.Step{ID: "cluster/follow", Kind: kindFollows, Class: plan.ReadOnly,
			Says:     say.F("prove that every standby follows: its position moves twice", "确认所有备库正常跟随：复制位点连续前进两次"),
			Estimate: dur(3 * time.Second), Timeout: dur(p.CatchUpWait + time.Minute),
			Args: map[string]string{"standbys": strings.Join(nodeNames(standbys), " ")}})
	}
}
