package drivertest

import "flag"

var every = flag.Int("every", 0, "take every n-th point of the suites that strike at many points; 1: all of them; 0: what each suite finds enough")

// Every is how many points a suite goes on at a time: its own number in the
// usual test run, that of the flag -every in make crash.
func Every(own int) int {
	if *every > 0 {
		return *every
	}
	return own
}
