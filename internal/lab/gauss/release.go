// Package gauss simulates openGauss and MogDB: servers, tools, packages, the
// cluster manager and MogHA, on the machines of package sim.
//
// What the tools print follows recordings of real servers (testdata/golden)
// and, where none exists, the vendor's source and manuals. What a tool does to
// the data is strict: whoever breaks a rule of the manual gets the damage that
// the manual describes, and [Truth] knows it.
package gauss

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Flavor is the product.
type Flavor string

// The two products.
const (
	OpenGauss Flavor = "openGauss"
	MogDB     Flavor = "MogDB"
)

// Release is one release of a product.
type Release struct {
	Product Flavor
	Version string // 5.0.0, 6.0.0-RC1
	Number  int    // kernel number 92848 (GRAND_VERSION_NUM)
	Commit  string // eight characters
	Lite    bool   // a lite build reads old_upgrade_version elsewhere
}

// numbers are the kernel numbers of openGauss, spec/opengauss.md section 1.4.
// That of 3.0.1 is supposed to be that of 3.0.0: no two releases with a cluster
// manager are known to share one, and a small upgrade needs two that do.
var numbers = map[string]int{
	"1.0.0": 92072, "1.0.1": 92072, "1.1.0": 92298, "2.0.0": 92298, "2.0.1": 92299, "2.0.3": 92300, "2.0.4": 92302, "2.0.5": 92302,
	"2.1.0": 92421, "2.1.1": 92421, "3.0.0": 92605, "3.0.1": 92605, "3.0.5": 92612, "3.1.0": 92780, "3.1.1": 92841, "5.0.0": 92848, "5.0.1": 92854, "5.0.2": 92861,
	"5.0.3": 92862, "5.1.0": 92913, "6.0.0-RC1": 92926, "6.0.0": 92954, "6.0.1": 92964, "6.0.2": 92974, "7.0.0-RC1": 93042,
}

var commits = map[string]string{
	"1.1.0": "392c0438", "2.0.0": "78689da9", "2.0.1": "d97c0e8a", "2.0.3": "07ad2fc0", "3.0.0": "02c14696",
	"5.0.0": "a07d57c3", "5.0.3": "89d144c2", "6.0.0-RC1": "ed7f8e37", "6.0.0": "aee4abd5",
}

// ReleaseOf returns a release by its version. A version without a known kernel
// number is an error: nothing could be said about its catalogue.
func ReleaseOf(f Flavor, version string) (Release, error) {
	n, ok := numbers[version]
	if !ok {
		return Release{}, fmt.Errorf("the lab knows no %s %s", f, version)
	}
	r := Release{Product: f, Version: version, Number: n, Commit: commits[version]}
	if r.Commit == "" || f == MogDB {
		sum := sha256.Sum256([]byte(string(f) + version))
		r.Commit = hex.EncodeToString(sum[:4])
	}
	return r, nil
}

// Versions are the versions that the lab knows, oldest first.
func Versions() []string {
	var out []string
	for v := range numbers {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b string) int {
		if numbers[a] != numbers[b] {
			return numbers[a] - numbers[b]
		}
		return strings.Compare(a, b)
	})
	return out
}

func (r Release) major() int {
	n, _ := strconv.Atoi(r.Version[:strings.IndexByte(r.Version, '.')])
	return n
}

// Kernel is the number as version.cfg shows it.
func (r Release) Kernel() string { return fmt.Sprintf("%d.%03d", r.Number/1000, r.Number%1000) }

// image is what a program of this release carries behind its tool's name.
func (r Release) image() string {
	s := fmt.Sprintf("%s %s %s %d", r.Product, r.Version, r.Commit, r.Number)
	if r.Lite {
		s += " lite"
	}
	return s
}

// releaseOf reads an image back; ok is false for anything else.
func releaseOf(img string) (Release, bool) {
	f := strings.Fields(img)
	if len(f) < 4 {
		return Release{}, false
	}
	n, err := strconv.Atoi(f[3])
	return Release{Product: Flavor(f[0]), Version: f[1], Commit: f[2], Number: n, Lite: len(f) > 4}, err == nil
}

// built is when a release was compiled.
func (r Release) built() string {
	sum := sha256.Sum256([]byte(r.Version))
	return fmt.Sprintf("20%02d-%02d-%02d %02d:%02d:%02d", 18+r.major(), 1+sum[0]%12, 1+sum[1]%28, sum[2]%24, sum[3]%60, sum[4]%60)
}

// banner is the text in parentheses and what follows it.
func (r Release) banner() string {
	s := fmt.Sprintf("(%s %s build %s) compiled at %s commit 0 last mr  ", r.Product, r.Version, r.Commit, r.built())
	if r.major() >= 6 {
		s += "release"
	}
	return s
}

// sqlVersion is what select version() says.
func (r Release) sqlVersion() string {
	s := r.banner() + " on x86_64-unknown-linux-gnu, compiled by g++ (Debian 10.2.1-6) 10.2.1 20210110, 64-bit"
	if r.major() < 3 {
		s = "PostgreSQL 9.2.4 " + s
	}
	return s
}

// appDir is the directory of a release beside the link: app_13b34b53.
func (r Release) appDir(app string) string { return app + "_" + r.Commit }
