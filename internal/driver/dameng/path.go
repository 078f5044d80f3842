package dameng

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// Topology says what the cluster consists of.
type Topology string

// The topologies. In DWDSC at least one member of Data Watch is a DSC cluster.
const (
	Single Topology = "single"
	DW     Topology = "dw"
	DSC    Topology = "dsc"
	DWDSC  Topology = "dw-dsc"
)

func (t Topology) watched() bool { return t == DW || t == DWDSC }
func (t Topology) shared() bool  { return t == DSC || t == DWDSC }

// The runbooks of spec/dameng.md section 3. RestartOnly is a hop that crosses
// no format: stop in order, change the software, start in order.
const (
	RestartOnly = "restart"
	R1          = "R1" // Data Watch, new redo log
	R2          = "R2" // primary alone, standbys from its backup
	R3          = "R3" // rollback management segment
	R4          = "R4" // page format
	R5          = "R5" // HUGE path of MAIN, behind another runbook
	R6          = "R6" // DSC without Data Watch
	R7          = "R7" // single node
)

// PathRequest asks for the way from one release to another.
type PathRequest struct {
	From, To     release.Version
	Topology     Topology
	Origin       release.Version // the release that made the library; zero when nobody knows
	LogEncrypted bool
	HugeTables   bool
	Rolling      bool
	// Facts change the verdict; FactNames tells what they may be.
	Facts map[string]string
}

// FactNames are the facts that a path request may hold, each with its values;
// no values means that any release may stand there.
var FactNames = map[string][]string{
	"standby":       {"ok", "lagging", "equal-magic", "mount"},
	"archive":       {"valid", "invalid"},
	"node":          {"ok", "error"},                       // a node of a DSC member
	"exit":          {"clean", "unclean", "standby-first"}, // how the servers were stopped last
	"via":           {"r1", "r2"},                          // the runbook where there is a choice
	"huge-accepted": {"yes", "no"},                         // the loss of old HUGE tables is acknowledged
	"fresh":         {"yes", "no"},                         // initialised and never started
	"async":         {"yes", "no"},                         // an asynchronous standby is there
	"asm":           {"old", "4100"},                       // version of the ASM disks
	"bridge":        nil,                                   // the DM7 to go over instead of 7.6.0.183
}

// catalogue is that of the product; it is only read.
var catalogue = sync.OnceValues(func() (*release.Catalogue, error) { return release.Load("dameng") })

// Path answers whether there is a way, over which releases, with which runbook,
// what must hold and what can never be undone. An error means that the request
// itself cannot be read.
func Path(r PathRequest) (release.Answer, error) {
	if err := r.valid(); err != nil {
		return release.Answer{}, err
	}
	c, err := catalogue()
	if err != nil {
		return release.Answer{}, err
	}
	return r.path(c), nil
}

func (r PathRequest) valid() error {
	if !slices.Contains([]Topology{Single, DW, DSC, DWDSC}, r.Topology) {
		return &say.Problem{Place: "--topology", Text: say.F(
			"%q is not a topology: single, dw, dsc or dw-dsc", "%q 不是拓扑类型：可用 single、dw、dsc、dw-dsc", string(r.Topology))}
	}
	for _, v := range []release.Version{r.From, r.To} {
		if v.Len() != 4 || v.Part(0) < 7 || v.Part(0) > 8 {
			return &say.Problem{Place: "--from/--to", Text: say.F(
				"%q is not a release of DM7 or DM8: four numbers are needed, e.g. 8.1.1.15",
				"%q 不是 DM7/DM8 的版本号：需要四段数字，例如 8.1.1.15", v.String())}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Facts)) {
		if err := validFact(name, r.Facts[name]); err != nil {
			return err
		}
	}
	return nil
}

