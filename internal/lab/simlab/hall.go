package simlab

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	gossh "golang.org/x/crypto/ssh"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/lab"
	"github.com/shiplift/shiplift/internal/lab/sim"
	"github.com/shiplift/shiplift/internal/lab/sshd"
)

const (
	secretsDir = "secrets"
	sshDir     = "ssh"
	clientKey  = "id_ed25519"
	knownHosts = "known_hosts"
	sshConfig  = "config"
)

// hall is the machines of a lab with their ssh servers: the lab itself.
type hall struct {
	site    *Site
	servers map[string]*sshd.Server // by machine

	mu     sync.Mutex
	broken map[string][]string // faults of each machine that nobody has ended
	disk   map[string]int64    // sizes of the disks that are full
}

// raise makes the cluster, lets it be reached over ssh and writes down how.
func (l *Lab) raise() (_ *hall, err error) {
	site, err := l.site()
	if err != nil {
		return nil, err
	}
	h := &hall{site: site, servers: map[string]*sshd.Server{}, broken: map[string][]string{}, disk: map[string]int64{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	client, err := sshd.KeyFile(l.ssh(clientKey))
	if err != nil {
		return nil, err
	}
	for _, m := range site.World.Machines() {
		key, err := sshd.KeyFile(l.ssh("host_" + m.Name()))
		if err != nil {
			return nil, err
		}
		h.servers[m.Name()], err = sshd.Start(sshd.Config{
			HostKey: key, Authorized: []gossh.PublicKey{client.PublicKey()}, User: m.Login, Machine: sim.Serve(m),
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name(), err)
		}
	}
	if err := l.write(h); err != nil {
		return nil, err
	}
	site.World.NoTrace() // it would grow for as long as the lab stands
	site.World.FollowRealTime(l.spec.Speed)
	return h, nil
}

func (h *hall) close() error {
	var errs []error
	for _, s := range h.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (l *Lab) ssh(name string) string { return filepath.Join(l.Dir, sshDir, name) }

func (l *Lab) secret(setting string) string { return filepath.Join(l.Dir, secretsDir, setting) }

// write writes all files that say how to reach the cluster.
func (l *Lab) write(h *hall) error {
	for name, value := range h.site.Secrets {
		if err := os.WriteFile(l.secret(name), []byte(value+"\n"), 0o600); err != nil {
			return err
		}
	}
	for name, body := range h.site.Files {
		path := filepath.Join(l.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			return err
		}
	}
	var known strings.Builder
	for _, m := range h.site.World.Machines() {
		known.WriteString(h.servers[m.Name()].KnownHosts())
	}
	if err := os.WriteFile(l.ssh(knownHosts), []byte(known.String()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(l.ssh(sshConfig), []byte(l.clientConfig(h)), 0o644); err != nil {
		return err
	}
	return l.writeInventory(h)
}

// clientConfig lets ssh and every program that reads its configuration reach
// the machines by the names and addresses that they have in the simulated world.
func (l *Lab) clientConfig(h *hall) string {
	names := map[string][]string{}
	for _, n := range h.site.Inventory.Nodes {
		m := h.site.machine(n.Name).Name()
		names[m] = append(names[m], n.Name, n.Address)
	}
	var b strings.Builder
	for _, m := range h.site.World.Machines() {
		all := append(names[m.Name()], m.Name(), m.Address)
		slices.Sort(all)
		fmt.Fprintf(&b, "Host %s\n  HostName 127.0.0.1\n  Port %d\n  User %s\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n\n",
			strings.Join(slices.Compact(all), " "), h.servers[m.Name()].Port(), m.Login, quoteConfig(l.ssh(clientKey)), quoteConfig(l.ssh(knownHosts)))
	}
	return b.String()
}

// quoteConfig writes a path as ssh_config wants it.
func quoteConfig(path string) string {
	if strings.ContainsAny(path, " \t") {
		return strconv.Quote(path)
	}
	return path
}

// writeInventory writes the file that names the cluster.
func (l *Lab) writeInventory(h *hall) error {
	inv := h.site.Inventory
	relabel(inv, h.site.Secrets, l.secret)
	for i := range inv.Nodes {
		n := &inv.Nodes[i]
		m := h.site.machine(n.Name)
		if m == nil {
			return fmt.Errorf("node %s has no machine", n.Name)
		}
		n.Transport = cmp.Or(n.Transport, "ssh")
		n.SSH = cluster.SSH{
			Host: "127.0.0.1", Port: h.servers[m.Name()].Port(), User: m.Login,
			IdentityFile: l.ssh(clientKey), KnownHosts: l.ssh(knownHosts),
		}
	}
	return cluster.Write(filepath.Join(l.Dir, lab.InventoryFile), inv)
}
