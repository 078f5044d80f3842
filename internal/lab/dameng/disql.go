package dameng

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// session is one run of disql.
type session struct {
	c        *sim.Call
	r        *room
	s        *site
	zh       bool
	silent   bool
	lines    bool // LINESHOW
	timing   bool
	ctrl     int
	on       bool // connected
	execute  int
	codeExit bool // WHENEVER SQLERROR EXIT
	code     int
	done     bool
	buf      bytes.Buffer
}

// disql [-S] [-L] [user/pwd@host:port | /NOLOG]; statements on standard input.
func disql(c *sim.Call) int {
	r, s := siteOf(c.World, c.Machine)
	d := &session{c: c, r: r, s: s, zh: r.opts.Lang != "en", lines: true, timing: true, execute: 2100}
	for _, a := range c.Args() {
		switch {
		case a == "-h" || a == "-H":
			return disqlHelp(c)
		case a == "-S" || a == "-s":
			d.silent = true
		case a == "-L" || a == "-l":
		case strings.EqualFold(a, "/NOLOG"):
		default:
			c.World.Complain("%s: disql %q: the password would be seen in argv", s.Name, a)
			return c.Fail(1, "disql: unknown argument")
		}
	}
	if !d.silent {
		d.say("%s\n", banner(c.Image))
	}
	if c.Exists(s.Home + "/bin/disql_conf/login.sql") {
		d.lines = false // what site profiles do: SET LINESHOW OFF
	}
	stmt := ""
	for line := range strings.Lines(string(c.Input())) {
		if d.done {
			break
		}
		line = strings.TrimSpace(line)
		if stmt == "" && d.command(line) {
			continue
		}
		stmt = strings.TrimSpace(stmt + " " + line)
		if strings.HasSuffix(stmt, ";") {
			d.run(strings.TrimSpace(strings.TrimSuffix(stmt, ";")))
			stmt = ""
		}
	}
	out := d.buf.Bytes()
	if r.opts.GBK {
		if enc, err := simplifiedchinese.GBK.NewEncoder().Bytes(out); err == nil {
			out = enc
		}
	}
	c.Print(string(out))
	return d.code
}

// banner is the first line of a tool: DM8 does not tell its release.
func banner(release string) string {
	if v := ver(release); v[0] < 8 {
		return "disql V" + release + "-Build(2019.07.02-109059)ENT"
	}
	return "disql V8"
}

func disqlHelp(c *sim.Call) int {
	c.Print(banner(c.Image) + "\nDM disql usage: disql [-L] [-S] [<logon> | /NOLOG]\n")
	return 0
}

func (d *session) say(format string, args ...any) { fmt.Fprintf(&d.buf, format, args...) }

func (d *session) word(zh, en string) string {
	if d.zh {
		return zh
	}
	return en
}

// command carries out what is not SQL: CONN, SET, EXIT, WHENEVER.
func (d *session) command(line string) bool {
	up := strings.ToUpper(strings.TrimSuffix(line, ";"))
	switch {
	case line == "":
	case up == "EXIT" || up == "QUIT":
		d.done = true
	case strings.HasPrefix(up, "CONN"):
		d.connect(strings.TrimSpace(strings.TrimSuffix(line[strings.IndexByte(line+" ", ' '):], ";")))
	case strings.HasPrefix(up, "WHENEVER SQLERROR EXIT"):
		d.codeExit = true
	case strings.HasPrefix(up, "SET "):
		d.set(strings.Fields(up)[1:])
	default:
		return false
	}
	return true
}

func (d *session) set(words []string) {
	for i := 0; i+1 < len(words); i += 2 {
		switch words[i] {
		case "LINESHOW":
			d.lines = words[i+1] == "ON"
		case "TIMING":
			d.timing = words[i+1] == "ON"
		case "CTRL_INFO":
			d.ctrl, _ = strconv.Atoi(words[i+1])
		}
	}
}

var logon = regexp.MustCompile(`^(\w+)?/("([^"]*)"|[^@]*)?@([^:]+):(\d+)( AS SYSDBA)?$`)

