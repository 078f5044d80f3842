package opengauss

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// How far the catalogue has come stands in the database itself: it moves with
// the data wherever the primary goes. The table lives in database postgres for
// as long as the upgrade is open.
const (
	stateTable = "shiplift_upgrade"

	preBegun  = "pre-begun"
	preDone   = "pre-done"
	postBegun = "post-begun"
	postDone  = "post-done"
)

// catalogueState reads the state on a server; "" when there is no table.
func catalogueState(ctx context.Context, s *site) (string, error) {
	rows, err := s.SQL(ctx, s.Port, "postgres", "select * from "+stateTable)
	var refused *gaussdb.SQLError
	if errors.As(err, &refused) && strings.Contains(strings.Join(refused.Lines, " "), stateTable) && strings.Contains(strings.Join(refused.Lines, " "), "does not exist") {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if len(rows) == 0 { // made, and nothing written yet
		return preBegun, nil
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", say.Errorf("%s: table %s holds %q, one row was expected", "%s：表 %s 中有 %q，应只有一行", s.Name, stateTable, rows)
	}
	return rows[0][0], nil
}

// setCatalogueState writes it in one transaction.
func setCatalogueState(ctx context.Context, s *site, state string) error {
	if err := s.Exec(ctx, s.Port, "postgres", "create table if not exists "+stateTable+"(state text)"); err != nil {
		return err
	}
	if err := s.Exec(ctx, s.Port, "postgres", "begin; delete from "+stateTable+"; insert into "+stateTable+" values('"+state+"'); commit"); err != nil {
		return err
	}
	got, err := catalogueState(ctx, s)
	if err == nil && got != state {
		err = say.Errorf("%s: table %s says %q after %q was written", "%s：表 %s 中为 %q，而写入的是 %q", s.Name, stateTable, got, state)
	}
	return err
}

// sqlAction runs the vendor's catalogue SQL: rollback and upgrade before the
// first node changes, rollback-post and upgrade-post after the last one did.
// The inverse always runs first: a run that broke off in the middle of the
// databases is made whole by that (spec section 0).
type sqlAction struct{ post bool }

// counted are the catalogue tables whose rows are counted before the SQL and
// after its way back: the vendor's rollback scripts are no exact inverse
// (golden rollback/001, 027), and an operator should learn that from the tool.
var counted = []string{"pg_proc", "pg_class"}

// sqlMemo is how many rows each had.
type sqlMemo struct {
	Rows map[string]string `json:"rows"`
}

func countRows(ctx context.Context, p *site) (map[string]string, error) {
	rows := map[string]string{}
	for _, name := range counted {
		n, err := p.Value(ctx, p.Port, "select count(*) from "+name)
		if err != nil {
			return nil, err
		}
		rows[name] = n
	}
	return rows, nil
}

func (a sqlAction) Prepare(ctx context.Context, t driver.Target) (driver.Memo, error) {
	if a.post {
		return nil, nil
	}
	r, err := roomOf(t)
	if err != nil {
		return nil, err
	}
	p, err := r.mustPrimary(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := countRows(ctx, p)
	if err != nil {
		return nil, err
	}
	return remember(sqlMemo{rows})
}

// tellCounts names the tables that have not as many rows as before.
func (r *room) tellCounts(ctx context.Context, p *site) error {
	var m sqlMemo
	if err := recall(r.Memo, &m); err != nil {
		return err
	}
	now, err := countRows(ctx, p)
	if err != nil {
		return err
	}
	for _, name := range counted {
		if now[name] != m.Rows[name] {
			report(r.Target)(say.F("%s has %s rows after the rollback, it had %s", "%s 回滚后有 %s 行，升级前为 %s 行", name, now[name], m.Rows[name]))
		}
	}
	return nil
}

// before and after are the states between which the step lies.
func (a sqlAction) states() (before, begun, done string) {
	if a.post {
		return preDone, postBegun, postDone
	}
	return "", preBegun, preDone
}

func (a sqlAction) Probe(ctx context.Context, t driver.Target) (driver.Standing, error) {
	r, err := roomOf(t)
	if err != nil {
		return half(err)
	}
	p, err := r.primary(ctx)
	if err != nil {
		return half(err)
	}
	if p == nil {
		// How far it came stands in a database that does not run. To run the
		// inverse is right wherever it stands.
		if _, errs := r.states(ctx); errors.Join(errs...) != nil {
			return half(errors.Join(errs...))
		}
		return driver.Half, nil
	}
	got, err := catalogueState(ctx, p)
	if err != nil {
		return half(err)
	}
	order := []string{"", preBegun, preDone, postBegun, postDone}
	before, begun, done := a.states()
	at := slices.Index(order, got)
	switch {
	case at < 0:
		return driver.Unknown, say.Errorf("%s: table %s says %q", "%s：表 %s 中为 %q", p.Name, stateTable, got)
	case at <= slices.Index(order, before):
		return driver.NotApplied, nil
	case got == begun:
		return driver.Half, nil
	case at >= slices.Index(order, done):
		return driver.Applied, nil
	}
	return driver.NotApplied, nil
}

func (a sqlAction) Do(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	if a.post {
		if err := r.allNew(ctx); err != nil {
			return err
		}
	}
	p, err := r.mustPrimary(ctx)
	if err != nil {
		return err
	}
	_, begun, done := a.states()
	if got, err := catalogueState(ctx, p); err != nil || got == done {
		return err
	}
	if err := setCatalogueState(ctx, p, begun); err != nil {
		return err
	}
	kinds := []gaussdb.Kind{gaussdb.Rollback, gaussdb.Upgrade}
	if a.post {
		kinds = []gaussdb.Kind{gaussdb.RollbackPost, gaussdb.UpgradePost}
	}
	for _, kind := range kinds {
		if err := r.runScripts(ctx, p, kind); err != nil {
			return err
		}
	}
	if err := setCatalogueState(ctx, p, done); err != nil {
		return err
	}
	return r.allFollow(ctx)
}

// allNew proves that every node runs the new binaries: upgrade-post makes
// objects that the old ones cannot read.
func (r *room) allNew(ctx context.Context) error {
	return r.onAll(func(s *site) error {
		exe, err := s.program(ctx)
		if err != nil {
			return err
		}
		if exe != r.newApp(s)+"/bin/gaussdb" {
			return &say.Problem{Place: s.Name, Text: say.F("the new release does not run there yet (%s)", "该节点尚未运行新版本（%s）", exe), Next: say.F("shiplift status", "shiplift status")}
		}
		return nil
	})
}

func (a sqlAction) Undo(ctx context.Context, t driver.Target) error {
	r, err := roomOf(t)
	if err != nil {
		return err
	}
	p, err := r.mustPrimary(ctx)
	if err != nil {
		return err
	}
	got, err := catalogueState(ctx, p)
	if err != nil {
		return err
	}
	if got == "" || a.post && got != postBegun && got != postDone {
		return nil
	}
	_, begun, _ := a.states()
	if err := setCatalogueState(ctx, p, begun); err != nil {
		return err
	}
	if a.post {
		if err := r.runScripts(ctx, p, gaussdb.RollbackPost); err != nil {
			return err
		}
		if err := setCatalogueState(ctx, p, preDone); err != nil {
			return err
		}
		return r.allFollow(ctx)
	}
	if err := r.runScripts(ctx, p, gaussdb.Rollback); err != nil {
		return err
	}
	if err := dropCatalogueState(ctx, p); err != nil {
		return err
	}
	if err := r.tellCounts(ctx, p); err != nil {
		return err
	}
	return r.allFollow(ctx)
}

func dropCatalogueState(ctx context.Context, s *site) error {
	return s.Exec(ctx, s.Port, "postgres", "drop table if exists "+stateTable)
}

// runScripts runs the merged scripts of one kind: on postgres, then on every
// other database, template0 and template1 included.
func (r *room) runScripts(ctx context.Context, p *site, kind gaussdb.Kind) error {
	rows, err := p.SQL(ctx, p.Port, "postgres", "select datname from pg_database order by 1")
	if err != nil {
		return err
	}
	dbs := []string{"postgres"}
	for _, row := range rows {
		if row[0] != "postgres" {
			dbs = append(dbs, row[0])
		}
	}
	for _, need := range []string{"template0", "template1"} {
		if !slices.Contains(dbs, need) {
			return say.Errorf("%s: there is no database %s", "%s：没有数据库 %s", p.Name, need)
		}
	}
	for _, db := range dbs {
		file := p.openDir() + "/" + gaussdb.ScriptName(kind, db == "postgres")
		there, err := p.exists(ctx, file)
		if err != nil {
			return err
		}
		if !there {
			continue // no script of this kind lies between the two numbers
		}
		report(r.Target)(say.F("%s: %s in database %s", "%s：在数据库 %[3]s 中执行 %[2]s", p.Name, string(kind), db))
		if err := p.runScript(ctx, db, file); err != nil {
			return err
		}
	}
	return nil
}

// runScript runs one script. It failed when the status is not 0 or a line says
// ERROR, FATAL or PANIC.
func (s *site) runScript(ctx context.Context, db, file string) error {
	c := host.Change("gsql", "-p", fmt.Sprint(s.Port), "-d", db, "-X", "--echo-queries", "--set", "ON_ERROR_STOP=on", "-f", file)
	c.Timeout = 30 * time.Minute
	a, err := s.Run(ctx, c)
	if err != nil {
		return err
	}
	errs := gaussdb.SQLErrors(a.Stderr)
	if a.Code == 0 && len(errs) == 0 {
		return nil
	}
	if len(errs) == 0 {
		errs = []string{fmt.Sprintf("gsql ended with status %d", a.Code)}
	}
	return &say.Problem{Place: s.Name, Text: say.F("the catalogue script %s failed in database %s: %s", "系统表脚本 %s 在数据库 %s 中执行失败：%s", file, db, strings.Join(errs, "; ")),
		Next: say.F("shiplift rollback", "shiplift rollback")}
}
