package postgres

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// This file knows what lies on the machine: the process, its files, pg_ctl.

func (s *site) run(ctx context.Context, c host.Cmd) (host.Result, error) { return s.host.Run(ctx, c) }

// holds asks a question that a command answers with its status.
func (s *site) holds(ctx context.Context, argv ...string) (bool, error) {
	_, err := s.run(ctx, host.Read(argv...))
	if host.IsExit(err, 1) {
		return false, nil
	}
	return err == nil, err
}

func (s *site) exists(ctx context.Context, p string) (bool, error) {
	return s.holds(ctx, "test", "-e", p)
}

func (s *site) text(ctx context.Context, argv ...string) (string, error) {
	res, err := s.run(ctx, host.Read(argv...))
	return res.Text(), err
}

// change runs commands one after another.
func (s *site) change(ctx context.Context, cmds ...[]string) error {
	for _, argv := range cmds {
		if _, err := s.run(ctx, host.Change(argv...)); err != nil {
			return err
		}
	}
	return nil
}

// process is the server's main process as the machine shows it.
type process struct {
	pidFile
	Exe string // the running binary's file, links resolved; empty: no server runs
}

func (p process) running() bool { return p.Exe != "" }

// stopping reports whether the server is going down.
func (p process) stopping() bool { return p.running() && p.Status == "stopping" }

// runs reports whether the running binary is that of a release.
func (p process) runs(release string) bool {
	return p.running() && releaseOfExe(p.Exe) == release
}

// releaseOfExe reads the release from ".../<release>/bin/postgres"; a binary
// whose file was removed has " (deleted)" behind it.
func releaseOfExe(exe string) string {
	exe = strings.TrimSuffix(exe, " (deleted)")
	if path.Base(exe) != "postgres" {
		return ""
	}
	return path.Base(path.Dir(path.Dir(exe)))
}

// process looks for the server of the data directory. postmaster.pid alone
// proves nothing: it stays behind after a crash and its number may belong to
// another program by now, so the process must run postgres in this directory.
func (s *site) process(ctx context.Context) (process, error) {
	there, err := s.exists(ctx, s.pidFile())
	if err != nil || !there {
		return process{}, err
	}
	body, err := s.text(ctx, "cat", s.pidFile())
	if host.IsExit(err) {
		return process{}, nil // removed between the two commands: the server has just ended
	}
	if err != nil {
		return process{}, err
	}
	pf, err := parsePidFile(body)
	if err != nil {
		return process{}, fmt.Errorf("%s: %s: %w", s.Name, s.pidFile(), err)
	}
	p := process{pidFile: pf}
	proc := "/proc/" + strconv.Itoa(pf.PID)
	exe, err := s.text(ctx, "readlink", proc+"/exe")
	if host.IsExit(err) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	cwd, err := s.text(ctx, "readlink", proc+"/cwd")
	if host.IsExit(err) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	data, err := s.text(ctx, "readlink", "-f", s.Data)
	if err != nil {
		return p, err
	}
	if releaseOfExe(exe) != "" && cwd == data {
		p.Exe = exe
	}
	return p, nil
}

// control reads pg_control. The server writes it in place, so a reader may
// catch it half-written: a few looks settle that.
func (s *site) control(ctx context.Context) (control, error) {
	var err error
	for range 5 {
		var res host.Result
		if res, err = s.run(ctx, host.Read("head", "-c", strconv.Itoa(ControlBytes), s.controlFile())); err != nil {
			return control{}, err
		}
		var c control
		if c, err = parseControl(res.Stdout); err == nil {
			return c, nil
		}
	}
	return control{}, fmt.Errorf("%s: %w", s.Name, err)
}

// installed tells what would be started next: where the link points and what
// the binary behind it says of itself.
func (s *site) installed(ctx context.Context) (link, release string, err error) {
	if link, err = s.text(ctx, "readlink", s.current()); err != nil {
		return "", "", err
	}
	release, err = s.says(ctx, s.bin("current", "postgres"))
	return link, release, err
}

// says asks a binary for its release.
func (s *site) says(ctx context.Context, binary string) (string, error) {
	out, err := s.text(ctx, binary, "-V")
	if err != nil {
		return "", err
	}
	r := parseReleaseLine(out)
	if r == "" {
		return "", say.Errorf("%s: %s -V answered %q", "%s：%s -V 返回 %q", s.Name, binary, out)
	}
	return r, nil
}

// parseReleaseLine reads "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
func parseReleaseLine(s string) string {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), "postgres (PostgreSQL) ")
	if !ok {
		return ""
	}
	word, _, _ := strings.Cut(rest, " ")
	return word
}

// flip points the link at another release in one atomic step.
func (s *site) flip(ctx context.Context, release string) error {
	if err := s.point(ctx, release); err != nil {
		return err
	}
	_, got, err := s.installed(ctx)
	if err != nil {
		return err
	}
	if got != release {
		return say.Errorf("%s: %s was pointed at %s, but its postgres says %s", "%s：%s 已指向 %s，但其 postgres 报告 %s", s.Name, s.current(), release, got)
	}
	return nil
}

