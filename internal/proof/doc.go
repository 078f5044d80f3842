// Package proof holds the tests that prove the tool as a whole: seeded runs of
// every driver over its simulated lab with faults at every place, and what
// must hold after each (docs/proof.md). It has no code of its own to import.
package proof
