package pubsub

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// defaultPingInterval is how long a connection may be silent before it is asked for a sign of life. After three times
// as long it counts as lost.
const defaultPingInterval = 3 * time.Second

// The time between attempts to subscribe.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
)

// listener is a connection that is subscribed to what adapters want, and made again whenever it is lost. What arrives
// is handed to the adapters in its order.
type listener struct {
	rdb          redis.UniversalClient
	opts         Options
	pingInterval time.Duration

	kick   chan struct{} // has room for one: wanted has changed
	cancel context.CancelFunc
	ended  chan struct{}

	mu        sync.Mutex
	wanted    map[string][]*Adapter // who gets what arrives, by channel or pattern
	confirmed map[string]bool       // what Redis said that this connection is subscribed to
}

func newListener(rdb redis.UniversalClient, opts Options, pingInterval time.Duration) *listener {
	l := &listener{rdb: rdb, opts: opts, pingInterval: pingInterval, kick: make(chan struct{}, 1), ended: make(chan struct{}),
		wanted: make(map[string][]*Adapter), confirmed: make(map[string]bool)}
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	go l.run(ctx)
	return l
}

func (l *listener) close() {
	l.cancel()
	<-l.ended
}

func (l *listener) add(a *Adapter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wanted[a.requests]) > 0 {
		l.opts.Logger.Warn("pubsub: a namespace has a second adapter before its first one is closed; each server needs a New of its own",
			slog.String("namespace", a.host.Name()))
	}
	for _, c := range a.channels() {
		l.wanted[c] = append(slices.Clip(l.wanted[c]), a)
	}
	l.changed()
}

func (l *listener) remove(a *Adapter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range a.channels() {
		rest := slices.DeleteFunc(slices.Clone(l.wanted[c]), func(other *Adapter) bool { return other == a })
		if len(rest) > 0 {
			l.wanted[c] = rest
		} else {
			delete(l.wanted, c)
		}
	}
	l.changed()
}

func (l *listener) changed() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

func (l *listener) run(ctx context.Context) {
	defer close(l.ended)
	backoff, down := minBackoff, false
	for {
		began := time.Now()
		err := l.listen(ctx, func() {
			if down {
				l.opts.Logger.Info("pubsub: subscribed again")
			}
			down = false
		})
		l.disconnected()
		if ctx.Err() != nil {
			return
		}
		if !down {
			down = true
			l.opts.Logger.Warn("pubsub: not connected to Redis; what other servers send until then is lost", slog.Any("error", err))
		}
		if time.Since(began) > maxBackoff {
			backoff = minBackoff
		}
		pause := time.NewTimer(backoff/2 + rand.N(backoff/2))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
		backoff = min(2*backoff, maxBackoff)
	}
}

// listen subscribes to what is wanted, and takes what arrives to the adapters until the connection is lost. subscribed
// is called when all is subscribed to.
func (l *listener) listen(ctx context.Context, subscribed func()) error {
	pubsub := l.rdb.Subscribe(ctx)
	stop := context.AfterFunc(ctx, func() { _ = pubsub.Close() })
	defer stop()
	var heard atomic.Int64 // when something arrived, in nanoseconds
	heard.Store(time.Now().UnixNano())
	keeping, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	var failure error
	keeper.Go(func() {
		failure = l.keep(keeping, pubsub, &heard)
		_ = pubsub.Close()
	})
	err := l.receive(ctx, pubsub, &heard, subscribed)
	cancel()
	keeper.Wait()
	if failure != nil && !errors.Is(failure, context.Canceled) {
		return failure // then receive's error is only what came of it
	}
	return err
}

