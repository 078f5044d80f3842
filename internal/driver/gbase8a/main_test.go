package gbase8a_test

import (
	"fmt"
	"os"
	"testing"
)

// packageDir holds the labs' packages for all tests of this package.
var packageDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gbase8a-packages")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	packageDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
