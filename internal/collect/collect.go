// Package collect gathers what is needed to understand a cluster from afar:
// logs of a time, configuration without secrets, states, and the journals of
// Shiplift, in one archive. It only reads, and a node that is down costs its
// own part and nothing else.
package collect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// MaxFile bounds what is taken of one log: its end.
const MaxFile = 64 << 20

// Request says what is wanted.
type Request struct {
	Begin, End time.Time
	Nodes      []string // all when empty
	Own        []File   // of the control machine: journals, the log of commands
	// Hide masks secrets that are known by their value.
	Hide   func(string) string
	Report func(say.Text)
}

// File is one member of the archive.
type File struct {
	Name string
	Data []byte
}

// Node is what came of one node.
type Node struct {
	Name    string `json:"name"`
	Files   int    `json:"files"`
	Trouble string `json:"trouble,omitempty"`
}

// gatherer writes the archive.
type gatherer struct {
	Request
	env    driver.Env
	top    string
	tar    *tar.Writer
	detail strings.Builder
}

// Gather writes a tar.gz whose members lie below the directory top.
func Gather(ctx context.Context, env driver.Env, d driver.Driver, r Request, top string, out io.Writer) ([]Node, error) {
	z := gzip.NewWriter(out)
	g := &gatherer{Request: r, env: env, top: top, tar: tar.NewWriter(z)}
	for _, f := range r.Own {
		if err := g.put(f.Name, g.mask(f.Data)); err != nil {
			return nil, err
		}
	}
	c, knows := d.(driver.Collector)
	if !knows {
		g.note("-", "-", "driver "+d.Name()+" does not say what of a node is worth collecting: journals only")
	}
	var nodes []Node
	for _, n := range env.Inventory.Names() {
		if !knows || len(r.Nodes) > 0 && !slices.Contains(r.Nodes, n) {
			continue
		}
		node, err := g.node(ctx, c, n)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	if err := errors.Join(g.put("Detail.log", []byte(g.detail.String())), g.put("Summary.log", g.summary(nodes))); err != nil {
		return nil, err
	}
	return nodes, errors.Join(g.tar.Close(), z.Close(), context.Cause(ctx))
}

func (g *gatherer) summary(nodes []Node) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster  %s\nfrom     %s\nto       %s\n", g.env.Inventory.Cluster, g.Begin.Format(time.RFC3339), g.End.Format(time.RFC3339))
	for _, n := range nodes {
		how := "ok"
		if n.Trouble != "" {
			how = n.Trouble
		}
		fmt.Fprintf(&b, "node     %s  %d files  %s\n", n.Name, n.Files, how)
	}
	return []byte(b.String())
}

func (g *gatherer) note(node, what, how string) {
	fmt.Fprintf(&g.detail, "%s\t%s\t%s\n", node, what, strings.ReplaceAll(how, "\n", " "))
}

func (g *gatherer) mask(b []byte) []byte {
	b = Mask(b)
	if g.Hide != nil {
		b = []byte(g.Hide(string(b)))
	}
	return b
}

// put adds a member.
func (g *gatherer) put(name string, data []byte) error {
	h := &tar.Header{Name: path.Join(g.top, name), Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(data)), ModTime: g.env.Clock.Now()}
	if err := g.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := g.tar.Write(data)
	return err
}

// errDown ends the work on a node that does not answer.
var errDown = say.Errorf("down", "无应答")

