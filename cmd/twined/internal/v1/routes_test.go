package v1

import (
	"slices"
	"strings"
	"testing"
)

// TestEveryRouteIsDocumented, and everything that is documented is there.
func TestEveryRouteIsDocumented(t *testing.T) {
	s := startService(t)
	var routes, documented []string
	for pattern := range (&API{}).routes() {
		routes = append(routes, pattern)
	}
	for _, pattern := range s.document.Routes() {
		if strings.Contains(pattern, " /v1/") {
			documented = append(documented, pattern)
		}
	}
	slices.Sort(routes)
	if !slices.Equal(routes, documented) {
		t.Errorf("the routes are\n%s, the document has\n%s", strings.Join(routes, "\n"), strings.Join(documented, "\n"))
	}
}

// TestPathsAreExact: a room's name that was not encoded must not lead to another room's address.
func TestPathsAreExact(t *testing.T) {
	s := startService(t)
	s.publish(`{"room":"a","data":1}`)
	s.publish(`{"room":"history","data":1}`)
	for _, path := range []string{"/v1/rooms//a/history", "/v1/rooms//history", "/v1/rooms/x/../a/history", "/v1/rooms/./history", "/v1/rooms/a/history//", "/v1//rooms", "/v1/rooms/a//", "/v1/..", "/v1/."} {
		answer := s.ask("GET", path, "")
		answer.problem(t, 404)
		if !strings.Contains(string(answer.body), "%2F") {
			t.Errorf("%s: %s", path, answer.body)
		}
	}
	// What is encoded well, or ends with a slash, is told apart by the routes.
	for _, path := range []string{"/v1/rooms/", "/v1/rooms/a/", "/v1/rooms/a/history/", "/v1/sockets/"} {
		s.ask("GET", path, "").problem(t, 404)
	}
	for _, path := range []string{"/v1/rooms/%2E%2E/history", "/v1/rooms/%2e/history", "/v1/rooms/%2F%2F/history", "/v1/rooms/%2f..%2fa/history"} {
		var page historyPage
		s.ask("GET", path, "").into(t, 200, &page)
		if len(page.Entries) > 0 {
			t.Errorf("%s: %+v", path, page)
		}
	}
}
