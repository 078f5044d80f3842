package dameng

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// mainBlock returns the lines of the block of MAIN in a control file's text:
// from the line of its name to the next bar, as an index range.
func mainBlock(lines []string) (from, to int, err error) {
	for i, l := range lines {
		if strings.TrimSpace(l) != "ts_name=MAIN" {
			continue
		}
		for j := i; j < len(lines); j++ {
			if strings.HasPrefix(lines[j], "#===") {
				return i, j, nil
			}
		}
		return 0, 0, say.Errorf("the block of MAIN in the control file has no end", "控制文件中 MAIN 的块没有结尾")
	}
	return 0, 0, say.Errorf("the control file has no MAIN", "控制文件中没有 MAIN")
}

// hugeMain reports whether the description of MAIN holds a HUGE path (DM-085).
func hugeMain(text string) (bool, error) {
	lines := strings.Split(text, "\n")
	from, to, err := mainBlock(lines)
	if err != nil {
		return false, err
	}
	for _, l := range lines[from:to] {
		if strings.HasPrefix(strings.TrimSpace(l), "huge_path=") {
			return true, nil
		}
	}
	return false, nil
}

// addHuge puts the HUGE path behind all files of MAIN, before the bar that ends its block.
func addHuge(text, dir string, now time.Time) (string, error) {
	if strings.Contains(text, "path="+dir+"\n") {
		return "", say.Errorf("%s is the path of another tablespace (DM-086)", "%s 是另一个表空间的路径（DM-086）", dir)
	}
	lines := strings.Split(text, "\n")
	_, to, err := mainBlock(lines)
	if err != nil {
		return "", err
	}
	at := now.Format("DATETIME '2006-1-2 15:04:05'")
	block := []string{
		"#-----------------------------------------------",
		"# huge path", "huge_path=" + dir,
		"# huge path create time", "huge_create_time=" + at,
		"# huge path modify time", "huge_modify_time=" + at,
	}
	out := append([]string{}, lines[:to]...)
	return strings.Join(append(append(out, block...), lines[to:]...), "\n"), nil
}

// ctlText reads the control file as text, with the tool of the high release:
// it reads both forms.
func (k *task) ctlText(ctx context.Context) (text, ctl string, err error) {
	if ctl, err = k.n.ctlPath(ctx); err != nil {
		return "", "", err
	}
	tmp := k.n.file("dmctl.txt")
	if err := k.n.change(ctx, "mkdir", "-p", path.Dir(tmp)); err != nil {
		return "", "", err
	}
	if err := k.ctlcvt(ctx, "1", ctl, k.absolute(ctx, tmp)); err != nil {
		return "", "", err
	}
	text, err = k.n.read(ctx, tmp)
	return text, ctl, err
}

// absolute makes a path below the login's home absolute: the vendor's tools
// run where they please.
func (k *task) absolute(ctx context.Context, name string) string {
	if path.IsAbs(name) {
		return name
	}
	out, err := k.n.run(ctx, host.Read("readlink", "-f", path.Dir(name)))
	if err != nil || strings.TrimSpace(out) == "" {
		return name
	}
	return path.Join(strings.TrimSpace(out), path.Base(name))
}

func (k *task) ctlcvt(ctx context.Context, kind, src, dest string) error {
	argv := []string{k.n.bin("dmctlcvt"), "TYPE=" + kind, "SRC=" + src, "DEST=" + dest}
	if dcr := k.n.set["dcr_ini"]; dcr != "" {
		argv = append(argv, "DCR_INI="+dcr)
	}
	out, err := k.n.run(ctx, host.Change(argv...))
	if err != nil {
		return err
	}
	if strings.Contains(strings.ToLower(out), "fail") {
		return say.Errorf("%s: dmctlcvt: %s", "%s：dmctlcvt：%s", k.n.name, lastLine(out))
	}
	return nil
}

func (k *task) ctlBackup() string {
	return k.n.file("dmctl-" + k.m.name + "-before-" + k.arg("to") + ".txt")
}

