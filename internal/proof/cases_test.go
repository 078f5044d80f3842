package proof_test

import (
	"fmt"
	"strings"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
)

// cases are all practice clusters that the simulation plays on.
func cases() []rehearse.Case {
	return []rehearse.Case{
		{Name: "toy-3", Open: toy},
	}
}

func toy(uint64) (rehearse.World, error) {
	inv, hosts := drivertest.ToyCluster(3, "1.0")
	return rehearse.World{
		Driver:  drivertest.Toy{},
		Env:     driver.Env{Hosts: hosts, Inventory: inv, Clock: rehearse.NewClock(), Serial: true},
		Request: plan.Request{To: "2.0", Mode: "rolling"},
		Truth: func() error {
			primaries := 0
			for _, h := range hosts {
				if strings.TrimSpace(h.(*drivertest.ToyHost).Files["/toy/role"]) == "primary" {
					primaries++
				}
			}
			if primaries != 1 {
				return fmt.Errorf("%d primaries", primaries)
			}
			return nil
		},
	}, nil
}
