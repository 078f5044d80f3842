package gbase8a

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// fileSum is the sha256 of a file of the control machine.
func fileSum(file string) (string, error) {
	f, err := host.OpenFile(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, f.Size())); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// here is the step's machine.
func here(t driver.Target) host.Host { return t.Hosts[t.Step.Node] }

func remove(ctx context.Context, t driver.Target, names ...string) error {
	_, err := here(t).Run(ctx, host.Change(append([]string{"rm", "-rf", "--"}, names...)...))
	return err
}

// filled reports whether a file is there and not empty.
func filled(ctx context.Context, h host.Host, name string) (bool, error) {
	st, err := host.Stat(ctx, h, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && st.Size > 0, err
}

// ---- backups (U4) ----

type backupConfig struct{ nothing }

func (backupConfig) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	return applied(filled(ctx, here(t), t.Step.Args["file"]))
}

// configDirs hold what an upgrade may change and no data.
var configDirs = []string{"gcluster/config", "gnode/config", "gcware/config"}

func (backupConfig) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	h, file, root := here(t), t.Step.Args["file"], s.member(t.Step.Node).Root
	if _, err := h.Run(ctx, host.Change("mkdir", "-p", path.Dir(file))); err != nil {
		return err
	}
	for i, p := range s.conf(t.Step.Node).Profiles {
		text, err := host.ReadFile(ctx, h, strings.TrimPrefix(p, "~/"))
		if err == nil {
			err = host.WriteFile(ctx, h, profileCopy(file, i), text, 0o600)
		}
		if err != nil {
			return say.Errorf("save the profile %s: %w", "保存环境文件 %s：%w", p, err)
		}
	}
	var dirs []string
	for _, d := range configDirs {
		there, err := exists(ctx, h, path.Join(root, d))
		if err != nil {
			return err
		}
		if there {
			dirs = append(dirs, d)
		}
	}
	tmp := file + ".part"
	if _, err := h.Run(ctx, host.Change(append([]string{"tar", "-czf", tmp, "-C", root}, dirs...)...)); err != nil {
		return err
	}
	if _, err := h.Run(ctx, host.Read("tar", "-tzf", tmp)); err != nil {
		return say.Errorf("read the copy again: %w", "再次读取副本：%w", err)
	}
	_, err = h.Run(ctx, host.Change("mv", "-T", tmp, file))
	return err
}

func profileCopy(file string, i int) string {
	return fmt.Sprintf("%s-profile-%d", strings.TrimSuffix(file, "-config.tar.gz"), i+1)
}

func (backupConfig) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	file := t.Step.Args["file"]
	names := []string{file, file + ".part"}
	for i := range s.conf(t.Step.Node).Profiles {
		names = append(names, profileCopy(file, i))
	}
	return remove(ctx, t, names...)
}

type backupDistribution struct{ nothing }

func (backupDistribution) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	return applied(filled(ctx, here(t), t.Step.Args["file"]))
}

func (backupDistribution) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	node, file := t.Step.Node, t.Step.Args["file"]
	if _, err := here(t).Run(ctx, host.Change("mkdir", "-p", path.Dir(file))); err != nil {
		return err
	}
	tmp := file + ".part"
	if err := remove(ctx, t, tmp); err != nil {
		return err
	}
	argv := []string{"gcadmin", "getdistribution", t.Step.Args["id"], tmp}
	_, err = s.do(ctx, node, s.conf(node).StatusWait, argv...)
	if err = silent(ctx, node, s.conf(node).StatusWait, argv, err); err != nil {
		return err
	}
	if ok, err := filled(ctx, here(t), tmp); err != nil || !ok {
		return errors.Join(err, say.Errorf("%s: %s wrote nothing", "%s：%s 没有写出任何内容", node, strings.Join(argv, " ")))
	}
	_, err = here(t).Run(ctx, host.Change("mv", "-T", tmp, file))
	return err
}

func (backupDistribution) Undo(ctx context.Context, t driver.Target) error {
	return remove(ctx, t, t.Step.Args["file"], t.Step.Args["file"]+".part")
}

// ---- package (U5) ----

type put struct{ nothing }

func (put) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	sum, err := host.Sum(ctx, here(t), t.Step.Args["archive"])
	if errors.Is(err, fs.ErrNotExist) {
		return driver.NotApplied, nil
	}
	return applied(sum == t.Step.Args["sha256"], err)
}

func (put) Do(ctx context.Context, t driver.Target) error {
	f, err := host.OpenFile(t.Step.Args["package"])
	if err != nil {
		return &say.Problem{Place: t.Step.Args["package"], Text: say.F("the file cannot be read", "无法读取文件"), Next: say.F("put it there and resume", "放回后 resume"), Err: err}
	}
	defer f.Close()
	to := t.Step.Args["archive"]
	if _, err := here(t).Run(ctx, host.Change("mkdir", "-p", path.Dir(to))); err != nil {
		return err
	}
	return host.Put(ctx, here(t), f, to, t.Step.Args["sha256"], func(done, total int64) {
		if t.Report != nil && total > 0 {
			t.Report(say.F("%d of %d MB", "%d/%d MB", done>>20, total>>20))
		}
	})
}

func (put) Undo(ctx context.Context, t driver.Target) error {
	return remove(ctx, t, t.Step.Args["archive"], t.Step.Args["archive"]+host.PartSuffix)
}

type unpack struct{ nothing }

func installerOf(dir string) string { return path.Join(dir, "gcinstall", "gcinstall.py") }

