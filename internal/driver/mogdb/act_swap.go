package mogdb

import (
	"context"
	"fmt"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/say"
)

// swapAction exchanges bin and lib by four renames. Which of (bin, bin_201,
// lib, lib_201) are there tells how far it came (spec/mogdb.md section 8).
type swapAction struct{}

// place is which of the directories of one part are there.
type place struct{ now, old, built bool }

type swapMemo struct {
	App string `json:"app"`
}

func (s *site) places(ctx context.Context, args map[string]string) (map[string]place, error) {
	st := stageOf(args)
	out := map[string]place{}
	for _, part := range parts {
		var p place
		for _, q := range []struct {
			name string
			to   *bool
		}{{args["app"] + "/" + part, &p.now}, {args["app"] + "/" + backup(part, args["from"]), &p.old}, {st.built + "/" + part, &p.built}} {
			there, err := s.exists(ctx, q.name)
			if err != nil {
				return nil, err
			}
			*q.to = there
		}
		out[part] = p
	}
	return out, nil
}

// Prepare refuses names that are taken: a second run would move the new bin
// over the old one's only copy (M06).
func (swapAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := here(t)
	if err != nil {
		return nil, err
	}
	at, err := s.places(ctx, t.Step.Args)
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		if at[part].old {
			return nil, takenProblem(s.Name, t.Step.Args["app"]+"/"+backup(part, t.Step.Args["from"]))
		}
	}
	return remember(swapMemo{t.Step.Args["app"]})
}

func takenProblem(node, name string) error {
	return &say.Problem{
		Place: node,
		Text:  say.F("%s is there already, and no run that is open has made it [M06]", "%s 已存在，且不属于任何未结束的运行［M06］", name),
		Next:  say.F("look which software lies in it; move it away, then run the command again", "请确认其中是哪个版本的软件；移走后重新执行命令"),
	}
}

func (swapAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := here(t)
	if err != nil {
		return driver.Unknown, err
	}
	at, err := s.places(ctx, t.Step.Args)
	if err != nil {
		return driver.Unknown, err
	}
	bin, lib := at["bin"], at["lib"]
	switch {
	case bin.now && lib.now && !bin.old && !lib.old:
		return driver.NotApplied, nil
	case bin.now && lib.now && bin.old && lib.old:
		if d, err := s.swapped(ctx, t.Step.Args, true); err != nil || d != "" {
			return driver.Half, err
		}
		return driver.Applied, nil
	case !bin.now && !bin.old, !lib.now && !lib.old:
		return driver.Unknown, say.Errorf("%s: %s holds neither bin nor %s, or neither lib nor %s", "%s：%s 中缺少 bin 和 %s，或缺少 lib 和 %s", s.Name, t.Step.Args["app"], backup("bin", t.Step.Args["from"]), backup("lib", t.Step.Args["from"]))
	}
	return driver.Half, nil
}

// swapped compares the bin and lib in place with the package and with what the
// old ones held: a half swap is met by nothing else, gsql only warns and the
// server starts (golden swap/009, swap/010). It returns the first difference.
func (s *site) swapped(ctx context.Context, args map[string]string, sums bool) (string, error) {
	st := stageOf(args)
	for _, part := range parts {
		old := args["app"] + "/" + backup(part, args["from"])
		was, err := s.tree(ctx, old, false)
		if err != nil {
			return "", err
		}
		brought, err := s.tree(ctx, st.pkg+"/"+part, sums)
		if err != nil {
			return "", err
		}
		now, err := s.tree(ctx, args["app"]+"/"+part, sums)
		if err != nil {
			return "", err
		}
		carried, _ := carry(part, was, brought)
		want := wanted(was, brought, carried)
		// These change while the release is in use: gs_om writes them.
		for name, e := range now {
			if isSitesOwn(part, name) {
				want[name] = e
			}
		}
		if d := differs(now, want, ""); d != "" {
			return args["app"] + "/" + part + ": " + d, nil
		}
	}
	return "", nil
}

func (a swapAction) Do(ctx context.Context, t driver.Target) error {
	standing, err := a.Probe(ctx, t)
	if err != nil || standing == driver.Applied {
		return err
	}
	s, err := here(t)
	if err != nil {
		return err
	}
	if err := s.proveDown(ctx); err != nil {
		return err
	}
	if standing == driver.Half { // an earlier attempt came so far: begin anew
		if err := s.swapBack(ctx, t.Step.Args); err != nil {
			return err
		}
	}
	st, app := stageOf(t.Step.Args), t.Step.Args["app"]
	for _, part := range parts {
		// gs_om may have written its files since build: what is carried is compared again.
		if err := s.carryInto(ctx, part, app+"/"+part, st.pkg+"/"+part, st.built+"/"+part, false, report(t)); err != nil {
			return err
		}
	}
	var moves [][]string
	for _, part := range parts {
		moves = append(moves, []string{"mv", "-T", app + "/" + part, app + "/" + backup(part, t.Step.Args["from"])},
			[]string{"mv", "-T", st.built + "/" + part, app + "/" + part})
	}
	if err := s.change(ctx, append(moves, []string{"sync"})...); err != nil {
		return err
	}
	return s.proveSwapped(ctx, t.Step.Args)
}