func (d *session) connect(how string) {
	m := logon.FindStringSubmatch(how)
	if m == nil {
		d.fail(-2007, d.word("语法分析出错", "syntax error"))
		return
	}
	port, _ := strconv.Atoi(m[5])
	sv := d.r.servers[d.s.Name]
	if port != d.s.Port || sv == nil || d.c.World.Time().Before(sv.ReadyAt) {
		d.fail(-70028, d.word("创建SOCKET连接失败", "Create SOCKET connection failure"))
		return
	}
	password := m[3]
	if m[3] == "" {
		password = m[2]
	}
	if m[1] != "" && (!strings.EqualFold(m[1], "SYSDBA") || password != d.r.opts.Password) {
		d.fail(-2501, d.word("用户名或密码错误", "Invalid username or password"))
		return
	}
	d.on = true
	if d.silent {
		return
	}
	l := d.r.see(d.c.World, d.s.Member)
	zh := map[string]string{"NORMAL": "普通", "PRIMARY": "主库", "STANDBY": "备库", "OPEN": "打开", "MOUNT": "配置"}
	if d.zh {
		d.say("\n服务器[LOCALHOST:%d]:处于%s%s状态\n登录使用时间 : 3.046(ms)\n", port, zh[l.Mode], zh[sv.State])
	} else {
		d.say("\nServer[LOCALHOST:%d]:mode is %s, state is %s\nlogin used time : 2.096(ms)\n", port, strings.ToLower(l.Mode), strings.ToLower(sv.State))
	}
}

func (d *session) fail(code int, text string) {
	if d.ctrl == 2 {
		d.say("ERROR %d 0 0.604 %s\n", code, text)
	} else {
		d.say("[%d]:%s.\n", code, text)
	}
	if d.codeExit {
		d.done, d.code = true, 1
	}
}

func (d *session) failText(why string) {
	m := reWhy.FindStringSubmatch(why)
	if m == nil {
		d.fail(-7000, why)
		return
	}
	code, _ := strconv.Atoi(m[1])
	d.fail(code, m[2])
}

func (d *session) done0(text string) {
	d.execute++
	d.say("%s\n", text)
	d.trailer()
}

func (d *session) trailer() {
	if d.timing {
		d.say("%s\n", fmt.Sprintf(d.word("已用时间: 0.704(毫秒). 执行号:%d.", "used time: 7.566(ms). Execute id is %d."), d.execute))
	}
	if d.ctrl == 2 {
		d.say("SELECT 0 1 0.925\n")
	}
}

// table prints rows as disql does: widths are bytes of the output encoding.
func (d *session) table(cols []string, rows [][]string) {
	d.execute++
	if len(rows) == 0 {
		d.say("%s\n\n", d.word("未选定行", "no rows"))
		d.trailer()
		return
	}
	width := make([]int, len(cols))
	for i, col := range cols {
		width[i] = len(col)
		for _, row := range rows {
			width[i] = max(width[i], d.bytes(row[i]))
		}
		if number(rows, i) {
			width[i] = max(width[i], 20)
		}
	}
	head, dash := "", ""
	if d.lines {
		no := d.word("行号", "LINEID")
		head, dash = no+strings.Repeat(" ", 10-d.bytes(no)+1), strings.Repeat("-", 10)+" "
	}
	for i, col := range cols {
		head += col + strings.Repeat(" ", width[i]-len(col)+1)
		dash += strings.Repeat("-", width[i]) + " "
	}
	d.say("\n%s\n%s\n", strings.TrimRight(head, " "), strings.TrimRight(dash, " "))
	for n, row := range rows {
		line := ""
		if d.lines {
			line = fmt.Sprintf("%-10d ", n+1)
		}
		for i, v := range row {
			line += v + strings.Repeat(" ", width[i]-d.bytes(v)+1)
		}
		d.say("%s\n", strings.TrimRight(line, " "))
	}
	d.say("\n")
	if len(rows) > 6 {
		d.say("%d rows got\n\n", len(rows))
	}
	d.trailer()
}

