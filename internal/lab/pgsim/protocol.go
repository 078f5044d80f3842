package pgsim

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// serve speaks the protocol with one client until it goes, or the server does.
func serve(w *sim.World, m *sim.Machine, pid string, c net.Conn) {
	defer c.Close()
	be := pgproto3.NewBackend(c, c)
	if _, err := be.ReceiveStartupMessage(); err != nil {
		return
	}
	be.Send(&pgproto3.AuthenticationOk{})
	for k, v := range map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on"} {
		be.Send(&pgproto3.ParameterStatus{Name: k, Value: v})
	}
	be.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for be.Flush() == nil {
		sql, a, ok := next(w, m, pid, c)
		if !ok || sql == "" || a.gone {
			return
		}
		a.send(be)
	}
}

// next takes one statement and carries it out. The room is locked before the
// client's write has ended: a statement that was sent is done before the next
// command of anybody, so the same run is the same each time.
func next(w *sim.World, m *sim.Machine, pid string, c net.Conn) (sql string, a answer, ok bool) {
	buf := make([]byte, 1<<16)
	if _, err := c.Read(buf[:1]); err != nil {
		return "", a, false
	}
	w.With(func() {
		n, err := c.Read(buf[1:])
		if ok = err == nil && buf[0] == 'Q' && n > 5; ok {
			sql = strings.TrimRight(string(buf[5:n+1]), "\x00")
			a = ask(w, m, pid, sql)
		}
	})
	return sql, a, ok
}

// answer is what a statement brings.
type answer struct {
	rows [][]string
	code string // SQLSTATE of an error
	gone bool   // the server is not there any more
}

func (a answer) send(be *pgproto3.Backend) {
	if a.code != "" {
		be.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: a.code, Message: "refused with " + a.code})
		be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		return
	}
	if len(a.rows) > 0 {
		var d pgproto3.RowDescription
		for i := range a.rows[0] {
			d.Fields = append(d.Fields, pgproto3.FieldDescription{Name: []byte("c" + itoa(i)), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1})
		}
		be.Send(&d)
		for _, r := range a.rows {
			var row pgproto3.DataRow
			for _, v := range r {
				row.Values = append(row.Values, []byte(v))
			}
			be.Send(&row)
		}
	}
	be.Send(&pgproto3.CommandComplete{CommandTag: []byte("OK")})
	be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
}

func one(cols ...string) answer { return answer{rows: [][]string{cols}} }

var (
	tagForm     = regexp.MustCompile(`^/\* shiplift:([a-z-]+) \*/ `)
	literalForm = regexp.MustCompile(`'((?:[^']|'')*)'`)
	setForm     = regexp.MustCompile(`^alter system set (\w+) = '((?:[^']|'')*)'$`)
	resetForm   = regexp.MustCompile(`^alter system reset (\w+)$`)
)

// ask answers one statement of the tool.
func ask(w *sim.World, m *sim.Machine, pid, sql string) answer {
	r := roomOf(w)
	n := r.nodes[m.Name()]
	if itoa(n.pid) != pid || !m.Connected() {
		return answer{gone: true}
	}
	t := tagForm.FindStringSubmatch(sql)
	if t == nil {
		w.Complain("%s: statement without a tag: %s", n.name, sql)
		return answer{code: "42601"}
	}
	r.pump(w)
	s := statement{w: w, r: r, n: n, m: m, text: sql[len(t[0]):]}
	for _, l := range literalForm.FindAllStringSubmatch(s.text, -1) {
		s.literals = append(s.literals, strings.ReplaceAll(l[1], "''", "'"))
	}
	fn := statements[t[1]]
	if fn == nil {
		w.Complain("%s: unknown statement %s", n.name, t[1])
		return answer{code: "42601"}
	}
	a := fn(s)
	r.write(w)
	return a
}

// statement is one statement that a server answers.
type statement struct {
	w        *sim.World
	r        *room
	n        *node
	m        *sim.Machine
	text     string
	literals []string
}

var statements = map[string]func(statement) answer{
	"identity":              statement.identity,
	"settings":              statement.settings,
	"setting":               statement.setting,
	"alter-system":          statement.alter,
	"reload":                statement.reload,
	"senders":               statement.senders,
	"receiver":              statement.receiver,
	"slots":                 statement.slots,
	"slot-names":            statement.slots,
	"make-slot":             statement.makeSlot,
	"drop-slot":             statement.dropSlot,
	"in-recovery":           func(s statement) answer { return one(boolText(s.n.recovery)) },
	"promotion":             func(s statement) answer { return one(boolText(!s.n.recovery), "false") },
	"checkpoint":            statement.checkpoint,
	"current-lsn":           statement.currentLSN,
	"positions":             statement.positions,
	"replay-paused":         func(s statement) answer { return one(boolText(s.n.frozen)) },
	"promote-if":            statement.promoteIf,
	"promoting":             statement.promoting,
	"nudge":                 statement.nudge,
	"end-own-sessions":      empty,
	"collations":            empty,
	"long-transactions":     empty,
	"prepared-transactions": empty,
	"databases":             empty,
	"libraries":             empty,
}

func empty(statement) answer { return answer{} }

func boolText(b bool) string { return strconv.FormatBool(b) }

func lsnText(l uint64) string { return fmt.Sprintf("%X/%X", l>>32, uint32(l)) } //nolint:gosec // the low half is wanted

