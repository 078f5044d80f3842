package opengauss

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/plan"
)

func TestParseUpgradectl(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args    string
		want    Upgradectl
		ok, bad int // exit statuses
		wantErr string
	}{
		"chose-strategy":          {args: "-t chose-strategy", want: Upgradectl{Verb: "check"}, ok: 4, bad: 1},
		"grey":                    {args: "-t auto-upgrade -X /x.xml --grey", want: Upgradectl{Verb: "apply", XML: "/x.xml", Request: plan.Request{Mode: "rolling"}}, ok: 0, bad: 1},
		"in place":                {args: "-t auto-upgrade -X /x.xml --inplace-upgrade -l /l.log", want: Upgradectl{Verb: "apply", XML: "/x.xml", Log: "/l.log", Request: plan.Request{Mode: "inplace"}}, ok: 0, bad: 1},
		"some nodes first":        {args: "-t auto-upgrade -X /x.xml --grey -h n1,n2", want: Upgradectl{Verb: "apply", XML: "/x.xml", Request: plan.Request{Mode: "rolling", Nodes: []string{"n1", "n2"}}}, ok: 0, bad: 1},
		"the rest":                {args: "-t auto-upgrade -X /x.xml --grey --continue", want: Upgradectl{Verb: "resume", Resume: true, Accept: []string{"rest"}, XML: "/x.xml", Request: plan.Request{Mode: "rolling"}}, ok: 0, bad: 1},
		"rollback":                {args: "-t auto-rollback -X /x.xml --force", want: Upgradectl{Verb: "rollback", XML: "/x.xml", Force: true}, ok: 2, bad: 3},
		"commit":                  {args: "-t commit-upgrade -X /x.xml", want: Upgradectl{Verb: "commit", XML: "/x.xml", Accept: []string{"commit"}}, ok: 5, bad: 1},
		"the cluster manager":     {args: "-t upgrade-cm --upgrade-package=/p/cm.tar.gz", want: Upgradectl{Verb: "apply", Request: plan.Request{Component: "cm", Packages: []string{"/p/cm.tar.gz"}}}, ok: 0, bad: 1},
		"show-step":               {args: "-S show-step", want: Upgradectl{Verb: "status"}, ok: 0, bad: 1},
		"no action":               {args: "", wantErr: "GAUSS-50001"},
		"an unknown action":       {args: "-t upgrade", wantErr: "GAUSS-50004"},
		"an unknown option":       {args: "-t auto-upgrade -X /x --grey -z", wantErr: "GAUSS-50000"},
		"no cluster file":         {args: "-t auto-upgrade --grey", wantErr: "GAUSS-50001"},
		"no mode":                 {args: "-t auto-upgrade -X /x", wantErr: "GAUSS-50001"},
		"two modes":               {args: "-t auto-upgrade -X /x --grey --inplace-upgrade", wantErr: "GAUSS-50011"},
		"nodes in place":          {args: "-t auto-upgrade -X /x --inplace-upgrade -h n1", wantErr: "GAUSS-50011"},
		"nodes and the rest":      {args: "-t auto-upgrade -X /x --grey -h n1 --continue", wantErr: "GAUSS-50011"},
		"force without reason":    {args: "-t commit-upgrade -X /x --force", wantErr: "GAUSS-50011"},
		"no component package":    {args: "-t upgrade-cm", wantErr: "GAUSS-50001"},
		"a bypass":                {args: "-t auto-upgrade -X /x --grey --skip-resource-check", wantErr: "GAUSS-50000"},
		"another word of -S":      {args: "-S step", wantErr: "GAUSS-50011"},
		"show-step and a task":    {args: "-S show-step -t commit-upgrade -X /x", wantErr: "GAUSS-50011"},
		"a mode for a commit":     {args: "-t commit-upgrade -X /x --grey", wantErr: "GAUSS-50011"},
		"in place for a rollback": {args: "-t auto-rollback -X /x --inplace-upgrade", wantErr: "GAUSS-50011"},
		"nodes for a rollback":    {args: "-t auto-rollback -X /x -h n1", wantErr: "GAUSS-50011"},
		"the rest for a commit":   {args: "-t commit-upgrade -X /x --continue", wantErr: "GAUSS-50011"},
		"an option at the end":    {args: "-t", wantErr: "GAUSS-50001"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := ParseUpgradectl(strings.Fields(tc.args))
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want %s", err, tc.wantErr)
				}
				return
			}
			if diff := cmp.Diff(tc.want, u); diff != "" || err != nil {
				t.Fatal(diff, err)
			}
			if u.ExitCode(true) != tc.ok || u.ExitCode(false) != tc.bad {
				t.Errorf("exit %d and %d, want %d and %d", u.ExitCode(true), u.ExitCode(false), tc.ok, tc.bad)
			}
		})
	}
}
