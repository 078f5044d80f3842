package opengauss

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

func (a *asker) installation(ctx context.Context) ([]check.Finding, error) {
	fs, err := a.onEach(func(n *seen) ([]check.Finding, error) {
		var fs []check.Finding
		if n.SoftErr != nil {
			fs = append(fs, block(n.Name, "GAUSS-50222", say.F("upgrade_version cannot be read", "无法读取 upgrade_version"), n.SoftErr.Error(), cmd("cat %s/bin/upgrade_version", n.App)))
		}
		there, err := n.exists(ctx, n.App+"/bin/cluster_static_config")
		if err == nil && !there {
			fs = append(fs, block(n.Name, "GAUSS-50201", say.F("cluster_static_config is missing", "缺少 cluster_static_config"), n.App+"/bin", cmd("gs_om -t generateconf -X XML")))
		}
		if n.SQL && n.Running.Commit != n.Installed.Commit {
			fs = append(fs, block(n.Name, "GAUSS-52929", say.F("%s runs and %s is installed: it was not restarted after a change", "运行版本 %s 与安装版本 %s 不同：更换程序后未重启", buildName(n.Running), buildName(n.Installed)), n.App, cmd("shiplift status")))
		}
		return fs, err
	})
	first := ""
	for _, n := range a.readable() {
		if first == "" {
			first = n.Installed.Commit
		} else if n.Installed.Commit != first {
			fs = append(fs, block(n.Name, "GAUSS-52914", say.F("%s is installed here, other nodes have commit %s", "此处安装的是 %s，其他节点提交号为 %s", buildName(n.Installed), first), n.App, cmd("shiplift status")))
		}
	}
	return fs, err
}

// versionCfg holds $GPHOME/version.cfg against what it may be: that of the
// installation, or that of the package when gs_preinstall was run.
func (a *asker) versionCfg(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		if n.GPHome == "" {
			return nil, nil
		}
		b, err := n.readIf(ctx, n.GPHome+"/version.cfg")
		if err != nil || b == nil {
			return nil, err
		}
		next := say.F("put the file of the package back: run its gs_preinstall again", "请恢复升级包中的文件：重新执行 gs_preinstall")
		s, err := gaussdb.ParseSoftware(b)
		if err != nil {
			return []check.Finding{block(n.Name, "GAUSS-50222", say.F("version.cfg is not what a package ships", "version.cfg 不是升级包中的内容"), err.Error(), next)}, nil
		}
		fits := func(w gaussdb.Software) bool {
			return s.Commit == w.Commit && s.Kernel == w.Kernel && s.Release == w.Release
		}
		if n.SoftErr == nil && fits(n.Software) {
			return nil, nil
		}
		if pkg, err := a.pkg(); err == nil && fits(pkg.Software) {
			return nil, nil
		}
		return []check.Finding{block(n.Name, "GAUSS-50222", say.F("version.cfg fits neither the installed release nor the package: it was edited", "version.cfg 与已安装版本和升级包都不符：文件被修改过"), strings.Join(strings.Fields(string(b)), " "), next)}, nil
	})
}

func (a *asker) openUpgrade(context.Context) ([]check.Finding, error) {
	var fs []check.Finding
	for _, n := range a.v.Nodes {
		if len(n.Open) == 0 {
			continue
		}
		says := say.F("an upgrade is open: %s is not empty", "存在未结束的升级：%s 非空", n.openDir())
		code := "GAUSS-52936"
		switch {
		case slices.Contains(n.Open, fileInplace) && a.r.Mode != "inplace":
			says, code = say.F("an in-place upgrade is not over: it must be committed or rolled back before a rolling one", "存在未结束的就地升级：须先提交或回滚，才能做灰度升级"), "GAUSS-50200"
		case slices.Contains(n.Open, fileSteps) && a.r.Mode == "inplace":
			says, code = say.F("a rolling upgrade is not over: it must be committed or rolled back before one in place", "存在未结束的灰度升级：须先提交或回滚，才能做就地升级"), "GAUSS-50200"
		}
		fs = append(fs, block(n.Name, code, says, strings.Join(n.Open, " "), cmd("shiplift status")))
	}
	return fs, nil
}

