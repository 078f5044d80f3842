// Command shiplift upgrades clustered databases from a reviewed plan, with a
// journal that survives any crash and a way back until somebody commits.
//
// This package is thin: one file per verb turns flags into calls, and exit.go
// turns errors into exit codes.
package main

import (
	"os"
)

func main() {
	os.Exit(Main(asVendor(os.Args[0], os.Args[1:]), os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