func (d *session) bytes(s string) int {
	if d.r.opts.GBK {
		if enc, err := simplifiedchinese.GBK.NewEncoder().String(s); err == nil {
			return len(enc)
		}
	}
	return len(s)
}

func number(rows [][]string, col int) bool {
	for _, r := range rows {
		if _, err := strconv.ParseInt(r[col], 10, 64); err != nil {
			return false
		}
	}
	return true
}

var (
	reWhy    = regexp.MustCompile(`^\[(-\d+)\]:(.*)$`)
	reSelect = regexp.MustCompile(`(?i)^SELECT\s+(.+?)\s+FROM\s+([\w$]+)(?:\s+WHERE\s+([\w$]+)\s*=\s*'?([^']*?)'?)?$`)
	rePara   = regexp.MustCompile(`(?i)^SP_SET_PARA_VALUE\s*\(\s*([12])\s*,\s*'(\w+)'\s*,\s*(\d+)\s*\)$`)
	reArch   = regexp.MustCompile(`(?i)^SP_SET_ARCH_STATUS\s*\(\s*'(\w+)'\s*,\s*([01])\s*\)$`)
	reAll    = regexp.MustCompile(`(?i)^SP_SET_ALL_ARCH_STATUS\s*\(\s*([01])\s*\)$`)
	reOguid  = regexp.MustCompile(`(?i)^SP_SET_OGUID\s*\(\s*(\d+)\s*\)$`)
	reAlter  = regexp.MustCompile(`(?i)^ALTER\s+DATABASE\s+(OPEN FORCE|OPEN|MOUNT|PRIMARY|STANDBY|NORMAL)$`)
	reHuge   = regexp.MustCompile(`(?i)^CREATE\s+HUGE\s+TABLE\s+(\w+)`)
	reTable  = regexp.MustCompile(`(?i)^CREATE\s+TABLE\s+(\w+)`)
	rePath   = regexp.MustCompile(`(?i)^ALTER\s+TABLESPACE\s+MAIN\s+ADD\s+HUGE\s+PATH\s+'([^']+)'$`)
)

func (d *session) run(stmt string) {
	stmt = strings.Join(strings.Fields(stmt), " ")
	w, r, s := d.c.World, d.r, d.s
	if !d.on || r.servers[s.Name] == nil {
		d.fail(-70019, d.word("网络通信异常", "network communication error"))
		return
	}
	d.c.Sleep(20 * time.Millisecond)
	sv, l := r.servers[s.Name], r.see(w, s.Member)
	procDone := d.word("DMSQL 过程已成功完成", "DMSQL executed successfully")
	selects := reSelect.FindStringSubmatch(stmt)
	switch {
	case strings.EqualFold(stmt, "SELECT ID_CODE"):
		d.table([]string{"ID_CODE"}, [][]string{{idCode(sv.Release)}})
	case strings.EqualFold(stmt, "SELECT PERMANENT_MAGIC"):
		d.table([]string{"PERMANENT_MAGIC"}, [][]string{{fmt.Sprint(l.PermMagic)}})
	case selects != nil:
		d.query(selects)
	case rePara.MatchString(stmt):
		d.para(rePara.FindStringSubmatch(stmt), sv)
		d.done0(procDone)
	case reArch.MatchString(stmt):
		m := reArch.FindStringSubmatch(stmt)
		d.setArch(sv, m[1], m[2] == "0")
		d.done0(procDone)
	case reAll.MatchString(stmt):
		for _, n := range r.order {
			if r.sites[n].Member != s.Member {
				d.setArch(sv, r.sites[n].Instance, reAll.FindStringSubmatch(stmt)[1] == "0")
			}
		}
		d.done0(procDone)
	case reOguid.MatchString(stmt):
		if d.mayAlter(sv) {
			l = l.clone()
			l.OGUID, _ = strconv.Atoi(reOguid.FindStringSubmatch(stmt)[1])
			r.save(w, s.Member, l)
			d.done0(procDone)
		}
	case reAlter.MatchString(stmt):
		d.alter(strings.ToUpper(reAlter.FindStringSubmatch(stmt)[1]), sv, l.clone())
	case reHuge.MatchString(stmt):
		d.createHuge(reHuge.FindStringSubmatch(stmt)[1], sv, l.clone())
	case reTable.MatchString(stmt):
		d.createTable(sv, l)
	case rePath.MatchString(stmt):
		d.addHuge(rePath.FindStringSubmatch(stmt)[1], sv, l)
	case strings.EqualFold(stmt, "STOP INSTANCE"), strings.EqualFold(stmt, "SHUTDOWN IMMEDIATE"):
		r.stop(w, s, true)
		r.serial(s)
		unitGone(w.Machine(s.Name), s.unit("DmService"), true)
		d.done0(d.word("操作已执行", "executed successfully"))
		d.done = true
	default:
		w.Complain("%s: disql: %q is not simulated", s.Name, stmt)
		d.fail(-2007, d.word("语法分析出错", "syntax error"))
	}
}

