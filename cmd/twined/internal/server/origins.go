package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rs/cors"
)

// preflightSeconds is how long a browser may remember what it may send here.
const preflightSeconds = 600

// origins are the web pages that may talk to the daemon. The others are kept out by their visitors' browsers, which
// always tell the truth about the origin.
type origins struct {
	any  bool
	list []string
}

func newOrigins(list []string) *origins {
	o := &origins{any: slices.Contains(list, "*")}
	for _, origin := range list {
		o.list = append(o.list, strings.ToLower(origin))
	}
	return o
}

func (o *origins) contains(origin string) bool {
	return o.any || slices.Contains(o.list, strings.ToLower(origin))
}

// handler answers preflights and sets the CORS headers. The original client sends its cookie along, which rules out
// "*" in the answer: the asking origin is named instead.
func (o *origins) handler(next http.Handler) http.Handler {
	return cors.New(cors.Options{
		AllowOriginFunc:  o.contains,
		AllowedMethods:   []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete},
		ExposedHeaders:   []string{"Retry-After"},
		AllowedHeaders:   []string{"*"},
		AllowCredentials: true,
		MaxAge:           preflightSeconds,
	}).Handler(next)
}

// allowHandshake keeps other pages from opening a WebSocket, which CORS does not do.
func (o *origins) allowHandshake(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if origin == "" || o.contains(origin) {
		return nil
	}
	if page, err := url.Parse(origin); err == nil && strings.EqualFold(page.Host, r.Host) {
		return nil
	}
	return fmt.Errorf("origin %s is not allowed", origin)
}
