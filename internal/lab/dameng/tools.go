package dameng

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/lab/sim"
)

// dmmonitor ini: commands on standard input; without any it stays in the foreground.
func dmmonitor(c *sim.Call) int {
	r, s := siteOf(c.World, c.Machine)
	if len(c.Args()) == 0 {
		return c.Fail(1, "dmmonitor: no ini")
	}
	ini, err := c.ReadFile(c.Args()[0])
	if err != nil {
		return c.Fail(1, "fail to read ini file %s", c.Args()[0])
	}
	now := func() string { return c.World.Time().Format("2006-01-02 15:04:05") }
	name := "DMMONITOR[4.0] V8"
	if ver(c.Image)[0] < 8 {
		name = "DMMONITOR[3.0] V" + c.Image + "-Build(2019.07.02-109059)ENT"
	}
	c.Printf("[monitor]         %s: %s\n", now(), name)
	if iniValue(string(ini), "MON_DW_CONFIRM") == "1" && len(r.monitor) > 0 {
		c.Print("Another confirm monitor is running, exit\n")
		return 1
	}
	if !ver(c.Image).less(vRedo) && r.upgrading(c.World) {
		r.hurt("DM-026", s.Name, "dmmonitor was started while the open history was being made")
	}
	c.Printf("[monitor]         %s: DMMONITOR[4.0] IS READY.\n", now())
	c.Sleep(time.Second)
	in := bufio.NewScanner(bytes.NewReader(c.Input()))
	for in.Scan() {
		switch strings.TrimSpace(in.Text()) {
		case "show":
			monitorShow(c, r)
		case "exit":
			return 0
		}
	}
	return 0
}

func monitorShow(c *sim.Call, r *room) {
	w, now := c.World, c.World.Time().Format("2006-01-02 15:04:05")
	bar := "#================================================================================#\n"
	c.Printf("show\n%s\n%s", now, bar)
	c.Printf("GROUP            OGUID       MON_CONFIRM     MODE            MPP_FLAG\n%-17s%-12d%-16s%-16s%s\n\n\n", group, oguid, "FALSE", "MANUAL", "FALSE")
	c.Print("<<DATABASE GLOBAL INFO:>>\n")
	c.Print("DW_IP               MAL_DW_PORT  WTIME                WTYPE     WCTLSTAT  WSTATUS        INAME            INST_OK   N_EP  N_OK  ISTATUS     IMODE     DSC_STATUS     RTYPE     RSTAT\n")
	_, p := r.primary(w)
	var eps, apply strings.Builder
	for _, m := range r.members() {
		l, s := r.see(w, m), r.nodes(m)[0]
		if n := r.control(m); n != nil {
			s = n
		}
		wstatus, ok, state, rstat := "ERROR", "ERROR", "SHUTDOWN", "INVALID"
		if r.watch[s.Name] != nil {
			wstatus = "STARTUP"
		}
		nOK := 0
		for _, n := range r.nodes(m) {
			if r.servers[n.Name] != nil {
				nOK++
			}
		}
		if sv := r.servers[s.Name]; sv != nil {
			ok, state = "OK", sv.State
			if sv.State == "OPEN" && r.watch[s.Name] != nil {
				wstatus = "OPEN"
			}
			rstat = "VALID"
			if l.Stuck != "" || r.lag[m] {
				rstat = "INVALID"
			}
		}
		c.Printf("%-20s%-13d%-21s%-10s%-10s%-15s%-17s%-10s%-6d%-6d%-12s%-10s%-15s%-10s%s\n", w.Machine(s.Name).Address, s.Port+200, now, "GLOBAL", "VALID", wstatus, s.Instance, ok, len(r.nodes(m)), nOK, state, l.Mode, "DSC_OPEN", "REALTIME", rstat)
		eps.WriteString("\nEP INFO:\nINST_IP             INST_PORT  INST_OK   INAME            ISTATUS     IMODE     DSC_SEQNO  DSC_CTL_NODE  RTYPE     RSTAT    FSEQ            FLSN            CSEQ            CLSN            DW_STAT_FLAG\n")
		for _, n := range r.nodes(m) {
			if r.servers[n.Name] == nil {
				continue
			}
			seq, lsn := l.Seq[n.Seq]-1, l.LSN[n.Seq]
			if l.Mode == "STANDBY" && len(l.ApplySeq) > 0 {
				seq, lsn = l.ApplySeq[n.Seq%len(l.ApplySeq)], l.ApplyLSN[n.Seq%len(l.ApplyLSN)]
			}
			fmt.Fprintf(&eps, "%-20s%-11d%-10s%-17s%-12s%-10s%-11d%-14d%-10s%-9s%-16d%-16d%-16d%-16d%s\n", w.Machine(n.Name).Address, n.Port, "OK", n.Instance, r.servers[n.Name].State, l.Mode, n.Seq, s.Seq, "REALTIME", rstat, seq, lsn, seq, lsn, "NONE")
		}
		if l.Mode == "STANDBY" && p != nil {
			fmt.Fprintf(&apply, "\nDATABASE(%s) APPLY INFO FROM (%s), REDOS_PARALLEL_NUM (1):\n", s.Instance, "PRIMARY")
		}
	}
	c.Print(eps.String() + apply.String() + bar)
}

