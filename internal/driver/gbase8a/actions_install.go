package gbase8a

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// install is U6 and U7: the vendor's installer as one supervised step. It runs
// detached from our connection, so that a cut link or the tool's death does
// not end it in its middle; what it says is followed, what it did is proven
// from the releases of all nodes.
type install struct{}

// installMemo is what was there before, to tell this run's traces from older ones.
type installMemo struct {
	Backups []string       `json:"backups"`
	Records map[string]int `json:"records"` // highest number by kind
}

// The kinds of records of detached programs.
const (
	recordUpgrade = "upgrade"
	recordRestore = "restore"
)

// runs is where the records lie: beside the unpacked package, so that they
// outlive it and an operator finds the raw logs.
func runs(t driver.Target) string { return t.Step.Args["dir"] + ".run" }

func (install) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	s, err := siteOf(t)
	if err != nil {
		return nil, err
	}
	memo := installMemo{Records: map[string]int{}}
	if memo.Backups, err = s.backups(ctx, t); err != nil {
		return nil, err
	}
	for _, kind := range []string{recordUpgrade, recordRestore} {
		if memo.Records[kind], err = s.lastRecord(ctx, t, kind); err != nil {
			return nil, err
		}
	}
	return json.Marshal(memo)
}

func memoOf(t driver.Target) (installMemo, error) {
	var memo installMemo
	if err := json.Unmarshal(t.Memo, &memo); err != nil {
		return memo, say.Errorf("read the memo of the installation: %w", "读取安装的备忘：%w", err)
	}
	return memo, nil
}

// backups are the installer's backup files, oldest first: their names carry the time.
func (s *site) backups(ctx context.Context, t driver.Target) ([]string, error) {
	dir := s.conf(t.Step.Node).BackupDir
	res, err := s.Hosts[t.Step.Node].Run(ctx, host.Read("find", dir, "-mindepth", "1", "-maxdepth", "1", "-type", "f", "-name", "gcluster_backup_*.tar.bz2", "-printf", `%s %f\n`))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, l := range splitLines(string(res.Stdout)) {
		if size, name, ok := strings.Cut(l, " "); ok && size != "0" {
			out = append(out, path.Join(dir, name))
		}
	}
	slices.Sort(out)
	return out, nil
}

// backup is the newest backup that this run's installer wrote; "" without one (G24).
func (s *site) backup(ctx context.Context, t driver.Target, memo installMemo) (string, error) {
	all, err := s.backups(ctx, t)
	if err != nil {
		return "", err
	}
	all = slices.DeleteFunc(all, func(f string) bool { return slices.Contains(memo.Backups, f) })
	if len(all) == 0 {
		return "", nil
	}
	return all[len(all)-1], nil
}

// lastRecord is the highest number of a kind of record; 0 without one.
func (s *site) lastRecord(ctx context.Context, t driver.Target, kind string) (int, error) {
	h := s.Hosts[t.Step.Node]
	if there, err := exists(ctx, h, runs(t)); err != nil || !there {
		return 0, err
	}
	res, err := h.Run(ctx, host.Read("find", runs(t), "-mindepth", "1", "-maxdepth", "1", "-name", kind+".*", "-printf", `%f\n`))
	last := 0
	for _, l := range splitLines(string(res.Stdout)) {
		if n, err := strconv.Atoi(strings.TrimPrefix(l, kind+".")); err == nil {
			last = max(last, n)
		}
	}
	return last, err
}

func record(t driver.Target, kind string, n int) string {
	return fmt.Sprintf("%s/%s.%d", runs(t), kind, n)
}

// detached is how a detached program of this run stands.
type detachedRun struct {
	host.DetachState
	code int
	log  string // its last lines
}

