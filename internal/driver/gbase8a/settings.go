package gbase8a

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// Keys of the inventory's settings.
const (
	keyDBAUser     = "dba_user"
	keyProfile     = "profile"
	keyDBUser      = "db_user"
	keyDBPort      = "db_port"
	keyWorkDir     = "work_dir"
	keyBackupDir   = "backup_dir"
	keyBackupRoom  = "backup_room"
	keyLockFile    = "lock_file"
	keyPython      = "python"
	keyStatusWait  = "status_timeout"
	keyStopWait    = "stop_timeout"
	keyStartWait   = "start_timeout"
	keyOpenWait    = "open_timeout"
	keySettle      = "settle"
	keyFlushStall  = "flush_stall"
	keyFlushGrace  = "flush_grace"
	keyFlushWait   = "flush_timeout"
	keyInstallWait = "install_timeout"
	keyCharset     = "character_set"
	keySSHPort     = "installer_ssh_port"
)

// The names under which passwords are asked for: <name>_env or <name>_file.
const (
	secretDBA  = "dba_password"
	secretRoot = "root_password"
	secretDB   = "db_password"
)

func settingKeys() []cluster.Key {
	keys := []cluster.Key{
		{Name: keyDBAUser, Check: cluster.OneWord, Doc: "operating system user of the database, who must be the login; gbase"},
		{Name: keyProfile, PerNode: true, Doc: "profile(s) to source on the node, separated by blanks; with several instances on a machine each has its own; ~/.gbase_profile"},
		{Name: keyDBUser, Check: cluster.OneWord, Doc: "database user for questions in SQL (running statements, version); none are asked when empty"},
		{Name: keyDBPort, Check: cluster.PortNumber, Doc: "port of gclusterd; 5258"},
		{Name: keyWorkDir, Check: cluster.BlanklessPath, Doc: "directory for the package on the executing coordinator; /home/<dba_user>/shiplift-upgrade"},
		{Name: keyBackupDir, Check: cluster.BlanklessPath, Doc: "directory for the installer's backup and for configurations; /home/<dba_user>"},
		{Name: keyBackupRoom, Check: cluster.Number, Doc: "free megabytes that backup_dir must have; 10240 [A]"},
		{Name: keyLockFile, Doc: "operator lock on the executing coordinator, relative to the login's home; .shiplift-gbase8a.lock"},
		{Name: keyPython, Check: cluster.OneWord, Doc: "python that has the gcware module; the first of python, python2 that imports it"},
		{Name: keyStatusWait, Check: cluster.Span, Doc: "hard limit of every gcadmin and python call; 30s"},
		{Name: keyStopWait, Check: cluster.Span, Doc: "how long a service tool may take to stop; 10m"},
		{Name: keyStartWait, Check: cluster.Span, Doc: "how long all services may take to be OPEN; 10m"},
		{Name: keyOpenWait, Check: cluster.Span, Doc: "how long gcware alone may take to be OPEN everywhere; 180s [A]"},
		{Name: keySettle, Check: cluster.Span, Doc: "how long nothing may come back after the stop; 10s"},
		{Name: keyFlushStall, Check: cluster.Span, Doc: "a flush that shows no progress for so long is called again; 600s [A]"},
		{Name: keyFlushGrace, Check: cluster.Span, Doc: "how long a flush that was asked for may show nothing before gcware is stopped on the way back; 15s [A]"},
		{Name: keyFlushWait, Check: cluster.Span, Doc: "how long one flush may take at all; 2h"},
		{Name: keyInstallWait, Check: cluster.Span, Doc: "how long the vendor's installer may take; 4h"},
		{Name: keyCharset, Check: cluster.OneWord, Doc: "characterSet in demo.options; left out when empty"},
		{Name: keySSHPort, Check: cluster.PortNumber, Doc: "sshPort in demo.options; left out when empty"},
	}
	for _, s := range []struct{ name, what string }{
		{secretDBA, "password of the database's operating system user, for demo.options"},
		{secretRoot, "root's password, for demo.options; left out when empty"},
		{secretDB, "password of db_user"},
	} {
		keys = append(keys,
			cluster.Key{Name: s.name + "_env", Check: cluster.OneWord, Doc: "environment variable of the control machine that holds the " + s.what},
			cluster.Key{Name: s.name + "_file", Doc: "file of the control machine that holds the " + s.what})
	}
	return keys
}

