package server

import (
	"net/http"

	"github.com/twine-realtime/twine/cmd/twined/internal/apikey"
	"github.com/twine-realtime/twine/cmd/twined/internal/clientjs"
	"github.com/twine-realtime/twine/cmd/twined/internal/original"
	"github.com/twine-realtime/twine/cmd/twined/internal/v1"
)

func (s *Server) routes(keys *apikey.Set) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", s.twine)
	mux.Handle("/socket.io", s.twine) // a client whose addTrailingSlash is off
	mux.HandleFunc("GET /set-cookie", original.SetCookie)
	mux.Handle("POST /api/twine", s.publishes.wrap(s.metrics.counted(&original.Publisher{
		Authorized: keys.Contains,
		Publish:    s.publish,
		Log:        s.log,
	}), answer(http.StatusServiceUnavailable, "shutting down")))
	api := &v1.API{Twine: s.twine, History: s.history, Authorized: keys.Contains, Published: s.metrics.publishDone, Log: s.log}
	mux.Handle("/v1/", s.publishes.wrap(s.metrics.counted(api.Handler()), v1.Closing))
	mux.Handle("GET /twine.js", clientjs.Module())
	mux.Handle("GET /twine.d.ts", clientjs.Types())
	mux.HandleFunc("GET /{$}", answer(http.StatusCreated, "ok"))
	mux.HandleFunc("GET /healthz", answer(http.StatusOK, "ok"))
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.metrics.handler(keys))
	return mux
}

// ready tells a load balancer whether to send clients here.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.broken:
		answer(http.StatusServiceUnavailable, "storage has failed")(w, r)
		return
	default:
	}
	if s.draining.Load() {
		answer(http.StatusServiceUnavailable, "shutting down")(w, r)
		return
	}
	answer(http.StatusOK, "ready")(w, r)
}

func answer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		w.Write([]byte(text))
	}
}
