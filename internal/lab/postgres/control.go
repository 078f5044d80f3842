package postgres

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/shiplift/shiplift/internal/lab"
)

// Serve holds the ssh servers of the lab in dir until ctx ends, and does what
// is asked on the control socket. It is the daemon that Up leaves behind.
func Serve(ctx context.Context, dir string) (err error) {
	l, control, err := openServing(dir)
	if err := errors.Join(err, lab.Ready(err)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.machines.close()) }()
	return control.Serve(ctx, l.asked)
}

func openServing(dir string) (*Lab, *lab.Control, error) {
	l, err := Open(dir)
	if err != nil {
		return nil, nil, err
	}
	if err := l.State.Held(l.Dir); err != nil {
		return nil, nil, err
	}
	control, err := lab.ListenControl(l.Dir)
	if err != nil {
		return nil, nil, err
	}
	if l.machines, err = l.openMachines(); err != nil {
		return nil, nil, errors.Join(err, control.Close())
	}
	if err := l.State.SignIn(l.Dir); err != nil {
		return nil, nil, errors.Join(err, l.machines.close(), control.Close())
	}
	return l, control, nil
}

// request is what the daemon is asked to do.
type request struct {
	Node  string `json:"node"`
	Fault Fault  `json:"fault"`
}

func (l *Lab) asked(ctx context.Context, body json.RawMessage) (any, error) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	return nil, l.doHere(ctx, req)
}
