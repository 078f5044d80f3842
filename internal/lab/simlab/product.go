// Package simlab serves the simulated products as labs: each simulated machine
// has an ssh server of its own on loopback, so that the whole tool works
// against it as against real hosts.
//
// A lab of this kind is a program's memory. The process that holds it (a
// daemon that [Up] leaves behind, or the caller of [Start]) is the cluster:
// when it ends, the cluster is gone and only files of the lab remain.
package simlab

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/say"
)

// Product is one simulated product. A new one is a file of this package with a
// value of this type, and a line in products.
type Product struct {
	Name  string   // of the driver
	About say.Text // one line for the help
	Flags []Flag   // beyond those that every lab has
	Own   []string // names in the lab's directory that Site.Files begins with
	// Faults are the product's own, beyond those of every machine.
	Faults []string
	// New makes a healthy cluster. It depends on nothing but the setup.
	New func(Setup) (*Site, error)
	// Packages writes the packages of releases that the cluster could go to.
	Packages func(a Args, dir string) ([]string, error)
}

// Flag is an option of a product's lab.
type Flag struct {
	Name    string
	Kind    Kind
	Default string
	Words   []string // the only values, when there are any
	Doc     say.Text
}

// Kind is what a flag takes.
type Kind int

// The kinds of flags. A List is written with commas.
const (
	Word Kind = iota
	Number
	Yes
	List
)

// Setup is what a cluster is made of.
type Setup struct {
	Args    Args
	Cluster string // its name
	Seed    uint64
}

// Args are the values of a product's flags, by name.
type Args map[string]string

// Int is the value of a Number.
func (a Args) Int(name string) int {
	n, _ := strconv.Atoi(a[name]) // complete has checked it
	return n
}

// Bool is the value of a Yes.
func (a Args) Bool(name string) bool { return a[name] == "true" }

// List is the value of a List.
func (a Args) List(name string) []string {
	return strings.FieldsFunc(a[name], func(r rune) bool { return r == ',' })
}

// Site is a simulated cluster, as far as a lab needs to know it. Its functions
// may be called at any time, one at a time.
type Site struct {
	World *sim.World
	// Inventory names the cluster by its simulated addresses; a setting X_env or
	// X_file whose X is among Secrets is pointed to the lab's file.
	Inventory *cluster.Inventory
	On        map[string]string // node → machine, where the names differ
	Secrets   map[string]string // by the setting's name
	Files     map[string]string // the vendor's own files, by path in the lab's directory
	Nodes     func() []Node     // what holds, node by node
	Damage    func() []string   // rules of the vendor's manual that were broken
	Break     func(fault, node string) error
}

// Node is what a simulated node is like, whatever its tools say.
type Node struct {
	Name      string `json:"name"`
	Role      string `json:"role"`      // empty when its server does not run
	Running   string `json:"running"`   // release of the running server
	Installed string `json:"installed"` // release of the files
	State     string `json:"state,omitempty"`
}

// machine is the machine of a node.
func (s *Site) machine(node string) *sim.Machine {
	if m, ok := s.On[node]; ok {
		node = m
	}
	return s.World.Machine(node)
}

// products are the simulated products. A new one is added here.
var products = byName(openGaussProduct, mogDBProduct, damengProduct, gbaseProduct)

func byName(all ...*Product) map[string]*Product {
	out := map[string]*Product{}
	for _, p := range all {
		out[p.Name] = p
	}
	return out
}

// Products are the names of the simulated products.
func Products() []string { return slices.Sorted(maps.Keys(products)) }

// Get returns a product, or nil.
func Get(name string) *Product { return products[name] }

// complete checks the arguments and fills the defaults in.
func (p *Product) complete(given Args) (Args, error) {
	out := Args{}
	for _, f := range p.Flags {
		v, ok := given[f.Name]
		if !ok {
			v = f.Default
		}
		if why := f.refuses(v); !why.IsZero() {
			return nil, p.usage("--"+f.Name, why)
		}
		out[f.Name] = v
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, known := out[name]; !known {
			return nil, p.usage("--"+name, say.F("a lab of %s has no such option", "%s 的演练环境没有该选项", p.Name))
		}
	}
	return out, nil
}

func (p *Product) usage(place string, text say.Text) error {
	return &say.Problem{Place: place, Text: text, Next: say.Same("shiplift lab up " + p.Name + " --help")}
}

func (f Flag) refuses(v string) say.Text {
	switch {
	case len(f.Words) > 0 && !slices.Contains(f.Words, v):
		return say.F("%q is not one of %s", "%q 不在可用值 %s 之中", v, strings.Join(f.Words, ", "))
	case f.Kind == Number:
		if n, err := strconv.Atoi(v); err != nil || n < 0 || n > maxNodes {
			return say.F("%q is not a number from 0 to %d", "%q 不是 0 到 %d 之间的数", v, maxNodes)
		}
	case f.Kind == Yes:
		if _, err := strconv.ParseBool(v); err != nil {
			return say.F("%q is neither true nor false", "%q 既不是 true 也不是 false", v)
		}
	}
	return say.Text{}
}

// maxNodes bounds every count of a lab.
const maxNodes = 32

// relabel gives the inventory the lab's ways to reach it.
func relabel(inv *cluster.Inventory, secrets map[string]string, file func(setting string) string) {
	apply := func(s cluster.Settings) {
		for name := range secrets {
			delete(s, name+"_env")
			s[name+"_file"] = file(name)
		}
	}
	if inv.Settings == nil {
		inv.Settings = cluster.Settings{}
	}
	apply(inv.Settings)
	for _, n := range inv.Nodes {
		apply(n.Settings)
	}
}

// node returns the inventory's node of that name.
func (s *Site) node(name string) error {
	if _, ok := s.Inventory.Node(name); ok {
		return nil
	}
	return &say.Problem{
		Place: "node " + name,
		Text:  say.F("no such node in this lab; it has %s", "演练环境中没有该节点；已有 %s", strings.Join(s.Inventory.Names(), ", ")),
		Next:  say.F("name one of them", "请指定其中之一"),
	}
}

// noFault is what Site.Break says about a fault that it does not know.
func noFault(name string) error { return fmt.Errorf("no fault %q", name) }
