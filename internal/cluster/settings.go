package cluster

import (
	"fmt"
	"maps"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/shiplift/shiplift/internal/say"
)

// checkSettings holds a driver's own keys against what the driver knows.
func (r *reader) checkSettings(root ast.Node, d *draft, keysOf KeysOf) error {
	if keysOf == nil {
		return nil
	}
	keys, ok := keysOf(d.inv.Driver)
	if !ok {
		return r.fail(r.tokenOf(root, "driver"), say.F("unknown driver %q; the drivers: shiplift help drivers", "未知驱动 %q；可用驱动：shiplift help drivers", d.inv.Driver))
	}
	known := map[string]Key{}
	for _, k := range keys {
		known[k.Name] = k
	}
	if err := r.knownSettings(d.settings, known, d.inv.Driver, false); err != nil {
		return err
	}
	for _, nd := range d.nodes {
		if err := r.knownSettings(nd.settings, known, d.inv.Driver, true); err != nil {
			return err
		}
		for _, k := range keys {
			if k.Required && nd.settings[k.Name].value == "" && d.settings[k.Name].value == "" {
				return r.fail(nd.at, say.F("node %s has no setting %s (%s); expected under settings of the cluster or of the node",
					"节点 %s 缺少设置项 %s（%s）；应写在集群或节点的 settings 下", nd.node.Name, k.Name, k.Doc))
			}
		}
	}
	return nil
}

func (r *reader) knownSettings(have settings, known map[string]Key, driver string, atNode bool) error {
	for _, name := range slices.Sorted(maps.Keys(have)) {
		v := have[name]
		k, ok := known[name]
		switch {
		case !ok:
			what := say.F("the settings of driver %s", "驱动 %s 的 settings", driver)
			return r.unknownKey(entry{key: name, at: v.at}, what, slices.Sorted(maps.Keys(known)))
		case atNode && !k.PerNode:
			return r.fail(v.at, say.F("the setting %s holds for the whole cluster; move it to the settings beside nodes", "设置项 %s 对整个集群有效；请移到与 nodes 并列的 settings 中", name))
		case k.Check == nil:
			continue
		}
		if err := k.Check(v.value); err != nil {
			why := say.Of(err)
			return r.fail(v.at, say.Text{
				EN: fmt.Sprintf("settings.%s is %q: %s", name, v.value, why.EN),
				ZH: fmt.Sprintf("settings.%s 为 %q：%s", name, v.value, why.In(say.Chinese)),
			})
		}
	}
	return nil
}

// nearest returns the known word that key is probably a slip of.
func nearest(key string, known []string) string {
	best, bestDist := "", 3
	for _, k := range known {
		if d := distance(key, k); d < bestDist {
			best, bestDist = k, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j]+cost, prev[j+1]+1, cur[j]+1)
		}
		prev = cur
	}
	return prev[len(b)]
}
