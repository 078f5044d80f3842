// Package gbase8a upgrades GBase 8a MPP Cluster V95: the forced gcware
// snapshot flush and the vendor's upgrade around it.
//
// Facts come from spec/gbase8a.md; a rule is named by its id there (G01…G34).
// Things nobody has confirmed are marked [A] in comments and are settings or
// options wherever a site may find them different.
//
// An inventory node is one instance: one address that gcadmin shows. On V953
// several instances may live on one machine, each with its own profile, so
// nothing here counts machines (spec section 11, item 6).
package gbase8a
