package dameng

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// disqlSettings make the output the same whatever glogin.sql and login.sql
// set before (spec/dameng.md 4.4). Passed on standard input before the statement.
const disqlSettings = "SET LINESHOW ON\nSET HEADING ON\nSET TIMING ON\nSET FEEDBACK 6\nSET LINESIZE 999\n"

// sqlError is an error of the server or of disql, told by its code.
type sqlError struct {
	Code int
	Text string
}

func (e *sqlError) Error() string { return fmt.Sprintf("[%d] %s", e.Code, e.Text) }

// Codes that decide something (spec/dameng.md 4.4).
const (
	codeNoServer  = -70028 // nothing listens: not started, or not yet
	codeLinkLost  = -70019
	codeNoTable   = -2106
	codeBadLogin  = -2501
	codeMounted   = -510
	codeForbidden = -720
)

func isCode(err error, codes ...int) bool {
	var e *sqlError
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

// table is a result: names of columns and rows of texts.
type table struct {
	cols []string
	rows [][]string
}

// get returns a value by row and column; "" when there is none.
func (t table) get(row int, col string) string {
	for i, c := range t.cols {
		if strings.EqualFold(c, col) && row < len(t.rows) && i < len(t.rows[row]) {
			return t.rows[row][i]
		}
	}
	return ""
}

func (t table) number(row int, col string) (int64, error) {
	v, err := strconv.ParseInt(t.get(row, col), 10, 64)
	if err != nil {
		return 0, say.Errorf("%s is %q, a number was expected", "%s 为 %q，应为数字", col, t.get(row, col))
	}
	return v, nil
}

var (
	reCode = regexp.MustCompile(`\[(-\d{1,6})\]\s*[:：]?\s*(.*)`)
	// "-2106 0 0.604 text" is what CTRL_INFO 2 prints; not asked for, but a site's glogin.sql may.
	reCtrl  = regexp.MustCompile(`^[A-Z]+ (-\d{3,6}) \d+ [\d.]+ (.*)$`)
	reTrail = regexp.MustCompile(`(?i)^(已用时间|used time)\s*[:：]`)
)

// acks are the words of a statement that was done, or that selected nothing.
var acks = []string{"操作已执行", "过程已成功完成", "影响行数", "executed successfully", "affect rows", "affected rows", "未选定行", "no rows"}

func isAck(line string) bool {
	line = strings.ToLower(line)
	return slices.ContainsFunc(acks, func(words string) bool { return strings.Contains(line, words) })
}

// isDashes tells the line under the names of the columns: dashes and blanks
// between them.
func isDashes(line []byte) bool {
	return len(line) > 0 && line[0] == '-' && len(bytes.Trim(bytes.TrimSpace(line), "- ")) == 0
}

// decodeText returns the output as UTF-8: disql writes UTF-8 or GBK.
func decodeText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	if out, err := simplifiedchinese.GBK.NewDecoder().Bytes(b); err == nil {
		return string(out)
	}
	return strings.ToValidUTF8(string(b), "?")
}

// parseOutput reads what disql printed for one statement. done tells whether
// the server acknowledged it, with a table, an empty result or in words.
func parseOutput(out []byte) (t table, done bool, err error) {
	lines := bytes.Split(bytes.ReplaceAll(out, []byte("\r\n"), []byte("\n")), []byte("\n"))
	for i, raw := range lines {
		line := strings.TrimSpace(decodeText(raw))
		if m := reCtrl.FindStringSubmatch(line); m != nil {
			return t, false, codeError(m[1], m[2])
		}
		if t.cols != nil {
			continue // its rows, which were read with it
		}
		if m := reCode.FindStringSubmatch(line); m != nil {
			return t, false, codeError(m[1], m[2])
		}
		switch {
		case i > 0 && isDashes(raw) && len(bytes.TrimSpace(lines[i-1])) > 0:
			t, err = parseTable(lines[i-1], raw, lines[i+1:])
			if err != nil {
				return t, false, err
			}
			done = true
		case isAck(line):
			done = true
		}
	}
	return t, done, nil
}

func codeError(code, text string) error {
	n, err := strconv.Atoi(code)
	if err != nil {
		return err
	}
	return &sqlError{Code: n, Text: strings.TrimRight(text, ".。")}
}

