package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// MaxRecord bounds the length of one record. A line that claims more is
// damaged; nothing is allocated for it.
const MaxRecord = 64 << 20

// A line is a JSON object of fixed layout around the record (docs/journal.md):
//
//	{"v":1,"len":"0000008c","crc":"a1b2c3d4","prev":"<64 hex>","sha":"<64 hex>","rec":{…}}
//
// The length has a checksum of its own: a changed length must not look like a
// line that was cut off. The question marks stand for hexadecimal digits.
const (
	lineLead  = `{"v":1,"len":"????????","crc":"????????","prev":"`
	lineSha   = `","sha":"`
	lineBody  = `","rec":`
	lineEnd   = "}\n"
	lenAt     = len(`{"v":1,"len":"`)
	crcAt     = lenAt + 8 + len(`","crc":"`)
	prevAt    = len(lineLead)
	shaAt     = prevAt + 64 + len(lineSha)
	headSize  = shaAt + 64 + len(lineBody)
	hexDigits = "0123456789abcdef"
)

// Hash is the chained checksum of a line: SHA-256 over the hash of the line
// before it and the record's bytes. The line before the first is all zero.
type Hash [sha256.Size]byte

// String returns it as 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short returns enough of it for a person.
func (h Hash) Short() string { return hex.EncodeToString(h[:4]) }

// MarshalText writes 64 hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != 2*len(h) {
		return say.Errorf("%q is not a hash of %d digits", "%q 不是 %d 位的散列值", b, 2*len(h))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// Position is a place in a history. Two histories that hold the same position
// are the same up to there.
type Position struct {
	Seq  int  `json:"seq"`
	Hash Hash `json:"hash"`
}

// IsZero reports whether it is the place before the first record.
func (p Position) IsZero() bool { return p.Seq == 0 }

func (p Position) String() string { return fmt.Sprintf("%d:%s", p.Seq, p.Hash.Short()) }

// mark is where a line ends and its hash.
type mark struct {
	end  int64
	hash Hash
}

// Log is a journal that was read and verified.
type Log struct {
	Records []Record
	Size    int64 // bytes that verified; what lies behind is a torn tail
	Torn    int64 // length of the torn tail: a line whose write was cut off
	marks   []mark
}

// Head returns the position of the last record.
func (l *Log) Head() Position { return l.at(len(l.marks)) }

// Holds reports whether the history passes through p.
func (l *Log) Holds(p Position) bool {
	return p.Seq >= 0 && p.Seq <= len(l.marks) && l.at(p.Seq) == p
}

// IsPrefixOf reports whether o is the same history, as long or longer.
func (l *Log) IsPrefixOf(o *Log) bool { return o.Holds(l.Head()) }

// Common returns the number of records that both histories begin with.
func (l *Log) Common(o *Log) int {
	n := min(len(l.marks), len(o.marks))
	for n > 0 && l.marks[n-1].hash != o.marks[n-1].hash {
		n--
	}
	return n
}

func (l *Log) at(seq int) Position {
	if seq == 0 {
		return Position{}
	}
	return Position{Seq: seq, Hash: l.marks[seq-1].hash}
}

// DamageError is a journal whose bytes were changed. It is never a torn tail.
type DamageError struct {
	File string
	Line int // also the number of the record
	Why  say.Text
}

// Unwrap returns the sentence with its next step.
func (e *DamageError) Unwrap() error {
	return &say.Problem{
		Place: e.File + ":" + strconv.Itoa(e.Line),
		Text: say.Join(": ", say.F("record %d of the journal is damaged", "日志的第 %d 条记录已损坏", e.Line),
			e.Why),
		Next: say.F("nothing was changed; the nodes hold copies of the journal: shiplift resume --state-dir NEW_EMPTY_DIRECTORY reads those",
			"没有做任何修改；各节点上有日志副本：用 shiplift resume --state-dir 新的空目录 从节点副本继续"),
	}
}

func (e *DamageError) Error() string { return e.Unwrap().Error() }

// Say tells what is damaged and where.
func (e *DamageError) Say() say.Text { return say.Of(e.Unwrap()) }

// Parse verifies data line by line. A file that was cut at any byte gives its
// whole records and Torn; any other difference from what was written is a
// *DamageError, beside the records before it. name is used in errors.
func Parse(name string, data []byte) (Log, error) {
	var l Log
	prev := Hash{}
	for l.Size < int64(len(data)) {
		rest := data[l.Size:]
		line := len(l.marks) + 1
		body, whole, why := splitLine(rest, prev)
		if !why.IsZero() {
			return l, &DamageError{File: name, Line: line, Why: why}
		}
		if !whole {
			l.Torn = int64(len(rest))
			return l, nil
		}
		var r Record
		if err := json.Unmarshal(body, &r); err != nil {
			return l, &DamageError{File: name, Line: line, Why: say.Same(err.Error())}
		}
		if r.Seq != line {
			why := say.F("it bears the number %d", "记录编号为 %d", r.Seq)
			return l, &DamageError{File: name, Line: line, Why: why}
		}
		prev = chain(prev, body)
		l.Size += int64(headSize + len(body) + len(lineEnd))
		l.Records = append(l.Records, r)
		l.marks = append(l.marks, mark{end: l.Size, hash: prev})
	}
	return l, nil
}

