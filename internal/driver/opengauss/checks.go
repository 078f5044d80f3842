package opengauss

import (
	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
)

// Checks are all questions to ask before an upgrade.
func (d *Driver) Checks(env driver.Env, o driver.Observation, r plan.Request) []check.Check {
	return nil
}
