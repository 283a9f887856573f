package server

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// That these timeouts end a slow handshake and leave polls and WebSockets alone is tested in package engineio.
func TestHandshakesAreBounded(t *testing.T) {
	s := start(t)
	if d := s.http.ReadHeaderTimeout; d <= 0 || d > 30*time.Second {
		t.Errorf("a client may take %v to send its header", d)
	}
	if d := s.http.IdleTimeout; d <= 0 || d > 10*time.Minute {
		t.Errorf("a connection may idle for %v", d)
	}
	if s.http.ReadTimeout != 0 || s.http.WriteTimeout != 0 {
		t.Errorf("streams are cut after %v and %v", s.http.ReadTimeout, s.http.WriteTimeout)
	}
	limit := s.http.MaxHeaderBytes
	if limit <= 0 || limit > http.DefaultMaxHeaderBytes {
		t.Fatalf("a header may have %d bytes", limit)
	}
	const slack = 8 << 10 // that net/http adds
	if response, _ := s.ask(http.MethodGet, "/health", "", "X-Large", strings.Repeat("x", limit+slack)); response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d bytes of header: got %s, want 431", limit+slack, response.Status)
	}
}
