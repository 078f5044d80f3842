package mogdb

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// entry is a file, a directory or a link of a tree.
type entry struct {
	Kind  byte // f, d or l, as find prints it
	Mode  string
	Owner string
	Size  int64
	Link  string // where a link leads to
	Sum   string // sha256 of a file, where it was asked for
}

// executable reports a program.
func (e entry) executable() bool {
	n, _ := strconv.ParseUint(e.Mode, 8, 32)
	return e.Kind == 'f' && n&0o111 != 0
}

// same reports equal content and rights; a sum is compared where both are known.
func (e entry) same(o entry) bool {
	if e.Kind != o.Kind || e.Link != o.Link || e.Kind == 'f' && (e.Mode != o.Mode || e.Size != o.Size) {
		return false
	}
	return e.Sum == "" || o.Sum == "" || e.Sum == o.Sum
}

// tree is what lies below a directory, by path.
type tree map[string]entry

func (t tree) paths() []string { return slices.Sorted(maps.Keys(t)) }

const treeFormat = `%y\t%m\t%u\t%s\t%P\t%l\n`

// tree reads what lies below dir, with the sums of the files where sums is
// true.
func (s *site) tree(ctx context.Context, dir string, sums bool) (tree, error) {
	c := host.Read("find", dir, "-mindepth", "1", "-printf", treeFormat)
	c.Timeout = 5 * time.Minute
	res, err := s.Host.Run(ctx, c)
	if err != nil {
		return nil, err
	}
	t, err := parseTree(string(res.Stdout))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", s.Name, dir, err)
	}
	if sums {
		err = s.sums(ctx, dir, t, t.paths())
	}
	return t, err
}

func parseTree(out string) (tree, error) {
	t := tree{}
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), "\t", 6)
		if len(f) != 6 || len(f[0]) != 1 {
			return nil, say.Errorf("find said %q", "find 的输出为 %q", line)
		}
		size, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			return nil, say.Errorf("find said %q", "find 的输出为 %q", line)
		}
		t[f[4]] = entry{Kind: f[0][0], Mode: f[1], Owner: f[2], Size: size, Link: f[5]}
	}
	return t, nil
}

// sums fills in the sha256 of the files among names.
func (s *site) sums(ctx context.Context, dir string, t tree, names []string) error {
	var files []string
	for _, n := range names {
		if t[n].Kind == 'f' {
			files = append(files, n)
		}
	}
	for chunk := range slices.Chunk(files, 200) {
		argv := []string{"sha256sum"}
		for _, n := range chunk {
			argv = append(argv, dir+"/"+n)
		}
		c := host.Read(argv...)
		c.Timeout = 30 * time.Minute
		res, err := s.Host.Run(ctx, c)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(res.Stdout)) {
			sum, name, ok := strings.Cut(strings.TrimRight(line, "\n"), "  ")
			if n, below := strings.CutPrefix(name, dir+"/"); ok && below {
				e := t[n]
				e.Sum = sum
				t[n] = e
			}
		}
	}
	for _, n := range files {
		if t[n].Sum == "" {
			return say.Errorf("%s: sha256sum did not tell the sum of %s/%s", "%s：sha256sum 未给出 %s/%s 的校验和", s.Name, dir, n)
		}
	}
	return nil
}

// sitesOwn are the files that belong to the installation and not to the
// product, also where the package brings one of that name (spec/mogdb.md section 3).
var sitesOwn = map[string][]string{
	"bin": {"*cluster_static_config*", "cluster_dynamic_config*", "cluster_dnrole_config*", "upgrade_version", "*.key.cipher", "*.key.rand", "gs_tde_keys.cipher", "logic_cluster_name.txt", "*db size file*"},
	"lib": {"postgresql/pg_plugin/*", "postgresql/java/*"},
}

func isSitesOwn(part, name string) bool {
	for _, glob := range sitesOwn[part] {
		if !strings.Contains(name, strings.Trim(glob, "*")) {
			continue // most names: no need to match
		}
		if dir, all := strings.CutSuffix(glob, "/*"); all && strings.HasPrefix(name, dir+"/") {
			return true
		}
		if ok, _ := path.Match(glob, name); ok {
			return true
		}
	}
	return false
}

// carry decides about the files of the old bin or lib: those that are carried
// into the new one, and those only in the old one that stay behind since they
// are the old release's own: programs, and libraries of which the new release
// has another version (spec/mogdb.md section 3, M07, M08).
func carry(part string, old, pkg tree) (carried, left []string) {
	for _, name := range old.paths() {
		e := old[name]
		_, inPackage := pkg[name]
		switch {
		case e.Kind == 'd':
		case isSitesOwn(part, name):
			carried = append(carried, name)
		case inPackage:
		case part == "bin" && (e.executable() || e.Kind == 'l'), part == "lib" && otherVersion(name, pkg):
			left = append(left, name)
		default:
			carried = append(carried, name)
		}
	}
	return carried, left
}

// otherVersion reports libx.so.1.2 where the package has libx.so.1.3.
func otherVersion(name string, pkg tree) bool {
	stem, version, ok := strings.Cut(name, ".so")
	if !ok || version == "" {
		return false
	}
	for p := range pkg {
		if rest, found := strings.CutPrefix(p, stem+".so"); found && rest != "" {
			return true
		}
	}
	return false
}

// wanted is the tree that the new bin or lib must be: the package's with what is carried.
func wanted(old, pkg tree, carried []string) tree {
	t := maps.Clone(pkg)
	for _, n := range carried {
		t[n] = old[n]
		for d := path.Dir(n); d != "."; d = path.Dir(d) {
			if _, there := t[d]; !there {
				t[d] = old[d]
			}
		}
	}
	return t
}

// differs names the first difference between a tree and what it must be, or "".
// Everything in it must belong to owner (M09, M26).
func differs(have, want tree, owner string) string {
	for _, n := range want.paths() {
		e, there := have[n]
		switch {
		case !there:
			return n + " is missing"
		case !e.same(want[n]):
			return n + " is not what it must be"
		}
	}
	for _, n := range have.paths() {
		if _, known := want[n]; !known {
			return n + " does not belong there"
		}
		if owner != "" && have[n].Owner != owner {
			return n + " belongs to " + have[n].Owner + " and not to " + owner
		}
	}
	return ""
}
