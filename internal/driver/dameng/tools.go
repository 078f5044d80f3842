package dameng

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster/damengini"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// run runs a command and returns its output as text. Exit statuses are errors.
func (n *node) run(ctx context.Context, c host.Cmd) (string, error) {
	res, err := n.host.Run(ctx, c)
	return decodeText(res.Stdout), err
}

func (n *node) change(ctx context.Context, argv ...string) error {
	_, err := n.host.Run(ctx, host.Change(argv...))
	return err
}

func (n *node) exists(ctx context.Context, name string) (bool, error) {
	return host.Exists(ctx, n.host, name)
}

func (n *node) read(ctx context.Context, name string) (string, error) {
	b, err := host.ReadFile(ctx, n.host, name)
	return string(b), err
}

// list returns the names in a directory; none when it is not there.
func (n *node) list(ctx context.Context, dir string) ([]string, error) {
	there, err := n.exists(ctx, dir)
	if err != nil || !there {
		return nil, err
	}
	out, err := n.run(ctx, host.Read("ls", "-A", dir))
	return lines(out), err
}

// lines are the lines of a text that hold anything.
func lines(text string) []string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimRight(l, "\r"); l != "" {
			out = append(out, l)
		}
	}
	return out
}

// ---- services ----

// unit calls what the services were started with: what one of systemctl and the
// vendor's script started, the other neither sees nor stops (spec/dameng.md 4.3).
func (n *node) unit(ctx context.Context, verb, service string, limit time.Duration) (string, error) {
	c := host.Cmd{Argv: n.unitWords(verb, service), Timeout: limit}
	return n.run(ctx, c)
}

// unitWords is the command that starts or stops a service.
func (n *node) unitWords(verb, service string) []string {
	if n.set["services"] == "script" {
		return []string{n.bin(service), verb}
	}
	return append(strings.Fields(n.or("systemctl", "systemctl")), verb, service)
}

// command is the same as a person types it.
func (n *node) command(verb, service string) string {
	return strings.Join(n.unitWords(verb, service), " ")
}

// active reports whether a service runs, as its manager sees it.
func (n *node) active(ctx context.Context, service string) (bool, error) {
	c := host.Read(append(strings.Fields(n.or("systemctl", "systemctl")), "is-active", service)...)
	if n.set["services"] == "script" {
		c = host.Read(n.bin(service), "status")
	}
	out, err := n.run(ctx, c)
	if host.IsExit(err) {
		return false, nil
	}
	return err == nil && !strings.Contains(out, "stopped"), err
}

// process returns the process of a tool for a configuration file, 0 when there
// is none. The brackets keep pgrep from finding the shell that calls it.
func (n *node) process(ctx context.Context, tool, ini string) (int, error) {
	pattern := "[" + tool[:1] + "]" + tool[1:] + " .*" + ini
	out, err := n.run(ctx, host.Read("pgrep", "-f", pattern))
	if host.IsExit(err, 1) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	first := strings.Fields(out)
	if len(first) == 0 {
		return 0, nil
	}
	return strconv.Atoi(first[0])
}

func (n *node) serverProcess(ctx context.Context) (int, error) {
	return n.process(ctx, "dmserver", n.ini())
}

// alive reports whether a helper (dmwatcher, dmmonitor, dmcss, dmasmsvr) runs:
// its service is active, or a process is there that somebody started by hand.
func (n *node) alive(ctx context.Context, tool, service string) (bool, error) {
	if service == "" {
		return false, nil
	}
	up, err := n.active(ctx, service)
	if err != nil || up {
		return up, err
	}
	pid, err := n.process(ctx, n.bin(tool), "")
	return pid != 0, err
}

// startUnit starts a service; one that runs is left as it is.
func (n *node) startUnit(ctx context.Context, service string) error {
	up, err := n.active(ctx, service)
	if err != nil || up {
		return err
	}
	_, err = n.unit(ctx, "start", service, n.startTime())
	if host.IsExit(err) {
		return n.startFailed(ctx, service, err)
	}
	return err
}

