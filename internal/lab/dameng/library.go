// Package dameng is a practice Dameng: simulated machines with dmserver,
// dmwatcher, dmmonitor, disql, dmrman, dmctlcvt, dmcss, dmcssm and dmasmcmd.
// It is strict: whoever breaks a rule of the vendor's manual meets the damage
// that the manual describes (spec/dameng.md section 7), and the damage is written
// down with the number of the rule. It shares no code with the driver.
package dameng

import (
	"encoding/json"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// version is four numbers, compared from left to right.
type version [4]int

func ver(s string) version {
	var v version
	for i, p := range strings.SplitN(s, ".", 4) {
		v[i], _ = strconv.Atoi(p)
	}
	return v
}

func (v version) less(w version) bool { return slices.Compare(v[:], w[:]) < 0 }

// Where the formats on disk change.
var (
	vLogNo = version{7, 1, 6, 11}
	vBan   = version{7, 1, 5, 125}
	vRedo  = version{8, 1, 1, 15}
	vRoll  = version{8, 1, 1, 101}
	vPage  = version{8, 1, 1, 171}
	vHuge  = version{8, 1, 2, 101}
	vASM   = version{8, 1, 3, 129}
	vInfo5 = version{8, 1, 4, 23}
)

// idCode is what SELECT ID_CODE answers.
func idCode(release string) string {
	v := ver(release)
	if v[0] < 8 {
		return "DM Database Server x64 V" + release + "-Build(2019.03.20-104220)ENT"
	}
	n := v[0]<<24 | v[1]<<16 | v[2]<<8 | v[3]
	return "--03" + strconv.Itoa(n) + "-20240301-200000-20119 Pack1"
}

// library is what the data files of one member hold.
type library struct {
	Origin    string // the release that made it
	LastExec  string // the release that ran it last
	Clean     bool   // closed normally by LastExec
	Started   bool   // was started at least once
	WasOpen   bool   // all nodes were OPEN when it was closed
	Mode      string // NORMAL, PRIMARY, STANDBY
	OGUID     int
	Magic     int64
	PermMagic int64

	LogNo   bool   // DM7 log version number raised (E0)
	Redo    string // "old" or "pkg" (E1)
	Roll    bool   // rollback management segment (E2)
	DBVer   int    // page format (E3)
	Info5   bool   // dictionary (E6)
	MinExec string // older releases are refused
	DSC     bool   // from a DSC cluster, or restored from one

	Encrypted bool
	Huge      map[string]string // HUGE tables and the release that made them

	LSN, Seq            []int64 // per node: file LSN and next package
	PMagic              int64
	ApplySeq, ApplyLSN  []int64
	ExitLSN             []int64 // of the primary, when a standby was last equal with it
	History             []string
	Stuck               string // why replay can never go on: a rule
	Pending             bool   // the upgrade redo has arrived and is not replayed yet
	Writes              int    // acknowledged writes of applications that are in it
	Restored, Recovered bool   // by dmrman, on the way to its own DB_MAGIC
}

func (l *library) release() version { return ver(l.LastExec) }

// crosses lists the formats that a start with v changes.
func (l *library) crosses(v version) []string {
	var out []string
	if !l.LogNo && !v.less(vLogNo) {
		out = append(out, "E0")
	}
	if l.Redo == "old" && !v.less(vRedo) {
		out = append(out, "E1")
	}
	if !l.Roll && !v.less(vRoll) {
		out = append(out, "E2")
	}
	if l.DBVer < 0x7000c && !v.less(vPage) {
		out = append(out, "E3")
	}
	return out
}

// newLibrary is what a release initialises.
func newLibrary(release string, eps int) *library {
	v := ver(release)
	l := &library{Origin: release, LastExec: release, Clean: true, Mode: "NORMAL", Redo: "old", DBVer: 0x7000a, Huge: map[string]string{}, MinExec: "7.0.0.0"}
	l.LogNo = !v.less(vLogNo)
	if !v.less(version{8, 1, 1, 0}) {
		l.DBVer = 0x7000b
	}
	if !v.less(vRedo) {
		l.Redo, l.MinExec = "pkg", "8.1.1.15"
	}
	if !v.less(vRoll) {
		l.Roll, l.MinExec = true, "8.1.1.101"
	}
	if !v.less(vPage) {
		l.DBVer = 0x7000c
	}
	l.Info5 = !v.less(vInfo5)
	for ep := range eps {
		l.LSN, l.Seq = append(l.LSN, int64(106610+ep*100)), append(l.Seq, int64(4427+ep*17))
	}
	return l
}

func (l *library) bytes() string {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func libraryOf(s string) *library {
	var l library
	if json.Unmarshal([]byte(s), &l) != nil || l.LastExec == "" {
		return nil
	}
	return &l
}

func (l *library) clone() *library {
	c := *l
	c.Huge = maps.Clone(l.Huge)
	c.LSN, c.Seq = slices.Clone(l.LSN), slices.Clone(l.Seq)
	c.ApplySeq, c.ApplyLSN, c.ExitLSN = slices.Clone(l.ApplySeq), slices.Clone(l.ApplyLSN), slices.Clone(l.ExitLSN)
	c.History = slices.Clone(l.History)
	return &c
}

// follow makes l equal with the primary p.
func (l *library) follow(p *library) {
	l.PMagic = p.Magic
	l.LSN, l.Seq = slices.Clone(p.LSN), slices.Clone(p.Seq)
	l.ApplyLSN, l.ApplySeq = slices.Clone(p.LSN), nil
	for _, s := range p.Seq {
		l.ApplySeq = append(l.ApplySeq, s-1)
	}
	l.Writes = p.Writes
}

func (l *library) equal(p *library) bool {
	if len(l.ApplySeq) != len(p.Seq) || l.PMagic != p.Magic {
		return false
	}
	for i := range p.Seq {
		if l.ApplySeq[i] != p.Seq[i]-1 || l.ApplyLSN[i] != p.LSN[i] {
			return false
		}
	}
	return true
}

// ---- control file ----

const bar = "#==============================================="

// ctlText is the text of a control file (spec/dameng.md 4.9).
func ctlText(db string, dbver int, data, huge string) string {
	s := "# DM8 control file text. Please do not adjust parameter order\n" +
		"dbname=" + db + "\nsvr_mode=0\noguid=0\nversion=117508180\ndb_version=" + strconv.Itoa(dbver) + "\nnext_ts_id=6\n"
	for i, ts := range []string{"SYSTEM", "ROLL", "MAIN"} {
		s += bar + "\n# table space name\nts_name=" + ts + "\nts_id=" + strconv.Itoa(i) + "\nts_state=0\n" +
			"#-----------------------------------------------\n# file path\nfil_path=" + data + "/" + ts + ".DBF\n# mirror path\nmirror_path=\n"
		if ts == "MAIN" && huge != "" {
			s += hugeBlock(huge)
		}
	}
	return s + bar + "\n"
}

func hugeBlock(path string) string {
	return "#-----------------------------------------------\n# huge path\nhuge_path=" + path +
		"\n# huge path create time\nhuge_create_time=DATETIME '2022-1-13 17:29:14'\n# huge path modify time\nhuge_modify_time=DATETIME '2022-1-13 17:29:14'\n"
}

// ctlBinary seals a text: hand edits of a dm.ctl are detected.
func ctlBinary(text string) string {
	return "DMCTL\x00" + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(text))), 16) + "\n" + text
}

func ctlOpen(bin string) (text string, ok bool) {
	sum, text, found := strings.Cut(strings.TrimPrefix(bin, "DMCTL\x00"), "\n")
	ok = found && strings.HasPrefix(bin, "DMCTL\x00") && sum == strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(text))), 16)
	return text, ok
}

// mainBlock returns the lines of the block of MAIN, between its bars.
func mainBlock(text string) []string {
	var block []string
	in := false
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "#==="):
			if in {
				return block
			}
			block = nil
		default:
			block = append(block, line)
			in = in || line == "ts_name=MAIN"
		}
	}
	return nil
}

func hugePath(text string) string {
	for _, line := range mainBlock(text) {
		if p, ok := strings.CutPrefix(line, "huge_path="); ok {
			return p
		}
	}
	return ""
}
