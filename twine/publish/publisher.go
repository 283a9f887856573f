package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// PublisherOptions configure a Publisher. The zero value is a useful one, and a number below 0 counts as 0.
type PublisherOptions struct {
	// MaxBatch is how many messages one request takes, 1,000 at the most. 0 means 1,000.
	MaxBatch int
	// Linger is how long a message waits for others to go with. 0 means 5 ms. A batch that is full does not wait, and
	// while a request is under way those that come collect anyhow.
	Linger time.Duration
	// MaxQueue and MaxQueueBytes bound what is held: messages that wait, and those of the request under way. 0 means
	// 10,000 messages and 16 MB.
	MaxQueue, MaxQueueBytes int
	// Done is told what became of each message, one after the other, in the order of the queue. The publisher sends nothing
	// while it runs, so it should not take long, and it must not call the publisher's Flush or Close. Nil means that nobody
	// wants to know.
	Done func(Outcome)
}

const (
	defaultLinger        = 5 * time.Millisecond
	defaultMaxQueue      = 10_000
	defaultMaxQueueBytes = 16 << 20
)

// Outcome is what became of a message.
type Outcome struct {
	Message Message // as it was given to Send
	Result  Result
	Err     error // nil if the message was published; otherwise see [Client.Publish]
}

// Publisher sends messages in the background, in batches, one request at a time. Messages that one goroutine sends keep their
// order, unless the daemon takes a part of a batch only: the rest is sent again, behind it. A message that could not be
// published after all attempts of its Client is dropped, and Done is told.
//
// Its methods may be called concurrently. It owns a goroutine until it is closed.
type Publisher struct {
	client *Client
	opts   PublisherOptions

	// sending ends when nobody waits for the messages any more.
	sending context.Context
	abandon context.CancelCauseFunc
	wake    chan struct{} // there may be something to send; capacity 1
	ended   chan struct{} // closed when the goroutine has ended

	mu          sync.Mutex
	queue       []queued
	queuedBytes int           // of queue
	held        int           // messages in queue, and under way
	heldBytes   int           // likewise
	accepted    uint64        // messages that were ever queued
	settled     uint64        // those of them whose outcome is known
	urgent      uint64        // do not linger for as many of accepted
	abandoned   int           // messages that were not published because of abandon
	progress    chan struct{} // closed, and replaced, when messages are settled
	closed      bool
}

type queued struct {
	encoded
	message Message
	since   time.Time
}

// NewPublisher returns a Publisher that sends with the given client. Close ends it.
func NewPublisher(client *Client, opts PublisherOptions) *Publisher {
	opts.MaxBatch = min(cmp.Or(max(opts.MaxBatch, 0), maxRequestMessages), maxRequestMessages)
	opts.Linger = cmp.Or(max(opts.Linger, 0), defaultLinger)
	opts.MaxQueue = cmp.Or(max(opts.MaxQueue, 0), defaultMaxQueue)
	opts.MaxQueueBytes = cmp.Or(max(opts.MaxQueueBytes, 0), defaultMaxQueueBytes)
	p := &Publisher{client: client, opts: opts, wake: make(chan struct{}, 1), ended: make(chan struct{}), progress: make(chan struct{})}
	p.sending, p.abandon = context.WithCancelCause(context.Background())
	go p.run()
	return p
}

// Send queues a message. If the queue is full it waits for room until ctx ends, and then returns an error that matches ErrFull
// and ctx's cause. The message is encoded before Send returns, so that its Data may be changed afterwards. Errors are about this
// message and this moment: whether it is published Done is told.
func (p *Publisher) Send(ctx context.Context, m Message) error {
	message, err := encode(&m)
	if err != nil {
		return err
	}
	for {
		progress, err := p.push(message, m)
		if !errors.Is(err, ErrFull) {
			return err
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrFull, context.Cause(ctx))
		}
	}
}

// TrySend is Send that does not wait: it returns ErrFull.
func (p *Publisher) TrySend(m Message) error {
	message, err := encode(&m)
	if err != nil {
		return err
	}
	_, err = p.push(message, m)
	return err
}

