package meter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/shiplift/shiplift/internal/lab/postgres"
	"github.com/shiplift/shiplift/internal/lab/postgres/pgtest"
	"github.com/shiplift/shiplift/internal/meter"
)

func start(t *testing.T, l *postgres.Lab, table string) *meter.Meter {
	t.Helper()
	dsn, err := l.DSN()
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := l.NodeDSNs()
	if err != nil {
		t.Fatal(err)
	}
	m, err := meter.Start(t.Context(), meter.Config{DSN: dsn, Nodes: nodes, Table: table})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exec(t *testing.T, l *postgres.Lab, node, sql string) {
	t.Helper()
	c, err := l.Connect(t.Context(), node, postgres.App)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	l := pgtest.Start(t, postgres.Options{Nodes: 2, Release: "15.18"})
	t.Run("a quiet cluster loses nothing", func(t *testing.T) { quiet(t, l) })
	t.Run("a planted loss and a planted duplicate are found", func(t *testing.T) { planted(t, l) })
	t.Run("a restart is measured and loses nothing", func(t *testing.T) { restart(t, l) })
	t.Run("another's table is not touched", func(t *testing.T) { foreign(t, l) })
	t.Run("a table left by a killed meter is taken over", func(t *testing.T) { leftover(t, l) })
}

func quiet(t *testing.T, l *postgres.Lab) {
	m := start(t, l, "")
	if err := m.AwaitRows(t.Context(), 200); err != nil {
		t.Fatal(err)
	}
	r, err := m.Stop(t.Context())
	if err != nil || !r.Good() || r.LostWrites != 0 || r.Rows < 200 || len(r.Nodes) != 2 || r.Nodes[1].Verdict.Acknowledged != r.Rows {
		t.Errorf("%+v, %v", r, err)
	}
	c, err := l.Connect(t.Context(), "db1", postgres.App)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var gone bool
	if err := c.QueryRow(t.Context(), "SELECT to_regclass('shiplift_meter') IS NULL").Scan(&gone); err != nil || !gone {
		t.Errorf("the table stays: %v", err)
	}
}

func planted(t *testing.T, l *postgres.Lab) {
	m := start(t, l, "app_planted")
	if err := m.AwaitRows(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	exec(t, l, "db1", "DELETE FROM app_planted WHERE client = 2 AND seq IN (3, 4)")
	exec(t, l, "db1", "INSERT INTO app_planted SELECT * FROM app_planted WHERE client = 1 AND seq = 1")
	exec(t, l, "db1", "INSERT INTO app_planted VALUES (1, 1000000, now())")
	r, err := m.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Good() || r.LostWrites != 2 || r.Primary.Duplicates != 1 || r.Primary.Unexpected != 1 || len(r.Primary.Examples) != 4 {
		t.Errorf("%+v", r.Primary)
	}
}

func restart(t *testing.T, l *postgres.Lab) {
	m := start(t, l, "")
	if err := m.AwaitRows(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if s := m.Mark("restart"); s.Name != "start" || s.Rows < 100 {
		t.Errorf("%+v", s)
	}
	if err := l.Break(t.Context(), "db1", postgres.KillServer); err != nil {
		t.Fatal(err)
	}
	if err := l.Break(t.Context(), "db1", postgres.StartServer); err != nil {
		t.Fatal(err)
	}
	if err := m.AwaitRows(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	s := m.Mark("after")
	r, err := m.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !r.Good() || r.LostWrites != 0 || r.Interruption < 5*time.Millisecond || s.Longest != r.Interruption || len(r.Errors) == 0 {
		t.Errorf("section %+v, report %+v", s, r)
	}
	t.Logf("killed and started again: %s without a write; %.0f and %.0f rows/s; %+v", r.Interruption, r.Before, r.After, r.Errors)
}

func foreign(t *testing.T, l *postgres.Lab) {
	exec(t, l, "db1", "CREATE TABLE customers AS SELECT 1 AS id")
	exec(t, l, "db1", "GRANT ALL ON customers TO app")
	dsn, err := l.DSN()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := meter.Start(t.Context(), meter.Config{DSN: dsn, Table: "customers"}); err == nil || !strings.Contains(err.Error(), "not the meter's") {
		t.Errorf("got %v", err)
	}
	exec(t, l, "db1", "SELECT id FROM customers")
}

func leftover(t *testing.T, l *postgres.Lab) {
	exec(t, l, "db1", `SET ROLE app; CREATE TABLE shiplift_meter (x int); COMMENT ON TABLE shiplift_meter IS 'shiplift meter: may be dropped'`)
	m := start(t, l, "")
	if r, err := m.Stop(t.Context()); err != nil || !r.Good() {
		t.Errorf("%+v, %v", r, err)
	}
}
