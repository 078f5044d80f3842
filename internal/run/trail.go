package run

import (
	"encoding/json"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// Status is where a step stands, as far as the journal knows.
type Status string

// The statuses of a step.
const (
	Pending Status = "pending"     // nothing of it is there
	Doing   Status = "doing"       // an intent without an outcome: it runs, or the process died
	Doubt   Status = "doubt"       // the attempt failed or was cut off: to be probed
	Half    Status = "half"        // probed: to be undone before anything else
	Stuck   Status = "stuck"       // probed: unknown; a person must look
	Done    Status = "done"        // applied
	Undoing Status = "undoing"     // an undo without an outcome
	NotBack Status = "undo failed" // the undo failed
	Owing   Status = "owed"        // left to undo when its node is back
)

// StepTrail is the fold of one step's records.
type StepTrail struct {
	Status  Status
	Attempt int
	Memo    json.RawMessage
	Began   time.Time // of the newest attempt
	Took    time.Duration
	Error   *say.Text // of the newest failure
	OwedBy  string    // the node that did not answer, where Status is Owing
}

// Trail is the fold of a journal: all that is known of a run. It is a value
// of the records alone; no clock and no device has a part in it.
type Trail struct {
	Run      string
	Plan     *plan.Plan
	Steps    []StepTrail     // in the order of the plan's steps
	Back     bool            // the run goes back
	Final    State           // Committed or RolledBack; "" while the run is open
	Last     *journal.Record // the newest Open
	Leave    *journal.Record // how the newest process left; nil while it works, or when it died
	Started  time.Time
	Sessions int

	index map[string]int
	needs [][]int
}

// Step returns the trail of the step of that id; nil when the plan has none.
func (t *Trail) Step(id string) *StepTrail {
	i, ok := t.index[id]
	if !ok {
		return nil
	}
	return &t.Steps[i]
}

// Read folds records. The first one must be Begin.
func Read(records []journal.Record) (*Trail, error) {
	if len(records) == 0 || records[0].Kind != journal.Begin {
		return nil, say.Errorf("the journal does not start with a %q record", "日志的开头不是 %q 记录", journal.Begin)
	}
	var p plan.Plan
	if err := json.Unmarshal(records[0].Plan, &p); err != nil {
		return nil, say.Errorf("read the plan in the journal: %w", "读取日志中的计划：%w", err)
	}
	return Fold(&p, records)
}

// Fold folds the records of a run whose plan, as Begin holds it, is p.
func Fold(p *plan.Plan, records []journal.Record) (*Trail, error) {
	t := newTrail(records[0].Run, p, records[0].Time)
	for i := range records {
		if err := t.add(&records[i]); err != nil {
			return nil, say.Errorf("record %d: %w", "记录 %d：%w", records[i].Seq, err)
		}
	}
	return t, nil
}

func newTrail(run string, p *plan.Plan, started time.Time) *Trail {
	n := len(p.Steps)
	t := &Trail{Run: run, Plan: p, Started: started, Steps: make([]StepTrail, n), index: make(map[string]int, n), needs: make([][]int, n)}
	for i, s := range p.Steps {
		t.index[s.ID] = i
		t.Steps[i].Status = Pending
		for _, need := range s.Needs {
			t.needs[i] = append(t.needs[i], t.index[need])
		}
	}
	return t
}

// add folds one more record in.
func (t *Trail) add(r *journal.Record) error {
	switch r.Kind {
	case journal.Begin, journal.Note:
		return nil
	case journal.Open:
		t.Last, t.Leave = r, nil
		t.Sessions++
		t.reopen()
		return nil
	case journal.Turn:
		t.Back = true
		return nil
	case journal.Left:
		t.Leave = r
		return nil
	case journal.End:
		t.Final, t.Leave = State(r.State), r
		return nil
	default: // of one step
	}
	s := t.Step(r.Step)
	if s == nil {
		return say.Errorf("%s of step %q, which the plan does not have", "步骤 %[2]q 的 %[1]s，但计划中没有该步骤", r.Kind, r.Step)
	}
	return s.add(r)
}

// reopen turns what a dead process left into questions for the new one.
func (t *Trail) reopen() {
	for i := range t.Steps {
		s := &t.Steps[i]
		switch s.Status {
		case Doing, Stuck:
			s.Status = Doubt
		case Undoing, NotBack:
			s.Status = Half
		case Pending, Doubt, Half, Done, Owing:
		}
	}
}

func (s *StepTrail) add(r *journal.Record) error {
	switch r.Kind {
	case journal.Intent:
		s.Attempt, s.Began, s.Status = r.Attempt, r.Time, Doing
		if r.Undo {
			s.Status = Undoing
		} else {
			s.Memo = r.Memo
		}
	case journal.Outcome:
		s.Took = r.Time.Sub(s.Began)
		s.Error = r.Error
		s.Status = outcomeStatus(r)
		if s.Status == Pending {
			s.Memo = nil
		}
	case journal.Probed:
		s.Status = standingStatus[driver.Standing(r.Standing)]
	case journal.Crossed:
		s.Status, s.Began = Done, r.Time
	case journal.Skipped:
		s.Status, s.Error = Pending, r.Error
		if r.Owed {
			s.Status, s.OwedBy = Owing, r.Node
		}
	default:
		return say.Errorf("unknown kind %q", "未知的类型 %q", r.Kind)
	}
	return nil
}

var standingStatus = map[driver.Standing]Status{
	driver.Applied: Done, driver.NotApplied: Pending, driver.Half: Half, driver.Unknown: Stuck,
}

func outcomeStatus(r *journal.Record) Status {
	switch {
	case r.Undo && r.Result == journal.OK:
		return Pending
	case r.Undo && r.Result == journal.Failed:
		return NotBack
	case r.Undo:
		return Half
	case r.Result == journal.OK:
		return Done
	default:
		return Doubt
	}
}

// Crossed reports whether a one-way gate lies behind the run, and which one.
func (t *Trail) Crossed() (gate string, ok bool) {
	for i, s := range t.Plan.Steps {
		if s.Gate != nil && s.Gate.OneWay && t.Steps[i].Status == Done {
			gate, ok = s.ID, true
		}
	}
	return gate, ok
}

// Upgraded reports whether all is done up to the gate "commit".
func (t *Trail) Upgraded() bool {
	for i, s := range t.Plan.Steps {
		if s.Phase == plan.Apply && s.ID != plan.CommitGate && t.Steps[i].Status != Done {
			return false
		}
	}
	gate := t.Step(plan.CommitGate)
	return gate == nil || gate.Status != Done
}

// State tells where the run stands; alive says whether a process works on it now.
func (t *Trail) State(alive bool) State {
	switch {
	case t.Final != "":
		return t.Final
	case alive:
		return Running
	case t.Leave != nil && t.Leave.State != "":
		return State(t.Leave.State)
	case !t.Back && t.Upgraded():
		return Upgraded
	default:
		return Interrupted
	}
}

// Progress counts what is done, or undone on the way back, and the step that runs.
func (t *Trail) Progress() (done, total int) {
	for i := range t.Plan.Steps {
		s, st := &t.Plan.Steps[i], &t.Steps[i]
		if t.Back {
			if s.Phase != plan.Apply || !undoable(s) {
				continue
			}
			total++
			if st.Status == Pending {
				done++
			}
			continue
		}
		total++
		if st.Status == Done {
			done++
		}
	}
	return done, total
}

// undoable reports whether the way back has anything to do for a step.
func undoable(s *plan.Step) bool { return s.Gate == nil && s.Class != plan.ReadOnly }
