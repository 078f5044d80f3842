package main

import (
	"testing"

	"github.com/shiplift/shiplift/internal/say"
)

// Whoever mistypes a setting is told so in his own language, whatever the driver.
func TestRefusedSettingsAreToldInBothLanguages(t *testing.T) {
	t.Parallel()
	for _, d := range drivers {
		for _, k := range d.Settings() {
			if k.Check == nil {
				continue
			}
			err := k.Check("no 'setting\ntakes this")
			if err == nil {
				t.Errorf("%s: the setting %s takes anything", d.Name(), k.Name)
				continue
			}
			if told := say.Of(err); told.In(say.Chinese) == told.EN {
				t.Errorf("%s: the setting %s is refused in English only: %s", d.Name(), k.Name, told.EN)
			}
		}
	}
}
