package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// newLink is where the link is made before it takes the old one's place. A
// link that leads nowhere would count as absent for test -e; this one leads to
// a release.
func (s *site) newLink() string { return s.Base + "/.current.new" }

// point lets the link current lead somewhere, in one atomic step; link is its
// text, a name or a path.
func (s *site) point(ctx context.Context, link string) error {
	now, err := s.text(ctx, "readlink", s.current())
	if err != nil {
		return err
	}
	if now == link {
		return s.change(ctx, []string{"rm", "-f", s.newLink()}, []string{"sync", s.Base})
	}
	err = s.change(ctx, []string{"ln", "-sfn", link, s.newLink()}, []string{"mv", "-T", s.newLink(), s.current()}, []string{"sync", s.Base})
	if err != nil {
		return err
	}
	if now, err = s.text(ctx, "readlink", s.current()); err == nil && now != link {
		err = say.Errorf("%s: %s points to %q and not to %q", "%s：%s 指向 %q，而不是 %q", s.Name, s.current(), now, link)
	}
	return err
}

type existedMemo struct {
	Existed bool `json:"existed"` // before the run: then undo leaves it
}

// copyAction copies the package and verifies it on the node.
type copyAction struct{}

func packageAt(s *site, t driver.Target) string { return s.packages() + "/" + t.Step.Args["file"] }

func (copyAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return nil, err
	}
	there, err := s.exists(ctx, packageAt(s, t))
	if err != nil {
		return nil, err
	}
	return remember(existedMemo{there})
}

func (copyAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	there, err := s.exists(ctx, packageAt(s, t))
	if err != nil {
		return driver.Unknown, err
	}
	if there {
		sum, err := host.Sum(ctx, s.host, packageAt(s, t))
		if err != nil {
			return driver.Unknown, err
		}
		if sum == t.Step.Args["sha256"] {
			return driver.Applied, nil
		}
	}
	part, err := s.exists(ctx, packageAt(s, t)+host.PartSuffix)
	if err != nil {
		return driver.Unknown, err
	}
	if part && t.Undoing {
		return driver.Half, nil
	}
	return driver.NotApplied, nil // a cut transfer goes on where it ended
}

func (a copyAction) Do(ctx context.Context, t driver.Target) error {
	standing, err := a.Probe(ctx, t)
	if err != nil || standing == driver.Applied {
		return err
	}
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	f, err := host.OpenFile(t.Step.Args["package"])
	if err != nil {
		return &say.Problem{
			Place: t.Step.Args["package"],
			Text:  say.F("the package cannot be read on this machine", "本机无法读取升级包"),
			Next:  say.F("put it there again, then: shiplift resume", "将升级包放回该位置，然后执行：shiplift resume"),
			Err:   err,
		}
	}
	defer f.Close()
	if err := s.change(ctx, []string{"mkdir", "-p", s.packages()}); err != nil {
		return err
	}
	tell := report(t)
	last := int64(-1)
	return host.Put(ctx, s.host, f, packageAt(s, t), t.Step.Args["sha256"], func(done, total int64) {
		if pct := 100 * done / max(total, 1); pct/10 != last {
			last = pct / 10
			tell(say.F("%d%% of %d MB copied", "已复制 %d%%（共 %d MB）", pct, total>>20))
		}
	})
}

func (copyAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	var m existedMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	doomed := []string{"rm", "-f", packageAt(s, t) + host.PartSuffix}
	if !m.Existed {
		doomed = append(doomed, packageAt(s, t))
	}
	return s.removePackage(ctx, doomed)
}

// removePackage removes files and then the directory when it is empty.
func (s *site) removePackage(ctx context.Context, rm []string) error {
	if err := s.change(ctx, rm); err != nil {
		return err
	}
	there, err := s.exists(ctx, s.packages())
	if err != nil || !there {
		return err
	}
	left, err := s.text(ctx, "ls", "-A", s.packages())
	if err != nil || left != "" {
		return err
	}
	return s.change(ctx, []string{"rmdir", s.packages()})
}

// unpackAction lays the release beside the others. It unpacks into a
// directory of another name and renames that when the software in it has
// proven to run, so a failed unpack leaves nothing that looks like a release.
type unpackAction struct{}

func partialDir(s *site, release string) string { return s.Base + "/." + release + ".partial" }

func (unpackAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return nil, err
	}
	there, err := s.exists(ctx, s.dir(t.Step.Args["release"]))
	if err != nil {
		return nil, err
	}
	return remember(existedMemo{there})
}

func (unpackAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	release := t.Step.Args["release"]
	there, err := s.exists(ctx, s.dir(release))
	if err != nil {
		return driver.Unknown, err
	}
	if there {
		got, err := s.says(ctx, s.bin(release, "postgres"))
		if err == nil && got == release {
			return driver.Applied, nil
		}
		if err == nil {
			err = say.Errorf("it holds release %s", "其中的版本为 %s", got)
		}
		return driver.Unknown, say.Errorf("%s: %s was there before and is not release %s: %w", "%s：%s 早已存在，且不是版本 %s：%w", s.Name, s.dir(release), release, err)
	}
	partial, err := s.exists(ctx, partialDir(s, release))
	if err != nil {
		return driver.Unknown, err
	}
	if partial {
		return driver.Half, nil
	}
	return driver.NotApplied, nil
}

