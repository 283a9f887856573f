package main

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"
)

// suite is what a public test suite expects to find.
type suite struct {
	port   string
	timing timing
	start  func(*slog.Logger, timing) server
}

// timing is what a server's patience is. Zero means the library's default.
type timing struct {
	pingInterval   time.Duration
	pingTimeout    time.Duration
	connectTimeout time.Duration
}

// closeTimeout is what a client that has gone without a word may delay the end of the program by.
const closeTimeout = time.Second

var suites = map[string]suite{
	"socketio-v5":     {"3000", timing{300 * time.Millisecond, 200 * time.Millisecond, time.Second}, socketIOv5},
	"socketio-client": {"3210", timing{pingInterval: 2 * time.Second}, socketIOClient},
	"engineio-v4":     {"3000", timing{pingInterval: 300 * time.Millisecond, pingTimeout: 200 * time.Millisecond}, engineIOv4},
	"engineio-v3":     {"3000", timing{pingInterval: 300 * time.Millisecond, pingTimeout: 200 * time.Millisecond}, engineIOv3},
	"engineio-client": {"3000", timing{pingInterval: 500 * time.Millisecond}, engineIOClient},
}

func suiteNames() []string { return slices.Sorted(maps.Keys(suites)) }

// server serves one suite at a path.
type server struct {
	http.Handler
	path  string
	close func(context.Context) error
}