// Read verifies everything that r holds.
func Read(r io.Reader, name string) (Log, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return Log{}, say.Errorf("read journal %s: %w", "读取日志 %s：%w", name, err)
	}
	return Parse(name, data)
}

// ReadFile verifies the journal at path and changes nothing.
func ReadFile(path string) (Log, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Log{}, storeProblem(path, "read", err)
	}
	return Parse(path, data)
}

// splitLine looks at the line that b begins with. whole is false when b is the
// beginning of a line and nothing else; why says what cannot be explained by a cut.
func splitLine(b []byte, prev Hash) (body []byte, whole bool, why say.Text) {
	if !headFits(b, prev) {
		return nil, false, misfit(b)
	}
	if len(b) < headSize {
		return nil, false, say.Text{}
	}
	n, _ := strconv.ParseUint(string(b[lenAt:lenAt+8]), 16, 32)
	if n > MaxRecord {
		return nil, false, say.F("its length is beyond %d bytes", "长度超过 %d 字节", MaxRecord)
	}
	size := headSize + int(n) + len(lineEnd)
	if len(b) < size {
		// A line holds no line end before its last byte, so one here means
		// that bytes were taken out of the middle.
		if bytes.IndexByte(b, '\n') >= 0 {
			return nil, false, say.F("it is shorter than it says", "内容比记录的长度短")
		}
		return nil, false, say.Text{}
	}
	body = b[headSize : headSize+int(n)]
	sum := chain(prev, body)
	if string(b[shaAt:shaAt+64]) != sum.String() || string(b[size-len(lineEnd):size]) != lineEnd {
		return nil, false, say.F("its content does not match its checksum", "内容与校验和不符")
	}
	return body, true, say.Text{}
}

// headFits compares the head of a line, as far as b goes, with what it must be
// after prev.
func headFits(b []byte, prev Hash) bool {
	n := min(len(b), headSize)
	want := lineLead + prev.String() + lineSha
	for i := range n {
		switch {
		case i >= shaAt+64:
			if b[i] != lineBody[i-shaAt-64] {
				return false
			}
		case i >= shaAt || want[i] == '?':
			if strings.IndexByte(hexDigits, b[i]) < 0 {
				return false
			}
		case b[i] != want[i]:
			return false
		}
	}
	return n < crcAt+8 || string(b[crcAt:crcAt+8]) == lengthSum(b[lenAt:lenAt+8])
}

// misfit says why the head of a line is wrong: changed, or not after its predecessor.
func misfit(b []byte) say.Text {
	var own Hash
	if len(b) >= headSize {
		if _, err := hex.Decode(own[:], b[prevAt:prevAt+64]); err == nil && headFits(b, own) {
			if _, whole, why := splitLine(b, own); whole && why.IsZero() {
				return say.F("it does not follow the line before it: lines are missing, repeated or in another order",
					"与前一行不衔接：有行缺失、重复或顺序被改动")
			}
		}
	}
	return say.F("the head of the line was changed", "行首已被改动")
}

func chain(prev Hash, body []byte) Hash {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(body)
	return Hash(h.Sum(nil))
}

func lengthSum(digits []byte) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(digits)))
}

// appendLine encodes r behind dst and returns its hash.
func appendLine(dst []byte, prev Hash, r *Record) ([]byte, Hash, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // a person reads "<", not "\u003c"
	if err := enc.Encode(r); err != nil {
		return dst, prev, say.Errorf("encode record %d (%s): %w", "生成记录 %d（%s）：%w", r.Seq, r.Kind, err)
	}
	body := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if len(body) > MaxRecord {
		return dst, prev, say.Errorf("record %d (%s) has %d bytes, more than %d", "记录 %d（%s）有 %d 字节，超过 %d", r.Seq, r.Kind, len(body), MaxRecord)
	}
	sum := chain(prev, body)
	digits := fmt.Appendf(nil, "%08x", len(body))
	dst = append(dst, lineLead[:lenAt]...)
	dst = append(dst, digits...)
	dst = append(dst, lineLead[lenAt+8:crcAt]...)
	dst = append(dst, lengthSum(digits)...)
	dst = append(dst, lineLead[crcAt+8:]...)
	dst = hex.AppendEncode(dst, prev[:])
	dst = append(dst, lineSha...)
	dst = hex.AppendEncode(dst, sum[:])
	dst = append(dst, lineBody...)
	dst = append(dst, body...)
	return append(dst, lineEnd...), sum, nil
}
