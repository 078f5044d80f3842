package gbase8a

import (
	"regexp"
	"slices"
	"strings"
)

// ServiceLine is one line of a service tool: "Starting gcware : … [  OK  ]".
type ServiceLine struct {
	Verb    string // Starting or Stopping
	Service string
	OK      bool
}

var (
	bracketLine = regexp.MustCompile(`^(Starting|Stopping)\s+(\S+)\s*:.*\[\s*(\S+)\s*\]\s*$`)
	monitorLine = regexp.MustCompile(`^(Starting|Stopping)\s+(GCMonit|GCWareMonit|GCMMonit|GCWareMMonit)\s+(\S+)\s*$`)
)

// ParseServiceLines reads what start and stop print. The order differs between
// builds and monitor lines may be missing (spec section 5), so a caller looks
// for failures, never for a sequence; the proof is in the processes.
func ParseServiceLines(out string) []ServiceLine {
	var lines []ServiceLine
	for _, l := range splitLines(plain(out)) {
		l = strings.TrimRight(l, " \t\r")
		if !strings.HasPrefix(l, "Starting") && !strings.HasPrefix(l, "Stopping") {
			continue // no need to ask the expressions
		}
		if m := bracketLine.FindStringSubmatch(l); m != nil {
			lines = append(lines, ServiceLine{m[1], m[2], m[3] == "OK"})
		} else if m := monitorLine.FindStringSubmatch(l); m != nil {
			lines = append(lines, ServiceLine{m[1], m[2], m[3] == "success!"})
		}
	}
	return lines
}

// ParseInfo reads "all info": service or binary name to running. Only a line
// that ends with " is running" counts as running [A for any other text].
func ParseInfo(out string) map[string]bool {
	info := map[string]bool{}
	for _, l := range splitLines(plain(out)) {
		l = strings.TrimRight(l, " \t\r")
		name, _, _ := strings.Cut(l, " ")
		if name == "" {
			continue
		}
		name = name[strings.LastIndex(name, "/")+1:]
		info[name] = info[name] || strings.HasSuffix(l, " is running")
	}
	return info
}

// The processes of the product by name (spec section 5).
var (
	databaseProcesses = []string{"gclusterd", "gcrecover", "gbased", "gc_sync_server"}
	monitorProcesses  = []string{"gcmonit", "gcmmonit", "gcware_monit", "gcware_mmonit"}
	allProcesses      = slices.Concat(databaseProcesses, monitorProcesses, []string{"gcware"})
)

// Process is a running process of the product.
type Process struct{ PID, Name, Path string }

// ParseProcesses reads "ps -u USER -o pid=,comm=,args=" and keeps the product's
// processes of one instance. A process whose path lies outside every base of
// the instance belongs to another instance on the machine; one that shows no
// path counts as ours, since overlooking it would break G03.
func ParseProcesses(out string, bases []string) []Process {
	var ps []Process
	for _, l := range splitLines(out) {
		f := strings.Fields(l)
		if len(f) < 2 || !slices.Contains(allProcesses, f[1]) {
			continue
		}
		p := Process{PID: f[0], Name: f[1]}
		if len(f) > 2 && strings.HasPrefix(f[2], "/") {
			p.Path = f[2]
		}
		if p.Path != "" && len(bases) > 0 && !slices.ContainsFunc(bases, func(b string) bool { return strings.HasPrefix(p.Path, b+"/") }) {
			continue
		}
		ps = append(ps, p)
	}
	return ps
}

// processNames returns the distinct names, sorted.
func processNames(ps []Process) []string {
	var names []string
	for _, p := range ps {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
