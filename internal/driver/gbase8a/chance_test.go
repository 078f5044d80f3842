package gbase8a_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/shiplift/shiplift/internal/rehearse"
)

// TestByChance plays whole upgrades with one or two faults each: the tool
// dies, links break, machines go down and come back, disks fill. SEEDS plays more.
func TestByChance(t *testing.T) {
	t.Parallel()
	seeds := 12
	if n, err := strconv.Atoi(os.Getenv("SEEDS")); err == nil {
		seeds = n
	}
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc := cases[name]
			var o *world
			c := rehearse.Case{Name: name, Open: func(uint64) (rehearse.World, error) {
				o = open(t, tc.cfg, tc.r, nil)
				return o.World, nil
			}}
			for seed := range seeds {
				p, err := rehearse.Play(t.Context(), c, uint64(seed))
				if err != nil && o.mixed() && o.rules() == nil {
					continue // a machine died under the installer: the vendor's case, and the tool left it alone
				}
				if err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, p.Tell())
				}
			}
		})
	}
}

// mixed: the nodes have different releases.
func (o *world) mixed() bool {
	for _, n := range o.c.Nodes {
		if n.Version != o.c.Nodes[0].Version {
			return true
		}
	}
	return false
}
