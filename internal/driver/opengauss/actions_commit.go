package opengauss

import (
	"context"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// sealAction records on the node that the commit has begun: from here on also
// the vendor's own tool refuses a rollback.
type sealAction struct{ forward }

func (sealAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	_, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	there, err := s.exists(ctx, below(s.openDir(), fileCommit))
	if err != nil {
		return half(err)
	}
	if there {
		return driver.Applied, nil
	}
	return driver.NotApplied, nil
}

func (sealAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	return host.WriteFile(ctx, s.Host, below(s.openDir(), fileCommit), []byte(r.Plan.ClusterID+"\n"), 0o600)
}

// forgetAction removes everything that would start a server with the old
// working number again: the file that gs_ctl start reads, in both places, and
// the -u that gs_ctl restart takes out of postmaster.opts (golden upgrade/045).
type forgetAction struct{ forward }

func (forgetAction) files(r *room, s *site) []string {
	return []string{below(s.openDir(), fileNumber), below(r.newApp(s), fileNumber)}
}

func (s *site) opts(ctx context.Context) (gaussdb.Opts, error) {
	b, err := s.readIf(ctx, below(s.Data, "postmaster.opts"))
	if err != nil || b == nil {
		return gaussdb.Opts{}, err
	}
	return gaussdb.ParseOpts(string(b))
}

func (a forgetAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	for _, f := range a.files(r, s) {
		if there, err := s.exists(ctx, f); err != nil || there {
			return driver.NotApplied, err
		}
	}
	o, err := s.opts(ctx)
	if err != nil {
		return half(err)
	}
	if o.Value("-u") != "" {
		return driver.NotApplied, nil
	}
	return driver.Applied, nil
}

func (a forgetAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	for _, f := range a.files(r, s) {
		if err := s.change(ctx, "rm", "-f", f); err != nil {
			return err
		}
	}
	return s.stripNumber(ctx)
}

// stripNumber takes -u out of postmaster.opts.
func (s *site) stripNumber(ctx context.Context) error {
	o, err := s.opts(ctx)
	if err != nil || o.Value("-u") == "" {
		return err
	}
	return host.WriteFile(ctx, s.Host, below(s.Data, "postmaster.opts"), []byte(o.Without("-u").String()), 0o600)
}

// endModeAction is the moment in which the cluster becomes the new release:
// upgrade_mode goes to 0 by reload, and the working number becomes the
// server's own without a restart (golden upgrade/041, 042).
type endModeAction struct{ forward }

func (endModeAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, err := roomOf(t)
	if err != nil {
		return half(err)
	}
	for _, s := range r.Sites {
		mode, err := s.fileValue(ctx, "upgrade_mode")
		if err != nil {
			return half(err)
		}
		if mode != "0" {
			return driver.NotApplied, nil
		}
	}
	p, err := r.mustPrimary(ctx)
	if err != nil {
		return half(err)
	}
	state, err := catalogueState(ctx, p)
	if err != nil || state != "" {
		return driver.NotApplied, err
	}
	return driver.Applied, nil
}

func (endModeAction) Do(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	if err := r.allNew(ctx); err != nil {
		return err
	}
	if err := r.setEverywhere(ctx, "upgrade_mode", func(*site) string { return "0" }, ""); err != nil {
		return err
	}
	err = r.onAll(func(s *site) error { return r.proveOwnNumber(ctx, s) })
	if err != nil {
		return err
	}
	p, err := r.mustPrimary(ctx)
	if err != nil {
		return err
	}
	return dropCatalogueState(ctx, p)
}

func (r *room) proveOwnNumber(ctx context.Context, s *site) error {
	want := r.Args["new-number"]
	spec := wait.Spec{What: say.F("%s works as %s", "%s 按 %s 工作", s.Name, want), Node: s.Name, Deadline: 30 * time.Second, Every: 200 * time.Millisecond, Next: "shiplift commit"}
	return wait.For(ctx, r.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		got, err := s.Value(ctx, s.Port, "select working_version_num()")
		return wait.Look{Done: got == want, Says: say.Same(got)}, err
	})
}

// removeOldAction deletes the old binaries, when nothing runs out of them.
type removeOldAction struct{ forward }

func (removeOldAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	_, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	there, err := s.exists(ctx, s.OldApp)
	if err != nil {
		return half(err)
	}
	if there {
		return driver.NotApplied, nil
	}
	return driver.Applied, nil
}

func (removeOldAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	at, err := s.link(ctx)
	if err != nil {
		return err
	}
	exe, err := s.program(ctx)
	if err != nil {
		return err
	}
	if at != r.newApp(s) || exe != "" && exe != r.newApp(s)+"/bin/gaussdb" {
		return say.Errorf("%s: %s leads to %s and %q runs: the old binaries are kept", "%s：%s 指向 %s，且 %q 正在运行：保留旧版本程序", s.Name, s.Home, at, exe)
	}
	if s.HasCM {
		if stray, err := s.cmStray(ctx, at); err != nil || len(stray) > 0 {
			if err == nil {
				err = say.Errorf("%s: %s still runs out of %s", "%s：%s 仍在使用 %s 中的程序", s.Name, stray[0].name, s.OldApp)
			}
			return err
		}
	}
	c := host.Change("rm", "-rf", s.OldApp)
	c.Timeout = 10 * time.Minute
	_, err = s.Host.Run(ctx, c)
	return err
}

// closeAction removes the marks of the upgrade, binary_upgrade last: it keeps
// other tools away, and the cluster manager in the mode of an upgrade.
type closeAction struct{ forward }

func (closeAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	_, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	there, err := s.exists(ctx, s.openDir())
	if err != nil {
		return half(err)
	}
	if there {
		return driver.NotApplied, nil
	}
	return driver.Applied, nil
}

func (closeAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	if s.GPHome != "" {
		if err := s.change(ctx, "rm", "-rf", r.toolsDir(s)); err != nil {
			return err
		}
	}
	for _, argv := range [][]string{
		{"rm", "-f", below(s.Data, oldConf), below(r.newApp(s), carryMark)},
		{"rm", "-rf", s.work(r.Args["commit"])},
		{"rm", "-rf", s.openDir()},
	} {
		if err := s.change(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}