func validFact(name, value string) error {
	values, known := FactNames[name]
	if !known {
		return &say.Problem{Place: "--fact " + name, Text: say.F(
			"there is no such fact; there are %s", "没有这个事实项；可用的有 %s",
			strings.Join(slices.Sorted(maps.Keys(FactNames)), ", "))}
	}
	if values == nil {
		if v, err := release.Parse(value); err != nil || v.Part(0) != 7 || v.Less(release.V(7, 6, 0, 183)) {
			return &say.Problem{Place: "--fact " + name, Text: say.F(
				"%q is not a DM7 of 7.6.0.183 or above", "%q 不是 7.6.0.183 及以上的 DM7 版本", value)}
		}
		return nil
	}
	if !slices.Contains(values, value) {
		return &say.Problem{Place: "--fact " + name, Text: say.F(
			"%q is not one of %s", "%q 不在可选值 %s 中", value, strings.Join(values, ", "))}
	}
	return nil
}

// origin returns the oldest release that the library is known to have had (DM-004).
func (r PathRequest) origin() release.Version {
	if r.Origin.IsZero() || r.From.Less(r.Origin) {
		return r.From
	}
	return r.Origin
}

func (r PathRequest) facts() release.Facts {
	f := release.Facts{}
	maps.Copy(f, r.Facts)
	f["topology"] = string(r.Topology)
	f["origin"] = r.origin().String()
	f["dsc"] = yes(r.Topology.shared())
	f["log-encrypted"] = yes(r.LogEncrypted)
	f["huge-tables"] = yes(r.HugeTables)
	f["rolling"] = yes(r.Rolling)
	return f
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (r PathRequest) path(c *release.Catalogue) release.Answer {
	a := c.Solve(release.Question{From: r.From, To: r.To, Facts: r.facts()})
	if a.Verdict != release.OK {
		return a
	}
	for i := range a.Hops {
		h := &a.Hops[i]
		// What is known of the cluster today speaks of the first hop only.
		state := r.Facts
		if i > 0 {
			state = map[string]string{"huge-accepted": r.Facts["huge-accepted"], "via": r.Facts["via"], "asm": r.Facts["asm"]}
		}
		if no, stop := r.finish(c, h, state); stop {
			return no
		}
		if a.Rule == "" {
			a.Rule = h.Rule
		}
	}
	if len(a.Hops) > 0 {
		a.Rule = a.Hops[0].Rule
		for _, h := range a.Hops {
			a.Why = joinWhy(a.Why, h.Why)
		}
	}
	return a
}

func joinWhy(a, b say.Text) say.Text {
	if b.IsZero() {
		return a
	}
	return say.Text{EN: a.EN + "; " + b.EN, ZH: a.ZH + "；" + b.In(say.Chinese)}
}

// finish chooses the runbook of a hop, and says no where the state of the
// cluster forbids it.
func (r PathRequest) finish(c *release.Catalogue, h *release.Hop, state map[string]string) (release.Answer, bool) {
	d := DutiesOf(r.Topology, h.Epochs)
	if no, stop := d.forbid(r, *h, state); stop {
		return no, true
	}
	h.Runbook = d.runbook(r.Topology)
	if h.Runbook == R1 {
		d.fallback(h, state)
	}
	if slices.Contains(h.Epochs, "E4") {
		h.Runbook += "+" + R5
	}
	h.Notes = append(h.Notes, d.notes(r, *h)...)
	h.Notes = append(h.Notes, losses(c, r, *h)...)
	return release.Answer{}, false
}

// Duties are what a hop owes, combined over its epochs: the strictest wins (spec/dameng.md 2.3).
type Duties struct {
	Epochs       []string
	CleanExit    bool // every member closed by the old software, in the order of Data Watch
	AllOpen      bool // all members OPEN before the exit
	NodesWell    bool // DSC: no faulty node, every node exited normally
	Consistent   bool // each standby has replayed all of the primary
	MoveArchives bool
	MagicDiffers bool
	ModeDance    bool // ALTER_MODE_STATUS, standby opens first
	WatchersLast bool
	OpenHistory  bool // SYSOPENHISTORY must appear
	ArchiveValid bool // afterwards each standby's archive is VALID
	OldBanned    bool // the old software must never start the library again
	rules        map[string]string
}

// DutiesOf combines the duties of epochs for a topology.
func DutiesOf(t Topology, epochs []string) Duties {
	has := func(ids ...string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(epochs, id) })
	}
	log, page := has("E0", "E1"), has("E3")
	d := Duties{
		Epochs:       slices.Clone(epochs),
		CleanExit:    true, // also for a plain restart: it costs nothing and proves the state
		AllOpen:      has("E2", "E3") || log,
		NodesWell:    t.shared() && has("E0", "E1", "E2", "E3", "E5", "E6"),
		Consistent:   t.watched() && (log || page && t == DWDSC),
		MoveArchives: log || page && t == DWDSC,
		MagicDiffers: t.watched() && log,
		ModeDance:    t.watched() && log,
		WatchersLast: t.watched() && log,
		OpenHistory:  has("E1"),
		ArchiveValid: t.watched() && has("E2", "E3"),
		OldBanned:    has("E2", "E6") || page && t.shared(),
		rules:        map[string]string{},
	}
	pick := func(name string, choices ...string) { d.rules[name] = firstRule(has, choices) }
	pick("exit", "E0:DM-002", "E1:DM-002", "E2:DM-060", "E3:DM-070")
	pick("open", "E0:DM-022", "E1:DM-022", "E2:DM-060", "E3:DM-070")
	pick("nodes", "E0:DM-021", "E1:DM-021", "E2:DM-061", "E3:DM-072", ":DM-096")
	pick("consistent", "E0:DM-022", "E1:DM-022", "E3:DM-072")
	return d
}

