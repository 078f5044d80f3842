package dameng_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/shiplift/shiplift/internal/rehearse"
)

// number is a whole number from the environment.
func number(name string, usual int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return usual
}

// TestSeeds plays every scene with faults that seeds choose, and an operator
// who goes on or goes back: SHIPLIFT_SEEDS of them, from SHIPLIFT_SEED0 on.
func TestSeeds(t *testing.T) {
	t.Parallel()
	first, seeds := number("SHIPLIFT_SEED0", 1), number("SHIPLIFT_SEEDS", 0)
	if seeds == 0 {
		t.Skip("SHIPLIFT_SEEDS is not set; the cases of internal/proof are always played")
	}
	for name, sc := range scenes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := rehearse.Case{Name: name, Open: func(seed uint64) (rehearse.World, error) {
				one := sc
				one.opts.Seed = seed
				st := one.open(t)
				st.world.Sim, st.world.Mend = st.lab.World, st.lab.Mend
				return st.world, nil
			}}
			for seed := first; seed < first+seeds; seed++ {
				if p, err := rehearse.Play(t.Context(), c, uint64(seed)); err != nil {
					t.Errorf("%v\n%s", err, p.Tell())
				}
			}
		})
	}
}
