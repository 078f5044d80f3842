package gauss

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// steps are the numbers that have catalogue scripts: one for each release
// behind 1.1.0. 5.0.1 is the only step between 5.0.0 and 5.0.3 with a script
// that runs before the switch, as in the recorded upgrade.
func steps() []int {
	var out []int
	for _, n := range numbers {
		if n > 92298 && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

var allSteps = steps()

// preObject and postObject are the functions that the scripts of a step make.
func preObject(n int) string {
	switch n {
	case 92854:
		return "gs_catalog_attribute_records"
	case 92861, 92862:
		return ""
	}
	return fmt.Sprintf("gs_upgrade_step_%d_%d", n/1000, n%1000)
}

func postObject(n int) string { return fmt.Sprintf("gs_upgrade_post_%d_%d", n/1000, n%1000) }

// missing tells the first object that a working number needs and a database lacks.
func (s *state) missing(in *instance, working int) string {
	for _, n := range allSteps {
		if n <= in.base || n > working {
			continue
		}
		for _, db := range in.cat.dbs {
			if o := preObject(n); o != "" && !in.cat.has(db, o) {
				return fmt.Sprintf("the upgrade catalogue of %d in %s", n, db)
			}
			if !in.cat.has(db, postObject(n)) {
				return fmt.Sprintf("the upgrade-post catalogue of %d in %s", n, db)
			}
		}
	}
	return ""
}

// postAbove is the highest step over a number whose post objects are there; 0 without one.
func (s *state) postAbove(c *catalog, number int) int {
	for _, n := range slices.Backward(allSteps) {
		if n <= number {
			break
		}
		for _, db := range c.dbs {
			if c.has(db, postObject(n)) {
				return n
			}
		}
	}
	return 0
}

func (s *state) topNumber(c *catalog) int {
	if n := s.postAbove(c, 0); n > 0 {
		return n
	}
	return 0
}

// leftovers are objects of steps above a number: what a rollback should have taken away.
func (s *state) leftovers(c *catalog, number int) []string {
	var out []string
	for _, n := range allSteps {
		if n <= number {
			continue
		}
		for _, db := range c.dbs {
			for _, o := range []string{preObject(n), postObject(n)} {
				if o != "" && c.has(db, o) {
					out = append(out, db+"."+o)
				}
			}
		}
	}
	return out
}

// Scripts of one step, in the words of the vendor's.
func preUpgradeSQL(n int) string {
	o := preObject(n)
	return dropSQL(o) + fmt.Sprintf("SET LOCAL inplace_upgrade_next_system_object_oids = IUO_PROC, %d;\n", 8000+n%1000) +
		createSQL(o) + fmt.Sprintf("comment on function PG_CATALOG.%s(oid) is 'step %d';\n", o, n)
}

func preRollbackSQL(n int) string { return dropSQL(preObject(n)) }

func postUpgradeSQL(n int) string {
	o := postObject(n)
	return dropSQL(o) + fmt.Sprintf("SET LOCAL inplace_upgrade_next_system_object_oids = IUO_PROC, %d;\n", 9000+n%1000) + createSQL(o)
}

func postRollbackSQL(n int) string { return dropSQL(postObject(n)) }

func dropSQL(o string) string {
	return fmt.Sprintf("DROP FUNCTION IF EXISTS pg_catalog.%s(oid) CASCADE;\n", o)
}

func createSQL(o string) string {
	return fmt.Sprintf(`CREATE FUNCTION pg_catalog.%s
(
    IN  relid oid,
    OUT res text
)
RETURNS SETOF record STABLE ROWS 1000 LANGUAGE INTERNAL AS '%s';
`, o, o)
}

// upgradeSQL is the tree of upgrade_sql.tar.gz up to a release: path and content.
func upgradeSQL(top int) map[string]string {
	if f, ok := sqlTrees.Load(top); ok {
		return f.(map[string]string)
	}
	f := makeSQL(top)
	sqlTrees.Store(top, f)
	return f
}

var sqlTrees sync.Map // by kernel number; the maps are never changed

func makeSQL(top int) map[string]string {
	files := map[string]string{
		"upgrade_sql/set_guc/delete_guc": "# name kind\n",
		"upgrade_sql/set_guc/add_guc":    "# name kind\n",
	}
	for _, n := range allSteps {
		if n > top {
			continue
		}
		for _, db := range []string{"maindb", "otherdb"} {
			put := func(dir, kind, body string) {
				files[fmt.Sprintf("upgrade_sql/%s_catalog_%s/%s_catalog_%s_%d_%d.sql", dir, db, kind, db, n/1000, n%1000)] = body
			}
			if preObject(n) != "" {
				put("upgrade", "upgrade", preUpgradeSQL(n))
				put("rollback", "rollback", preRollbackSQL(n))
			}
			put("upgrade", "upgrade-post", postUpgradeSQL(n))
			put("rollback", "rollback-post", postRollbackSQL(n))
		}
	}
	return files
}

// objectIn finds pg_catalog.NAME in a statement.
func objectIn(stmt string) string {
	i := strings.Index(strings.ToLower(stmt), "pg_catalog.")
	if i < 0 {
		return ""
	}
	name := stmt[i+len("pg_catalog."):]
	end := strings.IndexFunc(name, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end >= 0 {
		name = name[:end]
	}
	return strings.ToLower(name)
}
