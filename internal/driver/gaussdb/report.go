package gaussdb

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// OSItem is one line of gs_checkos.
type OSItem struct {
	ID     string // A1…
	Name   string
	Status string // Normal, Warning, Abnormal
}

var osItem = regexp.MustCompile(`^\s*(A\d+)\.\s*\[\s*(.*?)\s*\]\s*:\s*(\w+)`)

// ParseCheckOS reads gs_checkos -i A, whose exit status is always 0.
func ParseCheckOS(out string) ([]OSItem, error) {
	var items []OSItem
	for line := range strings.Lines(out) {
		if m := osItem.FindStringSubmatch(line); m != nil {
			items = append(items, OSItem{m[1], m[2], m[3]})
		}
	}
	if len(items) == 0 {
		return nil, say.Errorf("gs_checkos told no item: %q", "gs_checkos 未给出任何检查项：%q", clip(out))
	}
	return items, nil
}

// SSHResult is what gs_ssh, or pssh below it, reached. Its exit status is 0
// also when nothing worked.
type SSHResult struct {
	Good, Bad []string
}

var sshLine = regexp.MustCompile(`^\[(SUCCESS|FAILURE)\] ([^:\s]+):`)

// ParseSSH reads gs_ssh -c.
func ParseSSH(out string) (SSHResult, error) {
	var r SSHResult
	for line := range strings.Lines(out) {
		m := sshLine.FindStringSubmatch(line)
		switch {
		case m == nil:
		case m[1] == "SUCCESS":
			r.Good = append(r.Good, m[2])
		default:
			r.Bad = append(r.Bad, m[2])
		}
	}
	if len(r.Good)+len(r.Bad) == 0 {
		return r, say.Errorf("gs_ssh reached no node: %q", "gs_ssh 未到达任何节点：%q", clip(out))
	}
	return r, nil
}

// Disk is one line of df -Pk.
type Disk struct {
	SizeKB, UsedKB, FreeKB int64
	Percent                int
	Mount                  string
}

// ParseDF reads df -Pk of one path.
func ParseDF(out string) (Disk, error) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	f := strings.Fields(lines[len(lines)-1])
	if len(lines) < 2 || len(f) < 6 {
		return Disk{}, say.Errorf("df said %q", "df 的输出为 %q", clip(out))
	}
	var d Disk
	var errs [3]error
	d.SizeKB, errs[0] = strconv.ParseInt(f[1], 10, 64)
	d.UsedKB, errs[1] = strconv.ParseInt(f[2], 10, 64)
	d.FreeKB, errs[2] = strconv.ParseInt(f[3], 10, 64)
	for _, err := range errs {
		if err != nil {
			return Disk{}, say.Errorf("df said %q", "df 的输出为 %q", clip(out))
		}
	}
	var err error
	if d.Percent, err = strconv.Atoi(strings.TrimSuffix(f[4], "%")); err != nil {
		return Disk{}, say.Errorf("df said %q", "df 的输出为 %q", clip(out))
	}
	d.Mount = strings.Join(f[5:], " ")
	return d, nil
}