func (d *session) setArch(sv *server, instance string, valid bool) {
	if valid {
		delete(sv.Invalid, instance)
		return
	}
	sv.Invalid[instance] = true
}

func (d *session) para(m []string, sv *server) {
	if strings.EqualFold(m[2], "ALTER_MODE_STATUS") && m[1] == "1" {
		sv.AMS = m[3] == "1"
	}
	ini := d.r.config(d.c.World, d.s, "dm.ini")
	d.c.World.Machine(d.s.Name).Write(d.s.ini("dm.ini"), setIni(ini, strings.ToUpper(m[2]), m[3]), 0o640, osUser)
}

func (d *session) mayAlter(sv *server) bool {
	switch {
	case !sv.AMS:
		d.fail(-720, d.word("守护进程活动或 ALTER_MODE_STATUS 不允许修改数据库", "Dmwatcher is active, or ALTER_MODE_STATUS does not allow altering the database"))
	case d.r.watch[d.s.Name] != nil:
		d.fail(-720, d.word("守护进程活动", "Dmwatcher is active"))
	default:
		return true
	}
	return false
}

func (d *session) alter(what string, sv *server, l *library) {
	w, r, s := d.c.World, d.r, d.s
	watched := l.Mode != "NORMAL"
	switch {
	case what == "OPEN" && watched:
		d.fail(-712, d.word("主备模式下需要使用 FORCE 选项", "OPEN needs FORCE in PRIMARY or STANDBY mode"))
		return
	case watched && !d.mayAlter(sv):
		return
	case what == "OPEN FORCE" || what == "OPEN":
		if why := r.openDatabase(w, s, true); why != "" {
			d.failText(why)
			return
		}
	case what == "MOUNT":
		sv.State = "MOUNT"
	case sv.State != "MOUNT":
		d.fail(-511, d.word("数据库不处于 MOUNT 状态", "database is not in MOUNT state"))
		return
	default:
		l.Mode = what
		r.save(w, s.Member, l)
	}
	d.done0(d.word("操作已执行", "executed successfully"))
}

// createTable changes the dictionary, whose encoding is another from 8.1.4.23
// on: nodes of both kinds must not meet a change of it (DM-093).
func (d *session) createTable(sv *server, l *library) {
	if sv.State != "OPEN" || l.Mode == "STANDBY" {
		d.fail(-6506, d.word("试图在只读事务中修改数据", "read only"))
		return
	}
	for _, n := range d.r.nodes(d.s.Member) {
		o := d.r.servers[n.Name]
		if o == nil || ver(o.Release).less(vInfo5) == ver(sv.Release).less(vInfo5) {
			continue
		}
		if (version{8, 1, 4, 109}).less(ver(later(o.Release, sv.Release))) {
			d.fail(-7100, d.word("集群各节点版本不一致，禁止 DDL", "DDL is not allowed while nodes are of different versions"))
			return
		}
		d.r.hurt("DM-093", d.s.Name, "DDL while %s runs beside %s: the dictionary is damaged", sv.Release, o.Release)
	}
	d.done0(d.word("操作已执行", "executed successfully"))
}

