package gauss

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// table is what a query reads: columns, and rows of text.
type table struct {
	cols []string
	num  map[string]bool // columns that are numbers: aligned to the right
	rows [][]string
}

func (q *sql) show(name string) *sqlError {
	if name == "server_version" {
		return q.print(one("server_version", "9.2.4"))
	}
	v, ok := q.setting(name)
	if !ok {
		return failf("unrecognized configuration parameter \"%s\"", name)
	}
	return q.print(one(name, v))
}

func one(col, val string) table { return table{cols: []string{col}, rows: [][]string{{val}}} }

// defaults are settings that the file need not hold.
var defaults = map[string]string{
	"upgrade_mode": "0", "most_available_sync": "off", "synchronous_commit": "on", "synchronous_standby_names": "", "replication_type": "1", "hot_standby": "on",
	"wal_level": "hot_standby", "max_wal_senders": "4", "wal_sender_timeout": "6000", "wal_receiver_timeout": "6000", "wal_receiver_connect_timeout": "2", "recovery_time_target": "0",
	"enable_thread_pool": "off", "enable_double_write": "on", "support_extended_features": "off", "sync_config_strategy": "all_node", "enable_stream_replication": "on",
	"default_transaction_read_only": "off", "archive_mode": "off", "max_connections": "200", "max_prepared_transactions": "200", "max_locks_per_transaction": "256", "ssl": "off",
	"server_version_num": "90204", "enable_mot_server": "off", "autovacuum": "on", "transaction_read_only": "off", "enable_wdr_snapshot": "off", "shared_preload_libraries": "",
}

func (q *sql) setting(name string) (string, bool) {
	switch name {
	case "port":
		return strconv.Itoa(q.in.port), true
	case "data_directory":
		return q.in.data, true
	case "transaction_read_only":
		if !q.in.primary() {
			return "on", true
		}
	}
	if v, ok := q.in.srv.conf[name]; ok {
		return v, true
	}
	v, ok := defaults[name]
	return v, ok || intGUCs[name] || anyGUCs[name] || strings.HasPrefix(name, "replconninfo")
}

var (
	selectRE = regexp.MustCompile(`(?is)^select\s+(distinct\s+)?(.+?)(?:\s+from\s+(?:pg_catalog\.)?([a-z0-9_]+)\s*(\(\s*\))?(?:\s+(?:as\s+)?([a-z]))??(?:\s+where\s+(.+?))?(?:\s+group\s+by\s+([a-z0-9_, ]+?))?(?:\s+order\s+by\s+([a-z0-9_, ]+?))?(?:\s+limit\s+(\d+))?)?$`)
	nameRE   = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
	callRE   = regexp.MustCompile(`^([a-z_0-9]+)\(([^()]*)\)(::[a-z]+)?$`)
)

// joins are the few that the drivers ask.
var joins = map[string]func(s *state) int{
	"select count(*) from pg_foreign_table t join pg_foreign_server s on t.ftserver = s.oid where s.srvname = 'mot_server'": func(s *state) int { return s.mot },
	"select count(*) from pg_proc p join pg_language l on p.prolang = l.oid where l.lanname = 'java'":                       func(s *state) int { return s.java },
}

func (q *sql) selectStmt(text string) *sqlError {
	if count := joins[strings.TrimSpace(text)]; count != nil {
		t := one("count", strconv.Itoa(count(q.s)))
		t.num = map[string]bool{"count": true}
		return q.print(t)
	}
	m := selected(strings.TrimSpace(text))
	if m == nil {
		q.World.Complain("%s: gsql: not simulated: %q", q.Machine.Name(), text)
		return failf("the simulated server does not know this statement")
	}
	if m[3] == "" {
		return q.selectCalls(text, m[2])
	}
	if err := q.broken(); err != nil {
		return err
	}
	t, err := q.table(strings.ToLower(m[3]), text)
	if err != nil {
		return err
	}
	t, err = q.where(t, m[6])
	if err != nil {
		return err
	}
	if t, err = q.project(t, text, m[2], m[7]); err != nil {
		return err
	}
	if m[1] != "" {
		t.rows = distinct(t.rows)
	}
	order(&t, m[8])
	if n, e := strconv.Atoi(m[9]); e == nil && n < len(t.rows) {
		t.rows = t.rows[:n]
	}
	return q.print(t)
}

