package mogdb

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// The kinds of steps.
const (
	kindPut         = "copy-package"
	kindUnpack      = "unpack"
	kindBuild       = "build"
	kindHold        = "mogha-off"
	kindNote        = "note-roles"
	kindQuiet       = "quiet"
	kindStop        = "stop"
	kindSwap        = "swap"
	kindStart       = "start"
	kindReady       = "standbys-ready"
	kindSwitch      = "switchover"
	kindHook        = "move-vip"
	kindRefresh     = "refreshconf"
	kindCompare     = "compare"
	kindHealthy     = "healthy"
	kindRelease     = "mogha-on"
	kindRemoveOld   = "remove-old"
	kindRemoveStage = "remove-package"
)

var actions = map[string]driver.Action{
	kindPut:         putAction{},
	kindUnpack:      unpackAction{},
	kindBuild:       buildAction{},
	kindHold:        moghaAction{off: true},
	kindNote:        noteAction{},
	kindQuiet:       asking{quiet},
	kindStop:        stopAction{},
	kindSwap:        swapAction{},
	kindStart:       startAction{},
	kindReady:       asking{standbysReady},
	kindSwitch:      switchAction{},
	kindHook:        hookAction{},
	kindRefresh:     refreshAction{},
	kindCompare:     asking{compareNodes},
	kindHealthy:     asking{allHealthy},
	kindRelease:     moghaAction{},
	kindRemoveOld:   removeAction{removeOld},
	kindRemoveStage: removeAction{removeStage},
}

// asking is a step that proves something and changes nothing. What was proven
// before a crash is proven again.
type asking struct {
	ask func(context.Context, driver.Target) error
}

func (asking) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (asking) Probe(context.Context, driver.Target) (driver.Standing, error) {
	return driver.NotApplied, nil
}

func (a asking) Do(ctx context.Context, t driver.Target) error { return a.ask(ctx, t) }

func (asking) Undo(context.Context, driver.Target) error { return nil }

func remember(v any) (driver.Memo, error) { return json.Marshal(v) }

// recall reads a memo into v; a memo that is missing is an error, since it was
// durable before Do started.
func recall(m driver.Memo, v any) error {
	if len(m) == 0 {
		return say.Errorf("the step's memo is missing from the journal", "日志中缺少该步骤的备忘")
	}
	return json.Unmarshal(m, v)
}

func report(t driver.Target) func(say.Text) {
	if t.Report == nil {
		return func(say.Text) {}
	}
	return t.Report
}

func here(t driver.Target) (*site, error) { return siteOf(t.Env, t.Step.Node) }

// believed drops the error of a command whose effect is read afterwards: what
// it said and how it ended proves nothing (M14, golden README fact 2). A
// machine that did not answer stays an error, and so does the end of the run.
func believed(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || isGone(err) {
		return err
	}
	var ended *host.EndedError
	var lost *host.LostError
	if host.IsExit(err) || errors.As(err, &ended) || errors.As(err, &lost) {
		return nil
	}
	return err
}
