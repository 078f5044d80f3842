package main

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// file is the generated file of a package.
func (h *helper) file() []byte {
	var b strings.Builder
	if h.waits {
		for _, p := range []string{"context", module + "/internal/say", module + "/internal/wait", module + "/internal/proof/mutant/cut"} {
			h.imports[p] = true
		}
	}
	fmt.Fprintf(&b, "package %s\n\nimport (\n", h.pkg)
	for _, p := range slices.Sorted(maps.Keys(h.imports)) {
		fmt.Fprintf(&b, "\t%q\n", p)
	}
	b.WriteString(")\n\n")
	if h.waits {
		b.WriteString(waitWrapper)
	}
	b.WriteString(h.text.String())
	return []byte(b.String())
}

const waitWrapper = `type cutWait = func(context.Context, wait.Clock, wait.Spec, func(say.Text), func(context.Context) (wait.Look, error)) error

func cutFor(n int, whole cutWait) cutWait {
	return func(ctx context.Context, clk wait.Clock, s wait.Spec, report func(say.Text), look func(context.Context) (wait.Look, error)) error {
		if !cut.Out(n) {
			return whole(ctx, clk, s, report, look)
		}
		_, err := look(ctx)
		return err
	}
}

`

// copies are the files of the overlay: name in the tree → text.
func (s *set) copies() map[string][]byte {
	out := map[string][]byte{}
	for name, src := range s.sources {
		if len(src.edits) > 0 {
			out[name] = src.result()
		}
	}
	for dir, h := range s.helpers {
		out[path.Join(dir, "zz_cut.go")] = h.file()
	}
	return out
}