var selects sync.Map

// selected is what selectRE finds in a statement.
func selected(text string) []string {
	if known, ok := selects.Load(text); ok {
		return known.([]string)
	}
	m := selectRE.FindStringSubmatch(text)
	selects.Store(text, m)
	return m
}

// broken is what queries meet when a working number of 6.0 or later is in
// force over an older catalogue (golden upgrade 5.0.3 to 6.0.0).
func (q *sql) broken() *sqlError {
	if q.in.srv.working >= 92900 && q.in.base < 92900 && q.s.opts.Flavor == OpenGauss && q.s.missing(q.in, q.in.srv.working) != "" {
		return failf("could not open relation with OID 3483")
	}
	return nil
}

func distinct(rows [][]string) [][]string {
	var out [][]string
	seen := map[string]bool{}
	for _, r := range rows {
		if k := strings.Join(r, "\x00"); !seen[k] {
			seen[k] = true
			out = append(out, r)
		}
	}
	return out
}

func order(t *table, by string) {
	if by == "" {
		return
	}
	by = strings.ToLower(strings.TrimSpace(strings.Split(by, ",")[0]))
	desc := strings.HasSuffix(by, " desc")
	by = strings.TrimSuffix(strings.TrimSuffix(by, " desc"), " asc")
	i, err := strconv.Atoi(by)
	if err != nil {
		i = slices.Index(t.cols, by) + 1
	}
	if i < 1 || i > len(t.cols) {
		return
	}
	slices.SortStableFunc(t.rows, func(a, b []string) int {
		c := strings.Compare(a[i-1], b[i-1])
		if t.num[t.cols[i-1]] {
			x, _ := strconv.ParseInt(a[i-1], 10, 64)
			y, _ := strconv.ParseInt(b[i-1], 10, 64)
			c = int(x - y)
		}
		if desc {
			return -c
		}
		return c
	})
}

// selectCalls is a select without a table.
func (q *sql) selectCalls(text, list string) *sqlError {
	t := table{num: map[string]bool{}, rows: [][]string{nil}}
	for _, item := range splitList(list) {
		expr, alias := item, ""
		if i := strings.LastIndex(strings.ToLower(item), " as "); i >= 0 {
			expr, alias = strings.TrimSpace(item[:i]), strings.TrimSpace(item[i+4:])
		}
		col, val, num, err := q.call(text, expr)
		if err != nil {
			return err
		}
		if alias != "" {
			col = alias
		}
		t.cols = append(t.cols, col)
		t.num[col] = num
		t.rows[0] = append(t.rows[0], val)
	}
	return q.print(t)
}

func splitList(list string) []string {
	var out []string
	depth, start, quoted := 0, 0, false
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '\'':
			quoted = !quoted
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 && !quoted {
				out = append(out, strings.TrimSpace(list[start:i]))
				start = i + 1
			}
		}
	}
	return append(out, strings.TrimSpace(list[start:]))
}

// word is what stands in a select's list without parentheses.
func (q *sql) word(text, expr, low string) (col, val string, num bool, err *sqlError) {
	if nameRE.MatchString(low) {
		if low == "current_user" || low == "user" {
			return low, q.user, false, nil
		}
		i := strings.Index(text, expr)
		return "", "", false, &sqlError{
			text:   fmt.Sprintf("column \"%s\" does not exist", low),
			detail: "LINE 1: %STMT%\n" + strings.Repeat(" ", len("LINE 1: ")+i) + "^\nCONTEXT:  referenced column: " + low + "\n",
		}
	}
	q.World.Complain("%s: gsql: expression not simulated: %q", q.Machine.Name(), expr)
	return "", "", false, failf("the simulated server does not know this expression")
}

