package meter

import (
	"cmp"
	"slices"
)

// Row is one row that a writer sent: numbers of one writer rise by one.
type Row struct {
	Client int32 `json:"client"`
	Seq    int64 `json:"seq"`
}

// Outcome is what the server said about a row.
type Outcome uint8

// The outcomes of a row. The zero value is the careful one.
const (
	Unknown      Outcome = iota // sent, and no answer: it may be stored or not
	Acknowledged                // the server said that it is committed
	Refused                     // the server said that it is not, or it was never sent
)

// Ledger holds what became of every row that was sent. Different clients may
// be written at the same time, one client by one goroutine.
type Ledger struct {
	clients [][]Outcome // by client, then by seq - 1
}

// NewLedger is a ledger for clients numbered from 0.
func NewLedger(clients int) *Ledger { return &Ledger{clients: make([][]Outcome, clients)} }

// Send enters a new row of client, unknown until it is settled.
func (l *Ledger) Send(client int) Row {
	l.clients[client] = append(l.clients[client], Unknown)
	return Row{Client: int32(client), Seq: int64(len(l.clients[client]))}
}

// Settle enters the outcome of a row.
func (l *Ledger) Settle(r Row, o Outcome) { l.clients[r.Client][r.Seq-1] = o }

// Verdict is what a comparison of the ledger with stored rows found.
type Verdict struct {
	Acknowledged  int64 `json:"acknowledged"`   // rows in the ledger
	Missing       int64 `json:"missing"`        // acknowledged and not stored
	Duplicates    int64 `json:"duplicates"`     // stored more often than once
	Unexpected    int64 `json:"unexpected"`     // stored though refused or never sent
	UnknownStored int64 `json:"unknown_stored"` // no answer, and stored
	UnknownAbsent int64 `json:"unknown_absent"` // no answer, and not stored
	Examples      []Row `json:"examples,omitempty"`
}

// maxExamples bounds how many bad rows a verdict names.
const maxExamples = 10

// Good reports whether nothing was lost or invented.
func (v Verdict) Good() bool { return v.Missing == 0 && v.Duplicates == 0 && v.Unexpected == 0 }

// Judge compares the ledger with the rows that are stored. A row without an
// answer may be stored or not; every other must be as the server said.
func (l *Ledger) Judge(stored map[Row]int) Verdict {
	var v Verdict
	bad := func(n *int64, by int64, r Row) {
		*n += by
		v.Examples = append(v.Examples, r)
	}
	for r, times := range stored {
		known := r.Client >= 0 && int(r.Client) < len(l.clients) && r.Seq >= 1 && r.Seq <= int64(len(l.clients[r.Client]))
		if !known || l.clients[r.Client][r.Seq-1] == Refused {
			bad(&v.Unexpected, 1, r)
		}
		if times > 1 {
			bad(&v.Duplicates, int64(times-1), r)
		}
	}
	for c, rows := range l.clients {
		for i, o := range rows {
			r := Row{Client: int32(c), Seq: int64(i) + 1}
			switch there := stored[r] > 0; {
			case o == Acknowledged:
				v.Acknowledged++
				if !there {
					bad(&v.Missing, 1, r)
				}
			case o == Unknown && there:
				v.UnknownStored++
			case o == Unknown:
				v.UnknownAbsent++
			}
		}
	}
	slices.SortFunc(v.Examples, func(a, b Row) int { return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Seq, b.Seq)) })
	v.Examples = slices.Compact(v.Examples)
	v.Examples = v.Examples[:min(len(v.Examples), maxExamples)]
	return v
}
