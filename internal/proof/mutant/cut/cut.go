//go:build unix

// Package cut is what instrumented copies of the sources call: it says whether
// a guard is cut out in this process. No source of the product imports it; the
// harness in internal/proof/mutant writes the calls into copies that only the
// test binaries of `make proof` are built from.
package cut

import (
	"os"
	"strconv"
	"sync"
	"syscall"
)

// The environment of a run with a cut.
const (
	Env        = "SHIPLIFT_CUT"         // number of the guard that is cut out
	EnvReached = "SHIPLIFT_CUT_REACHED" // file with one byte for each guard, which becomes what was seen of it
)

var (
	out     = number()
	reached = marks()
	mu      sync.Mutex
)

func number() int {
	n, err := strconv.Atoi(os.Getenv(Env))
	if err != nil {
		return 0
	}
	return n
}

// marks maps the file, so that what was reached is told even by a process
// that is killed.
func marks() []byte {
	name := os.Getenv(EnvReached)
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return nil
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil
	}
	return b
}

// What a run sees of a guard.
const (
	Asked    byte = 1 << iota // it was asked whether it is cut out
	Foreseen                  // a plan foresees that it may be asked
)

// Out reports whether guard n is cut out.
func Out(n int) bool {
	mark(n, Asked)
	return n == out
}

// Foresee notes that a plan may lead to guard n.
func Foresee(n int) { mark(n, Foreseen) }

func mark(n int, what byte) {
	if n < len(reached) {
		mu.Lock()
		reached[n] |= what
		mu.Unlock()
	}
}

// Chosen reports whether guard n is cut out, and leaves no mark.
func Chosen(n int) bool { return n == out }
