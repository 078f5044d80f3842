package collect_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/collect"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/drivertest"
	"github.com/shiplift/shiplift/internal/driver/opengauss"
	"github.com/shiplift/shiplift/internal/lab/gauss"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

func TestMask(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ssl_key_passphrase = 'geheim'":                     "ssl_key_passphrase = ***",
		"primary_conninfo = 'host=a password=abc port=1'":   "primary_conninfo = 'host=a password=*** port=1'",
		`LOG: statement: CREATE USER u PASSWORD 'it''s x';`: `LOG: statement: CREATE USER u PASSWORD ***;`,
		`alter role u identified by "Secret@1" replace 'o'`: `alter role u identified by *** replace ***`,
		"postgresql://u:pw@h/db":                            "postgresql://u:***@h/db",
		"ldapbindpasswd=x host":                             "ldapbindpasswd=*** host",
		`{"password":"x","a":1}`:                            `{"password":***,"a":1}`,
		"max_connections = 200":                             "max_connections = 200",
		"password_encryption_type = 1":                      "password_encryption_type = 1",
	} {
		if got := string(collect.Mask([]byte(in))); got != want {
			t.Errorf("%s\n  becomes %s\n  want    %s", in, got, want)
		}
	}
}

// gather collects from a simulated cluster and returns the members.
func gather(t *testing.T, d driver.Driver, env driver.Env, r collect.Request) (map[string]string, []collect.Node) {
	t.Helper()
	var b bytes.Buffer
	nodes, err := collect.Gather(t.Context(), env, d, r, "collector_x", &b)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]string{}
	for a := tar.NewReader(z); ; {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			return members, nodes
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(a)
		if err != nil {
			t.Fatal(err)
		}
		members[strings.TrimPrefix(h.Name, "collector_x/")] = string(body)
	}
}

func TestOpenGauss(t *testing.T) {
	t.Parallel()
	w := sim.New(1)
	l, err := gauss.New(w, gauss.Options{CM: true, Load: true})
	if err != nil {
		t.Fatal(err)
	}
	const logs = "/var/log/omm/omm"
	write := func(node, name, body string) {
		w.With(func() { w.Machine(node).Write(name, body, 0o600, "omm") })
	}
	begin := w.Now().Add(time.Hour)
	write("node1", logs+"/pg_log/dn_6001/postgresql-2020-01-01_000000.log", "too old\n")
	_ = w.Sleep(t.Context(), 2*time.Hour)
	end := w.Now().Add(time.Hour)
	stamp := func(at time.Time) string { return at.Format("2006-01-02_150405") }
	write("node1", logs+"/pg_log/dn_6001/postgresql-"+stamp(w.Now())+".log", "LOG: create user u password 'Geheim@1'\n")
	write("node1", logs+"/cm/cm_agent/key.pem", "a key\n")
	write("node2", logs+"/om/gs_om-"+stamp(end.Add(time.Hour))+".log", "begun later\n")
	w.Inject(sim.Fault{Kind: sim.NodeDown, Node: "node3", Command: w.Commands() + 1, For: time.Hour})
	env := driver.Env{Hosts: l.Hosts(), Inventory: l.Inventory(), Clock: w, Serial: true}
	got, nodes := gather(t, opengauss.New(), env, collect.Request{
		Begin: begin, End: end, Own: []collect.File{{Name: "journal/1.jsonl", Data: []byte("{}\n")}},
		Hide: func(s string) string { return strings.ReplaceAll(s, "192.168.0.2", "<hidden>") },
	})
	want := []string{
		"Summary.log", "Detail.log", "journal/1.jsonl",
		"node1/logfiles" + logs + "/pg_log/dn_6001/postgresql-" + stamp(end.Add(-time.Hour)) + ".log",
		"node1/configfiles/opt/huawei/install/data/dn/postgresql.conf", "node1/configfiles/opt/huawei/data/cm/cm_agent/cm_agent.conf",
		"node1/systemfiles/gs_ctl-query.txt", "node1/systemfiles/cm_ctl-query.txt", "node2/systemfiles/gs_om-status.txt", "node2/systemfiles/pg_controldata.txt",
	}
	for _, name := range want {
		if got[name] == "" {
			t.Errorf("%s is not there", name)
		}
	}
	for name, body := range got {
		for _, never := range []string{"too old", "begun later", "Geheim", "a key", "192.168.0.2"} {
			if strings.Contains(body, never) {
				t.Errorf("%s holds %q", name, never)
			}
		}
		if strings.HasPrefix(name, "node3/") {
			t.Errorf("%s of a node that is down", name)
		}
	}
	if !strings.Contains(got["node1/systemfiles/gs_ctl-query.txt"], "local_role") || !strings.Contains(got["Summary.log"], "node3  0 files") {
		t.Errorf("%s\n%s", got["node1/systemfiles/gs_ctl-query.txt"], got["Summary.log"])
	}
	var troubled []string
	for _, n := range nodes {
		if n.Trouble != "" {
			troubled = append(troubled, n.Name)
		}
	}
	if diff := cmp.Diff([]string{"node3"}, troubled); diff != "" {
		t.Error(diff)
	}
	if c := w.Complaints(); len(c) > 0 {
		t.Errorf("the simulator complains: %s", strings.Join(c, "; "))
	}
}

// TestADriverThatSaysNothing still gives the journals.
func TestADriverThatSaysNothing(t *testing.T) {
	t.Parallel()
	inv, hosts := drivertest.ToyCluster(2, "1.0")
	got, nodes := gather(t, drivertest.Toy{}, driver.Env{Hosts: hosts, Inventory: inv, Clock: sim.New(1)}, collect.Request{Own: []collect.File{{Name: "journal/1.jsonl", Data: []byte("{}\n")}}})
	if got["journal/1.jsonl"] == "" || len(nodes) > 0 || !strings.Contains(got["Detail.log"], "journals only") {
		t.Errorf("%v %v", got, nodes)
	}
}
