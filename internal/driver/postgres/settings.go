package postgres

import (
	"path"
	"strconv"
	"strings"
	"time"

	"mvdan.cc/sh/v3/shell"

	"github.com/shiplift/shiplift/internal/cluster"
)

// Keys of the inventory's settings.
const (
	keyBase         = "base"
	keyData         = "data"
	keyPort         = "port"
	keyHost         = "host"
	keySocketDir    = "socket_dir"
	keyUser         = "user"
	keyDatabase     = "database"
	keyPasswordEnv  = "password_env"
	keyPasswordFile = "password_file"
	keySSLMode      = "sslmode"
	keySSLRootCert  = "sslrootcert"
	keyLog          = "log"
	keyConfigFile   = "config_file"
	keyUnit         = "systemd_unit"
	keySystemctl    = "systemctl"
	keyBackup       = "backup_command"
	keyStart        = "start_timeout"
	keyStop         = "stop_timeout"
	keyCatchUp      = "catch_up_timeout"
	keyLag          = "max_lag"
	keyRewind       = "rewind"
)

// settingKeys are what the inventory may hold for this driver.
func settingKeys() []cluster.Key {
	return []cluster.Key{
		{Name: keyBase, Required: true, PerNode: true, Check: cluster.AbsolutePath, Doc: "software directory: <base>/<release>/bin/postgres, <base>/current is a link to the release in use"},
		{Name: keyData, Required: true, PerNode: true, Check: cluster.AbsolutePath, Doc: "data directory"},
		{Name: keyPort, PerNode: true, Check: cluster.PortNumber, Doc: "port of the server; 5432"},
		{Name: keyHost, PerNode: true, Check: cluster.OneWord, Doc: "where the server listens as seen from its own machine; the node's address"},
		{Name: keySocketDir, PerNode: true, Check: cluster.AbsolutePath, Doc: "directory of the Unix socket; then the tool connects there and not to host"},
		{Name: keyUser, PerNode: true, Check: cluster.OneWord, Doc: "superuser for the tool's connections; postgres"},
		{Name: keyDatabase, PerNode: true, Check: cluster.OneWord, Doc: "database for the tool's connections; postgres"},
		{Name: keyPasswordEnv, PerNode: true, Check: cluster.OneWord, Doc: "environment variable of the control machine that holds the password"},
		{Name: keyPasswordFile, PerNode: true, Doc: "file of the control machine that holds the password"},
		{Name: keySSLMode, PerNode: true, Check: cluster.OneOf("disable", "allow", "prefer", "require", "verify-ca", "verify-full"), Doc: "TLS of the tool's connections, as in libpq; disable (the connection runs inside ssh)"},
		{Name: keySSLRootCert, PerNode: true, Doc: "file of the control machine with the certificate authority"},
		{Name: keyLog, PerNode: true, Check: cluster.AbsolutePath, Doc: "file for what the server prints before its own log is open; <data>/startup.log"},
		{Name: keyConfigFile, PerNode: true, Check: plainPath, Doc: "postgresql.conf when it does not lie in the data directory"},
		{Name: keyUnit, PerNode: true, Check: cluster.OneWord, Doc: "systemd unit that starts and stops the server; pg_ctl does when empty"},
		{Name: keySystemctl, PerNode: true, Check: words, Doc: "how to call systemctl, e.g. \"sudo -n systemctl\"; systemctl"},
		{Name: keyBackup, PerNode: true, Check: words, Doc: "command on the node that prints the time of the newest backup (RFC 3339 or seconds since 1970)"},
		{Name: keyStart, PerNode: true, Check: cluster.Span, Doc: "how long a start may take; 2m"},
		{Name: keyStop, PerNode: true, Check: cluster.Span, Doc: "how long a clean stop may take; 2m"},
		{Name: keyCatchUp, PerNode: true, Check: cluster.Span, Doc: "how long a standby may take to catch up; 10m"},
		{Name: keyLag, PerNode: true, Check: byteSize, Doc: "lag of a standby from which on the upgrade does not start, e.g. 64MB; 64MB"},
		{Name: keyRewind, PerNode: true, Check: cluster.OneOf("no", "discard"), Doc: "discard: let pg_rewind take in an old primary that was written to beside its successor; what only it has is lost; no"},
	}
}

