package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/say"
)

// This file knows what the server can be asked and told. Each statement has a
// tag; the simulated servers know the statements by their tags.

// identity is what a server says of itself.
type identity struct {
	Version   string // 15.16
	Major     int
	Recovery  bool
	SystemID  string
	Timeline  int
	Current   lsn // written by a primary; 0 on a standby
	Received  lsn // by a standby's WAL receiver
	Replayed  lsn
	Clock     time.Time
	Superuser bool
}

func (c *conn) identity(ctx context.Context) (identity, error) {
	r, err := c.row(ctx, 10, "identity", `select current_setting('server_version'), current_setting('server_version_num'),
 pg_is_in_recovery()::text, (select system_identifier::text from pg_control_system()), 
 case when pg_is_in_recovery() then coalesce((select received_tli from pg_stat_wal_receiver), (select timeline_id from pg_control_checkpoint()))::text
  else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text end,
 case when pg_is_in_recovery() then '' else pg_current_wal_lsn()::text end,
 coalesce(pg_last_wal_receive_lsn()::text, ''), coalesce(pg_last_wal_replay_lsn()::text, ''),
 extract(epoch from clock_timestamp())::text, current_setting('is_superuser')`)
	if err != nil {
		return identity{}, err
	}
	id := identity{Recovery: yes(r[2]), SystemID: r[3], Superuser: yes(r[9])}
	id.Version, _, _ = strings.Cut(r[0], " ")
	num, err1 := strconv.Atoi(r[1])
	id.Major = num / 10000
	var err2, err3, err4, err5, err6 error
	id.Timeline, err2 = strconv.Atoi(r[4])
	id.Current, err3 = parseLSN(r[5])
	id.Received, err4 = parseLSN(r[6])
	id.Replayed, err5 = parseLSN(r[7])
	id.Clock, err6 = parseEpoch(r[8])
	for _, err := range []error{err1, err2, err3, err4, err5, err6} {
		if err != nil {
			return identity{}, say.Errorf("%s: identity: %w", "%s：标识：%w", c.node, err)
		}
	}
	return id, nil
}

func yes(s string) bool { return s == "t" || s == "true" || s == "on" }

// parseEpoch reads seconds since 1970 with a fraction.
func parseEpoch(s string) (time.Time, error) {
	whole, frac, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, say.Errorf("%q is not a time", "%q 不是时间", s)
	}
	frac = (frac + "000000000")[:9]
	nsec, err := strconv.ParseInt(frac, 10, 64)
	if err != nil {
		return time.Time{}, say.Errorf("%q is not a time", "%q 不是时间", s)
	}
	return time.Unix(sec, nsec), nil
}

// setting is one row of pg_settings.
type setting struct {
	Value  string
	Source string // "configuration file", "command line", "default", …
	File   string
}

// auto reports whether the value stands in postgresql.auto.conf, where ALTER
// SYSTEM puts it.
func (s setting) auto() bool { return strings.HasSuffix(s.File, "/postgresql.auto.conf") }

// settingNames are the settings that the driver looks at.
const settingNames = `synchronous_standby_names synchronous_commit primary_slot_name wal_retrieve_retry_interval cluster_name
 max_connections max_worker_processes max_wal_senders max_prepared_transactions max_locks_per_transaction wal_level track_commit_timestamp
 max_replication_slots hot_standby recovery_target_timeline recovery_min_apply_delay wal_keep_size archive_mode
 shared_preload_libraries session_preload_libraries local_preload_libraries
 data_checksums block_size wal_segment_size data_directory config_file full_page_writes wal_log_hints`

func (c *conn) settings(ctx context.Context) (map[string]setting, error) {
	rows, err := c.table(ctx, "settings", `select name, setting, source, coalesce(sourcefile, '') from pg_settings where name = any (string_to_array($1, ' ')) order by name`,
		strings.Join(strings.Fields(settingNames), " "))
	if err != nil {
		return nil, err
	}
	out := map[string]setting{}
	for _, r := range rows {
		out[r[0]] = setting{Value: r[1], Source: r[2], File: r[3]}
	}
	return out, nil
}

// setting reads one setting as it is now.
func (c *conn) setting(ctx context.Context, name string) (setting, error) {
	r, err := c.row(ctx, 3, "setting", `select setting, source, coalesce(sourcefile, '') from pg_settings where name = $1`, name)
	if err != nil {
		return setting{}, err
	}
	return setting{Value: r[0], Source: r[1], File: r[2]}, nil
}

// inFile reads what the configuration files say of a setting, in effect or not:
// a tool that died between ALTER SYSTEM and the reload leaves what only the
// next reload or start brings.
func (c *conn) inFile(ctx context.Context, name string) (value string, there bool, err error) {
	rows, err := c.table(ctx, "in-file", `select coalesce(setting, '') from pg_file_settings where name = $1 order by seqno desc limit 1`, name)
	if err != nil || len(rows) == 0 || len(rows[0]) == 0 {
		return "", false, err
	}
	return rows[0][0], true, nil
}