func (s *site) proveSwapped(ctx context.Context, args map[string]string) error {
	d, err := s.swapped(ctx, args, false)
	if err != nil {
		return err
	}
	if d != "" {
		return say.Errorf("%s: after the swap, %s (M26)", "%s：更换之后，%s（M26）", s.Name, d)
	}
	banner, err := s.BannerOf(ctx, args["app"]+"/bin/gsql")
	if err != nil {
		return err
	}
	if banner.Release != args["to"] {
		return say.Errorf("%s: after the swap %s/bin/gsql says release %q", "%s：更换之后 %s/bin/gsql 报告的版本为 %q", s.Name, args["app"], banner.Release)
	}
	return nil
}

// proveDown refuses to touch the software while a server runs from it: it would
// keep deleted files and load libraries of two releases (M05).
func (s *site) proveDown(ctx context.Context) error {
	pid, err := s.server(ctx)
	if err != nil || pid == 0 {
		return err
	}
	return &say.Problem{
		Place: s.Name,
		Text:  say.F("a server runs on %s (process %d): its bin and lib must not be moved [M05]", "%s 上有数据库进程 %d 在运行：不能移动其 bin 与 lib［M05］", s.Data, pid),
		Next:  say.F("find out who started it; stop it with gs_ctl stop -D %s, then: shiplift resume", "查明由谁启动；用 gs_ctl stop -D %s 停止后执行：shiplift resume", s.Data),
	}
}

func (swapAction) Undo(ctx context.Context, t driver.Target) error {
	s, err := here(t)
	if err != nil {
		return err
	}
	at, err := s.places(ctx, t.Step.Args)
	if err != nil {
		return err
	}
	if at["bin"].now && at["lib"].now && !at["bin"].old && !at["lib"].old {
		return nil
	}
	if t.Undoing { // somebody may have started the server while the node did not answer
		if err := s.rest(ctx, t); err != nil {
			return err
		}
	}
	if err := s.proveDown(ctx); err != nil {
		return err
	}
	return s.swapBack(ctx, t.Step.Args)
}

// whole reports bin and lib that are both there and of one release: no swap
// broke off between them.
func (s *site) whole(ctx context.Context, args map[string]string) (bool, error) {
	at, err := s.places(ctx, args)
	if err != nil {
		return false, err
	}
	bin, lib := at["bin"], at["lib"]
	return bin.now && lib.now && bin.old == lib.old, nil
}

func halfSwapped(node string) error {
	return &say.Problem{
		Place: node,
		Text:  say.F("bin and lib are exchanged by half: its server is not started before they are back [M26]", "bin 与 lib 只替换了一半：恢复之前不会启动其数据库［M26］"),
		Next:  say.F("shiplift rollback", "shiplift rollback"),
	}
}

// swapBack moves the old directories into their place again, and the new ones aside.
func (s *site) swapBack(ctx context.Context, args map[string]string) error {
	st, app := stageOf(args), args["app"]
	for _, part := range parts {
		at, err := s.places(ctx, args)
		if err != nil {
			return err
		}
		p := at[part]
		if !p.old {
			continue
		}
		if p.now {
			// A new tree that is aside already is another attempt's: this one replaces it.
			if err := s.change(ctx, []string{"rm", "-rf", st.built + "/" + part}, []string{"mkdir", "-p", st.built}, []string{"mv", "-T", app + "/" + part, st.built + "/" + part}); err != nil {
				return err
			}
		}
		if err := s.change(ctx, []string{"mv", "-T", app + "/" + backup(part, args["from"]), app + "/" + part}); err != nil {
			return err
		}
	}
	if err := s.change(ctx, []string{"sync"}); err != nil {
		return err
	}
	banner, err := s.BannerOf(ctx, app+"/bin/gsql")
	if err != nil {
		return err
	}
	if banner.Release != args["from"] {
		return say.Errorf("%s: after the way back %s/bin/gsql says release %q", "%s：回退之后 %s/bin/gsql 报告的版本为 %q", s.Name, app, banner.Release)
	}
	return nil
}

// stagedOf reads the files that a node got, once it runs what they hold.
func stagedOf(ctx context.Context, t driver.Target, name string) (map[string]tree, error) {
	s, err := siteOf(t.Env, name)
	if err != nil {
		return nil, err
	}
	args := argsOf(t.Plan, name)
	if d, err := s.swapped(ctx, args, true); err != nil {
		return nil, err
	} else if d != "" {
		return nil, fmt.Errorf("%s: %s", s.Name, d)
	}
	out := map[string]tree{}
	for _, part := range parts {
		if out[part], err = s.tree(ctx, stageOf(args).pkg+"/"+part, true); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// compareNodes proves that all nodes got the same files of the package (M25).
func compareNodes(ctx context.Context, t driver.Target) error {
	names := t.Env.Inventory.Names()
	trees := make([]map[string]tree, len(names))
	errs := make([]error, len(names))
	each(t.Env, len(names), func(i int) {
		trees[i], errs[i] = stagedOf(ctx, t, names[i])
	})
	for i, err := range errs {
		if err != nil {
			return err
		}
		for _, part := range parts {
			if d := differs(trees[i][part], trees[0][part], ""); d != "" {
				return say.Errorf("%s and %s differ: %s/%s (M25)", "%s 与 %s 不一致：%s/%s（M25）", names[i], names[0], part, d)
			}
		}
	}
	return nil
}
