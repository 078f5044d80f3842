package postgres

import (
	"context"
	"net"
	"time"
)

// Status is what a lab looks like now.
type Status struct {
	Dir       string       `json:"dir"`
	Cluster   string       `json:"cluster"`
	Inventory string       `json:"inventory"`
	Ready     bool         `json:"ready"`  // it was healthy once
	Daemon    bool         `json:"daemon"` // the process that holds the ssh servers runs
	Nodes     []NodeStatus `json:"nodes"`
}

// NodeStatus is what one node of a lab looks like now.
type NodeStatus struct {
	Name      string   `json:"name"`
	Port      int      `json:"port"`
	SSHPort   int      `json:"ssh_port"`
	SSH       bool     `json:"ssh"`     // its ssh server listens
	Running   bool     `json:"running"` // its server has a first process
	Role      string   `json:"role"`    // primary, standby, or empty when nobody answers
	Release   string   `json:"release"` // of the running server
	Position  string   `json:"position"`
	Streaming bool     `json:"streaming"` // receives from another node
	Followers int      `json:"followers"` // standbys that stream from it
	Faults    []string `json:"faults,omitempty"`
}

// GetStatus looks at the lab in dir.
func GetStatus(ctx context.Context, dir string) (Status, error) {
	l, err := Open(dir)
	if err != nil {
		return Status{}, err
	}
	return l.Status(ctx), nil
}

// Status looks at the lab.
func (l *Lab) Status(ctx context.Context) Status {
	s := Status{Dir: l.Dir, Cluster: l.State.Cluster, Inventory: l.Inventory, Ready: l.State.Ready}
	s.Daemon = l.machines != nil || l.State.Daemon != nil && l.State.Daemon.Alive()
	s.Nodes = make([]NodeStatus, len(l.spec.Nodes))
	index := map[string]int{}
	for i, n := range l.spec.Nodes {
		index[n.Name] = i
	}
	_ = each(l.spec.Nodes, func(n Node) error {
		s.Nodes[index[n.Name]] = l.nodeStatus(ctx, n)
		return nil
	})
	return s
}

func (l *Lab) nodeStatus(ctx context.Context, n Node) NodeStatus {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s := NodeStatus{Name: n.Name, Port: n.Port, SSHPort: n.SSHPort, SSH: listens(ctx, n.SSHPort), Faults: l.faults(n)}
	_, s.Running = l.server(n).postmaster()
	c, err := l.Connect(ctx, n.Name, Superuser)
	if err != nil {
		return s
	}
	defer c.Close(context.WithoutCancel(ctx))
	err = c.QueryRow(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END,
		split_part(current_setting('server_version'), ' ', 1),
		CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
		EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'),
		(SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming')`).
		Scan(&s.Role, &s.Release, &s.Position, &s.Streaming, &s.Followers)
	if err != nil {
		s.Role = "" // it went away while it was asked
	}
	return s
}

func listens(ctx context.Context, port int) bool {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address(port))
	if err != nil {
		return false
	}
	return c.Close() == nil
}
