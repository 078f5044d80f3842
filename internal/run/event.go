package run

import (
	"time"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// EventKind says what an Event tells.
type EventKind string

// The kinds of events, in the order in which a step sees them.
const (
	Began    EventKind = "began"    // the process took the run up; Total is set
	Started  EventKind = "started"  // a step's do or undo starts
	Progress EventKind = "progress" // what a running step waits for
	Finished EventKind = "finished" // a step ended; Err is nil when it succeeded
	Settled  EventKind = "settled"  // a step found started was probed; Text tells the standing
	Gate     EventKind = "gate"     // a gate was reached; Crossed tells whether it was passed
	Remark   EventKind = "remark"   // anything else a person should know
	Ended    EventKind = "ended"    // the process leaves the run; Outcome is set
)

// Event is all that a run may say to a person or a machine. What a view does
// with it never feeds back.
type Event struct {
	Kind    EventKind
	Time    time.Time
	Step    *plan.Step
	Undo    bool
	Attempt int
	Text    say.Text
	Err     error
	Took    time.Duration
	Done    int // steps that are done (or, going back, undone)
	Total   int
	Crossed bool
	Outcome *Outcome
}

// View is told what happens. Event is called from one goroutine at a time and
// must not block for long.
type View interface{ Event(Event) }

// State is where a cluster stands with its newest run.
type State string

// The states, as `status` prints them.
const (
	Idle        State = "idle"
	Running     State = "running"
	Interrupted State = "interrupted" // stopped or died in the middle: resumable
	FailedState State = "failed"
	Upgraded    State = "upgraded"
	Committed   State = "committed"
	RolledBack  State = "rolled-back"
)

// Outcome is how a process left the run.
type Outcome struct {
	State       State    `json:"state"`
	Gate        string   `json:"gate,omitempty"`         // the gate that it waits at
	NeedsPerson bool     `json:"needs_person,omitempty"` // failed, and a person must look (exit 3)
	Step        string   `json:"step,omitempty"`         // the step that failed
	Why         say.Text `json:"why,omitzero"`
	Next        string   `json:"next,omitempty"` // the verb to type next: "resume", "rollback", "commit"
	Owed        []string `json:"owed,omitempty"` // nodes with something left to undo
	Err         error    `json:"-"`
}

// Options are what a verb chose for this process; nothing here changes what a
// step does, only how far and how fast the run goes.
type Options struct {
	Verb     string   // "apply", "resume", "commit", "rollback"
	Until    string   // stop before this gate or step
	Accept   []string // one-way gates that may be crossed
	PauseOn  string   // "nodes": stop resumable each time the next node's turn comes
	Reason   string   // of a rollback or a forced one
	Force    bool     // rollback goes on past steps that cannot be undone
	Parallel int      // steps at once; 8 when 0
}