// refusedStart is what dmserver prints when a format would change and the
// library was not closed normally by the old software.
const refusedStart = "Upgrade is not allowed"

var errRefusedStart = errors.New("dmserver: " + refusedStart)

func (n *node) startFailed(ctx context.Context, service string, err error) error {
	var exit *host.ExitError
	said := ""
	if errors.As(err, &exit) {
		said = decodeText(exit.Stdout) + decodeText(exit.Stderr)
	}
	tail, _ := n.logTail(ctx) // more evidence where there is some
	if strings.Contains(said+tail, refusedStart) {
		return &say.Problem{Place: n.name, Err: errors.Join(errRefusedStart, err),
			Text: say.F("the new software refuses the library: it was not closed normally by the old one (DM-002)", "新版本拒绝启动：该库未由旧版本正常退出（DM-002）"),
			Next: say.F("shiplift rollback, then shiplift repair-exit", "shiplift rollback，然后 shiplift repair-exit")}
	}
	return &say.Problem{Place: n.name, Err: err,
		Text: say.F("service %s did not start", "服务 %s 启动失败", service),
		Next: say.F("look at %s/log on %s", "请查看 %[2]s 上的 %[1]s/log", n.home(), n.name)}
}

// stopUnit stops a service of a helper and proves that nothing is left of it.
func (n *node) stopUnit(ctx context.Context, tool, service string) error {
	up, err := n.active(ctx, service)
	if err != nil {
		return err
	}
	if up {
		if _, err := n.unit(ctx, "stop", service, n.stopTime()); err != nil {
			return err
		}
	}
	if left, err := n.alive(ctx, tool, service); err != nil || !left {
		return err
	}
	return problem(n.name, say.F("%s runs although service %s is stopped: somebody started it by hand", "服务 %[2]s 已停止，但 %[1]s 仍在运行：可能是手工启动的", tool, service),
		say.F("stop it the way it was started, then run the same command again", "请用当初的启动方式停止它，然后重新执行"))
}

// ---- the instance ----

// instance is what a server says about itself. Up is false when none answers.
type instance struct {
	Up      bool
	Status  string // OPEN, MOUNT, SUSPEND
	Mode    string // NORMAL, PRIMARY, STANDBY
	OGUID   string
	Release release.Version
	DBVer   uint32
}

// look asks the server for its state and its release. A server that does not
// listen is no error.
func (n *node) look(ctx context.Context) (instance, error) {
	in, err := n.state(ctx)
	if err == nil && in.Up {
		in.Release, in.DBVer, err = n.runningRelease(ctx)
	}
	return in, err
}

// state is look without the release, for what is asked again and again.
func (n *node) state(ctx context.Context) (instance, error) {
	var in instance
	t, err := n.ask(ctx, "SELECT INSTANCE_NAME, STATUS$, MODE$, OGUID FROM V$INSTANCE")
	if isCode(err, codeNoServer, codeLinkLost) {
		return in, nil
	}
	if err != nil {
		return in, fmt.Errorf("%s: %w", n.name, err)
	}
	in.Up, in.Status, in.Mode, in.OGUID = true, t.get(0, "STATUS$"), t.get(0, "MODE$"), t.get(0, "OGUID")
	if name := t.get(0, "INSTANCE_NAME"); name != n.instance() {
		return in, problem(n.name, say.F("instance %s answers where %s was expected", "应为实例 %[2]s，实际响应的是 %[1]s", name, n.instance()),
			say.F("correct instance and port in the inventory", "请更正清单中的 instance 与 port"))
	}
	return in, nil
}

