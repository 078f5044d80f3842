package gauss

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// sql is one run of gsql.
type sql struct {
	*sim.Call
	s    *state
	in   *instance
	rel  Release
	db   string
	user string
	host string
	port int

	cmd, file          string
	hasCmd, hasFile    bool
	list               bool
	tuples, plain, exp bool
	sep                string
	stop, echo, quiet  bool

	tx     bool
	cat    *catalog
	failed bool // the transaction is aborted
	vars   map[string]string
	wrote  bool
}

// sqlError is an error of the server.
type sqlError struct {
	text   string
	detail string // lines behind the first
	exit   int    // what gsql -c exits with; 0 for most (golden 5.0.0/101)
}

func (e *sqlError) Error() string { return e.text }

func failf(format string, a ...any) *sqlError { return &sqlError{text: fmt.Sprintf(format, a...)} }

func gsqlTool(call *sim.Call) int {
	rel, _ := releaseOf(call.Image)
	q := &sql{Call: call, s: stateOf(call.World), rel: rel, user: call.User.Name, port: 5432, sep: "|", vars: map[string]string{}}
	if p, err := strconv.Atoi(call.Env["PGPORT"]); err == nil {
		q.port = p
	}
	if code, done := q.parse(); done {
		return code
	}
	q.libWarning()
	q.s.settle(call.World)
	if code := q.connect(); code != 0 {
		return code
	}
	q.cat = q.in.cat
	switch {
	case q.list:
		return q.listDBs()
	case q.hasFile:
		return q.runFile()
	case q.hasCmd:
		return q.runCommand()
	}
	return q.runScript("", string(q.Input()))
}

func (q *sql) parse() (code int, done bool) {
	args := q.Args()
	for i := 0; i < len(args); i++ {
		a := args[i]
		val := ""
		if name, v, ok := strings.Cut(a, "="); ok && strings.HasPrefix(a, "--") {
			a, val = name, v
		} else if strings.HasPrefix(a, "--") && slices.Contains([]string{"--set", "--variable", "--command", "--file", "--dbname", "--port", "--host", "--username", "--field-separator"}, a) && i+1 < len(args) {
			i++
			val = args[i]
		}
		if !strings.HasPrefix(a, "--") && len(a) > 1 && a[0] == '-' {
			if code, done := q.short(a, args, &i); done {
				return code, true
			}
			continue
		}
		if code, done := q.long(a, val); done {
			return code, true
		}
	}
	if q.db == "" {
		q.db = q.user
	}
	return 0, false
}

func (q *sql) long(a, val string) (code int, done bool) {
	switch a {
	case "--version":
		q.version()
		return 0, true
	case "--set", "--variable":
		q.setVar(val)
	case "--command":
		q.cmd, q.hasCmd = val, true
	case "--file":
		q.file, q.hasFile = val, true
	case "--dbname":
		q.db = val
	case "--port":
		q.port, _ = strconv.Atoi(val)
	case "--host":
		q.host = val
	case "--username":
		q.user = val
	case "--field-separator":
		q.sep = val
	case "--no-psqlrc", "--single-transaction", "--maintenance":
	case "--tuples-only":
		q.tuples = true
	case "--no-align":
		q.plain = true
	case "--expanded":
		q.exp = true
	case "--echo-queries":
		q.echo = true
	case "--quiet":
		q.quiet = true
	case "--list":
		q.list = true
	default:
		if strings.HasPrefix(a, "-") {
			q.Errorf("gsql: unrecognized option '%s'\nTry \"gsql --help\" for more information.\n", a)
			return 1, true
		}
		if q.db == "" {
			q.db = a
		} else {
			q.user = a
		}
	}
	return 0, false
}

// short reads bundled one-letter options. Of several -c only the last one
// counts (golden 5.0.0/075).
func (q *sql) short(a string, args []string, i *int) (code int, done bool) {
	for j := 1; j < len(a); j++ {
		k := a[j]
		if strings.IndexByte("dphUcfvFWPR", k) >= 0 {
			val := a[j+1:]
			if val == "" {
				*i++
				if *i >= len(args) {
					q.Errorf("gsql: option requires an argument -- '%c'\nTry \"gsql --help\" for more information.\n", k)
					return 1, true
				}
				val = args[*i]
			}
			switch k {
			case 'd':
				q.db = val
			case 'p':
				q.port, _ = strconv.Atoi(val)
			case 'h':
				q.host = val
			case 'U':
				q.user = val
			case 'c':
				q.cmd, q.hasCmd = val, true
			case 'f':
				q.file, q.hasFile = val, true
			case 'v':
				q.setVar(val)
			case 'F':
				q.sep = val
			}
			return 0, false
		}
		switch k {
		case 'V':
			q.version()
			return 0, true
		case 't':
			q.tuples = true
		case 'A':
			q.plain = true
		case 'x':
			q.exp = true
		case 'q':
			q.quiet = true
		case 'e':
			q.echo = true
		case 'l':
			q.list = true
		case 'X', 'r', 'm', 'C', 'n', 'a', '1', 's':
		default:
			q.Errorf("gsql: invalid option -- '%c'\nTry \"gsql --help\" for more information.\n", k)
			return 1, true
		}
	}
	return 0, false
}