// createHuge: section 7 rule 12.
func (d *session) createHuge(name string, sv *server, l *library) {
	w, r, s := d.c.World, d.r, d.s
	if sv.State != "OPEN" || l.Mode == "STANDBY" {
		d.fail(-6506, d.word("试图在只读事务中修改数据", "read only"))
		return
	}
	l.Huge[name] = sv.Release
	r.save(w, s.Member, l)
	for _, m := range r.members() {
		if m == s.Member || !r.huge(w, s.Member) || r.huge(w, m) || ver(sv.Release).less(vHuge) {
			continue
		}
		for _, t := range r.nodes(m) {
			if r.servers[t.Name] != nil {
				r.hurt("DM-084", t.Name, "CREATE HUGE TABLE cannot be replayed: MAIN has no HUGE path here; the standby crashed")
				r.kill(w, t)
				unitGone(w.Machine(t.Name), t.unit("DmService"), false)
			}
		}
	}
	d.done0(d.word("操作已执行", "executed successfully"))
}

func (d *session) addHuge(path string, sv *server, l *library) {
	if l.Mode == "STANDBY" || ver(sv.Release).less(vHuge) {
		d.fail(-6506, d.word("试图在只读事务中修改数据", "read only"))
		return
	}
	d.r.setHuge(d.c.World, d.s, path)
	d.done0(d.word("操作已执行", "executed successfully"))
}

func (r *room) setHuge(w *sim.World, s *site, path string) {
	bin, _ := r.readData(w, s, "dm.ctl")
	text, _ := ctlOpen(bin)
	if hugePath(text) != "" {
		return
	}
	l := r.see(w, s.Member)
	r.writeData(w, s, "dm.ctl", ctlBinary(ctlText("DAMENG", l.DBVer, s.Data, path)))
}

// ---- views ----

type view struct {
	cols []string
	rows [][]string
}

func (d *session) query(m []string) {
	name := strings.ToUpper(m[2])
	v, why := d.view(name)
	if why != "" {
		d.failText(why)
		return
	}
	if v == nil {
		d.fail(-2106, fmt.Sprintf(d.word("无效的表或视图名[%s]", "Invalid table or view name [%s]"), name))
		return
	}
	rows := v.rows
	if m[3] != "" {
		at := slices.Index(v.cols, strings.ToUpper(m[3]))
		if at < 0 {
			d.fail(-2111, d.word("无效的列名", "Invalid column name")+"["+m[3]+"]")
			return
		}
		rows = slices.DeleteFunc(slices.Clone(rows), func(row []string) bool { return row[at] != m[4] })
	}
	want := v.cols
	if m[1] != "*" {
		want = nil
		for _, col := range strings.Split(m[1], ",") {
			want = append(want, strings.ToUpper(strings.TrimSpace(col)))
		}
	}
	out := make([][]string, len(rows))
	for _, col := range want {
		at := slices.Index(v.cols, col)
		if at < 0 {
			d.fail(-2111, d.word("无效的列名", "Invalid column name")+"["+col+"]")
			return
		}
		for i, row := range rows {
			out[i] = append(out[i], row[at])
		}
	}
	d.table(want, out)
}

