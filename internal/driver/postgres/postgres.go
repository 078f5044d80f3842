// Package postgres upgrades a PostgreSQL cluster with streaming replication
// from one minor release to another.
//
// A minor release changes binaries only: the data directory stays as it is and
// both releases read it. So the software lies side by side, <base>/15.16 and
// <base>/15.17, and a node changes its release by a clean stop, a flip of the
// link <base>/current and a start. What needs care is everything around it:
// that no write is lost, that writes never wait for a standby which is down,
// that there are never two primaries, and that each standby follows.
//
// Files: settings.go, conninfo.go, syncnames.go and control.go are pure and
// know formats; server.go knows the machine, sql.go and queries.go the server;
// observe.go and checks*.go ask; plan*.go decide; actions*.go and switchover.go act.
package postgres

import (
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
)

// Name is the driver's name in inventories and plans.
const Name = "postgres"

// Driver upgrades PostgreSQL. It keeps no state.
type Driver struct{}

// New returns the driver.
func New() *Driver { return &Driver{} }

// Name returns "postgres".
func (*Driver) Name() string { return Name }

// Settings are the keys that the inventory may hold.
func (*Driver) Settings() []cluster.Key { return settingKeys() }

// Action returns how steps of a kind are done.
func (*Driver) Action(kind string) (driver.Action, bool) {
	a, ok := actions[kind]
	return a, ok
}
