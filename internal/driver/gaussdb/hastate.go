package gaussdb

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Process says what gs_ctl found of the server's process.
type Process string

// What there is of a process. Hung is a server that took the connection and
// never answered: gs_ctl query ends without a table.
const (
	Running   Process = "running"
	Stopped   Process = "stopped"   // no postmaster.pid
	StalePID  Process = "stale pid" // postmaster.pid of a process that is gone
	NoDataDir Process = "no data directory"
	Hung      Process = "hung"
)

// Words of roles and states as gs_ctl and gs_om write them.
const (
	RolePrimary = "Primary"
	RoleStandby = "Standby"
	RoleCascade = "Cascade Standby"
	RoleMain    = "Main Standby"
	RoleNormal  = "Normal" // a single node
	RolePending = "Pending"

	StateNormal     = "Normal"
	StateNeedRepair = "Need repair"
	StateCatchup    = "Catchup"
)

// HA is the answer of gs_ctl query.
type HA struct {
	Process     Process
	Role        string // local_role
	Connections int    // static_connections
	State       string // db_state
	Detail      string // detail_information
	// Refusing: the process lives and takes no connections; role and state
	// come from the file gaussdb.state and are older than the moment.
	Refusing bool
	// Trouble is what the query failed with; the tables may be missing then.
	Trouble  string
	Senders  []Link // to the standbys, of a primary
	Receiver *Link  // from the primary, of a standby
}

// Link is one replication connection.
type Link struct {
	PID           int
	LocalRole     string
	PeerRole      string
	PeerState     string
	State         string // Streaming, Catchup, … of a sender; Normal of a receiver
	SenderFlush   LSN
	ReceiverFlush LSN
	Replay        LSN    // receiver_replay_location
	SyncState     string // Sync, Async, Potential, Quorum
	MostAvailable bool
	PeerAddress   string // host:port of the other end, out of channel
	LocalAddress  string
}

// Lag is what the standby has not replayed of what the primary has flushed.
func (l Link) Lag() LSN {
	if l.Replay >= l.SenderFlush {
		return 0
	}
	return l.SenderFlush - l.Replay
}

// Primary reports a server that is the primary, or the only one.
func (h HA) Primary() bool { return h.Role == RolePrimary || h.Role == RoleNormal }

// Healthy reports a server that runs, is Normal and answers.
func (h HA) Healthy() bool {
	return h.Process == Running && h.State == StateNormal && !h.Refusing && h.Trouble == ""
}

var logPrefix = regexp.MustCompile(`^\[[^\]]*\]\[\d*\]\[[^\]]*\]\[gs_ctl\]: ?`)

// logged takes the prefix from a line that gs_ctl says; rows of tables have none.
func logged(line string) (said string, ok bool) {
	if !strings.HasPrefix(line, "[") {
		return line, false
	}
	prefix := logPrefix.FindString(line)
	return line[len(prefix):], prefix != ""
}

// ParseQuery reads what gs_ctl query said on both streams. It is an error only
// when there is nothing in it that gs_ctl query says.
func ParseQuery(out string) (HA, error) {
	h := HA{}
	var link *Link
	section := ""
	asked := false
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, " \r\n")
		if said, ok := logged(line); ok {
			line = said
			asked = asked || strings.Contains(line, "gs_ctl query")
			h.complain(line)
			continue
		}
		switch title := strings.TrimSpace(line); {
		case title == "HA state:" || title == "Senders info:" || title == "Receiver info:":
			section, link = title, nil
			h.Process = Running
		case title == "" || title == "No information":
			link = nil
		default:
			key, value, ok := strings.Cut(title, ":")
			if !ok || section == "" {
				h.complain(title)
				continue
			}
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			link = h.rowOf(section, link, key, value)
		}
	}
	if h.Process == "" && asked {
		h.Process = Hung
	}
	if h.Process == "" {
		return HA{}, say.Errorf("not an answer of gs_ctl query: %q", "不是 gs_ctl query 的输出：%q", clip(out))
	}
	return h, nil
}

// rowOf takes a row of a section in and returns the link that it belongs to.
func (h *HA) rowOf(section string, link *Link, key, value string) *Link {
	switch section {
	case "HA state:":
		h.row(key, value)
		return link
	case "Senders info:":
		if link == nil || key == "sender_pid" {
			h.Senders = append(h.Senders, Link{})
			link = &h.Senders[len(h.Senders)-1]
		}
	default:
		if link == nil {
			link = &Link{}
			h.Receiver = link
		}
	}
	link.row(key, value)
	return link
}

