package pgsim

import (
	"encoding/binary"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sim"
)

// client is one client's connection. What it sends is done before its write
// ends, so the same run is the same each time.
type client struct {
	w       *sim.World
	m       *sim.Machine
	pid     string
	greeted bool
	in, out []byte
}

func accept(w *sim.World, m *sim.Machine, pid string) sim.Server {
	return &client{w: w, m: m, pid: pid}
}

// Serve takes the messages that are whole.
func (c *client) Serve(came []byte) (back []byte, open bool) {
	c.in = append(c.in, came...)
	c.out = c.out[:0]
	for open = true; open; {
		head := 1 // the type; the first message has none
		if !c.greeted {
			head = 0
		}
		if len(c.in) < head+4 {
			break
		}
		end := head + int(binary.BigEndian.Uint32(c.in[head:]))
		if len(c.in) < end {
			break
		}
		open = c.message(c.in[:end])
		c.in = c.in[end:]
	}
	if len(c.in) == 0 {
		c.in = nil
	}
	return c.out, open
}

// message takes one; it returns whether the connection goes on.
func (c *client) message(b []byte) bool {
	if !c.greeted {
		c.greeted = true
		c.out = append(c.out, greeting...)
		return true
	}
	if b[0] != 'Q' || len(b) < 6 {
		return false
	}
	sql := string(b[5 : len(b)-1])
	var a answer
	lost := false
	c.w.With(func() {
		lost = c.w.Message(c.m, sql, effectOf(sql), func() { a = ask(c.w, c.m, c.pid, sql) })
	})
	if sql == "" || a.gone || lost {
		return false
	}
	c.out = a.append(c.out)
	return true
}

// greeting is what a server says to each client that comes.
var greeting = encoded(
	&pgproto3.AuthenticationOk{},
	&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"},
	&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"},
	&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}},
	ready,
)

var (
	ready = &pgproto3.ReadyForQuery{TxStatus: 'I'}
	done  = encoded(&pgproto3.CommandComplete{CommandTag: []byte("OK")}, ready)
)

func encoded(messages ...pgproto3.BackendMessage) []byte {
	var out []byte
	for _, m := range messages {
		out = appended(out, m)
	}
	return out
}

func appended(out []byte, m pgproto3.BackendMessage) []byte {
	out, err := m.Encode(out)
	if err != nil {
		panic(err) // only a message of many megabytes has an error
	}
	return out
}

// answer is what a statement brings.
type answer struct {
	rows [][]string
	code string // SQLSTATE of an error
	gone bool   // the server is not there any more
}

// append writes the answer behind out.
func (a answer) append(out []byte) []byte {
	if a.code != "" {
		out = appended(out, &pgproto3.ErrorResponse{Severity: "ERROR", Code: a.code, Message: "refused with " + a.code})
		return appended(out, ready)
	}
	if len(a.rows) > 0 {
		var d pgproto3.RowDescription
		for i := range a.rows[0] {
			d.Fields = append(d.Fields, pgproto3.FieldDescription{Name: []byte("c" + itoa(i)), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1})
		}
		out = appended(out, &d)
		for _, r := range a.rows {
			var row pgproto3.DataRow
			for _, v := range r {
				row.Values = append(row.Values, []byte(v))
			}
			out = appended(out, &row)
		}
	}
	return append(out, done...)
}

func one(cols ...string) answer { return answer{rows: [][]string{cols}} }

var (
	setForm   = regexp.MustCompile(`^alter system set (\w+) = '((?:[^']|'')*)'$`)
	resetForm = regexp.MustCompile(`^alter system reset (\w+)$`)
)

// ask answers one statement of the tool.
func ask(w *sim.World, m *sim.Machine, pid, sql string) answer {
	r := roomOf(w)
	n := r.nodes[m.Name()]
	if itoa(n.pid) != pid || !m.Connected() {
		return answer{gone: true}
	}
	r.settle(w)
	tag, text, ok := tagged(sql)
	if !ok {
		w.Complain("%s: statement without a tag: %s", n.name, sql)
		return answer{code: "42601"}
	}
	r.flow(w)
	s := statement{w: w, r: r, n: n, m: m, text: text, literals: literals(text)}
	fn := statements[tag]
	if fn == nil {
		w.Complain("%s: unknown statement %s", n.name, tag)
		return answer{code: "42601"}
	}
	a := fn(s)
	r.write(w, w.Time())
	return a
}

// tagged splits a statement into its tag and what follows.
func tagged(sql string) (tag, text string, ok bool) {
	rest, ok := strings.CutPrefix(sql, "/* shiplift:")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, " */ ")
}

// literals are the quoted words of a statement.
func literals(text string) []string {
	var out []string
	for {
		_, rest, ok := strings.Cut(text, "'")
		if !ok {
			return out
		}
		end := 0
		for end < len(rest) && (rest[end] != '\'' || end+1 < len(rest) && rest[end+1] == '\'') {
			if rest[end] == '\'' {
				end++ // a doubled quote stands for one
			}
			end++
		}
		if end >= len(rest) {
			return out
		}
		out = append(out, strings.ReplaceAll(rest[:end], "''", "'"))
		text = rest[end+1:]
	}
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
	"in-file":               statement.inFile,
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

// changing are the statements that change something.
var changing = []string{"alter-system", "reload", "make-slot", "drop-slot", "checkpoint", "promote-if", "nudge"}

func effectOf(sql string) host.Effect {
	if tag, _, ok := tagged(sql); ok && slices.Contains(changing, tag) {
		return host.Changes
	}
	return host.ReadOnly
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

// inFile answers from the files, whatever is in effect.
func (s statement) inFile() answer {
	name := s.literals[len(s.literals)-1]
	for _, file := range []map[string]string{s.n.auto, s.n.conf} {
		if v, ok := file[name]; ok {
			return one(v)
		}
	}
	return answer{}
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
	s.r.reload(s.n)
	s.r.flow(s.w)
	return one("true")
}

func (s statement) senders() (a answer) {
	for _, name := range s.r.order {
		if d := s.r.nodes[name]; s.r.upstream(s.w, d) == s.n {
			at := lsnText(d.end())
			sync := "async"
			if need, names := syncNeeds(s.n.live["synchronous_standby_names"]); need > 0 && matches(names, d.app) {
				sync = "sync"
			}
			a.rows = append(a.rows, []string{d.app, d.addr, "streaming", sync, at, at, at})
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
