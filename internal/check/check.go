// Package check holds read-only questions about a cluster and their answers.
package check

import (
	"context"

	"github.com/shiplift/shiplift/internal/say"
)

// Severity is what an answer means for the upgrade.
type Severity string

// The severities, from good to bad.
const (
	Pass  Severity = "pass"
	Warn  Severity = "warn"
	Block Severity = "block"
)

// Finding is one answer. A blocking finding that the operator skipped by id
// keeps its severity and carries the reason.
type Finding struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	Node     string   `json:"node,omitempty"` // empty: the whole cluster
	Says     say.Text `json:"says"`
	Evidence string   `json:"evidence,omitempty"` // what was read, as it was read, without secrets
	Next     say.Text `json:"next,omitzero"`      // what to do about it
	Rule     string   `json:"rule,omitempty"`     // the rule of the vendor's manual, e.g. DM-032
	Skipped  string   `json:"skipped,omitempty"`  // the operator's reason
}

// Check is a question with an id. Ask may return several findings (one a
// node); an empty answer counts as a pass. An error means that the question
// could not be asked, which blocks.
type Check struct {
	ID    string
	Title say.Text
	Ask   func(ctx context.Context) ([]Finding, error)
}

// Skip is a check that the operator decided not to heed, with the reason.
type Skip struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Run asks all checks in their order and marks the skipped ones.
func Run(ctx context.Context, checks []Check, skips []Skip) []Finding {
	reason := map[string]string{}
	for _, s := range skips {
		reason[s.ID] = s.Reason
	}
	var out []Finding
	for _, c := range checks {
		fs, err := c.Ask(ctx)
		if err != nil {
			unasked := say.Join(": ", c.Title, say.F("the question could not be asked", "无法完成该检查"))
			fs = append(fs, Finding{Severity: Block, Says: unasked, Evidence: err.Error()})
		}
		if len(fs) == 0 {
			fs = []Finding{{Severity: Pass, Says: c.Title}}
		}
		for _, f := range fs {
			f.ID = c.ID
			if f.Severity != Pass {
				f.Skipped = reason[c.ID]
			}
			out = append(out, f)
		}
	}
	return out
}

// Blocking returns the findings that forbid the upgrade.
func Blocking(fs []Finding) []Finding {
	var out []Finding
	for _, f := range fs {
		if f.Severity == Block && f.Skipped == "" {
			out = append(out, f)
		}
	}
	return out
}