// parseTable cuts each line at the byte offsets of the dashes, which count
// bytes of the output's encoding, and only then reads the text: never at
// blanks, never by what a terminal would show (spec/dameng.md 4.4).
func parseTable(head, dashes []byte, body [][]byte) (table, error) {
	var t table
	spans := spansOf(dashes)
	names := cutLine(head, spans)
	first := 0
	if isRowNumber(names[0]) {
		first = 1
	}
	t.cols = names[first:]
	for _, raw := range body {
		text := strings.TrimSpace(decodeText(raw))
		if text == "" || reTrail.MatchString(text) {
			break
		}
		if len(t.rows) > 100000 {
			return t, say.Errorf("the result is too long", "结果过长")
		}
		t.rows = append(t.rows, cutLine(raw, spans)[first:])
	}
	return t, nil
}

func isRowNumber(name string) bool { return name == "行号" || strings.EqualFold(name, "LINEID") }

func spansOf(dashes []byte) [][2]int {
	var spans [][2]int
	for i := 0; i < len(dashes); {
		if dashes[i] != '-' {
			i++
			continue
		}
		from := i
		for i < len(dashes) && dashes[i] == '-' {
			i++
		}
		spans = append(spans, [2]int{from, i})
	}
	return spans
}

// cutLine cuts at the spans; the last column goes on to the end of the line.
func cutLine(line []byte, spans [][2]int) []string {
	out := make([]string, len(spans))
	for i, s := range spans {
		from, to := min(s[0], len(line)), min(s[1], len(line))
		if i == len(spans)-1 {
			to = len(line)
		}
		out[i] = strings.TrimSpace(decodeText(line[from:to]))
	}
	return out
}

// ask runs a SELECT.
func (n *node) ask(ctx context.Context, stmt string) (table, error) {
	t, done, err := n.disql(ctx, stmt, host.ReadOnly, time.Minute)
	if err == nil && !done {
		err = say.Errorf("%s: disql gave no result for %q", "%s：disql 对 %q 未返回结果", n.name, stmt)
	}
	return t, err
}

// tell runs statements that change something, in one session and in their
// order; the first error ends it.
func (n *node) tell(ctx context.Context, limit time.Duration, stmts ...string) error {
	for _, stmt := range stmts {
		_, done, err := n.disql(ctx, stmt, host.Changes, limit)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", n.name, stmt, err)
		}
		if !done {
			return say.Errorf("%s: disql did not confirm %q", "%s：disql 未确认 %q", n.name, stmt)
		}
	}
	return nil
}

// disql carries out one statement. Login and password travel on standard
// input (I10). The exit status of disql proves nothing; its output is read.
func (n *node) disql(ctx context.Context, stmt string, effect host.Effect, limit time.Duration) (table, bool, error) {
	login, err := n.login()
	if err != nil {
		return table{}, false, err
	}
	in := login + disqlSettings + stmt + ";\nEXIT\n"
	res, err := n.host.Run(ctx, host.Cmd{
		Argv: []string{n.bin("disql"), "-S", "/NOLOG"}, Stdin: strings.NewReader(in), Effect: effect, Timeout: limit,
	})
	out := res.Stdout
	var exit *host.ExitError
	if errors.As(err, &exit) {
		out = append(exit.Stdout, exit.Stderr...)
	} else if err != nil {
		return table{}, false, err
	}
	t, done, perr := parseOutput(out)
	if perr != nil {
		return t, done, perr
	}
	if exit != nil {
		return t, false, exit
	}
	return t, done, nil
}

// login is the CONN line.
func (n *node) login() (string, error) {
	at := "@127.0.0.1:" + n.port()
	if n.set["password_env"] == "" && n.set["password_file"] == "" {
		return "CONN /" + at + " AS SYSDBA\n", nil
	}
	password, err := n.Secret(n.name, "password")
	if err != nil {
		return "", say.Errorf("%s: password: %w", "%s：口令：%w", n.name, err)
	}
	if strings.ContainsAny(password, "\"\n\r") {
		return "", problem(n.name, say.F("disql cannot be given a password with a double quote or a line end", "口令含双引号或换行，无法传给 disql"), say.Text{})
	}
	return "CONN " + n.or("user", "SYSDBA") + `/"` + password + `"` + at + "\n", nil
}