func (q *sql) call(text, expr string) (col, val string, num bool, err *sqlError) {
	low := strings.ToLower(strings.TrimPrefix(strings.ToLower(expr), "pg_catalog."))
	if _, e := strconv.ParseInt(low, 10, 64); e == nil {
		return "?column?", low, true, nil
	}
	if len(expr) >= 2 && expr[0] == '\'' {
		return "?column?", strings.Trim(expr, "'"), false, nil
	}
	m := callRE.FindStringSubmatch(low)
	if m == nil {
		return q.word(text, expr, low)
	}
	switch m[1] {
	case "version":
		return "version", q.in.srv.rel.sqlVersion(), false, nil
	case "working_version_num":
		return "working_version_num", strconv.Itoa(q.in.srv.working), true, nil
	case "opengauss_version":
		return "opengauss_version", q.in.srv.rel.Version, false, nil
	case "pg_is_in_recovery":
		return m[1], tf(!q.in.primary()), false, nil
	case "pg_current_xlog_location", "pg_current_xlog_insert_location":
		if !q.in.primary() {
			return "", "", false, &sqlError{text: "recovery is in progress", detail: "HINT:  WAL control functions cannot be executed during recovery.\n"}
		}
		return m[1], lsnText(q.in.lsn), false, nil
	case "pg_last_xlog_receive_location":
		return m[1], lsnText(q.in.lsn), false, nil
	case "pg_last_xlog_replay_location":
		return m[1], "(1," + lsnText(q.in.lsn) + ")", false, nil
	case "current_setting":
		v, _ := q.setting(strings.Trim(m[2], "'"))
		return m[1], v, false, nil
	case "current_database":
		return m[1], q.db, false, nil
	case "pg_switch_xlog":
		return m[1], lsnText(q.in.lsn), false, nil
	case "now":
		return m[1], q.World.Time().Format("2006-01-02 15:04:05.000000+00"), false, nil
	case "f1":
		return m[1], "1", true, nil
	case "lab_udf": // a user's function in C: needs its library in pg_plugin
		lib := q.in.srv.app + "/lib/postgresql/pg_plugin/lab_udf.so"
		if !q.Machine.Exists(lib) {
			return "", "", false, failf("could not load library \"$libdir/pg_plugin/lab_udf.so\": %s: cannot open shared object file: No such file or directory", lib)
		}
		return m[1], "1", true, nil
	case "lab_fdw": // a user mapping: needs its key files
		for _, k := range []string{"usermapping.key.cipher", "usermapping.key.rand"} {
			if !q.Machine.Exists(q.in.srv.app + "/bin/" + k) {
				return "", "", false, failf("could not read the key file \"%s/bin/%s\"", q.in.srv.app, k)
			}
		}
		return m[1], "1", true, nil
	}
	if q.cat.has(q.db, m[1]) {
		return m[1], "", false, nil
	}
	i := max(strings.Index(strings.ToLower(text), m[1]), 0)
	return "", "", false, &sqlError{text: fmt.Sprintf("function %s() does not exist", m[1]),
		detail: "LINE 1: %STMT%\n" + strings.Repeat(" ", len("LINE 1: ")+i) + "^\nHINT:  No function matches the given name and argument types. You might need to add explicit type casts.\nCONTEXT:  referenced column: " + m[1] + "\n"}
}

func tf(b bool) string {
	if b {
		return "t"
	}
	return "f"
}

// where keeps the rows for which all conditions hold: column op 'value', joined by and/or.
func (q *sql) where(t table, cond string) (table, *sqlError) {
	if strings.TrimSpace(cond) == "" {
		return t, nil
	}
	var out [][]string
	alts := alternatives(cond)
	for _, r := range t.rows {
		keep := false
		for _, alt := range alts {
			all := true
			for _, c := range alt {
				good, ok := matches(t, r, c)
				if !ok {
					q.World.Complain("%s: gsql: condition not simulated: %q", q.Machine.Name(), c)
					return t, failf("the simulated server does not know this condition")
				}
				all = all && good
			}
			keep = keep || all
		}
		if keep {
			out = append(out, r)
		}
	}
	t.rows = out
	return t, nil
}

var (
	orRE  = regexp.MustCompile(`(?i)\s+or\s+`)
	andRE = regexp.MustCompile(`(?i)\s+and\s+`)
)

// alternatives are the conditions joined by or, each of those joined by and.
func alternatives(cond string) [][]string {
	if known, ok := asked.Load(cond); ok {
		return known.([][]string)
	}
	var out [][]string
	for _, alt := range orRE.Split(strings.TrimSpace(cond), -1) {
		out = append(out, andRE.Split(strings.TrimSpace(alt), -1))
	}
	asked.Store(cond, out)
	return out
}

// asked and parted hold what was taken apart before: the drivers ask the same
// few questions again and again.
var asked, parted sync.Map