// ---- dmrman ----

var (
	rmBackup  = regexp.MustCompile(`(?i)^BACKUP DATABASE '([^']+)' FULL TO (\w+) BACKUPSET '([^']+)'$`)
	rmCheck   = regexp.MustCompile(`(?i)^CHECK BACKUPSET '([^']+)'$`)
	rmRestore = regexp.MustCompile(`(?i)^RESTORE DATABASE '([^']+)' FROM BACKUPSET '([^']+)'$`)
	rmRecover = regexp.MustCompile(`(?i)^RECOVER DATABASE '([^']+)' FROM BACKUPSET '([^']+)'$`)
	rmMagic   = regexp.MustCompile(`(?i)^RECOVER DATABASE '([^']+)' UPDATE DB_MAGIC$`)
)

// backupSet is what a full backup holds.
type backupSet struct {
	Lib     *library
	Ctl     string
	Release string
	From    string
}

func dmrman(c *sim.Call) int {
	r, s := siteOf(c.World, c.Machine)
	stmt, ap := "", "1"
	for _, a := range c.Args() {
		switch k, v, _ := strings.Cut(a, "="); k {
		case "CTLSTMT":
			stmt = strings.Join(strings.Fields(v), " ")
		case "USE_AP":
			ap = v
		case "DCR_INI":
		default:
			return c.Fail(1, "dmrman: unknown argument %s", a)
		}
	}
	c.Printf("dmrman V8\nRMAN> %s\nfile dm.key not found, use default license!\n", stmt)
	if ap != "2" {
		c.Print("[-7109]:Fail to connect to DmAPService, start dmap first\n")
		return 1
	}
	if c.User.Name == "root" {
		r.hurt("run-as-root", s.Name, "dmrman was run by root: its files belong to root")
	}
	if r.runs(s.Member) && !rmCheck.MatchString(stmt) {
		c.Print("[-8366]:Database instance is running, dmrman is not allowed\n")
		return 1
	}
	c.Sleep(5 * time.Second)
	return rman(c, r, s, stmt)
}

