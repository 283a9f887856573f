// Package memlimit tells Go's garbage collector how much memory the process may have, which Go does not find out by
// itself: without a limit the heap may grow to twice what is in use, and past what the container is allowed, although
// collecting earlier would have kept the process alive.
package memlimit

import (
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
)

// share is how much of the cgroup's memory is for Go, in percent. The rest is for what its limit does not count: the
// pages of the data file that are mapped and cannot be given back at once, and the kernel's buffers of sockets.
const share = 90

// least is the smallest limit that is set, in bytes. Below it the collector would do nothing but collect.
const least = 32 << 20

// Limit is what was found and done.
type Limit struct {
	// Bytes is the limit that Go has been given; 0 if none was set, because there is no cgroup's limit or the operator
	// has chosen one.
	Bytes int64
	// Cgroup is the cgroup's own limit, in bytes; 0 if it has none.
	Cgroup int64
	// Chosen says that the operator has set GOMEMLIMIT, which is left as it is.
	Chosen bool
}

// Apply sets the limit to 90 % of the memory that the process's cgroup, and those around it, allow. It does nothing if
// GOMEMLIMIT is set, and GOGC is never touched: the two work together. It is to be called once, at the start.
// An error means that there may be a limit that could not be read; nothing was set then.
func Apply() (Limit, error) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return Limit{Chosen: true}, nil
	}
	return apply(os.DirFS("/"), func(bytes int64) { debug.SetMemoryLimit(bytes) })
}

func apply(root fs.FS, set func(bytes int64)) (Limit, error) {
	cgroup, err := cgroupLimit(root)
	if err != nil {
		return Limit{}, fmt.Errorf("cannot read the cgroup's memory limit (GOMEMLIMIT sets one by hand): %w", err)
	}
	l := Limit{Cgroup: cgroup}
	if cgroup > 0 {
		l.Bytes = max(cgroup/100*share, least)
		set(l.Bytes)
	}
	return l, nil
}