// complain reads the lines that are not rows.
func (h *HA) complain(line string) {
	switch {
	case strings.Contains(line, "postmaster.pid\" does not exist"):
		h.Process = Stopped
	case strings.Contains(line, "is not current server"), strings.Contains(line, "is not running"):
		h.Process = StalePID
	case strings.Contains(line, "No such file or directory"), strings.Contains(line, "is not a database cluster directory"):
		if h.Process == "" {
			h.Process = NoDataDir
		}
	case strings.Contains(line, "exc_sql failed"):
		h.Process, h.Trouble = Running, strings.TrimSpace(line)
	case strings.Contains(line, "could not connect to the local server"):
		if h.Process == "" {
			h.Process = Running
		}
		h.Refusing = true
	}
}

func (h *HA) row(key, value string) {
	switch key {
	case "local_role":
		h.Role = value
	case "static_connections":
		h.Connections, _ = strconv.Atoi(value)
	case "db_state":
		h.State = value
	case "detail_information":
		h.Detail = value
		if strings.Contains(value, "could not connect to the local server") {
			h.Refusing = true
		}
	}
}

func (l *Link) row(key, value string) {
	lsn := func() LSN { n, _ := ParseLSN(value); return n }
	switch key {
	case "sender_pid", "receiver_pid":
		l.PID, _ = strconv.Atoi(value)
	case "local_role":
		l.LocalRole = value
	case "peer_role":
		l.PeerRole = value
	case "peer_state":
		l.PeerState = value
	case "state":
		l.State = value
	case "sender_flush_location":
		l.SenderFlush = lsn()
	case "receiver_flush_location":
		l.ReceiverFlush = lsn()
	case "receiver_replay_location":
		l.Replay = lsn()
	case "sync_state":
		l.SyncState = value
	case "sync_most_available":
		l.MostAvailable = value == "On"
	case "channel":
		for _, arrow := range []string{"-->", "<--"} {
			if local, peer, ok := strings.Cut(value, arrow); ok {
				l.LocalAddress, l.PeerAddress = local, peer
			}
		}
	}
}

// Status is the answer of gs_ctl status.
type Status struct {
	Process Process
	PID     int
	Program string   // the gaussdb that was started, link names as they were
	Args    []string // its arguments, out of postmaster.opts
}

var runningPID = regexp.MustCompile(`server is running \(PID: (\d+)\)`)

// ParseStatus reads what gs_ctl status said. Its exit status is 0 for running,
// 3 without a pid file, 1 for a stale one; the text says the same.
func ParseStatus(out string) (Status, error) {
	if m := runningPID.FindStringSubmatch(out); m != nil {
		s := Status{Process: Running}
		s.PID, _ = strconv.Atoi(m[1])
		for line := range strings.Lines(out) {
			if o, err := ParseOpts(line); err == nil {
				s.Program, s.Args = o.Program, o.Args
			}
		}
		return s, nil
	}
	switch {
	case strings.Contains(out, "no server running"):
		return Status{Process: Stopped}, nil
	case strings.Contains(out, "is not current server"), strings.Contains(out, "is not running"):
		return Status{Process: StalePID}, nil
	}
	return Status{}, say.Errorf("not an answer of gs_ctl status: %q", "不是 gs_ctl status 的输出：%q", clip(out))
}

// Switched is how a gs_ctl switchover says it ended. Nothing of it is proof:
// it says completed on a server that was the primary already, and exits with 0
// after a timeout. Roles are read afterwards.
type Switched string

// The ends of a switchover.
const (
	SwitchCompleted Switched = "completed"
	SwitchTimeout   Switched = "timeout"
	SwitchRefused   Switched = "refused" // nothing was asked of the server
	SwitchUnclear   Switched = "unclear"
)

// ParseSwitchover reads what gs_ctl switchover said.
func ParseSwitchover(out string) Switched {
	switch {
	case strings.Contains(out, "switchover timeout after"):
		return SwitchTimeout
	case strings.Contains(out, "switchover completed ("):
		return SwitchCompleted
	case strings.Contains(out, "Is server running?"), strings.Contains(out, "is not in standby"),
		strings.Contains(out, "Another gs_ctl command is still running"):
		return SwitchRefused
	}
	return SwitchUnclear
}
