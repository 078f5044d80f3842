package gbase8a

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/cluster"
)

// brief shows an inventory line by line.
func brief(inv *cluster.Inventory) []string {
	var out []string
	for _, n := range inv.Nodes {
		out = append(out, strings.TrimSpace(n.Name+" "+n.Address+" "+n.SSH.User+" "+n.Settings[keyProfile]))
	}
	return out
}

func TestImport(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text    string
		want    []string
		wantErr string
	}{
		"gcadmin of V952": {
			text: recorded(t, "v952-gcware-1-of-3-open.txt"),
			want: []string{"coordinator1 10.0.2.102 gbase", "coordinator2 10.0.2.202 gbase", "coordinator3 10.0.2.203 gbase"},
		},
		"gcadmin of V953 behind a prompt": {
			text: "$ gcadmin\n" + recorded(t, "v953-healthy.txt"),
			want: []string{"coordinator1 192.168.6.72 gbase", "coordinator2 192.168.6.73 gbase", "coordinator3 192.168.6.74 gbase"},
		},
		"a free data node belongs to the cluster": {
			text: recorded(t, "v953-free-node.txt"),
			want: []string{"coordinator1 192.168.6.72 gbase", "coordinator2 192.168.6.73 gbase", "coordinator3 192.168.6.74 gbase", "FreeNode1 192.168.3.72 gbase"},
		},
		"several virtual clusters, each with its nodes": {
			text: recorded(t, "v953-multi-vc-root.txt") + strings.ReplaceAll(recorded(t, "v953-healthy.txt"), "|               192.168.6.7", "|               192.168.7.7"),
			want: []string{"coordinator1 192.168.6.72 gbase", "coordinator2 192.168.6.73 gbase", "coordinator3 192.168.6.74 gbase", "node1 192.168.7.73 gbase", "node2 192.168.7.72 gbase", "node3 192.168.7.74 gbase"},
		},
		"the root view of several virtual clusters alone is not enough": {
			text: recorded(t, "v953-multi-vc-root.txt"), wantErr: "shows no data node",
		},
		"one of two virtual clusters is missing": {
			text:    strings.Replace(recorded(t, "v953-multi-vc-root.txt"), "1 virtual cluster: vc1", "2 virtual cluster: vc1, vc2", 1) + recorded(t, "v953-healthy.txt"),
			wantErr: "there are 2 virtual clusters and the text shows the nodes of 1",
		},
		"half a table": {text: recorded(t, "v953-healthy.txt")[:400], wantErr: "cannot be read as gcadmin's"},
		"demo.options of V953 with an instance each": {
			text: "installPrefix= /opt/gbase\ncoordinateHost = 10.0.0.1,10.0.0.2\ndataHost = 10.0.0.2, 10.0.0.3\ngcwareHost = 10.0.0.1,10.0.0.4\ndbaUser = dba\ndbaPwd = 'x'\nsshPort = 2222\n",
			want: []string{
				"coordinator1 10.0.0.1 dba /opt/gbase/10.0.0.1/gbase_profile /opt/gbase/10.0.0.1/gcware_profile",
				"coordinator2 10.0.0.2 dba /opt/gbase/10.0.0.2/gbase_profile /opt/gbase/10.0.0.2/gcware_profile",
				"node2 10.0.0.3 dba /opt/gbase/10.0.0.3/gbase_profile",
				"gcware2 10.0.0.4 dba /opt/gbase/10.0.0.4/gcware_profile",
			},
		},
		"demo.options of an expansion names the old nodes too": {
			text: "coordinateHost = 10.0.0.9\nexistCoordinateHost = 10.0.0.1\ndataHost = 10.0.0.1\n",
			want: []string{"coordinator1 10.0.0.9 gbase", "coordinator2 10.0.0.1 gbase"},
		},
		"neither":              {text: "hello\n", wantErr: "neither gcadmin's output nor a demo.options"},
		"no coordinator":       {text: "dataHost = 10.0.0.1\n", wantErr: "names no coordinator"},
		"a port that is none":  {text: "coordinateHost = 10.0.0.1\nsshPort = ssh\n", wantErr: "is not a port"},
		"an empty file":        {text: "", wantErr: "names no coordinator"},
		"passwords stay there": {text: "coordinateHost = 10.0.0.1\ndbaPwd = secret1\n", want: []string{"coordinator1 10.0.0.1 gbase"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inv, err := Import("prod", []byte(tc.text))
			if !matches(err, tc.wantErr) {
				t.Fatalf("error %v, want %q", err, tc.wantErr)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tc.want, brief(inv)); diff != "" {
				t.Error(diff)
			}
			body, err := cluster.Marshal(inv)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(body), "secret1") {
				t.Error("a password was taken over")
			}
			again, err := cluster.Parse("prod.yaml", body, func(string) ([]cluster.Key, bool) { return settingKeys(), true })
			if err != nil {
				t.Fatalf("what was imported cannot be read: %v\n%s", err, body)
			}
			if diff := cmp.Diff(brief(inv), brief(again)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzImport(f *testing.F) {
	f.Add(recorded(f, "v953-healthy.txt"))
	f.Add("installPrefix= /opt\ncoordinateHost = 10.0.0.1\n")
	f.Fuzz(func(t *testing.T, text string) {
		inv, err := Import("prod", []byte(text))
		if err == nil && len(inv.Nodes) == 0 {
			t.Error("an inventory without nodes")
		}
	})
}
