// Package gbase8a is a practice GBase 8a MPP Cluster V95: simulated machines
// with gcadmin, gcluster_services, gcware_services, python with the gcware
// module, gccli, gcmonit that revives, and the vendor's installer.
//
// It keeps the simulator contract of spec/gbase8a.md section 10: tables equal
// to the recorded ones to the byte, the asynchronous flush, leader terms, and
// the damage that the manual describes for whoever breaks a rule. What nobody
// has confirmed is marked [A] there and here.
//
// The services are processes of the machines and the snapshots are directories
// on their disks, so that power cuts, ps and find need no code of their own.
package gbase8a
