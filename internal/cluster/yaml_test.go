package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/say"
)

const whole = `version: 1
cluster: prod
driver: toy
ssh: {user: postgres, port: 2222, identity_file: keys/id}
settings:
  base: /opt/pg
  port: 5432
nodes:
  - name: db1
    address: 10.0.0.1
  - {name: db2, address: db2.example.org, ssh: {port: 22, host: jump-db2}, settings: {port: "5433"}}
  - {name: db3, address: "fd00::3", transport: local, state_dir: /var/lib/shiplift}
`

func toyKeys(driver string) ([]Key, bool) {
	keys := []Key{
		{Name: "base", Required: true, Doc: "where the releases lie"},
		{Name: "port", PerNode: true, Check: func(v string) error {
			if strings.Trim(v, "0123456789") != "" {
				return &say.Problem{Text: say.F("expected a port number", "应为端口号")}
			}
			return nil
		}},
	}
	return keys, driver == "toy"
}

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := Parse("etc/cluster.yaml", []byte(whole), toyKeys)
	if err != nil {
		t.Fatal(err)
	}
	want := &Inventory{
		Path: "etc/cluster.yaml", Cluster: "prod", Driver: "toy",
		Settings: Settings{"base": "/opt/pg", "port": "5432"},
		Nodes: []Node{
			{
				Name: "db1", Address: "10.0.0.1", Transport: "ssh", StateDir: ".shiplift/prod/db1",
				SSH:      SSH{User: "postgres", Port: 2222, IdentityFile: "etc/keys/id"},
				Settings: Settings{"base": "/opt/pg", "port": "5432"},
			},
			{
				Name: "db2", Address: "db2.example.org", Transport: "ssh", StateDir: ".shiplift/prod/db2",
				SSH:      SSH{Host: "jump-db2", User: "postgres", Port: 22, IdentityFile: "etc/keys/id"},
				Settings: Settings{"base": "/opt/pg", "port": "5433"},
			},
			{
				Name: "db3", Address: "fd00::3", Transport: "local", StateDir: "/var/lib/shiplift",
				SSH:      SSH{User: "postgres", Port: 2222, IdentityFile: "etc/keys/id"},
				Settings: Settings{"base": "/opt/pg", "port": "5432"},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const nodes = "nodes: [{name: db1, address: a}]\n"
	const head = "version: 1\ncluster: c\ndriver: toy\nsettings: {base: /b}\n"
	tests := map[string]struct{ file, place, says string }{
		"an unknown key at the top":              {head + "nodez: []\n", "c.yaml:5:1", `unknown key "nodez" in the inventory; expected one of cluster, driver, nodes, settings, ssh, state_dir, version (did you mean nodes?)`},
		"an unknown key at a node":               {head + "nodes:\n  - name: db1\n    adress: a\n", "c.yaml:7:5", `unknown key "adress" in a node; expected one of address, name, settings, ssh, state_dir, transport (did you mean address?)`},
		"an unknown key under ssh":               {head + "ssh: {usr: x}\n" + nodes, "c.yaml:5:7", `unknown key "usr" in ssh`},
		"an unknown setting":                     {"cluster: c\ndriver: toy\nsettings: {bse: /b}\n" + nodes, "c.yaml:3:12", `unknown key "bse" in the settings of driver toy; expected one of base, port (did you mean base?)`},
		"a setting of the cluster at a node":     {head + "nodes: [{name: db1, address: a, settings: {base: /x}}]\n", "c.yaml:5:44", "the setting base holds for the whole cluster"},
		"a setting that does not fit":            {"cluster: c\ndriver: toy\nsettings: {base: /b, port: abc}\n" + nodes, "c.yaml:3:22", `settings.port is "abc": expected a port number`},
		"a required setting that is missing":     {"cluster: c\ndriver: toy\n" + nodes, "c.yaml:3:10", "node db1 has no setting base"},
		"an unknown driver":                      {"cluster: c\ndriver: oracle\n" + nodes, "c.yaml:2:9", `unknown driver "oracle"`},
		"a missing cluster":                      {"driver: toy\n" + nodes, "c.yaml:1:1", "cluster is missing"},
		"a missing driver":                       {"cluster: c\n" + nodes, "c.yaml:1:1", "driver is missing"},
		"no nodes":                               {head, "c.yaml:1:1", "nodes is missing"},
		"nodes that are no list":                 {head + "nodes: {db1: 10.0.0.1}\n", "c.yaml:5:9", "nodes is a mapping; expected a list of nodes"},
		"a node without a name":                  {head + "nodes:\n  - address: a\n", "c.yaml:6:5", "name is missing"},
		"a node without an address":              {head + "nodes:\n  - name: db1\n", "c.yaml:6:5", "address is missing"},
		"a node that stands there twice":         {head + "nodes:\n  - {name: db1, address: a}\n  - {name: db1, address: b}\n", "c.yaml:7:6", "node db1 stands in the inventory twice; first in line 6"},
		"two nodes that are one":                 {head + "nodes:\n  - {name: db1, address: a}\n  - {name: db2, address: a}\n", "c.yaml:7:6", "nodes db1 and db2 have the same address and the same settings"},
		"a name that is a path":                  {head + "nodes: [{name: ../x, address: a}]\n", "c.yaml:5:16", `the name "../x" does not fit`},
		"an address with a port":                 {head + "nodes: [{name: db1, address: \"10.0.0.1:5432\"}]\n", "c.yaml:5:30", "without a port"},
		"a bad ssh port":                         {head + "ssh: {port: 70000}\n" + nodes, "c.yaml:5:13", `ssh.port is "70000"; expected a number from 1 to 65535`},
		"a transport that is not known":          {head + "nodes: [{name: db1, address: a, transport: telnet}]\n", "c.yaml:5:44", "expected ssh or local"},
		"a list where one value belongs":         {"cluster: [a, b]\n", "c.yaml:1:10", "cluster is a list; expected a single value"},
		"a value where settings belong":          {head + "nodes:\n  - {name: db1, address: a, settings: fast}\n", "c.yaml:6:39", "settings is a single value; expected keys and values"},
		"another version of the format":          {"version: 2\n", "c.yaml:1:10", `version is "2"; this tool reads version 1`},
		"a key that stands there twice":          {"cluster: a\ncluster: b\n", "c.yaml:2:1", "this is not YAML"},
		"a file that is no YAML":                 {"cluster: [\n", "c.yaml:1:10", "this is not YAML"},
		"an empty file":                          {"# nothing\n", "c.yaml", "the inventory is empty"},
		"two documents":                          {"cluster: a\n---\ncluster: b\n", "c.yaml:3:1", "a second YAML document begins here"},
		"an alias":                               {"cluster: &a x\ndriver: *a\n", "c.yaml:1:10", "an anchor, alias or tag"},
		"a merge key":                            {"<<: {cluster: a}\n", "c.yaml:1:1", "a key is expected here"},
		"a value that is a file's whole content": {"just words\n", "c.yaml:1:1", "the inventory is a single value; expected keys and values"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("c.yaml", []byte(tc.file), toyKeys)
			var p *say.Problem
			if !errors.As(err, &p) {
				t.Fatalf("error is %T %v, want a *say.Problem", err, err)
			}
			if p.Place != tc.place || !strings.Contains(p.Text.EN, tc.says) {
				t.Errorf("told %q, want place %q and %q", p.Error(), tc.place, tc.says)
			}
			if p.Next.IsZero() || p.Text.ZH == "" || p.Text.ZH == p.Text.EN {
				t.Errorf("next %q or Chinese %q is missing", p.Next.EN, p.Text.ZH)
			}
		})
	}
}

func TestReadTellsWhatToDoWithoutAFile(t *testing.T) {
	t.Parallel()
	_, err := Read(filepath.Join(t.TempDir(), "cluster.yaml"), toyKeys)
	var p *say.Problem
	if !errors.As(err, &p) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(p.Next.EN, "shiplift inventory import") {
		t.Errorf("error %v does not tell how to get an inventory", err)
	}
}

func TestWriteThenReadIsTheSame(t *testing.T) {
	t.Parallel()
	inv, err := Parse(filepath.Join(t.TempDir(), "c.yaml"), []byte(whole), toyKeys)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(inv.Path, inv); err != nil {
		t.Fatal(err)
	}
	again, err := Read(inv.Path, toyKeys)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inv, again); diff != "" {
		t.Errorf("read back (-written +read):\n%s", diff)
	}
}

