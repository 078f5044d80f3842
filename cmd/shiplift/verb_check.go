package main

import (
	"github.com/spf13/cobra"

	"github.com/shiplift/shiplift/internal/driver"
)

func (a *app) checkVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: a.t("Ask whether the cluster can be upgraded; changes nothing", "检查集群能否升级；不做任何更改"),
		Long: a.t("Reads the cluster and answers questions about it, each with an id, a severity and\nevidence. Exits with 5 when one blocks.",
			"读取集群并逐项检查，每项都有标识、级别和依据。存在阻断项时退出码为 5。"),
		Example: "  shiplift check --to 15.17 --package postgresql-15.17-linux-amd64.tar.gz\n  shiplift check -c prod.yaml --to 15.17 --skip backup=\"storage snapshot taken\"\n  shiplift check --output json | jq '.findings[] | select(.severity==\"block\")'",
		Args:    a.noArgs,
	}
	a.clusterFlags(cmd)
	flags := a.requestFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req, err := flags.request()
		if err != nil {
			return err
		}
		r, err := a.enter("check")
		if err != nil {
			return err
		}
		defer r.leave()
		if err := r.mustName(req); err != nil {
			return err
		}
		req = driver.WithMode(r.driver, r.inv, req)
		o, err := r.observe(cmd.Context())
		if err != nil {
			return err
		}
		findings, err := r.ask(cmd.Context(), o, req)
		if err != nil {
			return err
		}
		if err := a.screen.Checks(r.checked(o, req), findings); err != nil {
			return err
		}
		if err := r.blocked(findings); err != nil || !aims(req) {
			return err
		}
		// What no single check asks: is there a way at all?
		_, err = driver.Make(r.driver, r.inv, o, req, engine())
		return err
	}
	return cmd
}
