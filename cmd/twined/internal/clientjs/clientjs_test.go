package clientjs

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
)

func get(handler http.Handler, header http.Header) *httptest.ResponseRecorder {
	request := httptest.NewRequest("GET", "/twine.js", nil)
	request.Header = header
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

// maxCompressed is how large the client may become, in bytes.
const maxCompressed = 10_000

func TestSize(t *testing.T) {
	answer := get(Module(), http.Header{"Accept-Encoding": {"gzip, br"}})
	if answer.Header().Get("Content-Encoding") != "gzip" || answer.Header().Get("Vary") != "Accept-Encoding" {
		t.Fatalf("headers %v", answer.Header())
	}
	if size := answer.Body.Len(); size > maxCompressed {
		t.Errorf("twine.js has %d bytes compressed, more than %d", size, maxCompressed)
	} else {
		t.Logf("twine.js has %d bytes compressed", size)
	}
	r, err := gzip.NewReader(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(content, module) {
		t.Errorf("%d bytes come out, not the module's %d: %v", len(content), len(module), err)
	}
}

func TestServed(t *testing.T) {
	for want, handler := range map[string]http.Handler{"text/javascript; charset=utf-8": Module(), "text/plain; charset=utf-8": Types()} {
		answer := get(handler, nil)
		h := answer.Header()
		if answer.Code != 200 || h.Get("Content-Type") != want || h.Get("Content-Encoding") != "" || h.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%d %v", answer.Code, h)
		}
		again := get(handler, http.Header{"If-None-Match": {h.Get("ETag")}})
		if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("asked again: %d with %d bytes", again.Code, again.Body.Len())
		}
	}
	if get(Module(), nil).Header().Get("ETag") == get(Types(), nil).Header().Get("ETag") {
		t.Error("two files have one tag")
	}
}

// TestNoDependency keeps out what a strict Content-Security-Policy forbids, and other modules.
func TestNoDependency(t *testing.T) {
	if found := regexp.MustCompile(`(?m)^\s*(import|export .* from)\b|\b(import|require|eval|importScripts)\(|new Function|innerHTML|document\.write|createObjectURL|new Worker`).Find(module); found != nil {
		t.Errorf("twine.js has %q", found)
	}
}