// upstreamPending reports whether the files tell the server to follow another
// node than it does now.
func (c *conn) upstreamPending(ctx context.Context) (bool, error) {
	for _, name := range []string{"primary_conninfo", "primary_slot_name"} {
		now, err := c.setting(ctx, name)
		if err != nil {
			return false, err
		}
		value, there, err := c.inFile(ctx, name)
		if err != nil {
			return false, err
		}
		if value != now.Value || !there && now.auto() {
			return true, nil
		}
	}
	return false, nil
}

// untold is the standing of a server that follows whom it followed before.
func (c *conn) untold(ctx context.Context) (driver.Standing, error) {
	pending, err := c.upstreamPending(ctx)
	switch {
	case err != nil:
		return driver.Unknown, err
	case pending:
		return driver.Half, nil
	}
	return driver.NotApplied, nil
}

// alter sets a setting for good; the server reads it at the next reload.
func (c *conn) alter(ctx context.Context, name, value string) error {
	_, err := c.table(ctx, "alter-system", `alter system set `+name+` = $1`, value)
	return err
}

func (c *conn) resetSetting(ctx context.Context, name string) error {
	_, err := c.table(ctx, "alter-system", `alter system reset `+name)
	return err
}

func (c *conn) reload(ctx context.Context) error {
	_, err := c.table(ctx, "reload", `select pg_reload_conf()::text`)
	return err
}

// sender is one row of pg_stat_replication: a standby that streams from here.
type sender struct {
	App, Addr, State, Sync string
	Sent, Flush, Replay    lsn
}

func (c *conn) senders(ctx context.Context) ([]sender, error) {
	rows, err := c.table(ctx, "senders", `select application_name, coalesce(client_addr::text, ''), coalesce(state, ''), coalesce(sync_state, ''),
 coalesce(sent_lsn::text, ''), coalesce(flush_lsn::text, ''), coalesce(replay_lsn::text, '') from pg_stat_replication order by application_name, pid`)
	if err != nil {
		return nil, err
	}
	out := make([]sender, len(rows))
	for i, r := range rows {
		out[i] = sender{App: r[0], Addr: r[1], State: r[2], Sync: r[3]}
		for j, at := range []*lsn{&out[i].Sent, &out[i].Flush, &out[i].Replay} {
			if *at, err = parseLSN(r[4+j]); err != nil {
				return nil, say.Errorf("%s: senders: %w", "%s：发送进程：%w", c.node, err)
			}
		}
	}
	return out, nil
}

// receiver is pg_stat_wal_receiver: where a standby streams from.
type receiver struct{ Status, Host, Port, Slot string }

func (r receiver) streams() bool { return r.Status == "streaming" }

func (c *conn) receiver(ctx context.Context) (receiver, error) {
	rows, err := c.table(ctx, "receiver", `select coalesce(status, ''), coalesce(sender_host, ''), coalesce(sender_port::text, ''), coalesce(slot_name, '') from pg_stat_wal_receiver`)
	if err != nil || len(rows) == 0 {
		return receiver{}, err
	}
	return receiver{rows[0][0], rows[0][1], rows[0][2], rows[0][3]}, nil
}

// slot is one replication slot.
type slot struct {
	Name, Type, Plugin string
	Active, Temporary  bool
	Restart            lsn
	WALStatus          string
	Failover           bool
}

func (c *conn) slots(ctx context.Context, major int) ([]slot, error) {
	failover := "'f'"
	if major >= 17 {
		failover = "failover::text"
	}
	rows, err := c.table(ctx, "slots", `select slot_name, slot_type, coalesce(plugin, ''), active::text, temporary::text, coalesce(restart_lsn::text, ''), coalesce(wal_status, ''), `+failover+` from pg_replication_slots order by slot_name`)
	if err != nil {
		return nil, err
	}
	out := make([]slot, len(rows))
	for i, r := range rows {
		out[i] = slot{Name: r[0], Type: r[1], Plugin: r[2], Active: yes(r[3]), Temporary: yes(r[4]), WALStatus: r[6], Failover: yes(r[7])}
		if out[i].Restart, err = parseLSN(r[5]); err != nil {
			return nil, say.Errorf("%s: slots: %w", "%s：复制槽：%w", c.node, err)
		}
	}
	return out, nil
}

// makeSlot creates a physical slot that keeps WAL from now on. One that is there stays.
func (c *conn) makeSlot(ctx context.Context, name string) error {
	_, err := c.table(ctx, "make-slot", `select pg_create_physical_replication_slot($1, true)::text`, name)
	if sqlState(err) == "42710" { // duplicate_object
		return nil
	}
	return err
}

