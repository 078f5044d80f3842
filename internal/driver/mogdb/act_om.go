package mogdb

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

const dynamicConfig = "cluster_dynamic_config"

// refreshAction lets gs_om learn the roles. Its next start would take old ones
// otherwise (M15); the file lies in bin and is lost by a swap, so it is made
// again behind the last one (M16).
type refreshAction struct{}

// refreshMemo is the file on every node before: its content, and whether it was there.
type refreshMemo struct {
	Files map[string]dynamicFile `json:"files"`
}

type dynamicFile struct {
	There bool   `json:"there"`
	Sum   string `json:"sum,omitempty"`
	Body  []byte `json:"body,omitempty"`
}

func dynamicOf(ctx context.Context, t driver.Target, withBody bool) (map[string]dynamicFile, error) {
	out := map[string]dynamicFile{}
	for _, name := range t.Env.Inventory.Names() {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return nil, err
		}
		file := argsOf(t.Plan, name)["app"] + "/bin/" + dynamicConfig
		var f dynamicFile
		f.Sum, err = host.Sum(ctx, s.Host, file)
		f.There = err == nil
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if f.There && withBody {
			if f.Body, err = host.ReadFile(ctx, s.Host, file); err != nil {
				return nil, err
			}
		}
		out[name] = f
	}
	return out, nil
}

func (refreshAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	files, err := dynamicOf(ctx, t, true)
	if err != nil {
		return nil, err
	}
	return remember(refreshMemo{files})
}

func (refreshAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	var m refreshMemo
	if err := recall(t.Memo, &m); err != nil {
		return driver.Unknown, err
	}
	now, err := dynamicOf(ctx, t, false)
	if err != nil {
		return driver.Unknown, err
	}
	changed, same, sum := 0, true, ""
	for name, f := range now {
		if f.Sum != m.Files[name].Sum {
			changed++
		}
		if sum == "" {
			sum = f.Sum
		}
		same = same && f.There && f.Sum == sum
	}
	switch {
	case changed == 0:
		return driver.NotApplied, nil
	case changed == len(now) && same:
		return driver.Applied, nil
	}
	return driver.Half, nil
}

func (a refreshAction) Do(ctx context.Context, t driver.Target) error {
	standing, err := a.Probe(ctx, t)
	if err != nil || standing == driver.Applied {
		return err
	}
	s, err := here(t)
	if err != nil {
		return err
	}
	if err := s.refreshconf(ctx); err != nil {
		return err
	}
	// The file is a function of the roles, so it may be what it was before.
	now, err := dynamicOf(ctx, t, false)
	if err != nil {
		return err
	}
	want := now[t.Step.Node]
	for name, f := range now {
		if !f.There || f.Sum != want.Sum {
			return &say.Problem{
				Place: name,
				Text:  say.F("gs_om -t refreshconf did not write the same %s to every node [M15]", "gs_om -t refreshconf 未向每个节点写入相同的 %s［M15］", dynamicConfig),
				Next:  say.F("look at ssh trust of the database user between the nodes, then: shiplift resume", "检查数据库用户在节点间的 ssh 互信，然后执行：shiplift resume"),
			}
		}
	}
	return nil
}

// refreshconf asks gs_om for it. It needs exactly one primary (spec/mogdb.md section 5).
func (s *site) refreshconf(ctx context.Context) error {
	c := host.Change("gs_om", "-t", "refreshconf")
	c.Timeout = 6 * time.Minute
	a, err := s.Run(ctx, c)
	if believed(ctx, err) != nil {
		return err
	}
	if !strings.Contains(a.Both(), "Successfully generated dynamic configuration file.") {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("gs_om -t refreshconf failed: %s [M15]", "gs_om -t refreshconf 失败：%s［M15］", lastLines(a.Both())),
			Next:  say.F("gs_om -t status --detail; then: shiplift resume", "gs_om -t status --detail；然后执行：shiplift resume"),
		}
	}
	return nil
}