// runningRelease reads the release of the server: DM7 tells it in the banner,
// DM8 only in ID_CODE.
func (n *node) runningRelease(ctx context.Context) (release.Version, uint32, error) {
	t, err := n.ask(ctx, "SELECT BANNER FROM V$VERSION")
	if err != nil {
		return release.Version{}, 0, fmt.Errorf("%s: %w", n.name, err)
	}
	var rows []string
	for _, r := range t.rows {
		rows = append(rows, r[0])
	}
	b := DecodeBanner(rows)
	if !b.Release.IsZero() {
		return b.Release, b.DBVersion, nil
	}
	t, err = n.ask(ctx, "SELECT ID_CODE")
	if err != nil {
		return release.Version{}, 0, fmt.Errorf("%s: %w", n.name, err)
	}
	v, err := DecodeRelease(t.get(0, "ID_CODE"))
	if err != nil {
		return v, 0, say.Errorf("%s: ID_CODE: %w", "%s：ID_CODE：%w", n.name, err)
	}
	return v, b.DBVersion, nil
}

// releaseFile lies beside the binaries of a package and, from the first upgrade
// on, beside those that ran before: DM8's tools do not tell their release.
const releaseFile = "release.txt"

// installedIn reads the release of the binaries in a directory; zero when
// nobody can tell.
func (n *node) installedIn(ctx context.Context, dir string) (release.Version, error) {
	text, err := n.read(ctx, dir+"/"+releaseFile)
	if err == nil {
		v, err := DecodeRelease(strings.TrimSpace(text))
		if err != nil {
			return v, fmt.Errorf("%s: %s/%s: %w", n.name, dir, releaseFile, err)
		}
		return v, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return release.Version{}, err
	}
	out, err := n.run(ctx, host.Read(dir+"/disql", "-h"))
	if err != nil && !host.IsExit(err) {
		return release.Version{}, err
	}
	first, _, _ := strings.Cut(out, "\n")
	v, _ := DecodeRelease(first) // DM8 says "disql V8": nobody can tell
	return v, nil
}

// fromBin reports whether a process runs the binaries that lie in bin now.
func (n *node) fromBin(ctx context.Context, pid int) bool {
	out, err := n.run(ctx, host.Read("readlink", fmt.Sprintf("/proc/%d/exe", pid)))
	return err == nil && strings.TrimSpace(out) == n.bin("dmserver")
}

// ---- configuration ----

func (n *node) config(ctx context.Context, name string) (*damengini.File, error) {
	text, err := n.read(ctx, name)
	if err != nil {
		return nil, err
	}
	f, err := damengini.Parse(n.name+":"+name, []byte(text))
	if err != nil {
		return nil, problem("", say.Same(err.Error()), say.Text{})
	}
	return f, nil
}

// setIni changes one key of dm.ini and reads it back.
func (n *node) setIni(ctx context.Context, key, value string) error {
	f, err := n.config(ctx, n.ini())
	if err != nil {
		return err
	}
	if f.Get(key) == value {
		return nil
	}
	st, err := host.Stat(ctx, n.host, n.ini())
	if err != nil {
		return err
	}
	if err := host.WriteFile(ctx, n.host, n.ini(), f.Set(key, value), st.Mode.Perm()); err != nil {
		return err
	}
	again, err := n.config(ctx, n.ini())
	if err != nil {
		return err
	}
	if got := again.Get(key); got != value {
		return say.Errorf("%s: %s is %q in %s, %q was written", "%s：%[4]s 中 %[2]s 为 %[3]q，写入的是 %[5]q", n.name, key, got, n.ini(), value)
	}
	return nil
}

// archiveDirs are the directories of local and remote archives in dmarch.ini.
func (n *node) archiveDirs(ctx context.Context) ([]string, error) {
	f, err := n.config(ctx, path.Dir(n.ini())+"/dmarch.ini")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, s := range f.Sections[1:] {
		kind, dest := strings.ToUpper(s.Get("ARCH_TYPE")), s.Get("ARCH_DEST")
		if dir := s.Get("ARCH_INCOMING_PATH"); kind == "REMOTE" && dir != "" {
			dest = dir
		}
		if (kind == "LOCAL" || kind == "REMOTE") && path.IsAbs(dest) {
			dirs = append(dirs, strings.TrimSuffix(dest, "/"))
		}
	}
	return dirs, nil
}

