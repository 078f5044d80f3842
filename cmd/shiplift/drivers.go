package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/dameng"
	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	"github.com/shiplift/shiplift/internal/driver/mogdb"
	"github.com/shiplift/shiplift/internal/driver/opengauss"
	"github.com/shiplift/shiplift/internal/driver/postgres"
	"github.com/shiplift/shiplift/internal/say"
)

// drivers are the products that the tool knows. A new one is added here and
// nowhere else; a simulated lab in simlab's products.
var drivers = map[string]driver.Driver{
	"dameng":      dameng.Driver{},
	"gbase8a":     gbase8a.Driver{},
	mogdb.Name:    mogdb.New(),
	"opengauss":   opengauss.New(),
	postgres.Name: postgres.New(),
}

func driverNames() []string { return slices.Sorted(maps.Keys(drivers)) }

// keysOf returns the settings of a driver, for the inventory's reader.
func keysOf(name string) ([]cluster.Key, bool) {
	d, ok := drivers[name]
	if !ok {
		return nil, false
	}
	return d.Settings(), true
}

func unknownDriver(place, name string) error {
	return usage(place,
		say.F("no driver %q; the drivers: %s", "没有驱动 %q；可用驱动：%s", name, strings.Join(driverNames(), ", ")),
		say.Same("shiplift help drivers"))
}
