package server

import (
	"context"
	"net/http"
	"sync"
)

// gate counts the requests under way behind it, and lets none in once it is closed. The zero value is open.
type gate struct {
	mu     sync.Mutex
	inside int
	empty  chan struct{} // not nil once the gate is closed; closed itself when nobody is inside any more
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty != nil {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
	}
}

// close waits until everyone inside has left, or ctx ends. It may be called once.
func (g *gate) close(ctx context.Context) error {
	g.mu.Lock()
	g.empty = make(chan struct{})
	if g.inside == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	select {
	case <-g.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wrap lets requests in to next, and those that come too late to closed.
func (g *gate) wrap(next http.Handler, closed http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.enter() {
			w.Header().Set("Retry-After", "1")
			closed(w, r)
			return
		}
		defer g.leave()
		next.ServeHTTP(w, r)
	})
}
