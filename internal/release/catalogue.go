package release

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/shiplift/shiplift/internal/say"
)

//go:embed catalogue/*.yaml
var files embed.FS

// Catalogue is what is known of a product's releases.
type Catalogue struct {
	Product  string    `yaml:"product"`
	Releases []Known   `yaml:"releases"`
	Bad      []Bad     `yaml:"known_bad"`
	Epochs   []Epoch   `yaml:"epochs"`
	Stops    []Stop    `yaml:"stops"`
	Refusals []Refusal `yaml:"refusals"`
	Paths    []Way     `yaml:"paths"`
}

// Known is a release of the vendor.
type Known struct {
	Version Scalar[Version] `yaml:"version"`
	Build   string          `yaml:"build"`
	Note    Sentence        `yaml:"note"`
}

// Bad is a span of releases that nobody should run, and what to take instead.
type Bad struct {
	Releases Scalar[Range]   `yaml:"releases"`
	Use      Scalar[Version] `yaml:"use"`
	Why      Sentence        `yaml:"why"`
}

// Epoch is a change of a format on disk. A hop crosses it when it starts below
// First, ends at First or above, and both ends lie in Within.
type Epoch struct {
	ID      string          `yaml:"id"`
	First   Scalar[Version] `yaml:"first"`
	Within  Scalar[Range]   `yaml:"within"`
	When    When            `yaml:"when"`
	Changes Sentence        `yaml:"changes"`
	// Return says how the old software gets its data back: "free" (it reads the
	// new format), "copy" (only by putting a cold copy back; the vendor does not
	// speak of another way) or "never" (the vendor forbids it in words).
	Return string `yaml:"return"`
	Rule   string `yaml:"rule"`
}

// Stop is a release that a way may go over. Fact names a fact that replaces it by
// another release within Accepts.
type Stop struct {
	Version Scalar[Version] `yaml:"version"`
	Accepts Scalar[Range]   `yaml:"accepts"`
	Fact    string          `yaml:"fact"`
}

// Refusal ends the search before it starts.
type Refusal struct {
	From    Scalar[Range] `yaml:"from"`
	To      Scalar[Range] `yaml:"to"`
	Down    bool          `yaml:"down"` // holds for a way back to an older release, and only for it
	When    When          `yaml:"when"`
	Verdict Verdict       `yaml:"verdict"` // refuse when empty
	Rule    string        `yaml:"rule"`
	Why     Sentence      `yaml:"why"`
	Next    Sentence      `yaml:"next"`
}

// Way is a hop that the product supports. The first one that fits counts.
type Way struct {
	From    Scalar[Range] `yaml:"from"`
	To      Scalar[Range] `yaml:"to"`
	Same    int           `yaml:"same_parts"` // the first numbers must be equal: a minor release
	Down    bool          `yaml:"down"`
	When    When          `yaml:"when"`
	Runbook string        `yaml:"runbook"`
	// No forbids the hop: a way has to go over a stop.
	No     bool     `yaml:"no"`
	Return bool     `yaml:"reversible"`
	Rule   string   `yaml:"rule"`
	Why    Sentence `yaml:"why"`
}

// When is a condition on facts: each named fact has one of the values, or,
// where the value starts with < > or =, is a version in that range.
type When map[string]string

// Holds reports whether the facts fit. A fact that is not known does not fit.
func (w When) Holds(f Facts) bool {
	for name, want := range w {
		got, known := f[name]
		if !known || got == "" || !fits(want, got) {
			return false
		}
	}
	return true
}

func fits(want, got string) bool {
	if strings.ContainsAny(want, "<>=") {
		r, errR := ParseRange(want)
		v, errV := Parse(got)
		return errR == nil && errV == nil && r.Holds(v)
	}
	return slices.Contains(strings.Fields(want), got)
}

// Sentence is a say.Text in a catalogue; {from}, {to} and {fact:name} are replaced.
type Sentence struct {
	EN string `yaml:"en"`
	ZH string `yaml:"zh"`
}

func (s Sentence) text(q Question) say.Text {
	pairs := []string{"{from}", q.From.String(), "{to}", q.To.String()}
	for name, value := range q.Facts {
		pairs = append(pairs, "{fact:"+name+"}", value)
	}
	r := strings.NewReplacer(pairs...)
	return say.Text{EN: r.Replace(s.EN), ZH: r.Replace(s.ZH)}
}