func (l *listener) receive(ctx context.Context, pubsub *redis.PubSub, heard *atomic.Int64, subscribed func()) error {
	for {
		received, err := pubsub.Receive(ctx)
		if err != nil {
			return err
		}
		heard.Store(time.Now().UnixNano())
		switch m := received.(type) {
		case *redis.Subscription:
			if (m.Kind == "subscribe" || m.Kind == "psubscribe") && l.confirm(m.Channel) {
				subscribed()
			}
		case *redis.Message:
			key := m.Channel
			if m.Pattern != "" {
				key = m.Pattern
			}
			l.mu.Lock()
			adapters := l.wanted[key]
			l.mu.Unlock()
			for _, a := range adapters {
				a.receive(m.Channel, m.Payload)
			}
		}
	}
}

// confirm notes that a subscription is in effect, and says whether all that are wanted are.
func (l *listener) confirm(channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirmed[channel] = true
	for _, a := range l.wanted[channel] {
		if a.unready != nil && !slices.ContainsFunc(a.channels(), func(c string) bool { return !l.confirmed[c] }) {
			close(a.unready)
			a.unready = nil
		}
	}
	if len(l.confirmed) < len(l.wanted) {
		return false
	}
	for c := range l.wanted {
		if !l.confirmed[c] {
			return false
		}
	}
	return true
}

// disconnected notes that no subscription is in effect any more.
func (l *listener) disconnected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.confirmed)
	for _, adapters := range l.wanted {
		for _, a := range adapters {
			if a.unready == nil {
				a.unready = make(chan struct{})
			}
		}
	}
}

// subscribed waits until all subscriptions of an adapter are in effect.
func (l *listener) subscribed(ctx context.Context, a *Adapter) error {
	l.mu.Lock()
	unready := a.unready
	l.mu.Unlock()
	if unready == nil {
		return nil
	}
	select {
	case <-unready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-a.base.Done():
		return errClosed
	}
}

var errSilent = errors.New("no sign of life for too long")

// keep subscribes to what is wanted, also when that changes, and sees whether the connection is alive. It returns when
// it is not.
func (l *listener) keep(ctx context.Context, pubsub *redis.PubSub, heard *atomic.Int64) error {
	tick := time.NewTicker(l.pingInterval)
	defer tick.Stop()
	sent := make(map[string]bool)
	for {
		if err := l.subscribe(ctx, pubsub, sent); err != nil {
			return err
		}
		select {
		case <-l.kick:
		case <-tick.C:
			silence := time.Since(time.Unix(0, heard.Load()))
			if silence > 3*l.pingInterval {
				return errSilent
			}
			if silence > l.pingInterval/2 {
				if err := l.call(ctx, func(ctx context.Context) error { return pubsub.Ping(ctx) }); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *listener) call(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.opts.RequestsTimeout)
	defer cancel()
	return f(ctx)
}

// subscribe tells Redis what is wanted now that was not when it was told last, which is sent, and what no longer is.
func (l *listener) subscribe(ctx context.Context, pubsub *redis.PubSub, sent map[string]bool) error {
	for _, change := range []struct {
		list []string
		f    func(context.Context, ...string) error
		add  bool
	}{
		{l.changes(sent, true, true), pubsub.PSubscribe, true},
		{l.changes(sent, true, false), pubsub.Subscribe, true},
		{l.changes(sent, false, true), pubsub.PUnsubscribe, false},
		{l.changes(sent, false, false), pubsub.Unsubscribe, false},
	} {
		if len(change.list) == 0 {
			continue
		}
		if err := l.call(ctx, func(ctx context.Context) error { return change.f(ctx, change.list...) }); err != nil {
			return err
		}
		for _, c := range change.list {
			if change.add {
				sent[c] = true
			} else {
				delete(sent, c)
			}
		}
	}
	return nil
}

// changes returns the patterns, or the other channels, that are wanted and not sent, or the opposite.
func (l *listener) changes(sent map[string]bool, add, patterns bool) (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if add {
		for c := range l.wanted {
			if !sent[c] && isPattern(c) == patterns {
				list = append(list, c)
			}
		}
		return list
	}
	for c := range sent {
		if l.wanted[c] == nil && isPattern(c) == patterns {
			delete(l.confirmed, c)
			list = append(list, c)
		}
	}
	return list
}
