package hosttest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// OSRunning reports whether a process of this operating system has exactly
// this argv and has not ended.
func OSRunning(argv ...string) bool {
	want := strings.Join(argv, "\x00") + "\x00"
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range lines {
		got, err := os.ReadFile(f)
		if err == nil && string(got) == want {
			return true
		}
	}
	return false
}

// OSListen listens on this operating system.
func OSListen(t *testing.T, network string) (net.Listener, string) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "shiplift") // t.TempDir may be too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		addr = filepath.Join(dir, "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln, ln.Addr().String()
}
