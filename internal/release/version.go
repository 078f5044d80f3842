// Package release knows versions, the on-disk formats they write, and the way
// from one to another. What a product allows is data: one YAML catalogue per
// product, embedded here; drivers add the facts that only they can observe.
package release

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// maxParts bounds a version: no product here has more than five numbers.
const maxParts = 8

// Version is a release as the vendor writes it: numbers separated by dots and
// an optional build behind them ("16beta1", "8.1.1.15-Pack3"). Versions can be
// compared with ==, which also compares the builds; for the order of releases use Compare.
type Version struct {
	parts [maxParts]int
	n     int
	build string
}

// V makes a version of numbers.
func V(parts ...int) Version {
	var v Version
	v.n = copy(v.parts[:], parts)
	return v
}

// Parse reads "8.1.1.15", "V7.6.0.145", "16beta1" or "5.0.3-build7f3a".
func Parse(s string) (Version, error) {
	var v Version
	rest := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(s), "V"), "v")
	for {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 {
			return Version{}, say.Errorf("%q is not a version: a number was expected at %q", "%q 不是版本号：%q 处应为数字", s, rest)
		}
		n, err := strconv.Atoi(rest[:digits])
		if err != nil || v.n == maxParts {
			return Version{}, say.Errorf("%q is not a version: too long", "%q 不是版本号：过长", s)
		}
		v.parts[v.n] = n
		v.n++
		rest = rest[digits:]
		if !strings.HasPrefix(rest, ".") {
			break
		}
		rest = rest[1:]
	}
	if rest == "" {
		return v, nil
	}
	v.build = strings.TrimLeft(rest, "-+ ")
	if v.build == "" || strings.ContainsAny(v.build, "\n\r\t") {
		return Version{}, say.Errorf("%q is not a version: nothing readable behind the numbers", "%q 不是版本号：数字之后的内容无法识别", s)
	}
	return v, nil
}

// MustParse is Parse for constants.
func MustParse(s string) Version {
	v, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return v
}

// IsZero reports whether there is no version.
func (v Version) IsZero() bool { return v.n == 0 }

// Part returns the i-th number, 0 where there is none.
func (v Version) Part(i int) int {
	if i < 0 || i >= v.n {
		return 0
	}
	return v.parts[i]
}

// Len returns how many numbers the version has.
func (v Version) Len() int { return v.n }

// Build returns what stands behind the numbers.
func (v Version) Build() string { return v.build }

// String writes it as Parse reads it.
func (v Version) String() string {
	words := make([]string, v.n)
	for i := range words {
		words[i] = strconv.Itoa(v.parts[i])
	}
	s := strings.Join(words, ".")
	switch {
	case v.build == "":
		return s
	case v.prerelease():
		return s + v.build
	}
	return s + "-" + v.build
}

// prerelease reports whether the build names a release before the final one.
func (v Version) prerelease() bool {
	for _, word := range []string{"alpha", "beta", "rc", "devel"} {
		if strings.HasPrefix(strings.ToLower(v.build), word) {
			return true
		}
	}
	return false
}

// Compare orders releases: by the numbers from left to right, missing ones
// count as 0. A beta comes before its release; any other build makes no
// difference, since build ids of vendors have no order.
func Compare(a, b Version) int {
	for i := range maxParts {
		if c := cmp.Compare(a.parts[i], b.parts[i]); c != 0 {
			return c
		}
	}
	switch pa, pb := a.prerelease(), b.prerelease(); {
	case pa && pb:
		return strings.Compare(strings.ToLower(a.build), strings.ToLower(b.build))
	case pa:
		return -1
	case pb:
		return 1
	}
	return 0
}

// Less reports whether v comes before w.
func (v Version) Less(w Version) bool { return Compare(v, w) < 0 }

// AtLeast reports whether v is w or comes after it.
func (v Version) AtLeast(w Version) bool { return Compare(v, w) >= 0 }

// Same reports whether both are the same release, whatever the builds.
func (v Version) Same(w Version) bool { return Compare(v, w) == 0 }

// MarshalText writes the version as String does.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote; nothing is the zero version.
func (v *Version) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*v = Version{}
		return nil
	}
	got, err := Parse(string(b))
	if err != nil {
		return err
	}
	*v = got
	return nil
}

// Range is a set of versions: all comparisons hold, e.g. ">=7.1.6.11 <8.0.0.0".
// The zero Range holds every version.
type Range struct {
	text  string
	terms []term
}

type term struct {
	op string
	v  Version
}

// ParseRange reads comparisons separated by blanks; a bare version means exactly that one.
func ParseRange(s string) (Range, error) {
	r := Range{text: strings.TrimSpace(s)}
	if r.text == "*" {
		return r, nil
	}
	for _, word := range strings.Fields(r.text) {
		op := "="
		for _, o := range []string{">=", "<=", ">", "<", "="} {
			if strings.HasPrefix(word, o) {
				op, word = o, word[len(o):]
				break
			}
		}
		v, err := Parse(word)
		if err != nil {
			return Range{}, say.Errorf("range %q: %w", "范围 %q：%w", s, err)
		}
		r.terms = append(r.terms, term{op, v})
	}
	return r, nil
}

// Holds reports whether v lies in the range.
func (r Range) Holds(v Version) bool {
	for _, t := range r.terms {
		c := Compare(v, t.v)
		ok := false
		switch t.op {
		case "=":
			ok = c == 0
		case "<":
			ok = c < 0
		case "<=":
			ok = c <= 0
		case ">":
			ok = c > 0
		case ">=":
			ok = c >= 0
		}
		if !ok {
			return false
		}
	}
	return true
}

func (r Range) String() string { return r.text }
