package server

import (
	"net/http"

	"github.com/twine-realtime/twine/cmd/twined/internal/apikey"
	"github.com/twine-realtime/twine/cmd/twined/internal/clientjs"
	"github.com/twine-realtime/twine/cmd/twined/internal/console"
	"github.com/twine-realtime/twine/cmd/twined/internal/openapi"
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
	api := &v1.API{Twine: s.twine, History: history{s.twine}, Authorized: keys.Contains, Published: s.metrics.publishDone, Log: s.log}
	mux.Handle("/v1/", s.publishes.wrap(s.metrics.counted(api.Handler()), v1.Closing))
	mux.Handle("GET /openapi.yaml", openapi.Handler())
	mux.Handle("GET /twine.js", clientjs.Module())
	mux.Handle("GET /twine.d.ts", clientjs.Types())
	mux.Handle(console.Path, s.console)
	mux.Handle("GET /{$}", console.Welcome(answer(http.StatusCreated, "ok")))
	mux.HandleFunc("GET /healthz", answer(http.StatusOK, "ok"))
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.metrics.handler(keys))
	return v1.ExactPaths(mux)
}

// ready tells a load balancer whether to send clients here.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if reason := s.unready(); reason != "" {
		answer(http.StatusServiceUnavailable, reason)(w, r)
		return
	}
	answer(http.StatusOK, "ready")(w, r)
}

// unready returns why clients should not be sent here, or "".
func (s *Server) unready() string {
	if s.draining.Load() {
		return "shutting down"
	}
	return s.storage.Unready()
}

func answer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		w.Write([]byte(text))
	}
}
