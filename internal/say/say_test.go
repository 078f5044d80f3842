package say_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/say"
)

func TestErrorsAreToldInBothLanguages(t *testing.T) {
	t.Parallel()
	full := say.Errorf("the disk is full", "磁盘已满")
	for name, c := range map[string]struct {
		err  error
		want say.Text
	}{
		"a sentence":           {full, say.Text{EN: "the disk is full", ZH: "磁盘已满"}},
		"with arguments":       {say.Errorf("%s holds %d files", "%[2]d 个文件在 %[1]s 中", "/d", 3), say.Text{EN: "/d holds 3 files", ZH: "3 个文件在 /d 中"}},
		"with a cause":         {say.Errorf("%s: write: %w", "%s：写入：%w", "db1", full), say.Text{EN: "db1: write: the disk is full", ZH: "db1：写入：磁盘已满"}},
		"a cause of a library": {say.Errorf("write: %w", "写入：%w", io.EOF), say.Text{EN: "write: EOF", ZH: "写入：EOF"}},
		"a name in front":      {fmt.Errorf("db1: %w", full), say.Text{EN: "db1: the disk is full", ZH: "db1: 磁盘已满"}},
		"two at once":          {errors.Join(full, io.EOF, full), say.Text{EN: "the disk is full\nEOF\nthe disk is full", ZH: "磁盘已满\nEOF\n磁盘已满"}},
		"a problem in front": {fmt.Errorf("db1: %w", &say.Problem{Place: "a.yaml:3", Text: say.F("bad", "有误"), Err: full}),
			say.Text{EN: "db1: a.yaml:3: bad: the disk is full", ZH: "db1: a.yaml:3：有误：磁盘已满"}},
		"one of a library": {io.EOF, say.Same("EOF")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, say.Of(c.err)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := fmt.Errorf("again: %w", say.Errorf("write: %w", "写入：%w", io.EOF)); !errors.Is(err, io.EOF) {
		t.Error("the cause is not found")
	}
}
