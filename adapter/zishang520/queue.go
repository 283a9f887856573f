package zishang520

import "sync"

// queueLimit bounds what waits in a queue, beside the batch that is being worked on.
const queueLimit = 65536

// queue runs functions one after the other, on a goroutine that ends when there
// is nothing to do. The zero value is ready for use.
type queue struct {
	mu      sync.Mutex
	waiting []func()
	running bool
	closed  bool
}

// put reports false if the queue is full or closed. It does not block.
func (q *queue) put(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting) >= queueLimit {
		return false
	}
	q.waiting = append(q.waiting, f)
	if !q.running {
		q.running = true
		go q.run()
	}
	return true
}

func (q *queue) run() {
	for {
		q.mu.Lock()
		batch := q.waiting
		q.waiting = nil
		if len(batch) == 0 {
			q.running = false
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		for _, f := range batch {
			f()
		}
	}
}

// idle reports whether everything that was put has run.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.running
}

// close drops what waits. What runs goes on to its end.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.waiting = nil
}