func rman(c *sim.Call, r *room, s *site, stmt string) int {
	w := c.World
	fail := func(code int, text string) int { c.Printf("[%d]:%s\n", code, text); return 1 }
	l := r.lib(w, s.Member)
	readSet := func(dir string) *backupSet {
		b, err := c.ReadFile(dir + "/meta.json")
		var set backupSet
		if err != nil || json.Unmarshal(b, &set) != nil {
			return nil
		}
		return &set
	}
	if m := rmBackup.FindStringSubmatch(stmt); m != nil {
		if !l.Clean {
			return fail(-8402, "database was not closed normally")
		}
		bin, _ := r.readData(w, s, "dm.ctl")
		b, _ := json.Marshal(backupSet{l, bin, c.Image, s.Member})
		if c.Exists(m[3]) {
			return fail(-8055, "backupset directory exists")
		}
		if err := c.MkdirAll(m[3], 0o755); err != nil {
			return fail(-8003, "create backup directory failed")
		}
		if err := c.WriteFile(m[3]+"/meta.json", b, 0o640); err != nil {
			return fail(-8003, "write backup failed")
		}
		c.Print("backup successfully!\ntime used: 00:00:05.100\n")
		return 0
	}
	if m := rmCheck.FindStringSubmatch(stmt); m != nil {
		if readSet(m[1]) == nil {
			return fail(-8003, "backupset is damaged or missing")
		}
		c.Print("check backupset successfully.\n")
		return 0
	}
	if m := rmRestore.FindStringSubmatch(stmt); m != nil {
		return r.restore(c, s, readSet(m[2]))
	}
	if m := rmRecover.FindStringSubmatch(stmt); m != nil {
		if l == nil || !l.Restored || readSet(m[2]) == nil {
			return fail(-8374, "no valid archive collected under the path")
		}
		l.Recovered, l.Clean = true, true
		r.save(w, s.Member, l)
		c.Print("EP[0]'s cur_lsn[41906], file_lsn[41906]\nrecover successfully!\n")
		return 0
	}
	if m := rmMagic.FindStringSubmatch(stmt); m != nil {
		if l == nil || !l.Recovered {
			return fail(-8308, "RECOVER DATABASE must come before UPDATE DB_MAGIC")
		}
		r.magic += 7919
		l.Magic, l.Recovered = r.magic, false
		r.save(w, s.Member, l)
		c.Print("recover successfully!\n")
		return 0
	}
	c.World.Complain("%s: dmrman: %q is not simulated", s.Name, stmt)
	return fail(-2007, "syntax error")
}

// restore puts a backup in the place of the data (section 7 rule 11).
func (r *room) restore(c *sim.Call, s *site, set *backupSet) int {
	w := c.World
	if set == nil {
		c.Print("[-8003]:backupset is damaged or missing\n")
		return 1
	}
	if ver(c.Image).less(ver(set.Release)) {
		c.Print("[-8011]:backupset was made by a higher version\n")
		return 1
	}
	l := libraryOf(set.Lib.bytes())
	l.Restored, l.Recovered, l.Clean, l.Stuck, l.Pending = true, false, false, "", false
	l.DSC = l.DSC || r.shared(s.Member)
	if set.From != s.Member {
		l.follow(set.Lib)
	}
	eps := len(r.nodes(s.Member))
	for len(l.LSN) < eps {
		l.LSN, l.Seq = append(l.LSN, l.LSN[0]), append(l.Seq, l.Seq[0])
	}
	text, _ := ctlOpen(set.Ctl)
	huge := hugePath(text)
	if !ver(c.Image).less(vHuge) && huge == "" {
		huge = s.Data + "/HMAIN"
	}
	r.writeData(w, s, "dm.ctl", ctlBinary(ctlText("DAMENG", l.DBVer, s.Data, huge)))
	r.save(w, s.Member, l)
	if c.User.Name == "root" && !strings.HasPrefix(s.Data, "+") {
		c.Machine.Chown(s.Data+"/SYSTEM.DBF", "root")
	}
	c.Print("Database mode = 1, oguid = " + fmt.Sprint(oguid) + "\nNormal of FAST\nNormal of DEFAULT\nrestore successfully.\ntime used: 00:00:07.200\n")
	return 0
}

// ---- dmctlcvt ----