func TestWriteKeepsTheOldFileWhenItCannotWrite(t *testing.T) {
	t.Parallel()
	err := Write(filepath.Join(t.TempDir(), "no", "such", "dir.yaml"), &Inventory{Cluster: "c"})
	var p *say.Problem
	if !errors.As(err, &p) {
		t.Errorf("error is %v, want a problem for a person", err)
	}
}

// FuzzParse holds that no file makes the reader panic, that each refusal is
// one for people, and that what was read can be written and read again.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("cluster: &a x\ndriver: *a\n")
	f.Add("- a\n- b\n")
	f.Add("nodes:\n- {name: a, address: b, ssh: {port: 1}}\n?")
	f.Add("!!map {a: b}")
	f.Fuzz(func(t *testing.T, file string) {
		inv, err := Parse("c.yaml", []byte(file), nil)
		if err != nil {
			var p *say.Problem
			if !errors.As(err, &p) {
				t.Fatalf("%T is not for people: %v", err, err)
			}
			return
		}
		data, err := Marshal(inv)
		if err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		again, err := Parse("c.yaml", data, nil)
		if err != nil {
			t.Fatalf("cannot read what was written: %v\n%s", err, data)
		}
		if diff := cmp.Diff(inv, again); diff != "" {
			t.Fatalf("read back (-written +read):\n%s\n%s", diff, data)
		}
	})
}
