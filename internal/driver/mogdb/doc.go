// Package mogdb carries MogDB from 2.0.1 to 2.0.3: a patch release that
// replaces the directories bin and lib and nothing else.
//
// The patch repairs a leak in the primary's walsender (spec/mogdb.md section
// 1). Its care lies elsewhere: MogHA must neither start what was stopped nor
// stay off afterwards, files that a swap would lose must be carried, a
// switchover is believed only when both nodes tell their new roles, and gs_om
// must learn of it.
//
// Files: settings.go, package.go, tree.go and memory.go are pure or read this
// machine alone; site.go knows a node; observe.go, checks.go and verify.go ask;
// plan.go decides; act_*.go act.
package mogdb

import (
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
)

// Name is the driver's name in inventories and plans.
const Name = "mogdb"

// Driver upgrades MogDB. It keeps no state.
type Driver struct{}

var _ driver.Driver = (*Driver)(nil)

// New returns the driver.
func New() *Driver { return &Driver{} }

// Name returns "mogdb".
func (*Driver) Name() string { return Name }

// Settings are the keys that the inventory may hold.
func (*Driver) Settings() []cluster.Key { return settingKeys() }

// Action returns how steps of a kind are done.
func (*Driver) Action(kind string) (driver.Action, bool) {
	a, ok := actions[kind]
	return a, ok
}
