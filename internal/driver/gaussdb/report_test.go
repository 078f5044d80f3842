package gaussdb

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const checkos = `Checking items:
    A1. [ OS version status ]                                   : Normal
    A12.[ Time consistency status ]                             : Warning
    A14.[ THP service status ]                                  : Abnormal
Total numbers:3. Abnormal numbers:1. Warning number:1.
`

func TestReports(t *testing.T) {
	t.Parallel()
	items, err := ParseCheckOS(checkos)
	want := []OSItem{{"A1", "OS version status", "Normal"}, {"A12", "Time consistency status", "Warning"}, {"A14", "THP service status", "Abnormal"}}
	if diff := cmp.Diff(want, items); diff != "" || err != nil {
		t.Error(diff, err)
	}
	ssh, err := ParseSSH("Failed to execute command on node2 .\nSuccessfully execute command on node1 .\n\nOutput:\n[SUCCESS] node1:\nx\n[FAILURE] node2:\nssh: no route\n")
	if diff := cmp.Diff(SSHResult{Good: []string{"node1"}, Bad: []string{"node2"}}, ssh); diff != "" || err != nil {
		t.Error(diff, err)
	}
	df, err := ParseDF("Filesystem     1024-blocks     Used Available Capacity Mounted on\n/dev/sda1        104857600 31457280  73400320      31% /data dir\n")
	if diff := cmp.Diff(Disk{104857600, 31457280, 73400320, 31, "/data dir"}, df); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, bad := range []string{"", "x", "Filesystem\n/dev a b c d /"} {
		if _, err := ParseDF(bad); err == nil {
			t.Errorf("df: %q was read", bad)
		}
	}
}

func FuzzReports(f *testing.F) {
	f.Add(checkos)
	f.Add("[SUCCESS] node1:\n")
	f.Add("Filesystem 1 2\n/dev/sda1 1 2 3 4% /\n")
	f.Fuzz(func(t *testing.T, s string) {
		if items, err := ParseCheckOS(s); err == nil && len(items) == 0 {
			t.Error("no items and no error")
		}
		_, _ = ParseSSH(s)
		_, _ = ParseDF(s)
	})
}