// parts is what condRE finds in a condition.
func parts(cond string) []string {
	if known, ok := parted.Load(cond); ok {
		return known.([]string)
	}
	m := condRE.FindStringSubmatch(cond)
	parted.Store(cond, m)
	return m
}

var condRE = regexp.MustCompile(`(?is)^\(?\s*([a-z0-9_.]+)\s*(=|!=|<>|>=|<=|>|<|\s+not\s+like\s+|\s+like\s+|\s+ilike\s+|\s+not\s+in\s+|\s+in\s*)\s*(.+?)\s*$`)

func matches(t table, r []string, cond string) (good, ok bool) {
	cond = strings.TrimSpace(cond)
	col, neg := strings.ToLower(cond), false
	if strings.HasPrefix(col, "not ") {
		col, neg = strings.TrimSpace(col[4:]), true
	}
	if i := slices.Index(t.cols, col); i >= 0 {
		return (r[i] == "t") != neg, true
	}
	m := parts(cond)
	if m == nil {
		return false, false
	}
	name := strings.ToLower(m[1][strings.LastIndexByte(m[1], '.')+1:])
	i := slices.Index(t.cols, name)
	if i < 0 {
		return false, false
	}
	val := strings.Trim(m[3], "'")
	switch op := strings.Join(strings.Fields(strings.ToLower(m[2])), " "); op {
	case "=":
		return r[i] == val, true
	case "!=", "<>":
		return r[i] != val, true
	case "like", "ilike", "not like":
		re := "(?i)^" + strings.ReplaceAll(regexp.QuoteMeta(val), "%", ".*") + "$"
		return regexp.MustCompile(re).MatchString(r[i]) == (op != "not like"), true
	case "in", "not in":
		var vals []string
		for _, v := range strings.Split(strings.Trim(m[3], "() "), ",") {
			vals = append(vals, strings.Trim(strings.TrimSpace(v), "'"))
		}
		return slices.Contains(vals, r[i]) == (op == "in"), true
	default:
		a, e1 := strconv.ParseInt(r[i], 10, 64)
		b, e2 := strconv.ParseInt(val, 10, 64)
		return map[string]bool{">": a > b, "<": a < b, ">=": a >= b, "<=": a <= b}[op], e1 == nil && e2 == nil
	}
}

// project picks columns and computes count(*), sum and pg_size_pretty(sum).
func (q *sql) project(t table, text, list, group string) (table, *sqlError) {
	if strings.TrimSpace(list) == "*" {
		return t, nil
	}
	items := splitList(list)
	agg := false
	for _, it := range items {
		l := strings.ToLower(it)
		agg = agg || strings.HasPrefix(l, "count(") || strings.Contains(l, "sum(") || strings.HasPrefix(l, "max(") || strings.HasPrefix(l, "min(")
	}
	if agg {
		return q.projectGroups(t, text, items, group)
	}
	out := table{num: map[string]bool{}}
	var idx []int
	for _, it := range items {
		name, alias := it, ""
		if i := strings.Index(strings.ToLower(it), " as "); i >= 0 {
			name, alias = it[:i], strings.TrimSpace(it[i+4:])
		}
		name = strings.ToLower(strings.TrimSpace(name))
		name, _, _ = strings.Cut(name[strings.LastIndexByte(name, '.')+1:], "::")
		i := slices.Index(t.cols, name)
		if i < 0 {
			if _, e := strconv.Atoi(name); e == nil {
				out.cols = append(out.cols, "?column?")
				out.num["?column?"] = true
				idx = append(idx, -1)
				continue
			}
			at := max(strings.Index(strings.ToLower(text), name), 0)
			return t, &sqlError{text: fmt.Sprintf("column \"%s\" does not exist", name),
				detail: "LINE 1: %STMT%\n" + strings.Repeat(" ", len("LINE 1: ")+at) + "^\nCONTEXT:  referenced column: " + name + "\n"}
		}
		if alias != "" {
			name = alias
		}
		out.cols = append(out.cols, name)
		out.num[name] = t.num[t.cols[i]]
		idx = append(idx, i)
	}
	for _, r := range t.rows {
		var line []string
		for _, i := range idx {
			if i < 0 {
				line = append(line, "1")
			} else {
				line = append(line, r[i])
			}
		}
		out.rows = append(out.rows, line)
	}
	return out, nil
}