// Undo puts the files back as they were, byte for byte. A node that does not
// answer is passed over: its own swap brings back the bin that holds the old file.
func (a refreshAction) Undo(ctx context.Context, t driver.Target) error {
	var m refreshMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	var errs []error
	for _, name := range t.Env.Inventory.Names() {
		s, err := siteOf(t.Env, name)
		if err != nil {
			return err
		}
		if err := s.putDynamic(ctx, argsOf(t.Plan, name)["app"]+"/bin/"+dynamicConfig, m.Files[name]); err != nil {
			if isGone(err) {
				report(t)(say.F("%s does not answer and is passed over", "%s 没有应答，已跳过", name))
				continue
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *site) putDynamic(ctx context.Context, file string, f dynamicFile) error {
	if !f.There {
		return s.change(ctx, []string{"rm", "-f", file})
	}
	if have, err := host.Sum(ctx, s.Host, file); err == nil && have == f.Sum {
		return nil
	}
	return host.WriteFile(ctx, s.Host, file, f.Body, 0o600)
}

// hookAction calls the site's own program, which moves what clients use to
// find the primary. Its contract: PROGRAM release|take|holds OLD NEW, with the
// addresses of the nodes; holds ends with 0 on the node that has it, release
// and take may be called again.
type hookAction struct{}

func (hookAction) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

func (hookAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	p, err := pairOf(t.Env, t.Step.Args["old"], t.Step.Args["new"])
	if err != nil {
		return driver.Unknown, err
	}
	return p.holds(ctx, t.Step.Args["hook"])
}

func (p pair) call(hook, verb string) []string {
	return []string{hook, verb, p.from.Address, p.to.Address}
}

// holds tells where it is: applied at the new primary, half at neither or both.
func (p pair) holds(ctx context.Context, hook string) (driver.Standing, error) {
	var at [2]bool
	for i, s := range []*site{p.from, p.to} {
		_, err := s.Host.Run(ctx, host.Read(p.call(hook, "holds")...))
		if err != nil && !host.IsExit(err, 1) {
			return driver.Unknown, hookTrouble(s.Name, hook, err)
		}
		at[i] = err == nil
	}
	switch at {
	case [2]bool{false, true}:
		return driver.Applied, nil
	case [2]bool{true, false}:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

func hookTrouble(node, hook string, err error) error {
	if !host.IsExit(err) {
		return err
	}
	return &say.Problem{
		Place: node,
		Text:  say.F("the site's program %s failed", "本单位的程序 %s 执行失败", hook),
		Next:  say.F("make it work on every node (release, take, holds), then: shiplift resume", "使其在每个节点上可用（release、take、holds），然后执行：shiplift resume"),
		Err:   err,
	}
}

func (hookAction) Do(ctx context.Context, t driver.Target) error {
	return moveVIP(ctx, t, t.Step.Args["old"], t.Step.Args["new"])
}

func (hookAction) Undo(ctx context.Context, t driver.Target) error {
	return moveVIP(ctx, t, t.Step.Args["new"], t.Step.Args["old"])
}

func moveVIP(ctx context.Context, t driver.Target, from, to string) error {
	p, err := pairOf(t.Env, from, to)
	if err != nil {
		return err
	}
	hook := t.Step.Args["hook"]
	if at, err := p.holds(ctx, hook); err != nil || at == driver.Applied {
		return err
	}
	for _, c := range []struct {
		s    *site
		verb string
	}{{p.from, "release"}, {p.to, "take"}} {
		cmd := host.Change(p.call(hook, c.verb)...)
		cmd.Timeout = 2 * time.Minute
		if _, err := c.s.Host.Run(ctx, cmd); err != nil {
			return hookTrouble(c.s.Name, hook, err)
		}
	}
	at, err := p.holds(ctx, hook)
	if err == nil && at != driver.Applied {
		err = say.Errorf("%s: %s says that %s does not hold it alone", "%s：%s 报告该地址并非由 %s 独占", to, hook, to)
	}
	return err
}
