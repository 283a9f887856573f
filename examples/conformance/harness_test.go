package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine/leaktest"
)

// patience bounds every wait of the tests. It is long because a loaded machine must not fail them.
const patience = 20 * time.Second

// calm is the timing for tests that are not about timing: nobody is pinged or closed while the machine is busy.
var calm = timing{patience, patience, patience}

func TestMain(m *testing.M) { leaktest.Main(m) }

// host is a suite's server as its clients see it.
type host struct {
	t      testing.TB
	name   string
	url    string // with the path, without a query
	client *http.Client
}

func newHost(t testing.TB, name string, timing timing) *host {
	t.Helper()
	return hostOf(t, name, suites[name].start(slog.New(slog.DiscardHandler), timing))
}

func hostOf(t testing.TB, name string, sv server) *host {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(sv.path, sv)
	web := httptest.NewServer(mux)
	h := &host{t: t, name: name, url: web.URL + sv.path, client: &http.Client{Transport: new(http.Transport), Timeout: patience}}
	t.Cleanup(func() {
		const haste = 10 * time.Millisecond // clients that do not say good-bye are cut off
		ctx, cancel := context.WithTimeout(context.Background(), haste)
		defer cancel()
		if err := sv.close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error("close:", err)
		}
		h.client.CloseIdleConnections()
		web.CloseClientConnections()
		web.Close()
	})
	return h
}

// response is an answer with its body read.
type response struct {
	status int
	header http.Header
	body   string
}

func (h *host) request(method, query, body string, header ...string) response {
	h.t.Helper()
	got, err := h.try(context.Background(), method, query, body, header...)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, query, err)
	}
	return got
}

func (h *host) try(ctx context.Context, method, query, body string, header ...string) (response, error) {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, h.url+"?"+query, content)
	if err != nil {
		return response{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := h.client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return response{res.StatusCode, res.Header, string(answer)}, err
}

// refusal is an answer to a request that Engine.IO refuses.
type refusal struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (h *host) expectRefused(got response, status int, want refusal) {
	h.t.Helper()
	var body refusal
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != status || body != want {
		h.t.Errorf("got %d %q, want %d %+v", got.status, got.body, status, want)
	}
}

// opened is what an open packet tells.
type opened struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int      `json:"pingInterval"` // ms
	PingTimeout  int      `json:"pingTimeout"`  // ms
	MaxPayload   int      `json:"maxPayload"`   // bytes
}

func parseOpen(t testing.TB, packet string) opened {
	t.Helper()
	content, ok := strings.CutPrefix(packet, "0")
	if !ok {
		t.Fatalf("got %q, want an open packet", packet)
	}
	d := json.NewDecoder(strings.NewReader(content))
	d.DisallowUnknownFields()
	var o opened
	if err := d.Decode(&o); err != nil {
		t.Fatalf("open packet %q: %v", packet, err)
	}
	if o.SID == "" {
		t.Fatalf("open packet %q has no sid", packet)
	}
	return o
}

// A server's handshake tells exactly what a client has to know.
func checkOpened(t testing.TB, got, want opened) {
	t.Helper()
	got.SID = ""
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(want)
	if errA != nil || errB != nil || string(a) != string(b) {
		t.Errorf("got %s, want %s", a, b)
	}
}
