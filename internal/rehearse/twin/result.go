package twin

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/rehearse"
	"github.com/shiplift/shiplift/internal/run"
	"github.com/shiplift/shiplift/internal/say"
)

// Ending is how a rehearsed run ended.
type Ending string

// The endings. Each run has one.
const (
	Upgraded Ending = "upgraded" // and committed
	TriedOut Ending = "tried"    // upgraded, then rolled back on purpose: the way back is rehearsed too
	BackedUp Ending = "rolled back"
	Person   Ending = "needed a person" // who mended the cluster before the run went on, whatever its end
	Broken   Ending = "broken"          // something that must hold did not hold at the end
)

// Result is what a rehearsal showed.
type Result struct {
	Runs    int
	Seed    uint64
	Calm    Figures // the run that nothing disturbed
	Endings map[Ending]int
	Took    Spread
	// Stopped is for how long clients could not write in a run.
	Stopped Spread
	// Measured tells that a simulated client wrote all the time; otherwise
	// Stopped is the time of the steps that stop writes.
	Measured bool
	Risky    []Risk // the riskiest first, at most three
	Wrong    []Wrong
}

// Figures are those of one run.
type Figures struct{ Took, Stopped time.Duration }

// Spread are percentiles of all runs.
type Spread struct{ P50, P95, Max time.Duration }

// Wrong is a run after which something did not hold.
type Wrong struct {
	Seed uint64
	Why  string
}

// Risk is a step at which runs met trouble.
type Risk struct {
	Step   plan.Step // the user's
	Met    int       // runs in which an attempt at it failed or was cut off
	Began  int       // of these, runs whose first trouble was here
	Back   int       // of these, rolled back
	Person int       // of these, needed a person or ended broken
	Error  say.Text  // what was said most often
	Seed   uint64    // a run to look at
}

// score orders the risks: what needs a person weighs most.
func (r *Risk) score() int { return 10*r.Person + 3*r.Back + r.Met }

// Run is one rehearsed run.
type Run struct {
	Figures
	Played   *rehearse.Played
	Ending   Ending
	Wrong    error
	measured bool
}

// Rehearse carries the plan out so many times, with the seeds from seed on.
func (t *Twin) Rehearse(ctx context.Context, runs int, seed uint64) (*Result, error) {
	calm, measured, err := t.calm(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*Run, runs)
	errs := make([]error, runs)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(runs) && ctx.Err() == nil; i = next.Add(1) - 1 {
				all[i], errs[i] = t.Play(ctx, seed+uint64(i))
			}
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := cmp.Or(errs...); err != nil {
		return nil, err
	}
	return t.sum(all, &Result{Runs: runs, Seed: seed, Calm: calm, Measured: measured}), nil
}

// calm carries the plan out with nothing in its way: apply, then commit.
func (t *Twin) calm(ctx context.Context) (f Figures, measured bool, err error) {
	s, err := t.open(0)
	if err != nil {
		return f, false, err
	}
	story, err := rehearse.Begin(ctx, s.World)
	if err != nil {
		return f, false, err
	}
	began := s.Env.Clock.Now()
	for _, v := range []struct {
		verb string
		want run.State
	}{{"apply", run.Upgraded}, {"commit", run.Committed}} {
		if err := story.Wants(ctx, v.verb, v.want); err != nil {
			return f, false, &say.Problem{
				Place: t.Plan.Cluster,
				Text:  say.F("even an undisturbed run of this plan does not end well on the twin", "即使没有任何故障，该计划在模拟副本上也不能顺利完成"),
				Err:   err,
				Next:  say.F("practise on a lab: shiplift lab up %s --help", "可在演练环境中试验：shiplift lab up %s --help", t.Plan.Driver),
			}
		}
		if v.verb == "apply" {
			f = t.figures(s, story.Log.Records, s.Env.Clock.Now().Sub(began))
		}
	}
	return f, s.Interrupted != nil, nil
}

func (t *Twin) figures(s *site, records []journal.Record, took time.Duration) Figures {
	if s.Interrupted != nil {
		return Figures{took, s.Interrupted()}
	}
	return Figures{took, t.stopped(records)}
}

// stopped sums up how long steps that stop writes were under way.
func (t *Twin) stopped(records []journal.Record) time.Duration {
	var total time.Duration
	began := map[string]time.Time{}
	for _, r := range records {
		st := t.step(r.Step)
		if st == nil || st.Impact != plan.WritesStop && st.Impact != plan.Down {
			continue
		}
		switch r.Kind { //nolint:exhaustive // only these two bound the work
		case journal.Intent:
			began[r.Step] = r.Time
		case journal.Outcome:
			total += r.Time.Sub(began[r.Step])
		}
	}
	return total
}

