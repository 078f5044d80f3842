// Package damengini reads the configuration files of Dameng (dm.ini,
// dmmal.ini, dmarch.ini, dmwatcher.ini, dmmonitor.ini, dmdcr_cfg.ini,
// dmdcr.ini) and makes an inventory of them.
package damengini

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// File is a configuration file. Lines keep what was read, byte for byte.
type File struct {
	lines    []string
	Sections []Section
}

// Section is a part of a file under [NAME]; the part before the first one has no name.
type Section struct {
	Name string
	Keys []Key
}

// Key is one setting.
type Key struct {
	Name, Value string
	Line        int // from 1
}

// Error is a line that cannot be read.
type Error struct {
	File string
	Line int
	Says string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Says) }

// maxSize bounds what is read: dm.ini of a server is some 60 kB.
const maxSize = 4 << 20

// Parse reads a file: lines NAME = value #comment under [SECTION] headings.
// Blank lines and comments are kept by Set; anything else is refused with its line.
func Parse(name string, text []byte) (*File, error) {
	if len(text) > maxSize {
		return nil, &Error{name, 1, "too large for a configuration file"}
	}
	f := &File{Sections: []Section{{}}}
	s := strings.TrimPrefix(string(text), "\ufeff")
	f.lines = strings.SplitAfter(s, "\n")
	for i, line := range f.lines {
		word := strings.TrimSpace(line)
		switch {
		case word == "", strings.HasPrefix(word, "#"), strings.HasPrefix(word, ";"):
			continue
		case strings.HasPrefix(word, "["):
			end := strings.IndexByte(word, ']')
			if end < 2 {
				return nil, &Error{name, i + 1, "a heading was expected: [NAME]"}
			}
			f.Sections = append(f.Sections, Section{Name: strings.TrimSpace(word[1:end])})
			continue
		}
		key, value, ok := cutKey(word)
		if !ok {
			return nil, &Error{name, i + 1, fmt.Sprintf("NAME = value was expected, not %q", clip(word))}
		}
		last := &f.Sections[len(f.Sections)-1]
		last.Keys = append(last.Keys, Key{Name: key, Value: value, Line: i + 1})
	}
	return f, nil
}

func clip(s string) string {
	if len(s) <= 40 {
		return s
	}
	for i := 40; i < len(s); i++ {
		if utf8.RuneStart(s[i]) {
			return s[:i] + "…"
		}
	}
	return s
}

func cutKey(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, "=")
	name = strings.TrimSpace(name)
	if !ok || name == "" || strings.ContainsAny(name, " \t#") {
		return "", "", false
	}
	return name, bare(value), true
}

// bare drops a comment behind a value. A # inside of a word is part of it.
func bare(value string) string {
	for i := 0; i < len(value); i++ {
		if value[i] == '#' && (i == 0 || value[i-1] == ' ' || value[i-1] == '\t') {
			value = value[:i]
			break
		}
	}
	return strings.TrimSpace(value)
}

// Get returns the last value of a key of the part without a heading; names are
// compared without regard to case, as the server does.
func (f *File) Get(name string) string { return f.Sections[0].Get(name) }

// Get returns the last value of a key, "" when there is none.
func (s Section) Get(name string) string {
	value := ""
	for _, k := range s.Keys {
		if strings.EqualFold(k.Name, name) {
			value = k.Value
		}
	}
	return value
}

// Section returns the part of that name.
func (f *File) Section(name string) (Section, bool) {
	for _, s := range f.Sections[1:] {
		if strings.EqualFold(s.Name, name) {
			return s, true
		}
	}
	return Section{}, false
}

// Set returns the file with a key of the part without a heading set to value.
// Comments, blanks and the order of lines stay. A key that is not there is put
// before the first heading.
func (f *File) Set(name, value string) []byte {
	var b strings.Builder
	done := false
	for _, line := range f.lines {
		word := strings.TrimSpace(line)
		if !done && strings.HasPrefix(word, "[") {
			b.WriteString(name + " = " + value + "\n")
			done = true
		}
		key, old, ok := cutKey(word)
		if ok && !strings.HasPrefix(word, "#") && !strings.HasPrefix(word, ";") && strings.EqualFold(key, name) && (!done || sawKey(f, name)) {
			line = setLine(line, old, value)
			done = true
		}
		b.WriteString(line)
	}
	if !done {
		s := b.String()
		if s != "" && !strings.HasSuffix(s, "\n") {
			s += "\n"
		}
		return []byte(s + name + " = " + value + "\n")
	}
	return []byte(b.String())
}

func sawKey(f *File, name string) bool { return f.Get(name) != "" }

// setLine replaces the value in a line and keeps all around it.
func setLine(line, old, value string) string {
	head, tail, _ := strings.Cut(line, "=")
	at := strings.Index(tail, old)
	if old == "" {
		rest := strings.TrimLeft(tail, " \t")
		if strings.HasPrefix(rest, "#") {
			rest = " " + rest
		}
		return head + "= " + value + rest
	}
	return head + "=" + tail[:at] + value + tail[at+len(old):]
}
