// Package console is the page that the daemon shows to a person: its status, its nodes, its rooms, the messages of a room
// as they come, and a form to publish. It is plain HTML, CSS and JavaScript, is part of the binary, and loads nothing
// from anywhere else.
//
// The page itself is public and says nothing. All that it shows is asked for with an API key, which the browser keeps for
// as long as its tab is open.
package console

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine"
)

// Path is where the console is mounted. It answers everything below.
const Path = "/console/"

// namespace is the one that the console shows.
const namespace = "/"

// Options are what the console shows, and to whom.
type Options struct {
	// Twine is the server whose main namespace is shown.
	Twine *twine.Server
	// Recent reads the newest part of the server's log. It is asked several times a second by each open tail, and so
	// should be in memory.
	Recent recovery.Reader
	// Authorized tells whether a key is valid.
	Authorized func(key string) bool
	// Version is the daemon's.
	Version string
	// Published returns how many messages publishers have sent since the start, by what became of them. Nil leaves that
	// out.
	Published func() map[string]float64
	// Ready returns "" or, in a few words, why the daemon wants no more clients. Nil means that it always does.
	Ready func() string
	// Nodes lists the servers of the cluster, this one included, see [Cluster.Nodes]. It may fail, and is given a context that
	// ends soon. Nil means that this one is alone.
	Nodes func(context.Context) ([]Node, error)
	// Rooms returns how many sockets each room has, see [Cluster.Rooms]. It may fail, is given a context that ends soon, and
	// is called once a second at most. Nil means those of this server.
	Rooms func(context.Context) (map[string]int, error)
	Log   *slog.Logger
}

// Node is a server of the cluster.
type Node struct {
	Name    string    `json:"name"`
	Address string    `json:"address,omitempty"`
	Self    bool      `json:"self"`              // the one that was asked
	Version string    `json:"version,omitempty"` // "" if it is not known, as with the others
	Clients *int      `json:"clients,omitempty"`
	Started time.Time `json:"started,omitzero"`
}

// Console is the console's handler. Close ends the tails that it serves.
type Console struct {
	opts    Options
	handler http.Handler
	started time.Time
	rooms   roomsCache
	tails   chan struct{} // a token for each open tail

	tailLife, writeTimeout time.Duration // the constants, except in tests

	closing sync.Once
	closed  chan struct{}
}

// New returns a console.
func New(opts Options) *Console {
	c := &Console{opts: opts, started: time.Now(), closed: make(chan struct{}),
		tails: make(chan struct{}, maxTails), tailLife: tailLife, writeTimeout: writeTimeout}
	mux := http.NewServeMux()
	for name, asset := range pageAssets() {
		mux.Handle("GET "+Path+name, asset)
	}
	mux.Handle("GET "+Path+"{$}", page())
	mux.Handle("GET "+Path+"status", c.keyed(c.status))
	mux.Handle("GET "+Path+"rooms", c.keyed(c.listRooms))
	mux.Handle("GET "+Path+"tail", c.keyed(c.tail))
	c.handler = mux
	return c
}

func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// Close ends the open tails, and lets none begin. It does not wait for them, and may be called again.
func (c *Console) Close() { c.closing.Do(func() { close(c.closed) }) }

// Welcome answers the daemon's front door: a browser is shown to the console, anyone else gets what next answers, as a
// health checker that knows nothing of a console expects.
func Welcome(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept")
		if !prefersHTML(r.Header.Values("Accept")) {
			next.ServeHTTP(w, r)
			return
		}
		// Relative, for a proxy that has put the daemon below a path of its own.
		w.Header().Set("Location", strings.TrimPrefix(Path, "/"))
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusFound)
	})
}

// keyed lets those in who have a key.
func (c *Console) keyed(handle func(w http.ResponseWriter, r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Authorization")
		if scheme, token, found := strings.Cut(key, " "); found && strings.EqualFold(scheme, "Bearer") {
			key = strings.TrimSpace(token)
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case key == "":
			unauthorized(w, `no API key: send it as "Authorization: Bearer <key>"`)
		case !c.opts.Authorized(key):
			unauthorized(w, "wrong API key")
		default:
			handle(w, r)
		}
	})
}

func unauthorized(w http.ResponseWriter, text string) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="twine"`)
	http.Error(w, text, http.StatusUnauthorized)
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the client is gone, or has it
}
