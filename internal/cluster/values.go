package cluster

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/say"
)

// Expected is the error of a Key's Check: what should have stood there. The
// reader of the inventory adds the place and the value.
func Expected(en, zh string) error {
	return &say.Problem{Text: say.Text{EN: "expected " + en, ZH: "应为" + zh}}
}

// AbsolutePath accepts an absolute path on one line that is not the root.
func AbsolutePath(v string) error {
	if !path.IsAbs(v) || path.Clean(v) == "/" || strings.ContainsAny(v, "\n\r\x00") {
		return Expected("an absolute path", "绝对路径")
	}
	return nil
}

// BlanklessPath accepts an AbsolutePath without blanks, for tools and files
// that know no quotes.
func BlanklessPath(v string) error {
	if AbsolutePath(v) != nil || strings.ContainsAny(v, " \t") {
		return Expected("an absolute path without blanks", "不含空白的绝对路径")
	}
	return nil
}

// PortNumber accepts 1 to 65535.
func PortNumber(v string) error {
	if n, err := strconv.Atoi(v); err != nil || n < 1 || n > 65535 {
		return Expected("a port from 1 to 65535", " 1 到 65535 的端口")
	}
	return nil
}

// Number accepts zero and more.
func Number(v string) error {
	if n, err := strconv.ParseInt(v, 10, 40); err != nil || n < 0 {
		return Expected("a number", "数字")
	}
	return nil
}

// OneWord accepts anything without blanks.
func OneWord(v string) error {
	if v == "" || strings.ContainsAny(v, " \t\n\r\x00") {
		return Expected("one word", "一个不含空白的词")
	}
	return nil
}

// Span accepts a duration above zero.
func Span(v string) error {
	if d, err := time.ParseDuration(v); err != nil || d <= 0 {
		return Expected("a duration such as 90s or 5m", "时长，例如 90s 或 5m")
	}
	return nil
}

// OneOf accepts the allowed words.
func OneOf(allowed ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(allowed, v) {
			list := strings.Join(allowed, ", ")
			return Expected("one of "+list, "下列之一："+list)
		}
		return nil
	}
}