// node gathers one node; the error is that of the archive.
func (g *gatherer) node(ctx context.Context, c driver.Collector, name string) (Node, error) {
	n := Node{Name: name}
	if g.Report != nil {
		g.Report(say.F("%s …", "%s …", name))
	}
	src, err := c.Collect(ctx, g.env, name)
	if err != nil {
		n.Trouble = say.Of(err).EN
		g.note(name, "-", n.Trouble)
		if down(err) {
			return n, nil
		}
	}
	for _, part := range []func() error{
		func() error { return g.states(ctx, &n, src.States) },
		func() error { return g.files(ctx, &n, src.Files) },
		func() error { return g.logs(ctx, &n, src.Logs) },
	} {
		if err := part(); errors.Is(err, errDown) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
	return n, nil
}

func down(err error) bool {
	var gone *host.UnreachableError
	return errors.As(err, &gone)
}

// trouble notes what could not be had; a node that is down is asked nothing more.
func (g *gatherer) trouble(n *Node, what string, err error) error {
	g.note(n.Name, what, say.Of(err).EN)
	if down(err) {
		n.Trouble = say.Of(err).EN
		return errDown
	}
	return nil
}

func (g *gatherer) keep(n *Node, name string, data []byte, how string) error {
	n.Files++
	g.note(n.Name, name, how)
	return g.put(path.Join(n.Name, name), g.mask(data))
}

// states keeps answers, also those of a tool that fails: that is one too.
func (g *gatherer) states(ctx context.Context, n *Node, questions []driver.Question) error {
	for _, q := range questions {
		q.Cmd.Effect, q.Cmd.Private = host.ReadOnly, true
		res, err := g.env.Hosts[n.Name].Run(ctx, q.Cmd)
		text := bytes.Join([][]byte{res.Stdout, res.Stderr}, nil)
		var exit *host.ExitError
		switch {
		case errors.As(err, &exit):
			text = append(bytes.Join([][]byte{exit.Stdout, exit.Stderr}, nil), fmt.Sprintf("\n(exit status %d)\n", exit.Code)...)
		case err != nil:
			if err := g.trouble(n, q.Name, err); err != nil {
				return err
			}
			continue
		}
		if err := g.keep(n, "systemfiles/"+q.Name+".txt", text, "asked"); err != nil {
			return err
		}
	}
	return nil
}

// neverTaken are keys and certificates, wherever they lie.
var neverTaken = regexp.MustCompile(`(?i)(\.key|\.key\.cipher|\.key\.rand|\.pem|\.p12|\.crt|\.cipher|\.rand)$`)

func (g *gatherer) files(ctx context.Context, n *Node, names []string) error {
	for _, name := range names {
		if neverTaken.MatchString(name) {
			continue
		}
		b, err := g.read(ctx, n.Name, name, MaxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			if err := g.trouble(n, name, err); err != nil {
				return err
			}
			continue
		}
		if err := g.keep(n, "configfiles"+name, b, "copied"); err != nil {
			return err
		}
	}
	return nil
}

// read takes the end of a file.
func (g *gatherer) read(ctx context.Context, node, name string, most int64) ([]byte, error) {
	h := g.env.Hosts[node]
	if there, err := host.Exists(ctx, h, name); err != nil {
		return nil, err
	} else if !there {
		return nil, fs.ErrNotExist
	}
	c := host.Read("tail", "-c", strconv.FormatInt(most, 10), name)
	c.Private, c.Timeout = true, 10*time.Minute
	res, err := h.Run(ctx, c)
	return res.Stdout, err
}

// written is a file below a directory of logs.
type written struct {
	name string
	size int64
	last time.Time
}

func (g *gatherer) logs(ctx context.Context, n *Node, dirs []string) error {
	for _, dir := range dirs {
		if there, err := host.Exists(ctx, g.env.Hosts[n.Name], dir); err != nil || !there {
			if err != nil {
				if err := g.trouble(n, dir, err); err != nil {
					return err
				}
			}
			continue
		}
		c := host.Read("find", dir, "-type", "f", "-printf", "%T@ %s %p\n")
		c.Timeout = 10 * time.Minute
		res, err := g.env.Hosts[n.Name].Run(ctx, c)
		var exit *host.ExitError
		if errors.As(err, &exit) { // some directory below could not be read: what was found counts
			g.note(n.Name, dir, string(exit.Stderr))
			res.Stdout, err = exit.Stdout, nil
		}
		if err != nil {
			if err := g.trouble(n, dir, err); err != nil {
				return err
			}
			continue
		}
		if err := g.take(ctx, n, g.wanted(string(res.Stdout))); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) take(ctx context.Context, n *Node, files []written) error {
	for _, f := range files {
		b, err := g.read(ctx, n.Name, f.name, MaxFile)
		if err != nil {
			if err := g.trouble(n, f.name, err); err != nil {
				return err
			}
			continue
		}
		how := "copied"
		if f.size > MaxFile {
			how = fmt.Sprintf("the last %d of %d bytes", MaxFile, f.size)
		}
		if err := g.keep(n, "logfiles"+f.name, b, how); err != nil {
			return err
		}
	}
	return nil
}

// wanted are the files that can hold something of the time: last written since
// its begin, and not begun after its end, where the name tells that.
func (g *gatherer) wanted(out string) []written {
	var files []written
	for line := range strings.Lines(out) {
		f, ok := parseWritten(strings.TrimRight(line, "\n"))
		if !ok || neverTaken.MatchString(f.name) || f.last.Before(g.Begin) {
			continue
		}
		if at, told := begun(f.name, g.Begin.Location()); told && at.After(g.End) {
			continue
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b written) int { return strings.Compare(a.name, b.name) })
	return files
}

func parseWritten(line string) (written, bool) {
	when, rest, ok1 := strings.Cut(line, " ")
	size, name, ok2 := strings.Cut(rest, " ")
	whole, _, _ := strings.Cut(when, ".")
	sec, err1 := strconv.ParseInt(whole, 10, 64)
	bytes, err2 := strconv.ParseInt(size, 10, 64)
	// A file counts as written until the end of its second.
	return written{name, bytes, time.Unix(sec+1, -1)}, ok1 && ok2 && err1 == nil && err2 == nil && name != ""
}

// stamp is the time in names like postgresql-2020-07-24_000000.log and
// gs_om-2020-07-24_101500.log.
var stamp = regexp.MustCompile(`-(\d{4}-\d{2}-\d{2}_\d{6})`)

func begun(name string, loc *time.Location) (time.Time, bool) {
	m := stamp.FindStringSubmatch(path.Base(name))
	if m == nil {
		return time.Time{}, false
	}
	at, err := time.ParseInLocation("2006-01-02_150405", m[1], loc)
	return at, err == nil
}
