// Package target runs the servers that can be put to the test.
package target

import (
	"context"
	"syscall"
)

// Target is a server under test. It listens on one address for good, and can be ended and started again.
type Target interface {
	// Name says what it is, with its version.
	Name() string
	// Addr is where it takes clients.
	Addr() string
	// PublisherAddr is where it takes publishers; it is Addr unless it has more than one.
	PublisherAddr() string
	// Key goes into the Authorization header of publishers.
	Key() string
	// Start returns when the server answers. It may be called again after Stop.
	Start(ctx context.Context) error
	// Stop sends the signal and returns when the server is gone. A server that ignores the signal until ctx ends is
	// killed and reported.
	Stop(ctx context.Context, signal syscall.Signal) error
	// Failed is sent an error when the server ends though nobody stopped it.
	Failed() <-chan error
	// Close ends the server, if it runs, and removes what it left behind, unless it is to be kept.
	Close() error
}
