package pubsub

import "testing"

func TestQueue(t *testing.T) {
	for _, test := range []struct{ size, fits int }{{1, maxWaiting}, {maxWaitingBytes / 4, 4}, {2 * maxWaitingBytes, 1}} {
		var q queue
		hold, started, got := make(chan struct{}), make(chan struct{}), make(chan int, maxWaiting)
		q.put(0, func() { close(started); <-hold })
		<-started
		for i := range test.fits {
			if !q.put(test.size, func() { got <- i }) {
				t.Fatalf("full after %d of %d bytes", i, test.size)
			}
		}
		if q.put(test.size, func() {}) {
			t.Errorf("things of %d bytes have no bound", test.size)
		}
		close(hold)
		for i := range test.fits {
			if n := <-got; n != i {
				t.Fatalf("ran %d instead of %d", n, i)
			}
		}
		q.close()
		q.wait()
		if q.put(0, func() {}) {
			t.Error("a closed queue takes work")
		}
	}
}

// What waits when a queue is closed is dropped, and what runs is waited for.
func TestQueueClosedWhileBusy(t *testing.T) {
	var q queue
	hold, started := make(chan struct{}), make(chan struct{})
	ended := false
	q.put(0, func() { close(started); <-hold; ended = true })
	q.put(0, func() { t.Error("it ran after the end") })
	<-started
	q.close()
	close(hold)
	q.wait()
	if !ended {
		t.Error("not waited for")
	}
}
