package twine

import (
	"context"
	"time"
)

// socketContext is a socket as its own context. It costs nothing until someone waits for its end; then a context of the
// standard library does the work, so that deriving from it is as cheap as from any other.
type socketContext Socket

var _ context.Context = (*socketContext)(nil)

// real returns the context that does the work, and makes it if it is wanted or the socket's own has ended.
func (c *socketContext) real(wanted bool) context.Context {
	s := (*Socket)(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more != nil && s.more.ctx != nil {
		return s.more.ctx
	}
	if !wanted && !s.released {
		return s.client.server.ctx
	}
	x := s.extra()
	x.ctx, x.cancel = context.WithCancel(s.client.server.ctx)
	if s.released {
		x.cancel()
	}
	return x.ctx
}

func (c *socketContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func (c *socketContext) Done() <-chan struct{} { return c.real(true).Done() }

func (c *socketContext) Err() error { return c.real(false).Err() }

func (c *socketContext) Value(key any) any { return c.real(false).Value(key) }

// endContext ends the socket's context.
func (s *Socket) endContext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endContextLocked()
}

func (s *Socket) endContextLocked() {
	s.released = true
	if x := s.more; x != nil {
		if x.cancel != nil {
			x.cancel()
		}
		if x.grace != nil {
			x.grace.Stop()
		}
	}
}
