// Package postgres makes practice clusters of real PostgreSQL servers: real
// streaming replication, real data, every node a machine of its own that is
// reached over ssh on loopback.
//
// A lab comes in two forms. Up leaves it behind with a daemon that holds the
// ssh servers; Down takes it away, also after a crash. Start holds the ssh
// servers in the calling process until Close, which tests use. The servers
// themselves are started by pg_ctl in both and outlive whoever started them.
package postgres
