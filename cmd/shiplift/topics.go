package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) versionVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: a.t("Print the tool's version", "显示版本"), Example: "  shiplift version --output json", Args: a.noArgs,
	}
	a.outputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		if a.screen.Format == "json" {
			return a.screen.Object(map[string]any{"v": 1, "version": engine(), "go": runtime.Version(), "drivers": driverNames()})
		}
		return a.screen.Raw([]byte("shiplift " + engine() + "\n"))
	}
	return cmd
}

func (a *app) completionVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     a.t("Print a completion script for a shell", "输出 shell 补全脚本"),
		Example:   "  source <(shiplift completion bash)\n  shiplift completion zsh > \"${fpath[1]}/_shiplift\"\n  shiplift completion fish > ~/.config/fish/completions/shiplift.fish",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		root := cmd.Root()
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(a.screen.Out, true)
		case "zsh":
			return root.GenZshCompletion(a.screen.Out)
		default:
			return root.GenFishCompletion(a.screen.Out, true)
		}
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)(cmd, args); err != nil {
			return a.flagError(cmd, err)
		}
		return nil
	}
	return cmd
}

func (a *app) exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use: "exit-codes", Short: a.t("What each exit code means", "各退出码的含义"),
		Long: a.t("Exit codes:\n\n", "退出码：\n\n") + exitTable(a.screen.Lang),
	}
}

const inventoryExample = `version: 1
cluster: prod
driver: postgres
ssh: {user: postgres, identity_file: ~/.ssh/id_ed25519}   # also: port, host, known_hosts, config
settings: {base: /opt/pg, data: /data, port: 5432}        # for every node
nodes:
  - {name: db1, address: 10.0.0.1}
  - {name: db2, address: 10.0.0.2, settings: {port: 5433}}
  - {name: db3, address: 10.0.0.3, transport: local}      # ssh when nothing is said

state_dir names where Shiplift keeps its own files on a node (.shiplift/CLUSTER/NODE in
the login's home). Relative paths of this machine lie beside the inventory.
The settings of each driver: shiplift help drivers
`

func (a *app) driversTopic() *cobra.Command {
	var b strings.Builder
	for _, name := range driverNames() {
		fmt.Fprintf(&b, "%s\n", name)
		for _, k := range drivers[name].Settings() {
			mark := " "
			if k.Required {
				mark = "*"
			}
			fmt.Fprintf(&b, "  %s %-18s %s\n", mark, k.Name, k.Doc)
		}
	}
	return &cobra.Command{
		Use: "drivers", Short: a.t("The drivers and their settings", "各驱动及其设置项"),
		Long: a.t("Drivers and the settings that an inventory may hold for them (* must be there):\n\n", "各驱动及清单中可用的设置项（* 为必需）：\n\n") + b.String(),
	}
}
