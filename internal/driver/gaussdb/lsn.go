package gaussdb

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// LSN is a position in the log.
type LSN uint64

// ParseLSN reads "0/4000148". As text 0/9 would come behind 0/10.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(strings.TrimSpace(s), "/")
	h, err1 := strconv.ParseUint(hi, 16, 32)
	l, err2 := strconv.ParseUint(lo, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, say.Errorf("%q is not a log position such as 0/4000148", "%q 不是形如 0/4000148 的日志位置", s)
	}
	return LSN(h<<32 | l), nil
}

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint64(l)&0xffffffff) }