func (q *sql) setVar(v string) {
	k, val, _ := strings.Cut(v, "=")
	if k == "ON_ERROR_STOP" {
		q.stop = val != "off" && val != "0"
	}
}

func (q *sql) version() {
	q.Print("gsql " + q.rel.banner() + "\n")
	q.libWarning()
}

// libWarning is what a half finished swap shows (golden swap/009).
func (q *sql) libWarning() {
	text, ok := q.Machine.Read(strings.TrimSuffix(q.Path, "/bin/gsql") + "/lib/libpq.so.5.5")
	lib, _ := releaseOf(strings.TrimSpace(text))
	if ok && lib.Commit != q.rel.Commit {
		q.Errorf("[Warning]: The \"libpq.so\" loaded mismatch the version of gsql, please check it.\nexpected: %s\nresult: %s\n", q.rel.banner(), lib.banner())
	}
}

func (q *sql) connect() int {
	m := q.Machine.Name()
	if q.host != "" && !strings.HasPrefix(q.host, "/") && q.host != "localhost" && q.host != "127.0.0.1" {
		if other := q.World.ByAddress(q.host); other != nil && reachable(q.World, m, other.Name()) {
			m = other.Name()
		}
	}
	q.in = q.s.byPort(m, q.port)
	where := "Unknown"
	if q.host != "" && !strings.HasPrefix(q.host, "/") {
		where = q.host
	}
	fatal := func(text string) int {
		q.Errorf("gsql: (connect to V5 server) FATAL:  %s\n(connect to V1 server) FATAL:  %s\n", text, strings.ReplaceAll(text, `"`+q.db+`"`, `"`+strings.ToUpper(q.db)+`"`))
		return 2
	}
	switch {
	case q.in == nil || q.in.srv == nil:
		q.Errorf("failed to connect %s:%d.\n", where, q.port)
		return 2
	case q.in.srv.frozen:
		q.Sleep(time.Hour)
	case q.in.srv.phase == "Demoting" || q.World.Time().Before(q.in.srv.refuses):
		q.Errorf("gsql: (connect to V5 server) could not receive data from server, error: Connection reset by peer, remote datanode: (null)\n(connect to V1 server) could not receive data from server, error: Connection reset by peer, remote datanode: (null)\n")
		return 2
	case where != "Unknown":
		q.Errorf("Password: \n")
		return fatal("Invalid username/password,login denied.")
	case !slices.Contains(q.in.cat.dbs, q.db):
		return fatal(fmt.Sprintf("database \"%s\" does not exist", q.db))
	case q.db == "template0" && mode(q.in.srv.conf) == "0":
		return fatal("database \"template0\" is not currently accepting connections")
	}
	return 0
}

// runCommand sends all of -c at once: it is one transaction, and only the
// answer to the last statement is shown.
func (q *sql) runCommand() int {
	all := splitSQL(q.cmd)
	if len(all) > 1 {
		q.tx = true
	}
	for i, st := range all {
		if q.echo {
			q.Print(st.text + ";\n")
		}
		before := q.Said()
		if err := q.exec(st.text); err != nil {
			q.report("", st, q.cmd, err)
			if q.stop {
				return 3
			}
			return err.exit
		}
		if i < len(all)-1 {
			q.Trim(q.Said() - before)
		}
	}
	if q.tx && q.wrote {
		q.store()
	}
	return 0
}

func (q *sql) runFile() int {
	body, err := q.ReadFile(q.file)
	if err != nil {
		q.Errorf("%s: No such file or directory\n", q.file)
		return 1
	}
	return q.runScript(q.file, string(body))
}

