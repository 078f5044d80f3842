package ogxml

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/say"
)

func sample(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "cm3.xml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func noCM(xml string) string {
	return regexp.MustCompile(`<PARAM name="cm[^>]*>`).ReplaceAllString(xml, "")
}

func node(i int, ssh string, cm bool) Node {
	n := Node{Name: "node" + string(rune('0'+i)), AZ: "AZ1", IP: "192.168.0." + string(rune('0'+i)), SSH: ssh, Data: "/opt/huawei/install/data/dn", Port: 15400, ID: 6000 + i, Cascade: i == 3}
	if cm {
		n.CMDir, n.CMPort, n.CMServer = "/opt/huawei/data/cmserver", 15000, true
	}
	return n
}

func TestParse(t *testing.T) {
	t.Parallel()
	want := func(cm bool) *Deployment {
		return &Deployment{Cluster: "Cluster_template", App: "/opt/huawei/install/app", Log: "/var/log/omm", Tmp: "/opt/huawei/tmp", Tools: "/opt/huawei/install/om", Core: "/opt/huawei/corefile",
			Nodes: []Node{node(1, "10.0.0.1", cm), node(2, "192.168.0.2", cm), node(3, "192.168.0.3", cm)}}
	}
	for name, tc := range map[string]struct {
		in string
		cm bool
	}{"with a cluster manager": {sample(t), true}, "without one": {noCM(sample(t)), false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := Parse("c.xml", []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want(tc.cm), d); diff != "" {
				t.Error(diff)
			}
			if d.CM() != tc.cm {
				t.Errorf("CM is %t", d.CM())
			}
		})
	}
}

