package streams

import (
	"reflect"
	"testing"
	"time"

	"github.com/twine-realtime/twine/adapter"
)

func TestOptionsOnTheWire(t *testing.T) {
	for _, o := range []adapter.Options{
		{},
		{Rooms: []string{"a"}, Except: []string{"b", "c"}},
		{Flags: adapter.Flags{Volatile: true, NoCompress: true, Timeout: 1500 * time.Millisecond}},
	} {
		if got := fromWire(toWire(o)); !reflect.DeepEqual(got, o) {
			t.Errorf("got %+v, want %+v", got, o)
		}
	}
}

func TestQueue(t *testing.T) {
	var q queue
	hold, got := make(chan struct{}), make(chan int, queueLimit+1)
	started := make(chan struct{})
	q.put(func() { close(started); <-hold })
	<-started
	for i := range queueLimit {
		if !q.put(func() { got <- i }) {
			t.Fatalf("full after %d", i)
		}
	}
	if q.put(func() {}) {
		t.Error("the queue has no bound")
	}
	close(hold)
	for i := range queueLimit {
		if n := <-got; n != i {
			t.Fatalf("ran %d instead of %d", n, i)
		}
	}
	q.close()
	if q.put(func() {}) {
		t.Error("a closed queue takes work")
	}
}