// conf is a node's settings with the defaults filled in.
type conf struct {
	DBAUser, DBUser, DBPort        string
	Profiles                       []string
	WorkDir, BackupDir, LockFile   string
	BackupRoom                     int64 // bytes
	Python                         string
	StatusWait, StopWait           time.Duration
	StartWait, OpenWait, Settle    time.Duration
	FlushStall, FlushWait, Install time.Duration
	FlushGrace                     time.Duration
	Charset, SSHPort               string
	HasRoot                        bool
}

// confOf reads a node's settings; the inventory's reader has checked them.
func confOf(s cluster.Settings) conf {
	or := func(key, otherwise string) string {
		if v := s[key]; v != "" {
			return v
		}
		return otherwise
	}
	span := func(key string, otherwise time.Duration) time.Duration {
		v := s[key]
		if v == "" {
			return otherwise
		}
		d, _ := time.ParseDuration(v)
		return d
	}
	c := conf{
		DBAUser: or(keyDBAUser, "gbase"), DBUser: s[keyDBUser], DBPort: or(keyDBPort, "5258"),
		Profiles: strings.Fields(or(keyProfile, "~/.gbase_profile")),
		LockFile: or(keyLockFile, ".shiplift-gbase8a.lock"), Python: s[keyPython],
		StatusWait: span(keyStatusWait, 30*time.Second), StopWait: span(keyStopWait, 10*time.Minute), StartWait: span(keyStartWait, 10*time.Minute),
		OpenWait: span(keyOpenWait, 180*time.Second), Settle: span(keySettle, 10*time.Second),
		FlushStall: span(keyFlushStall, 600*time.Second), FlushWait: span(keyFlushWait, 2*time.Hour), FlushGrace: span(keyFlushGrace, 15*time.Second),
		Install: span(keyInstallWait, 4*time.Hour),
		Charset: s[keyCharset], SSHPort: s[keySSHPort],
		HasRoot: s[secretRoot+"_env"] != "" || s[secretRoot+"_file"] != "",
	}
	mb, _ := strconv.ParseInt(or(keyBackupRoom, "10240"), 10, 64)
	c.BackupRoom = mb << 20
	c.WorkDir = path.Clean(or(keyWorkDir, "/home/"+c.DBAUser+"/shiplift-upgrade"))
	c.BackupDir = path.Clean(or(keyBackupDir, "/home/"+c.DBAUser))
	return c
}

// Component is the name of the run that only flushes the gcware snapshot.
const Component = "gcware-snapshot"

// options are the driver's own of a request, by --option key=value.
type options struct {
	Flush      string // auto, always, never
	FlushCalls int
	Hold       string // readonly, none
	Quiesce    string // none, readonly
	License    string // file on the control machine
	ForceStop  bool
}

// optionValues are the values an option may have; the first is the default. nil is any.
var optionValues = map[string][]string{
	"flush":       {"auto", "always", "never"},
	"flush-calls": {"3", "1", "2", "4", "5"},
	"hold":        {"readonly", "none"},
	"quiesce":     {"none", "readonly"},
	"force-stop":  {"never", "after-failure"},
	"license":     nil,
}

func optionsOf(r plan.Request) (options, error) {
	get := func(key string) string {
		if v, ok := r.Options[key]; ok {
			return v
		}
		if vals := optionValues[key]; len(vals) > 0 {
			return vals[0]
		}
		return ""
	}
	for key, v := range r.Options {
		allowed, known := optionValues[key]
		if !known {
			names := make([]string, 0, len(optionValues))
			for k := range optionValues {
				names = append(names, k)
			}
			slices.Sort(names)
			return options{}, &driver.RefusalError{
				Text: say.F("this driver has no option %q", "该驱动没有选项 %q", key),
				Next: say.F("--option with one of: %s", "--option 可选：%s", strings.Join(names, ", "))}
		}
		if allowed != nil && !slices.Contains(allowed, v) {
			return options{}, &driver.RefusalError{
				Text: say.F("option %s cannot be %q", "选项 %s 不能是 %q", key, v),
				Next: say.F("--option %s=%s", "--option %s=%s", key, strings.Join(allowed, "|"))}
		}
	}
	o := options{Flush: get("flush"), Hold: get("hold"), Quiesce: get("quiesce"), License: get("license"), ForceStop: get("force-stop") == "after-failure"}
	o.FlushCalls, _ = strconv.Atoi(get("flush-calls"))
	return o, nil
}

// wantsFlush applies the policy: "auto" does not guess from the build, it
// flushes on every V95 source [A]; sources before V95 have no gcware of this kind (G34).
func (o options) wantsFlush(from string) bool { return o.Flush != "never" && isV95(from) }
