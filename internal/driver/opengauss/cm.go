package opengauss

import (
	"context"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// componentCM is the component that can be upgraded alone.
const componentCM = "cm"

func planCM(*view, plan.Request) (plan.Plan, error) {
	return plan.Plan{}, refuse("", "", say.F("todo", "todo"), say.Text{})
}

func verifyCM(context.Context, driver.Env, *plan.Plan) ([]check.Finding, error) { return nil, nil }

func (a *asker) cmChecks() []check.Check { return nil }
