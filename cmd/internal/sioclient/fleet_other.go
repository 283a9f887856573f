//go:build !linux

package sioclient

import (
	"context"
	"errors"
	"time"
)

// Fleet is a set of clients. It needs Linux.
type Fleet struct{}

// NewFleet fails.
func NewFleet(FleetOptions) (*Fleet, error) { return nil, errors.ErrUnsupported }

func (*Fleet) Run(context.Context)         {}
func (*Fleet) Do(func())                   {}
func (*Fleet) After(time.Duration, func()) {}
func (*Fleet) Connect(int)                 {}
func (*Fleet) Cut(int)                     {}
func (*Fleet) Emit(int, []byte) error      { return errors.ErrUnsupported }
func (*Fleet) Connected(int) bool          { return false }
func (*Fleet) Handshaking() int            { return 0 }
func (*Fleet) Close()                      {}
