package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/shiplift/shiplift/internal/say"
)

// Primary returns the one node that takes writes, and the others.
func (l *Lab) Primary(ctx context.Context) (primary string, others []string, err error) {
	for _, n := range l.spec.Nodes {
		answer, err := l.ask(ctx, n, "SELECT pg_is_in_recovery()::text")
		if err == nil && answer == "false" && primary != "" {
			return "", nil, fmt.Errorf("two nodes take writes: %s and %s", primary, n.Name)
		}
		if err == nil && answer == "false" {
			primary = n.Name
			continue
		}
		others = append(others, n.Name)
	}
	if primary == "" {
		return "", nil, &say.Problem{
			Place: l.Dir,
			Text:  say.F("no node takes writes", "没有可写节点"),
			Next:  say.F("shiplift lab status --dir %s", "shiplift lab status --dir %s", l.Dir),
		}
	}
	return primary, others, nil
}

// Follow makes a stopped node a standby of upstream and starts it: with a slot
// there, and without the slots it kept when others followed it.
func (l *Lab) Follow(ctx context.Context, node, upstream string) error {
	n, err1 := l.spec.node(node)
	up, err2 := l.spec.node(upstream)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if _, err := l.ask(ctx, up, `SELECT count(pg_create_physical_replication_slot($1, true))::text
		WHERE NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = $1)`, node); err != nil {
		return fmt.Errorf("make the slot of %s: %w", node, err)
	}
	s := l.server(n)
	if err := errors.Join(s.follow(up), s.start()); err != nil {
		return err
	}
	_, err := l.ask(ctx, n, "SELECT count(pg_drop_replication_slot(slot_name))::text FROM pg_replication_slots WHERE NOT active")
	return err
}
