package journal

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Lock keeps other processes of this machine off the cluster's journals. It
// ends with the process, whatever ends that.
type Lock struct{ f *os.File }

// lockNote says who holds the lock, for the one who is refused.
type lockNote struct {
	Who   Who       `json:"who"`
	Since time.Time `json:"since"`
	Doing string    `json:"doing"`
}

// Lock takes the lock or returns a *HeldError at once.
func (s Store) Lock(who Who, doing string) (*Lock, error) {
	if err := s.makeRoom(); err != nil {
		return nil, err
	}
	path := filepath.Join(s.room(), "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, storeProblem(path, "lock", err)
	}
	if err := flock(f); err != nil {
		defer func() { _ = f.Close() }()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, heldBy(path)
		}
		return nil, storeProblem(path, "lock", err)
	}
	note, err := json.Marshal(lockNote{Who: who, Since: s.Clock.Now().UTC().Round(0), Doing: doing})
	if err == nil {
		_, err = f.WriteAt(note, 0)
	}
	if err = errors.Join(err, f.Truncate(int64(len(note)))); err != nil {
		return nil, storeProblem(path, "lock", errors.Join(err, f.Close()))
	}
	return &Lock{f: f}, nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// heldBy reads who holds the lock. The note may still be the one before, or
// half of one, in the moment after the lock was taken; who is refused then
// learns less.
func heldBy(path string) error {
	var note lockNote
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &note)
	}
	if err != nil {
		note = lockNote{Who: Who{User: "?", Host: "this machine"}, Doing: "?"}
	}
	return &HeldError{Who: note.Who, Since: note.Since, Doing: note.Doing}
}

// Unlock gives the lock back.
func (l *Lock) Unlock() error { return l.f.Close() }
