package openapitest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestCheckFinds: what is not as the document says is found.
func TestCheckFinds(t *testing.T) {
	d, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	const (
		good       = `{"offset":"1-0"}`
		problem    = `{"type":"about:blank","title":"x","status":503,"detail":"x"}`
		socket     = `{"id":"i","rooms":["a"],"transport":"polling","address":"a","connected":"2026-01-01T00:00:00Z"}`
		entry      = `{"offset":"1-0","time":"2026-01-01T00:00:00Z","rooms":[],"event":"e","args":[1]}`
		asJSON     = "Content-Type: application/json\nCache-Control: no-store"
		asProblem  = "Content-Type: application/problem+json\nRetry-After: 1"
		badRequest = `{"type":"about:blank","title":"x","status":400,"detail":"x"}`
	)
	for name, test := range map[string]struct {
		request, body  string
		status         int
		header, answer string
		want           string // in the error; "" means that all is well
	}{
		"good":                    {"POST /v1/publish", `{"room":"r","data":null}`, 201, asJSON, good, ""},
		"good batch":              {"POST /v1/publish", `{"messages":[{"rooms":["r"],"args":[]}]}`, 201, asJSON, `{"results":[{"offset":"1-0","duplicate":true}]}`, ""},
		"request without room":    {"POST /v1/publish", `{"data":1}`, 201, asJSON, good, "the document refuses it"},
		"request with too much":   {"POST /v1/publish", `{"room":"r","payload":1}`, 201, asJSON, good, "the document refuses it"},
		"data and args":           {"POST /v1/publish", `{"room":"r","data":1,"args":[1]}`, 201, asJSON, good, "the document refuses it"},
		"reserved event":          {"POST /v1/publish", `{"room":"r","event":"disconnect"}`, 201, asJSON, good, "the document refuses it"},
		"refused request":         {"POST /v1/publish", `{"data":1}`, 400, "Content-Type: application/problem+json", badRequest, ""},
		"unknown status":          {"POST /v1/publish", `{"room":"r"}`, 202, asJSON, good, "status"},
		"unknown member":          {"POST /v1/publish", `{"room":"r"}`, 201, asJSON, `{"offset":"1-0","x":1}`, "the answer is not"},
		"no offset":               {"POST /v1/publish", `{"room":"r"}`, 201, asJSON, `{}`, "the answer is not"},
		"malformed offset":        {"POST /v1/publish", `{"room":"r"}`, 201, asJSON, `{"offset":"1"}`, "the answer is not"},
		"duplicate false":         {"POST /v1/publish", `{"room":"r"}`, 201, asJSON, `{"offset":"1-0","duplicate":false}`, "the answer is not"},
		"wrong type":              {"POST /v1/publish", `{"room":"r"}`, 201, "Content-Type: text/plain\nCache-Control: no-store", good, "the answer is not"},
		"may be cached":           {"POST /v1/publish", `{"room":"r"}`, 201, "Content-Type: application/json", good, "the answer is not"},
		"503":                     {"POST /v1/publish", `{"room":"r"}`, 503, asProblem, problem, ""},
		"503 with a batch":        {"POST /v1/publish", `{"room":"r"}`, 503, asProblem, strings.Replace(problem, "{", `{"results":[{"offset":"1-0"},{"error":"x","status":503}],`, 1), ""},
		"503 with other results":  {"POST /v1/publish", `{"room":"r"}`, 503, asProblem, strings.Replace(problem, "{", `{"results":[{"offset":"1-0","status":503}],`, 1), "the answer is not"},
		"503 without Retry-After": {"POST /v1/publish", `{"room":"r"}`, 503, "Content-Type: application/problem+json", problem, "the answer is not"},
		"problem without detail":  {"POST /v1/publish", `{"room":"r"}`, 400, "Content-Type: application/problem+json", `{"type":"x","title":"x","status":400}`, "the answer is not"},
		"parameters":              {"GET /v1/rooms?prefix=a&limit=5", "", 200, asJSON, `{"rooms":[{"room":"a/b","sockets":1}],"more":false}`, ""},
		"unknown parameter":       {"GET /v1/rooms?x=1", "", 200, asJSON, `{"rooms":[],"more":false}`, "no parameter"},
		"parameter out of range":  {"GET /v1/rooms?limit=1001", "", 200, asJSON, `{"rooms":[],"more":false}`, "the document refuses it"},
		"nested":                  {"GET /v1/rooms", "", 200, asJSON, `{"rooms":[{"room":"","sockets":1}],"more":false}`, "the answer is not"},
		"nested deeper":           {"GET /v1/rooms", "", 200, asJSON, `{"rooms":[{"room":"a","sockets":-1}],"more":false}`, "the answer is not"},
		"room with a slash":       {"GET /v1/rooms/a%2Fb/sockets", "", 200, asJSON, `{"sockets":["x"]}`, ""},
		"history":                 {"GET /v1/rooms/%2F/history?since=5&until=2026-01-01T00:00:00Z", "", 200, asJSON, `{"entries":[` + entry + `],"next":"1-0","more":true}`, ""},
		"history, bad time":       {"GET /v1/rooms/r/history?since=today", "", 200, asJSON, `{"entries":[],"next":"1-0","more":true}`, "the document refuses it"},
		"entry without event":     {"GET /v1/rooms/r/history", "", 200, asJSON, `{"entries":[{"offset":"1-0","time":"2026-01-01T00:00:00Z","rooms":[],"args":[]}],"next":"1-0","more":true}`, "the answer is not"},
		"entry at no time":        {"GET /v1/rooms/r/history", "", 200, asJSON, `{"entries":[` + strings.Replace(entry, "2026-01-01", "2026-13-01", 1) + `],"next":"1-0","more":true}`, "the answer is not"},
		"socket":                  {"GET /v1/sockets/i", "", 200, asJSON, socket, ""},
		"unknown transport":       {"GET /v1/sockets/i", "", 200, asJSON, strings.Replace(socket, "polling", "pigeon", 1), "the answer is not"},
		"disconnected":            {"DELETE /v1/sockets/i", "", 204, "", "", ""},
		"cookie":                  {"GET /set-cookie", "", 200, "Content-Type: text/plain; charset=utf-8\nCache-Control: no-store\nSet-Cookie: twineid=x", "ok", ""},
		"no cookie":               {"GET /set-cookie", "", 200, "Content-Type: text/plain; charset=utf-8\nCache-Control: no-store", "ok", "the answer is not"},
	} {
		t.Run(name, func(t *testing.T) {
			method, target, _ := strings.Cut(test.request, " ")
			header := http.Header{}
			for line := range strings.Lines(test.header) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				header.Add(name, value)
			}
			r := httptest.NewRequest(method, target, nil)
			documented, err := d.Check(r, []byte(test.body), test.status, header, []byte(test.answer))
			if !documented {
				t.Fatal("no operation is found")
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	for _, request := range []string{"GET /v1/publish", "GET /v1/rooms/a/b", "GET /nothing", "POST /healthz"} {
		method, target, _ := strings.Cut(request, " ")
		if documented, err := d.Check(httptest.NewRequest(method, target, nil), nil, 404, http.Header{}, nil); documented || err != nil {
			t.Errorf("%s: %v, %v", request, documented, err)
		}
	}
}

func TestCheckProblem(t *testing.T) {
	d, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for body, good := range map[string]bool{
		`{"type":"about:blank","title":"x","status":404,"detail":"x"}`: true, `{"type":"about:blank","title":"x","status":200,"detail":"x"}`: false, `{}`: false, `x`: false,
	} {
		if err := d.CheckProblem([]byte(body)); (err == nil) != good {
			t.Errorf("%s: %v", body, err)
		}
	}
}
