package view

import (
	"strings"
	"testing"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/say"
)

func TestWhatSeveralNodesHaveInCommonIsSaidOnce(t *testing.T) {
	t.Parallel()
	finding := func(node, says string) check.Finding {
		return check.Finding{ID: "package", Severity: check.Block, Node: node, Says: say.Same(says), Next: say.Same("--package")}
	}
	fs := []check.Finding{finding("db1", "none was given"), finding("db2", "for another machine"), finding("db3", "none was given"), finding("", "whole cluster")}
	s, out, talk := screen(say.English, Human)
	s.Findings(fs)
	s.TalkFindings(fs)
	for name, text := range map[string]string{"table": out.String(), "talk": talk.String()} {
		if n := strings.Count(text, "none was given"); n != 1 || !strings.Contains(text, "db1, db3") {
			t.Errorf("%s: said %d times:\n%s", name, n, text)
		}
		if !strings.Contains(text, "db2") || !strings.Contains(text, "whole cluster") {
			t.Errorf("%s: something is missing:\n%s", name, text)
		}
	}
	if !strings.Contains(out.String(), "4 block") {
		t.Errorf("each finding counts:\n%s", out)
	}
}