func (s statement) identity() answer {
	n := s.n
	cur, at := lsnText(n.end()), ""
	if n.recovery {
		cur, at = "", lsnText(n.end())
	}
	major, minor, _ := strings.Cut(n.release, ".")
	num, _ := strconv.Atoi(major)
	sub, _ := strconv.Atoi(minor)
	now := s.w.Time()
	return one(n.release+" (simulated)", itoa(num*10000+sub), boolText(n.recovery), strconv.Itoa(systemID), itoa(n.tli()),
		cur, at, at, fmt.Sprintf("%d.%06d", now.Unix(), now.Nanosecond()/1000), "on")
}

var defaults = map[string]string{
	"max_connections": "100", "max_worker_processes": "8", "max_wal_senders": "10", "max_prepared_transactions": "0",
	"max_locks_per_transaction": "64", "wal_level": "replica", "max_replication_slots": "10", "recovery_target_timeline": "latest",
	"recovery_min_apply_delay": "0", "synchronous_standby_names": "", "primary_slot_name": "", "primary_conninfo": "", "cluster_name": "",
	"data_checksums": "off", "block_size": "8192", "wal_segment_size": "16777216", "data_directory": data, "track_commit_timestamp": "off",
	"shared_preload_libraries": "", "session_preload_libraries": "", "local_preload_libraries": "",
}

func (n *node) show(name string) []string {
	switch v, ok := n.live[name]; {
	case ok && n.autoLive[name]:
		return []string{v, "configuration file", data + "/postgresql.auto.conf"}
	case ok:
		return []string{v, "configuration file", data + "/postgresql.conf"}
	}
	return []string{defaults[name], "default", ""}
}

func (s statement) settings() (a answer) {
	names := slices.MaxFunc(s.literals, func(a, b string) int { return len(a) - len(b) })
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		if slices.Contains(strings.Fields(names), name) {
			a.rows = append(a.rows, append([]string{name}, s.n.show(name)...))
		}
	}
	return a
}

func (s statement) setting() answer {
	name := s.literals[len(s.literals)-1]
	if _, ok := defaults[name]; !ok {
		s.w.Complain("%s: setting %s", s.n.name, name)
	}
	return one(s.n.show(name)...)
}

func (s statement) alter() answer {
	if m := setForm.FindStringSubmatch(s.text); m != nil {
		s.n.auto[m[1]] = strings.ReplaceAll(m[2], "''", "'")
	} else if m := resetForm.FindStringSubmatch(s.text); m != nil {
		delete(s.n.auto, m[1])
	} else {
		s.w.Complain("%s: %s", s.n.name, s.text)
		return answer{code: "42601"}
	}
	return answer{}
}

func (s statement) reload() answer {
	s.n.reload()
	s.r.pump(s.w)
	return one("true")
}

func (s statement) senders() (a answer) {
	for _, name := range s.r.order {
		if d := s.r.nodes[name]; s.r.upstream(s.w, d) == s.n {
			at := lsnText(d.end())
			sync := "async"
			if need, names := syncNeeds(s.n.live["synchronous_standby_names"]); need > 0 && matches(names, d.app()) {
				sync = "sync"
			}
			a.rows = append(a.rows, []string{d.app(), d.addr, "streaming", sync, at, at, at})
		}
	}
	return a
}

func (s statement) receiver() answer {
	u := s.r.upstream(s.w, s.n)
	if u == nil {
		return answer{}
	}
	return one("streaming", u.addr, port, s.n.live["primary_slot_name"])
}

func (s statement) slots() (a answer) {
	for _, name := range slices.Sorted(maps.Keys(s.n.slots)) {
		used := boolText(s.r.slotUsed(s.w, s.n, name))
		if strings.Contains(s.text, "slot_type") {
			a.rows = append(a.rows, []string{name, "physical", "", used, "f", lsnText(s.n.end()), "reserved", "f"})
			continue
		}
		a.rows = append(a.rows, []string{name, used})
	}
	return a
}

func (s statement) makeSlot() answer {
	if s.n.slots[s.literals[0]] {
		return answer{code: "42710"}
	}
	s.n.slots[s.literals[0]] = true
	return one("x")
}

func (s statement) dropSlot() answer {
	name := s.literals[0]
	switch {
	case !s.n.slots[name]:
		return answer{code: "42704"}
	case s.r.slotUsed(s.w, s.n, name):
		return answer{code: "55006"}
	}
	delete(s.n.slots, name)
	return one("")
}

func (s statement) checkpoint() answer {
	if !s.n.recovery {
		s.n.checkpoint, s.n.checkTLI = s.n.end(), s.n.tli()
		s.r.add(s.n, s.n.tli(), 0)
	}
	s.r.writeControl(s.m, s.n)
	return answer{}
}

func (s statement) currentLSN() answer {
	if s.n.recovery {
		return answer{code: "55000"}
	}
	return one(lsnText(s.n.end()))
}

func (s statement) positions() answer {
	if !s.n.recovery {
		return one("", "")
	}
	return one(lsnText(s.n.end()), lsnText(s.n.end()))
}

// promoteIf is the driver's one statement that promotes.
func (s statement) promoteIf() answer {
	hi, lo, _ := strings.Cut(s.literals[0], "/")
	h, err1 := strconv.ParseUint(hi, 16, 32)
	l, err2 := strconv.ParseUint(lo, 16, 32)
	if err1 != nil || err2 != nil {
		return answer{code: "22P02"}
	}
	if !s.n.recovery || s.n.end() <= h<<32|l {
		return one("wait")
	}
	s.n.promoting = true
	s.w.After(promotionTakes, promoted, s.n.name, nil)
	return one("true")
}

func (s statement) promoting() answer {
	if s.n.promoting {
		return answer{code: "55000"}
	}
	return one("")
}

func (s statement) nudge() answer {
	if s.n.recovery {
		return answer{code: "25006"}
	}
	s.r.add(s.n, s.n.tli(), 0)
	return one(lsnText(s.n.end()))
}
