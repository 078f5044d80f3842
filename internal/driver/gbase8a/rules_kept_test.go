package gbase8a_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/driver/gbase8a"
	"github.com/shiplift/shiplift/internal/host"
	lab "github.com/shiplift/shiplift/internal/lab/gbase8a"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/run"
)

// deed is one command of a run, without the profile around it.
type deed struct {
	sim.Ran
	line    string
	timeout time.Duration
}

// done is a run that ended well, with everything that was asked of the machines.
type done struct {
	*world
	deeds  []deed
	passed []string // checks that passed before it
	before map[string]lab.Snap
	from   string
	gcware []string
	tool   string // the one that knows gcware
}

// watched notes how long a command may take.
type watched struct {
	host.Host
	limits *[]time.Duration
}

func (h watched) Run(ctx context.Context, c host.Cmd) (host.Result, error) {
	*h.limits = append(*h.limits, c.Timeout)
	return h.Host.Run(ctx, c)
}

// unwrapped takes the profiles off the words of a command.
func unwrapped(argv []string) []string {
	for len(argv) > 5 && argv[0] == "sh" && argv[2] == host.ProfileScript {
		argv = argv[5:]
	}
	return argv
}

// carriedOut carries a case out to its commit.
func carriedOut(t *testing.T, name string) *done {
	t.Helper()
	tc := cases[name]
	o := open(t, tc.cfg, tc.r, nil)
	d := &done{world: o, before: map[string]lab.Snap{}, from: o.c.Nodes[0].Version, tool: "gcluster_services"}
	if o.c.Config.Flavor == lab.V953 {
		d.tool = "gcware_services"
	}
	for _, n := range o.c.Nodes {
		if n.Gcware {
			d.gcware = append(d.gcware, n.Name)
			d.before[n.Name] = o.c.Newest(o.w, n.Name)
		}
	}
	for _, f := range ask(t, o) {
		if f.Severity == check.Pass {
			d.passed = append(d.passed, f.ID)
		}
	}
	var limits []time.Duration
	hosts := host.Set{}
	for n, h := range o.Env.Hosts {
		hosts[n] = watched{h, &limits}
	}
	o.Env.Hosts = hosts
	first := len(o.w.Trace())
	s := begin(t, o)
	wants(t, s, "apply", run.Upgraded)
	wants(t, s, "commit", run.Committed)
	trace := o.w.Trace()[first:]
	if len(trace) != len(limits) {
		t.Fatalf("%d commands, %d limits", len(trace), len(limits))
	}
	for i, r := range trace {
		d.deeds = append(d.deeds, deed{r, strings.Join(unwrapped(r.Argv), " "), limits[i]})
	}
	return d
}

// where are the places of the commands that contain a text, on a node or, with "", on any.
func (d *done) where(node, text string) []int {
	var at []int
	for i, x := range d.deeds {
		if (node == "" || x.Node == node) && strings.Contains(x.line, text) {
			at = append(at, i)
		}
	}
	return at
}

// first is where a text was asked first; one that nobody asked is an error.
func (d *done) first(node, text string) (int, error) {
	if at := d.where(node, text); len(at) > 0 {
		return at[0], nil
	}
	return 0, fmt.Errorf("nobody asked %q of %q", node, text)
}

// ordered: on the nodes each text is asked for, in this order.
func (d *done) ordered(nodes []string, texts ...string) error {
	last := -1
	for _, text := range texts {
		end := last
		for _, n := range nodes {
			at := d.where(n, text)
			at = slices.DeleteFunc(at, func(i int) bool { return i <= last })
			if len(at) == 0 {
				return fmt.Errorf("%q was not asked on %q behind what comes before it", text, n)
			}
			end = max(end, at[0])
		}
		last = end
	}
	return nil
}

// between: on every node the text is asked for behind one command and before another.
func (d *done) between(nodes []string, after, text, before string) error {
	from, err := d.first("", after)
	to, err2 := d.first("", before)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if after == d.tool+" gcware start" {
		from = slices.Max(d.where("", after))
	}
	for _, n := range nodes {
		if !slices.ContainsFunc(d.where(n, text), func(i int) bool { return i > from && i < to }) {
			return fmt.Errorf("%q was not asked on %q between %q and %q", text, n, after, before)
		}
	}
	return nil
}

var anywhere = []string{""}

func (d *done) names() []string { return d.Env.Inventory.Names() }

const (
	theFlush     = "flush_statemachine"
	theInstaller = "gcinstall.py --silent"
	theListing   = "/data/gcware -mindepth"
)

// found: a check asked before the run and had nothing to say.
func (d *done) found(id string) error {
	if !slices.Contains(d.passed, id) {
		return fmt.Errorf("check %s did not pass: %v", id, d.passed)
	}
	return nil
}

// quietBefore: the questions of U2 and U3 lie before the first stop and behind the lock.
func (d *done) quietBefore(texts ...string) error {
	for _, text := range texts {
		if err := d.between(anywhere, "ln -s -T", text, "gcluster_services all stop"); err != nil {
			return err
		}
	}
	return nil
}