func TestParseNamesThePlace(t *testing.T) {
	t.Parallel()
	x := sample(t)
	for name, tc := range map[string]struct{ in, want string }{
		"broken XML":                    {strings.Replace(x, "</CLUSTER>", "", 1), "not readable as XML"},
		"no cluster":                    {"<ROOT></ROOT>", "not a cluster file"},
		"a node without a DEVICE":       {strings.Replace(x, `"node1,node2,node3"/>`, `"node1,node2,node4"/>`, 1), "c.xml:5: nodeNames lists node4"},
		"a DEVICE that is not listed":   {strings.Replace(x, `"node1,node2,node3"/>`, `"node1,node2"/>`, 1), "c.xml:5: nodeNames lists 2 nodes"},
		"a port that is none":           {strings.Replace(x, `"15400"`, `"15400a"`, 1), `dataPortBase "15400a"`},
		"a directory too few":           {strings.Replace(x, `,node3,/opt/huawei/install/data/dn"`, `,node3"`, 1), "c.xml:23: dataNode1 must be"},
		"a node without a datanode":     {strings.Replace(x, `,node3,/opt/huawei/install/data/dn"`, `"`, 1), "node3 has no datanode"},
		"a value that stands twice":     {strings.Replace(x, `<PARAM name="dataNum" value="1"/>`, `<PARAM name="dataNum" value="1"/><PARAM name="dataNum" value="2"/>`, 1), "dataNum stands twice"},
		"several datanodes on one node": {strings.Replace(x, `"dataNum" value="1"`, `"dataNum" value="2"`, 1), "dataNum is 2"},
		"no name":                       {strings.Replace(x, `"clusterName" value="Cluster_template"`, `"clusterName" value=""`, 1), "clusterName is missing"},
		"an encoding that is not read":  {strings.Replace(x, `utf-8`, `gbk`, 1), "gbk"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("c.xml", []byte(tc.in))
			var p *say.Problem
			if !errors.As(err, &p) || !strings.Contains(err.Error(), tc.want) || p.Text.ZH == "" || p.Next.EN == "" {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestImportReadsBackFromItsFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join("testdata", "cm3.xml")
	for name, env := range map[string]string{".bashrc": "", "/home/omm/gauss_env": "/home/omm/gauss_env"} {
		inv, err := Import("opengauss", file, func(k string) string { return map[string]string{"MPPDB_ENV_SEPARATE_PATH": env}[k] })
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "cluster.yaml")
		if err := cluster.Write(out, inv); err != nil {
			t.Fatal(err)
		}
		keys := func(string) ([]cluster.Key, bool) {
			var ks []cluster.Key
			for _, k := range []string{"profile", "xml", "data", "port", "cm_dir"} {
				ks = append(ks, cluster.Key{Name: k, PerNode: true})
			}
			return ks, true
		}
		again, err := cluster.Read(out, keys)
		if err != nil {
			t.Fatal(err)
		}
		again.Path = inv.Path
		if diff := cmp.Diff(inv, again); diff != "" {
			t.Error(diff)
		}
		if inv.Settings["profile"] != name || inv.Nodes[0].SSH.Host != "10.0.0.1" || inv.Nodes[0].Settings["port"] != "15400" || inv.Nodes[2].Settings["cm_dir"] != "/opt/huawei/data/cmserver" {
			t.Errorf("%+v", inv)
		}
	}
	if _, err := Import("opengauss", filepath.Join(t.TempDir(), "none.xml"), nil); err == nil || !strings.Contains(say.Of(err).EN, "GAUSS-50201") {
		t.Errorf("a missing file: %v", err)
	}
}

const view = `NodeHeader:
version:301
time:1604000000
nodeCount:3
node:1
azName:AZ1
azPriority:1
node :1
nodeName:node1
ssh channel :
sshChannel 1:192.168.0.1
datanodeCount:1
datanode 1:
datanodeLocalDataPath :/opt/huawei/install/data/dn
datanodeXlogPath :
datanodeListenIP 1:192.168.0.1
datanodePort :15400
azName:AZ1
azPriority:1
node :2
nodeName:node2
datanodeLocalDataPath :/opt/huawei/install/data/dn
datanodeListenIP 1:192.168.0.2
datanodePort :15400
azName:AZ1
azPriority:1
node :3
nodeName:node3
datanodeLocalDataPath :/opt/huawei/install/data/dn
datanodeListenIP 1:192.168.0.3
datanodePort :15400
`

func TestCompareFindsEachChange(t *testing.T) {
	t.Parallel()
	x := sample(t)
	for name, tc := range map[string]struct {
		in, view string
		want     []string
	}{
		"nothing changed": {x, view, nil},
		"another port":    {strings.Replace(x, `"15400"`, `"15500"`, 1), view, []string{`node1 port: "15500" in the file, "15400" installed`, `node2 port: "15500" in the file, "15400" installed`, `node3 port: "15500" in the file, "15400" installed`}},
		"another dir":     {strings.Replace(x, `node2,/opt/huawei/install/data/dn`, `node2,/data/dn`, 1), view, []string{`node2 data directory: "/data/dn" in the file, "/opt/huawei/install/data/dn" installed`}},
		"another address": {strings.Replace(x, `"backIp1" value="192.168.0.3"`, `"backIp1" value="192.168.0.9"`, 1), view, []string{`node3 address: "192.168.0.9" in the file, "192.168.0.3" installed`}},
		"a node more":     {x, view[:strings.LastIndex(view, "azName")], []string{`node3 node: "there" in the file, "missing" installed`}},
		"a node less":     {x, view + "azName:AZ1\nnode :4\nnodeName:node4\n", []string{`node4 node: "missing" in the file, "there" installed`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := Parse("c.xml", []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			old, err := ParseView(tc.view)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, diff := range Compare(d, old) {
				got = append(got, diff.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Add(noCM(sample(f)))
	f.Add(view)
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := Parse("x", []byte(s)); err == nil {
			if len(Compare(d, d)) != 0 {
				t.Error("a deployment differs from itself")
			}
			if inv := d.Inventory("opengauss", "x", ""); len(inv.Nodes) != len(d.Nodes) || len(inv.Nodes) == 0 {
				t.Error("nodes are lost")
			}
		}
		_, _ = ParseView(s)
	})
}