func (q *sql) projectGroups(t table, text string, items []string, group string) (table, *sqlError) {
	out := table{num: map[string]bool{}}
	groups := [][][]string{t.rows}
	if group != "" {
		groups = groupBy(t, strings.Split(strings.ReplaceAll(group, " ", ""), ","))
	}
	for gi, rows := range groups {
		var line []string
		for _, it := range items {
			col, val, num, err := q.aggregate(t, text, it, rows, group)
			if err != nil {
				return t, err
			}
			if gi == 0 {
				out.cols = append(out.cols, col)
				out.num[col] = num
			}
			line = append(line, val)
		}
		out.rows = append(out.rows, line)
	}
	if len(groups) == 0 {
		for _, it := range items {
			out.cols = append(out.cols, strings.ToLower(it))
		}
	}
	return out, nil
}

func groupBy(t table, by []string) [][][]string {
	var keys []string
	groups := map[string][][]string{}
	for _, r := range t.rows {
		var k []string
		for _, b := range by {
			if i := slices.Index(t.cols, b); i >= 0 {
				k = append(k, r[i])
			}
		}
		key := strings.Join(k, "\x00")
		if groups[key] == nil {
			keys = append(keys, key)
		}
		groups[key] = append(groups[key], r)
	}
	var out [][][]string
	for _, k := range keys {
		out = append(out, groups[k])
	}
	return out
}

var aggRE = regexp.MustCompile(`(?i)^(pg_size_pretty\()?(count|sum|max|min)\(([a-z0-9_*]+)\)\)?`)

func (q *sql) aggregate(t table, text, item string, rows [][]string, group string) (col, val string, num bool, err *sqlError) {
	m := aggRE.FindStringSubmatch(item)
	if m == nil {
		name := strings.ToLower(item)
		i := slices.Index(t.cols, name)
		if i < 0 || !slices.Contains(strings.Split(strings.ReplaceAll(strings.ToLower(group), " ", ""), ","), name) {
			from := regexp.MustCompile(`(?i)from\s+(?:pg_catalog\.)?([a-z_0-9]+)`).FindStringSubmatch(text)
			at := max(strings.Index(strings.ToLower(text), name), 0)
			line := text
			if len(line) > 60 {
				line = line[:60] + "..."
			}
			return "", "", false, &sqlError{
				text:   fmt.Sprintf("column \"%s.%s\" must appear in the GROUP BY clause or be used in an aggregate function", from[1], name),
				detail: "LINE 1: " + line + "\n" + strings.Repeat(" ", len("LINE 1: ")+at) + "^\n",
			}
		}
		if len(rows) == 0 {
			return name, "", false, nil
		}
		return name, rows[0][i], t.num[name], nil
	}
	fn := strings.ToLower(m[2])
	if fn == "count" {
		return "count", strconv.Itoa(len(rows)), true, nil
	}
	i := slices.Index(t.cols, strings.ToLower(m[3]))
	if i < 0 {
		return "", "", false, failf("column \"%s\" does not exist", m[3])
	}
	var total int64
	for n, r := range rows {
		v, _ := strconv.ParseInt(r[i], 10, 64)
		switch {
		case fn == "sum":
			total += v
		case n == 0, fn == "max" && v > total, fn == "min" && v < total:
			total = v
		}
	}
	if m[1] != "" {
		return "pg_size_pretty", pretty(total), false, nil
	}
	return fn, strconv.FormatInt(total, 10), true, nil
}

// pretty is pg_size_pretty.
func pretty(n int64) string {
	for _, u := range []string{"bytes", "kB", "MB", "GB"} {
		if n < 10240 {
			return fmt.Sprintf("%d %s", n, u)
		}
		n = (n + 512) / 1024
	}
	return fmt.Sprintf("%d TB", n)
}

