package leaktest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// late is tests that leave a goroutine behind for longer than goleak waits.
type late time.Duration

func (l late) Run() int {
	go func() { <-time.After(time.Duration(l)) }()
	return 0
}

type failing struct{ stop chan struct{} }

func (f failing) Run() int {
	go func() { <-f.stop }()
	return 1
}

func TestGoroutinesThatEndLate(t *testing.T) {
	before := goleak.IgnoreCurrent()
	if status := (patient{late(time.Second), []goleak.Option{before}}).Run(); status != 0 {
		t.Errorf("status %d", status)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// Tests that failed are not waited for.
func TestFailure(t *testing.T) {
	f := failing{make(chan struct{})}
	defer close(f.stop)
	began := time.Now()
	if status := (patient{f, nil}).Run(); status != 1 || time.Since(began) > patience/2 {
		t.Errorf("status %d after %v", status, time.Since(began))
	}
}
