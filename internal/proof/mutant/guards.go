package main

import "regexp"

// fields are the packages whose guards are found by what they say.
var fields = []field{
	{product: "gbase8a", dir: "internal/driver/gbase8a", rule: ruleOr(`G[0-9]{2}`), kinds: "actions", asks: true},
	{product: "mogdb", dir: "internal/driver/mogdb", rule: ruleOr(`M[0-9]{2}`), kinds: "actions", asks: true},
	{product: "dameng", dir: "internal/driver/dameng", rule: ruleOr(`DM-[0-9]{3}`), kinds: "deeds", asks: true},
	{product: "opengauss", dir: "internal/driver/opengauss", rule: ruleOr(`GAUSS-[0-9]{5}|OG-[0-9]{3}`), kinds: "actions", asks: true},
	{product: "postgres", dir: "internal/driver/postgres", rule: ruleOr(`PG-[0-9]+`), kinds: "actions", asks: true},
	{product: engine, dir: "internal/run", rule: ruleOr(`I0`)},
	{product: engine, dir: "internal/journal", rule: ruleOr(`I0`)},
	{product: engine, dir: "internal/host", rule: ruleOr(`I0`)},
	{product: engine, dir: "internal/plan", rule: ruleOr(`I0`)},
}

// engine is what is common to all drivers.
const engine = "engine"

// ruleOr matches a product's rules and the invariants of docs/architecture.md.
func ruleOr(own string) *regexp.Regexp {
	return regexp.MustCompile(`\b(?:` + own + `|I(?:[1-9]|10))\b`)
}

// moreSuites are asked behind the tests of the guard's own package.
var moreSuites = map[string][]string{
	"dameng":    {"internal/driver/dameng"},
	"opengauss": {"internal/driver/opengauss"},
	"mogdb":     {"internal/driver/mogdb"},
	"postgres":  {"internal/driver/postgres"},
	engine:      {"internal/run", "internal/driver/drivertest", "internal/driver/gbase8a"},
}

// slowTests are left out: they need real servers or real time, and the same
// is asked in simulation.
var slowTests = map[string]*regexp.Regexp{
	"internal/driver/postgres": regexp.MustCompile(`^TestReal`),
}
