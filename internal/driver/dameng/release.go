package dameng

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/release"
	"github.com/shiplift/shiplift/internal/say"
)

// Where formats on disk change (spec/dameng.md 2.1); the same numbers stand in
// the catalogue, these are the ones that code has to compare with.
var (
	newRedo = release.V(8, 1, 1, 15)  // redo packages, Data Watch V4.0
	newRoll = release.V(8, 1, 1, 101) // rollback management segment
	newPage = release.V(8, 1, 1, 171) // page format
	newHuge = release.V(8, 1, 2, 101) // mixed MAIN
)

var (
	// "V7.6.0.145-Build(2019.03.20-104220)ENT", "V8.1.1.126-Build<2020.11.19-61560trunc>"
	inWords = regexp.MustCompile(`\bV(\d+\.\d+\.\d+\.\d+)(?:-Build|\b)`)
	// "--03134284294-20241009-244896-20119 Pack3", "03134284094-20230927-..."
	inNumber = regexp.MustCompile(`^-*(\d{2})(\d{9})-(\d{8})\b`)
	// "1-1-144-20.11.06-129436-ENT Pack1"
	inDashes = regexp.MustCompile(`^-*(\d)-(\d{1,3})-(\d{1,3})-\d{2}\.\d{2}\.\d{2}\b`)
	// "DB Version: 0x7000c"
	dbVersion = regexp.MustCompile(`(?i)\bDB Version:\s*0x([0-9a-f]+)`)
)

// DecodeRelease reads the release from a banner, from what SELECT ID_CODE
// answers, or from the first line of a vendor tool. DM8 writes its release
// only into ID_CODE; a line that holds none, or one in an unknown form, is an error.
func DecodeRelease(s string) (release.Version, error) {
	s = strings.TrimSpace(s)
	if m := inWords.FindStringSubmatch(s); m != nil {
		return release.Parse(m[1])
	}
	if m := inNumber.FindStringSubmatch(s); m != nil {
		n, err := strconv.ParseUint(m[2], 10, 32)
		major := int(n >> 24)
		if err != nil || major < 7 || major > 8 {
			return release.Version{}, say.Errorf("%q: %s is not the number of a release of DM7 or DM8", "%q：%s 不是 DM7 或 DM8 的版本号", s, m[2])
		}
		return release.V(major, int(n>>16&0xff), int(n>>8&0xff), int(n&0xff)), nil
	}
	if m := inDashes.FindStringSubmatch(s); m != nil && m[1] < "8" {
		return release.Parse("8." + m[1] + "." + m[2] + "." + m[3])
	}
	return release.Version{}, say.Errorf("%q names no release in a known form", "%q 不含已知形式的版本号", s)
}

// Banner is what V$VERSION tells.
type Banner struct {
	Release   release.Version // zero where the banner does not name it, as on DM8
	DBVersion uint32          // format of the pages; 0 when it is not told
}

// DecodeBanner reads the rows of V$VERSION by pattern: their number and order
// differ from build to build.
func DecodeBanner(rows []string) Banner {
	var b Banner
	for _, row := range rows {
		if m := dbVersion.FindStringSubmatch(row); m != nil {
			if n, err := strconv.ParseUint(m[1], 16, 32); err == nil {
				b.DBVersion = uint32(n)
			}
			continue
		}
		if v, err := DecodeRelease(row); err == nil && b.Release.IsZero() {
			b.Release = v
		}
	}
	return b
}

// IDCode writes a release as ID_CODE holds it, without build and date.
func IDCode(v release.Version) string {
	return fmt.Sprintf("03%d", v.Part(0)<<24|v.Part(1)<<16|v.Part(2)<<8|v.Part(3))
}
