package host

import (
	"context"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// DetachScript starts the program "$3"… in the directory $1 so that it outlives
// the connection, and keeps what a later connection wants to know in the record
// directory $2: pid, log, and status once it has ended. The record is made
// first and only once (73), so that the same program never starts twice.
const DetachScript = `dir=$1 rec=$2; shift 2
mkdir -- "$rec" || exit 73
cd -- "$dir" || exit 72
nohup setsid sh -c 'rec=$1; shift; echo $$ >"$rec/pid"; "$@" >"$rec/log" 2>&1; echo $? >"$rec/status.tmp"; mv "$rec/status.tmp" "$rec/status"' detached "$rec" "$@" </dev/null >/dev/null 2>&1 &`

// Detached is a command that starts argv in dir and returns at once. dir and
// record are absolute paths; record must not exist yet.
func Detached(dir, record string, argv ...string) Cmd {
	return Change(append([]string{"sh", "-c", DetachScript, "sh", dir, record}, argv...)...)
}

// DetachState says where a detached program stands.
type DetachState string

// The states of a detached program. One that is Lost began and left no status:
// it was killed, the machine went down, or it never came to life.
const (
	DetachAbsent  DetachState = "absent"
	DetachRunning DetachState = "running"
	DetachEnded   DetachState = "ended"
	DetachLost    DetachState = "lost"
)

// DetachedState reads the record of a detached program; code is its exit
// status when it has ended. A record without a pid is lost: the caller asks
// again before it believes that, since the program may be just starting.
func DetachedState(ctx context.Context, h Host, record string) (state DetachState, code int, err error) {
	if state, code, err := detachEnded(ctx, h, record); err != nil || state == DetachEnded {
		return state, code, err
	}
	there, err := Exists(ctx, h, record)
	if err != nil || !there {
		return DetachAbsent, 0, err
	}
	pid, err := readIfThere(ctx, h, record+"/pid")
	if err != nil || pid == nil {
		return DetachLost, 0, err
	}
	// The record in the arguments tells the program from another one that got its number.
	res, err := h.Run(ctx, Read("ps", "-p", strings.TrimSpace(string(pid)), "-o", "args="))
	switch {
	case err == nil && strings.Contains(res.Text(), record):
		return DetachRunning, 0, nil
	case err != nil && !IsExit(err):
		return "", 0, err
	}
	// It may have ended between the two looks.
	return detachEnded(ctx, h, record)
}

// detachEnded reads the exit status; Lost when there is none.
func detachEnded(ctx context.Context, h Host, record string) (DetachState, int, error) {
	b, err := readIfThere(ctx, h, record+"/status")
	if err != nil || b == nil {
		return DetachLost, 0, err
	}
	code, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return "", 0, say.Errorf("read the exit status in %s: %w", "读取 %s 中的退出状态：%w", record, err)
	}
	return DetachEnded, code, nil
}

// readIfThere asks first: a file that appears while it is being read is an error to ReadFile.
func readIfThere(ctx context.Context, h Host, name string) ([]byte, error) {
	if there, err := Exists(ctx, h, name); err != nil || !there {
		return nil, err
	}
	return ReadFile(ctx, h, name)
}
