package openapi_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/apikey"
	"github.com/twine-realtime/twine/cmd/twined/internal/config"
	"github.com/twine-realtime/twine/cmd/twined/internal/openapi"
	"github.com/twine-realtime/twine/cmd/twined/internal/openapi/openapitest"
	"github.com/twine-realtime/twine/cmd/twined/internal/server"
)

// startServer returns the address of the whole daemon, less its process.
func startServer(t *testing.T) string {
	t.Helper()
	cfg, _, err := config.Parse([]string{"--data-dir", t.TempDir()}, "test", io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(t.Context(), cfg, apikey.NewSet("secret"), slog.New(slog.DiscardHandler))
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
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

// TestServedAsDocumented asks the daemon all that the document has outside of /v1/, which has its own tests, and one request of
// /v1/ to see that it is mounted.
func TestServedAsDocumented(t *testing.T) {
	d, err := openapitest.Load()
	if err != nil {
		t.Fatal(err)
	}
	url := startServer(t)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	asked := map[string]bool{}
	for _, test := range []struct {
		route, body string
		status      int
		header      []string
	}{
		{"GET /healthz", "", 200, nil},
		{"GET /readyz", "", 200, nil},
		{"GET /set-cookie", "", 200, nil},
		{"GET /openapi.yaml", "", 200, nil},
		{"GET /metrics", "", 401, nil},
		{"GET /metrics", "", 200, []string{"Authorization", "Bearer secret"}},
		{"POST /api/twine", `{"room_id":"r","payload":{"a":1}}`, 401, nil},
		{"POST /api/twine", `{"room_id":"r","payload":{"a":1}}`, 201, []string{"Authorization", "secret"}},
		{"POST /api/twine", `{"room_id":"r","payload":{"a":1}}`, 201, []string{"Authorization", "secret", "Idempotency-Key", "k"}},
		{"POST /api/twine", `{"room_id":"r","payload":{"a":2}}`, 422, []string{"Authorization", "secret", "Idempotency-Key", "k"}},
		{"POST /api/twine", `{"room_id":"r"}`, 400, []string{"Authorization", "secret"}},
		{"POST /api/twine", `{"room_id":"r","payload":{"a":"` + strings.Repeat("x", 1_000_000) + `"}}`, 413, []string{"Authorization", "secret"}},
		{"GET /v1/rooms", "", 200, []string{"Authorization", "Bearer secret"}},
		{"GET /v1/rooms/%2F", "", 200, []string{"Authorization", "Bearer secret"}},
	} {
		method, path, _ := strings.Cut(test.route, " ")
		asked[test.route] = true
		request, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(test.header); i += 2 {
			request.Header.Set(test.header[i], test.header[i+1])
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		documented, err := d.Check(request, []byte(test.body), response.StatusCode, response.Header, body)
		if !documented || err != nil || response.StatusCode != test.status {
			t.Errorf("%s: %s %.200s: documented %v, %v", test.route, response.Status, body, documented, err)
		}
		if path == "/openapi.yaml" && string(body) != string(openapi.Document()) {
			t.Error("what is served is not the document")
		}
	}
	for _, route := range d.Routes() {
		if !strings.Contains(route, " /v1/") && !asked[route] {
			t.Errorf("%s is documented, but was not asked", route)
		}
	}
}

// notDocumented are the daemon's routes that are for clients and browsers.
var notDocumented = []string{"/socket.io/", "/socket.io", "/v1/", "GET /twine.js", "GET /twine.d.ts", "GET /{$}"}

// TestEveryRouteIsDocumented reads the daemon's routes where they are made.
func TestEveryRouteIsDocumented(t *testing.T) {
	d, err := openapitest.Load()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../server/routes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || selector.Sel.Name != "Handle" && selector.Sel.Name != "HandleFunc" {
			return true
		}
		literal, ok := call.Args[0].(*ast.BasicLit)
		if !ok {
			return true // the console's page
		}
		pattern, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		if !slices.Contains(d.Routes(), pattern) && !slices.Contains(notDocumented, pattern) {
			t.Errorf("the route %q is not in the document", pattern)
		}
		return true
	})
	if found < 10 {
		t.Errorf("only %d routes were found", found)
	}
}