// firstRule returns the rule of the first epoch that is crossed.
func firstRule(has func(...string) bool, choices []string) string {
	for _, choice := range choices {
		epoch, rule, _ := strings.Cut(choice, ":")
		if epoch == "" || has(epoch) {
			return rule
		}
	}
	return ""
}

func (d Duties) crosses(id string) bool { return slices.Contains(d.Epochs, id) }

// strict reports whether the start checks how the library was closed.
func (d Duties) strict() bool {
	return slices.ContainsFunc(d.Epochs, func(e string) bool { return e == "E0" || e == "E1" || e == "E2" || e == "E3" })
}

func (d Duties) runbook(t Topology) string {
	switch {
	case t == Single:
		return R7
	case t == DSC:
		return R6
	case d.crosses("E0") || d.crosses("E1"):
		return R1
	case d.crosses("E3"):
		return R4
	case d.crosses("E2"):
		return R3
	}
	return RestartOnly
}

// fallback takes the way over a backup of the primary where R1 may not be gone.
func (d Duties) fallback(h *release.Hop, state map[string]string) {
	switch {
	case state["standby"] == "lagging":
		h.Runbook, h.Rule = R2, "DM-022"
		h.Why = say.F("a standby has not replayed all of the primary, and old archives are unusable after the upgrade: "+
			"the primary is upgraded alone and the standby is restored from its backup",
			"有备库尚未追平主库，而升级后旧归档不可用：改为先单独升级主库，再用其备份重建备库")
	case state["standby"] == "equal-magic":
		h.Runbook, h.Rule = R2, "DM-024"
		h.Why = say.F("a standby has the DB_MAGIC of the primary and could not be synchronised after the upgrade: "+
			"the primary is upgraded alone and the standby is restored from its backup with a DB_MAGIC of its own",
			"有备库的 DB_MAGIC 与主库相同，升级后无法同步：改为先单独升级主库，再还原备库并更新其 DB_MAGIC")
	case state["via"] == "r2":
		h.Runbook, h.Rule = R2, "DM-051"
		if d.crosses("E4") {
			h.Rule = "DM-087"
			h.Why = say.F("MAIN of the primary gets its HUGE path before the backup, so that the restored standbys are like it",
				"须先在主库上完成 MAIN 的 HUGE 升级再做备份，保证还原出的备库与主库一致")
		}
	}
}
