package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
)

// TestMain lets the scripts call the tool as its users do, with one driver
// more: the toy, whose nodes are directories.
func TestMain(m *testing.M) {
	drivers["toy"] = drivertest.Toy{}
	testscript.Main(m, map[string]func(){"shiplift": main, "gs_upgradectl": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUpToy,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "field": field, "keys": keys},
	})
}

// setUpToy makes a toy cluster of three nodes: db1 is the primary on 1.0.
func setUpToy(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
	env.Setenv("LANG", "en_US.UTF-8")
	xml, err := filepath.Abs("../../internal/cluster/ogxml/testdata/cm3.xml")
	if err != nil {
		return err
	}
	env.Setenv("XML", xml)
	inv := &cluster.Inventory{Cluster: "toys", Driver: "toy"}
	for i := range 3 {
		name := fmt.Sprintf("db%d", i+1)
		dir := filepath.Join(env.WorkDir, "toy", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		role := "standby"
		if i == 0 {
			role = "primary"
		}
		for key, value := range map[string]string{"role": role, "running": "1.0", "installed": "1.0"} {
			if err := os.WriteFile(filepath.Join(dir, key), []byte(value+"\n"), 0o644); err != nil {
				return err
			}
		}
		inv.Nodes = append(inv.Nodes, cluster.Node{
			Name: name, Address: "127.0.0.1", Transport: "local", StateDir: filepath.Join(env.WorkDir, "nodes", name),
			Settings: cluster.Settings{"dir": dir},
		})
	}
	return cluster.Write(filepath.Join(env.WorkDir, "cluster.yaml"), inv)
}

// exits runs a command and holds its exit code: exits 4 shiplift apply p.json.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("%s exits with %s, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// lastObject is the last JSON line of standard output.
func lastObject(ts *testscript.TestScript) map[string]any {
	lines := bytes.Split(bytes.TrimSpace([]byte(ts.ReadFile("stdout"))), []byte("\n"))
	var obj map[string]any
	if err := json.Unmarshal(lines[len(lines)-1], &obj); err != nil {
		ts.Fatalf("the last line is no JSON object: %v", err)
	}
	return obj
}

// field holds a field of the last JSON line: field state upgraded.
func field(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: field PATH VALUE")
	}
	var v any = lastObject(ts)
	for name := range strings.SplitSeq(args[0], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(x) {
				ts.Fatalf("no element %q in %v", name, x)
			}
			v = x[i]
		}
	}
	if got := fmt.Sprint(v); (got == args[1]) == neg {
		ts.Fatalf("%s is %q, want %q (neg %v)", args[0], got, args[1], neg)
	}
}

// keys holds that the last JSON line has these keys.
func keys(ts *testscript.TestScript, _ bool, args []string) {
	obj := lastObject(ts)
	for _, k := range args {
		if _, ok := obj[k]; !ok {
			ts.Fatalf("no key %q in %v", k, obj)
		}
	}
}
