package mogdb

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// parts are the directories that are exchanged.
var parts = []string{"bin", "lib"}

// stage is where the new release lies aside on a node.
type stage struct {
	dir   string // below the software's directory
	file  string // the vendor's archive
	outer string // what it unpacks to
	pkg   string // the server as the package brings it; never changed once unpacked
	built string // the new bin and lib
}

func stageOf(args map[string]string) stage {
	dir := stageDir(args["app"], args["to"])
	return stage{dir: dir, file: path.Join(dir, args["file"]), outer: path.Join(dir, "outer"), pkg: path.Join(dir, "package"), built: path.Join(dir, "new")}
}

// putAction copies the package and verifies it on the node.
type putAction struct{}

type putMemo struct {
	Existed bool `json:"existed"` // the directory, before the run
}

func (putAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := here(t)
	if err != nil {
		return nil, err
	}
	there, err := s.exists(ctx, stageOf(t.Step.Args).dir)
	if err != nil {
		return nil, err
	}
	if there {
		return nil, &say.Problem{
			Place: s.Name,
			Text:  say.F("%s is there already, and no run that is open has made it", "%s 已存在，且不属于任何未结束的运行", stageOf(t.Step.Args).dir),
			Next:  say.F("look at it; when it is not needed, remove it, then: shiplift resume", "请查看其内容；确认无用后删除，再执行：shiplift resume"),
		}
	}
	return remember(putMemo{there})
}

func (putAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := here(t)
	if err != nil {
		return driver.Unknown, err
	}
	st := stageOf(t.Step.Args)
	sum, err := host.Sum(ctx, s.Host, st.file)
	if errors.Is(err, fs.ErrNotExist) {
		if t.Undoing {
			return driver.Half, nil // the undo also looks whether all that ran runs again
		}
		return driver.NotApplied, nil // a transfer that was cut goes on where it ended
	}
	switch {
	case err != nil:
		return driver.Unknown, err
	case sum == t.Step.Args["sha256"]:
		return driver.Applied, nil
	}
	return driver.Half, nil
}

func (a putAction) Do(ctx context.Context, t driver.Target) error {
	s, err := here(t)
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
	st := stageOf(t.Step.Args)
	if err := s.change(ctx, []string{"mkdir", "-p", "-m", "700", st.dir}); err != nil {
		return err
	}
	tell, last := report(t), int64(-1)
	return host.Put(ctx, s.Host, f, st.file, t.Step.Args["sha256"], func(done, total int64) {
		if pct := 100 * done / max(total, 1); pct/10 != last {
			last = pct / 10
			tell(say.F("%d%% of %d MB copied", "已复制 %d%%（共 %d MB）", pct, total>>20))
		}
	})
}

func (putAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	if err := s.change(ctx, []string{"rm", "-rf", stageOf(t.Step.Args).dir}); err != nil {
		return err
	}
	return reviveLast(ctx, t)
}

// unpackAction unpacks both layers. It works in a directory of another name
// and renames that when the software in it has proven to run.
type unpackAction struct{}

func (unpackAction) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (unpackAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := here(t)
	if err != nil {
		return driver.Unknown, err
	}
	st := stageOf(t.Step.Args)
	there, err := s.exists(ctx, st.pkg)
	if err != nil {
		return driver.Unknown, err
	}
	partial, err := s.exists(ctx, st.pkg+".partial")
	if err != nil {
		return driver.Unknown, err
	}
	outer, err := s.exists(ctx, st.outer)
	switch {
	case err != nil:
		return driver.Unknown, err
	case partial || outer:
		return driver.Half, nil
	case there:
		return driver.Applied, nil
	}
	return driver.NotApplied, nil
}

func (a unpackAction) Do(ctx context.Context, t driver.Target) error {
	standing, err := a.Probe(ctx, t)
	if err != nil || standing == driver.Applied {
		return err
	}
	s, err := here(t)
	if err != nil {
		return err
	}
	st := stageOf(t.Step.Args)
	partial := st.pkg + ".partial"
	if err := s.change(ctx, []string{"rm", "-rf", st.outer, partial, st.pkg}, []string{"mkdir", "-p", st.outer, partial}); err != nil {
		return err
	}
	if err := s.untar(ctx, "-xzf", st.file, st.outer); err != nil {
		return err
	}
	inner, err := s.innerOf(ctx, st.outer)
	if err != nil {
		return err
	}
	if err := s.untar(ctx, "-xjf", inner, partial); err != nil {
		return err
	}
	if err := s.runs(ctx, partial, t.Step.Args["to"]); err != nil {
		return err
	}
	return s.change(ctx, []string{"rm", "-rf", st.outer}, []string{"sync"}, []string{"mv", "-T", partial, st.pkg}, []string{"sync"})
}