func (a *asker) newDirectory(ctx context.Context) ([]check.Finding, error) {
	pkg, err := a.pkg()
	if err != nil {
		return nil, nil //nolint:nilerr // the check of the package has told it
	}
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		dir := n.Home + "_" + pkg.Software.Commit
		files, err := n.list(ctx, dir)
		if err != nil || len(files) == 0 {
			return nil, err
		}
		return []check.Finding{block(n.Name, "GAUSS-50233", say.F("%s is there and not empty", "%s 已存在且非空", dir), strings.Join(files, " "), cmd("ls -la %s", dir))}, nil
	})
}

func (a *asker) dataDirectory(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		var fs []check.Finding
		dirs := []string{n.Data}
		links, err := n.list(ctx, n.Data+"/pg_tblspc")
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			dirs = append(dirs, n.Data+"/pg_tblspc/"+l+"/.")
		}
		for _, d := range dirs {
			if _, err := n.Host.Run(ctx, host.Read("test", "-w", d)); host.IsExit(err, 1) {
				fs = append(fs, block(n.Name, "GAUSS-50205", say.F("%s is missing or not writable", "%s 不存在或不可写", d), "", cmd("ls -ld %s", d)))
			} else if err != nil {
				return fs, err
			}
		}
		return fs, nil
	})
}

func (s *seen) sizeKB(ctx context.Context, dir string) (int64, error) {
	res, err := s.Host.Run(ctx, host.Read("du", "-sk", dir+"/"))
	if err != nil {
		return 0, err
	}
	word, _, _ := strings.Cut(res.Text(), "\t")
	return strconv.ParseInt(strings.TrimSpace(word), 10, 64)
}

const maxAppKB = 2000 << 10 // spec section 5: the old application is backed up

func (a *asker) appSize(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		kb, err := n.sizeKB(ctx, n.App)
		if err != nil {
			return nil, err
		}
		if plugin, err := n.exists(ctx, n.App+"/lib/postgresql/pg_plugin"); err == nil && plugin {
			if p, err := n.sizeKB(ctx, n.App+"/lib/postgresql/pg_plugin"); err == nil {
				kb -= p
			}
		}
		if kb <= maxAppKB {
			return nil, nil
		}
		return []check.Finding{block(n.Name, "GAUSS-50401", say.F("%s holds %d MB; more than 2000 MB means that something else lies in it", "%s 占用 %d MB，超过 2000 MB，可能存放了其他文件", n.App, kb>>10), "", cmd("du -sm %s/*", n.App))}, nil
	})
}

func (s *seen) disk(ctx context.Context, dir string) (gaussdb.Disk, error) {
	res, err := s.Host.Run(ctx, host.Read("df", "-Pk", dir))
	if err != nil {
		return gaussdb.Disk{}, err
	}
	return gaussdb.ParseDF(res.Text())
}

func (a *asker) diskUse(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		var fs []check.Finding
		var mounts []string
		for _, dir := range []string{n.Data, n.App, n.PGHost} {
			d, err := n.disk(ctx, dir)
			if err != nil {
				return fs, err
			}
			if d.Percent >= 80 && !slices.Contains(mounts, d.Mount) {
				mounts = append(mounts, d.Mount)
				fs = append(fs, block(n.Name, "GAUSS-50400", say.F("%s is filled to %d %%; less than 80 %% is asked for", "%s 使用率 %d%%，要求低于 80%%", d.Mount, d.Percent), dir, cmd("df -h %s", dir)))
			}
		}
		return fs, nil
	})
}

