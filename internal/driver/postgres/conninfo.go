package postgres

import (
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// A conninfo is libpq's keyword/value connection string. Its words are kept in
// their order, so that an edited one differs from the old one only where it
// was meant to.
type conninfo []word

type word struct{ key, value string }

// parseConninfo reads libpq's form (PostgreSQL manual, 34.1.1.1): key = value,
// values in single quotes where they hold blanks, backslash before a quote or
// a backslash. A connection URI is refused: standbys are given the keyword form.
func parseConninfo(s string) (conninfo, error) {
	var out conninfo
	p := &conninfoText{s: s}
	for {
		p.blanks()
		if p.end() {
			return out, nil
		}
		key := p.key()
		p.blanks()
		if key == "" || p.end() || p.s[p.i] != '=' {
			// The text may hold a password: the error never repeats it.
			return nil, say.Errorf("primary_conninfo is not of the form key=value at byte %d", "primary_conninfo 在第 %d 字节处不是 key=value 形式", p.i)
		}
		p.i++
		p.blanks()
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		out = append(out, word{key, v})
	}
}

type conninfoText struct {
	s string
	i int
}

func (p *conninfoText) end() bool { return p.i >= len(p.s) }

func (p *conninfoText) blanks() {
	for !p.end() && blank(p.s[p.i]) {
		p.i++
	}
}

func (p *conninfoText) key() string {
	from := p.i
	for !p.end() && p.s[p.i] != '=' && !blank(p.s[p.i]) {
		p.i++
	}
	return p.s[from:p.i]
}

func (p *conninfoText) value() (string, error) {
	var b strings.Builder
	quoted := !p.end() && p.s[p.i] == '\''
	if quoted {
		p.i++
	}
	for ; !p.end(); p.i++ {
		switch c := p.s[p.i]; {
		case c == '\\':
			if p.i+1 < len(p.s) {
				p.i++
				b.WriteByte(p.s[p.i])
			}
		case quoted && c == '\'':
			p.i++
			return b.String(), nil
		case !quoted && blank(c):
			return b.String(), nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", say.Errorf("primary_conninfo has a quote that is not closed", "primary_conninfo 中有未闭合的引号")
	}
	return b.String(), nil
}

func blank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

// get returns the value of a key; the last one counts, as in libpq.
func (c conninfo) get(key string) string {
	v, _ := c.lookup(key)
	return v
}

func (c conninfo) lookup(key string) (string, bool) {
	for i := len(c) - 1; i >= 0; i-- {
		if c[i].key == key {
			return c[i].value, true
		}
	}
	return "", false
}

// with returns a copy in which key has the value; the first place of the key is kept.
func (c conninfo) with(key, value string) conninfo {
	out := make(conninfo, 0, len(c)+1)
	done := false
	for _, w := range c {
		if w.key != key {
			out = append(out, w)
			continue
		}
		if !done {
			out = append(out, word{key, value})
			done = true
		}
	}
	if !done {
		out = append(out, word{key, value})
	}
	return out
}

func (c conninfo) without(keys ...string) conninfo {
	var out conninfo
	for _, w := range c {
		drop := false
		for _, k := range keys {
			drop = drop || w.key == k
		}
		if !drop {
			out = append(out, w)
		}
	}
	return out
}

// to returns a copy that connects to another server and keeps everything else.
// A hostaddr would win over host, so it goes.
func (c conninfo) to(host, port string) conninfo {
	return c.without("hostaddr").with("host", host).with("port", port)
}

// shown is the string without what nobody may see (invariant I10).
func (c conninfo) shown() string { return c.without("password", "sslpassword").String() }

// String writes the keyword form; parseConninfo reads it back to the same words.
func (c conninfo) String() string {
	parts := make([]string, len(c))
	for i, w := range c {
		parts[i] = w.key + "=" + quoteConninfo(w.value)
	}
	return strings.Join(parts, " ")
}

func quoteConninfo(v string) string {
	if v != "" && !strings.ContainsAny(v, " \t\n\r\f\v'\\") {
		return v
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}
