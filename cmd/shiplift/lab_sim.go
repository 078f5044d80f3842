package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/lab/simlab"
	"github.com/shiplift/shiplift/internal/say"
)

// simLab is the lab of a simulated product.
func simLab(name string) labKind {
	return labKind{
		up:   func(a *app) *cobra.Command { return a.simUp(simlab.Get(name)) },
		down: simlab.Down,
		status: func(ctx context.Context, dir string) (labStatus, error) {
			st, err := simlab.GetStatus(ctx, dir)
			return labStatus{object: struct {
				V int `json:"v"`
				simlab.Status
			}{1, st}, lines: simLines(st)}, err
		},
		breaks: simlab.Break,
		faults: simlab.Get(name).AllFaults,
		serve:  simlab.Serve,
	}
}

func (a *app) simUp(p *simlab.Product) *cobra.Command {
	o := simlab.Options{Product: p.Name}
	cmd := &cobra.Command{
		Use:   p.Name,
		Short: a.t(p.About.EN, p.About.ZH),
		Long: a.t("Nothing of the vendor runs here: machines, tools and servers are simulated, with the\nvendor's command lines and outputs, and reached over ssh on loopback. Whoever breaks a\nrule of the vendor's manual gets the damage that the manual describes; `lab status`\ntells it. The cluster lives in the memory of one process and ends with it.",
			"此处不运行厂商的任何软件：主机、工具和服务器均为模拟，命令行与输出同厂商一致，经回环地址上的 ssh 访问。\n违反厂商手册的规则会造成手册所述的损害，由 lab status 显示。集群只存在于一个进程的内存中，随该进程结束。"),
		Example: "  shiplift lab up " + p.Name + " --dir /tmp/lab\n  shiplift lab up " + p.Name + " --dir /tmp/lab --output json",
		Args:    a.noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", a.t("the lab's directory; made when it does not exist", "演练环境的目录；不存在则创建"))
	f.Float64Var(&o.Speed, "speed", simlab.DefaultSpeed, a.t("how many times as fast as real time the simulated clock runs", "模拟时钟相对真实时间的倍速"))
	for _, fl := range p.Flags {
		doc := a.t(fl.Doc.EN, fl.Doc.ZH)
		if len(fl.Words) > 0 {
			doc += ": " + strings.Join(fl.Words, ", ")
		}
		if fl.Kind == simlab.Yes {
			f.Bool(fl.Name, fl.Default == "true", doc)
		} else {
			f.String(fl.Name, fl.Default, doc)
		}
	}
	_ = cmd.MarkFlagDirname("dir")
	a.outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Args = simlab.Args{}
		for _, fl := range p.Flags {
			o.Args[fl.Name] = cmd.Flags().Lookup(fl.Name).Value.String()
		}
		if err := o.Check(); err != nil {
			return &usageError{err}
		}
		l, err := simlab.Up(cmd.Context(), o)
		if err != nil {
			return err
		}
		return a.upped(labUpped{Inventory: l.Inventory, Packages: l.Packages()})
	}
	return cmd
}

func simLines(st simlab.Status) []string {
	lines := []string{
		fmt.Sprintf("%s  %s", st.Cluster, st.Inventory),
		"  " + say.F("simulated %s: no software of the vendor runs; the clock runs %v times as fast", "模拟的 %s：不运行厂商软件；时钟为 %v 倍速", st.Driver, st.Speed).EN,
	}
	if !st.Daemon {
		return append(lines, "  "+say.F("the process that was the cluster has ended; the cluster is gone: lab down", "承载集群的进程已结束，集群已不存在：lab down").EN)
	}
	for _, n := range st.Nodes {
		what := strings.TrimSpace(n.Role + " " + n.Running)
		switch {
		case !n.Up:
			what = "no power"
		case n.Running == "":
			what = "stopped"
		}
		line := fmt.Sprintf("  %-8s %-34s %s, files %s, %s, ssh %d", n.Name, what, orElse(n.State, "-"), n.Installed, n.Address, n.SSHPort)
		if len(n.Faults) > 0 {
			line += "  " + strings.Join(n.Faults, ", ")
		}
		lines = append(lines, line)
	}
	for _, d := range st.Damage {
		lines = append(lines, "  damage: "+d)
	}
	for _, c := range st.Complaints {
		lines = append(lines, "  not simulated: "+c)
	}
	return lines
}
