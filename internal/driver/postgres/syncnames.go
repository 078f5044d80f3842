package postgres

import (
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// syncNames is a parsed synchronous_standby_names (PostgreSQL manual 20.6.2):
// "", "a, b", "2 (a, b)", "FIRST 2 (a, b)" or "ANY 2 (a, b)"; a name may be
// quoted, "*" stands for every standby.
type syncNames struct {
	method string // "", "FIRST" or "ANY": as it was written
	num    int    // how many must confirm; 1 for the plain list
	paren  bool   // written with parentheses
	names  []string
}

// off reports whether commits wait for nobody.
func (s syncNames) off() bool { return len(s.names) == 0 }

// matches reports whether a standby of that application_name may be synchronous.
// The server compares without regard to case (pg_strcasecmp).
func (s syncNames) matches(name string) bool {
	return slices.ContainsFunc(s.names, func(n string) bool { return n == "*" || strings.EqualFold(n, name) })
}

// lists reports whether the name itself stands in the list.
func (s syncNames) lists(name string) bool {
	return slices.ContainsFunc(s.names, func(n string) bool { return strings.EqualFold(n, name) })
}

// relaxed is what commits may still wait for while only the standbys in here
// stream: the same list with the number lowered to those that are left, or
// nothing at all when none is. It never asks for more than s does.
func (s syncNames) relaxed(here []string) syncNames {
	left := 0
	for _, h := range here {
		if s.matches(h) {
			left++
		}
	}
	if left >= s.num {
		return s
	}
	if left == 0 {
		return syncNames{}
	}
	s.num = left
	return s.explicit()
}

// renamed is s with one standby's name put in the place of another's: after
// the switch the old primary stands where the new one stood.
func (s syncNames) renamed(from, to string) syncNames {
	if !s.lists(from) || s.lists(to) {
		return s
	}
	s.names = slices.Clone(s.names)
	for i, n := range s.names {
		if strings.EqualFold(n, from) {
			s.names[i] = to
		}
	}
	return s
}

// explicit writes the number out: "a, b" means FIRST 1 (a, b).
func (s syncNames) explicit() syncNames {
	if !s.paren {
		s.paren, s.method = true, "FIRST"
	}
	return s
}

func (s syncNames) String() string {
	if s.off() {
		return ""
	}
	quoted := make([]string, len(s.names))
	for i, n := range s.names {
		quoted[i] = quoteSyncName(n)
	}
	list := strings.Join(quoted, ", ")
	if !s.paren {
		return list
	}
	head := strconv.Itoa(s.num) + " (" + list + ")"
	if s.method != "" {
		head = s.method + " " + head
	}
	return head
}

func quoteSyncName(n string) string {
	if n == "*" {
		return n
	}
	plain := n != "" && !digit(n[0]) && n[0] != '$' && !strings.EqualFold(n, "first") && !strings.EqualFold(n, "any")
	for i := 0; i < len(n); i++ {
		plain = plain && identifierByte(n[i])
	}
	if plain {
		return n
	}
	return `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func identifierByte(c byte) bool {
	return digit(c) || c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// parseSyncNames reads the setting as syncrep_gram.y does.
func parseSyncNames(s string) (syncNames, error) {
	toks, err := syncTokens(s)
	if err != nil {
		return syncNames{}, err
	}
	if len(toks) == 0 {
		return syncNames{}, nil
	}
	out := syncNames{num: 1}
	rest := toks
	if up := strings.ToUpper(toks[0].text); toks[0].bare && (up == "FIRST" || up == "ANY") && len(toks) > 1 && toks[1].number() {
		out.method, rest = up, toks[1:]
	}
	if rest[0].number() && len(rest) > 1 && rest[1].is("(") {
		out.num, _ = strconv.Atoi(rest[0].text)
		if out.num < 1 || !rest[len(rest)-1].is(")") {
			return syncNames{}, say.Errorf("synchronous_standby_names %q: the list in parentheses is not whole", "synchronous_standby_names %q：括号中的列表不完整", s)
		}
		out.paren, rest = true, rest[2:len(rest)-1]
	} else if out.method != "" {
		return syncNames{}, say.Errorf("synchronous_standby_names %q: no list behind %s", "synchronous_standby_names %q：%s 后面没有列表", s, out.method)
	}
	out.names, err = nameList(s, rest)
	return out, err
}

// nameList reads names with commas between them.
func nameList(s string, rest []syncToken) (names []string, err error) {
	for i, t := range rest {
		if i%2 == 1 {
			if !t.is(",") {
				return nil, say.Errorf("synchronous_standby_names %q: comma expected before %q", "synchronous_standby_names %q：%q 之前应有逗号", s, t.text)
			}
			continue
		}
		if t.mark() {
			return nil, say.Errorf("synchronous_standby_names %q: name expected, found %q", "synchronous_standby_names %q：应为名称，实为 %q", s, t.text)
		}
		names = append(names, t.text)
	}
	if len(rest)%2 == 0 {
		return nil, say.Errorf("synchronous_standby_names %q: a name is missing", "synchronous_standby_names %q：缺少名称", s)
	}
	return names, nil
}

type syncToken struct {
	text string
	bare bool // not in quotes
}

func (t syncToken) is(s string) bool { return t.bare && t.text == s }
func (t syncToken) mark() bool       { return t.is("(") || t.is(")") || t.is(",") }
func (t syncToken) number() bool {
	_, err := strconv.ParseUint(t.text, 10, 31)
	return t.bare && err == nil
}

func syncTokens(s string) ([]syncToken, error) {
	var out []syncToken
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case blank(c):
			i++
		case c == '(' || c == ')' || c == ',' || c == '*':
			out = append(out, syncToken{string(c), true})
			i++
		case c == '"':
			name, n, ok := quotedSyncName(s[i:])
			if !ok {
				return nil, say.Errorf("synchronous_standby_names %q: a quote is not closed", "synchronous_standby_names %q：引号未闭合", s)
			}
			out, i = append(out, syncToken{name, false}), i+n
		case identifierByte(c):
			from := i
			for i < len(s) && identifierByte(s[i]) {
				i++
			}
			out = append(out, syncToken{s[from:i], true})
		default:
			return nil, say.Errorf("synchronous_standby_names %q: unexpected %q", "synchronous_standby_names %q：意外的 %q", s, c)
		}
	}
	return out, nil
}

func quotedSyncName(s string) (name string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), i + 1, true
	}
	return "", 0, false
}
