package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// The exit codes. Scripts live by them: they never change their meaning.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPerson      = 3
	exitStale       = 4
	exitBlocked     = 5
	exitHeld        = 6
	exitGate        = 7
	exitInterrupted = 130
)

// exitCodes is the table behind `help exit-codes`.
var exitCodes = []struct {
	code int
	text say.Text
}{
	{exitDone, say.F("done; also: nothing to do, and upgraded (waiting for commit or, where no one-way gate was crossed, rollback)", "完成；也包括：无需操作，以及已升级（等待提交；未越过单向关口时也可回滚）")},
	{exitFailed, say.F("failed; nothing is left half-done", "失败；没有遗留做了一半的步骤")},
	{exitUsage, say.F("wrong usage: a flag, the inventory or the plan file", "用法错误：参数、清单或计划文件")},
	{exitPerson, say.F("failed, and a person must look before anything else", "失败，必须先由人查看")},
	{exitStale, say.F("the plan is stale: the cluster has changed since it was made", "计划已过期：生成计划后集群有变化")},
	{exitBlocked, say.F("checks forbid it, or there is no way to that release", "检查不允许，或没有通往该版本的路径")},
	{exitHeld, say.F("another operator works on the cluster, or has taken it over", "其他操作者正在操作该集群，或已接管")},
	{exitGate, say.F("waiting at a gate before its end: a pause, or a one-way gate that was not accepted", "停在中途关口：暂停点，或未获接受的单向关口")},
	{exitInterrupted, say.F("interrupted; go on with resume", "已中断；可用 resume 继续")},
}

func exitTable(lang say.Lang) string {
	var b strings.Builder
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.text.In(lang))
	}
	return b.String()
}

// usageError is what the operator can put right on the command line or in a file.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Say() say.Text { return say.Of(e.err) }

// usage makes a usageError that names a flag or a file.
func usage(place string, text, next say.Text) error {
	return &usageError{&say.Problem{Place: place, Text: text, Next: next}}
}

// ended is an end that was shown already: only the exit code is left.
type ended struct{ code int }

func (e *ended) Error() string { return fmt.Sprintf("exit %d", e.code) }

// errBlocked says that checks forbid the upgrade; the findings were shown.
type errBlocked struct {
	next say.Text
	bad  []check.Finding
}

func (e *errBlocked) Error() string { return e.Say().EN }
func (e *errBlocked) Say() say.Text {
	return say.F("checks forbid the upgrade", "检查不允许升级")
}

var errInterrupted = say.Errorf("interrupted", "已中断")

// exitOf is the one place where an error becomes an exit code.
func exitOf(err error) int {
	if err == nil {
		return exitDone
	}
	if e, ok := errors.AsType[*ended](err); ok {
		return e.code
	}
	for _, rule := range exitRules {
		if rule.fits(err) {
			return rule.code
		}
	}
	return exitFailed
}

// exitRules are asked in their order.
var exitRules = []struct {
	code int
	fits func(error) bool
}{
	{exitDone, is[*driver.NothingToDoError]},
	{exitInterrupted, func(err error) bool { return errors.Is(err, errInterrupted) || errors.Is(err, run.ErrCancelled) }},
	{exitHeld, is[*journal.HeldError]},
	{exitHeld, func(err error) bool { return errors.Is(err, journal.ErrLost) || errors.Is(err, host.ErrFenced) }},
	{exitStale, is[*plan.StaleError]},
	{exitBlocked, is[*errBlocked]},
	{exitBlocked, is[*driver.RefusalError]},
	{exitUsage, is[*plan.OtherClusterError]},
	{exitUsage, is[*usageError]},
	{exitPerson, is[*journal.DamageError]},
	{exitPerson, is[*journal.DivergedError]},
	{exitInterrupted, func(err error) bool { return errors.Is(err, context.Canceled) }},
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// exitOfOutcome is the exit code of a verb that worked on a run.
func exitOfOutcome(o *run.Outcome) int {
	switch o.State {
	case run.Upgraded, run.Committed, run.RolledBack:
		return exitDone
	case run.Interrupted:
		if o.Gate != "" {
			return exitGate
		}
		if o.Err != nil {
			if code := exitOf(o.Err); code != exitFailed {
				return code
			}
		}
		return exitInterrupted
	case run.FailedState:
		if o.NeedsPerson {
			return exitPerson
		}
		if o.Err != nil && exitOf(o.Err) == exitHeld {
			return exitHeld
		}
		return exitFailed
	case run.Idle, run.Running:
	}
	return exitFailed
}

// nextOf is what to type after an error that does not say so itself.
func (a *app) nextOf(err error) say.Text {
	if e, ok := errors.AsType[*errBlocked](err); ok {
		return e.next
	}
	if e, ok := errors.AsType[*driver.RefusalError](err); ok {
		return e.Next
	}
	if e, ok := errors.AsType[*plan.StaleError](err); ok {
		return say.Same(a.command("plan", "--to", e.To))
	}
	if is[*plan.OtherClusterError](err) {
		return say.F("name the inventory of that cluster with -c FILE", "用 -c FILE 指定该集群的清单")
	}
	if errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled) {
		return say.Same(a.command("status"))
	}
	return say.Text{}
}
