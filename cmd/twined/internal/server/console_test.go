package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/console"
)

func TestConsoleStatus(t *testing.T) {
	s := start(t)
	for _, id := range []string{"1", "1", "2"} {
		s.ask("POST", "/v1/publish", `{"room":"r","id":"`+id+`"}`)
	}
	response, text := s.ask("GET", "/console/status", "")
	var status console.Status
	if err := json.Unmarshal([]byte(text), &status); err != nil || response.StatusCode != 200 {
		t.Fatalf("%s %s %v", response.Status, text, err)
	}
	if got := status.Published; got["accepted"] != 2 || got["duplicate"] != 1 || len(got) != 4 || status.Version == "" || !status.Ready {
		t.Errorf("got %+v", status)
	}
	s.draining.Store(true)
	defer s.draining.Store(false)
	if _, text := s.ask("GET", "/console/status", ""); !strings.Contains(text, `"reason":"shutting down"`) {
		t.Errorf("got %s", text)
	}
}

// TestFrontDoor: a browser is shown the console, and a health checker the original's answer.
func TestFrontDoor(t *testing.T) {
	s := start(t)
	if response, text := s.ask("GET", "/", ""); response.StatusCode != 201 || text != "ok" {
		t.Errorf("a health checker gets %s %q", response.Status, text)
	}
	response, text := s.ask("GET", "/", "", "Accept", "text/html,*/*;q=0.8") // the client follows
	if response.StatusCode != 200 || response.Request.URL.Path != console.Path || !strings.Contains(text, "<title>Twine console</title>") {
		t.Errorf("a browser gets %s at %s", response.Status, response.Request.URL)
	}
}

// TestShutdownEndsTails: it does not wait for those who watch.
func TestShutdownEndsTails(t *testing.T) {
	s := start(t)
	request, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/console/tail?room=r", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "secret")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if text, err := io.ReadAll(response.Body); err != nil || !strings.HasPrefix(string(text), ":") {
		t.Errorf("the tail has %q, %v", text, err)
	}
}