// follow waits until the newest program of a kind has ended; Absent when this
// run has started none.
func (s *site) follow(ctx context.Context, t driver.Target, kind string, memo installMemo) (detachedRun, error) {
	n, err := s.lastRecord(ctx, t, kind)
	if err != nil || n <= memo.Records[kind] {
		return detachedRun{DetachState: host.DetachAbsent}, err
	}
	h, rec := s.Hosts[t.Step.Node], record(t, kind, n)
	var run detachedRun
	lost := 0
	spec := wait.Spec{What: say.F("the installer has ended", "安装程序已结束"), Node: t.Step.Node, Deadline: s.conf(t.Step.Node).Install, Every: 5 * time.Second, Next: "tail -f " + rec + "/log"}
	err = wait.For(ctx, s.Clock, spec, s.report, func(ctx context.Context) (wait.Look, error) {
		state, code, err := host.DetachedState(ctx, h, rec)
		if err != nil {
			return wait.Look{}, err
		}
		run.DetachState, run.code = state, code
		run.log = s.tail(ctx, t.Step.Node, rec+"/log")
		if state == host.DetachLost {
			lost++ // it may be just starting: believed at the third look
		} else {
			lost = 0
		}
		return wait.Look{Done: state == host.DetachEnded || lost == 3, Says: say.Same(lastLine(run.log))}, nil
	})
	return run, err
}

// tail is the end of a log; it is shown, nothing is decided on it.
func (s *site) tail(ctx context.Context, node, file string) string {
	res, err := s.Hosts[node].Run(ctx, host.Read("tail", "-n", "5", file))
	if err != nil {
		return ""
	}
	return res.Text()
}

func lastLine(text string) string {
	lines := splitLines(text)
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// releases tells what every node's files are: all of one release, or mixed.
type releases struct {
	allNew, allOld bool
	shown          string
}

func (s *site) releases(ctx context.Context, t driver.Target) (releases, error) {
	found := make([]string, len(s.Members))
	err := each(s.Serial, s.Members, func(m member) error {
		v, err := s.releaseOf(ctx, m)
		found[slices.IndexFunc(s.Members, func(o member) bool { return o.Name == m.Name })] = v
		return err
	})
	if err != nil {
		return releases{}, err
	}
	r := releases{allNew: true, allOld: true}
	var shown []string
	for i, v := range found {
		r.allNew, r.allOld = r.allNew && v == t.Plan.To, r.allOld && v == t.Plan.From
		shown = append(shown, s.Members[i].Name+" "+v)
	}
	r.shown = strings.Join(shown, ", ")
	return r, nil
}

// releaseOf reads a node's release. A look whose time ran out is made again: it
// only reads, and behind the installer machines are busy.
func (s *site) releaseOf(ctx context.Context, m member) (string, error) {
	for try := 1; ; try++ {
		tools, err := s.findTools(ctx, m)
		var v string
		if err == nil {
			v, err = s.installed(ctx, m, tools)
		}
		var late *host.EndedError
		if err == nil || try == 3 || !errors.As(err, &late) || ctx.Err() != nil {
			return v, err
		}
	}
}

func mixed(r releases) error {
	return &say.Problem{Text: say.F("the nodes have different releases: %s", "各节点版本混杂：%s", r.shown),
		Next: say.F("start nothing, keep all logs and the backup file, call the vendor", "不要启动任何服务，保留全部日志与备份文件，联系厂商")}
}

// Probe waits for an installer that still runs, then judges by the releases.
func (install) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	s, err := siteOf(t)
	if err != nil {
		return driver.Unknown, err
	}
	memo, err := memoOf(t)
	if err != nil {
		return driver.Unknown, err
	}
	run, r, err := s.settled(ctx, t, memo)
	switch {
	case err != nil && t.Undoing:
		return driver.Unknown, notOwed(err)
	case err != nil:
		return driver.Unknown, err
	case r.allOld:
		return driver.NotApplied, nil
	case !r.allNew:
		return s.halfRestored(ctx, t, memo, r)
	case t.Undoing:
		return driver.Applied, nil // whatever it lacks, Restore.py is the way back
	}
	if err := s.launched(ctx, t, memo, run); err != nil {
		return driver.Unknown, err
	}
	return driver.Applied, nil
}