func (q *sql) runScript(file, body string) int {
	code := 0
	begin := q.World.Time()
	for _, st := range splitSQL(body) {
		if q.echo {
			q.Print(st.text + ";\n")
		}
		if err := q.exec(st.text); err != nil {
			q.report(file, st, st.text+";", err)
			if q.tx {
				q.failed = true
			}
			if q.stop {
				code = 3
				break
			}
		} else {
			q.notices(file, st.line)
		}
		q.Sleep(500 * time.Microsecond)
	}
	q.Printf("total time: %d  ms\n", q.World.Time().Sub(begin).Milliseconds())
	return code
}

// report writes an error the way gsql does.
func (q *sql) report(file string, st stmt, text string, e *sqlError) {
	at := ""
	if file != "" {
		at = fmt.Sprintf("gsql:%s:%d: ", file, st.line)
	}
	q.Errorf("%sERROR:  %s\n%s", at, e.text, strings.ReplaceAll(e.detail, "%STMT%", text))
}

func (q *sql) notices(file string, line int) {
	if n := q.vars["notice"]; n != "" {
		q.Errorf("gsql:%s:%d: NOTICE:  %s\n", file, line, n)
		delete(q.vars, "notice")
	}
}

// stmt is one statement and the line on which it ends.
type stmt struct {
	text string
	line int
}

// splitSQL cuts a script at semicolons outside quotes and comments.
func splitSQL(body string) []stmt {
	var out []stmt
	line, start := 1, 0
	quote := ""
	flush := func(end int) {
		if t := trimSQL(body[start:end]); t != "" {
			out = append(out, stmt{t, line})
		}
		start = end + 1
	}
	for i := 0; i < len(body); i++ {
		switch {
		case body[i] == '\n':
			line++
			if quote == "--" {
				quote = ""
			}
		case quote == "--":
		case quote == "/*":
			if strings.HasPrefix(body[i:], "*/") {
				quote = ""
			}
		case quote != "":
			if strings.HasPrefix(body[i:], quote) {
				i += len(quote) - 1
				quote = ""
			}
		case body[i] == '\'' || body[i] == '"':
			quote = body[i : i+1]
		case strings.HasPrefix(body[i:], "--"):
			quote = "--"
		case strings.HasPrefix(body[i:], "/*"):
			quote = "/*"
		case strings.HasPrefix(body[i:], "$$"):
			quote = "$$"
			i++
		case body[i] == ';':
			flush(i)
		}
	}
	if start < len(body) {
		flush(len(body))
	}
	return out
}

// trimSQL takes comment lines and blanks from both ends.
func trimSQL(s string) string {
	for {
		s = strings.TrimSpace(s)
		switch {
		case strings.HasPrefix(s, "--"):
			_, s, _ = strings.Cut(s, "\n")
		case strings.HasPrefix(s, "/*"):
			_, s, _ = strings.Cut(s, "*/")
		default:
			return s
		}
	}
}

func (q *sql) exec(text string) *sqlError {
	low := strings.ToLower(strings.Join(strings.Fields(text), " "))
	if q.failed && low != "commit" && low != "rollback" && low != "end" {
		return failf("current transaction is aborted, commands ignored until end of transaction block, firstChar[Q]")
	}
	word, _, _ := strings.Cut(low, " ")
	switch word {
	case "select", "with", "values":
		return q.selectStmt(text)
	case "show":
		return q.show(strings.TrimSpace(low[4:]))
	case "set", "reset":
		return q.setStmt(low)
	case "start", "begin":
		q.tx, q.cat = true, q.in.cat
		q.tag(map[string]string{"start": "START TRANSACTION", "begin": "BEGIN"}[word])
		return nil
	case "commit", "end":
		return q.commit()
	case "rollback", "abort":
		q.tx, q.failed, q.cat = false, false, q.in.cat
		q.tag("ROLLBACK")
		return nil
	case "checkpoint":
		q.tag("CHECKPOINT")
		return nil
	}
	return q.change(text, low)
}

func (q *sql) tag(t string) {
	if !q.quiet {
		q.Print(t + "\n")
	}
}

func (q *sql) commit() *sqlError {
	failed := q.failed
	q.tx, q.failed = false, false
	if failed {
		q.cat = q.in.cat
		q.tag("ROLLBACK")
		return nil
	}
	if q.wrote {
		q.store()
	}
	q.tag("COMMIT")
	return nil
}

// store makes the session's catalogue the database's.
func (q *sql) store() {
	q.in.cat = q.cat
	q.wrote = false
	q.s.write(q.World, q.in, 4096)
}

