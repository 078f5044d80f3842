package collect

import "regexp"

// secret is the value of a word that names a password, in settings, connection
// strings, statements and command lines.
var secret = []struct {
	re   *regexp.Regexp
	repl string
}{
	{regexp.MustCompile(`(?i)\b([a-z0-9_.]*(?:password|passwd|passphrase|secret|token|access_key|private_key))(["']?\s*[=:]\s*|\s+)('(?:[^'\n]|'')*'|"[^"\n]*"|[^\s,;&'"]+)`), "${1}${2}***"},
	{regexp.MustCompile(`(?i)\b(identified\s+by|replace)(\s+)('(?:[^'\n]|'')*'|"[^"\n]*")`), "${1}${2}***"},
	{regexp.MustCompile(`://([^:/@\s]+):[^@/\s]+@`), "://${1}:***@"},
}

// Mask hides what looks like a secret. It hides a word too many rather than one
// too few: a DBA sends the archive to somebody else.
func Mask(text []byte) []byte {
	for _, s := range secret {
		text = s.re.ReplaceAll(text, []byte(s.repl))
	}
	return text
}
