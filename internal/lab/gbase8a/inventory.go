package gbase8a

import (
	"fmt"

	"github.com/shiplift/shiplift/internal/cluster"
)

// Inventory names the cluster as a user's file would: one node an instance.
// The machines are reached in process; Serve fills in ssh.
func (c *Cluster) Inventory() *cluster.Inventory {
	inv := &cluster.Inventory{Cluster: c.Config.Name, Driver: "gbase8a", Settings: cluster.Settings{
		"dba_user": dbaUser, "db_user": "root", "dba_password_env": "GBASE_DBA_PASSWORD", "db_password_env": "GBASE_DB_PASSWORD",
	}}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		s := cluster.Settings{}
		for k, v := range inv.Settings {
			s[k] = v
		}
		s["profile"] = n.Profile(c.Config)
		inv.Nodes = append(inv.Nodes, cluster.Node{Name: n.Name, Address: n.IP, Transport: "ssh", StateDir: ".shiplift/" + inv.Cluster + "/" + n.Name, Settings: s})
	}
	return inv
}

// Secret answers for the passwords that the inventory points to.
func Secret(_, setting string) (string, error) {
	switch setting {
	case "dba_password":
		return DBAPassword, nil
	case "db_password":
		return DBPassword, nil
	}
	return "", fmt.Errorf("the lab has no secret %q", setting)
}
