// Package gaussdb holds what the drivers of openGauss and MogDB share: readers
// for the output of the vendor's tools, for the files of a data directory and
// of a package, and the way to run a tool in the cluster user's environment.
//
// The readers are pure: text in, facts out. They merge both streams, since
// gs_ctl writes everything to standard output and gs_guc half to standard
// error, and since that differs between builds (spec/opengauss.md, "Seen on the
// real server"). No reader trusts an exit code or a word of success: of eight
// tools five end with 0 after a failure.
package gaussdb
