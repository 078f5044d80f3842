package gaussdb

import (
	"regexp"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Setting is the value of one parameter in one instance's postgresql.conf, as
// gs_guc check tells it. What a running server uses may differ: ask with show.
type Setting struct {
	Node  string
	Name  string
	Value string // without the quotes; empty when Set is false
	Set   bool   // the file sets it; gs_guc writes NULL when not
	File  string
}

var gucRow = regexp.MustCompile(`(?m)^gs_guc check: ([^:]+): ([A-Za-z0-9_.]+)=(.*): \[(.*)\]\s*$`)

// ParseGucCheck reads gs_guc check, of one instance or of all.
func ParseGucCheck(out string) ([]Setting, error) {
	var all []Setting
	for _, m := range gucRow.FindAllStringSubmatch(out, -1) {
		s := Setting{Node: m[1], Name: m[2], File: m[4]}
		if m[3] != "NULL" {
			s.Set, s.Value = true, Unquote(m[3])
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, say.Errorf("gs_guc check told no value: %q", "gs_guc check 未给出取值：%q", clip(gucTrouble(out)))
	}
	return all, nil
}

// GucFailed returns what gs_guc complained of, or "" when it says that every
// instance was served. It is no proof that a server took the value: ask with show.
func GucFailed(out string) string {
	if strings.Contains(out, "Failed instances: 0.") && strings.Contains(out, "Success to perform gs_guc!") {
		return ""
	}
	return clip(gucTrouble(out))
}

// gucTrouble keeps the lines that say what went wrong.
func gucTrouble(out string) string {
	var keep []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "ERROR:") || strings.Contains(line, "Fail") || strings.Contains(line, "not exist") {
			keep = append(keep, line)
		}
	}
	if len(keep) == 0 {
		return out
	}
	return strings.Join(keep, " ")
}

// Unquote takes the quotes of postgresql.conf off a value.
func Unquote(v string) string {
	v = strings.TrimSpace(v)
	if len(v) >= 2 && v[0] == '\'' && v[len(v)-1] == '\'' {
		v = v[1 : len(v)-1]
		v = strings.ReplaceAll(v, "''", "'")
		return strings.ReplaceAll(v, `\'`, "'")
	}
	return v
}
