package postgres

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/lab"
)

func (l *Lab) nodeDirs() []string {
	var dirs []string
	for _, n := range l.spec.Nodes {
		dirs = append(dirs, filepath.Join(l.Dir, n.Name))
	}
	return dirs
}

// ProcessesIn returns the processes whose working directory or program lies in
// dir, which is where all processes of a lab's nodes work.
func ProcessesIn(dir string) []lab.Process { return processesIn([]string{dir}) }

// processesIn returns the processes whose working directory or program lies in one of dirs.
func processesIn(dirs []string) []lab.Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []lab.Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !worksIn(e.Name(), dirs) {
			continue
		}
		if p, err := lab.FindProcess(pid); err == nil && p.Alive() {
			out = append(out, p)
		}
	}
	return out
}

func worksIn(pid string, dirs []string) bool {
	for _, link := range []string{"cwd", "exe"} {
		at, err := os.Readlink(filepath.Join("/proc", pid, link))
		if err != nil {
			continue
		}
		for _, dir := range dirs {
			if at == dir || strings.HasPrefix(at, dir+"/") {
				return true
			}
		}
	}
	return false
}
