package opengauss

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// The kinds of steps.
const (
	kindCopy       = "copy-package"
	kindUnpack     = "unpack"
	kindOpen       = "open-upgrade"
	kindGUC        = "set-parameter"
	kindCMNumber   = "cm-number"
	kindCMPause    = "cm-pause"
	kindSQLPre     = "sql-pre"
	kindSQLPost    = "sql-post"
	kindStop       = "stop"
	kindCarry      = "carry"
	kindFlip       = "flip"
	kindStart      = "start"
	kindSwitchover = "switchover"
	kindRefresh    = "refreshconf"
	kindSeal       = "seal"
	kindForget     = "forget-number"
	kindEndMode    = "end-upgrade-mode"
	kindRemoveOld  = "remove-old"
	kindClose      = "close"
	kindTools      = "swap-tools"
)

var actions map[string]driver.Action

func init() {
	actions = map[string]driver.Action{
		kindCopy: copyAction{}, kindUnpack: unpackAction{}, kindOpen: openAction{}, kindGUC: gucAction{}, kindCMNumber: cmNumberAction{},
		kindSQLPre: sqlAction{}, kindSQLPost: sqlAction{post: true}, kindStop: stopAction{}, kindCarry: carryAction{}, kindFlip: flipAction{},
		kindStart: startAction{}, kindSwitchover: switchoverAction{}, kindRefresh: refreshAction{}, kindSeal: sealAction{}, kindForget: forgetAction{},
		kindCMPause: cmPauseAction{}, kindCMCopy: cmCopyAction{}, kindCMSwap: cmSwapAction{}, kindCMClean: cmCleanAction{},
		kindEndMode: endModeAction{}, kindRemoveOld: removeOldAction{}, kindClose: closeAction{}, kindTools: toolsAction{},
	}
}

func remember(v any) (driver.Memo, error) { return json.Marshal(v) }

// recall reads a memo into v; a missing one is an error: it was durable before Do.
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

// noMemo is for actions whose Undo needs to know nothing.
type noMemo struct{}

func (noMemo) Prepare(context.Context, driver.Target) (driver.Memo, error) { return nil, nil }

// forward is for actions behind the point of no return.
type forward struct{ noMemo }

func (forward) Undo(_ context.Context, t driver.Target) error {
	return say.Errorf("%s cannot be undone", "%s 无法撤销", t.Step.ID)
}

func half(err error) (driver.Standing, error) { return driver.Unknown, err }

// copyAction lays the package files down on a node.
type copyAction struct{ noMemo }

type sent struct{ name, sum string }

func filesOf(t driver.Target) []sent {
	var out []sent
	for _, w := range strings.Fields(t.Step.Args["files"]) {
		name, sum, _ := strings.Cut(w, "=")
		out = append(out, sent{name, sum})
	}
	return out
}

func (copyAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	dir := s.work(r.Args["commit"])
	there, err := s.exists(ctx, dir)
	if err != nil {
		return half(err)
	}
	if !there {
		return driver.NotApplied, nil
	}
	for _, f := range filesOf(t) {
		if ok, err := s.exists(ctx, path.Join(dir, f.name)); err != nil || !ok {
			return driver.Half, err
		}
	}
	return driver.Applied, nil
}

func (copyAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	dir := s.work(r.Args["commit"])
	if err := s.change(ctx, "mkdir", "-p", "-m", "0700", dir); err != nil {
		return err
	}
	for _, f := range filesOf(t) {
		local := ""
		for _, p := range t.Plan.Request.Packages {
			if filepath.Base(p) == f.name {
				local = p
			}
			if local == "" && f.name == "upgrade_sql.tar.gz" {
				local = filepath.Join(filepath.Dir(p), f.name)
			}
		}
		if err := sendFile(ctx, t, s, local, f, path.Join(dir, f.name)); err != nil {
			return err
		}
	}
	return nil
}

