package cluster_test

import (
	"testing"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/say"
)

func TestValuesOfSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		check     func(string) error
		good, bad []string
	}{
		"a path":                {cluster.AbsolutePath, []string{"/d", "/with blank"}, []string{"", "d", "/", "//", "/a\nb"}},
		"a path without blanks": {cluster.BlanklessPath, []string{"/d"}, []string{"", "/with blank", "/with\ttab", "d"}},
		"a port":                {cluster.PortNumber, []string{"1", "65535"}, []string{"", "0", "65536", "-1", "x"}},
		"a number":              {cluster.Number, []string{"0", "10240"}, []string{"", "-1", "1.5", "99999999999999"}},
		"one word":              {cluster.OneWord, []string{"mogha"}, []string{"", "two words", "a\n"}},
		"a duration":            {cluster.Span, []string{"90s", "1h30m"}, []string{"", "90", "0s", "-1m"}},
		"one of some words":     {cluster.OneOf("no", "discard"), []string{"no", "discard"}, []string{"", "yes"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, v := range c.good {
				if err := c.check(v); err != nil {
					t.Errorf("%q: %v", v, err)
				}
			}
			for _, v := range c.bad {
				err := c.check(v)
				if err == nil {
					t.Errorf("%q is taken", v)
					continue
				}
				if told := say.Of(err); told.In(say.Chinese) == told.EN {
					t.Errorf("%q: only told in English: %s", v, told.EN)
				}
			}
		})
	}
}
