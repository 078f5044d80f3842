package opengauss

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// toolsAction changes the operation tools in $GPHOME (gs_om and the others) for
// those of the package, as gs_preinstall does for the cluster user. What is
// there goes aside, entry by entry, and comes back on the way back. What
// gs_preinstall does as root is not done here.
type toolsAction struct{}

// toolsKeep is the value of the option tools that leaves $GPHOME alone.
const toolsKeep = "keep"

// toolsMemo is what $GPHOME held before.
type toolsMemo struct {
	Had []string `json:"had"`
}

// toolsDir is the work area below $GPHOME: new/ unpacked, old/ put aside, names
// of the entries that came, done.
func (r *room) toolsDir(s *site) string { return s.GPHome + "/.shiplift_" + r.Args["commit"] }

func (toolsAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	_, s, err := hereOf(t)
	if err != nil {
		return nil, err
	}
	had, err := s.list(ctx, s.GPHome)
	if err != nil {
		return nil, err
	}
	return remember(toolsMemo{had})
}

func (toolsAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	if there, err := s.exists(ctx, r.toolsDir(s)+"/done"); err != nil || there {
		return driver.Applied, err
	}
	if there, err := s.exists(ctx, r.toolsDir(s)); err != nil || there {
		return driver.Half, err
	}
	return driver.NotApplied, nil
}

func (toolsAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	dir := r.toolsDir(s)
	if there, err := s.exists(ctx, dir+"/done"); err != nil || there {
		return err
	}
	names, err := r.layTools(ctx, s, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.changeTool(ctx, dir, name); err != nil {
			return err
		}
	}
	return host.WriteFile(ctx, s.Host, dir+"/done", []byte(strings.Join(names, "\n")+"\n"), 0o600)
}

// layTools unpacks the tools and proves that they run before anything that is
// there is touched; it returns the entries to change, none when the new tools do not run.
func (r *room) layTools(ctx context.Context, s *site, dir string) ([]string, error) {
	if b, err := s.readIf(ctx, dir+"/names"); err != nil || b != nil {
		return strings.Fields(string(b)), err
	}
	work := s.work(r.Args["commit"])
	archive := path.Join(work, r.Args["om"])
	if r.Args["whole"] != "" {
		archive = path.Join(work, "all", r.Args["om"])
	}
	for _, argv := range [][]string{
		{"rm", "-rf", dir + "/new"}, {"mkdir", "-p", "-m", "0700", dir + "/new", dir + "/old"}, {"tar", "-xzf", archive, "-C", dir + "/new"},
		// That of the archive is of the tools; in $GPHOME lies the server's (spec section 1.4).
		{"rm", "-f", dir + "/new/version.cfg"}, {"cp", "-a", r.newApp(s) + "/version.cfg", dir + "/new/version.cfg"},
	} {
		if err := s.change(ctx, argv...); err != nil {
			return nil, err
		}
	}
	names, err := s.list(ctx, dir+"/new")
	if err != nil {
		return nil, err
	}
	a, err := s.Ask(ctx, dir+"/new/script/gs_om", "-V")
	if err != nil {
		return nil, err
	}
	if b, err := gaussdb.ParseBanner(a.Both()); err != nil || b.Commit == "" {
		report(r.Target)(say.F("%s: gs_om of the package does not run here: the tools in %s stay as they are; run gs_preinstall of the new package as root", "%s：升级包中的 gs_om 无法在此运行，%s 下的工具保持不变；请以 root 执行新包的 gs_preinstall", s.Name, s.GPHome))
		names = nil
	}
	return names, host.WriteFile(ctx, s.Host, dir+"/names", []byte(strings.Join(names, "\n")), 0o600)
}

// changeTool puts one entry aside and the new one in its place; both are one
// rename each, so that a call after a crash sees which are done.
func (s *site) changeTool(ctx context.Context, dir, name string) error {
	at := s.GPHome + "/" + name
	come, err := s.exists(ctx, dir+"/new/"+name)
	if err != nil || !come {
		return err
	}
	there, err := s.exists(ctx, at)
	if err != nil {
		return err
	}
	if there {
		if err := s.change(ctx, "mv", "-T", at, dir+"/old/"+name); err != nil {
			return err
		}
	}
	return s.change(ctx, "mv", "-T", dir+"/new/"+name, at)
}

func (toolsAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	var m toolsMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	dir := r.toolsDir(s)
	names, err := s.readIf(ctx, dir+"/names")
	if err != nil {
		return err
	}
	if err := s.change(ctx, "rm", "-f", dir+"/done"); err != nil {
		return err
	}
	for _, name := range strings.Fields(string(names)) {
		if err := s.toolBack(ctx, dir, name, slices.Contains(m.Had, name)); err != nil {
			return err
		}
	}
	return s.change(ctx, "rm", "-rf", dir)
}

func (s *site) toolBack(ctx context.Context, dir, name string, had bool) error {
	aside, err := s.exists(ctx, dir+"/old/"+name)
	if err != nil || had && !aside { // it was never put aside
		return err
	}
	if err := s.change(ctx, "rm", "-rf", s.GPHome+"/"+name); err != nil || !aside {
		return err
	}
	return s.change(ctx, "mv", "-T", dir+"/old/"+name, s.GPHome+"/"+name)
}