// roomLeft: the archive, what is unpacked from it, and the new release, which
// is about as large as the old one.
func (a *asker) roomLeft(ctx context.Context) ([]check.Finding, error) {
	var pkgKB int64
	if pkg, err := a.pkg(); err == nil {
		for _, f := range pkg.Files {
			pkgKB += f.Size >> 10
		}
	}
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		app, err := n.sizeKB(ctx, n.App)
		if err != nil {
			return nil, err
		}
		var fs []check.Finding
		for _, need := range []struct {
			dir string
			kb  int64
		}{{n.PGHost, 2*pkgKB + 100<<10}, {n.App, app*3/2 + 100<<10}} {
			d, err := n.disk(ctx, need.dir)
			if err != nil {
				return fs, err
			}
			if d.FreeKB < need.kb {
				fs = append(fs, block(n.Name, "GAUSS-50400", say.F("%d MB are free at %s, %d MB are needed", "剩余 %d MB（%s），需要 %d MB", d.FreeKB>>10, need.dir, need.kb>>10), d.Mount, cmd("df -h %s", need.dir)))
			}
		}
		return fs, nil
	})
}

// osCheck asks gs_checkos where it is there. As another user than root it
// answers in part, from 6.0 on, or not at all.
func (a *asker) osCheck(ctx context.Context) ([]check.Finding, error) {
	return a.onEach(func(n *seen) ([]check.Finding, error) {
		ans, err := n.Ask(ctx, "gs_checkos", "-i", "A")
		if err != nil {
			return nil, err
		}
		items, err := gaussdb.ParseCheckOS(ans.Both())
		if err != nil {
			return []check.Finding{warn(n.Name, "", say.F("gs_checkos could not be asked as the cluster user", "无法以集群用户执行 gs_checkos"), firstLine(ans.Both()), say.F("as root: gs_checkos -i A", "请以 root 执行：gs_checkos -i A"))}, nil //nolint:nilerr // no answer is the finding
		}
		var fs []check.Finding
		for _, it := range items {
			switch it.Status {
			case "Normal":
			case "Warning":
				fs = append(fs, warn(n.Name, "", say.F("%s %s: Warning", "%s %s：Warning", it.ID, it.Name), "", cmd("gs_checkos -i %s --detail", it.ID)))
			default:
				fs = append(fs, block(n.Name, "", say.F("%s %s: %s", "%s %s：%s", it.ID, it.Name, it.Status), "", cmd("gs_checkos -i %s --detail", it.ID)))
			}
		}
		return fs, nil
	})
}

// backup looks at the time of what the setting backup names.
func (a *asker) backup(ctx context.Context) ([]check.Finding, error) {
	limit := a.r.MaxBackupAge.Std()
	var newest time.Time
	asked := false
	for i, n := range a.v.Nodes {
		at := a.env.Inventory.Nodes[i].Settings["backup"]
		if at == "" || !n.Up {
			continue
		}
		asked = true
		st, err := host.Stat(ctx, n.Host, at)
		if err == nil && st.ModTime.After(newest) {
			newest = st.ModTime
		}
	}
	sev := check.Warn
	if limit > 0 {
		sev = check.Block
	}
	next := say.F("take a backup (gs_basebackup or gs_probackup), and name its directory with the setting backup", "请先备份（gs_basebackup 或 gs_probackup），并用 backup 设置指定备份目录")
	switch {
	case !asked:
		return []check.Finding{mark(sev, "", "", say.F("where backups lie is not known, so nobody has proven that there is one", "未配置备份位置，无法确认已有备份"), "", next)}, nil
	case newest.IsZero():
		return []check.Finding{mark(check.Block, "", "", say.F("there is no backup where the setting backup says", "backup 设置所指位置没有备份"), "", next)}, nil
	case limit > 0 && a.env.Clock.Now().Sub(newest) > limit:
		return []check.Finding{mark(check.Block, "", "", say.F("the newest backup is of %s, older than %s", "最近一次备份时间为 %s，早于 %s", newest.UTC().Format(time.DateTime), limit), "", next)}, nil
	}
	return nil, nil
}
