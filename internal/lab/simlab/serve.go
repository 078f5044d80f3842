package simlab

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/shiplift/shiplift/internal/lab"
)

// Serve is the cluster of the lab in dir until ctx ends, and does what is
// asked on the control socket. It is the daemon that Up leaves behind.
func Serve(ctx context.Context, dir string) (err error) {
	l, control, err := openServing(dir)
	if err := errors.Join(err, lab.Ready(err)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.hall.close()) }()
	return control.Serve(ctx, l.asked)
}

func openServing(dir string) (_ *Lab, _ *lab.Control, err error) {
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
	if l.hall, err = l.raise(); err != nil {
		return nil, nil, errors.Join(err, control.Close())
	}
	if err := l.State.SignIn(l.Dir); err != nil {
		return nil, nil, errors.Join(err, l.hall.close(), control.Close())
	}
	return l, control, nil
}

// request is what the daemon is asked to do: break a node, or only tell.
type request struct {
	Fault string `json:"fault,omitempty"`
	Node  string `json:"node,omitempty"`
}

// asked does what was asked and answers with what is then.
func (l *Lab) asked(_ context.Context, body json.RawMessage) (any, error) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	if req.Fault != "" {
		if err := l.hall.breakNode(req.Fault, req.Node); err != nil {
			return nil, err
		}
	}
	return l.hall.look(), nil
}