// dataDirs are the directories of a library: that of dm.ini, of the data and of
// the control file.
func (n *node) dataDirs(f *damengini.File) []string {
	return []string{path.Dir(n.ini()), f.Get("SYSTEM_PATH"), f.Get("CONFIG_PATH"), path.Dir(f.Get("CTL_PATH"))}
}

// dataFiles are files and HUGE paths of a library, wherever they lie. A release
// without one of the views tells nothing by it.
func (n *node) dataFiles(ctx context.Context) ([]string, error) {
	var out []string
	for _, q := range []struct{ col, stmt string }{
		{"PATH", "SELECT PATH FROM V$DATAFILE"}, {"PATH", "SELECT PATH FROM V$RLOGFILE"}, {"PATHNAME", "SELECT PATHNAME FROM V$HUGE_TABLESPACE"},
	} {
		t, err := n.ask(ctx, q.stmt)
		if isCode(err, codeNoTable) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.name, err)
		}
		for i := range t.rows {
			out = append(out, t.get(i, q.col))
		}
	}
	return out, nil
}

// outermost are the absolute paths of a list, none of them inside another;
// those in ASM are not among them.
func outermost(paths []string) []string {
	var out []string
	for _, p := range paths {
		if p = path.Clean(strings.TrimSpace(p)); !path.IsAbs(p) || p == "/" {
			continue
		}
		within := func(dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
		if slices.ContainsFunc(out, within) {
			continue
		}
		out = append(slices.DeleteFunc(out, func(have string) bool { return strings.HasPrefix(have, p+"/") }), p)
	}
	slices.Sort(out)
	return out
}

func (n *node) ctlPath(ctx context.Context) (string, error) {
	f, err := n.config(ctx, n.ini())
	if err != nil {
		return "", err
	}
	if p := f.Get("CTL_PATH"); p != "" {
		return p, nil
	}
	return path.Dir(n.ini()) + "/dm.ctl", nil
}

// ---- log ----

// logTail returns the end of the instance's newest log.
func (n *node) logTail(ctx context.Context) (string, error) {
	names, err := n.list(ctx, n.home()+"/log")
	if err != nil {
		return "", err
	}
	newest := ""
	for _, name := range names {
		if strings.HasPrefix(name, "dm_"+n.instance()+"_") && strings.HasSuffix(name, ".log") && name > newest {
			newest = name
		}
	}
	if newest == "" {
		return "", nil
	}
	return n.run(ctx, host.Read("tail", "-n", "200", n.home()+"/log/"+newest))
}

// Words of the log that tell how an instance ended (spec/dameng.md 3, DW exit order).
var exitWords = []struct {
	word  string
	clean bool
}{
	{"SYSTEM IS READY", false}, {"SYSTEM SHUTDOWN ABORT", false}, {"VTD_CMD_SYS_HALT", false}, {"SYSTEM SHUTDOWN SUCCESS", true},
}

// lastExit reads the end of a log: whether the last thing in it is a normal exit.
func lastExit(log string) (clean bool, evidence string) {
	for _, line := range strings.Split(log, "\n") {
		for _, w := range exitWords {
			if strings.Contains(line, w.word) {
				clean, evidence = w.clean, strings.TrimSpace(line)
			}
		}
	}
	return clean, evidence
}

// waitFor waits for a condition with this node's clock.
func (n *node) waitFor(ctx context.Context, what say.Text, limit time.Duration, next string, report func(say.Text), look func(context.Context) (wait.Look, error)) error {
	return wait.For(ctx, n.Clock, wait.Spec{What: what, Node: n.name, Deadline: limit, Every: 2 * time.Second, Next: next}, report, look)
}