func sendFile(ctx context.Context, t driver.Target, s *site, local string, f sent, to string) error {
	src, err := host.OpenFile(local)
	if err != nil {
		return &say.Problem{Place: local, Text: say.F("the package that the plan names cannot be read", "无法读取计划所指的升级包"), Err: err,
			Next: say.F("put it back there, then: shiplift resume", "将其放回原处后执行：shiplift resume")}
	}
	defer src.Close()
	last := int64(-1)
	return host.Put(ctx, s.Host, src, to, f.sum, func(done, total int64) {
		if tenth := done * 10 / max(total, 1); tenth != last {
			last = tenth
			report(t)(say.F("%s: %d%% of %s", "%s：已传输 %d%%（%s）", s.Name, tenth*10, f.name))
		}
	})
}

// Undo ends a rollback on the node: a server that went down on the way is
// started again. The first node's is the last of all and looks at every node,
// since one may have gone down before anything was begun there; a node that
// does not answer is owed, or nobody would start its server when it is back.
func (copyAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	var owed error
	if t.Undoing {
		if owed, err = r.endBack(ctx, s); err != nil {
			return err
		}
	}
	if err := s.change(ctx, "rm", "-rf", s.work(r.Args["commit"])); err != nil {
		return err
	}
	return owed
}

// endBack starts what went down on the node, for the first node on all.
func (r *room) endBack(ctx context.Context, s *site) (owed, err error) {
	for _, o := range r.Sites {
		if o != s && s != r.Sites[0] {
			continue
		}
		var gone *host.UnreachableError
		err := r.comeUp(ctx, o)
		switch {
		case o != s && errors.As(err, &gone):
			owed = &driver.Owed{Node: o.Name, Err: err}
		case err != nil:
			return nil, err
		}
	}
	return owed, nil
}

// unpackAction unpacks the server, and the cluster manager over it, beside the
// running release.
type unpackAction struct{}

// unpackMemo tells whether gs_preinstall had made the empty directory.
type unpackMemo struct {
	Empty bool `json:"empty"`
}

func (unpackAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return nil, err
	}
	dir := r.newApp(s)
	there, err := s.exists(ctx, dir)
	if err != nil {
		return nil, err
	}
	files, err := s.list(ctx, dir)
	if err != nil {
		return nil, err
	}
	if len(files) > 0 {
		return nil, &say.Problem{Place: s.Name, Text: say.F("%s is not empty: its content is of an earlier attempt or belongs to somebody", "%s 非空：可能是此前升级的残留或属于他人", dir),
			Next: say.F("look into it and move it away on %s: mv %s %[2]s.away", "请在 %s 上确认后移走：mv %s %[2]s.away", s.Name, dir)}
	}
	return remember(unpackMemo{Empty: there})
}

func (unpackAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	files, err := s.list(ctx, r.newApp(s))
	if err != nil {
		return half(err)
	}
	if len(files) > 0 {
		return driver.Applied, nil // it comes into being by one rename
	}
	there, err := s.exists(ctx, r.newApp(s)+partSuffix)
	if err != nil || there {
		return driver.Half, err
	}
	return driver.NotApplied, nil
}

const partSuffix = ".shiplift-part"

func (unpackAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	dir := r.newApp(s)
	if files, err := s.list(ctx, dir); err != nil || len(files) > 0 {
		return err
	}
	work, part := s.work(r.Args["commit"]), dir+partSuffix
	steps := [][]string{{"rm", "-rf", part}, {"mkdir", "-m", "0700", part}}
	from := work
	if whole := r.Args["whole"]; whole != "" {
		from = work + "/all"
		steps = append(steps, []string{"rm", "-rf", from}, []string{"mkdir", "-m", "0700", from}, []string{"tar", "-xzf", path.Join(work, whole), "-C", from})
	}
	steps = append(steps, []string{"tar", "-xjf", path.Join(from, r.Args["server"]), "-C", part})
	if cm := r.Args["cm"]; cm != "" {
		at := from
		if ok, err := s.exists(ctx, path.Join(work, cm)); err == nil && ok {
			at = work
		}
		steps = append(steps, []string{"tar", "-xzf", path.Join(at, cm), "-C", part})
	}
	for _, argv := range steps {
		c := host.Change(argv...)
		c.Timeout = 20 * time.Minute
		if _, err := s.Host.Run(ctx, c); err != nil {
			return err
		}
	}
	if err := r.nameRelease(ctx, s, part); err != nil {
		return err
	}
	return s.change(ctx, "mv", "-T", part, dir)
}