func (q *sql) setStmt(low string) *sqlError {
	rest := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(low, "set "), "local "), "session ")
	name, val, ok := strings.Cut(rest, "=")
	if !ok {
		name, val, _ = strings.Cut(rest, " to ")
	}
	name, val = strings.TrimSpace(name), strings.Trim(strings.TrimSpace(val), "'")
	if name == "isinplaceupgrade" && (val == "on" || val == "true") {
		if mode(q.in.srv.conf) == "0" {
			return &sqlError{text: "Can not set IsInPlaceUpgrade to true while not performing upgrade.", exit: 1}
		}
		q.vars["inplace"] = "on"
	}
	if name == "inplace_upgrade_next_system_object_oids" && q.vars["inplace"] == "" {
		return &sqlError{text: "Can not set inplace_upgrade_next_system_object_oids while not performing upgrade.", exit: 1}
	}
	q.tag(strings.ToUpper(strings.Fields(low)[0]))
	return nil
}

// change is everything that writes.
func (q *sql) change(text, low string) *sqlError {
	f := strings.Fields(low)
	verb := strings.ToUpper(f[0])
	tag := verb
	switch f[0] {
	case "create", "drop", "alter":
		tag = verb + " " + objectKind(f[1:])
	case "insert":
		tag = "INSERT"
	case "do", "declare":
		tag = "ANONYMOUS BLOCK EXECUTE"
	case "comment", "grant", "revoke", "truncate", "delete", "update", "vacuum", "analyze", "reindex", "call", "lock", "copy", "cluster":
		if f[0] == "truncate" {
			tag = "TRUNCATE TABLE"
		}
	default:
		return &sqlError{text: fmt.Sprintf("syntax error at or near \"%s\"", strings.Fields(text)[0]), detail: "LINE 1: %STMT%\n        ^\n"}
	}
	if !q.in.primary() {
		return failf("cannot execute %s in a read-only transaction", tag)
	}
	if ro := q.in.srv.conf["default_transaction_read_only"]; ro == "on" || ro == "true" {
		return failf("cannot execute %s in a read-only transaction", tag)
	}
	if !q.s.acknowledges(q.in) {
		q.Sleep(time.Hour) // the commit waits for a synchronous standby
	}
	if err := q.do(text, low, f, &tag); err != nil {
		return err
	}
	q.wrote = true
	if !q.tx {
		q.store()
	}
	q.tag(tag)
	return nil
}

func objectKind(f []string) string {
	for _, w := range f {
		switch w {
		case "or", "replace", "unique", "temp", "temporary", "global", "local", "unlogged":
			continue
		}
		return strings.ToUpper(w)
	}
	return ""
}

func (q *sql) do(text, low string, f []string, tag *string) *sqlError {
	kind := *tag
	switch kind {
	case "CREATE FUNCTION", "DROP FUNCTION":
		return q.function(text, low, kind)
	case "CREATE DATABASE":
		return q.createDatabase(strings.Trim(f[2], `"`))
	case "CREATE TABLE":
		name := tableName(f[2:])
		if q.cat.has(q.db, "table:"+name) {
			if strings.Contains(low, "if not exists") {
				q.Errorf("NOTICE:  relation \"%s\" already exists, skipping\n", name)
				return nil
			}
			return failf("relation \"%s\" already exists in schema \"public\"", name)
		}
		q.cat = q.cat.with(q.db, "table:"+name, true).with(q.db, "cols:"+name+":"+columns(low), true)
	case "DROP TABLE":
		name := tableName(f[2:])
		if !q.cat.has(q.db, "table:"+name) {
			if strings.Contains(low, "if exists") {
				q.Errorf("NOTICE:  table \"%s\" does not exist, skipping\n", name)
				return nil
			}
			return failf("table \"%s\" does not exist", name)
		}
		for o := range q.cat.objects {
			if strings.HasPrefix(o, q.db+" row:"+name+":") || strings.HasPrefix(o, q.db+" cols:"+name+":") {
				q.cat = q.cat.with(q.db, strings.TrimPrefix(o, q.db+" "), false)
			}
		}
		q.cat = q.cat.with(q.db, "table:"+name, false)
	case "INSERT":
		*tag = "INSERT 0 1"
		return q.insert(text, tableName(f[2:]))
	case "DELETE", "TRUNCATE TABLE":
		name := tableName(f[2:])
		n := 0
		for _, o := range sortedKeys(q.cat.objects) {
			if strings.HasPrefix(o, q.db+" row:"+name+":") {
				q.cat = q.cat.with(q.db, strings.TrimPrefix(o, q.db+" "), false)
				n++
			}
		}
		if kind == "DELETE" {
			*tag = fmt.Sprintf("DELETE %d", n)
		}
	case "UPDATE":
		*tag = "UPDATE 0"
	}
	return nil
}

