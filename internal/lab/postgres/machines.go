package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	gossh "golang.org/x/crypto/ssh"

	"github.com/shiplift/shiplift/internal/lab/sshd"
)

// machines is the ssh servers of a lab's nodes, each a machine of its own.
type machines struct {
	servers map[string]*sshd.Server
	held    held
}

// openMachines starts an ssh server for each node on its recorded port.
func (l *Lab) openMachines() (*machines, error) {
	client, err := sshd.KeyFile(filepath.Join(l.Dir, sshDir, clientKey))
	if err != nil {
		return nil, err
	}
	m := &machines{servers: map[string]*sshd.Server{}}
	for _, n := range l.spec.Nodes {
		key, err := sshd.KeyFile(l.hostKeyFile(n))
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		s, err := sshd.Start(sshd.Config{
			Addr: address(n.SSHPort), HostKey: key, Authorized: []gossh.PublicKey{client.PublicKey()},
			User: l.spec.Account.Name, Machine: l.machine(n),
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", n.Name, err), m.close())
		}
		m.servers[n.Name] = s
	}
	return m, nil
}

// machine is a node as its logins see it: this operating system with the
// node's home and, in front of the usual ones, the node's own tools.
func (l *Lab) machine(n Node) *sshd.OSMachine {
	acc := l.spec.Account
	m := &sshd.OSMachine{Home: n.Home, Env: []string{
		"HOME=" + n.Home, "USER=" + acc.Name, "LOGNAME=" + acc.Name, "SHELL=/bin/sh",
		"PATH=" + n.Tools + string(os.PathListSeparator) + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}}
	if acc.Drop {
		m.Credential = acc.credential()
	}
	return m
}

// close ends all ssh servers and waits for what they run.
func (m *machines) close() error {
	m.held.close()
	var errs []error
	for _, s := range m.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// SSH returns the ssh server of a node of a lab made by Start, for link faults
// that are finer than Break's; nil for any other.
func (l *Lab) SSH(node string) *sshd.Server {
	if l.machines == nil {
		return nil
	}
	return l.machines.servers[node]
}

func (m *machines) cut(node string) error     { m.servers[node].Cut(); return nil }
func (m *machines) restore(node string) error { m.servers[node].Restore(); return nil }
func (m *machines) freeze(node string) error  { m.servers[node].Freeze(); return nil }