// nameRelease proves that what was unpacked is the release of the plan and
// writes upgrade_version as an installation has it.
func (r *room) nameRelease(ctx context.Context, s *site, part string) error {
	b, err := host.ReadFile(ctx, s.Host, part+"/version.cfg")
	if err != nil {
		return err
	}
	sw, err := gaussdb.ParseSoftware(b)
	if err != nil {
		return say.Errorf("%s: version.cfg of the package: %w", "%s：升级包的 version.cfg：%w", s.Name, err)
	}
	got, err := s.installed(ctx, part)
	if err != nil {
		return err
	}
	if got.Commit != r.Args["commit"] || sw.Commit != r.Args["commit"] {
		return &say.Problem{Place: s.Name, Text: say.F("the package unpacks to commit %s, the plan is for %s [GAUSS-52935]", "升级包解压后的提交号为 %s，计划为 %s［GAUSS-52935］", got.Commit, r.Args["commit"]),
			Next: say.F("shiplift plan", "shiplift plan")}
	}
	return host.WriteFile(ctx, s.Host, part+"/bin/upgrade_version", sw.UpgradeVersion(), 0o600)
}

func (unpackAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	var m unpackMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	dir := r.newApp(s)
	if at, err := s.link(ctx); err != nil || at == dir {
		if err == nil {
			err = say.Errorf("%s: %s still leads to %s", "%s：%s 仍指向 %s", s.Name, s.Home, dir)
		}
		return err
	}
	if err := s.change(ctx, "rm", "-rf", dir, dir+partSuffix); err != nil {
		return err
	}
	if m.Empty {
		return s.change(ctx, "mkdir", "-p", "-m", "0700", dir)
	}
	return nil
}

// openAction writes the marks of an open upgrade. Other tools look at them
// (spec section 1.5), and so does gs_ctl start.
type openAction struct{}

type openMemo struct {
	Dir bool `json:"dir"` // binary_upgrade was there, and empty
}

func (openAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	_, s, err := hereOf(t)
	if err != nil {
		return nil, err
	}
	there, err := s.exists(ctx, s.openDir())
	if err != nil {
		return nil, err
	}
	return remember(openMemo{there})
}

// The files of binary_upgrade.
const (
	fileDirs    = "record_app_directory"
	fileNumber  = "old_upgrade_version"
	fileSteps   = "upgrade_step.csv"
	fileInplace = "inplace_upgrade_flag"
	fileCommit  = "commitFlagFile"
	fileDone    = "shiplift" // written last: the marks are whole
)

// oldConf is the copy of postgresql.conf from before the upgrade, the vendor's name.
const oldConf = "postgresql.conf.bak.old"

func (openAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	_, s, err := hereOf(t)
	if err != nil {
		return half(err)
	}
	files, err := s.list(ctx, s.openDir())
	if err != nil {
		return half(err)
	}
	switch {
	case slices.Contains(files, fileDone):
		return driver.Applied, nil
	case len(files) > 0:
		return driver.Half, nil
	}
	there, err := s.exists(ctx, path.Join(s.Data, oldConf))
	if err != nil || there {
		return driver.Half, err
	}
	return driver.NotApplied, nil
}

