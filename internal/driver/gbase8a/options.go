package gbase8a

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Option is one line "key = value" of a demo.options file.
type Option struct {
	Key, Value string
	Commented  bool // "#key = value": not active
	Line       int
}

// optionKeys are the keys of demo.options (spec section 6).
var optionKeys = []string{
	"installPrefix", "coordinateHost", "coordinateHostNodeID", "dataHost", "existCoordinateHost", "existDataHost",
	"existGcwareHost", "gcwareHost", "gcwareHostNodeID", "dbaUser", "dbaGroup", "dbaPwd", "rootPwd", "rootPwdFile",
	"characterSet", "sshPort",
}

// ParseOptions reads a demo.options file. Blanks around "=" are legal, quotes
// around a value are taken away, an unknown key is an error with its line.
func ParseOptions(text string) ([]Option, error) {
	var opts []Option
	for n, line := range splitLines(text) {
		l := strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
		if l == "" {
			continue
		}
		commented := strings.HasPrefix(l, "#")
		key, value, found := strings.Cut(strings.TrimLeft(l, "# \t"), "=")
		key = strings.TrimSpace(key)
		known := slices.Contains(optionKeys, key)
		switch {
		case commented && !known:
			continue // a remark
		case !found || key == "":
			return nil, say.Errorf("demo.options line %d: want \"key = value\"", "demo.options 第 %d 行：应为 “key = value”", n+1)
		case !known:
			return nil, say.Errorf("demo.options line %d: unknown key %q", "demo.options 第 %d 行：未知的键 %q", n+1, key)
		}
		opts = append(opts, Option{key, unquote(strings.TrimSpace(value)), commented, n + 1})
	}
	seen := map[string]int{}
	for _, o := range opts {
		if o.Commented {
			continue
		}
		if first := seen[o.Key]; first != 0 {
			return nil, say.Errorf("demo.options line %d: %s stands already in line %d", "demo.options 第 %d 行：%s 已出现在第 %d 行", o.Line, o.Key, first)
		}
		seen[o.Key] = o.Line
	}
	return opts, nil
}

func unquote(v string) string {
	if len(v) >= 2 && (v[0] == '\'' || v[0] == '"') && v[len(v)-1] == v[0] {
		return v[1 : len(v)-1]
	}
	return v
}

// optionValue returns an active option; empty when there is none.
func optionValue(opts []Option, key string) string {
	for _, o := range opts {
		if o.Key == key && !o.Commented {
			return o.Value
		}
	}
	return ""
}

// hostList splits a list of hosts as demo.options writes it.
func hostList(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == ';' })
}

// Layout is what demo.options must say for an upgrade (G21).
type Layout struct {
	Prefix       string
	Coordinators []string
	Data         []string
	Gcware       []string // empty on V952
	DBAUser      string
	DBAGroup     string
	DBAPassword  string
	RootPassword string // empty: the line is left out
	CharacterSet string
	SSHPort      string
}

// Render writes demo.options for an upgrade: every existing node is named and
// no exist* key is active, since those are for an expansion.
func (l Layout) Render() string {
	var b strings.Builder
	put := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s = %s\n", key, value)
		}
	}
	put("installPrefix", l.Prefix)
	put("coordinateHost", strings.Join(l.Coordinators, ","))
	put("dataHost", strings.Join(l.Data, ","))
	put("gcwareHost", strings.Join(l.Gcware, ","))
	put("dbaUser", l.DBAUser)
	put("dbaGroup", l.DBAGroup)
	if l.DBAPassword != "" {
		fmt.Fprintf(&b, "dbaPwd = '%s'\n", l.DBAPassword)
	}
	if l.RootPassword != "" {
		fmt.Fprintf(&b, "rootPwd = '%s'\n", l.RootPassword)
	}
	put("characterSet", l.CharacterSet)
	put("sshPort", l.SSHPort)
	return b.String()
}

// Differs says in which host sets the options and the layout differ; empty when they agree (G21).
func (l Layout) Differs(opts []Option) []string {
	var diffs []string
	same := func(key string, want []string) {
		got := hostList(optionValue(opts, key))
		slices.Sort(got)
		want = slices.Sorted(slices.Values(want))
		if !slices.Equal(got, want) {
			diffs = append(diffs, fmt.Sprintf("%s has %s, the cluster has %s", key, orNone(got), orNone(want)))
		}
	}
	same("coordinateHost", l.Coordinators)
	same("dataHost", l.Data)
	same("gcwareHost", l.Gcware)
	for _, key := range []string{"existCoordinateHost", "existDataHost", "existGcwareHost"} {
		if optionValue(opts, key) != "" {
			diffs = append(diffs, key+" is active; it is for an expansion and must be commented out")
		}
	}
	return diffs
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ",")
}