// halfRestored tells a mixture that a Restore.py of this run left from one of
// the installer's: behind the first the same backup is restored once more [A],
// the second is the vendor's case.
func (s *site) halfRestored(ctx context.Context, t driver.Target, memo installMemo, r releases) (driver.Standing, error) {
	begun, err := s.restoreBegun(ctx, t, memo)
	switch {
	case err != nil:
		return driver.Unknown, notOwed(err)
	case begun && t.Undoing:
		return driver.Half, nil
	}
	return driver.Unknown, mixed(r)
}

// restoreBegun reports whether this run has started Restore.py before: it does
// so only where every node has the new release.
func (s *site) restoreBegun(ctx context.Context, t driver.Target, memo installMemo) (bool, error) {
	n, err := s.lastRecord(ctx, t, recordRestore)
	return n > memo.Records[recordRestore], err
}

// settled lets everything end that runs and reads the releases.
func (s *site) settled(ctx context.Context, t driver.Target, memo installMemo) (detachedRun, releases, error) {
	run, err := s.follow(ctx, t, recordUpgrade, memo)
	if err == nil {
		_, err = s.follow(ctx, t, recordRestore, memo)
	}
	if err != nil {
		return run, releases{}, err
	}
	r, err := s.releases(ctx, t)
	return run, r, err
}

// launched: the new release is on every node; the installer also has to have
// written its backup, and to have started the cluster.
func (s *site) launched(ctx context.Context, t driver.Target, memo installMemo, run detachedRun) error {
	file, err := s.backup(ctx, t, memo)
	if err != nil {
		return err
	}
	if file == "" {
		return &say.Problem{Place: t.Step.Node, Text: say.F("every node has %s, but there is no backup file in %s: nothing leads back", "各节点已是 %s，但 %s 中没有备份文件：无法回退", t.Plan.To, s.conf(t.Step.Node).BackupDir),
			Next: say.F("look for gcluster_backup_*.tar.bz2 in the installer's log; put it there and resume", "在安装程序日志中查找 gcluster_backup_*.tar.bz2；放回后 resume")}
	}
	if run.DetachState == host.DetachEnded && run.code == 0 {
		return nil
	}
	alive, err := s.alive(ctx)
	if err == nil && len(alive) < len(s.Members) {
		err = &say.Problem{Place: t.Step.Node, Text: say.F("every node has %s, but the installer failed to start it: %s", "各节点已是 %s，但安装程序未能启动集群：%s", t.Plan.To, lastLine(run.log)),
			Next: say.F("start the services on every node and resume, or: shiplift rollback (Restore.py)", "在各节点启动服务后 resume，或：shiplift rollback（Restore.py）")}
	}
	return err
}

func (install) Do(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	memo, err := memoOf(t)
	if err != nil {
		return err
	}
	run, r, err := s.settled(ctx, t, memo)
	switch {
	case err != nil:
		return err
	case r.allNew:
		return s.launched(ctx, t, memo, run)
	case !r.allOld:
		return mixed(r)
	}
	if run.DetachState == host.DetachEnded { // an earlier attempt of this run failed
		if err := s.prepareAnew(ctx, t); err != nil {
			return err
		}
	}
	if err := s.mayInstall(ctx, t); err != nil {
		return err
	}
	if err := s.detach(ctx, t, recordUpgrade, s.installCommand(t)...); err != nil {
		return err
	}
	if run, r, err = s.settled(ctx, t, memo); err != nil {
		return err
	}
	switch {
	case r.allNew:
		return s.launched(ctx, t, memo, run)
	case !r.allOld:
		return mixed(r)
	}
	return &say.Problem{Place: t.Step.Node, Text: say.F("the installer ended with status %d and every node has %s: %s", "安装程序以状态 %d 结束，各节点仍为 %s：%s", run.code, t.Plan.From, lastLine(run.log)),
		Next: say.F("read %s/log and mend the cause; then shiplift resume (stops, flushes and installs again) or shiplift rollback", "查看 %s/log 并排除原因；然后 shiplift resume（重新停止、刷写、安装）或 shiplift rollback", record(t, recordUpgrade, memo.Records[recordUpgrade]+1))}
}