func (c *conn) dropSlot(ctx context.Context, name string) error {
	_, err := c.table(ctx, "drop-slot", `select pg_drop_replication_slot($1)::text`, name)
	if sqlState(err) == "42704" { // undefined_object
		return nil
	}
	return err
}

// conninfo reads primary_conninfo. It may hold a password: it is used for
// editing and never shown, stored or put into a memo (I10).
func (c *conn) conninfo(ctx context.Context) (conninfo, setting, error) {
	s, err := c.setting(ctx, "primary_conninfo")
	if err != nil {
		return nil, s, err
	}
	ci, err := parseConninfo(s.Value)
	if err != nil {
		return nil, setting{}, fmt.Errorf("%s: %w", c.node, err)
	}
	return ci, s, nil
}

func (c *conn) inRecovery(ctx context.Context) (bool, error) {
	v, err := c.value(ctx, "in-recovery", `select pg_is_in_recovery()::text`)
	return yes(v), err
}

// promotion is how far a promotion has come that was asked for: over, and
// whether the startup process sleeps although it has something to do.
func (c *conn) promotion(ctx context.Context) (over, asleep bool, err error) {
	r, err := c.row(ctx, 2, "promotion", `select (not pg_is_in_recovery())::text, exists(select from pg_stat_activity where backend_type = 'startup' and wait_event = 'RecoveryRetrieveRetryInterval')::text`)
	if err != nil {
		return false, false, err
	}
	return yes(r[0]), yes(r[1]), nil
}

// checkpoint writes everything down and returns when it is durable.
func (c *conn) checkpoint(ctx context.Context, limit time.Duration) error {
	_, err := c.within(ctx, limit, "checkpoint", `checkpoint`)
	return err
}

// currentLSN is where a primary writes.
func (c *conn) currentLSN(ctx context.Context) (lsn, error) {
	v, err := c.value(ctx, "current-lsn", `select pg_current_wal_lsn()::text`)
	if err != nil {
		return 0, err
	}
	return parseLSN(v)
}

// replayPaused reports whether somebody has paused a standby's replay
// (PostgreSQL manual, 9.27.4). What it receives meanwhile is not replayed.
func (c *conn) replayPaused(ctx context.Context) (bool, error) {
	r, err := c.row(ctx, 1, "replay-paused", `select pg_is_wal_replay_paused()::text`)
	return err == nil && yes(r[0]), err
}

// positions are what a standby has received and replayed.
func (c *conn) positions(ctx context.Context) (received, replayed lsn, err error) {
	r, err := c.row(ctx, 2, "positions", `select coalesce(pg_last_wal_receive_lsn()::text, ''), coalesce(pg_last_wal_replay_lsn()::text, '')`)
	if err != nil {
		return 0, 0, err
	}
	if received, err = parseLSN(r[0]); err != nil {
		return 0, 0, err
	}
	replayed, err = parseLSN(r[1])
	return received, replayed, err
}

// promoteIf asks for the promotion in the same statement that proves that the
// standby has replayed the record at proof; false means that it has not yet.
func (c *conn) promoteIf(ctx context.Context, proof lsn) (bool, error) {
	v, err := c.value(ctx, "promote-if", `select case when pg_is_in_recovery() and pg_last_wal_replay_lsn() > $1::pg_lsn then pg_promote(false)::text else 'wait' end`, proof.String())
	if v == "f" || v == "false" {
		return false, say.Errorf("%s: pg_promote could not signal the server", "%s：pg_promote 无法通知服务器", c.node)
	}
	return err == nil && v != "wait", err
}

// promoting reports whether a promotion has been asked for and not yet ended.
// pg_wal_replay_resume changes nothing unless the replay is paused, and is
// refused while the server is being promoted.
func (c *conn) promoting(ctx context.Context) (bool, error) {
	_, err := c.table(ctx, "promoting", `select case when pg_is_in_recovery() and not pg_is_wal_replay_paused() then pg_wal_replay_resume()::text end`)
	if sqlState(err) == "55000" { // object_not_in_prerequisite_state: promotion is ongoing, or it has just ended
		return true, nil
	}
	return false, err
}

// endOwnSessions ends the sessions that an earlier process of the tool may
// have left behind, so that no statement of theirs can still take effect.
func (c *conn) endOwnSessions(ctx context.Context) error {
	_, err := c.table(ctx, "end-own-sessions", `select pg_terminate_backend(pid, 5000)::text from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid()`, appName)
	return err
}

// nudge makes a primary write and flush a small record, so that positions move.
// It returns a position that a standby which follows must reach.
func (c *conn) nudge(ctx context.Context) (lsn, error) {
	v, err := c.value(ctx, "nudge", `select pg_logical_emit_message(true, 'shiplift', '')::text`)
	if err != nil {
		return 0, err
	}
	return parseLSN(v)
}