// table makes the rows of a system view or of a user's table.
func (q *sql) table(name, text string) (table, *sqlError) {
	in, s := q.in, q.s
	switch name {
	case "pg_stat_get_wal_senders", "pg_stat_get_wal_receiver", "pg_stat_get_stream_replications", "pg_stat_replication", "pg_replication_slots":
		return q.replicationView(name), nil
	case "pg_database":
		t := table{cols: []string{"datname", "datcompatibility", "datallowconn", "datistemplate"}}
		for _, d := range q.cat.dbs {
			t.rows = append(t.rows, []string{d, "A", tf(d != "template0"), tf(strings.HasPrefix(d, "template"))})
		}
		return t, nil
	case "pg_settings":
		t := table{cols: []string{"name", "setting"}}
		all := map[string]string{}
		for k, v := range defaults {
			all[k] = v
		}
		for k, v := range in.srv.conf {
			all[k] = v
		}
		for _, k := range sortedKeys(all) {
			t.rows = append(t.rows, []string{k, all[k]})
		}
		return t, nil
	case "gs_session_memory_detail":
		return q.memory(), nil
	case "pg_proc":
		t := table{cols: []string{"proname"}}
		for _, o := range sortedKeys(q.cat.objects) {
			if n, ok := strings.CutPrefix(o, q.db+" "); ok && !strings.Contains(n, ":") {
				t.rows = append(t.rows, []string{n})
			}
		}
		return t, nil
	case "pg_stat_activity":
		t := table{cols: []string{"pid", "datname", "usename", "application_name", "state", "query"}, rows: [][]string{{"140000000000001", q.db, q.user, "gsql", "active", text}}}
		if s.opts.Load && in.primary() {
			t.rows = append(t.rows, []string{"140000000000002", "postgres", "app", "meter", "active", "insert into hb values(1,1,now())"})
		}
		return t, nil
	case "pg_language":
		return table{cols: []string{"lanname"}, rows: [][]string{{"internal"}, {"c"}, {"sql"}, {"java"}, {"plpgsql"}}}, nil
	case "pg_foreign_server": // initdb makes the one of MOT
		return table{cols: []string{"srvname"}, rows: [][]string{{"mot_server"}}}, nil
	case "pg_extension", "pg_tablespace", "pg_class", "pg_prepared_xacts", "pg_user_mapping":
		return table{cols: []string{map[string]string{"pg_extension": "extname", "pg_tablespace": "spcname", "pg_class": "relname", "pg_prepared_xacts": "gid", "pg_user_mapping": "umuser"}[name]}}, nil
	case "gs_archive_status":
		if in.base >= 92300 {
			return table{cols: []string{"status"}}, nil
		}
	case "hb":
		t := table{cols: []string{"id"}}
		t.rows = make([][]string, in.rows)
		for i := range t.rows {
			t.rows[i] = []string{fmt.Sprint(i)}
		}
		return t, nil
	}
	if !q.cat.has(q.db, "table:"+name) {
		return table{}, q.noRelation(text, name)
	}
	return q.userTable(name), nil
}

// userTable makes the rows of a table that statements made.
func (q *sql) userTable(name string) table {
	t := table{}
	for _, o := range sortedKeys(q.cat.objects) {
		if cols, ok := strings.CutPrefix(o, q.db+" cols:"+name+":"); ok && cols != "" {
			t.cols = strings.Split(cols, ",")
		}
		rest, ok := strings.CutPrefix(o, q.db+" row:"+name+":")
		if !ok {
			continue
		}
		_, vals, _ := strings.Cut(rest, ":")
		var r []string
		for _, v := range splitList(vals) {
			r = append(r, strings.Trim(v, "'"))
		}
		t.rows = append(t.rows, r)
		for len(t.cols) < len(r) {
			t.cols = append(t.cols, string(rune('a'+len(t.cols))))
		}
	}
	if t.cols == nil {
		t.cols = []string{"a"}
	}
	return t
}