func (openAction) Do(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	dir := s.openDir()
	if err := s.change(ctx, "mkdir", "-p", "-m", "0700", dir); err != nil {
		return err
	}
	files, err := r.marks(ctx, s)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := host.WriteFile(ctx, s.Host, f.name, f.data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

type fileToWrite struct {
	name string
	data []byte
}

// marks are the files of an open upgrade, the one that says that all are there last.
func (r *room) marks(ctx context.Context, s *site) ([]fileToWrite, error) {
	dir := s.openDir()
	conf, err := host.ReadFile(ctx, s.Host, path.Join(s.Data, "postgresql.conf"))
	if err != nil {
		return nil, err
	}
	out := []fileToWrite{
		{path.Join(s.Data, oldConf), conf},
		{path.Join(dir, fileDirs), []byte(s.OldApp + "\n" + r.newApp(s) + "\n")},
	}
	kind := "small-binary-upgrade"
	if big := r.Args["old-number"] != ""; big {
		kind = "large-binary-upgrade"
		old, err := host.ReadFile(ctx, s.Host, s.OldApp+"/bin/upgrade_version")
		if err != nil {
			return nil, err
		}
		// A lite build reads it beside the binaries, any other one in binary_upgrade
		// (golden kill-all/006 to 011).
		out = append(out, fileToWrite{path.Join(dir, fileNumber), old}, fileToWrite{path.Join(r.newApp(s), fileNumber), old})
		scripts, err := r.scripts()
		if err != nil {
			return nil, err
		}
		for _, f := range scripts {
			out = append(out, fileToWrite{path.Join(dir, f.name), f.data})
		}
	}
	if r.Args["inplace"] != "" {
		body := fmt.Sprintf("newClusterNumber:%s\noldClusterNumber:%s\n", numberOr(r.Args["new-number"], s), numberOr(r.Args["old-number"], s))
		out = append(out, fileToWrite{path.Join(dir, fileInplace), []byte(body)})
	} else {
		var csv strings.Builder
		csv.WriteString("node_host,upgrade_action,step\n")
		for _, o := range r.Sites {
			fmt.Fprintf(&csv, "%s,%s,%d\n", o.Name, kind, 1)
		}
		out = append(out, fileToWrite{path.Join(dir, fileSteps), []byte(csv.String())})
	}
	return append(out, fileToWrite{path.Join(dir, fileDone), []byte(r.Plan.ClusterID + "\n")}), nil
}

func numberOr(n string, s *site) string {
	k, err := gaussdb.ParseKernel(n)
	if err != nil {
		k = s.runAs
	}
	return k.Dotted()
}

// scripts are the merged catalogue scripts out of the package.
func (r *room) scripts() ([]fileToWrite, error) {
	pkg, err := gaussdb.ReadPackage(r.Plan.Request.Packages)
	if err != nil {
		return nil, err
	}
	from, err1 := gaussdb.ParseKernel(r.Args["old-number"])
	to, err2 := gaussdb.ParseKernel(r.Args["new-number"])
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	var out []fileToWrite
	for _, kind := range gaussdb.Kinds {
		for _, main := range []bool{true, false} {
			if text := pkg.Scripts.Merge(kind, main, from, to); text != "" {
				out = append(out, fileToWrite{gaussdb.ScriptName(kind, main), []byte(text)})
			}
		}
	}
	return out, nil
}

func (openAction) Undo(ctx context.Context, t driver.Target) error {
	r, s, err := hereOf(t)
	if err != nil {
		return err
	}
	var m openMemo
	if err := recall(t.Memo, &m); err != nil {
		return err
	}
	if t.Undoing {
		if err := r.comeUp(ctx, s); err != nil {
			return err
		}
	}
	if err := s.change(ctx, "rm", "-f", path.Join(s.Data, oldConf)); err != nil {
		return err
	}
	// The old binaries were started with -u too while the marks were there.
	if err := s.stripNumber(ctx); err != nil {
		return err
	}
	// The mark that says that all are there goes first: what is left is half, not whole.
	if err := s.change(ctx, "rm", "-f", path.Join(s.openDir(), fileDone)); err != nil {
		return err
	}
	if err := s.change(ctx, "rm", "-rf", s.openDir()); err != nil {
		return err
	}
	if m.Dir {
		return s.change(ctx, "mkdir", "-p", "-m", "0700", s.openDir())
	}
	return nil
}
