package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/opengauss"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/view"
)

func TestTheVendorsNameTakesItsCommandLine(t *testing.T) {
	t.Parallel()
	for program, want := range map[string][]string{
		"/usr/bin/shiplift":      {"-t", "x"},
		"/usr/bin/gs_upgradectl": {"gs_upgradectl", "-t", "x"},
		"gs_upgradectl":          {"gs_upgradectl", "-t", "x"},
	} {
		if diff := cmp.Diff(want, asVendor(program, []string{"-t", "x"})); diff != "" {
			t.Errorf("%s: %s", program, diff)
		}
	}
}

// TestWithoutAnInventoryTheXMLFileIsOne: what `inventory import` would write.
func TestWithoutAnInventoryTheXMLFileIsOne(t *testing.T) {
	t.Parallel()
	const xml = "../../internal/cluster/ogxml/testdata/cm3.xml"
	env := map[string]string{"SHIPLIFT_CLUSTER": filepath.Join(t.TempDir(), "none.yaml")}
	a := &app{getenv: func(k string) string { return env[k] }, screen: view.NewScreen(io.Discard, io.Discard, say.English, view.Human, func(string) string { return "" })}
	inv, err := a.vendorInventory(&opengauss.Upgradectl{XML: xml})
	if err != nil {
		t.Fatal(err)
	}
	if inv.Driver != "opengauss" || len(inv.Nodes) != 3 || inv.Cluster != "Cluster_template" {
		t.Errorf("%+v", inv)
	}
	var no *driver.RefusalError
	if _, err := a.vendorInventory(&opengauss.Upgradectl{}); !errors.As(err, &no) || no.Code != "GAUSS-50001" {
		t.Errorf("%v", err)
	}
	if _, err := a.vendorInventory(&opengauss.Upgradectl{XML: "none.xml"}); !errors.As(err, &no) || no.Code != "GAUSS-50201" {
		t.Errorf("%v", err)
	}
}

func TestVendorWords(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err        error
		code, text string
	}{
		"a refusal":             {&driver.RefusalError{Code: "GAUSS-52902", Text: say.Same("older")}, "GAUSS-52902", "older"},
		"a code behind":         {fmt.Errorf("node1: not a link [GAUSS-52915]"), "GAUSS-52915", "node1: not a link"},
		"a code in front":       {fmt.Errorf("[GAUSS-50011] : no"), "GAUSS-50011", "no"},
		"nothing to do":         {&driver.NothingToDoError{Text: say.Same("runs already [GAUSS-52901]")}, "GAUSS-52901", "runs already"},
		"no code":               {fmt.Errorf("the disk is gone"), "", "the disk is gone"},
		"a code in wide quotes": {fmt.Errorf("不是符号链接［GAUSS-52915］"), "GAUSS-52915", "不是符号链接"},
	} {
		code, text := vendorWords(tc.err, say.English)
		if code != tc.code || text != tc.text {
			t.Errorf("%s: %q %q", name, code, text)
		}
	}
}

func TestVendorCommand(t *testing.T) {
	t.Parallel()
	grey := &opengauss.Upgradectl{XML: "/x.xml", Request: plan.Request{Mode: "rolling"}}
	for want, got := range map[string]string{
		"gs_upgradectl -t commit-upgrade -X /x.xml":                  vendorCommand(grey, "commit", nil),
		"gs_upgradectl -t auto-rollback -X /x.xml":                   vendorCommand(grey, "rollback", nil),
		"gs_upgradectl -t auto-upgrade -X /x.xml --grey":             vendorCommand(grey, "resume", nil),
		"gs_upgradectl -t auto-upgrade -X /x.xml --grey --continue":  vendorCommand(grey, "resume", []string{"--accept", "rest"}),
		"gs_upgradectl -t auto-upgrade -X XMLFILE --inplace-upgrade": vendorCommand(&opengauss.Upgradectl{Request: plan.Request{Mode: "inplace"}}, "resume", nil),
		"gs_upgradectl -S show-step":                                 vendorCommand(grey, "status", nil),
		"gs_upgradectl -t upgrade-cm --upgrade-package 'a b.tar.gz'": vendorCommand(&opengauss.Upgradectl{Request: plan.Request{Component: "cm", Packages: []string{"a b.tar.gz"}}}, "resume", nil),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if _, err := opengauss.ParseUpgradectl(strings.Fields(strings.TrimPrefix(strings.ReplaceAll(got, "'", ""), "gs_upgradectl "))); err != nil && !strings.Contains(got, "a b") {
			t.Errorf("%s is not understood: %v", got, err)
		}
	}
}
