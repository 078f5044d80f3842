package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/say"
)

// labKind is a product's practice cluster as the verb `lab` knows it.
type labKind struct {
	up     func(*app) *cobra.Command // the verb `lab up NAME` with its own flags
	down   func(ctx context.Context, dir string) error
	status func(ctx context.Context, dir string) (labStatus, error)
	breaks func(ctx context.Context, dir, node, fault string) error
	faults func() []string
	serve  func(ctx context.Context, dir string) error // holds the machines of a lab; started by up
}

// labStatus is what `lab status` shows: the object for JSON and lines for a person.
type labStatus struct {
	object any
	lines  []string
}

// labs are the products that have a lab. A new one is added here.
var labs = map[string]labKind{
	"postgres":  postgresLab,
	"opengauss": simLab("opengauss"),
	"mogdb":     simLab("mogdb"),
	"dameng":    simLab("dameng"),
	"gbase8a":   simLab("gbase8a"),
}

func labNames() []string { return slices.Sorted(maps.Keys(labs)) }

func (a *app) labVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "lab",
		Short:   a.t("Practice clusters: up, down, status, break", "演练环境：up、down、status、break"),
		Long:    a.t("A lab is a whole cluster in one directory of this machine, reached over ssh as a real\none is. It is left running until `lab down`.", "演练环境是本机一个目录中的完整集群，与真实集群一样经 ssh 访问，直到 lab down 为止一直运行。"),
		Example: "  shiplift lab up postgres --dir /tmp/lab --nodes 3 --release 15.16\n  shiplift check -c /tmp/lab/cluster.yaml --to 15.17\n  shiplift lab break postgres kill-server --node db2 --dir /tmp/lab\n  shiplift lab down --dir /tmp/lab",
		Args:    a.noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.labUp(), a.labDown(), a.labStatus(), a.labBreak(), a.labServe())
	return cmd
}

func (a *app) labUp() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "up DRIVER",
		Short:   a.t("Start a lab and leave it running", "启动演练环境并保持运行"),
		Example: "  shiplift lab up postgres --dir /tmp/lab --nodes 3 --release 15.16\n  shiplift lab up opengauss --dir /tmp/lab --nodes 3 --release 3.0.0 --cm\n  shiplift lab up dameng --dir /tmp/lab --topology dw --standbys 2 --release 8.1.1.14",
		Args:    a.noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, name := range labNames() {
		cmd.AddCommand(labs[name].up(a))
	}
	return cmd
}

// labUpped is what `lab up --output json` prints.
type labUpped struct {
	V         int      `json:"v"`
	Inventory string   `json:"inventory"`
	Packages  []string `json:"packages"`
}

// upped tells that a lab is up and what to type next.
func (a *app) upped(u labUpped) error {
	if u.V = 1; u.Packages == nil {
		u.Packages = []string{}
	}
	if a.screen.Format == "json" {
		return a.screen.Object(u)
	}
	if err := a.screen.Raw([]byte(u.Inventory + "\n")); err != nil {
		return err
	}
	a.screen.Next(say.Same("shiplift status -c " + quote(u.Inventory)))
	return nil
}

// labDir is the flag that names a lab's directory, and the optional driver before it.
func (a *app) labDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", "", a.t("the lab's directory", "演练环境的目录"))
	_ = cmd.MarkFlagDirname("dir")
	cmd.ValidArgsFunction = cobra.FixedCompletions(labNames(), cobra.ShellCompDirectiveNoFileComp)
}

// labIn finds out which product's lab lies in dir; a driver that is named must be that one.
func labIn(cmd *cobra.Command, dir, named string) (labKind, error) {
	if dir == "" {
		return labKind{}, usage("--dir", say.F("which lab? the directory is missing", "缺少演练环境的目录"), say.Same(cmd.CommandPath()+" --dir DIR"))
	}
	state, err := lab.Load(dir)
	if err != nil {
		return labKind{}, err
	}
	if named != "" && named != state.Driver {
		return labKind{}, usage(named, say.F("the lab in %s is one of %s", "%s 中的演练环境属于 %s", dir, state.Driver), say.Text{})
	}
	kind, ok := labs[state.Driver]
	if !ok {
		return labKind{}, usage(dir, say.F("this tool has no lab of %q", "本工具没有 %q 的演练环境", state.Driver), say.Text{})
	}
	return kind, nil
}

func firstOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (a *app) labDown() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "down [DRIVER]", Short: a.t("End a lab and remove all of it", "停止演练环境并全部删除"),
		Example: "  shiplift lab down --dir /tmp/lab", Args: a.maxArgs(1),
	}
	a.labDir(cmd, &dir)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind, err := labIn(cmd, dir, firstOf(args))
		if err != nil {
			return err
		}
		// A lab that is half gone is worse than one that is there: Ctrl-C waits.
		return kind.down(context.WithoutCancel(cmd.Context()), dir)
	}
	return cmd
}

func (a *app) labStatus() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "status [DRIVER]", Short: a.t("Show what a lab looks like now", "显示演练环境的当前状态"),
		Example: "  shiplift lab status --dir /tmp/lab --output json", Args: a.maxArgs(1),
	}
	a.labDir(cmd, &dir)
	a.outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind, err := labIn(cmd, dir, firstOf(args))
		if err != nil {
			return err
		}
		st, err := kind.status(cmd.Context(), dir)
		if err != nil {
			return err
		}
		if a.screen.Format == "json" {
			return a.screen.Object(st.object)
		}
		return a.screen.Raw([]byte(strings.Join(st.lines, "\n") + "\n"))
	}
	return cmd
}

func (a *app) labBreak() *cobra.Command {
	var dir, node string
	var all []string
	for _, name := range labNames() {
		all = append(all, name+": "+strings.Join(labs[name].faults(), ", "))
	}
	cmd := &cobra.Command{
		Use:     "break [DRIVER] FAULT",
		Short:   a.t("Give a node of a lab some trouble, or end it", "在演练环境的节点上制造或解除故障"),
		Long:    a.t("Gives a node of a lab a fault, or ends one. The faults:\n\n  ", "在演练环境的节点上制造或解除故障。可用的故障：\n\n  ") + strings.Join(all, "\n  "),
		Example: "  shiplift lab break kill-server --node db2 --dir /tmp/lab\n  shiplift lab break postgres cut-ssh --node db3 --dir /tmp/lab",
		Args:    a.maxArgs(2),
	}
	a.labDir(cmd, &dir)
	cmd.Flags().StringVar(&node, "node", "", a.t("the node", "节点"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		named := ""
		if len(args) == 2 || len(args) == 1 && slices.Contains(labNames(), args[0]) {
			named, args = args[0], args[1:]
		}
		kind, err := labIn(cmd, dir, named)
		if err != nil {
			return err
		}
		if len(args) == 0 || !slices.Contains(kind.faults(), args[0]) {
			return usage(firstOf(args), say.F("a fault is needed, one of: %s", "需要指定故障，可用：%s", strings.Join(kind.faults(), ", ")), say.Same(cmd.CommandPath()+" --help"))
		}
		if node == "" {
			return usage("--node", say.F("which node?", "缺少节点"), say.Same("shiplift lab status --dir "+quote(dir)))
		}
		return kind.breaks(cmd.Context(), dir, node, args[0])
	}
	return cmd
}

// labServe is what `lab up` starts and leaves behind; nobody types it.
func (a *app) labServe() *cobra.Command {
	var dir string
	cmd := &cobra.Command{Use: "serve DRIVER", Hidden: true, Args: a.maxArgs(1)}
	a.labDir(cmd, &dir)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind, ok := labs[firstOf(args)]
		if !ok {
			return usage(firstOf(args), say.F("no lab of this name", "没有此名称的演练环境"), say.Text{})
		}
		return kind.serve(cmd.Context(), dir)
	}
	return cmd
}
