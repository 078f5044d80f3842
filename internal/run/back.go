package run

import (
	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// BackFindings tells whether a cluster that was rolled back is what it was
// before the run (I5, I7): one blocking finding for each thing that is not.
func BackFindings(p *plan.Plan, o *driver.Observation) []check.Finding {
	const id = "as-before"
	var out []check.Finding
	for _, text := range compareBack(p, o) {
		out = append(out, check.Finding{ID: id, Severity: check.Block, Says: text})
	}
	if len(out) == 0 {
		out = append(out, check.Finding{ID: id, Severity: check.Pass, Says: say.F("every node is as it was before", "每个节点都恢复到原来的样子")})
	}
	return out
}
