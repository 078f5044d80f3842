package journal

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/host"
)

// Found is the newest run that the nodes and this machine know of.
type Found struct {
	Run   string
	Log   Log
	From  string           // the node it was read from; empty: this machine
	Local bool             // this machine's own journal is as long
	Bad   map[string]error // copies that are damaged or could not be read, by node
	data  []byte
}

// copyRead is one journal that was read.
type copyRead struct {
	place, node string
	log         Log
	data        []byte
}

// Find reads the copies of the newest run on all nodes that answer, and this
// machine's own journal, verifies each and returns the longest. Histories that
// went different ways are a *DivergedError. It returns nil when nobody knows of
// a run. It only reads; who means to go on with the run holds the lease before,
// so that what is found stays the last word.
func (s Store) Find(ctx context.Context, hosts host.Set, inv *cluster.Inventory, serial bool) (*Found, error) {
	local, err := s.List()
	if err != nil {
		return nil, err
	}
	f := &Found{Bad: map[string]error{}}
	known := f.listRuns(ctx, hosts, inv, serial)
	for {
		f.Run = newest(known, local)
		if f.Run == "" {
			return nil, nil
		}
		copies, err := f.readCopies(ctx, hosts, inv, known, serial)
		if err != nil {
			return nil, err
		}
		if slices.Contains(local, f.Run) {
			own, err := ReadFile(s.Path(f.Run))
			if err != nil {
				return nil, err // it may tell of changes that no copy knows; a person decides
			}
			copies = append(copies, copyRead{place: s.Path(f.Run), log: own})
		}
		if !f.hollow(copies, known) {
			return f.choose(copies)
		}
		local = without(local, f.Run)
		for n := range known {
			known[n] = without(known[n], f.Run)
		}
	}
}

func newest(known map[string][]string, local []string) string {
	run := ""
	for _, runs := range known {
		run = max(run, slices.Max(append(runs, "")))
	}
	return max(run, slices.Max(append(local, "")))
}

func without(runs []string, run string) []string {
	return slices.DeleteFunc(slices.Clone(runs), func(r string) bool { return r == run })
}

// hollow reports whether nobody holds a whole record of the run: its process
// died, or its disk was full, before the first one was durable. Then nothing
// was done in its name (I1), and it is as if it had never been.
func (f *Found) hollow(copies []copyRead, known map[string][]string) bool {
	for n, runs := range known {
		if slices.Contains(runs, f.Run) && f.Bad[n] != nil {
			return false // it holds something
		}
	}
	return len(copies) > 0 && !slices.ContainsFunc(copies, func(c copyRead) bool { return len(c.log.Records) > 0 })
}

// choose takes the history of the last holder of the lease, then the longest,
// then this machine's. All others must be a part of it.
func (f *Found) choose(copies []copyRead) (*Found, error) {
	if len(copies) == 0 {
		var errs []error
		for _, err := range f.Bad {
			errs = append(errs, err)
		}
		return nil, first(errs...)
	}
	best := copies[0]
	for _, c := range copies[1:] {
		if a, b := lastFence(c.log), lastFence(best.log); a > b ||
			a == b && (len(c.log.Records) > len(best.log.Records) ||
				len(c.log.Records) == len(best.log.Records) && c.node == "") {
			best = c
		}
	}
	for _, c := range copies {
		common := c.log.Common(&best.log)
		if common < len(c.log.Records) && mattersAlone(c.log.Records[common:]) {
			return nil, &DivergedError{Run: f.Run, A: best.place, B: c.place, Common: common}
		}
	}
	f.Log, f.From, f.Local = best.log, best.node, best.node == ""
	f.data = best.data[:min(int64(len(best.data)), best.log.Size)]
	return f, nil
}

func lastFence(l Log) int64 {
	var fence int64
	for _, r := range l.Records {
		fence = max(fence, r.Fence)
	}
	return fence
}

// listRuns asks all nodes which runs they hold a copy of.
func (f *Found) listRuns(ctx context.Context, hosts host.Set, inv *cluster.Inventory, serial bool) map[string][]string {
	known := map[string][]string{}
	f.ask(hosts, inv, serial, func(n string) func() {
		c := host.Read("ls", "-1", StateDir(inv, n))
		c.Timeout = copyTimeout
		res, err := hosts[n].Run(ctx, c)
		var runs []string
		for name := range strings.FieldsSeq(string(res.Stdout)) {
			if run, ok := strings.CutSuffix(name, suffix); ok && IsRunID(run) {
				runs = append(runs, run)
			}
		}
		return func() {
			if len(runs) > 0 {
				known[n] = runs
			}
			if err != nil && !host.IsExit(err) { // a status says that there is no such directory
				f.Bad[n] = err
			}
		}
	})
	return known
}

func (f *Found) readCopies(ctx context.Context, hosts host.Set, inv *cluster.Inventory, known map[string][]string, serial bool) ([]copyRead, error) {
	got := map[string]copyRead{}
	f.ask(hosts, inv, serial, func(n string) func() {
		if !slices.Contains(known[n], f.Run) {
			return func() {}
		}
		file := CopyFile(inv, n, f.Run)
		data, err := host.ReadFile(ctx, hosts[n], file)
		c := copyRead{place: n + ":" + path.Clean(file), node: n, data: data}
		if err == nil {
			c.log, err = Parse(c.place, data)
		}
		return func() {
			if err != nil {
				f.Bad[n] = err
			} else {
				got[n] = c
			}
		}
	})
	var copies []copyRead
	for _, n := range inv.Names() {
		if c, ok := got[n]; ok {
			copies = append(copies, c)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(context.Cause(ctx), err)
	}
	return copies, nil
}

// ask calls fn for all nodes and then, one after another, what it returns.
func (f *Found) ask(hosts host.Set, inv *cluster.Inventory, serial bool, fn func(node string) func()) {
	limit := 32
	if serial {
		limit = 1
	}
	var names []string
	for _, n := range inv.Names() {
		if hosts[n] != nil {
			names = append(names, n)
		}
	}
	var mu sync.Mutex
	_ = atOnce(names, limit, func(n string) error {
		note := fn(n)
		mu.Lock()
		defer mu.Unlock()
		note()
		return nil
	})
}
