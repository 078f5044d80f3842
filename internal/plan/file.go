package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/shiplift/shiplift/internal/say"
)

// maxFile bounds what is read before it is understood.
const maxFile = 64 << 20

// file is what lies on disk: the plan, and digests that show an edit and its place.
type file struct {
	Plan json.RawMessage `json:"plan"`
	// Parts holds a digest of each part, so that a refusal can name what was edited.
	Parts []part `json:"parts"`
	// Digest covers the plan as a whole.
	Digest string `json:"digest"`
}

type part struct {
	Name   string `json:"part"` // "request", "facts", "step db2/switch", …
	Digest string `json:"digest"`
}

// Save writes the plan to path, whole or not at all, indented for reading.
func Save(path string, p *Plan) error {
	data, err := Encode(p)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(path, data, 0o644); err != nil {
		return &say.Problem{Place: path, Text: say.F("cannot write the plan", "无法写入计划文件"), Err: err, Next: say.F("name another file with --out FILE", "用 --out FILE 指定其他文件")}
	}
	return nil
}

// Encode returns the plan as Save writes it: the same plan gives the same bytes.
func Encode(p *Plan) ([]byte, error) {
	raw, err := marshal(p)
	if err != nil {
		return nil, say.Errorf("encode the plan: %w", "生成计划：%w", err)
	}
	parts, err := partsOf(p)
	if err != nil {
		return nil, err
	}
	whole, err := marshal(file{Plan: raw, Parts: parts, Digest: sum(raw)})
	if err != nil {
		return nil, say.Errorf("encode the plan: %w", "生成计划：%w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, whole, "", "  "); err != nil {
		return nil, say.Errorf("indent the plan: %w", "排版计划：%w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// marshal leaves <, > and & as a person wrote them.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

func partsOf(p *Plan) ([]part, error) {
	head := *p
	head.Steps, head.Facts, head.Remarks, head.Before, head.Request = nil, nil, nil, nil, Request{}
	named := []struct {
		name  string
		value any
	}{{"head", head}, {"request", p.Request}, {"facts", p.Facts}, {"before", p.Before}, {"remarks", p.Remarks}}
	for _, s := range p.Steps {
		named = append(named, struct {
			name  string
			value any
		}{"step " + s.ID, s})
	}
	out := make([]part, 0, len(named))
	for _, n := range named {
		b, err := marshal(n.value)
		if err != nil {
			return nil, say.Errorf("encode the plan's %s: %w", "生成计划的 %s：%w", n.name, err)
		}
		out = append(out, part{Name: n.name, Digest: sum(b)})
	}
	return out, nil
}

// Load reads a saved plan. One that was edited, cut, or written by another
// format is refused with its place: what was reviewed is what is carried out.
func Load(path string) (*Plan, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return Decode(path, data)
}

func again() say.Text {
	return say.F("make the plan again: shiplift plan --to RELEASE --out FILE", "重新生成计划：shiplift plan --to RELEASE --out FILE")
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &say.Problem{Place: path, Text: say.F("there is no plan here", "此处没有计划文件"), Next: again(), Err: fs.ErrNotExist}
	}
	var data []byte
	if err == nil {
		defer f.Close()
		data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	}
	if err == nil && len(data) > maxFile {
		err = say.Errorf("larger than 64 MiB", "超过 64 MiB")
	}
	if err != nil {
		return nil, &say.Problem{Place: path, Text: say.F("cannot read the plan", "无法读取计划文件"), Err: err, Next: say.Same("ls -l " + path)}
	}
	return data, nil
}

// Decode reads a saved plan that came from path.
func Decode(path string, data []byte) (*Plan, error) {
	var f file
	if err := strict(data, &f); err != nil {
		return nil, notAPlan(path, data, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, f.Plan); err != nil || compact.Len() == 0 {
		return nil, notAPlan(path, data, errors.New(`the key "plan" is missing`))
	}
	if err := formatOf(path, compact.Bytes()); err != nil {
		return nil, err
	}
	var p Plan
	if err := strict(compact.Bytes(), &p); err != nil {
		return nil, &say.Problem{Place: path, Text: say.F("the plan holds something that this tool does not know", "计划中含有本工具不认识的内容"), Err: err, Next: again()}
	}
	canonical, err := marshal(&p)
	if err != nil {
		return nil, say.Errorf("encode the plan: %w", "生成计划：%w", err)
	}
	parts, err := partsOf(&p)
	if err != nil {
		return nil, err
	}
	if sum(canonical) != f.Digest || !bytes.Equal(canonical, compact.Bytes()) || !slices.Equal(parts, f.Parts) {
		return nil, edited(path, data, changedParts(f.Parts, parts))
	}
	if err := p.Validate(); err != nil {
		return nil, &say.Problem{Place: path, Text: say.F("the plan cannot be carried out", "计划无法执行"), Err: err, Next: again()}
	}
	return &p, nil
}

func strict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return say.Errorf("something stands behind the plan", "计划之后还有其他内容")
	}
	return nil
}

// notAPlan tells where a file stops being one.
func notAPlan(path string, data []byte, err error) error {
	place := path
	var syntax *json.SyntaxError
	var typed *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		place = at(path, data, int(syntax.Offset))
	case errors.As(err, &typed):
		place = at(path, data, int(typed.Offset))
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		place = at(path, data, len(data))
	}
	return &say.Problem{Place: place, Text: say.F("this is not a whole plan", "这不是完整的计划文件"), Err: err, Next: again()}
}

// at names a byte of the file as a person finds it: path:line.
func at(path string, data []byte, offset int) string {
	offset = max(0, min(offset, len(data)))
	return path + ":" + strconv.Itoa(1+bytes.Count(data[:offset], []byte("\n")))
}

// formatOf refuses the file of another version of the tool before its fields
// are looked at: they may mean something else there.
func formatOf(path string, compact []byte) error {
	var v struct {
		Format int    `json:"format"`
		Engine string `json:"engine"`
	}
	if err := json.Unmarshal(compact, &v); err != nil {
		return notAPlan(path, compact, err)
	}
	if v.Format == Format {
		return nil
	}
	return &say.Problem{
		Place: path, Next: again(),
		Text: say.F("the plan has format %d (made by shiplift %s); this tool carries out format %d", "计划的格式为 %d（由 shiplift %s 生成）；本工具执行格式 %d", v.Format, v.Engine, Format),
	}
}

// edited names the parts that are not as they were saved, and the line of the first one.
func edited(path string, data []byte, changed []string) error {
	place := path
	what := "?"
	if len(changed) > 0 {
		what = strings.Join(changed, ", ")
		if i := bytes.Index(data, []byte(needle(changed[0]))); i >= 0 {
			place = at(path, data, i)
		}
	}
	return &say.Problem{
		Place: place, Next: again(),
		Text: say.F("the plan was changed after it was made (%s); only a plan as it was reviewed is carried out", "计划在生成后被改动（%s）；只执行评审过的原样计划", what),
	}
}

func needle(part string) string {
	if id, ok := strings.CutPrefix(part, "step "); ok {
		return `"id": ` + strconv.Quote(id)
	}
	if part == "head" {
		return `"plan":`
	}
	return strconv.Quote(part) + ":"
}

func changedParts(sealed, now []part) []string {
	var out []string
	for _, s := range sealed {
		if !slices.Contains(now, s) {
			out = append(out, s.Name)
		}
	}
	for _, n := range now {
		if !slices.ContainsFunc(sealed, func(s part) bool { return s.Name == n.Name }) {
			out = append(out, n.Name)
		}
	}
	return out
}
