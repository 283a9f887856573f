//go:build !linux

package engineio

// poller exists on Linux. Elsewhere each connection that waits has a goroutine.
type poller struct{}

type watched struct{}

func newPoller() *poller { return nil }

func (*poller) run()                 {}
func (*poller) close()               {}
func (*poller) park(*conn, int) bool { return false }
func (*poller) remove(*conn)         {}
