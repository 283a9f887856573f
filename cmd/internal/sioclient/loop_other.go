//go:build !linux

package sioclient

import "errors"

type loop struct{}

func newLoop(*Swarm) (*loop, error) { return nil, errors.ErrUnsupported }

func (*loop) run() {}
