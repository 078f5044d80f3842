package gaussdb

import (
	"regexp"
	"slices"
	"strings"
)

// ParseTuples reads rows of gsql -tA: one line a row, columns parted by "|".
func ParseTuples(out string) [][]string {
	var rows [][]string
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		rows = append(rows, strings.Split(line, "|"))
	}
	return rows
}

var sqlTrouble = regexp.MustCompile(`(?m)^(?:gsql:[^\n]*?: |)(ERROR|FATAL|PANIC):  .*$|^(?:gsql: |failed to connect|could not connect|\(connect to V).*$`)

// troubleWords: a text without all of them has no line of sqlTrouble.
var troubleWords = []string{"ERROR", "FATAL", "PANIC", "gsql: ", "connect"}

// SQLErrors returns the lines in which gsql, or the server through it,
// complains. gsql -c ends with 0 after a failing statement (golden 5.0.0/101),
// so these lines decide and not the exit status.
func SQLErrors(out string) []string {
	if !slices.ContainsFunc(troubleWords, func(w string) bool { return strings.Contains(out, w) }) {
		return nil // most answers: no need to ask the expression
	}
	var errs []string
	for _, line := range sqlTrouble.FindAllString(out, -1) {
		errs = append(errs, strings.TrimSpace(line))
	}
	return errs
}
