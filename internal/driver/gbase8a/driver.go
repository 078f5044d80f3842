package gbase8a

import (
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
)

// Driver upgrades GBase 8a MPP Cluster V95.
type Driver struct{}

var _ driver.Driver = Driver{}

// Name returns "gbase8a".
func (Driver) Name() string { return "gbase8a" }

// DefaultMode is the mode of a request that names none: flush and installer
// both need everything stopped.
func (Driver) DefaultMode(*cluster.Inventory) string { return "inplace" }

var _ driver.DefaultMode = Driver{}

// Settings are the keys that the inventory may hold.
func (Driver) Settings() []cluster.Key { return settingKeys() }

// Action returns how steps of a kind are done.
func (Driver) Action(kind string) (driver.Action, bool) {
	a, ok := actions[kind]
	return a, ok
}
