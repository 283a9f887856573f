// Package v1 is the daemon's own HTTP interface, under /v1/. Its errors are problem documents (RFC 9457).
package v1

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine"
)

const (
	// MaxBodyBytes is the largest request body.
	MaxBodyBytes = 1_000_000
	// MaxRoomBytes is the longest name of a room.
	MaxRoomBytes = 1024
	// maxMessages is how many messages one request may publish.
	maxMessages = 1000
	// maxRooms is how many rooms one message may be for.
	maxRooms = 1000
)

// API is the handler of everything under /v1/.
type API struct {
	// Twine is the server whose main namespace the API is about. It needs recovery.
	Twine *twine.Server
	// History reads the server's log.
	History recovery.Reader
	// Authorized tells whether a key is valid.
	Authorized func(key string) bool
	// Published is told what became of each message, and when its request was read. Nil means nobody.
	Published func(began time.Time, duplicate bool, err error)
	Log       *slog.Logger
}

// namespace is the one that the API is about.
const namespace = "/"

// Closing answers a request that comes while the daemon shuts down.
func Closing(w http.ResponseWriter, _ *http.Request) {
	newProblem(http.StatusServiceUnavailable, "shutting down; try again, at another server or later").write(w)
}

// Handler returns the API's routes, and lets the other servers of a cluster ask this one. It is to be called once.
func (a *API) Handler() http.Handler {
	a.answerRooms()
	mux := http.NewServeMux()
	for pattern, handle := range a.routes() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := handle(w, r); err != nil {
				a.fail(w, r, err)
			}
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if problem := a.authorize(r); problem != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="twine"`)
			problem.write(w)
			return
		}
		r = encodedTwice(r)
		if _, pattern := mux.Handler(r); pattern == "" {
			// The mux answers as text; what it knows about the method it says in the Allow header.
			allowed := &headerOnly{header: make(http.Header)}
			mux.ServeHTTP(allowed, r)
			a.unknown(w, allowed)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// ExactPaths answers requests under /v1/ whose paths have empty or dot segments, and hands all others to next. A mux would
// redirect them to where they then lead, such as from the room "/a" that was not encoded to the room "a".
func ExactPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		under, ok := strings.CutPrefix(r.URL.EscapedPath(), "/v1/")
		segments := strings.Split(strings.TrimSuffix(under, "/"), "/")
		if ok && under != "" && slices.ContainsFunc(segments, func(s string) bool { return s == "" || s == "." || s == ".." }) {
			newProblem(http.StatusNotFound, "the path has an empty segment, or one of dots; encode a room's name: / is %2F, . is %2E").write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// encodedTwice returns the request with its path's percent-encoding encoded. The mux takes the segment "%2F", the room "/", for the
// end of the path, but not when it decodes it to "%2F".
func encodedTwice(r *http.Request) *http.Request {
	address := *r.URL
	address.Path, address.RawPath = r.URL.EscapedPath(), ""
	r = r.WithContext(r.Context())
	r.URL = &address
	return r
}

// pathValue returns what a wildcard of the route's pattern stands for in a request of encodedTwice.
func pathValue(r *http.Request, name string) (string, error) {
	value, err := url.PathUnescape(r.PathValue(name))
	if err != nil {
		return "", bad("the path is malformed: %v", err)
	}
	return value, nil
}

// routes are all that there is; the OpenAPI document is checked against them.
func (a *API) routes() map[string]func(http.ResponseWriter, *http.Request) error {
	return map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /v1/publish":             a.publish,
		"GET /v1/rooms":                a.rooms,
		"GET /v1/rooms/{room}":         a.room,
		"GET /v1/rooms/{room}/history": a.history,
		"GET /v1/rooms/{room}/sockets": a.roomSockets,
		"GET /v1/sockets/{id}":         a.socket,
		"DELETE /v1/sockets/{id}":      a.disconnect,
	}
}

func (a *API) authorize(r *http.Request) *Problem {
	header := r.Header.Get("Authorization")
	key := header
	if scheme, token, found := strings.Cut(header, " "); found && strings.EqualFold(scheme, "Bearer") {
		key = strings.TrimSpace(token)
	}
	switch {
	case key == "":
		return newProblem(http.StatusUnauthorized, "no API key: send it as \"Authorization: Bearer <key>\"")
	case !a.Authorized(key):
		return newProblem(http.StatusUnauthorized, "wrong API key")
	}
	return nil
}

func (a *API) unknown(w http.ResponseWriter, answer *headerOnly) {
	if answer.status == http.StatusMethodNotAllowed {
		allow := answer.header.Get("Allow")
		w.Header().Set("Allow", allow)
		newProblem(answer.status, "this resource takes "+allow).write(w)
		return
	}
	newProblem(http.StatusNotFound, "there is nothing at this address; see /openapi.yaml for what there is").write(w)
}

// headerOnly takes an answer for its status and headers.
type headerOnly struct {
	header http.Header
	status int
}

func (h *headerOnly) Header() http.Header         { return h.header }
func (h *headerOnly) WriteHeader(status int)      { h.status = status }
func (h *headerOnly) Write(b []byte) (int, error) { return len(b), nil }

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone, or has it
	return nil
}

// query returns the parameters of a request. One that is not known is refused, and not passed over: it would be a filter
// that does not filter.
func query(r *http.Request, known ...string) (url.Values, error) {
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, bad("the query is malformed: %v", err)
	}
	for name, values := range params {
		switch {
		case len(known) == 0:
			return nil, bad("there is no parameter %q; there are none", name)
		case !slices.Contains(known, name):
			return nil, bad("there is no parameter %q; there are %s", name, strings.Join(known, ", "))
		case len(values) > 1:
			return nil, bad("%s is given more than once", name)
		}
	}
	return params, nil
}

// limit returns the parameter of that name: a number from 1 to most, or def without it.
func limit(params url.Values, def, most int) (int, error) {
	v := params.Get("limit")
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, bad("limit: %q is not a number from 1 to %d", v, most)
	}
	return n, nil
}

// pathRoom returns the room that a request's path names.
func pathRoom(r *http.Request) (string, error) {
	room, err := pathValue(r, "room")
	if err != nil {
		return "", err
	}
	if err := validRoom(room); err != nil {
		return "", bad("%v", err)
	}
	return room, nil
}

func validRoom(room string) error {
	switch {
	case room == "":
		return errors.New("a room's name is empty")
	case len(room) > MaxRoomBytes:
		return fmt.Errorf("a room's name is longer than %d bytes", MaxRoomBytes)
	case !utf8.ValidString(room):
		return errors.New("a room's name is not valid UTF-8")
	}
	return nil
}
