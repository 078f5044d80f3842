package damengini

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/cluster"
)

const dmIni = `#DaMeng Database Server Configuration file
CTL_PATH        = /dm8/data/DAMENG/dm.ctl                 #ctl file path
CONFIG_PATH = /dm8/data/DAMENG
	INSTANCE_NAME		= GRP1_RT_01 	#Instance name
	PORT_NUM 		= 5236
	ALTER_MODE_STATUS	= 0   #whether SQL may alter mode
	FAST_POOL_PAGES = 3000#0
`

func TestParse(t *testing.T) {
	t.Parallel()
	f, err := Parse("dm.ini", []byte(dmIni))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"INSTANCE_NAME": "GRP1_RT_01", "port_num": "5236", "ALTER_MODE_STATUS": "0",
		"CTL_PATH": "/dm8/data/DAMENG/dm.ctl", "FAST_POOL_PAGES": "3000#0", "NOTHING": "",
	} {
		if got := f.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestSetKeepsEverythingElse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, key, value, want string }{
		"a value with a comment": {"A = 1 #one\nB=2\n", "A", "10", "A = 10 #one\nB=2\n"},
		"without blanks":         {"A=1\nB=2", "b", "3", "A=1\nB=3"},
		"a value that is a part": {"A1 = 1 #1\n", "A1", "0", "A1 = 0 #1\n"},
		"no value yet":           {"A = #none\n", "A", "1", "A = 1 #none\n"},
		"a key that is missing":  {"A = 1", "B", "2", "A = 1\nB = 2\n"},
		"before a heading":       {"A = 1\n[X]\nB = 3\n", "B", "2", "A = 1\nB = 2\n[X]\nB = 3\n"},
		"a comment is no key":    {"#A = 1\n", "A", "2", "#A = 1\nA = 2\n"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := Parse("x", []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(f.Set(tc.key, tc.value))); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestParseNamesTheLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"A = 1\nnonsense\n": "dm.ini:2:", "[\n": "dm.ini:1:", "A B = 1": "dm.ini:1:", "= 1": "dm.ini:1:",
	} {
		if _, err := Parse("dm.ini", []byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", in, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{dmIni, "[MAL_INST1]\nMAL_HOST = 10.0.0.1\n", "A = #\n[x]", "\ufeffA=1", "A=1\r\n[B]\r\nC=2"} {
		f.Add([]byte(s), "A", "7")
	}
	f.Fuzz(func(t *testing.T, text []byte, key, value string) {
		file, err := Parse("dm.ini", text)
		if err != nil {
			return
		}
		if k, v, ok := cutKey(key + "=" + value); !ok || k != key || v != value || value == "" || strings.ContainsAny(key+value, "\n\r[];") || strings.ContainsAny(key[:1], "#;") {
			return
		}
		again, err := Parse("dm.ini", file.Set(key, value))
		if err != nil {
			t.Fatalf("what Set wrote cannot be read: %v", err)
		}
		if got := again.Get(key); got != value {
			t.Fatalf("Set(%q, %q) reads back %q in %q", key, value, got, file.Set(key, value))
		}
		if !bytes.Equal([]byte(strings.Join(file.lines, "")), bytes.TrimPrefix(text, []byte("\ufeff"))) {
			t.Fatal("the lines are not the file")
		}
	})
}

const mal = `MAL_CHECK_INTERVAL = 5
[MAL_INST1]
MAL_INST_NAME = GRP1_RT_01
MAL_HOST = 192.168.1.1
MAL_PORT = 5336
MAL_INST_HOST = 10.0.0.1
MAL_INST_PORT = 5236
MAL_DW_PORT = 5436
[MAL_INST2]
MAL_INST_NAME = GRP1_RT_02
MAL_HOST = 192.168.1.2
MAL_INST_HOST = 10.0.0.2
MAL_INST_PORT = 5237
`

const watcher = `[GRP1]
DW_TYPE = GLOBAL
INST_OGUID = 45331
INST_INI = /dm8/data/DAMENG/dm.ini
INST_AUTO_RESTART = 1
INST_STARTUP_CMD = /opt/dm8/bin/dmserver
`

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestImportDataWatch(t *testing.T) {
	t.Parallel()
	dir := fstest.MapFS{
		"a/dm.ini": file(dmIni), "a/dmmal.ini": file(mal), "a/dmwatcher.ini": file(watcher),
		"a/DmServiceGRP1_A.service": file(""), "a/DmWatcherServiceW1.service": file(""),
		"b/dm.ini": file(strings.ReplaceAll(strings.ReplaceAll(dmIni, "RT_01", "RT_02"), "5236", "5237")), "b/dmwatcher.ini": file(watcher),
		"b/dmmonitor.ini": file("MON_DW_CONFIRM = 1\n[GRP1]\nMON_INST_OGUID = 45331\n"),
	}
	inv, supposed, err := Import(dir, "prod")
	if err != nil || len(supposed) > 0 {
		t.Fatal(err, supposed)
	}
	want := []cluster.Node{
		{Name: "a", Address: "10.0.0.1", Transport: "ssh", StateDir: ".shiplift/prod/a", Settings: cluster.Settings{
			"instance": "GRP1_RT_01", "port": "5236", "ini": "/dm8/data/DAMENG/dm.ini", "home": "/opt/dm8", "group": "GRP1", "oguid": "45331",
			"watcher_ini": "/dm8/data/DAMENG/dmwatcher.ini", "server_service": "DmServiceGRP1_A", "watcher_service": "DmWatcherServiceW1",
		}},
		{Name: "b", Address: "10.0.0.2", Transport: "ssh", StateDir: ".shiplift/prod/b", Settings: cluster.Settings{
			"instance": "GRP1_RT_02", "port": "5237", "ini": "/dm8/data/DAMENG/dm.ini", "home": "/opt/dm8", "group": "GRP1", "oguid": "45331",
			"watcher_ini": "/dm8/data/DAMENG/dmwatcher.ini", "monitor_ini": "/dm8/data/DAMENG/dmmonitor.ini",
			"server_service": "DmServiceGRP1_RT_02", "watcher_service": "DmWatcherServiceGRP1_RT_02", "monitor_service": "DmMonitorServiceGRP1_RT_02",
		}},
	}
	if diff := cmp.Diff(want, inv.Nodes); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(cluster.Settings{"group": "GRP1", "oguid": "45331"}, inv.Settings); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestImportSupposesNodesOfSharedFiles(t *testing.T) {
	t.Parallel()
	inv, supposed, err := Import(fstest.MapFS{"dm.ini": file(dmIni), "dmmal.ini": file(mal), "dmwatcher.ini": file(watcher)}, "prod")
	if err != nil {
		t.Fatal(err)
	}
	if len(supposed) != 1 || !strings.Contains(supposed[0].EN, "GRP1_RT_02") || supposed[0].ZH == "" {
		t.Errorf("supposed %v", supposed)
	}
	if n, ok := inv.Node("grp1_rt_02"); !ok || n.Address != "10.0.0.2" || n.Settings["port"] != "5237" || n.Settings["home"] != "/opt/dm8" {
		t.Errorf("second node %+v", n)
	}
}

func TestImportDSC(t *testing.T) {
	t.Parallel()
	cfg := `DCR_N_GRP = 3
DCR_OGUID = 63635
DCR_VTD_PATH = /dev/asm-vtd
[GRP]
DCR_GRP_TYPE = CSS
DCR_GRP_NAME = GRP_CSS
[GRP]
DCR_GRP_TYPE = ASM
DCR_GRP_NAME = GRP_ASM
[GRP]
DCR_GRP_TYPE = DB
DCR_GRP_NAME = GRP_DSC
[GRP_CSS]
DCR_EP_NAME = CSS0
[GRP_DSC]
DCR_EP_NAME = DSC0
DCR_EP_SEQNO = 0
DCR_EP_PORT = 5236
DCR_EP_HOST = 10.0.0.1
[GRP_DSC]
DCR_EP_NAME = DSC1
DCR_EP_SEQNO = 1
DCR_EP_PORT = 5236
DCR_EP_HOST = 10.0.0.2
`
	inv, _, err := Import(fstest.MapFS{
		"n0/dm.ini": file("INSTANCE_NAME = DSC0\nCONFIG_PATH = /dm/dsc0\nSYSTEM_PATH = +DMDATA/data/dsc\n"), "n0/dmdcr_cfg.ini": file(cfg), "n0/dmdcr.ini": file("DMDCR_PATH = /dev/asm-dcr\nDMDCR_SEQNO = 0\n"),
		"n1/dm.ini": file("INSTANCE_NAME = DSC1\nCONFIG_PATH = /dm/dsc1\n"), "n1/dmdcr.ini": file("DMDCR_PATH = /dev/asm-dcr\nDMDCR_SEQNO = 1\n"),
	}, "rac")
	if err != nil {
		t.Fatal(err)
	}
	want := cluster.Settings{
		"member": "GRP_DSC", "db_group": "GRP_DSC", "vote_disk": "/dev/asm-vtd", "seqno": "1", "instance": "DSC1", "port": "5236", "ini": "/dm/dsc1/dm.ini", "home": "/opt/dmdbms", "dcr_ini": "/dm/dsc1/dmdcr.ini",
		"dcr_disk": "/dev/asm-dcr", "asm_group": "GRP_ASM", "server_service": "DmServiceDSC1", "css_service": "DmCSSServiceDSC1", "asm_service": "DmASMSvrServiceDSC1",
	}
	if diff := cmp.Diff(want, inv.Nodes[1].Settings); diff != "" || inv.Nodes[1].Address != "10.0.0.2" {
		t.Errorf("%s -want +got\n%s", inv.Nodes[1].Address, diff)
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		dir  fstest.MapFS
		want string
	}{
		"an empty directory":       {fstest.MapFS{"x.txt": file("")}, "no dm.ini"},
		"a file that is no ini":    {fstest.MapFS{"a/dm.ini": file("hello\n")}, "a/dm.ini:1"},
		"an instance without name": {fstest.MapFS{"a/dm.ini": file("PORT_NUM = 1\n")}, "INSTANCE_NAME"},
		"one instance twice":       {fstest.MapFS{"a/dm.ini": file(dmIni), "b/dm.ini": file(dmIni)}, "also that of a"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := Import(tc.dir, "x"); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