// dmctlcvt TYPE=1|2 SRC= DEST= (spec/dameng.md 4.9).
func dmctlcvt(c *sim.Call) int {
	r, s := siteOf(c.World, c.Machine)
	arg := map[string]string{}
	for _, a := range c.Args() {
		k, v, _ := strings.Cut(a, "=")
		arg[strings.ToUpper(k)] = v
	}
	ctl := s.Data + "/dm.ctl"
	switch arg["TYPE"] {
	case "1":
		if arg["SRC"] != ctl {
			c.Print("convert ctl to txt failed, file name must be dm.ctl\n")
			return 1
		}
		bin, _ := r.readData(c.World, s, "dm.ctl")
		text, ok := ctlOpen(bin)
		if !ok || c.WriteFile(arg["DEST"], []byte(text), 0o644) != nil {
			c.Print("convert ctl to txt failed!\n")
			return 1
		}
		c.Print("convert ctl to txt success!\n")
		return 0
	case "2":
		text, err := c.ReadFile(arg["SRC"])
		if err != nil || arg["DEST"] != ctl {
			c.Print("convert txt to ctl failed!\n")
			return 1
		}
		if r.runs(s.Member) {
			r.hurt("DM-082", s.Name, "dm.ctl was changed while the server was running")
		}
		r.writeData(c.World, s, "dm.ctl", r.compileCtl(s, string(text)))
		c.Print("convert txt to ctl success!\n")
		return 0
	}
	c.Print("dmctlcvt TYPE=1|2 SRC=... DEST=...\n")
	return 1
}

var datetime = regexp.MustCompile(`^DATETIME '\d{4}-\d{1,2}-\d{1,2} \d{1,2}:\d{2}:\d{2}'$`)

// compileCtl accepts any text, as the tool does; a wrong one makes a control
// file with which no server starts (section 7 rule 13).
func (r *room) compileCtl(s *site, text string) string {
	bad := func(rule, why string) string {
		r.hurt(rule, s.Name, "dm.ctl is unusable: %s", why)
		return "DMCTL\x00bad\n" + text
	}
	block := mainBlock(text)
	if block == nil || !slices.ContainsFunc(block, func(l string) bool { return strings.HasPrefix(l, "fil_path=") }) {
		return bad("DM-085", "the block of MAIN is gone")
	}
	if strings.Count(text, "huge_path=") != strings.Count(strings.Join(block, "\n"), "huge_path=") {
		return bad("DM-085", "the HUGE path lies outside of MAIN")
	}
	at := slices.IndexFunc(block, func(l string) bool { return strings.HasPrefix(l, "huge_path=") })
	if at < 0 {
		return ctlBinary(text)
	}
	for i := at; i < len(block); i++ {
		if strings.HasPrefix(block[i], "fil_path=") {
			return bad("DM-085", "the HUGE path stands before a file")
		}
		if _, v, ok := strings.Cut(block[i], "_time="); ok && !datetime.MatchString(v) {
			return bad("DM-085", "a time is not written as DATETIME '…'")
		}
	}
	p := strings.TrimPrefix(block[at], "huge_path=")
	if p == s.Data || !path.IsAbs(strings.TrimPrefix(p, "+")) && !strings.HasPrefix(p, "+") || strings.Contains(text, "fil_path="+p) {
		return bad("DM-086", "the HUGE path is that of another tablespace")
	}
	return ctlBinary(text)
}

// scp copies a tree from another machine of the room.
func scp(c *sim.Call) int {
	args := slices.DeleteFunc(slices.Clone(c.Args()), func(a string) bool { return strings.HasPrefix(a, "-") })
	if len(args) != 2 {
		return c.Fail(1, "usage: scp [-r] source target")
	}
	addr, src, remote := strings.Cut(args[0], ":")
	from := c.World.ByAddress(addr)
	if !remote || from == nil || !from.Connected() {
		return c.Fail(1, "scp: %s: no route to host", args[0])
	}
	dst := strings.TrimSuffix(c.Abs(args[1]), "/")
	if c.Machine.IsDir(dst) {
		dst += "/" + path.Base(src)
	}
	if !from.IsDir(src) {
		return c.Fail(1, "scp: %s: No such file or directory", src)
	}
	if err := c.MkdirAll(dst, 0o755); err != nil {
		return c.Fail(1, "scp: %s: %v", dst, err)
	}
	for _, name := range from.List(src) {
		text, _ := from.Read(src + "/" + name)
		if err := c.WriteFile(dst+"/"+name, []byte(text), 0o640); err != nil {
			return c.Fail(1, "scp: %s: %v", dst, err)
		}
	}
	c.Sleep(10 * time.Second)
	return 0
}
