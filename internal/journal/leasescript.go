package journal

import (
	"path"
	"strconv"
	"strings"
)

// LeaseScript compares and swaps the lease file of a node:
//
//	sh -c LeaseScript shiplift-lease FILE WANT NEW DRAIN
//
// When FILE holds exactly the line WANT (or is absent and WANT is empty) it
// becomes the line NEW, durably and at once, and the status is 0. When not,
// nothing changes, the line that is there is printed and the status is 75.
//
// With DRAIN not 0 the script then waits up to DRAIN seconds for the commands
// that an earlier holder still has running on the node; status 76 says that
// some are left. 73: the file cannot be written; standard error begins with the
// reason. 74: the file is locked.
//
// [Sim.Lease] does the same over an in-memory file system.
const LeaseScript = `f=$1 want=$2 new=$3 drain=$4
umask 077
mkdir -p -- "$(dirname -- "$f")" || exit 73
true >>"$f.lock" && true >>"$f.busy" || exit 73
have=; command -v flock >/dev/null 2>&1 && have=1
if [ "$have" ]; then
  exec 8>>"$f.lock"
  flock -w 10 8 || exit 74
else
  i=0
  until mkdir "$f.mutex" 2>/dev/null; do
    i=$((i+1)); [ $i -lt 100 ] || exit 74
    sleep 0.1
  done
  trap 'rmdir "$f.mutex"' EXIT
  trap 'exit 74' TERM HUP INT
fi
cur=
if [ -e "$f" ]; then cur=$(cat -- "$f") || exit 73; fi
if [ "$cur" != "$want" ]; then printf '%s\n' "$cur"; exit 75; fi
if [ "$cur" != "$new" ]; then
  said=$(printf '%s\n' "$new" | dd of="$f.new" conv=fsync 2>&1) || { printf '%s\n' "$said" >&2; exit 73; }
  mv -f -- "$f.new" "$f" || exit 73
fi
if [ "$have" ] && [ "$drain" != 0 ]; then
  exec 8>&- 9>>"$f.busy"
  flock -w "$drain" 9 || exit 76
fi
exit 0`

// The statuses of LeaseScript and FenceScript.
const (
	leaseUnwritable = 73
	leaseLocked     = 74
	leaseOther      = 75
	leaseBusy       = 76
	fenceStatus     = 97
)

// fenceMark is told on standard error with fenceStatus, so that a command's
// own status 97 is not mistaken for it.
const fenceMark = "shiplift-fenced"

// FenceScript runs a command only while the lease is still ours:
//
//	sh -c FenceScript shiplift-fence FILE FENCE argv…
//
// It holds a shared lock while the command runs, so that a new holder can wait
// for the end of what the earlier one started (DRAIN of LeaseScript). The
// command does not inherit the lock: a server that it leaves behind is not
// waited for. The lock is taken before the look at the lease: whatever passed
// the look is seen by the new holder's wait. Standard input reaches the command.
//
// [Sim.Fence] does the same over an in-memory file system.
const FenceScript = `f=$1 n=$2; shift 2
no() { echo "` + fenceMark + ` $f" >&2; exit 97; }
[ -r "$f" ] && [ -w "$f.busy" ] || no
exec 9>>"$f.busy"
if command -v flock >/dev/null 2>&1; then flock -s -w 10 9 || no; fi
l=; IFS= read -r l <"$f" || no
case $l in "{\"fence\":$n,\"held\":true,"*) ;; *) no ;; esac
(exec 9>&-; exec "$@")
exit $?`

// Sim lets a simulated machine run the two scripts natively. Its methods get
// the words behind the script's name ("shiplift-lease", "shiplift-fence").
type Sim struct {
	Get  func(path string) (content string, exists bool, err error)
	Put  func(path, content string) error // makes missing directories
	Busy func(leaseFile string) bool      // optional: commands of Fence still run
}

// Lease is LeaseScript.
func (s Sim) Lease(args []string) (stdout string, status int) {
	if len(args) != 4 {
		return "", 2
	}
	file, want, next, drain := path.Clean(args[0]), args[1], args[2], args[3]
	cur, exists, err := s.Get(file)
	if err != nil {
		return "", leaseUnwritable
	}
	if !exists {
		cur = ""
	}
	if cur = strings.TrimRight(cur, "\n"); cur != want {
		return cur + "\n", leaseOther
	}
	if cur != next {
		if err := s.Put(file, next+"\n"); err != nil {
			return "", leaseUnwritable
		}
	}
	if drain != "0" && s.Busy != nil && s.Busy(file) {
		return "", leaseBusy
	}
	return "", 0
}

// Fence is FenceScript up to the command: with status 0 argv is to be run with
// the standard input of the script, and its status is the script's.
func (s Sim) Fence(args []string) (argv []string, stderr string, status int) {
	if len(args) < 3 {
		return nil, "", 2
	}
	cur, exists, err := s.Get(path.Clean(args[0]))
	fence, bad := strconv.ParseInt(args[1], 10, 64)
	if err != nil || bad != nil || !exists || !strings.HasPrefix(cur, fenceLead(fence)) {
		return nil, fenceMark + " " + args[0] + "\n", fenceStatus
	}
	return args[2:], "", 0
}

// fenceLead is how a lease begins that is held under fence; FenceScript looks for it.
func fenceLead(fence int64) string {
	return `{"fence":` + strconv.FormatInt(fence, 10) + `,"held":true,`
}
