package gbase8a

import (
	"regexp"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/release"
)

var (
	versionText = regexp.MustCompile(`\b(\d+(?:\.\d+){2,3}(?:\.\w+)*)`)
	// hashed is a last part with the build's hash behind the number, as in
	// "9.5.3.28.12509af27".
	hashed = regexp.MustCompile(`^(\d{1,2})([0-9a-f]{7})$`)
)

// ParseVersion finds the release in what a tool says about itself; "" without
// one. The build's hash is taken away: packages are named without it.
func ParseVersion(out string) string {
	m := versionText.FindString(out)
	if m == "" {
		return ""
	}
	parts := strings.Split(m, ".")
	last := &parts[len(parts)-1]
	if f := hashed.FindStringSubmatch(*last); f != nil && strings.ContainsAny(f[2], "abcdef") {
		*last = f[1]
	}
	return strings.Join(parts, ".")
}

// family is the part of a release that decides generation and way back: "9.5.3".
func family(version string) string {
	parts := strings.SplitN(version, ".", 4)
	if parts[0] == "8" && len(parts) > 1 {
		return parts[0] + "." + parts[1]
	}
	return strings.Join(parts[:min(3, len(parts))], ".")
}

// isV95 reports whether a release is of V95, the only one with a gcware that
// has snapshots; 8.6 has corosync (G34).
func isV95(version string) bool { return family(version) == "9.5.2" || family(version) == "9.5.3" }

// restorable are the ways that Restore.py knows, from the new release back to
// the old one (G33, spec section 6).
var restorable = [][2]string{{"9.5.3", "9.5.3"}, {"9.5.3", "9.5.2"}, {"9.5.2", "9.5.2"}, {"9.5.2", "8.6"}}

// CanRestore reports whether Restore.py leads from release now back to old.
func CanRestore(now, old string) bool {
	return slices.Contains(restorable, [2]string{family(now), family(old)})
}

// older reports whether release a lies before b; false when one cannot be read.
func older(a, b string) bool {
	va, errA := release.Parse(a)
	vb, errB := release.Parse(b)
	return errA == nil && errB == nil && va.Less(vb)
}

// packageName is what the vendor's file name says (spec section 6).
type packageName struct {
	Licensed          bool
	Version, OS, Arch string
}

var packagePattern = regexp.MustCompile(`^GBase8a_MPP_Cluster-(License|NoLicense|NoLicense-FREE)-(\d[\w.]*)-([a-z]+\d*)-(\w+)\.tar\.bz2$`)

// parsePackage reads a package's file name; ok is false when it is not the vendor's form.
func parsePackage(file string) (packageName, bool) {
	m := packagePattern.FindStringSubmatch(file)
	if m == nil {
		return packageName{}, false
	}
	return packageName{m[1] == "License", m[2], m[3], m[4]}, true
}
