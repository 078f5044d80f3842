package proof_test

import (
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	"github.com/shiplift/shiplift/internal/driver/mogdb"
	"github.com/shiplift/shiplift/internal/driver/opengauss"
	damenglab "github.com/shiplift/shiplift/internal/lab/dameng"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	gbaselab "github.com/shiplift/shiplift/internal/lab/gbase8a"
	"github.com/shiplift/shiplift/internal/lab/pgsim"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
)

// small are the smallest clusters of each product: one primary and one standby,
// or one coordinator and one data node.
func small() map[string]func(uint64) (rehearse.World, error) {
	return map[string]func(uint64) (rehearse.World, error){
		"toy":               toy,
		"postgres-rolling":  postgresCase{pgsim.Options{Nodes: 2, Slots: true}, plan.Request{Mode: "rolling"}}.opener(),
		"postgres-inplace":  postgresCase{pgsim.Options{Nodes: 2}, plan.Request{Mode: "inplace"}}.opener(),
		"opengauss-rolling": gaussCase{opengauss.New(), gauss.OpenGauss, gauss.Options{Release: "5.0.0", Nodes: 2, Load: true}, plan.Request{To: "5.0.3", Mode: "rolling"}, nil}.opener(),
		"mogdb-rolling":     gaussCase{mogdb.New(), gauss.MogDB, gauss.Options{Flavor: gauss.MogDB, Nodes: 2, Install: "manual", Load: true}, plan.Request{To: "2.0.3", Mode: "rolling"}, nil}.opener(),
		"dameng-dw":         damengCase{damenglab.Options{Topology: "dw", Standbys: 1, Release: "8.1.1.15"}, "8.1.1.100", "inplace"}.opener(),
		"gbase8a":           gbaseCase{gbaselab.Config{Flavor: gbaselab.V952, Coordinators: 1, DataNodes: 1, FlushRequired: true}, plan.Request{Component: gbase8a.Component}}.opener(),
	}
}

// TestExhaustive kills the tool at every single point, and twice at every pair
// of step boundaries, of an apply, a rollback and a commit of the smallest
// clusters (make crash); the usual tests look at a sample.
func TestExhaustive(t *testing.T) {
	t.Parallel()
	points, pairs := drivertest.Every(151), drivertest.Every(23)
	for name, open := range small() {
		if !strings.Contains(name, *only) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fresh := func(t testing.TB) drivertest.World {
				w, err := open(1)
				if err != nil {
					t.Fatal(err)
				}
				return w
			}
			t.Run("points", func(t *testing.T) { t.Logf("%d deaths", drivertest.EveryCrash(t, fresh, points)) })
			t.Run("pairs", func(t *testing.T) { t.Logf("%d pairs", drivertest.EveryPair(t, fresh, pairs)) })
		})
	}
}