func (s *site) installCommand(t driver.Target) []string {
	argv := []string{"./gcinstall.py", "--silent=" + optionsFile, "--backup_dir=" + s.conf(t.Step.Node).BackupDir, "-a", "-U"}
	if lic := t.Step.Args["license"]; lic != "" {
		argv = append(argv, "--license_file="+lic)
	}
	return argv
}

// detach starts a program in the package's directory under the next number.
func (s *site) detach(ctx context.Context, t driver.Target, kind string, argv ...string) error {
	node := t.Step.Node
	if _, err := s.Hosts[node].Run(ctx, host.Change("mkdir", "-p", runs(t))); err != nil {
		return err
	}
	n, err := s.lastRecord(ctx, t, kind)
	if err != nil {
		return err
	}
	_, err = s.Hosts[node].Run(ctx, sourced(s.conf(node), host.Detached(path.Join(t.Step.Args["dir"], "gcinstall"), record(t, kind, n+1), argv...)))
	return err
}

// prepareAnew is what an operator's resume asks for after the installer went
// back by itself and started the old release: that is first proven to be whole,
// then stopped and flushed again, since its log went on.
func (s *site) prepareAnew(ctx context.Context, t driver.Target) error {
	alive, err := s.alive(ctx)
	if err != nil || len(alive) == 0 {
		return err
	}
	serving, err := s.serving(ctx)
	if err != nil {
		return err
	}
	if serving { // otherwise an attempt like this one was cut off in its middle
		if err := s.awaitHealth(ctx, func(v *view) []check.Finding { return s.fallen(v, "NORMAL") }); err != nil {
			return err
		}
	}
	if err := s.stopEverything(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx, t); err != nil || !s.opts.wantsFlush(t.Plan.From) {
		return err
	}
	if err := each(s.Serial, s.gcware(), func(m member) error { return s.startGcware(ctx, m) }); err != nil {
		return err
	}
	if err := s.waitGcware(ctx, t); err != nil {
		return err
	}
	if err := s.flushNow(ctx, t); err != nil {
		return err
	}
	return each(s.Serial, s.gcware(), func(m member) error { return s.stopGcware(ctx, m) })
}

// serving reports whether any database process runs anywhere.
func (s *site) serving(ctx context.Context) (bool, error) {
	for _, m := range s.Members {
		ps, err := s.processes(ctx, m)
		if err != nil || slices.ContainsFunc(ps, func(p Process) bool { return slices.Contains(databaseProcesses, p.Name) }) {
			return err == nil, err
		}
	}
	return false, nil
}

// mayInstall proves the installer's preconditions right before it starts.
func (s *site) mayInstall(ctx context.Context, t driver.Target) error {
	alive, err := s.alive(ctx)
	if err != nil {
		return err
	}
	if len(alive) > 0 { // G23
		names := make([]string, len(alive))
		for i, m := range alive {
			names[i] = m.Name
		}
		return &say.Problem{Text: say.F("services run on %s", "%s 上有服务在运行", strings.Join(names, ", ")), Next: say.F("shiplift rollback, then plan again: the flush has to be made anew", "shiplift rollback 后重新制定计划：需要重新刷写")}
	}
	if s.opts.wantsFlush(t.Plan.From) { // a snapshot that somebody's start made old is worth nothing
		if err := s.flushProven(ctx, t.MemoOf(stepID("cluster", kindFlush))); err != nil {
			return err
		}
	}
	return s.optionsRight(ctx, t) // G21
}