func (d *session) view(name string) (*view, string) {
	w, r, s := d.c.World, d.r, d.s
	sv, l := r.servers[s.Name], r.see(w, s.Member)
	v4 := !ver(sv.Release).less(vRedo)
	switch name {
	case "V$INSTANCE":
		return &view{[]string{"NAME", "INSTANCE_NAME", "STATUS$", "MODE$", "OGUID"}, [][]string{{s.Instance, s.Instance, sv.State, l.Mode, fmt.Sprint(l.OGUID)}}}, ""
	case "V$VERSION":
		rows := [][]string{{"DM Database Server 64 V8"}, {fmt.Sprintf("DB Version: 0x%x", l.DBVer)}}
		if ver(sv.Release)[0] < 8 {
			rows[0] = []string{idCode(sv.Release)}
		}
		return &view{[]string{"BANNER"}, rows}, ""
	case "V$RLOG":
		return &view{[]string{"DB_MAGIC", "GLOBAL_NEXT_SEQ", "FILE_LSN", "CKPT_LSN", "CUR_LSN"}, [][]string{{
			fmt.Sprint(l.Magic), fmt.Sprint(l.Seq[s.Seq%len(l.Seq)]), fmt.Sprint(l.LSN[s.Seq%len(l.LSN)]), fmt.Sprint(l.LSN[s.Seq%len(l.LSN)]), fmt.Sprint(l.LSN[s.Seq%len(l.LSN)])}}}, ""
	case "V$RAPPLY_LSN_INFO":
		if !v4 {
			return nil, ""
		}
		return d.rapply(l)
	case "SYSOPENHISTORY":
		return d.openHistory(sv, l, v4)
	case "V$ARCH_STATUS":
		return d.archStatus(sv, l), ""
	case "V$DM_ARCH_INI":
		v := &view{cols: []string{"ARCH_NAME", "ARCH_TYPE", "ARCH_DEST"}}
		v.rows = append(v.rows, []string{"ARCHIVE_LOCAL1", "LOCAL", r.archiveDir(s)})
		return v, ""
	case "V$DM_INI":
		ams := "0"
		if sv.AMS {
			ams = "1"
		}
		return &view{[]string{"PARA_NAME", "PARA_VALUE", "FILE_VALUE"}, [][]string{{"ALTER_MODE_STATUS", ams, iniValue(r.config(w, s, "dm.ini"), "ALTER_MODE_STATUS")}}}, ""
	case "V$DSC_EP_INFO":
		return d.epInfo(), ""
	case "V$DMWATCHER":
		v := &view{cols: []string{"INST_NAME", "DW_MODE", "DW_STATUS", "AUTO_RESTART"}}
		if r.watch[s.Name] != nil {
			v.rows = append(v.rows, []string{s.Instance, "MANUAL", sv.State, "1"})
		}
		return v, ""
	case "V$HUGE_TABLESPACE":
		v := &view{cols: []string{"ID", "NAME", "PATHNAME"}}
		bin, _ := r.readData(w, s, "dm.ctl")
		if text, ok := ctlOpen(bin); ok && hugePath(text) != "" {
			v.rows = append(v.rows, []string{"4", "MAIN", hugePath(text)})
		}
		return v, ""
	case "V$DATAFILE", "V$RLOGFILE":
		return d.files(name), ""
	case "V$ASMDISK":
		n := "4000"
		if !ver(r.dcr[s.Member]).less(vASM) {
			n = "4100"
		}
		return &view{[]string{"DISK_VERSION", "DISK_NAME"}, [][]string{{n, "DCR0"}}}, ""
	}
	return d.hugeTable(name, sv, l)
}

// files are the data files or the redo logs of the library.
func (d *session) files(name string) *view {
	v := &view{cols: []string{"GROUP_ID", "ID", "PATH"}}
	list := []string{"SYSTEM.DBF", "ROLL.DBF", "MAIN.DBF"}
	if name == "V$RLOGFILE" {
		v.cols[1], list = "FILE_ID", []string{"DAMENG01.log", "DAMENG02.log"}
	}
	for i, f := range list {
		v.rows = append(v.rows, []string{fmt.Sprint(i), "0", d.s.Data + "/" + f})
	}
	if f := d.r.outside[d.s.Member]; f != "" && name == "V$DATAFILE" {
		v.rows = append(v.rows, []string{"5", "0", f})
	}
	return v
}

