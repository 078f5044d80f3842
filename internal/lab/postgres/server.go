package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// server drives one node's PostgreSQL the way its own tools do.
type server struct {
	Node
	acc account
	clk wait.Clock
}

func (s server) tool(name string) string { return filepath.Join(s.Base, "current", "bin", name) }

// run runs one of the server's tools as the account and returns what it said.
func (s server) run(name string, args ...string) error {
	out, err := s.acc.command(s.Home, append([]string{s.tool(name)}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %s: %w: %s%s", s.Name, name, err, bytes.TrimSpace(out), s.logTail())
	}
	return nil
}

// logTail is the end of the server's log, where the reason of a failure stands.
func (s server) logTail() string {
	body, err := os.ReadFile(s.Log)
	if err != nil || len(body) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	return "\n" + strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func (s server) initdb(password string) error {
	pwfile := filepath.Join(s.Home, ".initdb-password")
	if err := s.acc.write(pwfile, password+"\n", 0o600); err != nil {
		return err
	}
	defer os.Remove(pwfile)
	return s.run("initdb", "-D", s.Data, "-U", Superuser, "-E", "UTF8", "--locale=C", "--data-checksums", "--no-sync",
		"-A", "scram-sha-256", "--pwfile="+pwfile)
}

func (s server) start() error {
	return s.run("pg_ctl", "-D", s.Data, "-l", s.Log, "-w", "-t", "60", "start")
}

func (s server) stop(mode string) error {
	return s.run("pg_ctl", "-D", s.Data, "-m", mode, "-w", "-t", "60", "stop")
}

func (s server) reload() error { return s.run("pg_ctl", "-D", s.Data, "reload") }

// postmaster returns the server's first process, if it runs. The number in
// postmaster.pid is believed only when that process works in the data
// directory: after a crash the number may be another program's.
func (s server) postmaster() (lab.Process, bool) {
	pid, _ := s.pidFile()
	if pid <= 0 {
		return lab.Process{}, false
	}
	p, err := lab.FindProcess(pid)
	if err != nil || !p.Alive() {
		return lab.Process{}, false
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil || cwd != s.Data {
		return lab.Process{}, false
	}
	return p, true
}

// pidFile reads postmaster.pid: the process on line 1, the id of the System V
// shared memory segment last on line 7 (-1 when there is none).
func (s server) pidFile() (pid, shm int) {
	body, err := os.ReadFile(filepath.Join(s.Data, "postmaster.pid"))
	if err != nil {
		return 0, -1
	}
	shm = -1
	sc := bufio.NewScanner(bytes.NewReader(body))
	for n := 1; sc.Scan(); n++ {
		fields := strings.Fields(sc.Text())
		switch {
		case n == 1 && len(fields) == 1:
			pid, _ = strconv.Atoi(fields[0])
		case n == 7 && len(fields) == 2:
			if id, err := strconv.Atoi(fields[1]); err == nil {
				shm = id
			}
		}
	}
	return pid, shm
}

// kill ends the server as a power cut would, and so that it can be started again.
func (s server) kill(ctx context.Context) error {
	p, ok := s.postmaster()
	if !ok {
		return nil
	}
	if err := s.end(ctx); err != nil {
		return err
	}
	return s.forget(ctx, p)
}

// end ends the server at once: no process gets a say.
func (s server) end(ctx context.Context) error {
	p, ok := s.postmaster()
	if !ok {
		return nil
	}
	// The first process goes first, or it would start the others again.
	children := p.Children()
	err := p.Signal(syscall.SIGKILL)
	for _, c := range children {
		err = errors.Join(err, c.Signal(syscall.SIGKILL))
	}
	if err != nil {
		return err
	}
	what := say.F("the end of %s's server processes", "%s 的数据库进程结束", s.Name)
	return lab.WaitGone(ctx, s.clk, what, 10*time.Second, append(children, p)...)
}

// forget waits until the killed first process has left the process table. As
// long as it stands there the server does not start again: it takes the number
// in postmaster.pid for a running server. Where nobody ever clears the table
// (a container without an init), the file goes; after a power cut the number
// would be free too.
func (s server) forget(ctx context.Context, p lab.Process) error {
	spec := wait.Spec{What: say.F("%s's killed server leaves the process table", "%s 被杀死的数据库离开进程表", s.Name), Deadline: 3 * time.Second, Every: 10 * time.Millisecond}
	err := wait.For(ctx, s.clk, spec, nil, func(context.Context) (wait.Look, error) { return wait.Look{Done: p.Reaped()}, nil })
	var late *wait.Error
	if !errors.As(err, &late) {
		return err
	}
	if err := os.Remove(filepath.Join(s.Data, "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// destroy ends the server for good and frees what the kernel keeps of a killed one.
func (s server) destroy(ctx context.Context) error {
	_, shm := s.pidFile()
	if err := s.end(ctx); err != nil {
		return err
	}
	if shm >= 0 {
		freeSegment(shm, s.acc.UID)
	}
	return nil
}

// freeSegment removes a shared memory segment that nobody uses any more; a
// killed server leaves its own behind until the machine's next start.
func freeSegment(id, uid int) {
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err != nil {
		return
	}
	if d.Nattch == 0 && int(d.Perm.Uid) == uid {
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	}
}

// configure writes the node's configuration. What a running cluster changes
// (whom it follows) stands in postgresql.auto.conf, as pg_basebackup -R leaves it.
func (s server) configure() error {
	conf := strings.NewReplacer(
		"{port}", strconv.Itoa(s.Port), "{socket_dir}", quoteConf(s.SocketDir), "{name}", quoteConf(s.Name),
	).Replace(postgresqlConf)
	return errors.Join(
		s.acc.write(filepath.Join(s.Data, "postgresql.conf"), conf, 0o600),
		s.acc.write(filepath.Join(s.Data, "pg_hba.conf"), pgHBAConf, 0o600),
	)
}

// follow makes the stopped server a standby of upstream.
func (s server) follow(upstream Node) error {
	return errors.Join(
		s.autoConf("primary_conninfo", s.conninfo(upstream)),
		s.autoConf("primary_slot_name", s.Name),
		s.acc.write(filepath.Join(s.Data, "standby.signal"), "", 0o600),
	)
}

// autoConf sets one parameter of a stopped server.
func (s server) autoConf(name, value string) error {
	path := filepath.Join(s.Data, "postgresql.auto.conf")
	body, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var keep []string
	for line := range strings.Lines(string(body)) {
		if key, _, _ := strings.Cut(line, " "); key != name {
			keep = append(keep, line)
		}
	}
	return s.acc.write(path, strings.Join(keep, "")+name+" = "+quoteConf(value)+"\n", 0o600)
}

func (s server) passfile() string { return filepath.Join(s.Home, ".pgpass") }

func (s server) conninfo(upstream Node) string {
	return fmt.Sprintf("user=%s passfile=%s host=127.0.0.1 port=%d sslmode=disable application_name=%s",
		Replicator, quoteConninfo(s.passfile()), upstream.Port, s.Name)
}

// quoteConf writes a string as PostgreSQL's configuration files want it.
func quoteConf(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(v) + "'"
}

// quoteConninfo writes a value as libpq's connection strings want it.
func quoteConninfo(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

const postgresqlConf = `# Written by the lab. fsync stays on: what is shown here must hold on real hosts.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = {socket_dir}
cluster_name = {name}
max_connections = 100
max_prepared_transactions = 10
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
wal_level = replica
wal_log_hints = on
hot_standby = on
max_wal_senders = 10
max_replication_slots = 10
min_wal_size = 80MB
max_wal_size = 256MB
password_encryption = 'scram-sha-256'
log_line_prefix = '%m [%p] %q%u@%d '
log_timezone = 'UTC'
timezone = 'UTC'
`

const pgHBAConf = `# Written by the lab: passwords everywhere, nobody from outside.
local all         all                       scram-sha-256
host  all         all        127.0.0.1/32   scram-sha-256
local replication replicator                scram-sha-256
host  replication replicator 127.0.0.1/32   scram-sha-256
`