// Undo is runbook R: Restore.py when every node has the new release, and again
// when it did not come to its end. Releases that the installer mixed are the
// vendor's case.
func (install) Undo(ctx context.Context, t driver.Target) error {
	s, err := siteOf(t)
	if err != nil {
		return err
	}
	memo, err := memoOf(t)
	if err != nil {
		return err
	}
	_, r, err := s.settled(ctx, t, memo)
	switch {
	case err != nil:
		return notOwed(err)
	case r.allOld:
		return s.leaveStopped(ctx, t)
	case !r.allNew:
		if begun, err := s.restoreBegun(ctx, t, memo); err != nil || !begun {
			return errors.Join(err, mixed(r))
		}
	}
	if err := s.restore(ctx, t, memo); err != nil {
		return notOwed(err)
	}
	return s.leaveStopped(ctx, t)
}

// leaveStopped: before the installer all services were stopped. When the whole
// run goes back, what runs may go on: the steps before this one start it anyway.
func (s *site) leaveStopped(ctx context.Context, t driver.Target) error {
	if t.Undoing {
		return nil
	}
	return s.stopEverything(ctx)
}

func (s *site) stopEverything(ctx context.Context) error {
	if err := each(s.Serial, s.with(database), func(m member) error { return s.stopAll(ctx, "gcluster_services", m) }); err != nil {
		return err
	}
	if s.Gen != V953 {
		return nil
	}
	return each(s.Serial, s.gcware(), func(m member) error { return s.stopAll(ctx, "gcware_services", m) })
}

func (s *site) restore(ctx context.Context, t driver.Target, memo installMemo) error {
	if !CanRestore(t.Plan.To, t.Plan.From) { // G33
		return &say.Problem{Text: say.F("Restore.py does not lead from %s back to %s", "Restore.py 不支持从 %s 回退到 %s", t.Plan.To, t.Plan.From), Next: say.F("call the vendor", "联系厂商")}
	}
	file, err := s.backup(ctx, t, memo)
	if err != nil {
		return err
	}
	if file == "" {
		return &say.Problem{Place: t.Step.Node, Text: say.F("there is no backup file to restore", "没有可恢复的备份文件"), Next: say.F("call the vendor", "联系厂商")}
	}
	if err := s.stopEverything(ctx); err != nil {
		return err
	}
	if err := s.putOptions(ctx, t); err != nil {
		return err
	}
	python := s.member(t.Step.Node).Python
	if python == "" {
		python = "python"
	}
	if err := s.detach(ctx, t, recordRestore, python, "Restore.py", "--backupFile="+file, "--silent="+optionsFile); err != nil {
		return err
	}
	run, err := s.follow(ctx, t, recordRestore, memo)
	if err != nil {
		return err
	}
	r, err := s.releases(ctx, t)
	if err != nil || r.allOld {
		return err
	}
	return &say.Problem{Place: t.Step.Node, Text: say.F("Restore.py ended with status %d and the nodes have: %s (%s)", "Restore.py 以状态 %d 结束，各节点版本为：%s（%s）", run.code, r.shown, lastLine(run.log)),
		Next: say.F("mend the cause, then `shiplift rollback` runs Restore.py with %s again; if that does not help keep %s and call the vendor", "排除原因后，shiplift rollback 将再次以 %s 执行 Restore.py；若仍失败，保留 %s 并联系厂商", file, runs(t))}
}

// notOwed makes an unreachable node a problem that stops the way back here:
// the old release must not be started around a restore that has not happened.
func notOwed(err error) error {
	var gone *host.UnreachableError
	if !errors.As(err, &gone) {
		return err
	}
	return &say.Problem{Place: gone.Node, Text: say.F("it does not answer: whether Restore.py is needed cannot be told, and it needs every node: %s", "没有应答：无法判断是否需要 Restore.py，且其需要所有节点：%s", gone.Error()),
		Next: say.F("bring the node back, then: shiplift rollback", "恢复该节点后执行：shiplift rollback")}
}
