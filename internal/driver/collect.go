package driver

import (
	"context"

	"github.com/shiplift/shiplift/internal/host"
)

// Collector is a Driver that knows what of a node is worth looking at when
// something went wrong (shiplift collect). All of it is only read. What a node
// that answers in part can still say is returned beside the error.
type Collector interface {
	Collect(ctx context.Context, env Env, node string) (Sources, error)
}

// Sources are what a node keeps.
type Sources struct {
	Logs   []string   // directories: the files below them that were written in the wanted time
	Files  []string   // configuration; secrets in it are masked
	States []Question // what the node is asked
}

// Question is a command that only reads; its answer is kept under the name.
type Question struct {
	Name string
	Cmd  host.Cmd
}