func (s *site) untar(ctx context.Context, how, file, dir string) error {
	c := host.Change("tar", how, file, "-C", dir)
	c.Timeout = 20 * time.Minute
	_, err := s.Host.Run(ctx, c)
	var exit *host.ExitError
	if errors.As(err, &exit) && strings.Contains(string(exit.Stderr), "Cannot exec") {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("the program that unpacks is missing: %s", "缺少解压程序：%s", strings.TrimSpace(strings.SplitN(string(exit.Stderr), "\n", 2)[0])),
			Next:  say.F("install bzip2 and gzip on %s, then: shiplift resume", "在 %s 上安装 bzip2 与 gzip，然后执行：shiplift resume", s.Name),
		}
	}
	return err
}

// innerOf finds the archive with the server and compares it with its .sha256.
func (s *site) innerOf(ctx context.Context, dir string) (string, error) {
	out, err := s.text(ctx, "find", dir, "-type", "f", "-name", "*.tar.bz2")
	if err != nil {
		return "", err
	}
	files := strings.Fields(out)
	if len(files) != 1 {
		return "", &say.Problem{Place: s.Name, Text: say.F("the package holds %d inner archives .tar.bz2, one was expected", "升级包内有 %d 个 .tar.bz2，应为一个", len(files)),
			Next: say.F("use the vendor's package", "请使用厂商升级包")}
	}
	b, err := host.ReadFile(ctx, s.Host, strings.TrimSuffix(files[0], ".tar.bz2")+".sha256")
	if err != nil {
		return "", err
	}
	have, err := host.Sum(ctx, s.Host, files[0])
	if err != nil {
		return "", err
	}
	if w := strings.Fields(string(b)); len(w) == 0 || strings.ToLower(w[0]) != have {
		return "", &say.Problem{Place: s.Name, Text: say.F("%s is damaged: its sha256 is %s", "%s 已损坏：sha256 为 %s", path.Base(files[0]), have),
			Next: say.F("get the package again from the vendor", "请重新向厂商获取升级包")}
	}
	return files[0], nil
}

// runs proves that an unpacked server is of a release and starts on this
// machine, its libraries with it, and that all of it belongs to the login.
func (s *site) runs(ctx context.Context, dir, release string) error {
	a, err := s.Run(ctx, host.Read("env", "LD_LIBRARY_PATH="+dir+"/lib", dir+"/bin/gsql", "-V"))
	if err != nil {
		return err
	}
	banner, err := gaussdb.ParseBanner(a.Both())
	if err != nil {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("the software of the package does not run on this machine", "升级包中的软件无法在该主机上运行"),
			Next:  say.F("use the package for this machine's system and architecture", "请使用适合该主机系统与架构的升级包"),
			Err:   err,
		}
	}
	if banner.Product != "MogDB" || banner.Release != release || gaussdb.MixedLibraries(a.Both()) {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("the package holds %s %s with other libraries or of another release, not MogDB %s", "升级包内是 %s %s（或库文件不一致），而不是 MogDB %s", banner.Product, banner.Release, release),
			Next:  say.F("use the package of MogDB %s", "请使用 MogDB %s 的升级包", release),
		}
	}
	user, err := s.text(ctx, "id", "-un")
	if err != nil {
		return err
	}
	alien, err := s.text(ctx, "find", dir+"/bin", dir+"/lib", "!", "-user", user)
	if err != nil {
		return err
	}
	if alien != "" {
		return say.Errorf("%s: %s does not belong to %s (M09)", "%s：%s 不属于 %s（M09）", s.Name, strings.SplitN(alien, "\n", 2)[0], user)
	}
	return nil
}

func (unpackAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	st := stageOf(t.Step.Args)
	return s.change(ctx, []string{"rm", "-rf", st.outer, st.pkg + ".partial", st.pkg})
}

// buildAction makes the new bin and lib aside, so that little is left to do
// while the server is down.
type buildAction struct{}

func (buildAction) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (buildAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := here(t)
	if err != nil {
		return driver.Unknown, err
	}
	st := stageOf(t.Step.Args)
	there, err := s.exists(ctx, st.built)
	if err != nil {
		return driver.Unknown, err
	}
	partial, err := s.exists(ctx, st.built+".partial")
	switch {
	case err != nil:
		return driver.Unknown, err
	case partial:
		return driver.Half, nil
	case there:
		return driver.Applied, nil
	}
	return driver.NotApplied, nil
}

func (a buildAction) Do(ctx context.Context, t driver.Target) error {
	standing, err := a.Probe(ctx, t)
	if err != nil || standing == driver.Applied {
		return err
	}
	s, err := here(t)
	if err != nil {
		return err
	}
	st := stageOf(t.Step.Args)
	partial := st.built + ".partial"
	if err := s.change(ctx, []string{"rm", "-rf", partial, st.built}, []string{"mkdir", "-p", partial}); err != nil {
		return err
	}
	for _, part := range parts {
		if err := s.change(ctx, []string{"cp", "-a", st.pkg + "/" + part, partial + "/" + part}); err != nil {
			return err
		}
		if err := s.carryInto(ctx, part, t.Step.Args["app"]+"/"+part, st.pkg+"/"+part, partial+"/"+part, true, report(t)); err != nil {
			return err
		}
	}
	return s.change(ctx, []string{"sync"}, []string{"mv", "-T", partial, st.built}, []string{"sync"})
}