// replicationView makes the rows of what a server says about its links.
func (q *sql) replicationView(name string) table {
	in, s, w := q.in, q.s, q.World
	switch name {
	case "pg_stat_get_wal_senders":
		t := table{cols: []string{"pid", "sender_pid", "local_role", "peer_role", "peer_state", "state", "catchup_start", "catchup_end", "sender_sent_location", "sender_write_location", "sender_flush_location", "sender_replay_location",
			"receiver_received_location", "receiver_write_location", "receiver_flush_location", "receiver_replay_location", "sync_percent", "sync_state", "sync_priority", "sync_most_available", "channel"}}
		for _, sb := range q.senders() {
			st, sync, prio := s.senderState(w, in, sb)
			a, b := lsnText(in.lsn), lsnText(sb.lsn)
			ava := "Off"
			if in.srv.conf["most_available_sync"] == "on" {
				ava = "On"
			}
			at := sb.srv.since.Format("2006-01-02 15:04:05.000000+00")
			t.rows = append(t.rows, []string{fmt.Sprint(sb.srv.session), fmt.Sprint(sb.srv.spid), in.srv.role, sb.srv.role, "Normal", st, at, at, a, a, a, a, b, b, b, b,
				percent(in.lsn, sb.lsn), sync, fmt.Sprint(prio), ava, fmt.Sprintf("%s:%d-->%s:%d", in.addr, in.port+1, sb.addr, sb.srv.port)})
		}
		return t
	case "pg_stat_get_wal_receiver":
		t := table{cols: []string{"receiver_pid", "local_role", "peer_role", "peer_state", "state", "sender_sent_location", "sender_write_location", "sender_flush_location", "sender_replay_location",
			"receiver_received_location", "receiver_write_location", "receiver_flush_location", "receiver_replay_location", "sync_percent", "channel"}}
		if up := s.inst(in.srv.up); in.srv.linked && up != nil && up.srv != nil {
			st := "Normal"
			if db, _ := in.dbState(w); db == "Catchup" {
				st = db
			}
			a, b := lsnText(up.lsn), lsnText(in.lsn)
			t.rows = [][]string{{fmt.Sprint(in.srv.rpid), in.srv.role, up.srv.role, "Normal", st, a, a, a, a, b, b, b, b, percent(up.lsn, in.lsn), fmt.Sprintf("%s:%d<--%s:%d", in.addr, in.srv.port, up.addr, up.port+1)}}
		}
		return t
	case "pg_stat_get_stream_replications":
		st, det := in.dbState(w)
		return table{cols: []string{"local_role", "static_connections", "db_state", "detail_information"}, num: map[string]bool{"static_connections": true},
			rows: [][]string{{in.srv.role, fmt.Sprint(staticConnections(in.srv.conf)), st, det}}}
	case "pg_replication_slots":
		t := table{cols: []string{"slot_name", "plugin", "slot_type", "datoid", "database", "active", "xmin", "catalog_xmin", "restart_lsn", "dummy_standby", "confirmed_flush"}}
		for _, sb := range s.insts {
			if sb == in {
				continue
			}
			active := sb.srv != nil && sb.srv.linked && sb.srv.up == in.name
			if in.primary() {
				t.rows = append(t.rows, []string{fmt.Sprintf("%s_%s_%d", sb.name, sb.addr, sb.port+1), "", "physical", "0", "", tf(active), "", "", lsnText(sb.lsn), "f", ""})
			}
		}
		return t
	default: // pg_stat_replication
		t := table{cols: []string{"pid", "usesysid", "usename", "application_name", "client_addr", "client_hostname", "client_port", "backend_start", "state",
			"sender_sent_location", "receiver_write_location", "receiver_flush_location", "receiver_replay_location", "sync_priority", "sync_state"}}
		for _, sb := range q.senders() {
			st, sync, prio := s.senderState(w, in, sb)
			b := lsnText(sb.lsn)
			t.rows = append(t.rows, []string{fmt.Sprint(sb.srv.session), "10", s.opts.User, "WalSender to Standby[walreceiver]", sb.addr, "", fmt.Sprint(sb.srv.port), sb.srv.since.Format("2006-01-02 15:04:05.000000+00"), st,
				lsnText(in.lsn), b, b, b, fmt.Sprint(prio), sync})
		}
		return t
	}
}

// senders are the standbys that stream from this server.
func (q *sql) senders() []*instance {
	var out []*instance
	for _, sb := range q.s.insts {
		if sb.srv != nil && sb.srv.linked && sb.srv.up == q.in.name {
			out = append(out, sb)
		}
	}
	return out
}