func (q *sql) createDatabase(name string) *sqlError {
	if slices.Contains(q.cat.dbs, name) {
		return failf("database \"%s\" already exists", name)
	}
	if q.vars["template0"] != "" {
		return failf("can not execute create database statement when update template0")
	}
	c := *q.cat
	c.dbs = append(slices.Clone(c.dbs), name)
	c.objects = maps.Clone(c.objects)
	for o := range q.cat.objects {
		if rest, ok := strings.CutPrefix(o, "template1 "); ok {
			c.objects[name+" "+rest] = true
		}
	}
	q.cat = &c
	return nil
}

func (q *sql) insert(text, name string) *sqlError {
	if name == "hb" {
		q.in.rows++
		return nil
	}
	if !q.cat.has(q.db, "table:"+name) {
		return q.noRelation(text, name)
	}
	_, vals, _ := strings.Cut(text, "(")
	if i := strings.Index(strings.ToLower(text), "values"); i >= 0 {
		_, vals, _ = strings.Cut(text[i:], "(")
	}
	vals = strings.TrimSuffix(strings.TrimSpace(vals), ")")
	q.cat = q.cat.with(q.db, fmt.Sprintf("row:%s:%06d:%s", name, len(q.cat.objects), vals), true)
	return nil
}

// columns are the names in create table t(a int, b text).
func columns(low string) string {
	_, list, _ := strings.Cut(low, "(")
	list = strings.TrimSuffix(strings.TrimSpace(list), ")")
	var out []string
	for _, c := range splitList(list) {
		if f := strings.Fields(c); len(f) > 1 && !slices.Contains([]string{"primary", "unique", "constraint", "check"}, f[0]) {
			out = append(out, f[0])
		}
	}
	return strings.Join(out, ",")
}

func tableName(f []string) string {
	for _, w := range f {
		if slices.Contains([]string{"if", "not", "exists", "into", "from", "table", "only"}, w) {
			continue
		}
		w, _, _ = strings.Cut(w, "(")
		return strings.TrimPrefix(strings.Trim(w, `"`), "public.")
	}
	return ""
}

// function makes and drops functions; in pg_catalog only during an upgrade.
func (q *sql) function(text, low, kind string) *sqlError {
	name := objectIn(text)
	if name == "" {
		return nil // a user's own
	}
	if q.vars["inplace"] == "" {
		verb := map[string]string{"CREATE FUNCTION": "create", "DROP FUNCTION": "drop"}[kind]
		return &sqlError{text: fmt.Sprintf("permission denied to %s \"pg_catalog.%s\"", verb, name), detail: "DETAIL:  System catalog modifications are currently disallowed.\n", exit: 0}
	}
	if kind == "DROP FUNCTION" {
		if !q.cat.has(q.db, name) {
			if !strings.Contains(low, "if exists") {
				return failf("function pg_catalog.%s(oid) does not exist", name)
			}
			q.vars["notice"] = fmt.Sprintf("function pg_catalog.%s(oid) does not exist, skipping", name)
			return nil
		}
		q.cat = q.cat.with(q.db, name, false)
		return nil
	}
	if q.cat.has(q.db, name) && !strings.Contains(low, "or replace") {
		return failf("function \"%s\" already exists with same argument types", name)
	}
	if rest, ok := strings.CutPrefix(name, "gs_upgrade_post_"); ok {
		if n := kernelNumber(strings.Replace(rest, "_", ".", 1)); n > q.in.srv.rel.Number {
			return failf("there is no built-in function named \"%s\"", name)
		}
		q.judgePost()
	}
	q.cat = q.cat.with(q.db, name, true)
	return nil
}

// judgePost notes post scripts that run while a node still has old binaries.
func (q *sql) judgePost() {
	for _, in := range q.s.insts {
		if in.srv != nil && in.srv.rel.Number < q.in.srv.rel.Number {
			q.s.truth.damage(q.World, "OG-POST-MIXED", in.node, "upgrade-post ran while this node runs "+in.srv.rel.Version)
		}
	}
}

func (q *sql) noRelation(text, name string) *sqlError {
	i := strings.Index(strings.ToLower(text), name)
	return &sqlError{
		text:   fmt.Sprintf("relation \"%s\" does not exist on %s", name, q.in.nodeName()),
		detail: "LINE 1: %STMT%\n" + strings.Repeat(" ", len("LINE 1: ")+max(i, 0)) + "^\n",
	}
}

// nodeName is pgxc_node_name of the server.
func (in *instance) nodeName() string {
	if n := in.srv.conf["pgxc_node_name"]; n != "" {
		return n
	}
	return in.name
}
