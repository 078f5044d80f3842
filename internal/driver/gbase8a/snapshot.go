package gbase8a

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Snapshot is a gcware snapshot: the term and the index of the consensus log it holds.
type Snapshot struct {
	Term  uint64 `json:"term"`
	Index uint64 `json:"index"`
}

func (s Snapshot) String() string { return fmt.Sprintf("SNAPSHOT.%d.%d", s.Term, s.Index) }

// Compare orders by term and then by index, as numbers (G01): as text 99 would
// lie behind 142 and a wrong baseline would make a false success.
func (s Snapshot) Compare(o Snapshot) int {
	return cmp.Or(cmp.Compare(s.Term, o.Term), cmp.Compare(s.Index, o.Index))
}

// foreign reports a snapshot that cannot follow base in one log: the term went
// down while the index went up (G14).
func (s Snapshot) foreign(base Snapshot) bool { return s.Term < base.Term && s.Index > base.Index }

// SnapshotDir is what lies in a gcware node's snapshot directory.
type SnapshotDir struct {
	Complete []Snapshot // oldest first
	Running  []Snapshot // flushes in progress (".s"), or left behind by a crash
	Redo     []uint64   // indexes of the REDOLOG files
	RedoSize int64      // bytes in all REDOLOG files together; a hint for the report, never a proof
	Unknown  []string   // entries of no known name; told, never an error
	Changed  float64    // newest time of change of a ".s" entry, seconds since 1970
}

// Newest is the newest complete snapshot; one in progress never counts (G11).
func (d SnapshotDir) Newest() (Snapshot, bool) {
	if len(d.Complete) == 0 {
		return Snapshot{}, false
	}
	return d.Complete[len(d.Complete)-1], true
}

// ListSnapshots is the command that lists a gcware node's snapshot directory;
// ParseSnapshots reads what it prints. `ll` is an alias that a plain command
// does not have, and ls has no stable layout (spec section 2).
func ListSnapshots(gcwareBase string) []string {
	return []string{"find", SnapshotPath(gcwareBase), "-mindepth", "1", "-maxdepth", "1", "-printf", `%y %s %T@ %f\n`}
}

// SnapshotPath is the snapshot directory under a gcware base.
func SnapshotPath(gcwareBase string) string { return gcwareBase + "/data/gcware" }

// ParseSnapshots reads lines such as "d 69 1671783540.0 SNAPSHOT.142.37977".
func ParseSnapshots(out string) (SnapshotDir, error) {
	var d SnapshotDir
	for n, line := range splitLines(out) {
		kind, rest, _ := strings.Cut(line, " ")
		bytes, rest, _ := strings.Cut(rest, " ")
		when, name, _ := strings.Cut(rest, " ")
		if name == "" {
			return SnapshotDir{}, say.Errorf("snapshot listing line %d: want \"type size time name\", got %q", "快照清单第 %d 行：应为 “type size time name”，实为 %q", n+1, line)
		}
		size, err := strconv.ParseInt(bytes, 10, 64)
		if err != nil {
			return SnapshotDir{}, say.Errorf("snapshot listing line %d: size %q is not a number", "快照清单第 %d 行：大小 %q 不是数字", n+1, bytes)
		}
		digits := when
		if strings.Contains(digits, ".") {
			digits = strings.TrimRight(digits, "0") // more of them than a number holds are slow to read
		}
		changed, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return SnapshotDir{}, say.Errorf("snapshot listing line %d: time %q is not a number", "快照清单第 %d 行：时间 %q 不是数字", n+1, when)
		}
		d.add(kind, size, changed, name)
	}
	slices.SortFunc(d.Complete, Snapshot.Compare)
	slices.SortFunc(d.Running, Snapshot.Compare)
	slices.Sort(d.Redo)
	slices.Sort(d.Unknown)
	return d, nil
}

func (d *SnapshotDir) add(kind string, size int64, changed float64, name string) {
	if name == "GCWARE_META.A" || name == "GCWARE_META.B" {
		return
	}
	if of, ok := strings.CutPrefix(name, "SNAPSHOT."); ok && kind == "d" {
		of, running := strings.CutSuffix(of, ".s")
		term, index, _ := strings.Cut(of, ".")
		s, ok := Snapshot{}, false
		if s.Term, ok = position(term); ok {
			s.Index, ok = position(index)
		}
		switch {
		case !ok:
			d.Unknown = append(d.Unknown, name)
		case running:
			d.Running, d.Changed = append(d.Running, s), max(d.Changed, changed)
		default:
			d.Complete = append(d.Complete, s)
		}
		return
	}
	if of, ok := strings.CutPrefix(name, "REDOLOG."); ok && kind == "f" {
		if index, ok := position(of); ok {
			d.Redo, d.RedoSize = append(d.Redo, index), d.RedoSize+size
			return
		}
	}
	d.Unknown = append(d.Unknown, name)
}

// position reads digits; false for anything else, and for more of them than a
// position in a log can have.
func position(digits string) (uint64, bool) {
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// splitLines returns the lines of out without line ends; none for an empty text.
func splitLines(out string) []string {
	out = strings.TrimRight(strings.ReplaceAll(out, "\r\n", "\n"), "\n")
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}