// conf is one node's settings with the defaults filled in.
type conf struct {
	Name, Address        string
	Base, Data, Log      string
	Port                 string
	Host                 string // or the socket's directory
	User, Database       string
	PasswordSetting      string // the key that points to the password; empty: none
	SSLMode, SSLRootCert string
	ConfigFile           string
	Unit                 string
	Systemctl, Backup    []string
	StartWait, StopWait  time.Duration
	CatchUpWait          time.Duration
	MaxLag               int64
	Rewind               bool // what only this node has may be discarded
}

// confOf reads a node's settings; the inventory's reader has checked them.
func confOf(n cluster.Node) conf {
	s := n.Settings
	or := func(key, otherwise string) string {
		if v := s[key]; v != "" {
			return v
		}
		return otherwise
	}
	c := conf{
		Name: n.Name, Address: n.Address,
		Base: path.Clean(s[keyBase]), Data: path.Clean(s[keyData]),
		Port: or(keyPort, "5432"), Host: or(keyHost, n.Address),
		User: or(keyUser, "postgres"), Database: or(keyDatabase, "postgres"),
		SSLMode: or(keySSLMode, "disable"), SSLRootCert: s[keySSLRootCert],
		ConfigFile: s[keyConfigFile], Unit: s[keyUnit],
	}
	c.Log = or(keyLog, c.Data+"/startup.log")
	if dir := s[keySocketDir]; dir != "" {
		c.Host = dir
	}
	if s[keyPasswordEnv] != "" || s[keyPasswordFile] != "" {
		c.PasswordSetting = "password"
	}
	c.Systemctl, _ = splitWords(or(keySystemctl, "systemctl"))
	if backup := s[keyBackup]; backup != "" {
		c.Backup, _ = splitWords(backup)
	}
	c.StartWait, _ = time.ParseDuration(or(keyStart, "2m"))
	c.StopWait, _ = time.ParseDuration(or(keyStop, "2m"))
	c.CatchUpWait, _ = time.ParseDuration(or(keyCatchUp, "10m"))
	c.MaxLag, _ = parseBytes(or(keyLag, "64MB"))
	c.Rewind = s[keyRewind] == "discard"
	return c
}

func (c conf) bin(release, tool string) string { return c.dir(release) + "/bin/" + tool }
func (c conf) dir(release string) string       { return c.Base + "/" + release }
func (c conf) current() string                 { return c.Base + "/current" }
func (c conf) packages() string                { return c.Base + "/.packages" }
func (c conf) signal() string                  { return c.Data + "/standby.signal" }
func (c conf) pidFile() string                 { return c.Data + "/postmaster.pid" }
func (c conf) controlFile() string             { return c.Data + "/global/pg_control" }

// splitWords splits a command of the inventory as a shell would, without
// expanding anything.
func splitWords(s string) ([]string, error) {
	if plainWord(s) {
		return []string{s}, nil
	}
	return shell.Fields(s, func(string) string { return "" })
}

// plainWord reports whether a shell takes s as it stands, as one word.
func plainWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._-", r)
	})
}

// plainPath is a path that stands inside an option string, where pg_ctl's own
// shell would read anything else.
func plainPath(v string) error {
	for _, r := range v {
		if !strings.ContainsRune("/._-+", r) && (r > 'z' || !identifierByte(byte(r)) || r == '$') {
			return cluster.Expected("a path of letters, digits and / . _ - +", "仅含字母、数字和 / . _ - + 的路径")
		}
	}
	return cluster.AbsolutePath(v)
}

func words(v string) error {
	if w, err := splitWords(v); err != nil || len(w) == 0 {
		return cluster.Expected("a command: words as in a shell, without expansions", "一条命令：按 shell 规则分词，不做展开")
	}
	return nil
}

func byteSize(v string) error {
	if _, ok := parseBytes(v); !ok {
		return cluster.Expected("a size such as 64MB", "大小，例如 64MB")
	}
	return nil
}

// parseBytes reads "512", "64kB", "64MB", "1GB" as PostgreSQL counts them.
func parseBytes(v string) (int64, bool) {
	unit := int64(1)
	for name, u := range map[string]int64{"kB": 1 << 10, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40} {
		if rest, ok := strings.CutSuffix(v, name); ok {
			v, unit = rest, u
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, false
	}
	return n * unit, true
}
