// Package opengauss upgrades an openGauss cluster natively: it does what
// gs_upgradectl does with the low-level tools, one node after another, with a
// way back from every step.
//
// Two releases lie side by side, <app>_<old commit> and <app>_<new commit>, and
// the link $GAUSSHOME leads to one of them. When only the binaries differ (a
// small upgrade) a node changes by stop, flip of the link, start. When the
// catalogue differs too (a big one), the working version number holds the new
// binaries at the old catalogue until the commit: gs_ctl start adds
// -u <old number> by itself while $PGHOST/binary_upgrade/old_upgrade_version is
// there, upgrade_mode is not 0, and the vendor's SQL runs before the first node
// changes and after the last one did.
//
// Files: strategy.go, plan*.go decide; observe.go and checks*.go ask;
// site.go, sql.go and roles.go know the machines; actions*.go act.
package opengauss

import (
	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
)

// Name is the driver's name in inventories and plans.
const Name = "opengauss"

// Driver upgrades openGauss. It keeps no state.
type Driver struct{}

// New returns the driver.
func New() *Driver { return &Driver{} }

// Name returns "opengauss".
func (*Driver) Name() string { return Name }

// Settings are the keys that the inventory may hold.
func (*Driver) Settings() []cluster.Key {
	return []cluster.Key{
		{Name: "profile", PerNode: true, Doc: "file that sets the environment of the cluster user; .bashrc when not given"},
		{Name: "xml", Doc: "the cluster file that gs_preinstall was given, on this machine or on the first node"},
		{Name: "data", Required: true, PerNode: true, Doc: "data directory of the datanode", Check: cluster.AbsolutePath},
		{Name: "port", Required: true, PerNode: true, Doc: "port of the datanode", Check: cluster.PortNumber},
		{Name: "cm_dir", PerNode: true, Doc: "cmDir of the cluster file; asked of the node when not given", Check: cluster.AbsolutePath},
		{Name: "backup", PerNode: true, Doc: "file or directory whose time says when the newest backup was taken"},
	}
}

// Action returns how steps of a kind are done.
func (*Driver) Action(kind string) (driver.Action, bool) {
	a, ok := actions[kind]
	return a, ok
}