func (a unpackAction) Do(ctx context.Context, t driver.Target) error {
	standing, err := a.Probe(ctx, t)
	if err != nil || standing == driver.Applied {
		return err
	}
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	release := t.Step.Args["release"]
	partial := partialDir(s, release)
	if err := s.unpack(ctx, packageAt(s, t), partial, release); err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_ = s.change(clean, []string{"rm", "-rf", partial}) // the next attempt begins with the same
		return err
	}
	return nil
}

func (s *site) unpack(ctx context.Context, pkg, partial, release string) error {
	tar := host.Change("tar", "-xzf", pkg, "-C", partial)
	tar.Timeout = 10 * time.Minute
	if err := s.change(ctx, []string{"rm", "-rf", partial}, []string{"mkdir", "-p", partial}); err != nil {
		return err
	}
	if _, err := s.run(ctx, tar); err != nil {
		return err
	}
	root, err := s.softwareIn(ctx, partial)
	if err != nil {
		return err
	}
	got, err := s.says(ctx, root+"/bin/postgres")
	if err != nil {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("the software of the package does not run on this machine", "升级包中的软件无法在该主机上运行"),
			Next:  say.F("use a package for this machine's system and architecture", "请使用适合该主机系统与架构的升级包"),
			Err:   err,
		}
	}
	if got != release {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("the package holds release %s, not %s", "升级包内是版本 %s，而不是 %s", got, release),
			Next:  say.F("use the package of release %s", "请使用版本 %s 的升级包", release),
		}
	}
	if err := s.change(ctx, []string{"sync", "-f", partial}, []string{"mv", "-T", root, s.dir(release)}); err != nil {
		return err
	}
	return s.change(ctx, []string{"rm", "-rf", partial}, []string{"sync", s.Base})
}

// softwareIn finds the software's root: the directory itself or the only one in it.
func (s *site) softwareIn(ctx context.Context, dir string) (string, error) {
	if there, err := s.exists(ctx, dir+"/bin/postgres"); err != nil || there {
		return dir, err
	}
	out, err := s.text(ctx, "ls", "-A", dir)
	if err != nil {
		return "", err
	}
	if names := strings.Fields(out); len(names) == 1 {
		if there, err := s.exists(ctx, dir+"/"+names[0]+"/bin/postgres"); err != nil || there {
			return dir + "/" + names[0], err
		}
	}
	return "", &say.Problem{
		Place: s.Name,
		Text:  say.F("the package holds no bin/postgres", "升级包中没有 bin/postgres"),
		Next:  say.F("use a package of PostgreSQL with bin, lib and share", "请使用包含 bin、lib、share 的 PostgreSQL 软件包"),
	}
}

func (unpackAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	var m existedMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	release := t.Step.Args["release"]
	if err := s.change(ctx, []string{"rm", "-rf", partialDir(s, release)}); err != nil || m.Existed {
		return err
	}
	return s.removeRelease(ctx, release)
}

// removeRelease removes a release that nothing uses.
func (s *site) removeRelease(ctx context.Context, release string) error {
	there, err := s.exists(ctx, s.dir(release))
	if err != nil || !there {
		return err
	}
	link, err := s.text(ctx, "readlink", s.current())
	if err != nil {
		return err
	}
	p, err := s.process(ctx)
	if err != nil {
		return err
	}
	if link == release || link == s.dir(release) || p.runs(release) {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("release %s is in use and cannot be removed", "版本 %s 正在使用，不能删除", release),
			Next:  say.F("shiplift status", "shiplift status"),
		}
	}
	// Renamed first: a removal that is cut short leaves nothing that looks like a release.
	doomed := partialDir(s, release)
	return s.change(ctx, []string{"rm", "-rf", doomed}, []string{"mv", "-T", s.dir(release), doomed}, []string{"rm", "-rf", doomed}, []string{"sync", s.Base})
}

// removePackageAction and removeReleaseAction lie behind the gate commit.
type removePackageAction struct{}

func (removePackageAction) Prepare(context.Context, driver.Target) (driver.Memo, error) {
	return nil, nil
}

func (removePackageAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	return s.absent(ctx, packageAt(s, t))
}

// absent is the standing of a step that removes something.
func (s *site) absent(ctx context.Context, p string) (driver.Standing, error) {
	there, err := s.exists(ctx, p)
	switch {
	case err != nil:
		return driver.Unknown, err
	case there:
		return driver.NotApplied, nil // doing it again goes on where it ended
	}
	return driver.Applied, nil
}

func (removePackageAction) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	return s.removePackage(ctx, []string{"rm", "-f", packageAt(s, t), packageAt(s, t) + host.PartSuffix})
}

func (removePackageAction) Undo(context.Context, driver.Target) error { return nil }

type removeReleaseAction struct{}

func (removeReleaseAction) Prepare(context.Context, driver.Target) (driver.Memo, error) {
	return nil, nil
}

func (removeReleaseAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return driver.Unknown, err
	}
	if partial, err := s.exists(ctx, partialDir(s, t.Step.Args["release"])); err != nil || partial {
		return driver.NotApplied, err
	}
	return s.absent(ctx, s.dir(t.Step.Args["release"]))
}

func (removeReleaseAction) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t.Env, t.Step.Node)
	if err != nil {
		return err
	}
	release := t.Step.Args["release"]
	if err := s.change(ctx, []string{"rm", "-rf", partialDir(s, release)}); err != nil {
		return err
	}
	return s.removeRelease(ctx, release)
}

func (removeReleaseAction) Undo(context.Context, driver.Target) error { return nil }
