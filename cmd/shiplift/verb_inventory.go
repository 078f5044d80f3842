package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/say"
)

func (a *app) inventoryVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: a.t("Check an inventory, or make one from the vendor's own file", "检查清单，或由厂商自己的文件生成清单"),
		Long:  a.t("An inventory is a YAML file that names one cluster. Roles are never written in it:\nthey are observed.\n\n", "清单是描述一个集群的 YAML 文件。角色不写入清单，而是从集群读取。\n\n") + inventoryExample,
		Args:  a.noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.inventoryImport(), a.inventoryCheck())
	return cmd
}

func (a *app) inventoryImport() *cobra.Command {
	var out, name string
	var force bool
	cmd := &cobra.Command{
		Use:     "import DRIVER FILE",
		Short:   a.t("Make an inventory from the vendor's own file", "由厂商自己的文件生成清单"),
		Example: "  shiplift inventory import opengauss clusterconfig.xml --out cluster.yaml\n  shiplift inventory import dameng ./ini --name prod      # ini/dm1/dm.ini, ini/dm2/dm.ini …",
		Args:    a.maxArgs(2),
	}
	cmd.Flags().StringVarP(&out, "out", "o", defaultInventory, a.t("where the inventory goes; - is standard output", "清单写入位置；- 为标准输出"))
	cmd.Flags().StringVar(&name, "name", "", a.t("the cluster's name; from the file when empty", "集群名称；为空则取自文件"))
	cmd.Flags().BoolVar(&force, "replace", false, a.t("replace an inventory that is there", "覆盖已有的清单"))
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) != 2 {
			return usage("", say.F("a driver and its file are needed", "需要指定驱动及其文件"), say.Same("shiplift inventory import --help"))
		}
		read, ok := importers[args[0]]
		if !ok {
			return usage(args[0], say.F("there is no importer for %q; there are: %s", "没有 %q 的导入程序；可用的有：%s", args[0], strings.Join(slices.Sorted(maps.Keys(importers)), ", ")), say.Same("shiplift help inventory"))
		}
		inv, supposed, err := read(a, args[1], name)
		if err != nil {
			return &usageError{err}
		}
		for _, s := range supposed {
			a.screen.Talk(say.Join(": ", say.F("supposed, please check", "推测所得，请核对"), s))
		}
		return a.writeInventory(inv, out, force)
	}
	return cmd
}

func (a *app) writeInventory(inv *cluster.Inventory, out string, replace bool) error {
	if out == "-" {
		data, err := cluster.Marshal(inv)
		if err != nil {
			return err
		}
		return a.screen.Raw(data)
	}
	if _, err := cluster.Read(out, nil); !isMissing(err) && !replace {
		return usage(out, say.F("a file is there already", "文件已存在"), say.F("name another one with --out FILE, or add --replace", "用 --out FILE 指定其他文件，或加上 --replace"))
	}
	if err := cluster.Write(out, inv); err != nil {
		return err
	}
	a.screen.Talk(say.F("wrote %s: cluster %s, %d nodes", "已写入 %s：集群 %s，%d 个节点", out, inv.Cluster, len(inv.Nodes)))
	a.screen.Next(say.Same("shiplift check -c " + quote(out)))
	return nil
}

func (a *app) inventoryCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "check [FILE]",
		Short:   a.t("Read an inventory and say whether it is whole; asks no node", "读取清单并检查是否完整；不访问任何节点"),
		Example: "  shiplift inventory check\n  shiplift inventory check prod.yaml",
		Args:    a.maxArgs(1),
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		file := orElse(a.getenv("SHIPLIFT_CLUSTER"), defaultInventory)
		if len(args) == 1 {
			file = args[0]
		}
		inv, err := cluster.Read(file, keysOf)
		if err != nil {
			return &usageError{err}
		}
		a.screen.Talk(say.F("%s is whole: cluster %s, driver %s, nodes %s", "%s 完整：集群 %s，驱动 %s，节点 %s", file, inv.Cluster, inv.Driver, strings.Join(inv.Names(), ", ")))
		return nil
	}
	return cmd
}
