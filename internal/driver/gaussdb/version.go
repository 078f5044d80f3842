package gaussdb

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Kernel is the kernel number times 1000, as the server counts it (92848). It
// is an integer on purpose: as text 92.9 would come behind 92.10 (spec
// sections 1.4 and 10.2).
type Kernel int

// ParseKernel reads "92.848" or "92848".
func ParseKernel(s string) (Kernel, error) {
	whole, frac, dotted := strings.Cut(strings.TrimSpace(s), ".")
	if !dotted {
		n, err := strconv.Atoi(whole)
		if err != nil || n < 1000 || n > 9_999_999 {
			return 0, say.Errorf("%q is not a kernel number such as 92.848", "%q 不是形如 92.848 的内核版本号", s)
		}
		return Kernel(n), nil
	}
	if len(frac) == 0 || len(frac) > 3 || len(whole) == 0 || len(whole) > 4 {
		return 0, say.Errorf("%q is not a kernel number such as 92.848", "%q 不是形如 92.848 的内核版本号", s)
	}
	// The file holds number/1000: a trailing zero is lost there, 92.92 is 92920.
	frac += strings.Repeat("0", 3-len(frac))
	a, err1 := strconv.ParseUint(whole, 10, 16)
	b, err2 := strconv.ParseUint(frac, 10, 16)
	if err1 != nil || err2 != nil {
		return 0, say.Errorf("%q is not a kernel number such as 92.848", "%q 不是形如 92.848 的内核版本号", s)
	}
	return Kernel(a*1000 + b), nil
}

// Dotted writes it as version.cfg does: 92.848.
func (k Kernel) Dotted() string { return fmt.Sprintf("%d.%03d", k/1000, k%1000) }

// String writes it as option -u takes it: 92848.
func (k Kernel) String() string { return strconv.Itoa(int(k)) }

// Software is what version.cfg of a package, or upgrade_version of an
// installation, says (spec section 1.4).
type Software struct {
	Name    string // first line as it stands: "openGauss-Server-6.0.0", "3.0.0"
	Release string // the three numbers in it: "6.0.0"
	Kernel  Kernel
	Commit  string // eight characters
	Build   string // fourth line, from 6.0 on: release, debug, memcheck
}

var (
	threeNumbers = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+`)
	commitForm   = regexp.MustCompile(`^[0-9a-zA-Z]{8}$`)
)

// ParseSoftware reads version.cfg or upgrade_version. The errors carry the
// vendor's code for the same complaint.
func ParseSoftware(b []byte) (Software, error) {
	var lines []string
	for line := range strings.Lines(string(b)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) < 3 {
		return Software{}, say.Errorf("[GAUSS-50222] %d lines, three were expected: release, kernel number, commit", "[GAUSS-50222] 共 %d 行，应为三行：版本、内核版本号、commit", len(lines))
	}
	s := Software{Name: lines[0], Release: threeNumbers.FindString(lines[0]), Commit: lines[2]}
	if s.Release == "" {
		return Software{}, say.Errorf("[GAUSS-50222] line 1 %q holds no release such as 5.0.3", "[GAUSS-50222] 第 1 行 %q 中没有形如 5.0.3 的版本", lines[0])
	}
	k, err := ParseKernel(lines[1])
	if err != nil {
		return Software{}, say.Errorf("[GAUSS-51628] line 2: %w", "[GAUSS-51628] 第 2 行：%w", err)
	}
	s.Kernel = k
	if !commitForm.MatchString(s.Commit) {
		return Software{}, say.Errorf("[GAUSS-50222] line 3 %q is not a commit of eight characters", "[GAUSS-50222] 第 3 行 %q 不是八个字符的 commit", s.Commit)
	}
	if len(lines) > 3 {
		s.Build = lines[3]
	}
	return s, nil
}

// UpgradeVersion is the file as the installation keeps it: three lines.
func (s Software) UpgradeVersion() []byte {
	return fmt.Appendf(nil, "%s\n%s\n%s\n", s.Release, s.Kernel.Dotted(), s.Commit)
}

// Banner is what a tool says to -V, or the server to select version().
type Banner struct {
	Tool    string // gaussdb, gsql, cm_ctl; empty for select version()
	Product string // openGauss, "openGauss CM", "openGauss OM", MogDB
	Release string // 5.0.0, 6.0.0-RC1; empty for gs_ctl before 6.0
	Commit  string // the build; empty for gs_ctl before 6.0
	Build   string // release or debug, where it is told
}

var (
	fullBanner  = regexp.MustCompile(`(?m)^(?:PostgreSQL [0-9.]+ |([a-z_]+) )?\(([A-Za-z][A-Za-z ]*?) ([0-9]+(?:\.[0-9]+)+[0-9A-Za-z.\-]*) build ([0-9a-zA-Z]+)\) compiled at \S+ \S+(.*)$`)
	shortBanner = regexp.MustCompile(`(?m)^([a-z_]+) \(([A-Za-z]+)\) [0-9.]+\s*$`)
)

// ParseBanner reads the first banner in a tool's output; lines of other kinds
// before it (a warning of the loader) are passed over.
func ParseBanner(out string) (Banner, error) {
	if m := fullBanner.FindStringSubmatch(out); m != nil {
		b := Banner{Tool: m[1], Product: m[2], Release: m[3], Commit: m[4]}
		for _, mode := range []string{"release", "debug", "memcheck"} {
			if f := strings.Fields(m[5]); len(f) > 0 && f[len(f)-1] == mode {
				b.Build = mode
			}
		}
		return b, nil
	}
	if m := shortBanner.FindStringSubmatch(out); m != nil {
		return Banner{Tool: m[1], Product: m[2]}, nil
	}
	return Banner{}, say.Errorf("no version in %q", "%q 中没有版本号", clip(out))
}

// MixedLibraries reports that a tool runs with the library of another release:
// bin and lib were swapped one without the other (golden swap/009).
func MixedLibraries(out string) bool {
	return strings.Contains(out, "loaded mismatch the version of")
}

// clip shortens a text for an error.
func clip(s string) string {
	if r := []rune(strings.TrimSpace(s)); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return strings.TrimSpace(s)
}
