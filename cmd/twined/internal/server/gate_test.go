package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestGateWaitsForThoseInside(t *testing.T) {
	var g gate
	entered, leave := make(chan struct{}), make(chan struct{})
	handler := g.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-leave
	}), answer(http.StatusServiceUnavailable, "closed"))
	go handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
	<-entered

	closed := make(chan error, 1)
	go func() { closed <- g.close(t.Context()) }()
	for g.enter() {
		g.leave()
	}
	select {
	case err := <-closed:
		t.Fatalf("closed with someone inside: %v", err)
	default:
	}
	late := httptest.NewRecorder()
	handler.ServeHTTP(late, httptest.NewRequest("POST", "/", nil))
	if late.Code != http.StatusServiceUnavailable || late.Header().Get("Retry-After") == "" {
		t.Errorf("a late request got %d %v", late.Code, late.Header())
	}
	close(leave)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestGateGivesUpWaiting(t *testing.T) {
	var g gate
	g.enter()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := g.close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	g.leave()
}

func TestEmptyGateClosesAtOnce(t *testing.T) {
	var g gate
	if err := g.close(t.Context()); err != nil || g.enter() {
		t.Errorf("got %v", err)
	}
}