// Scalar is a value of a catalogue that is read from its text, so that 15.10
// stays 15.10, and whose errors name line and column.
type Scalar[T Version | Range] struct{ Value T }

// UnmarshalYAML reads the node's text.
func (s *Scalar[T]) UnmarshalYAML(node ast.Node) error {
	tok := node.GetToken()
	if _, ok := node.(ast.ScalarNode); !ok {
		return say.Errorf("[%d:%d] a version was expected", "[%d:%d] 应为版本号", tok.Position.Line, tok.Position.Column)
	}
	var err error
	switch v := any(&s.Value).(type) {
	case *Version:
		*v, err = Parse(tok.Value)
	case *Range:
		*v, err = ParseRange(tok.Value)
	}
	if err != nil {
		return fmt.Errorf("[%d:%d] %w", tok.Position.Line, tok.Position.Column, err)
	}
	return nil
}

// ErrNoCatalogue means that a product has no catalogue.
var ErrNoCatalogue = say.Errorf("no catalogue", "没有目录")

// Load returns the embedded catalogue of a product.
func Load(product string) (*Catalogue, error) {
	name := path.Join("catalogue", product+".yaml")
	b, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", product, ErrNoCatalogue)
	}
	if err != nil {
		return nil, err
	}
	return Read(name, b)
}

// Read reads a catalogue. Unknown keys, broken versions and sentences without
// a translation are refused with line and column.
func Read(name string, b []byte) (*Catalogue, error) {
	var c Catalogue
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(&c); err != nil {
		return nil, fmt.Errorf("%s: %s", name, strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	if err := c.valid(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &c, nil
}

func (c *Catalogue) valid() error {
	if c.Product == "" {
		return say.Errorf("product is missing", "缺少 product")
	}
	for i, b := range c.Bad {
		if b.Use.Value.IsZero() || b.Why.EN == "" || b.Why.ZH == "" {
			return say.Errorf("known_bad %d: use and why in both languages are needed", "known_bad %d：须有 use 及两种语言的 why", i+1)
		}
		if b.Releases.Value.Holds(b.Use.Value) {
			return say.Errorf("known_bad %d: %s is itself in %s", "known_bad %d：%s 本身在 %s 之内", i+1, b.Use.Value, b.Releases.Value)
		}
	}
	for _, e := range c.Epochs {
		if e.ID == "" || e.First.Value.IsZero() || e.Changes.EN == "" || e.Changes.ZH == "" {
			return say.Errorf("epoch %q: id, first and changes in both languages are needed", "epoch %q：须有 id、first 及两种语言的 changes", e.ID)
		}
		if !slices.Contains([]string{"free", "copy", "never"}, e.Return) {
			return say.Errorf("epoch %s: return must be free, copy or never", "epoch %s：return 须为 free、copy 或 never", e.ID)
		}
	}
	for i, r := range c.Refusals {
		if r.Why.EN == "" || r.Why.ZH == "" {
			return say.Errorf("refusal %d (%s): why in both languages is needed", "refusal %d（%s）：须有两种语言的 why", i+1, r.Rule)
		}
	}
	return nil
}

// KnownBad returns why a release should not be run, or nil.
func (c *Catalogue) KnownBad(v Version) *Bad {
	for i, b := range c.Bad {
		if b.Releases.Value.Holds(v) {
			return &c.Bad[i]
		}
	}
	return nil
}

// Epoch returns the epoch of that id.
func (c *Catalogue) Epoch(id string) (Epoch, bool) {
	for _, e := range c.Epochs {
		if e.ID == id {
			return e, true
		}
	}
	return Epoch{}, false
}

// Crossed returns the epochs that a hop crosses, in the catalogue's order.
func (c *Catalogue) Crossed(from, to Version, f Facts) []Epoch {
	var out []Epoch
	for _, e := range c.Epochs {
		within := e.Within.Value.Holds(from) && e.Within.Value.Holds(to)
		if within && e.When.Holds(f) && from.Less(e.First.Value) && to.AtLeast(e.First.Value) {
			out = append(out, e)
		}
	}
	return out
}
