// Package lab holds what practice clusters of every product have in common:
// the file that says what a lab consists of, and the processes it started.
//
// A lab lies in one directory. Its state file is written before the first
// other entry is made, so that a lab whose making was cut short at any point
// can still be taken down completely.
package lab

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/shiplift/shiplift/internal/say"
)

// StateFile is the name of the state file in a lab's directory.
const StateFile = "lab.json"

// InventoryFile is the name of the inventory in a lab's directory.
const InventoryFile = "cluster.yaml"

// PackagesDir is the name of the folder that holds the packages of the
// releases that a lab's cluster could go to.
const PackagesDir = "packages"

// State is what the state file holds.
type State struct {
	V       int             `json:"v"`
	Driver  string          `json:"driver"`
	Cluster string          `json:"cluster"`
	Ready   bool            `json:"ready"`           // the lab was healthy once
	MadeDir bool            `json:"made_dir"`        // the directory itself was made by the lab
	Made    []string        `json:"made"`            // entries of the directory that belong to the lab
	Daemon  *Process        `json:"daemon,omitzero"` // holds the machines' ssh servers
	Spec    json.RawMessage `json:"spec,omitempty"`  // what the product's lab needs to know
}

// ErrNoLab means that there is no lab in the directory: it does not exist or is empty.
var ErrNoLab = errors.New("no lab here")

// Load reads the state of the lab in dir. A directory that holds other things
// and no state file is refused, so that nobody's files are taken for a lab's.
func Load(dir string) (State, error) {
	var s State
	body, err := os.ReadFile(filepath.Join(dir, StateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, noLab(dir)
	}
	if err != nil {
		return s, fmt.Errorf("read the lab's state: %w", err)
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, &say.Problem{
			Place: filepath.Join(dir, StateFile),
			Text:  say.F("not a lab's state file", "不是演练环境的状态文件"),
			Next:  say.F("look at the file; move it away if it is not a lab's", "请查看该文件；若不属于演练环境，请移走"),
			Err:   err,
		}
	}
	return s, nil
}

func noLab(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return fmt.Errorf("%s: %w", dir, ErrNoLab)
	}
	if err != nil {
		return fmt.Errorf("look for a lab: %w", err)
	}
	return &say.Problem{
		Place: dir,
		Text:  say.F("this directory holds other files and no lab (%s is missing)", "该目录中有其他文件，且不是演练环境（缺少 %s）", StateFile),
		Next:  say.F("name a lab's directory with --dir", "请用 --dir 指定演练环境的目录"),
	}
}

// Create makes dir a lab's directory and writes the state file. The directory
// must not exist or be empty.
func Create(dir string, s State) (State, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.MadeDir = true
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return s, fmt.Errorf("make the lab's directory: %w", err)
		}
	case err != nil:
		return s, fmt.Errorf("look at the lab's directory: %w", err)
	case slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == StateFile }):
		return s, &say.Problem{
			Place: dir,
			Text:  say.F("a lab is here already", "该目录中已有演练环境"),
			Next:  say.F("shiplift lab down --dir %s", "shiplift lab down --dir %s", dir),
		}
	case len(entries) > 0:
		return s, &say.Problem{
			Place: dir,
			Text:  say.F("a lab needs an empty directory; this one holds %s", "演练环境需要空目录；该目录中有 %s", entries[0].Name()),
			Next:  say.F("name another directory with --dir", "请用 --dir 指定另一个目录"),
		}
	}
	s.V = 1
	return s, s.Save(dir)
}

// Save writes the state file so that a crash leaves the old one or the new one.
func (s State) Save(dir string) error {
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the lab's state: %w", err)
	}
	if err := WriteFile(filepath.Join(dir, StateFile), append(body, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	return nil
}

// Remove removes what the lab made in dir, the state file last, and dir itself
// when the lab made it and nothing of others is in it.
func (s State) Remove(dir string) error {
	for _, name := range s.Made {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%s: %q does not lie in the lab", filepath.Join(dir, StateFile), name)
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove the lab's files: %w", err)
		}
	}
	for _, name := range []string{StateFile + ".tmp", StateFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the lab's state: %w", err)
		}
	}
	if !s.MadeDir {
		return nil
	}
	// What others put there stays, and then the directory stays too.
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return nil //nolint:nilerr // what cannot be read is somebody else's by now
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the lab's directory: %w", err)
	}
	return nil
}

// NewName returns a cluster name of its own for a lab, "lab-" and four hex digits.
func NewName() string {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return "lab-" + hex.EncodeToString(b[:])
}

// WriteFile writes a file so that a crash leaves the old one or the new one.
func WriteFile(path string, body []byte, mode os.FileMode) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, path)
}
