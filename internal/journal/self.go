package journal

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shiplift/shiplift/internal/say"
)

// Self is the process that asks for a lease, and how it tells whether another
// process of the same machine still lives. Simulated operators bring their own.
type Self struct {
	Who
	// Boot is the same for all processes that see each other's process ids: a
	// boot of a machine, and in it a process id namespace.
	Boot  string
	Start uint64 // when the process started; a number used again is another process
	Alive func(pid int, start uint64) bool
}

// Myself describes the running process.
func Myself(user, tool string) (Self, error) {
	name, err := os.Hostname()
	if err != nil {
		return Self{}, say.Errorf("host name of the control machine: %w", "控制机的主机名：%w", err)
	}
	pid := os.Getpid()
	start, _ := startTime(pid) // 0 where there is no /proc: then only the number counts
	return Self{
		Who:   Who{User: user, Host: name, PID: pid, Tool: tool},
		Boot:  bootID(),
		Start: start,
		Alive: alive,
	}, nil
}

// sees reports whether a lease is held by a process of this machine that can be looked at.
func (s Self) sees(g grant) bool {
	return s.Boot != "" && g.Boot == s.Boot && g.Who.Host == s.Host && s.Alive != nil
}

func bootID() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + ns
}

// alive asks the kernel first: with hidepid (proc(5)) the processes of other
// users exist although /proc does not show them.
func alive(pid int, start uint64) bool {
	if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
		return false
	}
	now, err := startTime(pid)
	if errors.Is(err, errZombie) {
		return false
	}
	return err != nil || start == 0 || now == start
}

var errZombie = say.Errorf("the process has ended", "进程已结束")

// startTime reads field 22 of /proc/PID/stat: clock ticks between boot and the
// start of the process (proc(5)). A zombie no longer works, so it counts as gone.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold spaces and parentheses of its own.
	_, rest, _ := strings.Cut(string(b), " ")
	if i := strings.LastIndexByte(rest, ')'); i >= 0 {
		rest = rest[i+1:]
	}
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, say.Errorf("/proc/%d/stat has %d fields", "/proc/%d/stat 有 %d 个字段", pid, len(fields))
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, errZombie
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
