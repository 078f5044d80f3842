package gbase8a

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Generation tells the two layouts of V95 apart (spec section 1).
type Generation string

// The generations. On V952 gcware runs on the coordinators and belongs to
// gcluster_services; on V953 it is a cluster of its own under gcware_services.
const (
	V952 Generation = "v952"
	V953 Generation = "v953"
)

// The words of a module cell (spec section 4.5).
const (
	Open        = "OPEN"
	Close       = "CLOSE"
	Offline     = "OFFLINE"
	Failure     = "FAILURE"
	Unavailable = "UNAVAILABLE"
)

// Row is one node in one of gcadmin's tables. A cell that the table does not have is empty.
type Row struct {
	Name         string
	IP           string
	Distribution string
	Gcware       string // V952: in the coordinator table; V953: in the gcware table
	Gcluster     string
	Gnode        string
	Syncserver   string
	DataState    string
}

// VC is a row of the virtual cluster table.
type VC struct{ Name, Distribution, Comment string }

// Status is what gcadmin (or gcadmin showcluster …) said.
type Status struct {
	State        string // ACTIVE or LOCKED; ACTIVE alone proves nothing (G07)
	Mode         string // "" in the root view of several virtual clusters
	GcwareTable  bool   // there is a GCWARE table of its own: V953
	Gcware       []Row  // the rows with a gcware cell, whichever table holds them
	Coordinators []Row
	Data         []Row
	Free         []Row
	VCs          []VC
	VCNames      []string // from the footer; nil without one
	Footer       bool
}

// Generation is decided by the tables that were printed.
func (s *Status) Generation() Generation {
	if s.GcwareTable {
		return V953
	}
	return V952
}