func (buildAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	st := stageOf(t.Step.Args)
	return s.change(ctx, []string{"rm", "-rf", st.built + ".partial", st.built})
}

// carryInto copies what the old directory alone holds into the new one, and
// proves that the new one is what it must be (M07, M08, M26). Without all, only
// what is carried is compared by content, since the rest was before.
func (s *site) carryInto(ctx context.Context, part, old, pkg, built string, all bool, tell func(say.Text)) error {
	was, err := s.tree(ctx, old, false)
	if err != nil {
		return err
	}
	brought, err := s.tree(ctx, pkg, all)
	if err != nil {
		return err
	}
	carried, left := carry(part, was, brought)
	if len(left) > 0 {
		tell(say.F("%s: stays behind in the old %s, since the new release has its own: %s", "%s：以下文件留在旧 %s 中（新版本自带）：%s", s.Name, part, strings.Join(left, ", ")))
	}
	if err := s.sums(ctx, old, was, carried); err != nil {
		return err
	}
	now, err := s.tree(ctx, built, all)
	if err != nil {
		return err
	}
	if !all {
		if err := s.sums(ctx, built, now, present(carried, now)); err != nil {
			return err
		}
	}
	if err := s.copyOver(ctx, was, now, carried, old, built); err != nil {
		return err
	}
	if now, err = s.tree(ctx, built, all); err != nil {
		return err
	}
	if !all {
		if err := s.sums(ctx, built, now, present(carried, now)); err != nil {
			return err
		}
	}
	user, err := s.text(ctx, "id", "-un")
	if err != nil {
		return err
	}
	if d := differs(now, wanted(was, brought, carried), user); d != "" {
		return say.Errorf("%s: %s: %s (M26)", "%s：%s：%s（M26）", s.Name, built, d)
	}
	return nil
}

func present(names []string, t tree) []string {
	var out []string
	for _, n := range names {
		if _, ok := t[n]; ok {
			out = append(out, n)
		}
	}
	return out
}

// copyOver copies those of names that the new directory lacks or has otherwise.
func (s *site) copyOver(ctx context.Context, was, now tree, names []string, old, built string) error {
	byDir := map[string][]string{}
	for _, n := range names {
		if e, there := now[n]; there && e.same(was[n]) {
			continue
		}
		byDir[path.Dir(n)] = append(byDir[path.Dir(n)], n)
	}
	for _, d := range slices.Sorted(maps.Keys(byDir)) {
		if err := s.makeDirs(ctx, was, now, d, built); err != nil {
			return err
		}
		for chunk := range slices.Chunk(byDir[d], 100) {
			argv := []string{"cp", "-a"}
			for _, n := range chunk {
				argv = append(argv, old+"/"+n)
			}
			if err := s.change(ctx, append(argv, path.Join(built, d)+"/")); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeDirs makes the directories down to d with the rights of the old ones.
func (s *site) makeDirs(ctx context.Context, was, now tree, d, built string) error {
	if d == "." {
		return nil
	}
	if _, there := now[d]; there {
		return nil
	}
	if err := s.makeDirs(ctx, was, now, path.Dir(d), built); err != nil {
		return err
	}
	now[d] = was[d]
	there, err := s.exists(ctx, built+"/"+d)
	if err != nil || there {
		return err
	}
	return s.change(ctx, []string{"mkdir", "-m", was[d].Mode, built + "/" + d})
}

// removeAction lies behind the gate commit.
type removeAction struct {
	what func(args map[string]string) []string
}

func removeOld(args map[string]string) []string {
	var out []string
	for _, part := range parts {
		out = append(out, args["app"]+"/"+backup(part, args["from"]))
	}
	return out
}

func removeStage(args map[string]string) []string { return []string{stageOf(args).dir} }

func (removeAction) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (a removeAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := here(t)
	if err != nil {
		return driver.Unknown, err
	}
	for _, name := range a.what(t.Step.Args) {
		there, err := s.exists(ctx, name)
		if err != nil {
			return driver.Unknown, err
		}
		if there {
			return driver.NotApplied, nil // doing it again goes on where it ended
		}
	}
	return driver.Applied, nil
}

func (a removeAction) Do(ctx context.Context, t driver.Target) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	return s.change(ctx, append([]string{"rm", "-rf"}, a.what(t.Step.Args)...))
}

func (removeAction) Undo(context.Context, driver.Target) error { return nil }
