package server

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/apikey"
	"github.com/twine-realtime/twine/cmd/twined/internal/config"
)

// running is a server that listens, and its data folder.
type running struct {
	*Server
	t        *testing.T
	url, dir string
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	dir := t.TempDir()
	cfg, _, err := config.Parse(append([]string{"--data-dir", dir}, args...), "test", io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), cfg, apikey.NewSet("secret"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if !s.draining.Load() {
			if err := s.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &running{s, t, "http://" + listener.Addr().String(), dir}
}

func (s *running) ask(method, path, body string, header ...string) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "secret")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response, string(text)
}

func TestMetrics(t *testing.T) {
	s := start(t)
	for _, header := range []string{"", "wrong", "Bearer wrong"} {
		if response, _ := s.ask("GET", "/metrics", "", "Authorization", header); response.StatusCode != 401 || response.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("with the key %q: %s", header, response.Status)
		}
	}
	publish := func(want int, body string, header ...string) {
		t.Helper()
		if response, text := s.ask("POST", "/api/twine", body, header...); response.StatusCode != want {
			t.Errorf("%s: %s %s", body, response.Status, text)
		}
	}
	publish(201, `{"room_id":"r","payload":{}}`)
	publish(201, `{"room_id":"r","payload":{}}`, "Idempotency-Key", "1")
	publish(201, `{"room_id":"r","payload":{}}`, "Idempotency-Key", "1")
	publish(422, `{"room_id":"q","payload":{}}`, "Idempotency-Key", "1")
	publish(400, `{"room_id":"q"}`)
	if response, text := s.ask("POST", "/v1/publish", `{"messages":[{"room":"r"},{"room":"r"}]}`); response.StatusCode != 201 {
		t.Errorf("%s %s", response.Status, text)
	}
	s.ask("GET", "/socket.io/?EIO=4&transport=polling", "")

	response, text := s.ask("GET", "/metrics", "", "Authorization", "Bearer secret")
	if response.StatusCode != 200 || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%s %s", response.Status, response.Header)
	}
	for _, want := range []string{
		`twine_published_total{result="accepted"} 4`,
		`twine_published_total{result="duplicate"} 1`,
		`twine_published_total{result="refused"} 1`,
		`twine_published_total{result="failed"} 0`,
		`twine_publish_seconds_count 6`,
		`twine_http_requests_total{code="201",method="post"} 4`,
		`twine_http_requests_total{code="400",method="post"} 1`,
		`twine_http_requests_total{code="422",method="post"} 1`,
		`twine_clients 1`,
		`go_goroutines `, `process_resident_memory_bytes `,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
}

// TestClosing: who comes too late is told so in the way of the interface that was asked.
func TestClosing(t *testing.T) {
	s := start(t)
	if response, _ := s.ask("GET", "/readyz", ""); response.StatusCode != 200 {
		t.Errorf("ready: %s", response.Status)
	}
	if err := s.publishes.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	response, text := s.ask("POST", "/api/twine", `{"room_id":"r","payload":{}}`)
	if response.StatusCode != 503 || text != "shutting down" || response.Header.Get("Retry-After") == "" {
		t.Errorf("/api/twine: %s %q", response.Status, text)
	}
	response, text = s.ask("POST", "/v1/publish", `{"room":"r"}`)
	var problem struct{ Status int }
	if err := json.Unmarshal([]byte(text), &problem); err != nil || response.StatusCode != 503 || problem.Status != 503 ||
		response.Header.Get("Content-Type") != "application/problem+json" || response.Header.Get("Retry-After") == "" {
		t.Errorf("/v1/publish: %s %q", response.Status, text)
	}
	s.publishes.mu.Lock()
	s.publishes.empty = nil // for Shutdown to close it
	s.publishes.mu.Unlock()
}

func TestCORSOfV1(t *testing.T) {
	const page = "https://app.example.com"
	s := start(t, "--cors-origin", page)
	for method, path := range map[string]string{"POST": "/v1/publish", "GET": "/v1/rooms", "DELETE": "/v1/sockets/x"} {
		response, _ := s.ask("OPTIONS", path, "", "Authorization", "", "Origin", page, "Access-Control-Request-Method", method,
			"Access-Control-Request-Headers", "authorization,content-type,idempotency-key")
		got := response.Header
		if response.StatusCode != 204 || got.Get("Access-Control-Allow-Origin") != page || got.Get("Access-Control-Allow-Methods") != method ||
			!strings.Contains(got.Get("Access-Control-Allow-Headers"), "idempotency-key") {
			t.Errorf("preflight of %s %s: %s %v", method, path, response.Status, got)
		}
		response, _ = s.ask("OPTIONS", path, "", "Origin", "https://other.example.com", "Access-Control-Request-Method", method)
		if response.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of another origin: %s %v", response.Status, response.Header)
		}
	}
	// An error, too, is readable for the page.
	response, _ := s.ask("GET", "/v1/rooms", "", "Authorization", "wrong", "Origin", page)
	if response.StatusCode != 401 || response.Header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("%s %v", response.Status, response.Header)
	}
}

// TestBrokenStorage: whoever routes clients here is told that this is over.
func TestBrokenStorage(t *testing.T) {
	s := start(t)
	broken := make(chan struct{})
	s.storage.Broken = broken
	close(broken)
	if response, text := s.ask("GET", "/readyz", ""); response.StatusCode != 503 || text != "storage has failed" {
		t.Errorf("%s %s", response.Status, text)
	}
	<-s.Broken()
}

func TestAsync(t *testing.T) {
	s := start(t, "--durability", "async")
	for range 2 {
		if response, text := s.ask("POST", "/api/twine", `{"room_id":"r","payload":{}}`, "Idempotency-Key", "1"); response.StatusCode != 201 {
			t.Errorf("%s %s", response.Status, text)
		}
	}
	if response, _ := s.ask("POST", "/api/twine", `{"room_id":"q","payload":{}}`, "Idempotency-Key", "1"); response.StatusCode != 422 {
		t.Errorf("another message: %s", response.Status)
	}
	if _, text := s.ask("GET", "/v1/rooms/r/history", ""); strings.Count(text, `"offset"`) != 1 {
		t.Errorf("history %s", text)
	}
}
