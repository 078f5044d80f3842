package journal

import (
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

const (
	suffix    = ".journal"
	runLayout = "20060102T150405Z"
)

// DefaultDir returns where journals lie when nobody says otherwise:
// $XDG_STATE_HOME/shiplift, or ~/.local/state/shiplift.
func DefaultDir(getenv func(string) string) (string, error) {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) { // a relative one is to be ignored, says the XDG specification
		return filepath.Join(dir, "shiplift"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "shiplift"), nil
	}
	return "", &say.Problem{
		Text: say.F("there is no place for the journal: neither XDG_STATE_HOME nor HOME is set", "无处保存日志：XDG_STATE_HOME 和 HOME 均未设置"),
		Next: say.F("name a directory: --state-dir DIR", "指定目录：--state-dir 目录"),
	}
}

// NewRunID makes a run's id: when it began and two bytes of chance, e.g.
// 20260711T020304Z-7f3a. Ids sort by time; the new one sorts behind after, the
// newest known, also when the clock was set back.
func NewRunID(now time.Time, chance io.Reader, after string) (string, error) {
	var b [2]byte
	if _, err := io.ReadFull(chance, b[:]); err != nil {
		return "", say.Errorf("make a run id: %w", "生成运行标识：%w", err)
	}
	stamp := now.UTC().Format(runLayout)
	if len(after) >= len(runLayout) && after[:len(runLayout)] >= stamp {
		last, err := time.Parse(runLayout, after[:len(runLayout)])
		if err != nil {
			return "", say.Errorf("%q is not a run id: %w", "%q 不是运行标识：%w", after, err)
		}
		stamp = last.Add(time.Second).Format(runLayout)
	}
	return stamp + "-" + hex.EncodeToString(b[:]), nil
}

// IsRunID reports whether s looks as NewRunID makes it.
func IsRunID(s string) bool {
	stamp, chance, ok := strings.Cut(s, "-")
	if !ok || len(chance) != 4 || strings.Trim(chance, hexDigits) != "" {
		return false
	}
	_, err := time.Parse(runLayout, stamp)
	return err == nil
}

// Store holds the journals of one cluster on the control machine:
// DIR/CLUSTER-ID/RUN-ID.journal. The current run is the newest.
type Store struct {
	Dir     string // the state directory
	Cluster string // cluster.Inventory.ID
	Clock   wait.Clock
}

// Path returns where a run's journal lies.
func (s Store) Path(run string) string { return filepath.Join(s.room(), run+suffix) }

func (s Store) room() string { return filepath.Join(s.Dir, s.Cluster) }

// List returns the ids of all runs, the oldest first. It changes nothing.
func (s Store) List() ([]string, error) {
	entries, err := os.ReadDir(s.room())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, storeProblem(s.room(), "list", err)
	}
	var runs []string
	for _, e := range entries {
		if run, ok := strings.CutSuffix(e.Name(), suffix); ok && IsRunID(run) {
			runs = append(runs, run)
		}
	}
	slices.Sort(runs)
	return runs, nil
}

// Current returns the id of the newest run; empty when there is none.
func (s Store) Current() (string, error) {
	runs, err := s.List()
	if err != nil || len(runs) == 0 {
		return "", err
	}
	return runs[len(runs)-1], nil
}

// New begins a run's journal.
func (s Store) New(run string) (*Journal, error) {
	if err := s.makeRoom(); err != nil {
		return nil, err
	}
	return CreateFile(s.Path(run), s.Clock)
}

// Open opens a run's journal for appending.
func (s Store) Open(run string) (*Journal, error) { return OpenFile(s.Path(run), s.Clock) }

// Read verifies a run's journal and changes nothing.
func (s Store) Read(run string) (Log, error) { return ReadFile(s.Path(run)) }

// Adopt makes the run that was found the one of this machine. A shorter
// journal of the same run is replaced; Find has compared the two.
func (s Store) Adopt(f *Found) (*Journal, error) {
	if !f.Local {
		if err := s.makeRoom(); err != nil {
			return nil, err
		}
		if err := replaceFile(s.Path(f.Run), f.data); err != nil {
			return nil, storeProblem(s.Path(f.Run), "create", err)
		}
	}
	return s.Open(f.Run)
}

func (s Store) makeRoom() error {
	if err := os.MkdirAll(s.room(), 0o700); err != nil {
		return storeProblem(s.room(), "create", err)
	}
	return nil
}

// replaceFile gives path new content at once and durably.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone already when all went well
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