// startServer starts the server and returns when it answers; a running one is left alone.
func (s *site) startServer(ctx context.Context) error {
	p, err := s.process(ctx)
	if err != nil || p.running() {
		return err
	}
	c := host.Change(s.startArgv()...)
	c.Timeout = s.StartWait + 30*time.Second
	if _, err = s.run(ctx, c); err != nil {
		if host.IsExit(err) {
			return s.startFailed(ctx, err)
		}
		return err
	}
	return s.waitAnswer(ctx)
}

func (s *site) startArgv() []string {
	if s.Unit != "" {
		return append(append([]string{}, s.Systemctl...), "start", s.Unit)
	}
	argv := []string{s.bin("current", "pg_ctl"), "-D", s.Data, "-l", s.Log, "-w", "-t", seconds(s.StartWait)}
	if s.ConfigFile != "" {
		argv = append(argv, "-o", "-c config_file="+s.ConfigFile)
	}
	return append(argv, "start")
}

func (s *site) startFailed(ctx context.Context, err error) error {
	tail, _ := s.text(ctx, "tail", "-n", "12", s.Log)
	return &say.Problem{
		Place: s.Name,
		Text:  say.F("the server did not start; the end of %s:\n%s", "服务器未能启动；%s 的末尾：\n%s", s.Log, tail),
		Next:  say.F("remove the cause, then: shiplift resume (or shiplift rollback)", "排除原因后执行：shiplift resume（或 shiplift rollback）"),
		Err:   err,
	}
}

// waitAnswer waits until the server accepts the tool's connections.
func (s *site) waitAnswer(ctx context.Context) error {
	spec := wait.Spec{
		What: say.F("the server of %s accepts connections", "%s 的服务器接受连接", s.Name), Node: s.Name,
		Deadline: s.StartWait, Every: 50 * time.Millisecond, Next: "shiplift resume",
	}
	return wait.For(ctx, s.env.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		c, err := s.connect(ctx)
		if err == nil {
			c.close()
			return wait.Look{Done: true}, nil
		}
		if gone(err) || errors.Is(err, context.Canceled) {
			return wait.Look{}, err
		}
		if code := sqlState(err); code != "" && code != cannotConnectNow {
			return wait.Look{}, err // wrong password, no such database: waiting does not help
		}
		return wait.Look{Says: say.Same(err.Error())}, nil
	})
}

const cannotConnectNow = "57P03" // starting up, shutting down, in recovery

// stopServer stops the server cleanly and proves it by the process and the control file.
func (s *site) stopServer(ctx context.Context) error {
	p, err := s.process(ctx)
	if err != nil {
		return err
	}
	if p.running() {
		c := host.Change(s.stopArgv()...)
		c.Timeout = s.StopWait + 30*time.Second
		if _, err := s.run(ctx, c); err != nil && !host.IsExit(err) {
			return err
		}
	}
	return s.waitStopped(ctx)
}

func (s *site) stopArgv() []string {
	if s.Unit != "" {
		return append(append([]string{}, s.Systemctl...), "stop", s.Unit)
	}
	// Fast, never immediate: only a clean stop leaves a standby able to follow.
	return []string{s.bin("current", "pg_ctl"), "-D", s.Data, "-m", "fast", "-w", "-t", seconds(s.StopWait), "stop"}
}

func (s *site) waitStopped(ctx context.Context) error {
	if err := s.waitGone(ctx); err != nil {
		return err
	}
	c, err := s.control(ctx)
	if err != nil {
		return err
	}
	if c.State != stateShutDown && c.State != stateShutDownInRecovery {
		return &say.Problem{
			Place: s.Name,
			Text:  say.F("the server is gone, but its control file says %q: it did not stop cleanly", "服务器进程已退出，但控制文件状态为 %q：并非正常停止", c.State.String()),
			Next:  say.F("look at the server's log; start it once so that it recovers, then: shiplift resume", "请查看服务器日志；先启动一次完成恢复，再执行：shiplift resume"),
		}
	}
	return nil
}

// waitGone waits until the server's process has ended.
func (s *site) waitGone(ctx context.Context) error {
	spec := wait.Spec{
		What: say.F("the server of %s has stopped cleanly", "%s 的服务器已正常停止", s.Name), Node: s.Name,
		Deadline: s.StopWait, Every: 20 * time.Millisecond, Next: "shiplift resume",
	}
	return wait.For(ctx, s.env.Clock, spec, nil, func(ctx context.Context) (wait.Look, error) {
		p, err := s.process(ctx)
		return wait.Look{Done: err == nil && !p.running(), Says: say.F("process %d runs", "进程 %d 仍在运行", p.PID)}, err
	})
}

func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(d.Round(time.Second)/time.Second)))
}