// memory is gs_session_memory_detail. The walsender of 2.0.1 loses memory with
// every bit of WAL when archiving is on (spec/mogdb.md section 1); a walsender
// has sesstype postgres (golden swap/022).
func (q *sql) memory() table {
	t := table{cols: []string{"sessid", "sesstype", "contextname", "level", "parent", "totalsize", "freesize", "usedsize"},
		num: map[string]bool{"level": true, "totalsize": true, "freesize": true, "usedsize": true}}
	for _, sb := range q.senders() {
		used := int64(8394696)
		if q.in.srv.rel.Number == 92299 && q.in.srv.conf["archive_mode"] == "on" {
			used += int64(q.in.lsn-sb.srv.base) / 64
		}
		used += int64(q.World.Time().Sub(sb.srv.since)/time.Minute) % 5 * 1024
		free := int64(2240)
		t.rows = append(t.rows, []string{fmt.Sprintf("%d.%d", sb.srv.since.Unix(), sb.srv.session), "postgres", "Wal Sender", "1", "TopMemoryContext", fmt.Sprint(used + free), fmt.Sprint(free), fmt.Sprint(used)})
	}
	for _, k := range [][2]string{{"AutoVacLauncher", "WAL record construction"}, {"Auxiliary", "Wal Writer Auxiliary"}, {"Auxiliary", "Wal Writer"}} {
		t.rows = append(t.rows, []string{"0.140000000000009", k[0], k[1], "1", "TopMemoryContext", "49520", "6640", "42880"})
	}
	return t
}

// ---- how gsql prints ----

func (q *sql) print(t table) *sqlError {
	switch {
	case q.exp && !q.plain:
		q.expanded(t)
	case q.plain:
		q.unaligned(t)
	default:
		q.aligned(t)
	}
	return nil
}

func (q *sql) unaligned(t table) {
	if !q.tuples {
		q.Print(strings.Join(t.cols, q.sep) + "\n")
	}
	for _, r := range t.rows {
		q.Print(strings.Join(r, q.sep) + "\n")
	}
	if !q.tuples {
		q.Print(rowCount(len(t.rows)) + "\n")
	}
}

func rowCount(n int) string {
	if n == 1 {
		return "(1 row)"
	}
	return fmt.Sprintf("(%d rows)", n)
}

func (q *sql) aligned(t table) {
	w := make([]int, len(t.cols))
	for i, c := range t.cols {
		w[i] = len(c)
		for _, r := range t.rows {
			w[i] = max(w[i], len(r[i]))
		}
	}
	if !q.tuples {
		var head, rule []string
		for i, c := range t.cols {
			left := (w[i] - len(c)) / 2
			head = append(head, " "+strings.Repeat(" ", left)+c+strings.Repeat(" ", w[i]-len(c)-left)+" ")
			rule = append(rule, strings.Repeat("-", w[i]+2))
		}
		q.Print(strings.Join(head, "|") + "\n" + strings.Join(rule, "+") + "\n")
	}
	for _, r := range t.rows {
		var cells []string
		for i, v := range r {
			switch {
			case t.num[t.cols[i]]:
				v = fmt.Sprintf("%*s", w[i], v)
			case i < len(r)-1:
				v = fmt.Sprintf("%-*s", w[i], v)
			}
			if i < len(r)-1 {
				v += " "
			}
			cells = append(cells, " "+v)
		}
		q.Print(strings.Join(cells, "|") + "\n")
	}
	if !q.tuples {
		q.Print(rowCount(len(t.rows)) + "\n")
	}
	q.Print("\n")
}

func (q *sql) expanded(t table) {
	if len(t.rows) == 0 {
		q.Print("(No rows)\n")
		return
	}
	names, vals := 0, 0
	for i, c := range t.cols {
		names = max(names, len(c))
		for _, r := range t.rows {
			vals = max(vals, len(r[i]))
		}
	}
	for n, r := range t.rows {
		head := fmt.Sprintf("-[ RECORD %d ]", n+1)
		head += strings.Repeat("-", max(names+1-len(head), 0))
		if len(head) < names+2 {
			head += "+" + strings.Repeat("-", vals+1)
		}
		q.Print(head + "\n")
		for i, c := range t.cols {
			q.Printf("%-*s | %s\n", names, c, r[i])
		}
	}
	q.Print("\n")
}

func (q *sql) listDBs() int {
	q.Print(`                         List of databases
   Name    | Owner | Encoding | Collate | Ctype | Access privileges 
-----------+-------+----------+---------+-------+-------------------
`)
	for _, d := range q.in.cat.dbs {
		q.Printf(" %-9s | %-5s | UTF8     | C       | C     | ", d, q.s.opts.User)
		if strings.HasPrefix(d, "template") {
			q.Printf("=c/%s           +\n           |       |          |         |       | %s=CTc/%s", q.s.opts.User, q.s.opts.User, q.s.opts.User)
		}
		q.Print("\n")
	}
	q.Printf("(%d rows)\n\n", len(q.in.cat.dbs))
	return 0
}
