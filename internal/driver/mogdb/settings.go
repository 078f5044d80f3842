package mogdb

import (
	"path"
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
	keyProfile    = "profile"
	keyData       = "data"
	keyPort       = "port"
	keyInstall    = "install"
	keyMogHA      = "mogha"
	keyMogHAStop  = "mogha_stop"
	keyMogHAStart = "mogha_start"
	keySudo       = "sudo"
	keyVIP        = "vip"
	keyStart      = "start_timeout"
	keyStop       = "stop_timeout"
	keySwitch     = "switch_timeout"
	keySettle     = "settle"
	keyLag        = "max_lag"
	keyWatchWAL   = "watch_wal"
)

// The kinds of installation (spec/mogdb.md section 1).
const (
	byHand = "manual"
	byOM   = "om"
)

func settingKeys() []cluster.Key {
	return []cluster.Key{
		{Name: keyData, Required: true, PerNode: true, Check: cluster.BlanklessPath, Doc: "data directory ($PGDATA)"},
		{Name: keyPort, PerNode: true, Check: cluster.PortNumber, Doc: "port of the server; 26000"},
		{Name: keyProfile, PerNode: true, Doc: "environment profile of the database user, absolute or below the login's home; .bashrc"},
		{Name: keyInstall, Check: cluster.OneOf(byHand, byOM), Doc: "manual (gs_ctl only) or om (gs_om); om where bin/cluster_static_config is there"},
		{Name: keyMogHA, PerNode: true, Check: cluster.OneWord, Doc: "systemd unit of MogHA; mogha. none: nobody looks for the unit, only for processes"},
		{Name: keyMogHAStop, PerNode: true, Check: words, Doc: "command that stops MogHA where it is no systemd unit (supervisord)"},
		{Name: keyMogHAStart, PerNode: true, Check: words, Doc: "command that starts MogHA where it is no systemd unit"},
		{Name: keySudo, PerNode: true, Check: words, Doc: "how to become root for MogHA; \"sudo -n\""},
		{Name: keyVIP, Check: cluster.OneWord, Doc: "virtual IP that MogHA binds to the primary; told in the plan"},
		{Name: keyStart, PerNode: true, Check: cluster.Span, Doc: "how long a start, catching up included, may take; 10m"},
		{Name: keyStop, PerNode: true, Check: cluster.Span, Doc: "how long a stop may take; 10m"},
		{Name: keySwitch, Check: cluster.Span, Doc: "how long roles may take to change behind gs_ctl's own 60s; 300s"},
		{Name: keySettle, Check: cluster.Span, Doc: "how long nothing may come back after MogHA was stopped; 15s"},
		{Name: keyLag, Check: cluster.Number, Doc: "bytes that a standby may be behind and still count as caught up; 1048576"},
		{Name: keyWatchWAL, Check: cluster.Number, Doc: "megabytes of log that must be written before the memory of a walsender is judged; 64"},
	}
}

// conf is a node's settings with the defaults filled in.
type conf struct {
	Profile, Data, Install string
	Port                   int
	Unit                   string // "" for none
	HAStop, HAStart, Sudo  []string
	VIP                    string
	StartWait, StopWait    time.Duration
	SwitchWait, Settle     time.Duration
	MaxLag, WatchWAL       int64 // bytes
}

// confOf reads a node's settings; the inventory's reader has checked them.
func confOf(n cluster.Node) conf {
	or := func(key, otherwise string) string {
		if v := n.Settings[key]; v != "" {
			return v
		}
		return otherwise
	}
	span := func(key, otherwise string) time.Duration {
		d, _ := time.ParseDuration(or(key, otherwise))
		return d
	}
	c := conf{
		Profile: or(keyProfile, ".bashrc"), Data: path.Clean(or(keyData, "/")), Install: n.Settings[keyInstall], Unit: or(keyMogHA, "mogha"),
		HAStop: strings.Fields(n.Settings[keyMogHAStop]), HAStart: strings.Fields(n.Settings[keyMogHAStart]), Sudo: strings.Fields(or(keySudo, "sudo -n")),
		VIP: n.Settings[keyVIP], StartWait: span(keyStart, "10m"), StopWait: span(keyStop, "10m"), SwitchWait: span(keySwitch, "300s"), Settle: span(keySettle, "15s"),
	}
	if c.Unit == "none" {
		c.Unit = ""
	}
	c.Port, _ = strconv.Atoi(or(keyPort, "26000"))
	c.MaxLag, _ = strconv.ParseInt(or(keyLag, "1048576"), 10, 64)
	mb, _ := strconv.ParseInt(or(keyWatchWAL, "64"), 10, 64)
	c.WatchWAL = mb << 20
	return c
}

func words(v string) error {
	if len(strings.Fields(v)) == 0 || strings.ContainsAny(v, "'\"\\$`|;&<>\n") {
		return cluster.Expected("a command of plain words without quotes", "一条由普通词组成、不含引号的命令")
	}
	return nil
}

// optHook names the site's own command that moves the virtual IP.
const optHook = "switch-hook"

// options are the driver's own of a request, by --option key=value.
type options struct {
	Hook string // absolute path of a program that is on every node
}

func optionsOf(r plan.Request) (options, error) {
	for key := range r.Options {
		if key != optHook {
			return options{}, &driver.RefusalError{
				Text: say.F("this driver has no option %q", "该驱动没有选项 %q", key),
				Next: say.F("--option %s=/path/of/program", "--option %s=/程序路径", optHook)}
		}
	}
	hook := r.Options[optHook]
	if hook != "" && cluster.BlanklessPath(hook) != nil {
		return options{}, &driver.RefusalError{
			Text: say.F("the program of %s needs an absolute path on the nodes: %q", "%s 的程序须为节点上的绝对路径：%q", optHook, hook),
			Next: say.F("--option %s=/path/of/program", "--option %s=/程序路径", optHook)}
	}
	return options{Hook: hook}, nil
}
