package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/twine-realtime/twine/twine/engineio"
)

const engineIOPath = "/engine.io/"

// engineIOv4 sends every message back.
func engineIOv4(logger *slog.Logger, t timing) server { return echoServer(logger, t, false) }

// engineIOv3 does so for clients of the protocol before, too.
func engineIOv3(logger *slog.Logger, t timing) server { return echoServer(logger, t, true) }

func echoServer(logger *slog.Logger, t timing, v3 bool) server {
	engine := engineio.NewServer(&engineio.Options{
		PingInterval:      t.pingInterval,
		PingTimeout:       t.pingTimeout,
		MaxHTTPBufferSize: 1_000_000,
		AllowEIO3:         v3,
		CloseTimeout:      closeTimeout,
		Logger:            logger,
	}, func(s *engineio.Session) engineio.Handler { return echo{s} })
	return server{engine, engineIOPath, engine.Close}
}

// echo sends messages back as they came.
type echo struct{ session *engineio.Session }

func (e echo) Message(data []byte, binary bool) error {
	if binary {
		return e.session.Send(engineio.NewBinary(data))
	}
	return e.session.Send(engineio.NewText(data))
}

func (echo) Closed(engineio.Reason, error) {}

// engineIOClient greets, answers a few questions and sends everything else back.
func engineIOClient(logger *slog.Logger, t timing) server { return oracleServer(logger, t, false) }

func oracleServer(logger *slog.Logger, t timing, v3 bool) server {
	posts := new(postHeaders)
	engine := engineio.NewServer(&engineio.Options{
		PingInterval:      t.pingInterval,
		PingTimeout:       t.pingTimeout,
		MaxHTTPBufferSize: 100,
		AllowRequest: func(r *http.Request) error {
			if r.URL.Query().Has("deny") {
				return errors.New("Forbidden")
			}
			return nil
		},
		InitialHeaders: setCookies,
		AllowEIO3:      v3,
		CloseTimeout:   closeTimeout,
		Logger:         logger,
	}, func(s *engineio.Session) engineio.Handler {
		_ = s.Send(engineio.NewText([]byte("hi")))
		return &oracle{echo{s}, posts}
	})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posts.note(r)
		}
		engine.ServeHTTP(w, r)
	})
	return server{handler, engineIOPath, engine.Close}
}

// oracle is the other end of engine.io-client's tests.
type oracle struct {
	echo
	posts *postHeaders
}

func (o *oracle) Message(data []byte, binary bool) error {
	if !binary {
		switch string(data) {
		case "give binary":
			return o.session.Send(engineio.NewBinary([]byte{0, 1, 2, 3, 4}))
		case "give utf8":
			return o.session.Send(engineio.NewText([]byte("пойду спать всем спокойной ночи")))
		case "sendHeaders":
			return o.session.Send(engineio.NewText(o.posts.last(o.session.ID())))
		}
	}
	return o.echo.Message(data, binary)
}

func (o *oracle) Closed(engineio.Reason, error) { o.posts.forget(o.session.ID()) }

// postHeaders remembers the headers of each session's last POST, as JSON with names in lower case.
type postHeaders struct{ bySession sync.Map }

func (p *postHeaders) note(r *http.Request) {
	headers := make(map[string]string, len(r.Header))
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	if text, err := json.Marshal(headers); err == nil {
		p.bySession.Store(r.URL.Query().Get("sid"), text)
	}
}

func (p *postHeaders) last(session string) []byte {
	text, _ := p.bySession.Load(session)
	headers, ok := text.([]byte)
	if !ok {
		return []byte("{}")
	}
	return headers
}

func (p *postHeaders) forget(session string) { p.bySession.Delete(session) }

// setCookies sets two cookies that stay and two that have expired.
func setCookies(h http.Header, _ *http.Request) {
	for _, c := range []*http.Cookie{
		{Name: "1", Value: "1", MaxAge: 86_400},
		{Name: "2", Value: "2", Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode},
		{Name: "3", Value: "3", MaxAge: -1}, // is sent as Max-Age=0
		{Name: "4", Value: "4", Expires: time.Now()},
	} {
		h.Add("Set-Cookie", c.String())
	}
}
