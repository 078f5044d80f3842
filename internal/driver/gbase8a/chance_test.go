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
			c := rehearse.Case{Name: name, Open: func(uint64) (rehearse.World, error) {
				return open(t, tc.cfg, tc.r, nil).World, nil
			}}
			for seed := range seeds {
				p, err := rehearse.Play(t.Context(), c, uint64(seed))
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
