package host

import (
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// Quote makes one line of argv that a POSIX shell splits into exactly argv again.
func Quote(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = quoteWord(w)
	}
	return strings.Join(words, " ")
}

func quoteWord(w string) string {
	if w != "" && strings.IndexFunc(w, unsafeRune) < 0 {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// unsafeRune reports whether r may mean something to a shell. The list is of
// what is harmless, so that a forgotten character is quoted, not obeyed.
func unsafeRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("_-./:,@%+", r)
}

// checkArgv refuses what no system call could pass on.
func checkArgv(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return say.Errorf("a command needs a program", "命令缺少程序名")
	}
	for _, w := range argv {
		if strings.ContainsRune(w, 0) {
			return say.Errorf("argument %q holds a zero byte", "参数 %q 含有零字节", w)
		}
	}
	return nil
}
