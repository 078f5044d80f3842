package journal

import (
	"encoding/json"
	"time"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/say"
)

// Kind says what a record tells.
type Kind string

// The kinds of records. A journal begins with one Begin; every process that
// works on the run adds an Open.
const (
	Begin   Kind = "begin"   // the run exists: Plan and Findings are set
	Open    Kind = "open"    // a process took the run up: Who, Fence, Verb
	Intent  Kind = "intent"  // Step is about to be done or undone (Undo); Memo is set when it is done
	Outcome Kind = "outcome" // how that ended: Result, Error
	Probed  Kind = "probed"  // a step found started was probed: Standing
	Crossed Kind = "crossed" // a gate was passed: Step
	Turn    Kind = "turn"    // from here on the run goes back (rollback): Reason
	Skipped Kind = "skipped" // Step's undo was left for later or for good: Error says why, Owed whether it is still to do
	Note    Kind = "note"    // something a report should hold
	Left    Kind = "left"    // a process left the run in State; Step and Error say why
	End     Kind = "end"     // State is final
)

// Result is how an attempt ended.
type Result string

// The results of an attempt.
const (
	OK     Result = "ok"
	Failed Result = "failed"
	Lost   Result = "lost" // cancelled or cut off: nobody knows, so probe
)

// Who is an operator at a machine.
type Who struct {
	User string `json:"user"`
	Host string `json:"host"`
	PID  int    `json:"pid"`
	Tool string `json:"tool"` // version
}

// Record is one line of the journal. Seq and Prev are set by Append.
type Record struct {
	Seq      int             `json:"seq"`
	Time     time.Time       `json:"time"`
	Kind     Kind            `json:"kind"`
	Run      string          `json:"run,omitempty"` // in Begin: the run's id
	Plan     json.RawMessage `json:"plan,omitempty"`
	Findings []check.Finding `json:"findings,omitempty"`
	Who      *Who            `json:"who,omitempty"`
	Verb     string          `json:"verb,omitempty"`
	Fence    int64           `json:"fence,omitempty"`
	Step     string          `json:"step,omitempty"`
	Attempt  int             `json:"attempt,omitempty"`
	Undo     bool            `json:"undo,omitempty"`
	Memo     json.RawMessage `json:"memo,omitempty"`
	Result   Result          `json:"result,omitempty"`
	Standing string          `json:"standing,omitempty"`
	Owed     bool            `json:"owed,omitempty"`
	Node     string          `json:"node,omitempty"` // in Skipped: whose return is awaited
	Error    *say.Text       `json:"error,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	State    string          `json:"state,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"` // in Note: what the meter measured, …
}