func hugeProbe(ctx context.Context, k *task) (driver.Standing, error) {
	kept, err := k.n.exists(ctx, k.ctlBackup())
	if err != nil || !kept {
		return standing(err, false)
	}
	text, _, err := k.ctlText(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	has, err := hugeMain(text)
	return standing(err, has)
}

// hugeDo is the offline method of R5; a member whose MAIN is mixed already is
// left alone. The step stands behind a one-way gate, so nothing takes it back;
// what was there is kept for a person before anything is changed.
func hugeDo(ctx context.Context, k *task) error {
	if up, _, err := k.m.running(ctx); err != nil || up > 0 {
		return errors.Join(err, say.Errorf("%s: the server runs; its control file must not be changed", "%s：服务器正在运行，不得修改其控制文件", k.m.name))
	}
	text, ctl, err := k.ctlText(ctx)
	if err != nil {
		return err
	}
	if kept, err := k.n.exists(ctx, k.ctlBackup()); err != nil {
		return err
	} else if !kept {
		if err := host.WriteFile(ctx, k.n.host, k.ctlBackup(), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if has, err := hugeMain(text); err != nil || has {
		return err
	}
	changed, err := addHuge(text, path.Dir(ctl)+"/HMAIN", k.Clock.Now())
	if err != nil {
		return fmt.Errorf("%s: %w", k.m.name, err)
	}
	if err := k.compile(ctx, changed, ctl); err != nil {
		return err
	}
	again, _, err := k.ctlText(ctx)
	if err != nil {
		return err
	}
	if has, err := hugeMain(again); err != nil || !has {
		return errors.Join(err, say.Errorf("%s: MAIN has no HUGE path after the change", "%s：修改之后 MAIN 仍没有 HUGE 路径", k.m.name))
	}
	return nil
}

func (k *task) compile(ctx context.Context, text, ctl string) error {
	tmp := k.n.file("dmctl-new.txt")
	if err := host.WriteFile(ctx, k.n.host, tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return k.ctlcvt(ctx, "2", k.absolute(ctx, tmp), ctl)
}

// ---- DCR and voting disks ----

func (k *task) dcrDone() string { return k.n.file("dcr-" + k.m.name + "-" + k.arg("to")) }
func (k *task) dcrConfig() string {
	return k.n.file("dmdcr_cfg-" + k.m.name + ".ini")
}

func dcrProbe(ctx context.Context, k *task) (driver.Standing, error) {
	done, err := k.n.exists(ctx, k.dcrDone())
	return standing(err, done)
}

// dcrDo exports the configuration with the old dmasmcmd and initialises the
// disks with the new one (DM-090, DM-091). Passwords go over standard input.
func dcrDo(ctx context.Context, k *task) error {
	disk, vote := k.n.set["dcr_disk"], k.n.set["vote_disk"]
	if disk == "" || vote == "" {
		return problem(k.n.name, say.F("dcr_disk and vote_disk are not set", "未设置 dcr_disk 与 vote_disk"), say.F("set them in the inventory", "请在清单中设置"))
	}
	if done, err := k.n.exists(ctx, k.dcrDone()); err != nil || done {
		return err
	}
	cfg := k.dcrConfig()
	if err := k.n.change(ctx, "mkdir", "-p", path.Dir(cfg)); err != nil {
		return err
	}
	cfg = k.absolute(ctx, cfg)
	kept, err := k.n.exists(ctx, cfg)
	if err != nil {
		return err
	}
	if !kept {
		if err := k.asmcmd(ctx, k.oldBin()+"/dmasmcmd", "export dcrdisk '"+disk+"' to '"+cfg+"'"); err != nil {
			return err
		}
	}
	password, err := k.n.Secret(k.n.name, "password")
	if err != nil || strings.ContainsAny(password, "'\n\r") {
		return errors.Join(err, say.Errorf("%s: no password that dmasmcmd can be given", "%s：没有可提供给 dmasmcmd 的口令", k.n.name))
	}
	err = k.asmcmd(ctx, k.n.bin("dmasmcmd"),
		"create dcrdisk '"+disk+"' 'dcr'", "create votedisk '"+vote+"' 'vtd'",
		"init dcrdisk '"+disk+"' from '"+cfg+"' identified by '"+password+"'", "init votedisk '"+vote+"' from '"+cfg+"'")
	if err != nil {
		return err
	}
	return host.WriteFile(ctx, k.n.host, k.dcrDone(), nil, 0o644)
}

func (k *task) asmcmd(ctx context.Context, tool string, commands ...string) error {
	out, err := k.n.run(ctx, host.Cmd{Argv: []string{tool}, Stdin: strings.NewReader(strings.Join(commands, ";\n") + ";\nexit\n")})
	if err != nil {
		return say.Errorf("%s: dmasmcmd: %w", "%s：dmasmcmd：%w", k.n.name, err)
	}
	if strings.Contains(out, "[code : -") || strings.Contains(strings.ToLower(out), "fail") {
		return say.Errorf("%s: dmasmcmd: %s", "%s：dmasmcmd：%s", k.n.name, lastLine(out))
	}
	return nil
}
