package gbase8a

import (
	"context"

	"github.com/shiplift/shiplift/internal/driver"
)

// The kinds of steps.
const (
	kindLock           = "lock"
	kindUnlock         = "unlock"
	kindQuiet          = "quiet"
	kindMode           = "mode"
	kindStopServices   = "stop-services"
	kindStopGcwareAll  = "stop-gcware-all"
	kindSettle         = "settle"
	kindStartGcware    = "start-gcware"
	kindWaitGcware     = "wait-gcware"
	kindFlush          = "flush"
	kindStopGcware     = "stop-gcware"
	kindStartGcwareAll = "start-gcware-all"
	kindStartServices  = "start-services"
	kindWaitHealthy    = "wait-healthy"
	kindBackup         = "backup-config"
	kindDistribution   = "backup-distribution"
	kindPut            = "put-package"
	kindPutLicense     = "put-license"
	kindUnpack         = "unpack"
	kindWriteOptions   = "write-options"
	kindDropOptions    = "drop-options"
	kindInstall        = "install"
	kindCleanup        = "cleanup"
)

var actions = map[string]driver.Action{
	kindLock:           lock{},
	kindUnlock:         unlock{},
	kindQuiet:          proof{(*site).proveQuiet},
	kindMode:           switchMode{},
	kindStopServices:   services{tool: "gcluster_services", stops: true},
	kindStopGcwareAll:  services{tool: "gcware_services", stops: true},
	kindStartServices:  services{tool: "gcluster_services"},
	kindStartGcwareAll: services{tool: "gcware_services"},
	kindSettle:         proof{(*site).settle},
	kindStartGcware:    gcwareAlone{starts: true},
	kindStopGcware:     gcwareAlone{},
	kindWaitGcware:     proof{(*site).waitGcware},
	kindFlush:          flush{},
	kindWaitHealthy:    proof{(*site).waitHealthy},
	kindBackup:         backupConfig{},
	kindDistribution:   backupDistribution{},
	kindPut:            put{},
	kindPutLicense:     put{},
	kindUnpack:         unpack{},
	kindWriteOptions:   writeOptions{},
	kindDropOptions:    writeOptions{drops: true},
	kindInstall:        install{},
	kindCleanup:        cleanup{},
}

// nothing is what many actions have to prepare.
type nothing struct{}

func (nothing) Prepare(context.Context, driver.Target) (driver.Memo, error) {
	return driver.Memo(`{}`), nil
}

// proof is a step that proves something or waits for it. It is never taken
// for done: what held before a crash is proven again.
type proof struct {
	prove func(*site, context.Context, driver.Target) error
}

func (proof) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (proof) Probe(context.Context, driver.Target) (driver.Standing, error) {
	return driver.NotApplied, nil
}

func (p proof) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	return p.prove(s, ctx, t)
}

func (proof) Undo(context.Context, driver.Target) error { return nil }

// applied is the standing of a step that is either there or not.
func applied(is bool, err error) (driver.Standing, error) {
	switch {
	case err != nil:
		return driver.Unknown, err
	case is:
		return driver.Applied, nil
	}
	return driver.NotApplied, nil
}