// push returns with ErrFull the channel that is closed when there may be room.
func (p *Publisher) push(message encoded, m Message) (progress <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := len(message.body)
	switch {
	case p.closed:
		return nil, ErrClosed
	// One that is larger than the whole queue has it for itself.
	case p.held >= p.opts.MaxQueue, p.held > 0 && p.heldBytes+size > p.opts.MaxQueueBytes:
		return p.progress, ErrFull
	}
	p.queue = append(p.queue, queued{message, m, time.Now()})
	p.queuedBytes += size
	p.held++
	p.heldBytes += size
	p.accepted++
	if len(p.queue) == 1 || p.full() {
		p.notify()
	}
	return nil, nil
}

// full tells whether there is a batch that has no use in waiting. It needs the lock.
func (p *Publisher) full() bool {
	return len(p.queue) >= p.opts.MaxBatch || p.queuedBytes >= maxRequestBytes ||
		p.held >= p.opts.MaxQueue || p.heldBytes >= p.opts.MaxQueueBytes
}

func (p *Publisher) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Flush sends what is queued without lingering, and returns when the outcome of all of it is known, or ctx ends.
func (p *Publisher) Flush(ctx context.Context) error {
	p.mu.Lock()
	target := p.accepted
	p.urgent = target
	p.notify()
	p.mu.Unlock()
	for {
		p.mu.Lock()
		settled, progress := p.settled, p.progress
		p.mu.Unlock()
		if settled >= target {
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close takes no more messages, sends those that are queued, and returns when the outcome of all is known. If ctx ends first
// they are given up, which Done is told of each, and Close returns an error that says how many they are and matches
// ctx's cause. It may be called again.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.notify()
	p.mu.Unlock()
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.abandon(context.Cause(ctx))
		<-p.ended
	}
	p.abandon(ErrClosed) // which releases the context
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.abandoned > 0 {
		return fmt.Errorf("publish: closed before %d messages were published: %w", p.abandoned, context.Cause(p.sending))
	}
	return nil
}

func (p *Publisher) run() {
	defer close(p.ended)
	for {
		batch, ok := p.next()
		if !ok {
			return
		}
		messages := make([]encoded, len(batch))
		for i := range batch {
			messages[i] = batch[i].encoded
		}
		results, errs := p.client.deliver(p.sending, messages)
		p.settle(batch, results, errs)
	}
}

// next waits for a batch. It returns false when there will be none.
func (p *Publisher) next() (batch []queued, ok bool) {
	timer := time.NewTimer(p.opts.Linger)
	defer timer.Stop()
	for {
		p.mu.Lock()
		waiting := len(p.queue) > 0
		var wait time.Duration
		if waiting {
			wait = time.Until(p.queue[0].since.Add(p.opts.Linger))
		}
		if waiting && (wait <= 0 || p.closed || p.full() || p.settled < p.urgent) {
			batch = p.take()
			p.mu.Unlock()
			return batch, true
		}
		over := p.closed
		p.mu.Unlock()
		if over {
			return nil, false
		}
		var lingered <-chan time.Time
		if waiting {
			timer.Reset(wait)
			lingered = timer.C
		}
		select {
		case <-p.wake:
		case <-lingered:
		}
	}
}

// take removes a batch from the queue. It needs the lock.
func (p *Publisher) take() []queued {
	n := min(len(p.queue), p.opts.MaxBatch)
	messages := make([]encoded, n)
	for i := range messages {
		messages[i] = p.queue[i].encoded
	}
	n = fitting(messages)
	batch := slices.Clone(p.queue[:n])
	for i := range batch {
		p.queuedBytes -= len(batch[i].body)
	}
	clear(p.queue[:n]) // its array lives on
	if p.queue = p.queue[n:]; len(p.queue) == 0 {
		p.queue = nil
	}
	return batch
}

func (p *Publisher) settle(batch []queued, results []Result, errs []error) {
	if p.opts.Done != nil {
		for i := range batch {
			p.opts.Done(Outcome{Message: batch[i].message, Result: results[i], Err: errs[i]})
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range batch {
		p.heldBytes -= len(batch[i].body)
		if errs[i] != nil && p.sending.Err() != nil {
			p.abandoned++
		}
	}
	p.held -= len(batch)
	p.settled += uint64(len(batch))
	close(p.progress)
	p.progress = make(chan struct{})
}
