package recovery_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var errInjected = errors.New("injected")

// faultyLog is a log whose appends and other calls can be made to fail.
type faultyLog struct {
	recovery.Log

	mu sync.Mutex
	// before is asked before an append; an error keeps the entries out.
	before func(entries []recovery.Entry) error
	// after is asked once the entries are in; an error hides that from the caller.
	after func(entries []recovery.Entry) error
	// query is asked before Last and Lookup.
	query   func() error
	appends [][]recovery.Entry
}

func (l *faultyLog) set(f func(*faultyLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

func (l *faultyLog) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	l.mu.Lock()
	before, after := l.before, l.after
	l.mu.Unlock()
	if before != nil {
		if err := before(entries); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.Log.Append(ctx, ns, entries); err != nil {
		return err
	}
	l.set(func(l *faultyLog) { l.appends = append(l.appends, entries) })
	if after != nil {
		return after(entries)
	}
	return nil
}

func (l *faultyLog) asked() error {
	l.mu.Lock()
	query := l.query
	l.mu.Unlock()
	if query == nil {
		return nil
	}
	return query()
}

func (l *faultyLog) Last(ctx context.Context, ns string) (recovery.Offset, error) {
	if err := l.asked(); err != nil {
		return recovery.Offset{}, err
	}
	return l.Log.Last(ctx, ns)
}

func (l *faultyLog) Lookup(ctx context.Context, ns string, ids []string) (map[string]recovery.Offset, error) {
	if err := l.asked(); err != nil {
		return nil, err
	}
	return l.Log.Lookup(ctx, ns, ids)
}

// waitFor polls until a condition holds.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// inbox collects what is delivered.
type inbox struct {
	mu      sync.Mutex
	entries []recovery.Entry
}

func (b *inbox) deliver(entries []recovery.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = append(b.entries, entries...)
}

func (b *inbox) all() []recovery.Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]recovery.Entry(nil), b.entries...)
}