var (
	ansi     = regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`)
	vcFooter = regexp.MustCompile(`^(\d+) virtual cluster(?:s)?(?::\s*(.*))?$`)
)

// plain is a text without colours.
func plain(out string) string {
	if strings.IndexByte(out, 0x1b) < 0 {
		return out
	}
	return ansi.ReplaceAllString(out, "")
}

// ParseStatus reads gcadmin's tables by their header names; ANSI colours around
// values are taken away first. What is cut off or of an unknown shape is an
// error: half a table must not look like a smaller cluster.
func ParseStatus(out string) (*Status, error) {
	p := &statusParser{st: &Status{}}
	for n, line := range splitLines(plain(out)) {
		if err := p.line(strings.TrimRight(line, " \t\r")); err != nil {
			return nil, say.Errorf("gcadmin line %d: %w", "gcadmin 第 %d 行：%w", n+1, err)
		}
	}
	if err := p.finish(); err != nil {
		return nil, say.Errorf("gcadmin: %w", "gcadmin：%w", err)
	}
	return p.st, nil
}

// statusParser walks over the lines; title and header are of the table it is in.
type statusParser struct {
	st     *Status
	title  string
	header []string
	rows   int
	closed bool // the last line was a rule
}

func (p *statusParser) line(line string) error {
	switch {
	case line == "":
		return p.leave()
	case strings.Trim(line, "=") == "" || strings.Trim(line, "-") == "":
		p.closed = true
		return nil
	case strings.HasPrefix(line, "|"):
		err := p.row(line)
		p.closed = false
		return err
	}
	if state, ok := wordBehind(line, "CLUSTER STATE: "); ok {
		p.st.State = state
		return nil
	}
	if mode, ok := wordBehind(strings.TrimPrefix(line, "VIRTUAL "), "CLUSTER MODE: "); ok {
		p.st.Mode = mode
		return nil
	}
	if err := p.leave(); err != nil {
		return err
	}
	if line[0] >= '0' && line[0] <= '9' {
		if m := vcFooter.FindStringSubmatch(line); m != nil {
			return p.footer(m[1], m[2])
		}
	}
	return nil // banners and counts of nodes
}

// wordBehind is the one word that follows a title on its line.
func wordBehind(line, title string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.ReplaceAll(line, "\t", " "), title)
	word := strings.TrimSpace(rest)
	return word, ok && word != "" && !strings.ContainsAny(word, " \f\v\r")
}

func (p *statusParser) footer(count, list string) error {
	want, err := strconv.Atoi(count)
	if err != nil {
		return say.Errorf("footer counts %q virtual clusters", "末行给出 %q 个虚拟集群", count)
	}
	p.st.Footer = true
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			p.st.VCNames = append(p.st.VCNames, name)
		}
	}
	if len(p.st.VCNames) != want {
		return say.Errorf("footer counts %d virtual clusters and names %d", "末行给出 %d 个虚拟集群，却列出了 %d 个", want, len(p.st.VCNames))
	}
	return nil
}

func (p *statusParser) row(line string) error {
	if !strings.HasSuffix(line, "|") || len(line) < 2 {
		return say.Errorf("row is cut off: %q", "行不完整：%q", line)
	}
	cells := strings.Split(line[1:len(line)-1], "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	switch {
	case len(cells) == 1 && strings.Contains(cells[0], "INFORMATION"):
		if err := p.leave(); err != nil {
			return err
		}
		p.title = cells[0]
		return nil
	case p.title == "":
		return say.Errorf("row outside a table: %q", "行不在任何表中：%q", line)
	case p.header == nil:
		p.header = cells
		return p.checkHeader()
	case len(cells) != len(p.header):
		return say.Errorf("row has %d cells under a header of %d: %q", "行有 %d 列，表头有 %d 列：%q", len(cells), len(p.header), line)
	}
	p.rows++
	return p.add(cells)
}

// wants are the columns that must be there for the table to mean anything.
func (p *statusParser) wants() []string {
	switch p.title {
	case "GBASE GCWARE CLUSTER INFORMATION":
		return []string{"NodeName", "IpAddress", "gcware"}
	case "GBASE COORDINATOR CLUSTER INFORMATION":
		return []string{"NodeName", "IpAddress", "gcluster", "DataState"}
	case "GBASE DATA CLUSTER INFORMATION":
		return []string{"NodeName", "IpAddress", "gnode", "syncserver", "DataState"}
	case "GBASE CLUSTER FREE DATA NODE INFORMATION":
		return []string{"NodeName", "IpAddress", "gnode", "syncserver", "DataState"}
	case "GBASE VIRTUAL CLUSTER INFORMATION":
		return []string{"VcName"}
	}
	return nil
}

func (p *statusParser) checkHeader() error {
	want := p.wants()
	if want == nil {
		return say.Errorf("unknown table %q", "未知的表 %q", p.title)
	}
	for _, w := range want {
		if !slices.Contains(p.header, w) {
			return say.Errorf("table %q has no column %s", "表 %q 没有列 %s", p.title, w)
		}
	}
	return nil
}

func (p *statusParser) add(cells []string) error {
	at := func(name string) string {
		if i := slices.Index(p.header, name); i >= 0 {
			return cells[i]
		}
		return ""
	}
	if p.title == "GBASE VIRTUAL CLUSTER INFORMATION" {
		p.st.VCs = append(p.st.VCs, VC{at("VcName"), at("DistributionId"), at("comment")})
		return nil
	}
	r := Row{Name: at("NodeName"), IP: at("IpAddress"), Distribution: at("DistributionId"), Gcware: at("gcware"),
		Gcluster: at("gcluster"), Gnode: at("gnode"), Syncserver: at("syncserver"), DataState: at("DataState")}
	if r.Name == "" || r.IP == "" {
		return say.Errorf("row of table %q has no name or no address", "表 %q 的行缺少名称或地址", p.title)
	}
	switch p.title {
	case "GBASE GCWARE CLUSTER INFORMATION":
		p.st.GcwareTable = true
		p.st.Gcware = append(p.st.Gcware, r)
	case "GBASE COORDINATOR CLUSTER INFORMATION":
		p.st.Coordinators = append(p.st.Coordinators, r)
		if r.Gcware != "" {
			p.st.Gcware = append(p.st.Gcware, r)
		}
	case "GBASE DATA CLUSTER INFORMATION":
		p.st.Data = append(p.st.Data, r)
	default:
		p.st.Free = append(p.st.Free, r)
	}
	return nil
}

// leave ends the table the parser is in; one that ended inside itself is an error.
func (p *statusParser) leave() error {
	if p.title == "" {
		return nil
	}
	title := p.title
	if p.rows == 0 {
		return say.Errorf("table %q ends without a row", "表 %q 没有数据行就结束了", title)
	}
	if !p.closed {
		return say.Errorf("table %q ends without its last rule", "表 %q 缺少最后的分隔线", title)
	}
	p.title, p.header, p.rows = "", nil, 0
	return nil
}

func (p *statusParser) finish() error {
	if err := p.leave(); err != nil {
		return err
	}
	switch {
	case p.st.State == "":
		return say.Errorf("no line \"CLUSTER STATE:\"", "没有 “CLUSTER STATE:” 行")
	case len(p.st.Coordinators)+len(p.st.Data)+len(p.st.Gcware)+len(p.st.Free) == 0:
		return say.Errorf("no node in any table", "所有表中都没有节点")
	}
	return nil
}

var eventCount = regexp.MustCompile(`(?m)^(?:Vc e|E)vent count:\s*(\d+)`)

// ParseEventCount reads the count of showddlevent, showdmlevent and
// showdmlstorageevent. The list below it is cut at 16 events, the count is not
// [A]; an output without the line is an error, never zero.
func ParseEventCount(out string) (int, error) {
	m := eventCount.FindStringSubmatch(plain(out))
	if m == nil {
		return 0, say.Errorf("no line \"Event count:\" in %q", "%q 中没有 “Event count:” 行", clip(out))
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, say.Errorf("event count %q is not a number", "事件数 %q 不是数字", m[1])
	}
	return n, nil
}

// Lock is an entry of gcadmin showlock.
type Lock struct{ Name, Owner, Content string }

// permanent reports the event locks that a healthy cluster always holds (spec section 4.6).
func (l Lock) permanent() bool { return strings.HasPrefix(l.Name, "gc-event-lock") }

// ParseLocks reads the table of gcadmin showlock; lines without cells are no locks.
func ParseLocks(out string) ([]Lock, error) {
	var header []string
	var locks []Lock
	for _, line := range splitLines(plain(out)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) < 2 {
			continue // the title
		}
		if header == nil {
			header = cells
			for i := range header {
				header[i] = strings.ToLower(header[i])
			}
			continue
		}
		if len(cells) != len(header) {
			return nil, say.Errorf("showlock: row has %d cells under a header of %d: %q", "showlock：行有 %d 列，表头有 %d 列：%q", len(cells), len(header), line)
		}
		at := func(name string) string {
			if i := slices.Index(header, name); i >= 0 {
				return cells[i]
			}
			return ""
		}
		locks = append(locks, Lock{at("lock name"), at("owner"), at("content")})
	}
	if header == nil && !strings.Contains(strings.ToLower(out), "lock") {
		return nil, say.Errorf("showlock said nothing about locks: %q", "showlock 未给出锁的信息：%q", clip(out))
	}
	return locks, nil
}

// clip shortens a text for an error.
func clip(s string) string {
	s = strings.TrimSpace(s)
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