// rulesKept holds each rule of the table on runs that went well: what the rule
// wants was done, at its place. Those of upgrade alone are asked there alone.
var rulesKept = map[string]struct {
	upgrade bool
	holds   func(*done) error
}{
	"G01": {holds: func(d *done) error { // the new term has as many digits: TestRulesBroken has one more
		for _, n := range d.gcware {
			if now := d.c.Newest(d.w, n); now.Term <= d.before[n].Term {
				return fmt.Errorf("%s has %v, it had %v", n, now, d.before[n])
			}
		}
		return nil
	}},
	"G02": {holds: func(d *done) error { return d.between(d.gcware, theFlush, theListing, d.tool+" gcware stop") }},
	"G03": {holds: func(d *done) error {
		return errors.Join(d.ordered(d.names(), "gcluster_services all stop"), d.ordered(anywhere, "gcluster_services all stop", theFlush))
	}},
	"G04": {holds: func(d *done) error { // watched for ten seconds, on every node
		stop := slices.Max(d.where("", "gcluster_services all stop"))
		start, err := d.first("", d.tool+" gcware start")
		if err != nil || d.deeds[start].At.Sub(d.deeds[stop].At) < 10*time.Second {
			return fmt.Errorf("no ten seconds between stop and start, %w", err)
		}
		return d.between(d.names(), "gcluster_services all stop", "ps -u gbase", d.tool+" gcware start")
	}},
	"G05": {holds: func(d *done) error {
		flush, err := d.first("", theFlush)
		for i, x := range d.deeds[:flush] {
			if strings.Contains(x.line, " start") && !strings.Contains(x.line, d.tool+" gcware start") {
				return fmt.Errorf("%d: %s", i, x.line)
			}
		}
		return errors.Join(err, d.ordered(d.gcware, d.tool+" gcware start"))
	}},
	"G06": {holds: func(d *done) error { return d.between(anywhere, d.tool+" gcware start", "gcadmin", theFlush) }},
	"G07": {holds: func(d *done) error { // two of three were OPEN, and the state ACTIVE, before the third
		last, flush := slices.Max(d.where("", d.tool+" gcware start")), d.where("", theFlush)[0]
		if wait := d.deeds[flush].At.Sub(d.deeds[last].At); wait < d.c.Delays.Open {
			return fmt.Errorf("flushed %s behind the last start", wait)
		}
		return nil
	}},
	"G08": {holds: func(d *done) error {
		if at := d.where("", theFlush); len(at) != 1 || d.deeds[at[0]].Node != "db1" {
			return fmt.Errorf("%d flush calls", len(at))
		}
		return nil
	}},
	"G09": {holds: func(d *done) error {
		flush, stop := d.where("", theFlush)[0], d.where("", d.tool+" gcware stop")[0]
		if took := d.deeds[stop].At.Sub(d.deeds[flush].At); took < d.c.Delays.Flush+d.c.Delays.Write {
			return fmt.Errorf("gcware was stopped %s behind the call", took)
		}
		return d.rules()
	}},
	"G10": {holds: func(d *done) error {
		for _, n := range d.gcware {
			if now, was := d.c.Newest(d.w, n), d.before[n]; now.Term == was.Term && now.Index <= was.Index {
				return fmt.Errorf("%s has %v, it had %v", n, now, was)
			}
		}
		return nil
	}},
	"G11": {holds: func(d *done) error {
		for _, n := range d.gcware {
			if slices.ContainsFunc(d.c.Snapshots(d.w, n), func(s lab.Snap) bool { return s.Partial }) {
				return fmt.Errorf("a .s is left on %s", n)
			}
		}
		return nil
	}},
	"G12": {holds: func(d *done) error { return d.between(d.gcware, d.tool+" gcware start", theListing, theFlush) }},
	"G13": {holds: func(d *done) error {
		top := d.c.Newest(d.w, d.gcware[0])
		for _, n := range d.gcware {
			if now := d.c.Newest(d.w, n); now != top {
				return fmt.Errorf("%s has %v, %s has %v", n, now, d.gcware[0], top)
			}
		}
		return nil
	}},
	"G14": {holds: func(d *done) error { return d.found("gbase8a-snapshots") }},
	"G15": {holds: func(d *done) error {
		if n := len(d.where("", theFlush)); n != 1 {
			return fmt.Errorf("%d calls where the first one worked", n)
		}
		return nil
	}},
	"G16": {holds: func(d *done) error {
		for _, x := range d.deeds {
			if strings.Contains(x.line, "SNAPSHOT") && x.Effect != host.ReadOnly {
				return fmt.Errorf("a snapshot was touched: %s", x.line)
			}
		}
		return nil
	}},
	"G17": {holds: func(d *done) error {
		if d.Request.Component != "" {
			return d.ordered(d.gcware, theListing, d.tool+" gcware stop")
		}
		return errors.Join(d.ordered(d.gcware, d.tool+" gcware stop"), d.ordered(anywhere, d.tool+" gcware stop", theInstaller))
	}},
	"G18": {holds: func(d *done) error {
		return d.quietBefore("gcadmin showddlevent", "gcadmin showdmlevent", "gcadmin showdmlstorageevent")
	}},
	"G19": {holds: func(d *done) error { return errors.Join(d.found("gbase8a-state"), d.quietBefore("gcadmin")) }},
	"G20": {holds: func(d *done) error {
		return d.quietBefore("gcadmin showlock", "gcadmin showfailover", "show processlist")
	}},
	"G21": {upgrade: true, holds: func(d *done) error {
		return errors.Join(d.found("gbase8a-members"), d.ordered(anywhere, "shiplift.options", theInstaller))
	}},
	"G22": {upgrade: true, holds: func(d *done) error {
		x := d.deeds[d.where("", theInstaller)[0]]
		if x.Node != "db1" || x.User != "gbase" {
			return fmt.Errorf("the installer ran on %s as %s", x.Node, x.User)
		}
		return d.found("gbase8a-nodes")
	}},
	"G23": {upgrade: true, holds: func(d *done) error {
		return d.between(d.names(), d.tool+" gcware stop", "ps -u gbase", theInstaller)
	}},
	"G24": {upgrade: true, holds: func(d *done) error {
		if !slices.ContainsFunc(d.w.Machine("db1").List("/home/gbase"), func(f string) bool { return strings.HasPrefix(f, "gcluster_backup_") }) {
			return errors.New("no backup file")
		}
		return errors.Join(d.found("gbase8a-room"), d.ordered(anywhere, theInstaller, "gcluster_backup_*"))
	}},
	"G25": {upgrade: true, holds: func(d *done) error { return d.found("gbase8a-writable") }},
	"G26": {upgrade: true, holds: func(d *done) error { return d.found("gbase8a-package") }},
	"G27": {holds: func(d *done) error { return d.found("gbase8a-python") }},
	"G28": {upgrade: true, holds: func(d *done) error { // a package without a license asks for none; TestALicenseGoesWithThePackage has one
		if at := d.where("", "--license_file"); len(at) > 0 {
			return errors.New(d.deeds[at[0]].line)
		}
		return nil
	}},
	"G29": {holds: func(d *done) error {
		n := 0
		for _, x := range d.deeds {
			if strings.HasPrefix(x.line, "gcadmin") || strings.HasPrefix(x.line, "python -c") || strings.HasPrefix(x.line, "gccli") {
				if n++; x.timeout <= 0 || x.timeout > 30*time.Second {
					return fmt.Errorf("%s may take %s", x.line, x.timeout)
				}
			}
		}
		if n < 10 {
			return fmt.Errorf("only %d status calls were seen", n)
		}
		return nil
	}},
	"G30": {holds: func(d *done) error { return d.whole() }},
	"G31": {holds: func(d *done) error {
		for i, x := range d.deeds {
			if x.Effect != host.ReadOnly && !strings.HasPrefix(x.line, "ln -s -T shiplift:") {
				return fmt.Errorf("before the lock: %d %s", i, x.line)
			} else if x.Effect != host.ReadOnly {
				break
			}
		}
		if last := d.deeds[len(d.deeds)-1]; last.line != "rm -f .shiplift-gbase8a.lock" {
			return fmt.Errorf("the last deed is %s", last.line)
		}
		return nil
	}},
	"G32": {upgrade: true, holds: func(d *done) error {
		return errors.Join(d.ordered(d.names(), "gcware --version"), d.ordered(anywhere, theInstaller, "gcadmin -V"), d.ordered(anywhere, theInstaller, "gbased --version"),
			d.ordered(anywhere, theInstaller, "gcadmin showddlevent"), d.ordered(anywhere, theInstaller, "select version()"))
	}},
	"G33": {upgrade: true, holds: func(d *done) error {
		if !gbase8a.CanRestore(d.Request.To, d.from) {
			return errors.New("the matrix has no way back")
		}
		return d.found("gbase8a-way-back")
	}},
	"G34": {holds: func(d *done) error { // V95: flushed
		_, err := d.first("", theFlush)
		return err
	}},
}

func TestRulesKept(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"flush V952", "flush V953", "upgrade V952", "upgrade V953", "upgrade V953 held by SQL"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := carriedOut(t, name)
			for id, rule := range rulesKept {
				if rule.upgrade && d.Request.Component != "" {
					continue
				}
				if err := rule.holds(d); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
		})
	}
}

// TestEachRuleIsKeptAndBroken: no rule of the table is without its two cases.
func TestEachRuleIsKeptAndBroken(t *testing.T) {
	t.Parallel()
	broken := map[string]bool{}
	for name := range rulesBroken {
		id, _, _ := strings.Cut(name, " ")
		broken[id] = true
	}
	for i := 1; i <= 34; i++ {
		id := fmt.Sprintf("G%02d", i)
		if rulesKept[id].holds == nil || !broken[id] {
			t.Errorf("%s: kept %t, broken %t", id, rulesKept[id].holds != nil, broken[id])
		}
	}
}