func (unpack) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	return applied(filled(ctx, here(t), installerOf(t.Step.Args["dir"])))
}

// Do unpacks beside the place and moves it there whole.
func (unpack) Do(ctx context.Context, t driver.Target) error {
	dir := t.Step.Args["dir"]
	if ok, err := filled(ctx, here(t), installerOf(dir)); err != nil || ok {
		return err
	}
	tmp := dir + ".part"
	if err := remove(ctx, t, tmp, dir); err != nil {
		return err
	}
	if _, err := here(t).Run(ctx, host.Change("mkdir", "-p", tmp)); err != nil {
		return err
	}
	untar := host.Change("tar", "-xf", t.Step.Args["archive"], "-C", tmp)
	untar.Timeout = t.Step.Timeout.Std()
	if _, err := here(t).Run(ctx, untar); err != nil {
		return err
	}
	if ok, err := filled(ctx, here(t), installerOf(tmp)); err != nil || !ok {
		return errors.Join(err, &say.Problem{Place: t.Step.Args["archive"], Text: say.F("there is no gcinstall/gcinstall.py in the package", "升级包中没有 gcinstall/gcinstall.py"), Next: say.F("get the package again", "请重新获取升级包")})
	}
	_, err := here(t).Run(ctx, host.Change("mv", "-T", tmp, dir))
	return err
}

func (unpack) Undo(ctx context.Context, t driver.Target) error {
	return remove(ctx, t, t.Step.Args["dir"], t.Step.Args["dir"]+".part")
}

type cleanup struct{ nothing }

func (cleanup) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	for _, name := range []string{t.Step.Args["dir"], t.Step.Args["archive"]} {
		if there, err := exists(ctx, here(t), name); err != nil || there {
			return applied(false, err)
		}
	}
	return driver.Applied, nil
}

func (cleanup) Do(ctx context.Context, t driver.Target) error {
	names := []string{t.Step.Args["dir"], t.Step.Args["archive"]}
	if lic := t.Step.Args["license"]; lic != "" {
		names = append(names, lic)
	}
	return remove(ctx, t, names...)
}

func (cleanup) Undo(context.Context, driver.Target) error { return nil }

// ---- demo.options (G21) ----

// optionsFile is the name of our demo.options in the gcinstall directory; the
// one that came with the package stays as it is.
const optionsFile = "shiplift.options"

func optionsPath(t driver.Target) string {
	return path.Join(t.Step.Args["dir"], "gcinstall", optionsFile)
}

// layout is what demo.options has to say about this cluster.
func (s *site) layout(node string) Layout {
	c := s.conf(node)
	l := Layout{Prefix: prefixOf(s.Gen, s.member(node).Root), DBAUser: c.DBAUser, DBAGroup: c.DBAUser, CharacterSet: c.Charset, SSHPort: c.SSHPort}
	for _, m := range s.Members {
		if m.Coor {
			l.Coordinators = append(l.Coordinators, m.IP)
		}
		if m.Data {
			l.Data = append(l.Data, m.IP)
		}
		if m.Gcware && s.Gen == V953 {
			l.Gcware = append(l.Gcware, m.IP)
		}
	}
	return l
}

// putOptions writes demo.options, readable by the database's user alone.
func (s *site) putOptions(ctx context.Context, t driver.Target) error {
	l := s.layout(t.Step.Node)
	var err error
	if l.DBAPassword, err = s.Secret(t.Step.Node, secretDBA); err != nil {
		return say.Errorf("password of %s for demo.options: %w", "demo.options 所需的 %s 的口令：%w", l.DBAUser, err)
	}
	if s.conf(t.Step.Node).HasRoot {
		if l.RootPassword, err = s.Secret(t.Step.Node, secretRoot); err != nil {
			return say.Errorf("password of root for demo.options: %w", "demo.options 所需的 root 的口令：%w", err)
		}
	}
	return host.WriteFile(ctx, here(t), optionsPath(t), []byte(l.Render()), 0o600)
}

// optionsRight reads the file again and compares its hosts with the cluster's.
// What it says never shows the file: there are passwords in it.
func (s *site) optionsRight(ctx context.Context, t driver.Target) error {
	body, err := host.ReadFile(ctx, here(t), optionsPath(t))
	if err != nil {
		return err
	}
	opts, err := ParseOptions(string(body))
	if err != nil {
		return err
	}
	if d := s.layout(t.Step.Node).Differs(opts); len(d) > 0 {
		return &say.Problem{Place: optionsPath(t), Text: say.F("it does not name the cluster as it is: %s", "与集群实际不符：%s", strings.Join(d, "; ")), Next: say.F("shiplift rollback, then plan again", "shiplift rollback 后重新制定计划")}
	}
	return nil
}

// writeOptions writes demo.options before the installer and, as drops, removes
// it behind it; the way back needs it once more for Restore.py.
type writeOptions struct {
	nothing
	drops bool
}

func (a writeOptions) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	there, err := filled(ctx, here(t), optionsPath(t))
	return applied(there != a.drops, err)
}

func (a writeOptions) Do(ctx context.Context, t driver.Target) error {
	if a.drops {
		return remove(ctx, t, optionsPath(t))
	}
	return a.write(ctx, t)
}

func (a writeOptions) Undo(ctx context.Context, t driver.Target) error {
	if a.drops {
		return a.write(ctx, t)
	}
	return remove(ctx, t, optionsPath(t))
}

func (writeOptions) write(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	if err := s.putOptions(ctx, t); err != nil {
		return err
	}
	return s.optionsRight(ctx, t)
}
