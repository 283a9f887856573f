package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/twine-realtime/twine/examples/internal/browserclient"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
)

//go:embed page
var files embed.FS

const (
	// cook is the user who sees all orders. Everyone else sees their own.
	cook    = "cook"
	kitchen = "kitchen" // the cook's room
	// awayTime is how long a client may be away and still come back to all that it missed.
	awayTime = 24 * time.Hour
)

// roomOf returns the room of a user's own clients.
func roomOf(user string) string { return "user:" + user }

// restaurant is the application. What happens to an order goes through Twine's log on disk, which is its database too.
type restaurant struct {
	realtime *twine.Server
	store    *disk.Store
	sessions *sessions
	orders   *orders
}

func open(ctx context.Context, folder string) (_ *restaurant, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	r := &restaurant{}
	if r.sessions, err = openSessions(filepath.Join(folder, "session-key")); err != nil {
		return nil, err
	}
	if r.store, err = disk.Open(filepath.Join(folder, "history.db"), disk.Options{Window: awayTime}); err != nil {
		return nil, err
	}
	r.realtime = twine.NewServer(&twine.Options{
		// Who is not signed in does not get as far as a connection.
		Engine: engineio.Options{AllowRequest: func(q *http.Request) error {
			_, err := r.sessions.user(q.Header)
			return err
		}},
		Recovery: &twine.Recovery{
			Log: r.store.Log(), Sessions: r.store.Sessions(), MaxDisconnection: awayTime, ResumeIdle: true,
			RunMiddleware: true, // who comes back has to be who they were
		},
	})
	// The rooms that a client is in are the application's decision, not the client's.
	r.realtime.Use(func(_ context.Context, s *twine.Socket) error {
		user, err := r.sessions.user(s.Handshake().Header)
		if err != nil {
			return &twine.ConnectError{Message: err.Error()}
		}
		s.Join(roomOf(user))
		if user == cook {
			s.Join(kitchen)
		}
		return nil
	})
	if r.orders, err = readOrders(ctx, r.realtime.Of("/")); err != nil {
		return nil, errors.Join(err, r.realtime.Close(ctx), r.store.Close())
	}
	return r, nil
}

// close ends everything in an order that loses nothing: no new requests, then the clients, who come back when the program
// is there again, and then the disk.
func (r *restaurant) close(ctx context.Context, web *http.Server) error {
	requests := make(chan error, 1)
	go func() { requests <- web.Shutdown(ctx) }() // long polls end with the next line
	return errors.Join(r.realtime.Close(ctx), <-requests, r.store.Close())
}

func (r *restaurant) routes() http.Handler {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", r.realtime) // beside the application's own routes
	mux.HandleFunc("POST /login", r.login)
	mux.Handle("GET /orders", r.signedIn(r.list))
	mux.Handle("POST /orders", r.signedIn(r.place))
	mux.Handle("POST /orders/{number}/ready", r.signedIn(r.ready))
	mux.HandleFunc("GET /client.js", browserclient.Serve)
	mux.Handle("/", http.FileServerFS(page))
	return mux
}

// signedIn is the middleware of the application's own routes.
func (r *restaurant) signedIn(handle func(w http.ResponseWriter, q *http.Request, user string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		user, err := r.sessions.user(q.Header)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		handle(w, q, user)
	})
}

// login trusts everyone to be who they say. A real application asks for a password.
func (r *restaurant) login(w http.ResponseWriter, q *http.Request) {
	var asked struct{ Name string }
	if !decode(w, q, &asked) {
		return
	}
	if !validName(asked.Name) {
		http.Error(w, "the name must be 1 to 40 letters, digits or spaces", http.StatusBadRequest)
		return
	}
	http.SetCookie(w, r.sessions.cookie(asked.Name))
	w.WriteHeader(http.StatusNoContent)
}

func (r *restaurant) list(w http.ResponseWriter, _ *http.Request, user string) {
	writeJSON(w, http.StatusOK, r.orders.of(user))
}

func (r *restaurant) place(w http.ResponseWriter, q *http.Request, user string) {
	var asked struct{ Dish string }
	if !decode(w, q, &asked) {
		return
	}
	if asked.Dish == "" || len(asked.Dish) > 200 {
		http.Error(w, "the dish must be named, in 200 bytes or less", http.StatusBadRequest)
		return
	}
	r.change(w, q, http.StatusCreated, order{Number: r.orders.next(), By: user, Dish: asked.Dish})
}

func (r *restaurant) ready(w http.ResponseWriter, q *http.Request, user string) {
	if user != cook {
		http.Error(w, "only the cook can tell", http.StatusForbidden)
		return
	}
	o, found := r.orders.find(q.PathValue("number"))
	if !found {
		http.Error(w, "there is no such order", http.StatusNotFound)
		return
	}
	o.Ready = true
	r.change(w, q, http.StatusOK, o)
}

// change tells everyone concerned how an order is now, also those who come back later. The event is on disk when Publish
// returns, and so the order is.
func (r *restaurant) change(w http.ResponseWriter, q *http.Request, status int, o order) {
	id := fmt.Sprintf("order %d, ready: %v", o.Number, o.Ready) // the same change, asked for twice, is one
	if _, err := r.realtime.To(kitchen, roomOf(o.By)).Publish(q.Context(), id, orderEvent, o); err != nil {
		http.Error(w, "this could not be stored; try again", http.StatusServiceUnavailable)
		return
	}
	r.orders.set(o)
	writeJSON(w, status, o)
}

func decode(w http.ResponseWriter, q *http.Request, v any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, q.Body, 10_000)).Decode(v); err != nil {
		http.Error(w, "the body is not the JSON that is expected: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone, or has it
}
