package mogdb

import (
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/driver/gaussdb"
)

// TestAStandbyThatNeedsRepairIsLeftToAPerson: gs_ctl build throws its copy away,
// so it is named and never done (M22).
func TestAStandbyThatNeedsRepairIsLeftToAPerson(t *testing.T) {
	t.Parallel()
	h := gaussdb.HA{Process: gaussdb.Running, Role: "Standby", State: gaussdb.StateNeedRepair, Detail: "WAL segment removed"}
	if text := stateText("db2", h); !strings.Contains(text.EN, "gs_ctl build -D DATA") || !strings.Contains(text.ZH, "M22") || text.EN == text.ZH {
		t.Errorf("%+v", text)
	}
	h.State = gaussdb.StateNormal
	if text := stateText("db2", h); strings.Contains(text.EN, "gs_ctl build") {
		t.Errorf("a standby that is well is to be copied anew: %+v", text)
	}
}
