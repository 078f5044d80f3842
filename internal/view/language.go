package view

import (
	"strings"

	"golang.org/x/text/language"

	"github.com/shiplift/shiplift/internal/say"
)

// Language picks the operator's language: the flag, SHIPLIFT_LANG, then the
// locale. A flag that names no language of the tool is an error.
func Language(flag string, env func(string) string) (say.Lang, error) {
	if flag != "" {
		lang, ok := match(flag)
		if !ok {
			return say.English, &say.Problem{
				Place: "--lang", Text: say.F("no language %q; expected en or zh", "没有语言 %q；应为 en 或 zh", flag),
				Next: say.F("shiplift --lang en …", "shiplift --lang zh …"),
			}
		}
		return lang, nil
	}
	for _, name := range []string{"SHIPLIFT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := env(name); v != "" {
			lang, _ := match(v)
			return lang, nil
		}
	}
	return say.English, nil
}

// match reads "zh", "zh-CN" and "zh_CN.UTF-8" alike.
func match(locale string) (say.Lang, bool) {
	name, _, _ := strings.Cut(locale, ".")
	name, _, _ = strings.Cut(name, "@")
	tag, err := language.Parse(strings.ReplaceAll(name, "_", "-"))
	if err != nil {
		return say.English, false
	}
	base, _ := tag.Base()
	switch base.String() {
	case "zh":
		return say.Chinese, true
	case "en":
		return say.English, true
	}
	return say.English, false
}