// step is the user's step for one of the twin's.
func (t *Twin) step(id string) *plan.Step {
	id = t.idOn(id, t.nameOf)
	for i := range t.Plan.Steps {
		if t.Plan.Steps[i].ID == id {
			return &t.Plan.Steps[i]
		}
	}
	return nil
}

// Play carries the plan out once, with the faults of a seed.
func (t *Twin) Play(ctx context.Context, seed uint64) (*Run, error) {
	var s *site
	c := rehearse.Case{Name: t.Plan.Driver, Open: func(seed uint64) (w rehearse.World, err error) {
		if s, err = t.open(seed); err != nil {
			return w, err
		}
		return s.World, nil
	}}
	p, err := rehearse.Play(ctx, c, seed)
	if p == nil || p.Log == nil {
		return nil, fmt.Errorf("run %d does not begin: %w", seed, err)
	}
	r := &Run{Played: p, Wrong: err, Figures: t.figures(s, p.Log.Records, p.Took)}
	r.Ending = endingOf(p, err)
	return r, nil
}

func endingOf(p *rehearse.Played, err error) Ending {
	switch {
	case err != nil:
		return Broken
	case p.Mended > 0:
		return Person
	case p.Final == run.Committed:
		return Upgraded
	case slices.ContainsFunc(p.Log.Records, func(r journal.Record) bool {
		return r.Kind == journal.Left && r.State == string(run.Upgraded)
	}):
		return TriedOut
	}
	return BackedUp
}

func (t *Twin) sum(all []*Run, res *Result) *Result {
	res.Endings = map[Ending]int{}
	risks := map[string]*risk{}
	var took, stopped []time.Duration
	for _, r := range all {
		res.Endings[r.Ending]++
		if r.Ending == Broken {
			res.Wrong = append(res.Wrong, Wrong{r.Played.Seed, r.Wrong.Error()})
		} else {
			took, stopped = append(took, r.Took), append(stopped, r.Stopped)
		}
		t.weigh(risks, r)
	}
	res.Took, res.Stopped = spread(took), spread(stopped)
	for i := range t.Plan.Steps {
		if k := risks[t.Plan.Steps[i].ID]; k != nil {
			k.Step, k.Error = t.Plan.Steps[i], most(k.errors)
			res.Risky = append(res.Risky, k.Risk)
		}
	}
	slices.SortStableFunc(res.Risky, func(a, b Risk) int { return b.score() - a.score() })
	res.Risky = res.Risky[:min(3, len(res.Risky))]
	return res
}

// risk is a Risk while it is summed up.
type risk struct {
	Risk
	errors map[say.Text]int
	weight int // of the run that Seed names
}

// weigh adds the trouble that a run met.
func (t *Twin) weigh(risks map[string]*risk, r *Run) {
	for i, tr := range t.troubles(r.Played.Log.Records) {
		k := risks[tr.step]
		if k == nil {
			k = &risk{errors: map[say.Text]int{}}
			risks[tr.step] = k
		}
		k.Met++
		weight := 1
		if !tr.says.IsZero() {
			k.errors[tr.says]++
		}
		if i == 0 {
			k.Began++
			switch r.Ending {
			case Person, Broken:
				k.Person++
				weight = 3
			case BackedUp:
				k.Back++
				weight = 2
			case Upgraded, TriedOut:
			}
		}
		if weight > k.weight {
			k.weight, k.Seed = weight, r.Played.Seed
		}
	}
}

// trouble is a step that did not go through at once, with what was said first.
type trouble struct {
	step string
	says say.Text
}

// troubles are the steps whose attempts failed or were cut off, each once, in
// the order of their first trouble.
func (t *Twin) troubles(records []journal.Record) []trouble {
	var out []trouble
	note := func(id string, says *say.Text) {
		st := t.step(id)
		if st == nil || slices.ContainsFunc(out, func(x trouble) bool { return x.step == st.ID }) {
			return
		}
		x := trouble{step: st.ID}
		if says != nil {
			x.says = *says
		}
		out = append(out, x)
	}
	open := "" // a step that the process which died was at
	for _, r := range records {
		switch {
		case r.Kind == journal.Open && open != "":
			note(open, nil)
			open = ""
		case r.Kind == journal.Intent:
			open = r.Step
		case r.Kind == journal.Outcome:
			open = ""
			if r.Result != journal.OK {
				note(r.Step, r.Error)
			}
		}
	}
	return out
}

func spread(d []time.Duration) Spread {
	if len(d) == 0 {
		return Spread{}
	}
	slices.Sort(d)
	at := func(percent int) time.Duration { return d[(len(d)*percent+99)/100-1] }
	return Spread{at(50), at(95), d[len(d)-1]}
}

// most is what was said most often; of those alike, the first in the alphabet.
func most(errors map[say.Text]int) say.Text {
	var best say.Text
	for e, n := range errors {
		if m := errors[best]; n > m || n == m && e.EN < best.EN {
			best = e
		}
	}
	return best
}
