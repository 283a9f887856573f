package pubsub

import "sync"

// What may wait in one queue: so many things, of so many bytes together.
const (
	maxWaiting      = 65536
	maxWaitingBytes = 64 << 20
)

// queue runs functions one after the other, on a goroutine that ends when there is nothing to do. The zero value is
// ready for use.
type queue struct {
	mu      sync.Mutex
	waiting []task
	bytes   int
	running bool
	closed  bool
	idle    sync.WaitGroup
}

type task struct {
	run  func()
	size int
}

// put reports false if the queue is full or closed. size is what f holds on to, in bytes.
func (q *queue) put(size int, f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting) >= maxWaiting || q.bytes+size > maxWaitingBytes && len(q.waiting) > 0 {
		return false
	}
	q.waiting = append(q.waiting, task{f, size})
	q.bytes += size
	if !q.running {
		q.running = true
		q.idle.Go(q.run)
	}
	return true
}

func (q *queue) run() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 || q.closed {
			q.running = false
			q.waiting, q.bytes = nil, 0
			q.mu.Unlock()
			return
		}
		t := q.waiting[0]
		q.waiting[0] = task{}
		q.waiting = q.waiting[1:]
		q.bytes -= t.size
		q.mu.Unlock()
		t.run()
	}
}

// close drops what waits. What runs goes on to its end.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// wait returns when nothing runs any more. It comes after close.
func (q *queue) wait() { q.idle.Wait() }
