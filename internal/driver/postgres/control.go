package postgres

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// lsn is a position in the write-ahead log.
type lsn uint64

func (l lsn) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// parseLSN reads "16/B374D848"; an empty text is 0.
func parseLSN(s string) (lsn, error) {
	if s == "" {
		return 0, nil
	}
	hi, lo, ok := strings.Cut(s, "/")
	h, err1 := strconv.ParseUint(hi, 16, 32)
	l, err2 := strconv.ParseUint(lo, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, say.Errorf("%q is not a WAL position", "%q 不是 WAL 位置", s)
	}
	return lsn(h<<32 | l), nil
}

// dbState is the state in the control file (src/include/catalog/pg_control.h).
type dbState uint32

const (
	stateStartup dbState = iota
	stateShutDown
	stateShutDownInRecovery
	stateShuttingDown
	stateCrashRecovery
	stateArchiveRecovery
	stateInProduction
)

func (s dbState) String() string {
	names := [...]string{"starting up", "shut down", "shut down in recovery", "shutting down",
		"in crash recovery", "in archive recovery", "in production"}
	if int(s) < len(names) {
		return names[s]
	}
	return "state " + strconv.Itoa(int(s))
}

// control is what the driver needs of global/pg_control. It is read as bytes
// because a site's package may come without pg_controldata.
type control struct {
	SystemID      uint64
	Version       uint32
	Catalog       uint32
	State         dbState
	Checkpoint    lsn // where the newest checkpoint record starts
	Redo          lsn
	Timeline      uint32
	MinRecovery   lsn // a standby needs WAL up to here
	MinRecoverTLI uint32
	BlockSize     uint32
	SegmentSize   uint32
	ChecksumsMode uint32 // 0: off
}

// Offsets of ControlFileData on 64-bit little-endian machines. They have been
// the same since PostgreSQL 13: what 17 added (the checkpoint's wal_level, and a
// new pg_control_version) lies where 13 to 16 had padding.
const (
	controlVersion   = 1300 // PostgreSQL 13 to 16
	controlVersion17 = 1700 // PostgreSQL 17
	controlCRC       = 288
	// ControlBytes is how much of pg_control the driver reads.
	ControlBytes = 296
)

// parseControl reads the head of global/pg_control and checks its CRC.
func parseControl(b []byte) (control, error) {
	if len(b) < controlCRC+4 {
		return control{}, say.Errorf("pg_control is cut off: %d bytes", "pg_control 不完整：%d 字节", len(b))
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[8:]); v != controlVersion && v != controlVersion17 {
		return control{}, say.Errorf("pg_control has version %d; releases 13 to 17 have %d or %d", "pg_control 的版本为 %d；13 至 17 版应为 %d 或 %d", v, controlVersion, controlVersion17)
	}
	if got, want := crc32.Checksum(b[:controlCRC], crc32.MakeTable(crc32.Castagnoli)), le.Uint32(b[controlCRC:]); got != want {
		return control{}, say.Errorf("pg_control is damaged or was read while it was written: CRC %08x, recorded %08x", "pg_control 已损坏或读取时正被写入：CRC %08x，记录为 %08x", got, want)
	}
	return control{
		SystemID:      le.Uint64(b),
		Version:       le.Uint32(b[8:]),
		Catalog:       le.Uint32(b[12:]),
		State:         dbState(le.Uint32(b[16:])),
		Checkpoint:    lsn(le.Uint64(b[32:])),
		Redo:          lsn(le.Uint64(b[40:])),
		Timeline:      le.Uint32(b[48:]),
		MinRecovery:   lsn(le.Uint64(b[136:])),
		MinRecoverTLI: le.Uint32(b[144:]),
		BlockSize:     le.Uint32(b[216:]),
		SegmentSize:   le.Uint32(b[228:]),
		ChecksumsMode: le.Uint32(b[252:]),
	}, nil
}

// historyTLI and historyEnd are how far a server's own history certainly
// reaches: that of a standby to the end of what it needs, that of one which was
// a primary to its newest checkpoint record, which starts there.
func (c control) historyTLI() int {
	if c.MinRecovery > 0 {
		return int(c.MinRecoverTLI)
	}
	return int(c.Timeline)
}

func (c control) historyEnd() lsn {
	if c.MinRecovery > 0 {
		return c.MinRecovery
	}
	return c.Checkpoint + 1
}

// pidFile is what the driver needs of postmaster.pid (src/include/utils/pidfile.h).
type pidFile struct {
	PID    int
	Data   string
	Port   string
	Status string // "ready", "standby", "starting", "stopping"; empty while it is being written
}

// parsePidFile reads postmaster.pid. A single-user backend writes its pid with a minus.
func parsePidFile(s string) (pidFile, error) {
	lines := strings.Split(s, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid == 0 {
		return pidFile{}, say.Errorf("postmaster.pid starts with %q, not a process id", "postmaster.pid 以 %q 开头，而不是进程号", lines[0])
	}
	if pid < 0 {
		return pidFile{}, say.Errorf("a single-user server (process %d) uses the data directory", "单用户服务器（进程 %d）正在使用该数据目录", -pid)
	}
	p := pidFile{PID: pid}
	for i, at := range map[int]*string{1: &p.Data, 3: &p.Port, 7: &p.Status} {
		if i < len(lines) {
			*at = strings.TrimSpace(lines[i])
		}
	}
	return p, nil
}
