// Package view shows; it never decides. What a person or a machine reads comes
// from here: findings, plans, progress, status, reports and errors, in the
// operator's language or as JSON. Data goes to standard output, talk to
// standard error.
package view

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/mattn/go-isatty"
	"github.com/muesli/termenv"

	"github.com/shiplift/shiplift/internal/say"
)

// Format is how data is written.
type Format string

// The formats.
const (
	Human Format = "human"
	JSON  Format = "json"
)

// jsonVersion is the "v" of everything that is written as JSON.
const jsonVersion = 1

// Screen is where a verb shows things.
type Screen struct {
	Out    io.Writer // data
	Err    io.Writer // talk
	Lang   say.Lang
	Format Format
	// Live is true when Err is a terminal whose lines can be drawn again.
	Live bool

	out, err palette
}

// palette is the colours of one stream; none at all where it is no terminal.
type palette struct{ bad, warn, good, dim, strong lipgloss.Style }

func paletteOf(w io.Writer, colour bool) palette {
	r := lipgloss.NewRenderer(w)
	r.SetColorProfile(termenv.Ascii)
	if colour {
		r.SetColorProfile(termenv.ANSI)
	}
	style := r.NewStyle
	return palette{
		bad:    style().Foreground(lipgloss.Color("1")).Bold(true),
		warn:   style().Foreground(lipgloss.Color("3")),
		good:   style().Foreground(lipgloss.Color("2")),
		dim:    style().Faint(true),
		strong: style().Bold(true),
	}
}

// NewScreen shows on out and err. Colour and redrawing are used only where a
// stream is a terminal and NO_COLOR and TERM allow it.
func NewScreen(out, err io.Writer, lang say.Lang, format Format, env func(string) string) *Screen {
	dumb := env("TERM") == "dumb"
	colour := func(w io.Writer) bool { return env("NO_COLOR") == "" && !dumb && isTerminal(w) }
	return &Screen{
		Out: out, Err: err, Lang: lang, Format: format, Live: isTerminal(err) && !dumb && env("CI") == "",
		out: paletteOf(out, colour(out)), err: paletteOf(err, colour(err)),
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// in returns a sentence in the operator's language.
func (s *Screen) in(t say.Text) string { return t.In(s.Lang) }

// word picks between two fixed words.
func (s *Screen) word(en, zh string) string { return say.Text{EN: en, ZH: zh}.In(s.Lang) }

// Talk says a sentence to the operator.
func (s *Screen) Talk(t say.Text) { fmt.Fprintln(s.Err, s.in(t)) }

// Raw writes data as it is, for a file that goes to standard output.
func (s *Screen) Raw(data []byte) error {
	_, err := s.Out.Write(data)
	return err
}

// Object writes one JSON line; v must encode to an object and carries its own "v".
func (s *Screen) Object(v any) error {
	enc := json.NewEncoder(s.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// pad fills text up to width as a terminal counts it: a Chinese character is two wide.
func pad(text string, width int) string {
	if n := width - lipgloss.Width(text); n > 0 {
		return text + strings.Repeat(" ", n)
	}
	return text
}

// padLeft is pad for figures.
func padLeft(text string, width int) string {
	if n := width - lipgloss.Width(text); n > 0 {
		return strings.Repeat(" ", n) + text
	}
	return text
}

// widest returns the width of the widest text.
func widest(texts []string) int {
	w := 0
	for _, t := range texts {
		w = max(w, lipgloss.Width(t))
	}
	return w
}

// table lays rows out in columns; the last column is not filled up.
func table(rows [][]string) []string {
	var widths []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(c))
		}
	}
	lines := make([]string, len(rows))
	for n, r := range rows {
		cells := make([]string, len(r))
		for i, c := range r {
			cells[i] = pad(c, widths[i])
		}
		lines[n] = strings.TrimRight(strings.Join(cells, "  "), " ")
	}
	return lines
}

// clean keeps what a machine said from moving the cursor or breaking a line.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, strings.TrimSpace(text))
}
