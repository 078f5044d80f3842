package postgres

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestTheReleaseIsFoundInTheServerProgram(t *testing.T) {
	t.Parallel()
	filler := strings.Repeat("postgres (Postgre\x00", 9000)
	tests := map[string]struct{ body, want string }{
		"as it is built":                {filler + "postgres (PostgreSQL) 15.17\n\x00" + filler, "15.17"},
		"as Debian builds it":           {filler + "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", "15.18"},
		"at the very end":               {"postgres (PostgreSQL) 17.9\n", "17.9"},
		"a sentence that is no release": {"postgres (PostgreSQL) %s\n" + filler, ""},
		"cut off behind the mark":       {filler + "postgres (PostgreSQL) 15", ""},
		"not there":                     {filler, ""},
		"an empty file":                 {"", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for way, r := range map[string]io.Reader{"whole": strings.NewReader(tc.body), "in halves": iotest.HalfReader(strings.NewReader(tc.body)), "byte by byte": iotest.OneByteReader(bytes.NewReader([]byte(tc.body)))} {
				if got, err := releaseIn(r); err != nil || got != tc.want {
					t.Errorf("%s: got %q, %v; want %q", way, got, err, tc.want)
				}
			}
		})
	}
}