// hugeTable is a HUGE table: one of an older release cannot be used (DM-081).
func (d *session) hugeTable(name string, sv *server, l *library) (*view, string) {
	if made, ok := l.Huge[name]; ok && sv.State == "OPEN" {
		if !ver(sv.Release).less(vHuge) && ver(made).less(vHuge) {
			d.r.hurt("DM-081", d.s.Name, "the HUGE table %s of %s cannot be used", name, made)
			return nil, "[-7018]:HUGE table is not available"
		}
		return &view{cols: []string{"C1"}}, ""
	}
	return nil, ""
}

// rapply is the replay of a standby, told by its control node.
func (d *session) rapply(l *library) (*view, string) {
	v := &view{cols: []string{"P_DB_MAGIC", "PKG_SEQ_ARR", "APPLY_LSN_ARR"}}
	if l.Mode != "STANDBY" || d.r.control(d.s.Member) != d.s {
		return v, ""
	}
	if l.Stuck != "" && d.c.World.Rand().IntN(8) == 0 {
		d.r.hurt("DM-038", d.s.Name, "a query of V$RAPPLY_LSN_INFO ended a standby that was not upgraded")
		d.r.kill(d.c.World, d.s)
		unitGone(d.c.World.Machine(d.s.Name), d.s.unit("DmService"), false)
		return nil, "[-70019]:" + d.word("网络通信异常", "network communication error")
	}
	v.rows = append(v.rows, []string{fmt.Sprint(l.PMagic), array(l.ApplySeq), array(l.ApplyLSN)})
	return v, ""
}

func array(n []int64) string {
	words := make([]string, len(n))
	for i, v := range n {
		words[i] = fmt.Sprint(v)
	}
	return "(" + strings.Join(words, ", ") + ")"
}

func (d *session) openHistory(sv *server, l *library, v4 bool) (*view, string) {
	switch {
	case sv.State != "OPEN":
		return nil, "[-510]:" + d.word("系统处于MOUNT状态", "system is in MOUNT state")
	case !v4 || len(l.History) == 0 || l.Redo != "pkg":
		return nil, ""
	}
	v := &view{cols: []string{"RGUID", "SYS_MODE", "PRIMARY_INST_NAME", "CUR_INST_NAME", "OPEN_TIME"}}
	for i, h := range l.History {
		v.rows = append(v.rows, []string{fmt.Sprint(i + 1), "PRIMARY", strings.Fields(h)[0], d.s.Instance, "2024-03-01 08:00:00"})
	}
	return v, ""
}

func (d *session) archStatus(sv *server, l *library) *view {
	v := &view{cols: []string{"ARCH_TYPE", "ARCH_DEST", "ARCH_STATUS"}}
	v.rows = append(v.rows, []string{"LOCAL", d.r.archiveDir(d.s), "VALID"})
	if l.Mode != "PRIMARY" {
		return v
	}
	for _, m := range d.r.members() {
		if m == d.s.Member {
			continue
		}
		t := d.r.control(m)
		if t == nil {
			t = d.r.nodes(m)[0]
		}
		state := "VALID"
		if sv.Invalid[t.Instance] || d.r.control(m) == nil || d.r.lag[m] {
			state = "INVALID"
		}
		var names []string
		for _, n := range d.r.nodes(m) {
			names = append(names, n.Instance)
		}
		v.rows = append(v.rows, []string{"REALTIME", strings.Join(names, "/"), state})
	}
	return v
}

func (d *session) epInfo() *view {
	v := &view{cols: []string{"EP_NAME", "EP_SEQNO", "EP_MODE", "EP_STATUS"}}
	if !d.r.shared(d.s.Member) {
		return v
	}
	for _, n := range d.r.nodes(d.s.Member) {
		mode, status := "Normal Node", "OK"
		if d.r.control(d.s.Member) == n {
			mode = "Control Node"
		}
		if d.r.servers[n.Name] == nil || d.r.votes[n.Name].OK == "ERROR" {
			status = "ERROR"
		}
		v.rows = append(v.rows, []string{n.Instance, fmt.Sprint(n.Seq), mode, status})
	}
	return v
}
