package view

import (
	"fmt"
	"time"
)

// Short tells a duration as a person would: "0.3s", "12s", "4m05s", "2h10m".
func Short(d time.Duration) string {
	switch {
	case d <= 0:
		return "0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

// about is Short for estimates, which are never exact.
func about(d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	if d < time.Second {
		return "<1s"
	}
	if d < 10*time.Second {
		return fmt.Sprintf("~%ds", int(d.Round(time.Second).Seconds()))
	}
	return "~" + Short(d)
}
