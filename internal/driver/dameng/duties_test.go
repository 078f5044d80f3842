package dameng

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDuties is the table of spec/dameng.md 2.3: of several formats the
// strictest duty wins (DM-076).
func TestDuties(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		topo   Topology
		epochs string
		want   string
	}{
		"no format":                         {DW, "", "exit"},
		"the log version of DM7":            {DW, "E0", "exit open equal archives magic dance last"},
		"the redo log":                      {DW, "E1", "exit open equal archives magic dance last history"},
		"the redo log on DSC members":       {DWDSC, "E1", "exit open nodes equal archives magic dance last history"},
		"the rollback segment":              {DW, "E2", "exit open valid banned"},
		"the rollback segment, DSC members": {DWDSC, "E2", "exit open nodes valid banned"},
		"the page format":                   {DW, "E3", "exit open valid"},
		"the page format, DSC members":      {DWDSC, "E3", "exit open nodes equal archives valid banned"},
		"all three":                         {DW, "E1 E2 E3", "exit open equal archives magic dance last history valid banned"},
		"all three, DSC members":            {DWDSC, "E1 E2 E3", "exit open nodes equal archives magic dance last history valid banned"},
		"DSC alone":                         {DSC, "E1", "exit open nodes archives history"},
		"a single node":                     {Single, "E1 E2", "exit open archives history banned"},
		"MAIN alone":                        {DW, "E4", "exit"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := DutiesOf(tc.topo, strings.Fields(tc.epochs))
			var got []string
			for _, w := range []struct {
				word string
				on   bool
			}{
				{"exit", d.CleanExit}, {"open", d.AllOpen}, {"nodes", d.NodesWell}, {"equal", d.Consistent}, {"archives", d.MoveArchives}, {"magic", d.MagicDiffers},
				{"dance", d.ModeDance}, {"last", d.WatchersLast}, {"history", d.OpenHistory}, {"valid", d.ArchiveValid}, {"banned", d.OldBanned},
			} {
				if w.on {
					got = append(got, w.word)
				}
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
