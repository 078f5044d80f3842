package host

import (
	"fmt"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/say"
)

// Connect prepares the machines of a cluster. Nothing is dialled yet. defaults
// holds what is the same for all of them; the inventory's own words win.
func Connect(inv *cluster.Inventory, defaults SSHConfig) (Set, error) {
	set := make(Set, len(inv.Nodes))
	for _, n := range inv.Nodes {
		switch n.Transport {
		case "local":
			set[n.Name] = NewLocal(n.Name)
		case "ssh", "":
			set[n.Name] = NewSSH(sshConfig(n, defaults))
		default:
			return nil, &say.Problem{
				Place: fmt.Sprintf("%s: node %s", inv.Path, n.Name),
				Text:  say.F("unknown transport %q", "未知的连接方式 %q", n.Transport),
				Next:  say.F("use ssh or local", "请使用 ssh 或 local"),
			}
		}
	}
	return set, nil
}

func sshConfig(n cluster.Node, c SSHConfig) SSHConfig {
	c.Node = n.Name
	c.Host = first(n.SSH.Host, n.Address)
	c.User = first(n.SSH.User, c.User)
	c.IdentityFile = first(n.SSH.IdentityFile, c.IdentityFile)
	c.KnownHosts = first(n.SSH.KnownHosts, c.KnownHosts)
	c.ConfigFile = first(n.SSH.ConfigFile, c.ConfigFile)
	if n.SSH.Port != 0 {
		c.Port = n.SSH.Port
	}
	return c
}
